/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Roles: whom the tables name, who is used, and what is put on record of those
 * who are not.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "legs.h"

#define E LEGS_EVENTS

/* A third leg beside a whole pair. */
static void
make_third (enum superblock_version version, uint16_t role)
{
  legs_make_version (version, true, 3, 0, 0);
  legs_set_raid_disks (2);
  legs_set_role (2, role);
}

/* It is not used, the pair is; and after a run with writes, nothing of it has
 * changed.
 */
static void
assert_left_alone (enum array_leg_fate fate, const char *why)
{
  struct array *array = assert_opens (3);
  struct array_leg_info info;
  uint64_t hash = leg_hash (2);

  assert_fate (array, 2, fate, why);
  array_get_leg_info (array, 2, &info);
  ck_assert_int_eq (info.slot, -1);
  ck_assert (info.resync == ARRAY_RESYNC_NONE);
  ck_assert (logged ("not used: "));
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  legs_close (array);
  ck_assert_uint_eq (leg_hash (2), hash);
  legs_load ();
}

/* By its events a spare may be anywhere. */
START_TEST (test_spare)
{
  static const uint64_t events[] = { 1, E - 1, E, E + 1, E + 50 };

  make_third ((enum superblock_version) (_i % 4), ROLE_SPARE);
  leg_set_events (2, events[_i / 4]);
  assert_left_alone (ARRAY_LEG_SPARE, "a spare");
  ck_assert_uint_eq (images[0].superblock.dev_roles[2], ROLE_SPARE);
  ck_assert_uint_eq (images[0].superblock.events, E + 2);
}
END_TEST

START_TEST (test_faulty)
{
  make_third ((enum superblock_version) (1 + _i), ROLE_FAULTY);
  images[2].superblock.dev_roles[2] = 1;
  images[2].superblock.dev_roles[1] = ROLE_SPARE;
  leg_set_events (2, E - 1);
  assert_left_alone (ARRAY_LEG_FAULTY, "faulty on record");
  ck_assert_uint_eq (images[0].superblock.dev_roles[2], ROLE_FAULTY);
}
END_TEST

/* The table has its slot twice; the kernel would go on with the replacement. */
START_TEST (test_replacement)
{
  make_third (SUPERBLOCK_1_2, 1);
  images[2].superblock.feature_map |= FEATURE_REPLACEMENT;
  if (_i == 1) {
    images[2].superblock.feature_map |= FEATURE_RECOVERY_OFFSET;
    images[2].superblock.recovery_offset = 128;
  }
  if (_i == 2)
    leg_set_events (2, E + 1);
  assert_left_alone (ARRAY_LEG_REPLACEMENT,
                     "it was to replace the leg in slot 1");
  ck_assert_uint_eq (images[0].superblock.dev_roles[2], ROLE_FAULTY);
  ck_assert_uint_ge (images[0].superblock.events,
                     images[2].superblock.events + 2);
}
END_TEST

/* Without the feature both would be in slot 1. */
START_TEST (test_slot_twice)
{
  make_third (SUPERBLOCK_1_2, 1);
  assert_refused ("slot 1");
}
END_TEST

/* It is on record as lost before the first write; so is one that is absent. */
START_TEST (test_recovering)
{
  const unsigned given = (unsigned)_i;
  struct array *array;
  uint64_t hash;

  legs_make (2, 0, 0);
  images[1].superblock.feature_map |= FEATURE_RECOVERY_OFFSET;
  images[1].superblock.recovery_offset = 128;
  legs_options.nlegs = 1 + given;
  if (!given) {
    /* What it may have become since nobody can tell. */
    assert_refused ("its loss is not on record");
    legs_options.nlegs = 1;
    legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  }
  array = assert_opens (1);
  if (given)
    assert_fate (array, 1, ARRAY_LEG_RECOVERING, "had not finished");
  hash = leg_hash (1);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_uint_eq (leg_hash (1), hash);
  leg_load (0, &images[0]);
  ck_assert_uint_eq (images[0].superblock.dev_roles[1], ROLE_FAULTY);
  ck_assert_uint_ge (images[0].superblock.events, E + 2);
  legs_close (array);
}
END_TEST

