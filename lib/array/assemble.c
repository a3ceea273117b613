/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Assembly: which of the legs given form the array.  Reads only.
 *
 * In this order:
 *   1. A leg whose superblock cannot be read or is refused is not used
 *      (probe.c).
 *   2. The superblocks decide who is believed (roles.c).
 *   3. Those must agree about what the array is, and be placed so that they
 *      can be written.  A leg whose bad-block log cannot be used is not used.
 *   4. A slot that is left empty must be on record as lost, or the user must
 *      have allowed it.  With read_only one full copy is enough.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "array/internal.h"
#include "format/layout.h"

/* ---- legs that are used ---- */

#define CHECK_SAME(field, format, type)                         \
  do {                                                          \
    if (sb->field != best->field) {                             \
      log_error (array->log,                                    \
                 "leg %s: field " #field ": found " format      \
                 ", expected " format " as on leg %s",          \
                 leg->name, (type)sb->field, (type)best->field, \
                 freshest->name);                               \
      return -EINVAL;                                           \
    }                                                           \
  } while (0)

static int
check_geometry (struct array *array, const struct leg *leg,
                const struct leg *freshest)
{
  const struct superblock *sb = leg->superblock, *best = freshest->superblock;

  assert (sb && best);
  CHECK_SAME (level, "%d", int);
  CHECK_SAME (layout, "%u", unsigned);
  CHECK_SAME (chunksize, "%u", unsigned);
  CHECK_SAME (raid_disks, "%u", unsigned);
  CHECK_SAME (size, "%ju", uintmax_t);
  return 0;
}

static bool
aligned (const struct leg *leg, uint64_t bytes)
{
  return bytes % leg->device->limits.logical_block == 0;
}

/* Where things are on an in-sync leg, in bytes. */
int
leg_place (struct array *array, struct leg *leg)
{
  const struct superblock *sb = leg->superblock;
  const uint64_t sectors = leg->device->limits.size / SECTOR_SIZE;
  int64_t bitmap = (int64_t)sb->super_offset + sb->bitmap_offset;

  leg->write_mostly = sb->devflags & DEV_FLAG_WRITE_MOSTLY;
  leg->data_offset = sb->data_offset * SECTOR_SIZE;
  if (sb->feature_map & FEATURE_BITMAP_OFFSET) {
    leg->bitmap_offset = (uint64_t)bitmap * SECTOR_SIZE;
    leg->bitmap_room = layout_bitmap_room (sb, sectors) * SECTOR_SIZE;
  }
  if (aligned (leg, leg->data_offset) && aligned (leg, leg->bitmap_offset)
      && aligned (leg, sb->super_offset * SECTOR_SIZE)
      && aligned (leg, sb->size * SECTOR_SIZE))
    return 0;
  log_error (array->log,
             "leg %s: superblock, bitmap, data or size is not aligned to its "
             "logical block of %u bytes; it cannot be written in place",
             leg->name, leg->device->limits.logical_block);
  return -EINVAL;
}

/* The same slot twice, and neither is a replacement. */
static int
check_slot (struct array *array, const struct leg *leg)
{
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *other = &array->legs[i];

    if (other->state != LEG_IN_SYNC || other->slot != leg->slot)
      continue;
    log_error (array->log,
               "leg %s: field dev_roles: found slot %u, expected another than "
               "that of leg %s; neither replaces the other, give only one of "
               "them",
               leg->name, leg->slot, other->name);
    return -EINVAL;
  }
  return 0;
}

/* 0: its bad blocks are known, or it is rejected.  -ENOMEM, or -EINVAL: it is
 * the forced source.
 */
static int
load_bad_blocks (struct array *array, struct leg *leg)
{
  int err;

  if (!(leg->superblock->feature_map & FEATURE_BAD_BLOCKS))
    return 0;
  err = leg_load_bad_blocks (array, leg);
  if (err == 0 || err == -ENOMEM)
    return err;
  leg_reject (leg, ARRAY_LEG_ABSENT, "its bad-block log cannot be used");
  if (!array->options.force_source
      || strcmp (leg->name, array->options.force_source) != 0)
    return 0;
  log_error (array->log, "force-source=%s: %s", leg->name, leg->why_not);
  return -EINVAL;
}

/* The freshest say whether the array is clean, and up to where it is resynced:
 * if one of them says that it is not, that is enough.
 */
static void
adopt_activity (struct array *array, const struct leg *leg)
{
  uint64_t resync = leg->superblock->resync_offset;

  if (leg->events != array->events || resync == RESYNC_CLEAN)
    return;
  array->clean = false;
  array->activity = ARRAY_ACTIVE;
  array->table->resync_offset = 0;
  array->resync_from = min_u64 (array->resync_from, resync * SECTOR_SIZE);
}

