/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Resync, in a thread of its own, while the array serves.
 *
 * Small chunks are done several at a time (resync_group.c).  What is large, or
 * has a source of its own, or was left over by that, is done here:
 * chunk by chunk, and in a chunk piece by piece under the range lock: read
 * the piece from the source and from all other in-sync legs, and write the
 * source's bytes to those that differ.  Comparing first costs reads and
 * saves writes, and makes the first resync of legs that are mostly zeroes
 * write next to nothing.
 *
 * A chunk whose pieces are all equal no longer needs resync.  Its bit stays
 * until the lazy clear has flushed all legs, so a crash in between repeats
 * the chunk and loses nothing.  A write that leaves legs unequal meanwhile
 * sets resync_again, and the chunk is done again.  While the source's bytes are
 * being written (copying_from) readers that would go elsewhere, since the
 * source has failed or cannot be read, wait.
 *
 * Bad blocks (bad.c): a piece is cut so that it has one source, which is good
 * there; what is bad in it on another leg is not read, that leg is written.
 * What is bad on all legs has nothing that could be copied, and nothing in
 * which they differ, as nobody can read it: it is passed over, and told.
 *
 * A chunk that had such a source of its own becomes an equal one, of which any
 * leg may be read, only while no write is in flight there: a write that is on
 * some legs has been seen on the source by now.
 *
 * Nobody sleeps for the rate with a range held.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/resync.h"

/* After a pass that could not make every chunk equal. */
#define RETRY_SECONDS 30
/* A chunk that is left unequal again and again is left to the next pass. */
#define CHUNK_TRIES 3
/* Small chunks are done several at a time, but at least so often if the rate is
 * limited: many small steps disturb others less than few large ones.
 */
#define PIECES_PER_SECOND 8

/* ---- one piece ---- */

struct piece {
  uint64_t chunk, offset, length;
  struct leg *legs[ARRAY_MAX_LEGS];
  struct buffer *buffers[ARRAY_MAX_LEGS];
  int results[ARRAY_MAX_LEGS];
  unsigned n, source; /* legs; which of them is the source */
  unsigned bad;       /* bit n: legs[n] has bad blocks in the piece */
};

/* Run a batch without the lock, and keep the results.  which: bit n for legs
 * [n].
 */
static int
run (struct array *array, struct piece *piece, enum io_type type,
     unsigned which)
{
  struct io_batch *batch = io_batch_new (piece->n);
  struct io *ios[ARRAY_MAX_LEGS] = { NULL };

  if (!batch)
    return -ENOMEM;
  for (unsigned i = 0; i < piece->n; ++i) {
    if (!(which >> i & 1))
      continue;
    if (type == IO_WRITE)
      piece->legs[i]->written++;
    ios[i] = io_batch_add (
        batch, piece->legs[i]->device, type, 0,
        piece->legs[i]->data_offset + piece->offset, piece->length,
        piece->buffers[type == IO_WRITE ? piece->source : i], 0);
  }
  array_run_batch (array, batch);
  for (unsigned i = 0; i < piece->n; ++i)
    if (ios[i]) {
      piece->results[i] = ios[i]->result;
      if (type == IO_WRITE)
        piece->legs[i]->written++;
    }
  io_batch_unref (batch);
  return 0;
}

/* The source could not be read: -EAGAIN if there is another one now. */
static int
source_unreadable (struct array *array, struct piece *piece, int err)
{
  struct leg *leg = piece->legs[piece->source];

  if (err == -ETIMEDOUT) {
    if (!leg_fail (array, leg, "reading", err) || array_settle (array) != 0)
      return -EIO;
    return -EAGAIN;
  }
  return array_change_source (array, piece->offset, leg) ? -EAGAIN : -EIO;
}

/* Which legs must be written: those that differ, cannot be read, or must not be
 * read.
 */
