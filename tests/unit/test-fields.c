/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Every field of every structure, changed to every class of wrong value, on
 * one of two legs and on both, through the whole stack to array_open.
 *
 * The tables below say what must come of it.  What is wrong is refused by a
 * line that names leg, field, what was found and what was expected; or it is
 * something that arrays may have, and a line says what it means; or it is
 * ignored, and the table says why, as md ignores it.  Nothing is written in
 * any case (legs_try_open compares every byte).
 *
 * On one leg it is leg 1: by the table of leg 0, which is as fresh, all is
 * well.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/superblock_090.h"
#include "format/superblock_1.h"
#include "legs.h"

#define SIZE  (256 * KiB)
#define CHUNK 4096

enum kind {
  IGNORED, /* both legs are used; text: why */
  NAMED,   /* refused: the line names this field, or one of text (or NULL) that
            * it contradicts */
  SAYS,    /* the leg is not used: a line on it has one of text */
  MENDED,  /* both legs are used, and a line on it has one of text */
};

/* Alternatives in a text are divided by bars. */
struct outcome {
  enum kind kind;
  const char *text;
};

enum { BITS = 1 /* try each */, TEXT = 2 /* found is no number */ };

struct field {
  const char *name;
  unsigned offset, width;
  struct outcome one, both;
  /* Values that are not wrong, or that mean something else. */
  struct outcome (*judge) (uint64_t value, bool both);
  unsigned flags;
};

enum structure { SUPERBLOCK, BITMAP, BAD_LOG };

static enum superblock_version version;
static bool bad_blocks; /* leg 1, or both legs, have them */
static enum structure structure;

#define NAMED_ITSELF \
  {                  \
    NAMED, NULL      \
  }
static const struct outcome itself = NAMED_ITSELF;

static const char resync_only[] = "md looks at it during a reshape only";
static const char for_people[] = "md shows it, and decides nothing by it";

/* ---- what values mean: both versions ---- */

static const struct superblock *
good (void)
{
  return &images[1].superblock;
}

static struct outcome
fine (const char *why)
{
  return (struct outcome){ IGNORED, why };
}

static struct outcome
says (const char *text)
{
  return (struct outcome){ SAYS, text };
}

static struct outcome
named (const char *other)
{
  return (struct outcome){ NAMED, other };
}

/* The bitmap's is that of the array. */
static struct outcome
judge_set_uuid (uint64_t value, bool both)
{
  (void)value;
  return both ? named ("uuid") : itself;
}

static struct outcome
judge_raid_disks (uint64_t value, bool both)
{
  /* Slots that nobody has ever had: degraded, which is on record. */
  if (both && value > 2 && value <= ARRAY_MAX_LEGS)
    return fine ("slots without a leg, as recorded");
  return named ("dev_roles|disks.raid_disk");
}

static struct outcome
judge_events (uint64_t value, bool both)
{
  if (value > (UINT64_C (1) << 62) - (UINT64_C (1) << 40))
    return itself;
  if (!both && (value > LEGS_EVENTS + 1 || value + 1 < LEGS_EVENTS))
    return says ("stale:");
  /* The bitmap leads by too much, or is behind. */
  if (value + 8 < LEGS_EVENTS)
    return (struct outcome){ MENDED, "bitmap: field events:" };
  if (value > LEGS_EVENTS)
    return (struct outcome){ MENDED, "bitmap: stale:" };
  return fine ("within the margin of one, or of an interrupted update");
}

static struct outcome
judge_bitmap_events (uint64_t value, bool both)
{
  (void)both;
  if (value > INT64_MAX)
    return itself;
  if (value < LEGS_EVENTS)
    return (struct outcome){ MENDED, "bitmap: stale:" };
  if (value > LEGS_EVENTS + 8)
    return (struct outcome){ MENDED, "bitmap: field events:" };
  return fine ("an update was interrupted");
}

static bool
power_of_2 (uint64_t value)
{
  return value != 0 && (value & (value - 1)) == 0;
}

static bool
apart (int64_t first, int64_t n, int64_t from, int64_t to)
{
  return first + n <= from || first >= to;
}

/* ---- versions 1.x ---- */

/* Sectors of the leg that are taken by others than this area. */
enum area { AREA_BITMAP = 1, AREA_LOG = 2, AREA_DATA = 4 };

static uint64_t sectors_; /* of a leg */

