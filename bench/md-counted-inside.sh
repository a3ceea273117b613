# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash disable=SC2154

# What md-counted.sh has run by the kernel: see there.  It prints lines of
# NAME and NUMBER.

# Writes that were sent to the second leg.
leg_writes ()
{
  local stat
  read -r -a stat < "/sys/class/block/${images[1]#/dev/}/stat"
  leg_writes=${stat[4]}
}

# The legs are clean, and the array has just been assembled.
fresh ()
{
  {
    [ ! -e /dev/md0 ] || mdadm --stop /dev/md0
    mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 \
      --assume-clean --bitmap=internal --bitmap-chunk=64K --run \
      --size=523264 "${images[0]}" "${images[1]}"
    # A new bitmap has all bits set; stopping clears them.
    mdadm --stop /dev/md0
    mdadm --assemble /dev/md0 "${images[0]}" "${images[1]}"
  } > /run/mdadm.out 2>&1
}

# replayed NAME LIST OPTION...: what is written to a leg besides the data
replayed ()
{
  local name=$1 list=$2 before data
  shift 2
  data=$(wc -l < "$list")
  leg_writes
  before=$leg_writes
  "$replay" --device "$@" /dev/md0 "$list"
  leg_writes
  echo "$name $((leg_writes - before - data))"
}

# waited NAME SECONDS: what is written while nobody writes
waited ()
{
  local before
  leg_writes
  before=$leg_writes
  sleep "$2"
  leg_writes
  echo "$1 $((leg_writes - before))"
}

count_pages ()
{
  local depth
  for depth in 1 16 32; do
    fresh
    replayed "first-$depth" "$lists/random" --depth="$depth"
    replayed "again-$depth" "$lists/random" --depth="$depth"
  done
  fresh
  replayed sequential "$lists/sequential"
}

count_trickle ()
{
  fresh
  replayed trickle-1 "$lists/random" --rate=200 --depth=4
  waited trickle-1-after 20
  replayed trickle-2 "$lists/random" --rate=200 --depth=4
  waited trickle-2-after 20
}

# Until the plug is pulled.
write_and_wait ()
{
  fresh
  "$replay" --device --depth="$2" /dev/md0 "$lists/$1"
  echo written
  sleep "$uml_deadline"
}

# Sectors that resync writes to the second leg.  Its superblock and its bitmap
# lie before the data and are counted apart.
count_resync ()
{
  split_leg leg0 "${images[0]}" "$data_offset" "$data_size"
  split_leg leg1 "${images[1]}" "$data_offset" "$data_size"
  mdadm --assemble --run /dev/md0 /dev/mapper/leg0 /dev/mapper/leg1
  md_settle
  echo "resynced $(($(sectors_written "$(data_device leg1)") * 512))"
  mdadm --stop /dev/md0
}
