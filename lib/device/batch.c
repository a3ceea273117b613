/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Batches: operations on several devices that are started together and
 * waited for together.
 *
 * Who owns an operation (everything in struct io that changes after submit):
 *   - io->mine: the thread that submitted the batch, without a lock.  When
 *     it gives the operation up, the device hands it to another thread under
 *     a lock of its own, which from then on is the only one to touch it.
 *   - others: batch->lock.  A waiter sleeps on batch->cond.
 *
 * Invariants:
 *   1. An operation that was handed to a device holds a reference to its
 *      batch until io_done, however late that comes.  So nothing that the
 *      kernel or a server may still use is ever freed.
 *   2. io->result is written once before io_batch_wait returns and never
 *      afterwards: the late end of an abandoned operation only lowers
 *      device->abandoned.
 *   3. NEW -> STARTED -> DONE, or NEW -> STARTED -> ABANDONED -> DONE, or,
 *      if the operation is refused here, NEW -> DONE.
 *
 * The trace (LOG_IO), which tests parse to prove in what order things
 * happened.  One line per operation at each of these moments, all numbers in
 * decimal, LEG is device->leg, TYPE is read, write, flush or zero, and
 * flush has the offset and length 0:
 *
 *   io: submit leg LEG TYPE offset OFFSET length LENGTH[ fua][ may-trim]
 *     before the device, and so the kernel, can know of the operation;
 *   io: done leg LEG TYPE offset OFFSET length LENGTH result RESULT
 *     after the operation has ended and before the waiter can return; RESULT
 *     is 0 or a negative errno;
 *   io: abandoned leg LEG TYPE offset OFFSET length LENGTH
 *     instead of "done", when the deadline has passed; the result is
 *     -ETIMEDOUT and the operation may still happen;
 *   io: late leg LEG TYPE offset OFFSET length LENGTH result RESULT
 *     an abandoned operation has ended after all.
 *
 * If the sink keeps the order of calls, "done A" before "submit B" in the
 * log therefore means that A was over before B began, whatever the threads.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "device/device.h"

#define IO_MAX_TRANSFER (64 * MiB)
#define IO_MAX_KINDS    4 /* tables of operations in one batch */

struct io_batch {
  struct rt_refs refs;
  unsigned max;    /* room in ios */
  unsigned n;      /* operations added */
  unsigned others; /* handed over to devices and not mine */
  bool submitted;  /* the owner alone, as the next one */
  bool waited;
  bool waiting; /* lock: somebody sleeps on cond */
  struct rt_mutex lock;
  struct rt_cond cond;
  struct io **group; /* max pointers, for submit */
  struct io ios[];
};

/* ---- making batches ---- */

struct io_batch *
io_batch_new (unsigned max)
{
  size_t ios = sizeof (struct io_batch) + (size_t)max * sizeof (struct io);
  struct io_batch *batch;

  assert (max > 0);
  batch = rt_calloc (1, ios + (size_t)max * sizeof (struct io *));
  if (!batch)
    return NULL;
  rt_refs_init (&batch->refs);
  batch->max = max;
  batch->group = (struct io **)((uint8_t *)batch + ios);
  rt_mutex_init (&batch->lock);
  rt_cond_init (&batch->cond);
  return batch;
}

static void
batch_put (struct io_batch *batch)
{
  if (!rt_refs_put (&batch->refs))
    return;
  for (unsigned i = 0; i < batch->n; ++i)
    buffer_unref (batch->ios[i].buffer);
  rt_cond_destroy (&batch->cond);
  rt_mutex_destroy (&batch->lock);
  rt_free (batch);
}

void
io_batch_unref (struct io_batch *batch)
{
  if (!batch)
    return;
  assert (!batch->submitted || batch->waited);
  batch_put (batch);
}

bool
io_batch_again (struct io_batch *batch)
{
  assert (!batch->submitted || batch->waited);
  if (!rt_refs_mine (&batch->refs))
    return false;
  for (unsigned i = 0; i < batch->n; ++i)
    buffer_unref (batch->ios[i].buffer);
  batch->n = batch->others = 0;
  batch->submitted = batch->waited = false;
  return true;
}