static bool
clear_of (enum area but, int64_t first, int64_t n)
{
  const struct superblock *s = good ();
  int64_t super = (int64_t)s->super_offset, at;
  uint64_t data = version == SUPERBLOCK_1_0 ? s->size : s->data_size;

  if (first < 0 || first + n > (int64_t)sectors_
      || !apart (first, n, super, super + 8))
    return false;
  at = super + s->bitmap_offset;
  if (but != AREA_BITMAP && !apart (first, n, at, at + 8))
    return false;
  at = super + s->bblog_offset;
  if (but != AREA_LOG && !apart (first, n, at, at + s->bblog_size))
    return false;
  at = (int64_t)s->data_offset;
  return but == AREA_DATA || apart (first, n, at, at + (int64_t)data);
}

static struct outcome
judge_feature_map (uint64_t value, bool both)
{
  uint64_t served = 1 | 2 | 8 | 16 | 128;

  if ((value & ~served) != 0
      || ((value & FEATURE_RECOVERY_BITMAP) && (value & 3) != 3))
    return itself;
  if (value & FEATURE_REPLACEMENT)
    return says ("it was to replace");
  if (value & FEATURE_RECOVERY_OFFSET)
    return says ("recovery had not finished");
  if (!(value & FEATURE_BITMAP_OFFSET) && !both)
    return itself;
  return fine ("no bitmap, or a log without entries");
}

static struct outcome
judge_size (uint64_t value, bool both)
{
  if (both && value > 0 && value <= good ()->data_size)
    return fine ("a smaller array");
  return itself;
}

static struct outcome
judge_bitmap_offset (uint64_t value, bool both)
{
  int64_t first = (int64_t)good ()->super_offset + (int32_t)value;

  if ((int32_t)value == 0 || !clear_of (AREA_BITMAP, first, 8))
    return itself;
  return (struct outcome){ both ? SAYS : MENDED, "no bitmap at byte" };
}

static struct outcome
judge_data_offset (uint64_t value, bool both)
{
  uint64_t n = good ()->data_size;

  (void)both;
  if (value < sectors_ && value + n <= sectors_
      && clear_of (AREA_DATA, (int64_t)value, (int64_t)n))
    return fine ("nothing else says where the data is; nor does md know");
  return named ("data_size|bitmap_offset|bblog_offset");
}

static struct outcome
judge_data_size (uint64_t value, bool both)
{
  (void)both;
  if (value >= good ()->size && value <= sectors_ - good ()->data_offset
      && (version != SUPERBLOCK_1_0
          || value + good ()->data_offset <= good ()->super_offset))
    return fine ("more than is used");
  return named ("size|data_offset");
}

static struct outcome
judge_dev_number (uint64_t value, bool both)
{
  if (both || value >= good ()->max_dev || value == 0)
    return itself;
  return says ("a spare");
}

static struct outcome
judge_devflags (uint64_t value, bool both)
{
  (void)both;
  return value < 4 ? fine ("write-mostly, failfast") : itself;
}

static struct outcome
judge_bblog_shift (uint64_t value, bool both)
{
  (void)both;
  if (bad_blocks && value > 9)
    return itself;
  return fine ("without entries md does not look; up to 9 is a unit");
}

static struct outcome
judge_bblog_size (uint64_t value, bool both)
{
  (void)both;
  if (value > 8 || (bad_blocks && value == 0))
    return itself;
  return fine ("up to a page, and 0 is no log");
}

static struct outcome
judge_bblog_offset (uint64_t value, bool both)
{
  int64_t first = (int64_t)good ()->super_offset + (int32_t)value;

  (void)both;
  if ((int32_t)value == 0)
    return bad_blocks ? itself : fine ("no log");
  return clear_of (AREA_LOG, first, good ()->bblog_size)
             ? fine ("a place that nobody else has")
             : named ("bitmap_offset");
}

static struct outcome
judge_resync_offset (uint64_t value, bool both)
{
  (void)both;
  return value <= good ()->size ? fine ("not clean; a checkpoint") : itself;
}

static struct outcome
judge_max_dev (uint64_t value, bool both)
{
  (void)both;
  /* Behind the last one are zeroes, which say slot 0; twice is a replacement.
   */
  if (value >= 2 && value <= 129)
    return fine ("room for devices");
  return named ("raid_disks|dev_roles");
}

