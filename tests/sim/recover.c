/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What is done to the array after a crash: it is read before anything is
 * written, read again, maybe used a little, left until resync has ended, read
 * once more and stopped.  The model sees to it that all reads agree.  Now and
 * then somebody else still uses it when it is stopped.
 *
 * One fiber, or two; by CHANCE_PLAN of the inner world.
 */

#include <config.h>

#include <string.h>

#include "array/array.h"
#include "base/bytes.h"
#include "base/rt.h"
#include "sim/chance.h"
#include "sim/clients.h"
#include "sim/trace.h"

/* Arrays that are larger are read in parts, but for the last time. */
#define LARGE      (256 * KiB)
#define PIECE      (1 * MiB)
#define MAX_RESYNC (3600 * RT_SECOND)
/* With legs that err, resync may give up for good. */
#define MAX_PATIENCE (120 * RT_SECOND)

/* ---- reads ---- */

static void
read_piece (struct client *client, uint64_t offset, uint64_t length)
{
  const struct step step = { .type = STEP_READ,
                             .offset = offset,
                             .length = length };

  client_request (client, &step);
}

static uint64_t
random_cell (const struct life *life, uint64_t cells)
{
  return choose (CHANCE_PLAN, cells) * life->run->plan->cell;
}

/* All of it, in at most a few pieces if it is small. */
static void
read_all (struct client *client, bool last)
{
  const struct plan *plan = client->life->run->plan;
  uint64_t offset = 0, length;

  if (plan->size > LARGE && !last) {
    offset = random_cell (client->life, plan->size / plan->cell);
    read_piece (client, offset, min_u64 (64 * KiB, plan->size - offset));
    return;
  }
  while (offset < plan->size) {
    length = min_u64 (plan->size - offset, PIECE);
    if (chance (CHANCE_PLAN, 1, 3))
      length = plan->cell + random_cell (client->life, length / plan->cell);
    read_piece (client, offset, length);
    offset += length;
  }
}

/* ---- use ---- */

static enum step_type
random_type (void)
{
  static const enum step_type types[] = {
    STEP_WRITE, STEP_WRITE, STEP_WRITE_FUA, STEP_WRITE_FUA, STEP_ZERO,
    STEP_FLUSH, STEP_FLUSH, STEP_TRIM,      STEP_READ,      STEP_WRITE_FUA,
  };

  return types[choose (CHANCE_PLAN, sizeof types / sizeof types[0])];
}

static void
use (struct client *client)
{
  const struct plan *plan = client->life->run->plan;
  uint64_t n = 1 + choose (CHANCE_PLAN, 5);

  for (uint64_t i = 0; i < n; ++i) {
    struct step step = { .type = random_type () };
    uint64_t cells;

    step.fua = chance (CHANCE_PLAN, 1, 4);
    step.offset = random_cell (client->life, plan->size / plan->cell);
    cells = min_u64 (plan->size - step.offset, 3 * plan->chunk) / plan->cell;
    step.length = plan->cell + random_cell (client->life, cells);
    client_request (client, &step);
  }
}

static void
guest_main (void *opaque)
{
  struct client *guest = opaque;

  use (guest);
  client_end (guest);
}

/* Stopped with a guest at work, maybe. */
static void
stop (struct life *life, bool writable)
{
  struct client guest = { .life = life, .number = 1, .writable = writable };
  struct fiber *fiber = NULL;

  if (chance (CHANCE_PLAN, 1, 8)) {
    fiber = fiber_new (life->world, "guest", guest_main, &guest, false);
    fiber_sleep (choose (CHANCE_PLAN, 100000));
  }
  clients_stop (life);
  if (fiber)
    fiber_join (fiber);
  clients_close (life);
}

/* ---- resync ---- */

static void
wait_for_resync (struct life *life)
{
  uint64_t started = world_now (life->world), pause = RT_SECOND / 1000;
  struct array_info info;

  for (;;) {
    uint64_t waited = world_now (life->world) - started;

    array_get_info (life->array, &info);
    if (info.chunks_needed == 0 || info.in_sync < 2)
      return;
    if (waited > MAX_PATIENCE && clients_faulty (life) != 0)
      return;
    if (waited > MAX_RESYNC)
      violation ("I25", "resync has not ended after an hour: %ju chunks left",
                 (uintmax_t)info.chunks_needed);
    fiber_sleep (pause);
    pause = min_u64 (2 * pause, RT_SECOND);
  }
}

/* ---- all together ---- */

static void
check_leaks (struct life *life, size_t before)
{
  size_t after = arena_in_use (world_arena (life->world));

  if (clients_faulty (life) == 0 && !clients_file_faulty (life)
      && legs_in_flight (life->world) == 0 && after > before)
    violation ("leak", "%zu bytes are left when all is closed", after - before);
}

static void
recover_main (void *opaque)
{
  struct life *life = opaque;
  struct client client = { .life = life };
  size_t before = arena_in_use (world_arena (life->world));

  if (!clients_open (life))
    return;
  if (life->record && !life->read_only) {
    clients_record (life);
    stop (life, false);
    return;
  }
  if (chance (CHANCE_PLAN, 1, 2))
    read_all (&client, false);
  if (life->read_only) {
    clients_must_not_activate (life);
    use (&client);
  }
  client.writable = !life->read_only && clients_activate (life);
  if (client.writable) {
    if (chance (CHANCE_PLAN, 3, 4))
      read_all (&client, false);
    if (chance (CHANCE_PLAN, 1, 4))
      use (&client);
    wait_for_resync (life);
  }
  read_all (&client, true);
  client_end (&client);
  stop (life, client.writable);
  check_leaks (life, before);
  /* What was given up may come back to an array that is gone. */
  if (legs_in_flight (life->world) > 0)
    fiber_sleep (6 * life->run->plan->leg_timeout);
}

void
clients_recover (struct life *life)
{
  life->standing = (struct standing){ 0, 0, 0 };
  (void)fiber_new (life->world, "recovery", recover_main, life, false);
}
