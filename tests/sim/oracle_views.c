/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Metadata as it lies on an image, by lib/format.
 *
 * The decoders are the library's, since md's format is not what is in doubt
 * here; what follows from the fields is said in reference.c and in the rules.
 *
 * The same few superblocks are looked at over and over, and decoding one
 * costs more than all that is asked of it: what they were decoded to is kept.
 * One OS thread, no locks; other scratch is used within a function only.
 */

#include <config.h>

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "format/layout.h"
#include "sim/oracle_internal.h"

/* ---- superblocks ---- */

/* Bytes that may not be zero, with the tables that oracle_format makes. */
static_assert (SUPER_BYTES >= 256 + 2 * 384, "max_dev is at most 384");

static void
decode (const uint8_t raw[SUPER_BYTES], uint64_t leg_sectors,
        struct super_view *view)
{
  static struct superblock_1 sb;
  static uint8_t block[SUPERBLOCK_1_BYTES];
  struct format_error error;
  bool intact;

  memset (view, 0, sizeof *view);
  memcpy (block, raw, SUPER_BYTES);
  if (superblock_1_decode (block, SUPERBLOCK_1_2_SECTOR, leg_sectors, &sb,
                           &intact, &error)
          != 0
      || layout_check (&sb, NULL, leg_sectors, &error) != 0)
    return;
  view->valid = true;
  view->events = sb.events;
  view->resync_offset = sb.resync_offset;
  view->clean = sb.resync_offset == RESYNC_CLEAN;
  view->write_mostly = sb.devflags & DEV_FLAG_WRITE_MOSTLY;
  view->recovering = sb.feature_map & FEATURE_RECOVERY_OFFSET;
  view->dev_number = sb.dev_number;
  view->raid_disks = sb.raid_disks;
  memcpy (view->set_uuid, sb.set_uuid, sizeof view->set_uuid);
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    view->roles[i] = superblock_1_role (&sb, i);
}

void
super_view_of_raw (const uint8_t raw[SUPER_BYTES], uint64_t leg_sectors,
                   struct super_view *view)
{
  static struct known {
    uint8_t raw[SUPER_BYTES];
    uint64_t leg_sectors;
    struct super_view view;
  } table[64];
  struct known *known = &table[get_le32 (raw + 216) % 64]; /* the checksum */

  if (known->leg_sectors != leg_sectors
      || memcmp (known->raw, raw, SUPER_BYTES) != 0) {
    memcpy (known->raw, raw, SUPER_BYTES);
    known->leg_sectors = leg_sectors;
    decode (raw, leg_sectors, &known->view);
  }
  *view = known->view;
}

void
super_view_of_image (const struct oracle_geometry *geometry,
                     const struct image *image, struct super_view *view)
{
  uint8_t raw[SUPER_BYTES];

  image_read (image, geometry->super, raw, sizeof raw);
  super_view_of_raw (raw, image_size (image) / SECTOR_SIZE, view);
}

bool
super_view_same (const struct super_view *a, const struct super_view *b)
{
  return a->resync_offset == b->resync_offset && a->raid_disks == b->raid_disks
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
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];

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
