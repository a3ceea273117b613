/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Legs with a bad-block log: what is listed is never read, is read elsewhere or
 * is an error, is good once it has been written, and leaves the log on the leg
 * only when that is durable.
 *
 * Blocks differ between the legs, though the array is clean, so that one can
 * tell which leg has answered: block n of leg l is full of l << 6 | n.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "legs.h"

#define BLOCKS        8 /* that are set, from the start of the array on */
#define BLOCK_SECTORS (BLOCK / SECTOR_SIZE)
#define SECTORS_END   UINT64_MAX

static void
take_a_nap (void)
{
  usleep (1000);
}

/* ---- legs with bad blocks ---- */

/* Entries of a log: sectors of the array's data. */
static uint64_t
entry (uint64_t start, uint64_t sectors)
{
  return (legs_data_sector () + start) << 10 | sectors;
}

static uint64_t
block_entry (uint64_t block)
{
  return entry (block * BLOCK_SECTORS, BLOCK_SECTORS);
}

static uint8_t
stamp (unsigned leg, uint64_t block)
{
  return (uint8_t)(leg << 6 | block);
}

static void
stamp_legs (unsigned n)
{
  for (unsigned leg = 0; leg < n; ++leg)
    for (uint64_t block = 0; block < BLOCKS; ++block)
      leg_set_data (leg, block * BLOCK, stamp (leg, block));
}

static void
set_bad_block (unsigned leg, uint64_t block)
{
  uint64_t e = block_entry (block);

  leg_set_bad_log (leg, &e, 1);
}

/* What is never to be read of which leg: sectors of the array. */
static struct {
  unsigned leg;
  uint64_t start, end;
} forbidden[8];
static unsigned nforbidden, broken;

static void
forbid (unsigned leg, uint64_t start, uint64_t sectors)
{
  forbidden[nforbidden].leg = leg;
  forbidden[nforbidden].start = start;
  forbidden[nforbidden++].end = start + sectors;
}

static void
forbid_block (unsigned leg, uint64_t block)
{
  forbid (leg, block * BLOCK_SECTORS, BLOCK_SECTORS);
}

static enum verdict
watch (unsigned leg, enum op op, const struct io *io)
{
  uint64_t start = io->offset / SECTOR_SIZE - legs_data_sector ();

  for (unsigned i = 0; op == OP_READ_DATA && i < nforbidden; ++i)
    if (forbidden[i].leg == leg && start < forbidden[i].end
        && forbidden[i].start < start + io->length / SECTOR_SIZE)
      __atomic_add_fetch (&broken, 1, __ATOMIC_SEQ_CST);
  return TAP_PASS;
}

static uint64_t
bad_sectors (struct array *array, unsigned leg)
{
  uint64_t sectors;

  rt_mutex_lock (&array->lock);
  sectors = leg_bad_sectors (&array->legs[leg]);
  rt_mutex_unlock (&array->lock);
  return sectors;
}

static uint64_t
chunks_needed (struct array *array)
{
  struct array_info info;

  array_get_info (array, &info);
  return info.chunks_needed;
}

/* Sectors that the log on the leg lists of a block, each sector once; and that
 * it lists of anything.
 */
static unsigned
listed (unsigned leg, uint64_t block)
{
  uint64_t entries[512];
  unsigned n = 0;

  leg_get_bad_log (leg, entries);
  for (uint64_t s = block * BLOCK_SECTORS; s < (block + 1) * BLOCK_SECTORS; ++s)
    for (unsigned i = 0; i < 512 && entries[i] != SECTORS_END; ++i)
      if (s + legs_data_sector () - (entries[i] >> 10) < (entries[i] & 1023)) {
        n++;
        break;
      }
  return n;
}

static bool
listed_any (unsigned leg)
{
  uint64_t entries[512];

  leg_get_bad_log (leg, entries);
  return entries[0] != SECTORS_END;
}

static bool
announced (unsigned leg)
{
  struct image image;

  leg_load (leg, &image);
  return image.superblock.feature_map & FEATURE_BAD_BLOCKS;
}

static void
unclean (unsigned n, uint64_t chunk)
{
  for (unsigned i = 0; i < n; ++i) {
    images[i].superblock.resync_offset = 0;
    image_set_bit (&images[i], chunk);
  }
}

/* ---- reading equal chunks ---- */

/* Many times, so that it is not by chance. */
START_TEST (test_read_elsewhere)
{
  const unsigned bad = (unsigned)_i, other = !bad;
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  set_bad_block (bad, 1);
  legs_store ();
  forbid_block (bad, 1);
  tap_hook (watch);
  array = legs_open ();
  ck_assert_uint_eq (bad_sectors (array, bad), BLOCK_SECTORS);
  ck_assert_uint_eq (bad_sectors (array, other), 0);
  ck_assert (logged ("lists 1 ranges, 8 sectors"));
  for (unsigned i = 0; i < 20; ++i) {
    ck_assert_int_eq (block_read (array, &byte, BLOCK), 0);
    ck_assert_uint_eq (byte, stamp (other, 1));
  }
  /* Other blocks come from both. */
  tap_reset ();
  for (unsigned i = 0; i < 20; ++i)
    ck_assert_int_eq (block_read (array, &byte, i % 2 * BLOCK), 0);
  ck_assert_uint_gt (tap_count (bad, OP_READ_DATA), 0);
  ck_assert_uint_eq (broken, 0);
  legs_close (array);
}
END_TEST

