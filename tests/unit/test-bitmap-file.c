/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Arrays whose bitmap is in a file: what assembly makes of it, and the order of
 * writes.  test-bitmap-note.c has the note on the legs that says so,
 * test-bitmap-fails.c files that fail.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap-file.h"

#define E      LEGS_EVENTS
#define CHUNKS (LEGS_SIZE / LEGS_CHUNK)

/* ---- loading ---- */

/* A file that was cut to the last bit, as mdadm makes it, or ours. */
START_TEST (test_valid)
{
  struct array *array;

  bits_make (2, 0, 0);
  if (_i == 1)
    file.size = BITMAP_SUPERBLOCK_BYTES + CHUNKS / 8;
  images_set_dirty ();
  bits_set (3);
  bits_set (CHUNKS - 1);
  bits_store ();
  for (unsigned chunk = 0; chunk < CHUNKS; ++chunk)
    leg_set_data (1, chunk * LEGS_CHUNK, 7);
  array = bits_open ();
  ck_assert_uint_eq (needed (array), 2);
  ck_assert_int_eq (info_of (array).bitmap, ARRAY_BITMAP_FILE);
  ck_assert_str_eq (info_of (array).bitmap_file, FILE_PATH);
  ck_assert (!info_of (array).bitmap_failed);
  ck_assert_ptr_null (info_of (array).noted_file);
  ck_assert_uint_eq (info_of (array).chunksize, LEGS_CHUNK);
  ck_assert (!logged ("full resync"));

  /* Exactly these are resynced. */
  ck_assert_int_eq (array_activate (array), 0);
  wait_for_resync (array);
  legs_close (array);
  for (unsigned chunk = 0; chunk < CHUNKS; ++chunk)
    ck_assert_uint_eq (leg_data (1, chunk * LEGS_CHUNK),
                       chunk == 3 || chunk == CHUNKS - 1 ? 0 : 7);
  bits_load ();
  ck_assert_uint_eq (images[0].superblock.resync_offset, RESYNC_CLEAN);
  ck_assert_uint_ge (file.header.events, images[0].superblock.events);
  ck_assert (!bits_get (3) && !bits_get (CHUNKS - 1));
  /* md knows of no bitmap. */
  ck_assert_uint_eq (images[0].superblock.feature_map, 0);
  ck_assert_int_eq (images[0].superblock.bitmap_offset, 0);
}
END_TEST

/* An event that leads is one that was being written: 8 at most. */
START_TEST (test_leads)
{
  struct array *array;

  bits_make (2, 0, 0);
  images_set_dirty ();
  file.header.events = E + (uint64_t)_i;
  bits_set (5);
  bits_store ();
  array = bits_open ();
  ck_assert_uint_eq (needed (array), _i <= 8 ? 1 : CHUNKS);
  if (_i > 8)
    ck_assert (logged ("bitmap file " FILE_PATH
                       ": field events: found 49, expected 40 to 48; it is "
                       "damaged and counts as stale"));
  legs_close (array);
}
END_TEST

/* Before bits_store. */
static void
empty (void)
{
  file.size = 0;
}

static void
too_short (void)
{
  file.size = BITMAP_SUPERBLOCK_BYTES + CHUNKS / 8 - 1;
}

static void
header_alone (void)
{
  file.size = BITMAP_SUPERBLOCK_BYTES - 1;
}

static void
foreign (void)
{
  file.header.uuid[15]++;
}

static void
write_error (void)
{
  file.header.state = BITMAP_WRITE_ERROR;
}

static void
lockless (void)
{
  file.header.version = 6;
}

static void
odd_chunk (void)
{
  file.header.chunksize = 3 * LEGS_CHUNK;
}

static void
small_chunk (void)
{
  bits_make (2, 0, 512);
  legs_logical_block[0] = 512;
  legs_logical_block[1] = 4096;
}

static void
missing (void)
{
  file.open_error = -ENOENT;
}

static void
in_use (void)
{
  file.open_error = -EBUSY;
}

static void
on_a_leg (void)
{
  file.place_error = -EINVAL;
}

static void
unreadable (void)
{
  bits_fail (FILE_OP_READ);
}

static unsigned reads;

static enum verdict
fail_later_reads (enum file_op op, const struct io *io)
{
  (void)io;
  return op == FILE_OP_READ && reads++ > 0 ? TAP_FAIL : TAP_PASS;
}

static void
unreadable_page (void)
{
  reads = 0;
  bits_hook (fail_later_reads);
}

