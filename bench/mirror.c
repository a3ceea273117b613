/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A mirror by hand, without NBD, bitmap or superblock: the bound that the
 * plugin is compared with.
 *
 *   mirror [--block=BYTES] [--depth=N] [--seconds=S] [--size=BYTES] LEG LEG
 *
 * Writes random blocks to both legs, with O_DIRECT and libaio, N of them
 * (default 1) in flight for S seconds (default 1) within the first BYTES of
 * the legs.  A request is done when both legs have answered, and only then
 * does the next one begin.  What has to begin is submitted in one call.
 *
 * Prints a line of JSON as load does.  Overwrites the legs!
 *
 * One thread does everything: there are no locks.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <libaio.h>

#define LEGS      2
#define MAX_DEPTH 4096u

struct request {
  struct iocb iocbs[LEGS];
  unsigned unanswered;
  uint64_t when; /* it began, ns */
  uint8_t *data;
};

static uint64_t block = 4096, size;
static unsigned depth = 1;
static double seconds = 1;
static int fds[LEGS];
static io_context_t context;
static struct request *requests;
static struct iocb **batch; /* to be submitted */
static struct io_event *events;
static uint64_t random_state;
static uint64_t *latencies; /* ns, of nanswered requests */
static size_t nanswered, latencies_size;

static void __attribute__ ((noreturn, format (printf, 1, 2)))
die (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  fprintf (stderr, "mirror: ");
  vfprintf (stderr, fmt, args);
  fprintf (stderr, "\n");
  va_end (args);
  exit (EXIT_FAILURE);
}

static void *
need (void *p)
{
  if (!p)
    die ("out of memory");
  return p;
}

static uint64_t
clock_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t
next_random (void)
{
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static uint64_t
number (const char *text, uint64_t most, const char *what)
{
  char *end;
  uint64_t n;

  errno = 0;
  n = strtoull (text, &end, 10);
  if (errno || end == text || *end || !n || n > most)
    die ("%s: not a number from 1 to %" PRIu64 ": %s", what, most, text);
  return n;
}

static void
options (int argc, char *argv[])
{
  static const struct option known[] = {
    { "block", required_argument, NULL, 'b' },
    { "depth", required_argument, NULL, 'd' },
    { "seconds", required_argument, NULL, 't' },
    { "size", required_argument, NULL, 's' },
    { NULL, 0, NULL, 0 },
  };
  int c;

  while ((c = getopt_long (argc, argv, "", known, NULL)) != -1) {
    if (c == 'b')
      block = number (optarg, 32u << 20, "--block");
    else if (c == 'd')
      depth = (unsigned)number (optarg, MAX_DEPTH, "--depth");
    else if (c == 't')
      seconds = strtod (optarg, NULL);
    else if (c == 's')
      size = number (optarg, INT64_MAX, "--size");
    else
      exit (2);
  }
  if (argc - optind != LEGS) {
    fprintf (stderr, "usage: mirror [--block=BYTES] [--depth=N] [--seconds=S]"
                     " [--size=BYTES] LEG LEG\n");
    exit (2);
  }
}

static void
open_legs (char *names[])
{
  off_t end;

  for (unsigned i = 0; i < LEGS; i++) {
    fds[i] = open (names[i], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fds[i] == -1 || (end = lseek (fds[i], 0, SEEK_END)) == -1)
      die ("%s: %s", names[i], strerror (errno));
    if (!size || size > (uint64_t)end)
      size = (uint64_t)end;
  }
  if (size < block)
    die ("the legs are smaller than a block");
}

static void
make_requests (void)
{
  void *data;

  requests = need (calloc (depth, sizeof *requests));
  batch = need (calloc (LEGS * depth, sizeof *batch));
  events = need (calloc (LEGS * depth, sizeof *events));
  for (unsigned i = 0; i < depth; i++) {
    if (posix_memalign (&data, 4096, block))
      die ("out of memory");
    requests[i].data = data;
    for (uint64_t done = 0; done < block;) {
      ssize_t n = getrandom (requests[i].data + done, block - done, 0);

      if (n < 0 && errno != EINTR)
        die ("getrandom: %s", strerror (errno));
      done += n > 0 ? (uint64_t)n : 0;
    }
  }
  while (!random_state)
    if (getrandom (&random_state, sizeof random_state, 0) < 0)
      die ("getrandom: %s", strerror (errno));
}

/* Puts the next write of a place among those in flight into the batch. */
static size_t
begin (struct request *r, size_t n)
{
  uint64_t offset = next_random () % (size / block) * block;

  r->when = clock_ns ();
  r->unanswered = LEGS;
  for (unsigned i = 0; i < LEGS; i++) {
    io_prep_pwrite (&r->iocbs[i], fds[i], r->data, block, (long long)offset);
    r->iocbs[i].data = r;
    batch[n++] = &r->iocbs[i];
  }
  return n;
}

static void
submit (size_t n)
{
  for (size_t done = 0; done < n;) {
    int r = io_submit (context, (long)(n - done), batch + done);

    if (r < 0 && r != -EAGAIN && r != -EINTR)
      die ("io_submit: %s", strerror (-r));
    done += r > 0 ? (size_t)r : 0;
  }
}

static void
answered (const struct request *r, uint64_t now)
{
  if (nanswered == latencies_size) {
    latencies_size = latencies_size ? 2 * latencies_size : 65536;
    latencies = need (realloc (latencies, latencies_size * sizeof *latencies));
  }
  latencies[nanswered++] = now - r->when;
}

/* Returns how long it took, in ns. */
static uint64_t
run (void)
{
  uint64_t start = clock_ns (), now = start;
  uint64_t end = start + (uint64_t)(seconds * 1e9);
  unsigned in_flight = depth;
  size_t n = 0;

  for (unsigned i = 0; i < depth; i++)
    n = begin (&requests[i], n);
  submit (n);
  while (in_flight) {
    int got = io_getevents (context, 1, LEGS * (long)depth, events, NULL);

    if (got < 0 && got != -EINTR)
      die ("io_getevents: %s", strerror (-got));
    now = clock_ns ();
    n = 0;
    for (int i = 0; i < got; i++) {
      struct request *r = events[i].data;

      if (events[i].res != block)
        die ("a write failed: %s", strerror ((int)-(long)events[i].res));
      if (--r->unanswered)
        continue;
      answered (r, now);
      if (now < end)
        n = begin (r, n);
      else
        in_flight--;
    }
    submit (n);
  }
  return now - start;
}

static int
compare (const void *a, const void *b)
{
  const uint64_t *x = a, *y = b;

  return (*x > *y) - (*x < *y);
}

int
main (int argc, char *argv[])
{
  double took;
  int r;

  options (argc, argv);
  open_legs (argv + optind);
  make_requests ();
  r = io_setup ((int)(LEGS * depth), &context);
  if (r < 0)
    die ("io_setup: %s", strerror (-r));
  took = (double)run () / 1e9;
  io_destroy (context);

  qsort (latencies, nanswered, sizeof *latencies, compare);
  printf ("{\"requests\":%zu,\"seconds\":%.6f,\"iops\":%.1f,"
          "\"latency-us\":{\"median\":%.1f,\"p99\":%.1f}}\n",
          nanswered, took, (double)nanswered / took,
          (double)latencies[(nanswered - 1) / 2] / 1e3,
          (double)latencies[(nanswered - 1) * 99 / 100] / 1e3);
  return 0;
}
