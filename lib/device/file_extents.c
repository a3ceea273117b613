/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Which blocks of a block device are a file's, and whether they may be
 * written without asking the file system again.
 *
 * They may if the file system overwrites data in place, keeps no copy of data
 * that it would write there later (a journal of data), and tells the addresses
 * on the very device that st_dev names.  Those known to do so are listed by
 * name; whatever is not known is refused.  The same for flags of files and of
 * extents: what is not known to be harmless is not.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/file_internal.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef F2FS_SUPER_MAGIC
#define F2FS_SUPER_MAGIC 0xf2f52010
#endif
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#define ZFS_MAGIC      0x2fc12fc1
#define BCACHEFS_MAGIC 0xca451a4e
#ifndef STATX_ATTR_DAX
#define STATX_ATTR_DAX 0x00200000
#endif
#ifndef STATX_ATTR_VERITY
#define STATX_ATTR_VERITY 0x00100000
#endif
#ifndef FS_DAX_FL
#define FS_DAX_FL 0x02000000
#endif

/* What the file and its blocks are compared in. */
#define COMPARE_PIECE (64 * KiB)
/* Not more than this of them. */
#define COMPARE_MAX (64 * MiB)

#define ASK_EXTENTS 64

/* Flags of an extent that change nothing here. */
#define HARMLESS (FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED)

#define USE_DIRECT "use bitmap-io=direct"
#define USE_OTHERS "use bitmap-io=direct or pagecache"

/* ---- the file system ---- */

static int
refuse_fs (const struct open_file *f, unsigned long magic)
{
  static const struct {
    unsigned long magic;
    const char *name, *why;
  } known[] = {
    { BCACHEFS_MAGIC, "bcachefs", "writes data to new blocks each time" },
    { BTRFS_SUPER_MAGIC, "btrfs", "writes data to new blocks each time" },
    { F2FS_SUPER_MAGIC, "f2fs", "moves the blocks of files" },
    { FUSE_SUPER_MAGIC, "a FUSE file system", "is not known to the kernel" },
    { NFS_SUPER_MAGIC, "NFS", "is on another machine" },
    { OVERLAYFS_SUPER_MAGIC, "overlayfs",
      "has the file on another file system: name it there" },
    { RAMFS_MAGIC, "ramfs", "is in memory" },
    { TMPFS_MAGIC, "tmpfs", "is in memory" },
    { ZFS_MAGIC, "ZFS", "writes data to new blocks each time" },
  };

  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i)
    if (known[i].magic == magic)
      return file_refuse (f->log, f->path, -EOPNOTSUPP,
                          "lies on %s, which %s; bitmap-io=extent needs "
                          "ext2, ext3, ext4 or XFS",
                          known[i].name, known[i].why);
  return file_refuse (f->log, f->path, -EOPNOTSUPP,
                      "lies on a file system (magic number 0x%lx) that is not "
                      "known to keep data in place; bitmap-io=extent needs "
                      "ext2, ext3, ext4 or XFS",
                      magic);
}

static bool
has_option (const char *options, const char *option)
{
  size_t n = strlen (option);

  for (const char *p = options; p; p = strchr (p, ',')) {
    if (*p == ',')
      p++;
    if (strncmp (p, option, n) == 0 && (p[n] == ',' || p[n] == '\0'))
      return true;
  }
  return false;
}

/* 1 if it journals data; the file system was seen. */
static int
look_for_journal (void *opaque, char *line)
{
  /* Of the file system, not of the mount. */
  const char *options = strrchr (line, ' ');
  bool *seen = opaque;

  *seen = true;
  return options && has_option (options + 1, "data=journal");
}

/* Whether the file system dev is mounted with data=journal: 1 or 0, or -errno
 * if it cannot be told.
 */
static int
journals_data (dev_t dev)
{
  bool seen = false;
  int found = file_each_mount (dev, look_for_journal, &seen);

  return found == 0 && !seen ? -ENOENT : found;
}

