/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A bitmap in a file for tests of lib/array: what device/file.h promises, done
 * in memory, with a tap as legs.h has one for each leg.
 *
 * The file keeps what is durable apart from what is not: a write without FUA
 * is only in a cache until a flush, and bits_crash takes the cache away.
 *
 * A test program is linked with --wrap for aio_open (legs.h) and for all
 * functions of device/file.h that the array calls.
 *
 *   bits_make (2, 0, 0);            legs without a bitmap, and a file
 *   file.header.events = 39;        what shall be different
 *   bits_store ();                  legs and file
 *   array = legs_open ();
 */

#ifndef MDBITMAP_TEST_BITMAP_FILE_H
#define MDBITMAP_TEST_BITMAP_FILE_H

#include "legs.h"

#define FILE_PATH "/where/it is/bitmap"

/* What the tests put in, and bits_load takes out: what is durable. */
struct file_image {
  struct bitmap_superblock header;
  uint8_t bits[LEGS_BITS];     /* from the start of the file */
  uint64_t size;               /* of the file, bytes */
  int open_error, place_error; /* -errno of file_open, file_check_place */
  uint32_t logical_block;      /* of the device that it is written on; 512 */
};

extern struct file_image file;

/* n legs as legs_make_version has them, without a bitmap, and a file with one;
 * legs_options name it.
 */
extern void bits_make_version (enum superblock_version version, unsigned n,
                               uint64_t size, uint32_t chunk);
extern void bits_make (unsigned n, uint64_t size, uint32_t chunk); /* 1.2 */
/* The header from the image into the bits, and legs_store. */
extern void bits_store (void);
/* file.header and file.bits from what is durable; and legs_load. */
extern void bits_look (void);
extern void bits_load (void);
extern void bits_set (uint64_t chunk);
extern bool bits_get (uint64_t chunk);
/* After bits_store: other bytes in the file. */
extern void bits_poke (uint64_t offset, const void *data, size_t n);
/* ... that are only in its cache. */
extern void bits_poke_cache (uint64_t offset, const void *data, size_t n);
extern uint64_t bits_hash (void);

/* Killed: legs_kill, and the file's cache is lost. */
extern void bits_kill (struct array *array);
/* Only what is durable is left. */
extern void bits_crash (void);

/* ---- the tap ---- */

enum file_op {
  FILE_OP_READ = 1,
  FILE_OP_PREPARE = 2,
  FILE_OP_HEADER = 4, /* a write with page 0 in it */
  FILE_OP_PAGES = 8,  /* any other write */
  FILE_OP_FLUSH = 16,
  FILE_OP_CHECK = 32,
};

#define FILE_OP_WRITES (FILE_OP_HEADER | FILE_OP_PAGES)
#define FILE_OP_ALL    63

/* As tap_fail, tap_hold and so on.  When a flush fails, what was not durable is
 * lost; of the page cache it is not asked again: each later one fails.
 */
extern void bits_fail (unsigned ops);
extern void bits_hold (unsigned ops);
extern void bits_release (void);
extern unsigned bits_count (unsigned ops); /* since bits_make, or */
extern void bits_forget_counts (void);
/* io: NULL unless it is a write or a flush. */
extern void
    bits_hook (enum verdict (*hook) (enum file_op op, const struct io *io));

/* ---- arrays ---- */

extern void images_set_dirty (void);
/* legs_try_open and legs_open, which leave the file alone. */
extern int bits_try_open (struct array **array);
extern struct array *bits_open (void);
extern struct array_info info_of (struct array *array);
extern void wait_for_resync (struct array *array);

/* Nothing is written any more after that many writes and flushes, of legs and
 * file together, but the first sector of the file's next write.  Takes the
 * hooks of both, until bits_revive.
 */
extern void bits_die_after (unsigned writes);
extern bool bits_died (void);
extern void bits_revive (struct array *array); /* bits_kill, and all is well */

#endif /* MDBITMAP_TEST_BITMAP_FILE_H */
