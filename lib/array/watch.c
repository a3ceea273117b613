/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The watch thread: I/O that is overdue or was given up, and legs that hold a
 * thread inside io_submit.
 *
 * It waits for nobody: it joins no round and records nothing, since whoever
 * leads may be the one who is stuck.  A leg that it fails is recorded by the
 * next request, or by the clear thread, which it wakes.
 *
 * A thread that is stuck inside the kernel cannot be freed from here.  If it
 * writes data, others go on without the leg, but for those whose operations it
 * was submitting.  If it leads a bitmap round or
 * a metadata update, writes wait until the kernel lets it go.
 */

#include <config.h>

#include <errno.h>

#include "array/internal.h"

#define TICK RT_SECOND

/* Legs with shorter timeouts keep exact time.  For the others a tick more is
 * not much.
 */
#define LEAST_FOR_ALARM (10 * TICK)

static void
fail_stuck (struct array *array, const struct device *stuck)
{
  if (stuck->leg < 0)
    (void)array_file_fail (array, "stuck in io_submit", -ETIMEDOUT);
  else if (array->legs[stuck->leg].state == LEG_IN_SYNC)
    (void)leg_fail (array, &array->legs[stuck->leg], "stuck in io_submit",
                    -ETIMEDOUT);
  rt_cond_broadcast (&array->background_cond);
}

static void
look (struct array *array)
{
  struct device *stuck;

  rt_mutex_unlock (&array->lock);
  aio_poll (array->aio);
  stuck = aio_stuck (array->aio);
  rt_mutex_lock (&array->lock);
  if (stuck)
    fail_stuck (array, stuck);
  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].device
        && device_lost_writes (array->legs[i].device) == 0)
      ranges_bury (&array->ranges, &array->legs[i]);
}

void
array_watch_main (void *opaque)
{
  struct array *array = opaque;

  aio_alarm (array->aio, array->options.leg_timeout >= LEAST_FOR_ALARM);
  rt_mutex_lock (&array->lock);
  while (!array->watch_stopping) {
    if (!rt_cond_wait_until (&array->watch_cond, &array->lock,
                             rt_now () + TICK))
      look (array);
  }
  rt_mutex_unlock (&array->lock);
  aio_alarm (array->aio, false);
}