static struct outcome
judge_logical_block (uint64_t value, bool both)
{
  (void)both;
  if (power_of_2 (value) && value >= 512 && value <= 4096)
    return fine ("a kernel since 6.19");
  return itself;
}

/* Of device 0; on one leg, the other's table decides what this one is. */
static struct outcome
judge_role_0 (uint64_t value, bool both)
{
  if (value == ROLE_FAULTY)
    return says ("faulty on record");
  if (value == ROLE_SPARE)
    return both ? says ("a spare") : fine ("the fresher table decides");
  if (value == 1)
    return both ? itself : fine ("the fresher table decides");
  return itself;
}

static struct outcome
judge_role_1 (uint64_t value, bool both)
{
  if (value == ROLE_FAULTY)
    return says (both ? "faulty on record" : "a spare");
  if (value == ROLE_SPARE)
    return says ("a spare");
  if (value == 0)
    return both ? itself : fine ("the fresher table decides");
  return itself;
}

/* Of a number that nobody has. */
static struct outcome
judge_role_unused (uint64_t value, bool both)
{
  (void)both;
  if (value < 2 || value == ROLE_FAULTY || value == ROLE_SPARE)
    return fine ("a leg that is not here");
  return itself;
}

#define IGNORE(why)      { IGNORED, (why) }, { IGNORED, (why) }, NULL, 0
#define JUDGE(fn, flags) NAMED_ITSELF, NAMED_ITSELF, (fn), (flags)
#define REFUSE           JUDGE (NULL, 0)

static const struct field fields_1[] = {
  { "magic",
    0,
    4,
    { SAYS, "no md superblock" },
    { SAYS, "no md superblock" },
    NULL,
    0 },
  { "major_version", 4, 4, REFUSE },
  { "feature_map", 8, 4, JUDGE (judge_feature_map, BITS | TEXT) },
  { "pad0", 12, 4, REFUSE },
  { "set_uuid", 16, 8, JUDGE (judge_set_uuid, TEXT) },
  { "set_name", 32, 8, IGNORE (for_people) },
  { "ctime", 64, 8, IGNORE (for_people) },
  { "level", 72, 4, REFUSE },
  { "layout", 76, 4, REFUSE },
  { "size", 80, 8, JUDGE (judge_size, 0) },
  { "chunksize", 88, 4, REFUSE },
  { "raid_disks", 92, 4, JUDGE (judge_raid_disks, 0) },
  { "bitmap_offset", 96, 4, JUDGE (judge_bitmap_offset, TEXT) },
  { "new_level", 100, 4, IGNORE (resync_only) },
  { "reshape_position", 104, 8, IGNORE (resync_only) },
  { "delta_disks", 112, 4, IGNORE (resync_only) },
  { "new_layout", 116, 4, IGNORE (resync_only) },
  { "new_chunk", 120, 4, IGNORE (resync_only) },
  { "new_offset", 124, 4, IGNORE (resync_only) },
  { "data_offset", 128, 8, JUDGE (judge_data_offset, TEXT) },
  { "data_size", 136, 8, JUDGE (judge_data_size, TEXT) },
  { "super_offset", 144, 8, REFUSE },
  { "recovery_offset", 152, 8,
    IGNORE ("only with the feature; with it, the leg is not used") },
  { "dev_number", 160, 4, JUDGE (judge_dev_number, 0) },
  { "cnt_corrected_read", 164, 4, IGNORE (for_people) },
  { "device_uuid", 168, 8, IGNORE ("legs are told apart by dev_number") },
  { "device_uuid", 176, 8, IGNORE ("legs are told apart by dev_number") },
  { "devflags", 184, 1, JUDGE (judge_devflags, BITS) },
  { "bblog_shift", 185, 1, JUDGE (judge_bblog_shift, 0) },
  { "bblog_size", 186, 2, JUDGE (judge_bblog_size, 0) },
  { "bblog_offset", 188, 4, JUDGE (judge_bblog_offset, TEXT) },
  { "utime", 192, 8, IGNORE (for_people) },
  { "events", 200, 8, JUDGE (judge_events, 0) },
  { "resync_offset", 208, 8, JUDGE (judge_resync_offset, 0) },
  { "sb_csum", 216, 4, REFUSE },
  { "max_dev", 220, 4, JUDGE (judge_max_dev, 0) },
  { "logical_block_size", 224, 4, JUDGE (judge_logical_block, 0) },
  { "pad3", 228, 4, JUDGE (NULL, TEXT) },
  { "pad3", 248, 8, JUDGE (NULL, TEXT) },
  { "dev_roles", 256, 2, JUDGE (judge_role_0, 0) },
  { "dev_roles", 258, 2, JUDGE (judge_role_1, 0) },
  { "dev_roles", 260, 2, JUDGE (judge_role_unused, 0) },
  { "dev_roles", 510, 2, JUDGE (judge_role_unused, 0) },
};

