/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Local devices on real files and, as root where there are any, on loop
 * devices.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/aio.h"

#define LONG    (60 * RT_SECOND)
#define SIZE    (4 * MiB)
#define THREADS 8

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

static bool
last_line_has (const char *text)
{
  return said.n > 0 && strstr (said.lines[said.n - 1], text) != NULL;
}

static const struct log the_log = { .sink = sink };
static char directory[] = "test-aio-XXXXXX";
static struct aio *aio;

static void
setup (void)
{
  aio = aio_new (&the_log);
  ck_assert_ptr_nonnull (aio);
}

static void
teardown (void)
{
  aio_free (aio);
}

static struct device *
must_open (const char *path, unsigned flags)
{
  struct device *device;
  int err = aio_open (aio, path, flags, LONG, &device, NULL);

  ck_assert_msg (err == 0, "%s: %s: %s", path, strerror (-err),
                 said.n > 0 ? said.lines[said.n - 1] : "");
  return device;
}

/* Opening fails like this, and the line says so. */
static void
must_not_open (const char *path, unsigned flags, int want, const char *text)
{
  struct device *device;

  said.n = 0;
  ck_assert_int_eq (aio_open (aio, path, flags, LONG, &device, NULL), want);
  ck_assert_uint_eq (said.n, 1);
  ck_assert_msg (last_line_has (text) && last_line_has (path), "%s",
                 said.lines[0]);
}

static struct device *
new_file (const char *name)
{
  struct device *device;

  unlink (name);
  device = must_open (name, AIO_CREATE);
  ck_assert_int_eq (aio_allocate (device, SIZE), 0);
  return device;
}

static struct buffer *
pattern (size_t size, unsigned seed)
{
  struct buffer *buffer = buffer_new (size);

  ck_assert_ptr_nonnull (buffer);
  for (size_t i = 0; i < size; ++i)
    buffer->data[i] = (uint8_t)(1 + (i * 7 + i / 251 + seed) % 255);
  return buffer;
}

/* ---- transfers, with and without aio_start ---- */

static void
round_trip (struct device *device, uint64_t offset, size_t length,
            unsigned flags)
{
  struct buffer *out = pattern (length, (unsigned)offset);
  struct buffer *in = buffer_new_zero (length);

  ck_assert_int_eq (device_run (device, IO_WRITE, flags, offset, length, out),
                    0);
  ck_assert_int_eq (device_run (device, IO_FLUSH, 0, 0, 0, NULL), 0);
  ck_assert_int_eq (device_run (device, IO_READ, 0, offset, length, in), 0);
  ck_assert_mem_eq (in->data, out->data, length);
  buffer_unref (in);
  buffer_unref (out);
}

START_TEST (transfers)
{
  struct device *device = new_file ("a.img");
  uint32_t unit = device->limits.logical_block;

  if (_i)
    ck_assert_int_eq (aio_start (aio), 0);
  ck_assert_uint_eq (device->limits.size, SIZE);
  round_trip (device, 0, unit, 0);
  round_trip (device, unit, 3 * unit, IO_FUA);
  round_trip (device, SIZE - unit, unit, IO_FUA);
  round_trip (device, 0, SIZE, 0);
  device_close (device);
}
END_TEST

START_TEST (two_legs)
{
  struct device *leg[2] = { new_file ("a.img"), new_file ("b.img") };
  struct buffer *out = pattern (64 * KiB, 9), *in = buffer_new (128 * KiB);
  struct io_batch *batch = io_batch_new (2);

  if (_i)
    ck_assert_int_eq (aio_start (aio), 0);
  for (unsigned i = 0; i < 2; ++i)
    io_batch_add (batch, leg[i], IO_WRITE, IO_FUA, 4096, 64 * KiB, out, 0);
  ck_assert_int_eq (io_batch_run (batch), 0);
  io_batch_unref (batch);
  batch = io_batch_new (2);
  for (unsigned i = 0; i < 2; ++i)
    io_batch_add (batch, leg[i], IO_READ, 0, 4096, 64 * KiB, in, i * 64 * KiB);
  ck_assert_int_eq (io_batch_run (batch), 0);
  io_batch_unref (batch);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_mem_eq (in->data + i * 64 * KiB, out->data, 64 * KiB);
    device_close (leg[i]);
  }
  buffer_unref (in);
  buffer_unref (out);
}
END_TEST

