#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# What the kernel's md does with the lists of counted.sh, on two legs of the
# same size: how many writes of a leg are not data, and how much is resynced
# after its end.  In user-mode Linux, see tests/kernel/uml.sh; no privileges.
#
#   bench/md-counted.sh [--quick] [RESULTS]   from the top of a build tree,
#                                             after make check TESTS=
#
#   --quick   without the trickle, which takes a minute
#
# RESULTS is a folder (default: bench/results) for md-counted.txt and
# md-counted.json.

bench=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/kernel/uml.sh
. "$bench/../tests/kernel/uml.sh"

quick=
results=$bench/results
for word; do
  case $word in
    --quick) quick=1 ;;
    -*) sed -n '5,/^$/ s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) results=$word ;;
  esac
done

uml_begin
mkdir -p "$results"
results=$(cd "$results" && pwd)
counted=$bench/counted.py
replay=$abs_top_builddir/bench/replay
inside=$bench/md-counted-inside.sh
lists=$tmp/lists
export replay inside lists
[ -x "$replay" ] || die "bench/replay is missing (make check TESTS=)"

chunk=65536
mkdir "$lists"
python3 "$counted" random w 1000 $((511 << 20)) 4096 > "$lists/random"
python3 "$counted" sequential w $((512 * 16)) 4096 > "$lists/sequential"

section=

# row WHAT COUNTED
row ()
{
  printf '%s\t%s\t%s\t\n' "$section" "$1" "$2" >> "$tmp/rows"
  printf '%-62s %12s\n' "$1" "$2" | tee -a "$results/md-counted.txt"
}

begin ()
{
  section=$1
  printf '\n%-62s %12s\n' "$2" counted | tee -a "$results/md-counted.txt"
}

# said RUN NAME: the number that was printed there
said ()
{
  awk -v name="$2" '$1 == name { print $2 }' "$tmp/$1.out"
}

# Real blocks, as counted.sh has.
new_legs ()
{
  rm -f "$tmp/leg0" "$tmp/leg1"
  fallocate -l 528M "$tmp/leg0"
  fallocate -l 528M "$tmp/leg1"
}

: > "$results/md-counted.txt"

new_legs
uml_start pages "$tmp/leg0" "$tmp/leg1" <<'BODY'
  . "$inside"
  count_pages
BODY
uml_wait pages
begin pages "md: writes of a leg besides the data, chunks of 64 KiB"
for depth in 1 16 32; do
  row "1000 random 4k writes, bits clear, depth $depth" \
      "$(said pages first-$depth)"
  row "the same again, bits set" "$(said pages again-$depth)"
done
row "sequential 4k writes over 512 chunks, depth 1" "$(said pages sequential)"

if [ -z "$quick" ]; then
  new_legs
  uml_start trickle "$tmp/leg0" "$tmp/leg1" <<'BODY'
    . "$inside"
    count_trickle
BODY
  uml_wait trickle
  begin trickle "md: the same, 200 random writes a second"
  row "the first 1000" "$(said trickle trickle-1)"
  row "the 20 s after them" "$(said trickle trickle-1-after)"
  row "the second 1000, in the same chunks" "$(said trickle trickle-2)"
  row "the 20 s after them" "$(said trickle trickle-2-after)"
fi

# crashed WHAT LIST DEPTH
crashed ()
{
  local distinct marked
  new_legs
  export list=$2 depth=$3
  uml_start write "$tmp/leg0" "$tmp/leg1" <<'BODY'
    . "$inside"
    write_and_wait "$list" "$depth"
BODY
  uml_wait_for write written
  uml_kill write > "$tmp/killed"
  distinct=$(python3 "$counted" distinct "$lists/$2" $chunk)
  marked=$(python3 "$legs" union "$tmp/leg0" "$tmp/leg1" | wc -l)
  row "$1: chunks marked, $distinct written" "$marked"
  data_offset=$(python3 "$legs" show "$tmp/leg0" data_offset)
  data_size=$(python3 "$legs" show "$tmp/leg0" data_size)
  export data_offset data_size
  uml_start resync "$tmp/leg0" "$tmp/leg1" <<'BODY'
    . "$inside"
    count_resync
BODY
  uml_wait resync
  row "$1: bytes resynced" "$(said resync resynced)"
}

begin crash "md: after the plug was pulled, chunks of 64 KiB"
crashed "1000 random 4k writes, depth 1" random 1
crashed "1000 random 4k writes, depth 32" random 32
crashed "sequential over 512 chunks, depth 1" sequential 1

python3 "$counted" json "$tmp/rows" > "$results/md-counted.json"
