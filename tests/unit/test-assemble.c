/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Assembly: which legs are believed, which are not, and what is refused.
 * legs_try_open sees to it that array_open never writes.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "legs.h"

#define E LEGS_EVENTS

static void
set_events (unsigned leg, uint64_t events)
{
  leg_set_events (leg, events);
}

static void
call_faulty (unsigned leg, unsigned other)
{
  images[leg].superblock.dev_roles[other] = ROLE_FAULTY;
}

/* ---- pairs ---- */

START_TEST (test_pair)
{
  struct array_info info;
  struct array *array;

  legs_make (2, 0, 0);
  array = assert_opens (3);
  array_get_info (array, &info);
  ck_assert_uint_eq (info.size, LEGS_SIZE);
  ck_assert_uint_eq (info.raid_disks, 2);
  ck_assert_uint_eq (info.in_sync, 2);
  ck_assert_uint_eq (info.chunksize, LEGS_CHUNK);
  ck_assert_uint_eq (info.chunks, LEGS_SIZE / LEGS_CHUNK);
  ck_assert_uint_eq (info.chunks_marked, 0);
  ck_assert_uint_eq (info.chunks_needed, 0);
  ck_assert_str_eq (info.name, "legs");
  array_close (array);

  /* The order in which they are given does not matter. */
  legs_options.legs[0] = leg_path (1);
  legs_options.legs[1] = leg_path (0);
  array = assert_opens (3);
  ck_assert_uint_eq (array->legs[0].slot, 1);
  ck_assert_uint_eq (array->legs[1].slot, 0);
  array_close (array);
}
END_TEST

/* One generation behind is in sync, whichever it is; the freshest tells
 * whether the array is clean.
 */
START_TEST (test_margin_1)
{
  const unsigned fresh = (unsigned)_i & 1, old = !fresh;
  const bool dirty = _i & 2;
  struct array *array;

  legs_make (2, 0, 0);
  set_events (fresh, E + 1);
  images[dirty ? fresh : old].superblock.resync_offset = 0;
  image_set_bit (&images[fresh], 5);
  image_set_bit (&images[fresh], 7);
  /* Its bitmap is stale by its events: not believed. */
  image_set_bit (&images[old], 9);
  array = assert_opens (3);
  ck_assert_uint_eq (array->events, E + 1);
  ck_assert_uint_eq (needed (array), dirty ? 2 : 0);
  ck_assert_uint_eq (bitmap_marked (array->bitmap), 2);
  array_close (array);
}
END_TEST

/* The kernel's own order: the bitmap's header first.  Killed in between, the
 * laggard's bits count too.
 */
START_TEST (test_margin_1_bitmap_fresh)
{
  struct array *array;

  legs_make (2, 0, 0);
  set_events (0, E + 1);
  images[0].superblock.resync_offset = 0;
  images[1].bitmap.events = E + 1;
  image_set_bit (&images[0], 5);
  image_set_bit (&images[1], 9);
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), 2);
  array_close (array);
}
END_TEST

/* Two generations behind is out. */
START_TEST (test_margin_2)
{
  const unsigned fresh = (unsigned)_i, old = !fresh;
  struct array *array;

  legs_make (2, 0, 0);
  set_events (fresh, E + 2);
  image_set_bit (&images[old], 9);
  assert_refused ("loss is not on record");
  ck_assert (logged ("stale: events 40 < 42"));
  legs_options.degraded = ARRAY_DEGRADED_REFUSE;
  assert_refused ("has no leg that can be used");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  array = assert_opens (1u << fresh);
  ck_assert_uint_eq (bitmap_marked (array->bitmap), 0);
  array_close (array);
}
END_TEST

/* The fresher calls the other faulty: within the margin, and still out.  The
 * loss is on record.
 */
START_TEST (test_called_faulty)
{
  const unsigned fresh = (unsigned)_i, old = !fresh;

  legs_make (2, 0, 0);
  set_events (fresh, E + 1);
  call_faulty (fresh, old);
  assert_opens_and_close (1u << fresh);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (1u << fresh);
  legs_options.degraded = ARRAY_DEGRADED_REFUSE;
  assert_refused ("has no leg that can be used");
}
END_TEST

/* Equal events, and one calls the other faulty: it is demoted, wherever it
 * stands.  The kernel would take both.
 */
