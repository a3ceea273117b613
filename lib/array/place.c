/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Where the bitmap is: what the superblocks say, what the note on the legs says
 * (bitmap_note.h), and what the user says.
 *
 * An internal bitmap is announced by the superblock, and excludes a file.  That
 * there is a file only the user knows, unless we were the last to serve the
 * array.  Who leaves it out has forgotten it, or means it: so it must be said.
 * Then the file must never be believed again, since what is written from now on
 * is not in it: before the first write the events lead by more than whatever
 * its header may lead by (array->lead).  That is done for an array of which we
 * know no file as well: mdadm's leaves no trace, and the kernel, which writes
 * the header before the superblocks, may have left it one ahead.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "array/internal.h"

/* The same for a file that only the kernel may know. */
#define LEAD_OF_A_KERNEL 2

static const char *
noted_path (const struct array *array)
{
  return array->note.path[0] != '\0' ? array->note.path : "(a long path)";
}

static int
choose_internal (struct array *array)
{
  array->bitmap_place = ARRAY_BITMAP_INTERNAL;
  if (array->has_bitmap)
    return 0;
  log_error (array->log,
             "bitmap=internal: array %s has no internal bitmap; add one with "
             "mdbitmap bitmap internal LEG..., or serve it %s",
             array->uuid,
             array->noted ? "with the file that it has, bitmap=PATH"
                          : "without, with bitmap=auto");
  return -EINVAL;
}

static int
choose_file (struct array *array)
{
  array->bitmap_place = ARRAY_BITMAP_FILE;
  /* The other one may be as valid as this one, if a change from one to the
   * other was interrupted (change.c).
   */
  if (array->noted
      && strcmp (array->note.path, array->options.bitmap_file) != 0)
    array->lead = LEAD_OF_OURS;
  if (!array->has_bitmap)
    return 0;
  log_error (array->log,
             "bitmap=%s: array %s has an internal bitmap, and it cannot have "
             "both; serve it as it is, with bitmap=auto, or change it with "
             "mdbitmap bitmap %s LEG...",
             array->options.bitmap_file, array->uuid,
             array->options.bitmap_file);
  return -EINVAL;
}

static int
choose_none (struct array *array)
{
  array->bitmap_place = ARRAY_BITMAP_NONE;
  array->lead =
      array->noted || array->note_unknown ? LEAD_OF_OURS : LEAD_OF_A_KERNEL;
  if (array->has_bitmap) {
    log_error (array->log,
               "bitmap=none: array %s has an internal bitmap; serve it as it "
               "is, with bitmap=auto, or take it away with mdbitmap bitmap "
               "none LEG...",
               array->uuid);
    return -EINVAL;
  }
  log_notice (array->log,
              "array %s: it has no bitmap: after a crash all of it is "
              "resynced; mdbitmap bitmap internal LEG... adds one",
              array->uuid);
  if (array->noted && !array->options.read_only)
    log_notice (array->log,
                "array %s: its bitmap file %s is given up: whatever is "
                "written from now on is not in it",
                array->uuid, noted_path (array));
  return 0;
}

static int
choose_auto (struct array *array)
{
  if (array->has_bitmap)
    return choose_internal (array);
  if (!array->noted)
    return choose_none (array);
  if (array->options.read_only) {
    array->bitmap_place = ARRAY_BITMAP_NONE;
    log_notice (array->log,
                "array %s: its bitmap is in the file %s, which is not given "
                "(bitmap=PATH); reading goes on without",
                array->uuid, noted_path (array));
    return 0;
  }
  log_error (array->log,
             "array %s: its bitmap is in the file %s, as of events %ju, and no "
             "file is given: give bitmap=PATH; or bitmap=none to go on without "
             "it for ever, and after a crash resync all of the array",
             array->uuid, noted_path (array), (uintmax_t)array->note.events);
  return -EINVAL;
}

int
array_choose_bitmap (struct array *array)
{
  switch (array->options.bitmap) {
  case ARRAY_BITMAP_INTERNAL:
    return choose_internal (array);
  case ARRAY_BITMAP_NONE:
    return choose_none (array);
  case ARRAY_BITMAP_FILE:
    return choose_file (array);
  case ARRAY_BITMAP_AUTO:
    break;
  }
  return choose_auto (array);
}