/* ---- version 0.90 ---- */

static struct outcome
judge_magic_090 (uint64_t value, bool both)
{
  (void)both;
  if (value == __builtin_bswap32 (SUPERBLOCK_MAGIC))
    return itself;
  return says ("no md superblock");
}

static struct outcome
judge_size_090 (uint64_t value, bool both)
{
  if (both && value > 0 && value * 2 <= good ()->super_offset)
    return fine ("a smaller array");
  return itself;
}

static struct outcome
judge_state_090 (uint64_t value, bool both)
{
  if (value & ~UINT64_C (0x103))
    return itself;
  /* The checkpoint, all ones, is of these events. */
  if (!(value & 1))
    return named ("recovery_cp");
  if (!(value & 0x100) && !both)
    return named ("feature_map");
  return fine ("errors; no bitmap");
}

/* Of the descriptor of leg 0 (0) or 1, whose value was 6. */
static struct outcome
judge_disk_state (uint64_t value, bool both, unsigned leg)
{
  if (value & ~UINT64_C (0x60f))
    return itself;
  if ((value & 1) || ((value & 8) && !(value & 4)))
    return both || leg == 0 ? says ("faulty on record")
                            : says ("a spare|faulty");
  if (!(value & 4))
    return !both && leg == 0 ? fine ("the fresher table decides")
                             : says ("a spare");
  if (!(value & 2) || (value & 8))
    return itself;
  return fine ("write-mostly, failfast");
}

static struct outcome
judge_disk_state_0 (uint64_t value, bool both)
{
  return judge_disk_state (value, both, 0);
}

static struct outcome
judge_disk_state_1 (uint64_t value, bool both)
{
  return judge_disk_state (value, both, 1);
}

/* Of a number that nobody has: slot 0, if it is in sync. */
static struct outcome
judge_disk_state_unused (uint64_t value, bool both)
{
  (void)both;
  if (value & ~UINT64_C (0x60f))
    return itself;
  if (!(value & 1) && (value & 4))
    return named ("disks.raid_disk|disks.state");
  return fine ("a leg that is not here");
}

static struct outcome
judge_this_number (uint64_t value, bool both)
{
  if (both || value >= SUPERBLOCK_090_MAX_DEV || value == 0)
    return named ("dev_number|this_disk.raid_disk");
  return says ("a spare");
}

static const char attached[] = "what a kernel had attached, of no use later";
static const char copied[] = "the table counts, this is a copy of it";
static const char unused[] = "nobody has that number";

