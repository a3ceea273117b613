/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The oracle looks at metadata as it is submitted: pages of the bitmap, and
 * superblocks.
 *
 * A leg may fail in memory after something was decided and before it is
 * submitted.  So rules that speak of the moment of a decision are checked by
 * what they are there for: a bit is cleared only if no leg that an assembly
 * may ever trust lacks anything in the chunk, whoever has failed since.
 * One OS thread, no locks.
 */

#include <config.h>

#include <string.h>

#include "sim/oracle_internal.h"

/* What a file written by us may lead by. */
#define FILE_LEAD_MAX 8

static bool
is_write (const struct flight *flight)
{
  return flight->type == IO_WRITE || flight->type == IO_ZERO;
}

static bool
data_in_flight (const struct oracle *oracle, unsigned leg, uint64_t offset,
                uint64_t length)
{
  for (const struct flight *f = oracle->legs[leg].flights; f; f = f->next)
    if (f->area == AREA_DATA && is_write (f)
        && overlap (f->offset, f->length, offset, length))
      return true;
  return false;
}

/* ---- the bitmap: clearing ---- */

/* Some leg in sync, for comparisons. */
static unsigned
any_in_sync (const struct oracle *oracle)
{
  for (unsigned i = 0; i < oracle->n; ++i)
    if (oracle_in_sync (oracle, i))
      return i;
  violation ("I9", "no leg is in sync");
}

/* I4 and rule 3: with this bit gone, nobody will look at the chunk again. */
static void
check_clear_leg (struct oracle *oracle, unsigned leg, uint64_t chunk)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const uint64_t start = chunk_start (g, chunk), n = chunk_length (g, chunk);
  const struct disk *disk = oracle->legs[leg].disk;
  const unsigned other = any_in_sync (oracle);
  struct header_view header;

  if (!(oracle->once_in_sync >> leg & 1))
    violation ("I10",
               "chunk %ju is cleared, and slot %u has been empty since the "
               "start",
               (uintmax_t)chunk, leg);
  if (data_in_flight (oracle, leg, start, n))
    violation ("I4", "leg %u: chunk %ju is cleared with a write in flight", leg,
               (uintmax_t)chunk);
  if (!disks_same (g, disk, oracle->legs[other].disk, start, n))
    violation ("I4",
               "legs %u and %u: chunk %ju is cleared, and they are not "
               "equal, durably",
               other, leg, (uintmax_t)chunk);
  if (!oracle_in_sync (oracle, leg))
    return;
  if (disk_has_volatile (disk, start, n))
    violation ("I4", "leg %u: chunk %ju is cleared, and not flushed", leg,
               (uintmax_t)chunk);
  oracle_header (oracle, leg, &header);
  if (header.events_cleared < oracle->base_events)
    violation ("I4",
               "leg %u: chunk %ju is cleared, but events_cleared is only %ju "
               "there, and a leg may have left with %ju",
               leg, (uintmax_t)chunk, (uintmax_t)header.events_cleared,
               (uintmax_t)oracle->base_events - 1);
}

/* A copy that nobody believes is made anew, and may lose bits that others do
 * not have: legs are equal there.
 */
static void
check_clear_stale (const struct oracle *oracle, uint64_t chunk)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const uint64_t start = chunk_start (g, chunk);
  const unsigned first = any_in_sync (oracle);

  for (unsigned i = 0; i < oracle->n; ++i)
    if (oracle_in_sync (oracle, i)
        && !disks_same (g, oracle->legs[first].disk, oracle->legs[i].disk,
                        start, chunk_length (g, chunk)))
      violation ("I1",
                 "legs %u and %u: chunk %ju loses its bit when copies are "
                 "merged, and they are not equal",
                 first, i, (uintmax_t)chunk);
}

static void
check_clear (struct oracle *oracle, uint64_t chunk, bool stale)
{
  if (stale) {
    check_clear_stale (oracle, chunk);
    return;
  }
  for (unsigned i = 0; i < oracle->n; ++i)
    check_clear_leg (oracle, i, chunk);
}

void
oracle_check_byte (struct oracle *oracle, uint64_t byte, uint8_t was,
                   uint8_t is, bool stale, struct flight *flight)
{
  for (unsigned i = 0; i < 8; ++i) {
    uint64_t chunk = (byte - BITMAP_SUPERBLOCK_BYTES) * 8 + i;

    if (!((was ^ is) >> i & 1) || chunk >= oracle->geometry.chunks)
      continue;
    if (is >> i & 1) {
      flight->sets = true;
      oracle_check_set (oracle, chunk);
    }
    else {
      flight->clears = true;
      check_clear (oracle, chunk, stale);
    }
  }
}

/* ---- the bitmap: its header ---- */

/* events_cleared says: a leg that has these events or more missed nothing but
 * what has a bit.
 */
