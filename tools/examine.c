/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* mdbitmap examine: the superblocks of legs, in mdadm's words and order, so
 * that the two can be compared line by line.  A superblock that cannot be
 * served but is intact is printed as well, with the reason on stderr.
 */

#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "examine.h"
#include "format/bad_blocks.h"

/* What the kernel leaves for the superblock, whatever its size. */
#define SUPERBLOCK_ROOM 72

static const char *
level_name (int32_t level)
{
  static const struct {
    int32_t level;
    const char *name;
  } names[] = {
    { -4, "multipath" }, { -1, "linear" }, { 0, "raid0" }, { 1, "raid1" },
    { 4, "raid4" },      { 5, "raid5" },   { 6, "raid6" }, { 10, "raid10" },
  };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
    if (names[i].level == level)
      return names[i].name;
  return "-unknown-";
}

/* Sectors of the bitmap, 0 if there is none or it makes no sense. */
static uint64_t
bitmap_sectors (const struct tool_leg *leg)
{
  struct tool_bitmap bitmap = { .offset = tool_bitmap_offset (leg) };
  const struct bitmap_superblock *b = &bitmap.header;

  if (bitmap.offset == UINT64_MAX || !tool_bitmap_read_header (leg, &bitmap)
      || !bitmap.intact || bitmap.refused)
    return 0;
  return round_up (bitmap_bytes (bitmap_chunks (b->sync_size, b->chunksize)),
                   BITMAP_PAGE_BYTES)
         / SECTOR_SIZE;
}

/* Data lies before the superblock (1.0): it could end later, where the first
 * of log, bitmap and superblock begins.
 */
static void
count_space_before_superblock (struct examined *e)
{
  const struct superblock *s = e->s;
  int64_t end = (int64_t)s->super_offset;
  const int64_t used = (int64_t)(s->data_offset + s->size);

  if (e->has_bblog && s->bblog_offset < 0)
    end += s->bblog_offset;
  if ((s->feature_map & FEATURE_BITMAP_OFFSET)
      && (int64_t)s->super_offset + s->bitmap_offset < end)
    end = (int64_t)s->super_offset + s->bitmap_offset;
  e->space_before = s->data_offset;
  e->space_after = used < end ? end - used : 0;
}

/* Where data could begin earlier and end later, as mdadm counts it: the
 * bitmap's end without the offset of the superblock.
 */
static void
count_space (struct examined *e)
{
  const struct superblock *s = e->s;
  int64_t earliest = (int64_t)s->super_offset + SUPERBLOCK_ROOM;
  int64_t end;

  if (s->data_offset < s->super_offset) {
    count_space_before_superblock (e);
    return;
  }
  if ((s->feature_map & FEATURE_BITMAP_OFFSET) && s->bitmap_offset > 0) {
    end = s->bitmap_offset + (int64_t)bitmap_sectors (e->leg);
    if (end > earliest)
      earliest = end;
  }
  if (e->has_bblog) {
    end = (int64_t)s->super_offset + s->bblog_offset + s->bblog_size;
    if (end > earliest)
      earliest = end;
  }
  e->space_before = earliest < (int64_t)s->data_offset
                        ? s->data_offset - (uint64_t)earliest
                        : 0;
  e->space_after = (int64_t)(e->leg->device->limits.size / SECTOR_SIZE - s->size
                             - s->data_offset);
}

/* The entries of the log as they are, in whatever order.  False, and a line,
 * if it cannot be read.
 */
static bool
read_bad_blocks (struct examined *e)
{
  const struct superblock *s = e->s;
  const int64_t at = (int64_t)s->super_offset + s->bblog_offset;
  const size_t bytes =
      min_u64 ((uint64_t)s->bblog_size * SECTOR_SIZE, BAD_BLOCKS_LOG_BYTES);
  uint8_t log[BAD_BLOCKS_LOG_BYTES];
  ptrdiff_t n;

  if (!e->has_bblog || !(s->feature_map & FEATURE_BAD_BLOCKS) || at < 0
      || s->bblog_shift > 31)
    return true;
  e->bad = rt_calloc (BAD_BLOCKS_MAX, sizeof *e->bad);
  if (!e->bad) {
    tool_error ("out of memory");
    return false;
  }
  n = tool_leg_read (e->leg, (uint64_t)at * SECTOR_SIZE, bytes, log);
  for (ptrdiff_t i = 0; i + 8 <= n; i += 8) {
    const uint64_t entry = get_le64 (log + i);

    if (entry == UINT64_MAX)
      break;
    if ((entry & 0x3ff) == 0)
      continue;
    e->bad[e->nbad].start = (entry >> 10) << s->bblog_shift;
    e->bad[e->nbad++].length = (entry & 0x3ff) << s->bblog_shift;
  }
  return n >= 0;
}

const char *
examine_file (const struct examined *e)
{
  return e->note.path[0] != '\0' ? e->note.path : "(a long path)";
}

static bool
examine (const struct tool_leg *leg, struct examined *e)
{
  const struct superblock *s = &leg->superblock;

  memset (e, 0, sizeof *e);
  e->leg = leg;
  e->s = s;
  e->level = level_name (s->level);
  e->role = superblock_role (s, s->dev_number);
  e->has_bblog = s->bblog_size != 0 && s->bblog_offset != 0;
  e->has_note = tool_leg_note (leg, &e->note);
  count_space (e);
  return read_bad_blocks (e) && tool_slots_init (&e->slots, s);
}

/* ---- all of it ---- */

static int
state_of (const struct examined *e)
{
  if (e->slots.working == 0)
    return TOOL_FAILED;
  return e->slots.working < e->s->raid_disks ? TOOL_DEGRADED : TOOL_WHOLE;
}

/* One leg, to stdout or into the array.  enum tool_exit. */
static int
examine_leg (const char *path, json_t *array)
{
  struct examined e = { 0 };
  struct tool_leg leg;
  int status = TOOL_ERROR;

  if (!tool_leg_open (&leg, path))
    goto out;
  tool_leg_complain (&leg);
  if (!leg.intact || !examine (&leg, &e))
    goto out;
  if (array)
    json_array_append_new (array, examine_to_json (&e));
  else {
    printf ("%s:\n", path);
    if (leg.superblock.version == SUPERBLOCK_0_90)
      examine_print_090 (&e);
    else
      examine_print_1 (&e);
  }
  if (!leg.refused && !leg.ambiguous)
    status = state_of (&e);
out:
  rt_free (e.bad);
  rt_free (e.slots.state);
  tool_leg_close (&leg);
  return status;
}

int
tool_examine (int argc, char **argv)
{
  static const struct option long_options[] = {
    { "json", no_argument, NULL, 'j' },
    { NULL, 0, NULL, 0 },
  };
  json_t *array = NULL;
  int option, status = 0, worst = 0;

  opterr = 0;
  while ((option = getopt_long (argc, argv, "", long_options, NULL)) != -1) {
    if (option != 'j')
      return tool_usage_error ("examine: bad option: %s", argv[optind - 1]);
    if (!array) {
      json_object_seed (1);
      array = json_array ();
    }
  }
  if (optind == argc) {
    json_decref (array);
    return tool_usage_error ("no leg given");
  }
  for (int i = optind; i < argc; ++i) {
    status = examine_leg (argv[i], array);
    if (status > worst)
      worst = status;
  }
  if (array)
    tool_json_print (array);
  return worst;
}
