/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The note on the legs that the bitmap is in a file, and arrays that go on
 * without theirs.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap-file.h"

#define E      LEGS_EVENTS
#define CHUNKS (LEGS_SIZE / LEGS_CHUNK)

/* ---- the bytes ---- */

static const struct bitmap_note example = {
  .set_uuid = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255 },
  .events = UINT64_C (0x8877665544332211),
  .path = "/srv/bitmaps/a file",
};

/* What is written is for ever: byte by byte, from bitmap_note.h. */
START_TEST (test_encode)
{
  uint8_t block[BITMAP_NOTE_BYTES];

  memset (block, 0xee, sizeof block);
  bitmap_note_encode (&example, block);
  ck_assert_mem_eq (block, "mdbitmap file\0\0\0\1\0\0", 20);
  ck_assert_uint_eq (get_le32 (block + 20), 0x1781606c); /* by zlib's crc32 */
  ck_assert_mem_eq (block + 24, example.set_uuid, 16);
  ck_assert_mem_eq (block + 40, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
  ck_assert_mem_eq (block + 48, "/srv/bitmaps/a file", 20);
  for (unsigned i = 48 + 20; i < sizeof block; ++i)
    ck_assert_uint_eq (block[i], 0);
}
END_TEST

START_TEST (test_decode)
{
  uint8_t block[BITMAP_NOTE_BYTES];
  struct bitmap_note note = example, found;

  if (_i == 1)
    memset (note.path, 0, sizeof note.path);
  if (_i == 2)
    memset (note.path, 'p', sizeof note.path - 1);
  if (_i == 3)
    note.events = UINT64_MAX;
  memset (&found, 0xee, sizeof found);
  bitmap_note_encode (&note, block);
  ck_assert (bitmap_note_decode (block, &found));
  ck_assert_mem_eq (&found, &note, sizeof note);
}
END_TEST

/* No byte of it may be another one: each field with each class of value is
 * among these.
 */
START_TEST (test_each_bit)
{
  uint8_t block[BITMAP_NOTE_BYTES];
  struct bitmap_note note;

  bitmap_note_encode (&example, block);
  for (unsigned bit = 0; bit < 8 * sizeof block; ++bit) {
    block[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ck_assert_msg (!bitmap_note_decode (block, &note), "bit %u", bit);
    block[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  ck_assert (bitmap_note_decode (block, &note));
}
END_TEST

/* Words, and sectors, that have changed places: the sum knows. */
START_TEST (test_order_of_words)
{
  uint8_t block[BITMAP_NOTE_BYTES], copy[BITMAP_NOTE_BYTES];
  struct bitmap_note note = example;

  for (unsigned i = 0; i < sizeof note.path - 1; ++i)
    note.path[i] = (char)(1 + i % 251);
  bitmap_note_encode (&note, block);
  for (unsigned i = 24; i + 8 <= 48 + BITMAP_NOTE_PATH; i += 4) {
    if (memcmp (block + i, block + i + 4, 4) == 0)
      continue;
    memcpy (copy, block, sizeof copy);
    memcpy (copy + i, block + i + 4, 4);
    memcpy (copy + i + 4, block + i, 4);
    ck_assert (!bitmap_note_decode (copy, &note));
  }
  memcpy (copy, block, sizeof copy);
  memcpy (copy + 512, block + 1024, 512);
  memcpy (copy + 1024, block + 512, 512);
  ck_assert (!bitmap_note_decode (copy, &note));
}
END_TEST

/* Any sectors of a new one over an old one: neither, or one of the two. */
START_TEST (test_torn)
{
  uint8_t old[BITMAP_NOTE_BYTES], new[BITMAP_NOTE_BYTES], torn[sizeof old];
  struct bitmap_note note = example, found;

  memset (old, _i == 0 ? 0 : 0xff, sizeof old);
  memset (note.path, 'o', sizeof note.path - 1);
  if (_i == 2)
    bitmap_note_encode (&note, old);
  memset (note.path, 'n', sizeof note.path - 1);
  note.events++;
  bitmap_note_encode (&note, new);
  for (unsigned mask = 0; mask < 16; ++mask) {
    for (unsigned sector = 0; sector < 4; ++sector)
      memcpy (torn + sector * 512,
              (mask >> sector & 1 ? new : old) + sector * 512, 512);
    if (bitmap_note_decode (torn, &found)) {
      ck_assert (mask == 15 || (mask == 0 && _i == 2));
      ck_assert (found.path[0] == (mask == 15 ? 'n' : 'o'));
    }
    else
      ck_assert (mask != 15);
  }
}
END_TEST

/* Random bytes, with its magic and without. */
START_TEST (test_random)
{
  uint8_t block[BITMAP_NOTE_BYTES], words[BITMAP_NOTE_BYTES];
  struct bitmap_note note;

  bitmap_note_encode (&example, words);
  for (unsigned i = 0; i < 20000; ++i) {
    rt_random (block, sizeof block);
    if (i % 2)
      memcpy (block, words, 20);
    ck_assert (!bitmap_note_decode (block, &note));
  }
  memset (block, 0, sizeof block);
  ck_assert (!bitmap_note_decode (block, &note));
}
END_TEST

/* A path with no end is refused though the sum is right; zlib's crc32 says what
 * it is.
 */
START_TEST (test_no_end)
{
  static const uint32_t sums[] = { 0x2824b112, 0x3ee67902 };
  uint8_t block[BITMAP_NOTE_BYTES];
  struct bitmap_note note;

  for (unsigned end = 0; end < 2; ++end) {
    bitmap_note_encode (&example, block);
    memset (block + 48, 'x', BITMAP_NOTE_PATH - end);
    put_le32 (block + 20, sums[end]);
    ck_assert (bitmap_note_decode (block, &note) == (end == 1));
  }
}
END_TEST

/* It goes to logs and terminals. */
START_TEST (test_control)
{
  static const char bad[] = { 1, '\t', '\n', 27, 31, 127 };
  static const char good[] = { ' ', '~', (char)0x80, (char)0xff };
  uint8_t block[BITMAP_NOTE_BYTES];
  struct bitmap_note note = example, found;

  for (unsigned i = 0; i < sizeof bad + sizeof good; ++i) {
    bool left_out = i < sizeof bad;
    char c = left_out ? bad[i] : good[i - sizeof bad];

    note.path[strlen (note.path) - 1] = c;
    memset (&found, 0xee, sizeof found);
    bitmap_note_encode (&note, block);
    ck_assert (bitmap_note_decode (block, &found));
    ck_assert_uint_eq (found.events, note.events);
    ck_assert_str_eq (found.path, left_out ? "" : note.path);
  }
}
END_TEST

START_TEST (test_where)
{
  struct superblock sb = { .version = SUPERBLOCK_1_2, .super_offset = 8 };

  ck_assert_uint_eq (bitmap_note_sector (&sb), 12);
  sb.version = SUPERBLOCK_1_1;
  sb.super_offset = 0;
  ck_assert_uint_eq (bitmap_note_sector (&sb), 4);
  sb.version = SUPERBLOCK_1_0;
  sb.super_offset = 20000;
  ck_assert_uint_eq (bitmap_note_sector (&sb), 20004);
  sb.version = SUPERBLOCK_0_90;
  sb.super_offset = 128;
  ck_assert_uint_eq (bitmap_note_sector (&sb), 128 + 120);
}
END_TEST

/* ---- on the legs ---- */

static bool
read_note (unsigned leg, struct bitmap_note *note)
{
  uint8_t block[BITMAP_NOTE_BYTES];
  const struct superblock *sb = &images[leg].superblock;
  uint64_t behind = sb->version == SUPERBLOCK_0_90 ? 61440 : 2048;
  size_t n;
  uint8_t *all = leg_get_all (leg, &n);

  ck_assert_uint_le (sb->super_offset * 512 + behind + sizeof block, n);
  memcpy (block, all + sb->super_offset * 512 + behind, sizeof block);
  free (all);
  return bitmap_note_decode (block, note);
}

static void
assert_noted (unsigned n, const char *path)
{
  struct bitmap_note note;

  for (unsigned i = 0; i < n; ++i) {
    ck_assert (read_note (i, &note));
    ck_assert_mem_eq (note.set_uuid, images[i].superblock.set_uuid, 16);
    ck_assert_str_eq (note.path, path);
  }
}

static void
assert_not_noted (unsigned n)
{
  struct bitmap_note note;

  for (unsigned i = 0; i < n; ++i)
    ck_assert (!read_note (i, &note));
}

static void
write_note (unsigned leg, const struct bitmap_note *note)
{
  const struct superblock *sb = &images[leg].superblock;
  uint64_t behind = sb->version == SUPERBLOCK_0_90 ? 61440 : 2048;
  uint8_t block[BITMAP_NOTE_BYTES];

  bitmap_note_encode (note, block);
  leg_put (leg, sb->super_offset * 512 + behind, block, sizeof block);
}

static void
write_notes (unsigned n)
{
  struct bitmap_note note = { .events = E, .path = FILE_PATH };

  memset (note.set_uuid, 0xa5, sizeof note.set_uuid);
  for (unsigned i = 0; i < n; ++i)
    write_note (i, &note);
}

static unsigned note_writes, data_too_early;
static uint32_t note_block; /* bytes */

/* Counts what is written over the note; and both must be there before data. */
static enum verdict
watch_note (unsigned leg, enum op op, const struct io *io)
{
  const struct superblock *sb = &images[leg].superblock;
  uint64_t at =
      sb->super_offset * 512 + (sb->version == SUPERBLOCK_0_90 ? 61440 : 2048);
  struct bitmap_note note;

  if (op == OP_WRITE_DATA)
    for (unsigned i = 0; i < 2; ++i)
      data_too_early += !read_note (i, &note);
  if (io->type == IO_WRITE && io->offset <= at && io->offset + io->length > at)
    note_writes++;
  return TAP_PASS;
}

/* Written once to each leg, before the first data, in all versions and for
 * both sizes of a block; superblock updates keep it.
 */
START_TEST (test_note)
{
  static const enum superblock_version versions[] = {
    SUPERBLOCK_0_90, SUPERBLOCK_1_0, SUPERBLOCK_1_1, SUPERBLOCK_1_2
  };
  const enum superblock_version version = versions[_i % 4];
  struct array *array;

  note_block = _i < 4 ? 0 : 4096;
  bits_make_version (version, 2, 0, 0);
  for (unsigned i = 0; i < 2; ++i)
    legs_logical_block[i] = note_block;
  bits_store ();
  assert_not_noted (2);
  for (unsigned start = 0; start < 3; ++start) {
    array = bits_open ();
    assert_noted (start == 0 ? 0 : 2, FILE_PATH);
    note_writes = data_too_early = 0;
    tap_hook (watch_note);
    ck_assert_int_eq (array_activate (array), 0);
    assert_noted (2, FILE_PATH);
    ck_assert_uint_eq (note_writes, start == 0 ? 2 : 0);
    ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
    assert_noted (2, FILE_PATH);
    tap_hook (NULL);
    ck_assert_uint_eq (data_too_early, 0);
    if (start == 1)
      bits_kill (array);
    else
      legs_close (array);
    assert_noted (2, FILE_PATH);
    legs_load (); /* the superblocks are as good as ever */
    ck_assert_uint_gt (images[1].superblock.events, E);
    bits_forget_counts ();
  }
}
END_TEST

/* Not with -r; and nothing else that is only looked at. */
START_TEST (test_note_read_only)
{
  struct array *array;

  bits_make (2, 0, 0);
  bits_store ();
  legs_options.read_only = true;
  array = bits_open ();
  ck_assert_int_eq (array_activate (array), -EROFS);
  legs_close (array);
  assert_not_noted (2);
}
END_TEST

/* Who forgets the file is told its name. */
START_TEST (test_forgotten)
{
  struct array *array;

  bits_make (2, 0, 0);
  bits_store ();
  write_notes (_i == 0 ? 2 : 1); /* one leg is enough */
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert_uint_eq (logged_lines (), 1);
  ck_assert (logged ("its bitmap is in the file " FILE_PATH
                     ", as of events 40, and no file is given: give "
                     "bitmap=PATH; or bitmap=none"));

  legs_options.bitmap = ARRAY_BITMAP_INTERNAL;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("or serve it with the file that it has, bitmap=PATH"));

  /* Reading goes on, and says it. */
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  legs_options.read_only = true;
  array = legs_open ();
  ck_assert (logged ("its bitmap is in the file " FILE_PATH
                     ", which is not given (bitmap=PATH); reading goes on"));
  ck_assert_int_eq (info_of (array).bitmap, ARRAY_BITMAP_NONE);
  ck_assert_str_eq (info_of (array).noted_file, FILE_PATH);
  ck_assert_ptr_null (info_of (array).bitmap_file);
  legs_close (array);
  assert_noted (_i == 0 ? 2 : 1, FILE_PATH);
}
END_TEST

/* Of another array, torn, or on a leg that cannot be read there. */
START_TEST (test_not_a_note)
{
  struct bitmap_note note = { .events = E, .path = FILE_PATH };
  struct array *array;

  bits_make (2, 0, 0);
  bits_store ();
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  memset (note.set_uuid, _i == 0 ? 0x5a : 0xa5, sizeof note.set_uuid);
  write_note (0, &note);
  if (_i == 1)
    leg_put (0, images[0].superblock.super_offset * 512 + 2048 + 512, "x", 1);
  array = legs_activate ();
  ck_assert_int_eq (info_of (array).bitmap, ARRAY_BITMAP_NONE);
  ck_assert_ptr_null (info_of (array).noted_file);
  legs_close (array);
}
END_TEST

/* The file that was given up by its user is never believed again, whatever its
 * header led by.
 */
static void
assert_never_believed (bool clean)
{
  struct array *array;

  legs_options.bitmap = ARRAY_BITMAP_FILE;
  bits_forget_counts ();
  array = bits_open ();
  ck_assert (logged ("bitmap file " FILE_PATH ": stale: its events "));
  ck_assert_uint_eq (info_of (array).chunks_marked, CHUNKS);
  ck_assert_uint_eq (needed (array), clean ? 0 : CHUNKS);
  legs_close (array);
}

static unsigned note_unreadable; /* legs, from the first on */

static enum verdict
fail_note_read (unsigned leg, enum op op, const struct io *io)
{
  return leg < note_unreadable && op == OP_READ_SUPERBLOCK
                 && io->offset != images[0].superblock.super_offset * 512
             ? TAP_FAIL
             : TAP_PASS;
}

/* On one leg; or on all, and then there may have been a file. */
START_TEST (test_note_unreadable)
{
  struct array *array;

  bits_make (2, 0, 0);
  legs_options.daemon_sleep = 3600;
  file.header.events = E + 8;
  bits_store ();
  write_notes (2);
  note_unreadable = 1;
  tap_hook (fail_note_read);
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("its bitmap is in the file " FILE_PATH));

  note_unreadable = 2;
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  legs_kill (array);
  tap_hook (NULL);
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.events, E + 9);
  assert_never_believed (false);
}
END_TEST

/* There was one, and nobody can tell of which file: as if it were ours. */
START_TEST (test_note_damaged)
{
  struct array *array;
  char line[512];
  unsigned lines;

  bits_make (2, 0, 0);
  legs_options.daemon_sleep = 3600;
  file.header.events = E + 8;
  bits_store ();
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  ck_assert_int_eq (legs_try_open (&array), 0);
  lines = logged_lines ();
  array_close (array);

  bits_make (2, 0, 0);
  legs_options.daemon_sleep = 3600;
  file.header.events = E + 8;
  bits_store ();
  write_notes (1);
  /* A word of the checksum, or of the path. */
  leg_put (0, images[0].superblock.super_offset * 512 + 2048 + (_i ? 50 : 20),
           "\xba\xad", 2);
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  array = legs_open ();
  ck_assert_ptr_nonnull (
      logged_line ("leg ", "it is damaged", line, sizeof line));
  ck_assert_ptr_nonnull (strstr (line, leg_path (0)));
  ck_assert_uint_eq (logged_lines (), lines + 1);
  ck_assert_ptr_null (info_of (array).noted_file);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  legs_kill (array);
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.events, E + 9);
  ck_assert_uint_eq (images[1].superblock.events, E + 9);
  assert_never_believed (false);
}
END_TEST

