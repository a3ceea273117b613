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
 * counts as stale as well.  But the record of a forced source may have been
 * interrupted (roles.c): then events_cleared leads as well.
 *
 * A copy that cannot be read, or has no header at all, is written anew from
 * the others.  A header that we do not understand, or of another array, is
 * refused, and so is an array of which some legs have a bitmap and some have
 * none.  With read_only nothing is refused for its bitmap: without one that can
 * be used, all is read from the source if the array is not clean.
 *
 * A bitmap in a file is one copy by itself.  There is no other to make it anew
 * from, so one that cannot be read, or holds no bitmap, is refused: the user
 * may have named the wrong file.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "array/internal.h"
#include "array/load.h"
#include "format/layout.h"

static void
name_copy (const struct array *array, struct copy *copy, struct leg *leg)
{
  copy->leg = leg;
  copy->kind = leg ? "leg" : "bitmap file";
  copy->name = leg ? leg->name : array->options.bitmap_file;
  copy->part = leg ? ": bitmap" : "";
}

/* The first bytes of a copy. */
static int
read_copy (struct array *array, const struct copy *copy, uint64_t length,
           struct buffer *buffer)
{
  if (!copy->leg)
    return file_read (array->file, 0, length, buffer);
  return device_run (copy->leg->device, IO_READ, 0, copy->leg->bitmap_offset,
                     length, buffer);
}

/* ---- headers ---- */

static const char make_anew[] =
    "mdbitmap bitmap --force FILE LEG... makes it anew (remove a damaged one "
    "first), bitmap=none does without";

static void
complain (struct array *array, const struct copy *copy,
          struct format_error *error)
{
  char text[512];

  if (!copy->leg)
    error->advice = make_anew;
  format_error_string (error, text, sizeof text);
  log_error (array->log, "%s %s%s: %s", copy->kind, copy->name, copy->part,
             text);
}

/* The copy is stale: what the first one says is kept for people. */
static void
set_stale (struct array *array, struct copy *copy)
{
  copy->state = COPY_STALE;
  if (array->full_why[0] != '\0')
    return;
  if (copy->header.state & BITMAP_STALE)
    snprintf (array->full_why, sizeof array->full_why,
              "its bitmap is marked as stale");
  else if (copy->header.events < array->events)
    snprintf (array->full_why, sizeof array->full_why,
              "its bitmap is stale: events %ju < %ju",
              (uintmax_t)copy->header.events, (uintmax_t)array->events);
  else
    snprintf (array->full_why, sizeof array->full_why, "%s",
              !copy->leg && array->has_loser
                  ? "its bitmap file may be the other half's"
                  : "its bitmap is damaged");
}

/* Is there room for a bitmap with this header where it is? */
static int
check_copy_room (struct array *array, const struct copy *copy,
                 const struct bitmap_superblock *header,
                 struct format_error *error)
{
  uint64_t chunks, bytes;

  if (copy->leg)
    return layout_check (copy->leg->superblock, header,
                         copy->leg->device->limits.size / SECTOR_SIZE, error);
  chunks = bitmap_chunks (array->table->size, header->chunksize);
  bytes = bitmap_bytes (chunks);
  if (array->file->size >= bytes)
    return 0;
  snprintf (error->expected, sizeof error->expected,
            "at least %ju for %ju chunks of %u bytes", (uintmax_t)bytes,
            (uintmax_t)chunks, header->chunksize);
  snprintf (error->found, sizeof error->found, "%ju bytes",
            (uintmax_t)array->file->size);
  error->field = "size of the file";
  return -EINVAL;
}

