/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What a crash may leave on a disk: what is durable, of the cache any
 * sectors, each with any of its values, and of what is in flight any sectors.
 * And what a server that is killed leaves there: the cache itself, and of what
 * is in flight any sectors.
 *
 * Writes in flight are applied after those of the cache where sectors are
 * drawn by themselves: before would be the same as not at all, or as the
 * cache losing that sector.  Where writes are drawn in whole, they go to any
 * place in the order.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk_io.h"
#include "sim/trace.h"

/* As much of a write is compared with what is there, to see whether it would
 * change anything.
 */
#define COMPARE_MAX 4096

static bool
matters (const struct disk_op *op)
{
  return op_writes (op) && !op->settled;
}

/* Takes the medium. */
static struct disk *
disk_with (const struct disk *from, struct medium *medium)
{
  struct disk *disk = disk_new (from->number, medium->image, &from->limits);

  if (medium->spoiled) {
    disk->durable.spoiled = medium->spoiled;
    medium_free (&disk->current);
    disk->current = medium_copy (&disk->durable);
  }
  return disk;
}

/* ---- by chance ---- */

static void
apply_in_flight (const struct disk *disk, struct medium *medium)
{
  struct disk_op *op;

  if (disk->in_flight.n == 0)
    return;
  if (chance (CHANCE_CRASH, 1, 2)) {
    for (op = disk->in_flight.first; op; op = op->next)
      if (matters (op)) {
        op_choose_any_part (op, CHANCE_CRASH);
        op_write_part (op, medium);
      }
  }
  else {
    for (op = disk->in_flight.last; op; op = op->prev)
      if (matters (op)) {
        op_choose_any_part (op, CHANCE_CRASH);
        op_write_part (op, medium);
      }
  }
}

/* The first n writes of the cache. */
static void
apply_prefix (const struct disk *disk, struct medium *medium, uint64_t n)
{
  for (struct disk_op *op = disk->cache.first; op && n > 0; op = op->next) {
    op_choose_part (op, PART_ALL, CHANCE_CRASH);
    op_write_part (op, medium);
    n--;
  }
}

static void
apply_sectors (const struct disk *disk, struct medium *medium)
{
  for (struct disk_op *op = disk->cache.first; op; op = op->next) {
    op_choose_part (op, PART_SECTORS, CHANCE_CRASH);
    op_write_part (op, medium);
  }
  for (struct disk_op *op = disk->in_flight.first; op; op = op->next)
    if (matters (op)) {
      op_choose_part (op, PART_SECTORS, CHANCE_CRASH);
      op_write_part (op, medium);
    }
}

/* Writes in flight that come before the cache's write number place. */
static void
apply_in_flight_at (const struct disk *disk, struct medium *medium,
                    uint64_t place)
{
  for (struct disk_op *op = disk->in_flight.first; op; op = op->next)
    if (matters (op) && op->sequence == place) {
      op_choose_part (op, PART_ALL, CHANCE_CRASH);
      op_write_part (op, medium);
    }
}

/* Each write in whole or not at all.  Those in flight have no sequence yet:
 * it says for now where they go, from 1 on, or 0 for nowhere.
 */
static void
apply_any (const struct disk *disk, struct medium *medium)
{
  struct disk_op *op;
  uint64_t place = 1;

  for (op = disk->in_flight.first; op; op = op->next)
    if (matters (op))
      op->sequence = chance (CHANCE_CRASH, 1, 2)
                         ? 1 + choose (CHANCE_CRASH, disk->cache.n + 1)
                         : 0;
  for (op = disk->cache.first; op; op = op->next) {
    if (disk->in_flight.n > 0)
      apply_in_flight_at (disk, medium, place);
    place++;
    if (chance (CHANCE_CRASH, 1, 2)) {
      op_choose_part (op, PART_ALL, CHANCE_CRASH);
      op_write_part (op, medium);
    }
  }
  apply_in_flight_at (disk, medium, place);
}

/* A sector, or all, of what was being written cannot be read. */
static void
spoil_some (const struct disk *disk, const struct disk_list *list,
            struct medium *medium)
{
  for (const struct disk_op *op = list->first; op; op = op->next) {
    uint64_t first = 0, n;

    if (!matters (op) || !chance (CHANCE_CRASH, disk->faults.latent, 1000000))
      continue;
    n = op_sectors (op);
    if (op->nlive < n || chance (CHANCE_CRASH, 1, 2)) {
      do
        first = choose (CHANCE_CRASH, n);
      while (!(op->live[first / 64] >> (first % 64) & 1));
      n = 1;
    }
    medium_spoil (medium, op->offset + first * DISK_SECTOR, n * DISK_SECTOR);
    trace ("leg %u: the crash spoils %llu+%llu", disk->number,
           (unsigned long long)(op->offset + first * DISK_SECTOR),
           (unsigned long long)(n * DISK_SECTOR));
  }
}

