/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Inside lib/array only: several small chunks under resync at once.  Functions
 * are called with the array's lock held.
 */

#ifndef MDBITMAP_RESYNC_H
#define MDBITMAP_RESYNC_H

#include "array/internal.h"

/* The most at once, of each leg.  More helps no disk that was measured, and no
 * longer stays in a processor's cache until it is compared.
 */
#define RESYNC_GROUP_CHUNKS 32
#define RESYNC_GROUP_BYTES  (512 * KiB)

/* What a thread can have in the kernel at once, all legs together
 * (AIO_EVENTS): a leg that hangs must not take the room of others.
 */
#define RESYNC_GROUP_OPERATIONS 64

struct resync_chunks {
  uint64_t list[RESYNC_GROUP_CHUNKS]; /* ascending */
  unsigned n;
  uint64_t bytes; /* in all */
};

/* The chunks to do next: that one, which needs resync, and those behind it that
 * do, up to limit bytes.  It is alone if it is large, or has a source of its
 * own.
 */
extern void resync_choose (struct array *array, uint64_t chunk, uint64_t limit,
                           struct resync_chunks *chunks);

/* Kept from one group to the next; at first all NULL. */
struct resync_buffers {
  struct buffer *list[ARRAY_MAX_LEGS];
};

/* Make the chunks equal.  Those that are no longer need no resync; others still
 * do, and must be done one by one.  n and bytes become less if those at the end
 * cannot be locked without waiting: they were not looked at.
 */
extern void resync_together (struct array *array, struct resync_chunks *chunks,
                             struct resync_buffers *buffers);
extern void resync_free_buffers (struct resync_buffers *buffers);

#endif /* MDBITMAP_RESYNC_H */
