/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Metadata updates: events, roles, clean and not clean; of any version.
 *
 * An update writes a new generation: first the bitmap's header with the new
 * events on all legs, then the superblocks, in two waves (one leg, wait, the
 * others) so that at no instant every superblock is being overwritten.  One
 * thread leads, those who need an update that starts later than now wait
 * for the next.
 *
 * Invariants:
 *   1. events is durable on every in-sync leg when a generation is begun
 *      (after assembly the leader brings legs that are behind up to it
 *      first); so an update moves each leg by what the kernel tolerates, one;
 *      but see next_events.
 *   2. events_tried is the highest number that any leg, failed ones
 *      included, may carry in its superblock, and the table is what that
 *      generation says.  It was begun when the first superblock was about to
 *      be submitted.  Whatever happens then, it is completed with the same
 *      contents before the next is begun: no number ever stands for two.
 *      For the same reason a bitmap's header, which is written before, never
 *      leads the superblocks of its leg by more than a few, however often
 *      they fail to be written.
 *   3. When the loss of a leg is on record, the survivors are ahead of
 *      anything that the lost leg may carry by at least two (margin), and
 *      say that it is faulty.  With one survivor that is one update; with
 *      several it is as many complete updates of one as it takes.  Nothing
 *      rests on the record before the last of them is durable.  When that of a
 *      bitmap file is, they are ahead of anything that the file may carry.
 *   4. We always count up.
 *
 * The state of the array (activity) follows the flag clean:
 *
 *   CLEAN --> GOING_ACTIVE    a write has arrived
 *   GOING_ACTIVE --> ACTIVE   not-clean is durable on all legs
 *   GOING_ACTIVE --> CLEAN    it could not be written
 *   ACTIVE --> GOING_CLEAN    no write in flight, all bits clear, or a stop
 *   GOING_CLEAN --> CLEAN     written, or maybe written: the next write must
 *                             make it active again in both cases
 *   GOING_CLEAN --> ACTIVE    it was not even tried: a flush failed
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/internal.h"

/* A gap in events that is crossed one by one, by several legs. */
#define EVENTS_STEPS_MAX 64

/* ---- superblocks ---- */

/* Bring a leg's superblock up to the generation, and encode it.  A bad-block
 * list that has become empty is no longer announced once what was rewritten is
 * durable on the leg.
 */
static struct buffer *
render (struct array *array, struct leg *leg, uint64_t events, bool clean)
{
  struct superblock *sb = leg->superblock;
  struct buffer *buffer = buffer_new_zero (SUPERBLOCK_BYTES);

  if (!buffer)
    return NULL;
  sb->events = events;
  sb->utime = superblock_time (rt_wall_clock ());
  sb->resync_offset = clean ? RESYNC_CLEAN : 0;
  if (!leg->bad || leg->bad_flushed->n == 0)
    sb->feature_map &= ~(uint32_t)FEATURE_BAD_BLOCKS;
  superblock_adopt_roles (sb, array->table);
  superblock_encode (sb, buffer->data);
  array_render_note (array, leg, buffer->data);
  return buffer;
}

/* After the batch: fail the legs that failed.  supers: of each leg, the
 * operation that wrote its superblock.
 */
static int
judge (struct array *array, struct io_batch *batch, struct leg **legs,
       struct io *const *supers, unsigned n, uint64_t events)
{
  int results[ARRAY_MAX_LEGS] = { 0 };

  for (unsigned i = 0; i < n; ++i) {
    legs[i]->written++;
    if (supers[i]->result == 0)
      legs[i]->events = events;
    for (unsigned k = 0; k < io_batch_count (batch); ++k) {
      const struct io *io = io_batch_get (batch, k);

      if (io->device == legs[i]->device && io->result != 0)
        results[i] = io->result;
    }
    leg_bad_log_written (legs[i], batch);
  }
  return legs_fail (array, legs, results, n, "writing the superblock") ? 0
                                                                       : -EIO;
}

