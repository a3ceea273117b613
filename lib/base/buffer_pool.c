/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A pool of transfer buffers, in classes of 4 KiB times powers of two.
 *
 * The one that came back last is handed out first: it may still be in the
 * processor's cache.  What has come back is kept up to POOL_KEEP bytes, and
 * as long as it is needed now and then (buffer_pool_trim).
 *
 * The pool has a lock of its own, held for a few instructions, since a
 * buffer may come back in any thread: a transfer that was given up ends when
 * it likes, even after its array was closed.
 */

#include <config.h>

#include <assert.h>

#include "base/buffer_pool.h"
#include "base/bytes.h"

#define POOL_CLASSES   14 /* to 32 MiB, the largest request */
#define POOL_KEEP      (32 * MiB)
#define CLASS_BYTES(n) ((size_t)BUFFER_ALIGNMENT << (n))

struct buffer_pool {
  struct rt_mutex lock; /* everything below */
  struct {
    struct buffer *first;
    unsigned n;    /* buffers in the list */
    unsigned idle; /* the fewest there were since the last trim */
  } classes[POOL_CLASSES];
  size_t bytes; /* in all lists */
  size_t out;   /* buffers that are in use */
  bool closed;
};

struct buffer_pool *
buffer_pool_new (void)
{
  struct buffer_pool *pool = rt_calloc (1, sizeof *pool);

  if (pool)
    rt_mutex_init (&pool->lock);
  return pool;
}

/* The first of its class.  The lock is held. */
static struct buffer *
unlink_first (struct buffer_pool *pool, unsigned class)
{
  struct buffer *buffer = pool->classes[class].first;

  pool->classes[class].first = buffer->next;
  pool->classes[class].n--;
  pool->classes[class].idle =
      (unsigned)min_u64 (pool->classes[class].idle, pool->classes[class].n);
  pool->bytes -= CLASS_BYTES (class);
  return buffer;
}

void
buffer_pool_trim (struct buffer_pool *pool)
{
  struct buffer *gone = NULL, *next;

  rt_mutex_lock (&pool->lock);
  for (unsigned class = 0; class < POOL_CLASSES; ++class) {
    for (unsigned n = pool->classes[class].idle; n > 0; --n) {
      struct buffer *buffer = unlink_first (pool, class);

      buffer->next = gone;
      gone = buffer;
    }
    pool->classes[class].idle = pool->classes[class].n;
  }
  rt_mutex_unlock (&pool->lock);
  for (; gone; gone = next) {
    next = gone->next;
    buffer_release (gone);
  }
}

/* Nobody has it any more. */
static void
pool_release (struct buffer_pool *pool)
{
  rt_mutex_destroy (&pool->lock);
  rt_free (pool);
}

void
buffer_pool_free (struct buffer_pool *pool)
{
  bool last;

  if (!pool)
    return;
  buffer_pool_trim (pool);
  buffer_pool_trim (pool); /* now what the first one found in use is idle */
  rt_mutex_lock (&pool->lock);
  pool->closed = true;
  last = pool->out == 0;
  rt_mutex_unlock (&pool->lock);
  if (last)
    pool_release (pool);
}

size_t
buffer_pool_bytes (struct buffer_pool *pool)
{
  size_t bytes;

  rt_mutex_lock (&pool->lock);
  bytes = pool->bytes;
  rt_mutex_unlock (&pool->lock);
  return bytes;
}

static unsigned
class_of (size_t size)
{
  unsigned class = 0;

  while (CLASS_BYTES (class) < size)
    class ++;
  return class;
}

struct buffer *
buffer_pool_take (struct buffer_pool *pool, size_t size)
{
  struct buffer *buffer = NULL;
  unsigned class;

  if (size > CLASS_BYTES (POOL_CLASSES - 1))
    return buffer_new (size);
  class = class_of (size);
  rt_mutex_lock (&pool->lock);
  assert (!pool->closed);
  if (pool->classes[class].first) {
    buffer = unlink_first (pool, class);
    pool->out++;
  }
  rt_mutex_unlock (&pool->lock);
  if (buffer) {
    rt_refs_init (&buffer->refs);
    buffer->size = size;
    return buffer;
  }

  buffer = buffer_new (CLASS_BYTES (class));
  if (!buffer)
    return NULL;
  buffer->size = size;
  buffer->class = class;
  buffer->pool = pool;
  rt_mutex_lock (&pool->lock);
  pool->out++;
  rt_mutex_unlock (&pool->lock);
  return buffer;
}

void
buffer_pool_put (struct buffer *buffer)
{
  struct buffer_pool *pool = buffer->pool;
  const unsigned class = buffer->class;
  bool keep, last;

  rt_mutex_lock (&pool->lock);
  assert (pool->out > 0);
  pool->out--;
  last = pool->closed && pool->out == 0;
  keep = !pool->closed && pool->bytes + CLASS_BYTES (class) <= POOL_KEEP;
  if (keep) {
    buffer->next = pool->classes[class].first;
    pool->classes[class].first = buffer;
    pool->classes[class].n++;
    pool->bytes += CLASS_BYTES (class);
  }
  rt_mutex_unlock (&pool->lock);
  if (!keep)
    buffer_release (buffer);
  if (last)
    pool_release (pool);
}
