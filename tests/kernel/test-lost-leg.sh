#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# An array that has lost a leg changes hands.
#
# First the kernel fails the leg, we serve what is left and stop in order,
# and the kernel takes the leg back with --re-add: it must believe our events
# and events_cleared, and copy what was written without the leg, no matter by
# whom, and nothing else.
#
# Then the leg fails under our server, which is killed later: the kernel must
# not take the leg for one in sync, and can take it back as well.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
truncate -s 64M "$tmp/leg0" "$tmp/leg1"
new_ledger "$tmp/ledger"
"$MDBITMAP" create --assume-clean --bitmap-chunk=64K "$tmp/leg0" "$tmp/leg1"
data_offset=$(python3 "$legs" show "$tmp/leg0" data_offset)
data_size=$(python3 "$legs" show "$tmp/leg0" data_size)
export data_offset data_size

uml_run lost "$tmp/leg0" "$tmp/leg1" "$tmp/ledger" <<'BODY'
  a=/dev/mapper/leg0
  b=/dev/mapper/leg1
  split_leg leg0 "${images[0]}" "$data_offset" "$data_size"
  split_leg leg1 "${images[1]}" "$data_offset" "$data_size"
  ledger=${images[2]}

  # The leg that was lost is not in sync; take it back, and count.
  take_back ()
  {
    local before marked sectors
    expect "what the survivor says" "Array State : A." \
           "$(mdadm --examine $a | grep -o 'Array State : [A.]*')"
    mdadm --assemble --run /dev/md0 $a $b 2>&1
    expect "legs that the kernel accepts" U_ "$(md_state)"
    "$history" verify /dev/md0 "$ledger"
    before=$(sectors_written "$(data_device leg1)")
    python3 "$legs" bits $a > /run/marked
    sectors=$(python3 "$legs" sectors $a < /run/marked)
    marked=$(wc -l < /run/marked)
    [ "$marked" -gt 0 ] || die "nothing is marked"
    mdadm /dev/md0 --re-add $b 2>&1
    until [ "$(md_state)" = UU ]; do
      sleep 0.1
    done
    md_settle
    expect "sectors copied, of $marked chunks" "$sectors" \
           $(($(sectors_written "$(data_device leg1)") - before))
    expect mismatch_cnt 0 "$(md_check)"
    "$history" verify /dev/md0 "$ledger"
    mdadm --stop /dev/md0 2>&1
    python3 "$legs" same $a $b
  }

  load ()
  {
    "$history" --seed=5 --hot=60 --drift=20 --chunk=65536 "$@" \
      > /run/history 2>&1
  }

  mdadm --assemble /dev/md0 $a $b 2>&1
  load --versions=100 write /dev/md0 "$ledger"
  mdadm /dev/md0 --fail $b 2>&1
  load --versions=200 --continue write /dev/md0 "$ledger"
  mdadm --stop /dev/md0 2>&1
  server_start $a $b
  server_says 'leg1: not used'
  load --versions=300 --continue write "$uri" "$ledger"
  # A stop clears what may be cleared: nothing.
  server_stop
  echo "== the kernel lost a leg, and we served the other"
  take_back

  server_start $a $b
  load --continue write "$uri" "$ledger" &
  load=$!
  "$history" wait 200 "$ledger"
  dmsetup suspend leg1
  dmsetup load leg1 --table "0 $((data_offset + data_size)) error"
  dmsetup resume leg1
  server_says 'leg1.*failed'
  "$history" wait 200 "$ledger"
  server_kill
  wait "$load"
  dmsetup suspend leg1
  dmsetup load leg1 <<END_OF_TABLE
0 $data_offset linear /dev/mapper/leg1-meta 0
$data_offset $data_size linear /dev/mapper/leg1-data 0
END_OF_TABLE
  dmsetup resume leg1
  echo "== we lost a leg, and were killed"
  take_back
BODY