/* Another file, or notes that differ: all legs get the new one. */
START_TEST (test_note_changes)
{
  struct bitmap_note note = { .events = E + 7, .path = "/another" };
  struct array *array;

  bits_make (2, 0, 0);
  bits_store ();
  memset (note.set_uuid, 0xa5, sizeof note.set_uuid);
  write_notes (2);
  if (_i == 0)
    write_note (0, &note);
  write_note (1, &note);
  /* The newer one is what people are told. */
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("its bitmap is in the file /another, as of events 47"));
  legs_options.bitmap = ARRAY_BITMAP_FILE;
  array = legs_open ();
  ck_assert_int_eq (array_activate (array), 0);
  assert_noted (2, FILE_PATH);
  legs_close (array);
}
END_TEST

/* A path that is too long for it is not cut. */
START_TEST (test_note_long)
{
  static char path[BITMAP_NOTE_PATH + 1];
  struct array *array;

  memset (path, 'x', BITMAP_NOTE_PATH - 1 + _i);
  path[0] = '/';
  path[BITMAP_NOTE_PATH - 1 + _i] = '\0';
  bits_make (2, 0, 0);
  bits_store ();
  legs_options.bitmap_file = path;
  array = legs_activate ();
  assert_noted (2, _i == 0 ? path : "");
  legs_close (array);
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged (_i == 0 ? "is in the file /xxxx"
                             : "is in the file (a long path)"));
}
END_TEST