START_TEST (test_equal_called_faulty)
{
  const unsigned good = (unsigned)_i, bad = !good;

  legs_make (2, 0, 0);
  call_faulty (good, bad);
  assert_opens_and_close (1u << good);
}
END_TEST

START_TEST (test_split_brain)
{
  legs_make (2, 0, 0);
  call_faulty (0, 1);
  call_faulty (1, 0);
  /* By however much one leads, and whatever the user allows. */
  set_events (1, E + (unsigned)_i);
  assert_refused ("split brain");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("split brain");
  /* The way out that the message names. */
  legs_options.nlegs = 1;
  assert_opens_and_close (1);
  legs_options.legs[0] = leg_path (1);
  assert_opens_and_close (1);
}
END_TEST

/* The older one calls the newer one faulty. */
START_TEST (test_split_brain_older)
{
  legs_make (2, 0, 0);
  call_faulty (0, 1);
  set_events (1, E + 1 + (unsigned)_i);
  assert_refused ("split brain");
}
END_TEST

/* ---- other roles ---- */

START_TEST (test_recovering)
{
  struct superblock *s;

  legs_make (2, 0, 0);
  s = &images[1].superblock;
  s->feature_map |= FEATURE_RECOVERY_OFFSET;
  if (_i == 1)
    s->feature_map |= FEATURE_RECOVERY_BITMAP;
  s->recovery_offset = 0;
  /* It is there, and was not in sync before: nothing to be asked. */
  assert_opens_and_close (1);
  ck_assert (logged ("its recovery had not finished"));
  legs_options.degraded = ARRAY_DEGRADED_REFUSE;
  assert_refused ("slot 1 has no leg that can be used");
  legs_options.degraded = ARRAY_DEGRADED_AUTO;
  /* It is not the freshest, by whatever it leads. */
  set_events (1, E + 1);
  assert_opens_and_close (1);
  /* Nor is it enough. */
  legs_options.legs[0] = leg_path (1);
  legs_options.nlegs = 1;
  assert_refused ("none of the legs given");
}
END_TEST

START_TEST (test_spare)
{
  legs_make (2, 0, 0);
  images[0].superblock.dev_roles[1] = ROLE_SPARE;
  images[1].superblock.dev_roles[1] = ROLE_SPARE;
  set_events (1, E + (unsigned)_i);
  assert_opens_and_close (1);
  ck_assert (logged (_i < 2 ? "not used: a spare" : "not used"));
}
END_TEST

START_TEST (test_no_superblock)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  ck_assert_int_eq (truncate (leg_path (1), _i == 0 ? 0 : 4096), 0);
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  ck_assert_int_eq (legs_try_open (&array), 0);
  ck_assert (!leg_in_sync (array, 1));
  array_close (array);
}
END_TEST

START_TEST (test_bad_checksum)
{
  struct array *array;
  uint8_t byte = 1;
  int fd;

  legs_make (2, 0, 0);
  legs_store ();
  fd = open (leg_path (0), O_WRONLY);
  ck_assert_int_eq (pwrite (fd, &byte, 1, 4096 + 100), 1);
  close (fd);
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  ck_assert (logged ("field sb_csum"));
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  ck_assert_int_eq (legs_try_open (&array), 0);
  ck_assert (!leg_in_sync (array, 0) && leg_in_sync (array, 1));
  array_close (array);
}
END_TEST

START_TEST (test_superblock_unreadable)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  tap_fail (0, OP_READ_SUPERBLOCK);
  ck_assert_int_eq (legs_try_open (&array), -EINVAL);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  ck_assert_int_eq (legs_try_open (&array), 0);
  ck_assert (!leg_in_sync (array, 0) && leg_in_sync (array, 1));
  array_close (array);
}
END_TEST

/* Counting up must not end where what we have written could not be read. */
START_TEST (test_events_limit)
{
  const unsigned old = (unsigned)_i;
  struct array *array;

  legs_make (2, 0, 0);
  set_events (old, EVENTS_MAX);
  set_events (!old, EVENTS_MAX);
  array = assert_opens (3);
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  legs_kill (array);
  /* What we have counted is still decoded, and has room. */
  legs_load ();
  ck_assert_uint_gt (images[0].superblock.events, EVENTS_MAX);
  ck_assert_uint_lt (images[0].superblock.events, INT64_MAX / 2);
  legs_make (2, 0, 0);
  set_events (!old, EVENTS_MAX);
  set_events (old, EVENTS_MAX + 1);
  assert_refused ("field events: found 4611684918915760129");
  ck_assert (logged (leg_path (old)));
  /* As any leg that cannot be understood: it is not used. */
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (1u << !old);
}
END_TEST

