/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The clear thread: lazy clearing, and marking the array clean.
 *
 * Bits are cleared only while every slot has an in-sync leg, and the
 * header's events_cleared, which says since when that has been so, is
 * durable before any bit whose clearing it licenses.  Between choosing
 * chunks and clearing them all legs are flushed; if anything fails in
 * between, nothing is cleared.
 *
 * Once all bits are clear and no write is in flight the array is marked
 * clean.  That is later than md does it (200 ms after the last write), since
 * each way costs two rounds of metadata, and the bits cost nothing.
 */

#include <config.h>

#include "array/internal.h"

/* ---- clearing ---- */

/* No slot has lost its leg since the count was taken. */
static bool
still_whole (const struct array *array, uint64_t failures)
{
  return array->failures == failures && array_whole (array);
}

/* Make it durable that a leg which leaves from now on missed nothing but
 * what has a bit.
 */
static int
advance_events_cleared (struct array *array)
{
  const struct bitmap_superblock *header = bitmap_header (array->bitmap);
  uint64_t events = array->events;
  int err;

  if (array->events_cleared >= events)
    return 0;
  err = bitmap_write_header (array->bitmap, header->events, events);
  if (err == 0)
    err = array_settle (array);
  if (err == 0)
    array->events_cleared = max_u64 (array->events_cleared, events);
  return err;
}

int
array_clear_pass (struct array *array, bool now)
{
  uint64_t failures = array->failures, cursor = 0, cleared = 0, need = 0;
  bool more = true;
  int err;

  if (!array_whole (array) || bitmap_clear_select (array->bitmap, now) == 0)
    return 0;
  array->clear_flushes++;
  err = array_flush_legs (array);
  if (err != 0 || !still_whole (array, failures))
    return err;
  err = advance_events_cleared (array);
  if (err != 0)
    return err;
  while (more && still_whole (array, failures)) {
    more = bitmap_clear_apply (array->bitmap, &cursor, &cleared, &need);
    rt_mutex_unlock (&array->lock);
    rt_mutex_lock (&array->lock);
    if (more && !now)
      bitmap_breathe (array->bitmap);
  }
  log_debug (array->log, LOG_BITMAP, "bitmap: cleared %ju chunks, %ju left",
             (uintmax_t)cleared, (uintmax_t)bitmap_marked (array->bitmap));
  return cleared > 0 ? bitmap_flush (array->bitmap, need) : 0;
}

/* ---- the thread ---- */

/* Whoever wants to change a file that is pinned by a lease is held off by the
 * kernel for longer than this.
 */
#define FILE_CHECK (5 * RT_SECOND)

static void
daemon_pass (struct array *array)
{
  buffer_pool_trim (array->buffers);
  if (bitmap_flush_dirty (array->bitmap) != 0
      || array_clear_pass (array, false) != 0)
    return;
  if (array->writes == 0 && bitmap_marked (array->bitmap) == 0)
    (void)array_make_clean (array);
}

/* When to look whether the file is still ours. */
static uint64_t
file_check_at (const struct array *array, uint64_t at)
{
  return array->file_state == BITMAP_FILE_IN_USE ? at : RT_NEVER;
}

void
array_clear_main (void *opaque)
{
  struct array *array = opaque;
  uint64_t sleep = bitmap_header (array->bitmap)->daemon_sleep * RT_SECOND;
  uint64_t next = rt_now () + sleep, check = rt_now () + FILE_CHECK;

  rt_mutex_lock (&array->lock);
  while (!array->stopping) {
    (void)rt_cond_wait_until (&array->background_cond, &array->lock,
                              min_u64 (next, file_check_at (array, check)));
    if (array->stopping)
      break;
    if (rt_now () >= file_check_at (array, check)) {
      array_check_file (array);
      check = rt_now () + FILE_CHECK;
    }
    /* A leg that the watchdog failed, with no request to record it. */
    (void)array_settle (array);
    if (rt_now () < next)
      continue;
    daemon_pass (array);
    next = rt_now () + sleep;
  }
  rt_mutex_unlock (&array->lock);
}
