/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Local devices on a kernel that misbehaves.
 *
 * The program is linked with -Wl,--wrap= for each system call that it wants
 * to spoil (see the list of __wrap_ functions).  The files and, except where
 * a test says otherwise, the transfers are real.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/aio.h"
#include "device/aio_context.h"

#define SOON (50 * RT_SECOND / 1000)
#define LONG (60 * RT_SECOND)
#define SIZE (4 * MiB)

/* ---- the spoiled kernel ---- */

enum what {
  OK,
  FAIL,   /* return .error */
  TAKE,   /* io_submit: only the first .n */
  RESULT, /* io_getevents: the first event's result becomes .error */
};

struct step {
  enum what what;
  int error;
  unsigned n;
};

/* Calls number 0, 1, 2... of each kind; what is beyond the list is OK. */
static struct step submit_steps[8], event_steps[8];
static struct rt_atomic submits, reaps, setups, syncs, preads;
#define AT_START 2 /* io_contexts: the first thread's, and the crowd's */
static struct rt_atomic punches, zero_ranges, allocates;
static bool submit_always_fails; /* with EAGAIN */
static bool setup_fails;
static bool punch_refused, zero_range_refused, allocate_refused;
static struct rt_atomic stuck_fd;  /* submit, pread, fallocate hang; + 1 */
static bool pread_works;           /* even on stuck_fd */
static struct rt_atomic hold_fd;   /* events are withheld; + 1 */
static struct rt_atomic in_submit; /* threads that hang in io_submit */
static bool with_ring;             /* events may be taken from the ring */
static struct rt_atomic hanging;   /* threads that hang, wherever */
static uint32_t last_rw_flags;     /* of the last iocb that was submitted */
static unsigned long long last_offset;

/* Events that are withheld until hold_fd changes. */
static struct {
  pthread_mutex_t lock;
  unsigned n;
  struct {
    io_context_t id;
    struct io_event event;
  } e[64];
} held = { .lock = PTHREAD_MUTEX_INITIALIZER };

extern int __real_io_setup (int n, io_context_t *id);
extern int __real_io_submit (io_context_t id, long n, struct iocb **iocbs);
extern int __real_io_getevents (io_context_t id, long min, long n,
                                struct io_event *events, struct timespec *ts);
extern int __real_fallocate (int fd, int mode, off_t offset, off_t length);
extern int __real_fdatasync (int fd);
extern ssize_t __real_pread (int fd, void *data, size_t n, off_t offset);
extern int __wrap_io_setup (int n, io_context_t *id);
extern int __wrap_io_submit (io_context_t id, long n, struct iocb **iocbs);
extern int __wrap_io_getevents (io_context_t id, long min, long n,
                                struct io_event *events, struct timespec *ts);
extern int __wrap_fallocate (int fd, int mode, off_t offset, off_t length);
extern int __wrap_fdatasync (int fd);
extern ssize_t __wrap_pread (int fd, void *data, size_t n, off_t offset);

static void
nap (void)
{
  struct timespec ts = { .tv_nsec = 1000000 };

  nanosleep (&ts, NULL);
}

static void
hang_on (int fd)
{
  if (rt_atomic_get (&stuck_fd) != (uint64_t)fd + 1)
    return;
  rt_atomic_add (&hanging, 1);
  while (rt_atomic_get (&stuck_fd) == (uint64_t)fd + 1)
    nap ();
  rt_atomic_sub (&hanging, 1);
}

/* The library is made to believe that it does not know the kernel's ring, so
 * that all events come through io_getevents, where they can be spoilt; unless
 * a test wants the ring.  The kernel itself does not look at that field.
 */
int
__wrap_io_setup (int n, io_context_t *id)
{
  int r = setup_fails ? -EAGAIN : __real_io_setup (n, id);

  rt_atomic_add (&setups, 1);
  if (r == 0 && !with_ring)
    ((struct aio_ring *)(void *)*id)->incompat = 1;
  return r;
}

int
__wrap_io_submit (io_context_t id, long n, struct iocb **iocbs)
{
  uint64_t call = rt_atomic_add (&submits, 1) - 1;
  struct step step = call < 8 ? submit_steps[call] : (struct step){ OK, 0, 0 };

  ck_assert_int_gt (n, 0);
  if (submit_always_fails)
    return -EAGAIN;
  if (step.what == FAIL)
    return step.error;
  if (step.what == TAKE && n > step.n)
    n = step.n;
  if (rt_atomic_get (&stuck_fd))
    for (long i = 0; i < n; ++i) {
      rt_atomic_add (&in_submit, 1);
      hang_on (iocbs[i]->aio_fildes);
      rt_atomic_sub (&in_submit, 1);
    }
  else {
    last_rw_flags = iocbs[n - 1]->aio_rw_flags;
    last_offset = (unsigned long long)iocbs[n - 1]->u.c.offset;
  }
  return __real_io_submit (id, n, iocbs);
}

