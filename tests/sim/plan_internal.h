/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What plan.c and plan_array.c share. */

#ifndef MDBITMAP_SIM_PLAN_INTERNAL_H
#define MDBITMAP_SIM_PLAN_INTERNAL_H

#include "base/bytes.h"
#include "format/bitmap_superblock.h"
#include "sim/chance.h"
#include "sim/plan.h"

#define BIG_SIZE (512 * KiB) /* arrays from here on are slow */

/* The last bit of the bitmap's first page. */
#define PAGE_EDGE ((BITMAP_PAGE_BYTES - BITMAP_SUPERBLOCK_BYTES) * 8 - 1)

static inline uint64_t
draw (uint64_t n)
{
  return choose (CHANCE_PLAN, n);
}

static inline bool
odds (uint64_t n, uint64_t per)
{
  return chance (CHANCE_PLAN, n, per);
}

/* From a to b. */
static inline uint64_t
between (uint64_t a, uint64_t b)
{
  return a + draw (b - a + 1);
}

#define ONE_OF(list) ((list)[draw (sizeof (list) / sizeof ((list)[0]))])

/* One of them, one time in share. */
static inline unsigned
rate (unsigned n, const unsigned *rates, uint64_t share)
{
  return odds (1, share) ? rates[draw (n)] : 0;
}

/* ---- plan_array.c ---- */

extern void plan_draw_array (struct plan *plan);
extern void plan_draw_bad_blocks (struct plan *plan);

#endif /* MDBITMAP_SIM_PLAN_INTERNAL_H */
