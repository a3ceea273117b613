/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Rounds: one leads, the others follow. */

#include <config.h>

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/rounds.h"

static struct rounds rounds;
static struct rt_mutex mutex;

static void
setup (void)
{
  rt_mutex_init (&mutex);
  rounds_init (&rounds);
  rt_mutex_lock (&mutex);
}

static void
teardown (void)
{
  rt_mutex_unlock (&mutex);
  rounds_destroy (&rounds);
  rt_mutex_destroy (&mutex);
}

/* Lead the filling round. */
static uint64_t
one_round (bool success)
{
  uint64_t round;

  ck_assert_int_eq (rounds_join (&rounds, &mutex, rounds.filling), ROUNDS_LEAD);
  round = rounds_begin (&rounds);
  rounds_end (&rounds, success);
  return round;
}

static void
many_rounds (unsigned n)
{
  for (unsigned i = 0; i < n; ++i)
    one_round (true);
}

static void
assert_result (uint64_t round, enum rounds_result result)
{
  ck_assert_int_eq (rounds_join (&rounds, &mutex, round), result);
}

/* ---- one thread ---- */

START_TEST (test_results)
{
  ck_assert_uint_eq (one_round (true), 1);
  ck_assert_uint_eq (one_round (false), 2);
  ck_assert_uint_eq (one_round (true), 3);
  assert_result (1, ROUNDS_DONE);
  assert_result (2, ROUNDS_FAILED);
  assert_result (3, ROUNDS_DONE);
}
END_TEST

/* Until rounds_begin newcomers join the round, after it the next one. */
START_TEST (test_filling)
{
  ck_assert_uint_eq (rounds.filling, 1);
  assert_result (1, ROUNDS_LEAD);
  ck_assert_uint_eq (rounds.filling, 1);
  ck_assert_uint_eq (rounds_begin (&rounds), 1);
  ck_assert_uint_eq (rounds.filling, 2);
  ck_assert_uint_eq (rounds.finished, 0);
  rounds_end (&rounds, true);
  ck_assert_uint_eq (rounds.filling, 2);
  ck_assert_uint_eq (rounds.finished, 1);
  assert_result (1, ROUNDS_DONE);
  assert_result (2, ROUNDS_LEAD);
  rounds_begin (&rounds);
  rounds_end (&rounds, true);
}
END_TEST

/* ---- who slept long ---- */

/* Success, however long ago. */
START_TEST (test_old_success)
{
  uint64_t round = one_round (true);

  many_rounds ((unsigned)_i);
  assert_result (round, ROUNDS_DONE);
}
END_TEST

/* A failure before it is not its own. */
START_TEST (test_old_success_after_failure)
{
  uint64_t round;

  one_round (false);
  round = one_round (true);
  many_rounds ((unsigned)_i);
  assert_result (round, ROUNDS_DONE);
}
END_TEST

/* Its own failure is never forgotten. */
START_TEST (test_old_failure)
{
  uint64_t round = one_round (false);

  many_rounds ((unsigned)_i);
  assert_result (round, ROUNDS_FAILED);
}
END_TEST

/* A later one counts only when nobody knows better. */
START_TEST (test_later_failure)
{
  uint64_t round = one_round (true);

  one_round (false);
  many_rounds ((unsigned)_i);
  assert_result (round, _i + 1 < 64 ? ROUNDS_DONE : ROUNDS_FAILED);
}
END_TEST

/* ---- threads ---- */

#define FOLLOWERS 8

struct follower {
  pthread_t thread;
  uint64_t round;
  enum rounds_result result;
};

static unsigned following;

static void *
follower_main (void *opaque)
{
  struct follower *f = opaque;

  rt_mutex_lock (&mutex);
  f->round = rounds.filling;
  following++;
  f->result = rounds_join (&rounds, &mutex, f->round);
  if (f->result == ROUNDS_LEAD) {
    rounds_begin (&rounds);
    rounds_end (&rounds, true);
  }
  rt_mutex_unlock (&mutex);
  return NULL;
}

