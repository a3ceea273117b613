/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The range lock is a ring of ranges in the order of arrival.  A range is
 * locked once nothing before it in the ring overlaps it; so the order in
 * which overlapping requests arrive is the order in which they are served,
 * and nobody starves.  Where nothing is near, as the counters say, nothing
 * overlaps, and the walk along the ring, most of which another processor has
 * touched last, is spared.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/ranges.h"

void
ranges_init (struct ranges *ranges)
{
  ranges->head.next = ranges->head.prev = &ranges->head;
  memset (ranges->near, 0, sizeof ranges->near);
  ranges->wide = 0;
  ranges->spare = NULL;
  ranges->waiting = 0;
  rt_cond_init (&ranges->cond);
}

static bool
is_wide (uint64_t start, uint64_t end)
{
  assert (start < end);
  return (end - 1) / NEAR_BYTES - start / NEAR_BYTES >= NEAR_MOST;
}

/* The range begins (1) or ends (-1). */
static void
count (struct ranges *ranges, const struct range *range, int by)
{
  if (is_wide (range->start, range->end)) {
    ranges->wide += (unsigned)by;
    return;
  }
  for (uint64_t place = range->start / NEAR_BYTES;
       place <= (range->end - 1) / NEAR_BYTES; ++place)
    ranges->near[place % NEAR_PLACES] += (unsigned)by;
}

/* False: nothing in the ring overlaps [start, end). */
static bool
is_near (const struct ranges *ranges, uint64_t start, uint64_t end)
{
  if (ranges->wide > 0 || is_wide (start, end))
    return true;
  for (uint64_t place = start / NEAR_BYTES; place <= (end - 1) / NEAR_BYTES;
       ++place)
    if (ranges->near[place % NEAR_PLACES] > 0)
      return true;
  return false;
}

static void
append (struct ranges *ranges, struct range *range, uint64_t start,
        uint64_t length, bool shared)
{
  range->start = start;
  range->end = start + length;
  range->shared = shared;
  range->edges = 0;
  range->copied = false;
  range->dead = NULL;
  range->next = &ranges->head;
  range->prev = ranges->head.prev;
  range->prev->next = range;
  range->next->prev = range;
  count (ranges, range, 1);
}

static void
unlink_range (struct ranges *ranges, struct range *range)
{
  range->prev->next = range->next;
  range->next->prev = range->prev;
  count (ranges, range, -1);
  if (ranges->waiting > 0)
    rt_cond_broadcast (&ranges->cond);
}

void
ranges_destroy (struct ranges *ranges)
{
  /* Only dead ranges can be left. */
  while (ranges->head.next != &ranges->head) {
    struct range *range = ranges->head.next;

    assert (range->dead);
    unlink_range (ranges, range);
    rt_free (range);
  }
  while (ranges->spare) {
    struct range *range = ranges->spare;

    ranges->spare = range->next;
    rt_free (range);
  }
  rt_cond_destroy (&ranges->cond);
}

/* As many as were ever locked at once are kept: one for each request that the
 * server has in hand.
 */
static struct range *
take_spare (struct ranges *ranges)
{
  struct range *range = ranges->spare;

  if (!range)
    return rt_alloc (sizeof *range);
  ranges->spare = range->next;
  return range;
}

/* What overlaps [start, end) in the ring before limit? */
static enum range_overlap
overlap_before (const struct ranges *ranges, const struct range *limit,
                uint64_t start, uint64_t end, bool count_shared)
{
  enum range_overlap found = RANGE_FREE;

  for (const struct range *r = ranges->head.next; r != limit; r = r->next)
    if (r->start < end && start < r->end && (count_shared || !r->shared)) {
      if (r->dead)
        return RANGE_DEAD;
      found = RANGE_LOCKED;
    }
  return found;
}

/* Wait until nothing before it in the ring overlaps it, unless it is dead. */
static enum range_overlap
wait_turn (struct ranges *ranges, struct rt_mutex *lock,
           const struct range *range)
{
  enum range_overlap overlap;

  while (
      (overlap = overlap_before (ranges, range, range->start, range->end, true))
      == RANGE_LOCKED) {
    ranges->waiting++;
    rt_cond_wait (&ranges->cond, lock);
    ranges->waiting--;
  }
  return overlap;
}

int
range_lock (struct ranges *ranges, struct rt_mutex *lock, uint64_t start,
            uint64_t length, struct range **rangep)
{
  const bool near = is_near (ranges, start, start + length);
  struct range *range = take_spare (ranges);

  if (!range)
    return -ENOMEM;
  rt_order_enter (RT_ORDER_RANGE);
  append (ranges, range, start, length, false);
  if (near && wait_turn (ranges, lock, range) == RANGE_DEAD) {
    range_unlock (ranges, range);
    return -EIO;
  }
  *rangep = range;
  return 0;
}

void
range_unlock (struct ranges *ranges, struct range *range)
{
  assert (!range->dead && !range->shared);
  unlink_range (ranges, range);
  range->next = ranges->spare;
  ranges->spare = range;
  rt_order_leave (RT_ORDER_RANGE);
}

void
range_share (struct ranges *ranges, uint64_t start, uint64_t length,
             struct range *range)
{
  append (ranges, range, start, length, true);
}

void
range_unshare (struct ranges *ranges, struct range *range)
{
  assert (range->shared);
  unlink_range (ranges, range);
}

void
range_kill (struct ranges *ranges, struct range *range, const struct leg *leg)
{
  assert (!range->dead);
  range->dead = leg;
  if (ranges->waiting > 0)
    rt_cond_broadcast (&ranges->cond);
  rt_order_leave (RT_ORDER_RANGE);
}

void
ranges_bury (struct ranges *ranges, const struct leg *leg)
{
  struct range *next;

  for (struct range *r = ranges->head.next; r != &ranges->head; r = next) {
    next = r->next;
    if (r->dead == leg) {
      unlink_range (ranges, r);
      rt_free (r);
    }
  }
}

static bool
has_other_edges (const struct ranges *ranges, uint64_t start, uint64_t end,
                 uint64_t edges)
{
  for (const struct range *r = ranges->head.next; r != &ranges->head;
       r = r->next)
    if (r->start < end && start < r->end && !r->dead && r->edges != 0
        && r->edges != edges)
      return true;
  return false;
}

bool
ranges_wait_edges (struct ranges *ranges, struct rt_mutex *lock, uint64_t start,
                   uint64_t length, uint64_t edges)
{
  if (!has_other_edges (ranges, start, start + length, edges))
    return false;
  ranges->waiting++;
  rt_cond_wait (&ranges->cond, lock);
  ranges->waiting--;
  return true;
}

bool
ranges_wait_copy (struct ranges *ranges, struct rt_mutex *lock, uint64_t offset)
{
  const struct range *r = ranges->head.next;

  while (r != &ranges->head
         && (!r->copied || r->dead || offset < r->start || offset >= r->end))
    r = r->next;
  if (r == &ranges->head)
    return false;
  ranges->waiting++;
  rt_cond_wait (&ranges->cond, lock);
  ranges->waiting--;
  return true;
}

enum range_overlap
ranges_overlap (const struct ranges *ranges, uint64_t start, uint64_t length)
{
  if (!is_near (ranges, start, start + length))
    return RANGE_FREE;
  return overlap_before (ranges, &ranges->head, start, start + length, false);
}
