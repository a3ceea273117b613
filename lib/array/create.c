/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making arrays: what is on the legs, and what is to be done.  The writing is
 * in create_write.c.
 *
 * Everything is looked at before anything is written or created, so that a
 * refusal changes nothing.  One thread, no lock: the legs are ours alone
 * (each is locked when it is opened) and device operations block.
 *
 * An array that was made halfway, because somebody was killed, is recognised
 * by this: superblocks are written last, one leg after the other, beginning
 * with the leg that a resync would copy from.  So if some legs have a
 * superblock of one array that was never started (events as new) and the others
 * have none, and the source has one, then making it can be finished.  Whether
 * old and new legs are equal nobody knows, and a full resync is ordered; its
 * direction is right even if the superblocks are not ours.  In any other
 * mixture a leg may carry the only copy of something, and is left alone.
 *
 * A file for the bitmap belongs to an array that is made; if all legs have a
 * superblock it is not looked at.  If it is missing then, who serves the array
 * says so.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "array/create.h"
#include "base/bytes.h"

bool
create_never_started (const struct superblock *s)
{
  if (s->version != SUPERBLOCK_0_90)
    return s->events == CREATE_EVENTS;
  /* An array that the kernel has started and stopped may be back at 1, but is
   * not as old as it was.
   */
  return s->events <= CREATE_EVENTS_090 && s->utime == s->ctime;
}

int
create_refuse (const struct creation *creation, const struct new_leg *leg,
               const struct format_error *error)
{
  char text[300];

  format_error_string (error, text, sizeof text);
  log_error (creation->log, "leg %s: %s", leg->path, text);
  return -EINVAL;
}

/* ---- what was asked for ---- */

static int
check_metadata (struct creation *creation)
{
  const struct array_create_options *options = creation->options;

  creation->version = SUPERBLOCK_1_2;
  if (options->metadata
      && !superblock_version_parse (options->metadata, &creation->version)) {
    log_error (creation->log,
               "metadata %s is not a version of md's superblock; use 1.2, "
               "1.1, 1.0 or 0.90",
               options->metadata);
    return -EINVAL;
  }
  creation->bitmap = options->bitmap == ARRAY_BITMAP_AUTO
                     || options->bitmap == ARRAY_BITMAP_INTERNAL;
  if (options->bitmap == ARRAY_BITMAP_NONE && options->bitmap_chunk != 0) {
    log_error (creation->log, "bitmap-chunk needs a bitmap; leave it out");
    return -EINVAL;
  }
  if (creation->version == SUPERBLOCK_0_90 && options->name) {
    log_error (creation->log,
               "metadata 0.90 has no room for the name '%s'; "
               "leave it out, or use metadata 1.2",
               options->name);
    return -EINVAL;
  }
  return 0;
}

static int
check_options (const struct creation *creation)
{
  const struct array_create_options *options = creation->options;
  unsigned legs = 0;

  if (options->nlegs < 1 || options->nlegs > ARRAY_MAX_LEGS) {
    log_error (creation->log, "%u legs given; an array has 1 to %d",
               options->nlegs, ARRAY_MAX_LEGS);
    return -EINVAL;
  }
  for (unsigned i = 0; i < options->nlegs; ++i)
    legs += options->legs[i] != NULL;
  if (legs == 0) {
    log_error (creation->log, "all legs are missing; give at least one");
    return -EINVAL;
  }
  if (options->size % SECTOR_SIZE != 0) {
    log_error (creation->log, "size %" PRIu64 " is not a multiple of 512",
               options->size);
    return -EINVAL;
  }
  if (options->bitmap_chunk != 0
      && (!is_power_of_2 (options->bitmap_chunk)
          || options->bitmap_chunk < LAYOUT_MIN_CHUNK)) {
    log_error (creation->log,
               "bitmap-chunk %" PRIu32 " is not a power of two "
               "of at least 4096",
               options->bitmap_chunk);
    return -EINVAL;
  }
  if (options->name && strlen (options->name) > CREATE_NAME_MAX) {
    log_error (creation->log, "name '%s' is longer than %d bytes",
               options->name, CREATE_NAME_MAX);
    return -EINVAL;
  }
  return 0;
}

