/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The model: what each cell of the array may be.
 *
 * Each cell has a list of candidates: writes that it may hold.  Time is a
 * counter that goes up with each request and each answer.  w.begin and w.end
 * are the times of a write's request and answer; a write without an answer
 * has not ended.  A write is
 *
 *   ONGOING  not answered
 *   DONE     answered with success.  kept: since when it is known to be
 *            durable, because FUA was answered, or because a flush was
 *            answered that was asked for after w.end
 *   FAILED   answered with an error, or not at all when the server was
 *            killed: it may have happened or not, by cell
 *   LEFT     not known to be durable when the power went, whatever it was:
 *            some legs may have it and others not
 *
 * The rules:
 *
 *   1. d excludes w for a read if d is DONE, d.end < read.begin, and w.end <
 *      d.begin: w was over before d began, and d before the read.  FAILED and
 *      LEFT writes exclude nothing.  (I6)
 *   2. After a crash d excludes w only if d is kept: everything stays that
 *      was written after d or beside it, answered or not.  What a read saw
 *      plays no part, since reading makes nothing durable, nor does a flush
 *      promise more for a LEFT write than that the leg it was read from keeps
 *      it: the other legs may have another value, which shows when that leg
 *      is lost.  (I2)
 *   3. a. A read during which no write of the cell was in flight sees v:
 *      until the next crash only v may be seen, or a write that began later.
 *      b. A read sees a write that is still in flight: nothing may be seen any
 *      more that was over before that write began.  Both bind reads that begin
 *      after this one has ended.  They are void (model_forget_seen) when a leg
 *      is lost, begins to err, or is no longer the source of an unequal chunk,
 *      since another one then serves what is unequal, and nothing is concluded
 *      from a read meanwhile (MODEL_FLIPS).  b is void while an erring leg is
 *      in use (MODEL_ERRS).  If the cache of a leg that served the read may
 *      have been dropped, it may be like after a crash (MODEL_LOSES).  (I6a)
 *   4. If all that rule 1 leaves is DONE, and over before the read began,
 *      then they were beside each other, and the read shows which was last:
 *      the legs are equal, so this is for ever.  We say that it began when
 *      the read did.
 *   5. Writes of zeroes cannot be told from each other: seeing zeroes is
 *      seeing any of them.
 *   6. After a clean stop with good legs all that was answered is kept, and
 *      what was seen is all that there is (model_settled).
 *
 * A candidate that is excluded by a kept write, for all reads that may still
 * end, is taken off the list, so lists are short.
 *
 * All is in three flat arrays (cells, nodes of lists, writes), since a model
 * is copied for each image of a crash.  One OS thread, no locks.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/model_internal.h"

/* ---- memory ---- */

static void *
get (void *old, size_t n, size_t size)
{
  void *p = realloc (old, n * size);

  if (!p)
    abort ();
  return p;
}

static void *
duplicate (const void *from, size_t n, size_t max, size_t size)
{
  void *p = get (NULL, max, size);

  memcpy (p, from, n * size);
  return p;
}

static uint32_t
new_node (struct model *model)
{
  uint32_t n = model->free_nodes;

  if (n != NONE) {
    model->free_nodes = model->nodes[n].next;
    return n;
  }
  if (model->nnodes == model->max_nodes) {
    model->max_nodes += model->max_nodes / 2 + 64;
    model->nodes = get (model->nodes, model->max_nodes, sizeof model->nodes[0]);
  }
  return model->nnodes++;
}

static uint32_t
new_write (struct model *model, uint64_t offset, uint64_t length, bool zero)
{
  struct write *write;

  assert (offset % model->cell == 0 && length % model->cell == 0);
  assert (length > 0 && offset + length <= model->size);
  if (model->nwrites == model->max_writes) {
    model->max_writes += model->max_writes / 2 + 64;
    model->writes =
        get (model->writes, model->max_writes, sizeof model->writes[0]);
  }
  write = &model->writes[model->nwrites];
  write->first = (uint32_t)(offset / model->cell);
  write->count = (uint32_t)(length / model->cell);
  write->begin = model->clock;
  write->end = write->kept = NEVER;
  write->status = ONGOING;
  write->zero = zero;
  return model->nwrites++;
}

static void
add_candidate (struct model *model, struct cell *cell, uint32_t write)
{
  uint32_t n = new_node (model);

  model->nodes[n].write = write;
  model->nodes[n].begin = model->writes[write].begin;
  model->nodes[n].next = cell->list;
  cell->list = n;
}

