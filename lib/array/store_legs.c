/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The internal bitmap: a copy on every leg.
 *
 * The kernel reads one leg's copy, so a page counts as written only when all
 * in-sync legs have it; a leg that could not take it is failed.  All copies
 * are written at once: a page torn at sectors holds old or new bits, and
 * its header lies in one sector.
 *
 * The last leg stays even if a write to it was given up; as that write may
 * happen at any time later, and would then undo a newer one, no page is
 * written to a leg that has lost writes.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>

#include "array/internal.h"

/* A bitmap on the legs: where it begins there, and its bytes. */
struct area {
  uint64_t start[ARRAY_MAX_LEGS];
  uint64_t bytes;
};

/* Bytes of n pages from that one on, cut where the bitmap ends, at the leg's
 * logical block: the kernel does the same.
 */
static uint64_t
pages_length (const struct area *area, const struct leg *leg, uint64_t page,
              unsigned n)
{
  uint64_t used = round_up (area->bytes, leg->device->limits.logical_block);
  uint64_t start = page * BITMAP_PAGE_BYTES;
  uint64_t end = start + (uint64_t)n * BITMAP_PAGE_BYTES;

  return min_u64 (end, used) - start;
}

/* Add writes for the pages, runs of neighbours together.  The batch has room
 * for a write per page.
 */
static void
add_leg (const struct area *area, struct io_batch *batch, struct leg *leg,
         struct buffer *images, const uint64_t *pages, unsigned n)
{
  unsigned i = 0, run;

  while (i < n) {
    for (run = 1; i + run < n && pages[i + run] == pages[i] + run; ++run)
      ;
    io_batch_add (batch, leg->device, IO_WRITE, IO_FUA,
                  area->start[leg->number] + pages[i] * BITMAP_PAGE_BYTES,
                  pages_length (area, leg, pages[i], run), images,
                  (uint64_t)i * BITMAP_PAGE_BYTES);
    i += run;
  }
}

/* Which legs get the pages.  -EIO if the last one must not be written to. */
static int
choose_legs (struct array *array, struct leg **legs, unsigned *n)
{
  int err = 0;

  *n = array_working_legs (array, legs);
  for (unsigned i = 0; i < *n; ++i)
    if (leg_check_lost_writes (array, legs[i]) != 0)
      err = -EIO;
  *n = array_working_legs (array, legs);
  return err;
}

/* After the batch, under the lock: fail the legs that failed. */
static int
judge (struct array *array, struct io_batch *batch, struct leg *const *legs,
       unsigned n)
{
  int results[ARRAY_MAX_LEGS] = { 0 };

  for (unsigned i = 0; i < n; ++i)
    legs[i]->written++;
  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    const struct io *io = io_batch_get (batch, i);

    for (unsigned k = 0; k < n; ++k)
      if (legs[k]->device == io->device && io->result != 0)
        results[k] = io->result;
  }
  return legs_fail (array, legs, results, n, "writing the bitmap") ? 0 : -EIO;
}

static int
write_area (struct array *array, const struct area *area, struct buffer *images,
            const uint64_t *pages, unsigned n)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  struct io_batch *batch;
  unsigned nlegs;
  int err;

  batch = io_batch_new (array->nlegs * n);
  if (!batch)
    return -ENOMEM;
  rt_mutex_lock (&array->lock);
  err = choose_legs (array, legs, &nlegs);
  for (unsigned i = 0; i < nlegs && err == 0; ++i) {
    legs[i]->written++;
    add_leg (area, batch, legs[i], images, pages, n);
  }
  if (err == 0) {
    array_run_batch (array, batch);
    err = judge (array, batch, legs, nlegs);
  }
  rt_mutex_unlock (&array->lock);
  io_batch_unref (batch);
  return err;
}

int
array_write_new_pages (struct array *array, int32_t offset, uint64_t bytes,
                       struct buffer *images, const uint64_t *pages, unsigned n)
{
  struct area area = { .bytes = bytes };

  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct superblock *sb = array->legs[i].superblock;

    if (sb)
      area.start[i] =
          (uint64_t)((int64_t)sb->super_offset + offset) * SECTOR_SIZE;
  }
  return write_area (array, &area, images, pages, n);
}

static int
write_pages (struct bitmap_store *store, struct buffer *images,
             const uint64_t *pages, unsigned n)
{
  struct array *array =
      (struct array *)((char *)store - offsetof (struct array, store));
  struct area area = {
    .bytes = bitmap_bytes (bitmap_chunk_count (array->bitmap)),
  };

  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    assert (leg->bitmap_room == 0
            || round_up (area.bytes, leg->device->limits.logical_block)
                   <= leg->bitmap_room);
    area.start[i] = leg->bitmap_offset;
  }
  return write_area (array, &area, images, pages, n);
}

static int
settle (struct bitmap_store *store)
{
  return array_settle (
      (struct array *)((char *)store - offsetof (struct array, store)));
}

void
store_legs_init (struct array *array)
{
  array->store.write = write_pages;
  array->store.settle = settle;
}
