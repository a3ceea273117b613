/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Batches, on disks that do as they are told: the disk "here" ends its
 * operations inside submit, "there" in another thread or when the test says
 * so, and "reaped" in the waiting thread.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "device/device.h"

#define SOON (20 * RT_SECOND / 1000)
#define LONG (60 * RT_SECOND)

/* ---- a log that remembers ---- */

static struct {
  pthread_mutex_t lock;
  unsigned n;
  char lines[64][160];
} said = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int tracing = 1;

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  pthread_mutex_lock (&said.lock);
  if (said.n < 64)
    snprintf (said.lines[said.n++], sizeof said.lines[0], "%s", line);
  pthread_mutex_unlock (&said.lock);
}

static struct log the_log = { .sink = sink, .debug = { [LOG_IO] = &tracing } };

/* ---- disks ---- */

struct disk {
  struct device device;
  struct io *held[16];   /* operations that were submitted */
  unsigned nheld, calls; /* calls of submit */
  unsigned reaps, give_ups;
  unsigned idle_reaps; /* so many calls of reap end nothing */
  bool hang;           /* reap ends nothing at all */
  int result;
  bool closed;
};

static void
hold (struct io **ios, unsigned n)
{
  for (unsigned i = 0; i < n; ++i) {
    struct disk *disk = (struct disk *)ios[i]->device;

    ck_assert_uint_lt (disk->nheld, 16);
    disk->held[disk->nheld++] = ios[i];
  }
  ((struct disk *)ios[0]->device)->calls++;
}

static void
here_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  (void)batch;
  hold (ios, n);
  for (unsigned i = 0; i < n; ++i) {
    ios[i]->mine = true;
    io_done (ios[i], ((struct disk *)ios[i]->device)->result);
  }
}

static void
there_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  (void)batch;
  hold (ios, n);
}

static void
reaped_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  (void)batch;
  hold (ios, n);
  for (unsigned i = 0; i < n; ++i)
    ios[i]->mine = true;
}

static void
reaped_reap (struct io_batch *batch, uint64_t deadline)
{
  bool ended = false;

  for (unsigned i = 0; i < io_batch_count (batch) && !ended; ++i) {
    struct io *io = io_batch_get (batch, i);
    struct disk *disk = (struct disk *)io->device;

    if (!io->mine || io->state != IO_STARTED)
      continue;
    disk->reaps++;
    if (disk->idle_reaps > 0) {
      disk->idle_reaps--;
      return;
    }
    if (!disk->hang) {
      io_done (io, disk->result);
      ended = true;
    }
  }
  if (!ended)
    while (rt_now () < deadline)
      ;
}

static void
reaped_give_up (struct io_batch *batch)
{
  ((struct disk *)io_batch_get (batch, 0)->device)->give_ups++;
}

static void
disk_close (struct device *device)
{
  ((struct disk *)device)->closed = true;
}

static const struct device_ops here_ops = { .kind = "here",
                                            .submit = here_submit,
                                            .close = disk_close };
static const struct device_ops there_ops = { .kind = "there",
                                             .submit = there_submit,
                                             .close = disk_close };
static const struct device_ops reaped_ops = { .kind = "reaped",
                                              .submit = reaped_submit,
                                              .reap = reaped_reap,
                                              .give_up = reaped_give_up,
                                              .close = disk_close };

static void
disk_init (struct disk *disk, const struct device_ops *ops, int leg,
           uint64_t timeout)
{
  memset (disk, 0, sizeof *disk);
  disk->device.ops = ops;
  disk->device.name = (char *)"disk";
  disk->device.limits.size = 4 * GiB;
  disk->device.limits.logical_block = 512;
  disk->device.timeout = timeout;
  disk->device.log = &the_log;
  disk->device.leg = leg;
}

static struct buffer *
filled (size_t size, int byte)
{
  struct buffer *buffer = buffer_new (size);

  ck_assert_ptr_nonnull (buffer);
  memset (buffer->data, byte, size);
  return buffer;
}

