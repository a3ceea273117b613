/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* While its blocks are written past the file system, a file is pinned: nobody
 * may cut, move or write it.
 *
 *   lease  for the owner of the file: says whether somebody has it open for
 *          writing now, and has everybody who wants to from then on wait until
 *          it was closed, or for the system's lease-break-time: it is asked
 *          for before each write, and by file_check.
 *   flag   immutable, if we are allowed to (CAP_LINUX_IMMUTABLE): the file
 *          cannot be opened for writing, deleted or defragmented.  It outlives
 *          us, so there is a mark beside it, an extended attribute: a flag
 *          with the mark is a server's that was killed, one without is the
 *          user's own and is left alone.
 *   map    compared now and then in any case (file_check).
 *
 * Without lease and flag it is not written this way.
 *
 * The mark is set before the flag and taken away after it, so that no crash
 * leaves a flag of ours without a mark.  An immutable file can be cloned
 * (reflink): the map shows it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "device/file_internal.h"

#define MARKS 2

/* The first can be seen and set by the system's administrator alone. */
static const char *const mark_names[MARKS] = { "trusted.mdbitmap.pinned",
                                               "user.mdbitmap.pinned" };

static bool
is_marked (int fd)
{
  char value;

  for (unsigned i = 0; i < MARKS; ++i)
    if (fgetxattr (fd, mark_names[i], &value, 1) >= 0)
      return true;
  return false;
}

static bool
set_mark (int fd)
{
  for (unsigned i = 0; i < MARKS; ++i)
    if (fsetxattr (fd, mark_names[i], "1", 1, 0) == 0)
      return true;
  return false;
}

static void
remove_marks (int fd)
{
  for (unsigned i = 0; i < MARKS; ++i)
    fremovexattr (fd, mark_names[i]);
}

static bool
is_immutable (int fd)
{
  int flags = 0;

  return ioctl (fd, FS_IOC_GETFLAGS, &flags) == 0
         && (flags & FS_IMMUTABLE_FL) != 0;
}

/* 0 or -errno. */
static int
set_immutable (int fd, bool on)
{
  int flags = 0;

  if (ioctl (fd, FS_IOC_GETFLAGS, &flags) == -1)
    return -errno;
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return ioctl (fd, FS_IOC_SETFLAGS, &flags) == -1 ? -errno : 0;
}

void
file_pin_look (struct open_file *f)
{
  f->immutable = is_immutable (f->fd);
  f->marked = is_marked (f->fd);
}

/* ---- the lease ---- */

/* 0, -EAGAIN if somebody has the file open for writing, or -errno. */
static int
take_lease (struct open_file *f)
{
  if (f->leased)
    return 0;
  /* What the kernel sends when it is broken would kill the server if it were
   * SIGIO.  This is ignored by default.
   */
  if (fcntl (f->fd, F_SETSIG, SIGURG) == -1
      || fcntl (f->fd, F_SETLEASE, F_RDLCK) == -1)
    return -errno;
  f->leased = true;
  return 0;
}

/* While it is being broken, whoever wants the file waits for some time
 * (/proc/sys/fs/lease-break-time).  Does not block.
 */
static int
lease_holds (const struct file *file)
{
  const struct open_file *f = (const struct open_file *)file;

  return f->immutable || fcntl (f->fd, F_GETLEASE) == F_RDLCK ? 0 : -EBUSY;
}

/* ---- pin ---- */

/* True if it is immutable now. */
static bool
make_immutable (struct open_file *f)
{
  if (f->immutable)
    return true;
  if (!set_mark (f->fd))
    return false;
  if (set_immutable (f->fd, true) < 0) {
    remove_marks (f->fd);
    return false;
  }
  f->immutable = f->marked = true;
  return true;
}

int
file_pin (struct open_file *f)
{
  int err = take_lease (f);

  file_pin_look (f); /* somebody may have been there since it was opened */
  if (err == -EAGAIN)
    return file_refuse (f->log, f->path, -EBUSY,
                        "is open for writing elsewhere; close it there, or "
                        "use bitmap-io=direct");
  f->file.still_ours = f->leased ? lease_holds : NULL;
  if (!make_immutable (f) && !f->leased)
    return file_refuse (f->log, f->path, -EPERM,
                        "can be neither made immutable nor leased (that takes "
                        "CAP_LINUX_IMMUTABLE, or to be the owner of the file), "
                        "so its blocks could become another file's; use "
                        "bitmap-io=direct");
  return 0;
}

int
file_pin_check (struct open_file *f)
{
  if (f->immutable && !is_immutable (f->fd))
    return file_refuse (f->log, f->path, -ESTALE,
                        "somebody has taken away its immutable flag; it is "
                        "not written any more");
  if (f->leased && fcntl (f->fd, F_GETLEASE) != F_RDLCK)
    return file_refuse (f->log, f->path, -EBUSY,
                        "somebody is about to open it for writing (its lease "
                        "is being broken); it is not written any more");
  return 0;
}

int
file_unpin_fd (int fd)
{
  int err = 0;

  if (!is_marked (fd))
    return 0;
  if (is_immutable (fd))
    err = set_immutable (fd, false);
  if (err == 0)
    remove_marks (fd);
  return err;
}

int
file_unpin (struct open_file *f)
{
  /* It was set by somebody with more privileges than are left. */
  bool hidden = f->immutable && f->marked && !is_marked (f->fd);
  int err = hidden ? -EPERM : file_unpin_fd (f->fd);

  if (err == 0)
    file_pin_look (f);
  if (f->leased)
    fcntl (f->fd, F_SETLEASE, F_UNLCK);
  f->leased = false;
  return err;
}
