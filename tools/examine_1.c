/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A superblock 1.x in mdadm's words and order. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "examine.h"

/* mdadm tells arrays that were made on this host. */
static void
print_name (const char *name)
{
  char host[65] = "";
  size_t length;

  gethostname (host, sizeof host - 1);
  length = strlen (host);
  printf ("           Name : %s", name);
  if (length > 0 && length < 32 && strncmp (name, host, length) == 0
      && name[length] == ':')
    printf ("  (local to host %s)", host);
  putchar ('\n');
}

static void
print_array (const struct examined *e)
{
  const struct superblock *s = e->s;
  char text[TOOL_SIZE_TEXT], uuid[FORMAT_UUID_TEXT], time[TOOL_TIME_TEXT];

  printf ("          Magic : %08x\n", SUPERBLOCK_MAGIC);
  printf ("        Version : %s\n", superblock_version_string (s->version));
  printf ("    Feature Map : 0x%" PRIx32 "\n", s->feature_map);
  printf ("     Array UUID : %s\n", format_uuid (s->set_uuid, uuid));
  print_name (s->set_name);
  printf ("  Creation Time : %s\n", tool_time_text (s->ctime, time));
  printf ("     Raid Level : %s\n", e->level);
  printf ("   Raid Devices : %" PRIu32 "\n\n", s->raid_disks);
  printf (" Avail Dev Size : %" PRIu64 " sectors%s\n", s->data_size,
          tool_size_text (s->data_size * SECTOR_SIZE, text));
  if (s->level == 1)
    printf ("     Array Size : %" PRIu64 " KiB%s\n", s->size / 2,
            tool_size_text (s->size * SECTOR_SIZE, text));
  if (s->level > 0 && s->size != s->data_size)
    printf ("  Used Dev Size : %" PRIu64 " sectors%s\n", s->size,
            tool_size_text (s->size * SECTOR_SIZE, text));
}

static void
print_places (const struct examined *e)
{
  const struct superblock *s = e->s;

  if (s->data_offset != 0)
    printf ("    Data Offset : %" PRIu64 " sectors\n", s->data_offset);
  printf ("   Super Offset : %" PRIu64 " sectors\n", s->super_offset);
  if (s->feature_map & FEATURE_RECOVERY_OFFSET)
    printf ("Recovery Offset : %" PRIu64 " sectors\n", s->recovery_offset);
  /* mdadm takes 1 sector behind, and none at all, for "not known". */
  if (e->space_after != 1 && (e->space_before != 0 || e->space_after != 0)) {
    printf ("   Unused Space : before=%" PRIu64 " sectors, after=%" PRId64
            " sectors%s\n",
            e->space_before, e->space_after,
            e->space_after < 0 ? " DEVICE TOO SMALL" : "");
  }
}

static void
print_state (const struct examined *e)
{
  const struct superblock *s = e->s;
  char uuid[FORMAT_UUID_TEXT], time[TOOL_TIME_TEXT];

  printf ("          State : %s%s\n",
          s->resync_offset == RESYNC_CLEAN ? "clean" : "active",
          e->space_after < 0 ? " TRUNCATED DEVICE" : "");
  printf ("    Device UUID : %s\n\n", format_uuid (s->device_uuid, uuid));
  if (s->feature_map & FEATURE_BITMAP_OFFSET)
    printf ("Internal Bitmap : %" PRId32 " sectors from superblock\n",
            s->bitmap_offset);
  if (e->has_note)
    printf ("    Bitmap File : %s\n", examine_file (e));
  if (s->devflags != 0)
    printf ("          Flags :%s%s\n",
            s->devflags & DEV_FLAG_WRITE_MOSTLY ? " write-mostly" : "",
            s->devflags & DEV_FLAG_FAILFAST ? " failfast" : "");
  printf ("    Update Time : %s\n", tool_time_text (s->utime, time));
  if (e->has_bblog)
    printf (
        "  Bad Block Log : %d entries available at offset %" PRId32
        " sectors%s\n",
        s->bblog_size * SECTOR_SIZE / 8, s->bblog_offset,
        s->feature_map & FEATURE_BAD_BLOCKS ? " - bad blocks present." : "");
  printf ("       Checksum : %" PRIx32 " - correct\n", superblock_checksum (s));
  printf ("         Events : %" PRIu64 "\n\n\n", s->events);
}

static void
print_role (const struct examined *e)
{
  if (e->role == ROLE_SPARE || e->role == ROLE_FAULTY)
    printf ("   Device Role : spare\n");
  else if (e->role == ROLE_JOURNAL)
    printf ("   Device Role : Journal\n");
  else
    printf ("   Device Role : %s device %u\n",
            e->s->feature_map & FEATURE_REPLACEMENT ? "Replacement" : "Active",
            e->role);
  printf ("   Array State : %s ('A' == active, '.' == missing, 'R' == "
          "replacing)\n",
          e->slots.state);
}

void
examine_print_1 (const struct examined *e)
{
  print_array (e);
  print_places (e);
  print_state (e);
  print_role (e);
}
