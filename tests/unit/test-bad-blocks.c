/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The bad-block log: the list, and bringing the log up in steps, each of which
 * may be torn at sectors.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/bad_blocks.h"

#include "golden.h"

#define PLACES_PER_SECTOR 64

static uint64_t
entry (uint64_t start, unsigned length)
{
  return start << 10 | length;
}

static void
check_list (const struct bad_blocks *b)
{
  for (unsigned i = 0; i < b->n; ++i)
    if (b->ranges[i].length == 0
        || (i > 0
            && b->ranges[i].start
                   <= b->ranges[i - 1].start + b->ranges[i - 1].length))
      ck_abort_msg ("range %u of %u", i, b->n);
}

static void
decode (const uint8_t *log, uint32_t bytes, unsigned shift,
        uint64_t data_offset, uint64_t size, struct bad_blocks *b)
{
  struct format_error error;

  memset (b, 0xa5, sizeof *b);
  ck_assert_int_eq (
      bad_blocks_decode (log, bytes, shift, data_offset, size, b, &error), 0);
  check_list (b);
}

/* ---- what md wrote ---- */

START_TEST (test_known)
{
  static const struct {
    const char *name;
    uint64_t data_offset;
  } logs[] = {
    { "1.0-bad-blocks-0", 0 },
    { "1.1-bad-blocks-0", 2048 },
    { "1.2-bad-blocks-0", 2048 },
  };
  uint8_t log[512], again[512];
  char line[256];

  for (size_t l = 0; l < sizeof logs / sizeof logs[0]; ++l) {
    static struct bad_blocks b, told;
    FILE *fp = golden_open (logs[l].name, "entries");
    uint64_t data_offset = logs[l].data_offset;

    ck_assert_uint_eq (fread (log, 1, sizeof log, fp), sizeof log);
    fclose (fp);
    /* As mdadm lists it. */
    decode (log, sizeof log, 0, 0, UINT64_MAX >> 1, &b);
    told.n = 0;
    fp = golden_open (logs[l].name, "badblocks");
    while (fgets (line, sizeof line, fp)) {
      unsigned long start, length;

      if (sscanf (line, " %lu for %lu sectors", &start, &length) == 2) {
        ck_assert_uint_eq (bad_blocks_first (&b, start, length), start);
        ck_assert (start == 0 || bad_blocks_first (&b, start - 1, 1) != start);
        told.n++;
      }
    }
    fclose (fp);
    ck_assert_uint_eq (told.n, 4);
    ck_assert_uint_eq (b.n, 3); /* two of them touch */
    ck_assert_uint_eq (b.ranges[0].start, 1000);
    ck_assert_uint_eq (b.ranges[0].length, 16);
    ck_assert_uint_eq (b.ranges[1].start, 20000);
    ck_assert_uint_eq (b.ranges[1].length, 700);
    ck_assert_uint_eq (b.ranges[2].start, 50000);
    ck_assert_uint_eq (b.ranges[2].length, 1);
    memcpy (again, log, sizeof log);
    ck_assert (!bad_blocks_update_log (again, sizeof again, 0, 0, &b));
    ck_assert_mem_eq (again, log, sizeof log);
    /* As it concerns data: what lies before is none of it. */
    decode (log, sizeof log, 0, data_offset, 129024, &b);
    ck_assert_uint_eq (b.n, data_offset == 0 ? 3 : 2);
    ck_assert_uint_eq (b.ranges[b.n - 1].start, 50000 - data_offset);
  }
}
END_TEST

/* ---- decoding ---- */

