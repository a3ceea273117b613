/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Many threads that submit at once: one of them does it for all.
 *
 * An io_submit tells the disk of what it brings, which is the better part of
 * what it costs, on a virtual disk above all.  So while one thread is inside
 * io_submit, the others leave their operations in a queue and go to wait; when
 * it comes out it submits what has come meanwhile, all at once.
 *
 * They share an io_context for that.  Each operation has its thread's eventfd,
 * by which the kernel wakes the thread that waits, and no other one.  It then
 * takes what there is from the ring, and leaves it with the operations of
 * others for them to see.
 *
 * Invariants:
 *   1. An operation is in the queue (call is 0), or with the io_submit of that
 *      number, which is over if it is not above crowd->returned.  Until then
 *      its thread does not give it up: nobody can say whose fault that is, and
 *      the array of pointers is the kernel's.
 *   2. From when it is in the queue, its fate is changed by whoever holds
 *      ring_lock.  Once it is ENDED the operation is its owner's again, and may
 *      be gone; if it is GIVEN_UP when its event comes, it is ended there and
 *      then.
 *   3. Nobody joins while the busy one has been in io_submit for longer than
 *      crowd->patience; and who waits in the queue then leaves it, when
 *      aio_crowd_poll next looks.
 *   4. A thread that has read its eventfd has taken ring_lock before it reads
 *      it again: whoever took its event from the ring has let go of the lock,
 *      and so has set its fate.
 *
 * It does not pay for what has ended when io_submit returns, as on a disk in
 * memory: there each thread does its own copying.
 *
 * Locks: crowd->lock for the queue, crowd->ring_lock for the ring; neither is
 * taken with the other held.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/aio_context.h"

#define PATIENCE (RT_SECOND / 1000)
#define AT_ONCE  8 /* so often in a row, and it does not pay */

enum crowd_fate {
  UNDER_WAY,
  ENDED,    /* result is there, for its owner to see */
  GIVEN_UP, /* it has no owner any more */
};

/* ---- out of the kernel ---- */

/* ring_lock. */
static void
end (struct aio_crowd *crowd, struct io *io, long res)
{
  struct aio_io *aio_io = to_aio_io (io);

  assert (rt_atomic_get (&aio_io->call) > 0);
  if (rt_atomic_get (&aio_io->fate) == GIVEN_UP) {
    rt_atomic_sub (&crowd->outstanding, 1);
    aio_event (NULL, io, res);
    return;
  }
  aio_io->result = res;
  rt_atomic_set (&aio_io->fate, ENDED);
}

static void
look (struct aio_crowd *crowd)
{
  struct aio_ring *ring = crowd->ring;
  struct io_event event;
  unsigned head;

  rt_mutex_lock (&crowd->ring_lock);
  while ((head = ring->head) != rt_shared_get (&ring->tail)) {
    event = ring->events[head];
    rt_shared_set (&ring->head, head + 1 == ring->nr ? 0 : head + 1);
    end (crowd, event.data, (long)event.res);
  }
  rt_mutex_unlock (&crowd->ring_lock);
}

/* ---- into the kernel ---- */

/* Take the whole queue; how many.  Once its call is set, an operation is looked
 * at only if the kernel has not taken it: else it may have ended, and be gone.
 * lock.
 */
static unsigned
take (struct aio_thread *thread)
{
  struct aio_crowd *crowd = thread->aio->crowd;
  unsigned n = 0;

  crowd->calls++;
  for (struct io *io = crowd->first; io; io = to_aio_io (io)->next) {
    crowd->ios[n] = io;
    crowd->iocbs[n++] = &to_aio_io (io)->iocb;
  }
  aio_watch (thread, crowd->ios, n);
  for (unsigned i = 0; i < n; ++i)
    rt_atomic_set (&to_aio_io (crowd->ios[i])->call, crowd->calls);
  crowd->first = crowd->last = NULL;
  crowd->since = rt_now ();
  return n;
}

