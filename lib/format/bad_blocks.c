/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The bad-block log.
 *
 * Pure: no I/O, no allocation, no state.  In memory a list of ranges of the
 * array, sorted and disjoint; on the leg a table of entries in any order,
 * which may repeat each other.  What always holds:
 *  1. Bringing the log up never changes an entry into something that a torn
 *     write could make list less than the list: each piece that must stay
 *     listed has a place in the table whose entry covers it before and after.
 *     Whichever of its sectors are new, that place does.
 *  2. Before and after, no place below such a one is all ones, which would end
 *     the list there.
 *  3. No entry of length 0 is ever written: md refuses a leg for it.
 */

#include <config.h>

#include <assert.h>
#include <limits.h>
#include <string.h>

#include "base/bytes.h"
#include "format/bad_blocks.h"

#define ENTRY_BYTES 8
#define ENTRY_END   UINT64_MAX
#define LENGTH_BITS 10
#define LENGTH_MASK ((1u << LENGTH_BITS) - 1)
#define NO_PLACE    UINT_MAX

static_assert (BAD_BLOCKS_MAX *ENTRY_BYTES == BAD_BLOCKS_LOG_BYTES,
               "a list as long as the log");

static uint64_t
end_of (const struct bad_range *range)
{
  return range->start + range->length;
}

/* ---- the list ---- */

/* Put a range where it belongs, and merge what it touches or overlaps.  There
 * is room for one more.
 */
static void
add (struct bad_blocks *b, uint64_t start, uint64_t end)
{
  unsigned from = 0, to;

  while (from < b->n && end_of (&b->ranges[from]) < start)
    ++from;
  for (to = from; to < b->n && b->ranges[to].start <= end; ++to) {
    start = min_u64 (start, b->ranges[to].start);
    end = max_u64 (end, end_of (&b->ranges[to]));
  }
  memmove (&b->ranges[from + 1], &b->ranges[to],
           (b->n - to) * sizeof b->ranges[0]);
  b->ranges[from] = (struct bad_range){ start, end - start };
  b->n = b->n - (to - from) + 1;
}

uint64_t
bad_blocks_first (const struct bad_blocks *bad_blocks, uint64_t start,
                  uint64_t length)
{
  for (unsigned i = 0; i < bad_blocks->n; ++i) {
    const struct bad_range *range = &bad_blocks->ranges[i];

    if (end_of (range) <= start)
      continue;
    if (length == 0 || (range->start > start && range->start - start >= length))
      break;
    return max_u64 (range->start, start);
  }
  return UINT64_MAX;
}

bool
bad_blocks_remove (struct bad_blocks *bad_blocks, uint64_t start,
                   uint64_t length)
{
  const uint64_t end = start + length;
  bool removed = false;
  unsigned to = 0;

  for (unsigned i = 0; i < bad_blocks->n; ++i) {
    struct bad_range range = bad_blocks->ranges[i];
    const uint64_t range_end = end_of (&range);

    if (range_end <= start || range.start >= end || length == 0) {
      bad_blocks->ranges[to++] = range;
      continue;
    }
    if (range.start < start && range_end > end) {
      /* In two.  It is the only range that is touched. */
      if (bad_blocks->n == BAD_BLOCKS_MAX)
        return false;
      memmove (&bad_blocks->ranges[i + 2], &bad_blocks->ranges[i + 1],
               (bad_blocks->n - i - 1) * sizeof range);
      bad_blocks->ranges[i].length = start - range.start;
      bad_blocks->ranges[i + 1] = (struct bad_range){ end, range_end - end };
      bad_blocks->n++;
      return true;
    }
    removed = true;
    if (range.start < start)
      bad_blocks->ranges[to++] =
          (struct bad_range){ range.start, start - range.start };
    if (range_end > end)
      bad_blocks->ranges[to++] = (struct bad_range){ end, range_end - end };
  }
  bad_blocks->n = to;
  return removed;
}

/* ---- the log ---- */

/* In units from the start of the leg. */
static struct bad_range
entry_range (const uint8_t *log, unsigned place)
{
  const uint64_t entry = get_le64 (log + place * ENTRY_BYTES);

  return (struct bad_range){ entry >> LENGTH_BITS, entry & LENGTH_MASK };
}

