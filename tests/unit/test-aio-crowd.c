/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Threads of which one submits for all; linked with -Wl,--wrap=io_submit and
 * aio_crowd_wait.  A gate holds whoever submits for the crowd, in the kernel as
 * it were.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <libaio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/aio_context.h"

#ifdef HAVE_VALGRIND_VALGRIND_H
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define SIZE    MiB
#define LONG    (60 * RT_SECOND)
#define SOON    (RT_SECOND / 20)
#define LEAST   4096
#define WRITERS 5

extern int __real_io_submit (io_context_t id, long n, struct iocb **iocbs);
extern int __wrap_io_submit (io_context_t id, long n, struct iocb **iocbs);
extern void __real_aio_crowd_wait (struct aio_thread *thread,
                                   struct io_batch *batch, uint64_t deadline);
extern void __wrap_aio_crowd_wait (struct aio_thread *thread,
                                   struct io_batch *batch, uint64_t deadline);

static struct aio *aio;
static struct device *leg[2];

/* ---- the kernel ---- */

static struct rt_atomic calls;   /* of the crowd, begun */
static struct rt_atomic allowed; /* ... that may go on */
static long sizes[16];           /* iocbs in each */
static int refused = -1;         /* a descriptor that gives EIO */
static struct rt_atomic refuse_all;
static int kept = -1; /* one whose iocbs the kernel keeps */
static struct iocb *late;
static bool halves; /* it does half of the first */
static struct rt_atomic no_room;
static bool one_by_one;
static int rw_flags; /* of the last one that it took */
/* Once it has looked at the iocbs: for ThreadSanitizer, which does not know
 * that what the kernel gives back comes after what it was given.
 */
static struct rt_atomic looked;

static void
nap (void)
{
  struct timespec ts = { .tv_nsec = 1000000 };

  nanosleep (&ts, NULL);
}

int
__wrap_io_submit (io_context_t id, long n, struct iocb **iocbs)
{
  uint64_t call;

  if (!aio || !aio->crowd || id != aio->crowd->id)
    return __real_io_submit (id, n, iocbs);
  if (rt_atomic_get (&no_room))
    return -EAGAIN;
  call = rt_atomic_add (&calls, 1);
  ck_assert_uint_lt (call, 16);
  sizes[call - 1] = n;
  while (rt_atomic_get (&allowed) < call)
    nap ();
  if (one_by_one)
    n = 1;
  if (iocbs[0]->aio_fildes == refused || rt_atomic_get (&refuse_all))
    return -EIO;
  if (iocbs[0]->aio_fildes == kept) {
    late = iocbs[0];
    return 1;
  }
  if (halves)
    iocbs[0]->u.c.nbytes /= 2;
  rw_flags = iocbs[0]->aio_rw_flags;
  rt_atomic_add (&looked, 1);
  return __real_io_submit (id, n, iocbs);
}

/* A thread that comes back because of the time just before its operations end:
 * it has not seen that they have.
 */
static bool too_early;

void
__wrap_aio_crowd_wait (struct aio_thread *thread, struct io_batch *batch,
                       uint64_t deadline)
{
  if (!too_early) {
    __real_aio_crowd_wait (thread, batch, deadline);
    return;
  }
  for (unsigned i = 0; i < io_batch_count (batch); ++i)
    while (rt_atomic_get (&to_aio_io (io_batch_get (batch, i))->fate) == 0) {
      aio_poll (aio);
      nap ();
    }
  while (rt_now () <= deadline)
    nap ();
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
static char directory[] = "test-aio-crowd-XXXXXX";
static const char *const names[2] = { "a.img", "b.img" };

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
  ck_assert_int_eq (aio_start (aio), 0);
  aio_alarm (aio, true);
  ck_assert (rt_atomic_get (&aio->alarm));
  ck_assert_ptr_nonnull (aio->crowd);
  aio->crowd->patience = LONG;
  rt_atomic_set (&allowed, 100);
}

