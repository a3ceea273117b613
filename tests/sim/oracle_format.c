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

/* Slots are a permutation; so are dev_numbers, with gaps, and with 0.90 they
 * are the slots.
 */
static void
number_legs (const struct plan *plan, struct oracle_geometry *g)
{
  struct draw draw = { plan->numbering };
  unsigned n = plan->legs + plan->spare;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    g->slot[i] = i;
    g->dev[i] = i;
  }
  if (plan->numbering == 0)
    return;
  for (unsigned i = plan->legs - 1; i > 0; --i) {
    unsigned k = (unsigned)(draw_bits (&draw) % (i + 1)), slot = g->slot[i];

    g->slot[i] = g->slot[k];
    g->slot[k] = slot;
  }
  for (unsigned i = 0; i < n; ++i)
    g->dev[i] = plan->metadata == PLAN_0_90
                    ? g->slot[i]
                    : 3 * ((g->slot[i] + plan->numbering) % 4) + i % 3;
}

static void
place_1_0 (struct oracle_geometry *g)
{
  g->data = 0;
  g->log = round_up (max_u64 (g->size, 2 * PAGE), PAGE);
  g->bitmap = g->log + g->log_length;
  g->super = g->bitmap + g->bitmap_length;
  g->leg_bytes = g->super + 2 * PAGE;
}

static void
place_1_x (struct oracle_geometry *g)
{
  g->super = g->metadata == PLAN_1_1 ? 0 : 8 * SECTOR_SIZE;
  g->bitmap = g->super + g->super_length;
  g->log = g->bitmap + g->bitmap_length;
  g->data = g->log + g->log_length;
  /* md wants 5 KiB of room for data, whatever is used of it. */
  g->leg_bytes = round_up (g->data + max_u64 (g->size, 2 * PAGE), PAGE);
}

static void
place_0_90 (struct oracle_geometry *g)
{
  g->data = 0;
  g->log_length = 0;
  g->super = round_up (g->size, 64 * KiB);
  g->bitmap = g->super + g->super_length;
  g->leg_bytes = g->super + 64 * KiB;
}

static void
make_geometry (const struct plan *plan, struct oracle_geometry *g)
{
  static uint64_t keys;

  memset (g, 0, sizeof *g);
  g->key = ++keys;
  g->metadata = (enum plan_metadata)plan->metadata;
  g->super_length = SUPERBLOCK_BYTES;
  g->log_length = PAGE;
  g->size = plan->size;
  g->has_bitmap = !plan->no_bitmap && plan->bitmap_file == PLAN_NO_FILE;
  g->resync_from = plan->starts_clean ? 0 : plan->resync_from;
  g->chunk = plan->chunk;
  if (plan->no_bitmap && plan->bitmap_file == PLAN_NO_FILE)
    g->chunk = 64 * (uint32_t)MiB;
  g->chunks = bitmap_chunks (plan->size / SECTOR_SIZE, g->chunk);
  if (g->has_bitmap)
    g->bitmap_length = round_up (bitmap_bytes (g->chunks), PAGE);
  switch (g->metadata) {
  case PLAN_1_0:
    place_1_0 (g);
    break;
  case PLAN_0_90:
    place_0_90 (g);
    break;
  default:
    place_1_x (g);
    break;
  }
  file_make_geometry (plan, g);
  g->block = SECTOR_SIZE;
  for (unsigned i = 0; i < plan->legs; ++i)
    g->block = (uint32_t)max_u64 (g->block, plan->logical_block[i]);
  number_legs (plan, g);
  for (unsigned i = 0; i < plan->nbad; ++i) {
    const struct plan_bad *bad = &plan->bad[i];

    g->bad[bad->leg][g->nbad[bad->leg]++] =
        (struct oracle_range){ bad->offset, bad->length };
  }
}

/* ---- metadata ---- */

struct recipe {
  const struct plan *plan;
  const struct oracle_geometry *geometry;
  uint64_t events, events_cleared;
  uint64_t lead; /* of the file's header: the kernel writes it first */
  uint32_t max_dev;
  unsigned behind; /* the leg that is one generation behind, or SIM_LEGS */
  unsigned stale;  /* bit n: the bitmap of leg n is, and lacks bits */
  unsigned reused; /* bit n: leg n has an older superblock as well */
  /* The bitmap: on each leg, or in the file, as it would lie without pieces. */
  const struct oracle_geometry *bits;
  struct image *file; /* or NULL */
};

static const uint8_t array_uuid[16] = { 0x5a, 0x17, 0xb0, 0x0c, 0x11, 0x22,
                                        0x43, 0x44, 0x95, 0x66, 0x77, 0x88,
                                        0x99, 0xaa, 0xbb, 0xcc };

