/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Insert one kernel module: insmod FILE.  For user-mode Linux, whose root is
 * that of a host that may have no module tools at all.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From <linux/module.h>, which not every host has in this version. */
#define INIT_COMPRESSED_FILE 4

int
main (int argc, char *argv[])
{
  int fd;
  int flags = 0;
  size_t length;

  if (argc != 2) {
    fprintf (stderr, "usage: insmod FILE\n");
    return 2;
  }
  length = strlen (argv[1]);
  if (length < 3 || strcmp (argv[1] + length - 3, ".ko") != 0)
    flags = INIT_COMPRESSED_FILE;
  fd = open (argv[1], O_RDONLY | O_CLOEXEC);
  if (fd == -1) {
    fprintf (stderr, "insmod: %s: %s\n", argv[1], strerror (errno));
    return 1;
  }
  if (syscall (SYS_finit_module, fd, "", flags) == -1 && errno != EEXIST) {
    fprintf (stderr, "insmod: %s: %s\n", argv[1], strerror (errno));
    return 1;
  }
  return 0;
}
