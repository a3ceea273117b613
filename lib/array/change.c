/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Another bitmap for an array: on the legs, in a file, or none; with other
 * chunks.
 *
 * In this order, each step durable before the next begins:
 *   1. array_record: all that comes before the first write of anything, so that
 *      the old bitmap is whole, and whoever is not in sync is on record.
 *   2. The new bitmap beside the old one, on every leg in sync, or in a file
 *      that says that it is stale.  All bits that the old one has, and its
 *      events_cleared: whoever could be brought up by the old one can be by the
 *      new one.  Where nothing is known of what differs, all bits.
 *   3. If it is a file: the note on the legs; and then the file is no longer
 *      stale, but as of the next update of the superblocks.
 *   4. The switch.  In memory it is done at once, under the lock (take_over);
 *      the next update says it on the legs, and has written the header of the
 *      new bitmap before.
 *   5. What is left of the old one goes: the file is marked as stale, the note
 *      is dropped.
 *
 * The old one stays as it is until 5.  Before the first superblock of 4 it
 * is the one that is valid, afterwards it is behind the superblocks: legs that
 * the update has not reached follow the freshest (adopt.c).  After a file the
 * events lead by so many that no writer can ever make it valid again.
 *
 * A file that takes the place of another one of the same name needs no switch:
 * both have the same events, and the name goes from one to the other at once.
 *
 * Locks: activate_lock all the time, so that nobody writes; the array's lock
 * as everywhere.  While others may write, steps 1 to 3 would need each write's
 * bits in both bitmaps; 4 and 5 are the same.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "array/change.h"
#include "bitmap/store_file.h"
#include "format/superblock_090.h"

/* ---- what is to be ---- */

static const char *
place_string (enum array_bitmap place, const char *path)
{
  switch (place) {
  case ARRAY_BITMAP_INTERNAL:
    return "internal";
  case ARRAY_BITMAP_FILE:
    return path;
  case ARRAY_BITMAP_NONE:
  case ARRAY_BITMAP_AUTO:
    break;
  }
  return "none";
}

/* By whatever names. */
static bool
same_path (const char *a, const char *b)
{
  char x[PATH_MAX], y[PATH_MAX];

  return strcmp (realpath (a, x) ? x : a, realpath (b, y) ? y : b) == 0;
}

static bool
same_place (const struct change *c)
{
  const struct array *array = c->array;

  return c->place == array->bitmap_place
         && (c->place != ARRAY_BITMAP_FILE
             || same_path (c->path, array->options.bitmap_file));
}

/* The header, with the old one's settings if there was one. */
static void
plan_header (struct change *c, uint32_t chunk)
{
  const struct array *array = c->array;
  struct bitmap_superblock *header = &c->header;

  *header = *bitmap_header (array->bitmap);
  memset (header->block, 0, sizeof header->block);
  header->version = BITMAP_VERSION;
  header->state = 0;
  header->sectors_reserved = 0;
  header->sync_size = array->table->size;
  if (chunk != 0)
    header->chunksize = chunk;
  else if (array->bitmap_place == ARRAY_BITMAP_NONE)
    header->chunksize = LAYOUT_DEFAULT_CHUNK;
}

/* What is known of the chunks that differ. */
static void
plan_marks (struct change *c)
{
  const struct array *array = c->array;
  const bool known =
      array->bitmap_place != ARRAY_BITMAP_NONE && array->full_why[0] == '\0';
  const bool whole = array_whole (array);

  c->all = !known && !whole;
  c->none = !known && whole && array->clean;
}

static bool
is_marked (void *opaque, uint64_t chunk)
{
  const struct change *c = opaque;
  const uint64_t start = chunk * c->header.chunksize;

  return c->all
         || (!c->none
             && bitmap_range_marked (
                 c->array->bitmap, start,
                 min_u64 (c->header.chunksize, c->array->size - start)));
}

