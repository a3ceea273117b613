/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* mdbitmap assemble: what a server would make of these legs, and why; and
 * the way out of a split brain.
 *
 * The decisions are those of array_open, which the plugin calls as well and
 * which writes nothing.  The legs are locked meanwhile as a server locks them:
 * what would be in its way is in ours.  Only array_record writes, and only
 * with --force-source and without --dry-run.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "assemble.h"
#include "base/bytes.h"
#include "base/rt.h"

#define LEG_TIMEOUT (30 * RT_SECOND)

enum {
  OPT_DRY_RUN = 256,
  OPT_JSON,
  OPT_DEGRADED,
  OPT_FULL_RESYNC,
  OPT_FORCE_SOURCE,
  OPT_BITMAP,
};

static const struct option long_options[] = {
  { "dry-run", no_argument, NULL, OPT_DRY_RUN },
  { "json", no_argument, NULL, OPT_JSON },
  { "degraded", required_argument, NULL, OPT_DEGRADED },
  { "full-resync", required_argument, NULL, OPT_FULL_RESYNC },
  { "force-source", required_argument, NULL, OPT_FORCE_SOURCE },
  { "bitmap", required_argument, NULL, OPT_BITMAP },
  { NULL, 0, NULL, 0 },
};

/* ---- arguments ---- */

static bool
set_full_resync (struct assemble *assemble, const char *text)
{
  assemble->options.refuse_full_resync = strcmp (text, "refuse") == 0;
  if (strcmp (text, "refuse") == 0 || strcmp (text, "auto") == 0)
    return true;
  tool_usage_error ("--full-resync=%s: must be auto or refuse", text);
  return false;
}

static bool
set_bitmap (struct assemble *assemble, const char *text)
{
  struct array_options *options = &assemble->options;

  if (strcmp (text, "auto") == 0) {
    options->bitmap = ARRAY_BITMAP_AUTO;
    return true;
  }
  return tool_parse_bitmap ("--bitmap", text, &options->bitmap,
                            &assemble->bitmap_file);
}

static bool
take (struct assemble *assemble, int option, const char *text)
{
  switch (option) {
  case OPT_DRY_RUN:
    assemble->dry_run = true;
    return true;
  case OPT_JSON:
    assemble->json = true;
    return true;
  case OPT_DEGRADED:
    assemble->degraded_given = true;
    return tool_parse_degraded (text, &assemble->options.degraded);
  case OPT_FULL_RESYNC:
    return set_full_resync (assemble, text);
  case OPT_FORCE_SOURCE:
    assemble->options.force_source = text;
    return true;
  case OPT_BITMAP:
    return set_bitmap (assemble, text);
  default:
    return false;
  }
}

