/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The state of chunks: bits, writers, and what must be resynced.
 *
 * A chunk's state is two bytes (chunks.h).  What is always true, under the
 * lock:
 *   1. SET is the chunk's bit in the image of its page, no more and no less.
 *   2. DURABLE implies SET, and that every copy has the bit.  A chunk that is
 *      SET and not DURABLE is in the gathered list of the round that carries
 *      it: the filling one, or the one being led (its parity tells which).
 *   3. Writers are counted only on SET chunks, and NEEDED is set only on SET
 *      chunks: neither can be forgotten by clearing.
 *   4. marked and needed are the numbers of SET and of NEEDED chunks.
 *
 * A bit that was cleared is no longer DURABLE at once, though the copies may
 * still have it for a while: who sets it again waits for a write of its own.
 *
 * The lock is the array's.  Everything here is short and does no I/O.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/chunks.h"

static_assert (CHUNKS_PER_BLOCK * sizeof (uint16_t) == SLAB_PIECE,
               "a block is a piece");
static_assert (BITMAP_PAGE_BYTES == SLAB_PIECE, "an image is a piece");

static uint64_t
block_count (const struct bitmap *bitmap)
{
  return div_up (bitmap->chunks, CHUNKS_PER_BLOCK);
}

struct bitmap *
bitmap_new (const struct bitmap_superblock *header, uint64_t size,
            struct bitmap_store *store, struct rt_mutex *lock,
            const struct log *log)
{
  struct bitmap *bitmap = rt_calloc (1, sizeof *bitmap);

  if (!bitmap)
    return NULL;
  assert (is_power_of_2 (header->chunksize) && size > 0);
  bitmap->store = store;
  bitmap->lock = lock;
  bitmap->log = log;
  bitmap->size = size;
  bitmap->shift = (unsigned)__builtin_ctz (header->chunksize);
  bitmap->chunks = bitmap_chunks (size / SECTOR_SIZE, header->chunksize);
  bitmap->pages = div_up (bitmap_bytes (bitmap->chunks), BITMAP_PAGE_BYTES);
  bitmap->header = *header;
  rt_cond_init (&bitmap->writers_cond);
  rt_cond_init (&bitmap->writing_cond);
  rt_cond_init (&bitmap->gather_cond);
  rt_cond_init (&bitmap->breath_cond);
  rounds_init (&bitmap->rounds);
  bitmap->images = rt_calloc (bitmap->pages, sizeof bitmap->images[0]);
  bitmap->dirty = rt_calloc (bitmap->pages, sizeof bitmap->dirty[0]);
  bitmap->taken = rt_calloc (bitmap->pages, sizeof bitmap->taken[0]);
  bitmap->is_dirty = rt_calloc (bitmap->pages, sizeof bitmap->is_dirty[0]);
  bitmap->paces = rt_calloc (bitmap->pages, sizeof bitmap->paces[0]);
  bitmap->blocks = rt_calloc (block_count (bitmap), sizeof bitmap->blocks[0]);
  if (!bitmap->images || !bitmap->dirty || !bitmap->taken || !bitmap->is_dirty
      || !bitmap->paces || !bitmap->blocks) {
    bitmap_free (bitmap);
    return NULL;
  }
  return bitmap;
}

void
bitmap_free (struct bitmap *bitmap)
{
  if (!bitmap)
    return;
  while (bitmap->slabs) {
    struct slab *slab = bitmap->slabs;

    bitmap->slabs = slab->next;
    rt_free (slab);
  }
  rt_free (bitmap->images);
  rt_free (bitmap->blocks);
  rt_free (bitmap->dirty);
  rt_free (bitmap->taken);
  rt_free (bitmap->is_dirty);
  rt_free (bitmap->paces);
  rounds_destroy (&bitmap->rounds);
  rt_cond_destroy (&bitmap->writers_cond);
  rt_cond_destroy (&bitmap->writing_cond);
  rt_cond_destroy (&bitmap->gather_cond);
  rt_cond_destroy (&bitmap->breath_cond);
  rt_free (bitmap);
}

void
bitmap_set_store (struct bitmap *bitmap, struct bitmap_store *store)
{
  assert (!bitmap->writing);
  bitmap->store = store;
}

/* ---- blocks of states and images of pages ---- */

