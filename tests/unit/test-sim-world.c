/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The simulator's runtime: chance, memory, fibers, and rt.h over them. */

#include <config.h>

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rt.h"
#include "sim/chance.h"
#include "sim/trace.h"
#include "sim/world.h"

#define STEPS 1000000

static const struct world_options all_options[] = {
  { .policy = WORLD_RANDOM, .switch_per_1000 = 500, .jump_per_1000000 = 100 },
  { .policy = WORLD_PRIORITY,
    .change_points = 3,
    .change_steps = 60,
    .switch_per_1000 = 1000 },
  { .policy = WORLD_SERIAL },
};
#define POLICIES 3

static struct rt_mutex mutex, other;
static struct rt_cond cond;
static struct rt_atomic flag, count;
static unsigned order[16], norder;

static void
setup_world (uint64_t seed, unsigned policy)
{
  chance_seed (seed);
  trace_hash = 0;
  norder = 0;
  (void)world_new (&all_options[policy]);
  rt_mutex_init (&mutex);
  rt_mutex_init (&other);
  rt_cond_init (&cond);
  rt_atomic_set (&flag, 0);
  rt_atomic_set (&count, 0);
}

static void
start (const char *name, void (*fn) (void *opaque), void *opaque)
{
  (void)fiber_new (world, name, fn, opaque, false);
}

/* ---- chance ---- */

START_TEST (chance_levels)
{
  uint64_t first, second;

  chance_seed (7);
  first = chance_bits (CHANCE_DISK);
  second = chance_bits (CHANCE_DISK);
  ck_assert_uint_ne (first, second);
  chance_seed (7);
  /* Other streams do not disturb, nor does a level of its own. */
  (void)chance_bits (CHANCE_PLAN);
  ck_assert_uint_eq (chance_bits (CHANCE_DISK), first);
  chance_push (8);
  ck_assert_uint_ne (chance_bits (CHANCE_DISK), second);
  chance_pop ();
  ck_assert_uint_eq (chance_bits (CHANCE_DISK), second);
}
END_TEST

START_TEST (chance_is_fair)
{
  unsigned counts[6] = { 0 }, hits = 0;

  chance_seed (1);
  for (unsigned i = 0; i < 60000; ++i) {
    counts[choose (CHANCE_PLAN, 6)]++;
    hits += chance (CHANCE_CRASH, 1, 10);
  }
  for (unsigned i = 0; i < 6; ++i) {
    ck_assert_uint_gt (counts[i], 9500);
    ck_assert_uint_lt (counts[i], 10500);
  }
  ck_assert_uint_gt (hits, 5500);
  ck_assert_uint_lt (hits, 6500);
  ck_assert (!chance (CHANCE_PLAN, 0, 5));
  ck_assert (chance (CHANCE_PLAN, 5, 5));
  ck_assert_uint_eq (choose (CHANCE_PLAN, 1), 0);
}
END_TEST

/* ---- memory ---- */

START_TEST (arena_blocks)
{
  static const size_t sizes[] = { 1,     16,    17,    512,   513,    4096,
                                  16384, 16385, 61440, 61441, 300000, 2000000 };
  struct arena *arena = arena_new ();
  size_t total = 0;
  unsigned char *p[3][12];

  for (unsigned round = 0; round < 3; ++round) {
    for (unsigned a = 0; a < 3; ++a)
      for (unsigned i = 0; i < 12; ++i) {
        size_t align = a == 0 ? 16 : a == 1 ? 512 : 4096;

        p[a][i] = arena_alloc (arena, align, sizes[i]);
        ck_assert_uint_eq ((uintptr_t)p[a][i] % align, 0);
        for (size_t k = 0; k < sizes[i]; k += sizes[i] / 7 + 1)
          ck_assert_uint_eq (p[a][i][k], 0xa5);
        memset (p[a][i], (int)(12 * a + i), sizes[i]);
        total += sizes[i];
      }
    ck_assert_uint_eq (arena_in_use (arena), total);
    for (unsigned a = 0; a < 3; ++a)
      for (unsigned i = 0; i < 12; ++i) {
        ck_assert_uint_eq (p[a][i][0], 12 * a + i);
        ck_assert_int_eq (memcmp (p[a][i], p[a][i] + 1, sizes[i] - 1), 0);
        arena_release (arena, p[a][i]);
        total -= sizes[i];
      }
    ck_assert_uint_eq (arena_in_use (arena), 0);
  }
  arena_free (arena);
}
END_TEST

