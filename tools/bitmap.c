/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* mdbitmap bitmap: another bitmap for an array that nobody serves.
 *
 * Where the present one is, the superblocks say, or the note on the legs, or
 * --from.  array_change_bitmap does the rest.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array/array.h"
#include "base/rt.h"
#include "tools.h"

#define LEG_TIMEOUT (30 * RT_SECOND)

enum {
  OPT_BITMAP_CHUNK = 256,
  OPT_FROM,
  OPT_FORCE,
  OPT_DEGRADED,
};

static const struct option long_options[] = {
  { "bitmap-chunk", required_argument, NULL, OPT_BITMAP_CHUNK },
  { "from", required_argument, NULL, OPT_FROM },
  { "force", no_argument, NULL, OPT_FORCE },
  { "degraded", required_argument, NULL, OPT_DEGRADED },
  { NULL, 0, NULL, 0 },
};

struct arguments {
  struct array_options options;
  enum array_bitmap bitmap; /* the new one; AUTO: not given yet */
  char *path;
  uint32_t chunk;
  char *from; /* the file of the present one */
  bool force;

  bool changing; /* what the library says is for stdout */
};

/* ---- arguments ---- */

static bool
take (struct arguments *arguments, int option)
{
  switch (option) {
  case OPT_BITMAP_CHUNK:
    return tool_parse_chunk (optarg, &arguments->chunk);
  case OPT_FROM:
    free (arguments->from);
    arguments->from = tool_absolute_path (optarg);
    return arguments->from != NULL;
  case OPT_FORCE:
    arguments->force = true;
    return true;
  case OPT_DEGRADED:
    return tool_parse_degraded (optarg, &arguments->options.degraded);
  default:
    tool_usage_error ("bitmap: bad option, or without its argument");
    return false;
  }
}

static bool
parse (struct arguments *arguments, int argc, char **argv)
{
  int option;

  opterr = 0;
  while ((option = getopt_long (argc, argv, "", long_options, NULL)) != -1)
    if (!take (arguments, option))
      return false;
  if (optind == argc) {
    tool_usage_error ("bitmap: give internal, none or the path of a file, and "
                      "the legs");
    return false;
  }
  if (!tool_parse_bitmap ("bitmap", argv[optind++], &arguments->bitmap,
                          &arguments->path))
    return false;
  for (; optind < argc; ++optind)
    if (!tool_add_leg (&arguments->options, argv[optind]))
      return false;
  if (arguments->options.nlegs == 0) {
    tool_usage_error ("no leg given");
    return false;
  }
  if (arguments->bitmap == ARRAY_BITMAP_NONE && arguments->chunk != 0) {
    tool_usage_error ("--bitmap-chunk contradicts none: without a bitmap there "
                      "are no chunks");
    return false;
  }
  return true;
}

/* ---- the present one ---- */

/* What the newest leg says.  False: there is no note that counts. */
static bool
find_note (const struct array_options *options, struct bitmap_note *newest)
{
  struct bitmap_note note;
  uint64_t events = 0;
  bool found = false;

  for (unsigned i = 0; i < options->nlegs; ++i) {
    struct tool_leg leg;

    if (tool_leg_open_quietly (&leg, options->legs[i]) && leg.intact
        && leg.superblock.events >= events) {
      if (leg.superblock.events > events)
        found = false;
      events = leg.superblock.events;
      if (tool_leg_note (&leg, &note)
          && (!found || note.events > newest->events)) {
        *newest = note;
        found = true;
      }
    }
    tool_leg_close (&leg);
  }
  return found;
}

/* False, and a line, if it must be said. */
static bool
find_file (struct arguments *arguments)
{
  struct bitmap_note note;

  if (arguments->from || !find_note (&arguments->options, &note))
    return true;
  if (note.path[0] == '\0') {
    tool_error ("the array's bitmap is in a file whose path was too long for "
                "the note on its legs; give it, --from=PATH");
    return false;
  }
  arguments->from = tool_absolute_path (note.path);
  return arguments->from != NULL;
}

/* Legs that are not used and the like is what mdbitmap assemble tells. */
static void
sink (void *opaque, enum log_level level, const char *line)
{
  const struct arguments *arguments = opaque;

  if (level == LOG_LEVEL_ERROR
      || (level == LOG_LEVEL_NOTICE && strncmp (line, "bitmap file ", 12) == 0))
    tool_error ("%s", line);
  else if (level == LOG_LEVEL_NOTICE && arguments->changing)
    printf ("%s\n", line);
}

static void
say_how (const struct arguments *arguments)
{
  if (arguments->from)
    tool_error ("if it is for the bitmap file %s, which says which chunks "
                "differ: give another one with --from=PATH, or go on without "
                "it, --force",
                arguments->from);
}

/* As if there were none, though there is one. */
static int
open_without (struct arguments *arguments, const struct log *log,
              struct array **array)
{
  struct array_options *options = &arguments->options;

  tool_error ("going on without the present bitmap, as if it were out of date");
  options->ignore_bitmap = !arguments->from;
  options->bitmap = arguments->from ? ARRAY_BITMAP_NONE : ARRAY_BITMAP_AUTO;
  options->bitmap_file = NULL;
  return array_open (options, log, array);
}

static int
open_array (struct arguments *arguments, const struct log *log,
            struct array **array)
{
  struct array_options *options = &arguments->options;
  int err;

  options->bitmap = arguments->from ? ARRAY_BITMAP_FILE : ARRAY_BITMAP_AUTO;
  options->bitmap_file = arguments->from;
  /* Which any file system has. */
  options->bitmap_io = ARRAY_BITMAP_PAGECACHE;
  err = array_open (options, log, array);
  if (err == 0 || err == -EBUSY || err == -ENOMEM)
    return err;
  if (arguments->force)
    return open_without (arguments, log, array);
  say_how (arguments);
  return err;
}

/* ---- all of it ---- */

static int
change (struct arguments *arguments)
{
  const struct log log = { .sink = sink, .opaque = arguments };
  struct array_info info;
  struct array *array;
  int err = open_array (arguments, &log, &array);

  if (err < 0)
    return TOOL_ERROR;
  err = array_start (array);
  arguments->changing = true;
  if (err == 0)
    err = array_change_bitmap (array, arguments->bitmap, arguments->path,
                               arguments->chunk);
  array_stop (array);
  array_get_info (array, &info);
  array_close (array);
  if (err == -EROFS && info.read_only)
    tool_error ("nothing was written: a leg cannot be");
  if (err < 0)
    return TOOL_ERROR;
  return info.in_sync < info.raid_disks ? TOOL_DEGRADED : TOOL_WHOLE;
}

int
tool_bitmap (int argc, char **argv)
{
  struct arguments arguments = {
    .options.leg_timeout = LEG_TIMEOUT,
    .options.sync_rate_max = UINT64_MAX,
  };
  int status = TOOL_ERROR;

  if (parse (&arguments, argc, argv) && find_file (&arguments))
    status = change (&arguments);
  free (arguments.path);
  free (arguments.from);
  return status;
}
