/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Fuzzing: the header of a bitmap, its room on a leg, and its bits.
 *
 * The input is a geometry (GEOMETRY bytes, in the order of take_geometry),
 * the header, and the bits, repeated to the end of the bitmap.  What must
 * hold:
 *   1. nothing outside the header, or outside a page, is read or written;
 *   2. whatever has a magic: encoding what was decoded gives the same bytes;
 *   3. whatever is accepted, by itself and by layout_check: header and bits
 *      have room between everything else on the leg (I16), and in
 *      sectors_reserved; each chunk has its own bit, inside that room;
 *   4. the union of copies has a bit if a copy has it and else not; a copy
 *      that differs from what was loaded before is noticed; all set is all.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap/bitmap.h"
#include "format/layout.h"
#include "fuzz/fuzz.h"

/* More chunks than that are not loaded: a page and a bit, which takes long;
 * so in most inputs less.
 */
#define CHUNKS_MAX     33000
#define CHUNKS_USUALLY 4096

/* Fields of the geometry, for the mutator. */
static const struct field geometry_fields[] = {
  { 0, 1, "flags" },          { 1, 8, "sectors of the leg" },
  { 9, 8, "size" },           { 17, 8, "data_offset" },
  { 25, 8, "data_size" },     { 33, 8, "super_offset" },
  { 41, 4, "bitmap_offset" }, { 45, 4, "bblog_offset" },
  { 49, 2, "bblog_size" },
};
#define GEOMETRY 51

enum geometry_flags {
  BITS_NEED_RESYNC = 1,
  HAS_BITMAP = 2,
  MANY_CHUNKS = 4,
};

struct geometry {
  uint8_t flags;
  uint64_t leg_sectors;
  struct superblock superblock;
  uint8_t block[4096]; /* the same as bytes, for the other opinion */
};

static void
take_geometry (struct input *input, struct geometry *g)
{
  struct superblock *s = &g->superblock;

  g->flags = input_u8 (input);
  g->leg_sectors = input_u64 (input);
  s->size = input_u64 (input);
  s->data_offset = input_u64 (input);
  s->data_size = input_u64 (input);
  s->super_offset = input_u64 (input);
  s->bitmap_offset = (int32_t)input_u32 (input);
  s->bblog_offset = (int32_t)input_u32 (input);
  s->bblog_size = input_u16 (input);
  s->feature_map = g->flags & HAS_BITMAP ? FEATURE_BITMAP_OFFSET : 0;
  s->version =
      s->super_offset > s->data_offset ? SUPERBLOCK_1_0 : SUPERBLOCK_1_2;
  put_le (g->block + SB_SIZE, 8, s->size);
  put_le (g->block + SB_DATA_OFFSET, 8, s->data_offset);
  put_le (g->block + SB_DATA_SIZE, 8, s->data_size);
  put_le (g->block + SB_SUPER_OFFSET, 8, s->super_offset);
  put_le (g->block + SB_BITMAP_OFFSET, 4, (uint32_t)s->bitmap_offset);
  put_le (g->block + SB_BBLOG_OFFSET, 4, (uint32_t)s->bblog_offset);
  put_le (g->block + SB_BBLOG_SIZE, 2, s->bblog_size);
}

/* ---- bits ---- */

static void
no_sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  (void)line;
}

/* A store that is never written to. */
static int
no_write (struct bitmap_store *store, struct buffer *images,
          const uint64_t *pages, unsigned n)
{
  (void)store;
  (void)images;
  (void)pages;
  (void)n;
  fuzz_die (__FILE__, __LINE__, "no write", "loading has written");
}

static int
no_settle (struct bitmap_store *store)
{
  (void)store;
  return 0;
}

/* Two copies of the bitmap: the input's bytes, and the same from byte 3 on. */
static uint8_t
copy_byte (const struct input *bits, unsigned copy, uint64_t at)
{
  return bits->n == 0 ? 0 : bits->p[(at + 3 * copy) % bits->n];
}

