/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What the fuzz targets share: see fuzz.h.
 *
 * Nothing here asks lib/ where a field is or whether areas overlap: it is the
 * other opinion.  No state, no lock.
 */

#include <config.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz/fuzz.h"

void
fuzz_die (const char *file, int line, const char *what, const char *fmt, ...)
{
  va_list args;

  fprintf (stderr, "%s:%d: not true: %s: ", file, line, what);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  abort ();
}

/* ---- inputs ---- */

void
input_bytes (struct input *input, void *bytes, size_t n)
{
  size_t have = n < input->n ? n : input->n;

  memset (bytes, 0, n);
  if (have == 0)
    return; /* an empty input may be no pointer at all */
  memcpy (bytes, input->p, have);
  input->p += have;
  input->n -= have;
}

static uint64_t
input_le (struct input *input, unsigned width)
{
  uint8_t bytes[8];

  input_bytes (input, bytes, width);
  return get_le (bytes, width);
}

uint8_t
input_u8 (struct input *input)
{
  return (uint8_t)input_le (input, 1);
}

uint16_t
input_u16 (struct input *input)
{
  return (uint16_t)input_le (input, 2);
}

uint32_t
input_u32 (struct input *input)
{
  return (uint32_t)input_le (input, 4);
}

uint64_t
input_u64 (struct input *input)
{
  return input_le (input, 8);
}

/* ---- fields ---- */

/* New ones at the end: inputs of the corpus count. */
const struct field superblock_fields[] = {
  { 0, 4, "magic" },
  { 4, 4, "major_version" },
  { 8, 4, "feature_map" },
  { 12, 4, "pad0" },
  { 16, 8, "set_uuid" },
  { 32, 8, "set_name" },
  { 64, 8, "ctime" },
  { 72, 4, "level" },
  { 76, 4, "layout" },
  { 80, 8, "size" },
  { 88, 4, "chunksize" },
  { 92, 4, "raid_disks" },
  { 96, 4, "bitmap_offset" },
  { 100, 4, "new_level" },
  { 104, 8, "reshape_position" },
  { 112, 4, "delta_disks" },
  { 124, 4, "new_offset" },
  { 128, 8, "data_offset" },
  { 136, 8, "data_size" },
  { 144, 8, "super_offset" },
  { 152, 8, "recovery_offset" },
  { 160, 4, "dev_number" },
  { 168, 8, "device_uuid" },
  { 184, 1, "devflags" },
  { 185, 1, "bblog_shift" },
  { 186, 2, "bblog_size" },
  { 188, 4, "bblog_offset" },
  { 192, 8, "utime" },
  { 200, 8, "events" },
  { 208, 8, "resync_offset" },
  { 216, 4, "sb_csum" },
  { 220, 4, "max_dev" },
  { 224, 4, "logical_block_size" },
  { 228, 4, "pad3" },
  { 256, 2, "dev_roles" },
  { 258, 2, "dev_roles" },
  { 260, 2, "dev_roles" },
  { 24, 8, "set_uuid" },
  { 40, 8, "set_name" },
  { 48, 8, "set_name" },
  { 56, 8, "set_name" },
  { 116, 4, "new_layout" },
  { 120, 4, "new_chunk" },
  { 164, 4, "cnt_corrected_read" },
  { 176, 8, "device_uuid" },
  { 232, 8, "pad3" },
  { 240, 8, "pad3" },
  { 248, 8, "pad3" },
  { 508, 2, "dev_roles" },
  { 510, 2, "dev_roles" },
};
const unsigned superblock_nfields =
    sizeof superblock_fields / sizeof superblock_fields[0];

#define DESCRIPTOR(offset, name)                                       \
  { (offset), 4, name ".number" }, { (offset) + 4, 4, name ".major" }, \
      { (offset) + 8, 4, name ".minor" },                              \
      { (offset) + 12, 4, name ".raid_disk" },                         \
  {                                                                    \
    (offset) + 16, 4, name ".state"                                    \
  }
