/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Local devices: what becomes of an operation.
 *
 *   before aio_start      a blocking call here and now
 *   READ, WRITE, FLUSH    an iocb for this thread's io_context, or with
 *                         IO_CROWD for that of all
 *   ZERO                  a job for a helper: there is no asynchronous form
 *   a buffered device     a job for a helper: io_submit would block
 *
 * If a thread can have no io_context, or no helper can be had, the
 * operation is a blocking call as well: late is better than failed.
 *
 * Locks: none here.  io_done, helpers and aio_context have their own.
 *
 * Invariants:
 *   1. An operation ends with 0 only if the kernel has reported all its bytes.
 *      What a short transfer leaves is asked for again; no progress at all
 *      is an error (reading past the end gives no zeroes).
 *   2. FUA is RWF_DSYNC on each piece, or fdatasync after a zero, whether or
 *      not the descriptor is O_DIRECT.
 *   3. A flush that failed is never asked again here; of a buffered device,
 *      nobody's flush succeeds after one has failed.
 *   4. After IO_ZERO the range reads back as zeroes: a plain discard, which
 *      promises nothing, is never used.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/aio_context.h"

/* Zeroes are written in pieces of this size; between them the helper looks
 * whether somebody still waits.
 */
#define ZERO_PIECE MiB

static_assert (BLKZEROOUT != 0 && RWF_DSYNC != 0, "the kernel headers have it");

/* ---- flushes ---- */

/* Blocking.  0 or -errno.  Invariant 3. */
static int
flush_now (struct aio_device *device)
{
  int err = 0;

  if (!device->buffered)
    return fdatasync (device->fd) == -1 ? -errno : 0;
  rt_mutex_lock (&device->flush_lock);
  if (device->flush_failed)
    err = -EIO;
  else if (fdatasync (device->fd) == -1) {
    err = -errno;
    device->flush_failed = true;
  }
  rt_mutex_unlock (&device->flush_lock);
  return err;
}

/* ---- transfers ---- */

/* The kernel's answer for what was left of the transfer, bytes or -errno.
 * True if the operation is over, with *result.
 */
static bool
transfer_over (struct io *io, long res, int *result)
{
  const struct aio_device *device = to_aio_device (io->device);

  if (res < 0) {
    *result = (int)res;
    return true;
  }
  if (res == 0 || (uint64_t)res > io->length - io->done) {
    *result = -EIO;
    return true;
  }
  io->done += (uint64_t)res;
  if (io->done == io->length) {
    *result = 0;
    return true;
  }
  if (device->direct && io->done % device->device.limits.logical_block != 0) {
    /* It ended inside a block, as at the end of a file: there is no way to
     * ask for the rest.
     */
    *result = -EIO;
    return true;
  }
  return false;
}

/* Blocking.  0 or -errno. */
static int
transfer_now (struct io *io)
{
  struct aio_device *device = to_aio_device (io->device);
  bool fua = io->type == IO_WRITE && (io->flags & IO_FUA);
  bool dsync = fua && !device->buffered;
  int fd = device->fd;
  struct iovec iov;
  ssize_t r;
  int result;

  do {
    iov.iov_base = io->data + io->done;
    iov.iov_len = io->length - io->done;
    if (io->type == IO_READ)
      r = preadv (fd, &iov, 1, (off_t)(io->offset + io->done));
    else
      r = pwritev2 (fd, &iov, 1, (off_t)(io->offset + io->done),
                    dsync ? RWF_DSYNC : 0);
    if (r == -1)
      r = -errno;
  } while (r == -EINTR || !transfer_over (io, r, &result));
  if (result == 0 && fua && device->buffered)
    result = flush_now (device); /* its errors are those of a flush */
  return result;
}

/* ---- zeroes ---- */

static bool
is_unsupported (int err)
{
  return err == -EOPNOTSUPP || err == -ENOSYS || err == -ENOTTY
         || err == -ENODEV;
}

/* fallocate for the range of the operation, unless it is known not to work.
 * 0 or -errno.
 */
static int
zero_fallocate (const struct io *io, int mode, struct rt_atomic *refused)
{
  int r, err;

  if (rt_atomic_get (refused))
    return -EOPNOTSUPP;
  do {
    r = fallocate (to_aio_device (io->device)->fd, mode, (off_t)io->offset,
                   (off_t)io->length);
    err = r == -1 ? -errno : 0;
  } while (err == -EINTR);
  if (!is_unsupported (err))
    return err;
  rt_atomic_set (refused, 1);
  return -EOPNOTSUPP;
}

static int
zero_out (const struct io *io)
{
  struct aio_device *device = to_aio_device (io->device);
  uint64_t range[2] = { io->offset, io->length };
  int r, err;

  if (rt_atomic_get (&device->no_zeroout))
    return -EOPNOTSUPP;
  do {
    r = ioctl (device->fd, BLKZEROOUT, range);
    err = r == -1 ? -errno : 0;
  } while (err == -EINTR);
  if (!is_unsupported (err))
    return err;
  rt_atomic_set (&device->no_zeroout, 1);
  return -EOPNOTSUPP;
}

