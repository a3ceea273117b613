#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# On legs from 16 MiB to 3 TiB (all of it hole) we place superblock, bitmap,
# bad-block log and data exactly where this version of mdadm places them, and
# the kernel assembles what we made.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
export sizes="16M 64M 65000K 1G 2G 9G 201G 3T"
files=()
for size in $sizes; do
  truncate -s "$size" "$tmp/leg-$size"
  files+=("$tmp/leg-$size")
done

uml_run layout "${files[@]}" <<'BODY'
  # What does not differ from one array to the next.
  layout ()
  {
    { mdadm --examine "$1"; mdadm --examine-bitmap "$1"; } |
      sed -E 's/[[:space:]]+/ /g; s/^ //' |
      grep -E -e '^(Feature Map|Raid|Avail|Array Size|Used|Data Off|Super Off)' \
           -e '^(Unused|Internal Bitmap|Bad Block|Device Role|Chunksize)' \
           -e '^(Daemon|Write Mode|Sync Size|Version|Array State)'
  }

  # try SIZE DEVICE [CHUNK]
  try ()
  {
    mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 --run \
          --bitmap=internal ${3:+--bitmap-chunk=$3} "$2" missing \
          > /run/said 2>&1 || { cat /run/said; die "mdadm --create $1 $3"; }
    mdadm --stop /dev/md0 2> /dev/null
    layout "$2" > /run/theirs
    mdadm --zero-superblock "$2"
    "$MDBITMAP" create --assume-clean ${3:+--bitmap-chunk=$3} "$2" missing \
      > /dev/null
    layout "$2" > /run/ours
    diff /run/theirs /run/ours || die "$1 ${3:-}: mdadm's is < and ours is >"
    mdadm --assemble --run /dev/md0 "$2" 2> /dev/null
    expect "$1 ${3:-}: $(grep Data /run/ours)" U_ "$(md_state)"
    mdadm --stop /dev/md0 2> /dev/null
    mdadm --zero-superblock "$2"
  }

  i=0
  for size in $sizes; do
    try "$size" "${images[i]}"
    i=$((i + 1))
  done
  try 16M "${images[0]}" 4K
  try 1G "${images[3]}" 64K
  try 9G "${images[5]}" 32K
  try 201G "${images[6]}" 256K
BODY
