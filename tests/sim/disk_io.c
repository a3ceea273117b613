/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What becomes of an operation on a disk.
 *
 * It is in flight from disk_take to disk_end, and its effect comes about at
 * disk_end, between two steps of the world.  That a drive may have done a
 * part of it before then shows only in two places: a crash (disk_crash.c),
 * and reads beside it, which see either.
 *
 * Most of what may go wrong is decided when the operation is taken, by one
 * draw, so that a disk without faults draws nothing but delays.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/disk_io.h"
#include "sim/trace.h"

#define MICROSECOND 1000

/* Where the device has no time-out. */
#define TIMEOUT_MAX (60 * RT_SECOND)

/* After the time-out, so soon that it meets what is done about it. */
#define LATE_SOON (300 * MICROSECOND)

const char *
io_type_string (enum io_type type)
{
  switch (type) {
  case IO_READ:
    return "read";
  case IO_WRITE:
    return "write";
  case IO_FLUSH:
    return "flush";
  case IO_ZERO:
    return "zero";
  }
  return "?";
}

/* ---- submission ---- */

static uint64_t
usual_delay (void)
{
  uint64_t how = choose (CHANCE_DISK, 4);

  if (how == 0)
    return 0;
  return choose (CHANCE_DISK, how == 1 ? 100 * MICROSECOND : 10 * MICROSECOND);
}

/* Long after the time-out, or never; sooner or later if somebody's thread is
 * inside.
 */
static uint64_t
late_delay (struct disk_op *op)
{
  op->late = true;
  op->disk->faulty = true;
  if (!op->blocking && chance (CHANCE_DISK, 1, 3))
    return DISK_NEVER;
  return op->timeout + choose (CHANCE_DISK, 4 * op->timeout);
}

static unsigned
error_rate (const struct disk *disk, enum io_type type)
{
  switch (type) {
  case IO_READ:
    return disk->faults.read_error;
  case IO_WRITE:
  case IO_ZERO:
    return disk->faults.write_error;
  case IO_FLUSH:
    return disk->faults.flush_error;
  }
  return 0;
}

/* Returns the delay. */
static uint64_t
draw_faults (struct disk *disk, struct disk_op *op)
{
  const struct disk_faults *faults = &disk->faults;
  uint64_t n;

  if (disk->faults_sum == 0)
    return usual_delay ();
  n = choose (CHANCE_DISK, 1000000);
  if (n < faults->slow)
    return choose (CHANCE_DISK, op->timeout / 2 + 1);
  n -= faults->slow;
  if (n < faults->hang) {
    n = late_delay (op);
    /* Or just then, when whoever has given up tries elsewhere. */
    if (chance (CHANCE_DISK, 1, 3))
      n = op->timeout + choose (CHANCE_DISK, LATE_SOON);
    return n;
  }
  n -= faults->hang;
  op->fails = n < error_rate (disk, op->type);
  return usual_delay ();
}

static void
settle (struct disk_op *op, int error)
{
  op->settled = true;
  op->error = error;
}

struct disk_op *
disk_take (struct disk *disk, const struct io *io, bool blocking,
           void (*hurry) (void *opaque), void *opaque, uint64_t *delay)
{
  struct disk_op *op = op_new (io);

  assert (io->offset % DISK_SECTOR == 0 && io->length % DISK_SECTOR == 0);
  assert (io->offset + io->length <= disk_size (disk));
  op->disk = disk;
  op->blocking = blocking;
  op->hurry = hurry;
  op->opaque = opaque;
  op->timeout = min_u64 (op->timeout, TIMEOUT_MAX);
  if (op->type == IO_FLUSH)
    op->sequence = disk->sequence;
  list_add (&disk->in_flight, op);

  *delay = draw_faults (disk, op);
  if (disk->state == DISK_FAILED || disk->state == DISK_VANISHED)
    settle (op, -EIO);
  if (op->settled)
    *delay = choose (CHANCE_DISK, 100 * MICROSECOND);
  return op;
}

/* ---- effects ---- */

/* A read sees, of writes in flight, nothing, all, or any sectors; and what one
 * read has seen the next sees as well.
 */