/* ---- zeroes ---- */

static void
check_zero (struct device *device, unsigned flags, uint64_t offset,
            uint64_t length)
{
  const size_t size = 256 * KiB;
  struct buffer *out = pattern (size, 3), *in = buffer_new (size);

  ck_assert_int_eq (device_run (device, IO_WRITE, 0, 0, size, out), 0);
  ck_assert_int_eq (device_run (device, IO_ZERO, flags, offset, length, NULL),
                    0);
  ck_assert_int_eq (device_run (device, IO_READ, 0, 0, size, in), 0);
  ck_assert_mem_eq (in->data, out->data, offset);
  ck_assert (bytes_are_zero (in->data + offset, length));
  ck_assert_mem_eq (in->data + offset + length, out->data + offset + length,
                    size - offset - length);
  buffer_unref (in);
  buffer_unref (out);
}

/* Ranges that begin and end inside the blocks of a file system. */
static void
check_zeroes (struct device *device)
{
  static const unsigned flags[] = { 0, IO_MAY_TRIM, IO_FUA,
                                    IO_FUA | IO_MAY_TRIM };
  uint32_t unit = device->limits.logical_block;

  for (unsigned i = 0; i < 4; ++i) {
    check_zero (device, flags[i], 0, unit);
    check_zero (device, flags[i], unit, unit);
    check_zero (device, flags[i], 3 * unit, 64 * KiB + 2 * unit);
    check_zero (device, flags[i], 64 * KiB, 128 * KiB);
    check_zero (device, flags[i], 256 * KiB - unit, unit);
  }
}

START_TEST (zeroes)
{
  struct device *device = new_file ("a.img");
  struct stat before, after;

  if (_i)
    ck_assert_int_eq (aio_start (aio), 0);
  check_zeroes (device);
  /* May trim gives space back where the file system can; else it keeps. */
  ck_assert_int_eq (fstat (aio_fd (device), &before), 0);
  ck_assert_int_eq (device_run (device, IO_ZERO, IO_FUA, MiB, MiB, NULL), 0);
  ck_assert_int_eq (fstat (aio_fd (device), &after), 0);
  ck_assert_int_ge (after.st_blocks, before.st_blocks);
  if (device->limits.fast_zero) {
    ck_assert_int_eq (
        device_run (device, IO_ZERO, IO_FUA | IO_MAY_TRIM, MiB, MiB, NULL), 0);
    ck_assert_int_eq (fstat (aio_fd (device), &after), 0);
    ck_assert_int_lt (after.st_blocks, before.st_blocks);
  }
  ck_assert_int_eq (after.st_size, SIZE);
  device_close (device);
}
END_TEST

/* tmpfs knows holes but no zero ranges, and O_DIRECT only since Linux 6.6. */
START_TEST (tmpfs)
{
  char path[64];
  struct device *device;

  snprintf (path, sizeof path, "/dev/shm/test-aio-%ld.img", (long)getpid ());
  if (access ("/dev/shm", W_OK) == -1)
    return;
  device = new_file (path);
  unlink (path);
  ck_assert_int_eq (aio_start (aio), 0);
  round_trip (device, 0, 64 * KiB, IO_FUA);
  check_zeroes (device);
  device_close (device);
}
END_TEST

/* ---- opening ---- */