static int
check_chunk (struct change *c)
{
  const struct array *array = c->array;
  const uint32_t chunk = c->header.chunksize;

  if (is_power_of_2 (chunk) && chunk >= LAYOUT_MIN_CHUNK
      && chunk >= array->logical_block
      && bitmap_bytes (bitmap_chunks (array->table->size, chunk))
             <= LAYOUT_BITMAP_SECTORS_MAX * SECTOR_SIZE)
    return 0;
  log_error (array->log,
             "array %s: field bitmap-chunk: found %" PRIu32
             ", expected a power of two, at least %" PRIu32
             ", the logical block of its legs, and a bitmap of at most 1 GiB; "
             "choose another one",
             array->uuid, chunk,
             (uint32_t)max_u64 (LAYOUT_MIN_CHUNK, array->logical_block));
  return -EINVAL;
}

static void
describe_file (struct change *c, struct new_file *f)
{
  struct array *array = c->array;

  memset (f, 0, sizeof *f);
  f->log = array->log;
  f->aio = array->aio;
  f->timeout = array->options.leg_timeout;
  f->path = c->path;
  f->legs = c->devices;
  f->nlegs = c->ndevices;
  f->unused_events = array->table->version == SUPERBLOCK_0_90;
  f->own_uuid = array->table->set_uuid;
  f->force = c->own_path;
  f->header = c->header;
  f->chunks = bitmap_chunks (array->table->size, c->header.chunksize);
  f->marked = is_marked;
  f->opaque = c;
}

/* Can a file be made there?  Else it would be found out only after the old
 * bitmap has been given up.
 */
static int
check_folder (const struct change *c)
{
  const char *slash = strrchr (c->path, '/');
  char folder[4096];
  int err;

  if (slash - c->path + 2 > (ptrdiff_t)sizeof folder)
    return -ENAMETOOLONG;
  snprintf (folder, sizeof folder, "%.*s/", (int)(slash - c->path), c->path);
  if (access (folder, W_OK | X_OK) == 0)
    return 0;
  err = -errno;
  log_error (c->array->log,
             "bitmap file %s: cannot be made in %s: %s; give another path",
             c->path, folder, strerror (-err));
  return err;
}

static int
plan_file (struct change *c)
{
  struct array *array = c->array;
  struct new_file f;
  int err;

  if (c->path[0] != '/') {
    log_error (array->log,
               "bitmap file %s: the path must be absolute, that is begin "
               "with /",
               c->path);
    return -EINVAL;
  }
  for (unsigned i = 0; i < array->nlegs; ++i) {
    if (!new_file_is_no_leg (array->log, c->path, array->legs[i].name))
      return -EINVAL;
    if (array->legs[i].device)
      c->devices[c->ndevices++] = array->legs[i].device;
  }
  /* What the note names is the array's own, whatever has become of it. */
  c->own_path =
      same_place (c) || (array->noted && same_path (c->path, array->note.path));
  c->exists = same_place (c);
  if (c->exists)
    return 0; /* it is open, and lies where it may */
  describe_file (c, &f);
  err = new_file_check (&f, &c->exists);
  return err == 0 ? check_folder (c) : err;
}

/* Refuse what cannot be, before anything is written. */
static int
plan (struct change *c, uint32_t chunk)
{
  int err;

  plan_header (c, chunk);
  /* One that cannot be used is given up for good. */
  if (c->place == ARRAY_BITMAP_NONE)
    c->nothing = same_place (c) && !c->array->noted && !c->array->has_bitmap;
  else
    c->nothing =
        same_place (c)
        && c->header.chunksize == bitmap_header (c->array->bitmap)->chunksize;
  if (c->nothing || c->place == ARRAY_BITMAP_NONE)
    return 0;
  err = check_chunk (c);
  if (err != 0)
    return err;
  return c->place == ARRAY_BITMAP_FILE ? plan_file (c)
                                       : change_plan_internal (c, chunk != 0);
}

/* ---- the new bitmap ---- */

static struct change *
to_change (struct bitmap_store *store)
{
  return (struct change *)((char *)store - offsetof (struct change, store));
}

