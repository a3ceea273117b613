/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Reading: which leg may serve it, and what if it cannot.
 *
 *   1. A leg that is not in sync serves nothing, and no leg serves what is bad
 *      there (bad.c): a read is cut where that begins, or ends.
 *   2. Where a chunk needs resync, all reads of a block go to the leg that
 *      resync copies it from, so that they see one version.  If it cannot be
 *      read there, the source changes for that whole chunk, once, and is
 *      remembered.
 *   3. What overlaps a write in flight is read from one fixed leg for each
 *      block, the first that is good there.
 *   4. Otherwise from the leg with the fewest reads under way, write-mostly
 *      ones last; a write that comes later waits for such a read.
 *
 * The leg of 2 and 3 is a matter of the block, not of how much was asked for.
 * When it becomes another one, since the chunk is equal or the block good
 * again, reads that are under way there begin again.
 *
 * A read error does not fail the leg, since its other sectors are as good as
 * ever: another leg answers.  A leg that does not answer at all has failed.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/internal.h"

/* ---- the source of unequal chunks ---- */

static bool
good_at (const struct array *array, const struct leg *leg, uint64_t offset)
{
  const uint32_t block = array->logical_block;

  return leg_good_length (array, leg, round_down (offset, block), block) > 0;
}

/* The lowest slot of the least reluctant that are good there; not unfit. */
static struct leg *
best_source (struct array *array, uint64_t offset, const struct leg *unfit)
{
  struct leg *legs[ARRAY_MAX_LEGS], *best = NULL;
  unsigned n = array_working_legs (array, legs);

  for (unsigned i = 0; i < n; ++i)
    if (legs[i] != unfit && good_at (array, legs[i], offset)
        && (!best || leg_reluctance (legs[i]) < leg_reluctance (best)))
      best = legs[i];
  return best;
}

static struct leg *
override_of (const struct array *array, uint64_t chunk)
{
  for (unsigned i = 0; i < array->noverrides; ++i)
    if (array->overrides[i].chunk == chunk)
      return array->overrides[i].leg;
  return NULL;
}

struct leg *
array_source_at (struct array *array, uint64_t offset)
{
  struct leg *leg =
      override_of (array, offset / bitmap_chunk_bytes (array->bitmap));

  if (leg && leg->state == LEG_IN_SYNC && good_at (array, leg, offset))
    return leg;
  return best_source (array, offset, NULL);
}

bool
array_source_is_special (const struct array *array, uint64_t chunk)
{
  return array->has_bad || override_of (array, chunk) != NULL;
}

/* What resync has read of the source is about to be on all legs: whoever went
 * to another leg now would see that leg's bytes first and these later.  unfit:
 * a leg that will not do, or NULL.  True if it waited.
 */
static bool
wait_for_copy (struct array *array, uint64_t chunk, const struct leg *unfit)
{
  bool waited = false;

  while (array->copying_from && array->resync_chunk == chunk
         && (array->copying_from == unfit
             || array->copying_from
                    != array_source_at (array, array->copying_at))) {
    rt_cond_wait (&array->copied_cond, &array->lock);
    waited = true;
  }
  return waited;
}

bool
array_change_source (struct array *array, uint64_t offset,
                     struct leg *unreadable)
{
  const uint64_t chunk = offset / bitmap_chunk_bytes (array->bitmap);
  struct leg *other;

  while (wait_for_copy (array, chunk, unreadable)
         || ranges_wait_copy (&array->ranges, &array->lock, offset))
    ;
  if (!bitmap_range_needed (array->bitmap, offset, 1)
      || array_source_at (array, offset) != unreadable)
    return true; /* it is equal now, or somebody else has changed it */
  if (override_of (array, chunk))
    return false; /* once */
  other = best_source (array, offset, unreadable);
  if (!other || array->noverrides == SOURCE_OVERRIDES)
    return false;
  array->overrides[array->noverrides].chunk = chunk;
  array->overrides[array->noverrides++].leg = other;
  array->source_changes++;
  log_notice (array->log,
              "leg %s: slot %u: cannot be read in chunk %ju, which is to "
              "be resynced; leg %s is its source from now on",
              unreadable->name, unreadable->slot, (uintmax_t)chunk,
              other->name);
  return true;
}

void
array_forget_source (struct array *array, uint64_t chunk)
{
  for (unsigned i = 0; i < array->noverrides; ++i)
    if (array->overrides[i].chunk == chunk) {
      array->overrides[i] = array->overrides[--array->noverrides];
      return;
    }
}

/* ---- choosing a leg ---- */

struct choice {
  /* What was asked for. */
  uint64_t offset, length; /* which is cut to what the leg can serve */
  bool mine;
  unsigned tried; /* bit n: leg number n failed to read it */

  struct leg *leg; /* NULL: nobody can serve it */
  bool needed;     /* it is the source of a chunk that needs resync */
  bool shared;     /* any leg might have served it */
};

