/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Who runs next, and what time it is.
 *
 * The scheduler is the loop of world_run, on the stack of its caller; events
 * and hooks run there as well.  Candidates for the next step are the fibers
 * that are ready, by number, and the events that are due, by their time and,
 * of equal time, by when they were added.  A step takes 1000 ns, of the
 * world's time; if nobody can run, the clock goes on to the next deadline or
 * event.
 *
 * Invariants, between steps:
 *   1. ready[] holds the fibers with ->ready set, by number.
 *   2. A fiber with a deadline that is not ready is among the sleepers, who
 *      are sorted by deadline, and this is later than now.
 *   3. Events are sorted by time; the first ndue of them are those with
 *      at <= now.
 *   4. living is the number of fibers that have not ended and are not
 *      daemons.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "sim/chance.h"
#include "sim/fiber.h"
#include "sim/trace.h"

#define STEP_NANOSECONDS 1000
#define JUMP_NANOSECONDS (2 * RT_SECOND)
/* Daemons alone may tick for so long. */
#define STUCK_NANOSECONDS (3600 * RT_SECOND)
/* A switch point is one at the latest after so many that were not, or a fiber
 * that looks at something again and again would never let it happen.
 */
#define POINTS_MAX 10000
/* The same for WORLD_PRIORITY: who has run for so many steps while others
 * could have is demoted.
 */
#define TURNS_MAX 2000

/* ---- statistics ---- */

#define PAIRS (1u << 14) /* a power of 2 */

static uint64_t steps_in_all, switches_in_all, pairs_in_all;
static uint64_t pairs[PAIRS];

static void
count_pair (const struct fiber *fiber, const void *site)
{
  /* An address decides here, but only about the order of this table. */
  uint64_t key =
      ((uintptr_t)site ^ fiber->name_hash) * UINT64_C (0x9e3779b97f4a7c15) | 1;
  unsigned i = (unsigned)(key >> 50) & (PAIRS - 1);

  while (pairs[i] != key) {
    if (pairs[i] == 0) {
      if (pairs_in_all < PAIRS / 2) {
        pairs[i] = key;
        pairs_in_all++;
      }
      return;
    }
    i = (i + 1) & (PAIRS - 1);
  }
}

void
world_statistics (uint64_t *steps, uint64_t *switches, uint64_t *npairs)
{
  *steps = steps_in_all;
  *switches = switches_in_all;
  *npairs = pairs_in_all;
}

/* ---- who can run ---- */

void
fiber_set_ready (struct fiber *fiber, bool ready)
{
  struct world *w = fiber->world;
  unsigned i;

  if (fiber->ready == ready)
    return;
  fiber->ready = ready;
  if (ready) {
    i = w->nready++;
    for (; i > 0 && w->ready[i - 1]->number > fiber->number; --i)
      w->ready[i] = w->ready[i - 1];
    w->ready[i] = fiber;
    return;
  }
  for (i = 0; w->ready[i] != fiber; ++i)
    ;
  w->nready--;
  memmove (w->ready + i, w->ready + i + 1,
           (w->nready - i) * sizeof w->ready[0]);
}

void
sleepers_add (struct fiber *fiber)
{
  struct fiber **place = &fiber->world->sleepers, *prev = NULL;

  while (*place && (*place)->deadline <= fiber->deadline) {
    prev = *place;
    place = &prev->next;
  }
  fiber->next = *place;
  fiber->prev = prev;
  if (fiber->next)
    fiber->next->prev = fiber;
  *place = fiber;
}

void
sleepers_remove (struct fiber *fiber)
{
  if (fiber->deadline == RT_NEVER)
    return;
  if (fiber->next)
    fiber->next->prev = fiber->prev;
  if (fiber->prev)
    fiber->prev->next = fiber->next;
  else
    fiber->world->sleepers = fiber->next;
  fiber->deadline = RT_NEVER;
}

static struct world_event *
event_first (const struct world *w)
{
  return w->events.next;
}

