/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A client that checks data integrity with many connections.
 *
 *   integrity SOCKET REQUESTS CONNECTIONS DEPTH SEED
 *
 * One thread per connection keeps DEPTH requests in flight, one for each of
 * its writers.  The export is divided into
 *
 *   - a region for each writer.  Borders lie at odd bytes, so that neighbours
 *     share sectors and chunks.  Nobody else writes there, and a shadow of
 *     the expected bytes is kept: each read is compared with it, and all of
 *     it is at the end.
 *   - a large region for the first writer of each of the first connections,
 *     whose requests go up to 32 MiB.
 *   - a region for everybody, where requests overlap in flight.  What wins
 *     is unknown; the test that runs us compares the legs afterwards.
 *
 * The shadow of a region belongs to its writer, which belongs to a thread:
 * there is no lock.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#define MAX_REQUEST (32u * 1024 * 1024)
#define MAX_SMALL   (16u * 1024)

enum kind { READ, WRITE, ZERO, TRIM, FLUSH };

struct writer {
  uint64_t start, end; /* its region */
  bool large;
  uint8_t *buffer;
  size_t room;
  uint64_t random;
  struct thread *thread;

  /* The request in flight. */
  bool busy;
  enum kind kind;
  uint64_t offset;
  uint32_t count;
  bool shared; /* in everybody's region */
};

struct thread {
  pthread_t thread;
  struct nbd_handle *nbd;
  struct writer *writers;
  uint64_t left; /* requests to start */
  uint64_t done[FLUSH + 1];
  uint64_t bytes;
};

static const char *sock;
static unsigned nthreads, depth;
static uint64_t size;
static uint64_t shared_start; /* everybody's region, to the end */
static uint8_t *shadow;       /* of what lies before it */

static void __attribute__ ((noreturn, format (printf, 1, 2)))
die (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  fprintf (stderr, "integrity: ");
  vfprintf (stderr, fmt, args);
  fprintf (stderr, "\n");
  va_end (args);
  exit (EXIT_FAILURE);
}

/* xorshift64*: good enough to be unpredictable to the server. */
static uint64_t
next (uint64_t *random)
{
  *random ^= *random >> 12;
  *random ^= *random << 25;
  *random ^= *random >> 27;
  return *random * UINT64_C (0x2545f4914f6cdd1d);
}

static uint64_t
below (uint64_t *random, uint64_t n)
{
  return next (random) % n;
}

/* ---- requests ---- */

/* Most are small, some of each size up to the limit; half are at offsets
 * and of lengths that are no multiple of anything.
 */
static uint32_t
choose_count (struct writer *w)
{
  uint64_t limit = MAX_SMALL;
  uint64_t n;

  if (w->large && below (&w->random, 50) == 0)
    limit = MAX_REQUEST;
  while (limit > 512 && below (&w->random, 2) == 0)
    limit /= 2;
  n = 1 + below (&w->random, limit);
  if (below (&w->random, 2) == 0)
    n = (n + 511) & ~UINT64_C (511);
  return (uint32_t)n;
}

static void
choose_range (struct writer *w)
{
  uint64_t start = w->shared ? shared_start : w->start;
  uint64_t end = w->shared ? size : w->end;
  uint64_t count = choose_count (w);

  if (count > end - start)
    count = end - start;
  w->offset = start + below (&w->random, end - start - count + 1);
  if (below (&w->random, 2) == 0 && (w->offset & ~UINT64_C (4095)) >= start)
    w->offset &= ~UINT64_C (4095);
  w->count = (uint32_t)count;
}

static void
need_buffer (struct writer *w)
{
  if (w->room >= w->count)
    return;
  free (w->buffer);
  w->room = w->count;
  w->buffer = malloc (w->room);
  if (!w->buffer)
    die ("out of memory");
}

static void
check (const struct writer *w)
{
  const uint8_t *expected = shadow + w->offset;

  if (memcmp (w->buffer, expected, w->count) == 0)
    return;
  for (uint32_t i = 0; i < w->count; ++i)
    if (w->buffer[i] != expected[i])
      die ("read of %" PRIu32 " bytes at %" PRIu64 ": byte %" PRIu64
           " is 0x%02x instead of 0x%02x",
           w->count, w->offset, w->offset + i, w->buffer[i], expected[i]);
}

