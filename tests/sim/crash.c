/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What would be left if the power went now, or the server were killed?
 *
 * A cycle: draw an image that a crash may leave of each disk, look at the
 * images by themselves, give some of them in some order to the library in a
 * world of its own, let it assemble, serve, resync and stop, and look at
 * everything that it does.  In some of these worlds the power goes again, or
 * a server is killed again.  After a kill the disks keep their caches, and it
 * is the next loss of power that takes from them what both servers wrote.
 * The outer life is paused meanwhile and notices nothing.
 *
 * A disk that is not given to an inner life is kept as absent, and may be
 * given after the next crash: it must never win over what was written
 * without it.
 *
 * Now and then somebody makes a split brain: he starts a part of the legs
 * alone, says "allow", whatever they lack, and then the others.  All of them
 * together must be refused after, until he names the one to believe.
 */

#include <config.h>

#include <string.h>

#include "array/array.h"
#include "sim/chance.h"
#include "sim/run.h"
#include "sim/trace.h"

/* Crashes during recoveries from crashes during ... */
#define MAX_DEPTH 4

/* So many ends are kills. */
static bool
draw_kill (void)
{
  return chance (CHANCE_CRASH, 1, 4);
}

/* As this end leaves the disk. */
static struct disk *
disk_after_end (const struct disk *disk, bool kill, enum disk_loss loss)
{
  return kill ? disk_after_kill (disk) : disk_after_crash (disk, loss);
}

/* The bitmap's, if there is one. */
static struct disk *
file_after_end (const struct life *life, bool kill)
{
  if (!life->file)
    return NULL;
  return disk_after_end (life->file, kill,
                         (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES));
}

/* What is said of the bitmap: the file is mostly given, and sometimes cannot be
 * opened.
 */
static void
choose_bitmap (struct life *inner)
{
  static const int bitmaps[] = { ARRAY_BITMAP_FILE, ARRAY_BITMAP_FILE,
                                 ARRAY_BITMAP_FILE, ARRAY_BITMAP_FILE,
                                 ARRAY_BITMAP_NONE, ARRAY_BITMAP_AUTO };

  inner->bitmap = ARRAY_BITMAP_AUTO;
  if (!inner->file)
    return;
  inner->bitmap = bitmaps[choose (CHANCE_CRASH, 6)];
  inner->file_gone = chance (CHANCE_CRASH, 1, 30);
}

/* Which disks are given: mostly all. */
static void
choose_disks (struct life *inner, struct disk **images, unsigned n)
{
  unsigned given = (1u << n) - 1;

  if (chance (CHANCE_CRASH, 1, 3))
    given = 1 + (unsigned)choose (CHANCE_CRASH, given);
  for (unsigned i = 0; i < n; ++i)
    if (given >> i & 1)
      inner->disks[i] = images[i];
    else
      inner->absent[i] = images[i];
}

static bool
any_given (const struct life *life)
{
  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    if (life->disks[i])
      return true;
  return false;
}

static bool
all_given (struct disk *const *images, unsigned n)
{
  for (unsigned i = 0; i < n; ++i)
    if (!images[i])
      return false;
  return true;
}

/* How the inner world is scheduled: mostly fast. */
static void
choose_options (const struct plan *plan, struct world_options *options)
{
  *options = plan->world;
  if (chance (CHANCE_CRASH, 3, 4)) {
    options->policy = WORLD_RANDOM;
    options->switch_per_1000 = 5;
    options->jump_per_1000000 = 0;
  }
}

static void
after_inner_crash (struct life *inner, enum oracle_moment moment)
{
  const unsigned n = inner->run->plan->legs;
  enum disk_loss loss = (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES);
  struct disk *images[PLAN_LEGS] = { NULL };
  bool kill = draw_kill ();

  run_counters.kills += kill;
  for (unsigned i = 0; i < n; ++i)
    if (inner->disks[i])
      images[i] = disk_after_end (inner->disks[i], kill, loss);
    else if (inner->absent[i])
      images[i] = disk_after_end (inner->absent[i], kill, loss);
  life_model_end (inner, inner->model, kill);
  trace ("cycle: after a %s", kill ? "kill" : "crash");
  run_counters.nested++;
  crash_check_images (inner, images, file_after_end (inner, kill), moment);
}

