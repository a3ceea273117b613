/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Requests in rare company: reads whose source changes or fails, beside writes
 * that are in flight or fail; writes that end late, or never.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
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

/* ---- requests in threads ---- */

struct request {
  pthread_t thread;
  struct array *array;
  uint64_t offset;
  uint32_t length;
  uint8_t *data;
  int err;
};

static void *
request_read (void *opaque)
{
  struct request *r = opaque;

  r->err = array_read (r->array, r->data, r->length, r->offset);
  return NULL;
}

static void *
request_write (void *opaque)
{
  struct request *r = opaque;

  r->err = array_write (r->array, r->data, r->length, r->offset, 0);
  return NULL;
}

static void
start (struct request *r, void *(*fn) (void *opaque))
{
  ck_assert_int_eq (pthread_create (&r->thread, NULL, fn, r), 0);
}

static void
await (unsigned leg, unsigned ops, unsigned n)
{
  while (tap_count (leg, ops) < n)
    take_a_nap ();
}

/* ---- reading ---- */

/* As many chunks as are remembered may have another source, and one more is
 * an error; not the first leg's bytes, though it can be read again.
 */
START_TEST (test_overrides_full)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  set_unclean (2);
  for (uint64_t chunk = 0; chunk <= SOURCE_OVERRIDES; ++chunk) {
    mark (2, chunk);
    leg_set_data (0, chunk * LEGS_CHUNK, 1);
    leg_set_data (1, chunk * LEGS_CHUNK, 2);
  }
  legs_store ();
  array = legs_open ();
  tap_fail (0, OP_READ_DATA);
  for (uint64_t chunk = 0; chunk < SOURCE_OVERRIDES; ++chunk) {
    ck_assert_int_eq (block_read (array, &byte, chunk * LEGS_CHUNK), 0);
    ck_assert_uint_eq (byte, 2);
  }
  ck_assert_int_eq (
      block_read (array, &byte, (uint64_t)SOURCE_OVERRIDES * LEGS_CHUNK), -EIO);
  tap_fail (0, 0);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 2);
  ck_assert_int_eq (
      block_read (array, &byte, (uint64_t)SOURCE_OVERRIDES * LEGS_CHUNK), 0);
  ck_assert_uint_eq (byte, 1);
  legs_close (array);
}
END_TEST

/* The source that a chunk was given fails too: the next is the usual one. */
START_TEST (test_override_fails)
{
  struct array *array;
  uint8_t byte;

  legs_make (3, 0, 0);
  set_unclean (3);
  mark (3, 0);
  for (unsigned i = 0; i < 3; ++i)
    leg_set_data (i, 0, (uint8_t)(i + 1));
  legs_store ();
  array = legs_open ();
  tap_fail (0, OP_READ_DATA);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 2);
  tap_fail (0, 0);
  rt_mutex_lock (&array->lock);
  ck_assert (leg_fail (array, &array->legs[1], "testing", -EIO));
  rt_mutex_unlock (&array->lock);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 1);
  legs_close (array);
}
END_TEST

/* Bit n of _i: leg n is write-mostly.  A read beside a write in flight goes
 * to one fixed leg, the lowest that is not write-mostly, if there is one.
 */
START_TEST (test_fixed_leg)
{
  static uint8_t bytes[BLOCK];
  const unsigned fixed = _i == 1;
  struct request write = { .length = BLOCK, .data = bytes };
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i)
    if (_i >> i & 1)
      images[i].superblock.devflags |= DEV_FLAG_WRITE_MOSTLY;
  legs_store ();
  write.array = array = legs_activate ();
  tap_hold (0, OP_WRITE_DATA);
  tap_hold (1, OP_WRITE_DATA);
  start (&write, request_write);
  await (0, OP_WRITE_DATA, 1);
  await (1, OP_WRITE_DATA, 1);
  tap_reset ();
  for (unsigned i = 0; i < 5; ++i)
    ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (tap_count (fixed, OP_READ_DATA), 5);
  ck_assert_uint_eq (tap_count (!fixed, OP_READ_DATA), 0);
  tap_release (0);
  tap_release (1);
  pthread_join (write.thread, NULL);
  ck_assert_int_eq (write.err, 0);
  legs_close (array);
}
END_TEST

