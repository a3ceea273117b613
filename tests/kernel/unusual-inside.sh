# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The kernel's turns of test-unusual.sh, sourced inside user-mode Linux.

# Most variables come from the script that uml.sh writes, or from cell_of.
# shellcheck disable=SC2034,SC2154

# shellcheck source=tests/kernel/cells-inside.sh
. "$abs_top_srcdir/tests/kernel/cells-inside.sh"
# shellcheck source=tests/kernel/unusual-cell.sh
. "$abs_top_srcdir/tests/kernel/unusual-cell.sh"

sys=/sys/block/md0/md

attach_all ()
{
  local i
  load_module loop
  d=()
  for ((i = 0; i < nlegs; i++)); do
    losetup /dev/loop$i "$files/leg$i"
    d+=("/dev/loop$i")
  done
}

create ()
{
  md --create /dev/md0 --level=1 --run "$@"
}

# A new bitmap has all bits set; stopping clears them.
again ()
{
  stop
  md --assemble /dev/md0 "$@"
}

first_load ()
{
  # shellcheck disable=SC2086
  "$history" $load_options --more="$writes" write /dev/md0 "$files/ledger" \
    > /run/load || { cat /run/load; die "$cell: the load failed"; }
}

speed_limit ()
{
  echo "$1" > /proc/sys/dev/raid/speed_limit_min
  echo "$1" > /proc/sys/dev/raid/speed_limit_max
}

# interrupt [SECTORS]: when resync or recovery has come some way, stop.
interrupt ()
{
  local action sector=none
  until [[ $sector =~ ^[0-9]+$ ]] && [ "$sector" -ge "${1:-4096}" ]; do
    sleep 0.05
    read -r sector _ < $sys/sync_completed
  done
  read -r action < $sys/sync_action
  stop
  stopped=yes
  speed_limit 200000
  echo "$cell: $action interrupted after sector $sector"
}

#----------------------------------------------------------------------
# What mdadm makes of it.

turn_1 ()
{
  attach_all
  stopped=
  "make_${cell//-/_}"
  if [ -z "$stopped" ]; then
    stop
  fi
}

make_data_offset ()
{
  create --metadata=1.2 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --data-offset=4096 --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  first_load
}

make_bitmap_chunk ()
{
  create --metadata=1.0 --assume-clean --bitmap=internal --bitmap-chunk=16K \
         --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  first_load
}

make_size ()
{
  create --metadata=1.1 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --size=9002 --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  first_load
}

make_spare_of_3 ()
{
  create --metadata=1.2 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=3 --spare-devices=1 "${d[@]}"
  again "${d[@]}"
  first_load
}

make_spare_of_4_090 ()
{
  create --metadata=0.90 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=4 --spare-devices=1 "${d[@]}"
  again "${d[@]}"
  first_load
}

# Slot 0, from which everybody would read otherwise.
make_write_mostly ()
{
  create --metadata="${1:-1.2}" --assume-clean --bitmap=internal \
         --bitmap-chunk=64K --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  echo writemostly > $sys/dev-loop0/state
  echo failfast > $sys/dev-loop0/state
  first_load
}

make_write_mostly_090 ()
{
  make_write_mostly 0.90
}

make_grown ()
{
  create --metadata=1.2 --assume-clean --bitmap=none --raid-devices=2 "${d[@]}"
  first_load
  md --grow /dev/md0 --bitmap=internal --bitmap-chunk=64K
  load
}

# Nobody wrote since: the bitmap has other events than the superblock.
make_grown_and_left ()
{
  create --metadata=1.0 --assume-clean --bitmap=none --raid-devices=2 "${d[@]}"
  first_load
  md --grow /dev/md0 --bitmap=internal --bitmap-chunk=64K
}

make_no_bitmap ()
{
  create --metadata="${1:-1.2}" --assume-clean --bitmap=none \
         --raid-devices=2 "${d[@]}"
  first_load
}

make_no_bitmap_090 ()
{
  make_no_bitmap 0.90
}

make_missing_090 ()
{
  create --metadata=0.90 --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=2 "${d[0]}" missing
  first_load
}

# The good data are on the other leg; the driver has seen to that.
make_bad_blocks ()
{
  local data_offset
  create --metadata=1.2 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  first_load
  read -r data_offset < $sys/dev-loop0/offset
  echo "$((data_offset + 1024)) 256" > $sys/dev-loop0/bad_blocks
  echo "$((data_offset + 20480)) 16" > $sys/dev-loop0/bad_blocks
  load
  cat $sys/dev-loop0/bad_blocks > "$files/bad_blocks"
  stop
  stopped=yes
  mdadm --examine-badblocks "${d[0]}"
}

# The numbers of the devices are no longer those of the slots.
make_renumbered ()
{
  create --metadata=1.2 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  first_load
  lose "${d[0]}"
  md --zero-superblock "${d[0]}"
  md /dev/md0 --add "${d[0]}"
  md_settle
  expect "$cell: legs" UU "$(md_state)"
  stop
  stopped=yes
  expect "$cell: number of slot 0" 2 \
         "$(python3 "$legs" show "${d[0]}" dev_number)"
}

