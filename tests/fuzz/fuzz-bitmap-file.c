/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Fuzzing: assembly of two good legs whose bitmap is in a file of any bytes.
 *
 * The input is how the array is opened, the length of the file, and what is
 * xored into a good one.  What must hold:
 *   1. array_open writes nothing;
 *   2. whoever refuses says why in at least one line; with read_only nothing is
 *      refused for its bitmap;
 *   3. what is accepted has a header that this file, too, finds good (decoded
 *      here by itself), and room for its bits; and what must be resynced is
 *      what the bits say, or everything if the file is stale, or nothing of an
 *      array that is clean;
 *   4. no leak, also when memory runs out.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array/internal.h"
#include "fuzz/assembly.h"
#include "fuzz/heap.h"

#define FILE_MAX (4 * 4096)

static uint64_t error_lines;

static void
sink (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  REQUIRE (line[0] != '\0' && !strchr (line, '\n'), "not one line: %s", line);
  if (getenv ("FUZZ_LOG"))
    fprintf (stderr, "log: %s\n", line);
  error_lines += level == LOG_LEVEL_ERROR;
}

static int debugging;
static const struct log log_ = {
  .sink = sink,
  .debug = { &debugging, &debugging, &debugging, &debugging, &debugging },
};

static uint8_t contents[FILE_MAX];
static uint64_t size_;
static bool clean;

/* ---- the file ---- */

/* A good one; then what the input makes of it. */
static void
make_file (struct input *input, const struct recipe *recipe, uint64_t sectors)
{
  uint32_t length = input_u16 (input);
  uint8_t edits[256 + 64];

  memset (contents, 0, sizeof contents);
  memcpy (contents, "bitm", 4);
  put_le (contents + BM_VERSION, 4, 4);
  memcpy (contents + BM_UUID, drafts[0].superblock + SB_SET_UUID, 16);
  put_le (contents + BM_EVENTS, 8, DRAFT_EVENTS);
  put_le (contents + BM_SYNC_SIZE, 8, sectors);
  put_le (contents + BM_CHUNKSIZE, 4, recipe->shape->chunk);
  put_le (contents + BM_DAEMON_SLEEP, 4, 5);
  input_bytes (input, edits, sizeof edits);
  for (unsigned i = 0; i < sizeof edits; ++i)
    contents[i] ^= edits[i];
  /* 0: as long as can be. */
  size_ = length == 0 || length > FILE_MAX ? FILE_MAX : length;
  memory_set_file (contents, size_);
}

/* ---- what may come out of it ---- */

static uint64_t
field (unsigned offset, unsigned width)
{
  return get_le (contents + offset, width);
}

static void
check (struct array *array, uint64_t sectors)
{
  const uint64_t events = field (BM_EVENTS, 8);
  const uint64_t chunk = field (BM_CHUNKSIZE, 4);
  uint64_t chunks, bits = 0, expected;
  struct array_info info;
  bool stale;

  array_get_info (array, &info);
  REQUIRE (info.bitmap == ARRAY_BITMAP_FILE, "place %d", (int)info.bitmap);
  REQUIRE (memcmp (contents, "bitm", 4) == 0, "no magic");
  REQUIRE (field (BM_VERSION, 4) == 3 || field (BM_VERSION, 4) == 4,
           "version %ju", (uintmax_t)field (BM_VERSION, 4));
  REQUIRE (
      memcmp (contents + BM_UUID, drafts[0].superblock + SB_SET_UUID, 16) == 0,
      "another array's");
  REQUIRE (!(field (BM_STATE, 4) & 4), "a write error");
  REQUIRE (chunk >= 512 && (chunk & (chunk - 1)) == 0, "chunk %ju",
           (uintmax_t)chunk);
  chunks = (sectors * 512 + chunk - 1) / chunk;
  REQUIRE (info.chunks == chunks && info.chunksize == chunk, "%ju chunks",
           (uintmax_t)info.chunks);
  REQUIRE (size_ >= 256 + (chunks + 7) / 8, "%ju bytes", (uintmax_t)size_);
  for (uint64_t i = 0; i < chunks; ++i)
    bits += contents[256 + i / 8] >> i % 8 & 1;
  stale = (field (BM_STATE, 4) & 2) || events < DRAFT_EVENTS
          || (events > DRAFT_EVENTS + 8
              && events > field (BM_EVENTS_CLEARED, 8) + 8);
  expected = stale ? chunks : bits;
  REQUIRE (info.chunks_marked == expected, "%ju marked, expected %ju",
           (uintmax_t)info.chunks_marked, (uintmax_t)expected);
  REQUIRE (info.chunks_needed == (clean ? 0 : expected), "%ju needed",
           (uintmax_t)info.chunks_needed);
}

/* ---- the target ---- */

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input input = { data, size };
  uint8_t byte = input_u8 (&input);
  struct recipe recipe = { SUPERBLOCK_1_2, &shapes[byte & 3], 2, false };
  uint64_t fail = byte & 0x80 ? input_u8 (&input) + 1u : 0, sectors;
  struct array *array = NULL;
  struct array_info info;
  struct scene scene;
  int err;

  draft_legs (&recipe);
  clean = byte & 4;
  for (unsigned leg = 0; leg < 2; ++leg) {
    put_le (drafts[leg].superblock + SB_RESYNC_OFFSET, 8,
            clean ? UINT64_MAX : 0);
    draft_fix (&drafts[leg]);
    draft_store (leg);
  }
  sectors = get_le (drafts[0].superblock + SB_SIZE, 8);
  make_file (&input, &recipe, sectors);
  scene_init (&scene, 2);
  scene.options.bitmap = ARRAY_BITMAP_FILE;
  scene.options.bitmap_file = MEMORY_FILE;
  scene.options.read_only = byte & 8;
  scene.options.refuse_full_resync = byte & 16;
  error_lines = 0;
  heap_fail (fail);
  err = array_open (&scene.options, &log_, &array);
  heap_fail (0);
  if (err == 0) {
    array_get_info (array, &info);
    if (!scene.options.read_only || info.bitmap == ARRAY_BITMAP_FILE)
      check (array, sectors);
    array_close (array);
  }
  else {
    REQUIRE (err != -ENOMEM || fail > 0, "out of memory");
    REQUIRE (err == -ENOMEM || !scene.options.read_only, "-r is refused: %d",
             err);
    REQUIRE (err == -ENOMEM || error_lines > 0, "refused without a word");
  }
  memory_check_closed ();
  heap_check_empty ();
  return 0;
}