static const struct field fields_090[] = {
  { "magic", 0, 4, JUDGE (judge_magic_090, TEXT) },
  { "major_version", 4, 4, REFUSE },
  { "minor_version", 8, 4, REFUSE },
  { "patch_version", 12, 4, IGNORE (for_people) },
  { "gvalid_words", 16, 4, IGNORE ("md has never looked") },
  { "set_uuid", 20, 4, JUDGE (judge_set_uuid, TEXT) },
  { "ctime", 24, 4, IGNORE (for_people) },
  { "level", 28, 4, REFUSE },
  { "size", 32, 4, JUDGE (judge_size_090, TEXT) },
  { "nr_disks", 36, 4, IGNORE (for_people) },
  { "raid_disks", 40, 4, JUDGE (judge_raid_disks, 0) },
  { "md_minor", 44, 4, IGNORE (for_people) },
  { "not_persistent", 48, 4, REFUSE },
  { "set_uuid", 52, 4, JUDGE (judge_set_uuid, TEXT) },
  { "set_uuid", 56, 4, JUDGE (judge_set_uuid, TEXT) },
  { "set_uuid", 60, 4, JUDGE (judge_set_uuid, TEXT) },
  { "gstate_creserved", 64, 8, IGNORE ("reserved, never looked at") },
  { "utime", 128, 4, IGNORE (for_people) },
  { "state", 132, 4, JUDGE (judge_state_090, BITS) },
  { "active_disks", 136, 4, IGNORE (for_people) },
  { "working_disks", 140, 4, IGNORE (for_people) },
  { "failed_disks", 144, 4, IGNORE (for_people) },
  { "spare_disks", 148, 4, IGNORE (for_people) },
  { "sb_csum", 152, 4, REFUSE },
  { "events", 156, 8, JUDGE (judge_events, 0) },
  { "cp_events", 164, 8, IGNORE ("the array is clean") },
  { "recovery_cp", 172, 4, IGNORE ("the array is clean") },
  { "reshape_position", 176, 8, IGNORE (resync_only) },
  { "new_level", 184, 4, IGNORE (resync_only) },
  { "delta_disks", 188, 4, IGNORE (resync_only) },
  { "new_layout", 192, 4, IGNORE (resync_only) },
  { "new_chunk", 196, 4, IGNORE (resync_only) },
  { "gstate_sreserved", 200, 8, IGNORE ("reserved, never looked at") },
  { "layout", 256, 4, REFUSE },
  { "chunk_size", 260, 4, REFUSE },
  { "root_pv", 264, 4, IGNORE ("md has never looked") },
  { "root_block", 268, 4, IGNORE ("md has never looked") },
  { "pstate_reserved", 272, 8, IGNORE ("reserved, never looked at") },
  { "disks.number", 512, 4, REFUSE },
  { "disks.major", 516, 4, IGNORE (attached) },
  { "disks.minor", 520, 4, IGNORE (attached) },
  { "disks.raid_disk", 524, 4, JUDGE (NULL, TEXT) },
  { "disks.state", 528, 4, JUDGE (judge_disk_state_0, BITS) },
  { "disks.number", 640, 4, REFUSE },
  { "disks.major", 644, 4, IGNORE (attached) },
  { "disks.minor", 648, 4, IGNORE (attached) },
  { "disks.raid_disk",
    652,
    4,
    { NAMED, "this_disk.raid_disk" },
    { NAMED, "this_disk.raid_disk" },
    NULL,
    0 },
  { "disks.state", 656, 4, JUDGE (judge_disk_state_1, BITS) },
  { "disks.number", 768, 4, IGNORE (unused) },
  { "disks.raid_disk", 780, 4, IGNORE (unused) },
  { "disks.state", 784, 4, JUDGE (judge_disk_state_unused, BITS) },
  { "this_disk.number", 3968, 4, JUDGE (judge_this_number, 0) },
  { "this_disk.major", 3972, 4, IGNORE (attached) },
  { "this_disk.minor", 3976, 4, IGNORE (attached) },
  { "this_disk.raid_disk", 3980, 4, REFUSE },
  { "this_disk.state", 3984, 4, IGNORE (copied) },
  { "this_disk.reserved", 3988, 8, IGNORE ("reserved, never looked at") },
};

/* ---- the bitmap ---- */

static struct outcome
judge_bitmap_magic (uint64_t value, bool both)
{
  (void)value;
  return (struct outcome){ both ? SAYS : MENDED, "no bitmap at byte" };
}

static struct outcome
judge_bitmap_version (uint64_t value, bool both)
{
  (void)both;
  return value == 3 ? fine ("the same bits") : itself;
}

static struct outcome
judge_events_cleared (uint64_t value, bool both)
{
  (void)both;
  return value > INT64_MAX ? itself : fine ("for a leg that comes back");
}

static struct outcome
judge_bitmap_state (uint64_t value, bool both)
{
  (void)both;
  if (value == 2)
    return (struct outcome){ MENDED, "marked as stale" };
  return value == 0 ? fine ("no state") : itself;
}

static struct outcome
judge_chunksize (uint64_t value, bool both)
{
  if (both && power_of_2 (value) && value >= 512
      && SIZE / value <= (4096 - 256) * 8)
    return fine ("another number of chunks");
  return itself;
}

static struct outcome
judge_daemon_sleep (uint64_t value, bool both)
{
  (void)both;
  return value > 0 ? fine ("seconds") : itself;
}

static struct outcome
judge_write_behind (uint64_t value, bool both)
{
  (void)both;
  return value < 16384 ? fine ("requests") : itself;
}