static uint64_t
range_entry (const struct bad_range *range)
{
  assert (range->length > 0 && range->length <= LENGTH_MASK);
  return range->start << LENGTH_BITS | range->length;
}

static unsigned
count_entries (const uint8_t *log, uint32_t bytes)
{
  unsigned n = 0;

  assert (bytes <= BAD_BLOCKS_LOG_BYTES);
  while (n < bytes / ENTRY_BYTES
         && get_le64 (log + n * ENTRY_BYTES) != ENTRY_END)
    ++n;
  return n;
}

int
bad_blocks_decode (const uint8_t *log, uint32_t bytes, unsigned shift,
                   uint64_t data_offset, uint64_t size,
                   struct bad_blocks *bad_blocks, struct format_error *error)
{
  const unsigned n = count_entries (log, bytes);

  if (shift > BAD_BLOCKS_SHIFT_MAX)
    return format_refuse (error, "bblog_shift", "examine the leg with mdadm",
                          "at most 9", "%u", shift);
  bad_blocks->n = 0;
  for (unsigned i = 0; i < n; ++i) {
    const struct bad_range range = entry_range (log, i);
    const uint64_t start = max_u64 (range.start << shift, data_offset);
    const uint64_t end = min_u64 (end_of (&range) << shift, data_offset + size);

    if (start < end)
      add (bad_blocks, start - data_offset, end - data_offset);
  }
  return 0;
}

/* ---- bringing the log up ---- */

/* What a place of the table is needed for in this step: the pieces of the list
 * that its entry covers, of which it keeps everything from the first to the
 * last.  In units.
 */
struct need {
  uint64_t start, end;
  uint16_t pieces;
};

struct step {
  const uint8_t *log;
  unsigned n;        /* entries of the log */
  unsigned capacity; /* places that may be used */
  unsigned shift;
  uint64_t data_offset;
  const struct bad_blocks *bad_blocks;
  struct need needs[BAD_BLOCKS_MAX];
  uint64_t entries[BAD_BLOCKS_MAX]; /* the new ones */
};

/* Walks the pieces: the list, in units, cut where one entry of the log does
 * not cover all of a range.
 */
struct walk {
  unsigned range;
  uint64_t at; /* so far */
};

/* Range *i of the list, in units, with all that follows it without a gap: in
 * units, ranges may touch.  *i becomes the last of these.
 */
static struct bad_range
list_range (const struct step *step, unsigned *i)
{
  const struct bad_range *ranges = step->bad_blocks->ranges;
  const uint64_t unit = (uint64_t)1 << step->shift;
  const uint64_t start = (ranges[*i].start + step->data_offset) >> step->shift;
  uint64_t end;

  for (;;) {
    end = div_up (end_of (&ranges[*i]) + step->data_offset, unit);
    if (*i + 1 == step->bad_blocks->n
        || (ranges[*i + 1].start + step->data_offset) >> step->shift > end)
      return (struct bad_range){ start, end - start };
    ++*i;
  }
}

/* The entry that covers at and most of what follows up to end; of these the
 * shortest, which is the one that a piece has been moved to; the first of
 * equal ones, so that the table gets shorter.
 */
static unsigned
best_place (const struct step *step, uint64_t at, uint64_t end)
{
  unsigned best = NO_PLACE;
  uint64_t best_end = 0, best_length = 0;

  for (unsigned i = 0; i < step->n; ++i) {
    const struct bad_range entry = entry_range (step->log, i);
    const uint64_t to = min_u64 (end_of (&entry), end);

    if (entry.start > at || to <= at)
      continue;
    if (best == NO_PLACE || to > best_end
        || (to == best_end && entry.length < best_length)) {
      best = i;
      best_end = to;
      best_length = entry.length;
    }
  }
  return best;
}

