/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The oracle looks at bad-block logs, as the kernel reads them.
 *
 * Sectors that a plan has made bad hold a pattern that no write holds, until
 * somebody writes there.  What a log may no longer list must be good on that
 * leg, durably, before the log says so.  Nothing is ever added.
 *
 * Only sectors that were bad at first can be in a log, so nothing here costs
 * anything where there are none.  One OS thread, no locks.
 */

#include <config.h>

#include <string.h>

#include "sim/oracle_internal.h"

#define ENTRIES (4096 / 8)

/* The entries, up to all ones; those of length zero list nothing. */
static bool
log_lists (const struct oracle_geometry *g, const uint8_t *log, uint64_t offset)
{
  const uint64_t sector = (g->data + offset) / SECTOR_SIZE;

  for (unsigned i = 0; i < ENTRIES; ++i) {
    uint64_t entry = get_le64 (log + 8 * i);

    if (entry == UINT64_MAX)
      return false;
    if (sector >= entry >> 10 && sector < (entry >> 10) + (entry & 0x3ff))
      return true;
  }
  return false;
}

static bool
bad_at_first (const struct oracle_geometry *g, unsigned leg, uint64_t offset)
{
  for (unsigned i = 0; i < g->nbad[leg]; ++i)
    if (offset - g->bad[leg][i].start < g->bad[leg][i].length)
      return true;
  return false;
}

bool
image_is_bad (const struct oracle_geometry *g, unsigned leg,
              const struct image *image, const struct super_view *view,
              uint64_t offset)
{
  uint8_t log[ENTRIES * 8];

  if (!view->valid || !view->has_bad || !bad_at_first (g, leg, offset))
    return false;
  image_read (image, g->log, log, sizeof log);
  return log_lists (g, log, offset);
}

/* Where a leg has larger blocks, one is bad as a whole: legs that are all bad
 * there may differ in what is left of it.
 */
bool
image_block_is_bad (const struct oracle_geometry *g, unsigned leg,
                    const struct image *image, const struct super_view *view,
                    uint64_t offset)
{
  const uint64_t start = round_down (offset, g->block);

  if (g->nbad[leg] == 0)
    return false;
  for (uint64_t at = start; at < start + g->block; at += SECTOR_SIZE)
    if (image_is_bad (g, leg, image, view, at))
      return true;
  return false;
}

bool
image_is_poison (const struct oracle_geometry *g, const struct image *image,
                 uint64_t offset)
{
  uint8_t sector[SECTOR_SIZE];

  image_read (image, g->data + offset, sector, sizeof sector);
  return sector[0] == ORACLE_POISON
         && memcmp (sector, sector + 1, sizeof sector - 1) == 0;
}

/* offset and length: of the leg, within its data. */
bool
images_same (const struct oracle_geometry *g, unsigned leg_a,
             const struct image *a, unsigned leg_b, const struct image *b,
             uint64_t offset, uint64_t length)
{
  struct super_view view_a, view_b;

  if (image_equal (a, offset, b, offset, length))
    return true;
  if (g->nbad[leg_a] + g->nbad[leg_b] == 0)
    return false;
  super_view_of_image (g, a, &view_a);
  super_view_of_image (g, b, &view_b);
  for (uint64_t at = offset; at < offset + length; at += SECTOR_SIZE)
    if (!image_equal (a, at, b, at, SECTOR_SIZE)
        && !image_block_is_bad (g, leg_a, a, &view_a, at - g->data)
        && !image_block_is_bad (g, leg_b, b, &view_b, at - g->data))
      return false;
  return true;
}

bool
disks_same (const struct oracle_geometry *g, const struct disk *a,
            const struct disk *b, uint64_t offset, uint64_t length)
{
  return images_same (g, disk_number (a), disk_durable (a), disk_number (b),
                      disk_durable (b), offset, length);
}

/* ---- while a world runs ---- */

/* The sector was in the log, and will not be.  Newer data may be on its way. */
static void
check_removed (struct oracle *oracle, unsigned leg, uint64_t offset)
{
  const struct disk *disk = oracle->legs[leg].disk;

  if (image_is_poison (&oracle->geometry, disk_durable (disk), offset))
    violation ("bad block",
               "leg %u: byte %ju of the array is taken off the bad-block log, "
               "and is not durably good there",
               leg, (uintmax_t)offset);
}

/* log: what it is to become; NULL: the superblock says that it has nothing. */
static void
check_list (struct oracle *oracle, unsigned leg, const uint8_t *log)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct image *image = disk_durable (oracle->legs[leg].disk);
  const struct super_view *view = oracle_super (oracle, leg);

  for (unsigned i = 0; i < g->nbad[leg]; ++i)
    for (uint64_t at = 0; at < g->bad[leg][i].length; at += SECTOR_SIZE) {
      const uint64_t offset = g->bad[leg][i].start + at;

      if (image_is_bad (g, leg, image, view, offset)
          && !(log && log_lists (g, log, offset)))
        check_removed (oracle, leg, offset);
    }
}

void
oracle_check_log (struct oracle *oracle, unsigned leg, const struct io *io)
{
  const struct oracle_geometry *g = &oracle->geometry;

  if (io->type != IO_WRITE || io->offset != g->log
      || io->length != g->log_length)
    violation ("I16", "leg %u: a part of the bad-block log is written", leg);
  for (unsigned i = 0; i < ENTRIES; ++i) {
    uint64_t entry = get_le64 (io->data + 8 * (size_t)i);
    uint64_t start = (entry >> 10) * SECTOR_SIZE - g->data;

    if (entry == UINT64_MAX)
      break;
    for (uint64_t at = 0; at < (entry & 0x3ff) * SECTOR_SIZE; at += SECTOR_SIZE)
      if (!bad_at_first (g, leg, start + at))
        violation ("bad block",
                   "leg %u: the bad-block log is to list byte %ju of the "
                   "array, which never was bad",
                   leg, (uintmax_t)(start + at));
  }
  check_list (oracle, leg, io->data);
}

void
oracle_check_has_bad (struct oracle *oracle, unsigned leg,
                      const struct super_view *now)
{
  if (!now->has_bad)
    check_list (oracle, leg, NULL);
}

/* It has been written since it was bad, and not been flushed since: whether it
 * is lost again is known when a flush that is under way has ended, and until
 * then no read of it is answered.
 */
static bool
may_be_lost (const struct oracle *oracle, unsigned leg, uint64_t offset)
{
  const uint64_t sector = offset / SECTOR_SIZE;

  for (unsigned i = 0; i < oracle->array->nlegs; ++i) {
    const struct leg *l = &oracle->array->legs[i];

    if (oracle->leg_of[i] == leg && l->bad
        && bad_blocks_first (l->bad, sector, 1) == UINT64_MAX
        && bad_blocks_first (l->bad_flushed, sector, 1) != UINT64_MAX)
      return true;
  }
  return false;
}

/* Nobody reads what nobody has written since it was bad. */
void
oracle_check_bad_read (const struct oracle *oracle, unsigned leg,
                       const struct io *io)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct image *image = disk_current (oracle->legs[leg].disk);

  for (uint64_t at = io->offset; at < io->offset + io->length;
       at += SECTOR_SIZE)
    if (bad_at_first (g, leg, at - g->data)
        && image_is_poison (g, image, at - g->data)
        && !may_be_lost (oracle, leg, at - g->data))
      violation ("bad block",
                 "leg %u: byte %ju of the array, which is bad, is read", leg,
                 (uintmax_t)(at - g->data));
}
