/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A split brain, settled by force_source; killed at any write of its record;
 * and what keeps the loser out afterwards.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "legs.h"

#define E LEGS_EVENTS

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned writes_left, writes_seen;
static uint64_t lost_events;
static unsigned within_margin; /* superblocks too near the loser's events */
static unsigned early; /* superblocks before events_cleared was durable */
static uint64_t cleared[LEGS];

static void
call_faulty (unsigned leg, unsigned other)
{
  images[leg].superblock.dev_roles[other] = ROLE_FAULTY;
}

/* Legs 0 and 2 (if there are three) against leg 1.  lead: by how much the
 * loser is ahead of the winners.
 */
static void
make_split (enum superblock_version version, unsigned n, int lead)
{
  legs_make_version (version, true, n, 0, 0);
  for (unsigned i = 0; i < n; ++i) {
    if (i != 1)
      call_faulty (i, 1);
    else {
      call_faulty (1, 0);
      if (n == 3)
        call_faulty (1, 2);
    }
    images[i].bitmap.events_cleared = E - 30;
  }
  lost_events = (uint64_t)(E + lead);
  leg_set_events (1, lost_events);
  leg_set_data (0, 0, 1);
  leg_set_data (1, 0, 2);
  if (n == 3)
    leg_set_data (2, 0, 1);
  legs_store ();
}

static void
reset_watch (unsigned left)
{
  writes_left = left;
  writes_seen = within_margin = early = 0;
  for (unsigned i = 0; i < LEGS; ++i)
    cleared[i] = 0;
}

/* Dies after writes_left writes, and looks at what passes. */
static enum verdict
watch (unsigned leg, enum op op, const struct io *io)
{
  enum verdict verdict = TAP_PASS;

  if (!(op & (OP_WRITES | OP_FLUSH)))
    return TAP_PASS;
  pthread_mutex_lock (&lock);
  if (writes_left == 0)
    verdict = TAP_FAIL;
  else
    writes_left--;
  writes_seen++;
  if (verdict == TAP_PASS && op == OP_WRITE_BITMAP)
    cleared[leg] = get_le64 (io->data + 32);
  if (op == OP_WRITE_SUPERBLOCK) {
    uint64_t events =
        get_le64 (io->data + (get_le32 (io->data + 4) == 0 ? 156 : 200));

    if (events + 1 >= lost_events && events <= lost_events + 1)
      within_margin++;
    if (cleared[leg] <= lost_events)
      early++;
  }
  pthread_mutex_unlock (&lock);
  return verdict;
}

/* What is on record when that has been answered. */
static void
assert_settled (unsigned n)
{
  legs_load ();
  for (unsigned i = 0; i < n; i += 2) {
    ck_assert_uint_ge (images[i].superblock.events, lost_events + 2);
    ck_assert_uint_eq (images[i].superblock.dev_roles[1], ROLE_FAULTY);
    ck_assert_uint_gt (images[i].bitmap.events_cleared, lost_events);
    ck_assert_uint_ge (images[i].bitmap.events, images[i].superblock.events);
    ck_assert_uint_ge (images[i].bitmap.events,
                       images[i].bitmap.events_cleared);
  }
  ck_assert_uint_eq (images[1].superblock.events, lost_events);
}

static const int leads[] = { -20, -3, -2, -1, 0, 1, 2, 3, 20, 200 };
#define LEADS ((int)(sizeof leads / sizeof leads[0]))

