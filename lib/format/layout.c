/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Where things lie on a leg.
 *
 * Version 1.2 as mdadm 4.2 places it, seen on legs from 2 MiB to 15 TiB:
 * superblock at 4 KiB, bitmap 4 KiB behind it, the bad-block log behind what
 * the bitmap really uses, data at a multiple of 1 MiB behind a head room of
 * about a thousandth of the leg, at most 128 MiB.
 *
 * Pure: no I/O, no allocation, no state.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "format/layout.h"

/* In sectors. */
#define SUPERBLOCK_ROOM  (SUPERBLOCK_1_BYTES / SECTOR_SIZE)
#define PAGE_SECTORS     (BITMAP_PAGE_BYTES / SECTOR_SIZE)
#define BITMAP_OFFSET    8
#define BBLOG_SIZE       8
#define FIXED_ROOM       24 /* boot block, superblock, bad-block log */
#define DATA_ALIGN       (MiB / SECTOR_SIZE)
#define HEADROOM_MAX     (128 * MiB / SECTOR_SIZE)
#define SIZE_ALIGN       (64 * KiB / SECTOR_SIZE)
#define SIZE_MIN         10 /* less is refused by md */
#define LEG_SECTORS_MAX  ((uint64_t)INT64_MAX / SECTOR_SIZE)
#define SIZE_MAX_SECTORS (LEG_SECTORS_MAX / 2)
#define BITMAP_ROOM_MAX  256 /* mdadm's, for the default chunk */
#define BITMAP_MAX       (GiB / SECTOR_SIZE) /* ours */

/* Sectors of the bitmap, in whole pages. */
static uint64_t
bitmap_sectors (uint64_t size, uint32_t chunksize)
{
  return round_up (bitmap_bytes (bitmap_chunks (size, chunksize)),
                   BITMAP_PAGE_BYTES)
         / SECTOR_SIZE;
}

/* 64 MiB, or more if that many bits do not fit the room that mdadm leaves on
 * large legs.  It counts a bit more than there may be.
 */
static uint32_t
default_chunk (uint64_t size)
{
  const uint64_t max_bits =
      (BITMAP_ROOM_MAX * SECTOR_SIZE - BITMAP_SUPERBLOCK_BYTES) * 8;
  uint64_t chunksize = LAYOUT_MIN_CHUNK;
  uint64_t bits = size / (LAYOUT_MIN_CHUNK / SECTOR_SIZE) + 1;

  while (bits > max_bits) {
    chunksize *= 2;
    bits = div_up (bits, 2);
  }
  return (uint32_t)max_u64 (chunksize, LAYOUT_DEFAULT_CHUNK);
}

/* mdadm reserves 8, 128 or 256 sectors for the bitmap by the size of the leg,
 * and all of them end at the same multiple of 1 MiB; so does the true number
 * of sectors, unless mdadm would refuse the chunk as too fine.  It never
 * decreases when leg_sectors increases.
 */
static uint64_t
data_offset (uint64_t leg_sectors, uint64_t bitmap)
{
  uint64_t headroom = HEADROOM_MAX;

  while (headroom << 10 > leg_sectors)
    headroom >>= 1;
  return round_up (FIXED_ROOM + bitmap + headroom, DATA_ALIGN);
}

static int
check_chunk (uint64_t size, uint32_t chunksize, struct format_error *error)
{
  if (chunksize == 0)
    return 0;
  if (!is_power_of_2 (chunksize) || chunksize < LAYOUT_MIN_CHUNK)
    return format_refuse (error, "bitmap-chunk", "choose another one",
                          "a power of two, at least 4096", "%" PRIu32,
                          chunksize);
  if (bitmap_sectors (size, chunksize) > BITMAP_MAX)
    return format_refuse (error, "bitmap-chunk", "choose a larger one",
                          "a bitmap of at most 1 GiB",
                          "%" PRIu32 " bytes of %" PRIu64 " sectors", chunksize,
                          size);
  return 0;
}

static int
check_size (uint64_t size, struct format_error *error)
{
  if (size < SIZE_MIN || size > SIZE_MAX_SECTORS)
    return format_refuse (error, "size", "choose another one",
                          "5120 bytes to 4 EiB", "%" PRIu64 " bytes",
                          size * SECTOR_SIZE);
  return 0;
}

static int
too_small (uint64_t leg_sectors, uint64_t needed, struct format_error *error)
{
  int r = format_refuse (error, "size of the leg",
                         "take a larger leg or a smaller array", "",
                         "%" PRIu64 " bytes", leg_sectors * SECTOR_SIZE);

  snprintf (error->expected, sizeof error->expected,
            "at least %" PRIu64 " bytes", needed * SECTOR_SIZE);
  return r;
}

/* The size of the largest array on the leg, rounded as mdadm rounds.  Room
 * for the bitmap depends on the size, and the other way round: leave room for
 * the bitmap of a leg that is all data.
 */
static int
largest_size (uint64_t leg_sectors, uint32_t chunksize, uint64_t *size,
              struct format_error *error)
{
  const uint32_t chunk = chunksize ? chunksize : default_chunk (leg_sectors);
  uint64_t offset;

  if (check_chunk (leg_sectors, chunk, error) < 0)
    return -EINVAL;
  offset = data_offset (leg_sectors, bitmap_sectors (leg_sectors, chunk));
  if (leg_sectors < offset + SIZE_ALIGN)
    return too_small (leg_sectors, offset + SIZE_ALIGN, error);
  *size = round_down (leg_sectors - offset, SIZE_ALIGN);
  return 0;
}