/* A leg that does not take the note has failed. */
static enum verdict
fail_note_write (unsigned leg, enum op op, const struct io *io)
{
  return leg == 1 && op == OP_WRITE_SUPERBLOCK
                 && io->offset != images[1].superblock.super_offset * 512
             ? TAP_FAIL
             : TAP_PASS;
}

START_TEST (test_note_not_written)
{
  struct array *array;

  bits_make (2, 0, 0);
  bits_store ();
  array = bits_open ();
  tap_hook (fail_note_write);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert (leg_in_sync (array, 0) && !leg_in_sync (array, 1));
  bits_load ();
  ck_assert_uint_eq (images[0].superblock.dev_roles[1], ROLE_FAULTY);
  assert_noted (1, FILE_PATH);
  bits_kill (array);
}
END_TEST

/* ---- going on without ---- */

static uint64_t most_apart;

/* No leg is ever two ahead of another one. */
static enum verdict
watch_events (unsigned leg, enum op op, const struct io *io)
{
  static struct image now[2];
  uint64_t a, b;

  (void)leg, (void)io;
  if (op != OP_WRITE_SUPERBLOCK)
    return TAP_PASS;
  for (unsigned i = 0; i < 2; ++i)
    leg_load (i, &now[i]);
  a = now[0].superblock.events;
  b = now[1].superblock.events;
  most_apart = max_u64 (most_apart, a > b ? a - b : b - a);
  return TAP_PASS;
}

