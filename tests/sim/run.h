/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A run: the worlds of a plan one after the other, and inside them, at any
 * moment, the worlds that would come after a crash then.
 */

#ifndef MDBITMAP_SIM_RUN_H
#define MDBITMAP_SIM_RUN_H

#include "sim/oracle.h"

struct run_counters {
  uint64_t runs;
  uint64_t cycles;   /* crash images drawn, assembled, recovered, checked */
  uint64_t nested;   /* of these, after a crash during a recovery */
  uint64_t kills;    /* of these, after a kill */
  uint64_t splits;   /* of these, with halves that were served apart */
  uint64_t forced;   /* of these, settled */
  uint64_t refused;  /* assemblies that were rightly refused */
  uint64_t requests; /* answered */
  uint64_t moments[MOMENTS]; /* cycles by moment of the crash */
};
extern struct run_counters run_counters;

/* What all worlds of a run share. */
struct run {
  const struct plan *plan;
  struct oracle_geometry geometry;
  unsigned epoch;
  unsigned checks_left;
  unsigned checked[MOMENTS]; /* so far, by moment */
};

/* One life of the array in a world of its own: open, activate, clients,
 * resync, stop.  What lives in it.
 */
struct life {
  struct run *run;
  struct world *world;
  struct disk *disks[PLAN_LEGS];  /* by leg; NULL: not given */
  struct disk *absent[PLAN_LEGS]; /* exists, but is not given this time */
  struct disk *file;              /* the bitmap's; NULL: the plan has none */
  unsigned file_gone; /* epochs to come in which nobody can open it */
  int bitmap;         /* enum array_bitmap: what the user says */
  struct model *model;
  struct oracle *oracle; /* in the world's memory */
  struct array *array;   /* the same; NULL before open, and after close */
  bool faults;           /* the disks have some */
  int degraded;          /* enum array_degraded */
  bool read_only;
  bool forced;     /* this one is the source, whoever says otherwise */
  unsigned source; /* ... by its number */
  bool record;     /* array_record is called, and nothing else is done */
  bool recorded;   /* it has succeeded, or array_activate has */
  bool apart;      /* served without what must be trusted: data may be older
                    * than was promised, and the model is not asked */
  unsigned order;  /* of presentation */
  int opened;      /* what array_open said, 1 before */
  unsigned depth;
  unsigned busy;          /* clients that have not finished */
  bool crash;             /* a step of the plan wants one, here and now */
  bool stopping;          /* array_stop has been called */
  bool refusing;          /* it has returned: no write may be accepted */
  bool late;              /* and has waited for writes in vain */
  bool stopped;           /* array_stop and array_close have returned */
  unsigned in_sync;       /* bit n: leg n holds all that was ever promised: the
                           * array has it in sync; before open: had */
  uint64_t crash_step;    /* of the world; 0: none */
  struct verdict verdict; /* what the open must do, by the reference */
  bool compared;          /* with what it did */
  struct legs_watcher watcher; /* passes on to the oracle's */
  bool wants_signature;
  uint64_t signature; /* of all that disks and clients saw of it */
  void (*each) (struct life *life); /* after each step; NULL: nothing */
  struct standing {
    unsigned faulty, in_sync; /* legs, by bits */
    uint64_t changes;         /* of the sources of unequal chunks */
  } standing;                 /* of clients.c: when the last read ended */
};

/* Run a plan; a violation ends the process. */
extern void run_plan (const struct plan *plan);

/* A world for a life whose fields up to order are set, with an oracle; and
 * its end.  free: disks and model as well.
 */
extern void life_begin (struct life *life, const struct world_options *options);
/* The plan's faults for the disks that are given. */
extern void life_set_faults (struct life *life);
extern void life_end (struct life *life);
extern void life_free (struct life *life);
/* Run it to its end, to its crash, or to a violation.  False: it has crashed.
 */
extern bool life_run (struct life *life);

/* What the model knows of the end of a life: a kill, or a loss of power.  If a
 * disk has dropped its cache, and this may not be on record, it is all one.
 */
extern void
life_model_end (const struct life *life, struct model *model, bool kill);

/* ---- crash.c: look at what a crash of this life now would leave ---- */

extern void crash_check (struct life *life, enum oracle_moment moment);
/* The same for these images of the life's disks (NULL: none), which it takes,
 * and of its file.  moment as above.
 */
extern void crash_check_images (struct life *life, struct disk **images,
                                struct disk *file, enum oracle_moment moment);
/* How to assemble the life's disks: sets degraded and verdict.  False: only
 * in a way that must be refused.
 */
extern bool life_choose_degraded (struct life *life);
extern void life_wishes (const struct life *life, struct wishes *wishes);

/* ---- operator.c, recover.c: fibers that carry out the steps of an epoch ----
 */

/* Into the life's world, before it runs: one fiber opens and activates the
 * array, then starts the clients and the operator of that epoch.
 */
extern void clients_start (struct life *life);

/* The fiber of a recovery, after a crash: open, activate, read everything
 * twice, wait for resync, check that it has ended, maybe write, flush, stop.
 */
extern void clients_recover (struct life *life);

#endif /* MDBITMAP_SIM_RUN_H */
