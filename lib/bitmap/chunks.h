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
  uint16_t *state; /* of each chunk; NULL: none was ever SET */
  uint16_t set;    /* chunks that are SET: blocks without are passed over */
  uint16_t needed; /* ... that are NEEDED */
};

/* Blocks and images, all of 4 KiB, are cut from slabs, and are given back with
 * the bitmap: one by one, each would cost a head, and what its neighbours of
 * other sizes waste.
 */
#define SLAB_PIECE 4096
#define SLAB_LEAST 2 /* pieces: what a small array needs */
#define SLAB_MOST  256

struct slab {
  struct slab *next;
  uint8_t pieces[][SLAB_PIECE];
};

/* The chunks that a round makes durable, and maybe others between them: those
 * that are SET, not DURABLE and of its parity are its own.
 */
#define ROUND_RANGES 128

struct round_chunks {
  unsigned chunks; /* in all */
  unsigned n;      /* ranges */
  struct chunk_range {
    uint64_t first, last;
  } ranges[ROUND_RANGES];
};

/* A writer that goes from chunk to chunk; see ahead.c. */
#define STREAMS 16

struct stream {
  uint64_t from, next; /* where it will touch a clear bit: mostly at next */
  uint64_t last;       /* touch number, for eviction */
  unsigned score;
  unsigned ahead; /* chunks that were set ahead the last time */
};

/* When lazy clearing looks at a page; see clear.c. */
struct pace {
  bool carried; /* by a round since the last pass, for a chunk of no stream */
  bool slow;    /* it is looked at each SLOW_PASSES passes only */
  bool young;   /* something in it was, at the last look */
  uint8_t skip; /* passes that leave it alone still */
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
  struct chunk_block *blocks;      /* by chunk / CHUNKS_PER_BLOCK */
  struct slab *slabs;              /* the last one first */
  unsigned slab_pieces, slab_used; /* of the last one */
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

  struct stream streams[STREAMS];
  uint64_t touches; /* requests that found a bit clear */

  struct pace *paces;         /* by page */
  uint64_t carried_round;     /* the last round that carried such a page */
  uint64_t carried_rounds;    /* how many since the last pass */
  struct rt_cond breath_cond; /* nobody signals it */

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
extern void
bitmap_set_needed (struct bitmap *bitmap, uint64_t chunk, uint16_t *state);

/* The page must be written by the filling round. */
extern void bitmap_mark_dirty (struct bitmap *bitmap, uint64_t page);

/* The chunk's bit goes out with the filling round. */
extern void
bitmap_gather (struct bitmap *bitmap, uint64_t chunk, uint16_t *state);

/* A request has set bits, of chunks from touched on to last: maybe more are to
 * be set ahead of it.  Returns the round that carries those, or 0.
 */
extern uint64_t bitmap_set_ahead (struct bitmap *bitmap, uint64_t offset,
                                  uint64_t touched, uint64_t last);

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
