/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The reference assembler: what an assembly must do, from the invariants.
 *
 *   I12      two legs each record the other as lost, or one records a newer
 *            one as lost: refuse, unless one of them has long gone on, or the
 *            user names the one to believe.
 *   rule 12  a leg that some other leg records as lost has missed something:
 *            it is never trusted.
 *   I3a      among the others the freshest decide, and one generation behind
 *            is as good as they are: updates go leg by leg.
 *   I3b      what is not on record as lost must be there; who only reads may
 *            do without.
 *   rule 14  what cannot be read or understood is not used.
 *   I24      a bitmap in a file that the legs speak of is not forgotten.
 *
 * When several legs are the freshest, what any of them has on record is on
 * record: a loss, and that the array is not clean.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <string.h>

#include "sim/oracle_internal.h"

static void
look_at_note (const struct oracle_geometry *geometry, const struct disk *disk,
              struct leg_view *view)
{
  uint8_t block[BITMAP_NOTE_BYTES];

  view->noted = false;
  if (!geometry->has_file || !view->super.valid
      || disk_is_spoiled (disk, geometry->note, sizeof block))
    return;
  image_read (view->image, geometry->note, block, sizeof block);
  view->noted = file_is_note (block, view->super.set_uuid);
}

void
reference_look (const struct oracle_geometry *geometry,
                struct disk *const *disks, unsigned n,
                struct leg_view views[SIM_LEGS])
{
  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    struct leg_view *view = &views[i];

    view->given = i < n && disks[i] && disk_state (disks[i]) == DISK_GOOD;
    if (!view->given)
      continue;
    view->image = disk_current (disks[i]);
    view->spoiled =
        disk_is_spoiled (disks[i], geometry->super, geometry->super_length);
    view->headless = geometry->has_bitmap
                     && disk_is_spoiled (
                         disks[i], geometry->bitmap,
                         min_u64 (geometry->bitmap_length, BITMAP_PAGE_BYTES));
    view->has_bitmap = geometry->has_bitmap;
    super_view_of_image (geometry, view->image, &view->super);
    view->no_log =
        view->super.has_bad
        && disk_is_spoiled (disks[i], geometry->log, geometry->log_length);
    header_view_of_image (geometry, view->image, &view->header);
    look_at_note (geometry, disks[i], view);
  }
}

/* Says of itself that it is an in-sync leg. */
static bool
claims (const struct super_view *s)
{
  return s->self <= ROLE_LAST && !s->recovering;
}

static bool
accuses (const struct super_view *a, const struct super_view *b)
{
  return claims (a) && a->roles[b->leg] == ROLE_FAULTY;
}

bool
reference_split (const struct super_view *a, const struct super_view *b)
{
  if (!claims (a) || !claims (b))
    return false;
  if (accuses (a, b) && accuses (b, a))
    return true;
  return (accuses (a, b) && a->events < b->events)
         || (accuses (b, a) && b->events < a->events);
}

static void
refuse (struct verdict *verdict, const char *why)
{
  verdict->refused = true;
  verdict->why = why;
}

/* Whoever has fewer events than this has missed what that leg's bitmap no
 * longer knows; 0: it cannot tell.
 */
static uint64_t
events_cleared (const struct leg_view *view)
{
  if (!view->has_bitmap || view->headless
      || header_view_stale (&view->header, view->super.events))
    return 0;
  return view->header.events_cleared;
}

/* Those that the user's choice leaves out. */
static unsigned
find_losers (const struct leg_view *views, unsigned readable, unsigned source)
{
  const struct super_view *best = &views[source].super;
  unsigned losers = 0;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct super_view *s = &views[i].super;

    if (i == source || !(readable >> i & 1) || s->self > ROLE_LAST)
      continue;
    if (reference_split (s, best) || s->events > best->events + 1
        || (s->events >= best->events && s->roles[source] > ROLE_LAST))
      losers |= 1u << i;
  }
  return losers;
}

/* A user has left leg out for the sake of by: no other events_cleared is one
 * more than the most that those have who lost.  Nobody ever fills a slot here.
 */
static bool
is_past (const struct leg_view *views, unsigned readable, unsigned by,
         unsigned leg)
{
  const uint64_t cleared = events_cleared (&views[by]);
  uint64_t top = 0;

  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if (i != by && (readable >> i & 1) && views[i].super.events < cleared
        && reference_split (&views[i].super, &views[by].super))
      top = max_u64 (top, views[i].super.events);
  return views[leg].super.events < cleared && cleared == top + 1;
}

/* Of two that have gone on without each other, one may be past the other.  If
 * each is, nobody can say which one the user meant last.
 */
static unsigned
settle_splits (const struct leg_view *views, unsigned readable,
               struct verdict *verdict)
{
  unsigned gone = 0;

  for (unsigned i = 0; i < SIM_LEGS; ++i)
    for (unsigned j = 0; j < SIM_LEGS; ++j)
      if (i != j && (readable >> i & 1) && (readable >> j & 1)
          && reference_split (&views[i].super, &views[j].super)
          && is_past (views, readable | verdict->losers, j, i)
          && !is_past (views, readable | verdict->losers, i, j))
        gone |= 1u << i;
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    for (unsigned j = 0; j < i; ++j)
      if ((readable & ~gone) >> i & 1 && (readable & ~gone) >> j & 1
          && reference_split (&views[i].super, &views[j].super))
        refuse (verdict, "split brain");
  return gone;
}