/* The last resort: write them. */
static int
zero_write (const struct io *io)
{
  int fd = to_aio_device (io->device)->fd;
  struct buffer *zeroes = buffer_new_zero (min_u64 (io->length, ZERO_PIECE));
  uint64_t done = 0;
  struct iovec iov;
  ssize_t r;
  int err = 0;

  if (!zeroes)
    return -ENOMEM;
  while (done < io->length && err == 0) {
    iov.iov_base = zeroes->data;
    iov.iov_len = min_u64 (io->length - done, zeroes->size);
    r = pwritev2 (fd, &iov, 1, (off_t)(io->offset + done), 0);
    if (r == -1)
      r = -errno;
    if (r > 0)
      done += (uint64_t)r;
    else if (r != -EINTR)
      err = r == 0 ? -EIO : (int)r;
    /* Nobody waits any more: what is not written yet better stays so. */
    if (err == 0 && done < io->length && rt_now () >= io->deadline)
      err = -ETIMEDOUT;
  }
  buffer_unref (zeroes);
  return err;
}

static int
zero_file (const struct io *io)
{
  struct aio_device *device = to_aio_device (io->device);
  int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  int zero = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  int err;

  if (io->flags & IO_MAY_TRIM) {
    err = zero_fallocate (io, punch, &device->no_punch);
    if (err == -EOPNOTSUPP)
      err = zero_fallocate (io, zero, &device->no_zero_range);
    return err;
  }
  err = zero_fallocate (io, zero, &device->no_zero_range);
  if (err != -EOPNOTSUPP || rt_atomic_get (&device->no_allocate))
    return err;
  /* A hole, with its space taken again. */
  err = zero_fallocate (io, punch, &device->no_punch);
  if (err == 0)
    err = zero_fallocate (io, FALLOC_FL_KEEP_SIZE, &device->no_allocate);
  return err;
}

/* A hole in a block device gives space back only if it then reads as zeroes;
 * otherwise the kernel refuses.
 */
static int
zero_block_device (const struct io *io)
{
  struct aio_device *device = to_aio_device (io->device);
  int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  int err = -EOPNOTSUPP;

  if (io->flags & IO_MAY_TRIM)
    err = zero_fallocate (io, punch, &device->no_punch);
  if (err == -EOPNOTSUPP)
    err = zero_out (io);
  return err;
}

/* Blocking.  0 or -errno. */
static int
zero_now (const struct io *io)
{
  struct aio_device *device = to_aio_device (io->device);
  int err = device->is_file ? zero_file (io) : zero_block_device (io);

  if (err == -EOPNOTSUPP)
    err = zero_write (io);
  if (err == 0 && (io->flags & IO_FUA))
    err = flush_now (device);
  return err;
}

static struct io *
job_to_io (struct helper_job *job)
{
  struct aio_io *aio_io = (struct aio_io *)job;

  return (struct io *)((uint8_t *)aio_io - offsetof (struct io, driver));
}

/* ---- submit ---- */

/* Blocking.  0 or -errno. */
static int
call_now (struct io *io)
{
  struct aio_device *device = to_aio_device (io->device);

  switch (io->type) {
  case IO_READ:
  case IO_WRITE:
    return transfer_now (io);
  case IO_FLUSH:
    return flush_now (device);
  case IO_ZERO:
    return zero_now (io);
  }
  return -EINVAL;
}

/* In a helper. */
static void
helper_run (struct helper_job *job)
{
  struct io *io = job_to_io (job);

  /* Given up while it was queued: then it never happens. */
  if (rt_now () >= io->deadline)
    io_done (io, -ETIMEDOUT);
  else
    io_done (io, call_now (io));
}

/* In this thread. */
static void
run_now (struct io *io)
{
  struct aio_thread *thread = aio_thread_find (to_aio_device (io->device)->aio);
  int result;

  io->mine = true;
  if (thread)
    aio_watch (thread, &io, 1);
  result = call_now (io);
  if (thread)
    aio_unwatch (thread);
  io_done (io, result);
}

void
aio_prepare (struct io *io)
{
  int fd = to_aio_device (io->device)->fd;
  struct iocb *iocb = &to_aio_io (io)->iocb;
  uint8_t *data = io->data ? io->data + io->done : NULL;

  if (io->type == IO_READ)
    io_prep_pread (iocb, fd, data, io->length - io->done,
                   (long long)(io->offset + io->done));
  else if (io->type == IO_WRITE) {
    io_prep_pwrite (iocb, fd, data, io->length - io->done,
                    (long long)(io->offset + io->done));
    if (io->flags & IO_FUA)
      iocb->aio_rw_flags = RWF_DSYNC;
  }
  else
    io_prep_fdsync (iocb, fd);
  iocb->data = io;
}

