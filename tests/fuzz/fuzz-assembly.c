/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Fuzzing: assembly of whole legs, and the life of what was assembled.
 *
 * The input becomes two to four legs in memory and the way in which they are
 * presented (make-legs.c), then requests.  What must hold:
 *   1. array_open writes nothing and flushes nothing, whatever it decides;
 *      nothing is written before array_activate, nor ever to an array that
 *      was opened read-only (memory.c);
 *   2. whoever refuses says why in at least one line;
 *   3. what is accepted could have been accepted: judge.c;
 *   4. nothing is written outside superblock, bitmap, bad-block log and data
 *      of in-sync legs (I16);
 *   5. without failing disks: what is accepted can be made writable, every
 *      request succeeds, a read returns what was written, legs are not less
 *      equal afterwards, resync ends, and after a stop the same legs are
 *      accepted again, with nothing left to resync if nothing was left;
 *   6. no leak, also when memory runs out, and never more than HEAP_MAX.
 *
 * The array's threads are real: an input that fails once in a while is a
 * finding too.  With FUZZ_LOG in the environment the log is shown.  This file:
 * one thread; only the log's count is shared.
 */

#include <config.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array/internal.h"
#include "fuzz/assembly.h"
#include "fuzz/heap.h"

#define REQUESTS_MAX 12
#define LENGTH_MAX   16384
/* More chunks than that are not waited for. */
#define RESYNC_MAX 1024

/* ---- the log ---- */

static uint64_t error_lines;

static void
sink (void *opaque, enum log_level level, const char *line)
{
  size_t length = strlen (line);

  (void)opaque;
  REQUIRE (length > 0 && !strchr (line, '\n'), "not one line: %s", line);
  if (getenv ("FUZZ_LOG"))
    fprintf (stderr, "log: %s\n", line);
  if (level == LOG_LEVEL_ERROR)
    __atomic_add_fetch (&error_lines, 1, __ATOMIC_SEQ_CST);
}

static int debugging;
static const struct log log_ = {
  .sink = sink,
  .debug = { &debugging, &debugging, &debugging, &debugging, &debugging },
};

/* ---- requests ---- */

static uint8_t bytes[LENGTH_MAX], readback[LENGTH_MAX];

static void
check_result (int err, const char *what)
{
  REQUIRE (
      err == 0
          || (err == -EIO && (memory_errors () > 0 || may_be_unreadable ())),
      "%s: %d", what, err);
}

static void
check_content (struct array *array, uint32_t count, uint64_t offset)
{
  int err = array_read (array, readback, count, offset);

  check_result (err, "reading back");
  REQUIRE (err != 0 || memcmp (bytes, readback, count) == 0,
           "not what was written at %llu", (unsigned long long)offset);
}

static void
request (struct array *array, struct input *input, uint64_t size)
{
  uint8_t kind = input_u8 (input);
  uint64_t offset = input_u32 (input) % size;
  uint64_t room = min_u64 (size - offset, LENGTH_MAX);
  uint32_t count = (uint32_t)(1 + input_u16 (input) % room);
  unsigned flags = kind & 8 ? ARRAY_FUA : 0;
  int err;

  switch (kind & 7) {
  case 0:
    check_result (array_flush (array), "flush");
    break;
  case 1:
    check_result (array_read (array, readback, count, offset), "read");
    break;
  case 2:
    memset (bytes, 0, count);
    flags |= kind & 16 ? ARRAY_MAY_TRIM : 0;
    err = array_zero (array, count, offset, flags);
    check_result (err, "zero");
    if (err == 0)
      check_content (array, count, offset);
    break;
  default:
    for (uint32_t i = 0; i < count; ++i)
      bytes[i] = (uint8_t)(kind + i * 7);
    err = array_write (array, bytes, count, offset, flags);
    check_result (err, "write");
    if (err == 0)
      check_content (array, count, offset);
    break;
  }
}

/* ---- phases ---- */