/* Refused without a word from the user; then settled. */
START_TEST (test_settled)
{
  const unsigned n = 2 + (unsigned)(_i / LEADS) % 2;
  const enum superblock_version version =
      _i / LEADS / 2 == 0 ? SUPERBLOCK_1_2 : SUPERBLOCK_0_90;
  struct array *array;
  uint8_t byte;
  uint64_t hash;

  make_split (version, n, leads[_i % LEADS]);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("split brain");
  legs_options.degraded = ARRAY_DEGRADED_AUTO;
  legs_options.force_source = leg_path (0);
  array = assert_opens (n == 2 ? 1 : 5);
  assert_fate (array, 1, ARRAY_LEG_SPLIT, "it disagrees with leg ");
  hash = leg_hash (1);
  reset_watch (UINT32_MAX);
  tap_hook (watch);
  ck_assert_int_eq (array_record (array), 0);
  tap_hook (NULL);
  ck_assert_uint_eq (within_margin, 0);
  ck_assert_uint_eq (early, 0);
  legs_close (array);
  assert_settled (n);
  ck_assert_uint_eq (images[0].superblock.resync_offset, RESYNC_CLEAN);
  ck_assert_uint_eq (leg_hash (1), hash);

  /* No more need of force, and it stays settled. */
  legs_options.force_source = NULL;
  for (unsigned start = 0; start < 2; ++start) {
    array = legs_activate ();
    assert_fate (array, 1, ARRAY_LEG_SPLIT, "events_cleared there");
    ck_assert_int_eq (block_read (array, &byte, 0), 0);
    ck_assert_uint_eq (byte, 1 + start * 8);
    ck_assert_int_eq (block_write (array, 9, 0, ARRAY_FUA), 0);
    legs_close (array);
    assert_settled (n);
    ck_assert_uint_eq (leg_hash (1), hash);
  }
}
END_TEST

/* The other one wins. */
START_TEST (test_other_wins)
{
  struct array *array;
  uint64_t hash;

  make_split (SUPERBLOCK_1_2, 3, leads[_i]);
  legs_options.force_source = leg_path (1);
  array = assert_opens (2);
  assert_fate (array, 0, ARRAY_LEG_SPLIT, "");
  assert_fate (array, 2, ARRAY_LEG_SPLIT, "");
  hash = leg_hash (0) ^ leg_hash (2);
  ck_assert_int_eq (array_activate (array), 0);
  legs_close (array);
  ck_assert_uint_eq (leg_hash (0) ^ leg_hash (2), hash);
  legs_load ();
  ck_assert_uint_ge (images[1].superblock.events, E + 2);
  ck_assert_uint_gt (images[1].bitmap.events_cleared, E);
  ck_assert_uint_eq (images[1].superblock.dev_roles[0], ROLE_FAULTY);
  ck_assert_uint_eq (images[1].superblock.dev_roles[2], ROLE_FAULTY);
}
END_TEST

/* Killed at the n-th write of the record: the loser is never in sync beside
 * anybody else, has not changed, and the winner's data is what is served.
 */
static void
kill_at (unsigned n, int lead, unsigned point)
{
  struct array *array;
  uint64_t hash;
  uint8_t byte;
  int err;

  make_split (SUPERBLOCK_1_2, n, lead);
  hash = leg_hash (1);
  legs_options.force_source = leg_path (0);
  array = legs_open ();
  reset_watch (point);
  tap_hook (watch);
  err = array_record (array);
  legs_close (array);
  ck_assert_uint_eq (within_margin, 0);
  ck_assert_uint_eq (early, 0);
  tap_hook (NULL);
  if (err == 0)
    legs_load ();

  legs_options.force_source = NULL;
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  err = legs_try_open (&array);
  if (err == 0) {
    ck_assert (!leg_in_sync (array, 1));
    ck_assert_int_eq (array_start (array), 0);
    ck_assert_int_eq (array_activate (array), 0);
    ck_assert_int_eq (block_read (array, &byte, 0), 0);
    ck_assert_uint_eq (byte, 1);
    ck_assert_int_eq (block_write (array, 9, 0, ARRAY_FUA), 0);
    legs_close (array);
    legs_load ();
    ck_assert_uint_ge (max_u64 (images[0].superblock.events,
                                n == 3 ? images[2].superblock.events : 0),
                       lost_events + 2);
  }
  else
    ck_assert (logged ("split brain"));
  ck_assert_uint_eq (leg_hash (1), hash);
  /* And by force again, all is well. */
  legs_options.force_source = leg_path (0);
  array = legs_activate ();
  ck_assert (leg_in_sync (array, 0) && !leg_in_sync (array, 1));
  legs_close (array);
  legs_load ();
  ck_assert_uint_gt (images[0].bitmap.events_cleared, lost_events);
  ck_assert_uint_ge (images[0].superblock.events, lost_events + 2);
  ck_assert_uint_eq (leg_hash (1), hash);
}

