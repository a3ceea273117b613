/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* See heap.h.  Calls from inside base/rt.c are not seen: what a thread keeps
 * for itself.  All state is atomic: the array's threads allocate too.
 */

#include <config.h>

#include <malloc.h>

#include "base/rt.h"
#include "fuzz/fuzz.h"
#include "fuzz/heap.h"

extern void *__real_rt_alloc (size_t size);
extern void *__real_rt_calloc (size_t n, size_t size);
extern void *__real_rt_alloc_aligned (size_t align, size_t size);
extern void __real_rt_free (void *p);
extern void *__wrap_rt_alloc (size_t size);
extern void *__wrap_rt_calloc (size_t n, size_t size);
extern void *__wrap_rt_alloc_aligned (size_t align, size_t size);
extern void __wrap_rt_free (void *p);

static uint64_t pieces, bytes, fail_in;

void
heap_fail (uint64_t n)
{
  __atomic_store_n (&fail_in, n, __ATOMIC_SEQ_CST);
}

void
heap_check_empty (void)
{
  uint64_t n = __atomic_load_n (&pieces, __ATOMIC_SEQ_CST);
  uint64_t size = __atomic_load_n (&bytes, __ATOMIC_SEQ_CST);

  REQUIRE (n == 0, "%llu pieces of memory (%llu bytes) were lost",
           (unsigned long long)n, (unsigned long long)size);
}

static bool
fails (void)
{
  uint64_t n = __atomic_load_n (&fail_in, __ATOMIC_SEQ_CST);

  /* Only one thread runs while allocations fail. */
  if (n > 0)
    __atomic_store_n (&fail_in, n - 1, __ATOMIC_SEQ_CST);
  return n == 1;
}

static void *
count (void *p)
{
  uint64_t size;

  if (!p)
    return NULL;
  size = __atomic_add_fetch (&bytes, malloc_usable_size (p), __ATOMIC_SEQ_CST);
  __atomic_add_fetch (&pieces, 1, __ATOMIC_SEQ_CST);
  REQUIRE (size <= HEAP_MAX, "%llu bytes are allocated",
           (unsigned long long)size);
  return p;
}

void *
__wrap_rt_alloc (size_t size)
{
  return fails () ? NULL : count (__real_rt_alloc (size));
}

void *
__wrap_rt_calloc (size_t n, size_t size)
{
  return fails () ? NULL : count (__real_rt_calloc (n, size));
}

void *
__wrap_rt_alloc_aligned (size_t align, size_t size)
{
  return fails () ? NULL : count (__real_rt_alloc_aligned (align, size));
}

void
__wrap_rt_free (void *p)
{
  if (p) {
    __atomic_sub_fetch (&bytes, malloc_usable_size (p), __ATOMIC_SEQ_CST);
    __atomic_sub_fetch (&pieces, 1, __ATOMIC_SEQ_CST);
  }
  __real_rt_free (p);
}
