/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The oracle looks at operations: where they go, data, and what is in flight.
 * Metadata is in oracle_meta.c.
 *
 * Invariants: each operation that a disk has not done is on the list of its
 * leg, once, abandoned or not; its io and its data live as long.
 * One OS thread, no locks; the array may be gone when a late operation ends.
 */

#include <config.h>

#include <string.h>

#include "sim/oracle_internal.h"

/* An operation that took this long may have held the clear thread up. */
#define SLOW (RT_SECOND / 10)

/* ---- flights ---- */

static struct flight *
flight_new (struct oracle *oracle)
{
  struct flight *flight = oracle->spare;

  if (flight)
    oracle->spare = flight->next;
  else if (oracle->used < ORACLE_FLIGHTS)
    flight = &oracle->pool[oracle->used++];
  else
    flight = arena_alloc (world_arena (world), 16, sizeof *flight);
  memset (flight, 0, sizeof *flight);
  return flight;
}

/* Out of the list; the caller gives it back. */
static struct flight *
flight_take (struct leg_watch *watch, const struct io *io)
{
  for (struct flight **at = &watch->flights; *at; at = &(*at)->next)
    if ((*at)->io == io) {
      struct flight *flight = *at;

      *at = flight->next;
      return flight;
    }
  return NULL;
}

static bool
is_write (const struct flight *flight)
{
  return flight->type == IO_WRITE || flight->type == IO_ZERO;
}

/* ---- where ---- */

static bool
within (uint64_t offset, uint64_t length, uint64_t area, uint64_t area_length)
{
  return offset >= area && offset + length <= area + area_length;
}

/* I16. */
static enum area
find_area (const struct oracle *oracle, unsigned leg, const struct io *io)
{
  const struct oracle_geometry *g = &oracle->geometry;

  if (io->type == IO_FLUSH)
    return AREA_NONE;
  if (leg == SIM_FILE)
    return AREA_FILE;
  if (io->offset == g->super && io->length <= g->super_length)
    return AREA_SUPER;
  if (within (io->offset, io->length, g->bitmap, g->bitmap_length))
    return AREA_BITMAP;
  if (g->has_file && io->offset == g->note
      && io->length
             == max_u64 (BITMAP_NOTE_BYTES,
                         disk_limits (oracle->legs[leg].disk)->logical_block))
    return AREA_NOTE;
  if (g->nbad[leg] > 0
      && within (io->offset, io->length, g->log, g->log_length))
    return AREA_LOG;
  if (within (io->offset, io->length, g->data, g->size))
    return AREA_DATA;
  if (io->type != IO_READ)
    violation ("I16",
               "leg %u: writes %ju bytes at %ju, which is neither superblock "
               "nor bitmap nor data",
               leg, (uintmax_t)io->length, (uintmax_t)io->offset);
  return AREA_NONE;
}

/* Two writes in flight to one place may land in either order: rule 4 for
 * metadata, the range lock for data.
 */
static void
check_apart (const struct oracle *oracle, unsigned leg,
             const struct flight *flight)
{
  for (const struct flight *f = oracle->legs[leg].flights; f; f = f->next)
    if (is_write (f)
        && overlap (f->offset, f->length, flight->offset, flight->length))
      violation (flight->area == AREA_DATA ? "I17" : "rule 4",
                 "leg %u: a write of %ju bytes at %ju is submitted while one "
                 "of %ju bytes at %ju is in flight",
                 leg, (uintmax_t)flight->length, (uintmax_t)flight->offset,
                 (uintmax_t)f->length, (uintmax_t)f->offset);
}

/* ---- data: writes ---- */

/* Is the bit certain to be found set after a crash now? */
static bool
bit_is_safe (const struct oracle *oracle, unsigned leg, uint64_t chunk)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct disk *disk = oracle->legs[leg].disk;
  const uint64_t byte = g->bitmap + bitmap_bit_byte (chunk);

  if (!image_bit (g, disk_durable (disk), chunk)
      || !image_bit (g, disk_current (disk), chunk))
    return false;
  for (const struct flight *f = oracle->legs[leg].flights; f; f = f->next)
    if (f->area == AREA_BITMAP && is_write (f)
        && within (byte, 1, f->offset, f->length)
        && !(f->io->data[byte - f->offset] & bitmap_bit_mask (chunk)))
      return false;
  return true;
}