#define POINTS 24

START_TEST (test_killed)
{
  kill_at (2 + (unsigned)(_i / POINTS) % 2, leads[_i / POINTS / 2],
           (unsigned)_i % POINTS);
}
END_TEST

/* Served by itself after it has lost, it is a split brain once more, whichever
 * leads.
 */
START_TEST (test_loser_alone)
{
  struct array *array;

  make_split (SUPERBLOCK_1_2, 2, 0);
  legs_options.force_source = leg_path (0);
  array = legs_open ();
  ck_assert_int_eq (array_record (array), 0);
  legs_close (array);
  legs_options.force_source = NULL;
  legs_options.nlegs = 1;
  legs_options.legs[0] = leg_path (1);
  for (int i = 0; i <= _i; ++i) {
    array = legs_activate ();
    ck_assert_int_eq (block_write (array, 5, 0, ARRAY_FUA), 0);
    legs_close (array);
  }
  legs_options.nlegs = 2;
  legs_options.legs[0] = leg_path (0);
  legs_options.legs[1] = leg_path (1);
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("split brain"));
}
END_TEST

/* A leg that was left behind before all were in sync again is no split brain;
 * at the very number, it is.
 */
START_TEST (test_long_gone)
{
  struct array *array;

  make_split (SUPERBLOCK_1_2, 2, -5);
  images[0].bitmap.events_cleared = lost_events + (unsigned)_i;
  if (_i == 0) {
    assert_refused ("split brain");
    return;
  }
  if (_i == 2) {
    /* Not the number that a forced source has: all slots must be filled. */
    assert_refused ("split brain");
    images[0].superblock.dev_roles[2] = 1;
    legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  }
  array = assert_opens (1);
  assert_fate (array, 1, ARRAY_LEG_SPLIT, "it has gone on without leg");
  array_close (array);
  /* But not by a bitmap that cannot be believed. */
  if (_i == 2)
    images[0].bitmap.uuid[0] ^= 1;
  else
    images[0].bitmap.events = E - 1;
  assert_refused ("split brain");
}
END_TEST

/* A bitmap that is made anew, or was stale, has the events of that moment as
 * events_cleared, without any slot filled: that settles nothing.
 */
START_TEST (test_new_bitmap)
{
  struct array *array;

  make_split (SUPERBLOCK_1_2, 2, -5);
  images[0].bitmap.events = 0;
  legs_options.nlegs = 1;
  array = assert_opens (1);
  ck_assert_int_eq (array_record (array), 0);
  legs_close (array);
  leg_load (0, &images[0]);
  ck_assert_uint_ge (images[0].bitmap.events_cleared, E);
  legs_options.nlegs = 2;
  assert_refused ("split brain");
  /* Unless its slot has been filled since. */
  images[0].superblock.dev_roles[2] = 1;
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = assert_opens (1);
  assert_fate (array, 1, ARRAY_LEG_SPLIT, "it has gone on without leg");
  array_close (array);
}
END_TEST

/* Nor does a header that is damaged. */
START_TEST (test_damaged_cleared)
{
  struct array *array;

  make_split (SUPERBLOCK_1_2, 2, -5);
  images[0].superblock.dev_roles[2] = 1; /* whole, so any would do */
  images[0].bitmap.events_cleared = E;
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = assert_opens (1);
  array_close (array);
  if (_i == 0)
    images[0].bitmap.events_cleared = E + 2;
  else if (_i == 1)
    images[0].bitmap.events_cleared |= (uint64_t)1 << 32;
  else
    images[0].bitmap.events = E + 9;
  assert_refused ("split brain");
}
END_TEST

/* ---- who cannot be forced, and what is not a split brain ---- */

START_TEST (test_not_full)
{
  static const char *const why[] = {
    "it is not among the legs",
    "by its own superblock it is a spare",
    "by its own superblock it is a spare, or not complete",
    "it has no superblock that can be used",
  };

  make_split (SUPERBLOCK_1_2, 2, 0);
  legs_options.force_source = leg_path (1);
  if (_i == 0)
    legs_options.force_source = "/nowhere";
  if (_i == 1)
    images[1].superblock.dev_roles[1] = ROLE_SPARE;
  if (_i == 2)
    images[1].superblock.feature_map |= FEATURE_RECOVERY_OFFSET;
  if (_i == 3)
    images[1].superblock.level = 5;
  assert_refused (why[_i]);
}
END_TEST

