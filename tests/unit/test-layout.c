/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Placement on legs: as mdadm 4.2 does it, exact sizes, and what an existing
 * leg may look like.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/layout.h"

#include "golden.h"

#define CHUNK_64M (64u << 20)

/* Seen with "mdadm --create --metadata=1.2 --bitmap=internal" on loop
 * devices; sectors, the bitmap-chunk in bytes (0: not given), size 0: not
 * given.
 */
static const struct seen {
  uint64_t leg, size;
  uint32_t chunk;
  uint64_t data_offset, data_size, array_size;
  int32_t bblog_offset;
} seen[] = {
  { 2200, 0, 0, 2048, 152, 128, 16 },
  { 4096, 0, 0, 2048, 2048, 2048, 16 },
  { 32768, 0, 0, 2048, 30720, 30720, 16 },
  { 131072, 0, 0, 2048, 129024, 129024, 16 },
  { 131072, 0, 4096, 2048, 129024, 129024, 16 },
  { 131072, 40000, 0, 2048, 129024, 40000, 16 },
  { 131072, 40002, 0, 2048, 129024, 40002, 16 },
  { 131073, 0, 0, 2048, 129025, 129024, 16 },
  { 131074, 0, 0, 2048, 129026, 129024, 16 },
  { 131075, 0, 0, 2048, 129027, 129024, 16 },
  { 2097152, 0, 0, 4096, 2093056, 2093056, 16 },
  { 4194304, 0, 0, 6144, 4188160, 4188160, 16 },
  { 4194304, 0, 131072, 6144, 4188160, 4188160, 16 },
  { 16777216, 0, 0, 18432, 16758784, 16758784, 16 },
  { 16777224, 0, 0, 18432, 16758792, 16758784, 16 },
  { 16777225, 0, 0, 18432, 16758793, 16758784, 16 },
  { 16777344, 0, 0, 18432, 16758912, 16758912, 16 },
  { 18874368, 0, 0, 18432, 18855936, 18855936, 16 },
  { 18874368, 0, 32768, 18432, 18855936, 18855936, 88 },
  { 419430400, 0, 0, 264192, 419166208, 419166208, 16 },
  { 419430527, 0, 0, 264192, 419166335, 419166208, 16 },
  { 419430528, 0, 0, 264192, 419166336, 419166336, 16 },
  { 421527552, 0, 0, 264192, 421263360, 421263360, 16 },
  { 421527552, 0, 262144, 264192, 421263360, 421263360, 216 },
  { 6442450944, 0, 0, 264192, 6442186752, 6442186752, 24 },
  { 32212254720, 0, 0, 264192, 32211990528, 32211990528, 72 },
};

#define SEEN (sizeof seen / sizeof seen[0])

/* A superblock and a bitmap that say what the layout says. */
static void
describe (const struct layout *l, struct superblock_1 *s,
          struct bitmap_superblock *b)
{
  memset (s, 0, sizeof *s);
  memset (b, 0, sizeof *b);
  s->feature_map = FEATURE_BITMAP_OFFSET;
  s->super_offset = l->super_offset;
  s->bitmap_offset = l->bitmap_offset;
  s->bblog_offset = l->bblog_offset;
  s->bblog_size = l->bblog_size;
  s->data_offset = l->data_offset;
  s->data_size = l->data_size;
  s->size = l->size;
  b->chunksize = l->chunksize;
}

static void
check_fits (const struct layout *l, uint64_t leg)
{
  static struct superblock_1 s;
  struct bitmap_superblock b;
  struct format_error error;
  char text[300];

  describe (l, &s, &b);
  if (layout_check (&s, &b, leg, &error) < 0) {
    format_error_string (&error, text, sizeof text);
    ck_abort_msg ("leg %llu: %s", (unsigned long long)leg, text);
  }
}

