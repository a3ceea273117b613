/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A leg, or a bitmap file, to look at: opened for reading and without a lock,
 * so that it may be in use by a server, and not a byte is changed.
 *
 * A superblock is looked for in all places where a version keeps its own.  A
 * leg may carry several, since mdadm wipes only what it finds: what lies
 * where it says that it lies counts, and of those superblock_choose picks one.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
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

/* ---- which superblock ---- */

enum quality { NOTHING, DAMAGED, MISPLACED, INTACT };

/* What was found in one place. */
struct found {
  enum quality quality;
  bool refused;
  struct format_error error;
  struct superblock superblock;
};

static bool
look (const struct tool_leg *leg, enum superblock_version version,
      struct found *found)
{
  const uint64_t sectors = leg->device->limits.size / SECTOR_SIZE;
  const uint64_t sector = superblock_sector (version, sectors);
  uint8_t *block;
  bool intact;
  int err;

  found->quality = NOTHING;
  if (sector == UINT64_MAX)
    return true;
  block = calloc (1, SUPERBLOCK_BYTES);
  if (!block) {
    tool_error ("leg %s: out of memory", leg->path);
    return false;
  }
  if (tool_leg_read (leg, sector * SECTOR_SIZE, SUPERBLOCK_BYTES, block) < 0) {
    free (block);
    return false;
  }
  err = superblock_decode (version, block, sectors, &found->superblock, &intact,
                           &found->error);
  free (block);
  if (err == -ENOENT)
    return true;
  found->refused = err < 0;
  found->quality = !intact ? DAMAGED : INTACT;
  if (intact && err < 0 && strcmp (found->error.field, "super_offset") == 0)
    found->quality = MISPLACED;
  return true;
}

static void
take (struct tool_leg *leg, enum superblock_version version,
      const struct found *found)
{
  leg->version = version;
  leg->no_magic = false;
  leg->intact = found->quality > DAMAGED;
  leg->refused = leg->intact && found->refused;
  leg->error = found->error;
  if (leg->intact)
    leg->superblock = found->superblock;
}

/* The best of those that do not count; -1: nothing at all. */
static int
best_of_bad (const struct found found[SUPERBLOCK_VERSIONS])
{
  int best = -1;

  for (int i = SUPERBLOCK_VERSIONS - 1; i >= 0; --i)
    if (found[i].quality != NOTHING
        && (best == -1 || found[i].quality > found[best].quality))
      best = i;
  return best;
}

static void
choose (struct tool_leg *leg, const struct found found[SUPERBLOCK_VERSIONS])
{
  const struct superblock *valid[SUPERBLOCK_VERSIONS] = { NULL };
  enum superblock_version chosen, rival;
  int best, err;

  for (unsigned i = 0; i < SUPERBLOCK_VERSIONS; ++i)
    if (found[i].quality == INTACT)
      valid[i] = &found[i].superblock;
  err = superblock_choose (valid, &chosen, &rival);
  best = err == -ENOENT ? best_of_bad (found) : (int)chosen;
  if (best != -1)
    take (leg, (enum superblock_version)best, &found[best]);
  leg->ambiguous = err == -EINVAL;
  for (int i = SUPERBLOCK_VERSIONS - 1; i >= 0; --i)
    if (i != best && found[i].quality == INTACT)
      leg->others[leg->nothers++] = (enum superblock_version)i;
}

static bool
read_superblocks (struct tool_leg *leg)
{
  struct found *found = calloc (SUPERBLOCK_VERSIONS, sizeof *found);
  bool ok = found != NULL;

  if (!found)
    tool_error ("leg %s: out of memory", leg->path);
  leg->no_magic = true;
  for (unsigned i = 0; i < SUPERBLOCK_VERSIONS && ok; ++i)
    ok = look (leg, (enum superblock_version)i, &found[i]);
  if (ok)
    choose (leg, found);
  free (found);
  return ok;
}

void
tool_leg_complain (const struct tool_leg *leg)
{
  char text[300];

  for (unsigned i = 0; i < leg->nothers; ++i)
    tool_error ("leg %s: a superblock of version %s is there as well, %s; wipe "
                "what is not in use with mdadm --zero-superblock",
                leg->path, superblock_version_string (leg->others[i]),
                leg->ambiguous
                    ? "and nothing tells which is true: it is refused"
                    : "older or inside the data, which does not "
                      "count");
  if (leg->no_magic)
    tool_error ("leg %s: no superblock of md found (looked for versions 1.2, "
                "1.1, 1.0 and 0.90)",
                leg->path);
  else if (!leg->intact || leg->refused) {
    format_error_string (&leg->error, text, sizeof text);
    tool_error ("leg %s: %s", leg->path, text);
  }
}