struct model *
model_new (uint64_t size, uint32_t cell)
{
  struct model *model = get (NULL, 1, sizeof *model);
  uint32_t write;

  assert (size > 0 && size % cell == 0 && size / cell < NONE);
  memset (model, 0, sizeof *model);
  model->size = size;
  model->cell = cell;
  model->ncells = (uint32_t)(size / cell);
  model->age = 1;
  model->free_nodes = NONE;
  model->cells = get (NULL, model->ncells, sizeof model->cells[0]);
  memset (model->cells, 0, model->ncells * sizeof model->cells[0]);
  model->max_nodes = model->ncells;
  model->nodes = get (NULL, model->max_nodes, sizeof model->nodes[0]);
  write = new_write (model, 0, size, false);
  model->writes[write].end = model->writes[write].kept = 0;
  model->writes[write].status = DONE;
  for (uint32_t i = 0; i < model->ncells; ++i) {
    model->cells[i].list = NONE;
    add_candidate (model, &model->cells[i], write);
  }
  model->clock = 1;
  return model;
}

struct model *
model_copy (const struct model *model)
{
  struct model *copy = duplicate (model, 1, 1, sizeof *model);

  copy->cells = duplicate (model->cells, model->ncells, model->ncells,
                           sizeof model->cells[0]);
  copy->nodes = duplicate (model->nodes, model->nnodes, model->max_nodes,
                           sizeof model->nodes[0]);
  copy->writes = duplicate (model->writes, model->nwrites, model->max_writes,
                            sizeof model->writes[0]);
  return copy;
}

void
model_free (struct model *model)
{
  if (!model)
    return;
  free (model->cells);
  free (model->nodes);
  free (model->writes);
  free (model);
}

uint32_t
model_cell (const struct model *model)
{
  return model->cell;
}

/* ---- candidates ---- */

/* What was over before this is excluded, by rule 1 (kept: by rule 2) for
 * requests that begin at a time.
 */
uint32_t
model_floor (const struct model *model, const struct cell *cell, bool kept,
             uint32_t time)
{
  uint32_t floor = 0;

  for (uint32_t n = cell->list; n != NONE; n = model->nodes[n].next) {
    const struct node *node = &model->nodes[n];
    const struct write *write = &model->writes[node->write];

    if (write->status == DONE && (kept ? write->kept : write->end) < time
        && node->begin > floor)
      floor = node->begin;
  }
  return floor;
}

static void
drop_node (struct model *model, uint32_t *link)
{
  uint32_t n = *link;

  *link = model->nodes[n].next;
  model->nodes[n].next = model->free_nodes;
  model->free_nodes = n;
}

/* Since when all requests in flight have been. */
uint32_t
model_oldest_read (const struct model *model)
{
  uint32_t oldest = NEVER;

  for (unsigned i = 0; i < IN_FLIGHT; ++i)
    if (model->reads[i].number != 0 && model->reads[i].begin < oldest)
      oldest = model->reads[i].begin;
  return oldest;
}

/* Take off the list what can never be seen again. */
void
model_prune (struct model *model, struct cell *cell, uint32_t oldest)
{
  uint32_t *link = &cell->list;
  uint32_t floor;

  if (model->nodes[cell->list].next == NONE)
    return;
  floor = model_floor (model, cell, true, oldest);
  while (*link != NONE)
    if (node_end (model, &model->nodes[*link]) < floor)
      drop_node (model, link);
    else
      link = &model->nodes[*link].next;
  assert (cell->list != NONE);
}

/* ---- requests ---- */

static uint64_t
request_begin (struct model *model, struct request *list, uint64_t offset,
               uint64_t length)
{
  unsigned i = 0;

  while (i < IN_FLIGHT && list[i].number != 0)
    i++;
  assert (i < IN_FLIGHT);
  list[i].number = ++model->requests;
  list[i].offset = offset;
  list[i].length = length;
  list[i].begin = ++model->clock;
  return model->requests;
}

struct request
model_request_end (struct model *model, struct request *list, uint64_t number)
{
  struct request request;
  unsigned i = 0;

  while (i < IN_FLIGHT && list[i].number != number)
    i++;
  assert (i < IN_FLIGHT && number != 0);
  request = list[i];
  list[i].number = 0;
  model->clock++;
  return request;
}

uint64_t
model_maybe (struct model *model, uint64_t offset, uint64_t length)
{
  uint32_t write = new_write (model, offset, length, false);
  struct write *w = &model->writes[write];

  w->begin = w->end = 0;
  w->status = LEFT;
  for (uint32_t i = w->first; i < w->first + w->count; ++i)
    add_candidate (model, &model->cells[i], write);
  return write;
}

uint64_t
model_write_begin (struct model *model, uint64_t offset, uint64_t length,
                   bool zero)
{
  uint32_t oldest = model_oldest_read (model), write, first, count;

  model->clock++;
  write = new_write (model, offset, length, zero);
  first = model->writes[write].first;
  count = model->writes[write].count;
  for (uint32_t i = first; i < first + count; ++i) {
    model_prune (model, &model->cells[i], oldest);
    add_candidate (model, &model->cells[i], write);
  }
  model->writes_in_flight++;
  return write;
}

