/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Plans by chance.
 *
 * Each seed has few kinds of trouble, most of them rare, some of them often:
 * a bug is hidden by too much trouble as well as by too little.  Requests
 * gather at a few hot chunks, since most bugs need two at one place.
 *
 * At least one leg is spared by the operator and by faults, but in one plan
 * of 50, and 10, which spare none.
 *
 * Some plans have a subject: what two or three rare things would have to meet
 * for, if each came by itself.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "sim/plan_internal.h"

#define MICROSECOND UINT64_C (1000)
#define MILLISECOND UINT64_C (1000000)
#define SECOND      UINT64_C (1000000000)

#define MAX_STEPS 100
#define HOT       3
#define STREAMS   6 /* one epoch in so many has one */
#define BUSY      8 /* ... has a busy page */

enum subject {
  SUBJECT_ANY,
  SUBJECT_CROWD,    /* many read what one writes, and one leg is slow */
  SUBJECT_LAST_LEG, /* all legs fail, one after the other */
  SUBJECT_EDGES,    /* parts of blocks, while legs fail and others are slow */
  SUBJECT_FLUSHES,  /* that fail on the source of a resync, beside slow ones */
};

/* ---- faults ---- */

static void
draw_faults (struct plan *plan)
{
  static const unsigned slow[] = { 1000, 50000, 300000 };
  static const unsigned rare[] = { 300, 2000, 10000 };
  static const unsigned often[] = { 2000, 20000, 100000 };
  const uint64_t spared = odds (1, 10) ? PLAN_LEGS : draw (plan->legs);
  struct disk_faults faults = { .slow = 0 };

  /* A large array that is read chunk by chunk takes for ever as it is. */
  if (odds (1, 4) && plan->size < BIG_SIZE)
    faults.slow = ONE_OF (slow);
  if (odds (1, 2)) {
    faults.hang = rate (3, rare, 5);
    faults.read_error = rate (3, often, 3);
    faults.write_error = rate (3, rare, 4);
    faults.flush_error = rate (3, often, 4);
    faults.latent = rate (3, often, 3);
  }
  for (unsigned i = 0; i < plan->legs; ++i) {
    plan->faults[i].slow = faults.slow;
    if (i != spared)
      plan->faults[i] = faults;
  }
}

/* Slow is mostly the leg that is read while a write is under way. */
static void
draw_crowd (struct plan *plan)
{
  static const unsigned slow[] = { 50000, 300000, 600000 };
  struct disk_faults *faults =
      &plan->faults[odds (3, 4) ? 0 : draw (plan->legs)];

  faults->slow = ONE_OF (slow);
  faults->hang = odds (1, 3) ? 50000 : 0;
}

static void
draw_decay (struct plan *plan)
{
  static const unsigned rates[] = { 10000, 30000, 100000 };
  const bool hang = odds (1, 2), read = odds (1, 2), write = odds (1, 3),
             flush = odds (1, 3);

  for (unsigned i = 0; i < plan->legs; ++i) {
    struct disk_faults *faults = &plan->faults[i];

    faults->hang = hang ? ONE_OF (rates) : 0;
    faults->read_error = read ? ONE_OF (rates) : 0;
    faults->write_error = write ? ONE_OF (rates) : 0;
    faults->flush_error = flush ? 2 * ONE_OF (rates) : 0;
  }
}

/* One leg errs, often while something on the other is slow; or the operator
 * takes the source away early.  What is small is under resync when the clients
 * come.
 */