static void
use_internal (void)
{
  legs_make (2, 0, 0);
  legs_options.bitmap = ARRAY_BITMAP_FILE;
  legs_options.bitmap_file = FILE_PATH;
}

static void
want_internal (void)
{
  legs_options.bitmap = ARRAY_BITMAP_INTERNAL;
}

static void
stale_refused (void)
{
  images_set_dirty ();
  file.header.events--;
  legs_options.refuse_full_resync = true;
}

static void
marked_stale_refused (void)
{
  images_set_dirty ();
  file.header.state = BITMAP_STALE;
  legs_options.refuse_full_resync = true;
}

static const struct {
  void (*prepare) (void);
  const char *says;
  unsigned lines; /* of the log */
  bool for_good;  /* with -r too: what is asked for contradicts the array */
} refusals[] = {
  { missing, "bitmap file " FILE_PATH ": cannot be opened", 1, false },
  { in_use, "bitmap file " FILE_PATH ": cannot be opened", 1, false },
  { on_a_leg, "bitmap file " FILE_PATH ": lies on a leg", 1, false },
  { empty, "bitmap file " FILE_PATH ": there is no bitmap in it; ", 1, false },
  { header_alone, FILE_PATH ": field size of the file: found 255 bytes", 1,
    false },
  { too_short,
    "bitmap file " FILE_PATH ": field size of the file: found 271 bytes, "
    "expected at least 272 for 128 chunks of 65536 bytes; ",
    1, false },
  { foreign,
    "expected a5a5a5a5:a5a5a5a5:a5a5a5a5:a5a5a5a5; it is the bitmap "
    "of another array",
    1, false },
  { write_error, FILE_PATH ": field state: found 0x4", 1, false },
  { lockless, FILE_PATH ": field version: found 6", 1, false },
  { odd_chunk, FILE_PATH ": field chunksize: found 196608", 1, false },
  { small_chunk,
    "bitmap: field chunksize: found 512, expected at least 4096, "
    "the leg's logical block",
    1, false },
  { unreadable,
    "bitmap file " FILE_PATH ": cannot be read: Input/output "
    "error; ",
    1, false },
  { unreadable_page,
    "bitmap file " FILE_PATH ": reading the bitmap: "
    "Input/output error",
    1, false },
  { use_internal, "has an internal bitmap, and it cannot have both", 1, true },
  { want_internal,
    "has no internal bitmap; add one with mdbitmap bitmap "
    "internal LEG...",
    1, true },
  { stale_refused,
    "and its bitmap is stale: it needs a full resync, which "
    "full-resync=refuse forbids",
    2, false },
  { marked_stale_refused,
    "and its bitmap is stale: it needs a full resync, "
    "which full-resync=refuse forbids",
    2, false },
};
#define REFUSALS (sizeof refusals / sizeof refusals[0])

static void
prepare_refusal (int i)
{
  bits_make (2, 0, 0);
  refusals[i].prepare ();
  bits_store ();
}

START_TEST (test_refused)
{
  struct array *array;
  char line[512];

  prepare_refusal (_i);
  ck_assert_int_lt (bits_try_open (&array), 0);
  ck_assert_ptr_null (array);
  ck_assert_msg (logged (refusals[_i].says), "'%s' is not in '%s'",
                 refusals[_i].says, logged_line ("", "", line, sizeof line));
  ck_assert_uint_eq (logged_lines (), refusals[_i].lines);
}
END_TEST

/* Reading goes on: all of it from the source if the array is not clean. */
START_TEST (test_refused_but_read)
{
  struct array *array;
  uint8_t byte;

  bits_make (2, 0, 0);
  refusals[_i].prepare ();
  images_set_dirty ();
  legs_options.read_only = true;
  bits_store ();
  leg_set_data (1, 0, 7);
  leg_set_data (1, 20 * LEGS_CHUNK, 7);
  if (refusals[_i].for_good) {
    ck_assert_int_eq (bits_try_open (&array), -EINVAL);
    return;
  }
  array = bits_open ();
  for (unsigned i = 0; i < 3; ++i)
    for (unsigned chunk = 0; chunk < CHUNKS; chunk += 20) {
      ck_assert_int_eq (block_read (array, &byte, chunk * LEGS_CHUNK), 0);
      ck_assert_uint_eq (byte, 0);
    }
  ck_assert_int_eq (array_activate (array), -EROFS);
  legs_close (array);
  ck_assert_uint_eq (
      bits_count (FILE_OP_WRITES | FILE_OP_FLUSH | FILE_OP_PREPARE), 0);
}
END_TEST

