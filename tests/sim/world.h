/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A world: fibers, a clock, memory, and a scheduler that chooses by chance
 * who runs next.  Worlds nest: while an outer one is paused between two
 * steps, an inner one may be run to its end.
 *
 * All of it happens on one OS thread.  A fiber runs until it blocks, or until
 * it passes a switch point at which the scheduler takes over.
 */

#ifndef MDBITMAP_SIM_WORLD_H
#define MDBITMAP_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/arena.h"

struct fiber;
struct world;

enum world_policy {
  WORLD_RANDOM,   /* anybody who can run, with equal chance */
  WORLD_PRIORITY, /* the one with the highest priority; priorities are
                   * random and change at a few random steps (PCT) */
  WORLD_SERIAL,   /* the same fiber until it blocks, then the first one;
                   * with a chance_source, the exhaustive mode's */
};

struct world_options {
  enum world_policy policy;
  unsigned change_points;    /* WORLD_PRIORITY */
  unsigned change_steps;     /* ... among so many steps */
  unsigned switch_per_1000;  /* how often a switch point is one; in
                              * WORLD_SERIAL each is */
  unsigned jump_per_1000000; /* per step: the clock jumps by up to 2 s */
};

/* The one that is running; never NULL inside fibers and hooks. */
extern struct world *world;

/* An event: something that happens to the world by itself, as a disk ending
 * an operation.  run is called by the scheduler, between fibers, must not
 * block, and may wake fibers and add events.  The owner keeps the memory
 * until run was called or the event was removed.
 */
struct world_event {
  uint64_t at;       /* not before this time (nanoseconds) */
  uint64_t priority; /* set by world_add_event */
  void (*run) (struct world_event *event);
  struct world_event *next, *prev;
};

extern struct world *world_new (const struct world_options *options);
/* A crash, or the end: fibers are dropped where they are, memory as well.
 * Not while it runs.  Switches back to the outer world, if there is one.
 */
extern void world_free (struct world *world);

/* Fibers are joined, or end by themselves.  name: at most 15 bytes.  daemon:
 * world_run does not wait for it.
 */
extern struct fiber *
fiber_new (struct world *world, const char *name, void (*fn) (void *opaque),
           void *opaque, bool daemon);

/* After each step, between fibers; may run inner worlds, and may call
 * world_stop.
 */
extern void
world_set_hook (struct world *world, void (*hook) (void *opaque), void *opaque);

enum world_end {
  WORLD_ENDED,   /* all fibers but daemons have */
  WORLD_STOPPED, /* world_stop was called; may be run on */
  WORLD_STUCK,   /* nothing can ever happen any more */
  WORLD_ENDLESS, /* after max_steps */
};
extern enum world_end world_run (struct world *world, uint64_t max_steps);
/* From a fiber or a hook: world_run returns after this step. */
extern void world_stop (struct world *world);

extern uint64_t world_now (const struct world *world); /* nanoseconds */
extern uint64_t world_steps (const struct world *world);
extern unsigned world_depth (const struct world *world); /* 0: the outermost */
extern struct arena *world_arena (const struct world *world);
/* Somebody's own data, for hooks: nothing but kept. */
extern void world_set_owner (struct world *world, void *owner);
extern void *world_owner (const struct world *world);

extern void world_add_event (struct world *world, struct world_event *event);
extern void world_remove_event (struct world *world, struct world_event *event);

/* For a chance_source, asked who goes on: would any answer but 0 take the
 * turn from a fiber that could have run on?
 */
extern bool world_preempts (const struct world *world);

/* For a person: who waits, since when, for what ("cond", "mutex", "join"). */
extern void world_explain (const struct world *world);

/* ---- inside a fiber ---- */

extern struct fiber *fiber_self (void); /* NULL: in the scheduler */
extern const char *fiber_name (const struct fiber *fiber);
extern unsigned fiber_number (const struct fiber *fiber); /* in its world */
/* A switch point. */
extern void fiber_yield (void);
/* Sleep until fiber_wake, or until the clock has reached deadline
 * (UINT64_MAX: never).  False if it was the deadline.  why: for a person.
 */
extern bool fiber_block (const char *why, uint64_t deadline);
extern void fiber_wake (struct fiber *fiber); /* harmless if it can run */
extern void fiber_sleep (uint64_t nanoseconds);
extern void fiber_join (struct fiber *fiber);

/* Over all worlds since the process began: steps, switches between fibers,
 * and how many different pairs of fiber name and switch point there were
 * (a switch point is a call site of rt).
 */
extern void
world_statistics (uint64_t *steps, uint64_t *switches, uint64_t *pairs);

#endif /* MDBITMAP_SIM_WORLD_H */
