/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A superblock as JSON: sizes and offsets in bytes. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "examine.h"

static const struct {
  uint32_t bit;
  const char *name;
} features[] = {
  { FEATURE_BITMAP_OFFSET, "bitmap-offset" },
  { FEATURE_RECOVERY_OFFSET, "recovery-offset" },
  { FEATURE_RESHAPE_ACTIVE, "reshape-active" },
  { FEATURE_BAD_BLOCKS, "bad-blocks" },
  { FEATURE_REPLACEMENT, "replacement" },
  { FEATURE_RESHAPE_BACKWARDS, "reshape-backwards" },
  { FEATURE_NEW_OFFSET, "new-offset" },
  { FEATURE_RECOVERY_BITMAP, "recovery-bitmap" },
  { FEATURE_BITMAP_VERSIONED, "bitmap-versioned" },
  { FEATURE_JOURNAL, "journal" },
  { FEATURE_PPL, "ppl" },
  { FEATURE_MULTIPLE_PPLS, "multiple-ppls" },
  { FEATURE_RAID0_LAYOUT, "raid0-layout" },
};

static json_t *
feature_names (uint32_t map)
{
  json_t *names = json_array ();

  for (size_t i = 0; i < sizeof features / sizeof features[0]; ++i)
    if (map & features[i].bit)
      json_array_append_new (names, json_string (features[i].name));
  return names;
}

static json_t *
flag_names (uint8_t devflags)
{
  json_t *names = json_array ();

  if (devflags & DEV_FLAG_WRITE_MOSTLY)
    json_array_append_new (names, json_string ("write-mostly"));
  if (devflags & DEV_FLAG_FAILFAST)
    json_array_append_new (names, json_string ("failfast"));
  return names;
}

static void
set_role (json_t *object, const struct examined *e)
{
  const bool slot = e->role <= ROLE_LAST;

  json_object_set_new (
      object, "device-role",
      json_string (e->role == ROLE_SPARE                     ? "spare"
                   : e->role == ROLE_FAULTY                  ? "faulty"
                   : e->role == ROLE_JOURNAL                 ? "journal"
                   : e->s->feature_map & FEATURE_REPLACEMENT ? "replacement"
                                                             : "active"));
  json_object_set_new (object, "slot",
                       slot ? json_integer (e->role) : json_null ());
  json_object_set_new (object, "array-state", json_string (e->slots.state));
  tool_json_integer (object, "working-devices", e->slots.working);
}

static json_t *
bad_blocks (const struct examined *e)
{
  json_t *entry, *list = json_array ();

  for (unsigned i = 0; i < e->nbad; ++i) {
    entry = json_object ();
    tool_json_sectors (entry, "offset", e->bad[i].start);
    tool_json_sectors (entry, "length", e->bad[i].length);
    json_array_append_new (list, entry);
  }
  return list;
}

static void
set_places (json_t *object, const struct examined *e)
{
  const struct superblock *s = e->s;

  tool_json_sectors (object, "available-size", s->data_size);
  tool_json_sectors (object, "used-size", s->size);
  tool_json_sectors (object, "data-offset", s->data_offset);
  tool_json_sectors (object, "super-offset", s->super_offset);
  tool_json_sectors (object, "unused-before", e->space_before);
  json_object_set_new (object, "unused-after",
                       json_integer (e->space_after * SECTOR_SIZE));
  json_object_set_new (object, "recovery-offset",
                       s->feature_map & FEATURE_RECOVERY_OFFSET ? json_integer (
                           (json_int_t)(s->recovery_offset * SECTOR_SIZE))
                                                                : json_null ());
  json_object_set_new (object, "bitmap-offset",
                       s->feature_map & FEATURE_BITMAP_OFFSET ? json_integer (
                           (json_int_t)s->bitmap_offset * SECTOR_SIZE)
                                                              : json_null ());
  tool_json_string (object, "bitmap-file",
                    e->has_note ? examine_file (e) : NULL);
  json_object_set_new (
      object, "bad-block-log-offset",
      e->has_bblog ? json_integer ((json_int_t)s->bblog_offset * SECTOR_SIZE)
                   : json_null ());
  tool_json_sectors (object, "bad-block-log-size",
                     e->has_bblog ? s->bblog_size : 0);
  json_object_set_new (object, "bad-blocks", bad_blocks (e));
}

