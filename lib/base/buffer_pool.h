/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Between buffer.c and buffer_pool.c; nobody else includes this. */

#ifndef MDBITMAP_BUFFER_POOL_H
#define MDBITMAP_BUFFER_POOL_H

#include "base/buffer.h"

/* The buffer has lost its last reference and goes back to its pool. */
extern void buffer_pool_put (struct buffer *buffer);

/* Its memory goes back to the system. */
extern void buffer_release (struct buffer *buffer);

#endif /* MDBITMAP_BUFFER_POOL_H */
