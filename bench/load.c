/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Sends a list of requests to an NBD server, for what fio cannot do.
 *
 *   load [OPTION...] URI LIST
 *
 * LIST is a file, or - for stdin, with one request a line:
 *
 *   w OFFSET LENGTH [fua]   write random bytes
 *   r OFFSET LENGTH         read
 *   f                       flush
 *
 * An empty line, and what begins with #, is nothing.  Options:
 *
 *   --connections=N   default 1; each in turn takes the next line
 *   --depth=N         so many in flight at once on each connection; default 1
 *   --rate=N          so many requests a second, of all connections
 *   --seconds=S       repeat the list until then; default: the list once
 *
 * Prints a line of JSON.  A request is late, not dropped, if the rate cannot
 * be kept.  Latency is from sending to the answer.
 *
 * Requests are sent in the order of the list; nothing waits for another but
 * for a place among those in flight.  Connections are closed when nothing is
 * in flight, in order.  A request that fails ends the program: exit status 1.
 *
 * One thread does everything: there are no locks.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <libnbd.h>

#define MAX_LENGTH (32u << 20) /* what every server takes */
#define STEP       4096u       /* writes begin elsewhere in the random bytes */
#define STEPS      64u

struct request {
  uint64_t offset;
  uint32_t length;
  char kind; /* as in the list */
  bool fua;
};

struct connection {
  struct nbd_handle *nbd;
  unsigned in_flight;
};

/* One of those in flight: whose it is, and when it was sent. */
struct sent {
  struct connection *connection;
  uint64_t when;
};

static unsigned depth = 1, nconnections = 1;
static double rate, seconds;

static struct request *list;
static size_t nlist;

static struct connection *connections;
static struct pollfd *polls;
static uint8_t *data, *sink; /* what is written, and what was read */

static uint64_t start, now, last; /* ns; last: the last answer */
static uint64_t nsent;
static uint64_t *latencies; /* ns, of nanswered requests */
static size_t nanswered, latencies_size;

static void __attribute__ ((noreturn, format (printf, 1, 2)))
die (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  fprintf (stderr, "load: ");
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

static double
number (const char *text, const char *what)
{
  char *end;
  double n = strtod (text, &end);

  if (end == text || *end || !(n > 0) || n > 1e9)
    die ("%s: not a number above 0: %s", what, text);
  return n;
}

static unsigned
whole_number (const char *text, const char *what)
{
  double n = number (text, what);

  if (n != floor (n) || n > 65536)
    die ("%s: not a whole number from 1 to 65536: %s", what, text);
  return (unsigned)n;
}

static bool
parse (const char *line, struct request *r)
{
  char flag[4] = "";
  int n = -1;

  *r = (struct request){ .kind = line[0] };
  if (sscanf (line, "w %" SCNu64 " %" SCNu32 " %n%3s %n", &r->offset,
              &r->length, &n, flag, &n)
          >= 2
      && n > 0 && !line[n] && (!*flag || !strcmp (flag, "fua"))) {
    r->fua = *flag;
    return r->length && r->length <= MAX_LENGTH;
  }
  if (sscanf (line, "r %" SCNu64 " %" SCNu32 " %n", &r->offset, &r->length, &n)
          == 2
      && n > 0 && !line[n])
    return r->length && r->length <= MAX_LENGTH;
  n = -1;
  sscanf (line, "f %n", &n);
  return n > 0 && !line[n];
}

static void
read_list (const char *name)
{
  FILE *file = strcmp (name, "-") == 0 ? stdin : fopen (name, "r");
  char line[256];
  size_t allocated = 0, nline = 0;

  if (!file)
    die ("%s: %s", name, strerror (errno));
  while (fgets (line, sizeof line, file)) {
    nline++;
    if (line[0] == '#' || line[0] == '\n')
      continue;
    if (nlist == allocated) {
      allocated = allocated ? 2 * allocated : 1024;
      list = need (realloc (list, allocated * sizeof *list));
    }
    if (!parse (line, &list[nlist++]))
      die ("%s: line %zu: not a request: %s", name, nline, line);
  }
  if (ferror (file))
    die ("%s: %s", name, strerror (errno));
  if (!nlist)
    die ("%s: no request", name);
}

static void
make_data (void)
{
  size_t length = STEP, size, done;
  ssize_t n;

  for (size_t i = 0; i < nlist; i++)
    if (length < list[i].length)
      length = list[i].length;
  size = length + STEPS * STEP;
  data = need (malloc (size));
  sink = need (malloc (length));
  for (done = 0; done < size; done += (size_t)n)
    if ((n = getrandom (data + done, size - done, 0)) < 0) {
      if (errno != EINTR)
        die ("getrandom: %s", strerror (errno));
      n = 0;
    }
}

static void
connect_all (const char *uri)
{
  connections = need (calloc (nconnections, sizeof *connections));
  polls = need (calloc (nconnections, sizeof *polls));
  for (unsigned i = 0; i < nconnections; i++) {
    struct nbd_handle *nbd = nbd_create ();

    if (!nbd || nbd_connect_uri (nbd, uri) == -1)
      die ("%s", nbd_get_error ());
    connections[i].nbd = nbd;
  }
}

/* Its answer is here. */
static int
answered (void *user_data, int *error)
{
  struct sent *sent = user_data;

  if (*error)
    die ("a request failed: %s", strerror (*error));
  if (nanswered == latencies_size) {
    latencies_size = latencies_size ? 2 * latencies_size : 65536;
    latencies = need (realloc (latencies, latencies_size * sizeof *latencies));
  }
  last = clock_ns ();
  latencies[nanswered++] = last - sent->when;
  sent->connection->in_flight--;
  return 1; /* the command is retired */
}

static void
send_request (struct connection *c, const struct request *r)
{
  struct sent *sent = need (malloc (sizeof *sent));
  nbd_completion_callback callback = { .callback = answered,
                                       .user_data = sent,
                                       .free = free };
  const uint8_t *bytes = data + nsent % STEPS * STEP;
  int64_t cookie;

  sent->connection = c;
  sent->when = clock_ns ();
  c->in_flight++;
  nsent++;
  if (r->kind == 'w')
    cookie = nbd_aio_pwrite (c->nbd, bytes, r->length, r->offset, callback,
                             r->fua ? LIBNBD_CMD_FLAG_FUA : 0);
  else if (r->kind == 'r')
    cookie = nbd_aio_pread (c->nbd, sink, r->length, r->offset, callback, 0);
  else
    cookie = nbd_aio_flush (c->nbd, callback, 0);
  if (cookie == -1)
    die ("%s", nbd_get_error ());
}

static bool
all_sent (void)
{
  if (seconds > 0)
    return (double)(now - start) >= seconds * 1e9;
  return nsent == nlist;
}

/* When the next may be sent. */
static uint64_t
due (void)
{
  return rate > 0 ? start + (uint64_t)((double)nsent * 1e9 / rate) : start;
}

/* The connections take turns; one that is full is passed over. */
static void
send_some (void)
{
  static unsigned turn;
  unsigned full = 0;

  while (full < nconnections && !all_sent () && due () <= now) {
    struct connection *c = &connections[turn];

    turn = (turn + 1) % nconnections;
    if (c->in_flight == depth) {
      full++;
      continue;
    }
    full = 0;
    send_request (c, &list[nsent % nlist]);
  }
}

static bool
idle (void)
{
  for (unsigned i = 0; i < nconnections; i++)
    if (connections[i].in_flight)
      return false;
  return true;
}

static void
wait_for_answers (void)
{
  struct timespec time, *timeout = NULL;
  uint64_t next = due ();

  if (rate > 0 && !all_sent ()) {
    next = next > now ? next - now : 1000000; /* late: full */
    time.tv_sec = (time_t)(next / 1000000000);
    time.tv_nsec = (long)(next % 1000000000);
    timeout = &time;
  }
  for (unsigned i = 0; i < nconnections; i++) {
    unsigned direction = nbd_aio_get_direction (connections[i].nbd);

    polls[i].fd = nbd_aio_get_fd (connections[i].nbd);
    polls[i].events =
        (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0)
                | (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    polls[i].revents = 0;
  }
  if (ppoll (polls, nconnections, timeout, NULL) == -1 && errno != EINTR)
    die ("poll: %s", strerror (errno));
  for (unsigned i = 0; i < nconnections; i++) {
    struct nbd_handle *nbd = connections[i].nbd;
    unsigned direction = nbd_aio_get_direction (nbd);
    int r = 0;

    if (polls[i].revents & (POLLIN | POLLHUP | POLLERR)
        && direction & LIBNBD_AIO_DIRECTION_READ)
      r = nbd_aio_notify_read (nbd);
    else if (polls[i].revents & POLLOUT
             && direction & LIBNBD_AIO_DIRECTION_WRITE)
      r = nbd_aio_notify_write (nbd);
    if (r == -1)
      die ("%s", nbd_get_error ());
    if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd))
      die ("the server has closed the connection");
  }
}

