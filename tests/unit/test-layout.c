/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Placement on legs: as mdadm 4.2 does it, exact sizes, and what an existing
 * leg may look like.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/layout.h"

#include "golden.h"

#define CHUNK_64M (64u << 20)

/* A superblock and a bitmap that say what the layout says. */
static void
describe (enum superblock_version version, const struct layout *l,
          struct superblock *s, struct bitmap_superblock *b)
{
  memset (s, 0, sizeof *s);
  memset (b, 0, sizeof *b);
  s->version = version;
  s->feature_map = l->bitmap_sectors != 0 ? FEATURE_BITMAP_OFFSET : 0;
  s->super_offset = l->super_offset;
  s->bitmap_offset = l->bitmap_offset;
  s->bblog_offset = l->bblog_offset;
  s->bblog_size = l->bblog_size;
  s->data_offset = l->data_offset;
  s->data_size = l->data_size;
  s->size = l->size;
  b->chunksize = l->chunksize;
}

/* What was placed is what layout_check accepts, and its bitmap has room. */
static void
check_fits (enum superblock_version version, const struct layout *l,
            uint64_t leg)
{
  const bool bitmap = l->bitmap_sectors != 0;
  static struct superblock s;
  struct bitmap_superblock b;
  struct format_error error;
  char text[300];

  describe (version, l, &s, &b);
  if (layout_check (&s, bitmap ? &b : NULL, leg, &error) < 0) {
    format_error_string (&error, text, sizeof text);
    ck_abort_msg ("leg %llu: %s", (unsigned long long)leg, text);
  }
  ck_assert_uint_ge (layout_bitmap_room (&s, leg), l->bitmap_sectors);
  ck_assert_uint_eq (superblock_sector (version, leg), l->super_offset);
}

/* ---- as mdadm ---- */

/* A row of tests/golden/layout.table. */
struct row {
  enum superblock_version version;
  bool bitmap;
  uint32_t chunk;
  uint64_t leg, size;
  char refused[16]; /* "chunk", "size", or empty */
  struct layout layout;
};

/* False at the end. */
static bool
read_row (FILE *fp, struct row *row)
{
  char line[300], version[8], bitmap[16];
  unsigned long long v[6];
  int n, first;

  do
    if (!fgets (line, sizeof line, fp))
      return false;
  while (line[0] == '#');
  memset (row, 0, sizeof *row);
  ck_assert_int_eq (sscanf (line, "%7s %15s %llu %llu:%n", version, bitmap,
                            &v[0], &v[1], &first),
                    4);
  ck_assert (superblock_version_parse (version, &row->version));
  row->bitmap = strcmp (bitmap, "none") != 0;
  if (row->bitmap && strcmp (bitmap, "default") != 0)
    row->chunk = (uint32_t)strtoul (bitmap, NULL, 10);
  row->leg = v[0];
  row->size = v[1];
  if (sscanf (line + first, " refused %15s", row->refused) == 1)
    return true;
  n = sscanf (line + first,
              " %llu %llu %llu %llu %" SCNd32 " %" SCNd32 " %" SCNu16 " %llu",
              &v[0], &v[1], &v[2], &v[3], &row->layout.bitmap_offset,
              &row->layout.bblog_offset, &row->layout.bblog_size, &v[4]);
  ck_assert_msg (n == 8, "%s", line);
  row->layout.super_offset = v[0];
  row->layout.data_offset = v[1];
  row->layout.data_size = v[2];
  row->layout.size = v[3];
  row->layout.chunksize = (uint32_t)v[4];
  return true;
}

