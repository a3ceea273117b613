/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A file for a bitmap, on whatever file system the tests run on, and in
 * memory (/dev/shm).  What a real file system and its device do together is
 * seen in tests/kernel/test-bitmap-file-systems.sh.
 *
 * The program is linked with --wrap for fdatasync and pwritev2, which fail or
 * hang when a test wants it.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/file.h"

#define LONG (60 * RT_SECOND)
#define SOON (50 * RT_SECOND / 1000)
#define PAGE 4096

/* ---- the log ---- */

static struct {
  pthread_mutex_t lock;
  unsigned n;
  char lines[16][512];
} said = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  pthread_mutex_lock (&said.lock);
  if (said.n < 16)
    snprintf (said.lines[said.n++], sizeof said.lines[0], "%s", line);
  pthread_mutex_unlock (&said.lock);
}

static const struct log the_log = { .sink = sink };
static char directory[] = "test-file-XXXXXX";
static struct aio *aio;

/* ---- the spoiled kernel ---- */

static struct rt_atomic fail_syncs; /* so many times */
static struct rt_atomic hold_syncs, hold_writes;
static struct rt_atomic syncs, held;

extern int __real_fdatasync (int fd);
extern int __wrap_fdatasync (int fd);
extern ssize_t __real_pwritev2 (int fd, const struct iovec *iov, int n,
                                off_t offset, int flags);
extern ssize_t __wrap_pwritev2 (int fd, const struct iovec *iov, int n,
                                off_t offset, int flags);

static void
nap (void)
{
  struct timespec ts = { .tv_nsec = 1000000 };

  nanosleep (&ts, NULL);
}

static void
hold (const struct rt_atomic *why)
{
  if (!rt_atomic_get (why))
    return;
  rt_atomic_add (&held, 1);
  while (rt_atomic_get (why))
    nap ();
  rt_atomic_sub (&held, 1);
}

int
__wrap_fdatasync (int fd)
{
  rt_atomic_add (&syncs, 1);
  hold (&hold_syncs);
  if (rt_atomic_get (&fail_syncs) > 0) {
    rt_atomic_sub (&fail_syncs, 1);
    errno = EIO;
    return -1;
  }
  return __real_fdatasync (fd);
}

ssize_t
__wrap_pwritev2 (int fd, const struct iovec *iov, int n, off_t offset,
                 int flags)
{
  hold (&hold_writes);
  return __real_pwritev2 (fd, iov, n, offset, flags);
}

/* ---- files ---- */

static void
setup (void)
{
  aio = aio_new (&the_log);
  ck_assert_ptr_nonnull (aio);
  said.n = 0;
}

static void
teardown (void)
{
  aio_free (aio);
  unlink ("f");
  unlink ("f.new");
  unlink ("link");
  rmdir ("d");
}

/* Byte i of a file is this. */
static uint8_t
byte_at (uint64_t i)
{
  return (uint8_t)(1 + (i * 7 + i / 251) % 200);
}

static void
fill (void *opaque, uint64_t from, size_t length, uint8_t *data)
{
  (void)opaque;
  for (size_t i = 0; i < length; ++i)
    data[i] = byte_at (from + i);
}

static void
make (const char *path, size_t size)
{
  uint8_t *data = malloc (size + 1);
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  ck_assert_int_ge (fd, 0);
  fill (NULL, 0, size, data);
  ck_assert_int_eq (write (fd, data, size), (ssize_t)size);
  close (fd);
  free (data);
}

static off_t
size_of (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 ? st.st_size : -1;
}

static int
byte_of (const char *path, off_t at)
{
  uint8_t byte = 0;
  int fd = open (path, O_RDONLY);

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (pread (fd, &byte, 1, at), 1);
  close (fd);
  return byte;
}

/* One line, which begins with the name. */
static void
one_line (const char *path, const char *text)
{
  char start[128];

  snprintf (start, sizeof start, "bitmap file %s: ", path);
  ck_assert_uint_eq (said.n, 1);
  ck_assert_msg (strncmp (said.lines[0], start, strlen (start)) == 0
                     && strstr (said.lines[0], text),
                 "%s", said.lines[0]);
  said.n = 0;
}

