/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The bitmap by itself: chunk states, group commit, lazy clear, with a store
 * that keeps pages in memory and can be held up or made to fail.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/chunks.h"

#define CHUNK     4096u
#define MAX_PAGES 8

static struct store {
  struct bitmap_store store;
  uint8_t pages[MAX_PAGES][BITMAP_PAGE_BYTES]; /* what is durable */
  unsigned writes, written_pages, settles;
  bool fail;
  bool hold;      /* a write waits until this is false */
  bool holding;   /* ... and is waiting */
  bool in_flight; /* to catch two at a time */
  struct rt_mutex mutex;
  struct rt_cond cond;
} disk;

static struct rt_mutex lock;
static struct bitmap *bitmap;
static const struct log quiet; /* no area is on, nothing is logged */

static int
store_write (struct bitmap_store *store, struct buffer *images,
             const uint64_t *pages, unsigned n)
{
  int err;

  (void)store;
  rt_mutex_lock (&disk.mutex);
  ck_assert (!disk.in_flight);
  disk.in_flight = true;
  disk.holding = true;
  rt_cond_broadcast (&disk.cond);
  while (disk.hold)
    rt_cond_wait (&disk.cond, &disk.mutex);
  disk.holding = false;
  disk.writes++;
  err = disk.fail ? -EIO : 0;
  for (unsigned i = 0; i < n; ++i) {
    ck_assert (i == 0 || pages[i - 1] < pages[i]);
    ck_assert_uint_lt (pages[i], MAX_PAGES);
    disk.written_pages++;
    if (err == 0)
      memcpy (disk.pages[pages[i]], images->data + i * BITMAP_PAGE_BYTES,
              BITMAP_PAGE_BYTES);
  }
  disk.in_flight = false;
  rt_mutex_unlock (&disk.mutex);
  return err;
}

static int
store_settle (struct bitmap_store *store)
{
  (void)store;
  disk.settles++;
  return 0;
}

static void
make (uint64_t size)
{
  struct bitmap_superblock header = {
    .version = BITMAP_VERSION,
    .chunksize = CHUNK,
    .daemon_sleep = 5,
    .sync_size = size / SECTOR_SIZE,
  };

  bitmap = bitmap_new (&header, size, &disk.store, &lock, &quiet);
  ck_assert_ptr_nonnull (bitmap);
  ck_assert_uint_le (bitmap_page_count (bitmap), MAX_PAGES);
}

static void
setup (void)
{
  memset (&disk, 0, sizeof disk);
  disk.store.write = store_write;
  disk.store.settle = store_settle;
  rt_mutex_init (&disk.mutex);
  rt_cond_init (&disk.cond);
  rt_mutex_init (&lock);
  rt_mutex_lock (&lock);
}

static void
teardown (void)
{
  bitmap_free (bitmap);
  rt_mutex_unlock (&lock);
}

static bool
durable (uint64_t chunk)
{
  return disk.pages[bitmap_chunk_page (chunk)]
                   [bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES]
         & bitmap_bit_mask (chunk);
}

/* A whole write of the range. */
static void
write_range (uint64_t offset, uint64_t length)
{
  uint64_t need;

  ck_assert_int_eq (bitmap_startwrite (bitmap, offset, length, &need), 0);
  if (need)
    ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  bitmap_endwrite (bitmap, offset, length, false);
}

static uint64_t
clear (bool now)
{
  uint64_t cursor = 0, cleared = 0, need = 0;

  if (bitmap_clear_select (bitmap, now) == 0)
    return 0;
  while (bitmap_clear_apply (bitmap, &cursor, &cleared, &need))
    ;
  if (cleared > 0)
    ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  return cleared;
}

START_TEST (edges_of_chunks)
{
  make (100 * CHUNK);
  write_range (CHUNK - 1, 1);
  ck_assert (durable (0) && !durable (1));
  write_range (2 * CHUNK - 1, 2);
  ck_assert (durable (1) && durable (2) && !durable (3));
  write_range (4 * CHUNK, CHUNK);
  ck_assert (!durable (3) && durable (4) && !durable (5));
  write_range (99 * CHUNK + CHUNK - 1, 1);
  ck_assert (durable (99) && !durable (98));
  ck_assert_uint_eq (bitmap_marked (bitmap), 5);
}
END_TEST

