/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Legs that were not reached when the array got another bitmap.
 *
 * What switches from one bitmap to another is an update of the superblocks.  A
 * crash in the midst of it leaves legs that are one generation behind, and
 * whose superblocks announce the old bitmap, or one where there was none.  The
 * freshest leg decides about that as about everything else: the others are
 * taken to have what it has, where it has it.  The new bitmap was durable on
 * all legs before the first superblock was written; should it not be there, it
 * is written anew from the other legs (load.c), if there is room.
 *
 * Legs that are as fresh as the freshest and differ are not what we or the
 * kernel leave: load.c refuses them.
 *
 * Without the lock, at assembly.  Only what is in memory is changed; the next
 * update brings the superblock up.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "array/internal.h"
#include "format/layout.h"

static bool
has_bitmap (const struct superblock *sb)
{
  return sb->feature_map & FEATURE_BITMAP_OFFSET;
}

/* The bitmap that the array has is there.  0, -ENOENT or -ENOMEM. */
static int
find_header (const struct leg *leg, const struct superblock *sb,
             uint64_t events)
{
  const uint64_t at =
      (uint64_t)((int64_t)sb->super_offset + sb->bitmap_offset) * SECTOR_SIZE;
  struct buffer *buffer = buffer_new (BITMAP_PAGE_BYTES);
  struct bitmap_superblock header;
  struct format_error error;
  bool intact;
  int err;

  if (!buffer)
    return -ENOMEM;
  err = device_run (leg->device, IO_READ, 0, at,
                    leg->device->limits.logical_block, buffer);
  if (err == 0
      && (bitmap_superblock_decode (buffer->data, &header, &intact, &error) != 0
          || memcmp (header.uuid, sb->set_uuid, sizeof header.uuid) != 0
          || header.events < events))
    err = -ENOENT;
  buffer_unref (buffer);
  return err == -ENOMEM ? err : err < 0 ? -ENOENT : 0;
}

static void
say (struct array *array, const struct leg *leg, const struct leg *freshest,
     bool had, int32_t offset)
{
  char old[64] = "no internal bitmap", new[64] = "none";

  if (had)
    snprintf (old, sizeof old, "an internal bitmap at %d sectors", offset);
  if (has_bitmap (freshest->superblock))
    snprintf (new, sizeof new, "one at %d sectors",
              freshest->superblock->bitmap_offset);
  log_notice (array->log,
              "leg %s: its superblock (events %ju) announces %s, and the newer "
              "one of leg %s %s: that counts, since the change was interrupted",
              leg->name, (uintmax_t)leg->superblock->events, old,
              freshest->name, new);
}

static void
set_place (struct superblock *sb, bool bitmap, int32_t offset)
{
  sb->feature_map &= ~(uint32_t)FEATURE_BITMAP_OFFSET;
  if (bitmap)
    sb->feature_map |= FEATURE_BITMAP_OFFSET;
  sb->bitmap_offset = offset;
}

/* Can the leg have its bitmap there?  0, -ENOENT, -EINVAL or -ENOMEM. */
static int
check_place (const struct leg *leg, bool had, uint64_t events)
{
  struct superblock *sb = leg->superblock;
  struct format_error error;

  if (!has_bitmap (sb))
    return 0;
  if (layout_check (sb, NULL, leg->device->limits.size / SECTOR_SIZE, &error)
      != 0)
    return -EINVAL;
  /* If it had one elsewhere, that is where its own may well be. */
  return had ? find_header (leg, sb, events) : 0;
}

int
leg_adopt_bitmap (struct array *array, struct leg *leg,
                  const struct leg *freshest)
{
  const struct superblock *best = freshest->superblock;
  struct superblock *sb = leg->superblock;
  const bool had = has_bitmap (sb);
  const int32_t offset = sb->bitmap_offset;
  int err;

  if (sb->events >= best->events
      || (had == has_bitmap (best) && (!had || offset == best->bitmap_offset)))
    return 0;
  set_place (sb, has_bitmap (best), best->bitmap_offset);
  err = check_place (leg, had, best->events);
  if (err == 0)
    say (array, leg, freshest, had, offset);
  else
    set_place (sb, had, offset);
  return err == -ENOMEM ? err : 0;
}
