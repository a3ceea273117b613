/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Lives of an array, one after the other.
 *
 * The disks and the model outlive a life; its world, and with it all memory
 * of the library, does not.  One OS thread, no locks; the array's fields are
 * only looked at between two steps of the world.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "array/internal.h"
#include "sim/chance.h"
#include "sim/run.h"
#include "sim/trace.h"

/* More than any life needs: a life that gets here goes round in circles. */
#define MAX_STEPS 3000000

struct run_counters run_counters;

/* ---- one life ---- */

/* What the exhaustive mode knows a state by. */
static void
sign (struct life *life, unsigned leg, const struct io *io, uint64_t what)
{
  uint64_t hash = life->signature ^ what;

  if (!life->wants_signature)
    return;
  hash = (hash ^ leg ^ (uint64_t)io->type << 8 ^ (uint64_t)io->flags << 16)
         * UINT64_C (0x9e3779b97f4a7c15);
  hash = (hash ^ io->offset ^ io->length << 32) * UINT64_C (0x9e3779b97f4a7c15);
  for (uint64_t i = 0; io->type == IO_WRITE && i < io->length; i += 8)
    hash = (hash ^ hash >> 31 ^ get_le64 (io->data + i))
           * UINT64_C (0x9e3779b97f4a7c15);
  life->signature = hash;
}

static void
watch_submit (void *opaque, unsigned leg, const struct io *io)
{
  struct life *life = opaque;
  const struct legs_watcher *watcher = oracle_watcher (life->oracle);

  sign (life, leg, io, 1);
  watcher->submit (watcher->opaque, leg, io);
}

static void
watch_done (void *opaque, unsigned leg, const struct io *io, int result)
{
  struct life *life = opaque;
  const struct legs_watcher *watcher = oracle_watcher (life->oracle);

  sign (life, leg, io, 2 + (uint64_t)-result);
  watcher->done (watcher->opaque, leg, io, result);
}

/* The file that array_open will find, or NULL. */
static struct disk *
life_given_file (const struct life *life)
{
  return life->bitmap == ARRAY_BITMAP_FILE && life->file_gone == 0 ? life->file
                                                                   : NULL;
}

void
life_begin (struct life *life, const struct world_options *options)
{
  const struct run *run = life->run;

  life->world = world_new (options);
  life->array = NULL;
  life->opened = 1;
  life->busy = 0;
  life->crash = life->stopped = false;
  life->recorded = false;
  life->stopping = life->refusing = life->late = false;
  life->oracle = oracle_new (&run->geometry, life->disks, run->plan->legs,
                             life->read_only);
  life->watcher.submit = watch_submit;
  life->watcher.done = watch_done;
  life->watcher.opaque = life;
  legs_attach (life->world, life->disks, run->plan->legs + run->plan->spare,
               &life->watcher);
  oracle_set_file (life->oracle, life->file, life->apart);
  legs_attach_file (life->world, life_given_file (life), &run->geometry.file);
}

void
life_end (struct life *life)
{
  world_free (life->world);
  life->world = NULL;
  life->array = NULL;
  life->oracle = NULL;
}

void
life_free (struct life *life)
{
  for (unsigned i = 0; i < PLAN_LEGS; ++i) {
    if (life->disks[i])
      disk_free (life->disks[i]);
    if (life->absent[i])
      disk_free (life->absent[i]);
    life->disks[i] = life->absent[i] = NULL;
  }
  disk_free (life->file);
  life->file = NULL;
  model_free (life->model);
  life->model = NULL;
}

static unsigned
leg_number (const struct leg *leg)
{
  return (unsigned)(leg->name[sizeof "/leg/" - 1] - '0');
}

/* The legs that the array has in sync, by their numbers on paths. */
static unsigned
array_in_sync_mask (const struct array *array)
{
  unsigned mask = 0;

  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC)
      mask |= 1u << leg_number (&array->legs[i]);
  return mask;
}

static bool
any_faulty (const struct life *life)
{
  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    if (life->disks[i] && disk_was_faulty (life->disks[i]))
      return true;
  return false;
}

/* array_open has returned: was that right? */
static void
compare_open (struct life *life)
{
  const struct verdict *verdict = &life->verdict;
  unsigned in_sync;

  trace_mix ((uint64_t)life->opened);
  /* A note that cannot be read says nothing. */
  if (life->opened == 0 && verdict->refused
      && !(verdict->bitmap && any_faulty (life)))
    violation ("I12", "assembly accepts what must be refused: %s",
               verdict->why);
  if (life->opened != 0) {
    run_counters.refused++;
    if (!verdict->refused && !any_faulty (life)
        && !(life->file && disk_was_faulty (life->file)))
      violation ("I25", "assembly refuses (%s) what is whole: legs %x in sync",
                 strerror (-life->opened), verdict->in_sync);
    return;
  }
  in_sync = array_in_sync_mask (life->array);
  if (!life->apart)
    life->in_sync = in_sync;
  if (any_faulty (life))
    return;
  if (in_sync != verdict->in_sync)
    violation ("I3b", "assembly has legs %x in sync, expected %x", in_sync,
               verdict->in_sync);
}