/* The leg's superblock into the batch. */
static struct io *
add_superblock (struct array *array, struct leg *leg, struct io_batch *batch,
                uint64_t events, bool clean)
{
  struct buffer *buffer = render (array, leg, events, clean);
  struct io *io = NULL;

  if (buffer)
    io = io_batch_add (batch, leg->device, IO_WRITE, IO_FUA,
                       leg->superblock->super_offset * SECTOR_SIZE,
                       round_up (superblock_length (leg->superblock),
                                 leg->device->limits.logical_block),
                       buffer, 0);
  buffer_unref (buffer);
  return io;
}

/* Bad-block logs go with the superblocks, without what was rewritten and is
 * durable on the leg.
 */
static int
add_bad_logs (struct array *array, struct leg **legs, unsigned n,
              struct io_batch *batch)
{
  for (unsigned i = 0; i < n; ++i) {
    int r = leg_add_bad_log (array, legs[i], batch);

    if (r < 0)
      return r;
    if (r > 0)
      array->bad_logs_again = true;
  }
  return 0;
}

/* Write superblocks to these legs at once.  The lock is released for the
 * I/O.  A leg that fails is failed.  -EIO if the last leg could not take it,
 * or -ENOMEM if nothing was written.
 */
static int
write_superblocks (struct array *array, struct leg **legs, unsigned n,
                   uint64_t events, bool clean)
{
  struct io_batch *batch = io_batch_new (2 * n);
  struct io *supers[ARRAY_MAX_LEGS];
  int err = 0;

  if (!batch)
    return -ENOMEM;
  for (unsigned i = 0; i < n && err == 0; ++i) {
    supers[i] = add_superblock (array, legs[i], batch, events, clean);
    err = supers[i] ? 0 : -ENOMEM;
  }
  if (err == 0)
    err = add_bad_logs (array, legs, n, batch);
  if (err == 0) {
    for (unsigned i = 0; i < n; ++i)
      legs[i]->written++;
    array_run_batch (array, batch);
    err = judge (array, batch, legs, supers, n, events);
  }
  io_batch_unref (batch);
  return err;
}

/* Whoever holds a slot in the table and is not in sync is faulty there from now
 * on, be the slot filled by another leg or not; and so are the losers of a
 * split brain, who may not be in the table at all any more.  Only when a
 * generation is begun: until the next, the table is what that one says.
 */
static void
record_roles (struct array *array)
{
  struct superblock *table = array->table;

  for (uint32_t dev = 0; dev < table->max_dev; ++dev) {
    bool working = false;

    if (table->dev_roles[dev] > ROLE_LAST && !array_is_loser (array, dev))
      continue;
    for (unsigned i = 0; i < array->nlegs; ++i)
      if (array->legs[i].state == LEG_IN_SYNC
          && array->legs[i].superblock->dev_number == dev)
        working = true;
    if (!working) {
      log_debug (array->log, LOG_SUPERBLOCK,
                 "superblock: device %u, role 0x%x, recorded as faulty", dev,
                 table->dev_roles[dev]);
      table->dev_roles[dev] = ROLE_FAULTY;
    }
  }
}

/* ---- one update ---- */

/* Write the generation that has been begun to those of the legs that lack it:
 * ones that assembly found behind, or all but those that had it when a leg
 * failed, or memory ran out.  0: durable on all that are still in sync, if
 * none has failed meanwhile.  -EIO, -ENOMEM.
 */
static int
finish_generation (struct array *array, struct leg **legs, unsigned n)
{
  struct leg *behind[ARRAY_MAX_LEGS];
  bool clean = array->table->resync_offset == RESYNC_CLEAN;
  uint64_t failures = array->failures;
  unsigned nbehind = 0, first = 0;
  int err = 0;

  for (unsigned i = 0; i < n; ++i)
    if (legs[i]->events < array->events_tried)
      behind[nbehind++] = legs[i];
  if (nbehind == n) {
    /* The first wave; else somebody has it, and lies still. */
    err = write_superblocks (array, behind, 1, array->events_tried, clean);
    if (err != 0 || array->failures != failures)
      return err;
    first = 1;
  }
  if (first < nbehind)
    err = write_superblocks (array, behind + first, nbehind - first,
                             array->events_tried, clean);
  if (err == 0)
    array->events = array->events_tried;
  return err;
}

