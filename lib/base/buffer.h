/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Reference-counted memory for disk transfers, aligned for O_DIRECT.
 *
 * A transfer that was given up may still be under way, so whoever starts one
 * holds a reference of its own and drops it when the kernel has let go.
 *
 * Requests take theirs from a pool: fresh memory costs a page fault for each
 * 4 KiB, which is more than the copying that it is for.
 */

#ifndef MDBITMAP_BUFFER_H
#define MDBITMAP_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/rt.h"

#define BUFFER_ALIGNMENT 4096

struct buffer {
  struct rt_refs refs;
  size_t size;   /* bytes, as asked for */
  uint8_t *data; /* aligned to BUFFER_ALIGNMENT; not initialised */

  /* Private to buffer.c. */
  struct buffer_pool *pool; /* where it goes back to; NULL: nowhere */
  struct buffer *next;      /* in the pool */
  unsigned class;
};

struct buffer_pool;

/* One reference for the caller; NULL when out of memory. */
extern struct buffer *buffer_new (size_t size);

/* As buffer_new, but all bytes are zero. */
extern struct buffer *buffer_new_zero (size_t size);

extern struct buffer *buffer_ref (struct buffer *buffer);

/* NULL is allowed. */
extern void buffer_unref (struct buffer *buffer);

/* NULL when out of memory. */
extern struct buffer_pool *buffer_pool_new (void);

/* Its owner needs it no more; it lasts until its last buffer has come back.
 * NULL is allowed.
 */
extern void buffer_pool_free (struct buffer_pool *pool);

/* As buffer_new, from the pool.  Any thread. */
extern struct buffer *buffer_pool_take (struct buffer_pool *pool, size_t size);

/* Bytes that wait in the pool. */
extern size_t buffer_pool_bytes (struct buffer_pool *pool);

/* Give back to the system what nobody has needed since the last call. */
extern void buffer_pool_trim (struct buffer_pool *pool);

#endif /* MDBITMAP_BUFFER_H */
