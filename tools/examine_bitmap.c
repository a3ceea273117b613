/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* mdbitmap examine-bitmap: the bitmap of a leg, or in a file, in mdadm's
 * words and order.
 */

#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "examine_bitmap.h"

/* A bitmap file begins with the bitmap; a leg tells where it is. */
static bool
find_bitmap (struct examined_bitmap *e)
{
  const struct superblock *s = &e->leg.superblock;
  const char *path = e->leg.path;

  for (unsigned i = 0; e->leg.intact && i < e->leg.nothers; ++i)
    tool_error ("leg %s: a superblock of version %s is there as well; this is "
                "the bitmap of version %s",
                path, superblock_version_string (e->leg.others[i]),
                superblock_version_string (s->version));
  if (e->leg.intact) {
    if (!(s->feature_map & FEATURE_BITMAP_OFFSET)) {
      tool_error ("leg %s: its array has no internal bitmap", path);
      return false;
    }
    e->bitmap.offset = tool_bitmap_offset (&e->leg);
    if (e->bitmap.offset == UINT64_MAX) {
      tool_error ("leg %s: field bitmap_offset: found %" PRId32
                  ", expected a place on the leg",
                  path, s->bitmap_offset);
      return false;
    }
  }
  if (!tool_bitmap_read_header (&e->leg, &e->bitmap))
    return false;
  if (e->bitmap.intact)
    return true;
  if (e->leg.intact)
    tool_error ("leg %s: no bitmap at byte %" PRIu64, path, e->bitmap.offset);
  else {
    tool_error ("%s: neither a bitmap nor a superblock of md found", path);
    if (!e->leg.no_magic)
      tool_leg_complain (&e->leg);
  }
  return false;
}

/* ---- as text ---- */

const char *
bitmap_chunk_text (uint64_t bytes, char buf[24])
{
  static const char *const suffixes[] = { "B", "KB", "MB", "GB", "TB" };
  unsigned i = 0;

  while (bytes >> 10 && i < 4) {
    bytes >>= 10;
    ++i;
  }
  snprintf (buf, 24, "%" PRIu64 " %s", bytes, suffixes[i]);
  return buf;
}

const char *
bitmap_state_text (uint32_t state)
{
  return state == 0 ? "OK" : state == BITMAP_STALE ? "Out of date" : "Unknown";
}

const char *
bitmap_state_key (uint32_t state)
{
  return state == 0 ? "ok" : state == BITMAP_STALE ? "out-of-date" : "unknown";
}

void
bitmap_print_bits (const struct tool_bitmap *bitmap)
{
  printf ("          Bitmap : %" PRIu64 " bits (chunks), %" PRIu64
          " dirty (%2.1f%%)\n",
          bitmap->chunks, bitmap->marked,
          100.0 * (double)bitmap->marked
              / (double)(bitmap->chunks ? bitmap->chunks : 1));
}

static enum superblock_version
uuid_version (const struct examined_bitmap *e)
{
  return e->leg.intact ? e->leg.superblock.version : SUPERBLOCK_1_2;
}

static void
print_text (const struct examined_bitmap *e)
{
  const struct bitmap_superblock *b = &e->bitmap.header;
  char uuid[FORMAT_UUID_TEXT], size[TOOL_SIZE_TEXT], chunk[24];
  const uint64_t unit = bitmap_is_lockless (e) ? SECTOR_SIZE : 1;

  printf ("        Filename : %s\n", e->leg.path);
  printf ("           Magic : %08x\n", BITMAP_MAGIC);
  printf ("         Version : %" PRIu32 "\n", b->version);
  printf ("            UUID : %s\n",
          superblock_uuid (uuid_version (e), b->uuid, uuid));
  if (!bitmap_is_clustered (e)) {
    printf ("          Events : %" PRIu64 "\n", b->events);
    printf ("  Events Cleared : %" PRIu64 "\n", b->events_cleared);
    if (!bitmap_is_lockless (e))
      printf ("           State : %s\n", bitmap_state_text (b->state));
  }
  printf ("       Chunksize : %s\n",
          bitmap_chunk_text (b->chunksize * unit, chunk));
  printf ("          Daemon : %" PRIu32 "s flush period\n", b->daemon_sleep);
  if (b->write_behind != 0)
    printf ("      Write Mode : Allow write behind, max %" PRIu32 "\n",
            b->write_behind);
  else
    printf ("      Write Mode : Normal\n");
  printf ("       Sync Size : %" PRIu64 "%s\n", b->sync_size / 2,
          tool_size_text (b->sync_size * SECTOR_SIZE, size));
  if (bitmap_is_clustered (e))
    clustered_print (e);
  else if (bitmap_is_lockless (e))
    lockless_print (e);
  else if (e->counted)
    bitmap_print_bits (&e->bitmap);
}