/* The first page has 30720 bits behind its header, the next 32768. */
START_TEST (edges_of_pages)
{
  make ((30720 + 32768 + 5) * (uint64_t)CHUNK);
  ck_assert_uint_eq (bitmap_page_count (bitmap), 3);
  write_range (30719ull * CHUNK, 2 * CHUNK);
  ck_assert_uint_eq (disk.writes, 1);
  ck_assert_uint_eq (disk.written_pages, 2);
  ck_assert_uint_eq (disk.pages[0][4095], 0x80);
  ck_assert_uint_eq (disk.pages[1][0], 0x01);
  write_range ((30720 + 32768 - 1) * (uint64_t)CHUNK, 2 * CHUNK);
  ck_assert_uint_eq (disk.pages[1][4095], 0x80);
  /* Five chunks in the last page, the padding behind them is set. */
  ck_assert_uint_eq (disk.pages[2][0], 0xe1);
  ck_assert_uint_eq (disk.pages[2][1], 0xff);
  ck_assert_uint_eq (disk.pages[2][4095], 0xff);
}
END_TEST

START_TEST (durable_bits_cost_nothing)
{
  uint64_t need;

  make (100 * CHUNK);
  write_range (0, CHUNK);
  ck_assert_uint_eq (disk.writes, 1);
  for (unsigned i = 0; i < 10; ++i)
    write_range (0, CHUNK);
  ck_assert_uint_eq (disk.writes, 1);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 0, 1, &need), 0);
  ck_assert_uint_eq (need, 0);
  bitmap_endwrite (bitmap, 0, 1, false);
}
END_TEST

/* Rule 2: somebody else has set the bit, but it is not on disk. */
START_TEST (everyone_waits)
{
  uint64_t first, second;

  make (100 * CHUNK);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 0, 1, &first), 0);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 1, 1, &second), 0);
  ck_assert_uint_ne (first, 0);
  ck_assert_uint_eq (first, second);
  ck_assert_int_eq (bitmap_flush (bitmap, second), 0);
  ck_assert (durable (0));
  ck_assert_int_eq (bitmap_flush (bitmap, first), 0);
  ck_assert_uint_eq (disk.writes, 1);
  bitmap_endwrite (bitmap, 0, 1, false);
  bitmap_endwrite (bitmap, 1, 1, false);
}
END_TEST

/* ---- lazy clear ---- */

START_TEST (clear_in_the_second_pass)
{
  make (100 * CHUNK);
  write_range (0, 3 * CHUNK);
  ck_assert_uint_eq (clear (false), 0);
  ck_assert (durable (0));
  ck_assert_uint_eq (clear (false), 3);
  ck_assert (!durable (0) && !durable (1) && !durable (2));
  ck_assert_uint_eq (bitmap_marked (bitmap), 0);
  ck_assert_uint_eq (clear (false), 0);
}
END_TEST

START_TEST (clear_now)
{
  make (100 * CHUNK);
  write_range (0, CHUNK);
  ck_assert_uint_eq (clear (true), 1);
  ck_assert (!durable (0));
}
END_TEST