START_TEST (test_decode)
{
  static struct bad_blocks b;
  uint8_t log[1024];

  memset (log, 0, sizeof log);
  decode (log, sizeof log, 0, 0, 1000, &b); /* as mdadm makes it */
  ck_assert_uint_eq (b.n, 0);
  memset (log, 0xff, sizeof log);
  decode (log, sizeof log, 0, 0, 1000, &b);
  ck_assert_uint_eq (b.n, 0);

  put_le64 (log, entry (300, 10));
  put_le64 (log + 8, entry (100, 10));  /* any order */
  put_le64 (log + 16, entry (105, 20)); /* overlaps */
  put_le64 (log + 24, entry (100, 10)); /* again */
  put_le64 (log + 32, entry (500, 0));  /* nothing */
  put_le64 (log + 40, entry (310, 5));  /* touches */
  put_le64 (log + 48, entry (995, 50)); /* beyond the end */
  put_le64 (log + 56, entry (1000, 5));
  decode (log, sizeof log, 0, 0, 1000, &b);
  ck_assert_uint_eq (b.n, 3);
  ck_assert_uint_eq (b.ranges[0].start, 100);
  ck_assert_uint_eq (b.ranges[0].length, 25);
  ck_assert_uint_eq (b.ranges[1].start, 300);
  ck_assert_uint_eq (b.ranges[1].length, 15);
  ck_assert_uint_eq (b.ranges[2].start, 995);
  ck_assert_uint_eq (b.ranges[2].length, 5);

  /* From the start of the leg, in units. */
  decode (log, sizeof log, 3, 820, 10000, &b);
  ck_assert_uint_eq (b.n, 3);
  ck_assert_uint_eq (b.ranges[0].start, 0); /* 800 to 1000 */
  ck_assert_uint_eq (b.ranges[0].length, 180);
  ck_assert_uint_eq (b.ranges[1].start, 2400 - 820);
  ck_assert_uint_eq (b.ranges[1].length, 120);

  /* All ones end it. */
  put_le64 (log + 8, UINT64_MAX);
  decode (log, sizeof log, 0, 0, 1000, &b);
  ck_assert_uint_eq (b.n, 1);
  ck_assert_uint_eq (b.ranges[0].start, 300);
  put_le64 (log, UINT64_MAX - 1); /* far away, and long */
  decode (log, sizeof log, 9, UINT64_MAX >> 2, 1, &b);
  ck_assert_uint_eq (b.n, 0);
}
END_TEST

START_TEST (test_shift)
{
  static struct bad_blocks b;
  struct format_error error;
  uint8_t log[512];

  memset (log, 0xff, sizeof log);
  ck_assert_int_eq (bad_blocks_decode (log, sizeof log, 9, 0, 100, &b, &error),
                    0);
  ck_assert_int_eq (bad_blocks_decode (log, sizeof log, 10, 0, 100, &b, &error),
                    -EINVAL);
  ck_assert_str_eq (error.field, "bblog_shift");
}
END_TEST

/* As many as there can be, none of which touch. */
START_TEST (test_full)
{
  static struct bad_blocks b;
  static uint8_t log[BAD_BLOCKS_LOG_BYTES], again[BAD_BLOCKS_LOG_BYTES];

  for (unsigned i = 0; i < BAD_BLOCKS_MAX; ++i)
    put_le64 (log + 8 * i, entry (10 * ((i * 37) % BAD_BLOCKS_MAX), 8));
  decode (log, sizeof log, 0, 0, 1 << 20, &b);
  ck_assert_uint_eq (b.n, BAD_BLOCKS_MAX);
  /* No room to split one. */
  ck_assert (!bad_blocks_remove (&b, 1003, 2));
  ck_assert_uint_eq (bad_blocks_first (&b, 1003, 2), 1003);
  memcpy (again, log, sizeof log);
  ck_assert (!bad_blocks_update_log (again, sizeof again, 0, 0, &b));
  ck_assert_mem_eq (again, log, sizeof log);
  ck_assert (bad_blocks_remove (&b, 1000, 3));
  ck_assert (bad_blocks_update_log (again, sizeof again, 0, 0, &b));
  ck_assert (!bad_blocks_update_log (again, sizeof again, 0, 0, &b));
  ck_assert (bad_blocks_remove (&b, 0, 1 << 20));
  ck_assert_uint_eq (b.n, 0);
  ck_assert (bad_blocks_update_log (again, sizeof again, 0, 0, &b));
  memset (log, 0xff, sizeof log);
  ck_assert_mem_eq (again, log, sizeof log);
}
END_TEST

