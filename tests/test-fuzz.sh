#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck disable=SC2317

# Fuzzing: libFuzzer's targets in tests/fuzz, with address and undefined
# behaviour sanitizers and all assertions.
#
#   tests/test-fuzz.sh                       replay the corpora, then fuzz
#   tests/test-fuzz.sh replay TARGET FILE... run these inputs once
#   tests/test-fuzz.sh bulk [ARGUMENT...]    bulk-legs alone, or sanitized with
#                                            these arguments
#   tests/test-fuzz.sh merge [TARGET...]     fuzz, and make the corpora anew:
#                                            few inputs that reach everything
#
# Targets, each with what must hold in its first comment:
#
#   superblock         bytes and a leg -> decode, check, encode
#   bad-blocks         bytes and what is rewritten -> decode, bring up, tear
#   bitmap-superblock  bytes and a geometry -> decode, check, encode, bits
#   bitmap-file        bytes become a bitmap's file -> assembly with it
#   assembly           bytes become legs in memory -> a whole array's life
#   schedule           bytes drive the simulator's scheduler
#
# Besides these bulk-legs, which needs no coverage: a number makes legs with
# something wrong, and opens them.  MDBITMAP_FUZZ_LEGS of them (500,000; ten
# million with MDBITMAP_LONG) in a plain build, and 200,000 with sanitizers.
#
# MDBITMAP_FUZZ_SECONDS: how long each target is fuzzed (60; 600 with
# MDBITMAP_LONG).  CLANG: the compiler.  KEEP=1 keeps what was built, and what
# was found by fuzzing.  Nothing is written into the source tree but by merge.
#
# A missing clang is a failure: nobody should believe that this was tested.

set -e -u
export LC_ALL=C

source=$(cd "${abs_top_srcdir:-$(dirname "$0")/..}" && pwd)
build=${abs_top_builddir:-${MDBITMAP_BUILD:-.}}
build=$(cd "$build" && pwd)
clang=${CLANG:-clang}
seconds=${MDBITMAP_FUZZ_SECONDS:-${MDBITMAP_LONG:+600}}
seconds=${seconds:-60}
legs=${MDBITMAP_FUZZ_LEGS:-${MDBITMAP_LONG:+10000000}}
legs=${legs:-500000}
sanitized_legs=200000
targets='superblock bad-blocks bitmap-superblock bitmap-file assembly schedule'
at_once=2
corpus_max=30 # files of a target

fail ()
{
  echo "$(basename "$0"): FAILED: $*" >&2
  exit 1
}

usage ()
{
  sed -n 's/^#   \(tests\/test-fuzz.sh\)/\1/p' "$0" >&2
  exit 1
}

# ---- where it happens ----

tmp=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap-fuzz.XXXXXX")

cleanup ()
{
  local status=$? pid

  trap - EXIT
  for pid in $(jobs -p); do
    kill -KILL "$pid" 2>/dev/null || :
  done
  wait
  if [ -n "${KEEP:-}" ]; then
    echo "kept: $tmp" >&2
  else
    rm -rf "$tmp"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# ---- building ----

packages='clang and libclang-rt-dev (Debian)'

check_clang ()
{
  command -v "$clang" >/dev/null || fail "no $clang: install $packages"
  [ -e "$build/config.h" ] || fail "no $build/config.h: run configure"
  cat > "$tmp/empty.c" <<'C'
#include <stdlib.h>
int LLVMFuzzerTestOneInput (const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput (const unsigned char *data, size_t size)
{
  (void)data;
  (void)size;
  return 0;
}
C
  "$clang" -fsanitize=fuzzer,address "$tmp/empty.c" -o "$tmp/empty" \
    || fail "$clang has no fuzzer: install $packages"
}

# The library, but devices, which are memory here, and making arrays, which
# needs libblkid; only its branches count as reached or not.
lib_sources ()
{
  local file

  for file in "$source"/lib/{base,format,bitmap,array}/*.c; do
    case $file in
      */array/create*.c) ;;
      *) echo "$file" ;;
    esac
  done
  echo "$source/lib/device/batch.c"
}

# Allocations are counted: see fuzz/heap.c.
wrap=('-Wl,--wrap=rt_alloc' '-Wl,--wrap=rt_calloc'
      '-Wl,--wrap=rt_alloc_aligned' '-Wl,--wrap=rt_free')