/* One leg is good for all of it: one read of that leg does. */
START_TEST (test_read_whole)
{
  static uint8_t data[BLOCKS * BLOCK];
  struct array *array;

  legs_make (2, 0, 0);
  stamp_legs (2);
  set_bad_block (0, 3);
  legs_store ();
  array = legs_open ();
  tap_reset ();
  for (unsigned i = 0; i < 5; ++i)
    ck_assert_int_eq (array_read (array, data, sizeof data, 0), 0);
  ck_assert_uint_eq (tap_count (0, OP_READ_DATA), 0);
  ck_assert_uint_eq (tap_count (1, OP_READ_DATA), 5);
  legs_close (array);
}
END_TEST

/* No leg is good for all of it. */
START_TEST (test_read_cut)
{
  static uint8_t data[BLOCKS * BLOCK];
  const uint32_t offset = _i == 0 ? 0 : 100;
  const uint32_t count = _i == 0 ? sizeof data : sizeof data - 300;
  struct array *array;

  legs_make (2, 0, 0);
  stamp_legs (2);
  set_bad_block (0, 2);
  set_bad_block (1, 5);
  legs_store ();
  forbid_block (0, 2);
  forbid_block (1, 5);
  tap_hook (watch);
  array = legs_open ();
  for (unsigned turn = 0; turn < 5; ++turn) {
    memset (data, 0xee, sizeof data);
    ck_assert_int_eq (array_read (array, data, count, offset), 0);
    for (uint32_t i = 0; i < count; ++i)
      ck_assert_uint_eq (data[i] % 64, (offset + i) / BLOCK);
    for (uint32_t i = count; i < sizeof data; ++i)
      ck_assert_uint_eq (data[i], 0xee);
    ck_assert_uint_eq (data[2 * BLOCK], stamp (1, 2));
    ck_assert_uint_eq (data[5 * BLOCK], stamp (0, 5));
  }
  ck_assert_uint_eq (broken, 0);
  legs_close (array);
}
END_TEST

/* A leg that cannot be read is no reason to read what is bad on the other. */
START_TEST (test_read_error_then_bad)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  set_bad_block (0, 1);
  legs_store ();
  forbid_block (0, 1);
  tap_hook (watch);
  array = legs_open ();
  tap_fail (1, OP_READ_DATA);
  ck_assert_int_eq (block_read (array, &byte, BLOCK), -EIO);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, stamp (0, 0));
  ck_assert_uint_eq (broken, 0);
  legs_close (array);
}
END_TEST

/* Bad on all legs, or on the last one: an error that is told, but not each
 * time.  The blocks beside it can be read.
 */
START_TEST (test_read_bad_everywhere)
{
  const unsigned n = (unsigned)_i + 1;
  static uint8_t data[BLOCKS * BLOCK];
  struct array *array;
  uint8_t byte;

  legs_make (n, 0, 0);
  stamp_legs (n);
  for (unsigned leg = 0; leg < n; ++leg) {
    set_bad_block (leg, 3);
    forbid_block (leg, 3);
  }
  legs_store ();
  tap_hook (watch);
  array = legs_open ();
  for (unsigned i = 0; i < 6; ++i)
    ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), -EIO);
  ck_assert (logged ("reading 4096 bytes at 12288: they are in its bad-block "
                     "log"));
  ck_assert (logged ("(1 such reads so far)"));
  ck_assert (!logged ("(3 such reads so far)"));
  ck_assert (logged ("(4 such reads so far)"));
  ck_assert_int_eq (array_read (array, data, sizeof data, 0), -EIO);
  ck_assert_int_eq (array_read (array, data, 3 * BLOCK, 0), 0);
  ck_assert_int_eq (array_read (array, data, 4 * BLOCK, 4 * BLOCK), 0);
  ck_assert_uint_eq (broken, 0);
  legs_close (array);
}
END_TEST

/* A write-mostly leg serves what is bad on the other, and nothing more. */
START_TEST (test_read_write_mostly)
{
  static uint8_t data[BLOCKS * BLOCK];
  struct array *array;

  legs_make (2, 0, 0);
  stamp_legs (2);
  images[1].superblock.devflags |= DEV_FLAG_WRITE_MOSTLY;
  set_bad_block (0, 1);
  legs_store ();
  array = legs_open ();
  ck_assert_int_eq (array_read (array, data, sizeof data, 0), 0);
  for (unsigned i = 0; i < BLOCKS; ++i)
    ck_assert_uint_eq (data[i * BLOCK], stamp (i == 1, i));
  legs_close (array);
}
END_TEST

/* The logical block is larger than what is bad. */
START_TEST (test_read_large_block)
{
  uint64_t e;
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  e = entry (BLOCK_SECTORS + 3, 1);
  leg_set_bad_log (0, &e, 1);
  legs_logical_block[0] = legs_logical_block[1] = BLOCK;
  legs_store ();
  forbid_block (0, 1);
  tap_hook (watch);
  array = legs_open ();
  for (unsigned i = 0; i < 10; ++i) {
    ck_assert_int_eq (array_read (array, &byte, 1, BLOCK), 0);
    ck_assert_uint_eq (byte, stamp (1, 1));
    ck_assert_int_eq (array_read (array, &byte, 1, 2 * BLOCK - 1), 0);
    ck_assert_uint_eq (byte, stamp (1, 1));
  }
  ck_assert_uint_eq (broken, 0);
  legs_close (array);
}
END_TEST