static struct outcome
judge_reserved (uint64_t value, bool both)
{
  (void)value;
  (void)both;
  return value > 0 ? fine ("room for the bits") : fine ("unknown");
}

static const struct field fields_bitmap[] = {
  { "magic", 0, 4, JUDGE (judge_bitmap_magic, 0) },
  { "version", 4, 4, JUDGE (judge_bitmap_version, 0) },
  { "uuid", 8, 8, JUDGE (NULL, TEXT) },
  { "uuid", 16, 8, JUDGE (NULL, TEXT) },
  { "events", 24, 8, JUDGE (judge_bitmap_events, 0) },
  { "events_cleared", 32, 8, JUDGE (judge_events_cleared, 0) },
  { "sync_size", 40, 8, IGNORE ("md computes it anew") },
  { "state", 48, 4, JUDGE (judge_bitmap_state, BITS) },
  { "chunksize", 52, 4, JUDGE (judge_chunksize, 0) },
  { "daemon_sleep", 56, 4, JUDGE (judge_daemon_sleep, 0) },
  { "write_behind", 60, 4, JUDGE (judge_write_behind, 0) },
  { "sectors_reserved", 64, 4, JUDGE (judge_reserved, 0) },
  { "nodes", 68, 4, REFUSE },
  { "cluster_name", 72, 8, JUDGE (NULL, TEXT) },
  { "cluster_name", 128, 8, JUDGE (NULL, TEXT) },
  { "pad", 136, 8, JUDGE (NULL, TEXT) },
  { "pad", 248, 8, JUDGE (NULL, TEXT) },
};

/* ---- the bad-block log, and its fields in use ---- */

static const char any_entry[] = "any entry is bad sectors, or none";

static const struct field fields_bad_log[] = {
  { "entry", 0, 8, IGNORE (any_entry) },
  { "entry", 8, 8, IGNORE (any_entry) },
  { "entry", 4088, 8, IGNORE (any_entry) },
};

static const struct field fields_bad_blocks[] = {
  { "bblog_shift", 185, 1, JUDGE (judge_bblog_shift, 0) },
  { "bblog_size", 186, 2, JUDGE (judge_bblog_size, 0) },
  { "bblog_offset", 188, 4, JUDGE (judge_bblog_offset, TEXT) },
};

/* ---- making legs with it ---- */

static uint64_t
get_field (const struct field *field, const uint8_t *p)
{
  uint64_t value = 0;

  for (unsigned i = field->width; i-- > 0;)
    value = value << 8 | p[field->offset + i];
  return value;
}

static void
put_field (const struct field *field, uint8_t *p, uint64_t value)
{
  for (unsigned i = 0; i < field->width; ++i)
    p[field->offset + i] = (uint8_t)(value >> 8 * i);
}

static void
fix (const struct field *field, uint8_t *block)
{
  if (strcmp (field->name, "sb_csum") == 0)
    return;
  if (version == SUPERBLOCK_0_90)
    put_le32 (block + 152, superblock_090_checksum (block));
  else if (get_le32 (block + 220) <= SUPERBLOCK_MAX_DEV)
    put_le32 (block + 216,
              superblock_1_checksum (block, get_le32 (block + 220)));
}

/* Byte of the leg at which the structure begins. */
static uint64_t
start_of (const struct superblock *s)
{
  int64_t sector = (int64_t)s->super_offset;

  if (structure == BITMAP)
    sector += s->bitmap_offset;
  if (structure == BAD_LOG)
    sector += s->bblog_offset;
  return (uint64_t)sector * SECTOR_SIZE;
}

/* Good legs, and the bytes of leg 1's structure. */
static void
make (uint8_t bytes[2][4096])
{
  static const uint64_t entry = 4;

  legs_make_version (version, true, 2, SIZE, CHUNK);
  for (unsigned i = 0; i < 2; ++i) {
    legs_logical_block[i] = 512;
    if (bad_blocks && i == 1) {
      uint64_t at = (legs_data_sector () + entry) << 10 | 8;

      leg_set_bad_log (i, &at, 1);
    }
  }
  legs_store ();
  for (unsigned i = 0; i < 2; ++i) {
    size_t n;
    uint8_t *all = leg_get_all (i, &n);

    sectors_ = n / SECTOR_SIZE;
    memcpy (bytes[i], all + start_of (&images[i].superblock), 4096);
    free (all);
  }
}

/* ---- judging ---- */

static char what[256]; /* is tried, for messages */

