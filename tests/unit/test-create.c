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
#include "format/superblock.h"

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

/* What the tests of a loop make. */
static enum superblock_version version;

static uint64_t
sectors_of (const char *file)
{
  struct stat st;

  ck_assert_int_eq (stat (file, &st), 0);
  return (uint64_t)st.st_size / SECTOR_SIZE;
}

static off_t
place_of (const char *file, enum superblock_version v)
{
  return (off_t)superblock_sector (v, sectors_of (file)) * SECTOR_SIZE;
}

/* As if its superblock had not been written yet. */
static void
take_away (const char *file)
{
  static const uint8_t zeroes[SUPERBLOCK_BYTES];

  put (file, place_of (file, version), zeroes, sizeof zeroes);
}

/* Some superblock of that version. */
static bool
has_superblock (const char *file, enum superblock_version v)
{
  uint8_t magic[4];

  get (file, place_of (file, v), magic, sizeof magic);
  return get_le32 (magic) == SUPERBLOCK_MAGIC;
}

static void
load (const char *file, struct superblock *s)
{
  uint8_t block[SUPERBLOCK_BYTES];
  struct format_error error;
  bool intact;

  get (file, place_of (file, version), block, sizeof block);
  ck_assert_int_eq (
      superblock_decode (version, block, sectors_of (file), s, &intact, &error),
      0);
}