/* Equal events, and tables that differ: the lowest slot decides, in whatever
 * order the legs are given.
 */
START_TEST (test_equal_other_table)
{
  const unsigned first = (unsigned)_i & 1;
  const bool knows = _i & 2;
  struct array *array;

  legs_make (2, 0, 0);
  images[knows].superblock.dev_roles[!knows] = ROLE_SPARE;
  legs_store ();
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  legs_options.legs[0] = leg_path (first);
  legs_options.legs[1] = leg_path (!first);
  array = legs_open ();
  ck_assert_uint_eq (in_sync (array), knows ? 2 : 1);
  ck_assert (leg_in_sync (array, first));
  array_close (array);
}
END_TEST

/* ---- what must not be mixed ---- */

START_TEST (test_same_leg)
{
  struct array *array;

  legs_make (2, 0, 0);
  legs_store ();
  legs_options.legs[1] = leg_path (0);
  ck_assert_int_eq (legs_try_open (&array), -EBUSY);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  ck_assert_int_eq (legs_try_open (&array), -EBUSY);
}
END_TEST

START_TEST (test_copy_of_leg)
{
  legs_make (2, 0, 0);
  images[1] = images[0];
  assert_refused ("field dev_number");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("one is a copy of the other");
}
END_TEST

START_TEST (test_other_array)
{
  legs_make (2, 0, 0);
  images[1].superblock.set_uuid[_i] ^= 1;
  memcpy (images[1].bitmap.uuid, images[1].superblock.set_uuid, 16);
  assert_refused ("field set_uuid");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("they belong to different arrays");
}
END_TEST

START_TEST (test_geometry)
{
  static const char *const fields[] = { "field size", "field raid_disks",
                                        "field chunksize" };

  legs_make (2, 0, 0);
  if (_i == 0) {
    images[1].superblock.size -= 128;
    images[1].bitmap.sync_size -= 128;
  }
  else if (_i == 1)
    images[1].superblock.raid_disks = 3;
  else
    images[1].bitmap.chunksize *= 2;
  assert_refused (fields[_i]);
}
END_TEST

/* ---- empty slots ---- */

START_TEST (test_missing)
{
  const unsigned there = (unsigned)_i;

  legs_make (2, 0, 0);
  legs_options.nlegs = 1;
  legs_options.legs[0] = leg_path (there);
  assert_refused ("its loss is not on record");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (1);
  legs_options.degraded = ARRAY_DEGRADED_REFUSE;
  assert_refused ("has no leg that can be used");

  call_faulty (there, !there);
  assert_refused ("has no leg that can be used");
  legs_options.degraded = ARRAY_DEGRADED_AUTO;
  assert_opens_and_close (1);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (1);
}
END_TEST

START_TEST (test_three)
{
  legs_make (3, 0, 0);
  assert_opens_and_close (7);
  set_events (2, E + 1);
  assert_opens_and_close (7);
  set_events (2, E + 2);
  assert_refused ("loss is not on record"); /* of the other two */
  set_events (1, E + 1);
  assert_refused ("stale: events 40 < 42 of leg");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (6);
  call_faulty (2, 0);
  legs_options.degraded = ARRAY_DEGRADED_AUTO;
  assert_opens_and_close (6);
}
END_TEST

/* Any of the believed calls it faulty: that is enough, though the first of
 * the freshest does not know yet.
 */
START_TEST (test_three_record_torn)
{
  const unsigned lost = (unsigned)_i, knows = (lost + 1) % 3;

  legs_make (3, 0, 0);
  call_faulty (knows, lost);
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_opens_and_close (7u & ~(1u << lost));
  legs_options.degraded = ARRAY_DEGRADED_AUTO;
  set_events (knows, E + 1);
  assert_opens_and_close (7u & ~(1u << lost));
}
END_TEST