/* The clock is at now: who overslept, and what is due? */
static void
world_set_clock (struct world *w, uint64_t now)
{
  const struct world_event *event = &w->events;
  struct fiber *fiber;

  while ((fiber = w->sleepers) && fiber->deadline <= now) {
    sleepers_remove (fiber);
    fiber->timed_out = true;
    fiber_set_ready (fiber, true);
  }
  if (w->events.next != &w->events) {
    /* From the first that was not due, which is soon found: few are. */
    for (unsigned i = 0; i <= w->ndue; ++i)
      event = event->next;
    for (; event != &w->events && event->at <= now; event = event->next)
      w->ndue++;
  }
  w->now = now;
}

void
world_add_event (struct world *w, struct world_event *event)
{
  struct world_event *prev = w->events.prev;

  event->priority = 0;
  if (w->options.policy == WORLD_PRIORITY)
    event->priority = chance_bits (CHANCE_SCHEDULE) | UINT64_C (1) << 63;
  while (prev != &w->events && prev->at > event->at)
    prev = prev->prev;
  event->prev = prev;
  event->next = prev->next;
  prev->next->prev = event;
  prev->next = event;
  if (event->at <= w->now)
    w->ndue++;
}

void
world_remove_event (struct world *w, struct world_event *event)
{
  assert (event != w->next_event);
  if (event->at <= w->now)
    w->ndue--;
  event->next->prev = event->prev;
  event->prev->next = event->next;
  event->next = event->prev = NULL;
}

/* ---- who is next ---- */

/* Nobody can run now.  The clock goes on to when somebody can; false: never.
 * An event may wake anybody; a daemon that sleeps may as well, but if it has
 * not for an hour it will not.
 */
static bool
world_leap (struct world *w)
{
  const struct world_event *event = event_first (w);
  uint64_t to = event != &w->events ? event->at : RT_NEVER;
  bool daemons = to == RT_NEVER;

  for (const struct fiber *f = w->sleepers; f && daemons; f = f->next)
    daemons = f->daemon;
  if (w->sleepers && w->sleepers->deadline < to)
    to = w->sleepers->deadline;
  if (to == RT_NEVER || (daemons && to - w->lively > STUCK_NANOSECONDS))
    return false;
  world_set_clock (w, to);
  return true;
}

/* After a step: time passes, luck changes. */
static void
world_tick (struct world *w)
{
  uint64_t to = w->now + STEP_NANOSECONDS;

  if (chance (CHANCE_SCHEDULE, w->options.jump_per_1000000, 1000000)) {
    to += choose (CHANCE_SCHEDULE, JUMP_NANOSECONDS);
    trace ("the clock jumps to %" PRIu64, to / 1000);
  }
  world_set_clock (w, to);
  if (w->options.policy == WORLD_PRIORITY && w->last) {
    for (unsigned i = 0; i < w->nchanges; ++i)
      if (w->changes[i] == w->steps)
        w->last->priority = --w->lowest;
    if (w->turns >= TURNS_MAX) {
      w->turns = 0;
      w->last->priority = --w->lowest;
    }
  }
}

/* The n-th candidate. */
static void
pick_nth (struct world *w, uint64_t n)
{
  struct world_event *event;

  if (n < w->nready) {
    w->next_fiber = w->ready[n];
    return;
  }
  event = event_first (w);
  for (n -= w->nready; n > 0; --n)
    event = event->next;
  w->next_event = event;
}

static void
pick_by_priority (struct world *w)
{
  struct world_event *event = event_first (w);
  uint64_t highest = 0;

  for (unsigned i = 0; i < w->nready; ++i)
    if (w->ready[i]->priority > highest) {
      highest = w->ready[i]->priority;
      w->next_fiber = w->ready[i];
    }
  for (unsigned i = 0; i < w->ndue; ++i, event = event->next)
    if (event->priority > highest) {
      highest = event->priority;
      w->next_fiber = NULL;
      w->next_event = event;
    }
}