static void
check_row (const struct row *row)
{
  const struct layout *want = &row->layout;
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (layout_place (row->version, row->bitmap, row->leg,
                                  row->size, row->chunk, &l, &error),
                    0);
  ck_assert_uint_eq (l.super_offset, want->super_offset);
  ck_assert_uint_eq (l.data_offset, want->data_offset);
  ck_assert_uint_eq (l.size, want->size);
  ck_assert_uint_eq (l.data_size, want->data_size);
  ck_assert_int_eq (l.bitmap_offset, want->bitmap_offset);
  ck_assert_int_eq (l.bblog_offset, want->bblog_offset);
  ck_assert_uint_eq (l.bblog_size, want->bblog_size);
  ck_assert_uint_eq (l.chunksize, want->chunksize);
  check_fits (row->version, &l, row->leg);
}

/* What mdadm refuses, we refuse as well, but for chunks that take more room
 * than it leaves on this leg: they get it, unless there is none.
 */
static void
check_refused_row (const struct row *row)
{
  struct format_error error;
  struct layout l;
  int r = layout_place (row->version, row->bitmap, row->leg, row->size,
                        row->chunk, &l, &error);

  if (strcmp (row->refused, "size") == 0) {
    ck_assert_int_eq (r, -EINVAL);
    ck_assert (strcmp (error.field, "size") == 0
               || strcmp (error.field, "size of the leg") == 0);
  }
  else if (r == 0) {
    if (row->chunk != 0)
      ck_assert_uint_eq (l.chunksize, row->chunk);
    else /* mdadm leaves no room at all for the bitmap of less than 64 KiB */
      ck_assert_uint_lt (row->size, 128);
    check_fits (row->version, &l, row->leg);
    if (row->version == SUPERBLOCK_0_90)
      ck_assert_uint_le (l.bitmap_sectors, 120);
  }
  else {
    ck_assert_int_eq (row->version, SUPERBLOCK_0_90);
    ck_assert_str_eq (error.field, "bitmap-chunk");
  }
}

START_TEST (test_table)
{
  unsigned rows = 0, refused = 0, versions[SUPERBLOCK_VERSIONS] = { 0 };
  FILE *fp = golden_open ("layout", "table");
  struct row row;

  while (read_row (fp, &row)) {
    ++rows;
    ++versions[row.version];
    refused += row.refused[0] != '\0';
    if ((int)row.version != _i)
      continue;
    mark_point ();
    if (row.refused[0] != '\0')
      check_refused_row (&row);
    else
      check_row (&row);
  }
  fclose (fp);
  ck_assert_uint_gt (rows, 900);
  ck_assert_uint_gt (refused, 100);
  ck_assert_uint_gt (versions[_i], 200);
}
END_TEST

/* mdadm refuses these chunks: the data moves, the rest is the same. */
START_TEST (test_finer_chunk)
{
  struct format_error error;
  struct layout l;
  uint64_t size, leg;

  /* 2 GiB: 32720 bits, 2 pages; there is room before 6144 anyway. */
  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, 4194304, 0, 65536, &l, &error), 0);
  ck_assert_uint_eq (l.bitmap_sectors, 16);
  ck_assert_uint_eq (l.data_offset, 6144);
  check_fits (SUPERBLOCK_1_2, &l, 4194304);
  /* 2 GiB in chunks of 4 KiB: 523520 bits, 16.04 pages */
  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, 4194304, 0, 4096, &l, &error), 0);
  ck_assert_uint_eq (l.bitmap_sectors, 8 * 17);
  ck_assert_uint_eq (l.data_offset, 6144);
  check_fits (SUPERBLOCK_1_2, &l, 4194304);
  /* 32 GiB in chunks of 4 KiB: 1 MiB of bits more than mdadm leaves. */
  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, 67108864, 0, 4096, &l, &error), 0);
  ck_assert_uint_eq (l.data_offset % 2048, 0);
  ck_assert_uint_eq (l.data_offset, 65536 + 2 * 2048);
  ck_assert_uint_ge (l.data_offset, l.bitmap_sectors + 24);
  check_fits (SUPERBLOCK_1_2, &l, 67108864);
  /* 24 sectors and 2024 of bitmap fill 1 MiB to the last one: with one more
   * page of bits, it takes another MiB.
   */
  size = (2024 * 512 - 256) * 8 * 8;
  ck_assert_int_eq (
      layout_leg_sectors (SUPERBLOCK_1_2, true, size, 4096, &leg, &error), 0);
  ck_assert_uint_eq (leg, size + 32768 + 2048);
  ck_assert_int_eq (
      layout_leg_sectors (SUPERBLOCK_1_2, true, size + 1, 4096, &leg, &error),
      0);
  ck_assert_uint_eq (leg, size + 1 + 32768 + 4096);
  /* 1 TiB in chunks of 4 KiB: 32 MiB of bits. */
  ck_assert_int_eq (layout_place (SUPERBLOCK_1_2, true, (uint64_t)1 << 31, 0,
                                  4096, &l, &error),
                    0);
  ck_assert_uint_gt (l.data_offset, 264192 + 60000);
  check_fits (SUPERBLOCK_1_2, &l, (uint64_t)1 << 31);
}
END_TEST

