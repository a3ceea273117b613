/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making the legs that a plan begins with, as mdadm would have made them, or
 * as a crash would have left them.
 *
 * All that is not in the plan follows from its seed by a hash, so that a plan
 * read from a file makes the same legs.  What a crash would have left obeys
 * the rules: legs differ only where every copy of the bitmap is marked that is
 * not stale, the superblocks are at most one generation apart, no such copy is
 * older than any superblock.  One OS thread, no locks.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/oracle_internal.h"

#define PAGE 4096 /* areas are aligned to it: the largest logical block */

struct draw {
  uint64_t state;
};

static uint64_t
draw_bits (struct draw *draw)
{
  uint64_t x = draw->state += UINT64_C (0x9e3779b97f4a7c15);

  x = (x ^ x >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C (0x94d049bb133111eb);
  return x ^ x >> 31;
}

/* One time in n. */
static bool
draw_one_in (struct draw *draw, uint64_t n)
{
  return draw_bits (draw) % n == 0;
}

/* ---- geometry ---- */

static void
make_geometry (const struct plan *plan, struct oracle_geometry *g)
{
  g->super = SUPERBLOCK_1_2_SECTOR * SECTOR_SIZE;
  g->super_length = SUPERBLOCK_1_BYTES;
  g->bitmap = g->super + g->super_length;
  g->chunk = plan->chunk;
  g->chunks = bitmap_chunks (plan->size / SECTOR_SIZE, plan->chunk);
  g->bitmap_length = round_up (bitmap_bytes (g->chunks), PAGE);
  g->data = g->bitmap + g->bitmap_length;
  g->size = plan->size;
}

/* md wants 5 KiB of room for data, whatever is used of it. */
static uint64_t
leg_bytes (const struct oracle_geometry *g)
{
  return round_up (g->data + max_u64 (g->size, 2 * PAGE), PAGE);
}

/* ---- metadata ---- */

struct recipe {
  const struct plan *plan;
  const struct oracle_geometry *geometry;
  uint64_t events, events_cleared;
  uint32_t max_dev;
  unsigned behind; /* the leg that is one generation behind, or SIM_LEGS */
  unsigned stale;  /* bit n: the bitmap of leg n is, and lacks bits */
};

static const uint8_t array_uuid[16] = { 0x5a, 0x17, 0xb0, 0x0c, 0x11, 0x22,
                                        0x43, 0x44, 0x95, 0x66, 0x77, 0x88,
                                        0x99, 0xaa, 0xbb, 0xcc };

static void
write_superblock (const struct recipe *recipe, unsigned leg,
                  struct image *image)
{
  static struct superblock_1 sb;
  static uint8_t block[SUPERBLOCK_1_BYTES];
  const struct oracle_geometry *g = recipe->geometry;
  const struct plan *plan = recipe->plan;

  memset (&sb, 0, sizeof sb);
  sb.feature_map = FEATURE_BITMAP_OFFSET;
  memcpy (sb.set_uuid, array_uuid, sizeof sb.set_uuid);
  strcpy (sb.set_name, "any:sim");
  sb.ctime = superblock_1_time (1600000000);
  sb.level = 1;
  sb.size = g->size / SECTOR_SIZE;
  sb.raid_disks = plan->legs;
  sb.bitmap_offset = (int32_t)((g->bitmap - g->super) / SECTOR_SIZE);
  sb.data_offset = g->data / SECTOR_SIZE;
  sb.data_size = (leg_bytes (g) - g->data) / SECTOR_SIZE;
  sb.super_offset = g->super / SECTOR_SIZE;
  sb.dev_number = leg;
  memset (sb.device_uuid, 0x10 + (int)leg, sizeof sb.device_uuid);
  sb.devflags = plan->write_mostly >> leg & 1 ? DEV_FLAG_WRITE_MOSTLY : 0;
  sb.utime = superblock_1_time (1600000100);
  sb.events = recipe->events - (leg == recipe->behind);
  sb.resync_offset = plan->starts_clean ? RESYNC_CLEAN : 0;
  sb.max_dev = recipe->max_dev;
  for (unsigned i = 0; i < SUPERBLOCK_1_MAX_DEV; ++i)
    sb.dev_roles[i] = (uint16_t)(i < plan->legs ? i : ROLE_SPARE);
  superblock_1_encode (&sb, block);
  image_write (image, g->super, block, sizeof block);
}

/* The header, and bits behind the last chunk, which mdadm leaves set; the
 * bits of the chunks are clear.
 */
static void
write_bitmap (const struct recipe *recipe, struct image *image)
{
  const struct oracle_geometry *g = recipe->geometry;
  const uint64_t used = bitmap_bytes (g->chunks);
  struct bitmap_superblock header = {
    .version = BITMAP_VERSION,
    .events = recipe->events,
    .events_cleared = recipe->events_cleared,
    .sync_size = g->size / SECTOR_SIZE,
    .chunksize = g->chunk,
    .daemon_sleep = (uint32_t)max_u64 (recipe->plan->daemon_sleep, 1),
  };
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];
  uint8_t padding = 0xff;

  memcpy (header.uuid, array_uuid, sizeof header.uuid);
  bitmap_superblock_encode (&header, block);
  image_write (image, g->bitmap, block, sizeof block);
  for (uint64_t i = used; i < g->bitmap_length; ++i)
    image_write (image, g->bitmap + i, &padding, 1);
  padding = (uint8_t)(0xff << (g->chunks & 7));
  if ((g->chunks & 7) != 0)
    image_write (image, g->bitmap + used - 1, &padding, 1);
}