START_TEST (arena_fails)
{
  struct arena *arena = arena_new ();

  arena_fail_after (arena, 2);
  ck_assert_ptr_nonnull (arena_alloc (arena, 16, 10));
  ck_assert_ptr_null (arena_alloc (arena, 16, 10));
  ck_assert_ptr_nonnull (arena_alloc (arena, 16, 10));
  ck_assert_uint_eq (arena_in_use (arena), 20);
  arena_release (arena, NULL);
  arena_free (arena);
}
END_TEST

START_TEST (arena_freed_twice)
{
  struct arena *arena = arena_new ();
  void *p = arena_alloc (arena, _i == 0 ? 16 : 4096, 100);

  arena_release (arena, p);
  arena_release (arena, p);
}
END_TEST

START_TEST (arena_of_another_world)
{
  struct arena *arena = arena_new ();
  void *p = arena_alloc (arena_new (), 16, 100);

  arena_release (arena, p);
}
END_TEST

/* ---- the same seed is the same run ---- */

static void
worker (void *opaque)
{
  unsigned *mine = opaque;

  for (unsigned i = 0; i < 10; ++i) {
    rt_mutex_lock (&mutex);
    (*mine)++;
    if (i % 3 == 0)
      (void)rt_cond_wait_until (&cond, &mutex, rt_now () + 50000);
    else
      rt_cond_signal (&cond);
    rt_mutex_unlock (&mutex);
    fiber_sleep (choose (CHANCE_PLAN, 20000));
    rt_atomic_add (&count, 1);
  }
}

static uint64_t
hash_of (uint64_t seed, unsigned policy)
{
  unsigned turns[5] = { 0 };

  setup_world (seed, policy);
  for (unsigned i = 0; i < 5; ++i)
    start ("worker", worker, &turns[i]);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
  for (unsigned i = 0; i < 5; ++i)
    ck_assert_uint_eq (turns[i], 10);
  ck_assert_uint_eq (rt_atomic_get (&count), 50);
  world_free (world);
  return trace_hash;
}

START_TEST (same_seed)
{
  uint64_t hashes[20];

  for (unsigned i = 0; i < 20; ++i) {
    hashes[i] = hash_of (i, (unsigned)_i);
    for (unsigned k = 0; k < i; ++k)
      ck_assert_uint_ne (hashes[i], hashes[k]);
  }
  for (unsigned i = 0; i < 20; ++i)
    ck_assert_uint_eq (hash_of (i, (unsigned)_i), hashes[i]);
}
END_TEST

/* ---- races are found ---- */

static bool careful;

static void
waiter (void *opaque)
{
  (void)opaque;
  if (!careful && rt_atomic_get (&flag) == 1)
    return;
  rt_mutex_lock (&mutex);
  if (!careful || rt_atomic_get (&flag) == 0)
    rt_cond_wait (&cond, &mutex);
  rt_mutex_unlock (&mutex);
}

static void
waker (void *opaque)
{
  (void)opaque;
  rt_mutex_lock (&mutex);
  rt_atomic_set (&flag, 1);
  rt_cond_signal (&cond);
  rt_mutex_unlock (&mutex);
}