/* ---- split brains ---- */

/* With these of the inner life's disks alone, from open to an orderly stop, or
 * to a crash at that step of its world, or to a violation.
 */
static void
serve_apart (struct life *inner, struct disk **images, unsigned given,
             bool with_file, uint64_t crash_step)
{
  const struct oracle_geometry *geometry = &inner->run->geometry;
  const unsigned n = inner->run->plan->legs;
  struct world_options options;
  struct wishes wishes;
  bool kill = draw_kill ();
  struct disk *file;

  for (unsigned i = 0; i < n; ++i)
    inner->disks[i] = given >> i & 1 ? images[i] : NULL;
  inner->degraded = ARRAY_DEGRADED_ALLOW;
  inner->apart = true;
  choose_bitmap (inner);
  if (inner->bitmap == ARRAY_BITMAP_FILE && !with_file)
    inner->bitmap = ARRAY_BITMAP_NONE;
  life_wishes (inner, &wishes);
  reference_assemble (geometry, inner->disks, n,
                      inner->file_gone ? NULL : inner->file, &wishes,
                      &inner->verdict);
  inner->order = (unsigned)choose (CHANCE_CRASH, 24);
  inner->crash_step = crash_step;
  choose_options (inner->run->plan, &options);
  life_begin (inner, &options);
  clients_recover (inner);
  (void)life_run (inner);
  for (unsigned i = 0; i < n; ++i) {
    if (!inner->disks[i])
      continue;
    images[i] =
        disk_after_end (inner->disks[i], kill,
                        (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES));
    disk_free (inner->disks[i]);
    inner->disks[i] = NULL;
  }
  file = file_after_end (inner, kill);
  disk_free (inner->file);
  inner->file = file;
  life_end (inner);
}

/* These alone.  Where a file goes with them, they go on with it for a while. */
static void
serve_half (struct life *inner, struct disk **images, unsigned given,
            bool with_file)
{
  const bool several = inner->file && with_file && chance (CHANCE_CRASH, 1, 2);

  for (unsigned i = several ? 4 : 1; i > 0; --i)
    serve_apart (inner, images, given, with_file,
                 inner->file && chance (CHANCE_CRASH, 1, 2)
                     ? 1 + choose (CHANCE_CRASH, 300)
                     : 0);
}

/* Somebody chooses one.  He may be interrupted, and chooses again. */
static void
settle (struct life *inner, struct disk **images, unsigned n)
{
  const unsigned all = (1u << n) - 1;
  const unsigned lives = 1 + (unsigned)choose (CHANCE_CRASH, 4);

  run_counters.forced++;
  inner->source = (unsigned)choose (CHANCE_CRASH, n);
  for (unsigned i = 0; i < lives; ++i) {
    inner->forced = i == 0 || chance (CHANCE_CRASH, 2, 3);
    inner->record = inner->forced && chance (CHANCE_CRASH, 1, 2);
    inner->read_only = chance (CHANCE_CRASH, 1, 20);
    if (chance (CHANCE_CRASH, 1, 3))
      inner->source = (unsigned)choose (CHANCE_CRASH, n);
    trace ("cycle: %s leg %u%s", inner->forced ? "forced" : "as it is",
           inner->source, inner->record ? ", record only" : "");
    serve_apart (
        inner, images, all, true,
        chance (CHANCE_CRASH, 1, 2) ? 1 + choose (CHANCE_CRASH, 200) : 0);
    if (inner->forced && inner->recorded)
      oracle_judge_settled (&inner->run->geometry, images, n, inner->source);
  }
  inner->forced = inner->record = inner->read_only = false;
  if (chance (CHANCE_CRASH, 1, 2))
    serve_apart (inner, images, all, true, 0);
}

