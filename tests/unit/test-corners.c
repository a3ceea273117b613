/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Turns that the life of an array takes rarely: legs that cannot be used, two
 * failures at once, rates, threads that are stuck; and what -D shows of it.
 *
 * Linked with -Wl,--wrap=aio_open (legs.h) and aio_stuck.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "legs.h"

#define SHORT_TIMEOUT (RT_SECOND * 3 / 10)

static void
take_a_nap (void)
{
  usleep (1000);
}

static void
set_unclean (unsigned n)
{
  for (unsigned i = 0; i < n; ++i)
    images[i].superblock.resync_offset = 0;
}

static void
mark (unsigned n, uint64_t chunk)
{
  for (unsigned i = 0; i < n; ++i)
    image_set_bit (&images[i], chunk);
}

/* ---- the log, with everything on ---- */

static struct {
  pthread_mutex_t lock;
  char text[256 * 1024];
} told = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void
tell (void *opaque, enum log_level level, const char *line)
{
  size_t used;

  (void)opaque;
  (void)level;
  pthread_mutex_lock (&told.lock);
  used = strlen (told.text);
  snprintf (told.text + used, sizeof told.text - used, "%s\n", line);
  pthread_mutex_unlock (&told.lock);
}

static const int on = 1;
static const struct log telling = {
  .sink = tell,
  .debug = { &on, &on, &on, NULL, &on },
};

static struct array *
activate_telling (void)
{
  struct array *array;

  ck_assert_int_eq (array_open (&legs_options, &telling, &array), 0);
  ck_assert_int_eq (array_start (array), 0);
  ck_assert_int_eq (array_activate (array), 0);
  return array;
}

/* These lines in this order. */
static void
assert_told (const char *const *lines)
{
  const char *at = told.text;

  for (; *lines; ++lines) {
    at = strstr (at, *lines);
    ck_assert_msg (at, "'%s' is not there, or too early, in:\n%s", *lines,
                   told.text);
    at += strlen (*lines);
  }
}

/* What -D mdbitmap.* shows of a write and a stop. */
START_TEST (test_debug)
{
  static const char *const lines[] = {
    "absent -> in-sync: assembled",
    "absent -> in-sync: assembled",
    "array: clean -> going active",
    "superblock: events 40 -> 41, active, 2 legs",
    "array: going active -> active",
    "bitmap: set chunk 3 in round 1",
    "bitmap: round 1: 1 chunks, 1 pages",
    "bitmap: cleared 1 chunks, 0 left",
    "array: active -> going clean",
    "superblock: events 41 -> 42, clean, 2 legs",
    "array: going clean -> clean",
    NULL,
  };
  static const char *const degraded[] = {
    "in-sync -> faulty: writing",
    "superblock: device 1, role 0x1, recorded as faulty",
    NULL,
  };
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  array = activate_telling ();
  ck_assert_int_eq (block_write (array, 1, 3 * LEGS_CHUNK, 0), 0);
  legs_close (array);
  assert_told (lines);

  set_unclean (2);
  mark (2, 5);
  legs_store ();
  array = activate_telling ();
  while (bitmap_needed (array->bitmap) > 0)
    take_a_nap ();
  tap_fail (1, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  legs_close (array);
  assert_told ((const char *const[]){ "resync: chunk 5 is equal", NULL });
  assert_told (degraded);
}
END_TEST

/* ---- opening ---- */

START_TEST (test_number_of_legs)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  legs_options.nlegs = _i == 0 ? 0 : ARRAY_MAX_LEGS + 1;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("legs given, expected 1 to 27"));
}
END_TEST

START_TEST (test_leg_in_use)
{
  struct array *array, *second;

  legs_make (2, 0, 0);
  legs_store ();
  array = legs_open ();
  ck_assert_int_eq (array_open (&legs_options, &telling, &second), -EBUSY);
  legs_close (array);
}
END_TEST

/* The second does nothing. */
START_TEST (test_activate_again)
{
  struct array *array;

  legs_make (2, 0, 0);
  set_unclean (1);
  legs_store ();
  array = legs_activate ();
  tap_reset ();
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_uint_eq (tap_count (0, OP_WRITES | OP_READS | OP_FLUSH), 0);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  legs_close (array);
}
END_TEST