/* The block that the chunk is in. */
static inline struct chunk_block *
block_of (struct bitmap *bitmap, uint64_t chunk)
{
  return &bitmap->blocks[chunk / CHUNKS_PER_BLOCK];
}

/* Slabs double, so that few are made and most of a small one is used.  What is
 * not yet used is not touched either: the kernel has no page for it.
 */
static bool
slab_new (struct bitmap *bitmap)
{
  unsigned n = bitmap->slab_pieces == 0 ? SLAB_LEAST : 2 * bitmap->slab_pieces;
  struct slab *slab;

  n = n > SLAB_MOST ? SLAB_MOST : n;
  slab = rt_alloc (sizeof *slab + n * sizeof slab->pieces[0]);
  if (!slab)
    return false;
  slab->next = bitmap->slabs;
  bitmap->slabs = slab;
  bitmap->slab_pieces = n;
  bitmap->slab_used = 0;
  return true;
}

/* Zeroes; NULL when out of memory. */
static void *
piece_new (struct bitmap *bitmap)
{
  if (bitmap->slab_used == bitmap->slab_pieces && !slab_new (bitmap))
    return NULL;
  return memset (bitmap->slabs->pieces[bitmap->slab_used++], 0, SLAB_PIECE);
}

uint16_t *
bitmap_chunk_state (struct bitmap *bitmap, uint64_t chunk)
{
  struct chunk_block *block;

  assert (chunk < bitmap->chunks);
  block = block_of (bitmap, chunk);
  return block->state ? &block->state[chunk % CHUNKS_PER_BLOCK] : NULL;
}

uint16_t *
bitmap_chunk_state_new (struct bitmap *bitmap, uint64_t chunk)
{
  struct chunk_block *block = block_of (bitmap, chunk);

  if (!block->state)
    block->state = piece_new (bitmap);
  if (!block->state || !bitmap_image (bitmap, bitmap_chunk_page (chunk)))
    return NULL;
  return bitmap_chunk_state (bitmap, chunk);
}

/* Bits behind the last chunk mean nothing; mdadm and the kernel leave them
 * set, so that is how we write them.
 */
static void
set_padding (const struct bitmap *bitmap, uint64_t page, uint8_t *image)
{
  uint64_t start = page * BITMAP_PAGE_BYTES;
  uint64_t end = bitmap_bytes (bitmap->chunks);
  unsigned over = (unsigned)(bitmap->chunks & 7);

  if (end >= start + BITMAP_PAGE_BYTES)
    return;
  if (over != 0)
    image[end - 1 - start] |= (uint8_t)(0xff << over);
  memset (image + (end - start), 0xff, BITMAP_PAGE_BYTES - (end - start));
}

uint8_t *
bitmap_image (struct bitmap *bitmap, uint64_t page)
{
  assert (page < bitmap->pages);
  if (!bitmap->images[page]) {
    bitmap->images[page] = piece_new (bitmap);
    if (bitmap->images[page])
      set_padding (bitmap, page, bitmap->images[page]);
  }
  return bitmap->images[page];
}

static uint8_t *
bit_byte (struct bitmap *bitmap, uint64_t chunk)
{
  uint8_t *image = bitmap->images[bitmap_chunk_page (chunk)];

  assert (image);
  return &image[bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES];
}

/* ---- changes of a chunk's state ---- */

void
bitmap_set_bit (struct bitmap *bitmap, uint64_t chunk, uint16_t *state)
{
  assert (!(*state & (CHUNK_SET | CHUNK_DURABLE | CHUNK_NEEDED)));
  *bit_byte (bitmap, chunk) |= bitmap_bit_mask (chunk);
  *state |= CHUNK_SET;
  block_of (bitmap, chunk)->set++;
  bitmap->marked++;
}

void
bitmap_clear_bit (struct bitmap *bitmap, uint64_t chunk, uint16_t *state)
{
  assert (*state & CHUNK_SET);
  assert (*state & CHUNK_DURABLE);
  assert (!(*state & (CHUNK_NEEDED | CHUNK_WRITERS)));
  *bit_byte (bitmap, chunk) &= (uint8_t)~bitmap_bit_mask (chunk);
  *state = 0;
  block_of (bitmap, chunk)->set--;
  bitmap->marked--;
}

void
bitmap_set_needed (struct bitmap *bitmap, uint64_t chunk, uint16_t *state)
{
  assert (*state & CHUNK_SET);
  *state &= (uint16_t)~CHUNK_CHOSEN;
  if (!(*state & CHUNK_NEEDED)) {
    *state |= CHUNK_NEEDED;
    block_of (bitmap, chunk)->needed++;
    bitmap->needed++;
  }
}