static void
wake_owner (struct io *io)
{
  (void)eventfd_write ((int)to_aio_io (io)->iocb.u.c.resfd, 1);
}

/* The kernel does not take it.  Its owner, who may be gone with its descriptor
 * once the fate is set, cannot see that before the lock is released.
 */
static void
refuse (struct aio_crowd *crowd, struct io *io, long error)
{
  rt_mutex_lock (&crowd->ring_lock);
  wake_owner (io);
  end (crowd, io, error);
  rt_mutex_unlock (&crowd->ring_lock);
}

/* The kernel took nothing: it was interrupted, or has no room.  False: the
 * first of them has waited for long enough.
 */
static bool
wait_for_room (struct aio_crowd *crowd, const struct io *first, int error)
{
  if (rt_now () >= first->deadline)
    return false;
  if (error != -EINTR) {
    look (crowd);
    aio_nap ();
  }
  return true;
}

/* One io_submit, or as many as it takes. */
static void
submit (struct aio_thread *thread, unsigned n)
{
  struct aio_crowd *crowd = thread->aio->crowd;
  unsigned done = 0;
  struct io *first;
  int r;

  while (done < n) {
    r = aio_submit_now (crowd->id, n - done, crowd->iocbs + done, true);
    if (r > 0) {
      done += (unsigned)r;
      continue;
    }
    first = crowd->ios[done];
    if ((r != 0 && r != -EAGAIN && r != -EINTR)
        || !wait_for_room (crowd, first, r)) {
      refuse (crowd, first, r != 0 ? r : -EAGAIN);
      done++;
    }
    if (done < n)
      aio_watch (thread, crowd->ios + done, n - done);
  }
  aio_unwatch (thread);
}

/* Submit the queue, and what comes meanwhile.  mine: one of the thread's own in
 * it, or NULL.  lock, which is released.
 */
static void
lead (struct aio_thread *thread, struct io *mine)
{
  struct aio_crowd *crowd = thread->aio->crowd;

  crowd->busy = true;
  for (unsigned i = 0; i < CROWD_MOST && crowd->first; ++i) {
    unsigned n = take (thread);
    uint64_t call = crowd->calls;

    rt_mutex_unlock (&crowd->lock);
    submit (thread, n);
    if (mine) {
      look (crowd);
      aio_crowd_note (crowd, rt_atomic_get (&to_aio_io (mine)->fate) == ENDED);
      mine = NULL;
    }
    rt_mutex_lock (&crowd->lock);
    rt_atomic_set (&crowd->returned, call);
  }
  crowd->busy = false;
  if (crowd->first)
    wake_owner (crowd->first);
  rt_mutex_unlock (&crowd->lock);
}

static bool
is_stuck (const struct aio_crowd *crowd)
{
  return crowd->busy && rt_now () - crowd->since > crowd->patience;
}

void
aio_crowd_note (struct aio_crowd *crowd, bool at_once)
{
  uint64_t n = rt_atomic_get (&crowd->at_once);

  if (!at_once && n > 0)
    rt_atomic_set (&crowd->at_once, 0);
  else if (at_once && n < AT_ONCE)
    rt_atomic_set (&crowd->at_once, n + 1);
}

/* The descriptor is kept while the thread lives; not too many of them, as
 * clients need some too.
 */
static bool
has_wake (struct aio_thread *thread)
{
  struct aio *aio = thread->aio;

  if (thread->wake != WAKE_NOT_YET)
    return thread->wake >= 0;
  thread->wake = WAKE_NONE;
  if (rt_atomic_add (&aio->in_crowd, 1) <= CROWD_THREADS)
    thread->wake = eventfd (0, EFD_CLOEXEC);
  if (thread->wake >= 0)
    return true;
  thread->wake = WAKE_NONE;
  rt_atomic_sub (&aio->in_crowd, 1);
  return false;
}

