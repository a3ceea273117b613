/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The bitmap in a file: one copy, which no leg has.
 *
 *   NONE --> IN_USE      it was opened and loaded, or made
 *   IN_USE --> FAILED    it could not be written, or must not be any more
 *   both --> NONE        the array has got another bitmap (change.c)
 *
 * A file that fails is given up for good, as md does it, since nobody knows
 * what it holds: asking again may be answered with a cheerful yes.
 *   1. In memory: from now on no page is written to it, but one header that
 *      says STALE, if that can still be done; nothing rests on that.
 *   2. On record, like the loss of a leg (events.c): the superblocks' events
 *      go beyond any that the file may carry, so that nobody will ever believe
 *      it again, the kernel included.  Until that is durable on all legs no
 *      round of the bitmap is published, no superblock says clean, and no
 *      write, zero, trim or flush is answered well.
 *   3. Then the array goes on as one without a bitmap: "not clean" on the legs
 *      is all that protects it, as in store_none.c.  If the user wants it to
 *      stop instead, nothing that is written succeeds from then on.
 *
 * For the same reason an array that is started without its file first leads by
 * so many events that the file is behind for ever (array->lead).
 *
 * Locks: state and file_events are under the array's lock; file_header belongs
 * to whoever writes pages (one at a time, by the flag of the bitmap).
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "array/internal.h"
#include "bitmap/store_file.h"

const char *
array_bitmap_io_string (enum array_bitmap_io io)
{
  switch (io) {
  case ARRAY_BITMAP_DIRECT:
    return "direct";
  case ARRAY_BITMAP_EXTENT:
    return "extent";
  case ARRAY_BITMAP_PAGECACHE:
    return "pagecache";
  }
  return "unknown";
}

static enum file_io
file_io (const struct array_options *options)
{
  switch (options->bitmap_io) {
  case ARRAY_BITMAP_EXTENT:
    return FILE_EXTENT;
  case ARRAY_BITMAP_PAGECACHE:
    return FILE_PAGECACHE;
  case ARRAY_BITMAP_DIRECT:
    break;
  }
  return FILE_DIRECT;
}

/* ---- states ---- */

const char *
bitmap_file_state_string (enum bitmap_file_state state)
{
  switch (state) {
  case BITMAP_FILE_NONE:
    return "none";
  case BITMAP_FILE_IN_USE:
    return "in use";
  case BITMAP_FILE_FAILED:
    return "failed";
  }
  return "unknown";
}

static const bool legal[3][3] = {
  [BITMAP_FILE_NONE] = { [BITMAP_FILE_IN_USE] = true },
  [BITMAP_FILE_IN_USE] = { [BITMAP_FILE_FAILED] = true,
                           [BITMAP_FILE_NONE] = true },
  [BITMAP_FILE_FAILED] = { [BITMAP_FILE_NONE] = true },
};

static void
set_state (struct array *array, enum bitmap_file_state state, const char *why)
{
  assert (legal[array->file_state][state]);
  log_debug (array->log, LOG_BITMAP, "bitmap file %s: %s -> %s: %s",
             array->options.bitmap_file,
             bitmap_file_state_string (array->file_state),
             bitmap_file_state_string (state), why);
  array->file_state = state;
}

bool
array_file_fail (struct array *array, const char *what, int error)
{
  if (array->file_state != BITMAP_FILE_IN_USE)
    return false;
  set_state (array, BITMAP_FILE_FAILED, what);
  array->file_events = bitmap_header (array->bitmap)->events;
  array->failures++;
  log_error (array->log, "bitmap file %s: %s: %s; it is given up, array %s %s",
             array->options.bitmap_file, what, strerror (-error), array->uuid,
             array->options.stop_on_bitmap_error
                 ? "is no longer written (on-bitmap-error=stop)"
                 : "goes on without a bitmap: after a crash all of it is "
                   "resynced");
  return true;
}

void
array_take_file (struct array *array, struct file *file)
{
  if (array->file_state != BITMAP_FILE_NONE)
    set_state (array, BITMAP_FILE_NONE, "the bitmap is elsewhere now");
  array->file = file;
  if (file)
    set_state (array, BITMAP_FILE_IN_USE, "the bitmap is there now");
}

bool
array_file_stops (const struct array *array)
{
  return array->file_state == BITMAP_FILE_FAILED
         && array->options.stop_on_bitmap_error;
}

/* ---- the store ---- */

static struct array *
to_array (struct bitmap_store *store)
{
  return (struct array *)((char *)store - offsetof (struct array, store));
}

static uint64_t
used_bytes (const struct array *array)
{
  return bitmap_bytes (bitmap_chunk_count (array->bitmap));
}

