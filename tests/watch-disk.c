/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Looks over the server's shoulder: preloaded into it, this library checks
 * each write to the data of a leg at the moment when it is handed to the
 * kernel.
 *
 * WATCH_LEGS=PATH:PATH... are the legs of one array, all of them in sync.
 * When a write (or zero) to the data area of one of them starts, then on
 * every leg, on disk,
 *   - the superblock must say "not clean", and
 *   - the bit of each chunk that is touched must be set.
 * Otherwise it says so and aborts the server.
 *
 * The legs are read with descriptors of our own, O_DIRECT, so that neither
 * the page cache nor locks of the server matter.  It only looks: whether
 * what it sees has been flushed is for test-order.sh, which reads the trace.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "interpose.h"

#define MAX_LEGS      8
#define PAGE          4096u
#define SECTOR        512u
#define MAGIC         0xa92b4efcu
#define BITMAP_HEADER 256u

struct leg {
  int fd;
  dev_t dev;
  ino_t ino;
  uint64_t data_offset, size; /* bytes */
  uint64_t bitmap;            /* byte of the leg where its header lies */
  uint32_t chunksize;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct leg legs[MAX_LEGS];
static unsigned nlegs;
static unsigned long checked;

static void __attribute__ ((noreturn, format (printf, 1, 2)))
caught (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  fprintf (stderr, "watch-disk: ");
  vfprintf (stderr, fmt, args);
  fprintf (stderr, "\n");
  va_end (args);
  abort ();
}

static uint64_t
get_le (const uint8_t *p, unsigned bytes)
{
  uint64_t n = 0;

  while (bytes-- > 0)
    n = n << 8 | p[bytes];
  return n;
}

/* The page of a leg, as it is on disk. */
static void
read_page (const struct leg *leg, uint64_t offset, uint8_t *page)
{
  if (syscall (SYS_pread64, leg->fd, page, PAGE, offset) != PAGE)
    caught ("reading a leg at %llu: %s", (unsigned long long)offset,
            strerror (errno));
}

static void
open_leg (const char *path)
{
  uint8_t page[PAGE] __attribute__ ((aligned (PAGE)));
  struct leg *leg = &legs[nlegs];
  struct stat st;

  if (nlegs == MAX_LEGS)
    caught ("too many legs");
  leg->fd = open (path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (leg->fd == -1 || fstat (leg->fd, &st) == -1)
    caught ("%s: %s", path, strerror (errno));
  leg->dev = st.st_dev;
  leg->ino = st.st_ino;
  read_page (leg, PAGE, page);
  if (get_le (page, 4) != MAGIC)
    caught ("%s: no superblock", path);
  leg->size = get_le (page + 80, 8) * SECTOR;
  leg->data_offset = get_le (page + 128, 8) * SECTOR;
  leg->bitmap =
      PAGE + (uint64_t)(int64_t)(int32_t)get_le (page + 96, 4) * SECTOR;
  read_page (leg, leg->bitmap, page);
  leg->chunksize = (uint32_t)get_le (page + 52, 4);
  nlegs++;
}

static void
start (void)
{
  const char *list = getenv ("WATCH_LEGS");
  char *copy, *path, *save = NULL;

  if (!list)
    caught ("WATCH_LEGS is not set");
  copy = strdup (list);
  for (path = copy ? strtok_r (copy, ":", &save) : NULL; path;
       path = strtok_r (NULL, ":", &save))
    open_leg (path);
  free (copy);
}

static void __attribute__ ((destructor)) stop (void)
{
  if (checked > 0)
    fprintf (stderr, "watch-disk: %lu writes checked\n", checked);
}

static const struct leg *
find_leg (int fd)
{
  struct stat st;

  pthread_once (&once, start);
  if (fstat (fd, &st) == -1)
    return NULL;
  for (unsigned i = 0; i < nlegs; ++i)
    if (legs[i].dev == st.st_dev && legs[i].ino == st.st_ino)
      return &legs[i];
  return NULL;
}

static void
check_bits (const struct leg *leg, unsigned number, uint64_t first,
            uint64_t last)
{
  uint8_t page[PAGE] __attribute__ ((aligned (PAGE)));
  uint64_t have = UINT64_MAX;

  for (uint64_t chunk = first; chunk <= last; ++chunk) {
    uint64_t byte = BITMAP_HEADER + chunk / 8;

    if (have != byte / PAGE) {
      have = byte / PAGE;
      read_page (leg, leg->bitmap + have * PAGE, page);
    }
    if ((page[byte % PAGE] >> chunk % 8 & 1) == 0)
      caught ("data is written to chunk %llu, whose bit is not set on leg %u",
              (unsigned long long)chunk, number);
  }
}

/* A write of length bytes at offset of the file starts. */
static void
check (int fd, uint64_t offset, uint64_t length)
{
  uint8_t page[PAGE] __attribute__ ((aligned (PAGE)));
  const struct leg *leg = find_leg (fd);
  uint64_t first, last;

  if (!leg || length == 0 || offset < leg->data_offset)
    return;
  first = (offset - leg->data_offset) / leg->chunksize;
  last = (offset - leg->data_offset + length - 1) / leg->chunksize;
  for (unsigned i = 0; i < nlegs; ++i) {
    read_page (&legs[i], PAGE, page);
    if (get_le (page + 208, 8) == UINT64_MAX)
      caught ("data is written while the superblock of leg %u says clean", i);
    check_bits (&legs[i], i, first, last);
  }
  __atomic_add_fetch (&checked, 1, __ATOMIC_RELAXED);
}

int
io_submit (io_context_t context, long n, struct iocb **iocbs)
{
  long r;

  for (long i = 0; i < n; ++i)
    if (iocbs[i]->aio_lio_opcode == IO_CMD_PWRITE)
      check (iocbs[i]->aio_fildes, (uint64_t)iocbs[i]->u.c.offset,
             iocbs[i]->u.c.nbytes);
    else if (iocbs[i]->aio_lio_opcode == IO_CMD_PWRITEV)
      caught ("a kind of write that is not known here");
  r = syscall (SYS_io_submit, context, n, iocbs);
  return r == -1 ? -errno : (int)r;
}

INTERPOSED int
disk_fallocate (int fd, int mode, off64_t offset, off64_t length)
{
  /* Legs are allocated (mode 0) when they are made. */
  if (mode & ~FALLOC_FL_KEEP_SIZE)
    check (fd, (uint64_t)offset, (uint64_t)length);
  return (int)syscall (SYS_fallocate, fd, mode, offset, length);
}

INTERPOSE (fallocate, disk_fallocate);
INTERPOSE (fallocate64, disk_fallocate);
