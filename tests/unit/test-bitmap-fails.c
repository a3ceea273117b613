/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A bitmap file that fails: whatever fails, wherever, no write is answered
 * before the superblocks of all legs are beyond any events that the file may
 * carry; nothing is written to it afterwards but that it is stale; and then
 * the array goes on without it, or stops, as the user has said.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bitmap-file.h"

#define E LEGS_EVENTS

/* Of an operation that is to pass. */
#define SHORT_TIMEOUT (RT_SECOND * 3 / 10)

/* Two pages of bits, which do not both go out with the header. */
#define SIZE   (24 * MiB)
#define CHUNK  512
#define CHUNKS (SIZE / CHUNK)
#define NEAR   (1 * MiB)  /* chunks in page 0, as is all up to 15 MiB */
#define FAR    (18 * MiB) /* and in page 1 */

/* ---- what was seen of the file ---- */

static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t highest;     /* events of any header that was submitted */
static bool failed;          /* the first failure was given out */
static unsigned stale_after; /* headers after it that say STALE, */
static unsigned other_after; /* and whatever else was written */
static unsigned data_writes; /* to legs */

/* What fails, and how. */
static unsigned fail_ops;
static enum verdict fail_how;
static unsigned let_pass; /* so many of them first */
static bool fail_once;    /* what comes after passes */

static void
look_at (enum file_op op, const struct io *io)
{
  struct bitmap_superblock header;
  struct format_error error;
  bool intact;

  if (op == FILE_OP_HEADER) {
    ck_assert_int_eq (
        bitmap_superblock_decode (io->data, &header, &intact, &error), 0);
    highest = max_u64 (highest, header.events);
    if (failed && (header.state & BITMAP_STALE) && io->length <= 4096)
      stale_after++;
    else
      other_after += failed;
  }
  if (op == FILE_OP_PAGES)
    other_after += failed;
}

static enum verdict
watch_file (enum file_op op, const struct io *io)
{
  enum verdict verdict = TAP_PASS;

  pthread_mutex_lock (&seen_lock);
  look_at (op, io);
  if ((op & fail_ops) && !(failed && fail_once)) {
    if (let_pass > 0)
      let_pass--;
    else {
      verdict = fail_how;
      failed = true;
    }
  }
  pthread_mutex_unlock (&seen_lock);
  return verdict;
}

static enum verdict
watch_legs (unsigned leg, enum op op, const struct io *io)
{
  (void)leg, (void)io;
  pthread_mutex_lock (&seen_lock);
  data_writes += op == OP_WRITE_DATA;
  pthread_mutex_unlock (&seen_lock);
  return TAP_PASS;
}

/* ---- kinds and places ---- */

static const struct kind {
  const char *name;
  enum array_bitmap_io io;
  unsigned ops; /* of the file, instead of the place's; 0: those */
  enum verdict how;
  bool once;      /* the STALE header can be written */
  bool abandoned; /* ... must not be written at all */
} kinds[] = {
  { "write", ARRAY_BITMAP_DIRECT, 0, TAP_FAIL, false, false },
  { "write, once", ARRAY_BITMAP_DIRECT, 0, TAP_FAIL, true, false },
  { "torn", ARRAY_BITMAP_DIRECT, 0, TAP_TEAR, true, false },
  { "extent", ARRAY_BITMAP_EXTENT, 0, TAP_FAIL, true, false },
  { "pagecache", ARRAY_BITMAP_PAGECACHE, 0, TAP_FAIL, true, false },
  { "flush", ARRAY_BITMAP_PAGECACHE, FILE_OP_FLUSH, TAP_FAIL, true, false },
  { "time-out", ARRAY_BITMAP_DIRECT, 0, TAP_HOLD, true, true },
  { "flush time-out", ARRAY_BITMAP_PAGECACHE, FILE_OP_FLUSH, TAP_HOLD, true,
    true },
};
#define KINDS (sizeof kinds / sizeof kinds[0])

/* The array is active, two chunks are marked, and then it fails. */
static int
at_bits (struct array *array)
{
  return block_write (array, 3, FAR + 2 * MiB, 0);
}

static int
at_header_and_bits (struct array *array)
{
  return block_write (array, 3, NEAR + 2 * MiB, 0);
}

