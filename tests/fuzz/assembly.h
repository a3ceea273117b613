/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The parts of fuzz-assembly: bytes become legs, and another opinion about
 * what may be made of them.  The legs are those of memory.h.
 */

#ifndef MDBITMAP_FUZZ_ASSEMBLY_H
#define MDBITMAP_FUZZ_ASSEMBLY_H

#include "array/array.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"

/* ---- make-legs.c ---- */

/* Legs, and how they are presented. */
struct scene {
  struct array_options options;
  uint64_t fail_allocation; /* the nth fails in array_open; 0: none */
  bool debug;               /* with all debug messages */
};

/* Take the head of the input and the edits; requests may follow. */
extern void make_legs (struct input *input, struct scene *scene);

/* ---- judge.c ---- */

/* May this array have come out of these legs?  And if so, allow writes to
 * superblock, bitmap and data of its in-sync legs.  After array_open, before
 * any other thread.
 */
extern void judge (struct array *array, const struct array_options *options);

/* The legs of memory.h that are in sync, as a set of bits. */
extern unsigned
in_sync_legs (struct array *array, const struct array_options *options);

/* Before and after: sectors in which these legs were equal are equal still.
 * Arrays of more than EQUAL_MAX bytes are left out.
 */
#define EQUAL_MAX (4 * 1024 * 1024)
extern void equal_before (unsigned legs, uint64_t size);
extern void equal_after (unsigned legs, uint64_t size);

#endif /* MDBITMAP_FUZZ_ASSEMBLY_H */
