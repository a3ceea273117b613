/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Memory that runs out, and threads that cannot be made: a whole life of an
 * array, in which the Nth allocation fails, for N = 1 and up until none does.
 *
 * A request that fails for want of memory may have happened or not; nothing
 * else may come of it: no crash, no leak, no leg thrown out, nothing that was
 * answered lost, and no difference between the legs that has no bit.
 *
 * Linked with -Wl,--wrap for everything that gives memory, so that it is
 * counted here, under memory_lock.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "legs.h"

/* ---- memory ---- */

extern void *__real_rt_alloc (size_t size);
extern void *__wrap_rt_alloc (size_t size);
extern void *__real_rt_calloc (size_t n, size_t size);
extern void *__wrap_rt_calloc (size_t n, size_t size);
extern void *__real_rt_alloc_aligned (size_t align, size_t size);
extern void *__wrap_rt_alloc_aligned (size_t align, size_t size);
extern void __real_rt_free (void *p);
extern void __wrap_rt_free (void *p);
extern int __real_rt_thread_create (struct rt_thread *thread, const char *name,
                                    void (*fn) (void *opaque), void *opaque);
extern int __wrap_rt_thread_create (struct rt_thread *thread, const char *name,
                                    void (*fn) (void *opaque), void *opaque);

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t live;       /* blocks that were not given back */
static unsigned countdown; /* the one that fails; 0: none */
static bool all_after;     /* and all after it */
static unsigned refused;
static unsigned thread_countdown;

/* Is it this one's turn to fail? */
static bool
refuse (void)
{
  bool yes = false;

  pthread_mutex_lock (&memory_lock);
  if (countdown > 0 && --countdown == 0)
    yes = true;
  if (yes && all_after)
    countdown = 1;
  refused += yes;
  live += !yes;
  pthread_mutex_unlock (&memory_lock);
  return yes;
}

static void
arm (unsigned n, bool all)
{
  pthread_mutex_lock (&memory_lock);
  countdown = n;
  all_after = all;
  refused = 0;
  pthread_mutex_unlock (&memory_lock);
}

void *
__wrap_rt_alloc (size_t size)
{
  return refuse () ? NULL : __real_rt_alloc (size);
}

void *
__wrap_rt_calloc (size_t n, size_t size)
{
  return refuse () ? NULL : __real_rt_calloc (n, size);
}

void *
__wrap_rt_alloc_aligned (size_t align, size_t size)
{
  return refuse () ? NULL : __real_rt_alloc_aligned (align, size);
}

void
__wrap_rt_free (void *p)
{
  pthread_mutex_lock (&memory_lock);
  live -= p != NULL;
  pthread_mutex_unlock (&memory_lock);
  __real_rt_free (p);
}

int
__wrap_rt_thread_create (struct rt_thread *thread, const char *name,
                         void (*fn) (void *opaque), void *opaque)
{
  bool no;

  pthread_mutex_lock (&memory_lock);
  no = thread_countdown > 0 && --thread_countdown == 0;
  pthread_mutex_unlock (&memory_lock);
  return no ? -EAGAIN : __real_rt_thread_create (thread, name, fn, opaque);
}

/* ---- what each sector may hold ---- */

#define SIZE    MiB
#define SECTORS (SIZE / SECTOR_SIZE)

static uint32_t allowed[SECTORS]; /* bit n: it may be full of n */
static uint8_t data[SIZE];
static unsigned failed; /* requests, of those that this life has made */

static void
expect (uint64_t offset, uint64_t length, uint8_t byte, int err)
{
  ck_assert_msg (err == 0 || err == -ENOMEM || err == -EIO, "error %d", err);
  failed += err != 0;
  for (uint64_t at = offset; at < offset + length; at += SECTOR_SIZE)
    if (err == 0)
      allowed[at / SECTOR_SIZE] = 1u << byte;
    else
      allowed[at / SECTOR_SIZE] |= 1u << byte;
}

/* Check's own words are slow, and there are millions of sectors. */
static void
check_sector (uint64_t sector, const uint8_t *bytes, const char *where)
{
  if (memcmp (bytes, bytes + 1, SECTOR_SIZE - 1) != 0 || bytes[0] >= 32
      || !(allowed[sector] >> bytes[0] & 1))
    ck_abort_msg ("%s: sector %ju begins with %u, expected one of %08x", where,
                  (uintmax_t)sector, bytes[0], allowed[sector]);
}

/* ---- requests ---- */

static void
write_bytes (struct array *array, uint8_t byte, uint32_t length,
             uint64_t offset, unsigned flags)
{
  memset (data, byte, length);
  expect (offset, length, byte,
          array_write (array, data, length, offset, flags));
}

