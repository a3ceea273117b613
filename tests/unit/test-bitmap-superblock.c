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

#include "fields.h"
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
  { "0.90-dirty-0", 2, 1, 64 << 10, 0, 1023, 2 },
  { "0.90-clean-0", 1, 1, 64 << 20, 0, 1, 0 },
  { "1.0-dirty-0", 1, 0, 64 << 10, 0, 1023, 2 },
  { "1.1-dirty-0", 1, 0, 64 << 10, 0, 1008, 2 },
};

#define KNOWN (sizeof known / sizeof known[0])

static bool
marked (const uint8_t *bitmap, uint64_t chunk)
{
  return bitmap[bitmap_bit_byte (chunk)] & bitmap_bit_mask (chunk);
}

/* The superblock of the same leg. */
static void
decode_beside (const struct golden *golden, const char *name,
               struct superblock *s)
{
  enum superblock_version version = SUPERBLOCK_1_2;
  struct format_error error;
  bool intact;

  for (unsigned v = 0; v < SUPERBLOCK_VERSIONS; ++v)
    if (strncmp (name, superblock_version_string (v),
                 strlen (superblock_version_string (v)))
        == 0)
      version = v;
  ck_assert_int_eq (superblock_decode (version, golden->superblock,
                                       GOLDEN_LEG_SECTORS, s, &intact, &error),
                    0);
}

