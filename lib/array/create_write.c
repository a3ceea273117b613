/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making arrays: the writing.
 *
 * In this order, each step durable on all legs before the next begins:
 *   1. new files are created and allocated;
 *   2. superblocks that may be overwritten are zeroed;
 *   3. the bitmap (header and bits), if it is on the legs, and the empty
 *      bad-block log;
 *   4. the note on each leg that the bitmap is in a file, if it is;
 *   5. superblocks, one leg after the other, the source of a resync first.
 * A file for the bitmap is made before all that, since making it shows whether
 * it may lie there.  Killed before 5, there is no array.  Killed during 5, it
 * is one that was made halfway: see create.c.
 *
 * A leg of an array made halfway keeps its superblock during 3: it says
 * events 0 as before, and its new bits are all set.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "array/create.h"
#include "base/bytes.h"
#include "format/bitmap_note.h"
#include "format/superblock_090.h"

#define BITMAP_PIECE   MiB
#define DAEMON_SLEEP   5   /* seconds, as mdadm */
#define CREATE_MAX_DEV 128 /* as mdadm */

uint64_t
create_first_events (const struct creation *creation)
{
  return creation->version == SUPERBLOCK_0_90 ? CREATE_EVENTS_090
                                              : CREATE_EVENTS;
}

/* Offset of the superblock, bytes. */
static uint64_t
superblock_at (const struct new_leg *leg)
{
  return leg->layout.super_offset * SECTOR_SIZE;
}

/* Of something that lies that many sectors from the superblock. */
static uint64_t
beside_superblock (const struct new_leg *leg, int32_t sectors)
{
  return superblock_at (leg) + (uint64_t)((int64_t)sectors * SECTOR_SIZE);
}

static int
failed (const struct creation *creation, const struct new_leg *leg,
        const char *what, int err)
{
  log_error (creation->log, "leg %s: %s: %s", leg->path, what, strerror (-err));
  return err;
}

/* ---- 1: files ---- */

static int
make_file (struct creation *creation, struct new_leg *leg)
{
  const uint64_t size = leg->sectors * SECTOR_SIZE;
  int err;

  if (!leg->device) {
    err =
        aio_open (creation->aio, leg->path, AIO_CREATE,
                  creation->options->leg_timeout, &leg->device, &leg->created);
    if (err < 0)
      return err;
    if (leg->device->limits.size != 0 || !aio_is_file (leg->device)) {
      log_error (creation->log, "leg %s: somebody has made it meanwhile",
                 leg->path);
      return -EEXIST;
    }
  }
  if (creation->size * SECTOR_SIZE % leg->device->limits.logical_block != 0) {
    log_error (creation->log,
               "leg %s has logical blocks of %" PRIu32
               " bytes; give a size that is a multiple",
               leg->path, leg->device->limits.logical_block);
    return -EINVAL;
  }
  err = aio_allocate (leg->device, size);
  if (err < 0)
    return err; /* it has said why */
  if (leg->device->limits.size != size) {
    log_error (creation->log,
               "leg %s: has %" PRIu64 " bytes after %" PRIu64 " were allocated",
               leg->path, leg->device->limits.size, size);
    return -EIO;
  }
  return 0;
}

/* ---- batches over all legs ---- */

/* Run what has been added for the legs (ios[slot], NULL: none), and say what
 * failed.  The batch is gone afterwards.
 */
static int
run (const struct creation *creation, struct io_batch *batch,
     struct io *const ios[ARRAY_MAX_LEGS], const char *what)
{
  int err = io_batch_run (batch);

  for (unsigned i = 0; i < creation->nlegs; ++i)
    if (ios[i] && ios[i]->result < 0)
      failed (creation, &creation->legs[i], what, ios[i]->result);
  io_batch_unref (batch);
  return err;
}

static int
flush_all (const struct creation *creation)
{
  struct io_batch *batch = io_batch_new (ARRAY_MAX_LEGS);
  struct io *ios[ARRAY_MAX_LEGS] = { NULL };

  if (!batch)
    return -ENOMEM;
  for (unsigned i = 0; i < creation->nlegs; ++i)
    if (creation->legs[i].device)
      ios[i] = io_batch_add (batch, creation->legs[i].device, IO_FLUSH, 0, 0, 0,
                             NULL, 0);
  return run (creation, batch, ios, "flushing");
}

