/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Loading the bitmap at assembly.  Reads only.
 *
 * The kernel reads one leg's copy.  We take the union of the copies of all
 * in-sync legs whose header is right and not stale: a bit too many costs a
 * copied chunk, a bit too few costs data.  array_activate makes the union
 * durable on all legs before anything else is written.
 *
 * If every copy is stale (events older than the superblock, or marked so),
 * all bits count as set.  On an array that is not clean that means a full
 * resync, which is announced, or refused if the user wants that.
 *
 * Events that lead the superblock's by far cannot be right: an update writes
 * the header first, but none is begun before the last one has reached the
 * superblocks.  The header, which has no checksum, is damaged, and its copy
 * counts as stale as well.
 *
 * A copy that cannot be read, or has no header at all, is written anew from
 * the others.  A header that we do not understand, or of another array, is
 * refused, and so is an array without any bitmap.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/internal.h"
#include "format/layout.h"

/* Bytes of bitmap that are read at a time. */
#define READ_BYTES (256 * KiB)

/* A header leads by one, or by three while it is recorded on the only leg left
 * that others are lost.  This leaves room for other writers.
 */
#define HEADER_LEAD_MAX 8

enum copy_state { COPY_UNUSABLE, COPY_STALE, COPY_VALID };

struct copy {
  struct leg *leg;
  enum copy_state state;
  struct bitmap_superblock header;
};

/* ---- headers ---- */

static void
complain (struct array *array, const struct leg *leg,
          const struct format_error *error)
{
  char text[512];

  format_error_string (error, text, sizeof text);
  log_error (array->log, "leg %s: bitmap: %s", leg->name, text);
}

/* Is a decoded header that of this array, and fresh?  0 or -EINVAL. */
static int
judge_header (struct array *array, struct copy *copy)
{
  const struct superblock_1 *sb = copy->leg->superblock;
  uint64_t sectors = copy->leg->device->limits.size / SECTOR_SIZE;
  struct format_error error;

  if (memcmp (copy->header.uuid, sb->set_uuid, sizeof sb->set_uuid) != 0) {
    log_error (array->log,
               "leg %s: bitmap: field uuid: it is the bitmap of another "
               "array, expected %s",
               copy->leg->name, array->uuid);
    return -EINVAL;
  }
  if (layout_check (sb, &copy->header, sectors, &error) != 0) {
    complain (array, copy->leg, &error);
    return -EINVAL;
  }
  if (copy->header.events > array->events + HEADER_LEAD_MAX) {
    log_error (array->log,
               "leg %s: bitmap: field events: found %ju, expected %ju to %ju; "
               "it is damaged and counts as stale",
               copy->leg->name, (uintmax_t)copy->header.events,
               (uintmax_t)array->events,
               (uintmax_t)array->events + HEADER_LEAD_MAX);
    copy->header.events = copy->header.events_cleared = 0;
    copy->state = COPY_STALE;
  }
  else if (copy->header.state & BITMAP_STALE) {
    log_notice (array->log, "leg %s: bitmap: it is marked as stale",
                copy->leg->name);
    copy->state = COPY_STALE;
  }
  else if (copy->header.events < array->events) {
    log_notice (array->log,
                "leg %s: bitmap: stale: its events %ju < %ju of the "
                "superblock",
                copy->leg->name, (uintmax_t)copy->header.events,
                (uintmax_t)array->events);
    copy->state = COPY_STALE;
  }
  else
    copy->state = COPY_VALID;
  return 0;
}

static int
read_header (struct array *array, struct copy *copy)
{
  struct leg *leg = copy->leg;
  struct buffer *buffer = buffer_new (BITMAP_PAGE_BYTES);
  struct format_error error;
  bool intact;
  int err;

  if (!buffer)
    return -ENOMEM;
  copy->state = COPY_UNUSABLE;
  err = device_run (leg->device, IO_READ, 0, leg->bitmap_offset,
                    min_u64 (BITMAP_PAGE_BYTES, leg->bitmap_room), buffer);
  if (err != 0) {
    log_error (array->log, "leg %s: reading the bitmap: %s", leg->name,
               strerror (-err));
    if (err != -ENOMEM)
      err = 0;
  }
  else {
    err =
        bitmap_superblock_decode (buffer->data, &copy->header, &intact, &error);
    if (err == -ENOENT) {
      log_error (array->log, "leg %s: bitmap: no bitmap at byte %ju", leg->name,
                 (uintmax_t)leg->bitmap_offset);
      err = 0;
    }
    else if (err != 0)
      complain (array, leg, &error);
    else
      err = judge_header (array, copy);
  }
  buffer_unref (buffer);
  return err;
}

