/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What lies below a file: its file system's device, the devices below that
 * (/sys/dev/block: the disk of a partition, the slaves of dm and md), the file
 * behind a loop device, the file system that this lies on, and so on.
 *
 * A bitmap on a leg, or on our own export, would have to be written before
 * itself.  An NBD device may be our own export, and nobody can tell.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/btrfs.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/file_internal.h"

/* Devices on devices: more than anybody builds. */
#define DEEPEST 16

/* Longer than any line of mountinfo: options are at most a page. */
#define MOUNT_LINE 32768

/* A walk down from a file. */
struct walk {
  const struct open_file *f;
  const struct device *const *legs;
  unsigned n;
};

/* ---- nodes in /dev ---- */

static bool
is_node (const char *path, dev_t dev)
{
  struct stat st;

  return lstat (path, &st) == 0 && S_ISBLK (st.st_mode) && st.st_rdev == dev;
}

/* Search a folder of /dev, and those in it. */
static bool
search_nodes (const char *folder, dev_t dev, unsigned levels, char *node,
              size_t room)
{
  DIR *dir = opendir (folder);
  const struct dirent *e;
  bool found = false;

  while (dir && !found && (e = readdir (dir)) != NULL) {
    char path[PATH_MAX];

    if (e->d_name[0] == '.'
        || snprintf (path, sizeof path, "%s/%s", folder, e->d_name)
               >= (int)sizeof path)
      continue;
    if (is_node (path, dev))
      found = snprintf (node, room, "%s", path) < (int)room;
    else if (levels > 0 && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN))
      found = search_nodes (path, dev, levels - 1, node, room);
  }
  if (dir)
    closedir (dir);
  return found;
}

bool
file_find_node (dev_t dev, char *node, size_t room)
{
  char path[128], line[256];
  bool found = false;
  FILE *fp;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/uevent", major (dev),
            minor (dev));
  fp = fopen (path, "re");
  while (fp && !found && fgets (line, sizeof line, fp)) {
    line[strcspn (line, "\n")] = '\0';
    if (strncmp (line, "DEVNAME=", 8) != 0)
      continue;
    found = snprintf (node, room, "/dev/%s", line + 8) < (int)room
            && is_node (node, dev);
  }
  if (fp)
    fclose (fp);
  return found || search_nodes ("/dev", dev, 2, node, room);
}

/* ---- the walk ---- */

static int
refuse_leg (const struct walk *w, const struct device *leg)
{
  return file_refuse (w->f->log, w->f->path, -EINVAL,
                      "lies on the leg %s, which would have to be written "
                      "before itself; put the file on another disk",
                      leg->name);
}

/* Is the file one of the legs? */
static int
check_file (const struct walk *w, dev_t dev, ino_t ino)
{
  struct stat st;

  for (unsigned i = 0; i < w->n; ++i)
    if (w->legs[i] && fstat (aio_fd (w->legs[i]), &st) == 0
        && S_ISREG (st.st_mode) && st.st_dev == dev && st.st_ino == ino)
      return refuse_leg (w, w->legs[i]);
  return 0;
}

static int
check_device (const struct walk *w, dev_t dev)
{
  struct stat st;

  if (major (dev) == NBD_MAJOR)
    return file_refuse (w->f->log, w->f->path, -EINVAL,
                        "lies on the NBD device %u:%u, which may be our own "
                        "export; put the file on a local disk",
                        major (dev), minor (dev));
  for (unsigned i = 0; i < w->n; ++i)
    if (w->legs[i] && fstat (aio_fd (w->legs[i]), &st) == 0
        && S_ISBLK (st.st_mode) && st.st_rdev == dev)
      return refuse_leg (w, w->legs[i]);
  return 0;
}

static int walk_device (const struct walk *w, dev_t dev, unsigned depth);
static int walk_fs (const struct walk *w, dev_t dev, unsigned depth);

/* A file, or a node, by its name. */
static int
walk_stat (const struct walk *w, const struct stat *st, unsigned depth)
{
  int err;

  if (S_ISBLK (st->st_mode))
    return walk_device (w, st->st_rdev, depth);
  err = check_file (w, st->st_dev, st->st_ino);
  return err < 0 ? err : walk_fs (w, st->st_dev, depth);
}

