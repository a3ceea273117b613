/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Good legs of one array, as bytes, of each version of the metadata, and what
 * happens to arrays in a life.
 *
 * Nothing of lib/ is used to make them: a good leg that is refused is a
 * finding too.  Places are mdadm's: 0.90 with its bitmap 4 KiB behind the
 * superblock; 1.0 with bitmap and bad-block log below the superblock, data
 * first; 1.1 and 1.2 with all of them before the data.
 *
 * One thread, no lock.
 */

#include <config.h>

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz/assembly.h"

/* Little legs, with small chunks, a few large ones and many of the smallest;
 * and one whose bitmap has two pages.
 */
const struct shape shapes[SHAPES] = {
  { 512, 64, 4096 },
  { 576, 64, 65536 },
  { 1088, 64, 512 },
  { 31360, 128, 512 },
};

struct draft drafts[MEMORY_LEGS];

#define SECONDS 1700000000

/* ---- where things are ---- */

static uint64_t
sector_of (enum superblock_version version, uint64_t leg)
{
  switch (version) {
  case SUPERBLOCK_0_90:
    return (leg & ~UINT64_C (127)) - 128;
  case SUPERBLOCK_1_0:
    return (leg - 16) & ~UINT64_C (7);
  case SUPERBLOCK_1_1:
    return 0;
  default:
    return 8;
  }
}

/* There is always room for a page. */
static uint64_t
bitmap_room (const struct shape *shape)
{
  uint64_t chunks = (shape->leg - shape->data) * 512 / shape->chunk + 1;

  return round_up (256 + (chunks + 7) / 8, 4096) / 512;
}

/* Sectors that a leg of that many has for data. */
static uint64_t
data_size (const struct recipe *recipe, uint64_t leg)
{
  switch (recipe->version) {
  case SUPERBLOCK_0_90:
    return sector_of (SUPERBLOCK_0_90, leg);
  case SUPERBLOCK_1_0:
    return sector_of (SUPERBLOCK_1_0, leg) - 8 - bitmap_room (recipe->shape);
  default:
    return leg - recipe->shape->data;
  }
}

static uint64_t
array_size (const struct recipe *recipe)
{
  return data_size (recipe, recipe->shape->leg);
}

uint64_t
draft_chunks (const struct recipe *recipe)
{
  return div_up (array_size (recipe), recipe->shape->chunk / 512);
}

uint64_t
draft_bitmap_length (const struct recipe *recipe)
{
  return round_up (256 + (draft_chunks (recipe) + 7) / 8, 4096);
}

/* ---- good legs ---- */

static void
put_descriptor (uint8_t *p, unsigned dev, unsigned role)
{
  bool slot = role < ROLE_JOURNAL;

  memset (p, 0, SB9_DISK_BYTES);
  put_le (p + SB9_DISK_NUMBER, 4, dev);
  put_le (p + SB9_DISK_MAJOR, 4, 7);
  put_le (p + SB9_DISK_MINOR, 4, dev);
  put_le (p + SB9_DISK_RAID_DISK, 4, slot ? role : dev);
  put_le (p + SB9_DISK_STATE, 4, slot ? 6 : role == ROLE_FAULTY ? 1 : 0);
}

void
draft_set_role (struct draft *draft, unsigned dev, unsigned role)
{
  uint8_t *sb = draft->superblock;

  if (draft->version != SUPERBLOCK_0_90) {
    put_le (sb + SB_ROLES + 2 * dev, 2, role);
    return;
  }
  put_descriptor (sb + SB9_DISKS + SB9_DISK_BYTES * dev, dev, role);
  if (get_le (sb + SB9_THIS_DISK + SB9_DISK_NUMBER, 4) == dev)
    put_descriptor (sb + SB9_THIS_DISK, dev, role);
}

static void
draft_superblock_090 (const struct recipe *recipe, unsigned leg,
                      struct draft *draft)
{
  uint8_t *sb = draft->superblock;
  unsigned n = recipe->nlegs;

