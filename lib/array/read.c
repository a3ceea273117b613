/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Reading: which leg may serve it, and what if it cannot.
 *
 *   1. A leg that is not in sync serves nothing.
 *   2. Where a chunk needs resync, all reads go to the leg that resync copies
 *      from, so that they see one version.  If it cannot be read there, the
 *      source changes for that whole chunk, once, and is remembered.
 *   3. What overlaps a write in flight is read from one fixed leg.
 *   4. Otherwise from the leg with the fewest reads under way, write-mostly
 *      ones last; a write that comes later waits for such a read.
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

struct leg *
array_chunk_source (struct array *array, uint64_t chunk)
{
  for (unsigned i = 0; i < array->noverrides; ++i)
    if (array->overrides[i].chunk == chunk
        && array->overrides[i].leg->state == LEG_IN_SYNC)
      return array->overrides[i].leg;
  return array_source (array);
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
             || array->copying_from != array_chunk_source (array, chunk))) {
    rt_cond_wait (&array->copied_cond, &array->lock);
    waited = true;
  }
  return waited;
}

bool
array_change_source (struct array *array, uint64_t chunk,
                     struct leg *unreadable)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n;

  (void)wait_for_copy (array, chunk, unreadable);
  n = array_working_legs (array, legs);
  if (array_chunk_source (array, chunk) != unreadable)
    return true; /* somebody else has changed it */
  for (unsigned i = 0; i < array->noverrides; ++i)
    if (array->overrides[i].chunk == chunk)
      return false; /* once */
  if (array->noverrides == SOURCE_OVERRIDES)
    return false;
  for (unsigned i = 0; i < n; ++i) {
    if (legs[i] == unreadable)
      continue;
    array->overrides[array->noverrides].chunk = chunk;
    array->overrides[array->noverrides++].leg = legs[i];
    array->source_changes++;
    log_notice (array->log,
                "leg %s: slot %u: cannot be read in chunk %ju, which is to "
                "be resynced; leg %s is its source from now on",
                unreadable->name, unreadable->slot, (uintmax_t)chunk,
                legs[i]->name);
    return true;
  }
  return false;
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

static bool
better (const struct leg *a, const struct leg *b, uint64_t offset)
{
  if (a->write_mostly != b->write_mostly)
    return b->write_mostly;
  if (a->reads != b->reads)
    return a->reads < b->reads;
  return a->read_next == offset && b->read_next != offset;
}

struct choice {
  struct leg *leg; /* NULL: nobody can serve it */
  bool needed;     /* it is the source of a chunk that needs resync */
  bool shared;     /* any leg might have served it */
};

/* tried: bit n says that leg number n failed to read it. */
static struct choice
choose (struct array *array, uint64_t offset, uint64_t length, bool mine,
        unsigned tried)
{
  struct choice choice = { NULL, false, false };
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs);
  enum range_overlap overlap = RANGE_FREE;

  if (!mine)
    overlap = ranges_overlap (&array->ranges, offset, length);
  if (overlap == RANGE_DEAD)
    return choice;
  if (bitmap_range_needed (array->bitmap, offset, length)) {
    choice.needed = true;
    choice.leg =
        array_chunk_source (array, offset / bitmap_chunk_bytes (array->bitmap));
    return choice;
  }
  choice.shared = !mine && overlap == RANGE_FREE;
  for (unsigned i = 0; i < n; ++i) {
    if (tried >> legs[i]->number & 1)
      continue;
    if (!choice.leg
        || (overlap == RANGE_FREE && better (legs[i], choice.leg, offset))
        || (choice.leg->write_mostly && !legs[i]->write_mostly))
      choice.leg = legs[i];
  }
  return choice;
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

/* May what was read of the leg be believed?  Not if the leg has failed while
 * it was being read: it may have lost what its cache held, and another leg
 * has taken writes without it.  Nor if the source of unequal chunks has
 * changed: others may have seen the new one already.
 */
static bool
still_good (const struct array *array, struct choice choice, uint64_t changes)
{
  return choice.leg->state == LEG_IN_SYNC
         && (!choice.needed || array->source_changes == changes);
}

uint64_t
array_reads_as_of (const struct array *array)
{
  return 1 + array->failures + array->source_changes;
}

/* One try; the lock is released for the I/O.  -ESTALE: try again. */
static int
read_leg (struct array *array, struct choice choice, struct buffer *buffer,
          uint64_t offset, uint64_t length, bool mine)
{
  struct io_batch *batch = io_batch_new (1);
  const uint64_t changes = array->source_changes;
  struct leg *leg = choice.leg;
  struct range range;
  struct io *io;
  int err;

  if (!batch)
    return -ENOMEM;
  if (choice.shared)
    range_share (&array->ranges, offset, length, &range);
  leg->reads++;
  leg->read_next = offset + length;
  io = io_batch_add (batch, leg->device, IO_READ, 0, leg->data_offset + offset,
                     length, buffer, 0);
  array_run_batch (array, batch);
  err = io->result;
  io_batch_unref (batch);
  leg->reads--;
  if (choice.shared)
    range_unshare (&array->ranges, &range);
  if (err == 0 && mine)
    array_wait_for_flush (array); /* it will be written */
  return err == 0 && !still_good (array, choice, changes) ? -ESTALE : err;
}

/* The leg could not be read: what now?  0: try again. */
static int
after_error (struct array *array, struct choice choice, uint64_t offset,
             uint64_t length, int err)
{
  uint64_t chunk = offset / bitmap_chunk_bytes (array->bitmap);

  if (err == -ENOMEM)
    return err;
  if (err == -ETIMEDOUT) {
    if (!leg_fail (array, choice.leg, "reading", err))
      return -EIO;
    return array_settle (array);
  }
  count_error (array, choice.leg, offset, length, err);
  if (choice.needed && !array_change_source (array, chunk, choice.leg))
    return -EIO;
  return 0;
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
array_read_blocks (struct array *array, uint64_t offset, uint64_t length,
                   bool mine, struct buffer **bufferp)
{
  unsigned tried = 0;
  int err;

  for (;;) {
    struct choice choice;
    struct buffer *buffer;

    if (wait_for_others (array, offset, length, mine)
        && spans_needed (array, offset, length))
      return -EAGAIN;
    choice = choose (array, offset, length, mine, tried);
    /* A new one for each try: a read that was given up still owns the last,
     * and may write to it at any time.
     */
    buffer = choice.leg ? buffer_new (length) : NULL;
    if (!buffer)
      return choice.leg ? -ENOMEM : -EIO;
    err = read_leg (array, choice, buffer, offset, length, mine);
    if (err == 0) {
      *bufferp = buffer;
      return 0;
    }
    buffer_unref (buffer);
    if (err == -ESTALE)
      err = 0;
    else {
      tried |= 1u << choice.leg->number;
      err = after_error (array, choice, offset, length, err);
    }
    if (err == 0 && spans_needed (array, offset, length))
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
    uint64_t end = round_up (offset + piece, block);
    struct buffer *buffer;

    err = array_read_blocks (array, start, end - start, false, &buffer);
    if (err == -EAGAIN) {
      err = 0;
      continue;
    }
    if (err != 0)
      break;
    rt_mutex_unlock (&array->lock);
    memcpy (p, buffer->data + (offset - start), piece);
    buffer_unref (buffer);
    rt_mutex_lock (&array->lock);
    p += piece;
    offset += piece;
    count -= (uint32_t)piece;
  }
  rt_mutex_unlock (&array->lock);
  return err;
}
