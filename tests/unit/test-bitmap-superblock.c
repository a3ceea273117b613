/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The codec of the bitmap's header, and where bits are, against blocks that
 * md wrote.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/bitmap_superblock.h"

#include "golden.h"

static int
decode (const uint8_t *block, struct bitmap_superblock *b, bool *intact,
        struct format_error *error)
{
  memset (b, 0xa5, sizeof *b);
  memset (error, 0, sizeof *error);
  return bitmap_superblock_decode (block, b, intact, error);
}

/* ---- what md wrote ---- */

static const struct known {
  const char *name;
  uint64_t events, events_cleared;
  uint32_t chunksize, write_behind;
  uint64_t chunks, marked;
} known[] = {
  { "created-0", 0, 0, 64 << 20, 0, 1, 1 },
  { "clean-0", 0, 0, 64 << 20, 0, 1, 0 },
  { "dirty-0", 1, 0, 64 << 10, 0, 1008, 2 },
  { "chunk-64k-0", 2, 1, 64 << 10, 0, 1008, 0 },
  { "degraded-0", 6, 1, 64 << 10, 0, 1008, 2 },
  { "degraded-1", 2, 1, 64 << 10, 0, 1008, 0 },
  { "re-adding-0", 11, 1, 64 << 10, 0, 1008, 960 },
  { "added-1", 49, 1, 64 << 10, 0, 1008, 0 },
  { "write-mostly-2", 0, 0, 64 << 20, 100, 1, 0 },
};

#define KNOWN (sizeof known / sizeof known[0])

static bool
marked (const uint8_t *bitmap, uint64_t chunk)
{
  return bitmap[bitmap_bit_byte (chunk)] & bitmap_bit_mask (chunk);
}

START_TEST (test_known)
{
  const struct known *k = &known[_i];
  struct golden golden;
  struct bitmap_superblock b;
  struct format_error error;
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];
  uint64_t n = 0;
  bool intact;
  int r;

  golden_load (k->name, &golden);
  r = decode (golden.bitmap, &b, &intact, &error);
  ck_assert_msg (r == 0, "%s: %s", error.field, error.found);
  ck_assert (intact);
  ck_assert_uint_eq (b.version, 4);
  ck_assert_mem_eq (b.uuid, golden.superblock + 16, 16);
  ck_assert_uint_eq (b.events, k->events);
  ck_assert_uint_eq (b.events_cleared, k->events_cleared);
  ck_assert_uint_eq (b.sync_size, 129024);
  ck_assert_uint_eq (b.state, 0);
  ck_assert_uint_eq (b.chunksize, k->chunksize);
  ck_assert_uint_eq (b.daemon_sleep, 5);
  ck_assert_uint_eq (b.write_behind, k->write_behind);
  ck_assert_uint_eq (b.sectors_reserved, 0);
  ck_assert_uint_eq (b.nodes, 0);
  bitmap_superblock_encode (&b, block);
  ck_assert_mem_eq (block, golden.bitmap, sizeof block);

  ck_assert_uint_eq (bitmap_chunks (129024, b.chunksize), k->chunks);
  for (uint64_t i = 0; i < k->chunks; ++i)
    n += marked (golden.bitmap, i);
  ck_assert_uint_eq (n, k->marked);
}
END_TEST

/* The chunks that were written, see the README beside the blocks. */
START_TEST (test_known_bits)
{
  struct golden golden;

  golden_load ("dirty-0", &golden);
  ck_assert (marked (golden.bitmap, 3));
  ck_assert (marked (golden.bitmap, 1007));
  golden_load ("degraded-0", &golden);
  ck_assert (marked (golden.bitmap, 20));
  ck_assert (marked (golden.bitmap, 21));
}
END_TEST

/* ---- every field, every class of wrong value ---- */

#define OK NULL

