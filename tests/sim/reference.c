/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The reference assembler: what an assembly must do, from the invariants.
 *
 *   I12      two legs each record the other as lost, or one records a newer
 *            one as lost: refuse.
 *   rule 12  a leg that some other leg records as lost has missed something:
 *            it is never trusted.
 *   I3a      among the others the freshest decide, and one generation behind
 *            is as good as they are: updates go leg by leg.
 *   I3b      what is not on record as lost must be there.
 *   rule 14  what cannot be read or understood is not used.
 *
 * When several legs are the freshest, what any of them has on record is on
 * record: a loss, and that the array is not clean.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <string.h>

#include "sim/oracle_internal.h"

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
    view->headless =
        disk_is_spoiled (disks[i], geometry->bitmap,
                         min_u64 (geometry->bitmap_length, BITMAP_PAGE_BYTES));
    super_view_of_image (geometry, view->image, &view->super);
    header_view_of_image (geometry, view->image, &view->header);
  }
}

/* Says of itself that it is an in-sync leg. */
static bool
claims (const struct super_view *s)
{
  return s->roles[s->dev_number % SIM_LEGS] <= ROLE_LAST && !s->recovering;
}

static bool
accuses (const struct super_view *a, const struct super_view *b)
{
  return claims (a) && a->roles[b->dev_number % SIM_LEGS] == ROLE_FAULTY;
}

static void
refuse (struct verdict *verdict, const char *why)
{
  verdict->refused = true;
  verdict->why = why;
}

/* The legs that are trusted, of those that can be read. */
static void
trust (const struct leg_view *views, unsigned readable, struct verdict *verdict)
{
  unsigned candidates = 0;

  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct super_view *a = &views[i].super;
    bool accused = false;

    if (!(readable >> i & 1))
      continue;
    for (unsigned j = 0; j < SIM_LEGS; ++j) {
      const struct super_view *b = &views[j].super;

      if (j == i || !(readable >> j & 1) || !accuses (b, a))
        continue;
      accused = true;
      if (claims (a) && (accuses (a, b) || b->events < a->events))
        refuse (verdict, "split brain");
    }
    if (claims (a) && !accused)
      candidates |= 1u << i;
  }
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if (candidates >> i & 1)
      verdict->events = max_u64 (verdict->events, views[i].super.events);
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if ((candidates >> i & 1) && views[i].super.events + 1 >= verdict->events)
      verdict->in_sync |= 1u << i;
  if (verdict->in_sync == 0 && !verdict->refused)
    refuse (verdict, "no leg in sync");
}

/* I3b: a slot without a leg, whose loss no freshest leg has on record? */
static void
check_slots (const struct leg_view *views, int degraded,
             struct verdict *verdict)
{
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
      filled |= s->roles[s->dev_number % SIM_LEGS] == slot;
      for (unsigned dev = 0; dev < SIM_LEGS; ++dev)
        expected |= s->roles[dev] == slot;
      recorded |= s->events == verdict->events && !expected;
    }
    if (filled || degraded == ARRAY_DEGRADED_ALLOW)
      continue;
    if (degraded == ARRAY_DEGRADED_REFUSE)
      refuse (verdict, "degraded");
    else if (!recorded)
      refuse (verdict, "degraded, and not on record");
  }
}

void
reference_decide (const struct leg_view views[SIM_LEGS], unsigned given,
                  int degraded, struct verdict *verdict)
{
  unsigned readable = 0, headless = 0, best = SIM_LEGS;

  memset (verdict, 0, sizeof *verdict);
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    if ((given >> i & 1) && views[i].given && !views[i].spoiled
        && views[i].super.valid)
      readable |= 1u << i;
  trust (views, readable, verdict);
  if (!verdict->refused)
    check_slots (views, degraded, verdict);
  if (verdict->refused)
    return;
  verdict->clean = true;
  for (unsigned i = 0; i < SIM_LEGS; ++i) {
    const struct super_view *s = &views[i].super;

    if (!(verdict->in_sync >> i & 1))
      continue;
    if (s->events == verdict->events && !s->clean)
      verdict->clean = false;
    if (best == SIM_LEGS
        || (views[best].super.write_mostly && !s->write_mostly))
      best = i;
    if (views[i].headless)
      headless |= 1u << i;
  }
  verdict->source = best;
  if (headless == verdict->in_sync)
    refuse (verdict, "no bitmap can be read");
}

void
reference_assemble (const struct oracle_geometry *geometry,
                    struct disk *const *disks, unsigned n, int degraded,
                    struct verdict *verdict)
{
  static struct leg_view views[SIM_LEGS];

  reference_look (geometry, disks, n, views);
  reference_decide (views, (1u << SIM_LEGS) - 1, degraded, verdict);
}
