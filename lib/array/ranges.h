/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The range lock: overlapping writes go to all legs in one order, and resync
 * copies nothing while it is being written.
 *
 * First come, first served.  Guarded by the array's lock, which is held on
 * entry and on return, and released while waiting.
 */

#ifndef MDBITMAP_RANGES_H
#define MDBITMAP_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rt.h"

struct leg;

struct range {
  uint64_t start, end;    /* bytes, end excluded */
  bool shared;            /* a read: writes wait for it, it waits for nobody */
  uint64_t edges;         /* of a write that has read its edges: as of when,
                           * a number of its owner's; else 0 */
  bool copied;            /* resync is writing what it has read here */
  const struct leg *dead; /* never unlocked: a write of unknown outcome may
                           * still happen on this leg */
  struct range *next, *prev;
};

/* Ranges of at most NEAR_MOST places are counted in each place that they
 * touch, under its number modulo NEAR_PLACES.
 */
#define NEAR_BYTES  65536
#define NEAR_PLACES 1024
#define NEAR_MOST   16

struct ranges {
  struct range head; /* of a ring, in the order of arrival */
  unsigned near[NEAR_PLACES];
  unsigned wide;       /* ranges of more places: they are near everything */
  struct range *spare; /* unlocked ones, to be used again */
  unsigned waiting;
  struct rt_cond cond;
};

extern void ranges_init (struct ranges *ranges);
extern void ranges_destroy (struct ranges *ranges);

/* Lock it; *range is to be given to range_unlock.  -EIO if it overlaps a
 * dead range, -ENOMEM.
 */
extern int range_lock (struct ranges *ranges, struct rt_mutex *lock,
                       uint64_t start, uint64_t length, struct range **range);
extern void range_unlock (struct ranges *ranges, struct range *range);

/* A read that any leg may serve begins and ends: writes that come later wait
 * for it.  Else it might have seen the write on one leg, and a read after it
 * might not see it on another.  range is the caller's.
 */
extern void range_share (struct ranges *ranges, uint64_t start, uint64_t length,
                         struct range *range);
extern void range_unshare (struct ranges *ranges, struct range *range);

/* Instead of range_unlock. */
extern void
range_kill (struct ranges *ranges, struct range *range, const struct leg *leg);
/* The leg has let go of everything: unlock what is dead because of it. */
extern void ranges_bury (struct ranges *ranges, const struct leg *leg);

/* If a write that overlaps has edges as of another time than this: wait for
 * some change.  True if it waited: look again.
 */
extern bool ranges_wait_edges (struct ranges *ranges, struct rt_mutex *lock,
                               uint64_t start, uint64_t length, uint64_t edges);

/* If resync is writing there what it has read of the source: wait for some
 * change.  True if it waited: look again.
 */
extern bool ranges_wait_copy (struct ranges *ranges, struct rt_mutex *lock,
                              uint64_t offset);

enum range_overlap { RANGE_FREE, RANGE_LOCKED, RANGE_DEAD };

/* Does any write that is under way, or waits to be, overlap? */
extern enum range_overlap
ranges_overlap (const struct ranges *ranges, uint64_t start, uint64_t length);

#endif /* MDBITMAP_RANGES_H */