START_TEST (test_without)
{
  struct array *array;

  bits_make_version (_i & 1 ? SUPERBLOCK_0_90 : SUPERBLOCK_1_2, 2, 0, 0);
  legs_options.daemon_sleep = 3600;
  file.header.events = E + 8;
  if (_i & 2)
    images_set_dirty ();
  if (_i & 4)
    legs_logical_block[0] = legs_logical_block[1] = 4096;
  bits_store ();
  write_notes (2);
  legs_options.bitmap = ARRAY_BITMAP_NONE;
  array = legs_open ();
  ck_assert (logged ("its bitmap file " FILE_PATH " is given up: whatever is "
                     "written from now on is not in it"));
  assert_noted (2, FILE_PATH);
  most_apart = 0;
  tap_hook (watch_events);
  ck_assert_int_eq (array_activate (array), 0);
  tap_hook (NULL);
  ck_assert_uint_eq (most_apart, 1);
  bits_load ();
  for (unsigned i = 0; i < 2; ++i)
    ck_assert_uint_eq (images[i].superblock.events, E + 9);
  assert_not_noted (2);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  legs_kill (array);
  ck_assert_uint_eq (bits_count (FILE_OP_WRITES | FILE_OP_FLUSH | FILE_OP_READ),
                     0);

  /* Now it is an array without a bitmap, and nobody must be told. */
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  array = legs_activate ();
  wait_for_resync (array);
  legs_close (array);
  assert_never_believed (true);
}
END_TEST

