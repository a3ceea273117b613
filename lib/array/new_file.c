/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making a file for a bitmap: may it be made there, and what is in it.
 *
 * A file that is there is somebody's, and maybe an array's only knowledge of
 * what differs between its legs: it is replaced only if nothing can be lost
 * with it.
 *
 * No lock; it blocks.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "array/new_file.h"
#include "base/bytes.h"

uint64_t
new_file_length (uint64_t chunks)
{
  return round_up (bitmap_bytes (chunks), BITMAP_PAGE_BYTES);
}

/* ---- what is there ---- */

/* Legs that do not exist yet are compared by their folders.  Those that exist
 * are looked at again, with all that lies below the file.
 */
static bool
is_leg (const char *path, const char *leg)
{
  const char *a = strrchr (path, '/'), *b = strrchr (leg, '/');
  char folder_a[4096], folder_b[4096];
  struct stat x, y;

  if (stat (path, &x) == 0 && stat (leg, &y) == 0)
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
  snprintf (folder_a, sizeof folder_a, "%.*s/", a ? (int)(a - path) : 1,
            a ? path : ".");
  snprintf (folder_b, sizeof folder_b, "%.*s/", b ? (int)(b - leg) : 1,
            b ? leg : ".");
  return strcmp (a ? a + 1 : path, b ? b + 1 : leg) == 0
         && stat (folder_a, &x) == 0 && stat (folder_b, &y) == 0
         && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool
new_file_is_no_leg (const struct log *log, const char *path, const char *leg)
{
  if (!is_leg (path, leg))
    return true;
  log_error (log,
             "bitmap file %s: it is the leg %s; give the bitmap a file of its "
             "own",
             path, leg);
  return false;
}

/* Nothing is lost with what begins like that. */
static bool
may_be_lost (const struct new_file *f, const uint8_t *page)
{
  struct bitmap_superblock header;
  struct format_error error;
  bool intact;

  if (bitmap_superblock_decode (page, &header, &intact, &error) != 0)
    return false;
  if (f->own_uuid && memcmp (header.uuid, f->own_uuid, sizeof header.uuid) == 0)
    return true;
  return header.events <= f->unused_events && header.events_cleared == 0;
}

static int
check_contents (const struct new_file *f, struct file *file)
{
  struct buffer *page = buffer_new (BITMAP_PAGE_BYTES);
  int err;

  if (!page)
    return -ENOMEM;
  err = file_read (file, 0, BITMAP_PAGE_BYTES, page);
  if (err != 0)
    log_error (f->log, "bitmap file %s: cannot be read: %s", f->path,
               strerror (-err));
  else if (!may_be_lost (f, page->data)) {
    log_error (f->log,
               "bitmap file %s: it exists, and is not a bitmap that has never "
               "been used; give another name, or remove it first",
               f->path);
    err = -EEXIST;
  }
  buffer_unref (page);
  return err;
}

int
new_file_check (const struct new_file *f, bool *exists)
{
  struct stat st;
  struct file *file;
  int err;

  *exists = false;
  if (stat (f->path, &st) == -1 && errno == ENOENT)
    return 0; /* what else is wrong, making it will show */
  *exists = true;
  err = file_open (f->aio, f->path, FILE_PAGECACHE, true, f->timeout, &file);
  if (err != 0)
    return err;
  err = file_check_place (file, f->legs, f->nlegs);
  if (err == 0 && file->size > 0 && !f->force)
    err = check_contents (f, file);
  file_close (file);
  return err;
}

/* ---- what will be there ---- */

/* Bits behind the last chunk are ones, as mdadm has them. */
static void
fill (void *opaque, uint64_t from, size_t length, uint8_t *data)
{
  const struct new_file *f = opaque;
  const uint64_t end = min_u64 (from + length, bitmap_bytes (f->chunks));

  memset (data, 0xff, length);
  for (uint64_t byte = max_u64 (from, BITMAP_SUPERBLOCK_BYTES); byte < end;
       ++byte)
    for (uint64_t chunk = (byte - BITMAP_SUPERBLOCK_BYTES) * 8,
                  next = min_u64 (chunk + 8, f->chunks);
         chunk < next; ++chunk)
      if (!f->marked (f->opaque, chunk))
        data[byte - from] &= (uint8_t)~bitmap_bit_mask (chunk);
  if (from == 0)
    bitmap_superblock_encode (&f->header, data);
}

/* Where one that has just been made lies, only it can tell. */
static int
check_made (const struct new_file *f)
{
  struct file *file;
  int err =
      file_open (f->aio, f->path, FILE_PAGECACHE, true, f->timeout, &file);

  if (err != 0)
    return err;
  err = file_check_place (file, f->legs, f->nlegs);
  file_close (file);
  return err;
}

int
new_file_make (struct new_file *f, bool replace)
{
  int err = file_make (f->log, f->path, new_file_length (f->chunks), replace,
                       fill, f);

  if (err != 0 || replace)
    return err;
  err = check_made (f);
  if (err != 0)
    unlink (f->path);
  return err;
}
