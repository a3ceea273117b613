/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* An epoch of the plan: clients, and an operator.
 *
 * The operator's fiber opens the array, starts the clients, does to the disks
 * what the plan says, and stops the array when the clients have finished.
 *
 * All memory here is the world's.  One OS thread.
 */

#include <config.h>

#include <string.h>

#include "array/array.h"
#include "base/rt.h"
#include "sim/chance.h"
#include "sim/clients.h"
#include "sim/trace.h"

struct crew {
  struct life *life;
  struct client clients[PLAN_CLIENTS];
  struct fiber *fibers[PLAN_CLIENTS];
  unsigned n; /* that have been joined: none, or all */
};

/* Some reads come twice, by their own numbers, so that shrinking a plan does
 * not change which.
 */
static void
carry_out (struct client *client, const struct step *step)
{
  if (step->type == STEP_SLEEP) {
    fiber_sleep (step->length);
    return;
  }
  client_request (client, step);
  if (step->type == STEP_READ
      && (step->offset / 128 + step->length / 512) % 3 == 0)
    client_request (client, step);
}

static void
client_main (void *opaque)
{
  struct client *client = opaque;
  struct life *life = client->life;
  const struct plan *plan = life->run->plan;

  for (unsigned i = 0; i < plan->nsteps; ++i)
    if (plan->steps[i].epoch == life->run->epoch
        && plan->steps[i].client == client->number)
      carry_out (client, &plan->steps[i]);
  client_end (client);
  life->busy--;
}

static void
start_clients (struct crew *crew, bool writable)
{
  static const char *const names[PLAN_CLIENTS] = { "client 0", "client 1",
                                                   "client 2" };
  struct life *life = crew->life;

  life->busy = PLAN_CLIENTS;
  for (unsigned i = 0; i < PLAN_CLIENTS; ++i) {
    struct client *client = &crew->clients[i];

    client->life = life;
    client->number = i;
    client->writable = writable;
    crew->fibers[i] =
        fiber_new (life->world, names[i], client_main, client, false);
  }
}

static void
join_clients (struct crew *crew)
{
  for (; crew->n < PLAN_CLIENTS; crew->n++)
    fiber_join (crew->fibers[crew->n]);
}

struct hang {
  struct disk *disk;
  uint64_t length;
};

static void
hang_main (void *opaque)
{
  struct hang *hang = opaque;

  fiber_sleep (hang->length);
  if (disk_state (hang->disk) == DISK_HANGS)
    disk_set_state (hang->disk, DISK_GOOD);
}

static void
hang (struct life *life, struct disk *disk, uint64_t length)
{
  struct hang *hang = arena_alloc (world_arena (life->world), 8, sizeof *hang);

  if (disk_state (disk) != DISK_GOOD)
    return;
  hang->disk = disk;
  hang->length = length;
  disk_set_state (disk, DISK_HANGS);
  (void)fiber_new (life->world, "hang", hang_main, hang, false);
}

static void
break_leg (struct life *life, const struct step *step)
{
  struct disk *disk = life->disks[step->leg];

  if (!disk)
    return;
  switch (step->type) {
  case STEP_FAIL_LEG:
    disk_set_state (disk, DISK_FAILED);
    break;
  case STEP_VANISH_LEG:
    if (disk_state (disk) != DISK_FAILED)
      disk_set_state (disk, DISK_VANISHED);
    break;
  case STEP_HANG_LEG:
    hang (life, disk, step->length);
    break;
  case STEP_RESTART_LEG:
    /* No device of the library connects again by itself: whatever it lost,
     * the leg answers to nobody until the next assembly.
     */
    if (disk_state (disk) == DISK_FAILED)
      break;
    disk_restart (disk);
    disk_set_state (disk, DISK_VANISHED);
    break;
  case STEP_SPOIL_LEG:
    disk_spoil (disk, life->run->geometry.data + step->offset, step->length);
    break;
  default:
    break;
  }
}

static void
break_file (struct life *life, const struct step *step)
{
  if (!life->file)
    return;
  switch (step->type) {
  case STEP_FAIL_FILE:
    disk_set_state (life->file, DISK_FAILED);
    break;
  case STEP_VANISH_FILE:
    disk_set_state (life->file, DISK_VANISHED);
    break;
  default:
    hang (life, life->file, step->length);
    break;
  }
}

/* Here and now: the hook sees to it, and nothing comes after. */
static void __attribute__ ((noreturn)) crash (struct life *life)
{
  life->crash = true;
  for (;;)
    (void)fiber_block ("crash", UINT64_MAX);
}

static void
operate (struct crew *crew, const struct step *step)
{
  struct life *life = crew->life;

  trace ("%s leg %u", step_type_string (step->type), step->leg);
  trace_mix (step->type);
  switch (step->type) {
  case STEP_SLEEP:
    fiber_sleep (step->length);
    break;
  case STEP_CRASH:
    crash (life);
  case STEP_STOP:
    join_clients (crew);
    clients_stop (life);
    clients_close (life);
    break;
  case STEP_STOP_BUSY:
    clients_stop (life);
    join_clients (crew);
    clients_close (life);
    break;
  case STEP_FAIL_FILE:
  case STEP_VANISH_FILE:
  case STEP_HANG_FILE:
    break_file (life, step);
    break;
  default:
    break_leg (life, step);
    break;
  }
}

/* The clients have finished, and a crash is still to come: the daemon and
 * resync go on for a while, mostly; sometimes until a busy page is clear.
 */
static void
linger (struct life *life)
{
  const uint64_t pass = life->run->plan->daemon_sleep * RT_SECOND;

  if (life->crash_step > 0)
    fiber_sleep ((chance (CHANCE_PLAN, 1, 4) ? 16 : 6) * pass);
}

static void
operator_main (void *opaque)
{
  struct life *life = opaque;
  const struct plan *plan = life->run->plan;
  struct crew *crew;
  bool writable;

  if (!clients_open (life))
    return;
  if (life->read_only)
    clients_must_not_activate (life);
  writable = !life->read_only && clients_activate (life);
  crew = arena_alloc (world_arena (life->world), 16, sizeof *crew);
  memset (crew, 0, sizeof *crew);
  crew->life = life;
  start_clients (crew, writable);
  for (unsigned i = 0; i < plan->nsteps && !life->stopped; ++i)
    if (plan->steps[i].epoch == life->run->epoch
        && plan->steps[i].client == PLAN_CLIENTS)
      operate (crew, &plan->steps[i]);
  if (life->stopped)
    return;
  join_clients (crew);
  linger (life);
  clients_stop (life);
  clients_close (life);
}

void
clients_start (struct life *life)
{
  life->standing = (struct standing){ 0, 0, 0 };
  (void)fiber_new (life->world, "operator", operator_main, life, false);
}
