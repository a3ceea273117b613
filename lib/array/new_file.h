/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A new file for a bitmap, whoever it is made for: an array that is made, or
 * one that gets another bitmap.
 */

#ifndef MDBITMAP_ARRAY_NEW_FILE_H
#define MDBITMAP_ARRAY_NEW_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "device/aio.h"
#include "device/file.h"
#include "format/bitmap_superblock.h"

struct new_file {
  const struct log *log;
  struct aio *aio;
  uint64_t timeout; /* nanoseconds */
  const char *path;
  const struct device *const *legs; /* none of which it may lie on */
  unsigned nlegs;

  /* What may be lost, besides an empty file: a bitmap that has not more than
   * these events and has never cleared a bit, that of this array, or whatever
   * it is.
   */
  uint64_t unused_events;
  const uint8_t *own_uuid; /* NULL: none */
  bool force;

  /* What it will hold. */
  struct bitmap_superblock header;
  uint64_t chunks;
  bool (*marked) (void *opaque, uint64_t chunk);
  void *opaque;
};

/* Bytes, a multiple of 4096. */
extern uint64_t new_file_length (uint64_t chunks);

/* By the paths, be they there or not.  False, and a line, if it is. */
extern bool
new_file_is_no_leg (const struct log *log, const char *path, const char *leg);

/* Look whether the file may be made, and write nothing.  *exists: there is one,
 * which would be lost.  0 or -errno, with a line.
 */
extern int new_file_check (const struct new_file *f, bool *exists);

/* Make it, durably.  replace: the one that is there may be lost.  0 or -errno,
 * with a line; then nothing is left of it.
 */
extern int new_file_make (struct new_file *f, bool replace);

#endif /* MDBITMAP_ARRAY_NEW_FILE_H */
