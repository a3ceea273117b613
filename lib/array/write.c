/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Writing and zeroing.  The path of a write:
 *
 *   range lock            waits for overlapping writes and for resync
 *   array->writes++       and the array is not clean, durably
 *   bitmap_startwrite     bits set in memory
 *   bitmap_flush          bits durable on every leg, or in the file
 *   batch                 data to every in-sync leg
 *   leg_fail, settle      a leg that missed it is out, and that is on record
 *   leg_rewritten         what was bad there is good again
 *   bitmap_endwrite, array->writes--, range unlock, answer
 *
 * A request that is not aligned to the largest logical block among the legs
 * is widened once, before the range is locked, and reads the blocks at its
 * edges under the range lock: whatever is written, all legs get the same
 * bytes from one private buffer.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/internal.h"

/* ---- data to the legs ---- */

struct sent {
  struct leg *legs[ARRAY_MAX_LEGS];
  int results[ARRAY_MAX_LEGS];
  unsigned n;
};

/* Better that one thread submits what many have? */
static bool
is_crowd (struct array *array)
{
  const unsigned asked = array->options.crowd;
  const unsigned many = asked > 0 ? asked : ARRAY_CROWD;

  if (array->writes > many)
    array->crowd = true;
  else if (array->writes < many / ARRAY_CROWD_FEW)
    array->crowd = false;
  return array->crowd;
}

/* Write to all in-sync legs.  The lock is released for the I/O. */
static int
send (struct array *array, enum write_kind kind, uint64_t offset,
      uint64_t length, unsigned flags, struct buffer *data, struct sent *sent)
{
  struct io_batch *batch = array_batch_take (array);
  unsigned io_flags = 0;

  if (!batch)
    return -ENOMEM;
  if (flags & ARRAY_FUA)
    io_flags |= IO_FUA;
  if (flags & ARRAY_MAY_TRIM)
    io_flags |= IO_MAY_TRIM;
  if (array->writes > 1)
    io_flags |= IO_TOGETHER;
  if (is_crowd (array))
    io_flags |= IO_CROWD;
  sent->n = array_working_legs (array, sent->legs);
  for (unsigned i = 0; i < sent->n; ++i) {
    struct leg *leg = sent->legs[i];

    leg->written++;
    io_batch_add (batch, leg->device, kind == WRITE_DATA ? IO_WRITE : IO_ZERO,
                  io_flags, leg->data_offset + offset, length, data, 0);
  }
  array_run_batch (array, batch);
  for (unsigned i = 0; i < sent->n; ++i) {
    sent->results[i] = io_batch_get (batch, i)->result;
    sent->legs[i]->written++;
  }
  array_batch_give (array, batch);
  return 0;
}

/* Fail the legs that missed the write, and record it.  The write is good if a
 * leg that is still in sync has it; it is not if one that had to stay has
 * not.
 */
static int
judge (struct array *array, const struct sent *sent, unsigned flags,
       struct leg **lost)
{
  bool stored = false, missed;

  (void)legs_fail (array, sent->legs, sent->results, sent->n, "writing");
  missed = array_settle (array) != 0;
  for (unsigned i = 0; i < sent->n; ++i) {
    struct leg *leg = sent->legs[i];

    if (leg->state != LEG_IN_SYNC)
      continue;
    if (sent->results[i] == 0)
      stored = true;
    else
      missed = true;
    if ((flags & ARRAY_FUA) && leg->flush_failed)
      missed = true;
    if (sent->results[i] == -ETIMEDOUT)
      *lost = leg;
  }
  return stored && !missed ? 0 : -EIO;
}

/* What has been written is no longer bad; nor is what has been zeroed, trimmed
 * or not, as it reads back as zeroes on any device (device.h).
 */
static void
forget_bad (const struct sent *sent, uint64_t offset, uint64_t length)
{
  for (unsigned i = 0; i < sent->n; ++i)
    if (sent->results[i] == 0)
      leg_rewritten (sent->legs[i], offset, length);
}

