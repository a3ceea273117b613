/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The oracle and the bitmap in a file.
 *
 * While the file can be believed after a crash, a chunk's bit is durable in it
 * before data goes to any leg.  It is believed by who is given it if its header
 * says so: not STALE, and with events no less than those of the superblocks.
 * So once every superblock is durably ahead of all that the file may carry,
 * and not before, nothing rests on its bits; that they say "not clean" is
 * checked with each data write anyway.
 *
 * All this holds as well when the array runs without its file.
 * One OS thread, no locks.
 */

#include <config.h>

#include <string.h>

#include "sim/oracle_internal.h"

/* As in oracle.c: who chose to write before the file was given up. */
#define ON_THE_WAY (10 * RT_SECOND)

static const struct disk *
file_disk (const struct oracle *oracle)
{
  return oracle->legs[SIM_FILE].disk;
}

void
oracle_header (const struct oracle *oracle, unsigned leg,
               struct header_view *view)
{
  const struct oracle_geometry *g = &oracle->geometry;

  if (g->has_file)
    file_header (g, disk_durable (file_disk (oracle)), view);
  else
    header_view_of_image (g, disk_durable (oracle->legs[leg].disk), view);
}

/* ---- who would believe it ---- */

/* Nobody can know how far it is ahead. */
static bool
is_others (const struct file_watch *watch)
{
  return watch->astray && !watch->in_use && watch->failed == 0;
}

static uint64_t
believable_events (const struct oracle_geometry *g, const struct image *image)
{
  struct header_view view;

  file_header (g, image, &view);
  return view.valid && !(view.state & BITMAP_STALE) ? view.events : 0;
}

/* The most that a crash may leave there, now or once the disk has done what it
 * was asked for; 0: whoever looks sees that it is stale.
 */
static uint64_t
possible_events (const struct oracle *oracle)
{
  const struct disk *disk = file_disk (oracle);
  uint64_t events =
      max_u64 (believable_events (&oracle->geometry, disk_durable (disk)),
               believable_events (&oracle->geometry, disk_current (disk)));

  for (const struct flight *f = oracle->legs[SIM_FILE].flights; f; f = f->next)
    if (f->area == AREA_FILE)
      events = max_u64 (events, f->events);
  return events;
}

bool
oracle_file_unbelievable (struct oracle *oracle)
{
  const uint64_t events = possible_events (oracle);

  for (unsigned i = 0; i < oracle->n; ++i)
    if (oracle_in_sync (oracle, i)
        && (!oracle_super (oracle, i)->valid
            || oracle_super (oracle, i)->events <= events))
      return false;
  return true;
}

void
oracle_look_at_file (struct oracle *oracle)
{
  const struct array *array = oracle->array;
  struct file_watch *watch = &oracle->file;

  if (!oracle->geometry.has_file)
    return;
  watch->in_use = array->file_state == BITMAP_FILE_IN_USE;
  if (watch->lost == 0 && legs_file_lost (world))
    watch->lost = oracle->moment, watch->lost_at = world_now (world);
  if (array->file_state != BITMAP_FILE_FAILED)
    return;
  if (watch->failed == 0) {
    watch->failed = oracle->moment;
    watch->failed_at = world_now (world);
    oracle->moments |= 1u << MOMENT_RECORD;
    if (!disk_was_faulty (file_disk (oracle)))
      violation ("I9", "the file is given up, and nothing was wrong with it");
  }
  if (watch->recorded == 0 && oracle_file_unbelievable (oracle))
    watch->recorded = oracle->moment;
}

/* ---- writes to it ---- */

/* One header says that it is stale, unless its blocks are no longer its own;
 * and nothing comes after.
 */
