/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What the parts of the mdbitmap command share. */

#ifndef MDBITMAP_TOOLS_H
#define MDBITMAP_TOOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/aio.h"
#include "format/bitmap_superblock.h"
#include "format/superblock_1.h"

/* As mdadm --detail --test. */
enum tool_exit {
  TOOL_WHOLE = 0,
  TOOL_DEGRADED = 1,
  TOOL_FAILED = 2,
  TOOL_ERROR = 4,
};

/* "mdbitmap: LINE" on stderr. */
extern void
tool_error (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));
/* A usage error: the line, and where help is.  Always TOOL_ERROR. */
extern int
tool_usage_error (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* A size as nbdkit understands it: a number and one of bsKMGTPE, or nothing.
 * False, and a line, if it is not one.
 */
extern bool
tool_parse_size (const char *option, const char *text, uint64_t *size);

/* Remote legs cannot be used yet: false, and a line. */
extern bool tool_is_local (const char *leg);

/* ---- a leg, to look at ---- */

struct tool_leg {
  const char *path;
  struct aio *aio;
  struct device *device;
  struct superblock_1 superblock; /* valid if intact */
  bool intact;
  bool refused;              /* intact, but it cannot be served */
  struct format_error error; /* valid if refused, or if not intact */
  bool no_magic;             /* not intact, and nothing was there */
};

/* Open for reading, without a lock, and read the superblock.  False, and a
 * line, if it cannot be read.  tool_leg_close in any case.
 */
extern bool tool_leg_open (struct tool_leg *leg, const char *path);
extern void tool_leg_close (struct tool_leg *leg);
/* Bytes at an offset; what is behind the end of the leg is not read.  Returns
 * how many, or -1, and a line.
 */
extern ptrdiff_t tool_leg_read (const struct tool_leg *leg, uint64_t offset,
                                size_t length, void *data);

/* " (63.00 MiB 66.06 MB)", or nothing for small sizes, as mdadm. */
#define TOOL_SIZE_TEXT 56
extern const char *tool_size_text (uint64_t bytes, char buf[TOOL_SIZE_TEXT]);

/* ---- subcommands: arguments begin at argv[1] ---- */

extern int tool_create (int argc, char **argv);
extern int tool_examine (int argc, char **argv);
extern int tool_examine_bitmap (int argc, char **argv);

#endif /* MDBITMAP_TOOLS_H */