/* Nothing to settle: the same as without. */
START_TEST (test_no_split)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_options.force_source = leg_path (_i);
  array = assert_opens (3);
  ck_assert_int_eq (array_record (array), 0);
  legs_close (array);
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.events, E);
  /* Stale by the table of one that does not deny it: forced all the same. */
  leg_set_events ((unsigned)!_i, E + 7);
  array = assert_opens (1u << _i);
  assert_fate (array, (unsigned)!_i, ARRAY_LEG_SPLIT, "it disagrees");
  ck_assert_int_eq (array_record (array), 0);
  legs_close (array);
  legs_load ();
  ck_assert_uint_ge (images[_i].superblock.events, E + 9);
  /* Ahead by more than one of the leg that is not behind: stale. */
  legs_make (2, 0, 0);
  legs_options.force_source = leg_path (_i);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  leg_set_events ((unsigned)!_i, E - 7);
  array = assert_opens (1u << _i);
  assert_fate (array, (unsigned)!_i, ARRAY_LEG_STALE, "stale: ");
  array_close (array);
}
END_TEST

/* Without a bitmap there is no events_cleared: it is refused again, until the
 * loser is gone.
 */
START_TEST (test_no_bitmap)
{
  struct array *array;

  legs_make_version (SUPERBLOCK_1_2, false, 2, 0, 0);
  call_faulty (0, 1);
  call_faulty (1, 0);
  leg_set_events (1, E + 3);
  legs_options.force_source = leg_path (0);
  array = assert_opens (1);
  ck_assert_int_eq (array_record (array), 0);
  legs_close (array);
  legs_load ();
  ck_assert_uint_ge (images[0].superblock.events, E + 5);
  legs_options.force_source = NULL;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("split brain"));
  legs_options.nlegs = 1;
  array = legs_activate ();
  legs_close (array);
}
END_TEST

/* With -r nothing is written. */
START_TEST (test_read_only)
{
  struct array *array;
  uint64_t hash;

  make_split (SUPERBLOCK_1_2, 2, 5);
  legs_options.read_only = true;
  assert_refused ("split brain");
  legs_options.force_source = leg_path (0);
  hash = legs_hash ();
  array = assert_opens (1);
  ck_assert_int_eq (array_record (array), -EROFS);
  ck_assert_int_eq (array_activate (array), -EROFS);
  legs_close (array);
  ck_assert_uint_eq (legs_hash (), hash);
}
END_TEST

/* array_record with nothing but a lost leg. */
START_TEST (test_record_lost)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  legs_options.nlegs = 1;
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = legs_open ();
  ck_assert_int_eq (array_record (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, 0), -EROFS);
  legs_close (array);
  leg_load (0, &images[0]);
  ck_assert_uint_eq (images[0].superblock.dev_roles[1], ROLE_FAULTY);
  ck_assert_uint_ge (images[0].superblock.events, E + 3);
  ck_assert_uint_eq (images[0].superblock.resync_offset, RESYNC_CLEAN);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("force-source");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_settled, 0, 4 * LEADS);
  tcase_add_loop_test (tc, test_other_wins, 0, LEADS);
  tcase_add_loop_test (tc, test_killed, 0, 2 * LEADS * POINTS);
  tcase_add_loop_test (tc, test_loser_alone, 0, 3);
  tcase_add_loop_test (tc, test_long_gone, 0, 3);
  tcase_add_test (tc, test_new_bitmap);
  tcase_add_loop_test (tc, test_damaged_cleared, 0, 3);
  tcase_add_loop_test (tc, test_not_full, 0, 4);
  tcase_add_loop_test (tc, test_no_split, 0, 2);
  tcase_add_test (tc, test_no_bitmap);
  tcase_add_test (tc, test_read_only);
  tcase_add_test (tc, test_record_lost);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
