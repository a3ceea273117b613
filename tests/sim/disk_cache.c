/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The volatile cache of a disk.
 *
 * A write in the cache has a bit for each of its sectors, live while this
 * value may yet become the durable one.  It stops being live when it is
 * written back, when a later value of the sector is, or with the cache.
 *
 * Invariants, between calls:
 *   1. current is durable with the live sectors of the cache applied in order.
 *   2. Each write in the cache has a live sector; the list is in order of
 *      sequence.
 *   3. What a sector may be after a crash is what durable says, or any live
 *      value of it, or a value in flight.  It only ever gets less by writing
 *      back, and more by writes.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/disk_io.h"

/* More writes than this are written back, so that a disk which is never
 * flushed stays cheap.
 */
#define CACHE_MAX 256

static void *
allocate (size_t size)
{
  void *p = malloc (size);

  if (!p)
    abort ();
  return p;
}

/* ---- bits ---- */

static bool
is_set (const uint64_t *bits, uint64_t i)
{
  return bits[i / 64] >> (i % 64) & 1;
}

static void
set_bit (uint64_t *bits, uint64_t i)
{
  bits[i / 64] |= UINT64_C (1) << (i % 64);
}

static void
clear_bit (uint64_t *bits, uint64_t i)
{
  bits[i / 64] &= ~(UINT64_C (1) << (i % 64));
}

static uint64_t
count_bits (const uint64_t *bits, uint64_t n)
{
  uint64_t count = 0;

  for (uint64_t i = 0; i < n; i += 64)
    count += (uint64_t)__builtin_popcountll (bits[i / 64]);
  return count;
}

/* The first run of set bits at or after *end, of n bits: [*first, *end). */
static bool
next_run (const uint64_t *bits, uint64_t n, uint64_t *first, uint64_t *end)
{
  uint64_t i = *end;

  while (i < n && !is_set (bits, i))
    i += bits[i / 64] >> (i % 64) == 0 ? 64 - i % 64 : 1;
  if (i >= n)
    return false;
  *first = i;
  while (i < n && is_set (bits, i))
    ++i;
  *end = i;
  return true;
}

/* ---- media ---- */

static size_t
spoiled_bytes (const struct medium *medium)
{
  return (size_t)(image_size (medium->image) / DISK_SECTOR / 64 + 1)
         * sizeof (uint64_t);
}

struct medium
medium_copy (const struct medium *from)
{
  struct medium medium = { .image = image_copy (from->image) };

  if (from->spoiled) {
    medium.spoiled = allocate (spoiled_bytes (from));
    memcpy (medium.spoiled, from->spoiled, spoiled_bytes (from));
  }
  return medium;
}

void
medium_free (struct medium *medium)
{
  image_free (medium->image);
  free (medium->spoiled);
}

static void
medium_replace (struct medium *medium, const struct medium *by)
{
  medium_free (medium);
  *medium = medium_copy (by);
}

void
medium_write (struct medium *medium, uint64_t offset, const uint8_t *data,
              uint64_t length)
{
  uint64_t end = (offset + length) / DISK_SECTOR;

  image_write (medium->image, offset, data, length);
  if (medium->spoiled)
    for (uint64_t i = offset / DISK_SECTOR; i < end; ++i)
      clear_bit (medium->spoiled, i);
}

void
medium_spoil (struct medium *medium, uint64_t offset, uint64_t length)
{
  uint64_t end = (offset + length + DISK_SECTOR - 1) / DISK_SECTOR;

  if (!medium->spoiled) {
    medium->spoiled = allocate (spoiled_bytes (medium));
    memset (medium->spoiled, 0, spoiled_bytes (medium));
  }
  for (uint64_t i = offset / DISK_SECTOR; i < end; ++i)
    set_bit (medium->spoiled, i);
}

bool
medium_is_spoiled (const struct medium *medium, uint64_t offset,
                   uint64_t length)
{
  uint64_t end = (offset + length + DISK_SECTOR - 1) / DISK_SECTOR;

  if (medium->spoiled)
    for (uint64_t i = offset / DISK_SECTOR; i < end; ++i)
      if (is_set (medium->spoiled, i))
        return true;
  return false;
}

/* ---- operations ---- */