/* ---- open and close ---- */

/* Only errors: that O_DIRECT does not work here is of no interest. */
static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  if (level == LOG_LEVEL_ERROR)
    tool_error ("%s", line);
}

static void
quiet_sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  (void)line;
}

static bool
open_leg (struct tool_leg *leg, const char *path, const struct log *log)
{
  memset (leg, 0, sizeof *leg);
  leg->path = path;
  leg->no_magic = true;
  if (!tool_is_local (path))
    return false;
  leg->aio = aio_new (log);
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
  return read_superblocks (leg);
}

bool
tool_leg_open (struct tool_leg *leg, const char *path)
{
  static const struct log log = { .sink = sink };

  return open_leg (leg, path, &log);
}

bool
tool_leg_open_quietly (struct tool_leg *leg, const char *path)
{
  static const struct log log = { .sink = quiet_sink };

  return open_leg (leg, path, &log);
}

void
tool_leg_close (struct tool_leg *leg)
{
  if (leg->device)
    device_close (leg->device);
  aio_free (leg->aio);
}

/* ---- slots ---- */

bool
tool_slots_init (struct tool_slots *slots, const struct superblock *s)
{
  /* Slots that the table cannot name are all missing. */
  slots->n = (unsigned)min_u64 (s->raid_disks, ROLE_LAST + 1);
  slots->working = 0;
  slots->state = rt_calloc (slots->n + 1, 1);
  if (!slots->state) {
    tool_error ("out of memory");
    return false;
  }
  for (unsigned slot = 0; slot < slots->n; ++slot) {
    unsigned n = 0;

    for (uint32_t i = 0; i < min_u64 (s->max_dev, SUPERBLOCK_MAX_DEV); ++i)
      n += s->dev_roles[i] == slot;
    slots->state[slot] = n < 3 ? ".AR"[n] : '?';
    slots->working += n > 0;
  }
  return true;
}

/* ---- the bitmap ---- */

uint64_t
tool_bitmap_offset (const struct tool_leg *leg)
{
  const struct superblock *s = &leg->superblock;
  const int64_t at = (int64_t)s->super_offset + s->bitmap_offset;

  if (!(s->feature_map & FEATURE_BITMAP_OFFSET) || at < 0
      || (uint64_t)at >= leg->device->limits.size / SECTOR_SIZE)
    return UINT64_MAX;
  return (uint64_t)at * SECTOR_SIZE;
}

bool
tool_bitmap_read_header (const struct tool_leg *leg, struct tool_bitmap *bitmap)
{
  uint8_t block[BITMAP_SUPERBLOCK_BYTES] = { 0 };

  if (tool_leg_read (leg, bitmap->offset, sizeof block, block) < 0)
    return false;
  bitmap->refused = bitmap_superblock_decode (block, &bitmap->header,
                                              &bitmap->intact, &bitmap->error)
                    < 0;
  return true;
}

static uint64_t
count_bits (const uint8_t *data, size_t bytes)
{
  uint64_t n = 0;

  for (size_t i = 0; i < bytes; ++i)
    n += (unsigned)__builtin_popcount (data[i]);
  return n;
}

/* Ones behind the last chunk are not counted; a file may be too short. */
bool
tool_bitmap_count (const struct tool_leg *leg, struct tool_bitmap *bitmap)
{
  const uint64_t chunks =
      bitmap_chunks (bitmap->header.sync_size, bitmap->header.chunksize);
  const uint64_t bytes = div_up (chunks, 8);
  uint8_t *data = rt_alloc (MiB);
  uint64_t done = 0;
  ptrdiff_t n = 0;

  if (!data) {
    tool_error ("%s: out of memory", leg->path);
    return false;
  }
  bitmap->marked = 0;
  while (done < bytes) {
    n = tool_leg_read (leg, bitmap->offset + BITMAP_SUPERBLOCK_BYTES + done,
                       (size_t)min_u64 (MiB, bytes - done), data);
    if (n <= 0)
      break;
    done += (uint64_t)n;
    if (done == bytes && chunks % 8 != 0)
      data[n - 1] &= (uint8_t)(bitmap_bit_mask (chunks) - 1);
    bitmap->marked += count_bits (data, (size_t)n);
  }
  rt_free (data);
  bitmap->chunks = min_u64 (chunks, done * 8);
  if (n < 0)
    return false;
  if (bitmap->chunks < chunks) {
    tool_error ("%s: has bits for %" PRIu64 " chunks, and there are %" PRIu64,
                leg->path, bitmap->chunks, chunks);
    return false;
  }
  return true;
}