START_TEST (test_known)
{
  const struct known *k = &known[_i];
  static struct superblock beside;
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
  decode_beside (&golden, k->name, &beside);
  ck_assert_mem_eq (b.uuid, beside.set_uuid, 16);
  ck_assert_uint_eq (b.events, k->events);
  ck_assert_uint_eq (b.events_cleared, k->events_cleared);
  ck_assert_uint_eq (b.sync_size, beside.size);
  ck_assert_uint_eq (b.state, 0);
  ck_assert_uint_eq (b.chunksize, k->chunksize);
  ck_assert_uint_eq (b.daemon_sleep, 5);
  ck_assert_uint_eq (b.write_behind, k->write_behind);
  ck_assert_uint_eq (b.sectors_reserved, 0);
  ck_assert_uint_eq (b.nodes, 0);
  bitmap_superblock_encode (&b, block);
  ck_assert_mem_eq (block, golden.bitmap, sizeof block);

  ck_assert_uint_eq (bitmap_chunks (beside.size, b.chunksize), k->chunks);
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

/* The version of the block at hand, for the judges. */
static uint32_t version;

/* What is said of a clustered or lockless bitmap before anything else. */
static const char *
other (void)
{
  return version == 3 || version == 4 ? FIELD_OK : "version";
}

static const char *
any (uint64_t v, unsigned e)
{
  (void)v, (void)e;
  return other ();
}

static const char *
judge_magic (uint64_t v, unsigned e)
{
  (void)e;
  return v == BITMAP_MAGIC ? other () : field_no_magic;
}

static const char *
judge_version (uint64_t v, unsigned e)
{
  (void)e;
  return v == 3 || v == 4 ? FIELD_OK : "version";
}

static const char *
judge_events (uint64_t v, unsigned e)
{
  (void)e;
  return v >> 63 && !other () ? "events" : other ();
}

static const char *
judge_events_cleared (uint64_t v, unsigned e)
{
  (void)e;
  return v >> 63 && !other () ? "events_cleared" : other ();
}

/* Out of date; and in version 3 the byte order. */
static const char *
judge_state (uint64_t v, unsigned e)
{
  (void)e;
  return !other () && v & ~UINT64_C (2)
                 && (version != 3 || v & ~UINT64_C (0x8002))
             ? "state"
             : other ();
}

static const char *
judge_chunksize (uint64_t v, unsigned e)
{
  unsigned bits = 0;

  (void)e;
  for (unsigned i = 0; i < 32; ++i)
    bits += v >> i & 1;
  return !other () && (bits != 1 || v < 512) ? "chunksize" : other ();
}

static const char *
judge_daemon_sleep (uint64_t v, unsigned e)
{
  (void)e;
  return !other () && v == 0 ? "daemon_sleep" : other ();
}

static const char *
judge_write_behind (uint64_t v, unsigned e)
{
  (void)e;
  return !other () && v > 16383 ? "write_behind" : other ();
}

static const char *
judge_nodes (uint64_t v, unsigned e)
{
  (void)e;
  return !other () && v != 0 ? "nodes" : other ();
}

static const char *
judge_cluster_name (uint64_t v, unsigned e)
{
  (void)e;
  return !other () && v != 0 ? "cluster_name" : other ();
}

static const char *
judge_pad (uint64_t v, unsigned e)
{
  (void)e;
  return !other () && v != 0 ? "pad" : other ();
}

/* any: uuid and events are compared by whoever has the superblock, and
 * sectors_reserved by layout_check; md computes sync_size anew; events_cleared
 * may be more than events, since md counts back.
 */
static const struct field fields[] = {
  { "magic", 0, 4, 1, 0, judge_magic },
  { "version", 4, 4, 1, 0, judge_version },
  { "uuid", 8, 8, 2, 8, any },
  { "events", 24, 8, 1, 0, judge_events },
  { "events_cleared", 32, 8, 1, 0, judge_events_cleared },
  { "sync_size", 40, 8, 1, 0, any },
  { "state", 48, 4, 1, 0, judge_state },
  { "chunksize", 52, 4, 1, 0, judge_chunksize },
  { "daemon_sleep", 56, 4, 1, 0, judge_daemon_sleep },
  { "write_behind", 60, 4, 1, 0, judge_write_behind },
  { "sectors_reserved", 64, 4, 1, 0, any },
  { "nodes", 68, 4, 1, 0, judge_nodes },
  { "cluster_name", 72, 8, 8, 8, judge_cluster_name },
  { "pad", 136, 8, 15, 8, judge_pad },
};

#define FIELDS (sizeof fields / sizeof fields[0])

START_TEST (test_all_covered)
{
  fields_cover (fields, FIELDS, BITMAP_SUPERBLOCK_BYTES);
}
END_TEST

static void
try_field (uint8_t *block, const struct field *field, const char *refused)
{
  struct bitmap_superblock b;
  struct format_error error;
  uint8_t again[BITMAP_SUPERBLOCK_BYTES];
  bool intact;
  int r = decode (block, &b, &intact, &error);

  ck_assert_msg (intact == (refused != field_no_magic), "%s", field->name);
  if (intact) {
    bitmap_superblock_encode (&b, again);
    ck_assert_mem_eq (again, block, sizeof again);
  }
  if (!refused)
    ck_assert_msg (r == 0, "%s: %s: %s", field->name, error.field, error.found);
  else if (refused == field_no_magic)
    ck_assert_int_eq (r, -ENOENT);
  else {
    ck_assert_msg (r == -EINVAL, "%s: %d", field->name, r);
    ck_assert_str_eq (error.field, refused);
    ck_assert (error.found[0] && error.expected[0]);
    ck_assert_ptr_nonnull (error.advice);
  }
}

START_TEST (test_field)
{
  struct golden golden;

  golden_load ("dirty-0", &golden);
  for (version = 3; version <= 6; ++version) {
    put_le32 (golden.bitmap + 4, version);
    field_try (&fields[_i], golden.bitmap, BITMAP_SUPERBLOCK_BYTES, try_field);
  }
}
END_TEST

START_TEST (test_edges)
{
  static const struct {
    unsigned offset, bytes;
    uint64_t value;
  } edges[] = {
    { 24, 8, INT64_MAX }, { 32, 8, 1000 },  { 48, 4, 2 },
    { 48, 4, 4 },         { 48, 4, 6 },     { 48, 4, 8 },
    { 48, 4, 0x8000 },    { 52, 4, 256 },   { 52, 4, 511 },
    { 52, 4, 512 },       { 52, 4, 513 },   { 52, 4, 3u << 30 },
    { 60, 4, 16383 },     { 60, 4, 16384 },
  };

  for (size_t i = 0; i < sizeof edges / sizeof edges[0]; ++i)
    for (version = 3; version <= 4; ++version)
      for (size_t f = 0; f < FIELDS; ++f)
        if (fields[f].offset == edges[i].offset) {
          struct golden golden;

          golden_load ("dirty-0", &golden);
          put_le32 (golden.bitmap + 4, version);
          field_put (golden.bitmap + edges[i].offset, edges[i].bytes,
                     edges[i].value);
          try_field (golden.bitmap, &fields[f],
                     fields[f].judge (edges[i].value, 0));
        }
}
END_TEST

/* For examine: refused by name, and decoded all the same. */
START_TEST (test_other_kinds)
{
  static const struct {
    uint32_t version;
    const char *name;
  } kinds[] = { { 5, "clustered" }, { 6, "lockless" } };

  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
    struct golden golden;
    struct bitmap_superblock b;
    struct format_error error;
    bool intact;

    golden_load ("dirty-0", &golden);
    put_le32 (golden.bitmap + 4, kinds[i].version);
    put_le32 (golden.bitmap + 48, 24); /* of lockless ones */
    put_le32 (golden.bitmap + 52, 128);
    put_le32 (golden.bitmap + 64, 256);
    put_le32 (golden.bitmap + 68, 4);
    memcpy (golden.bitmap + 72, "cluster", 7);
    ck_assert_int_eq (decode (golden.bitmap, &b, &intact, &error), -EINVAL);
    ck_assert (intact);
    ck_assert_str_eq (error.field, "version");
    ck_assert_ptr_nonnull (strstr (error.found, kinds[i].name));
    ck_assert_ptr_nonnull (strstr (error.advice, kinds[i].name));
    ck_assert_uint_eq (b.version, kinds[i].version);
    ck_assert_uint_eq (b.state, 24);
    ck_assert_uint_eq (b.chunksize, 128);
    ck_assert_uint_eq (b.sectors_reserved, 256);
    ck_assert_uint_eq (b.nodes, 4);
    ck_assert_mem_eq (b.block + 72, "cluster", 7);
  }
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
    field_put (want + (offset), (bytes), (value));                       \
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
  tcase_add_loop_test (tc, test_field, 0, FIELDS);
  tcase_add_test (tc, test_edges);
  tcase_add_test (tc, test_other_kinds);
  tcase_add_test (tc, test_all_covered);
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