static struct file *
must_open_for (const char *path, enum file_io io, bool read_only,
               uint64_t timeout)
{
  struct file *file;
  int err = file_open (aio, path, io, read_only, timeout, &file);

  ck_assert_msg (err == 0, "%s: %s: %s", path, strerror (-err),
                 said.n > 0 ? said.lines[0] : "");
  said.n = 0; /* a notice, if that is in memory */
  return file;
}

static struct file *
must_open (const char *path, enum file_io io)
{
  return must_open_for (path, io, false, LONG);
}

static void
must_not_open (const char *path, enum file_io io, bool read_only, int want,
               const char *text)
{
  struct file *file;

  said.n = 0;
  ck_assert_int_eq (file_open (aio, path, io, read_only, LONG, &file), want);
  one_line (path, text);
}

/* Direct where the file system can do that; where not, it was refused, and the
 * rest is done through the page cache.
 */
static enum file_io
direct_if_possible (void)
{
  struct file *file;
  int err;

  make ("f", 2 * PAGE);
  said.n = 0;
  err = file_open (aio, "f", FILE_DIRECT, false, LONG, &file);
  if (err == 0) {
    file_close (file);
    return FILE_DIRECT;
  }
  ck_assert_int_eq (err, -EOPNOTSUPP);
  one_line ("f", "use bitmap-io=pagecache");
  return FILE_PAGECACHE;
}

static enum file_io
way (int i)
{
  return i == 0 ? direct_if_possible () : FILE_PAGECACHE;
}

static int
write_page (struct file *file, uint64_t offset, int byte)
{
  struct buffer *buffer = buffer_new (PAGE);
  unsigned fua = file->io == FILE_DIRECT ? IO_FUA : 0;
  int err;

  memset (buffer->data, byte, PAGE);
  err = device_run (file->device, IO_WRITE, fua, offset, PAGE, buffer);
  buffer_unref (buffer);
  return err;
}

static int
flush (struct file *file)
{
  return device_run (file->device, IO_FLUSH, 0, 0, 0, NULL);
}

/* ---- what is no bitmap file ---- */

START_TEST (strange_files)
{
  enum file_io io = (enum file_io) (_i % 3);
  bool read_only = _i >= 3;

  must_not_open ("f", io, read_only, -ENOENT, "does not exist; make it with");
  ck_assert_int_eq (mkdir ("d", 0700), 0);
  must_not_open ("d", io, read_only, -EINVAL, "is a directory");
  must_not_open ("/dev/null", io, read_only, -EINVAL, "a character device");
  /* Whoever opened it would wait. */
  ck_assert_int_eq (mkfifo ("f", 0600), 0);
  must_not_open ("f", io, read_only, -EINVAL, "is a pipe");
  ck_assert_int_eq (symlink ("f", "link"), 0);
  must_not_open ("link", io, read_only, -EINVAL, "is a pipe");
}
END_TEST

START_TEST (in_memory)
{
  char path[64];
  struct file *file;

  snprintf (path, sizeof path, "/dev/shm/test-file-%ld", (long)getpid ());
  if (access ("/dev/shm", W_OK) == -1)
    return; /* the test in user-mode Linux has one */
  make (path, PAGE);
  must_not_open (path, FILE_DIRECT, false, -EOPNOTSUPP, "no O_DIRECT");
  must_not_open (path, FILE_EXTENT, false, -EOPNOTSUPP, "is in memory");
  ck_assert_int_eq (file_open (aio, path, FILE_PAGECACHE, false, LONG, &file),
                    0);
  one_line (path, "after a power cut it is gone");
  ck_assert_int_eq (file_prepare (file, PAGE), 0);
  ck_assert_int_eq (write_page (file, 0, 5), 0);
  ck_assert_int_eq (flush (file), 0);
  ck_assert_int_eq (file_check (file), 0);
  file_close (file);
  ck_assert_int_eq (byte_of (path, 0), 5);
  unlink (path);
}
END_TEST

/* ---- read, prepare, write ---- */

