/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Where superblock, bitmap, bad-block log and data lie on a leg, as mdadm
 * places them when it creates version 1.2.
 */

#ifndef MDBITMAP_LAYOUT_H
#define MDBITMAP_LAYOUT_H

#include <stdint.h>

#include "format/bitmap_superblock.h"
#include "format/format.h"
#include "format/superblock_1.h"

#define LAYOUT_DEFAULT_CHUNK (64u * 1024 * 1024) /* bytes, as mdadm */
#define LAYOUT_MIN_CHUNK     4096u

/* All in sectors of 512 bytes, from the start of the leg unless said. */
struct layout {
  uint64_t super_offset;
  int32_t bitmap_offset;   /* from the superblock */
  uint64_t bitmap_sectors; /* used, rounded to 4 KiB */
  int32_t bblog_offset;    /* from the superblock */
  uint16_t bblog_size;
  uint64_t data_offset;
  uint64_t data_size; /* from data_offset to the end of the leg */
  uint64_t size;      /* of the array: what is used of data_size */
  uint32_t chunksize; /* bytes: what was asked for, or the default */
};

/* The layout of a 1.2 leg of that many sectors.  size: sectors of the array;
 * 0 for as many as fit, in multiples of 64 KiB as mdadm does.  chunksize:
 * bytes, 0 for the default.  A chunk too fine for the room that mdadm leaves
 * moves data_offset.  0, or -EINVAL with *error.
 */
extern int layout_1_2 (uint64_t leg_sectors, uint64_t size, uint32_t chunksize,
                       struct layout *layout, struct format_error *error);

/* The smallest leg, in sectors, whose array is exactly size sectors.
 * 0, or -EINVAL with *error.
 */
extern int layout_1_2_leg (uint64_t size, uint32_t chunksize,
                           uint64_t *leg_sectors, struct format_error *error);

/* Superblock, bitmap, bad-block log and data of one leg lie inside it and do
 * not overlap, and the bits fit the room before whatever follows the bitmap.
 * bitmap_superblock may be NULL.  0, or -EINVAL with *error.
 */
extern int layout_check (const struct superblock_1 *superblock,
                         const struct bitmap_superblock *bitmap_superblock,
                         uint64_t leg_sectors, struct format_error *error);

#endif /* MDBITMAP_LAYOUT_H */