START_TEST (test_seen)
{
  const struct seen *k = &seen[_i];
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (layout_1_2 (k->leg, k->size, k->chunk, &l, &error), 0);
  ck_assert_uint_eq (l.super_offset, 8);
  ck_assert_int_eq (l.bitmap_offset, 8);
  ck_assert_uint_eq (l.data_offset, k->data_offset);
  ck_assert_uint_eq (l.data_size, k->data_size);
  ck_assert_uint_eq (l.size, k->array_size);
  ck_assert_int_eq (l.bblog_offset, k->bblog_offset);
  ck_assert_int_eq ((int)l.bitmap_sectors, k->bblog_offset - 8);
  ck_assert_uint_eq (l.bblog_size, 8);
  ck_assert_uint_eq (l.chunksize, k->chunk ? k->chunk : CHUNK_64M);
  check_fits (&l, k->leg);
}
END_TEST

/* mdadm refuses these chunks: the data moves, the rest is the same. */
START_TEST (test_finer_chunk)
{
  struct format_error error;
  struct layout l;
  uint64_t size, leg;

  /* 2 GiB: 32720 bits, 2 pages; there is room before 6144 anyway. */
  ck_assert_int_eq (layout_1_2 (4194304, 0, 65536, &l, &error), 0);
  ck_assert_uint_eq (l.bitmap_sectors, 16);
  ck_assert_uint_eq (l.data_offset, 6144);
  check_fits (&l, 4194304);
  /* 2 GiB in chunks of 4 KiB: 523520 bits, 16.04 pages */
  ck_assert_int_eq (layout_1_2 (4194304, 0, 4096, &l, &error), 0);
  ck_assert_uint_eq (l.bitmap_sectors, 8 * 17);
  ck_assert_uint_eq (l.data_offset, 6144);
  check_fits (&l, 4194304);
  /* 32 GiB in chunks of 4 KiB: 1 MiB of bits more than mdadm leaves. */
  ck_assert_int_eq (layout_1_2 (67108864, 0, 4096, &l, &error), 0);
  ck_assert_uint_eq (l.data_offset % 2048, 0);
  ck_assert_uint_eq (l.data_offset, 65536 + 2 * 2048);
  ck_assert_uint_ge (l.data_offset, l.bitmap_sectors + 24);
  check_fits (&l, 67108864);
  /* 24 sectors and 2024 of bitmap fill 1 MiB to the last one: with one more
   * page of bits, it takes another MiB.
   */
  size = (2024 * 512 - 256) * 8 * 8;
  ck_assert_int_eq (layout_1_2_leg (size, 4096, &leg, &error), 0);
  ck_assert_uint_eq (leg, size + 32768 + 2048);
  ck_assert_int_eq (layout_1_2_leg (size + 1, 4096, &leg, &error), 0);
  ck_assert_uint_eq (leg, size + 1 + 32768 + 4096);
  /* 1 TiB in chunks of 4 KiB: 32 MiB of bits. */
  ck_assert_int_eq (layout_1_2 ((uint64_t)1 << 31, 0, 4096, &l, &error), 0);
  ck_assert_uint_gt (l.data_offset, 264192 + 60000);
  check_fits (&l, (uint64_t)1 << 31);
}
END_TEST

/* A leg made for a size gives exactly that size, and there is no smaller
 * one.
 */
static void
check_exact (uint64_t size, uint32_t chunk)
{
  struct format_error error;
  struct layout l;
  uint64_t leg;

  ck_assert_int_eq (layout_1_2_leg (size, chunk, &leg, &error), 0);
  ck_assert_int_eq (layout_1_2 (leg, size, chunk, &l, &error), 0);
  ck_assert_uint_eq (l.size, size);
  ck_assert_uint_eq (l.data_size, size);
  ck_assert_uint_eq (l.data_offset + size, leg);
  check_fits (&l, leg);
  ck_assert_int_eq (layout_1_2 (leg - 1, size, chunk, &l, &error), -EINVAL);
  ck_assert_str_eq (error.field, "size of the leg");
  ck_assert_ptr_nonnull (strstr (error.expected, "at least"));
}

