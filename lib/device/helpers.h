/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A few threads for calls that have no asynchronous form. */

#ifndef MDBITMAP_HELPERS_H
#define MDBITMAP_HELPERS_H

#include <stdbool.h>

#include "base/rt.h"

struct helpers;

/* What is to be done.  The memory belongs to whoever adds the job, and may be
 * gone when run returns.
 */
struct helper_job {
  struct helper_job *next; /* private */
  const void *owner;       /* the device; only compared */
  void (*run) (struct helper_job *job);
};

/* At most this many threads work for one owner, so that a disk which does
 * not answer never keeps those busy that a healthy one needs.
 */
#define HELPERS_PER_OWNER 2

/* The bound for all owners together. */
#define HELPERS_MAX 32

/* No thread yet.  NULL when out of memory. */
extern struct helpers *helpers_new (void);

/* Run the job soon, after those of the same owner that were added earlier
 * have begun.  0, or -errno if there is no thread that could ever run it; it
 * was not added then.
 */
extern int helpers_add (struct helpers *helpers, struct helper_job *job);

/* Ends the threads.  If some job has not ended after a short wait, everything
 * stays behind as that job needs it: false.
 */
extern bool helpers_free (struct helpers *helpers);

#endif /* MDBITMAP_HELPERS_H */
