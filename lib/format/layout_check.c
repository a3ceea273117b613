/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Is what an existing leg says about its places possible?
 *
 * Pure: no I/O, no allocation, no state.  Nothing here relies on what decoding
 * has checked: offsets are clamped, so that sums stay far from overflow.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "format/layout.h"
#include "format/superblock_090.h"

/* In sectors. */
#define SUPERBLOCK_ROOM (SUPERBLOCK_BYTES / SECTOR_SIZE)
#define PAGE_SECTORS    (BITMAP_PAGE_BYTES / SECTOR_SIZE)

/* Something on the leg; sectors first <= s < end. */
struct area {
  const char *field;
  const char *name;
  int64_t first, end;
};

static int
check_inside (const struct area *area, uint64_t leg_sectors,
              struct format_error *error)
{
  if (area->first < 0 || area->end > (int64_t)leg_sectors)
    return format_refuse (error, area->field,
                          "is the leg whole?  mdadm --examine tells what it "
                          "should be",
                          "an area inside the leg",
                          "%s in sectors %" PRId64 " to %" PRId64
                          " of %" PRIu64,
                          area->name, area->first, area->end, leg_sectors);
  return 0;
}

static int
check_apart (const struct area *a, const struct area *b,
             struct format_error *error)
{
  int r;

  if (a->end <= b->first || b->end <= a->first)
    return 0;
  r = format_refuse (error, a->field, "examine the leg with mdadm", "",
                     "%s in sectors %" PRId64 " to %" PRId64, a->name, a->first,
                     a->end);
  snprintf (error->expected, sizeof error->expected,
            "clear of %s in %" PRId64 " to %" PRId64, b->name, b->first,
            b->end);
  return r;
}

static int64_t
clamp (uint64_t sectors)
{
  return (int64_t)min_u64 (sectors, 2 * LAYOUT_LEG_SECTORS_MAX);
}

/* What the array uses.  1.0 says in data_size how much there is below the
 * superblock, whatever else is there; behind it nothing follows.
 */
static struct area
data_area (const struct superblock *s)
{
  const int64_t first = clamp (s->data_offset);
  const bool at_end =
      s->version == SUPERBLOCK_0_90 || s->version == SUPERBLOCK_1_0;

  return (struct area){ "data_offset", "data", first,
                        first + clamp (at_end ? s->size : s->data_size) };
}

static struct area
superblock_area (const struct superblock *s)
{
  const int64_t first = clamp (s->super_offset);

  return (struct area){ "super_offset", "superblock", first,
                        first + SUPERBLOCK_ROOM };
}

static bool
has_log (const struct superblock *s)
{
  return s->bblog_size != 0 && s->bblog_offset != 0;
}

static struct area
log_area (const struct superblock *s)
{
  const int64_t first = clamp (s->super_offset) + s->bblog_offset;

  return (struct area){ "bblog_offset", "bad-block log", first,
                        first + s->bblog_size };
}

static int
check_bitmap_room (const struct superblock *s,
                   const struct bitmap_superblock *b, int64_t *sectors,
                   struct format_error *error)
{
  const uint64_t bytes = bitmap_bytes (bitmap_chunks (s->size, b->chunksize));

  if (bytes > LAYOUT_BITMAP_SECTORS_MAX * SECTOR_SIZE)
    return format_refuse (error, "chunksize", "add a bitmap with larger chunks",
                          "a bitmap of at most 1 GiB",
                          "%" PRIu32 " bytes of %" PRIu64 " sectors",
                          b->chunksize, s->size);
  if (s->version == SUPERBLOCK_0_90
      && bytes > SUPERBLOCK_090_BITMAP_SECTORS * SECTOR_SIZE)
    return format_refuse (error, "chunksize", "add a bitmap with larger chunks",
                          "a bitmap of at most 60 KiB, all the room there is",
                          "%" PRIu32 " bytes of %" PRIu64 " sectors",
                          b->chunksize, s->size);
  if (b->sectors_reserved != 0
      && div_up (bytes, SECTOR_SIZE) > b->sectors_reserved)
    return format_refuse (
        error, "sectors_reserved", "add a bitmap with larger chunks",
        "room for all the chunks", "%" PRIu32, b->sectors_reserved);
  *sectors = (int64_t)layout_bitmap_sectors (s->size, b->chunksize);
  return 0;
}

int
layout_check (const struct superblock *s,
              const struct bitmap_superblock *bitmap_superblock,
              uint64_t leg_sectors, struct format_error *error)
{
  struct area areas[4];
  int64_t first, sectors = PAGE_SECTORS;
  unsigned n = 0;

  leg_sectors = min_u64 (leg_sectors, LAYOUT_LEG_SECTORS_MAX);
  if (s->feature_map & FEATURE_BITMAP_OFFSET) {
    if (bitmap_superblock
        && check_bitmap_room (s, bitmap_superblock, &sectors, error) < 0)
      return -EINVAL;
    first = clamp (s->super_offset) + s->bitmap_offset;
    areas[n++] =
        (struct area){ "bitmap_offset", "bitmap", first, first + sectors };
  }
  if (has_log (s))
    areas[n++] = log_area (s);
  areas[n++] = data_area (s);
  areas[n++] = superblock_area (s);

  for (unsigned i = 0; i < n; ++i) {
    if (check_inside (&areas[i], leg_sectors, error) < 0)
      return -EINVAL;
    for (unsigned j = i + 1; j < n; ++j)
      if (check_apart (&areas[i], &areas[j], error) < 0)
        return -EINVAL;
  }
  return 0;
}

uint64_t
layout_bitmap_room (const struct superblock *s, uint64_t leg_sectors)
{
  const int64_t first = clamp (s->super_offset) + s->bitmap_offset;
  const struct area areas[] = { data_area (s), superblock_area (s),
                                log_area (s) };
  const unsigned n = has_log (s) ? 3 : 2;
  int64_t end = clamp (leg_sectors);

  if (!(s->feature_map & FEATURE_BITMAP_OFFSET))
    return 0;
  if (s->version == SUPERBLOCK_0_90 && end > first)
    end = (int64_t)min_u64 ((uint64_t)end,
                            (uint64_t)first + SUPERBLOCK_090_BITMAP_SECTORS);
  for (unsigned i = 0; i < n; ++i)
    if (areas[i].end > first && areas[i].first < end)
      end = areas[i].first;
  return end > first ? (uint64_t)(end - first) : 0;
}