static void
check_given_up (struct oracle *oracle, const struct io *io, bool marks)
{
  struct file_watch *watch = &oracle->file;

  if (watch->lost != 0 && world_now (world) > watch->lost_at + ON_THE_WAY)
    violation ("file",
               "a write at %ju, long after its blocks have become "
               "somebody else's",
               (uintmax_t)io->offset);
  if (watch->failed == 0 || watch->marked == io->batch)
    return;
  if (watch->marked)
    violation ("file",
               "a write at %ju, after the file was given up, and its "
               "header has said so",
               (uintmax_t)io->offset);
  if (marks && watch->lost != 0 && watch->lost <= watch->failed)
    violation ("file", "it is marked as stale, though its blocks may be "
                       "somebody else's");
  if (marks)
    watch->marked = io->batch;
  else if (world_now (world) > watch->failed_at + ON_THE_WAY)
    violation ("file", "a write at %ju, long after it was given up",
               (uintmax_t)io->offset);
}

static void
check_bits (struct oracle *oracle, const struct io *io, uint64_t offset,
            bool stale, struct flight *flight)
{
  const struct image *durable = disk_durable (file_disk (oracle));
  const uint64_t used = bitmap_bytes (oracle->geometry.chunks);
  uint8_t block[DISK_SECTOR];

  for (uint64_t at = 0; at < io->length; at += sizeof block) {
    uint64_t byte = offset + at;

    image_read (durable, io->offset + at, block, sizeof block);
    if (memcmp (block, io->data + at, sizeof block) == 0)
      continue;
    for (unsigned i = 0; i < sizeof block; ++i, ++byte)
      if (block[i] != io->data[at + i] && byte >= BITMAP_SUPERBLOCK_BYTES
          && byte < used)
        oracle_check_byte (oracle, byte, block[i], io->data[at + i], stale,
                           flight);
  }
}

void
oracle_check_file (struct oracle *oracle, const struct io *io,
                   struct flight *flight)
{
  const struct oracle_geometry *g = &oracle->geometry;
  struct header_view then, now = { .valid = false };
  uint64_t offset;
  bool stale;

  if (io->type != IO_WRITE || !file_find (g, io->offset, io->length, &offset))
    violation ("I16", "%ju bytes at %ju of the file's disk are not the file's",
               (uintmax_t)io->length, (uintmax_t)io->offset);
  if (g->file.io == FILE_PAGECACHE && (io->flags & IO_FUA))
    violation ("file", "a write through the page cache asks for FUA");
  file_header (g, disk_durable (file_disk (oracle)), &then);
  stale = header_view_stale (&then, oracle->array->events);
  if (offset == 0) {
    header_view_of_block (io->data, &now);
    flight->events = now.state & BITMAP_STALE ? 0 : now.events;
    stale = oracle_check_header (oracle, SIM_FILE, &now, &then, stale);
  }
  check_given_up (oracle, io, now.state & BITMAP_STALE);
  if (oracle->file.failed == 0 || !oracle_file_unbelievable (oracle))
    check_bits (oracle, io, offset, stale, flight);
}

/* ---- what rests on it ---- */

static bool
within (uint64_t offset, uint64_t area, uint64_t length)
{
  return offset >= area && offset < area + length;
}

/* Is the bit certain to be found set after a crash now? */
static bool
bit_is_safe (const struct oracle *oracle, uint64_t chunk)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct disk *disk = file_disk (oracle);
  const uint64_t byte = bitmap_bit_byte (chunk);
  uint64_t offset;

  if (!file_bit (g, disk_durable (disk), chunk)
      || !file_bit (g, disk_current (disk), chunk))
    return false;
  for (const struct flight *f = oracle->legs[SIM_FILE].flights; f; f = f->next)
    if (f->area == AREA_FILE && f->type == IO_WRITE
        && file_find (g, f->offset, f->length, &offset)
        && within (byte, offset, f->length)
        && !(f->io->data[byte - offset] & bitmap_bit_mask (chunk)))
      return false;
  return true;
}

static bool
stops (const struct oracle *oracle, uint64_t began)
{
  return oracle->array->options.stop_on_bitmap_error
         && oracle->file.recorded != 0 && oracle->file.recorded < began;
}

