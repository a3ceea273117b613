/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Versions 1.0, 1.1 and 1.2: the same bytes in three places.  For superblock.c,
 * whose functions say the rest.
 */

#ifndef MDBITMAP_SUPERBLOCK_1_H
#define MDBITMAP_SUPERBLOCK_1_H

#include "format/superblock.h"

extern int
superblock_1_decode (enum superblock_version version,
                     const uint8_t block[SUPERBLOCK_BYTES],
                     uint64_t leg_sectors, struct superblock *superblock,
                     bool *intact, struct format_error *error);
extern void superblock_1_encode (const struct superblock *superblock,
                                 uint8_t block[SUPERBLOCK_BYTES]);
extern uint32_t superblock_1_checksum (const uint8_t *block, uint32_t max_dev);

#endif /* MDBITMAP_SUPERBLOCK_1_H */