static int
at_clear (struct array *array)
{
  (void)clear_pass (array);
  return block_write (array, 3, FAR + 2 * MiB, ARRAY_FUA);
}

/* The array is clean, and the header goes before the superblocks. */
static int
at_update (struct array *array)
{
  return block_write (array, 3, FAR + 2 * MiB, 0);
}

static const struct place {
  const char *name;
  bool clean; /* no write before */
  unsigned ops;
  int (*act) (struct array *array);
} places[] = {
  { "bits", false, FILE_OP_PAGES, at_bits },
  { "bits in page 0", false, FILE_OP_HEADER, at_header_and_bits },
  { "events_cleared", false, FILE_OP_HEADER, at_clear },
  { "clearing", false, FILE_OP_PAGES, at_clear },
  { "update", true, FILE_OP_HEADER, at_update },
};
#define PLACES (sizeof places / sizeof places[0])

static const struct kind *kind;
static const struct place *place_;

static void
reset_seen (void)
{
  highest = file.header.events;
  failed = false;
  stale_after = other_after = data_writes = 0;
  fail_ops = 0;
  let_pass = 0;
}

static void
fail_from_now (void)
{
  pthread_mutex_lock (&seen_lock);
  fail_how = kind->how;
  fail_once = kind->once;
  fail_ops = kind->ops ? kind->ops : place_->ops;
  data_writes = 0;
  pthread_mutex_unlock (&seen_lock);
}

static void
make_file_array (void)
{
  bits_make (2, SIZE, CHUNK);
  /* No larger than a chunk, wherever the tests run. */
  legs_logical_block[0] = legs_logical_block[1] = 512;
}

static struct array *
prepare (int i, bool stop)
{
  struct array *array;

  kind = &kinds[(unsigned)i % KINDS];
  place_ = &places[(unsigned)i / KINDS];
  make_file_array ();
  /* It may lead, since an update was interrupted. */
  file.header.events = E + 4 * ((unsigned)i % 3);
  legs_options.bitmap_io = kind->io;
  legs_options.stop_on_bitmap_error = stop;
  if (kind->how == TAP_HOLD)
    legs_options.leg_timeout = SHORT_TIMEOUT;
  bits_store ();
  reset_seen ();
  bits_hook (watch_file);
  tap_hook (watch_legs);
  array = bits_open ();
  ck_assert_int_eq (array_activate (array), 0);
  if (!place_->clean) {
    ck_assert_int_eq (block_write (array, 1, NEAR, 0), 0);
    ck_assert_int_eq (block_write (array, 2, FAR, 0), 0);
  }
  return array;
}

/* The superblocks say that the file is behind, for ever. */
static void
assert_on_record (void)
{
  static struct image now;

  pthread_mutex_lock (&seen_lock);
  ck_assert_msg (failed, "%s, %s: nothing failed", place_->name, kind->name);
  pthread_mutex_unlock (&seen_lock);
  for (unsigned i = 0; i < 2; ++i) {
    leg_load (i, &now);
    ck_assert_msg (now.superblock.events > highest,
                   "%s, %s: leg %u: events %ju, and the file may have %ju",
                   place_->name, kind->name, i,
                   (uintmax_t)now.superblock.events, (uintmax_t)highest);
  }
}

static void
assert_left_alone (void)
{
  ck_assert_uint_eq (other_after, 0);
  ck_assert_uint_le (stale_after, 1);
  /* It is said if it can be; after what may still happen it cannot. */
  ck_assert_uint_eq (stale_after, kind->abandoned ? 0 : 1);
}

/* What the next start with the file makes of it. */
static void
assert_stale (bool clean)
{
  struct array *array;

  bits_hook (NULL);
  tap_hook (NULL);
  bits_forget_counts ();
  legs_options.stop_on_bitmap_error = false;
  array = bits_open ();
  ck_assert_uint_eq (info_of (array).chunks_marked, CHUNKS);
  ck_assert_uint_eq (needed (array), clean ? 0 : CHUNKS);
  ck_assert (logged ("full resync, since it is not clean and its bitmap is "
                     "stale")
             == !clean);
  legs_close (array);
}

/* ---- continue ---- */