/* ---- the file ---- */

static int
check_flags (const struct open_file *f)
{
  static const struct {
    int flag;
    const char *what;
  } bad[] = {
    { FS_COMPR_FL, "is compressed" },
    { FS_ENCRYPT_FL, "is encrypted by its file system" },
    { FS_INLINE_DATA_FL, "has its data inside its inode" },
    { FS_JOURNAL_DATA_FL, "has its data written to the journal (chattr +j)" },
    { FS_VERITY_FL, "has fs-verity" },
    { FS_DAX_FL, "has DAX" },
    { FS_APPEND_FL, "is append-only (chattr +a)" },
  };
  int flags = 0, err;

  if (ioctl (f->fd, FS_IOC_GETFLAGS, &flags) == -1) {
    err = -errno;
    return file_refuse (f->log, f->path, err,
                        "its flags cannot be read: %s; " USE_DIRECT,
                        strerror (-err));
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    if (flags & bad[i].flag)
      return file_refuse (f->log, f->path, -EOPNOTSUPP,
                          "%s; bitmap-io=extent cannot write it, " USE_OTHERS,
                          bad[i].what);
  return 0;
}

static int
check_xfs (const struct open_file *f)
{
  struct fsxattr attr = { 0 };
  int err;

  if (ioctl (f->fd, FS_IOC_FSGETXATTR, &attr) == -1) {
    err = -errno;
    return file_refuse (f->log, f->path, err,
                        "its flags cannot be read: %s; " USE_DIRECT,
                        strerror (-err));
  }
  if (attr.fsx_xflags & FS_XFLAG_REALTIME)
    return file_refuse (f->log, f->path, -EOPNOTSUPP,
                        "is on the realtime device of its file system; "
                        "bitmap-io=extent cannot write it, " USE_OTHERS);
  return 0;
}

static int
check_attributes (const struct open_file *f)
{
  struct statx stx;
  uint64_t bad = STATX_ATTR_COMPRESSED | STATX_ATTR_ENCRYPTED
                 | STATX_ATTR_VERITY | STATX_ATTR_DAX;

  if (statx (f->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) == 0
      && (stx.stx_attributes & bad))
    return file_refuse (f->log, f->path, -EOPNOTSUPP,
                        "is compressed, encrypted, sealed by fs-verity or DAX "
                        "(statx attributes 0x%llx); bitmap-io=extent cannot "
                        "write it, " USE_OTHERS,
                        (unsigned long long)(stx.stx_attributes & bad));
  return 0;
}

static int
check_fs (const struct open_file *f)
{
  struct statfs fs;
  struct statvfs vfs;
  unsigned long magic;
  int err;

  if (fstatfs (f->fd, &fs) == -1 || fstatvfs (f->fd, &vfs) == -1) {
    err = -errno;
    return file_refuse (f->log, f->path, err, "statfs: %s", strerror (-err));
  }
  magic = (unsigned long)fs.f_type & 0xffffffff;
  if (magic != EXT4_SUPER_MAGIC && magic != XFS_SUPER_MAGIC)
    return refuse_fs (f, magic);
  if (vfs.f_flag & ST_RDONLY)
    return file_refuse (f->log, f->path, -EROFS,
                        "its file system is mounted read-only");
  if (magic == XFS_SUPER_MAGIC)
    return check_xfs (f);
  err = journals_data (f->st.st_dev);
  if (err == 1)
    return file_refuse (f->log, f->path, -EOPNOTSUPP,
                        "its file system is mounted with data=journal, which "
                        "writes data twice; bitmap-io=extent cannot write it, "
                        "use bitmap-io=pagecache");
  if (err < 0)
    return file_refuse (f->log, f->path, err,
                        "/proc/self/mountinfo does not tell how its file "
                        "system is mounted: %s; " USE_DIRECT,
                        strerror (-err));
  return 0;
}

int
file_extents_allowed (const struct open_file *f)
{
  int err = check_fs (f);

  if (err == 0)
    err = check_flags (f);
  if (err == 0)
    err = check_attributes (f);
  return err;
}

/* ---- the map ---- */

void
file_map_free (struct file_map *map)
{
  rt_free (map->extents);
  *map = (struct file_map){ 0 };
}

bool
file_map_equal (const struct file_map *a, const struct file_map *b)
{
  if (a->n != b->n)
    return false;
  for (unsigned i = 0; i < a->n; ++i)
    if (a->extents[i].offset != b->extents[i].offset
        || a->extents[i].at != b->extents[i].at
        || a->extents[i].length != b->extents[i].length)
      return false;
  return true;
}

/* Append what begins where the last one ends. */
static int
append (struct file_map *map, uint64_t offset, uint64_t at, uint64_t length)
{
  struct file_extent *last = map->n ? &map->extents[map->n - 1] : NULL, *more;

  if (last && last->at + last->length == at) {
    last->length += length;
    return 0;
  }
  if (map->n == map->room) {
    map->room = map->room ? 2 * map->room : 16;
    more = rt_alloc (map->room * sizeof *more);
    if (!more)
      return -ENOMEM;
    if (map->extents)
      memcpy (more, map->extents, map->n * sizeof *more);
    rt_free (map->extents);
    map->extents = more;
  }
  assert (map->extents);
  map->extents[map->n++] = (struct file_extent){ offset, at, length };
  return 0;
}

/* What is wrong with an extent, or NULL. */
static const char *
complaint (uint32_t flags)
{
  static const struct {
    uint32_t flag;
    const char *what;
  } known[] = {
    { FIEMAP_EXTENT_SHARED, "is shared with another file (reflink)" },
    { FIEMAP_EXTENT_UNWRITTEN, "is allocated, but was never written" },
    { FIEMAP_EXTENT_DELALLOC, "is not allocated yet" },
    { FIEMAP_EXTENT_DATA_INLINE, "is inside the inode" },
    { FIEMAP_EXTENT_DATA_TAIL, "shares its block with other files" },
    { FIEMAP_EXTENT_DATA_ENCRYPTED, "is encrypted" },
    { FIEMAP_EXTENT_ENCODED, "is compressed or encrypted" },
    { FIEMAP_EXTENT_NOT_ALIGNED, "does not begin with a block" },
    { FIEMAP_EXTENT_UNKNOWN, "has no address yet" },
  };

  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i)
    if (flags & known[i].flag)
      return known[i].what;
  return flags & ~HARMLESS ? "has a flag that is not known here" : NULL;
}