/* Odd lengths, and reads of all kinds. */
START_TEST (reads)
{
  static const size_t sizes[] = { 1, 382, 511, 512, 4095, 4096, 4097, 300000 };
  size_t size = sizes[_i];
  struct buffer *buffer = buffer_new (8 * PAGE);
  struct file *file;

  make ("f", size);
  file = must_open_for ("f", FILE_DIRECT, true, LONG);
  ck_assert_uint_eq (file->size, size);
  for (uint64_t at = 0; at < size + 3 * PAGE; at += 3 * 512) {
    uint64_t length = 512 * (1 + at % 61);

    memset (buffer->data, 0xee, buffer->size);
    ck_assert_int_eq (file_read (file, at, length, buffer), 0);
    for (uint64_t i = 0; i < length; ++i)
      ck_assert_uint_eq (buffer->data[i], at + i < size ? byte_at (at + i) : 0);
  }
  file_close (file);
  buffer_unref (buffer);
  ck_assert_int_eq (size_of ("f"), (off_t)size);
  ck_assert_uint_eq (said.n, 0);
}
END_TEST

/* Cut after it was opened: what is gone is not all zeroes, which would say that
 * nothing differs.
 */
START_TEST (reads_what_was_cut)
{
  static const off_t sizes[] = { 0, 1, PAGE - 512, PAGE, PAGE + 512, 3 * PAGE };
  const off_t size = sizes[_i];
  struct buffer *buffer = buffer_new (4 * PAGE);
  struct file *file;

  make ("f", 4 * PAGE - 512);
  file = must_open_for ("f", FILE_DIRECT, true, LONG);
  ck_assert_int_eq (file_read (file, 0, 4 * PAGE, buffer), 0);
  ck_assert_int_eq (truncate ("f", size), 0);
  ck_assert_int_eq (file_read (file, 0, 4 * PAGE, buffer), -EIO);
  ck_assert_int_eq (file_read (file, 3 * PAGE, 512, buffer), -EIO);
  if (size >= PAGE) /* what is there can be had */
    ck_assert_int_eq (file_read (file, 0, PAGE, buffer), 0);
  file_close (file);
  buffer_unref (buffer);
}
END_TEST

/* ---- what a killed server has pinned ---- */

#define MARK "user.mdbitmap.pinned"

/* False: we are not allowed to. */
static bool
set_immutable (const char *path, bool on)
{
  int fd = open (path, O_RDONLY), flags = 0, r;

  ck_assert_int_ge (fd, 0);
  r = ioctl (fd, FS_IOC_GETFLAGS, &flags);
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  r = r == -1 ? r : ioctl (fd, FS_IOC_SETFLAGS, &flags);
  close (fd);
  return r == 0;
}

static bool
is_immutable (const char *path)
{
  int fd = open (path, O_RDONLY), flags = 0;

  ck_assert_int_ge (fd, 0);
  if (ioctl (fd, FS_IOC_GETFLAGS, &flags) == -1)
    flags = 0;
  close (fd);
  return flags & FS_IMMUTABLE_FL;
}

static bool
is_marked (const char *path)
{
  char value;

  return getxattr (path, MARK, &value, 1) >= 0;
}

/* The flag where it can be set, the mark where there are such. */
START_TEST (pinned_by_another)
{
  enum file_io io = way (_i % 2);
  bool read_only = _i >= 2, marked, flagged;
  struct file *file;

  make ("f", PAGE);
  marked = setxattr ("f", MARK, "1", 1, 0) == 0;
  flagged = marked && set_immutable ("f", true);
  file = must_open_for ("f", io, read_only, LONG);
  ck_assert (is_immutable ("f") == flagged);
  ck_assert (is_marked ("f") == marked);
  if (!read_only) {
    ck_assert_int_eq (file_prepare (file, PAGE), 0);
    ck_assert (!is_immutable ("f") && !is_marked ("f"));
    ck_assert_int_eq (write_page (file, 0, 7), 0);
    ck_assert_int_eq (flush (file), 0);
    if (flagged)
      one_line ("f", "took away the immutable flag");
    ck_assert_uint_eq (said.n, 0);
  }
  file_close (file);
  ck_assert (is_marked ("f") == (read_only && marked));
  if (flagged && read_only)
    ck_assert (set_immutable ("f", false));
}
END_TEST

