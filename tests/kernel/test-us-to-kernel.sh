#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# We create, with `mdbitmap create' and with create=SIZE; the kernel
# assembles it clean; and what mdadm says of a leg, of its superblock and of
# its bitmap, is what we say, line by line: fresh, in use with bits set, with
# a failed leg, and while and after a spare takes its place.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin

# By the tool, in files that exist, one longer than the other, and a spare
# that is longer still.
truncate -s 64M "$tmp/tool0"
truncate -s 65M "$tmp/tool1"
truncate -s 70M "$tmp/spare"
"$MDBITMAP" create --assume-clean --bitmap-chunk=64K --name=garden \
  "$tmp/tool0" "$tmp/tool1"

# By the plugin, in files that do not exist: the export has exactly SIZE.
size=$((20 * 1024 * 1024 + 512))
server_start create=$size bitmap-chunk=4K "$tmp/new0" "$tmp/new1" "$tmp/new2"
expect "size of the export" $size "$(nbdinfo --size "$uri")"
server_stop

uml_run compare "$tmp/tool0" "$tmp/tool1" "$tmp/spare" \
        "$tmp/new0" "$tmp/new1" "$tmp/new2" <<'BODY'
  failed=0
  try ()
  {
    echo "== $1"
    shift
    for device; do
      mdadm_agrees "$device" || failed=1
    done
  }

  tool=("${images[0]}" "${images[1]}")
  new=("${images[3]}" "${images[4]}" "${images[5]}")
  try "fresh, made by the tool" "${tool[@]}"
  try "fresh, made by the plugin" "${new[@]}"

  mdadm --assemble /dev/md0 "${tool[@]}"
  mdadm --assemble /dev/md1 "${new[@]}"
  expect "legs of the first" UU "$(md_state md0)"
  expect "legs of the second" UUU "$(md_state md1)"
  expect "state of the first" clean "$(cat /sys/block/md0/md/array_state)"
  expect "state of the second" clean "$(cat /sys/block/md1/md/array_state)"
  expect "size of the second" $((20 * 1024 * 1024 + 512)) \
         "$(blockdev --getsize64 /dev/md1)"
  expect "chunk of the first" 65536 \
         "$(cat /sys/block/md0/md/bitmap/chunksize)"
  expect "chunk of the second" 4096 \
         "$(cat /sys/block/md1/md/bitmap/chunksize)"
  expect "mismatch_cnt of the first" 0 "$(md_check md0)"
  expect "mismatch_cnt of the second" 0 "$(md_check md1)"
  md_repaired_nothing

  # A failed leg keeps the array from clearing bits, no delay from marking
  # itself clean.
  echo 0 > /sys/block/md0/md/safe_mode_delay
  dd if=/dev/urandom of=/dev/md0 bs=64K count=5 seek=9 oflag=direct status=none
  mdadm /dev/md0 --fail "${tool[1]}"
  dd if=/dev/urandom of=/dev/md0 bs=64K count=3 seek=900 oflag=direct status=none
  try "in use, degraded" "${tool[@]}"
  mdadm /dev/md0 --remove "${tool[1]}"
  echo 1000 > /sys/block/md0/md/sync_speed_max
  mdadm /dev/md0 --add --write-mostly "${images[2]}"
  until [ "$(cat /sys/block/md0/md/sync_action)" = recover ]; do
    sleep 0.1
  done
  try "a spare is being recovered" "${tool[0]}" "${images[2]}"
  echo 1000000 > /sys/block/md0/md/sync_speed_max
  md_settle md0
  expect "legs with the spare" UU "$(md_state md0)"
  try "a spare took over" "${tool[0]}" "${images[2]}"
  mdadm --stop /dev/md0
  mdadm --stop /dev/md1
  try "stopped" "${tool[@]}" "${images[2]}" "${new[@]}"
  exit $failed
BODY

# What the kernel made of it is served by us: the numbers of the devices are
# no longer those of the slots.
server_start "$tmp/tool0" "$tmp/spare"
nbdcopy "$uri" "$tmp/export"
server_stop
cmp -n $((63 * 1024 * 1024)) "$tmp/export" "$tmp/spare" \
    0 $((512 * $(python3 "$legs" show "$tmp/spare" data_offset)))
