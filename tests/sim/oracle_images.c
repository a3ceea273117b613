/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The oracle looks at what a crash left, without the library: the reference
 * assembler says whom to trust, and the images are compared.
 *
 * This runs for every crash that is tried.  Metadata is decoded once for each
 * leg; legs that are equal, as most are, cost a walk over shared pages.
 * One OS thread, no locks; the scratch is used within a call only.
 */

#include <config.h>

#include "sim/oracle_internal.h"

struct inquest {
  const struct oracle_geometry *geometry;
  struct disk *const *disks;
  const struct model *model;
  struct leg_view views[SIM_LEGS];
};

/* ---- I1: what differs is marked ---- */

/* The kernel reads the bitmap of one leg, and it may be any of them. */
static void
check_covered (const struct inquest *q, const struct verdict *verdict,
               unsigned leg, uint64_t chunk)
{
  const struct oracle_geometry *g = q->geometry;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct leg_view *view = &q->views[i];

    if (!(verdict->in_sync >> i & 1))
      continue;
    if (view->super.events == verdict->events && view->super.clean)
      violation ("I1b",
                 "leg %u says clean, and legs %u and %u differ in chunk %ju", i,
                 verdict->source, leg, (uintmax_t)chunk);
    if (!view->headless && view->header.valid
        && !header_view_stale (&view->header, verdict->events)
        && !image_bit (g, view->image, chunk)
        && !disk_is_spoiled (q->disks[i], g->bitmap + bitmap_bit_byte (chunk),
                             1))
      violation ("I1",
                 "legs %u and %u differ in chunk %ju, which is not marked on "
                 "leg %u",
                 verdict->source, leg, (uintmax_t)chunk, i);
  }
}

static void
check_equal (const struct inquest *q, const struct verdict *verdict,
             unsigned leg)
{
  const struct oracle_geometry *g = q->geometry;
  const struct image *a = q->views[verdict->source].image;
  const struct image *b = q->views[leg].image;

  if (image_equal (a, g->data, b, g->data, g->size))
    return;
  for (uint64_t chunk = 0; chunk < g->chunks; ++chunk) {
    uint64_t start = chunk_start (g, chunk);

    if (!image_equal (a, start, b, start, chunk_length (g, chunk)))
      check_covered (q, verdict, leg, chunk);
  }
}

/* ---- I2: what was promised is there ---- */

static void
check_held (const struct inquest *q, unsigned leg)
{
  const struct oracle_geometry *g = q->geometry;
  const uint32_t cell = model_cell (q->model);
  uint8_t block[4096];
  char text[256];

  for (uint64_t at = 0; at < g->size; at += sizeof block) {
    uint64_t n = min_u64 (sizeof block, g->size - at);

    image_read (q->views[leg].image, g->data + at, block, n);
    for (uint64_t i = 0; i < n; i += cell) {
      if (model_may_hold (q->model, at + i, block + i))
        continue;
      model_explain (q->model, at + i, text, sizeof text);
      violation ("I2",
                 "leg %u: chunk %ju: after a crash, what is at byte %ju of "
                 "the array is none of %s",
                 leg, (uintmax_t)((at + i) / g->chunk), (uintmax_t)(at + i),
                 text);
    }
  }
}

static void
check_verdict (const struct inquest *q, const struct verdict *verdict)
{
  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct leg_view *view = &q->views[i];

    if (!(verdict->in_sync >> i & 1))
      continue;
    if (!view->header.valid && !view->headless)
      violation ("I13", "leg %u: the header of its bitmap is not valid", i);
    if (view->super.resync_offset != 0 && !view->super.clean)
      violation ("rule 10", "leg %u: resync_offset %ju", i,
                 (uintmax_t)view->super.resync_offset);
    if (i != verdict->source)
      check_equal (q, verdict, i);
  }
  check_held (q, verdict->source);
}

/* ---- all together ---- */

/* With all legs there, an array that was served assembles: I13 (superblocks
 * are valid, old or new), I12 (nobody accuses each other).
 */
static void
check_refused (const struct inquest *q, unsigned n,
               const struct verdict *verdict)
{
  for (unsigned i = 0; i < n; ++i)
    if (!q->views[i].given || q->views[i].spoiled || q->views[i].headless)
      return;
  violation ("I13", "with all legs given, assembly must refuse: %s",
             verdict->why);
}

void
oracle_judge_images (const struct oracle_geometry *geometry,
                     struct disk *const *disks, unsigned n,
                     const struct model *model)
{
  static struct inquest q;
  const unsigned all = (1u << n) - 1;
  struct verdict verdict, part;

  q.geometry = geometry;
  q.disks = disks;
  q.model = model;
  reference_look (geometry, disks, n, q.views);
  reference_decide (q.views, all, ARRAY_DEGRADED_AUTO, &verdict);
  if (!verdict.refused)
    check_verdict (&q, &verdict);
  else
    check_refused (&q, n, &verdict);
  for (unsigned given = 1; given < all; ++given) {
    reference_decide (q.views, given, ARRAY_DEGRADED_AUTO, &part);
    if (part.refused || (!verdict.refused && part.in_sync == verdict.in_sync))
      continue;
    check_verdict (&q, &part);
  }
}
