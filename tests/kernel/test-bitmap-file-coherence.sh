#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# While we write the blocks of the bitmap file past its file system
# (bitmap-io=extent), who reads it with O_DIRECT sees the live bits.  Once we
# are stopped who reads it through the page cache does, too, although the cache
# had been filled before; so do mdadm and the kernel, and when we are killed the
# kernel copies the marked chunks and nothing else.  Then the kernel runs it,
# and we see what it has left.  All without a new mount in between.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
truncate -s 16M "$tmp/ext4" "$tmp/leg0" "$tmp/leg1"
truncate -s 300M "$tmp/xfs"
mkfs.ext4 -q "$tmp/ext4"
mkfs.xfs -q "$tmp/xfs"

uml_run coherence "$tmp/ext4" "$tmp/xfs" <<'BODY'
  load_module loop
  losetup /dev/loop0 "$tmp/leg0"
  losetup /dev/loop1 "$tmp/leg1"
  ledger=/run/ledger

  live_bits ()
  {
    cat "$file" > /dev/null
    dd if="$file" of=/run/bits iflag=direct bs=4096 status=none
    python3 "$legs" --file=/run/bits facts "$tmp/leg0" "$tmp/leg1" > /run/facts
    . /run/facts
    echo "$1: $marked chunks of $chunks are marked"
  }
  # That it was not looked at too late.
  some_are_marked ()
  {
    [ "$marked" -gt 0 ] && [ "$marked" -lt "$chunks" ] || die "not some of them"
  }
  load ()
  {
    "$history" "$@" --more=20 write "$uri" $ledger > /run/load
  }
  serve ()
  {
    server_start bitmap="$file" bitmap-io=extent daemon-sleep=3600 "$a" "$b"
  }
  whole ()
  {
    expect "legs, $1" UU "$(md_state)"
    md_settle
    "$history" verify /dev/md0 $ledger > /dev/null
    expect "mismatch_cnt, $1" 0 "$(md_check)"
  }

  coherent ()
  {
    mkdir -p /run/mnt/$1
    mount "$2" /run/mnt/$1
    file=/run/mnt/$1/bitmap
    "$MDBITMAP" create --force --assume-clean --bitmap="$file" \
      --bitmap-chunk=64K --size=12300K /dev/loop0 /dev/loop1
    data_offset=$(python3 "$legs" show "$tmp/leg0" data_offset)
    size=$(python3 "$legs" show "$tmp/leg0" size)
    split_leg leg0 /dev/loop0 "$data_offset" "$size"
    split_leg leg1 /dev/loop1 "$data_offset" "$size"
    a=/dev/mapper/leg0
    b=/dev/mapper/leg1
    counter=$(data_device leg1)
    live_bits "$1, created"
    expect "marked" 0 "$marked"

    serve
    load --seed=1 --threads=4 --chunk=65536 --hot=20
    live_bits "$1, served"
    some_are_marked
    server_stop
    live_bits "$1, stopped"
    expect marked 0 "$marked"
    cmp "$file" /run/bits
    before=$(sectors_written "$counter")
    mdadm --assemble /dev/md0 --bitmap="$file" $a $b
    whole "after the stop"
    expect "sectors copied" "$before" "$(sectors_written "$counter")"
    mdadm --stop /dev/md0

    serve
    load --continue
    live_bits "$1, served"
    server_kill
    live_bits "$1, killed"
    some_are_marked
    # Nothing of them has arrived.
    python3 "$legs" --file=/run/bits bits "$tmp/leg0" |
      python3 "$legs" --file=/run/bits poison-these "$tmp/leg1"
    before=$(sectors_written "$counter")
    chattr -i "$file"
    mdadm --assemble --run /dev/md0 --bitmap="$file" $a $b
    whole "after the kill"
    expect "sectors copied" $((before + marked_sectors)) \
           "$(sectors_written "$counter")"
    # Its bits stay, since the other leg lacks what they mark.
    mdadm /dev/md0 --fail $b
    "$history" --continue --more=20 write /dev/md0 $ledger
    mdadm --stop /dev/md0
    live_bits "$1, stopped by the kernel"
    some_are_marked

    server_start bitmap="$file" bitmap-io=extent $a $b
    "$history" verify "$uri" $ledger
    "$MDBITMAP" examine-bitmap "$file" | grep -w "$marked dirty"
    server_stop
    was=$marked
    live_bits "$1, stopped by us"
    expect marked "$was" "$marked"

    dmsetup remove leg0 leg1
    dmsetup remove_all
    umount /run/mnt/$1
  }
  coherent ext4 "${images[0]}"
  for leg in leg0 leg1; do
    dd if=/dev/zero of="$tmp/$leg" bs=1M count=16 conv=notrunc status=none
  done
  coherent xfs "${images[1]}"
BODY
