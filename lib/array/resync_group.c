/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Several small chunks under resync at once: one batch reads all of them from
 * all in-sync legs, another one writes the source's bytes where legs differ.
 *
 * The rules are those of resync.c.  A chunk is whole in the group, under a
 * range lock of its own from before it is read until it counts as equal; so
 * nobody can leave it unequal meanwhile.  While a range of the group is locked
 * we wait for no other one: who waits for us waits for two batches at most.
 *
 * All chunks have the usual source.  One for which it changes, since a reader
 * could not read it there, leaves the group; so do all if the source has
 * failed, or if anything cannot be read.  They are done one by one.
 *
 * While the source's bytes are being written a range has them as edges: who
 * would read the chunk from another leg, since the source has failed or
 * changed, waits until it is unlocked (wait_for_others in read.c).
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "array/resync.h"

struct member {
  uint64_t chunk;
  uint64_t offset, length; /* bytes of the array */
  uint64_t skip;           /* where it is in the buffers */
  struct range *range;
  unsigned which; /* bit n: read it from legs[n], then: write it there */
  unsigned late;  /* bit n: that write was given up */
};

struct group {
  struct member members[RESYNC_GROUP_CHUNKS]; /* locked */
  unsigned n;
  struct leg *legs[ARRAY_MAX_LEGS];
  struct buffer **buffers;     /* one for each of legs */
  int results[ARRAY_MAX_LEGS]; /* the first error of the last batch, or 0 */
  unsigned nlegs, source;
  uint64_t bytes;
  bool given_up; /* something was, and may still use its buffer */
};

/* ---- which chunks ---- */

static uint64_t
chunk_length (struct array *array, uint64_t chunk)
{
  uint64_t bytes = bitmap_chunk_bytes (array->bitmap);

  return min_u64 (bytes, array->size - chunk * bytes);
}

void
resync_choose (struct array *array, uint64_t chunk, uint64_t limit,
               struct resync_chunks *chunks)
{
  const unsigned most = (unsigned)min_u64 (
      RESYNC_GROUP_CHUNKS, RESYNC_GROUP_OPERATIONS / array->nlegs);

  chunks->n = 0;
  chunks->bytes = 0;
  do {
    chunks->list[chunks->n++] = chunk;
    chunks->bytes += chunk_length (array, chunk);
    if (array_source_is_special (array, chunk))
      return;
    chunk = bitmap_next_needed (array->bitmap, chunk + 1);
  } while (chunk != BITMAP_NO_CHUNK && chunks->n < most
           && chunks->bytes + chunk_length (array, chunk) <= limit
           && !array_source_is_special (array, chunk));
}

/* ---- locking ---- */

/* The order of waits is about who may wait while holding a range.  All but the
 * first are locked without waiting for a writer, so several count as one.
 */
static int
lock_member (struct array *array, struct group *group, uint64_t chunk)
{
  struct member *member = &group->members[group->n];
  int err;

  member->chunk = chunk;
  member->offset = chunk * bitmap_chunk_bytes (array->bitmap);
  member->length = chunk_length (array, chunk);
  member->skip = group->bytes;
  member->which = member->late = 0;
  if (group->n > 0) {
    if (ranges_overlap (&array->ranges, member->offset, member->length)
        != RANGE_FREE)
      return -EAGAIN;
    rt_order_leave (RT_ORDER_RANGE);
  }
  err = range_lock (&array->ranges, &array->lock, member->offset,
                    member->length, &member->range);
  if (err != 0) {
    if (group->n > 0)
      rt_order_enter (RT_ORDER_RANGE);
    return err;
  }
  group->n++;
  group->bytes += member->length;
  return 0;
}

/* A leg that had to stay although a write of the chunk may still happen. */
static const struct leg *
lost_leg (const struct group *group, const struct member *member)
{
  for (unsigned i = 0; i < group->nlegs; ++i)
    if ((member->late >> i & 1) && group->legs[i]->state == LEG_IN_SYNC
        && device_lost_writes (group->legs[i]->device) > 0)
      return group->legs[i];
  return NULL;
}

