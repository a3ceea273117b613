/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What the parts of the mdbitmap command share. */

#ifndef MDBITMAP_TOOLS_H
#define MDBITMAP_TOOLS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "array/array.h"
#include "device/aio.h"
#include "format/bitmap_note.h"
#include "format/bitmap_superblock.h"
#include "format/superblock.h"

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

/* One more leg for array_open, whose name is kept.  False, and a line. */
extern bool tool_add_leg (struct array_options *options, const char *leg);
/* The value of --degraded.  False, and a line. */
extern bool
tool_parse_degraded (const char *text, enum array_degraded *degraded);

/* ---- a leg, to look at ---- */

struct tool_leg {
  const char *path;
  struct aio *aio;
  struct device *device;
  struct superblock superblock; /* valid if intact */
  bool intact;
  bool refused;                    /* intact, but it cannot be served */
  struct format_error error;       /* valid if refused, or if not intact */
  enum superblock_version version; /* of what error is about, or intact */
  bool no_magic;                   /* not intact, and nothing was there */
  /* Other versions whose superblock is intact here as well. */
  unsigned nothers;
  enum superblock_version others[SUPERBLOCK_VERSIONS - 1];
  bool ambiguous; /* and one of them is as new as this one */
};

/* Open for reading, without a lock, and read the superblock, of whatever
 * version: of several the one with the latest creation time.  False, and a
 * line, if the leg cannot be read.  tool_leg_close in any case.
 */
extern bool tool_leg_open (struct tool_leg *leg, const char *path);
/* The same without a line if it cannot be opened. */
extern bool tool_leg_open_quietly (struct tool_leg *leg, const char *path);
extern void tool_leg_close (struct tool_leg *leg);
/* Why its superblock cannot be used, in one line, unless it can; and another
 * line about other superblocks on it, if there are any.
 */
extern void tool_leg_complain (const struct tool_leg *leg);
/* Bytes at an offset; what is behind the end of the leg is not read.  Returns
 * how many, or -1, and a line.
 */
extern ptrdiff_t tool_leg_read (const struct tool_leg *leg, uint64_t offset,
                                size_t length, void *data);

/* ---- what examine derives from a superblock ---- */

struct tool_slots {
  unsigned n;       /* slots that the table can name */
  char *state;      /* one of .AR? for each, as mdadm; rt_free it */
  unsigned working; /* slots that have a leg */
};

/* False, and a line, if there is no memory. */
extern bool
tool_slots_init (struct tool_slots *slots, const struct superblock *superblock);

/* ---- the bitmap of a leg ---- */

struct tool_bitmap {
  uint64_t offset; /* bytes from the start of the leg */
  bool intact;     /* header is valid */
  bool refused;    /* ... but it cannot be served */
  struct format_error error;
  struct bitmap_superblock header;
  uint64_t chunks; /* whose bits are there */
  uint64_t marked;
};

/* Where the superblock says that the internal bitmap begins, in bytes;
 * UINT64_MAX if there is none, or not on the leg.
 */
extern uint64_t tool_bitmap_offset (const struct tool_leg *leg);
/* Read and judge the header at bitmap->offset; false, and a line, if it cannot
 * be read.
 */
extern bool tool_bitmap_read_header (const struct tool_leg *leg,
                                     struct tool_bitmap *bitmap);
/* Count the bits of a bitmap that is intact and has one bit per chunk; false,
 * and a line, if they cannot be read or are too few.
 */
extern bool
tool_bitmap_count (const struct tool_leg *leg, struct tool_bitmap *bitmap);

/* ---- the bitmap in a file ---- */

/* The leg's superblock has no internal bitmap, and a note that the bitmap is in
 * a file, or was.
 */
extern bool
tool_leg_note (const struct tool_leg *leg, struct bitmap_note *note);
/* From malloc; NULL, and a line, if there is no memory or no folder. */
extern char *tool_absolute_path (const char *path);
/* internal or none; anything else is a path, which is made absolute: free
 * *path.  False, and a line, if it cannot be.
 */
extern bool tool_parse_bitmap (const char *option, const char *text,
                               enum array_bitmap *bitmap, char **path);
/* A power of two from 4K to 2G; else false, and a line. */
extern bool tool_parse_chunk (const char *text, uint32_t *chunk);
/* internal, none or file. */
extern const char *tool_bitmap_key (enum array_bitmap bitmap);

/* ---- texts ---- */

/* As mdadm prints ctime and utime. */
#define TOOL_TIME_TEXT 32
extern const char *tool_time_text (uint64_t packed, char text[TOOL_TIME_TEXT]);

/* " (63.00 MiB 66.06 MB)", or nothing for small sizes, as mdadm. */
#define TOOL_SIZE_TEXT 56
extern const char *tool_size_text (uint64_t bytes, char buf[TOOL_SIZE_TEXT]);

/* ---- JSON ---- */

extern void tool_json_integer (json_t *object, const char *key, uint64_t value);
/* In bytes. */
extern void
tool_json_sectors (json_t *object, const char *key, uint64_t sectors);
/* Names may hold any bytes; JSON may not.  NULL: null. */
extern void
tool_json_string (json_t *object, const char *key, const char *text);
/* Why something is refused; NULL: null. */
extern void
tool_json_refusal (json_t *object, const struct format_error *error);
/* To stdout; the reference is taken over. */
extern void tool_json_print (json_t *json);

/* ---- subcommands: arguments begin at argv[1] ---- */

extern int tool_create (int argc, char **argv);
extern int tool_examine (int argc, char **argv);
extern int tool_examine_bitmap (int argc, char **argv);
extern int tool_assemble (int argc, char **argv);
extern int tool_bitmap (int argc, char **argv);

#endif /* MDBITMAP_TOOLS_H */