static void
draw_edges (struct plan *plan)
{
  static const unsigned rates[] = { 50000, 150000, 300000 };
  static const unsigned slow[] = { 100000, 300000, 500000 };
  static const uint64_t paces[] = { 1000, 100000, 3000000 };
  struct disk_faults *faults = &plan->faults[odds (2, 3) ? 0 : 1];

  if (odds (2, 3))
    plan->size = between (1, 3) * plan->chunk;
  if (plan->size <= 64 * KiB)
    plan->cell = 128;
  plan->starts_clean = odds (1, 4);
  plan->numbering = 0; /* the first leg is the source */
  if (odds (1, 2))
    plan->sync_rate = ONE_OF (paces);
  if (odds (1, 6)) {
    for (unsigned i = 1; i < plan->legs; ++i)
      plan->faults[i].slow = ONE_OF (slow);
    return;
  }
  for (unsigned i = 0; i < plan->legs; ++i)
    if (odds (3, 4))
      plan->faults[i].slow = ONE_OF (slow);
  if (odds (2, 3))
    faults->flush_error = ONE_OF (rates);
  else if (odds (1, 2))
    faults->write_error = ONE_OF (rates);
  else
    faults->hang = ONE_OF (rates);
}

/* The source loses its cache, and another leg still flushes; resync takes as
 * long as the requests.
 */
static void
draw_flushes (struct plan *plan)
{
  static const unsigned rates[] = { 100000, 200000, 400000 };
  static const unsigned slow[] = { 100000, 300000, 500000 };
  static const uint64_t paces[] = { 1000, 5000, 30000 };

  plan->size = between (6, 16) * plan->chunk;
  plan->starts_clean = false;
  plan->numbering = 0;
  plan->write_mostly = 0;
  plan->sync_rate = ONE_OF (paces);
  plan->faults[0].flush_error = ONE_OF (rates);
  for (unsigned i = 1; i < plan->legs; ++i)
    plan->faults[i].slow = ONE_OF (slow);
}

/* ---- the world ---- */

static void
draw_world (struct plan *plan)
{
  static const unsigned switches[] = { 10, 50, 200, 500, 1000 };
  static const unsigned jumps[] = { 0, 0, 0, 20, 20, 500 };
  static const unsigned lengths[] = { 200, 1000, 3000 };
  static const uint64_t timeouts[] = { 30, 30, 60 };

  plan->world.policy = odds (1, 3) ? WORLD_PRIORITY : WORLD_RANDOM;
  if (plan->world.policy == WORLD_PRIORITY) {
    plan->world.change_points = (unsigned)between (1, 5);
    plan->world.change_steps = ONE_OF (lengths);
  }
  plan->world.switch_per_1000 = ONE_OF (switches);
  plan->world.jump_per_1000000 = ONE_OF (jumps);
  plan->daemon_sleep = (uint32_t)between (1, 5);
  plan->leg_timeout = ONE_OF (timeouts) * SECOND;
  plan->checks = (unsigned)between (20, 100);
  if (plan->size >= BIG_SIZE)
    plan->checks = plan->size > PAGE_EDGE * 512 ? 5 : 3;
}

/* ---- requests ---- */

struct draft {
  struct plan *plan;
  enum subject subject;
  uint64_t hot[HOT]; /* chunks */
  unsigned clients;
};

static struct step *
add_step (struct plan *plan, enum step_type type, unsigned epoch,
          unsigned client)
{
  struct step *step = &plan->steps[plan->nsteps];

  if (plan->nsteps == MAX_STEPS)
    abort ();
  plan->nsteps++;
  step->type = type;
  step->epoch = epoch;
  step->client = client;
  return step;
}

/* Writes are the first client's. */
static enum step_type
draw_type_crowd (unsigned client)
{
  uint64_t n = draw (100);

  if (n < 10)
    return STEP_SLEEP;
  if (client > 0)
    return STEP_READ;
  return n < 15 ? STEP_FLUSH : STEP_WRITE;
}

static enum step_type
draw_type_edges (void)
{
  static const enum step_type types[] = {
    STEP_READ,  STEP_READ,  STEP_READ,  STEP_READ,  STEP_WRITE, STEP_WRITE,
    STEP_WRITE, STEP_WRITE, STEP_FLUSH, STEP_FLUSH, STEP_FLUSH, STEP_FLUSH,
  };

  return ONE_OF (types);
}

