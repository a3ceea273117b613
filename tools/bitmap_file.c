/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What the subcommands share about bitmaps in files: words, paths, and the note
 * on the legs.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tools.h"

bool
tool_leg_note (const struct tool_leg *leg, struct bitmap_note *note)
{
  const struct superblock *s = &leg->superblock;
  uint8_t block[BITMAP_NOTE_BYTES];
  ptrdiff_t n;

  if (!leg->intact || (s->feature_map & FEATURE_BITMAP_OFFSET))
    return false;
  n = tool_leg_read (leg, bitmap_note_sector (s) * SECTOR_SIZE, sizeof block,
                     block);
  return n == (ptrdiff_t)sizeof block && bitmap_note_decode (block, note)
         && memcmp (note->set_uuid, s->set_uuid, sizeof s->set_uuid) == 0;
}

char *
tool_absolute_path (const char *path)
{
  char *folder, *absolute = NULL;
  size_t room;

  if (path[0] == '/') {
    absolute = strdup (path);
    if (!absolute)
      tool_error ("out of memory");
    return absolute;
  }
  folder = getcwd (NULL, 0);
  if (!folder) {
    tool_error ("%s: which folder this is cannot be told: %s", path,
                strerror (errno));
    return NULL;
  }
  room = strlen (folder) + strlen (path) + 2;
  absolute = malloc (room);
  if (absolute)
    snprintf (absolute, room, "%s/%s", strcmp (folder, "/") == 0 ? "" : folder,
              path);
  else
    tool_error ("out of memory");
  free (folder);
  return absolute;
}

bool
tool_parse_bitmap (const char *option, const char *text,
                   enum array_bitmap *bitmap, char **path)
{
  free (*path);
  *path = NULL;
  if (strcmp (text, "internal") == 0)
    *bitmap = ARRAY_BITMAP_INTERNAL;
  else if (strcmp (text, "none") == 0)
    *bitmap = ARRAY_BITMAP_NONE;
  else if (text[0] == '\0') {
    tool_error ("%s: internal, none or the path of a file is needed", option);
    return false;
  }
  else {
    *bitmap = ARRAY_BITMAP_FILE;
    *path = tool_absolute_path (text);
    return *path != NULL;
  }
  return true;
}

bool
tool_parse_chunk (const char *text, uint32_t *chunk)
{
  uint64_t bytes;

  if (!tool_parse_size ("--bitmap-chunk", text, &bytes))
    return false;
  if (bytes < 4096 || bytes > (uint64_t)1 << 31 || !is_power_of_2 (bytes)) {
    tool_error ("--bitmap-chunk=%s: a power of two from 4K to 2G is needed",
                text);
    return false;
  }
  *chunk = (uint32_t)bytes;
  return true;
}

const char *
tool_bitmap_key (enum array_bitmap bitmap)
{
  switch (bitmap) {
  case ARRAY_BITMAP_INTERNAL:
    return "internal";
  case ARRAY_BITMAP_FILE:
    return "file";
  case ARRAY_BITMAP_NONE:
  case ARRAY_BITMAP_AUTO:
    break;
  }
  return "none";
}