compile_all ()
{
  plain=(-std=gnu11 -g -O2 -UNDEBUG -DHAVE_CONFIG_H
         -I"$build" -I"$source/lib" -I"$source/tests" -Wall -Wextra)
  flags=("${plain[@]}" -fno-omit-frame-pointer
         -fsanitize='address,undefined' -fno-sanitize-recover=all)
  mkdir "$tmp/objects" "$tmp/plain-objects"
  # shellcheck disable=SC2016
  one='file=$1 folder=$(basename "$(dirname "$1")")
       object=$2/$folder-$(basename "$file" .c).o
       shift 2
       exec "$@" -c "$file" -o "$object"'
  lib_sources | xargs -P "$at_once" -I{} sh -c "$one" - {} "$tmp/objects" \
    "$clang" "${flags[@]}" -fsanitize=fuzzer-no-link \
    || fail "the library does not compile"
  printf '%s\n' "$source"/tests/fuzz/*.c \
    | xargs -P "$at_once" -I{} sh -c "$one" - {} "$tmp/objects" \
      "$clang" "${flags[@]}" || fail "the targets do not compile"

  # All of bulk-legs, without sanitizers.
  { lib_sources; printf '%s\n' "$source"/tests/fuzz/*.c; } \
    | grep -v -e '/fuzz-[^/]*$' -e '/mutate\.c$' \
    | xargs -P "$at_once" -I{} sh -c "$one" - {} "$tmp/plain-objects" \
      "$clang" "${plain[@]}" || fail "bulk-legs does not compile"
}

# The simulator, with the library over fibers.
compile_simulator ()
{
  local sim=$tmp/sim-objects

  mkdir "$sim"
  lib_sources | grep -v -e '/base/rt\.c$' -e '/array/change' -e '/array/new_file' \
    | xargs -P "$at_once" -I{} sh -c "$one" - {} "$sim" \
      "$clang" "${flags[@]}" -DMDBITMAP_SIM -fsanitize=fuzzer-no-link \
    || fail "the library does not compile for the simulator"
  printf '%s\n' "$source"/tests/sim/*.c "$source"/tests/fuzz/sim/*.c \
    | grep -v '/sim/sim\.c$' \
    | xargs -P "$at_once" -I{} sh -c "$one" - {} "$sim" \
      "$clang" "${flags[@]}" -DMDBITMAP_SIM \
    || fail "the simulator does not compile"
}

link_target ()
{
  local objects=() object

  if [ "$1" = schedule ]; then
    "$clang" -fsanitize=fuzzer,address,undefined "$tmp"/sim-objects/*.o \
      -o "$tmp/fuzz-$1" || fail "fuzz-$1 does not link"
    return
  fi
  for object in "$tmp"/objects/*.o; do
    case $object in
      */fuzz-fuzz-* | */fuzz-bulk-legs.o) ;; # a target
      *) objects+=("$object") ;;
    esac
  done
  "$clang" -fsanitize=fuzzer,address,undefined "${wrap[@]}" \
    "$tmp/objects/fuzz-fuzz-$1.o" "${objects[@]}" -pthread -o "$tmp/fuzz-$1" \
    || fail "fuzz-$1 does not link"
}

# The library's objects count for libFuzzer, which is not there: the program
# has its own main.
link_bulk ()
{
  local objects=() object

  "$clang" "${wrap[@]}" "$tmp"/plain-objects/*.o -pthread -o "$tmp/bulk-legs" \
    || fail "bulk-legs does not link"
  for object in "$tmp"/objects/*.o; do
    case $object in
      */fuzz-fuzz-* | */fuzz-mutate.o) ;;
      *) objects+=("$object") ;;
    esac
  done
  "$clang" -fsanitize=fuzzer-no-link,address,undefined "${wrap[@]}" \
    "${objects[@]}" -pthread -o "$tmp/bulk-legs-sanitized" \
    || fail "bulk-legs does not link with sanitizers"
}

# ---- running ----

run_prefix=()