START_TEST (clear_spares_what_is_busy)
{
  uint64_t need;

  make (100 * CHUNK);
  write_range (0, CHUNK);
  ck_assert_int_eq (bitmap_startwrite (bitmap, CHUNK, 1, &need), 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert_uint_eq (clear (true), 1); /* chunk 0 */
  ck_assert (durable (1));
  bitmap_endwrite (bitmap, CHUNK, 1, true); /* it failed on some leg */
  ck_assert_uint_eq (bitmap_needed (bitmap), 1);
  ck_assert_uint_eq (clear (true), 0);
  ck_assert (durable (1));
  bitmap_chunk_synced (bitmap, 1);
  ck_assert_uint_eq (bitmap_needed (bitmap), 0);
  ck_assert_uint_eq (clear (true), 1);
  ck_assert (!durable (1));
}
END_TEST

/* Rule 3: a write between choosing and clearing takes the choice back, even
 * if it has ended by then.
 */
START_TEST (touched_while_flushing)
{
  uint64_t cursor = 0, cleared = 0, need;

  make (100 * CHUNK);
  write_range (0, 2 * CHUNK);
  ck_assert_uint_eq (bitmap_clear_select (bitmap, true), 2);
  write_range (0, 1);
  while (bitmap_clear_apply (bitmap, &cursor, &cleared, &need))
    ;
  ck_assert_uint_eq (cleared, 1);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert (durable (0) && !durable (1));
}
END_TEST

/* Rule 3: a bit that was cleared is not durable for the next writer, though
 * the disk still has it; and the image is not cleared before apply.
 */
START_TEST (cleared_is_not_durable)
{
  uint64_t cursor = 0, cleared = 0, need, need2;

  make (100 * CHUNK);
  write_range (0, 1);
  ck_assert_uint_eq (bitmap_clear_select (bitmap, true), 1);
  write_range (CHUNK, 1); /* writes the same page */
  ck_assert (durable (0));
  while (bitmap_clear_apply (bitmap, &cursor, &cleared, &need))
    ;
  ck_assert_uint_eq (cleared, 1);
  ck_assert (durable (0));
  ck_assert_int_eq (bitmap_startwrite (bitmap, 0, 1, &need2), 0);
  ck_assert_uint_ne (need2, 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need2), 0);
  ck_assert (durable (0));
  bitmap_endwrite (bitmap, 0, 1, false);
}
END_TEST

/* ---- pages that are busy ---- */

/* Many rounds between two passes: the page is looked at in each sixth pass,
 * and a chunk that is not written goes in the second look, though others are.
 */
START_TEST (busy_page)
{
  make (3000 * (uint64_t)CHUNK);
  for (uint64_t i = 0; i < 8; ++i)
    write_range (300 * i * CHUNK, 1);
  for (unsigned pass = 1; pass < 12; ++pass) {
    ck_assert_uint_eq (clear (false), 0);
    write_range (300 * CHUNK, 1);
  }
  ck_assert_uint_eq (clear (false), 7);
  ck_assert (!durable (0) && durable (300) && !durable (600));
}
END_TEST

/* One round less, and it is an ordinary page. */
START_TEST (not_busy)
{
  make (3000 * (uint64_t)CHUNK);
  for (uint64_t i = 0; i < 7; ++i)
    write_range (300 * i * CHUNK, 1);
  ck_assert_uint_eq (clear (false), 0);
  ck_assert_uint_eq (clear (false), 7);
}
END_TEST

START_TEST (busy_page_now)
{
  make (3000 * (uint64_t)CHUNK);
  for (uint64_t i = 0; i < 20; ++i)
    write_range (100 * i * CHUNK, 1);
  ck_assert_uint_eq (clear (false), 0);
  ck_assert_uint_eq (clear (true), 20);
}
END_TEST

/* ---- setting ahead ---- */

/* The third chunk in a row sets few more, and then many are. */
START_TEST (stream)
{
  make (30720 * (uint64_t)CHUNK);
  for (uint64_t i = 0; i < 2; ++i)
    write_range (i * CHUNK, 1);
  ck_assert_uint_eq (bitmap_marked (bitmap), 2);
  for (uint64_t i = 2; i < 3 + 16; ++i) {
    write_range (i * CHUNK, 1);
    ck_assert_uint_eq (bitmap_marked (bitmap), 3 + 16);
    ck_assert_uint_eq (disk.writes, 3);
  }
  ck_assert (durable (18) && !durable (19));
  for (uint64_t i = 19; i < 20 + 127; ++i) {
    write_range (i * CHUNK, 1);
    ck_assert_uint_eq (bitmap_marked (bitmap), 20 + 127);
    ck_assert_uint_eq (disk.writes, 4);
  }
  /* They are not being written, and go as others do. */
  ck_assert_uint_eq (clear (true), 20 + 127);
}
END_TEST

