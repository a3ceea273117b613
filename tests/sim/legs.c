/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The disks of a world as devices of the library: what device/aio.c is in the
 * program.  They are opened in legs_open.c and file.c.
 *
 *   before aio_start     here and now, in the fiber that submits
 *   reaped devices       an event of the world has the disk do it, and the
 *                        fiber that submitted reaps it; given up, aio_poll
 *   IO_ZERO, and others  the event queues it, and one of two daemon fibers
 *                        ends it, in no order
 *
 * What is in flight is remembered in memory of this file and not of the
 * world: a crash drops it without a look, an allocation that fails in the
 * library is none of ours, and nothing of it counts as leaked.
 *
 * Worlds nest, so there is one struct legs for each depth, used by one world
 * after the other.  One OS thread, no locks: a fiber is only ever switched
 * where it says so (fiber_yield, fiber_block, io_done).
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sim/legs_internal.h"
#include "sim/trace.h"

#define DEPTHS 16

static struct legs *depths[DEPTHS];

static struct leg_device *
to_leg (const struct device *device)
{
  return (struct leg_device *)device;
}

/* ---- flights ---- */

static void
push (struct flights *list, struct flight *flight)
{
  flight->next = list->first;
  list->first = flight;
  list->n++;
}

static struct flight *
pop (struct flights *list)
{
  struct flight *flight = list->first;

  list->first = flight->next;
  list->n--;
  return flight;
}

/* Any of them. */
static struct flight *
pop_any (struct flights *list)
{
  struct flight **at = &list->first, *flight;

  for (uint64_t i = choose (CHANCE_DISK, list->n); i > 0; --i)
    at = &(*at)->next;
  flight = *at;
  *at = flight->next;
  list->n--;
  return flight;
}

static void
add_flights (struct legs *legs)
{
  struct flight **all =
      realloc (legs->all, (legs->nall + 1) * sizeof *legs->all);
  struct flight *flight = calloc (1, sizeof *flight);

  if (!all || !flight)
    abort ();
  legs->all = all;
  legs->all[legs->nall++] = flight;
  push (&legs->free, flight);
}

static struct flight *
flight_new (struct legs *legs, struct io *io)
{
  struct flight *flight;

  if (!legs->free.first)
    add_flights (legs);
  flight = pop (&legs->free);
  memset (flight, 0, sizeof *flight);
  flight->legs = legs;
  flight->io = io;
  memcpy (io->driver, &flight, sizeof flight);
  return flight;
}

static struct flight *
io_to_flight (const struct io *io)
{
  struct flight *flight;

  memcpy (&flight, io->driver, sizeof flight);
  return flight;
}

/* The library keeps an operation, and its buffer, until the disk lets go. */
static void
check_io (const struct flight *flight, const struct disk_op *op)
{
  const struct io *io = flight->io;

  if (io_to_flight (io) != flight)
    violation ("abandoned", "an operation in flight on a leg was freed");
  if (op && op->data && memcmp (op->data, io->data, io->length) != 0)
    violation ("I18", "leg %u: the data of a write changed in flight, at %llu",
               to_leg (io->device)->leg, (unsigned long long)io->offset);
}

/* The waiter is told.  The operation and its batch may be gone after. */
static void
tell (struct flight *flight)
{
  struct legs *legs = flight->legs;
  struct io *io = flight->io;
  int result = flight->result;

  check_io (flight, NULL);
  disk_due_end (to_leg (io->device)->disk, &flight->due);
  push (&legs->free, flight);
  io_done (io, result);
}

/* ---- attaching ---- */

struct legs *
legs_of (const struct world *of)
{
  struct legs *legs = depths[world_depth (of)];

  assert (legs && legs->world == of);
  return legs;
}

/* Forget a world that is no more. */
static void
reset (struct legs *legs, struct world *to)
{
  struct flight **all = legs->all;
  uint64_t n = legs->nall;

  memset (legs, 0, sizeof *legs);
  legs->world = to;
  legs->all = all;
  legs->nall = n;
  for (uint64_t i = 0; i < n; ++i) {
    all[i]->given_up = false;
    push (&legs->free, all[i]);
  }
}

static void
attach (struct legs *legs, unsigned number, struct disk *disk)
{
  if (disk == legs->disks[number])
    return;
  legs->disks[number] = disk;
  legs->opened[number] = 0;
  if (disk)
    disk_disown (disk);
}

/* A world that has run is still the one that the legs belong to: operations
 * on the disks that it had before may be in flight.
 */
void
legs_attach (struct world *to, struct disk **disks, unsigned n,
             const struct legs_watcher *watcher)
{
  unsigned depth = world_depth (to);
  struct legs *legs;

  assert (depth < DEPTHS && n <= SIM_LEGS);
  if (!depths[depth])
    depths[depth] = calloc (1, sizeof *legs);
  legs = depths[depth];
  if (!legs)
    abort ();
  if (legs->world != to || world_steps (to) == 0)
    reset (legs, to);
  legs->watched = watcher != NULL;
  if (watcher)
    legs->watcher = *watcher;
  for (unsigned i = 0; i < SIM_LEGS; ++i)
    attach (legs, i, i < n ? disks[i] : NULL);
}