START_TEST (test_three_split_brain)
{
  legs_make (3, 0, 0);
  call_faulty (0, 2);
  call_faulty (1, 2);
  call_faulty (2, 0);
  call_faulty (2, 1);
  assert_refused ("split brain");
}
END_TEST

/* ---- bitmaps ---- */

START_TEST (test_union)
{
  struct array *array;

  legs_make (3, 0, 0);
  for (unsigned i = 0; i < 3; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 10 + i);
  }
  array = assert_opens (7);
  ck_assert_uint_eq (needed (array), 3);
  array_close (array);
}
END_TEST

/* Which copy is stale, and why. */
START_TEST (test_one_copy_stale)
{
  const unsigned stale = (unsigned)_i & 1;
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 10 + i);
  }
  if (_i & 2)
    images[stale].bitmap.events--;
  else
    images[stale].bitmap.state |= BITMAP_STALE;
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), 1);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, 0), 10 + !stale);
  array_close (array);
}
END_TEST

/* All copies stale: everything counts as marked, if the array is not clean. */
START_TEST (test_all_copies_stale)
{
  const bool clean = _i == 1;
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = clean ? RESYNC_CLEAN : 0;
    images[i].bitmap.events--;
  }
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), clean ? 0 : LEGS_SIZE / LEGS_CHUNK);
  array_close (array);
  ck_assert (logged ("full resync") == !clean);

  legs_options.refuse_full_resync = true;
  if (clean)
    assert_opens_and_close (3);
  else
    assert_refused ("full-resync=refuse forbids");
}
END_TEST

START_TEST (test_refuse_full_resync)
{
  const uint64_t chunks = LEGS_SIZE / LEGS_CHUNK;

  legs_make (2, 0, 0);
  legs_options.refuse_full_resync = true;
  assert_opens_and_close (3);
  images[0].superblock.resync_offset = 0;
  images[1].superblock.resync_offset = 0;
  for (uint64_t chunk = 1; chunk < chunks; ++chunk)
    image_set_bit (&images[1], chunk);
  assert_opens_and_close (3); /* but one */
  image_set_bit (&images[0], 0);
  assert_refused ("full-resync=refuse forbids");
  legs_options.refuse_full_resync = false;
  assert_opens_and_close (3);
  ck_assert (logged ("full resync"));
  /* There is nothing to copy to. */
  legs_options.refuse_full_resync = true;
  call_faulty (0, 1);
  assert_opens_and_close (1);
}
END_TEST

/* B4: a leg's bitmap that cannot be read. */
static unsigned unreadable; /* bit n: leg n */
static bool pages_only;     /* the header can be read */

static enum verdict
fail_bitmap_reads (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (op != OP_READ_BITMAP || !(unreadable >> leg & 1)
      || (pages_only && tap_count (leg, OP_READ_BITMAP) == 1))
    return TAP_PASS;
  return TAP_FAIL;
}

START_TEST (test_bitmap_unreadable)
{
  const unsigned bad = (unsigned)_i & 1;
  struct array *array;

  unreadable = 1u << bad;
  pages_only = _i & 2;
  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 10);
  }
  tap_hook (fail_bitmap_reads);
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), 1);
  ck_assert_uint_eq (bitmap_next_needed (array->bitmap, 0), 10);
  ck_assert (logged ("reading the bitmap"));
  tap_reset ();
  /* It is written anew. */
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_uint_eq (in_sync (array), 2);
  legs_kill (array);
  legs_load ();
  ck_assert (image_bit (&images[0], 10) && image_bit (&images[1], 10));
  ck_assert_uint_eq (images[0].bitmap.state, 0);
  ck_assert_uint_eq (images[1].bitmap.state, 0);
}
END_TEST

START_TEST (test_bitmap_unreadable_all)
{
  struct array *array;

  unreadable = 3;
  pages_only = _i == 1;
  legs_make (2, 0, 0);
  images[0].superblock.resync_offset = 0;
  images[1].superblock.resync_offset = 0;
  tap_hook (fail_bitmap_reads);
  if (pages_only) {
    array = assert_opens (3);
    ck_assert_uint_eq (needed (array), LEGS_SIZE / LEGS_CHUNK);
    array_close (array);
  }
  else
    assert_refused ("no leg has a bitmap that can be used");
}
END_TEST

