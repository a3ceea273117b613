/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Assembly: which of the legs given form the array, and which of them may be
 * trusted.  Reads only.
 *
 * In this order:
 *   1. A leg whose superblock cannot be read or is refused is not used.  Legs
 *      of different arrays, or one leg twice, are an error.
 *   2. Two legs of which each says that the other is faulty, or an older one
 *      that says so of a newer one, are a split brain: refused.
 *   3. The freshest leg, by events, among those that call themselves active
 *      decides everything: roles, size, clean or not.  Of several it is the
 *      lowest slot, as mdadm's, in whatever order they are given.
 *   4. Others are in sync if their events are at most one behind and the
 *      freshest leg's table gives them a slot.  (The kernel checks the
 *      latter by that table as well, but not if events are equal.)  A leg
 *      that any of these calls faulty is out.
 *   5. A slot that is left empty must be on record as lost, or the user must
 *      have allowed it.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "array/internal.h"
#include "format/layout.h"

static int
refuse (struct array *array, const struct leg *leg,
        const struct format_error *error)
{
  char text[512];

  format_error_string (error, text, sizeof text);
  log_error (array->log, "leg %s: %s", leg->name, text);
  return -EINVAL;
}

/* ---- 1. one leg ---- */

static int
check_events (const struct superblock_1 *sb, struct format_error *error)
{
  if (sb->events <= EVENTS_MAX)
    return 0;
  return format_refuse (error, "events",
                        "it is damaged: zero it with mdadm and add it anew",
                        "less than 2^62", "%ju", (uintmax_t)sb->events);
}

static int
decode_leg (struct array *array, struct leg *leg, const uint8_t *block)
{
  struct superblock_1 *sb = rt_alloc (sizeof *sb);
  uint64_t sectors = leg->device->limits.size / SECTOR_SIZE;
  struct format_error error;
  bool intact;
  int err;

  if (!sb)
    return -ENOMEM;
  err = superblock_1_decode (block, SUPERBLOCK_1_2_SECTOR, sectors, sb, &intact,
                             &error);
  if (err == -ENOENT)
    log_error (array->log,
               "leg %s: no md superblock of version 1.2 found at byte 4096; "
               "is it the right file or device?",
               leg->name);
  else if (err != 0)
    (void)refuse (array, leg, &error);
  else {
    err = check_events (sb, &error);
    if (err == 0)
      err = layout_check (sb, NULL, sectors, &error);
    if (err != 0)
      (void)refuse (array, leg, &error);
  }
  if (err != 0) {
    rt_free (sb);
    return 0; /* not used; the empty slot decides */
  }
  leg->superblock = sb;
  return 0;
}

static int
read_leg_superblock (struct array *array, struct leg *leg)
{
  struct buffer *buffer;
  int err;

  if (!leg->device)
    return 0;
  if (leg->device->limits.size < 2 * SUPERBLOCK_1_BYTES) {
    log_error (array->log, "leg %s: %ju bytes are too few for an md leg",
               leg->name, (uintmax_t)leg->device->limits.size);
    return 0;
  }
  buffer = buffer_new (SUPERBLOCK_1_BYTES);
  if (!buffer)
    return -ENOMEM;
  err =
      device_run (leg->device, IO_READ, 0, SUPERBLOCK_1_2_SECTOR * SECTOR_SIZE,
                  SUPERBLOCK_1_BYTES, buffer);
  if (err != 0)
    log_error (array->log, "leg %s: reading the superblock: %s", leg->name,
               strerror (-err));
  else
    err = decode_leg (array, leg, buffer->data);
  buffer_unref (buffer);
  return err == -ENOMEM ? err : 0;
}

/* The slot that a leg's own table gives it, or a special role. */
static unsigned
own_role (const struct leg *leg)
{
  return superblock_1_role (leg->superblock, leg->superblock->dev_number);
}