/* Whatever else is on the leg. */
static json_t *
others (const struct tool_leg *leg)
{
  json_t *names = json_array ();

  for (unsigned i = 0; i < leg->nothers; ++i)
    json_array_append_new (
        names, json_string (superblock_version_string (leg->others[i])));
  return names;
}

static json_t *
disk (const struct examined_disk *d)
{
  json_t *object = json_object ();
  char text[80];

  tool_json_integer (object, "number", d->number);
  tool_json_integer (object, "major", d->major);
  tool_json_integer (object, "minor", d->minor);
  tool_json_integer (object, "raid-device", d->raid_disk);
  tool_json_string (object, "state", examine_disk_state (d->state, text));
  return object;
}

static void
set_090 (json_t *object, const struct superblock *s)
{
  json_t *disks = json_array ();
  struct examined_090 x;

  examine_unpack_090 (s, &x);
  tool_json_integer (object, "total-devices", x.nr_disks);
  tool_json_integer (object, "preferred-minor", x.md_minor);
  tool_json_integer (object, "active-devices", x.active_disks);
  tool_json_integer (object, "failed-devices", x.failed_disks);
  tool_json_integer (object, "spare-devices", x.spare_disks);
  for (unsigned i = 0; i < EXAMINE_090_DISKS; ++i)
    if (x.disks[i].state != 0 || x.disks[i].major != 0 || x.disks[i].minor != 0)
      json_array_append_new (disks, disk (&x.disks[i]));
  json_object_set_new (object, "devices", disks);
  json_object_set_new (object, "this-device", disk (&x.this_disk));
}

json_t *
examine_to_json (const struct examined *e)
{
  const struct superblock *s = e->s;
  const bool clean = s->resync_offset == RESYNC_CLEAN;
  json_t *object = json_object ();
  char uuid[FORMAT_UUID_TEXT], checksum[9];

  tool_json_string (object, "leg", e->leg->path);
  tool_json_string (object, "metadata", superblock_version_string (s->version));
  tool_json_integer (object, "feature-map", s->feature_map);
  json_object_set_new (object, "features", feature_names (s->feature_map));
  json_object_set_new (
      object, "array-uuid",
      json_string (superblock_uuid (s->version, s->set_uuid, uuid)));
  tool_json_string (object, "name", s->set_name);
  tool_json_integer (object, "creation-time",
                     (uint64_t)superblock_seconds (s->ctime));
  json_object_set_new (object, "raid-level", json_string (e->level));
  tool_json_integer (object, "raid-devices", s->raid_disks);
  tool_json_sectors (object, "array-size", s->size);
  set_places (object, e);
  json_object_set_new (object, "state",
                       json_string (clean ? "clean" : "active"));
  json_object_set_new (
      object, "resync-offset",
      clean ? json_null ()
            : json_integer ((json_int_t)(s->resync_offset * SECTOR_SIZE)));
  tool_json_string (object, "device-uuid",
                    s->version == SUPERBLOCK_0_90
                        ? NULL
                        : format_uuid (s->device_uuid, uuid));
  json_object_set_new (object, "flags", flag_names (s->devflags));
  tool_json_integer (object, "update-time",
                     (uint64_t)superblock_seconds (s->utime));
  snprintf (checksum, sizeof checksum, "%08" PRIx32, superblock_checksum (s));
  json_object_set_new (object, "checksum", json_string (checksum));
  tool_json_integer (object, "events", s->events);
  tool_json_integer (object, "corrected-reads", s->cnt_corrected_read);
  tool_json_integer (object, "device-number", s->dev_number);
  set_role (object, e);
  if (s->version == SUPERBLOCK_0_90)
    set_090 (object, s);
  json_object_set_new (object, "other-superblocks", others (e->leg));
  tool_json_refusal (object, e->leg->refused ? &e->leg->error : NULL);
  return object;
}