/* ---- the list, against a row of sectors ---- */

#define ROW 64

static void
row_of (const struct bad_blocks *b, bool row[ROW])
{
  memset (row, 0, ROW * sizeof row[0]);
  for (unsigned i = 0; i < b->n; ++i)
    for (uint64_t s = 0; s < b->ranges[i].length; ++s)
      if (b->ranges[i].start + s < ROW)
        row[b->ranges[i].start + s] = true;
}

START_TEST (test_list)
{
  srand (1);
  for (unsigned round = 0; round < 2000; ++round) {
    static struct bad_blocks b;
    bool row[ROW], found[ROW];
    uint8_t log[512];

    memset (log, 0xff, sizeof log);
    for (int i = 0; i < rand () % 8; ++i)
      put_le64 (log + 8 * i,
                entry ((uint64_t)(rand () % ROW), (unsigned)(rand () % 12)));
    decode (log, sizeof log, 0, 0, ROW, &b);
    row_of (&b, row);
    for (unsigned step = 0; step < 6; ++step) {
      unsigned start = (unsigned)(rand () % ROW);
      unsigned length = (unsigned)(rand () % (ROW + 1 - (int)start));
      bool any = false;

      for (unsigned s = start; s < start + length; ++s) {
        any |= row[s];
        row[s] = false;
      }
      if (bad_blocks_remove (&b, start, length) != any)
        ck_abort_msg ("remove %u %u", start, length);
      check_list (&b);
      row_of (&b, found);
      ck_assert_mem_eq (row, found, sizeof row);
      start = (unsigned)(rand () % ROW);
      length = (unsigned)(rand () % (ROW + 1 - (int)start));
      {
        uint64_t first = UINT64_MAX;

        for (unsigned s = start; s < start + length; ++s)
          if (row[s] && first == UINT64_MAX)
            first = s;
        if (bad_blocks_first (&b, start, length) != first)
          ck_abort_msg ("first %u %u", start, length);
      }
    }
  }
}
END_TEST

/* ---- bringing the log up ---- */

/* As the kernel reads it: false if it would refuse the leg. */
static bool
lists (const uint8_t *log, uint32_t bytes, unsigned shift, uint64_t data_offset,
       const struct bad_blocks *target)
{
  static struct bad_blocks listed;

  decode (log, bytes, shift, data_offset, UINT64_MAX >> 2, &listed);
  for (unsigned i = 0; i < target->n; ++i) {
    const struct bad_range *want = &target->ranges[i];
    bool found = false;

    for (unsigned j = 0; j < listed.n && !found; ++j)
      found = listed.ranges[j].start <= want->start
              && listed.ranges[j].start + listed.ranges[j].length
                     >= want->start + want->length;
    if (!found)
      return false;
  }
  return true;
}

/* No entry of length 0 where md looks. */
static bool
md_takes (const uint8_t *log, uint32_t bytes)
{
  for (unsigned i = 0; i < bytes / 8; ++i) {
    uint64_t e = get_le64 (log + 8 * i);

    if (e == UINT64_MAX)
      return true;
    if ((e & 0x3ff) == 0)
      return false;
  }
  return true;
}

/* Steps until there is no more to do; each may be torn, into all mixes, or
 * into some if there are too many.
 */
