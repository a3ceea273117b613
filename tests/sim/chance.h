/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Chance: the only source of randomness in the simulator.
 *
 * Everything that may go one way or another is decided by choose, so that a
 * seed determines a run, byte for byte.  There are several independent
 * streams, one for each purpose, so that removing an operation from a plan
 * does not change what the disks do.
 */

#ifndef MDBITMAP_SIM_CHANCE_H
#define MDBITMAP_SIM_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

enum chance_stream {
  CHANCE_PLAN,     /* what the world is like, and what is done to it */
  CHANCE_SCHEDULE, /* who runs next, how time passes */
  CHANCE_DISK,     /* latencies, errors, order of completion */
  CHANCE_CRASH,    /* where to crash, what is left */
  CHANCE_LIBRARY,  /* rt_random */
  CHANCE_STREAMS
};

/* Begin all streams anew. */
extern void chance_seed (uint64_t seed);

/* 0 <= result < n; n > 0.  For n == 1 nothing is drawn. */
extern uint64_t choose (enum chance_stream stream, uint64_t n);
/* 64 random bits. */
extern uint64_t chance_bits (enum chance_stream stream);
/* True n times in per; per > 0. */
extern bool chance (enum chance_stream stream, uint64_t n, uint64_t per);

/* A world within the world draws from streams of its own, and leaves those
 * of the outer one as they were.  At most 8 deep.
 */
extern void chance_push (uint64_t seed);
extern void chance_pop (void);

/* For the exhaustive mode and for fuzzing: choose (stream, n) is answered by
 * source instead, until source is NULL again.  Not affected by push and pop.
 * chance asks it for one of 2, unless it is sure; chance_bits twice for one
 * of 2^32.
 */
extern void
chance_source (enum chance_stream stream,
               uint64_t (*source) (void *opaque, uint64_t n), void *opaque);
extern bool chance_has_source (enum chance_stream stream);

#endif /* MDBITMAP_SIM_CHANCE_H */
