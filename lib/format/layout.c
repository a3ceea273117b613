/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Where things lie on a new leg, as mdadm 4.2 places them; the table
 * tests/golden/layout.table was measured.
 *
 *   1.1, 1.2  superblock at the start or 4 KiB behind it, bitmap 4 KiB behind
 *             the superblock, the bad-block log behind what the bitmap really
 *             uses, data at a multiple of 1 MiB behind a head room of about a
 *             thousandth of the leg, at most 128 MiB
 *   1.0       data at the start, superblock 8 to 12 KiB before the end, below
 *             it the log, below that the bitmap
 *   0.90      data at the start, superblock 64 to 128 KiB before the end, the
 *             bitmap 4 KiB behind it, no log
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
#include "format/superblock_090.h"

/* In sectors. */
#define BITMAP_OFFSET    8 /* 1.1, 1.2 */
#define BBLOG_SIZE       8
#define FIXED_ROOM       24 /* 1.1, 1.2: boot block, superblock, log */
#define DATA_ALIGN       (MiB / SECTOR_SIZE)
#define HEADROOM_MAX     (128 * MiB / SECTOR_SIZE)
#define END_ROOM         16 /* 1.0: from the superblock to the end */
#define END_ALIGN        8  /* 1.0 */
#define SIZE_ALIGN       (64 * KiB / SECTOR_SIZE)
#define SIZE_MIN         10 /* less is refused by md */
#define SIZE_MAX_SECTORS (LAYOUT_LEG_SECTORS_MAX / 2)
#define SIZE_MAX_090     (4 * TiB / SECTOR_SIZE - 2) /* what md takes of it */
#define KIB_SECTORS      2
#define CHUNK_MAX        (2 * GiB)
#define BITMAP_ROOM_MAX  256 /* mdadm's, for the default chunk */

/* What is being placed. */
struct request {
  enum superblock_version version;
  bool bitmap;
  uint32_t chunksize; /* 0: the default */
};

uint64_t
layout_bitmap_sectors (uint64_t size, uint32_t chunksize)
{
  return round_up (bitmap_bytes (bitmap_chunks (size, chunksize)),
                   BITMAP_PAGE_BYTES)
         / SECTOR_SIZE;
}

/* 64 MiB, or more if that many bits do not fit the room that mdadm leaves on
 * large legs.  It counts a bit more than there may be.  There is no larger
 * chunk than 2 GiB, since its size is stored in 32 bits.
 */
static uint32_t
default_chunk (uint64_t size)
{
  const uint64_t max_bits =
      (BITMAP_ROOM_MAX * SECTOR_SIZE - BITMAP_SUPERBLOCK_BYTES) * 8;
  uint64_t chunksize = LAYOUT_MIN_CHUNK;
  uint64_t bits = size / (LAYOUT_MIN_CHUNK / SECTOR_SIZE) + 1;

  while (bits > max_bits && chunksize < CHUNK_MAX) {
    chunksize *= 2;
    bits = div_up (bits, 2);
  }
  return (uint32_t)max_u64 (chunksize, LAYOUT_DEFAULT_CHUNK);
}

static uint32_t
chunk_of (const struct request *request, uint64_t size)
{
  return request->chunksize ? request->chunksize : default_chunk (size);
}

/* What mdadm keeps free for a bitmap, by the sectors of a leg or array. */
static uint64_t
usual_bitmap_room (uint64_t sectors)
{
  if (sectors < 64 * KiB / SECTOR_SIZE)
    return 0;
  if (sectors - 64 * KiB / SECTOR_SIZE >= 200 * GiB / SECTOR_SIZE)
    return BITMAP_ROOM_MAX;
  if (sectors - 4 * KiB / SECTOR_SIZE > 8 * GiB / SECTOR_SIZE)
    return 128;
  return 8;
}

/* Sectors that the bitmap takes.  With 1.0, mdadm counts a bit more than
 * there may be.
 */
