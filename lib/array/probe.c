/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Finding the superblock of a leg.  Reads only.
 *
 * Each version keeps it elsewhere, so all four places are read at once.  What
 * counts is a superblock whose magic, version and checksum are right and which
 * says that it belongs where it was found.  Of several superblock_choose takes
 * one, and that is said: mdadm clears only what it finds, and whoever uses the
 * array may make another one inside of it.  If it cannot tell, the leg is
 * refused.  What it takes may be something that we refuse to serve; an older
 * one is not taken instead.
 *
 * A leg without one is not used; leg->why_not says why.  Only a lack of memory
 * is an error, since it says nothing about the leg.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "array/internal.h"
#include "format/layout.h"

/* What was found in one place. */
struct place {
  enum superblock_version version;
  uint64_t sector; /* UINT64_MAX: the leg has no such place */
  struct io *io;
  struct superblock *superblock;
  int err; /* of reading or decoding */
  bool counts;
  struct format_error error;
};

struct probe {
  struct array *array;
  struct leg *leg;
  uint64_t sectors; /* of the leg */
  struct io_batch *batch;
  struct place places[SUPERBLOCK_VERSIONS];
};

/* The leg is not used, and this is the line that says why. */
__attribute__ ((format (printf, 3, 4))) static void
unusable (struct array *array, struct leg *leg, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (leg->why_not, sizeof leg->why_not, format, args);
  va_end (args);
  leg->fate = ARRAY_LEG_ABSENT;
  log_error (array->log, "leg %s: %s", leg->name, leg->why_not);
}

static void
refuse (struct array *array, struct leg *leg, const struct format_error *error)
{
  char text[512];

  format_error_string (error, text, sizeof text);
  leg->fate = ARRAY_LEG_ABSENT;
  format_error_string (error, leg->why_not, sizeof leg->why_not);
  log_error (array->log, "leg %s: %s", leg->name, text);
}

/* ---- reading ---- */

static int
read_places (struct probe *probe)
{
  struct buffer *buffer;

  probe->batch = io_batch_new (SUPERBLOCK_VERSIONS);
  if (!probe->batch)
    return -ENOMEM;
  for (unsigned i = 0; i < SUPERBLOCK_VERSIONS; ++i) {
    struct place *place = &probe->places[i];

    place->version = (enum superblock_version)i;
    place->sector = superblock_sector (place->version, probe->sectors);
    if (place->sector == UINT64_MAX)
      continue;
    buffer = buffer_new (SUPERBLOCK_BYTES);
    if (!buffer)
      return -ENOMEM;
    place->io =
        io_batch_add (probe->batch, probe->leg->device, IO_READ, 0,
                      place->sector * SECTOR_SIZE, SUPERBLOCK_BYTES, buffer, 0);
    buffer_unref (buffer);
  }
  io_batch_submit (probe->batch);
  io_batch_wait (probe->batch);
  return 0;
}

static int
decode_place (struct probe *probe, struct place *place)
{
  bool intact = false;

  if (!place->io) {
    place->err = -ENOENT;
    return 0;
  }
  place->err = place->io->result;
  if (place->err != 0)
    return place->err == -ENOMEM ? -ENOMEM : 0;
  place->superblock = rt_alloc (sizeof *place->superblock);
  if (!place->superblock)
    return -ENOMEM;
  place->err =
      superblock_decode (place->version, place->io->data, probe->sectors,
                         place->superblock, &intact, &place->error);
  /* What lies at another sector than it says may be seen of a leg that begins
   * elsewhere on this device, and is not ours.
   */
  place->counts =
      place->err == 0
      || (intact && place->superblock->super_offset == place->sector);
  return 0;
}

/* ---- choosing ---- */

/* A place that is not what is used, and may have been. */
static void
mention (struct probe *probe, const struct place *place,
         const struct place *used)
{
  if (place->counts || place->err == 0 || place->err == -ENOENT)
    return;
  log_notice (probe->array->log,
              "leg %s: if there was a superblock of version %s it %s; that of "
              "version %s is used",
              probe->leg->name, superblock_version_string (place->version),
              place->err == -EINVAL ? "is damaged" : "could not be read",
              superblock_version_string (used->version));
}