/* ---- 2: what may be overwritten ---- */

/* In all places, whatever version they are of: what is left of one could be
 * believed one day.
 */
static int
wipe_superblocks (const struct creation *creation)
{
  struct io_batch *batch = io_batch_new (ARRAY_MAX_LEGS * SUPERBLOCK_VERSIONS);
  struct buffer *zeroes = buffer_new_zero (SUPERBLOCK_BYTES);
  int err = batch && zeroes ? 0 : -ENOMEM;
  uint64_t sector;

  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (creation->finishing && leg->superblock)
      continue;
    for (unsigned v = 0; v < SUPERBLOCK_VERSIONS; ++v) {
      if (!leg->has_magic[v])
        continue;
      sector = superblock_sector ((enum superblock_version)v,
                                  leg->old_size / SECTOR_SIZE);
      io_batch_add (batch, leg->device, IO_WRITE, IO_FUA, sector * SECTOR_SIZE,
                    SUPERBLOCK_BYTES, zeroes, 0);
    }
  }
  if (err == 0) {
    err = io_batch_run (batch);
    if (err < 0)
      log_error (creation->log, "wiping old superblocks: %s", strerror (-err));
  }
  io_batch_unref (batch);
  buffer_unref (zeroes);
  return err;
}

/* ---- 3: bitmap ---- */

/* The legs agree on the bitmap; only data may begin at different places. */
static const struct layout *
any_layout (const struct creation *creation)
{
  const struct layout *layout = NULL;

  for (unsigned i = 0; i < creation->nlegs; ++i)
    if (creation->legs[i].path) {
      assert (!layout
              || layout->bitmap_sectors
                     == creation->legs[i].layout.bitmap_sectors);
      layout = &creation->legs[i].layout;
    }
  assert (layout);
  return layout;
}

void
create_bitmap_header (const struct creation *creation,
                      const uint8_t set_uuid[16], uint32_t chunksize,
                      struct bitmap_superblock *header)
{
  memset (header, 0, sizeof *header);
  header->version = BITMAP_VERSION;
  header->events = create_first_events (creation);
  header->sync_size = creation->size;
  header->chunksize = chunksize;
  header->daemon_sleep = DAEMON_SLEEP;
  memcpy (header->uuid, set_uuid, sizeof header->uuid);
}

/* Bytes of it that are written: with 0.90, mdadm fills all the room. */
static uint64_t
bitmap_length (const struct creation *creation)
{
  if (creation->version == SUPERBLOCK_0_90)
    return SUPERBLOCK_090_BITMAP_SECTORS * SECTOR_SIZE;
  return any_layout (creation)->bitmap_sectors * SECTOR_SIZE;
}

/* Bytes [from, from + length) of the bitmap.  Bits behind the last chunk are
 * ones, as mdadm has them.
 */
static void
bitmap_piece (const struct creation *creation, const uint8_t *header,
              uint64_t chunks, uint64_t from, size_t length, uint8_t *data)
{
  const uint64_t last = bitmap_bit_byte (chunks); /* first bit not a chunk's */

  memset (data, 0xff, length);
  if (!creation->mark_all && from < last)
    memset (data, 0, (size_t)min_u64 (length, last - from));
  if (!creation->mark_all && last >= from && last < from + length)
    data[last - from] = (uint8_t) ~(bitmap_bit_mask (chunks) - 1);
  if (from == 0)
    memcpy (data, header, BITMAP_SUPERBLOCK_BYTES);
}

static int
write_piece (const struct creation *creation, struct buffer *piece,
             uint64_t from, uint64_t length)
{
  struct io_batch *batch = io_batch_new (ARRAY_MAX_LEGS);
  struct io *ios[ARRAY_MAX_LEGS] = { NULL };

  if (!batch)
    return -ENOMEM;
  for (unsigned i = 0; i < creation->nlegs; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (leg->path)
      ios[i] = io_batch_add (
          batch, leg->device, IO_WRITE, 0,
          beside_superblock (leg, leg->layout.bitmap_offset) + from, length,
          piece, 0);
  }
  return run (creation, batch, ios, "writing the bitmap");
}