/* A leg made for a size gives exactly that size, and there is no smaller
 * one.
 */
static void
check_exact (enum superblock_version version, bool bitmap, uint64_t size,
             uint32_t chunk)
{
  struct format_error error;
  struct layout l;
  uint64_t leg;

  ck_assert_int_eq (
      layout_leg_sectors (version, bitmap, size, chunk, &leg, &error), 0);
  ck_assert_int_eq (
      layout_place (version, bitmap, leg, size, chunk, &l, &error), 0);
  ck_assert_uint_eq (l.size, size);
  ck_assert_uint_ge (l.data_size, size);
  ck_assert (bitmap == (l.bitmap_offset != 0));
  ck_assert (bitmap == (l.chunksize != 0));
  if (version == SUPERBLOCK_1_1 || version == SUPERBLOCK_1_2)
    ck_assert_uint_eq (l.data_offset + size, leg);
  else
    ck_assert_uint_eq (leg % 8, 0);
  check_fits (version, &l, leg);
  ck_assert_int_eq (
      layout_place (version, bitmap, leg - 1, size, chunk, &l, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "size of the leg");
  ck_assert_ptr_nonnull (strstr (error.expected, "at least"));
}

/* What 0.90 cannot say is left out. */
static bool
possible (enum superblock_version version, uint64_t size, uint32_t chunk)
{
  if (version != SUPERBLOCK_0_90)
    return chunk != 4096 || size < ((uint64_t)1 << 35) + 100;
  return size % 2 == 0 && size < (uint64_t)1 << 33
         && (chunk == 0
             || size / (chunk / 512) / 8 + 257 <= (uint64_t)60 * 1024);
}

START_TEST (test_exact)
{
  static const uint32_t chunks[] = { 0,        4096,      65536,
                                     1u << 20, CHUNK_64M, 1u << 31 };
  const enum superblock_version v = (enum superblock_version) (_i / 2);
  const bool bitmap = _i % 2 == 0;

  for (size_t c = 0; c < (bitmap ? sizeof chunks / sizeof chunks[0] : 1); ++c) {
    for (uint64_t size = 10; size < 200; ++size)
      if (possible (v, size, chunks[c]))
        check_exact (v, bitmap, size, chunks[c]);
    /* Around every power of two up to 64 TiB, where headroom changes. */
    for (unsigned bit = 8; bit < 38; ++bit)
      for (int d = -3; d <= 3; ++d)
        if (possible (v, ((uint64_t)1 << bit) + (uint64_t)d, chunks[c]))
          check_exact (v, bitmap, ((uint64_t)1 << bit) + (uint64_t)d,
                       chunks[c]);
    for (uint64_t size = 16777216 - 20000; size < 16777216; size += 509)
      if (possible (v, size, chunks[c]))
        check_exact (v, bitmap, size, chunks[c]);
  }
}
END_TEST

/* Larger legs never give smaller arrays, and all fit. */
START_TEST (test_monotonic)
{
  const enum superblock_version v = (enum superblock_version) (_i / 2);
  const bool bitmap = _i % 2 == 0;
  const uint64_t end = (uint64_t)1 << (v == SUPERBLOCK_0_90 ? 33 : 36);
  const uint32_t chunk = v == SUPERBLOCK_0_90 ? 0 : 65536;
  struct format_error error;
  struct layout l;
  uint64_t last = 0;

  for (uint64_t leg = 2200; leg < end; leg += leg / 97 + 1) {
    ck_assert_int_eq (layout_place (v, bitmap, leg, 0, chunk, &l, &error), 0);
    check_fits (v, &l, leg);
    ck_assert_uint_eq (l.size % 128, 0);
    ck_assert_uint_ge (l.size + 2048 + leg / 512, last);
    last = l.size;
  }
}
END_TEST

/* 1.0: a finer chunk than mdadm takes takes room from the data. */
START_TEST (test_finer_chunk_1_0)
{
  struct format_error error;
  struct layout l;

  /* 2 GiB in chunks of 4 KiB: 17 pages. */
  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_0, true, 4194304, 0, 4096, &l, &error), 0);
  ck_assert_uint_eq (l.super_offset, 4194288);
  ck_assert_uint_eq (l.bitmap_sectors, 8 * 17);
  ck_assert_int_eq (l.bitmap_offset, -8 * 17 - 8);
  ck_assert_int_eq (l.bblog_offset, -8);
  ck_assert_uint_eq (l.data_size, 4194288 - 8 * 17 - 8);
  ck_assert_uint_eq (l.size, l.data_size / 128 * 128);
  check_fits (SUPERBLOCK_1_0, &l, 4194304);
}
END_TEST

