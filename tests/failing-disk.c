/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Disks that fail, for anybody: preloaded into the server, this library
 * stands between it and the kernel.
 *
 * What happens to an operation on the file PATH is told by files beside it,
 * which are looked for each time:
 *
 *   PATH.fail-read PATH.fail-write PATH.fail-flush
 *                 reads, writes (zeroes and trims, too) or flushes end with
 *                 EIO.  If the file has two numbers, FROM and TO in bytes,
 *                 only operations that touch that part of PATH.
 *   PATH.hang     operations through libaio do not end until this file is
 *                 gone; then they are carried out and end.
 *
 * An operation that fails has done nothing.  Operations that hang or fail
 * are kept in a list, under the lock, and handed out by io_getevents for
 * their io_context.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "interpose.h"

/* How long io_getevents sleeps before it looks again whether an operation
 * still hangs.
 */
#define SLICE_NSEC 20000000

enum kind { READ, WRITE, FLUSH };

struct held {
  struct held *next;
  io_context_t context;
  struct iocb *iocb;
  char path[4096];
  bool hangs;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct held *held;

/* ---- triggers ---- */

static bool
path_of (int fd, char *path, size_t room)
{
  char link[64];
  ssize_t n;

  snprintf (link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink (link, path, room - 1);
  if (n <= 0)
    return false;
  path[n] = '\0';
  return path[0] == '/';
}

static bool
hangs (const char *path)
{
  char trigger[4200];

  snprintf (trigger, sizeof trigger, "%s.hang", path);
  return access (trigger, F_OK) == 0;
}

static bool
fails (const char *path, enum kind kind, uint64_t offset, uint64_t length)
{
  static const char *const names[] = { "read", "write", "flush" };
  char trigger[4200];
  unsigned long long from, to;
  bool yes = true;
  FILE *fp;

  snprintf (trigger, sizeof trigger, "%s.fail-%s", path, names[kind]);
  fp = fopen (trigger, "re");
  if (!fp)
    return false;
  if (fscanf (fp, "%llu %llu", &from, &to) == 2)
    yes = offset < to && offset + length > from;
  fclose (fp);
  return yes;
}

static bool
fd_fails (int fd, enum kind kind, uint64_t offset, uint64_t length)
{
  char path[4096];

  if (!path_of (fd, path, sizeof path) || !fails (path, kind, offset, length))
    return false;
  errno = EIO;
  return true;
}

/* ---- libaio ---- */

static void
classify (const struct iocb *iocb, enum kind *kind, uint64_t *length)
{
  *length = iocb->u.c.nbytes;
  *kind = READ;
  switch ((int)iocb->aio_lio_opcode) {
  case IO_CMD_PWRITE:
    *kind = WRITE;
    break;
  case IO_CMD_FSYNC:
  case IO_CMD_FDSYNC:
    *kind = FLUSH;
    *length = 0;
    break;
  case IO_CMD_PREAD:
    break;
  default:
    fprintf (stderr, "failing-disk: opcode %d is not known here\n",
             (int)iocb->aio_lio_opcode);
    abort ();
  }
}

/* True: it will end, or hang, here. */
static bool
hold (io_context_t context, struct iocb *iocb)
{
  struct held *h = calloc (1, sizeof *h);
  enum kind kind;
  uint64_t length;

  if (!h)
    abort ();
  /* Without a path there is no descriptor: the kernel refuses it, and knows of
   * no such opcode either.
   */
  if (path_of (iocb->aio_fildes, h->path, sizeof h->path)) {
    classify (iocb, &kind, &length);
    h->hangs = hangs (h->path);
    if (h->hangs || fails (h->path, kind, (uint64_t)iocb->u.c.offset, length)) {
      h->context = context;
      h->iocb = iocb;
      pthread_mutex_lock (&lock);
      h->next = held;
      held = h;
      pthread_mutex_unlock (&lock);
      return true;
    }
  }
  free (h);
  return false;
}

/* What hung is carried out at last. */
static long
carry_out (const struct held *h)
{
  const struct iocb *iocb = h->iocb;
  struct iovec iov = { iocb->u.c.buf, iocb->u.c.nbytes };
  off_t offset = iocb->u.c.offset;
  enum kind kind;
  uint64_t length;
  long r;

  classify (iocb, &kind, &length);
  if (kind == READ)
    r = syscall (SYS_preadv, iocb->aio_fildes, &iov, 1, offset, 0);
  else if (kind == WRITE)
    r = syscall (SYS_pwritev2, iocb->aio_fildes, &iov, 1, offset, 0,
                 iocb->aio_rw_flags);
  else
    r = syscall (SYS_fdatasync, iocb->aio_fildes);
  return r == -1 ? -errno : r;
}

/* Events of held operations that are over; how many. */
static long
take (io_context_t context, long room, struct io_event *events, bool *more)
{
  struct held **p, *h;
  long n = 0;

  *more = false;
  pthread_mutex_lock (&lock);
  for (p = &held; (h = *p) && n < room;) {
    if (h->context != context) {
      p = &h->next;
      continue;
    }
    if (h->hangs && hangs (h->path)) {
      *more = true;
      p = &h->next;
      continue;
    }
    events[n].data = h->iocb->data;
    events[n].obj = h->iocb;
    events[n].res = (unsigned long)(h->hangs ? carry_out (h) : -EIO);
    events[n].res2 = 0;
    n++;
    *p = h->next;
    free (h);
  }
  pthread_mutex_unlock (&lock);
  return n;
}

static long
raw_submit (io_context_t context, long n, struct iocb **iocbs)
{
  long r = n > 0 ? syscall (SYS_io_submit, context, n, iocbs) : 0;

  return r == -1 ? -errno : r;
}

/* As the kernel: how many from the front were taken. */
int
io_submit (io_context_t context, long n, struct iocb **iocbs)
{
  long done = 0, run, r;

  while (done < n) {
    for (run = 0; done + run < n; ++run)
      if (hold (context, iocbs[done + run]))
        break;
    r = raw_submit (context, run, iocbs + done);
    if (r == run) {
      done += run + (done + run < n);
      continue;
    }
    /* The one that is held behind the rest was not taken either. */
    if (done + run < n) {
      pthread_mutex_lock (&lock);
      for (struct held **p = &held; *p; p = &(*p)->next)
        if ((*p)->iocb == iocbs[done + run]) {
          struct held *h = *p;

          *p = h->next;
          free (h);
          break;
        }
      pthread_mutex_unlock (&lock);
    }
    if (r > 0)
      done += r;
    return (int)(done > 0 ? done : r);
  }
  return (int)done;
}

static uint64_t
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int
io_getevents (io_context_t context, long min, long nr, struct io_event *events,
              struct timespec *timeout)
{
  uint64_t end = timeout ? now () + (uint64_t)timeout->tv_sec * 1000000000
                               + (uint64_t)timeout->tv_nsec
                         : UINT64_MAX;
  long n = 0;

  for (;;) {
    struct timespec slice = { 0, SLICE_NSEC }, none = { 0, 0 };
    uint64_t t = now ();
    bool more;
    long r;

    n += take (context, nr - n, events + n, &more);
    if (n >= min)
      slice = none;
    else if (end <= t)
      slice = none;
    else if (end - t < SLICE_NSEC)
      slice.tv_nsec = (long)(end - t);
    r = nr > n
            ? syscall (SYS_io_getevents, context, min > n ? min - n : 0, nr - n,
                       events + n, !more && n < min && !timeout ? NULL : &slice)
            : 0;
    if (r == -1)
      return (int)(n > 0 ? n : -errno);
    n += r;
    if (n >= min || now () >= end)
      return (int)n;
  }
}

/* ---- blocking calls ---- */

static uint64_t
total (const struct iovec *iov, int n)
{
  uint64_t length = 0;

  for (int i = 0; i < n; ++i)
    length += iov[i].iov_len;
  return length;
}

INTERPOSED ssize_t
disk_preadv (int fd, const struct iovec *iov, int n, off64_t offset)
{
  if (fd_fails (fd, READ, (uint64_t)offset, total (iov, n)))
    return -1;
  return syscall (SYS_preadv, fd, iov, n, offset, 0);
}

INTERPOSE (preadv, disk_preadv);
INTERPOSE (preadv64, disk_preadv);

INTERPOSED ssize_t
disk_pwritev2 (int fd, const struct iovec *iov, int n, off64_t offset,
               int flags)
{
  if (fd_fails (fd, WRITE, (uint64_t)offset, total (iov, n)))
    return -1;
  return syscall (SYS_pwritev2, fd, iov, n, offset, 0, flags);
}

INTERPOSE (pwritev2, disk_pwritev2);
INTERPOSE (pwritev64v2, disk_pwritev2);

INTERPOSED int
disk_fdatasync (int fd)
{
  if (fd_fails (fd, FLUSH, 0, 0))
    return -1;
  return (int)syscall (SYS_fdatasync, fd);
}

INTERPOSE (fdatasync, disk_fdatasync);

INTERPOSED int
disk_fallocate (int fd, int mode, off64_t offset, off64_t length)
{
  if (fd_fails (fd, WRITE, (uint64_t)offset, (uint64_t)length))
    return -1;
  return (int)syscall (SYS_fallocate, fd, mode, offset, length);
}

INTERPOSE (fallocate, disk_fallocate);
INTERPOSE (fallocate64, disk_fallocate);
