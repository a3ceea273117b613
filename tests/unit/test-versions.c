/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Superblocks of every version: found, told apart, and written back so that
 * nothing changes but what is ours.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "legs.h"

#define E LEGS_EVENTS

/* By _i: version, and with or without a bitmap. */
#define KINDS (2 * SUPERBLOCK_VERSIONS)

static enum superblock_version
version_of (int i)
{
  return (enum superblock_version) (i % SUPERBLOCK_VERSIONS);
}

static void
make_kind (int i, unsigned n)
{
  legs_make_version (version_of (i), i < SUPERBLOCK_VERSIONS, n, 0, 0);
}

/* ---- what we may change ---- */

/* Noise where nobody has anything, and in what md leaves alone. */
static void
add_noise (int i)
{
  const bool old = version_of (i) == SUPERBLOCK_0_90;
  size_t n;

  for (unsigned leg = 0; leg < 2; ++leg) {
    uint8_t *bytes = leg_get_all (leg, &n);
    uint8_t *block = images[leg].superblock.block;

    for (size_t k = 0; k < n; ++k)
      bytes[k] = (uint8_t)(k * 2654435761u >> 13);
    leg_put (leg, 0, bytes, n);
    if (old) {
      memcpy (block + 44, bytes, 4);          /* md_minor */
      memcpy (block + 176, bytes, 80);        /* reshape */
      memcpy (block + 264, bytes, 512 - 264); /* root_pv, reserved */
    }
    else {
      memcpy (block + 100, bytes, 28); /* new_level and so on */
      memcpy (block + 512, bytes,
              SUPERBLOCK_BYTES - 512); /* behind the table */
    }
    /* As mdadm leaves it behind the last bit. */
    memset (images[leg].bits + 256 + 16, 0xff, BITMAP_PAGE_BYTES - 256 - 16);
    free (bytes);
  }
}

/* Ours in the superblock: utime, state, events, resync, checksum. */
static bool
owned_by_us (int i, uint64_t at)
{
  if (version_of (i) == SUPERBLOCK_0_90)
    return (at >= 128 && at < 136) || (at >= 152 && at < 176);
  return at >= 192 && at < 220;
}

/* A run with one write leaves all other bytes as they were. */
START_TEST (test_preserved)
{
  const uint64_t data_at = 3 * MiB;
  uint64_t super, bitmap, data;
  uint8_t *before[2], *after;
  struct array *array;
  unsigned changed = 0;
  size_t n;

  make_kind (_i, 2);
  images[1].superblock.devflags = DEV_FLAG_WRITE_MOSTLY | DEV_FLAG_FAILFAST;
  images[0].superblock.cnt_corrected_read =
      version_of (_i) == SUPERBLOCK_0_90 ? 0 : 77;
  add_noise (_i);
  legs_store ();
  super = images[0].superblock.super_offset * SECTOR_SIZE;
  bitmap =
      super
      + (uint64_t)(int64_t)images[0].superblock.bitmap_offset * SECTOR_SIZE;
  data = legs_data_sector () * SECTOR_SIZE + data_at;
  for (unsigned leg = 0; leg < 2; ++leg)
    before[leg] = leg_get_all (leg, &n);
  array = legs_activate ();
  ck_assert_uint_eq (in_sync (array), 2);
  ck_assert_int_eq (block_write (array, 0x5a, data_at, ARRAY_FUA), 0);
  legs_close (array);
  for (unsigned leg = 0; leg < 2; ++leg) {
    after = leg_get_all (leg, &n);
    for (size_t k = 0; k < n; ++k) {
      bool ours =
          (k >= super && k < super + SUPERBLOCK_BYTES
           && owned_by_us (_i, k - super))
          || (_i < SUPERBLOCK_VERSIONS && k >= bitmap + 24 && k < bitmap + 40)
          || (k >= data && k < data + BLOCK);

      ck_assert_msg (ours || before[leg][k] == after[k],
                     "leg %u: byte %zu of the leg, %zd of the superblock, "
                     "changed from %02x to %02x",
                     leg, k, (ssize_t)(k - super), before[leg][k], after[k]);
      changed += before[leg][k] != after[k];
    }
    free (before[leg]);
    free (after);
  }
  ck_assert_uint_ge (changed, BLOCK);
  legs_load ();
  for (unsigned leg = 0; leg < 2; ++leg) {
    ck_assert_uint_ge (images[leg].superblock.events, E + 2);
    ck_assert_uint_eq (images[leg].superblock.resync_offset, RESYNC_CLEAN);
    ck_assert_uint_eq (leg_data (leg, data_at), 0x5a);
  }
  ck_assert_uint_eq (images[1].superblock.devflags,
                     DEV_FLAG_WRITE_MOSTLY | DEV_FLAG_FAILFAST);
  ck_assert_uint_eq (images[0].superblock.devflags, 0);
}
END_TEST

/* ---- served ---- */

