/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The mdbitmap command: subcommands, and what they share. */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools.h"

static const char usage[] =
    "usage: mdbitmap create [OPTIONS] LEG...\n"
    "       mdbitmap examine [--json] LEG...\n"
    "       mdbitmap examine-bitmap [--json] LEG|FILE\n"
    "       mdbitmap assemble --dry-run [OPTIONS] LEG...\n"
    "       mdbitmap assemble --force-source=LEG [OPTIONS] LEG...\n"
    "       mdbitmap bitmap internal|none|PATH [OPTIONS] LEG...\n"
    "       mdbitmap --help | --version\n"
    "\n"
    "create: make a RAID1 array with metadata that Linux md understands\n"
    "  LEG                   a file or a block device; the word `missing'\n"
    "                        leaves a slot empty\n"
    "  --size=SIZE           of the array; needed for files that do not exist\n"
    "  --metadata=VERSION    of the superblock: 1.2 (default), 1.1, 1.0, 0.90\n"
    "  --bitmap=internal     a write-intent bitmap on each leg (default), or\n"
    "                        none, or in the file PATH, which is made\n"
    "  --bitmap-chunk=SIZE   bytes for one bit; default 64M\n"
    "  --name=NAME           of the array\n"
    "  --assume-clean        the legs are equal already: no resync\n"
    "  --write-mostly LEG    this leg is read only if no other can be\n"
    "  --force               overwrite what is known to be on the legs\n"
    "\n"
    "examine: print the superblocks, examine-bitmap: print the bitmap\n"
    "  --json                for programs: sizes in bytes\n"
    "\n"
    "assemble: which legs would be used, what would be resynced, and why\n"
    "  --dry-run             say it, and write nothing\n"
    "  --force-source=LEG    settle a split brain: LEG wins, and what "
    "disagrees\n"
    "                        with it is recorded as faulty\n"
    "  --degraded=auto|allow|refuse\n"
    "                        whether legs may be missing\n"
    "  --full-resync=auto|refuse\n"
    "                        whether the whole array may have to be copied\n"
    "  --bitmap=PATH         the file that its bitmap is in, or none\n"
    "  --json                for programs: sizes in bytes\n"
    "\n"
    "bitmap: give an array that is not in use another bitmap: on each leg, in\n"
    "the file PATH, or none\n"
    "  --bitmap-chunk=SIZE   bytes for one bit; default: as before\n"
    "  --from=PATH           the file that its bitmap is in now; default: "
    "what\n"
    "                        the legs say\n"
    "  --force               the present one cannot be used: take all chunks "
    "for\n"
    "                        marked\n"
    "  --degraded=auto|allow|refuse\n"
    "                        whether legs may be missing\n"
    "\n"
    "Exit status: 0 all is well, 1 array degraded, 2 array failed, 4 error.\n";

static const struct {
  const char *name;
  int (*run) (int argc, char **argv);
} commands[] = {
  { "create", tool_create },
  { "examine", tool_examine },
  { "examine-bitmap", tool_examine_bitmap },
  { "assemble", tool_assemble },
  { "bitmap", tool_bitmap },
};

/* ---- messages ---- */

static void __attribute__ ((format (printf, 1, 0)))
verror (const char *fmt, va_list args)
{
  fputs ("mdbitmap: ", stderr);
  vfprintf (stderr, fmt, args);
  fputc ('\n', stderr);
}

void
tool_error (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  verror (fmt, args);
  va_end (args);
}

int
tool_usage_error (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  verror (fmt, args);
  va_end (args);
  fputs ("mdbitmap: try mdbitmap --help\n", stderr);
  return TOOL_ERROR;
}

/* ---- arguments ---- */

bool
tool_parse_size (const char *option, const char *text, uint64_t *size)
{
  static const char suffixes[] = "bkmgtpe";
  const char *suffix;
  unsigned long long n;
  unsigned shift = 0;
  char *end;

  errno = 0;
  n = strtoull (text, &end, 10);
  if (text[0] < '0' || text[0] > '9')
    goto bad;
  if (errno != 0)
    goto large;
  if (*end != '\0') {
    char lower[2] = { *end >= 'A' && *end <= 'Z' ? (char)(*end + 32) : *end };

    if (end[1] != '\0')
      goto bad;
    suffix = strstr (suffixes, lower);
    if (lower[0] == 's')
      shift = 9;
    else if (suffix)
      shift = 10 * (unsigned)(suffix - suffixes);
    else
      goto bad;
  }
  if (n > UINT64_MAX >> shift)
    goto large;
  *size = (uint64_t)n << shift;
  return true;

bad:
  tool_error ("%s: '%s' is not a size; give a number, with K, M, G or T for "
              "powers of 1024",
              option, text);
  return false;
large:
  tool_error ("%s: '%s' is too large", option, text);
  return false;
}

bool
tool_is_local (const char *leg)
{
  if (strncmp (leg, "nbd://", 6) != 0 && strncmp (leg, "nbds://", 7) != 0
      && strncmp (leg, "nbd+unix://", 11) != 0
      && strncmp (leg, "nbds+unix://", 12) != 0)
    return true;
  tool_error ("leg %s: remote legs are not supported yet", leg);
  return false;
}

bool
tool_add_leg (struct array_options *options, const char *leg)
{
  if (leg[0] == '\0') {
    tool_usage_error ("the name of a leg is empty");
    return false;
  }
  if (!tool_is_local (leg))
    return false;
  if (options->nlegs == ARRAY_MAX_LEGS) {
    tool_usage_error ("an array has at most %d legs", ARRAY_MAX_LEGS);
    return false;
  }
  options->legs[options->nlegs++] = leg;
  return true;
}

bool
tool_parse_degraded (const char *text, enum array_degraded *degraded)
{
  if (strcmp (text, "auto") == 0)
    *degraded = ARRAY_DEGRADED_AUTO;
  else if (strcmp (text, "allow") == 0)
    *degraded = ARRAY_DEGRADED_ALLOW;
  else if (strcmp (text, "refuse") == 0)
    *degraded = ARRAY_DEGRADED_REFUSE;
  else {
    tool_usage_error ("--degraded=%s: must be auto, allow or refuse", text);
    return false;
  }
  return true;
}

/* ---- all of it ---- */

static int
dispatch (int argc, char **argv)
{
  if (argc < 2)
    return tool_usage_error ("a command is missing");
  if (strcmp (argv[1], "--help") == 0 || strcmp (argv[1], "-h") == 0
      || strcmp (argv[1], "help") == 0) {
    fputs (usage, stdout);
    return 0;
  }
  if (strcmp (argv[1], "--version") == 0 || strcmp (argv[1], "-V") == 0) {
    printf ("mdbitmap %s\n", PACKAGE_VERSION);
    return 0;
  }
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; ++i)
    if (strcmp (argv[1], commands[i].name) == 0)
      return commands[i].run (argc - 1, argv + 1);
  return tool_usage_error ("'%s' is not a command", argv[1]);
}

int
main (int argc, char **argv)
{
  int status = dispatch (argc, argv);

  /* A full disk must not look like success. */
  if (fflush (stdout) == EOF || ferror (stdout)) {
    tool_error ("writing the output: %s", strerror (errno));
    return TOOL_ERROR;
  }
  return status;
}
