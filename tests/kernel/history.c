/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Write load whose outcome can be judged after a crash.
 *
 *   history [OPTIONS] write TARGET LEDGER
 *   history [OPTIONS] verify TARGET LEDGER
 *   history wait N LEDGER         until N more writes have been answered
 *
 * TARGET is a file, a block device or an NBD URI.  Each thread owns every
 * nth block of 4 KiB and writes versions 1, 2, 3, ... of its own, one at a
 * time, each to a block that only the seed, the thread and the version
 * decide.  Each sector written says which version it is.  Now and then a
 * thread flushes, and now and then a version is written with FUA.  What has
 * been answered is noted in LEDGER, a file or a block device, which must
 * survive the crash: sector 0 has the parameters, sector 1 + n the progress
 * of thread n.
 *
 * So after a crash the ledger tells everything.  A sector must hold
 * - at least the newest version of its block that was answered (--flushed:
 *   that was answered and then flushed, or had FUA), and
 * - at most the version that may have been in flight: a thread writes
 *   version v + 1 only after v is in the ledger.
 * Blocks that were never written must be zeroes, so the target must have
 * been zeroes when the load began.
 *
 * Options, for write: --seed N --threads N --chunk BYTES --hot N (only N
 * chunks, drawn by the seed, are written) --drift N (after N versions of a
 * thread one of the chunks gives way to another one) --versions N (stop after
 * that many in each thread; else go on until the target fails, which ends the
 * program with status 0 and a message), --more N (stop after that many more
 * than the ledger tells of), --tail (now and then the last block, which may be
 * shorter, is written, and with it the last chunk), --continue (what the
 * ledger tells of, with its options), --again (and what was not flushed is
 * written once more, for it may have been lost).  For verify: --offset BYTES,
 * where the data begin in the target, and --flushed.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <libnbd.h>

#define SECTOR      512
#define BLOCK       4096
#define READ_SIZE   1048576
#define MAX_THREADS 64
#define MAGIC       UINT64_C (0x79726f7473696821)

/* Sector 0 of the ledger. */
struct parameters {
  uint64_t magic;
  uint64_t seed;
  uint64_t threads;
  uint64_t chunk; /* bytes */
  uint64_t hot;   /* chunks that are written at a time */
  uint64_t drift; /* versions until one of them is exchanged; 0: never */
  uint64_t size;  /* of the target's data, bytes */
  uint64_t tail;  /* is the last block written as well? */
};

/* Sector 1 + n of the ledger. */
struct progress {
  uint64_t answered; /* newest version */
  uint64_t flushed;  /* newest version answered before a flush began */
};

/* A sector of the target; the rest is filled from these. */
struct stamp {
  uint64_t magic;
  uint64_t seed;
  uint64_t sector;
  uint64_t version;
};

struct target {
  struct nbd_handle *nbd; /* NULL: fd */
  int fd;
};

struct thread {
  unsigned number;
  pthread_t id;
  struct target target;
  const char *error;
};

static struct parameters parameters = {
  .magic = MAGIC,
  .seed = 1,
  .threads = 4,
  .chunk = 65536,
  .hot = 64,
};
static const char *target_name;
static const char *ledger_name;
static int ledger;
static uint64_t versions = UINT64_MAX;
static uint64_t more;
static uint64_t data_offset;
static bool only_flushed;
static bool go_on;
static bool again;

static void
die (const char *what)
{
  fprintf (stderr, "history: %s: %s\n", what, strerror (errno));
  exit (1);
}

static void *
aligned (size_t size)
{
  void *p;

  if (posix_memalign (&p, BLOCK, size) != 0) {
    fprintf (stderr, "history: out of memory\n");
    exit (1);
  }
  memset (p, 0, size);
  return p;
}