/* ---- which legs these are ---- */

/* What is there, or where it will be: two paths that end at the same place
 * have the same identity.
 */
static int
identify (const struct creation *creation, struct new_leg *leg)
{
  const char *slash = strrchr (leg->path, '/');
  char parent[4096];
  struct stat st;
  int err, length;

  leg->exists = stat (leg->path, &st) == 0;
  leg->base = "";
  if (!leg->exists) {
    err = -errno;
    if (err != -ENOENT)
      goto failed;
    leg->base = slash ? slash + 1 : leg->path;
    length = slash ? (int)(slash - leg->path) : 0;
    snprintf (parent, sizeof parent, "%.*s/", slash ? length : 1,
              slash ? leg->path : ".");
    if (stat (parent, &st) == -1) {
      err = -errno;
      goto failed;
    }
  }
  leg->is_device = S_ISBLK (st.st_mode);
  leg->dev = leg->is_device ? st.st_rdev : st.st_dev;
  leg->ino = leg->is_device ? 0 : st.st_ino;
  return 0;

failed:
  log_error (creation->log, "leg %s: %s", leg->path, strerror (-err));
  return err;
}

static int
check_twice (const struct creation *creation)
{
  for (unsigned i = 0; i < creation->nlegs; ++i)
    for (unsigned j = 0; j < i; ++j) {
      const struct new_leg *a = &creation->legs[j], *b = &creation->legs[i];

      if (a->path && b->path && a->is_device == b->is_device && a->dev == b->dev
          && a->ino == b->ino && strcmp (a->base, b->base) == 0) {
        log_error (creation->log,
                   "leg %s is the same as leg %s; each leg can "
                   "be given once",
                   b->path, a->path);
        return -EINVAL;
      }
    }
  return 0;
}

/* A file that somebody was killed while allocating: it has less room than it
 * should have, blocks, and nothing was ever written to it.
 */
static bool
is_begun (const struct creation *creation, const struct new_leg *leg)
{
  const int fd = aio_fd (leg->device);
  struct format_error error;
  uint64_t sectors;
  struct stat st;

  return creation->options->size != 0
         && layout_leg_sectors (creation->version, creation->bitmap,
                                creation->options->size / SECTOR_SIZE,
                                creation->options->bitmap_chunk, &sectors,
                                &error)
                == 0
         && leg->old_size < sectors * SECTOR_SIZE && fstat (fd, &st) == 0
         && st.st_blocks > 0 && lseek (fd, 0, SEEK_DATA) == -1
         && errno == ENXIO;
}

static int
open_leg (struct creation *creation, struct new_leg *leg)
{
  unsigned flags = creation->options->keep_existing ? AIO_TRY_WRITE : 0;
  int err;

  leg->fresh = !leg->exists;
  if (leg->fresh)
    return 0;
  err = aio_open (creation->aio, leg->path, flags,
                  creation->options->leg_timeout, &leg->device, NULL);
  if (err < 0)
    return err;
  leg->old_size = leg->device->limits.size;
  if (aio_is_file (leg->device))
    leg->fresh = leg->old_size == 0 || is_begun (creation, leg);
  return 0;
}

static int
open_legs (struct creation *creation)
{
  struct new_leg *leg;
  int err = 0;

  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i) {
    leg = &creation->legs[i];
    leg->slot = i;
    leg->path = creation->options->legs[i];
    if (leg->path)
      err = identify (creation, leg);
  }
  if (err == 0)
    err = check_twice (creation);
  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i)
    if (creation->legs[i].path)
      err = open_leg (creation, &creation->legs[i]);
  return err;
}

/* ---- what to do ---- */

static struct new_leg *
with_superblock (struct creation *creation)
{
  for (unsigned i = 0; i < creation->nlegs; ++i)
    if (creation->legs[i].superblock)
      return &creation->legs[i];
  return NULL;
}

