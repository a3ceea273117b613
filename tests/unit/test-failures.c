/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Legs that fail or hang while the array is used, and the end of its use. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "legs.h"

#define E LEGS_EVENTS

/* Of a leg that is to pass. */
#define SHORT_TIMEOUT (RT_SECOND * 3 / 10)

/* Between two looks at something that another thread does. */
static void
take_a_nap (void)
{
  usleep (1000);
}

/* ---- threads that hooks stop ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static unsigned gate_arrived; /* operations that came to the gate */
static bool gate_open;

static void
gate_pass (void)
{
  pthread_mutex_lock (&gate_lock);
  gate_arrived++;
  pthread_cond_broadcast (&gate_cond);
  while (!gate_open)
    pthread_cond_wait (&gate_cond, &gate_lock);
  pthread_mutex_unlock (&gate_lock);
}

static void
gate_wait (void)
{
  pthread_mutex_lock (&gate_lock);
  while (gate_arrived == 0)
    pthread_cond_wait (&gate_cond, &gate_lock);
  pthread_mutex_unlock (&gate_lock);
}

static void
gate_release (void)
{
  pthread_mutex_lock (&gate_lock);
  gate_open = true;
  pthread_cond_broadcast (&gate_cond);
  pthread_mutex_unlock (&gate_lock);
}

/* A request in a thread of its own. */
struct request {
  pthread_t thread;
  struct array *array;
  uint64_t offset;
  uint8_t byte;
  int err;
};

static void *
request_read (void *opaque)
{
  struct request *request = opaque;

  request->err = block_read (request->array, &request->byte, request->offset);
  return NULL;
}

static void *
request_write (void *opaque)
{
  struct request *request = opaque;

  request->err =
      block_write (request->array, request->byte, request->offset, 0);
  return NULL;
}

static void
request_start (struct request *request, struct array *array, uint8_t byte,
               uint64_t offset)
{
  request->array = array;
  request->byte = byte;
  request->offset = offset;
  ck_assert_int_eq (
      pthread_create (&request->thread, NULL, request_write, request), 0);
}

/* ---- A5, A7: events_cleared ---- */

#define LARGE_SIZE  (192 * MiB)
#define LARGE_CHUNK 4096

/* A chunk whose bit is not in the page of the header. */
#define FAR (160 * MiB)

/* The bitmap's header could not be written: the next pass writes it before
 * it clears a bit.  On an array of one leg, which stays whole.
 */
static unsigned cleared_too_early;

static enum verdict
check_cleared (unsigned leg, enum op op, const struct io *io)
{
  static struct image now;

  leg_load (leg, &now);
  /* Pages behind the first go out with bits cleared. */
  if (op == OP_WRITE_BITMAP && io->offset >= 8192 + BITMAP_PAGE_BYTES
      && image_bit (&now, FAR / LARGE_CHUNK)
      && now.bitmap.events_cleared < now.superblock.events)
    cleared_too_early++;
  return TAP_PASS;
}

START_TEST (test_events_cleared_not_written)
{
  struct array *array;
  uint64_t cleared;

  legs_make (1, LARGE_SIZE, LARGE_CHUNK);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, FAR, 0), 0);
  legs_load ();
  cleared = images[0].bitmap.events_cleared;
  ck_assert_uint_lt (cleared, images[0].superblock.events);
  ck_assert (image_bit (&images[0], FAR / LARGE_CHUNK));

  tap_fail (0, OP_WRITE_BITMAP);
  ck_assert_int_eq (clear_pass (array), -EIO);
  tap_fail (0, 0);
  legs_load ();
  ck_assert_uint_eq (images[0].bitmap.events_cleared, cleared);
  ck_assert (image_bit (&images[0], FAR / LARGE_CHUNK));

  cleared_too_early = 0;
  tap_hook (check_cleared);
  ck_assert_int_eq (clear_pass (array), 0);
  tap_hook (NULL);
  ck_assert_uint_eq (cleared_too_early, 0);
  legs_load ();
  ck_assert (!image_bit (&images[0], FAR / LARGE_CHUNK));
  ck_assert_uint_eq (images[0].bitmap.events_cleared,
                     images[0].superblock.events);
  legs_close (array);
}
END_TEST

