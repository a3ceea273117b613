/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Legs and their states.
 *
 *   ABSENT ---> IN_SYNC      at assembly, and only there
 *   IN_SYNC --> FAULTY       an error or a time-out while we run
 *
 * FAULTY is final: the leg missed something, or may carry something out much
 * later, and comes back only through an assembly that compares its events.
 * The state of the array (whole, degraded) is never stored: it is counted
 * from the states of the legs.
 *
 * The last in-sync leg is never failed.  Its errors go to the client.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/internal.h"

const char *
leg_state_string (enum leg_state state)
{
  switch (state) {
  case LEG_ABSENT:
    return "absent";
  case LEG_IN_SYNC:
    return "in-sync";
  case LEG_FAULTY:
    return "faulty";
  }
  return "unknown";
}

static const bool legal[3][3] = {
  [LEG_ABSENT] = { [LEG_IN_SYNC] = true },
  [LEG_IN_SYNC] = { [LEG_FAULTY] = true },
};

void
leg_set_state (struct array *array, struct leg *leg, enum leg_state state,
               const char *why)
{
  assert (legal[leg->state][state]);
  log_debug (array->log, LOG_LEGS, "leg %s: slot %u: %s -> %s: %s", leg->name,
             leg->slot, leg_state_string (leg->state), leg_state_string (state),
             why);
  leg->state = state;
}

bool
leg_fail (struct array *array, struct leg *leg, const char *what, int error)
{
  unsigned left;

  assert (leg);
  if (leg->state == LEG_FAULTY)
    return true;
  assert (leg->state == LEG_IN_SYNC);
  left = array_in_sync (array) - 1;
  if (left == 0) {
    /* A flood: tell the first, then each time they have doubled. */
    if (is_power_of_2 (++leg->last_errors))
      log_error (array->log,
                 "leg %s: slot %u: %s: %s (error %ju); it is the last leg in "
                 "sync and stays, the error goes to the client",
                 leg->name, leg->slot, what, strerror (-error),
                 (uintmax_t)leg->last_errors);
    return false;
  }
  leg_set_state (array, leg, LEG_FAULTY, what);
  array->failures++;
  log_error (array->log,
             "leg %s: slot %u: failed: %s: %s; array %s is degraded, %u of "
             "%u legs left in sync",
             leg->name, leg->slot, what, strerror (-error), array->uuid, left,
             array->table->raid_disks);
  return true;
}

bool
legs_fail (struct array *array, struct leg *const *legs, const int *results,
           unsigned n, const char *what)
{
  const struct leg *source = array_source (array);
  bool all = true;

  for (unsigned i = 0; i < n; ++i)
    if (results[i] != 0 && legs[i] != source)
      all &= leg_fail (array, legs[i], what, results[i]);
  for (unsigned i = 0; i < n; ++i)
    if (results[i] != 0 && legs[i] == source)
      all &= leg_fail (array, legs[i], what, results[i]);
  return all;
}

int
leg_check_lost_writes (struct array *array, struct leg *leg)
{
  if (device_lost_writes (leg->device) == 0
      || leg_fail (array, leg, "a write that timed out may still happen",
                   -ETIMEDOUT))
    return 0;
  return -EIO;
}

unsigned
array_in_sync (const struct array *array)
{
  unsigned n = 0;

  for (unsigned i = 0; i < array->nlegs; ++i)
    n += array->legs[i].state == LEG_IN_SYNC;
  return n;
}

bool
array_whole (const struct array *array)
{
  return array_in_sync (array) == array->table->raid_disks;
}

unsigned
array_working_legs (struct array *array, struct leg *legs[ARRAY_MAX_LEGS])
{
  unsigned n = 0;

  for (unsigned slot = 0; slot < array->table->raid_disks; ++slot)
    for (unsigned i = 0; i < array->nlegs; ++i)
      if (array->legs[i].state == LEG_IN_SYNC && array->legs[i].slot == slot)
        legs[n++] = &array->legs[i];
  return n;
}

struct leg *
array_source (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS], *source = NULL;
  unsigned n = array_working_legs (array, legs);

  for (unsigned i = 0; i < n; ++i)
    if (!source || leg_reluctance (legs[i]) < leg_reluctance (source))
      source = legs[i];
  return source;
}

struct io_batch *
array_batch_take (struct array *array)
{
  if (array->nbatches > 0)
    return array->batches[--array->nbatches];
  return io_batch_new (array->nlegs);
}

void
array_batch_give (struct array *array, struct io_batch *batch)
{
  if (array->nbatches < ARRAY_BATCHES && io_batch_again (batch))
    array->batches[array->nbatches++] = batch;
  else
    io_batch_unref (batch);
}

void
array_run_batch (struct array *array, struct io_batch *batch)
{
  rt_mutex_unlock (&array->lock);
  rt_order_enter (RT_ORDER_BATCH);
  io_batch_submit (batch);
  io_batch_wait (batch);
  rt_order_leave (RT_ORDER_BATCH);
  rt_mutex_lock (&array->lock);
}
