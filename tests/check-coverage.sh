#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Which branches of lib/bitmap and lib/array do the simulator and the unit
# tests take?  Builds a copy of the tree with gcc --coverage, runs them, adds
# up both copies of the library (with threads, and of the simulator), and
# prints the share for each file and each line that has a branch nobody took,
# with the count of each.  Fails below 90 %.  Making arrays (create*.c) is out
# of the simulator's reach and counts in the second figure only.
#
# SEEDS: of the simulator (3000).  JOBS: processes (2).  KEEP: keep the folder.

set -eu

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
work=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap-coverage.XXXXXX")
if [ -n "${KEEP:-}" ]; then
  echo "the folder is $work"
else
  trap 'rm -rf "$work"' EXIT
fi
jobs=${JOBS:-2}
seeds=${SEEDS:-3000}

# A copy, since a tree that is configured where it lies cannot be built
# elsewhere, and since make may want to write to it.
mkdir "$work/source" "$work/build"
tar -C "$top" --exclude=./.git --exclude='*.o' --exclude='*.lo' -cf - . \
  | tar -C "$work/source" -xf -
cd "$work/source"
[ ! -e config.status ] || make distclean >"$work/distclean.log" 2>&1

step () {
  local log=$work/$1.log

  shift
  "$@" >"$log" 2>&1 || {
    tail -n 40 "$log"
    echo "failed: $*" >&2
    exit 1
  }
}

# Assertions have a branch that must never be taken, so they are left out.
# Threads count at the same time, hence atomic.
cd "$work/build"
step configure "$work/source/configure" CC=gcc \
  CFLAGS='-O0 -g --coverage -fprofile-update=atomic -DNDEBUG'
programs=$(cd "$work/source" && find tests/unit -name "test-*.c" | sort \
  | sed "s/\.c\$//")
# shellcheck disable=SC2086
step make make -j "$jobs" all tests/sim/sim $programs

export abs_top_srcdir=$work/source abs_top_builddir=$work/build
export CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT-300}
for program in $programs; do
  step "$(basename "$program")" "./$program"
done
for plan in "$work"/source/tests/sim/regressions/*.plan; do
  [ ! -e "$plan" ] || step plan tests/sim/sim --plan "$plan"
done
# Not --jobs: its processes end without writing down what they have counted.
for ((i = 0; i < jobs; i++)); do
  tests/sim/sim --first $((i * seeds / jobs + 1)) --seeds $((seeds / jobs)) \
    --quiet >"$work/sim-$i.log" 2>&1 &
  pids[i]=$!
done
for ((i = 0; i < jobs; i++)); do
  wait "${pids[i]}" || {
    cat "$work/sim-$i.log"
    exit 1
  }
done

find lib -name '*.gcda' | while read -r data; do
  gcov --json-format --branch-probabilities --stdout "$data" 2>/dev/null
done >coverage.json

/usr/bin/python3 - "$work/source" <<'PYTHON'
import json
import os
import sys

source = sys.argv[1]
# file -> (function, line) -> number of branches -> counts.  Both copies of the
# library have the same branches unless a macro differs between them.
files = {}


def add (f):
    name = f["file"][f["file"].rfind ("lib/"):]
    if not name.startswith (("lib/bitmap/", "lib/array/")):
        return
    lines = files.setdefault (name, {})
    for line in f["lines"]:
        counts = [b["count"] for b in line["branches"] if not b["throw"]]
        if not counts:
            continue
        key = line["line_number"], line.get ("function_name", "")
        old = lines.setdefault (key, {}).setdefault (len (counts),
                                                     [0] * len (counts))
        for i, n in enumerate (counts):
            old[i] += n


def report (name):
    with open (os.path.join (source, name)) as f:
        text = f.read ().split ("\n")
    counts = {key: shapes[max (shapes)] for key, shapes in files[name].items ()}
    all_ = [n for c in counts.values () for n in c]
    taken = sum (n > 0 for n in all_)
    print ("%5.1f %%  %4d of %4d  %s"
           % (100.0 * taken / len (all_), taken, len (all_), name))
    for (number, _), c in sorted (counts.items ()):
        if 0 in c:
            print ("        %4d: %s  %s"
                   % (number, text[number - 1].strip (), c))
    return taken, len (all_)


def total (what, figures):
    taken, all_ = (sum (f[i] for f in figures) for i in (0, 1))
    print ("%5.1f %%  %4d of %4d  branches of %s"
           % (100.0 * taken / all_, taken, all_, what))
    return taken >= 0.9 * all_


with open ("coverage.json") as f:
    for text in f:
        if text.strip ():
            for one in json.loads (text)["files"]:
                add (one)
names = sorted (name for name in files if any (files[name].values ()))
create = [n for n in names if n.startswith ("lib/array/create")]
running = [report (n) for n in names if n not in create]
making = [report (n) for n in create]
enough = total ("lib/bitmap and lib/array without create*.c", running)
total ("both with create*.c", running + making)
sys.exit (0 if enough else "fewer than 90 %")
PYTHON