/* Not past the page, where it goes on at once, nor past the array. */
START_TEST (stream_at_edges)
{
  make ((30720 + 20) * (uint64_t)CHUNK);
  for (uint64_t i = 30716; i < 30720; ++i)
    write_range (i * CHUNK, 1);
  ck_assert_uint_eq (bitmap_marked (bitmap), 4);
  ck_assert_uint_eq (disk.written_pages, 3);
  write_range (30720 * (uint64_t)CHUNK, 1);
  ck_assert_uint_eq (bitmap_marked (bitmap), 4 + 20);
  ck_assert_uint_eq (disk.written_pages, 4);
}
END_TEST

/* One request is no stream, however long; nor are writes here and there. */
START_TEST (no_stream)
{
  make (30720 * (uint64_t)CHUNK);
  write_range (0, 100 * CHUNK);
  for (uint64_t i = 0; i < 500; ++i)
    write_range ((200 + i * 7919 % 30000) * CHUNK, 1);
  ck_assert_uint_eq (bitmap_marked (bitmap), 100 + 500);
}
END_TEST

/* Others do not push it out. */
START_TEST (stream_among_others)
{
  uint64_t other = 0;

  make (30720 * (uint64_t)CHUNK);
  for (uint64_t i = 0; i < 20; ++i)
    write_range (i * CHUNK, 1);
  ck_assert_uint_eq (bitmap_marked (bitmap), 20 + 127);
  for (; other < 100; ++other)
    write_range ((1000 + other * 7919 % 29000) * CHUNK, 1);
  for (uint64_t i = 20; i < 20 + 128; ++i)
    write_range (i * CHUNK, 1);
  ck_assert_uint_eq (bitmap_marked (bitmap), 100 + 20 + 127 + 128);
}
END_TEST

/* Their round fails: nobody takes them for durable. */
START_TEST (stream_fails)
{
  uint64_t need;

  make (30720 * (uint64_t)CHUNK);
  write_range (0, 1);
  write_range (CHUNK, 1);
  disk.fail = true;
  ck_assert_int_eq (bitmap_startwrite (bitmap, 2 * CHUNK, 1, &need), 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), -EIO);
  bitmap_endwrite (bitmap, 2 * CHUNK, 1, false);
  disk.fail = false;
  ck_assert (!durable (3));
  ck_assert_int_eq (bitmap_startwrite (bitmap, 3 * CHUNK, 1, &need), 0);
  ck_assert_uint_ne (need, 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert (durable (3));
  bitmap_endwrite (bitmap, 3 * CHUNK, 1, false);
}
END_TEST

/* ---- rounds ---- */

static void
one_write (void *opaque)
{
  uint64_t chunk = (uint64_t)(uintptr_t)opaque;

  rt_mutex_lock (&lock);
  write_range (chunk * CHUNK, 1);
  ck_assert (durable (chunk));
  rt_mutex_unlock (&lock);
}

/* Marked chunks would not tell: bits are set ahead of writers in order. */
static void
await_joined (unsigned n)
{
  while (bitmap->joined < n) {
    rt_mutex_unlock (&lock);
    rt_mutex_lock (&lock);
  }
}

/* While one round is held up, all who come join the next: 9 writers, two
 * writes of the page.
 */
START_TEST (group_commit)
{
  struct rt_thread threads[9];

  make (100 * CHUNK);
  disk.hold = true;
  for (uint64_t i = 0; i < 9; ++i) {
    ck_assert_int_eq (rt_thread_create (&threads[i], "writer", one_write,
                                        (void *)(uintptr_t)i),
                      0);
    if (i == 0) { /* the leader is in the store */
      rt_mutex_unlock (&lock);
      rt_mutex_lock (&disk.mutex);
      while (!disk.holding)
        rt_cond_wait (&disk.cond, &disk.mutex);
      rt_mutex_unlock (&disk.mutex);
      rt_mutex_lock (&lock);
    }
  }
  await_joined (8);
  rt_mutex_unlock (&lock);
  rt_mutex_lock (&disk.mutex);
  disk.hold = false;
  rt_cond_broadcast (&disk.cond);
  rt_mutex_unlock (&disk.mutex);
  for (unsigned i = 0; i < 9; ++i)
    rt_thread_join (&threads[i]);
  rt_mutex_lock (&lock);
  ck_assert_uint_eq (disk.writes, 2);
  ck_assert_uint_eq (disk.settles, 2);
}
END_TEST