struct io *
io_batch_add (struct io_batch *batch, struct device *device, enum io_type type,
              unsigned flags, uint64_t offset, uint64_t length,
              struct buffer *buffer, uint64_t skip)
{
  struct io *io;

  assert (!batch->submitted);
  assert (batch->n < batch->max);
  if (type == IO_READ || type == IO_WRITE) {
    assert (buffer != NULL);
    assert (skip <= buffer->size && length <= buffer->size - skip);
    /* What O_DIRECT wants of memory on any disk. */
    assert (skip % SECTOR_SIZE == 0);
  }
  else
    assert (buffer == NULL);

  io = &batch->ios[batch->n++];
  io->batch = batch;
  io->device = device;
  io->type = type;
  io->flags = flags;
  io->offset = type == IO_FLUSH ? 0 : offset;
  io->length = type == IO_FLUSH ? 0 : length;
  io->buffer = buffer ? buffer_ref (buffer) : NULL;
  io->data = buffer ? buffer->data + skip : NULL;
  io->result = 0;
  io->state = IO_NEW;
  io->mine = false;
  io->done = 0;
  return io;
}

struct io *
io_batch_get (struct io_batch *batch, unsigned i)
{
  assert (i < batch->n);
  return &batch->ios[i];
}

unsigned
io_batch_count (const struct io_batch *batch)
{
  return batch->n;
}

unsigned
io_batch_mine (const struct io_batch *batch)
{
  unsigned n = 0;

  for (unsigned i = 0; i < batch->n; ++i)
    if (batch->ios[i].mine && batch->ios[i].state == IO_STARTED)
      n++;
  return n;
}

/* ---- the trace ---- */

static const char *
type_to_string (enum io_type type)
{
  switch (type) {
  case IO_READ:
    return "read";
  case IO_WRITE:
    return "write";
  case IO_FLUSH:
    return "flush";
  case IO_ZERO:
    return "zero";
  }
  return "?";
}

static void
trace_submit (const struct io *io)
{
  log_debug (io->device->log, LOG_IO,
             "io: submit leg %d %s offset %llu length %llu%s%s",
             io->device->leg, type_to_string (io->type),
             (unsigned long long)io->offset, (unsigned long long)io->length,
             io->flags & IO_FUA ? " fua" : "",
             io->flags & IO_MAY_TRIM ? " may-trim" : "");
}

static void
trace_end (const struct io *io, const char *how, int result)
{
  log_debug (io->device->log, LOG_IO,
             "io: %s leg %d %s offset %llu length %llu result %d", how,
             io->device->leg, type_to_string (io->type),
             (unsigned long long)io->offset, (unsigned long long)io->length,
             result);
}

static void
trace_abandoned (const struct io *io)
{
  log_debug (io->device->log, LOG_IO,
             "io: abandoned leg %d %s offset %llu length %llu", io->device->leg,
             type_to_string (io->type), (unsigned long long)io->offset,
             (unsigned long long)io->length);
}

/* ---- the state of an operation ---- */

/* The only place where a state changes. */
static void
set_state (struct io *io, unsigned state)
{
  static const bool legal[4][4] = {
    [IO_NEW] = { [IO_STARTED] = true, [IO_DONE] = true },
    [IO_STARTED] = { [IO_DONE] = true, [IO_ABANDONED] = true },
    [IO_ABANDONED] = { [IO_DONE] = true },
  };

  assert (state <= IO_ABANDONED);
  assert (legal[io->state][state]);
  io->state = state;
}

/* Called by the owner of the operation (see above). */
static void
finish (struct io *io, int result)
{
  trace_end (io, "done", result);
  io->result = result;
  set_state (io, IO_DONE);
}

static bool
is_write (const struct io *io)
{
  return io->type == IO_WRITE || io->type == IO_ZERO;
}

