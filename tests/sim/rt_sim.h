/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* What base/rt.h keeps in its locks and threads when MDBITMAP_SIM is defined.
 * Only for base/rt.h to include.
 */

#ifndef MDBITMAP_SIM_RT_SIM_H
#define MDBITMAP_SIM_RT_SIM_H

#include <stdint.h>

struct fiber;

/* Who waits is known by the fibers themselves. */
struct rt_mutex {
  uint32_t state; /* RT_SIM_MUTEX from init to destroy */
  unsigned waiters;
  struct fiber *owner; /* NULL: free */
};

struct rt_cond {
  uint32_t state; /* RT_SIM_COND */
  unsigned waiters;
};

struct rt_thread {
  struct fiber *fiber; /* NULL: joined */
};

#define RT_SIM_MUTEX 0x6d757465u
#define RT_SIM_COND  0x636f6e64u

#endif /* MDBITMAP_SIM_RT_SIM_H */
