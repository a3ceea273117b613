/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Between assemble.c, for arrays that can be started, and assemble_refused.c,
 * for those that cannot.
 */

#ifndef MDBITMAP_ASSEMBLE_H
#define MDBITMAP_ASSEMBLE_H

#include "array/array.h"
#include "tools.h"

#define ASSEMBLE_MAX_ERRORS 32

struct assemble {
  struct array_options options;
  bool dry_run, json;
  bool degraded_given, full_resync_given;
  char *bitmap_file; /* from malloc */
  /* What the library has complained of, in order. */
  char *errors[ASSEMBLE_MAX_ERRORS];
  unsigned nerrors;
};

/* Errors as a JSON array; a new reference. */
extern json_t *assemble_errors (const struct assemble *assemble);

/* array_open has failed with that: show what each leg says, and after a split
 * brain the ways out.  enum tool_exit.
 */
extern int assemble_refused (const struct assemble *assemble, int err);

#endif /* MDBITMAP_ASSEMBLE_H */
