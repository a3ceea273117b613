/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The model: the data of writes, and the judgement of what is read.  The
 * rules and their numbers are those of model.c.  One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sim/model_internal.h"
#include "sim/trace.h"

/* ---- data ---- */

/* Each cell of data names its write and itself.  The first word is a mixture
 * of both that can be undone, each other word is the one before plus a
 * constant.  It is never 0, which is what zeroes are.
 */
#define MIX_1     UINT64_C (0xbf58476d1ce4e5b9)
#define MIX_2     UINT64_C (0x94d049bb133111eb)
#define UNMIX_1   UINT64_C (0x96de1b173f119089) /* MIX_1 * UNMIX_1 == 1 */
#define UNMIX_2   UINT64_C (0x319642b2d24d8ec3)
#define WORD_STEP UINT64_C (0x9e3779b97f4a7c15)
#define MAGIC     0x6d /* so that few words are valid */

static uint64_t
mix (uint64_t x)
{
  x = (x ^ x >> 32) * MIX_1;
  x = (x ^ x >> 32) * MIX_2;
  return x ^ x >> 32;
}

static uint64_t
unmix (uint64_t x)
{
  x = (x ^ x >> 32) * UNMIX_2;
  x = (x ^ x >> 32) * UNMIX_1;
  return x ^ x >> 32;
}

static uint64_t
first_word (uint32_t write, uint32_t cell)
{
  assert (write < 1u << 24);
  return mix ((uint64_t)MAGIC << 56 | (uint64_t)write << 32 | cell);
}

void
model_fill (const struct model *model, uint64_t write, uint64_t offset,
            uint64_t length, void *data)
{
  uint8_t *p = data;

  assert (write < model->nwrites);
  assert (offset % model->cell == 0 && length % model->cell == 0);
  if (model->writes[write].zero) {
    memset (data, 0, length);
    return;
  }
  for (uint64_t at = 0; at < length; at += model->cell) {
    uint64_t word =
        first_word ((uint32_t)write, (uint32_t)((offset + at) / model->cell));

    for (uint32_t i = 0; i < model->cell; i += sizeof word) {
      memcpy (p + at + i, &word, sizeof word);
      word += WORD_STEP;
    }
  }
}

/* What the bytes say they are; false if they are torn or nothing of ours. */
static bool
decode (const struct model *model, const uint8_t *data, uint32_t *value,
        uint32_t *cell)
{
  uint64_t first, key, word, step, wrong = 0;

  memcpy (&first, data, sizeof first);
  step = first == 0 ? 0 : WORD_STEP;
  for (uint32_t i = sizeof first; i < model->cell; i += sizeof first) {
    memcpy (&word, data + i, sizeof word);
    wrong |= word ^ (first + step * (i / sizeof first));
  }
  if (wrong)
    return false;
  if (first == 0) {
    *value = ZEROES;
    return true;
  }
  key = unmix (first);
  *value = (uint32_t)(key >> 32 & 0xffffff);
  *cell = (uint32_t)key;
  return key >> 56 == MAGIC;
}

/* ---- reads: what was seen ---- */

/* What a read says of one cell. */
struct sight {
  uint32_t index; /* of the cell */
  uint32_t value;
  uint32_t begin;  /* of the read */
  uint32_t floor;  /* of rule 1, or 2 */
  uint32_t node;   /* of the value, not excluded */
  uint32_t newest; /* begin of the value, the last */
  uint32_t over;   /* when the value was surely over, the last */
  unsigned matches;
  unsigned others; /* candidates that are not excluded either */
  bool beside;     /* a write was in flight */
  bool settled;    /* all that is not excluded was answered with success */
};

static void __attribute__ ((noreturn))
wrong (const struct model *model, const char *rule, const struct sight *sight,
       const char *what)
{
  char text[400], value[32];

  model_explain (model, (uint64_t)sight->index * model->cell, text,
                 sizeof text);
  if (sight->value == ZEROES)
    snprintf (value, sizeof value, "zeroes");
  else
    snprintf (value, sizeof value, "write %u", sight->value);
  violation (rule, "a read at %ju sees %s, %s; it may hold: %s",
             (uintmax_t)sight->index * model->cell, value, what, text);
}

static void
look (const struct model *model, const struct cell *cell, struct sight *sight)
{
  sight->settled = true;
  for (uint32_t n = cell->list; n != NONE; n = model->nodes[n].next) {
    const struct node *node = &model->nodes[n];
    const struct write *write = &model->writes[node->write];

    sight->beside |= write->end >= sight->begin;
    if (node_end (model, node) < sight->floor)
      continue;
    sight->settled &= write->status == DONE;
    if (value_of (model, node->write) != sight->value) {
      sight->others++;
      continue;
    }
    sight->matches++;
    sight->node = n;
    if (write->begin > sight->newest)
      sight->newest = write->begin;
    if (node_end (model, node) > sight->over)
      sight->over = node_end (model, node);
  }
}

