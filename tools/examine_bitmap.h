/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Between examine_bitmap.c, for the bitmaps that we serve, and
 * examine_bitmap_other.c, for those that only the kernel does.
 */

#ifndef MDBITMAP_EXAMINE_BITMAP_H
#define MDBITMAP_EXAMINE_BITMAP_H

#include "tools.h"

#define BITMAP_VERSION_CLUSTERED 5
#define BITMAP_VERSION_LOCKLESS  6

#define MAX_NODES 64 /* that are looked at */

struct node_bitmap {
  bool intact, counted;
  struct tool_bitmap bitmap;
};

/* What the byte of a chunk says in a lockless bitmap: 0 to 7, and others. */
#define LOCKLESS_STATES 9

struct examined_bitmap {
  struct tool_leg leg;
  struct tool_bitmap bitmap;
  bool counted;

  /* clustered */
  unsigned nodes; /* in node[] */
  struct node_bitmap *node;
  char cluster_name[65];

  /* lockless */
  uint64_t states[LOCKLESS_STATES]; /* how many chunks */
};

extern bool bitmap_is_clustered (const struct examined_bitmap *e);
extern bool bitmap_is_lockless (const struct examined_bitmap *e);

/* Decode what follows the header.  False, and a line, if it cannot be read.
 */
extern bool clustered_read (struct examined_bitmap *e);
extern bool lockless_read (struct examined_bitmap *e);

extern void clustered_print (const struct examined_bitmap *e);
extern void clustered_to_json (const struct examined_bitmap *e, json_t *object);
extern void lockless_print (const struct examined_bitmap *e);
extern void lockless_to_json (const struct examined_bitmap *e, json_t *object);

/* mdadm's words, and ours. */
extern const char *bitmap_state_text (uint32_t state);
extern const char *bitmap_state_key (uint32_t state);
extern void bitmap_print_bits (const struct tool_bitmap *bitmap);
extern const char *bitmap_chunk_text (uint64_t bytes, char buf[24]);

#endif /* MDBITMAP_EXAMINE_BITMAP_H */