static enum step_type
draw_type_last_leg (void)
{
  static const enum step_type types[] = {
    STEP_ZERO,  STEP_ZERO,  STEP_ZERO,  STEP_TRIM,  STEP_WRITE,
    STEP_WRITE, STEP_WRITE, STEP_FLUSH, STEP_FLUSH, STEP_READ,
    STEP_READ,  STEP_READ,  STEP_SLEEP, STEP_SLEEP,
  };

  return ONE_OF (types);
}

static enum step_type
draw_type (void)
{
  uint64_t n = draw (100);

  if (n < 24)
    return STEP_READ;
  if (n < 68)
    return odds (1, 4) ? STEP_WRITE_FUA : STEP_WRITE;
  if (n < 74)
    return STEP_ZERO;
  if (n < 78)
    return STEP_TRIM;
  if (n < 91)
    return STEP_FLUSH;
  return STEP_SLEEP;
}

/* Some wake up when the daemon does, which may have begun with them, or when
 * somebody has waited for a leg in vain.
 */
static uint64_t
draw_sleep (const struct plan *plan)
{
  uint64_t n = draw (100);

  if (n < 55)
    return between (1, 200 * MICROSECOND);
  if (n < 80)
    return between (1, 20 * MILLISECOND);
  if (n < 88)
    return between (1, SECOND);
  if (n < 94)
    return plan->daemon_sleep * between (1, odds (1, 8) ? 16 : 4) * SECOND
           + between (1, 500 * MICROSECOND);
  if (n < 97)
    return plan->leg_timeout + between (1, 500 * MICROSECOND);
  return between (SECOND, 12 * SECOND);
}

/* From cell a up to, but not including, cell b of the array, cut off at its
 * end.
 */
static void
set_range (struct draft *draft, struct step *step, uint64_t a, uint64_t b)
{
  const uint64_t cells = draft->plan->size / draft->plan->cell;

  b = min_u64 (b, cells);
  a = min_u64 (a, b - 1);
  step->offset = a * draft->plan->cell;
  step->length = (b - a) * draft->plan->cell;
}

static void
draw_range (struct draft *draft, struct step *step)
{
  const struct plan *plan = draft->plan;
  const uint64_t per_chunk = plan->chunk / plan->cell;
  const uint64_t cells = plan->size / plan->cell;
  uint64_t n = draw (100), start, a, b;

  start = ONE_OF (draft->hot) * per_chunk;
  if (draft->subject == SUBJECT_CROWD)
    set_range (draft, step, start, start + 1 + n / 70);
  else if (draft->subject == SUBJECT_EDGES) {
    a = start + draw (min_u64 (per_chunk, n < 80 ? 4 : 8));
    set_range (draft, step, a, a + 1);
  }
  else if (draft->subject == SUBJECT_FLUSHES && n < 60) {
    a = draw (cells);
    set_range (draft, step, a, a + between (1, 8 * per_chunk));
  }
  else if (n < 15)
    set_range (draft, step, start, start + 1);
  else if (n < 50) {
    a = start + draw (per_chunk);
    b = between (a + 1, start + per_chunk);
    set_range (draft, step, a, b);
  }
  else if (n < 75) { /* across the edge before it */
    a = start - min_u64 (start, between (1, per_chunk));
    b = start + between (1, per_chunk);
    set_range (draft, step, a, b);
  }
  else if (n < 85)
    set_range (draft, step, start, start + per_chunk);
  else if (n < 96 || (plan->size >= BIG_SIZE && step->type != STEP_ZERO)) {
    a = draw (cells);
    b = a + between (1, 4 * per_chunk);
    set_range (draft, step, a, b);
  }
  else
    set_range (draft, step, 0, cells);
}

