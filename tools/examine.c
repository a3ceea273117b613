/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* mdbitmap examine: the superblocks of legs, in mdadm's words and order, so
 * that the two can be compared line by line.  A superblock that cannot be
 * served but is intact is printed as well, with the reason on stderr.
 */

#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tools.h"

#define TIME_BITS 40
/* What the kernel leaves for the superblock, whatever its size. */
#define SUPERBLOCK_ROOM 72

static const struct {
  uint32_t bit;
  const char *name;
} features[] = {
  { FEATURE_BITMAP_OFFSET, "bitmap-offset" },
  { FEATURE_RECOVERY_OFFSET, "recovery-offset" },
  { FEATURE_RESHAPE_ACTIVE, "reshape-active" },
  { FEATURE_BAD_BLOCKS, "bad-blocks" },
  { FEATURE_REPLACEMENT, "replacement" },
  { FEATURE_RESHAPE_BACKWARDS, "reshape-backwards" },
  { FEATURE_NEW_OFFSET, "new-offset" },
  { FEATURE_RECOVERY_BITMAP, "recovery-bitmap" },
  { FEATURE_BITMAP_VERSIONED, "bitmap-versioned" },
  { FEATURE_JOURNAL, "journal" },
  { FEATURE_PPL, "ppl" },
  { FEATURE_MULTIPLE_PPLS, "multiple-ppls" },
  { FEATURE_RAID0_LAYOUT, "raid0-layout" },
};

/* What is derived from a superblock. */
struct examined {
  const struct tool_leg *leg;
  const struct superblock_1 *s;
  const char *level;
  unsigned role;
  uint64_t space_before; /* sectors */
  int64_t space_after;   /* sectors */
  bool has_bblog;
  char *state;      /* of the slots: one of .AR? each; raid_disks of them */
  unsigned working; /* slots that have a leg */
  unsigned slots;
};

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
  const struct superblock_1 *s = &leg->superblock;
  struct bitmap_superblock bitmap;
  struct format_error error;
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];
  int64_t at = (int64_t)s->super_offset + s->bitmap_offset;
  bool intact;

  if (!(s->feature_map & FEATURE_BITMAP_OFFSET) || at < 0
      || tool_leg_read (leg, (uint64_t)at * SECTOR_SIZE, sizeof block, block)
             != sizeof block
      || bitmap_superblock_decode (block, &bitmap, &intact, &error) < 0)
    return 0;
  return round_up (
             bitmap_bytes (bitmap_chunks (bitmap.sync_size, bitmap.chunksize)),
             BITMAP_PAGE_BYTES)
         / SECTOR_SIZE;
}

/* Where data could begin earlier and end later, as mdadm counts it: the
 * bitmap's end without the offset of the superblock.
 */