/* ---- tests ---- */

START_TEST (one_submit_per_kind)
{
  struct disk a, b, c;
  struct buffer *buffer = filled (4096, 1);
  struct io_batch *batch = io_batch_new (8);
  struct io *io[5];

  disk_init (&a, &here_ops, 0, LONG);
  disk_init (&b, &reaped_ops, 1, LONG);
  disk_init (&c, &here_ops, 2, LONG);
  c.result = -ENOSPC;
  b.idle_reaps = 3;
  io[0] = io_batch_add (batch, &a.device, IO_WRITE, 0, 0, 4096, buffer, 0);
  io[1] = io_batch_add (batch, &b.device, IO_WRITE, 0, 0, 4096, buffer, 0);
  io[2] = io_batch_add (batch, &c.device, IO_WRITE, 0, 0, 2048, buffer, 2048);
  io[3] = io_batch_add (batch, &b.device, IO_FLUSH, 0, 7, 9, NULL, 0);
  io[4] = io_batch_add (batch, &a.device, IO_ZERO, 0, 512, 512, NULL, 0);
  buffer_unref (buffer);
  ck_assert_ptr_eq (io[2]->data, io[0]->data + 2048);
  ck_assert_uint_eq (io[3]->offset, 0);
  ck_assert_uint_eq (io[3]->length, 0);

  ck_assert_int_eq (io_batch_run (batch), -ENOSPC);
  ck_assert_uint_eq (a.calls + c.calls, 1);
  ck_assert_uint_eq (b.calls, 1);
  ck_assert_uint_eq (a.nheld, 2);
  ck_assert_uint_eq (b.nheld, 2);
  ck_assert_uint_eq (c.nheld, 1);
  ck_assert_int_eq (io[0]->result, 0);
  ck_assert_int_eq (io[1]->result, 0);
  ck_assert_int_eq (io[2]->result, -ENOSPC);
  ck_assert_int_eq (io[3]->result, 0);
  ck_assert_int_eq (io[4]->result, 0);
  ck_assert_uint_eq (io_batch_mine (batch), 0);
  ck_assert_uint_eq (b.give_ups, 0);
  io_batch_unref (batch);
  io_batch_unref (NULL);
}
END_TEST

START_TEST (bad_operations_never_reach_the_disk)
{
  static const struct {
    enum io_type type;
    uint64_t offset, length;
  } bad[] = {
    { IO_READ, 4 * GiB, 512 },
    { IO_READ, 4 * GiB - 512, 1024 },
    { IO_WRITE, UINT64_MAX - 511, 512 },
    { IO_READ, 512, UINT64_MAX - 511 },
    { IO_READ, 0, 0 },
    { IO_ZERO, 0, 0 },
    { IO_READ, 1, 512 },
    { IO_WRITE, 512, 513 },
    { IO_ZERO, 256, 512 },
    { IO_READ, 0, 64 * MiB + 512 },
  };
  struct disk disk;
  uint8_t byte;
  struct buffer big = { .refs = { 1000 }, .size = SIZE_MAX, .data = &byte };

  disk_init (&disk, &here_ops, 0, LONG);
  for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    ck_assert_int_eq (
        device_run (&disk.device, bad[i].type, 0, bad[i].offset, bad[i].length,
                    bad[i].type == IO_ZERO ? NULL : &big),
        -EINVAL);
  ck_assert_uint_eq (disk.nheld, 0);
  /* The largest that are good. */
  ck_assert_int_eq (
      device_run (&disk.device, IO_READ, 0, 4 * GiB - 64 * MiB, 64 * MiB, &big),
      0);
  ck_assert_int_eq (
      device_run (&disk.device, IO_ZERO, 0, 512, 4 * GiB - 512, NULL), 0);
  ck_assert_uint_eq (disk.nheld, 2);
  disk.device.limits.logical_block = 4096;
  ck_assert_int_eq (device_run (&disk.device, IO_READ, 0, 512, 4096, &big),
                    -EINVAL);
  ck_assert_uint_eq (disk.nheld, 2);
}
END_TEST

