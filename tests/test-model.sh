#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The model of the protocol, tests/model/mirror.pml, through spin.
#
# First the protocol as it is: the whole state space of some small worlds,
# searched to the end, in which everything that must hold does.  Then, for
# each switch that breaks one rule, the search must find the very property
# that the rule is for: the model can fail, and each rule is needed.
#
# MDBITMAP_LONG=1 searches larger worlds as well, which takes a quarter of an hour and
# 7 GiB.  KEEP=1 keeps the build and the trails; to read one:
#   cd DIRECTORY && ./pan -r

set -e -u
export LC_ALL=C

cd "${abs_top_srcdir:-$(dirname "$0")/..}"
model=$PWD/tests/model/mirror.pml
cc=${CC:-cc}
long=${MDBITMAP_LONG:-}

fail ()
{
  echo "$(basename "$0"): FAILED: $*" >&2
  exit 1
}

for command in spin "${cc%% *}"; do
  command -v "$command" >/dev/null || fail "$command is not installed"
done

tmp=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap.XXXXXX")
if [ -n "${KEEP:-}" ]; then
  echo "kept: $tmp"
else
  trap 'rm -rf "$tmp"' EXIT
fi
trap 'exit 1' HUP INT TERM

# search NAME MEGABYTES FLAGS SWITCH...: build and run it; what it says is left
# in $out.  All threads share all state, so that spin's reduction would find
# nothing to leave out.
search ()
{
  local name=$1 megabytes=$2 flags=$3

  shift 3
  mkdir "$tmp/$name"
  cd "$tmp/$name"
  out=$tmp/$name/out
  if ! spin -a "${@/#/-D}" "$model" > spin.log 2>&1; then
    cat spin.log >&2
    fail "$name: spin does not understand the model"
  fi
  # shellcheck disable=SC2086
  $cc $flags -w -DSAFETY -DNOREDUCE -DVECTORSZ=256 \
      "-DMEMLIM=$megabytes" -o pan pan.c
  # Its status says little; what it prints is judged.
  ./pan -m10000 "-w$((megabytes > 1000 ? 26 : 22))" > out 2>&1 || :
  cd "$OLDPWD"
}

# number PATTERN: the number in the first match of it in $out.
number ()
{
  grep -o -E -m 1 -e "$1" "$out" | grep -o -E '[0-9]+' | head -n 1
}

complain ()
{
  cat "$out" >&2
  fail "$*"
}

# holds NAME MEGABYTES SWITCH...: searched to the end, nothing is broken, and
# there is no rule that was never used.
holds ()
{
  local name=$1 unused

  search "$name" "$2" -O2 "${@:3}"
  grep -q 'errors: 0$' "$out" || complain "$name: something does not hold"
  if grep -q -i -e 'not completed' -e 'too small' -e 'warning' \
       -e 'out of memory' -e 'memory limit' -e 'truncated' "$out"; then
    complain "$name: the search was not complete"
  fi
  unused=$(sed -n '/^unreached in/,$p' "$out" | grep 'state [0-9]*, "' \
             | grep -v -e '"-end-"' -e '"assert(' || :)
  [ -z "$unused" ] || complain "$name: rules never used: $unused"
  printf '%-12s all hold: %9d states, depth %3d, %4d MB: %s\n' "$name" \
         "$(number '[0-9]+ states, stored')" \
         "$(number 'depth reached [0-9]+')" \
         "$(number '[0-9.]+[[:space:]]+total actual memory')" "${*:3}"
}

# breaks SWITCH PROPERTY NUMBER [SWITCH...]: with the switch the property of
# that name and number does not hold.  Power is the last process but one, and
# crashing first finds most of them soonest: hence REVERSE.
breaks ()
{
  search "$1-$2" 1000 '-O0 -DREVERSE' "$1" "ONLY=$3" "${@:4}"
  grep -q 'errors: 1$' "$out" || complain "$1: not found"
  grep -q -E "assertion violated (.*[^A-Za-z0-9])?$2\\)* \\(at depth" "$out" \
    || complain "$1: found, but not as $2"
  printf '%-14s breaks %-3s after %7d states\n' "$1" "$2" \
         "$(number '[0-9]+ states, stored')"
}

# ---- the protocol as it is ----

echo 'all: I1 (I1a I1b) I2 I3 (I3b) I3a I4 (I10) I6 I12 A L, as in the model'

holds crashes 1000 CRASHES=2
holds forces 1000 FORCES=2
holds torn 1000 FUA TORN SECTORS=2
holds writes 1000 WRITES=3 ERRORS=0

if [ -n "$long" ]; then
  holds many-crashes 9000 CRASHES=4 FORCES=2
  holds torn-twice 9000 FUA TORN CRASHES=2
  holds three-writes 9000 WRITES=3 CRASHES=2
  holds two-errors 9000 ERRORS=2 CRASHES=2 FORCES=2
fi

# ---- broken protocols ----

# As md does it.
breaks MD_CLEAR I1 1
breaks MD_CLEAR I4 4
breaks MD_FLUSH I2 2

breaks DATA_FIRST I1 1
breaks OTHERS_BIT I1 1
breaks ONE_COPY I1 1
breaks CLEAR_EARLY I1 1
breaks CLEAR_TOUCHED I1 1
breaks CLEAR_DEGRADED I4 4
breaks CLEAR_SYNCED I1 1
breaks ACTIVE_LATE I1 1
breaks CLEAN_RACE I1 1
breaks SKIP_FLUSH I1 1
breaks FLUSH_TWICE I2 2
breaks ANSWER_FIRST I3 3
breaks PUBLISH_FIRST I1 1
breaks EVENTS_1 I3a 31
breaks START_2 I3a 31 FORCES=1
breaks WAVES_1 I3a 31
breaks NO_BEHIND A 20
breaks NO_RETRY L 21 FORCES=1 CRASHES=0 FLUSHES=0 SECTORS=2
breaks NO_RANGE I6 6
breaks ANY_SOURCE I6 6
breaks SPLIT I12 12 FORCES=1
breaks KILL_LOSSY I1 1
