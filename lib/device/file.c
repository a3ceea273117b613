/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A file that holds a bitmap: opening, locking, reading, closing.
 *
 * Descriptors, and what excludes whom:
 *
 *   fd       O_RDONLY, of all modes: reads, the map, the pin.  It has a
 *            flock, exclusive for a server that will write, in all modes, so
 *            that two of them never meet, not even with different modes.
 *   writer   O_RDWR, of direct and pagecache: the device's.  It has a write
 *            lock over the whole file, as legs have.
 *   disk     O_RDWR, of extent: the block device's.  The file itself is not
 *            open for writing: nobody could be, once it is immutable.
 *
 * Invariants:
 *   1. In file_open nothing is written, nor is what a crashed server has
 *      pinned unpinned.
 *   2. The length of a file that was prepared is a multiple of FILE_PAGE.
 *   3. With extent, no byte is written outside the blocks that the map named
 *      after the file was pinned.
 *   4. A file with writes under way that were given up stays pinned and
 *      locked until this process ends.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/file_internal.h"

#define READ_PIECE (256 * KiB)

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
  return "?";
}

int
file_refuse (const struct log *log, const char *path, int err, const char *fmt,
             ...)
{
  char why[512];
  va_list args;

  va_start (args, fmt);
  vsnprintf (why, sizeof why, fmt, args);
  va_end (args);
  log_error (log, "bitmap file %s: %s", path, why);
  return err;
}

int
file_drop_cache (int fd)
{
  int err = fsync (fd) == -1 ? -errno : 0;

  /* Whether it works or not: pages in use by others stay. */
  posix_fadvise (fd, 0, 0, POSIX_FADV_DONTNEED);
  return err;
}