const struct field superblock_090_fields[] = {
  { 0, 4, "magic" },
  { 4, 4, "major_version" },
  { 8, 4, "minor_version" },
  { 12, 4, "patch_version" },
  { 16, 4, "gvalid_words" },
  { 20, 4, "set_uuid" },
  { 24, 4, "ctime" },
  { 28, 4, "level" },
  { 32, 4, "size" },
  { 36, 4, "nr_disks" },
  { 40, 4, "raid_disks" },
  { 44, 4, "md_minor" },
  { 48, 4, "not_persistent" },
  { 52, 4, "set_uuid" },
  { 56, 4, "set_uuid" },
  { 60, 4, "set_uuid" },
  { 64, 8, "gstate_creserved" },
  { 128, 4, "utime" },
  { 132, 4, "state" },
  { 136, 4, "active_disks" },
  { 140, 4, "working_disks" },
  { 144, 4, "failed_disks" },
  { 148, 4, "spare_disks" },
  { 152, 4, "sb_csum" },
  { 156, 8, "events" },
  { 164, 8, "cp_events" },
  { 172, 4, "recovery_cp" },
  { 176, 8, "reshape_position" },
  { 184, 4, "new_level" },
  { 188, 4, "delta_disks" },
  { 192, 4, "new_layout" },
  { 196, 4, "new_chunk" },
  { 200, 8, "gstate_sreserved" },
  { 256, 4, "layout" },
  { 260, 4, "chunk_size" },
  { 264, 4, "root_pv" },
  { 268, 4, "root_block" },
  { 272, 8, "pstate_reserved" },
  DESCRIPTOR (512, "disks"),
  DESCRIPTOR (512 + 128, "disks"),
  DESCRIPTOR (512 + 2 * 128, "disks"),
  DESCRIPTOR (512 + 26 * 128, "disks"),
  DESCRIPTOR (3968, "this_disk"),
  { 3968 + 20, 8, "reserved" },
};
#undef DESCRIPTOR
const unsigned superblock_090_nfields =
    sizeof superblock_090_fields / sizeof superblock_090_fields[0];

const struct field bitmap_fields[] = {
  { 0, 4, "magic" },
  { 4, 4, "version" },
  { 8, 8, "uuid" },
  { 24, 8, "events" },
  { 32, 8, "events_cleared" },
  { 40, 8, "sync_size" },
  { 48, 4, "state" },
  { 52, 4, "chunksize" },
  { 56, 4, "daemon_sleep" },
  { 60, 4, "write_behind" },
  { 64, 4, "sectors_reserved" },
  { 68, 4, "nodes" },
  { 72, 8, "cluster_name" },
  { 136, 8, "pad" },
  { 16, 8, "uuid" },
  { 128, 8, "cluster_name" },
  { 248, 8, "pad" },
};
const unsigned bitmap_nfields = sizeof bitmap_fields / sizeof bitmap_fields[0];

uint64_t
get_le (const uint8_t *p, unsigned width)
{
  uint64_t v = 0;

  assert (width >= 1 && width <= 8);
  while (width-- > 0)
    v = v << 8 | p[width];
  return v;
}

void
put_le (uint8_t *p, unsigned width, uint64_t v)
{
  assert (width >= 1 && width <= 8);
  for (unsigned i = 0; i < width; ++i)
    p[i] = (uint8_t)(v >> 8 * i);
}

#define MAX_DEV 1920 /* entries that fit into the block */

static uint32_t
fold (uint64_t sum)
{
  return (uint32_t)sum + (uint32_t)(sum >> 32);
}

/* The words from first to end, in bytes. */
static uint64_t
sum_words (const uint8_t *block, unsigned first, unsigned end)
{
  uint64_t sum = 0;

  for (unsigned i = first; i + 4 <= end; i += 4)
    sum += get_le32 (block + i);
  return sum;
}