/* A leg fails in the flush of the clear pass, or in what follows it. */
START_TEST (test_clear_pass_fails_leg)
{
  const unsigned leg = (unsigned)_i & 1, other = !leg;
  struct array *array;
  uint64_t cleared;

  legs_make (2, 0, 0);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  legs_load ();
  cleared = images[other].bitmap.events_cleared;
  ck_assert_uint_lt (cleared, images[other].superblock.events);
  tap_fail (leg, OP_FLUSH);
  (void)clear_pass (array);
  ck_assert (!leg_in_sync (array, leg));
  ck_assert (leg_in_sync (array, other));
  /* Nor does it by a later pass, nor at the stop. */
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  ck_assert_int_eq (clear_pass (array), 0);
  legs_close (array);
  legs_load ();
  ck_assert_uint_eq (images[other].bitmap.events_cleared, cleared);
  ck_assert (image_bit (&images[other], 0));
  ck_assert_uint_ge (images[other].superblock.events,
                     images[leg].superblock.events + 2);
  ck_assert_uint_eq (images[other].superblock.dev_roles[leg], ROLE_FAULTY);
}
END_TEST

/* ---- A6: a resync write that hangs on the last leg ---- */

static struct array *resyncing;

/* The write of the resync is under way on leg 1, and now leg 0 fails. */
static enum verdict
hang_resync (unsigned leg, enum op op, const struct io *io)
{
  bool mine;

  (void)io;
  if (leg != 1 || op != OP_WRITE_DATA)
    return TAP_PASS;
  pthread_mutex_lock (&gate_lock);
  mine = gate_arrived++ == 0;
  pthread_cond_broadcast (&gate_cond);
  pthread_mutex_unlock (&gate_lock);
  if (!mine)
    return TAP_PASS;
  rt_mutex_lock (&resyncing->lock);
  ck_assert (leg_fail (resyncing, &resyncing->legs[0], "testing", -EIO));
  rt_mutex_unlock (&resyncing->lock);
  return TAP_HOLD;
}

START_TEST (test_resync_hangs_on_last_leg)
{
  struct array *array;
  uint8_t byte;
  int err;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 2);
  }
  legs_store ();
  leg_set_data (0, 2 * LEGS_CHUNK, 5);
  leg_set_data (1, 2 * LEGS_CHUNK, 6);
  legs_options.leg_timeout = SHORT_TIMEOUT;
  resyncing = array = legs_open ();
  tap_hook (hang_resync);
  ck_assert_int_eq (array_activate (array), 0);
  gate_wait ();
  /* Waits for the range, which then is not unlocked but dead. */
  ck_assert_int_eq (block_write (array, 7, 2 * LEGS_CHUNK, 0), -EIO);
  ck_assert_uint_eq (gate_arrived, 1); /* nothing was sent there */
  ck_assert (!leg_in_sync (array, 0) && leg_in_sync (array, 1));
  ck_assert_int_eq (block_write (array, 7, 2 * LEGS_CHUNK + BLOCK, 0), -EIO);
  ck_assert_int_eq (block_read (array, &byte, 2 * LEGS_CHUNK), -EIO);
  ck_assert_uint_eq (gate_arrived, 1);

  /* The leg lets go: the watch thread notices. */
  tap_release (1);
  while ((err = block_write (array, 7, 2 * LEGS_CHUNK, ARRAY_FUA)) == -EIO)
    take_a_nap ();
  ck_assert_int_eq (err, 0);
  ck_assert_int_eq (block_read (array, &byte, 2 * LEGS_CHUNK), 0);
  ck_assert_uint_eq (byte, 7);
  ck_assert_uint_eq (leg_data (1, 2 * LEGS_CHUNK), 7);
  tap_hook (NULL);
  legs_close (array);
  legs_load ();
  ck_assert_uint_eq (images[1].superblock.dev_roles[0], ROLE_FAULTY);
}
END_TEST

/* A leg fails while an edge is read from it: what was read is not used, since
 * the leg may have lost what another one has.
 */
START_TEST (test_read_of_failing_leg)
{
  struct request request = { .offset = 0 };
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  leg_set_data (0, 0, 0x10); /* what is left after the loss */
  leg_set_data (1, 0, 0x11);
  request.array = array = legs_activate ();
  tap_hold (0, OP_READ_DATA);
  ck_assert_int_eq (
      pthread_create (&request.thread, NULL, request_read, &request), 0);
  while (tap_count (0, OP_READ_DATA) == 0)
    take_a_nap ();
  ck_assert_int_eq (block_write (array, 1, LEGS_CHUNK, 0), 0);
  tap_fail (0, OP_FLUSH);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert (!leg_in_sync (array, 0));
  tap_release (0);
  pthread_join (request.thread, NULL);
  ck_assert_int_eq (request.err, 0);
  ck_assert_uint_eq (request.byte, 0x11);
  legs_close (array);
}
END_TEST

