/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Disks: making them, the states they are in, and looking at them.  The
 * cache is in disk_cache.c, operations are in disk_io.c, crashes in
 * disk_crash.c.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "sim/disk_io.h"
#include "sim/trace.h"
#include "sim/world.h"

struct disk *
disk_new (unsigned number, struct image *image,
          const struct disk_limits *limits)
{
  struct disk *disk = calloc (1, sizeof *disk);

  if (!disk)
    abort ();
  assert (image_size (image) % DISK_SECTOR == 0);
  disk->number = number;
  disk->limits = *limits;
  disk->durable.image = image;
  disk->current = medium_copy (&disk->durable);
  return disk;
}

void
disk_free (struct disk *disk)
{
  struct disk_op *op;

  if (!disk)
    return;
  while ((op = disk->in_flight.first) != NULL) {
    list_remove (&disk->in_flight, op);
    free (op);
  }
  cache_free (disk);
  medium_free (&disk->durable);
  medium_free (&disk->current);
  free (disk);
}

/* ---- faults and states ---- */

void
disk_set_faults (struct disk *disk, const struct disk_faults *faults)
{
  disk->faults = *faults;
  disk->faults_sum = faults->slow + faults->hang + faults->read_error
                     + faults->write_error + faults->flush_error;
}

static const char *
state_string (enum disk_state state)
{
  switch (state) {
  case DISK_GOOD:
    return "good";
  case DISK_FAILED:
    return "failed";
  case DISK_HANGS:
    return "hangs";
  case DISK_VANISHED:
    return "vanished";
  }
  return "?";
}

void
disk_set_state (struct disk *disk, enum disk_state state)
{
  if (disk->state == state)
    return;
  trace ("leg %u: %s", disk->number, state_string (state));
  trace_mix ((uint64_t)state << 8 | disk->number);
  disk->state = state;
  if (state == DISK_VANISHED) {
    disk->faulty = true; /* the cache is gone, whoever has noticed yet */
    disk_settle (disk, -EIO);
    cache_drop (disk);
  }
  if (state != DISK_HANGS)
    disk_hurry (disk);
}

enum disk_state
disk_state (const struct disk *disk)
{
  return disk->state;
}

void
disk_restart (struct disk *disk)
{
  trace ("leg %u: restarts", disk->number);
  trace_mix (UINT64_C (0x7e57a7) << 8 | disk->number);
  disk->state = DISK_VANISHED;
  disk->faulty = true;
  disk_settle (disk, -ESHUTDOWN);
  cache_drop (disk);
  disk_hurry (disk);
}

void
disk_spoil (struct disk *disk, uint64_t offset, uint64_t length)
{
  trace ("leg %u: %llu+%llu cannot be read any more", disk->number,
         (unsigned long long)offset, (unsigned long long)length);
  medium_spoil (&disk->durable, offset, length);
  medium_spoil (&disk->current, offset, length);
}

bool
disk_is_spoiled (const struct disk *disk, uint64_t offset, uint64_t length)
{
  return medium_is_spoiled (&disk->current, offset, length);
}

bool
disk_was_faulty (const struct disk *disk)
{
  const struct disk_due *due = disk->due;

  if (disk->faulty)
    return true;
  if (!world)
    return false;
  while (due && due->deadline > world_now (world))
    due = due->next;
  return due != NULL;
}

bool
disk_lost_cache (const struct disk *disk)
{
  return disk->lost_cache;
}

void
disk_due_begin (struct disk *disk, struct disk_due *due, uint64_t deadline)
{
  due->deadline = deadline;
  due->prev = NULL;
  due->next = disk->due;
  if (due->next)
    due->next->prev = due;
  disk->due = due;
}

void
disk_due_end (struct disk *disk, struct disk_due *due)
{
  if (due->deadline <= world_now (world))
    disk->faulty = true;
  if (due->prev)
    due->prev->next = due->next;
  else
    disk->due = due->next;
  if (due->next)
    due->next->prev = due->prev;
}

/* ---- looking at it ---- */

unsigned
disk_number (const struct disk *disk)
{
  return disk->number;
}

const struct disk_limits *
disk_limits (const struct disk *disk)
{
  return &disk->limits;
}

uint64_t
disk_size (const struct disk *disk)
{
  return image_size (disk->durable.image);
}

const struct image *
disk_durable (const struct disk *disk)
{
  return disk->durable.image;
}

const struct image *
disk_current (const struct disk *disk)
{
  return disk->current.image;
}

bool
disk_has_volatile (const struct disk *disk, uint64_t offset, uint64_t length)
{
  for (const struct disk_op *op = disk->cache.first; op; op = op->next)
    for (uint64_t i = 0; i < op_sectors (op); ++i)
      if (op->live[i / 64] >> (i % 64) & 1
          && op->offset + i * DISK_SECTOR < offset + length
          && offset < op->offset + (i + 1) * DISK_SECTOR)
        return true;
  return false;
}

bool
disk_has_write_in_flight (const struct disk *disk, uint64_t offset,
                          uint64_t length)
{
  for (const struct disk_op *op = disk->in_flight.first; op; op = op->next)
    if (op_writes (op) && !op->settled && op_overlaps (op, offset, length))
      return true;
  return false;
}
