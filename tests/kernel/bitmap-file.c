/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A file for a bitmap, driven by hand:
 *
 *   bitmap-file make PATH LENGTH          a new file, byte I is I / 4096 + 1
 *   bitmap-file replace PATH LENGTH       the same, PATH may exist
 *   bitmap-file direct|extent|pagecache|read-only PATH COMMAND...
 *
 *   prepare           all of the file
 *   extents           print them: offset, address, length
 *   write OFFSET BYTE one page, durable when the next command begins
 *   read OFFSET       print the byte there
 *   check             file_check
 *   place LEG...      file_check_place, with all that follow as legs
 *   wait              say so, until a line comes in
 *   close             close it, now and not at the end
 *
 * Each line of the log goes to standard output.  The status tells whether all
 * of it worked.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "device/file.h"

#define PAGE      4096
#define TIMEOUT   (60 * RT_SECOND)
#define MOST_LEGS 4

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  printf ("%s\n", line);
  fflush (stdout);
}

static const struct log the_log = { .sink = sink };

static void __attribute__ ((noreturn)) usage (void)
{
  fprintf (stderr, "see the comment in tests/kernel/bitmap-file.c\n");
  exit (2);
}

static void
fill (void *opaque, uint64_t from, size_t length, uint8_t *data)
{
  (void)opaque;
  for (size_t i = 0; i < length; ++i)
    data[i] = (uint8_t)((from + i) / PAGE + 1);
}

static int
write_batch (struct file *file, uint64_t offset, struct buffer *buffer)
{
  unsigned fua = file->io == FILE_PAGECACHE ? 0 : IO_FUA;
  struct io_batch *batch = io_batch_new (file->nextents);
  uint64_t done = 0;
  int err;

  for (unsigned i = 0; i < file->nextents; ++i) {
    const struct file_extent *e = &file->extents[i];
    uint64_t from = max_u64 (e->offset, offset);
    uint64_t to = min_u64 (e->offset + e->length, offset + PAGE);

    if (from >= to)
      continue;
    io_batch_add (batch, file->device, IO_WRITE, fua,
                  e->at + (from - e->offset), to - from, buffer, from - offset);
    done += to - from;
  }
  err = done == PAGE ? io_batch_run (batch) : -ERANGE;
  io_batch_unref (batch);
  if (err == 0 && !fua)
    err = device_run (file->device, IO_FLUSH, 0, 0, 0, NULL);
  return err;
}

static int
write_page (struct file *file, uint64_t offset, int byte)
{
  struct buffer *buffer = buffer_new (PAGE);
  int err;

  if (!buffer)
    return -ENOMEM;
  memset (buffer->data, byte, PAGE);
  err = write_batch (file, offset, buffer);
  buffer_unref (buffer);
  return err;
}

static int
read_byte (struct file *file, uint64_t offset)
{
  struct buffer *buffer = buffer_new (PAGE);
  int err = file_read (file, offset, 512, buffer);

  if (err == 0)
    printf ("%u\n", buffer->data[0]);
  buffer_unref (buffer);
  return err;
}

static int
place (struct aio *aio, struct file *file, char **paths, int n)
{
  struct device *legs[MOST_LEGS] = { NULL };
  int err = 0;

  for (int i = 0; i < n && i < MOST_LEGS && err == 0; ++i)
    err = aio_open (aio, paths[i], AIO_READ_ONLY | AIO_NO_LOCK, TIMEOUT,
                    &legs[i], NULL);
  if (err == 0)
    err = file_check_place (file, (const struct device *const *)legs,
                            (unsigned)n);
  for (int i = 0; i < MOST_LEGS; ++i)
    if (legs[i])
      device_close (legs[i]);
  return err;
}

static void
wait_for_line (void)
{
  int c;

  printf ("waiting\n");
  fflush (stdout);
  do
    c = getchar ();
  while (c != '\n' && c != EOF);
}

/* One command; *used of its words. */
static int
command (struct aio *aio, struct file **file, char **words, int n, int *used)
{
  struct file *f = *file;

  *used = 1;
  if (strcmp (words[0], "prepare") == 0)
    return file_prepare (f, max_u64 (round_up (f->size, PAGE), PAGE));
  if (strcmp (words[0], "extents") == 0) {
    for (unsigned i = 0; i < f->nextents; ++i)
      printf ("%llu %llu %llu\n", (unsigned long long)f->extents[i].offset,
              (unsigned long long)f->extents[i].at,
              (unsigned long long)f->extents[i].length);
    return 0;
  }
  if (strcmp (words[0], "write") == 0 && n >= 3) {
    *used = 3;
    return write_page (f, strtoull (words[1], NULL, 0), atoi (words[2]));
  }
  if (strcmp (words[0], "read") == 0 && n >= 2) {
    *used = 2;
    return read_byte (f, strtoull (words[1], NULL, 0));
  }
  if (strcmp (words[0], "check") == 0)
    return file_check (f);
  if (strcmp (words[0], "place") == 0) {
    *used = n;
    return place (aio, f, words + 1, n - 1);
  }
  if (strcmp (words[0], "wait") == 0) {
    wait_for_line ();
    return 0;
  }
  if (strcmp (words[0], "close") == 0) {
    file_close (f);
    *file = NULL;
    return 0;
  }
  usage ();
}

static int
drive (const char *how, const char *path, char **words, int n)
{
  static const enum file_io ios[] = { FILE_DIRECT, FILE_EXTENT,
                                      FILE_PAGECACHE };
  struct aio *aio = aio_new (&the_log);
  struct file *file = NULL;
  bool read_only = strcmp (how, "read-only") == 0;
  enum file_io io = FILE_DIRECT;
  int err = aio ? aio_start (aio) : -ENOMEM, used;

  for (unsigned i = 0; i < 3; ++i)
    if (strcmp (how, file_io_string (ios[i])) == 0)
      io = ios[i];
  if (!read_only && strcmp (how, file_io_string (io)) != 0)
    usage ();
  if (err == 0)
    err = file_open (aio, path, io, read_only, TIMEOUT, &file);
  for (; n > 0 && err == 0; words += used, n -= used)
    err = command (aio, &file, words, n, &used);
  file_close (file);
  aio_free (aio);
  return err;
}

int
main (int argc, char **argv)
{
  int err;

  if (argc < 3)
    usage ();
  if (strcmp (argv[1], "make") == 0 || strcmp (argv[1], "replace") == 0) {
    if (argc != 4)
      usage ();
    err = file_make (&the_log, argv[2], strtoull (argv[3], NULL, 0),
                     strcmp (argv[1], "replace") == 0, fill, NULL);
  }
  else
    err = drive (argv[1], argv[2], argv + 3, argc - 3);
  if (err < 0)
    printf ("error: %s\n", strerror (-err));
  return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