static bool
without_superblock (const struct new_leg *leg)
{
  return leg->path && !leg->superblock;
}

/* keep_existing, and all legs have a superblock: what is there is served. */
static void
say_other (const struct creation *creation)
{
  const bool asked = creation->options->metadata != NULL;
  const uint64_t size = creation->options->size;

  for (unsigned i = 0; i < creation->nlegs; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (leg->path && size != 0 && leg->superblock->size * SECTOR_SIZE != size)
      log_notice (creation->log,
                  "leg %s: it carries an array of %" PRIu64
                  " bytes already; that is served, not one of %" PRIu64,
                  leg->path, leg->superblock->size * SECTOR_SIZE, size);
    if (leg->path && asked && leg->superblock->version != creation->version)
      log_notice (creation->log,
                  "leg %s: it carries an array with metadata %s already; that "
                  "is served, not one with %s",
                  leg->path,
                  superblock_version_string (leg->superblock->version),
                  superblock_version_string (creation->version));
  }
}

/* The slot that a resync copies from: the lowest that is not write-mostly, as
 * the kernel's.
 */
static const struct new_leg *
source_leg (const struct creation *creation)
{
  const struct new_leg *lowest = NULL;

  for (unsigned i = 0; i < creation->nlegs; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (!leg->path)
      continue;
    if (!leg->write_mostly)
      return leg;
    if (!lowest)
      lowest = leg;
  }
  return lowest;
}

/* One leg with a superblock, beside others without. */
static int
check_half_made (const struct creation *creation, const struct new_leg *leg,
                 const struct superblock *first)
{
  const struct superblock *s = leg->superblock;
  const uint64_t size = creation->options->size;
  const struct log *log = creation->log;

  if (memcmp (s->set_uuid, first->set_uuid, sizeof s->set_uuid) != 0)
    log_error (log, "leg %s belongs to another array than the legs before it",
               leg->path);
  else if (size != 0 && s->size * SECTOR_SIZE != size)
    log_error (log,
               "leg %s: its array has %" PRIu64 " bytes, and %" PRIu64
               " were asked for; finish it with the size it has",
               leg->path, s->size * SECTOR_SIZE, size);
  else if (s->version != creation->version)
    log_error (log,
               "leg %s: its array has metadata %s, and %s was asked for; "
               "finish it with the metadata it has",
               leg->path, superblock_version_string (s->version),
               superblock_version_string (creation->version));
  else if (s->raid_disks != creation->nlegs)
    log_error (log,
               "leg %s: its array has %" PRIu32 " slots, and %u legs "
               "were given; give all of them",
               leg->path, s->raid_disks, creation->nlegs);
  else if (s->dev_number != leg->slot
           || superblock_role (s, s->dev_number) != leg->slot)
    log_error (log,
               "leg %s: it is in slot %u, and was given for slot %u; "
               "give the legs in the order of their slots",
               leg->path, superblock_role (s, s->dev_number), leg->slot);
  else
    return 0;
  return -EINVAL;
}

/* keep_existing, and some legs have a superblock. */
static int
check_mixture (struct creation *creation)
{
  struct new_leg *first = with_superblock (creation);
  const struct new_leg *leg, *other = NULL;
  char uuid[36];
  int err = 0;

  for (unsigned i = 0; i < creation->nlegs; ++i)
    if (without_superblock (&creation->legs[i]))
      other = &creation->legs[i];
  assert (first && other);
  superblock_uuid (first->superblock->version, first->superblock->set_uuid,
                   uuid);
  for (unsigned i = 0; i < creation->nlegs; ++i) {
    leg = &creation->legs[i];
    if (leg->superblock && !create_never_started (leg->superblock)) {
      log_error (creation->log,
                 "leg %s has no superblock, but leg %s belongs to the array "
                 "%.36s, which has been started (events %" PRIu64 "): %s is "
                 "not part of it and is left alone; leave it out, or re-add "
                 "it, which is another command",
                 other->path, leg->path, uuid, leg->superblock->events,
                 other->path);
      return -EINVAL;
    }
  }
  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i)
    if (creation->legs[i].superblock) {
      leg = &creation->legs[i];
      creation->legs[i].write_mostly =
          leg->superblock->devflags & DEV_FLAG_WRITE_MOSTLY;
      err = check_half_made (creation, leg, first->superblock);
    }
  if (err < 0)
    return err;
  leg = source_leg (creation);
  if (without_superblock (leg)) {
    log_error (creation->log,
               "leg %s has no superblock, but leg %s belongs to the array "
               "%.36s: this is not an array that was made halfway, and %s is "
               "left alone; leave it out, or re-add it, which is another "
               "command",
               leg->path, first->path, uuid, leg->path);
    return -EINVAL;
  }
  creation->finishing = first->superblock;
  return 0;
}