/* I1a and I1b: what must be durable on a leg before data goes to any. */
static void
check_marked (struct oracle *oracle, unsigned leg, const struct flight *data)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct super_view *s = oracle_super (oracle, leg);
  uint64_t chunk = (data->offset - g->data) / g->chunk;
  uint64_t last = (data->offset + data->length - 1 - g->data) / g->chunk;

  for (; chunk <= last && g->has_bitmap; ++chunk)
    if (!bit_is_safe (oracle, leg, chunk))
      violation ("I1a",
                 "leg %u: data of chunk %ju is submitted, and its bit is not "
                 "durable here",
                 leg, (uintmax_t)chunk);
  if (!s->valid || s->clean)
    violation ("I1b", "leg %u: data is submitted, and the superblock is %s",
               leg, s->valid ? "clean" : "not valid");
  if (s->resync_offset != 0)
    violation ("I1b",
               "leg %u: data is submitted, and the superblock says that all "
               "before sector %ju is equal",
               leg, (uintmax_t)s->resync_offset);
  for (const struct flight *f = oracle->legs[leg].flights; f; f = f->next)
    if (f->area == AREA_SUPER && is_write (f) && f->clean)
      violation ("I1b",
                 "leg %u: data is submitted, and a superblock that says "
                 "clean is in flight",
                 leg);
}

/* I18: all legs get the same bytes. */
static void
check_same_bytes (const struct oracle *oracle, unsigned leg,
                  const struct io *io)
{
  for (unsigned i = 0; i < oracle->n; ++i)
    for (const struct flight *f = oracle->legs[i].flights; f; f = f->next)
      if (i != leg && f->area == AREA_DATA && is_write (f)
          && f->io->batch == io->batch && f->offset == io->offset
          && (f->type != io->type || f->length != io->length
              || (io->type == IO_WRITE && f->io->data != io->data
                  && memcmp (f->io->data, io->data, io->length) != 0)))
        violation ("I18", "legs %u and %u: a write at %ju is not the same", i,
                   leg, (uintmax_t)io->offset);
}

static bool
by_resync (void)
{
  return strcmp (fiber_name (fiber_self ()), "mdbitmap-sync") == 0;
}

/* Does the disk hold these bytes there? */
static bool
holds (const struct disk *disk, const struct io *io)
{
  uint8_t block[4096];
  uint64_t n;

  for (uint64_t at = 0; at < io->length; at += n) {
    n = min_u64 (sizeof block, io->length - at);
    image_read (disk_current (disk), io->offset + at, block, n);
    if (memcmp (block, io->data + at, n) != 0)
      return false;
  }
  return true;
}

/* I5.  When a leg fails, who copies from it may not know yet. */
static void
check_resync (const struct oracle *oracle, unsigned leg, const struct io *io)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const uint64_t offset = io->offset - g->data, chunk = offset / g->chunk;
  const struct disk *disk;
  bool changed;
  unsigned source;

  if (oracle_just_failed (oracle))
    return;
  source = oracle_source (oracle, offset, &changed);
  if (source == leg)
    violation ("I5", "leg %u: resync writes to the source of chunk %ju", leg,
               (uintmax_t)chunk);
  if (io->type != IO_WRITE || source == SIM_LEGS)
    violation ("I5", "leg %u: resync writes zeroes, or from nowhere", leg);
  disk = oracle->legs[source].disk;
  if (disk_was_faulty (disk)
      || disk_has_write_in_flight (disk, io->offset, io->length))
    return;
  if (!holds (disk, io))
    violation ("I5",
               "leg %u: resync of chunk %ju writes bytes that its source, leg "
               "%u, does not hold",
               leg, (uintmax_t)chunk, source);
}

static void
check_data_write (struct oracle *oracle, unsigned leg, const struct io *io,
                  struct flight *flight)
{
  struct request_watch *request =
      &oracle->requests[flight->fiber % ORACLE_FIBERS];