static unsigned
count_stuck (unsigned policy, unsigned nseeds, void (*a) (void *opaque),
             void (*b) (void *opaque))
{
  unsigned stuck = 0;

  for (unsigned seed = 0; seed < nseeds; ++seed) {
    enum world_end end;

    setup_world (seed, policy);
    start ("a", a, NULL);
    start ("b", b, NULL);
    end = world_run (world, STEPS);
    ck_assert (end == WORLD_ENDED || end == WORLD_STUCK);
    stuck += end == WORLD_STUCK;
    world_free (world);
  }
  return stuck;
}

START_TEST (lost_wakeup)
{
  careful = false;
  ck_assert_uint_gt (count_stuck ((unsigned)_i, 100, waiter, waker), 0);
  careful = true;
  ck_assert_uint_eq (count_stuck ((unsigned)_i, 1000, waiter, waker), 0);
}
END_TEST

static void
lock_both (void *opaque)
{
  rt_mutex_lock (opaque ? &mutex : &other);
  rt_mutex_lock (opaque ? &other : &mutex);
  rt_mutex_unlock (&mutex);
  rt_mutex_unlock (&other);
}

static void
lock_both_backwards (void *opaque)
{
  (void)opaque;
  lock_both (&mutex);
}

START_TEST (deadlock)
{
  unsigned n = count_stuck ((unsigned)_i, 100, lock_both, lock_both_backwards);

  ck_assert_uint_gt (n, 0);
  ck_assert_uint_lt (n, 100);
  ck_assert_uint_eq (count_stuck ((unsigned)_i, 100, lock_both, lock_both), 0);
}
END_TEST

static void
increment (void *opaque)
{
  (void)opaque;
  rt_mutex_lock (&mutex);
  order[norder++] = fiber_number (fiber_self ());
  rt_mutex_unlock (&mutex);
}

static void
hold (void *opaque)
{
  rt_mutex_lock (&mutex);
  for (unsigned i = 0; i < 5; ++i)
    start ("increment", increment, opaque);
  fiber_sleep (RT_SECOND);
  rt_mutex_unlock (&mutex);
}

/* Whoever waits for a mutex may be the first to get it. */
START_TEST (hand_over)
{
  unsigned first = 0;

  for (uint64_t seed = 0; seed < 100; ++seed) {
    setup_world (seed, (unsigned)_i);
    start ("hold", hold, NULL);
    ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
    ck_assert_uint_eq (norder, 5);
    first |= 1u << order[0];
    world_free (world);
  }
  ck_assert_uint_eq (first, 0x3e);
}
END_TEST

static void
wait_turn (void *opaque)
{
  (void)opaque;
  rt_mutex_lock (&mutex);
  rt_cond_wait (&cond, &mutex);
  order[norder++] = fiber_number (fiber_self ());
  rt_mutex_unlock (&mutex);
}

static void
signal_one (void *opaque)
{
  (void)opaque;
  fiber_sleep (RT_SECOND);
  rt_mutex_lock (&mutex);
  norder = 0; /* those who woke for nothing */
  rt_cond_signal (&cond);
  rt_mutex_unlock (&mutex);
}

/* A signal wakes one who waits, any of them. */
START_TEST (signals)
{
  unsigned woken = 0;

  for (uint64_t seed = 0; seed < 100; ++seed) {
    setup_world (seed, (unsigned)_i);
    for (unsigned i = 0; i < 3; ++i)
      start ("waiter", wait_turn, NULL);
    start ("signal", signal_one, NULL);
    (void)world_run (world, STEPS);
    ck_assert_uint_le (norder, 1);
    if (norder == 1)
      woken |= 1u << order[0];
    world_free (world);
  }
  ck_assert_uint_eq (woken, 7);
}
END_TEST

/* ---- all interleavings ---- */

static unsigned path[64], widths[64], npath, depth, preemptions;

/* The next path, in lexical order; false: there is none. */
static bool
next_path (void)
{
  for (npath = depth; npath > 0; --npath)
    if (++path[npath - 1] < widths[npath - 1])
      return true;
  return false;
}