static bool
copy_bit (const struct input *bits, unsigned copy, uint64_t chunk)
{
  return copy_byte (bits, copy, 256 + chunk / 8) >> chunk % 8 & 1;
}

static void
load_copy (struct bitmap *bitmap, const struct input *bits, unsigned copy,
           bool needed, bool *differs)
{
  for (uint64_t page = 0; page < bitmap_page_count (bitmap); ++page) {
    uint8_t *image = malloc (4096); /* so that its end is watched */

    REQUIRE (image != NULL, "out of memory");
    for (unsigned i = 0; i < 4096; ++i)
      image[i] = copy_byte (bits, copy, page * 4096 + i);
    REQUIRE (
        bitmap_load_page (bitmap, page, image, needed, copy == 0, differs) == 0,
        "a page does not load");
    free (image);
  }
}

/* Chunk by chunk, what was loaded against the bits of the two copies. */
static void
check_union (struct bitmap *bitmap, uint64_t chunks, const struct input *bits,
             bool needed, bool differs)
{
  uint64_t set = 0, next = bitmap_next_needed (bitmap, 0);
  bool expected = false;

  for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
    bool a = copy_bit (bits, 0, chunk), b = copy_bit (bits, 1, chunk);

    set += a || b;
    expected |= a != b;
    if (!needed || !(a || b))
      continue;
    REQUIRE (next == chunk, "chunk %llu: the next one needed is %lld",
             (unsigned long long)chunk, (long long)next);
    next = bitmap_next_needed (bitmap, chunk + 1);
  }
  REQUIRE (next == BITMAP_NO_CHUNK, "chunk %lld is needed", (long long)next);
  REQUIRE (bitmap_marked (bitmap) == set, "%llu bits of %llu",
           (unsigned long long)bitmap_marked (bitmap), (unsigned long long)set);
  REQUIRE (bitmap_needed (bitmap) == (needed ? set : 0), "needed");
  REQUIRE (differs == expected, "copies differ: %d", differs);
}

static void
check_bits (const struct bitmap_superblock *header, uint64_t sectors,
            const struct input *bits, bool needed)
{
  struct bitmap_store store = { .write = no_write, .settle = no_settle };
  struct log log = { .sink = no_sink };
  uint64_t chunks = bitmap_chunks (sectors, header->chunksize);
  bool differs = false;
  struct rt_mutex lock;
  struct bitmap *bitmap;

  rt_mutex_init (&lock);
  bitmap = bitmap_new (header, sectors * 512, &store, &lock, &log);
  REQUIRE (bitmap != NULL, "no bitmap");
  rt_mutex_lock (&lock);
  load_copy (bitmap, bits, 0, needed, &differs);
  REQUIRE (!differs, "the first copy differs from itself");
  load_copy (bitmap, bits, 1, needed, &differs);
  check_union (bitmap, chunks, bits, needed, differs);
  REQUIRE (bitmap_load_all_set (bitmap, needed) == 0, "all set");
  REQUIRE (bitmap_marked (bitmap) == chunks, "all set is not all");
  rt_mutex_unlock (&lock);
  bitmap_free (bitmap);
  rt_mutex_destroy (&lock);
}

/* ---- the header and its room ---- */

static void
check_header (const struct bitmap_superblock *header, const uint8_t *block)
{
  uint8_t *again = malloc (BITMAP_SUPERBLOCK_BYTES);

  REQUIRE (again != NULL, "out of memory");
  bitmap_superblock_encode (header, again);
  for (unsigned i = 0; i < BITMAP_SUPERBLOCK_BYTES; ++i)
    REQUIRE (again[i] == block[i], "byte %u: %02x became %02x", i, block[i],
             again[i]);
  free (again);
}