static unsigned
bring_up (uint8_t *log, uint32_t bytes, unsigned shift, uint64_t data_offset,
          const struct bad_blocks *target)
{
  static uint8_t old[BAD_BLOCKS_LOG_BYTES], mix[BAD_BLOCKS_LOG_BYTES];
  const bool taken = md_takes (log, bytes);
  const unsigned sectors = bytes / 512;
  unsigned steps = 0;

  for (;;) {
    memcpy (old, log, bytes);
    if (!bad_blocks_update_log (log, bytes, shift, data_offset, target)) {
      ck_assert_mem_eq (log, old, bytes);
      return steps;
    }
    if (memcmp (log, old, bytes) == 0)
      ck_abort_msg ("a step without a change");
    for (unsigned which = 0; which < 1u << sectors; ++which) {
      for (unsigned s = 0; s < sectors; ++s)
        memcpy (mix + 512 * s, (which & 1u << s ? log : old) + 512 * s, 512);
      if (!lists (mix, bytes, shift, data_offset, target))
        ck_abort_msg ("step %u, mix %x: something is lost", steps, which);
      if (taken && !md_takes (mix, bytes))
        ck_abort_msg ("step %u, mix %x: md refuses that", steps, which);
    }
    if (++steps > 1100)
      ck_abort_msg ("no end");
  }
}

static unsigned
entries (const uint8_t *log, uint32_t bytes)
{
  unsigned n = 0;

  while (n < bytes / 8 && get_le64 (log + 8 * n) != UINT64_MAX)
    ++n;
  return n;
}

/* In the end the log lists what the list has and no more, in few entries. */
static void
check_end (const uint8_t *log, uint32_t bytes, const struct bad_blocks *target,
           unsigned most)
{
  static struct bad_blocks listed;

  decode (log, bytes, 0, 0, UINT64_MAX >> 2, &listed);
  ck_assert_uint_eq (listed.n, target->n);
  ck_assert_mem_eq (listed.ranges, target->ranges,
                    target->n * sizeof target->ranges[0]);
  ck_assert_uint_le (entries (log, bytes), most);
}

/* All that can be rewritten of three entries of up to three sectors, of which
 * the second may overlap the first, one of them in another sector of the log.
 */
START_TEST (test_exhaustive)
{
  static uint8_t log[1024];
  unsigned most_steps = 0;

  for (unsigned second = 0; second < 6; ++second)
    for (unsigned row = 0; row < 1u << 10; ++row) {
      static struct bad_blocks target;
      unsigned steps;

      memset (log, 0xff, sizeof log);
      for (unsigned i = 0; i < 64; ++i) /* the first sector, full */
        put_le64 (log + 8 * i, entry (1000 + 2 * i, 1));
      put_le64 (log, entry (0, 3));
      put_le64 (log + 8 * 63, entry (second, 4));
      put_le64 (log + 8 * 64, entry (7, 3));
      decode (log, sizeof log, 0, 0, 2000, &target);
      if (_i == 1) /* holes in the first sector */
        bad_blocks_remove (&target, 1000, 1000);
      for (unsigned s = 0; s < 10; ++s)
        if (row & 1u << s)
          bad_blocks_remove (&target, s, 1);
      steps = bring_up (log, sizeof log, 0, 0, &target);
      most_steps = steps > most_steps ? steps : most_steps;
      check_end (log, sizeof log, &target, _i == 1 ? 7 : 70);
    }
  ck_assert_uint_ge (most_steps, 2);
}
END_TEST