static void
zero_bytes (struct array *array, uint64_t length, uint64_t offset)
{
  expect (offset, length, 0, array_zero (array, length, offset, 0));
}

static void
read_all (struct array *array)
{
  int err = array_read (array, data, SIZE, 0);

  ck_assert_msg (err == 0 || err == -ENOMEM || err == -EIO, "error %d", err);
  failed += err != 0;
  for (uint64_t i = 0; i < SECTORS && err == 0; ++i)
    check_sector (i, data + i * SECTOR_SIZE, "read");
}

/* Everything once, and a write after its bit was cleared. */
static void
use (struct array *array)
{
  int err;

  write_bytes (array, 10, BLOCK, 0, ARRAY_FUA);
  write_bytes (array, 12, 2 * BLOCK, 2 * LEGS_CHUNK - BLOCK, 0);
  /* A block at each end is read first. */
  write_bytes (array, 14, 2 * BLOCK, 4 * LEGS_CHUNK + SECTOR_SIZE, 0);
  zero_bytes (array, BLOCK, 6 * LEGS_CHUNK);
  err = array_flush (array);
  ck_assert (err == 0 || err == -EIO || err == -ENOMEM);
  failed += err != 0;
  read_all (array);
  err = clear_pass (array);
  ck_assert (err == 0 || err == -EIO || err == -ENOMEM);
  failed += err != 0;
  write_bytes (array, 11, BLOCK, 0, ARRAY_FUA);
}

/* ---- lives ---- */

enum start { CLEAN, UNCLEAN, LAGGARD, DEGRADED, STARTS };

/* How it lies on the legs at first. */
static void
prepare (enum start start)
{
  legs_make (2, SIZE, 0);
  legs_logical_block[0] = BLOCK;
  for (unsigned i = 0; i < SECTORS; ++i)
    allowed[i] = 1;
  for (unsigned i = 0; i < 2 && start != CLEAN; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 10);
    image_set_bit (&images[i], 12);
  }
  if (start == LAGGARD)
    images[0].superblock.events = images[0].bitmap.events = LEGS_EVENTS + 1;
  if (start == DEGRADED) {
    images[0].superblock.dev_roles[1] = ROLE_FAULTY;
    legs_options.nlegs = 1;
  }
  legs_store ();
  if (start == CLEAN)
    return;
  /* A write that was under way at the crash. */
  leg_set_data (0, 10 * LEGS_CHUNK, 3);
  leg_set_data (1, 10 * LEGS_CHUNK, 4);
  leg_set_data (0, 12 * LEGS_CHUNK, 5);
  leg_set_data (1, 12 * LEGS_CHUNK, 5);
  expect (10 * LEGS_CHUNK, BLOCK, 3, 0);
  expect (12 * LEGS_CHUNK, BLOCK, 5, 0);
}

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  ck_assert_str_ne (line, "");
}

static const struct log log_ = { .sink = sink };

enum end { CLOSE, KILL, SETTLE, ENDS };

/* With memory again, nothing of a failure is left behind in the bitmap: all
 * bits can be cleared but those of chunks that resync wants.
 */
static void
settle (struct array *array)
{
  bool all;

  pthread_mutex_lock (&memory_lock);
  countdown = 0;
  pthread_mutex_unlock (&memory_lock);
  rt_mutex_lock (&array->lock);
  ck_assert_int_eq (bitmap_flush_dirty (array->bitmap), 0);
  all = array_whole (array) && bitmap_needed (array->bitmap) == 0;
  rt_mutex_unlock (&array->lock);
  ck_assert_int_eq (clear_pass (array), 0);
  rt_mutex_lock (&array->lock);
  ck_assert_uint_eq (array->writes, 0);
  ck_assert_uint_eq (array->ranges.waiting, 0);
  if (all)
    ck_assert_uint_eq (bitmap_marked (array->bitmap), 0);
  rt_mutex_unlock (&array->lock);
}

static void
live_once (enum end end)
{
  struct array *array;
  int err = array_open (&legs_options, &log_, &array);

  if (err != 0) {
    /* A leg that could not be opened for want of memory is missing. */
    ck_assert_msg (err == -ENOMEM || err == -EINVAL, "error %d", err);
    failed++;
    return;
  }
  err = array_start (array);
  if (err == 0) {
    err = array_activate (array);
    if (err != 0) {
      ck_assert (err == -ENOMEM || err == -EIO);
      failed++;
      err = array_activate (array);
    }
  }
  else
    failed++;
  if (err == 0)
    use (array);
  if (err == 0 && end == SETTLE)
    settle (array);
  if (end == KILL)
    legs_kill (array);
  else
    legs_close (array);
}

