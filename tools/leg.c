/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A leg, or a bitmap file, to look at: opened for reading and without a lock,
 * so that it may be in use by a server, and not a byte is changed.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tools.h"

#define TIMEOUT (30 * RT_SECOND)

ptrdiff_t
tool_leg_read (const struct tool_leg *leg, uint64_t offset, size_t length,
               void *data)
{
  /* O_DIRECT: whole blocks.  A file may end inside one. */
  const uint64_t unit = BUFFER_ALIGNMENT;
  const uint64_t first = round_down (offset, unit);
  const size_t skip = (size_t)(offset - first);
  struct buffer *buffer = buffer_new (round_up (skip + length, unit));
  ptrdiff_t n = 0;

  if (!buffer) {
    tool_error ("leg %s: out of memory", leg->path);
    return -1;
  }
  do
    n = pread (aio_fd (leg->device), buffer->data, buffer->size, (off_t)first);
  while (n == -1 && errno == EINTR);
  if (n == -1)
    tool_error ("leg %s: reading: %s", leg->path, strerror (errno));
  else {
    n = n > (ptrdiff_t)skip ? n - (ptrdiff_t)skip : 0;
    if (n > (ptrdiff_t)length)
      n = (ptrdiff_t)length;
    memcpy (data, buffer->data + skip, (size_t)n);
  }
  buffer_unref (buffer);
  return n;
}

static bool
read_superblock (struct tool_leg *leg)
{
  uint8_t *block = calloc (1, SUPERBLOCK_1_BYTES);
  ptrdiff_t n;
  int err;

  if (!block) {
    tool_error ("leg %s: out of memory", leg->path);
    return false;
  }
  n = tool_leg_read (leg, SUPERBLOCK_1_2_SECTOR * SECTOR_SIZE,
                     SUPERBLOCK_1_BYTES, block);
  if (n >= 0) {
    err = superblock_1_decode (block, SUPERBLOCK_1_2_SECTOR,
                               leg->device->limits.size / SECTOR_SIZE,
                               &leg->superblock, &leg->intact, &leg->error);
    leg->no_magic = err == -ENOENT;
    leg->refused = leg->intact && err < 0;
  }
  free (block);
  return n >= 0;
}

/* Only errors: that O_DIRECT does not work here is of no interest. */
static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  if (level == LOG_LEVEL_ERROR)
    tool_error ("%s", line);
}

bool
tool_leg_open (struct tool_leg *leg, const char *path)
{
  static const struct log log = { .sink = sink };

  memset (leg, 0, sizeof *leg);
  leg->path = path;
  if (!tool_is_local (path))
    return false;
  leg->aio = aio_new (&log);
  if (!leg->aio) {
    tool_error ("leg %s: out of memory", path);
    return false;
  }
  if (aio_open (leg->aio, path, AIO_READ_ONLY | AIO_NO_LOCK, TIMEOUT,
                &leg->device, NULL)
      < 0) {
    leg->device = NULL;
    return false;
  }
  return read_superblock (leg);
}

void
tool_leg_close (struct tool_leg *leg)
{
  if (leg->device)
    device_close (leg->device);
  aio_free (leg->aio);
}
