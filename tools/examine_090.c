/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A superblock 0.90 in mdadm's words and order: it has a table of devices that
 * no other version has, so it is read from the block once more.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "examine.h"

/* Where fields are, in words of 32 bits. */
enum {
  WORD_MINOR_VERSION = 2,
  WORD_PATCH_VERSION = 3,
  WORD_MD_MINOR = 11,
  WORD_NOT_PERSISTENT = 12,
  WORD_NR_DISKS = 9,
  WORD_ACTIVE_DISKS = 34,
  WORD_WORKING_DISKS = 35,
  WORD_FAILED_DISKS = 36,
  WORD_SPARE_DISKS = 37,
  WORD_SB_CSUM = 38,
  WORD_DISKS = 128,
  WORDS_PER_DISK = 32,
  WORD_THIS_DISK = 992,
};

static uint32_t
word (const struct superblock *s, unsigned n)
{
  return get_le32 (s->block + 4 * (size_t)n);
}

static void
unpack_disk (const struct superblock *s, unsigned at, struct examined_disk *d)
{
  d->number = word (s, at);
  d->major = word (s, at + 1);
  d->minor = word (s, at + 2);
  d->raid_disk = word (s, at + 3);
  d->state = word (s, at + 4);
}

void
examine_unpack_090 (const struct superblock *s, struct examined_090 *x)
{
  x->minor_version = word (s, WORD_MINOR_VERSION);
  x->patch_version = word (s, WORD_PATCH_VERSION);
  x->md_minor = word (s, WORD_MD_MINOR);
  x->not_persistent = word (s, WORD_NOT_PERSISTENT);
  x->nr_disks = word (s, WORD_NR_DISKS);
  x->active_disks = word (s, WORD_ACTIVE_DISKS);
  x->working_disks = word (s, WORD_WORKING_DISKS);
  x->failed_disks = word (s, WORD_FAILED_DISKS);
  x->spare_disks = word (s, WORD_SPARE_DISKS);
  unpack_disk (s, WORD_THIS_DISK, &x->this_disk);
  for (unsigned i = 0; i < EXAMINE_090_DISKS; ++i)
    unpack_disk (s, WORD_DISKS + i * WORDS_PER_DISK, &x->disks[i]);
}

const char *
examine_disk_state (uint32_t state, char text[80])
{
  static const struct {
    uint32_t bit;
    const char *word;
  } words[] = {
    { DISK_FAULTY, "faulty" },
    { DISK_ACTIVE, "active" },
    { DISK_SYNC, "sync" },
    { DISK_REMOVED, "removed" },
    { DISK_WRITE_MOSTLY, "write-mostly" },
    { DISK_FAILFAST, "failfast" },
  };

  text[0] = '\0';
  for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i)
    if (state & words[i].bit) {
      strcat (text, text[0] != '\0' ? " " : "");
      strcat (text, words[i].word);
    }
  if ((state & ~(uint32_t)(DISK_WRITE_MOSTLY | DISK_FAILFAST)) == 0) {
    strcat (text, text[0] != '\0' ? " " : "");
    strcat (text, "spare");
  }
  return text;
}

static void
print_disk (const char *label, const struct examined_disk *d)
{
  char text[80];

  printf ("%4s %5d   %5d    %5d    %5d      %s\n", label, (int)d->number,
          (int)d->major, (int)d->minor, (int)d->raid_disk,
          examine_disk_state (d->state, text));
}

static void
print_disks (const struct examined *e, const struct examined_090 *x)
{
  const uint64_t n =
      min_u64 ((uint64_t)e->s->raid_disks + x->spare_disks, EXAMINE_090_DISKS);
  char label[8];

  printf ("      Number   Major   Minor   RaidDevice State\n");
  print_disk ("this", &x->this_disk);
  putchar ('\n');
  for (unsigned i = 0; i < n; ++i) {
    snprintf (label, sizeof label, "%4u", i);
    print_disk (label, &x->disks[i]);
  }
}

static void
print_array (const struct examined *e, const struct examined_090 *x)
{
  const struct superblock *s = e->s;
  char text[TOOL_SIZE_TEXT], uuid[FORMAT_UUID_TEXT], time[TOOL_TIME_TEXT];

  printf ("          Magic : %08x\n", SUPERBLOCK_MAGIC);
  printf ("        Version : 0.%" PRIu32 ".%02" PRIu32 "\n", x->minor_version,
          x->patch_version);
  printf ("           UUID : %s\n",
          superblock_uuid (SUPERBLOCK_0_90, s->set_uuid, uuid));
  if (x->not_persistent)
    printf ("           Eedk : not persistent\n");
  printf ("  Creation Time : %s\n", tool_time_text (s->ctime, time));
  printf ("     Raid Level : %s\n", e->level);
  if (s->level > 0) {
    tool_size_text (s->size * SECTOR_SIZE, text);
    printf ("  Used Dev Size : %" PRIu64 "%s\n", s->size / 2, text);
    if (s->level == 1)
      printf ("     Array Size : %" PRIu64 "%s\n", s->size / 2, text);
  }
  printf ("   Raid Devices : %" PRIu32 "\n", s->raid_disks);
  printf ("  Total Devices : %" PRIu32 "\n", x->nr_disks);
  printf ("Preferred Minor : %" PRIu32 "\n\n", x->md_minor);
}

/* Any of several sums is accepted, but one is right. */
static void
print_checksum (const struct superblock *s)
{
  const uint32_t stored = word (s, WORD_SB_CSUM);
  const uint32_t right = superblock_checksum (s);

  printf ("       Checksum : %" PRIx32 " - ", stored);
  if (stored == right)
    printf ("correct\n");
  else
    printf ("expected %" PRIx32 "\n", right);
}

static void
print_state (const struct examined *e, const struct examined_090 *x)
{
  const struct superblock *s = e->s;
  char time[TOOL_TIME_TEXT];

  printf ("    Update Time : %s\n", tool_time_text (s->utime, time));
  printf ("          State : %s\n",
          s->resync_offset == RESYNC_CLEAN ? "clean" : "active");
  if (s->feature_map & FEATURE_BITMAP_OFFSET)
    printf ("Internal Bitmap : present\n");
  if (e->has_note)
    printf ("    Bitmap File : %s\n", examine_file (e));
  printf (" Active Devices : %" PRIu32 "\n", x->active_disks);
  printf ("Working Devices : %" PRIu32 "\n", x->working_disks);
  printf (" Failed Devices : %" PRIu32 "\n", x->failed_disks);
  printf ("  Spare Devices : %" PRIu32 "\n", x->spare_disks);
  print_checksum (s);
  printf ("         Events : %" PRIu64 "\n\n\n", s->events);
}

void
examine_print_090 (const struct examined *e)
{
  struct examined_090 x;

  examine_unpack_090 (e->s, &x);
  print_array (e, &x);
  print_state (e, &x);
  print_disks (e, &x);
}