static int
refuse_part (const struct open_file *f, uint64_t offset, const char *what)
{
  return file_refuse (f->log, f->path, -EOPNOTSUPP,
                      "byte %llu %s; bitmap-io=extent needs real blocks of "
                      "its own: copy the file (cp --reflink=never "
                      "--sparse=never) or " USE_DIRECT,
                      (unsigned long long)offset, what);
}

/* One extent of the kernel's, clipped at length; *offset is where the map
 * ends.
 */
static int
take_extent (const struct open_file *f, const struct fiemap_extent *e,
             uint64_t *offset, uint64_t length, struct file_map *map)
{
  uint64_t end = min_u64 (e->fe_logical + e->fe_length, length), skip;
  const char *what = complaint (e->fe_flags);

  if (e->fe_logical > *offset)
    return refuse_part (f, *offset, "is in a hole");
  if (!what && e->fe_physical == 0)
    what = "has no address";
  if (what)
    return refuse_part (f, *offset, what);
  if (end <= *offset)
    return -EIO; /* it does not go on: no such kernel is known */
  skip = *offset - e->fe_logical;
  if (append (map, *offset, e->fe_physical + skip, end - *offset) < 0)
    return -ENOMEM;
  *offset = end;
  return 0;
}

int
file_extents_map (const struct open_file *f, bool sync, uint64_t length,
                  struct file_map *map)
{
  size_t room =
      sizeof (struct fiemap) + ASK_EXTENTS * sizeof (struct fiemap_extent);
  struct fiemap *ask = rt_alloc (room);
  uint64_t offset = 0;
  int err = ask ? 0 : -ENOMEM;

