# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The kernel's turns of test-split-brain.sh, sourced inside user-mode Linux.

# Most variables come from the script that uml.sh writes, or from cell_of.
# shellcheck disable=SC2034,SC2154

# shellcheck source=tests/kernel/cells-inside.sh
. "$abs_top_srcdir/tests/kernel/cells-inside.sh"
# shellcheck source=tests/kernel/split-cell.sh
. "$abs_top_srcdir/tests/kernel/split-cell.sh"

# more LEDGER N: that many more writes of each thread.
more ()
{
  "$history" --continue --more="$2" write /dev/md0 "$1" > /run/load ||
    { cat /run/load; die "$cell: the load failed"; }
}

# Each leg is run alone, and written.
turn_1 ()
{
  attach
  md --create /dev/md0 --level=1 --run --metadata="$version" --assume-clean \
     --bitmap=internal --bitmap-chunk=64K --raid-devices=2 "$a" "$b"
  stop
  md --assemble /dev/md0 "$a" "$b"
  # shellcheck disable=SC2086
  "$history" $load_options --more="$writes" write /dev/md0 "$files/ledger" \
    > /run/load || { cat /run/load; die "$cell: the load failed"; }
  stop
  sync
  cp "$files/ledger" "$files/ledger1"
  md --assemble --run /dev/md0 "$a"
  expect "$cell: legs" U_ "$(md_state)"
  more "$files/ledger" "$writes_0"
  stop
  md --assemble --run /dev/md0 "$b"
  expect "$cell: legs" _U "$(md_state)"
  more "$files/ledger1" "$writes_1"
  # More events, though nothing was written.
  local i
  for ((i = 0; i < updates_1; i++)); do
    stop
    md --assemble --run /dev/md0 "$b"
    more "$files/ledger1" 1
  done
  stop
  if [ "$cell" = 1.2_leg0_even ]; then
    unsettled
  fi
}

# Unless somebody settles it, the kernel takes leg 1 back and copies what
# leg 0's bitmap knows of: what was written on leg 1 stays there.
unsettled ()
{
  local i
  losetup -D
  for i in 0 1; do
    cp "$files/leg$i" "$files/copy$i"
    losetup /dev/loop$i "$files/copy$i"
  done
  md --assemble --run /dev/md0 "$a"
  md /dev/md0 --re-add "$b"
  md_settle
  expect "$cell: legs if nobody settles it" UU "$(md_state)"
  i=$(md_check)
  [ "$i" -gt 0 ] || die "$cell: the oracle has seen nothing"
  echo "$cell: mismatch_cnt if nobody settles it: $i"
  stop
}

# The winner has been chosen: the other leg must never be taken in silently.
turn_2 ()
{
  local order winner loser alone
  attach
  for order in "$a $b" "$b $a"; do
    # shellcheck disable=SC2086
    md --assemble --run /dev/md0 $order
    expect "$cell: legs" "$state" "$(md_state)"
    md_settle
    expect "$cell: legs" "$state" "$(md_state)"
    verify
    stop
  done
  winner=$a loser=$b
  [ "$state" = U_ ] || winner=$b loser=$a
  md --assemble --run /dev/md0 "$winner"
  # Either the kernel refuses, or nothing is missing afterwards.
  if md /dev/md0 --re-add "$loser"; then
    echo "$cell: the loser was taken back with --re-add"
  else
    echo "$cell: --re-add was refused"
    md --zero-superblock "$loser"
    md /dev/md0 --add "$loser"
  fi
  md_settle
  expect "$cell: legs in the end" UU "$(md_state)"
  verify
  expect "$cell: mismatch_cnt" 0 "$(md_check)"
  load
  stop
  md --assemble /dev/md0 "$a" "$b"
  verify
  expect "$cell: mismatch_cnt" 0 "$(md_check)"
  stop
}
