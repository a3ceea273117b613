#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# What a request costs, counted, not timed: so it is nearly the same on every
# machine.  Lists of requests are random, but the same in each run.
#
#   bench/counted.sh [OPTION...] [RESULTS]   from the top of a build tree,
#                                            after make check TESTS=
#
#   --quick        two minutes instead of five: without the trickle, memory,
#                  and pages with the disk as it is
#   --only=NAME    one section: pages, trickle, crash, cost, calls or memory
#   --dir=DIR      where the legs are made, 3 GiB (default: $TMPDIR); it must
#                  be on a file system with O_DIRECT, files of 16 TiB less a
#                  page, and holes
#
# RESULTS is a folder (default: bench/results) for counted.txt and
# counted.json.  Needs nbdkit, python3 with the nbd module, and for some
# sections strace, valgrind and qemu-storage-daemon, without which their rows
# are left out.
#
# How many writers share a page of the bitmap depends on how long a page takes
# to write.  So pages are counted with legs of which each operation takes 2 ms
# (counted-disk.c), and once more with the disk as it is.  The limits beside
# the figures are those of the project.

set -e -u -o pipefail
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
top=${abs_top_builddir:-$(dirname "$here")}
plugin=${plugin:-$top/plugin/.libs/nbdkit-mdbitmap-plugin.so}
MDBITMAP=${MDBITMAP:-$top/tools/mdbitmap}
counted=$here/counted.py

quick=
only=
dir=${TMPDIR:-/tmp}
results=$here/results

usage ()
{
  sed -n '5,/^$/ s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

die ()
{
  echo "counted: $*" >&2
  exit 1
}

for word; do
  case $word in
    --quick) quick=1 ;;
    --only=*) only=${word#*=} ;;
    --dir=*) dir=${word#*=} ;;
    -*) usage ;;
    *) results=$word ;;
  esac
done

for program in nbdkit python3 "$MDBITMAP" "$plugin" "$top/bench/load" \
    "$top/bench/replay" "$top/bench/.libs/counted-disk.so"; do
  command -v "$program" > /dev/null || [ -e "$program" ] ||
    die "$program is missing (make check TESTS= builds ours)"
done

mkdir -p "$results"
results=$(cd "$results" && pwd)
tmp=$(mktemp -d "$dir/mdbitmap-counted.XXXXXX")
uri="nbd+unix:///?socket=$tmp/sock"
server=
pid=

