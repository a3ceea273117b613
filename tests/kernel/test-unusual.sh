#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Arrays that mdadm made with unusual options, or left in the middle of
# something.  We serve each, read-only, which changes no byte, and read-write:
# the data are right.  Then it goes back to the kernel, which finds nothing to
# repair, all data, and no mismatch.

# shellcheck disable=SC2119,SC2154

# shellcheck source=tests/kernel/cells.sh
. "$(dirname "$0")/cells.sh"
# shellcheck source=tests/kernel/unusual-cell.sh
. "$here/unusual-cell.sh"

cells=(data-offset bitmap-chunk size spare-of-3 spare-of-4-090 write-mostly
       write-mostly-090 grown grown-and-left no-bitmap no-bitmap-090
       missing-090 bad-blocks renumbered replacement recovery re-add resync
       resync-no-bitmap resync-no-bitmap-090)

make_legs ()
{
  local i
  for cell; do
    cell_of "$cell"
    mkdir "$files"
    new_ledger "$files/ledger"
    for i in 0 1 2 3 4; do
      # Legs of one array need not have one size.
      truncate -s $((16 * 1024 + i * 100))K "$files/leg$i"
    done
  done
}

show ()
{
  python3 "$legs" show "$@"
}

# What is not in sync may have anything for data.
spoil ()
{
  local from
  case $cell in
    bad-blocks)
      from=$(show "$files/leg0" data_offset)
      python3 "$legs" poison-sectors "$files/leg0" $((from + 1024)) 256
      python3 "$legs" poison-sectors "$files/leg0" $((from + 20480)) 16
      "$MDBITMAP" examine --json "$files/leg0" > "$files/examined"
      python3 - "$files/examined" "$files/bad_blocks" <<'PYTHON'
import json
import sys

examined = json.load(open(sys.argv[1]))
if isinstance(examined, dict):
    examined = examined.get("legs", [examined])
ours = [(e["offset"] // 512, e["length"] // 512)
        for e in examined[0]["bad-blocks"]]
kernels = [tuple(map(int, line.split())) for line in open(sys.argv[2])]
if ours != kernels or len(ours) != 2:
    raise SystemExit(f"bad blocks: ours are {ours}, the kernel's {kernels}")
PYTHON
      ;;
    recovery)
      from=$(show "$files/leg1" recovery_offset)
      at_least "$cell: sectors recovered" 1 "$from"
      python3 "$legs" poison-from "$files/leg1" "$from"
      ;;
    re-add)
      # What is not marked had arrived before the leg was lost.
      from=$(show "$files/leg1" feature_map)
      expect "$cell: recovery by bitmap" 130 $((from & 130))
      python3 "$legs" bits "$files/leg0" |
        python3 "$legs" poison-these "$files/leg1"
      ;;
    replacement)
      from=$(show "$files/leg2" recovery_offset)
      at_least "$cell: sectors replaced" 1 "$from"
      python3 "$legs" poison-from "$files/leg2" "$from"
      ;;
    resync*)
      from=$(show "$files/leg0" resync_offset)
      at_least "$cell: sectors resynced" 1 "$from"
      python3 "$legs" poison-from "$files/leg1" "$from"
      ;;
    spare-*)
      python3 "$legs" poison-from "$files/leg$((nlegs - 1))" 0
      ;;
  esac
}

# Reads avoid a leg that is write-mostly: it may as well be rotten.
reads_avoid_slot_0 ()
{
  cp "$files/leg0" "$files/copy0"
  python3 "$legs" poison-from "$files/copy0" 0
  serve -r "$files/copy0" "$files/leg1"
  verify
  server_stop
  rm "$files/copy0"
}

# Write again what is there: all of the first bad range, half of the other.
rewrite ()
{
  python3 - "$uri" <<'PYTHON'
import sys

import nbd

h = nbd.NBD()
h.connect_uri(sys.argv[1])
for sector, count in ((1024, 256), (20480, 8)):
    data = h.pread(count * 512, sector * 512)
    h.pwrite(data, sector * 512)
h.flush()
h.shutdown()
PYTHON
}

our_turn ()
{
  local given=() i
  for ((i = 0; i < nlegs; i++)); do
    given+=("$files/leg$i")
  done
  # One slot has never had a leg.
  [ "$cell" != missing-090 ] || given=("$files/leg0")
  spoil
  sha256sum "${given[@]}" > "$files/sums"
  serve -r "${given[@]}"
  verify
  server_stop
  sha256sum --quiet -c "$files/sums" || die "$cell: nbdkit -r wrote to a leg"
  case $cell in write-mostly*) reads_avoid_slot_0 ;; esac

  server_start "${given[@]}"
  case $cell in
    replacement) server_says 'leg2: not used' ;;
    recovery | re-add) server_says 'leg1: not used' ;;
    spare-*) server_says "leg$((nlegs - 1)): not used.*spare" ;;
    no-bitmap*) server_says 'no bitmap' ;;
    resync*) server_says 'resync done' ;;
  esac
  case $cell in resync*) ;; *) no_resync ;; esac
  verify
  load
  [ "$cell" != bad-blocks ] || rewrite
  verify
  server_stop
  case $cell in
    no-bitmap* | missing-* | recovery | re-add | resync-no-bitmap*) ;;
    # Half of a bad range is still there, and is not the same.
    bad-blocks) facts_say_clean "$files/leg0" ;;
    *) facts_say_clean "$files/leg0" "$files/leg1" ;;
  esac
  for ((i = 0; i < ${#given[@]}; i++)); do
    mdadm --examine "${given[i]}" > "$files/examined"
    grep -q 'Checksum .* correct' "$files/examined" ||
      die "$cell: mdadm --examine leg$i"
  done
}

uml_begin
if [ -n "${MDBITMAP_CELLS:-}" ]; then
  read -r -a cells <<< "$MDBITMAP_CELLS"
fi
make_legs "${cells[@]}"
kernel_turn unusual 1 "${cells[@]}"
each_cell our_turn "${cells[@]}"
kernel_turn unusual 2 "${cells[@]}"
all_alive "${cells[@]}"