/* ---- writing ---- */

static int
write_it (struct array *array, unsigned how, uint64_t offset)
{
  if (how == 0)
    return block_write (array, 0, offset, 0);
  return array_zero (array, BLOCK, offset, how == 1 ? 0 : ARRAY_MAY_TRIM);
}

/* A write, zeroes, a trim: good before the answer.  How a part of a block and
 * one of several blocks are taken out is seen in the list.
 */
START_TEST (test_write_clears)
{
  uint64_t e;
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  e = entry (BLOCK_SECTORS - 1, 3 * BLOCK_SECTORS + 1);
  leg_set_bad_log (0, &e, 1);
  legs_store ();
  array = legs_activate ();
  tap_fail (1, OP_READ_DATA);
  ck_assert_int_eq (block_read (array, &byte, 2 * BLOCK), -EIO);
  ck_assert_int_eq (write_it (array, (unsigned)_i, 2 * BLOCK), 0);
  ck_assert_uint_eq (bad_sectors (array, 0), 2 * BLOCK_SECTORS + 1);
  ck_assert_int_eq (block_read (array, &byte, 2 * BLOCK), 0);
  ck_assert_uint_eq (byte, 0);
  ck_assert_int_eq (block_read (array, &byte, BLOCK), -EIO);
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), -EIO);
  ck_assert_int_eq (block_read (array, &byte, 0), -EIO);
  ck_assert_int_eq (array_read (array, &byte, 1, 0), 0);
  tap_fail (1, 0);
  legs_close (array);
}
END_TEST

/* A write that fails on the last leg clears nothing. */
START_TEST (test_write_fails)
{
  struct array *array;
  uint8_t byte;

  legs_make (1, 0, 0);
  set_bad_block (0, 1);
  legs_store ();
  array = legs_activate ();
  tap_fail (0, OP_WRITE_DATA);
  ck_assert_int_eq (write_it (array, (unsigned)_i, BLOCK), -EIO);
  tap_fail (0, 0);
  ck_assert_uint_eq (bad_sectors (array, 0), BLOCK_SECTORS);
  ck_assert_int_eq (block_read (array, &byte, BLOCK), -EIO);
  legs_close (array);
}
END_TEST

/* The edges of an unaligned write come from the good leg, and the whole block
 * is good then; where no leg is good, nothing is written.
 */
START_TEST (test_edges)
{
  static const uint8_t data[SECTOR_SIZE] = { 0x11 };
  const unsigned n = (unsigned)_i + 1;
  uint8_t block[BLOCK];
  struct array *array;
  uint64_t e;
  int err;

  legs_make (n, 0, 0);
  stamp_legs (n);
  e = entry (BLOCK_SECTORS + 2, 2);
  leg_set_bad_log (0, &e, 1);
  for (unsigned i = 0; i < n; ++i)
    legs_logical_block[i] = BLOCK;
  legs_store ();
  forbid_block (0, 1);
  tap_hook (watch);
  array = legs_activate ();
  err = array_write (array, data, sizeof data, BLOCK + 4 * SECTOR_SIZE, 0);
  ck_assert_int_eq (err, n == 1 ? -EIO : 0);
  ck_assert_uint_eq (broken, 0);
  ck_assert_uint_eq (bad_sectors (array, 0), n == 1 ? 2 : 0);
  for (unsigned i = 0; i < n; ++i) {
    leg_get_data (i, BLOCK, block, sizeof block);
    ck_assert_uint_eq (block[0], stamp (n - 1, 1));
    ck_assert_uint_eq (block[BLOCK - 1], stamp (n - 1, 1));
    ck_assert_uint_eq (block[4 * SECTOR_SIZE], n == 1 ? stamp (0, 1) : 0x11);
  }
  tap_hook (NULL);
  legs_close (array);
}
END_TEST

/* ---- the log on the leg ---- */

/* Killed: the log lists what was rewritten and not flushed, as nobody knows
 * what of that is durable, and so does the next life.  Stopped, or flushed, or
 * written with FUA: it does not, and the leg is good there, whatever becomes of
 * the other one.
 */
START_TEST (test_kill_or_stop)
{
  enum { NEITHER, FUA, FLUSH } durable = _i / 4;
  const bool kill = _i % 2 == 0, all = _i / 2 % 2 == 0;
  const bool lists = kill && durable == NEITHER;
  struct array *array;
  uint8_t byte;
  uint64_t e;

  legs_make (2, 0, 0);
  stamp_legs (2);
  e = entry (BLOCK_SECTORS, (all ? 1 : 2) * BLOCK_SECTORS);
  leg_set_bad_log (0, &e, 1);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (
      block_write (array, 9, BLOCK, durable == FUA ? ARRAY_FUA : 0), 0);
  if (durable == FLUSH)
    ck_assert_int_eq (array_flush (array), 0);
  ck_assert_uint_eq (listed (0, 1), durable == NEITHER ? BLOCK_SECTORS : 0);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_BAD_LOG) > 0, durable != NEITHER);
  if (kill)
    legs_kill (array);
  else
    legs_close (array);
  ck_assert_uint_eq (listed (0, 1), lists ? BLOCK_SECTORS : 0);
  ck_assert_uint_eq (listed (0, 2), all ? 0 : BLOCK_SECTORS);
  ck_assert_int_eq (listed_any (0), lists || !all);
  ck_assert_int_eq (announced (0), lists || !all);
  ck_assert_uint_eq (tap_count (1, OP_WRITE_BAD_LOG), 0);
  array = legs_open ();
  ck_assert_uint_eq (bad_sectors (array, 0),
                     (lists + !all) * (uint64_t)BLOCK_SECTORS);
  tap_fail (1, OP_READ_DATA);
  ck_assert_int_eq (block_read (array, &byte, BLOCK), lists ? -EIO : 0);
  legs_close (array);
}
END_TEST

