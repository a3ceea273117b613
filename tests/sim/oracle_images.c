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
  unsigned n;
  const struct disk *file; /* the bitmap's; NULL: there is none */
  const struct model *model;
  struct leg_view views[SIM_LEGS];
  struct header_view header; /* of the file */
};

/* Would whoever is given the file go by its bits, and find this one clear? */
static bool
file_lacks (const struct inquest *q, uint64_t events, uint64_t chunk)
{
  return q->file && !header_view_stale (&q->header, events)
         && !file_bit (q->geometry, disk_current (q->file), chunk)
         && !file_is_spoiled (q->geometry, q->file, bitmap_bit_byte (chunk), 1);
}

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
    if (view->has_bitmap && !view->headless && view->header.valid
        && !header_view_stale (&view->header, verdict->events)
        && !image_bit (g, view->image, chunk)
        && !disk_is_spoiled (q->disks[i], g->bitmap + bitmap_bit_byte (chunk),
                             1))
      violation ("I1",
                 "legs %u and %u differ in chunk %ju, which is not marked on "
                 "leg %u",
                 verdict->source, leg, (uintmax_t)chunk, i);
  }
  if (file_lacks (q, verdict->events, chunk))
    violation ("I1",
               "legs %u and %u differ in chunk %ju, which is not marked in the "
               "file, whose events are %ju, and the array's %ju",
               verdict->source, leg, (uintmax_t)chunk,
               (uintmax_t)q->header.events, (uintmax_t)verdict->events);
}

/* The kernel resyncs from there on, and, if there is a bitmap, looks at the
 * bits from there on.
 */
static void
check_checkpoint (const struct inquest *q, const struct verdict *verdict,
                  unsigned leg)
{
  const struct oracle_geometry *g = q->geometry;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct super_view *s = &q->views[i].super;

    if ((verdict->in_sync >> i & 1) && s->events == verdict->events && !s->clean
        && s->resync_offset > 0
        && !images_same (g, verdict->source, q->views[verdict->source].image,
                         leg, q->views[leg].image, g->data,
                         min_u64 (s->resync_offset * SECTOR_SIZE, g->size)))
      violation ("I1",
                 "leg %u says that resync has come to sector %ju, and legs %u "
                 "and %u differ before that",
                 i, (uintmax_t)s->resync_offset, verdict->source, leg);
  }
}

static void
check_equal (const struct inquest *q, const struct verdict *verdict,
             unsigned leg)
{
  const struct oracle_geometry *g = q->geometry;
  const struct image *a = q->views[verdict->source].image;
  const struct image *b = q->views[leg].image;

  if (images_same (g, verdict->source, a, leg, b, g->data, g->size))
    return;
  check_checkpoint (q, verdict, leg);
  for (uint64_t chunk = 0; chunk < g->chunks; ++chunk) {
    uint64_t start = chunk_start (g, chunk);

    if (!images_same (g, verdict->source, a, leg, b, start,
                      chunk_length (g, chunk)))
      check_covered (q, verdict, leg, chunk);
  }
}

/* ---- I2: what was promised is there ---- */

/* Who holds the sector, where the leg's is bad; SIM_LEGS: nobody does. */
static unsigned
holder (const struct inquest *q, const struct verdict *verdict, unsigned leg,
        uint64_t offset)
{
  const struct leg_view *view = &q->views[leg];

  if (!image_block_is_bad (q->geometry, leg, view->image, &view->super, offset))
    return leg;
  for (leg = 0; leg < SIM_LEGS; ++leg) {
    view = &q->views[leg];
    if ((verdict->in_sync >> leg & 1)
        && !image_block_is_bad (q->geometry, leg, view->image, &view->super,
                                offset))
      break;
  }
  return leg;
}

/* It is bad on all legs: what was there at first is lost, and what was answered
 * since, with an error for who reads it; but nothing that was flushed.
 */