/* Is a decoded header fresh? */
static void
judge_events (struct array *array, struct copy *copy)
{
  if (copy->header.events > max_u64 (array->events, copy->header.events_cleared)
                                + HEADER_LEAD_MAX) {
    log_error (array->log,
               "%s %s%s: field events: found %ju, expected %ju to %ju; it is "
               "damaged and counts as stale",
               copy->kind, copy->name, copy->part,
               (uintmax_t)copy->header.events, (uintmax_t)array->events,
               (uintmax_t)array->events + HEADER_LEAD_MAX);
    set_stale (array, copy);
    copy->header.events = copy->header.events_cleared = 0;
  }
  else if (copy->header.state & BITMAP_STALE) {
    log_notice (array->log, "%s %s%s: it is marked as stale", copy->kind,
                copy->name, copy->part);
    set_stale (array, copy);
  }
  else if (copy->header.events < array->events) {
    log_notice (array->log,
                "%s %s%s: stale: its events %ju < %ju of the superblock",
                copy->kind, copy->name, copy->part,
                (uintmax_t)copy->header.events, (uintmax_t)array->events);
    set_stale (array, copy);
  }
  else if (!copy->leg && array->has_loser) {
    log_notice (array->log,
                "bitmap file %s: it counts as stale, since it may have gone "
                "with the leg that lost the split brain",
                copy->name);
    set_stale (array, copy);
  }
  else
    copy->state = COPY_VALID;
}

/* Is a decoded header that of this array, and fresh?  0 or -EINVAL. */
static int
judge_header (struct array *array, struct copy *copy)
{
  struct format_error error;
  char uuid[FORMAT_UUID_TEXT];

  if (memcmp (copy->header.uuid, array->table->set_uuid,
              sizeof copy->header.uuid)
      != 0) {
    log_error (array->log,
               "%s %s%s: field uuid: found %s, expected %s; it is the bitmap "
               "of another array",
               copy->kind, copy->name, copy->part,
               superblock_uuid (array->table->version, copy->header.uuid, uuid),
               array->uuid);
    return -EINVAL;
  }
  if (check_copy_room (array, copy, &copy->header, &error) != 0) {
    complain (array, copy, &error);
    return -EINVAL;
  }
  judge_events (array, copy);
  return 0;
}

/* It could not be read (err), or there is none.  A copy on a leg is made anew
 * from the others; there is only one file.
 */
static int
no_header (struct array *array, const struct copy *copy, int err)
{
  if (err == -ENOMEM)
    return err;
  if (copy->leg && err == -ENOENT)
    log_error (array->log, "leg %s: bitmap: no bitmap at byte %ju", copy->name,
               (uintmax_t)copy->leg->bitmap_offset);
  else if (copy->leg)
    log_error (array->log, "leg %s: reading the bitmap: %s", copy->name,
               strerror (-err));
  else if (err == -ENOENT)
    log_error (array->log, "bitmap file %s: there is no bitmap in it; %s",
               copy->name, make_anew);
  else
    log_error (array->log, "bitmap file %s: cannot be read: %s; %s", copy->name,
               strerror (-err), make_anew);
  return copy->leg ? 0 : -EINVAL;
}

static int
read_header (struct array *array, struct copy *copy)
{
  const uint64_t room = copy->leg ? copy->leg->bitmap_room : BITMAP_PAGE_BYTES;
  struct buffer *buffer = buffer_new (BITMAP_PAGE_BYTES);
  struct format_error error;
  bool intact;
  int err;

  if (!buffer)
    return -ENOMEM;
  copy->state = COPY_UNUSABLE;
  err = read_copy (array, copy, min_u64 (BITMAP_PAGE_BYTES, room), buffer);
  if (err != 0) {
    err = no_header (array, copy, err == -ENOENT ? -EIO : err);
    goto out;
  }
  err = bitmap_superblock_decode (buffer->data, &copy->header, &intact, &error);
  if (err == -ENOENT)
    err = no_header (array, copy, err);
  else if (err != 0)
    complain (array, copy, &error);
  else
    err = judge_header (array, copy);
  if (!copy->leg)
    memcpy (array->file_header->data, buffer->data, BITMAP_PAGE_BYTES);
out:
  if (err == -EINVAL && copy->leg && array->options.read_only)
    err = 0; /* not used, and not harmed */
  buffer_unref (buffer);
  return err;
}