/* The log is written when all that was rewritten is flushed, not before, and
 * not while there are chunks to resync.
 */
static unsigned flushed_first;

static enum verdict
watch_flush (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (leg == 0 && op == OP_WRITE_DATA)
    flushed_first = 0;
  if (leg == 0 && op == OP_FLUSH)
    flushed_first = 1;
  if (leg == 0 && op == OP_WRITE_BAD_LOG && !flushed_first)
    broken++;
  return TAP_PASS;
}

START_TEST (test_log_after_flush)
{
  struct array *array;

  legs_make (2, 0, 0);
  set_bad_block (0, 1);
  legs_store ();
  tap_hook (watch_flush);
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 9, BLOCK, 0), 0);
  /* A leg fails: the record of that does not carry the log. */
  tap_fail (1, OP_WRITE_DATA);
  ck_assert_int_eq (block_write (array, 9, 0, 0), 0);
  ck_assert_uint_eq (in_sync (array), 1);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_BAD_LOG), 0);
  ck_assert (announced (0));
  tap_fail (1, 0);
  legs_close (array);
  ck_assert_uint_eq (broken, 0);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_BAD_LOG), 1);
  ck_assert (!listed_any (0) && !announced (0));
}
END_TEST

/* Several rewrites take pieces out of one entry and of its parts; each time the
 * log has exactly what is left.
 */
START_TEST (test_splits)
{
  static const struct {
    unsigned block, blocks;
  } writes[] = { { 20, 4 }, { 8, 1 },  { 40, 2 }, { 22, 3 },
                 { 0, 2 },  { 63, 1 }, { 9, 1 },  { 0, 64 } };
  static uint8_t data[64 * BLOCK];
  bool bad[64];
  struct array *array;
  uint64_t e;

  legs_make (2, 0, 0);
  e = entry (0, 511);
  leg_set_bad_log (0, &e, 1);
  legs_store ();
  memset (bad, true, sizeof bad);
  for (unsigned w = 0; w < sizeof writes / sizeof writes[0]; ++w) {
    bool any = false;
    uint64_t left = 0;

    array = legs_activate ();
    ck_assert_int_eq (array_write (array, data, writes[w].blocks * BLOCK,
                                   writes[w].block * (uint64_t)BLOCK, 0),
                      0);
    memset (bad + writes[w].block, false, writes[w].blocks);
    for (unsigned i = 0; i < 64; ++i) {
      left += bad[i] ? (i < 63 ? 8 : 7) : 0;
      any |= bad[i];
    }
    ck_assert_uint_eq (bad_sectors (array, 0), left);
    legs_close (array);
    for (unsigned i = 0; i < 64; ++i)
      ck_assert_uint_eq (listed (0, i), bad[i] ? (i < 63 ? 8 : 7) : 0);
    ck_assert_int_eq (announced (0), any);
  }
}
END_TEST

/* The entries' unit is larger than what is written: what it has of the rest
 * stays.
 */
START_TEST (test_shift)
{
  struct array *array;
  uint64_t e;

  legs_make (2, 0, 0);
  /* Units of 16 sectors, of which data_offset is a multiple. */
  images[0].superblock.bblog_shift = 4;
  ck_assert_uint_eq (legs_data_sector () % 16, 0);
  e = (legs_data_sector () / 16) << 10 | 2;
  leg_set_bad_log (0, &e, 1);
  legs_store ();
  array = legs_activate ();
  ck_assert_uint_eq (bad_sectors (array, 0), 32);
  ck_assert_int_eq (block_write (array, 9, 0, 0), 0);
  ck_assert_int_eq (block_write (array, 9, 2 * BLOCK, 0), 0);
  ck_assert_int_eq (block_write (array, 9, 3 * BLOCK, 0), 0);
  ck_assert_uint_eq (bad_sectors (array, 0), 8);
  legs_close (array);
  array = legs_activate ();
  ck_assert_uint_eq (bad_sectors (array, 0), 16);
  ck_assert_int_eq (array_zero (array, 2 * BLOCK, 0, 0), 0);
  legs_close (array);
  ck_assert (!announced (0));
}
END_TEST

/* The log cannot be written, or is torn, on the last leg: what is left of it
 * lists what is bad; and the next time that the array is marked clean it is
 * written.
 */
#define MANY 200

static unsigned failing;
static enum verdict fail_how;

static enum verdict
fail_log (unsigned leg, enum op op, const struct io *io)
{
  (void)leg;
  (void)io;
  if (op != OP_WRITE_BAD_LOG || failing == 0)
    return TAP_PASS;
  failing--;
  return fail_how;
}

static int
make_clean (struct array *array)
{
  int err;

  rt_mutex_lock (&array->lock);
  err = array_make_clean (array);
  rt_mutex_unlock (&array->lock);
  return err;
}

