/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* rt.h over pthread.
 *
 * The only mutable static of the library is the pthread key through which
 * threads, nbdkit's included, find what they keep; it is made once and
 * stays.  A failing pthread call is a bug in the caller or a broken machine:
 * abort, since nothing that the mirror promises can be kept without locks.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/rt.h"

struct rt_self {
  struct {
    const void *owner;
    void *value;
    void (*release) (void *value);
  } locals[RT_LOCALS];
  unsigned order; /* bit n: rt_order n is held or waited for */
};

static pthread_key_t self_key;
static pthread_once_t self_once = PTHREAD_ONCE_INIT;

static void
must (int err)
{
  if (err != 0)
    abort ();
}

/* ---- memory ---- */

void *
rt_alloc (size_t size)
{
  return malloc (size);
}

void *
rt_calloc (size_t n, size_t size)
{
  return calloc (n, size);
}

void
rt_free (void *p)
{
  free (p);
}

void *
rt_alloc_aligned (size_t align, size_t size)
{
  assert (size % align == 0);
  return aligned_alloc (align, size);
}

/* ---- locks ---- */

void
rt_mutex_init (struct rt_mutex *mutex)
{
  pthread_mutexattr_t attr;

  /* Locks are held for less time than it takes to go to sleep. */
  must (pthread_mutexattr_init (&attr));
  must (pthread_mutexattr_settype (&attr, PTHREAD_MUTEX_ADAPTIVE_NP));
  must (pthread_mutex_init (&mutex->mutex, &attr));
  must (pthread_mutexattr_destroy (&attr));
}

void
rt_mutex_destroy (struct rt_mutex *mutex)
{
  must (pthread_mutex_destroy (&mutex->mutex));
}

void
rt_mutex_lock (struct rt_mutex *mutex)
{
  must (pthread_mutex_lock (&mutex->mutex));
}

void
rt_mutex_unlock (struct rt_mutex *mutex)
{
  must (pthread_mutex_unlock (&mutex->mutex));
}

void
rt_cond_init (struct rt_cond *cond)
{
  pthread_condattr_t attr;

  must (pthread_condattr_init (&attr));
  must (pthread_condattr_setclock (&attr, CLOCK_MONOTONIC));
  must (pthread_cond_init (&cond->cond, &attr));
  must (pthread_condattr_destroy (&attr));
}

void
rt_cond_destroy (struct rt_cond *cond)
{
  must (pthread_cond_destroy (&cond->cond));
}

void
rt_cond_wait (struct rt_cond *cond, struct rt_mutex *mutex)
{
  must (pthread_cond_wait (&cond->cond, &mutex->mutex));
}

bool
rt_cond_wait_until (struct rt_cond *cond, struct rt_mutex *mutex,
                    uint64_t deadline)
{
  struct timespec ts;
  int err;

  if (deadline == RT_NEVER) {
    rt_cond_wait (cond, mutex);
    return true;
  }
  ts.tv_sec = (time_t)(deadline / RT_SECOND);
  ts.tv_nsec = (long)(deadline % RT_SECOND);
  err = pthread_cond_timedwait (&cond->cond, &mutex->mutex, &ts);
  if (err == ETIMEDOUT)
    return false;
  must (err);
  return true;
}

void
rt_cond_signal (struct rt_cond *cond)
{
  must (pthread_cond_signal (&cond->cond));
}

void
rt_cond_broadcast (struct rt_cond *cond)
{
  must (pthread_cond_broadcast (&cond->cond));
}

/* ---- atomics ---- */

void
rt_refs_init (struct rt_refs *refs)
{
  __atomic_store_n (&refs->n, 1, __ATOMIC_RELAXED);
}

void
rt_refs_get (struct rt_refs *refs)
{
  unsigned n = __atomic_fetch_add (&refs->n, 1, __ATOMIC_RELAXED);

  assert (n > 0);
  (void)n;
}

bool
rt_refs_put (struct rt_refs *refs)
{
  unsigned n = __atomic_fetch_sub (&refs->n, 1, __ATOMIC_ACQ_REL);

  assert (n > 0);
  return n == 1;
}

bool
rt_refs_mine (const struct rt_refs *refs)
{
  return __atomic_load_n (&refs->n, __ATOMIC_ACQUIRE) == 1;
}

uint64_t
rt_atomic_get (const struct rt_atomic *a)
{
  return __atomic_load_n (&a->n, __ATOMIC_SEQ_CST);
}

void
rt_atomic_set (struct rt_atomic *a, uint64_t n)
{
  __atomic_store_n (&a->n, n, __ATOMIC_SEQ_CST);
}