/* ---- as JSON ---- */

static void
print_json (const struct examined_bitmap *e)
{
  const struct bitmap_superblock *b = &e->bitmap.header;
  const uint64_t unit = bitmap_is_lockless (e) ? SECTOR_SIZE : 1;
  char uuid[FORMAT_UUID_TEXT];
  json_t *object;

  json_object_seed (1);
  object = json_object ();
  tool_json_string (object, "filename", e->leg.path);
  tool_json_string (object, "metadata",
                    e->leg.intact
                        ? superblock_version_string (e->leg.superblock.version)
                        : NULL);
  tool_json_integer (object, "offset", e->bitmap.offset);
  tool_json_integer (object, "version", b->version);
  tool_json_string (object, "uuid",
                    superblock_uuid (uuid_version (e), b->uuid, uuid));
  tool_json_integer (object, "events", b->events);
  tool_json_integer (object, "events-cleared", b->events_cleared);
  tool_json_string (object, "state", bitmap_state_key (b->state));
  tool_json_integer (object, "chunk-size", b->chunksize * unit);
  tool_json_integer (object, "daemon-sleep", b->daemon_sleep);
  tool_json_integer (object, "write-behind", b->write_behind);
  tool_json_sectors (object, "sync-size", b->sync_size);
  tool_json_sectors (object, "reserved-size", b->sectors_reserved);
  if (bitmap_is_clustered (e))
    clustered_to_json (e, object);
  else if (bitmap_is_lockless (e))
    lockless_to_json (e, object);
  else if (e->counted) {
    tool_json_integer (object, "chunks", e->bitmap.chunks);
    tool_json_integer (object, "chunks-marked", e->bitmap.marked);
  }
  tool_json_refusal (object, e->bitmap.refused ? &e->bitmap.error : NULL);
  tool_json_print (object);
}

/* ---- all of it ---- */

static bool
read_bits (struct examined_bitmap *e)
{
  if (bitmap_is_clustered (e))
    return clustered_read (e);
  if (bitmap_is_lockless (e))
    return lockless_read (e);
  if (e->bitmap.refused)
    return true;
  e->counted = true;
  return tool_bitmap_count (&e->leg, &e->bitmap);
}

static int
examine (struct examined_bitmap *e, const char *path, bool json)
{
  char text[300];
  bool ok;

  if (!tool_leg_open (&e->leg, path) || !find_bitmap (e))
    return TOOL_ERROR;
  if (e->bitmap.refused) {
    format_error_string (&e->bitmap.error, text, sizeof text);
    tool_error ("%s: bitmap: %s", path, text);
  }
  ok = read_bits (e) && !e->bitmap.refused;
  if (json)
    print_json (e);
  else
    print_text (e);
  return ok ? 0 : TOOL_ERROR;
}

int
tool_examine_bitmap (int argc, char **argv)
{
  static const struct option long_options[] = {
    { "json", no_argument, NULL, 'j' },
    { NULL, 0, NULL, 0 },
  };
  struct examined_bitmap *e;
  bool json = false;
  int option, status;

  opterr = 0;
  while ((option = getopt_long (argc, argv, "", long_options, NULL)) != -1) {
    if (option != 'j')
      return tool_usage_error ("examine-bitmap: bad option: %s",
                               argv[optind - 1]);
    json = true;
  }
  if (optind != argc - 1)
    return tool_usage_error ("give one leg, or one file with a bitmap");
  e = rt_calloc (1, sizeof *e);
  if (!e) {
    tool_error ("out of memory");
    return TOOL_ERROR;
  }
  status = examine (e, argv[optind], json);
  tool_leg_close (&e->leg);
  rt_free (e->node);
  rt_free (e);
  return status;
}
