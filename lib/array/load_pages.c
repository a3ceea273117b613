/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Loading the pages of the bitmap's copies, at assembly, without a lock.
 *
 * The copies are read side by side, a piece of each in one batch, and merged
 * page by page.  Of a large array nearly all pages are zeroes, and the same on
 * all legs; so a page that equals the first copy's is not looked at again, and
 * one of zeroes not at all: neither could set a bit, or differ.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "array/load.h"

/* Of each copy at a time. */
#define PIECE_BYTES (1 * MiB)
#define PIECE_PAGES (PIECE_BYTES / BITMAP_PAGE_BYTES)

struct reader {
  const struct copy *copy;
  struct buffer *buffer; /* a piece */
  uint64_t bytes;        /* of the bitmap, in whole blocks of the leg */
  struct io *io;
  int err; /* it cannot be read any more */
};

struct readers {
  struct reader list[ARRAY_MAX_LEGS];
  unsigned n;
};

static int
open_readers (struct array *array, const struct copy *copies, unsigned n,
              struct readers *readers)
{
  const uint64_t used = bitmap_bytes (bitmap_chunk_count (array->bitmap));

  for (unsigned i = 0; i < n; ++i) {
    const struct copy *copy = &copies[i];
    struct reader *reader = &readers->list[readers->n];

    if (copy->state != COPY_VALID)
      continue;
    reader->copy = copy;
    reader->bytes =
        round_up (used, copy->leg ? copy->leg->device->limits.logical_block
                                  : SECTOR_SIZE);
    reader->buffer = buffer_new_zero (
        min_u64 (PIECE_BYTES, round_up (used, BITMAP_PAGE_BYTES)));
    if (!reader->buffer)
      return -ENOMEM;
    readers->n++;
  }
  return 0;
}

static void
close_readers (struct readers *readers)
{
  for (unsigned i = 0; i < readers->n; ++i)
    buffer_unref (readers->list[i].buffer);
}

/* The piece of every copy that can still be read.  What is behind the end of a
 * file reads as zeroes.  Their errors are in err; -ENOMEM.
 */
static int
read_pieces (struct array *array, struct readers *readers, uint64_t at)
{
  struct io_batch *batch = io_batch_new (readers->n);
  int err = 0;

  if (!batch)
    return -ENOMEM;
  for (unsigned i = 0; i < readers->n; ++i) {
    struct reader *reader = &readers->list[i];
    const struct leg *leg = reader->copy->leg;
    uint64_t length = min_u64 (PIECE_BYTES, reader->bytes - at);

    reader->io = NULL;
    if (reader->err != 0)
      continue;
    if (leg)
      reader->io =
          io_batch_add (batch, leg->device, IO_READ, 0, leg->bitmap_offset + at,
                        length, reader->buffer, 0);
    else
      reader->err = file_read (array->file, at, length, reader->buffer);
  }
  if (io_batch_count (batch) > 0)
    (void)io_batch_run (batch);
  for (unsigned i = 0; i < readers->n; ++i) {
    struct reader *reader = &readers->list[i];

    if (reader->io)
      reader->err = reader->io->result;
    if (reader->err == -ENOMEM)
      err = -ENOMEM;
  }
  io_batch_unref (batch);
  return err;
}

/* The page, which is the i-th of the piece, of every copy that was read. */
static int
merge_page (struct array *array, const struct readers *readers, uint64_t page,
            uint64_t i)
{
  const uint8_t *first = NULL;
  int err = 0;

  for (unsigned k = 0; k < readers->n && err == 0; ++k) {
    const struct reader *reader = &readers->list[k];
    const uint8_t *image = reader->buffer->data + i * BITMAP_PAGE_BYTES;

    if (reader->err != 0
        || (first && memcmp (image, first, BITMAP_PAGE_BYTES) == 0))
      continue;
    if (first || !bytes_are_zero (image, BITMAP_PAGE_BYTES))
      err = bitmap_load_page (array->bitmap, page, image, !array->clean, !first,
                              &array->bitmap_rewrite);
    if (!first)
      first = image;
  }
  return err;
}

/* Who could be read to its end? */
static int
judge (struct array *array, const struct readers *readers, unsigned *valid)
{
  *valid = 0;
  for (unsigned i = 0; i < readers->n; ++i) {
    const struct reader *reader = &readers->list[i];

    if (reader->err == 0) {
      ++*valid;
      continue;
    }
    log_error (array->log, "%s %s: reading the bitmap: %s", reader->copy->kind,
               reader->copy->name, strerror (-reader->err));
    if (!reader->copy->leg)
      return -EINVAL; /* there is no other one */
    array->bitmap_rewrite = array->bitmap_stale = true;
  }
  return 0;
}

int
array_load_pages (struct array *array, const struct copy *copies, unsigned n,
                  unsigned *valid)
{
  const uint64_t pages = bitmap_page_count (array->bitmap);
  struct readers readers = { .n = 0 };
  int err = open_readers (array, copies, n, &readers);

  for (uint64_t page = 0; page < pages && readers.n > 0 && err == 0;
       page += PIECE_PAGES) {
    err = read_pieces (array, &readers, page * BITMAP_PAGE_BYTES);
    for (uint64_t i = 0; i < min_u64 (PIECE_PAGES, pages - page) && err == 0;
         ++i)
      err = merge_page (array, &readers, page + i, i);
  }
  if (err == 0)
    err = judge (array, &readers, valid);
  close_readers (&readers);
  return err;
}
