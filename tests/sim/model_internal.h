/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Inside the model only: model.c has the rules, model_read.c applies them to
 * what is read.
 */

#ifndef MDBITMAP_SIM_MODEL_INTERNAL_H
#define MDBITMAP_SIM_MODEL_INTERNAL_H

#include "sim/model.h"

#define NEVER     UINT32_MAX
#define NONE      UINT32_MAX /* no node */
#define ZEROES    UINT32_MAX /* a value, as are numbers of other writes */
#define IN_FLIGHT 32         /* reads, or flushes, at once */

enum status { ONGOING, DONE, FAILED, LEFT };

struct write {
  uint32_t first, count; /* cells */
  uint32_t begin, end, kept;
  enum status status;
  bool zero;
};

struct node {
  uint32_t write;
  uint32_t begin; /* that of the write, or later by rule 4 */
  uint32_t next;
};

/* What rule 3 says; valid if the age is the model's. */
struct seen {
  uint32_t age;
  uint32_t value;
  uint32_t time;  /* the read has ended */
  uint32_t floor; /* it was beside this write, which began then; 0: rule 3 a */
};

struct cell {
  uint32_t list;
  struct seen seen;
};

struct request {
  uint64_t number; /* 0: free */
  uint64_t offset, length;
  uint32_t begin;
};

struct model {
  uint64_t size;
  uint32_t cell;
  uint32_t ncells;
  uint32_t clock;
  uint32_t age;
  enum model_doubt doubt;
  uint64_t requests; /* reads and flushes so far */
  struct request reads[IN_FLIGHT], flushes[IN_FLIGHT];
  unsigned writes_in_flight;
  struct cell *cells;
  struct node *nodes;
  uint32_t nnodes, max_nodes, free_nodes;
  struct write *writes;
  uint32_t nwrites, max_writes;
};

/* ---- model.c ---- */

static inline uint32_t
value_of (const struct model *model, uint32_t write)
{
  return model->writes[write].zero ? ZEROES : write;
}

/* When it was surely over. */
static inline uint32_t
node_end (const struct model *model, const struct node *node)
{
  uint32_t end = model->writes[node->write].end;

  return end > node->begin ? end : node->begin;
}

/* What was over before this is excluded, by rule 1 (kept: by rule 2) for
 * requests that begin at a time.
 */
extern uint32_t model_floor (const struct model *model, const struct cell *cell,
                             bool kept, uint32_t time);
/* Take off the list what can never be seen again.  oldest: when the oldest
 * read in flight began.
 */
extern void
model_prune (struct model *model, struct cell *cell, uint32_t oldest);
extern uint32_t model_oldest_read (const struct model *model);
extern struct request
model_request_end (struct model *model, struct request *list, uint64_t number);

#endif /* MDBITMAP_SIM_MODEL_INTERNAL_H */
