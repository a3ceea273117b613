/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The range lock: exclusion, order of arrival, dead ranges. */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "array/ranges.h"
#include "base/bytes.h"

static struct ranges ranges;
static struct rt_mutex lock;
static uint64_t order[16];
static unsigned norder;

static void
setup (void)
{
  rt_mutex_init (&lock);
  ranges_init (&ranges);
  norder = 0;
}

static void
teardown (void)
{
  ranges_destroy (&ranges);
  rt_mutex_destroy (&lock);
}

START_TEST (neighbours_do_not_overlap)
{
  struct range *a;

  rt_mutex_lock (&lock);
  ck_assert_int_eq (range_lock (&ranges, &lock, 1000, 100, &a), 0);
  ck_assert_int_eq (ranges_overlap (&ranges, 900, 100), RANGE_FREE);
  ck_assert_int_eq (ranges_overlap (&ranges, 900, 101), RANGE_LOCKED);
  ck_assert_int_eq (ranges_overlap (&ranges, 1050, 1), RANGE_LOCKED);
  ck_assert_int_eq (ranges_overlap (&ranges, 0, 5000), RANGE_LOCKED);
  ck_assert_int_eq (ranges_overlap (&ranges, 1099, 1), RANGE_LOCKED);
  ck_assert_int_eq (ranges_overlap (&ranges, 1100, 1), RANGE_FREE);
  range_unlock (&ranges, a);
  ck_assert_int_eq (ranges_overlap (&ranges, 0, 5000), RANGE_FREE);
  rt_mutex_unlock (&lock);
}
END_TEST

/* A thread that locks [start, start + 10), notes its turn, and unlocks. */
struct waiter {
  uint64_t start;
  struct rt_thread thread;
};

static void
wait_turn (void *opaque)
{
  struct waiter *waiter = opaque;
  struct range *range;

  rt_mutex_lock (&lock);
  ck_assert_int_eq (range_lock (&ranges, &lock, waiter->start, 10, &range), 0);
  order[norder++] = waiter->start;
  range_unlock (&ranges, range);
  rt_mutex_unlock (&lock);
}

/* Until n ranges stand in the ring.  Lock held. */
static void
await_ring (unsigned n)
{
  for (;;) {
    unsigned count = 0;

    for (struct range *r = ranges.head.next; r != &ranges.head; r = r->next)
      count++;
    if (count >= n)
      return;
    rt_mutex_unlock (&lock);
    rt_mutex_lock (&lock);
  }
}

START_TEST (first_come_first_served)
{
  /* 5 overlaps the held range; 12 overlaps only 5, and must wait for it
   * though it could run at once; 100 overlaps nothing.
   */
  struct waiter waiters[3] = { { .start = 5 },
                               { .start = 12 },
                               { .start = 100 } };
  struct range *held;

  rt_mutex_lock (&lock);
  ck_assert_int_eq (range_lock (&ranges, &lock, 0, 10, &held), 0);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_int_eq (
        rt_thread_create (&waiters[i].thread, "waiter", wait_turn, &waiters[i]),
        0);
    await_ring (2 + i);
  }
  ck_assert_int_eq (
      rt_thread_create (&waiters[2].thread, "waiter", wait_turn, &waiters[2]),
      0);
  while (norder == 0) {
    rt_mutex_unlock (&lock);
    rt_mutex_lock (&lock);
  }
  ck_assert_uint_eq (norder, 1);
  ck_assert_uint_eq (order[0], 100);
  range_unlock (&ranges, held);
  rt_mutex_unlock (&lock);
  for (unsigned i = 0; i < 3; ++i)
    rt_thread_join (&waiters[i].thread);
  ck_assert_uint_eq (norder, 3);
  ck_assert_uint_eq (order[1], 5);
  ck_assert_uint_eq (order[2], 12);
}
END_TEST

START_TEST (dead_ranges)
{
  const struct leg *leg = (const struct leg *)&norder;
  const struct leg *other = (const struct leg *)&order;
  struct range *a, *b;

  rt_mutex_lock (&lock);
  ck_assert_int_eq (range_lock (&ranges, &lock, 0, 10, &a), 0);
  range_kill (&ranges, a, leg);
  ck_assert_int_eq (ranges_overlap (&ranges, 5, 1), RANGE_DEAD);
  ck_assert_int_eq (range_lock (&ranges, &lock, 9, 10, &b), -EIO);
  ck_assert_int_eq (range_lock (&ranges, &lock, 10, 10, &b), 0);
  range_unlock (&ranges, b);
  ranges_bury (&ranges, other);
  ck_assert_int_eq (ranges_overlap (&ranges, 5, 1), RANGE_DEAD);
  ranges_bury (&ranges, leg);
  ck_assert_int_eq (ranges_overlap (&ranges, 5, 1), RANGE_FREE);
  rt_mutex_unlock (&lock);
}
END_TEST

/* A write waits for reads that were there before it, reads for nobody, and
 * reads do not count when a read asks what is being written.
 */