/* Sectors from the superblock. */
static int32_t
from_superblock (const struct oracle_geometry *g, uint64_t bytes)
{
  return (int32_t)(((int64_t)bytes - (int64_t)g->super) / SECTOR_SIZE);
}

static void
place_superblock (const struct oracle_geometry *g, struct superblock *sb)
{
  static const enum superblock_version versions[] = {
    [PLAN_1_2] = SUPERBLOCK_1_2,
    [PLAN_1_1] = SUPERBLOCK_1_1,
    [PLAN_1_0] = SUPERBLOCK_1_0,
    [PLAN_0_90] = SUPERBLOCK_0_90,
  };

  sb->version = versions[g->metadata];
  sb->super_offset = g->super / SECTOR_SIZE;
  sb->size = g->size / SECTOR_SIZE;
  sb->data_offset = g->data / SECTOR_SIZE;
  sb->data_size =
      (g->data > 0 ? g->leg_bytes - g->data : min_u64 (g->super, g->log))
      / SECTOR_SIZE;
  if (g->metadata == PLAN_0_90)
    sb->data_size = g->super / SECTOR_SIZE;
  if (g->has_bitmap) {
    sb->feature_map = FEATURE_BITMAP_OFFSET;
    sb->bitmap_offset = from_superblock (g, g->bitmap);
  }
  if (g->log_length > 0) {
    sb->bblog_size = (uint16_t)(g->log_length / SECTOR_SIZE);
    sb->bblog_offset = from_superblock (g, g->log);
  }
}

static void
write_roles (const struct recipe *recipe, unsigned leg, struct superblock *sb)
{
  const struct oracle_geometry *g = recipe->geometry;
  const struct plan *plan = recipe->plan;

  sb->raid_disks = plan->legs;
  sb->dev_number = g->dev[leg];
  sb->devflags = plan->write_mostly >> leg & 1 ? DEV_FLAG_WRITE_MOSTLY : 0;
  sb->max_dev = recipe->max_dev;
  for (unsigned i = 0; i < SUPERBLOCK_MAX_DEV; ++i)
    sb->dev_roles[i] = ROLE_SPARE;
  for (unsigned i = 0; i < plan->legs; ++i)
    sb->dev_roles[g->dev[i]] = (uint16_t)g->slot[i];
}

static void
write_superblock (const struct recipe *recipe, unsigned leg,
                  struct image *image)
{
  static struct superblock sb;
  static uint8_t block[SUPERBLOCK_BYTES];
  const struct oracle_geometry *g = recipe->geometry;
  const struct plan *plan = recipe->plan;

  memset (&sb, 0, sizeof sb);
  place_superblock (g, &sb);
  write_roles (recipe, leg, &sb);
  memcpy (sb.set_uuid, array_uuid, sizeof sb.set_uuid);
  sb.ctime = superblock_time (1600000000);
  sb.level = 1;
  if (g->metadata != PLAN_0_90) {
    strcpy (sb.set_name, "any:sim");
    memset (sb.device_uuid, 0x10 + (int)leg, sizeof sb.device_uuid);
  }
  if (g->nbad[leg] > 0)
    sb.feature_map |= FEATURE_BAD_BLOCKS;
  sb.utime = superblock_time (1600000100);
  sb.events = recipe->events - (leg == recipe->behind);
  if (leg == plan->legs) /* pure flips are not written to spares */
    sb.events -= recipe->events % 3;
  sb.resync_offset =
      plan->starts_clean ? RESYNC_CLEAN : plan->resync_from / SECTOR_SIZE;
  superblock_encode (&sb, block);
  image_write (image, g->super, block, sizeof block);
}

/* What an array of version 1.0 that was here before has left, which mdadm does
 * not clear.
 */
static void
write_leftover (const struct recipe *recipe, unsigned leg, struct image *image)
{
  static struct superblock sb;
  static uint8_t block[SUPERBLOCK_BYTES];
  const struct oracle_geometry *g = recipe->geometry;
  const uint64_t sectors = g->leg_bytes / SECTOR_SIZE;

  memset (&sb, 0, sizeof sb);
  sb.version = SUPERBLOCK_1_0;
  memset (sb.set_uuid, 0x77, sizeof sb.set_uuid);
  sb.ctime = superblock_time (1500000000);
  sb.level = 1;
  sb.super_offset = round_down (sectors - 16, 8);
  sb.size = sb.data_size = sb.super_offset;
  sb.raid_disks = 2;
  sb.dev_number = leg;
  memset (sb.device_uuid, 0x30 + (int)leg, sizeof sb.device_uuid);
  sb.events = recipe->events + 1000;
  sb.resync_offset = RESYNC_CLEAN;
  sb.max_dev = 128;
  for (unsigned i = 0; i < SUPERBLOCK_MAX_DEV; ++i)
    sb.dev_roles[i] = (uint16_t)(i < 2 ? i : ROLE_SPARE);
  superblock_encode (&sb, block);
  image_write (image, sb.super_offset * SECTOR_SIZE, block, sizeof block);
}