/* Superblocks that are right by themselves, and legs that they do not fit. */
START_TEST (test_refused)
{
  static const char *const why[] = {
    "clear of",                        /* 0: bitmap in the data */
    "field raid_disks: found 28",      /* 1 */
    "aligned to its logical block",    /* 2: data */
    "aligned to its logical block",    /* 3: bitmap */
    "aligned to its logical block",    /* 4: size */
    "field sectors_reserved",          /* 5 */
    "they belong to different arrays", /* 6 */
    "no md superblock of any version", /* 7 */
  };
  struct superblock *s;
  struct array *array;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i) {
    s = &images[i].superblock;
    if (_i == 0)
      s->bitmap_offset = (int32_t)(s->data_offset - s->super_offset);
    if (_i == 1)
      s->raid_disks = ARRAY_MAX_LEGS + 1;
    if (_i == 2) {
      s->data_offset++;
      s->data_size -= 8;
      s->size -= 8;
    }
    if (_i == 3) {
      s->bitmap_offset++;
      s->bblog_size = 0;
    }
    if (_i == 4)
      s->size--;
    if (_i >= 2 && _i <= 4)
      legs_logical_block[i] = BLOCK;
    if (_i == 5) {
      images[i].bitmap.chunksize = SECTOR_SIZE;
      images[i].bitmap.sectors_reserved = 1;
    }
    if (_i == 6 && i == 1)
      s->set_uuid[0]++;
  }
  legs_store ();
  for (unsigned i = 0; i < 3 && _i == 7; ++i) {
    ck_assert_int_eq (truncate (leg_path (i), 0), 0);
    ck_assert_int_eq (truncate (leg_path (i), MiB), 0);
  }
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert_msg (logged (why[_i]), "'%s' has not been logged", why[_i]);
}
END_TEST

/* A spare that is called faulty is no split brain: it holds nothing. */
START_TEST (test_spare_called_faulty)
{
  struct array *array;

  legs_make (2, 0, 0);
  images[0].superblock.dev_roles[1] = ROLE_FAULTY;
  images[1].superblock.dev_roles[1] = ROLE_SPARE;
  images[1].superblock.events += 5;
  legs_store ();
  array = legs_open ();
  ck_assert (leg_in_sync (array, 0) && !leg_in_sync (array, 1));
  legs_close (array);
}
END_TEST

/* The leg that lags fails when it is brought up: the others go on. */
START_TEST (test_laggard_fails)
{
  const unsigned laggard = (unsigned)_i;
  const unsigned other = laggard == 0;
  struct array *array;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i)
    if (i != laggard)
      images[i].superblock.events = images[i].bitmap.events = LEGS_EVENTS + 1;
  legs_store ();
  tap_fail (laggard, OP_WRITE_SUPERBLOCK);
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  ck_assert_uint_eq (in_sync (array), 2);
  ck_assert (!leg_in_sync (array, laggard));
  legs_load ();
  ck_assert_uint_eq (images[laggard].superblock.events, LEGS_EVENTS);
  ck_assert_uint_ge (images[other].superblock.events, LEGS_EVENTS + 3);
  ck_assert_uint_eq (images[other].superblock.dev_roles[laggard], ROLE_FAULTY);
  legs_kill (array);
}
END_TEST

/* ---- bitmap pages ---- */

/* Pages of one round that are not neighbours are written each by itself. */
START_TEST (test_pages_apart)
{
  const uint64_t size = 400 * MiB, far = _i == 0 ? 300 * MiB : 160 * MiB;
  struct array *array;

  legs_make (1, size, BLOCK);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  ck_assert_int_eq (block_write (array, 1, far, 0), 0);
  rt_mutex_lock (&array->lock);
  ck_assert_int_eq (
      bitmap_write_header (array->bitmap, array->events, array->events), 0);
  array->events_cleared = array->events;
  rt_mutex_unlock (&array->lock);
  tap_reset ();
  ck_assert_int_eq (clear_pass (array), 0);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_BITMAP), _i == 0 ? 2 : 1);
  legs_load ();
  ck_assert (!image_bit (&images[0], 0));
  ck_assert (!image_bit (&images[0], far / BLOCK));
  legs_close (array);
}
END_TEST

/* ---- resync ---- */

/* The source hangs, and its loss cannot be recorded: nothing is copied, and
 * the chunk stays marked.
 */