finish ()
{
  local status=$?
  trap - EXIT
  # The server, and what it was started by.
  [ -z "$server" ] || kill -KILL "$pid" "$server" 2> /dev/null || :
  wait
  rm -rf "$tmp"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

counted ()
{
  python3 "$counted" "$@"
}

have ()
{
  command -v "$1" > /dev/null && return
  echo "without $1" | tee -a "$results/counted.txt"
  return 1
}

#----------------------------------------------------------------------
# The table.

section=
: > "$results/counted.txt"

# row WHAT COUNTED [LIMIT]
row ()
{
  local limit=${3:-} verdict=
  [ -z "$limit" ] || verdict=$(counted met "$2" "$limit")
  printf '%s\t%s\t%s\t%s\n' "$section" "$1" "$2" "$limit" >> "$tmp/rows"
  printf '%-62s %12s %12s  %s\n' "$1" "$2" "$limit" "$verdict" |
    tee -a "$results/counted.txt"
}

# begin NAME TITLE: a section; false if it is not wanted
begin ()
{
  [ -z "$only" ] || [ "$only" = "$1" ] || return 1
  section=$1
  printf '\n%-62s %12s %12s\n' "$2" counted limit |
    tee -a "$results/counted.txt"
}

# of A B: A / B
of ()
{
  awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f\n", a / b }'
}

#----------------------------------------------------------------------
# Servers.  $prefix is a command that runs the next one.

prefix=()

within ()
{
  local tries=$(($1 * 50))
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "waited in vain for: $*"
    sleep 0.02
  done
}

started ()
{
  [ ! -s "$tmp/pid" ] || return 0
  kill -0 "$server" 2> /dev/null || {
    cat "$tmp/log" >&2
    die "the server did not start"
  }
  return 1
}

# run COMMAND...: a server that writes $tmp/pid
run ()
{
  rm -f "$tmp/sock" "$tmp/pid"
  "${prefix[@]}" "$@" > "$tmp/log" 2>&1 &
  server=$!
  within 20 started
  pid=$(cat "$tmp/pid")
}

# start WORD...: ours on the two legs.  No bit is cleared, unless said.
start ()
{
  run nbdkit -f -t 32 -U "$tmp/sock" -P "$tmp/pid" "${flags[@]}" "$plugin" \
    "$tmp/leg0" "$tmp/leg1" daemon-sleep=86400 "$@"
}

# The same with what it tells of pages.
telling=(-v -D mdbitmap.stats=1 -D mdbitmap.bitmap=1)
flags=()

start_quorum ()
{
  local file=driver=file,cache.direct=on,aio=native quorum=driver=quorum
  quorum+=,node-name=q,vote-threshold=1,read-pattern=fifo
  run qemu-storage-daemon \
    --blockdev "$file,node-name=leg0,filename=$tmp/leg0" \
    --blockdev "$file,node-name=leg1,filename=$tmp/leg1" \
    --blockdev "$quorum,children.0=leg0,children.1=leg1" \
    --nbd-server "addr.type=unix,addr.path=$tmp/sock" \
    --export nbd,id=e,node-name=q,name=,writable=on --pidfile "$tmp/pid"
}

stop ()
{
  kill "$pid"
  wait "$server" || { tail "$tmp/log" >&2; die "the server failed"; }
  server=
}

crash ()
{
  kill -KILL "$pid"
  wait "$server" 2> /dev/null || :
  server=
}

# make SIZE [OPTION...]: new legs.  Their blocks are real, so that none of a
# first write is the file system's.
make ()
{
  local size=$1 i
  shift
  for i in 0 1; do
    rm -f "$tmp/leg$i"
    fallocate -l "$((size + (16 << 20)))" "$tmp/leg$i"
  done
  create --size="$size" "$@"
}

create ()
{
  "$MDBITMAP" create --assume-clean "$@" "$tmp/leg0" "$tmp/leg1" \
    > "$tmp/create" 2>&1 || { cat "$tmp/create" >&2; die "create failed"; }
}

# load LIST [OPTION...]
load ()
{
  "$top/bench/load" "${@:2}" "$uri" "$1" > "$tmp/load" ||
    { tail "$tmp/log" >&2; die "load failed"; }
}

mark ()
{
  from=$(stat -c %s "$tmp/log")
}

# Pages since the mark.
pages ()
{
  counted pages "$tmp/log" "$from"
}

#----------------------------------------------------------------------

chunk=65536
size=$((511 << 20))
counted random w 1000 $size 4096 > "$tmp/random"
counted sequential w $((512 * 16)) 4096 > "$tmp/sequential"
slow=(env COUNTED_DISK_USEC=2000
      LD_PRELOAD="$top/bench/.libs/counted-disk.so")

# first_touch TITLE
first_touch ()
{
  local depth limit
  for depth in 1 16 32; do
    make $size --bitmap-chunk=$chunk
    flags=("${telling[@]}")
    start
    mark
    load "$tmp/random" --depth=$depth
    case $depth in
      1) limit=1000 ;;
      16) limit=150 ;;
      32) limit=80 ;;
    esac
    [ "$(pages)" -gt 0 ] || die "the log does not tell of pages"
    row "1000 random 4k writes, bits clear, depth $depth, $1" "$(pages)" $limit
    mark
    load "$tmp/random" --depth=$depth
    row "the same again, bits set" "$(pages)" 0
    stop
  done
}

if begin pages "bitmap pages per leg, chunks of 64 KiB"; then
  prefix=("${slow[@]}")
  first_touch "2 ms an operation"
  make $size --bitmap-chunk=$chunk
  start
  mark
  prefix=()
  load "$tmp/sequential"
  row "sequential 4k writes over 512 chunks, depth 1" "$(pages)" 8
  stop
  [ -n "$quick" ] || first_touch "this disk"
fi

if [ -z "$quick" ] &&
    begin trickle "bitmap pages per leg, 200 random writes a second"; then
  make $size --bitmap-chunk=$chunk
  flags=("${telling[@]}")
  start daemon-sleep=5
  for limit in '' 200; do
    mark
    load "$tmp/random" --rate=200 --depth=4
    if [ -z "$limit" ]; then
      row "the first 1000" "$(pages)"
    else
      row "the second 1000, in the same chunks" "$(pages)" $limit
    fi
    mark
    sleep 20
    row "the 20 s after them" "$(pages)"
  done
  stop