START_TEST (read_only_refuses)
{
  struct disk disk;
  struct buffer *buffer = filled (4096, 0);

  disk_init (&disk, &here_ops, 0, LONG);
  disk.device.limits.read_only = true;
  ck_assert_int_eq (device_run (&disk.device, IO_WRITE, IO_FUA, 0, 512, buffer),
                    -EROFS);
  ck_assert_int_eq (
      device_run (&disk.device, IO_ZERO, IO_MAY_TRIM, 0, 512, NULL), -EROFS);
  ck_assert_int_eq (device_run (&disk.device, IO_FLUSH, 0, 0, 0, NULL), 0);
  ck_assert_uint_eq (disk.nheld, 0);
  ck_assert_int_eq (device_run (&disk.device, IO_READ, 0, 0, 512, buffer), 0);
  ck_assert_uint_eq (disk.nheld, 1);
  buffer_unref (buffer);
}
END_TEST

/* The buffer and the operation outlive everybody else's references. */
START_TEST (abandoned_elsewhere)
{
  struct disk disk;
  struct buffer *buffer = filled (4096, 5);
  struct io_batch *batch = io_batch_new (1);
  struct io *io;

  disk_init (&disk, &there_ops, 0, SOON);
  io = io_batch_add (batch, &disk.device, IO_READ, 0, 0, 4096, buffer, 0);
  buffer_unref (buffer);
  ck_assert_int_eq (io_batch_run (batch), -ETIMEDOUT);
  ck_assert_uint_eq (device_abandoned (&disk.device), 1);
  ck_assert_int_eq (io->state, IO_ABANDONED);

  device_close (&disk.device);
  ck_assert (!disk.closed);
  ck_assert_ptr_nonnull (strstr (said.lines[said.n - 1], "given up"));

  io_batch_unref (batch);
  memset (disk.held[0]->data, 6, 4096);
  io_done (disk.held[0], 0);
  ck_assert_uint_eq (device_abandoned (&disk.device), 0);
  device_close (&disk.device);
  ck_assert (disk.closed);
}
END_TEST

START_TEST (late_result_changes_nothing)
{
  struct disk disk;
  struct buffer *buffer = filled (4096, 5);
  struct io_batch *batch = io_batch_new (1);
  struct io *io;

  disk_init (&disk, &there_ops, 0, SOON);
  io = io_batch_add (batch, &disk.device, IO_WRITE, 0, 0, 4096, buffer, 0);
  buffer_unref (buffer);
  ck_assert_int_eq (io_batch_run (batch), -ETIMEDOUT);
  io_done (io, 0);
  ck_assert_uint_eq (device_abandoned (&disk.device), 0);
  ck_assert_int_eq (io->result, -ETIMEDOUT);
  io_batch_unref (batch);
}
END_TEST

START_TEST (abandoned_here)
{
  struct disk disk;
  struct buffer *buffer = filled (4096, 5);
  struct io_batch *batch = io_batch_new (2);
  struct io *good, *bad;

  disk_init (&disk, &reaped_ops, 0, SOON);
  good = io_batch_add (batch, &disk.device, IO_READ, 0, 0, 512, buffer, 0);
  bad = io_batch_add (batch, &disk.device, IO_READ, 0, 0, 512, buffer, 512);
  io_batch_submit (batch);
  ck_assert_uint_eq (io_batch_mine (batch), 2);
  io_done (good, 0);
  disk.hang = true;
  io_batch_wait (batch);
  ck_assert_int_eq (good->result, 0);
  ck_assert_int_eq (bad->result, -ETIMEDOUT);
  ck_assert_uint_eq (disk.give_ups, 1);
  ck_assert_uint_eq (device_abandoned (&disk.device), 1);
  buffer_unref (buffer);
  io_batch_unref (batch);
  memset (disk.held[1]->data, 6, 512);
  io_done (disk.held[1], -EIO);
  ck_assert_uint_eq (device_abandoned (&disk.device), 0);
}
END_TEST

