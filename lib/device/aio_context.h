/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What the files aio*.c share: local devices, their operations, and the
 * io_contexts of the threads.  Nobody else includes this, but for file*.c,
 * which look at aio->log.
 */

#ifndef MDBITMAP_AIO_CONTEXT_H
#define MDBITMAP_AIO_CONTEXT_H

#include <assert.h>
#include <libaio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/rt.h"
#include "device/aio.h"
#include "device/device.h"
#include "device/helpers.h"

/* Operations that a thread has in the kernel at once.  Small, since the
 * system allows 65536 (fs.aio-max-nr) for everyone.
 */
#define AIO_EVENTS 64

/* Devices that the watchdog can tell apart in one io_submit. */
#define AIO_WATCHED 8

/* A local device. */
struct aio_device {
  struct device device; /* first: the two are cast into one another */
  struct aio *aio;
  int fd;
  bool is_file;
  bool direct;   /* O_DIRECT is set */
  bool buffered; /* through the page cache, whose calls block: by helpers */

  /* Of a buffered device.  The lock is held across fdatasync, by helpers or
   * before there are threads: the kernel tells an error to one caller alone,
   * and two who ask at once must both know.
   */
  struct rt_mutex flush_lock;
  bool flush_failed; /* flush_lock; never cleared */

  /* Not zero: the disk or the filesystem has refused this, do not ask again.
   * Set by any thread, never cleared.
   */
  struct rt_atomic no_punch;
  struct rt_atomic no_zero_range;
  struct rt_atomic no_allocate;
  struct rt_atomic no_zeroout;

  /* The watchdog's look at this device; aio->lock. */
  uint64_t probe_since; /* rt_now when it began; 0: none is under way */
  uint64_t probe_good;  /* rt_now when the last one ended; 0: none did */
};

static inline struct aio_device *
to_aio_device (struct device *device)
{
  return (struct aio_device *)device;
}

/* What an operation keeps in io->driver. */
struct aio_io {
  union {
    struct iocb iocb;      /* the kernel's until its event was seen */
    struct helper_job job; /* IO_ZERO, buffered: the helper's */
  };
  struct io *next; /* in context->first, or in crowd->first */
  bool given_up;   /* counted in context->abandoned */
  bool in_crowd;   /* its owner's: it did not go into the thread's context */
  /* In the crowd. */
  struct rt_atomic call; /* the io_submit that it went with; 0: queued */
  struct rt_atomic fate; /* enum crowd_fate */
  long result;           /* once it has ended */
};

static_assert (sizeof (struct aio_io) <= IO_DRIVER_BYTES,
               "an operation of aio fits into io->driver");

static inline struct aio_io *
to_aio_io (struct io *io)
{
  return (struct aio_io *)(void *)io->driver;
}

/* Where the kernel puts what has ended, mapped into this process at the address
 * that names the io_context (fs/aio.c in Linux; it has been so since 2.5, and
 * magic and incompat tell whether it still is).
 */
struct aio_ring {
  unsigned id, nr;
  unsigned head; /* the next event to take: ours to move */
  unsigned tail; /* the kernel's */
  unsigned magic, compat, incompat, header_bytes;
  struct io_event events[];
};
#define AIO_RING_MAGIC 0xa10a10a1

static_assert (sizeof (struct aio_ring) == 32, "the kernel's header");

/* An io_context.  It belongs to one thread, or is idle, or an orphan. */
struct aio_context {
  struct aio_context *next; /* among idle ones or orphans; aio->lock */
  struct helper_job job;    /* its end */
  io_context_t id;
  struct aio_ring *ring;   /* NULL: it is not as we know it */
  unsigned outstanding;    /* operations that the kernel holds */
  unsigned abandoned;      /* of them, given up: nobody waits for them */
  struct io *first, *last; /* to be given to the kernel, in this order */
  bool together;           /* ... so that a disk is told of them at once */
  struct iocb *iocbs[AIO_EVENTS + 1];
  struct io_event events[AIO_EVENTS];
};

/* What many threads submit at once goes in one io_submit, of one of them; see
 * aio_crowd.c.
 */
#define CROWD_EVENTS  512
#define CROWD_THREADS 256
#define CROWD_MOST    8 /* io_submits of one thread in a row */
struct aio_crowd {
  io_context_t id;
  struct aio_ring *ring;
  struct rt_atomic outstanding; /* operations that have come and not gone */
  struct rt_atomic at_once;     /* how often, last, what was submitted had ended
                                 * when io_submit returned */
  struct rt_mutex lock;
  struct io *first, *last;   /* lock: to be submitted, in this order */
  bool busy;                 /* lock: a thread submits, for all */
  uint64_t since;            /* lock: rt_now when its io_submit began */
  uint64_t patience;         /* lock: after that it is stuck there */
  uint64_t calls;            /* lock: io_submits begun */
  struct rt_atomic returned; /* ... the last one that is over */
  struct iocb *iocbs[CROWD_EVENTS + 1]; /* of the one who is busy */
  struct io *ios[CROWD_EVENTS];
  struct rt_mutex ring_lock; /* the ring; who ends what was given up */
};

/* An aio_thread's wake, if it is no descriptor. */
#define WAKE_NOT_YET (-1)
#define WAKE_NONE    (-2) /* there is none to be had */

/* What a thread keeps (rt_local); made when it first submits.  Only the
 * thread itself touches it, except what is said to be atomic.
 */