/* Out of memory is not a leg's fault: nothing is decided without its bits.
 * _i: what is read.
 */
static enum op no_memory;

static enum verdict
run_out_of_memory (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (leg != 1 || op != no_memory
      || (pages_only && tap_count (leg, op) % 2 == 1))
    return TAP_PASS;
  return TAP_NO_MEMORY;
}

START_TEST (test_no_memory)
{
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i)
    images[i].superblock.resync_offset = 0;
  image_set_bit (&images[1], 10);
  legs_store ();
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  no_memory = _i == 0 ? OP_READ_SUPERBLOCK : OP_READ_BITMAP;
  pages_only = _i == 2;
  tap_hook (run_out_of_memory);
  ck_assert_int_eq (legs_try_open (&array), -ENOMEM);
  ck_assert_ptr_null (array);
  tap_hook (NULL);
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), 1);
  array_close (array);
}
END_TEST

/* The header's events lead the superblock's by a few if an update was
 * interrupted.  By more they are damaged, and the copy is not believed.
 * _i & 1: which copy; _i & 2: both.
 */
START_TEST (test_header_ahead)
{
  static const uint64_t leads[] = { 1, 8, 9, INT64_MAX - E };
  const unsigned ahead = (unsigned)_i & 1;
  const bool both = _i & 2;
  const uint64_t lead = leads[_i / 4], chunks = LEGS_SIZE / LEGS_CHUNK;
  const bool believed = lead <= 8;
  struct array *array;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], 10 + i);
    if (both || i == ahead)
      images[i].bitmap.events += lead;
    if (!believed && i == ahead)
      images[i].bitmap.state = BITMAP_STALE; /* that makes no difference */
  }
  array = assert_opens (3);
  ck_assert_uint_eq (needed (array), believed ? 2 : both ? chunks : 1);
  ck_assert (logged ("field events: found") == !believed);
  tap_reset ();
  ck_assert_int_eq (array_activate (array), 0);
  ck_assert_int_eq (block_write (array, 1, 0, ARRAY_FUA), 0);
  ck_assert_uint_le (tap_count (0, OP_WRITE_SUPERBLOCK), 2);
  legs_kill (array);
  legs_load ();
  for (unsigned i = 0; i < 2; ++i) {
    ck_assert_uint_ge (images[i].bitmap.events, images[i].superblock.events);
    ck_assert_uint_le (images[i].bitmap.events, E + 8);
    ck_assert_uint_eq (images[i].bitmap.state, 0);
    ck_assert (image_bit (&images[i], 10 + !ahead));
  }
}
END_TEST

/* A leg whose bitmap cannot be used must still have room for the one that it
 * will get from the others.
 */
START_TEST (test_bitmap_no_room)
{
  const unsigned bad = (unsigned)_i;

  legs_make (2, 160 * MiB, 4096); /* two pages of bitmap */
  images[bad].superblock.bblog_offset =
      images[bad].superblock.bitmap_offset + 8;
  unreadable = 1u << bad;
  pages_only = false;
  tap_hook (fail_bitmap_reads);
  assert_refused ("clear of bad-block log");
}
END_TEST

/* Resync copies chunk by chunk, which must be possible on every leg. */
START_TEST (test_bitmap_chunk_below_block)
{
  legs_make (2, 0, 4096);
  images[0].bitmap.chunksize = images[1].bitmap.chunksize = 2048;
  assert_opens_and_close (3);
  legs_logical_block[_i] = 4096;
  assert_refused ("field chunksize: found 2048, expected at least 4096");
  ck_assert (logged (leg_path ((unsigned)_i)));
}
END_TEST

/* No header at all: as if it could not be read. */
START_TEST (test_bitmap_absent)
{
  const unsigned bad = (unsigned)_i;
  static const uint8_t zeroes[BITMAP_SUPERBLOCK_BYTES];
  struct array *array;
  int fd;

  legs_make (2, 0, 0);
  image_set_bit (&images[!bad], 10);
  images[!bad].superblock.resync_offset = 0;
  images[bad].superblock.resync_offset = 0;
  legs_store ();
  fd = open (leg_path (bad), O_WRONLY);
  ck_assert_int_eq (pwrite (fd, zeroes, sizeof zeroes, 8192),
                    (ssize_t)sizeof zeroes);
  close (fd);
  array = legs_open ();
  ck_assert_uint_eq (in_sync (array), 2);
  ck_assert_uint_eq (needed (array), 1);
  array_close (array);
}
END_TEST

