/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Reference-counted memory for disk transfers, aligned for O_DIRECT.
 *
 * A transfer that was given up may still be under way, so whoever starts one
 * holds a reference of its own and drops it when the kernel has let go.
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
};

/* One reference for the caller; NULL when out of memory. */
extern struct buffer *buffer_new (size_t size);

/* As buffer_new, but all bytes are zero. */
extern struct buffer *buffer_new_zero (size_t size);

extern struct buffer *buffer_ref (struct buffer *buffer);

/* NULL is allowed. */
extern void buffer_unref (struct buffer *buffer);

#endif /* MDBITMAP_BUFFER_H */
