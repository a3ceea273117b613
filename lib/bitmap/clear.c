/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Lazy clearing, and loading.
 *
 * A bit may be cleared when the legs are certain to be equal there for ever
 * after, whatever is lost in a crash: every write of the chunk has ended well
 * on every slot, and then every leg was flushed.  In steps, by the caller:
 *   1. bitmap_clear_select, under the lock: chunks with no writer, bit
 *      durable, no need of resync, untouched for a while, become CHOSEN;
 *   2. flush all legs, without the lock;
 *   3. bitmap_clear_apply, under the lock, only if no leg failed and none is
 *      missing: chunks that are still CHOSEN (startwrite takes that back)
 *      are cleared in the image, and the image goes out.
 * The image is not cleared in step 1: any write of the same page in between
 * would carry the clear out before the flush.
 *
 * It pays to be late: a chunk that is written again costs a write of its
 * page on every leg.  Hence a chunk is chosen only in the second pass after
 * it was last touched, between one and two times daemon_sleep later.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/chunks.h"

/* Blocks that are looked at before others may have the lock for a moment:
 * 64 Ki chunks, some tens of microseconds.
 */
#define BLOCKS_AT_ONCE 32

/* Call each (chunk, state) for SET chunks, from block *cursor on, in
 * BLOCKS_AT_ONCE blocks that have any.  True if there is more.
 */
static bool
each_set_chunk (struct bitmap *bitmap, uint64_t *cursor, void *opaque,
                void (*each) (struct bitmap *bitmap, uint64_t chunk,
                              uint16_t *state, void *opaque))
{
  uint64_t blocks = div_up (bitmap->chunks, CHUNKS_PER_BLOCK);
  unsigned looked = 0;

  for (; *cursor < blocks && looked < BLOCKS_AT_ONCE; ++*cursor) {
    struct chunk_block *block = bitmap->blocks[*cursor];

    if (!block || block->set == 0)
      continue;
    looked++;
    for (unsigned i = 0; i < CHUNKS_PER_BLOCK; ++i)
      if (block->state[i] & CHUNK_SET)
        each (bitmap, *cursor * CHUNKS_PER_BLOCK + i, &block->state[i], opaque);
  }
  return *cursor < blocks;
}

struct selection {
  bool now;
  uint64_t chosen;
};

static void
select_chunk (struct bitmap *bitmap, uint64_t chunk, uint16_t *state,
              void *opaque)
{
  struct selection *selection = opaque;
  bool young = (*state & CHUNK_TOUCHED) && !selection->now;

  (void)bitmap;
  (void)chunk;
  *state &= (uint16_t) ~(CHUNK_TOUCHED | CHUNK_CHOSEN);
  if (young || !(*state & CHUNK_DURABLE)
      || (*state & (CHUNK_WRITERS | CHUNK_NEEDED)))
    return;
  *state |= CHUNK_CHOSEN;
  selection->chosen++;
}

uint64_t
bitmap_clear_select (struct bitmap *bitmap, bool now)
{
  struct selection selection = { .now = now };
  uint64_t cursor = 0;

  if (bitmap->marked == 0)
    return 0;
  while (each_set_chunk (bitmap, &cursor, &selection, select_chunk)) {
    rt_mutex_unlock (bitmap->lock);
    rt_mutex_lock (bitmap->lock);
  }
  return selection.chosen;
}

static void
clear_chunk (struct bitmap *bitmap, uint64_t chunk, uint16_t *state,
             void *opaque)
{
  uint64_t *cleared = opaque;

  if (!(*state & CHUNK_CHOSEN))
    return;
  bitmap_clear_bit (bitmap, chunk, state);
  bitmap_mark_dirty (bitmap, bitmap_chunk_page (chunk));
  (*cleared)++;
}

bool
bitmap_clear_apply (struct bitmap *bitmap, uint64_t *cursor, uint64_t *cleared,
                    uint64_t *need)
{
  bool more = each_set_chunk (bitmap, cursor, cleared, clear_chunk);

  *need = bitmap->rounds.filling;
  return more;
}

/* ---- loading ---- */

static int
load_chunk (struct bitmap *bitmap, uint64_t chunk, bool needed)
{
  uint16_t *state = bitmap_chunk_state_new (bitmap, chunk);

  if (!state)
    return -ENOMEM;
  if (!(*state & CHUNK_SET))
    bitmap_set_bit (bitmap, chunk, state);
  *state |= CHUNK_DURABLE | CHUNK_TOUCHED;
  if (needed)
    bitmap_set_needed (bitmap, state);
  return 0;
}

/* Chunks whose bits lie in the page. */
static void
page_chunks (const struct bitmap *bitmap, uint64_t page, uint64_t *first,
             uint64_t *end)
{
  *first = bitmap_page_first_chunk (page);
  *end = min_u64 (bitmap_page_first_chunk (page + 1), bitmap->chunks);
}

int
bitmap_load_page (struct bitmap *bitmap, uint64_t page, const uint8_t *image,
                  bool needed, bool first_copy, bool *differs)
{
  uint64_t first, end;
  int err;

  page_chunks (bitmap, page, &first, &end);
  for (uint64_t chunk = first; chunk < end; ++chunk) {
    const uint8_t *byte = &image[bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES];
    const uint16_t *state = bitmap_chunk_state (bitmap, chunk);
    bool set = *byte & bitmap_bit_mask (chunk);
    bool was_set = state && (*state & CHUNK_SET);

    if (!first_copy && set != was_set)
      *differs = true;
    if (set) {
      err = load_chunk (bitmap, chunk, needed);
      if (err)
        return err;
    }
  }
  return 0;
}

int
bitmap_load_all_set (struct bitmap *bitmap, bool needed)
{
  int err;

  for (uint64_t chunk = 0; chunk < bitmap->chunks; ++chunk) {
    err = load_chunk (bitmap, chunk, needed);
    if (err)
      return err;
  }
  return 0;
}
