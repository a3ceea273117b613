/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The header of a write-intent bitmap.
 *
 * Pure: no I/O, no allocation, no state.  decode looks at every field, and
 * decode followed by encode gives the same bytes.  What only makes sense
 * beside a superblock (uuid, events, room) is not judged here.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "format/bitmap_superblock.h"

/* Where the fields are. */
enum {
  OFF_MAGIC = 0,
  OFF_VERSION = 4,
  OFF_UUID = 8,
  OFF_EVENTS = 24,
  OFF_EVENTS_CLEARED = 32,
  OFF_SYNC_SIZE = 40,
  OFF_STATE = 48,
  OFF_CHUNKSIZE = 52,
  OFF_DAEMON_SLEEP = 56,
  OFF_WRITE_BEHIND = 60,
  OFF_SECTORS_RESERVED = 64,
  OFF_NODES = 68,
  OFF_CLUSTER_NAME = 72,
  OFF_PAD = 136,
};

/* As widths, for the compiler to compare.  Never pointed at a block. */
struct on_disk {
  uint8_t magic[4], version[4], uuid[16];
  uint8_t events[8], events_cleared[8], sync_size[8];
  uint8_t state[4], chunksize[4], daemon_sleep[4], write_behind[4];
  uint8_t sectors_reserved[4], nodes[4], cluster_name[64], pad[120];
};

