/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The parts of fuzz-assembly and bulk-legs: legs, how an input changes them,
 * and another opinion about what may be made of them.  The legs are those of
 * memory.h.
 */

#ifndef MDBITMAP_FUZZ_ASSEMBLY_H
#define MDBITMAP_FUZZ_ASSEMBLY_H

#include "array/array.h"
#include "format/superblock.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"

/* ---- draft.c: legs before they are stored ---- */

/* In sectors; the chunk in bytes. */
struct shape {
  uint64_t leg, data; /* with 1.1 and 1.2: where the data begins */
  uint32_t chunk;
};

#define SHAPES 4
extern const struct shape shapes[SHAPES];

/* What good legs of one array are made of. */
struct recipe {
  enum superblock_version version;
  const struct shape *shape;
  unsigned nlegs; /* and slots */
  bool bitmap;
};

#define DRAFT_EVENTS 100
#define DRAFT_BITMAP (2 * 4096)

struct draft {
  enum superblock_version version;
  uint64_t sector; /* of the superblock */
  bool has_bitmap, has_bad_log, has_second;
  uint64_t bitmap_length; /* bytes, in whole pages */
  uint8_t superblock[4096];
  uint8_t bitmap[DRAFT_BITMAP];
  uint8_t bad_log[4096];
  /* A superblock of another version that was left on the leg. */
  enum superblock_version second_version;
  uint64_t second_sector;
  uint8_t second[4096];
};

extern struct draft drafts[MEMORY_LEGS];

/* Empty legs in memory.h, and a good draft of each. */
extern void draft_legs (const struct recipe *recipe);
extern uint64_t draft_chunks (const struct recipe *recipe);
/* Bytes of the bitmap, in whole pages. */
extern uint64_t draft_bitmap_length (const struct recipe *recipe);
/* What this leg says of a device. */
extern void draft_set_role (struct draft *draft, unsigned dev, unsigned role);

/* What happens to arrays. */
enum story {
  STORY_SPARE,       /* the leg is one, all say so */
  STORY_FAULTY,      /* the others say so, and may have gone on */
  STORY_REPLACEMENT, /* of another slot */
  STORY_RECOVERING,
  STORY_JOURNAL,
  STORY_SPLIT,        /* two legs call each other faulty */
  STORY_STALE,        /* its events are behind */
  STORY_BAD_BLOCKS,   /* its log has entries */
  STORY_WRITE_MOSTLY, /* or failfast, or both */
  STORY_SECOND,       /* another superblock was left on it */
  STORY_LARGER,       /* it is larger than the others */
  STORY_DIRTY,        /* all say so, with a checkpoint */
  STORY_MISSING,      /* the array was made without that leg */
  STORY_STRANGER,     /* it belongs to another array */
  STORY_COPY,         /* it is a copy of another leg */
  STORY_OTHER_TABLE,  /* it gives two devices each other's slot */
  STORIES,
};
extern void draft_story (const struct recipe *recipe, enum story story,
                         unsigned leg, unsigned how);

/* Make the checksum right; and write the leg as drafted. */
extern void draft_fix (struct draft *draft);
extern void draft_store (unsigned leg);

/* ---- make-legs.c ---- */

/* Legs, and how they are presented. */
struct scene {
  struct array_options options;
  uint64_t fail_allocation; /* the nth fails in array_open; 0: none */
  bool debug;               /* with all debug messages */
};

/* Options that ask for nothing special. */
extern void scene_init (struct scene *scene, unsigned nlegs);

/* Take the head of the input and the edits; requests may follow. */
extern void make_legs (struct input *input, struct scene *scene);

/* ---- judge.c ---- */

/* May this array have come out of these legs?  And if so, allow writes to
 * superblock, bitmap, bad-block log and data of its in-sync legs.  After
 * array_open, before any other thread.
 */
extern void judge (struct array *array, const struct array_options *options);

/* The legs of memory.h that are in sync, as a set of bits. */
extern unsigned
in_sync_legs (struct array *array, const struct array_options *options);

/* After judge: what is asked for may not be readable, since every leg in sync
 * has bad blocks.
 */
extern bool may_be_unreadable (void);

/* Before and after: sectors in which these legs were equal are equal still.
 * Arrays of more than EQUAL_MAX bytes are left out.
 */
#define EQUAL_MAX (4 * 1024 * 1024)
extern void equal_before (unsigned legs, uint64_t size);
extern void equal_after (unsigned legs, uint64_t size);

#endif /* MDBITMAP_FUZZ_ASSEMBLY_H */