/* A write in flight fails and leaves two chunks unequal while a read of both
 * goes on, which fails as well: it is begun again, chunk by chunk.
 */
static bool fail_now;

static enum verdict
hold_or_fail (unsigned leg, enum op op, const struct io *io)
{
  (void)leg;
  (void)io;
  if (op == OP_WRITE_DATA)
    while (!__atomic_load_n (&fail_now, __ATOMIC_SEQ_CST))
      take_a_nap ();
  return op == OP_WRITE_DATA ? TAP_FAIL : TAP_PASS;
}

static struct array *reading;
static unsigned spanning;

static enum verdict
fail_after_write (unsigned leg, enum op op, const struct io *io)
{
  enum verdict verdict = hold_or_fail (leg, op, io);

  if (op != OP_READ_DATA || io->length <= BLOCK)
    return verdict;
  __atomic_add_fetch (&spanning, 1, __ATOMIC_SEQ_CST);
  for (bool ready = false; !ready; take_a_nap ()) {
    rt_mutex_lock (&reading->lock);
    ready = bitmap_needed (reading->bitmap) == 2;
    rt_mutex_unlock (&reading->lock);
  }
  return TAP_FAIL;
}

START_TEST (test_read_spans_needed)
{
  static uint8_t written[2 * BLOCK], read[2 * BLOCK];
  struct request w = { .length = 2 * BLOCK, .data = written };
  struct request r = { .length = 2 * BLOCK, .data = read };

  legs_make (2, 0, 0);
  legs_store ();
  for (unsigned i = 0; i < 2; ++i) {
    leg_set_data (i, LEGS_CHUNK - BLOCK, 5);
    leg_set_data (i, LEGS_CHUNK, 6);
  }
  w.array = r.array = reading = legs_activate ();
  w.offset = r.offset = LEGS_CHUNK - BLOCK;
  tap_hook (fail_after_write);
  start (&w, request_write);
  await (0, OP_WRITE_DATA, 1);
  start (&r, request_read);
  while (__atomic_load_n (&spanning, __ATOMIC_SEQ_CST) == 0)
    take_a_nap ();
  __atomic_store_n (&fail_now, true, __ATOMIC_SEQ_CST);
  pthread_join (w.thread, NULL);
  pthread_join (r.thread, NULL);
  ck_assert_int_eq (w.err, -EIO);
  ck_assert_int_eq (r.err, 0);
  ck_assert_uint_eq (spanning, 1);
  for (unsigned i = 0; i < 2 * BLOCK; ++i)
    ck_assert_uint_eq (read[i], i < BLOCK ? 5 : 6);
  tap_hook (NULL);
  legs_close (reading);
}
END_TEST

/* ---- writing ---- */

/* The second piece is not tried when the first has failed. */
START_TEST (test_first_piece_fails)
{
  const uint32_t length = ARRAY_PIECE_BYTES + MiB;
  uint8_t *data = calloc (1, length);
  struct array *array;

  ck_assert_ptr_nonnull (data);
  legs_make (2, 40 * MiB, MiB);
  legs_store ();
  array = legs_activate ();
  tap_fail (0, OP_WRITE_DATA);
  tap_fail (1, OP_WRITE_DATA);
  if (_i == 0)
    ck_assert_int_eq (array_write (array, data, length, 0, 0), -EIO);
  else
    ck_assert_int_eq (array_zero (array, length, 0, 0), -EIO);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_DATA), 1);
  ck_assert_uint_eq (bitmap_marked (array->bitmap), 32);
  ck_assert_uint_eq (bitmap_needed (array->bitmap), 32);
  free (data);
  legs_close (array);
}
END_TEST

/* A write that was given up has happened before its request is answered: its
 * range is not dead.
 */
