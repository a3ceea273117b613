/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* For libraries that are preloaded into the server. */

#ifndef MDBITMAP_INTERPOSE_H
#define MDBITMAP_INTERPOSE_H

/* Let a function of ours stand for one of the C library by that name.  Not
 * by defining a function of that name: headers may have renamed those that
 * take offsets (fallocate means fallocate64), and a server may call either.
 */
#define INTERPOSE(name, function) \
  __asm__(".globl " #name "\n\t.set " #name ", " #function)
#define INTERPOSED static __attribute__ ((used))

#endif /* MDBITMAP_INTERPOSE_H */