START_TEST (create_and_allocate)
{
  struct device *device;
  struct buffer *buffer = pattern (4096, 1), *in = buffer_new (4096);
  struct stat st;
  bool created = false;

  unlink ("new.img");
  must_not_open ("new.img", 0, -ENOENT, "cannot be opened");
  must_not_open ("new.img", AIO_CREATE | AIO_READ_ONLY, -ENOENT, "opened");
  must_not_open ("nowhere/new.img", AIO_CREATE, -ENOENT, "created");
  ck_assert_int_eq (
      aio_open (aio, "new.img", AIO_CREATE, LONG, &device, &created), 0);
  ck_assert (created);
  ck_assert_int_eq (fstat (aio_fd (device), &st), 0);
  ck_assert_uint_eq (st.st_mode & 07777, 0600);
  ck_assert_uint_eq (device->limits.size, 0);
  ck_assert (aio_is_file (device));
  ck_assert_int_eq (aio_allocate (device, SIZE), 0);
  ck_assert_uint_eq (device->limits.size, SIZE);
  ck_assert_int_eq (fstat (aio_fd (device), &st), 0);
  ck_assert_int_eq (st.st_size, SIZE);
  ck_assert_int_ge (st.st_blocks, SIZE / 512);

  /* A larger file stays as it is. */
  ck_assert_int_eq (device_run (device, IO_WRITE, 0, SIZE - 4096, 4096, buffer),
                    0);
  ck_assert_int_eq (aio_allocate (device, MiB), 0);
  ck_assert_uint_eq (device->limits.size, SIZE);
  device_close (device);
  ck_assert_int_eq (
      aio_open (aio, "new.img", AIO_CREATE, LONG, &device, &created), 0);
  ck_assert (!created);
  ck_assert_uint_eq (device->limits.size, SIZE);
  ck_assert_int_eq (device_run (device, IO_READ, 0, SIZE - 4096, 4096, in), 0);
  ck_assert_mem_eq (in->data, buffer->data, 4096);
  device_close (device);
  ck_assert_int_eq (unlink ("new.img"), 0);
  buffer_unref (buffer);
  buffer_unref (in);
}
END_TEST