# Addresses far apart confuse older sanitizers, and a chroot or a container
# may have no ptrace, which the leak detector needs.  Leaks of the library are
# counted by fuzz/heap.c all the same.
prepare_to_run ()
{
  local leaks=1

  if setarch -R true 2>/dev/null; then
    run_prefix=(setarch -R)
  fi
  echo 'int main (void) { return 0; }' > "$tmp/leaks.c"
  "$clang" -fsanitize=address "$tmp/leaks.c" -o "$tmp/leaks"
  ASAN_OPTIONS=detect_leaks=1 "${run_prefix[@]}" "$tmp/leaks" 2>/dev/null || {
    leaks=0
    echo "the leak detector cannot run here: only the library's leaks count"
  }
  # Legs come and go a thousand times a second: little is kept for long.
  ASAN_OPTIONS=detect_leaks=$leaks:quarantine_size_mb=4
  export ASAN_OPTIONS="$ASAN_OPTIONS:allocator_release_to_os_interval_ms=-1"
  export UBSAN_OPTIONS=print_stacktrace=1
}

# What differs between targets.  An array has threads, and while there are any
# libFuzzer believes that memory leaks, and runs the input again to see: there
# the leaks that heap.c counts must do.
arguments ()
{
  case $1 in
    superblock) echo -max_len=4105 ;; # a block, and the leg
    bad-blocks) echo -max_len=4162 ;; # a log, and what is rewritten
    bitmap-superblock) echo -max_len=2048 ;;
    bitmap-file) echo -max_len=512 ;;
    assembly) echo -max_len=256 -len_control=0 -detect_leaks=0 ;;
    schedule) echo -max_len=4096 -len_control=0 ;;
  esac
}

# run TARGET LOG ARGUMENT...: findings go to $tmp/found.
run ()
{
  local target=$1 log=$2

  shift 2
  # Nothing that these targets do comes near the limits.
  # shellcheck disable=SC2046
  "${run_prefix[@]}" "$tmp/fuzz-$target" -timeout=30 -rss_limit_mb=1024 \
    -malloc_limit_mb=256 $(arguments "$target") \
    -artifact_prefix="$tmp/found/$target-" "$@" \
    > "$log" 2>&1 </dev/null
}

replay_corpus ()
{
  local target=$1 corpus=$source/tests/fuzz/corpus/$1 n

  n=$(find "$corpus" -type f | wc -l)
  [ "$n" -gt 0 ] || fail "$corpus: no corpus"
  if ! run "$target" "$tmp/$target.log" -runs=0 "$corpus"; then
    touch "$tmp/$target.failed"
    return
  fi
  echo "fuzz-$target: replayed $n inputs"
}

# New inputs go to $tmp/new.
fuzz ()
{
  local target=$1 log=$tmp/$1.log

  mkdir -p "$tmp/new/$target"
  if ! run "$target" "$log" -max_total_time="$seconds" -print_final_stats=1 \
         "$tmp/new/$target" "$source/tests/fuzz/corpus/$target"; then
    touch "$tmp/$target.failed"
    return
  fi
  awk -v target="$target" '
    /inline 8-bit counters/ { all = substr ($5, 2) }
    / cov: / { for (i = 1; i < NF; ++i) if ($i == "cov:") edges = $(i + 1) }
    /stat::number_of_executed_units/ { runs = $2 }
    /stat::peak_rss_mb/ { memory = $2 }
    /^Done / { time = $5 }
    END { printf "fuzz-%s: %d executions in %d s, %d edges of %d in lib/, " \
                 "%d MiB\n", target, runs, time, edges, all, memory }' "$log"
}

# In pieces, a few at once; the sanitized ones have numbers of their own.
bulk ()
{
  local piece=$(((legs + at_once - 1) / at_once)) first=0 n log

  while [ "$first" -lt "$legs" ]; do
    n=$((legs - first < piece ? legs - first : piece))
    "$tmp/bulk-legs" --first "$first" --count "$n" \
      > "$tmp/bulk-$first.log" 2>&1 || touch "$tmp/bulk.failed" &
    first=$((first + n))
  done
  wait
  "${run_prefix[@]}" "$tmp/bulk-legs-sanitized" --seed 2 \
    --count "$sanitized_legs" > "$tmp/bulk-sanitized.log" 2>&1 \
    || touch "$tmp/bulk.failed"
  for log in "$tmp"/bulk-*.log; do
    tail -n 20 "$log"
  done
  [ ! -e "$tmp/bulk.failed" ] || fail "bulk-legs: see above"
}