int
file_sync_folder (const char *path)
{
  const char *slash = strrchr (path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  char parent[PATH_MAX];
  int dir, err = 0;

  if (n >= sizeof parent)
    return -ENAMETOOLONG;
  memcpy (parent, path, n);
  parent[n] = '\0';
  dir = open (n > 0   ? parent
              : slash ? "/"
                      : ".",
              O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir == -1 || fsync (dir) == -1)
    err = -errno;
  if (dir != -1)
    close (dir);
  /* Some file systems do not sync folders; then there is no way. */
  return err == -EINVAL || err == -EACCES ? 0 : err;
}

/* ---- locks ---- */

int
file_flock (int fd, bool exclusive)
{
  int err;

  if (flock (fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
    return 0;
  err = -errno;
  /* Network file systems make a lock of another kind of it, and want the file
   * open for writing; they have the lock of lock_writer.
   */
  if (err == -EBADF || err == -EOPNOTSUPP || err == -ENOSYS || err == -ENOLCK)
    return 0;
  return err == -EWOULDBLOCK ? -EBUSY : err;
}

static int
lock_whole (const struct open_file *f, int fd, bool exclusive)
{
  struct flock lock = {
    .l_type = exclusive ? F_WRLCK : F_RDLCK,
    .l_whence = SEEK_SET,
  };
  int err;

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return 0;
  err = -errno;
  if (err == -EAGAIN || err == -EACCES)
    return file_refuse (f->log, f->path, -EBUSY,
                        "in use by another server (file lock held); stop it "
                        "first");
  return file_refuse (f->log, f->path, err,
                      "cannot be locked against other servers: %s; use a file "
                      "system that has file locks",
                      strerror (-err));
}

static int
lock_reader (const struct open_file *f)
{
  int err = file_flock (f->fd, !f->read_only);

  if (err == -EBUSY)
    return file_refuse (f->log, f->path, err,
                        "in use by another server (flock held); stop it "
                        "first");
  if (err < 0)
    return file_refuse (f->log, f->path, err,
                        "cannot be locked against other servers: %s",
                        strerror (-err));
  /* Nobody must write while it is only read, or written past the file
   * system.  Writers have their own.
   */
  if (f->read_only || f->file.io == FILE_EXTENT)
    err = lock_whole (f, f->fd, false);
  return err;
}

/* ---- open ---- */

static int
check_type (const struct open_file *f, const struct stat *st)
{
  if (S_ISREG (st->st_mode))
    return 0;
  return file_refuse (f->log, f->path, -EINVAL,
                      "is %s; a bitmap file is a regular file",
                      S_ISDIR (st->st_mode)    ? "a directory"
                      : S_ISBLK (st->st_mode)  ? "a block device"
                      : S_ISCHR (st->st_mode)  ? "a character device"
                      : S_ISFIFO (st->st_mode) ? "a pipe"
                      : S_ISSOCK (st->st_mode) ? "a socket"
                                               : "of an unknown type");
}

static int
refuse_missing (const struct open_file *f)
{
  return file_refuse (f->log, f->path, -ENOENT,
                      "does not exist; make it with `mdbitmap bitmap %s "
                      "LEG...', or a new array with create=",
                      f->path);
}

/* What would block or has side effects is not opened. */
static int
open_reader (struct open_file *f)
{
  unsigned unit = SECTOR_SIZE;
  int err, flags;

  if (stat (f->path, &f->st) == -1) {
    err = -errno;
    if (err == -ENOENT)
      return refuse_missing (f);
    return file_refuse (f->log, f->path, err, "cannot be opened: %s",
                        strerror (-err));
  }
  err = check_type (f, &f->st);
  if (err < 0)
    return err;
  f->fd = open (f->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (f->fd == -1 || fstat (f->fd, &f->st) == -1) {
    err = -errno;
    return file_refuse (f->log, f->path, err, "cannot be opened: %s",
                        strerror (-err));
  }
  err = check_type (f, &f->st);
  if (err < 0)
    return err;
  flags = fcntl (f->fd, F_GETFL);
  if (flags != -1)
    fcntl (f->fd, F_SETFL, flags & ~O_NONBLOCK);
  err = lock_reader (f);
  if (err < 0)
    return err;
  /* After the lock: nobody is completing it any more. */
  if (fstat (f->fd, &f->st) == -1)
    return -errno;
  f->file.size = (uint64_t)f->st.st_size;
  file_pin_look (f);
  if (!f->read_only)
    file_drop_cache (f->fd);
  f->fd_direct = aio_set_direct (f->fd, true, &unit) == 0;
  return 0;
}

static int
refuse_writing (const struct open_file *f, int err)
{
  if (err == -ETXTBSY)
    return file_refuse (f->log, f->path, -EBUSY,
                        "in use by the kernel, as another array's bitmap, a "
                        "program or swap space; stop that first");
  if (err == -EPERM && f->immutable)
    return file_refuse (f->log, f->path, err,
                        "has the immutable flag, which is not ours or cannot "
                        "be taken away; do that (chattr -i), or use "
                        "bitmap-io=extent");
  return file_refuse (f->log, f->path, err, "cannot be opened for writing: %s",
                      strerror (-err));
}

int
file_open_writing (const struct open_file *f)
{
  struct stat st;
  int fd, err, flags;

  fd = open (f->path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd == -1)
    return refuse_writing (f, -errno);
  if (fstat (fd, &st) == -1 || st.st_dev != f->st.st_dev
      || st.st_ino != f->st.st_ino) {
    close (fd);
    return file_refuse (f->log, f->path, -ESTALE,
                        "another file has just taken its place; try again");
  }
  flags = fcntl (fd, F_GETFL);
  if (flags == -1 || fcntl (fd, F_SETFL, flags & ~O_NONBLOCK) == -1) {
    err = -errno;
    close (fd);
    return refuse_writing (f, err);
  }
  return fd;
}

int
file_unpin_leftover (struct open_file *f)
{
  bool was_immutable = f->immutable;
  int err;

  if (!f->marked)
    return 0;
  err = file_unpin (f);
  if (err < 0)
    return refuse_writing (f, err);
  if (was_immutable)
    log_notice (f->log,
                "bitmap file %s: took away the immutable flag, which a server "
                "that was killed has left behind",
                f->path);
  return 0;
}

static bool
is_in_memory (int fd)
{
  struct statfs fs;

  return fstatfs (fd, &fs) == 0
         && ((unsigned long)fs.f_type == TMPFS_MAGIC
             || (unsigned long)fs.f_type == RAMFS_MAGIC);
}

static int
refuse_direct (const struct open_file *f, int err)
{
  if (err == -EOPNOTSUPP)
    return file_refuse (f->log, f->path, err,
                        "its file system has no O_DIRECT, which bitmap-io="
                        "direct needs; use bitmap-io=pagecache");
  return file_refuse (f->log, f->path, err, "cannot be read with O_DIRECT: %s",
                      strerror (-err));
}

int
file_open_through (struct open_file *f)
{
  bool buffered = f->file.io == FILE_PAGECACHE, memory = is_in_memory (f->fd);
  int err;

  /* Newer kernels take O_DIRECT for memory, too: it means nothing there. */
  if (memory && !buffered)
    return refuse_direct (f, -EOPNOTSUPP);
  err = file_unpin_leftover (f);
  if (err < 0)
    return err;
  f->writer = file_open_writing (f);
  if (f->writer < 0)
    return f->writer;
  err = lock_whole (f, f->writer, true);
  if (err < 0)
    return err;
  err = aio_adopt (f->aio, f->path, f->writer, buffered, f->timeout,
                   &f->file.device);
  if (err < 0)
    return buffered ? file_refuse (f->log, f->path, err, "cannot be used: %s",
                                   strerror (-err))
                    : refuse_direct (f, err);
  if (memory)
    log_notice (f->log,
                "bitmap file %s: is in memory (tmpfs): after a power cut it "
                "is gone",
                f->path);
  return 0;
}

/* For extent: could it be written that way? */
static int
open_extent (struct open_file *f)
{
  uint64_t length = round_down (f->file.size, FILE_PAGE);
  int err = file_extents_allowed (f), fd;

  if (err < 0)
    return err;
  if (!f->immutable) {
    /* Is anybody allowed to? */
    fd = file_open_writing (f);
    if (fd < 0)
      return fd;
    close (fd);
  }
  if (length > 0) {
    err = file_extents_map (f, true, length, &f->map);
    if (err < 0)
      return err;
  }
  f->disk = file_extents_open_disk (f);
  if (f->disk < 0)
    return f->disk;
  if (!f->fd_direct)
    return file_refuse (f->log, f->path, -EOPNOTSUPP,
                        "cannot be read past the page cache (O_DIRECT), which "
                        "bitmap-io=extent needs; use bitmap-io=pagecache");
  err =
      aio_adopt (f->aio, f->path, f->disk, false, f->timeout, &f->file.device);
  if (err < 0)
    return file_refuse (f->log, f->path, err,
                        "the device that it lies on cannot be used: %s",
                        strerror (-err));
  err = file_extents_compare (f, aio_fd (f->file.device), &f->map);
  if (err == 0)
    err = file_extents_aligned (f, &f->map, f->file.device);
  return err;
}

/* What a crashed server has pinned stays so until it is to be written. */
static int
open_mode (struct open_file *f)
{
  if (f->file.io == FILE_EXTENT)
    return open_extent (f);
  return f->immutable && f->marked ? 0 : file_open_through (f);
}

static void
free_file (struct open_file *f)
{
  if (f->file.device)
    device_close (f->file.device);
  else {
    if (f->writer >= 0)
      close (f->writer);
    if (f->disk >= 0)
      close (f->disk);
  }
  if (f->fd >= 0)
    close (f->fd);
  file_map_free (&f->map);
  rt_free (f->path);
  rt_free (f);
}

static struct open_file *
new_file (struct aio *aio, const char *path)
{
  struct open_file *f = rt_calloc (1, sizeof *f);
  size_t n = strlen (path) + 1;

  if (!f)
    return NULL;
  f->aio = aio;
  f->log = aio->log;
  f->fd = f->writer = f->disk = -1;
  f->path = rt_alloc (n);
  if (!f->path) {
    rt_free (f);
    return NULL;
  }
  memcpy (f->path, path, n);
  f->file.path = f->path;
  return f;
}

int
file_open (struct aio *aio, const char *path, enum file_io io, bool read_only,
           uint64_t timeout, struct file **file)
{
  struct open_file *f = new_file (aio, path);
  int err;

  if (!f)
    return -ENOMEM;
  f->file.io = io;
  f->read_only = read_only;
  f->timeout = timeout;
  err = open_reader (f);
  if (err == 0 && !read_only)
    err = open_mode (f);
  if (err < 0) {
    free_file (f);
    return err;
  }
  *file = &f->file;
  return 0;
}

/* ---- read ---- */

int
file_read_pages (int fd, uint8_t *data, uint64_t offset, uint64_t length,
                 uint64_t size)
{
  uint64_t done = 0;
  ssize_t r;

  assert (offset % FILE_PAGE == 0 && length % FILE_PAGE == 0);
  while (done < length) {
    r = pread (fd, data + done, length - done, (off_t)(offset + done));
    if (r == -1 && errno == EINTR)
      continue;
    if (r == -1)
      return -errno;
    done += (uint64_t)r;
    if (r == 0 || r % FILE_PAGE != 0)
      break; /* the end of the file, or it has been cut */
  }
  if (offset + done < min_u64 (offset + length, size))
    return -EIO; /* zeroes would say that the legs are equal */
  memset (data + done, 0, length - done);
  return 0;
}

int
file_read (struct file *file, uint64_t offset, uint64_t length,
           struct buffer *buffer)
{
  struct buffer *piece = buffer_new (READ_PIECE);
  uint64_t end = offset + length, at, from, to;
  int err = 0;

  assert (offset % SECTOR_SIZE == 0 && length % SECTOR_SIZE == 0);
  assert (length <= buffer->size && offset <= INT64_MAX - length);
  if (!piece)
    return -ENOMEM;
  for (at = round_down (offset, FILE_PAGE); at < end && err == 0;
       at += READ_PIECE) {
    err = file_read_pages (to_open_file (file)->fd, piece->data, at,
                           min_u64 (READ_PIECE, round_up (end - at, FILE_PAGE)),
                           file->size);
    from = max_u64 (at, offset);
    to = min_u64 (at + READ_PIECE, end);
    if (err == 0)
      memcpy (buffer->data + (from - offset), piece->data + (from - at),
              to - from);
  }
  buffer_unref (piece);
  return err;
}

/* ---- close ---- */

void
file_close (struct file *file)
{
  struct open_file *f = file ? to_open_file (file) : NULL;
  int err;

  if (!f)
    return;
  /* Invariant 4. */
  if (file->device && device_abandoned (file->device) > 0) {
    file_refuse (
        f->log, f->path, -EBUSY,
        "%llu operations were given up and have not come back; its "
        "lock%s until this process ends",
        (unsigned long long)device_abandoned (file->device),
        file->io == FILE_EXTENT ? " and its immutable flag stay" : " stays");
    return;
  }
  if (!f->read_only)
    file_drop_cache (f->fd);
  err = f->read_only ? 0 : file_unpin (f);
  if (err < 0)
    file_refuse (f->log, f->path, err,
                 "its immutable flag cannot be taken away: %s; use chattr -i",
                 strerror (-err));
  free_file (f);
}