START_TEST (prepares)
{
  enum file_io io = way (_i % 2);
  struct file *file;

  if (_i >= 2)
    ck_assert_int_eq (aio_start (aio), 0);
  make ("f", 382);
  file = must_open ("f", io);
  ck_assert_int_eq (size_of ("f"), 382); /* nothing is written yet */
  ck_assert_int_eq (file_prepare (file, 2 * PAGE), -EINVAL);
  one_line ("f", "has 382 bytes; 8192 are needed");
  ck_assert_int_eq (file_prepare (file, PAGE), 0);
  ck_assert_uint_eq (file->size, PAGE);
  ck_assert_uint_eq (file->nextents, 1);
  ck_assert_uint_eq (file->extents[0].offset, 0);
  ck_assert_uint_eq (file->extents[0].at, 0);
  ck_assert_uint_eq (file->extents[0].length, PAGE);
  ck_assert_uint_eq (file->device->limits.size, PAGE);
  ck_assert_int_eq (file->device->leg, -1);
  ck_assert_int_eq (size_of ("f"), PAGE);
  for (off_t i = 0; i < PAGE; ++i)
    ck_assert_int_eq (byte_of ("f", i), i < 382 ? byte_at ((uint64_t)i) : 0xff);
  ck_assert_int_eq (write_page (file, 0, 0x55), 0);
  ck_assert_int_eq (flush (file), 0);
  ck_assert_int_eq (file_prepare (file, PAGE), 0); /* once more */
  ck_assert_int_eq (byte_of ("f", PAGE - 1), 0x55);
  ck_assert_int_eq (write_page (file, PAGE, 1), -EINVAL);
  file_close (file);
  ck_assert_uint_eq (said.n, 0);
}
END_TEST

START_TEST (empty)
{
  struct file *file;

  make ("f", 0);
  file = must_open ("f", FILE_PAGECACHE);
  ck_assert_int_eq (file_prepare (file, PAGE), -EINVAL);
  one_line ("f", "is empty");
  file_close (file);
  file_close (NULL);
}
END_TEST

START_TEST (follows_links)
{
  struct file *file;

  make ("f", PAGE);
  ck_assert_int_eq (symlink ("f", "link"), 0);
  file = must_open ("link", FILE_PAGECACHE);
  ck_assert_str_eq (file->path, "link");
  ck_assert_int_eq (file_prepare (file, PAGE), 0);
  ck_assert_int_eq (write_page (file, 0, 9), 0);
  ck_assert_int_eq (flush (file), 0);
  file_close (file);
  ck_assert_int_eq (byte_of ("f", 5), 9);
}
END_TEST

START_TEST (checks)
{
  struct file *file = must_open ("f", way (_i));

  ck_assert_int_eq (file_prepare (file, PAGE), 0);
  ck_assert_int_eq (file_check (file), 0);
  ck_assert_int_eq (truncate ("f", PAGE), 0);
  ck_assert_int_eq (file_check (file), -ESTALE);
  one_line ("f", "has been cut to 4096 bytes, from 8192");
  unlink ("f");
  ck_assert_int_eq (file_check (file), -ENOENT);
  one_line ("f", "has been deleted");
  file_close (file);
}
END_TEST

/* ---- who excludes whom ---- */

START_TEST (excludes)
{
  enum file_io io = way (0);
  struct file *file = must_open_for ("f", io, false, LONG), *other;

  must_not_open ("f", io, false, -EBUSY, "in use by another server");
  must_not_open ("f", FILE_PAGECACHE, false, -EBUSY,
                 "in use by another server");
  must_not_open ("f", FILE_PAGECACHE, true, -EBUSY, "in use by another server");
  ck_assert_int_eq (file_make (&the_log, "f", PAGE, true, fill, NULL), -EBUSY);
  one_line ("f", "in use by another server");
  file_close (file);

  /* Readers do not mind one another. */
  file = must_open_for ("f", io, true, LONG);
  other = must_open_for ("f", io, true, LONG);
  must_not_open ("f", FILE_PAGECACHE, false, -EBUSY,
                 "in use by another server");
  file_close (file);
  must_not_open ("f", io, false, -EBUSY, "in use by another server");
  file_close (other);
  file_close (must_open ("f", FILE_PAGECACHE));
}
END_TEST