# What was found, so that it can be had back from a log of the test alone.
tell ()
{
  local target=$1 file

  echo "---- fuzz-$target: end of its log"
  grep -v -e '^#[0-9]' -e 'NEW_FUNC' "$tmp/$target.log" | tail -n 60 || :
  for file in "$tmp/found/$target-"*; do
    [ -e "$file" ] || continue
    echo "---- fuzz-$target: $(basename "$file"), in hexadecimal"
    od -A x -t x1 -v "$file"
    echo "---- to run it again:"
    echo "base64 -d > input <<END"
    base64 "$file"
    echo "END"
    echo "tests/test-fuzz.sh replay $target input"
  done
}

# each FUNCTION TARGET...: for all targets, a few at once; then tell what
# failed.
each ()
{
  local function=$1 target bad=0

  shift
  for target in "$@"; do
    while [ "$(jobs -p -r | wc -l)" -ge "$at_once" ]; do
      wait -n || :
    done
    "$function" "$target" &
  done
  wait
  for target in "$@"; do
    [ -e "$tmp/$target.failed" ] || continue
    tell "$target" >&2
    bad=1
  done
  [ "$bad" -eq 0 ] || fail "$function: see above"
}

# ---- corpora ----

# Of all inputs few that together reach as much as possible: always the one
# that adds most, the smallest of these.  libFuzzer tells which input reaches
# what.  What the last few would add is left to the fuzzing.
choose ()
{
  "${PYTHON:-/usr/bin/python3}" - "$@" <<'PYTHON'
import os
import sys
control, most = sys.argv[1], int (sys.argv[2])
lines = open (control).read ().splitlines ()
names = lines[2:2 + int (lines[0])]
reached = {}
for line in lines[2 + len (names):]:
    if line.startswith ('FT '):
        number, *edges = map (int, line.split ()[1:])
        reached[names[number]] = set (edges)
whole = len (set ().union (*reached.values ()))
have = set ()
chosen = 0
while reached and chosen < most:
    best = max (reached, key=lambda name: (len (reached[name] - have),
                                           -os.path.getsize (name), name))
    if not reached[best] - have:
        break
    have |= reached.pop (best)
    chosen += 1
    print (best)
print ('%s: %d inputs reach %d of %d'
       % (os.path.basename (control), chosen, len (have), whole),
       file=sys.stderr)
PYTHON
}

merge ()
{
  local target=$1 corpus=$source/tests/fuzz/corpus/$1 file

  mkdir -p "$tmp/merged" "$tmp/kept/$target" "$corpus"
  run "$target" "$tmp/$target.log" -merge=1 -use_counters=0 \
    -merge_control_file="$tmp/merged/$target" \
    "$tmp/kept/$target" "$corpus" "$tmp/new/$target" \
    || { touch "$tmp/$target.failed"; return; }
  rm -f "$tmp/kept/$target"/*
  choose "$tmp/merged/$target" "$corpus_max" | while read -r file; do
    cp "$file" "$tmp/kept/$target/$(sha1sum < "$file" | cut -c 1-12)"
  done
  find "$corpus" -type f -delete
  cp "$tmp/kept/$target"/* "$corpus"
}

# ---- what is asked for ----

what=${1:-test}
[ $# -eq 0 ] || shift
case $what:$# in
  test:0 | merge:* | bulk:*) ;;
  replay:[01]) usage ;;
  replay:*) ;;
  *) usage ;;
esac

mkdir -p "$tmp/found"
check_clang
compile_all
case $what:${1:-} in
  test:* | merge:* | replay:schedule) compile_simulator ;;
esac
case $what in
  replay)
    link_target "$1"
    prepare_to_run
    target=$1
    shift
    "${run_prefix[@]}" "$tmp/fuzz-$target" "$@" || fail "fuzz-$target"
    exit 0
    ;;
  bulk)
    link_bulk
    prepare_to_run
    [ $# -gt 0 ] || { bulk; exit 0; }
    "${run_prefix[@]}" "$tmp/bulk-legs-sanitized" "$@" || fail "bulk-legs"
    exit 0
    ;;
  merge)
    # shellcheck disable=SC2086
    [ $# -gt 0 ] || set -- $targets
    for target in "$@"; do
      link_target "$target"
    done
    prepare_to_run
    each fuzz "$@"
    each merge "$@"
    exit 0
    ;;
esac

for target in $targets; do
  link_target "$target"
done
prepare_to_run
link_bulk
bulk
# shellcheck disable=SC2086
each replay_corpus $targets
# shellcheck disable=SC2086
each fuzz $targets
exit 0
