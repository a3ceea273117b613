/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The bitmap's file as it lies on its disk: making it, and looking at it.
 *
 * With extent it is in pieces of 512 to 4096 bytes, in no order, with gaps
 * between them that belong to others.  One OS thread, no locks.
 */

#include <config.h>

#include <string.h>

#include "base/bytes.h"
#include "sim/oracle_internal.h"

#define PAGE   4096
#define OTHERS 0x5e /* what is in each byte around the file */
#define AROUND 3    /* bytes of others for each of the file, about */

/* ---- making it ---- */

static uint64_t
next_bits (uint64_t *state)
{
  uint64_t x = *state += UINT64_C (0x9e3779b97f4a7c15);

  x = (x ^ x >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C (0x94d049bb133111eb);
  return x ^ x >> 31;
}

/* The length of each piece, in order of the file. */
static void
cut (const struct plan *plan, struct legs_file *file, uint64_t length,
     uint64_t *state)
{
  const uint64_t least =
      max_u64 (plan->file_block, round_up (length / 32, 512));
  uint64_t offset = 0;

  while (offset < length) {
    struct file_extent *piece = &file->pieces[file->npieces++];

    piece->offset = offset;
    piece->length = least << next_bits (state) % 4;
    piece->length = min_u64 (min_u64 (piece->length, max_u64 (least, PAGE)),
                             length - offset);
    offset += piece->length;
  }
}

/* Each one somewhere: the places in a row, whose owners are shuffled. */
static uint64_t
scatter (const struct plan *plan, struct legs_file *file, uint64_t *state)
{
  unsigned order[LEGS_PIECES];
  uint64_t at = 0;

  for (unsigned i = 0; i < file->npieces; ++i)
    order[i] = i;
  for (unsigned i = file->npieces - 1; i > 0; --i) {
    unsigned k = (unsigned)(next_bits (state) % (i + 1)), o = order[i];

    order[i] = order[k];
    order[k] = o;
  }
  for (unsigned i = 0; i < file->npieces; ++i) {
    at += plan->file_block * (1 + next_bits (state) % AROUND);
    file->pieces[order[i]].at = at;
    at += file->pieces[order[i]].length;
  }
  return round_up (at + plan->file_block, PAGE);
}

void
file_make_geometry (const struct plan *plan, struct oracle_geometry *g)
{
  static const enum file_io ios[] = {
    [PLAN_FILE_DIRECT] = FILE_DIRECT,
    [PLAN_FILE_EXTENT] = FILE_EXTENT,
    [PLAN_FILE_PAGECACHE] = FILE_PAGECACHE,
  };
  uint64_t state = plan->seed ^ UINT64_C (0x65787465), length;

  g->has_file = plan->bitmap_file != PLAN_NO_FILE;
  g->note =
      g->super
      + (g->metadata == PLAN_0_90 ? 60 * KiB : (uint64_t)BITMAP_NOTE_BYTES);
  if (!g->has_file)
    return;
  g->file.io = ios[plan->bitmap_file];
  g->file.size = bitmap_bytes (g->chunks);
  length = round_up (g->file.size, PAGE);
  if (!plan->file_short)
    g->file.size = length;
  g->file.check_error = plan->file_check_error;
  if (g->file.io == FILE_EXTENT) {
    cut (plan, &g->file, length, &state);
    g->file_disk = scatter (plan, &g->file, &state);
    return;
  }
  g->file.npieces = 1;
  g->file.pieces[0] = (struct file_extent){ 0, 0, length };
  g->file_disk = length;
}

struct disk *
file_make_disk (const struct plan *plan, const struct oracle_geometry *g,
                const struct image *file)
{
  const struct disk_limits limits = { .logical_block = plan->file_block,
                                      .reaped = plan->reaped };
  struct image *image = image_new (g->file_disk);
  uint8_t block[PAGE];

  memset (block, OTHERS, sizeof block);
  for (uint64_t at = 0; at < g->file_disk; at += sizeof block)
    image_write (image, at, block, sizeof block);
  for (unsigned i = 0; i < g->file.npieces; ++i) {
    const struct file_extent *piece = &g->file.pieces[i];

    for (uint64_t at = 0; at < piece->length; at += DISK_SECTOR) {
      image_read (file, piece->offset + at, block, DISK_SECTOR);
      image_write (image, piece->at + at, block, DISK_SECTOR);
    }
  }
  return disk_new (SIM_FILE, image, &limits);
}

/* ---- looking at it ---- */

/* The piece that has that byte of the file. */
static const struct file_extent *
piece_of (const struct oracle_geometry *g, uint64_t offset)
{
  const struct file_extent *piece = g->file.pieces;

  while (offset >= piece->offset + piece->length)
    piece++;
  return piece;
}

void
file_bytes (const struct oracle_geometry *g, const struct image *image,
            uint64_t offset, void *data, uint64_t length)
{
  uint8_t *to = data;

  while (length > 0) {
    const struct file_extent *piece = piece_of (g, offset);
    uint64_t skip = offset - piece->offset;
    uint64_t n = min_u64 (length, piece->length - skip);

    image_read (image, piece->at + skip, to, n);
    to += n;
    offset += n;
    length -= n;
  }
}

bool
file_find (const struct oracle_geometry *g, uint64_t at, uint64_t length,
           uint64_t *offset)
{
  for (unsigned i = 0; i < g->file.npieces; ++i) {
    const struct file_extent *piece = &g->file.pieces[i];

    if (at < piece->at || at + length > piece->at + piece->length)
      continue;
    *offset = piece->offset + (at - piece->at);
    return true;
  }
  return false;
}

bool
file_bit (const struct oracle_geometry *g, const struct image *image,
          uint64_t chunk)
{
  uint8_t byte;

  file_bytes (g, image, bitmap_bit_byte (chunk), &byte, 1);
  return byte & bitmap_bit_mask (chunk);
}

void
file_header (const struct oracle_geometry *g, const struct image *image,
             struct header_view *view)
{
  uint8_t block[BITMAP_SUPERBLOCK_BYTES];

  file_bytes (g, image, 0, block, sizeof block);
  header_view_of_block (block, view);
}

bool
file_is_spoiled (const struct oracle_geometry *g, const struct disk *disk,
                 uint64_t offset, uint64_t length)
{
  for (unsigned i = 0; i < g->file.npieces; ++i) {
    const struct file_extent *piece = &g->file.pieces[i];
    const uint64_t from = max_u64 (offset, piece->offset);
    const uint64_t to =
        min_u64 (offset + length, piece->offset + piece->length);

    if (from < to
        && disk_is_spoiled (disk, piece->at + (from - piece->offset),
                            to - from))
      return true;
  }
  return false;
}

/* ---- notes ---- */

void
file_make_note (uint64_t events, const uint8_t uuid[16],
                uint8_t block[BITMAP_NOTE_BYTES])
{
  static struct bitmap_note note;

  memset (&note, 0, sizeof note);
  memcpy (note.set_uuid, uuid, sizeof note.set_uuid);
  note.events = events;
  strcpy (note.path, legs_file_path ());
  bitmap_note_encode (&note, block);
}

bool
file_seems_noted (const struct oracle_geometry *g, const struct image *image)
{
  static const char magic[] = "mdbitmap file";
  char bytes[sizeof magic];

  image_read (image, g->note, bytes, sizeof bytes);
  return memcmp (bytes, magic, sizeof magic) == 0;
}

/* The same note is looked at over and over. */
bool
file_is_note (const uint8_t *block, const uint8_t uuid[16])
{
  static uint8_t known[BITMAP_NOTE_BYTES]; /* zeroes are none */
  static struct bitmap_note note;
  static bool valid;

  if (memcmp (known, block, sizeof known) != 0) {
    memcpy (known, block, sizeof known);
    valid = bitmap_note_decode (block, &note);
  }
  return valid && memcmp (note.set_uuid, uuid, sizeof note.set_uuid) == 0;
}
