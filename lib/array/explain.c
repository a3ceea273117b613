/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What assembly has decided, for people: one line per leg.
 *
 * Worked out at array_open, from what was read, before anything is written; it
 * never changes after that.  The same words are logged at start and given to
 * `mdbitmap assemble --dry-run'.
 */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "array/internal.h"

const char *
array_leg_fate_string (enum array_leg_fate fate)
{
  switch (fate) {
  case ARRAY_LEG_IN_SYNC:
    return "in-sync";
  case ARRAY_LEG_ABSENT:
    return "absent";
  case ARRAY_LEG_STALE:
    return "stale";
  case ARRAY_LEG_FAULTY:
    return "faulty";
  case ARRAY_LEG_SPARE:
    return "spare";
  case ARRAY_LEG_JOURNAL:
    return "journal";
  case ARRAY_LEG_RECOVERING:
    return "recovering";
  case ARRAY_LEG_REPLACEMENT:
    return "replacement";
  case ARRAY_LEG_SPLIT:
    return "split-brain";
  }
  return "unknown";
}

void
array_explain_unused (struct array *array)
{
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    if (leg->superblock && leg->fate != ARRAY_LEG_IN_SYNC)
      log_notice (array->log, "leg %s: not used: %s", leg->name, leg->why_not);
  }
}

/* ---- legs that are used ---- */

/* Bytes of the chunks that need resync; the last one may be cut short. */
static uint64_t
needed_bytes (struct array *array)
{
  uint64_t chunk = bitmap_chunk_bytes (array->bitmap);
  uint64_t last = bitmap_chunk_count (array->bitmap) - 1;
  uint64_t bytes = bitmap_needed (array->bitmap) * chunk;

  if (bitmap_next_needed (array->bitmap, last) == last)
    bytes -= (last + 1) * chunk - array->size;
  return bytes;
}

static void
explain_target (struct array *array, struct leg *leg, const struct leg *source)
{
  const uint64_t needed = bitmap_needed (array->bitmap);
  const uint64_t chunks = bitmap_chunk_count (array->bitmap);

  leg->resync_source = source;
  leg->resync_bytes = needed_bytes (array);
  if (needed < chunks && array->full_why[0] == '\0') {
    leg->resync = ARRAY_RESYNC_BITMAP;
    snprintf (leg->why, sizeof leg->why,
              "bitmap: %ju of %ju chunks, %ju KiB, from leg %s",
              (uintmax_t)needed, (uintmax_t)chunks,
              (uintmax_t)(leg->resync_bytes / KiB), source->name);
    return;
  }
  leg->resync = ARRAY_RESYNC_FULL;
  snprintf (leg->why, sizeof leg->why, "full: %s; %ju KiB, from leg %s",
            array->full_why[0] != '\0' ? array->full_why
                                       : "every chunk is marked in its bitmap",
            (uintmax_t)(leg->resync_bytes / KiB), source->name);
}

static void
explain_leg (struct array *array, struct leg *leg)
{
  const struct leg *source = array_source (array);
  const char *why = "clean";

  leg->resync = ARRAY_RESYNC_NONE;
  if (bitmap_needed (array->bitmap) > 0 && leg != source) {
    explain_target (array, leg, source);
    return;
  }
  if (bitmap_needed (array->bitmap) > 0)
    why = array_in_sync (array) > 1 ? "source"
                                    : "not clean, and no other leg to resync";
  else if (!array->clean)
    why = array->full_why[0] != '\0' ? "not clean, and no other leg to resync"
                                     : "not clean, but no chunk is marked";
  snprintf (leg->why, sizeof leg->why, "%s", why);
}

static void
announce (struct array *array)
{
  const char *state = array_whole (array) ? "all legs in sync" : "degraded";
  char text[160];

  if (bitmap_needed (array->bitmap) > 0 && array_in_sync (array) < 2)
    snprintf (text, sizeof text,
              "not clean: %ju of %ju chunks marked, and no other leg to resync",
              (uintmax_t)bitmap_needed (array->bitmap),
              (uintmax_t)bitmap_chunk_count (array->bitmap));
  else if (bitmap_needed (array->bitmap) > 0)
    snprintf (text, sizeof text,
              "not clean: %ju of %ju chunks marked, to be resynced",
              (uintmax_t)bitmap_needed (array->bitmap),
              (uintmax_t)bitmap_chunk_count (array->bitmap));
  else
    snprintf (text, sizeof text, "%s",
              array->clean ? "clean" : "not clean, but no chunk is marked");
  log_notice (array->log, "array %s: %u of %u legs, %s; %s", array->uuid,
              array_in_sync (array), array->table->raid_disks, state, text);
}

void
array_explain (struct array *array)
{
  announce (array);
  for (unsigned i = 0; i < array->nlegs; ++i) {
    struct leg *leg = &array->legs[i];

    if (leg->state != LEG_IN_SYNC)
      continue;
    explain_leg (array, leg);
    log_notice (array->log, "leg %s: slot %u: %s", leg->name, leg->slot,
                leg->why);
  }
}

/* ---- for others ---- */

void
array_get_leg_info (struct array *array, unsigned number,
                    struct array_leg_info *info)
{
  const struct leg *leg = &array->legs[number];
  bool used = leg->fate == ARRAY_LEG_IN_SYNC;

  memset (info, 0, sizeof *info);
  rt_mutex_lock (&array->lock);
  info->name = leg->name;
  info->fate = leg->fate;
  info->slot = used ? (int)leg->slot : -1;
  info->write_mostly =
      leg->superblock && (leg->superblock->devflags & DEV_FLAG_WRITE_MOSTLY);
  info->has_superblock = leg->superblock;
  info->events = leg->superblock ? leg->superblock->events : 0;
  info->resync = leg->resync;
  info->resync_bytes = leg->resync_bytes;
  info->resync_source = leg->resync_source ? leg->resync_source->name : NULL;
  info->bad_sectors = leg_bad_sectors (leg);
  snprintf (info->why, sizeof info->why, "%s", used ? leg->why : leg->why_not);
  rt_mutex_unlock (&array->lock);
}
