/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* array_create with keep_existing: what is left alone, what is finished, and
 * what is refused.  That somebody was killed halfway is played by taking
 * superblocks away again; tests/test-create-serve.sh kills for real.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "array/array.h"
#include "base/bytes.h"
#include "base/rt.h"
#include "format/bitmap_superblock.h"
#include "format/superblock_1.h"

#define SIZE      (8 * MiB)
#define CHUNK     65536
#define LEG_BYTES (9 * MiB)

static char dir[] = "/tmp/mdbitmap-test-create-XXXXXX";
static char last_error[1000];
static unsigned errors;

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  if (level != LOG_LEVEL_ERROR)
    return;
  ++errors;
  snprintf (last_error, sizeof last_error, "%s", line);
}

static const struct log log_ = { .sink = sink };

static const struct array_create_options two_legs = {
  .legs = { "a", "b" },
  .nlegs = 2,
  .size = SIZE,
  .bitmap_chunk = CHUNK,
  .keep_existing = true,
  .leg_timeout = 30 * RT_SECOND,
};

static const struct array_create_options three_legs = {
  .legs = { "a", "b", "c" },
  .nlegs = 3,
  .size = SIZE,
  .bitmap_chunk = CHUNK,
  .keep_existing = true,
  .leg_timeout = 30 * RT_SECOND,
};

/* ---- files ---- */

static void
get (const char *file, off_t offset, void *data, size_t n)
{
  int fd = open (file, O_RDONLY);

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (pread (fd, data, n, offset), (ssize_t)n);
  close (fd);
}

static void
put (const char *file, off_t offset, const void *data, size_t n)
{
  int fd = open (file, O_WRONLY);

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (pwrite (fd, data, n, offset), (ssize_t)n);
  close (fd);
}

/* As if its superblock had not been written yet. */
static void
take_away (const char *file)
{
  static const uint8_t zeroes[SUPERBLOCK_1_BYTES];

  put (file, 4096, zeroes, sizeof zeroes);
}

static void
load (const char *file, struct superblock_1 *s)
{
  uint8_t block[SUPERBLOCK_1_BYTES];
  struct format_error error;
  bool intact;

  get (file, 4096, block, sizeof block);
  ck_assert_int_eq (superblock_1_decode (block, 8, LEG_BYTES / SECTOR_SIZE, s,
                                         &intact, &error),
                    0);
}

static void
store (const char *file, const struct superblock_1 *s)
{
  uint8_t block[SUPERBLOCK_1_BYTES];

  superblock_1_encode (s, block);
  put (file, 4096, block, sizeof block);
}

/* All bytes of the files, to compare. */
struct contents {
  uint8_t *data[3];
  size_t size[3];
};

static const char *const names[] = { "a", "b", "c" };

static void
read_contents (struct contents *c)
{
  struct stat st;

  memset (c, 0, sizeof *c);
  for (unsigned i = 0; i < 3; ++i)
    if (stat (names[i], &st) == 0) {
      c->size[i] = (size_t)st.st_size + 1; /* 0: not there */
      c->data[i] = malloc (c->size[i]);
      ck_assert_ptr_nonnull (c->data[i]);
      get (names[i], 0, c->data[i], (size_t)st.st_size);
    }
}

static void
assert_unchanged (struct contents *before)
{
  struct contents after;

  read_contents (&after);
  for (unsigned i = 0; i < 3; ++i) {
    ck_assert_uint_eq (after.size[i], before->size[i]);
    if (before->size[i] > 0)
      ck_assert (memcmp (after.data[i], before->data[i], before->size[i] - 1)
                 == 0);
    free (after.data[i]);
    free (before->data[i]);
  }
}

/* ---- what must be ---- */

static void
assert_refused (const struct array_create_options *options, const char *why)
{
  struct contents before;

  read_contents (&before);
  errors = 0;
  ck_assert_int_lt (array_create (options, &log_), 0);
  ck_assert_msg (strstr (last_error, why), "'%s' is not in '%s'", why,
                 last_error);
  ck_assert_uint_eq (errors, 1);
  assert_unchanged (&before);
}