/* Beside the old one; a leg that fails is recorded with that. */
static int
write_beside (struct bitmap_store *store, struct buffer *images,
              const uint64_t *pages, unsigned n)
{
  struct change *c = to_change (store);
  const uint64_t bytes = bitmap_bytes (bitmap_chunk_count (c->bitmap));

  switch (c->place) {
  case ARRAY_BITMAP_INTERNAL:
    return array_write_new_pages (c->array, c->offset, bytes, images, pages, n);
  case ARRAY_BITMAP_FILE:
    return store_file_write (c->file, images, pages, n, bytes);
  case ARRAY_BITMAP_AUTO:
  case ARRAY_BITMAP_NONE:
    break;
  }
  return 0;
}

static int
settle (struct bitmap_store *store)
{
  return array_settle (to_change (store)->array);
}

static int
load_marks (struct change *c)
{
  const uint64_t chunks = bitmap_chunk_count (c->bitmap);
  uint8_t *image = rt_alloc (BITMAP_PAGE_BYTES);
  bool differs;
  int err = image ? 0 : -ENOMEM;

  for (uint64_t page = 0; page < bitmap_page_count (c->bitmap) && err == 0;
       ++page) {
    uint64_t chunk = bitmap_page_first_chunk (page);
    uint64_t end = min_u64 (bitmap_page_first_chunk (page + 1), chunks);

    memset (image, 0, BITMAP_PAGE_BYTES);
    for (; chunk < end; ++chunk)
      if (is_marked (c, chunk))
        image[bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES] |=
            bitmap_bit_mask (chunk);
    err = bitmap_load_page (c->bitmap, page, image, !c->array->clean, true,
                            &differs);
  }
  rt_free (image);
  return err;
}

/* In memory. */
static int
make_bitmap (struct change *c)
{
  struct array *array = c->array;

  plan_marks (c);
  c->header.events =
      max_u64 (bitmap_header (array->bitmap)->events, array->events);
  c->header.events_cleared = array->events_cleared;
  c->store.write = write_beside;
  c->store.settle = settle;
  c->bitmap =
      bitmap_new (&c->header, array->size, &c->store, &array->lock, array->log);
  return c->bitmap ? load_marks (c) : -ENOMEM;
}

/* Nobody but us changes what is marked, so the lock is not needed for it. */
static int
make_file (struct change *c, uint32_t state)
{
  struct new_file f;
  int err;

  describe_file (c, &f);
  f.header.state = state;
  rt_mutex_unlock (&c->array->lock);
  err = new_file_make (&f, c->exists);
  rt_mutex_lock (&c->array->lock);
  return err;
}

/* Through the page cache, which any file system has: there is no hurry. */
static int
open_file (struct change *c)
{
  struct array *array = c->array;
  int err;

  if (!array->file_header)
    array->file_header = buffer_new_zero (BITMAP_PAGE_BYTES);
  if (!array->file_header)
    return -ENOMEM;
  rt_mutex_unlock (&array->lock);
  err = file_open (array->aio, c->path, FILE_PAGECACHE, false,
                   array->options.leg_timeout, &c->file);
  if (err == 0)
    err = file_prepare (c->file,
                        new_file_length (bitmap_chunk_count (c->bitmap)));
  rt_mutex_lock (&array->lock);
  return err;
}

/* From now on it is valid, if the next update is. */
static int
validate_file (struct change *c)
{
  int err = bitmap_write_header (
      c->bitmap,
      max_u64 (c->array->events + 1, bitmap_header (c->bitmap)->events),
      c->array->events_cleared);

  if (err != 0)
    log_error (c->array->log, "bitmap file %s: writing: %s", c->path,
               strerror (-err));
  return err;
}

static int
name_file (struct change *c, const char *path)
{
  struct array *array = c->array;
  int err = 0;

  array->options.bitmap_file = path;
  array_want_note (array);
  if (array->note_differs)
    err = array_write_note (array);
  return err == 0 ? array_settle (array) : err;
}

static int
build_file (struct change *c)
{
  int err = make_file (c, BITMAP_STALE);

  c->made = err == 0;
  if (err == 0)
    err = open_file (c);
  if (err == 0) {
    c->named = true;
    err = name_file (c, c->path);
  }
  return err == 0 ? validate_file (c) : err;
}