static void
teardown (void)
{
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (device_abandoned (leg[i]), 0);
    device_close (leg[i]);
  }
  ck_assert_uint_eq (rt_atomic_get (&aio->crowd->outstanding), 0);
  aio_free (aio);
}

struct writer {
  struct rt_thread thread;
  unsigned number;
  struct rt_atomic done;
  int results[2];
};

static unsigned io_flags = IO_CROWD;
static bool given_up_before; /* what is left of the last user of its memory */

/* Both legs, with its number. */
static void
write_both (void *opaque)
{
  struct writer *writer = opaque;
  struct buffer *data = buffer_new (LEAST);
  struct io_batch *batch = io_batch_new (2);

  memset (data->data, (int)writer->number + 1, LEAST);
  for (unsigned i = 0; i < 2; ++i)
    to_aio_io (io_batch_add (batch, leg[i], IO_WRITE, io_flags,
                             (uint64_t)writer->number * LEAST, LEAST, data, 0))
        ->given_up = given_up_before;
  (void)io_batch_run (batch);
  (void)rt_atomic_get (&looked);
  for (unsigned i = 0; i < 2; ++i)
    writer->results[i] = io_batch_get (batch, i)->result;
  io_batch_unref (batch);
  buffer_unref (data);
  rt_atomic_set (&writer->done, 1);
}

static void
start (struct writer *writer, unsigned number)
{
  memset (writer, 0, sizeof *writer);
  writer->number = number;
  ck_assert_int_eq (
      rt_thread_create (&writer->thread, "writer", write_both, writer), 0);
}

static void
finish (struct writer *writer, int first, int second)
{
  struct buffer *back = buffer_new_zero (LEAST);
  const uint64_t offset = (uint64_t)writer->number * LEAST;

  rt_thread_join (&writer->thread);
  ck_assert_int_eq (writer->results[0], first);
  ck_assert_int_eq (writer->results[1], second);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_int_eq (device_run (leg[i], IO_READ, 0, offset, LEAST, back), 0);
    if (writer->results[i] == 0)
      ck_assert_uint_eq (back->data[LEAST - 1], writer->number + 1);
  }
  buffer_unref (back);
}

static unsigned
queued (void)
{
  unsigned n = 0;

  rt_mutex_lock (&aio->crowd->lock);
  for (struct io *io = aio->crowd->first; io; io = to_aio_io (io)->next)
    n++;
  rt_mutex_unlock (&aio->crowd->lock);
  return n;
}

static void
wait_for_calls (uint64_t n)
{
  while (rt_atomic_get (&calls) < n)
    nap ();
}

static void
wait_for_queue (unsigned n)
{
  while (queued () != n)
    nap ();
}

static void
set_patience (uint64_t patience)
{
  rt_mutex_lock (&aio->crowd->lock);
  aio->crowd->patience = patience;
  rt_mutex_unlock (&aio->crowd->lock);
}

/* ---- tests ---- */

/* Who comes while one is inside goes with the next call, all at once. */
START_TEST (one_for_all)
{
  struct writer writers[WRITERS];

  rt_atomic_set (&allowed, 0);
  start (&writers[0], 0);
  wait_for_calls (1);
  for (unsigned i = 1; i < WRITERS; ++i)
    start (&writers[i], i);
  wait_for_queue (2 * (WRITERS - 1));
  ck_assert_uint_eq (rt_atomic_get (&calls), 1);
  rt_atomic_set (&allowed, 2);
  for (unsigned i = 0; i < WRITERS; ++i)
    finish (&writers[i], 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 2);
  ck_assert_int_eq (sizes[0], 3); /* two, and one that is refused */
  ck_assert_int_eq (sizes[1], 2 * (WRITERS - 1));
}
END_TEST

