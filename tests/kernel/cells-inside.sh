# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# Turns of the kernel with many arrays in one boot, sourced inside user-mode
# Linux; cells.sh is the other half.  Who sources it has a function cell_of.
#
# The legs are loop devices on files of the host, through the page cache of
# this kernel.  So a kill is a power cut: what was not flushed is lost.

# Most variables come from the script that uml.sh writes, or from cell_of.
# shellcheck disable=SC2034,SC2154

# each_cell FUNCTION CELL...: a failure ends that cell and not the others.
each_cell ()
{
  local function=$1 cell status
  shift
  for cell; do
    cell_begin "$cell"
    set +e
    (set -e; $function)
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
      echo "$cell: FAILED in $uml_name, $function"
      dmesg | tail -n 12
      touch "$tmp/$cell/failed"
    fi
    cell_end
  done
}

cell_begin ()
{
  dmesg -C
  cell_of "$1"
  echo "== $cell"
}

# Nothing is left of it, whatever happened.
cell_end ()
{
  if [ -e /sys/block/md0/md ]; then
    mdadm --stop /dev/md0 || :
  fi
  if [ -d /sys/module/dm_mod ]; then
    dmsetup remove_all || :
  fi
  losetup -D
}

# Put the legs on loop devices $a and $b.
attach ()
{
  local i
  load_module loop
  a=/dev/loop0
  b=/dev/loop1
  for i in 0 1; do
    losetup /dev/loop$i "$files/leg$i"
  done
}

# The same, and count what is read and written of the data alone.
attach_and_count ()
{
  local size data_offset
  attach
  . "$files/facts"
  split_leg leg0 $a "$data_offset" "$size"
  split_leg leg1 $b "$data_offset" "$size"
  a=/dev/mapper/leg0
  b=/dev/mapper/leg1
  counter_a=$(data_device leg0)
  counter_b=$(data_device leg1)
}

md ()
{
  mdadm --quiet "$@" 2>&1
}

stop ()
{
  md --stop /dev/md0
}

load ()
{
  "$history" --continue --more="$writes" write /dev/md0 "$files/ledger" \
    > /run/load || { cat /run/load; die "$cell: the load failed"; }
}

verify ()
{
  "$history" verify /dev/md0 "$files/ledger" > /run/verify ||
    { cat /run/verify; die "$cell: data are wrong"; }
}

# lose LEG: fail and remove it.
lose ()
{
  md /dev/md0 --fail "$1"
  until md /dev/md0 --remove "$1" > /run/remove; do
    grep -q -i busy /run/remove || { cat /run/remove; return 1; }
    sleep 0.1
  done
}

take_back ()
{
  md /dev/md0 --re-add "$1"
  until [ "$(md_state)" = UU ]; do
    sleep 0.05
  done
  md_settle
}
