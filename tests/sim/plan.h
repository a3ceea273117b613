/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A plan: what a world is like and what is done to it, made from a seed, and
 * as text, so that a plan that fails can be cut down, kept and read.
 */

#ifndef MDBITMAP_SIM_PLAN_H
#define MDBITMAP_SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/disk.h"
#include "sim/world.h"

#define PLAN_LEGS    4
#define PLAN_CLIENTS 3
#define PLAN_EPOCHS  4
#define PLAN_BAD     4

/* Of the superblocks.  0 in plans that say nothing. */
enum plan_metadata { PLAN_1_2, PLAN_1_1, PLAN_1_0, PLAN_0_90 };

/* Where the bitmap is, if not on the legs, and how it is written. */
enum plan_file {
  PLAN_NO_FILE,
  PLAN_FILE_DIRECT,
  PLAN_FILE_EXTENT,
  PLAN_FILE_PAGECACHE
};

/* What is said of it when the array is started. */
enum plan_bitmap {
  PLAN_BITMAP_GIVEN,
  PLAN_BITMAP_NONE,
  PLAN_BITMAP_FORGOTTEN, /* nothing; if that is refused the file is given */
  PLAN_BITMAP_UNTOLD,    /* nothing; if that is refused: none */
};

enum step_type {
  /* by a client, one after the other */
  STEP_READ,
  STEP_WRITE,
  STEP_WRITE_FUA,
  STEP_ZERO, /* and these three with length in bytes as well */
  STEP_TRIM,
  STEP_FLUSH,
  STEP_SLEEP, /* length: nanoseconds */
  /* by the operator, one after the other */
  STEP_FAIL_LEG,   /* the disk of leg n fails for good */
  STEP_VANISH_LEG, /* fails; is back, with what is durable, next epoch */
  STEP_HANG_LEG,   /* hangs, for length nanoseconds */
  STEP_RESTART_LEG,
  STEP_SPOIL_LEG,   /* sectors [offset, offset + length) of the data */
  STEP_FAIL_FILE,   /* the disk of the bitmap's file fails, in this epoch */
  STEP_VANISH_FILE, /* fails; there is no such file next epoch */
  STEP_HANG_FILE,   /* hangs, for length nanoseconds */
  STEP_STOP,        /* array_stop and array_close; ends the epoch */
  STEP_STOP_BUSY,   /* the same, but array_stop does not wait for the clients */
  STEP_CRASH,       /* ends the epoch, then and there */
  STEP_TYPES
};

struct step {
  enum step_type type;
  unsigned epoch;
  unsigned client; /* PLAN_CLIENTS: the operator */
  unsigned leg;
  bool fua;                /* STEP_ZERO and STEP_TRIM only */
  uint64_t offset, length; /* bytes */
};

/* An epoch is what lies between an assembly and a crash or a stop. */
struct epoch {
  bool read_only;    /* nbdkit -r: only reads, and nothing may be written */
  unsigned order;    /* of presentation: a permutation, as a number */
  uint64_t crash_at; /* step of the world; 0: only where a STEP says so */
  bool kill;         /* where it ends, crash or stop, the power stays on */
  unsigned bitmap;   /* enum plan_bitmap; only with a file */
};

/* Bytes of the array that are in the bad-block log of a leg when it begins, and
 * are not the array's data there.
 */
struct plan_bad {
  unsigned leg;
  uint64_t offset, length;
};

struct plan {
  uint64_t seed;
  unsigned legs;  /* slots: 2 to PLAN_LEGS */
  uint32_t chunk; /* bytes: 512 to 4096 */
  uint64_t size;  /* bytes of the array; the last chunk may be short */
  uint32_t cell;  /* bytes: requests are multiples; 512 or 128 */
  uint32_t logical_block[PLAN_LEGS]; /* bytes */
  unsigned write_mostly;             /* bit n: leg n */
  unsigned metadata;                 /* enum plan_metadata */
  unsigned numbering;   /* not 0: slots, dev_numbers, and the numbers of legs
                         * are not the same */
  bool no_bitmap;       /* on the legs */
  unsigned bitmap_file; /* enum plan_file; then no_bitmap is ignored */
  uint32_t file_block;  /* bytes: logical block of its disk */
  bool file_short;      /* it ends with the last bit, as mdadm's do */
  bool file_noted;      /* the legs say that there is one */
  bool file_stops;      /* on-bitmap-error=stop */
  unsigned file_check_error; /* per 1,000,000 times that file_check asks */
  struct disk_faults file_faults;
  uint64_t
      resync_from; /* bytes; not clean and no bitmap: legs are equal below */
  bool spare;      /* there is one more leg, which is a spare */
  unsigned nbad;
  struct plan_bad bad[PLAN_BAD]; /* not with 0.90 */
  bool reaped;                   /* devices are, see disk.h */
  bool starts_clean;             /* else with unequal legs and some bits set */
  uint32_t daemon_sleep;         /* seconds */
  uint64_t leg_timeout;          /* nanoseconds */
  uint64_t sync_rate;            /* bytes per second; 0: no limit */
  struct disk_faults faults[PLAN_LEGS];
  struct world_options world;
  unsigned epochs; /* 1 to PLAN_EPOCHS */
  struct epoch epoch[PLAN_EPOCHS];
  unsigned checks; /* crash images looked at in the whole run, about */
  unsigned nsteps;
  struct step *steps; /* in order */
};

/* By CHANCE_PLAN.  Small worlds beat large ones: mostly 2 legs, few chunks of
 * few sectors, 5 to 60 steps; most seeds have few kinds of fault, or none,
 * some have many; now and then bitmaps of 1, 7, 8, 2047, 2048, 2049 bits, or
 * one that needs a second page.
 */
extern struct plan *plan_new (uint64_t seed);
extern void plan_free (struct plan *plan);
extern struct plan *plan_copy (const struct plan *plan);
extern void plan_print (const struct plan *plan, FILE *to);
/* NULL: not a plan; *line says where. */
extern struct plan *plan_parse (FILE *from, unsigned *line);
extern const char *step_type_string (enum step_type type);

#endif /* MDBITMAP_SIM_PLAN_H */