/* The round fails: its writers fail, the bit stays set and not durable, and
 * the next writer of the chunk waits for a write of its own.
 */
START_TEST (failed_round)
{
  uint64_t need, again;

  make (100 * CHUNK);
  disk.fail = true;
  ck_assert_int_eq (bitmap_startwrite (bitmap, 0, 1, &need), 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), -EIO);
  bitmap_endwrite (bitmap, 0, 1, false);
  ck_assert (!durable (0));
  ck_assert_uint_eq (clear (true), 0);
  disk.fail = false;
  ck_assert_int_eq (bitmap_startwrite (bitmap, 0, 1, &again), 0);
  ck_assert_uint_gt (again, need);
  ck_assert_int_eq (bitmap_flush (bitmap, again), 0);
  ck_assert (durable (0));
  ck_assert_int_eq (bitmap_flush (bitmap, need), -EIO);
  bitmap_endwrite (bitmap, 0, 1, false);
}
END_TEST

/* More chunks in a round than its list holds. */
START_TEST (large_round)
{
  uint64_t need;

  make (30720 * (uint64_t)CHUNK);
  ck_assert_int_eq (
      bitmap_startwrite (bitmap, 0, 3000 * (uint64_t)CHUNK, &need), 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert_uint_eq (disk.writes, 1);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 2999ull * CHUNK, 1, &need), 0);
  ck_assert_uint_eq (need, 0);
  bitmap_endwrite (bitmap, 2999ull * CHUNK, 1, false);
  bitmap_endwrite (bitmap, 0, 3000 * (uint64_t)CHUNK, false);
  ck_assert_uint_eq (clear (true), 3000);
  ck_assert_uint_eq (bitmap_marked (bitmap), 0);
}
END_TEST

/* A large round spans chunks of which some have no state, and one is set
 * while it is being written: that one waits for a round of its own.
 */
static uint64_t late_need;

static void
late_write (void *opaque)
{
  uint64_t *offset = opaque;

  rt_mutex_lock (&disk.mutex);
  while (!disk.holding)
    rt_cond_wait (&disk.cond, &disk.mutex);
  rt_mutex_unlock (&disk.mutex);
  rt_mutex_lock (&lock);
  ck_assert_int_eq (bitmap_startwrite (bitmap, *offset, 1, &late_need), 0);
  rt_mutex_unlock (&lock);
  rt_mutex_lock (&disk.mutex);
  disk.hold = false;
  rt_cond_broadcast (&disk.cond);
  rt_mutex_unlock (&disk.mutex);
}

START_TEST (large_round_and_late_write)
{
  uint64_t offset = 1000ull * CHUNK, first, second, last, need;
  struct rt_thread thread;

  make (30720 * (uint64_t)CHUNK);
  ck_assert_int_eq (
      bitmap_startwrite (bitmap, 0, 900 * (uint64_t)CHUNK, &first), 0);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 20000ull * CHUNK,
                                       100 * (uint64_t)CHUNK, &second),
                    0);
  ck_assert_uint_eq (first, second);
  disk.hold = true;
  ck_assert_int_eq (rt_thread_create (&thread, "late", late_write, &offset), 0);
  ck_assert_int_eq (bitmap_flush (bitmap, first), 0);
  rt_mutex_unlock (&lock);
  rt_thread_join (&thread);
  rt_mutex_lock (&lock);
  ck_assert_uint_gt (late_need, first);
  ck_assert (durable (0) && durable (899) && durable (20099));
  ck_assert (!durable (1000));
  /* Nobody takes it for durable. */
  ck_assert_int_eq (bitmap_startwrite (bitmap, offset, 1, &need), 0);
  ck_assert_uint_eq (need, late_need);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 20099ull * CHUNK, 1, &last), 0);
  ck_assert_uint_eq (last, 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert (durable (1000));
}
END_TEST

/* Pages go out in ascending order, however they became dirty; a round that
 * has nothing to write is good.
 */