START_TEST (test_exact)
{
  static const uint32_t chunks[] = { 0,        4096,      65536,
                                     1u << 20, CHUNK_64M, 1u << 31 };

  for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; ++c) {
    for (uint64_t size = 10; size < 200; ++size)
      check_exact (size, chunks[c]);
    /* Around every power of two up to 64 TiB, where headroom changes. */
    for (unsigned bit = 8; bit < 38; ++bit)
      for (int d = -3; d <= 3; ++d)
        if (chunks[c] != 4096 || bit < 36)
          check_exact (((uint64_t)1 << bit) + (uint64_t)d, chunks[c]);
    for (uint64_t size = 16777216 - 20000; size < 16777216; size += 509)
      check_exact (size, chunks[c]);
  }
}
END_TEST

/* Larger legs never give smaller arrays, and all fit. */
START_TEST (test_monotonic)
{
  struct format_error error;
  struct layout l;
  uint64_t last = 0;

  for (uint64_t leg = 2200; leg < (uint64_t)1 << 36; leg += leg / 97 + 1) {
    ck_assert_int_eq (layout_1_2 (leg, 0, 65536, &l, &error), 0);
    check_fits (&l, leg);
    ck_assert_uint_eq (l.size % 128, 0);
    ck_assert_uint_ge (l.size + 2048 + leg / 512, last);
    last = l.size;
  }
}
END_TEST

/* mdadm keeps the bitmap of large arrays within 128 KiB. */
START_TEST (test_default_chunk)
{
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (layout_1_2 ((uint64_t)60 << 31, 0, 0, &l, &error), 0);
  ck_assert_uint_eq (l.chunksize, CHUNK_64M);
  ck_assert_int_eq (layout_1_2 ((uint64_t)70 << 31, 0, 0, &l, &error), 0);
  ck_assert_uint_eq (l.chunksize, 2 * CHUNK_64M);
  ck_assert_uint_le (l.bitmap_sectors, 256);
  ck_assert_int_eq (layout_1_2 ((uint64_t)1 << 41, 0, 0, &l, &error), 0);
  ck_assert_uint_le (l.bitmap_sectors, 256);
}
END_TEST

START_TEST (test_refused)
{
  static const struct {
    uint64_t leg, size;
    uint32_t chunk;
    const char *field;
  } cases[] = {
    { 131072, 0, 1, "bitmap-chunk" },
    { 131072, 0, 2048, "bitmap-chunk" },
    { 131072, 0, 4097, "bitmap-chunk" },
    { 131072, 0, 3u << 20, "bitmap-chunk" },
    { (uint64_t)1 << 40, 0, 4096, "bitmap-chunk" },
    { 131072, 9, 0, "size" },
    { 131072, UINT64_MAX, 0, "size" },
    { UINT64_MAX, 0, 0, "size of the leg" },
    { 0, 0, 0, "size of the leg" },
    { 2048, 0, 0, "size of the leg" },
    { 2175, 0, 0, "size of the leg" },
    { 131072, 129025, 0, "size of the leg" },
    { 0, 100, 0, "size of the leg" },
  };
  struct format_error error;
  struct layout l;

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    ck_assert_msg (
        layout_1_2 (cases[i].leg, cases[i].size, cases[i].chunk, &l, &error)
            == -EINVAL,
        "case %zu", i);
    ck_assert_str_eq (error.field, cases[i].field);
    ck_assert_ptr_nonnull (error.advice);
  }
}
END_TEST

START_TEST (test_refused_leg)
{
  struct format_error error;
  uint64_t leg;

  ck_assert_int_eq (layout_1_2_leg (0, 0, &leg, &error), -EINVAL);
  ck_assert_str_eq (error.field, "size");
  ck_assert_int_eq (layout_1_2_leg (UINT64_MAX, 0, &leg, &error), -EINVAL);
  ck_assert_str_eq (error.field, "size");
  ck_assert_int_eq (layout_1_2_leg (1000, 5000, &leg, &error), -EINVAL);
  ck_assert_str_eq (error.field, "bitmap-chunk");
}
END_TEST

