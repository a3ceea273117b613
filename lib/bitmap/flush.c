/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Group commit: making bits durable before data.
 *
 * Bits that are set gather in the filling round.  One of the writers that
 * wait leads the round: it takes copies of the dirty pages, writes them to
 * every copy of the bitmap, and publishes; the others sleep.  Those who came
 * too late are in the next round, which is as full as that one was slow.
 *
 * Invariants:
 *   1. No two writes of pages are in flight together (the flag writing, which
 *      rounds and header writes both take).  So a page never has two writes
 *      under way that might land in either order.
 *   2. A round is published (its chunks become DURABLE, its followers wake)
 *      only when every copy that is still believed has its pages, and the
 *      loss of any other copy is on record: store->settle.
 *   3. If no copy could be written, the chunks of the round stay SET and
 *      join the filling round: they are durable nowhere, and every writer of
 *      the round fails.
 *
 * What a leader may wait for: the writing flag (whose holder waits for
 * devices only), devices, and then, with the flag released, settle.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/chunks.h"

/* Pages that one call of the store writes. */
#define PAGES_AT_ONCE 64

/* The longest that a leader waits for company. */
#define GATHER_NANOSECONDS 200000

/* ---- the writing flag ---- */

static void
writing_begin (struct bitmap *bitmap)
{
  rt_order_enter (RT_ORDER_PAGE);
  while (bitmap->writing)
    rt_cond_wait (&bitmap->writing_cond, bitmap->lock);
  bitmap->writing = true;
}

static void
writing_end (struct bitmap *bitmap)
{
  assert (bitmap->writing);
  bitmap->writing = false;
  rt_cond_broadcast (&bitmap->writing_cond);
  rt_order_leave (RT_ORDER_PAGE);
}

/* ---- writing pages ---- */

/* What a page looks like now. */
static void
render_page (struct bitmap *bitmap, uint64_t page, uint8_t *to)
{
  const uint8_t *image = bitmap_image (bitmap, page);

  assert (image); /* checked by prepare_images */
  memcpy (to, image, BITMAP_PAGE_BYTES);
  if (page == 0)
    bitmap_superblock_encode (&bitmap->header, to);
}

/* Write these pages as they are now.  The lock is held, released for the
 * I/O, and held again; writing is ours.
 */
static int
write_pages (struct bitmap *bitmap, const uint64_t *pages, unsigned n)
{
  struct buffer *images = buffer_new ((size_t)n * BITMAP_PAGE_BYTES);
  int err;

  assert (bitmap->writing && n <= PAGES_AT_ONCE);
  if (!images)
    return -ENOMEM;
  for (unsigned i = 0; i < n; ++i) {
    if (!bitmap_image (bitmap, pages[i])) {
      buffer_unref (images);
      return -ENOMEM;
    }
    render_page (bitmap, pages[i], images->data + i * BITMAP_PAGE_BYTES);
  }
  bitmap->counters.pages += n;
  rt_mutex_unlock (bitmap->lock);
  err = bitmap->store->write (bitmap->store, images, pages, n);
  buffer_unref (images);
  rt_mutex_lock (bitmap->lock);
  return err;
}

static int
compare_pages (const void *a, const void *b)
{
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

  return x < y ? -1 : x > y;
}

/* Write what is dirty when it begins.  The list is taken whole: a page that
 * becomes dirty again meanwhile belongs to the filling round, whose leader
 * will find it on the new list.
 */
static int
write_dirty (struct bitmap *bitmap)
{
  uint64_t *pages = bitmap->dirty;
  uint64_t count = bitmap->dirty_count, done = 0;
  int err = 0;

  bitmap->dirty = bitmap->taken;
  bitmap->dirty_count = 0;
  bitmap->taken = pages;
  for (uint64_t i = 0; i < count; ++i)
    bitmap->is_dirty[pages[i]] = false;
  qsort (pages, count, sizeof pages[0], compare_pages);
  while (done < count && err == 0) {
    unsigned n = (unsigned)min_u64 (count - done, PAGES_AT_ONCE);

    err = write_pages (bitmap, pages + done, n);
    if (err == 0)
      done += n;
  }
  for (; done < count; ++done)
    bitmap_mark_dirty (bitmap, pages[done]);
  return err;
}

/* ---- rounds ---- */

static void
publish_chunk (struct bitmap *bitmap, uint64_t chunk, unsigned parity,
               bool success)
{
  uint16_t *state = bitmap_chunk_state (bitmap, chunk);

  if (!state || !(*state & CHUNK_SET) || (*state & CHUNK_DURABLE)
      || !!(*state & CHUNK_ROUND) != parity)
    return;
  if (success)
    *state |= CHUNK_DURABLE;
  else
    bitmap_gather (bitmap, chunk, state);
}

