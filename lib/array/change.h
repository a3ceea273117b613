/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Between change.c, which gives an array another bitmap, and change_place.c,
 * which finds room for it on the legs.
 */

#ifndef MDBITMAP_ARRAY_CHANGE_H
#define MDBITMAP_ARRAY_CHANGE_H

#include "array/internal.h"
#include "array/new_file.h"
#include "format/layout.h"

struct change {
  struct array *array;

  /* What is to be. */
  enum array_bitmap place;
  const char *path; /* with FILE */
  int32_t offset;   /* with INTERNAL: sectors from the superblock */
  struct bitmap_superblock header;
  bool nothing;  /* it is that already */
  bool exists;   /* there is such a file, which may be lost */
  bool own_path; /* ... and it is, or was, the array's */
  const struct device *devices[ARRAY_MAX_LEGS];
  unsigned ndevices;

  /* Which bits it has. */
  bool all;  /* all of them */
  bool none; /* none; else as the old one */

  /* The new one, until it is the array's; store is for that time. */
  struct bitmap *bitmap;
  struct bitmap_store store;
  struct file *file;
  bool made;  /* the file */
  bool named; /* the legs may have its note */

  /* The old one, from when it no longer is. */
  const char *old_path;
  enum array_bitmap old_place;
  struct bitmap *old_bitmap;
  struct file *old_file;
  bool old_in_use; /* the file had not failed */
};

/* Find room for the internal bitmap: sets offset, and if the chunk was not
 * asked for, the header's, to the next larger that has room.  0, -ENOMEM or
 * -EINVAL with a line.
 */
extern int change_plan_internal (struct change *c, bool asked);
/* Have the leg's superblock say where the bitmap is, or that there is none. */
extern void change_place_leg (struct leg *leg, bool internal, int32_t offset);

#endif /* MDBITMAP_ARRAY_CHANGE_H */