/* Nobody submits for others for ever. */
START_TEST (hands_over)
{
  struct writer writers[CROWD_MOST + 1];

  rt_atomic_set (&allowed, 0);
  for (unsigned i = 0; i <= CROWD_MOST; ++i) {
    start (&writers[i], i);
    wait_for_queue (i > 0 ? 2 : 0);
    rt_atomic_set (&allowed, i);
    wait_for_calls (i + 1);
  }
  finish (&writers[0], 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&writers[CROWD_MOST].done), 0);
  rt_atomic_set (&allowed, 100);
  for (unsigned i = 1; i <= CROWD_MOST; ++i)
    finish (&writers[i], 0, 0);
}
END_TEST

/* What the kernel leaves undone is done, by the thread itself. */
START_TEST (short_transfer)
{
  struct writer writer;

  halves = true;
  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 1);
}
END_TEST

/* Nobody goes to wait behind a thread that does not come out. */
START_TEST (goes_past_stuck)
{
  struct writer stuck, writer;

  rt_atomic_set (&allowed, 0);
  start (&stuck, 0);
  wait_for_calls (1);
  set_patience (0);
  start (&writer, 1);
  finish (&writer, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 1);
  rt_atomic_set (&allowed, 1);
  finish (&stuck, 0, 0);
}
END_TEST

/* ... and who does so already leaves. */
START_TEST (leaves_stuck)
{
  struct writer stuck, writers[2];

  rt_atomic_set (&allowed, 0);
  start (&stuck, 0);
  wait_for_calls (1);
  for (unsigned i = 0; i < 2; ++i)
    start (&writers[i], i + 1);
  wait_for_queue (4);
  aio_poll (aio);
  nap ();
  ck_assert_uint_eq (queued (), 4);
  set_patience (0);
  aio_poll (aio);
  for (unsigned i = 0; i < 2; ++i)
    finish (&writers[i], 0, 0);
  ck_assert_uint_eq (queued (), 0);
  rt_atomic_set (&allowed, 1);
  finish (&stuck, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 1);
}
END_TEST

/* Who comes is last in the queue, though the last one has left. */
START_TEST (last_leaves)
{
  struct writer stuck, writers[3];

  rt_atomic_set (&allowed, 0);
  start (&stuck, 0);
  wait_for_calls (1);
  for (unsigned i = 0; i < 2; ++i) {
    start (&writers[i], i + 1);
    wait_for_queue (2 * i + 2);
  }
  set_patience (0);
  rt_mutex_lock (&aio->crowd->lock);
  eventfd_write ((int)to_aio_io (aio->crowd->last)->iocb.u.c.resfd, 1);
  rt_mutex_unlock (&aio->crowd->lock);
  finish (&writers[1], 0, 0);
  ck_assert_uint_eq (queued (), 2);
  set_patience (LONG);
  start (&writers[2], 3);
  wait_for_queue (4);
  rt_atomic_set (&allowed, 100);
  finish (&stuck, 0, 0);
  finish (&writers[0], 0, 0);
  finish (&writers[2], 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 2);
}
END_TEST

/* It is with a thread that does not come out, and overdue: nobody knows whether
 * its leg has it, so nobody is blamed.
 */
START_TEST (trapped)
{
  struct writer first, second;
  struct pollfd wake = { .events = POLLIN };

  rt_atomic_set (&allowed, 0);
  start (&first, 0);
  wait_for_calls (1);
  leg[0]->timeout = leg[1]->timeout = SOON;
  start (&second, 1);
  wait_for_queue (2);
  wake.fd = (int)to_aio_io (aio->crowd->first)->iocb.u.c.resfd;
  rt_atomic_set (&allowed, 1);
  wait_for_calls (2);
  for (uint64_t begin = rt_now (); rt_now () < begin + 4 * SOON;) {
    aio_poll (aio);
    nap ();
  }
  ck_assert_uint_eq (rt_atomic_get (&second.done), 0);
  ck_assert_uint_eq (device_abandoned (leg[1]), 0);
  /* It has heard the last alarm, and sleeps again. */
  while (poll (&wake, 1, 0) == 1)
    nap ();
  for (unsigned i = 0; i < 50; ++i)
    nap ();
  rt_atomic_set (&allowed, 2);
  finish (&first, 0, 0);
  finish (&second, 0, 0);
}
END_TEST