/* Called by the owner of the operation. */
static void
abandon (struct io *io)
{
  trace_abandoned (io);
  rt_atomic_add (&io->device->abandoned, 1);
  if (is_write (io))
    rt_atomic_add (&io->device->lost_writes, 1);
  io->result = -ETIMEDOUT;
  set_state (io, IO_ABANDONED);
}

/* Called by the owner of the operation.  The device may be gone after. */
static void
finish_late (struct io *io, int result)
{
  trace_end (io, "late", result);
  set_state (io, IO_DONE);
  if (is_write (io))
    rt_atomic_sub (&io->device->lost_writes, 1);
  rt_atomic_sub (&io->device->abandoned, 1);
}

/* True if an operation that another thread must end is not over.  Lock. */
static bool
others_started (const struct io_batch *batch)
{
  for (unsigned i = 0; i < batch->n; ++i)
    if (!batch->ios[i].mine && batch->ios[i].state == IO_STARTED)
      return true;
  return false;
}

void
io_done (struct io *io, int result)
{
  struct io_batch *batch = io->batch;
  bool locked = !io->mine;

  assert (result <= 0);
  if (locked)
    rt_mutex_lock (&batch->lock);
  if (io->state == IO_ABANDONED)
    finish_late (io, result);
  else {
    finish (io, result);
    if (locked && batch->waiting && !others_started (batch))
      rt_cond_signal (&batch->cond);
  }
  if (locked)
    rt_mutex_unlock (&batch->lock);
  batch_put (batch);
}

/* ---- submit ---- */

/* 0, or why the operation must not reach the device. */
static int
check (const struct io *io)
{
  const struct device_limits *limits = &io->device->limits;

  if (io->type == IO_FLUSH)
    return 0;
  if (io->type != IO_READ && limits->read_only)
    return -EROFS;
  if (io->length == 0 || io->offset > limits->size
      || io->length > limits->size - io->offset)
    return -EINVAL;
  if (io->type != IO_ZERO && io->length > IO_MAX_TRANSFER)
    return -EINVAL;
  if ((io->offset | io->length) & (limits->logical_block - 1))
    return -EINVAL;
  return 0;
}

/* Check, mark and trace the operations.  The good ones become STARTED and are
 * put into batch->group; their number is returned.
 */
static unsigned
start_all (struct io_batch *batch)
{
  uint64_t now = rt_now ();
  unsigned n = 0;

  for (unsigned i = 0; i < batch->n; ++i) {
    struct io *io = &batch->ios[i];
    uint64_t timeout = io->device->timeout;
    int err = check (io);

    trace_submit (io);
    if (err < 0 || (io->type == IO_FLUSH && io->device->limits.read_only)) {
      /* Nothing was written to a read-only device: nothing to flush. */
      finish (io, err);
      continue;
    }
    io->deadline = timeout >= RT_NEVER - now ? RT_NEVER : now + timeout;
    set_state (io, IO_STARTED);
    rt_refs_get (&batch->refs);
    batch->group[n++] = io;
  }
  return n;
}

/* Bring those of the n operations that are on the first one's kind of device
 * to the front; returns how many they are.
 */
static unsigned
same_kind (struct io **ios, unsigned n)
{
  unsigned same = 1;

  for (unsigned i = 1; i < n; ++i) {
    struct io *io = ios[i];

    if (io->device->ops != ios[0]->device->ops)
      continue;
    ios[i] = ios[same];
    ios[same++] = io;
  }
  return same;
}

void
io_batch_submit (struct io_batch *batch)
{
  unsigned n, kind;

  assert (!batch->submitted);
  batch->submitted = true;
  n = start_all (batch);
  for (unsigned i = 0; i < n; i += kind) {
    kind = same_kind (batch->group + i, n - i);
    batch->group[i]->device->ops->submit (batch, batch->group + i, kind);
  }
  /* Others may be ending operations now, but who ends which is settled. */
  for (unsigned i = 0; i < n; ++i)
    batch->others += !batch->group[i]->mine;
}

/* ---- wait ---- */

