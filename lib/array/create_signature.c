/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Making arrays: does a leg belong to somebody?  libblkid knows all file
 * systems, partition tables, swap areas, RAID members and so on.
 *
 * No lock; nothing is written.
 */

#include <config.h>

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "array/create.h"

/* libblkid reads as it likes, and O_DIRECT does not: so it gets a descriptor
 * of its own.
 */
static int
open_for_probe (const struct new_leg *leg)
{
  struct stat ours, theirs;
  int fd = open (leg->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

  if (fd == -1)
    return -errno;
  if (fstat (fd, &theirs) == -1 || fstat (aio_fd (leg->device), &ours) == -1
      || ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino) {
    close (fd);
    return -ESTALE;
  }
  return fd;
}

/* 0 and a name, 0 and an empty name, or -errno. */
static int
find_signature (int fd, char *name, size_t size)
{
  blkid_probe probe = blkid_new_probe ();
  const char *value = "something";
  int err = -EIO;

  name[0] = '\0';
  if (!probe)
    return -ENOMEM;
  if (blkid_probe_set_device (probe, fd, 0, 0) == 0
      && blkid_probe_enable_superblocks (probe, 1) == 0
      && blkid_probe_set_superblocks_flags (
             probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_BADCSUM)
             == 0
      && blkid_probe_enable_partitions (probe, 1) == 0)
    switch (blkid_do_probe (probe)) {
    case 0:
      err = 0;
      if (blkid_probe_lookup_value (probe, "TYPE", &value, NULL) == -1)
        blkid_probe_lookup_value (probe, "PTTYPE", &value, NULL);
      snprintf (name, size, "%s", value);
      break;
    case 1:
      err = 0;
      break;
    default:
      break;
    }
  blkid_free_probe (probe);
  return err;
}

int
create_check_signature (const struct creation *creation,
                        const struct new_leg *leg)
{
  char name[64];
  int fd, err;

  fd = open_for_probe (leg);
  if (fd < 0) {
    log_error (creation->log, "leg %s: looking for signatures: %s", leg->path,
               strerror (-fd));
    return fd;
  }
  err = find_signature (fd, name, sizeof name);
  close (fd);
  if (err < 0) {
    log_error (creation->log, "leg %s: looking for signatures failed: %s",
               leg->path, strerror (-err));
    return err;
  }
  if (name[0] == '\0')
    return 0;
  log_error (creation->log,
             "leg %s: found a signature of %s, which would be overwritten; "
             "take another leg, or mdbitmap create --force",
             leg->path, name);
  return -EEXIST;
}
