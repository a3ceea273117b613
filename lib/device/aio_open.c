/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Opening local devices: what they are, who else uses them, and what they
 * can do.
 *
 * Everything here blocks, in the thread that calls; it happens at start-up
 * or when an operator adds a leg.  Nothing is written: not even a file that
 * AIO_CREATE makes gets a byte.
 *
 * Each refusal is one line: which leg, what was found, what to do.
 *
 * The descriptor is opened once and stays: closing it would let go of the
 * lock.  So O_DIRECT is switched on and off with F_SETFL.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/aio_context.h"

#define MAX_LOGICAL_BLOCK 4096

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* One line in the log; returns err. */
static int __attribute__ ((format (printf, 4, 5)))
refuse (struct aio *aio, const char *path, int err, const char *fmt, ...)
{
  char why[512];
  va_list args;

  va_start (args, fmt);
  vsnprintf (why, sizeof why, fmt, args);
  va_end (args);
  log_error (aio->log, "leg %s: %s", path, why);
  return err;
}

/* ---- the file system's and the disk's own words ---- */

/* Reads a number from /sys/dev/block/MAJOR:MINOR/queue; partitions have
 * theirs one level up.  False if there is none: not every st_dev is a disk.
 */
static bool
read_queue_limit (dev_t dev, const char *name, unsigned long long *value)
{
  static const char *const levels[] = { "", "../" };
  char path[128];
  FILE *fp;
  bool ok = false;

  for (unsigned i = 0; i < 2 && !ok; ++i) {
    snprintf (path, sizeof path, "/sys/dev/block/%u:%u/%squeue/%s", major (dev),
              minor (dev), levels[i], name);
    fp = fopen (path, "re");
    if (!fp)
      continue;
    ok = fscanf (fp, "%llu", value) == 1;
    fclose (fp);
  }
  return ok;
}

/* File systems where holes and zeroes are known to be quick. */
static bool
fs_has_holes (int fd)
{
  struct statfs fs;

  if (fstatfs (fd, &fs) == -1)
    return false;
  switch ((unsigned long)fs.f_type) {
  case EXT4_SUPER_MAGIC:
  case XFS_SUPER_MAGIC:
  case BTRFS_SUPER_MAGIC:
  case TMPFS_MAGIC:
    return true;
  default:
    return false;
  }
}

/* ---- opening and locking ---- */

/* Refuses what would block or has side effects when it is opened. */
static int
check_type (struct aio *aio, const char *path, const struct stat *st)
{
  if (S_ISREG (st->st_mode) || S_ISBLK (st->st_mode))
    return 0;
  return refuse (aio, path, -EINVAL,
                 "is %s; a leg is a regular file or a block device",
                 S_ISDIR (st->st_mode)    ? "a directory"
                 : S_ISCHR (st->st_mode)  ? "a character device"
                 : S_ISFIFO (st->st_mode) ? "a pipe"
                 : S_ISSOCK (st->st_mode) ? "a socket"
                                          : "of an unknown type");
}

/* A new, empty file whose name survives a crash.  The descriptor or -errno;
 * -EEXIST without a line in the log.
 */
static int
create_file (struct aio *aio, const char *path)
{
  int fd, dir, err = 0;
  char parent[PATH_MAX];
  const char *slash = strrchr (path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;

  if (strlen (path) >= sizeof parent)
    return refuse (aio, path, -ENAMETOOLONG, "the name is too long");
  fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd == -1) {
    err = -errno;
    if (err != -EEXIST)
      refuse (aio, path, err, "cannot be created: %s", strerror (-err));
    return err;
  }
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
  /* Some file systems do not sync directories; then there is no way. */
  if (err == 0 || err == -EINVAL || err == -EACCES)
    return fd;
  close (fd);
  return refuse (aio, path, err, "its directory cannot be synced: %s",
                 strerror (-err));
}

/* One open; the descriptor or -errno, and no line in the log. */
static int
open_once (const char *path, bool is_file, bool write, bool exclusive)
{
  int fd;
  int flags = O_CLOEXEC | (write ? O_RDWR : O_RDONLY);

  if (is_file)
    flags |= O_NONBLOCK; /* should a pipe have taken the file's place */
  else if (exclusive)
    flags |= O_EXCL;
  fd = open (path, flags);
  return fd == -1 ? -errno : fd;
}