int
leg_events_cleared (struct array *array, const struct leg *leg,
                    uint64_t *events_cleared, bool *leads)
{
  const struct superblock *sb = leg->superblock;
  struct bitmap_superblock header;
  struct format_error error;
  struct buffer *buffer;
  bool intact;
  int err;

  *events_cleared = 0;
  *leads = false;
  if (!(sb->feature_map & FEATURE_BITMAP_OFFSET))
    return 0;
  buffer = buffer_new (BITMAP_PAGE_BYTES);
  if (!buffer)
    return -ENOMEM;
  err = device_run (
      leg->device, IO_READ, 0,
      (uint64_t)((int64_t)sb->super_offset + sb->bitmap_offset) * SECTOR_SIZE,
      leg->device->limits.logical_block, buffer);
  if (err == 0
      && bitmap_superblock_decode (buffer->data, &header, &intact, &error) == 0
      && memcmp (header.uuid, sb->set_uuid, sizeof header.uuid) == 0
      && !(header.state & BITMAP_STALE) && header.events >= sb->events
      && header.events_cleared <= EVENTS_MAX
      && header.events
             <= max_u64 (sb->events, header.events_cleared) + HEADER_LEAD_MAX) {
    *events_cleared = header.events_cleared;
    *leads = header.events_cleared > header.events + 1
             || header.events > sb->events + HEADER_LEAD_MAX;
  }
  else
    log_debug (array->log, LOG_LEGS, "leg %s: events_cleared is not known",
               leg->name);
  buffer_unref (buffer);
  return err == -ENOMEM ? err : 0;
}

/* ---- all together ---- */

/* Everything will be copied: never silently, and not if the user has said
 * so.
 */