static int
compare (const void *a, const void *b)
{
  const uint64_t *x = a, *y = b;

  return (*x > *y) - (*x < *y);
}

static double
quantile (double q)
{
  size_t i = (size_t)ceil (q * (double)nanswered);

  return nanswered ? (double)latencies[i ? i - 1 : 0] / 1e3 : 0;
}

static void
options (int argc, char *argv[])
{
  static const struct option known[] = {
    { "connections", required_argument, NULL, 'c' },
    { "depth", required_argument, NULL, 'd' },
    { "rate", required_argument, NULL, 'r' },
    { "seconds", required_argument, NULL, 's' },
    { NULL, 0, NULL, 0 },
  };
  int c;

  while ((c = getopt_long (argc, argv, "", known, NULL)) != -1) {
    if (c == 'c')
      nconnections = whole_number (optarg, "--connections");
    else if (c == 'd')
      depth = whole_number (optarg, "--depth");
    else if (c == 'r')
      rate = number (optarg, "--rate");
    else if (c == 's')
      seconds = number (optarg, "--seconds");
    else
      exit (2);
  }
  if (argc - optind != 2) {
    fprintf (stderr, "usage: load [--connections=N] [--depth=N] [--rate=N] "
                     "[--seconds=S] URI LIST\n");
    exit (2);
  }
}

int
main (int argc, char *argv[])
{
  double took;

  options (argc, argv);
  read_list (argv[optind + 1]);
  make_data ();
  connect_all (argv[optind]);

  start = now = last = clock_ns ();
  for (;;) {
    send_some ();
    if (all_sent () && idle ())
      break;
    wait_for_answers ();
    now = clock_ns ();
  }
  took = (double)(last - start) / 1e9;

  for (unsigned i = 0; i < nconnections; i++) {
    if (nbd_shutdown (connections[i].nbd, 0) == -1)
      die ("%s", nbd_get_error ());
    nbd_close (connections[i].nbd);
  }
  qsort (latencies, nanswered, sizeof *latencies, compare);
  printf ("{\"requests\":%zu,\"seconds\":%.6f,\"iops\":%.1f,"
          "\"latency-us\":{\"median\":%.1f,\"p99\":%.1f}}\n",
          nanswered, took, took > 0 ? (double)nanswered / took : 0,
          quantile (0.5), quantile (0.99));
  return 0;
}