/* The last one first, then the others in order. */
static void
pick_serially (struct world *w)
{
  uint64_t n = 0;

  w->preempts = w->last && w->last->ready;
  if (chance_has_source (CHANCE_SCHEDULE))
    n = choose (CHANCE_SCHEDULE, w->nready + w->ndue);
  if (!w->preempts) {
    pick_nth (w, n);
    return;
  }
  w->preempts = false;
  if (n == 0) {
    w->next_fiber = w->last;
    return;
  }
  /* Those before the last one have moved up by one. */
  n--;
  if (n < w->nready && w->ready[n]->number >= w->last->number)
    n++;
  else if (n >= w->nready - 1)
    n++;
  pick_nth (w, n);
}

/* Choose the next step; false: there is none. */
static bool
world_pick (struct world *w)
{
  if (w->nready + w->ndue == 0 && !world_leap (w))
    return false;
  switch (w->options.policy) {
  case WORLD_RANDOM:
    pick_nth (w, choose (CHANCE_SCHEDULE, w->nready + w->ndue));
    break;
  case WORLD_PRIORITY:
    pick_by_priority (w);
    break;
  case WORLD_SERIAL:
    pick_serially (w);
    break;
  }
  return true;
}

bool
world_preempts (const struct world *w)
{
  return w->preempts;
}

/* ---- steps ---- */

static void
count_step (struct world *w, struct fiber *fiber)
{
  w->steps++;
  steps_in_all++;
  trace_mix (w->now);
  trace_mix (fiber ? fiber->number : UINT64_MAX);
  if (!fiber)
    return;
  if (fiber == w->last) {
    w->turns++;
  }
  else {
    w->turns = 0;
    switches_in_all++;
  }
  w->last = fiber;
  if (!fiber->daemon)
    w->lively = w->now;
}

static void
world_step (struct world *w)
{
  struct fiber *fiber = w->next_fiber;
  struct world_event *event = w->next_event;

  w->next_fiber = NULL;
  w->next_event = NULL;
  count_step (w, fiber);
  if (event) {
    world_remove_event (w, event);
    event->run (event);
    return;
  }
  w->current = fiber;
  fiber_enter (fiber);
  w->current = NULL;
  if (fiber->ended)
    fiber_give_stack (fiber);
}

enum world_end
world_run (struct world *w, uint64_t max_steps)
{
  enum world_end end;

  assert (w == world && !w->running);
  w->running = true;
  w->stopped = false;
  w->limit =
      max_steps < UINT64_MAX - w->steps ? w->steps + max_steps : UINT64_MAX;
  for (;;) {
    if (w->living == 0)
      end = WORLD_ENDED;
    else if (w->stopped)
      end = WORLD_STOPPED;
    else if (w->steps >= w->limit)
      end = WORLD_ENDLESS;
    else {
      world_tick (w);
      end = WORLD_STUCK;
      if (world_pick (w)) {
        /* A fiber may have chosen its successor itself. */
        while (w->next_fiber || w->next_event)
          world_step (w);
        if (w->hook)
          w->hook (w->hook_opaque);
        continue;
      }
    }
    break;
  }
  w->running = false;
  return end;
}

void
world_stop (struct world *w)
{
  w->stopped = true;
}

/* ---- switch points ---- */

void
fiber_point (const void *site)
{
  struct world *w = world;
  struct fiber *self;

  if (!w || !w->current)
    return;
  self = w->current;
  count_pair (self, site);
  if (w->options.policy != WORLD_SERIAL
      && !chance (CHANCE_SCHEDULE, w->options.switch_per_1000, 1000)
      && ++w->points < POINTS_MAX)
    return;
  w->points = 0;
  /* Without a hook there is no need for the scheduler to find out that the
   * same fiber goes on.
   */
  if (!w->hook && !w->stopped && w->steps < w->limit) {
    world_tick (w);
    (void)world_pick (w);
    if (w->next_fiber == self) {
      w->next_fiber = NULL;
      count_step (w, self);
      return;
    }
  }
  fiber_leave (self);
}