/* Queue what is left of the operation. */
static void
queue_rest (struct aio_context *context, struct io *io)
{
  aio_prepare (io);
  context->together |= (io->flags & IO_TOGETHER) != 0;
  aio_queue (context, io);
}

static void
submit_to_helper (struct io *io)
{
  struct aio_device *device = to_aio_device (io->device);
  struct helper_job *job = &to_aio_io (io)->job;

  job->owner = device;
  job->run = helper_run;
  if (helpers_add (device->aio->helpers, job) < 0)
    run_now (io);
}

/* All of them may go with those of others. */
static bool
is_crowd (struct io *const *ios, unsigned n)
{
  for (unsigned i = 0; i < n; ++i)
    if (!(ios[i]->flags & IO_CROWD) || to_aio_device (ios[i]->device)->buffered
        || (ios[i]->type != IO_READ && ios[i]->type != IO_WRITE))
      return false;
  return true;
}

static void
aio_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  struct aio *aio = to_aio_device (ios[0]->device)->aio;
  struct aio_thread *thread = aio_thread_get (aio);

  (void)batch;
  for (unsigned i = 0; i < n; ++i)
    to_aio_io (ios[i])->given_up = to_aio_io (ios[i])->in_crowd = false;
  if (thread && is_crowd (ios, n) && aio_crowd_join (thread, ios, n))
    return;
  for (unsigned i = 0; i < n; ++i) {
    struct io *io = ios[i];

    assert (to_aio_device (io->device)->aio == aio);
    if (aio->started
        && (io->type == IO_ZERO || to_aio_device (io->device)->buffered))
      submit_to_helper (io);
    else if (!thread)
      run_now (io);
    else {
      io->mine = true;
      queue_rest (thread->context, io);
    }
  }
  if (thread)
    aio_push (thread);
}

/* ---- reap ---- */

void
aio_event (struct aio_context *context, struct io *io, long res)
{
  int result;

  if (io->type == IO_FLUSH)
    result = res > 0 ? -EIO : (int)res;
  else if (res == -EINTR && io->state == IO_STARTED
           && rt_now () < io->deadline) {
    queue_rest (context, io);
    return;
  }
  else if (!transfer_over (io, res, &result)) {
    if (io->state == IO_STARTED) {
      queue_rest (context, io);
      return;
    }
    result = -EIO; /* abandoned: nobody asks for the rest */
  }
  io_done (io, result);
}

/* Those of the batch that are in the thread's own io_context. */
static unsigned
own (struct io_batch *batch)
{
  unsigned n = 0;

  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    struct io *io = io_batch_get (batch, i);

    n += io->mine && io->state == IO_STARTED && io->device->ops == &aio_ops
         && !to_aio_io (io)->in_crowd;
  }
  return n;
}

/* The io_context's other users: operations of earlier batches of this thread
 * that are still waited for, and abandoned ones.  All are credited.
 */
static void
aio_reap (struct io_batch *batch, uint64_t deadline)
{
  struct aio *aio = NULL;
  struct aio_thread *thread;
  bool crowd = false;
  unsigned n;

  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    struct io *io = io_batch_get (batch, i);

    if (io->mine && io->device->ops == &aio_ops) {
      aio = to_aio_device (io->device)->aio;
      crowd |= io->state == IO_STARTED && to_aio_io (io)->in_crowd;
    }
  }
  assert (aio);
  thread = aio_thread_find (aio);
  assert (thread && thread->context);
  if (crowd) {
    aio_crowd_wait (thread, batch, deadline);
    aio_push (thread);
  }
  n = own (batch);
  if (n > thread->context->outstanding)
    n = thread->context->outstanding;
  if (n > 0) {
    aio_reap_events (thread, n, deadline);
    aio_push (thread);
  }
  aio_orphan (thread);
}

static void
aio_give_up (struct io_batch *batch)
{
  struct aio_thread *thread = NULL;

  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    struct io *io = io_batch_get (batch, i);
    struct aio_io *aio_io = to_aio_io (io);

    if (!io->mine || io->state != IO_ABANDONED || io->device->ops != &aio_ops
        || aio_io->given_up)
      continue;
    if (aio_io->in_crowd) {
      aio_crowd_give_up (to_aio_device (io->device)->aio, io);
      continue;
    }
    thread = aio_thread_find (to_aio_device (io->device)->aio);
    assert (thread && thread->context);
    aio_io->given_up = true;
    thread->context->abandoned++;
  }
  if (thread)
    aio_orphan (thread);
}

const struct device_ops aio_ops = {
  .kind = "local",
  .submit = aio_submit,
  .reap = aio_reap,
  .give_up = aio_give_up,
  .close = aio_close,
};