/* The legs that are trusted, of those that can be read. */
static void
trust (const struct leg_view *views, unsigned readable, struct verdict *verdict)
{
  unsigned candidates = 0;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    bool accused = false;

    if (!(readable >> i & 1))
      continue;
    for (unsigned j = 0; j < SIM_LEGS; ++j)
      if (j != i && (readable >> j & 1))
        accused |= accuses (&views[j].super, &views[i].super);
    if (claims (&views[i].super) && !accused)
      candidates |= 1u << i;
  }
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if (candidates >> i & 1)
      verdict->events = max_u64 (verdict->events, views[i].super.events);
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if ((candidates >> i & 1) && views[i].super.events + 1 >= verdict->events)
      verdict->in_sync |= views[i].no_log ? 0 : 1u << i;
  if (verdict->in_sync == 0 && !verdict->refused)
    refuse (verdict, "no leg in sync");
}

/* I3b: a slot without a leg, whose loss no freshest leg has on record? */
static void
check_slots (const struct leg_view *views, const struct wishes *wishes,
             struct verdict *verdict)
{
  const unsigned ignored = wishes->forced ? verdict->losers : 0;
  uint32_t slots = 0;

  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if (verdict->in_sync >> i & 1)
      slots = views[i].super.raid_disks;
  for (unsigned slot = 0; slot < slots; ++slot) {
    bool recorded = false, filled = false;

    for (unsigned i = 0; i < SIM_LEGS; ++i) {
      const struct super_view *s = &views[i].super;
      bool expected = false;

      if (!(verdict->in_sync >> i & 1))
        continue;
      filled |= s->self == slot;
      for (unsigned other = 0; other < SIM_LEGS; ++other)
        expected |= !(ignored >> other & 1) && s->roles[other] == slot;
      recorded |= s->events == verdict->events && !expected;
    }
    if (filled || wishes->degraded == ARRAY_DEGRADED_ALLOW
        || (wishes->degraded == ARRAY_DEGRADED_AUTO && wishes->read_only))
      continue;
    if (wishes->degraded == ARRAY_DEGRADED_REFUSE)
      refuse (verdict, "degraded");
    else if (!recorded)
      refuse (verdict, "degraded, and not on record");
  }
}

/* Which of those in sync is read where legs are unequal, as the kernel says. */
static unsigned
find_source (const struct leg_view *views, unsigned in_sync)
{
  unsigned best = SIM_LEGS;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct super_view *s = &views[i].super,
                            *b = &views[best % SIM_LEGS].super;

    if (!(in_sync >> i & 1))
      continue;
    if (best == SIM_LEGS || (b->write_mostly && !s->write_mostly)
        || (b->write_mostly == s->write_mostly && s->self < b->self))
      best = i;
  }
  return best;
}

static unsigned
find_readable (const struct leg_view *views, unsigned given)
{
  unsigned readable = 0;

  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if ((given >> i & 1) && views[i].given && !views[i].spoiled
        && views[i].super.valid)
      readable |= 1u << i;
  return readable;
}

void
reference_decide (const struct leg_view views[SIM_LEGS], unsigned given,
                  const struct wishes *wishes, struct verdict *verdict)
{
  unsigned readable = find_readable (views, given), headless = 0;

  memset (verdict, 0, sizeof *verdict);
  if (wishes->forced) {
    if (!(readable >> wishes->source & 1)
        || !claims (&views[wishes->source].super)) {
      refuse (verdict, "the forced source cannot be one");
      return;
    }
    verdict->losers = find_losers (views, readable, wishes->source);
  }
  verdict->losers |=
      settle_splits (views, readable & ~verdict->losers, verdict);
  trust (views, readable & ~verdict->losers, verdict);
  if (wishes->forced && !(verdict->in_sync >> wishes->source & 1))
    refuse (verdict, "the forced source is not in sync");
  if (!verdict->refused)
    check_slots (views, wishes, verdict);
  if (verdict->refused)
    return;
  verdict->clean = true;
  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct super_view *s = &views[i].super;

    if (!(verdict->in_sync >> i & 1))
      continue;
    if (s->events == verdict->events && !s->clean)
      verdict->clean = false;
    if (views[i].headless)
      headless |= 1u << i;
  }
  verdict->source = find_source (views, verdict->in_sync);
  if (headless == verdict->in_sync && !wishes->read_only)
    refuse (verdict, "no bitmap can be read");
}

/* What the user says of the bitmap, and what the legs say. */
static void
check_bitmap (const struct leg_view *views, const struct disk *file,
              const struct wishes *wishes, struct verdict *verdict)
{
  bool noted = false;

  for (unsigned i = 0; i < SIM_LEGS; ++i)
    noted |= (verdict->in_sync >> i & 1) && views[i].noted;
  if (verdict->refused || wishes->read_only)
    return;
  if (wishes->bitmap == ARRAY_BITMAP_AUTO && noted)
    refuse (verdict, "the file is forgotten");
  if (wishes->bitmap == ARRAY_BITMAP_FILE && !file)
    refuse (verdict, "there is no such file");
  verdict->bitmap = verdict->refused;
}

void
reference_assemble (const struct oracle_geometry *geometry,
                    struct disk *const *disks, unsigned n,
                    const struct disk *file, const struct wishes *wishes,
                    struct verdict *verdict)
{
  static struct leg_view views[SIM_LEGS];

  reference_look (geometry, disks, n, views);
  reference_decide (views, (1u << SIM_LEGS) - 1, wishes, verdict);
  check_bitmap (views, file, wishes, verdict);
}