  while (offset < length && err == 0) {
    memset (ask, 0, room);
    ask->fm_start = offset;
    ask->fm_length = length - offset;
    ask->fm_flags = sync ? FIEMAP_FLAG_SYNC : 0;
    ask->fm_extent_count = ASK_EXTENTS;
    if (ioctl (f->fd, FS_IOC_FIEMAP, ask) == -1) {
      err = -errno;
      file_refuse (
          f->log, f->path, err,
          "where its blocks are cannot be found out (FIEMAP): %s; " USE_DIRECT,
          strerror (-err));
      break;
    }
    if (ask->fm_mapped_extents == 0)
      err = refuse_part (f, offset, "is in a hole");
    for (unsigned i = 0;
         i < ask->fm_mapped_extents && offset < length && err == 0; ++i)
      err = take_extent (f, &ask->fm_extents[i], &offset, length, map);
  }
  rt_free (ask);
  if (err == -ENOMEM || err == -EIO)
    file_refuse (f->log, f->path, err, "no map of its blocks: %s",
                 strerror (-err));
  return err;
}

int
file_extents_aligned (const struct open_file *f, const struct file_map *map,
                      const struct device *device)
{
  uint32_t block = device->limits.logical_block;

  for (unsigned i = 0; i < map->n; ++i) {
    const struct file_extent *e = &map->extents[i];

    if ((e->offset | e->at | e->length) & (block - 1))
      return file_refuse (f->log, f->path, -EOPNOTSUPP,
                          "byte %llu does not begin with a block of %u bytes "
                          "of its device; " USE_DIRECT,
                          (unsigned long long)e->offset, block);
    if (e->length > device->limits.size
        || e->at > device->limits.size - e->length)
      return file_refuse (
          f->log, f->path, -EIO,
          "byte %llu would be beyond the end of its device; " USE_DIRECT,
          (unsigned long long)e->offset);
  }
  return 0;
}

/* ---- the device ---- */

/* In the superblock of ext2, 3 and 4, which begins at byte 1024 of the device:
 * how data is journalled if the mount does not say.  Then /proc does not say it
 * either.
 */
#define EXT_MOUNT_OPTIONS 1280 /* s_default_mount_opts */
#define EXT_JOURNAL_MASK  0x60
#define EXT_JOURNAL_DATA  0x20

static int
look_for_mode (void *opaque, char *line)
{
  const char *options = strrchr (line, ' ');

  (void)opaque;
  return options
         && (has_option (options + 1, "data=ordered")
             || has_option (options + 1, "data=writeback"));
}

/* Whether it is mounted so that data is journalled: see check_fs for the rest.
 */
static int
check_default_journal (const struct open_file *f, int disk)
{
  struct statfs fs;
  uint8_t options[4];

  if (fstatfs (f->fd, &fs) == 0
      && ((unsigned long)fs.f_type & 0xffffffff) == XFS_SUPER_MAGIC)
    return 0;
  if (pread (disk, options, sizeof options, EXT_MOUNT_OPTIONS)
      != sizeof options)
    return file_refuse (
        f->log, f->path, -EIO,
        "the superblock of its file system cannot be read; " USE_DIRECT);
  if ((get_le32 (options) & EXT_JOURNAL_MASK) != EXT_JOURNAL_DATA
      || file_each_mount (f->st.st_dev, look_for_mode, NULL) == 1)
    return 0;
  return file_refuse (f->log, f->path, -EOPNOTSUPP,
                      "its file system journals data by default (tune2fs -o "
                      "journal_data), which writes data twice; "
                      "bitmap-io=extent cannot write it, use "
                      "bitmap-io=pagecache");
}