uint32_t
checksum_1 (const uint8_t block[4096])
{
  unsigned max_dev = (unsigned)get_le (block + SB_MAX_DEV, 4);
  unsigned end = SB_ROLES + 2 * max_dev;
  uint64_t sum;

  assert (max_dev <= MAX_DEV);
  sum =
      sum_words (block, 0, SB_CSUM) + sum_words (block, SB_CSUM + 4, end & ~3u);
  if (end % 4 != 0)
    sum += get_le (block + end - 2, 2);
  return fold (sum);
}

uint32_t
checksum_090 (const uint8_t block[4096])
{
  return fold (sum_words (block, 0, SB9_CSUM)
               + sum_words (block, SB9_CSUM + 4, 4096));
}

void
fix_checksum (uint8_t block[4096])
{
  if (get_le (block + SB_MAX_DEV, 4) <= MAX_DEV)
    put_le (block + SB_CSUM, 4, checksum_1 (block));
}

void
fix_checksum_090 (uint8_t block[4096])
{
  put_le (block + SB9_CSUM, 4, checksum_090 (block));
}

/* ---- I16 ---- */

/* A place that begins that many sectors, of either sign, behind the
 * superblock.
 */
static struct place
behind (const char *name, const uint8_t *block, unsigned field, __int128 length)
{
  __int128 first = get_le (block + SB_SUPER_OFFSET, 8);

  first += (int32_t)get_le (block + field, 4);
  return (struct place){ name, first, first + length };
}

unsigned
places_of (const uint8_t block[4096], uint64_t bitmap_bytes,
           struct place places[PLACES_MAX])
{
  __int128 super = get_le (block + SB_SUPER_OFFSET, 8);
  __int128 data = get_le (block + SB_DATA_OFFSET, 8);
  uint64_t bblog = get_le (block + SB_BBLOG_SIZE, 2);
  /* In front of the superblock, data_size says how much is there, whatever
   * else is.
   */
  uint64_t size = get_le (block + (super > data ? SB_SIZE : SB_DATA_SIZE), 8);
  unsigned n = 0;

  places[n++] = (struct place){ "superblock", super, super + 8 };
  places[n++] = (struct place){ "data", data, data + size };
  if (bblog != 0 && get_le (block + SB_BBLOG_OFFSET, 4) != 0)
    places[n++] = behind ("bad-block log", block, SB_BBLOG_OFFSET, bblog);
  if (bitmap_bytes > 0)
    places[n++] = behind ("bitmap", block, SB_BITMAP_OFFSET,
                          ((__int128)bitmap_bytes + 511) / 512);
  return n;
}

unsigned
places_of_090 (const uint8_t block[4096], uint64_t sector,
               uint64_t bitmap_bytes, struct place places[PLACES_MAX])
{
  __int128 size = get_le (block + SB9_SIZE, 4);
  unsigned n = 0;

  places[n++] = (struct place){ "superblock", sector, sector + 8 };
  places[n++] = (struct place){ "data", 0, 2 * size };
  if (bitmap_bytes > 0)
    places[n++] =
        (struct place){ "bitmap", sector + 8,
                        (__int128)sector + 8 + (bitmap_bytes + 511) / 512 };
  return n;
}

void
places_check (const struct place *places, unsigned n, uint64_t leg_sectors)
{
  for (unsigned i = 0; i < n; ++i) {
    const struct place *a = &places[i];

    REQUIRE (a->first >= 0 && a->end <= leg_sectors,
             "%s from %lld to %lld of %llu sectors", a->name,
             (long long)a->first, (long long)a->end,
             (unsigned long long)leg_sectors);
    for (unsigned j = i + 1; j < n; ++j) {
      const struct place *b = &places[j];

      REQUIRE (a->end <= b->first || b->end <= a->first,
               "%s from %lld to %lld and %s from %lld to %lld", a->name,
               (long long)a->first, (long long)a->end, b->name,
               (long long)b->first, (long long)b->end);
    }
  }
}
