/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* array_create with the bitmap in a file: what is made, which files may be
 * lost, and what is left when somebody is killed at any write: making it again
 * finishes it.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "array/array.h"
#include "base/bytes.h"
#include "base/rt.h"
#include "device/file.h"
#include "format/bitmap_note.h"
#include "format/bitmap_superblock.h"
#include "format/layout.h"
#include "format/superblock.h"

#define SIZE   (2 * MiB + 8 * KiB) /* 257 chunks: padding bits, too */
#define CHUNK  8192
#define CHUNKS (SIZE / CHUNK)

static char dir[] = "/tmp/mdbitmap-test-create-file-XXXXXX";
static char bits[sizeof dir + 8];
static char log_text[10000];
static enum superblock_version version;
static struct array_create_options options;

static void
sink (void *opaque, enum log_level level, const char *line)
{
  size_t used = strlen (log_text);

  (void)opaque;
  if (level == LOG_LEVEL_ERROR)
    snprintf (log_text + used, sizeof log_text - used, "%s\n", line);
}

static const struct log log_ = { .sink = sink };

static void
set_options (int i)
{
  static const struct array_create_options two_legs = {
    .legs = { "a", "b" },
    .nlegs = 2,
    .size = SIZE,
    .bitmap = ARRAY_BITMAP_FILE,
    .bitmap_file = bits,
    .bitmap_chunk = CHUNK,
    .keep_existing = true,
    .leg_timeout = 30 * RT_SECOND,
  };

  version = (enum superblock_version)i;
  options = two_legs;
  options.metadata = superblock_version_string (version);
}

/* ---- dying ---- */

static unsigned writes_left = UINT32_MAX;

static void
count_write (void)
{
  if (writes_left == 0)
    _exit (7);
  writes_left--;
}

extern int
__real_device_run (struct device *device, enum io_type type, unsigned flags,
                   uint64_t offset, uint64_t length, struct buffer *buffer);
extern int
__wrap_device_run (struct device *device, enum io_type type, unsigned flags,
                   uint64_t offset, uint64_t length, struct buffer *buffer);

int
__wrap_device_run (struct device *device, enum io_type type, unsigned flags,
                   uint64_t offset, uint64_t length, struct buffer *buffer)
{
  if (type != IO_READ)
    count_write ();
  return __real_device_run (device, type, flags, offset, length, buffer);
}

extern int __real_io_batch_run (struct io_batch *batch);
extern int __wrap_io_batch_run (struct io_batch *batch);

int
__wrap_io_batch_run (struct io_batch *batch)
{
  count_write ();
  return __real_io_batch_run (batch);
}

extern int __real_aio_allocate (struct device *device, uint64_t size);
extern int __wrap_aio_allocate (struct device *device, uint64_t size);

int
__wrap_aio_allocate (struct device *device, uint64_t size)
{
  count_write ();
  return __real_aio_allocate (device, size);
}

typedef void
fill_function (void *opaque, uint64_t from, size_t length, uint8_t *data);
extern int
__real_file_make (const struct log *log, const char *path, uint64_t length,
                  bool replace, fill_function *fill, void *opaque);
extern int
__wrap_file_make (const struct log *log, const char *path, uint64_t length,
                  bool replace, fill_function *fill, void *opaque);

int
__wrap_file_make (const struct log *log, const char *path, uint64_t length,
                  bool replace, fill_function *fill, void *opaque)
{
  count_write ();
  return __real_file_make (log, path, length, replace, fill, opaque);
}

/* ---- looking ---- */

static size_t
read_file (const char *file, off_t offset, void *data, size_t n)
{
  int fd = open (file, O_RDONLY);
  ssize_t r;

  ck_assert_int_ge (fd, 0);
  r = pread (fd, data, n, offset);
  ck_assert_int_ge (r, 0);
  close (fd);
  return (size_t)r;
}

