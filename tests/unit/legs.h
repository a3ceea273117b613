/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Legs for tests of lib/array: image files with whatever metadata a test
 * wants, and a tap on each leg's device through which all of its operations
 * pass, where they are counted, made to fail, or held.
 *
 * A test program is linked with -Wl,--wrap=aio_open, so that the tap is there
 * from the first read on.  The tap does the operations itself, on the file;
 * libaio has tests of its own.
 *
 *   legs_make (2, 0, 0);               two clean legs, in images[]
 *   images[1].superblock.events = 39;  what shall be different
 *   legs_store ();
 *   array = legs_open ();              array_open and array_start
 */

#ifndef MDBITMAP_TEST_LEGS_H
#define MDBITMAP_TEST_LEGS_H

#include <check.h>

#include "array/internal.h"
#include "base/bytes.h"
#include "format/bitmap_superblock.h"
#include "format/superblock.h"

#define LEGS        3 /* enough for most tests */
#define LEGS_MAX    ARRAY_MAX_LEGS
#define LEGS_SIZE   (8 * MiB) /* of an array, if nothing else is said */
#define LEGS_CHUNK  65536
#define LEGS_EVENTS 40
#define LEGS_BITS   (32 * KiB) /* of bitmap, header included, or less of it */

#define BLOCK 4096

/* ---- images ---- */

/* The metadata of a leg. */
struct image {
  struct superblock superblock;
  struct bitmap_superblock bitmap;
  uint8_t bits[LEGS_BITS]; /* from the start of the bitmap */
};

extern struct image images[LEGS_MAX];

/* What legs_open asks for: all legs of legs_make, and nothing special. */
extern struct array_options legs_options;
/* What a leg's device says its logical block is; 0: the truth. */
extern uint32_t legs_logical_block[LEGS_MAX];

/* New files: n legs, in sync and clean.  0: LEGS_SIZE, LEGS_CHUNK.  The image
 * of a leg is changed before legs_store; nothing is tapped, nothing logged.
 */
extern void legs_make (unsigned n, uint64_t size, uint32_t chunk);
/* The same in any version, with a bitmap or without; legs_make is 1.2 with. */
extern void legs_make_version (enum superblock_version version, bool bitmap,
                               unsigned n, uint64_t size, uint32_t chunk);
/* What all tables of images say: slots of the array, and a leg's role. */
extern void legs_set_raid_disks (unsigned n);
extern void legs_set_role (unsigned leg, uint16_t role);
extern void leg_set_events (unsigned leg, uint64_t events); /* bitmap's too */
/* The leg's bad-block log: entries as they are on disk, the first n of it;
 * all ones behind them.  It sets the feature in the image.
 */
extern void leg_set_bad_log (unsigned leg, const uint64_t *entries, unsigned n);
extern void leg_get_bad_log (unsigned leg, uint64_t entries[512]);
/* Sector of the leg at which the array's data begins. */
extern uint64_t legs_data_sector (void);
extern void legs_store (void);
/* images, from the files. */
extern void legs_load (void);
extern void leg_load (unsigned leg, struct image *image);
extern const char *leg_path (unsigned leg);

extern void image_set_bit (struct image *image, uint64_t chunk);
extern bool image_bit (const struct image *image, uint64_t chunk);

/* Fill a leg's block at offset in the array with the byte, or look: the byte
 * that it is full of, or n bytes of any contents.
 */
extern void leg_set_data (unsigned leg, uint64_t offset, uint8_t byte);
extern uint8_t leg_data (unsigned leg, uint64_t offset);
extern void leg_get_data (unsigned leg, uint64_t offset, void *data, size_t n);

/* A number that changes with any byte of the files. */
extern uint64_t legs_hash (void);
extern uint64_t leg_hash (unsigned leg);
/* All bytes of a leg; free it.  And put n of them back. */
extern uint8_t *leg_get_all (unsigned leg, size_t *n);
extern void leg_put (unsigned leg, uint64_t offset, const void *data, size_t n);

/* ---- arrays ---- */

