/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The note that the bitmap is in a file: see bitmap_note.h.
 *
 * It has a checksum over all of it: bytes that md leaves alone may hold
 * anything.
 */

#include <config.h>

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "format/bitmap_note.h"
#include "format/superblock_090.h"

#define NOTE_MAGIC   "mdbitmap file"
#define NOTE_VERSION 1

#define OFF_MAGIC     0
#define OFF_VERSION   16
#define OFF_CHECKSUM  20
#define OFF_SET_UUID  24
#define OFF_EVENTS    40
#define OFF_PATH      48
#define OFF_PATH_LAST (OFF_PATH + BITMAP_NOTE_PATH - 1)

/* Shadows the format, for the compiler to check the offsets. */
struct on_disk {
  uint8_t magic[16];
  uint8_t version[4];
  uint8_t checksum[4];
  uint8_t set_uuid[16];
  uint8_t events[8];
  uint8_t path[BITMAP_NOTE_PATH];
  uint8_t pad[BITMAP_NOTE_BYTES - OFF_PATH - BITMAP_NOTE_PATH];
};

#define AT(field, offset)                                    \
  static_assert (offsetof (struct on_disk, field) == offset, \
                 "field " #field " is at its place")
AT (magic, OFF_MAGIC);
AT (version, OFF_VERSION);
AT (checksum, OFF_CHECKSUM);
AT (set_uuid, OFF_SET_UUID);
AT (events, OFF_EVENTS);
AT (path, OFF_PATH);
#undef AT
static_assert (sizeof (struct on_disk) == BITMAP_NOTE_BYTES, "it fills it");
static_assert (sizeof NOTE_MAGIC <= 16, "the magic has room");

/* Bytes between the superblock's first and the note. */
#define BEHIND_SUPERBLOCK_1   2048
#define BEHIND_SUPERBLOCK_090 (60 * 1024)

uint64_t
bitmap_note_sector (const struct superblock *sb)
{
  uint64_t behind = sb->version == SUPERBLOCK_0_90 ? BEHIND_SUPERBLOCK_090
                                                   : BEHIND_SUPERBLOCK_1;

  return sb->super_offset + behind / SECTOR_SIZE;
}

/* CRC-32 as in Ethernet, its own bytes as zeroes: unlike md's sum, it sees
 * words that have changed places, and any one bit.
 */
static uint32_t
checksum (const uint8_t *block)
{
  uint32_t crc = UINT32_MAX;

  for (unsigned i = 0; i < BITMAP_NOTE_BYTES; ++i) {
    if (i < OFF_CHECKSUM || i >= OFF_SET_UUID)
      crc ^= block[i];
    for (unsigned bit = 0; bit < 8; ++bit)
      crc = crc >> 1 ^ (crc & 1 ? UINT32_C (0xedb88320) : 0);
  }
  return ~crc;
}

bool
bitmap_note_exists (const uint8_t block[BITMAP_NOTE_BYTES])
{
  return memcmp (block + OFF_MAGIC, NOTE_MAGIC, sizeof NOTE_MAGIC) == 0;
}

/* It comes from a disk, and goes to logs. */
static bool
is_printable (const char *path)
{
  for (; *path; ++path)
    if ((unsigned char)*path < ' ' || *path == 0x7f)
      return false;
  return true;
}

bool
bitmap_note_decode (const uint8_t block[BITMAP_NOTE_BYTES],
                    struct bitmap_note *note)
{
  if (!bitmap_note_exists (block)
      || get_le32 (block + OFF_VERSION) != NOTE_VERSION
      || get_le32 (block + OFF_CHECKSUM) != checksum (block)
      || block[OFF_PATH_LAST] != '\0')
    return false;
  memcpy (note->set_uuid, block + OFF_SET_UUID, sizeof note->set_uuid);
  note->events = get_le64 (block + OFF_EVENTS);
  memcpy (note->path, block + OFF_PATH, sizeof note->path);
  if (!is_printable (note->path))
    memset (note->path, 0, sizeof note->path);
  return true;
}

void
bitmap_note_encode (const struct bitmap_note *note,
                    uint8_t block[BITMAP_NOTE_BYTES])
{
  size_t length = strlen (note->path);

  assert (length < BITMAP_NOTE_PATH);
  memset (block, 0, BITMAP_NOTE_BYTES);
  memcpy (block + OFF_MAGIC, NOTE_MAGIC, sizeof NOTE_MAGIC);
  put_le32 (block + OFF_VERSION, NOTE_VERSION);
  memcpy (block + OFF_SET_UUID, note->set_uuid, sizeof note->set_uuid);
  put_le64 (block + OFF_EVENTS, note->events);
  memcpy (block + OFF_PATH, note->path, length);
  put_le32 (block + OFF_CHECKSUM, checksum (block));
}