static int
write_bitmap (const struct creation *creation, const uint8_t set_uuid[16])
{
  const struct layout *layout = any_layout (creation);
  struct buffer *piece = buffer_new (BITMAP_PIECE);
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];
  struct bitmap_superblock header;
  uint64_t chunks, bytes, length;
  int err = 0;

  if (!piece)
    return -ENOMEM;
  chunks = bitmap_chunks (creation->size, layout->chunksize);
  bytes = bitmap_length (creation);
  create_bitmap_header (creation, set_uuid, layout->chunksize, &header);
  bitmap_superblock_encode (&header, block);
  for (uint64_t from = 0; from < bytes && err == 0; from += length) {
    length = min_u64 (BITMAP_PIECE, bytes - from);
    bitmap_piece (creation, block, chunks, from, (size_t)length, piece->data);
    err = write_piece (creation, piece, from, length);
  }
  buffer_unref (piece);
  return err;
}

static int
write_bad_block_logs (const struct creation *creation)
{
  struct io_batch *batch = io_batch_new (ARRAY_MAX_LEGS);
  struct buffer *zeroes = buffer_new_zero (SUPERBLOCK_BYTES);
  struct io *ios[ARRAY_MAX_LEGS] = { NULL };
  int err;

  if (!batch || !zeroes) {
    io_batch_unref (batch);
    buffer_unref (zeroes);
    return -ENOMEM;
  }
  for (unsigned i = 0; i < creation->nlegs; ++i) {
    const struct new_leg *leg = &creation->legs[i];

    if (!leg->path || leg->layout.bblog_size == 0)
      continue;
    assert (leg->layout.bblog_size * SECTOR_SIZE == SUPERBLOCK_BYTES);
    ios[i] = io_batch_add (batch, leg->device, IO_WRITE, 0,
                           beside_superblock (leg, leg->layout.bblog_offset),
                           SUPERBLOCK_BYTES, zeroes, 0);
  }
  err = run (creation, batch, ios, "writing the bad-block log");
  buffer_unref (zeroes);
  return err;
}

/* ---- 4: the note ---- */

static uint64_t
behind_superblock (const struct superblock *s)
{
  return (bitmap_note_sector (s) - s->super_offset) * SECTOR_SIZE;
}

/* Before the superblock, where it can be written by itself; else it goes with
 * it.  With 0.90 an internal bitmap may reach that far.
 */
static int
write_note (const struct creation *creation, const struct new_leg *leg,
            const struct superblock *s)
{
  const uint32_t block = leg->device->limits.logical_block;
  const uint64_t length = max_u64 (BITMAP_NOTE_BYTES, block);
  struct buffer *buffer;
  int err;

  if (creation->bitmap || behind_superblock (s) % block != 0)
    return 0;
  buffer = buffer_new_zero (length);
  if (!buffer)
    return -ENOMEM;
  create_encode_note (creation, s, buffer->data);
  err =
      device_run (leg->device, IO_WRITE, IO_FUA,
                  superblock_at (leg) + behind_superblock (s), length, buffer);
  buffer_unref (buffer);
  return err < 0 ? failed (creation, leg, "writing the bitmap note", err) : 0;
}

/* ---- 5: superblocks ---- */

/* What all legs have in common. */
static void
common_superblock (const struct creation *creation, struct superblock *s)
{
  const bool old = creation->version == SUPERBLOCK_0_90;
  const char *name = creation->options->name;

  if (creation->finishing)
    *s = *creation->finishing;
  else {
    memset (s, 0, sizeof *s);
    rt_random (s->set_uuid, sizeof s->set_uuid);
    if (name)
      memcpy (s->set_name, name, strlen (name));
    s->ctime = superblock_time (rt_wall_clock ());
    s->max_dev = old ? SUPERBLOCK_090_MAX_DEV : CREATE_MAX_DEV;
  }
  s->version = creation->version;
  s->feature_map = creation->bitmap ? FEATURE_BITMAP_OFFSET : 0;
  s->level = 1;
  s->size = creation->size;
  s->raid_disks = creation->nlegs;
  s->utime = s->ctime;
  s->events = create_first_events (creation);
  s->resync_offset = creation->clean ? RESYNC_CLEAN : 0;
  for (unsigned i = 0; i < SUPERBLOCK_MAX_DEV; ++i)
    s->dev_roles[i] = ROLE_SPARE;
  for (unsigned i = 0; i < creation->nlegs; ++i)
    if (creation->legs[i].path)
      s->dev_roles[i] = (uint16_t)i;
    else if (old) /* which has a descriptor for each slot */
      s->dev_roles[i] = ROLE_FAULTY;
}