static unsigned
compare (struct array *array, struct piece *piece)
{
  const uint8_t *source = piece->buffers[piece->source]->data;
  unsigned which = 0;

  for (unsigned i = 0; i < piece->n; ++i) {
    if (i == piece->source || piece->legs[i]->state != LEG_IN_SYNC)
      continue;
    if (piece->results[i] == -ETIMEDOUT)
      (void)leg_fail (array, piece->legs[i], "reading", -ETIMEDOUT);
    else if (piece->results[i] != 0 || (piece->bad >> i & 1)
             || memcmp (piece->buffers[i]->data, source, piece->length) != 0)
      which |= 1u << i;
  }
  return which;
}

static int
copy_piece (struct array *array, struct piece *piece)
{
  unsigned which;
  int err;

  err = run (array, piece, IO_READ, ((1u << piece->n) - 1) & ~piece->bad);
  if (err != 0)
    return err;
  if (piece->results[piece->source] != 0)
    return source_unreadable (array, piece, piece->results[piece->source]);
  array_wait_for_flush (array);
  if (array_source_at (array, piece->offset) != piece->legs[piece->source])
    return -EAGAIN; /* it has failed, or a reader has changed it */
  which = compare (array, piece);
  if (which != 0) {
    array->copying_from = piece->legs[piece->source];
    array->copying_at = piece->offset;
    err = run (array, piece, IO_WRITE, which);
    array->copying_from = NULL;
    rt_cond_broadcast (&array->copied_cond);
  }
  if (err != 0)
    return err;
  for (unsigned i = 0; i < piece->n; ++i) {
    if (!(which >> i & 1)) {
      piece->results[i] = 0; /* that was of the read */
      continue;
    }
    array->resync_bytes += piece->length;
    if (piece->results[i] == 0)
      leg_rewritten (piece->legs[i], piece->offset, piece->length);
  }
  if (!legs_fail (array, piece->legs, piece->results, piece->n,
                  "resync: writing"))
    err = -EIO;
  if (array_settle (array) != 0)
    err = -EIO;
  return err;
}

/* A leg that had to stay although a write of the piece may still happen. */
static const struct leg *
lost_leg (const struct piece *piece)
{
  for (unsigned i = 0; i < piece->n; ++i)
    if (piece->results[i] == -ETIMEDOUT && piece->legs[i]->state == LEG_IN_SYNC
        && device_lost_writes (piece->legs[i]->device) > 0)
      return piece->legs[i];
  return NULL;
}

/* Find the legs, and cut the piece to what has one source.  False: it is bad on
 * all of them.
 */
static bool
prepare (struct array *array, struct piece *piece)
{
  const struct leg *source = array_source_at (array, piece->offset);

  piece->length = array_same_length (array, piece->offset, piece->length);
  piece->n = array_working_legs (array, piece->legs);
  for (unsigned i = 0; i < piece->n; ++i) {
    if (piece->legs[i] == source)
      piece->source = i;
    if (leg_bad_length (array, piece->legs[i], piece->offset, piece->length)
        > 0)
      piece->bad |= 1u << i;
  }
  return source != NULL;
}

/* Make the piece equal, under its range lock.  *length becomes what was done of
 * it, *bad what of that is bad on all legs.  -EAGAIN: the source of the chunk
 * has changed, begin it again.
 */
static int
resync_piece (struct array *array, uint64_t chunk, uint64_t offset,
              uint64_t *length, uint64_t *bad)
{
  struct piece piece = { .chunk = chunk, .offset = offset, .length = *length };
  const struct leg *lost;
  struct range *range;
  bool copy;
  int err;

  *bad = 0;
  err = range_lock (&array->ranges, &array->lock, offset, *length, &range);
  if (err != 0)
    return err;
  copy = prepare (array, &piece);
  *length = piece.length;
  if (!copy)
    *bad = piece.length;
  for (unsigned i = 0; i < piece.n && copy; ++i) {
    piece.buffers[i] = buffer_new (piece.length);
    if (!piece.buffers[i])
      err = -ENOMEM;
  }
  if (err == 0 && copy && piece.n > 1)
    err = copy_piece (array, &piece);
  for (unsigned i = 0; i < piece.n; ++i)
    buffer_unref (piece.buffers[i]);
  lost = lost_leg (&piece);
  if (lost)
    range_kill (&array->ranges, range, lost);
  else
    range_unlock (&array->ranges, range);
  return err;
}