/* With memory: all is there, and becomes equal. */
static void
verify (unsigned nlegs)
{
  struct array_info info;
  struct array *array;

  ck_assert_int_eq (array_open (&legs_options, &log_, &array), 0);
  ck_assert_uint_eq (in_sync (array), nlegs);
  read_all (array);
  ck_assert_int_eq (array_start (array), 0);
  ck_assert_int_eq (array_activate (array), 0);
  while (array_get_info (array, &info), nlegs > 1 && info.chunks_needed > 0)
    usleep (1000);
  read_all (array);
  legs_close (array);
  for (unsigned leg = 0; leg < nlegs; ++leg) {
    leg_get_data (leg, 0, data, SIZE);
    for (uint64_t i = 0; i < SECTORS; ++i) {
      check_sector (i, data + i * SECTOR_SIZE, leg_path (leg));
      allowed[i] = 1u << data[i * SECTOR_SIZE]; /* the next leg is equal */
    }
  }
}

/* _i & 1: all that come later fail as well, and every second N will
 * do.  Lives end in turns.
 */
START_TEST (test_memory)
{
  const enum start start = (enum start) (_i / 2);
  const bool all = _i & 1;
  unsigned n = 0;

  do {
    prepare (start);
    ck_assert_int_eq (live, 0);
    failed = 0;
    n += all ? 2 : 1;
    arm (n, all);
    live_once ((enum end) (n % ENDS));
    ck_assert_msg (live == 0, "allocation %u failed: %jd blocks leak", n,
                   (intmax_t)live);
    countdown = 0;
    if (!all)
      ck_assert_msg (failed <= 1, "allocation %u failed, and %u requests", n,
                     failed);
    failed = 0;
    verify (start == DEGRADED ? 1 : 2);
    ck_assert_uint_eq (failed, 0);
  } while (refused > 0);
  ck_assert_uint_gt (n, 50);
}
END_TEST

/* A write of two chunks whose states lie in different blocks: if memory runs
 * out between them, the first is as if nobody had begun to write it.
 */
START_TEST (test_blocks)
{
  const uint64_t offset = 2047 * (uint64_t)BLOCK;
  struct array *array;
  unsigned n = 0;
  int err;

  legs_make (2, 16 * MiB, BLOCK);
  memset (data, 1, 2 * BLOCK);
  do {
    legs_store ();
    ck_assert_int_eq (array_open (&legs_options, &log_, &array), 0);
    ck_assert_int_eq (array_start (array), 0);
    ck_assert_int_eq (array_activate (array), 0);
    arm (++n, false);
    err = array_write (array, data, 2 * BLOCK, offset, 0);
    ck_assert (err == 0 || err == -ENOMEM || err == -EIO);
    ck_assert (err == 0 || refused > 0);
    settle (array);
    legs_close (array);
    ck_assert_int_eq (live, 0);
  } while (refused > 0);
  ck_assert_uint_gt (n, 5);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (leg_data (i, offset), 1);
    ck_assert_uint_eq (leg_data (i, offset + BLOCK), 1);
  }
}
END_TEST

/* ---- threads ---- */

/* The Nth thread cannot be made; the second try is good. */
START_TEST (test_threads)
{
  unsigned n = 0;
  struct array *array;
  bool more = true;
  int err;

  while (more) {
    prepare (UNCLEAN);
    ck_assert_int_eq (array_open (&legs_options, &log_, &array), 0);
    thread_countdown = ++n;
    err = array_start (array);
    if (err == 0) {
      err = array_activate (array);
      if (err != 0) {
        ck_assert_int_eq (err, -EAGAIN);
        ck_assert_int_eq (block_write (array, 1, 0, 0), -EROFS);
        ck_assert_int_eq (array_activate (array), 0);
      }
      use (array);
    }
    else
      ck_assert_int_eq (err, -EAGAIN);
    more = thread_countdown == 0;
    thread_countdown = 0;
    legs_close (array);
    verify (2);
    ck_assert_int_eq (live, 0);
  }
  /* The watch, clear and sync threads at least. */
  ck_assert_uint_gt (n, 3);
  ck_assert_uint_eq (failed, 0);
}
END_TEST

/* ---- main ---- */

int
main (void)
{
  Suite *suite = suite_create ("memory");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 300);
  tcase_add_loop_test (tc, test_memory, 0, 2 * STARTS);
  tcase_add_test (tc, test_blocks);
  tcase_add_test (tc, test_threads);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
