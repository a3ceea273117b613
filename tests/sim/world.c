/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Worlds, and what fibers do with themselves and each other.
 *
 * Worlds nest strictly: the last one made is the only one that may run, and
 * the only one that may be freed.  Worlds and fibers are recycled, but not
 * while their world is there: whoever has a fiber's address may look at it
 * after it has ended.  One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/chance.h"
#include "sim/fiber.h"

struct world *world;

static struct world *worlds;  /* to be used again */
static struct fiber **fibers; /* the same */
static unsigned nfibers, fibers_room;

void
sim_die (const char *fmt, ...)
{
  const struct fiber *fiber = world ? world->current : NULL;
  va_list args;

  fflush (stdout);
  fprintf (stderr, "%s at %" PRIu64 " us: ", fiber ? fiber->name : "scheduler",
           world ? world->now / 1000 : 0);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  abort ();
}

/* ---- to run, to wait ---- */

void
fiber_yield (void)
{
  fiber_point (__builtin_return_address (0));
}

bool
fiber_block (const char *why, uint64_t deadline)
{
  struct fiber *self = world ? world->current : NULL;

  if (!self)
    sim_die ("%s: would have to wait, outside of a fiber", why);
  self->why = why;
  self->since = self->world->now;
  self->timed_out = false;
  if (deadline > self->world->now) {
    fiber_set_ready (self, false);
    self->deadline = deadline;
    if (deadline != RT_NEVER)
      sleepers_add (self);
  }
  else
    self->timed_out = true;
  fiber_leave (self);
  self->why = NULL;
  return !self->timed_out;
}

void
fiber_wake (struct fiber *fiber)
{
  if (fiber->ended || fiber->ready)
    return;
  sleepers_remove (fiber);
  fiber_set_ready (fiber, true);
}

void
fiber_wake_at (struct fiber *fiber, uint64_t at)
{
  if (fiber->ended || fiber->ready)
    return;
  sleepers_remove (fiber);
  if (at <= fiber->world->now) {
    fiber_set_ready (fiber, true);
    return;
  }
  fiber->deadline = at;
  sleepers_add (fiber);
}

void
fiber_sleep (uint64_t nanoseconds)
{
  uint64_t until = world_now (world) + nanoseconds;

  while (fiber_block ("sleep", until) && world_now (world) < until)
    ;
}

void
fiber_join (struct fiber *fiber)
{
  struct fiber *self = world_self ();

  while (!fiber->ended) {
    self->waits_for = fiber;
    (void)fiber_block ("join", RT_NEVER);
    self->waits_for = NULL;
  }
}

/* ---- fibers ---- */

static uint64_t
name_hash (const char *name)
{
  uint64_t hash = UINT64_C (0xcbf29ce484222325);

  for (; *name; ++name)
    hash = (hash ^ (unsigned char)*name) * UINT64_C (0x100000001b3);
  return hash;
}

static struct fiber *
fiber_recycled (void)
{
  struct fiber *fiber =
      nfibers > 0 ? fibers[--nfibers] : malloc (sizeof *fiber);

  if (!fiber)
    abort ();
  memset (fiber, 0, offsetof (struct fiber, context));
  return fiber;
}

static struct fiber **
more_room (struct fiber **array, unsigned room)
{
  array = realloc (array, room * sizeof *array);
  if (!array)
    abort ();
  return array;
}

struct fiber *
fiber_new (struct world *w, const char *name, void (*fn) (void *opaque),
           void *opaque, bool daemon)
{
  struct fiber *fiber = fiber_recycled ();

  if (w->nfibers == w->room) {
    w->room = 2 * w->room + 16;
    w->fibers = more_room (w->fibers, w->room);
    w->ready = more_room (w->ready, w->room);
  }
  fiber->world = w;
  fiber->number = w->nfibers;
  w->fibers[w->nfibers++] = fiber;
  fiber->daemon = daemon;
  if (!daemon)
    w->living++;
  strncpy (fiber->name, name, sizeof fiber->name - 1);
  fiber->name_hash = name_hash (fiber->name);
  if (w->options.policy == WORLD_PRIORITY)
    fiber->priority = chance_bits (CHANCE_SCHEDULE) | UINT64_C (1) << 63;
  fiber->fn = fn;
  fiber->opaque = opaque;
  fiber->deadline = RT_NEVER;
  fiber->home = &w->home;
  fiber_take_stack (fiber);
  fiber_set_ready (fiber, true);
  return fiber;
}

