/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making a file for a bitmap.
 *
 * It is made under another name and gets its own when every byte of it is
 * durable, so that a file of that name is never half made.  Each byte is
 * written, zeroes as well: there are no holes and no blocks that are only
 * reserved, which bitmap-io=extent could not write.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/file_internal.h"

#define PIECE MiB

struct making {
  const struct log *log;
  const char *path; /* what a link leads to, if there is that */
  char *new_path;
  bool replace;
};

/* ---- the file that may be there ---- */

/* The kernel has no lock on it, but denies others to write to it. */
static bool
is_the_kernels (const char *path)
{
  int fd = open (path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

  if (fd == -1)
    return errno == ETXTBSY;
  close (fd);
  return false;
}

/* The new one is whose the old one was, as far as we are allowed to. */
static void
copy_owner (const struct making *m, int fd)
{
  struct stat st;

  if (m->replace && stat (m->path, &st) == 0
      && fchown (fd, st.st_uid, st.st_gid) == 0)
    (void)fchmod (fd, st.st_mode & 0777);
}

/* A file in use must not be taken away from its server, nor one that is pinned
 * by somebody else.  0 or -errno with a line.
 */
static int
check_unused (const struct log *log, const char *path)
{
  /* A leg has this kind of lock. */
  struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
  int fd = open (path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), err;

  if (fd == -1)
    return errno == ENOENT
               ? 0
               : file_refuse (log, path, -errno, "cannot be opened: %s",
                              strerror (errno));
  if (is_the_kernels (path)) {
    close (fd);
    return file_refuse (log, path, -EBUSY,
                        "in use by the kernel, as another array's bitmap, a "
                        "program or swap space; stop that first");
  }
  err = file_flock (fd, true);
  if (err == 0 && fcntl (fd, F_OFD_SETLK, &lock) == -1
      && (errno == EAGAIN || errno == EACCES))
    err = -EBUSY;
  if (err == 0)
    err = file_unpin_fd (fd);
  close (fd);
  if (err == -EBUSY)
    return file_refuse (log, path, err,
                        "in use by another server; stop it first");
  if (err < 0)
    return file_refuse (log, path, err,
                        "cannot be replaced: %s (see chattr -i)",
                        strerror (-err));
  return 0;
}

/* 0 or -errno with a line. */
static int
check_old (const struct making *m)
{
  struct stat st;
  int err;

  if (stat (m->path, &st) == -1) {
    err = -errno;
    return err == -ENOENT ? 0
                          : file_refuse (m->log, m->path, err,
                                         "cannot be made: %s", strerror (-err));
  }
  if (!S_ISREG (st.st_mode))
    return file_refuse (m->log, m->path, -EINVAL,
                        "exists and is not a regular file");
  if (!m->replace)
    return file_refuse (m->log, m->path, -EEXIST,
                        "exists already; remove it first, or give another "
                        "name");
  return check_unused (m->log, m->path);
}

/* ---- the new one ---- */

/* The descriptor or -errno with a line. */
static int
create_new (const struct making *m)
{
  struct stat st;
  int fd, err;

  if (lstat (m->new_path, &st) == 0) {
    /* What was left when one was made and the power went. */
    if (!S_ISREG (st.st_mode))
      return file_refuse (m->log, m->new_path, -EEXIST,
                          "is in the way, and is not a regular file");
    err = check_unused (m->log, m->new_path);
    if (err < 0)
      return err;
    unlink (m->new_path);
  }
  fd = open (m->new_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd == -1) {
    err = -errno;
    return file_refuse (m->log, m->new_path, err, "cannot be created: %s",
                        strerror (-err));
  }
  file_flock (fd, true); /* nobody takes it for a leftover */
  return fd;
}

static int
write_piece (int fd, const uint8_t *data, uint64_t from, uint64_t length)
{
  while (length > 0) {
    ssize_t r = pwrite (fd, data, length, (off_t)from);

    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0)
      return r == -1 ? -errno : -EIO;
    data += r;
    from += (uint64_t)r;
    length -= (uint64_t)r;
  }
  return 0;
}

static int
write_all (int fd, uint64_t length,
           void (*fill) (void *opaque, uint64_t from, size_t n, uint8_t *data),
           void *opaque)
{
  struct buffer *piece = buffer_new (PIECE);
  uint64_t n;
  int err = piece ? 0 : -ENOMEM;

  for (uint64_t from = 0; from < length && err == 0; from += n) {
    n = min_u64 (length - from, PIECE);
    fill (opaque, from, n, piece->data);
    err = write_piece (fd, piece->data, from, n);
  }
  buffer_unref (piece);
  return err < 0 ? err : file_drop_cache (fd);
}

/* ---- its name ---- */

/* 0 or -errno; -EEXIST if there is a file that must not be replaced. */
static int
give_name (const struct making *m)
{
  if (m->replace)
    return rename (m->new_path, m->path) == -1 ? -errno : 0;
  if (renameat2 (AT_FDCWD, m->new_path, AT_FDCWD, m->path, RENAME_NOREPLACE)
      == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return -errno;
  /* A file system that cannot do it. */
  if (link (m->new_path, m->path) == -1)
    return -errno;
  unlink (m->new_path);
  return 0;
}

static int
make_it (const struct making *m, uint64_t length,
         void (*fill) (void *opaque, uint64_t from, size_t n, uint8_t *data),
         void *opaque)
{
  int fd, err = check_old (m);

  if (err < 0)
    return err;
  fd = create_new (m);
  if (fd < 0)
    return fd;
  copy_owner (m, fd);
  err = write_all (fd, length, fill, opaque);
  if (err == 0)
    err = give_name (m);
  close (fd);
  if (err == -EEXIST)
    file_refuse (m->log, m->path, err, "has just been made by somebody else");
  else if (err < 0)
    file_refuse (m->log, m->path, err, "cannot be made, %llu bytes: %s",
                 (unsigned long long)length, strerror (-err));
  if (err < 0) {
    unlink (m->new_path);
    return err;
  }
  err = file_sync_folder (m->path);
  if (err < 0)
    file_refuse (m->log, m->path, err, "its folder cannot be synced: %s",
                 strerror (-err));
  return err;
}

int
file_make (const struct log *log, const char *path, uint64_t length,
           bool replace,
           void (*fill) (void *opaque, uint64_t from, size_t n, uint8_t *data),
           void *opaque)
{
  struct making m = { .log = log, .path = path, .replace = replace };
  struct stat st;
  char target[PATH_MAX];
  size_t n;
  int err = -ENOMEM;

  /* A link stays a link, and leads to the new file. */
  if (lstat (path, &st) == 0 && S_ISLNK (st.st_mode) && realpath (path, target))
    m.path = target;
  n = strlen (m.path) + sizeof ".new";
  m.new_path = rt_alloc (n);
  if (m.new_path) {
    snprintf (m.new_path, n, "%s.new", m.path);
    err = make_it (&m, length, fill, opaque);
  }
  rt_free (m.new_path);
  return err;
}