static int
completed (void *opaque, int *error)
{
  struct writer *w = opaque;
  struct thread *t = w->thread;

  if (*error)
    die ("request %d of %" PRIu32 " bytes at %" PRIu64 ": %s", w->kind,
         w->count, w->offset, strerror (*error));
  if (!w->shared) {
    if (w->kind == READ)
      check (w);
    else if (w->kind == WRITE)
      memcpy (shadow + w->offset, w->buffer, w->count);
    else if (w->kind != FLUSH)
      memset (shadow + w->offset, 0, w->count);
  }
  w->busy = false;
  t->done[w->kind]++;
  if (w->kind != FLUSH)
    t->bytes += w->count;
  return 1;
}

static void
fill (struct writer *w)
{
  uint64_t word = 0;

  for (uint32_t i = 0; i < w->count; ++i) {
    if (i % 8 == 0)
      word = next (&w->random);
    w->buffer[i] = (uint8_t)(word >> (i % 8 * 8));
  }
}

static void
start_request (struct writer *w)
{
  struct nbd_handle *nbd = w->thread->nbd;
  nbd_completion_callback callback = { .callback = completed, .user_data = w };
  uint64_t dice = below (&w->random, 100);
  uint32_t flags = below (&w->random, 4) == 0 ? LIBNBD_CMD_FLAG_FUA : 0;
  int64_t cookie;

  w->shared = below (&w->random, 5) == 0;
  choose_range (w);
  w->busy = true;
  if (dice < 66) {
    w->kind = WRITE;
    need_buffer (w);
    fill (w);
    cookie =
        nbd_aio_pwrite (nbd, w->buffer, w->count, w->offset, callback, flags);
  }
  else if (dice < 84) {
    w->kind = READ;
    need_buffer (w);
    cookie = nbd_aio_pread (nbd, w->buffer, w->count, w->offset, callback, 0);
  }
  else if (dice < 92) {
    w->kind = ZERO;
    if (below (&w->random, 2) == 0)
      flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    cookie = nbd_aio_zero (nbd, w->count, w->offset, callback, flags);
  }
  else if (dice < 98) {
    w->kind = TRIM;
    cookie = nbd_aio_trim (nbd, w->count, w->offset, callback, flags);
  }
  else {
    w->kind = FLUSH;
    cookie = nbd_aio_flush (nbd, callback, 0);
  }
  if (cookie == -1)
    die ("%s", nbd_get_error ());
}

static void *
run (void *opaque)
{
  struct thread *t = opaque;
  unsigned busy;

  do {
    busy = 0;
    for (unsigned i = 0; i < depth; ++i) {
      struct writer *w = &t->writers[i];

      if (!w->busy && t->left > 0) {
        t->left--;
        start_request (w);
      }
      busy += w->busy;
    }
    if (busy > 0 && nbd_poll (t->nbd, -1) == -1)
      die ("%s", nbd_get_error ());
  } while (busy > 0 || t->left > 0);
  return NULL;
}

/* ---- the whole ---- */

static struct nbd_handle *
connect_to_server (void)
{
  struct nbd_handle *nbd = nbd_create ();

  /* Requests that violate the advertised block size must be served too. */
  if (!nbd || nbd_set_strict_mode (nbd, 0) == -1
      || nbd_connect_unix (nbd, sock) == -1)
    die ("%s", nbd_get_error ());
  return nbd;
}

static void
divide (struct thread *threads)
{
  unsigned nlarge = nthreads < 2 ? 1 : 2;
  uint64_t large = size / 8 > MAX_REQUEST + 1 ? MAX_REQUEST + 4711 : size / 8;
  uint64_t each, at = 0;

  shared_start = size - size / 6;
  if (shared_start < nlarge * large)
    die ("the export is too small");
  each = shared_start - nlarge * large;
  if (nthreads * depth > nlarge)
    each /= nthreads * depth - nlarge;
  if (each < 1024)
    die ("the export is too small");
  for (unsigned i = 0; i < nthreads; ++i)
    for (unsigned j = 0; j < depth; ++j) {
      struct writer *w = &threads[i].writers[j];

      w->large = j == 0 && i < nlarge;
      w->thread = &threads[i];
      w->start = at;
      at += w->large ? large : each;
      w->end = at;
    }
}