/* 0.90: 60 KiB to the last bit, and not one more. */
START_TEST (test_room_090)
{
  const uint64_t bits = (60 * 1024 - 256) * 8;
  struct format_error error;
  uint64_t leg;

  check_exact (SUPERBLOCK_0_90, true, bits * 8, 4096);
  ck_assert_int_eq (layout_leg_sectors (SUPERBLOCK_0_90, true, bits * 8 + 2,
                                        4096, &leg, &error),
                    -EINVAL);
  ck_assert_str_eq (error.field, "bitmap-chunk");
  ck_assert_ptr_nonnull (strstr (error.expected, "60 KiB"));
  check_exact (SUPERBLOCK_0_90, true, bits * 8 + 2, 8192);
  /* Without a bitmap the chunk is nothing. */
  ck_assert_int_eq (layout_leg_sectors (SUPERBLOCK_0_90, false, bits * 8 + 2,
                                        4096, &leg, &error),
                    0);
}
END_TEST

/* 0.90 counts KiB, below 4 TiB. */
START_TEST (test_refused_090)
{
  struct format_error error;
  uint64_t leg;

  ck_assert_int_eq (
      layout_leg_sectors (SUPERBLOCK_0_90, true, 1001, 0, &leg, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "size");
  ck_assert_ptr_nonnull (strstr (error.expected, "1024"));
  ck_assert_int_eq (layout_leg_sectors (SUPERBLOCK_0_90, true,
                                        (uint64_t)1 << 33, 0, &leg, &error),
                    -EINVAL);
  ck_assert_str_eq (error.field, "size");
  ck_assert_ptr_nonnull (strstr (error.expected, "4 TiB"));
}
END_TEST

/* mdadm keeps the bitmap of large arrays within 128 KiB. */
START_TEST (test_default_chunk)
{
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, (uint64_t)60 << 31, 0, 0, &l, &error),
      0);
  ck_assert_uint_eq (l.chunksize, CHUNK_64M);
  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, (uint64_t)70 << 31, 0, 0, &l, &error),
      0);
  ck_assert_uint_eq (l.chunksize, 2 * CHUNK_64M);
  ck_assert_uint_le (l.bitmap_sectors, 256);
  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, (uint64_t)1 << 41, 0, 0, &l, &error),
      0);
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
    ck_assert_msg (layout_place (SUPERBLOCK_1_2, true, cases[i].leg,
                                 cases[i].size, cases[i].chunk, &l, &error)
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

  ck_assert_int_eq (
      layout_leg_sectors (SUPERBLOCK_1_2, true, 0, 0, &leg, &error), -EINVAL);
  ck_assert_str_eq (error.field, "size");
  ck_assert_int_eq (
      layout_leg_sectors (SUPERBLOCK_1_2, true, UINT64_MAX, 0, &leg, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "size");
  ck_assert_int_eq (
      layout_leg_sectors (SUPERBLOCK_1_2, true, 1000, 5000, &leg, &error),
      -EINVAL);
  ck_assert_str_eq (error.field, "bitmap-chunk");
}
END_TEST

/* ---- existing legs ---- */

static int
check (struct superblock *s, struct bitmap_superblock *b, uint64_t leg,
       struct format_error *error)
{
  memset (error, 0, sizeof *error);
  return layout_check (s, b, leg, error);
}

START_TEST (test_golden)
{
  static const char *const names[] = { "created-0", "dirty-0", "added-1",
                                       "no-bitmap-0" };
  static struct superblock s;
  struct bitmap_superblock b;
  struct format_error error;
  struct golden golden;
  bool intact;

  golden_load (names[_i], &golden);
  ck_assert_int_eq (superblock_decode (SUPERBLOCK_1_2, golden.superblock,
                                       GOLDEN_LEG_SECTORS, &s, &intact, &error),
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
  static struct superblock s;
  struct bitmap_superblock b;
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, 131072, 100000, 0, &l, &error), 0);
  for (size_t i = 0; i < sizeof overlaps / sizeof overlaps[0]; ++i) {
    int r;

    describe (SUPERBLOCK_1_2, &l, &s, &b);
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
  static struct superblock s;
  struct bitmap_superblock b;
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, 131072, 0, 4096, &l, &error), 0);
  describe (SUPERBLOCK_1_2, &l, &s, &b);
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

