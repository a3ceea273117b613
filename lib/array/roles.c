/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Whom to believe: split brains, the freshest leg, and who is not used.
 *
 *   1. Legs of different arrays or versions are an error, and so is one leg
 *      twice.  Who is two generations behind another one with the same number
 *      has been replaced by it.
 *   2. A split brain: two legs of which each says that the other is faulty, or
 *      an older one that says so of a newer one, or each of which has gone on
 *      without the other (below).  Refused; force_source settles it.
 *   3. The freshest leg, by events, among those that call themselves active,
 *      that nobody calls faulty, and that hold a full copy, decides: roles,
 *      size, clean or not.  Of several it is the lowest slot, as mdadm's, in
 *      whatever order they are given.
 *   4. Others are in sync if their events are at most one behind and the
 *      freshest leg's table gives them a slot.  (The kernel checks the latter
 *      by that table as well, but not if events are equal.)  A leg that any of
 *      these calls faulty is out.
 *
 * The kernel writes "spare" where a device was removed, so two legs that it
 * started one without the other do not say faulty of each other: each table has
 * no slot for the other.  An old leg has none either for one that was added
 * after it left; but then another one was there that went on, and met the new
 * one.  If nobody in the old leg's table can have done that, the new one has
 * been started from an older state: that is a split brain.  If those who could
 * tell are not given, it is taken for one too, unless the old table has all
 * slots filled and the new one names others: then both legs of a pair may have
 * been replaced, one after the other.
 *
 * A forced source wins.  Losers are those that disagree with it, or lead it by
 * more than one.  They are never written.  What is put on record before any
 * other write, on every leg of the winner's side:
 *
 *   a. events_cleared of the bitmap goes above the losers' events;
 *   b. then the superblocks say that the losers are faulty, with events that
 *      lead the losers' by two at least, no generation of which is within one
 *      of them (next_events in events.c).
 *
 * Why a loser never gets in again by mistake, whatever is durable when we are
 * killed:
 *
 *   - Nothing written: as it was, a split brain, and nobody has been told
 *     otherwise.
 *   - Some copies have (a): we find the loser's events below events_cleared,
 *     and leave it out, by the rule below.  The kernel, if it is given the
 *     winner, refuses to re-add the loser if it reads such a copy, and if it
 *     reads another one it does what it would have done without us.
 *   - (a) on all, (b) on some: whoever has (b) is no longer within one of the
 *     loser and names it faulty, so that neither kernel nor we take both for in
 *     sync; and a re-add finds (a), since the bitmap's header is durable on all
 *     copies before the first superblock is submitted.  A survivor without (b)
 *     may look stale.  Nothing was written to it or to the others since, so
 *     that is redundancy lost and no data.
 *   - All durable: a kernel's --re-add compares events with events_cleared and
 *     refuses, so that our bitmap, which knows nothing of what the loser has
 *     written, is never trusted for it; and events_cleared never goes back.  A
 *     bitmap that is removed or made anew permits no re-add either.
 *   - The loser is served by itself afterwards: its events pass events_cleared,
 *     and it is a split brain once more, that we refuse.  No record on another
 *     leg can prevent a kernel's --re-add then.
 *
 * The rule: of a split pair, one whose events are below events_cleared of the
 * other is left out with a line, and no longer refused, if somebody forced it,
 * so that events_cleared is the losers' events plus one, or if the other has
 * all slots filled without it, so that they were in sync at that number.  No
 * other events_cleared says so: that of a bitmap that was stale or is made anew
 * is the events of that moment, be the array whole or not.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "array/internal.h"

void
leg_reject (struct leg *leg, enum array_leg_fate fate, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (leg->why_not, sizeof leg->why_not, format, args);
  va_end (args);
  leg->fate = fate;
}

/* ---- what a table says ---- */

static uint32_t
number_of (const struct leg *leg)
{
  return leg->superblock->dev_number;
}

static uint64_t
events_of (const struct leg *leg)
{
  return leg->superblock->events;
}

/* What a leg's table says of a leg: a slot, or a special role. */
static unsigned
role_in (const struct leg *table, const struct leg *leg)
{
  return superblock_role (table->superblock, number_of (leg));
}

/* The leg has a superblock, and nothing has been decided against it. */
static bool
is_candidate (const struct leg *leg)
{
  return leg->superblock && leg->fate == ARRAY_LEG_IN_SYNC;
}