static void
assert_nothing_to_do (const struct array_create_options *options)
{
  struct contents before;

  read_contents (&before);
  ck_assert_int_eq (array_create (options, &log_), 0);
  assert_unchanged (&before);
}

/* The files are one array, clean with no bit set, or to be resynced with all
 * bits set.
 */
static void
assert_array (unsigned n, bool clean)
{
  static struct superblock_1 s, first;
  uint8_t bitmap[BITMAP_PAGE_BYTES];

  for (unsigned i = 0; i < n; ++i) {
    load (names[i], &s);
    if (i == 0)
      first = s;
    ck_assert_mem_eq (s.set_uuid, first.set_uuid, 16);
    ck_assert (i == 0 || memcmp (s.device_uuid, first.device_uuid, 16) != 0);
    ck_assert_uint_eq (s.dev_number, i);
    ck_assert_uint_eq (s.raid_disks, n);
    for (unsigned j = 0; j < n; ++j)
      ck_assert_uint_eq (s.dev_roles[j], j);
    ck_assert_uint_eq (s.events, 0);
    ck_assert_uint_eq (s.ctime, first.ctime);
    ck_assert_uint_eq (s.size, SIZE / SECTOR_SIZE);
    ck_assert (s.resync_offset == (clean ? RESYNC_CLEAN : 0));
    get (names[i], 8192, bitmap, sizeof bitmap);
    ck_assert_mem_eq (bitmap + 8, s.set_uuid, 16);
    for (uint64_t chunk = 0; chunk < SIZE / CHUNK; ++chunk)
      ck_assert (!(bitmap[bitmap_bit_byte (chunk)] & bitmap_bit_mask (chunk))
                 == clean);
  }
}

/* ---- tests ---- */

START_TEST (test_new)
{
  ck_assert_int_eq (array_create (&two_legs, &log_), 0);
  assert_array (2, true);
  assert_nothing_to_do (&two_legs);
}
END_TEST

START_TEST (test_other_size)
{
  struct array_create_options options = two_legs;

  ck_assert_int_eq (array_create (&two_legs, &log_), 0);
  options.size = 2 * SIZE; /* what is there is served; a notice says so */
  assert_nothing_to_do (&options);
  options.size = 0;
  assert_nothing_to_do (&options);
}
END_TEST

/* Whatever was written of the superblocks, the rest is added. */
START_TEST (test_finish)
{
  static struct superblock_1 before, after;

  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  load ("a", &before);
  take_away ("c");
  if (_i >= 1)
    take_away ("b");
  if (_i == 2) { /* not even made */
    unlink ("b");
    ck_assert_int_eq (truncate ("c", 0), 0);
  }
  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  assert_array (3, false);
  load ("a", &after);
  ck_assert_mem_eq (after.set_uuid, before.set_uuid, 16);
  ck_assert_mem_eq (after.device_uuid, before.device_uuid, 16);
  ck_assert_uint_eq (after.ctime, before.ctime);
  assert_nothing_to_do (&three_legs);
}
END_TEST

/* Killed before the first superblock: nothing tells that the files were ours,
 * and all is done anew.
 */
START_TEST (test_no_superblock_yet)
{
  ck_assert_int_eq (array_create (&two_legs, &log_), 0);
  take_away ("a");
  take_away ("b");
  if (_i == 1)
    unlink ("b");
  ck_assert_int_eq (array_create (&two_legs, &log_), 0);
  assert_array (2, false);
}
END_TEST

/* Killed while finishing: the first superblock says "not clean" already. */
START_TEST (test_finish_twice)
{
  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  take_away ("b");
  take_away ("c");
  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  take_away ("c");
  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  assert_array (3, false);
}
END_TEST