void
legs_attach_file (struct world *to, struct disk *disk,
                  const struct legs_file *file)
{
  struct legs *legs = legs_of (to);

  attach (legs, SIM_FILE, disk);
  legs->file = *file;
  legs->file_lost = false;
}

bool
legs_file_lost (const struct world *of)
{
  const struct legs *legs = depths[world_depth (of)];

  return legs && legs->world == of && legs->file_lost;
}

const char *
legs_path (unsigned leg)
{
  static const char *const paths[SIM_LEGS] = { "/leg/0", "/leg/1", "/leg/2",
                                               "/leg/3" };

  assert (leg < SIM_LEGS);
  return paths[leg];
}

unsigned
legs_in_flight (const struct world *of)
{
  const struct legs *legs = depths[world_depth (of)];

  return legs && legs->world == of ? legs->in_flight : 0;
}

/* ---- the life of an operation ---- */

static void
begin (struct leg_device *leg, struct io *io)
{
  struct legs *legs = leg->legs;

  trace ("leg %u: submit %s %llu+%llu%s%s", leg->leg, io_type_string (io->type),
         (unsigned long long)io->offset, (unsigned long long)io->length,
         io->flags & IO_FUA ? " fua" : "",
         io->flags & IO_MAY_TRIM ? " may-trim" : "");
  trace_mix ((uint64_t)leg->leg << 32 | (uint64_t)io->type << 8 | io->flags);
  trace_mix (io->offset ^ io->length << 40);
  if (legs->watched)
    legs->watcher.submit (legs->watcher.opaque, leg->leg, io);
  legs->in_flight++;
}

static void
end (struct leg_device *leg, const struct io *io, int result)
{
  struct legs *legs = leg->legs;

  trace ("leg %u: %s %s %llu+%llu: %d", leg->leg,
         io->state == IO_ABANDONED ? "late" : "done", io_type_string (io->type),
         (unsigned long long)io->offset, (unsigned long long)io->length,
         result);
  trace_mix ((uint64_t)leg->leg << 32 | (uint64_t)io->type << 8 | 0x80);
  trace_mix (io->offset ^ (uint64_t)-result << 40);
  legs->in_flight--;
  if (legs->watched)
    legs->watcher.done (legs->watcher.opaque, leg->leg, io, result);
}

static void
schedule (struct flight *flight, uint64_t delay)
{
  struct legs *legs = flight->legs;

  if (delay == DISK_NEVER)
    return;
  flight->scheduled = true;
  flight->event.at = world_now (legs->world) + delay;
  world_add_event (legs->world, &flight->event);
}

/* The disk says that there is no need to wait any longer.  An event that is
 * due may have been chosen already.
 */
static void
flight_hurry (void *opaque)
{
  struct flight *flight = opaque;

  if (flight->scheduled) {
    if (flight->event.at <= world_now (flight->legs->world))
      return;
    world_remove_event (flight->legs->world, &flight->event);
  }
  schedule (flight, 0);
}

/* What was given up likes to land just when something else has ended. */
static void
hurry_overdue (struct legs *legs)
{
  if (legs->overdue == 0 || !chance (CHANCE_DISK, 1, 4))
    return;
  for (uint64_t i = 0; i < legs->nall; ++i)
    if (legs->all[i]->given_up && legs->all[i]->scheduled) {
      flight_hurry (legs->all[i]);
      return;
    }
}

/* Who goes on with an operation that the disk has ended. */
static void
hand_over (struct flight *flight)
{
  struct legs *legs = flight->legs;

  if (flight->given_up)
    legs->overdue--;
  if (flight->io->mine) {
    if (flight->given_up)
      push (&legs->orphans, flight);
    else if (flight->reaper)
      fiber_wake (flight->reaper);
    return;
  }
  push (&legs->ended, flight);
  for (unsigned i = 0; i < ENDERS; ++i)
    if (legs->idle[i]) {
      legs->idle[i] = false;
      fiber_wake (legs->enders[i]);
      return;
    }
}

/* The event: the disk does it. */
static void
flight_run (struct world_event *event)
{
  struct flight *flight = (struct flight *)event;
  struct io *io = flight->io;
  uint64_t delay;

  flight->scheduled = false;
  check_io (flight, flight->op);
  if (!disk_end (flight->op, io->data, &flight->result, &delay)) {
    schedule (flight, delay);
    return;
  }
  flight->op = NULL;
  flight->ended = true;
  end (to_leg (io->device), io, flight->result);
  hand_over (flight);
  hurry_overdue (flight->legs);
}