/* One of the words, divided by bars, in a line on leg 1, or any leg. */
static bool
line_says (const char *words, bool both)
{
  char line[1024], start[256], word[64];
  bool found = false;

  for (const char *at = words; *at && !found; at += strcspn (at, "|")) {
    at += *at == '|';
    snprintf (word, sizeof word, "%.*s", (int)strcspn (at, "|"), at);
    for (unsigned leg = both ? 0 : 1; leg < 2; ++leg) {
      snprintf (start, sizeof start, "leg %s: ", leg_path (leg));
      if (logged_line (start, word, line, sizeof line))
        found = true;
    }
  }
  return found;
}

/* What is found is printed, one way or the other. */
static bool
has_number (const char *line, const struct field *field, uint64_t value)
{
  uint64_t sign = UINT64_C (1) << (8 * field->width - 1);
  char text[5][32];

  snprintf (text[0], sizeof text[0], "found %" PRIu64, value);
  snprintf (text[1], sizeof text[1], "found %" PRIx64, value);
  snprintf (text[2], sizeof text[2], "found 0x%" PRIx64, value);
  snprintf (text[3], sizeof text[3], "found %" PRId64,
            (int64_t)((value ^ sign) - sign));
  snprintf (text[4], sizeof text[4], "found slot %" PRIu64, value);
  for (unsigned i = 0; i < 5; ++i)
    if (strstr (line, text[i]))
      return true;
  return false;
}

/* The line that names a field of a leg, or NULL. */
static const char *
naming_line (unsigned leg, const char *field, char *line, size_t size)
{
  static const char *const parts[] = { "", "bitmap: ", "bad-block log: " };
  char start[256];

  for (unsigned i = 0; i < 3; ++i) {
    snprintf (start, sizeof start, "leg %s: %sfield %s: ", leg_path (leg),
              parts[i], field);
    if (logged_line (start, "", line, size))
      return line;
  }
  return NULL;
}

static void
check_named (const struct field *field, const char *others, uint64_t value,
             bool both)
{
  char line[1024], other[64];

  for (unsigned leg = both ? 0 : 1; leg < 2; ++leg)
    if (naming_line (leg, field->name, line, sizeof line)) {
      ck_assert_msg (strstr (line, ": found ") && strstr (line, ", expected "),
                     "%s: %s", what, line);
      ck_assert_msg ((field->flags & TEXT) || has_number (line, field, value)
                         || strstr (line, " as on leg ") || others,
                     "%s: the value is not in: %s", what, line);
      return;
    }
  for (const char *at = others; at && *at; at += strcspn (at, "|")) {
    at += *at == '|';
    snprintf (other, sizeof other, "%.*s", (int)strcspn (at, "|"), at);
    for (unsigned leg = 0; leg < 2; ++leg)
      if (naming_line (leg, other, line, sizeof line))
        return;
  }
  ck_abort_msg ("%s: no line names it; the first is: %s", what,
                logged_line ("", "", line, sizeof line) ? line : "none");
}

static void
check_outcome (const struct field *field, struct outcome outcome,
               uint64_t value, bool both)
{
  struct array *array = NULL;
  char line[1024] = "";
  int err = legs_try_open (&array);
  bool used = err == 0 && in_sync (array) == 2;

  (void)logged_line ("", "", line, sizeof line);
  switch (outcome.kind) {
  case IGNORED:
    ck_assert_msg (used, "%s: ignored (%s), but: %s", what, outcome.text, line);
    break;
  case NAMED:
    ck_assert_msg (!used, "%s: used", what);
    check_named (field, outcome.text, value, both);
    break;
  case SAYS:
    ck_assert_msg (!used, "%s: used", what);
    ck_assert_msg (line_says (outcome.text, true), "%s: not '%s', but: %s",
                   what, outcome.text, line);
    break;
  case MENDED:
    ck_assert_msg (used && line_says (outcome.text, true),
                   "%s: not used with '%s', but: %s", what, outcome.text, line);
    break;
  }
  array_close (array);
}