/* A leg of 1000 sectors. */
static const struct {
  enum superblock_version version;
  uint32_t feature_map;
  uint64_t super_offset;
  int32_t bitmap_offset;
  uint16_t bblog_size;
  int32_t bblog_offset;
  uint64_t data_offset, data_size, size;
  const char *refused;
  uint64_t room; /* if accepted */
} at_end[] = {
  /* 1.0: data, bitmap, log, superblock */
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -8, 0, 968, 968, NULL, 8 },
  { SUPERBLOCK_1_0, 1, 984, -40, 8, -8, 0, 944, 944, NULL, 32 },
  { SUPERBLOCK_1_0, 1, 984, -40, 0, 0, 0, 944, 944, NULL, 40 },
  { SUPERBLOCK_1_0, 1, 984, -40, 8, 0, 0, 944, 944, NULL, 40 },
  /* data_size may reach into them, what is used may not */
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -8, 0, 984, 968, NULL, 8 },
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -8, 0, 984, 969, "bitmap_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -8, 1, 984, 968, "bitmap_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -8, 1, 984, 967, NULL, 8 },
  { SUPERBLOCK_1_0, 0, 984, -16, 8, -8, 0, 984, 976, NULL, 0 },
  { SUPERBLOCK_1_0, 0, 984, -16, 8, -8, 0, 984, 977, "bblog_offset", 0 },
  { SUPERBLOCK_1_0, 0, 984, 0, 0, -8, 0, 984, 984, NULL, 0 },
  { SUPERBLOCK_1_0, 0, 984, 0, 0, -8, 0, 984, 985, "data_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, -15, 8, -8, 0, 900, 900, "bitmap_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -7, 0, 900, 900, "bblog_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -984, 8, 900, 900, NULL, 16 },
  { SUPERBLOCK_1_0, 1, 984, -984, 8, -8, 8, 900, 900, NULL, 8 },
  { SUPERBLOCK_1_0, 1, 984, -985, 8, -8, 8, 900, 900, "bitmap_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, -16, 8, -985, 8, 900, 900, "bblog_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, INT32_MIN, 8, -8, 0, 9, 9, "bitmap_offset", 0 },
  /* behind the superblock */
  { SUPERBLOCK_1_0, 1, 984, 8, 8, -8, 0, 900, 900, NULL, 8 },
  { SUPERBLOCK_1_0, 1, 984, 9, 8, -8, 0, 900, 900, "bitmap_offset", 0 },
  { SUPERBLOCK_1_0, 1, 984, 2, 8, -8, 0, 900, 900, "bitmap_offset", 0 },
  /* 0.90: data, superblock, bitmap */
  { SUPERBLOCK_0_90, 1, 768, 8, 0, 0, 0, 768, 768, NULL, 120 },
  { SUPERBLOCK_0_90, 1, 768, 8, 0, 0, 0, 768, 769, "data_offset", 0 },
  { SUPERBLOCK_0_90, 0, 768, 0, 0, 0, 0, 768, 768, NULL, 0 },
  { SUPERBLOCK_0_90, 1, 896, 8, 0, 0, 0, 768, 768, NULL, 96 }, /* cut */
  /* 1.1 and 1.2 */
  { SUPERBLOCK_1_2, 1, 8, 8, 8, 16, 100, 900, 900, NULL, 8 },
  { SUPERBLOCK_1_2, 1, 8, 8, 8, 84, 100, 900, 900, NULL, 76 },
  { SUPERBLOCK_1_2, 1, 8, 8, 0, 0, 100, 900, 900, NULL, 84 },
  { SUPERBLOCK_1_2, 1, 8, -8, 0, 0, 100, 900, 900, NULL, 8 },
  { SUPERBLOCK_1_1, 1, 0, 8, 0, 0, 100, 900, 900, NULL, 92 },
  { SUPERBLOCK_1_1, 1, 0, 8, 0, 0, 100, 901, 900, "data_offset", 0 },
};

