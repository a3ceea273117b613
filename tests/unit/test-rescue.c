/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Reading only, whatever is left; and arrays that have no bitmap.  Every test
 * of the first kind sees to it that no byte of any leg changes.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "legs.h"

#define E     LEGS_EVENTS
#define KINDS (2 * SUPERBLOCK_VERSIONS)

static void
make_kind (int i, unsigned n)
{
  legs_make_version ((enum superblock_version) (i % SUPERBLOCK_VERSIONS),
                     i < SUPERBLOCK_VERSIONS, n, 0, 0);
}

/* Opens for reading with the legs of the mask, answers the byte, and neither
 * that nor anything else is written.
 */
static void
assert_reads (unsigned mask, uint8_t expected)
{
  struct array *array;
  uint64_t hash;
  uint8_t byte;

  legs_options.read_only = true;
  legs_store ();
  hash = legs_hash ();
  array = assert_opens (mask);
  tap_reset ();
  for (unsigned i = 0; i < 4; ++i) {
    ck_assert_int_eq (block_read (array, &byte, BLOCK), 0);
    ck_assert_uint_eq (byte, expected);
  }
  ck_assert_int_eq (array_activate (array), -EROFS);
  ck_assert_int_eq (block_write (array, 1, 0, 0), -EROFS);
  legs_close (array);
  for (unsigned i = 0; i < legs_options.nlegs; ++i)
    ck_assert_uint_eq (tap_count (i, OP_WRITES), 0);
  ck_assert_uint_eq (legs_hash (), hash);
}

/* ---- subsets ---- */

/* Any subset of three legs, of which the second is stale and the third is
 * called faulty by the others: with degraded=auto.
 */
START_TEST (test_subsets)
{
  const unsigned subset = 1 + (unsigned)(_i / KINDS);
  unsigned n = 0, mask = 0;

  make_kind (_i % KINDS, 3);
  leg_set_events (1, E - 7);
  leg_set_events (2, E - 1);
  images[0].superblock.dev_roles[2] = ROLE_FAULTY;
  for (unsigned i = 0; i < 3; ++i) {
    leg_set_data (i, BLOCK, (uint8_t)(1 + i));
    if (subset >> i & 1)
      legs_options.legs[n++] = leg_path (i);
  }
  legs_options.nlegs = n;
  /* The freshest of them that is not faulty; alone, whatever it is. */
  if (subset & 1) {
    mask = 1;
    assert_reads (mask, 1);
  }
  else if (subset == 2)
    assert_reads (1, 2);
  else if (subset == 4)
    assert_reads (1, 3);
  else
    assert_reads (2, 3);
  legs_options.degraded = ARRAY_DEGRADED_REFUSE;
  assert_refused ("has no leg that can be used");
}
END_TEST

/* What holds no full copy is not enough. */
START_TEST (test_not_full)
{
  legs_make (2, 0, 0);
  legs_options.nlegs = 1;
  legs_options.legs[0] = leg_path (1);
  legs_options.read_only = true;
  if (_i == 0)
    images[1].superblock.dev_roles[1] = ROLE_SPARE;
  if (_i == 1)
    images[1].superblock.feature_map |= FEATURE_RECOVERY_OFFSET;
  if (_i == 2)
    images[1].superblock.feature_map |= FEATURE_REPLACEMENT;
  assert_refused ("none of the legs given is an in-sync leg");
}
END_TEST

/* Not clean, and no bitmap that helps: everything from one leg. */
START_TEST (test_no_usable_bitmap)
{
  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    leg_set_data (i, BLOCK, (uint8_t)(1 + i));
    if (_i == 0)
      images[i].bitmap.version = 5;
    if (_i == 1)
      images[i].bitmap.uuid[3] ^= 1;
    if (_i == 2)
      images[i].bitmap.events = E - 1;
    if (_i == 3)
      images[i].bitmap.chunksize <<= i;
    if (_i == 4)
      images[i].bitmap.sectors_reserved = 1;
    if (_i == 4)
      images[i].bitmap.chunksize = 512;
    if (_i == 5 && i == 1)
      images[i].superblock.feature_map &= ~(uint32_t)FEATURE_BITMAP_OFFSET;
  }
  legs_options.refuse_full_resync = true;
  assert_reads (3, 1);
  if (_i != 2)
    ck_assert (logged ("its bitmap cannot be used"));
  /* Who would write is told. */
  legs_options.read_only = false;
  assert_refused (_i == 2 ? "full-resync=refuse" : "field ");
}
END_TEST