static bool
is_read_only_error (int err)
{
  return err == -EACCES || err == -EPERM || err == -EROFS;
}

/* The descriptor of something that exists, or -errno with a line. */
static int
open_existing (struct aio *aio, const char *path, unsigned flags,
               bool *read_only)
{
  bool exclusive = !(flags & AIO_NO_LOCK), is_file;
  struct stat st;
  int fd, err, ro = 0;

  if (stat (path, &st) == -1) {
    err = -errno;
    return refuse (aio, path, err, "cannot be opened: %s", strerror (-err));
  }
  err = check_type (aio, path, &st);
  if (err < 0)
    return err;
  is_file = S_ISREG (st.st_mode);
  *read_only = flags & AIO_READ_ONLY;
  fd = open_once (path, is_file, !*read_only, exclusive);
  /* Older kernels let one open a read-only disk for writing. */
  if (fd >= 0 && !is_file && !*read_only && ioctl (fd, BLKROGET, &ro) == 0
      && ro) {
    close (fd);
    fd = -EROFS;
  }
  if (is_read_only_error (fd) && (flags & AIO_TRY_WRITE) && !*read_only) {
    err = fd;
    *read_only = true;
    fd = open_once (path, is_file, false, exclusive);
    if (fd >= 0)
      log_notice (aio->log,
                  "leg %s: cannot be opened for writing: %s; "
                  "opened read-only",
                  path, strerror (-err));
  }
  if (fd == -EBUSY)
    return refuse (aio, path, fd,
                   "in use by another server, a mount, an array or the like "
                   "(exclusive open refused); stop that first");
  if (fd < 0)
    return refuse (aio, path, fd, "cannot be opened for %s: %s",
                   *read_only ? "reading" : "writing", strerror (-fd));
  return fd;
}

/* For files.  The lock belongs to the open file, not to the process: it is
 * there after a fork, and goes when the last copy of the descriptor does.
 */
static int
lock_file (struct aio *aio, const char *path, int fd, bool read_only)
{
  struct flock lock = {
    .l_type = read_only ? F_RDLCK : F_WRLCK,
    .l_whence = SEEK_SET,
  };
  int err;

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return 0;
  err = -errno;
  if (err == -EAGAIN || err == -EACCES)
    return refuse (aio, path, -EBUSY,
                   "in use by another server (file lock held); stop it "
                   "first");
  return refuse (aio, path, err,
                 "cannot be locked against other servers: %s; use a file "
                 "system that has file locks",
                 strerror (-err));
}

/* ---- O_DIRECT ---- */

static int
set_direct (int fd, bool on)
{
  int flags = fcntl (fd, F_GETFL);

  if (flags == -1)
    return -errno;
  flags = on ? flags | O_DIRECT : flags & ~O_DIRECT;
  return fcntl (fd, F_SETFL, flags) == -1 ? -errno : 0;
}

/* What the file system says: the unit of direct transfers, 0 if it has none,
 * -1 if it says nothing.
 */