static uint64_t
follow (void *opaque, uint64_t n)
{
  (void)opaque;
  ck_assert_uint_lt (depth, 64);
  if (depth >= npath)
    path[depth] = 0;
  widths[depth] = (unsigned)n;
  if (path[depth] > 0 && world_preempts (world))
    preemptions++;
  return path[depth++];
}

static void
three_steps (void *opaque)
{
  (void)opaque;
  for (unsigned i = 0; i < 3; ++i) {
    rt_atomic_add (&count, 1);
    order[norder++] = fiber_number (fiber_self ());
  }
}

/* Two fibers with three switch points each: four pieces, the first of which
 * only begins, so there are C(8, 4) = 70 orders of the pieces.
 */
START_TEST (exhaustive)
{
  unsigned paths = 0, seen = 0, most = 0;
  bool words[64] = { false };

  npath = 0;
  do {
    unsigned word = 0;

    setup_world (0, 2);
    depth = preemptions = 0;
    chance_source (CHANCE_SCHEDULE, follow, NULL);
    start ("a", three_steps, NULL);
    start ("b", three_steps, NULL);
    ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
    chance_source (CHANCE_SCHEDULE, NULL, NULL);
    ck_assert_uint_eq (norder, 6);
    for (unsigned i = 0; i < 6; ++i)
      word |= order[i] << i;
    seen += !words[word];
    words[word] = true;
    paths++;
    if (preemptions > most)
      most = preemptions;
    world_free (world);
  } while (next_path ());
  ck_assert_uint_eq (paths, 70);
  ck_assert_uint_eq (seen, 20); /* C(6, 3) */
  ck_assert_uint_eq (most, 6);
}
END_TEST

/* ---- time ---- */

static void
tick (void *opaque)
{
  for (;;)
    fiber_sleep (*(uint64_t *)opaque);
}

static void
block_for_ever (void *opaque)
{
  (void)opaque;
  ck_assert (fiber_block ("nothing", UINT64_MAX));
}

static void
sleep_long (void *opaque)
{
  uint64_t before = rt_now ();

  fiber_sleep (*(uint64_t *)opaque);
  ck_assert_uint_ge (rt_now () - before, *(uint64_t *)opaque);
}

START_TEST (stuck)
{
  uint64_t second = RT_SECOND, hours = 7200 * RT_SECOND;

  setup_world (1, (unsigned)_i);
  start ("sleeper", sleep_long, &hours);
  (void)fiber_new (world, "daemon", tick, &second, true);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
  ck_assert_int_ge (rt_wall_clock (), 1800007200);
  start ("blocked", block_for_ever, NULL);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_STUCK);
  ck_assert_uint_gt (world_now (world), hours + hours / 2 - 2 * second);
  world_free (world);

  setup_world (1, (unsigned)_i);
  (void)fiber_new (world, "daemon", block_for_ever, NULL, true);
  start ("blocked", block_for_ever, NULL);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_STUCK);
  ck_assert_uint_lt (world_now (world), 2 * second + 1000000);
  world_free (world);
}
END_TEST

static void
wait_until (void *opaque)
{
  uint64_t deadline = rt_now () + *(uint64_t *)opaque;

  rt_mutex_lock (&mutex);
  while (rt_cond_wait_until (&cond, &mutex, deadline))
    order[0]++;
  ck_assert_uint_ge (rt_now (), deadline);
  rt_mutex_unlock (&mutex);
}

/* Wake-ups without reason are rare, but there are some. */
START_TEST (deadlines)
{
  uint64_t second = RT_SECOND, spurious = 0;

  for (uint64_t seed = 0; seed < 1000; ++seed) {
    setup_world (seed, (unsigned)_i);
    order[0] = 0;
    start ("waiter", wait_until, &second);
    ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
    spurious += order[0];
    world_free (world);
  }
  if (all_options[_i].policy == WORLD_SERIAL)
    ck_assert_uint_eq (spurious, 0);
  else
    ck_assert_uint_gt (spurious, 0);
  ck_assert_uint_lt (spurious, 100);
}
END_TEST

