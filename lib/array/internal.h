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
#include "device/file.h"
#include "format/bad_blocks.h"
#include "format/bitmap_note.h"
#include "format/superblock.h"

/* Batches that are kept for the next requests. */
#define ARRAY_BATCHES 128

/* More writes under way than this, and it pays that one thread submits for
 * others (options.crowd); until there are far fewer, since it is worse than
 * either way if half of them go one and half the other.  It does not pay for
 * the 16 of one connection.
 */
#define ARRAY_CROWD     24
#define ARRAY_CROWD_FEW 6 /* the sixth part */

/* Requests larger than this are served in pieces; resync copies in pieces. */
#define ARRAY_PIECE_BYTES  (32 * MiB)
#define RESYNC_PIECE_BYTES (1 * MiB)

/* A superblock with more events is refused, so that counting up never ends
 * where nobody would accept what we wrote.  No array gets that old.
 */
#define EVENTS_ROOM ((uint64_t)1 << 40) /* what is never added in a run */
#define EVENTS_MAX  (((uint64_t)1 << 62) - EVENTS_ROOM)

/* A bitmap's header leads by one, or by three while it is recorded on the only
 * leg left that others are lost.  This leaves room for other writers; what
 * leads by more is damaged.
 */
#define HEADER_LEAD_MAX 8

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
  struct device *device;         /* NULL if it could not be opened */
  struct superblock *superblock; /* NULL if it has none that is intact;
                                  * after array_open changed by the leader
                                  * of a metadata update only */
  unsigned slot;                 /* valid unless ABSENT */
  uint64_t data_offset;          /* bytes */
  uint64_t bitmap_offset;        /* bytes from the start of the leg */
  uint64_t bitmap_room;          /* bytes, to whatever follows */
  bool write_mostly;
  enum array_leg_fate fate;
  char why_not[160]; /* it is not in sync */
  /* What would be resynced to it; see explain.c. */
  enum array_leg_resync resync;
  uint64_t resync_bytes;
  const struct leg *resync_source;
  char why[160];

  /* Under the lock; of bad, whether there is one is constant. */
  struct bad_blocks *bad; /* what may not be read of it now; NULL: its log
                           * had nothing at assembly */
  struct bad_blocks *bad_flushed;  /* ... when the last good flush was
                                    * submitted: what it lacks is durable */
  struct bad_blocks *bad_flushing; /* ... when the one under way was */
  /* Times that bad has shrunk; and how many of those these know: bad_flushed,
   * bad_flushing, the log that is to be written, and the one that is there.
   */
  uint64_t bad_removals;
  uint64_t bad_removals_flushed, bad_removals_flushing;
  uint64_t bad_removals_next, bad_removals_logged;
  uint8_t *bad_log; /* the log as it durably is on the leg; this and the
                     * next: by the leader of a metadata update */
  struct buffer *bad_log_next; /* ... as it is to become, and may be; or NULL */

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

/* Of a bitmap that is in a file. */
enum bitmap_file_state {
  BITMAP_FILE_NONE,   /* it is not */
  BITMAP_FILE_IN_USE, /* every bit is durable there before its data */
  BITMAP_FILE_FAILED, /* given up: never written again, nor believed once
                       * that is on record */
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
  bool bitmap_rewrite; /* copies differ from the merge: write them all */
  bool bitmap_stale;   /* ... and some copy is stale or unusable */
  bool has_bitmap;     /* the table says that it is on the legs */
  enum array_bitmap bitmap_place; /* never AUTO; NONE: in memory only */
  char full_why[96];       /* why every chunk counts as marked; "": not so */
  uint64_t events_cleared; /* durable on every in-sync leg; under the lock */
  bool has_loser;          /* of a split brain that force_source settles */
  uint64_t loser_events;   /* ... the highest that one has */

  /* Metadata; see events.c. */
  struct superblock *table; /* the newest generation: roles, clean */
  uint64_t resync_from;     /* bytes; at assembly, if not clean: below that the
                             * legs are equal, bitmap or not */
  uint64_t events;          /* durable on every in-sync leg */
  uint64_t events_tried;    /* the highest that any leg may carry: of the
                             * newest generation, be it complete or not */
  bool clean;               /* what the next update writes */
  struct rounds updates;
  uint64_t failures;   /* legs lost, counted in memory */
  uint64_t recorded;   /* ... of which this many are on record */
  uint64_t margin;     /* events by which the next record must lead */
  uint64_t lead;       /* events by which the next update must, so that no file
                        * which holds, or held, a bitmap is ever believed */
  bool has_bad;        /* constant: some leg had bad blocks at assembly */
  bool bad_logs_again; /* the bad-block logs need another update */
  uint64_t update_errors;
  uint64_t metadata_updates;

  bool may_write; /* array_activate has begun: metadata may be written */
  bool activated; /* array_activate has succeeded: so may data */
  struct rt_mutex activate_lock; /* array_activate; taken before the lock */
  enum activity activity;
  uint64_t writes; /* requests that need ACTIVE */
  bool crowd;      /* they are many, or were a moment ago */
  struct rt_cond activity_cond;

