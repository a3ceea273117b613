/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A bitmap's file in memory: device/file.h as far as assembly needs it.  It is
 * never made writable, so that nothing here can be written.  One thread.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "device/file.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"

static const uint8_t *contents;
static uint64_t size_;
static unsigned opened;

void
memory_set_file (const uint8_t *bytes, uint64_t size)
{
  REQUIRE (opened == 0, "the file is still open");
  contents = bytes;
  size_ = size;
}

int
file_open (struct aio *aio, const char *path, enum file_io io, bool read_only,
           uint64_t timeout, struct file **file)
{
  (void)aio, (void)read_only, (void)timeout;
  REQUIRE (strcmp (path, MEMORY_FILE) == 0, "%s was opened", path);
  REQUIRE (contents != NULL, "there is no file");
  *file = rt_calloc (1, sizeof **file);
  if (!*file)
    return -ENOMEM;
  (*file)->io = io;
  (*file)->path = path;
  (*file)->size = size_;
  opened++;
  return 0;
}

int
file_check_place (struct file *file, const struct device *const *legs,
                  unsigned n)
{
  (void)file, (void)legs, (void)n;
  return 0;
}

int
file_read (struct file *file, uint64_t offset, uint64_t length,
           struct buffer *buffer)
{
  REQUIRE (offset % 512 == 0 && length % 512 == 0, "%ju bytes at %ju",
           (uintmax_t)length, (uintmax_t)offset);
  REQUIRE (length <= buffer->size, "%ju bytes", (uintmax_t)length);
  memset (buffer->data, 0, length);
  if (offset < file->size)
    memcpy (buffer->data, contents + offset,
            min_u64 (length, file->size - offset));
  return 0;
}

void
file_close (struct file *file)
{
  if (!file)
    return;
  opened--;
  rt_free (file);
}

int
file_prepare (struct file *file, uint64_t length)
{
  (void)file, (void)length;
  REQUIRE (false, "the file would be written");
  return -EIO;
}

int
file_check (struct file *file)
{
  (void)file;
  REQUIRE (false, "the file was not prepared");
  return -EIO;
}

int
file_make (const struct log *log, const char *path, uint64_t length,
           bool replace,
           void (*fill) (void *opaque, uint64_t from, size_t n, uint8_t *data),
           void *opaque)
{
  (void)log, (void)length, (void)replace, (void)fill, (void)opaque;
  REQUIRE (false, "%s would be made", path);
  return -EIO;
}
