/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Fuzzing: the bad-block log.
 *
 * The input: the log's sectors, less one (modulo 8); bblog_shift (modulo 11);
 * data_offset and size, 8 bytes each; what is rewritten, RANGES times a start
 * and a length, 8 and 4 bytes; and the log, continued with ones.  What must
 * hold:
 *   1. nothing outside the log and the list is read or written;
 *   2. the list is sorted, disjoint, inside the array's data, and says of any
 *      sector what the entries say;
 *   3. after a rewrite nothing of it is listed, but where there is no room;
 *      and nothing else has gone;
 *   4. each step of bringing the log up may be torn at sectors: what it lists
 *      has the list in it, and it comes to an end;
 *   5. nothing is listed in the end that was not in the beginning, and no
 *      entry of length 0 is made.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/bad_blocks.h"
#include "fuzz/fuzz.h"

#define RANGES 4
#define TORN   3 /* mixes of a step */
#define PARTS  512

struct leg {
  unsigned shift;
  uint64_t data_offset, size; /* sectors */
  uint32_t bytes;
};

/* The entries of a log, taken apart. */
struct entries {
  unsigned n, shift;
  uint64_t start[BAD_BLOCKS_MAX], length[BAD_BLOCKS_MAX]; /* units */
};

static const struct entries *
entries_of (const struct leg *leg, const uint8_t *log)
{
  static struct entries entries;

  entries.shift = leg->shift;
  for (entries.n = 0; entries.n < leg->bytes / 8; ++entries.n) {
    uint64_t entry = get_le (log + 8 * entries.n, 8);

    if (entry == UINT64_MAX)
      break;
    entries.start[entries.n] = entry >> 10;
    entries.length[entries.n] = entry & 0x3ff;
  }
  return &entries;
}

/* Do they list that sector of the leg? */
static bool
listed (const struct entries *entries, uint64_t sector)
{
  const uint64_t unit = sector >> entries->shift;

  for (unsigned i = 0; i < entries->n; ++i)
    if (unit - entries->start[i] < entries->length[i])
      return true;
  return false;
}

static bool
in_list (const struct bad_blocks *b, uint64_t sector)
{
  return bad_blocks_first (b, sector, 1) == sector;
}

static void
check_list (const struct leg *leg, const struct bad_blocks *b)
{
  REQUIRE (b->n <= BAD_BLOCKS_MAX, "%u ranges", b->n);
  for (unsigned i = 0; i < b->n; ++i) {
    const struct bad_range *r = &b->ranges[i];

    REQUIRE (r->length > 0 && r->start < leg->size
                 && r->length <= leg->size - r->start,
             "range %u is outside", i);
    REQUIRE (
        i == 0 || r->start > b->ranges[i - 1].start + b->ranges[i - 1].length,
        "range %u is not behind the last", i);
  }
}

/* At the edges of all ranges of the list, the log lists what the list has. */
static void
check_superset (const struct leg *leg, const uint8_t *log,
                const struct bad_blocks *b)
{
  const struct entries *entries = entries_of (leg, log);

  for (unsigned i = 0; i < b->n; ++i) {
    const uint64_t first = leg->data_offset + b->ranges[i].start;
    const uint64_t unit = (uint64_t)1 << leg->shift;
    const uint64_t last = first + b->ranges[i].length - 1;
    uint64_t at = first;

    /* Long ranges: not each unit of them. */
    for (unsigned n = 0; at < last && n < 4; ++n, at += unit)
      REQUIRE (listed (entries, at), "range %u is lost", i);
    REQUIRE (listed (entries, last), "the end of range %u is lost", i);
  }
}

static void
check_decoded (const struct leg *leg, const uint8_t *log,
               const struct bad_blocks *b)
{
  check_list (leg, b);
  check_superset (leg, log, b);
  for (unsigned i = 0; i < leg->bytes / 8; ++i) {
    uint64_t entry = get_le (log + 8 * i, 8);
    uint64_t sector = (entry >> 10) << leg->shift;

    if (entry == UINT64_MAX)
      return;
    if ((entry & 0x3ff) > 0 && sector >= leg->data_offset
        && sector - leg->data_offset < leg->size)
      REQUIRE (in_list (b, sector - leg->data_offset), "entry %u", i);
  }
}

