/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* array_activate: what is written before the first data, in which order, and
 * what a crash in between leaves behind.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "legs.h"

#define E LEGS_EVENTS

/* What a hook has found wrong; main looks. */
static pthread_mutex_t found_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned found_wrong, found_right;

static void
found (bool right)
{
  pthread_mutex_lock (&found_lock);
  if (right)
    found_right++;
  else
    found_wrong++;
  pthread_mutex_unlock (&found_lock);
}

static void
set_events (unsigned leg, uint64_t events)
{
  images[leg].superblock.events = images[leg].bitmap.events = events;
}

static void
call_faulty (unsigned leg, unsigned other)
{
  images[leg].superblock.dev_roles[other] = ROLE_FAULTY;
}

/* ---- A1: the lost leg never catches up ---- */

/* After array_activate, before anything else: the survivors, a mask, lead
 * leg 1 by 2 at least.
 */
static void
assert_lead (unsigned survivors, uint64_t lost)
{
  legs_load ();
  for (unsigned i = 0; i < 3; ++i)
    if (survivors >> i & 1) {
      ck_assert_uint_ge (images[i].superblock.events, lost + 2);
      ck_assert_uint_eq (images[i].superblock.dev_roles[1], ROLE_FAULTY);
      ck_assert_uint_ge (images[i].bitmap.events, images[i].superblock.events);
    }
}

/* The record was interrupted: the survivors say it, but do not lead, or lead
 * by one only.  _i: the events of the lost leg, behind by that much.
 */
START_TEST (test_lost_on_record)
{
  const uint64_t lost = E + 1 - (unsigned)_i;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i)
    set_events (i, E + 1);
  set_events (1, lost);
  call_faulty (0, 1);
  call_faulty (2, 1);
  legs_store ();
  legs_options.nlegs = 2;
  legs_options.legs[1] = leg_path (2);
  for (unsigned start = 0; start < 2; ++start) {
    struct array *array = legs_activate ();

    ck_assert_uint_eq (in_sync (array), 2);
    assert_lead (5, lost);
    ck_assert_uint_eq (images[1].superblock.events, lost);
    ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
    legs_kill (array);
  }
}
END_TEST

/* The same with the lost leg among those that are given. */
START_TEST (test_lost_on_record_given)
{
  const uint64_t lost = E + 1 - (unsigned)_i;
  struct array *array;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i)
    set_events (i, E + 1);
  set_events (1, lost);
  call_faulty (0, 1);
  call_faulty (2, 1);
  legs_store ();
  array = legs_activate ();
  ck_assert (!leg_in_sync (array, 1));
  assert_lead (5, lost);
  ck_assert_uint_eq (images[1].superblock.events, lost);
  legs_kill (array);
}
END_TEST

/* One survivor. */
START_TEST (test_lost_on_record_pair)
{
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i)
    set_events (i, E + 1);
  call_faulty (0, 1);
  legs_store ();
  legs_options.nlegs = 1;
  array = legs_activate ();
  assert_lead (1, E + 1);
  legs_kill (array);
}
END_TEST

/* The loss is not on record, and the leg that is not here may be the one
 * with the highest number.
 */
START_TEST (test_lost_ahead)
{
  struct array *array;

  legs_make (3, 0, 0);
  set_events (1, E + 1);
  legs_store ();
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  if (_i == 0) {
    legs_options.nlegs = 2;
    legs_options.legs[1] = leg_path (2);
  }
  else
    legs_options.nlegs = 1;
  array = legs_activate ();
  assert_lead (_i == 0 ? 5 : 1, E + 1);
  legs_kill (array);
  /* So it is not believed when it comes back. */
  legs_options.nlegs = 3;
  legs_options.degraded = ARRAY_DEGRADED_AUTO;
  for (unsigned i = 0; i < 3; ++i)
    legs_options.legs[i] = leg_path (i);
  array = legs_open ();
  ck_assert (!leg_in_sync (array, 1));
  ck_assert (leg_in_sync (array, 0));
  legs_close (array);
}
END_TEST

/* Killed at any point of the record, it is made good by the next start. */
static unsigned writes_left;

static enum verdict
die_after (unsigned leg, enum op op, const struct io *io)
{
  enum verdict verdict = TAP_PASS;

  (void)leg;
  (void)io;
  if (!(op & (OP_WRITES | OP_FLUSH)))
    return TAP_PASS;
  pthread_mutex_lock (&found_lock);
  if (writes_left == 0)
    verdict = TAP_FAIL;
  else
    writes_left--;
  pthread_mutex_unlock (&found_lock);
  return verdict;
}