static void
draw_request (struct draft *draft, unsigned epoch)
{
  unsigned client = (unsigned)draw (draft->clients);
  enum step_type type;
  struct step *step;

  switch (draft->subject) {
  case SUBJECT_CROWD:
    type = draw_type_crowd (client);
    break;
  case SUBJECT_LAST_LEG:
    type = draw_type_last_leg ();
    break;
  case SUBJECT_EDGES:
  case SUBJECT_FLUSHES:
    type = draw_type_edges ();
    break;
  default:
    type = draw_type ();
    break;
  }
  step = add_step (draft->plan, type, epoch, client);
  switch (type) {
  case STEP_FLUSH:
    break;
  case STEP_SLEEP:
    step->length = draw_sleep (draft->plan);
    if (draft->subject == SUBJECT_LAST_LEG && odds (1, 2))
      step->length = draft->plan->leg_timeout + between (1, 200 * MICROSECOND);
    break;
  case STEP_ZERO:
  case STEP_TRIM:
    step->fua = odds (1, 4);
    draw_range (draft, step);
    break;
  default:
    draw_range (draft, step);
    break;
  }
}

/* One client goes from chunk to chunk; up to n writes.  Returns how many. */
static uint64_t
draw_stream (struct draft *draft, unsigned epoch, uint64_t n)
{
  const struct plan *plan = draft->plan;
  const uint64_t per_chunk = plan->chunk / plan->cell;
  const uint64_t chunks = plan->size / plan->chunk;
  const unsigned client = (unsigned)draw (draft->clients);
  uint64_t chunk = draw (chunks > 6 ? chunks - 5 : 1);
  struct step *step;

  if (chunks > PAGE_EDGE + 1 && odds (3, 4))
    chunk = PAGE_EDGE - draw (12);
  n = min_u64 (n, between (4, 12));
  for (uint64_t i = 0; i < n; ++i) {
    step = add_step (draft->plan, odds (1, 6) ? STEP_WRITE_FUA : STEP_WRITE,
                     epoch, client);
    set_range (draft, step, (chunk + i) * per_chunk,
               (chunk + i) * per_chunk + between (1, per_chunk));
  }
  return n;
}

/* One client writes to many chunks, each in a round of its own, downwards since
 * that is no stream; and then waits until the busy page is clear again, if
 * nobody else writes.  Up to n steps; returns how many.
 */
static uint64_t
draw_busy (struct draft *draft, unsigned epoch, uint64_t n)
{
  const struct plan *plan = draft->plan;
  const uint64_t per_chunk = plan->chunk / plan->cell;
  const uint64_t writes = between (8, 10);
  const unsigned client = (unsigned)draw (draft->clients);
  struct step *step;

  if (n <= writes || plan->size / plan->chunk < writes)
    return 0;
  for (uint64_t i = writes; i > 0; --i) {
    step = add_step (draft->plan, STEP_WRITE, epoch, client);
    set_range (draft, step, (i - 1) * per_chunk,
               (i - 1) * per_chunk + between (1, per_chunk));
  }
  step = add_step (draft->plan, STEP_SLEEP, epoch, client);
  step->length = plan->daemon_sleep * between (14, 16) * SECOND;
  return writes + 1;
}

/* ---- the operator ---- */

static void
draw_trouble (struct draft *draft, unsigned epoch, uint64_t spared)
{
  static const enum step_type types[] = {
    STEP_FAIL_LEG, STEP_FAIL_LEG,    STEP_VANISH_LEG, STEP_VANISH_LEG,
    STEP_HANG_LEG, STEP_RESTART_LEG, STEP_SPOIL_LEG,
  };
  struct plan *plan = draft->plan;
  struct step *step = add_step (plan, STEP_SLEEP, epoch, PLAN_CLIENTS);
  uint64_t sectors = plan->size / 512, first;

  step->length = odds (1, 5) ? draw_sleep (plan) : between (1, 5 * MILLISECOND);
  step = add_step (plan, ONE_OF (types), epoch, PLAN_CLIENTS);
  step->leg = (unsigned)draw (plan->legs);
  if (step->leg == spared)
    step->leg = (step->leg + 1) % plan->legs;
  if (step->type == STEP_HANG_LEG)
    step->length = odds (1, 2) ? between (MILLISECOND, SECOND)
                               : between (1, 2 * plan->leg_timeout);
  if (step->type == STEP_SPOIL_LEG) {
    first = draw (sectors);
    step->offset = first * 512;
    step->length = 512 * between (1, min_u64 (8, sectors - first));
  }
}

