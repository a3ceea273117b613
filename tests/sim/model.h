/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What every byte of the array may be: the memory of somebody who saw all
 * requests and all answers, and nothing else.
 *
 * Bytes are looked at in cells, 512 bytes or 128 of them.  Each write has a
 * number, its data says number and cell, so what is read tells which write it
 * came from, and a transfer to the wrong place is seen.
 *
 * A read may return what the last write before it wrote, or anything that was
 * in flight beside it, or what an unsuccessful write may have left (I6); two
 * reads with no write at their cell beside or between them see the same, until
 * a crash, and who comes after one that saw a write under way sees nothing
 * older (I6a).  After a crash: whatever was written at or after the last
 * write that is known to be durable (answered with FUA, or before a flush was
 * asked for that succeeded): I2.  A server that is killed while the power
 * stays on loses nothing that was answered.
 */

#ifndef MDBITMAP_SIM_MODEL_H
#define MDBITMAP_SIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

struct model;

/* size: bytes of the array, cell: 512 or 128.  All cells hold write 0, whose
 * data model_fill gives.
 */
extern struct model *model_new (uint64_t size, uint32_t cell);
extern struct model *model_copy (const struct model *model);
extern void model_free (struct model *model);
extern uint32_t model_cell (const struct model *model);
/* Before the first world: these bytes may also hold that write of 1 .. n,
 * as if it had been in flight at a crash.  Returns its number.
 */
extern uint64_t
model_maybe (struct model *model, uint64_t offset, uint64_t length);

/* The data of a write, for bytes [offset, offset + length) of the array, all
 * multiples of the cell.
 */
extern void model_fill (const struct model *model, uint64_t write,
                        uint64_t offset, uint64_t length, void *data);

/* Requests; multiples of the cell.  begin returns a number for end. */
extern uint64_t model_write_begin (struct model *model, uint64_t offset,
                                   uint64_t length, bool zero);
/* error: 0 or -errno, the answer; fua: the answer promises durability.
 * -EROFS: it was refused, and nothing of it was written, anywhere.
 */
extern void
model_write_end (struct model *model, uint64_t write, int error, bool fua);
extern uint64_t model_flush_begin (struct model *model);
extern void model_flush_end (struct model *model, uint64_t flush, int error);
extern uint64_t
model_read_begin (struct model *model, uint64_t offset, uint64_t length);
/* Ends in a violation if the data cannot be: of I2 (something durable was
 * lost), I6 (older than an answered write), I6a (not what was seen before), or
 * "data" (it was never written there).  data is not looked at if error is not
 * 0.
 */
extern void model_read_end (struct model *model, uint64_t read, int error,
                            const void *data);

/* How far the legs that a read may go to can be believed; of all reads that
 * end from now on.  The model does not know of legs: whoever does says it.
 */
enum model_doubt {
  MODEL_FIRM,  /* nothing is wrong with any of them */
  MODEL_ERRS,  /* some fail to be read now and then, and others answer: a write
                * under way may be seen this once and not that once */
  MODEL_FLIPS, /* the source of unequal chunks has changed meanwhile: what an
                * answer has not settled may be this once and that once */
  MODEL_LOSES, /* a cache may have been dropped: as after a crash */
};
extern void model_set_doubt (struct model *model, enum model_doubt doubt);
/* A leg was lost, or has begun to fail: what unsettled cells were seen to
 * hold says nothing about what they will be seen to hold.
 */
extern void model_forget_seen (struct model *model);

/* All requests in flight end without an answer, what is not durable may be
 * lost.
 */
extern void model_crash (struct model *model);
/* The server was killed, the disks were not: requests in flight end without an
 * answer, may have happened or not, and may be as they please on each leg;
 * what was answered is read by the next server as well, and is durable once a
 * flush is answered that is asked for after this, as at any other time.
 */
extern void model_kill (struct model *model);
/* The array was stopped and is marked clean, and nothing was wrong with any
 * leg: they are equal, and all of it is durable.
 */
extern void model_settled (struct model *model);

/* May the cell at offset hold this now, if nothing were in flight? */
extern bool
model_may_hold (const struct model *model, uint64_t offset, const void *data);
/* For traces: "write 17 of 3, 5", what it may hold. */
extern void model_explain (const struct model *model, uint64_t offset,
                           char *text, unsigned size);
/* Writes and flushes in flight. */
extern unsigned model_in_flight (const struct model *model);

#endif /* MDBITMAP_SIM_MODEL_H */
