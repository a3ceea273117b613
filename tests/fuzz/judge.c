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

/* An in-sync leg. */
struct view {
  const struct leg *leg;
  unsigned memory; /* its number in memory.h */
  uint8_t superblock[4096];
  uint8_t header[256];
};

static struct view views[ARRAY_MAX_LEGS];

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

static int64_t
bitmap_byte (const struct view *view)
{
  int64_t super = (int64_t)sb (view, SB_SUPER_OFFSET, 8);

  return (super + (int32_t)sb (view, SB_BITMAP_OFFSET, 4)) * 512;
}

static unsigned
look (struct array *array, const struct array_options *options)
{
  unsigned n = 0;

  memset (views, 0, sizeof views);
  for (unsigned i = 0; i < options->nlegs; ++i) {
    struct view *view = &views[n];

    if (array->legs[i].state != LEG_IN_SYNC)
      continue;
    view->leg = &array->legs[i];
    view->memory = memory_number (options, i);
    memory_load (view->memory, 4096, view->superblock, 4096);
    REQUIRE (bitmap_byte (view) >= 0, "a bitmap before the leg");
    memory_load (view->memory, (uint64_t)bitmap_byte (view), view->header,
                 sizeof view->header);
    n++;
  }
  return n;
}

/* ---- legs ---- */

/* Each leg by itself and beside the others: one array, each slot once, at
 * most one event apart, none that is recovering or called faulty.
 */
static void
check_legs (unsigned n)
{
  for (unsigned i = 0; i < n; ++i)
    for (unsigned j = 0; j < n; ++j) {
      const struct view *a = &views[i], *b = &views[j];
      uint64_t dev = sb (b, SB_DEV_NUMBER, 4);

      REQUIRE (
          memcmp (a->superblock + SB_SET_UUID, b->superblock + SB_SET_UUID, 16)
              == 0,
          "legs of two arrays");
      REQUIRE (sb (a, SB_SIZE, 8) == sb (b, SB_SIZE, 8), "two sizes");
      REQUIRE (sb (a, SB_RAID_DISKS, 4) == sb (b, SB_RAID_DISKS, 4),
               "two numbers of slots");
      REQUIRE (sb (a, SB_EVENTS, 8) + 1 >= sb (b, SB_EVENTS, 8), "stale");
      REQUIRE (!(sb (a, SB_FEATURE_MAP, 4) & 2), "recovering");
      REQUIRE (dev < sb (a, SB_MAX_DEV, 4)
                   || sb (a, SB_EVENTS, 8) < sb (b, SB_EVENTS, 8),
               "not in a table");
      REQUIRE (dev >= sb (a, SB_MAX_DEV, 4)
                   || sb (a, SB_ROLES + 2 * (unsigned)dev, 2) != 0xfffe,
               "a leg in sync calls another one faulty");
      REQUIRE (i == j || a->leg->slot != b->leg->slot, "a slot twice");
      REQUIRE (i == j || dev != sb (a, SB_DEV_NUMBER, 4), "a device twice");
    }
}

static void
check_info (const struct array_info *info, const struct array_options *options,
            unsigned n)
{
  REQUIRE (n > 0 && info->in_sync == n, "%u legs in sync, not %u",
           info->in_sync, n);
  REQUIRE (info->size == sb (&views[0], SB_SIZE, 8) * 512, "size");
  REQUIRE (info->raid_disks == sb (&views[0], SB_RAID_DISKS, 4), "raid_disks");
  REQUIRE (n == info->raid_disks || options->degraded != ARRAY_DEGRADED_REFUSE,
           "degraded, which was refused");
  REQUIRE (info->chunks_needed <= info->chunks_marked
               && info->chunks_marked <= info->chunks,
           "%llu needed, %llu marked", (unsigned long long)info->chunks_needed,
           (unsigned long long)info->chunks_marked);
  REQUIRE (n < 2 || !options->refuse_full_resync
               || info->chunks_needed < info->chunks,
           "a full resync, which was refused");
}