/* It is no longer a member. */
static void
unlock_member (struct array *array, struct group *group, struct member *member)
{
  const struct leg *lost = lost_leg (group, member);

  if (lost)
    range_kill (&array->ranges, member->range, lost);
  else
    range_unlock (&array->ranges, member->range);
  group->n--;
  memmove (member, member + 1,
           (size_t)(&group->members[group->n] - member) * sizeof *member);
  if (group->n > 0)
    rt_order_enter (RT_ORDER_RANGE);
}

/* The chunk is equal on all legs in sync. */
static void
end_member (struct array *array, struct group *group, struct member *member)
{
  bitmap_chunk_synced (array->bitmap, member->chunk);
  array_forget_source (array, member->chunk);
  array->resync_chunks++;
  log_debug (array->log, LOG_RESYNC, "resync: chunk %ju is equal",
             (uintmax_t)member->chunk);
  unlock_member (array, group, member);
}

/* Lock them, and find the legs. */
static void
begin (struct array *array, struct group *group, struct resync_chunks *chunks)
{
  unsigned i;

  for (i = 0; i < chunks->n; ++i)
    if (lock_member (array, group, chunks->list[i]) != 0)
      break;
  if (i > 0) {
    chunks->n = i;
    chunks->bytes = group->bytes;
  }
  else
    chunks->n = 1; /* it is looked at by itself */
  group->nlegs = array_working_legs (array, group->legs);
  for (i = 0; i < group->nlegs; ++i)
    if (group->legs[i] == array_source (array))
      group->source = i;
}

/* ---- batches ---- */

/* Members from first on that are one transfer: end of the run, *length bytes.
 */
static unsigned
run_end (const struct group *group, unsigned first, uint64_t *length)
{
  const struct member *member = &group->members[first];
  unsigned i = first + 1;

  *length = member->length;
  for (; i < group->n; ++i) {
    const struct member *next = &group->members[i];

    if (next->which != member->which || next->offset != member->offset + *length
        || next->skip != member->skip + *length)
      break;
    *length += next->length;
  }
  return i;
}

static void
add_run (struct group *group, struct io_batch *batch, enum io_type type,
         const struct member *member, uint64_t length)
{
  for (unsigned i = 0; i < group->nlegs; ++i)
    if (member->which >> i & 1)
      io_batch_add (batch, group->legs[i]->device, type, 0,
                    group->legs[i]->data_offset + member->offset, length,
                    group->buffers[type == IO_WRITE ? group->source : i],
                    member->skip);
}

/* The results of a run, the members of which are [first, end). */
static unsigned
take_run (struct group *group, struct io_batch *batch, unsigned at,
          unsigned first, unsigned end)
{
  for (unsigned i = 0; i < group->nlegs; ++i) {
    int result;

    if (!(group->members[first].which >> i & 1))
      continue;
    result = io_batch_get (batch, at++)->result;
    group->given_up |= result == -ETIMEDOUT;
    if (group->results[i] == 0)
      group->results[i] = result;
    for (unsigned k = first; k < end && result == -ETIMEDOUT; ++k)
      group->members[k].late |= 1u << i;
  }
  return at;
}

/* Legs to which something is written: that begins, or has ended. */
static void
count_writes (struct group *group)
{
  unsigned which = 0;

  for (unsigned i = 0; i < group->n; ++i)
    which |= group->members[i].which;
  for (unsigned i = 0; i < group->nlegs; ++i)
    if (which >> i & 1)
      group->legs[i]->written++;
}

/* All members, from or to the legs that which says.  0 or -ENOMEM; how it went
 * is in results.
 */
static int
run (struct array *array, struct group *group, enum io_type type)
{
  struct io_batch *batch = io_batch_new (group->n * group->nlegs);
  unsigned end, at = 0;
  uint64_t length;

  if (!batch)
    return -ENOMEM;
  for (unsigned i = 0; i < group->n; i = end) {
    end = run_end (group, i, &length);
    add_run (group, batch, type, &group->members[i], length);
  }
  if (type == IO_WRITE)
    count_writes (group);
  array_run_batch (array, batch);
  if (type == IO_WRITE)
    count_writes (group);
  memset (group->results, 0, sizeof group->results);
  for (unsigned i = 0; i < group->n; i = end) {
    end = run_end (group, i, &length);
    at = take_run (group, batch, at, i, end);
  }
  io_batch_unref (batch);
  return 0;
}