/* Several count: what is made of that. */
static void
tell_others (struct probe *probe, const struct place *used)
{
  for (unsigned n = SUPERBLOCK_VERSIONS; n-- > 0;) {
    const struct place *place = &probe->places[n];

    if (place != used && place->counts)
      log_notice (probe->array->log,
                  "leg %s: it has superblocks of versions %s and %s; that of "
                  "version %s is used, the other one is older or lies inside "
                  "of the data",
                  probe->leg->name, superblock_version_string (used->version),
                  superblock_version_string (place->version),
                  superblock_version_string (used->version));
    else
      mention (probe, place, used);
  }
}

/* The place whose superblock is the leg's; NULL if there is none, or if that
 * cannot be told, in which case it has been said.
 */
static struct place *
choose (struct probe *probe, bool *ambiguous)
{
  const struct superblock *valid[SUPERBLOCK_VERSIONS] = { NULL };
  enum superblock_version chosen, rival;
  int err;

  for (unsigned n = 0; n < SUPERBLOCK_VERSIONS; ++n)
    if (probe->places[n].counts)
      valid[n] = probe->places[n].superblock;
  err = superblock_choose (valid, &chosen, &rival);
  *ambiguous = err == -EINVAL;
  if (*ambiguous)
    unusable (probe->array, probe->leg,
              "it has superblocks of versions %s and %s, and nothing tells "
              "which is true; remove the other one with mdadm "
              "--zero-superblock --metadata=VERSION",
              superblock_version_string (chosen),
              superblock_version_string (rival));
  if (err != 0)
    return NULL;
  tell_others (probe, &probe->places[chosen]);
  return &probe->places[chosen];
}

/* Nothing counts: say what there is instead. */
static void
explain_none (struct probe *probe)
{
  const struct place *damaged = NULL, *unread = NULL;

  for (unsigned n = SUPERBLOCK_VERSIONS; n-- > 0;) {
    const struct place *place = &probe->places[n];

    if (place->err == -EINVAL && place->superblock && !damaged)
      damaged = place;
    else if (place->err != 0 && place->err != -ENOENT && !unread)
      unread = place;
  }
  if (damaged)
    refuse (probe->array, probe->leg, &damaged->error);
  else if (unread)
    unusable (probe->array, probe->leg, "reading the superblock: %s",
              strerror (-unread->err));
  else
    unusable (probe->array, probe->leg,
              "no md superblock of any version (0.90, 1.0, 1.1, 1.2) found; "
              "is it the right file or device?");
}

static int
check_events (const struct superblock *sb, struct format_error *error)
{
  if (sb->events <= EVENTS_MAX)
    return 0;
  return format_refuse (error, "events",
                        "it is damaged: zero it with mdadm and add it anew",
                        "at most 2^62 - 2^40", "%ju", (uintmax_t)sb->events);
}

/* May the leg be served by what was found? */
static void
judge (struct probe *probe, struct place *place)
{
  struct format_error error = place->error;
  int err = place->err;

  if (err == 0)
    err = check_events (place->superblock, &error);
  if (err == 0)
    err = layout_check (place->superblock, NULL, probe->sectors, &error);
  if (err != 0) {
    refuse (probe->array, probe->leg, &error);
    return;
  }
  probe->leg->superblock = place->superblock;
  place->superblock = NULL;
}

int
leg_probe (struct array *array, struct leg *leg)
{
  struct probe probe = { .array = array, .leg = leg };
  struct place *place;
  bool ambiguous;
  int err;

  if (!leg->device) {
    leg->fate = ARRAY_LEG_ABSENT;
    snprintf (leg->why_not, sizeof leg->why_not, "it cannot be opened");
    return 0;
  }
  probe.sectors = leg->device->limits.size / SECTOR_SIZE;
  if (leg->device->limits.size < 2 * SUPERBLOCK_BYTES) {
    unusable (array, leg, "%ju bytes are too few for an md leg",
              (uintmax_t)leg->device->limits.size);
    return 0;
  }
  err = read_places (&probe);
  for (unsigned i = 0; i < SUPERBLOCK_VERSIONS && err == 0; ++i)
    err = decode_place (&probe, &probe.places[i]);
  if (err == 0) {
    place = choose (&probe, &ambiguous);
    if (place)
      judge (&probe, place);
    else if (!ambiguous)
      explain_none (&probe);
  }
  for (unsigned i = 0; i < SUPERBLOCK_VERSIONS; ++i)
    rt_free (probe.places[i].superblock);
  io_batch_unref (probe.batch);
  return err;
}