/* Somebody has it as a leg: aio_open takes the other kind of lock. */
START_TEST (excludes_legs)
{
  struct device *leg;
  struct file *file;

  make ("f", 2 * PAGE);
  file = must_open ("f", FILE_PAGECACHE);
  ck_assert_int_eq (aio_open (aio, "f", 0, LONG, &leg, NULL), -EBUSY);
  said.n = 0;
  file_close (file);
  ck_assert_int_eq (aio_open (aio, "f", 0, LONG, &leg, NULL), 0);
  said.n = 0;
  must_not_open ("f", FILE_PAGECACHE, false, -EBUSY,
                 "in use by another server");
  ck_assert_int_eq (file_make (&the_log, "f", PAGE, true, fill, NULL), -EBUSY);
  one_line ("f", "in use by another server");
  device_close (leg);
}
END_TEST

START_TEST (lies_on_a_leg)
{
  const struct device *legs[2];
  struct device *leg;
  struct file *file;

  make ("f", 2 * PAGE);
  make ("f.new", 2 * PAGE);
  ck_assert_int_eq (aio_open (aio, "f.new", 0, LONG, &leg, NULL), 0);
  legs[0] = NULL;
  legs[1] = leg;
  said.n = 0;
  file = must_open ("f", FILE_PAGECACHE);
  ck_assert_int_eq (file_check_place (file, legs, 2), 0);
  ck_assert_uint_eq (said.n, 0);
  file_close (file);
  device_close (leg);

  ck_assert_int_eq (aio_open (aio, "f", AIO_NO_LOCK, LONG, &leg, NULL), 0);
  legs[1] = leg;
  said.n = 0;
  file = must_open ("f", FILE_PAGECACHE);
  ck_assert_int_eq (file_check_place (file, legs, 2), -EINVAL);
  one_line ("f", "lies on the leg f,");
  file_close (file);
  device_close (leg);
}
END_TEST

/* ---- errors and deadlines of the page cache ---- */

START_TEST (a_failed_flush_is_final)
{
  struct file *file;
  uint64_t asked;

  if (_i)
    ck_assert_int_eq (aio_start (aio), 0);
  make ("f", PAGE);
  file = must_open ("f", FILE_PAGECACHE);
  ck_assert_int_eq (file_prepare (file, PAGE), 0);
  ck_assert_int_eq (write_page (file, 0, 1), 0);
  ck_assert_int_eq (flush (file), 0);
  rt_atomic_set (&fail_syncs, 1);
  ck_assert_int_eq (flush (file), -EIO);
  ck_assert_uint_eq (rt_atomic_get (&fail_syncs), 0);
  /* The kernel would say now that all is well. */
  asked = rt_atomic_get (&syncs);
  ck_assert_int_eq (flush (file), -EIO);
  ck_assert_int_eq (write_page (file, 0, 2), 0);
  ck_assert_int_eq (flush (file), -EIO);
  ck_assert_int_eq (file_prepare (file, PAGE), -EIO);
  one_line ("f", "cannot be written out");
  ck_assert_uint_eq (rt_atomic_get (&syncs), asked);
  file_close (file);
}
END_TEST

/* FUA is write and flush, and as final. */
START_TEST (fua_is_a_flush)
{
  struct buffer *buffer = buffer_new_zero (PAGE);
  struct file *file;

  make ("f", PAGE);
  file = must_open ("f", FILE_PAGECACHE);
  ck_assert_int_eq (file_prepare (file, PAGE), 0);
  ck_assert_int_eq (
      device_run (file->device, IO_WRITE, IO_FUA, 0, PAGE, buffer), 0);
  rt_atomic_set (&fail_syncs, 1);
  ck_assert_int_eq (
      device_run (file->device, IO_WRITE, IO_FUA, 0, PAGE, buffer), -EIO);
  ck_assert_int_eq (flush (file), -EIO);
  ck_assert_int_eq (
      device_run (file->device, IO_WRITE, IO_FUA, 0, PAGE, buffer), -EIO);
  file_close (file);
  buffer_unref (buffer);
}
END_TEST