START_TEST (test_log_fails)
{
  uint64_t entries[MANY];
  struct array *array;

  legs_make (1, 0, 0);
  for (unsigned i = 0; i < MANY; ++i)
    entries[i] = block_entry (2 * i);
  leg_set_bad_log (0, entries, MANY);
  legs_store ();
  failing = 1;
  fail_how = _i == 0 ? TAP_FAIL : TAP_TEAR;
  tap_hook (fail_log);
  array = legs_activate ();
  /* Every second one, so that each of the log's sectors changes. */
  for (unsigned i = 0; i < MANY; i += 2)
    ck_assert_int_eq (block_write (array, 9, 2 * i * BLOCK, 0), 0);
  ck_assert_int_eq (make_clean (array), -EIO);
  ck_assert_uint_eq (failing, 0);
  for (unsigned i = 1; i < MANY; i += 2)
    ck_assert_uint_eq (listed (0, 2 * i), BLOCK_SECTORS);
  /* One more of them is written, or another block. */
  ck_assert_int_eq (block_write (array, 9, (_i == 3 ? 1 : 2) * BLOCK, 0), 0);
  if (_i == 2)
    legs_kill (array);
  else
    legs_close (array);
  for (unsigned i = 3; i < MANY; i += 2)
    ck_assert_uint_eq (listed (0, 2 * i), BLOCK_SECTORS);
  ck_assert_uint_eq (listed (0, 2), _i >= 2 ? BLOCK_SECTORS : 0);
  for (unsigned i = 0; i < MANY && _i != 2; i += 2)
    ck_assert_uint_eq (listed (0, 2 * i), 0);
  ck_assert (announced (0));
}
END_TEST

/* One step would have done, and failed: it is done again. */
START_TEST (test_log_fails_once)
{
  struct array *array;
  uint64_t e[2];

  legs_make (1, 0, 0);
  e[0] = block_entry (1);
  e[1] = block_entry (3);
  leg_set_bad_log (0, e, 2);
  legs_store ();
  failing = 1;
  fail_how = TAP_FAIL;
  tap_hook (fail_log);
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 9, 3 * BLOCK, 0), 0);
  ck_assert_int_eq (make_clean (array), -EIO);
  ck_assert_int_eq (block_write (array, 9, 0, 0), 0);
  legs_close (array);
  ck_assert_uint_eq (listed (0, 1), BLOCK_SECTORS);
  ck_assert_uint_eq (listed (0, 3), 0);
  ck_assert (announced (0));
}
END_TEST

/* Logs that cannot be believed, and such as mean nothing. */
START_TEST (test_load)
{
  struct array *array;
  struct superblock *sb;
  struct leg *leg;
  uint64_t e;

  legs_make (1, 0, 0);
  legs_store ();
  e = _i == 4 ? entry (LEGS_SIZE / SECTOR_SIZE, 1) : block_entry (1);
  leg_set_bad_log (0, &e, _i == 5 ? 0 : 1);
  array = legs_open ();
  leg = &array->legs[0];
  sb = leg->superblock;
  sb->feature_map |= FEATURE_BAD_BLOCKS;
  switch (_i) {
  case 0:
    tap_fail (0, OP_READ_BAD_LOG);
    ck_assert_int_eq (leg_load_bad_blocks (array, leg), -EIO);
    ck_assert (logged ("reading the bad-block log: Input/output error"));
    break;
  case 1:
    sb->bblog_shift = 10;
    ck_assert_int_eq (leg_load_bad_blocks (array, leg), -EINVAL);
    ck_assert (logged ("bad-block log: field bblog_shift: found 10"));
    break;
  case 2:
    sb->bblog_size = 9;
    ck_assert_int_eq (leg_load_bad_blocks (array, leg), -EINVAL);
    ck_assert (logged ("field bblog_size: found 9, expected 1 to 8"));
    break;
  case 3:
    leg->device->limits.logical_block = BLOCK;
    sb->bblog_offset++;
    ck_assert_int_eq (leg_load_bad_blocks (array, leg), -EINVAL);
    ck_assert (logged ("is not aligned to its logical block of 4096"));
    break;
  default:
    ck_assert_int_eq (leg_load_bad_blocks (array, leg), 0);
    ck_assert (!logged ("bad-block log"));
  }
  ck_assert_uint_eq (leg_bad_sectors (leg), 0);
  ck_assert_ptr_null (leg->bad);
  legs_close (array);
}
END_TEST

/* ---- unequal chunks ---- */

/* The source of a chunk is a leg that had no bad blocks in it, and stays so
 * when they have been rewritten; of another chunk it is the usual one.
 */
START_TEST (test_source)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  for (unsigned i = 0; i < 2; ++i)
    leg_set_data (i, LEGS_CHUNK, (uint8_t)(i + 1));
  unclean (2, 0);
  unclean (2, 1);
  set_bad_block (0, 3);
  legs_store ();
  legs_options.sync_rate_max = legs_options.sync_rate_min = 1;
  array = legs_activate ();
  for (unsigned turn = 0; turn < 2; ++turn) {
    for (unsigned i = 0; i < BLOCKS; ++i) {
      ck_assert_int_eq (block_read (array, &byte, i * BLOCK), 0);
      ck_assert_uint_eq (byte, turn && i == 3 ? 9 : stamp (1, i));
    }
    /* There both are good; but the source is one for the whole array. */
    ck_assert_int_eq (block_read (array, &byte, LEGS_CHUNK), 0);
    ck_assert_uint_eq (byte, 2);
    ck_assert_int_eq (block_write (array, 9, 3 * BLOCK, 0), 0);
    ck_assert_uint_eq (bad_sectors (array, 0), 0);
  }
  ck_assert_uint_eq (chunks_needed (array), 2);
  legs_close (array);
}
END_TEST