/* array_open, which must have written nothing and asked for no write. */
extern int legs_try_open (struct array **array);
/* The same, it must succeed; and array_start. */
extern struct array *legs_open (void);
/* legs_open and array_activate. */
extern struct array *legs_activate (void);
/* As if killed: without array_stop's writes. */
extern void legs_kill (struct array *array);
extern void legs_close (struct array *array); /* array_stop, array_close */

/* A BLOCK of this byte. */
extern int block_write (struct array *array, uint8_t byte, uint64_t offset,
                        unsigned flags);
/* 0 and *byte, or -errno; all bytes must be the same. */
extern int block_read (struct array *array, uint8_t *byte, uint64_t offset);

/* legs_store; then array_open is refused with this line, and nothing has been
 * written.
 */
extern void assert_refused (const char *why);
/* legs_store; then it opens with the legs of the mask in sync, by their place
 * in legs_options.  And with array_close.
 */
extern struct array *assert_opens (unsigned mask);
extern void assert_opens_and_close (unsigned mask);
extern uint64_t needed (struct array *array); /* chunks */
/* fate and why of a leg as it was given. */
extern void assert_fate (struct array *array, unsigned leg,
                         enum array_leg_fate fate, const char *why);

extern unsigned in_sync (struct array *array);
extern bool leg_in_sync (struct array *array, unsigned leg);

/* One pass of the clear thread, now. */
extern int clear_pass (struct array *array);

/* Where the arrays' lines go. */
extern const struct log legs_log;
/* Has a line with this text been logged since legs_make? */
extern bool logged (const char *text);
extern unsigned logged_lines (void); /* how many there are */
/* The first line that begins like that and has that text, copied to line; NULL
 * if there is none.
 */
extern const char *
logged_line (const char *start, const char *text, char *line, size_t size);

/* ---- taps ---- */

enum op {
  OP_READ_SUPERBLOCK = 1,
  OP_READ_BITMAP = 2,
  OP_READ_DATA = 4,
  OP_WRITE_SUPERBLOCK = 8,
  OP_WRITE_BITMAP = 16,
  OP_WRITE_DATA = 32, /* and zeroes */
  OP_FLUSH = 64,
  OP_READ_BAD_LOG = 128,
  OP_WRITE_BAD_LOG = 256,
  OP_READ_OTHER = 512, /* where another version has its superblock */
  OP_WRITE_OTHER = 1024,
};

#define OP_WRITES                                                           \
  (OP_WRITE_SUPERBLOCK | OP_WRITE_BITMAP | OP_WRITE_DATA | OP_WRITE_BAD_LOG \
   | OP_WRITE_OTHER)
#define OP_READS                                                        \
  (OP_READ_SUPERBLOCK | OP_READ_BITMAP | OP_READ_DATA | OP_READ_BAD_LOG \
   | OP_READ_OTHER)

enum verdict {
  TAP_PASS,
  TAP_FAIL,      /* -EIO, and nothing has happened */
  TAP_NO_MEMORY, /* -ENOMEM, and nothing has happened */
  TAP_TEAR,      /* -EIO, and the first sector is written */
  TAP_HOLD,      /* until tap_release: the leg's time-out passes */
};

/* These operations of the leg end with -EIO from now on, or are held; 0: none
 * any more.
 */
extern void tap_fail (unsigned leg, unsigned ops);
extern void tap_hold (unsigned leg, unsigned ops);
/* Do what was held, and hold nothing more. */
extern void tap_release (unsigned leg);
/* Operations of the leg since legs_make or tap_reset. */
extern unsigned tap_count (unsigned leg, unsigned ops);
extern void tap_reset (void);
/* Called for each operation before it begins, in the thread that submits it,
 * which holds no lock.  Anything but TAP_PASS decides.
 */
extern void tap_hook (enum verdict (*hook) (unsigned leg, enum op op,
                                            const struct io *io));

/* ---- main ---- */

/* Make the folder for the legs, run the tests, remove it; for main. */
extern int legs_run (Suite *suite);

#endif /* MDBITMAP_TEST_LEGS_H */