/* Say in the header that it is stale: for people, and for who may read it
 * before the record.  Not if something that was given up may still happen: it
 * could undo this, and this could take as long.
 */
static void
mark_stale (struct array *array)
{
  const uint64_t page = 0;
  struct bitmap_superblock header;
  struct format_error error;
  bool intact;
  int err;

  if (device_abandoned (array->file->device) > 0
      || bitmap_superblock_decode (array->file_header->data, &header, &intact,
                                   &error)
             != 0)
    return;
  header.state |= BITMAP_STALE;
  bitmap_superblock_encode (&header, array->file_header->data);
  err = store_file_write (array->file, array->file_header, &page, 1,
                          used_bytes (array));
  log_debug (array->log, LOG_BITMAP, "bitmap file %s: marked as stale: %s",
             array->options.bitmap_file, err == 0 ? "done" : strerror (-err));
}

static int
write_pages (struct bitmap_store *store, struct buffer *images,
             const uint64_t *pages, unsigned n)
{
  struct array *array = to_array (store);
  bool in_use;
  int err;

  rt_mutex_lock (&array->lock);
  in_use = array->file_state == BITMAP_FILE_IN_USE;
  rt_mutex_unlock (&array->lock);
  if (!in_use)
    return 0; /* settle sees to it that this is on record */
  if (pages[0] == 0)
    memcpy (array->file_header->data, images->data, BITMAP_PAGE_BYTES);
  err = store_file_write (array->file, images, pages, n, used_bytes (array));
  if (err == 0 || err == -ENOMEM)
    return err;
  rt_mutex_lock (&array->lock);
  in_use = array_file_fail (array, "writing", err);
  rt_mutex_unlock (&array->lock);
  if (in_use) /* else it may no longer be ours */
    mark_stale (array);
  return 0;
}

static int
settle (struct bitmap_store *store)
{
  struct array *array = to_array (store);
  int err = array_settle (array);

  return err == 0 && array_file_stops (array) ? -EIO : err;
}

void
store_file_init (struct array *array)
{
  array->store.write = write_pages;
  array->store.settle = settle;
}

/* ---- its life ---- */

static int
check_place (struct array *array)
{
  const struct device *devices[ARRAY_MAX_LEGS];
  unsigned n = 0;

  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].device)
      devices[n++] = array->legs[i].device;
  return file_check_place (array->file, devices, n);
}

int
array_open_file (struct array *array)
{
  const struct array_options *options = &array->options;
  int err;

  array->file_header = buffer_new_zero (BITMAP_PAGE_BYTES);
  if (!array->file_header)
    return -ENOMEM;
  err = file_open (array->aio, options->bitmap_file, file_io (options),
                   options->read_only, options->leg_timeout, &array->file);
  if (err == 0)
    err = check_place (array);
  if (err == 0)
    set_state (array, BITMAP_FILE_IN_USE, "opened");
  return err;
}

/* What assembly has read of it may be in a cache only: it is flushed before
 * anything rests on it.
 */
int
array_prepare_file (struct array *array)
{
  bool flushed = true;
  int err;

  if (array->file_state != BITMAP_FILE_IN_USE)
    return 0;
  /* A flush of an earlier call may yet fail, and take with it what we write
   * now; and this one would be told that all is well.
   */
  if (array->file->device && device_abandoned (array->file->device) > 0) {
    log_error (array->log,
               "bitmap file %s: a flush that was given up has not come back; "
               "nothing is written until it has",
               array->options.bitmap_file);
    return -EIO;
  }
  rt_mutex_unlock (&array->lock);
  err = file_prepare (array->file, used_bytes (array));
  if (err == 0) {
    err = store_file_flush (array->file);
    if (err != 0)
      log_error (array->log, "bitmap file %s: flushing: %s",
                 array->options.bitmap_file, strerror (-err));
    flushed = err == 0;
  }
  rt_mutex_lock (&array->lock);
  /* What was read may be lost: a later call must write all of it. */
  if (!flushed)
    array->bitmap_rewrite = array->bitmap_stale = true;
  return err;
}

void
array_check_file (struct array *array)
{
  int err;

  if (array->file_state != BITMAP_FILE_IN_USE)
    return;
  rt_mutex_unlock (&array->lock);
  err = file_check (array->file);
  rt_mutex_lock (&array->lock);
  if (err != 0)
    (void)array_file_fail (array, "it is no longer ours alone", err);
}

void
array_close_file (struct array *array)
{
  file_close (array->file);
  array->file = NULL;
  buffer_unref (array->file_header);
  array->file_header = NULL;
}
