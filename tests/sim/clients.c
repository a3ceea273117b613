/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Those who use the array: a client's requests, and the array's life.
 *
 * What is read is judged by the model, told how far the legs can be believed;
 * errors are judged here:
 *
 *   No request fails while a leg in sync has a disk with which nothing was
 *   ever wrong.  (I8, I26)  One excuse: where chunks need resync their source
 *   changes once, so with two disks that err, or one that errs and another that
 *   has bad blocks, a good third may not be asked.
 *
 *   Once array_stop has been called a write may be refused (EROFS), and is when
 *   it has returned; reads and flushes go on until array_close.
 *
 *   The buffer of a request is the client's own, and is not touched once the
 *   request was answered.  (I21)
 *
 * All memory here is the world's.  One OS thread; the array's fields are read
 * without its lock, which is right between two switches of fibers.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array/internal.h"
#include "sim/chance.h"
#include "sim/clients.h"
#include "sim/trace.h"

#define GARBAGE 0xdb

/* ---- what is wrong with whom ---- */

unsigned
clients_in_sync (const struct life *life)
{
  const struct array *array = life->array;
  unsigned mask = 0;

  for (unsigned i = 0; i < array->nlegs; ++i)
    if (array->legs[i].state == LEG_IN_SYNC)
      mask |= 1u << strtoul (strrchr (array->legs[i].name, '/') + 1, NULL, 10);
  return mask;
}

unsigned
clients_faulty (const struct life *life)
{
  unsigned mask = 0;

  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    if (life->disks[i] && disk_was_faulty (life->disks[i]))
      mask |= 1u << i;
  return mask;
}

bool
clients_file_faulty (const struct life *life)
{
  return life->bitmap == ARRAY_BITMAP_FILE && life->file_gone == 0
         && disk_was_faulty (life->file);
}

static struct standing
standing (const struct life *life)
{
  struct standing now = { clients_faulty (life), clients_in_sync (life),
                          life->array->source_changes };

  return now;
}

static bool
same_standing (struct standing a, struct standing b)
{
  return a.faulty == b.faulty && a.in_sync == b.in_sync
         && a.changes == b.changes;
}

/* Tell the model, before a read ends, how far its legs can be believed: those
 * that have served it, and those that might have when it began.
 */
static void
say_doubt (struct life *life, struct standing began)
{
  const struct standing now = standing (life);
  const unsigned served = oracle_served (life->oracle);
  enum model_doubt doubt = MODEL_FIRM;

  if (!same_standing (life->standing, now))
    model_forget_seen (life->model);
  life->standing = now;
  if ((began.in_sync & now.faulty) != 0)
    doubt = MODEL_ERRS;
  if (!same_standing (began, now))
    doubt = MODEL_FLIPS;
  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    if ((served & now.faulty) >> i & 1 && disk_lost_cache (life->disks[i]))
      doubt = MODEL_LOSES;
  model_set_doubt (life->model, doubt);
}

/* ---- requests ---- */

static bool
any_needed (const struct life *life)
{
  return bitmap_needed (life->array->bitmap) > 0;
}

/* Does it read: itself, or blocks at its edges? */
static bool
reads (const struct life *life, const struct step *step)
{
  const uint32_t block = life->array->logical_block;

  return step->type == STEP_READ
         || (step->type != STEP_FLUSH
             && (step->offset % block != 0 || step->length % block != 0));
}

/* Was a block of it bad at first, on all legs that are left, and good? */
static bool
bad_everywhere (const struct life *life, const struct step *step)
{
  const struct oracle_geometry *g = &life->run->geometry;
  const unsigned left = clients_in_sync (life) & ~clients_faulty (life);
  const uint32_t block = life->array->logical_block;
  const uint64_t end = round_up (step->offset + step->length, block);

  for (uint64_t at = round_down (step->offset, block); at < end; at += block) {
    unsigned bad = 0;

    for (unsigned leg = 0; leg < PLAN_LEGS; ++leg)
      for (unsigned i = 0; i < g->nbad[leg]; ++i)
        if (g->bad[leg][i].start < at + block
            && at < g->bad[leg][i].start + g->bad[leg][i].length)
          bad |= 1u << leg;
    if ((left & ~bad) == 0)
      return true;
  }
  return false;
}

static unsigned
with_bad_blocks (const struct life *life)
{
  unsigned mask = 0;

  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    if (life->run->geometry.nbad[i] > 0)
      mask |= 1u << i;
  return mask;
}