/* One complete generation on these legs, which all carry the previous one.  As
 * above.
 */
static int
write_generation (struct array *array, struct leg **legs, unsigned n,
                  uint64_t events, bool clean)
{
  uint64_t failures = array->failures;
  int err;

  log_debug (array->log, LOG_SUPERBLOCK,
             "superblock: events %ju -> %ju, %s, %u legs",
             (uintmax_t)array->events, (uintmax_t)events,
             clean ? "clean" : "active", n);
  array->metadata_updates++;
  err = bitmap_write_header (
      array->bitmap, max_u64 (events, bitmap_header (array->bitmap)->events),
      bitmap_header (array->bitmap)->events_cleared);
  if (err != 0 || array->failures != failures)
    return err;
  record_roles (array);
  array->table->resync_offset = clean ? RESYNC_CLEAN : 0;
  array->table->events = array->events_tried = events;
  return finish_generation (array, legs, n);
}

/* The resync source is written last: if no leg takes a superblock, it is the
 * one that stays.
 */
static void
put_source_last (struct array *array, struct leg **legs, unsigned n)
{
  struct leg *source = array_source (array);

  for (unsigned i = 0; i + 1 < n; ++i)
    if (legs[i] == source) {
      legs[i] = legs[i + 1];
      legs[i + 1] = source;
    }
}

/* How far the next generation may go.  A leg is left behind if another one is
 * two ahead, so several legs go one by one; a single one, so far that its
 * bitmap's header, which is written before it, is still believed.  But no
 * survivor may ever carry a number within one of that of a leg which lost a
 * split brain: kernels before 6.8 believe whoever is within one, whatever the
 * others say of it.  That part, and a gap that would take too long, is jumped
 * over: a crash then leaves survivors which look stale, that is less
 * redundancy, but no other data.
 */
static uint64_t
next_events (const struct array *array, unsigned n, uint64_t target)
{
  const uint64_t next = array->events + 1, lost = array->loser_events;

  if (target - array->events > EVENTS_STEPS_MAX)
    return target;
  if (n == 1 && !array->has_loser) /* the bitmap's header goes ahead */
    return min_u64 (target, array->events + HEADER_LEAD_MAX);
  if (n == 1)
    return target;
  if (array->has_loser && next + 1 >= lost && next < lost + 2)
    return lost + 2;
  return next;
}

/* Events that the next record of the failures counted so far must reach. */
static uint64_t
record_target (const struct array *array, uint64_t failures)
{
  uint64_t target = array->events_tried + max_u64 (array->lead, 1);

  if (array->recorded == failures)
    return target;
  /* The header leads by far if an earlier record was interrupted. */
  target = max_u64 (target, array->events_tried + array->margin);
  target = max_u64 (target, bitmap_header (array->bitmap)->events);
  if (array->file_state == BITMAP_FILE_FAILED)
    target = max_u64 (target, array->file_events + 1);
  /* The header of a file may be there already: a record that was interrupted.
   */
  return array->has_loser
             ? max_u64 (target, array->loser_events + 2 + array->lead)
             : target;
}

/* Bring the array to a generation that has the desired contents, and records
 * all failures counted so far.  -EAGAIN: more legs failed meanwhile.
 */
static int
attempt (struct array *array)
{
  struct leg *legs[ARRAY_MAX_LEGS];
  unsigned n = array_working_legs (array, legs);
  uint64_t failures = array->failures, target;
  bool clean = array->clean;
  int err;

  for (unsigned i = 0; i < n; ++i)
    if (leg_check_lost_writes (array, legs[i]) != 0)
      return -EIO;
  if (array->failures != failures)
    return -EAGAIN;
  put_source_last (array, legs, n);
  err = finish_generation (array, legs, n);
  if (array->failures != failures)
    return -EAGAIN;
  if (err != 0)
    return err;
  /* Now events is events_tried, and the turns are few. */
  target = record_target (array, failures);
  do {
    err = write_generation (array, legs, n, next_events (array, n, target),
                            clean);
    if (array->failures != failures)
      return -EAGAIN;
    if (err != 0)
      return err;
  } while (array->events < target);
  array->recorded = failures;
  array->margin = 2;
  array->lead = 0;
  return 0;
}

