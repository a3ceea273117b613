/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Bitmaps that only the kernel can serve, to look at.
 *
 * Version 5, clustered: one bitmap for each node, one behind the other, each
 * with a header of its own and rounded up to 4 KiB.
 *
 * Version 6, lockless: one byte for each chunk, from byte 1024 on; the chunk
 * size is in sectors.  Source: drivers/md/md-llbitmap.c, as described in
 * linux/Documentation and by its author.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "examine_bitmap.h"

#define OFF_CLUSTER_NAME 72
#define LOCKLESS_DATA    1024 /* bytes before the first chunk's */
#define PIECE            MiB

/* More chunks than a lockless bitmap could have: the header is damaged. */
#define LOCKLESS_MAX_CHUNKS ((uint64_t)1 << 32)

enum { STATE_FIRST_USE = 8, STATE_CLEAN = 16 };

static const struct {
  const char *label, *key;
  bool marked; /* the legs may differ there */
} states[LOCKLESS_STATES] = {
  { "       Unwritten", "unwritten", false },
  { "           Clean", "clean", false },
  { "           Dirty", "dirty", true },
  { "        NeedSync", "need-sync", true },
  { "         Syncing", "syncing", true },
  { "NeedSyncUnwritten", "need-sync-unwritten", true },
  { "SyncingUnwritten", "syncing-unwritten", true },
  { "  CleanUnwritten", "clean-unwritten", false },
  { "         Unknown", "unknown", true },
};

bool
bitmap_is_clustered (const struct examined_bitmap *e)
{
  const struct bitmap_superblock *b = &e->bitmap.header;

  return b->version == BITMAP_VERSION_CLUSTERED && b->nodes > 0;
}

bool
bitmap_is_lockless (const struct examined_bitmap *e)
{
  return e->bitmap.header.version == BITMAP_VERSION_LOCKLESS;
}

/* ---- clustered ---- */

static bool
read_node (struct examined_bitmap *e, unsigned number, uint64_t bytes)
{
  struct node_bitmap *node = &e->node[number];
  struct tool_bitmap *bitmap = &node->bitmap;

  bitmap->offset = e->bitmap.offset + number * bytes;
  if (!tool_bitmap_read_header (&e->leg, bitmap))
    return false;
  /* They are all refused, for their version. */
  node->intact = bitmap->intact
                 && bitmap->header.version == BITMAP_VERSION_CLUSTERED
                 && bitmap->header.chunksize == e->bitmap.header.chunksize
                 && bitmap->header.sync_size == e->bitmap.header.sync_size;
  if (!node->intact) {
    tool_error ("%s: node %u has no bitmap at byte %" PRIu64, e->leg.path,
                number, bitmap->offset);
    return true;
  }
  node->counted = tool_bitmap_count (&e->leg, bitmap);
  return node->counted;
}

bool
clustered_read (struct examined_bitmap *e)
{
  const struct bitmap_superblock *b = &e->bitmap.header;
  uint64_t bytes;
  bool ok = true;

  memcpy (e->cluster_name, b->block + OFF_CLUSTER_NAME,
          sizeof e->cluster_name - 1);
  if (!is_power_of_2 (b->chunksize) || b->chunksize < SECTOR_SIZE)
    return true;
  e->nodes = (unsigned)min_u64 (b->nodes, MAX_NODES);
  e->node = rt_calloc (e->nodes, sizeof *e->node);
  if (!e->node) {
    tool_error ("out of memory");
    e->nodes = 0;
    return false;
  }
  bytes = round_up (bitmap_bytes (bitmap_chunks (b->sync_size, b->chunksize)),
                    BITMAP_PAGE_BYTES);
  for (unsigned i = 0; i < e->nodes && ok; ++i)
    ok = read_node (e, i, bytes);
  return ok;
}

void
clustered_print (const struct examined_bitmap *e)
{
  printf ("   Cluster nodes : %" PRIu32 "\n", e->bitmap.header.nodes);
  printf ("    Cluster name : %-64s\n", e->cluster_name);
  for (unsigned i = 0; i < e->nodes; ++i) {
    const struct bitmap_superblock *b = &e->node[i].bitmap.header;

    if (!e->node[i].intact)
      continue;
    printf ("       Node Slot : %u\n", i);
    printf ("          Events : %" PRIu64 "\n", b->events);
    printf ("  Events Cleared : %" PRIu64 "\n", b->events_cleared);
    printf ("           State : %s\n", bitmap_state_text (b->state));
    if (e->node[i].counted)
      bitmap_print_bits (&e->node[i].bitmap);
  }
}