static void
read_in_flight (struct disk *disk, const struct disk_op *op, uint8_t *data)
{
  for (struct disk_op *w = disk->in_flight.first; w; w = w->next) {
    uint64_t from, to;

    if (!op_writes (w) || w->settled
        || !op_overlaps (w, op->offset, op->length))
      continue;
    op_choose_any_part (w, CHANCE_DISK);
    for (uint64_t i = 0; i < (op_sectors (w) + 63) / 64; ++i)
      w->part[i] |= w->seen[i];
    from = max_u64 (op->offset, w->offset);
    to = min_u64 (op->offset + op->length, w->offset + w->length);
    for (; from < to; from += DISK_SECTOR) {
      uint64_t i = (from - w->offset) / DISK_SECTOR;

      if (!(w->part[i / 64] >> (i % 64) & 1))
        continue;
      w->seen[i / 64] |= UINT64_C (1) << (i % 64);
      if (w->data)
        memcpy (data + (from - op->offset), w->data + (from - w->offset),
                DISK_SECTOR);
      else
        memset (data + (from - op->offset), 0, DISK_SECTOR);
    }
  }
}

static int
do_read (struct disk *disk, struct disk_op *op, uint8_t *data)
{
  if (op->fails || medium_is_spoiled (&disk->current, op->offset, op->length)) {
    memset (data, 0xee, op->length);
    return -EIO;
  }
  image_read (disk->current.image, op->offset, data, op->length);
  read_in_flight (disk, op, data);
  return 0;
}

/* Takes op. */
static int
do_write (struct disk *disk, struct disk_op *op)
{
  bool durable =
      disk->limits.no_cache || (op->flags & IO_FUA && !disk->faults.silent_fua);

  if (op->fails) {
    op_choose_any_part (op, CHANCE_DISK);
    cache_add_part (disk, op);
    return -EIO;
  }
  if (durable)
    cache_write_through (disk, op);
  else {
    op_choose_part (op, PART_ALL, CHANCE_DISK);
    cache_add_part (disk, op);
  }
  cache_wander (disk);
  return 0;
}

static int
do_flush (struct disk *disk, struct disk_op *op)
{
  if (op->fails) {
    cache_drop (disk);
    return -EIO;
  }
  cache_flush (disk, op->sequence);
  return 0;
}

/* Takes op. */
static int
perform (struct disk *disk, struct disk_op *op, uint8_t *data)
{
  int result;

  if (op->settled || op->type == IO_READ) {
    result = op->settled ? op->error : do_read (disk, op, data);
    free (op);
    return result;
  }
  if (op_writes (op))
    return do_write (disk, op);
  result = do_flush (disk, op);
  free (op);
  return result;
}

bool
disk_end (struct disk_op *op, uint8_t *data, int *result, uint64_t *delay)
{
  struct disk *disk = op->disk;

  if (disk->state == DISK_HANGS && !op->settled && !op->held) {
    op->held = true;
    *delay = late_delay (op);
    return false;
  }
  /* What nobody waits for any more may have failed by then. */
  if (disk->state == DISK_FAILED || (op->late && chance (CHANCE_DISK, 1, 3)))
    op->fails = true;
  list_remove (&disk->in_flight, op);
  *result = perform (disk, op, data);
  if (*result < 0)
    disk->faulty = true;
  return true;
}

/* ---- what a disk does to operations in flight ---- */

void
disk_disown (struct disk *disk)
{
  for (struct disk_op *op = disk->in_flight.first; op; op = op->next)
    op->hurry = NULL;
  disk->due = NULL;
}

void
disk_hurry (struct disk *disk)
{
  for (struct disk_op *op = disk->in_flight.first; op; op = op->next)
    if (op->hurry)
      op->hurry (op->opaque);
}

void
disk_settle (struct disk *disk, int error)
{
  for (struct disk_op *op = disk->in_flight.first; op; op = op->next) {
    if (op->settled)
      continue;
    settle (op, error);
    if (!op_writes (op))
      continue;
    op_choose_any_part (op, CHANCE_DISK);
    op_write_part (op, &disk->durable);
  }
}