/* The source of the resync would be the leg that is new. */
START_TEST (test_source_missing)
{
  struct array_create_options options = three_legs;

  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  take_away ("a");
  assert_refused (&three_legs, "leg a has no superblock");
  unlink ("a");
  assert_refused (&three_legs, "leg a has no superblock");
  ck_assert_int_eq (access ("a", F_OK), -1);

  /* Write-mostly legs are no sources, and are written last. */
  unlink ("b");
  unlink ("c");
  options.write_mostly[0] = true;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  take_away ("a");
  ck_assert_int_eq (array_create (&options, &log_), 0);
  assert_array (3, false);
  take_away ("b");
  assert_refused (&options, "leg b has no superblock");
}
END_TEST

/* Once it has been started, a leg without a superblock is nobody's. */
START_TEST (test_started)
{
  static struct superblock_1 s;

  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  load ("b", &s);
  s.events = 1;
  store ("b", &s);
  assert_nothing_to_do (&three_legs);
  take_away ("c");
  assert_refused (&three_legs, "leg c has no superblock");
  unlink ("c");
  assert_refused (&three_legs, "leg c has no superblock");
  ck_assert_ptr_nonnull (strstr (last_error, "re-add"));
}
END_TEST

START_TEST (test_strangers)
{
  struct array_create_options options = three_legs;
  static struct superblock_1 s;

  ck_assert_int_eq (array_create (&three_legs, &log_), 0);
  take_away ("c");

  /* In another order, or not all of them. */
  options.legs[0] = "b";
  options.legs[1] = "a";
  assert_refused (&options, "in the order of their slots");
  options = three_legs;
  options.nlegs = 2;
  options.legs[0] = "a";
  options.legs[1] = "c";
  assert_refused (&options, "3 slots");

  /* Another size or chunk. */
  options = three_legs;
  options.size = SIZE / 2;
  assert_refused (&options, "8388608");
  options = three_legs;
  options.bitmap_chunk = 4096;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  take_away ("c");

  /* One of another array. */
  load ("b", &s);
  s.set_uuid[3] ^= 1;
  store ("b", &s);
  assert_refused (&three_legs, "another array");

  /* Damaged, or with something unknown. */
  s.set_uuid[3] ^= 1;
  s.feature_map |= FEATURE_BAD_BLOCKS;
  store ("b", &s);
  assert_refused (&three_legs, "feature_map");
  put ("b", 4096 + 300, "x", 1);
  assert_refused (&three_legs, "sb_csum");
}
END_TEST

/* A file whose allocation was cut short is new; one of holes is somebody's. */
START_TEST (test_begun)
{
  struct array_create_options options = two_legs;
  int fd = open ("a", O_RDWR | O_CREAT, 0600);

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (ftruncate (fd, MiB), 0);
  assert_refused (&options, "leg a: field size of the leg");
  if (fallocate (fd, 0, 0, MiB) == 0 && lseek (fd, 0, SEEK_DATA) == -1) {
    ck_assert_int_eq (array_create (&options, &log_), 0);
    assert_array (2, true);
    unlink ("b");
  }
  ck_assert_int_eq (ftruncate (fd, 0), 0);
  ck_assert_int_eq (pwrite (fd, "x", 1, 4096 * 100), 1);
  assert_refused (&options, "leg a: field size of the leg");
  close (fd);
}
END_TEST

static void
setup (void)
{
  ck_assert_ptr_nonnull (mkdtemp (dir));
  ck_assert_int_eq (chdir (dir), 0);
}

static void
teardown (void)
{
  for (unsigned i = 0; i < 3; ++i)
    unlink (names[i]);
  ck_assert_int_eq (chdir ("/"), 0);
  rmdir (dir);
}

int
main (void)
{
  Suite *suite = suite_create ("create");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_set_timeout (tc, 120);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_new);
  tcase_add_test (tc, test_other_size);
  tcase_add_loop_test (tc, test_finish, 0, 3);
  tcase_add_loop_test (tc, test_no_superblock_yet, 0, 2);
  tcase_add_test (tc, test_finish_twice);
  tcase_add_test (tc, test_source_missing);
  tcase_add_test (tc, test_started);
  tcase_add_test (tc, test_strangers);
  tcase_add_test (tc, test_begun);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
