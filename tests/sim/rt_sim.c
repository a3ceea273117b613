/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* base/rt.h over fibers and virtual time.
 *
 * There is one OS thread, so nothing here is atomic, and nothing is locked:
 * a mutex is a word that says who owns it.  Every function that threads could
 * see one another by is a switch point, before it does anything, and an
 * unlock after it has as well.
 *
 * A mutex is not handed over: when it becomes free all who wait for it can
 * run, and when the first of them has it, the others cannot any more.  So who
 * is next is the scheduler's choice, and may be somebody who has not waited.
 * Wake-ups by a condition may be late, and may be for nothing; not under
 * WORLD_SERIAL, where nothing is left to chance but what a chance_source is
 * asked.
 *
 * Outside of fibers (in hooks and events, or without a world) all of it works
 * if it does not have to wait.  What is a bug of the caller aborts.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/rt.h"
#include "sim/chance.h"
#include "sim/fiber.h"

#ifndef MDBITMAP_SIM
#error "for the simulator only: define MDBITMAP_SIM"
#endif

#define EPOCH 1800000000 /* when worlds begin, in seconds since 1970 */

/* One wake-up in so many is for nothing, or late, and by how much. */
#define SPURIOUS_ONE_IN      100
#define SPURIOUS_NANOSECONDS (RT_SECOND / 1000)
#define LATE_ONE_IN          50
#define LATE_NANOSECONDS     (RT_SECOND / 20)

/* Only in functions of rt.h themselves: the site is their caller. */
#define POINT() fiber_point (__builtin_return_address (0))

/* ---- memory ---- */

static struct arena *
memory (void)
{
  static struct arena *outside;

  if (world)
    return world_arena (world);
  if (!outside)
    outside = arena_new ();
  return outside;
}

void *
rt_alloc (size_t size)
{
  return arena_alloc (memory (), 16, size);
}

void *
rt_calloc (size_t n, size_t size)
{
  size_t total;
  void *p;

  if (__builtin_mul_overflow (n, size, &total))
    return NULL;
  p = arena_alloc (memory (), 16, total);
  return p ? memset (p, 0, total) : NULL;
}

void
rt_free (void *p)
{
  arena_release (memory (), p);
}

void *
rt_alloc_aligned (size_t align, size_t size)
{
  if (align == 0 || (align & (align - 1)) != 0 || size % align != 0)
    sim_die ("%zu bytes cannot be aligned to %zu", size, align);
  return arena_alloc (memory (), align, size);
}

/* ---- locks ---- */

static void
mutex_check (const struct rt_mutex *mutex)
{
  if (mutex->state != RT_SIM_MUTEX)
    sim_die ("not a mutex, or a destroyed one");
}

static void
mutex_acquire (struct rt_mutex *mutex)
{
  struct fiber *self = world_self ();

  while (mutex->owner) {
    mutex->waiters++;
    self->waits_for = mutex;
    (void)fiber_block ("mutex", RT_NEVER);
    self->waits_for = NULL;
    mutex->waiters--;
  }
  mutex->owner = self;
  self->locks++;
  if (mutex->waiters > 0)
    world_set_waiters (world, mutex, false);
}

static void
mutex_release (struct rt_mutex *mutex)
{
  struct fiber *self = world_self ();

  mutex_check (mutex);
  if (mutex->owner != self)
    sim_die ("unlocks a mutex of %s",
             mutex->owner ? fiber_name (mutex->owner) : "nobody");
  mutex->owner = NULL;
  self->locks--;
  if (mutex->waiters > 0)
    world_set_waiters (world, mutex, true);
}

void
rt_mutex_init (struct rt_mutex *mutex)
{
  mutex->state = RT_SIM_MUTEX;
  mutex->waiters = 0;
  mutex->owner = NULL;
}

void
rt_mutex_destroy (struct rt_mutex *mutex)
{
  mutex_check (mutex);
  if (mutex->owner || mutex->waiters > 0)
    sim_die ("destroys a mutex that %s has locked, and %u wait for",
             mutex->owner ? fiber_name (mutex->owner) : "nobody",
             mutex->waiters);
  mutex->state = 0;
}