static void
end_held (void *opaque)
{
  struct disk *disk = opaque;

  /* Not before the other disk was given up. */
  while (true) {
    bool seen = false;

    pthread_mutex_lock (&said.lock);
    for (unsigned i = 0; i < said.n; ++i)
      seen |= strstr (said.lines[i], "io: abandoned leg 0") != NULL;
    pthread_mutex_unlock (&said.lock);
    if (seen)
      break;
    sched_yield ();
  }
  io_done (disk->held[0], 0);
}

/* A disk that hangs ends at its own deadline, and the other one is still
 * waited for.
 */
static void
deadlines_differ (const struct device_ops *hanging)
{
  struct disk slow, good;
  struct rt_thread thread;
  struct buffer *buffer = filled (4096, 5);
  struct io_batch *batch = io_batch_new (2);
  struct io *a, *b;

  disk_init (&slow, hanging, 0, SOON);
  disk_init (&good, &there_ops, 1, RT_NEVER);
  slow.hang = true;
  a = io_batch_add (batch, &slow.device, IO_WRITE, 0, 0, 512, buffer, 0);
  b = io_batch_add (batch, &good.device, IO_WRITE, 0, 0, 512, buffer, 0);
  buffer_unref (buffer);
  io_batch_submit (batch);
  ck_assert_int_eq (rt_thread_create (&thread, "ends", end_held, &good), 0);
  io_batch_wait (batch);
  rt_thread_join (&thread);
  ck_assert_int_eq (a->result, -ETIMEDOUT);
  ck_assert_int_eq (b->result, 0);
  ck_assert_uint_eq (device_abandoned (&slow.device), 1);
  ck_assert_uint_eq (device_abandoned (&good.device), 0);
  io_batch_unref (batch);
  io_done (slow.held[0], 0);
}

START_TEST (each_device_has_its_deadline)
{
  deadlines_differ (&there_ops);
}
END_TEST

START_TEST (each_device_has_its_deadline_reaped)
{
  deadlines_differ (&reaped_ops);
}
END_TEST

START_TEST (the_trace)
{
  static const char *const want[] = {
    "io: submit leg 3 write offset 512 length 1024 fua",
    "io: submit leg 3 zero offset 0 length 512 fua may-trim",
    "io: submit leg 3 flush offset 0 length 0",
    "io: submit leg 3 read offset 1 length 512",
    "io: done leg 3 read offset 1 length 512 result -22",
    "io: done leg 3 write offset 512 length 1024 result -5",
    "io: done leg 3 zero offset 0 length 512 result -5",
    "io: abandoned leg 3 flush offset 0 length 0",
    "io: late leg 3 flush offset 0 length 0 result -5",
  };
  struct disk disk;
  struct buffer *buffer = filled (4096, 5);
  struct io_batch *batch = io_batch_new (4);

  disk_init (&disk, &there_ops, 3, SOON);
  said.n = 0;
  io_batch_add (batch, &disk.device, IO_WRITE, IO_FUA, 512, 1024, buffer, 0);
  io_batch_add (batch, &disk.device, IO_ZERO, IO_FUA | IO_MAY_TRIM, 0, 512,
                NULL, 0);
  io_batch_add (batch, &disk.device, IO_FLUSH, 0, 0, 0, NULL, 0);
  io_batch_add (batch, &disk.device, IO_READ, 0, 1, 512, buffer, 0);
  io_batch_submit (batch);
  ck_assert_uint_eq (said.n, 5);
  io_done (disk.held[0], -EIO);
  io_done (disk.held[1], -EIO);
  io_batch_wait (batch);
  ck_assert_uint_eq (said.n, 8);
  io_done (disk.held[2], -EIO);
  ck_assert_uint_eq (said.n, sizeof want / sizeof want[0]);
  for (unsigned i = 0; i < said.n; ++i)
    ck_assert_str_eq (said.lines[i], want[i]);
  tracing = 0;
  ck_assert_int_eq (device_run (&disk.device, IO_READ, 0, 1, 512, buffer),
                    -EINVAL);
  ck_assert_uint_eq (said.n, sizeof want / sizeof want[0]);
  tracing = 1;
  buffer_unref (buffer);
  io_batch_unref (batch);
}
END_TEST