void
aio_crowd_leave (struct aio_thread *thread)
{
  if (thread->wake < 0)
    return;
  close (thread->wake);
  rt_atomic_sub (&thread->aio->in_crowd, 1);
}

bool
aio_crowd_join (struct aio_thread *thread, struct io *const *ios, unsigned n)
{
  struct aio_crowd *crowd = thread->aio->crowd;

  if (!crowd || !rt_atomic_get (&thread->aio->alarm)
      || rt_atomic_get (&crowd->at_once) >= AT_ONCE || !has_wake (thread))
    return false;
  if (rt_atomic_add (&crowd->outstanding, n) > CROWD_EVENTS) {
    rt_atomic_sub (&crowd->outstanding, n);
    return false;
  }
  for (unsigned i = 0; i < n; ++i) {
    struct aio_io *aio_io = to_aio_io (ios[i]);

    aio_prepare (ios[i]);
    io_set_eventfd (&aio_io->iocb, thread->wake);
    aio_io->next = i + 1 < n ? ios[i + 1] : NULL;
    rt_atomic_set (&aio_io->call, 0);
    rt_atomic_set (&aio_io->fate, UNDER_WAY);
  }
  rt_mutex_lock (&crowd->lock);
  if (is_stuck (crowd)) {
    rt_mutex_unlock (&crowd->lock);
    rt_atomic_sub (&crowd->outstanding, n);
    return false;
  }
  for (unsigned i = 0; i < n; ++i) {
    ios[i]->mine = true;
    to_aio_io (ios[i])->in_crowd = true;
  }
  if (crowd->first)
    to_aio_io (crowd->last)->next = ios[0];
  else
    crowd->first = ios[0];
  crowd->last = ios[n - 1];
  if (!crowd->busy)
    lead (thread, ios[n - 1]);
  else
    rt_mutex_unlock (&crowd->lock);
  return true;
}

/* ---- waiting ---- */

/* It is back from the kernel: end it, or have the thread's context take the
 * rest.
 */
static void
credit (struct aio_thread *thread, struct io *io)
{
  struct aio_io *aio_io = to_aio_io (io);

  rt_atomic_sub (&thread->aio->crowd->outstanding, 1);
  aio_io->in_crowd = false;
  aio_event (thread->context, io, aio_io->result);
}

/* Credit those of the batch that have ended; one that has not, or NULL. */
static struct io *
credit_ended (struct aio_thread *thread, struct io_batch *batch)
{
  struct io *left = NULL;

  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    struct io *io = io_batch_get (batch, i);

    if (!io->mine || io->state != IO_STARTED || io->device->ops != &aio_ops
        || !to_aio_io (io)->in_crowd)
      continue;
    if (rt_atomic_get (&to_aio_io (io)->fate) == ENDED)
      credit (thread, io);
    else
      left = io;
  }
  return left;
}

/* What is still in the queue: lead, or if it is stuck, leave it and go the
 * usual way.
 */
static void
check_queue (struct aio_thread *thread, struct io_batch *batch)
{
  struct aio_crowd *crowd = thread->aio->crowd;
  struct io **p, *io, *last = NULL;

  rt_mutex_lock (&crowd->lock);
  if (!crowd->busy && crowd->first) {
    lead (thread, NULL);
    return;
  }
  if (is_stuck (crowd)) {
    for (p = &crowd->first; (io = *p) != NULL;) {
      if (io->batch != batch) {
        last = io;
        p = &to_aio_io (io)->next;
        continue;
      }
      *p = to_aio_io (io)->next;
      to_aio_io (io)->in_crowd = false;
      rt_atomic_sub (&crowd->outstanding, 1);
      aio_prepare (io);
      aio_queue (thread->context, io);
    }
    crowd->last = last;
  }
  rt_mutex_unlock (&crowd->lock);
}