fi

# crashed WHAT LIST EXTRA: marked chunks, and what is resynced
crashed ()
{
  local distinct i marked most=0
  crash
  distinct=$(counted distinct "$2" $chunk)
  for i in 0 1; do
    marked=$("$MDBITMAP" examine-bitmap "$tmp/leg$i" |
      sed -n 's/.*Bitmap : .*bits.*, \([0-9]*\) dirty.*/\1/p')
    [ "$marked" -le "$most" ] || most=$marked
  done
  row "$1: chunks marked, $distinct written" "$most" \
      $((distinct * 11 / 10 + $3))
  flags=("${telling[@]}")
  start
  within 120 grep -q 'resync done' "$tmp/log"
  stop
  # Legs are compared first, and what differs is written.
  row "$1: bytes resynced" \
      $(($(counted stats "$tmp/log" resync_chunks) * chunk)) $((most * chunk))
  row "$1: bytes of them written" \
      "$(counted stats "$tmp/log" resync_bytes)" $((most * chunk))
}

if begin crash "after kill -9, chunks of 64 KiB"; then
  for depth in 1 32; do
    make $size --bitmap-chunk=$chunk
    flags=()
    start daemon-sleep=5
    load "$tmp/random" --depth=$depth
    crashed "1000 random 4k writes, depth $depth" "$tmp/random" 0
  done
  make $size --bitmap-chunk=$chunk
  flags=()
  start daemon-sleep=5
  load "$tmp/sequential"
  crashed "sequential over 512 chunks, depth 1" "$tmp/sequential" 128
fi

#----------------------------------------------------------------------
# The library alone.

legs=("$tmp/leg0" "$tmp/leg1")

# cost LIST: of a request of the list, in $instructions and $allocations
cost ()
{
  local times
  for times in 1 3; do
    valgrind --tool=callgrind --callgrind-out-file="$tmp/profile$times" \
      "$top/bench/replay" --times=$times "${legs[@]}" "$1" \
      > "$tmp/valgrind" 2>&1 || { cat "$tmp/valgrind" >&2; die "replay"; }
  done
  read -r instructions allocations \
    < <(counted cost "$tmp/profile1" "$tmp/profile3" 2000)
}

# calls LIST: system calls of a request
library_calls ()
{
  local times
  for times in 1 3; do
    strace -f -c -o "$tmp/strace$times" "$top/bench/replay" --times=$times \
      "${legs[@]}" "$1" > /dev/null 2>&1
  done
  of $(($(counted calls "$tmp/strace3") - $(counted calls "$tmp/strace1"))) \
     2000
}

what_costs=("write 4k" "read 4k" "write 64k")
lists=("$tmp/write4k" "$tmp/read4k" "$tmp/write64k")

# For each list, and in the order of the modes.
cost_of_mode ()
{
  local i mode=$1
  for i in 0 1 2; do
    if have valgrind; then
      cost "${lists[i]}"
      row "${what_costs[i]}, bitmap $mode: instructions" "$instructions" \
          "${limits[i]:-}"
      row "${what_costs[i]}, bitmap $mode: allocations" "$allocations"
      found[i]=$instructions
    fi
    if have strace; then
      calls=$(library_calls "${lists[i]}")
      row "${what_costs[i]}, bitmap $mode: system calls" "$calls" \
          "${call_limits[i]:-}"
      found_calls[i]=$calls
    fi
  done
}