make_replacement ()
{
  create --metadata=1.2 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=2 "${d[0]}" "${d[1]}"
  again "${d[0]}" "${d[1]}"
  first_load
  speed_limit 1000
  md /dev/md0 --add "${d[2]}"
  echo want_replacement > $sys/dev-loop0/state
  interrupt
}

make_recovery ()
{
  create --metadata=1.2 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  first_load
  lose "${d[1]}"
  md --zero-superblock "${d[1]}"
  speed_limit 1000
  md /dev/md0 --add "${d[1]}"
  interrupt
}

# As itself, and by the bitmap.
make_re_add ()
{
  create --metadata=1.2 --assume-clean --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=2 "${d[@]}"
  again "${d[@]}"
  first_load
  lose "${d[1]}"
  load
  load
  speed_limit 100
  md /dev/md0 --re-add "${d[1]}"
  interrupt 1
}

make_resync ()
{
  speed_limit 1000
  create --metadata=1.2 --bitmap=internal --bitmap-chunk=64K \
         --raid-devices=2 "${d[@]}"
  first_load
  interrupt
}

make_resync_no_bitmap ()
{
  speed_limit 1000
  create --metadata="${1:-1.1}" --bitmap=none --raid-devices=2 "${d[@]}"
  first_load
  interrupt
}

make_resync_no_bitmap_090 ()
{
  make_resync_no_bitmap 0.90
}

#----------------------------------------------------------------------
# Back in the kernel.

turn_2 ()
{
  local judge=judge_${cell//-/_} used
  attach_all
  used=("${d[@]}")
  case $cell in
    no-bitmap* | resync-no-bitmap* | missing-*) ;;
    *) mdadm_agrees "${d[@]:0:2}" ;;
  esac
  # One slot has never had a leg.
  [ "$cell" != missing-090 ] || used=("${d[0]}")
  md --assemble --run /dev/md0 "${used[@]}"
  expect "$cell: legs" "$state" "$(md_state)"
  md_settle
  verify
  expect "$cell: mismatch_cnt" 0 "$(md_check)"
  md_repaired_nothing
  if [ "$(type -t "$judge")" = function ]; then
    $judge
    verify
    expect "$cell: mismatch_cnt" 0 "$(md_check)"
  fi
  load
  stop
  mdadm --examine "${d[0]}" | grep -E '^ *(Checksum|Events|State) '
}

spare_takes_over ()
{
  md_line md0 0
  [[ $md_line = *"$1(S)"* ]] || die "$cell: $1 is no spare: $md_line"
  lose "${d[0]}"
  md_settle
  expect "$cell: legs with the spare" "$state" "$(md_state)"
}

judge_spare_of_3 ()
{
  spare_takes_over 'loop3[3]'
}

judge_spare_of_4_090 ()
{
  spare_takes_over 'loop4[4]'
}

judge_write_mostly ()
{
  local flags
  read -r flags < $sys/dev-loop0/state
  expect "$cell: state of slot 0" in_sync,write_mostly,failfast "$flags"
  read -r flags < $sys/dev-loop1/state
  expect "$cell: state of slot 1" in_sync "$flags"
}

judge_write_mostly_090 ()
{
  judge_write_mostly
}

judge_missing_090 ()
{
  md /dev/md0 --add "${d[1]}"
  md_settle
  expect "$cell: legs" UU "$(md_state)"
}

judge_bad_blocks ()
{
  local data_offset at
  read -r data_offset < $sys/dev-loop0/offset
  at=$((data_offset + 20488))
  # The kernel's list is ours, and what mdadm reads from the log.
  expect "$cell: bad blocks left" "$at 8" "$(cat $sys/dev-loop0/bad_blocks)"
  mdadm --examine-badblocks "${d[0]}" | tee /run/list
  grep -q -E "^ *$at for 8 sectors" /run/list || die "$cell: mdadm's list"
  dd if=/dev/md0 of=/run/block bs=4096 skip=$((20488 / 8)) count=1 status=none
  dd if=/run/block of=/dev/md0 bs=4096 seek=$((20488 / 8)) oflag=direct \
     status=none
  expect "$cell: bad blocks after a rewrite" "" \
         "$(cat $sys/dev-loop0/bad_blocks)"
}

judge_replacement ()
{
  lose "${d[0]}"
  md /dev/md0 --add "${d[2]}"
  md_settle
  expect "$cell: legs with the other" UU "$(md_state)"
}

judge_re_add ()
{
  judge_recovery
}

# Whether it may come back as itself is the kernel's to say.
judge_recovery ()
{
  md /dev/md0 --re-add "${d[1]}" || md /dev/md0 --add "${d[1]}"
  md_settle
  expect "$cell: legs" UU "$(md_state)"
}