  put_le (sb, 4, SUPERBLOCK_MAGIC);
  put_le (sb + SB9_MINOR_VERSION, 4, 90);
  memset (sb + SB9_UUID0, 0xa5, 4);
  memset (sb + SB9_UUID1, 0xa5, 12);
  put_le (sb + SB9_CTIME, 4, SECONDS);
  put_le (sb + SB9_UTIME, 4, SECONDS);
  put_le (sb + SB9_LEVEL, 4, 1);
  put_le (sb + SB9_SIZE, 4, array_size (recipe) / 2);
  put_le (sb + SB9_NR_DISKS, 4, n);
  put_le (sb + SB9_RAID_DISKS, 4, n);
  put_le (sb + SB9_STATE, 4, recipe->bitmap ? 0x101 : 1);
  put_le (sb + SB9_ACTIVE_DISKS, 4, n);
  put_le (sb + SB9_WORKING_DISKS, 4, n);
  put_le (sb + SB9_EVENTS, 8, DRAFT_EVENTS);
  put_le (sb + SB9_CP_EVENTS, 8, DRAFT_EVENTS);
  put_le (sb + SB9_RECOVERY_CP, 4, UINT32_MAX);
  put_le (sb + SB9_THIS_DISK + SB9_DISK_NUMBER, 4, leg);
  for (unsigned i = 0; i < n; ++i)
    draft_set_role (draft, i, i);
}

static void
draft_superblock_1 (const struct recipe *recipe, unsigned leg, uint64_t sectors,
                    struct draft *draft)
{
  bool at_end = recipe->version == SUPERBLOCK_1_0;
  uint64_t room = bitmap_room (recipe->shape);
  uint8_t *sb = draft->superblock;

  put_le (sb, 4, SUPERBLOCK_MAGIC);
  put_le (sb + SB_MAJOR_VERSION, 4, 1);
  put_le (sb + SB_FEATURE_MAP, 4, recipe->bitmap ? 1 : 0);
  memset (sb + SB_SET_UUID, 0xa5, 16);
  memset (sb + SB_DEVICE_UUID, (int)leg + 1, 16);
  memcpy (sb + SB_SET_NAME, "fuzz", 4);
  put_le (sb + SB_CTIME, 8, SECONDS);
  put_le (sb + SB_UTIME, 8, SECONDS);
  put_le (sb + SB_LEVEL, 4, 1);
  put_le (sb + SB_SIZE, 8, array_size (recipe));
  put_le (sb + SB_RAID_DISKS, 4, recipe->nlegs);
  if (recipe->bitmap)
    put_le (sb + SB_BITMAP_OFFSET, 4, at_end ? -room - 8 : 8);
  put_le (sb + SB_DATA_OFFSET, 8, at_end ? 0 : recipe->shape->data);
  put_le (sb + SB_DATA_SIZE, 8, data_size (recipe, sectors));
  put_le (sb + SB_SUPER_OFFSET, 8, draft->sector);
  put_le (sb + SB_DEV_NUMBER, 4, leg);
  put_le (sb + SB_BBLOG_SIZE, 2, 8);
  put_le (sb + SB_BBLOG_OFFSET, 4, at_end ? UINT64_MAX - 7 : 8 + room);
  put_le (sb + SB_EVENTS, 8, DRAFT_EVENTS);
  put_le (sb + SB_RESYNC_OFFSET, 8, UINT64_MAX);
  put_le (sb + SB_MAX_DEV, 4, 128);
  memset (sb + SB_ROLES, 0xff, 2 * 128);
  for (unsigned i = 0; i < recipe->nlegs; ++i)
    draft_set_role (draft, i, i);
}

static void
draft_bitmap (const struct recipe *recipe, struct draft *draft)
{
  uint8_t *b = draft->bitmap;

  put_le (b + BM_MAGIC, 4, 0x6d746962);
  put_le (b + BM_VERSION, 4, 4);
  memset (b + BM_UUID, 0xa5, 16);
  put_le (b + BM_EVENTS, 8, DRAFT_EVENTS);
  put_le (b + BM_EVENTS_CLEARED, 8, DRAFT_EVENTS);
  put_le (b + BM_SYNC_SIZE, 8, array_size (recipe));
  put_le (b + BM_CHUNKSIZE, 4, recipe->shape->chunk);
  /* The clear thread does nothing by itself. */
  put_le (b + BM_DAEMON_SLEEP, 4, 3600);
}

static void
draft_leg (const struct recipe *recipe, unsigned leg, uint64_t sectors,
           struct draft *draft)
{
  memset (draft, 0, offsetof (struct draft, second));
  draft->version = recipe->version;
  draft->sector = sector_of (recipe->version, sectors);
  if (recipe->version == SUPERBLOCK_0_90)
    draft_superblock_090 (recipe, leg, draft);
  else
    draft_superblock_1 (recipe, leg, sectors, draft);
  draft->has_bitmap = recipe->bitmap;
  draft->bitmap_length = draft_bitmap_length (recipe);
  if (recipe->bitmap)
    draft_bitmap (recipe, draft);
}