/* Sleep until something of this thread's has ended, or the deadline.  True: it
 * was not by something that has ended.
 */
static bool
sleep_until (struct aio_thread *thread, uint64_t deadline)
{
  struct pollfd fd = { .fd = thread->wake, .events = POLLIN };
  uint64_t now, left;
  eventfd_t n = AIO_ALARM_RINGS;

  if (deadline != RT_NEVER) {
    aio_set_alarm (thread, 0, deadline);
    if (!rt_atomic_get (&thread->aio->alarm)) {
      now = rt_now ();
      left = now < deadline ? deadline - now : RT_SECOND;
      if (poll (&fd, 1, (int)min_u64 (left / 1000000 + 1, 1000)) != 1)
        goto out;
    }
  }
  (void)eventfd_read (thread->wake, &n);
out:
  rt_atomic_set (&thread->until, 0);
  return n >= AIO_ALARM_RINGS;
}

void
aio_crowd_wait (struct aio_thread *thread, struct io_batch *batch,
                uint64_t deadline)
{
  struct aio_crowd *crowd = thread->aio->crowd;
  bool woken = false, rang = false;
  struct io *io;

  look (crowd);
  while ((io = credit_ended (thread, batch)) != NULL) {
    uint64_t call = rt_atomic_get (&to_aio_io (io)->call);

    if (call == 0 && woken) {
      check_queue (thread, batch);
      if (!to_aio_io (io)->in_crowd)
        continue;
    }
    woken = true;
    if (rang && call != 0 && call <= rt_atomic_get (&crowd->returned)
        && rt_now () >= deadline)
      return;
    rang = sleep_until (thread, deadline);
    look (crowd);
  }
}

void
aio_crowd_give_up (struct aio *aio, struct io *io)
{
  struct aio_io *aio_io = to_aio_io (io);
  struct aio_crowd *crowd = aio->crowd;
  uint64_t had;

  rt_mutex_lock (&crowd->ring_lock);
  had = rt_atomic_get (&aio_io->fate);
  rt_atomic_set (&aio_io->fate, GIVEN_UP);
  if (had == ENDED)
    end (crowd, io, aio_io->result);
  rt_mutex_unlock (&crowd->ring_lock);
}

void
aio_crowd_poll (struct aio *aio)
{
  struct aio_crowd *crowd = aio->crowd;

  if (!crowd)
    return;
  look (crowd);
  rt_mutex_lock (&crowd->lock);
  if (is_stuck (crowd) || !crowd->busy)
    for (struct io *io = crowd->first; io; io = to_aio_io (io)->next)
      wake_owner (io);
  rt_mutex_unlock (&crowd->lock);
}

/* ---- the whole ---- */

void
aio_crowd_new (struct aio *aio)
{
  struct aio_crowd *crowd = rt_calloc (1, sizeof *crowd);

  if (!crowd)
    return;
  if (io_setup (CROWD_EVENTS, &crowd->id) < 0) {
    rt_free (crowd);
    return;
  }
  crowd->ring = aio_ring_of (crowd->id);
  if (!crowd->ring) {
    io_destroy (crowd->id);
    rt_free (crowd);
    return;
  }
  crowd->patience = PATIENCE;
  rt_mutex_init (&crowd->lock);
  rt_mutex_init (&crowd->ring_lock);
  aio->crowd = crowd;
}

void
aio_crowd_free (struct aio *aio)
{
  struct aio_crowd *crowd = aio->crowd;

  if (!crowd)
    return;
  look (crowd);
  if (rt_atomic_get (&crowd->outstanding) > 0) {
    log_error (aio->log, "operations that were given up have not come back; "
                         "their memory stays until this process ends");
    return;
  }
  io_destroy (crowd->id);
  rt_mutex_destroy (&crowd->lock);
  rt_mutex_destroy (&crowd->ring_lock);
  rt_free (crowd);
  aio->crowd = NULL;
}
