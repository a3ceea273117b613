/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Legs in bulk: millions of them, each changed somehow, are opened.
 *
 *   bulk-legs [--seed N] [--first N] [--count N] [--log]
 *
 * Seed and number decide everything about an array, so that each can be had
 * again by itself; no coverage is needed.  What must hold:
 *   1. array_open, and array_start and reading, neither write nor flush
 *      (memory.c); nothing crashes;
 *   2. what is accepted could have been accepted: judge.c;
 *   3. whoever refuses says why in at least one line;
 *   4. if one field of one structure of one leg is all that is wrong, and the
 *      array is refused or the leg not used, a line has the name of the leg
 *      and of the field, or of what the field says (fields below);
 *   5. each leg that is not used has a reason (array_get_leg_info);
 *   6. no leak, and never more memory than HEAP_MAX.
 * In the end enough of all kinds must have been seen, or nothing was tested.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "fuzz/assembly.h"
#include "fuzz/heap.h"

/* ---- chance ---- */

static uint64_t seed = 1, number;
static uint64_t state;

static uint64_t
chance (void)
{
  uint64_t z = state += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

static unsigned
below (unsigned n)
{
  return (unsigned)(chance () % n);
}

static bool
one_in (unsigned n)
{
  return below (n) == 0;
}

/* ---- the log ---- */

static char lines[64 * 1024];
static size_t lines_used;
static unsigned error_lines;
static int debugging;
static bool show;

static void
sink (void *opaque, enum log_level level, const char *line)
{
  size_t length = strlen (line);

  (void)opaque;
  REQUIRE (length > 0 && !strchr (line, '\n'), "not one line: %s", line);
  if (show)
    fprintf (stderr, "log: %s\n", line);
  if (level == LOG_LEVEL_DEBUG)
    return;
  error_lines += level == LOG_LEVEL_ERROR;
  REQUIRE (lines_used + length + 2 <= sizeof lines, "too many lines");
  memcpy (lines + lines_used, line, length);
  lines_used += length;
  lines[lines_used++] = '\n';
  lines[lines_used] = '\0';
}

static const struct log log_ = {
  .sink = sink,
  .debug = { &debugging, &debugging, &debugging, &debugging, &debugging },
};

/* Is there a line with both words?  They are found as they are. */
static bool
said (const char *one, const char *other)
{
  char *line = lines, *end;
  bool found = false;

  for (; !found && (end = strchr (line, '\n')); line = end + 1) {
    *end = '\0';
    found = strstr (line, one) && strstr (line, other);
    *end = '\n';
  }
  return found;
}

/* ---- one field ---- */

/* What else a line may say of a wrong value: what it means. */
struct meaning {
  const char *field;
  const char *words[8];
};

static const struct meaning meanings[] = {
  { "magic", { "no md superblock", "no bitmap at byte", NULL } },
  { "set_uuid", { "field uuid:", NULL } },
  { "feature_map",
    { "recovery had not finished", "it was to replace", "bad-block log",
      "field bitmap_offset:", "no bitmap at byte", "a journal", NULL } },
  { "raid_disks",
    { "field dev_roles:", "field disks.raid_disk:", "array ", NULL } },
  { "size",
    { "field resync_offset:", "field recovery_offset:", "field recovery_cp:",
      NULL } },
  { "data_offset",
    { "field bitmap_offset:", "field bblog_offset:", "field data_size:",
      NULL } },
  { "data_size", { "field size:", "field data_offset:", NULL } },
  { "dev_number", { "a spare", "faulty", NULL } },
  { "bblog_offset", { "bad-block log", NULL } },
  { "bblog_size", { "field bblog_offset:", "bad-block log", NULL } },
  { "events", { "stale", NULL } },
  { "max_dev",
    { "field raid_disks:", "field dev_number:", "field dev_roles:", NULL } },
  { "dev_roles", { "a spare", "faulty", "split brain", "a journal", NULL } },
  { "state",
    { "stale", "field feature_map:", "field recovery_cp:", "no bitmap at byte",
      NULL } },
  { "this_disk.number",
    { "field dev_number:", "field this_disk.raid_disk:", "field disks.number:",
      "a spare", "faulty", NULL } },
  { "disks.state",
    { "field disks.raid_disk:", "field disks.number:", "a spare", "faulty",
      "split brain", NULL } },
};

/* A table of roles is about all legs, and who has it need not be named. */
static bool
about_all (const char *field)
{
  return strcmp (field, "dev_roles") == 0 || strncmp (field, "disks.", 6) == 0;
}

enum structure { SUPERBLOCK, BITMAP, BAD_LOG, STRUCTURES };

/* What is wrong, if it is one field of one leg. */
static struct wrong {
  const struct field *field; /* NULL: more than that */
  enum structure structure;
  unsigned leg;
  bool all; /* legs have it */
  uint64_t old, found;
} wrong;

static uint64_t
wrong_value (uint64_t old, unsigned width, uint64_t other)
{
  unsigned bits = 8 * width;

  switch (below (14)) {
  case 0:
    return 0;
  case 1:
    return 1;
  case 2:
    return old + 1;
  case 3:
    return old - 1;
  case 4:
    return UINT64_MAX;
  case 5:
    return UINT64_C (1) << (bits - 1);
  case 6:
    return (UINT64_C (1) << (bits - 1)) - 1;
  case 7:
    return chance ();
  case 8:
    return old ^ UINT64_C (1) << below (bits);
  case 9:
    return __builtin_bswap64 (old) >> (64 - bits);
  case 10:
    return old * 2;
  case 11:
    return below (300);
  case 12:
    return UINT64_C (1) << below (bits);
  default:
    return other;
  }
}

static uint8_t *
structure_of (struct draft *draft, enum structure structure)
{
  switch (structure) {
  case SUPERBLOCK:
    return draft->superblock;
  case BITMAP:
    return draft->bitmap;
  default:
    return draft->bad_log;
  }
}

static const struct field *
choose_field (enum superblock_version version, enum structure structure)
{
  static const struct field entries[] = {
    { 0, 8, "bad-block log" },
    { 8, 8, "bad-block log" },
    { 4088, 8, "bad-block log" },
  };

  if (structure == BAD_LOG)
    return &entries[below (3)];
  if (structure == BITMAP)
    return &bitmap_fields[below (bitmap_nfields)];
  if (version == SUPERBLOCK_0_90)
    return &superblock_090_fields[below (superblock_090_nfields)];
  return &superblock_fields[below (superblock_nfields)];
}

static enum structure
choose_structure (const struct draft *draft)
{
  if (draft->has_bad_log && one_in (3))
    return BAD_LOG;
  if (draft->has_bitmap && one_in (3))
    return BITMAP;
  return SUPERBLOCK;
}

/* A field of one leg, or of all of them the same. */
static void
change_field (const struct recipe *recipe, unsigned leg, bool all)
{
  enum structure structure = choose_structure (&drafts[leg]);
  const struct field *field = choose_field (recipe->version, structure);
  uint8_t *p = structure_of (&drafts[leg], structure) + field->offset;
  uint8_t *q = structure_of (&drafts[(leg + 1) % recipe->nlegs], structure)
               + field->offset;
  uint64_t old = get_le (p, field->width), new;

  new = wrong_value (old, field->width, get_le (q, field->width));
  wrong = (struct wrong){ field, structure, leg, all, old, 0 };
  for (unsigned i = 0; i < recipe->nlegs; ++i)
    if (i == leg || all)
      put_le (structure_of (&drafts[i], structure) + field->offset,
              field->width, new);
  wrong.found = get_le (p, field->width);
}

/* ---- more than one field ---- */

static void
change_bytes (const struct recipe *recipe)
{
  for (unsigned n = 1 + below (16); n > 0; --n) {
    struct draft *draft = &drafts[below (recipe->nlegs)];
    enum structure structure = choose_structure (draft);
    unsigned length = one_in (4) ? 4096 : structure == SUPERBLOCK ? 512 : 300;

    structure_of (draft, structure)[below (length)] = (uint8_t)chance ();
  }
}

/* What lies in some sectors of a leg, elsewhere or on another leg. */
static void
move_sectors (const struct recipe *recipe)
{
  uint8_t buffer[16 * 512];
  unsigned from = below (recipe->nlegs), to = below (recipe->nlegs);
  uint64_t n = 1 + below (16), a, b;

  a = below ((unsigned)(memory_size (from) / 512) + 1);
  if (one_in (2)) /* where something is */
    a = drafts[from].sector;
  b = one_in (2) ? a : below ((unsigned)(memory_size (to) / 512) + 1);
  if (a + n > memory_size (from) / 512 || b + n > memory_size (to) / 512)
    return;
  memory_load (from, a * 512, buffer, n * 512);
  memory_store (to, b * 512, buffer, n * 512);
}

static void
change_trait (const struct recipe *recipe)
{
  unsigned leg = below (recipe->nlegs);
  struct memory_traits *traits = memory_traits (leg);

  switch (below (6)) {
  case 0:
    traits->missing = true;
    break;
  case 1:
    traits->busy = true;
    break;
  case 2:
    traits->read_only = true;
    break;
  case 3:
    traits->logical_block = 4096;
    break;
  case 4:
    traits->bad_read = below ((unsigned)memory_size (leg) + 1);
    break;
  default:
    memory_resize (leg, below (1200) * UINT64_C (512));
    break;
  }
}

/* ---- an array ---- */

static struct recipe
choose_recipe (void)
{
  struct recipe recipe = {
    .version = (enum superblock_version)below (SUPERBLOCK_VERSIONS),
    .shape = &shapes[one_in (200) ? 3 : below (3)],
    .nlegs = one_in (3) ? 1 + below (MEMORY_LEGS) : 2,
    .bitmap = !one_in (8),
  };

  return recipe;
}

/* Unless special, nothing is asked for because of which a good array would be
 * refused.
 */
static void
choose_options (struct scene *scene, unsigned nlegs, bool special)
{
  struct array_options *options = &scene->options;

  scene_init (scene, nlegs);
  options->read_only = one_in (4);
  debugging = one_in (64);
  for (unsigned i = 0; i < nlegs; ++i) {
    unsigned with = below (nlegs);
    const char *name = options->legs[i];

    options->legs[i] = options->legs[with];
    options->legs[with] = name;
  }
  if (one_in (3))
    options->degraded = (enum array_degraded)below (3);
  if (!special)
    return;
  options->refuse_full_resync = one_in (4);
  if (one_in (8))
    options->force_source = options->legs[0];
}

/* Before anything is wrong: arrays as one meets them. */
static void
choose_life (const struct recipe *recipe)
{
  if (one_in (3))
    draft_story (recipe, STORY_DIRTY, 0, one_in (2) ? 0 : below (64));
  if (one_in (4))
    draft_story (recipe, STORY_BAD_BLOCKS, below (recipe->nlegs), below (256));
  if (one_in (8))
    draft_story (recipe, STORY_WRITE_MOSTLY, below (recipe->nlegs), below (4));
  if (one_in (16))
    draft_story (recipe, STORY_LARGER, below (recipe->nlegs), below (256));
}

/* Several things at once.  True: the checksums too. */
static bool
change_much (const struct recipe *recipe)
{
  for (unsigned n = 1 + below (4); n > 0; --n)
    switch (below (6)) {
    case 0:
    case 1:
      change_field (recipe, below (recipe->nlegs), one_in (3));
      break;
    case 2:
      change_bytes (recipe);
      break;
    case 3:
      change_trait (recipe);
      break;
    default:
      draft_story (recipe, (enum story)below (STORIES), below (recipe->nlegs),
                   below (256));
      break;
    }
  wrong.field = NULL;
  return one_in (16);
}

/* Returns the options to open it with. */
static void
make_array (struct scene *scene)
{
  struct recipe recipe = choose_recipe ();
  bool one = one_in (2), spoiled = false;

  draft_legs (&recipe);
  choose_life (&recipe);
  choose_options (scene, recipe.nlegs, !one);
  wrong.field = NULL;
  if (one)
    change_field (&recipe, below (recipe.nlegs), one_in (4));
  else
    spoiled = change_much (&recipe);
  for (unsigned i = 0; i < recipe.nlegs; ++i) {
    bool itself = wrong.field && i == wrong.leg
                  && strcmp (wrong.field->name, "sb_csum") == 0;

    if (!itself && !(spoiled && one_in (2)))
      draft_fix (&drafts[i]);
    draft_store (i);
  }
  if (!wrong.field && one_in (4))
    move_sectors (&recipe);
}

/* ---- what is said ---- */

static bool
names_it (const char *leg)
{
  char field[64];

  snprintf (field, sizeof field, "field %s:", wrong.field->name);
  if (said (leg, field))
    return true;
  for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; ++i)
    if (strcmp (meanings[i].field, wrong.field->name) == 0)
      for (const char *const *word = meanings[i].words; *word; ++word)
        if (said (leg, *word)
            || (strcmp (*word, "array ") == 0 && said (*word, "has no leg")))
          return true;
  return false;
}