/* No superblock may be there, unless it may be overwritten. */
static int
check_no_superblock (const struct creation *creation)
{
  char uuid[36];

  for (unsigned i = 0; i < creation->nlegs; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (!leg->superblock || creation->options->force)
      continue;
    superblock_uuid (leg->superblock->version, leg->superblock->set_uuid, uuid);
    log_error (creation->log,
               "leg %s: found a superblock of the array %.36s (%s, events "
               "%" PRIu64 "), which would be overwritten; take another leg, "
               "or --force",
               leg->path, uuid, leg->superblock->set_name,
               leg->superblock->events);
    return -EEXIST;
  }
  return 0;
}

static int
check_legs (struct creation *creation)
{
  const bool keep = creation->options->keep_existing;
  bool some = false, all = true;
  int err = 0;

  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i) {
    struct new_leg *leg = &creation->legs[i];

    if (leg->path && !leg->fresh)
      err = create_probe (creation, leg);
    some |= leg->superblock != NULL;
    all &= !without_superblock (leg);
  }
  if (err == 0 && keep && all) {
    creation->nothing_to_do = true;
    say_other (creation);
    return 0;
  }
  if (err == 0)
    err = keep && some ? check_mixture (creation)
                       : check_no_superblock (creation);
  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (leg->device && leg->device->limits.read_only) {
      log_error (creation->log, "leg %s cannot be written", leg->path);
      err = -EROFS;
    }
    else if (leg->path && !leg->fresh && !leg->superblock
             && !creation->options->force)
      err = create_check_signature (creation, leg);
  }
  return err;
}

/* ---- sizes ---- */

/* What the array gets if nobody said: the most that all legs have. */
static int
common_size (struct creation *creation)
{
  struct format_error error;
  struct layout layout;

  creation->size = UINT64_MAX;
  for (unsigned i = 0; i < creation->nlegs; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (!leg->path)
      continue;
    if (leg->fresh) {
      log_error (creation->log,
                 "leg %s: a new file needs a size; give the "
                 "size of the array",
                 leg->path);
      return -EINVAL;
    }
    if (layout_place (creation->version, creation->bitmap,
                      leg->device->limits.size / SECTOR_SIZE, 0,
                      creation->options->bitmap_chunk, &layout, &error)
        < 0)
      return create_refuse (creation, leg, &error);
    creation->size = min_u64 (creation->size, layout.size);
  }
  return 0;
}

static int
plan_leg (struct creation *creation, struct new_leg *leg)
{
  const uint32_t chunk = creation->options->bitmap_chunk;
  struct format_error error;

  if (leg->fresh) {
    if (layout_leg_sectors (creation->version, creation->bitmap, creation->size,
                            chunk, &leg->sectors, &error)
        < 0)
      return create_refuse (creation, leg, &error);
  }
  else {
    leg->sectors = leg->device->limits.size / SECTOR_SIZE;
    if (creation->size * SECTOR_SIZE % leg->device->limits.logical_block != 0) {
      log_error (creation->log,
                 "leg %s has logical blocks of %" PRIu32
                 " bytes; give a size that is a multiple",
                 leg->path, leg->device->limits.logical_block);
      return -EINVAL;
    }
  }
  if (layout_place (creation->version, creation->bitmap, leg->sectors,
                    creation->size, chunk, &leg->layout, &error)
      < 0)
    return create_refuse (creation, leg, &error);
  return 0;
}

