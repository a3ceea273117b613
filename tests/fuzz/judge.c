/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Another opinion about an array that was assembled, from the bytes of its
 * legs alone: rules of reliability in a few lines, with nothing of lib/format
 * or lib/array but which legs it took to be in sync.
 *
 * One thread, no locks: the array's own threads do not exist yet, or do not
 * exist any more.
 */

#include <config.h>

#include <string.h>

#include "array/internal.h"
#include "fuzz/assembly.h"

#define BITS_MAX (64 * 1024) /* bytes of a bitmap in these tests */

/* An array without a bitmap has one in memory, with chunks that large. */
#define NO_BITMAP_CHUNK (64 * 1024 * 1024)

/* An in-sync leg, as its bytes say; offsets and lengths in bytes. */
struct view {
  const struct leg *leg;
  unsigned memory; /* its number in memory.h */
  enum superblock_version version;
  const uint8_t *uuid; /* in four pieces with 0.90, which is no matter */
  uint8_t uuid_090[16];
  uint64_t size, raid_disks, events, dev, max_dev, resync_offset;
  unsigned features; /* as versions 1.x say it */
  uint64_t super, data;
  int64_t bitmap; /* -1: none */
  uint8_t superblock[4096];
  uint8_t header[256];
};

static struct view views[MEMORY_LEGS];
static unsigned nviews;

static uint64_t
sb (const struct view *view, unsigned field, unsigned width)
{
  return get_le (view->superblock + field, width);
}

static unsigned
memory_number (const struct array_options *options, unsigned i)
{
  unsigned leg = 0;

  while (options->legs[i] != memory_names[leg])
    leg++;
  return leg;
}

/* ---- reading a leg ---- */

static uint64_t
super_byte (enum superblock_version version, uint64_t size)
{
  uint64_t sectors = size / 512;

  switch (version) {
  case SUPERBLOCK_0_90:
    return ((sectors & ~UINT64_C (127)) - 128) * 512;
  case SUPERBLOCK_1_0:
    return ((sectors - 16) & ~UINT64_C (7)) * 512;
  case SUPERBLOCK_1_1:
    return 0;
  default:
    return 4096;
  }
}

static void
view_1 (struct view *view)
{
  int64_t super = (int64_t)view->super;

  view->uuid = view->superblock + SB_SET_UUID;
  view->size = sb (view, SB_SIZE, 8) * 512;
  view->raid_disks = sb (view, SB_RAID_DISKS, 4);
  view->events = sb (view, SB_EVENTS, 8);
  view->dev = sb (view, SB_DEV_NUMBER, 4);
  view->max_dev = sb (view, SB_MAX_DEV, 4);
  view->resync_offset = sb (view, SB_RESYNC_OFFSET, 8);
  view->features = (unsigned)sb (view, SB_FEATURE_MAP, 4);
  view->data = sb (view, SB_DATA_OFFSET, 8) * 512;
  view->bitmap =
      super + (int32_t)sb (view, SB_BITMAP_OFFSET, 4) * INT64_C (512);
  REQUIRE (sb (view, SB_SUPER_OFFSET, 8) * 512 == view->super,
           "it says that it is elsewhere");
}

static void
view_090 (struct view *view)
{
  unsigned state = (unsigned)sb (view, SB9_STATE, 4);
  bool checkpoint = sb (view, SB9_CP_EVENTS, 8) == sb (view, SB9_EVENTS, 8);

  memcpy (view->uuid_090, view->superblock + SB9_UUID0, 4);
  memcpy (view->uuid_090 + 4, view->superblock + SB9_UUID1, 12);
  view->uuid = view->uuid_090;
  view->size = sb (view, SB9_SIZE, 4) * 1024;
  view->raid_disks = sb (view, SB9_RAID_DISKS, 4);
  view->events = sb (view, SB9_EVENTS, 8);
  view->dev = sb (view, SB9_THIS_DISK + SB9_DISK_NUMBER, 4);
  view->max_dev = SB9_MAX_DEV;
  view->resync_offset = state & 1    ? UINT64_MAX
                        : checkpoint ? sb (view, SB9_RECOVERY_CP, 4)
                                     : 0;
  view->features = state & 0x100 ? FEATURE_BITMAP_OFFSET : 0;
  view->data = 0;
  view->bitmap = (int64_t)view->super + 4096;
}

