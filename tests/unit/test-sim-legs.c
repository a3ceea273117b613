/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The simulator's disks as devices: batches of operations in worlds, with
 * whatever schedule, end as those of device/aio.c do.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/aio.h"
#include "sim/chance.h"
#include "sim/disk_io.h"
#include "sim/legs.h"
#include "sim/trace.h"

#define LEGS  2
#define SEEDS 300

static unsigned lines;

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)line;
  lines += level == LOG_LEVEL_ERROR;
}

static const struct log the_log = { .sink = sink };

static struct {
  struct world *world;
  struct disk *disks[LEGS];
  struct aio *aio;
  struct device *devices[LEGS];
  unsigned submitted, done;
  bool ended;
} now;

/* ---- who looks on ---- */

static void
saw_submit (void *opaque, unsigned leg, const struct io *io)
{
  ck_assert_ptr_eq (opaque, &now);
  ck_assert_ptr_eq (io->device, now.devices[leg]);
  now.submitted++;
}

static void
saw_done (void *opaque, unsigned leg, const struct io *io, int result)
{
  ck_assert_ptr_eq (opaque, &now);
  ck_assert_ptr_eq (io->device, now.devices[leg]);
  ck_assert_int_le (result, 0);
  now.done++;
}

static const struct legs_watcher watcher = { .submit = saw_submit,
                                             .done = saw_done,
                                             .opaque = &now };

/* ---- worlds ---- */

static void
begin (uint64_t seed, bool reaped)
{
  static const enum world_policy policies[] = { WORLD_RANDOM, WORLD_PRIORITY,
                                                WORLD_SERIAL };
  struct disk_limits limits = { .logical_block = 512, .reaped = reaped };
  struct world_options options = { .policy = policies[seed % 3],
                                   .change_points = 3,
                                   .change_steps = 100,
                                   .switch_per_1000 = 500 };

  memset (&now, 0, sizeof now);
  chance_seed (seed);
  now.world = world_new (&options);
  for (unsigned i = 0; i < LEGS; ++i)
    now.disks[i] = disk_new (i, image_new (48 * 1024), &limits);
  legs_attach (now.world, now.disks, LEGS, &watcher);
}

static void
run (void (*fn) (void *opaque))
{
  fiber_new (now.world, "test", fn, NULL, false);
  ck_assert_int_eq (world_run (now.world, 100000), WORLD_ENDED);
  ck_assert (now.ended);
}

static void
finish (void)
{
  world_free (now.world);
  for (unsigned i = 0; i < LEGS; ++i)
    disk_free (now.disks[i]);
}

/* In a fiber. */
static void
open_all (void)
{
  now.aio = aio_new (&the_log);
  for (unsigned i = 0; i < LEGS; ++i) {
    ck_assert_int_eq (
        aio_open (now.aio, legs_path (i), 0, RT_SECOND, &now.devices[i], NULL),
        0);
    now.devices[i]->leg = (int)i;
  }
}

static void
close_all (void)
{
  for (unsigned i = 0; i < LEGS; ++i)
    device_close (now.devices[i]);
  aio_free (now.aio);
  now.ended = true;
}

/* A batch: the type of operation on all legs. */
static struct io_batch *
submit_all (enum io_type type, unsigned flags, struct buffer **buffers)
{
  struct io_batch *batch = io_batch_new (LEGS);

  for (unsigned i = 0; i < LEGS; ++i)
    io_batch_add (batch, now.devices[i], type, flags, 4096, 1024,
                  buffers ? buffers[i] : NULL, 0);
  io_batch_submit (batch);
  return batch;
}

static void
wait_for (struct io_batch *batch, int expected)
{
  io_batch_wait (batch);
  for (unsigned i = 0; i < LEGS; ++i)
    ck_assert_int_eq (io_batch_get (batch, i)->result, expected);
  io_batch_unref (batch);
}

static void
write_and_read (int number)
{
  struct buffer *out = buffer_new (1024), *in[LEGS];
  struct buffer *outs[LEGS] = { out, out };

  memset (out->data, number, 1024);
  for (unsigned i = 0; i < LEGS; ++i)
    in[i] = buffer_new_zero (1024);
  wait_for (submit_all (IO_WRITE, 0, outs), 0);
  wait_for (submit_all (IO_FLUSH, 0, NULL), 0);
  wait_for (submit_all (IO_READ, 0, in), 0);
  for (unsigned i = 0; i < LEGS; ++i) {
    ck_assert (memcmp (in[i]->data, out->data, 1024) == 0);
    buffer_unref (in[i]);
  }
  wait_for (submit_all (IO_ZERO, IO_FUA, NULL), 0);
  buffer_unref (out);
}