/* A leg with the wrong field is not used: does it say why? */
static void
check_named (const struct scene *scene, bool refused, unsigned used)
{
  unsigned nlegs = scene->options.nlegs;
  bool named = false;

  if (!wrong.field || wrong.old == wrong.found)
    return;
  if (!refused && (wrong.all || (used >> wrong.leg & 1)))
    return;
  for (unsigned i = 0; i < nlegs; ++i)
    if (i == wrong.leg || wrong.all || about_all (wrong.field->name))
      named |= names_it (memory_names[i]);
  REQUIRE (named,
           "%s, field %s of structure %d: %" PRIx64 " -> %" PRIx64
           ": not named, but this was said:\n%s",
           memory_names[wrong.leg], wrong.field->name, (int)wrong.structure,
           wrong.old, wrong.found, lines);
}

static void
check_reasons (struct array *array, unsigned nlegs)
{
  struct array_leg_info info;

  for (unsigned i = 0; i < nlegs; ++i) {
    array_get_leg_info (array, i, &info);
    REQUIRE (info.why[0] != '\0', "leg %s: %s, and no reason", info.name,
             array_leg_fate_string (info.fate));
  }
}

/* ---- opening ---- */

static struct {
  uint64_t opens, accepted, refused, degraded, one_field, read;
} counts;