/* The round has ended: its chunks are durable, or gather again. */
static void
publish (struct bitmap *bitmap, uint64_t round, bool success)
{
  unsigned parity = round & 1;
  struct round_chunks *gathered = &bitmap->gathered[parity];

  for (unsigned i = 0; i < gathered->n; ++i) {
    const struct chunk_range *range = &gathered->ranges[i];

    for (uint64_t chunk = range->first; chunk <= range->last; ++chunk) {
      if (bitmap_chunk_state (bitmap, chunk))
        publish_chunk (bitmap, chunk, parity, success);
      else
        chunk |= CHUNKS_PER_BLOCK - 1; /* nothing in this block */
    }
  }
  gathered->n = 0;
  gathered->chunks = 0;
}

/* Before a round closes: the writers that the last one released will mostly
 * be back at once with their next requests.  Half a round's time is well
 * spent on waiting for them, since a round that they just miss costs them a
 * whole one; alone, or after a pause, nobody is expected.
 */
static void
gather (struct bitmap *bitmap)
{
  uint64_t now = rt_now ();
  uint64_t deadline =
      now + min_u64 (bitmap->last_duration / 2, GATHER_NANOSECONDS);

  if (bitmap->expected < 2 || now - bitmap->last_end > bitmap->last_duration)
    return;
  bitmap->gathering = true;
  while (bitmap->joined < bitmap->expected
         && rt_cond_wait_until (&bitmap->gather_cond, bitmap->lock, deadline))
    ;
  bitmap->gathering = false;
}

static void
join (struct bitmap *bitmap)
{
  bitmap->joined++;
  if (bitmap->gathering && bitmap->joined >= bitmap->expected)
    rt_cond_signal (&bitmap->gather_cond);
}

/* Lead one round.  0, or why it failed. */
static int
lead (struct bitmap *bitmap)
{
  uint64_t round, start;
  unsigned joined;
  int err;

  gather (bitmap);
  writing_begin (bitmap);
  round = rounds_begin (&bitmap->rounds);
  joined = bitmap->joined;
  bitmap->joined = 0;
  start = rt_now ();
  if (bitmap->dirty_count > 0)
    bitmap->counters.rounds++;
  log_debug (bitmap->log, LOG_BITMAP, "bitmap: round %ju: %u chunks, %ju pages",
             (uintmax_t)round, bitmap->gathered[round & 1].chunks,
             (uintmax_t)bitmap->dirty_count);
  err = write_dirty (bitmap);
  writing_end (bitmap);
  if (err == 0)
    err = bitmap->store->settle (bitmap->store);
  publish (bitmap, round, err == 0);
  bitmap->last_end = rt_now ();
  bitmap->last_duration = bitmap->last_end - start;
  bitmap->expected = joined + bitmap->joined;
  rounds_end (&bitmap->rounds, err == 0);
  return err;
}

int
bitmap_flush (struct bitmap *bitmap, uint64_t need)
{
  if (need == bitmap->rounds.filling)
    join (bitmap);
  for (;;) {
    switch (rounds_join (&bitmap->rounds, bitmap->lock, need)) {
    case ROUNDS_DONE:
      return 0;
    case ROUNDS_FAILED:
      return -EIO;
    case ROUNDS_LEAD:
      (void)lead (bitmap); /* the next turn tells */
      break;
    }
  }
}

static int
write_whole (struct bitmap *bitmap)
{
  for (uint64_t page = 0; page < bitmap->pages; ++page)
    bitmap_mark_dirty (bitmap, page);
  return bitmap_flush_dirty (bitmap);
}

int
bitmap_write_all (struct bitmap *bitmap, bool stale)
{
  int err;

  if (stale) {
    /* Some copy's header must not be believed before its bits are there. */
    bitmap->header.state |= BITMAP_STALE;
    err = write_whole (bitmap);
    bitmap->header.state &= ~(uint32_t)BITMAP_STALE;
    if (err != 0)
      return err;
    bitmap_mark_dirty (bitmap, 0);
    return bitmap_flush_dirty (bitmap);
  }
  return write_whole (bitmap);
}

int
bitmap_flush_dirty (struct bitmap *bitmap)
{
  if (bitmap->dirty_count == 0)
    return 0;
  return bitmap_flush (bitmap, bitmap->rounds.filling);
}

/* ---- the header ---- */

int
bitmap_write_header (struct bitmap *bitmap, uint64_t events,
                     uint64_t events_cleared)
{
  const uint64_t page = 0;
  int err;

  assert (events >= bitmap->header.events);
  assert (events_cleared >= bitmap->header.events_cleared);
  bitmap->header.events = events;
  bitmap->header.events_cleared = events_cleared;
  writing_begin (bitmap);
  err = write_pages (bitmap, &page, 1);
  writing_end (bitmap);
  return err;
}

const struct bitmap_superblock *
bitmap_header (const struct bitmap *bitmap)
{
  return &bitmap->header;
}

void
bitmap_set_daemon_sleep (struct bitmap *bitmap, uint32_t seconds)
{
  bitmap->header.daemon_sleep = seconds;
}