START_TEST (shared_ranges)
{
  struct waiter waiter = { .start = 5 };
  struct range first, second;

  rt_mutex_lock (&lock);
  range_share (&ranges, 0, 10, &first);
  ck_assert_int_eq (ranges_overlap (&ranges, 0, 10), RANGE_FREE);
  ck_assert_int_eq (
      rt_thread_create (&waiter.thread, "waiter", wait_turn, &waiter), 0);
  await_ring (2);
  ck_assert_int_eq (ranges_overlap (&ranges, 0, 10), RANGE_LOCKED);
  range_share (&ranges, 0, 10, &second); /* later: not waited for */
  ck_assert_uint_eq (norder, 0);
  range_unshare (&ranges, &first);
  while (norder == 0) {
    rt_mutex_unlock (&lock);
    rt_mutex_lock (&lock);
  }
  range_unshare (&ranges, &second);
  rt_mutex_unlock (&lock);
  rt_thread_join (&waiter.thread);
}
END_TEST

/* Threads write overlapping ranges of a table of owners: whoever holds a
 * range is the only one in it.
 */
#define CELLS   64
#define THREADS 6
#define ROUNDS  3000

static int owners[CELLS];

static void
contend (void *opaque)
{
  int me = (int)(intptr_t)opaque;
  unsigned seed = (unsigned)me;
  struct range *range;

  for (unsigned i = 0; i < ROUNDS; ++i) {
    unsigned start, length;

    seed = seed * 1103515245 + 12345;
    start = (seed >> 8) % CELLS;
    length = 1 + (seed >> 20) % 8;
    if (start + length > CELLS)
      length = CELLS - start;
    rt_mutex_lock (&lock);
    ck_assert_int_eq (range_lock (&ranges, &lock, start, length, &range), 0);
    rt_mutex_unlock (&lock);
    for (unsigned c = start; c < start + length; ++c) {
      ck_assert_int_eq (owners[c], 0);
      owners[c] = me;
    }
    for (unsigned c = start; c < start + length; ++c) {
      ck_assert_int_eq (owners[c], me);
      owners[c] = 0;
    }
    rt_mutex_lock (&lock);
    range_unlock (&ranges, range);
    rt_mutex_unlock (&lock);
  }
}

START_TEST (exclusion)
{
  struct rt_thread threads[THREADS];

  for (int i = 0; i < THREADS; ++i)
    ck_assert_int_eq (rt_thread_create (&threads[i], "contend", contend,
                                        (void *)(intptr_t)(i + 1)),
                      0);
  for (int i = 0; i < THREADS; ++i)
    rt_thread_join (&threads[i]);
  ck_assert_ptr_eq (ranges.head.next, &ranges.head);
}
END_TEST

/* The counters spare the walk only where nothing overlaps: ranges of up to
 * 2 MiB, of some places or wide, in 256 MiB, of which places NEAR_PLACES apart
 * share a counter, against a list.
 */
#define HELD 24

START_TEST (near_or_not)
{
  struct {
    uint64_t start, end;
    struct range *range;
  } all[HELD] = { 0 };
  unsigned found = 0;

  srandom (1);
  rt_mutex_lock (&lock);
  for (unsigned i = 0; i < 100000; ++i) {
    unsigned k = (unsigned)random () % HELD;
    uint64_t length = 512u << random () % 13;
    uint64_t start = (uint64_t)(random () % (256 * 1024)) * 1024;
    enum range_overlap want = RANGE_FREE;

    if (all[k].range && random () % 8 == 0) /* next to one, or in it */
      start = all[k].end - (uint64_t)(random () % 2);
    for (unsigned j = 0; j < HELD; ++j)
      if (all[j].range && all[j].start < start + length && start < all[j].end)
        want = RANGE_LOCKED;
    ck_assert_int_eq (ranges_overlap (&ranges, start, length), want);
    found += want == RANGE_LOCKED;
    if (all[k].range) {
      rt_order_enter (RT_ORDER_RANGE);
      range_unlock (&ranges, all[k].range);
      all[k].range = NULL;
    }
    else if (want == RANGE_FREE) {
      all[k].start = start;
      all[k].end = start + length;
      ck_assert_int_eq (
          range_lock (&ranges, &lock, start, length, &all[k].range), 0);
      rt_order_leave (RT_ORDER_RANGE); /* as if each had a thread */
    }
  }
  for (unsigned k = 0; k < HELD; ++k)
    if (all[k].range) {
      rt_order_enter (RT_ORDER_RANGE);
      range_unlock (&ranges, all[k].range);
    }
  rt_mutex_unlock (&lock);
  ck_assert_uint_gt (found, 5000);
  for (unsigned i = 0; i < NEAR_PLACES; ++i)
    ck_assert_uint_eq (ranges.near[i], 0);
  ck_assert_uint_eq (ranges.wide, 0);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("ranges");
  TCase *tcase = tcase_create ("ranges");
  SRunner *runner;
  int failed;

  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 120);
  tcase_add_test (tcase, neighbours_do_not_overlap);
  tcase_add_test (tcase, first_come_first_served);
  tcase_add_test (tcase, dead_ranges);
  tcase_add_test (tcase, shared_ranges);
  tcase_add_test (tcase, exclusion);
  tcase_add_test (tcase, near_or_not);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
