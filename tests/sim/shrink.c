/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making a failing plan small.
 *
 * Each attempt runs in a child.  A smaller plan usually needs another
 * schedule to fail, so each is tried with a few seeds.  First whole epochs
 * go, then steps, many at once and then one by one, then faults and other
 * complications; until nothing more can be taken away.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/run.h"
#include "sim/search.h"
#include "sim/trace.h"

#define TRIES      40 /* seeds for each attempt */
#define RULE_BYTES 32

/* Run it in a child that says nothing.  True if it violates a rule. */
static bool
fails (const struct plan *plan, char rule[RULE_BYTES])
{
  int fds[2], status;
  ssize_t n;
  pid_t pid;

  if (pipe (fds) == -1 || (fflush (NULL), pid = fork ()) == -1) {
    perror ("sim: shrink");
    exit (2);
  }
  if (pid == 0) {
    close (fds[0]);
    if (!freopen ("/dev/null", "w", stderr)
        || !freopen ("/dev/null", "w", stdout))
      _exit (2);
    violation_fd = fds[1];
    alarm (20); /* a plan that became endless is no better */
    run_plan (plan);
    _exit (0);
  }
  close (fds[1]);
  n = read (fds[0], rule, RULE_BYTES - 1);
  rule[n > 0 ? n : 0] = '\0';
  close (fds[0]);
  while (waitpid (pid, &status, 0) == -1 && errno == EINTR)
    ;
  return n > 0;
}

struct shrink {
  struct plan *best;
  char rule[RULE_BYTES];
  unsigned attempts;
};

/* Takes the plan: keeps it as the best if it fails in the same way. */
static bool
attempt (struct shrink *shrink, struct plan *plan)
{
  const uint64_t seed = plan->seed;
  char rule[RULE_BYTES];

  for (unsigned i = 0; i < TRIES; ++i) {
    plan->seed = seed + i;
    shrink->attempts++;
    if (fails (plan, rule) && strcmp (rule, shrink->rule) == 0) {
      plan_free (shrink->best);
      shrink->best = plan;
      return true;
    }
  }
  plan_free (plan);
  return false;
}

static struct plan *
without_steps (const struct plan *plan, unsigned first, unsigned n)
{
  struct plan *copy = plan_copy (plan);

  memmove (copy->steps + first, copy->steps + first + n,
           (copy->nsteps - first - n) * sizeof copy->steps[0]);
  copy->nsteps -= n;
  return copy;
}

static bool
drop_steps (struct shrink *shrink)
{
  bool any = false;

  for (unsigned n = shrink->best->nsteps / 2; n > 0; n /= 2)
    for (unsigned first = 0; first + n <= shrink->best->nsteps;) {
      if (attempt (shrink, without_steps (shrink->best, first, n)))
        any = true;
      else
        first += n;
    }
  return any;
}

static bool
drop_epochs (struct shrink *shrink)
{
  bool any = false;

  while (shrink->best->epochs > 1) {
    struct plan *copy = plan_copy (shrink->best);
    unsigned last = --copy->epochs, kept = 0;

    for (unsigned i = 0; i < copy->nsteps; ++i)
      if (copy->steps[i].epoch < last)
        copy->steps[kept++] = copy->steps[i];
    copy->nsteps = kept;
    if (!attempt (shrink, copy))
      break;
    any = true;
  }
  return any;
}

/* A complication of a plan: one of these, and what it is where there is none.
 */
struct knob {
  bool *flag;
  unsigned *number;
  unsigned simple;
};
#define KNOBS (7 * PLAN_LEGS + 4 * PLAN_EPOCHS + 22)

struct knobs {
  struct knob list[KNOBS];
  unsigned n;
};

static void
add_flag (struct knobs *knobs, bool *flag, bool simple)
{
  knobs->list[knobs->n++] = (struct knob){ flag, NULL, simple };
}

static void
add_number (struct knobs *knobs, unsigned *number, unsigned simple)
{
  knobs->list[knobs->n++] = (struct knob){ NULL, number, simple };
}

