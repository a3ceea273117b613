/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Pages of a bitmap that is in a file: one copy, no leg.
 *
 * Each piece of a page that lies by itself on the device is one operation, and
 * neighbours are one together; all are started at once and waited for.  Those
 * that are durable by themselves carry FUA.  Through the page cache a write
 * says nothing but that the kernel has it: the flush behind them says whether
 * they are durable, and is asked once.
 *
 * No lock here; the bitmap sees to it that no two calls overlap.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "bitmap/store_file.h"
#include "format/bitmap_superblock.h"

/* Bytes of the file, and where they are in the images. */
struct run {
  uint64_t offset, length;
  uint64_t skip;
};

static bool
waits_for_flush (const struct file *file)
{
  return file->io == FILE_PAGECACHE;
}

/* The extent that holds that byte. */
static const struct file_extent *
find_extent (const struct file *file, uint64_t offset)
{
  unsigned low = 0, high = file->nextents;

  while (high - low > 1) {
    unsigned middle = low + (high - low) / 2;

    if (file->extents[middle].offset <= offset)
      low = middle;
    else
      high = middle;
  }
  assert (low < file->nextents);
  assert (offset >= file->extents[low].offset);
  assert (offset < file->extents[low].offset + file->extents[low].length);
  return &file->extents[low];
}

/* Each piece of the run, as an operation of the batch; NULL: count them. */
static unsigned
add_run (const struct file *file, const struct run *run, struct buffer *images,
         struct io_batch *batch)
{
  const struct file_extent *extent = find_extent (file, run->offset);
  uint64_t done = 0;
  unsigned n = 0;

  while (done < run->length) {
    const struct file_extent *piece = extent++;
    uint64_t inside = run->offset + done - piece->offset;
    uint64_t length = min_u64 (run->length - done, piece->length - inside);

    assert (piece < file->extents + file->nextents);
    if (batch)
      io_batch_add (batch, file->device, IO_WRITE,
                    waits_for_flush (file) ? 0 : IO_FUA, piece->at + inside,
                    length, images, run->skip + done);
    done += length;
    n++;
  }
  return n;
}

/* The run of neighbours that begins at pages[i]; returns how many. */
static unsigned
next_run (const struct file *file, const uint64_t *pages, unsigned n,
          unsigned i, uint64_t used, struct run *run)
{
  const uint64_t last = round_up (used, file->device->limits.logical_block);
  unsigned count = 1;

  while (i + count < n && pages[i + count] == pages[i] + count)
    count++;
  run->offset = pages[i] * BITMAP_PAGE_BYTES;
  run->length =
      min_u64 (run->offset + (uint64_t)count * BITMAP_PAGE_BYTES, last)
      - run->offset;
  run->skip = (uint64_t)i * BITMAP_PAGE_BYTES;
  return count;
}

static unsigned
add_pages (const struct file *file, struct buffer *images,
           const uint64_t *pages, unsigned n, uint64_t used,
           struct io_batch *batch)
{
  unsigned operations = 0;
  struct run run;

  for (unsigned i = 0; i < n;) {
    i += next_run (file, pages, n, i, used, &run);
    operations += add_run (file, &run, images, batch);
  }
  return operations;
}

/* What an operation says is final, whatever it is. */
static int
run (struct io_batch *batch)
{
  int err;

  rt_order_enter (RT_ORDER_BATCH);
  err = io_batch_run (batch);
  rt_order_leave (RT_ORDER_BATCH);
  return err == -ENOMEM ? -EIO : err;
}

static struct io_batch *
flush_batch (const struct file *file)
{
  struct io_batch *batch = io_batch_new (1);

  if (batch)
    io_batch_add (batch, file->device, IO_FLUSH, 0, 0, 0, NULL, 0);
  return batch;
}

int
store_file_flush (const struct file *file)
{
  struct io_batch *flush = flush_batch (file);
  int err = flush ? run (flush) : -ENOMEM;

  io_batch_unref (flush);
  return err;
}

int
store_file_write (const struct file *file, struct buffer *images,
                  const uint64_t *pages, unsigned n, uint64_t used)
{
  struct io_batch *batch =
      io_batch_new (add_pages (file, images, pages, n, used, NULL));
  struct io_batch *flush = flush_batch (file);
  int err = batch && flush ? 0 : -ENOMEM;

  if (err == 0 && file->still_ours)
    err = file->still_ours (file);
  if (err == 0) {
    (void)add_pages (file, images, pages, n, used, batch);
    err = run (batch);
  }
  if (err == 0 && waits_for_flush (file))
    err = run (flush);
  io_batch_unref (batch);
  io_batch_unref (flush);
  return err;
}