static void
check_accepted (const struct geometry *g, const uint8_t *block)
{
  uint64_t chunksize = get_le (block + BM_CHUNKSIZE, 4);
  uint64_t reserved = get_le (block + BM_SECTORS_RESERVED, 4);
  uint64_t size = g->superblock.size, chunks, bytes, last;
  struct place places[PLACES_MAX];
  unsigned n;

  REQUIRE (chunksize >= 512 && (chunksize & (chunksize - 1)) == 0,
           "chunksize %llu", (unsigned long long)chunksize);
  chunks = size / (chunksize / 512) + (size % (chunksize / 512) != 0);
  bytes = 256 + chunks / 8 + (chunks % 8 != 0);
  REQUIRE (bitmap_chunks (size, (uint32_t)chunksize) == chunks, "chunks");
  REQUIRE (bitmap_bytes (chunks) == bytes, "bytes");
  if (chunks > 0) {
    last = chunks - 1;
    REQUIRE (bitmap_bit_byte (last) == bytes - 1, "the last bit");
    REQUIRE (bitmap_bit_mask (last) == 1 << last % 8, "the last mask");
    REQUIRE (bitmap_chunk_page (last) == (bytes - 1) / 4096, "the last page");
    REQUIRE (bitmap_page_first_chunk (bitmap_chunk_page (last)) <= last,
             "the last page begins behind its last chunk");
  }
  n = places_of (g->block, g->flags & HAS_BITMAP ? bytes : 0, places);
  places_check (places, n, g->leg_sectors);
  REQUIRE (!(g->flags & HAS_BITMAP) || reserved == 0 || bytes <= reserved * 512,
           "%llu bytes in %llu reserved sectors", (unsigned long long)bytes,
           (unsigned long long)reserved);
}

static void
maybe_check_bits (const struct geometry *g,
                  const struct bitmap_superblock *header,
                  const struct input *bits)
{
  uint64_t most = g->flags & MANY_CHUNKS ? CHUNKS_MAX : CHUNKS_USUALLY;
  uint64_t size = g->superblock.size;

  if (size > 0 && bitmap_chunks (size, header->chunksize) <= most)
    check_bits (header, size, bits, g->flags & BITS_NEED_RESYNC);
}

/* ---- the target ---- */

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input input = { data, size };
  struct geometry *g = calloc (1, sizeof *g);
  struct bitmap_superblock header;
  uint8_t *block = malloc (BITMAP_SUPERBLOCK_BYTES);
  struct format_error error = { 0 };
  bool intact;
  int err;

  REQUIRE (g && block, "out of memory");
  take_geometry (&input, g);
  input_bytes (&input, block, BITMAP_SUPERBLOCK_BYTES);
  memset (&header, 0, sizeof header);
  err = bitmap_superblock_decode (block, &header, &intact, &error);
  REQUIRE (err == 0 || err == -EINVAL || err == -ENOENT, "returned %d", err);
  REQUIRE (intact == (err != -ENOENT), "intact: %d", intact);
  REQUIRE (err != -EINVAL || error.field, "a refusal without a field");
  if (intact)
    check_header (&header, block);
  if (err == 0) {
    err = layout_check (&g->superblock, &header, g->leg_sectors, &error);
    REQUIRE (err == 0 || error.field, "a refusal without a field");
    if (err == 0)
      check_accepted (g, block);
    if (err == 0)
      maybe_check_bits (g, &header, &input);
  }
  free (block);
  free (g);
  return 0;
}

/* ---- the mutator ---- */

size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
  const unsigned n = sizeof geometry_fields / sizeof geometry_fields[0];

  switch (seed % 4) {
  case 0:
    mutate_field (data, size, 0, geometry_fields, n, seed >> 2);
    return size;
  case 1:
    mutate_field (data, size, GEOMETRY, bitmap_fields, bitmap_nfields,
                  seed >> 2);
    return size;
  default:
    return LLVMFuzzerMutate (data, size, max);
  }
}
