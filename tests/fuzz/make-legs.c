/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Bytes become legs, sparsely: good legs of one array, then the input's edits.
 * Inputs of zeroes alone are a clean array, each edit costs a few bytes, and
 * most inputs mean something.
 *
 * The head: nlegs, shape and order in one byte; options in the next; then
 * whose checksum is left wrong, and in the same byte which version of the
 * metadata it is and whether there is no bitmap; what fails; and the number
 * of edits.
 */

#include <config.h>

#include <string.h>

#include "base/bytes.h"
#include "base/rt.h"
#include "fuzz/assembly.h"

#define EDITS_MAX 24

/* Of this input. */
static struct recipe recipe;

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
  EDIT_STORY,           /* see draft.c */
  EDIT_BAD_LOG,         /* an entry of the bad-block log */
  EDIT_BAD_LOG_BYTE,    /* any byte of it */
};
#define EDIT_KINDS 11

struct edit {
  enum edit_kind kind;
  uint16_t where;
  uint8_t how;  /* two bits: what is done; six bits: with which number */
  uint64_t raw; /* for some of them */
};

static void
take_edit (struct input *input, struct edit *edit)
{
  switch (edit->kind) {
  case EDIT_SUPERBLOCK_BYTE:
  case EDIT_BITMAP_BYTE:
  case EDIT_BAD_LOG_BYTE:
  case EDIT_DATA:
  case EDIT_MARK:
    edit->where = input_u16 (input);
    break;
  default:
    edit->where = input_u8 (input);
    break;
  }
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
  uint64_t sectors = edited (edit, size / 512, 65536);

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
    traits->bad_read = 512 * edited (edit, 32, size / 512 - 1);
    break;
  case 5:
    traits->bad_write = edited (edit, 32, 0);
    break;
  case 6:
    memory_resize (leg, min_u64 (sectors, 65536) * 512);
    break;
  }
}

static void
edit_data (const struct edit *edit, unsigned leg)
{
  uint8_t sector[512];
  uint64_t at = (uint64_t)edit->where * 512;

  memset (sector, edit->how, sizeof sector);
  if (at + sizeof sector <= memory_size (leg))
    memory_store (leg, at, sector, sizeof sector);
}

/* The number of one field in the draft. */
static void
edit_field (const struct edit *edit, const struct field *fields, unsigned n,
            uint8_t *p, const uint8_t *other)
{
  const struct field *field = &fields[edit->where % n];

  edit_number (edit, p + field->offset, other + field->offset, field->width);
}

static void
edit_superblock (const struct edit *edit, unsigned leg, unsigned other)
{
  uint8_t *p = drafts[leg].superblock;
  const uint8_t *q = drafts[other].superblock;

  if (recipe.version == SUPERBLOCK_0_90)
    edit_field (edit, superblock_090_fields, superblock_090_nfields, p, q);
  else
    edit_field (edit, superblock_fields, superblock_nfields, p, q);
}

static void
edit_role (const struct edit *edit, unsigned leg, unsigned other)
{
  unsigned at = SB_ROLES + 2 * (edit->where % 130u);
  uint8_t *superblock = drafts[leg].superblock;

  if (recipe.version == SUPERBLOCK_0_90) {
    draft_set_role (&drafts[leg], edit->where % SB9_MAX_DEV,
                    (unsigned)edited (edit, ROLE_SPARE, ROLE_FAULTY) & 0xffff);
    return;
  }
  edit_number (edit, superblock + at, drafts[other].superblock + at, 2);
  if (edit->how >> 6 == 2) /* a power of two is no role: faulty is */
    put_le (superblock + at, 2, ROLE_FAULTY);
}

static void
edit_mark (const struct edit *edit, unsigned leg)
{
  uint64_t chunk = edit->where % draft_chunks (&recipe);

  if (recipe.version == SUPERBLOCK_0_90)
    drafts[leg].superblock[SB9_STATE] &= 0xfe;
  else
    put_le (drafts[leg].superblock + SB_RESYNC_OFFSET, 8, 0);
  drafts[leg].bitmap[256 + chunk / 8] |= (uint8_t)(1 << chunk % 8);
}

