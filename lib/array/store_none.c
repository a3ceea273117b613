/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* An array without a bitmap, on its legs or in a file: most that a NAS makes.
 *
 * There is a bitmap all the same, in memory, since everything counts in chunks:
 * who writes, what must be resynced, when the array may be marked clean.  Its
 * pages go nowhere.  So nothing durable says which chunks differ, and what
 * protects them is the superblock alone: it says "not clean" before the first
 * write and until all legs are equal and flushed.  After a crash all of the
 * array is copied, from its resync_offset on; the kernel does the same.
 *
 * While we serve it the superblock's resync_offset is 0: progress is in memory.
 */

#include <config.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "array/internal.h"
#include "format/layout.h"

/* Chunks in memory cost two bytes each; and each is resynced as a whole. */
#define CHUNKS_MAX     ((uint64_t)1 << 20)
#define DAEMON_SECONDS 5

/* ---- the store ---- */

static int
write_nothing (struct bitmap_store *store, struct buffer *images,
               const uint64_t *pages, unsigned n)
{
  (void)store, (void)images, (void)pages, (void)n;
  return 0;
}

static int
settle (struct bitmap_store *store)
{
  return array_settle (
      (struct array *)((char *)store - offsetof (struct array, store)));
}

void
store_none_init (struct array *array)
{
  array->store.write = write_nothing;
  array->store.settle = settle;
}

/* ---- loading ---- */

static void
make_header (const struct array *array, struct bitmap_superblock *header)
{
  uint32_t chunk = LAYOUT_DEFAULT_CHUNK;

  while (bitmap_chunks (array->table->size, chunk) > CHUNKS_MAX
         && chunk < (uint32_t)1 << 31)
    chunk *= 2;
  memset (header, 0, sizeof *header);
  header->version = BITMAP_VERSION;
  memcpy (header->uuid, array->table->set_uuid, sizeof header->uuid);
  header->events = header->events_cleared = array->events;
  header->sync_size = array->table->size;
  header->chunksize = chunk;
  header->daemon_sleep = array->options.daemon_sleep > 0
                             ? array->options.daemon_sleep
                             : DAEMON_SECONDS;
}

/* Mark the chunks that hold anything from that byte on. */
static int
mark_from (struct array *array, uint64_t offset)
{
  struct bitmap *bitmap = array->bitmap;
  uint64_t first = offset / bitmap_chunk_bytes (bitmap);
  uint8_t *image = rt_alloc (BITMAP_PAGE_BYTES);
  bool differs;
  int err = image ? 0 : -ENOMEM;

  for (uint64_t page = 0; page < bitmap_page_count (bitmap) && err == 0;
       ++page) {
    uint64_t chunk = bitmap_page_first_chunk (page);
    uint64_t end = min_u64 (bitmap_page_first_chunk (page + 1),
                            bitmap_chunk_count (bitmap));

    memset (image, 0, BITMAP_PAGE_BYTES);
    for (chunk = max_u64 (chunk, first); chunk < end; ++chunk)
      image[bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES] |=
          bitmap_bit_mask (chunk);
    err = bitmap_load_page (bitmap, page, image, true, true, &differs);
  }
  rt_free (image);
  return err;
}

/* Everything from resync_offset on will be copied: said, or refused. */
static int
check_full_resync (struct array *array)
{
  if (bitmap_needed (array->bitmap) == 0)
    return 0;
  if (array->options.refuse_full_resync && !array->options.read_only) {
    log_error (array->log,
               "array %s: it is not clean, and it has no bitmap: it needs a "
               "full resync, which full-resync=refuse forbids; start it with "
               "full-resync=auto",
               array->uuid);
    return -EINVAL;
  }
  if (array->options.read_only)
    return 0;
  log_notice (array->log,
              "array %s: full resync from byte %ju on, since it is not clean "
              "and has no bitmap",
              array->uuid, (uintmax_t)array->resync_from);
  return 0;
}

int
array_load_no_bitmap (struct array *array)
{
  struct bitmap_superblock header;
  int err = 0;

  make_header (array, &header);
  store_none_init (array);
  array->events_cleared = header.events_cleared;
  array->bitmap = bitmap_new (&header, array->size, &array->store, &array->lock,
                              array->log);
  if (!array->bitmap)
    return -ENOMEM;
  if (array->full_why[0] == '\0' && !array->clean)
    snprintf (array->full_why, sizeof array->full_why,
              "no bitmap, and the array is not clean");
  /* A single copy equals itself. */
  if (!array->clean && array_in_sync (array) > 1)
    err = mark_from (array, array->resync_from);
  return err == 0 ? check_full_resync (array) : err;
}