START_TEST (odd_sizes)
{
  struct device *device;
  struct buffer *buffer;
  int fd = open ("a.img", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  ck_assert_int_eq (ftruncate (fd, 100000), 0);
  close (fd);
  device = must_open ("a.img", 0);
  ck_assert_uint_eq (device->limits.size,
                     round_down (100000, device->limits.logical_block));
  buffer = buffer_new (4096);
  ck_assert_int_eq (
      device_run (device, IO_READ, 0,
                  device->limits.size - device->limits.logical_block,
                  device->limits.logical_block, buffer),
      0);
  ck_assert_int_eq (device_run (device, IO_READ, 0, device->limits.size,
                                device->limits.logical_block, buffer),
                    -EINVAL);
  buffer_unref (buffer);
  device_close (device);
}
END_TEST

START_TEST (what_is_no_leg)
{
  ck_assert_int_eq (mkdir ("dir", 0700), 0);
  ck_assert_int_eq (mkfifo ("pipe", 0600), 0);
  must_not_open ("dir", 0, -EINVAL, "a directory");
  must_not_open ("dir", AIO_CREATE, -EINVAL, "a directory");
  must_not_open ("pipe", 0, -EINVAL, "a pipe");
  must_not_open ("pipe", AIO_READ_ONLY, -EINVAL, "a pipe");
  must_not_open ("/dev/null", 0, -EINVAL, "a character device");
  rmdir ("dir");
  unlink ("pipe");
}
END_TEST

START_TEST (close_on_exec_and_direct)
{
  struct device *device = new_file ("a.img");
  int flags = fcntl (aio_fd (device), F_GETFL);
  bool complained = false;

  ck_assert_int_eq (fcntl (aio_fd (device), F_GETFD), FD_CLOEXEC);
  ck_assert_int_eq (flags & O_NONBLOCK, 0);
  for (unsigned i = 0; i < said.n; ++i)
    complained |= strstr (said.lines[i], "no O_DIRECT") != NULL;
  ck_assert_int_eq (complained, !(flags & O_DIRECT));
  device_close (device);
}
END_TEST

/* Works on a directory that another user may enter. */
static bool
become_nobody (void)
{
  return geteuid () != 0 || seteuid (65534) == 0;
}

START_TEST (read_only)
{
  struct device *device = new_file ("a.img");
  struct buffer *buffer = pattern (512, 1);

  device_close (device);
  device = must_open ("a.img", AIO_READ_ONLY);
  if (_i)
    ck_assert_int_eq (aio_start (aio), 0);
  ck_assert (device->limits.read_only);
  ck_assert_int_eq (device_run (device, IO_WRITE, 0, 0, 512, buffer), -EROFS);
  ck_assert_int_eq (device_run (device, IO_ZERO, 0, 0, 512, NULL), -EROFS);
  ck_assert_int_eq (device_run (device, IO_FLUSH, 0, 0, 0, NULL), 0);
  ck_assert_int_eq (aio_allocate (device, 2 * SIZE), -EROFS);
  ck_assert_int_eq (device_run (device, IO_READ, 0, 0, 512, buffer), 0);
  ck_assert (bytes_are_zero (buffer->data, 512));
  device_close (device);
  buffer_unref (buffer);
}
END_TEST

START_TEST (try_write)
{
  struct device *device = new_file ("a.img");

  device_close (device);
  ck_assert_int_eq (chmod ("a.img", 0444), 0);
  if (!become_nobody ())
    return;
  must_not_open ("a.img", 0, -EACCES, "cannot be opened for writing");
  said.n = 0;
  device = must_open ("a.img", AIO_TRY_WRITE);
  ck_assert (device->limits.read_only);
  ck_assert (last_line_has ("read-only"));
  device_close (device);
  if (geteuid () != getuid ())
    ck_assert_int_eq (seteuid (getuid ()), 0);
  ck_assert_int_eq (chmod ("a.img", 0600), 0);
  device = must_open ("a.img", AIO_TRY_WRITE);
  ck_assert (!device->limits.read_only);
  device_close (device);
}
END_TEST

/* ---- locks ---- */

/* Open in another process; what comes of it. */
static int
open_elsewhere (const char *path, unsigned flags)
{
  struct device *device;
  int status;
  pid_t pid = fork ();

  ck_assert_int_ge (pid, 0);
  if (pid == 0) {
    struct aio *other = aio_new (&the_log);
    int err = aio_open (other, path, flags, LONG, &device, NULL);

    if (err == 0)
      device_close (device);
    else if (err == -EBUSY && !last_line_has ("in use"))
      err = -1;
    aio_free (other);
    _exit (-err);
  }
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFEXITED (status));
  return -WEXITSTATUS (status);
}

START_TEST (file_locks)
{
  struct device *device = new_file ("a.img"), *second;

  ck_assert_int_eq (open_elsewhere ("a.img", 0), -EBUSY);
  ck_assert_int_eq (open_elsewhere ("a.img", AIO_CREATE), -EBUSY);
  ck_assert_int_eq (open_elsewhere ("a.img", AIO_TRY_WRITE), -EBUSY);
  ck_assert_int_eq (open_elsewhere ("a.img", AIO_READ_ONLY), -EBUSY);
  ck_assert_int_eq (open_elsewhere ("a.img", AIO_NO_LOCK), 0);
  must_not_open ("a.img", 0, -EBUSY,
                 "in use by another server (file lock held); stop it first");
  /* Another process that looks and goes does not take the lock along. */
  ck_assert_int_eq (open_elsewhere ("a.img", 0), -EBUSY);
  device_close (device);
  ck_assert_int_eq (open_elsewhere ("a.img", 0), 0);

  device = must_open ("a.img", AIO_READ_ONLY);
  second = must_open ("a.img", AIO_READ_ONLY);
  ck_assert_int_eq (open_elsewhere ("a.img", AIO_READ_ONLY), 0);
  ck_assert_int_eq (open_elsewhere ("a.img", 0), -EBUSY);
  device_close (second);
  ck_assert_int_eq (open_elsewhere ("a.img", 0), -EBUSY);
  device_close (device);
}
END_TEST

