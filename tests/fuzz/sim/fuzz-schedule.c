/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Bytes drive the simulator's scheduler.
 *
 * The first two bytes are the seed of a plan; each of the others decides one
 * choice of the scheduler: who runs next, whether a switch point is one.  What
 * coverage finds new is kept, so schedules are found that chance alone would
 * rarely make.  When the bytes are used up, chance goes on.  What must hold is
 * what the simulator's oracle says.
 */

#include <config.h>

#include <stdlib.h>

#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "sim/chance.h"
#include "sim/run.h"
#include "sim/trace.h"

/* Larger arrays take too long for one input. */
#define SIZE_MAX_BYTES (64 * KiB)
#define CHECKS_MAX     8

struct bytes {
  const uint8_t *p;
  size_t n;
  uint64_t rest; /* state of what comes after them */
};

static uint64_t
next_choice (void *opaque, uint64_t n)
{
  struct bytes *bytes = opaque;

  if (bytes->n > 0) {
    bytes->n--;
    return *bytes->p++ % n;
  }
  bytes->rest += UINT64_C (0x9e3779b97f4a7c15);
  return ((bytes->rest ^ bytes->rest >> 29) * UINT64_C (0xbf58476d1ce4e5b9)
          >> 33)
         % n;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct bytes bytes = { data + 2, size - 2, 0 };
  struct plan *plan;

  if (size < 2)
    return 0;
  violation_aborts = true;
  trace_seed = (uint64_t)data[0] << 8 | data[1];
  chance_seed (trace_seed);
  plan = plan_new (trace_seed);
  if (plan->size <= SIZE_MAX_BYTES) {
    plan->world.policy = WORLD_RANDOM;
    plan->world.jump_per_1000000 = 0; /* time would fly, not the fibers */
    if (plan->checks > CHECKS_MAX)
      plan->checks = CHECKS_MAX;
    chance_source (CHANCE_SCHEDULE, next_choice, &bytes);
    run_plan (plan);
    chance_source (CHANCE_SCHEDULE, NULL, NULL);
  }
  plan_free (plan);
  return 0;
}
