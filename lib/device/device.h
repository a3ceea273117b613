/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* One way to talk to a disk, and batches of operations on several disks.
 *
 * A batch is filled, submitted once and waited for once, by one thread.  Each
 * operation ends in exactly one of these ways:
 *   - done: io->result is 0, or -errno; short transfers never show here;
 *   - abandoned: the deadline of its device passed first.  io->result is
 *     -ETIMEDOUT and the transfer may still happen, at any time: its outcome
 *     is unknown.  The batch, its buffers and whatever the kernel needs live
 *     on until it lets go, and device_abandoned counts it until then.
 */

#ifndef MDBITMAP_DEVICE_H
#define MDBITMAP_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/log.h"
#include "base/rt.h"

struct device;
struct io;
struct io_batch;

enum io_type {
  IO_READ,
  IO_WRITE,
  IO_FLUSH, /* no offset, length or buffer; covers writes done before submit */
  IO_ZERO,  /* the range reads back as zeroes afterwards */
};

enum io_flags {
  IO_FUA = 1,      /* WRITE, ZERO: durable when done */
  IO_MAY_TRIM = 2, /* ZERO: space may be given back to the disk */
  IO_TOGETHER = 4, /* may wait until the rest of the batch is submitted: for
                    * many requests rather than for a fast one */
  IO_CROWD = 8,    /* READ, WRITE: many others are under way.  For a batch that
                    * is run at once, while the thread has no other */
};

struct device_limits {
  uint64_t size;          /* bytes */
  uint32_t logical_block; /* bytes, a power of two, 512 to 4096: offset and
                           * length of each operation are multiples of it */
  bool read_only;         /* writes would fail: never sent */
  bool rotational;
  bool fast_zero; /* IO_ZERO with IO_MAY_TRIM does not write zeroes out
                   * (as far as is known; it may turn out otherwise) */
};

/* What a kind of device provides. */
struct device_ops {
  const char *kind;

  /* Start the n operations, all of them on devices of this table and in one
   * batch, and return.  Each ends with io_done, in this thread or in another
   * one, or already here.  Errors are results of the operations.
   */
  void (*submit) (struct io_batch *batch, struct io **ios, unsigned n);

  /* For kinds that are reaped by the thread that submitted (io->mine is set
   * by submit): end at least one operation of the batch, or return soon after
   * the deadline.  It may return earlier.  Others leave this NULL.
   */
  void (*reap) (struct io_batch *batch, uint64_t deadline);

  /* The thread gives up on operations of the batch that are io->mine and not
   * done: somebody else must reap them from now on.  NULL as above.
   */
  void (*give_up) (struct io_batch *batch);

  /* No operation is outstanding. */
  void (*close) (struct device *device);
};

/* The head of each kind's own struct. */
struct device {
  const struct device_ops *ops;
  char *name; /* as the user gave it; owned */
  struct device_limits limits;
  uint64_t timeout;             /* nanoseconds for one operation, RT_NEVER */
  struct rt_atomic abandoned;   /* operations abandoned and not yet done */
  struct rt_atomic lost_writes; /* of these, those that may yet change it */
  const struct log *log;
  int leg; /* number in traces; set by the owner, -1 at first */
};

/* Space that a kind of device may use inside an operation. */
#define IO_DRIVER_BYTES 112

struct io {
  struct device *device;
  enum io_type type;
  unsigned flags;  /* enum io_flags */
  uint64_t offset; /* bytes */
  uint64_t length; /* bytes; read and write at most 64 MiB */
  struct buffer *buffer;
  uint8_t *data; /* inside buffer */
  int result;    /* 0 or -errno, valid after io_batch_wait */

  /* Private to device/ from here. */
  struct io_batch *batch;
  uint64_t deadline;
  enum { IO_NEW, IO_STARTED, IO_DONE, IO_ABANDONED } state;
  bool mine;     /* reaped by the thread that owns the batch */
  uint64_t done; /* bytes transferred so far */
  _Alignas(16) uint8_t driver[IO_DRIVER_BYTES];
};

/* ---- for users of devices ---- */

/* Room for max operations; one reference, for the caller.  NULL when out of
 * memory.
 */
extern struct io_batch *io_batch_new (unsigned max);

/* Add an operation.  The batch takes a reference of its own to buffer; the
 * transfer is length bytes at buffer->data + skip, skip a multiple of 512.
 * The order of operations in a batch means nothing.  The result is valid as
 * long as the batch.
 */
extern struct io *
io_batch_add (struct io_batch *batch, struct device *device, enum io_type type,
              unsigned flags, uint64_t offset, uint64_t length,
              struct buffer *buffer, uint64_t skip);

/* Start all operations.  Operations that a read-only device would have to
 * write end with -EROFS; those that are empty, outside the device or not
 * aligned to its logical block with -EINVAL.  A flush of a read-only device
 * ends with 0 and never reaches it.
 */
extern void io_batch_submit (struct io_batch *batch);

/* Until every operation is done or abandoned. */
extern void io_batch_wait (struct io_batch *batch);

/* submit, then wait; 0, or the first error among the results. */
extern int io_batch_run (struct io_batch *batch);

/* NULL is allowed.  Not between submit and wait. */
extern void io_batch_unref (struct io_batch *batch);

/* Empty a batch that was waited for, so that it can be used again.  False if
 * it cannot: an operation that was abandoned still needs it.
 */
extern bool io_batch_again (struct io_batch *batch);

/* One operation by itself, waited for: 0 or -errno. */
extern int device_run (struct device *device, enum io_type type, unsigned flags,
                       uint64_t offset, uint64_t length, struct buffer *buffer);

static inline uint64_t
device_abandoned (const struct device *device)
{
  return rt_atomic_get (&device->abandoned);
}

/* Writes and zeroes that were abandoned and may still happen: what is written
 * to the same place now may be undone by them.
 */
static inline uint64_t
device_lost_writes (const struct device *device)
{
  return rt_atomic_get (&device->lost_writes);
}

/* No operation may be outstanding, abandoned ones included; a device that
 * has some is leaked on purpose, with a line in the log.
 */
extern void device_close (struct device *device);

/* ---- for kinds of device ---- */

/* An operation has ended, with 0 or -errno.  Any thread; the operation and
 * its batch may be gone on return.
 */
extern void io_done (struct io *io, int result);

/* The operations of a batch, for reap and give_up. */
extern struct io *io_batch_get (struct io_batch *batch, unsigned i);
extern unsigned io_batch_count (const struct io_batch *batch);
/* Operations that are started, mine, and neither done nor abandoned. */
extern unsigned io_batch_mine (const struct io_batch *batch);

#endif /* MDBITMAP_DEVICE_H */
