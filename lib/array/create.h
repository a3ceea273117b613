/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Between create.c, which decides, create_signature.c, which looks, and
 * create_write.c, which writes.
 */

#ifndef MDBITMAP_ARRAY_CREATE_H
#define MDBITMAP_ARRAY_CREATE_H

#include <sys/types.h>

#include "array/array.h"
#include "device/aio.h"
#include "format/bitmap_superblock.h"
#include "format/layout.h"
#include "format/superblock_1.h"

#define CREATE_NAME_MAX 32 /* bytes of set_name */

struct new_leg {
  const char *path; /* NULL: the slot stays empty */
  unsigned slot;
  bool write_mostly;

  /* Identity; base is "" if the leg exists, and dev and ino are those of the
   * folder if it does not.
   */
  bool exists, is_device;
  dev_t dev;
  ino_t ino;
  const char *base;

  struct device *device; /* NULL: not yet created */
  uint64_t old_size;     /* bytes, when it was opened */
  bool fresh;            /* a new file: all of it is zeroes */
  bool created;          /* by us, now */
  bool has_magic;        /* there is a superblock, whatever it is worth */
  struct superblock_1 *superblock; /* found; NULL: none that is valid */
  struct layout layout;
};

struct creation {
  const struct array_create_options *options;
  const struct log *log;
  struct aio *aio;
  struct new_leg legs[ARRAY_MAX_LEGS];
  unsigned nlegs;
  bool nothing_to_do;                   /* the array is there */
  const struct superblock_1 *finishing; /* of an array made halfway */

  uint64_t size; /* sectors */
  bool clean;
  bool mark_all; /* set all bits */

  bool superblocks_begun;
};

/* 0 if the leg carries nothing that is known, or -errno, with a line. */
extern int create_check_signature (const struct creation *creation,
                                   const struct new_leg *leg);

/* Everything has been checked: write it.  0 or -errno, with a line. */
extern int create_write (struct creation *creation);

#endif /* MDBITMAP_ARRAY_CREATE_H */