static void *
request_flush (void *opaque)
{
  struct request *request = opaque;

  request->err = array_flush (request->array);
  return NULL;
}

static void *
request_read_byte (void *opaque)
{
  struct request *request = opaque;

  request->err =
      array_read (request->array, &request->byte, 1, request->offset);
  return NULL;
}

static void *
request_write_byte (void *opaque)
{
  struct request *request = opaque;

  request->err =
      array_write (request->array, &request->byte, 1, request->offset, 0);
  return NULL;
}

/* A flush of leg 0 fails, and with it goes what its cache held, while leg 1
 * still flushes: nobody knows yet.
 */
static void
begin_bad_flush (struct request *flush)
{
  tap_fail (0, OP_FLUSH);
  tap_hold (1, OP_FLUSH);
  tap_reset ();
  ck_assert_int_eq (pthread_create (&flush->thread, NULL, request_flush, flush),
                    0);
  while (tap_count (0, OP_FLUSH) == 0 || tap_count (1, OP_FLUSH) == 0)
    take_a_nap ();
}

static void
end_bad_flush (struct request *flush)
{
  for (unsigned i = 0; i < 20; ++i)
    take_a_nap ();
  ck_assert_uint_eq (tap_count (1, OP_WRITE_DATA), 0);
  tap_release (1);
  pthread_join (flush->thread, NULL);
  ck_assert_int_eq (flush->err, 0);
  ck_assert (!leg_in_sync (flush->array, 0));
}

/* Resync must not copy what is left on leg 0 over what leg 1 has flushed. */
START_TEST (test_resync_beside_bad_flush)
{
  struct request flush = { .offset = 0 };

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 0);
  }
  legs_store ();
  leg_set_data (0, 0, 0x10);
  leg_set_data (1, 0, 0x11);
  tap_hold (0, OP_READ_DATA);
  flush.array = legs_activate ();
  while (tap_count (0, OP_READ_DATA) == 0)
    take_a_nap ();
  ck_assert_int_eq (block_write (flush.array, 1, 2 * LEGS_CHUNK, 0), 0);
  begin_bad_flush (&flush);
  tap_release (0);
  end_bad_flush (&flush);
  ck_assert_uint_eq (leg_data (1, 0), 0x11);
  legs_close (flush.array);
}
END_TEST

/* Nor may the rest of a block, read from leg 0, be written to leg 1. */
START_TEST (test_edge_beside_bad_flush)
{
  struct request flush = { .offset = 0 };
  struct request write = { .byte = 0x11, .offset = 100 };

  legs_make (2, 0, 0);
  legs_store ();
  leg_set_data (0, 0, 0x10);
  leg_set_data (1, 0, 0x11);
  flush.array = write.array = legs_activate ();
  ck_assert_int_eq (block_write (write.array, 1, BLOCK, 0), 0);
  begin_bad_flush (&flush);
  ck_assert_int_eq (
      pthread_create (&write.thread, NULL, request_write_byte, &write), 0);
  end_bad_flush (&flush);
  pthread_join (write.thread, NULL);
  ck_assert_int_eq (write.err, 0);
  ck_assert_uint_eq (leg_data (1, 0), 0x11);
  legs_close (flush.array);
}
END_TEST

static unsigned edges_read;

static enum verdict
hold_second_edge (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (leg == 0 && op == OP_READ_DATA
      && __atomic_add_fetch (&edges_read, 1, __ATOMIC_SEQ_CST) == 2)
    return TAP_HOLD;
  return TAP_PASS;
}

/* The source of an unequal chunk fails after the first edge of a write was read
 * from it: others have read the other leg since, so that edge is read again.
 */
START_TEST (test_edges_of_lost_source)
{
  struct request write = { .byte = 0x22, .offset = 100 };
  uint8_t block[BLOCK], seen;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 0);
  }
  legs_options.sync_rate_max = legs_options.sync_rate_min = 1; /* never */
  legs_store ();
  leg_set_data (0, 0, 0x10);
  leg_set_data (1, 0, 0x11);
  write.array = legs_activate ();
  edges_read = 0;
  tap_hook (hold_second_edge);
  ck_assert_int_eq (
      pthread_create (&write.thread, NULL, request_write_byte, &write), 0);
  while (__atomic_load_n (&edges_read, __ATOMIC_SEQ_CST) < 2)
    take_a_nap ();
  tap_fail (0, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (write.array, 1, LEGS_CHUNK, 0), 0);
  ck_assert (!leg_in_sync (write.array, 0));
  ck_assert_int_eq (array_read (write.array, &seen, 1, 0), 0);
  ck_assert_uint_eq (seen, 0x11);
  tap_release (0);
  pthread_join (write.thread, NULL);
  ck_assert_int_eq (write.err, 0);
  ck_assert_int_eq (array_read (write.array, block, sizeof block, 0), 0);
  ck_assert_uint_eq (block[0], 0x11);
  ck_assert_uint_eq (block[100], 0x22);
  ck_assert_uint_eq (block[101], 0x11);
  legs_close (write.array);
}
END_TEST