/* The images are the inner life's at the end. */
static void
split (struct life *inner, struct disk **images, unsigned n)
{
  const unsigned all = (1u << n) - 1;
  const unsigned part = 1 + (unsigned)choose (CHANCE_CRASH, all - 1);

  /* The file is one half's: that it has been with the others only these could
   * tell.
   */
  const bool with_file = chance (CHANCE_CRASH, 1, 2);

  trace ("cycle: legs %x alone, then legs %x", part, all & ~part);
  run_counters.splits++;
  serve_half (inner, images, part, with_file);
  serve_half (inner, images, all & ~part, !with_file);
  inner->read_only = chance (CHANCE_CRASH, 1, 3);
  serve_apart (inner, images, all, true, 0);
  inner->read_only = false;
  if (chance (CHANCE_CRASH, 2, 3))
    settle (inner, images, n);
  for (unsigned i = 0; i < n; ++i)
    inner->absent[i] = images[i];
}

/* ---- cycles ---- */

/* The images are the inner life's from now on. */
static void
recover (struct life *inner, enum oracle_moment moment)
{
  const struct plan *plan = inner->run->plan;
  struct world_options options;

  if (!any_given (inner))
    return;
  if (chance (CHANCE_CRASH, 1, 5))
    life_set_faults (inner);
  inner->read_only = chance (CHANCE_CRASH, 1, 20);
  choose_bitmap (inner);
  (void)life_choose_degraded (inner); /* refused: the library must say so */
  inner->order = (unsigned)choose (CHANCE_CRASH, 24);
  if (inner->depth < MAX_DEPTH && chance (CHANCE_CRASH, 1, 5))
    inner->crash_step = 1 + choose (CHANCE_CRASH, 400);
  choose_options (plan, &options);
  life_begin (inner, &options);
  clients_recover (inner);
  if (!life_run (inner))
    after_inner_crash (inner, moment);
  life_end (inner);
}

void
crash_check_images (struct life *life, struct disk **images, struct disk *file,
                    enum oracle_moment moment)
{
  struct life inner = { .run = life->run,
                        .depth = life->depth + 1,
                        .file = file,
                        .in_sync = life->in_sync };
  const unsigned n = life->run->plan->legs;

  chance_push (chance_bits (CHANCE_CRASH));
  trace ("cycle: %s", oracle_moment_string (moment));
  run_counters.cycles++;
  run_counters.moments[moment]++;
  inner.model = model_copy (life->model);
  oracle_judge_images (&life->run->geometry, images, n, file, inner.model);
  if (life->run->plan->spare && life->disks[n])
    inner.disks[n] = disk_after_kill (life->disks[n]);
  if (all_given (images, n)
      && chance (CHANCE_CRASH, 1, inner.file && n > 2 ? 12 : 60))
    split (&inner, images, n);
  else {
    choose_disks (&inner, images, n);
    recover (&inner, moment);
  }
  life_free (&inner);
  chance_pop ();
}

void
crash_check (struct life *life, enum oracle_moment moment)
{
  const unsigned n = life->run->plan->legs;
  enum disk_loss loss = (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES);
  struct disk *images[PLAN_LEGS] = { NULL };
  const bool spare = life->run->plan->spare;
  struct life crashed = { .run = life->run,
                          .depth = life->depth,
                          .in_sync = life->in_sync };
  bool kill = draw_kill ();

  run_counters.kills += kill;
  for (unsigned i = 0; i < n; ++i) {
    if (!kill && chance (CHANCE_CRASH, 1, 2))
      loss = (enum disk_loss)choose (CHANCE_CRASH, DISK_LOSSES);
    if (life->disks[i])
      images[i] = disk_after_end (life->disks[i], kill, loss);
    else if (life->absent[i])
      images[i] = disk_after_end (life->absent[i], kill, loss);
  }
  crashed.model = model_copy (life->model);
  life_model_end (life, crashed.model, kill);
  trace ("cycle: after a %s", kill ? "kill" : "crash");
  if (spare)
    crashed.disks[n] = life->disks[n];
  crash_check_images (&crashed, images, file_after_end (life, kill), moment);
  model_free (crashed.model);
}
