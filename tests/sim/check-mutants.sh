#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A rule without a mutant that is caught is not tested.
#
#   check-mutants.sh [NAME...]     these mutants, or all
#   check-mutants.sh --sample      a few, in the time that make check has
#   check-mutants.sh --compile [NAME...]
#                                  only see that they apply and compile
#
# Each file of mutants/ is a patch of lib/ that breaks one safety rule, as a
# tired programmer would; what is above the diff says which, and what is lost
# by it.  It is caught if the simulator finds a violation, or trips over an
# assertion, within SEEDS seeds (10000), or as many as a line `Seeds: N' in
# the file says.  A mutant that hangs the simulator is not caught.
#
# Environment: abs_top_srcdir, abs_top_builddir (where config.h is), CC,
# SEEDS, JOBS (mutants at a time, 2), LIMIT (seconds for one mutant, 3600).
# Exit status: 0: all are caught, 1: some are not, 2: it could not be told.

set -e -u -o pipefail
export LC_ALL=C

abs_top_srcdir=${abs_top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
abs_top_builddir=${abs_top_builddir:-$abs_top_srcdir}
mutants=$abs_top_srcdir/tests/sim/mutants
out=$abs_top_builddir/tests/sim/mutants.build
tree=$out/tree # a copy of the sources, which nobody edits meanwhile
jobs=${JOBS:-2}
read -r -a cc <<< "${CC:-cc}"
flags=(-O2 -g -std=gnu11 -DMDBITMAP_SIM)
includes=(-I"$abs_top_builddir" -I"$tree/lib" -I"$tree/tests")
strict=(-Wall -Wextra -Werror)

# One or two of each kind, all of them found soon.
sample=(md-clear md-flush-errors skip-others-round answer-before-record
        waves-merged go-active-not-awaited no-range-lock reads-needed-any-leg
        file-written-without-fua file-failure-not-recorded
        file-believed-after-none file-written-after-given-up)

give_up ()
{
  echo "check-mutants: $*" >&2
  exit 2
}

# ---- building ----

# The sources of the simulator, as paths from the top.
list_sources ()
{
  local source

  for source in lib/*/*.c tests/sim/*.c; do
    case $source in
      lib/base/rt.c | lib/device/aio*.c | lib/device/file*.c) ;;
      lib/device/helpers.c) ;;
      lib/array/create*.c | lib/array/new_file.c | lib/array/change*.c) ;;
      *) echo "$source" ;;
    esac
  done
}

# object_of SOURCE: the name of its object file.
object_of ()
{
  local name=${1//\//-}

  echo "${name%.c}.o"
}

# compile FOLDER SOURCE OBJECT [FLAG...]: SOURCE of the tree in FOLDER, whose
# headers come first.
compile ()
{
  local folder=$1 source=$2 object=$3

  shift 3
  "${cc[@]}" "${flags[@]}" "$@" -I"$folder/lib" "${includes[@]}" \
    -c -o "$object" "$folder/$source"
}

# wait_for N: until at most that many jobs are running.
wait_for ()
{
  while [ "$(jobs -r -p | wc -l)" -gt "$1" ]; do
    wait -n || :
  done
}

build_base ()
{
  local source

  mkdir -p "$out/base"
  for source in "${sources[@]}"; do
    wait_for $((jobs - 1))
    compile "$tree" "$source" "$out/base/$(object_of "$source")" &
  done
  wait_for 0
  link_with "$out/base" || give_up "the simulator does not build"
}

# link_with FOLDER: FOLDER/sim, of its objects, and the others of the base.
link_with ()
{
  local source object objects=()

  for source in "${sources[@]}"; do
    object=$(object_of "$source")
    if [ -e "$1/$object" ]; then
      objects+=("$1/$object")
    else
      objects+=("$out/base/$object")
    fi
  done
  "${cc[@]}" "${flags[@]}" -o "$1/sim" "${objects[@]}"
}

# touched NAME: the files that the mutant changes, from the top.
touched ()
{
  sed -n 's,^+++ b/\([^[:space:]]*\).*,\1,p' "$mutants/$1.patch"
}

# mutate NAME FOLDER: changed copies of these files.
mutate ()
{
  local file

  rm -rf "$2"
  mkdir -p "$2"
  for file in $(touched "$1"); do
    mkdir -p "$2/$(dirname "$file")"
    cp "$tree/$file" "$2/$file" || return
  done
  patch -s -p1 --fuzz=0 -d "$2" < "$mutants/$1.patch"
}

# rebuild NAME FOLDER [FLAG...]: objects of what the mutant changes; a header
# changes everything.
rebuild ()
{
  local name=$1 folder=$2 source file what=()

  shift 2
  mapfile -t what < <(touched "$name")
  for file in "${what[@]}"; do
    case $file in
      *.h)
        what=("${sources[@]}")
        break
        ;;
    esac
  done
  for source in "${what[@]}"; do
    if [ -e "$folder/$source" ]; then
      compile "$folder" "$source" "$folder/$(object_of "$source")" "$@"
    else
      compile "$tree" "$source" "$folder/$(object_of "$source")" \
        -I"$folder/lib" "$@"
    fi || return
  done
}

# ---- one mutant ----

# result NAME SEED TEXT: for the table; seed 0: it is not caught.
result ()
{
  echo "$1: $3"
  printf '%s\t%s\t%s\n' "$2" "$1" "$3" > "$out/$1.result"
}

# passes_at SEED: does the unmutated code?
passes_at ()
{
  timeout "${LIMIT:-3600}" "$out/base/sim" --first "$1" --seeds 1 --quiet \
    < /dev/null > /dev/null 2>&1
}

# judge NAME SEEDS STATUS LOG: what became of it?
judge ()
{
  local name=$1 seeds=$2 status=$3 log=$4 rule seed

  rule=$(sed -n 's/^.*violation of \([^:]*\).*/\1/p' "$log" | head -n 1)
  seed=$(sed -n 's/^.*SIM_SEED=\([0-9]*\).*/\1/p' "$log" | head -n 1)
  if [ -z "$rule" ] && grep -q -i 'assertion' "$log"; then
    rule=assertion
  fi
  if [ "$status" -eq 0 ]; then
    result "$name" 0 "NOT CAUGHT in $seeds seeds"
  elif [ "$status" -eq 124 ]; then
    result "$name" 0 "NOT CAUGHT: it hangs"
  elif [ -z "$rule" ]; then
    result "$name" 0 "NOT CAUGHT: status $status, see $log"
  elif [ -n "$seed" ] && ! passes_at "$seed"; then
    result "$name" 0 "NOT CAUGHT: the unmutated code fails at seed $seed too"
  else
    result "$name" "${seed:-1}" "caught, $rule at seed ${seed:-?}"
  fi
}

check_mutant ()
{
  local name=$1 folder=$out/$1 log=$out/$1.log seeds status=0

  seeds=$(sed -n 's/^Seeds: *\([0-9]*\)$/\1/p' "$mutants/$name.patch")
  seeds=${seeds:-${SEEDS:-10000}}
  if ! mutate "$name" "$folder" > "$log" 2>&1; then
    result "$name" 0 'NOT CAUGHT: it does not apply'
  elif ! { rebuild "$name" "$folder" && link_with "$folder"; } \
         >> "$log" 2>&1; then
    result "$name" 0 "NOT CAUGHT: it does not compile, see $log"
  else
    # In a shell of its own, which says into the log that it was aborted.
    (timeout "${LIMIT:-3600}" "$folder/sim" --seeds "$seeds" --quiet \
      || exit $?) < /dev/null > "$log" 2>&1 || status=$?
    judge "$name" "$seeds" "$status" "$log"
  fi
  rm -rf "$folder"
}

# Every warning is an error, so that a mutant is what it looks like.
compile_mutant ()
{
  local name=$1 folder=$out/$1 log=$out/$1.log

  if ! mutate "$name" "$folder" > "$log" 2>&1; then
    result "$name" 0 "does not apply, see $log"
  elif ! rebuild "$name" "$folder" "${strict[@]}" > "$log" 2>&1; then
    result "$name" 0 "does not compile, see $log"
  elif ! grep -q '^Rule: ' "$mutants/$name.patch" \
       || ! grep -q '^Breaks: ' "$mutants/$name.patch" \
       || ! grep -q '^Loses: ' "$mutants/$name.patch"; then
    result "$name" 0 'does not say what it breaks'
  else
    result "$name" 1 'compiles'
  fi
  rm -rf "$folder"
}

# ---- all of them ----

# The unmutated code must pass, or nothing that follows means anything.
check_base ()
{
  timeout "${LIMIT:-3600}" "$out/base/sim" --seeds 200 --quiet \
    < /dev/null > "$out/base.log" 2>&1 || {
    tail -n 20 "$out/base.log" >&2
    give_up 'the unmutated code does not pass'
  }
}

# for_each FUNCTION: with the name of each mutant, some at a time.
for_each ()
{
  local name

  for name in "${names[@]}"; do
    [ -r "$mutants/$name.patch" ] || give_up "no mutant $name"
  done
  for name in "${names[@]}"; do
    wait_for $((jobs - 1))
    "$1" "$name" &
  done
  wait_for 0
}

# count good|bad: results.
count ()
{
  if [ "$1" = bad ]; then
    { grep -l $'^0\t' "${results[@]}" || :; } | wc -l
  else
    { grep -l $'^[1-9][0-9]*\t' "${results[@]}" || :; } | wc -l
  fi
}

how=check_mutant
case ${1:-} in
  --sample)
    shift
    set -- "${sample[@]}" "$@"
    ;;
  --compile)
    how=compile_mutant
    shift
    ;;
  -*)
    give_up 'usage: check-mutants.sh [--sample | --compile] [NAME...]'
    ;;