/* The header, and bits behind the last chunk, which mdadm leaves set; the
 * bits of the chunks are clear.
 */
static void
write_bitmap (const struct recipe *recipe, struct image *image)
{
  const struct oracle_geometry *g = recipe->bits;
  const uint64_t used = bitmap_bytes (g->chunks);
  struct bitmap_superblock header = {
    .version = BITMAP_VERSION,
    .events = recipe->events + recipe->lead,
    .events_cleared = recipe->events_cleared,
    .sync_size = g->size / SECTOR_SIZE,
    .chunksize = g->chunk,
    .daemon_sleep = (uint32_t)max_u64 (recipe->plan->daemon_sleep, 1),
  };
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];
  uint8_t padding = 0xff;

  if (!g->has_bitmap)
    return;
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

  if (!g->has_bitmap)
    return;
  image_read (image, at, &byte, 1);
  byte = (uint8_t)(set ? byte | mask : byte & ~mask);
  image_write (image, at, &byte, 1);
}

/* Older than the superblock, or marked as stale; bits say nothing. */
static void
make_stale (const struct recipe *recipe, struct image *image, struct draw *draw)
{
  const struct oracle_geometry *g = recipe->bits;
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
  const uint64_t sectors =
      min_u64 (plan->chunk, g->size - chunk * plan->chunk) / SECTOR_SIZE;
  const uint64_t first = draw_bits (draw) % sectors;
  const uint64_t n = 1 + draw_bits (draw) % (sectors - first);
  const uint64_t start = chunk * plan->chunk + first * SECTOR_SIZE;
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

/* In the bitmap of that leg, or in the one of all. */
static void
mark (const struct recipe *recipe, struct image **images, uint64_t leg,
      uint64_t chunk)
{
  change_bit (recipe->bits, recipe->file ? recipe->file : images[leg], chunk,
              true);
}

/* As a crash would have left it. */
static void
make_unequal (const struct recipe *recipe, struct model *model,
              struct image **images, struct draw *draw)
{
  const struct plan *plan = recipe->plan;
  const struct oracle_geometry *g = recipe->geometry;
  const uint64_t chunks = div_up (plan->size, plan->chunk);
  uint64_t odds = 1 + draw_bits (draw) % 4;

  if (chunks > 256)
    odds = chunks / 16;
  for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunk * plan->chunk < plan->resync_from)
      continue;
    if (!draw_one_in (draw, at_edge (g, chunk) ? 2 : odds)) {
      /* Equal; maybe one leg's bit was still to be cleared. */
      if (draw_one_in (draw, 8 * odds))
        mark (recipe, images, draw_bits (draw) % plan->legs, chunk);
      continue;
    }
    for (unsigned leg = 0; leg < plan->legs; ++leg)
      mark (recipe, images, leg, chunk);
    if (!draw_one_in (draw, 4))
      tear (plan, g, model, images, chunk, draw);
  }
}

/* In the log, and not the array's data. */
static void
make_bad (const struct oracle_geometry *g, unsigned leg, struct image *image)
{
  uint8_t garbage[SECTOR_SIZE], entry[8];

  memset (garbage, ORACLE_POISON, sizeof garbage);
  memset (entry, 0xff, sizeof entry);
  for (uint64_t at = 0; g->nbad[leg] > 0 && at < g->log_length; at += 8)
    image_write (image, g->log + at, entry, sizeof entry);
  for (unsigned i = 0; i < g->nbad[leg]; ++i) {
    const struct oracle_range *bad = &g->bad[leg][i];

    put_le64 (entry, (g->data + bad->start) / SECTOR_SIZE << 10
                         | bad->length / SECTOR_SIZE);
    image_write (image, g->log + 8 * i, entry, sizeof entry);
    for (uint64_t at = 0; at < bad->length; at += sizeof garbage)
      image_write (image, g->data + bad->start + at, garbage, sizeof garbage);
  }
}

/* ---- all together ---- */

static void
make_recipe (const struct plan *plan, struct oracle_geometry *geometry,
             struct draw *draw, struct recipe *recipe)
{
  static const uint32_t max_devs[] = { 128, 128, 128, 16, 130, 384 };
  const uint64_t n = sizeof max_devs / sizeof max_devs[0];