static void
change_bit (const struct oracle_geometry *g, struct image *image,
            uint64_t chunk, bool set)
{
  const uint64_t at = g->bitmap + bitmap_bit_byte (chunk);
  const uint8_t mask = bitmap_bit_mask (chunk);
  uint8_t byte;

  image_read (image, at, &byte, 1);
  byte = (uint8_t)(set ? byte | mask : byte & ~mask);
  image_write (image, at, &byte, 1);
}

/* Older than the superblock, or marked as stale; bits say nothing. */
static void
make_stale (const struct recipe *recipe, struct image *image, struct draw *draw)
{
  const struct oracle_geometry *g = recipe->geometry;
  struct bitmap_superblock header;
  struct format_error error;
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];
  bool intact;

  image_read (image, g->bitmap, block, sizeof block);
  if (bitmap_superblock_decode (block, &header, &intact, &error) != 0)
    abort ();
  if (draw_one_in (draw, 2))
    header.state |= BITMAP_STALE;
  else
    header.events -= 2;
  header.events_cleared = min_u64 (header.events_cleared, header.events);
  bitmap_superblock_encode (&header, block);
  image_write (image, g->bitmap, block, sizeof block);
  for (uint64_t chunk = 0; chunk < g->chunks; ++chunk)
    if (draw_one_in (draw, 2))
      change_bit (g, image, chunk, false);
}

/* ---- data ---- */

static void
write_data (const struct oracle_geometry *g, const struct model *model,
            struct image *image)
{
  uint8_t block[PAGE];

  for (uint64_t at = 0; at < g->size; at += sizeof block) {
    uint64_t n = min_u64 (sizeof block, g->size - at);

    model_fill (model, 0, at, n, block);
    image_write (image, g->data + at, block, n);
  }
}

/* A write was in flight to the chunk when the power went: each leg has all of
 * it, nothing, or some sectors.
 */
static void
tear (const struct plan *plan, const struct oracle_geometry *g,
      struct model *model, struct image **images, uint64_t chunk,
      struct draw *draw)
{
  const uint64_t sectors = chunk_length (g, chunk) / SECTOR_SIZE;
  const uint64_t first = draw_bits (draw) % sectors;
  const uint64_t n = 1 + draw_bits (draw) % (sectors - first);
  const uint64_t start = chunk * g->chunk + first * SECTOR_SIZE;
  uint64_t write = model_maybe (model, start, n * SECTOR_SIZE);
  uint8_t sector[SECTOR_SIZE];