struct disk *
disk_after_crash (const struct disk *disk, enum disk_loss loss)
{
  struct medium medium =
      medium_copy (loss == LOSE_NOTHING ? &disk->current : &disk->durable);

  trace_mix ((uint64_t)loss << 8 | disk->number);
  trace_mix ((uint64_t)disk->cache.n << 32 | disk->in_flight.n);
  switch (loss) {
  case LOSE_NOTHING:
    apply_in_flight (disk, &medium);
    break;
  case LOSE_EVERYTHING:
    break;
  case LOSE_PREFIX:
    apply_prefix (disk, &medium, choose (CHANCE_CRASH, disk->cache.n + 1));
    apply_in_flight (disk, &medium);
    break;
  case LOSE_ANY:
    apply_any (disk, &medium);
    break;
  case LOSE_SECTORS:
    apply_sectors (disk, &medium);
    break;
  case DISK_LOSSES:
    abort ();
  }
  if (disk->faults.latent > 0) {
    spoil_some (disk, &disk->cache, &medium);
    spoil_some (disk, &disk->in_flight, &medium);
  }
  return disk_with (disk, &medium);
}

/* ---- kills ---- */

/* Some of it, all of it or nothing happens to the new disk.  What is not
 * finished promises nothing: with FUA it may be there and not be durable.
 */
static void
finish_write (struct disk *disk, const struct disk_op *in_flight)
{
  struct disk_op *op = op_copy (in_flight, disk);

  if (op->flags & IO_FUA && chance (CHANCE_CRASH, 1, 2)) {
    cache_write_through (disk, op);
    return;
  }
  op_choose_any_part (op, CHANCE_CRASH);
  if (disk->limits.no_cache) {
    op_write_part (op, &disk->durable);
    op_write_part (op, &disk->current);
    free (op);
  }
  else
    cache_add_part (disk, op);
}

struct disk *
disk_after_kill (const struct disk *disk)
{
  struct medium medium = medium_copy (&disk->durable);
  struct disk *after = disk_with (disk, &medium);
  const struct disk_op *op;

  trace_mix (UINT64_C (0x6b11) << 8 | disk->number);
  trace_mix ((uint64_t)disk->cache.n << 32 | disk->in_flight.n);
  cache_copy (after, disk);
  if (disk->in_flight.n == 0)
    return after;
  if (chance (CHANCE_CRASH, 1, 2)) {
    for (op = disk->in_flight.first; op; op = op->next)
      if (matters (op))
        finish_write (after, op);
  }
  else {
    for (op = disk->in_flight.last; op; op = op->prev)
      if (matters (op))
        finish_write (after, op);
  }
  return after;
}

/* ---- all of them ---- */

static bool
overlaps_another (const struct disk_list *list, const struct disk_op *op)
{
  for (const struct disk_op *other = list->first; other; other = other->next)
    if (other != op && matters (other)
        && op_overlaps (other, op->offset, op->length))
      return true;
  return false;
}

/* Would it leave the disk as it is, whatever else is kept? */
static bool
changes_nothing (const struct disk *disk, struct disk_op *op)
{
  uint8_t there[COMPARE_MAX], then[COMPARE_MAX];
  struct medium medium;

  if (op->length > COMPARE_MAX || overlaps_another (&disk->cache, op)
      || overlaps_another (&disk->in_flight, op) || disk->durable.spoiled)
    return false;
  medium = medium_copy (&disk->durable);
  op_choose_part (op, PART_ALL, CHANCE_CRASH);
  op_write_part (op, &medium);
  image_read (disk->durable.image, op->offset, there, op->length);
  image_read (medium.image, op->offset, then, op->length);
  medium_free (&medium);
  return memcmp (there, then, op->length) == 0;
}

/* Of a write in the cache: all or nothing.  In flight: the first or the last
 * sector only, as well.
 */
static unsigned
alternatives (const struct disk *disk, struct disk_op *op, bool in_flight)
{
  if (!matters (op) || changes_nothing (disk, op))
    return 1;
  return in_flight && op_sectors (op) > 1 ? 4 : 2;
}

static uint64_t
count_list (const struct disk *disk, const struct disk_list *list,
            uint64_t count, uint64_t max)
{
  bool in_flight = list == &disk->in_flight;

  for (struct disk_op *op = list->first; op && count > 0; op = op->next) {
    count *= alternatives (disk, op, in_flight);
    if (count > max)
      count = 0;
  }
  return count;
}

uint64_t
disk_crash_count (const struct disk *disk, uint64_t max)
{
  assert (max > 0 && max < UINT64_MAX / 4);
  return count_list (disk, &disk->in_flight,
                     count_list (disk, &disk->cache, 1, max), max);
}

static uint64_t
apply_nth (const struct disk *disk, const struct disk_list *list,
           struct medium *medium, uint64_t n)
{
  bool in_flight = list == &disk->in_flight;

  for (struct disk_op *op = list->first; op; op = op->next) {
    unsigned of = alternatives (disk, op, in_flight);

    if (of == 1)
      continue;
    op_choose_part (op, (enum part) (n % of), CHANCE_CRASH);
    op_write_part (op, medium);
    n /= of;
  }
  return n;
}

struct disk *
disk_crash_nth (const struct disk *disk, uint64_t n)
{
  struct medium medium = medium_copy (&disk->durable);

  trace_mix (n);
  n = apply_nth (disk, &disk->cache, &medium, n);
  n = apply_nth (disk, &disk->in_flight, &medium, n);
  assert (n == 0);
  return disk_with (disk, &medium);
}
