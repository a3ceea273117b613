/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What a person reads of a run, the hash that shows that two runs were the
 * same, and the end of a run by a violation.
 */

#ifndef MDBITMAP_SIM_TRACE_H
#define MDBITMAP_SIM_TRACE_H

#include <stdbool.h>
#include <stdint.h>

/* Set by main: print a line for everything that happens. */
extern bool tracing;

/* A line with virtual time, depth of the world and fiber in front.  The
 * arguments are not evaluated unless tracing.
 */
#define trace(...)              \
  do {                          \
    if (tracing)                \
      trace_line (__VA_ARGS__); \
  } while (0)
extern void
trace_line (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* The hash of the run so far.  Everything that decides, or was decided, is
 * mixed in, whether tracing or not: never an address.
 */
extern uint64_t trace_hash;

static inline void
trace_mix (uint64_t n)
{
  trace_hash = (trace_hash ^ n) * UINT64_C (0x9e3779b97f4a7c15);
  trace_hash ^= trace_hash >> 29;
}

/* The seed by which a person finds this run again; set by main. */
extern uint64_t trace_seed;

/* If not -1, the name of a violated rule is also written here: for whoever
 * runs a search in children.
 */
extern int violation_fd;

/* For fuzzing: a violation aborts, so that the input is kept. */
extern bool violation_aborts;

/* Something that must never be has happened: rule is the name of the
 * invariant ("I4").  Prints what, and how to reproduce it, and ends the
 * process (each attempt of a search runs in a child of its own).
 */
extern void __attribute__ ((noreturn, format (printf, 2, 3)))
violation (const char *rule, const char *fmt, ...);

/* From now on a failed assertion and a crash end the process as a violation
 * of "assert" and of "crash" would.
 */
extern void trace_catch_signals (void);

#endif /* MDBITMAP_SIM_TRACE_H */