static int
check_full_resync (struct array *array, bool stale)
{
  const char *why =
      stale ? "its bitmap is stale" : "every chunk is marked in its bitmap";

  if (array_in_sync (array) < 2 || array->options.read_only
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
check_copies (struct array *array, struct copy *copies, unsigned n,
              unsigned *valid)
{
  const struct copy *first = NULL;

  *valid = 0;
  for (unsigned i = 0; i < n; ++i) {
    struct copy *copy = &copies[i];

    if (copy->state != COPY_UNUSABLE && first
        && copy->header.chunksize != first->header.chunksize) {
      log_error (array->log,
                 "leg %s: bitmap: field chunksize: found %u, expected %u as "
                 "on leg %s",
                 copy->name, copy->header.chunksize, first->header.chunksize,
                 first->name);
      return -EINVAL;
    }
    if (copy->state != COPY_VALID)
      array->bitmap_rewrite = array->bitmap_stale = true;
    *valid += copy->state == COPY_VALID;
    if (!first && copy->state != COPY_UNUSABLE)
      first = copy;
  }
  if (first)
    return 0;
  log_error (array->log,
             "array %s: no leg has a bitmap that can be used; mdbitmap bitmap "
             "--force internal LEG... makes it anew, or read the array (nbdkit "
             "-r)",
             array->uuid);
  return -EINVAL;
}

/* There is room for the bitmap on each leg that it will be written to, those
 * whose own copy is unusable included; and a chunk can be written to each leg
 * by itself.
 */
static int
check_room (struct array *array, const struct copy *copies, unsigned n,
            const struct bitmap_superblock *header)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned nlegs = array_working_legs (array, legs);
  struct format_error error;

  for (unsigned i = 0; i < n; ++i)
    if (check_copy_room (array, &copies[i], header, &error) != 0) {
      complain (array, &copies[i], &error);
      return -EINVAL;
    }
  for (unsigned i = 0; i < nlegs; ++i)
    if (header->chunksize < legs[i]->device->limits.logical_block) {
      log_error (array->log,
                 "leg %s: bitmap: field chunksize: found %u, expected at least "
                 "%u, the leg's logical block; add a bitmap with larger chunks",
                 legs[i]->name, header->chunksize,
                 legs[i]->device->limits.logical_block);
      return -EINVAL;
    }
  return 0;
}

static bool
leg_has_bitmap (const struct leg *leg)
{
  return leg->superblock->feature_map & FEATURE_BITMAP_OFFSET;
}

/* Legs have a bitmap as the freshest has, or all have none. */
static int
check_features (struct array *array, struct leg *const *legs, unsigned n)
{
  const char *like = "the freshest";

  for (unsigned i = 0; i < n; ++i)
    if (leg_has_bitmap (legs[i]) == array->has_bitmap)
      like = legs[i]->name;
  for (unsigned i = 0; i < n; ++i) {
    bool has = leg_has_bitmap (legs[i]);

    if (has == array->has_bitmap)
      continue;
    log_error (array->log,
               "leg %s: field feature_map: found %s internal bitmap, expected "
               "%s as on leg %s; examine the legs with mdadm",
               legs[i]->name, has ? "an" : "no", has ? "none" : "one", like);
    return -EINVAL;
  }
  return 0;
}

/* The bitmap from its copies, of which one at least can be used. */
static int
load_bitmap (struct array *array, struct copy *copies, unsigned n)
{
  struct bitmap_superblock header;
  unsigned valid = 0;
  int err = check_copies (array, copies, n, &valid);

  if (err == 0) {
    merge_headers (array, copies, n, &header);
    err = check_room (array, copies, n, &header);
  }
  if (err != 0)
    return err;
  array->bitmap = bitmap_new (&header, array->size, &array->store, &array->lock,
                              array->log);
  if (!array->bitmap)
    return -ENOMEM;
  err = array_load_pages (array, copies, n, &valid);
  if (err == 0 && valid == 0)
    err = bitmap_load_all_set (array->bitmap, !array->clean);
  if (valid > 0)
    array->full_why[0] = '\0';
  else if (array->full_why[0] == '\0')
    snprintf (array->full_why, sizeof array->full_why,
              "its bitmap cannot be read");
  return err == 0 ? check_full_resync (array, valid == 0) : err;
}

/* Nothing of the bitmap can be used, and nothing will be written: as if there
 * were none.
 */
static int
read_without (struct array *array)
{
  bitmap_free (array->bitmap);
  array->bitmap = NULL;
  array->bitmap_place = ARRAY_BITMAP_NONE;
  array->bitmap_rewrite = array->bitmap_stale = false;
  array->resync_from = 0;
  if (array->full_why[0] == '\0')
    snprintf (array->full_why, sizeof array->full_why,
              "no bitmap that can be used, and the array is not clean");
  log_notice (array->log,
              "array %s: its bitmap cannot be used; reading goes on without",
              array->uuid);
  return array_load_no_bitmap (array);
}

/* From the copies on the legs, or the one in the file. */
static int
load_from (struct array *array, struct leg *const *legs, unsigned n)
{
  struct copy *copies = rt_calloc (ARRAY_MAX_LEGS, sizeof *copies);
  int err = 0;

  if (!copies)
    return -ENOMEM;
  for (unsigned i = 0; i < n && err == 0; ++i) {
    name_copy (array, &copies[i], legs[i]);
    err = read_header (array, &copies[i]);
  }
  if (err == 0)
    err = load_bitmap (array, copies, n);
  rt_free (copies);
  if (err == -EINVAL && array->options.read_only)
    err = read_without (array);
  return err;
}

static int
load_file (struct array *array)
{
  struct leg *none = NULL;
  int err = array_open_file (array);

  if (err != 0 && err != -ENOMEM && array->options.read_only)
    return read_without (array);
  if (err != 0)
    return err;
  store_file_init (array);
  err = load_from (array, &none, 1);
  if (err == 0 && array->bitmap_place == ARRAY_BITMAP_FILE)
    array_want_note (array);
  return err;
}

int
array_load_bitmap (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs);
  int err = check_features (array, legs, n);

  if (err != 0)
    return array->options.read_only ? read_without (array) : err;
  if (array->has_bitmap && array->options.ignore_bitmap) {
    array->bitmap_place = ARRAY_BITMAP_NONE;
    array->resync_from = 0;
    return array_load_no_bitmap (array);
  }
  if (!array->has_bitmap)
    err = array_load_note (array);
  if (err == 0)
    err = array_choose_bitmap (array);
  if (err != 0)
    return err;
  if (array->bitmap_place == ARRAY_BITMAP_INTERNAL)
    return load_from (array, legs, n);
  return array->bitmap_place == ARRAY_BITMAP_FILE
             ? load_file (array)
             : array_load_no_bitmap (array);
}