/* ---- pages ---- */

/* Merge one copy into the bitmap. */
static int
load_copy (struct array *array, const struct copy *copy, bool first)
{
  const struct leg *leg = copy->leg;
  uint64_t pages = bitmap_page_count (array->bitmap);
  uint64_t bytes = round_up (bitmap_bytes (bitmap_chunk_count (array->bitmap)),
                             leg->device->limits.logical_block);
  struct buffer *buffer =
      buffer_new_zero (min_u64 (READ_BYTES, pages * BITMAP_PAGE_BYTES));
  int err = buffer ? 0 : -ENOMEM;

  for (uint64_t page = 0; page < pages && err == 0;
       page += READ_BYTES / BITMAP_PAGE_BYTES) {
    uint64_t at = page * BITMAP_PAGE_BYTES;
    uint64_t n = min_u64 (READ_BYTES / BITMAP_PAGE_BYTES, pages - page);

    err = device_run (leg->device, IO_READ, 0, leg->bitmap_offset + at,
                      min_u64 (READ_BYTES, bytes - at), buffer);
    for (uint64_t i = 0; i < n && err == 0; ++i)
      err = bitmap_load_page (array->bitmap, page + i,
                              buffer->data + i * BITMAP_PAGE_BYTES,
                              !array->clean, first, &array->bitmap_rewrite);
  }
  buffer_unref (buffer);
  if (err != 0)
    log_error (array->log, "leg %s: reading the bitmap: %s", leg->name,
               strerror (-err));
  return err;
}

/* All valid copies.  One that cannot be read to its end counts for what was
 * read of it, if another one can.
 */
static int
load_copies (struct array *array, const struct copy *copies, unsigned n,
             unsigned *valid)
{
  unsigned good = 0;
  bool first = true;
  int err = 0;

  for (unsigned i = 0; i < n; ++i) {
    if (copies[i].state != COPY_VALID)
      continue;
    err = load_copy (array, &copies[i], first);
    if (err == -ENOMEM)
      return err;
    if (err == 0)
      good++;
    else
      array->bitmap_rewrite = array->bitmap_stale = true;
    first = false;
  }
  *valid = good;
  return 0;
}

/* Everything will be copied: never silently, and not if the user has said
 * so.
 */
static int
check_full_resync (struct array *array, bool stale)
{
  const char *why =
      stale ? "its bitmap is stale" : "every chunk is marked in its bitmap";

  if (array_in_sync (array) < 2
      || bitmap_needed (array->bitmap) < bitmap_chunk_count (array->bitmap))
    return 0;
  if (array->options.refuse_full_resync) {
    log_error (array->log,
               "array %s: it is not clean, and %s: it needs a full resync, "
               "which full-resync=refuse forbids; start it with "
               "full-resync=auto",
               array->uuid, why);
    return -EINVAL;
  }
  log_notice (array->log, "array %s: full resync, since it is not clean and %s",
              array->uuid, why);
  return 0;
}

/* ---- all together ---- */

/* The header to go on with: from the copy with the highest events, so that
 * they never decrease.  events_cleared is the highest that a valid copy has:
 * bits may have been cleared under it.  Too high costs a full recovery of a
 * leg that comes back, too low costs data.
 */
static void
merge_headers (struct array *array, const struct copy *copies, unsigned n,
               struct bitmap_superblock *header)
{
  const struct bitmap_superblock *best = NULL;
  uint64_t cleared = 0;
  bool valid = false;

  for (unsigned i = 0; i < n; ++i) {
    const struct bitmap_superblock *h = &copies[i].header;

    if (copies[i].state == COPY_UNUSABLE)
      continue;
    if (best
        && (h->events != best->events
            || h->events_cleared != best->events_cleared))
      array->bitmap_rewrite = true;
    if (copies[i].state == COPY_VALID) {
      cleared = max_u64 (cleared, h->events_cleared);
      valid = true;
    }
    if (!best || h->events > best->events)
      best = h;
  }
  assert (best);
  *header = *best;
  header->events_cleared = valid ? cleared : array->events;
  array->events_cleared = header->events_cleared;
  header->state &= ~(uint32_t)(BITMAP_STALE | BITMAP_WRITE_ERROR);
  header->events = max_u64 (header->events, array->events);
  header->sync_size = array->table->size;
  if (array->options.daemon_sleep > 0)
    header->daemon_sleep = array->options.daemon_sleep;
}