/* A leg whose superblock is finished keeps its place; its bitmap must be what
 * the others get.
 */
static int
check_kept (const struct creation *creation, const struct new_leg *leg)
{
  const struct superblock *s = leg->superblock;

  if (!creation->finishing || !s)
    return 0;
  if (s->feature_map == (creation->bitmap ? FEATURE_BITMAP_OFFSET : 0)
      && (!creation->bitmap || s->bitmap_offset == leg->layout.bitmap_offset)
      && s->super_offset == leg->layout.super_offset
      && s->data_offset == leg->layout.data_offset
      && s->data_size == leg->layout.data_size
      && s->bblog_offset == leg->layout.bblog_offset)
    return 0;
  log_error (creation->log,
             "leg %s: its array was made with another bitmap "
             "or layout; make it anew with mdbitmap create "
             "--force",
             leg->path);
  return -EINVAL;
}

static int
plan (struct creation *creation)
{
  unsigned present = 0, fresh = 0;
  int err = 0;

  creation->size = creation->finishing ? creation->finishing->size
                                       : creation->options->size / SECTOR_SIZE;
  if (creation->size == 0)
    err = common_size (creation);
  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i) {
    struct new_leg *leg = &creation->legs[i];

    if (!leg->path)
      continue;
    ++present;
    fresh += leg->fresh;
    err = plan_leg (creation, leg);
    if (err == 0)
      err = check_kept (creation, leg);
  }
  /* One leg is always equal to itself.  A slot that is empty misses
   * everything, so that all bits are set, as md has them.
   */
  creation->clean =
      !creation->finishing
      && (creation->options->assume_clean || fresh == present || present == 1);
  creation->mark_all = !creation->clean || present < creation->nlegs;
  return err;
}

/* ---- all of it ---- */

static void
close_legs (struct creation *creation, int err)
{
  for (unsigned i = 0; i < creation->nlegs; ++i) {
    struct new_leg *leg = &creation->legs[i];

    /* A new file goes as it came, unless it belongs to an array by now. */
    if (err < 0 && leg->device && leg->fresh && !creation->superblocks_begun) {
      if (leg->created)
        unlink (leg->path);
      else if (ftruncate (aio_fd (leg->device), (off_t)leg->old_size) == -1)
        log_error (creation->log, "leg %s: truncating it: %s", leg->path,
                   strerror (errno));
    }
    if (leg->device)
      device_close (leg->device);
    rt_free (leg->superblock);
  }
}

int
array_create (const struct array_create_options *options, const struct log *log)
{
  struct creation *creation = rt_calloc (1, sizeof *creation);
  int err;

  if (!creation)
    return -ENOMEM;
  creation->options = options;
  creation->log = log;
  err = check_options (creation);
  if (err == 0)
    err = check_metadata (creation);
  if (err < 0)
    goto out;
  creation->aio = aio_new (log);
  if (!creation->aio) {
    err = -ENOMEM;
    goto out;
  }
  creation->nlegs = options->nlegs;
  for (unsigned i = 0; i < creation->nlegs; ++i)
    creation->legs[i].write_mostly = options->write_mostly[i];
  err = create_check_path (creation);
  if (err == 0)
    err = open_legs (creation);
  if (err == 0)
    err = check_legs (creation);
  if (err == 0 && !creation->nothing_to_do)
    err = plan (creation);
  if (err == 0 && !creation->nothing_to_do && create_has_file (creation))
    err = create_check_file (creation);
  if (err == 0 && !creation->nothing_to_do)
    err = create_write (creation);
  if (err < 0 && !creation->superblocks_begun)
    create_remove_file (creation);
  close_legs (creation, err);
  aio_free (creation->aio);
out:
  rt_free (creation);
  return err;
}