static const struct change {
  unsigned offset;
  unsigned bytes;
  uint64_t value;
  const char *refused; /* field; OK: md does not care, or it is legal */
  uint32_t version;    /* or 0: 4 */
} changes[] = {
  { 4, 4, 0, "version", 0 },
  { 4, 4, 2, "version", 0 },
  { 4, 4, 3, OK, 0 },
  { 4, 4, 5, "version", 0 },
  { 4, 4, 6, "version", 0 },
  { 4, 4, 7, "version", 0 },
  { 4, 4, UINT32_MAX, "version", 0 },
  { 8, 8, 0, OK, 0 }, /* uuid: compared by whoever has the superblock */
  { 16, 8, UINT64_MAX, OK, 0 },
  { 24, 8, INT64_MAX, OK, 0 },
  { 24, 8, (uint64_t)INT64_MAX + 1, "events", 0 },
  { 24, 8, UINT64_MAX, "events", 0 },
  { 32, 8, 1000, OK, 0 }, /* events_cleared over events: md counts back */
  { 32, 8, UINT64_MAX, "events_cleared", 0 },
  { 40, 8, 0, OK, 0 }, /* sync_size: md computes it anew */
  { 40, 8, UINT64_MAX, OK, 0 },
  { 48, 4, 2, OK, 0 },
  { 48, 4, 4, "state", 0 },
  { 48, 4, 6, "state", 0 },
  { 48, 4, 1, "state", 0 },
  { 48, 4, 8, "state", 0 },
  { 48, 4, 0x8000, "state", 0 },
  { 48, 4, 0x8000, OK, 3 },
  { 48, 4, 0x80000000, "state", 0 },
  { 52, 4, 0, "chunksize", 0 },
  { 52, 4, 256, "chunksize", 0 },
  { 52, 4, 511, "chunksize", 0 },
  { 52, 4, 513, "chunksize", 0 },
  { 52, 4, 65537, "chunksize", 0 },
  { 52, 4, 3u << 30, "chunksize", 0 },
  { 52, 4, 512, OK, 0 },
  { 52, 4, 1u << 31, OK, 0 },
  { 56, 4, 0, "daemon_sleep", 0 },
  { 56, 4, 1, OK, 0 },
  { 56, 4, UINT32_MAX, OK, 0 },
  { 60, 4, 16383, OK, 0 },
  { 60, 4, 16384, "write_behind", 0 },
  { 60, 4, UINT32_MAX, "write_behind", 0 },
  { 64, 4, UINT32_MAX, OK, 0 }, /* sectors_reserved: layout_check */
  { 64, 4, 1, OK, 0 },
  { 68, 4, 1, "nodes", 0 },
  { 68, 4, UINT32_MAX, "nodes", 0 },
};

#define CHANGES (sizeof changes / sizeof changes[0])

static void
put (uint8_t *p, unsigned bytes, uint64_t value)
{
  while (bytes-- > 0) {
    *p++ = (uint8_t)value;
    value >>= 8;
  }
}

START_TEST (test_change)
{
  const struct change *c = &changes[_i];
  struct golden golden;
  struct bitmap_superblock b;
  struct format_error error;
  bool intact;
  int r;

  golden_load ("dirty-0", &golden);
  if (c->version)
    put_le32 (golden.bitmap + 4, c->version);
  put (golden.bitmap + c->offset, c->bytes, c->value);
  r = decode (golden.bitmap, &b, &intact, &error);
  ck_assert (intact);
  if (!c->refused) {
    uint8_t block[BITMAP_SUPERBLOCK_BYTES];

    ck_assert_msg (r == 0, "byte %u: %s", c->offset, error.field);
    bitmap_superblock_encode (&b, block);
    ck_assert_mem_eq (block, golden.bitmap, sizeof block);
    return;
  }
  ck_assert_msg (r == -EINVAL, "byte %u: %d", c->offset, r);
  ck_assert_str_eq (error.field, c->refused);
  ck_assert_uint_gt (strlen (error.found), 0);
  ck_assert_uint_gt (strlen (error.expected), 0);
  ck_assert_ptr_nonnull (error.advice);
}
END_TEST

START_TEST (test_all_covered)
{
  bool covered[72] = { false };

  for (size_t i = 0; i < CHANGES; ++i)
    for (unsigned j = 0; j < changes[i].bytes; ++j)
      covered[changes[i].offset + j] = true;
  for (unsigned i = 4; i < sizeof covered; ++i)
    ck_assert_msg (covered[i], "byte %u", i);
}
END_TEST

START_TEST (test_pads)
{
  struct golden golden;
  struct bitmap_superblock b;
  struct format_error error;
  bool intact;

  golden_load ("dirty-0", &golden);
  for (unsigned i = 72; i < BITMAP_SUPERBLOCK_BYTES; ++i) {
    golden.bitmap[i] = 0x10;
    ck_assert_int_eq (decode (golden.bitmap, &b, &intact, &error), -EINVAL);
    ck_assert_str_eq (error.field, i < 136 ? "cluster_name" : "pad");
    ck_assert_ptr_nonnull (error.advice);
    golden.bitmap[i] = 0;
  }
  /* Byte 256 is the first of the bits. */
  golden.bitmap[256] = 0xff;
  ck_assert_int_eq (decode (golden.bitmap, &b, &intact, &error), 0);
}
END_TEST

