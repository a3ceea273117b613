/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The oracle while a world runs: who is who, and answers to clients.
 *
 * It lives in the world's memory and is dropped with it.  It reads the
 * array's memory without its lock: all that is looked at changes in one step,
 * between two switches of fibers.  It changes nothing, blocks nowhere, and
 * draws nothing by chance.
 *
 * What a crash might leave is asked of the disks (what is durable), never of
 * the array; the array is asked whom it holds to be in sync.  A leg that has
 * failed in memory is still trusted by an assembly until its loss is on
 * record, so for most rules it counts until then.
 */

#include <config.h>

#include <stddef.h>
#include <string.h>

#include "sim/oracle_internal.h"

/* Longer than the jumps of the clock that one who is on his way to a device
 * may see.
 */
#define ON_THE_WAY (10 * RT_SECOND)

/* A request may stand behind others in the range lock, each of which may wait
 * for a round of the bitmap, an update of several generations and its own
 * writes, with every leg but one failing by its time-out in each.
 */
#define ANSWER_TIMEOUTS 100
#define ANSWER_SLACK    (600 * RT_SECOND)

/* Chunks that may be marked ahead of one that is written. */
#define AHEAD_MAX 127

struct oracle *
oracle_new (const struct oracle_geometry *geometry, struct disk **disks,
            unsigned n, bool read_only)
{
  struct oracle *oracle = arena_alloc (world_arena (world), 16, sizeof *oracle);
  const size_t bits = div_up (geometry->chunks, 8);

  memset (oracle, 0, offsetof (struct oracle, pool));
  oracle->may_mark = arena_alloc (world_arena (world), 16, bits);
  memset (oracle->may_mark, 0, bits);
  oracle->geometry = *geometry;
  oracle->moment = 1;
  oracle->n = n;
  oracle->read_only = read_only;
  for (unsigned i = 0; i < n; ++i) {
    oracle->legs[i].disk = disks[i];
    oracle->legs[i].failed_since = NEVER;
    oracle->legs[i].flush_failed = oracle->legs[i].flush_known = NEVER;
  }
  oracle->watcher.submit = oracle_submit;
  oracle->watcher.done = oracle_done;
  oracle->watcher.opaque = oracle;
  return oracle;
}

const struct legs_watcher *
oracle_watcher (struct oracle *oracle)
{
  return &oracle->watcher;
}

void
oracle_set_file (struct oracle *oracle, struct disk *file, bool astray)
{
  oracle->file.astray = astray;
  oracle->legs[SIM_FILE].disk = file;
}

/* NULL: it is about to be closed. */
void
oracle_set_array (struct oracle *oracle, struct array *array)
{
  oracle_look (oracle);
  oracle->array = array;
  if (!array)
    return;
  for (unsigned i = 0; i < array->nlegs; ++i) {
    const struct leg *leg = &array->legs[i];
    unsigned k = 0;

    while (strcmp (legs_path (k), leg->name) != 0)
      k++;
    oracle->leg_of[i] = k;
    oracle->legs_of[k] = leg;
    if (leg->state == LEG_IN_SYNC)
      oracle->once_in_sync |= 1u << k;
  }
  oracle->base_events = array->events;
  oracle->quiet_since = world_now (world);
}

void
oracle_set_losers (struct oracle *oracle, unsigned losers, uint64_t events)
{
  oracle->losers = losers;
  oracle->loser_events = events;
}

/* ---- who is who ---- */

bool
oracle_in_sync (const struct oracle *oracle, unsigned leg)
{
  return oracle->legs_of[leg] && oracle->legs_of[leg]->state == LEG_IN_SYNC;
}

unsigned
oracle_count_in_sync (const struct oracle *oracle)
{
  unsigned count = 0;

  for (unsigned i = 0; i < oracle->n; ++i)
    count += oracle_in_sync (oracle, i);
  return count;
}

const struct super_view *
oracle_super (struct oracle *oracle, unsigned leg)
{
  struct leg_watch *watch = &oracle->legs[leg];

  super_view_of_image (&oracle->geometry, disk_durable (watch->disk),
                       &watch->super);
  return &watch->super;
}

/* The highest events that an assembly might find on the leg, now or once its
 * disk has done what it was asked for.
 */
