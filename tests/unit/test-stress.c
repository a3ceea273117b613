/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The whole library under many threads: overlapping writes, zeroes, reads and
 * flushes, with the lazy clear running.  Built with -fsanitize=thread it
 * looks for races; in any build the legs must be equal in the end, the array
 * marked clean, and a thread's own blocks hold what it wrote last.
 */

#include <config.h>

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "array/array.h"
#include "base/bytes.h"
#include "base/rt.h"

#define THREADS  16
#define REQUESTS 1500
#define SIZE     (16 * MiB)
#define OWN      (64 * KiB) /* at the start, one piece per thread */

static char directory[] = "/tmp/mdbitmap-stress-XXXXXX";
static char paths[2][64];
static struct array *array;

static void
show (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  if (level == LOG_LEVEL_ERROR)
    fprintf (stderr, "%s\n", line);
}

static const struct log sink = { .sink = show };

static void
make_array (void)
{
  struct array_create_options create = {
    .nlegs = 2,
    .size = SIZE,
    .bitmap_chunk = 4096,
    .leg_timeout = RT_NEVER,
  };
  struct array_options options = {
    .nlegs = 2,
    .leg_timeout = 30 * RT_SECOND,
    .daemon_sleep = 1,
    .sync_rate_max = UINT64_MAX,
    .crowd = 1,
  };

  ck_assert_ptr_nonnull (mkdtemp (directory));
  for (unsigned i = 0; i < 2; ++i) {
    snprintf (paths[i], sizeof paths[i], "%s/leg%u", directory, i);
    create.legs[i] = options.legs[i] = paths[i];
  }
  ck_assert_int_eq (array_create (&create, &sink), 0);
  ck_assert_int_eq (array_open (&options, &sink, &array), 0);
  ck_assert_int_eq (array_start (array), 0);
  ck_assert_int_eq (array_activate (array), 0);
}

static unsigned
next (unsigned *seed)
{
  *seed = *seed * 1103515245 + 12345;
  return *seed >> 8;
}

/* What a thread's own piece must hold. */
struct client {
  unsigned number;
  struct rt_thread thread;
  uint8_t own[OWN];
};

static void
own_request (struct client *client, unsigned *seed, uint8_t *data)
{
  uint64_t base = client->number * OWN;
  uint32_t at = next (seed) % OWN;
  uint32_t count = 1 + next (seed) % 6000;
  unsigned flags = next (seed) % 4 == 0 ? ARRAY_FUA : 0;

  if (count > OWN - at)
    count = OWN - at;
  switch (next (seed) % 4) {
  case 0:
    ck_assert_int_eq (array_read (array, data, count, base + at), 0);
    ck_assert_int_eq (memcmp (data, client->own + at, count), 0);
    break;
  case 1:
    memset (client->own + at, 0, count);
    ck_assert_int_eq (array_zero (array, count, base + at, flags), 0);
    break;
  default:
    memset (client->own + at, (int)next (seed), count);
    ck_assert_int_eq (
        array_write (array, client->own + at, count, base + at, flags), 0);
  }
}

static void
shared_request (unsigned *seed, uint8_t *data)
{
  uint64_t base = THREADS * OWN;
  uint64_t at = base + next (seed) % (64 * KiB);
  uint32_t count = 1 + next (seed) % 6000;

  if (next (seed) % 8 == 0) /* far away: chunks that get clean again */
    at = base + (uint64_t)next (seed) % (SIZE - base - 8192);
  memset (data, (int)next (seed), count);
  if (next (seed) % 4 == 0)
    ck_assert_int_eq (array_read (array, data, count, at), 0);
  else
    ck_assert_int_eq (array_write (array, data, count, at, 0), 0);
}

static void
client_main (void *opaque)
{
  struct client *client = opaque;
  unsigned seed = client->number + 1;
  uint8_t *data = malloc (8192);

  ck_assert_ptr_nonnull (data);
  for (unsigned i = 0; i < REQUESTS; ++i) {
    if (next (&seed) % 2)
      own_request (client, &seed, data);
    else
      shared_request (&seed, data);
    if (next (&seed) % 32 == 0)
      ck_assert_int_eq (array_flush (array), 0);
  }
  free (data);
}

static void
compare_legs (void)
{
  uint8_t *a = malloc (MiB), *b = malloc (MiB);
  int fds[2];
  uint8_t block[256];
  uint64_t offset;

  for (unsigned i = 0; i < 2; ++i) {
    fds[i] = open (paths[i], O_RDONLY | O_CLOEXEC);
    ck_assert_int_ne (fds[i], -1);
  }
  ck_assert_int_eq (pread (fds[0], block, sizeof block, 4096), 256);
  offset = get_le64 (block + 128) * SECTOR_SIZE;
  ck_assert_uint_eq (get_le64 (block + 208), UINT64_MAX); /* clean */
  for (uint64_t at = 0; at < SIZE; at += MiB) {
    ck_assert_int_eq (pread (fds[0], a, MiB, (off_t)(offset + at)), MiB);
    ck_assert_int_eq (pread (fds[1], b, MiB, (off_t)(offset + at)), MiB);
    ck_assert_int_eq (memcmp (a, b, MiB), 0);
  }
  close (fds[0]);
  close (fds[1]);
  free (a);
  free (b);
}

START_TEST (many_threads)
{
  struct client *clients = calloc (THREADS, sizeof *clients);
  uint8_t *data = malloc (OWN);
  struct array_info info;

  make_array ();
  for (unsigned i = 0; i < THREADS; ++i) {
    clients[i].number = i;
    ck_assert_int_eq (rt_thread_create (&clients[i].thread, "client",
                                        client_main, &clients[i]),
                      0);
  }
  for (unsigned i = 0; i < THREADS; ++i)
    rt_thread_join (&clients[i].thread);
  for (unsigned i = 0; i < THREADS; ++i) {
    ck_assert_int_eq (array_read (array, data, OWN, i * OWN), 0);
    ck_assert_int_eq (memcmp (data, clients[i].own, OWN), 0);
  }
  array_get_info (array, &info);
  ck_assert_uint_eq (info.in_sync, 2);
  array_stop (array);
  array_close (array);
  compare_legs ();
  for (unsigned i = 0; i < 2; ++i)
    unlink (paths[i]);
  rmdir (directory);
  free (data);
  free (clients);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("stress");
  TCase *tcase = tcase_create ("stress");
  SRunner *runner;
  int failed;

  tcase_set_timeout (tcase, 300);
  tcase_add_test (tcase, many_threads);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