START_TEST (test_lost_killed)
{
  struct array *array;
  int err;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i)
    set_events (i, E + 1);
  call_faulty (0, 1);
  call_faulty (2, 1);
  legs_store ();
  legs_options.nlegs = 2;
  legs_options.legs[1] = leg_path (2);
  array = legs_open ();
  writes_left = (unsigned)_i;
  tap_hook (die_after);
  err = array_activate (array);
  if (err == 0 && _i < 4)
    ck_abort_msg ("four writes cannot be enough");
  legs_close (array);

  tap_hook (NULL);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  ck_assert_uint_ge (in_sync (array), 1);
  legs_kill (array);
  legs_options.nlegs = 3;
  for (unsigned i = 0; i < 3; ++i)
    legs_options.legs[i] = leg_path (i);
  array = legs_open ();
  ck_assert (!leg_in_sync (array, 1));
  legs_close (array);
  legs_load ();
  ck_assert_uint_eq (images[1].superblock.events, E + 1);
  ck_assert_uint_ge (
      max_u64 (images[0].superblock.events, images[2].superblock.events),
      E + 3);
}
END_TEST

/* ---- A2: stale copies ---- */

#define STALE_SIZE   (16 * MiB)
#define STALE_CHUNK  4096
#define STALE_CHUNKS (STALE_SIZE / STALE_CHUNK)

static unsigned bitmap_writes[LEGS];
static bool tear;

/* The first write of the bitmap is the last that the leg takes, as a whole
 * or its first sector.
 */
static enum verdict
die_with_bitmap (unsigned leg, enum op op, const struct io *io)
{
  enum verdict verdict = TAP_FAIL;

  (void)io;
  if (!(op & (OP_WRITES | OP_FLUSH)))
    return TAP_PASS;
  pthread_mutex_lock (&found_lock);
  if (op == OP_FLUSH && bitmap_writes[leg] == 0)
    verdict = TAP_PASS; /* with which writing begins */
  if (op == OP_WRITE_BITMAP && bitmap_writes[leg]++ == 0)
    verdict = tear ? TAP_TEAR : TAP_PASS;
  pthread_mutex_unlock (&found_lock);
  return verdict;
}

static void
make_stale (bool both)
{
  legs_make (2, STALE_SIZE, STALE_CHUNK);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    images[i].bitmap.events -= i == 0 || both;
  }
  legs_store ();
}

START_TEST (test_stale_killed)
{
  struct array *array;

  tear = _i == 0;
  make_stale (true);
  array = legs_open ();
  ck_assert_uint_eq (needed (array), STALE_CHUNKS);
  tap_hook (die_with_bitmap);
  ck_assert_int_eq (array_activate (array), -EIO);
  ck_assert_uint_gt (bitmap_writes[0], 0);
  ck_assert_uint_gt (bitmap_writes[1], 0);
  legs_close (array);

  tap_hook (NULL);
  array = legs_open ();
  ck_assert_uint_eq (needed (array), STALE_CHUNKS);
  legs_close (array);
}
END_TEST

/* One copy is good: what it has marked is never forgotten. */
START_TEST (test_one_stale_killed)
{
  struct array *array;

  make_stale (false);
  image_set_bit (&images[1], 10);
  image_set_bit (&images[1], STALE_CHUNKS - 1);
  legs_store ();
  tear = _i == 0;
  array = legs_open ();
  ck_assert_uint_eq (needed (array), 2);
  tap_hook (die_with_bitmap);
  ck_assert_int_eq (array_activate (array), -EIO);
  legs_close (array);

  tap_hook (NULL);
  array = legs_open ();
  ck_assert_uint_ge (needed (array), 2);
  rt_mutex_lock (&array->lock);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, 10), 10);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, STALE_CHUNKS - 1),
                     STALE_CHUNKS - 1);
  rt_mutex_unlock (&array->lock);
  legs_close (array);
}
END_TEST

/* The header is made good after the bits are durable on all legs. */
static enum verdict
check_stale_order (unsigned leg, enum op op, const struct io *io)
{
  static struct image now;
  bool all_set = true;

  (void)leg;
  if (op != OP_WRITE_BITMAP || (get_le32 (io->data + 48) & BITMAP_STALE) != 0)
    return TAP_PASS;
  for (unsigned i = 0; i < 2 && found_right + found_wrong < 2; ++i) {
    leg_load (i, &now);
    for (uint64_t chunk = 0; chunk < STALE_CHUNKS; ++chunk)
      all_set &= image_bit (&now, chunk);
  }
  found (all_set);
  return TAP_PASS;
}

