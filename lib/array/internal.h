/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Inside lib/array only: legs and the array.
 *
 * One lock, array->lock, guards everything that changes after array_open,
 * unless the field says otherwise.  It is never held across I/O.  Functions
 * declared here are called with it held unless their comment says "without
 * the lock".
 */

#ifndef MDBITMAP_ARRAY_INTERNAL_H
#define MDBITMAP_ARRAY_INTERNAL_H

#include "array/array.h"
#include "array/ranges.h"
#include "base/bytes.h"
#include "base/rounds.h"
#include "base/rt.h"
#include "bitmap/bitmap.h"
#include "device/aio.h"
#include "device/device.h"
#include "format/superblock_1.h"

/* Requests larger than this are served in pieces; resync copies in pieces. */
#define ARRAY_PIECE_BYTES  (32 * MiB)
#define RESYNC_PIECE_BYTES (1 * MiB)

/* A superblock with more events is refused, so that counting up never ends
 * where nobody would accept what we wrote.  No array gets that old.
 */
#define EVENTS_MAX ((uint64_t)INT64_MAX / 2)

enum leg_state {
  LEG_ABSENT,  /* not usable: could not be opened or understood, stale,
                * spare, or faulty on record */
  LEG_IN_SYNC, /* serves reads, is written to */
  LEG_FAULTY,  /* failed while we ran; never touched again */
};

struct leg {
  /* Constant after array_open. */
  unsigned number; /* in the order given */
  const char *name;
  struct device *device;           /* NULL if it could not be opened */
  struct superblock_1 *superblock; /* NULL if it has none that is intact;
                                    * after array_open changed by the leader
                                    * of a metadata update only */
  unsigned slot;                   /* valid unless ABSENT */
  uint64_t data_offset;            /* bytes */
  uint64_t bitmap_offset;          /* bytes from the start of the leg */
  uint64_t bitmap_room;            /* bytes, to whatever follows */
  bool write_mostly;

  /* Under the lock. */
  enum leg_state state;
  unsigned reads;     /* in flight */
  uint64_t read_next; /* where the last read ended */
  uint64_t read_errors;
  uint64_t last_errors; /* as the last leg in sync */
  uint64_t events;      /* that its superblock carries durably */
  uint64_t written;     /* goes up when a write is about to be submitted and
                         * when one has ended */
  uint64_t flushed;     /* written, when its last good flush was submitted */
  bool flush_failed;    /* for ever: what was lost will not come back */
};

/* Is the array marked clean on the legs? */
enum activity {
  ARRAY_CLEAN,        /* yes */
  ARRAY_GOING_ACTIVE, /* yes or no: being changed */
  ARRAY_ACTIVE,       /* no, durably on all legs: writes may go out */
  ARRAY_GOING_CLEAN,  /* no or yes: being changed; writes wait */
};

/* A chunk whose resync source is not the usual one. */
struct source_override {
  uint64_t chunk;
  struct leg *leg;
};
#define SOURCE_OVERRIDES 64

struct array {
  struct rt_mutex lock;
  const struct log *log;        /* constant */
  struct array_options options; /* constant */
  struct aio *aio;              /* constant */
  struct leg legs[ARRAY_MAX_LEGS];
  unsigned nlegs; /* constant */

  /* Constant after array_open. */
  uint64_t size;          /* bytes */
  uint32_t logical_block; /* bytes, the largest */
  char uuid[37];
  struct bitmap *bitmap; /* its contents are guarded by the lock */
  struct bitmap_store store;
  bool bitmap_rewrite;     /* copies differ from the merge: write them all */
  bool bitmap_stale;       /* ... and some copy is stale or unusable */
  uint64_t events_cleared; /* durable on every in-sync leg; under the lock */

  /* Metadata; see events.c. */
  struct superblock_1 *table; /* the newest generation: roles, clean */
  uint64_t events;            /* durable on every in-sync leg */
  uint64_t events_tried;      /* the highest that any leg may carry: of the
                               * newest generation, be it complete or not */
  bool clean;                 /* what the next update writes */
  struct rounds updates;
  uint64_t failures; /* legs lost, counted in memory */
  uint64_t recorded; /* ... of which this many are on record */
  uint64_t margin;   /* events by which the next record must lead */
  uint64_t update_errors;
  uint64_t metadata_updates;

  bool may_write; /* array_activate has begun: metadata may be written */
  bool activated; /* array_activate has succeeded: so may data */
  struct rt_mutex activate_lock; /* array_activate; taken before the lock */
  enum activity activity;
  uint64_t writes; /* requests that need ACTIVE */
  struct rt_cond activity_cond;

  struct ranges ranges;
  struct rounds flushes;

  struct source_override overrides[SOURCE_OVERRIDES];
  unsigned noverrides;
  uint64_t source_changes; /* overrides made, ever */

  /* Background threads; see watch.c, background.c and resync.c. */
  bool stopping;
  struct rt_cond background_cond;
  struct rt_thread clear_thread, sync_thread, watch_thread;
  bool have_clear_thread, have_sync_thread, have_watch_thread;
  bool watch_stopping;
  struct rt_cond watch_cond;
  bool resync_again; /* the chunk under resync was left unequal meanwhile */
  struct leg *copying_from;   /* its bytes are being written to others, in
                               * resync_chunk; NULL: none */
  struct rt_cond copied_cond; /* no longer */
  uint64_t resync_chunk;
  uint64_t resync_chunks, resync_bytes; /* counters */

