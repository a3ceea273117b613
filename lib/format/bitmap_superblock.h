/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The header of a write-intent bitmap, and where its bits are. */

#ifndef MDBITMAP_BITMAP_SUPERBLOCK_H
#define MDBITMAP_BITMAP_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"

#define BITMAP_MAGIC              0x6d746962u
#define BITMAP_SUPERBLOCK_BYTES   256
#define BITMAP_PAGE_BYTES         4096
#define BITMAP_VERSION_HOSTENDIAN 3 /* bit-identical to 4 if written on x86 */
#define BITMAP_VERSION            4

enum bitmap_superblock_state {
  BITMAP_STALE = 2,
  BITMAP_WRITE_ERROR = 4,
};

struct bitmap_superblock {
  uint32_t version;
  uint8_t uuid[16];
  uint64_t events;
  uint64_t events_cleared;
  uint64_t sync_size; /* sectors */
  uint32_t state;
  uint32_t chunksize;    /* bytes, a power of two */
  uint32_t daemon_sleep; /* seconds */
  uint32_t write_behind;
  uint32_t sectors_reserved;
  uint32_t nodes;
  uint8_t block[BITMAP_SUPERBLOCK_BYTES]; /* as read, or zeroes */
};

/* Decode and check everything that can be checked by itself.  -ENOENT: no
 * magic; -EINVAL: *error says why (versions 5 and 6 are refused by name).
 * *intact: magic was there and *bitmap_superblock is filled, for examine.
 */
extern int
bitmap_superblock_decode (const uint8_t block[BITMAP_SUPERBLOCK_BYTES],
                          struct bitmap_superblock *bitmap_superblock,
                          bool *intact, struct format_error *error);

extern void
bitmap_superblock_encode (const struct bitmap_superblock *bitmap_superblock,
                          uint8_t block[BITMAP_SUPERBLOCK_BYTES]);

/* Chunks of an array of that many sectors; chunksize in bytes. */
extern uint64_t bitmap_chunks (uint64_t size, uint32_t chunksize);

/* Bytes of header and bits together, not rounded. */
extern uint64_t bitmap_bytes (uint64_t chunks);

/* Byte of the bitmap (header included) that holds the chunk's bit. */
static inline uint64_t
bitmap_bit_byte (uint64_t chunk)
{
  return BITMAP_SUPERBLOCK_BYTES + (chunk >> 3);
}

static inline uint8_t
bitmap_bit_mask (uint64_t chunk)
{
  return (uint8_t)(1u << (chunk & 7));
}

/* The first chunk whose bit is in that 4 KiB page. */
static inline uint64_t
bitmap_page_first_chunk (uint64_t page)
{
  return page == 0 ? 0
                   : (page * BITMAP_PAGE_BYTES - BITMAP_SUPERBLOCK_BYTES) * 8;
}

static inline uint64_t
bitmap_chunk_page (uint64_t chunk)
{
  return bitmap_bit_byte (chunk) / BITMAP_PAGE_BYTES;
}

#endif /* MDBITMAP_BITMAP_SUPERBLOCK_H */