static bool
is_active (const struct leg *leg)
{
  return role_in (leg, leg) <= ROLE_LAST;
}

/* It says of itself that it holds a full copy. */
static bool
is_full (const struct leg *leg)
{
  return is_active (leg)
         && !(leg->superblock->feature_map
              & (FEATURE_RECOVERY_OFFSET | FEATURE_REPLACEMENT));
}

static bool
calls_faulty (const struct leg *a, const struct leg *b)
{
  return is_active (a) && role_in (a, b) == ROLE_FAULTY;
}

/* It has no slot for the other one. */
static bool
denies (const struct leg *a, const struct leg *b)
{
  return is_active (a) && role_in (a, b) > ROLE_LAST;
}

/* It has no slot for anybody else. */
static bool
is_alone (const struct leg *leg)
{
  const struct superblock *sb = leg->superblock;

  for (uint32_t dev = 0; dev < sb->max_dev; ++dev)
    if (dev != sb->dev_number && sb->dev_roles[dev] <= ROLE_LAST)
      return false;
  return true;
}

/* It has somebody in every slot, not counting the other one. */
static bool
is_whole_without (const struct leg *leg, const struct leg *other)
{
  const struct superblock *sb = leg->superblock;
  unsigned filled = 0;

  for (unsigned slot = 0; slot < sb->raid_disks; ++slot)
    for (uint32_t dev = 0; dev < sb->max_dev; ++dev)
      if (sb->dev_roles[dev] == slot && dev != number_of (other)) {
        filled++;
        break;
      }
  return filled == sb->raid_disks;
}

/* ---- 1. legs of one array ---- */

/* Another leg has the number of the old one since. */
static bool
has_replaced (const struct leg *leg, const struct leg *old)
{
  static const uint8_t none[16];
  const struct superblock *x = leg->superblock, *y = old->superblock;
  bool same = memcmp (x->device_uuid, y->device_uuid, sizeof none) == 0
              && memcmp (x->device_uuid, none, sizeof none) != 0;

  return x->dev_number == y->dev_number && !same && x->events >= y->events + 2
         && is_full (leg);
}

static int
same_array (struct array *array, const struct leg *a, const struct leg *b)
{
  const struct superblock *x = a->superblock, *y = b->superblock;
  char ux[FORMAT_UUID_TEXT], uy[FORMAT_UUID_TEXT];

  if (memcmp (x->set_uuid, y->set_uuid, sizeof x->set_uuid) != 0) {
    superblock_uuid (x->version, x->set_uuid, ux);
    superblock_uuid (y->version, y->set_uuid, uy);
    log_error (array->log,
               "leg %s: field set_uuid: found %s, expected %s as on leg %s; "
               "they belong to different arrays",
               b->name, uy, ux, a->name);
    return -EINVAL;
  }
  if (x->version != y->version) {
    log_error (array->log,
               "leg %s: field major_version: found version %s, expected %s as "
               "on leg %s; the legs of an array have superblocks of one "
               "version, leave out the one that is not true",
               b->name, superblock_version_string (y->version),
               superblock_version_string (x->version), a->name);
    return -EINVAL;
  }
  if (x->dev_number == y->dev_number && !has_replaced (a, b)
      && !has_replaced (b, a)) {
    log_error (array->log,
               "leg %s: field dev_number: found %u, expected another than that "
               "of leg %s; one is a copy of the other, give only one of them",
               b->name, y->dev_number, a->name);
    return -EINVAL;
  }
  return 0;
}

/* ---- 2. split brains ---- */

/* That device, which the old leg counts on, may have gone on without it until
 * the new one was there.
 */
static bool
may_have_met (const struct array *array, const struct leg *old,
              const struct leg *new, uint32_t dev)
{
  bool given = false;

  if (superblock_role (new->superblock, dev) <= ROLE_LAST)
    return true;
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    if (!leg->superblock || number_of (leg) != dev)
      continue;
    given = true;
    /* Or it has met others; whether they have is seen between those two. */
    if (role_in (leg, new) <= ROLE_LAST
        || (denies (leg, old) && events_of (leg) > events_of (old)))
      return true;
  }
  return !given && !is_alone (new) && is_whole_without (old, new);
}