  for (unsigned i = 0; i < oracle->n; ++i)
    if (oracle_trusted (oracle, i))
      check_marked (oracle, i, flight);
  oracle_check_file_marked (oracle, flight);
  if (!(oracle->once_in_sync >> leg & 1))
    violation ("I3", "leg %u: is written to, though it never was in sync", leg);
  check_same_bytes (oracle, leg, io);
  if (by_resync ()) {
    check_resync (oracle, leg, io);
    oracle->moments |= 1u << MOMENT_RESYNC;
  }
  else if (!(io->flags & IO_FUA))
    request->cached = true;
}

/* ---- data: reads ---- */

/* I6, and rule 8 for chunks that need resync. */
static void
check_data_read (const struct oracle *oracle, unsigned leg, const struct io *io)
{
  const struct oracle_geometry *g = &oracle->geometry;
  uint64_t offset = io->offset - g->data;
  bool changed;
  unsigned source;

  oracle_check_bad_read (oracle, leg, io);
  if (!(oracle->once_in_sync >> leg & 1) || oracle_long_failed (oracle, leg))
    violation ("I6",
               "leg %u: data at %ju is read from it, and it is not in "
               "sync",
               leg, (uintmax_t)offset);
  if (by_resync () || oracle_just_failed (oracle)
      || oracle_count_in_sync (oracle) < 2
      || !bitmap_range_needed (oracle->array->bitmap, offset, io->length))
    return;
  source = oracle_source (oracle, offset, &changed);
  /* Resync may just have made a bad block of the source good: the same bytes.
   */
  if (leg != source && !changed
      && !(g->nbad[source] > 0
           && image_equal (disk_current (oracle->legs[leg].disk), io->offset,
                           disk_current (oracle->legs[source].disk), io->offset,
                           io->length)))
    violation ("I6",
               "leg %u: chunk %ju, which needs resync, is read from it, and "
               "its source is leg %u",
               leg, (uintmax_t)(offset / g->chunk), source);
}

/* ---- the watcher ---- */

static void
check_submit (struct oracle *oracle, unsigned leg, const struct io *io,
              struct flight *flight)
{
  if (!is_write (flight)) {
    if (io->type == IO_READ && flight->area == AREA_DATA && oracle->array)
      check_data_read (oracle, leg, io);
    return;
  }
  if (leg >= oracle->n && leg != SIM_FILE)
    violation ("rule 12", "leg %u: it is a spare, and is written to", leg);
  if (oracle->read_only)
    violation ("rule 13", "leg %u: a write of %ju bytes at %ju, read-only", leg,
               (uintmax_t)io->length, (uintmax_t)io->offset);
  if (!oracle->array || !oracle->array->may_write)
    violation ("I30",
               "leg %u: a write of %ju bytes at %ju, before the array was "
               "activated",
               leg, (uintmax_t)io->length, (uintmax_t)io->offset);
  if (oracle_count_in_sync (oracle) == 0)
    violation ("I9", "no leg is in sync");
  check_apart (oracle, leg, flight);
  if (flight->area == AREA_FILE)
    oracle_check_file (oracle, io, flight);
  else if (flight->area == AREA_BITMAP)
    oracle_check_bitmap (oracle, leg, io, flight);
  else if (flight->area == AREA_SUPER)
    oracle_check_super (oracle, leg, io, flight);
  else if (flight->area == AREA_LOG)
    oracle_check_log (oracle, leg, io);
  else if (flight->area == AREA_NOTE)
    oracle_check_note (oracle, leg, io);
  else
    check_data_write (oracle, leg, io, flight);
  if (!oracle->array->activated)
    oracle->moments |= 1u << MOMENT_ASSEMBLY;
}

void
oracle_submit (void *opaque, unsigned leg, const struct io *io)
{
  struct oracle *oracle = opaque;
  struct flight *flight = flight_new (oracle);

  oracle_look (oracle);
  flight->io = io;
  flight->type = io->type;
  flight->offset = io->offset;
  flight->length = io->length;
  flight->area = find_area (oracle, leg, io);
  flight->moment = ++oracle->moment;
  flight->submitted = world_now (world);
  if (is_write (flight))
    oracle->quiet_since = flight->submitted;
  if (is_write (flight)
      && (flight->area == AREA_BITMAP || flight->area == AREA_FILE))
    oracle->legs[leg].pages++;
  flight->fiber = fiber_number (fiber_self ());
  flight->request = oracle->requests[flight->fiber % ORACLE_FIBERS].number;
  check_submit (oracle, leg, io, flight);
  flight->next = oracle->legs[leg].flights;
  oracle->legs[leg].flights = flight;
}

