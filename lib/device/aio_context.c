/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* io_contexts: who owns them, and how operations get into the kernel and back.
 *
 * Each thread has a context of its own, so that a request costs one
 * io_submit and one io_getevents in the thread that carries it, and wakes
 * nobody.  It is made when the thread first submits and goes to a pool when
 * the thread ends.  But many writes at once go through one for all: see
 * aio_crowd.c.
 *
 * Invariants:
 *   1. A context is touched by its thread alone, until it is put into
 *      aio->idle or aio->orphans (under aio->lock), and by aio_poll alone
 *      while it is an orphan.  So are the operations in it that are mine.
 *      Only the alarm gives something to the io_context of another thread.
 *   2. io_destroy is called only when outstanding, which does not count what
 *      the alarm gave, is 0: it waits for the disk without a deadline.
 *   3. context->abandoned counts the operations among the outstanding ones
 *      that no waiter will look at.  A context where that is all of them is
 *      an orphan; while another batch of the same thread still waits, the
 *      thread keeps it.
 *   4. When aio_push returns, the queue is empty.
 *   5. What the kernel writes to later (iocbs, data) is heap memory that the
 *      batch owns, and the batch lives until io_done.
 *
 * What has ended is taken from the kernel's ring without a system call, if it
 * is there already: legs in memory are done when io_submit returns, and often
 * the other leg's event came with the first one's.
 *
 * A thread's record holds a reference to the aio.  So the address of an aio,
 * by which threads find their records, is not used again while some thread
 * still has one.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "device/aio_context.h"

#ifdef HAVE_VALGRIND_VALGRIND_H
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* ---- contexts ---- */

/* Valgrind learns from the system call alone that memory was written to. */
struct aio_ring *
aio_ring_of (io_context_t id)
{
  struct aio_ring *ring = (void *)id;

  if (RUNNING_ON_VALGRIND || ring->magic != AIO_RING_MAGIC
      || ring->incompat != 0 || ring->header_bytes != sizeof *ring)
    return NULL;
  return ring;
}

/* 0 or -errno. */
static int
context_new (struct aio_context **result)
{
  struct aio_context *context = rt_calloc (1, sizeof *context);
  int err;

  if (!context)
    return -ENOMEM;
  err = io_setup (AIO_EVENTS, &context->id);
  if (err < 0) {
    rt_free (context);
    return err;
  }
  context->ring = aio_ring_of (context->id);
  *result = context;
  return 0;
}

static void
context_free (struct aio_context *context)
{
  assert (context->outstanding == 0);
  assert (context->first == NULL);
  io_destroy (context->id);
  rt_free (context);
}

static void
context_end (struct helper_job *job)
{
  context_free ((struct aio_context *)((uint8_t *)job
                                       - offsetof (struct aio_context, job)));
}

/* io_destroy waits for all processors, some 30 ms: not one after the other. */
static void
context_end_soon (struct aio *aio, struct aio_context *context)
{
  context->job.owner = context;
  context->job.run = context_end;
  if (helpers_add (aio->helpers, &context->job) < 0)
    context_free (context);
}

/* No thread owns the context any more.  aio->lock. */
static void
context_release (struct aio *aio, struct aio_context *context)
{
  struct aio_context **list;

  assert (context->abandoned <= context->outstanding);
  assert (context->first == NULL);
  if (context->outstanding == 0 && aio->closed) {
    context_free (context);
    return;
  }
  list = context->outstanding > 0 ? &aio->orphans : &aio->idle;
  context->next = *list;
  *list = context;
}

void
aio_orphan (struct aio_thread *thread)
{
  struct aio_context *context = thread->context;

  if (context->abandoned == 0 || context->abandoned < context->outstanding)
    return;
  thread->context = NULL;
  rt_mutex_lock (&thread->aio->lock);
  context_release (thread->aio, context);
  rt_mutex_unlock (&thread->aio->lock);
}

/* ---- threads ---- */

