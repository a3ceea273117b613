#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# mdadm creates an array in the kernel, writes to it and stops it.  We serve
# it: the same data, and no resync.  We write and stop.  The kernel assembles
# it: the same data, no resync, not a byte written to the data of either leg
# by md itself, and `check' finds no mismatch.  Then nbdkit -r on it changes
# nothing.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
truncate -s 64M "$tmp/leg0" "$tmp/leg1"
new_ledger "$tmp/ledger"

# A real initial resync here, not --assume-clean.
uml_run create "$tmp/leg0" "$tmp/leg1" "$tmp/ledger" <<'BODY'
  mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 \
        --bitmap=internal --bitmap-chunk=64K --run "${images[0]}" "${images[1]}"
  md_settle
  "$history" --versions=400 --seed=1 write /dev/md0 "${images[2]}"
  sha256sum < /dev/md0 > "$tmp/sum-kernel"
  blockdev --getsize64 /dev/md0 > "$tmp/size"
  mdadm --stop /dev/md0
BODY
expect "bits left by the kernel" 0 "$(python3 "$legs" bits "$tmp/leg0" | wc -l)"

server_start "$tmp/leg0" "$tmp/leg1"
expect size "$(cat "$tmp/size")" "$(nbdinfo --size "$uri")"
expect "data that we serve" "$(cat "$tmp/sum-kernel")" \
       "$(nbdcopy "$uri" - | sha256sum)"
"$history" verify "$uri" "$tmp/ledger"
# Over the data of seed 1, and in other chunks as well.
"$history" --versions=400 --seed=2 write "$uri" "$tmp/ledger2"
nbdcopy "$uri" - | sha256sum > "$tmp/sum-ours"
server_stop
if grep -i -E 'resync' "$server_log"; then
  die "a resync of a clean array"
fi
if [ "$(cat "$tmp/sum-ours")" = "$(cat "$tmp/sum-kernel")" ]; then
  die "our writes changed nothing"
fi

python3 "$legs" same "$tmp/leg0" "$tmp/leg1"
expect "bits that we left on slot 0" 0 \
       "$(python3 "$legs" bits "$tmp/leg0" | wc -l)"
expect "bits that we left on slot 1" 0 \
       "$(python3 "$legs" bits "$tmp/leg1" | wc -l)"
data_offset=$(python3 "$legs" show "$tmp/leg0" data_offset)
data_size=$(python3 "$legs" show "$tmp/leg0" data_size)
export data_offset data_size

uml_run back "$tmp/leg0" "$tmp/leg1" <<'BODY'
  split_leg leg0 "${images[0]}" "$data_offset" "$data_size"
  split_leg leg1 "${images[1]}" "$data_offset" "$data_size"
  mdadm --assemble /dev/md0 /dev/mapper/leg0 /dev/mapper/leg1
  expect legs UU "$(md_state)"
  expect array_state clean "$(cat /sys/block/md0/md/array_state)"
  md_settle
  expect "data in the kernel" "$(cat "$tmp/sum-ours")" "$(sha256sum < /dev/md0)"
  expect mismatch_cnt 0 "$(md_check)"
  mdadm --stop /dev/md0
  for leg in leg0 leg1; do
    expect "sectors written to the data of $leg" 0 \
           "$(sectors_written "$(data_device "$leg")")"
  done
  md_repaired_nothing
BODY

sha256sum "$tmp/leg0" "$tmp/leg1" > "$tmp/sum-legs"
server_start -r "$tmp/leg0" "$tmp/leg1"
expect "data that we serve with -r" "$(cat "$tmp/sum-ours")" \
       "$(nbdcopy "$uri" - | sha256sum)"
server_stop
sha256sum --quiet -c "$tmp/sum-legs" || die "nbdkit -r wrote to a leg"
