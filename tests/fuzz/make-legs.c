/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Bytes become legs, sparsely: good legs of one array, made with the
 * encoders, then the input's edits.  Inputs of zeroes alone are a clean
 * array, each edit costs a few bytes, and most inputs mean something.
 *
 * The head: nlegs, shape and order in one byte; options in the next; then
 * whose checksum is left wrong, what fails, and the number of edits.
 */

#include <config.h>

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rt.h"
#include "format/layout.h"
#include "fuzz/assembly.h"

#define EVENTS     100
#define EDITS_MAX  24
#define BITMAP_MAX (2 * 4096)

/* In sectors; the chunk in bytes.  Little legs, with small chunks, a few large
 * ones and many of the smallest; and one whose bitmap has two pages.
 */
static const struct shape {
  uint64_t leg, data;
  uint32_t chunk;
} shapes[] = {
  { 512, 64, 4096 },
  { 576, 64, 65536 },
  { 1088, 64, 512 },
  { 31360, 128, 512 },
};

/* Of this input. */
static const struct shape *shape;

/* What is written to each leg in the end. */
static struct draft {
  uint8_t superblock[SUPERBLOCK_1_BYTES];
  uint8_t bitmap[BITMAP_MAX];
} drafts[MEMORY_LEGS];

static uint64_t
chunk_count (void)
{
  return bitmap_chunks (shape->leg - shape->data, shape->chunk);
}

static uint64_t
bitmap_length (void)
{
  return round_up (bitmap_bytes (chunk_count ()), BITMAP_PAGE_BYTES);
}

/* ---- good legs ---- */

static void
draft_superblock (unsigned leg, unsigned nlegs)
{
  static struct superblock_1 s;

  memset (&s, 0, sizeof s);
  s.feature_map = FEATURE_BITMAP_OFFSET;
  memset (s.set_uuid, 0xa5, sizeof s.set_uuid);
  memset (s.device_uuid, (int)leg + 1, sizeof s.device_uuid);
  strcpy (s.set_name, "fuzz");
  s.ctime = s.utime = superblock_1_time (1700000000);
  s.level = 1;
  s.size = s.data_size = shape->leg - shape->data;
  s.raid_disks = nlegs;
  s.super_offset = SUPERBLOCK_1_2_SECTOR;
  s.bitmap_offset = 8;
  s.data_offset = shape->data;
  s.dev_number = leg;
  s.bblog_offset = (int32_t)(8 + bitmap_length () / SECTOR_SIZE);
  s.bblog_size = 8;
  s.events = EVENTS;
  s.resync_offset = RESYNC_CLEAN;
  s.max_dev = 128;
  for (unsigned i = 0; i < s.max_dev; ++i)
    s.dev_roles[i] = (uint16_t)(i < nlegs ? i : ROLE_SPARE);
  superblock_1_encode (&s, drafts[leg].superblock);
}

static void
draft_bitmap (unsigned leg)
{
  struct bitmap_superblock b;

  memset (&b, 0, sizeof b);
  b.version = BITMAP_VERSION;
  memset (b.uuid, 0xa5, sizeof b.uuid);
  b.events = b.events_cleared = EVENTS;
  b.sync_size = shape->leg - shape->data;
  b.chunksize = shape->chunk;
  b.daemon_sleep = 3600; /* the clear thread does nothing by itself */
  memset (drafts[leg].bitmap, 0, sizeof drafts[leg].bitmap);
  bitmap_superblock_encode (&b, drafts[leg].bitmap);
}

/* ---- edits ---- */

enum edit_kind {
  EDIT_SUPERBLOCK,      /* a field */
  EDIT_SUPERBLOCK_BYTE, /* any byte */
  EDIT_BITMAP,          /* a field of its header */
  EDIT_BITMAP_BYTE,     /* any byte of header and bits */
  EDIT_ROLE,            /* an entry of the table */
  EDIT_TRAIT,           /* of the device */
  EDIT_DATA,            /* a sector */
  EDIT_MARK,            /* not clean, and a bit is set */
};

struct edit {
  enum edit_kind kind;
  uint16_t where;
  uint8_t how;  /* two bits: what is done; six bits: with which number */
  uint64_t raw; /* for some of them */
};