/* ---- the rate ---- */

struct pace {
  uint64_t next;     /* when the next piece may begin, rt_now time */
  uint64_t requests; /* that the array had seen at the last piece */
  uint64_t rate;     /* bytes per second, of the last piece */
};

static uint64_t
count_requests (struct array *array)
{
  return array->reads + rt_atomic_get (&array->write_requests)
         + rt_atomic_get (&array->zeroes);
}

/* sync_rate_max, or sync_rate_min while requests keep coming. */
static uint64_t
current_rate (struct array *array, const struct pace *pace)
{
  uint64_t rate = count_requests (array) == pace->requests
                      ? array->options.sync_rate_max
                      : array->options.sync_rate_min;

  return rate == 0 ? array->options.sync_rate_max
                   : min_u64 (rate, array->options.sync_rate_max);
}

static uint64_t
duration (const struct pace *pace, uint64_t length)
{
  if (pace->rate == UINT64_MAX)
    return 0;
  return (uint64_t)((double)length * (double)RT_SECOND / (double)pace->rate);
}

/* Wait until length more bytes are within the rate. */
static void
wait_for_rate (struct array *array, struct pace *pace, uint64_t length)
{
  pace->rate = current_rate (array, pace);
  pace->requests = count_requests (array);
  pace->next = max_u64 (pace->next, rt_now ()) + duration (pace, length);
  while (!array->stopping && rt_now () < pace->next)
    (void)rt_cond_wait_until (&array->background_cond, &array->lock,
                              pace->next);
}

/* ---- chunks ---- */

/* All pieces of the chunk have been made equal.  -EAGAIN: it was left unequal
 * meanwhile.
 */
static int
end_chunk (struct array *array, uint64_t chunk, uint64_t start, uint64_t end)
{
  struct range *range = NULL;
  int err = 0;

  if (array_source_is_special (array, chunk))
    err = range_lock (&array->ranges, &array->lock, start, end - start, &range);
  if (err != 0)
    return err;
  if (array->resync_again)
    err = -EAGAIN;
  else {
    bitmap_chunk_synced (array->bitmap, chunk);
    array_forget_source (array, chunk);
  }
  if (range)
    range_unlock (&array->ranges, range);
  return err;
}

static void
tell_bad (struct array *array, uint64_t chunk, uint64_t bytes, uint64_t first)
{
  if (bytes > 0)
    log_error (array->log,
               "array %s: resync: chunk %ju: %ju bytes, at %ju first, are bad "
               "on all legs in sync: nothing is copied there, and reading "
               "them is an error until they are written again",
               array->uuid, (uintmax_t)chunk, (uintmax_t)bytes,
               (uintmax_t)first);
}

/* 0: equal now.  -ECANCELED: stopping, or no second leg left. */
static int
resync_chunk (struct array *array, uint64_t chunk, struct pace *pace)
{
  uint64_t start = chunk * bitmap_chunk_bytes (array->bitmap);
  uint64_t end =
      min_u64 (start + bitmap_chunk_bytes (array->bitmap), array->size);
  uint64_t offset = start, length, bad, all_bad = 0, first_bad = 0;
  unsigned tries = 0;
  int err;

  array->resync_chunk = chunk;
  array->resync_again = false;
  for (;;) {
    length = min_u64 (end - offset, RESYNC_PIECE_BYTES);
    wait_for_rate (array, pace, length);
    if (array->stopping || array_in_sync (array) < 2)
      return -ECANCELED;
    err = resync_piece (array, chunk, offset, &length, &bad);
    if (err == 0) {
      if (bad > 0 && all_bad == 0)
        first_bad = offset;
      all_bad += bad;
      offset += length;
      if (offset < end)
        continue;
      err = end_chunk (array, chunk, start, end);
      if (err == -EAGAIN && ++tries == CHUNK_TRIES)
        err = -EIO;
      if (err == 0)
        tell_bad (array, chunk, all_bad, first_bad);
      array->resync_again = false;
    }
    if (err != -EAGAIN)
      return err;
    offset = start;
    all_bad = 0;
  }
}