/* As much of a checksum as md compares with version 0.90. */
static uint64_t
fold16 (uint64_t sum)
{
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

/* The checksum is right, and it is the version that it is taken for. */
static void
check_itself (const struct view *view)
{
  uint64_t major = sb (view, SB_MAJOR_VERSION, 4);

  REQUIRE (sb (view, 0, 4) == 0xa92b4efc, "no magic");
  if (view->version == SUPERBLOCK_0_90)
    REQUIRE (major == 0 && sb (view, SB9_MINOR_VERSION, 4) == 90
                 && fold16 (sb (view, SB9_CSUM, 4))
                        == fold16 (checksum_090 (view->superblock)),
             "not intact");
  else
    REQUIRE (major == 1 && sb (view, SB_MAX_DEV, 4) <= 1920
                 && sb (view, SB_CSUM, 4) == checksum_1 (view->superblock),
             "not intact");
}

static void
look_at (struct view *view)
{
  view->super = super_byte (view->version, memory_size (view->memory));
  memory_load (view->memory, view->super, view->superblock, 4096);
  check_itself (view);
  if (view->version == SUPERBLOCK_0_90)
    view_090 (view);
  else
    view_1 (view);
  if (!(view->features & FEATURE_BITMAP_OFFSET)) {
    view->bitmap = -1;
    return;
  }
  REQUIRE (view->bitmap >= 0, "a bitmap before the leg");
  memory_load (view->memory, (uint64_t)view->bitmap, view->header,
               sizeof view->header);
}

static void
look (struct array *array, const struct array_options *options)
{
  nviews = 0;
  for (unsigned i = 0; i < options->nlegs; ++i) {
    struct view *view = &views[nviews];

    if (array->legs[i].state != LEG_IN_SYNC)
      continue;
    view->leg = &array->legs[i];
    view->memory = memory_number (options, i);
    view->version = array->legs[i].superblock->version;
    look_at (view);
    nviews++;
  }
}

/* ---- legs ---- */

/* What the leg's table says of a device. */
static unsigned
role_of (const struct view *view, uint64_t dev)
{
  const uint8_t *p;
  unsigned state;

  if (dev >= view->max_dev)
    return ROLE_SPARE;
  if (view->version != SUPERBLOCK_0_90)
    return (unsigned)sb (view, SB_ROLES + 2 * (unsigned)dev, 2);
  p = view->superblock + SB9_DISKS + SB9_DISK_BYTES * dev;
  state = (unsigned)get_le (p + SB9_DISK_STATE, 4);
  if (state & 9)
    return ROLE_FAULTY;
  if ((state & 6) == 6)
    return (unsigned)get_le (p + SB9_DISK_RAID_DISK, 4);
  return ROLE_SPARE;
}

/* Each leg by itself and beside the others: one array, each slot once, at
 * most one event apart, none that is recovering, a replacement, or called
 * faulty.
 */
static void
check_pair (const struct view *a, const struct view *b)
{
  REQUIRE (a->version == b->version, "two versions");
  REQUIRE (memcmp (a->uuid, b->uuid, 16) == 0, "legs of two arrays");
  REQUIRE (a->size == b->size, "two sizes");
  REQUIRE (a->raid_disks == b->raid_disks, "two numbers of slots");
  REQUIRE (a->events + 1 >= b->events, "stale");
  REQUIRE (!(a->features & FEATURE_RECOVERY_OFFSET), "recovering");
  REQUIRE (!(a->features & FEATURE_REPLACEMENT), "a replacement");
  REQUIRE (b->dev < a->max_dev || a->events < b->events, "not in a table");
  REQUIRE (role_of (a, b->dev) != ROLE_FAULTY,
           "a leg in sync calls another one faulty");
  REQUIRE (a == b || a->leg->slot != b->leg->slot, "a slot twice");
  REQUIRE (a == b || a->dev != b->dev, "a device twice");
}

static void
check_legs (void)
{
  for (unsigned i = 0; i < nviews; ++i)
    for (unsigned j = 0; j < nviews; ++j)
      check_pair (&views[i], &views[j]);
}

static void
check_info (const struct array_info *info, const struct array_options *options)
{
  unsigned n = nviews;

  REQUIRE (n > 0 && info->in_sync == n, "%u legs in sync, not %u",
           info->in_sync, n);
  REQUIRE (info->size == views[0].size, "size");
  REQUIRE (info->raid_disks == views[0].raid_disks, "raid_disks");
  REQUIRE (n == info->raid_disks || options->degraded != ARRAY_DEGRADED_REFUSE
               || options->read_only,
           "degraded, which was refused");
  REQUIRE (info->chunks_needed <= info->chunks_marked
               && info->chunks_marked <= info->chunks,
           "%llu needed, %llu marked", (unsigned long long)info->chunks_needed,
           (unsigned long long)info->chunks_marked);
  REQUIRE (n < 2 || !options->refuse_full_resync || options->read_only
               || info->chunks_needed < info->chunks,
           "a full resync, which was refused");
}

/* Who was forced is in sync, and nobody is whom it calls faulty. */
static void
check_forced (struct array *array, const struct array_options *options)
{
  for (unsigned i = 0; i < options->nlegs; ++i)
    if (options->legs[i] == options->force_source)
      REQUIRE (array->legs[i].state == LEG_IN_SYNC,
               "the forced source is not used");
}

/* ---- bits ---- */

/* An interrupted update leaves a header that leads the superblocks by a few;
 * one that leads by more is damaged, but if events_cleared leads as well: then
 * it was the record of a forced source.
 */
#define HEADER_LEAD_MAX 8

/* A header that we know how to serve. */
static bool
sane_header (const struct array_info *info, const struct view *view)
{
  const uint8_t *h = view->header;
  uint64_t version = get_le (h + BM_VERSION, 4),
           bits = get_le (h + BM_STATE, 4);
  uint64_t chunk = get_le (h + BM_CHUNKSIZE, 4), reserved;

  reserved = get_le (h + BM_SECTORS_RESERVED, 4) * 512;
  for (unsigned i = BM_SECTORS_RESERVED + 4; i < 256; ++i)
    if (h[i] != 0)
      return false;
  return (version == 4 || version == 3)
         && (bits & ~UINT64_C (2) & ~(version == 3 ? UINT64_C (0x8000) : 0))
                == 0
         && memcmp (h + BM_UUID, view->uuid, 16) == 0
         && get_le (h + BM_EVENTS, 8) < UINT64_C (1) << 63
         && get_le (h + BM_EVENTS_CLEARED, 8) < UINT64_C (1) << 63
         && chunk == info->chunksize && chunk >= 512
         && (chunk & (chunk - 1)) == 0 && get_le (h + BM_DAEMON_SLEEP, 4) > 0
         && get_le (h + BM_DAEMON_SLEEP + 4, 4) < 16384
         && (reserved == 0 || reserved >= 256 + (info->chunks + 7) / 8);
}

/* The copy may be believed.  Where a wrong one would have been refused, it is
 * a finding; read-only it is left out.
 */
static bool
valid_copy (const struct array_info *info, const struct view *view,
            uint64_t events, bool read_only)
{
  const uint8_t *header = view->header;

  if (view->bitmap < 0 || get_le (header + BM_MAGIC, 4) != 0x6d746962)
    return false;
  if (!sane_header (info, view)) {
    REQUIRE (read_only, "leg %u: this header should have been refused",
             view->memory);
    return false;
  }
  return get_le (header + BM_EVENTS, 8) >= events
         && get_le (header + BM_EVENTS, 8)
                <= max_u64 (events, get_le (header + BM_EVENTS_CLEARED, 8))
                       + HEADER_LEAD_MAX
         && !(get_le (header + BM_STATE, 4) & 2);
}

/* The union of all copies that may be believed. */
static uint64_t
expected_marks (const struct array_info *info, uint64_t events, bool read_only)
{
  static uint8_t bits[BITS_MAX], all[BITS_MAX];
  uint64_t bytes = (info->chunks + 7) / 8, marks = 0;
  bool valid = false;

  REQUIRE (bytes <= sizeof bits, "%llu chunks",
           (unsigned long long)info->chunks);
  memset (all, 0, bytes);
  for (unsigned i = 0; i < nviews; ++i) {
    if (!valid_copy (info, &views[i], events, read_only))
      continue;
    valid = true;
    memory_load (views[i].memory, (uint64_t)views[i].bitmap + 256, bits, bytes);
    for (uint64_t k = 0; k < bytes; ++k)
      all[k] |= bits[k];
  }
  if (!valid)
    return info->chunks;
  for (uint64_t chunk = 0; chunk < info->chunks; ++chunk)
    marks += all[chunk / 8] >> chunk % 8 & 1;
  return marks;
}

/* No bitmap: everything from resync_offset on, sectors, all ones if clean.  A
 * single copy equals itself.  Where the checkpoint is the end, nothing need
 * be copied, but may be.
 */
static void
check_no_bits (const struct array_info *info, uint64_t resync_offset)
{
  bool none = nviews == 1 || resync_offset == UINT64_MAX;
  bool some = !none && resync_offset < info->size / 512;

  REQUIRE (info->chunksize >= NO_BITMAP_CHUNK, "chunks of %u in memory only",
           info->chunksize);
  REQUIRE (info->chunks_needed == 0 ? !some : !none,
           "%llu chunks to resync from sector %llu on",
           (unsigned long long)info->chunks_needed,
           (unsigned long long)resync_offset);
}

static void
check_bits (const struct array_info *info, const struct array_options *options)
{
  uint64_t events = 0, resync_offset = UINT64_MAX, marks;
  bool clean, bitmap = false;

  for (unsigned i = 0; i < nviews; ++i) {
    events = max_u64 (events, views[i].events);
    bitmap |= views[i].bitmap >= 0;
  }
  for (unsigned i = 0; i < nviews; ++i)
    if (views[i].events == events)
      resync_offset = min_u64 (resync_offset, views[i].resync_offset);
  clean = resync_offset == UINT64_MAX;
  if (!bitmap) {
    check_no_bits (info, resync_offset);
    return;
  }
  marks = expected_marks (info, events, options->read_only);
  /* Read-only does not need one that can be understood: then everything may
   * be unequal.
   */
  if (options->read_only) {
    REQUIRE (info->chunks_needed == (clean ? 0 : info->chunks)
                 || info->chunks_needed == (clean || nviews == 1 ? 0 : marks)
                 || info->chunks_needed == (clean ? 0 : marks),
             "%llu chunks may be unequal",
             (unsigned long long)info->chunks_needed);
    return;
  }
  REQUIRE (info->chunks_marked == marks, "%llu bits of %llu",
           (unsigned long long)info->chunks_marked, (unsigned long long)marks);
  REQUIRE (info->chunks_needed == (clean ? 0 : marks),
           "%llu chunks to resync of %llu",
           (unsigned long long)info->chunks_needed, (unsigned long long)marks);
}

/* ---- I16 ---- */

static void
allow (const struct array_info *info, const struct view *view)
{
  uint64_t block = memory_traits (view->memory)->logical_block;
  uint64_t bytes = 0;
  struct place places[PLACES_MAX];
  unsigned n;

  if (view->bitmap >= 0)
    bytes = round_up (256 + (info->chunks + 7) / 8, block);
  n = view->version == SUPERBLOCK_0_90
          ? places_of_090 (view->superblock, view->super / 512, bytes, places)
          : places_of (view->superblock, bytes, places);
  places_check (places, n, memory_size (view->memory) / 512);
  for (unsigned i = 0; i < n; ++i)
    if (strcmp (places[i].name, "data") == 0)
      memory_allow (view->memory, view->data, view->data + info->size);
    else if (strcmp (places[i].name, "bad-block log") != 0
             || (view->features & FEATURE_BAD_BLOCKS))
      memory_allow (view->memory, (uint64_t)places[i].first * 512,
                    (uint64_t)places[i].end * 512);
}

bool
may_be_unreadable (void)
{
  bool all = true;

  for (unsigned i = 0; i < nviews; ++i)
    all &= (views[i].features & FEATURE_BAD_BLOCKS) != 0;
  return all;
}

/* ---- all together ---- */

void
judge (struct array *array, const struct array_options *options)
{
  struct array_info info;

  look (array, options);
  array_get_info (array, &info);
  check_info (&info, options);
  check_legs ();
  check_forced (array, options);
  /* What a copy that cannot be read holds, nobody knows. */
  if (memory_errors () == 0)
    check_bits (&info, options);
  for (unsigned i = 0; i < nviews; ++i)
    allow (&info, &views[i]);
}

unsigned
in_sync_legs (struct array *array, const struct array_options *options)
{
  unsigned legs = 0;

  for (unsigned i = 0; i < options->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC)
      legs |= 1u << memory_number (options, i);
  return legs;
}

/* ---- equal legs ---- */

#define PAGE 4096

static uint8_t differing[EQUAL_MAX / 512 / 8];

/* Are those bytes of the array the same on all these legs?  At most a page. */
static bool
equal (unsigned legs, uint64_t offset, size_t n)
{
  static uint8_t first[PAGE], other[PAGE];
  bool have = false;

  for (unsigned i = 0; i < nviews; ++i) {
    const struct view *view = &views[i];

    if (!(legs >> view->memory & 1))
      continue;
    memory_load (view->memory, view->data + offset, have ? other : first, n);
    if (have && memcmp (first, other, n) != 0)
      return false;
    have = true;
  }
  return true;
}

/* Call the function for each sector in which they are not. */
static void
each_difference (unsigned legs, uint64_t size, void (*fn) (uint64_t sector))
{
  if (size > EQUAL_MAX)
    return;
  for (uint64_t offset = 0; offset < size; offset += PAGE) {
    uint64_t end = min_u64 (offset + PAGE, size);

    if (equal (legs, offset, end - offset))
      continue;
    for (uint64_t at = offset; at < end; at += 512)
      if (!equal (legs, at, 512))
        fn (at / 512);
  }
}

static void
note (uint64_t sector)
{
  differing[sector / 8] |= (uint8_t)(1 << sector % 8);
}

static void
check_noted (uint64_t sector)
{
  REQUIRE (differing[sector / 8] >> sector % 8 & 1,
           "sector %llu of the array is not equal any more",
           (unsigned long long)sector);
}

void
equal_before (unsigned legs, uint64_t size)
{
  memset (differing, 0, sizeof differing);
  each_difference (legs, size, note);
}

void
equal_after (unsigned legs, uint64_t size)
{
  each_difference (legs, size, check_noted);
}