/* /sys/dev/block/MAJOR:MINOR/rest; false: it does not exist. */
static bool
read_sys (dev_t dev, const char *rest, char *text, size_t room)
{
  char path[PATH_MAX];
  FILE *fp;
  bool ok;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/%s", major (dev),
            minor (dev), rest);
  fp = fopen (path, "re");
  if (!fp)
    return false;
  ok = fgets (text, (int)room, fp) != NULL;
  if (ok)
    text[strcspn (text, "\n")] = '\0';
  fclose (fp);
  return ok;
}

/* A device whose numbers are in a file below that of dev. */
static int
walk_sys_dev (const struct walk *w, dev_t dev, const char *rest, unsigned depth)
{
  char text[64];
  unsigned ma, mi;

  if (!read_sys (dev, rest, text, sizeof text)
      || sscanf (text, "%u:%u", &ma, &mi) != 2)
    return 0;
  return walk_device (w, makedev (ma, mi), depth);
}

static int
walk_slaves (const struct walk *w, dev_t dev, unsigned depth)
{
  char path[128], rest[NAME_MAX + 32];
  const struct dirent *e;
  DIR *dir;
  int err = 0;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/slaves", major (dev),
            minor (dev));
  dir = opendir (path);
  while (dir && err == 0 && (e = readdir (dir)) != NULL) {
    if (e->d_name[0] == '.')
      continue;
    snprintf (rest, sizeof rest, "slaves/%s/dev", e->d_name);
    err = walk_sys_dev (w, dev, rest, depth);
  }
  if (dir)
    closedir (dir);
  return err;
}

/* What the loop device itself says: its path in /sys may lead elsewhere by
 * now, or in another mount namespace.
 */
static bool
ask_loop (dev_t dev, struct stat *st)
{
  struct loop_info64 info;
  char node[512];
  int fd;
  bool ok;

  if (!file_find_node (dev, node, sizeof node))
    return false;
  fd = open (node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd == -1)
    return false;
  ok = ioctl (fd, LOOP_GET_STATUS64, &info) == 0;
  close (fd);
  if (!ok)
    return false;
  memset (st, 0, sizeof *st);
  st->st_mode = S_IFREG;
  /* In the kernel's own form, which is that of the C library here. */
  st->st_dev = (dev_t)info.lo_device;
  st->st_ino = (ino_t)info.lo_inode;
  return true;
}

static int
walk_loop (const struct walk *w, dev_t dev, unsigned depth)
{
  char path[PATH_MAX];
  struct stat st, said;
  bool named;
  int err = 0;

  if (!read_sys (dev, "loop/backing_file", path, sizeof path))
    return 0;
  named = stat (path, &st) == 0;
  if (named)
    err = walk_stat (w, &st, depth);
  if (err < 0 || (named && S_ISBLK (st.st_mode)))
    return err;
  if (ask_loop (dev, &said))
    return walk_stat (w, &said, depth);
  if (named)
    return 0;
  return file_refuse (w->f->log, w->f->path, -EINVAL,
                      "lies on the loop device %u:%u, whose file %s is not to "
                      "be found: nobody can tell whether that is a leg",
                      major (dev), minor (dev), path);
}

static int
walk_device (const struct walk *w, dev_t dev, unsigned depth)
{
  int err = check_device (w, dev);
  char text[16];

  if (err < 0)
    return err;
  if (depth == 0)
    return file_refuse (w->f->log, w->f->path, -ELOOP,
                        "lies on more than %d devices on top of one another",
                        DEEPEST);
  if (read_sys (dev, "partition", text, sizeof text))
    err = walk_sys_dev (w, dev, "../dev", depth - 1);
  if (err == 0)
    err = walk_slaves (w, dev, depth - 1);
  if (err == 0)
    err = walk_loop (w, dev, depth - 1);
  return err;
}

/* ---- file systems without a device of their own ---- */