static void
check_lost_cell (const struct inquest *q, uint64_t offset)
{
  struct model *crashed;
  uint8_t first[SECTOR_SIZE];
  char text[256];
  bool lost;

  model_fill (q->model, 0, offset, model_cell (q->model), first);
  if (model_may_hold (q->model, offset, first))
    return;
  crashed = model_copy (q->model);
  model_crash (crashed);
  lost = !model_may_hold (crashed, offset, first);
  model_free (crashed);
  if (!lost)
    return;
  model_explain (q->model, offset, text, sizeof text);
  violation ("I2",
             "chunk %ju: after a crash byte %ju of the array is bad on all "
             "legs, and was to be %s",
             (uintmax_t)(offset / q->geometry->chunk), (uintmax_t)offset, text);
}

static void
check_lost (const struct inquest *q, const struct verdict *verdict)
{
  const struct oracle_geometry *g = q->geometry;
  const unsigned source = verdict->source;

  /* If a leg is lost, so is what only that one had. */
  if (verdict->in_sync != (1u << q->n) - 1)
    return;
  for (unsigned i = 0; i < g->nbad[source]; ++i)
    for (uint64_t at = 0; at < g->bad[source][i].length; at += SECTOR_SIZE) {
      const uint64_t offset = g->bad[source][i].start + at;
      bool lost = true;

      for (unsigned leg = 0; leg < SIM_LEGS; ++leg)
        if (verdict->in_sync >> leg & 1)
          lost &= image_is_bad (g, leg, q->views[leg].image,
                                &q->views[leg].super, offset);
      for (uint64_t cell = 0; lost && cell < SECTOR_SIZE;
           cell += model_cell (q->model))
        check_lost_cell (q, offset + cell);
    }
}

static void
check_cell (const struct inquest *q, const struct verdict *verdict,
            unsigned leg, uint64_t offset)
{
  uint8_t other[SECTOR_SIZE];
  const unsigned at =
      holder (q, verdict, leg, round_down (offset, SECTOR_SIZE));
  char text[256];

  if (at == SIM_LEGS)
    return; /* check_lost */
  if (at != leg) {
    image_read (q->views[at].image, q->geometry->data + offset, other,
                model_cell (q->model));
    if (model_may_hold (q->model, offset, other))
      return;
  }
  model_explain (q->model, offset, text, sizeof text);
  violation ("I2",
             "leg %u: chunk %ju: after a crash, what is at byte %ju of "
             "the array is none of %s",
             at, (uintmax_t)(offset / q->geometry->chunk), (uintmax_t)offset,
             text);
}

static void
check_held (const struct inquest *q, const struct verdict *verdict,
            unsigned leg)
{
  const struct oracle_geometry *g = q->geometry;
  const uint32_t cell = model_cell (q->model);
  uint8_t block[4096];

  for (uint64_t at = 0; at < g->size; at += sizeof block) {
    uint64_t n = min_u64 (sizeof block, g->size - at);

    image_read (q->views[leg].image, g->data + at, block, n);
    for (uint64_t i = 0; i < n; i += cell)
      if (!model_may_hold (q->model, at + i, block + i))
        check_cell (q, verdict, leg, at + i);
  }
}

/* What the log no longer lists may be read. */
static void
check_bad_blocks (const struct inquest *q, unsigned leg)
{
  const struct oracle_geometry *g = q->geometry;
  const struct leg_view *view = &q->views[leg];

  for (unsigned i = 0; i < g->nbad[leg]; ++i)
    for (uint64_t at = 0; at < g->bad[leg][i].length; at += SECTOR_SIZE) {
      const uint64_t offset = g->bad[leg][i].start + at;

      if (image_is_poison (g, view->image, offset)
          && !image_is_bad (g, leg, view->image, &view->super, offset))
        violation ("bad block",
                   "leg %u: byte %ju of the array was never written since it "
                   "was bad, and is not in the log",
                   leg, (uintmax_t)offset);
    }
}

