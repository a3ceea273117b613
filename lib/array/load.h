/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Inside lib/array only: the copies of a bitmap while it is being loaded. */

#ifndef MDBITMAP_LOAD_H
#define MDBITMAP_LOAD_H

#include "array/internal.h"
#include "format/bitmap_superblock.h"

enum copy_state { COPY_UNUSABLE, COPY_STALE, COPY_VALID };

struct copy {
  struct leg *leg; /* NULL: it is the file */
  /* Lines begin with KIND NAME PART, such as "leg a.img: bitmap: ". */
  const char *kind, *name, *part;
  enum copy_state state;
  struct bitmap_superblock header;
};

/* Merge all valid ones into the bitmap; *valid becomes how many could be read.
 * One that cannot be read to its end counts for what was read of it, if another
 * one can.  0, -EINVAL or -ENOMEM.
 */
extern int array_load_pages (struct array *array, const struct copy *copies,
                             unsigned n, unsigned *valid);

#endif /* MDBITMAP_LOAD_H */