  /* The bitmap's file; see bitmap_file.c. */
  struct file *file; /* constant after array_open; NULL: none */
  enum bitmap_file_state file_state;
  uint64_t file_events;       /* given up: the highest that it may carry */
  struct buffer *file_header; /* page 0, as it was last written; by whoever
                               * writes pages */

  /* That there is a file, on the legs; see note.c. */
  bool noted; /* a leg has the note, or may have */
  struct bitmap_note note;
  bool note_differs; /* from what the legs have, or some of them */
  bool note_unknown; /* a leg could not be read there */

  struct ranges ranges;
  struct rounds flushes;

  /* What requests use and give back, so that one that is served from what is
   * there needs no memory of the system.
   */
  struct buffer_pool *buffers;             /* has a lock of its own */
  struct io_batch *batches[ARRAY_BATCHES]; /* with room for nlegs operations */
  unsigned nbatches;

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
  uint64_t copying_at;        /* ... at this offset */
  struct rt_cond copied_cond; /* no longer */
  uint64_t resync_chunk;
  uint64_t resync_chunks, resync_bytes; /* counters */

  /* Requests, counted. */
  uint64_t reads, flush_requests, clear_flushes;
  uint64_t bad_reads; /* of which a part is bad on all legs */
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
/* An empty batch for at most nlegs operations, to be given back after it was
 * waited for; NULL when out of memory.
 */
extern struct io_batch *array_batch_take (struct array *array);
extern void array_batch_give (struct array *array, struct io_batch *batch);
/* Submit the batch and wait for it, with the lock released meanwhile. */
extern void array_run_batch (struct array *array, struct io_batch *batch);
/* The higher, the later a leg is a source.  This does not change while we run,
 * so that the source of a block becomes another one only if that block is
 * written, and so equal.
 */
static inline unsigned
leg_reluctance (const struct leg *leg)
{
  return (leg->bad ? 2 : 0) + (leg->write_mostly ? 1 : 0);
}
/* What resync copies from, and what reads of unequal chunks use: of the in-sync
 * legs the lowest slot that is not write-mostly, as the kernel's, and without
 * bad blocks, if there is one.
 */
extern struct leg *array_source (struct array *array);

/* ---- assembly: probe.c, roles.c, assemble.c, load.c, explain.c ---- */

/* These are called without the lock, by array_open. */

/* Find the leg's superblock, or say in leg->why_not why it has none.  0 or
 * -ENOMEM.
 */
extern int leg_probe (struct array *array, struct leg *leg);
/* Who is left out, and who decides: *freshest.  Sets fate and why_not of those
 * that are not used.  0, -EINVAL, -ENOMEM.
 */
extern int array_judge_roles (struct array *array, struct leg **freshest);
/* The leg is not used, and why: a format and its arguments. */
extern void
leg_reject (struct leg *leg, enum array_leg_fate fate, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));
/* That device number lost a split brain. */
extern bool array_is_loser (const struct array *array, uint32_t dev_number);
/* Where things are on the leg. */
extern int leg_place (struct array *array, struct leg *leg);
/* events_cleared of the leg's own bitmap, if that can be believed; else 0.
 * *leads: only if the record of a forced source was interrupted, since it leads
 * the events, or they the superblock's.  -ENOMEM.
 */
extern int leg_events_cleared (struct array *array, const struct leg *leg,
                               uint64_t *events_cleared, bool *leads);
extern int array_assemble (struct array *array);
/* adopt.c: a leg that is behind, and has its bitmap elsewhere than the freshest
 * one has.  0 or -ENOMEM.
 */
extern int leg_adopt_bitmap (struct array *array, struct leg *leg,
                             const struct leg *freshest);
extern int array_load_bitmap (struct array *array);
/* Lines for people: the legs that are not used; what happens to the others. */
extern void array_explain_unused (struct array *array);
extern void array_explain (struct array *array);

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

/* ---- bad.c: bad blocks ---- */

/* Load the log of a leg that is about to be in sync and whose superblock has
 * FEATURE_BAD_BLOCKS.  Without the lock, by array_assemble.  0, -EINVAL with a
 * line, -EIO or -ENOMEM.
 */
extern int leg_load_bad_blocks (struct array *array, struct leg *leg);
extern void leg_free_bad_blocks (struct leg *leg);
/* In its list now. */
extern uint64_t leg_bad_sectors (const struct leg *leg);
/* Bytes from offset on that are good on the leg, up to length; and that are
 * bad.  One of them is 0.  Here and below offset and length, and what is
 * returned, are multiples of the array's logical block.
 */
extern uint64_t
leg_good_length (const struct array *array, const struct leg *leg,
                 uint64_t offset, uint64_t length);
extern uint64_t
leg_bad_length (const struct array *array, const struct leg *leg,
                uint64_t offset, uint64_t length);
/* Bytes from offset on, up to length, for which the same in-sync legs are good.
 */