static bool
several (unsigned mask)
{
  return (mask & (mask - 1)) != 0;
}

/* A request has been answered: might it fail? */
static void
judge (const struct life *life, const struct step *step, bool needed, int error)
{
  unsigned faulty = clients_faulty (life);

  if (error == 0)
    return;
  if (error == -EROFS && life->stopping && step->type != STEP_READ
      && step->type != STEP_FLUSH)
    return;
  if (error != -EIO)
    violation ("I8", "%s at %ju, %ju bytes: fails with %s, not EIO",
               step_type_string (step->type), (uintmax_t)step->offset,
               (uintmax_t)step->length, strerror (-error));
  if ((clients_in_sync (life) & ~faulty) == 0)
    return;
  if (step->type != STEP_READ && step->type != STEP_FLUSH
      && life->run->plan->file_stops && clients_file_faulty (life))
    return;
  if (reads (life, step) && bad_everywhere (life, step))
    return;
  if (faulty != 0 && reads (life, step) && (needed || any_needed (life))
      && several (faulty | with_bad_blocks (life)))
    return;
  violation ("I8",
             "%s at %ju, %ju bytes: fails, though of the legs in sync (%x) "
             "only %x ever erred",
             step_type_string (step->type), (uintmax_t)step->offset,
             (uintmax_t)step->length, clients_in_sync (life), faulty);
}

/* The buffer of the request before: nobody may have written to it since. */
static void
let_go (struct client *client)
{
  const uint8_t *p = client->buffer;

  if (p && (p[0] != GARBAGE || memcmp (p, p + 1, client->length - 1) != 0))
    violation ("I21",
               "the buffer of a request of %ju bytes was written to "
               "after the answer",
               (uintmax_t)client->length);
  arena_release (world_arena (client->life->world), client->buffer);
  client->buffer = NULL;
  client->length = 0;
}

static void *
new_buffer (struct client *client, uint64_t length)
{
  client->buffer = arena_alloc (world_arena (client->life->world), 16, length);
  client->length = length;
  return client->buffer;
}

static int
do_read (struct client *client, const struct step *step)
{
  struct life *life = client->life;
  void *buffer = new_buffer (client, step->length);
  const struct standing began = standing (life);
  uint64_t read;
  int err;

  read = model_read_begin (life->model, step->offset, step->length);
  err = array_read (life->array, buffer, (uint32_t)step->length, step->offset);
  say_doubt (life, began);
  model_read_end (life->model, read, life->apart ? -EIO : err, buffer);
  memset (buffer, GARBAGE, step->length);
  return err;
}

/* A write that is refused was not begun, unless it goes in pieces: zeroes at
 * the edges of blocks.
 */
static int
as_the_model_sees (const struct life *life, const struct step *step, int error)
{
  const uint32_t block = life->array->logical_block;
  const bool zero = step->type == STEP_ZERO || step->type == STEP_TRIM;

  if (error != -EROFS || !zero
      || (step->offset % block == 0 && step->length % block == 0
          && step->length <= ARRAY_PIECE_BYTES))
    return error;
  return -EIO;
}

static int
do_write (struct client *client, const struct step *step)
{
  struct life *life = client->life;
  const bool zero = step->type == STEP_ZERO || step->type == STEP_TRIM;
  const bool fua = zero ? step->fua : step->type == STEP_WRITE_FUA;
  unsigned flags = fua ? ARRAY_FUA : 0;
  void *buffer = NULL;
  uint64_t write;
  int err;

  write = model_write_begin (life->model, step->offset, step->length, zero);
  if (zero) {
    if (step->type == STEP_TRIM)
      flags |= ARRAY_MAY_TRIM;
    err = array_zero (life->array, step->length, step->offset, flags);
  }
  else {
    buffer = new_buffer (client, step->length);
    model_fill (life->model, write, step->offset, step->length, buffer);
    err = array_write (life->array, buffer, (uint32_t)step->length,
                       step->offset, flags);
    memset (buffer, GARBAGE, step->length);
  }
  model_write_end (life->model, write, as_the_model_sees (life, step, err),
                   fua);
  return err;
}

static int
do_flush (struct client *client)
{
  struct life *life = client->life;
  uint64_t flush = model_flush_begin (life->model);
  int err = array_flush (life->array);

  /* Before array_activate there is nothing to flush, and nothing is. */
  model_flush_end (life->model, flush, client->writable ? err : -EROFS);
  return err;
}