/* Move events that must not be seen from events to held, or others back. */
static int
sort_events (io_context_t id, struct io_event *events, int n, long room)
{
  uint64_t fd = rt_atomic_get (&hold_fd);
  int kept = 0;

  pthread_mutex_lock (&held.lock);
  for (int i = 0; i < n; ++i)
    if (fd && (uint64_t)events[i].obj->aio_fildes + 1 == fd) {
      ck_assert_uint_lt (held.n, 64);
      held.e[held.n].id = id;
      held.e[held.n++].event = events[i];
    }
    else
      events[kept++] = events[i];
  for (unsigned i = 0; i < held.n && kept < room;)
    if (held.e[i].id == id
        && (uint64_t)held.e[i].event.obj->aio_fildes + 1 != fd) {
      events[kept] = held.e[i].event;
      /* As if the disk's transfer happened only now. */
      if (events[kept].obj->aio_lio_opcode == IO_CMD_PREAD)
        memset (events[kept].obj->u.c.buf, 0x77, events[kept].obj->u.c.nbytes);
      kept++;
      held.e[i] = held.e[--held.n];
    }
    else
      i++;
  pthread_mutex_unlock (&held.lock);
  return kept;
}

int
__wrap_io_getevents (io_context_t id, long min, long n, struct io_event *events,
                     struct timespec *ts)
{
  uint64_t call = rt_atomic_add (&reaps, 1) - 1;
  struct step step = call < 8 ? event_steps[call] : (struct step){ OK, 0, 0 };
  struct timespec piece = { .tv_nsec = 1000000 };
  uint64_t end = RT_NEVER;
  int got = 0, r;

  if (step.what == FAIL)
    return step.error;
  if (!rt_atomic_get (&hold_fd) && held.n == 0)
    got = __real_io_getevents (id, min, n, events, ts);
  else {
    if (ts)
      end =
          rt_now () + (uint64_t)ts->tv_sec * RT_SECOND + (uint64_t)ts->tv_nsec;
    do {
      r = __real_io_getevents (id, 0, n - got, events + got, &piece);
      ck_assert_int_ge (r, 0);
      got += sort_events (id, events + got, r, n - got);
      nap ();
    } while (got < min && rt_now () < end);
  }
  if (step.what == RESULT && got > 0)
    events[0].res = (unsigned long)(long)step.error;
  return got;
}

int
__wrap_fallocate (int fd, int mode, off_t offset, off_t length)
{
  hang_on (fd);
  if (mode & FALLOC_FL_PUNCH_HOLE) {
    rt_atomic_add (&punches, 1);
    if (punch_refused)
      goto refused;
  }
  else if (mode & FALLOC_FL_ZERO_RANGE) {
    rt_atomic_add (&zero_ranges, 1);
    if (zero_range_refused)
      goto refused;
  }
  else {
    rt_atomic_add (&allocates, 1);
    if (allocate_refused)
      goto refused;
  }
  return __real_fallocate (fd, mode, offset, length);

refused:
  errno = EOPNOTSUPP;
  return -1;
}

int
__wrap_fdatasync (int fd)
{
  rt_atomic_add (&syncs, 1);
  return __real_fdatasync (fd);
}

ssize_t
__wrap_pread (int fd, void *data, size_t n, off_t offset)
{
  if (!pread_works)
    hang_on (fd);
  rt_atomic_add (&preads, 1);
  return __real_pread (fd, data, n, offset);
}

/* ---- the devices ---- */

static struct {
  pthread_mutex_t lock;
  unsigned n;
  char lines[64][256];
} said = { .lock = PTHREAD_MUTEX_INITIALIZER };

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

static const struct log the_log = { .sink = sink };
static char directory[] = "test-aio-faults-XXXXXX";
static const char *const names[2] = { "a.img", "b.img" };

static struct aio *aio;
static struct device *leg[2];
static struct buffer *ones; /* 64 KiB of 1 */

static void
open_legs (uint64_t timeout)
{
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_int_eq (
        aio_open (aio, names[i], AIO_CREATE, timeout, &leg[i], NULL), 0);
    leg[i]->leg = (int)i;
  }
}

static void
reset_counts (void)
{
  rt_atomic_set (&submits, 0);
  rt_atomic_set (&reaps, 0);
}

/* Each test runs in a process of its own. */
static void
setup (void)
{
  said.n = 0;
  aio = aio_new (&the_log);
  ck_assert_ptr_nonnull (aio);
  for (unsigned i = 0; i < 2; ++i) {
    unlink (names[i]);
  }
  open_legs (LONG);
  for (unsigned i = 0; i < 2; ++i)
    ck_assert_int_eq (aio_allocate (leg[i], SIZE), 0);
  ones = buffer_new (64 * KiB);
  memset (ones->data, 1, ones->size);
  ck_assert_int_eq (aio_start (aio), 0);
  reset_counts ();
}

static void
setup_with_ring (void)
{
  with_ring = true;
  setup ();
}

static void
set_timeouts (uint64_t timeout)
{
  leg[0]->timeout = leg[1]->timeout = timeout;
}

static void
teardown (void)
{
  ck_assert_uint_eq (ones->refs.n, 1); /* no batch has been forgotten */
  buffer_unref (ones);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (device_abandoned (leg[i]), 0);
    device_close (leg[i]);
  }
  aio_free (aio);
}

static int
fill (unsigned i, uint64_t offset, uint64_t length)
{
  return device_run (leg[i], IO_WRITE, 0, offset, length, ones);
}

