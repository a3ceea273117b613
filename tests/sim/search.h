/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Many runs: seeds, on several processors; and making a failing plan small. */

#ifndef MDBITMAP_SIM_SEARCH_H
#define MDBITMAP_SIM_SEARCH_H

#include "sim/plan.h"

struct search {
  uint64_t first, count; /* seeds */
  unsigned jobs;         /* processes */
  bool quiet;            /* no progress */
  bool hashes;           /* print each seed's hash */
};

/* Run them all, in this process if jobs is 1: then a violation ends it.
 * Prints a summary.  0, or 1 if there was a violation.
 */
extern int search_seeds (const struct search *search);

/* Cut the plan down while it still violates the same rule, and print what is
 * left to a file.  0, or 1 if it does not fail at all.
 */
extern int search_shrink (const struct plan *plan, const char *to);

/* Two legs, two chunks, three operations: every schedule that departs from
 * the default one at most so many times, every crash.  0 or 1.
 */
extern int search_exhaustive (unsigned departures, unsigned jobs);

#endif /* MDBITMAP_SIM_SEARCH_H */