START_TEST (test_stale_order)
{
  struct array *array;

  make_stale (true);
  array = legs_open ();
  tap_hook (check_stale_order);
  ck_assert_int_eq (array_activate (array), 0);
  tap_hook (NULL);
  ck_assert_uint_eq (found_wrong, 0);
  ck_assert_uint_ge (found_right, 2);
  legs_load ();
  ck_assert_uint_eq (images[0].bitmap.state, 0);
  ck_assert_uint_eq (images[1].bitmap.state, 0);
  ck_assert_uint_ge (images[0].bitmap.events, E);
  legs_kill (array);
}
END_TEST

/* ---- A3: events_cleared ---- */

START_TEST (test_events_cleared)
{
  /* Events and events_cleared of both copies, and what must come out. */
  static const uint64_t cases[][5] = {
    { E, E - 1, E - 10, 3, E - 1 }, /* the second is stale */
    { E - 10, 3, E, E - 1, E - 1 }, /* the first */
    { E, 20, E, 30, 30 },           /* both are valid */
    { E, 30, E, 20, 30 },           /* */
    { E, 20, E - 1, 30, 20 },       /* a stale one leads */
    { E + 1, 20, E, 30, 30 },       /* bitmap written, superblock not */
    { E - 1, 20, E - 2, 30, E },    /* nobody knows */
  };
  const uint64_t *c = cases[_i];
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].bitmap.events = c[2 * i];
    images[i].bitmap.events_cleared = c[2 * i + 1];
  }
  legs_store ();
  array = legs_activate ();
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (images[i].bitmap.events_cleared, c[4]);
    ck_assert_uint_ge (images[i].bitmap.events, max_u64 (c[0], c[2]));
    ck_assert_uint_eq (images[i].bitmap.state, 0);
  }
  legs_kill (array);
}
END_TEST

/* ---- A4: checkpoints of a resync ---- */

static bool
all_not_clean (unsigned n)
{
  static struct image now;
  bool yes = true;

  for (unsigned i = 0; i < n; ++i) {
    leg_load (i, &now);
    yes &= now.superblock.resync_offset == 0;
  }
  return yes;
}

static enum verdict
check_not_clean (unsigned leg, enum op op, const struct io *io)
{
  (void)leg;
  (void)io;
  if (op == OP_WRITE_DATA && found_right + found_wrong < 4)
    found (all_not_clean (2));
  return TAP_PASS;
}

/* Where a resync had come to, in sectors, on both legs. */
START_TEST (test_resync_offset)
{
  static const uint64_t offsets[][2] = {
    { 0x4000, 0x4000 },
    { 0x4000, 0 },
    { 0, 0x4000 },
    { RESYNC_CLEAN, 0x4000 },
    { 0x4000, RESYNC_CLEAN },
    { RESYNC_CLEAN, 0 },
    { 0, RESYNC_CLEAN },
    { RESYNC_CLEAN, RESYNC_CLEAN },
  };
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = offsets[_i][i];
    image_set_bit (&images[i], 3);
  }
  legs_store ();
  array = legs_open ();
  ck_assert_uint_eq (needed (array), _i < 7);
  tap_hook (check_not_clean);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  tap_hook (NULL);
  ck_assert_uint_eq (found_wrong, 0);
  ck_assert_uint_ge (found_right, 1);
  legs_kill (array);
}
END_TEST

/* The first activation fails when it is about to be made good. */
START_TEST (test_resync_offset_again)
{
  struct array *array;

  legs_make (1, 0, 0);
  images[0].superblock.resync_offset = 0x4000;
  legs_store ();
  array = legs_open ();
  tap_fail (0, OP_WRITE_SUPERBLOCK);
  ck_assert_int_eq (array_activate (array), -EIO);
  tap_fail (0, 0);
  ck_assert_int_eq (array_activate (array), 0);
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.resync_offset, 0);
  legs_kill (array);
}
END_TEST

/* ---- A8: laggards ---- */

/* No leg that is in use is more than one generation behind one that is being
 * written.
 */
static unsigned in_use; /* bit n: leg n */