/* All legs fail at once: the one that stays is the one that was read where both
 * are good, and has no bad blocks.
 */
START_TEST (test_all_fail)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  set_bad_block (0, 3);
  legs_store ();
  array = legs_activate ();
  ck_assert_int_eq (block_write (array, 9, 0, 0), 0);
  for (unsigned i = 0; i < 2; ++i)
    tap_fail (i, OP_FLUSH);
  ck_assert_int_eq (array_flush (array), -EIO);
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), 0);
  ck_assert_uint_eq (byte, stamp (1, 3));
  legs_close (array);
}
END_TEST

/* Each leg has bad blocks in the chunk: a block comes from the first that was
 * good there, before resync and after it; where there is none it is an error,
 * and resync ends all the same.
 */
START_TEST (test_source_of_each_block)
{
  static const unsigned from[BLOCKS] = { 0, 0, 1, 1, 0, 0, 9, 0 };
  static uint8_t data[6 * BLOCK];
  struct array *array;
  uint64_t e[2];
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  unclean (2, 0);
  e[0] = entry (2 * BLOCK_SECTORS, 2 * BLOCK_SECTORS);
  e[1] = block_entry (6);
  leg_set_bad_log (0, e, 2);
  e[0] = block_entry (5);
  leg_set_bad_log (1, e, 2);
  forbid (0, 2 * BLOCK_SECTORS, 2 * BLOCK_SECTORS);
  forbid_block (0, 6);
  forbid_block (1, 5);
  forbid_block (1, 6);
  tap_hook (watch);
  legs_store ();
  array = legs_open ();
  for (unsigned i = 0; i < BLOCKS; ++i) {
    ck_assert_int_eq (block_read (array, &byte, i * BLOCK),
                      from[i] == 9 ? -EIO : 0);
    if (from[i] != 9)
      ck_assert_uint_eq (byte, stamp (from[i], i));
  }
  ck_assert_int_eq (array_read (array, data, sizeof data, 0), 0);
  for (unsigned i = 0; i < 6; ++i)
    ck_assert_uint_eq (data[i * BLOCK], stamp (from[i], i));
  ck_assert_int_eq (array_activate (array), 0);
  while (chunks_needed (array) > 0)
    take_a_nap ();
  ck_assert_uint_eq (broken, 0);
  ck_assert (logged ("chunk 0: 4096 bytes, at 24576 first, are bad on all"));
  ck_assert_uint_eq (bad_sectors (array, 0), BLOCK_SECTORS);
  ck_assert_uint_eq (bad_sectors (array, 1), BLOCK_SECTORS);
  for (unsigned i = 0; i < BLOCKS; ++i)
    for (unsigned leg = 0; leg < 2; ++leg)
      ck_assert_uint_eq (leg_data (leg, i * BLOCK),
                         stamp (from[i] == 9 ? leg : from[i], i));
  ck_assert_int_eq (block_read (array, &byte, 6 * BLOCK), -EIO);
  ck_assert_int_eq (block_write (array, 9, 6 * BLOCK, 0), 0);
  ck_assert_int_eq (block_read (array, &byte, 6 * BLOCK), 0);
  tap_hook (NULL);
  legs_close (array);
  ck_assert (!announced (0) && !announced (1));
}
END_TEST

/* What was bad on all legs of an unequal chunk is good on all once written. */
START_TEST (test_source_after_write)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  unclean (2, 0);
  set_bad_block (0, 3);
  set_bad_block (1, 3);
  legs_store ();
  legs_options.sync_rate_max = legs_options.sync_rate_min = 1;
  array = legs_activate ();
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), -EIO);
  ck_assert_int_eq (block_write (array, 9, 3 * BLOCK, 0), 0);
  ck_assert_uint_eq (chunks_needed (array), 1);
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), 0);
  ck_assert_uint_eq (byte, 9);
  legs_close (array);
}
END_TEST

/* The source cannot be read in a block.  Another leg that is good there takes
 * over the chunk, but not what is bad on it; none does if it is bad there.
 */
START_TEST (test_source_fails)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  unclean (2, 0);
  set_bad_block (0, 3);
  legs_store ();
  forbid_block (0, 3);
  tap_hook (watch);
  array = legs_open ();
  tap_fail (1, OP_READ_DATA);
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), -EIO);
  tap_fail (1, 0);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, stamp (1, 0));
  tap_fail (1, OP_READ_DATA);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, stamp (0, 0));
  tap_fail (1, 0);
  ck_assert_int_eq (block_read (array, &byte, BLOCK), 0);
  ck_assert_uint_eq (byte, stamp (0, 1));
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), 0);
  ck_assert_uint_eq (byte, stamp (1, 3));
  ck_assert_uint_eq (broken, 0);
  legs_close (array);
}
END_TEST

/* ---- resync ---- */

/* What is bad on a leg that is copied to is written, even where it happens to
 * hold the same bytes, and is never read; then it is good.
 */