/* The value of NAME= among comma-separated options, cut off; or NULL. */
static char *
option_value (char *options, const char *name)
{
  char *p = strstr (options, name);

  if (!p || (p != options && p[-1] != ','))
    return NULL;
  p += strlen (name);
  p[strcspn (p, ",")] = '\0';
  return p;
}

int
file_each_mount (dev_t dev, int (*look) (void *opaque, char *line),
                 void *opaque)
{
  FILE *fp = fopen ("/proc/self/mountinfo", "re");
  char *line, *rest;
  unsigned ma, mi;
  int err = fp ? 0 : -errno;

  if (!fp)
    return err;
  line = rt_alloc (MOUNT_LINE);
  if (!line)
    err = -ENOMEM;
  while (err == 0 && fgets (line, MOUNT_LINE, fp)) {
    rest = strstr (line, " - ");
    if (!rest || sscanf (line, "%*d %*d %u:%u", &ma, &mi) != 2
        || ma != major (dev) || mi != minor (dev))
      continue;
    rest[strcspn (rest, "\n")] = '\0';
    err = look (opaque, rest + 3);
  }
  rt_free (line);
  fclose (fp);
  return err;
}

struct mount_walk {
  const struct walk *w;
  unsigned depth;
};

/* The type of a file system, its source and its options. */
static int
walk_mount (void *opaque, char *line)
{
  const struct mount_walk *m = opaque;
  char *save = NULL, *type = strtok_r (line, " ", &save);
  char *source = strtok_r (NULL, " ", &save);
  char *options = strtok_r (NULL, " ", &save), *upper;
  struct stat st;
  int err = 0;

  if (!type || !source || !options)
    return 0;
  if (source[0] == '/' && stat (source, &st) == 0 && S_ISBLK (st.st_mode))
    err = walk_device (m->w, st.st_rdev, m->depth);
  upper = strcmp (type, "overlay") == 0 ? option_value (options, "upperdir=")
                                        : NULL;
  if (err == 0 && upper && stat (upper, &st) == 0)
    err = walk_fs (m->w, st.st_dev, m->depth);
  return err;
}

/* dev: st_dev of something on the file system. */
static int
walk_mounts (const struct walk *w, dev_t dev, unsigned depth)
{
  struct mount_walk m = { w, depth };
  int err = file_each_mount (dev, walk_mount, &m);

  /* Without /proc nothing can be told. */
  return err == -ENOENT ? 0 : err;
}

/* All devices of the btrfs that the bitmap file is on; those below others are
 * known by one name, that of their mount.
 */
static int
walk_btrfs (const struct walk *w, unsigned depth)
{
  struct btrfs_ioctl_fs_info_args info;
  struct btrfs_ioctl_dev_info_args disk;
  struct stat st;
  int err = 0;

  memset (&info, 0, sizeof info);
  if (ioctl (w->f->fd, BTRFS_IOC_FS_INFO, &info) == -1)
    return 0;
  for (uint64_t id = 1; id <= info.max_id && err == 0; ++id) {
    memset (&disk, 0, sizeof disk);
    disk.devid = id;
    if (ioctl (w->f->fd, BTRFS_IOC_DEV_INFO, &disk) == 0
        && stat ((const char *)disk.path, &st) == 0 && S_ISBLK (st.st_mode))
      err = walk_device (w, st.st_rdev, depth);
  }
  return err;
}

static int
walk_fs (const struct walk *w, dev_t dev, unsigned depth)
{
  if (depth == 0)
    return walk_device (w, dev, depth); /* which says so */
  return major (dev) == 0 ? walk_mounts (w, dev, depth - 1)
                          : walk_device (w, dev, depth - 1);
}

int
file_check_place (struct file *file, const struct device *const *legs,
                  unsigned n)
{
  const struct open_file *f = to_open_file (file);
  struct walk w = { .f = f, .legs = legs, .n = n };
  int err = check_file (&w, f->st.st_dev, f->st.st_ino);

  if (err < 0)
    return err;
  err = walk_btrfs (&w, DEEPEST);
  return err < 0 ? err : walk_fs (&w, f->st.st_dev, DEEPEST);
}
