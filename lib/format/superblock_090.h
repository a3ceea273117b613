/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Version 0.90, written by a little-endian machine, as a struct superblock:
 *
 *   sizes        KiB there, sectors here
 *   data_offset  0; data_size reaches to the superblock
 *   feature_map  FEATURE_BITMAP_OFFSET if the state has BITMAP_PRESENT, with
 *                bitmap_offset 8; no other feature exists
 *   set_uuid     the bytes in the order of the words, as the bitmap has them;
 *                mdadm prints each of the four words as a number
 *   dev_number   this_disk.number
 *   dev_roles    of each descriptor: faulty; the slot, if active and in sync;
 *                else spare.  A slot whose leg is missing has a descriptor
 *                (removed and faulty) and so the role faulty.  Encoding makes
 *                a slot missing if its number's role is neither a slot's nor
 *                what it was.
 *   devflags     of the state of this leg's descriptor
 *   chunksize    of bytes, sectors
 *   resync_offset  RESYNC_CLEAN if the state is clean; recovery_cp if it was
 *                written with these events; else 0
 *   device_uuid  zeroes, set_name empty, no bad-block log
 *
 * For superblock.c, whose functions say the rest.
 */

#ifndef MDBITMAP_SUPERBLOCK_090_H
#define MDBITMAP_SUPERBLOCK_090_H

#include "format/superblock.h"

#define SUPERBLOCK_090_MAX_DEV        27
#define SUPERBLOCK_090_BITMAP_OFFSET  8   /* sectors from the superblock */
#define SUPERBLOCK_090_BITMAP_SECTORS 120 /* of room */
#define SUPERBLOCK_090_RESERVED       128 /* sectors: superblock and bitmap */

extern int
superblock_090_decode (const uint8_t block[SUPERBLOCK_BYTES],
                       uint64_t leg_sectors, struct superblock *superblock,
                       bool *intact, struct format_error *error);
extern void superblock_090_encode (const struct superblock *superblock,
                                   uint8_t block[SUPERBLOCK_BYTES]);
extern void superblock_090_adopt_roles (struct superblock *superblock,
                                        const struct superblock *table);
extern uint32_t superblock_090_checksum (const uint8_t *block);

#endif /* MDBITMAP_SUPERBLOCK_090_H */
