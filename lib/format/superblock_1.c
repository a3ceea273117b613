/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The md superblock, versions 1.x.
 *
 * Pure: no I/O, no allocation, no state.  What always holds:
 *  1. decode accepts only what every rule below allows, and looks at every
 *     field.  Fields that md itself ignores in the state at hand are not
 *     refused; the comments say which.
 *  2. encode changes nothing but the fields of the struct and the checksum:
 *     decode and then encode gives the same bytes.
 *  3. max_dev is checked before anything is done with the table.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "format/bad_blocks.h"
#include "format/superblock_1.h"

/* Where the fields are. */
enum {
  OFF_MAGIC = 0,
  OFF_MAJOR_VERSION = 4,
  OFF_FEATURE_MAP = 8,
  OFF_PAD0 = 12,
  OFF_SET_UUID = 16,
  OFF_SET_NAME = 32,
  OFF_CTIME = 64,
  OFF_LEVEL = 72,
  OFF_LAYOUT = 76,
  OFF_SIZE = 80,
  OFF_CHUNKSIZE = 88,
  OFF_RAID_DISKS = 92,
  OFF_BITMAP_OFFSET = 96,
  OFF_NEW_LEVEL = 100,
  OFF_RESHAPE_POSITION = 104,
  OFF_DELTA_DISKS = 112,
  OFF_NEW_LAYOUT = 116,
  OFF_NEW_CHUNK = 120,
  OFF_NEW_OFFSET = 124,
  OFF_DATA_OFFSET = 128,
  OFF_DATA_SIZE = 136,
  OFF_SUPER_OFFSET = 144,
  OFF_RECOVERY_OFFSET = 152,
  OFF_DEV_NUMBER = 160,
  OFF_CNT_CORRECTED_READ = 164,
  OFF_DEVICE_UUID = 168,
  OFF_DEVFLAGS = 184,
  OFF_BBLOG_SHIFT = 185,
  OFF_BBLOG_SIZE = 186,
  OFF_BBLOG_OFFSET = 188,
  OFF_UTIME = 192,
  OFF_EVENTS = 200,
  OFF_RESYNC_OFFSET = 208,
  OFF_SB_CSUM = 216,
  OFF_MAX_DEV = 220,
  OFF_LOGICAL_BLOCK_SIZE = 224,
  OFF_PAD3 = 228,
  OFF_DEV_ROLES = 256,
};

/* The same thing a second time, so that the compiler can compare: as widths
 * and not as offsets.  Never pointed at a block.
 */
struct on_disk {
  uint8_t magic[4], major_version[4], feature_map[4], pad0[4];
  uint8_t set_uuid[16], set_name[32];
  uint8_t ctime[8], level[4], layout[4], size[8];
  uint8_t chunksize[4], raid_disks[4], bitmap_offset[4], new_level[4];
  uint8_t reshape_position[8], delta_disks[4], new_layout[4], new_chunk[4];
  uint8_t new_offset[4];
  uint8_t data_offset[8], data_size[8], super_offset[8], recovery_offset[8];
  uint8_t dev_number[4], cnt_corrected_read[4], device_uuid[16];
  uint8_t devflags[1], bblog_shift[1], bblog_size[2], bblog_offset[4];
  uint8_t utime[8], events[8], resync_offset[8], sb_csum[4], max_dev[4];
  uint8_t logical_block_size[4], pad3[28];
  uint8_t dev_roles[2 * SUPERBLOCK_MAX_DEV];
};

