/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The note on the legs that the array's bitmap is in a file: bitmap_note.h says
 * where it is.  It is durable before the first data that relies on the file,
 * so that whoever forgets the file is told.
 *
 * Where a leg's logical block holds both superblock and note, they are written
 * together (array_render_note).
 *
 * array->noted and array->note are what the legs have, or are about to; under
 * the array's lock, changed by assembly and by the first writes only.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "array/internal.h"

static uint64_t
note_offset (const struct superblock *superblock)
{
  return bitmap_note_sector (superblock) * SECTOR_SIZE;
}

/* The block that it lies in begins at this byte of the leg. */
static uint64_t
block_offset (const struct leg *leg)
{
  return round_down (note_offset (leg->superblock),
                     leg->device->limits.logical_block);
}

static uint64_t
block_length (const struct leg *leg)
{
  return max_u64 (BITMAP_NOTE_BYTES, leg->device->limits.logical_block);
}

/* ---- loading ---- */

static int
read_note (struct array *array, struct leg *leg, struct bitmap_note *note,
           bool *found)
{
  struct buffer *buffer = buffer_new (block_length (leg));
  const uint8_t *block;
  int err;

  *found = false;
  if (!buffer)
    return -ENOMEM;
  err = device_run (leg->device, IO_READ, 0, block_offset (leg),
                    block_length (leg), buffer);
  block = buffer->data + (note_offset (leg->superblock) - block_offset (leg));
  if (err == 0 && bitmap_note_decode (block, note))
    *found = memcmp (note->set_uuid, array->table->set_uuid, 16) == 0;
  else if (err != 0 || bitmap_note_exists (block)) {
    log_notice (array->log,
                "leg %s: the note that says whether the bitmap is in a file "
                "cannot be read: %s",
                leg->name, err != 0 ? strerror (-err) : "it is damaged");
    array->note_unknown = true;
  }
  buffer_unref (buffer);
  return err == -ENOMEM ? err : 0;
}

int
array_load_note (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs), with = 0;
  struct bitmap_note *note = rt_calloc (1, sizeof *note);
  int err = note ? 0 : -ENOMEM;
  bool found;

  for (unsigned i = 0; i < n && err == 0; ++i) {
    err = read_note (array, legs[i], note, &found);
    if (err != 0 || !found)
      continue;
    with++;
    if (array->noted && memcmp (note, &array->note, sizeof *note) != 0)
      array->note_differs = true;
    if (!array->noted || note->events > array->note.events)
      array->note = *note;
    array->noted = true;
  }
  array->note_differs |= with > 0 && with < n;
  rt_free (note);
  return err;
}

/* ---- changing ---- */

/* Its events tell which of two is the newer, so they change with the path. */
void
array_want_note (struct array *array)
{
  const char *path = array->options.bitmap_file;
  struct bitmap_note *note = &array->note;

  if (strlen (path) >= BITMAP_NOTE_PATH)
    path = "";
  if (array->noted && strcmp (note->path, path) == 0)
    return;
  memset (note, 0, sizeof *note);
  memcpy (note->set_uuid, array->table->set_uuid, sizeof note->set_uuid);
  note->events = array->events;
  memcpy (note->path, path, strlen (path));
  array->noted = array->note_differs = true;
}

void
array_drop_note (struct array *array)
{
  array->noted = false;
  array->note_differs = true;
}

/* ---- writing ---- */

void
array_render_note (const struct array *array, const struct leg *leg,
                   uint8_t *block)
{
  const struct superblock *sb = leg->superblock;
  uint64_t behind = note_offset (sb) - sb->super_offset * SECTOR_SIZE;
  struct bitmap_note old;

  if (block_offset (leg) != sb->super_offset * SECTOR_SIZE)
    return; /* it is in a block of its own */
  if (array->noted)
    bitmap_note_encode (&array->note, block + behind);
  else if (bitmap_note_decode (block + behind, &old))
    memset (block + behind, 0, BITMAP_NOTE_BYTES);
}

/* What the leg is to have in the block of its note. */
static void
render_block (const struct array *array, const struct leg *leg, uint8_t *block)
{
  const struct superblock *sb = leg->superblock;

  if (block_offset (leg) == sb->super_offset * SECTOR_SIZE) {
    superblock_encode (sb, block);
    array_render_note (array, leg, block);
  }
  else if (array->noted)
    bitmap_note_encode (&array->note,
                        block + (note_offset (sb) - block_offset (leg)));
}

static int
write_note (struct array *array, struct leg *leg)
{
  struct io_batch *batch = io_batch_new (1);
  struct buffer *buffer = buffer_new_zero (block_length (leg));
  int err = batch && buffer ? 0 : -ENOMEM, result;

  if (err == 0) {
    render_block (array, leg, buffer->data);
    io_batch_add (batch, leg->device, IO_WRITE, IO_FUA, block_offset (leg),
                  block_length (leg), buffer, 0);
    leg->written++;
    array_run_batch (array, batch);
    leg->written++;
    result = io_batch_get (batch, 0)->result;
    if (!legs_fail (array, &leg, &result, 1, "writing the bitmap note"))
      err = -EIO;
  }
  buffer_unref (buffer);
  io_batch_unref (batch);
  return err;
}

/* One leg after the other: it may be written with the superblock. */
int
array_write_note (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs);
  int err = 0;

  for (unsigned i = 0; i < n && err == 0; ++i)
    if (legs[i]->state == LEG_IN_SYNC) {
      err = leg_check_lost_writes (array, legs[i]);
      if (err == 0 && legs[i]->state == LEG_IN_SYNC)
        err = write_note (array, legs[i]);
    }
  if (err == 0)
    array->note_differs = false;
  return err;
}
