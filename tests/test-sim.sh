#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The simulator: a fixed set of seeds, plans that once failed, and every
# schedule of some tiny worlds; the same seed gives the same run, each time
# and with each compiler.  HACKING.md tells how to go on from a failure.
#
# With MDBITMAP_LONG the bars in full: 10 million cycles.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"

sim=$build/tests/sim/sim
[ -x "$sim" ] || fail "$sim is missing"
jobs=$(nproc)
# For build.sh, when make does not say.
export abs_top_srcdir="${abs_top_srcdir:-$tests/..}"
export abs_top_builddir="${abs_top_builddir:-$build}"
seeds=30000
departures=1
same=300
if [ -n "${MDBITMAP_LONG:-}" ]; then
  seeds=850000
  departures=2
  same=1000
fi
cd "$tmp"

# ---- plans that once failed ----
#
# With many seeds each: after a change of the library another schedule may be
# the one that fails.

for plan in "$tests"/sim/regressions/*.plan; do
  [ -e "$plan" ] || continue
  "$sim" --plan "$plan" --tries 300 || fail "$(basename "$plan") fails again"
done

# ---- seeds ----

"$sim" --seeds "$seeds" --jobs "$jobs" --quiet || fail "a rule was violated"

# ---- every schedule of tiny worlds ----

"$sim" --exhaustive --departures "$departures" --jobs "$jobs" \
  || fail "a rule was violated in a tiny world"

# ---- the same seed, the same run ----

other=clang
[ "$(basename "${CC:-cc}")" = clang ] && other=gcc
"$sim" --seeds "$same" --hashes --quiet | grep '^[0-9]' > first
"$sim" --seeds "$same" --hashes --quiet | grep '^[0-9]' > second
cmp first second || fail "two runs of the same seeds differ"
[ "$(wc -l < first)" -eq "$same" ] || fail "not a hash for each seed"
[ "$(cut -d ' ' -f 2 first | sort -u | wc -l)" -eq "$same" ] \
  || fail "different seeds, but the same hash"
JOBS=$jobs "$tests/sim/build.sh" "$other" "$tmp/other" \
  || fail "$other cannot build it"
other/sim --seeds "$same" --hashes --quiet | grep '^[0-9]' > third
cmp first third || fail "the same seeds run otherwise with $other"

# The trace as well, byte for byte.
for seed in 1 2 3; do
  SIM_SEED=$seed "$sim" --trace --quiet | grep -v '^sim:' > first
  SIM_SEED=$seed other/sim --trace --quiet | grep -v '^sim:' > second
  cmp first second || fail "the trace of seed $seed differs with $other"
  [ "$(wc -l < first)" -gt 100 ] || fail "the trace of seed $seed is empty"
done
exit 0