static void
apply (const struct edit *edit, unsigned leg, unsigned other)
{
  struct draft *draft = &drafts[leg], *from = &drafts[other];
  unsigned at = edit->where;

  switch (edit->kind) {
  case EDIT_SUPERBLOCK:
    edit_superblock (edit, leg, other);
    break;
  case EDIT_SUPERBLOCK_BYTE:
    at %= sizeof draft->superblock;
    edit_number (edit, draft->superblock + at, from->superblock + at, 1);
    break;
  case EDIT_BITMAP:
    edit_field (edit, bitmap_fields, bitmap_nfields, draft->bitmap,
                from->bitmap);
    break;
  case EDIT_BITMAP_BYTE:
    at %= sizeof draft->bitmap;
    edit_number (edit, draft->bitmap + at, from->bitmap + at, 1);
    break;
  case EDIT_ROLE:
    edit_role (edit, leg, other);
    break;
  case EDIT_TRAIT:
    edit_trait (edit, leg);
    break;
  case EDIT_DATA:
    edit_data (edit, leg);
    break;
  case EDIT_MARK:
    edit_mark (edit, leg);
    break;
  case EDIT_STORY:
    draft_story (&recipe, (enum story) (at % STORIES), leg, edit->how);
    break;
  case EDIT_BAD_LOG:
    at = 8 * (at % 512);
    edit_number (edit, draft->bad_log + at, from->bad_log + at, 8);
    break;
  case EDIT_BAD_LOG_BYTE:
    at %= sizeof draft->bad_log;
    edit_number (edit, draft->bad_log + at, from->bad_log + at, 1);
    break;
  }
}

/* One leg, or all of them alike. */
static void
take_and_apply (struct input *input)
{
  uint8_t what = input_u8 (input);
  unsigned leg = (what & 3u) % recipe.nlegs;
  struct edit edit = { .kind = (what >> 3 & 15) % EDIT_KINDS };

  take_edit (input, &edit);
  for (unsigned i = 0; i < recipe.nlegs; ++i)
    if (i == leg || (what & 4))
      apply (&edit, i, (i + 1) % recipe.nlegs);
}

/* ---- all together ---- */

void
scene_init (struct scene *scene, unsigned nlegs)
{
  struct array_options *options = &scene->options;

  memset (scene, 0, sizeof *scene);
  options->nlegs = nlegs;
  for (unsigned i = 0; i < nlegs; ++i)
    options->legs[i] = memory_names[i];
  options->leg_timeout = 60 * RT_SECOND;
  options->sync_rate_min = UINT64_MAX; /* never wait */
  options->sync_rate_max = UINT64_MAX;
}

static void
take_options (struct input *input, struct scene *scene, unsigned order)
{
  struct array_options *options = &scene->options;
  unsigned nlegs = recipe.nlegs;
  uint8_t byte = input_u8 (input);

  scene_init (scene, nlegs);
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
  if ((byte & 0x18) == 0x08)
    options->force_source = options->legs[0];
  if ((byte & 0x18) == 0x10 || (byte & 0x98) == 0x98)
    options->force_source = options->legs[1];
  options->daemon_sleep = byte & 0x20 ? 3600 : 0;
  scene->debug = byte & 0x40;
}

/* In the order of how often one meets them. */
static const enum superblock_version versions[4] = {
  SUPERBLOCK_1_2,
  SUPERBLOCK_1_0,
  SUPERBLOCK_1_1,
  SUPERBLOCK_0_90,
};

void
make_legs (struct input *input, struct scene *scene)
{
  uint8_t head = input_u8 (input), spoiled, failing, edits;

  recipe.nlegs = 2 + (head & 3) % 3;
  recipe.shape = &shapes[head >> 2 & 3];
  /* The large one takes long to load: not too often. */
  if (recipe.shape == &shapes[3] && !(head & 0x80))
    recipe.shape = &shapes[0];
  take_options (input, scene, head >> 4);
  spoiled = input_u8 (input);
  recipe.version = versions[spoiled >> 4 & 3];
  recipe.bitmap = !(spoiled & 0x40);
  failing = input_u8 (input);
  /* The first ones each, later ones now and then. */
  if (failing >= 0xc0)
    scene->fail_allocation = failing - 0xbfu;
  else if (failing >= 0xa0)
    scene->fail_allocation = 65 + 5 * (failing - 0xa0u);
  draft_legs (&recipe);
  edits = input_u8 (input) % (EDITS_MAX + 1);
  for (unsigned i = 0; i < edits && input->n > 0; ++i)
    take_and_apply (input);
  for (unsigned leg = 0; leg < recipe.nlegs; ++leg) {
    if (!(spoiled >> leg & 1))
      draft_fix (&drafts[leg]);
    draft_store (leg);
  }
}