START_TEST (test_at_end)
{
  static struct superblock s;
  struct format_error error;
  int r;

  for (size_t i = 0; i < sizeof at_end / sizeof at_end[0]; ++i) {
    memset (&s, 0, sizeof s);
    s.version = at_end[i].version;
    s.feature_map = at_end[i].feature_map;
    s.super_offset = at_end[i].super_offset;
    s.bitmap_offset = at_end[i].bitmap_offset;
    s.bblog_size = at_end[i].bblog_size;
    s.bblog_offset = at_end[i].bblog_offset;
    s.data_offset = at_end[i].data_offset;
    s.data_size = at_end[i].data_size;
    s.size = at_end[i].size;
    r = check (&s, NULL, 1000, &error);
    if (!at_end[i].refused) {
      ck_assert_msg (r == 0, "case %zu: %s: %s", i, error.field, error.found);
      ck_assert_msg (layout_bitmap_room (&s, 1000) == at_end[i].room,
                     "case %zu", i);
    }
    else {
      ck_assert_msg (r == -EINVAL, "case %zu", i);
      ck_assert_msg (strcmp (error.field, at_end[i].refused) == 0,
                     "case %zu: %s", i, error.field);
    }
  }
}
END_TEST

/* A bitmap that begins in something, or nowhere, has no room. */
START_TEST (test_no_room)
{
  static struct superblock s;

  s = (struct superblock){ .version = SUPERBLOCK_1_2,
                           .feature_map = FEATURE_BITMAP_OFFSET,
                           .super_offset = 8,
                           .bitmap_offset = 2,
                           .data_offset = 100,
                           .data_size = 900,
                           .size = 900 };
  ck_assert_uint_eq (layout_bitmap_room (&s, 1000), 0);
  s.bitmap_offset = 92;
  ck_assert_uint_eq (layout_bitmap_room (&s, 1000), 0);
  s.bitmap_offset = 991;
  ck_assert_uint_eq (layout_bitmap_room (&s, 1000), 0);
  s.bitmap_offset = 992;
  ck_assert_uint_eq (layout_bitmap_room (&s, 1000), 0);
  s.bitmap_offset = INT32_MAX;
  ck_assert_uint_eq (layout_bitmap_room (&s, 1000), 0);
  s.super_offset = UINT64_MAX;
  ck_assert_uint_eq (layout_bitmap_room (&s, UINT64_MAX), 0);
}
END_TEST