  recipe->plan = plan;
  recipe->geometry = recipe->bits = geometry;
  recipe->file = NULL;
  recipe->events = draw_one_in (draw, 2) ? 40 : 2 + draw_bits (draw) % 1000000;
  recipe->events_cleared = draw_one_in (draw, 3)
                               ? draw_bits (draw) % recipe->events
                               : recipe->events;
  recipe->max_dev = max_devs[draw_bits (draw) % n];
  recipe->stale = 0;
  if ((geometry->has_bitmap || geometry->has_file) && geometry->chunks <= 256
      && draw_one_in (draw, 8))
    recipe->stale = draw_one_in (draw, 2) ? (1u << plan->legs) - 1
                                          : 1u << draw_bits (draw) % plan->legs;
  recipe->reused = 0;
  if (geometry->data > 0 && draw_one_in (draw, 16)) {
    recipe->reused = (unsigned)(draw_bits (draw) % (1u << plan->legs));
    geometry->leg_bytes += 4 * PAGE;
  }
  recipe->behind = SIM_LEGS;
  if (!plan->starts_clean && draw_one_in (draw, 4))
    recipe->behind = (unsigned)(draw_bits (draw) % plan->legs);
  recipe->lead = geometry->has_file && !plan->file_noted
                 && recipe->behind == SIM_LEGS && draw_one_in (draw, 2);
}

/* Nobody looks at its data, or its bitmap. */
static void
make_spare (const struct recipe *recipe, struct disk **disks)
{
  const struct oracle_geometry *g = recipe->geometry;
  const unsigned leg = recipe->plan->legs;
  struct disk_limits limits = { .logical_block = 512,
                                .reaped = recipe->plan->reaped };
  struct image *image = image_new (g->leg_bytes);

  write_superblock (recipe, leg, image);
  disks[leg] = disk_new (leg, image, &limits);
}

/* The file by itself, with the bitmap at its beginning. */
static void
begin_file (struct recipe *recipe, struct oracle_geometry *bits)
{
  *bits = *recipe->geometry;
  bits->has_bitmap = true;
  bits->bitmap = 0;
  bits->bitmap_length = round_up (bitmap_bytes (bits->chunks), PAGE);
  recipe->bits = bits;
  recipe->file = image_new (bits->bitmap_length);
  write_bitmap (recipe, recipe->file);
}

/* That there is one; a leg more or less that says so is of no matter. */
static void
write_note (const struct recipe *recipe, unsigned leg, struct image *image)
{
  uint8_t block[BITMAP_NOTE_BYTES];

  if (!recipe->file || !recipe->plan->file_noted
      || (leg > 0 && recipe->events % 8 == leg))
    return;
  file_make_note (recipe->events, array_uuid, block);
  image_write (image, recipe->geometry->note, block, sizeof block);
}

static struct disk *
end_file (const struct recipe *recipe, struct draw *draw)
{
  struct disk *disk;

  if (!recipe->file)
    return NULL;
  if (recipe->stale != 0)
    make_stale (recipe, recipe->file, draw);
  disk = file_make_disk (recipe->plan, recipe->geometry, recipe->file);
  image_free (recipe->file);
  return disk;
}

void
oracle_format (const struct plan *plan, struct model *model,
               struct disk **disks, struct disk **file,
               struct oracle_geometry *geometry)
{
  struct draw draw = { plan->seed ^ UINT64_C (0x666f726d61740000) };
  struct image *images[PLAN_LEGS];
  struct oracle_geometry bits;
  struct recipe recipe;

  make_geometry (plan, geometry);
  make_recipe (plan, geometry, &draw, &recipe);
  images[0] = image_new (geometry->leg_bytes);
  write_data (geometry, model, images[0]);
  write_bitmap (&recipe, images[0]);
  if (geometry->has_file)
    begin_file (&recipe, &bits);
  for (unsigned i = 1; i < plan->legs; ++i)
    images[i] = image_copy (images[0]);
  if (!plan->starts_clean)
    make_unequal (&recipe, model, images, &draw);
  for (unsigned i = 0; i < plan->legs; ++i) {
    struct disk_limits limits = { .logical_block = plan->logical_block[i],
                                  .reaped = plan->reaped };

    make_bad (geometry, i, images[i]);
    if (recipe.stale >> i & 1 && geometry->has_bitmap)
      make_stale (&recipe, images[i], &draw);
    write_superblock (&recipe, i, images[i]);
    write_note (&recipe, i, images[i]);
    if (recipe.reused >> i & 1)
      write_leftover (&recipe, i, images[i]);
    disks[i] = disk_new (i, images[i], &limits);
  }
  if (plan->spare)
    make_spare (&recipe, disks);
  *file = end_file (&recipe, &draw);
}