/* The new one can descend from what the old one was part of. */
static bool
may_descend (const struct array *array, const struct leg *new,
             const struct leg *old)
{
  const struct superblock *sb = old->superblock;

  for (uint32_t dev = 0; dev < sb->max_dev; ++dev)
    if (dev != number_of (old) && sb->dev_roles[dev] <= ROLE_LAST
        && may_have_met (array, old, new, dev))
      return true;
  return false;
}

/* The new one has the number of another leg that was in sync with the old one
 * to the last: it is not that one's successor, who would have met the old one.
 */
static bool
shares_number (const struct array *array, const struct leg *new,
               const struct leg *old)
{
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];

    if (leg != new && leg->superblock && number_of (leg) == number_of (new)
        && is_full (leg) && is_full (old) && denies (new, old)
        && !denies (leg, old) && !denies (old, leg)
        && events_of (leg) <= events_of (old) + 1
        && events_of (old) <= events_of (leg) + 1
        && events_of (new) >= events_of (old) + 2)
      return true;
  }
  return false;
}

static bool
is_split (const struct array *array, const struct leg *a, const struct leg *b)
{
  bool ab, ba;

  if (number_of (a) == number_of (b) || !is_active (a) || !is_active (b))
    return false;
  ab = calls_faulty (a, b);
  ba = calls_faulty (b, a);
  if (ab && ba)
    return true;
  if ((ab && events_of (a) < events_of (b))
      || (ba && events_of (b) < events_of (a)))
    return true;
  if (!denies (a, b) || !denies (b, a))
    return shares_number (array, a, b) || shares_number (array, b, a);
  return (events_of (a) <= events_of (b) && !may_descend (array, b, a))
         || (events_of (b) <= events_of (a) && !may_descend (array, a, b));
}

static int
complain_split (struct array *array, const struct leg *a, const struct leg *b)
{
  bool ab = calls_faulty (a, b), ba = calls_faulty (b, a);
  bool by_a = ab || (!ba && denies (a, b));
  const struct leg *accuser = by_a ? a : b, *accused = by_a ? b : a;
  const char *first = ab || ba ? "is faulty" : "is not there";
  const char *second = "was in sync with another leg of its number";

  if (denies (accused, accuser))
    second = ab == ba ? "says so of it" : "has no slot for it";
  else if (events_of (accused) > events_of (accuser))
    second = "is newer";

  log_error (array->log,
             "split brain: leg %s (events %ju) says that leg %s (events %ju) "
             "%s, and the other %s; each may hold writes that the other "
             "lacks: choose the one to keep with force-source=LEG, or start "
             "with that one alone (mdbitmap assemble --dry-run shows them)",
             accuser->name, (uintmax_t)events_of (accuser), accused->name,
             (uintmax_t)events_of (accused), first, second);
  return -EINVAL;
}

/* The others must lead it, and say so. */
static void
lose (struct array *array, const struct leg *leg)
{
  array->has_loser = true;
  array->loser_events = max_u64 (array->loser_events, events_of (leg));
}

/* The other one has long gone on.  The record of that may have been
 * interrupted; so it is a loser like others.
 */
static void
leave_out_gone (struct array *array, struct leg *leg, const struct leg *other,
                uint64_t cleared)
{
  lose (array, leg);
  leg_reject (leg, ARRAY_LEG_SPLIT,
              "it has gone on without leg %s, which is past that: its "
              "events %ju < %ju, events_cleared there",
              other->name, (uintmax_t)events_of (leg), (uintmax_t)cleared);
}

/* With every pair: 0, or an error. */
static int
each_pair (struct array *array,
           int (*fn) (struct array *array, struct leg *a, struct leg *b))
{
  int err = 0;

  for (unsigned i = 0; i < array->nlegs && err == 0; ++i)
    for (unsigned j = i + 1; j < array->nlegs && err == 0; ++j) {
      struct leg *a = &array->legs[i], *b = &array->legs[j];

      if (is_candidate (a) && is_candidate (b))
        err = fn (array, a, b);
    }
  return err;
}

static int
compare_pair (struct array *array, struct leg *a, struct leg *b)
{
  return same_array (array, a, b);
}

/* The leg is below events_cleared of the other one, of which leads is as
 * leg_events_cleared says, and it has that because the leg is gone.
 */