/* The room of 0.90 is 60 KiB, wherever the leg ends. */
START_TEST (test_check_room_090)
{
  static struct superblock s;
  struct bitmap_superblock b;
  struct format_error error;

  memset (&b, 0, sizeof b);
  s = (struct superblock){ .version = SUPERBLOCK_0_90,
                           .feature_map = FEATURE_BITMAP_OFFSET,
                           .super_offset = 4194176,
                           .bitmap_offset = 8,
                           .data_size = 4194176,
                           .size = (60 * 1024 - 256) * 8 * 8 };
  b.chunksize = 4096;
  ck_assert_int_eq (check (&s, &b, 4194304, &error), 0);
  ++s.size;
  ck_assert_int_eq (check (&s, &b, 4194304 + 127, &error), -EINVAL);
  ck_assert_str_eq (error.field, "chunksize");
  b.chunksize = 8192;
  ck_assert_int_eq (check (&s, &b, 4194304, &error), 0);
}
END_TEST

START_TEST (test_extremes)
{
  static struct superblock s;
  struct bitmap_superblock b;
  struct format_error error;
  struct layout l;

  ck_assert_int_eq (
      layout_place (SUPERBLOCK_1_2, true, 131072, 0, 0, &l, &error), 0);
  describe (SUPERBLOCK_1_2, &l, &s, &b);
  s.data_size = UINT64_MAX;
  ck_assert_int_eq (check (&s, &b, UINT64_MAX, &error), -EINVAL);
  ck_assert_str_eq (error.field, "data_offset");
  describe (SUPERBLOCK_1_2, &l, &s, &b);
  s.data_offset = UINT64_MAX;
  ck_assert_int_eq (check (&s, &b, UINT64_MAX, &error), -EINVAL);
  ck_assert_str_eq (error.field, "data_offset");
  describe (SUPERBLOCK_1_2, &l, &s, &b);
  s.super_offset = UINT64_MAX;
  ck_assert_int_eq (check (&s, &b, UINT64_MAX, &error), -EINVAL);
  describe (SUPERBLOCK_1_2, &l, &s, &b);
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

  tcase_add_loop_test (tc, test_table, 0, SUPERBLOCK_VERSIONS);
  tcase_add_test (tc, test_finer_chunk);
  tcase_add_loop_test (tc, test_exact, 0, 2 * SUPERBLOCK_VERSIONS);
  tcase_add_loop_test (tc, test_monotonic, 0, 2 * SUPERBLOCK_VERSIONS);
  tcase_add_test (tc, test_finer_chunk_1_0);
  tcase_add_test (tc, test_room_090);
  tcase_add_test (tc, test_refused_090);
  tcase_add_test (tc, test_default_chunk);
  tcase_add_test (tc, test_refused);
  tcase_add_test (tc, test_refused_leg);
  tcase_add_loop_test (tc, test_golden, 0, 4);
  tcase_add_test (tc, test_overlap);
  tcase_add_test (tc, test_room);
  tcase_add_test (tc, test_at_end);
  tcase_add_test (tc, test_no_room);
  tcase_add_test (tc, test_check_room_090);
  tcase_add_test (tc, test_extremes);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
