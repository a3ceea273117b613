/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A note on each leg that the array's bitmap is in a file, and in which one.
 *
 * md records nothing: a superblock with its bitmap in a file says the same as
 * one without a bitmap, and who forgets the file starts without.  The note
 * lies where md has reserved room for the superblock and uses none of it, so
 * that neither mdadm nor the kernel sees it or changes it:
 *   1.0, 1.1, 1.2  the second half of the superblock's 4096 bytes; with all the
 *                  devices that it has room for it ends at 1024
 *   0.90           the last 4096 of the 64 KiB that belong to the superblock;
 *                  an internal bitmap may reach that far, but then there is
 *                  no file
 * mdadm --zero-superblock wipes it, or the superblock without which it means
 * nothing.  It is for people: nothing rests on it.
 */

#ifndef MDBITMAP_BITMAP_NOTE_H
#define MDBITMAP_BITMAP_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"
#include "format/superblock.h"

#define BITMAP_NOTE_BYTES 2048
#define BITMAP_NOTE_PATH  1920 /* bytes, with the 0 at the end */

struct bitmap_note {
  uint8_t set_uuid[16];
  uint64_t events;             /* of the array, when it was written */
  char path[BITMAP_NOTE_PATH]; /* "": it was too long */
};

/* Where it is, in sectors from the start of the leg. */
extern uint64_t bitmap_note_sector (const struct superblock *superblock);

/* There is one, or was: it may be damaged. */
extern bool bitmap_note_exists (const uint8_t block[BITMAP_NOTE_BYTES]);
/* False: there is none, or it is damaged.  A path that would upset a terminal
 * is left out.
 */
extern bool bitmap_note_decode (const uint8_t block[BITMAP_NOTE_BYTES],
                                struct bitmap_note *note);
extern void bitmap_note_encode (const struct bitmap_note *note,
                                uint8_t block[BITMAP_NOTE_BYTES]);

#endif /* MDBITMAP_BITMAP_NOTE_H */