static enum verdict
check_margin (unsigned leg, enum op op, const struct io *io)
{
  static struct image now;
  uint64_t events;

  (void)leg;
  if (op != OP_WRITE_SUPERBLOCK)
    return TAP_PASS;
  events = get_le64 (io->data + 200);
  for (unsigned i = 0; i < 3; ++i)
    if (in_use >> i & 1) {
      leg_load (i, &now);
      found (now.superblock.events + 1 >= events);
    }
  return TAP_PASS;
}

/* _i % 3: the leg that lags; _i / 3: the leg that fails, 3 for none. */
START_TEST (test_laggard)
{
  const unsigned laggard = (unsigned)_i % 3, failing = (unsigned)_i / 3;
  const unsigned good = failing == 3 ? 7 : 7u & ~(1u << failing);
  struct array *array;
  uint64_t events;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i)
    set_events (i, i == laggard ? E : E + 1);
  legs_store ();
  array = legs_open ();
  ck_assert_uint_eq (in_sync (array), 3);
  in_use = good;
  tap_hook (check_margin);
  if (failing < 3)
    tap_fail (failing, OP_WRITE_BITMAP);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  tap_hook (NULL);
  ck_assert_uint_eq (found_wrong, 0);
  ck_assert_uint_gt (found_right, 0);
  ck_assert_uint_eq (in_sync (array), failing == 3 ? 3 : 2);
  legs_kill (array);
  legs_load ();
  events = images[failing == 0].superblock.events;
  ck_assert_uint_ge (events, E + 2);
  for (unsigned i = 0; i < 3; ++i)
    if (good >> i & 1)
      ck_assert_uint_eq (images[i].superblock.events, events);
    else {
      ck_assert_uint_ge (events, images[i].superblock.events + 2);
      ck_assert_uint_eq (images[failing == 0].superblock.dev_roles[i],
                         ROLE_FAULTY);
    }
}
END_TEST

/* ---- tables ---- */

/* Equal events, and tables that differ: made equal, with a number of its own.
 * _i & 1: by max_dev; _i & 2: the order in which the legs are given.
 */
START_TEST (test_tables_made_equal)
{
  const unsigned first = _i >> 1 & 1;
  struct array *array;

  legs_make (2, 0, 0);
  if (_i & 1)
    images[1].superblock.max_dev = 64;
  else
    images[1].superblock.dev_roles[5] = ROLE_FAULTY;
  legs_store ();
  legs_options.legs[0] = leg_path (first);
  legs_options.legs[1] = leg_path (!first);
  array = legs_activate ();
  legs_kill (array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (images[i].superblock.events, E + 1);
    ck_assert_uint_eq (images[i].superblock.max_dev, 128);
    ck_assert_uint_eq (images[i].superblock.dev_roles[5], ROLE_SPARE);
  }
}
END_TEST

/* ---- crash loops ---- */

#define STARTS 20

/* The headers' numbers never run away from the superblocks', however often a
 * degraded start is interrupted, and what they mark is still believed.
 */
static void
assert_headers_near (unsigned survivors)
{
  legs_load ();
  for (unsigned i = 0; i < 3; ++i)
    if (survivors >> i & 1)
      ck_assert_uint_le (images[i].bitmap.events,
                         images[i].superblock.events + 3);
}

/* _i: survivors. */
START_TEST (test_only_headers_advance)
{
  const unsigned survivors = _i == 1 ? 1 : 5;
  struct array *array;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 10);
  }
  legs_store ();
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  legs_options.nlegs = (unsigned)_i;
  legs_options.legs[1] = leg_path (2);
  for (unsigned start = 0; start < STARTS; ++start) {
    array = legs_open ();
    for (unsigned i = 0; i < 3; ++i)
      tap_fail (i, OP_WRITE_SUPERBLOCK);
    ck_assert_int_eq (array_activate (array), -EIO);
    ck_assert_int_eq (array_activate (array), -EIO);
    legs_kill (array);
    assert_headers_near (survivors);
  }
  array = legs_activate ();
  ck_assert_uint_eq (bitmap_marked (array->bitmap), 1);
  legs_kill (array);
  legs_load ();
  ck_assert_uint_le (images[0].superblock.events, E + 8);
}
END_TEST

/* ---- flushes ---- */

static unsigned
flushes (unsigned leg)
{
  return tap_count (leg, OP_FLUSH);
}

/* What was read may be in a leg's cache only: both are flushed before anything
 * is written.  A flush after nothing has happened does not reach them.
 */