/* The same when the write is under way already: a reader waits for it. */
START_TEST (test_reader_of_lost_source)
{
  struct request write = { .byte = 0x22, .offset = 100 };
  struct request first = { .offset = 0 };
  uint8_t block[BLOCK];

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 0);
  }
  legs_options.sync_rate_max = legs_options.sync_rate_min = 1; /* never */
  legs_store ();
  leg_set_data (0, 0, 0x10);
  leg_set_data (1, 0, 0x11);
  first.array = write.array = legs_activate ();
  tap_hold (1, OP_WRITE_DATA);
  tap_reset ();
  ck_assert_int_eq (
      pthread_create (&write.thread, NULL, request_write_byte, &write), 0);
  while (tap_count (1, OP_WRITE_DATA) == 0)
    take_a_nap ();
  tap_fail (0, OP_FLUSH);
  ck_assert_int_eq (array_flush (write.array), 0);
  ck_assert (!leg_in_sync (write.array, 0));
  ck_assert_int_eq (
      pthread_create (&first.thread, NULL, request_read_byte, &first), 0);
  for (unsigned i = 0; i < 20; ++i)
    take_a_nap ();
  tap_release (1);
  pthread_join (first.thread, NULL);
  pthread_join (write.thread, NULL);
  ck_assert_int_eq (first.err, 0);
  ck_assert_int_eq (write.err, 0);
  ck_assert_int_eq (array_read (write.array, block, sizeof block, 0), 0);
  ck_assert_uint_eq (block[100], 0x22);
  ck_assert_uint_eq (block[0], first.byte);
  legs_close (write.array);
}
END_TEST

/* Resync has read the source and writes its bytes to the other leg, when a
 * client finds that the source cannot be read: it waits for resync and sees
 * those bytes, since it will see them from then on.  The chunk by itself, and
 * in a group of two.
 */
START_TEST (test_source_unreadable_while_copying)
{
  struct request request = { .offset = 0 };
  struct array *array;
  uint8_t again;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 0);
    if (_i == 1)
      image_set_bit (&images[i], 1);
  }
  legs_store ();
  leg_set_data (0, 0, 0x10);
  leg_set_data (1, 0, 0x11);
  tap_hold (1, OP_WRITE_DATA);
  request.array = array = legs_activate ();
  while (tap_count (1, OP_WRITE_DATA) == 0)
    take_a_nap ();
  tap_fail (0, OP_READ_DATA);
  tap_reset ();
  ck_assert_int_eq (
      pthread_create (&request.thread, NULL, request_read, &request), 0);
  while (tap_count (0, OP_READ_DATA) == 0)
    take_a_nap ();
  take_a_nap ();
  tap_release (1);
  pthread_join (request.thread, NULL);
  ck_assert_int_eq (request.err, 0);
  ck_assert_int_eq (block_read (array, &again, 0), 0);
  ck_assert_uint_eq (request.byte, again);
  ck_assert_uint_eq (again, 0x10);
  tap_fail (0, 0);
  legs_close (array);
}
END_TEST

/* The same for a client's write. */
START_TEST (test_write_hangs_on_last_leg)
{
  struct array *array;
  uint8_t byte;
  int err;

  legs_make (2, 0, 0);
  images[0].superblock.dev_roles[1] = ROLE_FAULTY;
  legs_store ();
  legs_options.nlegs = 1;
  legs_options.leg_timeout = SHORT_TIMEOUT;
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  tap_hold (0, OP_WRITE_DATA);
  tap_reset ();
  ck_assert_int_eq (block_write (array, 2, 0, 0), -EIO);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_DATA), 1);
  ck_assert_int_eq (block_write (array, 3, 0, 0), -EIO);
  ck_assert_int_eq (block_read (array, &byte, 0), -EIO);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_DATA | OP_READ_DATA), 1);
  tap_release (0);
  while ((err = block_write (array, 4, 0, ARRAY_FUA)) == -EIO)
    take_a_nap ();
  ck_assert_int_eq (err, 0);
  ck_assert_uint_eq (leg_data (0, 0), 4);
  legs_close (array);
}
END_TEST

/* ---- A10: all legs fail ---- */