static uint64_t
possible_events (struct oracle *oracle, unsigned leg)
{
  struct leg_watch *watch = &oracle->legs[leg];
  struct super_view view;
  uint64_t events = 0;

  if (!watch->disk)
    return 0;
  if (oracle_super (oracle, leg)->valid)
    events = oracle_super (oracle, leg)->events;
  super_view_of_image (&oracle->geometry, disk_current (watch->disk), &view);
  if (view.valid)
    events = max_u64 (events, view.events);
  for (const struct flight *f = watch->flights; f; f = f->next)
    if (f->area == AREA_SUPER && f->type == IO_WRITE)
      events = max_u64 (events, f->events);
  return events;
}

bool
oracle_on_record (struct oracle *oracle, unsigned leg, uint64_t margin)
{
  uint64_t events = margin == 0 ? 0 : possible_events (oracle, leg);

  for (unsigned i = 0; i < oracle->n; ++i) {
    const struct super_view *s;

    if (!oracle_in_sync (oracle, i))
      continue;
    s = oracle_super (oracle, i);
    if (!s->valid || s->roles[leg] <= ROLE_LAST || s->events < events + margin)
      return false;
  }
  return true;
}

bool
oracle_trusted (struct oracle *oracle, unsigned leg)
{
  if (oracle_in_sync (oracle, leg))
    return true;
  return (oracle->once_in_sync >> leg & 1)
         && !oracle_on_record (oracle, leg, 1);
}

bool
oracle_long_failed (const struct oracle *oracle, unsigned leg)
{
  uint64_t since = oracle->legs[leg].failed_since;

  return since != NEVER && world_now (world) > since + ON_THE_WAY;
}

bool
oracle_just_failed (const struct oracle *oracle)
{
  for (unsigned i = 0; i < oracle->n; ++i)
    if (oracle->legs[i].failed_since != NEVER
        && !oracle_long_failed (oracle, i))
      return true;
  return false;
}

/* Is the block that has this byte of the array bad there? */
static bool
leg_bad_at (const struct array *array, const struct bad_blocks *list,
            uint64_t start, uint64_t length)
{
  const uint64_t block = array->logical_block;

  start = round_down (start, block) / SECTOR_SIZE;
  length = round_up (length, block) / SECTOR_SIZE;
  for (unsigned i = 0; list && i < list->n; ++i)
    if (overlap (list->ranges[i].start, list->ranges[i].length, start, length))
      return true;
  return false;
}

static unsigned
reluctance (const struct leg *leg)
{
  return (leg->write_mostly ? 1 : 0) + (leg->bad ? 2 : 0);
}

unsigned
oracle_source (const struct oracle *oracle, uint64_t offset, bool *changed)
{
  const struct array *array = oracle->array;
  /* Without a bitmap on the legs the array has chunks of its own. */
  const uint64_t chunk = offset / bitmap_chunk_bytes (array->bitmap);
  const struct leg *best = NULL;

  *changed = false;
  for (unsigned i = 0; i < array->noverrides; ++i)
    if (array->overrides[i].chunk == chunk
        && array->overrides[i].leg->state == LEG_IN_SYNC
        && !leg_bad_at (array, array->overrides[i].leg->bad, offset, 1)) {
      *changed = true;
      best = array->overrides[i].leg;
    }
  for (unsigned i = 0; i < array->nlegs && !*changed; ++i) {
    const struct leg *leg = &array->legs[i];
    unsigned r;

    if (leg->state != LEG_IN_SYNC || leg_bad_at (array, leg->bad, offset, 1))
      continue;
    r = reluctance (leg);
    if (!best || r < reluctance (best)
        || (r == reluctance (best) && leg->slot < best->slot))
      best = leg;
  }
  return best ? oracle->leg_of[best->number] : SIM_LEGS;
}

void
oracle_look (struct oracle *oracle)
{
  for (unsigned i = 0; oracle->array && i < oracle->n; ++i) {
    const struct leg *leg = oracle->legs_of[i];
    struct leg_watch *watch = &oracle->legs[i];

    if (leg && leg->flush_failed && watch->flush_known == NEVER)
      watch->flush_known = world_now (world);
    if (!leg || leg->state != LEG_FAULTY || watch->failed_since != NEVER)
      continue;
    watch->failed_since = world_now (world);
    oracle->moments |= 1u << MOMENT_RECORD;
    if (!disk_was_faulty (watch->disk))
      violation ("I9", "leg %u: failed, though nothing was wrong with it", i);
  }
  if (oracle->array)
    oracle_look_at_file (oracle);
}

