/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Plans as text: a line for each thing, "kind [word] name value ...", in which
 * a value that is not given is 0.  What is printed is parsed to the same
 * plan, field by field, since both go by the same tables.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "sim/plan.h"

#define HEADER         "mdbitmap-plan 1"
#define MAX_LINE       512
#define MAX_TEXT_STEPS 10000

static const char *const step_names[STEP_TYPES] = {
  [STEP_READ] = "read",
  [STEP_WRITE] = "write",
  [STEP_WRITE_FUA] = "write-fua",
  [STEP_ZERO] = "zero",
  [STEP_TRIM] = "trim",
  [STEP_FLUSH] = "flush",
  [STEP_SLEEP] = "sleep",
  [STEP_FAIL_LEG] = "fail-leg",
  [STEP_VANISH_LEG] = "vanish-leg",
  [STEP_HANG_LEG] = "hang-leg",
  [STEP_RESTART_LEG] = "restart-leg",
  [STEP_SPOIL_LEG] = "spoil-leg",
  [STEP_FAIL_FILE] = "fail-file",
  [STEP_VANISH_FILE] = "vanish-file",
  [STEP_HANG_FILE] = "hang-file",
  [STEP_STOP] = "stop",
  [STEP_STOP_BUSY] = "stop-busy",
  [STEP_CRASH] = "crash",
};

static const char *const policy_names[] = {
  [WORLD_RANDOM] = "random",
  [WORLD_PRIORITY] = "priority",
  [WORLD_SERIAL] = "serial",
};

const char *
step_type_string (enum step_type type)
{
  return type < STEP_TYPES ? step_names[type] : "unknown";
}

/* ---- tables ---- */

struct field {
  const char *name;
  size_t offset, size;
};

#define FIELD(type, name, text)                                           \
  {                                                                       \
    (text), offsetof (struct type, name), sizeof ((struct type *)0)->name \
  }

static const struct field array_fields[] = {
  FIELD (plan, legs, "legs"),
  FIELD (plan, chunk, "chunk"),
  FIELD (plan, size, "size"),
  FIELD (plan, cell, "cell"),
  FIELD (plan, write_mostly, "write-mostly"),
  FIELD (plan, reaped, "reaped"),
  FIELD (plan, starts_clean, "starts-clean"),
  FIELD (plan, daemon_sleep, "daemon-sleep"),
  FIELD (plan, leg_timeout, "leg-timeout"),
  FIELD (plan, sync_rate, "sync-rate"),
  FIELD (plan, metadata, "metadata"),
  FIELD (plan, numbering, "numbering"),
  FIELD (plan, no_bitmap, "no-bitmap"),
  FIELD (plan, resync_from, "resync-from"),
  FIELD (plan, spare, "spare"),
  FIELD (plan, bitmap_file, "bitmap-file"),
  FIELD (plan, file_block, "file-block"),
  FIELD (plan, file_short, "file-short"),
  FIELD (plan, file_noted, "file-noted"),
  FIELD (plan, file_stops, "file-stops"),
  FIELD (plan, file_check_error, "file-check-error"),
  { NULL, 0, 0 },
};

static const struct field run_fields[] = {
  FIELD (plan, seed, "seed"),
  FIELD (plan, checks, "checks"),
  FIELD (plan, epochs, "epochs"),
  { NULL, 0, 0 },
};

static const struct field world_fields[] = {
  FIELD (world_options, change_points, "change-points"),
  FIELD (world_options, change_steps, "change-steps"),
  FIELD (world_options, switch_per_1000, "switch-per-1000"),
  FIELD (world_options, jump_per_1000000, "jump-per-1000000"),
  { NULL, 0, 0 },
};

static const struct field fault_fields[] = {
  FIELD (disk_faults, slow, "slow"),
  FIELD (disk_faults, hang, "hang"),
  FIELD (disk_faults, read_error, "read-error"),
  FIELD (disk_faults, write_error, "write-error"),
  FIELD (disk_faults, flush_error, "flush-error"),
  FIELD (disk_faults, latent, "latent"),
  FIELD (disk_faults, silent_fua, "silent-fua"),
  { NULL, 0, 0 },
};

static const struct field bad_fields[] = {
  FIELD (plan_bad, leg, "leg"),
  FIELD (plan_bad, offset, "offset"),
  FIELD (plan_bad, length, "length"),
  { NULL, 0, 0 },
};

static const struct field epoch_fields[] = {
  FIELD (epoch, read_only, "read-only"), FIELD (epoch, order, "order"),
  FIELD (epoch, crash_at, "crash-at"),   FIELD (epoch, kill, "kill"),
  FIELD (epoch, bitmap, "bitmap"),       { NULL, 0, 0 },
};

static const struct field step_fields[] = {
  FIELD (step, epoch, "epoch"),
  FIELD (step, client, "client"),
  FIELD (step, offset, "offset"),
  FIELD (step, length, "length"),
  FIELD (step, leg, "leg"),
  FIELD (step, fua, "fua"),
  { NULL, 0, 0 },
};