static void
check_events_cleared (struct oracle *oracle, uint64_t cleared)
{
  struct header_view header;

  for (unsigned i = 0; i < oracle->n; ++i) {
    if (!oracle_in_sync (oracle, i))
      continue;
    oracle_header (oracle, i, &header);
    if (header.valid && header.events_cleared >= cleared)
      return; /* it has not moved */
  }
  if (oracle->losers != 0 && cleared == oracle->loser_events + 1)
    return; /* higher is safe, and shuts them out */
  for (unsigned i = 0; i < oracle->n; ++i) {
    if (!(oracle->once_in_sync >> i & 1))
      violation ("I10",
                 "events_cleared moves to %ju, and slot %u has been empty "
                 "since the start",
                 (uintmax_t)cleared, i);
    if (oracle_super (oracle, i)->events < cleared)
      violation ("I10",
                 "events_cleared moves to %ju, and leg %u only carries "
                 "events %ju",
                 (uintmax_t)cleared, i,
                 (uintmax_t)oracle_super (oracle, i)->events);
  }
}

bool
oracle_check_header (struct oracle *oracle, unsigned leg,
                     const struct header_view *now,
                     const struct header_view *then, bool stale)
{
  const struct disk *disk = oracle->legs[leg].disk;
  const struct super_view *super =
      oracle_super (oracle, leg == SIM_FILE ? any_in_sync (oracle) : leg);

  /* A superblock 0.90 that was torn says nothing. */
  if (!now->valid
      || (super->valid
          && memcmp (now->uuid, super->set_uuid, sizeof now->uuid) != 0))
    violation ("I14", "leg %u: the header of the bitmap is not valid", leg);
  /* A file from the other half of a split brain may be far ahead: it is taken
   * for damaged, and made anew.
   */
  if (then->valid && now->events < then->events && !disk_was_faulty (disk)
      && !(leg == SIM_FILE
           && then->events > oracle->base_events + FILE_LEAD_MAX))
    violation ("I14", "leg %u: events of the bitmap go from %ju to %ju", leg,
               (uintmax_t)then->events, (uintmax_t)now->events);
  stale |= now->state & BITMAP_STALE;
  if (!stale)
    check_events_cleared (oracle, now->events_cleared);
  return stale;
}

void
oracle_check_bitmap (struct oracle *oracle, unsigned leg, const struct io *io,
                     struct flight *flight)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct image *durable = disk_durable (oracle->legs[leg].disk);
  const uint64_t used = bitmap_bytes (g->chunks);
  struct header_view header, now;
  uint8_t block[512];
  bool stale;

  if (io->type != IO_WRITE || (io->offset - g->bitmap) % BITMAP_PAGE_BYTES != 0)
    violation ("I16", "leg %u: %ju bytes of the bitmap at %ju: not pages", leg,
               (uintmax_t)io->length, (uintmax_t)(io->offset - g->bitmap));
  header_view_of_image (g, durable, &header);
  stale = header_view_stale (&header, oracle->array->events);
  if (io->offset == g->bitmap) {
    header_view_of_block (io->data, &now);
    flight->events = now.events;
    stale = oracle_check_header (oracle, leg, &now, &header, stale);
  }
  for (uint64_t at = 0; at < io->length; at += sizeof block) {
    uint64_t byte = io->offset - g->bitmap + at;

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

/* ---- superblocks: order ---- */

/* I12 and I20: before anybody can see that a split brain is settled, no copy of
 * the bitmap is good for a loser; and no superblock is within what a kernel
 * before 6.8 tolerates of a loser's, whatever roles say.
 */
static void
check_losers (const struct oracle *oracle, unsigned leg,
              const struct header_view *header, const struct super_view *now)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const uint64_t lost = oracle->loser_events;

  if (oracle->losers == 0)
    return;
  if (g->has_bitmap && header->events_cleared <= lost)
    violation ("I20",
               "leg %u: events_cleared %ju would let a loser with events %ju "
               "be added again",
               leg, (uintmax_t)header->events_cleared, (uintmax_t)lost);
  if (now->events + 1 >= lost && now->events < lost + 2
      && now->events > oracle->base_events)
    violation ("I12",
               "a superblock with events %ju is submitted, and a loser has %ju",
               (uintmax_t)now->events, (uintmax_t)lost);
  for (unsigned i = 0; i < oracle->n; ++i)
    if ((oracle->losers >> i & 1) && now->roles[i] <= ROLE_LAST
        && now->events > oracle->base_events)
      violation ("I12", "leg %u: lost, and has slot %u on record still", i,
                 now->roles[i]);
}

/* What the leg says already: where its block has the note as well, both are
 * written.
 */
static bool
says_again (struct oracle *oracle, unsigned leg, const struct super_view *now)
{
  const struct super_view *then = oracle_super (oracle, leg);

  return oracle->geometry.has_file && then->valid && then->events == now->events
         && super_view_same (then, now);
}