/* The operations that are STARTED, and mine or not mine: the earliest of
 * their deadlines in *deadline, and one of them, or NULL if there is none.
 */
static struct io *
earliest (struct io_batch *batch, bool mine, uint64_t *deadline)
{
  struct io *found = NULL;

  *deadline = RT_NEVER;
  for (unsigned i = 0; i < batch->n; ++i) {
    struct io *io = &batch->ios[i];

    if (io->mine != mine || io->state != IO_STARTED)
      continue;
    if (!found || io->deadline < *deadline) {
      found = io;
      *deadline = io->deadline;
    }
  }
  return found;
}

/* Abandon the operations, mine or not mine, whose deadline has passed. */
static void
abandon_late (struct io_batch *batch, bool mine)
{
  uint64_t now = rt_now ();

  for (unsigned i = 0; i < batch->n; ++i) {
    struct io *io = &batch->ios[i];

    if (io->mine == mine && io->state == IO_STARTED && io->deadline <= now)
      abandon (io);
  }
}

/* Reap what this thread must reap itself.  Each turn looks for completions
 * at least once, so an operation that has ended in time is never abandoned
 * because the thread came late.
 */
static void
wait_mine (struct io_batch *batch)
{
  uint64_t deadline;
  struct io *io;

  while ((io = earliest (batch, true, &deadline)) != NULL) {
    io->device->ops->reap (batch, deadline);
    if (io_batch_mine (batch) > 0)
      abandon_late (batch, true);
  }
}

static void
wait_others (struct io_batch *batch)
{
  uint64_t deadline;

  rt_mutex_lock (&batch->lock);
  batch->waiting = true;
  while (earliest (batch, false, &deadline) != NULL)
    if (!rt_cond_wait_until (&batch->cond, &batch->lock, deadline))
      abandon_late (batch, false);
  batch->waiting = false;
  rt_mutex_unlock (&batch->lock);
}

/* Tell the kinds of device that this thread will not reap any more.  From the
 * first call on, other threads may end the operations and then even close
 * the devices, so they are not looked at again.
 */
static void
give_up (struct io_batch *batch)
{
  const struct device_ops *kinds[IO_MAX_KINDS];
  unsigned n = 0, k;

  for (unsigned i = 0; i < batch->n; ++i) {
    const struct io *io = &batch->ios[i];

    if (!io->mine || io->state != IO_ABANDONED)
      continue;
    for (k = 0; k < n && kinds[k] != io->device->ops; ++k)
      ;
    if (k < n || !io->device->ops->give_up)
      continue;
    assert (n < IO_MAX_KINDS);
    kinds[n++] = io->device->ops;
  }
  for (k = 0; k < n; ++k)
    kinds[k]->give_up (batch);
}

void
io_batch_wait (struct io_batch *batch)
{
  assert (batch->submitted && !batch->waited);
  wait_mine (batch);
  if (batch->others > 0)
    wait_others (batch);
  give_up (batch);
  batch->waited = true;
}

int
io_batch_run (struct io_batch *batch)
{
  io_batch_submit (batch);
  io_batch_wait (batch);
  for (unsigned i = 0; i < batch->n; ++i)
    if (batch->ios[i].result < 0)
      return batch->ios[i].result;
  return 0;
}

int
device_run (struct device *device, enum io_type type, unsigned flags,
            uint64_t offset, uint64_t length, struct buffer *buffer)
{
  struct io_batch *batch = io_batch_new (1);
  int err;

  if (!batch)
    return -ENOMEM;
  io_batch_add (batch, device, type, flags, offset, length, buffer, 0);
  err = io_batch_run (batch);
  io_batch_unref (batch);
  return err;
}

/* ---- devices ---- */

void
device_close (struct device *device)
{
  uint64_t n = device_abandoned (device);

  if (n > 0) {
    log_error (device->log,
               "leg %s: %llu operations were given up and have not come "
               "back; its descriptor and its lock stay until this process "
               "ends",
               device->name, (unsigned long long)n);
    return;
  }
  device->ops->close (device);
}
