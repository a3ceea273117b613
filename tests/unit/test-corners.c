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

static void
await_needed (struct array *array, uint64_t n)
{
  uint64_t left;

  for (;;) {
    rt_mutex_lock (&array->lock);
    left = bitmap_needed (array->bitmap);
    rt_mutex_unlock (&array->lock);
    if (left == n)
      return;
    take_a_nap ();
  }
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
  await_needed (array, 0);
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

/* ---- copies of the bitmap ---- */

/* Without a look at every byte of the legs, which are large. */
static struct array *
open_large (void)
{
  struct array *array;

  legs_store ();
  ck_assert_int_eq (array_open (&legs_options, &legs_log, &array), 0);
  ck_assert_int_eq (array_start (array), 0);
  ck_assert_uint_eq (in_sync (array), legs_options.nlegs);
  return array;
}

static bool
bits_are_equal (void)
{
  return memcmp (images[0].bits + BITMAP_SUPERBLOCK_BYTES,
                 images[1].bits + BITMAP_SUPERBLOCK_BYTES,
                 LEGS_BITS - BITMAP_SUPERBLOCK_BYTES)
         == 0;
}

/* Copies that differ in one page, or in none, are merged and made equal.  The
 * page is all zeroes in the other copy or not; _i & 1: which copy has more.
 */
START_TEST (test_one_page_differs)
{
  static const uint64_t where[] = { 40001, 90000, 0, 30719 };
  const uint64_t common[] = { 0, 40000, 100000 };
  const unsigned more = (unsigned)_i & 1;
  const uint64_t extra = where[_i / 2];
  struct array *array;

  legs_make (2, 400 * MiB, BLOCK);
  set_unclean (2);
  for (unsigned i = 0; i < 3; ++i)
    mark (2, common[i]);
  image_set_bit (&images[more], extra);
  array = open_large ();
  ck_assert_int_eq (array->bitmap_rewrite, extra != 0); /* they have that */
  ck_assert_uint_eq (needed (array), extra != 0 ? 4 : 3);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, extra), extra);
  for (unsigned i = 0; i < 3; ++i)
    ck_assert_uint_eq (bitmap_next_needed (array->bitmap, common[i]),
                       common[i]);
  ck_assert_int_eq (array_activate (array), 0);
  legs_kill (array);
  legs_load ();
  ck_assert (image_bit (&images[!more], extra));
  for (unsigned i = 0; i < 3; ++i)
    ck_assert (image_bit (&images[0], common[i]));
  ck_assert (bits_are_equal ());
}
END_TEST

/* Behind the first of the pieces of 1 MiB in which copies are read. */
#define LATE_CHUNK ((uint64_t)9000000)

static unsigned breaks_off; /* the leg that cannot be read there */

static uint64_t
late_byte (void)
{
  const struct superblock *sb = &images[0].superblock;

  return (uint64_t)((int64_t)sb->super_offset + sb->bitmap_offset) * SECTOR_SIZE
         + bitmap_bit_byte (LATE_CHUNK);
}

static enum verdict
fail_second_piece (unsigned leg, enum op op, const struct io *io)
{
  (void)op;
  return leg == breaks_off && io->type == IO_READ && io->offset <= late_byte ()
                 && io->offset + io->length > late_byte ()
             ? TAP_FAIL
             : TAP_PASS;
}

static uint8_t
late_bits (unsigned leg)
{
  FILE *file = fopen (leg_path (leg), "r");
  int byte;

  ck_assert_ptr_nonnull (file);
  ck_assert_int_eq (fseeko (file, (off_t)late_byte (), SEEK_SET), 0);
  byte = fgetc (file);
  ck_assert_int_ne (byte, EOF);
  ck_assert_int_eq (fclose (file), 0);
  return (uint8_t)byte;
}

/* A copy that cannot be read to its end: what the other one has counts, there
 * and before, and all of it is written anew.
 */
START_TEST (test_copy_breaks_off)
{
  const uint8_t bit = bitmap_bit_mask (LATE_CHUNK);
  struct array *array;

  breaks_off = (unsigned)_i;
  legs_make (2, 36 * GiB, BLOCK);
  set_unclean (2);
  mark (2, 7);
  mark (2, 20);
  leg_put (!breaks_off, late_byte (), &bit, 1);
  tap_hook (fail_second_piece);
  array = open_large ();
  ck_assert (logged ("reading the bitmap"));
  ck_assert_uint_eq (needed (array), 3);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, 0), 7);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, 8), 20);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, 21), LATE_CHUNK);
  tap_hook (NULL);
  ck_assert_int_eq (array_activate (array), 0);
  legs_kill (array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert (image_bit (&images[i], 7) && image_bit (&images[i], 20));
    ck_assert_uint_eq (late_bits (i), bit);
    ck_assert_uint_eq (images[i].bitmap.state, 0);
  }
}
END_TEST

/* ---- resync, several chunks at once ---- */

/* The legs differ in one block in the middle of two chunks, the last one of the
 * array among them: those are copied, and no others.
 */