if begin cost "a steady request, in the library"; then
  counted random w 1000 $size 4096 2 > "$tmp/write4k"
  counted random r 1000 $size 4096 2 > "$tmp/read4k"
  counted random w 1000 $size 65536 2 > "$tmp/write64k"
  found=() found_calls=() limits=() call_limits=()
  make $size --bitmap=none
  cost_of_mode none
  # What is ours to keep: a steady 4k write, with a bitmap and without.
  [ ${#found[@]} -eq 0 ] ||
    limits=("$(awk -v n="${found[0]}" 'BEGIN { printf "%.1f", 1.03 * n }')")
  [ ${#found_calls[@]} -eq 0 ] || call_limits=("${found_calls[0]}")
  make $size --bitmap-chunk=$chunk
  cost_of_mode internal
fi

#----------------------------------------------------------------------
# Servers: 4 KiB writes, steady.

# server_calls SERVER DEPTH LIST REQUESTS
server_calls ()
{
  local tracer
  "$1"
  load "$3" --depth="$2"
  strace -f -c -o "$tmp/strace" -p "$pid" 2> "$tmp/attached" &
  tracer=$!
  within 10 grep -q -s attached "$tmp/attached"
  load "$3" --depth="$2"
  kill -INT "$tracer"
  wait "$tracer" || :
  stop
  of "$(counted calls "$tmp/strace")" "$4"
}

# A server's switches are known when it has ended: with the list once, and
# with the list three times.
server_switches ()
{
  local times i a=() b=()
  for times in 1 3; do
    prefix=(python3 "$counted" usage "$tmp/usage$times")
    "$1"
    prefix=()
    for ((i = 0; i < times; i++)); do
      load "$3" --depth="$2"
    done
    stop
  done
  read -r -a a < "$tmp/usage1"
  read -r -a b < "$tmp/usage3"
  voluntary=$(of $((b[0] - a[0])) $((2 * $4)))
  involuntary=$(of $((b[1] - a[1])) $((2 * $4)))
}

if begin calls "a steady 4k write, served by -t 32"; then
  n=4000
  counted random w $n $((64 << 20)) 4096 3 > "$tmp/steady"
  flags=()
  servers=("ours, bitmap none" "ours, bitmap internal")
  ! have qemu-storage-daemon || servers=("qemu quorum" "${servers[@]}")
  none_calls=
  for kind in "${servers[@]}"; do
    for depth in 1 16 32; do
      limit=
      case $kind in
        *none) make $size --bitmap=none; command=start ;;
        *internal)
          make $size --bitmap-chunk=$chunk
          command=start
          # At depth it is chance how often threads meet at a lock.
          [ $depth != 1 ] || [ -z "$none_calls" ] ||
            limit=$(awk -v n="$none_calls" 'BEGIN { print 1.01 * n }')
          ;;
        *) make $size; command=start_quorum ;;
      esac
      if have strace; then
        calls=$(server_calls $command $depth "$tmp/steady" $n)
        [[ $kind != *none || $depth != 1 ]] || none_calls=$calls
        row "$kind, depth $depth: system calls" "$calls" "$limit"
      fi
      server_switches $command $depth "$tmp/steady" $n
      row "$kind, depth $depth: switches, voluntary" "$voluntary"
      row "$kind, depth $depth: switches, involuntary" "$involuntary"
    done
  done
fi

#----------------------------------------------------------------------

# sparse SIZE CHUNK: no block is real
sparse ()
{
  local i
  for i in 0 1; do
    rm -f "$tmp/leg$i"
    truncate -s "$1" "$tmp/leg$i"
  done
  create --bitmap-chunk="$2"
}

# Of the last server, once a client has been there.
resident ()
{
  counted random w 100 4096 4096 > "$tmp/one"
  load "$tmp/one" --depth=32
  counted rss "$pid"
}

if [ -z "$quick" ] && begin memory "memory, MiB"; then
  flags=()
  run nbdkit -f -t 32 -U "$tmp/sock" -P "$tmp/pid" null 1T
  null=$(resident)
  stop
  sparse $((16 * 1024 ** 4 - 4096)) 64M
  start
  row "16 TiB, chunks of 64 MiB, more than nbdkit null" \
      "$(of $(($(resident) - null)) 1024)" 5
  stop
  # The rest of 16 TiB would cost as much as the second TiB: for each chunk.
  sparse $((1152 * 1024 ** 3)) 64K
  start
  resident > "$tmp/rss"
  counted zero "$uri" $((1 << 30)) 0 $((1 << 37))
  before=$(counted rss "$pid")
  counted zero "$uri" $((1 << 30)) $((1 << 37)) $((9 << 37))
  after=$(counted rss "$pid")
  row "another TiB, each chunk of 64 KiB touched" "$(of $((after - before)) 1024)"
  row "16 TiB of such, and what 128 GiB took" \
      "$(of $((before + 16 * (after - before))) 1024)" 600
  crash
fi

counted json "$tmp/rows" > "$results/counted.json"