/* Well mixed bits, from the finalizer of splitmix64. */
static uint64_t
mix (uint64_t x)
{
  x += UINT64_C (0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* The block that a thread's version goes to.  Chunks have many more blocks
 * than there are threads, so each thread owns some of every chunk.
 */
static uint64_t
block_of (uint64_t thread, uint64_t version)
{
  const struct parameters *p = &parameters;
  uint64_t draw = mix (mix (p->seed * MAX_THREADS + thread) ^ version);
  uint64_t chunks = p->size / p->chunk; /* those that are whole */
  uint64_t last = (p->size - 1) / BLOCK;
  uint64_t hot = draw % p->hot + (p->drift ? version / p->drift : 0);
  uint64_t chunk = mix (p->seed ^ mix (hot)) % chunks;
  uint64_t owned = p->chunk / BLOCK / p->threads;

  if (p->tail && version % 7 == 3 && thread == last % p->threads)
    return last;
  return chunk * (p->chunk / BLOCK) + (draw >> 32) % owned * p->threads
         + thread;
}

static bool
has_fua (uint64_t version)
{
  return version % 5 == 2;
}

/* A block is shorter at the end of a target that ends in a block. */
static size_t
length_of (uint64_t block)
{
  uint64_t left = parameters.size - block * BLOCK;

  return left < BLOCK ? left : BLOCK;
}

static bool
flush_follows (uint64_t version)
{
  return version % 16 == 0;
}

static void
fill_sector (uint8_t *data, uint64_t sector, uint64_t version)
{
  struct stamp stamp = {
    .magic = MAGIC,
    .seed = parameters.seed,
    .sector = sector,
    .version = version,
  };
  uint64_t word = mix (parameters.seed ^ mix (sector) ^ version);
  size_t i;

  for (i = 0; i < SECTOR; i += sizeof word) {
    memcpy (data + i, &word, sizeof word);
    word = mix (word);
  }
  memcpy (data, &stamp, sizeof stamp);
}

/* The target. */

static bool
is_uri (const char *name)
{
  return strncmp (name, "nbd", 3) == 0 && strstr (name, "://") != NULL;
}

static void
target_open (struct target *target, bool writing)
{
  target->nbd = NULL;
  target->fd = -1;
  if (is_uri (target_name)) {
    target->nbd = nbd_create ();
    if (target->nbd == NULL
        || nbd_connect_uri (target->nbd, target_name) == -1) {
      fprintf (stderr, "history: %s\n", nbd_get_error ());
      exit (1);
    }
    return;
  }
  /* Past the page cache, which would die with the kernel. */
  target->fd = open (target_name, writing ? O_RDWR | O_DIRECT | O_CLOEXEC
                                          : O_RDONLY | O_CLOEXEC);
  if (target->fd == -1)
    die (target_name);
}

static uint64_t
target_size (struct target *target)
{
  off_t size;

  if (target->nbd != NULL)
    return nbd_get_size (target->nbd);
  size = lseek (target->fd, 0, SEEK_END);
  if (size == -1)
    die (target_name);
  return size;
}

/* The functions below return a message, or NULL for success. */

static const char *
target_write (struct target *target, void *data, size_t count, uint64_t offset,
              bool fua)
{
  struct iovec iov = { .iov_base = data, .iov_len = count };
  ssize_t r;

  if (target->nbd != NULL) {
    if (nbd_pwrite (target->nbd, data, count, offset,
                    fua ? LIBNBD_CMD_FLAG_FUA : 0)
        == -1)
      return nbd_get_error ();
    return NULL;
  }
  r = pwritev2 (target->fd, &iov, 1, offset, fua ? RWF_DSYNC : 0);
  if (r == -1)
    return strerror (errno);
  return r == (ssize_t)count ? NULL : "short write";
}

static const char *
target_flush (struct target *target)
{
  if (target->nbd != NULL)
    return nbd_flush (target->nbd, 0) == -1 ? nbd_get_error () : NULL;
  return fdatasync (target->fd) == -1 ? strerror (errno) : NULL;
}

static void
target_read (struct target *target, void *data, size_t count, uint64_t offset)
{
  if (target->nbd != NULL) {
    if (nbd_pread (target->nbd, data, count, offset, 0) == -1) {
      fprintf (stderr, "history: read: %s\n", nbd_get_error ());
      exit (1);
    }
    return;
  }
  if (pread (target->fd, data, count, data_offset + offset) != (ssize_t)count)
    die ("read");
}

/* The ledger. */

static void
ledger_open (bool create)
{
  struct stat statbuf;
  int flags = O_RDWR | O_CLOEXEC;

  if (stat (ledger_name, &statbuf) == 0 && S_ISBLK (statbuf.st_mode))
    flags |= O_DIRECT;
  else if (create)
    flags |= O_CREAT | O_TRUNC;
  ledger = open (ledger_name, flags, 0666);
  if (ledger == -1)
    die (ledger_name);
}

static void
ledger_write (unsigned sector, void *buffer)
{
  if (pwrite (ledger, buffer, SECTOR, (off_t)sector * SECTOR) != SECTOR)
    die (ledger_name);
}

/* A ledger that is still being begun reads as zeroes. */
static void
ledger_read (unsigned sector, void *buffer)
{
  ssize_t r;

  memset (buffer, 0, SECTOR);
  r = pread (ledger, buffer, SECTOR, (off_t)sector * SECTOR);
  if (r == -1)
    die (ledger_name);
}

static void
read_parameters (void)
{
  uint8_t *sector = aligned (SECTOR);

  ledger_read (0, sector);
  memcpy (&parameters, sector, sizeof parameters);
  free (sector);
  if (parameters.magic != MAGIC) {
    fprintf (stderr, "history: %s: not a ledger\n", ledger_name);
    exit (1);
  }
}

/* Writing. */

static const char *
write_version (struct thread *thread, uint8_t *block, uint64_t version)
{
  uint64_t number = block_of (thread->number, version);
  unsigned i;

  for (i = 0; i < BLOCK / SECTOR; i++)
    fill_sector (block + i * SECTOR, number * (BLOCK / SECTOR) + i, version);
  return target_write (&thread->target, block, length_of (number),
                       number * BLOCK, has_fua (version));
}

static void *
thread_main (void *arg)
{
  struct thread *thread = arg;
  uint8_t *block = aligned (BLOCK);
  struct progress *progress = aligned (SECTOR);
  uint64_t version, last = versions;

  /* The version that was in flight, if there was one, is written again: it
   * goes to the same block, and has the same contents.
   */
  ledger_read (1 + thread->number, progress);
  version = (again ? progress->flushed : progress->answered) + 1;
  if (more != 0)
    last = progress->answered + more;
  for (; version <= last; version++) {
    thread->error = write_version (thread, block, version);
    if (thread->error != NULL)
      break;
    progress->answered = version;
    ledger_write (1 + thread->number, progress);
    if (flush_follows (version)) {
      thread->error = target_flush (&thread->target);
      if (thread->error != NULL)
        break;
      progress->flushed = version;
      ledger_write (1 + thread->number, progress);
    }
  }
  /* nbd_get_error is good only in the thread itself. */
  if (thread->error != NULL)
    printf ("history: thread %u stopped at version %" PRIu64 ": %s\n",
            thread->number, version, thread->error);
  free (progress);
  free (block);
  return NULL;
}

static int
do_write (void)
{
  struct thread threads[MAX_THREADS] = { 0 };
  uint8_t *sector = aligned (SECTOR);
  unsigned i;
  int status = 0;

  ledger_open (!go_on);
  if (go_on)
    read_parameters ();
  for (i = 0; i < parameters.threads; i++) {
    threads[i].number = i;
    target_open (&threads[i].target, true);
    if (!go_on)
      ledger_write (1 + i, sector);
  }
  if (parameters.size == 0)
    parameters.size = target_size (&threads[0].target);
  memcpy (sector, &parameters, sizeof parameters);
  ledger_write (0, sector);
  free (sector);

  printf ("history: writing\n");
  fflush (stdout);
  for (i = 0; i < parameters.threads; i++)
    if (pthread_create (&threads[i].id, NULL, thread_main, &threads[i]) != 0)
      die ("pthread_create");
  for (i = 0; i < parameters.threads; i++) {
    pthread_join (threads[i].id, NULL);
    if (threads[i].error != NULL && (versions != UINT64_MAX || more != 0))
      status = 1;
    /* A client should say goodbye, or the server waits for it. */
    if (threads[i].target.nbd != NULL) {
      nbd_shutdown (threads[i].target.nbd, 0);
      nbd_close (threads[i].target.nbd);
    }
  }
  return status;
}

/* Verifying. */

/* For each block: the oldest and the newest version that it may hold. */
struct bounds {
  uint64_t least;
  uint64_t most;
};

static struct bounds *
bounds_from_ledger (void)
{
  struct bounds *bounds;
  struct progress *progress = aligned (SECTOR);
  uint64_t total = 0, flushed = 0;
  uint64_t version, block;
  unsigned i;

  bounds = calloc (parameters.size / BLOCK + 1, sizeof *bounds);
  if (bounds == NULL)
    die ("calloc");
  for (i = 0; i < parameters.threads; i++) {
    ledger_read (1 + i, progress);
    for (version = 1; version <= progress->answered + 1; version++) {
      block = block_of (i, version);
      bounds[block].most = version;
      if (version <= progress->flushed
          || (version <= progress->answered
              && (!only_flushed || has_fua (version))))
        bounds[block].least = version;
    }
    total += progress->answered;
    flushed += progress->flushed;
  }
  free (progress);
  printf ("history: %" PRIu64 " writes answered, %" PRIu64
          " of them before a flush\n",
          total, flushed);
  return bounds;
}

/* A version of this sector between the bounds? */
static bool
sector_is_good (const uint8_t *data, uint64_t sector,
                const struct bounds *bounds)
{
  static const uint8_t zeroes[SECTOR];
  uint8_t wanted[SECTOR];
  struct stamp stamp;

  memcpy (&stamp, data, sizeof stamp);
  if (stamp.magic != MAGIC) {
    stamp.version = 0;
    if (memcmp (data, zeroes, SECTOR) == 0 && bounds->least == 0)
      return true;
  }
  else {
    fill_sector (wanted, sector, stamp.version);
    if (memcmp (data, wanted, SECTOR) == 0 && stamp.version >= bounds->least
        && stamp.version <= bounds->most)
      return true;
  }
  printf ("history: sector %" PRIu64 ": found %s version %" PRIu64
          ", expected %" PRIu64 " to %" PRIu64 "\n",
          sector, stamp.magic == MAGIC ? "written" : "unwritten", stamp.version,
          bounds->least, bounds->most);
  return false;
}

static int
do_verify (void)
{
  struct target target;
  uint8_t *buffer;
  struct bounds *bounds;
  uint64_t offset, bad = 0;
  size_t count, i;

  ledger_open (false);
  read_parameters ();
  buffer = aligned (READ_SIZE);
  bounds = bounds_from_ledger ();
  target_open (&target, false);
  for (offset = 0; offset < parameters.size; offset += count) {
    count = parameters.size - offset;
    if (count > READ_SIZE)
      count = READ_SIZE;
    target_read (&target, buffer, count, offset);
    for (i = 0; i < count && bad < 20; i += SECTOR)
      bad += !sector_is_good (buffer + i, (offset + i) / SECTOR,
                              &bounds[(offset + i) / BLOCK]);
  }
  if (target.nbd != NULL) {
    nbd_shutdown (target.nbd, 0);
    nbd_close (target.nbd);
  }
  free (bounds);
  free (buffer);
  printf ("history: %s\n", bad == 0 ? "good" : "BAD");
  return bad != 0;
}

static uint64_t
answered (void)
{
  uint8_t *sector = aligned (SECTOR);
  uint64_t total = 0;
  struct parameters found;
  struct progress progress;
  unsigned i;

  ledger_read (0, sector);
  memcpy (&found, sector, sizeof found);
  if (found.magic == MAGIC)
    for (i = 0; i < found.threads && i < MAX_THREADS; i++) {
      ledger_read (1 + i, sector);
      memcpy (&progress, sector, sizeof progress);
      total += progress.answered;
    }
  free (sector);
  return total;
}

static int
do_wait (uint64_t wanted)
{
  unsigned tries = 1800;
  uint64_t before, total;

  ledger_open (false);
  before = answered ();
  while ((total = answered () - before) < wanted) {
    if (--tries == 0) {
      fprintf (stderr, "history: only %" PRIu64 " writes answered\n", total);
      return 1;
    }
    usleep (100000);
  }
  return 0;
}

static uint64_t
number (const char *text)
{
  char *end;
  uint64_t n;

  errno = 0;
  n = strtoull (text, &end, 0);
  if (errno != 0 || *end != '\0' || end == text) {
    fprintf (stderr, "history: not a number: %s\n", text);
    exit (2);
  }
  return n;
}

static void
parse_options (int argc, char *argv[])
{
  static const struct option options[] = {
    { "seed", required_argument, NULL, 's' },
    { "threads", required_argument, NULL, 't' },
    { "chunk", required_argument, NULL, 'c' },
    { "hot", required_argument, NULL, 'h' },
    { "drift", required_argument, NULL, 'd' },
    { "versions", required_argument, NULL, 'v' },
    { "offset", required_argument, NULL, 'o' },
    { "flushed", no_argument, NULL, 'f' },
    { "more", required_argument, NULL, 'm' },
    { "again", no_argument, NULL, 'a' },
    { "tail", no_argument, NULL, 'T' },
    { "continue", no_argument, NULL, 'C' },
    { NULL, 0, NULL, 0 },
  };
  int option;

  while ((option = getopt_long (argc, argv, "", options, NULL)) != -1)
    switch (option) {
    case 's':
      parameters.seed = number (optarg);
      break;
    case 't':
      parameters.threads = number (optarg);
      break;
    case 'c':
      parameters.chunk = number (optarg);
      break;
    case 'h':
      parameters.hot = number (optarg);
      break;
    case 'd':
      parameters.drift = number (optarg);
      break;
    case 'v':
      versions = number (optarg);
      break;
    case 'o':
      data_offset = number (optarg);
      break;
    case 'f':
      only_flushed = true;
      break;
    case 'm':
      more = number (optarg);
      break;
    case 'a':
      again = true;
      break;
    case 'T':
      parameters.tail = 1;
      break;
    case 'C':
      go_on = true;
      break;
    default:
      exit (2);
    }
  if (parameters.threads < 1 || parameters.threads > MAX_THREADS
      || parameters.hot < 1 || parameters.chunk % BLOCK != 0
      || parameters.chunk / BLOCK < parameters.threads) {
    fprintf (stderr, "history: each thread needs a block in each chunk\n");
    exit (2);
  }
}

int
main (int argc, char *argv[])
{
  parse_options (argc, argv);
  if (argc - optind != 3) {
    fprintf (stderr, "usage: history [OPTIONS] write|verify TARGET LEDGER\n");
    return 2;
  }
  target_name = argv[optind + 1];
  ledger_name = argv[optind + 2];
  if (strcmp (argv[optind], "write") == 0)
    return do_write ();
  if (strcmp (argv[optind], "verify") == 0)
    return do_verify ();
  if (strcmp (argv[optind], "wait") == 0)
    return do_wait (number (target_name));
  fprintf (stderr, "history: unknown command: %s\n", argv[optind]);
  return 2;
}