/* The write may have left the legs unequal. */
static void
left_unequal (struct array *array, uint64_t offset, uint64_t length)
{
  uint64_t chunk = bitmap_chunk_bytes (array->bitmap);

  if (array->resync_chunk != BITMAP_NO_CHUNK
      && array->resync_chunk >= offset / chunk
      && array->resync_chunk <= (offset + length - 1) / chunk)
    array->resync_again = true;
  rt_cond_broadcast (&array->background_cond);
}

int
array_write_locked (struct array *array, enum write_kind kind, uint64_t offset,
                    uint64_t length, unsigned flags, struct buffer *data,
                    const uint64_t *as_of, struct leg **lost)
{
  struct sent sent;
  bool unequal = false;
  uint64_t need;
  int err;

  err = array_make_active (array);
  if (err != 0)
    return err;
  err = bitmap_startwrite (array->bitmap, offset, length, &need);
  if (err != 0)
    return err;
  if (need != 0)
    err = bitmap_flush (array->bitmap, need);
  if (err == 0 && array_file_stops (array))
    err = -EIO;
  if (err == 0 && as_of && *as_of != array_reads_as_of (array))
    err = -ESTALE;
  if (err == 0)
    err = send (array, kind, offset, length, flags, data, &sent);
  if (err == 0) {
    err = judge (array, &sent, flags, lost);
    unequal = err != 0;
    /* From here to the unlocking of the range the lock is not released. */
    forget_bad (&sent, offset, length);
  }
  bitmap_endwrite (array->bitmap, offset, length, unequal);
  if (unequal)
    left_unequal (array, offset, length);
  return err;
}

/* ---- requests ---- */

/* The array's lock is held from here to request_end. */
static int
request_begin (struct array *array, uint64_t start, uint64_t length,
               struct range **range)
{
  int err;

  rt_mutex_lock (&array->lock);
  err = array->activated ? 0 : -EROFS;
  if (err == 0)
    err = range_lock (&array->ranges, &array->lock, start, length, range);
  if (err == 0 && !array->activated) { /* stopped while we waited */
    range_unlock (&array->ranges, *range);
    err = -EROFS;
  }
  if (err == 0)
    array->writes++;
  else
    rt_mutex_unlock (&array->lock);
  return err;
}

static void
request_end (struct array *array, struct range *range, struct leg *lost)
{
  array->writes--;
  if (array->stopping)
    rt_cond_broadcast (&array->background_cond);
  if (lost && device_lost_writes (lost->device) > 0)
    range_kill (&array->ranges, range, lost);
  else
    range_unlock (&array->ranges, range);
  rt_mutex_unlock (&array->lock);
}

/* Read the block at offset, and copy length bytes from its byte skip on. */
static int
fill_edge (struct array *array, uint8_t *to, uint64_t block, uint64_t skip,
           uint64_t length)
{
  uint64_t block_length = array->logical_block;
  struct buffer *edge;
  int err;

  if (length == 0)
    return 0;
  err = array_read_blocks (array, block, &block_length, true, &edge);
  if (err != 0)
    return err;
  memcpy (to, edge->data + skip, length);
  buffer_unref (edge);
  return 0;
}

/* The buffer begins at start, a block, and has data for [offset, end): read
 * what is missing of the blocks at both ends.
 */
static int
fill_edges (struct array *array, struct buffer *buffer, uint64_t start,
            uint64_t offset, uint64_t end)
{
  const uint64_t last = round_down (end, array->logical_block);
  const uint64_t tail = round_up (end, array->logical_block) - end;
  int err;

  err = fill_edge (array, buffer->data, start, 0, offset - start);
  if (err == 0)
    err =
        fill_edge (array, buffer->data + (end - start), last, end - last, tail);
  return err;
}

/* With the range locked: read the edges, and write.  If what was read is not
 * what others may have read since, it is read again: other legs may hold other
 * bytes where the legs are unequal, and somebody has seen them.
 */
