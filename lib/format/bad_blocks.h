/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The bad-block log of a leg: ranges that md could not write there, so that
 * what can be read of them is not the array's data.  Up to 512 entries of 8
 * bytes: sector << 10 | sectors, counted from the start of the leg in units
 * of 512 << shift bytes; all ones ends the list.  A count of zero is no entry.
 * They are in any order, and may overlap and repeat each other.
 *
 * We take entries away, one way only: a range that has been written again.  We
 * never make new ones.
 */

#ifndef MDBITMAP_BAD_BLOCKS_H
#define MDBITMAP_BAD_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"

#define BAD_BLOCKS_LOG_BYTES 4096
#define BAD_BLOCKS_MAX       512
#define BAD_BLOCKS_SHIFT_MAX 9 /* then sectors have 63 bits */

/* Sectors of 512 bytes from the start of the array's data. */
struct bad_range {
  uint64_t start, length;
};

/* Sorted by start; no two overlap. */
struct bad_blocks {
  unsigned n;
  struct bad_range ranges[BAD_BLOCKS_MAX];
};

/* log: bytes of it, a multiple of 512 up to BAD_BLOCKS_LOG_BYTES.  data_offset
 * and size: sectors; what lies outside of the array's data is left out.  0, or
 * -EINVAL with *error: the shift.  No entry is refused: there is none that
 * would mean something else than bad sectors, and md takes all but those of
 * length 0.
 */
extern int
bad_blocks_decode (const uint8_t *log, uint32_t bytes, unsigned shift,
                   uint64_t data_offset, uint64_t size,
                   struct bad_blocks *bad_blocks, struct format_error *error);

/* Bring a log up to the list, each entry of which lies within one of the log.
 * A write of the log may be torn at sectors of 512 bytes: whatever mix of old
 * and new remains, it lists all that the list has.  That may take several
 * steps.  True: this was one step, call it again once it is durable.  False:
 * there is nothing to change, be it because an entry would have to be split
 * and there is no place for its parts: then it stays as a whole.
 * What the log has outside of the array's data goes.
 */
extern bool bad_blocks_update_log (uint8_t *log, uint32_t bytes, unsigned shift,
                                   uint64_t data_offset,
                                   const struct bad_blocks *bad_blocks);

/* The first bad sector in [start, start + length); UINT64_MAX if there is
 * none.
 */
extern uint64_t bad_blocks_first (const struct bad_blocks *bad_blocks,
                                  uint64_t start, uint64_t length);

/* [start, start + length) has been written.  True if anything was removed.  If
 * an entry would have to be split and there is no room for one more, it
 * stays.
 */
extern bool bad_blocks_remove (struct bad_blocks *bad_blocks, uint64_t start,
                               uint64_t length);

#endif /* MDBITMAP_BAD_BLOCKS_H */