START_TEST (test_random)
{
  srand (100 + (unsigned)_i);
  for (unsigned round = 0; round < 25; ++round) {
    static uint8_t log[BAD_BLOCKS_LOG_BYTES];
    static struct bad_blocks target;
    const uint32_t bytes = 512 * (1 + (unsigned)rand () % 8);
    const unsigned shift = rand () % 4 == 0 ? (unsigned)rand () % 10 : 0;
    const uint64_t data_offset = rand () % 2 ? 2048 : 0;
    const unsigned places = bytes / 8;
    const unsigned n =
        rand () % 4 == 0 ? places : (unsigned)rand () % (places + 1);
    const unsigned spread = rand () % 2 ? 100000 : 3000;

    memset (log, 0xff, bytes);
    for (unsigned i = 0; i < n; ++i)
      put_le64 (log + 8 * i, entry ((uint64_t)(rand () % (int)spread),
                                    1 + (unsigned)rand () % 512));
    if (rand () % 8 == 0 && n < places) /* behind the end */
      memset (log + 8 * n + 8, rand () % 2 ? 0 : 0x11, bytes - 8 * n - 8);
    decode (log, bytes, shift, data_offset, (uint64_t)1 << 40, &target);
    for (unsigned pass = 0; pass < 4; ++pass) {
      for (int i = rand () % 100; i > 0; --i)
        bad_blocks_remove (
            &target, (uint64_t)(rand () % (int)spread) << shift,
            (uint64_t)(1 + rand () % (pass == 3 ? 3000 : 40))
                << (shift > 2 && rand () % 2 ? shift - 2 : shift));
      bring_up (log, bytes, shift, data_offset, &target);
      ck_assert (lists (log, bytes, shift, data_offset, &target));
    }
    bad_blocks_remove (&target, 0, (uint64_t)1 << 40);
    bring_up (log, bytes, shift, data_offset, &target);
    ck_assert_uint_eq (entries (log, bytes), 0);
  }
}
END_TEST

/* Units larger than sectors: what is left of one keeps it. */
START_TEST (test_units)
{
  static struct bad_blocks b;
  uint8_t log[512];

  memset (log, 0xff, sizeof log);
  put_le64 (log, entry (10, 4)); /* sectors 80 to 112 */
  decode (log, sizeof log, 3, 16, 1000, &b);
  ck_assert (bad_blocks_remove (&b, 70, 9)); /* leg 86 to 95 */
  ck_assert_uint_eq (b.n, 2);
  ck_assert (!bad_blocks_update_log (log, sizeof log, 3, 16, &b));
  ck_assert (bad_blocks_remove (&b, 64, 24)); /* leg 80 to 104 */
  ck_assert (bad_blocks_update_log (log, sizeof log, 3, 16, &b));
  ck_assert_uint_eq (get_le64 (log), entry (13, 1));
}
END_TEST

/* The end of the log is the last place of a sector, and zeroes follow, which md
 * would refuse if they became part of it.
 */
START_TEST (test_behind_the_end)
{
  static struct bad_blocks b;
  static uint8_t log[1024];

  for (unsigned i = 0; i < 63; ++i)
    put_le64 (log + 8 * i, entry (10 * i, 8));
  put_le64 (log + 8 * 63, UINT64_MAX);
  decode (log, sizeof log, 0, 0, 1000, &b);
  ck_assert_uint_eq (b.n, 63);
  ck_assert (bad_blocks_remove (&b, 3, 2));
  ck_assert_uint_ge (bring_up (log, sizeof log, 0, 0, &b), 2);
  check_end (log, sizeof log, &b, 64);
}
END_TEST

/* What nothing lists is not made up. */
START_TEST (test_never_invented)
{
  static struct bad_blocks b;
  uint8_t log[512];

  memset (log, 0xff, sizeof log);
  put_le64 (log, entry (10, 4));
  b.n = 2;
  b.ranges[0] = (struct bad_range){ 8, 4 };
  b.ranges[1] = (struct bad_range){ 100, 1 };
  ck_assert (bad_blocks_update_log (log, sizeof log, 0, 0, &b));
  ck_assert_uint_eq (get_le64 (log), entry (10, 2));
  ck_assert_uint_eq (entries (log, sizeof log), 1);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("bad-blocks");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_add_test (tc, test_known);
  tcase_add_test (tc, test_decode);
  tcase_add_test (tc, test_shift);
  tcase_add_test (tc, test_full);
  tcase_add_test (tc, test_list);
  tcase_add_loop_test (tc, test_exhaustive, 0, 2);
  tcase_add_loop_test (tc, test_random, 0, 8);
  tcase_add_test (tc, test_units);
  tcase_add_test (tc, test_behind_the_end);
  tcase_add_test (tc, test_never_invented);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