START_TEST (test_continue)
{
  struct array *array = prepare (_i, false);
  char line[512];

  fail_from_now ();
  ck_assert_int_eq (place_->act (array), 0);
  assert_on_record ();
  ck_assert (info_of (array).bitmap_failed);
  ck_assert_uint_eq (in_sync (array), 2);
  ck_assert_ptr_nonnull (logged_line ("bitmap file " FILE_PATH ": ",
                                      "; it is given up, array ", line,
                                      sizeof line));
  ck_assert (strstr (line, "goes on without a bitmap") != NULL);

  /* On and on. */
  for (unsigned i = 0; i < 4; ++i)
    ck_assert_int_eq (block_write (array, 4, i * 5 * MiB, 0), 0);
  ck_assert_int_eq (array_zero (array, BLOCK, NEAR, 0), 0);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert_int_eq (clear_pass (array), 0);
  ck_assert_int_eq (block_write (array, 5, NEAR, ARRAY_FUA), 0);
  assert_on_record ();
  assert_left_alone ();

  /* A clean stop is possible; the file stays behind whatever still happens. */
  legs_close (array);
  bits_release ();
  assert_left_alone ();
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.resync_offset, RESYNC_CLEAN);
  ck_assert_uint_eq (images[1].superblock.resync_offset, RESYNC_CLEAN);
  ck_assert_uint_eq (leg_data (1, NEAR), 5);
  assert_stale (true);
}
END_TEST

/* Killed after it has gone on: all of the array is resynced. */
START_TEST (test_continue_killed)
{
  struct array *array = prepare (_i, false);

  fail_from_now ();
  ck_assert_int_eq (place_->act (array), 0);
  ck_assert_int_eq (block_write (array, 5, NEAR, 0), 0);
  assert_on_record ();
  bits_kill (array);
  bits_release ();
  assert_stale (false);
}
END_TEST

/* Killed at any write of the record: what was written without a bit in the file
 * is resynced, by all of the array.
 */
START_TEST (test_record_killed)
{
  const uint64_t at = 5 * LEGS_CHUNK;

  for (unsigned kill = 0;; ++kill) {
    bool written, dead;
    struct array *array;

    bits_make (2, 0, 0);
    legs_options.bitmap_io =
        _i == 0 ? ARRAY_BITMAP_DIRECT : ARRAY_BITMAP_PAGECACHE;
    bits_store ();
    array = bits_open ();
    ck_assert_int_eq (array_activate (array), 0);
    ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
    bits_die_after (kill);
    bits_hook (NULL);
    bits_fail (FILE_OP_WRITES | FILE_OP_FLUSH);
    written = block_write (array, 2, at, 0) == 0;
    dead = bits_died ();
    bits_revive (array);
    written |= leg_data (0, at) == 2 || leg_data (1, at) == 2;
    array = legs_open ();
    if (written)
      ck_assert_uint_eq (needed (array), LEGS_SIZE / LEGS_CHUNK);
    ck_assert_uint_ge (needed (array), 1);
    legs_close (array);
    if (!dead)
      break;
    ck_assert_uint_lt (kill, 100);
  }
}
END_TEST

/* ---- stop ---- */

