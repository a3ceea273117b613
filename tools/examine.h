/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Between examine.c, which looks, and examine_1.c, examine_090.c and
 * examine_json.c, which print.
 */

#ifndef MDBITMAP_EXAMINE_H
#define MDBITMAP_EXAMINE_H

#include "tools.h"

struct bad_entry {
  uint64_t start, length; /* sectors from the start of the leg */
};

/* What is derived from a superblock. */
struct examined {
  const struct tool_leg *leg;
  const struct superblock *s;
  const char *level;
  unsigned role;
  uint64_t space_before; /* sectors */
  int64_t space_after;   /* sectors */
  bool has_bblog;
  struct bad_entry *bad; /* as the log has them; nbad of them */
  unsigned nbad;
  struct tool_slots slots;
  bool has_note; /* that the bitmap is in a file */
  struct bitmap_note note;
};

/* The path in the note. */
extern const char *examine_file (const struct examined *e);

/* mdadm's words for a superblock 1.x. */
extern void examine_print_1 (const struct examined *e);

/* What only version 0.90 has. */
#define EXAMINE_090_DISKS 27
enum {
  DISK_FAULTY = 1,
  DISK_ACTIVE = 2,
  DISK_SYNC = 4,
  DISK_REMOVED = 8,
  DISK_WRITE_MOSTLY = 512,
  DISK_FAILFAST = 1024
};

struct examined_disk {
  uint32_t number, major, minor, raid_disk, state;
};

struct examined_090 {
  uint32_t minor_version, patch_version, md_minor, not_persistent;
  uint32_t nr_disks, active_disks, working_disks, failed_disks, spare_disks;
  struct examined_disk this_disk, disks[EXAMINE_090_DISKS];
};

extern void
examine_unpack_090 (const struct superblock *s, struct examined_090 *x);
/* The words of a state, separated by blanks. */
extern const char *examine_disk_state (uint32_t state, char text[80]);
/* mdadm's words for a superblock 0.90. */
extern void examine_print_090 (const struct examined *e);

/* A new reference. */
extern json_t *examine_to_json (const struct examined *e);

#endif /* MDBITMAP_EXAMINE_H */