static uint64_t
bitmap_reserve (const struct request *request, uint64_t size)
{
  const uint32_t chunk = chunk_of (request, size);
  const uint64_t bits = size / (chunk / SECTOR_SIZE) + 1;

  if (!request->bitmap)
    return 0;
  if (request->version == SUPERBLOCK_1_0)
    return round_up (bitmap_bytes (bits), BITMAP_PAGE_BYTES) / SECTOR_SIZE;
  return layout_bitmap_sectors (size, chunk);
}

/* The data of 1.1 and 1.2.  It never decreases when leg_sectors increases. */
static uint64_t
data_offset (uint64_t leg_sectors, uint64_t bitmap)
{
  uint64_t headroom = HEADROOM_MAX;

  while (headroom << 10 > leg_sectors)
    headroom >>= 1;
  bitmap = max_u64 (bitmap, usual_bitmap_room (leg_sectors));
  return round_up (FIXED_ROOM + bitmap + headroom, DATA_ALIGN);
}

/* Sectors of the leg that are not data if the bitmap takes that many; it
 * never decreases when leg_sectors increases by the leg's granularity.
 */
static uint64_t
overhead (enum superblock_version version, uint64_t leg_sectors,
          uint64_t bitmap)
{
  switch (version) {
  case SUPERBLOCK_0_90:
    return SUPERBLOCK_090_RESERVED + leg_sectors % SUPERBLOCK_090_RESERVED;
  case SUPERBLOCK_1_0:
    return END_ROOM + BBLOG_SIZE
           + max_u64 (bitmap, usual_bitmap_room (leg_sectors))
           + leg_sectors % END_ALIGN;
  case SUPERBLOCK_1_1:
  case SUPERBLOCK_1_2:
    break;
  }
  return data_offset (leg_sectors, bitmap);
}

static int
check_chunk (const struct request *request, uint64_t size,
             struct format_error *error)
{
  const uint32_t chunksize = request->chunksize;
  uint64_t bytes;

  if (!request->bitmap || chunksize == 0)
    return 0;
  if (!is_power_of_2 (chunksize) || chunksize < LAYOUT_MIN_CHUNK)
    return format_refuse (error, "bitmap-chunk", "choose another one",
                          "a power of two, at least 4096", "%" PRIu32,
                          chunksize);
  bytes = bitmap_bytes (bitmap_chunks (size, chunksize));
  if (request->version == SUPERBLOCK_0_90
      && bytes > SUPERBLOCK_090_BITMAP_SECTORS * SECTOR_SIZE)
    return format_refuse (
        error, "bitmap-chunk", "choose a larger one, or metadata 1.2",
        "a bitmap of at most 60 KiB, all the room that "
        "metadata 0.90 has",
        "%" PRIu32 " bytes of %" PRIu64 " sectors", chunksize, size);
  if (bytes > LAYOUT_BITMAP_SECTORS_MAX * SECTOR_SIZE)
    return format_refuse (error, "bitmap-chunk", "choose a larger one",
                          "a bitmap of at most 1 GiB",
                          "%" PRIu32 " bytes of %" PRIu64 " sectors", chunksize,
                          size);
  return 0;
}