/* The record of a loss was interrupted, and torn: one of the freshest has it,
 * and not the one whose table is taken.  From an older one it proves nothing.
 */
START_TEST (test_torn_record)
{
  struct array *array;

  legs_make (3, 0, 0);
  images[1].superblock.dev_roles[2] = ROLE_FAULTY;
  if (_i == 1)
    images[1].superblock.events = E - 1;
  legs_options.nlegs = 2;
  if (_i == 1)
    assert_refused ("its loss is not on record");
  else {
    array = assert_opens (3);
    ck_assert_int_eq (array_activate (array), 0);
    legs_close (array);
    leg_load (0, &images[0]);
    ck_assert_uint_eq (images[0].superblock.dev_roles[2], ROLE_FAULTY);
  }
}
END_TEST

/* A number of the leg that is not its slot, as after mdadm --add. */
START_TEST (test_numbers)
{
  struct array *array;
  uint8_t byte;

  legs_make_version ((enum superblock_version) (1 + _i), true, 2, 0, 0);
  legs_set_role (0, 1);
  legs_set_role (1, ROLE_SPARE);
  legs_set_role (5, 0);
  images[1].superblock.dev_number = 5;
  array = assert_opens (3);
  ck_assert_uint_eq (array->legs[0].slot, 1);
  ck_assert_uint_eq (array->legs[1].slot, 0);
  ck_assert_int_eq (array_activate (array), 0);
  tap_fail (0, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 7, 0, ARRAY_FUA), 0);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 7);
  legs_kill (array);
  leg_load (1, &images[1]);
  ck_assert_uint_eq (images[1].superblock.dev_roles[0], ROLE_FAULTY);
  ck_assert_uint_eq (images[1].superblock.dev_roles[5], 0);
}
END_TEST

/* ---- many legs ---- */

/* As many as there may be; all but the last cannot be read, then fail. */
START_TEST (test_many)
{
  const unsigned last = ARRAY_MAX_LEGS - 1;
  struct array *array;
  uint8_t byte;

  legs_make_version (_i == 0 ? SUPERBLOCK_1_2 : SUPERBLOCK_0_90, true,
                     ARRAY_MAX_LEGS, MiB, 0);
  for (unsigned i = 0; i < last; ++i)
    leg_set_events (i, E - (i % 2));
  array = assert_opens ((1u << ARRAY_MAX_LEGS) - 1);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 3, BLOCK, ARRAY_FUA), 0);
  for (unsigned i = 0; i < last; ++i)
    tap_fail (i, OP_READ_DATA);
  for (unsigned i = 0; i < 3; ++i) {
    ck_assert_int_eq (block_read (array, &byte, BLOCK), 0);
    ck_assert_uint_eq (byte, 3);
  }
  for (unsigned i = 0; i < last; ++i)
    tap_fail (i, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 4, BLOCK, ARRAY_FUA), 0);
  ck_assert_uint_eq (in_sync (array), 1);
  legs_kill (array);
  leg_load (last, &images[last]);
  for (unsigned i = 0; i < last; ++i)
    ck_assert_uint_eq (images[last].superblock.dev_roles[i], ROLE_FAULTY);
  ck_assert_uint_eq (leg_data (last, BLOCK), 4);
}
END_TEST

/* Resync to the last of many. */
START_TEST (test_many_resync)
{
  struct array_info info;
  struct array *array;

  legs_make_version (SUPERBLOCK_1_2, true, ARRAY_MAX_LEGS, MiB, 0);
  for (unsigned i = 0; i < ARRAY_MAX_LEGS; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 3);
    leg_set_data (i, 3 * LEGS_CHUNK, (uint8_t)(10 + i));
  }
  legs_store ();
  array = legs_activate ();
  do
    array_get_info (array, &info);
  while (info.chunks_needed > 0);
  legs_close (array);
  for (unsigned i = 0; i < ARRAY_MAX_LEGS; ++i)
    ck_assert_uint_eq (leg_data (i, 3 * LEGS_CHUNK), 10);
}
END_TEST