struct alarm {
  struct world_event event;
  unsigned number;
  struct fiber *wakes;
};

static void
ring (struct world_event *event)
{
  struct alarm *alarm = (struct alarm *)event;

  ck_assert_ptr_null (fiber_self ());
  ck_assert_uint_ge (world_now (world), event->at);
  order[norder++] = alarm->number;
  if (alarm->wakes)
    fiber_wake (alarm->wakes);
}

START_TEST (events)
{
  static const uint64_t at[] = { 500, 300, 100, 300, 400 };
  struct alarm alarms[5];

  setup_world (3, (unsigned)_i);
  start ("waiter", block_for_ever, NULL);
  for (unsigned i = 0; i < 5; ++i) {
    alarms[i].event.at = at[i] * RT_SECOND;
    alarms[i].event.run = ring;
    alarms[i].number = i;
    alarms[i].wakes = NULL;
    world_add_event (world, &alarms[i].event);
  }
  ck_assert_int_eq (world_run (world, STEPS), WORLD_STUCK);
  ck_assert_uint_eq (norder, 5);
  ck_assert_uint_eq (order[0], 2);
  ck_assert_uint_eq (order[1] + order[2], 4); /* at once: by chance */
  ck_assert_uint_eq (order[3], 4);
  ck_assert_uint_eq (order[4], 0);
  world_free (world);

  setup_world (3, (unsigned)_i);
  start ("waiter", block_for_ever, NULL);
  alarms[1].wakes = NULL;
  for (unsigned i = 0; i < 3; ++i)
    world_add_event (world, &alarms[i].event);
  world_remove_event (world, &alarms[2].event);
  ck_assert_int_eq (world_run (world, 1000), WORLD_STUCK);
  ck_assert_uint_eq (norder, 2);
  ck_assert_uint_eq (order[0], 1);
  world_free (world);
}
END_TEST

static void
sleep_for_event (void *opaque)
{
  struct alarm *alarm = opaque;

  alarm->wakes = fiber_self ();
  world_add_event (world, &alarm->event);
  ck_assert (fiber_block ("alarm", alarm->event.at + RT_SECOND * 10));
  ck_assert_uint_eq (norder, 1);
}

START_TEST (event_wakes)
{
  struct alarm alarm = { .event = { .at = RT_SECOND, .run = ring } };

  setup_world (0, (unsigned)_i);
  start ("sleeper", sleep_for_event, &alarm);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
  world_free (world);
}
END_TEST

/* ---- the ends of a run ---- */

static void
spin (void *opaque)
{
  (void)opaque;
  while (rt_atomic_get (&flag) == 0)
    ;
}

static void
set_flag (void *opaque)
{
  (void)opaque;
  rt_atomic_set (&flag, 1);
}

START_TEST (spinning_ends)
{
  for (uint64_t seed = 0; seed < 20; ++seed) {
    setup_world (seed, (unsigned)_i);
    start ("spin", spin, NULL);
    start ("spin", spin, NULL);
    ck_assert_int_eq (world_run (world, 5000), WORLD_ENDLESS);
    ck_assert_uint_eq (world_steps (world), 5000);
    start ("setter", set_flag, NULL);
    ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
    world_free (world);
  }
}
END_TEST

static unsigned hooks;

static void
stop_at_ten (void *opaque)
{
  if (++hooks == *(unsigned *)opaque)
    world_stop (world);
}

START_TEST (stopped)
{
  unsigned ten = 10;

  setup_world (0, (unsigned)_i);
  hooks = 0;
  world_set_hook (world, stop_at_ten, &ten);
  start ("spin", spin, NULL);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_STOPPED);
  ck_assert_uint_eq (hooks, 10);
  ck_assert_uint_eq (world_steps (world), 10);
  rt_atomic_set (&flag, 1);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
  world_free (world);
}
END_TEST

/* ---- worlds in worlds ---- */

