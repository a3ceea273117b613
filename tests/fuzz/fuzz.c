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

#include "format/superblock_1.h"
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

const struct field superblock_fields[] = {
  { 0, 4 },   /* magic */
  { 4, 4 },   /* major_version */
  { 8, 4 },   /* feature_map */
  { 12, 4 },  /* pad0 */
  { 16, 8 },  /* set_uuid, half of it */
  { 32, 8 },  /* set_name */
  { 64, 8 },  /* ctime */
  { 72, 4 },  /* level */
  { 76, 4 },  /* layout */
  { 80, 8 },  /* size */
  { 88, 4 },  /* chunksize */
  { 92, 4 },  /* raid_disks */
  { 96, 4 },  /* bitmap_offset */
  { 100, 4 }, /* new_level */
  { 104, 8 }, /* reshape_position */
  { 112, 4 }, /* delta_disks */
  { 124, 4 }, /* new_offset */
  { 128, 8 }, /* data_offset */
  { 136, 8 }, /* data_size */
  { 144, 8 }, /* super_offset */
  { 152, 8 }, /* recovery_offset */
  { 160, 4 }, /* dev_number */
  { 168, 8 }, /* device_uuid, half of it */
  { 184, 1 }, /* devflags */
  { 185, 1 }, /* bblog_shift */
  { 186, 2 }, /* bblog_size */
  { 188, 4 }, /* bblog_offset */
  { 192, 8 }, /* utime */
  { 200, 8 }, /* events */
  { 208, 8 }, /* resync_offset */
  { 216, 4 }, /* sb_csum */
  { 220, 4 }, /* max_dev */
  { 224, 4 }, /* logical_block_size */
  { 228, 4 }, /* pad3 */
  { 256, 2 }, /* dev_roles[0] and so on */
  { 258, 2 }, { 260, 2 },
};
const unsigned superblock_nfields =
    sizeof superblock_fields / sizeof superblock_fields[0];

const struct field bitmap_fields[] = {
  { 0, 4 },   /* magic */
  { 4, 4 },   /* version */
  { 8, 8 },   /* uuid, half of it */
  { 24, 8 },  /* events */
  { 32, 8 },  /* events_cleared */
  { 40, 8 },  /* sync_size */
  { 48, 4 },  /* state */
  { 52, 4 },  /* chunksize */
  { 56, 4 },  /* daemon_sleep */
  { 60, 4 },  /* write_behind */
  { 64, 4 },  /* sectors_reserved */
  { 68, 4 },  /* nodes */
  { 72, 8 },  /* cluster_name */
  { 136, 8 }, /* pad */
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

void
fix_checksum (uint8_t block[4096])
{
  uint32_t max_dev = (uint32_t)get_le (block + SB_MAX_DEV, 4);

  if (max_dev <= SUPERBLOCK_1_MAX_DEV)
    put_le (block + SB_CSUM, 4, superblock_1_checksum (block, max_dev));
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
  unsigned n = 0;

  places[n++] = (struct place){ "superblock", super, super + 8 };
  places[n++] =
      (struct place){ "data", data, data + get_le (block + SB_DATA_SIZE, 8) };
  if (bblog != 0 && get_le (block + SB_BBLOG_OFFSET, 4) != 0)
    places[n++] = behind ("bad-block log", block, SB_BBLOG_OFFSET, bblog);
  if (bitmap_bytes > 0)
    places[n++] = behind ("bitmap", block, SB_BITMAP_OFFSET,
                          ((__int128)bitmap_bytes + 511) / 512);
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

/* ---- mutations ---- */

void
mutate_field (uint8_t *data, size_t size, size_t start,
              const struct field *fields, unsigned n, unsigned seed)
{
  const struct field *field = &fields[seed % n];
  size_t at = start + field->offset;

  if (at + field->width <= size)
    (void)LLVMFuzzerMutate (data + at, field->width, field->width);
}