static uint64_t
get_field (const void *base, const struct field *field)
{
  const uint8_t *p = (const uint8_t *)base + field->offset;
  uint64_t n64;
  uint32_t n32;

  switch (field->size) {
  case sizeof (bool):
    return *(const bool *)p;
  case sizeof n32:
    memcpy (&n32, p, sizeof n32);
    return n32;
  default:
    memcpy (&n64, p, sizeof n64);
    return n64;
  }
}

static bool
set_field (void *base, const struct field *field, uint64_t value)
{
  uint8_t *p = (uint8_t *)base + field->offset;
  uint32_t n32 = (uint32_t)value;

  switch (field->size) {
  case sizeof (bool):
    *(bool *)p = value != 0;
    return value <= 1;
  case sizeof n32:
    memcpy (p, &n32, sizeof n32);
    return value <= UINT32_MAX;
  default:
    memcpy (p, &value, sizeof value);
    return true;
  }
}

/* ---- printing ---- */

/* The rest of a line: what is not 0. */
static void
print_fields (FILE *to, const struct field *fields, const void *base)
{
  for (; fields->name; fields++) {
    uint64_t value = get_field (base, fields);

    if (value != 0)
      fprintf (to, " %s %" PRIu64, fields->name, value);
  }
  fputc ('\n', to);
}

void
plan_print (const struct plan *plan, FILE *to)
{
  fprintf (to, "%s\nrun", HEADER);
  print_fields (to, run_fields, plan);
  fprintf (to, "array");
  print_fields (to, array_fields, plan);
  for (unsigned i = 0; i < plan->legs; ++i) {
    fprintf (to, "leg %u %" PRIu32, i, plan->logical_block[i]);
    print_fields (to, fault_fields, &plan->faults[i]);
  }
  if (plan->bitmap_file != PLAN_NO_FILE) {
    fprintf (to, "file");
    print_fields (to, fault_fields, &plan->file_faults);
  }
  for (unsigned i = 0; i < plan->nbad; ++i) {
    fprintf (to, "bad");
    print_fields (to, bad_fields, &plan->bad[i]);
  }
  fprintf (to, "world %s", policy_names[plan->world.policy]);
  print_fields (to, world_fields, &plan->world);
  for (unsigned i = 0; i < plan->epochs; ++i) {
    fprintf (to, "epoch %u", i);
    print_fields (to, epoch_fields, &plan->epoch[i]);
  }
  for (unsigned i = 0; i < plan->nsteps; ++i) {
    fprintf (to, "step %s", step_type_string (plan->steps[i].type));
    print_fields (to, step_fields, &plan->steps[i]);
  }
  fprintf (to, "end\n");
}

/* ---- parsing ---- */

/* The line that is being parsed: words that have not been taken. */
struct words {
  char *rest;
};

static const char *
next_word (struct words *words)
{
  return strtok_r (NULL, " \n", &words->rest);
}

static bool
next_number (struct words *words, uint64_t *number)
{
  const char *word = next_word (words);
  char *end;

  if (!word || *word < '0' || *word > '9')
    return false;
  errno = 0;
  *number = strtoull (word, &end, 10);
  return errno == 0 && *end == '\0';
}

static bool
next_name (struct words *words, const char *const *names, unsigned n,
           unsigned *index)
{
  const char *word = next_word (words);

  for (unsigned i = 0; word && i < n; ++i)
    if (strcmp (word, names[i]) == 0) {
      *index = i;
      return true;
    }
  return false;
}

static bool
parse_fields (struct words *words, const struct field *fields, void *base)
{
  const char *word;

  while ((word = next_word (words)) != NULL) {
    const struct field *field = fields;
    uint64_t value;

    while (field->name && strcmp (field->name, word) != 0)
      field++;
    if (!field->name || !next_number (words, &value)
        || !set_field (base, field, value))
      return false;
  }
  return true;
}

static bool
parse_leg (struct words *words, struct plan *plan)
{
  uint64_t leg, block;

  if (!next_number (words, &leg) || leg >= PLAN_LEGS
      || !next_number (words, &block) || block > 4096)
    return false;
  plan->logical_block[leg] = (uint32_t)block;
  return parse_fields (words, fault_fields, &plan->faults[leg]);
}

static bool
parse_world (struct words *words, struct plan *plan)
{
  unsigned policy;

  if (!next_name (words, policy_names,
                  sizeof policy_names / sizeof policy_names[0], &policy))
    return false;
  plan->world.policy = (enum world_policy)policy;
  return parse_fields (words, world_fields, &plan->world);
}

static bool
parse_epoch (struct words *words, struct plan *plan)
{
  uint64_t epoch;

  if (!next_number (words, &epoch) || epoch >= PLAN_EPOCHS)
    return false;
  return parse_fields (words, epoch_fields, &plan->epoch[epoch]);
}

static bool
parse_step (struct words *words, struct plan *plan)
{
  struct step *step = &plan->steps[plan->nsteps];
  unsigned type;

  if (plan->nsteps == MAX_TEXT_STEPS
      || !next_name (words, step_names, STEP_TYPES, &type))
    return false;
  plan->nsteps++;
  step->type = (enum step_type)type;
  return parse_fields (words, step_fields, step);
}

