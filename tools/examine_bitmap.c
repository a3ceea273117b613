/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* mdbitmap examine-bitmap: the bitmap of a leg, or in a file, in mdadm's
 * words and order.
 */

#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "tools.h"

#define PIECE MiB

struct examined {
  struct tool_leg leg;
  uint64_t offset; /* bytes, of the bitmap */
  struct bitmap_superblock b;
  bool refused;
  struct format_error error;
  uint64_t chunks; /* whose bits are there */
  uint64_t marked;
};

/* A bitmap file begins with the bitmap; a leg tells where it is. */
static bool
find_bitmap (struct examined *e)
{
  const struct superblock_1 *s = &e->leg.superblock;
  uint8_t block[BITMAP_SUPERBLOCK_BYTES] = { 0 };
  bool intact;
  int err;

  if (e->leg.intact) {
    const int64_t at = (int64_t)s->super_offset + s->bitmap_offset;

    if (!(s->feature_map & FEATURE_BITMAP_OFFSET)) {
      tool_error ("leg %s: its array has no internal bitmap", e->leg.path);
      return false;
    }
    if (at < 0 || (uint64_t)at > e->leg.device->limits.size / SECTOR_SIZE) {
      tool_error ("leg %s: field bitmap_offset: found %" PRId32
                  ", expected a place on the leg",
                  e->leg.path, s->bitmap_offset);
      return false;
    }
    e->offset = (uint64_t)at * SECTOR_SIZE;
  }
  if (tool_leg_read (&e->leg, e->offset, sizeof block, block) < 0)
    return false;
  err = bitmap_superblock_decode (block, &e->b, &intact, &e->error);
  e->refused = err < 0;
  if (intact)
    return true;
  if (e->leg.intact)
    tool_error ("leg %s: no bitmap at byte %" PRIu64, e->leg.path, e->offset);
  else
    tool_error ("%s: neither a bitmap nor a superblock of version 1.2 found",
                e->leg.path);
  return false;
}

static uint64_t
count_bits (const uint8_t *data, size_t bytes)
{
  uint64_t n = 0;

  for (size_t i = 0; i < bytes; ++i)
    n += (unsigned)__builtin_popcount (data[i]);
  return n;
}

/* Ones behind the last chunk are not counted; a file may be too short. */
static bool
count_marked (struct examined *e)
{
  const uint64_t chunks = bitmap_chunks (e->b.sync_size, e->b.chunksize);
  const uint64_t bytes = div_up (chunks, 8);
  uint8_t *data = rt_alloc (PIECE);
  uint64_t done = 0;
  ptrdiff_t n = 0;

  if (!data) {
    tool_error ("%s: out of memory", e->leg.path);
    return false;
  }
  while (done < bytes) {
    n = tool_leg_read (&e->leg, e->offset + BITMAP_SUPERBLOCK_BYTES + done,
                       (size_t)min_u64 (PIECE, bytes - done), data);
    if (n <= 0)
      break;
    done += (uint64_t)n;
    if (done == bytes && chunks % 8 != 0)
      data[n - 1] &= (uint8_t)(bitmap_bit_mask (chunks) - 1);
    e->marked += count_bits (data, (size_t)n);
  }
  rt_free (data);
  e->chunks = min_u64 (chunks, done * 8);
  if (n < 0)
    return false;
  if (e->chunks < chunks) {
    tool_error ("%s: has bits for %" PRIu64 " chunks, and there are %" PRIu64,
                e->leg.path, e->chunks, chunks);
    return false;
  }
  return true;
}

/* ---- as text ---- */

static const char *
chunk_text (uint32_t bytes, char buf[16])
{
  static const char *const suffixes[] = { "B", "KB", "MB", "GB" };
  unsigned i = 0;

  while (bytes >> 10) {
    bytes >>= 10;
    ++i;
  }
  snprintf (buf, 16, "%" PRIu32 " %s", bytes, suffixes[i]);
  return buf;
}

static const char *
state_text (uint32_t state)
{
  return state == 0 ? "OK" : state == BITMAP_STALE ? "Out of date" : "Unknown";
}