static int
write_with_edges (struct array *array, struct range *range,
                  struct buffer *buffer, uint64_t offset, uint64_t count,
                  unsigned flags, struct leg **lost)
{
  const uint64_t start = round_down (offset, array->logical_block);
  const uint64_t end = round_up (offset + count, array->logical_block);
  const bool edges = start != offset || end != offset + count;
  uint64_t as_of;
  int err;

  do {
    as_of = array_reads_as_of (array);
    range->edges = edges ? as_of : 0;
    err = edges ? fill_edges (array, buffer, start, offset, offset + count) : 0;
    if (err == 0)
      err = array_write_locked (array, WRITE_DATA, start, end - start, flags,
                                buffer, edges ? &as_of : NULL, lost);
  } while (err == -ESTALE);
  return err;
}

/* Data of at most ARRAY_PIECE_BYTES, anywhere; NULL: zeroes. */
static int
write_piece (struct array *array, const uint8_t *data, uint64_t count,
             uint64_t offset, unsigned flags)
{
  const uint64_t start = round_down (offset, array->logical_block);
  const uint64_t end = round_up (offset + count, array->logical_block);
  struct leg *lost = NULL;
  struct buffer *buffer;
  struct range *range;
  int err;

  buffer = buffer_pool_take (array->buffers, end - start);
  if (!buffer)
    return -ENOMEM;
  if (data)
    memcpy (buffer->data + (offset - start), data, count);
  else
    memset (buffer->data + (offset - start), 0, count);
  err = request_begin (array, start, end - start, &range);
  if (err == 0) {
    err = write_with_edges (array, range, buffer, offset, count, flags, &lost);
    request_end (array, range, lost);
  }
  buffer_unref (buffer);
  return err;
}

/* After a FUA write: its blocks must not be bad again after a crash. */
static int
log_bad (struct array *array)
{
  bool lags = false;
  int err = 0;

  rt_mutex_lock (&array->lock);
  for (unsigned i = 0; i < array->nlegs; ++i)
    lags |= array->legs[i].state == LEG_IN_SYNC
            && array->legs[i].bad_removals_logged < array->legs[i].bad_removals;
  if (lags)
    err = array_flush_legs (array);
  if (err == 0 && lags)
    err = array_settle (array);
  if (err == 0 && lags)
    err = array_log_bad (array);
  rt_mutex_unlock (&array->lock);
  return err;
}

int
array_write (struct array *array, const void *data, uint32_t count,
             uint64_t offset, unsigned flags)
{
  const uint8_t *p = data;
  int err = 0;

  rt_atomic_add (&array->write_requests, 1);
  while (count > 0 && err == 0) {
    uint32_t piece = (uint32_t)min_u64 (count, ARRAY_PIECE_BYTES);

    err = write_piece (array, p, piece, offset, flags);
    p += piece;
    offset += piece;
    count -= piece;
  }
  /* What was bad and is good now is so after a crash too. */
  if (err == 0 && (flags & ARRAY_FUA) && array->has_bad)
    err = log_bad (array);
  return err;
}

/* Whole blocks. */
static int
zero_piece (struct array *array, uint64_t count, uint64_t offset,
            unsigned flags)
{
  struct leg *lost = NULL;
  struct range *range;
  int err;

  err = request_begin (array, offset, count, &range);
  if (err != 0)
    return err;
  err = array_write_locked (array, WRITE_ZEROES, offset, count, flags, NULL,
                            NULL, &lost);
  request_end (array, range, lost);
  return err;
}

int
array_zero (struct array *array, uint64_t count, uint64_t offset,
            unsigned flags)
{
  const uint32_t block = array->logical_block;
  int err = 0;

  rt_atomic_add (&array->zeroes, 1);
  while (count > 0 && err == 0) {
    uint64_t in_block = offset % block;
    uint64_t piece;

    if (in_block != 0 || count < block) {
      piece = min_u64 (count, block - in_block);
      err = write_piece (array, NULL, piece, offset, flags);
    }
    else {
      piece = min_u64 (round_down (count, block), ARRAY_PIECE_BYTES);
      err = zero_piece (array, piece, offset, flags);
    }
    offset += piece;
    count -= piece;
  }
  if (err == 0 && (flags & ARRAY_FUA) && array->has_bad)
    err = log_bad (array);
  return err;
}