static int
check_size (const struct request *request, uint64_t size,
            struct format_error *error)
{
  if (size < SIZE_MIN || size > SIZE_MAX_SECTORS)
    return format_refuse (error, "size", "choose another one",
                          "5120 bytes to 4 EiB", "%" PRIu64 " bytes",
                          size * SECTOR_SIZE);
  if (request->version != SUPERBLOCK_0_90)
    return 0;
  if (size > SIZE_MAX_090)
    return format_refuse (error, "size", "choose metadata 1.2",
                          "less than 4 TiB with metadata 0.90",
                          "%" PRIu64 " bytes", size * SECTOR_SIZE);
  if (size % KIB_SECTORS != 0)
    return format_refuse (error, "size", "choose another one, or metadata 1.2",
                          "a multiple of 1024 bytes with metadata 0.90",
                          "%" PRIu64 " bytes", size * SECTOR_SIZE);
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
largest_size (const struct request *request, uint64_t leg_sectors,
              uint64_t *size, struct format_error *error)
{
  uint64_t taken;

  if (request->version != SUPERBLOCK_0_90
      && check_chunk (request, leg_sectors, error) < 0)
    return -EINVAL;
  taken = overhead (request->version, leg_sectors,
                    bitmap_reserve (request, leg_sectors));
  if (leg_sectors < taken + SIZE_ALIGN)
    return too_small (leg_sectors, taken + SIZE_ALIGN, error);
  *size = round_down (leg_sectors - taken, SIZE_ALIGN);
  return 0;
}

/* 1.0: from the superblock downwards. */
static void
place_below (uint64_t reserve, struct layout *layout)
{
  const uint64_t usual = usual_bitmap_room (layout->size);

  layout->data_offset = 0;
  layout->bblog_size = BBLOG_SIZE;
  layout->bblog_offset = -BBLOG_SIZE;
  if (reserve != 0)
    layout->bitmap_offset = -(int32_t)(reserve + BBLOG_SIZE);
  layout->data_size =
      layout->super_offset - BBLOG_SIZE - (reserve ? reserve : usual);
}

/* 1.1, 1.2: from the superblock upwards. */
static void
place_above (uint64_t leg_sectors, uint64_t reserve, struct layout *layout)
{
  const uint64_t usual = usual_bitmap_room (layout->size);

  if (reserve != 0)
    layout->bitmap_offset = BITMAP_OFFSET;
  layout->bblog_size = BBLOG_SIZE;
  layout->bblog_offset = (int32_t)(BITMAP_OFFSET + (reserve ? reserve : usual));
  layout->data_offset = data_offset (leg_sectors, reserve);
  layout->data_size = leg_sectors - layout->data_offset;
}

int
layout_place (enum superblock_version version, bool bitmap,
              uint64_t leg_sectors, uint64_t size, uint32_t chunksize,
              struct layout *layout, struct format_error *error)
{
  const struct request request = { version, bitmap, chunksize };
  uint64_t reserve, needed;

  if (leg_sectors > LAYOUT_LEG_SECTORS_MAX)
    return format_refuse (error, "size of the leg", "this cannot be",
                          "less than 2^63 bytes", "%" PRIu64 " sectors",
                          leg_sectors);
  if (size == 0 && largest_size (&request, leg_sectors, &size, error) < 0)
    return -EINVAL;
  if (layout_leg_sectors (version, bitmap, size, chunksize, &needed, error) < 0)
    return -EINVAL;
  reserve = bitmap_reserve (&request, size);
  if (leg_sectors < size + overhead (version, leg_sectors, reserve))
    return too_small (leg_sectors, needed, error);

  *layout = (struct layout){
    .super_offset = superblock_sector (version, leg_sectors),
    .size = size,
  };
  if (bitmap) {
    layout->chunksize = chunk_of (&request, size);
    layout->bitmap_sectors = layout_bitmap_sectors (size, layout->chunksize);
  }
  switch (version) {
  case SUPERBLOCK_0_90:
    layout->bitmap_offset = bitmap ? SUPERBLOCK_090_BITMAP_OFFSET : 0;
    layout->data_size = layout->super_offset;
    break;
  case SUPERBLOCK_1_0:
    place_below (reserve, layout);
    break;
  case SUPERBLOCK_1_1:
  case SUPERBLOCK_1_2:
    place_above (leg_sectors, reserve, layout);
    break;
  }
  return 0;
}

/* What is not data never decreases with the leg, so walking up from the
 * smallest leg that one could think of stops at the smallest one that works.
 */
int
layout_leg_sectors (enum superblock_version version, bool bitmap, uint64_t size,
                    uint32_t chunksize, uint64_t *leg_sectors,
                    struct format_error *error)
{
  const struct request request = { version, bitmap, chunksize };
  const uint64_t unit = version == SUPERBLOCK_0_90  ? SUPERBLOCK_090_RESERVED
                        : version == SUPERBLOCK_1_0 ? END_ALIGN
                                                    : 1;
  uint64_t reserve, leg, next;

  if (check_size (&request, size, error) < 0
      || check_chunk (&request, size, error) < 0)
    return -EINVAL;
  reserve = bitmap_reserve (&request, size);
  next = round_up (size, unit);
  do {
    leg = next;
    next = round_up (size + overhead (version, leg, reserve), unit);
  } while (next != leg);
  *leg_sectors = leg;
  return 0;
}