/* Killed at any write of it: asked again, or it is done; and data is written
 * only when it is.
 */
START_TEST (test_without_killed)
{
  for (unsigned kill = 0;; ++kill) {
    struct array *array;
    bool dead, answered;

    bits_make (2, 0, 0);
    legs_options.daemon_sleep = 3600;
    file.header.events = E + 8;
    if (_i == 1)
      images_set_dirty ();
    bits_store ();
    write_notes (2);
    legs_options.bitmap = ARRAY_BITMAP_NONE;
    array = legs_open ();
    bits_die_after (kill);
    answered = array_activate (array) == 0 && block_write (array, 9, 0, 0) == 0;
    dead = bits_died ();
    bits_revive (array);

    if (answered)
      assert_not_noted (2);
    /* Whoever gives it the file now: data may be there only if it is stale.
     */
    legs_options.bitmap = ARRAY_BITMAP_FILE;
    array = legs_open ();
    if (leg_data (0, 0) == 9 || leg_data (1, 0) == 9)
      ck_assert_uint_eq (info_of (array).chunks_marked, CHUNKS);
    legs_close (array);
    /* And who goes on without it does so for good. */
    legs_options.bitmap = ARRAY_BITMAP_NONE;
    array = legs_activate ();
    ck_assert_int_eq (block_write (array, 8, 0, 0), 0);
    legs_kill (array);
    assert_not_noted (2);
    assert_never_believed (false);
    if (!dead)
      break;
    ck_assert_uint_lt (kill, 200);
  }
}
END_TEST

