/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The inside of a disk, for disk*.c; and how operations get there, for
 * legs.c and tests: disk_take, then disk_end.
 */

#ifndef MDBITMAP_SIM_DISK_IO_H
#define MDBITMAP_SIM_DISK_IO_H

#include "device/device.h"
#include "sim/chance.h"
#include "sim/disk.h"

#define DISK_NEVER UINT64_MAX

/* ---- media ---- */

/* An image, and which of its sectors cannot be read. */
struct medium {
  struct image *image;
  uint64_t *spoiled; /* a bit for each sector; NULL: none */
};

extern struct medium medium_copy (const struct medium *medium);
extern void medium_free (struct medium *medium);
/* data NULL: zeroes.  Makes the sectors readable. */
extern void medium_write (struct medium *medium, uint64_t offset,
                          const uint8_t *data, uint64_t length);
extern void
medium_spoil (struct medium *medium, uint64_t offset, uint64_t length);
extern bool medium_is_spoiled (const struct medium *medium, uint64_t offset,
                               uint64_t length);

/* ---- operations ---- */

/* In flight, and then, if it is a write, in the cache. */
struct disk_op {
  struct disk_op *next, *prev;
  struct disk *disk;
  enum io_type type;
  unsigned flags;
  uint64_t offset, length;
  uint8_t *data;     /* a copy; NULL: zeroes, or no write */
  uint64_t sequence; /* when it ended; in flight, a flush: what it covers */

  /* In flight. */
  void (*hurry) (void *opaque);
  void *opaque;
  uint64_t timeout;
  bool blocking; /* ends sooner or later, as somebody can do nothing else */
  bool fails;
  bool late;    /* nobody waits any more when it ends */
  bool held;    /* by a disk that hangs */
  bool settled; /* the disk has forgotten it: ends with error, does nothing */
  int error;

  /* Writes: for each sector, whether this value of it may yet become the
   * durable one; the part of these that was chosen; and what a read has seen
   * of it in flight.
   */
  uint64_t nlive;
  uint64_t *live, *part, *seen;
  uint64_t words[];
};

static inline uint64_t
op_sectors (const struct disk_op *op)
{
  return op->length / DISK_SECTOR;
}

static inline bool
op_writes (const struct disk_op *op)
{
  return op->type == IO_WRITE || op->type == IO_ZERO;
}

static inline bool
op_overlaps (const struct disk_op *op, uint64_t offset, uint64_t length)
{
  return op->offset < offset + length && offset < op->offset + op->length;
}

/* Which of the live sectors. */
enum part {
  PART_NONE,
  PART_ALL,
  PART_FIRST, /* the first sector only, if it is live */
  PART_LAST,
  PART_SECTORS, /* any, by chance */
  PARTS
};

extern struct disk_op *op_new (const struct io *io);
/* Of a write; in no list, and nobody waits for it. */
extern struct disk_op *op_copy (const struct disk_op *op, struct disk *disk);
/* Sets op->part. */
extern void
op_choose_part (struct disk_op *op, enum part part, enum chance_stream stream);
/* One of PART_NONE, PART_ALL and PART_SECTORS, by chance. */
extern void op_choose_any_part (struct disk_op *op, enum chance_stream stream);
extern void op_write_part (const struct disk_op *op, struct medium *medium);

struct disk_list {
  struct disk_op *first, *last;
  unsigned n;
};

extern void list_add (struct disk_list *list, struct disk_op *op);
extern void list_remove (struct disk_list *list, struct disk_op *op);

/* An operation that a user waits for, from when it is submitted until the
 * user is told: one that comes too late makes the disk look faulty, whether
 * it is the disk's fault or the clock has jumped.  The user's memory.
 */
struct disk_due {
  struct disk_due *next, *prev;
  uint64_t deadline;
};

/* ---- disks ---- */

struct disk {
  unsigned number;
  struct disk_limits limits;
  struct disk_faults faults;
  unsigned faults_sum; /* 0: none */
  enum disk_state state;
  bool faulty;       /* for disk_was_faulty */
  bool lost_cache;   /* for disk_lost_cache */
  uint64_t sequence; /* of the last write that ended */
  struct medium durable;
  struct medium current;      /* durable, and the cache in order */
  struct disk_list cache;     /* in order of sequence; each has a live sector */
  struct disk_list in_flight; /* in order of submission */
  struct disk_due *due;       /* in no order */
};

/* ---- the cache (disk_cache.c) ---- */

/* Take over a write of which op->part has ended; other sectors of it never
 * happen.
 */
extern void cache_add_part (struct disk *disk, struct disk_op *op);
/* The same for one that has ended and is durable. */
extern void cache_write_through (struct disk *disk, struct disk_op *op);
/* Copies of all that another disk's cache holds, in an empty one. */
extern void cache_copy (struct disk *disk, const struct disk *from);
/* What had ended at this sequence is durable, and by chance more. */
extern void cache_flush (struct disk *disk, uint64_t sequence);
/* Each write in it becomes durable, wholly or in part, or is lost. */
extern void cache_drop (struct disk *disk);
/* By chance, something is written back. */
extern void cache_wander (struct disk *disk);
extern void cache_free (struct disk *disk);

/* ---- operations of a user ---- */

/* The disk is given the operation, and copies the data of a write.  The user
 * calls disk_end after *delay nanoseconds; if that is DISK_NEVER, or if the
 * disk says otherwise meanwhile by calling hurry (opaque), after that.
 * hurry NULL: not called.
 */
extern struct disk_op *
disk_take (struct disk *disk, const struct io *io, bool blocking,
           void (*hurry) (void *opaque), void *opaque, uint64_t *delay);
/* Does it, and sets *result; data is where a read goes.  False: not yet, call
 * again after *delay.  True: op is gone.
 */
extern bool
disk_end (struct disk_op *op, uint8_t *data, int *result, uint64_t *delay);
extern void
disk_due_begin (struct disk *disk, struct disk_due *due, uint64_t deadline);
extern void disk_due_end (struct disk *disk, struct disk_due *due);
/* The operations in flight have no user any more. */
extern void disk_disown (struct disk *disk);
/* The disk forgets what is in flight, after doing any part of it; these
 * operations end soon, with that error.
 */
extern void disk_settle (struct disk *disk, int error);
extern void disk_hurry (struct disk *disk);

extern const char *io_type_string (enum io_type type);

#endif /* MDBITMAP_SIM_DISK_IO_H */