static int
check_copies (struct array *array, const struct copy *copies, unsigned n,
              unsigned *valid)
{
  const struct copy *first = NULL;

  *valid = 0;
  for (unsigned i = 0; i < n; ++i) {
    if (copies[i].state != COPY_VALID)
      array->bitmap_rewrite = array->bitmap_stale = true;
    if (copies[i].state == COPY_UNUSABLE)
      continue;
    *valid += copies[i].state == COPY_VALID;
    if (!first)
      first = &copies[i];
    if (copies[i].header.chunksize != first->header.chunksize) {
      log_error (array->log,
                 "leg %s: bitmap: field chunksize: found %u, expected %u as "
                 "on leg %s",
                 copies[i].leg->name, copies[i].header.chunksize,
                 first->header.chunksize, first->leg->name);
      return -EINVAL;
    }
  }
  if (!first) {
    log_error (array->log,
               "array %s: no leg has a bitmap that can be used; an array "
               "without one cannot be served yet",
               array->uuid);
    return -EINVAL;
  }
  return 0;
}

/* Each leg has room for the bitmap that it will be given, those whose own copy
 * is unusable included; and a chunk can be written to it by itself.
 */
static int
check_room (struct array *array, const struct copy *copies, unsigned n,
            const struct bitmap_superblock *header)
{
  struct format_error error;

  for (unsigned i = 0; i < n; ++i) {
    const struct leg *leg = copies[i].leg;

    if (layout_check (leg->superblock, header,
                      leg->device->limits.size / SECTOR_SIZE, &error)
        != 0) {
      complain (array, leg, &error);
      return -EINVAL;
    }
    if (header->chunksize < leg->device->limits.logical_block) {
      log_error (array->log,
                 "leg %s: bitmap: field chunksize: found %u, expected at least "
                 "%u, the leg's logical block; add a bitmap with larger chunks",
                 leg->name, header->chunksize,
                 leg->device->limits.logical_block);
      return -EINVAL;
    }
  }
  return 0;
}

static void
announce (struct array *array)
{
  const char *state = array_whole (array) ? "all legs in sync" : "degraded";

  if (bitmap_needed (array->bitmap) > 0 && array_in_sync (array) < 2)
    log_notice (array->log,
                "array %s: %u of %u legs, %s; not clean: %ju of %ju chunks "
                "marked, and no other leg to resync",
                array->uuid, array_in_sync (array), array->table->raid_disks,
                state, (uintmax_t)bitmap_needed (array->bitmap),
                (uintmax_t)bitmap_chunk_count (array->bitmap));
  else if (bitmap_needed (array->bitmap) > 0)
    log_notice (array->log,
                "array %s: %u of %u legs, %s; not clean: %ju of %ju chunks "
                "marked, to be resynced from leg %s",
                array->uuid, array_in_sync (array), array->table->raid_disks,
                state, (uintmax_t)bitmap_needed (array->bitmap),
                (uintmax_t)bitmap_chunk_count (array->bitmap),
                array_source (array)->name);
  else
    log_notice (array->log, "array %s: %u of %u legs, %s; %s", array->uuid,
                array_in_sync (array), array->table->raid_disks, state,
                array->clean ? "clean" : "not clean, but no chunk is marked");
}

int
array_load_bitmap (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  struct copy *copies = rt_calloc (ARRAY_MAX_LEGS, sizeof *copies);
  unsigned n = array_working_legs (array, legs), valid = 0;
  struct bitmap_superblock header;
  int err = copies ? 0 : -ENOMEM;

  for (unsigned i = 0; i < n && err == 0; ++i) {
    if (!(legs[i]->superblock->feature_map & FEATURE_BITMAP_OFFSET)) {
      log_error (array->log,
                 "leg %s: field feature_map: found no internal bitmap; an "
                 "array without one cannot be served yet",
                 legs[i]->name);
      err = -EINVAL;
      break;
    }
    copies[i].leg = legs[i];
    err = read_header (array, &copies[i]);
  }
  if (err == 0)
    err = check_copies (array, copies, n, &valid);
  if (err == 0) {
    merge_headers (array, copies, n, &header);
    err = check_room (array, copies, n, &header);
  }
  if (err == 0) {
    array->bitmap = bitmap_new (&header, array->size, &array->store,
                                &array->lock, array->log);
    err = array->bitmap ? 0 : -ENOMEM;
  }
  if (err == 0)
    err = load_copies (array, copies, n, &valid);
  if (err == 0 && valid == 0)
    err = bitmap_load_all_set (array->bitmap, !array->clean);
  rt_free (copies);
  if (err == 0)
    err = check_full_resync (array, valid == 0);
  if (err == 0)
    announce (array);
  return err;
}
