/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Leader and followers.
 *
 * Invariants, under the user's mutex:
 *   1. finished + 1 == filling when nobody works, finished + 2 == filling
 *      between rounds_begin and rounds_end.
 *   2. leading is true from the moment rounds_join says ROUNDS_LEAD until
 *      rounds_end, so that no two threads work at once.
 *   3. When a round ends its followers wake, and one follower of the next
 *      round, which leads it.
 */

#include <config.h>

#include <assert.h>

#include "base/rounds.h"

void
rounds_init (struct rounds *rounds)
{
  rounds->filling = 1;
  rounds->finished = 0;
  rounds->failures = 0;
  rounds->last_failure = 0;
  rounds->leading = false;
  rt_cond_init (&rounds->cond[0]);
  rt_cond_init (&rounds->cond[1]);
}

void
rounds_destroy (struct rounds *rounds)
{
  assert (!rounds->leading);
  rt_cond_destroy (&rounds->cond[0]);
  rt_cond_destroy (&rounds->cond[1]);
}

/* The round has ended: how?  To a follower that slept through 64 rounds, a
 * later failure counts as its own.
 */
static enum rounds_result
result_of (const struct rounds *rounds, uint64_t round)
{
  uint64_t ago = rounds->finished - round;

  bool failed =
      ago < 64 ? rounds->failures >> ago & 1 : rounds->last_failure >= round;

  return failed ? ROUNDS_FAILED : ROUNDS_DONE;
}

/* A wake-up that gets lost costs this much, and not for ever (glibc bug
 * 25847 loses some in rare cases).
 */
#define WAKE_NANOSECONDS (RT_SECOND / 10)

enum rounds_result
rounds_join (struct rounds *rounds, struct rt_mutex *mutex, uint64_t round)
{
  assert (round <= rounds->filling);
  while (rounds->finished < round) {
    if (!rounds->leading) {
      rounds->leading = true;
      return ROUNDS_LEAD;
    }
    (void)rt_cond_wait_until (&rounds->cond[round & 1], mutex,
                              rt_now () + WAKE_NANOSECONDS);
  }
  return result_of (rounds, round);
}

uint64_t
rounds_begin (struct rounds *rounds)
{
  assert (rounds->leading);
  assert (rounds->finished + 1 == rounds->filling);
  return rounds->filling++;
}

void
rounds_end (struct rounds *rounds, bool success)
{
  assert (rounds->leading);
  assert (rounds->finished + 2 == rounds->filling);
  rounds->finished++;
  rounds->failures = rounds->failures << 1 | !success;
  if (!success)
    rounds->last_failure = rounds->finished;
  rounds->leading = false;
  rt_cond_broadcast (&rounds->cond[rounds->finished & 1]);
  rt_cond_signal (&rounds->cond[rounds->filling & 1]);
}