static enum verdict
flushed_before (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (op & OP_WRITES) {
    ck_assert_uint_ge (flushes (0), 1);
    ck_assert_uint_ge (flushes (1), 1);
  }
  (void)leg;
  return TAP_PASS;
}

START_TEST (test_first_flush)
{
  struct array *array;

  legs_make (2, 0, 0);
  images[1].superblock.events--; /* so that there is something to write */
  images[1].superblock.resync_offset = 0;
  images[0].superblock.resync_offset = 0;
  image_set_bit (&images[1], 3);
  legs_store ();
  tap_hook (flushed_before);
  array = legs_activate ();
  tap_hook (NULL);
  ck_assert_uint_ge (tap_count (1, OP_WRITES), 2);
  legs_close (array);

  legs_make (2, 0, 0);
  legs_store ();
  array = legs_activate ();
  ck_assert_uint_eq (flushes (0), 1);
  ck_assert_uint_eq (flushes (1), 1);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert_uint_eq (flushes (0), 1);
  ck_assert_uint_eq (flushes (1), 1);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert_uint_eq (flushes (0), 2);
  ck_assert_uint_eq (flushes (1), 2);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert_uint_eq (flushes (0), 2);
  ck_assert_uint_eq (flushes (1), 2);
  legs_close (array);
}
END_TEST

/* ---- life ---- */

START_TEST (test_clean_stop)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 7, LEGS_CHUNK, 0), 0);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (images[i].superblock.resync_offset, 0);
    ck_assert (image_bit (&images[i], 1));
    ck_assert_uint_eq (leg_data (i, LEGS_CHUNK), 7);
  }
  legs_close (array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert (images[i].superblock.resync_offset == RESYNC_CLEAN);
    ck_assert (!image_bit (&images[i], 1));
    ck_assert_uint_gt (images[i].superblock.events, E);
    ck_assert_uint_eq (images[i].superblock.events,
                       images[0].superblock.events);
  }
}
END_TEST

START_TEST (test_read_only)
{
  struct array *array;
  uint64_t before;
  uint8_t byte;

  legs_make (2, 0, 0);
  images[1].bitmap.events--;
  images[0].superblock.resync_offset = 0;
  legs_store ();
  leg_set_data (0, 0, 9);
  leg_set_data (1, 0, 8);
  before = legs_hash ();
  legs_options.read_only = true;
  image_set_bit (&images[0], 0);
  legs_store ();
  before = legs_hash ();
  array = legs_open ();
  ck_assert_int_eq (array_activate (array), -EROFS);
  ck_assert_int_eq (block_write (array, 1, 0, 0), -EROFS);
  ck_assert_int_eq (array_zero (array, BLOCK, 0, 0), -EROFS);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 9);
  ck_assert_int_eq (array_flush (array), 0);
  legs_close (array);
  ck_assert_uint_eq (legs_hash (), before);
  ck_assert_uint_eq (tap_count (0, OP_WRITES | OP_FLUSH), 0);
  ck_assert_uint_eq (tap_count (1, OP_WRITES | OP_FLUSH), 0);
}
END_TEST

/* ---- main ---- */

static void
setup (void)
{
  found_wrong = found_right = writes_left = in_use = 0;
  memset (bitmap_writes, 0, sizeof bitmap_writes);
}

int
main (void)
{
  Suite *suite = suite_create ("activate");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_checked_fixture (tc, setup, NULL);
  tcase_add_loop_test (tc, test_lost_on_record, 0, 2);
  tcase_add_loop_test (tc, test_lost_on_record_given, 0, 2);
  tcase_add_test (tc, test_lost_on_record_pair);
  tcase_add_loop_test (tc, test_lost_ahead, 0, 2);
  tcase_add_loop_test (tc, test_lost_killed, 0, 14);
  tcase_add_loop_test (tc, test_stale_killed, 0, 2);
  tcase_add_loop_test (tc, test_one_stale_killed, 0, 2);
  tcase_add_test (tc, test_stale_order);
  tcase_add_loop_test (tc, test_events_cleared, 0, 7);
  tcase_add_loop_test (tc, test_resync_offset, 0, 8);
  tcase_add_test (tc, test_resync_offset_again);
  tcase_add_loop_test (tc, test_laggard, 0, 12);
  tcase_add_loop_test (tc, test_tables_made_equal, 0, 4);
  tcase_add_loop_test (tc, test_only_headers_advance, 1, 3);
  tcase_add_test (tc, test_first_flush);
  tcase_add_test (tc, test_clean_stop);
  tcase_add_test (tc, test_read_only);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
