/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* From the first write on: a file is completed and pinned, it is settled where
 * its bytes are written, and looked at from time to time whether that is still
 * so.  The invariants are those of file.c.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/file_internal.h"

/* ---- prepare ---- */

/* Ones from the end to the next multiple of FILE_PAGE: a chunk whose bit md
 * might find there is one that is to be resynced.
 */
static int
write_ones (int fd, uint64_t size)
{
  uint8_t ones[FILE_PAGE];
  uint64_t end = round_up (size, FILE_PAGE);
  ssize_t r;

  memset (ones, 0xff, sizeof ones);
  while (size < end) {
    r = pwrite (fd, ones, end - size, (off_t)size);
    if (r == -1 && errno != EINTR)
      return -errno;
    if (r == 0)
      return -EIO;
    if (r > 0)
      size += (uint64_t)r;
  }
  return file_drop_cache (fd);
}

/* Invariant 2.  Through the page cache, since what is there need not end with
 * a sector.
 */
static int
complete (struct open_file *f)
{
  bool through = f->file.io != FILE_EXTENT;
  unsigned unit = SECTOR_SIZE;
  int fd, err;

  if (f->file.size % FILE_PAGE == 0)
    return 0;
  if (!through) {
    err = file_unpin_leftover (f);
    if (err < 0)
      return err;
  }
  fd = through ? aio_fd (f->file.device) : file_open_writing (f);
  if (fd < 0)
    return fd;
  err = f->file.io == FILE_DIRECT ? aio_set_direct (fd, false, NULL) : 0;
  if (err == 0)
    err = write_ones (fd, f->file.size);
  if (f->file.io == FILE_DIRECT) {
    int again = aio_set_direct (fd, true, &unit);

    err = err < 0 ? err : again;
    f->file.device->limits.logical_block = unit;
  }
  if (!through)
    close (fd);
  if (err < 0)
    return file_refuse (f->log, f->path, err,
                        "its last block cannot be completed to %d bytes: %s",
                        FILE_PAGE, strerror (-err));
  f->file.size = round_up (f->file.size, FILE_PAGE);
  return 0;
}

static int
prepare_through (struct open_file *f)
{
  /* Had others written to it and their bytes are lost, it shows here and not
   * as a failure of ours.
   */
  int err = device_run (f->file.device, IO_FLUSH, 0, 0, 0, NULL);

  if (err < 0)
    return file_refuse (f->log, f->path, err, "cannot be written out: %s",
                        strerror (-err));
  f->file.device->limits.size =
      round_down (f->file.size, f->file.device->limits.logical_block);
  f->whole.length = f->file.size;
  f->file.extents = &f->whole;
  f->file.nextents = 1;
  return 0;
}

/* Invariant 3: pinned first, then looked up. */
static int
prepare_extent (struct open_file *f)
{
  struct file_map map = { 0 };
  int err = file_pin (f);

  if (err < 0)
    return err;
  file_drop_cache (f->fd);
  err = file_extents_map (f, true, f->file.size, &map);
  if (err == 0)
    err = file_extents_aligned (f, &map, f->file.device);
  if (err == 0)
    err = file_extents_compare (f, aio_fd (f->file.device), &map);
  if (err == 0 && f->prepared > 0 && !file_map_equal (&map, &f->map))
    err = file_refuse (f->log, f->path, -ESTALE,
                       "its blocks are no longer where they were");
  if (err < 0) {
    file_map_free (&map);
    return err;
  }
  file_map_free (&f->map);
  f->map = map;
  f->file.extents = map.extents;
  f->file.nextents = map.n;
  return 0;
}

int
file_prepare (struct file *file, uint64_t length)
{
  struct open_file *f = to_open_file (file);
  int err;

  assert (!f->read_only && length > 0);
  if (file->size == 0)
    return file_refuse (f->log, f->path, -EINVAL, "is empty");
  if (length > round_up (file->size, FILE_PAGE))
    return file_refuse (
        f->log, f->path, -EINVAL, "has %llu bytes; %llu are needed",
        (unsigned long long)file->size, (unsigned long long)length);
  err = file->device ? 0 : file_open_through (f);
  if (err == 0)
    err = complete (f);
  if (err == 0)
    err = file->io == FILE_EXTENT ? prepare_extent (f) : prepare_through (f);
  if (err == 0)
    f->prepared = file->size;
  return err;
}

/* ---- check ---- */

static int
check_map (struct open_file *f)
{
  struct file_map map = { 0 };
  int err = file_extents_map (f, false, f->prepared, &map);

  if (err == 0 && !file_map_equal (&map, &f->map))
    err = file_refuse (f->log, f->path, -ESTALE,
                       "its blocks are no longer where they were: something "
                       "has moved it; it is not written any more");
  file_map_free (&map);
  return err;
}

int
file_check (struct file *file)
{
  struct open_file *f = to_open_file (file);
  struct stat st;
  int err;

  assert (f->prepared > 0);
  if (fstat (f->fd, &st) == -1) {
    err = -errno;
    return file_refuse (f->log, f->path, err, "fstat: %s", strerror (-err));
  }
  if (st.st_nlink == 0)
    return file_refuse (f->log, f->path, -ENOENT,
                        "has been deleted; it is not written any more");
  if ((uint64_t)st.st_size < f->prepared)
    return file_refuse (f->log, f->path, -ESTALE,
                        "has been cut to %llu bytes, from %llu; it is not "
                        "written any more",
                        (unsigned long long)st.st_size,
                        (unsigned long long)f->prepared);
  if (file->io != FILE_EXTENT)
    return 0;
  err = file_pin_check (f);
  return err < 0 ? err : check_map (f);
}