int
layout_1_2 (uint64_t leg_sectors, uint64_t size, uint32_t chunksize,
            struct layout *layout, struct format_error *error)
{
  uint64_t bitmap, offset, needed;

  if (leg_sectors > LEG_SECTORS_MAX)
    return format_refuse (error, "size of the leg", "this cannot be",
                          "less than 2^63 bytes", "%" PRIu64 " sectors",
                          leg_sectors);
  if (size == 0 && largest_size (leg_sectors, chunksize, &size, error) < 0)
    return -EINVAL;
  if (check_size (size, error) < 0 || check_chunk (size, chunksize, error) < 0)
    return -EINVAL;
  if (chunksize == 0)
    chunksize = default_chunk (size);

  bitmap = bitmap_sectors (size, chunksize);
  offset = data_offset (leg_sectors, bitmap);
  if (offset > leg_sectors || leg_sectors - offset < size) {
    if (layout_1_2_leg (size, chunksize, &needed, error) < 0)
      return -EINVAL;
    return too_small (leg_sectors, needed, error);
  }

  layout->super_offset = SUPERBLOCK_1_2_SECTOR;
  layout->bitmap_offset = BITMAP_OFFSET;
  layout->bitmap_sectors = bitmap;
  layout->bblog_offset = (int32_t)(BITMAP_OFFSET + bitmap);
  layout->bblog_size = BBLOG_SIZE;
  layout->data_offset = offset;
  layout->data_size = leg_sectors - offset;
  layout->size = size;
  layout->chunksize = chunksize;
  return 0;
}

/* The offset of the data never decreases with the leg, so walking up from the
 * smallest leg that one could think of stops at the smallest one that works.
 */
int
layout_1_2_leg (uint64_t size, uint32_t chunksize, uint64_t *leg_sectors,
                struct format_error *error)
{
  uint64_t bitmap, leg, next;

  if (check_size (size, error) < 0 || check_chunk (size, chunksize, error) < 0)
    return -EINVAL;
  if (chunksize == 0)
    chunksize = default_chunk (size);
  bitmap = bitmap_sectors (size, chunksize);
  next = size;
  do {
    leg = next;
    next = data_offset (leg, bitmap) + size;
  } while (next != leg);
  *leg_sectors = leg;
  return 0;
}

/* ---- an existing leg ---- */

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

/* All offsets have been checked to be sane by themselves when a superblock
 * was decoded, but nothing here relies on it: they are clamped so that sums
 * stay far from overflow.
 */
static int64_t
clamp (uint64_t sectors)
{
  return (int64_t)min_u64 (sectors, 2 * LEG_SECTORS_MAX);
}

static int
check_bitmap_room (const struct superblock_1 *s,
                   const struct bitmap_superblock *b, int64_t *sectors,
                   struct format_error *error)
{
  const uint64_t needed = bitmap_sectors (s->size, b->chunksize);

  if (needed > BITMAP_MAX)
    return format_refuse (error, "chunksize", "add a bitmap with larger chunks",
                          "a bitmap of at most 1 GiB",
                          "%" PRIu32 " bytes of %" PRIu64 " sectors",
                          b->chunksize, s->size);
  if (b->sectors_reserved != 0
      && div_up (bitmap_bytes (bitmap_chunks (s->size, b->chunksize)),
                 SECTOR_SIZE)
             > b->sectors_reserved)
    return format_refuse (
        error, "sectors_reserved", "add a bitmap with larger chunks",
        "room for all the chunks", "%" PRIu32, b->sectors_reserved);
  *sectors = (int64_t)needed;
  return 0;
}

int
layout_check (const struct superblock_1 *s,
              const struct bitmap_superblock *bitmap_superblock,
              uint64_t leg_sectors, struct format_error *error)
{
  const int64_t super = clamp (s->super_offset);
  struct area areas[4];
  int64_t first, sectors = PAGE_SECTORS;
  unsigned n = 0;

  leg_sectors = min_u64 (leg_sectors, LEG_SECTORS_MAX);
  if (s->feature_map & FEATURE_BITMAP_OFFSET) {
    if (bitmap_superblock
        && check_bitmap_room (s, bitmap_superblock, &sectors, error) < 0)
      return -EINVAL;
    first = super + s->bitmap_offset;
    areas[n++] =
        (struct area){ "bitmap_offset", "bitmap", first, first + sectors };
  }
  if (s->bblog_size != 0 && s->bblog_offset != 0) {
    first = super + s->bblog_offset;
    areas[n++] = (struct area){ "bblog_offset", "bad-block log", first,
                                first + s->bblog_size };
  }
  first = clamp (s->data_offset);
  areas[n++] = (struct area){ "data_offset", "data", first,
                              first + clamp (s->data_size) };
  areas[n++] = (struct area){ "super_offset", "superblock", super,
                              super + SUPERBLOCK_ROOM };

  for (unsigned i = 0; i < n; ++i) {
    if (check_inside (&areas[i], leg_sectors, error) < 0)
      return -EINVAL;
    for (unsigned j = i + 1; j < n; ++j)
      if (check_apart (&areas[i], &areas[j], error) < 0)
        return -EINVAL;
  }
  return 0;
}
