/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Tiny worlds, exhaustively.
 *
 * Two legs, two chunks, three requests by two clients, and an orderly stop;
 * with the bitmap on the legs, and in a file.
 * The default schedule lets each fiber run until it blocks, and ends disk
 * operations in the order of submission.  A departure is a moment at which
 * somebody else goes on, a fiber or a disk: the one that ran is preempted, or
 * the order in which operations end is another one.  All schedules with at
 * most so many departures are run, depth first; in each, whenever something
 * has changed on a disk or for a client, every subset of what may be lost is
 * assembled, recovered and checked.  A state that was met before, with the
 * same past as the disks and the clients saw it, is not looked at again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "array/array.h"
#include "sim/chance.h"
#include "sim/run.h"
#include "sim/search.h"
#include "sim/trace.h"

#define CHUNK         512
#define MAX_CHOICES   100000
#define CRASHES_A_LEG 64 /* subsets that are enumerated; else drawn */
#define SEEN_SLOTS    (1u << 22)

/* ---- depth-first through the choices ---- */

struct walk {
  unsigned *chosen, *limits; /* MAX_CHOICES */
  unsigned n, at;
  unsigned departures; /* at most */
};

static uint64_t
walk_choose (void *opaque, uint64_t n)
{
  struct walk *walk = opaque;

  if (walk->at == MAX_CHOICES)
    violation ("exhaustive", "more than %d choices", MAX_CHOICES);
  if (walk->at >= walk->n)
    walk->chosen[walk->at] = 0;
  walk->limits[walk->at] = (unsigned)n;
  return walk->chosen[walk->at++];
}

/* Whatever is not part of the walk goes one way. */
static uint64_t
always_first (void *opaque, uint64_t n)
{
  (void)opaque;
  (void)n;
  return 0;
}

/* The next path; false if there is none. */
static bool
walk_next (struct walk *walk)
{
  unsigned departed = 0, last = UINT32_MAX;

  for (unsigned i = 0; i < walk->at; ++i) {
    if (departed < walk->departures && walk->chosen[i] + 1 < walk->limits[i])
      last = i;
    departed += walk->chosen[i] > 0;
  }
  if (last == UINT32_MAX)
    return false;
  walk->chosen[last]++;
  walk->n = last + 1;
  walk->at = 0;
  return true;
}

/* ---- what was seen ---- */

struct tiny {
  struct walk walk;
  uint64_t *seen; /* SEEN_SLOTS hashes, 0: free */
  uint64_t nseen;
  uint64_t last; /* hash, after the last step */
  uint64_t schedules, states, drawn;
};

static bool
seen_before (struct tiny *tiny, uint64_t hash)
{
  uint64_t slot = hash % SEEN_SLOTS;

  hash += hash == 0;
  for (; tiny->seen[slot] != 0; slot = (slot + 1) % SEEN_SLOTS)
    if (tiny->seen[slot] == hash)
      return true;
  if (tiny->nseen < SEEN_SLOTS / 2) {
    tiny->seen[slot] = hash;
    tiny->nseen++;
  }
  return false;
}

/* ---- all crashes of a state ---- */

static struct tiny *tiny_;

static void
sources (struct tiny *tiny, bool on)
{
  chance_source (CHANCE_SCHEDULE, on ? walk_choose : NULL, &tiny->walk);
  chance_source (CHANCE_DISK, on ? always_first : NULL, NULL);
}

static void
one_crash (struct life *life, struct disk *a, struct disk *b, struct disk *file)
{
  struct disk *images[PLAN_LEGS] = { a, b };
  struct life crashed = { .run = life->run,
                          .depth = life->depth,
                          .in_sync = life->in_sync };

  crashed.model = model_copy (life->model);
  model_crash (crashed.model);
  crash_check_images (&crashed, images, file, MOMENT_NONE);
  model_free (crashed.model);
}

static struct disk *
crash_leg (struct tiny *tiny, const struct disk *disk, uint64_t count,
           uint64_t n)
{
  if (count > 0)
    return disk_crash_nth (disk, n);
  tiny->drawn++;
  return disk_after_crash (disk, LOSE_SECTORS);
}

/* With this image of the file, or without a file. */
static void
all_crashes (struct life *life, const struct disk *file)
{
  struct tiny *tiny = tiny_;
  const struct disk *a = life->disks[0], *b = life->disks[1];
  uint64_t na = disk_crash_count (a, CRASHES_A_LEG);
  uint64_t nb = disk_crash_count (b, CRASHES_A_LEG);

  for (uint64_t i = 0; i < (na ? na : CRASHES_A_LEG); ++i)
    for (uint64_t k = 0; k < (nb ? nb : CRASHES_A_LEG); ++k)
      one_crash (life, crash_leg (tiny, a, na, i), crash_leg (tiny, b, nb, k),
                 file ? disk_after_kill (file) : NULL);
}

static void
all_crashes_of_file (struct life *life)
{
  struct tiny *tiny = tiny_;
  uint64_t n;

  if (!life->file) {
    all_crashes (life, NULL);
    return;
  }
  n = disk_crash_count (life->file, CRASHES_A_LEG);
  for (uint64_t i = 0; i < (n ? n : CRASHES_A_LEG); ++i) {
    struct disk *file = crash_leg (tiny, life->file, n, i);

    all_crashes (life, file);
    disk_free (file);
  }
}