/* As nbdkit does: the parent opens, the child serves, the parent goes. */
START_TEST (lock_outlives_the_parent)
{
  struct device *device = new_file ("a.img");
  int to_child[2], from_child[2];
  char c = 0;
  pid_t pid;

  ck_assert_int_eq (pipe (to_child), 0);
  ck_assert_int_eq (pipe (from_child), 0);
  pid = fork ();
  ck_assert_int_ge (pid, 0);
  if (pid == 0) {
    close (to_child[1]);
    if (aio_start (aio) < 0 || device_run (device, IO_FLUSH, 0, 0, 0, NULL) < 0
        || write (from_child[1], &c, 1) != 1 || read (to_child[0], &c, 1) < 0)
      _exit (1);
    _exit (0);
  }
  close (to_child[0]);
  close (from_child[1]);
  ck_assert_int_eq (read (from_child[0], &c, 1), 1);
  device_close (device);
  ck_assert_int_eq (open_elsewhere ("a.img", 0), -EBUSY);
  close (to_child[1]);
  close (from_child[0]);
  ck_assert_int_eq (waitpid (pid, NULL, 0), pid);
  ck_assert_int_eq (open_elsewhere ("a.img", 0), 0);
}
END_TEST

/* ---- loop devices ---- */

struct loop {
  char path[32];
  int fd;
};

/* A loop device over a file; false if there is none to be had. */
static bool
loop_open (struct loop *loop, const char *file, uint32_t block, uint32_t flags)
{
  struct loop_config config = { .block_size = block,
                                .info.lo_flags = LO_FLAGS_AUTOCLEAR | flags };
  int control = open ("/dev/loop-control", O_RDWR | O_CLOEXEC), n, fd;
  bool ok = false;

  if (control == -1)
    return false;
  fd = open (file, O_RDWR | O_CLOEXEC);
  config.fd = (uint32_t)fd;
  for (unsigned try = 0; try < 10 && !ok; ++try) {
    n = ioctl (control, LOOP_CTL_GET_FREE);
    snprintf (loop->path, sizeof loop->path, "/dev/loop%d", n);
    loop->fd = n < 0 ? -1 : open (loop->path, O_RDWR | O_CLOEXEC);
    if (loop->fd == -1)
      break;
    ok = ioctl (loop->fd, LOOP_CONFIGURE, &config) == 0;
    if (!ok)
      close (loop->fd);
  }
  close (fd);
  close (control);
  return ok;
}

START_TEST (block_device)
{
  static const uint32_t blocks[] = { 512, 4096 };
  struct device *device = new_file ("a.img");
  struct loop loop;

  device_close (device);
  if (!loop_open (&loop, "a.img", blocks[_i], 0))
    return;
  device = must_open (loop.path, 0);
  ck_assert (!aio_is_file (device));
  ck_assert_uint_eq (device->limits.size, SIZE);
  ck_assert_uint_eq (device->limits.logical_block, blocks[_i]);
  ck_assert (fcntl (aio_fd (device), F_GETFL) & O_DIRECT);
  ck_assert_int_eq (aio_allocate (device, SIZE), -ENOTSUP);
  ck_assert_int_eq (open_elsewhere (loop.path, 0), -EBUSY);
  ck_assert_int_eq (open_elsewhere (loop.path, AIO_READ_ONLY), -EBUSY);
  ck_assert_int_eq (open_elsewhere (loop.path, AIO_NO_LOCK), 0);

  ck_assert_int_eq (aio_start (aio), 0);
  round_trip (device, 0, 64 * KiB, IO_FUA);
  round_trip (device, SIZE - 4096, 4096, 0);
  check_zeroes (device);
  device_close (device);
  ck_assert_int_eq (open_elsewhere (loop.path, 0), 0);
  close (loop.fd);
}
END_TEST

