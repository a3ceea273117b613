/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Where superblock, bitmap, bad-block log and data lie on a leg, as mdadm
 * places them when it creates an array.
 */

#ifndef MDBITMAP_LAYOUT_H
#define MDBITMAP_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "format/bitmap_superblock.h"
#include "format/format.h"
#include "format/superblock.h"

#define LAYOUT_DEFAULT_CHUNK (64u * 1024 * 1024) /* bytes, as mdadm */
#define LAYOUT_MIN_CHUNK     4096u

/* All in sectors of 512 bytes, from the start of the leg unless said. */
struct layout {
  uint64_t super_offset;
  int32_t bitmap_offset;   /* from the superblock; 0: no bitmap */
  uint64_t bitmap_sectors; /* used, rounded to 4 KiB */
  int32_t bblog_offset;    /* from the superblock */
  uint16_t bblog_size;     /* 0: no log */
  uint64_t data_offset;
  uint64_t data_size; /* from data_offset on, to whatever follows */
  uint64_t size;      /* of the array: what is used of data_size */
  uint32_t chunksize; /* bytes: what was asked for, or the default; 0: no
                       * bitmap */
};

/* The layout of a leg of that many sectors.  size: sectors of the array; 0
 * for as many as fit, in multiples of 64 KiB as mdadm does.  chunksize:
 * bytes, 0 for the default; without a bitmap it means nothing.  A chunk too
 * fine for the room that mdadm leaves takes room from the data; with 0.90,
 * where the room is fixed, it is refused.  0, or -EINVAL with *error.
 */
extern int
layout_place (enum superblock_version version, bool bitmap,
              uint64_t leg_sectors, uint64_t size, uint32_t chunksize,
              struct layout *layout, struct format_error *error);

/* The smallest leg, in sectors, that has room for an array of exactly size
 * sectors.  0, or -EINVAL with *error.
 */
extern int
layout_leg_sectors (enum superblock_version version, bool bitmap, uint64_t size,
                    uint32_t chunksize, uint64_t *leg_sectors,
                    struct format_error *error);

/* Superblock, bitmap, bad-block log and data of one leg lie inside it and do
 * not overlap, and the bits fit the room before whatever follows the bitmap.
 * Data is what the array uses: with 1.0, data_size may reach into the bitmap.
 * bitmap_superblock may be NULL.  0, or -EINVAL with *error.
 */
extern int layout_check (const struct superblock *superblock,
                         const struct bitmap_superblock *bitmap_superblock,
                         uint64_t leg_sectors, struct format_error *error);

/* Sectors from the start of the internal bitmap to whatever follows it: data,
 * bad-block log, superblock, the end of the room that 0.90 has for it, or the
 * end of the leg.  0 if there is none, or if it begins in one of these.
 */
extern uint64_t
layout_bitmap_room (const struct superblock *superblock, uint64_t leg_sectors);

/* Sectors of a bitmap in whole pages of 4 KiB. */
extern uint64_t layout_bitmap_sectors (uint64_t size, uint32_t chunksize);

/* What no layout may exceed, so that sums do not overflow. */
#define LAYOUT_LEG_SECTORS_MAX    ((uint64_t)INT64_MAX / 512)
#define LAYOUT_BITMAP_SECTORS_MAX ((uint64_t)1 << 21) /* 1 GiB */

#endif /* MDBITMAP_LAYOUT_H */