static void
take_edit (struct input *input, struct edit *edit)
{
  edit->where = edit->kind == EDIT_SUPERBLOCK_BYTE
                        || edit->kind == EDIT_BITMAP_BYTE
                        || edit->kind == EDIT_DATA || edit->kind == EDIT_MARK
                    ? input_u16 (input)
                    : input_u8 (input);
  edit->how = input_u8 (input);
  edit->raw = edit->how == 0xc1 ? input_u64 (input) : 0;
  if (edit->how == 0xc2)
    edit->raw = input_u32 (input);
}

/* The new number: a small one; the old one and a bit more or less; a power of
 * two; or the other leg's, all ones, or one out of the input.
 */
static uint64_t
edited (const struct edit *edit, uint64_t old, uint64_t other)
{
  unsigned n = edit->how & 63;

  switch (edit->how >> 6) {
  case 0:
    return n;
  case 1:
    return old + n - 32;
  case 2:
    return UINT64_C (1) << n;
  default:
    return n == 0 ? other : n <= 2 ? edit->raw : UINT64_MAX;
  }
}

/* A number in the draft of a leg; the other leg's one is at the same place. */
static void
edit_number (const struct edit *edit, uint8_t *p, const uint8_t *other,
             unsigned width)
{
  put_le (p, width, edited (edit, get_le (p, width), get_le (other, width)));
}

static void
edit_trait (const struct edit *edit, unsigned leg)
{
  struct memory_traits *traits = memory_traits (leg);
  uint64_t size = memory_size (leg);
  uint64_t sectors = edited (edit, size / SECTOR_SIZE, 65536);

  switch (edit->where % 7) {
  case 0:
    traits->missing = true;
    break;
  case 1:
    traits->busy = true;
    break;
  case 2:
    traits->read_only = true;
    break;
  case 3:
    traits->logical_block = 4096;
    break;
  case 4:
    traits->bad_read = SECTOR_SIZE * edited (edit, 32, size / SECTOR_SIZE - 1);
    break;
  case 5:
    traits->bad_write = edited (edit, 32, 0);
    break;
  case 6:
    memory_resize (leg, min_u64 (sectors, 65536) * SECTOR_SIZE);
    break;
  }
}

static void
edit_data (const struct edit *edit, unsigned leg)
{
  uint8_t sector[SECTOR_SIZE];
  uint64_t at = (uint64_t)edit->where * SECTOR_SIZE;

  memset (sector, edit->how, sizeof sector);
  if (at + sizeof sector <= memory_size (leg))
    memory_store (leg, at, sector, sizeof sector);
}

static void
apply (const struct edit *edit, unsigned leg, unsigned other)
{
  uint8_t *superblock = drafts[leg].superblock;
  uint8_t *bitmap = drafts[leg].bitmap;
  unsigned at = edit->where % sizeof drafts[leg].bitmap, width = 1;
  uint64_t chunk;

  switch (edit->kind) {
  case EDIT_SUPERBLOCK:
    at = superblock_fields[edit->where % superblock_nfields].offset;
    width = superblock_fields[edit->where % superblock_nfields].width;
    edit_number (edit, superblock + at, drafts[other].superblock + at, width);
    break;
  case EDIT_SUPERBLOCK_BYTE:
    at = edit->where % SUPERBLOCK_1_BYTES;
    edit_number (edit, superblock + at, drafts[other].superblock + at, width);
    break;
  case EDIT_BITMAP:
    at = bitmap_fields[edit->where % bitmap_nfields].offset;
    width = bitmap_fields[edit->where % bitmap_nfields].width;
    edit_number (edit, bitmap + at, drafts[other].bitmap + at, width);
    break;
  case EDIT_BITMAP_BYTE:
    edit_number (edit, bitmap + at, drafts[other].bitmap + at, width);
    break;
  case EDIT_ROLE:
    at = SB_ROLES + 2 * (edit->where % 130u);
    edit_number (edit, superblock + at, drafts[other].superblock + at, 2);
    if (edit->how >> 6 == 2) /* a power of two is no role: faulty is */
      put_le (superblock + at, 2, ROLE_FAULTY);
    break;
  case EDIT_TRAIT:
    edit_trait (edit, leg);
    break;
  case EDIT_DATA:
    edit_data (edit, leg);
    break;
  case EDIT_MARK:
    put_le (superblock + SB_RESYNC_OFFSET, 8, 0);
    chunk = edit->where % chunk_count ();
    bitmap[bitmap_bit_byte (chunk)] |= bitmap_bit_mask (chunk);
    break;
  }
}

