/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Setting bits ahead of sequential writers.
 *
 * A stream of small writes meets a clear bit at each chunk, and would wait for
 * a round there.  So once we have seen that somebody goes from chunk to chunk,
 * the bits of the chunks that come next are set in the same page and the same
 * round.  They are bits as any other: SET, in the gathered list of the filling
 * round, DURABLE when it has ended; nobody is counted as writing them; and if
 * the stream never comes they are cleared lazily.
 *
 * What it costs is that they are resynced after a crash.  Hence:
 *   1. Nothing is set ahead before a third chunk in a row, then few chunks,
 *      and only then many: writes all over the place, or short runs of them,
 *      must not mark much more than they write.
 *   2. Never past the page, nor more than AHEAD_BYTES.
 *
 * A steady write, whose bits are set, never comes here: a stream is seen by
 * the chunks that it touches first.  Requests in flight together come in any
 * order, so a chunk a little ahead of the expected one is good as well, though
 * it counts for less than the expected chunk written from its first byte on.
 *
 * The lock is the array's, and is not released here.
 */

#include <config.h>

#include "base/bytes.h"
#include "bitmap/chunks.h"

/* The longest that we go ahead, in chunks and in bytes, and the first time. */
#define AHEAD_CHUNKS 127
#define AHEAD_BYTES  (UINT64_C (16) << 20)
#define AHEAD_FIRST  16

/* How far from the expected chunk a stream is recognised. */
#define EARLY_CHUNKS 2
#define LATE_CHUNKS  8

/* What a touch counts, and what makes a stream. */
#define SCORE_EXACT  2
#define SCORE_NEAR   1
#define SCORE_STREAM 4

/* So many entries are left to those that may become streams. */
#define CANDIDATES 4

static bool
is_stream (const struct stream *stream)
{
  return stream->score >= SCORE_STREAM;
}

static struct stream *
find_stream (struct bitmap *bitmap, uint64_t chunk)
{
  for (unsigned i = 0; i < STREAMS; ++i) {
    struct stream *stream = &bitmap->streams[i];

    if (stream->last > 0 && chunk + LATE_CHUNKS >= stream->from
        && chunk <= stream->next + EARLY_CHUNKS)
      return stream;
  }
  return NULL;
}

/* The entry that is given up for a new one: the oldest that is no stream, so
 * that random writes beside a stream do not push it out; or the oldest stream,
 * if there are so many that nobody else could become one.
 */
static struct stream *
oldest_entry (struct bitmap *bitmap)
{
  struct stream *oldest[2] = { NULL, NULL };
  unsigned streams = 0;

  for (unsigned i = 0; i < STREAMS; ++i) {
    struct stream *stream = &bitmap->streams[i];
    bool is = is_stream (stream);

    streams += is;
    if (!oldest[is] || stream->last < oldest[is]->last)
      oldest[is] = stream;
  }
  return oldest[streams > STREAMS - CANDIDATES];
}

/* Set the bits of up to n chunks from that one on, in the page of the chunk
 * before it.  Returns the first chunk that was not looked at.  Having no
 * memory is no error: the bits are set when somebody writes there.
 */
static uint64_t
set_bits (struct bitmap *bitmap, uint64_t chunk, uint64_t n)
{
  uint64_t page = bitmap_chunk_page (chunk - 1);
  uint64_t end = min_u64 (bitmap_page_first_chunk (page + 1), bitmap->chunks);

  for (end = min_u64 (end, chunk + n); chunk < end; ++chunk) {
    uint16_t *state = bitmap_chunk_state_new (bitmap, chunk);

    if (!state)
      break;
    if (*state & CHUNK_SET)
      continue;
    bitmap_set_bit (bitmap, chunk, state);
    bitmap_gather (bitmap, chunk, state);
    *state |= CHUNK_TOUCHED; /* as old as if it had been written */
  }
  return chunk;
}

/* The stream has come to the chunks from touched on to last. */
static uint64_t
go_ahead (struct bitmap *bitmap, struct stream *stream, uint64_t last)
{
  const uint64_t most = min_u64 (AHEAD_BYTES >> bitmap->shift, AHEAD_CHUNKS);
  const uint64_t round = bitmap->rounds.filling;
  const uint64_t marked = bitmap->marked;

  stream->ahead = stream->ahead == 0 ? AHEAD_FIRST : AHEAD_CHUNKS;
  stream->from = last + 1;
  stream->next = set_bits (bitmap, last + 1, min_u64 (stream->ahead, most));
  log_debug (bitmap->log, LOG_BITMAP,
             "bitmap: set %ju chunks ahead of chunk %ju in round %ju",
             (uintmax_t)(bitmap->marked - marked), (uintmax_t)last,
             (uintmax_t)round);
  return bitmap->marked > marked ? round : 0;
}

/* For lazy clearing: who would have been spared a round if it were later. */
static void
count_carried (struct bitmap *bitmap, uint64_t touched, uint64_t last)
{
  bitmap->paces[bitmap_chunk_page (touched)].carried = true;
  bitmap->paces[bitmap_chunk_page (last)].carried = true;
  if (bitmap->carried_round != bitmap->rounds.filling)
    bitmap->carried_rounds++;
  bitmap->carried_round = bitmap->rounds.filling;
}

uint64_t
bitmap_set_ahead (struct bitmap *bitmap, uint64_t offset, uint64_t touched,
                  uint64_t last)
{
  struct stream *stream = find_stream (bitmap, touched);
  bool exact;

  bitmap->touches++;
  if (!stream) {
    stream = oldest_entry (bitmap);
    *stream = (struct stream){ .from = last + 1, .next = last + 1 };
  }
  else if (touched >= stream->from) {
    exact = touched == stream->next && offset <= touched << bitmap->shift;
    if (!is_stream (stream) || touched < stream->next)
      count_carried (bitmap, touched, last);
    stream->score += exact ? SCORE_EXACT : SCORE_NEAR;
    stream->last = bitmap->touches;
    if (is_stream (stream))
      return go_ahead (bitmap, stream, last);
    stream->from = stream->next = last + 1;
    return 0;
  }
  stream->last = bitmap->touches;
  count_carried (bitmap, touched, last);
  return 0;
}