static void
hook (void *opaque)
{
  struct life *life = opaque;

  if (life->opened <= 0 && !life->compared) {
    life->compared = true;
    compare_open (life);
  }
  if (life->array && !life->apart)
    life->in_sync = array_in_sync_mask (life->array);
  if (life->each)
    life->each (life);
  if (life->crash_step > 0 && world_steps (world) >= life->crash_step)
    life->crash = true;
  if (life->crash)
    world_stop (world);
}

bool
life_run (struct life *life)
{
  life->compared = false;
  world_set_hook (life->world, hook, life);
  switch (world_run (life->world, MAX_STEPS)) {
  case WORLD_ENDED:
    return true;
  case WORLD_STOPPED:
    trace ("the end has come");
    return false;
  case WORLD_STUCK:
    world_explain (life->world);
    violation ("I25", "everybody waits for ever");
  case WORLD_ENDLESS:
    world_explain (life->world);
    violation ("I25", "no end after %d steps", MAX_STEPS);
  }
  abort ();
}

/* ---- the end of one ---- */

/* Some blocks may be bad on all legs: what was rewritten there and not flushed
 * is bad again for the next server, though the legs' caches may have it.
 */
static bool
all_have_bad (const struct life *life)
{
  for (unsigned i = 0; i < life->run->plan->legs; ++i)
    if (life->run->geometry.nbad[i] == 0)
      return false;
  return true;
}

void
life_model_end (const struct life *life, struct model *model, bool kill)
{
  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    if (life->disks[i] && disk_lost_cache (life->disks[i]))
      kill = false;
  if (all_have_bad (life))
    kill = false;
  if (kill)
    model_kill (model);
  else
    model_crash (model);
}

/* ---- what must be given for the next one ---- */

void
life_set_faults (struct life *life)
{
  const struct plan *plan = life->run->plan;
  const struct disk_faults none = { .slow = 0 };

  life->faults = false;
  for (unsigned i = 0; i < plan->legs; ++i)
    if (life->disks[i] && memcmp (&plan->faults[i], &none, sizeof none) != 0) {
      disk_set_faults (life->disks[i], &plan->faults[i]);
      life->faults = true;
    }
  if (life->file)
    disk_set_faults (life->file, &plan->file_faults);
}

void
life_wishes (const struct life *life, struct wishes *wishes)
{
  *wishes = (struct wishes){ .degraded = life->degraded,
                             .read_only = life->read_only,
                             .forced = life->forced,
                             .source = life->source,
                             .bitmap = life->bitmap };
}

static void
ask_reference (struct life *life)
{
  struct wishes wishes;

  life_wishes (life, &wishes);
  reference_assemble (&life->run->geometry, life->disks, life->run->plan->legs,
                      life_given_file (life), &wishes, &life->verdict);
}

bool
life_choose_degraded (struct life *life)
{
  struct verdict *verdict = &life->verdict;

  life->apart = false;
  life->degraded = ARRAY_DEGRADED_ALLOW;
  ask_reference (life);
  /* If the freshest leg could not be read, "allow" would be a mistake. */
  if (!life->faults && !verdict->refused && verdict->in_sync != 0
      && (verdict->in_sync & ~life->in_sync) == 0
      && chance (CHANCE_CRASH, 1, 2))
    return true;
  /* Nobody who is careful would say "allow" here. */
  life->degraded = chance (CHANCE_CRASH, 1, 16) ? ARRAY_DEGRADED_REFUSE
                                                : ARRAY_DEGRADED_AUTO;
  ask_reference (life);
  /* Who only reads is served what there is, be it old. */
  life->apart = life->read_only
                && (life->faults || (verdict->in_sync & ~life->in_sync) != 0);
  return !verdict->refused;
}

/* ---- the lives of a plan ---- */

static const char *
bitmap_string (const struct life *life)
{
  if (!life->file)
    return "";
  switch (life->bitmap) {
  case ARRAY_BITMAP_NONE:
    return ", bitmap=none";
  case ARRAY_BITMAP_FILE:
    return life->file_gone ? ", with a file that is not there"
                           : ", with the file";
  default:
    return ", without a word on the bitmap";
  }
}

/* When to look at what a crash would leave: at the moments that matter, each
 * of them often at first, and now and then at any other time.
 */
static void
check_sometimes (struct life *life)
{
  enum oracle_moment moment = oracle_moment (life->oracle);
  struct run *run = life->run;
  uint64_t odds = 300;

  if (moment != MOMENT_NONE)
    odds = 2 + 4 * (uint64_t)run->checked[moment];
  if (run->checks_left == 0 || !chance (CHANCE_CRASH, 1, odds))
    return;
  run->checks_left--;
  run->checked[moment]++;
  crash_check (life, moment);
}