struct aio_thread {
  struct aio_thread *next; /* aio->lock */
  struct aio *aio;         /* a reference */
  struct aio_context *context;
  /* For the watchdog: rt_now when the thread went into the kernel, or 0;
   * and the devices involved, ended by 0.  Atomic.
   */
  struct rt_atomic since;
  struct rt_atomic watched[AIO_WATCHED];
  /* For the alarm: when it is to wake the thread, or 0; how many events, in
   * which io_context, do so.  Atomic.
   */
  struct rt_atomic until;
  struct rt_atomic events;
  struct rt_atomic asleep_in; /* 0: it reads wake */
  int wake; /* an eventfd: the crowd's operations of this thread have ended;
             * or WAKE_NOT_YET, WAKE_NONE */
};

struct aio {
  struct rt_refs refs; /* the user, and each aio_thread */
  const struct log *log;
  bool started; /* set once before there are other threads */
  struct helpers *helpers;
  struct rt_atomic complained; /* trouble with contexts was told, once */
  struct rt_atomic alarm;      /* 1: it is on (aio.h) */
  struct aio_crowd *crowd;     /* NULL: nobody submits for others */
  struct rt_atomic in_crowd;   /* threads that have an eventfd for it */
  int null;                    /* /dev/null, to read nothing from; or -1 */
  struct rt_mutex lock;        /* everything below */
  struct aio_thread *threads;
  struct aio_context *idle;
  struct aio_context *orphans;
  bool closed;
};

/* ---- aio.c ---- */

/* Make the iocb, for what is left of the operation. */
extern void aio_prepare (struct io *io);

/* ---- aio_context.c ---- */

/* The calling thread's record, with a context; NULL if there can be none
 * (not started, or the system gives no more contexts).
 */
extern struct aio_thread *aio_thread_get (struct aio *aio);
/* The same, but makes nothing. */
extern struct aio_thread *aio_thread_find (struct aio *aio);

/* Append to what the thread gives to the kernel next. */
extern void aio_queue (struct aio_context *context, struct io *io);

/* Give everything that is queued to the kernel. */
extern void aio_push (struct aio_thread *thread);

/* Wait until at least min operations of the thread have ended or the deadline
 * has passed, and credit what has ended.  What is left of short transfers is
 * queued.  It may return earlier: look at the clock.
 */
extern void
aio_reap_events (struct aio_thread *thread, unsigned min, uint64_t deadline);

/* If nobody waits any more for what the thread's context has in the kernel,
 * let aio_poll have the context.
 */
extern void aio_orphan (struct aio_thread *thread);

/* A nap of a millisecond, for a kernel that is out of resources. */
extern void aio_nap (void);

/* One io_submit.  together: of two, so that the disk is told of both at once.
 */
extern int aio_submit_now (io_context_t id, unsigned n, struct iocb **iocbs,
                           bool together);

/* The ring of an io_context, or NULL if it is not as we know it. */
extern struct aio_ring *aio_ring_of (io_context_t id);

/* ---- aio_crowd.c ---- */

/* At the start; without memory, or an io_context, there is no crowd. */
extern void aio_crowd_new (struct aio *aio);
extern void aio_crowd_free (struct aio *aio);

/* Have n operations go with those of others.  False: it does not pay, or cannot
 * be.
 */
extern bool
aio_crowd_join (struct aio_thread *thread, struct io *const *ios, unsigned n);

/* Wait until those of the batch that are in the crowd have ended or the alarm
 * has rung since the deadline, and credit what has ended.
 */
extern void aio_crowd_wait (struct aio_thread *thread, struct io_batch *batch,
                            uint64_t deadline);
/* The thread ends. */
extern void aio_crowd_leave (struct aio_thread *thread);
/* Nobody waits for the operation any more. */
extern void aio_crowd_give_up (struct aio *aio, struct io *io);
/* End what was given up, and see to it that nobody waits behind a thread that
 * is stuck in io_submit.  Once a second.
 */
extern void aio_crowd_poll (struct aio *aio);
/* How a thread's own io_submit went: had all ended when it returned? */
extern void aio_crowd_note (struct aio_crowd *crowd, bool at_once);

/* ---- aio_watch.c ---- */

/* Before the thread looks at aio->alarm and waits: that many events are to wake
 * it, at the deadline; 0: its eventfd is to, with more than operations ever add
 * to that.  thread->until = 0 takes it back.
 */
#define AIO_ALARM_RINGS (UINT64_C (1) << 32)
extern void
aio_set_alarm (struct aio_thread *thread, unsigned events, uint64_t deadline);

/* Wake all threads that are to be woken by then.  False: not all could be. */
extern bool aio_ring_alarm (struct aio *aio, uint64_t now);

/* Before there are threads: whether it would work, in some io_context.  If not
 * it is never on.
 */
extern void aio_try_alarm (struct aio *aio, io_context_t id);

/* The watchdog's marks around calls that may get stuck. */
extern void
aio_watch (struct aio_thread *thread, struct io *const *ios, unsigned n);
extern void aio_unwatch (struct aio_thread *thread);

/* ---- aio.c ---- */

extern const struct device_ops aio_ops;

/* An operation's event: queue what is left of it, or end it. */
extern void aio_event (struct aio_context *context, struct io *io, long res);

/* ---- aio_open.c ---- */

extern void aio_close (struct device *device);

#endif /* MDBITMAP_AIO_CONTEXT_H */
