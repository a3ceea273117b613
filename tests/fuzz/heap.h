/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The library's memory, counted: no leak, and a bound, also where the leak
 * detector cannot run; and allocations that fail.  Linked with
 * --wrap=rt_alloc, rt_calloc, rt_alloc_aligned and rt_free.
 */

#ifndef MDBITMAP_FUZZ_HEAP_H
#define MDBITMAP_FUZZ_HEAP_H

#include <stdint.h>

/* The most that an array of these tests may ever hold. */
#define HEAP_MAX (32 * 1024 * 1024)

/* The nth allocation from now on fails; 0: none does. */
extern void heap_fail (uint64_t n);

/* Nothing is allocated, or it is a finding. */
extern void heap_check_empty (void);

#endif /* MDBITMAP_FUZZ_HEAP_H */