START_TEST (test_group_differs_inside)
{
  static const uint64_t marked[] = { 3, 4, 5, 6, 127 };
  const uint64_t middle = LEGS_CHUNK / 2 + BLOCK;
  struct array *array;

  legs_make (3, 0, 0);
  set_unclean (3);
  for (unsigned i = 0; i < 5; ++i)
    mark (3, marked[i]);
  legs_store ();
  for (unsigned i = 0; i < 3; ++i) {
    leg_set_data (i, 3 * LEGS_CHUNK, 9);
    leg_set_data (i, 4 * LEGS_CHUNK + middle, (uint8_t)(i == 1 ? 2 : 1));
    leg_set_data (i, 127 * LEGS_CHUNK + middle, (uint8_t)(i == 2 ? 4 : 3));
  }
  array = legs_activate ();
  await_needed (array, 0);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_DATA), 0);
  for (unsigned i = 0; i < 3; ++i) {
    ck_assert_uint_eq (tap_count (i, OP_READ_DATA), 2); /* 3 to 6, and 127 */
    ck_assert_uint_eq (tap_count (i, OP_WRITE_DATA), i > 0);
    ck_assert_uint_eq (leg_data (i, 3 * LEGS_CHUNK), 9);
    ck_assert_uint_eq (leg_data (i, 4 * LEGS_CHUNK + middle), 1);
    ck_assert_uint_eq (leg_data (i, 4 * LEGS_CHUNK), 0);
    ck_assert_uint_eq (leg_data (i, 127 * LEGS_CHUNK + middle), 3);
  }
  rt_mutex_lock (&array->lock);
  ck_assert_uint_eq (array->resync_bytes, 2 * LEGS_CHUNK);
  rt_mutex_unlock (&array->lock);
  legs_close (array);
}
END_TEST

/* One leg cannot be written: it leaves, the others are made equal, and the bits
 * stay for its return.
 */
START_TEST (test_group_leg_fails)
{
  struct array *array;

  legs_make (3, 0, 0);
  set_unclean (3);
  for (uint64_t chunk = 10; chunk < 14; ++chunk)
    mark (3, chunk);
  legs_store ();
  for (uint64_t chunk = 10; chunk < 14; ++chunk)
    for (unsigned i = 0; i < 3; ++i)
      leg_set_data (i, chunk * LEGS_CHUNK, (uint8_t)(chunk + 20 * i));
  tap_fail (1, OP_WRITE_DATA);
  array = legs_activate ();
  await_needed (array, 0);
  ck_assert (leg_in_sync (array, 0) && !leg_in_sync (array, 1)
             && leg_in_sync (array, 2));
  ck_assert (logged ("resync: writing"));
  for (uint64_t chunk = 10; chunk < 14; ++chunk) {
    ck_assert_uint_eq (leg_data (0, chunk * LEGS_CHUNK), chunk);
    ck_assert_uint_eq (leg_data (2, chunk * LEGS_CHUNK), chunk);
  }
  (void)clear_pass (array);
  legs_close (array);
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.dev_roles[1], ROLE_FAULTY);
  ck_assert_uint_eq (images[2].superblock.dev_roles[1], ROLE_FAULTY);
  for (uint64_t chunk = 10; chunk < 14; ++chunk)
    ck_assert (image_bit (&images[0], chunk) && image_bit (&images[2], chunk));
}
END_TEST

struct late_write {
  struct array *array;
  int err;
};

static void *
write_to_chunk_10 (void *opaque)
{
  struct late_write *w = opaque;

  w->err = block_write (w->array, 7, 10 * LEGS_CHUNK, 0);
  return NULL;
}

/* A client's write is under way where resync comes: that chunk, and what is
 * behind it, still need resync until the write has ended; and then what was
 * written is what all legs have.
 */
START_TEST (test_group_beside_write)
{
  struct late_write w;
  pthread_t thread;

  legs_make (2, 0, 0);
  set_unclean (2);
  for (uint64_t chunk = 0; chunk < 12; ++chunk)
    mark (2, chunk);
  legs_store ();
  for (unsigned i = 0; i < 2; ++i) {
    leg_set_data (i, 10 * LEGS_CHUNK, (uint8_t)(1 + i));
    leg_set_data (i, 10 * LEGS_CHUNK + BLOCK, (uint8_t)(3 + i));
    leg_set_data (i, 11 * LEGS_CHUNK, (uint8_t)(5 + i));
  }
  tap_hold (0, OP_READ_DATA); /* of the first eight chunks */
  tap_hold (1, OP_WRITE_DATA);
  w.array = legs_activate ();
  while (tap_count (0, OP_READ_DATA) < 1)
    take_a_nap ();
  ck_assert_int_eq (pthread_create (&thread, NULL, write_to_chunk_10, &w), 0);
  while (tap_count (1, OP_WRITE_DATA) < 1)
    take_a_nap ();
  tap_release (0);
  await_needed (w.array, 2);
  ck_assert_uint_eq (leg_data (1, 10 * LEGS_CHUNK + BLOCK), 4);
  tap_release (1);
  pthread_join (thread, NULL);
  ck_assert_int_eq (w.err, 0);
  await_needed (w.array, 0);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (leg_data (i, 10 * LEGS_CHUNK), 7);
    ck_assert_uint_eq (leg_data (i, 10 * LEGS_CHUNK + BLOCK), 3);
    ck_assert_uint_eq (leg_data (i, 11 * LEGS_CHUNK), 5);
  }
  legs_close (w.array);
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
  tcase_add_loop_test (tc, test_one_page_differs, 0, 8);
  tcase_add_loop_test (tc, test_copy_breaks_off, 0, 2);
  tcase_add_test (tc, test_group_differs_inside);
  tcase_add_test (tc, test_group_leg_fails);
  tcase_add_test (tc, test_group_beside_write);
  tcase_add_loop_test (tc, test_source_hangs, 0, 2);
  tcase_add_loop_test (tc, test_rate, 0, 5);
  tcase_add_test (tc, test_stuck);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
