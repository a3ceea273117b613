/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A list of requests, carried out where no server is in between.
 *
 *   replay [--times=N] LEG LEG LIST
 *
 * by the library, one after the other, from one thread: once, so that all bits
 * are set, and then N times more (default: 0), which is what is counted: from
 * outside, by valgrind or strace, as the difference of two runs.  Bits are not
 * cleared meanwhile.
 *
 *   replay --device [--depth=N] [--rate=N] DEVICE LIST
 *
 * by the kernel: on a block device such as /dev/md0, with O_DIRECT, up to N
 * requests at once (default: 1), each with an io_submit of its own; at most so
 * many per second.
 *
 * A line of LIST is `w OFFSET LENGTH [fua]', `r OFFSET LENGTH' or `f', which
 * is a flush, sent after what was asked before it has been answered.
 *
 * There is one thread, and no lock.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libaio.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "array/array.h"

#define MOST_DEPTH 1024
#define ALIGNMENT  4096
#define FOR_EVER   86400 /* seconds: no bit is cleared */
#define TIMEOUT    UINT64_C (60000000000)

struct request {
  char kind; /* w, r or f */
  bool fua;
  uint64_t offset;
  uint32_t length;
};

static struct request *requests;
static size_t nrequests;
static uint32_t longest = ALIGNMENT;

static unsigned times;
static unsigned depth = 1;
static unsigned rate; /* per second; 0: no limit */

static void __attribute__ ((noreturn, format (printf, 1, 2)))
die (const char *fmt, ...)
{
  va_list args;

  fprintf (stderr, "replay: ");
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  exit (1);
}

static void __attribute__ ((noreturn)) usage (void)
{
  fprintf (stderr, "usage: replay [--times=N] LEG LEG LIST\n"
                   "       replay --device [--depth=N] [--rate=N] DEVICE "
                   "LIST\n");
  exit (2);
}

/* ---- the list ---- */

static void
parse_line (const char *line, struct request *r)
{
  char flag[4] = "";
  int n;

  memset (r, 0, sizeof *r);
  n = sscanf (line, "%c %" SCNu64 " %" SCNu32 " %3s", &r->kind, &r->offset,
              &r->length, flag);
  r->fua = n == 4 && strcmp (flag, "fua") == 0;
  if (n == 1 && r->kind == 'f')
    return;
  if ((n == 3 || r->fua) && (r->kind == 'w' || r->kind == 'r'))
    return;
  die ("not a request: %s", line);
}

static void
read_list (const char *path)
{
  FILE *f = fopen (path, "r");
  char line[100];
  size_t room = 0;

  if (!f)
    die ("%s: %s", path, strerror (errno));
  while (fgets (line, sizeof line, f)) {
    if (nrequests == room) {
      room = room ? 2 * room : 1024;
      requests = realloc (requests, room * sizeof *requests);
      if (!requests)
        die ("out of memory");
    }
    if (line[0] == '#' || line[0] == '\n')
      continue;
    parse_line (line, &requests[nrequests]);
    if (requests[nrequests].length > longest)
      longest = requests[nrequests].length;
    nrequests++;
  }
  fclose (f);
}

/* Not zeroes, and the same in each run. */
static void *
new_data (void)
{
  void *data;

  if (posix_memalign (&data, ALIGNMENT, longest) != 0)
    die ("out of memory");
  memset (data, 'r', longest);
  return data;
}

/* ---- the library ---- */

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  fprintf (stderr, "%s\n", line);
}

static void
carry_out (struct array *array, void *data)
{
  for (size_t i = 0; i < nrequests; ++i) {
    const struct request *r = &requests[i];
    int err;

    if (r->kind == 'w')
      err = array_write (array, data, r->length, r->offset,
                         r->fua ? ARRAY_FUA : 0);
    else if (r->kind == 'r')
      err = array_read (array, data, r->length, r->offset);
    else
      err = array_flush (array);
    if (err < 0)
      die ("request %zu: %s", i + 1, strerror (-err));
  }
}