/* a, which is good for that many bytes, rather than b? */
static bool
better (const struct leg *a, uint64_t a_good, const struct leg *b,
        uint64_t b_good, uint64_t offset)
{
  if (a->write_mostly != b->write_mostly)
    return b->write_mostly;
  if (a_good != b_good)
    return a_good > b_good;
  if (a->reads != b->reads)
    return a->reads < b->reads;
  return a->read_next == offset && b->read_next != offset;
}

/* Of equal legs.  balance: any of them will do; else the first that is good,
 * and all of it is either good or bad on each.
 */
static void
choose_equal (struct array *array, struct choice *choice, bool balance)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs);
  uint64_t limit = choice->length, length = 0;

  for (unsigned i = 0; i < n; ++i) {
    struct leg *leg = legs[i];
    uint64_t good =
        leg_good_length (array, leg, choice->offset, choice->length);

    if (choice->tried >> leg->number & 1)
      continue;
    if (good == 0) {
      /* Not all of it from a write-mostly one for a bad block. */
      if (!leg->write_mostly)
        limit = min_u64 (
            limit, leg_bad_length (array, leg, choice->offset, choice->length));
      continue;
    }
    if (!choice->leg
        || (balance && better (leg, good, choice->leg, length, choice->offset))
        || (choice->leg->write_mostly && !leg->write_mostly)) {
      choice->leg = leg;
      length = good;
    }
  }
  if (choice->leg)
    choice->length =
        choice->leg->write_mostly ? min_u64 (length, limit) : length;
}

static void
choose (struct array *array, struct choice *choice)
{
  enum range_overlap overlap = RANGE_FREE;
  const uint64_t offset = choice->offset, length = choice->length;

  choice->leg = NULL;
  choice->needed = choice->shared = false;
  if (!choice->mine)
    overlap = ranges_overlap (&array->ranges, offset, length);
  if (overlap == RANGE_DEAD)
    return;
  choice->needed = bitmap_range_needed (array->bitmap, offset, length);
  if (choice->needed || overlap != RANGE_FREE)
    choice->length = array_same_length (array, offset, length);
  if (choice->needed)
    choice->leg = array_source_at (array, offset);
  else {
    choice->shared = !choice->mine && overlap == RANGE_FREE;
    choose_equal (array, choice, overlap == RANGE_FREE);
  }
}

/* Errors come in floods: tell the first, then each time they have doubled. */
static void
count_error (struct array *array, struct leg *leg, uint64_t offset,
             uint64_t length, int err)
{
  leg->read_errors++;
  if (is_power_of_2 (leg->read_errors))
    log_error (array->log,
               "leg %s: slot %u: reading %ju bytes at %ju: %s (%ju read "
               "errors so far); another leg answers if there is one",
               leg->name, leg->slot, (uintmax_t)length, (uintmax_t)offset,
               strerror (-err), (uintmax_t)leg->read_errors);
}

/* Would it go to the same leg now?  Others may have, and may have seen more, or
 * less, of a write that is under way.
 */
static bool
same_choice (struct array *array, const struct choice *choice)
{
  struct choice now = *choice;

  choose (array, &now);
  return now.shared || !now.leg
         || (now.leg == choice->leg && now.length >= choice->length);
}

/* May what was read of the leg be believed?  Not if the leg has failed while
 * it was being read: it may have lost what its cache held, and another leg
 * has taken writes without it.  Nor if blocks are bad again, nor if the source
 * of unequal chunks has changed: others may have seen the new one already.
 */
static bool
still_good (struct array *array, const struct choice *choice, uint64_t changes)
{
  return choice->leg->state == LEG_IN_SYNC
         && leg_good_length (array, choice->leg, choice->offset, choice->length)
                == choice->length
         && (!choice->needed || array->source_changes == changes)
         && (choice->shared || choice->mine || same_choice (array, choice));
}

uint64_t
array_reads_as_of (const struct array *array)
{
  return 1 + array->failures + array->source_changes;
}

/* One try; the lock is released for the I/O.  -ESTALE: try again. */
static int
read_leg (struct array *array, const struct choice *choice,
          struct buffer *buffer)
{
  struct io_batch *batch = array_batch_take (array);
  const uint64_t changes = array->source_changes;
  const uint64_t offset = choice->offset, length = choice->length;
  struct leg *leg = choice->leg;
  struct range range;
  struct io *io;
  int err;

  if (!batch)
    return -ENOMEM;
  if (choice->shared)
    range_share (&array->ranges, offset, length, &range);
  leg->reads++;
  leg->read_next = offset + length;
  io = io_batch_add (batch, leg->device, IO_READ, 0, leg->data_offset + offset,
                     length, buffer, 0);
  array_run_batch (array, batch);
  err = io->result;
  array_batch_give (array, batch);
  leg->reads--;
  if (choice->shared)
    range_unshare (&array->ranges, &range);
  /* It will be written; or it may have been bad, be good only since it was
   * written, and have been lost again with what the leg's cache held.
   */
  if (err == 0 && (choice->mine || leg->bad))
    array_wait_for_flush (array);
  return err == 0 && !still_good (array, choice, changes) ? -ESTALE : err;
}