/* ---- many threads that end operations ---- */

#define ENDERS  3
#define BATCHES 2000

static struct {
  struct rt_mutex lock;
  struct rt_cond cond;
  struct io *ios[64];
  unsigned n;
  bool stop;
} todo;

static void
queue_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  (void)batch;
  rt_mutex_lock (&todo.lock);
  for (unsigned i = 0; i < n; ++i)
    todo.ios[todo.n++] = ios[i];
  rt_cond_broadcast (&todo.cond);
  rt_mutex_unlock (&todo.lock);
}

static void
ender (void *opaque)
{
  struct io *io;

  (void)opaque;
  rt_mutex_lock (&todo.lock);
  while (!todo.stop) {
    if (todo.n == 0) {
      rt_cond_wait (&todo.cond, &todo.lock);
      continue;
    }
    io = todo.ios[--todo.n];
    rt_mutex_unlock (&todo.lock);
    memset (io->data, 0x5a, io->length);
    io_done (io, 0);
    rt_mutex_lock (&todo.lock);
  }
  rt_mutex_unlock (&todo.lock);
}

START_TEST (many_enders)
{
  static const struct device_ops ops = { .kind = "queue",
                                         .submit = queue_submit,
                                         .close = disk_close };
  struct rt_thread threads[ENDERS];
  struct buffer *want = filled (8 * 512, 0x5a);
  struct disk disk;

  tracing = 0;
  rt_mutex_init (&todo.lock);
  rt_cond_init (&todo.cond);
  disk_init (&disk, &ops, 0, LONG);
  for (unsigned i = 0; i < ENDERS; ++i)
    ck_assert_int_eq (rt_thread_create (&threads[i], "ender", ender, NULL), 0);
  for (unsigned i = 0; i < BATCHES; ++i) {
    struct buffer *buffer = filled (8 * 512, 0);
    struct io_batch *batch = io_batch_new (8);

    for (unsigned j = 0; j < 8; ++j)
      io_batch_add (batch, &disk.device, IO_READ, 0, 0, 512, buffer, j * 512);
    ck_assert_int_eq (io_batch_run (batch), 0);
    ck_assert_mem_eq (buffer->data, want->data, 8 * 512);
    io_batch_unref (batch);
    buffer_unref (buffer);
  }
  rt_mutex_lock (&todo.lock);
  todo.stop = true;
  rt_cond_broadcast (&todo.cond);
  rt_mutex_unlock (&todo.lock);
  for (unsigned i = 0; i < ENDERS; ++i)
    rt_thread_join (&threads[i]);
  ck_assert_uint_eq (device_abandoned (&disk.device), 0);
  buffer_unref (want);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("batch");
  TCase *tcase = tcase_create ("batch");
  SRunner *runner;
  int failed;

  tcase_set_timeout (tcase, 120);
  tcase_add_test (tcase, one_submit_per_kind);
  tcase_add_test (tcase, bad_operations_never_reach_the_disk);
  tcase_add_test (tcase, read_only_refuses);
  tcase_add_test (tcase, abandoned_elsewhere);
  tcase_add_test (tcase, late_result_changes_nothing);
  tcase_add_test (tcase, abandoned_here);
  tcase_add_test (tcase, each_device_has_its_deadline);
  tcase_add_test (tcase, each_device_has_its_deadline_reaped);
  tcase_add_test (tcase, the_trace);
  tcase_add_test (tcase, many_enders);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