/* ---- answers ---- */

/* Rule 5: a leg that lacks what was answered with success. */
static void
check_lost (struct oracle *oracle, unsigned leg, const char *what)
{
  uint64_t margin = 2;

  if (oracle->once_in_sync >> leg & 1) {
    if (oracle_in_sync (oracle, leg))
      violation ("I3", "leg %u: is in sync, but lacks a %s that was answered",
                 leg, what);
  }
  else if (!oracle->legs[leg].disk || !oracle_super (oracle, leg)->valid
           || oracle_super (oracle, leg)->events > oracle->base_events + 1)
    margin = 0; /* nobody could know how far ahead it is */
  if (!oracle_on_record (oracle, leg, margin))
    violation ("I3",
               "leg %u: lacks a %s that was answered, and this is not on "
               "record everywhere, by events %ju + %ju",
               leg, what, (uintmax_t)possible_events (oracle, leg),
               (uintmax_t)margin);
}

static void
remember_unflushed (struct oracle *oracle, const struct request_watch *request)
{
  for (unsigned i = 0; i < oracle->n; ++i) {
    struct leg_watch *watch = &oracle->legs[i];

    if (request->stored[i] == 0 || request->ended[i] < watch->flushed
        || disk_limits (watch->disk)->no_cache
        || watch->nunflushed == UNFLUSHED)
      continue;
    watch->unflushed[watch->nunflushed++] =
        (struct unflushed){ .ended = request->ended[i],
                            .answered = oracle->moment,
                            .at = world_now (world) };
  }
}

static void
check_write (struct oracle *oracle, const struct request_watch *request,
             bool fua)
{
  unsigned most = 0, holders = 0;

  for (unsigned i = 0; i < oracle->n; ++i)
    if (request->stored[i] > most)
      most = request->stored[i];
  for (unsigned i = 0; i < oracle->n; ++i)
    if (most > 0 && request->stored[i] == most)
      holders += oracle_in_sync (oracle, i);
  if (holders == 0)
    violation ("I8", "a write was answered that no leg in sync has taken");
  for (unsigned i = 0; i < oracle->n; ++i)
    if (request->stored[i] < most)
      check_lost (oracle, i, "write");
  if (fua && request->cached)
    violation ("I2", "a FUA write was answered, but was sent without FUA");
  if (request->cached)
    remember_unflushed (oracle, request);
}

static void
check_flush (struct oracle *oracle, const struct request_watch *request,
             uint64_t started)
{
  for (unsigned i = 0; i < oracle->n; ++i) {
    const struct leg_watch *watch = &oracle->legs[i];

    if (!oracle_in_sync (oracle, i)) {
      if (watch->failed_since == NEVER || watch->failed_since < started)
        check_lost (oracle, i, "flush");
      continue;
    }
    for (unsigned k = 0; k < watch->nunflushed; ++k)
      if (watch->unflushed[k].at < started
          || watch->unflushed[k].answered <= request->answered)
        violation ("I2a",
                   "leg %u: a flush was answered, but the leg was not "
                   "flushed since a write that was answered before the flush "
                   "was asked for",
                   i);
  }
}

/* I8a; the leader of the flush that failed may take a while to say so. */
static void
check_flush_failed (struct oracle *oracle, uint64_t started, bool known)
{
  for (unsigned i = 0; i < oracle->n; ++i) {
    const struct leg_watch *watch = &oracle->legs[i];
    uint64_t when = known ? watch->flush_known : watch->flush_failed;

    if (oracle_in_sync (oracle, i) && when < NEVER - ON_THE_WAY
        && when + ON_THE_WAY < started)
      violation ("I8a",
                 "leg %u: is in sync, a flush of it has failed, and a flush "
                 "or FUA was answered with success",
                 i);
  }
}

static struct request_watch *
this_request (struct oracle *oracle)
{
  unsigned fiber = fiber_number (fiber_self ());

  return &oracle->requests[fiber % ORACLE_FIBERS];
}