/* One leg, or all of them alike. */
static void
take_and_apply (struct input *input, unsigned nlegs)
{
  uint8_t what = input_u8 (input);
  unsigned leg = (what & 3u) % nlegs;
  struct edit edit = { .kind = what >> 3 & 7 };

  take_edit (input, &edit);
  for (unsigned i = 0; i < nlegs; ++i)
    if (i == leg || (what & 4))
      apply (&edit, i, (i + 1) % nlegs);
}

/* ---- all together ---- */

/* As much of it as the leg has room for. */
static void
put (unsigned leg, int64_t sector, const uint8_t *data, uint64_t n)
{
  uint64_t size = memory_size (leg), at = (uint64_t)sector * SECTOR_SIZE;

  if (sector >= 0 && at < size)
    memory_store (leg, at, data, min_u64 (n, size - at));
}

/* The bitmap is where the superblock says by now. */
static void
put_leg (unsigned leg)
{
  const uint8_t *superblock = drafts[leg].superblock;
  int64_t offset = (int32_t)get_le (superblock + SB_BITMAP_OFFSET, 4);

  put (leg, SUPERBLOCK_1_2_SECTOR + offset, drafts[leg].bitmap,
       bitmap_length ());
  put (leg, SUPERBLOCK_1_2_SECTOR, superblock, SUPERBLOCK_1_BYTES);
}

static void
take_options (struct input *input, struct scene *scene, unsigned nlegs,
              unsigned order)
{
  struct array_options *options = &scene->options;
  uint8_t byte = input_u8 (input);

  memset (scene, 0, sizeof *scene);
  options->nlegs = nlegs;
  for (unsigned i = 0; i < nlegs; ++i)
    options->legs[i] = memory_names[i];
  /* Any order can be had by exchanges of the first leg with a later one. */
  for (unsigned i = 0; i < 2; ++i) {
    unsigned with = (order >> 2 * i & 3) % nlegs;
    const char *name = options->legs[i];

    options->legs[i] = options->legs[with];
    options->legs[with] = name;
  }
  options->degraded = (enum array_degraded) ((byte & 3) % 3);
  options->refuse_full_resync = byte & 4;
  options->read_only = (byte & 0x18) == 0x18;
  options->daemon_sleep = byte & 0x20 ? 3600 : 0;
  scene->debug = byte & 0x40;
  options->leg_timeout = 60 * RT_SECOND;
  options->sync_rate_min = UINT64_MAX; /* never wait */
  options->sync_rate_max = UINT64_MAX;
}

void
make_legs (struct input *input, struct scene *scene)
{
  uint8_t head = input_u8 (input), spoiled, failing, edits;
  unsigned nlegs = 2 + (head & 3) % 3;

  shape = &shapes[head >> 2 & 3];
  /* The large one takes long to load: not too often. */
  if (shape == &shapes[3] && !(head & 0x80))
    shape = &shapes[0];
  assert (bitmap_length () <= BITMAP_MAX);
  take_options (input, scene, nlegs, head >> 4);
  spoiled = input_u8 (input);
  failing = input_u8 (input);
  if (failing >= 0xc0)
    scene->fail_allocation = failing - 0xbf;
  memory_reset (shape->leg * SECTOR_SIZE);
  for (unsigned leg = 0; leg < nlegs; ++leg) {
    draft_superblock (leg, nlegs);
    draft_bitmap (leg);
  }
  edits = input_u8 (input) % (EDITS_MAX + 1);
  for (unsigned i = 0; i < edits && input->n > 0; ++i)
    take_and_apply (input, nlegs);
  for (unsigned leg = 0; leg < nlegs; ++leg) {
    if (!(spoiled >> leg & 1))
      fix_checksum (drafts[leg].superblock);
    put_leg (leg);
  }
}