void
clustered_to_json (const struct examined_bitmap *e, json_t *object)
{
  json_t *list = json_array (), *node;

  tool_json_integer (object, "nodes", e->bitmap.header.nodes);
  tool_json_string (object, "cluster-name", e->cluster_name);
  for (unsigned i = 0; i < e->nodes; ++i) {
    const struct tool_bitmap *bitmap = &e->node[i].bitmap;

    if (!e->node[i].intact)
      continue;
    node = json_object ();
    tool_json_integer (node, "node", i);
    tool_json_integer (node, "events", bitmap->header.events);
    tool_json_integer (node, "events-cleared", bitmap->header.events_cleared);
    tool_json_string (node, "state", bitmap_state_key (bitmap->header.state));
    tool_json_integer (node, "chunks", bitmap->chunks);
    tool_json_integer (node, "chunks-marked", bitmap->marked);
    json_array_append_new (list, node);
  }
  json_object_set_new (object, "node-bitmaps", list);
}

/* ---- lockless ---- */

static uint64_t
lockless_chunks (const struct examined_bitmap *e)
{
  const struct bitmap_superblock *b = &e->bitmap.header;
  const uint64_t chunks =
      b->chunksize == 0 ? 0 : div_up (b->sync_size, b->chunksize);

  return chunks > LOCKLESS_MAX_CHUNKS ? 0 : chunks;
}

static uint64_t
lockless_marked (const struct examined_bitmap *e)
{
  uint64_t n = 0;

  for (unsigned i = 0; i < LOCKLESS_STATES; ++i)
    n += states[i].marked ? e->states[i] : 0;
  return n;
}

bool
lockless_read (struct examined_bitmap *e)
{
  const uint64_t chunks = lockless_chunks (e);
  uint8_t *data = rt_alloc (PIECE);
  uint64_t done = 0;
  ptrdiff_t n = 0;

  if (!data) {
    tool_error ("out of memory");
    return false;
  }
  while (done < chunks) {
    n = tool_leg_read (&e->leg, e->bitmap.offset + LOCKLESS_DATA + done,
                       (size_t)min_u64 (PIECE, chunks - done), data);
    if (n <= 0)
      break;
    for (ptrdiff_t i = 0; i < n; ++i)
      ++e->states[min_u64 (data[i], LOCKLESS_STATES - 1)];
    done += (uint64_t)n;
  }
  rt_free (data);
  e->bitmap.chunks = done;
  e->bitmap.marked = lockless_marked (e);
  if (n >= 0 && done < chunks)
    tool_error ("%s: has bytes for %" PRIu64 " chunks, and there are %" PRIu64,
                e->leg.path, done, chunks);
  return n >= 0;
}

void
lockless_print (const struct examined_bitmap *e)
{
  const uint32_t state = e->bitmap.header.state;
  const uint64_t chunks = e->bitmap.chunks;

  printf (
      "           State : %s%s%s\n",
      bitmap_state_text (state & ~(uint32_t)(STATE_FIRST_USE | STATE_CLEAN)),
      state & STATE_FIRST_USE ? ", first use" : "",
      state & STATE_CLEAN ? ", clean" : "");
  printf ("          Bitmap : %" PRIu64 " bytes (chunks), %" PRIu64
          " dirty (%2.1f%%)\n",
          chunks, e->bitmap.marked,
          100.0 * (double)e->bitmap.marked / (double)(chunks ? chunks : 1));
  /* The first five, and what newer kernels add if it is there. */
  for (unsigned i = 0; i < LOCKLESS_STATES; ++i)
    if (i < 5 || e->states[i] > 0)
      printf ("%s : %" PRIu64 "\n", states[i].label, e->states[i]);
}

void
lockless_to_json (const struct examined_bitmap *e, json_t *object)
{
  const uint32_t state = e->bitmap.header.state;
  json_t *counts = json_object ();

  tool_json_string (
      object, "state",
      bitmap_state_key (state & ~(uint32_t)(STATE_FIRST_USE | STATE_CLEAN)));
  json_object_set_new (object, "first-use",
                       json_boolean (state & STATE_FIRST_USE));
  json_object_set_new (object, "clean", json_boolean (state & STATE_CLEAN));
  tool_json_integer (object, "chunks", e->bitmap.chunks);
  tool_json_integer (object, "chunks-marked", e->bitmap.marked);
  for (unsigned i = 0; i < LOCKLESS_STATES; ++i)
    tool_json_integer (counts, states[i].key, e->states[i]);
  json_object_set_new (object, "states", counts);
}