/* One allocation: the bits and the data follow. */
struct disk_op *
op_new (const struct io *io)
{
  bool writes = io->type == IO_WRITE || io->type == IO_ZERO;
  uint64_t sectors = writes ? io->length / DISK_SECTOR : 0;
  uint64_t words = (sectors + 63) / 64;
  uint64_t bytes = io->type == IO_WRITE ? io->length : 0;
  struct disk_op *op = allocate (sizeof *op + (size_t)(3 * words * 8 + bytes));

  memset (op, 0, sizeof *op);
  op->type = io->type;
  op->flags = io->flags;
  op->offset = io->offset;
  op->length = io->length;
  op->timeout = io->device->timeout;
  op->live = op->words;
  op->part = op->words + words;
  op->seen = op->words + 2 * words;
  op->nlive = sectors;
  for (uint64_t i = 0; i < words; ++i) {
    op->live[i] = UINT64_MAX;
    op->seen[i] = 0;
  }
  if (sectors % 64 != 0)
    op->live[words - 1] >>= 64 - sectors % 64;
  if (bytes > 0) {
    op->data = (uint8_t *)(op->words + 3 * words);
    memcpy (op->data, io->data, bytes);
  }
  return op;
}

struct disk_op *
op_copy (const struct disk_op *op, struct disk *disk)
{
  uint64_t words = (op_sectors (op) + 63) / 64;
  uint64_t bytes = op->data ? op->length : 0;
  size_t size = sizeof *op + (size_t)(3 * words * 8 + bytes);
  struct disk_op *copy = allocate (size);

  assert (op_writes (op));
  memcpy (copy, op, size);
  copy->next = copy->prev = NULL;
  copy->disk = disk;
  copy->hurry = NULL;
  copy->live = copy->words;
  copy->part = copy->words + words;
  copy->seen = copy->words + 2 * words;
  if (op->data)
    copy->data = (uint8_t *)(copy->words + 3 * words);
  return copy;
}

/* Sectors by themselves, or all before or after one, as if the power had
 * gone while they were written one after the other.
 */
static void
choose_sectors (struct disk_op *op, enum chance_stream stream)
{
  uint64_t n = op_sectors (op), how, at;

  how = choose (stream, 4);
  if (how < 2) {
    for (uint64_t i = 0; i < n; i += 64)
      op->part[i / 64] = op->live[i / 64] & chance_bits (stream);
    return;
  }
  at = choose (stream, n + 1);
  for (uint64_t i = 0; i < n; ++i)
    if ((how == 2) == (i < at) && is_set (op->live, i))
      set_bit (op->part, i);
}

void
op_choose_part (struct disk_op *op, enum part part, enum chance_stream stream)
{
  uint64_t n = op_sectors (op);
  size_t bytes = (size_t)((n + 63) / 64 * 8);

  if (part == PART_ALL) {
    memcpy (op->part, op->live, bytes);
    return;
  }
  memset (op->part, 0, bytes);
  if (part == PART_SECTORS)
    choose_sectors (op, stream);
  else if (part == PART_FIRST && is_set (op->live, 0))
    set_bit (op->part, 0);
  else if (part == PART_LAST && is_set (op->live, n - 1))
    set_bit (op->part, n - 1);
}

void
op_choose_any_part (struct disk_op *op, enum chance_stream stream)
{
  static const enum part parts[] = { PART_NONE, PART_ALL, PART_SECTORS };

  op_choose_part (op, parts[choose (stream, 3)], stream);
}

static void
write_run (const struct disk_op *op, struct medium *medium, uint64_t first,
           uint64_t end)
{
  medium_write (medium, op->offset + first * DISK_SECTOR,
                op->data ? op->data + first * DISK_SECTOR : NULL,
                (end - first) * DISK_SECTOR);
}

void
op_write_part (const struct disk_op *op, struct medium *medium)
{
  uint64_t first, end = 0;

  while (next_run (op->part, op_sectors (op), &first, &end))
    write_run (op, medium, first, end);
}

/* ---- lists ---- */

void
list_add (struct disk_list *list, struct disk_op *op)
{
  op->next = NULL;
  op->prev = list->last;
  if (list->last)
    list->last->next = op;
  else
    list->first = op;
  list->last = op;
  list->n++;
}

void
list_remove (struct disk_list *list, struct disk_op *op)
{
  if (op->prev)
    op->prev->next = op->next;
  else
    list->first = op->next;
  if (op->next)
    op->next->prev = op->prev;
  else
    list->last = op->prev;
  list->n--;
}

/* ---- writing back ---- */

static void
discard (struct disk *disk, struct disk_op *op)
{
  list_remove (&disk->cache, op);
  free (op);
}

void
cache_free (struct disk *disk)
{
  while (disk->cache.first)
    discard (disk, disk->cache.first);
}