static void
must_be_refused (struct client *client, const struct step *step)
{
  uint8_t bytes[512] = { 0 };
  int err;

  if (step->type == STEP_ZERO || step->type == STEP_TRIM)
    err = array_zero (client->life->array, step->length, step->offset, 0);
  else
    err = array_write (client->life->array, bytes,
                       (uint32_t)min_u64 (step->length, sizeof bytes),
                       step->offset, 0);
  if (err != -EROFS)
    violation ("I13", "%s on an array that is not writable: %d",
               step_type_string (step->type), err);
}

static int
dispatch (struct client *client, const struct step *step)
{
  switch (step->type) {
  case STEP_READ:
    return do_read (client, step);
  case STEP_FLUSH:
    return do_flush (client);
  default:
    return do_write (client, step);
  }
}

void
client_request (struct client *client, const struct step *step)
{
  struct life *life = client->life;
  uint64_t started = world_now (life->world);
  bool needed = any_needed (life);
  int err;

  let_go (client);
  if ((!client->writable || life->refusing) && step->type != STEP_READ
      && step->type != STEP_FLUSH) {
    must_be_refused (client, step);
    return;
  }
  trace ("%s %ju+%ju", step_type_string (step->type), (uintmax_t)step->offset,
         (uintmax_t)step->length);
  if (step->type != STEP_READ && step->type != STEP_FLUSH)
    oracle_asked (life->oracle, step->offset, step->length);
  err = dispatch (client, step);
  trace ("%s %ju+%ju: %s", step_type_string (step->type),
         (uintmax_t)step->offset, (uintmax_t)step->length,
         err == 0 ? "done" : strerror (-err));
  trace_mix (step->type);
  trace_mix (step->offset);
  trace_mix ((uint64_t)err);
  run_counters.requests++;
  judge (life, step, needed, err);
  oracle_answer (life->oracle, step->type, step->offset, step->length, started,
                 err);
}

void
client_end (struct client *client)
{
  let_go (client);
}

/* ---- the array's life ---- */

static void
log_line (void *opaque, enum log_level level, const char *line)
{
  (void)opaque;
  (void)level;
  trace ("log: %s", line);
}

static const int shown = 1;
static const struct log quiet_log = { .sink = log_line };
static const struct log full_log = {
  .sink = log_line,
  .debug = { &shown, &shown, &shown, &shown, &shown },
};

/* The legs that are given, in the order that a number stands for. */
static unsigned
present (const struct life *life, const char **paths)
{
  unsigned given[PLAN_LEGS], n = 0, left, order = life->order;

  for (unsigned i = 0; i < PLAN_LEGS; ++i)
    if (life->disks[i])
      given[n++] = i;
  left = n;
  for (unsigned i = 0; i < n; ++i) {
    unsigned k = order % left;

    order /= left;
    paths[i] = legs_path (given[k]);
    given[k] = given[--left];
  }
  return n;
}

/* Whoever said "allow" trusts certain legs.  One of them cannot be read, and
 * older ones are there without it: he does not go on.
 */
static bool
thinks_better (const struct life *life)
{
  return life->degraded == ARRAY_DEGRADED_ALLOW && clients_faulty (life) != 0
         && clients_in_sync (life) != life->verdict.in_sync;
}

/* Of disks that err others may have been seen than are there. */
static void
tell_losers (struct life *life)
{
  const struct array *array = life->array;
  unsigned losers = life->verdict.losers;
  uint64_t events = 0;

  if (clients_faulty (life) != 0)
    losers = 0;
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];
    unsigned n = (unsigned)strtoul (strrchr (leg->name, '/') + 1, NULL, 10);

    if (clients_faulty (life) != 0 && leg->fate == ARRAY_LEG_SPLIT)
      losers |= 1u << n;
    if ((losers >> n & 1) && leg->superblock)
      events = max_u64 (events, leg->superblock->events);
  }
  oracle_set_losers (life->oracle, losers, events);
}