/* The part of an array's life in which nothing may be written either. */
static void
read_phase (struct array *array)
{
  static uint8_t bytes[4096];
  struct array_info info;
  uint32_t n;
  int err;

  array_get_info (array, &info);
  n = (uint32_t)min_u64 (info.size, sizeof bytes);
  memory_set_phase (MEMORY_READ);
  REQUIRE (array_start (array) == 0, "it does not start");
  err = array_read (array, bytes, n, info.size - n);
  REQUIRE (
      err == 0
          || (err == -EIO && (memory_errors () > 0 || may_be_unreadable ())),
      "read: %d", err);
  REQUIRE (array_write (array, bytes, 1, 0, 0) == -EROFS, "a write");
  array_stop (array);
  counts.read++;
}

static void
open_one (void)
{
  struct array *array = NULL;
  struct scene scene;
  unsigned used = 0;
  int err;

  state = seed * UINT64_C (0x2545f4914f6cdd1d) + number;
  (void)chance ();
  make_array (&scene);
  lines_used = error_lines = 0;
  lines[0] = '\0';
  err = array_open (&scene.options, &log_, &array);
  counts.opens++;
  counts.one_field += wrong.field != NULL;
  if (err == 0) {
    judge (array, &scene.options);
    used = in_sync_legs (array, &scene.options);
    check_reasons (array, scene.options.nlegs);
    counts.accepted++;
    counts.degraded += used != (1u << scene.options.nlegs) - 1;
  }
  else {
    REQUIRE (err < 0 && err != -ENOMEM, "returned %d", err);
    REQUIRE (error_lines > 0, "refused without a word");
    counts.refused++;
  }
  check_named (&scene, err != 0, used);
  if (err == 0 && one_in (64))
    read_phase (array);
  array_close (array);
  memory_check_closed ();
  heap_check_empty ();
}

