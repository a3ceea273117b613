/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Flushing the legs.
 *
 * A flush covers every in-sync leg, all at once, and is shared by all who
 * came before it was submitted.  A leg may be passed over only if nothing
 * was submitted or ended there since its last good flush was submitted:
 * leg->written counts both, for data, zeroes, resync and metadata alike.
 *
 * One flush after the other: the next goes out only when the last has been
 * judged.  Else it could be answered with a yes that hides the other's no.
 *
 * A leg whose flush fails has failed: what its cache held may be lost, and
 * asking again would be answered with a cheerful yes.  The last leg stays,
 * but never flushes successfully again.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>

#include "array/internal.h"

struct leg_flush {
  struct leg *leg;
  uint64_t written; /* when it was submitted */
};

/* Add what must be flushed to the batch; -EIO if a leg cannot be. */
static int
collect (struct array *array, struct io_batch *batch, struct leg_flush *list)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs), count = 0;
  int err = 0;

  for (unsigned i = 0; i < n; ++i) {
    if (legs[i]->flush_failed)
      err = -EIO;
    if (legs[i]->written == legs[i]->flushed
        && device_lost_writes (legs[i]->device) == 0) {
      leg_flush_begins (legs[i]);
      leg_flush_ends (legs[i]);
      continue;
    }
    leg_flush_begins (legs[i]);
    list[count].leg = legs[i];
    list[count++].written = legs[i]->written;
    io_batch_add (batch, legs[i]->device, IO_FLUSH, 0, 0, 0, NULL, 0);
  }
  return err;
}

static int
judge (struct array *array, struct io_batch *batch, struct leg_flush *list)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  int results[ARRAY_MAX_LEGS];
  unsigned n = io_batch_count (batch);

  for (unsigned i = 0; i < n; ++i) {
    legs[i] = list[i].leg;
    assert (legs[i]);
    results[i] = io_batch_get (batch, i)->result;
    if (results[i] == 0) {
      legs[i]->flushed = list[i].written;
      leg_flush_ends (legs[i]);
    }
    else {
      legs[i]->flush_failed = true;
      leg_flush_failed (legs[i]);
    }
  }
  return legs_fail (array, legs, results, n, "flushing") ? 0 : -EIO;
}

static int
lead (struct array *array)
{
  struct leg_flush list[ARRAY_MAX_LEGS] = { { NULL, 0 } };
  struct io_batch *batch;
  int err;

  rounds_begin (&array->flushes);
  batch = array_batch_take (array);
  err = batch ? collect (array, batch, list) : -ENOMEM;
  if (err == 0 && io_batch_count (batch) > 0) {
    array_run_batch (array, batch);
    err = judge (array, batch, list);
  }
  if (batch)
    array_batch_give (array, batch);
  rounds_end (&array->flushes, err == 0);
  return err;
}

int
array_flush_legs (struct array *array)
{
  uint64_t round = array->flushes.filling;

  for (;;) {
    switch (rounds_join (&array->flushes, &array->lock, round)) {
    case ROUNDS_DONE:
      return 0;
    case ROUNDS_FAILED:
      return -EIO;
    case ROUNDS_LEAD:
      (void)lead (array);
      break;
    }
  }
}

void
array_wait_for_flush (struct array *array)
{
  (void)rounds_join (&array->flushes, &array->lock, array->flushes.filling - 1);
}

int
array_flush (struct array *array)
{
  int err = 0;

  rt_mutex_lock (&array->lock);
  array->flush_requests++;
  if (array->may_write) {
    err = array_flush_legs (array);
    if (err == 0)
      err = array_settle (array);
    if (err == 0)
      err = array_log_bad (array);
  }
  rt_mutex_unlock (&array->lock);
  return err;
}