uint64_t
rt_atomic_add (struct rt_atomic *a, uint64_t n)
{
  return __atomic_add_fetch (&a->n, n, __ATOMIC_SEQ_CST);
}

uint64_t
rt_atomic_sub (struct rt_atomic *a, uint64_t n)
{
  return __atomic_sub_fetch (&a->n, n, __ATOMIC_SEQ_CST);
}

unsigned
rt_shared_get (const unsigned *n)
{
  return __atomic_load_n (n, __ATOMIC_ACQUIRE);
}

void
rt_shared_set (unsigned *n, unsigned value)
{
  __atomic_store_n (n, value, __ATOMIC_RELEASE);
}

/* ---- time and chance ---- */

uint64_t
rt_now (void)
{
  struct timespec ts;

  if (clock_gettime (CLOCK_MONOTONIC, &ts) == -1)
    abort ();
  return (uint64_t)ts.tv_sec * RT_SECOND + (uint64_t)ts.tv_nsec;
}

int64_t
rt_wall_clock (void)
{
  return (int64_t)time (NULL);
}

void
rt_random (void *bytes, size_t n)
{
  uint8_t *p = bytes;

  while (n > 0) {
    ssize_t r = getrandom (p, n, 0);

    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0)
      abort ();
    p += r;
    n -= (size_t)r;
  }
}

/* ---- threads ---- */

static void
self_free (void *p)
{
  struct rt_self *self = p;

  /* A release function may still ask for other values. */
  must (pthread_setspecific (self_key, self));
  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (self->locals[i].owner) {
      self->locals[i].owner = NULL;
      if (self->locals[i].release)
        self->locals[i].release (self->locals[i].value);
    }
  must (pthread_setspecific (self_key, NULL));
  rt_free (self);
}

static void
self_key_create (void)
{
  must (pthread_key_create (&self_key, self_free));
}

/* The calling thread's record; a thread that is not ours is adopted. */
static struct rt_self *
rt_self (void)
{
  struct rt_self *self;

  must (pthread_once (&self_once, self_key_create));
  self = pthread_getspecific (self_key);
  if (!self) {
    self = rt_calloc (1, sizeof *self);
    if (!self)
      abort ();
    must (pthread_setspecific (self_key, self));
  }
  return self;
}

static void *
thread_start (void *p)
{
  struct rt_thread *thread = p;

  thread->fn (thread->opaque);
  return NULL;
}

int
rt_thread_create (struct rt_thread *thread, const char *name,
                  void (*fn) (void *opaque), void *opaque)
{
  char shown[16];
  sigset_t all, old;
  int err;

  thread->fn = fn;
  thread->opaque = opaque;
  sigfillset (&all);
  must (pthread_sigmask (SIG_SETMASK, &all, &old));
  err = pthread_create (&thread->thread, NULL, thread_start, thread);
  must (pthread_sigmask (SIG_SETMASK, &old, NULL));
  if (err != 0)
    return -err;
  strncpy (shown, name, sizeof shown - 1);
  shown[sizeof shown - 1] = '\0';
  (void)pthread_setname_np (thread->thread, shown);
  return 0;
}

void
rt_thread_join (struct rt_thread *thread)
{
  must (pthread_join (thread->thread, NULL));
}

void *
rt_local_get (const void *owner)
{
  struct rt_self *self = rt_self ();

  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (self->locals[i].owner == owner)
      return self->locals[i].value;
  return NULL;
}

int
rt_local_set (const void *owner, void *value, void (*release) (void *value))
{
  struct rt_self *self = rt_self ();
  unsigned place = RT_LOCALS;

  /* The owner's own place, wherever it is, before a free one. */
  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (self->locals[i].owner == owner
        || (!self->locals[i].owner && place == RT_LOCALS)) {
      place = i;
      if (self->locals[i].owner == owner)
        break;
    }
  if (place == RT_LOCALS)
    return -ENOSPC;
  self->locals[place].owner = owner;
  self->locals[place].value = value;
  self->locals[place].release = release;
  return 0;
}

void
rt_local_forget (const void *owner)
{
  struct rt_self *self = rt_self ();

  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (self->locals[i].owner == owner)
      self->locals[i].owner = NULL;
}

/* ---- the order of waits ---- */

void
rt_order_enter (enum rt_order order)
{
  struct rt_self *self = rt_self ();

  assert (self->order >> order == 0);
  self->order |= 1u << order;
}

void
rt_order_leave (enum rt_order order)
{
  struct rt_self *self = rt_self ();

  assert (self->order >> order == 1);
  self->order &= ~(1u << order);
}