/* _i % 4: what fails; _i / 4: how many of the legs, from slot 0 on, are
 * write-mostly.
 */
START_TEST (test_all_fail)
{
  static const enum op ops[] = { OP_WRITE_DATA, OP_FLUSH, OP_WRITE_BITMAP,
                                 OP_WRITE_SUPERBLOCK };
  const enum op op = ops[_i % 4];
  const unsigned mostly = (unsigned)_i / 4, source = mostly % 3;
  struct array *array;
  int err;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < mostly; ++i)
    images[i].superblock.devflags |= DEV_FLAG_WRITE_MOSTLY;
  legs_store ();
  array = legs_activate ();
  if (op != OP_WRITE_SUPERBLOCK)
    ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  for (unsigned i = 0; i < 3; ++i)
    tap_fail (i, op);
  if (op == OP_FLUSH)
    err = array_flush (array);
  else
    err = block_write (array, 2, op == OP_WRITE_DATA ? 0 : LEGS_CHUNK, 0);
  ck_assert_int_eq (err, -EIO);
  ck_assert_uint_eq (in_sync (array), 1);
  ck_assert_msg (leg_in_sync (array, source), "leg %u did not stay", source);
  for (unsigned i = 0; i < 3; ++i)
    tap_fail (i, 0);
  legs_close (array);
}
END_TEST

/* All but one: that one stays, and the request is good. */
START_TEST (test_all_but_one_fail)
{
  static const enum op ops[] = { OP_WRITE_DATA, OP_FLUSH, OP_WRITE_BITMAP,
                                 OP_WRITE_SUPERBLOCK };
  const enum op op = ops[_i % 4];
  const unsigned good = (unsigned)_i / 4;
  struct array *array;

  legs_make (3, 0, 0);
  legs_store ();
  array = legs_activate ();
  for (unsigned i = 0; i < 3; ++i)
    tap_fail (i, i == good ? 0 : op);
  ck_assert_int_eq (block_write (array, 2, 0, ARRAY_FUA), 0);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert_uint_eq (in_sync (array), 1);
  ck_assert (leg_in_sync (array, good));
  ck_assert_uint_eq (leg_data (good, 0), 2);
  legs_load ();
  for (unsigned i = 0; i < 3; ++i)
    if (i != good) {
      ck_assert_uint_ge (images[good].superblock.events,
                         images[i].superblock.events + 2);
      ck_assert_uint_eq (images[good].superblock.dev_roles[i], ROLE_FAULTY);
    }
  legs_close (array);
}
END_TEST

/* ---- I14: one number, one contents ---- */

/* What superblocks with each number say; all that are ever submitted. */
#define NUMBERS 32

static pthread_mutex_t numbers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  bool used;
  uint8_t roles[2 * LEGS];
  uint64_t resync_offset;
} numbers[NUMBERS];
static unsigned numbers_twice, numbers_jumped;
static uint64_t carried[LEGS]; /* the highest that each leg was given */

static struct array *updating;
static unsigned fail_at;   /* at that operation on metadata ... */
static unsigned fail_leg;  /* ... this leg fails */
static unsigned fail_next; /* another one at the next, LEGS: none */
static unsigned operations;

static void
note_number (unsigned leg, const struct io *io)
{
  const uint64_t events = get_le64 (io->data + 200);
  const uint64_t resync_offset = get_le64 (io->data + 208);
  const uint8_t *roles = io->data + 256;

  ck_assert_uint_lt (events - E, NUMBERS);
  pthread_mutex_lock (&numbers_lock);
  if (!numbers[events - E].used) {
    numbers[events - E].used = true;
    memcpy (numbers[events - E].roles, roles, 2 * LEGS);
    numbers[events - E].resync_offset = resync_offset;
  }
  else if (memcmp (numbers[events - E].roles, roles, 2 * LEGS) != 0
           || numbers[events - E].resync_offset != resync_offset)
    numbers_twice++;
  carried[leg] = events;
  pthread_mutex_unlock (&numbers_lock);
}

/* With the array's lock held: no leg in use is left behind by more than one. */
static void
check_jump (void)
{
  uint64_t low = UINT64_MAX, high = 0;

  for (unsigned i = 0; i < LEGS; ++i)
    if (updating->legs[i].state == LEG_IN_SYNC) {
      low = min_u64 (low, carried[i]);
      high = max_u64 (high, carried[i]);
    }
  numbers_jumped += high > low + 1;
}

static void
fail_now (unsigned leg)
{
  rt_mutex_lock (&updating->lock);
  if (updating->legs[leg].state == LEG_IN_SYNC)
    (void)leg_fail (updating, &updating->legs[leg], "testing", -EIO);
  rt_mutex_unlock (&updating->lock);
}