START_TEST (test_too_many)
{
  legs_make (2, 0, 0);
  legs_set_raid_disks (ARRAY_MAX_LEGS + 1);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("field raid_disks: found 28, expected 1 to 27");
}
END_TEST

/* ---- split brains that the kernel makes ---- */

/* It writes "spare" where a leg was removed.  _i: by how much one leads. */
START_TEST (test_kernel_split)
{
  legs_make (2, 0, 0);
  images[0].superblock.dev_roles[1] = ROLE_SPARE;
  images[1].superblock.dev_roles[0] = ROLE_SPARE;
  leg_set_events (1, E + (unsigned)_i);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("split brain");
  legs_options.nlegs = 1;
  assert_opens_and_close (1);
}
END_TEST

/* An old leg that never knew the new one, and was not alone: no split brain. */
START_TEST (test_old_and_new)
{
  legs_make (3, 0, 0);
  legs_set_raid_disks (2);
  /* 0 was there from the beginning; 1 has left; 2 came after. */
  for (unsigned i = 0; i < 3; i += 2) {
    images[i].superblock.dev_roles[1] = ROLE_SPARE;
    images[i].superblock.dev_roles[2] = 1;
  }
  images[1].superblock.dev_roles[2] = ROLE_SPARE;
  leg_set_events (1, E - 5);
  assert_opens_and_close (5);
  /* Without the one that they have in common. */
  legs_options.nlegs = 2;
  legs_options.legs[0] = leg_path (1);
  legs_options.legs[1] = leg_path (2);
  assert_refused ("loss is not on record");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (2);
}
END_TEST

/* What the tables say of legs that are together: each other's slots, and no
 * place for others.
 */
static void
make_side (unsigned mask, unsigned n, uint16_t others, uint64_t events)
{
  for (unsigned i = 0; i < n; ++i) {
    if (!(mask & 1u << i))
      continue;
    for (unsigned j = 0; j < n; ++j)
      if (!(mask & 1u << j))
        images[i].superblock.dev_roles[j] = others;
    leg_set_events (i, events);
  }
}

/* Two sides, of which neither is a single leg, or only the newer one; all
 * given, or one of each.  _i: by how much the second one leads.
 */
START_TEST (test_sides)
{
  static const unsigned first[] = { 3, 3, 1 };
  static const unsigned others[] = { 12, 4, 6 };
  static const uint16_t roles[] = { ROLE_SPARE, ROLE_FAULTY };
  const unsigned kind = (unsigned)_i / 8, n = kind == 0 ? 4 : 3;

  legs_make (n, 0, 0);
  make_side (first[kind], n, ROLE_SPARE, E);
  make_side (others[kind], n, roles[_i / 4 % 2], E + 3 * ((unsigned)_i % 4));
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("split brain");
  legs_options.nlegs = 2;
  legs_options.legs[1] = leg_path (2);
  assert_refused ("split brain");
}
END_TEST

/* Both legs have been replaced one after the other: the first is old. */
START_TEST (test_both_replaced)
{
  legs_make (4, 0, 0);
  legs_set_raid_disks (2);
  for (unsigned i = 0; i < 4; ++i) {
    uint16_t *roles = images[i].superblock.dev_roles;

    for (unsigned j = 0; j < 4; ++j)
      roles[j] = ROLE_SPARE;
    roles[1] = 1;
    roles[i == 0 ? 0 : 2] = 0;
  }
  for (unsigned i = 2; i < 4; ++i) {
    images[i].superblock.dev_roles[1] = ROLE_SPARE;
    images[i].superblock.dev_roles[3] = 1;
  }
  leg_set_events (0, E - 20);
  leg_set_events (1, E - 10);
  assert_opens_and_close (12);
  /* Without the one in between. */
  legs_options.nlegs = 3;
  legs_options.legs[1] = leg_path (2);
  legs_options.legs[2] = leg_path (3);
  assert_opens_and_close (6);
}
END_TEST

/* 0.90 has only numbers.  1 has been replaced by 2, or has been started without
 * the pair from the state that it was left in.
 */