static void
aio_put (struct aio *aio)
{
  if (!rt_refs_put (&aio->refs))
    return;
  rt_mutex_destroy (&aio->lock);
  rt_free (aio);
}

/* The thread ends, or the aio does. */
static void
thread_release (void *value)
{
  struct aio_thread *thread = value, **p;
  struct aio *aio = thread->aio;

  rt_mutex_lock (&aio->lock);
  for (p = &aio->threads; *p != thread; p = &(*p)->next)
    ;
  *p = thread->next;
  if (thread->context)
    context_release (aio, thread->context);
  rt_mutex_unlock (&aio->lock);
  aio_crowd_leave (thread);
  rt_free (thread);
  aio_put (aio);
}

static struct aio_thread *
thread_new (struct aio *aio)
{
  struct aio_thread *thread = rt_calloc (1, sizeof *thread);

  if (!thread)
    return NULL;
  if (rt_local_set (aio, thread, thread_release) < 0) {
    rt_free (thread);
    return NULL;
  }
  thread->aio = aio;
  thread->wake = WAKE_NOT_YET;
  rt_refs_get (&aio->refs);
  rt_mutex_lock (&aio->lock);
  thread->next = aio->threads;
  aio->threads = thread;
  rt_mutex_unlock (&aio->lock);
  return thread;
}

struct aio_thread *
aio_thread_find (struct aio *aio)
{
  return aio->started ? rt_local_get (aio) : NULL;
}

/* A context for the thread, from the pool or a new one.  0 or -errno. */
static int
thread_take_context (struct aio_thread *thread)
{
  struct aio *aio = thread->aio;

  rt_mutex_lock (&aio->lock);
  thread->context = aio->idle;
  if (aio->idle)
    aio->idle = aio->idle->next;
  rt_mutex_unlock (&aio->lock);
  return thread->context ? 0 : context_new (&thread->context);
}

struct aio_thread *
aio_thread_get (struct aio *aio)
{
  struct aio_thread *thread = aio_thread_find (aio);
  int err = -ENOMEM;

  if (thread && thread->context)
    return thread;
  if (!aio->started)
    return NULL;
  if (!thread)
    thread = thread_new (aio);
  if (thread)
    err = thread_take_context (thread);
  if (err == 0)
    return thread;
  if (rt_atomic_add (&aio->complained, 1) == 1)
    log_notice (aio->log,
                "no io_context for another thread: %s; it goes on with "
                "blocking calls, which have no time limit; raise "
                "fs.aio-max-nr or use fewer threads",
                strerror (-err));
  return NULL;
}

/* ---- out of the kernel ---- */

static void
credit (struct aio_context *context, const struct io_event *event)
{
  struct io *io = event->data;

  if (!io)
    return; /* the alarm */
  assert (context->outstanding > 0);
  context->outstanding--;
  if (to_aio_io (io)->given_up)
    context->abandoned--;
  aio_event (context, io, (long)event->res);
}

/* Credit what is in the ring; how many.  Only the context's owner takes from
 * it, so that head moves here alone or inside its own io_getevents.
 */
static unsigned
reap_ring (struct aio_context *context)
{
  struct aio_ring *ring = context->ring;
  struct io_event event;
  unsigned head, n = 0;

  if (!ring)
    return 0;
  while ((head = ring->head) != rt_shared_get (&ring->tail)) {
    event = ring->events[head];
    /* The kernel may use the place again only after it was read. */
    rt_shared_set (&ring->head, head + 1 == ring->nr ? 0 : head + 1);
    credit (context, &event);
    n++;
  }
  return n;
}

/* Credit min events or more; fewer if the timeout, NULL for none, is over. */
static void
reap (struct aio *aio, struct aio_context *context, unsigned min,
      struct timespec *timeout)
{
  int n = io_getevents (context->id, min, AIO_EVENTS, context->events, timeout);

  for (int i = 0; i < n; ++i)
    credit (context, &context->events[i]);
  if (n < 0 && n != -EINTR) {
    /* The operations can only be given up, at their deadlines. */
    if (rt_atomic_add (&aio->complained, 1) == 1)
      log_error (aio->log, "io_getevents: %s", strerror (-n));
    aio_nap ();
  }
}