bool
clients_open (struct life *life)
{
  static const enum array_bitmap_io file_ios[] = {
    [PLAN_NO_FILE] = ARRAY_BITMAP_DIRECT,
    [PLAN_FILE_DIRECT] = ARRAY_BITMAP_DIRECT,
    [PLAN_FILE_EXTENT] = ARRAY_BITMAP_EXTENT,
    [PLAN_FILE_PAGECACHE] = ARRAY_BITMAP_PAGECACHE,
  };
  const struct plan *plan = life->run->plan;
  struct array_options options = {
    .degraded = (enum array_degraded)life->degraded,
    .read_only = life->read_only,
    .leg_timeout = plan->leg_timeout,
    .daemon_sleep = plan->daemon_sleep,
    .sync_rate_min = plan->sync_rate ? plan->sync_rate : UINT64_MAX,
    .sync_rate_max = plan->sync_rate ? plan->sync_rate : UINT64_MAX,
    .bitmap = (enum array_bitmap)life->bitmap,
    .bitmap_io = file_ios[plan->bitmap_file],
    .stop_on_bitmap_error = plan->file_stops,
  };
  struct array *array = NULL;
  int err;

  options.nlegs = present (life, options.legs);
  if (life->bitmap == ARRAY_BITMAP_FILE)
    options.bitmap_file = legs_file_path ();
  if (life->forced)
    options.force_source = legs_path (life->source);
  err = array_open (&options, tracing ? &full_log : &quiet_log, &array);
  trace ("open: %s", err == 0 ? "done" : strerror (-err));
  life->array = err == 0 ? array : NULL;
  if (err == 0 && thinks_better (life)) {
    life->array = NULL;
    array_close (array);
    err = -ECANCELED;
  }
  life->opened = err;
  if (err != 0)
    return false;
  oracle_set_array (life->oracle, array);
  tell_losers (life);
  err = array_start (array);
  if (err != 0)
    violation ("I25", "array_start: %s", strerror (-err));
  return true;
}

/* A server tries again for each client that connects. */
bool
clients_activate (struct life *life)
{
  const unsigned tries = 3;
  int err = 0;

  for (unsigned i = 0; i < tries; ++i) {
    err = array_activate (life->array);
    trace ("activate: %s", err == 0 ? "done" : strerror (-err));
    if (err == 0) {
      life->recorded = true;
      return true;
    }
  }
  if ((clients_in_sync (life) & ~clients_faulty (life)) != 0
      && !clients_file_faulty (life))
    violation ("I8",
               "array_activate fails (%s), though of the legs in sync (%x) "
               "only %x ever erred",
               strerror (-err), clients_in_sync (life), clients_faulty (life));
  return false;
}

void
clients_record (struct life *life)
{
  int err = array_record (life->array);

  trace ("record: %s", err == 0 ? "done" : strerror (-err));
  if (err != 0 && clients_faulty (life) == 0 && !clients_file_faulty (life))
    violation ("I8", "array_record fails (%s)", strerror (-err));
  life->recorded = err == 0;
}

/* An array that was opened read-only stays so, whoever asks. */
void
clients_must_not_activate (struct life *life)
{
  int err = array_activate (life->array);

  if (err != -EROFS)
    violation ("rule 13", "array_activate of an array opened read-only: %d",
               err);
}

/* It waits for writes in flight, but not for ever: for two time-outs. */
void
clients_stop (struct life *life)
{
  const uint64_t started = world_now (life->world);

  trace ("stop");
  life->stopping = true;
  array_stop (life->array);
  life->refusing = true;
  if (life->array->writes > 0) {
    life->late = true;
    if (world_now (life->world) < started + 2 * life->run->plan->leg_timeout)
      violation ("I28", "array_stop has not waited for writes in flight");
  }
}

void
clients_close (struct life *life)
{
  const unsigned all = (1u << life->run->plan->legs) - 1;
  struct array *array = life->array;
  bool good, equal, clean;
  unsigned in_sync;

  good = clients_faulty (life) == 0 && !life->read_only
         && !(life->run->plan->file_stops && clients_file_faulty (life));
  equal = bitmap_needed (array->bitmap) == 0;
  clean = array->clean && array->activity == ARRAY_CLEAN;
  in_sync = clients_in_sync (life);
  life->array = NULL;
  oracle_set_array (life->oracle, NULL);
  array_close (array);
  life->stopped = true;
  trace ("stopped: %s", clean ? "clean" : "not clean");
  if (good && equal && clean && !life->apart)
    model_settled (life->model);
  /* Nobody clears bits where a loss is recorded and nothing else, nor where the
   * file has failed before the array was made writable.
   */
  if (good && equal && in_sync == all && !life->late
      && !(life->record && life->file)
      && (life->recorded || !clients_file_faulty (life)))
    oracle_stopped (life->oracle);
}
