/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The oracle looks at every operation of every leg as it is submitted and as
 * it ends, at every answer to a client, and at what a crash would leave, and
 * knows the rules: those of design section 4, by the names I1 to I30 of the
 * invariants.  It knows md's format by lib/format, and nothing of how the
 * library came to do what it did; whom the library holds to be in sync it
 * takes from the array's memory (array/internal.h), reading only.
 */

#ifndef MDBITMAP_SIM_ORACLE_H
#define MDBITMAP_SIM_ORACLE_H

#include "sim/legs.h"
#include "sim/model.h"
#include "sim/plan.h"

struct array;
struct oracle;

struct oracle_range {
  uint64_t start, length;
};

/* Where things are on each leg, in bytes; the same on all. */
struct oracle_geometry {
  uint64_t key; /* of all this, for who remembers what he has decoded */
  enum plan_metadata metadata;
  uint64_t super, super_length;
  uint64_t bitmap, bitmap_length; /* none: 0 bytes */
  uint64_t log, log_length;       /* of bad blocks */
  uint64_t data, size;
  uint64_t leg_bytes;
  uint32_t block;       /* the largest logical block */
  uint64_t resync_from; /* bytes; where the first superblocks say that resync
                         * has come to, if they do */
  bool has_bitmap;      /* on the legs */
  bool has_file;        /* or in a file, at first; whether it is used or not */
  struct legs_file file;
  uint64_t file_disk;         /* bytes of the disk that it lies on */
  uint64_t note, note_length; /* that there is a file, on each leg */
  uint32_t chunk;             /* without a bitmap: of the one in memory */
  uint64_t chunks;
  uint32_t dev[SIM_LEGS];  /* dev_number of each leg */
  unsigned slot[SIM_LEGS]; /* it begins with that one */
  /* Of the array: in the bad-block log at first, and garbage. */
  unsigned nbad[SIM_LEGS];
  struct oracle_range bad[SIM_LEGS][PLAN_BAD];
};

/* Legs as mdadm would have made them, by the plan: superblocks, bitmaps, data
 * as the model says.  disks[plan->legs], and one more if there is a spare.
 * *file: the disk of the bitmap's file, or NULL.
 */
extern void oracle_format (const struct plan *plan, struct model *model,
                           struct disk **disks, struct disk **file,
                           struct oracle_geometry *geometry);

/* ---- while a world runs (I1a, I1b, I3, I4, I5, I10, I13 to I16, rule 4,
 * read-only) ---- */

/* One for a world, in its memory.  disks: by number of leg, as attached; some
 * may be NULL.
 */
extern struct oracle *
oracle_new (const struct oracle_geometry *geometry, struct disk **disks,
            unsigned n, bool read_only);
extern const struct legs_watcher *oracle_watcher (struct oracle *oracle);
/* The disk of the bitmap's file, whether it is given to the array or not.
 * astray: it may have been with others, who have gone on without these legs.
 */
extern void
oracle_set_file (struct oracle *oracle, struct disk *file, bool astray);
/* Once array_open has succeeded. */
extern void oracle_set_array (struct oracle *oracle, struct array *array);
/* Who has lost a split brain, by bits, and the highest events of these. */
extern void
oracle_set_losers (struct oracle *oracle, unsigned losers, uint64_t events);
/* A client is about to write to the range, or to zero it: its chunks, and a few
 * that follow, may be marked from now on.
 */
extern void
oracle_asked (struct oracle *oracle, uint64_t offset, uint64_t length);
/* A request of a client is answered: I3 and I8, liveness (started: world
 * time).  type as in the plan.
 */
extern void
oracle_answer (struct oracle *oracle, enum step_type type, uint64_t offset,
               uint64_t length, uint64_t started, int error);
/* Legs, by bits, that have read data for this fiber since its last answer, and
 * were in sync when they had: what came later from a leg may not be used.
 */
extern unsigned oracle_served (const struct oracle *oracle);
/* The array was stopped in order, and nothing was wrong with any leg: all
 * bits clear, legs equal, superblocks clean and equal in events (I18, I28).
 */
extern void oracle_stopped (struct oracle *oracle);

/* Moments at which a crash is most interesting. */
enum oracle_moment {
  MOMENT_NONE,
  MOMENT_BITS_DURABLE, /* a bitmap page has ended, and data has not begun */
  MOMENT_BETWEEN_LEGS, /* data has ended on one leg, not on another */
  MOMENT_CLEAR,        /* a bit was cleared on one leg, not on another */
  MOMENT_EVENTS,       /* bitmap superblock written, superblock not yet */
  MOMENT_SUPERBLOCK,   /* superblocks of the legs differ in events */
  MOMENT_RESYNC,       /* resync writes */
  MOMENT_RECORD,       /* a leg is faulty in memory and not yet on record */
  MOMENT_ASSEMBLY,     /* writes before the first request */
  MOMENT_ANSWER,       /* a request was just answered */
  MOMENTS
};
/* What has come about since the last call. */
extern enum oracle_moment oracle_moment (struct oracle *oracle);
extern const char *oracle_moment_string (enum oracle_moment moment);

/* ---- what a crash left ---- */

/* What an assembly of these legs must do, by the invariants alone. */
struct verdict {
  bool refused;
  const char *why;  /* refused */
  bool bitmap;      /* ... for what was said of the bitmap alone */
  unsigned in_sync; /* bit n: leg n is used */
  unsigned losers;  /* ... has lost a split brain */
  unsigned source;  /* leg that resync copies from */
  bool clean;
  uint64_t events;
};

/* What the user says. */
struct wishes {
  int degraded; /* enum array_degraded */
  bool read_only;
  bool forced;
  unsigned source; /* forced: this leg */
  int bitmap;      /* enum array_bitmap */
};

/* disks[i] NULL: not given.  file NULL: there is no such file.  Written from
 * the invariants and not from the code.
 */
extern void
reference_assemble (const struct oracle_geometry *geometry,
                    struct disk *const *disks, unsigned n,
                    const struct disk *file, const struct wishes *wishes,
                    struct verdict *verdict);

/* Without the library, and with the file, be it given next time or not: I1,
 * I1b, I2 (each cell of each leg that the verdict trusts may be what it is),
 * I12 and I13 on durable images.  trusted: bit n: the running array held leg n
 * to be in sync when it crashed or had not yet recorded its loss.
 */
extern void
oracle_judge_images (const struct oracle_geometry *geometry,
                     struct disk *const *disks, unsigned n,
                     const struct disk *file, const struct model *model);

/* A split brain was settled, and that leg is the one to be believed: nobody who
 * disagrees with it is trusted beside it, by us or by any kernel, or could be
 * added again to it (I12, I20).
 */
extern void
oracle_judge_settled (const struct oracle_geometry *geometry,
                      struct disk *const *disks, unsigned n, unsigned source);

#endif /* MDBITMAP_SIM_ORACLE_H */