static void
store (const char *file, const struct superblock *s)
{
  uint8_t block[SUPERBLOCK_BYTES];

  superblock_encode (s, block);
  put (file, place_of (file, version), block, sizeof block);
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
  const bool old = version == SUPERBLOCK_0_90;
  static struct superblock s, first;
  uint8_t bitmap[BITMAP_PAGE_BYTES];

  for (unsigned i = 0; i < n; ++i) {
    load (names[i], &s);
    if (i == 0)
      first = s;
    ck_assert_mem_eq (s.set_uuid, first.set_uuid, 16);
    ck_assert (old || i == 0
               || memcmp (s.device_uuid, first.device_uuid, 16) != 0);
    ck_assert_uint_eq (s.dev_number, i);
    ck_assert_uint_eq (s.raid_disks, n);
    for (unsigned j = 0; j < n; ++j)
      ck_assert_uint_eq (s.dev_roles[j], j);
    ck_assert_uint_eq (s.events, old ? 1 : 0);
    ck_assert_uint_eq (s.utime, s.ctime);
    ck_assert_uint_eq (s.ctime, first.ctime);
    ck_assert_uint_eq (s.size, SIZE / SECTOR_SIZE);
    ck_assert (s.resync_offset == (clean ? RESYNC_CLEAN : 0));
    for (unsigned v = 0; v < SUPERBLOCK_VERSIONS; ++v)
      ck_assert (has_superblock (names[i], (enum superblock_version)v)
                 == (v == version));
    get (names[i], ((off_t)s.super_offset + s.bitmap_offset) * SECTOR_SIZE,
         bitmap, sizeof bitmap);
    ck_assert_mem_eq (bitmap + 8, s.set_uuid, 16);
    /* Less would make it stale from the start. */
    ck_assert_uint_eq (get_le64 (bitmap + 24), s.events);
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
  static struct superblock before, after;

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
  static struct superblock s;

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
  static struct superblock s;

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
  s.feature_map |= FEATURE_JOURNAL;
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

/* ---- each version ---- */

static void
use_version (struct array_create_options *options, int i)
{
  version = (enum superblock_version)i;
  options->metadata = superblock_version_string (version);
}

/* Made, kept, finished, and served at exactly that size. */
START_TEST (test_versions)
{
  struct array_create_options options = three_legs;

  use_version (&options, _i);
  ck_assert_int_eq (array_create (&options, &log_), 0);
  assert_array (3, true);
  assert_nothing_to_do (&options);
  options.metadata = NULL; /* what is there is served */
  assert_nothing_to_do (&options);

  use_version (&options, _i);
  take_away ("c");
  ck_assert_int_eq (array_create (&options, &log_), 0);
  assert_array (3, false);
  take_away ("b");
  take_away ("c");
  unlink ("b");
  ck_assert_int_eq (array_create (&options, &log_), 0);
  assert_array (3, false);
  take_away ("a");
  assert_refused (&options, "leg a has no superblock");
}
END_TEST

/* Half an array of one version is not finished as another. */
START_TEST (test_finish_other_version)
{
  struct array_create_options options = two_legs;

  use_version (&options, _i);
  ck_assert_int_eq (array_create (&options, &log_), 0);
  take_away ("b");
  use_version (&options, (_i + 1) % SUPERBLOCK_VERSIONS);
  assert_refused (&options, "leg a: its array has metadata");
  ck_assert_ptr_nonnull (strstr (
      last_error, superblock_version_string ((enum superblock_version)_i)));
}
END_TEST

/* Without a bitmap: none is announced, and its place stays empty. */
START_TEST (test_no_bitmap)
{
  struct array_create_options options = two_legs;
  static struct superblock s;
  struct contents made;

  use_version (&options, _i);
  options.bitmap = ARRAY_BITMAP_NONE;
  assert_refused (&options, "bitmap-chunk needs a bitmap");
  options.bitmap_chunk = 0;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  load ("a", &s);
  ck_assert_uint_eq (s.feature_map, 0);
  ck_assert_uint_eq (s.size, SIZE / SECTOR_SIZE);
  ck_assert_uint_eq (s.resync_offset, RESYNC_CLEAN);
  read_contents (&made);
  for (size_t i = 0; i < 2; ++i) {
    for (size_t b = 0; b + 4 < made.size[i]; b += 512)
      ck_assert_uint_ne (get_le32 (made.data[i] + b), BITMAP_MAGIC);
    free (made.data[i]);
  }
  assert_nothing_to_do (&options);
  take_away ("b");
  ck_assert_int_eq (array_create (&options, &log_), 0);
  load ("b", &s);
  ck_assert_uint_eq (s.feature_map, 0);
  ck_assert_uint_eq (s.resync_offset, 0);
  /* With one, that is another array. */
  take_away ("b");
  options.bitmap = ARRAY_BITMAP_AUTO;
  assert_refused (&options, "was made with another bitmap");
}
END_TEST

/* Whatever superblock is there, it is found, wherever it is, and with force it
 * is gone.
 */
START_TEST (test_force)
{
  struct array_create_options old = two_legs, options = two_legs;
  static struct superblock s;

  use_version (&old, _i / SUPERBLOCK_VERSIONS);
  ck_assert_int_eq (array_create (&old, &log_), 0);
  assert_array (2, true);
  use_version (&options, _i % SUPERBLOCK_VERSIONS);
  options.keep_existing = false;
  options.size = 4 * MiB; /* which these legs have room for with any version */
  assert_refused (&options, "found a superblock");
  options.force = true;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  for (unsigned i = 0; i < 2; ++i) {
    load (names[i], &s);
    ck_assert_uint_eq (s.size, 4 * MiB / SECTOR_SIZE);
    for (unsigned v = 0; v < SUPERBLOCK_VERSIONS; ++v)
      ck_assert (has_superblock (names[i], (enum superblock_version)v)
                 == (v == version));
  }
}
END_TEST

/* Damaged ones, and those of other machines, are somebody's as well. */
START_TEST (test_force_damaged)
{
  static const uint8_t magics[2][4] = { { 0xfc, 0x4e, 0x2b, 0xa9 },
                                        { 0xa9, 0x2b, 0x4e, 0xfc } };
  static const uint8_t zeroes[16 * MiB];
  struct array_create_options options = two_legs;
  const enum superblock_version v =
      (enum superblock_version) (_i % SUPERBLOCK_VERSIONS);
  const bool big_endian = _i / SUPERBLOCK_VERSIONS != 0;
  static struct superblock s;
  uint8_t magic[4];
  int fd = open ("a", O_RDWR | O_CREAT, 0600);

  if (big_endian && v != SUPERBLOCK_0_90) {
    close (fd);
    return;
  }
  ck_assert_int_eq (write (fd, zeroes, sizeof zeroes), sizeof zeroes);
  close (fd);
  put ("a", place_of ("a", v), magics[big_endian], 4);
  assert_refused (&options, "leg a");
  ck_assert_int_eq (access ("b", F_OK), -1);
  options.force = true;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  load ("a", &s);
  if (v != version) {
    get ("a", place_of ("a", v), magic, sizeof magic);
    ck_assert_uint_eq (get_le32 (magic), 0);
  }
}
END_TEST

/* Two that are right: the one made last is the leg's; if that cannot be told
 * the leg is nobody's.
 */
START_TEST (test_two_superblocks)
{
  static struct superblock s, other;

  ck_assert_int_eq (array_create (&two_legs, &log_), 0);
  load ("a", &s);
  take_away ("b");
  other = s;
  other.version = version = SUPERBLOCK_1_1;
  other.super_offset = 0;
  other.raid_disks = 1;
  memset (other.dev_roles, 0xff, sizeof other.dev_roles);
  other.dev_roles[0] = 0;
  store ("a", &other);
  assert_refused (&two_legs, "nothing tells");
  ++other.ctime;
  store ("a", &other);
  assert_refused (&two_legs, "its array has metadata 1.1");
  other.ctime -= 2;
  store ("a", &other);
  version = SUPERBLOCK_1_2;
  ck_assert_int_eq (array_create (&two_legs, &log_), 0);
  load ("b", &s);
}
END_TEST

/* 0.90: 1 KiB is the unit, and there is no room for fine chunks or a name. */
START_TEST (test_limits_090)
{
  struct array_create_options options = two_legs;

  use_version (&options, SUPERBLOCK_0_90);
  options.size = SIZE + 512;
  assert_refused (&options, "a multiple of 1024 bytes with metadata 0.90");
  options.size = 8 * GiB;
  options.bitmap_chunk = 4096;
  assert_refused (&options, "60 KiB");
  options = two_legs;
  use_version (&options, SUPERBLOCK_0_90);
  options.name = "name";
  assert_refused (&options, "no room for the name");
  options = two_legs;
  options.metadata = "1.3";
  assert_refused (&options, "metadata 1.3 is not a version");
  options.metadata = NULL;
  options.size = SIZE + 1024;
  use_version (&options, SUPERBLOCK_0_90);
  ck_assert_int_eq (array_create (&options, &log_), 0);
}
END_TEST

/* mdadm fills the room of 0.90 with ones; a slot without a leg has a
 * descriptor.
 */
START_TEST (test_bytes_090)
{
  struct array_create_options options = two_legs;
  uint8_t block[SUPERBLOCK_BYTES], bitmap[61440];
  const uint8_t *disk;

  use_version (&options, SUPERBLOCK_0_90);
  options.legs[0] = NULL;
  options.legs[1] = "b";
  ck_assert_int_eq (array_create (&options, &log_), 0);
  get ("b", place_of ("b", version), block, sizeof block);
  ck_assert_uint_eq (get_le32 (block + 132), 0x101);
  ck_assert_uint_eq (get_le32 (block + 156), 1);
  disk = block + 512;
  ck_assert_uint_eq (get_le32 (disk + 4), 0);
  ck_assert_uint_eq (get_le32 (disk + 8), 0);
  ck_assert_uint_eq (get_le32 (disk + 16), 0x9);
  disk += 128;
  ck_assert_uint_eq (get_le32 (disk), 1);
  ck_assert (get_le32 (disk + 4) != 0 || get_le32 (disk + 8) != 0);
  ck_assert_uint_eq (get_le32 (disk + 12), 1);
  ck_assert_uint_eq (get_le32 (disk + 16), 0x6);
  ck_assert_mem_eq (block + 3968, disk, 128);
  get ("b", place_of ("b", version) + 4096, bitmap, sizeof bitmap);
  ck_assert_mem_eq (bitmap + 8, block + 20, 4);
  ck_assert_mem_eq (bitmap + 12, block + 52, 12);
  for (size_t i = 256; i < sizeof bitmap; ++i)
    ck_assert_uint_eq (bitmap[i], 0xff);
}
END_TEST

static void
setup (void)
{
  version = SUPERBLOCK_1_2;
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
  tcase_add_loop_test (tc, test_versions, 0, SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tc, test_finish_other_version, 0, SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tc, test_no_bitmap, 0, SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tc, test_force, 0,
                       SUPERBLOCK_VERSIONS * SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tc, test_force_damaged, 0, 2 * SUPERBLOCK_VERSIONS);
  tcase_add_test (tc, test_two_superblocks);
  tcase_add_test (tc, test_limits_090);
  tcase_add_test (tc, test_bytes_090);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