/* Read everything, through one connection, and compare or learn it. */
static void
read_all (bool learn)
{
  struct nbd_handle *nbd = connect_to_server ();
  struct writer w = { .room = 1 << 20, .buffer = malloc (1 << 20) };

  if (!w.buffer)
    die ("out of memory");
  for (; w.offset < shared_start; w.offset += w.count) {
    uint64_t left = shared_start - w.offset;

    w.count = left < w.room ? (uint32_t)left : (uint32_t)w.room;
    if (nbd_pread (nbd, w.buffer, w.count, w.offset, 0) == -1)
      die ("%s", nbd_get_error ());
    if (learn)
      memcpy (shadow + w.offset, w.buffer, w.count);
    else
      check (&w);
  }
  if (nbd_flush (nbd, 0) == -1 || nbd_shutdown (nbd, 0) == -1)
    die ("%s", nbd_get_error ());
  nbd_close (nbd);
  free (w.buffer);
}

static struct thread *
start_threads (uint64_t requests, uint64_t seed)
{
  struct thread *threads = calloc (nthreads, sizeof *threads);

  if (!threads)
    die ("out of memory");
  for (unsigned i = 0; i < nthreads; ++i) {
    threads[i].nbd = connect_to_server ();
    threads[i].left = requests / nthreads;
    threads[i].writers = calloc (depth, sizeof *threads[i].writers);
    if (!threads[i].writers)
      die ("out of memory");
    for (unsigned j = 0; j < depth; ++j)
      threads[i].writers[j].random =
          (seed * 1000003 + i * 1009 + j + 1) * UINT64_C (0x9e3779b97f4a7c15);
  }
  size = (uint64_t)nbd_get_size (threads[0].nbd);
  divide (threads);
  shadow = malloc (shared_start);
  if (!shadow)
    die ("out of memory");
  read_all (true);
  for (unsigned i = 0; i < nthreads; ++i)
    if (pthread_create (&threads[i].thread, NULL, run, &threads[i]) != 0)
      die ("cannot create a thread");
  return threads;
}

static void
end_threads (struct thread *threads)
{
  uint64_t done[FLUSH + 1] = { 0 };
  uint64_t bytes = 0;

  for (unsigned i = 0; i < nthreads; ++i) {
    pthread_join (threads[i].thread, NULL);
    for (unsigned k = 0; k <= FLUSH; ++k)
      done[k] += threads[i].done[k];
    bytes += threads[i].bytes;
    if (nbd_shutdown (threads[i].nbd, 0) == -1)
      die ("%s", nbd_get_error ());
    nbd_close (threads[i].nbd);
    for (unsigned j = 0; j < depth; ++j)
      free (threads[i].writers[j].buffer);
    free (threads[i].writers);
  }
  free (threads);
  read_all (false);
  free (shadow);
  printf ("reads=%" PRIu64 " writes=%" PRIu64 " zeroes=%" PRIu64
          " trims=%" PRIu64 " flushes=%" PRIu64 " bytes=%" PRIu64 "\n",
          done[READ], done[WRITE], done[ZERO], done[TRIM], done[FLUSH], bytes);
}

int
main (int argc, char *argv[])
{
  if (argc != 6) {
    fprintf (stderr, "usage: integrity SOCKET REQUESTS CONNECTIONS DEPTH "
                     "SEED\n");
    return EXIT_FAILURE;
  }
  sock = argv[1];
  nthreads = (unsigned)atoi (argv[3]);
  depth = (unsigned)atoi (argv[4]);
  if (nthreads == 0 || depth == 0)
    die ("no connections or no depth");
  end_threads (start_threads (strtoull (argv[2], NULL, 10),
                              strtoull (argv[5], NULL, 10)));
  return EXIT_SUCCESS;
}