static enum verdict
fail_in_update (unsigned leg, enum op op, const struct io *io)
{
  if (!(op & (OP_WRITE_SUPERBLOCK | OP_WRITE_BITMAP)))
    return TAP_PASS;
  if (op == OP_WRITE_SUPERBLOCK)
    note_number (leg, io);
  rt_mutex_lock (&updating->lock);
  check_jump ();
  rt_mutex_unlock (&updating->lock);
  pthread_mutex_lock (&numbers_lock);
  operations++;
  pthread_mutex_unlock (&numbers_lock);
  if (operations == fail_at)
    fail_now (fail_leg);
  if (operations == fail_at + 1 && fail_next < LEGS)
    fail_now (fail_next);
  return TAP_PASS;
}

/* A leg fails at any moment of an update, and maybe a second one just after:
 * no number stands for two contents, and the record leads by two.
 */
START_TEST (test_number_used_once)
{
  const unsigned kinds = LEGS * (LEGS + 1);
  struct array *array;
  bool lost[LEGS];

  fail_at = 1 + (unsigned)_i / kinds;
  fail_leg = (unsigned)_i % LEGS;
  fail_next = (unsigned)_i % kinds / LEGS;
  legs_make (3, 0, 0);
  legs_store ();
  updating = array = legs_activate ();
  memset (numbers, 0, sizeof numbers);
  numbers_twice = numbers_jumped = operations = 0;
  for (unsigned i = 0; i < LEGS; ++i)
    carried[i] = E;
  tap_hook (fail_in_update);
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  for (unsigned i = 0; i < LEGS; ++i)
    lost[i] = !leg_in_sync (array, i);
  tap_hook (NULL);
  legs_kill (array);
  ck_assert_uint_eq (numbers_twice, 0);
  ck_assert_uint_eq (numbers_jumped, 0);
  legs_load ();
  for (unsigned i = 0; i < LEGS; ++i)
    for (unsigned k = 0; k < LEGS && !lost[i]; ++k)
      if (lost[k]) {
        ck_assert_uint_ge (images[i].superblock.events,
                           images[k].superblock.events + 2);
        ck_assert_uint_eq (images[i].superblock.dev_roles[k], ROLE_FAULTY);
      }
}
END_TEST

/* The last leg takes no superblock for a while: what has been begun is tried
 * again as it was.
 */
START_TEST (test_number_of_last_leg)
{
  struct array *array;
  uint64_t header;

  legs_make (1, 0, 0);
  legs_store ();
  updating = array = legs_activate ();
  memset (numbers, 0, sizeof numbers);
  numbers_twice = operations = fail_at = 0;
  fail_next = LEGS;
  tap_hook (fail_in_update);
  if (_i == 1) {
    /* Active, and going clean fails; then going active again. */
    ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
    ck_assert_int_eq (clear_pass (array), 0);
  }
  tap_fail (0, OP_WRITE_SUPERBLOCK);
  if (_i == 1) {
    rt_mutex_lock (&array->lock);
    ck_assert_int_eq (array_make_clean (array), -EIO);
    rt_mutex_unlock (&array->lock);
  }
  for (unsigned i = 0; i < 10; ++i)
    ck_assert_int_eq (block_write (array, 2, 0, 0), -EIO);
  legs_load ();
  header = images[0].bitmap.events;
  ck_assert_uint_le (header, images[0].superblock.events + 3);
  tap_fail (0, 0);
  ck_assert_int_eq (block_write (array, 3, 0, 0), 0);
  ck_assert_uint_eq (numbers_twice, 0);
  legs_load ();
  ck_assert (images[0].superblock.resync_offset == 0);
  tap_hook (NULL);
  legs_close (array);
}
END_TEST

/* ---- A11: flush after the stop ---- */

START_TEST (test_flush_after_stop)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  /* Unequal legs: the stop cannot mark the array clean, and flushes not. */
  tap_fail (0, OP_WRITE_DATA);
  tap_fail (1, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 2, 0, 0), -EIO);
  tap_fail (0, 0);
  tap_fail (1, 0);
  array_stop (array);
  ck_assert (logged ("stopped, but not marked clean"));
  tap_reset ();
  if (_i == 0) {
    ck_assert_int_eq (array_flush (array), 0);
    ck_assert_uint_eq (tap_count (0, OP_FLUSH), 1);
  }
  else {
    tap_fail (0, OP_FLUSH);
    ck_assert_int_eq (array_flush (array), -EIO);
    tap_fail (0, 0);
    /* What was lost will not come back. */
    ck_assert_int_eq (array_flush (array), -EIO);
  }
  ck_assert_int_eq (block_write (array, 3, 0, 0), -EROFS);
  array_close (array);
}
END_TEST

