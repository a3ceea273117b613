/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The disks of a world as the library's devices: this supplies the functions
 * of device/aio.h, and those of device/file.h for one file.  A path is
 * "/leg/N", or "/file".
 *
 * legs_attach tells which disks the next array_open of the current world
 * finds, and who looks on.  Operations in flight belong to the world.
 */

#ifndef MDBITMAP_SIM_LEGS_H
#define MDBITMAP_SIM_LEGS_H

#include "device/device.h"
#include "device/file.h"
#include "sim/disk.h"
#include "sim/world.h"

#define SIM_LEGS 4
#define SIM_FILE SIM_LEGS /* the number of the disk that the file lies on */

/* The file, and where it lies on its disk: in pieces that are in order, that
 * have no gaps, and that do not touch each other on the disk.
 */
#define LEGS_PIECES 40
struct legs_file {
  enum file_io io;
  uint64_t size;        /* bytes */
  unsigned check_error; /* per 1,000,000 times that file_check is asked */
  unsigned npieces;
  struct file_extent pieces[LEGS_PIECES];
};

/* Looks at every operation of a device; called in the fiber that submits, or
 * by the scheduler or whoever ends it.  Must not block.  leg may be SIM_FILE.
 */
struct legs_watcher {
  /* Before the disk knows of it. */
  void (*submit) (void *opaque, unsigned leg, const struct io *io);
  /* The disk has done it, with this result, which the waiter will see soon,
   * or never if it has been given up.
   */
  void (*done) (void *opaque, unsigned leg, const struct io *io, int result);
  void *opaque;
};

/* disks[i] may be NULL: the path does not exist.  watcher may be NULL.  For
 * the first time before the world runs.
 */
extern void legs_attach (struct world *world, struct disk **disks, unsigned n,
                         const struct legs_watcher *watcher);
extern const char *legs_path (unsigned leg);
/* After legs_attach.  disk NULL: there is no such file. */
extern void legs_attach_file (struct world *world, struct disk *disk,
                              const struct legs_file *file);
extern const char *legs_file_path (void);
/* Has file_check said that the file must not be written any more? */
extern bool legs_file_lost (const struct world *world);
/* Operations of the world in flight on all legs. */
extern unsigned legs_in_flight (const struct world *world);

#endif /* MDBITMAP_SIM_LEGS_H */