static void
draw_file_trouble (struct plan *plan, unsigned epoch)
{
  static const enum step_type types[] = { STEP_FAIL_FILE, STEP_VANISH_FILE,
                                          STEP_HANG_FILE };
  struct step *step = add_step (plan, STEP_SLEEP, epoch, PLAN_CLIENTS);

  step->length = odds (1, 3) ? draw_sleep (plan) : between (1, 5 * MILLISECOND);
  step = add_step (plan, ONE_OF (types), epoch, PLAN_CLIENTS);
  if (step->type == STEP_HANG_FILE)
    step->length = odds (1, 3) ? between (MILLISECOND, SECOND)
                               : between (1, 3 * plan->leg_timeout);
}

/* Mostly it is given. */
static unsigned
draw_bitmap (void)
{
  static const unsigned bitmaps[] = {
    PLAN_BITMAP_GIVEN, PLAN_BITMAP_GIVEN,     PLAN_BITMAP_GIVEN,
    PLAN_BITMAP_GIVEN, PLAN_BITMAP_GIVEN,     PLAN_BITMAP_NONE,
    PLAN_BITMAP_NONE,  PLAN_BITMAP_FORGOTTEN, PLAN_BITMAP_UNTOLD,
  };

  return ONE_OF (bitmaps);
}

/* The source fails while resync and the first requests are under way. */
static void
draw_early_loss (struct plan *plan)
{
  static const enum step_type types[] = { STEP_VANISH_LEG, STEP_RESTART_LEG,
                                          STEP_FAIL_LEG };
  struct step *step = add_step (plan, STEP_SLEEP, 0, PLAN_CLIENTS);

  step->length = between (1, odds (1, 2) ? 100 * MICROSECOND : MILLISECOND);
  step = add_step (plan, ONE_OF (types), 0, PLAN_CLIENTS);
  step->leg = plan->write_mostly == 1 ? 1 : 0;
}

static void
draw_end (struct draft *draft, unsigned number)
{
  struct epoch *epoch = &draft->plan->epoch[number];
  enum step_type type = STEP_STOP;
  uint64_t n = draw (8);
  struct step *step;

  epoch->kill = odds (1, 3);
  if (n < 4) {
    epoch->crash_at = odds (1, 3) ? between (10, 300) : between (10, 3000);
    return;
  }
  if (n < 6)
    type = STEP_CRASH;
  else if (odds (1, 2))
    type = STEP_STOP_BUSY;
  if (type != STEP_STOP) {
    step = add_step (draft->plan, STEP_SLEEP, number, PLAN_CLIENTS);
    step->length = draw_sleep (draft->plan);
  }
  (void)add_step (draft->plan, type, number, PLAN_CLIENTS);
}

/* ---- all together ---- */

static bool
any_errs (const struct plan *plan)
{
  for (unsigned i = 0; i < plan->legs; ++i)
    if (plan->faults[i].flush_error + plan->faults[i].write_error
            + plan->faults[i].hang
        > 0)
      return true;
  return false;
}

/* What some clients do first. */
static uint64_t
draw_habit (struct draft *draft, unsigned epoch, uint64_t n)
{
  const bool edge = draft->plan->size / draft->plan->chunk > PAGE_EDGE + 1;

  if (n > 3 && odds (1, edge ? 2 : STREAMS))
    return draw_stream (draft, epoch, n);
  return odds (1, BUSY) ? draw_busy (draft, epoch, n) : 0;
}