static void
own_superblock (const struct creation *creation, const struct new_leg *leg,
                struct superblock *s)
{
  s->super_offset = leg->layout.super_offset;
  s->bitmap_offset = leg->layout.bitmap_offset;
  s->data_offset = leg->layout.data_offset;
  s->data_size = leg->layout.data_size;
  s->bblog_size = leg->layout.bblog_size;
  s->bblog_offset = leg->layout.bblog_offset;
  s->dev_number = leg->slot;
  s->devflags = leg->write_mostly ? DEV_FLAG_WRITE_MOSTLY : 0;
  if (creation->finishing && leg->superblock)
    memcpy (s->device_uuid, leg->superblock->device_uuid,
            sizeof s->device_uuid);
  else if (s->version != SUPERBLOCK_0_90)
    rt_random (s->device_uuid, sizeof s->device_uuid);
}

/* What is written must be what can be read. */
static void
check_superblock (enum superblock_version version, const struct new_leg *leg,
                  const uint8_t *block)
{
  struct superblock *s = rt_alloc (sizeof *s);
  struct format_error error;
  bool intact;
  int err;

  if (!s)
    return;
  err =
      superblock_decode (version, block, leg->device->limits.size / SECTOR_SIZE,
                         s, &intact, &error);
  assert (err == 0);
  assert (layout_check (s, NULL, leg->device->limits.size / SECTOR_SIZE, &error)
          == 0);
  (void)err;
  rt_free (s);
}

static int
write_superblock (struct creation *creation, struct new_leg *leg,
                  const struct superblock *common)
{
  struct superblock *s = rt_alloc (sizeof *s);
  struct buffer *block = buffer_new (SUPERBLOCK_BYTES);
  int err = -ENOMEM;

  if (s && block) {
    *s = *common;
    own_superblock (creation, leg, s);
    superblock_encode (s, block->data);
    if (behind_superblock (s) < SUPERBLOCK_BYTES)
      create_encode_note (creation, s, block->data + behind_superblock (s));
    check_superblock (s->version, leg, block->data);
    err = write_note (creation, leg, s);
  }
  if (err == 0) {
    creation->superblocks_begun = true;
    err = device_run (leg->device, IO_WRITE, IO_FUA, superblock_at (leg),
                      SUPERBLOCK_BYTES, block);
    if (err == 0)
      err = device_run (leg->device, IO_FLUSH, 0, 0, 0, NULL);
    if (err < 0)
      failed (creation, leg, "writing the superblock", err);
  }
  buffer_unref (block);
  rt_free (s);
  return err;
}

/* Slot by slot, those that are not write-mostly first. */
static int
write_superblocks (struct creation *creation, const struct superblock *common)
{
  int err = 0;

  for (unsigned pass = 0; pass < 2; ++pass)
    for (unsigned i = 0; i < creation->nlegs && err == 0; ++i) {
      struct new_leg *leg = &creation->legs[i];

      if (leg->path && leg->write_mostly == (pass == 1))
        err = write_superblock (creation, leg, common);
    }
  return err;
}

/* ---- all of it ---- */

int
create_write (struct creation *creation)
{
  struct superblock *common = rt_alloc (sizeof *common);
  int err = 0;

  if (!common)
    return -ENOMEM;
  common_superblock (creation, common);
  if (create_has_file (creation))
    err = create_make_file (creation, common->set_uuid);
  for (unsigned i = 0; i < creation->nlegs && err == 0; ++i)
    if (creation->legs[i].path && creation->legs[i].fresh)
      err = make_file (creation, &creation->legs[i]);
  if (err == 0)
    err = wipe_superblocks (creation);
  if (err == 0 && creation->bitmap)
    err = write_bitmap (creation, common->set_uuid);
  if (err == 0)
    err = write_bad_block_logs (creation);
  if (err == 0)
    err = flush_all (creation);
  if (err == 0)
    err = write_superblocks (creation, common);
  if (err == 0)
    log_notice (creation->log, "array %s, %u slots: %" PRIu64 " bytes, %s",
                creation->finishing ? "finished" : "made", creation->nlegs,
                creation->size * SECTOR_SIZE,
                creation->clean ? "clean" : "all of it to be resynced");
  rt_free (common);
  return err;
}