START_TEST (test_no_magic)
{
  struct golden golden;
  struct bitmap_superblock b;
  struct format_error error;
  bool intact;

  golden_load ("dirty-0", &golden);
  for (unsigned bit = 0; bit < 32; ++bit) {
    golden.bitmap[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ck_assert_int_eq (decode (golden.bitmap, &b, &intact, &error), -ENOENT);
    ck_assert (!intact);
    golden.bitmap[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}
END_TEST

/* ---- encoding ---- */

#define FIELD(field, offset, bytes, value)                               \
  do {                                                                   \
    struct bitmap_superblock t = b;                                      \
    uint8_t want[BITMAP_SUPERBLOCK_BYTES], got[BITMAP_SUPERBLOCK_BYTES]; \
                                                                         \
    t.field = (value);                                                   \
    memcpy (want, b.block, sizeof want);                                 \
    put (want + (offset), (bytes), (value));                             \
    bitmap_superblock_encode (&t, got);                                  \
    ck_assert_mem_eq (got, want, sizeof got);                            \
  } while (0)

START_TEST (test_fields)
{
  struct golden golden;
  struct bitmap_superblock b;
  struct format_error error;
  bool intact;

  golden_load ("dirty-0", &golden);
  ck_assert_int_eq (decode (golden.bitmap, &b, &intact, &error), 0);
  FIELD (version, 4, 4, 0x81234567);
  FIELD (uuid[0], 8, 1, 0xab);
  FIELD (uuid[15], 23, 1, 0xab);
  FIELD (events, 24, 8, 0x8123456789abcdef);
  FIELD (events_cleared, 32, 8, 0x8123456789abcdef);
  FIELD (sync_size, 40, 8, 0x8123456789abcdef);
  FIELD (state, 48, 4, 0x81234567);
  FIELD (chunksize, 52, 4, 0x81234567);
  FIELD (daemon_sleep, 56, 4, 0x81234567);
  FIELD (write_behind, 60, 4, 0x81234567);
  FIELD (sectors_reserved, 64, 4, 0x81234567);
  FIELD (nodes, 68, 4, 0x81234567);
  b.block[200] = 0x77; /* nobody's */
  FIELD (events, 24, 8, 3);
}
END_TEST

/* ---- where bits are ---- */

START_TEST (test_chunks)
{
  ck_assert_uint_eq (bitmap_chunks (0, 4096), 0);
  ck_assert_uint_eq (bitmap_chunks (1, 4096), 1);
  ck_assert_uint_eq (bitmap_chunks (8, 4096), 1);
  ck_assert_uint_eq (bitmap_chunks (9, 4096), 2);
  ck_assert_uint_eq (bitmap_chunks (1, 512), 1);
  ck_assert_uint_eq (bitmap_chunks (2, 512), 2);
  ck_assert_uint_eq (bitmap_chunks (129024, 65536), 1008);
  ck_assert_uint_eq (bitmap_chunks (129025, 65536), 1009);
  ck_assert_uint_eq (bitmap_chunks (UINT64_MAX, 1u << 31),
                     (UINT64_MAX >> 22) + 1);
  ck_assert_uint_eq (bitmap_chunks (UINT64_MAX, 512), UINT64_MAX);

  ck_assert_uint_eq (bitmap_bytes (0), 256);
  ck_assert_uint_eq (bitmap_bytes (1), 257);
  ck_assert_uint_eq (bitmap_bytes (8), 257);
  ck_assert_uint_eq (bitmap_bytes (9), 258);
  ck_assert_uint_eq (bitmap_bytes (1008), 382);
  ck_assert_uint_eq (bitmap_bytes (30720), 4096);
  ck_assert_uint_eq (bitmap_bytes (30721), 4097);
}
END_TEST

START_TEST (test_places)
{
  ck_assert_uint_eq (bitmap_bit_byte (0), 256);
  ck_assert_uint_eq (bitmap_bit_byte (7), 256);
  ck_assert_uint_eq (bitmap_bit_byte (8), 257);
  ck_assert_uint_eq (bitmap_bit_mask (0), 1);
  ck_assert_uint_eq (bitmap_bit_mask (7), 128);
  ck_assert_uint_eq (bitmap_bit_mask (8), 1);
  ck_assert_uint_eq (bitmap_page_first_chunk (0), 0);
  ck_assert_uint_eq (bitmap_page_first_chunk (1), 30720);
  ck_assert_uint_eq (bitmap_page_first_chunk (2), 30720 + 32768);
  ck_assert_uint_eq (bitmap_chunk_page (30719), 0);
  ck_assert_uint_eq (bitmap_chunk_page (30720), 1);
  /* At each edge of the first hundred pages, and far out. */
  for (uint64_t page = 1; page < 100; ++page) {
    uint64_t first = bitmap_page_first_chunk (page);

    ck_assert_uint_eq (bitmap_chunk_page (first), page);
    ck_assert_uint_eq (bitmap_chunk_page (first - 1), page - 1);
    ck_assert_uint_eq (bitmap_bit_byte (first), page * 4096);
    ck_assert_uint_eq (bitmap_bit_mask (first), 1);
  }
  ck_assert_uint_eq (bitmap_bit_byte ((uint64_t)1 << 40),
                     256 + ((uint64_t)1 << 37));
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("bitmap-superblock");
  TCase *tc = tcase_create ("all");
  SRunner *runner;
  int failed;

  tcase_add_loop_test (tc, test_known, 0, KNOWN);
  tcase_add_test (tc, test_known_bits);
  tcase_add_loop_test (tc, test_change, 0, CHANGES);
  tcase_add_test (tc, test_all_covered);
  tcase_add_test (tc, test_pads);
  tcase_add_test (tc, test_no_magic);
  tcase_add_test (tc, test_fields);
  tcase_add_test (tc, test_chunks);
  tcase_add_test (tc, test_places);
  suite_add_tcase (suite, tc);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