START_TEST (test_same_number)
{
  legs_make_version (SUPERBLOCK_0_90, true, 3, 0, 0);
  legs_set_raid_disks (2);
  legs_set_role (2, ROLE_SPARE);
  images[2].superblock.dev_number = 1;
  memcpy (images[2].superblock.block, images[1].superblock.block,
          sizeof images[2].superblock.block);
  leg_set_events (1, E - 5);
  legs_store ();
  if (_i == 0) {
    assert_opens_and_close (5);
    return;
  }
  leg_set_events (1, E + 5);
  images[1].superblock.dev_roles[0] = ROLE_FAULTY;
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("split brain");
}
END_TEST

/* ---- bad-block logs ---- */

/* A log that cannot be read: the leg is not used. */
START_TEST (test_bad_log_unreadable)
{
  const uint64_t entry = (legs_data_sector () + 2048) << 10 | 8;
  struct array *array;

  legs_make (2, 0, 0);
  leg_set_bad_log ((unsigned)_i, &entry, 1);
  tap_fail ((unsigned)_i, OP_READ_BAD_LOG);
  assert_refused ("its loss is not on record");
  ck_assert (logged ("its bad-block log cannot be used"));
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = assert_opens (2u >> _i);
  ck_assert_int_eq (array_activate (array), 0);
  legs_close (array);
  leg_load (!_i, &images[!_i]);
  ck_assert_uint_eq (images[!_i].superblock.dev_roles[_i], ROLE_FAULTY);
  /* Nor is it enough. */
  legs_options.nlegs = 1;
  legs_options.legs[0] = leg_path ((unsigned)_i);
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("no leg can be used"));
}
END_TEST

/* Entries leave the leg when all is flushed, the feature with the last. */
START_TEST (test_bad_log_cleared)
{
  struct array_leg_info info;
  uint64_t entries[512];
  struct array *array;

  legs_make (2, 0, 0);
  entries[0] = (legs_data_sector () + 2048) << 10 | 8;
  entries[1] = (legs_data_sector () + 4096) << 10 | 8;
  leg_set_bad_log (1, entries, 1 + (unsigned)_i);
  array = assert_opens (3);
  array_get_leg_info (array, 1, &info);
  ck_assert_uint_eq (info.bad_sectors, 8 + 8 * (unsigned)_i);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 2048 * SECTOR_SIZE, 0), 0);
  leg_load (1, &images[1]);
  ck_assert (images[1].superblock.feature_map & FEATURE_BAD_BLOCKS);
  leg_get_bad_log (1, entries);
  ck_assert_uint_eq (entries[0] >> 10, legs_data_sector () + 2048);
  legs_close (array);
  leg_load (1, &images[1]);
  ck_assert_uint_eq (images[1].superblock.resync_offset, RESYNC_CLEAN);
  ck_assert (!(images[1].superblock.feature_map & FEATURE_BAD_BLOCKS)
             == (_i == 0));
  leg_get_bad_log (1, entries);
  for (unsigned i = 0; i < 512; ++i)
    ck_assert ((entries[i] & 1023) == 0 || entries[i] == UINT64_MAX
               || entries[i] >> 10 == legs_data_sector () + 4096);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("roles");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_spare, 0, 20);
  tcase_add_loop_test (tc, test_faulty, 0, 3);
  tcase_add_loop_test (tc, test_replacement, 0, 3);
  tcase_add_test (tc, test_slot_twice);
  tcase_add_loop_test (tc, test_recovering, 0, 2);
  tcase_add_loop_test (tc, test_torn_record, 0, 2);
  tcase_add_loop_test (tc, test_numbers, 0, 3);
  tcase_add_loop_test (tc, test_many, 0, 2);
  tcase_add_test (tc, test_many_resync);
  tcase_add_test (tc, test_too_many);
  tcase_add_loop_test (tc, test_kernel_split, 0, 4);
  tcase_add_test (tc, test_old_and_new);
  tcase_add_loop_test (tc, test_sides, 0, 24);
  tcase_add_test (tc, test_both_replaced);
  tcase_add_loop_test (tc, test_same_number, 0, 2);
  tcase_add_loop_test (tc, test_bad_log_unreadable, 0, 2);
  tcase_add_loop_test (tc, test_bad_log_cleared, 0, 2);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