static uint64_t
size_of (const char *file)
{
  struct stat st;

  return stat (file, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

static void
load (const char *file, struct superblock *s)
{
  uint64_t sectors = size_of (file) / SECTOR_SIZE;
  uint8_t block[SUPERBLOCK_BYTES];
  struct format_error error;
  bool intact;

  read_file (file, (off_t)(superblock_sector (version, sectors) * SECTOR_SIZE),
             block, sizeof block);
  ck_assert_int_eq (
      superblock_decode (version, block, sectors, s, &intact, &error), 0);
}

static void
assert_note (const char *leg, const struct superblock *s, bool there)
{
  uint8_t block[BITMAP_NOTE_BYTES];
  struct bitmap_note note;

  read_file (leg, (off_t)(bitmap_note_sector (s) * SECTOR_SIZE), block,
             sizeof block);
  ck_assert (bitmap_note_decode (block, &note) == there);
  if (!there)
    return;
  ck_assert_mem_eq (note.set_uuid, s->set_uuid, 16);
  ck_assert_uint_eq (note.events, s->events);
  ck_assert_str_eq (note.path, bits);
}

static void
assert_file (const struct superblock *s, bool marked)
{
  static uint8_t bytes[8192];
  struct bitmap_superblock header;
  struct format_error error;
  bool intact;

  ck_assert_uint_eq (size_of (bits), 4096);
  ck_assert_uint_eq (read_file (bits, 0, bytes, sizeof bytes), 4096);
  ck_assert_int_eq (bitmap_superblock_decode (bytes, &header, &intact, &error),
                    0);
  ck_assert_mem_eq (header.uuid, s->set_uuid, 16);
  ck_assert_uint_eq (header.version, BITMAP_VERSION);
  ck_assert_uint_eq (header.events, s->events);
  ck_assert_uint_eq (header.events_cleared, 0);
  ck_assert_uint_eq (header.state, 0);
  ck_assert_uint_eq (header.chunksize, CHUNK);
  ck_assert_uint_eq (header.daemon_sleep, 5);
  ck_assert_uint_eq (header.sync_size, SIZE / SECTOR_SIZE);
  for (uint64_t chunk = 0; chunk < (4096 - 256) * 8; ++chunk)
    ck_assert_msg (!!(bytes[bitmap_bit_byte (chunk)] & bitmap_bit_mask (chunk))
                       == (marked || chunk >= CHUNKS),
                   "bit %ju", (uintmax_t)chunk);
}

/* Legs and file are one array, and it can be served. */
static void
assert_array (bool clean)
{
  static struct superblock s[2];
  struct array_options serve = {
    .legs = { "a", "b" },
    .nlegs = 2,
    .leg_timeout = 30 * RT_SECOND,
    .bitmap = ARRAY_BITMAP_FILE,
    .bitmap_file = bits,
    .bitmap_io = ARRAY_BITMAP_PAGECACHE,
    .sync_rate_max = UINT64_MAX,
  };
  struct array_info info;
  struct array *array;

  load ("a", &s[0]);
  load ("b", &s[1]);
  ck_assert_mem_eq (s[0].set_uuid, s[1].set_uuid, 16);
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (s[i].feature_map, 0);
    ck_assert_int_eq (s[i].bitmap_offset, 0);
    ck_assert_uint_eq (s[i].size, SIZE / SECTOR_SIZE);
    ck_assert_uint_eq (s[i].events, version == SUPERBLOCK_0_90 ? 1 : 0);
    ck_assert (s[i].resync_offset == (clean ? RESYNC_CLEAN : 0));
    assert_note (i == 0 ? "a" : "b", &s[i], true);
  }
  assert_file (&s[0], !clean);
  ck_assert_int_eq (array_open (&serve, &log_, &array), 0);
  array_get_info (array, &info);
  ck_assert_int_eq (info.bitmap, ARRAY_BITMAP_FILE);
  ck_assert_uint_eq (info.in_sync, 2);
  ck_assert_uint_eq (info.chunks_needed, clean ? 0 : CHUNKS);
  array_close (array);
}

/* A number that changes with any byte of any of them. */
static uint64_t
hash_all (void)
{
  static const char *const names[] = { "a", "b", bits };
  static uint8_t bytes[8 * MiB];
  uint64_t hash = 1;

  for (unsigned i = 0; i < 3; ++i) {
    size_t n = size_of (names[i]) == UINT64_MAX
                   ? 0
                   : read_file (names[i], 0, bytes, sizeof bytes);

    hash = (hash ^ size_of (names[i])) * UINT64_C (0x100000001b3);
    for (size_t k = 0; k < n; ++k)
      hash = (hash ^ bytes[k]) * UINT64_C (0x100000001b3);
  }
  return hash;
}

static void
assert_refused (const char *why)
{
  uint64_t hash = hash_all ();

  log_text[0] = '\0';
  ck_assert_int_lt (array_create (&options, &log_), 0);
  ck_assert_msg (strstr (log_text, why), "'%s' is not in '%s'", why, log_text);
  /* One line. */
  ck_assert_ptr_eq (strchr (log_text, '\n'), log_text + strlen (log_text) - 1);
  ck_assert_uint_eq (hash_all (), hash);
}

static void
assert_makes (bool clean)
{
  log_text[0] = '\0';
  ck_assert_msg (array_create (&options, &log_) == 0, "%s", log_text);
  assert_array (clean);
}

static void
write_file (const char *file, const void *data, size_t n)
{
  int fd = open (file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (write (fd, data, n), (ssize_t)n);
  close (fd);
}

/* ---- tests ---- */

/* Laid out as without a bitmap. */
START_TEST (test_new)
{
  static struct superblock s, none;
  uint64_t hash;

  set_options (_i);
  assert_makes (true);
  hash = hash_all ();
  ck_assert_int_eq (array_create (&options, &log_), 0);
  ck_assert_uint_eq (hash_all (), hash);
  load ("a", &s);

  unlink ("a");
  unlink ("b");
  options.bitmap = ARRAY_BITMAP_NONE;
  options.bitmap_chunk = 0;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  load ("a", &none);
  ck_assert_uint_eq (s.data_offset, none.data_offset);
  ck_assert_uint_eq (s.data_size, none.data_size);
  ck_assert_uint_eq (s.super_offset, none.super_offset);
  ck_assert_int_eq (s.bblog_offset, none.bblog_offset);
  assert_note ("a", &none, false);
}
END_TEST

START_TEST (test_default_chunk)
{
  uint8_t header[BITMAP_SUPERBLOCK_BYTES];

  set_options (SUPERBLOCK_1_2);
  options.bitmap_chunk = 0;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  read_file (bits, 0, header, sizeof header);
  ck_assert_uint_eq (get_le32 (header + 52), LAYOUT_DEFAULT_CHUNK);
}
END_TEST

/* A bitmap that says that. */
static void
write_bitmap (uint64_t events, uint64_t events_cleared)
{
  static uint8_t bytes[4096];
  struct bitmap_superblock header = {
    .version = BITMAP_VERSION,
    .uuid = { 1, 2, 3 },
    .events = events,
    .events_cleared = events_cleared,
    .chunksize = CHUNK,
    .daemon_sleep = 5,
  };

  bitmap_superblock_encode (&header, bytes);
  write_file (bits, bytes, sizeof bytes);
}

/* What may be lost, and what is somebody's. */
START_TEST (test_existing)
{
  set_options (_i);
  write_file (bits, "", 0);
  assert_makes (true);
  unlink ("a");
  unlink ("b");
  write_bitmap (version == SUPERBLOCK_0_90 ? 1 : 0, 0);
  assert_makes (true);

  for (unsigned i = 0; i < 4; ++i) {
    unlink ("a");
    unlink ("b");
    options.force = false;
    if (i == 0)
      write_bitmap (2, 0);
    else if (i == 1)
      write_bitmap (0, 1);
    else if (i == 2)
      write_file (bits, "a letter", 8);
    else if (version == SUPERBLOCK_0_90)
      break; /* as new */
    else
      write_bitmap (1, 0);
    assert_refused ("it exists, and is not a bitmap that has never been used");
    ck_assert_uint_eq (size_of ("a"), UINT64_MAX);
    options.force = true;
    assert_makes (true);
  }
}
END_TEST

/* By whatever name; and before it is there. */
START_TEST (test_is_leg)
{
  char path[sizeof dir + 20];

  set_options (SUPERBLOCK_1_2);
  options.bitmap_file = path;
  snprintf (path, sizeof path, "%s/a", dir);
  assert_refused ("it is the leg a");
  snprintf (path, sizeof path, "%s/./b", dir);
  assert_refused ("it is the leg b");
  ck_assert_int_eq (symlink (".", "link"), 0);
  snprintf (path, sizeof path, "%s/link/b", dir);
  assert_refused ("it is the leg b");
  write_file ("b", "", 0);
  assert_refused ("it is the leg b");
  options.bitmap_file = "bits";
  assert_refused ("must be absolute");
  options.bitmap_file = NULL;
  assert_refused ("must be absolute");
}
END_TEST

/* Somewhere where none can be made: nothing else is. */
START_TEST (test_no_folder)
{
  char path[sizeof dir + 20];

  set_options (SUPERBLOCK_1_2);
  snprintf (path, sizeof path, "%s/none/bits", dir);
  options.bitmap_file = path;
  assert_refused ("bitmap file ");
  ck_assert_uint_eq (size_of ("a"), UINT64_MAX);
}
END_TEST

/* A leg cannot be made: the file goes as it came. */
START_TEST (test_leg_fails)
{
  set_options (SUPERBLOCK_1_2);
  options.size = (uint64_t)1 << 60;
  options.bitmap_chunk = (uint32_t)1 << 31;
  ck_assert_int_lt (array_create (&options, &log_), 0);
  ck_assert_uint_eq (size_of (bits), UINT64_MAX);
  ck_assert_uint_eq (size_of ("a"), UINT64_MAX);
}
END_TEST

/* An array that is there, and whose file is not: who serves it says so. */
START_TEST (test_missing)
{
  struct array_options serve = {
    .legs = { "a", "b" },
    .nlegs = 2,
    .leg_timeout = 30 * RT_SECOND,
    .bitmap = ARRAY_BITMAP_FILE,
    .bitmap_file = bits,
    .sync_rate_max = UINT64_MAX,
  };
  struct array *array;
  uint64_t hash;

  set_options (SUPERBLOCK_1_2);
  assert_makes (true);
  unlink (bits);
  hash = hash_all ();
  ck_assert_int_eq (array_create (&options, &log_), 0);
  ck_assert_uint_eq (hash_all (), hash);
  log_text[0] = '\0';
  ck_assert_int_lt (array_open (&serve, &log_, &array), 0);
  ck_assert_ptr_nonnull (strstr (log_text, bits));
  ck_assert_ptr_nonnull (strstr (log_text, "does not exist"));
}
END_TEST

/* Made over legs that hold something, with force. */
START_TEST (test_not_clean)
{
  static uint8_t data[4 * MiB];

  set_options (_i);
  memset (data, 0x5a, sizeof data);
  write_file ("a", data, sizeof data);
  write_file ("b", data, sizeof data);
  assert_makes (false);
}
END_TEST

/* Made, and then made again without the file: what is left of the note would
 * be believed.
 */
START_TEST (test_note_goes)
{
  static struct superblock s;

  set_options (_i);
  assert_makes (true);
  options.bitmap = ARRAY_BITMAP_NONE;
  options.bitmap_chunk = 0;
  options.keep_existing = false;
  options.force = true;
  ck_assert_int_eq (array_create (&options, &log_), 0);
  load ("a", &s);
  assert_note ("a", &s, false);
}
END_TEST

/* Killed before its n-th write; then made again. */
START_TEST (test_killed)
{
  unsigned point;
  int status = 7;
  pid_t pid;

  for (point = 0; status == 7; ++point) {
    unlink ("a");
    unlink ("b");
    unlink (bits);
    set_options (_i);
    pid = fork ();
    ck_assert_int_ne (pid, -1);
    if (pid == 0) {
      writes_left = point;
      _exit (array_create (&options, &log_) == 0 ? 0 : 1);
    }
    ck_assert_int_eq (waitpid (pid, &status, 0), pid);
    ck_assert (WIFEXITED (status));
    status = WEXITSTATUS (status);
    ck_assert_int_ne (status, 1);
    log_text[0] = '\0';
    ck_assert_msg (array_create (&options, &log_) == 0, "%u: %s", point,
                   log_text);
    /* Whether all was made before, and so is clean, the superblocks say. */
    if (status == 0)
      assert_array (true);
    else {
      static struct superblock s;

      load ("a", &s);
      assert_array (s.resync_offset == RESYNC_CLEAN);
    }
  }
  ck_assert_uint_gt (point, 8);
}
END_TEST

static void
setup (void)
{
  ck_assert_ptr_nonnull (mkdtemp (dir));
  ck_assert_int_eq (chdir (dir), 0);
  snprintf (bits, sizeof bits, "%s/bits", dir);
}

static void
teardown (void)
{
  static const char *const left[] = { "a", "b", "bits", "bits.new", "link" };
  char path[sizeof dir + 20];

  ck_assert_int_eq (chdir ("/"), 0);
  for (unsigned i = 0; i < sizeof left / sizeof left[0]; ++i) {
    snprintf (path, sizeof path, "%s/%s", dir, left[i]);
    unlink (path);
  }
  rmdir (dir);
}

int
main (void)
{
  Suite *suite = suite_create ("create-file");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_set_timeout (tc, 120);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_loop_test (tc, test_new, 0, SUPERBLOCK_VERSIONS);
  tcase_add_test (tc, test_default_chunk);
  tcase_add_loop_test (tc, test_existing, 0, SUPERBLOCK_VERSIONS);
  tcase_add_test (tc, test_is_leg);
  tcase_add_test (tc, test_no_folder);
  tcase_add_test (tc, test_leg_fails);
  tcase_add_test (tc, test_missing);
  tcase_add_loop_test (tc, test_not_clean, 0, SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tc, test_note_goes, 0, SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tc, test_killed, 0, SUPERBLOCK_VERSIONS);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