/* True if the file of the leg has this byte at offset, length times. */
static bool
file_has (unsigned i, int byte, uint64_t offset, uint64_t length)
{
  uint8_t *data = malloc (length);
  int fd = open (names[i], O_RDONLY | O_CLOEXEC);
  bool same = true;

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (__real_pread (fd, data, length, (off_t)offset),
                    (int)length);
  close (fd);
  for (uint64_t j = 0; j < length; ++j)
    same &= data[j] == byte;
  free (data);
  return same;
}

static void
withhold (unsigned i)
{
  rt_atomic_set (&hold_fd, (uint64_t)aio_fd (leg[i]) + 1);
}

static void
release (void)
{
  rt_atomic_set (&hold_fd, 0);
  rt_atomic_set (&stuck_fd, 0);
}

static void
make_stuck (unsigned i)
{
  rt_atomic_set (&stuck_fd, (uint64_t)aio_fd (leg[i]) + 1);
}

/* ---- io_submit ---- */

START_TEST (steady_cost)
{
  fill (0, 0, 4096);
  reset_counts ();
  for (unsigned i = 0; i < 1000; ++i) {
    struct io_batch *batch = io_batch_new (2);

    for (unsigned j = 0; j < 2; ++j)
      io_batch_add (batch, leg[j], IO_WRITE, i % 2 ? IO_FUA : 0, i % 256 * 4096,
                    4096, ones, 0);
    ck_assert_int_eq (io_batch_run (batch), 0);
    io_batch_unref (batch);
    ck_assert_uint_eq (rt_atomic_get (&submits), i + 1);
    ck_assert_uint_eq (rt_atomic_get (&reaps), i + 1);
    ck_assert_uint_eq (last_rw_flags, i % 2 ? RWF_DSYNC : 0);
  }
}
END_TEST

/* Four writes, of which io_submit does this; results as given. */
static void
four_writes (const int want[4])
{
  struct io_batch *batch = io_batch_new (4);
  struct io *io[4];

  for (unsigned i = 0; i < 4; ++i)
    io[i] =
        io_batch_add (batch, leg[i % 2], IO_WRITE, 0, i * 4096, 4096, ones, 0);
  io_batch_submit (batch);
  io_batch_wait (batch);
  for (unsigned i = 0; i < 4; ++i) {
    ck_assert_int_eq (io[i]->result, want[i]);
    ck_assert (file_has (i % 2, want[i] == 0, i * 4096, 4096));
  }
  io_batch_unref (batch);
}

static const int all_good[4] = { 0, 0, 0, 0 };

START_TEST (submit_takes_some)
{
  submit_steps[0] = (struct step){ TAKE, 0, 1 };
  submit_steps[1] = (struct step){ TAKE, 0, 2 };
  four_writes (all_good);
  ck_assert_uint_eq (rt_atomic_get (&submits), 3);
  ck_assert_uint_eq (rt_atomic_get (&reaps), 1);
}
END_TEST

START_TEST (submit_is_interrupted)
{
  submit_steps[0] = (struct step){ FAIL, -EINTR, 0 };
  submit_steps[1] = (struct step){ TAKE, 0, 1 };
  submit_steps[2] = (struct step){ FAIL, -EINTR, 0 };
  four_writes (all_good);
  ck_assert_uint_eq (rt_atomic_get (&submits), 4);
}
END_TEST

START_TEST (submit_has_no_room)
{
  submit_steps[0] = (struct step){ FAIL, -EAGAIN, 0 };
  submit_steps[1] = (struct step){ TAKE, 0, 1 };
  submit_steps[2] = (struct step){ FAIL, -EAGAIN, 0 };
  submit_steps[3] = (struct step){ FAIL, -EAGAIN, 0 };
  submit_steps[4] = (struct step){ FAIL, 0, 0 }; /* takes none */
  four_writes (all_good);
}
END_TEST

START_TEST (submit_never_has_room)
{
  static const int want[4] = { -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN };

  set_timeouts (SOON);
  submit_always_fails = true;
  four_writes (want);
}
END_TEST

START_TEST (submit_refuses_one)
{
  static const int want[4] = { -EINVAL, 0, 0, 0 };

  submit_steps[0] = (struct step){ FAIL, -EINVAL, 0 };
  four_writes (want);
  ck_assert_uint_eq (rt_atomic_get (&submits), 2);
}
END_TEST

START_TEST (submit_refuses_one_in_between)
{
  static const int want[4] = { 0, 0, -EBADF, 0 };

  submit_steps[0] = (struct step){ TAKE, 0, 2 };
  submit_steps[1] = (struct step){ FAIL, -EBADF, 0 };
  four_writes (want);
}
END_TEST

START_TEST (more_than_fit)
{
  struct io_batch *batch = io_batch_new (300);

  for (unsigned i = 0; i < 300; ++i)
    io_batch_add (batch, leg[i % 2], IO_WRITE, 0, i * 4096, 4096, ones, 0);
  ck_assert_int_eq (io_batch_run (batch), 0);
  for (unsigned i = 0; i < 300; ++i)
    ck_assert (file_has (i % 2, 1, i * 4096, 4096));
  io_batch_unref (batch);
}
END_TEST

/* ---- events ---- */

START_TEST (getevents_is_interrupted)
{
  event_steps[0] = (struct step){ FAIL, -EINTR, 0 };
  event_steps[1] = (struct step){ FAIL, -EINTR, 0 };
  four_writes (all_good);
}
END_TEST