static int
same_array (struct array *array, const struct leg *a, const struct leg *b)
{
  const struct superblock_1 *x = a->superblock, *y = b->superblock;
  char ux[FORMAT_UUID_TEXT], uy[FORMAT_UUID_TEXT];

  if (memcmp (x->set_uuid, y->set_uuid, sizeof x->set_uuid) != 0) {
    format_uuid (x->set_uuid, ux);
    format_uuid (y->set_uuid, uy);
    log_error (array->log,
               "leg %s: field set_uuid: found %s, expected %s as on leg %s; "
               "they belong to different arrays",
               b->name, uy, ux, a->name);
    return -EINVAL;
  }
  if (x->dev_number == y->dev_number) {
    log_error (array->log,
               "leg %s: field dev_number: found %u, the same as on leg %s; "
               "one is a copy of the other, give only one of them",
               b->name, y->dev_number, a->name);
    return -EINVAL;
  }
  return 0;
}

/* ---- 2. who calls whom faulty ---- */

static bool
calls_faulty (const struct leg *a, const struct leg *b)
{
  return own_role (a) <= ROLE_LAST
         && superblock_1_role (a->superblock, b->superblock->dev_number)
                == ROLE_FAULTY;
}

static int
check_split_brain (struct array *array, const struct leg *a,
                   const struct leg *b)
{
  bool ab = calls_faulty (a, b), ba = calls_faulty (b, a);
  const struct leg *accuser = ab ? a : b, *accused = ab ? b : a;

  if (own_role (accused) > ROLE_LAST || (!ab && !ba))
    return 0;
  if (!(ab && ba) && accuser->superblock->events >= accused->superblock->events)
    return 0;
  log_error (array->log,
             "split brain: leg %s (events %ju) says that leg %s (events %ju) "
             "is faulty, and the other %s; each may hold writes that the "
             "other lacks: start with the one leg that you trust, and "
             "degraded=allow",
             accuser->name, (uintmax_t)accuser->superblock->events,
             accused->name, (uintmax_t)accused->superblock->events,
             ab && ba ? "says so of it" : "is newer");
  return -EINVAL;
}

/* ---- 3. and 4. the freshest, and those who agree with it ---- */

/* Somebody says that the leg is faulty; check_split_brain has seen to it that
 * whoever says so is not older.
 */
static bool
is_accused (const struct array *array, const struct leg *leg)
{
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].superblock && &array->legs[i] != leg
        && calls_faulty (&array->legs[i], leg))
      return true;
  return false;
}

static bool
is_fresher (const struct leg *leg, const struct leg *than)
{
  const struct superblock_1 *a = leg->superblock, *b = than->superblock;

  assert (a && b);
  if (a->events != b->events)
    return a->events > b->events;
  if (own_role (leg) != own_role (than))
    return own_role (leg) < own_role (than);
  return a->dev_number < b->dev_number;
}

static const struct leg *
find_freshest (const struct array *array)
{
  const struct leg *freshest = NULL;

  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    if (!leg->superblock || own_role (leg) > ROLE_LAST
        || (leg->superblock->feature_map & FEATURE_RECOVERY_OFFSET)
        || is_accused (array, leg))
      continue;
    if (!freshest || is_fresher (leg, freshest))
      freshest = leg;
  }
  return freshest;
}