static void
replay_array (char **legs)
{
  static const struct log log = { .sink = sink };
  struct array_options options = {
    .legs = { legs[0], legs[1] },
    .nlegs = 2,
    .leg_timeout = TIMEOUT,
    .daemon_sleep = FOR_EVER,
    .sync_rate_max = UINT64_MAX,
  };
  void *data = new_data ();
  struct array *array;

  if (array_open (&options, &log, &array) < 0 || array_start (array) < 0
      || array_activate (array) < 0)
    die ("the array does not start");
  for (unsigned i = 0; i <= times; ++i)
    carry_out (array, data);
  array_stop (array);
  array_close (array);
  free (data);
}

/* ---- a device ---- */

static struct iocb control_blocks[MOST_DEPTH];
static struct iocb *idle[MOST_DEPTH]; /* the first nidle */
static unsigned nidle;

static void
wait_for (io_context_t context, unsigned at_least)
{
  struct io_event events[MOST_DEPTH];
  int n = io_getevents (context, (long)at_least, MOST_DEPTH, events, NULL);

  if (n < (int)at_least)
    die ("io_getevents: %s", strerror (n < 0 ? -n : EIO));
  for (int i = 0; i < n; ++i) {
    struct iocb *cb = events[i].obj;

    if (events[i].res != cb->u.c.nbytes)
      die ("a request ended with %ld", (long)events[i].res);
    idle[nidle++] = cb;
  }
}

/* Of all requests the Nth is not sent before its turn has come. */
static void
wait_for_turn (const struct timespec *start, size_t n)
{
  struct timespec then = *start;

  if (rate == 0)
    return;
  then.tv_sec += (time_t)(n / rate);
  then.tv_nsec += (long)(n % rate * 1000000000 / rate);
  if (then.tv_nsec >= 1000000000) {
    then.tv_nsec -= 1000000000;
    then.tv_sec++;
  }
  clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL);
}

static void
submit (io_context_t context, int fd, const struct request *r, void *data)
{
  struct iocb *cb = idle[--nidle];
  int err;

  if (r->kind == 'w')
    io_prep_pwrite (cb, fd, data, r->length, (long long)r->offset);
  else
    io_prep_pread (cb, fd, data, r->length, (long long)r->offset);
  if (r->fua)
    cb->aio_rw_flags = RWF_DSYNC;
  err = io_submit (context, 1, &cb);
  if (err != 1)
    die ("io_submit: %s", strerror (-err));
}

static void
replay_device (const char *path)
{
  int fd = open (path, O_RDWR | O_DIRECT);
  io_context_t context = NULL;
  void *data = new_data ();
  struct timespec start;

  if (fd == -1)
    die ("%s: %s", path, strerror (errno));
  if (io_setup ((int)depth, &context) != 0)
    die ("io_setup failed");
  while (nidle < depth) {
    idle[nidle] = &control_blocks[nidle];
    nidle++;
  }
  clock_gettime (CLOCK_MONOTONIC, &start);
  for (size_t i = 0; i < nrequests; ++i) {
    wait_for_turn (&start, i);
    if (requests[i].kind != 'f') {
      if (nidle == 0)
        wait_for (context, 1);
      submit (context, fd, &requests[i], data);
      continue;
    }
    wait_for (context, depth - nidle);
    if (fdatasync (fd) == -1)
      die ("fdatasync: %s", strerror (errno));
  }
  wait_for (context, depth - nidle);
  io_destroy (context);
  close (fd);
  free (data);
}

int
main (int argc, char **argv)
{
  static const struct option options[] = {
    { "depth", required_argument, NULL, 'd' },
    { "device", no_argument, NULL, 'D' },
    { "rate", required_argument, NULL, 'r' },
    { "times", required_argument, NULL, 't' },
    { NULL, 0, NULL, 0 },
  };
  bool device = false;
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1) {
    switch (c) {
    case 'd':
      depth = (unsigned)atoi (optarg);
      break;
    case 'D':
      device = true;
      break;
    case 'r':
      rate = (unsigned)atoi (optarg);
      break;
    case 't':
      times = (unsigned)atoi (optarg);
      break;
    default:
      usage ();
    }
  }
  if (argc - optind != (device ? 2 : 3) || depth < 1 || depth > MOST_DEPTH)
    usage ();
  read_list (argv[argc - 1]);
  if (device)
    replay_device (argv[optind]);
  else
    replay_array (&argv[optind]);
  free (requests);
  return 0;
}