/* The thread that does not come out, for longer than its own have: what it was
 * late with is not blamed on the legs.
 */
START_TEST (comes_out_late)
{
  struct writer writer;

  leg[0]->timeout = leg[1]->timeout = SOON;
  rt_atomic_set (&allowed, 0);
  start (&writer, 0);
  wait_for_calls (1);
  for (uint64_t begin = rt_now (); rt_now () < begin + 2 * SOON;)
    nap ();
  rt_atomic_set (&allowed, 1);
  finish (&writer, 0, 0);
}
END_TEST

/* The kernel has no room for longer than they have. */
START_TEST (no_room_for_it)
{
  struct writer writer;

  leg[0]->timeout = leg[1]->timeout = SOON;
  rt_atomic_set (&no_room, 1);
  start (&writer, 0);
  rt_thread_join (&writer.thread);
  ck_assert_int_eq (writer.results[0], -EAGAIN);
  ck_assert_int_eq (writer.results[1], -EAGAIN);
}
END_TEST

/* ... or for one alone. */
START_TEST (takes_one)
{
  struct writer writers[3];

  one_by_one = true;
  rt_atomic_set (&allowed, 0);
  start (&writers[0], 0);
  wait_for_calls (1);
  for (unsigned i = 1; i < 3; ++i) {
    start (&writers[i], i);
    wait_for_queue (2 * i);
  }
  rt_atomic_set (&allowed, 100);
  for (unsigned i = 0; i < 3; ++i)
    finish (&writers[i], 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 6);
}
END_TEST

START_TEST (fua)
{
  struct writer writer;

  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_int_eq (rw_flags, 0);
  io_flags |= IO_FUA;
  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_int_eq (rw_flags, RWF_DSYNC);
  ck_assert_uint_eq (rt_atomic_get (&calls), 2);
}
END_TEST

/* The kernel has it, and does not give it back in time; then it does. */
START_TEST (overdue)
{
  struct iocb *iocbs[1];
  struct writer writer;

  kept = aio_fd (leg[0]);
  leg[0]->timeout = SOON;
  given_up_before = true;
  start (&writer, 0);
  while (rt_atomic_get (&writer.done) == 0) {
    aio_poll (aio);
    nap ();
  }
  ck_assert_uint_eq (device_abandoned (leg[0]), 1);
  finish (&writer, -ETIMEDOUT, 0);
  kept = -1;
  /* The kernel had the eventfd, which is closed by now. */
  late->u.c.flags = 0;
  iocbs[0] = late;
  ck_assert_int_eq (__real_io_submit (aio->crowd->id, 1, iocbs), 1);
  while (device_abandoned (leg[0]) > 0) {
    aio_poll (aio);
    nap ();
  }
}
END_TEST

/* The same, if while it sleeps those who would wake it stop doing so. */
START_TEST (alarm_goes_off)
{
  struct writer writer;

  kept = aio_fd (leg[0]);
  leg[0]->timeout = RT_SECOND;
  start (&writer, 0);
  wait_for_calls (1);
  for (unsigned i = 0; i < 50; ++i)
    nap ();
  aio_alarm (aio, false);
  finish (&writer, -ETIMEDOUT, 0);
  late->u.c.flags = 0;
  ck_assert_int_eq (__real_io_submit (aio->crowd->id, 1, &late), 1);
  while (device_abandoned (leg[0]) > 0) {
    aio_poll (aio);
    nap ();
  }
}
END_TEST