static void
count_space (struct examined *e)
{
  const struct superblock_1 *s = e->s;
  int64_t earliest = (int64_t)s->super_offset + SUPERBLOCK_ROOM;
  int64_t end;

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

static bool
examine (const struct tool_leg *leg, struct examined *e)
{
  const struct superblock_1 *s = &leg->superblock;

  memset (e, 0, sizeof *e);
  e->leg = leg;
  e->s = s;
  e->level = level_name (s->level);
  e->role = superblock_1_role (s, s->dev_number);
  e->has_bblog = s->bblog_size != 0 && s->bblog_offset != 0;
  count_space (e);

  /* Slots that the table cannot name are all missing. */
  e->slots = (unsigned)min_u64 (s->raid_disks, ROLE_LAST + 1);
  e->state = rt_calloc (e->slots + 1, 1);
  if (!e->state) {
    tool_error ("leg %s: out of memory", leg->path);
    return false;
  }
  for (unsigned slot = 0; slot < e->slots; ++slot) {
    unsigned n = 0;

    for (uint32_t i = 0; i < s->max_dev; ++i)
      n += s->dev_roles[i] == slot;
    e->state[slot] = n < 3 ? ".AR"[n] : '?';
    e->working += n > 0;
  }
  return true;
}

/* ---- as text ---- */

/* ctime has a line feed at its end. */
static void
print_time (const char *label, uint64_t packed)
{
  time_t seconds = (time_t)(packed & (((uint64_t)1 << TIME_BITS) - 1));
  char text[32] = "?";
  struct tm tm;

  if (localtime_r (&seconds, &tm))
    strftime (text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
  printf ("%s : %s\n", label, text);
}

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
  const struct superblock_1 *s = e->s;
  char text[TOOL_SIZE_TEXT], uuid[FORMAT_UUID_TEXT];

  printf ("          Magic : %08x\n", SUPERBLOCK_1_MAGIC);
  printf ("        Version : 1.2\n");
  printf ("    Feature Map : 0x%" PRIx32 "\n", s->feature_map);
  printf ("     Array UUID : %s\n", format_uuid (s->set_uuid, uuid));
  print_name (s->set_name);
  print_time ("  Creation Time", s->ctime);
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
  const struct superblock_1 *s = e->s;

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
  const struct superblock_1 *s = e->s;
  char uuid[FORMAT_UUID_TEXT];

  printf ("          State : %s%s\n",
          s->resync_offset == RESYNC_CLEAN ? "clean" : "active",
          e->space_after < 0 ? " TRUNCATED DEVICE" : "");
  printf ("    Device UUID : %s\n\n", format_uuid (s->device_uuid, uuid));
  if (s->feature_map & FEATURE_BITMAP_OFFSET)
    printf ("Internal Bitmap : %" PRId32 " sectors from superblock\n",
            s->bitmap_offset);
  if (s->devflags != 0)
    printf ("          Flags :%s%s\n",
            s->devflags & DEV_FLAG_WRITE_MOSTLY ? " write-mostly" : "",
            s->devflags & DEV_FLAG_FAILFAST ? " failfast" : "");
  print_time ("    Update Time", s->utime);
  if (e->has_bblog)
    printf (
        "  Bad Block Log : %d entries available at offset %" PRId32
        " sectors%s\n",
        s->bblog_size * SECTOR_SIZE / 8, s->bblog_offset,
        s->feature_map & FEATURE_BAD_BLOCKS ? " - bad blocks present." : "");
  printf ("       Checksum : %" PRIx32 " - correct\n",
          superblock_1_checksum (s->block, s->max_dev));
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
          e->state);
}

static void
print_text (const struct examined *e)
{
  printf ("%s:\n", e->leg->path);
  print_array (e);
  print_places (e);
  print_state (e);
  print_role (e);
}

/* ---- as JSON ---- */

static void
set_integer (json_t *object, const char *key, uint64_t value)
{
  json_object_set_new (object, key, json_integer ((json_int_t)value));
}

static void
set_sectors (json_t *object, const char *key, uint64_t sectors)
{
  set_integer (object, key, sectors * SECTOR_SIZE);
}

/* Names may hold any bytes; JSON may not. */
static void
set_string (json_t *object, const char *key, const char *text)
{
  json_t *string = json_string (text);

  json_object_set_new (object, key,
                       string ? string : json_string ("(not UTF-8)"));
}

static json_t *
feature_names (uint32_t map)
{
  json_t *names = json_array ();

  for (size_t i = 0; i < sizeof features / sizeof features[0]; ++i)
    if (map & features[i].bit)
      json_array_append_new (names, json_string (features[i].name));
  return names;
}

static json_t *
flag_names (uint8_t devflags)
{
  json_t *names = json_array ();

  if (devflags & DEV_FLAG_WRITE_MOSTLY)
    json_array_append_new (names, json_string ("write-mostly"));
  if (devflags & DEV_FLAG_FAILFAST)
    json_array_append_new (names, json_string ("failfast"));
  return names;
}

static void
set_role (json_t *object, const struct examined *e)
{
  const bool slot = e->role <= ROLE_LAST;

  json_object_set_new (
      object, "device-role",
      json_string (e->role == ROLE_SPARE                     ? "spare"
                   : e->role == ROLE_FAULTY                  ? "faulty"
                   : e->role == ROLE_JOURNAL                 ? "journal"
                   : e->s->feature_map & FEATURE_REPLACEMENT ? "replacement"
                                                             : "active"));
  json_object_set_new (object, "slot",
                       slot ? json_integer (e->role) : json_null ());
  json_object_set_new (object, "array-state", json_string (e->state));
  set_integer (object, "working-devices", e->working);
}

static json_t *
refusal (const struct format_error *error)
{
  json_t *object = json_object ();

  json_object_set_new (object, "field", json_string (error->field));
  json_object_set_new (object, "found", json_string (error->found));
  json_object_set_new (object, "expected", json_string (error->expected));
  json_object_set_new (
      object, "advice",
      error->advice ? json_string (error->advice) : json_null ());
  return object;
}