static void
list_knobs (struct plan *plan, struct knobs *knobs)
{
  knobs->n = 0;
  for (unsigned i = 0; i < plan->legs; ++i) {
    struct disk_faults *faults = &plan->faults[i];

    add_number (knobs, &faults->slow, 0);
    add_number (knobs, &faults->hang, 0);
    add_number (knobs, &faults->read_error, 0);
    add_number (knobs, &faults->write_error, 0);
    add_number (knobs, &faults->flush_error, 0);
    add_number (knobs, &faults->latent, 0);
    add_number (knobs, &plan->logical_block[i], 512);
  }
  for (unsigned i = 0; i < plan->epochs; ++i) {
    add_flag (knobs, &plan->epoch[i].kill, false);
    add_flag (knobs, &plan->epoch[i].read_only, false);
    add_number (knobs, &plan->epoch[i].order, 0);
    add_number (knobs, &plan->epoch[i].bitmap, PLAN_BITMAP_GIVEN);
  }
  add_number (knobs, &plan->file_faults.slow, 0);
  add_number (knobs, &plan->file_faults.hang, 0);
  add_number (knobs, &plan->file_faults.read_error, 0);
  add_number (knobs, &plan->file_faults.write_error, 0);
  add_number (knobs, &plan->file_faults.flush_error, 0);
  add_number (knobs, &plan->file_faults.latent, 0);
  add_number (knobs, &plan->file_check_error, 0);
  add_number (knobs, &plan->bitmap_file, PLAN_NO_FILE);
  add_flag (knobs, &plan->file_short, false);
  add_flag (knobs, &plan->file_noted, false);
  add_flag (knobs, &plan->file_stops, false);
  add_number (knobs, &plan->world.jump_per_1000000, 0);
  add_number (knobs, &plan->world.change_points, 0);
  add_number (knobs, &plan->write_mostly, 0);
  add_number (knobs, &plan->daemon_sleep, 5);
  add_number (knobs, &plan->metadata, PLAN_1_2);
  add_number (knobs, &plan->numbering, 0);
  add_number (knobs, &plan->nbad, 0);
  add_flag (knobs, &plan->spare, false);
  add_flag (knobs, &plan->no_bitmap, false);
  add_flag (knobs, &plan->starts_clean, true);
  add_flag (knobs, &plan->reaped, true);
}

/* One complication less: false if it is not there. */
static bool
simplify (const struct knob *knob)
{
  if (knob->flag) {
    if (*knob->flag == (bool)knob->simple)
      return false;
    *knob->flag = knob->simple;
    return true;
  }
  if (*knob->number == knob->simple)
    return false;
  *knob->number = knob->simple;
  return true;
}

static bool
drop_complications (struct shrink *shrink)
{
  struct knobs knobs;
  bool any = false;

  list_knobs (shrink->best, &knobs);
  for (unsigned what = 0; what < knobs.n; ++what) {
    struct plan *copy = plan_copy (shrink->best);

    list_knobs (copy, &knobs);
    if (!simplify (&knobs.list[what]))
      plan_free (copy);
    else if (attempt (shrink, copy))
      any = true;
  }
  return any;
}

/* All of these, whatever the others do. */
static bool
drop_something (struct shrink *shrink)
{
  bool any = drop_epochs (shrink);

  any |= drop_steps (shrink);
  any |= drop_complications (shrink);
  return any;
}

int
search_shrink (const struct plan *plan, const char *to)
{
  struct shrink shrink = { .best = plan_copy (plan) };
  FILE *file;

  if (!fails (plan, shrink.rule)) {
    printf ("sim: seed %" PRIu64 " does not fail\n", plan->seed);
    plan_free (shrink.best);
    return 1;
  }
  printf ("sim: seed %" PRIu64 " violates %s with %u steps\n", plan->seed,
          shrink.rule, plan->nsteps);
  while (drop_something (&shrink))
    ;
  file = fopen (to, "w");
  if (!file) {
    perror (to);
    return 1;
  }
  plan_print (shrink.best, file);
  fclose (file);
  printf ("sim: %u steps left after %u attempts: ./sim --plan %s --trace\n",
          shrink.best->nsteps, shrink.attempts, to);
  plan_free (shrink.best);
  return 0;
}