static void
try_value (const struct field *field, uint64_t value, bool both)
{
  static uint8_t bytes[2][4096];
  struct outcome outcome = both ? field->both : field->one;
  uint64_t mask = UINT64_MAX >> (64 - 8 * field->width), old;

  make (bytes);
  old = get_field (field, bytes[1]);
  value &= mask;
  if (value == old)
    return;
  if (field->judge)
    outcome = field->judge (value, both);
  snprintf (what, sizeof what,
            "version %s, %s at %u: %" PRIx64 " -> %" PRIx64 " on %s",
            superblock_version_string (version), field->name, field->offset,
            old, value, both ? "both legs" : "one leg");
  for (unsigned i = both ? 0 : 1; i < 2; ++i) {
    put_field (field, bytes[i], value);
    if (structure == SUPERBLOCK)
      fix (field, bytes[i]);
    leg_put (i, start_of (&images[i].superblock), bytes[i], 4096);
  }
  check_outcome (field, outcome, value, both);
}

/* All classes. */
static void
try_field (const struct field *field)
{
  static uint8_t bytes[2][4096];
  unsigned bits = 8 * field->width;
  uint64_t old, sign = UINT64_C (1) << (bits - 1);

  make (bytes);
  old = get_field (field, bytes[1]);
  for (unsigned both = 0; both < 2; ++both) {
    uint64_t values[] = {
      0,
      1,
      2,
      3,
      old + 1,
      old - 1,
      2 * old,
      UINT64_MAX,
      UINT64_MAX - 1,
      sign,
      sign - 1,
      sign + 1,
      __builtin_bswap64 (old) >> (64 - bits),
      UINT64_C (0x5a96c3e15a96c3e1),
      UINT64_C (0x1000100010001000),
      old ^ UINT64_C (1) << bits / 2,
      512,
      127,
      128,
      129,
      130,
      1920,
      1921,
    };

    for (unsigned i = 0; i < sizeof values / sizeof values[0]; ++i)
      try_value (field, values[i], both);
    for (unsigned i = 0; i < bits && (field->flags & BITS); ++i)
      try_value (field, old ^ UINT64_C (1) << i, both);
  }
}

/* ---- the tests ---- */

#define COUNT(fields) ((int)(sizeof (fields) / sizeof (fields)[0]))

static void
run (enum superblock_version v, enum structure s, bool bad,
     const struct field *field)
{
  version = v;
  structure = s;
  bad_blocks = bad;
  try_field (field);
}

START_TEST (superblock_1_2)
{
  run (SUPERBLOCK_1_2, SUPERBLOCK, false, &fields_1[_i]);
}
END_TEST

START_TEST (superblock_1_1)
{
  run (SUPERBLOCK_1_1, SUPERBLOCK, false, &fields_1[_i]);
}
END_TEST

START_TEST (superblock_1_0)
{
  run (SUPERBLOCK_1_0, SUPERBLOCK, false, &fields_1[_i]);
}
END_TEST

START_TEST (superblock_090)
{
  run (SUPERBLOCK_0_90, SUPERBLOCK, false, &fields_090[_i]);
}
END_TEST

START_TEST (bitmap)
{
  run (SUPERBLOCK_1_2, BITMAP, false, &fields_bitmap[_i]);
}
END_TEST

START_TEST (bitmap_090)
{
  run (SUPERBLOCK_0_90, BITMAP, false, &fields_bitmap[_i]);
}
END_TEST

START_TEST (bad_log)
{
  run (SUPERBLOCK_1_2, BAD_LOG, true, &fields_bad_log[_i]);
}
END_TEST

START_TEST (bad_blocks_fields)
{
  run (SUPERBLOCK_1_2, SUPERBLOCK, true, &fields_bad_blocks[_i]);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("fields");
  TCase *tcase = tcase_create ("fields");

  tcase_add_loop_test (tcase, superblock_1_2, 0, COUNT (fields_1));
  tcase_add_loop_test (tcase, superblock_1_1, 0, COUNT (fields_1));
  tcase_add_loop_test (tcase, superblock_1_0, 0, COUNT (fields_1));
  tcase_add_loop_test (tcase, superblock_090, 0, COUNT (fields_090));
  tcase_add_loop_test (tcase, bitmap, 0, COUNT (fields_bitmap));
  tcase_add_loop_test (tcase, bitmap_090, 0, COUNT (fields_bitmap));
  tcase_add_loop_test (tcase, bad_log, 0, COUNT (fields_bad_log));
  tcase_add_loop_test (tcase, bad_blocks_fields, 0, COUNT (fields_bad_blocks));
  suite_add_tcase (suite, tcase);
  return legs_run (suite);
}
