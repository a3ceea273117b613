/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* mdbitmap create. */

#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array/array.h"
#include "base/bytes.h"
#include "base/rt.h"
#include "tools.h"

#define LEG_TIMEOUT (30 * RT_SECOND)
#define MISSING     "missing"

enum {
  OPT_SIZE = 256,
  OPT_METADATA,
  OPT_BITMAP,
  OPT_BITMAP_CHUNK,
  OPT_NAME,
  OPT_FORCE,
  OPT_ASSUME_CLEAN,
  OPT_WRITE_MOSTLY,
};

static const struct option long_options[] = {
  { "size", required_argument, NULL, OPT_SIZE },
  { "metadata", required_argument, NULL, OPT_METADATA },
  { "bitmap", required_argument, NULL, OPT_BITMAP },
  { "bitmap-chunk", required_argument, NULL, OPT_BITMAP_CHUNK },
  { "name", required_argument, NULL, OPT_NAME },
  { "force", no_argument, NULL, OPT_FORCE },
  { "assume-clean", no_argument, NULL, OPT_ASSUME_CLEAN },
  { "write-mostly", required_argument, NULL, OPT_WRITE_MOSTLY },
  { NULL, 0, NULL, 0 },
};

struct arguments {
  struct array_create_options options;
  bool by_option[ARRAY_MAX_LEGS]; /* named by --write-mostly only */
  char *bitmap_file;
};

/* A leg; --write-mostly LEG is one too, unless it is named by itself as well,
 * before or after.
 */
static bool
add_leg (struct arguments *arguments, const char *leg, bool write_mostly)
{
  struct array_create_options *options = &arguments->options;
  const bool missing = strcmp (leg, MISSING) == 0;

  if (leg[0] == '\0') {
    tool_error ("the name of a leg is empty");
    return false;
  }
  if (missing && write_mostly) {
    tool_error ("--write-mostly needs a leg, and this one is missing");
    return false;
  }
  if (!missing && !tool_is_local (leg))
    return false;
  for (unsigned i = 0; !missing && i < options->nlegs; ++i)
    if (options->legs[i] && strcmp (options->legs[i], leg) == 0
        && (write_mostly || arguments->by_option[i])) {
      options->write_mostly[i] = true;
      arguments->by_option[i] = false;
      return true;
    }
  if (options->nlegs == ARRAY_MAX_LEGS) {
    tool_error ("an array has at most %d legs", ARRAY_MAX_LEGS);
    return false;
  }
  options->legs[options->nlegs] = missing ? NULL : leg;
  options->write_mostly[options->nlegs] = write_mostly;
  arguments->by_option[options->nlegs] = write_mostly;
  ++options->nlegs;
  return true;
}

static bool
set_metadata (struct arguments *arguments, const char *text)
{
  enum superblock_version version;

  if (!superblock_version_parse (text, &version)) {
    tool_error ("--metadata=%s is not a version of md's superblock; use 1.2, "
                "1.1, 1.0 or 0.90",
                text);
    return false;
  }
  arguments->options.metadata = text;
  return true;
}

static bool
set_size (struct arguments *arguments, const char *text)
{
  if (!tool_parse_size ("--size", text, &arguments->options.size))
    return false;
  if (arguments->options.size > 0)
    return true;
  tool_error ("--size=%s: an array has at least one sector", text);
  return false;
}

static bool
take (struct arguments *arguments, int option)
{
  struct array_create_options *options = &arguments->options;

  switch (option) {
  case 1:
    return add_leg (arguments, optarg, false);
  case OPT_WRITE_MOSTLY:
    return add_leg (arguments, optarg, true);
  case OPT_SIZE:
    return set_size (arguments, optarg);
  case OPT_METADATA:
    return set_metadata (arguments, optarg);
  case OPT_BITMAP:
    return tool_parse_bitmap ("--bitmap", optarg, &options->bitmap,
                              &arguments->bitmap_file);
  case OPT_BITMAP_CHUNK:
    return tool_parse_chunk (optarg, &options->bitmap_chunk);
  case OPT_NAME:
    options->name = optarg;
    return true;
  case OPT_FORCE:
    options->force = true;
    return true;
  case OPT_ASSUME_CLEAN:
    options->assume_clean = true;
    return true;
  default: /* '?', which has been seen to */
    return false;
  }
}

/* What is there now, one line per leg. */
static bool
report (const struct array_create_options *options)
{
  bool ok = true;

  for (unsigned i = 0; i < options->nlegs; ++i) {
    struct tool_leg leg;
    char uuid[FORMAT_UUID_TEXT];

    if (!options->legs[i])
      continue;
    if (tool_leg_open (&leg, options->legs[i]) && leg.intact && !leg.refused
        && !leg.ambiguous)
      printf ("%s: slot %u of %" PRIu32 ", array %s, %" PRIu64 " bytes%s\n",
              leg.path,
              superblock_role (&leg.superblock, leg.superblock.dev_number),
              leg.superblock.raid_disks,
              superblock_uuid (leg.superblock.version, leg.superblock.set_uuid,
                               uuid),
              leg.superblock.size * SECTOR_SIZE,
              leg.superblock.resync_offset == RESYNC_CLEAN
                  ? ""
                  : ", to be resynced");
    else {
      tool_error ("leg %s cannot be read back", options->legs[i]);
      ok = false;
    }
    tool_leg_close (&leg);
  }
  return ok;
}

/* Errors show; that the array was made, report says in full. */
static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  if (level == LOG_LEVEL_ERROR)
    fprintf (stderr, "mdbitmap: %s\n", line);
}

static int
create (struct arguments *arguments, int argc, char **argv)
{
  const struct log log = { .sink = sink };
  struct array_create_options *options = &arguments->options;
  int option;

  opterr = 0;
  while ((option = getopt_long (argc, argv, "-", long_options, NULL)) != -1) {
    if (option == '?')
      return tool_usage_error ("create: bad option, or without its argument: "
                               "%s",
                               argv[optind - 1]);
    if (!take (arguments, option))
      return TOOL_ERROR;
  }
  for (; optind < argc; ++optind) /* behind "--" */
    if (!add_leg (arguments, argv[optind], false))
      return TOOL_ERROR;
  if (options->nlegs == 0)
    return tool_usage_error ("no leg given");
  if (options->bitmap == ARRAY_BITMAP_NONE && options->bitmap_chunk != 0)
    return tool_usage_error (
        "--bitmap-chunk contradicts --bitmap=none: without "
        "a bitmap there are no chunks");
  options->bitmap_file = arguments->bitmap_file;
  if (array_create (options, &log) < 0)
    return TOOL_ERROR;
  return report (options) ? 0 : TOOL_ERROR;
}

int
tool_create (int argc, char **argv)
{
  struct arguments arguments = { .options.leg_timeout = LEG_TIMEOUT };
  int status = create (&arguments, argc, argv);

  free (arguments.bitmap_file);
  return status;
}
