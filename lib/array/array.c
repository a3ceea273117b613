/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The life of an array: open, start, activate, stop, close.
 *
 * array_open decides everything and writes nothing, so that it may run
 * before the server has forked, and for `nbdkit -r'.  array_activate is the
 * one place from which writing begins:
 *   1. what was read becomes durable: all legs are flushed, and the file that
 *      the bitmap is in;
 *   2. the note that there is such a file, if it is new; then the merge of all
 *      bitmap copies becomes durable on all legs, before any other write;
 *   3. legs that are one generation behind are brought to the freshest;
 *   4. whoever holds a slot by the table and is not in sync is recorded as
 *      faulty, and so are the losers of a split brain; those that are already
 *      on record once more.
 * array_record does that and no more.
 *
 * Locks: activate_lock is taken before the array's lock, by array_activate
 * only, and held across its I/O.  The array's lock guards the rest
 * (internal.h) and is never held across I/O.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/internal.h"

/* ---- open and close ---- */

static int
open_leg (struct array *array, unsigned number)
{
  const struct array_options *options = &array->options;
  struct leg *leg = &array->legs[number];
  unsigned flags = options->read_only ? AIO_READ_ONLY : AIO_TRY_WRITE;
  int err;

  leg->number = number;
  leg->name = options->legs[number];
  leg->state = LEG_ABSENT;
  /* Something may still be in the leg's cache from before us: the first
   * flush is never passed over.
   */
  leg->written = 1;
  err = aio_open (array->aio, leg->name, flags, options->leg_timeout,
                  &leg->device, NULL);
  if (err != 0) {
    leg->device = NULL;
    /* In use means that somebody may be writing to the array right now; and
     * a moment without memory says nothing about the leg.
     */
    return err == -EBUSY || err == -ENOMEM ? err : 0;
  }
  leg->device->leg = (int)number;
  return 0;
}

static void
init (struct array *array, const struct array_options *options,
      const struct log *log)
{
  array->log = log;
  array->options = *options;
  array->nlegs = options->nlegs;
  array->margin = 2;
  array->resync_chunk = BITMAP_NO_CHUNK;
  rt_mutex_init (&array->lock);
  rt_mutex_init (&array->activate_lock);
  rt_cond_init (&array->activity_cond);
  rt_cond_init (&array->background_cond);
  rt_cond_init (&array->watch_cond);
  rt_cond_init (&array->copied_cond);
  rounds_init (&array->updates);
  rounds_init (&array->flushes);
  ranges_init (&array->ranges);
  store_legs_init (array);
}

int
array_open (const struct array_options *options, const struct log *log,
            struct array **arrayp)
{
  struct array *array;
  int err;

  if (options->nlegs == 0 || options->nlegs > ARRAY_MAX_LEGS) {
    log_error (log, "%u legs given, expected 1 to %u", options->nlegs,
               ARRAY_MAX_LEGS);
    return -EINVAL;
  }
  array = rt_calloc (1, sizeof *array);
  if (!array)
    return -ENOMEM;
  init (array, options, log);
  array->aio = aio_new (log);
  array->buffers = buffer_pool_new ();
  err = array->aio && array->buffers ? 0 : -ENOMEM;
  for (unsigned i = 0; i < array->nlegs && err == 0; ++i)
    err = open_leg (array, i);
  if (err == 0)
    err = array_assemble (array);
  if (err == 0)
    err = array_load_bitmap (array);
  if (err == 0)
    array_explain (array);
  if (err != 0) {
    array_close (array);
    return err;
  }
  *arrayp = array;
  return 0;
}

static void
stop_watch (struct array *array)
{
  if (!array->have_watch_thread)
    return;
  rt_mutex_lock (&array->lock);
  array->watch_stopping = true;
  rt_cond_signal (&array->watch_cond);
  rt_mutex_unlock (&array->lock);
  rt_thread_join (&array->watch_thread);
  array->have_watch_thread = false;
}

void
array_close (struct array *array)
{
  if (!array)
    return;
  assert (!array->have_clear_thread && !array->have_sync_thread);
  stop_watch (array);
  bitmap_free (array->bitmap);
  array_close_file (array);
  for (unsigned i = 0; i < array->nlegs; ++i) {
    leg_free_bad_blocks (&array->legs[i]);
    rt_free (array->legs[i].superblock);
    if (array->legs[i].device)
      device_close (array->legs[i].device);
  }
  aio_free (array->aio);
  while (array->nbatches > 0)
    io_batch_unref (array->batches[--array->nbatches]);
  buffer_pool_free (array->buffers);
  rt_free (array->table);
  ranges_destroy (&array->ranges);
  rounds_destroy (&array->updates);
  rounds_destroy (&array->flushes);
  rt_cond_destroy (&array->activity_cond);
  rt_cond_destroy (&array->background_cond);
  rt_cond_destroy (&array->watch_cond);
  rt_cond_destroy (&array->copied_cond);
  rt_mutex_destroy (&array->activate_lock);
  rt_mutex_destroy (&array->lock);
  rt_free (array);
}

/* ---- start and activate ---- */

int
array_start (struct array *array)
{
  int err = aio_start (array->aio);

  if (err == 0)
    err = rt_thread_create (&array->watch_thread, "mdbitmap-watch",
                            array_watch_main, array);
  array->have_watch_thread = err == 0;
  return err;
}

/* A leg's superblock differs from what the freshest says, be its events equal
 * or not, or has a resync checkpoint, below which the kernel would ignore all
 * bits; or an earlier call has begun to make that good, and failed.
 */
static bool
needs_update (const struct array *array, const struct leg *leg)
{
  const struct superblock *sb = leg->superblock, *table = array->table;

  return leg->events < array->events_tried
         || sb->resync_offset != (array->clean ? RESYNC_CLEAN : 0)
         || sb->max_dev != table->max_dev
         || memcmp (sb->dev_roles, table->dev_roles, sizeof sb->dev_roles) != 0;
}

static bool
superblocks_need_update (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs);

  for (unsigned i = 0; i < n; ++i)
    if (needs_update (array, legs[i]))
      return true;
  return false;
}

/* The table counts on somebody who is not in sync with us: an absent leg, or
 * one whose slot another leg fills.
 */
static bool
table_names_others (const struct array *array)
{
  const struct superblock *table = array->table;

  for (uint32_t dev = 0; dev < table->max_dev; ++dev) {
    bool ours = table->dev_roles[dev] > ROLE_LAST;

    for (unsigned i = 0; i < array->nlegs && !ours; ++i)
      ours = array->legs[i].state == LEG_IN_SYNC
             && array->legs[i].superblock->dev_number == dev;
    if (!ours)
      return true;
  }
  return false;
}

/* Our bitmap knows nothing of what the losers of a split brain have written:
 * nobody may use it for them; see roles.c.
 */
static int
outdate_losers (struct array *array)
{
  const struct bitmap_superblock *header = bitmap_header (array->bitmap);
  uint64_t cleared = array->loser_events + 1;
  int err = 0;

  if (!array->has_loser || array->events_cleared >= cleared)
    return 0;
  err = bitmap_write_header (array->bitmap, header->events, cleared);
  if (err == 0)
    array->events_cleared = cleared;
  return err;
}

/* The array is started without the file that its note names. */
static bool
gives_up_file (const struct array *array)
{
  return array->noted && array->bitmap_place == ARRAY_BITMAP_NONE;
}

/* A file that is given up must be behind before anything is written; one that
 * nobody has told us of only if no update comes before the data.
 */
static bool
must_lead (const struct array *array)
{
  return array->lead > 0
         && (array->activity != ARRAY_CLEAN || gives_up_file (array));
}

/* The bitmap as it was merged. */
static int
write_bitmap (struct array *array)
{
  int err = 0;

  if (array->note_differs && array->bitmap_place == ARRAY_BITMAP_FILE)
    err = array_write_note (array);
  if (err == 0 && array->bitmap_rewrite)
    err = bitmap_write_all (array->bitmap, array->bitmap_stale);
  if (err == 0)
    err = outdate_losers (array);
  if (err == 0)
    array->bitmap_rewrite = false;
  return err;
}

/* The first writes, with the lock held. */
static int
first_writes (struct array *array)
{
  bool update = superblocks_need_update (array) || must_lead (array);
  int err;

  err = array_prepare_file (array);
  if (err != 0)
    return err;
  array->may_write = true;
  /* What assembly has read may be in a leg's cache only, if the server before
   * was killed: nothing may rest on it before it is durable.
   */
  err = array_flush_legs (array);
  if (err == 0)
    err = write_bitmap (array);
  if (err != 0)
    return err;
  if (!array_whole (array) || array->has_loser || table_names_others (array)) {
    /* On record or not: the record may have been interrupted before it led
     * by enough.  The lost leg may carry one generation more than the
     * freshest of those that are here.
     */
    array->failures++;
    array->margin = 3;
  }
  update = update && array->recorded == array->failures;
  err = array_settle (array);
  if (err == 0 && update)
    err = array_update (array);
  if (err == 0 && gives_up_file (array)) {
    array_drop_note (array);
    err = array_write_note (array);
  }
  return err == 0 && array_file_stops (array) ? -EIO : err;
}

static bool
writable (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs);

  for (unsigned i = 0; i < n; ++i)
    if (legs[i]->device->limits.read_only) {
      log_error (array->log,
                 "leg %s: slot %u: cannot be opened for writing; the array "
                 "can only be read (nbdkit -r)",
                 legs[i]->name, legs[i]->slot);
      return false;
    }
  return !array->options.read_only;
}

static int
start_threads (struct array *array)
{
  int err;

  err = rt_thread_create (&array->clear_thread, "mdbitmap-clear",
                          array_clear_main, array);
  if (err != 0)
    return err;
  array->have_clear_thread = true;
  err = rt_thread_create (&array->sync_thread, "mdbitmap-sync", array_sync_main,
                          array);
  if (err == 0)
    array->have_sync_thread = true;
  return err;
}

static void
stop_threads (struct array *array)
{
  rt_mutex_lock (&array->lock);
  array->stopping = true;
  rt_cond_broadcast (&array->background_cond);
  rt_mutex_unlock (&array->lock);
  if (array->have_clear_thread)
    rt_thread_join (&array->clear_thread);
  if (array->have_sync_thread)
    rt_thread_join (&array->sync_thread);
  array->have_clear_thread = array->have_sync_thread = false;
}

static int
activate (struct array *array)
{
  int err;

  if (array->activated)
    return 0;
  if (!writable (array))
    return -EROFS;
  rt_mutex_lock (&array->lock);
  err = first_writes (array);
  rt_mutex_unlock (&array->lock);
  if (err == 0)
    err = start_threads (array);
  if (err != 0) {
    stop_threads (array);
    array->stopping = false; /* there is no thread to see it */
    log_error (array->log, "array %s: cannot be made writable: %s", array->uuid,
               strerror (-err));
    return err;
  }
  rt_mutex_lock (&array->lock);
  array->activated = true;
  rt_mutex_unlock (&array->lock);
  return 0;
}

int
array_activate (struct array *array)
{
  int err;

  rt_mutex_lock (&array->activate_lock);
  err = activate (array);
  rt_mutex_unlock (&array->activate_lock);
  return err;
}

int
array_record (struct array *array)
{
  int err = 0;

  rt_mutex_lock (&array->activate_lock);
  if (!array->activated) {
    err = writable (array) ? 0 : -EROFS;
    rt_mutex_lock (&array->lock);
    if (err == 0)
      err = first_writes (array);
    rt_mutex_unlock (&array->lock);
    if (err != 0 && err != -EROFS)
      log_error (array->log, "array %s: nothing certain is on record: %s",
                 array->uuid, strerror (-err));
  }
  rt_mutex_unlock (&array->activate_lock);
  return err;
}

/* ---- stop ---- */

/* Requests end by their deadlines; wait for about two. */
static bool
wait_for_writes (struct array *array)
{
  uint64_t deadline =
      rt_now () + 2 * min_u64 (array->options.leg_timeout, 3600 * RT_SECOND);

  while (array->writes > 0)
    if (!rt_cond_wait_until (&array->background_cond, &array->lock, deadline))
      break;
  return array->writes == 0;
}

/* Leave the legs clean if they can be; said if not. */
static void
leave_clean (struct array *array)
{
  const char *why =
      array_file_stops (array) ? "its bitmap file has failed" : "a leg fails";

  if (!wait_for_writes (array))
    why = "writes are in flight";
  else if (array_clear_pass (array, true) == 0 || array_file_stops (array)) {
    if (bitmap_needed (array->bitmap) > 0)
      why = "chunks need resync";
    else if (array_make_clean (array) == 0)
      return;
  }
  log_notice (array->log,
              "array %s: stopped, but not marked clean, since %s; nothing is "
              "lost, the next start resyncs what is marked",
              array->uuid, why);
}

void
array_stop (struct array *array)
{
  rt_mutex_lock (&array->activate_lock);
  if (array->activated) {
    rt_mutex_lock (&array->lock);
    array->activated = false; /* no new requests */
    rt_mutex_unlock (&array->lock);
    stop_threads (array);
    rt_mutex_lock (&array->lock);
    leave_clean (array);
    rt_mutex_unlock (&array->lock);
  }
  stop_watch (array);
  rt_mutex_unlock (&array->activate_lock);
}

/* ---- information ---- */

void
array_get_info (struct array *array, struct array_info *info)
{
  memset (info, 0, sizeof *info);
  rt_mutex_lock (&array->lock);
  info->size = array->size;
  info->logical_block = array->logical_block;
  info->fast_zero = true;
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    if (leg->state != LEG_IN_SYNC)
      continue;
    info->rotational |= leg->device->limits.rotational;
    info->fast_zero &= leg->device->limits.fast_zero;
    info->read_only |= leg->device->limits.read_only;
  }
  memcpy (info->uuid, array->uuid, sizeof info->uuid);
  memcpy (info->name, array->table->set_name, sizeof info->name);
  info->raid_disks = array->table->raid_disks;
  info->in_sync = array_in_sync (array);
  info->bitmap = array->bitmap_place;
  if (array->bitmap_place == ARRAY_BITMAP_FILE)
    info->bitmap_file = array->options.bitmap_file;
  else if (array->noted)
    info->noted_file = array->note.path;
  info->bitmap_failed = array->file_state == BITMAP_FILE_FAILED;
  info->chunksize = bitmap_chunk_bytes (array->bitmap);
  info->chunks = bitmap_chunk_count (array->bitmap);
  info->chunks_marked = bitmap_marked (array->bitmap);
  info->chunks_needed = bitmap_needed (array->bitmap);
  rt_mutex_unlock (&array->lock);
}

void
array_get_counters (struct array *array, struct array_counters *counters)
{
  struct bitmap_counters bitmap;

  rt_mutex_lock (&array->lock);
  bitmap_get_counters (array->bitmap, &bitmap);
  counters->reads = array->reads;
  counters->writes = rt_atomic_get (&array->write_requests);
  counters->zeroes = rt_atomic_get (&array->zeroes);
  counters->flushes = array->flush_requests;
  counters->bitmap_rounds = bitmap.rounds;
  counters->bitmap_pages = bitmap.pages;
  counters->metadata_updates = array->metadata_updates;
  counters->clear_flushes = array->clear_flushes;
  counters->resync_chunks = array->resync_chunks;
  counters->resync_bytes = array->resync_bytes;
  rt_mutex_unlock (&array->lock);
}
