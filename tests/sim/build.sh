#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# build.sh CC FOLDER [FLAG...]: the simulator, made by that compiler with these
# flags, as FOLDER/sim.  For whoever needs another one than make's: the other
# compiler, sanitizers, a mutant.  $lib may name another copy of lib/.

set -eu

cc=$1
out=$2
shift 2
top=${abs_top_srcdir:?}
lib=${lib:-$top/lib}
flags=(-std=gnu11 -O2 -g -Wall -Wextra -DMDBITMAP_SIM
       -I"${abs_top_builddir:?}" -I"$lib" -I"$top/tests" "$@")

mkdir -p "$out"
objects=()
pids=()
for source in "$lib"/*/*.c "$top"/tests/sim/*.c; do
  case $source in
    */base/rt.c | */device/aio*.c | */device/file*.c | */device/helpers.c \
      | */array/create*.c | */array/new_file.c | */array/change*.c)
      continue
      ;;
  esac
  object=$out/$(basename "$(dirname "$source")")-$(basename "$source" .c).o
  objects+=("$object")
  "$cc" "${flags[@]}" -c -o "$object" "$source" &
  pids+=($!)
  if [ "${#pids[@]}" -ge "${JOBS:-2}" ]; then
    wait "${pids[0]}"
    pids=("${pids[@]:1}")
  fi
done
for pid in "${pids[@]}"; do
  wait "$pid"
done
"$cc" "${flags[@]}" -o "$out/sim" "${objects[@]}"