START_TEST (test_resync_target)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i)
    for (unsigned block = 0; block < BLOCKS; ++block)
      leg_set_data (i, block * BLOCK, 7);
  unclean (2, 0);
  set_bad_block (1, 3);
  legs_store ();
  forbid_block (1, 3);
  tap_hook (watch);
  array = legs_activate ();
  while (chunks_needed (array) > 0)
    take_a_nap ();
  tap_hook (NULL);
  ck_assert_uint_eq (broken, 0);
  ck_assert_uint_eq (tap_count (0, OP_WRITE_DATA), 0);
  ck_assert_uint_eq (tap_count (1, OP_WRITE_DATA), 1);
  ck_assert_uint_eq (bad_sectors (array, 1), 0);
  ck_assert_uint_eq (listed (1, 3), BLOCK_SECTORS);
  tap_fail (0, OP_READ_DATA);
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), 0);
  ck_assert_uint_eq (byte, 7);
  tap_fail (0, 0);
  legs_close (array);
  ck_assert (!announced (1));
}
END_TEST

/* A copy that fails clears nothing. */
START_TEST (test_resync_fails)
{
  struct array *array;

  legs_make (2, 0, 0);
  unclean (2, 0);
  set_bad_block (1, 3);
  legs_store ();
  tap_fail (1, OP_WRITE_DATA);
  array = legs_activate ();
  while (in_sync (array) == 2)
    take_a_nap ();
  legs_close (array);
  ck_assert_uint_eq (listed (1, 3), BLOCK_SECTORS);
  ck_assert (announced (1));
}
END_TEST

/* The copy fails, and the source has failed meanwhile: what it was copied to is
 * the last leg.
 */
static bool gate_open;

static enum verdict
fail_copy (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (leg != 1 || op != OP_WRITE_DATA)
    return TAP_PASS;
  while (!__atomic_load_n (&gate_open, __ATOMIC_SEQ_CST))
    take_a_nap ();
  return TAP_FAIL;
}

START_TEST (test_resync_fails_last)
{
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  unclean (2, 0);
  set_bad_block (1, 3);
  legs_store ();
  tap_hook (fail_copy);
  array = legs_activate ();
  while (tap_count (1, OP_WRITE_DATA) == 0)
    take_a_nap ();
  rt_mutex_lock (&array->lock);
  ck_assert (leg_fail (array, &array->legs[0], "testing", -EIO));
  rt_mutex_unlock (&array->lock);
  __atomic_store_n (&gate_open, true, __ATOMIC_SEQ_CST);
  while (!logged ("resync interrupted"))
    take_a_nap ();
  ck_assert (leg_in_sync (array, 1));
  ck_assert_uint_eq (bad_sectors (array, 1), BLOCK_SECTORS);
  ck_assert_int_eq (block_read (array, &byte, 3 * BLOCK), -EIO);
  tap_hook (NULL);
  legs_close (array);
}
END_TEST

/* ---- writes in flight ---- */

struct request {
  pthread_t thread;
  struct array *array;
  uint64_t offset;
  uint8_t byte;
  int err;
};

static void *
request_write (void *opaque)
{
  struct request *r = opaque;

  r->err = block_write (r->array, r->byte, r->offset, 0);
  return NULL;
}

static void *
request_read (void *opaque)
{
  struct request *r = opaque;

  r->err = block_read (r->array, &r->byte, r->offset);
  return NULL;
}

static void
start (struct request *r, void *(*fn) (void *opaque))
{
  ck_assert_int_eq (pthread_create (&r->thread, NULL, fn, r), 0);
}

static void
await (unsigned leg, unsigned ops, unsigned n)
{
  while (tap_count (leg, ops) < n)
    take_a_nap ();
}

/* Somebody waits for a range. */
static void
await_waiting (struct array *array)
{
  for (unsigned waiting = 0; waiting == 0; take_a_nap ()) {
    rt_mutex_lock (&array->lock);
    waiting = array->ranges.waiting;
    rt_mutex_unlock (&array->lock);
  }
}

/* The fixed leg is a matter of the block, not of the length of a read: who
 * reads more goes to the same one.
 */
START_TEST (test_fixed_leg)
{
  static uint8_t data[2 * BLOCK];
  struct request w = { .offset = BLOCK, .byte = 9 };
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  stamp_legs (2);
  set_bad_block (0, 0);
  legs_store ();
  w.array = array = legs_activate ();
  tap_hold (0, OP_WRITE_DATA);
  start (&w, request_write);
  await (1, OP_WRITE_DATA, 1);
  for (unsigned i = 0; i < 5; ++i) {
    ck_assert_int_eq (array_read (array, data, sizeof data, 0), 0);
    ck_assert_uint_eq (data[0], stamp (1, 0));
    ck_assert_uint_eq (data[BLOCK], stamp (0, 1));
    ck_assert_int_eq (block_read (array, &byte, BLOCK), 0);
    ck_assert_uint_eq (byte, stamp (0, 1));
  }
  tap_release (0);
  pthread_join (w.thread, NULL);
  ck_assert_int_eq (w.err, 0);
  legs_close (array);
}
END_TEST

/* While a write of what is bad on leg 0 is in flight it is bad there; with its
 * end the fixed leg is another one, for a second write as well.  A read that
 * has seen that one on leg 1 is not answered with it, as the next one will not
 * see it on leg 0.
 */
static enum verdict
hold_and_gate (unsigned leg, enum op op, const struct io *io)
{
  (void)io;
  if (leg == 1 && op == OP_READ_DATA)
    while (!__atomic_load_n (&gate_open, __ATOMIC_SEQ_CST))
      take_a_nap ();
  return leg == 0 && op == OP_WRITE_DATA ? TAP_HOLD : TAP_PASS;
}

