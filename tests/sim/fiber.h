/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Fibers from inside: for fiber.c (stacks, and how to switch between them),
 * schedule.c (who is next),
 * world.c (the rest of a world) and rt_sim.c (what they wait for).
 */

#ifndef MDBITMAP_SIM_FIBER_H
#define MDBITMAP_SIM_FIBER_H

#include "base/rt.h"
#include "sim/world.h"

#if defined __SANITIZE_ADDRESS__
#define SIM_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#ifndef SIM_ASAN
#define SIM_ASAN 0
#endif

#if SIM_ASAN
#include <ucontext.h>
#else
#include <setjmp.h>
#endif

/* Somewhere to go back to. */
struct context {
#if SIM_ASAN
  ucontext_t ucontext;
  void *fake;         /* the sanitizer's, of this stack */
  const void *bottom; /* of the scheduler's stack */
  size_t size;
#else
  jmp_buf jump;
#endif
};

struct stack;

struct fiber {
  struct world *world;
  unsigned number;
  bool daemon;
  bool ready;     /* in the world's list */
  bool timed_out; /* its deadline came first */
  bool started;
  bool ended;
  bool dropped;
  char name[16];
  uint64_t name_hash;
  uint64_t priority;
  void (*fn) (void *opaque);
  void *opaque;
  struct stack *stack; /* NULL once it has ended */

  /* Blocked. */
  const char *why;
  const void *waits_for; /* a mutex, a condition, a fiber */
  uint64_t since;
  uint64_t deadline;         /* UINT64_MAX: not among the sleepers */
  struct fiber *next, *prev; /* sleepers, by deadline */

  /* What a thread has, for rt_sim.c. */
  unsigned locks; /* mutexes held */
  unsigned order; /* bit n: rt_order n is held or waited for */
  struct {
    const void *owner;
    void *value;
    void (*release) (void *value);
  } locals[RT_LOCALS];

  struct context *home;   /* of the scheduler */
  struct context context; /* last: not cleared for a new fiber */
};

#define WORLD_CHANGES 16

struct world {
  struct world_options options;
  struct world *outer; /* or the next one in the pool */
  unsigned depth;
  bool running;
  bool stopped;
  uint64_t now;
  uint64_t steps, limit;
  uint64_t lively; /* when somebody other than a daemon ran last */
  struct arena *arena;
  void *owner;
  void (*hook) (void *opaque);
  void *hook_opaque;

  /* Fibers. */
  struct fiber **fibers; /* by number */
  struct fiber **ready;
  unsigned nfibers, nready, room;
  unsigned living;
  struct fiber *sleepers;
  struct fiber *current; /* NULL: the scheduler runs */
  struct fiber *last;    /* the last one that ran */

  /* Events: the head of a ring. */
  struct world_event events;
  unsigned ndue;

  /* Who was chosen for the next step; both NULL: nobody yet. */
  struct fiber *next_fiber;
  struct world_event *next_event;
  bool preempts;   /* while choosing: last could run on */
  unsigned points; /* that were none, since the last that was one */
  unsigned turns;  /* of last, one after the other */

  uint64_t lowest; /* WORLD_PRIORITY: anybody demoted gets one less */
  unsigned nchanges;
  uint64_t changes[WORLD_CHANGES]; /* steps */

  struct fiber scheduler; /* stands for it, as the owner of locks */
  struct context home;
};

/* ---- fiber.c ---- */

extern void fiber_take_stack (struct fiber *fiber);
/* It has ended, or is dropped where it is. */
extern void fiber_give_stack (struct fiber *fiber);
/* The scheduler's: run the fiber until it leaves. */
extern void fiber_enter (struct fiber *fiber);
/* The fiber's: back to the scheduler, until entered again. */
extern void fiber_leave (struct fiber *fiber);
extern void __attribute__ ((noreturn)) fiber_exit (struct fiber *fiber);

/* ---- schedule.c ---- */

/* May it run?  Nothing else about it changes. */
extern void fiber_set_ready (struct fiber *fiber, bool ready);
/* With a deadline, and not ready. */
extern void sleepers_add (struct fiber *fiber);
extern void sleepers_remove (struct fiber *fiber); /* harmless if it is not */
/* A switch point, with the place that names it. */
extern void fiber_point (const void *site);

/* ---- world.c ---- */

/* The first function of every fiber. */
extern void __attribute__ ((noreturn)) fiber_main (void);
/* Of those that wait for the thing, the n-th by number; NULL: fewer do. */
extern struct fiber *
world_waiter (const struct world *world, const void *thing, unsigned n);
/* All that wait for the thing, without a deadline, may run or may not. */
extern void
world_set_waiters (struct world *world, const void *thing, bool ready);
/* Wake it, but not before this time. */
extern void fiber_wake_at (struct fiber *fiber, uint64_t at);
/* The fiber that runs, or one that stands for the scheduler. */
extern struct fiber *world_self (void);
extern bool world_is_serial (const struct world *world);

/* Print a line, who did it and when, and abort. */
extern void __attribute__ ((noreturn, format (printf, 1, 2)))
sim_die (const char *fmt, ...);

/* ---- rt_sim.c ---- */

/* The fiber's function has returned: as the end of a thread. */
extern void rt_fiber_ends (struct fiber *fiber);

#endif /* MDBITMAP_SIM_FIBER_H */