static void
wait_until (const struct rt_atomic *a, uint64_t n)
{
  while (rt_atomic_get (a) != n)
    nap ();
}

/* A flush that was given up fails in the end: the next one, which began before
 * that, must know.
 */
START_TEST (a_late_failure_is_final)
{
  struct file *file;

  ck_assert_int_eq (aio_start (aio), 0);
  make ("f", PAGE);
  file = must_open_for ("f", FILE_PAGECACHE, false, SOON);
  ck_assert_int_eq (file_prepare (file, PAGE), 0);
  file->device->timeout = SOON;
  rt_atomic_set (&fail_syncs, 1);
  rt_atomic_set (&hold_syncs, 1);
  ck_assert_int_eq (flush (file), -ETIMEDOUT);
  wait_until (&held, 1);
  ck_assert_int_eq (flush (file), -ETIMEDOUT);
  ck_assert_uint_eq (device_abandoned (file->device), 2);
  rt_atomic_set (&hold_syncs, 0);
  wait_until (&file->device->abandoned, 0);
  file->device->timeout = LONG;
  ck_assert_int_eq (flush (file), -EIO);
  file_close (file);
}
END_TEST

static struct file *stuck; /* left behind on purpose */

/* A write that hangs ends at its deadline; the file stays as it is. */
START_TEST (a_write_hangs)
{
  struct file *file;

  ck_assert_int_eq (aio_start (aio), 0);
  make ("f", 2 * PAGE);
  file = must_open_for ("f", FILE_PAGECACHE, false, LONG);
  ck_assert_int_eq (file_prepare (file, 2 * PAGE), 0);
  file->device->timeout = SOON;
  rt_atomic_set (&hold_writes, 1);
  ck_assert_int_eq (write_page (file, 0, 7), -ETIMEDOUT);
  ck_assert_uint_eq (device_lost_writes (file->device), 1);
  ck_assert_uint_eq (said.n, 0);
  if (_i) {
    stuck = file;
    file_close (file);
    one_line ("f", "1 operations were given up");
    must_not_open ("f", FILE_PAGECACHE, false, -EBUSY,
                   "in use by another server");
  }
  rt_atomic_set (&hold_writes, 0);
  wait_until (&file->device->abandoned, 0);
  ck_assert_int_eq (byte_of ("f", 0), 7);
  file_close (file);
  stuck = NULL;
}
END_TEST

/* ---- making one ---- */

START_TEST (makes)
{
  static const uint64_t lengths[] = { PAGE, 3 * PAGE, MiB, MiB + PAGE };
  struct stat st;

  ck_assert_int_eq (file_make (&the_log, "f", lengths[_i], false, fill, NULL),
                    0);
  ck_assert_int_eq (stat ("f", &st), 0);
  ck_assert_uint_eq (st.st_mode & 07777, 0600);
  ck_assert_int_eq (st.st_size, (off_t)lengths[_i]);
  for (uint64_t i = 0; i < lengths[_i]; i += 997)
    ck_assert_int_eq (byte_of ("f", (off_t)i), byte_at (i));
  ck_assert_int_eq (size_of ("f.new"), -1);
  ck_assert_uint_eq (said.n, 0);
}
END_TEST