START_TEST (test_fixed_leg_changes)
{
  struct request w1 = { .byte = 1 }, w2 = { .byte = 2 }, r = { 0 };
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  set_bad_block (0, 0);
  legs_store ();
  w1.array = w2.array = r.array = array = legs_activate ();
  tap_hook (hold_and_gate);
  start (&w1, request_write);
  await (1, OP_WRITE_DATA, 1);
  start (&r, request_read);
  await (1, OP_READ_DATA, 1);
  start (&w2, request_write);
  await_waiting (array);
  ck_assert_uint_eq (bad_sectors (array, 0), BLOCK_SECTORS);
  tap_release (0);
  pthread_join (w1.thread, NULL);
  ck_assert_int_eq (w1.err, 0);
  ck_assert_uint_eq (bad_sectors (array, 0), 0);
  await (1, OP_WRITE_DATA, 2);
  __atomic_store_n (&gate_open, true, __ATOMIC_SEQ_CST);
  pthread_join (r.thread, NULL);
  ck_assert_int_eq (r.err, 0);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 1);
  ck_assert_uint_eq (r.byte, byte);
  tap_hook (NULL);
  tap_release (0);
  pthread_join (w2.thread, NULL);
  ck_assert_int_eq (w2.err, 0);
  legs_close (array);
}
END_TEST

/* The source of an unequal chunk was leg 1, as leg 0 had a bad block there.  A
 * write is on leg 1 and not yet on leg 0, and has been seen, when resync ends:
 * the chunk does not become an equal one, which is read from leg 0, before it
 * is on both.
 */
static enum verdict
hold_and_gate_resync (unsigned leg, enum op op, const struct io *io)
{
  uint64_t sector = io->offset / SECTOR_SIZE - legs_data_sector ();

  if (leg == 1 && op == OP_READ_DATA && sector == 4 * BLOCK_SECTORS)
    while (!__atomic_load_n (&gate_open, __ATOMIC_SEQ_CST))
      take_a_nap ();
  return leg == 0 && op == OP_WRITE_DATA && sector == 0 && io->length == BLOCK
             ? TAP_HOLD
             : TAP_PASS;
}

START_TEST (test_becomes_equal)
{
  struct request w = { .byte = 9 };
  struct array *array;
  uint8_t byte;

  legs_make (2, 0, 0);
  for (unsigned i = 0; i < 2; ++i)
    for (unsigned block = 0; block < BLOCKS; ++block)
      leg_set_data (i, block * BLOCK, 7);
  unclean (2, 0);
  set_bad_block (0, 3);
  legs_store ();
  tap_hook (hold_and_gate_resync);
  w.array = array = legs_activate ();
  /* Its pieces: before the bad block, that, and what follows, at the gate. */
  await (1, OP_READ_DATA, 3);
  start (&w, request_write);
  await (1, OP_WRITE_DATA, 1);
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 9);
  __atomic_store_n (&gate_open, true, __ATOMIC_SEQ_CST);
  for (bool waits = false; chunks_needed (array) > 0 && !waits; take_a_nap ()) {
    rt_mutex_lock (&array->lock);
    waits = array->ranges.waiting > 0;
    rt_mutex_unlock (&array->lock);
  }
  ck_assert_int_eq (block_read (array, &byte, 0), 0);
  ck_assert_uint_eq (byte, 9);
  tap_hook (NULL);
  tap_release (0);
  pthread_join (w.thread, NULL);
  ck_assert_int_eq (w.err, 0);
  while (chunks_needed (array) > 0)
    take_a_nap ();
  legs_close (array);
  ck_assert_uint_eq (leg_data (0, 0), 9);
}
END_TEST

/* ---- main ---- */

int
main (void)
{
  Suite *suite = suite_create ("bad-reads");
  TCase *tc = tcase_create ("all");

  tcase_set_timeout (tc, 120);
  tcase_add_loop_test (tc, test_read_elsewhere, 0, 2);
  tcase_add_test (tc, test_read_whole);
  tcase_add_loop_test (tc, test_read_cut, 0, 2);
  tcase_add_test (tc, test_read_error_then_bad);
  tcase_add_loop_test (tc, test_read_bad_everywhere, 0, 2);
  tcase_add_test (tc, test_read_write_mostly);
  tcase_add_test (tc, test_read_large_block);
  tcase_add_loop_test (tc, test_write_clears, 0, 3);
  tcase_add_loop_test (tc, test_write_fails, 0, 3);
  tcase_add_loop_test (tc, test_edges, 0, 2);
  tcase_add_test (tc, test_all_fail);
  tcase_add_loop_test (tc, test_kill_or_stop, 0, 12);
  tcase_add_test (tc, test_log_after_flush);
  tcase_add_test (tc, test_splits);
  tcase_add_test (tc, test_shift);
  tcase_add_loop_test (tc, test_log_fails, 0, 4);
  tcase_add_test (tc, test_log_fails_once);
  tcase_add_loop_test (tc, test_load, 0, 6);
  tcase_add_test (tc, test_source);
  tcase_add_test (tc, test_source_of_each_block);
  tcase_add_test (tc, test_source_after_write);
  tcase_add_test (tc, test_source_fails);
  tcase_add_test (tc, test_resync_target);
  tcase_add_test (tc, test_resync_fails);
  tcase_add_test (tc, test_resync_fails_last);
  tcase_add_test (tc, test_fixed_leg);
  tcase_add_test (tc, test_fixed_leg_changes);
  tcase_add_test (tc, test_becomes_equal);
  suite_add_tcase (suite, tc);
  return legs_run (suite);
}