START_TEST (test_stop)
{
  struct array *array = prepare (_i, true);
  char line[512];
  uint8_t byte;
  unsigned writes;

  fail_from_now ();
  ck_assert_int_eq (place_->act (array), -EIO);
  ck_assert_ptr_nonnull (logged_line ("bitmap file " FILE_PATH ": ",
                                      "; it is given up, array ", line,
                                      sizeof line));
  ck_assert (strstr (line, "is no longer written") != NULL);
  ck_assert (info_of (array).bitmap_failed);
  writes = data_writes;
  /* Marked or not, and whatever the request. */
  ck_assert_int_eq (block_write (array, 4, NEAR, 0), -EIO);
  ck_assert_int_eq (block_write (array, 4, FAR, ARRAY_FUA), -EIO);
  ck_assert_int_eq (block_write (array, 4, 5 * MiB, 0), -EIO);
  ck_assert_int_eq (array_write (array, "abc", 3, 100, 0), -EIO);
  ck_assert_int_eq (array_zero (array, BLOCK, NEAR, 0), -EIO);
  ck_assert_int_eq (array_zero (array, 100, NEAR, ARRAY_MAY_TRIM), -EIO);
  ck_assert_uint_eq (data_writes, writes);
  ck_assert_int_eq (block_read (array, &byte, NEAR), 0);
  ck_assert_uint_eq (byte, place_->clean ? 0 : 1);
  ck_assert_int_eq (array_flush (array), 0);
  ck_assert_uint_eq (in_sync (array), 2);
  assert_on_record ();
  assert_left_alone ();
  legs_close (array);
  bits_release ();
  assert_left_alone ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_eq (leg_data (i, FAR + 2 * MiB), 0);
    ck_assert_uint_eq (leg_data (i, NEAR), place_->clean ? 0 : 1);
  }
  /* Nothing was in flight: the legs are equal, and can say so. */
  legs_load ();
  ck_assert_uint_eq (images[0].superblock.resync_offset, RESYNC_CLEAN);
  ck_assert (!logged ("a leg fails"));
  assert_stale (true);
}
END_TEST

/* ---- the first writes ---- */

/* Asked before anything is written: refused, whatever the user has said, and
 * well when it is asked again.
 */
START_TEST (test_not_prepared)
{
  struct array *array;
  uint64_t legs, bits;

  bits_make (2, 0, 0);
  legs_options.stop_on_bitmap_error = _i & 1;
  legs_options.bitmap_io = ARRAY_BITMAP_PAGECACHE;
  images_set_dirty ();
  bits_set (3);
  bits_store ();
  legs = legs_hash ();
  bits = bits_hash ();
  array = bits_open ();
  bits_fail (_i & 2 ? FILE_OP_PREPARE : FILE_OP_FLUSH);
  ck_assert_int_eq (array_activate (array), -EIO);
  ck_assert (logged ("cannot be made writable"));
  ck_assert (_i & 2 || logged ("bitmap file " FILE_PATH ": flushing: "));
  bits_fail (0);
  ck_assert_uint_eq (legs_hash (), legs);
  ck_assert_uint_eq (bits_hash (), bits);
  ck_assert (!info_of (array).bitmap_failed);
  /* A flush that has failed is not believed a second time. */
  ck_assert_int_eq (array_activate (array), _i & 2 ? 0 : -EIO);
  bits_kill (array);
}
END_TEST

#define CACHED (FAR / CHUNK) /* in page 1, which no write of NEAR writes */

static bool bit_too_late;

/* When the first data goes out, is the bit durable? */
static enum verdict
watch_bit (unsigned leg, enum op op, const struct io *io)
{
  (void)leg, (void)io;
  pthread_mutex_lock (&seen_lock);
  if (op == OP_WRITE_DATA && data_writes++ == 0) {
    bits_look ();
    bit_too_late = !bits_get (CACHED);
  }
  pthread_mutex_unlock (&seen_lock);
  return TAP_PASS;
}

/* What was read was only in a cache, and went with a flush that failed: when
 * the next one passes, nobody may take that for an answer about these bits.
 */
START_TEST (test_flush_fails_once)
{
  struct array *array;
  uint8_t cached;

  make_file_array ();
  legs_options.bitmap_io = _i == 0 ? ARRAY_BITMAP_DIRECT : ARRAY_BITMAP_EXTENT;
  images_set_dirty ();
  bits_store ();
  bits_set (CACHED);
  cached = file.bits[bitmap_bit_byte (CACHED)];
  bits_poke_cache (bitmap_bit_byte (CACHED), &cached, 1);
  array = bits_open ();
  ck_assert_uint_eq (needed (array), 1);
  bits_fail (FILE_OP_FLUSH);
  ck_assert_int_eq (array_activate (array), -EIO);
  bits_look ();
  ck_assert (!bits_get (CACHED));
  bits_fail (0);
  data_writes = 0;
  bit_too_late = false;
  tap_hook (watch_bit);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, NEAR, 0), 0);
  ck_assert_uint_gt (data_writes, 0);
  ck_assert (!bit_too_late);
  bits_kill (array);
  tap_hook (NULL);

  /* And it is believed. */
  array = legs_open ();
  ck_assert_uint_eq (info_of (array).chunks_marked, 1 + BLOCK / CHUNK);
  ck_assert_uint_eq (needed (array), 1 + BLOCK / CHUNK);
  legs_close (array);
}
END_TEST