static bool
is_gone (const struct array *array, const struct leg *leg,
         const struct leg *other, uint64_t cleared, bool leads)
{
  uint64_t top = 0;

  if (events_of (leg) >= cleared)
    return false;
  /* All that have lost to it, left out already or not. */
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *loser = &array->legs[i];

    if (loser->superblock && loser != other
        && (is_candidate (loser) || loser->fate == ARRAY_LEG_SPLIT)
        && is_split (array, loser, other) && events_of (loser) < cleared)
      top = max_u64 (top, events_of (loser));
  }
  return cleared == top + 1 || (!leads && is_whole_without (other, leg));
}

/* If each is past the other, one was forced and then the other one, and that
 * was interrupted: nobody can say who is meant.
 */
static int
forget_pair (struct array *array, struct leg *a, struct leg *b)
{
  uint64_t cleared_a, cleared_b;
  bool a_gone, b_gone, a_leads, b_leads;
  int err;

  if (!is_split (array, a, b))
    return 0;
  err = leg_events_cleared (array, a, &cleared_a, &a_leads);
  if (err == 0)
    err = leg_events_cleared (array, b, &cleared_b, &b_leads);
  if (err != 0)
    return err;
  a_gone = is_gone (array, a, b, cleared_b, b_leads);
  b_gone = is_gone (array, b, a, cleared_a, a_leads);
  if (a_gone && !b_gone)
    leave_out_gone (array, a, b, cleared_b);
  else if (b_gone && !a_gone)
    leave_out_gone (array, b, a, cleared_a);
  return 0;
}

static int
refuse_pair (struct array *array, struct leg *a, struct leg *b)
{
  return is_split (array, a, b) ? complain_split (array, a, b) : 0;
}

static int
replace_pair (struct array *array, struct leg *a, struct leg *b)
{
  struct leg *old = has_replaced (a, b) ? b : a;
  const struct leg *now = old == b ? a : b;

  (void)array;
  if (number_of (a) == number_of (b))
    leg_reject (old, ARRAY_LEG_STALE,
                "stale: leg %s has its number %u now: events %ju < %ju",
                now->name, number_of (now), (uintmax_t)events_of (old),
                (uintmax_t)events_of (now));
  return 0;
}

/* ---- the forced source ---- */

static struct leg *
forced_leg (struct array *array)
{
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (strcmp (array->legs[i].name, array->options.force_source) == 0)
      return &array->legs[i];
  return NULL;
}

static bool
loses_to (const struct array *array, const struct leg *leg,
          const struct leg *winner)
{
  return is_split (array, leg, winner)
         || events_of (leg) > events_of (winner) + 1
         || (events_of (leg) >= events_of (winner) && denies (leg, winner));
}

static int
force_source (struct array *array)
{
  struct leg *winner = forced_leg (array);

  if (!winner || !is_candidate (winner) || !is_full (winner)) {
    log_error (array->log,
               "force-source=%s: %s; name a leg that holds a full copy",
               array->options.force_source,
               !winner               ? "it is not among the legs"
               : !winner->superblock ? "it has no superblock that can be used"
                                     : "by its own superblock it is a spare, "
                                       "or not complete");
    return -EINVAL;
  }
  for (unsigned i = 0; i < array->nlegs; ++i) {
    struct leg *leg = &array->legs[i];

    if (leg == winner || !is_candidate (leg) || !is_active (leg)
        || number_of (leg) == number_of (winner)
        || !loses_to (array, leg, winner))
      continue;
    leg_reject (leg, ARRAY_LEG_SPLIT,
                "it disagrees with leg %s, which force-source names",
                winner->name);
    lose (array, leg);
  }
  return 0;
}

bool
array_is_loser (const struct array *array, uint32_t dev_number)
{
  for (unsigned i = 0; i < array->nlegs && array->has_loser; ++i)
    if (array->legs[i].fate == ARRAY_LEG_SPLIT && array->legs[i].superblock
        && number_of (&array->legs[i]) == dev_number)
      return true;
  return false;
}

/* ---- 3. and 4. the freshest, and those who agree with it ---- */

/* Somebody says that the leg is faulty; is_split has seen to it that whoever
 * says so is not older.
 */
static const struct leg *
accuser_of (const struct array *array, const struct leg *leg,
            uint64_t min_events)
{
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *other = &array->legs[i];

    if (other != leg && is_candidate (other) && calls_faulty (other, leg)
        && events_of (other) >= min_events)
      return other;
  }
  return NULL;
}