void
bitmap_mark_dirty (struct bitmap *bitmap, uint64_t page)
{
  if (bitmap->is_dirty[page])
    return;
  bitmap->is_dirty[page] = true;
  bitmap->dirty[bitmap->dirty_count++] = page;
}

/* How many chunks the range would have to grow by. */
static uint64_t
distance (const struct chunk_range *range, uint64_t chunk)
{
  if (chunk < range->first)
    return range->first - chunk;
  return chunk > range->last ? chunk - range->last : 0;
}

static void
add_to_round (struct round_chunks *gathered, uint64_t chunk)
{
  struct chunk_range *best =
      &gathered->ranges[gathered->n > 0 ? gathered->n - 1 : 0];

  gathered->chunks++;
  if (gathered->n == 0 || distance (best, chunk) > 1) {
    if (gathered->n < ROUND_RANGES) {
      best = &gathered->ranges[gathered->n++];
      best->first = best->last = chunk;
      return;
    }
    for (unsigned i = 0; i < ROUND_RANGES; ++i)
      if (distance (&gathered->ranges[i], chunk) < distance (best, chunk))
        best = &gathered->ranges[i];
  }
  best->first = min_u64 (best->first, chunk);
  best->last = max_u64 (best->last, chunk);
}

void
bitmap_gather (struct bitmap *bitmap, uint64_t chunk, uint16_t *state)
{
  unsigned parity = bitmap->rounds.filling & 1;

  assert (*state & CHUNK_SET);
  *state &= (uint16_t) ~(CHUNK_DURABLE | CHUNK_ROUND);
  if (parity)
    *state |= CHUNK_ROUND;
  add_to_round (&bitmap->gathered[parity], chunk);
  bitmap_mark_dirty (bitmap, bitmap_chunk_page (chunk));
}

/* ---- startwrite and endwrite ---- */

/* The round that makes a SET chunk durable, 0 if it is. */
static uint64_t
chunk_round (const struct bitmap *bitmap, uint16_t state)
{
  uint64_t filling = bitmap->rounds.filling;

  if (state & CHUNK_DURABLE)
    return 0;
  return !!(state & CHUNK_ROUND) == (filling & 1) ? filling : filling - 1;
}

static void
count_writer (uint16_t *state)
{
  *state += 1;
  *state &= (uint16_t)~CHUNK_CHOSEN;
  *state |= CHUNK_TOUCHED;
}

/* The steady case: the bit is durable.  False: something else is to be done,
 * and nothing was.
 */
static inline bool
start_steady (struct bitmap *bitmap, uint64_t chunk)
{
  struct chunk_block *block = block_of (bitmap, chunk);
  uint16_t *state;

  if (!block->state)
    return false;
  state = &block->state[chunk % CHUNKS_PER_BLOCK];
  if (!(*state & CHUNK_DURABLE) || (*state & CHUNK_WRITERS) == CHUNK_WRITERS)
    return false;
  count_writer (state);
  return true;
}

/* *touched: the first chunk of the request whose bit was clear. */
static int
chunk_startwrite (struct bitmap *bitmap, uint64_t chunk, uint64_t *need,
                  uint64_t *touched)
{
  uint16_t *state = bitmap_chunk_state_new (bitmap, chunk);

  if (!state)
    return -ENOMEM;
  while ((*state & CHUNK_WRITERS) == CHUNK_WRITERS)
    rt_cond_wait (&bitmap->writers_cond, bitmap->lock);
  if (!(*state & CHUNK_SET)) {
    bitmap_set_bit (bitmap, chunk, state);
    bitmap_gather (bitmap, chunk, state);
    *touched = min_u64 (*touched, chunk);
    log_debug (bitmap->log, LOG_BITMAP, "bitmap: set chunk %ju in round %ju",
               (uintmax_t)chunk, (uintmax_t)bitmap->rounds.filling);
  }
  count_writer (state);
  *need = max_u64 (*need, chunk_round (bitmap, *state));
  return 0;
}