  for (unsigned leg = 0; leg < plan->legs; ++leg) {
    uint64_t how = draw_bits (draw) % 4;

    for (uint64_t i = 0; i < n; ++i) {
      uint64_t at = start + i * SECTOR_SIZE;

      if (how == 0 || (how == 1 && draw_one_in (draw, 2)))
        continue;
      model_fill (model, write, at, SECTOR_SIZE, sector);
      image_write (images[leg], g->data + at, sector, SECTOR_SIZE);
    }
  }
}

/* The last bit of a page of the bitmap that is followed by another, or the
 * first of that one?
 */
static bool
at_edge (const struct oracle_geometry *g, uint64_t chunk)
{
  return (bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES == BITMAP_PAGE_BYTES - 1
          && (chunk & 7) == 7 && chunk + 1 < g->chunks)
         || (chunk > 0 && bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES == 0
             && (chunk & 7) == 0);
}

/* As a crash would have left it. */
static void
make_unequal (const struct plan *plan, const struct oracle_geometry *g,
              struct model *model, struct image **images, struct draw *draw)
{
  uint64_t odds = 1 + draw_bits (draw) % 4;

  if (g->chunks > 256)
    odds = g->chunks / 16;
  for (uint64_t chunk = 0; chunk < g->chunks; ++chunk) {
    if (!draw_one_in (draw, at_edge (g, chunk) ? 2 : odds)) {
      /* Equal; maybe one leg's bit was still to be cleared. */
      if (draw_one_in (draw, 8 * odds))
        change_bit (g, images[draw_bits (draw) % plan->legs], chunk, true);
      continue;
    }
    for (unsigned leg = 0; leg < plan->legs; ++leg)
      change_bit (g, images[leg], chunk, true);
    if (!draw_one_in (draw, 4))
      tear (plan, g, model, images, chunk, draw);
  }
}

/* ---- all together ---- */

static void
make_recipe (const struct plan *plan, const struct oracle_geometry *geometry,
             struct draw *draw, struct recipe *recipe)
{
  static const uint32_t max_devs[] = { 128, 128, 128, 16, 130, 384 };
  const uint64_t n = sizeof max_devs / sizeof max_devs[0];

  recipe->plan = plan;
  recipe->geometry = geometry;
  recipe->events = draw_one_in (draw, 2) ? 40 : 2 + draw_bits (draw) % 1000000;
  recipe->events_cleared = draw_one_in (draw, 3)
                               ? draw_bits (draw) % recipe->events
                               : recipe->events;
  recipe->max_dev = max_devs[draw_bits (draw) % n];
  recipe->stale = 0;
  if (geometry->chunks <= 256 && draw_one_in (draw, 8))
    recipe->stale = draw_one_in (draw, 2) ? (1u << plan->legs) - 1
                                          : 1u << draw_bits (draw) % plan->legs;
  recipe->behind = SIM_LEGS;
  if (!plan->starts_clean && draw_one_in (draw, 4))
    recipe->behind = (unsigned)(draw_bits (draw) % plan->legs);
}

void
oracle_format (const struct plan *plan, struct model *model,
               struct disk **disks, struct oracle_geometry *geometry)
{
  struct draw draw = { plan->seed ^ UINT64_C (0x666f726d61740000) };
  struct image *images[PLAN_LEGS];
  struct recipe recipe;

  make_geometry (plan, geometry);
  make_recipe (plan, geometry, &draw, &recipe);
  images[0] = image_new (leg_bytes (geometry));
  write_data (geometry, model, images[0]);
  write_bitmap (&recipe, images[0]);
  for (unsigned i = 1; i < plan->legs; ++i)
    images[i] = image_copy (images[0]);
  if (!plan->starts_clean)
    make_unequal (plan, geometry, model, images, &draw);
  for (unsigned i = 0; i < plan->legs; ++i) {
    struct disk_limits limits = { .logical_block = plan->logical_block[i],
                                  .reaped = plan->reaped };

    if (recipe.stale >> i & 1)
      make_stale (&recipe, images[i], &draw);
    write_superblock (&recipe, i, images[i]);
    disks[i] = disk_new (i, images[i], &limits);
  }
}
