/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Metadata as it lies on an image.
 *
 * Superblocks are decoded here, as the kernel decodes them, and not by the
 * library: what is not where it was, or says that the array is something else,
 * is not valid.  The header of the bitmap, of which there is one kind, is
 * decoded by lib/format.
 *
 * The same few superblocks are looked at over and over, and decoding one
 * costs more than all that is asked of it: what they were decoded to is kept.
 * One OS thread, no locks; other scratch is used within a function only.
 */

#include <config.h>

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/oracle_internal.h"

/* ---- superblocks ---- */

/* Bytes that may not be zero, with the tables that oracle_format makes. */
static_assert (SUPER_BYTES_1 >= 256 + 2 * 384, "max_dev is at most 384");

static void
own_role (const struct oracle_geometry *g, uint32_t dev,
          struct super_view *view)
{
  view->leg = view->self = SIM_LEGS;
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if (g->dev[i] == dev) {
      view->leg = i;
      view->self = view->roles[i];
      return;
    }
  view->valid = false;
}

static uint32_t
sum_1 (const uint8_t *raw, uint32_t length)
{
  uint64_t sum = 0;
  uint32_t i;

  for (i = 0; i + 4 <= length; i += 4)
    if (i != 216)
      sum += get_le32 (raw + i);
  if (i + 2 <= length)
    sum += get_le16 (raw + i);
  return (uint32_t)sum + (uint32_t)(sum >> 32);
}

static bool
same_place (const struct oracle_geometry *g, uint64_t bytes, int32_t sectors)
{
  return (int64_t)g->super + (int64_t)sectors * SECTOR_SIZE == (int64_t)bytes;
}

/* Versions 1.0, 1.1 and 1.2. */
static void
decode_1 (const struct oracle_geometry *g, const uint8_t *raw,
          struct super_view *view)
{
  const uint32_t features = get_le32 (raw + 8), max_dev = get_le32 (raw + 220);
  const uint32_t known =
      FEATURE_BITMAP_OFFSET | FEATURE_BAD_BLOCKS | FEATURE_RECOVERY_OFFSET;

  if (get_le32 (raw) != SUPERBLOCK_MAGIC || get_le32 (raw + 4) != 1
      || max_dev > 384 || sum_1 (raw, 256 + 2 * max_dev) != get_le32 (raw + 216)
      || get_le64 (raw + 144) != g->super / SECTOR_SIZE
      || get_le32 (raw + 72) != 1
      || get_le64 (raw + 80) != g->size / SECTOR_SIZE
      || get_le64 (raw + 128) != g->data / SECTOR_SIZE
      || (features & ~known) != 0
      || !!(features & FEATURE_BITMAP_OFFSET) != g->has_bitmap
      || (g->has_bitmap
          && !same_place (g, g->bitmap, (int32_t)get_le32 (raw + 96)))
      || !same_place (g, g->log, (int32_t)get_le32 (raw + 188)))
    return;
  view->valid = true;
  view->events = get_le64 (raw + 200);
  view->resync_offset = get_le64 (raw + 208);
  view->write_mostly = raw[184] & DEV_FLAG_WRITE_MOSTLY;
  view->recovering = features & FEATURE_RECOVERY_OFFSET;
  view->has_bad = features & FEATURE_BAD_BLOCKS;
  view->raid_disks = get_le32 (raw + 92);
  memcpy (view->set_uuid, raw + 16, sizeof view->set_uuid);
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    view->roles[i] = g->dev[i] < max_dev
                         ? get_le16 (raw + 256 + 2 * (size_t)g->dev[i])
                         : ROLE_SPARE;
  own_role (g, get_le32 (raw + 160), view);
}

static uint32_t
sum_0_90 (const uint8_t *raw)
{
  uint64_t sum = 0;

  for (uint32_t i = 0; i < SUPERBLOCK_BYTES; i += 4)
    if (i != 152)
      sum += get_le32 (raw + i);
  return (uint32_t)sum + (uint32_t)(sum >> 32);
}

/* The kernel: faulty is faulty, else in sync is in sync. */
static unsigned
role_0_90 (const uint8_t *disk)
{
  const uint32_t state = get_le32 (disk + 16);

  if (state & 1)
    return ROLE_FAULTY;
  return state & 4 ? get_le32 (disk + 12) : ROLE_SPARE;
}

static void
decode_0_90 (const struct oracle_geometry *g, const uint8_t *raw,
             struct super_view *view)
{
  const uint32_t state = get_le32 (raw + 132);
  const uint64_t events = get_le64 (raw + 156);
  const uint8_t *self;