/* ---- existing legs ---- */

static int
check (struct superblock_1 *s, struct bitmap_superblock *b, uint64_t leg,
       struct format_error *error)
{
  memset (error, 0, sizeof *error);
  return layout_check (s, b, leg, error);
}

START_TEST (test_golden)
{
  static const char *const names[] = { "created-0", "dirty-0", "added-1",
                                       "no-bitmap-0" };
  static struct superblock_1 s;
  struct bitmap_superblock b;
  struct format_error error;
  struct golden golden;
  bool intact;

  golden_load (names[_i], &golden);
  ck_assert_int_eq (
      superblock_1_decode (golden.superblock, 8, GOLDEN_LEG_SECTORS, &s,
                           &intact, &error),
      0);
  if (s.feature_map & FEATURE_BITMAP_OFFSET) {
    ck_assert_int_eq (
        bitmap_superblock_decode (golden.bitmap, &b, &intact, &error), 0);
    ck_assert_int_eq (check (&s, &b, GOLDEN_LEG_SECTORS, &error), 0);
  }
  ck_assert_int_eq (check (&s, NULL, GOLDEN_LEG_SECTORS, &error), 0);
  ck_assert_int_eq (check (&s, NULL, GOLDEN_LEG_SECTORS - 1, &error), -EINVAL);
  ck_assert_str_eq (error.field, "data_offset");
}
END_TEST

static const struct {
  uint32_t feature_map;
  int32_t bitmap_offset;
  uint16_t bblog_size;
  int32_t bblog_offset;
  uint64_t data_offset;
  const char *refused;
} overlaps[] = {
  { 1, 8, 8, 16, 2048, NULL },
  { 1, 8, 8, 16, 32, NULL }, /* nothing to spare */
  { 1, 8, 8, 16, 31, "bblog_offset" },
  { 1, 8, 0, 16, 24, NULL },
  { 1, 8, 0, 16, 23, "bitmap_offset" },
  { 1, 8, 8, 0, 24, NULL }, /* offset 0: no log */
  { 0, 0, 8, 8, 24, NULL },
  { 0, 0, 8, 8, 23, "bblog_offset" },
  { 0, 0, 0, 0, 16, NULL },
  { 0, 0, 0, 0, 15, "data_offset" },
  { 0, 2, 8, 16, 2048, NULL },            /* no bitmap: its offset is nothing */
  { 1, 2, 8, 16, 2048, "bitmap_offset" }, /* over the superblock */
  { 1, 7, 8, 16, 2048, "bitmap_offset" },
  { 1, -8, 8, 16, 2048, NULL }, /* sectors 0 to 8 */
  { 1, -7, 8, 16, 2048, "bitmap_offset" },
  { 1, -9, 8, 16, 2048, "bitmap_offset" }, /* before the leg */
  { 1, INT32_MIN, 8, 16, 2048, "bitmap_offset" },
  { 1, INT32_MAX, 8, 16, 2048, "bitmap_offset" },
  { 1, 2032, 8, 16, 2048, NULL },
  { 1, 2033, 8, 16, 2048, "bitmap_offset" },
  { 1, 16, 8, 16, 2048, "bitmap_offset" }, /* over the log */
  { 1, 8, 8, 15, 2048, "bitmap_offset" },
  { 1, 8, 8, 7, 2048, "bitmap_offset" },
  { 1, 16, 8, 7, 2048, "bblog_offset" },
  { 1, 8, 8, -8, 2048, NULL },
  { 1, 8, 8, -9, 2048, "bblog_offset" },
  { 1, 8, 8, INT32_MIN, 2048, "bblog_offset" },
  { 1, 8, 8, 2032, 2048, NULL },
  { 1, 8, 8, 2033, 2048, "bblog_offset" },
};

