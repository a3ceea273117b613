/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What a person reads of a run, and its end by a violation.
 *
 * Everything printed is a function of the run: virtual time, numbers, names,
 * never an address.  stdout has the trace, stderr has the verdict.
 *
 * One OS thread, no locks.  The handler of signals runs on a stack of its
 * own, since the commonest reason for a crash of a fiber is that its stack
 * was too small.
 */

#include <config.h>

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/fiber.h"
#include "sim/trace.h"

#if SIM_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

bool tracing;
uint64_t trace_hash;
uint64_t trace_seed;
int violation_fd = -1;
bool violation_aborts;

void
trace_line (const char *fmt, ...)
{
  const struct fiber *fiber = world ? fiber_self () : NULL;
  va_list args;

  printf ("%12" PRIu64 " %u %-15s ", world ? world_now (world) / 1000 : 0,
          world ? world_depth (world) : 0, fiber ? fiber_name (fiber) : "-");
  va_start (args, fmt);
  vprintf (fmt, args);
  va_end (args);
  putchar ('\n');
}

/* Whatever happens, a search goes on: a full pipe is not worth a word. */
static void
tell (int fd, const char *text)
{
  ssize_t r = write (fd, text, strlen (text));

  (void)r;
}

void
violation (const char *rule, const char *fmt, ...)
{
  va_list args;

  fflush (stdout);
  fprintf (stderr, "violation of %s: ", rule);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fprintf (stderr, "\nreproduce: SIM_SEED=%" PRIu64 " ./sim --trace\n",
           trace_seed);
  fflush (stderr);
  if (violation_fd >= 0)
    tell (violation_fd, rule);
  if (violation_aborts)
    abort ();
  _exit (1);
}

/* As violation does, without stdio where it could wait for itself. */
static void
last_words (const char *rule)
{
  char digits[24], *p = digits + sizeof digits - 1;
  uint64_t n = trace_seed;

  fflush_unlocked (stdout);
  *p = '\0';
  do
    *--p = (char)('0' + n % 10);
  while ((n /= 10) > 0);
  tell (STDERR_FILENO, "violation of ");
  tell (STDERR_FILENO, rule);
  tell (STDERR_FILENO, "\nreproduce: SIM_SEED=");
  tell (STDERR_FILENO, p);
  tell (STDERR_FILENO, " ./sim --trace\n");
  if (violation_fd >= 0)
    tell (violation_fd, rule);
}

static void __attribute__ ((noreturn)) caught (int number)
{
  last_words (number == SIGABRT ? "assert" : "crash");
  _exit (1);
}

#if SIM_ASAN
static void
sanitizer_dies (void)
{
  last_words ("crash");
}
#endif

void
trace_catch_signals (void)
{
  static char memory[64 * 1024];
  stack_t stack = { .ss_sp = memory, .ss_size = sizeof memory };
  struct sigaction action = { .sa_handler = caught, .sa_flags = SA_ONSTACK };

  sigemptyset (&action.sa_mask);
  sigaltstack (&stack, NULL);
  sigaction (SIGABRT, &action, NULL);
#if SIM_ASAN
  /* It says more about a bad address than we could. */
  __sanitizer_set_death_callback (sanitizer_dies);
#else
  sigaction (SIGSEGV, &action, NULL);
  sigaction (SIGBUS, &action, NULL);
#endif
}