void
rt_mutex_lock (struct rt_mutex *mutex)
{
  POINT ();
  mutex_check (mutex);
  if (mutex->owner == world_self ())
    sim_die ("locks a mutex that it has locked");
  mutex_acquire (mutex);
}

void
rt_mutex_unlock (struct rt_mutex *mutex)
{
  mutex_release (mutex);
  POINT ();
}

static void
cond_check (const struct rt_cond *cond)
{
  if (cond->state != RT_SIM_COND)
    sim_die ("not a condition, or a destroyed one");
}

void
rt_cond_init (struct rt_cond *cond)
{
  cond->state = RT_SIM_COND;
  cond->waiters = 0;
}

void
rt_cond_destroy (struct rt_cond *cond)
{
  cond_check (cond);
  if (cond->waiters > 0)
    sim_die ("destroys a condition that %u wait for", cond->waiters);
  cond->state = 0;
}

/* When to wake if nobody signals. */
static uint64_t
wake_time (uint64_t deadline)
{
  uint64_t now = rt_now (), at;

  if (world_is_serial (world))
    return deadline;
  if (chance (CHANCE_SCHEDULE, 1, SPURIOUS_ONE_IN)) {
    at = now + choose (CHANCE_SCHEDULE, SPURIOUS_NANOSECONDS);
    return at < deadline ? at : deadline;
  }
  if (deadline < RT_NEVER - LATE_NANOSECONDS
      && chance (CHANCE_SCHEDULE, 1, LATE_ONE_IN))
    return deadline + choose (CHANCE_SCHEDULE, LATE_NANOSECONDS);
  return deadline;
}

static bool
cond_wait (struct rt_cond *cond, struct rt_mutex *mutex, uint64_t deadline)
{
  struct fiber *self = world_self ();
  bool in_time;

  cond_check (cond);
  if (!fiber_self ())
    sim_die ("waits for a condition, outside of a fiber");
  mutex_release (mutex);
  cond->waiters++;
  self->waits_for = cond;
  (void)fiber_block ("cond", wake_time (deadline));
  in_time = !self->waits_for || rt_now () < deadline;
  /* Whoever signals takes the waiter from the condition. */
  if (self->waits_for) {
    self->waits_for = NULL;
    cond->waiters--;
  }
  mutex_acquire (mutex);
  return in_time;
}

void
rt_cond_wait (struct rt_cond *cond, struct rt_mutex *mutex)
{
  POINT ();
  (void)cond_wait (cond, mutex, RT_NEVER);
}

bool
rt_cond_wait_until (struct rt_cond *cond, struct rt_mutex *mutex,
                    uint64_t deadline)
{
  POINT ();
  return cond_wait (cond, mutex, deadline);
}

static void
cond_wake (struct rt_cond *cond, struct fiber *fiber)
{
  uint64_t at = 0;

  fiber->waits_for = NULL;
  cond->waiters--;
  if (!world_is_serial (world) && chance (CHANCE_SCHEDULE, 1, LATE_ONE_IN))
    at = rt_now () + choose (CHANCE_SCHEDULE, LATE_NANOSECONDS);
  fiber_wake_at (fiber, at);
}

void
rt_cond_signal (struct rt_cond *cond)
{
  uint64_t n = 0;

  POINT ();
  cond_check (cond);
  if (cond->waiters == 0)
    return;
  if (!world_is_serial (world) || chance_has_source (CHANCE_SCHEDULE))
    n = choose (CHANCE_SCHEDULE, cond->waiters);
  cond_wake (cond, world_waiter (world, cond, (unsigned)n));
}

void
rt_cond_broadcast (struct rt_cond *cond)
{
  POINT ();
  cond_check (cond);
  while (cond->waiters > 0)
    cond_wake (cond, world_waiter (world, cond, 0));
}

/* ---- atomics ---- */

