/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The memory of a world: rt_alloc and its like.  A crash drops all of it at
 * once, whoever held it.  Not thread-safe: there is one thread.
 */

#ifndef MDBITMAP_SIM_ARENA_H
#define MDBITMAP_SIM_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena;

/* Arenas and their blocks are recycled, so making one is cheap. */
extern struct arena *arena_new (void);
extern void arena_free (struct arena *arena);

/* Never NULL (but see arena_fail_after).  align: a power of two up to 4096.
 * The memory is filled with a pattern: it is not initialised.
 */
extern void *arena_alloc (struct arena *arena, size_t align, size_t size);
/* NULL is allowed.  Freed memory is overwritten; freeing twice aborts. */
extern void arena_release (struct arena *arena, void *p);
/* Bytes in use: what is left when everything was closed has leaked. */
extern size_t arena_in_use (const struct arena *arena);
/* The n-th allocation from now on returns NULL (1: the next), once; 0: none. */
extern void arena_fail_after (struct arena *arena, uint64_t n);

#endif /* MDBITMAP_SIM_ARENA_H */