void
draft_legs (const struct recipe *recipe)
{
  assert (draft_bitmap_length (recipe) <= DRAFT_BITMAP);
  memory_reset (recipe->shape->leg * 512);
  for (unsigned leg = 0; leg < recipe->nlegs; ++leg)
    draft_leg (recipe, leg, recipe->shape->leg, &drafts[leg]);
}

/* ---- stories ---- */

/* The role of a leg in all tables from the first one on. */
static void
all_say (const struct recipe *recipe, unsigned dev, unsigned role)
{
  for (unsigned i = 0; i < recipe->nlegs; ++i)
    draft_set_role (&drafts[i], dev, role);
}

static void
add_feature (struct draft *draft, unsigned feature)
{
  uint8_t *p = draft->superblock + SB_FEATURE_MAP;

  put_le (p, 4, get_le (p, 4) | feature);
}

static void
add_events (struct draft *draft, uint64_t n)
{
  uint8_t *p = draft->superblock
               + (draft->version == SUPERBLOCK_0_90 ? SB9_EVENTS : SB_EVENTS);

  put_le (p, 8, get_le (p, 8) + n);
  if (draft->version == SUPERBLOCK_0_90)
    put_le (draft->superblock + SB9_CP_EVENTS, 8, get_le (p, 8));
  if (draft->has_bitmap)
    put_le (draft->bitmap + BM_EVENTS, 8, get_le (p, 8));
}

static void
faulty (const struct recipe *recipe, unsigned leg, unsigned how)
{
  for (unsigned i = 0; i < recipe->nlegs; ++i)
    if (i != leg) {
      draft_set_role (&drafts[i], leg, ROLE_FAULTY);
      add_events (&drafts[i], how & 3);
    }
}

/* Entries of how many sectors each, in the array's data. */
static void
bad_blocks (const struct recipe *recipe, struct draft *draft, unsigned how)
{
  uint64_t first = get_le (draft->superblock + SB_DATA_OFFSET, 8);
  uint64_t size = array_size (recipe);

  if (draft->version == SUPERBLOCK_0_90)
    return;
  add_feature (draft, FEATURE_BAD_BLOCKS);
  draft->has_bad_log = true;
  memset (draft->bad_log, 0xff, sizeof draft->bad_log);
  for (unsigned i = 0; i <= (how & 3); ++i)
    put_le (draft->bad_log + 8 * i, 8,
            (first + (64 * i + how) % size) << 10 | (1 + how % 16));
}

/* Older, as old, or newer by a second. */
static void
second (const struct recipe *recipe, unsigned leg, unsigned how)
{
  static struct draft other;
  struct draft *draft = &drafts[leg];
  struct recipe left = *recipe;
  unsigned ctime;

  left.version =
      (enum superblock_version) ((recipe->version + 1 + how % 3) % 4);
  draft_leg (&left, leg, memory_size (leg) / 512, &other);
  ctime = left.version == SUPERBLOCK_0_90 ? SB9_CTIME : SB_CTIME;
  put_le (other.superblock + ctime, 4, SECONDS - 1 + (how >> 2 & 3));
  if (how & 16)
    other.superblock[SB_SET_UUID + 6] ^= 1;
  draft_fix (&other);
  draft->has_second = true;
  draft->second_version = other.version;
  draft->second_sector = other.sector;
  memcpy (draft->second, other.superblock, sizeof draft->second);
}

static void
dirty (const struct recipe *recipe, unsigned how)
{
  for (unsigned i = 0; i < recipe->nlegs; ++i) {
    uint8_t *sb = drafts[i].superblock;

    if (recipe->version == SUPERBLOCK_0_90) {
      sb[SB9_STATE] &= 0xfe;
      put_le (sb + SB9_RECOVERY_CP, 4, how);
      if (how == 0)
        put_le (sb + SB9_CP_EVENTS, 8, 0);
    }
    else
      put_le (sb + SB_RESYNC_OFFSET, 8, how);
    if (drafts[i].has_bitmap)
      drafts[i].bitmap[256 + how % 2] |= (uint8_t)(1 + how);
  }
}

static void
stranger (struct draft *draft)
{
  draft->superblock[draft->version == SUPERBLOCK_0_90 ? SB9_UUID1
                                                      : SB_SET_UUID + 4] ^= 1;
  draft->bitmap[BM_UUID + 4] ^= 1;
}

