/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Plans by chance: what the array is like, and where its bitmap is. */

#include <config.h>

#include "sim/plan_internal.h"

static uint64_t
draw_chunks (void)
{
  static const uint64_t edges[] = { 1, 7, 8 };
  static const uint64_t big[] = { 2047, 2048, 2049, 2049 };

  if (odds (1, 100))
    return odds (1, 3) ? between (PAGE_EDGE + 2, 31000) : ONE_OF (big);
  if (odds (1, 4))
    return ONE_OF (edges);
  return between (2, 16);
}

static void
draw_file (struct plan *plan)
{
  static const unsigned rare[] = { 1000, 10000, 50000 };
  static const unsigned often[] = { 10000, 50000, 200000 };
  struct disk_faults *faults = &plan->file_faults;

  plan->bitmap_file = PLAN_FILE_DIRECT + (unsigned)draw (3);
  /* One sector of the file is enough for most. */
  if (plan->bitmap_file == PLAN_FILE_EXTENT && plan->chunk == 512
      && odds (1, 8)) {
    plan->size = plan->chunk * between (2049, 5000);
    plan->cell = 512;
  }
  plan->file_block = odds (1, 4) ? 4096 : 512;
  plan->file_short = odds (1, 3);
  plan->file_noted = odds (2, 3);
  plan->file_stops = odds (1, 4);
  if (odds (1, 3)) {
    faults->slow = rate (3, often, 2);
    faults->hang = rate (3, rare, 4);
    faults->write_error = rate (3, rare, 3);
    faults->flush_error = rate (3, often, 3);
    faults->read_error = rate (3, rare, 6);
    faults->latent = rate (3, often, 4);
  }
  if (plan->bitmap_file == PLAN_FILE_EXTENT)
    plan->file_check_error = rate (3, often, 4);
}

static void
draw_metadata (struct plan *plan)
{
  static const unsigned versions[] = { PLAN_1_2, PLAN_1_2,  PLAN_1_2, PLAN_1_1,
                                       PLAN_1_0, PLAN_0_90, PLAN_0_90 };

  plan->metadata = ONE_OF (versions);
  if (plan->metadata == PLAN_0_90)
    plan->size = round_up (plan->size, 1024);
  if (odds (1, 3))
    plan->numbering = 1 + (unsigned)draw (1000);
  plan->spare = plan->legs < PLAN_LEGS && odds (1, 12);
  if (odds (1, 3))
    draw_file (plan);
  if (plan->size >= BIG_SIZE)
    return;
  plan->no_bitmap = odds (1, 10);
  if (plan->no_bitmap && plan->bitmap_file == PLAN_NO_FILE && odds (1, 2))
    plan->resync_from = 512 * draw (plan->size / 512);
}

void
plan_draw_array (struct plan *plan)
{
  uint64_t chunks = draw_chunks ();

  plan->legs = 2;
  if (odds (1, 4))
    plan->legs = odds (1, 6) ? 4 : 3;
  plan->chunk = chunks > 16 ? 512 : 512u << draw (4);
  plan->size = chunks * plan->chunk;
  if (plan->chunk > 512 && odds (1, 3))
    plan->size -= 512 * between (1, plan->chunk / 512 - 1);
  plan->cell = chunks <= 16 && odds (1, 4) ? 128 : 512;
  for (unsigned i = 0; i < plan->legs; ++i)
    plan->logical_block[i] = 512;
  /* mdadm makes no bitmap with chunks of less than 4 KiB; we do, but not
   * where a chunk would be less than a block.
   */
  if (plan->chunk == 4096 && odds (1, 3)) {
    plan->logical_block[draw (plan->legs)] = 4096;
    plan->size = round_up (plan->size, 4096);
  }
  if (odds (1, 8))
    plan->write_mostly = 1u << draw (plan->legs);
  plan->reaped = odds (1, 2);
  plan->starts_clean = odds (1, 2);
  draw_metadata (plan);
}

void
plan_draw_bad_blocks (struct plan *plan)
{
  const uint64_t sectors = plan->size / 512;
  unsigned leg = (unsigned)draw (plan->legs);

  if (plan->metadata == PLAN_0_90 || plan->size >= BIG_SIZE || !odds (1, 8))
    return;
  plan->nbad = 1 + (unsigned)draw (PLAN_BAD);
  for (unsigned i = 0; i < plan->nbad; ++i) {
    struct plan_bad *bad = &plan->bad[i];
    uint64_t first = draw (sectors);

    if (odds (1, 4))
      leg = (unsigned)draw (plan->legs);
    bad->leg = leg;
    bad->offset = first * 512;
    bad->length =
        512 * between (1, min_u64 (odds (1, 3) ? 16 : 3, sectors - first));
  }
}
