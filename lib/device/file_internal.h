/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What the files file*.c share.  Nobody else includes this. */

#ifndef MDBITMAP_FILE_INTERNAL_H
#define MDBITMAP_FILE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "device/aio_context.h"
#include "device/file.h"

/* Files of ours have a length that is a multiple of this; each mode writes
 * whole pages.
 */
#define FILE_PAGE 4096

/* Where the bytes of a file are, in the order of offset. */
struct file_map {
  struct file_extent *extents;
  unsigned n, room;
};

/* A file that is open.  One thread at a time. */
struct open_file {
  struct file file; /* first: the two are cast into one another */
  struct aio *aio;
  const struct log *log;
  char *path;
  bool read_only;
  uint64_t timeout;
  struct stat st; /* as it was when it was opened */

  /* O_RDONLY, with O_DIRECT if that works.  It has the flock and the lease. */
  int fd;
  bool fd_direct;
  /* O_RDWR, of direct and pagecache, until file.device has it. */
  int writer;

  /* Of extent: the block device, until file.device has it; and the map,
   * whose extents are file.extents once it was prepared.
   */
  int disk;
  struct file_map map;
  /* Of direct and pagecache. */
  struct file_extent whole;

  /* The pin. */
  bool immutable; /* the flag is set, by whomever */
  bool marked;    /* with our mark beside it */
  bool leased;
  uint64_t prepared; /* bytes */
};

static inline struct open_file *
to_open_file (struct file *file)
{
  return (struct open_file *)file;
}

/* ---- file.c ---- */

/* One line in the log, "bitmap file PATH: ..."; returns err. */
extern int
file_refuse (const struct log *log, const char *path, int err, const char *fmt,
             ...) __attribute__ ((format (printf, 4, 5)));

/* For direct and pagecache: open it for writing, unpinned if a crashed server
 * has left it pinned.  Sets file.device.  0 or -errno with a line.
 */
extern int file_open_through (struct open_file *f);

/* The same file, once more, for writing.  The descriptor or -errno with a
 * line.
 */
extern int file_open_writing (const struct open_file *f);

/* Unpin what a server that was killed has pinned.  0 or -errno with a line. */
extern int file_unpin_leftover (struct open_file *f);

/* Write out what the page cache has of it, and drop that.  0 or -errno. */
extern int file_drop_cache (int fd);

/* flock on the descriptor, which need not be open for writing; by all servers
 * in all modes.  0, -EBUSY if another one has it, or -errno; without a line.
 */
extern int file_flock (int fd, bool exclusive);

/* The name of a file's folder: the descriptor is synced.  0 or -errno. */
extern int file_sync_folder (const char *path);

/* Read length bytes; multiples of FILE_PAGE.  What is behind size, the end of
 * the file, is zeroed.  0 or -errno; -EIO if the file ends before.
 */
extern int file_read_pages (int fd, uint8_t *data, uint64_t offset,
                            uint64_t length, uint64_t size);

/* ---- file_extents.c ---- */

/* Whether blocks of this file may be written behind the back of its file
 * system.  0 or -errno with a line.
 */
extern int file_extents_allowed (const struct open_file *f);

/* The map of the first length bytes (a multiple of FILE_PAGE).  0 or -errno
 * with a line.  map is empty at first; to be freed with file_map_free.
 */
extern int file_extents_map (const struct open_file *f, bool sync,
                             uint64_t length, struct file_map *map);
extern bool file_map_equal (const struct file_map *a, const struct file_map *b);
extern void file_map_free (struct file_map *map);

/* Open the block device that the file lies on.  The descriptor or -errno with
 * a line.
 */
extern int file_extents_open_disk (const struct open_file *f);

/* The same bytes must come from the file and from its blocks on the device
 * disk.  0 or -errno with a line.
 */
extern int file_extents_compare (const struct open_file *f, int disk,
                                 const struct file_map *map);

/* Is the whole map in multiples of the device's logical block?  0 or -errno
 * with a line.
 */
extern int
file_extents_aligned (const struct open_file *f, const struct file_map *map,
                      const struct device *device);

/* ---- file_pin.c ---- */

/* Look at flag and mark: sets immutable and marked. */
extern void file_pin_look (struct open_file *f);
/* Nobody else changes where its blocks are.  0 or -errno with a line. */
extern int file_pin (struct open_file *f);
/* Is it still so?  0 or -errno with a line. */
extern int file_pin_check (struct open_file *f);
/* Take the flag and the mark away, if they are ours, and the lease.  0 or
 * -errno without a line.
 */
extern int file_unpin (struct open_file *f);
/* The same for a file that is about to be replaced. */
extern int file_unpin_fd (int fd);

/* ---- file_place.c ---- */

/* Call look for each line of mountinfo that belongs to the file system dev,
 * from its type on, until it does not return 0, and return that.  -errno if
 * there is no mountinfo.
 */
extern int file_each_mount (dev_t dev, int (*look) (void *opaque, char *line),
                            void *opaque);

/* The node of a block device, somewhere in /dev.  False: there is none. */
extern bool file_find_node (dev_t dev, char *node, size_t room);

#endif /* MDBITMAP_FILE_INTERNAL_H */