static void
set_places (json_t *object, const struct examined *e)
{
  const struct superblock_1 *s = e->s;

  set_sectors (object, "available-size", s->data_size);
  set_sectors (object, "used-size", s->size);
  set_sectors (object, "data-offset", s->data_offset);
  set_sectors (object, "super-offset", s->super_offset);
  set_sectors (object, "unused-before", e->space_before);
  json_object_set_new (object, "unused-after",
                       json_integer (e->space_after * SECTOR_SIZE));
  json_object_set_new (object, "recovery-offset",
                       s->feature_map & FEATURE_RECOVERY_OFFSET ? json_integer (
                           (json_int_t)(s->recovery_offset * SECTOR_SIZE))
                                                                : json_null ());
  json_object_set_new (object, "bitmap-offset",
                       s->feature_map & FEATURE_BITMAP_OFFSET ? json_integer (
                           (json_int_t)s->bitmap_offset * SECTOR_SIZE)
                                                              : json_null ());
  json_object_set_new (
      object, "bad-block-log-offset",
      e->has_bblog ? json_integer ((json_int_t)s->bblog_offset * SECTOR_SIZE)
                   : json_null ());
  set_sectors (object, "bad-block-log-size", e->has_bblog ? s->bblog_size : 0);
}

static json_t *
to_json (const struct examined *e)
{
  const uint64_t seconds = ((uint64_t)1 << TIME_BITS) - 1;
  const struct superblock_1 *s = e->s;
  const bool clean = s->resync_offset == RESYNC_CLEAN;
  json_t *object = json_object ();
  char uuid[FORMAT_UUID_TEXT], checksum[9];

  set_string (object, "leg", e->leg->path);
  json_object_set_new (object, "metadata", json_string ("1.2"));
  set_integer (object, "feature-map", s->feature_map);
  json_object_set_new (object, "features", feature_names (s->feature_map));
  json_object_set_new (object, "array-uuid",
                       json_string (format_uuid (s->set_uuid, uuid)));
  set_string (object, "name", s->set_name);
  set_integer (object, "creation-time", s->ctime & seconds);
  json_object_set_new (object, "raid-level", json_string (e->level));
  set_integer (object, "raid-devices", s->raid_disks);
  set_sectors (object, "array-size", s->size);
  set_places (object, e);
  json_object_set_new (object, "state",
                       json_string (clean ? "clean" : "active"));
  json_object_set_new (
      object, "resync-offset",
      clean ? json_null ()
            : json_integer ((json_int_t)(s->resync_offset * SECTOR_SIZE)));
  json_object_set_new (object, "device-uuid",
                       json_string (format_uuid (s->device_uuid, uuid)));
  json_object_set_new (object, "flags", flag_names (s->devflags));
  set_integer (object, "update-time", s->utime & seconds);
  snprintf (checksum, sizeof checksum, "%08" PRIx32,
            superblock_1_checksum (s->block, s->max_dev));
  json_object_set_new (object, "checksum", json_string (checksum));
  set_integer (object, "events", s->events);
  set_integer (object, "corrected-reads", s->cnt_corrected_read);
  set_integer (object, "device-number", s->dev_number);
  set_role (object, e);
  json_object_set_new (
      object, "refused",
      e->leg->refused ? refusal (&e->leg->error) : json_null ());
  return object;
}

/* ---- all of it ---- */

static int
state_of (const struct examined *e)
{
  if (e->working == 0)
    return TOOL_FAILED;
  return e->working < e->s->raid_disks ? TOOL_DEGRADED : TOOL_WHOLE;
}

static void
say_why (const struct tool_leg *leg)
{
  char text[300];

  if (leg->no_magic) {
    tool_error ("leg %s: no superblock of version 1.2 found", leg->path);
    return;
  }
  format_error_string (&leg->error, text, sizeof text);
  tool_error ("leg %s: %s", leg->path, text);
}

/* One leg, to stdout or into the array.  enum tool_exit. */
static int
examine_leg (const char *path, json_t *array)
{
  struct tool_leg leg;
  struct examined e;
  int status = TOOL_ERROR;

  if (!tool_leg_open (&leg, path))
    goto out;
  if (!leg.intact || leg.refused)
    say_why (&leg);
  if (!leg.intact || !examine (&leg, &e))
    goto out;
  if (array)
    json_array_append_new (array, to_json (&e));
  else
    print_text (&e);
  if (!leg.refused)
    status = state_of (&e);
  rt_free (e.state);
out:
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
  if (array) {
    json_dumpf (array, stdout, JSON_INDENT (2));
    putchar ('\n');
    json_decref (array);
  }
  return worst;
}
