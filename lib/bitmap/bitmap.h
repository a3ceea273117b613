/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The write-intent bitmap: which chunks may differ between the legs.
 *
 * All functions are called with the lock that was given to bitmap_new held,
 * and return with it held; those that wait release it meanwhile (said where
 * it is so).  Offsets and lengths are bytes of the array.
 */

#ifndef MDBITMAP_BITMAP_H
#define MDBITMAP_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/rt.h"
#include "bitmap/store.h"
#include "format/bitmap_superblock.h"

struct bitmap;

/* size: bytes of the array.  The header gives the chunk size; it is copied.
 * Store, lock and log must outlive the bitmap.  All bits are clear.  NULL
 * when out of memory.
 */
extern struct bitmap *bitmap_new (const struct bitmap_superblock *header,
                                  uint64_t size, struct bitmap_store *store,
                                  struct rt_mutex *lock, const struct log *log);
extern void bitmap_free (struct bitmap *bitmap);

/* Its pages go there from now on, where they are already.  Nothing is being
 * written.
 */
extern void
bitmap_set_store (struct bitmap *bitmap, struct bitmap_store *store);

extern uint64_t bitmap_page_count (const struct bitmap *bitmap);

/* ---- loading, before the bitmap is used ---- */

/* Merge a page as read from one copy: bits that it has set are set here.
 * needed: the chunks must be resynced.  *differs is set to true if the copy
 * and the merge of all before it are not the same.  0 or -ENOMEM.
 */
extern int
bitmap_load_page (struct bitmap *bitmap, uint64_t page, const uint8_t *image,
                  bool needed, bool first, bool *differs);

/* Set every bit.  0 or -ENOMEM. */
extern int bitmap_load_all_set (struct bitmap *bitmap, bool needed);

/* Write every page to every copy.  stale: some copy is stale, so all are
 * marked as such until the bits are durable everywhere.  Waits.  0 or -EIO.
 */
extern int bitmap_write_all (struct bitmap *bitmap, bool stale);

/* ---- writing ---- */

/* A write of the range begins: the bits of its chunks are set, and maybe those
 * of some chunks behind it (ahead.c).  *need is the
 * round to give to bitmap_flush before any data goes out, or 0 if all of
 * them are durable.  May wait for other writers of the chunk.  0 or -ENOMEM,
 * in which case nothing was counted.
 */
extern int bitmap_startwrite (struct bitmap *bitmap, uint64_t offset,
                              uint64_t length, uint64_t *need);

/* Wait until the round is durable on every copy, leading it if nobody does.
 * 0 or -EIO.
 */
extern int bitmap_flush (struct bitmap *bitmap, uint64_t need);

/* Write the pages that wait to be written, if there are any: what a failed
 * round left behind.  0 or -EIO.
 */
extern int bitmap_flush_dirty (struct bitmap *bitmap);

/* The write has ended; needed: legs may have been left unequal. */
extern void bitmap_endwrite (struct bitmap *bitmap, uint64_t offset,
                             uint64_t length, bool needed);

/* ---- the header ---- */

/* Put these into the header and write it to every copy.  Waits.  0 or -EIO.
 * Does not settle: the caller records failures itself.
 */
extern int bitmap_write_header (struct bitmap *bitmap, uint64_t events,
                                uint64_t events_cleared);
extern const struct bitmap_superblock *
bitmap_header (const struct bitmap *bitmap);
/* For set values that the next write of the header carries. */
extern void bitmap_set_daemon_sleep (struct bitmap *bitmap, uint32_t seconds);

/* ---- lazy clearing ----
 *
 * select, then flush all legs, then (if no leg failed and none is missing)
 * apply, then bitmap_flush.  See clear.c for why in this order.
 */

/* Choose chunks whose bits might be cleared, and return how many.  Chunks
 * that were written since the last look at their page only grow older, unless
 * now.  Releases the lock now and then.
 */
extern uint64_t bitmap_clear_select (struct bitmap *bitmap, bool now);

/* Clear the bits of chosen chunks that nobody has touched since, in memory:
 * some of them from *cursor (0 at first) on.  *cleared is added to; *need is
 * the round that carries them out.  True if there are more: look at the legs
 * again, then call again.
 */
extern bool bitmap_clear_apply (struct bitmap *bitmap, uint64_t *cursor,
                                uint64_t *cleared, uint64_t *need);

/* Between two steps of a long job: let those in who wait for the lock. */
extern void bitmap_breathe (struct bitmap *bitmap);

/* ---- resync ---- */

#define BITMAP_NO_CHUNK UINT64_MAX

/* The first chunk from that one on that needs resync. */
extern uint64_t bitmap_next_needed (struct bitmap *bitmap, uint64_t chunk);
/* True if any chunk of the range needs resync. */
extern bool
bitmap_range_needed (struct bitmap *bitmap, uint64_t offset, uint64_t length);
/* True if any chunk of the range has its bit set. */
extern bool
bitmap_range_marked (struct bitmap *bitmap, uint64_t offset, uint64_t length);
/* The chunk is equal on all in-sync legs: it no longer needs resync.  Its
 * bit stays until it is cleared lazily.
 */
extern void bitmap_chunk_synced (struct bitmap *bitmap, uint64_t chunk);

/* ---- numbers ---- */

extern uint32_t bitmap_chunk_bytes (const struct bitmap *bitmap);
extern uint64_t bitmap_chunk_count (const struct bitmap *bitmap);
extern uint64_t bitmap_marked (const struct bitmap *bitmap);
extern uint64_t bitmap_needed (const struct bitmap *bitmap);

struct bitmap_counters {
  uint64_t rounds; /* that wrote pages */
  uint64_t pages;  /* written, per copy, headers included */
};

extern void bitmap_get_counters (const struct bitmap *bitmap,
                                 struct bitmap_counters *counters);

#endif /* MDBITMAP_BITMAP_H */