/* ---- tests ---- */

static void
usual (void *opaque)
{
  (void)opaque;
  open_all ();
  write_and_read (1);
  ck_assert_int_eq (aio_start (now.aio), 0);
  write_and_read (2);
  write_and_read (3);
  aio_poll (now.aio);
  ck_assert_uint_eq (legs_in_flight (now.world), 0);
  close_all ();
}

START_TEST (operations_end)
{
  for (uint64_t seed = 0; seed < SEEDS; ++seed) {
    begin (seed, _i != 0);
    run (usual);
    ck_assert_uint_eq (now.submitted, 24);
    ck_assert_uint_eq (now.done, 24);
    for (unsigned i = 0; i < LEGS; ++i)
      ck_assert (!disk_was_faulty (now.disks[i]));
    ck_assert_uint_eq (arena_in_use (world_arena (now.world)), 0);
    finish ();
  }
}
END_TEST

static void
open_twice (void *opaque)
{
  struct device *device;

  (void)opaque;
  open_all ();
  lines = 0;
  ck_assert_int_eq (aio_open (now.aio, "/leg/3", 0, 1, &device, NULL), -ENOENT);
  ck_assert_int_eq (
      aio_open (now.aio, "/leg/0", AIO_READ_ONLY, 1, &device, NULL), -EBUSY);
  ck_assert_uint_eq (lines, 2);
  ck_assert_uint_eq (now.devices[0]->limits.size, 48 * 1024);
  device_close (now.devices[0]);
  ck_assert_int_eq (
      aio_open (now.aio, "/leg/0", AIO_READ_ONLY, 1, &now.devices[0], NULL), 0);
  ck_assert (now.devices[0]->limits.read_only);
  close_all ();
}

START_TEST (open_finds_and_locks)
{
  begin (1, true);
  run (open_twice);
  finish ();
}
END_TEST

/* Leg 1 hangs, is given up, and comes back when somebody polls. */
static void
hang (void *opaque)
{
  struct buffer *buffer = buffer_new (1024);
  struct buffer *buffers[LEGS] = { buffer, buffer };
  struct io_batch *batch;

  (void)opaque;
  memset (buffer->data, 7, 1024);
  open_all ();
  aio_start (now.aio);
  disk_set_state (now.disks[1], DISK_HANGS);
  batch = submit_all (IO_WRITE, 0, buffers);
  buffer_unref (buffer);
  io_batch_wait (batch);
  ck_assert_int_eq (io_batch_get (batch, 0)->result, 0);
  ck_assert_int_eq (io_batch_get (batch, 1)->result, -ETIMEDOUT);
  io_batch_unref (batch);
  ck_assert_uint_eq (device_lost_writes (now.devices[1]), 1);
  ck_assert (disk_was_faulty (now.disks[1]));
  ck_assert (!disk_was_faulty (now.disks[0]));

  fiber_sleep (choose (CHANCE_PLAN, 3 * RT_SECOND));
  disk_set_state (now.disks[1], DISK_GOOD);
  while (device_abandoned (now.devices[1]) > 0) {
    aio_poll (now.aio);
    fiber_sleep (RT_SECOND / 10);
  }
  ck_assert_uint_eq (legs_in_flight (now.world), 0);
  close_all ();
}

START_TEST (hanging_operations_come_back)
{
  for (uint64_t seed = 0; seed < SEEDS; ++seed) {
    begin (seed, _i != 0);
    run (hang);
    ck_assert_uint_eq (arena_in_use (world_arena (now.world)), 0);
    finish ();
  }
}
END_TEST

static void
repair (void *opaque)
{
  (void)opaque;
  fiber_sleep (RT_SECOND + RT_SECOND / 2);
  disk_set_state (now.disks[1], DISK_GOOD);
  fiber_sleep (RT_SECOND);
  disk_set_state (now.disks[0], DISK_GOOD);
}

/* The write is given up, and ends while its batch still waits for the zero.
 */
