/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Inside lib/bitmap only: the state of chunks and pages. */

#ifndef MDBITMAP_CHUNKS_H
#define MDBITMAP_CHUNKS_H

#include "base/rounds.h"
#include "bitmap/bitmap.h"

/* Two bytes for each chunk: flags, and how many writes are in flight. */
enum chunk_flags {
  CHUNK_WRITERS = 0x03ff, /* mask */
  CHUNK_SET = 0x0400,     /* its bit is set in the page image */
  CHUNK_DURABLE = 0x0800, /* ... and durable on every copy */
  CHUNK_ROUND = 0x1000,   /* SET, not DURABLE: the parity of its round */
  CHUNK_TOUCHED = 0x2000, /* written since clear last looked */
  CHUNK_CHOSEN = 0x4000,  /* clear wants it, and nobody has touched it since */
  CHUNK_NEEDED = 0x8000,  /* in-sync legs may differ: resync it */
};

/* States come in blocks of 4 KiB, allocated when the first chunk of the
 * block is set, so that a large and quiet array costs nothing.
 */
#define CHUNKS_PER_BLOCK 2048

struct chunk_block {
  unsigned set; /* chunks that are SET: blocks without are passed over */
  uint16_t state[CHUNKS_PER_BLOCK];
};

/* The chunks that a round makes durable; past the list, every chunk between
 * low and high is looked at.
 */
#define ROUND_LIST 256

struct round_chunks {
  unsigned n; /* may exceed ROUND_LIST */
  uint64_t list[ROUND_LIST];
  uint64_t low, high;
};

struct bitmap {
  struct bitmap_store *store;
  struct rt_mutex *lock; /* guards everything below */
  const struct log *log;

  uint64_t size;   /* bytes of the array */
  unsigned shift;  /* log2 of the chunk size */
  uint64_t chunks; /* in all */
  uint64_t pages;  /* of 4 KiB */

  struct bitmap_superblock header; /* the truth; page 0 is made from it */
  uint8_t **images;                /* by page; NULL: no bit was ever set */
  struct chunk_block **blocks;     /* by chunk / CHUNKS_PER_BLOCK, or NULL */
  uint64_t marked;                 /* chunks that are SET */
  uint64_t needed;                 /* chunks that are NEEDED */
  struct rt_cond writers_cond;     /* a saturated counter went down */

  /* Pages that differ from what the copies have, each once; and those that
   * the leader of a round has taken.  Room for all pages in both.
   */
  uint64_t *dirty;
  uint64_t dirty_count;
  bool *is_dirty; /* by page */
  uint64_t *taken;

  struct rounds rounds;            /* see flush.c */
  struct round_chunks gathered[2]; /* by parity of the round */
  bool writing;                    /* pages are being written */
  struct rt_cond writing_cond;

  /* How full rounds get; see gather in flush.c. */
  unsigned joined;        /* writers that wait for the filling round */
  unsigned expected;      /* ... and that may come before it is worthwhile */
  uint64_t last_end;      /* rt_now, when the last round ended */
  uint64_t last_duration; /* nanoseconds */
  bool gathering;
  struct rt_cond gather_cond;

  struct bitmap_counters counters;
};

/* The state of a chunk, or NULL if its block was never allocated. */
extern uint16_t *bitmap_chunk_state (struct bitmap *bitmap, uint64_t chunk);
/* As above, allocated if need be; NULL when out of memory. */
extern uint16_t *bitmap_chunk_state_new (struct bitmap *bitmap, uint64_t chunk);

/* Set the bit of a chunk, or clear it, in the image and the state.  The
 * image of the page exists.
 */
extern void
bitmap_set_bit (struct bitmap *bitmap, uint64_t chunk, uint16_t *state);
extern void
bitmap_clear_bit (struct bitmap *bitmap, uint64_t chunk, uint16_t *state);
extern void bitmap_set_needed (struct bitmap *bitmap, uint16_t *state);

/* The page must be written by the filling round. */
extern void bitmap_mark_dirty (struct bitmap *bitmap, uint64_t page);

/* The chunk's bit goes out with the filling round. */
extern void
bitmap_gather (struct bitmap *bitmap, uint64_t chunk, uint16_t *state);

/* The image of a page, made if need be; NULL when out of memory. */
extern uint8_t *bitmap_image (struct bitmap *bitmap, uint64_t page);

/* First and last chunk of a range; length is not 0. */
static inline void
bitmap_range_chunks (const struct bitmap *bitmap, uint64_t offset,
                     uint64_t length, uint64_t *first, uint64_t *last)
{
  *first = offset >> bitmap->shift;
  *last = (offset + length - 1) >> bitmap->shift;
}

#endif /* MDBITMAP_CHUNKS_H */