static void
run_inner (void *opaque)
{
  struct world *outer = world;
  uint64_t hash = trace_hash, now = world_now (outer);
  struct world_options options = all_options[0];
  unsigned *n = opaque;
  void *p;

  hooks++;
  /* What needs not wait works here. */
  p = rt_alloc (100);
  rt_free (p);
  rt_cond_signal (&cond);
  if (n && hooks % 7 == 0) {
    unsigned turns[3] = { 0 };
    struct rt_mutex kept = mutex;
    struct rt_cond kept_cond = cond;
    uint64_t kept_count = count.n;

    chance_push (hooks);
    (void)world_new (&options);
    ck_assert_uint_eq (world_depth (world), world_depth (outer) + 1);
    rt_mutex_init (&mutex);
    rt_cond_init (&cond);
    for (unsigned i = 0; i < 3; ++i)
      start ("inner", worker, &turns[i]);
    /* Some are cut off in the middle. */
    (void)world_run (world, hooks);
    world_free (world);
    chance_pop ();
    mutex = kept;
    cond = kept_cond;
    count.n = kept_count;
    ++*n;
  }
  ck_assert_ptr_eq (world, outer);
  ck_assert_uint_eq (world_now (outer), now);
  trace_hash = hash;
}

static uint64_t
hash_with_hook (unsigned policy, unsigned *inner)
{
  unsigned turns[4] = { 0 };

  setup_world (5, policy);
  hooks = 0;
  world_set_hook (world, run_inner, inner);
  for (unsigned i = 0; i < 4; ++i)
    start ("outer", worker, &turns[i]);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
  world_free (world);
  ck_assert_ptr_null (world);
  return trace_hash;
}

/* The outer world does not notice. */
START_TEST (nested)
{
  unsigned inner = 0;
  uint64_t alone = hash_with_hook ((unsigned)_i, NULL);

  ck_assert_uint_eq (hash_with_hook ((unsigned)_i, &inner), alone);
  ck_assert_uint_gt (inner, 5);
}
END_TEST

static void
hoard (void *opaque)
{
  char *p[20];

  for (unsigned i = 0; i < 20; ++i)
    p[i] = rt_alloc (50 + 100 * i);
  (void)rt_alloc_aligned (4096, 8192);
  (void)rt_calloc (300, 1000);
  rt_mutex_lock (&mutex);
  rt_cond_wait (&cond, &mutex);
  rt_mutex_unlock (&mutex);
  for (unsigned i = 0; i < 20; ++i)
    rt_free (p[i]);
  (void)opaque;
}

/* What a crash interrupts is gone, which a sanitizer would not believe if it
 * were not so, and memory does not grow.
 */
START_TEST (dropped)
{
  for (uint64_t seed = 0; seed < 500; ++seed) {
    setup_world (seed, (unsigned)_i);
    for (unsigned i = 0; i < 5; ++i)
      start ("hoard", hoard, NULL);
    (void)world_run (world, seed % 60);
    world_free (world);
  }
}
END_TEST

static void
use_stack (void *opaque)
{
  volatile char block[32 * 1024];
  size_t sum = 0;

  for (size_t i = 0; i < sizeof block; ++i)
    block[i] = (char)i;
  fiber_yield ();
  for (size_t i = 0; i < sizeof block; ++i)
    sum += block[i] == (char)i;
  ck_assert_uint_eq (sum, sizeof block);
  (void)opaque;
}

START_TEST (stacks)
{
  setup_world (0, (unsigned)_i);
  for (unsigned i = 0; i < 100; ++i)
    start ("stack", use_stack, NULL);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
  world_free (world);
}
END_TEST

/* ---- threads ---- */

static void
let_go (void *value)
{
  order[norder++] = *(unsigned *)value;
}