/* With -r the bits say which reads go to the source. */
START_TEST (test_read_only)
{
  struct array *array;
  uint64_t legs, bits;
  uint8_t byte;

  bits_make (2, 0, 0);
  images_set_dirty ();
  bits_set (20);
  legs_options.read_only = true;
  bits_store ();
  leg_set_data (1, 20 * LEGS_CHUNK, 7);
  legs = legs_hash ();
  bits = bits_hash ();
  array = bits_open ();
  ck_assert_uint_eq (needed (array), 1);
  tap_reset ();
  tap_fail (0, OP_READ_DATA);
  /* The other leg has the same where nothing is marked. */
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  tap_fail (0, 0);
  tap_reset ();
  for (unsigned i = 0; i < 8; ++i) {
    ck_assert_int_eq (block_read (array, &byte, 20 * LEGS_CHUNK), 0);
    ck_assert_uint_eq (byte, 0);
  }
  ck_assert_uint_eq (tap_count (1, OP_READ_DATA), 0);
  ck_assert_int_eq (array_activate (array), -EROFS);
  legs_close (array);
  ck_assert_uint_eq (legs_hash (), legs);
  ck_assert_uint_eq (bits_hash (), bits);
  ck_assert_uint_eq (tap_count (0, OP_WRITES) + tap_count (1, OP_WRITES), 0);
}
END_TEST

/* Stale by its events, or marked so: every chunk counts as marked. */
START_TEST (test_stale)
{
  bool clean = _i & 1;
  struct array *array;

  bits_make (2, 0, 0);
  if (_i & 2)
    file.header.state = BITMAP_STALE;
  else
    file.header.events = E - 1;
  if (!clean)
    images_set_dirty ();
  bits_store ();
  for (unsigned chunk = 0; chunk < CHUNKS; ++chunk)
    leg_set_data (1, chunk * LEGS_CHUNK, 7);
  array = bits_open ();
  ck_assert_uint_eq (needed (array), clean ? 0 : CHUNKS);
  ck_assert_uint_eq (info_of (array).chunks_marked, CHUNKS);
  ck_assert (logged (_i & 2 ? "bitmap file " FILE_PATH ": it is marked as stale"
                            : "bitmap file " FILE_PATH
                              ": stale: its events 39 < 40 of the superblock"));
  ck_assert (logged ("full resync, since it is not clean and its bitmap is "
                     "stale")
             == !clean);
  ck_assert_int_eq (array_activate (array), 0);
  wait_for_resync (array);
  bits_load ();
  ck_assert_uint_eq (file.header.state, 0);
  ck_assert_uint_ge (file.header.events, images[0].superblock.events);
  legs_close (array);
  for (unsigned chunk = 0; chunk < CHUNKS; ++chunk)
    ck_assert_uint_eq (leg_data (1, chunk * LEGS_CHUNK), clean ? 7 : 0);
  bits_load ();
  for (unsigned chunk = 0; chunk < CHUNKS; ++chunk)
    ck_assert (!bits_get (chunk));
}
END_TEST

/* Killed while the bits of a stale file are written: still stale, or good. */
START_TEST (test_stale_killed)
{
  for (unsigned kill = 0;; ++kill) {
    struct array *array;
    bool dead;

    bits_make (2, 0, 512);
    legs_logical_block[0] = legs_logical_block[1] = 512;
    legs_options.bitmap_io = (enum array_bitmap_io)_i;
    file.header.events = E - 1;
    images_set_dirty ();
    bits_store ();
    array = bits_open ();
    bits_die_after (kill);
    /* A resync would clear bits, rightly. */
    tap_fail (0, OP_READ_DATA);
    (void)array_activate (array);
    dead = bits_died ();
    bits_revive (array);
    array = legs_open ();
    ck_assert_uint_eq (needed (array), LEGS_SIZE / 512);
    legs_close (array);
    if (!dead)
      break;
    ck_assert_uint_lt (kill, 100);
  }
}
END_TEST

/* ---- order ---- */

static unsigned bits_late, headers_late;

