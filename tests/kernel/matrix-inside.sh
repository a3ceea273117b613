# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The kernel's turns with the arrays of the matrix, sourced inside user-mode
# Linux; matrix.sh tells what a cell is.

# Most variables come from the script that uml.sh writes.
# shellcheck disable=SC2154

# shellcheck source=tests/kernel/cells-inside.sh
. "$abs_top_srcdir/tests/kernel/cells-inside.sh"
# shellcheck source=tests/kernel/matrix-cell.sh
. "$abs_top_srcdir/tests/kernel/matrix-cell.sh"

#----------------------------------------------------------------------
# The first turn.

first_ledger ()
{
  # shellcheck disable=SC2086
  "$history" $load_options --more="$writes" write "$1" "$2" > /run/load ||
    { cat /run/load; die "$cell: the load failed"; }
}

# make ARRAY A B: by whom it should be made; all chunks clean.
make_array ()
{
  if [ "$creator" = kernel ]; then
    md --create "$1" --level=1 --raid-devices=2 --metadata="$version" \
       --assume-clean --bitmap=internal --bitmap-chunk="$chunk" \
       --size="$size_kib" --run "$2" "$3"
    # A new bitmap has all bits set; stopping clears them.
    md --stop "$1"
  fi
  md --assemble "$1" "$2" "$3"
  expect "$cell: legs" UU "$(md_state "${1#/dev/}")"
}

turn_1 ()
{
  attach
  make_array /dev/md0 "$a" "$b"
  expect "$cell: chunk" $((chunk_bytes)) \
         "$(cat /sys/block/md0/md/bitmap/chunksize)"
  first_ledger /dev/md0 "$files/ledger"
  case $scenario in
    leg-failed)
      md /dev/md0 --fail "$b"
      load
      ;;
    leg-removed)
      lose "$b"
      load
      take_back "$b"
      verify
      expect "$cell: mismatch_cnt" 0 "$(md_check)"
      ;;
    stale-first)
      lose "$a"
      load
      ;;
  esac
  stop
  mdadm_agrees "$a" "$b"
}

# All at once: for these the plug will be pulled.  Their ledgers are block
# devices, which do not lose what was written.
turn_1_to_be_killed ()
{
  local n=0 i
  for cell; do
    cell_begin "$cell"
    for i in 0 1; do
      losetup /dev/loop$((10 + 2 * n + i)) "$files/leg$i"
    done
    make_array /dev/md$((10 + n)) /dev/loop$((10 + 2 * n)) \
               /dev/loop$((11 + 2 * n))
    first_ledger /dev/md$((10 + n)) "${images[n]}"
    "$history" --continue write /dev/md$((10 + n)) "${images[n]}" \
      > /dev/null &
    n=$((n + 1))
  done
  echo "to be killed"
  wait
}

#----------------------------------------------------------------------
# The second and the third: judging what we have left.

turn_2 ()
{
  attach_and_count
  mdadm_agrees "$a" "$b"
  case $scenario in
    clean | kernel-killed)
      whole
      ;;
    server-killed)
      resync
      ;;
    leg-failed | leg-removed)
      recover U_ "$b" "$counter_b" "$counter_a"
      ;;
    stale-first)
      recover _U "$a" "$counter_a" "$counter_b"
      ;;
  esac
  load
  stop
}

turn_3 ()
{
  attach_and_count
  mdadm_agrees "$a" "$b"
  case $scenario in
    leg-failed)
      recover U_ "$b" "$counter_b" "$counter_a"
      ;;
    stale-first)
      recover _U "$a" "$counter_a" "$counter_b"
      ;;
    *)
      whole
      ;;
  esac
  stop
}

nothing_copied ()
{
  expect "$cell: sectors written to slot 0" 0 "$(sectors_written "$counter_a")"
  expect "$cell: sectors written to slot 1" 0 "$(sectors_written "$counter_b")"
}

# It was stopped in order: there is nothing to do.
whole ()
{
  md --assemble /dev/md0 "$a" "$b"
  expect "$cell: legs" UU "$(md_state)"
  expect "$cell: state" clean "$(cat /sys/block/md0/md/array_state)"
  md_settle
  verify
  expect "$cell: mismatch_cnt" 0 "$(md_check)"
  nothing_copied
  md_repaired_nothing
}

# The marked chunks are copied to slot 1, and nothing else.
resync ()
{
  local marked marked_sectors
  . "$files/facts"
  md --assemble --run /dev/md0 "$a" "$b"
  expect "$cell: legs" UU "$(md_state)"
  md_settle
  expect "$cell: sectors copied for $marked chunks" "$marked_sectors" \
         "$(sectors_written "$counter_b")"
  expect "$cell: sectors written to slot 0" 0 "$(sectors_written "$counter_a")"
  dmesg | grep -q 'not clean' || die "$cell: it was clean"
  verify
  expect "$cell: mismatch_cnt" 0 "$(md_check)"
}

# recover STATE LEG COUNTER OTHER: LEG is not believed; it comes back, and the
# marked chunks are copied to it, and nothing else.
recover ()
{
  local state=$1 leg=$2 counter=$3 other=$4 legs_given=("$a" "$b")
  local marked marked_sectors
  . "$files/facts"
  if [ "$scenario-$creator" = leg-removed-kernel ]; then
    legs_given=("$a")
  fi
  md --assemble --run /dev/md0 "${legs_given[@]}"
  expect "$cell: legs" "$state" "$(md_state)"
  verify
  take_back "$leg"
  expect "$cell: sectors copied for $marked chunks" "$marked_sectors" \
         "$(sectors_written "$counter")"
  expect "$cell: sectors written to the other" 0 "$(sectors_written "$other")"
  verify
  expect "$cell: mismatch_cnt" 0 "$(md_check)"
}