/* One leg, whose note names another file, so that the first update leads by
 * more than a header may.  Killed at any write: the file that is given is
 * still believed.
 */
START_TEST (test_other_file_killed)
{
  for (unsigned kill = 0;; ++kill) {
    struct bitmap_note note = { .events = E, .path = "/another" };
    struct array *array;
    bool dead;

    bits_make (2, 0, 0);
    images[0].superblock.dev_roles[1] = ROLE_FAULTY;
    legs_options.nlegs = 1;
    if (_i == 1)
      images_set_dirty ();
    bits_set (3);
    bits_store ();
    memset (note.set_uuid, 0xa5, sizeof note.set_uuid);
    write_note (0, &note);
    array = bits_open ();
    bits_die_after (kill);
    if (array_activate (array) == 0)
      (void)block_write (array, 1, 7 * LEGS_CHUNK, 0);
    dead = bits_died ();
    bits_revive (array);

    array = legs_open ();
    ck_assert_msg (!logged ("stale"), "after %u writes it is stale", kill);
    ck_assert (bitmap_range_marked (array->bitmap, 3 * LEGS_CHUNK, 1));
    ck_assert (bitmap_range_marked (array->bitmap, 7 * LEGS_CHUNK, 1)
               || leg_data (0, 7 * LEGS_CHUNK) == 0);
    ck_assert_uint_le (info_of (array).chunks_marked, 2);
    legs_close (array);
    if (!dead)
      break;
    ck_assert_uint_lt (kill, 200);
  }
  legs_load ();
  ck_assert_uint_ge (images[0].superblock.events, E + 9);
}
END_TEST

/* An array of whose file nobody knows: a kernel's header leads by one at most,
 * and the first update by two.
 */
START_TEST (test_unknown_file)
{
  bool dirty = _i & 1;
  struct array *array;

  bits_make_version (_i & 2 ? SUPERBLOCK_0_90 : SUPERBLOCK_1_2, 2, 0, 0);
  legs_options.daemon_sleep = 3600;
  file.header.events = E + 1;
  if (dirty)
    images_set_dirty ();
  bits_store ();
  legs_options.bitmap = ARRAY_BITMAP_AUTO;
  array = legs_activate ();
  legs_load ();
  /* A start without a write costs nothing. */
  ck_assert_uint_eq (images[0].superblock.events, dirty ? E + 2 : E);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.events, E + 2);
  ck_assert_uint_eq (images[1].superblock.events, E + 2);
  ck_assert_int_eq (block_write (array, 1, LEGS_CHUNK, 0), 0);
  legs_kill (array);
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.events, E + 2);
  assert_not_noted (2);
  assert_never_believed (false);
}
END_TEST

static Suite *
suite (void)
{
  Suite *s = suite_create ("bitmap note");
  TCase *tc = tcase_create ("bytes");

  tcase_add_test (tc, test_encode);
  tcase_add_loop_test (tc, test_decode, 0, 4);
  tcase_add_test (tc, test_each_bit);
  tcase_add_test (tc, test_order_of_words);
  tcase_add_loop_test (tc, test_torn, 0, 3);
  tcase_add_test (tc, test_random);
  tcase_add_test (tc, test_no_end);
  tcase_add_test (tc, test_control);
  tcase_add_test (tc, test_where);
  suite_add_tcase (s, tc);

  tc = tcase_create ("legs");
  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_note, 0, 8);
  tcase_add_test (tc, test_note_read_only);
  tcase_add_loop_test (tc, test_forgotten, 0, 2);
  tcase_add_loop_test (tc, test_not_a_note, 0, 2);
  tcase_add_test (tc, test_note_unreadable);
  tcase_add_loop_test (tc, test_note_damaged, 0, 2);
  tcase_add_loop_test (tc, test_note_changes, 0, 2);
  tcase_add_loop_test (tc, test_other_file_killed, 0, 2);
  tcase_add_loop_test (tc, test_note_long, 0, 2);
  tcase_add_test (tc, test_note_not_written);
  tcase_add_loop_test (tc, test_without, 0, 8);
  tcase_add_loop_test (tc, test_without_killed, 0, 2);
  tcase_add_loop_test (tc, test_unknown_file, 0, 4);
  suite_add_tcase (s, tc);
  return s;
}

int
main (void)
{
  return legs_run (suite ());
}