/* The kernel refuses one: that one has failed, and no other. */
START_TEST (refuses)
{
  struct writer writers[3];

  rt_atomic_set (&allowed, 0);
  start (&writers[0], 0);
  wait_for_calls (1);
  start (&writers[1], 1);
  wait_for_queue (2);
  start (&writers[2], 2);
  wait_for_queue (4);
  refused = aio_fd (leg[0]);
  rt_atomic_set (&allowed, 100);
  for (unsigned i = 0; i < 3; ++i)
    rt_thread_join (&writers[i].thread);
  ck_assert_int_eq (writers[0].results[0], -EIO);
  ck_assert_int_eq (writers[0].results[1], 0);
  /* The kernel looks at the first one alone, and takes what is before. */
  ck_assert_int_eq (writers[1].results[0], -EIO);
  ck_assert_int_eq (writers[1].results[1], 0);
  ck_assert_int_eq (writers[2].results[0], 0);
  ck_assert_int_eq (writers[2].results[1], 0);
}
END_TEST

/* Whoever waits is told that all of his were refused. */
START_TEST (refuses_all)
{
  struct writer writers[2];

  rt_atomic_set (&allowed, 0);
  start (&writers[0], 0);
  wait_for_calls (1);
  start (&writers[1], 1);
  wait_for_queue (2);
  rt_atomic_set (&refuse_all, 1);
  rt_atomic_set (&allowed, 100);
  for (unsigned i = 0; i < 2; ++i)
    finish (&writers[i], -EIO, -EIO);
}
END_TEST

/* It ends after its thread looked last, and before that gives it up. */
START_TEST (ends_as_given_up)
{
  struct writer writer;

  leg[0]->timeout = leg[1]->timeout = SOON;
  too_early = true;
  start (&writer, 0);
  rt_thread_join (&writer.thread);
  ck_assert_int_eq (writer.results[0], -ETIMEDOUT);
  ck_assert_int_eq (writer.results[1], -ETIMEDOUT);
  ck_assert_uint_eq (device_abandoned (leg[0]), 0);
}
END_TEST

/* Without the alarm nobody would wake who waits too long; what has ended when
 * io_submit returns needs no waiting; the ring has so many places and no more;
 * and clients need descriptors as well.
 */
START_TEST (no_crowd)
{
  struct writer writer;

  aio_alarm (aio, false);
  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 0);
  aio_alarm (aio, true);
  for (unsigned i = 0; i < 100; ++i)
    aio_crowd_note (aio->crowd, true);
  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 0);
  aio_crowd_note (aio->crowd, false);
  rt_atomic_add (&aio->crowd->outstanding, CROWD_EVENTS - 1);
  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 0);
  rt_atomic_sub (&aio->crowd->outstanding, CROWD_EVENTS - 1);
  rt_atomic_set (&aio->in_crowd, CROWD_THREADS);
  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 0);
  rt_atomic_sub (&aio->in_crowd, 1);
  start (&writer, 0);
  finish (&writer, 0, 0);
  ck_assert_uint_eq (rt_atomic_get (&calls), 1);
  ck_assert_uint_eq (rt_atomic_get (&aio->in_crowd), CROWD_THREADS - 1);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("aio-crowd");
  TCase *tcase = tcase_create ("crowd");
  SRunner *runner;
  int failed;

  if (RUNNING_ON_VALGRIND) {
    puts ("skipped: valgrind does not see the ring, so nobody submits for "
          "others");
    return 77;
  }
  if (!mkdtemp (directory) || chdir (directory) == -1)
    return EXIT_FAILURE;
  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 120);
  tcase_add_test (tcase, one_for_all);
  tcase_add_test (tcase, hands_over);
  tcase_add_test (tcase, short_transfer);
  tcase_add_test (tcase, goes_past_stuck);
  tcase_add_test (tcase, leaves_stuck);
  tcase_add_test (tcase, last_leaves);
  tcase_add_test (tcase, trapped);
  tcase_add_test (tcase, comes_out_late);
  tcase_add_test (tcase, no_room_for_it);
  tcase_add_test (tcase, takes_one);
  tcase_add_test (tcase, fua);
  tcase_add_test (tcase, overdue);
  tcase_add_test (tcase, alarm_goes_off);
  tcase_add_test (tcase, refuses);
  tcase_add_test (tcase, refuses_all);
  tcase_add_test (tcase, ends_as_given_up);
  tcase_add_test (tcase, no_crowd);
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