static bool
is_fresher (const struct leg *leg, const struct leg *than)
{
  if (events_of (leg) != events_of (than))
    return events_of (leg) > events_of (than);
  if (role_in (leg, leg) != role_in (than, than))
    return role_in (leg, leg) < role_in (than, than);
  return number_of (leg) < number_of (than);
}

static struct leg *
find_freshest (struct array *array)
{
  struct leg *freshest = NULL;

  for (unsigned i = 0; i < array->nlegs; ++i) {
    struct leg *leg = &array->legs[i];

    if (!is_candidate (leg) || !is_full (leg) || accuser_of (array, leg, 0))
      continue;
    if (!freshest || is_fresher (leg, freshest))
      freshest = leg;
  }
  return freshest;
}

/* Reject the leg if it may not be used. */
static void
judge_leg (struct leg *leg, const struct leg *freshest,
           const struct leg *accuser)
{
  const struct superblock *sb = leg->superblock, *best = freshest->superblock;
  const unsigned role = role_in (freshest, leg), own = role_in (leg, leg);

  if (own == ROLE_JOURNAL || role == ROLE_JOURNAL
      || (sb->feature_map & FEATURE_JOURNAL))
    leg_reject (leg, ARRAY_LEG_JOURNAL, "a journal");
  else if (own > ROLE_LAST && role != ROLE_FAULTY)
    /* The kernel does not count a spare's events up with the others'. */
    leg_reject (leg, ARRAY_LEG_SPARE, "a spare");
  else if (sb->events + 1 < best->events)
    leg_reject (leg, ARRAY_LEG_STALE, "stale: events %ju < %ju of leg %s",
                (uintmax_t)sb->events, (uintmax_t)best->events, freshest->name);
  else if (role == ROLE_FAULTY)
    leg_reject (leg, ARRAY_LEG_FAULTY, "faulty on record");
  else if (role > ROLE_LAST)
    leg_reject (leg, ARRAY_LEG_SPARE, "a spare on record on leg %s",
                freshest->name);
  else if (sb->feature_map & FEATURE_REPLACEMENT)
    leg_reject (leg, ARRAY_LEG_REPLACEMENT,
                "it was to replace the leg in slot %u, and that had not "
                "finished",
                role);
  else if (sb->feature_map & FEATURE_RECOVERY_OFFSET)
    leg_reject (leg, ARRAY_LEG_RECOVERING, "its recovery had not finished");
  else if (accuser)
    leg_reject (leg, ARRAY_LEG_FAULTY, "faulty on record on leg %s",
                accuser->name);
}

/* If there is no freshest, each leg is judged by what it says itself. */
static void
judge_legs (struct array *array, struct leg *freshest)
{
  const struct leg *accusers[ARRAY_MAX_LEGS] = { NULL };
  const uint64_t best = freshest ? events_of (freshest) : 0;

  /* All are heard, those that are not used themselves included. */
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (is_candidate (&array->legs[i]))
      accusers[i] =
          accuser_of (array, &array->legs[i], best > 0 ? best - 1 : 0);
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (is_candidate (&array->legs[i]) && &array->legs[i] != freshest)
      judge_leg (&array->legs[i], freshest ? freshest : &array->legs[i],
                 accusers[i]);
}

static int
check_forced (struct array *array)
{
  const struct leg *winner = forced_leg (array);

  if (winner->fate == ARRAY_LEG_IN_SYNC)
    return 0;
  log_error (array->log,
             "force-source=%s: it is not in sync with those that do not "
             "disagree with it: %s; give it alone",
             winner->name, winner->why_not);
  return -EINVAL;
}

int
array_judge_roles (struct array *array, struct leg **freshest)
{
  int err = each_pair (array, compare_pair);

  if (err == 0 && array->options.force_source)
    err = force_source (array);
  if (err == 0)
    err = each_pair (array, forget_pair);
  if (err == 0)
    err = each_pair (array, refuse_pair);
  if (err == 0)
    err = each_pair (array, replace_pair);
  if (err != 0)
    return err;
  *freshest = find_freshest (array);
  judge_legs (array, *freshest);
  if (!*freshest) {
    log_error (array->log, "none of the legs given is an in-sync leg of an "
                           "array (create=SIZE makes one)");
    return -EINVAL;
  }
  return array->options.force_source ? check_forced (array) : 0;
}