/* ---- I20: what a re-add by the kernel would copy ---- */

/* A leg that is out may be added again, if its events are not below
 * events_cleared of a leg that is in: then all that is copied to it is what is
 * marked there.
 */
static void
check_re_add (const struct inquest *q, unsigned leg, unsigned out)
{
  const struct oracle_geometry *g = q->geometry;
  const struct leg_view *in = &q->views[leg], *gone = &q->views[out];

  if (!in->has_bitmap || in->headless
      || header_view_stale (&in->header, in->super.events)
      || gone->super.events < in->header.events_cleared
      || in->super.roles[out] <= ROLE_LAST
      || reference_split (&in->super, &gone->super))
    return;
  if (images_same (g, leg, in->image, out, gone->image, g->data, g->size))
    return;
  for (uint64_t chunk = 0; chunk < g->chunks; ++chunk)
    if (!image_bit (g, in->image, chunk)
        && !disk_is_spoiled (q->disks[leg], g->bitmap + bitmap_bit_byte (chunk),
                             1)
        && !images_same (g, leg, in->image, out, gone->image,
                         chunk_start (g, chunk), chunk_length (g, chunk)))
      violation ("I20",
                 "leg %u (events %ju) could be added again to leg %u "
                 "(events_cleared %ju), and they differ in chunk %ju, which is "
                 "not marked",
                 out, (uintmax_t)gone->super.events, leg,
                 (uintmax_t)in->header.events_cleared, (uintmax_t)chunk);
}

/* The same, if the kernel were given the file. */
static void
check_re_add_by_file (const struct inquest *q, unsigned leg, unsigned out)
{
  const struct oracle_geometry *g = q->geometry;
  const struct leg_view *in = &q->views[leg], *gone = &q->views[out];

  if (!q->file || header_view_stale (&q->header, in->super.events)
      || gone->super.events < q->header.events_cleared
      || in->super.roles[out] <= ROLE_LAST
      || reference_split (&in->super, &gone->super)
      || images_same (g, leg, in->image, out, gone->image, g->data, g->size))
    return;
  for (uint64_t chunk = 0; chunk < g->chunks; ++chunk)
    if (file_lacks (q, in->super.events, chunk)
        && !images_same (g, leg, in->image, out, gone->image,
                         chunk_start (g, chunk), chunk_length (g, chunk)))
      violation ("I20",
                 "leg %u (events %ju) could be added again to leg %u by the "
                 "file (events_cleared %ju), and they differ in chunk %ju, "
                 "which is not marked",
                 out, (uintmax_t)gone->super.events, leg,
                 (uintmax_t)q->header.events_cleared, (uintmax_t)chunk);
}

static void
check_re_adds (const struct inquest *q, const struct verdict *verdict)
{
  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct leg_view *view = &q->views[i];

    if (!view->given || view->spoiled || !view->super.valid
        || (verdict->in_sync >> i & 1) || view->super.self > ROLE_LAST)
      continue;
    for (unsigned leg = 0; leg < SIM_LEGS; ++leg)
      if ((verdict->in_sync >> leg & 1)
          && q->views[leg].super.events == verdict->events) {
        check_re_add (q, leg, i);
        check_re_add_by_file (q, leg, i);
      }
  }
}

static void
check_verdict (const struct inquest *q, const struct verdict *verdict)
{
  const struct oracle_geometry *g = q->geometry;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct leg_view *view = &q->views[i];

    if (!(verdict->in_sync >> i & 1))
      continue;
    if (view->has_bitmap && !view->header.valid && !view->headless)
      violation ("I13", "leg %u: the header of its bitmap is not valid", i);
    if (view->super.resync_offset != 0 && !view->super.clean
        && view->super.resync_offset * SECTOR_SIZE != g->resync_from)
      violation ("rule 10", "leg %u: resync_offset %ju", i,
                 (uintmax_t)view->super.resync_offset);
    if (i != verdict->source)
      check_equal (q, verdict, i);
    check_bad_blocks (q, i);
  }
  check_held (q, verdict, verdict->source);
  check_lost (q, verdict);
}