static int
refuse_disk (const struct open_file *f, const char *node, int err)
{
  if (err == -EBUSY || err == -EPERM || err == -EACCES)
    return file_refuse (f->log, f->path, err,
                        "the device %s that it lies on cannot be opened for "
                        "writing: %s (not root, or a kernel that forbids it "
                        "while the device is mounted); " USE_DIRECT,
                        node, strerror (-err));
  return file_refuse (f->log, f->path, err,
                      "the device %s that it lies on cannot be opened for "
                      "writing: %s; " USE_DIRECT,
                      node, strerror (-err));
}

int
file_extents_open_disk (const struct open_file *f)
{
  dev_t dev = f->st.st_dev;
  char node[512];
  struct stat st;
  int fd, err, ro = 0;

  if (major (dev) == 0 || !file_find_node (dev, node, sizeof node))
    return file_refuse (
        f->log, f->path, -ENODEV,
        "lies on the device %u:%u, which has no node in /dev; " USE_DIRECT,
        major (dev), minor (dev));
  fd = open (node, O_RDWR | O_CLOEXEC);
  if (fd == -1)
    return refuse_disk (f, node, -errno);
  err = fstat (fd, &st) == -1                        ? -errno
        : !S_ISBLK (st.st_mode) || st.st_rdev != dev ? -ENODEV
        : ioctl (fd, BLKROGET, &ro) == 0 && ro       ? -EROFS
                                                     : 0;
  if (err < 0)
    refuse_disk (f, node, err);
  else
    err = check_default_journal (f, fd);
  if (err < 0) {
    close (fd);
    return err;
  }
  return fd;
}

/* Read length bytes of the file at offset, by the map. */
static int
read_mapped (int disk, const struct file_map *map, uint64_t offset,
             uint64_t length, uint8_t *data)
{
  for (unsigned i = 0; i < map->n; ++i) {
    const struct file_extent *e = &map->extents[i];
    uint64_t from = max_u64 (e->offset, offset);
    uint64_t to = min_u64 (e->offset + e->length, offset + length);
    ssize_t r;

    if (from >= to)
      continue;
    do
      r = pread (disk, data + (from - offset), to - from,
                 (off_t)(e->at + (from - e->offset)));
    while (r == -1 && errno == EINTR);
    if (r == -1)
      return -errno;
    if ((uint64_t)r != to - from)
      return -EIO;
  }
  return 0;
}

static int
compare_piece (const struct open_file *f, int disk, const struct file_map *map,
               uint64_t offset, uint64_t length, uint8_t *data)
{
  uint64_t whole = round_up (length, FILE_PAGE);
  int err = file_read_pages (f->fd, data, offset, whole, f->file.size);

  if (err == 0)
    err = read_mapped (disk, map, offset, length, data + whole);
  if (err < 0)
    return file_refuse (f->log, f->path, err, "cannot be read: %s",
                        strerror (-err));
  if (memcmp (data, data + whole, length) != 0)
    return file_refuse (f->log, f->path, -EIO,
                        "its blocks on the device do not have its bytes: the "
                        "file system does not tell the truth; " USE_DIRECT);
  return 0;
}

int
file_extents_compare (const struct open_file *f, int disk,
                      const struct file_map *map)
{
  const struct file_extent *last = map->n ? &map->extents[map->n - 1] : NULL;
  uint64_t end = last ? min_u64 (last->offset + last->length, COMPARE_MAX) : 0;
  struct buffer *buffer = buffer_new (2 * COMPARE_PIECE);
  int err = 0;

  if (!buffer)
    return -ENOMEM;
  for (uint64_t at = 0; at < end && err == 0; at += COMPARE_PIECE)
    err = compare_piece (f, disk, map, at, min_u64 (COMPARE_PIECE, end - at),
                         buffer->data);
  buffer_unref (buffer);
  return err;
}