/* It never was, and nobody can have seen it. */
static void
forget_write (struct model *model, uint32_t write)
{
  const struct write *w = &model->writes[write];

  for (uint32_t i = w->first; i < w->first + w->count; ++i) {
    uint32_t *link = &model->cells[i].list;

    while (*link != NONE)
      if (model->nodes[*link].write == write)
        drop_node (model, link);
      else
        link = &model->nodes[*link].next;
    assert (model->cells[i].list != NONE);
  }
}

void
model_write_end (struct model *model, uint64_t write, int error, bool fua)
{
  struct write *w = &model->writes[write];

  assert (write < model->nwrites && w->status == ONGOING);
  w->end = ++model->clock;
  w->status = error == 0 ? DONE : FAILED;
  if (error == 0 && fua)
    w->kept = w->end;
  if (error == -EROFS)
    forget_write (model, (uint32_t)write);
  model->writes_in_flight--;
}

uint64_t
model_flush_begin (struct model *model)
{
  return request_begin (model, model->flushes, 0, 0);
}

void
model_flush_end (struct model *model, uint64_t flush, int error)
{
  struct request request = model_request_end (model, model->flushes, flush);

  if (error != 0)
    return;
  for (uint32_t i = 0; i < model->nwrites; ++i) {
    struct write *w = &model->writes[i];

    if (w->status == DONE && w->kept == NEVER && w->end < request.begin)
      w->kept = model->clock;
  }
}

uint64_t
model_read_begin (struct model *model, uint64_t offset, uint64_t length)
{
  assert (offset % model->cell == 0 && length % model->cell == 0);
  return request_begin (model, model->reads, offset, length);
}

void
model_set_doubt (struct model *model, enum model_doubt doubt)
{
  model->doubt = doubt;
}

void
model_forget_seen (struct model *model)
{
  model->age++;
}

/* ---- ends ---- */

static void
nobody_is_left (struct model *model)
{
  memset (model->reads, 0, sizeof model->reads);
  memset (model->flushes, 0, sizeof model->flushes);
  model->writes_in_flight = 0;
  model->doubt = MODEL_FIRM;
  model->age++;
  model->clock++;
  for (uint32_t i = 0; i < model->ncells; ++i)
    model_prune (model, &model->cells[i], NEVER);
}

void
model_crash (struct model *model)
{
  model->clock++;
  for (uint32_t i = 0; i < model->nwrites; ++i) {
    struct write *w = &model->writes[i];

    if (w->status == ONGOING)
      w->end = model->clock;
    if (w->kept == NEVER)
      w->status = LEFT;
  }
  nobody_is_left (model);
}

void
model_kill (struct model *model)
{
  model->clock++;
  for (uint32_t i = 0; i < model->nwrites; ++i) {
    struct write *w = &model->writes[i];

    if (w->status != ONGOING)
      continue;
    w->end = model->clock;
    w->status = FAILED;
  }
  nobody_is_left (model);
}

/* Only what was seen is left. */
static void
settle_cell (struct model *model, struct cell *cell)
{
  uint32_t *link = &cell->list;

  if (cell->seen.age != model->age || cell->seen.floor != 0)
    return;
  for (uint32_t n = cell->list; n != NONE; n = model->nodes[n].next)
    if (model->writes[model->nodes[n].write].begin > cell->seen.time)
      return; /* written since */
  while (*link != NONE)
    if (value_of (model, model->nodes[*link].write) != cell->seen.value)
      drop_node (model, link);
    else
      link = &model->nodes[*link].next;
  assert (cell->list != NONE);
}

void
model_settled (struct model *model)
{
  model->clock++;
  for (uint32_t i = 0; i < model->nwrites; ++i) {
    struct write *w = &model->writes[i];

    assert (w->status != ONGOING);
    if (w->status == DONE && w->kept == NEVER)
      w->kept = model->clock;
  }
  model->clock++;
  for (uint32_t i = 0; i < model->ncells; ++i) {
    model_prune (model, &model->cells[i], model_oldest_read (model));
    settle_cell (model, &model->cells[i]);
  }
  model->age++;
}

/* ---- looking at it ---- */

void
model_explain (const struct model *model, uint64_t offset, char *text,
               unsigned size)
{
  static const char *const names[] = { "ongoing", "done", "failed", "left" };
  const struct cell *cell = &model->cells[offset / model->cell];
  unsigned used = 0;

  text[0] = '\0';
  for (uint32_t n = cell->list; n != NONE; n = model->nodes[n].next) {
    const struct write *w = &model->writes[model->nodes[n].write];
    int length;

    length = snprintf (text + used, size - used, "%swrite %u%s (%s%s)",
                       used > 0 ? ", " : "", model->nodes[n].write,
                       w->zero ? " of zeroes" : "", names[w->status],
                       w->kept != NEVER ? ", durable" : "");
    if (length < 0 || (unsigned)length >= size - used)
      return;
    used += (unsigned)length;
  }
}

unsigned
model_in_flight (const struct model *model)
{
  unsigned n = model->writes_in_flight;

  for (unsigned i = 0; i < IN_FLIGHT; ++i)
    n += model->flushes[i].number != 0;
  return n;
}