/* At each write of data its bit is durable; at each superblock the header. */
static enum verdict
watch_order (unsigned leg, enum op op, const struct io *io)
{
  static struct image now;

  bits_look ();
  if (op == OP_WRITE_DATA) {
    uint64_t at = io->offset - legs_data_sector () * SECTOR_SIZE;

    for (uint64_t c = at / file.header.chunksize;
         c <= (at + io->length - 1) / file.header.chunksize; ++c)
      bits_late += !bits_get (c);
    leg_load (leg, &now);
    bits_late += now.superblock.resync_offset != 0;
  }
  if (op == OP_WRITE_SUPERBLOCK
      && io->offset == images[leg].superblock.super_offset * SECTOR_SIZE) {
    struct superblock sb;
    struct format_error error;
    uint8_t block[SUPERBLOCK_BYTES];
    bool intact;

    memset (block, 0, sizeof block);
    memcpy (block, io->data, min_u64 (io->length, sizeof block));
    ck_assert_int_eq (superblock_decode (SUPERBLOCK_1_2, block,
                                         io->device->limits.size / SECTOR_SIZE,
                                         &sb, &intact, &error),
                      0);
    headers_late += file.header.events < sb.events;
  }
  return TAP_PASS;
}

START_TEST (test_order)
{
  struct array *array;

  bits_make (2, 192 * MiB, 4096);
  legs_options.bitmap_io = (enum array_bitmap_io)_i;
  bits_store ();
  array = bits_open ();
  bits_late = headers_late = 0;
  tap_hook (watch_order);
  ck_assert_int_eq (array_activate (array), 0);
  for (unsigned i = 0; i < 40; ++i)
    ck_assert_int_eq (
        block_write (array, (uint8_t)i, i * 4 * MiB - i % 2 * 2048, 0), 0);
  ck_assert_int_eq (array_zero (array, 3 * MiB, 100 * MiB, 0), 0);
  ck_assert_int_eq (clear_pass (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  ck_assert_int_eq (clear_pass (array), 0);
  legs_close (array);
  tap_hook (NULL);
  ck_assert_uint_eq (bits_late, 0);
  ck_assert_uint_eq (headers_late, 0);
}
END_TEST

/* Neighbouring pages are one operation, and with the page cache one flush
 * covers all pages of a round.
 */
START_TEST (test_together)
{
  const uint64_t second = (BITMAP_PAGE_BYTES - BITMAP_SUPERBLOCK_BYTES) * 8;
  bool pagecache = _i == 1;
  uint8_t *data = calloc (2, 4096);
  struct array *array;

  ck_assert_ptr_nonnull (data);
  bits_make (2, 192 * MiB, 4096);
  if (pagecache)
    legs_options.bitmap_io = ARRAY_BITMAP_PAGECACHE;
  bits_store ();
  array = bits_open ();
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_uint_eq (bits_count (FILE_OP_PREPARE), 1);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  bits_forget_counts ();
  ck_assert_int_eq (array_write (array, data, 8192, (second - 1) * 4096, 0), 0);
  ck_assert_uint_eq (bits_count (FILE_OP_WRITES), 1);
  ck_assert_uint_eq (bits_count (FILE_OP_FLUSH), pagecache);
  bits_load ();
  ck_assert (bits_get (second - 1) && bits_get (second));
  /* A page by itself; and nothing at all where the bit is there. */
  ck_assert_int_eq (block_write (array, 1, (second + 9) * 4096, 0), 0);
  ck_assert_uint_eq (bits_count (FILE_OP_PAGES), 1);
  ck_assert_uint_eq (bits_count (FILE_OP_FLUSH), 2 * pagecache);
  ck_assert_int_eq (block_write (array, 1, (second + 9) * 4096, 0), 0);
  ck_assert_uint_eq (bits_count (FILE_OP_WRITES), 2);
  legs_close (array);
  free (data);
}
END_TEST

static Suite *
suite (void)
{
  Suite *s = suite_create ("bitmap file");
  TCase *tc = tcase_create ("loading");

  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_valid, 0, 2);
  tcase_add_loop_test (tc, test_leads, 0, 10);
  tcase_add_loop_test (tc, test_refused, 0, REFUSALS);
  tcase_add_loop_test (tc, test_refused_but_read, 0, REFUSALS);
  tcase_add_test (tc, test_read_only);
  tcase_add_loop_test (tc, test_stale, 0, 4);
  tcase_add_loop_test (tc, test_stale_killed, 0, 3);
  suite_add_tcase (s, tc);

  tc = tcase_create ("order");
  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_order, 0, 3);
  tcase_add_loop_test (tc, test_together, 0, 2);
  suite_add_tcase (s, tc);
  return s;
}

int
main (void)
{
  return legs_run (suite ());
}
