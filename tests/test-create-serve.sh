#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# create=SIZE: the export has exactly that size, the legs are equal, a second
# start serves what is there, a leg that was made halfway is finished, and
# nothing that is somebody else's is overwritten.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

cd "$tmp"

# ---- exactly SIZE, with two and with three legs ----

for size in 5120 8192 1049088 10M 67109376 100M; do
  for chunk in 4K 64K 64M; do
    rm -f a b
    start_array made a b create=$size bitmap-chunk=$chunk
    client made '
size = int (sys.argv[1])
assert h.get_size () == size, (h.get_size (), size)
first, last = h.pread (512, 0), h.pread (512, size - 512)
assert first == last == bytes (512)
h.pwrite (b"e" * 512, size - 512, nbd.CMD_FLAG_FUA)
' "$(numfmt --from=iec $size)"
    stop made
    for l in a b; do
      [ "$(leg get $l size)" -eq "$(numfmt --from=iec $size)" ] \
        || fail "create=$size: $l: size $(leg get $l size)"
      [ "$(leg get $l chunksize)" -eq "$(numfmt --from=iec $chunk)" ] \
        || fail "create=$size: $l: chunk $(leg get $l chunksize)"
      [ "$(leg get $l checksum_right)" -eq 1 ] || fail "$l: checksum"
      [ "$(leg get $l clean)" -eq 1 ] || fail "$l: not clean after a stop"
    done
    leg equal a b || fail "create=$size: legs differ"
    [ "$(leg get a set_uuid)" = "$(leg get b set_uuid)" ] || fail "uuids"
    [ "$(leg get a device_uuid)" != "$(leg get b device_uuid)" ] \
      || fail "the legs have the same identity"
  done
done

rm -f a b
start_array made a b c create=9M
client made 'h.pwrite (b"three" * 100, 12345, nbd.CMD_FLAG_FUA)'
stop made
leg equal a b c || fail "three legs differ"
[ "$(leg get c raid_disks)" -eq 3 ] || fail "three legs: raid_disks"
rm -f a b c

# ---- again, and it is served as it is ----

start_array once a b create=8M bitmap-chunk=64K
client once 'h.pwrite (b"keep" * 128, 4096, nbd.CMD_FLAG_FUA)'
stop once
uuid=$(leg get a set_uuid)
start_array again a b create=8M bitmap-chunk=64K
client again '
assert h.get_size () == 8 << 20
assert h.pread (512, 4096) == b"keep" * 128'
stop again
# What is there is served, though another size was asked for, and said.
start_array other a b create=16M
client other 'assert h.get_size () == 8 << 20'
grep -q 'carries an array of 8388608 bytes already' "$tmp/other.log" ||
  fail "nothing was said about the size"
stop other
[ "$(leg get a set_uuid)" = "$uuid" ] || fail "another array was made"

# ---- two servers ----

start_array first a b
sum=$(leg sum-all a b)
refuses 'in use\|another' a b
refuses 'in use\|another' a b create=8M
[ "$(leg sum-all a b)" = "$sum" ] || fail "a refused server wrote to a leg"
client first 'assert h.pread (512, 4096) == b"keep" * 128'
# The lock goes with the process.
crash first
start_array second a b
stop second

# ---- legs of two arrays ----

rm -f c d
start_array two c d create=8M
stop two
sum=$(leg sum-all a b c d)
refuses '' a c
refuses '' a c create=8M
refuses '' d b degraded=allow
[ "$(leg sum-all a b c d)" = "$sum" ] || fail "a refused server wrote to a leg"
rm -f a b c d

# ---- what belongs to somebody else ----

foreign ()
{
  local sum

  sum=$(leg sum-all a b)
  refuses "$1" a b create=8M
  [ "$(leg sum-all a b)" = "$sum" ] || fail "$1: refused, but overwritten"
  rm -f a b
}

truncate -s 32M a b
if command -v mkswap >/dev/null; then
  mkswap b >/dev/null 2>&1
  foreign 'swap'
  truncate -s 32M a b
  mkswap a >/dev/null 2>&1
  foreign 'swap'
fi
if command -v mkfs.ext4 >/dev/null; then
  : > a
  truncate -s 32M b
  mkfs.ext4 -q -F b
  foreign 'ext4'
fi

# Too small, and not a file.
truncate -s 4M a b
sum=$(leg sum-all a b)
refuses '' a b create=8M
[ "$(leg sum-all a b)" = "$sum" ] || fail "too small, but overwritten"
rm -f a b
mkdir b
refuses '' a b create=8M
[ ! -s a ] || fail "a was made although b cannot be"
rm -rf a b
refuses '' nowhere/a nowhere/b create=8M

# Legs that have no array, without create.
truncate -s 32M a b
sum=$(leg sum-all a b)
refuses_all 'leg .*/a: no md superblock' 'none of the legs' a b
[ "$(leg sum-all a b)" = "$sum" ] || fail "no array, but written"

# ---- legs that existed, with other contents and no signature ----

head -c 20M /dev/urandom > a
head -c 20M /dev/urandom > b
start_array mixed a b create=8M bitmap-chunk=64K
wait_resync mixed
in_log mixed 'resync done' || fail "legs that existed were not resynced"
client mixed 'h.pread (8 << 20, 0)'
stop mixed
leg equal a b || fail "legs that existed were not made equal"
rm -f a b

# ---- made halfway ----
#
# The server is killed at the Nth call of each kind that it makes while it
# makes the array; then the same command must finish the work.

if ! command -v strace >/dev/null \
    || ! strace -qq -o /dev/null true 2>/dev/null; then
  echo "strace is not available: not killed while making an array"
  exit 0
fi
kills=0
for call in ftruncate fallocate pwrite64 pwritev2 fdatasync fsync; do
  for ((n = 1; n < 30; ++n)); do
    rm -f a b
    # It ends by itself once all is made: then it was not killed.
    # shellcheck disable=SC2086
    if strace -f -qq -o /dev/null -e trace=$call \
         -e "inject=$call:signal=KILL:when=$n" \
         $nbdkit -U - "$plugin" a b create=2M bitmap-chunk=64K \
         --run 'exit 0' >/dev/null 2>&1; then
      break
    fi
    kills=$((kills + 1))
    # Killed in --run's child, the parent may live on for an instant.
    start finished "$plugin" a b create=2M bitmap-chunk=64K \
      || { sleep 1; start_array finished a b create=2M bitmap-chunk=64K; }
    client finished '
assert h.get_size () == 2 << 20
h.pwrite (b"x" * 100, 777, nbd.CMD_FLAG_FUA)
assert h.pread (100, 777) == b"x" * 100'
    wait_resync finished
    stop finished
    leg equal a b || fail "made halfway at $call $n: legs differ"
    [ "$(leg get b set_uuid)" = "$(leg get a set_uuid)" ] \
      || fail "made halfway at $call $n: two arrays"
  done
done
[ $kills -gt 3 ] || fail "killed only $kills times"
echo "killed while making an array: $kills times"
exit 0
