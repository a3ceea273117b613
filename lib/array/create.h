/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Between create.c, which decides, create_probe.c and create_signature.c, which
 * look, and create_write.c and create_file.c, which write.
 */

#ifndef MDBITMAP_ARRAY_CREATE_H
#define MDBITMAP_ARRAY_CREATE_H

#include <sys/types.h>

#include "array/array.h"
#include "device/aio.h"
#include "format/bitmap_superblock.h"
#include "format/layout.h"
#include "format/superblock.h"

#define CREATE_NAME_MAX 32 /* bytes of set_name */

/* Events of an array that was just made, as mdadm has them. */
#define CREATE_EVENTS     0
#define CREATE_EVENTS_090 1

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
  /* There is a superblock of that version, whatever it is worth. */
  bool has_magic[SUPERBLOCK_VERSIONS];
  struct superblock *superblock; /* found; NULL: none that is valid */
  uint64_t sectors;              /* of the leg, once it is whole */
  struct layout layout;
};

struct creation {
  const struct array_create_options *options;
  const struct log *log;
  struct aio *aio;
  enum superblock_version version;
  bool bitmap; /* on the legs */
  struct new_leg legs[ARRAY_MAX_LEGS];
  unsigned nlegs;
  bool nothing_to_do;                 /* the array is there */
  const struct superblock *finishing; /* of an array made halfway */

  uint64_t size; /* sectors */
  bool clean;
  bool mark_all; /* set all bits */

  /* The bitmap in a file. */
  bool file_exists; /* one that may be lost */
  bool file_made;   /* by us, now, where there was none */

  bool superblocks_begun;
};

/* "found FOUND, expected EXPECTED" of a leg; always -EINVAL. */
extern int
create_refuse (const struct creation *creation, const struct new_leg *leg,
               const struct format_error *error);

/* Nobody has started the array since it was made. */
extern bool create_never_started (const struct superblock *superblock);

/* Look for superblocks of all versions: fills has_magic and superblock.  One
 * that is damaged or refused is an error, but for force.  0 or -errno, with a
 * line.
 */
extern int create_probe (const struct creation *creation, struct new_leg *leg);

/* 0 if the leg carries nothing that is known, or -errno, with a line. */
extern int create_check_signature (const struct creation *creation,
                                   const struct new_leg *leg);

/* ---- create_file.c: the bitmap in a file ---- */

extern bool create_has_file (const struct creation *creation);
/* The path that was given makes sense, with the legs that were. */
extern int create_check_path (const struct creation *creation);
/* All is planned: may the file be made?  0 or -errno, with a line. */
extern int create_check_file (struct creation *creation);
/* Make it.  0 or -errno, with a line. */
extern int
create_make_file (struct creation *creation, const uint8_t set_uuid[16]);
/* The array will not be: what was made of it goes. */
extern void create_remove_file (struct creation *creation);
/* The note that there is a file, or nothing. */
extern void
create_encode_note (const struct creation *creation,
                    const struct superblock *superblock, uint8_t *block);

/* ---- create_write.c ---- */

/* Events of the superblocks, and those of the bitmap as well: with fewer the
 * kernel would not believe it.
 */
extern uint64_t create_first_events (const struct creation *creation);
/* The header of a new bitmap, with that chunk size. */
extern void
create_bitmap_header (const struct creation *creation,
                      const uint8_t set_uuid[16], uint32_t chunksize,
                      struct bitmap_superblock *header);
/* Everything has been checked: write it.  0 or -errno, with a line. */
extern int create_write (struct creation *creation);

#endif /* MDBITMAP_ARRAY_CREATE_H */
