/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Leader and followers: one thread does the work for all who wait for it.
 *
 * Work comes in numbered rounds.  At most one round is led at a time, and one
 * more, the filling round, gathers those who came too late for it.  Whoever
 * finds no leader becomes one.  Used for the bitmap's group commit, for
 * metadata updates and for flushes.
 *
 * Everything here is guarded by the mutex that the user names; it is held on
 * entry and on return.
 */

#ifndef MDBITMAP_ROUNDS_H
#define MDBITMAP_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rt.h"

struct rounds {
  uint64_t filling;       /* the round that newcomers join; starts at 1 */
  uint64_t finished;      /* all rounds up to this one have ended */
  uint64_t failures;      /* bit n: round finished - n failed */
  uint64_t last_failure;  /* the newest round that failed, 0 for none */
  bool leading;           /* somebody leads, or is about to */
  struct rt_cond cond[2]; /* followers of odd and of even rounds */
};

extern void rounds_init (struct rounds *rounds);
extern void rounds_destroy (struct rounds *rounds);

enum rounds_result {
  ROUNDS_DONE,   /* the round succeeded */
  ROUNDS_FAILED, /* the round failed */
  ROUNDS_LEAD,   /* the caller leads: rounds_begin, work, rounds_end */
};

/* Wait for the round, or become the leader.  round is the filling one or
 * older.  Who leads begins the filling round at that time, which may be
 * newer than the one asked for, never older.
 */
extern enum rounds_result
rounds_join (struct rounds *rounds, struct rt_mutex *mutex, uint64_t round);

/* By the leader: close the filling round and get its number.  Until then
 * newcomers may still join it.
 */
extern uint64_t rounds_begin (struct rounds *rounds);

/* By the leader, after rounds_begin: the round has ended. */
extern void rounds_end (struct rounds *rounds, bool success);

#endif /* MDBITMAP_ROUNDS_H */