static void
thread_main (void *opaque)
{
  static const int a, b, c;

  ck_assert_ptr_null (rt_local_get (&a));
  ck_assert_int_eq (rt_local_set (&a, NULL, let_go), 0);
  ck_assert_int_eq (rt_local_set (&b, opaque, let_go), 0);
  ck_assert_int_eq (rt_local_set (&a, opaque, let_go), 0);
  ck_assert_int_eq (rt_local_set (&c, NULL, NULL), 0);
  fiber_sleep (RT_SECOND);
  ck_assert_ptr_eq (rt_local_get (&a), opaque);
  rt_local_forget (&a);
  ck_assert_ptr_null (rt_local_get (&a));
  rt_order_enter (RT_ORDER_PAGE);
  rt_order_enter (RT_ORDER_BATCH);
  rt_order_leave (RT_ORDER_BATCH);
  rt_order_leave (RT_ORDER_PAGE);
}

static void
make_threads (void *opaque)
{
  struct rt_thread threads[3];
  unsigned numbers[3] = { 1, 2, 4 };

  for (unsigned i = 0; i < 3; ++i)
    ck_assert_int_eq (rt_thread_create (&threads[i], "a name that is long",
                                        thread_main, &numbers[i]),
                      0);
  for (unsigned i = 0; i < 3; ++i)
    rt_thread_join (&threads[i]);
  ck_assert_uint_eq (norder, 3);
  ck_assert_uint_eq (order[0] + order[1] + order[2], 7);
  (void)opaque;
}

START_TEST (threads)
{
  uint64_t steps, switches, pairs, more;

  world_statistics (&steps, &switches, &pairs);
  setup_world (0, (unsigned)_i);
  start ("main", make_threads, NULL);
  ck_assert_int_eq (world_run (world, STEPS), WORLD_ENDED);
  ck_assert_uint_eq (arena_in_use (world_arena (world)), 0);
  world_free (world);
  world_statistics (&steps, &switches, &more);
  ck_assert_uint_gt (switches, 3);
  ck_assert_uint_ge (steps, switches);
  /* At least rt_thread_create and rt_thread_join of main. */
  ck_assert_uint_ge (more, pairs + 2);
}
END_TEST

/* ---- bugs of the caller ---- */

static void
lock_twice (void *opaque)
{
  (void)opaque;
  rt_mutex_lock (&mutex);
  rt_mutex_lock (&mutex);
}

static void
unlock_unlocked (void *opaque)
{
  (void)opaque;
  rt_mutex_unlock (&mutex);
}

static void
destroy_locked (void *opaque)
{
  (void)opaque;
  rt_mutex_lock (&mutex);
  rt_mutex_destroy (&mutex);
}

static void
end_locked (void *opaque)
{
  (void)opaque;
  rt_mutex_lock (&mutex);
}

static void
use_destroyed (void *opaque)
{
  (void)opaque;
  rt_mutex_destroy (&mutex);
  rt_mutex_lock (&mutex);
}

static void
put_too_often (void *opaque)
{
  struct rt_refs refs;

  (void)opaque;
  rt_refs_init (&refs);
  ck_assert (rt_refs_put (&refs));
  (void)rt_refs_put (&refs);
}

static void
wrong_order (void *opaque)
{
  (void)opaque;
  rt_order_enter (RT_ORDER_PAGE);
  rt_order_enter (RT_ORDER_METADATA);
}

static void (*const bugs[]) (void *opaque) = {
  lock_twice,    unlock_unlocked, destroy_locked, end_locked,
  use_destroyed, put_too_often,   wrong_order,
};

START_TEST (bugs_abort)
{
  setup_world (0, 0);
  start ("bug", bugs[_i], NULL);
  (void)world_run (world, STEPS);
}
END_TEST

START_TEST (lock_from_outside)
{
  setup_world (0, 2);
  start ("holder", hold, NULL);
  (void)world_run (world, 2);
  rt_mutex_lock (&mutex);
}
END_TEST

/* ---- violations ---- */

/* Through a pointer, that no compiler may see the end coming. */
static void overflow (unsigned frames);
static void (*volatile deeper) (unsigned frames) = overflow;