/* While it is active, and after a kill. */
START_TEST (test_killed)
{
  const bool bitmap = _i < SUPERBLOCK_VERSIONS;
  struct array *array;

  make_kind (_i, 2);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 3 * MiB, ARRAY_FUA), 0);
  legs_kill (array);
  legs_load ();
  for (unsigned leg = 0; leg < 2; ++leg) {
    ck_assert_uint_eq (images[leg].superblock.resync_offset, 0);
    /* A file that a kernel has may lead by one, and must be behind. */
    ck_assert_uint_eq (images[leg].superblock.events, E + (bitmap ? 1 : 2));
    if (bitmap) {
      ck_assert_uint_ge (images[leg].bitmap.events, E + 1);
      ck_assert (image_bit (&images[leg], 3 * MiB / LEGS_CHUNK));
    }
  }
  array = legs_open ();
  ck_assert_uint_eq (in_sync (array), 2);
  ck_assert_uint_eq (needed (array), 1);
  assert_fate (array, 0, ARRAY_LEG_IN_SYNC, "source");
  if (bitmap)
    assert_fate (array, 1, ARRAY_LEG_IN_SYNC,
                 "bitmap: 1 of 128 chunks, 64 KiB, from leg ");
  else
    assert_fate (array, 1, ARRAY_LEG_IN_SYNC,
                 "full: no bitmap, and the array is not clean; 8192 KiB");
  legs_close (array);
}
END_TEST

/* The loss of a leg is on record in every version, and it stays out. */
START_TEST (test_degraded)
{
  const unsigned lost = (unsigned)_i / KINDS, here = !lost;
  struct array *array;
  uint64_t hash;

  make_kind (_i % KINDS, 2);
  legs_store ();
  legs_options.nlegs = 1;
  legs_options.legs[0] = leg_path (here);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  hash = leg_hash (lost);
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  legs_close (array);
  ck_assert_uint_eq (leg_hash (lost), hash);
  legs_load ();
  ck_assert_uint_eq (images[here].superblock.dev_roles[lost], ROLE_FAULTY);
  ck_assert_uint_eq (images[here].superblock.dev_roles[here], here);
  ck_assert_uint_ge (images[here].superblock.events, E + 3);

  legs_options.nlegs = 2;
  legs_options.degraded = ARRAY_DEGRADED_AUTO;
  legs_options.legs[0] = leg_path (0);
  legs_options.legs[1] = leg_path (1);
  array = legs_activate ();
  ck_assert (leg_in_sync (array, here) && !leg_in_sync (array, lost));
  assert_fate (array, lost, ARRAY_LEG_STALE, "stale: events 40 < ");
  legs_close (array);
  ck_assert_uint_eq (leg_hash (lost), hash);
}
END_TEST

START_TEST (test_margin)
{
  const unsigned old = (unsigned)_i / KINDS;

  make_kind (_i % KINDS, 2);
  leg_set_events (old, E - 1);
  assert_opens_and_close (3);
  leg_set_events (old, E - 2);
  assert_refused ("stale: events 38 < 40");
}
END_TEST

/* ---- several superblocks ---- */

/* Legs of that version, and on them those of 1.2 with a smaller array, made on
 * the whole of the same leg; or inside of the array.
 */
static void
make_two (enum superblock_version version, uint64_t ctime_12, bool inside,
          void (*change) (struct superblock *superblock))
{
  static struct superblock others[2];
  static uint8_t block[SUPERBLOCK_BYTES];

  legs_make_version (SUPERBLOCK_1_2, false, 2, 4 * MiB, 0);
  for (unsigned leg = 0; leg < 2; ++leg) {
    others[leg] = images[leg].superblock;
    memset (others[leg].set_uuid, 0x77, 16);
    others[leg].ctime = ctime_12;
    if (change)
      change (&others[leg]);
  }
  legs_make_version (version, false, 2, 0, 0);
  legs_store ();
  for (unsigned leg = 0; leg < 2; ++leg) {
    if (!inside)
      others[leg].data_size =
          images[leg].superblock.super_offset + 16 - others[leg].data_offset;
    superblock_encode (&others[leg], block);
    leg_put (leg, 4096, block, sizeof block);
  }
}

static void
make_both (enum superblock_version version, uint64_t ctime_12,
           void (*change) (struct superblock *superblock))
{
  make_two (version, ctime_12, false, change);
}

static const enum superblock_version at_end[] = { SUPERBLOCK_0_90,
                                                  SUPERBLOCK_1_0 };

#define CTIME superblock_time (1700000000)

START_TEST (test_both)
{
  struct array_info info;
  struct array *array;

  make_both (at_end[_i], CTIME - 1, NULL);
  array = legs_open ();
  array_get_info (array, &info);
  ck_assert_uint_eq (info.size, LEGS_SIZE);
  ck_assert (logged ("the other one is older"));
  legs_close (array);

  make_both (at_end[_i], CTIME + 1, NULL);
  array = legs_open ();
  array_get_info (array, &info);
  ck_assert_uint_eq (info.size, 4 * MiB);
  ck_assert (logged ("that of version 1.2 is used"));
  legs_close (array);
}
END_TEST