static int
statx_unit (int fd)
{
#ifdef STATX_DIOALIGN
  struct statx stx;

  if (statx (fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == -1
      || !(stx.stx_mask & STATX_DIOALIGN))
    return -1;
  if (stx.stx_dio_mem_align > BUFFER_ALIGNMENT
      || stx.stx_dio_offset_align > MAX_LOGICAL_BLOCK)
    return 0;
  return (int)stx.stx_dio_offset_align;
#else
  (void)fd;
  return -1;
#endif
}

/* Does a transfer of this unit work?  0, or -errno.  In an empty file there
 * is nothing that could be tried.
 */
static int
try_unit (int fd, uint8_t *data, uint32_t unit, uint64_t size)
{
  ssize_t r;

  /* The second block tells more than the first, whose offset is a multiple of
   * everything.
   */
  r = pread (fd, data, unit, size >= 2 * (uint64_t)unit ? unit : 0);
  return r == -1 ? -errno : 0;
}

/* Find the logical block of a descriptor that is O_DIRECT now; floor is the
 * smallest that may be tried.  0, or -errno if direct transfers do not work.
 */
static int
find_unit (int fd, uint32_t floor, uint64_t size, uint32_t *unit)
{
  struct buffer *buffer = buffer_new (MAX_LOGICAL_BLOCK);
  int err = -EINVAL;

  if (!buffer)
    return -ENOMEM;
  for (*unit = floor; *unit <= MAX_LOGICAL_BLOCK; *unit *= 2) {
    err = try_unit (fd, buffer->data, *unit, size);
    if (err != -EINVAL)
      break;
  }
  buffer_unref (buffer);
  return err;
}

/* For regular files. */
static uint32_t
smallest_unit (const struct stat *st, int stated)
{
  unsigned long long value;

  if (stated > SECTOR_SIZE && is_power_of_2 ((uint64_t)stated))
    return (uint32_t)stated;
  if (stated < 0 && st->st_size < 2 * MAX_LOGICAL_BLOCK
      && read_queue_limit (st->st_dev, "logical_block_size", &value)
      && value > SECTOR_SIZE && value <= MAX_LOGICAL_BLOCK)
    return (uint32_t)value; /* too small a file to try it out */
  return SECTOR_SIZE;
}

/* Switch O_DIRECT on if it works, and find the unit of transfers; of a block
 * device it is known and is the least that is tried.  0; -EINVAL or -EOPNOTSUPP
 * if it does not work (*stated is 0 if the file system says so); other errors
 * if nothing can be read at all.
 */
static int
switch_direct (int fd, const struct stat *st, uint64_t size, uint32_t *unit,
               int *stated)
{
  bool is_file = S_ISREG (st->st_mode);
  int err;

  *stated = is_file ? statx_unit (fd) : -1;
  if (is_file)
    *unit = smallest_unit (st, *stated);
  err = *stated == 0 ? -EINVAL : set_direct (fd, true);
  if (err == 0)
    err = find_unit (fd, *unit, size, unit);
  if (err < 0)
    set_direct (fd, false);
  return err;
}

/* Switch O_DIRECT on if it works, and set logical_block.  Negative only if
 * the device cannot be used at all.
 */
static int
probe_direct (struct aio_device *device, const struct stat *st)
{
  struct device_limits *limits = &device->device.limits;
  uint32_t unit = limits->logical_block; /* of a block device */
  int stated, err;

  if (device->is_file)
    limits->logical_block = SECTOR_SIZE;
  err = switch_direct (device->fd, st, limits->size, &unit, &stated);
  if (err == 0) {
    device->direct = true;
    limits->logical_block = unit;
    return 0;
  }
  if (err != -EINVAL && err != -EOPNOTSUPP)
    return refuse (device->aio, device->device.name, err, "cannot be read: %s",
                   strerror (-err));
  log_notice (device->aio->log,
              "leg %s: no O_DIRECT: %s; its data goes through the page cache, "
              "flush and FUA reach the disk all the same",
              device->device.name,
              stated == 0 ? "the file system says that it has none"
                          : "the file system refuses it");
  return 0;
}

/* ---- limits ---- */

static int
block_device_limits (struct aio_device *device)
{
  struct device_limits *limits = &device->device.limits;
  int unit;

  if (ioctl (device->fd, BLKGETSIZE64, &limits->size) == -1
      || ioctl (device->fd, BLKSSZGET, &unit) == -1) {
    int err = -errno;

    return refuse (device->aio, device->device.name, err,
                   "its size cannot be read: %s", strerror (-err));
  }
  if (unit < SECTOR_SIZE || unit > MAX_LOGICAL_BLOCK
      || !is_power_of_2 ((uint64_t)unit))
    return refuse (device->aio, device->device.name, -EINVAL,
                   "has logical blocks of %d bytes; 512 to 4096 can be used",
                   unit);
  limits->logical_block = (uint32_t)unit;
  return 0;
}

/* dev: of the disk itself, or of the one that the file lies on. */
static void
disk_limits (struct aio_device *device, dev_t dev)
{
  struct device_limits *limits = &device->device.limits;
  unsigned long long value;

  if (read_queue_limit (dev, "rotational", &value))
    limits->rotational = value != 0;
  if (device->is_file)
    limits->fast_zero = fs_has_holes (device->fd);
  else if (read_queue_limit (dev, "write_zeroes_max_bytes", &value))
    limits->fast_zero = value > 0;
}

static int
find_limits (struct aio_device *device)
{
  struct device_limits *limits = &device->device.limits;
  struct stat st;
  int err = 0;

  if (fstat (device->fd, &st) == -1) {
    err = -errno;
    return refuse (device->aio, device->device.name, err, "fstat: %s",
                   strerror (-err));
  }
  err = check_type (device->aio, device->device.name, &st);
  if (err < 0)
    return err;
  device->is_file = S_ISREG (st.st_mode);
  if (device->is_file)
    limits->size = (uint64_t)st.st_size;
  else
    err = block_device_limits (device);
  if (err == 0)
    err = probe_direct (device, &st);
  if (err < 0)
    return err;
  limits->size = round_down (limits->size, limits->logical_block);
  disk_limits (device, device->is_file ? st.st_dev : st.st_rdev);
  return 0;
}

/* ---- open and close ---- */

static void
free_device (struct aio_device *device)
{
  if (device->fd >= 0)
    close (device->fd);
  rt_mutex_destroy (&device->flush_lock);
  rt_free (device->device.name);
  rt_free (device);
}

static struct aio_device *
new_device (struct aio *aio, const char *path, uint64_t timeout)
{
  struct aio_device *device = rt_calloc (1, sizeof *device);
  size_t n = strlen (path) + 1;

  if (!device)
    return NULL;
  rt_mutex_init (&device->flush_lock);
  device->fd = -1;
  device->aio = aio;
  device->device.ops = &aio_ops;
  device->device.timeout = timeout;
  device->device.log = aio->log;
  device->device.leg = -1;
  device->device.name = rt_alloc (n);
  if (!device->device.name) {
    free_device (device);
    return NULL;
  }
  memcpy (device->device.name, path, n);
  return device;
}

/* Sets fd and limits.read_only.  0, or -errno with a line. */
static int
open_fd (struct aio_device *device, unsigned flags, bool *created)
{
  const char *path = device->device.name;
  bool *read_only = &device->device.limits.read_only;

  if ((flags & AIO_CREATE) && !(flags & AIO_READ_ONLY)
      && access (path, F_OK) == -1) {
    device->fd = create_file (device->aio, path);
    *created = device->fd >= 0;
    if (device->fd >= 0)
      return 0;
    if (device->fd != -EEXIST)
      return device->fd;
  }
  device->fd = open_existing (device->aio, path, flags, read_only);
  return device->fd < 0 ? device->fd : 0;
}

int
aio_open (struct aio *aio, const char *path, unsigned flags, uint64_t timeout,
          struct device **result, bool *created)
{
  struct aio_device *device = new_device (aio, path, timeout);
  bool made = false;
  int err, fl;

  if (!device)
    return -ENOMEM;
  err = open_fd (device, flags, &made);
  if (err == 0)
    err = find_limits (device);
  if (err == 0 && device->is_file && !(flags & AIO_NO_LOCK))
    err = lock_file (aio, path, device->fd, device->device.limits.read_only);
  if (err == 0 && device->is_file) {
    fl = fcntl (device->fd, F_GETFL);
    if (fl != -1)
      fcntl (device->fd, F_SETFL, fl & ~O_NONBLOCK);
  }
  if (created)
    *created = made && err == 0;
  if (err < 0) {
    if (made)
      unlink (path);
    free_device (device);
    return err;
  }
  *result = &device->device;
  return 0;
}

void
aio_close (struct device *device)
{
  struct aio *aio = to_aio_device (device)->aio;

  /* The watchdog may be looking at it. */
  rt_mutex_lock (&aio->lock);
  rt_mutex_unlock (&aio->lock);
  free_device (to_aio_device (device));
}

/* ---- descriptors that others have opened ---- */

int
aio_set_direct (int fd, bool on, uint32_t *unit)
{
  struct stat st;
  int stated, err;

  if (!on)
    return set_direct (fd, false);
  if (fstat (fd, &st) == -1)
    return -errno;
  err = switch_direct (fd, &st, (uint64_t)st.st_size, unit, &stated);
  return err == -EINVAL ? -EOPNOTSUPP : err;
}

static int
adopt_limits (struct aio_device *device)
{
  struct device_limits *limits = &device->device.limits;
  uint32_t unit = SECTOR_SIZE;
  struct stat st;
  int sector, err;

  if (fstat (device->fd, &st) == -1)
    return -errno;
  device->is_file = S_ISREG (st.st_mode);
  limits->size = (uint64_t)st.st_size;
  if (!device->is_file) {
    if (!S_ISBLK (st.st_mode))
      return -EINVAL;
    if (ioctl (device->fd, BLKGETSIZE64, &limits->size) == -1
        || ioctl (device->fd, BLKSSZGET, &sector) == -1)
      return -errno;
    if (sector < SECTOR_SIZE || sector > MAX_LOGICAL_BLOCK)
      return -EINVAL;
    unit = (uint32_t)sector;
  }
  if (!device->buffered) {
    err = aio_set_direct (device->fd, true, &unit);
    if (err < 0)
      return err;
    device->direct = true;
  }
  limits->logical_block = unit;
  limits->size = round_down (limits->size, unit);
  disk_limits (device, device->is_file ? st.st_dev : st.st_rdev);
  return 0;
}

int
aio_adopt (struct aio *aio, const char *name, int fd, bool buffered,
           uint64_t timeout, struct device **result)
{
  struct aio_device *device = new_device (aio, name, timeout);
  int err;

  if (!device)
    return -ENOMEM;
  device->fd = fd;
  device->buffered = buffered;
  err = adopt_limits (device);
  if (err < 0) {
    device->fd = -1; /* still the caller's */
    free_device (device);
    return err;
  }
  *result = &device->device;
  return 0;
}

/* ---- for making legs, and for others ---- */

/* Allocate the blocks of the first size bytes; the file has grown to size
 * when this returns 0.
 */
static int
allocate_blocks (struct aio_device *device, uint64_t old_size, uint64_t size)
{
  struct device *d = &device->device;
  uint64_t start = round_up (old_size, d->limits.logical_block);
  int r, err;

  do {
    r = fallocate (device->fd, 0, 0, (off_t)size);
    err = r == -1 ? -errno : 0;
  } while (err == -EINTR);
  if (err != -EOPNOTSUPP && err != -ENOSYS)
    return err;
  /* Then only writing allocates. */
  if (size > old_size && ftruncate (device->fd, (off_t)size) == -1)
    return -errno;
  if (size <= start)
    return 0;
  d->limits.size = size;
  return device_run (d, IO_ZERO, 0, start, size - start, NULL);
}

int
aio_allocate (struct device *device, uint64_t size)
{
  struct aio_device *aio_device = to_aio_device (device);
  uint64_t old_size;
  struct stat st;
  int err;

  if (!aio_device->is_file)
    return -ENOTSUP;
  if (device->limits.read_only)
    return -EROFS;
  if (size == 0 || size > INT64_MAX - MAX_LOGICAL_BLOCK)
    return -EINVAL;
  if (fstat (aio_device->fd, &st) == -1)
    return -errno;
  old_size = (uint64_t)st.st_size;
  size = round_up (size, device->limits.logical_block);
  err = allocate_blocks (aio_device, old_size, size);
  if (err == 0 && fsync (aio_device->fd) == -1)
    err = -errno;
  if (err < 0)
    return refuse (aio_device->aio, device->name, err,
                   "cannot be given %llu bytes of space: %s",
                   (unsigned long long)size, strerror (-err));
  device->limits.size =
      round_down (max_u64 (size, old_size), device->limits.logical_block);
  return 0;
}

int
aio_fd (const struct device *device)
{
  return ((const struct aio_device *)device)->fd;
}

bool
aio_is_file (const struct device *device)
{
  return ((const struct aio_device *)device)->is_file;
}
