/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Kills the server with -9 under load, again and again, and checks what is
 * left.
 *
 *   kill [-v] [-b FILE] ROUNDS CONNECTIONS DEPTH SEED DIRECTORY LEG,LEG...
 *        COMMAND...
 *
 * COMMAND is nbdkit with everything but its socket.  Each round starts it,
 * reads all sectors, waits for the resync, reads again, compares both legs'
 * files with what was read, writes for a while and kills.  Every fourth
 * round kills once more before the resync has ended.
 *
 * With -b the bitmap is in that file: after each kill as many chunks must be
 * resynced as it has marked, and it must never be stale.
 *
 * The history of a sector.  Each write gives it the next version, and the
 * bytes of a sector tell its number, its version and whether it is whole.
 * Writers own their sectors and have one request in flight, so versions are
 * applied in order.  After a crash a sector may hold
 *   - `low`, the newest version that was answered (SIGKILL loses nothing
 *     that the kernel was given; with -v, for legs with volatile caches,
 *     that was answered with FUA or before a completed flush), or
 *   - any later version that was sent.
 * What was found becomes `low`, and versions up to `floor` that were not
 * found are gone for ever.  The last part of the export belongs to nobody:
 * all writers write there, at odd offsets and overlapping, and only the
 * legs are compared.
 *
 * All of struct history is protected by the lock.  `killing` is set before
 * the server is killed: only then may requests fail.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#define SECTOR      512u
#define MAX_SECTORS 64u /* of one request */
#define MAX_LEGS    8
#define STAMP       UINT64_C (0x6d64626974736563)
#define SUPERBLOCK  4096

enum kind { WRITE, ZERO, FLUSH };

struct history {
  uint32_t low;   /* at least this version, */
  uint32_t floor; /* and none from low + 1 to this, */
  uint32_t high;  /* and none later than this */
  uint32_t acked; /* the last one that was answered */
  uint32_t zero;  /* the last one that was zeroes */
};

struct writer {
  struct thread *thread;
  uint64_t start, end; /* sectors */
  uint64_t random;
  bool busy;
  enum kind kind;
  bool fua, shared;
  uint64_t offset; /* bytes */
  uint32_t count;
  uint8_t buffer[MAX_SECTORS * SECTOR];
};

struct thread {
  pthread_t thread;
  struct nbd_handle *nbd;
  struct writer *writers;
  bool flushing;
  uint32_t *flushed; /* versions that the flush in flight covers */
};

static unsigned nthreads, depth, nlegs;
static bool volatile_legs;
static const char *bitmap_file;
static char *legs[MAX_LEGS];
static char sock[108], logfile[4096];
static char **command;
static pid_t server;
static uint64_t size, owned; /* bytes; sectors */
static uint8_t *image;       /* what was read last */
static struct thread *threads;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct history *history;
static uint64_t requests;
static bool killing;