/* Why the leg may not be used, or NULL. */
static const char *
unfit (const struct array *array, const struct leg *leg,
       const struct leg *freshest, char *why, size_t size)
{
  const struct superblock_1 *sb = leg->superblock, *best = freshest->superblock;
  unsigned role;

  assert (sb && best);
  role = superblock_1_role (best, sb->dev_number);
  if (sb->events + 1 < best->events) {
    snprintf (why, size, "stale: events %ju < %ju of leg %s",
              (uintmax_t)sb->events, (uintmax_t)best->events, freshest->name);
    return why;
  }
  if (role == ROLE_FAULTY)
    return "faulty on record";
  if (role == ROLE_JOURNAL)
    return "a journal";
  if (role > ROLE_LAST || own_role (leg) > ROLE_LAST)
    return "a spare";
  if (sb->feature_map & FEATURE_RECOVERY_OFFSET)
    return "its recovery had not finished";
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *other = &array->legs[i];

    if (other != leg && other->superblock && calls_faulty (other, leg)
        && other->superblock->events + 1 >= best->events) {
      snprintf (why, size, "faulty on record on leg %s", other->name);
      return why;
    }
  }
  return NULL;
}

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
  const struct superblock_1 *sb = leg->superblock, *best = freshest->superblock;

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
static int
place_leg (struct array *array, struct leg *leg)
{
  const struct superblock_1 *sb = leg->superblock;
  int64_t bitmap = (int64_t)sb->super_offset + sb->bitmap_offset;
  int64_t bblog = (int64_t)sb->super_offset + sb->bblog_offset;
  int64_t end = (int64_t)sb->data_offset;

  leg->write_mostly = sb->devflags & DEV_FLAG_WRITE_MOSTLY;
  leg->data_offset = sb->data_offset * SECTOR_SIZE;
  leg->bitmap_offset = (uint64_t)bitmap * SECTOR_SIZE;
  if (sb->bblog_size > 0 && bblog > bitmap && bblog < end)
    end = bblog;
  if ((int64_t)sb->super_offset > bitmap && (int64_t)sb->super_offset < end)
    end = (int64_t)sb->super_offset;
  leg->bitmap_room = (uint64_t)(end - bitmap) * SECTOR_SIZE;
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

static int
accept_legs (struct array *array, const struct leg *freshest)
{
  char why[160];
  int err;

  for (unsigned i = 0; i < array->nlegs; ++i) {
    struct leg *leg = &array->legs[i];
    const char *reason;

    if (!leg->superblock)
      continue;
    reason = unfit (array, leg, freshest, why, sizeof why);
    if (reason && leg == freshest) {
      log_error (array->log,
                 "leg %s: it is the freshest, but %s; the superblocks "
                 "contradict each other",
                 leg->name, reason);
      return -EINVAL;
    }
    if (reason) {
      log_notice (array->log, "leg %s: not used: %s", leg->name, reason);
      continue;
    }
    err = check_geometry (array, leg, freshest);
    if (err == 0)
      err = place_leg (array, leg);
    if (err != 0)
      return err;
    leg->slot =
        superblock_1_role (freshest->superblock, leg->superblock->dev_number);
    leg->events = leg->superblock->events;
    leg_set_state (array, leg, LEG_IN_SYNC, "assembled");
    if (leg->events == array->events
        && leg->superblock->resync_offset != RESYNC_CLEAN) {
      /* One of the freshest says so: that is enough. */
      array->clean = false;
      array->activity = ARRAY_ACTIVE;
      array->table->resync_offset = 0;
    }
  }
  return 0;
}

/* ---- 5. empty slots ---- */

static bool
slot_has_leg (const struct array *array, unsigned slot)
{
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC && array->legs[i].slot == slot)
      return true;
  return false;
}

/* Does the table count on somebody in that slot? */
static bool
slot_expected (const struct array *array, unsigned slot)
{
  for (uint32_t dev = 0; dev < array->table->max_dev; ++dev)
    if (array->table->dev_roles[dev] == slot)
      return true;
  return false;
}

static int
check_slots (struct array *array)
{
  enum array_degraded degraded = array->options.degraded;
  int err = 0;

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
compare_legs (struct array *array)
{
  int err = 0;

  for (unsigned i = 0; i < array->nlegs && err == 0; ++i)
    for (unsigned j = i + 1; j < array->nlegs && err == 0; ++j) {
      const struct leg *a = &array->legs[i], *b = &array->legs[j];

      if (!a->superblock || !b->superblock)
        continue;
      err = same_array (array, a, b);
      if (err == 0)
        err = check_split_brain (array, a, b);
    }
  return err;
}

static int
adopt_table (struct array *array, const struct leg *freshest)
{
  array->table = rt_alloc (sizeof *array->table);
  if (!array->table)
    return -ENOMEM;
  *array->table = *freshest->superblock;
  format_uuid (array->table->set_uuid, array->uuid);
  array->events = array->events_tried = array->table->events;
  array->clean = array->table->resync_offset == RESYNC_CLEAN;
  array->activity = array->clean ? ARRAY_CLEAN : ARRAY_ACTIVE;
  array->size = array->table->size * SECTOR_SIZE;
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
  const struct leg *freshest;
  int err = 0;

  for (unsigned i = 0; i < array->nlegs && err == 0; ++i)
    err = read_leg_superblock (array, &array->legs[i]);
  if (err == 0)
    err = compare_legs (array);
  if (err != 0)
    return err;
  freshest = find_freshest (array);
  if (!freshest) {
    log_error (array->log, "none of the legs given is an in-sync leg of an "
                           "array (create=SIZE makes one)");
    return -EINVAL;
  }
  err = adopt_table (array, freshest);
  if (err == 0)
    err = accept_legs (array, freshest);
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