esac
[ -r "$abs_top_builddir/config.h" ] || give_up "no config.h in abs_top_builddir"

names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
  for patch in "$mutants"/*.patch; do
    names+=("$(basename "$patch" .patch)")
  done
fi
rm -rf "$out"
mkdir -p "$tree/tests/sim"
cp -R "$abs_top_srcdir/lib" "$tree"
cp "$abs_top_srcdir"/tests/sim/*.[ch] "$tree/tests/sim"
cp -R "$mutants" "$tree/tests/sim"
mutants=$tree/tests/sim/mutants
cd "$tree"
mapfile -t sources < <(list_sources)
results=("${names[@]/#/$out/}")
results=("${results[@]/%/.result}")

if [ "$how" = check_mutant ]; then
  build_base
  check_base
fi
for_each "$how"
good=$(count good)
bad=$(count bad)

if [ "$how" = compile_mutant ]; then
  echo "check-mutants: $good mutants compile, $bad do not"
else
  echo
  echo "check-mutants: seeds needed"
  cat "${results[@]}" | grep -v $'^0\t' | sort -n \
    | awk -F '\t' '{ printf "%8d  %-32s %s\n", $1, $2, $3 }' || :
  cat "${results[@]}" | grep $'^0\t' \
    | awk -F '\t' '{ printf "%8s  %-32s %s\n", "-", $2, $3 }' || :
  echo "check-mutants: ${#names[@]} mutants, $good caught, $bad not"
fi
[ "$bad" -eq 0 ] && [ "$good" -eq "${#names[@]}" ]