static void
read_only_requests (struct array *array, uint64_t size)
{
  uint32_t count = (uint32_t)min_u64 (size, LENGTH_MAX);

  check_result (array_read (array, readback, count, size - count), "read");
  REQUIRE (array_write (array, readback, 1, 0, 0) == -EROFS, "a write");
  REQUIRE (array_zero (array, 1, 0, 0) == -EROFS, "a zero");
}

/* Until nothing needs it any more. */
static void
wait_resync (struct array *array)
{
  struct array_info info;

  for (;;) {
    array_get_info (array, &info);
    if (info.chunks_needed == 0 || info.chunks_needed > RESYNC_MAX
        || info.in_sync < 2 || memory_errors () > 0)
      break;
    sched_yield ();
  }
}

/* With the array made writable.  Returns the number of chunks that still need
 * resync when it is stopped.
 */
static uint64_t
write_phase (struct array *array, struct input *input, uint64_t size)
{
  struct array_info info;

  for (unsigned i = 0; i < REQUESTS_MAX && input->n > 0; ++i)
    request (array, input, size);
  wait_resync (array);
  array_get_info (array, &info);
  array_stop (array);
  return info.chunks_needed;
}

/* What was stopped in order is accepted again, without being asked to. */
static void
open_again (const struct array_options *before, unsigned legs,
            uint64_t still_needed, uint64_t size)
{
  struct array_options options = *before;
  struct array_info info;
  struct array *array;

  options.nlegs = 0;
  for (unsigned i = 0; i < MEMORY_LEGS; ++i)
    if (legs >> i & 1)
      options.legs[options.nlegs++] = memory_names[i];
  options.degraded = ARRAY_DEGRADED_AUTO;
  options.refuse_full_resync = false;
  options.read_only = true;
  memory_set_phase (MEMORY_LOOK);
  REQUIRE (array_open (&options, &log_, &array) == 0,
           "what was stopped in order is refused");
  array_get_info (array, &info);
  REQUIRE (info.in_sync == options.nlegs, "%u legs are in sync, not %u",
           info.in_sync, options.nlegs);
  REQUIRE (info.size == size, "the size has changed");
  REQUIRE (still_needed > 0 || info.chunks_needed == 0,
           "%llu chunks need resync again",
           (unsigned long long)info.chunks_needed);
  array_close (array);
}

/* The life of an array that was accepted. */
static void
live (struct array *array, struct input *input, const struct scene *scene)
{
  const struct array_options *options = &scene->options;
  unsigned legs = in_sync_legs (array, options);
  uint64_t needed = 0, size;
  struct array_info info;
  int err;

  array_get_info (array, &info);
  size = info.size;
  equal_before (legs, size);
  memory_set_phase (MEMORY_READ);
  REQUIRE (array_start (array) == 0, "it does not start");
  read_only_requests (array, size);
  if (!options->read_only && !info.read_only)
    memory_set_phase (MEMORY_WRITE);
  err = array_activate (array);
  if (options->read_only || info.read_only)
    REQUIRE (err == -EROFS, "made writable: %d", err);
  else
    check_result (err, "array_activate");
  if (err == 0) {
    needed = write_phase (array, input, size);
    legs = in_sync_legs (array, options);
  }
  else
    array_stop (array);
  array_close (array);
  if (memory_errors () > 0)
    return;
  equal_after (legs, size);
  if (err == 0)
    open_again (options, legs, needed, size);
}

/* ---- the target ---- */

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input input = { data, size };
  struct array *array = NULL;
  struct scene scene;
  int err;

  make_legs (&input, &scene);
  debugging = scene.debug;
  error_lines = 0;
  heap_fail (scene.fail_allocation);
  err = array_open (&scene.options, &log_, &array);
  heap_fail (0);
  if (err == 0) {
    judge (array, &scene.options);
    live (array, &input, &scene);
  }
  else {
    REQUIRE (err < 0, "returned %d", err);
    REQUIRE (err != -ENOMEM || scene.fail_allocation > 0, "out of memory");
    REQUIRE (err == -ENOMEM || error_lines > 0, "refused without a word");
  }
  memory_check_closed ();
  heap_check_empty ();
  return 0;
}
