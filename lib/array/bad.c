/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Bad blocks: a leg with a bad-block log is in sync except for what the log
 * lists.
 *
 * There are three lists of a leg.  bad is what may not be read now; it stays,
 * empty or not, so what is decided by its existence (the source of unequal
 * chunks) never flips.  bad_flushed is what it was when the last good flush of
 * the leg was submitted.  bad_log is the log as the leg durably has it.
 *
 *   1. Entries are only ever removed.  So bad_flushed has all that bad has, and
 *      the log on the leg has all that bad_flushed has, at any time and however
 *      a write of it was torn (bad_blocks.h).
 *   2. bad loses a range as soon as all of it has been written to the leg: from
 *      then on reading it gives the array's data.  Reads and writes go by the
 *      array's logical block, so a block is bad as long as any of its sectors
 *      is, and what is removed is what was wholly written.
 *   3. The log on the leg loses a range only when what was written there is
 *      durable: else a crash would leave the old data, and nobody would know
 *      that it is not the array's.  So each update of the metadata brings it up
 *      to bad_flushed; and no flush, and no write with FUA, is answered before
 *      the log has followed: else a crash would make data unreadable that was
 *      flushed, if no other leg is left.
 *   4. What the log is to become is written again and again, as it is, until it
 *      is known to be there.  A step that follows rests on it.
 *
 * Rule 8, no stale read, while bad shrinks: a write in flight is on some legs
 * and not yet on others, so what it overlaps is read from the first leg that is
 * good there; the range leaves bad when the write has ended on every leg, under
 * the same hold of the lock in which its range is unlocked.  If another write
 * waits for that range the first leg may be another one now: a read that began
 * before is then begun again (still_good in read.c).
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "array/internal.h"

/* ---- the log ---- */

static uint64_t
log_offset (const struct superblock *sb)
{
  return (uint64_t)((int64_t)sb->super_offset + sb->bblog_offset) * SECTOR_SIZE;
}

static uint32_t
log_bytes (const struct superblock *sb)
{
  return (uint32_t)sb->bblog_size * SECTOR_SIZE;
}

static int
check_place (struct array *array, const struct leg *leg)
{
  const struct superblock *sb = leg->superblock;
  uint32_t block = leg->device->limits.logical_block;

  if (log_bytes (sb) == 0 || log_bytes (sb) > BAD_BLOCKS_LOG_BYTES) {
    log_error (array->log,
               "leg %s: field bblog_size: found %u, expected 1 to %u sectors, "
               "since it has bad blocks; examine the leg with mdadm",
               leg->name, sb->bblog_size, BAD_BLOCKS_LOG_BYTES / SECTOR_SIZE);
    return -EINVAL;
  }
  if (log_offset (sb) % block == 0 && log_bytes (sb) % block == 0)
    return 0;
  log_error (array->log,
             "leg %s: its bad-block log, %u bytes at %ju, is not aligned to "
             "its logical block of %u bytes; it cannot be written in place",
             leg->name, log_bytes (sb), (uintmax_t)log_offset (sb), block);
  return -EINVAL;
}

static int
read_log (struct array *array, const struct leg *leg, uint8_t *log)
{
  const struct superblock *sb = leg->superblock;
  struct buffer *buffer = buffer_new (log_bytes (sb));
  int err;

  if (!buffer)
    return -ENOMEM;
  err = device_run (leg->device, IO_READ, 0, log_offset (sb), log_bytes (sb),
                    buffer);
  if (err == 0)
    memcpy (log, buffer->data, log_bytes (sb));
  else if (err != -ENOMEM) {
    log_error (array->log,
               "leg %s: reading the bad-block log: %s; nobody knows which of "
               "its blocks are bad",
               leg->name, strerror (-err));
    err = -EIO;
  }
  buffer_unref (buffer);
  return err;
}

static int
decode_log (struct array *array, const struct leg *leg, const uint8_t *log,
            struct bad_blocks *bad)
{
  const struct superblock *sb = leg->superblock;
  struct format_error error;
  char text[512];
  int err;

