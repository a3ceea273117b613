/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Runs side by side, each process with every jobs-th seed.
 *
 * A violation ends the process that finds it, after it has told how to
 * reproduce it, so workers need no way back but their exit status and a pipe
 * for their counters.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/chance.h"
#include "sim/run.h"
#include "sim/search.h"
#include "sim/trace.h"

#define MAX_JOBS 64

struct totals {
  struct run_counters run;
  uint64_t steps, switches, pairs;
  uint64_t hash;
};

static void
one_seed (uint64_t seed)
{
  struct plan *plan;

  trace_seed = seed;
  trace_hash = seed;
  chance_seed (seed);
  plan = plan_new (seed);
  run_plan (plan);
  plan_free (plan);
}

/* Every step-th seed from number on. */
static void
run_seeds (const struct search *search, uint64_t number, uint64_t step,
           struct totals *totals)
{
  for (; number < search->count; number += step) {
    one_seed (search->first + number);
    totals->hash ^= trace_hash;
    if (search->hashes)
      printf ("%" PRIu64 " %016" PRIx64 "\n", search->first + number,
              trace_hash);
    if (!search->quiet && number % 1000 == 0 && number > 0)
      fprintf (stderr, "%" PRIu64 " seeds, %" PRIu64 " cycles\n", number,
               run_counters.cycles * step);
  }
  totals->run = run_counters;
  world_statistics (&totals->steps, &totals->switches, &totals->pairs);
}

static double
seconds (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Figures of time are for people: nothing is decided by them. */
static void
print_totals (const struct totals *t, unsigned jobs, double took)
{
  const struct run_counters *run = &t->run;

  printf (
      "sim: %" PRIu64 " seeds, %" PRIu64 " cycles (%" PRIu64
      " after a crash during recovery, %" PRIu64 " after a kill, %" PRIu64
      " split brains, %" PRIu64 " with a source forced, %" PRIu64
      " assemblies rightly refused), %" PRIu64 " requests, %" PRIu64
      " steps, %" PRIu64 " switches, %" PRIu64
      " pairs of fiber and switch point, hash %016" PRIx64 ", 0 violations\n",
      run->runs, run->cycles, run->nested, run->kills, run->splits, run->forced,
      run->refused, run->requests, t->steps, t->switches, t->pairs, t->hash);
  printf ("sim: crashes by moment:");
  for (unsigned i = 0; i < MOMENTS; ++i)
    printf (" %s %" PRIu64, oracle_moment_string ((enum oracle_moment)i),
            run->moments[i]);
  printf ("\n");
  printf ("sim: %.1f s, %u processes: %.0f cycles and %.0f runs a second and "
          "process\n",
          took, jobs, (double)run->cycles / took / jobs,
          (double)run->runs / took / jobs);
}

static void
add_totals (struct totals *sum, const struct totals *t)
{
  const uint64_t *from = (const uint64_t *)&t->run;
  uint64_t *to = (uint64_t *)&sum->run;

  for (size_t i = 0; i < sizeof t->run / sizeof from[0]; ++i)
    to[i] += from[i];
  sum->steps += t->steps;
  sum->switches += t->switches;
  sum->pairs = t->pairs > sum->pairs ? t->pairs : sum->pairs;
  sum->hash ^= t->hash;
}

static pid_t
start_worker (const struct search *search, unsigned job, int *from)
{
  struct totals totals = { .hash = 0 };
  int fds[2];
  pid_t pid;

  if (pipe (fds) == -1 || (fflush (NULL), pid = fork ()) == -1) {
    perror ("sim: worker");
    exit (2);
  }
  if (pid > 0) {
    close (fds[1]);
    *from = fds[0];
    return pid;
  }
  close (fds[0]);
  run_seeds (search, job, search->jobs, &totals);
  fflush (NULL);
  if (write (fds[1], &totals, sizeof totals) != sizeof totals)
    _exit (2);
  _exit (0);
}

static int
run_workers (const struct search *search, struct totals *sum)
{
  int from[MAX_JOBS], status, result = 0;
  pid_t pids[MAX_JOBS];

  for (unsigned i = 0; i < search->jobs; ++i)
    pids[i] = start_worker (search, i, &from[i]);
  for (unsigned i = 0; i < search->jobs; ++i) {
    struct totals totals;

    if (read (from[i], &totals, sizeof totals) == sizeof totals)
      add_totals (sum, &totals);
    else
      result = 1;
    while (waitpid (pids[i], &status, 0) == -1 && errno == EINTR)
      ;
    if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
      result = 1;
  }
  return result;
}

int
search_seeds (const struct search *search)
{
  struct totals totals = { .hash = 0 };
  double start = seconds ();
  int result = 0;

  if (search->jobs == 1)
    run_seeds (search, 0, 1, &totals);
  else
    result = run_workers (search, &totals);
  if (result == 0)
    print_totals (&totals, search->jobs, seconds () - start);
  return result;
}