START_TEST (test_source_hangs)
{
  struct array *array;

  legs_make (2, 0, 0);
  set_unclean (2);
  mark (2, 5);
  legs_store ();
  legs_options.leg_timeout = SHORT_TIMEOUT;
  tap_hold (0, OP_READ_DATA);
  if (_i == 1)
    tap_fail (1, OP_WRITE_SUPERBLOCK);
  array = legs_activate ();
  while (!logged ("resync interrupted"))
    take_a_nap ();
  ck_assert_int_eq (logged ("chunk 5 cannot be made equal"), _i);
  ck_assert (!leg_in_sync (array, 0) && leg_in_sync (array, 1));
  ck_assert_uint_eq (bitmap_needed (array->bitmap), 1);
  tap_release (0);
  tap_fail (1, 0);
  legs_close (array);
  legs_load ();
  ck_assert (image_bit (&images[1], 5));
}
END_TEST

/* A byte a second: not one chunk in the time that anybody waits, and yet the
 * stop is at once.  Or no limit, whatever else the options say.
 */
START_TEST (test_rate)
{
  static const struct {
    uint64_t min, max;
    bool requests, copies;
  } cases[] = {
    { 1, 1, false, false },
    { UINT64_MAX, 1, true, false }, /* more than the most is the most */
    { 1, UINT64_MAX, true, false },
    { 0, UINT64_MAX, true, true }, /* none is the most */
    { 1, UINT64_MAX, false, true },
  };
  struct array_info info;
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  set_unclean (2);
  mark (2, 5);
  legs_store ();
  legs_options.sync_rate_min = cases[_i].min;
  legs_options.sync_rate_max = cases[_i].max;
  array = legs_open ();
  if (cases[_i].requests)
    ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_int_eq (array_activate (array), 0);
  while (cases[_i].copies
         && (array_get_info (array, &info), info.chunks_needed > 0))
    take_a_nap ();
  while (!logged ("resync: 1 of 128 chunks"))
    take_a_nap ();
  legs_close (array);
  ck_assert_int_eq (logged ("not marked clean"), !cases[_i].copies);
  legs_load ();
  ck_assert_int_eq (image_bit (&images[0], 5), !cases[_i].copies);
}
END_TEST

/* ---- the watch thread ---- */

extern struct device *__real_aio_stuck (struct aio *aio);
extern struct device *__wrap_aio_stuck (struct aio *aio);

static struct device *stuck;
static struct rt_atomic looks;

struct device *
__wrap_aio_stuck (struct aio *aio)
{
  struct device *device = __atomic_load_n (&stuck, __ATOMIC_SEQ_CST);

  rt_atomic_add (&looks, 1);
  return device ? device : __real_aio_stuck (aio);
}

/* A leg that holds a thread in io_submit fails, and that is on record though
 * nobody asks for anything.  The third leg is not there at all.
 */
START_TEST (test_stuck)
{
  struct array *array;
  uint64_t after;

  legs_make (3, 0, 0);
  legs_store ();
  ck_assert_int_eq (unlink (leg_path (2)), 0);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = legs_activate ();
  ck_assert_uint_eq (in_sync (array), 2);
  __atomic_store_n (&stuck, array->legs[0].device, __ATOMIC_SEQ_CST);
  do {
    take_a_nap ();
    leg_load (1, &images[1]);
  } while (images[1].superblock.dev_roles[0] != ROLE_FAULTY);
  /* It is not failed again, nor is the last leg when it is stuck. */
  after = rt_atomic_get (&looks) + 2;
  while (rt_atomic_get (&looks) < after)
    take_a_nap ();
  __atomic_store_n (&stuck, array->legs[1].device, __ATOMIC_SEQ_CST);
  after = rt_atomic_get (&looks) + 2;
  while (rt_atomic_get (&looks) < after)
    take_a_nap ();
  ck_assert (!leg_in_sync (array, 0) && leg_in_sync (array, 1));
  __atomic_store_n (&stuck, NULL, __ATOMIC_SEQ_CST);
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  legs_close (array);
}
END_TEST

/* ---- main ---- */

int
main (void)
{
  Suite *suite = suite_create ("corners");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_test (tc, test_debug);
  tcase_add_loop_test (tc, test_number_of_legs, 0, 2);
  tcase_add_test (tc, test_leg_in_use);
  tcase_add_test (tc, test_activate_again);
  tcase_add_loop_test (tc, test_refused, 0, 8);
  tcase_add_test (tc, test_spare_called_faulty);
  tcase_add_loop_test (tc, test_laggard_fails, 0, 3);
  tcase_add_loop_test (tc, test_pages_apart, 0, 2);
  tcase_add_loop_test (tc, test_source_hangs, 0, 2);
  tcase_add_loop_test (tc, test_rate, 0, 5);
  tcase_add_test (tc, test_stuck);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
