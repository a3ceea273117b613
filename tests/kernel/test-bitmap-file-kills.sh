#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Our server with its bitmap in a file is killed with SIGKILL under load, at
# moments drawn by chance, on ext4 and on xfs, and in each way to write the
# file.  Each time
#   - the bits on the disk cover every chunk in which the legs differ, and the
#     array does not call itself clean;
#   - the next server copies the marked chunks, and nothing else, as the kernel
#     counts it, although nothing of them had arrived on slot 1;
#   - each write that was answered is there, and the legs are equal.
# The file has blocks that are not neighbours.  At the end it is as free as it
# was, and the file system has no errors.
#
# 1 kill each; 200 with MDBITMAP_LONG=1.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

kills=1
[ -z "${MDBITMAP_LONG:-}" ] || kills=200
export kills

uml_begin
uml_deadline=$((120 + kills * 6 * 20))
truncate -s 16M "$tmp/ext4"
truncate -s 300M "$tmp/xfs"
mkfs.ext4 -q "$tmp/ext4"
mkfs.xfs -q "$tmp/xfs"

uml_run kills "$tmp/ext4" "$tmp/xfs" <<'BODY'
  . "$abs_top_srcdir/tests/kernel/bitmap-kills-inside.sh"
  load_module loop
  n=0
  for type in ext4 xfs; do
    on_file_system $type "${images[n]}"
    for io in ${MDBITMAP_IO:-direct extent pagecache}; do
      echo "--- $type, $io"
      new_array
      kills "$kills" $((n + 1))
      left_in_order
      end_array
    done
    umount $mnt
    n=$((n + 1))
  done
BODY
e2fsck -f -n "$tmp/ext4"
xfs_repair -n "$tmp/xfs" > "$tmp/repair" 2>&1 || { cat "$tmp/repair"; exit 1; }
