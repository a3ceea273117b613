/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Where the pages of a bitmap live, as the bitmap sees it.  It does not know
 * what a leg is.
 */

#ifndef MDBITMAP_STORE_H
#define MDBITMAP_STORE_H

#include <stdint.h>

#include "base/buffer.h"

struct bitmap_store {
  /* Write n pages of 4096 bytes, at images->data one behind the other, to
   * every copy, and return when they are durable there: pages[i] is the
   * number of the i-th, in ascending order.  A copy that fails is given up,
   * in memory; 0 if every copy that is left has the pages, else -EIO.
   * Called without the lock; never twice at a time.
   */
  int (*write) (struct bitmap_store *store, struct buffer *images,
                const uint64_t *pages, unsigned n);

  /* Before anything that rests on a write is believed: if a copy was given
   * up, that must be on record.  Called with the lock, which may be released
   * meanwhile.  0 or -EIO.
   */
  int (*settle) (struct bitmap_store *store);
};

#endif /* MDBITMAP_STORE_H */