/* In writes older than that one (NULL: in all) the sectors are live no more.
 */
static void
forget_older (struct disk *disk, const struct disk_op *than, uint64_t offset,
              uint64_t length)
{
  struct disk_op *op, *next;
  uint64_t from, to;

  for (op = disk->cache.first; op != than; op = next) {
    next = op->next;
    if (!op_overlaps (op, offset, length))
      continue;
    from = max_u64 (offset, op->offset);
    to = min_u64 (offset + length, op->offset + op->length);
    for (; from < to; from += DISK_SECTOR) {
      uint64_t i = (from - op->offset) / DISK_SECTOR;

      op->nlive -= is_set (op->live, i);
      clear_bit (op->live, i);
    }
    if (op->nlive == 0)
      discard (disk, op);
  }
}

/* op->part of a write in the cache becomes durable.  op may be gone. */
static void
write_back_part (struct disk *disk, struct disk_op *op)
{
  uint64_t n = op_sectors (op), first, end = 0;

  while (next_run (op->part, n, &first, &end)) {
    write_run (op, &disk->durable, first, end);
    forget_older (disk, op, op->offset + first * DISK_SECTOR,
                  (end - first) * DISK_SECTOR);
  }
  for (uint64_t i = 0; i < n; i += 64)
    op->live[i / 64] &= ~op->part[i / 64];
  op->nlive = count_bits (op->live, n);
  if (op->nlive == 0)
    discard (disk, op);
}

static void
write_back (struct disk *disk, struct disk_op *op)
{
  op_choose_part (op, PART_ALL, CHANCE_DISK);
  write_back_part (disk, op);
}

void
cache_add_part (struct disk *disk, struct disk_op *op)
{
  uint64_t n = op_sectors (op);

  op->sequence = ++disk->sequence;
  op_write_part (op, &disk->current);
  memcpy (op->live, op->part, (size_t)((n + 63) / 64 * 8));
  op->nlive = count_bits (op->live, n);
  if (op->nlive == 0) {
    free (op);
    return;
  }
  list_add (&disk->cache, op);
  if (disk->cache.n > CACHE_MAX)
    write_back (disk, disk->cache.first);
}

void
cache_write_through (struct disk *disk, struct disk_op *op)
{
  disk->sequence++;
  medium_write (&disk->current, op->offset, op->data, op->length);
  forget_older (disk, NULL, op->offset, op->length);
  if (disk->cache.n == 0)
    medium_replace (&disk->durable, &disk->current);
  else
    medium_write (&disk->durable, op->offset, op->data, op->length);
  free (op);
}

void
cache_copy (struct disk *disk, const struct disk *from)
{
  assert (disk->cache.n == 0);
  for (const struct disk_op *op = from->cache.first; op; op = op->next)
    list_add (&disk->cache, op_copy (op, disk));
  disk->sequence = from->sequence;
  medium_replace (&disk->current, &from->current);
}

void
cache_flush (struct disk *disk, uint64_t sequence)
{
  struct disk_op *op, *next;

  if (disk->cache.n == 0)
    return;
  if (disk->cache.last->sequence <= sequence) {
    cache_free (disk);
    medium_replace (&disk->durable, &disk->current);
    return;
  }
  while ((op = disk->cache.first) != NULL && op->sequence <= sequence)
    write_back (disk, op);
  for (op = disk->cache.first; op; op = next) {
    next = op->next;
    if (chance (CHANCE_DISK, 1, 4)) {
      op_choose_any_part (op, CHANCE_DISK);
      write_back_part (disk, op);
    }
  }
}

void
cache_drop (struct disk *disk)
{
  struct disk_op *op;

  disk->lost_cache |= disk->cache.n > 0;
  while ((op = disk->cache.first) != NULL) {
    op_choose_any_part (op, CHANCE_DISK);
    op_write_part (op, &disk->durable);
    discard (disk, op);
  }
  medium_replace (&disk->current, &disk->durable);
}

void
cache_wander (struct disk *disk)
{
  struct disk_op *op = disk->cache.first;

  if (!op || !chance (CHANCE_DISK, 1, 16))
    return;
  for (uint64_t i = choose (CHANCE_DISK, disk->cache.n); i > 0; --i)
    op = op->next;
  op_choose_part (op, chance (CHANCE_DISK, 1, 2) ? PART_ALL : PART_SECTORS,
                  CHANCE_DISK);
  write_back_part (disk, op);
}
