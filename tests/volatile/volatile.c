/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* An nbdkit plugin for tests: a disk with a volatile write cache.
 *
 *   nbdkit nbdkit-volatile-plugin.so file=PATH [evict=PERCENT] [seed=N]
 *          [fail-flush=TRIGGER]
 *
 * PATH is the medium.  A write goes to the cache, which is memory, and from
 * there to the medium when it is flushed; a write with FUA takes only its
 * own sectors there.  SIGKILL is the power cut: what was not flushed is
 * lost.  A real cache also writes back when it likes to: with evict=PERCENT
 * each sector that is written pushes, with that probability, some sector,
 * chosen at random, to the medium.  So after a crash any subset of the
 * unflushed writes may be there.
 *
 * While the file TRIGGER exists, flushes and FUA writes fail with EIO and
 * take nothing to the medium.
 *
 * Sectors of 512 bytes are the unit; a request that covers part of one
 * reads the rest first.  Requests are serialized: there is no lock.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

#define SECTOR 512u

/* A sector in the cache. */
struct line {
  uint64_t sector;
  uint8_t data[SECTOR];
};

static char *file, *fail_flush;
static unsigned evict;
static uint64_t seed = 1;

static int fd = -1;
static uint64_t size; /* bytes */

/* All lines, without gaps, and for each sector its number there plus 1. */
static struct line *lines;
static uint32_t nlines, room;
static uint32_t *where;

static uint64_t
next (void)
{
  seed ^= seed >> 12;
  seed ^= seed << 25;
  seed ^= seed >> 27;
  return seed * UINT64_C (0x2545f4914f6cdd1d);
}

/* ---- cache ---- */

static int
read_sector (uint64_t sector, uint8_t *data)
{
  if (where[sector] != 0) {
    memcpy (data, lines[where[sector] - 1].data, SECTOR);
    return 0;
  }
  if (pread (fd, data, SECTOR, (off_t)(sector * SECTOR)) != (ssize_t)SECTOR) {
    nbdkit_error ("%s: read: %m", file);
    nbdkit_set_error (EIO);
    return -1;
  }
  return 0;
}

/* The sector's line, new if it has none; NULL with the error set. */
static struct line *
need_line (uint64_t sector)
{
  if (where[sector] == 0) {
    if (nlines == room) {
      uint32_t more = room == 0 ? 1024 : room * 2;
      struct line *p = realloc (lines, more * sizeof *lines);

      if (!p) {
        nbdkit_error ("realloc: %m");
        nbdkit_set_error (ENOMEM);
        return NULL;
      }
      lines = p;
      room = more;
    }
    lines[nlines].sector = sector;
    where[sector] = ++nlines;
  }
  return &lines[where[sector] - 1];
}

/* To the medium, and out of the cache. */
static int
write_back (uint32_t i)
{
  uint64_t sector = lines[i].sector;

  if (pwrite (fd, lines[i].data, SECTOR, (off_t)(sector * SECTOR))
      != (ssize_t)SECTOR) {
    nbdkit_error ("%s: write: %m", file);
    nbdkit_set_error (EIO);
    return -1;
  }
  where[sector] = 0;
  nlines--;
  if (i < nlines) {
    lines[i] = lines[nlines];
    where[lines[i].sector] = i + 1;
  }
  return 0;
}

static int
maybe_evict (void)
{
  if (nlines == 0 || next () % 100 >= evict)
    return 0;
  return write_back ((uint32_t)(next () % nlines));
}

static int
refuse_flush (void)
{
  if (!fail_flush || access (fail_flush, F_OK) == -1)
    return 0;
  nbdkit_set_error (EIO);
  return -1;
}

/* data is NULL for zeroes. */
static int
store (const uint8_t *data, uint64_t count, uint64_t offset, bool fua)
{
  if (fua && refuse_flush () == -1)
    return -1;
  while (count > 0) {
    uint64_t sector = offset / SECTOR, skip = offset % SECTOR;
    uint64_t n = SECTOR - skip < count ? SECTOR - skip : count;
    uint8_t whole[SECTOR];
    struct line *line;

    if (n < SECTOR && read_sector (sector, whole) == -1)
      return -1;
    if (data)
      memcpy (whole + skip, data, n);
    else
      memset (whole + skip, 0, n);
    line = need_line (sector);
    if (!line)
      return -1;
    memcpy (line->data, whole, SECTOR);
    if (fua ? write_back (where[sector] - 1) == -1 : maybe_evict () == -1)
      return -1;
    offset += n;
    count -= n;
    if (data)
      data += n;
  }
  return 0;
}