static void
draw_epochs (struct draft *draft)
{
  struct plan *plan = draft->plan;
  uint64_t left = between (5, plan->size >= BIG_SIZE ? 15 : 60);
  uint64_t spared = odds (1, 50) ? PLAN_LEGS : draw (plan->legs);
  uint64_t trouble = odds (1, 2) ? between (1, 4) : 0;

  if (draft->subject != SUBJECT_ANY && draft->subject != SUBJECT_LAST_LEG)
    trouble = 0;
  if (draft->subject == SUBJECT_EDGES && !any_errs (plan))
    draw_early_loss (plan);

  plan->epochs = 1 + (unsigned)draw (1 + draw (PLAN_EPOCHS));
  for (unsigned i = 0; i < plan->epochs; ++i) {
    bool last = i + 1 == plan->epochs;
    uint64_t n = last ? left : draw (left + 1);

    left -= n;
    plan->epoch[i].order = (unsigned)draw (24);
    plan->epoch[i].read_only = odds (1, 15);
    if (draft->subject == SUBJECT_ANY)
      n -= draw_habit (draft, i, n);
    while (n-- > 0)
      draw_request (draft, i);
    for (n = last ? trouble : draw (trouble + 1); n > 0; --n) {
      if (plan->bitmap_file != PLAN_NO_FILE && odds (1, 2))
        draw_file_trouble (plan, i);
      else
        draw_trouble (draft, i, spared);
      trouble--;
    }
    if (plan->bitmap_file != PLAN_NO_FILE)
      plan->epoch[i].bitmap = draw_bitmap ();
    draw_end (draft, i);
  }
}

static enum subject
draw_subject (const struct plan *plan)
{
  uint64_t n = draw (24);

  if (plan->size >= BIG_SIZE || n > 8)
    return SUBJECT_ANY;
  if (n == 0)
    return SUBJECT_CROWD;
  if (n > 6)
    return SUBJECT_FLUSHES;
  return n < 3 ? SUBJECT_LAST_LEG : SUBJECT_EDGES;
}

static void
draw_hot (struct draft *draft)
{
  const struct plan *plan = draft->plan;
  const uint64_t chunks = (plan->size + plan->chunk - 1) / plan->chunk;

  for (unsigned i = 0; i < HOT; ++i)
    draft->hot[i] = draw (chunks);
  if (draft->subject != SUBJECT_ANY && odds (1, 2))
    draft->hot[1] = draft->hot[2] = draft->hot[0];
  if (chunks > PAGE_EDGE + 1) {
    draft->hot[0] = PAGE_EDGE;
    draft->hot[1] = odds (1, 2) ? PAGE_EDGE + 1 : PAGE_EDGE - 1;
  }
}

struct plan *
plan_new (uint64_t seed)
{
  struct plan *plan = calloc (1, sizeof *plan);
  struct draft draft = { .plan = plan };

  if (!plan)
    abort ();
  plan->seed = seed;
  plan->steps = calloc (MAX_STEPS, sizeof plan->steps[0]);
  if (!plan->steps)
    abort ();
  plan_draw_array (plan);
  draft.subject = draw_subject (plan);
  switch (draft.subject) {
  case SUBJECT_CROWD:
    draw_crowd (plan);
    break;
  case SUBJECT_LAST_LEG:
    draw_decay (plan);
    break;
  case SUBJECT_EDGES:
    draw_edges (plan);
    break;
  case SUBJECT_FLUSHES:
    draw_flushes (plan);
    break;
  default:
    draw_faults (plan);
    break;
  }
  if (plan->metadata == PLAN_0_90)
    plan->size = round_up (plan->size, 1024);
  plan_draw_bad_blocks (plan);
  plan->resync_from = min_u64 (plan->resync_from, plan->size);
  draw_world (plan);
  draft.clients = PLAN_CLIENTS;
  if (draft.subject != SUBJECT_CROWD && draft.subject != SUBJECT_EDGES)
    draft.clients = 1 + (unsigned)draw (PLAN_CLIENTS);
  draw_hot (&draft);
  draw_epochs (&draft);
  return plan;
}

void
plan_free (struct plan *plan)
{
  if (!plan)
    return;
  free (plan->steps);
  free (plan);
}

struct plan *
plan_copy (const struct plan *plan)
{
  struct plan *copy = malloc (sizeof *copy);

  if (!copy)
    abort ();
  *copy = *plan;
  copy->steps = calloc (plan->nsteps + 1, sizeof copy->steps[0]);
  if (!copy->steps)
    abort ();
  if (plan->nsteps > 0)
    memcpy (copy->steps, plan->steps, plan->nsteps * sizeof copy->steps[0]);
  return copy;
}
