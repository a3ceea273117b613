/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The disks of a world as the library's devices: this supplies the functions
 * of device/aio.h.  A path is "/leg/N".
 *
 * legs_attach tells which disks the next array_open of the current world
 * finds, and who looks on.  Operations in flight belong to the world.
 */

#ifndef MDBITMAP_SIM_LEGS_H
#define MDBITMAP_SIM_LEGS_H

#include "device/device.h"
#include "sim/disk.h"
#include "sim/world.h"

#define SIM_LEGS 4

/* Looks at every operation of a device; called in the fiber that submits, or
 * by the scheduler or whoever ends it.  Must not block.
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
/* Operations of the world in flight on all legs. */
extern unsigned legs_in_flight (const struct world *world);

#endif /* MDBITMAP_SIM_LEGS_H */
