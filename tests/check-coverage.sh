#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Which branches of lib/bitmap and lib/array do the simulator and the unit
# tests take?  Builds with gcc --coverage in a folder of its own, runs them,
# adds up both copies of the library, and prints the share for each file and
# each line that has a branch nobody took.  Fails below 90 %.
#
# SEEDS: of the simulator (3000).  KEEP: keep the folder.

set -eu

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
work=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap-coverage.XXXXXX")
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
cd "$work"

# Assertions have a branch that must never be taken, so they are left out.
"$top/configure" CC=gcc CFLAGS='-O0 -g --coverage -DNDEBUG' >configure.log 2>&1
make -j "${JOBS:-2}" all >make.log 2>&1
programs=$(cd "$top" && ls tests/unit/test-*.c | sed 's/\.c$//')
# shellcheck disable=SC2086
make -j "${JOBS:-2}" $programs tests/sim/sim >>make.log 2>&1
for program in $programs; do
  "./$program" >"$(basename "$program").log" 2>&1 \
    || echo "$program fails without assertions (its log is not kept)"
done
tests/sim/sim --seeds "${SEEDS:-3000}" --quiet

find lib -name '*.gcda' | while read -r data; do
  gcov --json-format --branch-probabilities --stdout "$data" 2>/dev/null
done > coverage.json

/usr/bin/python3 - "$top" <<'PYTHON'
import json
import os
import sys

top = sys.argv[1]
branches = {}   # file -> line -> [counts]
for text in open ("coverage.json"):
    for f in json.loads (text)["files"]:
        name = os.path.relpath (os.path.join (os.getcwd (), f["file"]), top) \
            if os.path.isabs (f["file"]) else os.path.normpath (f["file"])
        name = name[name.find ("lib/"):]
        if not name.startswith (("lib/bitmap/", "lib/array/")) \
           or name.startswith ("lib/array/create"):
            continue
        lines = branches.setdefault (name, {})
        for line in f["lines"]:
            counts = [b["count"] for b in line["branches"]]
            old = lines.setdefault (line["line_number"], [0] * len (counts))
            if len (old) == len (counts):
                for i, n in enumerate (counts):
                    old[i] += n
total = taken = 0
for name in sorted (branches):
    all_ = [n for c in branches[name].values () for n in c]
    if not all_:
        continue
    total += len (all_)
    taken += sum (n > 0 for n in all_)
    print ("%5.1f %%  %s" % (100.0 * sum (n > 0 for n in all_) / len (all_),
                             name))
    source = open (os.path.join (top, name)).read ().split ("\n")
    for number in sorted (branches[name]):
        if 0 in branches[name][number]:
            print ("         %d: %s" % (number, source[number - 1].strip ()))
print ("%5.1f %%  of %d branches" % (100.0 * taken / total, total))
sys.exit (taken < 0.9 * total)
PYTHON