START_TEST (read_only_block_device)
{
  struct device *device = new_file ("a.img");
  struct loop loop;
  struct buffer *buffer = pattern (512, 1);

  device_close (device);
  if (loop_open (&loop, "a.img", 512, LO_FLAGS_READ_ONLY)) {
    struct device *unused;
    int err = aio_open (aio, loop.path, 0, LONG, &unused, NULL);

    ck_assert (err == -EROFS || err == -EACCES || err == -EPERM);
    device = must_open (loop.path, AIO_TRY_WRITE);
    ck_assert (device->limits.read_only);
    ck_assert_int_eq (device_run (device, IO_READ, 0, 0, 512, buffer), 0);
    ck_assert_int_eq (device_run (device, IO_WRITE, 0, 0, 512, buffer), -EROFS);
    device_close (device);
    close (loop.fd);
  }
  buffer_unref (buffer);
}
END_TEST

/* ---- many threads ---- */

struct worker {
  struct rt_thread thread;
  struct device *leg[2];
  unsigned number, rounds;
};

static bool
all_are (const uint8_t *data, int byte, size_t n)
{
  for (size_t i = 0; i < n; ++i)
    if (data[i] != byte)
      return false;
  return true;
}

/* Each thread has its own part of both legs, and knows what is in it. */
static void
work (void *opaque)
{
  struct worker *w = opaque;
  const uint64_t part = SIZE / THREADS, unit = 4096;
  uint8_t known[SIZE / THREADS / 4096] = { 0 };
  unsigned seed = w->number;

  for (unsigned r = 1; r <= w->rounds; ++r) {
    struct io_batch *batch = io_batch_new (3);
    struct buffer *buffer = buffer_new (2 * unit);
    uint64_t block, offset;
    bool reading, zero;

    seed = seed * 1103515245 + 12345;
    block = (seed >> 16) % (part / unit);
    offset = w->number * part + block * unit;
    reading = (seed >> 8) % 3 == 0;
    zero = !reading && (seed >> 12) % 8 == 0;
    if (!reading) {
      known[block] = zero ? 0 : (uint8_t)r;
      memset (buffer->data, known[block], unit);
    }
    for (unsigned i = 0; i < 2; ++i)
      if (reading)
        io_batch_add (batch, w->leg[i], IO_READ, 0, offset, unit, buffer,
                      i * unit);
      else if (zero)
        io_batch_add (batch, w->leg[i], IO_ZERO, IO_MAY_TRIM, offset, unit,
                      NULL, 0);
      else
        io_batch_add (batch, w->leg[i], IO_WRITE, 0, offset, unit, buffer, 0);
    if (r % 64 == 0)
      io_batch_add (batch, w->leg[0], IO_FLUSH, 0, 0, 0, NULL, 0);
    ck_assert_int_eq (io_batch_run (batch), 0);
    if (reading)
      ck_assert (all_are (buffer->data, known[block], 2 * unit));
    io_batch_unref (batch);
    buffer_unref (buffer);
  }
}