/* B5: a header that we do not understand, or of another array, is never
 * written over.
 */
START_TEST (test_bitmap_unknown)
{
  static const uint32_t versions[] = { 2, 5, 6, 7 };

  legs_make (2, 0, 0);
  images[_i & 1].bitmap.version = versions[_i >> 1];
  assert_refused ("field version");
  legs_options.degraded = ARRAY_DEGRADED_ALLOW;
  assert_refused ("field version");
  ck_assert (logged (leg_path ((unsigned)_i & 1)));
  ck_assert (!logged (leg_path (!(_i & 1))));
}
END_TEST

START_TEST (test_bitmap_foreign)
{
  legs_make (2, 0, 0);
  images[_i & 1].bitmap.uuid[_i >> 1] ^= 1;
  assert_refused ("field uuid");
  ck_assert (logged (leg_path ((unsigned)_i & 1)));
  ck_assert (!logged (leg_path (!(_i & 1))));
}
END_TEST

START_TEST (test_no_bitmap)
{
  legs_make (2, 0, 0);
  images[_i].superblock.feature_map &= ~(uint32_t)FEATURE_BITMAP_OFFSET;
  assert_refused (_i == 0 ? "found an internal bitmap, expected none"
                          : "found no internal bitmap, expected one");
}
END_TEST

/* ---- main ---- */

int
main (void)
{
  Suite *suite = suite_create ("assemble");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_test (tc, test_pair);
  tcase_add_loop_test (tc, test_margin_1, 0, 4);
  tcase_add_test (tc, test_margin_1_bitmap_fresh);
  tcase_add_loop_test (tc, test_margin_2, 0, 2);
  tcase_add_loop_test (tc, test_called_faulty, 0, 2);
  tcase_add_loop_test (tc, test_equal_called_faulty, 0, 2);
  tcase_add_loop_test (tc, test_split_brain, 0, 4);
  tcase_add_loop_test (tc, test_split_brain_older, 0, 3);
  tcase_add_loop_test (tc, test_recovering, 0, 2);
  tcase_add_loop_test (tc, test_spare, 0, 4);
  tcase_add_loop_test (tc, test_no_superblock, 0, 2);
  tcase_add_test (tc, test_bad_checksum);
  tcase_add_test (tc, test_superblock_unreadable);
  tcase_add_loop_test (tc, test_events_limit, 0, 2);
  tcase_add_loop_test (tc, test_equal_other_table, 0, 4);
  tcase_add_test (tc, test_same_leg);
  tcase_add_test (tc, test_copy_of_leg);
  tcase_add_loop_test (tc, test_other_array, 0, 16);
  tcase_add_loop_test (tc, test_geometry, 0, 3);
  tcase_add_loop_test (tc, test_missing, 0, 2);
  tcase_add_test (tc, test_three);
  tcase_add_loop_test (tc, test_three_record_torn, 0, 3);
  tcase_add_test (tc, test_three_split_brain);
  tcase_add_test (tc, test_union);
  tcase_add_loop_test (tc, test_one_copy_stale, 0, 4);
  tcase_add_loop_test (tc, test_all_copies_stale, 0, 2);
  tcase_add_test (tc, test_refuse_full_resync);
  tcase_add_loop_test (tc, test_bitmap_unreadable, 0, 4);
  tcase_add_loop_test (tc, test_bitmap_unreadable_all, 0, 2);
  tcase_add_loop_test (tc, test_no_memory, 0, 3);
  tcase_add_loop_test (tc, test_header_ahead, 0, 16);
  tcase_add_loop_test (tc, test_bitmap_no_room, 0, 2);
  tcase_add_loop_test (tc, test_bitmap_chunk_below_block, 0, 2);
  tcase_add_loop_test (tc, test_bitmap_absent, 0, 2);
  tcase_add_loop_test (tc, test_bitmap_unknown, 0, 8);
  tcase_add_loop_test (tc, test_bitmap_foreign, 0, 4);
  tcase_add_loop_test (tc, test_no_bitmap, 0, 2);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