static void
lead (struct array *array)
{
  int err;

  rt_order_enter (RT_ORDER_METADATA);
  rounds_begin (&array->updates);
  do
    err = attempt (array);
  while (err == -EAGAIN);
  if (err != 0 && is_power_of_2 (++array->update_errors))
    log_error (array->log,
               "array %s: the metadata could not be written: %s (failure "
               "%ju); requests that depend on it fail",
               array->uuid, strerror (-err), (uintmax_t)array->update_errors);
  rt_order_leave (RT_ORDER_METADATA);
  rounds_end (&array->updates, err == 0);
}

int
array_update (struct array *array)
{
  uint64_t round = array->updates.filling;

  assert (array->may_write);
  for (;;) {
    switch (rounds_join (&array->updates, &array->lock, round)) {
    case ROUNDS_DONE:
      return 0;
    case ROUNDS_FAILED:
      return -EIO;
    case ROUNDS_LEAD:
      lead (array);
      break;
    }
  }
}

int
array_settle (struct array *array)
{
  while (array->recorded < array->failures) {
    if (!array->may_write)
      return 0; /* reading only: nothing rests on a record */
    if (array_update (array) != 0)
      return -EIO;
  }
  return 0;
}

/* ---- clean and active ---- */

static const char *
activity_string (enum activity activity)
{
  switch (activity) {
  case ARRAY_CLEAN:
    return "clean";
  case ARRAY_GOING_ACTIVE:
    return "going active";
  case ARRAY_ACTIVE:
    return "active";
  case ARRAY_GOING_CLEAN:
    return "going clean";
  }
  return "unknown";
}

static const bool legal[4][4] = {
  [ARRAY_CLEAN] = { [ARRAY_GOING_ACTIVE] = true },
  [ARRAY_GOING_ACTIVE] = { [ARRAY_ACTIVE] = true, [ARRAY_CLEAN] = true },
  [ARRAY_ACTIVE] = { [ARRAY_GOING_CLEAN] = true },
  [ARRAY_GOING_CLEAN] = { [ARRAY_CLEAN] = true, [ARRAY_ACTIVE] = true },
};

static void
set_activity (struct array *array, enum activity activity)
{
  assert (legal[array->activity][activity]);
  log_debug (array->log, LOG_SUPERBLOCK, "array: %s -> %s",
             activity_string (array->activity), activity_string (activity));
  array->activity = activity;
  rt_cond_broadcast (&array->activity_cond);
}

static int
go_active (struct array *array)
{
  int err;

  set_activity (array, ARRAY_GOING_ACTIVE);
  array->clean = false;
  err = array_update (array);
  set_activity (array, err ? ARRAY_CLEAN : ARRAY_ACTIVE);
  return err;
}

int
array_make_active (struct array *array)
{
  int err = 0;

  assert (array->writes > 0);
  if (array->activity == ARRAY_ACTIVE)
    return 0;
  rt_order_enter (RT_ORDER_ACTIVE);
  while (array->activity != ARRAY_ACTIVE && err == 0) {
    if (array->activity == ARRAY_CLEAN)
      err = go_active (array);
    else
      rt_cond_wait (&array->activity_cond, &array->lock);
  }
  rt_order_leave (RT_ORDER_ACTIVE);
  return err;
}

int
array_make_clean (struct array *array)
{
  int err;

  assert (array->writes == 0 && bitmap_needed (array->bitmap) == 0);
  if (array->activity != ARRAY_ACTIVE)
    return 0;
  set_activity (array, ARRAY_GOING_CLEAN);
  err = array_flush_legs (array);
  if (err == 0)
    err = array_settle (array);
  if (err != 0) {
    set_activity (array, ARRAY_ACTIVE);
    return err;
  }
  array->clean = true;
  do {
    array->bad_logs_again = false;
    err = array_update (array);
  } while (err == 0 && array->bad_logs_again);
  set_activity (array, ARRAY_CLEAN);
  return err;
}