static void
overflow (unsigned frames)
{
  volatile char block[4096];

  block[frames % sizeof block] = 1;
  if (frames > 0)
    deeper (frames - 1);
  block[frames % sizeof block] = 2;
}

static void
violate (void *opaque)
{
  switch (*(int *)opaque) {
  case 0:
    violation ("I4", "chunk %d", 3);
  case 1:
    abort ();
  default:
    overflow (1000);
  }
}

START_TEST (violations)
{
  static const char *const rules[] = { "I4", "assert", "crash" };
  char text[20] = "", err[60000] = "";
  int fds[2], errs[2], status;
  size_t length = 0;
  ssize_t n;
  pid_t child;

  ck_assert_int_eq (pipe (fds), 0);
  ck_assert_int_eq (pipe (errs), 0);
  child = fork ();
  ck_assert_int_ge (child, 0);
  if (child == 0) {
    dup2 (errs[1], STDERR_FILENO);
    violation_fd = fds[1];
    trace_seed = 18446744073709551615u;
    trace_catch_signals ();
    setup_world (0, 0);
    start ("bad", violate, &_i);
    (void)world_run (world, STEPS);
    _exit (2);
  }
  close (fds[1]);
  close (errs[1]);
  while ((n = read (errs[0], err + length, sizeof err - 1 - length)) > 0)
    length += (size_t)n;
  ck_assert_int_eq (waitpid (child, &status, 0), child);
  ck_assert (WIFEXITED (status));
  ck_assert_int_eq (WEXITSTATUS (status), 1);
  ck_assert_int_eq (read (fds[0], text, sizeof text - 1),
                    (ssize_t)strlen (rules[_i]));
  ck_assert_str_eq (text, rules[_i]);
  if (_i == 0)
    ck_assert_ptr_nonnull (strstr (err, "violation of I4: chunk 3\n"));
  ck_assert_ptr_nonnull (
      strstr (err, "reproduce: SIM_SEED=18446744073709551615 ./sim --trace\n"));
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("sim-world");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_set_timeout (tc, 120);
  tcase_add_test (tc, chance_levels);
  tcase_add_test (tc, chance_is_fair);
  tcase_add_test (tc, arena_blocks);
  tcase_add_test (tc, arena_fails);
  tcase_add_loop_test_raise_signal (tc, arena_freed_twice, SIGABRT, 0, 2);
  tcase_add_test_raise_signal (tc, arena_of_another_world, SIGABRT);
  tcase_add_loop_test (tc, same_seed, 0, POLICIES);
  tcase_add_loop_test (tc, lost_wakeup, 0, 2);
  tcase_add_loop_test (tc, deadlock, 0, 2);
  tcase_add_loop_test (tc, hand_over, 0, 2);
  tcase_add_loop_test (tc, signals, 0, 2);
  tcase_add_test (tc, exhaustive);
  tcase_add_loop_test (tc, stuck, 0, POLICIES);
  tcase_add_loop_test (tc, deadlines, 0, POLICIES);
  tcase_add_loop_test (tc, events, 0, POLICIES);
  tcase_add_loop_test (tc, event_wakes, 0, POLICIES);
  tcase_add_loop_test (tc, spinning_ends, 0, 2);
  tcase_add_loop_test (tc, stopped, 0, POLICIES);
  tcase_add_loop_test (tc, nested, 0, POLICIES);
  tcase_add_loop_test (tc, dropped, 0, POLICIES);
  tcase_add_loop_test (tc, stacks, 0, POLICIES);
  tcase_add_loop_test (tc, threads, 0, POLICIES);
  tcase_add_loop_test_raise_signal (tc, bugs_abort, SIGABRT, 0,
                                    sizeof bugs / sizeof bugs[0]);
  tcase_add_test_raise_signal (tc, lock_from_outside, SIGABRT);
  tcase_add_loop_test (tc, violations, 0, 3);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