static void
ender_main (void *opaque)
{
  struct legs *legs = opaque;
  unsigned i = legs->enders[0] == fiber_self () ? 0 : 1;

  for (;;) {
    while (legs->ended.n > 0) {
      legs->telling++;
      tell (pop_any (&legs->ended));
      legs->telling--;
    }
    legs->idle[i] = true;
    fiber_block ("disk", UINT64_MAX);
    legs->idle[i] = false;
  }
}

static void
start_enders (struct legs *legs)
{
  static const char *const names[ENDERS] = { "disks", "disks 2" };

  if (!legs->enders[0])
    for (unsigned i = 0; i < ENDERS; ++i)
      legs->enders[i] =
          fiber_new (legs->world, names[i], ender_main, legs, true);
}

/* ---- submit ---- */

static void
start (struct leg_device *leg, struct io *io)
{
  struct flight *flight = flight_new (leg->legs, io);
  uint64_t delay;

  io->mine = leg->disk->limits.reaped && io->type != IO_ZERO;
  if (!io->mine)
    start_enders (leg->legs);
  begin (leg, io);
  flight->event.run = flight_run;
  flight->op = disk_take (leg->disk, io, false, flight_hurry, flight, &delay);
  disk_due_begin (leg->disk, &flight->due, io->deadline);
  schedule (flight, delay);
}

/* As a system call that does not return before it is done. */
static void
run_now (struct leg_device *leg, struct io *io)
{
  struct disk_op *op;
  uint64_t delay;
  int result;

  io->mine = true;
  begin (leg, io);
  op = disk_take (leg->disk, io, true, NULL, NULL, &delay);
  do {
    if (delay == 0)
      fiber_yield ();
    else
      fiber_sleep (delay);
  } while (!disk_end (op, io->data, &result, &delay));
  end (leg, io, result);
  fiber_yield ();
  io_done (io, result);
}

static void
leg_submit (struct io_batch *batch, struct io **ios, unsigned n)
{
  (void)batch;
  fiber_yield ();
  for (unsigned i = 0; i < n; ++i) {
    struct leg_device *leg = to_leg (ios[i]->device);

    if (leg->aio->started)
      start (leg, ios[i]);
    else
      run_now (leg, ios[i]);
  }
  fiber_yield ();
}

/* ---- reap ---- */

/* One of the batch that has ended; NULL if there is none. */
static struct flight *
find_ended (struct io_batch *batch)
{
  struct flight *found = NULL;
  uint64_t n = 0;

  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    struct io *io = io_batch_get (batch, i);

    if (!io->mine || io->state != IO_STARTED || !io_to_flight (io)->ended)
      continue;
    if (choose (CHANCE_DISK, ++n) == 0)
      found = io_to_flight (io);
  }
  return found;
}

static void
set_reaper (struct io_batch *batch, struct fiber *fiber)
{
  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    struct io *io = io_batch_get (batch, i);

    if (io->mine && io->state == IO_STARTED)
      io_to_flight (io)->reaper = fiber;
  }
}

/* At least one if there is one, and then maybe others. */
static bool
reap_some (struct io_batch *batch)
{
  struct flight *flight = find_ended (batch);

  if (!flight)
    return false;
  do
    tell (flight);
  while (chance (CHANCE_DISK, 3, 4) && (flight = find_ended (batch)) != NULL);
  return true;
}

static void
leg_reap (struct io_batch *batch, uint64_t deadline)
{
  bool in_time = true;

  fiber_yield ();
  while (!reap_some (batch) && in_time) {
    set_reaper (batch, fiber_self ());
    in_time = fiber_block ("disk", deadline) || world_now (world) < deadline;
    set_reaper (batch, NULL);
  }
}

static void
leg_give_up (struct io_batch *batch)
{
  for (unsigned i = 0; i < io_batch_count (batch); ++i) {
    struct io *io = io_batch_get (batch, i);
    struct flight *flight;

    if (io->state != IO_ABANDONED)
      continue;
    flight = io_to_flight (io);
    if (flight->io != io || flight->given_up)
      continue;
    flight->given_up = true;
    if (!flight->ended)
      flight->legs->overdue++;
    else if (io->mine)
      push (&flight->legs->orphans, flight);
  }
}

void
aio_poll (struct aio *aio)
{
  struct legs *legs = legs_of (world);

  (void)aio;
  while (legs->orphans.n > 0) {
    tell (pop_any (&legs->orphans));
    fiber_yield ();
  }
}

/* Here each wait has its own clock. */
void
aio_alarm (struct aio *aio, bool on)
{
  (void)aio;
  (void)on;
}

struct device *
aio_stuck (struct aio *aio)
{
  (void)aio;
  return NULL;
}

/* ---- close ---- */

static void
leg_close (struct device *device)
{
  struct leg_device *leg = to_leg (device);
  int *opened = &leg->legs->opened[leg->leg];

  *opened -= *opened < 0 ? -1 : 1;
  rt_free (device->name);
  rt_free (leg);
}

const struct device_ops legs_device_ops = {
  .kind = "simulated",
  .submit = leg_submit,
  .reap = leg_reap,
  .give_up = leg_give_up,
  .close = leg_close,
};