/* ---- main ---- */

static void
tell (int signal_number)
{
  char text[160];
  int n;

  n = snprintf (text, sizeof text,
                "to run it again: bulk-legs --seed %" PRIu64 " --first %" PRIu64
                " --count 1 --log\n",
                seed, number);
  if (write (2, text, (size_t)n) != n)
    _exit (1);
  signal (signal_number, SIG_DFL);
  raise (signal_number);
}

static uint64_t
parse (const char *text)
{
  char *end;
  uint64_t n = strtoull (text, &end, 10);

  if (*text == '\0' || *end != '\0') {
    fprintf (stderr, "bulk-legs: not a number: %s\n", text);
    exit (EXIT_FAILURE);
  }
  return n;
}

int
main (int argc, char **argv)
{
  static const struct option options[] = {
    { "seed", required_argument, NULL, 's' },
    { "first", required_argument, NULL, 'f' },
    { "count", required_argument, NULL, 'c' },
    { "log", no_argument, NULL, 'l' },
    { NULL, 0, NULL, 0 },
  };
  static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
  uint64_t count = 10000, end;
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1)
    switch (c) {
    case 's':
      seed = parse (optarg);
      break;
    case 'f':
      number = parse (optarg);
      break;
    case 'c':
      count = parse (optarg);
      break;
    case 'l':
      show = true;
      break;
    default:
      return EXIT_FAILURE;
    }
  for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; ++i)
    signal (signals[i], tell);
  for (end = number + count; number < end; ++number)
    open_one ();
  printf ("bulk-legs: %" PRIu64 " opened, %" PRIu64 " accepted, %" PRIu64
          " of them without some leg, %" PRIu64 " refused, %" PRIu64
          " with one wrong field, %" PRIu64 " read\n",
          counts.opens, counts.accepted, counts.degraded, counts.refused,
          counts.one_field, counts.read);
  if (count >= 10000)
    REQUIRE (counts.accepted > count / 5 && counts.refused > count / 5
                 && counts.degraded > count / 50 && counts.read > count / 500,
             "too few of one kind");
  return EXIT_SUCCESS;
}