static void
print_text (const struct examined *e)
{
  const struct bitmap_superblock *b = &e->b;
  char uuid[FORMAT_UUID_TEXT], size[TOOL_SIZE_TEXT], chunk[16];

  printf ("        Filename : %s\n", e->leg.path);
  printf ("           Magic : %08x\n", BITMAP_MAGIC);
  printf ("         Version : %" PRIu32 "\n", b->version);
  printf ("            UUID : %s\n", format_uuid (b->uuid, uuid));
  printf ("          Events : %" PRIu64 "\n", b->events);
  printf ("  Events Cleared : %" PRIu64 "\n", b->events_cleared);
  printf ("           State : %s\n", state_text (b->state));
  printf ("       Chunksize : %s\n", chunk_text (b->chunksize, chunk));
  printf ("          Daemon : %" PRIu32 "s flush period\n", b->daemon_sleep);
  if (b->write_behind != 0)
    printf ("      Write Mode : Allow write behind, max %" PRIu32 "\n",
            b->write_behind);
  else
    printf ("      Write Mode : Normal\n");
  printf ("       Sync Size : %" PRIu64 "%s\n", b->sync_size / 2,
          tool_size_text (b->sync_size * SECTOR_SIZE, size));
  if (!e->refused)
    printf ("          Bitmap : %" PRIu64 " bits (chunks), %" PRIu64
            " dirty (%2.1f%%)\n",
            e->chunks, e->marked,
            100.0 * (double)e->marked / (double)(e->chunks ? e->chunks : 1));
}

/* ---- as JSON ---- */

static void
set_integer (json_t *object, const char *key, uint64_t value)
{
  json_object_set_new (object, key, json_integer ((json_int_t)value));
}

static json_t *
refusal (const struct examined *e)
{
  json_t *object;

  if (!e->refused)
    return json_null ();
  object = json_object ();
  json_object_set_new (object, "field", json_string (e->error.field));
  json_object_set_new (object, "found", json_string (e->error.found));
  json_object_set_new (object, "expected", json_string (e->error.expected));
  json_object_set_new (
      object, "advice",
      e->error.advice ? json_string (e->error.advice) : json_null ());
  return object;
}

static void
print_json (const struct examined *e)
{
  const struct bitmap_superblock *b = &e->b;
  json_t *object, *name = json_string (e->leg.path);
  char uuid[FORMAT_UUID_TEXT];

  json_object_seed (1);
  object = json_object ();
  json_object_set_new (object, "filename",
                       name ? name : json_string ("(not UTF-8)"));
  set_integer (object, "version", b->version);
  json_object_set_new (object, "uuid",
                       json_string (format_uuid (b->uuid, uuid)));
  set_integer (object, "events", b->events);
  set_integer (object, "events-cleared", b->events_cleared);
  json_object_set_new (object, "state",
                       json_string (b->state == 0              ? "ok"
                                    : b->state == BITMAP_STALE ? "out-of-date"
                                                               : "unknown"));
  set_integer (object, "chunk-size", b->chunksize);
  set_integer (object, "daemon-sleep", b->daemon_sleep);
  set_integer (object, "write-behind", b->write_behind);
  set_integer (object, "sync-size", b->sync_size * SECTOR_SIZE);
  set_integer (object, "reserved-size",
               (uint64_t)b->sectors_reserved * SECTOR_SIZE);
  if (!e->refused) {
    set_integer (object, "chunks", e->chunks);
    set_integer (object, "chunks-marked", e->marked);
  }
  json_object_set_new (object, "refused", refusal (e));
  json_dumpf (object, stdout, JSON_INDENT (2));
  putchar ('\n');
  json_decref (object);
}

/* ---- all of it ---- */

static int
examine (struct examined *e, const char *path, bool json)
{
  bool ok = true;

  if (!tool_leg_open (&e->leg, path) || !find_bitmap (e))
    return TOOL_ERROR;
  if (e->refused) {
    char text[300];

    format_error_string (&e->error, text, sizeof text);
    tool_error ("%s: bitmap: %s", path, text);
    ok = false;
  }
  else
    ok = count_marked (e);
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
  struct examined *e;
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
  rt_free (e);
  return status;
}