/* ---- all together ---- */

/* With all legs there, an array that was served assembles: I13 (superblocks
 * are valid, old or new), I12 (nobody accuses each other).  But a superblock of
 * version 0.90 has roles and checksum in different sectors: one that is torn
 * when a loss is recorded is lost.
 */
static void
check_refused (const struct inquest *q, unsigned n,
               const struct verdict *verdict)
{
  for (unsigned i = 0; i < n; ++i)
    if (!q->views[i].given || q->views[i].spoiled || q->views[i].headless
        || q->views[i].no_log
        || (q->geometry->metadata == PLAN_0_90 && !q->views[i].super.valid))
      return;
  violation ("I13", "with all legs given, assembly must refuse: %s",
             verdict->why);
}

void
oracle_judge_images (const struct oracle_geometry *geometry,
                     struct disk *const *disks, unsigned n,
                     const struct disk *file, const struct model *model)
{
  static struct inquest q;
  const unsigned all = (1u << n) - 1;
  const struct wishes wishes = { .degraded = ARRAY_DEGRADED_AUTO };
  struct verdict verdict, part;

  q.geometry = geometry;
  q.disks = disks;
  q.n = n;
  q.model = model;
  q.file = file && !file_is_spoiled (geometry, file, 0, 512) ? file : NULL;
  if (q.file)
    file_header (geometry, disk_current (file), &q.header);
  reference_look (geometry, disks, n, q.views);
  reference_decide (q.views, all, &wishes, &verdict);
  if (!verdict.refused) {
    check_verdict (&q, &verdict);
    check_re_adds (&q, &verdict);
  }
  else
    check_refused (&q, n, &verdict);
  for (unsigned given = 1; given < all; ++given) {
    reference_decide (q.views, given, &wishes, &part);
    if (part.refused || (!verdict.refused && part.in_sync == verdict.in_sync))
      continue;
    check_verdict (&q, &part);
  }
}

/* Nobody who is in is near enough to the loser, so that a kernel which goes by
 * events alone keeps them apart; one that goes by roles and ours do so anyway.
 */
void
oracle_judge_settled (const struct oracle_geometry *geometry,
                      struct disk *const *disks, unsigned n, unsigned source)
{
  const struct wishes wishes = { .degraded = ARRAY_DEGRADED_ALLOW };
  static struct leg_view views[SIM_LEGS];
  struct verdict verdict;

  reference_look (geometry, disks, n, views);
  reference_decide (views, (1u << n) - 1, &wishes, &verdict);
  for (unsigned i = 0; i < n; ++i) {
    const struct super_view *s = &views[i].super, *best = &views[source].super;

    if (i == source || !views[i].given || views[i].spoiled || !s->valid
        || !best->valid || !reference_split (s, best))
      continue;
    if (s->events + 2 > best->events || best->roles[i] <= ROLE_LAST)
      violation ("I12",
                 "leg %u (events %ju) has lost to leg %u (events %ju), and "
                 "could be taken for good",
                 i, (uintmax_t)s->events, source, (uintmax_t)best->events);
    if (geometry->has_bitmap && views[source].header.valid
        && views[source].header.events_cleared <= s->events)
      violation ("I20",
                 "leg %u (events %ju) has lost to leg %u, whose "
                 "events_cleared %ju would let it be added again",
                 i, (uintmax_t)s->events, source,
                 (uintmax_t)views[source].header.events_cleared);
    if (geometry->has_bitmap && !verdict.refused && (verdict.in_sync >> i & 1))
      violation ("I12", "leg %u has lost to leg %u, and is trusted", i, source);
  }
}
