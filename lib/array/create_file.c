/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making arrays: the bitmap in a file.
 *
 * The legs are laid out as without a bitmap, as md does it.  The file is
 * complete and durable before the first superblock is written, so that no array
 * is without it.
 *
 * An array made halfway is finished with the file that is there, if it was
 * never used, or with a new one: all of it is to be resynced anyway.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "array/create.h"
#include "array/new_file.h"
#include "base/bytes.h"
#include "format/bitmap_note.h"

bool
create_has_file (const struct creation *creation)
{
  return creation->options->bitmap == ARRAY_BITMAP_FILE;
}

/* ---- looking ---- */

int
create_check_path (const struct creation *creation)
{
  const struct array_create_options *options = creation->options;
  const char *path = options->bitmap_file;

  if (!create_has_file (creation))
    return 0;
  if (!path || path[0] != '/') {
    log_error (creation->log,
               "bitmap file %s: the path must be absolute, that is begin "
               "with /",
               path ? path : "(none)");
    return -EINVAL;
  }
  for (unsigned i = 0; i < options->nlegs; ++i)
    if (options->legs[i]
        && !new_file_is_no_leg (creation->log, path, options->legs[i]))
      return -EINVAL;
  return 0;
}

/* ---- the file ---- */

static bool
marked (void *opaque, uint64_t chunk)
{
  const struct creation *creation = opaque;

  (void)chunk;
  return creation->mark_all;
}

static uint32_t
chunk_size (const struct creation *creation)
{
  return creation->options->bitmap_chunk ? creation->options->bitmap_chunk
                                         : LAYOUT_DEFAULT_CHUNK;
}

static unsigned
open_devices (const struct creation *creation,
              const struct device *devices[ARRAY_MAX_LEGS])
{
  unsigned n = 0;

  for (unsigned i = 0; i < creation->nlegs; ++i)
    if (creation->legs[i].device)
      devices[n++] = creation->legs[i].device;
  return n;
}

static void
describe (struct creation *creation, const struct device *const *devices,
          unsigned n, struct new_file *f)
{
  memset (f, 0, sizeof *f);
  f->log = creation->log;
  f->aio = creation->aio;
  f->timeout = creation->options->leg_timeout;
  f->path = creation->options->bitmap_file;
  f->legs = devices;
  f->nlegs = n;
  f->unused_events = create_first_events (creation);
  f->force = creation->options->force;
  f->chunks = bitmap_chunks (creation->size, chunk_size (creation));
  f->marked = marked;
  f->opaque = creation;
}

int
create_check_file (struct creation *creation)
{
  const struct device *devices[ARRAY_MAX_LEGS];
  struct new_file f;

  describe (creation, devices, open_devices (creation, devices), &f);
  if (bitmap_bytes (f.chunks) > LAYOUT_BITMAP_SECTORS_MAX * SECTOR_SIZE) {
    log_error (creation->log,
               "bitmap file %s: field bitmap-chunk: found %" PRIu32
               " bytes of %" PRIu64
               " sectors, expected a bitmap of at most 1 GiB; choose a larger "
               "one",
               f.path, chunk_size (creation), creation->size);
    return -EINVAL;
  }
  return new_file_check (&f, &creation->file_exists);
}

int
create_make_file (struct creation *creation, const uint8_t set_uuid[16])
{
  const struct device *devices[ARRAY_MAX_LEGS];
  struct new_file f;
  int err;

  describe (creation, devices, open_devices (creation, devices), &f);
  create_bitmap_header (creation, set_uuid, chunk_size (creation), &f.header);
  err = new_file_make (&f, creation->file_exists);
  creation->file_made = err == 0 && !creation->file_exists;
  return err;
}

void
create_remove_file (struct creation *creation)
{
  if (creation->file_made && unlink (creation->options->bitmap_file) == -1)
    log_error (creation->log, "bitmap file %s: removing it: %s",
               creation->options->bitmap_file, strerror (errno));
}

/* ---- the note ---- */

void
create_encode_note (const struct creation *creation, const struct superblock *s,
                    uint8_t *block)
{
  const char *path = creation->options->bitmap_file;
  struct bitmap_note note;

  memset (block, 0, BITMAP_NOTE_BYTES);
  if (!create_has_file (creation))
    return;
  memset (&note, 0, sizeof note);
  memcpy (note.set_uuid, s->set_uuid, sizeof note.set_uuid);
  note.events = s->events;
  if (strlen (path) < BITMAP_NOTE_PATH)
    memcpy (note.path, path, strlen (path));
  bitmap_note_encode (&note, block);
}