static int
accept_leg (struct array *array, struct leg *leg, const struct leg *freshest)
{
  int err = check_geometry (array, leg, freshest);

  if (err == 0)
    err = leg_adopt_bitmap (array, leg, freshest);
  if (err == 0)
    err = leg_place (array, leg);
  if (err != 0)
    return err;
  leg->slot =
      superblock_role (freshest->superblock, leg->superblock->dev_number);
  leg->events = leg->superblock->events;
  adopt_activity (array, leg);
  err = load_bad_blocks (array, leg);
  if (err == 0 && leg->fate == ARRAY_LEG_IN_SYNC)
    err = check_slot (array, leg);
  if (err == 0 && leg->fate == ARRAY_LEG_IN_SYNC)
    leg_set_state (array, leg, LEG_IN_SYNC, "assembled");
  return err;
}

/* ---- empty slots ---- */

static bool
slot_has_leg (const struct array *array, unsigned slot)
{
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC && array->legs[i].slot == slot)
      return true;
  return false;
}

/* One of the freshest says so, if not the one whose table was taken: a record
 * of the loss that was interrupted, and torn (with 0.90 roles and events lie in
 * different sectors).
 */
static bool
is_lost (const struct array *array, uint32_t dev)
{
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    if (leg->state == LEG_IN_SYNC && leg->events == array->events
        && superblock_role (leg->superblock, dev) == ROLE_FAULTY)
      return true;
  }
  return false;
}

/* It is given, and was not in sync anyway: nothing newer than the others can be
 * on it.
 */
static bool
is_incomplete (const struct array *array, uint32_t dev)
{
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    if ((leg->fate == ARRAY_LEG_RECOVERING
         || leg->fate == ARRAY_LEG_REPLACEMENT)
        && leg->superblock->dev_number == dev)
      return true;
  }
  return false;
}

/* Does the table count on somebody in that slot?  Not on those who lose by the
 * user's will.
 */
static bool
slot_expected (const struct array *array, unsigned slot)
{
  for (uint32_t dev = 0; dev < array->table->max_dev; ++dev)
    if (array->table->dev_roles[dev] == slot && !is_lost (array, dev)
        && !is_incomplete (array, dev)
        && !(array->options.force_source && array_is_loser (array, dev)))
      return true;
  return false;
}

static int
check_slots (struct array *array)
{
  enum array_degraded degraded = array->options.degraded;
  int err = 0;

  if (degraded == ARRAY_DEGRADED_AUTO && array->options.read_only)
    degraded = ARRAY_DEGRADED_ALLOW; /* nothing is lost by reading */
  if (array_in_sync (array) == 0) {
    log_error (array->log, "array %s: no leg can be used", array->uuid);
    return -EINVAL;
  }
  for (unsigned slot = 0; slot < array->table->raid_disks; ++slot) {
    bool expected = slot_expected (array, slot);

    if (slot_has_leg (array, slot))
      continue;
    if (degraded == ARRAY_DEGRADED_ALLOW
        || (degraded == ARRAY_DEGRADED_AUTO && !expected)) {
      log_notice (array->log, "array %s: slot %u has no leg%s: degraded",
                  array->uuid, slot, expected ? "" : ", which is on record");
      continue;
    }
    log_error (array->log,
               "array %s: slot %u has no leg that can be used%s; give its "
               "leg, or start without it with degraded=allow",
               array->uuid, slot,
               expected ? ", and its loss is not on record" : "");
    err = -EINVAL;
  }
  return err;
}

/* ---- all together ---- */

static int
adopt_table (struct array *array, const struct leg *freshest)
{
  array->table = rt_alloc (sizeof *array->table);
  if (!array->table)
    return -ENOMEM;
  *array->table = *freshest->superblock;
  superblock_uuid (array->table->version, array->table->set_uuid, array->uuid);
  array->events = array->events_tried = array->table->events;
  array->clean = array->table->resync_offset == RESYNC_CLEAN;
  array->activity = array->clean ? ARRAY_CLEAN : ARRAY_ACTIVE;
  array->size = array->table->size * SECTOR_SIZE;
  array->resync_from = array->size;
  array->has_bitmap = array->table->feature_map & FEATURE_BITMAP_OFFSET;
  if (array->table->raid_disks == 0
      || array->table->raid_disks > ARRAY_MAX_LEGS) {
    log_error (array->log,
               "leg %s: field raid_disks: found %u, expected 1 to %u",
               freshest->name, array->table->raid_disks, ARRAY_MAX_LEGS);
    return -EINVAL;
  }
  return 0;
}

int
array_assemble (struct array *array)
{
  struct leg *freshest = NULL;
  int err = 0;

  for (unsigned i = 0; i < array->nlegs && err == 0; ++i)
    err = leg_probe (array, &array->legs[i]);
  if (err == 0)
    err = array_judge_roles (array, &freshest);
  if (err == 0)
    err = adopt_table (array, freshest);
  for (unsigned i = 0; i < array->nlegs && err == 0; ++i)
    if (array->legs[i].superblock && array->legs[i].fate == ARRAY_LEG_IN_SYNC)
      err = accept_leg (array, &array->legs[i], freshest);
  array_explain_unused (array);
  if (err == 0)
    err = check_slots (array);
  if (err != 0)
    return err;
  array->logical_block = SECTOR_SIZE;
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC)
      array->logical_block = (uint32_t)max_u64 (
          array->logical_block, array->legs[i].device->limits.logical_block);
  return 0;
}
