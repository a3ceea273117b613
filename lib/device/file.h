/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A file that holds a bitmap, and three ways to write it.
 *
 *   direct     O_DIRECT through the file system, each write durable by itself
 *   extent     straight to the blocks of the device that the file lies on,
 *              which were looked up once; the file system is not asked again
 *   pagecache  buffered, then written out and flushed
 *
 * All blocking, but for operations on file->device.  One thread at a time.
 * Each refusal is one line in the log that begins "bitmap file PATH: ".
 */

#ifndef MDBITMAP_FILE_H
#define MDBITMAP_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "device/aio.h"

enum file_io { FILE_DIRECT, FILE_EXTENT, FILE_PAGECACHE };

extern const char *file_io_string (enum file_io io);

/* Bytes [offset, offset + length) of the file are on file->device from at
 * on.
 */
struct file_extent {
  uint64_t offset, at, length;
};

/* Whoever opened it may read these; file.c changes them. */
struct file {
  enum file_io io;
  const char *path; /* the file's */
  uint64_t size;    /* bytes */

  /* From file_prepare on.  In the order of offset, without gaps, from 0 up to
   * at least what file_prepare was asked for; neighbours on the device are
   * one extent.  Offsets, addresses and lengths are multiples of the device's
   * logical block.
   *   direct     one extent, at the same offset; IO_FUA makes a write durable
   *   extent     the same on a block device
   *   pagecache  one extent; IO_WRITE without IO_FUA, and then IO_FLUSH, whose
   *              success alone says that they are durable
   */
  struct device *device;
  const struct file_extent *extents;
  unsigned nextents;
  /* Before each write, quick: 0, or -errno if it must not be written any more,
   * since somebody waits to change it.  NULL: there is nothing to be asked.
   */
  int (*still_ours) (const struct file *file);
};

/* Open, and look whether it can be written in that way; nothing is written.
 * With read_only it never will be, and io means nothing.  timeout in
 * nanoseconds, for each operation of the device.  -EBUSY: another server has
 * it.  What a kill -9 has left behind (a pin, cached pages) does not matter.
 */
extern int file_open (struct aio *aio, const char *path, enum file_io io,
                      bool read_only, uint64_t timeout, struct file **file);

/* The file must not lie on any of these devices, however deep below its file
 * system they are (partitions, loop devices, dm, md), nor on an NBD device,
 * which may be our own export.  legs: devices of aio_open.  0 or -errno with a
 * line.
 */
extern int file_check_place (struct file *file,
                             const struct device *const *legs, unsigned n);

/* length bytes from offset on, multiples of 512; what is behind the end of the
 * file reads as zeroes.  0 or -errno, without a line.
 */
extern int file_read (struct file *file, uint64_t offset, uint64_t length,
                      struct buffer *buffer);

/* Before the first write, after aio_start: the first length bytes, at most
 * file->size, can be written from now on, up to the next multiple of the
 * device's logical block.  The file is pinned as far as its way of writing
 * needs it, and its last block completed.  May be called again.  0 or -errno
 * with a line.
 */
extern int file_prepare (struct file *file, uint64_t length);

/* Now and then (seconds), after file_prepare: 0, or -errno with a line if the
 * file must not be written any more, since its blocks are no longer its own or
 * somebody is about to change it.  Never on the path of a request.
 */
extern int file_check (struct file *file);

/* Unpins it, and sees to it that everybody reads what was written.  NULL is
 * allowed.
 */
extern void file_close (struct file *file);

/* Make a new file of real, written, flushed blocks, under another name (PATH
 * with .new behind it) that becomes PATH when all is durable.  fill: write
 * length bytes of it, from that byte on, to data.  replace: the file that is
 * there may be lost; else -EEXIST.  0 or -errno with a line.
 */
extern int file_make (const struct log *log, const char *path, uint64_t length,
                      bool replace,
                      void (*fill) (void *opaque, uint64_t from, size_t length,
                                    uint8_t *data),
                      void *opaque);

#endif /* MDBITMAP_FILE_H */