static void
check_success (struct oracle *oracle, enum step_type type, uint64_t length,
               uint64_t started)
{
  const struct request_watch *request = this_request (oracle);

  switch (type) {
  case STEP_WRITE:
  case STEP_WRITE_FUA:
  case STEP_ZERO:
  case STEP_TRIM:
    if (length > 0)
      check_write (oracle, request, type == STEP_WRITE_FUA);
    break;
  case STEP_FLUSH:
    if (oracle->array->may_write)
      check_flush (oracle, request, started);
    break;
  default:
    return;
  }
  /* FUA is durable by itself, and may be answered while a failed flush is
   * still to be judged, since another leg's hangs; not after.
   */
  if (type == STEP_FLUSH && oracle->array->may_write)
    check_flush_failed (oracle, started, false);
  if (type == STEP_WRITE_FUA)
    check_flush_failed (oracle, started, true);
}

void
oracle_answer (struct oracle *oracle, enum step_type type, uint64_t offset,
               uint64_t length, uint64_t started, int error)
{
  struct request_watch *request = this_request (oracle);
  uint64_t number = request->number + 1;
  const struct array *array = oracle->array;
  uint64_t took = world_now (world) - started;

  (void)offset;
  oracle->moment++;
  if (!array)
    return;
  oracle_look (oracle);
  if (took > ANSWER_SLACK
      && (took - ANSWER_SLACK) / ANSWER_TIMEOUTS
                 / (1 + length / oracle->geometry.chunk)
             > array->options.leg_timeout)
    violation ("I25", "a request took %ju seconds",
               (uintmax_t)(took / RT_SECOND));
  if (oracle_count_in_sync (oracle) == 0)
    violation ("I9", "no leg is in sync");
  if (error == 0) {
    check_success (oracle, type, length, started);
    oracle_check_file_answer (oracle, type, request);
    oracle->moments |= 1u << MOMENT_ANSWER;
  }
  memset (request, 0, sizeof *request);
  request->number = number;
  request->answered = oracle->moment;
}

unsigned
oracle_served (const struct oracle *oracle)
{
  const unsigned fiber = fiber_number (fiber_self ());

  return oracle->requests[fiber % ORACLE_FIBERS].served;
}

/* ---- marks ---- */

static void
allow_mark (struct oracle *oracle, uint64_t chunk)
{
  oracle->may_mark[chunk / 8] |= (uint8_t)(1u << chunk % 8);
}

void
oracle_asked (struct oracle *oracle, uint64_t offset, uint64_t length)
{
  const struct oracle_geometry *g = &oracle->geometry;
  uint64_t chunk = offset / g->chunk, last = (offset + length - 1) / g->chunk;
  uint64_t end = min_u64 (last + 1 + AHEAD_MAX, g->chunks);

  if (!oracle->asked)
    for (uint64_t i = 0; i < g->chunks; ++i)
      if (bitmap_range_marked (oracle->array->bitmap, i * g->chunk, 1))
        allow_mark (oracle, i);
  oracle->asked = true;
  for (; chunk < end; ++chunk)
    if (chunk <= last || bitmap_chunk_page (chunk) == bitmap_chunk_page (last))
      allow_mark (oracle, chunk);
}

/* Each mark costs a resync of its chunk after a crash. */
void
oracle_check_set (const struct oracle *oracle, uint64_t chunk)
{
  if (oracle->asked && !(oracle->may_mark[chunk / 8] >> chunk % 8 & 1))
    violation ("ahead",
               "chunk %ju is marked, and nobody writes there or shortly before "
               "it in the same page",
               (uintmax_t)chunk);
}

/* ---- the end ---- */

static void
check_no_bits (const struct oracle *oracle, unsigned leg, const char *when)
{
  const struct oracle_geometry *geometry = &oracle->geometry;
  const struct image *image = disk_durable (oracle->legs[leg].disk);

  if (!geometry->has_bitmap)
    return;
  for (uint64_t chunk = 0; chunk < geometry->chunks; ++chunk)
    if (image_bit (geometry, image, chunk))
      violation ("I25", "leg %u: chunk %ju: %s, it is still marked", leg,
                 (uintmax_t)chunk, when);
}