/* The leg could not be read: what now?  0: try again. */
static int
after_error (struct array *array, const struct choice *choice, int err)
{
  if (err == -ENOMEM)
    return err;
  if (err == -ETIMEDOUT) {
    if (!leg_fail (array, choice->leg, "reading", err))
      return -EIO;
    return array_settle (array);
  }
  count_error (array, choice->leg, choice->offset, choice->length, err);
  if (choice->needed
      && !array_change_source (array, choice->offset, choice->leg))
    return -EIO;
  return 0;
}

/* Nobody can serve it: is that because of bad blocks? */
static void
tell_bad (struct array *array, const struct choice *choice)
{
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];
    uint64_t bad;

    if (leg->state != LEG_IN_SYNC)
      continue;
    bad = leg_bad_length (array, leg, choice->offset, choice->length);
    if (bad == 0)
      continue;
    if (is_power_of_2 (++array->bad_reads))
      log_error (array->log,
                 "leg %s: slot %u: reading %ju bytes at %ju: they are in its "
                 "bad-block log, and no other leg in sync can be read there "
                 "(%ju such reads so far); the error goes to the client, until "
                 "they are written again",
                 leg->name, leg->slot, (uintmax_t)bad,
                 (uintmax_t)choice->offset, (uintmax_t)array->bad_reads);
    return;
  }
}

/* Does a range that needs resync now span chunks, which may have different
 * sources?
 */
static bool
spans_needed (struct array *array, uint64_t offset, uint64_t length)
{
  uint64_t chunk = bitmap_chunk_bytes (array->bitmap);

  return offset / chunk != (offset + length - 1) / chunk
         && bitmap_range_needed (array->bitmap, offset, length);
}

/* Where legs are unequal and the source has failed or changed, the bytes of the
 * former source may be on their way to the others, by resync or as the edge of
 * a write: who read another leg now would see its own bytes first and those
 * later.  True if it waited.
 */
static bool
wait_for_others (struct array *array, uint64_t offset, uint64_t length,
                 bool mine)
{
  uint64_t chunk = offset / bitmap_chunk_bytes (array->bitmap);
  bool waited = wait_for_copy (array, chunk, NULL);

  while (!mine && bitmap_range_needed (array->bitmap, offset, length)
         && ranges_wait_edges (&array->ranges, &array->lock, offset, length,
                               array_reads_as_of (array)))
    waited = true;
  return waited;
}

int
array_read_blocks (struct array *array, uint64_t offset, uint64_t *length,
                   bool mine, struct buffer **bufferp)
{
  struct choice choice = { .offset = offset, .mine = mine };
  int err;

  for (;;) {
    struct buffer *buffer;

    if (wait_for_others (array, offset, *length, mine)
        && spans_needed (array, offset, *length))
      return -EAGAIN;
    choice.length = *length;
    choose (array, &choice);
    if (!choice.leg) {
      tell_bad (array, &choice);
      return -EIO;
    }
    /* A new one for each try: a read that was given up still owns the last,
     * and may write to it at any time.
     */
    buffer = buffer_pool_take (array->buffers, choice.length);
    if (!buffer)
      return -ENOMEM;
    err = read_leg (array, &choice, buffer);
    if (err == 0) {
      *bufferp = buffer;
      *length = choice.length;
      return 0;
    }
    buffer_unref (buffer);
    if (err == -ESTALE)
      err = 0;
    else {
      choice.tried |= 1u << choice.leg->number;
      err = after_error (array, &choice, err);
    }
    if (err == 0 && spans_needed (array, offset, *length))
      err = -EAGAIN;
    if (err != 0)
      return err;
  }
}

/* ---- requests ---- */

/* How much of a request to serve at once.  What needs resync goes chunk by
 * chunk, since each may have a source of its own.
 */
static uint64_t
piece_length (struct array *array, uint64_t offset, uint64_t count)
{
  uint64_t chunk = bitmap_chunk_bytes (array->bitmap);

  count = min_u64 (count, ARRAY_PIECE_BYTES);
  if (bitmap_range_needed (array->bitmap, offset, count))
    count = min_u64 (count, chunk - offset % chunk);
  return count;
}

int
array_read (struct array *array, void *data, uint32_t count, uint64_t offset)
{
  const uint32_t block = array->logical_block;
  uint8_t *p = data;
  int err = 0;

  rt_mutex_lock (&array->lock);
  array->reads++;
  while (count > 0 && err == 0) {
    uint64_t piece = piece_length (array, offset, count);
    uint64_t start = round_down (offset, block);
    uint64_t length = round_up (offset + piece, block) - start;
    struct buffer *buffer;

    err = array_read_blocks (array, start, &length, false, &buffer);
    if (err == -EAGAIN) {
      err = 0;
      continue;
    }
    if (err != 0)
      break;
    piece = min_u64 (piece, start + length - offset);
    rt_mutex_unlock (&array->lock);
    memcpy (p, buffer->data + (offset - start), piece);
    buffer_unref (buffer);
    p += piece;
    offset += piece;
    count -= (uint32_t)piece;
    if (count == 0)
      return 0;
    rt_mutex_lock (&array->lock);
  }
  rt_mutex_unlock (&array->lock);
  return err;
}