#define AT(field, where)                                          \
  static_assert (offsetof (struct on_disk, field) == OFF_##where, \
                 "offset of " #field)
AT (magic, MAGIC);
AT (major_version, MAJOR_VERSION);
AT (feature_map, FEATURE_MAP);
AT (pad0, PAD0);
AT (set_uuid, SET_UUID);
AT (set_name, SET_NAME);
AT (ctime, CTIME);
AT (level, LEVEL);
AT (layout, LAYOUT);
AT (size, SIZE);
AT (chunksize, CHUNKSIZE);
AT (raid_disks, RAID_DISKS);
AT (bitmap_offset, BITMAP_OFFSET);
AT (new_level, NEW_LEVEL);
AT (reshape_position, RESHAPE_POSITION);
AT (delta_disks, DELTA_DISKS);
AT (new_layout, NEW_LAYOUT);
AT (new_chunk, NEW_CHUNK);
AT (new_offset, NEW_OFFSET);
AT (data_offset, DATA_OFFSET);
AT (data_size, DATA_SIZE);
AT (super_offset, SUPER_OFFSET);
AT (recovery_offset, RECOVERY_OFFSET);
AT (dev_number, DEV_NUMBER);
AT (cnt_corrected_read, CNT_CORRECTED_READ);
AT (device_uuid, DEVICE_UUID);
AT (devflags, DEVFLAGS);
AT (bblog_shift, BBLOG_SHIFT);
AT (bblog_size, BBLOG_SIZE);
AT (bblog_offset, BBLOG_OFFSET);
AT (utime, UTIME);
AT (events, EVENTS);
AT (resync_offset, RESYNC_OFFSET);
AT (sb_csum, SB_CSUM);
AT (max_dev, MAX_DEV);
AT (logical_block_size, LOGICAL_BLOCK_SIZE);
AT (pad3, PAD3);
AT (dev_roles, DEV_ROLES);
#undef AT
static_assert (sizeof (struct on_disk) == SUPERBLOCK_BYTES,
               "the table ends with the block");

#define NAME_BYTES 32

/* The kernel counts a leg with less room for data as broken. */
#define DATA_SIZE_MIN      10
#define BBLOG_SIZE_MAX     8 /* sectors: md keeps the log in one page */
#define SUPERBLOCK_SECTORS (SUPERBLOCK_BYTES / SECTOR_SIZE)

uint32_t
superblock_1_checksum (const uint8_t *block, uint32_t max_dev)
{
  uint32_t length = OFF_DEV_ROLES + 2 * max_dev;
  uint64_t sum = 0;
  uint32_t i;

  assert (max_dev <= SUPERBLOCK_MAX_DEV);
  for (i = 0; i + 4 <= length; i += 4)
    if (i != OFF_SB_CSUM)
      sum += get_le32 (block + i);
  if (i < length)
    sum += get_le16 (block + i);
  return (uint32_t)sum + (uint32_t)(sum >> 32);
}

/* Fields into the struct; max_dev has been checked. */
static void
unpack (const uint8_t *block, struct superblock *s)
{
  memcpy (s->block, block, SUPERBLOCK_BYTES);
  s->feature_map = get_le32 (block + OFF_FEATURE_MAP);
  memcpy (s->set_uuid, block + OFF_SET_UUID, sizeof s->set_uuid);
  memcpy (s->set_name, block + OFF_SET_NAME, NAME_BYTES);
  s->set_name[NAME_BYTES] = '\0';
  s->ctime = get_le64 (block + OFF_CTIME);
  s->level = (int32_t)get_le32 (block + OFF_LEVEL);
  s->layout = get_le32 (block + OFF_LAYOUT);
  s->size = get_le64 (block + OFF_SIZE);
  s->chunksize = get_le32 (block + OFF_CHUNKSIZE);
  s->raid_disks = get_le32 (block + OFF_RAID_DISKS);
  s->bitmap_offset = (int32_t)get_le32 (block + OFF_BITMAP_OFFSET);
  s->data_offset = get_le64 (block + OFF_DATA_OFFSET);
  s->data_size = get_le64 (block + OFF_DATA_SIZE);
  s->super_offset = get_le64 (block + OFF_SUPER_OFFSET);
  s->recovery_offset = get_le64 (block + OFF_RECOVERY_OFFSET);
  s->dev_number = get_le32 (block + OFF_DEV_NUMBER);
  s->cnt_corrected_read = get_le32 (block + OFF_CNT_CORRECTED_READ);
  memcpy (s->device_uuid, block + OFF_DEVICE_UUID, sizeof s->device_uuid);
  s->devflags = block[OFF_DEVFLAGS];
  s->bblog_shift = block[OFF_BBLOG_SHIFT];
  s->bblog_size = get_le16 (block + OFF_BBLOG_SIZE);
  s->bblog_offset = (int32_t)get_le32 (block + OFF_BBLOG_OFFSET);
  s->utime = get_le64 (block + OFF_UTIME);
  s->events = get_le64 (block + OFF_EVENTS);
  s->resync_offset = get_le64 (block + OFF_RESYNC_OFFSET);
  s->max_dev = get_le32 (block + OFF_MAX_DEV);
  static_assert (ROLE_SPARE == 0xffff, "memset makes spares");
  memset (s->dev_roles, 0xff, sizeof s->dev_roles);
  for (uint32_t i = 0; i < min_u64 (s->max_dev, SUPERBLOCK_MAX_DEV); ++i)
    s->dev_roles[i] = get_le16 (block + OFF_DEV_ROLES + 2 * i);
}

/* What may not be there at all, and what to do about it. */
static const struct {
  uint32_t bits;
  const char *name;
  const char *advice;
} refused_features[] = {
  { FEATURE_RESHAPE_ACTIVE | FEATURE_RESHAPE_BACKWARDS | FEATURE_NEW_OFFSET,
    "reshape", "assemble the array with mdadm and let the reshape finish" },
  { FEATURE_BITMAP_VERSIONED, "clustered",
    "clustered arrays can be served by the kernel only" },
  { FEATURE_JOURNAL, "journal",
    "arrays with a journal can be served by the kernel only" },
  { FEATURE_PPL | FEATURE_MULTIPLE_PPLS, "partial parity log",
    "this is not a RAID1 array as md makes them; examine it with mdadm" },
  { FEATURE_RAID0_LAYOUT, "RAID0 layout", "only RAID1 arrays can be served" },
};

/* A leg with FEATURE_RECOVERY_OFFSET or FEATURE_REPLACEMENT is not in sync:
 * whoever assembles leaves it out.
 */
static const uint32_t features_known =
    FEATURE_BITMAP_OFFSET | FEATURE_RECOVERY_OFFSET | FEATURE_BAD_BLOCKS
    | FEATURE_REPLACEMENT | FEATURE_RECOVERY_BITMAP;
static const char features_expected[] = "none but 0x1, 0x2, 0x8, 0x10 and 0x80";

static int
check_features (const struct superblock *s, struct format_error *error)
{
  const uint32_t needed = FEATURE_BITMAP_OFFSET | FEATURE_RECOVERY_OFFSET;
  const uint32_t map = s->feature_map;

  for (size_t i = 0; i < sizeof refused_features / sizeof refused_features[0];
       ++i)
    if (map & refused_features[i].bits)
      return format_refuse (error, "feature_map", refused_features[i].advice,
                            features_expected, "0x%" PRIx32 " (%s)", map,
                            refused_features[i].name);
  if (map & ~features_known)
    return format_refuse (error, "feature_map",
                          "a newer md wrote this leg: use the kernel, or a "
                          "newer mdbitmap",
                          features_expected, "0x%" PRIx32 " (unknown feature)",
                          map);
  if ((map & FEATURE_RECOVERY_BITMAP) && (map & needed) != needed)
    return format_refuse (
        error, "feature_map", "examine the leg with mdadm; add it anew",
        "0x80 only together with 0x1 and 0x2", "0x%" PRIx32, map);
  return 0;
}

/* pad0 and pad3.  A kernel before 6.19 refuses any byte of pad3 that is not
 * zero; since 6.19 the first four are the array's logical block size.
 */
static int
check_pads (const struct superblock *s, struct format_error *error)
{
  static const char newer[] =
      "a newer md wrote this leg: use the kernel, or a newer mdbitmap";
  const uint32_t pad0 = get_le32 (s->block + OFF_PAD0);
  const uint32_t logical = get_le32 (s->block + OFF_LOGICAL_BLOCK_SIZE);

  if (pad0 != 0)
    return format_refuse (error, "pad0", newer, "0", "0x%" PRIx32, pad0);
  if (logical != 0
      && (!is_power_of_2 (logical) || logical < 512 || logical > 4096))
    return format_refuse (error, "logical_block_size", newer,
                          "0, or a power of two from 512 to 4096", "%" PRIu32,
                          logical);
  for (unsigned i = OFF_PAD3; i < OFF_DEV_ROLES; ++i)
    if (s->block[i] != 0)
      return format_refuse (error, "pad3", newer, "zeroes", "0x%02x at byte %u",
                            s->block[i], i);
  return 0;
}

/* What the array is.  set_uuid, set_name and ctime may be anything; new_level
 * to new_offset mean something only with features that are refused, and md
 * ignores them else.
 */
static int
check_array (const struct superblock *s, struct format_error *error)
{
  if (s->level != 1)
    return format_refuse (error, "level", "only RAID1 arrays can be served",
                          "1", "%" PRId32, s->level);
  if (s->layout != 0)
    return format_refuse (error, "layout", "examine the leg with mdadm", "0",
                          "%" PRIu32, s->layout);
  if (s->chunksize != 0)
    return format_refuse (error, "chunksize", "examine the leg with mdadm", "0",
                          "%" PRIu32, s->chunksize);
  if (s->raid_disks < 1 || s->raid_disks > s->max_dev
      || s->raid_disks > ROLE_LAST + 1)
    return format_refuse (error, "raid_disks", "examine the leg with mdadm",
                          "1 to max_dev", "%" PRIu32, s->raid_disks);
  if (s->size < 1 || s->size > s->data_size)
    return format_refuse (error, "size", "examine the leg with mdadm",
                          "1 to data_size", "%" PRIu64, s->size);
  return 0;
}

/* Where things are on this leg; that nothing overlaps is for layout_check to
 * say, which knows the bitmap as well.
 */
static int
check_places (const struct superblock *s, uint64_t leg_sectors,
              struct format_error *error)
{
  static const char advice[] =
      "is the leg whole?  mdadm --examine tells what it should be";

  if (s->data_size < DATA_SIZE_MIN || s->data_size > leg_sectors)
    return format_refuse (error, "data_size", advice,
                          "10 to the sectors of the leg", "%" PRIu64,
                          s->data_size);
  if (s->data_offset > leg_sectors - s->data_size)
    return format_refuse (error, "data_offset", advice,
                          "data_offset + data_size inside the leg",
                          "%" PRIu64 " + %" PRIu64 " of %" PRIu64,
                          s->data_offset, s->data_size, leg_sectors);
  if (s->data_offset < s->super_offset + SUPERBLOCK_SECTORS
      && s->data_offset + s->data_size > s->super_offset) {
    if (s->version == SUPERBLOCK_1_0 && s->data_offset < s->super_offset)
      return format_refuse (
          error, "data_size", advice, "data that ends before the superblock",
          "%" PRIu64 " + %" PRIu64 " (superblock at %" PRIu64 ")",
          s->data_offset, s->data_size, s->super_offset);
    return format_refuse (error, "data_offset", advice,
                          "data clear of the superblock",
                          "%" PRIu64 " (superblock at %" PRIu64 ")",
                          s->data_offset, s->super_offset);
  }
  /* Ignored by md unless the feature says that there is a bitmap. */
  if ((s->feature_map & FEATURE_BITMAP_OFFSET) && s->bitmap_offset == 0)
    return format_refuse (error, "bitmap_offset", advice, "not 0", "0");
  return 0;
}

/* bblog_shift and bblog_offset mean something to md only when blocks are in the
 * log; no log at all is size or offset 0.
 */
static int
check_bad_block_log (const struct superblock *s, struct format_error *error)
{
  static const char advice[] =
      "examine the leg with mdadm; to give it up, mdadm --zero-superblock and "
      "add it anew";
  const bool used = s->feature_map & FEATURE_BAD_BLOCKS;

  if (s->bblog_size > BBLOG_SIZE_MAX || (used && s->bblog_size == 0))
    return format_refuse (error, "bblog_size", advice,
                          used ? "1 to 8 sectors" : "0 to 8 sectors", "%u",
                          s->bblog_size);
  if (used && s->bblog_offset == 0)
    return format_refuse (error, "bblog_offset", advice, "not 0", "0");
  if (used && s->bblog_shift > BAD_BLOCKS_SHIFT_MAX)
    return format_refuse (error, "bblog_shift", advice, "at most 9", "%u",
                          s->bblog_shift);
  return 0;
}

/* cnt_corrected_read, device_uuid and utime may be anything. */
static int
check_state (const struct superblock *s, struct format_error *error)
{
  static const char advice[] = "examine the leg with mdadm; add it anew";

  /* Ignored by md without the feature. */
  if ((s->feature_map & FEATURE_RECOVERY_OFFSET)
      && s->recovery_offset > s->size)
    return format_refuse (error, "recovery_offset", advice, "0 to size",
                          "%" PRIu64, s->recovery_offset);
  if (s->dev_number >= s->max_dev)
    return format_refuse (error, "dev_number", advice, "less than max_dev",
                          "%" PRIu32, s->dev_number);
  if (s->devflags & ~(DEV_FLAG_WRITE_MOSTLY | DEV_FLAG_FAILFAST))
    return format_refuse (error, "devflags",
                          "a newer md wrote this leg: use the kernel, or a "
                          "newer mdbitmap",
                          "none but 0x1 and 0x2", "0x%x", s->devflags);
  /* Counting up must never wrap; no array gets that old. */
  if (s->events > INT64_MAX)
    return format_refuse (error, "events", advice, "less than 2^63", "%" PRIu64,
                          s->events);
  if (s->resync_offset > s->size && s->resync_offset != RESYNC_CLEAN)
    return format_refuse (error, "resync_offset", advice,
                          "0 to size, or all ones", "%" PRIu64,
                          s->resync_offset);
  return 0;
}

/* Each entry is a slot of the array, faulty or spare, and a slot appears once,
 * or twice while a leg is being replaced.
 */
static int
check_roles (const struct superblock *s, struct format_error *error)
{
  uint8_t seen[SUPERBLOCK_MAX_DEV] = { 0 };

  for (uint32_t i = 0; i < s->max_dev; ++i) {
    const uint16_t role = s->dev_roles[i];

    if (role == ROLE_SPARE || role == ROLE_FAULTY)
      continue;
    if (role >= s->raid_disks)
      return format_refuse (error, "dev_roles",
                            role == ROLE_JOURNAL
                                ? "arrays with a journal can be served by "
                                  "the kernel only"
                                : "examine the leg with mdadm",
                            "slots below raid_disks, faulty or spare",
                            "0x%x for dev_number %" PRIu32, role, i);
    if (++seen[role] > 2)
      return format_refuse (error, "dev_roles", "examine the leg with mdadm",
                            "each slot once, or twice during a replacement",
                            "slot %u three times", role);
  }
  return 0;
}

/* Magic, version, max_dev and checksum: what makes it a superblock. */
static int
check_intact (const uint8_t *block, struct format_error *error)
{
  static const char damaged[] =
      "the superblock is damaged, and the leg counts as missing";
  const uint32_t version = get_le32 (block + OFF_MAJOR_VERSION);
  const uint32_t max_dev = get_le32 (block + OFF_MAX_DEV);
  const uint32_t csum = get_le32 (block + OFF_SB_CSUM);
  uint32_t sum;

  if (get_le32 (block + OFF_MAGIC) != SUPERBLOCK_MAGIC)
    return -ENOENT;
  if (version != 1)
    return format_refuse (error, "major_version",
                          "use the kernel, or a newer mdbitmap", "1",
                          "%" PRIu32, version);
  if (max_dev > SUPERBLOCK_MAX_DEV)
    return format_refuse (error, "max_dev", damaged, "at most 1920", "%" PRIu32,
                          max_dev);
  sum = superblock_1_checksum (block, max_dev);
  if (sum != csum) {
    int r = format_refuse (error, "sb_csum", damaged, "", "%" PRIx32, csum);

    snprintf (error->expected, sizeof error->expected, "%" PRIx32, sum);
    return r;
  }
  return 0;
}

int
superblock_1_decode (enum superblock_version version,
                     const uint8_t block[SUPERBLOCK_BYTES],
                     uint64_t leg_sectors, struct superblock *superblock,
                     bool *intact, struct format_error *error)
{
  const uint64_t sector = superblock_sector (version, leg_sectors);
  int r;

  *intact = false;
  r = check_intact (block, error);
  if (r < 0)
    return r;
  unpack (block, superblock);
  superblock->version = version;
  *intact = true;

  if (superblock->super_offset != sector || sector == UINT64_MAX)
    return format_refuse (error, "super_offset",
                          "this is a copy of another place of a leg, or the "
                          "leg was moved; examine it with mdadm",
                          "the sector where it was read",
                          "%" PRIu64 " at sector %" PRIu64,
                          superblock->super_offset, sector);
  r = check_features (superblock, error);
  if (r == 0)
    r = check_pads (superblock, error);
  if (r == 0)
    r = check_places (superblock, leg_sectors, error);
  if (r == 0)
    r = check_bad_block_log (superblock, error);
  if (r == 0)
    r = check_array (superblock, error);
  if (r == 0)
    r = check_state (superblock, error);
  if (r == 0)
    r = check_roles (superblock, error);
  return r;
}

/* A name that has not changed keeps the bytes behind its end as well. */
static void
pack_name (const char *name, uint8_t *block)
{
  const size_t length = strlen (name);

  assert (length <= NAME_BYTES);
  if (strncmp ((const char *)block, name, NAME_BYTES) == 0)
    return;
  memset (block, 0, NAME_BYTES);
  memcpy (block, name, length);
}

void
superblock_1_encode (const struct superblock *s,
                     uint8_t block[SUPERBLOCK_BYTES])
{
  assert (s->max_dev <= SUPERBLOCK_MAX_DEV);
  memmove (block, s->block, SUPERBLOCK_BYTES);
  put_le32 (block + OFF_MAGIC, SUPERBLOCK_MAGIC);
  put_le32 (block + OFF_MAJOR_VERSION, 1);
  put_le32 (block + OFF_FEATURE_MAP, s->feature_map);
  memcpy (block + OFF_SET_UUID, s->set_uuid, sizeof s->set_uuid);
  pack_name (s->set_name, block + OFF_SET_NAME);
  put_le64 (block + OFF_CTIME, s->ctime);
  put_le32 (block + OFF_LEVEL, (uint32_t)s->level);
  put_le32 (block + OFF_LAYOUT, s->layout);
  put_le64 (block + OFF_SIZE, s->size);
  put_le32 (block + OFF_CHUNKSIZE, s->chunksize);
  put_le32 (block + OFF_RAID_DISKS, s->raid_disks);
  put_le32 (block + OFF_BITMAP_OFFSET, (uint32_t)s->bitmap_offset);
  put_le64 (block + OFF_DATA_OFFSET, s->data_offset);
  put_le64 (block + OFF_DATA_SIZE, s->data_size);
  put_le64 (block + OFF_SUPER_OFFSET, s->super_offset);
  put_le64 (block + OFF_RECOVERY_OFFSET, s->recovery_offset);
  put_le32 (block + OFF_DEV_NUMBER, s->dev_number);
  put_le32 (block + OFF_CNT_CORRECTED_READ, s->cnt_corrected_read);
  memcpy (block + OFF_DEVICE_UUID, s->device_uuid, sizeof s->device_uuid);
  block[OFF_DEVFLAGS] = s->devflags;
  block[OFF_BBLOG_SHIFT] = s->bblog_shift;
  put_le16 (block + OFF_BBLOG_SIZE, s->bblog_size);
  put_le32 (block + OFF_BBLOG_OFFSET, (uint32_t)s->bblog_offset);
  put_le64 (block + OFF_UTIME, s->utime);
  put_le64 (block + OFF_EVENTS, s->events);
  put_le64 (block + OFF_RESYNC_OFFSET, s->resync_offset);
  put_le32 (block + OFF_MAX_DEV, s->max_dev);
  for (uint32_t i = 0; i < s->max_dev; ++i)
    put_le16 (block + OFF_DEV_ROLES + 2 * i, s->dev_roles[i]);
  put_le32 (block + OFF_SB_CSUM, superblock_1_checksum (block, s->max_dev));
}