START_TEST (test_overlap)
{
  static struct superblock_1 s;
  struct bitmap_superblock b;
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (layout_1_2 (131072, 100000, 0, &l, &error), 0);
  for (size_t i = 0; i < sizeof overlaps / sizeof overlaps[0]; ++i) {
    int r;

    describe (&l, &s, &b);
    s.feature_map = overlaps[i].feature_map;
    s.bitmap_offset = overlaps[i].bitmap_offset;
    s.bblog_size = overlaps[i].bblog_size;
    s.bblog_offset = overlaps[i].bblog_offset;
    s.data_offset = overlaps[i].data_offset;
    r = check (&s, &b, 131072, &error);
    if (!overlaps[i].refused)
      ck_assert_msg (r == 0, "case %zu: %s: %s", i, error.field, error.found);
    else {
      ck_assert_msg (r == -EINVAL, "case %zu", i);
      ck_assert_str_eq (error.field, overlaps[i].refused);
      ck_assert_ptr_nonnull (error.advice);
    }
  }
}
END_TEST

/* The bits of an array with a fine chunk run into what follows. */
START_TEST (test_room)
{
  static struct superblock_1 s;
  struct bitmap_superblock b;
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (layout_1_2 (131072, 0, 4096, &l, &error), 0);
  describe (&l, &s, &b);
  b.chunksize = 2048; /* 32256 bits: two pages */
  ck_assert_int_eq (check (&s, &b, 131072, &error), -EINVAL);
  ck_assert_str_eq (error.field, "bitmap_offset");
  b.chunksize = 4096; /* 16128 bits: 2272 bytes, 5 sectors */
  b.sectors_reserved = 4;
  ck_assert_int_eq (check (&s, &b, 131072, &error), -EINVAL);
  ck_assert_str_eq (error.field, "sectors_reserved");
  b.sectors_reserved = 5;
  ck_assert_int_eq (check (&s, &b, 131072, &error), 0);
  b.sectors_reserved = 0;
  s.size = s.data_size = (uint64_t)1 << 45;
  b.chunksize = 512;
  ck_assert_int_eq (check (&s, &b, (uint64_t)1 << 46, &error), -EINVAL);
  ck_assert_str_eq (error.field, "chunksize");
}
END_TEST

START_TEST (test_extremes)
{
  static struct superblock_1 s;
  struct bitmap_superblock b;
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (layout_1_2 (131072, 0, 0, &l, &error), 0);
  describe (&l, &s, &b);
  s.data_size = UINT64_MAX;
  ck_assert_int_eq (check (&s, &b, UINT64_MAX, &error), -EINVAL);
  ck_assert_str_eq (error.field, "data_offset");
  describe (&l, &s, &b);
  s.data_offset = UINT64_MAX;
  ck_assert_int_eq (check (&s, &b, UINT64_MAX, &error), -EINVAL);
  ck_assert_str_eq (error.field, "data_offset");
  describe (&l, &s, &b);
  s.super_offset = UINT64_MAX;
  ck_assert_int_eq (check (&s, &b, UINT64_MAX, &error), -EINVAL);
  describe (&l, &s, &b);
  ck_assert_int_eq (check (&s, &b, 0, &error), -EINVAL);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("layout");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_add_loop_test (tc, test_seen, 0, SEEN);
  tcase_add_test (tc, test_finer_chunk);
  tcase_add_test (tc, test_exact);
  tcase_add_test (tc, test_monotonic);
  tcase_add_test (tc, test_default_chunk);
  tcase_add_test (tc, test_refused);
  tcase_add_test (tc, test_refused_leg);
  tcase_add_loop_test (tc, test_golden, 0, 4);
  tcase_add_test (tc, test_overlap);
  tcase_add_test (tc, test_room);
  tcase_add_test (tc, test_extremes);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