/* Clean: both serve. */
START_TEST (test_clean_no_usable_bitmap)
{
  struct array *array;

  legs_make (2, 0, 0);
  images[0].bitmap.version = images[1].bitmap.version = 5;
  legs_options.read_only = true;
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), 0);
  assert_fate (array, 1, ARRAY_LEG_IN_SYNC, "clean");
  legs_close (array);
}
END_TEST

/* ---- no bitmap ---- */

START_TEST (test_no_bitmap_clean)
{
  const enum superblock_version version = (enum superblock_version)_i;
  struct array_info info;
  struct array *array;

  legs_make_version (version, false, 2, 0, 0);
  legs_options.refuse_full_resync = true;
  array = assert_opens (3);
  ck_assert (logged ("it has no bitmap"));
  array_get_info (array, &info);
  ck_assert_uint_ge (info.chunksize, 64 * MiB);
  ck_assert_uint_eq (info.chunks_needed, 0);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 3, 5 * MiB, ARRAY_FUA), 0);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i)
    ck_assert_uint_eq (images[i].superblock.resync_offset, 0);
  legs_close (array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (images[i].superblock.resync_offset, RESYNC_CLEAN);
    ck_assert (!(images[i].superblock.feature_map & FEATURE_BITMAP_OFFSET));
    ck_assert_uint_eq (leg_data (i, 5 * MiB), 3);
  }
}
END_TEST

/* Not clean: resync from resync_offset on, 200 MiB in chunks of 64. */
START_TEST (test_no_bitmap_resync)
{
  static const uint64_t offsets[] = { 0, 63 * MiB, 64 * MiB, 130 * MiB,
                                      200 * MiB };
  static const unsigned chunks[] = { 4, 4, 3, 2, 1 };
  const uint64_t size = 200 * MiB;
  const unsigned from = chunks[0] - chunks[_i];
  struct array_leg_info leg;
  struct array_info info;
  struct array *array;

  legs_make_version (SUPERBLOCK_1_2, false, 2, size, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = offsets[_i] / SECTOR_SIZE;
    for (unsigned chunk = 0; chunk < 4; ++chunk)
      leg_set_data (i, chunk * 64 * MiB, (uint8_t)(10 * i + chunk));
  }
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), _i == 4 ? 1 : chunks[_i]);
  assert_fate (array, 1, ARRAY_LEG_IN_SYNC,
               "full: no bitmap, and the array is not clean; ");
  array_get_leg_info (array, 1, &leg);
  ck_assert (leg.resync == ARRAY_RESYNC_FULL);
  ck_assert_uint_eq (leg.resync_bytes, size - from * 64 * MiB);
  ck_assert_str_eq (leg.resync_source, leg_path (0));
  ck_assert_int_eq (array_activate (array), 0);
  do
    array_get_info (array, &info);
  while (info.chunks_needed > 0);
  legs_close (array);
  legs_load ();
  for (unsigned chunk = 0; chunk < 4; ++chunk)
    ck_assert_uint_eq (leg_data (1, chunk * 64 * MiB),
                       chunk < from ? 10 + chunk : chunk);
  for (unsigned i = 0; i < 2; ++i)
    ck_assert_uint_eq (images[i].superblock.resync_offset, RESYNC_CLEAN);
}
END_TEST