static void
start_followers (struct follower *followers)
{
  following = 0;
  for (unsigned i = 0; i < FOLLOWERS; ++i)
    ck_assert_int_eq (pthread_create (&followers[i].thread, NULL, follower_main,
                                      &followers[i]),
                      0);
  while (following < FOLLOWERS) {
    rt_mutex_unlock (&mutex);
    usleep (1000);
    rt_mutex_lock (&mutex);
  }
}

/* The lock must not be held. */
static unsigned
join_followers (struct follower *followers, enum rounds_result result)
{
  unsigned n = 0;

  for (unsigned i = 0; i < FOLLOWERS; ++i) {
    pthread_join (followers[i].thread, NULL);
    n += followers[i].result == result;
  }
  return n;
}

/* Who came before rounds_begin gets the result of that round. */
START_TEST (test_followers)
{
  struct follower followers[FOLLOWERS];
  const bool success = _i == 0;

  assert_result (1, ROUNDS_LEAD);
  start_followers (followers);
  ck_assert_uint_eq (rounds_begin (&rounds), 1);
  rounds_end (&rounds, success);
  rt_mutex_unlock (&mutex);
  ck_assert_uint_eq (
      join_followers (followers, success ? ROUNDS_DONE : ROUNDS_FAILED),
      FOLLOWERS);
  rt_mutex_lock (&mutex);
  ck_assert_uint_eq (rounds.finished, 1);
}
END_TEST

/* Who came after it shares the next round, which one of them leads. */
START_TEST (test_late_followers)
{
  struct follower followers[FOLLOWERS];

  assert_result (1, ROUNDS_LEAD);
  ck_assert_uint_eq (rounds_begin (&rounds), 1);
  start_followers (followers);
  for (unsigned i = 0; i < FOLLOWERS; ++i)
    ck_assert_uint_eq (followers[i].round, 2);
  rounds_end (&rounds, false);
  rt_mutex_unlock (&mutex);
  ck_assert_uint_eq (join_followers (followers, ROUNDS_LEAD), 1);
  for (unsigned i = 0; i < FOLLOWERS; ++i)
    ck_assert_int_ne (followers[i].result, ROUNDS_FAILED);
  rt_mutex_lock (&mutex);
  ck_assert_uint_eq (rounds.finished, 2);
}
END_TEST

/* Never two at a time. */
static unsigned leaders, most_leaders, rounds_asked;

static void *
worker_main (void *opaque)
{
  (void)opaque;
  rt_mutex_lock (&mutex);
  for (unsigned i = 0; i < 200; ++i) {
    uint64_t round = rounds.filling;
    enum rounds_result result;

    while ((result = rounds_join (&rounds, &mutex, round)) == ROUNDS_LEAD) {
      rounds_begin (&rounds);
      if (++leaders > most_leaders)
        most_leaders = leaders;
      rt_mutex_unlock (&mutex);
      sched_yield ();
      rt_mutex_lock (&mutex);
      leaders--;
      rounds_end (&rounds, true);
    }
    rounds_asked += result == ROUNDS_DONE;
  }
  rt_mutex_unlock (&mutex);
  return NULL;
}

START_TEST (test_one_leader)
{
  pthread_t threads[4];

  leaders = most_leaders = rounds_asked = 0;
  for (unsigned i = 0; i < 4; ++i)
    ck_assert_int_eq (pthread_create (&threads[i], NULL, worker_main, NULL), 0);
  rt_mutex_unlock (&mutex);
  for (unsigned i = 0; i < 4; ++i)
    pthread_join (threads[i], NULL);
  rt_mutex_lock (&mutex);
  ck_assert_uint_eq (most_leaders, 1);
  ck_assert_uint_eq (rounds_asked, 800);
  ck_assert_uint_le (rounds.finished, 800);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("rounds");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_set_timeout (tc, 120);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_results);
  tcase_add_test (tc, test_filling);
  tcase_add_loop_test (tc, test_old_success, 60, 130);
  tcase_add_loop_test (tc, test_old_success_after_failure, 60, 70);
  tcase_add_loop_test (tc, test_old_failure, 60, 70);
  tcase_add_loop_test (tc, test_later_failure, 60, 70);
  tcase_add_loop_test (tc, test_followers, 0, 2);
  tcase_add_test (tc, test_late_followers);
  tcase_add_test (tc, test_one_leader);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