static void __attribute__ ((noreturn, format (printf, 1, 2)))
die (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  fprintf (stderr, "kill: ");
  vfprintf (stderr, fmt, args);
  fprintf (stderr, "\n");
  va_end (args);
  if (server > 0)
    kill (server, SIGKILL);
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

static void
milliseconds (uint64_t ms)
{
  struct timespec ts = { .tv_sec = (time_t)(ms / 1000),
                         .tv_nsec = (long)(ms % 1000) * 1000000 };

  while (nanosleep (&ts, &ts) == -1 && errno == EINTR)
    ;
}

/* ---- sectors ---- */

static void
stamp (uint8_t *bytes, uint64_t sector, uint32_t version)
{
  uint64_t words[SECTOR / 8];
  uint64_t random = (sector << 32 | version) * 2 + 1;

  words[0] = STAMP ^ sector;
  words[1] = version;
  for (unsigned i = 2; i < SECTOR / 8; ++i)
    words[i] = next (&random);
  memcpy (bytes, words, SECTOR);
}

static bool
is_zero (const uint8_t *bytes)
{
  return bytes[0] == 0 && memcmp (bytes, bytes + 1, SECTOR - 1) == 0;
}

/* What was found in a sector after a crash becomes its history. */
static void
settle (uint64_t sector, const uint8_t *bytes)
{
  struct history *h = &history[sector];
  uint8_t expected[SECTOR];
  uint32_t version;
  bool zero = is_zero (bytes);

  if (zero) {
    version = h->zero;
  }
  else {
    uint64_t words[2];

    memcpy (words, bytes, sizeof words);
    version = (uint32_t)words[1];
    stamp (expected, sector, version);
    if (memcmp (bytes, expected, SECTOR) != 0)
      die ("sector %" PRIu64 ": not a whole sector that was written here "
           "(words %016" PRIx64 " %016" PRIx64 ")",
           sector, words[0] ^ STAMP, words[1]);
  }
  if (version < h->low || version > h->high
      || (version != h->low && version <= h->floor)
      || (!zero && version == h->zero))
    die ("sector %" PRIu64 ": version %" PRIu32 "%s, but it must be %" PRIu32
         " or from %" PRIu32 " to %" PRIu32,
         sector, version, zero ? " (zeroes)" : "", h->low, h->floor + 1,
         h->high);
  h->low = h->acked = version;
  h->floor = h->high;
}

/* ---- load ---- */

static void
durable (uint64_t sector, uint32_t version)
{
  if (history[sector].low < version)
    history[sector].low = version;
}

static void
answered (struct writer *w)
{
  uint64_t first = w->offset / SECTOR, n = w->count / SECTOR;

  if (w->kind == FLUSH) {
    for (uint64_t i = 0; i < owned; ++i)
      durable (i, w->thread->flushed[i]);
    return;
  }
  if (w->shared)
    return;
  for (uint64_t i = first; i < first + n; ++i) {
    history[i].acked = history[i].high;
    if (w->fua || !volatile_legs)
      durable (i, history[i].high);
  }
}

static int
completed (void *opaque, int *error)
{
  struct writer *w = opaque;

  pthread_mutex_lock (&lock);
  if (*error == 0)
    answered (w);
  else if (!killing)
    die ("request %d of %" PRIu32 " bytes at %" PRIu64 ": %s", w->kind,
         w->count, w->offset, strerror (*error));
  requests++;
  pthread_mutex_unlock (&lock);
  if (w->kind == FLUSH)
    w->thread->flushing = false;
  w->busy = false;
  return 1;
}

static void
choose (struct writer *w)
{
  uint64_t dice = below (&w->random, 100);

  w->kind = dice < 80 ? WRITE : dice < 97 ? ZERO : FLUSH;
  if (w->thread->flushing && w->kind == FLUSH)
    w->kind = WRITE;
  w->fua = below (&w->random, 4) == 0;
  w->shared = below (&w->random, 6) == 0;
  if (w->shared) {
    w->count = 1 + (uint32_t)below (&w->random, sizeof w->buffer);
    w->offset = owned * SECTOR
                + below (&w->random, size - owned * SECTOR - w->count + 1);
  }
  else {
    uint64_t most = w->end - w->start;
    uint64_t n = 1 + below (&w->random, below (&w->random, MAX_SECTORS) + 1);

    if (n > most)
      n = most;
    w->count = (uint32_t)n * SECTOR;
    w->offset = (w->start + below (&w->random, most - n + 1)) * SECTOR;
  }
}

/* Note in the history what is about to be sent. */
static void
note (struct writer *w)
{
  uint64_t first = w->offset / SECTOR, n = w->count / SECTOR;

  pthread_mutex_lock (&lock);
  if (w->kind == FLUSH) {
    w->thread->flushing = true;
    for (uint64_t i = 0; i < owned; ++i)
      w->thread->flushed[i] = history[i].acked;
  }
  else if (!w->shared)
    for (uint64_t i = 0; i < n; ++i) {
      struct history *h = &history[first + i];

      h->high++;
      if (w->kind == ZERO)
        h->zero = h->high;
      else
        stamp (w->buffer + i * SECTOR, first + i, h->high);
    }
  pthread_mutex_unlock (&lock);
  if (w->shared && w->kind == WRITE)
    memset (w->buffer, (int)next (&w->random), w->count);
}

/* False: the server is gone. */
static bool
send_request (struct writer *w)
{
  struct nbd_handle *nbd = w->thread->nbd;
  nbd_completion_callback callback = { .callback = completed, .user_data = w };
  uint32_t flags = w->fua ? LIBNBD_CMD_FLAG_FUA : 0;
  int64_t cookie;

  choose (w);
  note (w);
  w->busy = true;
  if (w->kind == WRITE)
    cookie =
        nbd_aio_pwrite (nbd, w->buffer, w->count, w->offset, callback, flags);
  else if (w->kind == FLUSH)
    cookie = nbd_aio_flush (nbd, callback, 0);
  else if (below (&w->random, 2) == 0)
    cookie = nbd_aio_trim (nbd, w->count, w->offset, callback, flags);
  else
    cookie = nbd_aio_zero (nbd, w->count, w->offset, callback, flags);
  return cookie != -1;
}

static void *
load (void *opaque)
{
  struct thread *t = opaque;

  for (;;) {
    for (unsigned i = 0; i < depth; ++i)
      if (!t->writers[i].busy && !send_request (&t->writers[i]))
        goto gone;
    if (nbd_poll (t->nbd, -1) == -1)
      goto gone;
  }
gone:
  pthread_mutex_lock (&lock);
  if (!killing)
    die ("the server went away by itself: %s", nbd_get_error ());
  pthread_mutex_unlock (&lock);
  return NULL;
}

/* ---- server ---- */

static void
start_server (void)
{
  int fd;

  unlink (sock);
  server = fork ();
  if (server == -1)
    die ("fork: %s", strerror (errno));
  if (server == 0) {
    fd = open (logfile, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd == -1 || dup2 (fd, 1) == -1 || dup2 (fd, 2) == -1)
      _exit (126);
    execvp (command[0], command);
    _exit (127);
  }
}

static struct nbd_handle *
connect_to_server (void)
{
  for (unsigned i = 0; i < 6000; ++i) {
    struct nbd_handle *nbd = need (nbd_create ());
    int status;

    nbd_set_strict_mode (nbd, 0);
    if (nbd_connect_unix (nbd, sock) == 0)
      return nbd;
    nbd_close (nbd);
    if (waitpid (server, &status, WNOHANG) == server) {
      server = 0;
      die ("the server does not start: see %s", logfile);
    }
    milliseconds (10);
  }
  die ("the server does not answer: %s", nbd_get_error ());
}

static void
kill_server (void)
{
  int status;

  pthread_mutex_lock (&lock);
  killing = true;
  pthread_mutex_unlock (&lock);
  if (kill (server, SIGKILL) == -1 || waitpid (server, &status, 0) == -1
      || !WIFSIGNALED (status) || WTERMSIG (status) != SIGKILL)
    die ("the server had ended before it was killed: see %s", logfile);
  server = 0;
}

/* The first line of the log with that text; NULL: none. */
static const char *
log_line (const char *text, char *line, size_t room)
{
  FILE *fp = fopen (logfile, "r");
  bool found = false;

  while (fp && !found && fgets (line, (int)room, fp))
    found = strstr (line, text) != NULL;
  if (fp)
    fclose (fp);
  return found ? line : NULL;
}

static bool
log_says (const char *text)
{
  char line[4096];

  return log_line (text, line, sizeof line) != NULL;
}

static void
wait_for_resync (void)
{
  if (!log_says ("to be resynced"))
    return;
  for (unsigned i = 0; !log_says ("resync done"); ++i) {
    if (i == 12000)
      die ("the resync does not end: see %s", logfile);
    milliseconds (10);
  }
}

/* ---- checks ---- */

/* Reads in flight, so that all legs are asked. */
#define READS      8
#define READ_BYTES (128u * 1024)

static int
piece_read (void *opaque, int *error)
{
  unsigned *left = opaque;

  if (*error)
    die ("read: %s", strerror (*error));
  --*left;
  return 1;
}

/* Read n bytes at `at`, in pieces, all at once. */
static void
read_window (struct nbd_handle *nbd, uint8_t *bytes, uint64_t at, uint64_t n)
{
  unsigned left = 0;

  for (uint64_t done = 0; done < n; done += READ_BYTES) {
    nbd_completion_callback callback = { .callback = piece_read,
                                         .user_data = &left };
    uint64_t piece = n - done < READ_BYTES ? n - done : READ_BYTES;

    left++;
    if (nbd_aio_pread (nbd, bytes + done, piece, at + done, callback, 0) == -1)
      die ("read at %" PRIu64 ": %s", at + done, nbd_get_error ());
  }
  while (left > 0)
    if (nbd_poll (nbd, -1) == -1)
      die ("read at %" PRIu64 ": %s", at, nbd_get_error ());
}

/* Read everything into the image.  again: nothing may have changed. */
static void
read_all (struct nbd_handle *nbd, bool again)
{
  const uint64_t step = READS * READ_BYTES;
  uint8_t *bytes = need (malloc (step));

  for (uint64_t at = 0; at < size; at += step) {
    uint64_t n = size - at < step ? size - at : step;

    read_window (nbd, bytes, at, n);
    for (uint64_t i = 0; again && i < n; ++i)
      if (image[at + i] != bytes[i])
        die ("byte %" PRIu64 " changed between two reads", at + i);
    memcpy (image + at, bytes, n);
  }
  free (bytes);
}

static void
settle_all (void)
{
  for (uint64_t i = 0; i < owned; ++i)
    settle (i, image + i * SECTOR);
}

static uint64_t
field (int fd, const char *leg, off_t offset)
{
  uint8_t bytes[8];
  uint64_t n = 0;

  if (pread (fd, bytes, sizeof bytes, SUPERBLOCK + offset) != sizeof bytes)
    die ("%s: cannot read the superblock", leg);
  for (unsigned i = 8; i-- > 0;)
    n = n << 8 | bytes[i];
  return n;
}

/* Each leg by itself, past the server, holds what was read. */
static void
check_legs (void)
{
  const size_t step = 1 << 20;
  uint8_t *bytes = need (malloc (step));

  for (unsigned l = 0; l < nlegs; ++l) {
    int fd = open (legs[l], O_RDONLY);
    uint64_t start;

    if (fd == -1)
      die ("%s: %s", legs[l], strerror (errno));
    start = field (fd, legs[l], 128) * SECTOR;
    if (field (fd, legs[l], 80) * SECTOR != size)
      die ("%s: the size is not that of the export", legs[l]);
    for (uint64_t at = 0; at < size; at += step) {
      size_t n = size - at < step ? size - at : step;

      if (pread (fd, bytes, n, (off_t)(start + at)) != (ssize_t)n)
        die ("%s: cannot be read", legs[l]);
      for (size_t i = 0; i < n; ++i)
        if (image[at + i] != bytes[i])
          die ("%s: byte %" PRIu64 " of the data is not what the server read",
               legs[l], at + i);
    }
    close (fd);
  }
  free (bytes);
}

/* ---- the bitmap in a file ---- */

static uint64_t
little_endian (const uint8_t *bytes, unsigned n)
{
  uint64_t value = 0;

  while (n-- > 0)
    value = value << 8 | bytes[n];
  return value;
}

/* Chunks that the file has marked, while no server runs. */
static uint64_t
marked_chunks (void)
{
  uint64_t chunks, sectors, marked = 0;
  uint8_t header[256], byte;
  int fd = open (bitmap_file, O_RDONLY);

  if (fd == -1 || pread (fd, header, sizeof header, 0) != sizeof header
      || memcmp (header, "bitm", 4) != 0)
    die ("%s: cannot be read as a bitmap", bitmap_file);
  sectors = little_endian (header + 52, 4) / SECTOR;
  chunks = (little_endian (header + 40, 8) + sectors - 1) / sectors;
  for (uint64_t i = 0; i < chunks; i += 8) {
    if (pread (fd, &byte, 1, (off_t)(sizeof header + i / 8)) != 1)
      die ("%s: is too short", bitmap_file);
    for (unsigned bit = 0; bit < 8 && i + bit < chunks; ++bit)
      marked += byte >> bit & 1;
  }
  close (fd);
  return marked;
}

/* The server says what it will resync.  It is said before it answers. */
static void
check_marked (uint64_t marked)
{
  char line[4096];
  const char *says = log_line ("; not clean: ", line, sizeof line);

  if (log_says ("stale"))
    die ("%s: is stale: see %s", bitmap_file, logfile);
  if (marked > 0 && log_says ("; not clean, but no chunk is marked"))
    die ("%s: has %" PRIu64 " chunks marked, but none is resynced", bitmap_file,
         marked);
  if (!says)
    return; /* or it was killed while it was clean */
  if (strtoull (strstr (says, "; not clean: ") + 13, NULL, 10) != marked)
    die ("%s: has %" PRIu64 " chunks marked, but the server says: %s",
         bitmap_file, marked, says);
}

/* ---- rounds ---- */

static void
new_history (void)
{
  uint64_t each;

  size = (uint64_t)nbd_get_size (threads[0].nbd);
  owned = size / SECTOR / 8 * 7;
  each = owned / (nthreads * depth);
  if (each == 0)
    die ("the export is too small");
  image = need (malloc (size));
  history = need (calloc (owned, sizeof *history));
  for (unsigned i = 0; i < nthreads; ++i) {
    threads[i].flushed = need (calloc (owned, sizeof (uint32_t)));
    for (unsigned j = 0; j < depth; ++j) {
      struct writer *w = &threads[i].writers[j];

      w->start = (i * depth + j) * each;
      w->end = w->start + each;
    }
  }
}

static void
connect_all (void)
{
  for (unsigned i = 0; i < nthreads; ++i) {
    threads[i].nbd = connect_to_server ();
    threads[i].flushing = false;
    for (unsigned j = 0; j < depth; ++j)
      threads[i].writers[j].busy = false;
  }
}

static void
close_all (void)
{
  for (unsigned i = 0; i < nthreads; ++i)
    nbd_close (threads[i].nbd);
}

static void
kill_under_load (uint64_t ms)
{
  for (unsigned i = 0; i < nthreads; ++i)
    if (pthread_create (&threads[i].thread, NULL, load, &threads[i]) != 0)
      die ("cannot create a thread");
  milliseconds (ms);
  kill_server ();
  for (unsigned i = 0; i < nthreads; ++i)
    pthread_join (threads[i].thread, NULL);
  close_all ();
}

static void
start_and_check (bool first)
{
  uint64_t marked = bitmap_file ? marked_chunks () : 0;

  killing = false;
  start_server ();
  connect_all ();
  if (bitmap_file)
    check_marked (marked);
  if (first)
    new_history ();
  read_all (threads[0].nbd, false);
  settle_all ();
  read_all (threads[0].nbd, true); /* most likely before the resync has ended */
}

static void
run_round (unsigned n, uint64_t *random)
{
  uint64_t before = requests;
  bool resync;

  start_and_check (n == 0);
  if (n % 4 == 3) {
    milliseconds (below (random, 30));
    kill_server ();
    close_all ();
    start_and_check (false);
  }
  wait_for_resync ();
  resync = log_says ("resync done");
  read_all (threads[0].nbd, true);
  check_legs ();
  kill_under_load (20 + below (random, 400));
  printf ("round %u: %s; killed after %" PRIu64 " requests\n", n,
          resync ? "resynced, legs equal" : "no resync, legs equal",
          requests - before);
  fflush (stdout);
}

static void
parse_legs (char *list)
{
  char *leg, *save = NULL;

  for (leg = strtok_r (list, ",", &save); leg;
       leg = strtok_r (NULL, ",", &save)) {
    if (nlegs == MAX_LEGS)
      die ("too many legs");
    legs[nlegs++] = leg;
  }
}

/* COMMAND with -f -U SOCKET behind it. */
static void
make_command (int argc, char *argv[], const char *directory)
{
  command = need (calloc ((size_t)argc + 4, sizeof *command));
  for (int i = 0; i < argc; ++i)
    command[i] = argv[i];
  command[argc] = (char *)"-f";
  command[argc + 1] = (char *)"-U";
  command[argc + 2] = sock;
  if (snprintf (sock, sizeof sock, "%s/kill.sock", directory)
      >= (int)sizeof sock)
    die ("the name of the directory is too long");
  snprintf (logfile, sizeof logfile, "%s/kill.log", directory);
}

int
main (int argc, char *argv[])
{
  unsigned rounds;
  uint64_t random;

  if (argc > 1 && strcmp (argv[1], "-v") == 0) {
    volatile_legs = true;
    argv++;
    argc--;
  }
  if (argc > 2 && strcmp (argv[1], "-b") == 0) {
    bitmap_file = argv[2];
    argv += 2;
    argc -= 2;
  }
  if (argc < 8)
    die ("usage: kill [-v] [-b FILE] ROUNDS CONNECTIONS DEPTH SEED DIRECTORY "
         "LEG,... COMMAND...");
  rounds = (unsigned)atoi (argv[1]);
  nthreads = (unsigned)atoi (argv[2]);
  depth = (unsigned)atoi (argv[3]);
  random = strtoull (argv[4], NULL, 10) * UINT64_C (0x9e3779b97f4a7c15) + 1;
  parse_legs (argv[6]);
  make_command (argc - 7, argv + 7, argv[5]);
  threads = need (calloc (nthreads, sizeof *threads));
  for (unsigned i = 0; i < nthreads; ++i) {
    threads[i].writers = need (calloc (depth, sizeof *threads[i].writers));
    for (unsigned j = 0; j < depth; ++j) {
      threads[i].writers[j].thread = &threads[i];
      threads[i].writers[j].random = next (&random);
    }
  }

  for (unsigned n = 0; n < rounds; ++n)
    run_round (n, &random);

  /* The last crash is checked, too. */
  start_and_check (false);
  wait_for_resync ();
  read_all (threads[0].nbd, true);
  check_legs ();
  kill_server ();
  close_all ();
  printf ("kills=%u requests=%" PRIu64 "\n", rounds, requests);
  return EXIT_SUCCESS;
}