/* The next piece and its place; false at the end. */
static bool
next_piece (const struct step *step, struct walk *walk, struct bad_range *piece,
            unsigned *place)
{
  while (walk->range < step->bad_blocks->n) {
    unsigned last = walk->range;
    const struct bad_range range = list_range (step, &last);
    const uint64_t at = max_u64 (range.start, walk->at);
    struct bad_range entry;

    if (at >= end_of (&range)) {
      walk->range = last + 1;
      continue;
    }
    *place = best_place (step, at, end_of (&range));
    if (*place == NO_PLACE) {
      walk->at = at + 1; /* listed nowhere: not ours to add */
      continue;
    }
    entry = entry_range (step->log, *place);
    walk->at = min_u64 (end_of (&entry), end_of (&range));
    *piece = (struct bad_range){ at, walk->at - at };
    return true;
  }
  return false;
}

static void
find_needs (struct step *step)
{
  struct walk walk = { 0 };
  struct bad_range piece;
  unsigned place;

  memset (step->needs, 0, sizeof step->needs);
  while (next_piece (step, &walk, &piece, &place)) {
    struct need *need = &step->needs[place];

    if (need->pieces == 0)
      need->start = piece.start;
    need->end = end_of (&piece);
    need->pieces++;
  }
}

/* The next place from *place on that nothing needs. */
static bool
next_free (const struct step *step, unsigned *place)
{
  while (*place < step->capacity && step->needs[*place].pieces > 0)
    ++*place;
  return *place < step->capacity;
}

/* Each place keeps what it is needed for.  A place with several pieces keeps
 * what lies between them as well, for this step; all but the first of them get
 * places of their own, as long as there are any.
 */
static void
place_pieces (struct step *step)
{
  struct walk walk = { 0 };
  struct bad_range piece;
  unsigned place, free_place = 0;

  for (unsigned i = 0; i < step->capacity; ++i) {
    const struct need *need = &step->needs[i];
    const struct bad_range range = { need->start, need->end - need->start };

    step->entries[i] = need->pieces > 0 ? range_entry (&range) : ENTRY_END;
  }
  while (next_piece (step, &walk, &piece, &place))
    if (piece.start != step->needs[place].start) {
      if (!next_free (step, &free_place))
        return;
      step->entries[free_place++] = range_entry (&piece);
    }
}

/* No hole below the last place that is needed: what is free there repeats the
 * entries of the highest places, which are not needed for long then.
 */
static void
fill_holes (struct step *step)
{
  unsigned last = step->capacity, from;

  while (last > 0 && step->entries[last - 1] == ENTRY_END)
    --last;
  from = last;
  for (unsigned i = 0; i < last; ++i) {
    if (step->entries[i] != ENTRY_END)
      continue;
    do
      --from;
    while (from > i && step->entries[from] == ENTRY_END);
    if (from <= i)
      from = last - 1;
    step->entries[i] = step->entries[from];
  }
}

/* Nothing behind the end of the log that an entry in its place would make part
 * of it.
 */
static bool
ends_well (const uint8_t *log, unsigned n, unsigned places)
{
  for (unsigned i = n; i < places; ++i)
    if (get_le64 (log + i * ENTRY_BYTES) != ENTRY_END)
      return false;
  return true;
}

bool
bad_blocks_update_log (uint8_t *log, uint32_t bytes, unsigned shift,
                       uint64_t data_offset,
                       const struct bad_blocks *bad_blocks)
{
  const unsigned places = bytes / ENTRY_BYTES;
  const unsigned n = count_entries (log, bytes);
  struct step step = {
    .log = log,
    .n = n,
    .capacity = ends_well (log, n, places) ? places : n,
    .shift = shift,
    .data_offset = data_offset,
    .bad_blocks = bad_blocks,
  };
  bool changed = false;

  assert (shift <= BAD_BLOCKS_SHIFT_MAX);
  find_needs (&step);
  place_pieces (&step);
  fill_holes (&step);
  for (unsigned i = 0; i < places; ++i) {
    const uint64_t entry = i < step.capacity ? step.entries[i] : ENTRY_END;

    if (get_le64 (log + i * ENTRY_BYTES) == entry)
      continue;
    put_le64 (log + i * ENTRY_BYTES, entry);
    changed = true;
  }
  return changed;
}