static void
rewrite (struct input *input, const struct leg *leg, struct bad_blocks *b)
{
  static struct bad_blocks before;
  uint64_t start = input_u64 (input) % leg->size;
  uint64_t length = input_u32 (input) % (leg->size - start) + 1;
  uint64_t end = start + length;
  bool removed;

  before = *b;
  removed = bad_blocks_remove (b, start, length);
  check_list (leg, b);
  REQUIRE (removed == (memcmp (b, &before, sizeof before) != 0), "%d", removed);
  REQUIRE (before.n == BAD_BLOCKS_MAX
               || bad_blocks_first (b, start, length) == UINT64_MAX,
           "something stays");
  for (unsigned i = 0; i < before.n; ++i) {
    uint64_t first = before.ranges[i].start;
    uint64_t last = first + before.ranges[i].length - 1;

    REQUIRE ((first >= start && first < end) || in_list (b, first),
             "%u has gone", i);
    REQUIRE ((last >= start && last < end) || in_list (b, last), "%u has gone",
             i);
  }
}

static void
bring_up (const struct leg *leg, uint8_t *log, const struct bad_blocks *b)
{
  static uint8_t begun[BAD_BLOCKS_LOG_BYTES], old[BAD_BLOCKS_LOG_BYTES],
      mix[BAD_BLOCKS_LOG_BYTES];
  const struct entries *before;
  unsigned steps = 0;

  memcpy (begun, log, leg->bytes);
  for (;; ++steps) {
    memcpy (old, log, leg->bytes);
    if (!bad_blocks_update_log (log, leg->bytes, leg->shift, leg->data_offset,
                                b))
      break;
    REQUIRE (memcmp (old, log, leg->bytes) != 0, "a step without a change");
    REQUIRE (steps < 4 * BAD_BLOCKS_MAX, "no end");
    check_superset (leg, log, b);
    for (unsigned m = 0; m < TORN; ++m) {
      for (uint32_t at = 0; at < leg->bytes; at += PARTS)
        memcpy (mix + at, ((m * 91 + 37) >> at / PARTS & 1 ? log : old) + at,
                PARTS);
      check_superset (leg, mix, b);
    }
  }
  REQUIRE (memcmp (old, log, leg->bytes) == 0, "changed in the end");
  before = entries_of (leg, begun);
  for (unsigned i = 0; i < leg->bytes / 8; ++i) {
    uint64_t entry = get_le (log + 8 * i, 8);

    if (entry == UINT64_MAX)
      break;
    REQUIRE ((entry & 0x3ff) > 0, "entry %u has length 0", i);
    REQUIRE (listed (before, (entry >> 10) << leg->shift),
             "entry %u was made up", i);
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static struct bad_blocks b;
  struct input input = { data, size }, ranges;
  struct format_error error = { 0 };
  struct leg leg;
  uint8_t *log;
  int err;

  leg.bytes = 512 * (1 + input_u8 (&input) % 8u);
  leg.shift = input_u8 (&input) % 11;
  /* A leg has less than 2^63 bytes, which entries of 54 bits can name. */
  leg.data_offset = input_u64 (&input) >> 12;
  leg.size = (input_u64 (&input) >> 12) + 1;
  ranges = input;
  for (unsigned i = 0; i < RANGES; ++i) {
    (void)input_u64 (&input);
    (void)input_u32 (&input);
  }
  log = malloc (leg.bytes);
  REQUIRE (log != NULL, "out of memory");
  memset (log, 0xff, leg.bytes);
  memcpy (log, input.p, input.n < leg.bytes ? input.n : leg.bytes);
  err = bad_blocks_decode (log, leg.bytes, leg.shift, leg.data_offset, leg.size,
                           &b, &error);
  REQUIRE (err == (leg.shift > 9 ? -EINVAL : 0), "returned %d", err);
  if (err == 0) {
    check_decoded (&leg, log, &b);
    for (unsigned i = 0; i < RANGES; ++i)
      rewrite (&ranges, &leg, &b);
    bring_up (&leg, log, &b);
  }
  else
    REQUIRE (error.field && error.found[0], "no reason");
  free (log);
  return 0;
}

/* ---- the mutator ---- */

/* Entries near each other, which chance would not make. */
size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
  const size_t head = 18 + 12 * RANGES;
  size_t at = head + 8 * (seed >> 8 & 63);

  if ((seed & 3) != 0 || max < at + 8)
    return LLVMFuzzerMutate (data, size, max);
  if (size < at + 8) {
    memset (data + size, 0x01, at + 8 - size);
    size = at + 8;
  }
  put_le (data + at, 8,
          (uint64_t)(seed >> 14 & 0xff) << 10 | (1 + (seed >> 22 & 31)));
  return size;
}