/* Rule 3, as said by earlier reads. */
static void
check_seen (const struct model *model, const struct cell *cell,
            const struct sight *sight)
{
  const struct seen *seen = &cell->seen;

  if (seen->age != model->age || sight->begin <= seen->time
      || seen->value == sight->value)
    return;
  if (seen->floor == 0 && sight->newest <= seen->time)
    wrong (model, "I6a", sight, "but something else was read before");
  if (seen->floor == 0 || sight->over >= seen->floor
      || model->doubt != MODEL_FIRM)
    return;
  if (model->writes[seen->value].status == ONGOING
      || model->writes[seen->value].status == DONE)
    wrong (model, "I6a", sight, "but a write under way was read before");
}

/* Rule 3 b. */
static void
conclude_beside (struct model *model, struct cell *cell,
                 const struct sight *sight)
{
  struct seen *seen = &cell->seen;
  uint32_t begin;

  if (sight->value == ZEROES || sight->matches != 1
      || model->writes[sight->value].status != ONGOING)
    return;
  begin = model->writes[sight->value].begin;
  if (seen->age == model->age && seen->floor >= begin)
    return;
  seen->age = model->age;
  seen->value = sight->value;
  seen->time = model->clock;
  seen->floor = begin;
}

/* Rules 3 and 4, for later reads. */
static void
conclude (struct model *model, struct cell *cell, const struct sight *sight)
{
  struct seen *seen = &cell->seen;

  if (sight->beside) {
    if (model->doubt == MODEL_FIRM)
      conclude_beside (model, cell, sight);
    return;
  }
  if (seen->age == model->age && sight->begin <= seen->time)
    return; /* the other one says more */
  seen->age = model->age;
  seen->value = sight->value;
  seen->time = model->clock;
  seen->floor = 0;
  if (sight->settled && sight->matches == 1 && sight->others > 0)
    model->nodes[sight->node].begin = sight->begin;
}

static void
read_cell (struct model *model, uint32_t index, uint32_t begin,
           const uint8_t *data, uint32_t oldest)
{
  struct cell *cell = &model->cells[index];
  const bool loses = model->doubt == MODEL_LOSES;
  struct sight sight = { .index = index, .begin = begin };
  uint32_t at = index;

  if (!decode (model, data, &sight.value, &at))
    violation ("data", "a read at %ju sees what nobody has written",
               (uintmax_t)index * model->cell);
  if (at != index)
    violation ("data", "a read at %ju sees write %u, but of %ju",
               (uintmax_t)index * model->cell, sight.value,
               (uintmax_t)at * model->cell);
  sight.floor = model_floor (model, cell, loses, begin);
  look (model, cell, &sight);
  if (sight.matches == 0) {
    struct sight again = sight;

    again.floor = model_floor (model, cell, true, begin);
    look (model, cell, &again);
    if (again.matches > 0)
      wrong (model, "I6", &sight, "older than an answered write");
    wrong (model, "I2", &sight, "older than a durable write");
  }
  if (model->doubt == MODEL_FIRM || model->doubt == MODEL_ERRS) {
    check_seen (model, cell, &sight);
    conclude (model, cell, &sight);
  }
  model_prune (model, cell, oldest);
}

void
model_read_end (struct model *model, uint64_t read, int error, const void *data)
{
  struct request request = model_request_end (model, model->reads, read);
  uint32_t first = (uint32_t)(request.offset / model->cell);
  uint32_t count = (uint32_t)(request.length / model->cell);
  uint32_t oldest = model_oldest_read (model);
  const uint8_t *p = data;

  if (error != 0)
    return;
  for (uint32_t i = 0; i < count; ++i)
    read_cell (model, first + i, request.begin, p + (size_t)i * model->cell,
               oldest);
}

bool
model_may_hold (const struct model *model, uint64_t offset, const void *data)
{
  const struct cell *cell = &model->cells[offset / model->cell];
  uint32_t index = (uint32_t)(offset / model->cell), at = index, value;
  uint32_t floor;

  assert (offset % model->cell == 0 && offset < model->size);
  if (!decode (model, data, &value, &at) || at != index)
    return false;
  floor = model_floor (model, cell, false, NEVER);
  for (uint32_t n = cell->list; n != NONE; n = model->nodes[n].next)
    if (value_of (model, model->nodes[n].write) == value
        && node_end (model, &model->nodes[n]) >= floor)
      return true;
  return false;
}