/* Told once, and tried again until the deadline. */
START_TEST (getevents_fails)
{
  for (unsigned i = 0; i < 8; ++i)
    event_steps[i] = (struct step){ FAIL, -EINVAL, 0 };
  ck_assert_int_eq (fill (0, 0, 4096), 0);
  ck_assert_uint_eq (said.n, 1);
  ck_assert_ptr_nonnull (strstr (said.lines[0], "io_getevents"));
}
END_TEST

/* Blocks that were never written are read without the disk: done before
 * io_submit returns.  The ring is many times shorter than this.
 */
START_TEST (ring_without_system_calls)
{
  for (unsigned n = 0; n < 2000; ++n) {
    struct buffer *zeroes = buffer_new (4 * KiB);
    struct io_batch *batch = io_batch_new (2);

    memset (zeroes->data, 1, zeroes->size);
    for (unsigned i = 0; i < 2; ++i)
      io_batch_add (batch, leg[i], IO_READ, 0, n % 500 * 4096, 4096, zeroes, 0);
    ck_assert_int_eq (io_batch_run (batch), 0);
    ck_assert (bytes_are_zero (zeroes->data, zeroes->size));
    io_batch_unref (batch);
    buffer_unref (zeroes);
  }
  ck_assert_uint_eq (rt_atomic_get (&reaps), 0);
}
END_TEST

/* And what is not there yet is waited for in the kernel. */
START_TEST (ring_and_system_calls)
{
  for (unsigned n = 0; n < 300; ++n)
    four_writes (all_good);
  ck_assert_uint_le (rt_atomic_get (&reaps), 300 * 4);
}
END_TEST

/* The kernel reports res for a write; what comes of it. */
static int
write_result (int res)
{
  event_steps[0] = (struct step){ RESULT, res, 0 };
  reset_counts ();
  return device_run (leg[0], IO_WRITE, IO_FUA, 8192, 16384, ones);
}

START_TEST (short_transfers)
{
  struct buffer *buffer = buffer_new_zero (16384);

  ck_assert_int_eq (write_result (4096), 0);
  ck_assert_uint_eq (rt_atomic_get (&submits), 2);
  ck_assert_uint_eq (last_offset, 8192 + 4096);
  ck_assert_uint_eq (last_rw_flags, RWF_DSYNC);

  event_steps[1] = (struct step){ RESULT, 4096, 0 };
  ck_assert_int_eq (write_result (512), 0);
  ck_assert_uint_eq (rt_atomic_get (&submits), 3);
  ck_assert_uint_eq (last_offset, 8192 + 512 + 4096);

  event_steps[0] = (struct step){ RESULT, 4096, 0 };
  event_steps[1] = (struct step){ RESULT, 4096, 0 };
  reset_counts ();
  ck_assert_int_eq (device_run (leg[0], IO_READ, 0, 8192, 16384, buffer), 0);
  ck_assert_uint_eq (rt_atomic_get (&submits), 3);
  ck_assert_mem_eq (buffer->data, ones->data, 16384);
  buffer_unref (buffer);
}
END_TEST

START_TEST (short_transfers_that_fail)
{
  ck_assert_int_eq (write_result (0), -EIO);
  ck_assert_int_eq (write_result (16385), -EIO);
  ck_assert_int_eq (write_result (-ENOSPC), -ENOSPC);
  ck_assert_uint_eq (rt_atomic_get (&submits), 1);
  event_steps[1] = (struct step){ RESULT, -ENOSPC, 0 };
  ck_assert_int_eq (write_result (4096), -ENOSPC);
  event_steps[1] = (struct step){ RESULT, 0, 0 };
  ck_assert_int_eq (write_result (4096), -EIO);
  ck_assert_uint_eq (rt_atomic_get (&submits), 2);
}
END_TEST

START_TEST (interrupted_transfers)
{
  ck_assert_int_eq (write_result (-EINTR), 0);
  ck_assert_uint_eq (rt_atomic_get (&submits), 2);
  /* A flush that failed is not asked again: it might say yes. */
  event_steps[0] = (struct step){ RESULT, -EINTR, 0 };
  reset_counts ();
  ck_assert_int_eq (device_run (leg[0], IO_FLUSH, 0, 0, 0, NULL), -EINTR);
  ck_assert_uint_eq (rt_atomic_get (&submits), 1);
  event_steps[0] = (struct step){ RESULT, -EIO, 0 };
  reset_counts ();
  ck_assert_int_eq (device_run (leg[0], IO_FLUSH, 0, 0, 0, NULL), -EIO);
  ck_assert_uint_eq (rt_atomic_get (&submits), 1);
}
END_TEST