START_TEST (test_no_bitmap_refused)
{
  legs_make_version ((enum superblock_version)_i, false, 2, 0, 0);
  images[0].superblock.resync_offset = 0;
  legs_options.refuse_full_resync = true;
  assert_refused ("full-resync=refuse forbids");
  /* One leg has nothing to be copied to. */
  legs_options.nlegs = 1;
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (1);
}
END_TEST

/* Degraded and dirty, then stopped: a single copy is clean. */
START_TEST (test_no_bitmap_degraded)
{
  struct array *array;

  legs_make_version ((enum superblock_version)_i, false, 2, 0, 0);
  images[0].superblock.resync_offset = 0;
  legs_options.nlegs = 1;
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = assert_opens (1);
  assert_fate (array, 0, ARRAY_LEG_IN_SYNC, "no other leg to resync");
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 3, 0, ARRAY_FUA), 0);
  legs_close (array);
  leg_load (0, &images[0]);
  ck_assert_uint_eq (images[0].superblock.resync_offset, RESYNC_CLEAN);
  ck_assert_uint_eq (images[0].superblock.dev_roles[1], ROLE_FAULTY);
}
END_TEST

/* A leg fails while it runs: on record before the write is answered. */
START_TEST (test_no_bitmap_failure)
{
  struct array *array;

  legs_make_version ((enum superblock_version)_i, false, 3, 0, 0);
  legs_store ();
  array = legs_activate ();
  tap_fail (1, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 3, 0, ARRAY_FUA), 0);
  legs_kill (array);
  legs_load ();
  for (unsigned i = 0; i < 3; i += 2) {
    ck_assert_uint_eq (images[i].superblock.dev_roles[1], ROLE_FAULTY);
    ck_assert_uint_ge (images[i].superblock.events,
                       images[1].superblock.events + 2);
  }
  array = legs_open ();
  ck_assert (!leg_in_sync (array, 1));
  ck_assert_uint_eq (needed (array), 1);
  legs_close (array);
}
END_TEST

/* ---- what is said ---- */

START_TEST (test_explain_stale)
{
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    images[i].bitmap.events = E - 2;
  }
  array = assert_opens (3);
  assert_fate (array, 0, ARRAY_LEG_IN_SYNC, "source");
  assert_fate (array, 1, ARRAY_LEG_IN_SYNC,
               "full: its bitmap is stale: events 38 < 40; 8192 KiB, from leg");
  ck_assert (logged ("slot 1: full: its bitmap is stale: events 38 < 40"));
  array_close (array);
}
END_TEST

START_TEST (test_explain_write_mostly)
{
  struct array_leg_info info;
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 127);
  }
  images[0].superblock.devflags = DEV_FLAG_WRITE_MOSTLY;
  array = assert_opens (3);
  assert_fate (array, 1, ARRAY_LEG_IN_SYNC, "source");
  assert_fate (array, 0, ARRAY_LEG_IN_SYNC,
               "bitmap: 1 of 128 chunks, 64 KiB, from leg ");
  array_get_leg_info (array, 0, &info);
  ck_assert (info.write_mostly && info.has_superblock);
  ck_assert_int_eq (info.slot, 0);
  ck_assert_uint_eq (info.events, E);
  array_close (array);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("rescue");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_subsets, 0, 7 * KINDS);
  tcase_add_loop_test (tc, test_not_full, 0, 3);
  tcase_add_loop_test (tc, test_no_usable_bitmap, 0, 6);
  tcase_add_test (tc, test_clean_no_usable_bitmap);
  tcase_add_loop_test (tc, test_no_bitmap_clean, 0, 4);
  tcase_add_loop_test (tc, test_no_bitmap_resync, 0, 5);
  tcase_add_loop_test (tc, test_no_bitmap_refused, 0, 4);
  tcase_add_loop_test (tc, test_no_bitmap_degraded, 0, 4);
  tcase_add_loop_test (tc, test_no_bitmap_failure, 0, 4);
  tcase_add_test (tc, test_explain_stale);
  tcase_add_test (tc, test_explain_write_mostly);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
