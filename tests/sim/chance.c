/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Chance, by SplitMix64: a counter for each stream, and a function that
 * makes 64 bits of it which look as if they had nothing to do with it.
 *
 * The counters of a level of nesting are all its state, so push and pop cost
 * nothing.  What is drawn is mixed into the hash of the run: two runs that
 * were lucky in different ways are different runs.
 *
 * One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <stddef.h>

#include "sim/chance.h"
#include "sim/trace.h"

#define DEPTH 8

static struct level {
  uint64_t counter[CHANCE_STREAMS];
} levels[DEPTH + 1];
static struct level *level = levels;

static struct {
  uint64_t (*ask) (void *opaque, uint64_t n);
  void *opaque;
} sources[CHANCE_STREAMS];

static uint64_t
scramble (uint64_t n)
{
  n = (n ^ n >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  n = (n ^ n >> 27) * UINT64_C (0x94d049bb133111eb);
  return n ^ n >> 31;
}

static uint64_t
draw (enum chance_stream stream)
{
  level->counter[stream] += UINT64_C (0x9e3779b97f4a7c15);
  return scramble (level->counter[stream]);
}

void
chance_seed (uint64_t seed)
{
  for (unsigned i = 0; i < CHANCE_STREAMS; ++i) {
    /* Neighbouring seeds, and the streams of one, begin far apart. */
    seed += UINT64_C (0xd1342543de82ef95);
    level->counter[i] = scramble (seed);
    seed = level->counter[i];
  }
}

void
chance_push (uint64_t seed)
{
  assert (level < levels + DEPTH);
  level++;
  chance_seed (seed);
}

void
chance_pop (void)
{
  assert (level > levels);
  level--;
}

uint64_t
choose (enum chance_stream stream, uint64_t n)
{
  uint64_t result;

  assert (n > 0);
  if (n == 1)
    return 0;
  if (sources[stream].ask) {
    result = sources[stream].ask (sources[stream].opaque, n);
    assert (result < n);
  }
  else {
    __extension__ unsigned __int128 product = draw (stream);

    /* The bias, n in 2^64, does not matter here. */
    product *= n;
    result = (uint64_t)(product >> 64);
  }
  trace_mix (result);
  return result;
}

uint64_t
chance_bits (enum chance_stream stream)
{
  uint64_t bits;

  if (sources[stream].ask) {
    bits = choose (stream, UINT64_C (1) << 32) << 32;
    bits |= choose (stream, UINT64_C (1) << 32);
    return bits;
  }
  bits = draw (stream);
  trace_mix (bits);
  return bits;
}

bool
chance (enum chance_stream stream, uint64_t n, uint64_t per)
{
  assert (per > 0);
  if (n == 0)
    return false;
  if (n >= per)
    return true;
  if (sources[stream].ask)
    return choose (stream, 2) == 1;
  return choose (stream, per) < n;
}

void
chance_source (enum chance_stream stream,
               uint64_t (*source) (void *opaque, uint64_t n), void *opaque)
{
  sources[stream].ask = source;
  sources[stream].opaque = opaque;
}

bool
chance_has_source (enum chance_stream stream)
{
  return sources[stream].ask != NULL;
}