static void
each_step (struct life *life)
{
  struct tiny *tiny = tiny_;
  uint64_t hash = life->signature;

  if (hash == tiny->last)
    return;
  tiny->last = hash;
  if (seen_before (tiny, hash))
    return;
  tiny->states++;
  sources (tiny, false);
  all_crashes_of_file (life);
  sources (tiny, true);
}

/* ---- programs ---- */

static const struct {
  enum step_type type;
  unsigned chunk;
} operations[] = {
  { STEP_WRITE, 0 },
  { STEP_WRITE, 1 },
  { STEP_WRITE_FUA, 0 },
  { STEP_FLUSH, 0 },
};
#define OPERATIONS (sizeof operations / sizeof operations[0])
#define REQUESTS   (OPERATIONS * OPERATIONS * OPERATIONS)
#define PROGRAMS   (2 * REQUESTS) /* without a file, and with one */

static void
set_step (struct step *step, unsigned operation, unsigned client)
{
  memset (step, 0, sizeof *step);
  step->type = operations[operation].type;
  step->client = client;
  if (step->type != STEP_FLUSH) {
    step->offset = operations[operation].chunk * CHUNK;
    step->length = CHUNK;
  }
}

static void
make_plan (struct plan *plan, struct step steps[4], unsigned program)
{
  memset (plan, 0, sizeof *plan);
  plan->seed = program;
  plan->legs = 2;
  plan->chunk = CHUNK;
  plan->cell = 512;
  plan->size = 2 * CHUNK;
  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    plan->logical_block[i] = 512;
  plan->reaped = program % 2 == 0;
  plan->starts_clean = true;
  plan->daemon_sleep = 1;
  plan->leg_timeout = UINT64_C (30000000000);
  plan->world.policy = WORLD_SERIAL;
  plan->epochs = 1;
  if (program >= REQUESTS) {
    plan->bitmap_file = PLAN_FILE_DIRECT + program % 3;
    plan->file_block = 512;
    plan->file_noted = true;
  }
  plan->nsteps = 4;
  plan->steps = steps;
  set_step (&steps[0], program % OPERATIONS, 0);
  set_step (&steps[1], program / OPERATIONS % OPERATIONS, 1);
  set_step (&steps[2], program / OPERATIONS / OPERATIONS % OPERATIONS, 0);
  memset (&steps[3], 0, sizeof steps[3]);
  steps[3].type = STEP_STOP;
  steps[3].client = PLAN_CLIENTS;
}

static void
one_schedule (struct tiny *tiny, const struct plan *plan)
{
  struct run run = { .plan = plan };
  struct life life = { .run = &run, .in_sync = 3, .wants_signature = true };

  chance_seed (plan->seed);
  life.model = model_new (plan->size, plan->cell);
  oracle_format (plan, life.model, life.disks, &life.file, &run.geometry);
  if (life.file)
    life.bitmap = ARRAY_BITMAP_FILE;
  if (!life_choose_degraded (&life))
    abort ();
  tiny->last = 0;
  tiny->schedules++;
  sources (tiny, true);
  life_begin (&life, &plan->world);
  clients_start (&life);
  life.each = each_step;
  (void)life_run (&life);
  sources (tiny, false);
  life_end (&life);
  life_free (&life);
}

static void
run_program (struct tiny *tiny, unsigned program)
{
  struct step steps[4];
  struct plan plan;

  make_plan (&plan, steps, program);
  trace_seed = program;
  memset (tiny->seen, 0, SEEN_SLOTS * sizeof tiny->seen[0]);
  tiny->nseen = 0;
  tiny->walk.n = tiny->walk.at = 0;
  do
    one_schedule (tiny, &plan);
  while (walk_next (&tiny->walk));
}

static void __attribute__ ((noreturn))
worker (unsigned departures, unsigned job, unsigned jobs)
{
  struct tiny tiny = { .walk = { .departures = departures } };
  unsigned programs = 0;

  tiny.walk.chosen = calloc (MAX_CHOICES, sizeof (unsigned));
  tiny.walk.limits = calloc (MAX_CHOICES, sizeof (unsigned));
  tiny.seen = calloc (SEEN_SLOTS, sizeof tiny.seen[0]);
  if (!tiny.walk.chosen || !tiny.walk.limits || !tiny.seen)
    abort ();
  tiny_ = &tiny;
  for (unsigned program = job; program < PROGRAMS; program += jobs) {
    run_program (&tiny, program);
    programs++;
  }
  printf ("sim: exhaustive: %u programs of 3 requests, %" PRIu64
          " schedules with at most %u departures, %" PRIu64 " states, %" PRIu64
          " crashes (%" PRIu64 " disks drawn, not "
          "enumerated), 0 violations\n",
          programs, tiny.schedules, departures, tiny.states,
          run_counters.cycles, tiny.drawn);
  fflush (NULL);
  _exit (0);
}

int
search_exhaustive (unsigned departures, unsigned jobs)
{
  int status, result = 0;

  for (unsigned i = 0; i < jobs; ++i) {
    pid_t pid;

    fflush (NULL);
    pid = fork ();
    if (pid == -1) {
      perror ("sim: worker");
      return 2;
    }
    if (pid == 0)
      worker (departures, i, jobs);
  }
  while (wait (&status) > 0 || errno == EINTR)
    if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
      result = 1;
  return result;
}