/* ---- ends ---- */

static void
flush_done (struct leg_watch *watch, const struct flight *flight, int result)
{
  unsigned kept = 0;

  if (result != 0) {
    if (watch->flush_failed == NEVER)
      watch->flush_failed = world_now (world);
    return;
  }
  watch->flushed = max_u64 (watch->flushed, flight->moment);
  for (unsigned i = 0; i < watch->nunflushed; ++i)
    if (watch->unflushed[i].ended >= flight->moment)
      watch->unflushed[kept++] = watch->unflushed[i];
  watch->nunflushed = kept;
}

/* Is the same write in flight on another leg? */
static bool
flies_elsewhere (const struct oracle *oracle, unsigned leg,
                 const struct flight *flight)
{
  for (unsigned i = 0; i < oracle->n; ++i)
    for (const struct flight *f = oracle->legs[i].flights; f; f = f->next)
      if (i != leg && f->area == flight->area && is_write (f)
          && f->offset == flight->offset)
        return true;
  return false;
}

static void
data_done (struct oracle *oracle, unsigned leg, const struct flight *flight,
           int result)
{
  struct request_watch *request =
      &oracle->requests[flight->fiber % ORACLE_FIBERS];

  if (flies_elsewhere (oracle, leg, flight))
    oracle->moments |= 1u << MOMENT_BETWEEN_LEGS;
  if (result != 0 || request->number != flight->request)
    return;
  request->stored[leg]++;
  request->ended[leg] = oracle->moment;
}

static void
read_done (struct oracle *oracle, unsigned leg, const struct flight *flight,
           int result)
{
  if (flight->area == AREA_DATA && result == 0 && oracle->array
      && oracle_in_sync (oracle, leg))
    oracle->requests[flight->fiber % ORACLE_FIBERS].served |= 1u << leg;
}

static void
bitmap_done (struct oracle *oracle, unsigned leg, const struct flight *flight)
{
  if (flight->sets)
    oracle->moments |= 1u << MOMENT_BITS_DURABLE;
  if (flight->clears && flies_elsewhere (oracle, leg, flight))
    oracle->moments |= 1u << MOMENT_CLEAR;
  if (leg == SIM_FILE ? flight->events > 0
                      : flight->events > oracle_super (oracle, leg)->events)
    oracle->moments |= 1u << MOMENT_EVENTS;
}

static void
super_done (struct oracle *oracle, unsigned leg)
{
  uint64_t events = oracle_super (oracle, leg)->events;

  for (unsigned i = 0; i < oracle->n; ++i)
    if ((oracle->once_in_sync >> i & 1)
        && oracle_super (oracle, i)->events != events)
      oracle->moments |= 1u << MOMENT_SUPERBLOCK;
}

void
oracle_done (void *opaque, unsigned leg, const struct io *io, int result)
{
  struct oracle *oracle = opaque;
  struct flight *flight = flight_take (&oracle->legs[leg], io);

  if (!flight)
    violation ("simulator", "leg %u: an operation ended that never began", leg);
  oracle->moment++;
  if (is_write (flight) || world_now (world) > flight->submitted + SLOW)
    oracle->quiet_since = world_now (world);
  if (flight->type == IO_FLUSH)
    flush_done (&oracle->legs[leg], flight, result);
  else if (!is_write (flight))
    read_done (oracle, leg, flight, result);
  else if (flight->area == AREA_DATA)
    data_done (oracle, leg, flight, result);
  else if (flight->area == AREA_BITMAP || flight->area == AREA_FILE)
    bitmap_done (oracle, leg, flight);
  else if (flight->area == AREA_SUPER)
    super_done (oracle, leg);
  flight->next = oracle->spare;
  oracle->spare = flight;
}