/* ---- B2: operations that were given up ---- */

/* One block, by itself, as the watchdog's probe: given up by its time-out. */
static void
give_up (struct array *array, unsigned leg, enum io_type type)
{
  const struct leg *l = &array->legs[leg];
  struct buffer *buffer = buffer_new_zero (BLOCK);

  ck_assert_ptr_nonnull (buffer);
  tap_hold (leg, type == IO_READ ? OP_READ_DATA : OP_WRITE_DATA);
  ck_assert_int_eq (
      device_run (l->device, type, 0, l->data_offset + LEGS_SIZE - BLOCK, BLOCK,
                  buffer),
      -ETIMEDOUT);
  tap_hold (leg, 0);
  buffer_unref (buffer);
}

START_TEST (test_read_given_up)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  legs_options.leg_timeout = SHORT_TIMEOUT;
  array = legs_activate ();
  give_up (array, (unsigned)_i, IO_READ);
  ck_assert_uint_eq (device_abandoned (array->legs[_i].device), 1);
  ck_assert_int_eq (block_write (array, 1, LEGS_CHUNK, ARRAY_FUA), 0);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert_int_eq (clear_pass (array), 0);
  ck_assert_uint_eq (in_sync (array), 2);
  tap_release ((unsigned)_i);
  legs_close (array);
}
END_TEST

/* Nothing may be written that the lost write could undo, so its leg fails,
 * and the request does not: _i / 2: which comes next.
 */
START_TEST (test_write_given_up)
{
  const unsigned leg = (unsigned)_i & 1, other = !leg;
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  legs_options.leg_timeout = SHORT_TIMEOUT;
  array = legs_activate ();
  if (_i / 2 == 1) /* active already: a page of the bitmap is next */
    ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  give_up (array, leg, IO_WRITE);
  ck_assert_uint_eq (device_lost_writes (array->legs[leg].device), 1);
  tap_reset ();
  ck_assert_int_eq (block_write (array, 1, LEGS_CHUNK, ARRAY_FUA), 0);
  ck_assert (!leg_in_sync (array, leg));
  ck_assert (leg_in_sync (array, other));
  ck_assert_uint_eq (tap_count (leg, OP_WRITES), 0);
  legs_load ();
  ck_assert_uint_ge (images[other].superblock.events,
                     images[leg].superblock.events + 2);
  ck_assert_uint_eq (images[other].superblock.dev_roles[leg], ROLE_FAULTY);
  tap_release (leg);
  legs_close (array);
}
END_TEST

/* On the last leg it fails until the leg has let go. */
START_TEST (test_write_given_up_last)
{
  struct array *array;

  legs_make (2, 0, 0);
  images[0].superblock.dev_roles[1] = ROLE_FAULTY;
  legs_store ();
  legs_options.nlegs = 1;
  legs_options.leg_timeout = SHORT_TIMEOUT;
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  give_up (array, 0, IO_WRITE);
  tap_reset ();
  ck_assert_int_eq (block_write (array, 1, LEGS_CHUNK, 0), -EIO);
  ck_assert_uint_eq (tap_count (0, OP_WRITES), 0);
  tap_release (0);
  ck_assert_int_eq (block_write (array, 1, LEGS_CHUNK, 0), 0);
  legs_close (array);
}
END_TEST

/* ---- B3: requests during the stop ---- */

static enum verdict
stop_at_gate (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (leg == 0 && op == OP_WRITE_DATA)
    gate_pass ();
  return TAP_PASS;
}

static void *
stop_main (void *opaque)
{
  array_stop (opaque);
  return NULL;
}

/* A write is under way, a second one waits for its range, a third comes
 * after the stop has begun.
 */