void
fiber_main (void)
{
  struct world *w = world;
  struct fiber *self = w->current;

  self->fn (self->opaque);
  rt_fiber_ends (self);
  self->ended = true;
  fiber_set_ready (self, false);
  if (!self->daemon)
    w->living--;
  for (unsigned i = 0; i < w->nfibers; ++i)
    if (w->fibers[i]->waits_for == self)
      fiber_wake (w->fibers[i]);
  fiber_exit (self);
}

struct fiber *
fiber_self (void)
{
  return world ? world->current : NULL;
}

struct fiber *
world_self (void)
{
  static struct fiber nobody = { .name = "-" };

  if (!world)
    return &nobody;
  return world->current ? world->current : &world->scheduler;
}

const char *
fiber_name (const struct fiber *fiber)
{
  return fiber->name;
}

unsigned
fiber_number (const struct fiber *fiber)
{
  return fiber->number;
}

struct fiber *
world_waiter (const struct world *w, const void *thing, unsigned n)
{
  for (unsigned i = 0; i < w->nfibers; ++i)
    if (w->fibers[i]->waits_for == thing && n-- == 0)
      return w->fibers[i];
  return NULL;
}

void
world_set_waiters (struct world *w, const void *thing, bool ready)
{
  for (unsigned i = 0; i < w->nfibers; ++i)
    if (w->fibers[i]->waits_for == thing)
      fiber_set_ready (w->fibers[i], ready);
}

/* ---- worlds ---- */

struct world *
world_new (const struct world_options *options)
{
  struct world *w = worlds;
  struct fiber **all = NULL, **ready = NULL;
  unsigned room = 0;

  if (w) {
    worlds = w->outer;
    all = w->fibers;
    ready = w->ready;
    room = w->room;
  }
  else
    w = malloc (sizeof *w);
  if (!w)
    abort ();
  memset (w, 0, offsetof (struct world, home));
  w->fibers = all;
  w->ready = ready;
  w->room = room;
  w->options = *options;
  w->outer = world;
  w->depth = world ? world->depth + 1 : 0;
  w->arena = arena_new ();
  w->events.next = w->events.prev = &w->events;
  w->lowest = UINT64_C (1) << 63;
  strcpy (w->scheduler.name, "scheduler");
  w->scheduler.world = w;
  if (options->policy == WORLD_PRIORITY) {
    w->nchanges = options->change_points < WORLD_CHANGES
                      ? options->change_points
                      : WORLD_CHANGES;
    for (unsigned i = 0; i < w->nchanges; ++i)
      w->changes[i] = 1 + choose (CHANCE_SCHEDULE, options->change_steps + 1);
  }
  world = w;
  return w;
}

void
world_free (struct world *w)
{
  assert (w == world && !w->running);
  for (unsigned i = 0; i < w->nfibers; ++i) {
    if (nfibers == fibers_room) {
      fibers_room = 2 * fibers_room + 64;
      fibers = more_room (fibers, fibers_room);
    }
    if (w->fibers[i]->stack)
      fiber_give_stack (w->fibers[i]);
    fibers[nfibers++] = w->fibers[i];
  }
  arena_free (w->arena);
  world = w->outer;
  w->outer = worlds;
  worlds = w;
}

void
world_set_hook (struct world *w, void (*hook) (void *opaque), void *opaque)
{
  w->hook = hook;
  w->hook_opaque = opaque;
}

uint64_t
world_now (const struct world *w)
{
  return w->now;
}

uint64_t
world_steps (const struct world *w)
{
  return w->steps;
}

unsigned
world_depth (const struct world *w)
{
  return w->depth;
}

struct arena *
world_arena (const struct world *w)
{
  return w->arena;
}

void
world_set_owner (struct world *w, void *owner)
{
  w->owner = owner;
}

void *
world_owner (const struct world *w)
{
  return w->owner;
}

bool
world_is_serial (const struct world *w)
{
  return w->options.policy == WORLD_SERIAL;
}

void
world_explain (const struct world *w)
{
  fprintf (stderr, "world %u at %" PRIu64 " us, step %" PRIu64 "\n", w->depth,
           w->now / 1000, w->steps);
  for (unsigned i = 0; i < w->nfibers; ++i) {
    const struct fiber *f = w->fibers[i];

    if (f->ended)
      continue;
    fprintf (stderr, "%3u %-15s %s ", f->number, f->name,
             f->daemon ? "daemon" : "      ");
    if (f->ready) {
      fprintf (stderr, "can run\n");
      continue;
    }
    fprintf (stderr, "waits for %s since %" PRIu64 " us", f->why,
             f->since / 1000);
    if (f->deadline != RT_NEVER)
      fprintf (stderr, " until %" PRIu64 " us", f->deadline / 1000);
    fputc ('\n', stderr);
  }
}