/* ---- reading and comparing ---- */

/* Was all of it read?  A leg that does not answer has failed. */
static bool
all_read (struct array *array, struct group *group)
{
  bool all = true;

  for (unsigned i = 0; i < group->nlegs; ++i) {
    all &= group->results[i] == 0;
    if (group->results[i] == -ETIMEDOUT)
      (void)leg_fail (array, group->legs[i], "reading", -ETIMEDOUT);
  }
  if (!all)
    (void)array_settle (array);
  return all;
}

static int
read_all (struct array *array, struct group *group)
{
  int err;

  for (unsigned i = 0; i < group->nlegs; ++i) {
    if (!group->buffers[i])
      group->buffers[i] = buffer_new (RESYNC_GROUP_BYTES);
    if (!group->buffers[i])
      return -ENOMEM;
  }
  for (unsigned i = 0; i < group->n; ++i)
    group->members[i].which = (1u << group->nlegs) - 1;
  err = run (array, group, IO_READ);
  for (unsigned i = 0; i < group->n; ++i)
    group->members[i].late = 0; /* a read changes nothing */
  if (err != 0)
    return err;
  return all_read (array, group) ? 0 : -EIO;
}

/* Which legs must be written.  Without the lock: the buffers are ours. */
static void
compare (struct group *group)
{
  const uint8_t *source = group->buffers[group->source]->data;

  for (unsigned i = 0; i < group->n; ++i) {
    struct member *member = &group->members[i];

    member->which = 0;
    for (unsigned k = 0; k < group->nlegs; ++k)
      if (k != group->source
          && memcmp (group->buffers[k]->data + member->skip,
                     source + member->skip, member->length)
                 != 0)
        member->which |= 1u << k;
  }
}

/* Those that are equal are done, and those with another source are not ours.
 * The lock is not released.
 */
static void
sort_out (struct array *array, struct group *group)
{
  unsigned in_sync = 0;

  for (unsigned i = 0; i < group->nlegs; ++i)
    if (group->legs[i]->state == LEG_IN_SYNC)
      in_sync |= 1u << i;
  for (unsigned i = group->n; i-- > 0;) {
    struct member *member = &group->members[i];

    member->which &= in_sync;
    if (array_source_at (array, member->offset) != group->legs[group->source])
      unlock_member (array, group, member);
    else if (member->which == 0)
      end_member (array, group, member);
  }
}

/* ---- writing ---- */

static int
write_all (struct array *array, struct group *group)
{
  int err;

  for (unsigned i = 0; i < group->n; ++i) {
    group->members[i].range->edges = array_reads_as_of (array);
    group->members[i].range->copied = true;
  }
  err = run (array, group, IO_WRITE);
  if (err != 0)
    return err;
  for (unsigned i = 0; i < group->n; ++i)
    array->resync_bytes +=
        group->members[i].length
        * (unsigned)__builtin_popcount (group->members[i].which);
  if (!legs_fail (array, group->legs, group->results, group->nlegs,
                  "resync: writing"))
    err = -EIO;
  if (array_settle (array) != 0)
    err = -EIO;
  return err;
}

static void
copy (struct array *array, struct group *group)
{
  if (read_all (array, group) != 0)
    return;
  rt_mutex_unlock (&array->lock);
  compare (group);
  rt_mutex_lock (&array->lock);
  array_wait_for_flush (array);
  sort_out (array, group);
  if (group->n == 0 || write_all (array, group) != 0)
    return;
  while (group->n > 0)
    end_member (array, group, &group->members[group->n - 1]);
}

void
resync_together (struct array *array, struct resync_chunks *chunks,
                 struct resync_buffers *buffers)
{
  struct group group = { .n = 0, .buffers = buffers->list };

  begin (array, &group, chunks);
  if (group.n > 0 && group.nlegs > 1)
    copy (array, &group);
  while (group.n > 0)
    unlock_member (array, &group, &group.members[group.n - 1]);
  if (group.given_up)
    resync_free_buffers (buffers);
}

void
resync_free_buffers (struct resync_buffers *buffers)
{
  for (unsigned i = 0; i < ARRAY_MAX_LEGS; ++i) {
    buffer_unref (buffers->list[i]);
    buffers->list[i] = NULL;
  }
}
