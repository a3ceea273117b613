/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Threads that wait without a timer in the kernel, and how they are woken; and
 * operations that go to the disk together.
 *
 * Linked with -Wl,--wrap=io_submit and io_getevents.  Operations on a leg that
 * is held do not reach the kernel until it is released, so that the kernel
 * itself keeps the thread waiting.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <libaio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/aio_context.h"

#define SIZE  MiB
#define LONG  (60 * RT_SECOND)
#define SOON  (RT_SECOND / 20)
#define LEAST 4096

extern int __real_io_submit (io_context_t id, long n, struct iocb **iocbs);
extern int __real_io_getevents (io_context_t id, long min, long n,
                                struct io_event *events, struct timespec *ts);
extern int __wrap_io_submit (io_context_t id, long n, struct iocb **iocbs);
extern int __wrap_io_getevents (io_context_t id, long min, long n,
                                struct io_event *events, struct timespec *ts);

static struct rt_atomic submits;
static struct rt_atomic last_n;  /* iocbs in the last io_submit */
static struct rt_atomic timed;   /* waits with a timer */
static struct rt_atomic untimed; /* ... and without */
static struct rt_atomic ended;   /* waits without, that are over */

/* Two legs at most are held, by one thread. */
static struct {
  uint64_t fds; /* bit n: descriptor n is held */
  io_context_t id;
  struct iocb *iocbs[8];
  unsigned n;
} held;

int
__wrap_io_submit (io_context_t id, long n, struct iocb **iocbs)
{
  struct iocb *good[AIO_EVENTS + 1];
  long ngood = 0;

  rt_atomic_add (&submits, 1);
  rt_atomic_set (&last_n, (uint64_t)n);
  if (held.fds == 0 || !iocbs[0]->data)
    return __real_io_submit (id, n, iocbs);
  for (long i = 0; i < n; ++i)
    if (held.fds >> iocbs[i]->aio_fildes & 1) {
      held.id = id;
      held.iocbs[held.n++] = iocbs[i];
    }
    else
      good[ngood++] = iocbs[i];
  if (ngood > 0)
    ck_assert_int_eq (__real_io_submit (id, ngood, good), ngood);
  return (int)n;
}

int
__wrap_io_getevents (io_context_t id, long min, long n, struct io_event *events,
                     struct timespec *ts)
{
  int r;

  if (ts) {
    if (min > 0)
      rt_atomic_add (&timed, 1);
    return __real_io_getevents (id, min, n, events, ts);
  }
  rt_atomic_add (&untimed, 1);
  r = __real_io_getevents (id, min, n, events, ts);
  rt_atomic_add (&ended, 1);
  return r;
}

static void
nap (void)
{
  struct timespec ts = { .tv_nsec = 1000000 };

  nanosleep (&ts, NULL);
}

/* ---- the devices ---- */

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  (void)line;
}

static const struct log the_log = { .sink = sink };
static char directory[] = "test-aio-alarm-XXXXXX";
static const char *const names[2] = { "a.img", "b.img" };

static struct aio *aio;
static struct device *leg[2];
static struct buffer *ones;

/* Each test runs in a process of its own. */
static void
setup (void)
{
  aio = aio_new (&the_log);
  for (unsigned i = 0; i < 2; ++i) {
    unlink (names[i]);
    ck_assert_int_eq (aio_open (aio, names[i], AIO_CREATE, LONG, &leg[i], NULL),
                      0);
    leg[i]->leg = (int)i;
    ck_assert_int_eq (aio_allocate (leg[i], SIZE), 0);
  }
  ones = buffer_new (LEAST);
  memset (ones->data, 1, LEAST);
  ck_assert_int_eq (aio_start (aio), 0);
  ck_assert_int_ne (aio->null, -1);
  rt_atomic_set (&timed, 0); /* it was tried */
}

static void
teardown (void)
{
  ck_assert_uint_eq (ones->refs.n, 1);
  buffer_unref (ones);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (device_abandoned (leg[i]), 0);
    device_close (leg[i]);
  }
  aio_free (aio);
}

static void
hold (unsigned i)
{
  held.fds |= UINT64_C (1) << aio_fd (leg[i]);
  leg[i]->timeout = SOON;
}

/* What was held goes to the kernel after all. */
static void
release (void)
{
  held.fds = 0;
  while (held.n > 0)
    ck_assert_int_eq (__real_io_submit (held.id, 1, &held.iocbs[--held.n]), 1);
  while (device_abandoned (leg[0]) + device_abandoned (leg[1]) > 0) {
    aio_poll (aio);
    nap ();
  }
}

/* ---- the alarm ---- */

struct waiter {
  struct rt_thread thread;
  int results[2];
};

static void
write_both (void *opaque)
{
  struct waiter *waiter = opaque;
  struct io_batch *batch = io_batch_new (2);

  for (unsigned i = 0; i < 2; ++i)
    io_batch_add (batch, leg[i], IO_WRITE, 0, 0, LEAST, ones, 0);
  (void)io_batch_run (batch);
  for (unsigned i = 0; i < 2; ++i)
    waiter->results[i] = io_batch_get (batch, i)->result;
  io_batch_unref (batch);
  /* The thread, and what it has of the alarm, go on. */
  for (unsigned i = 0; i < 2; ++i)
    if (waiter->results[i] == 0)
      waiter->results[i] = device_run (leg[i], IO_WRITE, 0, LEAST, LEAST, ones);
}

static void
start (struct waiter *waiter)
{
  ck_assert_int_eq (
      rt_thread_create (&waiter->thread, "waiter", write_both, waiter), 0);
}

