/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The md superblock, version 0.90.
 *
 * Pure: no I/O, no allocation, no state.  What always holds:
 *  1. decode accepts only what every rule below allows.  What md itself
 *     ignores is ignored here as well: patch_version, gvalid_words, the times,
 *     md_minor, the counts of disks, cp_events and recovery_cp of a clean
 *     array, words for reshapes (no minor version 91), root_pv and root_block,
 *     whatever is reserved, major and minor numbers of devices, and of
 *     this_disk all but the number.
 *  2. decode and then encode gives the same bytes.  Descriptors change only
 *     where a role has changed, and then all counts with them.
 *  3. A descriptor is looked at only below SUPERBLOCK_090_MAX_DEV.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "format/superblock_090.h"

/* Where the words are. */
enum {
  OFF_MAGIC = 0,
  OFF_MAJOR_VERSION = 4,
  OFF_MINOR_VERSION = 8,
  OFF_SET_UUID0 = 20,
  OFF_CTIME = 24,
  OFF_LEVEL = 28,
  OFF_SIZE = 32,
  OFF_NR_DISKS = 36,
  OFF_RAID_DISKS = 40,
  OFF_MD_MINOR = 44,
  OFF_NOT_PERSISTENT = 48,
  OFF_SET_UUID1 = 52, /* and two more */
  OFF_UTIME = 128,
  OFF_STATE = 132,
  OFF_ACTIVE_DISKS = 136,
  OFF_WORKING_DISKS = 140,
  OFF_FAILED_DISKS = 144,
  OFF_SPARE_DISKS = 148,
  OFF_SB_CSUM = 152,
  OFF_EVENTS = 156, /* low and high, which is 64 bits little-endian */
  OFF_CP_EVENTS = 164,
  OFF_RECOVERY_CP = 172,
  OFF_LAYOUT = 256,
  OFF_CHUNK_SIZE = 260,
  OFF_DISKS = 512,
  OFF_THIS_DISK = 3968,
};

/* A descriptor. */
enum {
  DISK_NUMBER = 0,
  DISK_MAJOR = 4,
  DISK_MINOR = 8,
  DISK_RAID_DISK = 12,
  DISK_STATE = 16,
  DISK_BYTES = 128,
};

static_assert (OFF_DISKS + SUPERBLOCK_090_MAX_DEV * DISK_BYTES == OFF_THIS_DISK,
               "the descriptors fill the room before this_disk");
static_assert (OFF_THIS_DISK + DISK_BYTES == SUPERBLOCK_BYTES,
               "this_disk is the last");

enum {
  STATE_CLEAN = 1 << 0,
  STATE_ERRORS = 1 << 1,
  STATE_BITMAP_PRESENT = 1 << 8,
};
#define STATES_KNOWN (STATE_CLEAN | STATE_ERRORS | STATE_BITMAP_PRESENT)

enum {
  DISK_FAULTY = 1 << 0,
  DISK_ACTIVE = 1 << 1,
  DISK_SYNC = 1 << 2,
  DISK_REMOVED = 1 << 3,
  DISK_WRITE_MOSTLY = 1 << 9,
  DISK_FAILFAST = 1 << 10,
};
#define DISK_FLAGS (DISK_WRITE_MOSTLY | DISK_FAILFAST)
#define DISK_STATES_KNOWN \
  (DISK_FAULTY | DISK_ACTIVE | DISK_SYNC | DISK_REMOVED | DISK_FLAGS)

/* Of an array that nobody has given a minor number, as mdadm does. */
#define MD_MINOR_NONE 127
/* Minor numbers of devices that have none.  3 would be a bad choice: a device
 * that is lost goes from 0:3 and state 6 to 0:0 and state 9, which leaves the
 * checksum as it is, so that a superblock torn there would look intact.
 */
#define MINOR_FIRST 0x100

static const char examine[] = "examine the leg with mdadm";
static const char newer[] =
    "a newer md wrote this leg: use the kernel, or a newer mdbitmap";