/* ---- a pass ---- */

/* The chunk by itself.  -ECANCELED as above. */
static int
resync_alone (struct array *array, uint64_t chunk, struct pace *pace)
{
  int err = resync_chunk (array, chunk, pace);

  array->resync_chunk = BITMAP_NO_CHUNK;
  if (err == 0) {
    array->resync_chunks++;
    log_debug (array->log, LOG_RESYNC, "resync: chunk %ju is equal",
               (uintmax_t)chunk);
  }
  else if (err != -ECANCELED)
    log_error (array->log,
               "array %s: resync: chunk %ju cannot be made equal: %s; it "
               "stays marked and is tried again later",
               array->uuid, (uintmax_t)chunk, strerror (-err));
  return err;
}

/* Together, before what is left of them is done one by one. */
static void
resync_some (struct array *array, struct resync_chunks *chunks,
             struct pace *pace, struct resync_buffers *buffers)
{
  uint64_t bytes = chunks->bytes;

  wait_for_rate (array, pace, bytes);
  if (array->stopping || array_in_sync (array) < 2)
    return;
  resync_together (array, chunks, buffers);
  pace->next -= duration (pace, bytes - chunks->bytes);
}

/* The next chunks, from *chunk on; *chunk becomes the one behind them.  0, or
 * -ECANCELED as above.
 */
static int
resync_next (struct array *array, uint64_t *chunk, struct pace *pace,
             struct resync_buffers *buffers)
{
  uint64_t limit = min_u64 (RESYNC_GROUP_BYTES,
                            current_rate (array, pace) / PIECES_PER_SECOND);
  struct resync_chunks chunks;

  resync_choose (array, *chunk, limit, &chunks);
  if (chunks.n > 1)
    resync_some (array, &chunks, pace, buffers);
  for (unsigned i = 0; i < chunks.n; ++i) {
    *chunk = chunks.list[i] + 1;
    if (bitmap_range_needed (
            array->bitmap, chunks.list[i] * bitmap_chunk_bytes (array->bitmap),
            1)
        && resync_alone (array, chunks.list[i], pace) == -ECANCELED)
      return -ECANCELED;
  }
  return 0;
}

/* All chunks that need it.  True if none is left. */
static bool
resync_pass (struct array *array)
{
  struct pace pace = { 0, 0, UINT64_MAX };
  struct resync_buffers buffers = { .list = { NULL } };
  uint64_t chunk = 0, chunks = array->resync_chunks;
  uint64_t bytes = array->resync_bytes;

  log_notice (array->log, "array %s: resync: %ju of %ju chunks from leg %s",
              array->uuid, (uintmax_t)bitmap_needed (array->bitmap),
              (uintmax_t)bitmap_chunk_count (array->bitmap),
              array_source (array)->name);
  while (!array->stopping && array_in_sync (array) > 1
         && (chunk = bitmap_next_needed (array->bitmap, chunk))
                != BITMAP_NO_CHUNK
         && resync_next (array, &chunk, &pace, &buffers) == 0)
    ;
  resync_free_buffers (&buffers);
  log_notice (array->log,
              "array %s: resync %s: %ju chunks, %ju bytes written, %ju "
              "chunks left",
              array->uuid,
              bitmap_needed (array->bitmap) == 0 ? "done" : "interrupted",
              (uintmax_t)(array->resync_chunks - chunks),
              (uintmax_t)(array->resync_bytes - bytes),
              (uintmax_t)bitmap_needed (array->bitmap));
  return bitmap_needed (array->bitmap) == 0;
}

void
array_sync_main (void *opaque)
{
  struct array *array = opaque;

  rt_mutex_lock (&array->lock);
  while (!array->stopping) {
    if (bitmap_needed (array->bitmap) == 0 || array_in_sync (array) < 2)
      rt_cond_wait (&array->background_cond, &array->lock);
    else if (!resync_pass (array) && !array->stopping)
      (void)rt_cond_wait_until (&array->background_cond, &array->lock,
                                rt_now () + RETRY_SECONDS * RT_SECOND);
  }
  rt_mutex_unlock (&array->lock);
}