  /* Requests, counted. */
  uint64_t reads, flush_requests, clear_flushes;
  struct rt_atomic write_requests, zeroes; /* without the lock */
};

/* ---- leg.c ---- */

extern const char *leg_state_string (enum leg_state state);
extern void leg_set_state (struct array *array, struct leg *leg,
                           enum leg_state state, const char *why);
/* The leg has failed (error: -errno).  False if it is the last one in sync,
 * which stays.
 */
extern bool
leg_fail (struct array *array, struct leg *leg, const char *what, int error);
/* The same for the n legs of an operation whose result is an error; if all of
 * them failed, it is the resync source that stays.  False if one had to stay.
 */
extern bool legs_fail (struct array *array, struct leg *const *legs,
                       const int *results, unsigned n, const char *what);
/* A write that was given up may still happen on the leg: nothing may be
 * written that it could undo.  Such a leg fails; -EIO if it must stay.
 */
extern int leg_check_lost_writes (struct array *array, struct leg *leg);
extern unsigned array_in_sync (const struct array *array);
/* Every slot has an in-sync leg. */
extern bool array_whole (const struct array *array);
/* In-sync legs in the order of slots; returns how many. */
extern unsigned
array_working_legs (struct array *array, struct leg *legs[ARRAY_MAX_LEGS]);
/* Submit the batch and wait for it, with the lock released meanwhile. */
extern void array_run_batch (struct array *array, struct io_batch *batch);
/* What resync copies from, and what reads of unequal chunks use: the lowest
 * in-sync slot that is not write-mostly, as the kernel's.
 */
extern struct leg *array_source (struct array *array);

/* ---- assemble.c, load.c ---- */

/* Without the lock, by array_open. */
extern int array_assemble (struct array *array);
extern int array_load_bitmap (struct array *array);

/* ---- events.c ---- */

/* Write a new generation of metadata to all in-sync legs, and wait until it
 * is durable.  0 or -EIO.
 */
extern int array_update (struct array *array);
/* If a leg failed: wait until that is on record.  0 or -EIO. */
extern int array_settle (struct array *array);
/* Wait until the array is not clean, durably.  The caller has counted itself
 * in array->writes.  0 or -EIO.
 */
extern int array_make_active (struct array *array);
/* Mark the array clean; only with no write in flight. */
extern int array_make_clean (struct array *array);

/* ---- store_legs.c ---- */

extern void store_legs_init (struct array *array);

/* ---- flush.c ---- */

/* Flush every in-sync leg; shared with others who wait.  0 or -EIO. */
extern int array_flush_legs (struct array *array);
/* Wait for the end of a flush that is under way, if one is.  A leg whose flush
 * fails may have lost what its cache held before anybody knows: what was read
 * of it meanwhile must not be written anywhere until it is known.
 */
extern void array_wait_for_flush (struct array *array);

/* ---- write.c ---- */

enum write_kind { WRITE_DATA, WRITE_ZEROES };

/* One write of at most ARRAY_PIECE_BYTES, whose offset and length are
 * multiples of the logical block, with its range locked and array->writes
 * counted.  flags: enum array_write_flags; data: for WRITE_DATA.  as_of: what
 * array_reads_as_of said before a part of the data was read from the array,
 * NULL if none was.  0, -EIO or -ENOMEM; -ESTALE: nothing was written, read
 * it again.  *lost: a leg that may still carry it out though it was given up,
 * and that is the last one.
 */
extern int
array_write_locked (struct array *array, enum write_kind kind, uint64_t offset,
                    uint64_t length, unsigned flags, struct buffer *data,
                    const uint64_t *as_of, struct leg **lost);

/* ---- read.c ---- */

/* A number, not 0, that changes when what was read before may no longer be what
 * others read now, since a leg has failed or a source has changed.
 */
extern uint64_t array_reads_as_of (const struct array *array);

/* Read blocks (as above; what needs resync lies in one chunk) into a new
 * buffer.  mine: the caller holds the range.  0, -EIO or -ENOMEM.
 */
extern int
array_read_blocks (struct array *array, uint64_t offset, uint64_t length,
                   bool mine, struct buffer **buffer);
/* -EAGAIN besides: what needs resync spans chunks now, ask for less. */
/* The leg that serves an unequal chunk. */
extern struct leg *array_chunk_source (struct array *array, uint64_t chunk);
/* That leg cannot be read there: another one serves the whole chunk from now
 * on.  Waits while resync copies that leg's bytes in the chunk.  False if there
 * is none.
 */
extern bool array_change_source (struct array *array, uint64_t chunk,
                                 struct leg *unreadable);
/* The chunk is equal again. */
extern void array_forget_source (struct array *array, uint64_t chunk);

/* ---- watch.c, background.c, resync.c: threads ---- */

extern void array_watch_main (void *opaque);
extern void array_clear_main (void *opaque);
/* One pass of lazy clearing; 0 or -EIO. */
extern int array_clear_pass (struct array *array, bool now);
extern void array_sync_main (void *opaque);

#endif /* MDBITMAP_ARRAY_INTERNAL_H */