/* A flush that was given up may fail later, and take with it what was written
 * meanwhile: until it is back nothing is.
 */
START_TEST (test_flush_comes_late)
{
  struct array *array;

  make_file_array ();
  legs_options.bitmap_io = _i == 0 ? ARRAY_BITMAP_DIRECT : ARRAY_BITMAP_EXTENT;
  legs_options.leg_timeout = SHORT_TIMEOUT;
  images_set_dirty ();
  bits_store ();
  array = bits_open ();
  bits_hold (FILE_OP_FLUSH);
  ck_assert_int_lt (array_activate (array), 0);
  bits_hold (0);
  bits_forget_counts ();
  ck_assert_int_eq (array_activate (array), -EIO);
  ck_assert_uint_eq (bits_count (FILE_OP_WRITES | FILE_OP_FLUSH), 0);
  bits_release ();
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, NEAR, 0), 0);
  legs_close (array);
}
END_TEST

/* The bits of a stale file, when it is made good. */
START_TEST (test_first_writes)
{
  const bool stop = _i & 1;
  struct array *array;
  uint64_t legs;
  uint8_t byte;

  kind = &kinds[_i & 2 ? 0 : 1];
  place_ = &places[1];
  make_file_array ();
  legs_options.stop_on_bitmap_error = stop;
  file.header.events = E - 1;
  bits_store ();
  legs = legs_hash ();
  reset_seen ();
  bits_hook (watch_file);
  array = bits_open ();
  let_pass = _i & 4 ? 1 : 0;
  fail_from_now ();
  ck_assert_int_eq (array_activate (array), stop ? -EIO : 0);
  ck_assert (legs_hash () != legs);
  assert_on_record ();
  ck_assert_int_eq (block_write (array, 1, 0, 0), stop ? -EROFS : 0);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  if (stop)
    ck_assert_int_eq (array_activate (array), -EIO);
  assert_on_record ();
  ck_assert_uint_eq (other_after, 0);
  legs_close (array);
  assert_stale (true);
}
END_TEST

/* Somebody has taken it away: the clear thread asks now and then. */
START_TEST (test_no_longer_ours)
{
  const bool stop = _i == 1;
  struct array *array;

  kind = &kinds[0];
  place_ = &places[0];
  make_file_array ();
  legs_options.stop_on_bitmap_error = stop;
  bits_store ();
  reset_seen ();
  bits_hook (watch_file);
  array = bits_open ();
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, 0), 0);
  fail_how = TAP_FAIL;
  fail_ops = FILE_OP_CHECK;
  fail_once = false;
  rt_mutex_lock (&array->lock);
  array_check_file (array);
  rt_mutex_unlock (&array->lock);
  ck_assert (logged ("it is no longer ours alone"));
  /* A chunk that is marked, in a file that nobody may rely on. */
  ck_assert_int_eq (block_write (array, 1, 0, 0), stop ? -EIO : 0);
  if (stop)
    ck_assert_int_eq (array_flush (array), 0);
  assert_on_record ();
  ck_assert_uint_eq (stale_after + other_after, 0);
  legs_close (array);
  ck_assert_uint_eq (stale_after + other_after, 0);
  bits_hook (NULL);
  assert_stale (true);
}
END_TEST

/* ---- and a leg ---- */

static unsigned broken_legs; /* mask */

/* Legs of the mask break with the file. */
static enum verdict
break_legs (unsigned leg, enum op op, const struct io *io)
{
  enum verdict verdict = TAP_PASS;

  (void)io;
  pthread_mutex_lock (&seen_lock);
  if (failed && (broken_legs >> leg & 1) && (op & (OP_WRITES | OP_FLUSH)))
    verdict = TAP_FAIL;
  pthread_mutex_unlock (&seen_lock);
  return verdict;
}