/* The same with a timer of the kernel's. */
static void
reap_until (struct aio *aio, struct aio_context *context, unsigned min,
            uint64_t deadline)
{
  struct timespec ts = { 0 };
  uint64_t now = rt_now (), left;

  if (now < deadline) {
    left = deadline - now;
    ts.tv_sec = (time_t)(left / RT_SECOND);
    ts.tv_nsec = (long)(left % RT_SECOND);
  }
  reap (aio, context, min, &ts);
}

void
aio_reap_events (struct aio_thread *thread, unsigned min, uint64_t deadline)
{
  struct aio_context *context = thread->context;
  struct aio *aio = thread->aio;
  unsigned taken = reap_ring (context);

  if (context->ring && taken >= min) {
    if (aio->crowd)
      aio_crowd_note (aio->crowd, true);
    return;
  }
  if (aio->crowd)
    aio_crowd_note (aio->crowd, false);
  min -= taken;
  if (deadline == RT_NEVER) {
    reap (aio, context, min, NULL);
    return;
  }
  aio_set_alarm (thread, min, deadline);
  if (rt_atomic_get (&aio->alarm))
    reap (aio, context, min, NULL);
  else
    reap_until (aio, context, min, deadline);
  rt_atomic_set (&thread->until, 0);
}

/* ---- into the kernel ---- */

void
aio_nap (void)
{
  struct timespec ts = { .tv_nsec = 1000000 };

  nanosleep (&ts, NULL);
}

void
aio_queue (struct aio_context *context, struct io *io)
{
  to_aio_io (io)->next = NULL;
  if (context->first)
    to_aio_io (context->last)->next = io;
  else
    context->first = io;
  context->last = io;
}

static struct io *
unqueue (struct aio_context *context)
{
  struct io *io = context->first;

  context->first = to_aio_io (io)->next;
  if (!context->first)
    context->last = NULL;
  return io;
}

/* An io_submit of three or more tells a disk of what it has for it when it
 * returns (AIO_PLUG_THRESHOLD of fs/aio.c in Linux); of one or two, at each.
 * Two legs on one virtual disk are then two exits to its host, which are a
 * fifth of all that a small write costs.  So a third goes with the two; the
 * kernel refuses it, and says that it took two.
 */
int
aio_submit_now (io_context_t id, unsigned n, struct iocb **iocbs, bool together)
{
  struct iocb refused = { .aio_fildes = -1, .aio_lio_opcode = -1 };
  int r;

  if (!together || n != 2)
    return io_submit (id, n, iocbs);
  iocbs[2] = &refused;
  r = io_submit (id, 3, iocbs);
  return r > 2 ? 2 : r;
}

/* One io_submit for as much of the queue as the context has room for; its
 * result.
 */
static int
submit_some (struct aio_thread *thread)
{
  struct aio_context *context = thread->context;
  unsigned room = AIO_EVENTS - context->outstanding, n = 0;
  struct io *ios[AIO_EVENTS];
  int r;

  assert (context->first);
  if (room == 0)
    return -EAGAIN;
  for (struct io *io = context->first; io && n < room;
       io = to_aio_io (io)->next) {
    context->iocbs[n] = &to_aio_io (io)->iocb;
    ios[n++] = io;
  }
  aio_watch (thread, ios, n);
  r = aio_submit_now (context->id, n, context->iocbs,
                      context->together && context->ring);
  context->together = false;
  aio_unwatch (thread);
  return r;
}

/* The kernel took nothing: it was interrupted, or has no room.  Then make
 * some: wait for something of this thread's to end, or for others.  The first
 * in the queue fails when its time is up.
 */
static void
push_wait (struct aio_thread *thread, int error)
{
  struct aio_context *context = thread->context;
  struct io *io = context->first;

  if (rt_now () >= io->deadline) {
    unqueue (context);
    io_done (io, error);
  }
  else if (error == -EINTR)
    return;
  else if (context->outstanding > context->abandoned)
    aio_reap_events (thread, 1, io->deadline);
  else {
    reap (thread->aio, context, 0, NULL);
    aio_nap ();
  }
}