/* What only versions 1.x can say of a leg. */
static void
leg_story (const struct recipe *recipe, enum story story, unsigned leg,
           unsigned how)
{
  struct draft *draft = &drafts[leg];

  if (draft->version == SUPERBLOCK_0_90)
    return;
  switch (story) {
  case STORY_REPLACEMENT:
    add_feature (draft, FEATURE_REPLACEMENT);
    all_say (recipe, leg, how % recipe->nlegs);
    break;
  case STORY_RECOVERING:
    add_feature (draft, FEATURE_RECOVERY_OFFSET
                            | (how & 1 ? FEATURE_RECOVERY_BITMAP : 0));
    put_le (draft->superblock + SB_RECOVERY_OFFSET, 8, how & ~1u);
    break;
  case STORY_JOURNAL:
    if (how & 1)
      add_feature (draft, FEATURE_JOURNAL);
    all_say (recipe, leg, ROLE_JOURNAL);
    break;
  case STORY_BAD_BLOCKS:
    bad_blocks (recipe, draft, how);
    break;
  case STORY_WRITE_MOSTLY:
    draft->superblock[SB_DEVFLAGS] = how & 3;
    break;
  default:
    break;
  }
}

void
draft_story (const struct recipe *recipe, enum story story, unsigned leg,
             unsigned how)
{
  unsigned other = (leg + 1) % recipe->nlegs;

  switch (story) {
  case STORY_SPARE:
    all_say (recipe, leg, ROLE_SPARE);
    break;
  case STORY_FAULTY:
    faulty (recipe, leg, how);
    break;
  case STORY_SPLIT:
    draft_set_role (&drafts[leg], other, ROLE_FAULTY);
    draft_set_role (&drafts[other], leg, ROLE_FAULTY);
    add_events (&drafts[leg], how & 3);
    add_events (&drafts[other], how >> 2 & 3);
    break;
  case STORY_STALE:
    add_events (&drafts[leg], -(uint64_t)(how & 7));
    break;
  case STORY_SECOND:
    second (recipe, leg, how);
    break;
  case STORY_LARGER:
    memory_resize (leg, (recipe->shape->leg + how) * 512);
    draft_leg (recipe, leg, recipe->shape->leg + how, &drafts[leg]);
    break;
  case STORY_DIRTY:
    dirty (recipe, how);
    break;
  case STORY_MISSING:
    all_say (recipe, leg,
             recipe->version == SUPERBLOCK_0_90 ? ROLE_FAULTY : ROLE_SPARE);
    memory_traits (leg)->missing = true;
    break;
  case STORY_STRANGER:
    stranger (&drafts[leg]);
    break;
  case STORY_COPY:
    drafts[leg] = drafts[other];
    break;
  case STORY_OTHER_TABLE:
    draft_set_role (&drafts[leg], leg, other);
    draft_set_role (&drafts[leg], other, leg);
    break;
  default:
    leg_story (recipe, story, leg, how);
    break;
  }
}

/* ---- to the legs ---- */

void
draft_fix (struct draft *draft)
{
  if (draft->version == SUPERBLOCK_0_90)
    fix_checksum_090 (draft->superblock);
  else
    fix_checksum (draft->superblock);
}

/* As much of it as the leg has room for. */
static void
put (unsigned leg, int64_t sector, const uint8_t *data, uint64_t n)
{
  uint64_t size = memory_size (leg), at = (uint64_t)sector * 512;

  if (sector >= 0 && at < size)
    memory_store (leg, at, data, min_u64 (n, size - at));
}

/* Bitmap and log are where the superblock says by now. */
void
draft_store (unsigned leg)
{
  const struct draft *draft = &drafts[leg];
  const uint8_t *sb = draft->superblock;
  int64_t bitmap = 8, log = (int32_t)get_le (sb + SB_BBLOG_OFFSET, 4);

  if (draft->version != SUPERBLOCK_0_90)
    bitmap = (int32_t)get_le (sb + SB_BITMAP_OFFSET, 4);
  if (draft->has_bad_log)
    put (leg, (int64_t)draft->sector + log, draft->bad_log, 4096);
  if (draft->has_second)
    put (leg, (int64_t)draft->second_sector, draft->second, 4096);
  if (draft->has_bitmap)
    put (leg, (int64_t)draft->sector + bitmap, draft->bitmap,
         draft->bitmap_length);
  put (leg, (int64_t)draft->sector, sb, 4096);
}