START_TEST (makes_no_second)
{
  make ("f", 100);
  ck_assert_int_eq (file_make (&the_log, "f", PAGE, false, fill, NULL),
                    -EEXIST);
  one_line ("f", "exists already");
  ck_assert_int_eq (size_of ("f"), 100);
  ck_assert_int_eq (size_of ("f.new"), -1);
  ck_assert_int_eq (file_make (&the_log, "f", PAGE, true, fill, NULL), 0);
  ck_assert_int_eq (size_of ("f"), PAGE);
  /* A link stays one. */
  ck_assert_int_eq (symlink ("f", "link"), 0);
  ck_assert_int_eq (file_make (&the_log, "link", 2 * PAGE, true, fill, NULL),
                    0);
  ck_assert_int_eq (size_of ("f"), 2 * PAGE);
  ck_assert_int_eq (readlink ("link", (char[8]){ 0 }, 8), 1);
  ck_assert_uint_eq (said.n, 0);

  ck_assert_int_eq (mkdir ("d", 0700), 0);
  ck_assert_int_eq (file_make (&the_log, "d", PAGE, true, fill, NULL), -EINVAL);
  ck_assert_uint_eq (said.n, 1);
  said.n = 0;
  ck_assert_int_eq (file_make (&the_log, "no/f", PAGE, true, fill, NULL),
                    -ENOENT);
  ck_assert_uint_eq (said.n, 1);
}
END_TEST

/* What an earlier try has left, and what one that is under way has. */
START_TEST (half_made)
{
  int fd;

  make ("f.new", 77);
  fd = open ("f.new", O_RDWR);
  ck_assert_int_eq (flock (fd, LOCK_EX), 0);
  ck_assert_int_eq (file_make (&the_log, "f", PAGE, false, fill, NULL), -EBUSY);
  one_line ("f.new", "in use by another server");
  ck_assert_int_eq (size_of ("f.new"), 77);
  ck_assert_int_eq (size_of ("f"), -1);
  close (fd);
  ck_assert_int_eq (file_make (&the_log, "f", PAGE, false, fill, NULL), 0);
  ck_assert_int_eq (size_of ("f.new"), -1);
  ck_assert_int_eq (size_of ("f"), PAGE);
}
END_TEST

static void
make_meanwhile (void *opaque, uint64_t from, size_t length, uint8_t *data)
{
  fill (opaque, from, length, data);
  make ("f", 5);
}

/* Somebody else makes one of that name after we have looked. */
START_TEST (made_meanwhile)
{
  ck_assert_int_eq (
      file_make (&the_log, "f", PAGE, false, make_meanwhile, NULL), -EEXIST);
  one_line ("f", "has just been made by somebody else");
  ck_assert_int_eq (size_of ("f"), 5);
  ck_assert_int_eq (size_of ("f.new"), -1);
}
END_TEST

static void
add_tests (TCase *tcase)
{
  tcase_add_loop_test (tcase, strange_files, 0, 6);
  tcase_add_test (tcase, in_memory);
  tcase_add_loop_test (tcase, reads, 0, 8);
  tcase_add_loop_test (tcase, reads_what_was_cut, 0, 6);
  tcase_add_loop_test (tcase, pinned_by_another, 0, 4);
  tcase_add_loop_test (tcase, prepares, 0, 4);
  tcase_add_test (tcase, empty);
  tcase_add_test (tcase, follows_links);
  tcase_add_loop_test (tcase, checks, 0, 1);
  tcase_add_test (tcase, excludes);
  tcase_add_test (tcase, excludes_legs);
  tcase_add_test (tcase, lies_on_a_leg);
  tcase_add_loop_test (tcase, a_failed_flush_is_final, 0, 2);
  tcase_add_test (tcase, fua_is_a_flush);
  tcase_add_test (tcase, a_late_failure_is_final);
  tcase_add_loop_test (tcase, a_write_hangs, 0, 2);
  tcase_add_loop_test (tcase, makes, 0, 4);
  tcase_add_test (tcase, makes_no_second);
  tcase_add_test (tcase, half_made);
  tcase_add_test (tcase, made_meanwhile);
}

int
main (void)
{
  Suite *suite = suite_create ("file");
  TCase *tcase = tcase_create ("file");
  SRunner *runner;
  int failed;

  if (!mkdtemp (directory) || chdir (directory) == -1)
    return EXIT_FAILURE;
  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 300);
  add_tests (tcase);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  if (chdir ("..") == -1 || rmdir (directory) == -1)
    return EXIT_FAILURE;
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