START_TEST (test_stop_with_writes)
{
  struct request first, second;
  pthread_t stop;
  struct array *array;
  bool ready = false;

  legs_make (2, 0, 0);
  legs_store ();
  array = legs_activate ();
  tap_hook (stop_at_gate);
  request_start (&first, array, 1, 0);
  gate_wait ();
  request_start (&second, array, 2, 0);
  while (!ready) {
    take_a_nap ();
    rt_mutex_lock (&array->lock);
    ready = array->ranges.waiting == 1;
    rt_mutex_unlock (&array->lock);
  }
  ck_assert_int_eq (pthread_create (&stop, NULL, stop_main, array), 0);
  for (ready = false; !ready;) {
    take_a_nap ();
    rt_mutex_lock (&array->lock);
    ready = array->stopping;
    rt_mutex_unlock (&array->lock);
  }
  ck_assert_int_eq (block_write (array, 3, LEGS_CHUNK, 0), -EROFS);
  gate_release ();
  pthread_join (first.thread, NULL);
  pthread_join (second.thread, NULL);
  pthread_join (stop, NULL);
  ck_assert_int_eq (first.err, 0);
  ck_assert_int_eq (second.err, -EROFS);
  ck_assert_int_eq (block_write (array, 3, 0, 0), -EROFS);
  array_close (array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert (images[i].superblock.resync_offset == RESYNC_CLEAN);
    ck_assert (!image_bit (&images[i], 0));
    ck_assert_uint_eq (leg_data (i, 0), 1);
  }
}
END_TEST

#define WRITERS 4

struct writer {
  pthread_t thread;
  struct array *array;
  unsigned number;
  unsigned good, wrong;
};

static struct rt_atomic written;

static void *
writer_main (void *opaque)
{
  struct writer *w = opaque;
  unsigned random = w->number;
  uint8_t byte;
  int err = 0;

  while (err == 0) {
    random = random * 1103515245 + 12345;
    err = block_write (w->array, (uint8_t)random,
                       (random >> 8) % (LEGS_SIZE / BLOCK) * BLOCK,
                       random & 0x40 ? ARRAY_FUA : 0);
    if (err == 0)
      rt_atomic_add (&written, 1);
    if (array_flush (w->array) != 0 || block_read (w->array, &byte, 0) != 0)
      w->wrong++;
  }
  if (err != -EROFS)
    w->wrong++;
  return NULL;
}

START_TEST (test_stop_with_writers)
{
  struct writer writers[WRITERS];
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  array = legs_activate ();
  rt_atomic_set (&written, 0);
  for (unsigned i = 0; i < WRITERS; ++i) {
    writers[i] = (struct writer){ .array = array, .number = i + 1 };
    ck_assert_int_eq (
        pthread_create (&writers[i].thread, NULL, writer_main, &writers[i]), 0);
  }
  while (rt_atomic_get (&written) < 200)
    take_a_nap ();
  array_stop (array);
  for (unsigned i = 0; i < WRITERS; ++i) {
    pthread_join (writers[i].thread, NULL);
    ck_assert_uint_eq (writers[i].wrong, 0);
  }
  array_close (array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert (images[i].superblock.resync_offset == RESYNC_CLEAN);
    for (uint64_t chunk = 0; chunk < LEGS_SIZE / LEGS_CHUNK; ++chunk)
      ck_assert (!image_bit (&images[i], chunk));
  }
  for (uint64_t at = 0; at < LEGS_SIZE; at += BLOCK)
    ck_assert_uint_eq (leg_data (0, at), leg_data (1, at));
}
END_TEST

/* ---- main ---- */

static void
setup (void)
{
  gate_arrived = 0;
  gate_open = false;
}

int
main (void)
{
  Suite *suite = suite_create ("failures");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_checked_fixture (tc, setup, NULL);
  tcase_add_test (tc, test_events_cleared_not_written);
  tcase_add_loop_test (tc, test_clear_pass_fails_leg, 0, 2);
  tcase_add_test (tc, test_resync_hangs_on_last_leg);
  tcase_add_loop_test (tc, test_source_unreadable_while_copying, 0, 2);
  tcase_add_test (tc, test_read_of_failing_leg);
  tcase_add_test (tc, test_edges_of_lost_source);
  tcase_add_test (tc, test_reader_of_lost_source);
  tcase_add_test (tc, test_resync_beside_bad_flush);
  tcase_add_test (tc, test_edge_beside_bad_flush);
  tcase_add_test (tc, test_write_hangs_on_last_leg);
  tcase_add_loop_test (tc, test_all_fail, 0, 16);
  tcase_add_loop_test (tc, test_all_but_one_fail, 0, 12);
  tcase_add_loop_test (tc, test_number_used_once, 0, 10 * LEGS * (LEGS + 1));
  tcase_add_loop_test (tc, test_number_of_last_leg, 0, 2);
  tcase_add_loop_test (tc, test_flush_after_stop, 0, 2);
  tcase_add_loop_test (tc, test_read_given_up, 0, 2);
  tcase_add_loop_test (tc, test_write_given_up, 0, 4);
  tcase_add_test (tc, test_write_given_up_last);
  tcase_add_test (tc, test_stop_with_writes);
  tcase_add_test (tc, test_stop_with_writers);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