/* Until then nobody wakes it, however often the clock is looked at; then the
 * first look does.
 */
static void
wakes (bool first, bool second)
{
  struct waiter waiter;
  uint64_t begin = rt_now ();

  if (first)
    hold (0);
  if (second)
    hold (1);
  start (&waiter);
  while (rt_atomic_get (&untimed) == 0)
    nap ();
  while (rt_now () < begin + SOON) {
    ck_assert (rt_atomic_get (&ended) == 0 || rt_now () >= begin + SOON);
    aio_poll (aio);
  }
  nap ();
  ck_assert_uint_eq (rt_atomic_get (&untimed), 1);
  while (rt_now () < begin + 2 * SOON)
    nap ();
  aio_poll (aio);
  rt_thread_join (&waiter.thread);
  ck_assert_int_eq (waiter.results[0], first ? -ETIMEDOUT : 0);
  ck_assert_int_eq (waiter.results[1], second ? -ETIMEDOUT : 0);
  ck_assert_uint_eq (rt_atomic_get (&timed), 0);
  release ();
}

START_TEST (wakes_from_one)
{
  aio_alarm (aio, true);
  wakes (true, false);
}
END_TEST

START_TEST (wakes_from_two)
{
  aio_alarm (aio, true);
  wakes (true, true);
}
END_TEST

/* Who waits when it is switched off still gives up in time, with a timer of its
 * own.
 */
START_TEST (switched_off)
{
  struct waiter waiter;

  aio_alarm (aio, true);
  hold (1);
  leg[1]->timeout = 4 * SOON;
  start (&waiter);
  while (rt_atomic_get (&untimed) == 0)
    nap ();
  ck_assert_uint_eq (rt_atomic_get (&timed), 0);
  aio_alarm (aio, false);
  rt_thread_join (&waiter.thread);
  ck_assert_int_eq (waiter.results[0], 0);
  ck_assert_int_eq (waiter.results[1], -ETIMEDOUT);
  ck_assert_uint_eq (rt_atomic_get (&untimed), 1);
  ck_assert_uint_ge (rt_atomic_get (&timed), 1);
  release ();
}
END_TEST

/* Nobody who promises to look at the clock: a timer. */
START_TEST (never_on)
{
  struct waiter waiter;

  hold (0);
  start (&waiter);
  rt_thread_join (&waiter.thread);
  ck_assert_int_eq (waiter.results[0], -ETIMEDOUT);
  ck_assert_uint_eq (rt_atomic_get (&untimed), 0);
  release ();
}
END_TEST

/* It is switched while others work, and nothing is lost or counted twice. */
static struct rt_atomic done;

static void
work (void *opaque)
{
  struct waiter waiter;

  (void)opaque;
  for (unsigned i = 0; i < 2000; ++i) {
    write_both (&waiter);
    ck_assert_int_eq (waiter.results[0], 0);
    ck_assert_int_eq (waiter.results[1], 0);
  }
  rt_atomic_add (&done, 1);
}

START_TEST (switched_under_load)
{
  struct rt_thread threads[3];

  for (unsigned i = 0; i < 3; ++i)
    ck_assert_int_eq (rt_thread_create (&threads[i], "work", work, NULL), 0);
  for (unsigned i = 0; rt_atomic_get (&done) < 3; ++i) {
    aio_alarm (aio, i % 2);
    aio_poll (aio);
  }
  for (unsigned i = 0; i < 3; ++i)
    rt_thread_join (&threads[i]);
}
END_TEST

/* ---- together ---- */

static void
run_writes (unsigned n, unsigned flags, uint64_t want)
{
  struct io_batch *batch = io_batch_new (n);
  uint64_t before = rt_atomic_get (&submits);

  for (unsigned i = 0; i < n; ++i)
    io_batch_add (batch, leg[i % 2], IO_WRITE, flags, i * LEAST, LEAST, ones,
                  0);
  ck_assert_int_eq (io_batch_run (batch), 0);
  ck_assert_uint_eq (rt_atomic_get (&submits), before + 1);
  ck_assert_uint_eq (rt_atomic_get (&last_n), want);
  io_batch_unref (batch);
}

/* A third goes with two, and it alone is refused. */
START_TEST (together)
{
  struct buffer *back = buffer_new_zero (LEAST);

  run_writes (1, IO_TOGETHER, 1);
  run_writes (2, 0, 2);
  run_writes (2, IO_TOGETHER, 3);
  run_writes (2, 0, 2);
  run_writes (3, IO_TOGETHER, 3);
  run_writes (4, IO_TOGETHER | IO_FUA, 4);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_int_eq (device_run (leg[i], IO_READ, 0, i * LEAST, LEAST, back),
                      0);
    ck_assert_int_eq (memcmp (back->data, ones->data, LEAST), 0);
  }
  buffer_unref (back);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("aio-alarm");
  TCase *tcase = tcase_create ("alarm");
  SRunner *runner;
  int failed;

  if (!mkdtemp (directory) || chdir (directory) == -1)
    return EXIT_FAILURE;
  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 120);
  tcase_add_test (tcase, wakes_from_one);
  tcase_add_test (tcase, wakes_from_two);
  tcase_add_test (tcase, switched_off);
  tcase_add_test (tcase, never_on);
  tcase_add_test (tcase, switched_under_load);
  tcase_add_test (tcase, together);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  for (unsigned i = 0; i < 2; ++i)
    unlink (names[i]);
  if (chdir ("..") == -1 || rmdir (directory) == -1)
    failed++;
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