uint32_t
superblock_090_checksum (const uint8_t *block)
{
  uint64_t sum = 0;

  for (unsigned i = 0; i < SUPERBLOCK_BYTES; i += 4)
    if (i != OFF_SB_CSUM)
      sum += get_le32 (block + i);
  return (uint32_t)sum + (uint32_t)(sum >> 32);
}

/* Some machines have stored other sums, which are equal to ours in these 16
 * bits.  md compares no more than that.
 */
static uint32_t
fold (uint32_t sum)
{
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

static bool
checksum_matches (const uint8_t *block)
{
  return fold (get_le32 (block + OFF_SB_CSUM))
         == fold (superblock_090_checksum (block));
}

/* ---- descriptors ---- */

static const uint8_t *
disk_of (const uint8_t *block, uint32_t number)
{
  assert (number < SUPERBLOCK_090_MAX_DEV);
  return block + OFF_DISKS + number * DISK_BYTES;
}

static bool
disk_in_slot (const uint8_t *disk)
{
  const uint32_t in_slot = DISK_ACTIVE | DISK_SYNC;
  const uint32_t state = get_le32 (disk + DISK_STATE);

  return (state & (in_slot | DISK_FAULTY | DISK_REMOVED)) == in_slot;
}

/* Something is there; it may be a spare, whose state is 0. */
static bool
disk_used (const uint8_t *disk)
{
  return !bytes_are_zero (disk, DISK_STATE + 4);
}

static uint16_t
disk_role (const uint8_t *disk)
{
  if (get_le32 (disk + DISK_STATE) & (DISK_FAULTY | DISK_REMOVED))
    return ROLE_FAULTY;
  if (!disk_in_slot (disk))
    return ROLE_SPARE;
  return (uint16_t)min_u64 (get_le32 (disk + DISK_RAID_DISK), ROLE_LAST);
}

static uint8_t
disk_flags (const uint8_t *disk)
{
  const uint32_t state = get_le32 (disk + DISK_STATE);

  return (state & DISK_WRITE_MOSTLY ? DEV_FLAG_WRITE_MOSTLY : 0)
         | (state & DISK_FAILFAST ? DEV_FLAG_FAILFAST : 0);
}

/* ---- decode ---- */

static uint64_t
unpack_resync_offset (const uint8_t *block)
{
  if (get_le32 (block + OFF_STATE) & STATE_CLEAN)
    return RESYNC_CLEAN;
  if (get_le64 (block + OFF_CP_EVENTS) == get_le64 (block + OFF_EVENTS))
    return get_le32 (block + OFF_RECOVERY_CP);
  return 0;
}

static void
unpack (const uint8_t *block, uint64_t sector, struct superblock *s)
{
  memset (s, 0, sizeof *s);
  memcpy (s->block, block, SUPERBLOCK_BYTES);
  s->version = SUPERBLOCK_0_90;
  if (get_le32 (block + OFF_STATE) & STATE_BITMAP_PRESENT) {
    s->feature_map = FEATURE_BITMAP_OFFSET;
    s->bitmap_offset = SUPERBLOCK_090_BITMAP_OFFSET;
  }
  memcpy (s->set_uuid, block + OFF_SET_UUID0, 4);
  memcpy (s->set_uuid + 4, block + OFF_SET_UUID1, 12);
  s->ctime = get_le32 (block + OFF_CTIME);
  s->level = (int32_t)get_le32 (block + OFF_LEVEL);
  s->layout = get_le32 (block + OFF_LAYOUT);
  s->size = (uint64_t)get_le32 (block + OFF_SIZE) * (KiB / SECTOR_SIZE);
  s->chunksize = get_le32 (block + OFF_CHUNK_SIZE) / SECTOR_SIZE;
  s->raid_disks = get_le32 (block + OFF_RAID_DISKS);
  s->data_size = sector;
  s->super_offset = sector;
  s->dev_number = get_le32 (block + OFF_THIS_DISK + DISK_NUMBER);
  s->utime = get_le32 (block + OFF_UTIME);
  s->events = get_le64 (block + OFF_EVENTS);
  s->resync_offset = unpack_resync_offset (block);
  s->max_dev = SUPERBLOCK_090_MAX_DEV;
  static_assert (ROLE_SPARE == 0xffff, "memset makes spares");
  memset (s->dev_roles, 0xff, sizeof s->dev_roles);
  for (uint32_t i = 0; i < SUPERBLOCK_090_MAX_DEV; ++i)
    s->dev_roles[i] = disk_role (disk_of (block, i));
  if (s->dev_number < SUPERBLOCK_090_MAX_DEV)
    s->devflags = disk_flags (disk_of (block, s->dev_number));
}

/* Magic, version and checksum: what makes it a superblock. */
static int
check_intact (const uint8_t *block, struct format_error *error)
{
  const uint32_t magic = get_le32 (block + OFF_MAGIC);
  const uint32_t major = get_le32 (block + OFF_MAJOR_VERSION);
  const uint32_t minor = get_le32 (block + OFF_MINOR_VERSION);

  if (magic == __builtin_bswap32 (SUPERBLOCK_MAGIC))
    return format_refuse (error, "magic",
                          "a big-endian machine made this array: use one, or "
                          "mdadm --assemble --update=byteorder",
                          "a92b4efc, little-endian", "a92b4efc, big-endian");
  if (magic != SUPERBLOCK_MAGIC)
    return -ENOENT;
  if (major != 0)
    return format_refuse (error, "major_version", examine, "0", "%" PRIu32,
                          major);
  if (minor != 90 && minor != 91)
    return format_refuse (error, "minor_version", newer, "90", "%" PRIu32,
                          minor);
  if (!checksum_matches (block)) {
    int r = format_refuse (
        error, "sb_csum",
        "the superblock is damaged, and the leg counts as missing", "",
        "%" PRIx32, get_le32 (block + OFF_SB_CSUM));

    snprintf (error->expected, sizeof error->expected, "%" PRIx32,
              superblock_090_checksum (block));
    return r;
  }
  return 0;
}

/* What the array is. */
static int
check_array (const struct superblock *s, struct format_error *error)
{
  const uint32_t minor = get_le32 (s->block + OFF_MINOR_VERSION);
  const uint32_t not_persistent = get_le32 (s->block + OFF_NOT_PERSISTENT);
  const uint32_t chunk_size = get_le32 (s->block + OFF_CHUNK_SIZE);

  if (minor != 90)
    return format_refuse (
        error, "minor_version",
        "assemble the array with mdadm and let the reshape finish", "90",
        "%" PRIu32 " (reshape)", minor);
  if (s->level != 1)
    return format_refuse (error, "level", "only RAID1 arrays can be served",
                          "1", "%" PRId32, s->level);
  if (s->layout != 0)
    return format_refuse (error, "layout", examine, "0", "%" PRIu32, s->layout);
  if (chunk_size != 0)
    return format_refuse (error, "chunk_size", examine, "0", "%" PRIu32,
                          chunk_size);
  if (s->raid_disks < 1 || s->raid_disks > SUPERBLOCK_090_MAX_DEV)
    return format_refuse (error, "raid_disks", examine, "1 to 27", "%" PRIu32,
                          s->raid_disks);
  if (not_persistent != 0)
    return format_refuse (error, "not_persistent", examine, "0", "%" PRIu32,
                          not_persistent);
  if (s->super_offset == UINT64_MAX || s->size < 1 || s->size > s->super_offset)
    return format_refuse (
        error, "size",
        "is the leg whole?  mdadm --examine tells what it should be",
        "1 to the KiB before the superblock", "%" PRIu64,
        s->size / (KiB / SECTOR_SIZE));
  return 0;
}

static int
check_state (const struct superblock *s, struct format_error *error)
{
  const uint32_t state = get_le32 (s->block + OFF_STATE);

  if (state & ~(uint32_t)STATES_KNOWN)
    return format_refuse (error, "state", newer,
                          "none but 0x1 (clean), 0x2 (errors) and 0x100 "
                          "(bitmap)",
                          "0x%" PRIx32, state);
  /* Counting up must never wrap; no array gets that old. */
  if (s->events > INT64_MAX)
    return format_refuse (error, "events", examine, "less than 2^63",
                          "%" PRIu64, s->events);
  if (s->resync_offset > s->size && s->resync_offset != RESYNC_CLEAN)
    return format_refuse (error, "recovery_cp", examine, "0 to size",
                          "%" PRIu64 " sectors", s->resync_offset);
  return 0;
}

/* A descriptor is faulty, removed, in sync or a spare.  md calls a leg a spare
 * that is active but not in sync (it was being rebuilt), and believes that
 * one is in sync that is not active; nobody writes that.
 */
static int
check_disks (const struct superblock *s, struct format_error *error)
{
  uint32_t seen = 0;

  for (uint32_t i = 0; i < SUPERBLOCK_090_MAX_DEV; ++i) {
    const uint8_t *disk = disk_of (s->block, i);
    const uint32_t state = get_le32 (disk + DISK_STATE);
    const uint32_t slot = get_le32 (disk + DISK_RAID_DISK);

    if (state & ~(uint32_t)DISK_STATES_KNOWN)
      return format_refuse (error, "disks.state", newer,
                            "none but 0xf, 0x200 and 0x400",
                            "0x%" PRIx32 " of number %" PRIu32, state, i);
    if (state & DISK_FAULTY || !(state & DISK_SYNC))
      continue;
    if (!disk_in_slot (disk))
      return format_refuse (error, "disks.state", examine,
                            "in sync only if active and not removed",
                            "0x%" PRIx32 " of number %" PRIu32, state, i);
    if (slot >= s->raid_disks)
      return format_refuse (error, "disks.raid_disk", examine,
                            "slots below raid_disks",
                            "%" PRIu32 " of number %" PRIu32, slot, i);
    if (seen & (uint32_t)1 << slot)
      return format_refuse (error, "disks.raid_disk", examine, "each slot once",
                            "slot %" PRIu32 " twice", slot);
    seen |= (uint32_t)1 << slot;
    /* Of all legs, since one table becomes that of all. */
    if (get_le32 (disk + DISK_NUMBER) != i)
      return format_refuse (error, "disks.number", examine,
                            "its place in the table", "%" PRIu32 " at %" PRIu32,
                            get_le32 (disk + DISK_NUMBER), i);
  }
  return 0;
}

/* Which descriptor is that of this leg.  It is the one that counts; this_disk
 * is a copy, in which md looks at the number only.  If they are not even about
 * the same slot, though, one of them is somebody else's.
 */
static int
check_this_disk (const struct superblock *s, struct format_error *error)
{
  const uint8_t *this_disk = s->block + OFF_THIS_DISK;
  const uint8_t *disk;

  if (s->dev_number >= SUPERBLOCK_090_MAX_DEV)
    return format_refuse (error, "this_disk.number", examine, "0 to 26",
                          "%" PRIu32, s->dev_number);
  disk = disk_of (s->block, s->dev_number);
  if (!disk_in_slot (disk))
    return 0;
  if (get_le32 (this_disk + DISK_RAID_DISK) != get_le32 (disk + DISK_RAID_DISK))
    return format_refuse (error, "this_disk.raid_disk", examine,
                          "the slot that the table gives to its number",
                          "%" PRIu32 ", and %" PRIu32 " in the table",
                          get_le32 (this_disk + DISK_RAID_DISK),
                          get_le32 (disk + DISK_RAID_DISK));
  return 0;
}

int
superblock_090_decode (const uint8_t block[SUPERBLOCK_BYTES],
                       uint64_t leg_sectors, struct superblock *superblock,
                       bool *intact, struct format_error *error)
{
  int r;

  *intact = false;
  r = check_intact (block, error);
  if (r < 0)
    return r;
  unpack (block, superblock_sector (SUPERBLOCK_0_90, leg_sectors), superblock);
  *intact = true;

  r = check_array (superblock, error);
  if (r == 0)
    r = check_state (superblock, error);
  if (r == 0)
    r = check_disks (superblock, error);
  if (r == 0)
    r = check_this_disk (superblock, error);
  return r;
}

/* ---- encode ---- */

static void
put_disk (uint8_t *disk, uint32_t number, uint32_t slot, uint32_t state)
{
  put_le32 (disk + DISK_NUMBER, number);
  put_le32 (disk + DISK_RAID_DISK, slot);
  put_le32 (disk + DISK_STATE, state);
}

/* A slot without a leg, as md leaves it. */
static void
put_missing (uint8_t *disk, uint32_t slot)
{
  memset (disk, 0, DISK_BYTES);
  put_disk (disk, slot, slot, DISK_REMOVED | DISK_FAULTY);
}

/* Numbers below raid_disks belong to slots: they are in use or missing. */
static void
put_role (uint8_t *disk, uint32_t number, uint16_t role, uint32_t raid_disks)
{
  const uint32_t flags = get_le32 (disk + DISK_STATE) & DISK_FLAGS;

  if (role <= ROLE_LAST) {
    /* Device numbers tell md nothing, but 0:0 looks like no device. */
    if (get_le32 (disk + DISK_MAJOR) == 0 && get_le32 (disk + DISK_MINOR) == 0)
      put_le32 (disk + DISK_MINOR, MINOR_FIRST + number);
    put_disk (disk, number, role, DISK_ACTIVE | DISK_SYNC | flags);
  }
  else if (number < raid_disks)
    put_missing (disk, number);
  else
    put_disk (disk, number, number,
              role == ROLE_FAULTY ? DISK_FAULTY | flags : flags);
}

/* As md counts: what is attached, what works, and slots without a leg. */
static void
put_counts (uint8_t *block)
{
  uint32_t attached = 0, active = 0, spare = 0, missing = 0;

  for (uint32_t i = 0; i < SUPERBLOCK_090_MAX_DEV; ++i) {
    const uint8_t *disk = disk_of (block, i);

    if (get_le32 (disk + DISK_STATE) & DISK_REMOVED)
      missing++;
    else if (disk_used (disk)) {
      attached++;
      active += disk_in_slot (disk);
      spare += disk_role (disk) == ROLE_SPARE;
    }
  }
  put_le32 (block + OFF_NR_DISKS, attached);
  put_le32 (block + OFF_ACTIVE_DISKS, active);
  put_le32 (block + OFF_WORKING_DISKS, active + spare);
  put_le32 (block + OFF_FAILED_DISKS, missing);
  put_le32 (block + OFF_SPARE_DISKS, spare);
}

static void
put_flags (uint8_t *disk, uint8_t flags)
{
  uint32_t state = get_le32 (disk + DISK_STATE) & ~(uint32_t)DISK_FLAGS;

  if (flags & DEV_FLAG_WRITE_MOSTLY)
    state |= DISK_WRITE_MOSTLY;
  if (flags & DEV_FLAG_FAILFAST)
    state |= DISK_FAILFAST;
  put_le32 (disk + DISK_STATE, state);
}

static void
pack_disks (const struct superblock *s, uint8_t *block, bool create)
{
  bool changed = create;

  for (uint32_t i = 0; i < SUPERBLOCK_090_MAX_DEV; ++i) {
    uint8_t *disk = block + OFF_DISKS + i * DISK_BYTES;

    if (s->dev_roles[i] == disk_role (disk) && !(create && i < s->raid_disks))
      continue;
    put_role (disk, i, s->dev_roles[i], s->raid_disks);
    changed = true;
  }
  if (changed)
    put_counts (block);
  if (s->dev_number < SUPERBLOCK_090_MAX_DEV) {
    uint8_t *disk = block + OFF_DISKS + s->dev_number * DISK_BYTES;

    if (s->devflags != disk_flags (disk)) {
      put_flags (disk, s->devflags);
      changed = true;
    }
    if (changed
        || get_le32 (block + OFF_THIS_DISK + DISK_NUMBER) != s->dev_number)
      memcpy (block + OFF_THIS_DISK, disk, DISK_BYTES);
  }
  put_le32 (block + OFF_THIS_DISK + DISK_NUMBER, s->dev_number);
}

/* As md: cp_events says whether recovery_cp means anything, and while the
 * array is not clean both are 0.
 */
static void
pack_resync_offset (const struct superblock *s, uint8_t *block)
{
  const bool same = s->resync_offset == unpack_resync_offset (block)
                    && s->events == get_le64 (block + OFF_EVENTS);
  uint32_t state = get_le32 (block + OFF_STATE) & ~(uint32_t)STATE_CLEAN;

  put_le64 (block + OFF_EVENTS, s->events);
  if (same)
    return;
  if (s->resync_offset == RESYNC_CLEAN) {
    put_le32 (block + OFF_STATE, state | STATE_CLEAN);
    put_le64 (block + OFF_CP_EVENTS, s->events);
    put_le32 (block + OFF_RECOVERY_CP, UINT32_MAX);
    return;
  }
  put_le32 (block + OFF_STATE, state);
  put_le64 (block + OFF_CP_EVENTS, s->resync_offset != 0 ? s->events : 0);
  put_le32 (block + OFF_RECOVERY_CP,
            (uint32_t)min_u64 (s->resync_offset, UINT32_MAX - 1));
}

/* Of an array that is being made. */
static void
pack_new (uint8_t *block)
{
  memset (block, 0, SUPERBLOCK_BYTES);
  put_le32 (block + OFF_MAGIC, SUPERBLOCK_MAGIC);
  put_le32 (block + OFF_MINOR_VERSION, 90);
  put_le32 (block + OFF_MD_MINOR, MD_MINOR_NONE);
}

void
superblock_090_encode (const struct superblock *s,
                       uint8_t block[SUPERBLOCK_BYTES])
{
  const bool create = get_le32 (s->block + OFF_MAGIC) != SUPERBLOCK_MAGIC;
  uint32_t csum = get_le32 (s->block + OFF_SB_CSUM), state;

  memmove (block, s->block, SUPERBLOCK_BYTES);
  if (create)
    pack_new (block);
  pack_resync_offset (s, block);
  state = get_le32 (block + OFF_STATE) & ~(uint32_t)STATE_BITMAP_PRESENT;
  if (s->feature_map & FEATURE_BITMAP_OFFSET)
    state |= STATE_BITMAP_PRESENT;
  put_le32 (block + OFF_STATE, state);
  memcpy (block + OFF_SET_UUID0, s->set_uuid, 4);
  memcpy (block + OFF_SET_UUID1, s->set_uuid + 4, 12);
  put_le32 (block + OFF_CTIME, (uint32_t)s->ctime);
  put_le32 (block + OFF_UTIME, (uint32_t)s->utime);
  put_le32 (block + OFF_LEVEL, (uint32_t)s->level);
  put_le32 (block + OFF_LAYOUT, s->layout);
  put_le32 (block + OFF_SIZE, (uint32_t)(s->size / (KiB / SECTOR_SIZE)));
  if (s->chunksize != get_le32 (block + OFF_CHUNK_SIZE) / SECTOR_SIZE)
    put_le32 (block + OFF_CHUNK_SIZE, s->chunksize * SECTOR_SIZE);
  put_le32 (block + OFF_RAID_DISKS, s->raid_disks);
  pack_disks (s, block, create);
  /* A sum that md accepts stays if nothing has changed. */
  put_le32 (block + OFF_SB_CSUM, csum);
  if (create || !checksum_matches (block)
      || memcmp (block, s->block, SUPERBLOCK_BYTES) != 0)
    put_le32 (block + OFF_SB_CSUM, superblock_090_checksum (block));
}

void
superblock_090_adopt_roles (struct superblock *superblock,
                            const struct superblock *table)
{
  uint8_t *block = superblock->block;

  memcpy (block + OFF_DISKS, table->block + OFF_DISKS,
          SUPERBLOCK_090_MAX_DEV * DISK_BYTES);
  memcpy (block + OFF_NR_DISKS, table->block + OFF_NR_DISKS, 4);
  memcpy (block + OFF_ACTIVE_DISKS, table->block + OFF_ACTIVE_DISKS, 16);
  /* Encoding puts the leg's own flags there. */
  if (superblock->dev_number < SUPERBLOCK_090_MAX_DEV)
    memcpy (block + OFF_THIS_DISK, disk_of (block, superblock->dev_number),
            DISK_BYTES);
}