START_TEST (order_of_pages)
{
  uint64_t need, far;

  make ((30720 + 2 * 32768) * (uint64_t)CHUNK);
  ck_assert_int_eq (
      bitmap_startwrite (bitmap, (30720ull + 32768) * CHUNK, 1, &far), 0);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 0, 1, &need), 0);
  ck_assert_int_eq (bitmap_startwrite (bitmap, 30720ull * CHUNK, 1, &need), 0);
  ck_assert_uint_eq (need, far);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert_uint_eq (disk.written_pages, 3);
  ck_assert (durable (0) && durable (30720) && durable (30720 + 32768));
  ck_assert_int_eq (bitmap_flush (bitmap, need + 1), 0);
  ck_assert_uint_eq (disk.written_pages, 3);
}
END_TEST

/* As many writers as a chunk can count, and one more, who waits. */
START_TEST (saturated_chunk)
{
  const unsigned most = 1023;
  struct rt_thread thread;
  uint64_t need;

  make (100 * CHUNK);
  for (unsigned i = 0; i < most; ++i)
    ck_assert_int_eq (bitmap_startwrite (bitmap, 0, 1, &need), 0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert_int_eq (rt_thread_create (&thread, "writer", one_write, NULL), 0);
  /* It may not have come yet when the first ends: then it need not wait. */
  for (unsigned i = 0; i < 100; ++i) {
    rt_mutex_unlock (&lock);
    sched_yield ();
    rt_mutex_lock (&lock);
  }
  for (unsigned i = 0; i < most; ++i)
    bitmap_endwrite (bitmap, 0, 1, false);
  rt_mutex_unlock (&lock);
  rt_thread_join (&thread);
  rt_mutex_lock (&lock);
  ck_assert_uint_eq (clear (true), 1); /* nobody is counted any more */
}
END_TEST

/* More chunks than are looked at in one go, and blocks that were cleared. */
START_TEST (clear_in_steps)
{
  const uint64_t chunks = 70000;
  uint64_t cursor = 0, cleared = 0, need = 0;

  make (3 * chunks * CHUNK);
  write_range (0, chunks * CHUNK);
  ck_assert_uint_eq (bitmap_clear_select (bitmap, true), chunks);
  ck_assert (bitmap_clear_apply (bitmap, &cursor, &cleared, &need));
  ck_assert_uint_gt (cleared, 0);
  ck_assert_uint_lt (cleared, chunks);
  while (bitmap_clear_apply (bitmap, &cursor, &cleared, &need))
    ;
  ck_assert_uint_eq (cleared, chunks);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  ck_assert (!durable (0) && !durable (chunks - 1));
  /* What needs resync is found behind them. */
  ck_assert_int_eq (bitmap_startwrite (bitmap, 2 * chunks * CHUNK, 1, &need),
                    0);
  ck_assert_int_eq (bitmap_flush (bitmap, need), 0);
  bitmap_endwrite (bitmap, 2 * chunks * CHUNK, 1, true);
  ck_assert_uint_eq (bitmap_next_needed (bitmap, 0), 2 * chunks);
  ck_assert_uint_eq (clear (true), 0);
}
END_TEST

/* ---- loading ---- */

START_TEST (union_of_copies)
{
  uint8_t a[BITMAP_PAGE_BYTES] = { 0 }, b[BITMAP_PAGE_BYTES] = { 0 };
  bool differs = false;

  make (10 * CHUNK);
  a[256] = 0x05;
  b[256] = 0x06;
  b[257] = 0xfc; /* padding: bits 10 and up mean nothing */
  ck_assert_int_eq (bitmap_load_page (bitmap, 0, a, true, true, &differs), 0);
  ck_assert (!differs);
  ck_assert_int_eq (bitmap_load_page (bitmap, 0, a, true, false, &differs), 0);
  ck_assert (!differs);
  ck_assert_int_eq (bitmap_load_page (bitmap, 0, b, true, false, &differs), 0);
  ck_assert (differs);
  ck_assert_uint_eq (bitmap_marked (bitmap), 3);
  ck_assert_uint_eq (bitmap_needed (bitmap), 3);
  ck_assert_uint_eq (bitmap_next_needed (bitmap, 0), 0);
  ck_assert_uint_eq (bitmap_next_needed (bitmap, 1), 1);
  ck_assert_uint_eq (bitmap_next_needed (bitmap, 3), BITMAP_NO_CHUNK);
  ck_assert (bitmap_range_needed (bitmap, 2 * CHUNK + 5, 1));
  ck_assert (!bitmap_range_needed (bitmap, 3 * CHUNK, 7 * CHUNK));
  ck_assert_int_eq (bitmap_write_all (bitmap, false), 0);
  ck_assert_uint_eq (disk.pages[0][256], 0x07);
}
END_TEST

/* Each bit counts, wherever it lies in a page, and each difference. */
START_TEST (every_bit_is_loaded)
{
  const uint64_t edges[] = { 0, 30720, 30720 + 32768, 30720 + 32768 + 101 };

  make (edges[3] * CHUNK);
  for (uint64_t page = 0; page < 3; ++page)
    for (uint64_t chunk = edges[page]; chunk < edges[page + 1];
         chunk += chunk < edges[page + 1] - 130 ? 61 : 1) {
      uint8_t a[BITMAP_PAGE_BYTES] = { 0 }, none[BITMAP_PAGE_BYTES] = { 0 };
      bool differs = false;

      bitmap_free (bitmap);
      make (edges[3] * CHUNK);
      a[bitmap_bit_byte (chunk) % BITMAP_PAGE_BYTES] = bitmap_bit_mask (chunk);
      ck_assert_int_eq (
          bitmap_load_page (bitmap, page, a, true, true, &differs), 0);
      ck_assert_uint_eq (bitmap_needed (bitmap), 1);
      ck_assert_uint_eq (bitmap_next_needed (bitmap, 0), chunk);
      ck_assert (!differs);
      ck_assert_int_eq (
          bitmap_load_page (bitmap, page, none, true, false, &differs), 0);
      ck_assert (differs);
      ck_assert_uint_eq (bitmap_marked (bitmap), 1);
    }
}
END_TEST

START_TEST (header_goes_with_page_0)
{
  struct bitmap_superblock header;
  struct format_error error;
  bool intact;

  make (10 * CHUNK);
  ck_assert_int_eq (bitmap_write_header (bitmap, 7, 5), 0);
  ck_assert_int_eq (
      bitmap_superblock_decode (disk.pages[0], &header, &intact, &error), 0);
  ck_assert_uint_eq (header.events, 7);
  ck_assert_uint_eq (header.events_cleared, 5);
  write_range (0, 1);
  ck_assert_int_eq (
      bitmap_superblock_decode (disk.pages[0], &header, &intact, &error), 0);
  ck_assert_uint_eq (header.events, 7);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("bitmap");
  TCase *tcase = tcase_create ("bitmap");
  SRunner *runner;
  int failed;

  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 120);
  tcase_add_test (tcase, edges_of_chunks);
  tcase_add_test (tcase, edges_of_pages);
  tcase_add_test (tcase, durable_bits_cost_nothing);
  tcase_add_test (tcase, everyone_waits);
  tcase_add_test (tcase, clear_in_the_second_pass);
  tcase_add_test (tcase, clear_now);
  tcase_add_test (tcase, clear_spares_what_is_busy);
  tcase_add_test (tcase, touched_while_flushing);
  tcase_add_test (tcase, cleared_is_not_durable);
  tcase_add_test (tcase, busy_page);
  tcase_add_test (tcase, not_busy);
  tcase_add_test (tcase, busy_page_now);
  tcase_add_test (tcase, stream);
  tcase_add_test (tcase, stream_at_edges);
  tcase_add_test (tcase, no_stream);
  tcase_add_test (tcase, stream_among_others);
  tcase_add_test (tcase, stream_fails);
  tcase_add_test (tcase, group_commit);
  tcase_add_test (tcase, failed_round);
  tcase_add_test (tcase, large_round);
  tcase_add_test (tcase, large_round_and_late_write);
  tcase_add_test (tcase, order_of_pages);
  tcase_add_test (tcase, saturated_chunk);
  tcase_add_test (tcase, clear_in_steps);
  tcase_add_test (tcase, union_of_copies);
  tcase_add_test (tcase, every_bit_is_loaded);
  tcase_add_test (tcase, header_goes_with_page_0);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