/* I24: whoever forgets the file will be told. */
static void
check_noted (struct oracle *oracle)
{
  const struct oracle_geometry *g = &oracle->geometry;

  for (unsigned i = 0; i < oracle->n; ++i)
    if (oracle_in_sync (oracle, i)
        && !file_seems_noted (g, disk_durable (oracle->legs[i].disk)))
      violation ("I24",
                 "leg %u: data is submitted whose bits are in a file, and it "
                 "does not say so",
                 i);
}

void
oracle_check_file_marked (struct oracle *oracle, const struct flight *data)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct request_watch *request =
      &oracle->requests[data->fiber % ORACLE_FIBERS];
  uint64_t chunk = (data->offset - g->data) / g->chunk;
  uint64_t last = (data->offset + data->length - 1 - g->data) / g->chunk;
  const bool resync = strcmp (fiber_name (fiber_self ()), "mdbitmap-sync") == 0;

  if (!g->has_file)
    return;
  if (!resync && stops (oracle, request->answered))
    violation ("stop", "data is written, and the file has been given up");
  if (oracle_file_unbelievable (oracle) || is_others (&oracle->file))
    return;
  check_noted (oracle);
  for (; chunk <= last; ++chunk)
    if (!bit_is_safe (oracle, chunk))
      violation ("I1a",
                 "data of chunk %ju is submitted, its bit is not durable in "
                 "the file, and the file could be believed: its events are "
                 "%ju",
                 (uintmax_t)chunk, (uintmax_t)possible_events (oracle));
}

void
oracle_check_file_answer (struct oracle *oracle, enum step_type type,
                          const struct request_watch *request)
{
  const struct file_watch *watch = &oracle->file;

  if (type == STEP_READ || watch->failed == 0)
    return;
  if (watch->failed < request->answered && !oracle_file_unbelievable (oracle))
    violation ("I3",
               "a %s was answered, the file had been given up, and that is "
               "not on record everywhere: it may carry events %ju",
               step_type_string (type), (uintmax_t)possible_events (oracle));
  if (type != STEP_FLUSH && stops (oracle, request->answered))
    violation ("stop", "a %s was answered well, and the file had been given up",
               step_type_string (type));
}

/* ---- notes ---- */

static bool
is_zero (const uint8_t *data, uint64_t length)
{
  return data[0] == 0 && memcmp (data, data + 1, length - 1) == 0;
}

/* I24.  Who is not told of a file leads by less than one that we wrote may. */
void
oracle_check_note (struct oracle *oracle, unsigned leg, const struct io *io)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const uint8_t *now = io->data + (g->note - io->offset);
  const struct super_view *super = oracle_super (oracle, leg);
  uint8_t then[BITMAP_NOTE_BYTES];

  if (io->type != IO_WRITE || !(oracle->once_in_sync >> leg & 1)
      || oracle_long_failed (oracle, leg))
    violation ("I16", "leg %u: a note is written that has no business there",
               leg);
  if (!super->valid || file_is_note (now, super->set_uuid))
    return;
  if (!is_zero (now, sizeof then))
    violation ("I16", "leg %u: a note is written that is not valid", leg);
  image_read (disk_durable (oracle->legs[leg].disk), g->note, then,
              sizeof then);
  if (file_is_note (then, super->set_uuid) && !is_others (&oracle->file)
      && !disk_was_faulty (oracle->legs[leg].disk)
      && !oracle_file_unbelievable (oracle))
    violation ("I24",
               "leg %u: no longer says that there is a file, and the file "
               "could be believed: its events are %ju",
               leg, (uintmax_t)possible_events (oracle));
}

/* ---- in the end ---- */

void
oracle_check_no_file_bits (const struct oracle *oracle, const char *when)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct leg_watch *watch = &oracle->legs[SIM_FILE];

  if (!g->has_file || !oracle->file.in_use || watch->flights
      || disk_was_faulty (watch->disk))
    return;
  for (uint64_t chunk = 0; chunk < g->chunks; ++chunk)
    if (file_bit (g, disk_durable (watch->disk), chunk))
      violation ("I25", "chunk %ju: %s, it is still marked in the file",
                 (uintmax_t)chunk, when);
}