/* For people, who may look at it.  Nothing rests on it. */
static void
mark_stale (const struct file *file)
{
  struct buffer *page = buffer_new (BITMAP_PAGE_BYTES);
  struct bitmap_superblock header;
  struct format_error error;
  const uint64_t first = 0;
  bool intact;

  if (page && device_abandoned (file->device) == 0
      && file_read ((struct file *)file, 0, BITMAP_PAGE_BYTES, page) == 0
      && bitmap_superblock_decode (page->data, &header, &intact, &error) == 0) {
    header.state |= BITMAP_STALE;
    bitmap_superblock_encode (&header, page->data);
    (void)store_file_write (file, page, &first, 1, BITMAP_PAGE_BYTES);
  }
  buffer_unref (page);
}

/* Nothing has been switched: the old one is what it was. */
static void
undo (struct change *c)
{
  struct array *array = c->array;

  array->options.bitmap_file = c->old_path;
  if (c->named && c->old_path)
    (void)name_file (c, c->old_path);
  else if (c->named) {
    array_drop_note (array);
    (void)array_write_note (array);
  }
  if (c->file && c->exists)
    mark_stale (c->file);
  file_close (c->file);
  c->file = NULL;
  if (c->made && !c->exists)
    unlink (c->path);
}

/* ---- the switch ---- */

static void
place_on_legs (struct change *c)
{
  struct array *array = c->array;
  const bool internal = c->place == ARRAY_BITMAP_INTERNAL;

  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC)
      change_place_leg (&array->legs[i], internal, internal ? c->offset : 0);
  array->table->feature_map &= ~(uint32_t)FEATURE_BITMAP_OFFSET;
  if (internal)
    array->table->feature_map |= FEATURE_BITMAP_OFFSET;
  array->table->bitmap_offset = internal ? c->offset : 0;
  array->has_bitmap = internal;
}

/* In memory, at once: what the next update says, and where its header goes. */
static void
take_over (struct change *c)
{
  struct array *array = c->array;

  c->old_file = array->file;
  c->old_bitmap = array->bitmap;
  c->old_place = array->bitmap_place;
  c->old_in_use = array->file_state == BITMAP_FILE_IN_USE;
  if (c->old_place == ARRAY_BITMAP_FILE)
    array->lead = LEAD_OF_OURS;
  array->bitmap = c->bitmap;
  array->bitmap_place = c->place;
  array_take_file (array, c->file);
  c->bitmap = NULL;
  c->file = NULL;
  if (c->place == ARRAY_BITMAP_FILE)
    store_file_init (array);
  else if (c->place == ARRAY_BITMAP_INTERNAL)
    store_legs_init (array);
  else
    store_none_init (array);
  bitmap_set_store (array->bitmap, &array->store);
  place_on_legs (c);
}

/* With 0.90 an internal bitmap may have taken the note's place. */
static bool
covers_note (const struct change *c)
{
  const struct array *array = c->array;
  const struct superblock *table = array->table;

  return c->place == ARRAY_BITMAP_INTERNAL && table->version == SUPERBLOCK_0_90
         && bitmap_note_sector (table)
                < table->super_offset + SUPERBLOCK_090_BITMAP_OFFSET
                      + layout_bitmap_sectors (table->size,
                                               c->header.chunksize);
}

static int
drop_old (struct change *c)
{
  struct array *array = c->array;
  int err = 0;

  if (c->old_file) {
    rt_mutex_unlock (&array->lock);
    if (c->old_in_use)
      mark_stale (c->old_file);
    file_close (c->old_file);
    rt_mutex_lock (&array->lock);
    c->old_file = NULL;
  }
  bitmap_free (c->old_bitmap);
  c->old_bitmap = NULL;
  if (c->place == ARRAY_BITMAP_FILE)
    return 0;
  array_drop_note (array);
  if (!covers_note (c))
    err = array_write_note (array);
  return err == 0 ? array_settle (array) : err;
}

/* ---- all together ---- */