/* One leg takes no superblock when the loss of the file is recorded. */
START_TEST (test_leg_too)
{
  const unsigned leg = (unsigned)_i & 1, other = !leg;
  const bool stop = _i & 2;
  struct array *array = prepare ((int)((unsigned)_i / 4 * KINDS) + 1, stop);

  broken_legs = 1u << leg;
  tap_hook (break_legs);
  fail_from_now ();
  ck_assert_int_eq (place_->act (array), stop ? -EIO : 0);
  ck_assert (!leg_in_sync (array, leg));
  ck_assert (leg_in_sync (array, other));
  legs_load ();
  ck_assert_uint_eq (images[other].superblock.dev_roles[leg], ROLE_FAULTY);
  ck_assert_uint_ge (images[other].superblock.events,
                     images[leg].superblock.events + 2);
  ck_assert_uint_gt (images[other].superblock.events, highest);
  ck_assert_int_eq (block_write (array, 4, NEAR, 0), stop ? -EIO : 0);
  ck_assert_uint_eq (other_after, 0);
  bits_kill (array);
  tap_hook (NULL);
  bits_hook (NULL);
  array = legs_open ();
  ck_assert (!leg_in_sync (array, leg));
  ck_assert_uint_eq (info_of (array).chunks_marked, CHUNKS);
  legs_close (array);
}
END_TEST

/* No leg takes one: nobody is told that anything is well, until one does. */
START_TEST (test_all_legs_too)
{
  struct array *array = prepare ((int)((unsigned)_i * KINDS) + 1, false);

  broken_legs = 3;
  tap_hook (break_legs);
  fail_from_now ();
  ck_assert_int_eq (place_->act (array), -EIO);
  ck_assert_uint_eq (in_sync (array), 1); /* the last one must stay */
  ck_assert_int_eq (block_write (array, 4, NEAR, 0), -EIO);
  ck_assert_int_eq (array_flush (array), -EIO);
  broken_legs = 0;
  (void)block_write (array, 4, NEAR, 0);
  ck_assert_int_eq (block_write (array, 4, NEAR, 0), 0);
  legs_load ();
  ck_assert_uint_gt (
      max_u64 (images[0].superblock.events, images[1].superblock.events),
      highest);
  ck_assert_uint_eq (other_after, 0);
  legs_close (array);
}
END_TEST

/* A lost leg of a degraded array: the record says both, at once or later. */
START_TEST (test_degraded_then_file)
{
  struct array *array;

  array = prepare (1, false);
  tap_fail (1, OP_WRITES | OP_FLUSH);
  ck_assert_int_eq (block_write (array, 4, NEAR, 0), 0);
  ck_assert (!leg_in_sync (array, 1));
  fail_from_now ();
  ck_assert_int_eq (block_write (array, 4, FAR + 3 * MiB, 0), 0);
  legs_load ();
  ck_assert_uint_gt (images[0].superblock.events, highest);
  ck_assert_uint_ge (images[0].superblock.events,
                     images[1].superblock.events + 2);
  assert_left_alone ();
  legs_close (array);
}
END_TEST

static Suite *
suite (void)
{
  const int cells = KINDS * PLACES;
  Suite *s = suite_create ("bitmap file fails");
  TCase *tc = tcase_create ("fails"), *once = tcase_create ("once");

  tcase_set_timeout (tc, 300);
  tcase_add_loop_test (tc, test_continue, 0, cells);
  tcase_add_loop_test (tc, test_continue_killed, 0, cells);
  tcase_add_loop_test (tc, test_record_killed, 0, 2);
  tcase_add_loop_test (tc, test_stop, 0, cells);
  tcase_add_loop_test (tc, test_not_prepared, 0, 4);
  tcase_add_loop_test (tc, test_first_writes, 0, 8);
  tcase_add_loop_test (tc, test_no_longer_ours, 0, 2);
  tcase_add_loop_test (tc, test_leg_too, 0, 4 * (int)PLACES);
  tcase_add_loop_test (tc, test_all_legs_too, 0, (int)PLACES);
  tcase_add_test (tc, test_degraded_then_file);
  suite_add_tcase (s, tc);
  tcase_set_timeout (once, 300);
  tcase_add_loop_test (once, test_flush_fails_once, 0, 2);
  tcase_add_loop_test (once, test_flush_comes_late, 0, 2);
  suite_add_tcase (s, once);
  return s;
}

int
main (void)
{
  return legs_run (suite ());
}
