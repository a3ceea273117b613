/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The simulator: whole lives of an array, crashes included, from a number.
 *
 *   sim [--seeds N] [--first N] [--jobs N] [--quiet] [--hashes]
 *   SIM_SEED=N sim [--trace]
 *   sim --plan FILE [--tries N] [--trace]   with N seeds from the plan's on
 *   sim --seed N --print           the plan, as text
 *   sim --seed N --shrink FILE     a smaller plan that fails in the same way
 *   sim --exhaustive [--departures N]
 *
 * Exit status: 0: nothing found, 1: a rule was violated, 2: usage.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/chance.h"
#include "sim/run.h"
#include "sim/search.h"
#include "sim/trace.h"

enum choice {
  OPTION_SEED = 256,
  OPTION_SEEDS,
  OPTION_FIRST,
  OPTION_JOBS,
  OPTION_QUIET,
  OPTION_HASHES,
  OPTION_TRACE,
  OPTION_PLAN,
  OPTION_TRIES,
  OPTION_PRINT,
  OPTION_SHRINK,
  OPTION_EXHAUSTIVE,
  OPTION_DEPARTURES,
};

static const struct option long_options[] = {
  { "seed", required_argument, NULL, OPTION_SEED },
  { "seeds", required_argument, NULL, OPTION_SEEDS },
  { "first", required_argument, NULL, OPTION_FIRST },
  { "jobs", required_argument, NULL, OPTION_JOBS },
  { "quiet", no_argument, NULL, OPTION_QUIET },
  { "hashes", no_argument, NULL, OPTION_HASHES },
  { "trace", no_argument, NULL, OPTION_TRACE },
  { "plan", required_argument, NULL, OPTION_PLAN },
  { "tries", required_argument, NULL, OPTION_TRIES },
  { "print", no_argument, NULL, OPTION_PRINT },
  { "shrink", required_argument, NULL, OPTION_SHRINK },
  { "exhaustive", no_argument, NULL, OPTION_EXHAUSTIVE },
  { "departures", required_argument, NULL, OPTION_DEPARTURES },
  { NULL, 0, NULL, 0 },
};

struct wanted {
  struct search search;
  const char *plan, *shrink;
  bool print, exhaustive;
  unsigned departures;
  uint64_t tries;
};

static void __attribute__ ((noreturn)) usage (void)
{
  fprintf (stderr, "usage: sim [--seed N | --seeds N [--first N]] [--jobs N] "
                   "[--quiet] [--hashes] [--trace]\n"
                   "       sim --seed N --print | --shrink FILE\n"
                   "       sim --plan FILE [--tries N] [--trace]\n"
                   "       sim --exhaustive [--departures N] [--jobs N]\n");
  exit (2);
}

static uint64_t
number (const char *text)
{
  char *end;
  uint64_t n;

  errno = 0;
  n = strtoull (text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || *text == '-') {
    fprintf (stderr, "sim: '%s' is not a number\n", text);
    usage ();
  }
  return n;
}

static void
parse_option (int option, struct wanted *wanted)
{
  switch (option) {
  case OPTION_SEED:
    wanted->search.first = number (optarg);
    wanted->search.count = 1;
    break;
  case OPTION_SEEDS:
    wanted->search.count = number (optarg);
    break;
  case OPTION_FIRST:
    wanted->search.first = number (optarg);
    break;
  case OPTION_JOBS:
    wanted->search.jobs = (unsigned)number (optarg);
    break;
  case OPTION_QUIET:
    wanted->search.quiet = true;
    break;
  case OPTION_HASHES:
    wanted->search.hashes = true;
    break;
  case OPTION_TRACE:
    tracing = true;
    break;
  case OPTION_PLAN:
    wanted->plan = optarg;
    break;
  case OPTION_TRIES:
    wanted->tries = number (optarg);
    break;
  case OPTION_PRINT:
    wanted->print = true;
    break;
  case OPTION_SHRINK:
    wanted->shrink = optarg;
    break;
  case OPTION_EXHAUSTIVE:
    wanted->exhaustive = true;
    break;
  case OPTION_DEPARTURES:
    wanted->departures = (unsigned)number (optarg);
    break;
  default:
    usage ();
  }
}

static void
parse (int argc, char **argv, struct wanted *wanted)
{
  const char *seed = getenv ("SIM_SEED");
  int option;

  if (seed) {
    wanted->search.first = number (seed);
    wanted->search.count = 1;
  }
  while ((option = getopt_long (argc, argv, "", long_options, NULL)) != -1)
    parse_option (option, wanted);
  if (optind < argc || wanted->search.jobs < 1 || wanted->search.jobs > 64)
    usage ();
}

static struct plan *
get_plan (const struct wanted *wanted)
{
  struct plan *plan;
  unsigned line;
  FILE *file;

  if (!wanted->plan) {
    chance_seed (wanted->search.first);
    return plan_new (wanted->search.first);
  }
  file = fopen (wanted->plan, "r");
  if (!file) {
    perror (wanted->plan);
    exit (2);
  }
  plan = plan_parse (file, &line);
  fclose (file);
  if (!plan) {
    fprintf (stderr, "sim: %s:%u: not a plan\n", wanted->plan, line);
    exit (2);
  }
  return plan;
}

static int
one_plan (const struct wanted *wanted)
{
  struct plan *plan = get_plan (wanted);
  int status = 0;

  if (wanted->print)
    plan_print (plan, stdout);
  else if (wanted->shrink)
    status = search_shrink (plan, wanted->shrink);
  else {
    for (uint64_t i = 0; i < wanted->tries; ++i, ++plan->seed) {
      trace_seed = plan->seed;
      run_plan (plan);
    }
    printf ("sim: %s: 0 violations\n", wanted->plan);
  }
  plan_free (plan);
  return status;
}

int
main (int argc, char **argv)
{
  struct wanted wanted = {
    .search = { .first = 1, .count = 1000, .jobs = 1 },
    .departures = 2,
    .tries = 1,
  };

  parse (argc, argv, &wanted);
  trace_catch_signals ();
  if (wanted.exhaustive)
    return search_exhaustive (wanted.departures, wanted.search.jobs);
  if (wanted.plan || wanted.print || wanted.shrink)
    return one_plan (&wanted);
  return search_seeds (&wanted.search);
}
