#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# What a write costs, counted, not timed: system calls, bitmap pages, memory.
# Needs fio with its nbd engine, and strace.
#
#   bench/counted.sh         from the top of a build tree
#
# Prints a table; the limits beside the figures are those of the project.

set -e -u -o pipefail
PATH=/usr/bin:/bin:/usr/sbin:/sbin

top=$(cd "$(dirname "$0")/.." && pwd)
plugin=${plugin:-$top/plugin/.libs/nbdkit-mdbitmap-plugin.so}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap-counted.XXXXXX")
server=

finish ()
{
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || :
  rm -rf "$tmp"
}
trap finish EXIT

# start SIZE [NBDKIT-OPTION...]: a new array with 64 KiB chunks
start ()
{
  local size=$1
  shift
  rm -f "$tmp"/leg* "$tmp/sock" "$tmp/pid"
  nbdkit -f -v -D mdbitmap.stats=1 -U "$tmp/sock" -P "$tmp/pid" "$@" \
    "$plugin" "$tmp/leg0" "$tmp/leg1" create="$size" bitmap-chunk=64K \
    2> "$tmp/log" &
  server=$!
  until [ -e "$tmp/pid" ]; do sleep 0.1; done
}

stop ()
{
  kill "$server"
  wait "$server"
  server=
}

# load FIO-OPTION...
load ()
{
  fio --name=load --ioengine=nbd --uri="nbd+unix:///?socket=$tmp/sock" \
    --bs=4k --randrepeat=0 --output-format=terse "$@" > "$tmp/fio" 2>&1 ||
    { cat "$tmp/fio" >&2; exit 1; }
}

# stat NAME: a counter that the server told when it stopped
stat ()
{
  sed -n "s/.*stats:.* $1=\([0-9]*\).*/\1/p" "$tmp/log"
}

row ()
{
  printf '%-58s %10s  %s\n' "$1" "$2" "$3"
}

row "what" "counted" "limit"

for depth in 1 16; do
  start 1G
  load --rw=randwrite --iodepth=$depth --size=1g --number_ios=1000
  stop
  row "bitmap pages per copy, 1000 random 4k writes, depth $depth" \
      "$(stat bitmap_pages)" \
      "$([ $depth = 1 ] && echo 1000 || echo 150)"
done

start 256M
load --rw=write --bs=64k --iodepth=16 --size=256m
strace -f -c -S name -e trace=io_submit,io_getevents -o "$tmp/strace" \
  -p "$server" 2> /dev/null &
tracer=$!
sleep 1
load --rw=randwrite --iodepth=1 --size=256m --number_ios=2000
kill -INT "$tracer"
wait "$tracer" || :
for call in io_submit io_getevents; do
  n=$(awk -v call="$call" '$NF == call { print $4 }' "$tmp/strace")
  row "$call per 1000 steady 4k writes" $((n / 2)) 1000
done
stop

start 256M -t 16
load --rw=randwrite --iodepth=16 --numjobs=4 --size=256m --number_ios=5000
row "resident memory, KiB, 4 connections of 16 requests" \
    "$(awk '/VmHWM/ { print $2 }' "/proc/$server/status")" 40960
stop
