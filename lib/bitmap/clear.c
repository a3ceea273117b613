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
 * page on every leg.  Hence a chunk is chosen only at the second look after it
 * was last touched.  A page is looked at in each pass, so that is between one
 * and two times daemon_sleep later.
 *
 * Where a trickle of writes goes all over the place that is too soon: each
 * write would find its bit clear again.  So pages that are busy are looked at
 * in each sixth pass only, and a chunk of theirs lives six times as long:
 *   - busy becomes a page that was written to set the bit of a chunk (of no
 *     stream, see ahead.c) since the last pass, if rounds that did so, for
 *     whatever page, were many in that time;
 *   - it stays so until a look finds nothing in it that was written since the
 *     look before, that is, until it can be cleared as a whole.
 * What it costs: after a crash all is resynced that was written to such a page
 * in the last minute, with a daemon_sleep of 5 seconds, and not in the last
 * ten seconds; and the array is marked clean that much later.  What it does
 * not: a chunk that is no longer written loses its bit, however busy its page.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/chunks.h"

/* Blocks that are looked at before others may have the lock for a moment, and
 * how many that are passed over count as one: 16 Ki chunks, some tens of
 * microseconds.
 */
#define BLOCKS_AT_ONCE   8
#define PASSED_PER_BLOCK 256

/* The pause after that. */
#define BREATH_NANOSECONDS 50000

/* Rounds between two passes that make a page busy, and how much longer its
 * chunks live.
 */
#define BUSY_ROUNDS 8
#define SLOW_PASSES 6

/* ---- which pages ---- */

/* A pass begins: is the page looked at (skip is 0)? */
static void
pace_page (struct pace *pace, bool busy, bool now)
{
  if (now)
    *pace = (struct pace){ .skip = 0 };
  else if (pace->skip > 0)
    pace->skip--;
  else {
    if (pace->slow) /* it was looked at in the last pass */
      pace->slow = pace->young || pace->carried;
    else
      pace->slow = pace->carried && busy;
    pace->skip = pace->slow ? SLOW_PASSES - 1 : 0;
  }
  pace->carried = false;
  if (pace->skip == 0)
    pace->young = false;
}

static void
pace_pages (struct bitmap *bitmap, bool now)
{
  bool busy = bitmap->carried_rounds >= BUSY_ROUNDS;

  bitmap->carried_rounds = 0;
  for (uint64_t page = 0; page < bitmap->pages; ++page)
    pace_page (&bitmap->paces[page], busy, now);
}

/* A block lies in one page. */
static bool
is_looked_at (const struct bitmap *bitmap, uint64_t block)
{
  uint64_t page = bitmap_chunk_page (block * CHUNKS_PER_BLOCK);

  return bitmap->paces[page].skip == 0;
}

/* ---- which chunks ---- */

/* Call each (chunk, state) for SET chunks of pages that are looked at, from
 * block *cursor on, in BLOCKS_AT_ONCE blocks that have any.  True if there is
 * more.
 */
static bool
each_set_chunk (struct bitmap *bitmap, uint64_t *cursor, void *opaque,
                void (*each) (struct bitmap *bitmap, uint64_t chunk,
                              uint16_t *state, void *opaque))
{
  uint64_t blocks = div_up (bitmap->chunks, CHUNKS_PER_BLOCK);
  unsigned left = BLOCKS_AT_ONCE * PASSED_PER_BLOCK;

  for (; *cursor < blocks && left >= PASSED_PER_BLOCK; ++*cursor) {
    struct chunk_block *block = &bitmap->blocks[*cursor];

    left--;
    if (block->set == 0 || !is_looked_at (bitmap, *cursor))
      continue;
    left -= PASSED_PER_BLOCK - 1;
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

  if (young)
    bitmap->paces[bitmap_chunk_page (chunk)].young = true;
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

  pace_pages (bitmap, now);
  if (bitmap->marked == 0)
    return 0;
  while (each_set_chunk (bitmap, &cursor, &selection, select_chunk))
    if (!now)
      bitmap_breathe (bitmap);
  return selection.chosen;
}

/* A mutex goes to who asks first: unlocking it for a moment would let nobody
 * in who sleeps.
 */
void
bitmap_breathe (struct bitmap *bitmap)
{
  (void)rt_cond_wait_until (&bitmap->breath_cond, bitmap->lock,
                            rt_now () + BREATH_NANOSECONDS);
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
    bitmap_set_needed (bitmap, chunk, state);
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

/* The chunks, of eight, that have their bit in the byte. */
static int
load_byte (struct bitmap *bitmap, uint64_t chunk, unsigned byte, bool needed)
{
  int err = 0;

  for (; byte != 0 && err == 0; byte &= byte - 1)
    err = load_chunk (bitmap, chunk + (unsigned)__builtin_ctz (byte), needed);
  return err;
}

/* By the bytes of the images; where they begin eight that are zeroes in both,
 * as in most of a large array, these are passed over at once.
 */
int
bitmap_load_page (struct bitmap *bitmap, uint64_t page, const uint8_t *image,
                  bool needed, bool first_copy, bool *differs)
{
  uint64_t first, end;
  int err = 0;

  page_chunks (bitmap, page, &first, &end);
  for (uint64_t chunk = first; chunk < end && err == 0; chunk += 8) {
    const uint64_t at = bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES;
    const uint8_t *merged = bitmap->images[page];
    unsigned valid = 0xff >> (8 - min_u64 (end - chunk, 8));

    if (at % 8 == 0 && get_le64 (image + at) == 0
        && (!merged || get_le64 (merged + at) == 0)) {
      chunk += 7 * 8;
      continue;
    }
    if (!first_copy && ((image[at] ^ (merged ? merged[at] : 0)) & valid) != 0)
      *differs = true;
    err = load_byte (bitmap, chunk, image[at] & valid, needed);
  }
  return err;
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