/* ---- bits ---- */

/* An interrupted update leaves a header that leads the superblocks by a few;
 * one that leads by more is damaged.
 */
#define HEADER_LEAD_MAX 8

/* The union of all copies that may be believed. */
static uint64_t
expected_marks (const struct array_info *info, unsigned n, uint64_t events)
{
  static uint8_t bits[BITS_MAX], all[BITS_MAX];
  uint64_t bytes = (info->chunks + 7) / 8, marks = 0;
  bool valid = false;

  REQUIRE (bytes <= sizeof bits, "%llu chunks",
           (unsigned long long)info->chunks);
  memset (all, 0, bytes);
  for (unsigned i = 0; i < n; ++i) {
    const uint8_t *header = views[i].header;

    if (get_le (header + BM_MAGIC, 4) != BITMAP_MAGIC)
      continue;
    REQUIRE (
        memcmp (header + BM_UUID, views[i].superblock + SB_SET_UUID, 16) == 0,
        "another array's bitmap");
    REQUIRE (get_le (header + BM_CHUNKSIZE, 4) == info->chunksize,
             "two chunk sizes");
    if (get_le (header + BM_EVENTS, 8) < events
        || get_le (header + BM_EVENTS, 8) > events + HEADER_LEAD_MAX
        || (get_le (header + BM_STATE, 4) & 2))
      continue;
    valid = true;
    memory_load (views[i].memory, (uint64_t)bitmap_byte (&views[i]) + 256, bits,
                 bytes);
    for (uint64_t k = 0; k < bytes; ++k)
      all[k] |= bits[k];
  }
  if (!valid)
    return info->chunks;
  for (uint64_t chunk = 0; chunk < info->chunks; ++chunk)
    marks += all[chunk / 8] >> chunk % 8 & 1;
  return marks;
}

static void
check_bits (const struct array_info *info, unsigned n)
{
  uint64_t events = 0, marks;
  bool clean = true;

  for (unsigned i = 0; i < n; ++i)
    if (sb (&views[i], SB_EVENTS, 8) > events)
      events = sb (&views[i], SB_EVENTS, 8);
  for (unsigned i = 0; i < n; ++i)
    if (sb (&views[i], SB_EVENTS, 8) == events
        && sb (&views[i], SB_RESYNC_OFFSET, 8) != UINT64_MAX)
      clean = false;
  marks = expected_marks (info, n, events);
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
  uint64_t data = sb (view, SB_DATA_OFFSET, 8) * 512;
  uint64_t bitmap = (uint64_t)bitmap_byte (view);
  uint64_t block = memory_traits (view->memory)->logical_block;
  uint64_t bytes = 256 + (info->chunks + 7) / 8;
  struct place places[PLACES_MAX];
  unsigned n;

  bytes = (bytes + block - 1) / block * block;
  n = places_of (view->superblock, bytes, places);
  places_check (places, n, memory_size (view->memory) / 512);
  memory_allow (view->memory, 4096, 8192);
  memory_allow (view->memory, bitmap, bitmap + bytes);
  memory_allow (view->memory, data, data + info->size);
}

/* ---- all together ---- */

void
judge (struct array *array, const struct array_options *options)
{
  unsigned n = look (array, options);
  struct array_info info;

  array_get_info (array, &info);
  check_info (&info, options, n);
  check_legs (n);
  /* What a copy that cannot be read holds, nobody knows. */
  if (memory_errors () == 0)
    check_bits (&info, n);
  for (unsigned i = 0; i < n; ++i)
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

  for (unsigned i = 0; i < ARRAY_MAX_LEGS; ++i) {
    const struct view *view = &views[i];

    if (!view->leg || !(legs >> view->memory & 1))
      continue;
    memory_load (view->memory, sb (view, SB_DATA_OFFSET, 8) * 512 + offset,
                 have ? other : first, n);
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