/* One that has failed is back as well, and must not be believed. */
static void
replace_file (struct life *life, bool kill)
{
  struct disk *file = life->file, *next;

  if (!file)
    return;
  if (kill)
    next = disk_after_kill (file);
  else
    next = disk_after_crash (
        file, (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES));
  if (life->file_gone > 0)
    life->file_gone--;
  if (disk_state (file) == DISK_VANISHED)
    life->file_gone = 1;
  disk_free (file);
  life->file = next;
}

/* A disk that has failed for good stays away; one that has vanished is back
 * with what was durable.
 */
static void
replace_disks (struct life *life, const struct plan *plan, bool kill)
{
  life_model_end (life, life->model, kill);
  for (unsigned i = 0; i < plan->legs; ++i) {
    struct disk *disk = life->disks[i], *next;

    if (!disk)
      continue;
    if (kill)
      next = disk_after_kill (disk);
    else
      next = disk_after_crash (
          disk, (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES));
    life->disks[i] = NULL;
    if (disk_state (disk) == DISK_FAILED)
      life->absent[i] = next;
    else
      life->disks[i] = next;
    disk_free (disk);
  }
  replace_file (life, kill);
  if (plan->spare) {
    struct disk *spare = life->disks[plan->legs];

    life->disks[plan->legs] = disk_after_kill (spare);
    disk_free (spare);
  }
}

static void
run_epoch (struct life *life, const struct plan *plan, unsigned number)
{
  const struct epoch *epoch = &plan->epoch[number];
  bool ended;

  life->run->epoch = number;
  life->order = epoch->order;
  life->crash_step = epoch->crash_at;
  life_begin (life, &plan->world);
  trace ("epoch %u: legs given, degraded=%d%s%s", number, life->degraded,
         life->read_only ? ", read-only" : "", bitmap_string (life));
  clients_start (life);
  life->each = check_sometimes;
  ended = life_run (life);
  trace ("epoch %u: %s%s", number, ended ? "has ended" : "has crashed",
         epoch->kill ? ", the power stays on" : "");
  replace_disks (life, plan, epoch->kill);
  life_end (life);
}

/* Something is said of the bitmap that must be refused, and is. */
static void
run_refused (struct life *life, const struct plan *plan)
{
  life->crash_step = 0;
  life_begin (life, &plan->world);
  trace ("to be refused: %s%s", life->verdict.why, bitmap_string (life));
  clients_start (life);
  life->each = NULL;
  (void)life_run (life);
  replace_disks (life, plan, true);
  life_end (life);
}

/* False: it is refused, and not for what is said of the bitmap. */
static bool
choose_life (struct life *life, const struct epoch *epoch, int bitmap)
{
  life->bitmap = life->file ? bitmap : ARRAY_BITMAP_AUTO;
  life_set_faults (life);
  life->read_only = epoch->read_only;
  return life_choose_degraded (life);
}

static bool
begin_epoch (struct life *life, const struct plan *plan, unsigned number)
{
  static const int first[] = {
    [PLAN_BITMAP_GIVEN] = ARRAY_BITMAP_FILE,
    [PLAN_BITMAP_NONE] = ARRAY_BITMAP_NONE,
    [PLAN_BITMAP_FORGOTTEN] = ARRAY_BITMAP_AUTO,
    [PLAN_BITMAP_UNTOLD] = ARRAY_BITMAP_AUTO,
  };
  const struct epoch *epoch = &plan->epoch[number];
  int bitmap = first[epoch->bitmap];

  while (!choose_life (life, epoch, bitmap)) {
    if (!life->verdict.bitmap)
      return false;
    run_refused (life, plan);
    bitmap =
        bitmap == ARRAY_BITMAP_AUTO && epoch->bitmap == PLAN_BITMAP_FORGOTTEN
            ? ARRAY_BITMAP_FILE
            : ARRAY_BITMAP_NONE;
  }
  return true;
}

void
run_plan (const struct plan *plan)
{
  struct run run = { .plan = plan, .checks_left = plan->checks };
  struct life life = { .run = &run };

  chance_seed (plan->seed);
  run_counters.runs++;
  life.model = model_new (plan->size, plan->cell);
  oracle_format (plan, life.model, life.disks, &life.file, &run.geometry);
  life.in_sync = (1u << plan->legs) - 1;
  for (unsigned i = 0; i < plan->epochs; ++i) {
    struct disk *images[PLAN_LEGS];

    if (i > 0) {
      oracle_judge_images (&run.geometry, life.disks, plan->legs, life.file,
                           life.model);
      for (unsigned k = 0; k < plan->legs; ++k)
        images[k] = life.disks[k] ? disk_after_kill (life.disks[k]) : NULL;
      crash_check_images (&life, images,
                          life.file ? disk_after_kill (life.file) : NULL,
                          MOMENT_NONE);
    }
    if (!begin_epoch (&life, plan, i))
      break;
    run_epoch (&life, plan, i);
  }
  life_free (&life);
}