#define AT(field, where)                                          \
  static_assert (offsetof (struct on_disk, field) == OFF_##where, \
                 "offset of " #field)
AT (magic, MAGIC);
AT (version, VERSION);
AT (uuid, UUID);
AT (events, EVENTS);
AT (events_cleared, EVENTS_CLEARED);
AT (sync_size, SYNC_SIZE);
AT (state, STATE);
AT (chunksize, CHUNKSIZE);
AT (daemon_sleep, DAEMON_SLEEP);
AT (write_behind, WRITE_BEHIND);
AT (sectors_reserved, SECTORS_RESERVED);
AT (nodes, NODES);
AT (cluster_name, CLUSTER_NAME);
AT (pad, PAD);
#undef AT
static_assert (sizeof (struct on_disk) == BITMAP_SUPERBLOCK_BYTES,
               "the bits follow the header at once");

#define CHUNKSIZE_MIN    512
#define WRITE_BEHIND_MAX 16383

/* On disk only in bitmaps of version 3. */
#define STATE_HOSTENDIAN 0x8000

static const char newer[] =
    "a newer md wrote this bitmap: use the kernel, or a newer mdbitmap";
static const char replace[] =
    "mdbitmap bitmap --force internal LEG... makes it anew";

static void
unpack (const uint8_t *block, struct bitmap_superblock *b)
{
  memcpy (b->block, block, BITMAP_SUPERBLOCK_BYTES);
  b->version = get_le32 (block + OFF_VERSION);
  memcpy (b->uuid, block + OFF_UUID, sizeof b->uuid);
  b->events = get_le64 (block + OFF_EVENTS);
  b->events_cleared = get_le64 (block + OFF_EVENTS_CLEARED);
  b->sync_size = get_le64 (block + OFF_SYNC_SIZE);
  b->state = get_le32 (block + OFF_STATE);
  b->chunksize = get_le32 (block + OFF_CHUNKSIZE);
  b->daemon_sleep = get_le32 (block + OFF_DAEMON_SLEEP);
  b->write_behind = get_le32 (block + OFF_WRITE_BEHIND);
  b->sectors_reserved = get_le32 (block + OFF_SECTORS_RESERVED);
  b->nodes = get_le32 (block + OFF_NODES);
}

/* In version 3 the bits have the byte order of the machine that wrote them.
 * Which one that was is not recorded; md takes it to be this one.
 */
static int
check_version (const struct bitmap_superblock *b, struct format_error *error)
{
  switch (b->version) {
  case BITMAP_VERSION:
    return 0;
  case BITMAP_VERSION_HOSTENDIAN:
    if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
      return 0;
    return format_refuse (error, "version", replace, "4",
                          "3 (bits in the byte order of the writer)");
  case 5:
    return format_refuse (error, "version",
                          "clustered arrays can be served by the kernel only",
                          "4", "5 (clustered)");
  case 6:
    return format_refuse (error, "version",
                          "lockless bitmaps can be served by the kernel only",
                          "4", "6 (lockless)");
  default:
    return format_refuse (error, "version", newer, "4", "%" PRIu32, b->version);
  }
}

static int
check_state (const struct bitmap_superblock *b, struct format_error *error)
{
  uint32_t allowed = BITMAP_STALE;

  if (b->version == BITMAP_VERSION_HOSTENDIAN)
    allowed |= STATE_HOSTENDIAN;
  if (b->state & BITMAP_WRITE_ERROR)
    return format_refuse (error, "state", replace, "0 or 2 (out of date)",
                          "0x%" PRIx32 " (a write of the bitmap failed)",
                          b->state);
  if (b->state & ~allowed)
    return format_refuse (error, "state", newer, "0 or 2 (out of date)",
                          "0x%" PRIx32, b->state);
  return 0;
}

static int
check_pads (const struct bitmap_superblock *b, struct format_error *error)
{
  for (unsigned i = OFF_CLUSTER_NAME; i < BITMAP_SUPERBLOCK_BYTES; ++i)
    if (b->block[i] != 0)
      return format_refuse (error, i < OFF_PAD ? "cluster_name" : "pad", newer,
                            "zeroes", "0x%02x at byte %u", b->block[i], i);
  return 0;
}

/* uuid and events are compared with the superblock by whoever has it.
 * events_cleared may be one more than events, since md counts back when it
 * marks an array clean.  sync_size may be anything: md computes it anew.
 * sectors_reserved is compared with the chunks by layout_check.
 */
int
bitmap_superblock_decode (const uint8_t block[BITMAP_SUPERBLOCK_BYTES],
                          struct bitmap_superblock *b, bool *intact,
                          struct format_error *error)
{
  int r;

  *intact = false;
  if (get_le32 (block + OFF_MAGIC) != BITMAP_MAGIC)
    return -ENOENT;
  unpack (block, b);
  *intact = true;

  r = check_version (b, error);
  if (r == 0)
    r = check_state (b, error);
  if (r < 0)
    return r;
  if (b->events > INT64_MAX)
    return format_refuse (error, "events", replace, "less than 2^63",
                          "%" PRIu64, b->events);
  if (b->events_cleared > INT64_MAX)
    return format_refuse (error, "events_cleared", replace, "less than 2^63",
                          "%" PRIu64, b->events_cleared);
  if (!is_power_of_2 (b->chunksize) || b->chunksize < CHUNKSIZE_MIN)
    return format_refuse (error, "chunksize", replace,
                          "a power of two, at least 512", "%" PRIu32,
                          b->chunksize);
  if (b->daemon_sleep < 1)
    return format_refuse (error, "daemon_sleep", replace, "at least 1",
                          "%" PRIu32, b->daemon_sleep);
  if (b->write_behind > WRITE_BEHIND_MAX)
    return format_refuse (error, "write_behind", replace, "at most 16383",
                          "%" PRIu32, b->write_behind);
  if (b->nodes != 0)
    return format_refuse (error, "nodes",
                          "clustered arrays can be served by the kernel only",
                          "0", "%" PRIu32, b->nodes);
  return check_pads (b, error);
}

void
bitmap_superblock_encode (const struct bitmap_superblock *b,
                          uint8_t block[BITMAP_SUPERBLOCK_BYTES])
{
  memmove (block, b->block, BITMAP_SUPERBLOCK_BYTES);
  put_le32 (block + OFF_MAGIC, BITMAP_MAGIC);
  put_le32 (block + OFF_VERSION, b->version);
  memcpy (block + OFF_UUID, b->uuid, sizeof b->uuid);
  put_le64 (block + OFF_EVENTS, b->events);
  put_le64 (block + OFF_EVENTS_CLEARED, b->events_cleared);
  put_le64 (block + OFF_SYNC_SIZE, b->sync_size);
  put_le32 (block + OFF_STATE, b->state);
  put_le32 (block + OFF_CHUNKSIZE, b->chunksize);
  put_le32 (block + OFF_DAEMON_SLEEP, b->daemon_sleep);
  put_le32 (block + OFF_WRITE_BEHIND, b->write_behind);
  put_le32 (block + OFF_SECTORS_RESERVED, b->sectors_reserved);
  put_le32 (block + OFF_NODES, b->nodes);
}

uint64_t
bitmap_chunks (uint64_t size, uint32_t chunksize)
{
  assert (chunksize >= CHUNKSIZE_MIN && is_power_of_2 (chunksize));
  return div_up (size, chunksize / SECTOR_SIZE);
}

uint64_t
bitmap_bytes (uint64_t chunks)
{
  return BITMAP_SUPERBLOCK_BYTES + div_up (chunks, 8);
}
