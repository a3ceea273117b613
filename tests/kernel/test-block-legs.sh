#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Legs that are block devices.  Nobody else can have them while we serve
# them, nor we while the kernel has them, and the message says so.  Zeroing
# goes to the device as a request to zero (BLKZEROOUT), not as data.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
truncate -s 64M "$tmp/leg0" "$tmp/leg1"

uml_run legs "$tmp/leg0" "$tmp/leg1" <<'BODY'
  mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 \
        --assume-clean --bitmap=internal --bitmap-chunk=64K --run \
        "${images[0]}" "${images[1]}"

  # The kernel has them.
  if server_try "${images[0]}" "${images[1]}"; then
    die "we serve legs that the kernel has assembled"
  fi
  grep -E "${images[0]}.*(busy|in use)" "$server_log" ||
    { cat "$server_log"; die "no clear message"; }
  mdadm --stop /dev/md0

  # We have them.
  server_start "${images[0]}" "${images[1]}"
  if mdadm --assemble /dev/md0 "${images[0]}" "${images[1]}" > /run/said 2>&1
  then
    die "the kernel assembles legs that we serve"
  fi
  grep -i busy /run/said || { cat /run/said; die "another message"; }

  # Full of data, then zeroes in three ways.
  nbdsh -u "$uri" -c '
size = h.get_size ()
for offset in range (0, size, 1 << 20):
    h.pwrite (b"\xa5" * min (1 << 20, size - offset), offset)
h.flush ()'
  nbdsh -u "$uri" -c 'h.zero (32 << 20, 1 << 20, nbd.CMD_FLAG_NO_HOLE)'
  nbdsh -u "$uri" -c 'h.trim (1 << 20, 40 << 20)'
  # libnbd would refuse what is not aligned.
  nbdsh -u "$uri" -c 'h.set_strict_mode (0); h.zero (5000, (50 << 20) + 100)'
  nbdsh -u "$uri" -c '
size = h.get_size ()
zeroes = ((1 << 20, 32 << 20), (40 << 20, 1 << 20), ((50 << 20) + 100, 5000))
for start in range (0, size, 1 << 20):
    count = min (1 << 20, size - start)
    want = bytearray (b"\xa5" * count)
    for offset, length in zeroes:
        first = max (offset, start) - start
        end = min (offset + length, start + count) - start
        if first < end:
            want[first:end] = bytes (end - first)
    assert h.pread (count, start) == want, start'
  server_stop
  mdadm --assemble /dev/md0 "${images[0]}" "${images[1]}"
  expect mismatch_cnt 0 "$(md_check)"
  mdadm --stop /dev/md0
BODY
python3 "$legs" same "$tmp/leg0" "$tmp/leg1"

# The device makes a request to zero a hole in the image, where the file
# system of the host can do that; zeroes that were written as data would be
# data there.
truncate -s 64K "$tmp/probe"
if fallocate --zero-range --offset 0 --length 64K "$tmp/probe" 2> /dev/null
then
  for leg in leg0 leg1; do
    python3 - "$tmp/$leg" <<'END'
import os
import sys

fd = os.open (sys.argv[1], os.O_RDWR)
data = 512 * 2048
# What is in the page cache counts as data.
os.fsync (fd)
os.posix_fadvise (fd, 0, 0, os.POSIX_FADV_DONTNEED)
for where in 2 << 20, 20 << 20, 30 << 20:
    assert os.lseek (fd, data + where, os.SEEK_HOLE) == data + where, where
END
    say "$leg: zeroes went to the device as requests to zero"
  done
else
  say "this file system has no zero range: how zeroes arrived was not seen"
fi