  if (get_le32 (raw) != SUPERBLOCK_MAGIC || get_le32 (raw + 4) != 0
      || get_le32 (raw + 8) != 90 || sum_0_90 (raw) != get_le32 (raw + 152)
      || get_le32 (raw + 28) != 1 || get_le32 (raw + 32) != g->size / KiB
      || (state & ~0x103u) != 0 || (state >> 8 & 1) != g->has_bitmap
      || get_le32 (raw + 3968) >= 27)
    return;
  view->valid = true;
  view->events = events;
  if (state & 1)
    view->resync_offset = RESYNC_CLEAN;
  else if (get_le64 (raw + 164) == events)
    view->resync_offset = get_le32 (raw + 172);
  view->raid_disks = get_le32 (raw + 40);
  memcpy (view->set_uuid, raw + 20, 4);
  memcpy (view->set_uuid + 4, raw + 52, 12);
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    view->roles[i] = role_0_90 (raw + 512 + 128 * (size_t)g->dev[i]);
  self = raw + 512 + 128 * (size_t)get_le32 (raw + 3968);
  view->write_mostly = get_le32 (self + 16) >> 9 & 1;
  own_role (g, get_le32 (raw + 3968), view);
}

static uint32_t
super_bytes (const struct oracle_geometry *geometry)
{
  return geometry->metadata == PLAN_0_90 ? SUPER_BYTES : SUPER_BYTES_1;
}

void
super_view_of_raw (const struct oracle_geometry *geometry,
                   const uint8_t raw[SUPER_BYTES], struct super_view *view)
{
  static struct known {
    uint8_t raw[SUPER_BYTES];
    uint64_t key;
    struct super_view view;
  } table[64];
  const bool old = geometry->metadata == PLAN_0_90;
  /* By the checksum. */
  struct known *known = &table[get_le32 (raw + (old ? 152 : 216)) % 64];

  if (known->key != geometry->key
      || memcmp (known->raw, raw, super_bytes (geometry)) != 0) {
    memcpy (known->raw, raw, super_bytes (geometry));
    known->key = geometry->key;
    memset (&known->view, 0, sizeof known->view);
    if (old)
      decode_0_90 (geometry, raw, &known->view);
    else
      decode_1 (geometry, raw, &known->view);
    known->view.clean = known->view.resync_offset == RESYNC_CLEAN;
  }
  *view = known->view;
}

void
super_view_of_image (const struct oracle_geometry *geometry,
                     const struct image *image, struct super_view *view)
{
  uint8_t raw[SUPER_BYTES];

  image_read (image, geometry->super, raw, super_bytes (geometry));
  super_view_of_raw (geometry, raw, view);
}

bool
super_view_same (const struct super_view *a, const struct super_view *b)
{
  /* How far a resync had come when the array was assembled is of no matter: it
   * is 0 before anything is written.
   */
  return a->clean == b->clean && a->raid_disks == b->raid_disks
         && memcmp (a->roles, b->roles, sizeof a->roles) == 0;
}

/* ---- bitmaps ---- */

void
header_view_of_block (const uint8_t *block, struct header_view *view)
{
  static uint8_t known[BITMAP_SUPERBLOCK_BYTES]; /* zeroes are not valid */
  static struct header_view known_view;
  struct bitmap_superblock header;
  struct format_error error;
  bool intact;

  if (memcmp (known, block, sizeof known) != 0) {
    memcpy (known, block, sizeof known);
    memset (&known_view, 0, sizeof known_view);
    if (bitmap_superblock_decode (block, &header, &intact, &error) == 0) {
      known_view.valid = true;
      known_view.events = header.events;
      known_view.events_cleared = header.events_cleared;
      known_view.state = header.state;
      memcpy (known_view.uuid, header.uuid, sizeof known_view.uuid);
    }
  }
  *view = known_view;
}

void
header_view_of_image (const struct oracle_geometry *geometry,
                      const struct image *image, struct header_view *view)
{
  uint8_t block[BITMAP_SUPERBLOCK_BYTES] = { 0 };

  if (geometry->has_bitmap)
    image_read (image, geometry->bitmap, block, sizeof block);
  header_view_of_block (block, view);
}

bool
header_view_stale (const struct header_view *view, uint64_t array_events)
{
  return !view->valid || (view->state & BITMAP_STALE)
         || view->events < array_events;
}

bool
image_bit (const struct oracle_geometry *geometry, const struct image *image,
           uint64_t chunk)
{
  uint8_t byte;

  image_read (image, geometry->bitmap + bitmap_bit_byte (chunk), &byte, 1);
  return byte & bitmap_bit_mask (chunk);
}