START_TEST (threads)
{
  struct worker workers[THREADS];
  struct device *leg[2] = { new_file ("a.img"), new_file ("b.img") };

  ck_assert_int_eq (aio_start (aio), 0);
  /* Twice, so that the second lot finds the contexts of the first. */
  for (unsigned lot = 0; lot < 2; ++lot) {
    for (unsigned i = 0; i < 2; ++i)
      ck_assert_int_eq (device_run (leg[i], IO_ZERO, 0, 0, SIZE, NULL), 0);
    for (unsigned i = 0; i < THREADS; ++i) {
      workers[i] = (struct worker){ .leg = { leg[0], leg[1] },
                                    .number = i,
                                    .rounds = 1000 };
      ck_assert_int_eq (
          rt_thread_create (&workers[i].thread, "w", work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 20; ++i) {
      aio_poll (aio);
      ck_assert_ptr_null (aio_stuck (aio));
    }
    for (unsigned i = 0; i < THREADS; ++i)
      rt_thread_join (&workers[i].thread);
  }
  device_close (leg[0]);
  device_close (leg[1]);
}
END_TEST

/* Threads of the user may outlive an aio, and meet another one. */
static void
two_lives (void *opaque)
{
  struct rt_mutex *gate = opaque;

  for (unsigned i = 0; i < 5; ++i) {
    struct aio *own = aio_new (&the_log);
    struct device *device;

    rt_mutex_lock (gate);
    ck_assert_int_eq (aio_open (own, "a.img", 0, LONG, &device, NULL), 0);
    ck_assert_int_eq (aio_start (own), 0);
    ck_assert_int_eq (device_run (device, IO_FLUSH, 0, 0, 0, NULL), 0);
    device_close (device);
    aio_free (own);
    rt_mutex_unlock (gate);
  }
}

static void
late_thread (void *opaque)
{
  struct device *device = ((void **)opaque)[0];
  struct rt_mutex *gate = ((void **)opaque)[1];

  ck_assert_int_eq (device_run (device, IO_FLUSH, 0, 0, 0, NULL), 0);
  rt_atomic_set (((void **)opaque)[2], 1);
  rt_mutex_lock (gate);
  rt_mutex_unlock (gate);
}

START_TEST (threads_outlive_the_aio)
{
  struct rt_thread late, other;
  struct rt_mutex gate;
  struct rt_atomic ready = { 0 };
  struct aio *own = aio_new (&the_log);
  struct device *device = new_file ("a.img"), *d;
  void *args[3] = { NULL, &gate, &ready };

  device_close (device);
  rt_mutex_init (&gate);
  rt_mutex_lock (&gate);
  ck_assert_int_eq (aio_open (own, "a.img", 0, LONG, &d, NULL), 0);
  ck_assert_int_eq (aio_start (own), 0);
  args[0] = d;
  ck_assert_int_eq (rt_thread_create (&late, "late", late_thread, args), 0);
  while (!rt_atomic_get (&ready))
    sched_yield ();
  device_close (d);
  aio_free (own);
  rt_mutex_unlock (&gate);
  rt_thread_join (&late);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_int_eq (rt_thread_create (&other, "o", two_lives, &gate), 0);
    rt_thread_join (&other);
  }
  two_lives (&gate);
  rt_mutex_destroy (&gate);
}
END_TEST

static void
add_tests (TCase *tcase)
{
  tcase_add_loop_test (tcase, transfers, 0, 2);
  tcase_add_loop_test (tcase, two_legs, 0, 2);
  tcase_add_loop_test (tcase, zeroes, 0, 2);
  tcase_add_test (tcase, tmpfs);
  tcase_add_test (tcase, create_and_allocate);
  tcase_add_test (tcase, odd_sizes);
  tcase_add_test (tcase, what_is_no_leg);
  tcase_add_test (tcase, close_on_exec_and_direct);
  tcase_add_loop_test (tcase, read_only, 0, 2);
  tcase_add_test (tcase, try_write);
  tcase_add_test (tcase, file_locks);
  tcase_add_test (tcase, lock_outlives_the_parent);
  tcase_add_loop_test (tcase, block_device, 0, 2);
  tcase_add_test (tcase, read_only_block_device);
  tcase_add_test (tcase, threads);
  tcase_add_test (tcase, threads_outlive_the_aio);
}

int
main (void)
{
  Suite *suite = suite_create ("aio");
  TCase *tcase = tcase_create ("aio");
  SRunner *runner;
  struct loop loop;
  int failed;

  if (!mkdtemp (directory) || chmod (directory, 0755) == -1
      || chdir (directory) == -1)
    return EXIT_FAILURE;
  if (close (open ("a.img", O_RDWR | O_CREAT, 0600)) == -1
      || truncate ("a.img", MiB) == -1)
    return EXIT_FAILURE;
  if (loop_open (&loop, "a.img", 512, 0))
    close (loop.fd);
  else
    printf ("no loop devices here: block devices are not tested\n");
  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 300);
  add_tests (tcase);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  unlink ("a.img");
  unlink ("b.img");
  unlink ("new.img");
  if (chdir ("..") == -1 || rmdir (directory) == -1)
    return EXIT_FAILURE;
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
