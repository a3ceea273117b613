/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* An array that cannot be started: what each of its legs says, so that a human
 * can decide; and after a split brain the commands to choose from.  The
 * library has said why it refuses.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assemble.h"
#include "base/bytes.h"
#include "base/rt.h"

struct history {
  struct tool_leg leg;
  bool opened;
  struct tool_bitmap bitmap;
  bool has_bitmap; /* and it has been counted */
  struct tool_slots slots;
};

static bool
is_split_brain (const struct assemble *assemble)
{
  for (unsigned i = 0; i < assemble->nerrors; ++i)
    if (strncmp (assemble->errors[i], "split brain", 11) == 0)
      return true;
  return false;
}

static unsigned
own_role (const struct superblock *s)
{
  return superblock_role (s, s->dev_number);
}

static bool
is_candidate (const struct history *h)
{
  return h->leg.intact && !h->leg.refused
         && own_role (&h->leg.superblock) <= ROLE_LAST;
}

/* ---- reading ---- */

static void
read_history (struct history *h, const char *path)
{
  h->opened = tool_leg_open_quietly (&h->leg, path);
  if (!h->leg.intact)
    return;
  if (!tool_slots_init (&h->slots, &h->leg.superblock)) {
    h->leg.intact = false;
    return;
  }
  h->bitmap.offset = tool_bitmap_offset (&h->leg);
  h->has_bitmap = h->bitmap.offset != UINT64_MAX
                  && tool_bitmap_read_header (&h->leg, &h->bitmap)
                  && h->bitmap.intact && !h->bitmap.refused
                  && tool_bitmap_count (&h->leg, &h->bitmap);
}

/* ---- as text ---- */

static const char *
role_text (unsigned role, char text[24])
{
  switch (role) {
  case ROLE_SPARE:
    return "spare or removed";
  case ROLE_FAULTY:
    return "faulty";
  case ROLE_JOURNAL:
    return "journal";
  }
  snprintf (text, 24, "slot %u", role);
  return text;
}

/* A name that the shell takes as one word. */
static void
print_word (FILE *fp, const char *word)
{
  static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              "_-./:,+@%=";

  if (strspn (word, plain) == strlen (word)) {
    fputs (word, fp);
    return;
  }
  fputc ('\'', fp);
  for (; *word != '\0'; ++word)
    if (*word == '\'')
      fputs ("'\\''", fp);
    else
      fputc (*word, fp);
  fputc ('\'', fp);
}

static void
print_command (FILE *fp, const struct assemble *assemble, const char *source)
{
  fputs ("mdbitmap assemble --force-source=", fp);
  print_word (fp, source);
  for (unsigned i = 0; i < assemble->options.nlegs; ++i) {
    fputc (' ', fp);
    print_word (fp, assemble->options.legs[i]);
  }
}

static void
print_history (const struct history *all, unsigned n, const struct history *h)
{
  const struct superblock *s = &h->leg.superblock;
  char role[24], time[TOOL_TIME_TEXT];

  if (!h->leg.intact) {
    printf (
        "leg %s: %s\n", h->leg.path,
        h->opened ? "no superblock that can be read" : "it cannot be opened");
    return;
  }
  printf ("leg %s: %s of %" PRIu32 ", events %" PRIu64 ", updated %s, %s%s\n",
          h->leg.path, role_text (own_role (s), role), s->raid_disks, s->events,
          tool_time_text (s->utime, time),
          s->resync_offset == RESYNC_CLEAN ? "clean" : "active",
          h->leg.refused ? "; refused" : "");
  printf ("    says: array state %s", h->slots.state);
  for (unsigned i = 0; i < n; ++i)
    if (&all[i] != h && all[i].leg.intact)
      printf (", leg %s %s", all[i].leg.path,
              role_text (superblock_role (s, all[i].leg.superblock.dev_number),
                         role));
  putchar ('\n');
  if (h->has_bitmap)
    printf ("    bitmap: events cleared %" PRIu64 ", %" PRIu64 " of %" PRIu64
            " chunks marked (%" PRIu32 " bytes each)\n",
            h->bitmap.header.events_cleared, h->bitmap.marked, h->bitmap.chunks,
            h->bitmap.header.chunksize);
  else
    printf ("    bitmap: %s\n", s->feature_map & FEATURE_BITMAP_OFFSET
                                    ? "it cannot be used"
                                    : "none");
}