/* Nothing is made up: the kernel itself ends these early. */
START_TEST (file_is_too_short)
{
  struct buffer *buffer = buffer_new (16384);
  struct rlimit limit;

  ck_assert_int_eq (truncate (names[0], 8192 + 4096), 0);
  ck_assert_int_eq (device_run (leg[0], IO_READ, 0, 0, 8192, buffer), 0);
  ck_assert_int_eq (device_run (leg[0], IO_READ, 0, 8192, 16384, buffer), -EIO);
  ck_assert_int_eq (device_run (leg[0], IO_READ, 0, 16384, 4096, buffer), -EIO);
  ck_assert_int_eq (truncate (names[0], 8192 + 100), 0);
  ck_assert_int_eq (device_run (leg[0], IO_READ, 0, 8192, 512, buffer), -EIO);
  buffer_unref (buffer);

  ck_assert_int_eq (getrlimit (RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = 8192 + 4096;
  signal (SIGXFSZ, SIG_IGN);
  ck_assert_int_eq (setrlimit (RLIMIT_FSIZE, &limit), 0);
  ck_assert_int_eq (fill (0, 8192, 4096), 0);
  ck_assert_int_eq (fill (0, 8192, 16384), -EFBIG);
}
END_TEST

/* ---- operations that are given up ---- */

START_TEST (one_leg_hangs)
{
  struct io_batch *batch = io_batch_new (3);
  struct buffer *buffer = buffer_new_zero (4096);
  struct io *a, *b, *c;

  leg[0]->timeout = SOON;
  withhold (0);
  a = io_batch_add (batch, leg[0], IO_READ, 0, 0, 4096, buffer, 0);
  b = io_batch_add (batch, leg[1], IO_WRITE, 0, 0, 4096, ones, 0);
  c = io_batch_add (batch, leg[0], IO_FLUSH, 0, 0, 0, NULL, 0);
  buffer_unref (buffer);
  io_batch_submit (batch);
  io_batch_wait (batch);
  ck_assert_int_eq (a->result, -ETIMEDOUT);
  ck_assert_int_eq (b->result, 0);
  ck_assert_int_eq (c->result, -ETIMEDOUT);
  ck_assert_uint_eq (device_abandoned (leg[0]), 2);
  ck_assert_uint_eq (device_abandoned (leg[1]), 0);
  /* Only the kernel's references are left now. */
  io_batch_unref (batch);

  aio_poll (aio);
  ck_assert_uint_eq (device_abandoned (leg[0]), 2);
  /* The thread goes on, with another context. */
  ck_assert_int_eq (fill (1, 4096, 4096), 0);
  ck_assert_uint_eq (rt_atomic_get (&setups), AT_START + 1);
  device_close (leg[0]);
  ck_assert_ptr_nonnull (strstr (said.lines[said.n - 1], "a.img"));

  release ();
  aio_poll (aio);
  ck_assert_uint_eq (device_abandoned (leg[0]), 0);
  leg[0]->timeout = LONG;
  ck_assert_int_eq (fill (0, 4096, 4096), 0);
  ck_assert_uint_eq (rt_atomic_get (&setups), AT_START + 1);
}
END_TEST

/* Two batches of one thread; the second is given up while the first is still
 * to be waited for.
 */
START_TEST (two_batches_one_hangs)
{
  struct io_batch *first = io_batch_new (1), *second = io_batch_new (1);
  struct io *a, *b;

  leg[0]->timeout = SOON;
  withhold (0);
  a = io_batch_add (first, leg[1], IO_WRITE, 0, 0, 4096, ones, 0);
  b = io_batch_add (second, leg[0], IO_WRITE, 0, 0, 4096, ones, 0);
  io_batch_submit (first);
  io_batch_submit (second);
  io_batch_wait (second);
  ck_assert_int_eq (b->result, -ETIMEDOUT);
  io_batch_unref (second);
  io_batch_wait (first);
  ck_assert_int_eq (a->result, 0);
  io_batch_unref (first);
  ck_assert_int_eq (fill (1, 0, 4096), 0);
  release ();
  aio_poll (aio);
  ck_assert_uint_eq (device_abandoned (leg[0]), 0);
}
END_TEST

/* The other way round: an abandoned operation is in the context while the
 * thread works on, and the context is handed over when it has nothing else.
 */
START_TEST (two_batches_first_hangs)
{
  struct io_batch *first = io_batch_new (1), *second = io_batch_new (2);
  struct io *b[2];

  leg[0]->timeout = SOON;
  withhold (0);
  io_batch_add (first, leg[0], IO_WRITE, 0, 0, 4096, ones, 0);
  b[0] = io_batch_add (second, leg[1], IO_WRITE, 0, 0, 4096, ones, 0);
  b[1] = io_batch_add (second, leg[0], IO_WRITE, 0, 4096, 4096, ones, 0);
  io_batch_submit (first);
  io_batch_submit (second);
  io_batch_wait (first);
  io_batch_wait (second);
  ck_assert_int_eq (b[0]->result, 0);
  ck_assert_int_eq (b[1]->result, -ETIMEDOUT);
  ck_assert_uint_eq (device_abandoned (leg[0]), 2);
  io_batch_unref (first);
  io_batch_unref (second);
  release ();
  aio_poll (aio);
  ck_assert_uint_eq (device_abandoned (leg[0]), 0);
}
END_TEST

/* An abandoned operation that ends while its batch still waits for another
 * disk: the same thread sees it.
 */
static void
release_soon (void *opaque)
{
  (void)opaque;
  while (device_abandoned (leg[0]) == 0)
    nap ();
  release ();
}

START_TEST (late_but_seen_at_once)
{
  struct io_batch *batch = io_batch_new (3);
  struct rt_thread thread;
  struct io *a, *b;

  leg[0]->timeout = SOON;
  leg[1]->timeout = RT_NEVER;
  event_steps[0] = (struct step){ FAIL, -EINTR, 0 };
  withhold (0);
  a = io_batch_add (batch, leg[0], IO_WRITE, 0, 0, 4096, ones, 0);
  b = io_batch_add (batch, leg[1], IO_WRITE, 0, 0, 4096, ones, 0);
  io_batch_submit (batch);
  ck_assert_int_eq (rt_thread_create (&thread, "r", release_soon, NULL), 0);
  io_batch_wait (batch);
  rt_thread_join (&thread);
  ck_assert_int_eq (a->result, -ETIMEDOUT);
  ck_assert_int_eq (b->result, 0);
  io_batch_unref (batch);
  aio_poll (aio);
  ck_assert_uint_eq (device_abandoned (leg[0]), 0);
}
END_TEST

/* A batch whose operation came late is used again. */
START_TEST (used_again_after_late)
{
  struct io_batch *batch = io_batch_new (2);

  leg[0]->timeout = SOON;
  withhold (0);
  io_batch_add (batch, leg[0], IO_WRITE, 0, 0, 4096, ones, 0);
  io_batch_add (batch, leg[1], IO_WRITE, 0, 0, 4096, ones, 0);
  ck_assert_int_eq (io_batch_run (batch), -ETIMEDOUT);
  release ();
  aio_poll (aio);
  ck_assert (io_batch_again (batch));
  leg[0]->timeout = LONG;
  io_batch_add (batch, leg[1], IO_WRITE, 0, 0, 4096, ones, 0);
  io_batch_add (batch, leg[0], IO_WRITE, 0, 0, 4096, ones, 0);
  ck_assert_int_eq (io_batch_run (batch), 0);
  io_batch_unref (batch);
}
END_TEST

static void
hanging_writer (void *opaque)
{
  *(int *)opaque = fill (0, 0, 4096);
}

START_TEST (the_thread_ends)
{
  struct rt_thread thread;
  int result = 1;

  leg[0]->timeout = SOON;
  withhold (0);
  ck_assert_int_eq (rt_thread_create (&thread, "w", hanging_writer, &result),
                    0);
  rt_thread_join (&thread);
  ck_assert_int_eq (result, -ETIMEDOUT);
  release ();
  aio_poll (aio);
  ck_assert_uint_eq (device_abandoned (leg[0]), 0);
}
END_TEST

START_TEST (late_and_short)
{
  leg[0]->timeout = SOON;
  withhold (0);
  ck_assert_int_eq (fill (0, 0, 8192), -ETIMEDOUT);
  release ();
  for (unsigned i = 0; i < 8; ++i)
    event_steps[i] = (struct step){ RESULT, 4096, 0 };
  reset_counts ();
  aio_poll (aio);
  ck_assert_uint_eq (device_abandoned (leg[0]), 0);
  ck_assert_uint_eq (rt_atomic_get (&submits), 0);
}
END_TEST

/* ---- no contexts ---- */

static void
writer (void *opaque)
{
  *(int *)opaque = fill (1, 8192, 8192);
}

START_TEST (no_contexts)
{
  struct rt_thread thread;
  int result;

  /* This thread takes the one that aio_start made. */
  ck_assert_int_eq (fill (0, 0, 4096), 0);
  setup_fails = true;
  for (unsigned i = 0; i < 3; ++i) {
    result = 1;
    ck_assert_int_eq (rt_thread_create (&thread, "w", writer, &result), 0);
    rt_thread_join (&thread);
    ck_assert_int_eq (result, 0);
    ck_assert (file_has (1, 1, 8192, 8192));
  }
  ck_assert_uint_eq (said.n, 1);
  ck_assert_ptr_nonnull (strstr (said.lines[0], "aio-max-nr"));
}
END_TEST

START_TEST (no_context_at_all)
{
  struct aio *other = aio_new (&the_log);

  setup_fails = true;
  ck_assert_int_eq (aio_start (other), -EAGAIN);
  ck_assert_ptr_nonnull (strstr (said.lines[said.n - 1], "aio-max-nr"));
  aio_free (other);
}
END_TEST

START_TEST (contexts_are_used_again)
{
  struct rt_thread thread;
  int result;

  for (unsigned i = 0; i < 20; ++i) {
    ck_assert_int_eq (rt_thread_create (&thread, "w", writer, &result), 0);
    rt_thread_join (&thread);
    ck_assert_int_eq (result, 0);
  }
  ck_assert_uint_eq (rt_atomic_get (&setups), AT_START);
}
END_TEST

/* ---- zeroes ---- */

static void
check_zero (unsigned i, unsigned flags, uint64_t offset, uint64_t length)
{
  ck_assert_int_eq (fill (i, 0, 64 * KiB), 0);
  ck_assert_int_eq (device_run (leg[i], IO_ZERO, flags, offset, length, NULL),
                    0);
  ck_assert (file_has (i, 0, offset, length));
  ck_assert (file_has (i, 1, 0, offset));
  ck_assert (file_has (i, 1, offset + length, 64 * KiB - offset - length));
}

static void
check_zero_calls (unsigned punch, unsigned zero, unsigned allocate)
{
  ck_assert_uint_eq (rt_atomic_get (&punches), punch);
  ck_assert_uint_eq (rt_atomic_get (&zero_ranges), zero);
  ck_assert_uint_eq (rt_atomic_get (&allocates), allocate);
  rt_atomic_set (&punches, 0);
  rt_atomic_set (&zero_ranges, 0);
  rt_atomic_set (&allocates, 0);
}

START_TEST (zero_falls_back)
{
  rt_atomic_set (&allocates, 0);

  /* A disk that can do nothing is asked once for each. */
  punch_refused = zero_range_refused = allocate_refused = true;
  check_zero (0, IO_MAY_TRIM, 512, 8192);
  check_zero_calls (1, 1, 0);
  check_zero (0, 0, 512, 8192);
  check_zero_calls (0, 0, 0);
  check_zero (0, IO_MAY_TRIM, 4096, 4096);
  check_zero_calls (0, 0, 0);

  /* No ZERO_RANGE: a hole, filled again. */
  punch_refused = allocate_refused = false;
  check_zero (1, 0, 4096, 8192);
  check_zero_calls (1, 1, 1);
  check_zero (1, 0, 1024, 512);
  check_zero_calls (1, 0, 1);
  check_zero (1, IO_MAY_TRIM, 1024, 512);
  check_zero_calls (1, 0, 0);
}
END_TEST

START_TEST (zero_without_allocate)
{
  rt_atomic_set (&allocates, 0);
  zero_range_refused = allocate_refused = true;
  check_zero (0, 0, 4096, 8192);
  check_zero_calls (1, 1, 1);
  check_zero (0, 0, 4096, 8192);
  check_zero_calls (0, 0, 0);
  /* No hole where none may be, but where one may. */
  check_zero (0, IO_MAY_TRIM, 4096, 8192);
  check_zero_calls (1, 0, 0);
}
END_TEST

START_TEST (zero_without_punch)
{
  rt_atomic_set (&allocates, 0);
  punch_refused = true;
  check_zero (0, IO_MAY_TRIM, 4096, 8192);
  check_zero_calls (1, 1, 0);
  check_zero (0, IO_MAY_TRIM, 4096, 8192);
  check_zero_calls (0, 1, 0);
}
END_TEST

/* More than one piece, to the last byte. */
START_TEST (zero_written_in_pieces)
{
  punch_refused = zero_range_refused = allocate_refused = true;
  for (uint64_t o = 0; o < SIZE; o += 64 * KiB)
    ck_assert_int_eq (fill (0, o, 64 * KiB), 0);
  ck_assert_int_eq (device_run (leg[0], IO_ZERO, 0, 512, SIZE - 1024, NULL), 0);
  ck_assert (file_has (0, 0, 512, SIZE - 1024));
  ck_assert (file_has (0, 1, 0, 512));
  ck_assert (file_has (0, 1, SIZE - 512, 512));
}
END_TEST

START_TEST (zero_fua_is_synced)
{
  rt_atomic_set (&syncs, 0);
  check_zero (0, 0, 4096, 4096);
  ck_assert_uint_eq (rt_atomic_get (&syncs), 0);
  check_zero (0, IO_FUA, 4096, 4096);
  ck_assert_uint_eq (rt_atomic_get (&syncs), 1);
  check_zero (0, IO_FUA | IO_MAY_TRIM, 4096, 4096);
  ck_assert_uint_eq (rt_atomic_get (&syncs), 2);
}
END_TEST

/* One disk never answers.  Its operations are given up, those that wait for
 * a helper never happen, and the other disk does not notice.
 */
START_TEST (zero_hangs)
{
  struct io_batch *batch = io_batch_new (20);
  struct io *io[20];

  ck_assert_int_eq (fill (0, 0, 64 * KiB), 0);
  /* Long enough for two of them to begin. */
  leg[0]->timeout = 2 * RT_SECOND;
  make_stuck (0);
  for (unsigned i = 0; i < 20; ++i)
    io[i] = io_batch_add (batch, leg[i < 10 ? 0 : 1], IO_ZERO, 0, i * 512, 512,
                          NULL, 0);
  io_batch_submit (batch);
  while (rt_atomic_get (&hanging) < 2)
    nap ();
  io_batch_wait (batch);
  for (unsigned i = 0; i < 20; ++i)
    ck_assert_int_eq (io[i]->result, i < 10 ? -ETIMEDOUT : 0);
  ck_assert_uint_eq (device_abandoned (leg[0]), 10);
  ck_assert_int_eq (device_run (leg[1], IO_ZERO, 0, 0, 4096, NULL), 0);
  io_batch_unref (batch);
  release ();
  while (device_abandoned (leg[0]) > 0)
    nap ();
  /* Two had begun; which is not said. */
  ck_assert (file_has (0, 1, 10 * 512, 64 * KiB - 10 * 512));
  ck_assert (file_has (0, 1, 2 * 512, 8 * 512));
}
END_TEST

/* ---- making legs ---- */

START_TEST (allocate_by_writing)
{
  allocate_refused = zero_range_refused = punch_refused = true;
  ck_assert_int_eq (fill (0, SIZE - 4096, 4096), 0);
  ck_assert_int_eq (aio_allocate (leg[0], SIZE + 4 * MiB), 0);
  ck_assert_uint_eq (leg[0]->limits.size, SIZE + 4 * MiB);
  ck_assert (file_has (0, 1, SIZE - 4096, 4096));
  ck_assert (file_has (0, 0, SIZE, 4 * MiB));
}
END_TEST

/* ---- the watchdog ---- */

struct stuck {
  struct rt_thread thread;
  unsigned legs;
  int result;
};

static void
stuck_main (void *opaque)
{
  struct stuck *stuck = opaque;
  struct io_batch *batch = io_batch_new (2);

  for (unsigned i = 0; i < stuck->legs; ++i)
    io_batch_add (batch, leg[i], IO_WRITE, 0, 0, 4096, ones, 0);
  stuck->result = io_batch_run (batch);
  io_batch_unref (batch);
}

static void
start_stuck (struct stuck *stuck, unsigned legs)
{
  stuck->legs = legs;
  ck_assert_int_eq (
      rt_thread_create (&stuck->thread, "stuck", stuck_main, stuck), 0);
  while (rt_atomic_get (&in_submit) == 0)
    nap ();
}

START_TEST (stuck_on_one)
{
  struct stuck stuck;
  struct device *blamed;

  make_stuck (0);
  start_stuck (&stuck, 1);
  /* A minute has not passed. */
  ck_assert_ptr_null (aio_stuck (aio));
  set_timeouts (SOON);
  while ((blamed = aio_stuck (aio)) == NULL)
    nap ();
  ck_assert_ptr_eq (blamed, leg[0]);
  release ();
  rt_thread_join (&stuck.thread);
  ck_assert_ptr_null (aio_stuck (aio));
}
END_TEST

START_TEST (stuck_on_one_of_two)
{
  struct stuck stuck;
  struct device *blamed;

  make_stuck (1);
  start_stuck (&stuck, 2);
  set_timeouts (2 * RT_SECOND);
  while ((blamed = aio_stuck (aio)) == NULL)
    nap ();
  ck_assert_ptr_eq (blamed, leg[1]);
  release ();
  rt_thread_join (&stuck.thread);
  while (device_abandoned (leg[0]) + device_abandoned (leg[1]) > 0)
    nap ();
}
END_TEST

/* io_submit hangs, but both disks answer otherwise: nobody is blamed, however
 * often the disks are asked.
 */
START_TEST (stuck_on_neither)
{
  struct stuck stuck;

  pread_works = true;
  make_stuck (1);
  start_stuck (&stuck, 2);
  set_timeouts (2 * RT_SECOND);
  rt_atomic_set (&preads, 0);
  while (rt_atomic_get (&preads) < 4) {
    ck_assert_ptr_null (aio_stuck (aio));
    nap ();
  }
  release ();
  rt_thread_join (&stuck.thread);
  while (device_abandoned (leg[0]) + device_abandoned (leg[1]) > 0)
    nap ();
}
END_TEST

/* ---- all ---- */

static void
add_tests (TCase *tcase)
{
  tcase_add_test (tcase, steady_cost);
  tcase_add_test (tcase, submit_takes_some);
  tcase_add_test (tcase, submit_is_interrupted);
  tcase_add_test (tcase, submit_has_no_room);
  tcase_add_test (tcase, submit_never_has_room);
  tcase_add_test (tcase, submit_refuses_one);
  tcase_add_test (tcase, submit_refuses_one_in_between);
  tcase_add_test (tcase, more_than_fit);
  tcase_add_test (tcase, getevents_is_interrupted);
  tcase_add_test (tcase, getevents_fails);
  tcase_add_test (tcase, short_transfers);
  tcase_add_test (tcase, short_transfers_that_fail);
  tcase_add_test (tcase, interrupted_transfers);
  tcase_add_test (tcase, file_is_too_short);
  tcase_add_test (tcase, one_leg_hangs);
  tcase_add_test (tcase, two_batches_one_hangs);
  tcase_add_test (tcase, two_batches_first_hangs);
  tcase_add_test (tcase, late_but_seen_at_once);
  tcase_add_test (tcase, used_again_after_late);
  tcase_add_test (tcase, the_thread_ends);
  tcase_add_test (tcase, late_and_short);
  tcase_add_test (tcase, no_contexts);
  tcase_add_test (tcase, no_context_at_all);
  tcase_add_test (tcase, contexts_are_used_again);
  tcase_add_test (tcase, zero_falls_back);
  tcase_add_test (tcase, zero_without_allocate);
  tcase_add_test (tcase, zero_without_punch);
  tcase_add_test (tcase, zero_written_in_pieces);
  tcase_add_test (tcase, zero_fua_is_synced);
  tcase_add_test (tcase, zero_hangs);
  tcase_add_test (tcase, allocate_by_writing);
  tcase_add_test (tcase, stuck_on_one);
  tcase_add_test (tcase, stuck_on_one_of_two);
  tcase_add_test (tcase, stuck_on_neither);
}

int
main (void)
{
  Suite *suite = suite_create ("aio-faults");
  TCase *tcase = tcase_create ("faults");
  SRunner *runner;
  int failed;

  if (!mkdtemp (directory) || chdir (directory) == -1)
    return EXIT_FAILURE;
  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 120);
  add_tests (tcase);
  suite_add_tcase (suite, tcase);
  tcase = tcase_create ("ring");
  tcase_add_checked_fixture (tcase, setup_with_ring, teardown);
  tcase_set_timeout (tcase, 120);
  tcase_add_test (tcase, ring_without_system_calls);
  tcase_add_test (tcase, ring_and_system_calls);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  for (unsigned i = 0; i < 2; ++i)
    unlink (names[i]);
  if (chdir ("..") == -1 || rmdir (directory) == -1)
    return EXIT_FAILURE;
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
