/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* A disk that promises what a drive promises, and keeps no more.
 *
 * A write that has ended is in the volatile cache: it may be lost in a crash,
 * any sector of it by itself, until a flush that was submitted after it had
 * ended has ended well.  A write with FUA is durable when it has ended, its
 * own sectors only.  Of several writes to one sector a crash leaves any, but
 * never a mixture within 512 bytes.  A write in flight at a crash may have
 * happened in whole, in part, or not at all, and before or after any other
 * that is not durable.  Reads in flight beside writes see either, by sector.
 *
 * A server that is killed takes nothing with it: the next one finds the cache
 * as it was, and only a later crash may lose what is in it.
 *
 * A disk belongs to nobody: it outlives worlds.  What is in flight belongs to
 * the world and is dropped with it, by disk_after_crash and disk_after_kill.
 */

#ifndef MDBITMAP_SIM_DISK_H
#define MDBITMAP_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_SECTOR 512

/* ---- images ---- */

/* Sectors, in pages of 4 KiB that copies share until one writes. */
struct image;

extern struct image *image_new (uint64_t size); /* bytes; all zero */
extern struct image *image_copy (const struct image *image);
extern void image_free (struct image *image);
extern uint64_t image_size (const struct image *image);
extern void image_read (const struct image *image, uint64_t offset, void *data,
                        uint64_t length);
/* data NULL: zeroes. */
extern void image_write (struct image *image, uint64_t offset, const void *data,
                         uint64_t length);
/* Fast where pages are shared. */
extern bool
image_equal (const struct image *a, uint64_t offset_a, const struct image *b,
             uint64_t offset_b, uint64_t length);
extern uint64_t image_hash (const struct image *image);

/* ---- faults ---- */

enum disk_state {
  DISK_GOOD,
  DISK_FAILED,   /* every operation ends with EIO */
  DISK_HANGS,    /* operations end only after disk_repair, or much later */
  DISK_VANISHED, /* as failed; comes back with what is durable */
};

/* How often, per 1,000,000 operations, things go wrong. */
struct disk_faults {
  unsigned slow;        /* takes up to half the time-out of the leg */
  unsigned hang;        /* one operation ends after the time-out, or never */
  unsigned read_error;  /* of a transfer, once */
  unsigned write_error; /* contents then old, new, or some sectors new */
  unsigned flush_error; /* and the cache is dropped: any of it may be lost */
  unsigned latent;      /* per write at a crash: its sectors become unreadable
                         * until they are written again */
  bool silent_fua;      /* never: for mutants of the model itself */
};

struct disk_limits {
  uint32_t logical_block; /* bytes */
  bool reaped;            /* the submitting thread reaps, as with libaio;
                           * else a fiber of the device ends operations */
  bool no_cache;          /* a write that has ended is durable */
};

struct disk;

/* Takes the image. number: as in traces. */
extern struct disk *disk_new (unsigned number, struct image *image,
                              const struct disk_limits *limits);
extern void disk_free (struct disk *disk);
extern void
disk_set_faults (struct disk *disk, const struct disk_faults *faults);
extern void disk_set_state (struct disk *disk, enum disk_state state);
extern enum disk_state disk_state (const struct disk *disk);
/* The server of a remote leg restarts: operations in flight end with
 * ESHUTDOWN, any part of the cache is lost, and the session is over: all later
 * operations fail until the next world, which opens it anew.
 */
extern void disk_restart (struct disk *disk);
/* Sectors that cannot be read until they are written again. */
extern void disk_spoil (struct disk *disk, uint64_t offset, uint64_t length);
/* Would a read of the range fail? */
extern bool
disk_is_spoiled (const struct disk *disk, uint64_t offset, uint64_t length);
/* Since disk_new, has anything gone wrong that a user of the disk could see
 * (an error, a hang, not slowness)?
 */
extern bool disk_was_faulty (const struct disk *disk);

/* Since disk_new, has it dropped what was in its cache? */
extern bool disk_lost_cache (const struct disk *disk);

extern unsigned disk_number (const struct disk *disk);
extern const struct disk_limits *disk_limits (const struct disk *disk);
extern uint64_t disk_size (const struct disk *disk); /* bytes */

/* ---- looking at it, from outside ---- */

/* What is on the medium for sure. */
extern const struct image *disk_durable (const struct disk *disk);
/* What a read would see if nothing were in flight. */
extern const struct image *disk_current (const struct disk *disk);
/* Does the volatile cache hold a sector of the range? */
extern bool
disk_has_volatile (const struct disk *disk, uint64_t offset, uint64_t length);
/* Is a write or zero in flight there (ended for its waiter by a time-out or
 * not)?
 */
extern bool disk_has_write_in_flight (const struct disk *disk, uint64_t offset,
                                      uint64_t length);

/* ---- crashes ---- */

enum disk_loss {
  LOSE_NOTHING,    /* all that has ended; of what is in flight, any part */
  LOSE_EVERYTHING, /* all that is not durable */
  LOSE_PREFIX,     /* what ended after a random moment */
  LOSE_ANY,        /* each write in whole, independently */
  LOSE_SECTORS,    /* each sector independently: torn */
  DISK_LOSSES
};

/* A new disk, of which nothing is in flight or volatile, with an image that
 * a crash now may leave; by CHANCE_CRASH.  faults and state are good.
 */
extern struct disk *
disk_after_crash (const struct disk *disk, enum disk_loss loss);
/* A new disk as a server that was killed leaves it, with the power on: its
 * cache is what it was, and of what was in flight any part has been done, but
 * is not durable, FUA or not, unless it was done in whole; by CHANCE_CRASH.
 * faults and state are good.
 */
extern struct disk *disk_after_kill (const struct disk *disk);
/* All possible images of a crash now, for the exhaustive mode: how many, up
 * to max (then 0: too many); and the n-th.
 */
extern uint64_t disk_crash_count (const struct disk *disk, uint64_t max);
extern struct disk *disk_crash_nth (const struct disk *disk, uint64_t n);

#endif /* MDBITMAP_SIM_DISK_H */