static void
end_before_given_up (void *opaque)
{
  struct buffer *buffer = buffer_new_zero (1024);
  struct io_batch *batch = io_batch_new (2);
  struct io *write, *zero;

  (void)opaque;
  open_all ();
  aio_start (now.aio);
  now.devices[0]->timeout = 100 * RT_SECOND;
  for (unsigned i = 0; i < LEGS; ++i)
    disk_set_state (now.disks[i], DISK_HANGS);
  fiber_new (now.world, "repair", repair, NULL, false);
  write = io_batch_add (batch, now.devices[1], IO_WRITE, 0, 0, 1024, buffer, 0);
  zero = io_batch_add (batch, now.devices[0], IO_ZERO, 0, 0, 512, NULL, 0);
  io_batch_submit (batch);
  io_batch_wait (batch);
  ck_assert_int_eq (write->result, -ETIMEDOUT);
  ck_assert_int_ne (zero->result, -ETIMEDOUT);
  io_batch_unref (batch);
  buffer_unref (buffer);
  for (unsigned i = 0; i < 3; ++i) {
    aio_poll (now.aio);
    fiber_sleep (RT_SECOND);
  }
  ck_assert_uint_eq (device_abandoned (now.devices[1]), 0);
  close_all ();
}

START_TEST (orphans_are_adopted)
{
  for (uint64_t seed = 0; seed < SEEDS; ++seed) {
    begin (seed, _i != 0);
    run (end_before_given_up);
    ck_assert_uint_eq (arena_in_use (world_arena (now.world)), 0);
    finish ();
  }
}
END_TEST

/* What is in flight at a crash is dropped, and so is what never ends. */
static void
crash (void *opaque)
{
  struct buffer *buffer = buffer_new (1024);
  struct buffer *buffers[LEGS] = { buffer, buffer };

  (void)opaque;
  memset (buffer->data, 7, 1024);
  open_all ();
  aio_start (now.aio);
  disk_set_state (now.disks[1], DISK_HANGS);
  for (;;) {
    struct io_batch *batch = submit_all (IO_WRITE, 0, buffers);

    io_batch_wait (batch);
    io_batch_unref (batch);
  }
}

START_TEST (crashes_drop_what_is_in_flight)
{
  unsigned flying = 0;

  for (uint64_t seed = 0; seed < SEEDS; ++seed) {
    struct disk *disk;

    begin (seed, _i != 0);
    fiber_new (now.world, "test", crash, NULL, false);
    ck_assert_int_eq (world_run (now.world, choose (CHANCE_PLAN, 40) + 1),
                      WORLD_ENDLESS);
    flying += legs_in_flight (now.world) > 0;
    disk = disk_after_crash (now.disks[1], LOSE_SECTORS);
    world_free (now.world);
    disk_set_state (now.disks[0], DISK_FAILED);
    for (unsigned i = 0; i < LEGS; ++i)
      disk_free (now.disks[i]);

    /* And the next world finds everything at its place. */
    begin (seed + SEEDS, _i != 0);
    disk_free (now.disks[1]);
    now.disks[1] = disk;
    disk = disk_new (1, image_copy (disk_durable (disk)),
                     disk_limits (now.disks[0]));
    disk_free (now.disks[1]);
    now.disks[1] = disk;
    legs_attach (now.world, now.disks, LEGS, &watcher);
    run (usual);
    finish ();
  }
  ck_assert_uint_gt (flying, SEEDS / 10);
}
END_TEST

/* The same seed, the same hash. */
START_TEST (worlds_repeat_themselves)
{
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint64_t first = 0;

    for (unsigned n = 0; n < 2; ++n) {
      trace_hash = 0;
      begin (seed, _i != 0);
      run (hang);
      finish ();
      ck_assert (n == 0 || trace_hash == first);
      first = trace_hash;
    }
  }
}
END_TEST

static Suite *
suite (void)
{
  Suite *s = suite_create ("sim-legs");
  TCase *t = tcase_create ("legs");

  /* 0: fibers of the devices end operations, 1: they are reaped. */
  tcase_add_loop_test (t, operations_end, 0, 2);
  tcase_add_test (t, open_finds_and_locks);
  tcase_add_loop_test (t, hanging_operations_come_back, 0, 2);
  tcase_add_loop_test (t, orphans_are_adopted, 0, 2);
  tcase_add_loop_test (t, crashes_drop_what_is_in_flight, 0, 2);
  tcase_add_loop_test (t, worlds_repeat_themselves, 0, 2);
  suite_add_tcase (s, t);
  return s;
}

int
main (void)
{
  SRunner *runner = srunner_create (suite ());
  int failed;

  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