void
oracle_stopped (struct oracle *oracle)
{
  const struct oracle_geometry *geometry = &oracle->geometry;
  const struct super_view *first = oracle_super (oracle, 0);

  for (unsigned i = 0; i < oracle->n; ++i) {
    const struct super_view *s = oracle_super (oracle, i);

    if (!s->valid || !s->clean)
      violation ("I28", "leg %u: stopped in order, but not clean", i);
    if (s->events != first->events || !super_view_same (s, first))
      violation ("I14", "legs 0 and %u: stopped with events %ju and %ju", i,
                 (uintmax_t)first->events, (uintmax_t)s->events);
    if (disk_has_volatile (oracle->legs[i].disk, geometry->data,
                           geometry->size))
      violation ("I15", "leg %u: clean, and not flushed", i);
    if (!disks_same (geometry, oracle->legs[0].disk, oracle->legs[i].disk,
                     geometry->data, geometry->size))
      violation ("I18", "legs 0 and %u: stopped in order, and not equal", i);
    check_no_bits (oracle, i, "stopped in order");
  }
  oracle_check_no_file_bits (oracle, "stopped in order");
}

/* ---- moments ---- */

/* The passes of the clear thread in which bits are cleared after the last
 * write.  In twelve, and one that was under way, if the page may have been
 * busy: for that it takes eight writes of pages.  When all is clear no page is
 * busy any more.
 */
static unsigned
passes_to_clear (const struct oracle *oracle)
{
  for (unsigned i = 0; i <= SIM_LEGS; ++i)
    if (oracle->legs[i].pages >= 8)
      return 13;
  return 3;
}

/* I25: after the last write, and the end of resync, bits are cleared: in the
 * second pass of the clear thread after it, or if the page was busy in the
 * twelfth, and passes are daemon_sleep apart; the clock may jump.
 */
static void
check_quiet (struct oracle *oracle)
{
  struct array *array = oracle->array;
  uint64_t passes;

  if (!array || !array->activated || array->stopping
      || bitmap_needed (array->bitmap) > 0)
    oracle->quiet_since = world_now (world);
  if (world_now (world) <= oracle->quiet_since + 2 * RT_SECOND)
    return;
  passes = passes_to_clear (oracle)
           * bitmap_header (array->bitmap)->daemon_sleep * RT_SECOND;
  if (world_now (world) <= oracle->quiet_since + passes + 2 * RT_SECOND)
    return;
  oracle->quiet_since = world_now (world);
  if (oracle_count_in_sync (oracle) < oracle->n)
    return;
  for (unsigned i = 0; i < oracle->n; ++i)
    if (oracle->legs[i].flights || disk_was_faulty (oracle->legs[i].disk))
      return;
  check_no_bits (oracle, 0, "passes after the last write");
  oracle_check_no_file_bits (oracle, "passes after the last write");
  for (unsigned i = 0; i <= SIM_LEGS; ++i)
    oracle->legs[i].pages = 0;
}

/* The rare ones first. */
enum oracle_moment
oracle_moment (struct oracle *oracle)
{
  static const enum oracle_moment order[] = {
    MOMENT_RECORD,       MOMENT_CLEAR,    MOMENT_SUPERBLOCK,
    MOMENT_EVENTS,       MOMENT_RESYNC,   MOMENT_BETWEEN_LEGS,
    MOMENT_BITS_DURABLE, MOMENT_ASSEMBLY, MOMENT_ANSWER,
  };
  unsigned moments;

  oracle_look (oracle);
  check_quiet (oracle);
  moments = oracle->moments;
  oracle->moments = 0;
  for (unsigned i = 0; moments && i < sizeof order / sizeof order[0]; ++i)
    if (moments >> order[i] & 1)
      return order[i];
  return MOMENT_NONE;
}

const char *
oracle_moment_string (enum oracle_moment moment)
{
  static const char *const names[MOMENTS] = {
    [MOMENT_NONE] = "any",
    [MOMENT_BITS_DURABLE] = "bits-durable",
    [MOMENT_BETWEEN_LEGS] = "between-legs",
    [MOMENT_CLEAR] = "clear",
    [MOMENT_EVENTS] = "events",
    [MOMENT_SUPERBLOCK] = "superblock",
    [MOMENT_RESYNC] = "resync",
    [MOMENT_RECORD] = "record",
    [MOMENT_ASSEMBLY] = "assembly",
    [MOMENT_ANSWER] = "answer",
  };

  return names[moment];
}