static void
chunk_endwrite (struct bitmap *bitmap, uint64_t chunk, bool needed)
{
  uint16_t *state = bitmap_chunk_state (bitmap, chunk);

  assert (state && (*state & CHUNK_WRITERS) > 0);
  if ((*state & CHUNK_WRITERS) == CHUNK_WRITERS)
    rt_cond_broadcast (&bitmap->writers_cond);
  *state -= 1;
  if (needed)
    bitmap_set_needed (bitmap, chunk, state);
}

int
bitmap_startwrite (struct bitmap *bitmap, uint64_t offset, uint64_t length,
                   uint64_t *need)
{
  uint64_t first, last, touched = BITMAP_NO_CHUNK;
  int err;

  *need = 0;
  bitmap_range_chunks (bitmap, offset, length, &first, &last);
  for (uint64_t chunk = first; chunk <= last; ++chunk) {
    if (start_steady (bitmap, chunk))
      continue;
    err = chunk_startwrite (bitmap, chunk, need, &touched);
    if (err) {
      while (chunk-- > first)
        chunk_endwrite (bitmap, chunk, false);
      return err;
    }
  }
  if (touched != BITMAP_NO_CHUNK)
    *need = max_u64 (*need, bitmap_set_ahead (bitmap, offset, touched, last));
  return 0;
}

void
bitmap_endwrite (struct bitmap *bitmap, uint64_t offset, uint64_t length,
                 bool needed)
{
  uint64_t first, last;

  bitmap_range_chunks (bitmap, offset, length, &first, &last);
  for (uint64_t chunk = first; chunk <= last; ++chunk)
    chunk_endwrite (bitmap, chunk, needed);
}

/* ---- resync ---- */

uint64_t
bitmap_next_needed (struct bitmap *bitmap, uint64_t chunk)
{
  if (bitmap->needed == 0)
    return BITMAP_NO_CHUNK;
  while (chunk < bitmap->chunks) {
    const struct chunk_block *block = block_of (bitmap, chunk);

    if (block->needed == 0) {
      chunk = round_down (chunk, CHUNKS_PER_BLOCK) + CHUNKS_PER_BLOCK;
      continue;
    }
    if (block->state[chunk % CHUNKS_PER_BLOCK] & CHUNK_NEEDED)
      return chunk;
    chunk++;
  }
  return BITMAP_NO_CHUNK;
}

bool
bitmap_range_needed (struct bitmap *bitmap, uint64_t offset, uint64_t length)
{
  const uint16_t *state;
  uint64_t first, last;

  if (bitmap->needed == 0)
    return false;
  bitmap_range_chunks (bitmap, offset, length, &first, &last);
  for (uint64_t chunk = first; chunk <= last; ++chunk) {
    state = bitmap_chunk_state (bitmap, chunk);
    if (state && (*state & CHUNK_NEEDED))
      return true;
  }
  return false;
}

bool
bitmap_range_marked (struct bitmap *bitmap, uint64_t offset, uint64_t length)
{
  const uint16_t *state;
  uint64_t first, last;

  bitmap_range_chunks (bitmap, offset, length, &first, &last);
  for (uint64_t chunk = first; chunk <= last; ++chunk) {
    state = bitmap_chunk_state (bitmap, chunk);
    if (state && (*state & CHUNK_SET))
      return true;
  }
  return false;
}

void
bitmap_chunk_synced (struct bitmap *bitmap, uint64_t chunk)
{
  uint16_t *state = bitmap_chunk_state (bitmap, chunk);

  assert (state && (*state & CHUNK_NEEDED));
  *state &= (uint16_t)~CHUNK_NEEDED;
  *state |= CHUNK_TOUCHED; /* resync wrote to it */
  block_of (bitmap, chunk)->needed--;
  bitmap->needed--;
}

/* ---- numbers ---- */

uint64_t
bitmap_page_count (const struct bitmap *bitmap)
{
  return bitmap->pages;
}

uint32_t
bitmap_chunk_bytes (const struct bitmap *bitmap)
{
  return (uint32_t)1 << bitmap->shift;
}

uint64_t
bitmap_chunk_count (const struct bitmap *bitmap)
{
  return bitmap->chunks;
}

uint64_t
bitmap_marked (const struct bitmap *bitmap)
{
  return bitmap->marked;
}

uint64_t
bitmap_needed (const struct bitmap *bitmap)
{
  return bitmap->needed;
}

void
bitmap_get_counters (const struct bitmap *bitmap,
                     struct bitmap_counters *counters)
{
  *counters = bitmap->counters;
}
