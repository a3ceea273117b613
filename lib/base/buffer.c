/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Aligned, reference-counted transfer buffers, and a look for zeroes. */

#include <config.h>

#include <string.h>

#include "base/buffer_pool.h"
#include "base/bytes.h"

struct buffer *
buffer_new (size_t size)
{
  struct buffer *buffer = rt_alloc (sizeof *buffer);

  if (!buffer)
    return NULL;
  buffer->data = rt_alloc_aligned (
      BUFFER_ALIGNMENT, round_up (max_u64 (size, 1), BUFFER_ALIGNMENT));
  if (!buffer->data) {
    rt_free (buffer);
    return NULL;
  }
  buffer->size = size;
  buffer->pool = NULL;
  rt_refs_init (&buffer->refs);
  return buffer;
}

struct buffer *
buffer_new_zero (size_t size)
{
  struct buffer *buffer = buffer_new (size);

  if (buffer)
    memset (buffer->data, 0, size);
  return buffer;
}

struct buffer *
buffer_ref (struct buffer *buffer)
{
  rt_refs_get (&buffer->refs);
  return buffer;
}

void
buffer_release (struct buffer *buffer)
{
  rt_free (buffer->data);
  rt_free (buffer);
}

void
buffer_unref (struct buffer *buffer)
{
  if (!buffer || !rt_refs_put (&buffer->refs))
    return;
  if (buffer->pool)
    buffer_pool_put (buffer);
  else
    buffer_release (buffer);
}

bool
bytes_are_zero (const void *data, size_t n)
{
  const uint8_t *b = data;

  for (size_t i = 0; i < 16; ++i) {
    if (i == n)
      return true;
    if (b[i] != 0)
      return false;
  }
  return memcmp (b, b + 16, n - 16) == 0;
}