extern uint64_t
array_same_length (struct array *array, uint64_t offset, uint64_t length);
/* The whole range, bytes, has been written to the leg. */
extern void leg_rewritten (struct leg *leg, uint64_t offset, uint64_t length);
/* A flush of the leg is about to be submitted; and it has succeeded. */
extern void leg_flush_begins (struct leg *leg);
extern void leg_flush_ends (struct leg *leg);
/* Or it has failed, and what was rewritten may be lost: if the leg must stay,
 * its blocks are as bad as they were.
 */
extern void leg_flush_failed (struct leg *leg);
/* Bring the logs up to what is flushed: until then a crash would make data that
 * was rewritten, and flushed, unreadable again.  0 or -EIO.
 */
extern int array_log_bad (struct array *array);
/* Add the log's write to a batch that carries the leg's superblock, if the log
 * differs from what is flushed.  0, 1 if another update must follow, or
 * -ENOMEM.
 */
extern int
leg_add_bad_log (struct array *array, struct leg *leg, struct io_batch *batch);
/* The batch has ended, be the log's write in it or not, good or not. */
extern void leg_bad_log_written (struct leg *leg, struct io_batch *batch);

/* ---- store_legs.c ---- */

extern void store_legs_init (struct array *array);
/* Write pages of another bitmap, of that many bytes, which begins at offset
 * (sectors from the superblock) of every in-sync leg; as bitmap_store's write.
 */
extern int array_write_new_pages (struct array *array, int32_t offset,
                                  uint64_t bytes, struct buffer *images,
                                  const uint64_t *pages, unsigned n);

/* ---- bitmap_file.c: the bitmap in a file ---- */

extern const char *bitmap_file_state_string (enum bitmap_file_state state);
/* Open the file that the options name; the legs are assembled.  0 or -errno,
 * with a line.
 */
extern int array_open_file (struct array *array);
extern void store_file_init (struct array *array);
/* From now on it is in this file; NULL: in none.  The old one is the caller's.
 */
extern void array_take_file (struct array *array, struct file *file);
/* Before the first write: from now on it can be written.  Releases the lock.  0
 * or -errno, with a line.
 */
extern int array_prepare_file (struct array *array);
/* The file has failed, or must not be written any more (error: -errno).  False
 * if it had been given up before.
 */
extern bool array_file_fail (struct array *array, const char *what, int error);
/* The file has failed, and nothing may be written without. */
extern bool array_file_stops (const struct array *array);
/* Ask whether the file is still ours.  Releases the lock. */
extern void array_check_file (struct array *array);
extern void array_close_file (struct array *array);

/* ---- place.c ---- */

/* By which the next update leads, so that a file which we wrote is behind for
 * ever: more than its header may lead by.
 */
#define LEAD_OF_OURS (HEADER_LEAD_MAX + 1)

/* Sets bitmap_place, and lead; after array_load_note.  0, or -EINVAL with a
 * line.
 */
extern int array_choose_bitmap (struct array *array);

/* ---- note.c ---- */

/* What the legs in sync say: array->noted, array->note.  Without the lock.  0
 * or -ENOMEM.
 */
extern int array_load_note (struct array *array);
/* From now on the note is to name the file that is in use; or there is to be
 * none.
 */
extern void array_want_note (struct array *array);
extern void array_drop_note (struct array *array);
/* Have the legs say array->note; or nothing, if noted is false.  Releases the
 * lock.  0, -EIO or -ENOMEM.
 */
extern int array_write_note (struct array *array);
/* The note into the 4096 bytes that begin with the leg's superblock, if it lies
 * in one block with that.
 */
extern void array_render_note (const struct array *array, const struct leg *leg,
                               uint8_t *block);

/* ---- store_none.c: no bitmap on the legs ---- */

extern void store_none_init (struct array *array);
/* In place of array_load_bitmap. */
extern int array_load_no_bitmap (struct array *array);

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
 * buffer.  *length becomes less, a block at least, if no leg is good for all of
 * it.  mine: the caller holds the range.  0, -EIO or -ENOMEM; -EAGAIN: what
 * needs resync spans chunks now, ask for less.
 */
extern int
array_read_blocks (struct array *array, uint64_t offset, uint64_t *length,
                   bool mine, struct buffer **buffer);
/* The leg that serves the block at offset, which is in an unequal chunk; NULL:
 * it is bad on all of them.  The same one for array_same_length.
 */
extern struct leg *array_source_at (struct array *array, uint64_t offset);
/* That leg cannot be read there: another one serves the whole chunk from now
 * on.  Waits while resync copies that leg's bytes in the chunk, and leaves it
 * at that if the chunk is equal then.  False if there is none.
 */
extern bool array_change_source (struct array *array, uint64_t offset,
                                 struct leg *unreadable);
/* May equal chunks be read from another leg than this one was? */
extern bool array_source_is_special (const struct array *array, uint64_t chunk);
/* The chunk is equal again. */
extern void array_forget_source (struct array *array, uint64_t chunk);

/* ---- watch.c, background.c, resync.c: threads ---- */

extern void array_watch_main (void *opaque);
extern void array_clear_main (void *opaque);
/* One pass of lazy clearing; 0 or -EIO. */
extern int array_clear_pass (struct array *array, bool now);
extern void array_sync_main (void *opaque);

#endif /* MDBITMAP_ARRAY_INTERNAL_H */
