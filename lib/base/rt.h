/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The seam between the library and the machine: threads, locks, the clock,
 * randomness, memory.
 *
 * All waiting in lib/ goes through this file.  In the program it is a thin
 * layer over pthread; a simulator may put fibers and a virtual clock behind
 * the same names, so that every lock, wait and atomic is a point where it
 * chooses who runs next.  Outside base/rt and device/ nobody calls pthread,
 * clocks, sleeps or random sources directly.
 *
 * Failures of the primitives themselves (a mutex that cannot be locked) are
 * bugs and abort.  errno is never read across a call of this file.
 */

#ifndef MDBITMAP_RT_H
#define MDBITMAP_RT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef MDBITMAP_SIM
#include "sim/rt_sim.h" /* rt_mutex, rt_cond, rt_thread */
#else
#include <pthread.h>
#endif

#define RT_SECOND ((uint64_t)1000000000) /* nanoseconds */
#define RT_NEVER  UINT64_MAX             /* a deadline that does not pass */

/* ---- memory ---- */

/* As malloc, calloc and free.  The size 0 is not used. */
extern void *rt_alloc (size_t size);
extern void *rt_calloc (size_t n, size_t size);
extern void rt_free (void *p);
/* size is a multiple of align, align a power of two. */
extern void *rt_alloc_aligned (size_t align, size_t size);

/* ---- locks ---- */

#ifndef MDBITMAP_SIM
struct rt_mutex {
  pthread_mutex_t mutex;
};

struct rt_cond {
  pthread_cond_t cond;
};
#endif

extern void rt_mutex_init (struct rt_mutex *mutex);
extern void rt_mutex_destroy (struct rt_mutex *mutex);
extern void rt_mutex_lock (struct rt_mutex *mutex);
extern void rt_mutex_unlock (struct rt_mutex *mutex);

extern void rt_cond_init (struct rt_cond *cond);
extern void rt_cond_destroy (struct rt_cond *cond);
/* May wake without reason: look at the state again. */
extern void rt_cond_wait (struct rt_cond *cond, struct rt_mutex *mutex);
/* Returns false if the deadline (rt_now time) has passed. */
extern bool rt_cond_wait_until (struct rt_cond *cond, struct rt_mutex *mutex,
                                uint64_t deadline);
extern void rt_cond_signal (struct rt_cond *cond);
extern void rt_cond_broadcast (struct rt_cond *cond);

/* ---- atomics ---- */

/* A reference count.  The last put synchronises with all earlier ones. */
struct rt_refs {
  unsigned n;
};

extern void rt_refs_init (struct rt_refs *refs); /* to 1 */
extern void rt_refs_get (struct rt_refs *refs);
extern bool rt_refs_put (struct rt_refs *refs); /* true: it was the last */
/* True if the caller has the only one, and so sees what those did who put
 * theirs.
 */
extern bool rt_refs_mine (const struct rt_refs *refs);

/* A number that several threads change; sequentially consistent. */
struct rt_atomic {
  uint64_t n;
};

extern uint64_t rt_atomic_get (const struct rt_atomic *a);
extern void rt_atomic_set (struct rt_atomic *a, uint64_t n);
extern uint64_t rt_atomic_add (struct rt_atomic *a, uint64_t n); /* new value */
extern uint64_t rt_atomic_sub (struct rt_atomic *a, uint64_t n); /* new value */

/* A number in memory that the kernel shares with us: what it wrote before is
 * seen once the number is; and what we have read before is read when it sees
 * ours.
 */
extern unsigned rt_shared_get (const unsigned *n);
extern void rt_shared_set (unsigned *n, unsigned value);

/* ---- time and chance ---- */

/* Nanoseconds of a clock that never goes back. */
extern uint64_t rt_now (void);
/* Seconds since 1970, for time stamps on disk only. */
extern int64_t rt_wall_clock (void);
extern void rt_random (void *bytes, size_t n);

/* ---- threads ---- */

#ifndef MDBITMAP_SIM
struct rt_thread {
  pthread_t thread;
  void (*fn) (void *opaque);
  void *opaque;
};
#endif

/* thread must stay where it is until joined.  name: at most 15 bytes are
 * shown.  Signals are blocked in the thread.  0 or -errno.
 */
extern int rt_thread_create (struct rt_thread *thread, const char *name,
                             void (*fn) (void *opaque), void *opaque);
extern void rt_thread_join (struct rt_thread *thread);

/* A value that the calling thread keeps for an owner (an address that names
 * it), for threads of the library and of its user alike.  release is called
 * when the thread ends.  At most RT_LOCALS owners per thread.
 */
#define RT_LOCALS 4
extern void *rt_local_get (const void *owner);
extern int
rt_local_set (const void *owner, void *value, void (*release) (void *value));
/* The calling thread forgets the owner's value without releasing it. */
extern void rt_local_forget (const void *owner);

/* ---- the order of waits ---- */

/* What a thread may hold while it waits for something later in the list, and
 * never for something earlier.  Checked by assertions.
 */
enum rt_order {
  RT_ORDER_RANGE,    /* a range lock */
  RT_ORDER_ACTIVE,   /* waiting for the array to be not clean */
  RT_ORDER_METADATA, /* leading or joining a metadata update */
  RT_ORDER_PAGE,     /* writing bitmap pages */
  RT_ORDER_BATCH,    /* waiting for devices */
};

/* Begin and end holding or waiting; they nest strictly. */
extern void rt_order_enter (enum rt_order order);
extern void rt_order_leave (enum rt_order order);

#endif /* MDBITMAP_RT_H */