  err = bad_blocks_decode (log, log_bytes (sb), sb->bblog_shift,
                           sb->data_offset, sb->size, bad, &error);
  if (err == 0)
    return 0;
  format_error_string (&error, text, sizeof text);
  log_error (array->log, "leg %s: bad-block log: %s", leg->name, text);
  return err;
}

int
leg_load_bad_blocks (struct array *array, struct leg *leg)
{
  int err;

  err = check_place (array, leg);
  if (err != 0)
    return err;
  leg->bad = rt_calloc (1, sizeof *leg->bad);
  leg->bad_flushed = rt_calloc (1, sizeof *leg->bad);
  leg->bad_flushing = rt_calloc (1, sizeof *leg->bad);
  leg->bad_log = rt_calloc (1, BAD_BLOCKS_LOG_BYTES);
  if (!leg->bad || !leg->bad_flushed || !leg->bad_flushing || !leg->bad_log)
    err = -ENOMEM;
  if (err == 0)
    err = read_log (array, leg, leg->bad_log);
  if (err == 0)
    err = decode_log (array, leg, leg->bad_log, leg->bad);
  if (err != 0 || leg->bad->n == 0) {
    leg_free_bad_blocks (leg);
    return err;
  }
  *leg->bad_flushed = *leg->bad;
  array->has_bad = true;
  log_notice (array->log,
              "leg %s: its bad-block log lists %u ranges, %ju sectors, of the "
              "array's data; they are read from other legs until they are "
              "written again",
              leg->name, leg->bad->n, (uintmax_t)leg_bad_sectors (leg));
  return 0;
}

void
leg_free_bad_blocks (struct leg *leg)
{
  buffer_unref (leg->bad_log_next);
  rt_free (leg->bad_log);
  rt_free (leg->bad);
  rt_free (leg->bad_flushed);
  rt_free (leg->bad_flushing);
  leg->bad_log_next = NULL;
  leg->bad_log = NULL;
  leg->bad = leg->bad_flushed = leg->bad_flushing = NULL;
}

/* What the log is to become next; *next is NULL if it is as it should be. */
static int
next_log (const struct leg *leg, struct buffer **next)
{
  const struct superblock *sb = leg->superblock;
  struct buffer *buffer = buffer_new (log_bytes (sb));

  *next = NULL;
  if (!buffer)
    return -ENOMEM;
  memcpy (buffer->data, leg->bad_log, log_bytes (sb));
  if (bad_blocks_update_log (buffer->data, log_bytes (sb), sb->bblog_shift,
                             sb->data_offset, leg->bad_flushed))
    *next = buffer;
  else
    buffer_unref (buffer);
  return 0;
}

/* Will there be a step after this one? */
static bool
more_steps (const struct leg *leg, const struct buffer *next)
{
  const struct superblock *sb = leg->superblock;
  uint8_t log[BAD_BLOCKS_LOG_BYTES];

  memcpy (log, next->data, log_bytes (sb));
  return bad_blocks_update_log (log, log_bytes (sb), sb->bblog_shift,
                                sb->data_offset, leg->bad_flushed);
}

int
leg_add_bad_log (struct array *array, struct leg *leg, struct io_batch *batch)
{
  const struct superblock *sb = leg->superblock;
  int err;

  if (!leg->bad)
    return 0;
  if (!leg->bad_log_next) {
    err = next_log (leg, &leg->bad_log_next);
    if (err == 0 && !leg->bad_log_next)
      leg->bad_removals_logged = leg->bad_removals_flushed;
    if (err != 0 || !leg->bad_log_next)
      return err;
  }
  log_debug (array->log, LOG_SUPERBLOCK,
             "superblock: leg %s: bad-block log: %ju sectors left", leg->name,
             (uintmax_t)leg_bad_sectors (leg));
  io_batch_add (batch, leg->device, IO_WRITE, IO_FUA, log_offset (sb),
                log_bytes (sb), leg->bad_log_next, 0);
  if (more_steps (leg, leg->bad_log_next))
    return 1;
  leg->bad_removals_next = leg->bad_removals_flushed; /* this is the last */
  return 0;
}

