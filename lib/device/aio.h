/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Local devices: files and block devices, through libaio.
 *
 * Before aio_start (and in programs that never call it) each operation runs
 * in the calling thread when it is submitted: no io_context survives a fork,
 * and nbdkit forks between get_ready and after_fork.
 */

#ifndef MDBITMAP_AIO_H
#define MDBITMAP_AIO_H

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"

struct aio;

/* What all local devices of an array share: io_contexts of the threads,
 * contexts left behind with abandoned operations, and helper threads for
 * calls that have no asynchronous form.  No thread, no context yet.
 */
extern struct aio *aio_new (const struct log *log);

/* After the last fork.  0 or -errno. */
extern int aio_start (struct aio *aio);

/* Reap operations that were abandoned, and wake threads whose operations are
 * overdue.  Call about once a second.
 */
extern void aio_poll (struct aio *aio);

/* On: threads that wait for their operations leave the clock to aio_poll,
 * which the caller promises to go on calling; so a time-out may come as late
 * as its next call.  A timer in the kernel for each wait costs more than all
 * that is done here for a request.  Off, as at the beginning: each wait has
 * its own.
 */
extern void aio_alarm (struct aio *aio, bool on);

/* The watchdog: a device on which some thread has been stuck inside
 * io_submit for longer than the device's timeout, or NULL.  It blames a
 * device only if it can tell which one it is: if several are involved, it
 * has each of them read a block, and answers in a later call.  The caller
 * sees to it that the device is not closed meanwhile.
 */
extern struct device *aio_stuck (struct aio *aio);

/* All devices are closed.  NULL is allowed. */
extern void aio_free (struct aio *aio);

enum aio_open_flags {
  AIO_READ_ONLY = 1, /* writes nothing, whatever happens later */
  AIO_NO_LOCK = 2,   /* to look only */
  AIO_CREATE = 4,    /* a missing file is created, empty, mode 0600 */
  AIO_TRY_WRITE = 8, /* if it cannot be opened for writing, read_only is set
                      * instead of failing */
};

/* Open a regular file or a block device, O_DIRECT where that works (else a
 * notice says why not), and make sure that nobody else serves it: O_EXCL for
 * block devices; an open file description lock over the whole file for
 * files (for writing; a read lock if it is open read-only).  timeout in
 * nanoseconds, for each operation.
 *
 * Returns 0 or -errno; the reason has been logged with the name, what was
 * found and what to do (-EBUSY: in use; -EINVAL: neither file nor device).
 * *created, if not NULL, tells whether AIO_CREATE made the file.
 */
extern int aio_open (struct aio *aio, const char *path, unsigned flags,
                     uint64_t timeout, struct device **device, bool *created);

/* Make a device of a descriptor of a regular file or a block device that the
 * caller has opened; it is the device's from then on.  O_DIRECT, which must
 * work: -EOPNOTSUPP if it does not.  Or buffered, through the page cache: a
 * write is done when the kernel has it, and only a flush that succeeds says
 * that it is durable.  A flush that failed is final, since the kernel reports
 * an error once and then forgets it: each later one fails as well.  Without a
 * line in the log.
 */
extern int aio_adopt (struct aio *aio, const char *name, int fd, bool buffered,
                      uint64_t timeout, struct device **device);

/* Switch O_DIRECT of a descriptor on or off.  On: *unit is what offsets and
 * lengths must be multiples of; for a block device it is the least to try.  0,
 * -EOPNOTSUPP if the file system has none, or -errno; without a line.
 */
extern int aio_set_direct (int fd, bool on, uint32_t *unit);

/* For making legs: have a regular file grow to at least this size and allocate
 * the blocks of its first size bytes; data that exists is kept.  -ENOTSUP for
 * a block device.
 */
extern int aio_allocate (struct device *device, uint64_t size);

/* The file descriptor, for libblkid.  It stays the device's. */
extern int aio_fd (const struct device *device);

/* True for a regular file. */
extern bool aio_is_file (const struct device *device);

#endif /* MDBITMAP_AIO_H */