static bool
same_file (const char *a, const char *b)
{
  struct stat sa, sb;

  if (strcmp (a, b) == 0)
    return true;
  if (stat (a, &sa) == -1 || stat (b, &sb) == -1)
    return false;
  if (S_ISBLK (sa.st_mode) && S_ISBLK (sb.st_mode))
    return sa.st_rdev == sb.st_rdev;
  return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* By whatever name it is the source, the library knows it by the leg's. */
static bool
find_source (struct assemble *assemble)
{
  struct array_options *options = &assemble->options;

  if (!options->force_source)
    return true;
  for (unsigned i = 0; i < options->nlegs; ++i)
    if (same_file (options->force_source, options->legs[i])) {
      options->force_source = options->legs[i];
      return true;
    }
  tool_usage_error ("--force-source=%s: it must be one of the legs given",
                    options->force_source);
  return false;
}

static bool
parse (struct assemble *assemble, int argc, char **argv)
{
  int option;

  opterr = 0;
  while ((option = getopt_long (argc, argv, "", long_options, NULL)) != -1) {
    if (option == '?') {
      tool_usage_error ("assemble: bad option, or without its argument: %s",
                        argv[optind - 1]);
      return false;
    }
    if (!take (assemble, option, optarg))
      return false;
  }
  for (; optind < argc; ++optind)
    if (!tool_add_leg (&assemble->options, argv[optind]))
      return false;
  if (!assemble->dry_run && !assemble->options.force_source) {
    tool_usage_error ("assemble: give --dry-run to see what a server would do, "
                      "or --force-source=LEG to settle a split brain; what "
                      "serves an array is nbdkit mdbitmap LEG...");
    return false;
  }
  if (assemble->options.nlegs == 0) {
    tool_usage_error ("no leg given");
    return false;
  }
  return find_source (assemble);
}

/* ---- what the library says ---- */

/* Notices are what the lines on stdout say as well. */
static void
sink (void *opaque, enum log_level level, const char *line)
{
  struct assemble *assemble = opaque;

  if (level != LOG_LEVEL_ERROR)
    return;
  tool_error ("%s", line);
  if (assemble->nerrors < ASSEMBLE_MAX_ERRORS) {
    assemble->errors[assemble->nerrors] = strdup (line);
    assemble->nerrors += assemble->errors[assemble->nerrors] != NULL;
  }
}

json_t *
assemble_errors (const struct assemble *assemble)
{
  json_t *list = json_array (), *text;

  for (unsigned i = 0; i < assemble->nerrors; ++i) {
    text = json_string (assemble->errors[i]);
    json_array_append_new (list, text ? text : json_string ("(not UTF-8)"));
  }
  return list;
}

/* ---- an array that can be started ---- */

static int
state_of (const struct array_info *info)
{
  return info->in_sync < info->raid_disks ? TOOL_DEGRADED : TOOL_WHOLE;
}

static void
print_text (const struct assemble *assemble, struct array *array,
            const struct array_info *info, bool recorded)
{
  struct array_leg_info leg;

  for (unsigned i = 0; i < assemble->options.nlegs; ++i) {
    array_get_leg_info (array, i, &leg);
    if (leg.slot >= 0)
      printf ("leg %s: slot %d: %s\n", leg.name, leg.slot, leg.why);
    else
      printf ("leg %s: not used: %s\n", leg.name, leg.why);
  }
  printf ("array %s: %u of %u legs, %s, %" PRIu64 " bytes; ", info->uuid,
          info->in_sync, info->raid_disks,
          state_of (info) == TOOL_WHOLE ? "whole" : "degraded", info->size);
  if (info->chunks_needed == 0)
    printf ("nothing to resync");
  else if (info->in_sync < 2)
    printf ("%" PRIu64 " of %" PRIu64 " chunks marked, and no other leg to "
            "resync",
            info->chunks_needed, info->chunks);
  else
    printf ("%" PRIu64 " of %" PRIu64 " chunks of %" PRIu32
            " bytes to be resynced",
            info->chunks_needed, info->chunks, info->chunksize);
  if (info->bitmap == ARRAY_BITMAP_NONE)
    printf ("; it has no bitmap");
  if (info->bitmap == ARRAY_BITMAP_FILE)
    printf ("; its bitmap is in the file %s", info->bitmap_file);
  printf ("%s\n", recorded ? "; recorded" : "");
}

static const char *
resync_key (enum array_leg_resync resync)
{
  switch (resync) {
  case ARRAY_RESYNC_NONE:
    return "none";
  case ARRAY_RESYNC_BITMAP:
    return "bitmap";
  case ARRAY_RESYNC_FULL:
    return "full";
  }
  return NULL;
}

static json_t *
leg_to_json (const struct array_leg_info *leg)
{
  json_t *object = json_object ();

  tool_json_string (object, "leg", leg->name);
  tool_json_string (object, "fate", array_leg_fate_string (leg->fate));
  json_object_set_new (object, "slot",
                       leg->slot < 0 ? json_null () : json_integer (leg->slot));
  json_object_set_new (object, "write-mostly",
                       json_boolean (leg->write_mostly));
  json_object_set_new (object, "events",
                       leg->has_superblock
                           ? json_integer ((json_int_t)leg->events)
                           : json_null ());
  tool_json_string (object, "resync", resync_key (leg->resync));
  tool_json_integer (object, "resync-bytes", leg->resync_bytes);
  tool_json_string (object, "resync-source", leg->resync_source);
  tool_json_sectors (object, "bad-bytes", leg->bad_sectors);
  tool_json_string (object, "why", leg->why);
  return object;
}

static void
print_json (const struct assemble *assemble, struct array *array,
            const struct array_info *info, bool recorded)
{
  json_t *object, *legs;
  struct array_leg_info leg;

  json_object_seed (1);
  object = json_object ();
  legs = json_array ();
  tool_json_string (object, "array-uuid", info->uuid);
  tool_json_string (object, "name", info->name);
  tool_json_string (object, "state",
                    state_of (info) == TOOL_WHOLE ? "whole" : "degraded");
  tool_json_integer (object, "array-size", info->size);
  tool_json_integer (object, "raid-devices", info->raid_disks);
  tool_json_integer (object, "in-sync", info->in_sync);
  tool_json_string (object, "bitmap", tool_bitmap_key (info->bitmap));
  tool_json_string (
      object, "bitmap-file",
      info->bitmap == ARRAY_BITMAP_FILE ? info->bitmap_file : NULL);
  tool_json_integer (object, "chunk-size", info->chunksize);
  tool_json_integer (object, "chunks", info->chunks);
  tool_json_integer (object, "chunks-marked", info->chunks_marked);
  tool_json_integer (object, "chunks-needed", info->chunks_needed);
  for (unsigned i = 0; i < assemble->options.nlegs; ++i) {
    array_get_leg_info (array, i, &leg);
    json_array_append_new (legs, leg_to_json (&leg));
  }
  json_object_set_new (object, "legs", legs);
  json_object_set_new (object, "recorded", json_boolean (recorded));
  json_object_set_new (object, "errors", assemble_errors (assemble));
  tool_json_print (object);
}

/* ---- all of it ---- */

static int
record (struct array *array)
{
  int err = array_start (array);

  if (err == 0)
    err = array_record (array);
  if (err < 0)
    tool_error ("not recorded: %s", strerror (-err));
  array_stop (array);
  return err;
}

static int
assemble_legs (struct assemble *assemble)
{
  const struct log log = { .sink = sink, .opaque = assemble };
  struct array_info info;
  struct array *array;
  bool recorded;
  int err;

  err = array_open (&assemble->options, &log, &array);
  if (err < 0)
    return assemble_refused (assemble, err);
  err = assemble->dry_run ? 0 : record (array);
  recorded = err == 0 && !assemble->dry_run;
  array_get_info (array, &info);
  if (assemble->json)
    print_json (assemble, array, &info, recorded);
  else
    print_text (assemble, array, &info, recorded);
  array_close (array);
  return err < 0 ? TOOL_ERROR : state_of (&info);
}

int
tool_assemble (int argc, char **argv)
{
  struct assemble assemble = {
    .options.leg_timeout = LEG_TIMEOUT,
    .options.sync_rate_max = UINT64_MAX,
    /* Which any file system has. */
    .options.bitmap_io = ARRAY_BITMAP_PAGECACHE,
  };
  int status = TOOL_ERROR;

  if (parse (&assemble, argc, argv)) {
    /* The losers are known: that their slots are empty is what is wanted. */
    if (assemble.options.force_source && !assemble.degraded_given)
      assemble.options.degraded = ARRAY_DEGRADED_ALLOW;
    assemble.options.bitmap_file = assemble.bitmap_file;
    status = assemble_legs (&assemble);
  }
  free (assemble.bitmap_file);
  for (unsigned i = 0; i < assemble.nerrors; ++i)
    free (assemble.errors[i]);
  return status;
}