static void
print_text (const struct assemble *assemble, const struct history *all)
{
  const unsigned n = assemble->options.nlegs;

  for (unsigned i = 0; i < n; ++i)
    print_history (all, n, &all[i]);
  if (!is_split_brain (assemble)) {
    printf ("array: it cannot be started\n");
    return;
  }
  printf (
      "array: split brain: legs have gone on without each other, and each "
      "may hold\nwrites that the other lacks.  nbdkit -r with one of them "
      "shows what it has.\nTo go on with one, and lose what only the others "
      "have:\n");
  for (unsigned i = 0; i < n; ++i)
    if (is_candidate (&all[i])) {
      printf ("    ");
      print_command (stdout, assemble, all[i].leg.path);
      putchar ('\n');
    }
}

/* ---- as JSON ---- */

static json_t *
history_to_json (const struct history *all, unsigned n, const struct history *h)
{
  const struct superblock *s = &h->leg.superblock;
  json_t *object = json_object (), *roles;
  char text[24];

  tool_json_string (object, "leg", h->leg.path);
  json_object_set_new (object, "intact", json_boolean (h->leg.intact));
  tool_json_refusal (object, h->leg.refused ? &h->leg.error : NULL);
  if (!h->leg.intact)
    return object;
  tool_json_string (object, "metadata", superblock_version_string (s->version));
  tool_json_integer (object, "raid-devices", s->raid_disks);
  tool_json_string (object, "role", role_text (own_role (s), text));
  tool_json_integer (object, "events", s->events);
  tool_json_integer (object, "update-time",
                     (uint64_t)superblock_seconds (s->utime));
  tool_json_string (object, "state",
                    s->resync_offset == RESYNC_CLEAN ? "clean" : "active");
  tool_json_string (object, "array-state", h->slots.state);
  roles = json_array ();
  for (unsigned i = 0; i < n; ++i)
    if (&all[i] != h && all[i].leg.intact) {
      json_t *other = json_object ();

      tool_json_string (other, "leg", all[i].leg.path);
      tool_json_string (
          other, "role",
          role_text (superblock_role (s, all[i].leg.superblock.dev_number),
                     text));
      json_array_append_new (roles, other);
    }
  json_object_set_new (object, "says", roles);
  if (h->has_bitmap) {
    tool_json_integer (object, "events-cleared",
                       h->bitmap.header.events_cleared);
    tool_json_integer (object, "chunk-size", h->bitmap.header.chunksize);
    tool_json_integer (object, "chunks", h->bitmap.chunks);
    tool_json_integer (object, "chunks-marked", h->bitmap.marked);
  }
  return object;
}

static json_t *
choice_to_json (const struct assemble *assemble, const char *source)
{
  json_t *object = json_object ();
  char *text = NULL;
  size_t size = 0;
  FILE *fp = open_memstream (&text, &size);

  if (fp) {
    print_command (fp, assemble, source);
    fclose (fp);
  }
  tool_json_string (object, "force-source", source);
  tool_json_string (object, "command", text);
  free (text);
  return object;
}

static void
print_json (const struct assemble *assemble, const struct history *all)
{
  const bool split = is_split_brain (assemble);
  json_t *object, *legs, *choices;

  json_object_seed (1);
  object = json_object ();
  legs = json_array ();
  choices = json_array ();
  for (unsigned i = 0; i < assemble->options.nlegs; ++i) {
    json_array_append_new (
        legs, history_to_json (all, assemble->options.nlegs, &all[i]));
    if (split && is_candidate (&all[i]))
      json_array_append_new (choices,
                             choice_to_json (assemble, all[i].leg.path));
  }
  tool_json_string (object, "state", "failed");
  json_object_set_new (object, "split-brain", json_boolean (split));
  json_object_set_new (object, "legs", legs);
  json_object_set_new (object, "choices", choices);
  json_object_set_new (object, "recorded", json_false ());
  json_object_set_new (object, "errors", assemble_errors (assemble));
  tool_json_print (object);
}

/* ---- all of it ---- */

int
assemble_refused (const struct assemble *assemble, int err)
{
  const unsigned n = assemble->options.nlegs;
  struct history *all;
  bool some = false;

  /* It says nothing about the legs. */
  if (err == -ENOMEM || err == -EBUSY) {
    if (assemble->nerrors == 0)
      tool_error ("%s", strerror (-err));
    return TOOL_ERROR;
  }
  all = rt_calloc (n, sizeof *all);
  if (!all) {
    tool_error ("out of memory");
    return TOOL_ERROR;
  }
  for (unsigned i = 0; i < n; ++i) {
    read_history (&all[i], assemble->options.legs[i]);
    some |= all[i].leg.intact;
  }
  if (assemble->json)
    print_json (assemble, all);
  else if (some)
    print_text (assemble, all);
  for (unsigned i = 0; i < n; ++i) {
    rt_free (all[i].slots.state);
    tool_leg_close (&all[i].leg);
  }
  rt_free (all);
  return some ? TOOL_FAILED : TOOL_ERROR;
}
