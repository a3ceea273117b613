/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Disks that are equally slow everywhere: preloaded into the server, this
 * library lets no operation of libaio end sooner than COUNTED_DISK_USEC
 * microseconds after it was submitted.  How many writers share a page of the
 * bitmap depends on how long a page takes, and not on much else: so what is
 * counted with it hardly depends on the machine.
 *
 * Nothing is carried out later than without it, and in no other order; only
 * the answers come later.  When an operation was submitted is remembered under
 * the address of its iocb; of two with the same place in the table one may be
 * answered too soon, or twice as late, which does no harm.  No lock: the
 * entries are atomic.
 */

#include <config.h>

#include <errno.h>
#include <libaio.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PLACES 65536u

static _Atomic uint64_t due[PLACES];

static _Atomic uint64_t *
place_of (const struct iocb *iocb)
{
  uintptr_t address = (uintptr_t)iocb;

  return &due[(address >> 4 ^ address >> 20) % PLACES];
}

static uint64_t
now (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t
delay (void)
{
  const char *text = getenv ("COUNTED_DISK_USEC");

  return text ? strtoull (text, NULL, 10) * 1000 : 0;
}

/* libaio's functions return -errno, and do not set it. */

int
io_submit (io_context_t context, long n, struct iocb **iocbs)
{
  uint64_t then = now () + delay ();

  for (long i = 0; i < n; ++i)
    atomic_store (place_of (iocbs[i]), then);
  n = syscall (SYS_io_submit, context, n, iocbs);
  return n < 0 ? -errno : (int)n;
}

int
io_getevents (io_context_t context, long least, long most,
              struct io_event *events, struct timespec *timeout)
{
  long n = syscall (SYS_io_getevents, context, least, most, events, timeout);
  uint64_t latest = 0;
  struct timespec t;

  for (long i = 0; i < n; ++i) {
    uint64_t then = atomic_load (place_of (events[i].obj));

    if (then > latest)
      latest = then;
  }
  if (latest > now ()) {
    t.tv_sec = (time_t)(latest / 1000000000);
    t.tv_nsec = (long)(latest % 1000000000);
    while (clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
      ;
  }
  return n < 0 ? -errno : (int)n;
}
