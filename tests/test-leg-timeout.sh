#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A leg that does not answer (failing-disk.c, PATH.hang) has failed after
# leg-timeout: requests succeed on the other leg, and what the hung leg does
# later harms nobody.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

preload=$(helper failing-disk.so)
cd "$tmp"

# hung REQUEST stop|crash [TIMEOUT]
hung ()
{
  rm -f a b ./*.hang
  start_array disk a b create=16M bitmap-chunk=64K leg-timeout="${3:-1}"
  client disk '
h.pwrite (b"old!" * 16384, 65536)
h.flush ()'
  : > b.hang
  client disk "$1"
  in_log disk 'leg .*/b: .*failed' || fail "a leg that hangs has not failed"
  client disk '
for i in range (16):
    assert h.pread (4096, 65536) == b"new!" * 1024
    h.pwrite (b"new!" * 1024, 131072)
h.flush ()'
  # It wakes up and does late what it was told: nobody believes it.
  rm b.hang
  client disk '
import time
for i in range (30):
    assert h.pread (4096, 65536) == b"new!" * 1024
    h.pwrite (b"%4d" % i * 1024, 131072)
    time.sleep (0.1)'
  if [ "$2" = stop ]; then stop disk; else crash disk; fi
  start_array after b a
  client after '
assert h.pread (4096, 65536) == b"new!" * 1024
assert h.pread (4096, 131072) == b"%4d" % 29 * 1024'
  in_log after 'leg .*/b: not used' || fail "the leg that hung is used again"
  stop after
}

hung 'h.pwrite (b"new!" * 1024, 65536)' crash
hung 'h.pwrite (b"new!" * 1024, 65536, nbd.CMD_FLAG_FUA)' stop
hung '
# A chunk whose bit has to be set first.
h.pwrite (b"far " * 1024, 8 << 20)
h.pwrite (b"new!" * 1024, 65536)' crash
hung '
h.flush ()
h.pwrite (b"new!" * 1024, 65536)' stop
# From 10 seconds on the watch thread keeps the time, instead of the kernel.
hung 'h.pwrite (b"new!" * 1024, 65536)' stop 10

# Reads are answered by the other leg.
rm -f a b
start_array disk a b create=16M bitmap-chunk=64K leg-timeout=1
client disk 'h.pwrite (b"old!" * (1 << 20), 0, nbd.CMD_FLAG_FUA)'
for l in a b; do
  : > $l.hang
  client disk '
for i in range (64):
    assert h.pread (4096, i * 65536) == b"old!" * 1024'
  rm $l.hang
  [ $l = a ] && in_log disk 'leg .*: .*failed' && break
done
crash disk
exit 0