void
aio_push (struct aio_thread *thread)
{
  struct aio_context *context = thread->context;
  struct io *io;
  int r;

  while (context->first) {
    r = submit_some (thread);
    if (r == -EAGAIN || r == -EINTR || r == 0)
      push_wait (thread, r == 0 ? -EAGAIN : r);
    else if (r < 0) {
      /* It speaks of the first one alone; the rest was not looked at. */
      io = unqueue (context);
      io_done (io, r);
    }
    else {
      /* The kernel may be through with them already, but only this thread
       * will see their events.
       */
      context->outstanding += (unsigned)r;
      for (; r > 0; --r)
        unqueue (context);
    }
  }
}

void
aio_poll (struct aio *aio)
{
  struct aio_context *orphans, *context;

  rt_mutex_lock (&aio->lock);
  orphans = aio->orphans;
  aio->orphans = NULL;
  rt_mutex_unlock (&aio->lock);

  while ((context = orphans) != NULL) {
    orphans = context->next;
    reap (aio, context, 0, NULL);
    rt_mutex_lock (&aio->lock);
    context_release (aio, context);
    rt_mutex_unlock (&aio->lock);
  }
  aio_crowd_poll (aio);
  if (rt_atomic_get (&aio->alarm) && !aio_ring_alarm (aio, rt_now ())
      && rt_atomic_add (&aio->complained, 1) == 1)
    log_error (aio->log, "io_submit has no room to wake a thread whose "
                         "operations are overdue; trying again");
}

/* ---- the whole ---- */

struct aio *
aio_new (const struct log *log)
{
  struct aio *aio = rt_calloc (1, sizeof *aio);

  if (!aio)
    return NULL;
  aio->helpers = helpers_new ();
  if (!aio->helpers) {
    rt_free (aio);
    return NULL;
  }
  rt_refs_init (&aio->refs);
  aio->log = log;
  aio->null = -1;
  rt_mutex_init (&aio->lock);
  return aio;
}

int
aio_start (struct aio *aio)
{
  struct aio_context *context;
  int err;

  assert (!aio->started);
  /* One to begin with: if there is none at all, say so now. */
  err = context_new (&context);
  if (err < 0) {
    log_error (aio->log,
               "libaio gives no io_context: %s; if fs.aio-nr has come up to "
               "fs.aio-max-nr, raise that (sysctl)",
               strerror (-err));
    return err;
  }
  aio_try_alarm (aio, context->id);
  aio_crowd_new (aio);
  context->next = aio->idle;
  aio->idle = context;
  aio->started = true;
  return 0;
}

void
aio_free (struct aio *aio)
{
  struct aio_thread *mine;
  struct aio_context *context;

  if (!aio)
    return;
  mine = aio_thread_find (aio);
  if (mine) {
    rt_local_forget (aio);
    thread_release (mine);
  }
  aio_poll (aio);
  rt_mutex_lock (&aio->lock);
  /* No device is left, so no thread is using its context. */
  for (struct aio_thread *t = aio->threads; t; t = t->next)
    if (t->context) {
      context_release (aio, t->context);
      t->context = NULL;
    }
  while ((context = aio->idle) != NULL) {
    aio->idle = context->next;
    context_end_soon (aio, context);
  }
  aio->closed = true;
  rt_mutex_unlock (&aio->lock);
  aio_crowd_free (aio);
  if (aio->null != -1)
    close (aio->null);
  if (!helpers_free (aio->helpers)) {
    log_error (aio->log, "a helper thread is stuck in a system call; it "
                         "stays behind");
    return;
  }
  rt_mutex_lock (&aio->lock);
  if (aio->orphans)
    log_error (aio->log, "operations that were given up have not come back; "
                         "their memory stays until this process ends");
  rt_mutex_unlock (&aio->lock);
  aio_put (aio);
}