/* Rule 6 and I14, leg by leg. */
static void
check_order (struct oracle *oracle, unsigned leg, const struct super_view *now)
{
  const bool several = oracle_count_in_sync (oracle) > 1;
  const bool again = says_again (oracle, leg, now);
  struct header_view header;

  for (unsigned i = 0; i < oracle->n; ++i) {
    const struct super_view *s;

    if (!oracle_in_sync (oracle, i))
      continue;
    if (now->roles[i] > ROLE_LAST)
      violation ("I9", "leg %u: is in sync, and recorded as faulty", i);
    oracle_header (oracle, i, &header);
    if ((oracle->geometry.has_bitmap || oracle->file.in_use) && !again
        && (!header.valid || header.events < now->events))
      violation ("I14",
                 "leg %u: a superblock with events %ju is submitted, and the "
                 "bitmap of leg %u is at %ju",
                 leg, (uintmax_t)now->events, i, (uintmax_t)header.events);
    check_losers (oracle, i, &header, now);
    s = oracle_super (oracle, i);
    if (several && oracle->losers == 0 && s->events + 1 < now->events)
      violation ("rule 6",
                 "leg %u: a superblock with events %ju is submitted, and leg "
                 "%u is at %ju",
                 leg, (uintmax_t)now->events, i, (uintmax_t)s->events);
    if (i != leg && s->valid && s->events == now->events
        && !super_view_same (s, now))
      violation ("I14",
                 "legs %u and %u: events %ju are used twice, for different "
                 "superblocks",
                 i, leg, (uintmax_t)now->events);
  }
}

static bool
super_in_flight (const struct oracle *oracle, unsigned leg)
{
  for (const struct flight *f = oracle->legs[leg].flights; f; f = f->next)
    if (f->area == AREA_SUPER && is_write (f))
      return true;
  return false;
}

/* I13: somewhere a superblock lies still.  It may be that of a leg that has
 * just failed, as long as nobody says so.
 */
static void
check_waves (struct oracle *oracle, unsigned leg)
{
  if (oracle_count_in_sync (oracle) < 2)
    return;
  for (unsigned i = 0; i < oracle->n; ++i)
    if (i != leg && oracle_trusted (oracle, i) && !super_in_flight (oracle, i))
      return;
  violation ("I13", "leg %u: now all superblocks are being overwritten", leg);
}

/* ---- superblocks: clean ---- */

/* Rule 7, I15: the legs that this superblock counts on. */
static void
check_clean_leg (struct oracle *oracle, unsigned leg)
{
  const struct oracle_geometry *g = &oracle->geometry;
  const struct disk *disk = oracle->legs[leg].disk;
  const struct disk *first = oracle->legs[any_in_sync (oracle)].disk;

  if (data_in_flight (oracle, leg, g->data, g->size))
    violation ("I15", "leg %u: clean is written with data in flight", leg);
  if (oracle_in_sync (oracle, leg)
      && disk_has_volatile (disk, g->data, g->size))
    violation ("I15", "leg %u: clean is written, and data is not flushed", leg);
  if (!disks_same (g, disk, first, g->data, g->size))
    violation ("I15",
               "legs %u and %u: clean is written, and they are not equal",
               disk_number (first), leg);
}

static void
check_clean (struct oracle *oracle, const struct super_view *now)
{
  uint64_t needed = bitmap_needed (oracle->array->bitmap);

  if (needed > 0)
    violation ("I15", "clean is written, and %ju chunks need resync",
               (uintmax_t)needed);
  for (unsigned i = 0; i < oracle->n; ++i)
    if ((oracle->once_in_sync >> i & 1) && now->roles[i] <= ROLE_LAST)
      check_clean_leg (oracle, i);
}

void
oracle_check_super (struct oracle *oracle, unsigned leg, const struct io *io,
                    struct flight *flight)
{
  const struct super_view *then = oracle_super (oracle, leg);
  uint8_t raw[SUPER_BYTES] = { 0 };
  struct super_view now;

  if (io->type == IO_WRITE)
    memcpy (raw, io->data, min_u64 (io->length, sizeof raw));
  super_view_of_raw (&oracle->geometry, raw, &now);
  if (!now.valid || now.leg != leg
      || (then->valid
          && memcmp (now.set_uuid, then->set_uuid, sizeof now.set_uuid) != 0))
    violation ("I14", "leg %u: a superblock that is not valid is submitted",
               leg);
  if (then->valid && now.events < then->events)
    violation ("I14", "leg %u: events go from %ju to %ju", leg,
               (uintmax_t)then->events, (uintmax_t)now.events);
  if (now.resync_offset != 0 && !now.clean)
    violation ("rule 10", "leg %u: resync_offset %ju: md ignores bits below it",
               leg, (uintmax_t)now.resync_offset);
  if (!(oracle->once_in_sync >> leg & 1) || oracle_long_failed (oracle, leg))
    violation ("rule 5",
               "leg %u: is not in sync, and its superblock is written", leg);
  oracle_check_has_bad (oracle, leg, &now);
  if (oracle->geometry.has_file
      && io->offset + io->length > oracle->geometry.note
      && io->offset < oracle->geometry.note)
    oracle_check_note (oracle, leg, io);
  flight->events = now.events;
  flight->clean = now.clean;
  check_order (oracle, leg, &now);
  check_waves (oracle, leg);
  if (now.clean && !says_again (oracle, leg, &now))
    check_clean (oracle, &now);
}