static void
release_last (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  if (strstr (line, "last leg in sync and stays"))
    tap_release (0);
}

START_TEST (test_write_late_in_time)
{
  static const struct log releasing = { .sink = release_last };
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  legs_store ();
  legs_options.leg_timeout = SHORT_TIMEOUT;
  ck_assert_int_eq (array_open (&legs_options, &releasing, &array), 0);
  ck_assert_int_eq (array_start (array), 0);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  tap_hold (0, OP_WRITE_DATA);
  tap_fail (1, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 2, 0, 0), -EIO);
  ck_assert_uint_eq (device_lost_writes (array->legs[0].device), 0);
  ck_assert (leg_in_sync (array, 0) && !leg_in_sync (array, 1));
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 2);
  ck_assert_int_eq (block_write (array, 3, 0, ARRAY_FUA), 0);
  ck_assert_uint_eq (leg_data (0, 0), 3);
  legs_close (array);
}
END_TEST

/* Other chunks are left unequal while one is resynced: all three are marked
 * in the end.
 */
START_TEST (test_unequal_beside_resync)
{
  struct array *array;

  legs_make (2, 0, 0);
  set_unclean (2);
  mark (2, 5);
  legs_store ();
  tap_hold (0, OP_READ_DATA);
  array = legs_activate ();
  await (0, OP_READ_DATA, 1);
  tap_fail (0, OP_WRITE_DATA);
  tap_fail (1, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 2, 0, 0), -EIO);
  ck_assert_int_eq (block_write (array, 2, 9 * LEGS_CHUNK, 0), -EIO);
  rt_mutex_lock (&array->lock);
  ck_assert_uint_eq (array->resync_chunk, 5);
  ck_assert (!array->resync_again);
  rt_mutex_unlock (&array->lock);
  tap_release (0);
  tap_fail (0, 0);
  legs_close (array);
  legs_load ();
  ck_assert (image_bit (&images[0], 0));
  ck_assert (image_bit (&images[0], 5));
  ck_assert (image_bit (&images[0], 9));
  ck_assert_uint_eq (images[0].superblock.resync_offset, 0);
}
END_TEST

/* ---- the stop ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;

static enum verdict
stop_at_gate (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (leg == 0 && op == OP_WRITE_DATA) {
    pthread_mutex_lock (&gate_lock);
    pthread_mutex_unlock (&gate_lock);
  }
  return TAP_PASS;
}

/* A write that is stuck in the kernel: the stop does not wait for ever, and
 * does not mark the array clean.
 */
START_TEST (test_stop_with_stuck_write)
{
  static uint8_t bytes[BLOCK] = { 1 };
  struct request write = { .length = BLOCK, .data = bytes };

  legs_make (2, 0, 0);
  legs_store ();
  legs_options.leg_timeout = SHORT_TIMEOUT;
  write.array = legs_activate ();
  tap_hook (stop_at_gate);
  pthread_mutex_lock (&gate_lock);
  start (&write, request_write);
  await (0, OP_WRITE_DATA, 1);
  array_stop (write.array);
  ck_assert (logged ("not marked clean, since writes are in flight"));
  pthread_mutex_unlock (&gate_lock);
  pthread_join (write.thread, NULL);
  ck_assert_int_eq (write.err, 0);
  array_close (write.array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (images[i].superblock.resync_offset, 0);
    ck_assert (image_bit (&images[i], 0));
  }
}
END_TEST

/* ---- main ---- */

int
main (void)
{
  Suite *suite = suite_create ("requests");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_test (tc, test_overrides_full);
  tcase_add_test (tc, test_override_fails);
  tcase_add_loop_test (tc, test_fixed_leg, 0, 4);
  tcase_add_test (tc, test_read_spans_needed);
  tcase_add_loop_test (tc, test_first_piece_fails, 0, 2);
  tcase_add_test (tc, test_write_late_in_time);
  tcase_add_test (tc, test_unequal_beside_resync);
  tcase_add_test (tc, test_stop_with_stuck_write);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