/* Made by whoever uses the array as a disk: its data, new or not. */
START_TEST (test_inside)
{
  struct array_info info;
  struct array *array;

  for (int age = -1; age <= 1; ++age) {
    make_two (at_end[_i], CTIME + (uint64_t)age, true, NULL);
    array = legs_open ();
    array_get_info (array, &info);
    ck_assert_uint_eq (info.size, LEGS_SIZE);
    ck_assert (logged ("lies inside of the data"));
    legs_close (array);
  }
}
END_TEST

START_TEST (test_both_equal)
{
  struct array *array;
  uint64_t hash;

  make_both (at_end[_i], CTIME, NULL);
  hash = legs_hash ();
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("nothing tells which is true"));
  ck_assert (logged (_i == 0 ? "versions 1.2 and 0.90"
                             : "versions 1.2 and "
                               "1.0"));
  ck_assert_uint_eq (legs_hash (), hash);
}
END_TEST

static void
make_raid5 (struct superblock *superblock)
{
  superblock->level = 5;
}

static void
move (struct superblock *superblock)
{
  superblock->super_offset += 8;
}

/* What was made last is refused, and not passed over. */
START_TEST (test_both_last_refused)
{
  struct array *array;

  make_both (at_end[_i], CTIME + 1, make_raid5);
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("field level: found 5"));

  make_both (at_end[_i], CTIME - 1, make_raid5);
  ck_assert_int_eq (legs_try_open (&array), 0);
  array_close (array);
}
END_TEST

/* That of a leg which begins elsewhere does not count. */
START_TEST (test_both_elsewhere)
{
  struct array_info info;
  struct array *array;

  make_both (at_end[_i], CTIME + 1, move);
  array = legs_open ();
  array_get_info (array, &info);
  ck_assert_uint_eq (info.size, LEGS_SIZE);
  legs_close (array);
}
END_TEST

/* One leg of each version, the same array otherwise. */
START_TEST (test_mixed)
{
  uint8_t block[SUPERBLOCK_BYTES] = { 0 };
  struct array *array;

  legs_make_version (SUPERBLOCK_1_2, false, 2, 4 * MiB, 0);
  superblock_encode (&images[1].superblock, block);
  legs_make_version (at_end[_i], false, 2, 0, 0);
  legs_store ();
  leg_put (1, 4096, block, sizeof block);
  memset (block, 0, sizeof block);
  leg_put (1, images[1].superblock.super_offset * SECTOR_SIZE, block,
           sizeof block);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("found version 1.2, expected"));
  ck_assert (logged (leg_path (1)));
}
END_TEST

/* ---- places that cannot be read ---- */

static enum op unreadable;

static enum verdict
fail_reads (unsigned leg, enum op op, const struct io *io)
{
  (void)leg;
  (void)io;
  return op == unreadable ? TAP_FAIL : TAP_PASS;
}

START_TEST (test_other_unreadable)
{
  make_kind (_i, 2);
  unreadable = OP_READ_OTHER;
  tap_hook (fail_reads);
  assert_opens_and_close (3);
  unreadable = OP_READ_SUPERBLOCK;
  assert_refused ("reading the superblock: ");
}
END_TEST

/* ---- numbers that are used again ---- */

/* A third leg has the number of the second, and is older by _i % 3. */
START_TEST (test_same_number)
{
  const enum superblock_version version =
      _i < 3 ? SUPERBLOCK_0_90 : SUPERBLOCK_1_2;
  struct array *array;
  uint64_t hash;

  legs_make_version (version, true, 3, 0, 0);
  legs_set_raid_disks (2);
  legs_set_role (2, ROLE_SPARE);
  images[2].superblock.dev_number = 1;
  leg_set_events (2, E - (unsigned)_i % 3);
  if (_i % 3 < 2) {
    assert_refused ("field dev_number");
    return;
  }
  array = assert_opens (3);
  assert_fate (array, 2, ARRAY_LEG_STALE, "has its number 1 now");
  hash = leg_hash (2);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  legs_close (array);
  ck_assert_uint_eq (leg_hash (2), hash);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("versions");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_preserved, 0, KINDS);
  tcase_add_loop_test (tc, test_killed, 0, KINDS);
  tcase_add_loop_test (tc, test_degraded, 0, 2 * KINDS);
  tcase_add_loop_test (tc, test_margin, 0, 2 * KINDS);
  tcase_add_loop_test (tc, test_both, 0, 2);
  tcase_add_loop_test (tc, test_inside, 0, 2);
  tcase_add_loop_test (tc, test_both_equal, 0, 2);
  tcase_add_loop_test (tc, test_both_last_refused, 0, 2);
  tcase_add_loop_test (tc, test_both_elsewhere, 0, 2);
  tcase_add_loop_test (tc, test_mixed, 0, 2);
  tcase_add_loop_test (tc, test_other_unreadable, 0, KINDS);
  tcase_add_loop_test (tc, test_same_number, 0, 6);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