void
leg_bad_log_written (struct leg *leg, struct io_batch *batch)
{
  bool written = false;

  for (unsigned i = 0; i < io_batch_count (batch) && leg->bad_log_next; ++i) {
    const struct io *io = io_batch_get (batch, i);

    if (io->buffer == leg->bad_log_next && io->result == 0)
      written = true;
  }
  if (!written)
    return;
  memcpy (leg->bad_log, leg->bad_log_next->data, log_bytes (leg->superblock));
  buffer_unref (leg->bad_log_next);
  leg->bad_log_next = NULL;
  leg->bad_removals_logged = leg->bad_removals_next;
}

void
leg_flush_begins (struct leg *leg)
{
  if (!leg->bad)
    return;
  *leg->bad_flushing = *leg->bad;
  leg->bad_removals_flushing = leg->bad_removals;
}

void
leg_flush_ends (struct leg *leg)
{
  if (!leg->bad)
    return;
  *leg->bad_flushed = *leg->bad_flushing;
  leg->bad_removals_flushed = leg->bad_removals_flushing;
}

void
leg_flush_failed (struct leg *leg)
{
  if (leg->bad)
    *leg->bad = *leg->bad_flushed;
}

static bool
logs_lag (const struct array *array)
{
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC
        && array->legs[i].bad_removals_logged
               < array->legs[i].bad_removals_flushed)
      return true;
  return false;
}

int
array_log_bad (struct array *array)
{
  int err = 0;

  while (err == 0 && array->has_bad && array->may_write && logs_lag (array))
    err = array_update (array);
  return err;
}

/* ---- what may be read ---- */

uint64_t
leg_bad_sectors (const struct leg *leg)
{
  uint64_t sectors = 0;

  for (unsigned i = 0; leg->bad && i < leg->bad->n; ++i)
    sectors += leg->bad->ranges[i].length;
  return sectors;
}

/* Where the range that has this sector ends. */
static uint64_t
range_end (const struct bad_blocks *list, uint64_t sector)
{
  for (unsigned i = 0; i < list->n; ++i)
    if (sector - list->ranges[i].start < list->ranges[i].length)
      return list->ranges[i].start + list->ranges[i].length;
  return sector + 1;
}

/* Bytes from offset on, up to length, that are all good, or all bad, counted in
 * blocks: one is bad if any of its sectors is.
 */
static uint64_t
run_length (const struct bad_blocks *list, uint32_t block, uint64_t offset,
            uint64_t length, bool *good)
{
  const uint64_t end = offset + length;
  uint64_t at = offset, sector;

  *good = true;
  if (!list || list->n == 0)
    return length;
  sector = bad_blocks_first (list, offset / SECTOR_SIZE, length / SECTOR_SIZE);
  if (sector == UINT64_MAX)
    return length;
  *good = round_down (sector * SECTOR_SIZE, block) > offset;
  if (*good)
    return round_down (sector * SECTOR_SIZE, block) - offset;
  do {
    at = round_up (range_end (list, sector) * SECTOR_SIZE, block);
    if (at >= end)
      return length;
    sector =
        bad_blocks_first (list, at / SECTOR_SIZE, (end - at) / SECTOR_SIZE);
  } while (sector != UINT64_MAX
           && round_down (sector * SECTOR_SIZE, block) <= at);
  return at - offset;
}

uint64_t
leg_good_length (const struct array *array, const struct leg *leg,
                 uint64_t offset, uint64_t length)
{
  bool good;
  uint64_t run =
      run_length (leg->bad, array->logical_block, offset, length, &good);

  return good ? run : 0;
}

uint64_t
leg_bad_length (const struct array *array, const struct leg *leg,
                uint64_t offset, uint64_t length)
{
  bool good;
  uint64_t run =
      run_length (leg->bad, array->logical_block, offset, length, &good);

  return good ? 0 : run;
}

uint64_t
array_same_length (struct array *array, uint64_t offset, uint64_t length)
{
  bool good;

  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC)
      length = run_length (array->legs[i].bad, array->logical_block, offset,
                           length, &good);
  return length;
}

void
leg_rewritten (struct leg *leg, uint64_t offset, uint64_t length)
{
  if (leg->bad
      && bad_blocks_remove (leg->bad, offset / SECTOR_SIZE,
                            length / SECTOR_SIZE))
    leg->bad_removals++;
}