/* The same name, so nothing else changes. */
static int
replace_file (struct change *c)
{
  struct array *array = c->array;
  int err;

  rt_mutex_unlock (&array->lock);
  file_close (array->file);
  rt_mutex_lock (&array->lock);
  array_take_file (array, NULL);
  err = make_file (c, 0);
  if (err != 0)
    return err;
  bitmap_free (array->bitmap);
  array->bitmap = c->bitmap;
  bitmap_set_store (array->bitmap, &array->store);
  c->bitmap = NULL;
  return 0;
}

static int
build_and_switch (struct change *c)
{
  struct array *array = c->array;
  int err = 0;

  /* An old header that leads must not be level with the new superblocks. */
  while (err == 0 && bitmap_header (array->bitmap)->events > array->events)
    err = array_update (array);
  if (err == 0)
    err = make_bitmap (c);
  if (err != 0)
    return err;
  if (same_place (c) && c->place == ARRAY_BITMAP_FILE)
    return replace_file (c);
  if (c->place == ARRAY_BITMAP_FILE)
    err = build_file (c);
  else if (c->place == ARRAY_BITMAP_INTERNAL)
    err = bitmap_write_all (c->bitmap, true); /* one may be announced there */
  if (err == 0)
    err = array_settle (array);
  if (err != 0) {
    undo (c);
    return err;
  }
  take_over (c);
  err = array_update (array);
  if (err != 0)
    log_error (array->log,
               "array %s: the switch may have been recorded or not; its old "
               "bitmap and the new one are there, and assembly tells which "
               "one is valid",
               array->uuid);
  return err == 0 ? drop_old (c) : err;
}

static void
say (const struct change *c)
{
  const struct array *array = c->array;

  if (c->nothing)
    log_notice (array->log, "array %s: its bitmap is that already: %s",
                array->uuid, place_string (c->place, c->path));
  else if (c->place == ARRAY_BITMAP_NONE)
    log_notice (array->log, "array %s: it has no bitmap any more", array->uuid);
  else
    log_notice (array->log,
                "array %s: its bitmap is now %s, %" PRIu64 " chunks of %" PRIu32
                " bytes, %" PRIu64 " of them marked",
                array->uuid, place_string (c->place, c->path),
                bitmap_chunk_count (array->bitmap),
                bitmap_chunk_bytes (array->bitmap),
                bitmap_marked (array->bitmap));
}

static void
free_change (struct change *c)
{
  bitmap_free (c->bitmap);
  bitmap_free (c->old_bitmap);
  file_close (c->old_file);
  rt_free (c);
}

static int
look (struct change *c, uint32_t chunk)
{
  struct array *array = c->array;
  int err = 0;

  rt_mutex_lock (&array->lock);
  if (array->activated) {
    log_error (array->log, "array %s: it is in use; stop it first",
               array->uuid);
    err = -EBUSY;
  }
  if (err == 0)
    err = plan (c, chunk);
  rt_mutex_unlock (&array->lock);
  return err;
}

int
array_change_bitmap (struct array *array, enum array_bitmap bitmap,
                     const char *file, uint32_t chunk)
{
  struct change *c = rt_calloc (1, sizeof *c);
  int err;

  assert (bitmap != ARRAY_BITMAP_AUTO);
  if (!c)
    return -ENOMEM;
  c->array = array;
  c->place = bitmap;
  c->path = bitmap == ARRAY_BITMAP_FILE ? file : NULL;
  c->old_path = array->bitmap_place == ARRAY_BITMAP_FILE
                    ? array->options.bitmap_file
                    : NULL;
  err = look (c, chunk);
  if (err == 0 && !c->nothing)
    err = array_record (array);
  if (err == 0 && !c->nothing) {
    rt_mutex_lock (&array->activate_lock);
    rt_mutex_lock (&array->lock);
    err = build_and_switch (c);
    rt_mutex_unlock (&array->lock);
    rt_mutex_unlock (&array->activate_lock);
    if (err != 0)
      log_error (array->log, "array %s: its bitmap cannot be changed: %s",
                 array->uuid, strerror (-err));
  }
  if (err == 0)
    say (c);
  free_change (c);
  return err;
}
