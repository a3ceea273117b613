/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Room on the legs for another internal bitmap.
 *
 * It must lie beside the one that there is, if there is one, and clear of
 * everything else; and at the same distance from the superblock on all legs,
 * since the kernel knows one for all.  Of the places that mdadm would choose
 * and those beside what is there, the first with room is taken:
 *   1.1, 1.2  behind the superblock, behind the bad-block log, behind the
 *             present bitmap
 *   1.0       before the superblock, the log, the present bitmap
 *   0.90      behind the superblock, there is no other
 *
 * Under the array's lock; no I/O.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "array/change.h"

#define BEHIND_SUPERBLOCK 8 /* sectors */
#define ALIGNMENT         8 /* of logical blocks of 4096 bytes */

/* One that must not be harmed: what cannot be used may be written over. */
static bool
has_bitmap (const struct change *c)
{
  return c->array->bitmap_place == ARRAY_BITMAP_INTERNAL;
}

static bool
has_log (const struct superblock *sb)
{
  return sb->bblog_size != 0 && sb->bblog_offset != 0;
}

static int64_t
sectors_of (const struct change *c, uint32_t chunk)
{
  return (int64_t)layout_bitmap_sectors (c->array->table->size, chunk);
}

/* Of the present bitmap, which is internal. */
static int64_t
present_sectors (const struct change *c)
{
  return sectors_of (c, bitmap_chunk_bytes (c->array->bitmap));
}

/* ---- one place on one leg ---- */

static bool
is_beside_present (const struct change *c, const struct superblock *sb,
                   int64_t offset)
{
  return !has_bitmap (c) || offset >= sb->bitmap_offset + present_sectors (c)
         || offset + sectors_of (c, c->header.chunksize) <= sb->bitmap_offset;
}

/* scratch: a superblock to try with. */
static bool
fits_leg (const struct change *c, const struct leg *leg, int64_t offset,
          struct superblock *scratch)
{
  const int64_t start = (int64_t)leg->superblock->super_offset + offset;
  struct format_error error;

  if (start < 0
      || (uint64_t)start * SECTOR_SIZE % leg->device->limits.logical_block != 0
      || !is_beside_present (c, leg->superblock, offset))
    return false;
  *scratch = *leg->superblock;
  scratch->feature_map |= FEATURE_BITMAP_OFFSET;
  scratch->bitmap_offset = (int32_t)offset;
  return layout_check (scratch, &c->header,
                       leg->device->limits.size / SECTOR_SIZE, &error)
         == 0;
}

static bool
fits (const struct change *c, struct leg *const *legs, unsigned n,
      int64_t offset, struct superblock *scratch)
{
  if (offset == 0 || offset < INT32_MIN || offset > INT32_MAX)
    return false;
  for (unsigned i = 0; i < n; ++i)
    if (!fits_leg (c, legs[i], offset, scratch))
      return false;
  return true;
}

/* ---- places ---- */

static unsigned
places_behind (const struct change *c, const struct superblock *sb,
               int64_t *places)
{
  unsigned n = 0;

  places[n++] = BEHIND_SUPERBLOCK;
  if (has_log (sb))
    places[n++] = (int64_t)round_up (
        (uint64_t)((int64_t)sb->bblog_offset + sb->bblog_size), ALIGNMENT);
  if (has_bitmap (c))
    places[n++] = (int64_t)round_up (
        (uint64_t)(sb->bitmap_offset + present_sectors (c)), ALIGNMENT);
  return n;
}

static unsigned
places_before (const struct change *c, const struct superblock *sb,
               int64_t *places)
{
  const int64_t sectors = sectors_of (c, c->header.chunksize);
  unsigned n = 0;

  if (has_log (sb))
    places[n++] = sb->bblog_offset - sectors;
  else
    places[n++] = -sectors;
  if (has_bitmap (c))
    places[n++] = sb->bitmap_offset - sectors;
  return n;
}

static unsigned
places_on (const struct change *c, const struct superblock *sb, int64_t *places)
{
  switch (sb->version) {
  case SUPERBLOCK_0_90:
    places[0] = BEHIND_SUPERBLOCK;
    return 1;
  case SUPERBLOCK_1_0:
    return places_before (c, sb, places);
  case SUPERBLOCK_1_1:
  case SUPERBLOCK_1_2:
    break;
  }
  return places_behind (c, sb, places);
}

/* For a bitmap with the header's chunks. */
static bool
find_place (struct change *c, struct superblock *scratch)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (c->array, legs);
  int64_t places[3];

  for (unsigned i = 0; i < n; ++i) {
    unsigned m = places_on (c, legs[i]->superblock, places);

    for (unsigned k = 0; k < m; ++k)
      if (fits (c, legs, n, places[k], scratch)) {
        c->offset = (int32_t)places[k];
        return true;
      }
  }
  return false;
}

/* ---- all together ---- */

static bool
find_larger (struct change *c, struct superblock *scratch)
{
  while (c->header.chunksize < (uint32_t)1 << 31) {
    c->header.chunksize *= 2;
    if (find_place (c, scratch))
      return true;
  }
  return false;
}

static void
refuse (const struct change *c, uint32_t asked, bool larger)
{
  const struct array *array = c->array;

  if (array->bitmap_place == ARRAY_BITMAP_INTERNAL)
    log_error (array->log,
               "array %s: there is no room on its legs for a bitmap with "
               "chunks of %" PRIu32
               " bytes beside the one that it has; change to none first, then "
               "to internal",
               array->uuid, asked);
  else if (larger)
    log_error (array->log,
               "array %s: field bitmap-chunk: found %" PRIu32
               ", expected at least %" PRIu32
               ", for which there is room on its legs",
               array->uuid, asked, c->header.chunksize);
  else
    log_error (array->log,
               "array %s: there is no room on its legs for a bitmap; keep it "
               "in a file",
               array->uuid);
}

int
change_plan_internal (struct change *c, bool asked)
{
  const uint32_t chunk = c->header.chunksize;
  struct superblock *scratch = rt_alloc (sizeof *scratch);
  bool found, larger;

  if (!scratch)
    return -ENOMEM;
  found = find_place (c, scratch);
  larger = !found && find_larger (c, scratch);
  rt_free (scratch);
  if (found)
    return 0;
  if (larger && !asked) {
    log_notice (c->array->log,
                "array %s: chunks of %" PRIu32 " bytes, since there is no room "
                "on its legs for a bitmap with chunks of %" PRIu32,
                c->array->uuid, c->header.chunksize, chunk);
    return 0;
  }
  refuse (c, chunk, larger);
  return -EINVAL;
}

void
change_place_leg (struct leg *leg, bool internal, int32_t offset)
{
  struct superblock *sb = leg->superblock;

  sb->feature_map &= ~(uint32_t)FEATURE_BITMAP_OFFSET;
  sb->bitmap_offset = internal ? offset : 0;
  leg->bitmap_offset = leg->bitmap_room = 0;
  if (!internal)
    return;
  sb->feature_map |= FEATURE_BITMAP_OFFSET;
  leg->bitmap_offset =
      (uint64_t)((int64_t)sb->super_offset + offset) * SECTOR_SIZE;
  leg->bitmap_room =
      layout_bitmap_room (sb, leg->device->limits.size / SECTOR_SIZE)
      * SECTOR_SIZE;
}
