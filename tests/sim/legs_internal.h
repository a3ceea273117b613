/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What legs.c shares with legs_open.c and file.c: devices on disks. */

#ifndef MDBITMAP_SIM_LEGS_INTERNAL_H
#define MDBITMAP_SIM_LEGS_INTERNAL_H

#include "device/aio.h"
#include "sim/disk_io.h"
#include "sim/legs.h"

#define ENDERS 2

struct aio {
  const struct log *log;
  bool started;
};

struct leg_device {
  struct device device; /* first */
  struct aio *aio;
  struct legs *legs;
  struct disk *disk;
  unsigned leg;
};

/* An operation in flight, or that has ended and whose waiter has not been
 * told; io->driver points to it.
 */
struct flight {
  struct world_event event; /* first */
  struct disk_due due;
  struct flight *next; /* free, or in the list that state says */
  struct legs *legs;
  struct io *io;
  struct disk_op *op;   /* until ended */
  struct fiber *reaper; /* sleeps until it has ended */
  bool scheduled;       /* the event is */
  bool ended;
  bool given_up;
  int result;
};

struct flights {
  struct flight *first;
  uint64_t n;
};

struct legs {
  struct world *world;
  struct disk *disks[SIM_LEGS + 1];
  struct legs_watcher watcher;
  bool watched;
  int opened[SIM_LEGS + 1]; /* readers; -1: a writer */
  struct legs_file file;
  bool file_lost;
  unsigned in_flight;
  unsigned overdue; /* in flight, and given up */
  struct flights free;
  struct flights ended;   /* for the enders */
  struct flights orphans; /* given up, and ended since: for aio_poll */
  struct fiber *enders[ENDERS];
  bool idle[ENDERS];
  unsigned telling;    /* enders inside io_done */
  struct flight **all; /* every one there is, whoever has it */
  uint64_t nall;
};

extern const struct device_ops legs_device_ops;

/* Those of the world, which has been given some. */
extern struct legs *legs_of (const struct world *of);
/* A device on the disk with that number.  NULL: out of memory. */
extern struct leg_device *
legs_open (struct aio *aio, const char *name, unsigned number, bool read_only,
           uint64_t timeout);
/* Is it in use, so that it cannot be opened? */
extern bool
legs_in_use (const struct legs *legs, unsigned number, bool read_only);

#endif /* MDBITMAP_SIM_LEGS_INTERNAL_H */
