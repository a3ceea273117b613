/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Pages of a bitmap that is in a file. */

#ifndef MDBITMAP_STORE_FILE_H
#define MDBITMAP_STORE_FILE_H

#include "base/buffer.h"
#include "device/file.h"

/* Write n pages of 4096 bytes, at images->data one behind the other, and
 * return when they are durable: pages[i] is the number of the i-th, in
 * ascending order.  Of the last page of the bitmap, which is used bytes long,
 * no more is written than that.  Without a lock; one call at a time for a file.
 *
 * 0; -ENOMEM: nothing was written; or another -errno: what is in the file is
 * not known.
 */
extern int store_file_write (const struct file *file, struct buffer *images,
                             const uint64_t *pages, unsigned n, uint64_t used);

/* Make durable what may be in a cache from before us.  0 or -errno. */
extern int store_file_flush (const struct file *file);

#endif /* MDBITMAP_STORE_FILE_H */