void
rt_refs_init (struct rt_refs *refs)
{
  refs->n = 1;
}

void
rt_refs_get (struct rt_refs *refs)
{
  POINT ();
  if (refs->n == 0)
    sim_die ("takes a reference to what nobody refers to");
  refs->n++;
}

bool
rt_refs_put (struct rt_refs *refs)
{
  POINT ();
  if (refs->n == 0)
    sim_die ("gives up a reference that nobody has");
  return --refs->n == 0;
}

bool
rt_refs_mine (const struct rt_refs *refs)
{
  POINT ();
  return refs->n == 1;
}

uint64_t
rt_atomic_get (const struct rt_atomic *a)
{
  POINT ();
  return a->n;
}

void
rt_atomic_set (struct rt_atomic *a, uint64_t n)
{
  POINT ();
  a->n = n;
}

uint64_t
rt_atomic_add (struct rt_atomic *a, uint64_t n)
{
  POINT ();
  return a->n += n;
}

uint64_t
rt_atomic_sub (struct rt_atomic *a, uint64_t n)
{
  POINT ();
  return a->n -= n;
}

/* ---- time and chance ---- */

uint64_t
rt_now (void)
{
  return world ? world_now (world) : 0;
}

int64_t
rt_wall_clock (void)
{
  return EPOCH + (int64_t)(rt_now () / RT_SECOND);
}

void
rt_random (void *bytes, size_t n)
{
  uint8_t *p = bytes;
  uint64_t bits = 0;

  for (size_t i = 0; i < n; ++i) {
    if (i % 8 == 0)
      bits = chance_bits (CHANCE_LIBRARY);
    p[i] = (uint8_t)bits;
    bits >>= 8;
  }
}

/* ---- threads ---- */

int
rt_thread_create (struct rt_thread *thread, const char *name,
                  void (*fn) (void *opaque), void *opaque)
{
  thread->fiber = fiber_new (world, name, fn, opaque, true);
  POINT ();
  return 0;
}

void
rt_thread_join (struct rt_thread *thread)
{
  POINT ();
  if (!thread->fiber)
    sim_die ("joins a thread twice");
  fiber_join (thread->fiber);
  thread->fiber = NULL;
}

void *
rt_local_get (const void *owner)
{
  const struct fiber *self = world_self ();

  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (self->locals[i].owner == owner)
      return self->locals[i].value;
  return NULL;
}

int
rt_local_set (const void *owner, void *value, void (*release) (void *value))
{
  struct fiber *self = world_self ();
  unsigned place = RT_LOCALS;

  /* The owner's own place, wherever it is, before a free one. */
  for (unsigned i = RT_LOCALS; i-- > 0;)
    if (!self->locals[i].owner)
      place = i;
  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (self->locals[i].owner == owner)
      place = i;
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
  struct fiber *self = world_self ();

  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (self->locals[i].owner == owner)
      self->locals[i].owner = NULL;
}

void
rt_fiber_ends (struct fiber *fiber)
{
  for (unsigned i = 0; i < RT_LOCALS; ++i)
    if (fiber->locals[i].owner) {
      fiber->locals[i].owner = NULL;
      if (fiber->locals[i].release)
        fiber->locals[i].release (fiber->locals[i].value);
    }
  if (fiber->locks > 0)
    sim_die ("ends with %u mutexes locked", fiber->locks);
  if (fiber->order != 0)
    sim_die ("ends inside of rt_order 0x%x", fiber->order);
}

/* ---- the order of waits ---- */

void
rt_order_enter (enum rt_order order)
{
  struct fiber *self = world_self ();

  if (self->order >> order != 0)
    sim_die ("rt_order %d inside of 0x%x", (int)order, self->order);
  self->order |= 1u << order;
}

void
rt_order_leave (enum rt_order order)
{
  struct fiber *self = world_self ();

  if (self->order >> order != 1)
    sim_die ("rt_order %d left inside of 0x%x", (int)order, self->order);
  self->order &= ~(1u << order);
}