/* ---- callbacks ---- */

static int
volatile_config (const char *key, const char *value)
{
  uint64_t n;

  if (strcmp (key, "file") == 0) {
    free (file);
    file = nbdkit_absolute_path (value);
    return file ? 0 : -1;
  }
  if (strcmp (key, "fail-flush") == 0) {
    free (fail_flush);
    fail_flush = nbdkit_absolute_path (value);
    return fail_flush ? 0 : -1;
  }
  if (strcmp (key, "evict") == 0) {
    if (nbdkit_parse_unsigned ("evict", value, &evict) == -1)
      return -1;
    if (evict > 100) {
      nbdkit_error ("evict=%s: must be from 0 to 100", value);
      return -1;
    }
    return 0;
  }
  if (strcmp (key, "seed") == 0) {
    if (nbdkit_parse_uint64_t ("seed", value, &n) == -1)
      return -1;
    seed = n * UINT64_C (0x9e3779b97f4a7c15) | 1;
    return 0;
  }
  nbdkit_error ("unknown parameter '%s'", key);
  return -1;
}

static int
volatile_config_complete (void)
{
  if (!file) {
    nbdkit_error ("file=PATH is needed");
    return -1;
  }
  return 0;
}

static int
volatile_get_ready (void)
{
  off_t end;

  fd = open (file, O_RDWR | O_CLOEXEC);
  end = fd == -1 ? -1 : lseek (fd, 0, SEEK_END); /* of a device as well */
  if (end == -1) {
    nbdkit_error ("%s: %m", file);
    return -1;
  }
  size = (uint64_t)end;
  if (size == 0 || size % SECTOR != 0) {
    nbdkit_error ("%s: not a whole number of sectors", file);
    return -1;
  }
  where = calloc (size / SECTOR, sizeof *where);
  if (!where) {
    nbdkit_error ("calloc: %m");
    return -1;
  }
  return 0;
}

static void
volatile_unload (void)
{
  /* Also at an orderly end what was not flushed is lost. */
  if (fd != -1)
    close (fd);
  free (where);
  free (lines);
  free (fail_flush);
  free (file);
}

static void *
volatile_open (int readonly)
{
  (void)readonly;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
volatile_get_size (void *handle)
{
  (void)handle;
  return (int64_t)size;
}

static int
volatile_yes (void *handle)
{
  (void)handle;
  return 1;
}

static int
volatile_can_fua (void *handle)
{
  (void)handle;
  return NBDKIT_FUA_NATIVE;
}

static int
volatile_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                     uint32_t *maximum)
{
  (void)handle;
  *minimum = SECTOR;
  *preferred = 4096;
  *maximum = 32 * 1024 * 1024;
  return 0;
}

static int
volatile_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
                uint32_t flags)
{
  uint8_t *data = buf;

  (void)handle;
  (void)flags;
  while (count > 0) {
    uint32_t skip = (uint32_t)(offset % SECTOR);
    uint32_t n = SECTOR - skip < count ? SECTOR - skip : count;
    uint8_t whole[SECTOR];

    if (read_sector (offset / SECTOR, whole) == -1)
      return -1;
    memcpy (data, whole + skip, n);
    data += n;
    offset += n;
    count -= n;
  }
  return 0;
}

static int
volatile_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
                 uint32_t flags)
{
  (void)handle;
  return store (buf, count, offset, flags & NBDKIT_FLAG_FUA);
}

static int
volatile_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  (void)handle;
  return store (NULL, count, offset, flags & NBDKIT_FLAG_FUA);
}

static int
volatile_flush (void *handle, uint32_t flags)
{
  (void)handle;
  (void)flags;
  if (refuse_flush () == -1)
    return -1;
  while (nlines > 0)
    if (write_back (nlines - 1) == -1)
      return -1;
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name = "volatile",
  .longname = "disk with a volatile cache, for tests",
  .version = PACKAGE_VERSION,
  .unload = volatile_unload,
  .config = volatile_config,
  .config_complete = volatile_config_complete,
  .magic_config_key = "file",
  .get_ready = volatile_get_ready,
  .open = volatile_open,
  .get_size = volatile_get_size,
  .block_size = volatile_block_size,
  .can_flush = volatile_yes,
  .can_trim = volatile_yes,
  .can_zero = volatile_yes,
  .can_multi_conn = volatile_yes,
  .can_fua = volatile_can_fua,
  .pread = volatile_pread,
  .pwrite = volatile_pwrite,
  .zero = volatile_zero,
  .trim = volatile_zero,
  .flush = volatile_flush,
};

/* The macro defines it without a prototype. */
extern struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
