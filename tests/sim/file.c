/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The bitmap's file: what device/file.c is in the program.
 *
 * It lies in pieces on a disk of its own, as the plan has made them.  With
 * direct and pagecache it is one piece, and what a file system would do is
 * what the disk does: a write through the page cache has ended when the cache
 * has it, and IO_FLUSH brings it to the medium, or loses it.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/legs_internal.h"
#include "sim/trace.h"

struct sim_file {
  struct file file; /* first */
  struct leg_device *leg;
  struct legs *legs;
  const struct log *log;
  bool read_only;
};

static struct sim_file *
to_sim (struct file *file)
{
  return (struct sim_file *)file;
}

const char *
file_io_string (enum file_io io)
{
  switch (io) {
  case FILE_DIRECT:
    return "direct";
  case FILE_EXTENT:
    return "extent";
  case FILE_PAGECACHE:
    return "pagecache";
  }
  return "unknown";
}

const char *
legs_file_path (void)
{
  return "/file";
}

/* ---- open and close ---- */

int
file_open (struct aio *aio, const char *path, enum file_io io, bool read_only,
           uint64_t timeout, struct file **result)
{
  struct legs *legs = legs_of (world);
  struct sim_file *file;

  if (strcmp (path, legs_file_path ()) != 0 || !legs->disks[SIM_FILE]) {
    log_error (aio->log, "bitmap file %s: there is no such file", path);
    return -ENOENT;
  }
  if (legs_in_use (legs, SIM_FILE, read_only)) {
    log_error (aio->log, "bitmap file %s: somebody else uses it", path);
    return -EBUSY;
  }
  file = rt_calloc (1, sizeof *file);
  if (!file)
    return -ENOMEM;
  file->leg = legs_open (aio, path, SIM_FILE, read_only, timeout);
  if (!file->leg) {
    rt_free (file);
    return -ENOMEM;
  }
  file->file.io = io;
  file->file.path = path;
  file->file.size = legs->file.size;
  file->legs = legs;
  file->log = aio->log;
  file->read_only = read_only;
  *result = &file->file;
  return 0;
}

/* A disk of its own, which no leg is. */
int
file_check_place (struct file *file, const struct device *const *legs,
                  unsigned n)
{
  (void)file, (void)legs, (void)n;
  return 0;
}

void
file_close (struct file *file)
{
  if (!file)
    return;
  device_close (&to_sim (file)->leg->device);
  rt_free (file);
}

/* ---- reading ---- */

/* [offset, offset + length) of the file, as far as the piece has it. */
static int
read_piece (struct sim_file *file, const struct file_extent *piece,
            uint64_t offset, uint64_t length, uint8_t *data)
{
  const uint32_t block = file->leg->device.limits.logical_block;
  const uint64_t from = max_u64 (offset, piece->offset);
  const uint64_t to = min_u64 (offset + length, piece->offset + piece->length);
  uint64_t first, last;
  struct buffer *buffer;
  int err;

  if (from >= to)
    return 0;
  first = round_down (from, block);
  last = round_up (to, block);
  buffer = buffer_new (last - first);
  if (!buffer)
    return -ENOMEM;
  err = device_run (&file->leg->device, IO_READ, 0,
                    piece->at + (first - piece->offset), last - first, buffer);
  if (err == 0)
    memcpy (data + (from - offset), buffer->data + (from - first), to - from);
  buffer_unref (buffer);
  return err;
}

int
file_read (struct file *file, uint64_t offset, uint64_t length,
           struct buffer *buffer)
{
  struct sim_file *f = to_sim (file);
  const struct legs_file *map = &f->legs->file;
  uint64_t end = min_u64 (offset + length, file->size);
  int err = 0;

  memset (buffer->data, 0, length);
  for (unsigned i = 0; i < map->npieces && offset < end && err == 0; ++i)
    err = read_piece (f, &map->pieces[i], offset, end - offset, buffer->data);
  return err;
}

/* ---- writing ---- */

int
file_prepare (struct file *file, uint64_t length)
{
  struct sim_file *f = to_sim (file);
  const struct legs_file *map = &f->legs->file;

  fiber_yield ();
  if (f->read_only)
    violation ("rule 13", "the bitmap file, read-only, is prepared for writes");
  if (length > round_up (file->size, 4096))
    violation ("file",
               "%ju bytes of the bitmap file are wanted, and it has "
               "%ju",
               (uintmax_t)length, (uintmax_t)file->size);
  file->size = round_up (file->size, 4096);
  file->device = &f->leg->device;
  file->extents = map->pieces;
  file->nextents = map->npieces;
  fiber_yield ();
  return 0;
}

int
file_check (struct file *file)
{
  struct sim_file *f = to_sim (file);
  struct legs *legs = f->legs;

  fiber_yield ();
  if (!file->device)
    violation ("file", "the bitmap file is checked, and was not prepared");
  if (chance (CHANCE_DISK, legs->file.check_error, 1000000))
    legs->file_lost = legs->disks[SIM_FILE]->faulty = true;
  if (!legs->file_lost)
    return 0;
  log_error (f->log, "bitmap file %s: its blocks are no longer its own",
             file->path);
  fiber_yield ();
  return -ESTALE;
}