static bool
parse_line (char *line, struct plan *plan)
{
  struct words words;
  const char *kind = strtok_r (line, " \n", &words.rest);

  if (!kind || *kind == '#')
    return true;
  if (strcmp (kind, "run") == 0)
    return parse_fields (&words, run_fields, plan);
  if (strcmp (kind, "array") == 0)
    return parse_fields (&words, array_fields, plan);
  if (strcmp (kind, "leg") == 0)
    return parse_leg (&words, plan);
  if (strcmp (kind, "bad") == 0)
    return plan->nbad < PLAN_BAD
           && parse_fields (&words, bad_fields, &plan->bad[plan->nbad++]);
  if (strcmp (kind, "file") == 0)
    return parse_fields (&words, fault_fields, &plan->file_faults);
  if (strcmp (kind, "world") == 0)
    return parse_world (&words, plan);
  if (strcmp (kind, "epoch") == 0)
    return parse_epoch (&words, plan);
  if (strcmp (kind, "step") == 0)
    return parse_step (&words, plan);
  return false;
}

/* ---- is it one that can be run? ---- */

static bool
valid_range (const struct step *step, uint64_t unit, uint64_t size)
{
  return step->length > 0 && step->offset % unit == 0
         && step->length % unit == 0 && step->offset < size
         && step->length <= size - step->offset;
}

static bool
valid_step (const struct plan *plan, const struct step *step)
{
  const bool by_operator = step->client == PLAN_CLIENTS;

  if (step->epoch >= plan->epochs || step->client > PLAN_CLIENTS
      || step->leg >= plan->legs)
    return false;
  switch (step->type) {
  case STEP_READ:
  case STEP_WRITE:
  case STEP_WRITE_FUA:
  case STEP_ZERO:
  case STEP_TRIM:
    return !by_operator && valid_range (step, plan->cell, plan->size);
  case STEP_FLUSH:
    return !by_operator;
  case STEP_SLEEP:
    return true;
  case STEP_SPOIL_LEG:
    return by_operator && valid_range (step, 512, plan->size);
  default:
    return by_operator;
  }
}

static bool
valid_metadata (const struct plan *plan)
{
  if (plan->metadata > PLAN_0_90
      || (plan->metadata == PLAN_0_90
          && (plan->size % 1024 != 0 || plan->nbad > 0))
      || (plan->spare && plan->legs == PLAN_LEGS)
      || plan->resync_from % 512 != 0 || plan->resync_from > plan->size)
    return false;
  if (plan->bitmap_file > PLAN_FILE_PAGECACHE
      || (plan->bitmap_file != PLAN_NO_FILE
          && (plan->resync_from > 0
              || (plan->file_block != 512 && plan->file_block != 4096))))
    return false;
  for (unsigned i = 0; i < plan->epochs; ++i)
    if (plan->epoch[i].bitmap > PLAN_BITMAP_UNTOLD)
      return false;
  for (unsigned i = 0; i < plan->nbad; ++i) {
    const struct plan_bad *bad = &plan->bad[i];

    if (bad->leg >= plan->legs || bad->length == 0 || bad->offset % 512 != 0
        || bad->length % 512 != 0 || bad->length > plan->size
        || bad->offset > plan->size - bad->length)
      return false;
  }
  return true;
}

static bool
valid_plan (const struct plan *plan)
{
  const uint32_t chunk = plan->chunk;

  if (plan->legs < 2 || plan->legs > PLAN_LEGS || chunk < 512
      || chunk > 1u << 20 || (chunk & (chunk - 1)) != 0
      || (plan->cell != 128 && plan->cell != 512) || plan->size == 0
      || plan->size > 64u << 20 || plan->size % 512 != 0
      || plan->daemon_sleep < 1 || plan->leg_timeout == 0 || plan->epochs < 1
      || plan->epochs > PLAN_EPOCHS)
    return false;
  for (unsigned i = 0; i < plan->legs; ++i) {
    uint32_t block = plan->logical_block[i];

    if ((block != 512 && block != 4096) || plan->size % block != 0)
      return false;
  }
  if (!valid_metadata (plan))
    return false;
  for (unsigned i = 0; i < plan->nsteps; ++i)
    if (!valid_step (plan, &plan->steps[i]))
      return false;
  return true;
}

struct plan *
plan_parse (FILE *from, unsigned *line)
{
  struct plan *plan = calloc (1, sizeof *plan);
  bool header = false;
  char text[MAX_LINE];

  if (!plan)
    abort ();
  plan->steps = calloc (MAX_TEXT_STEPS, sizeof plan->steps[0]);
  if (!plan->steps)
    abort ();
  for (*line = 1; fgets (text, sizeof text, from); ++*line) {
    if (*text == '#')
      continue;
    if (header && strcmp (text, "end\n") == 0) {
      if (valid_plan (plan))
        return plan;
      break;
    }
    if (header ? !parse_line (text, plan) : strcmp (text, HEADER "\n") != 0)
      break;
    header = true;
  }
  plan_free (plan);
  return NULL;
}
