#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# What it matters where the bitmap is: on the legs (internal), in a file that
# is written in one of three ways (extent, direct, pagecache), or nowhere
# (none).  4 KiB writes, each to another chunk of 64 KiB, first when all bits
# are clear (first touch), and then the same writes again (steady).
#
#   bench/bitmap-places.sh [OPTION...] [RESULTS]   from the top of a build tree
#
#   --quick           under a minute: one round, few depths
#   --legs=KIND       slow: each write of a leg takes 1 ms (nbdkit's delay
#                     filter, mounted as a file by nbdfuse); disk: no delay;
#                     both (the default)
#   --depths=N,N...   how many requests in flight (default: 1,4,16,64)
#   --rounds=N        how often each is measured (default: 3)
#   --dir=DIR         where the legs are made, 2 GiB (default: $TMPDIR)
#   --bitmap-dir=DIR  a folder on a fast device for the bitmap file (default:
#                     a file system of ext4 in RAM, which needs root)
#
# RESULTS is a folder (default: bench/results) for table.txt, results.json and,
# if gnuplot is installed, plot.svg.  Needs fio with its nbd engine, nbdkit,
# strace and python3; slow legs need nbdfuse.
#
# Times depend on the machine and on what else it does.  So the modes take
# turns, over the same legs and with the same writes, and each is compared with
# internal of the same round: the table has the median of these ratios, and
# the least and the greatest; of writes per second, and of the median latency,
# which others disturb less.  What they used of the processors in between is
# printed too.  As root, all of this has a better priority than they.

set -e -u -o pipefail
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
top=${abs_top_builddir:-$(dirname "$here")}
plugin=${plugin:-$top/plugin/.libs/nbdkit-mdbitmap-plugin.so}
MDBITMAP=${MDBITMAP:-$top/tools/mdbitmap}
report=$here/bitmap-places.py

modes=(internal extent direct pagecache none)
depths=(1 4 16 64)
rounds=3
per_depth=500 # writes for each request in flight, so long as there are chunks
most=8000     # they go to every other chunk, so of 1 GiB
counted=1000  # writes that are counted
counted_depths=(1 16 64)
delay=1ms
kinds=(slow disk)
dir=${TMPDIR:-/tmp}
bitmap_dir=
results=$here/results

usage ()
{
  sed -n '5,/^$/ s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

die ()
{
  echo "bitmap-places: $*" >&2
  exit 1
}

for word; do
  case $word in
    --quick)
      rounds=1 depths=(1 16) per_depth=250 most=2000
      counted=250 counted_depths=(1 16)
      ;;
    --legs=both) ;;
    --legs=slow | --legs=disk) kinds=("${word#*=}") ;;
    --depths=*) IFS=, read -r -a depths <<< "${word#*=}" ;;
    --rounds=*) rounds=${word#*=} ;;
    --dir=*) dir=${word#*=} ;;
    --bitmap-dir=*) bitmap_dir=${word#*=} ;;
    -*) usage ;;
    *) results=$word ;;
  esac
done

for program in fio nbdkit strace python3 "$MDBITMAP" "$plugin"; do
  command -v "$program" > /dev/null || [ -e "$program" ] ||
    die "$program is missing"
done
# Only a shared library of nbdkit's is not executable.
[[ ! " ${kinds[*]} " = *" slow "* ]] || command -v nbdfuse > /dev/null ||
  die "slow legs need nbdfuse (libnbd-bin); or give --legs=disk"

renice -n -15 $$ > /dev/null 2>&1 || :
mkdir -p "$results"
results=$(cd "$results" && pwd)
tmp=$(mktemp -d "$dir/mdbitmap-places.XXXXXX")
file=
ram=
ram_number=
ram_file=
server=
helpers=()

finish ()
{
  local status=$? i
  trap - EXIT
  set +e
  [ -z "$server" ] || kill -KILL "$server" 2> /dev/null
  for i in 0 1; do
    umount -l "$tmp/slow$i" 2> /dev/null ||
      fusermount3 -u -z "$tmp/slow$i" 2> /dev/null
  done
  [ ${#helpers[@]} -eq 0 ] || kill "${helpers[@]}" 2> /dev/null
  wait 2> /dev/null
  [ -z "$file" ] || remove_file
  umount "$tmp/ram" 2> /dev/null
  free_ram
  rm -rf "$tmp"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# within SECONDS COMMAND...: until it succeeds
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

#----------------------------------------------------------------------
# What is measured.

# Real blocks: else the first write of each would be one of the file system.
make_legs ()
{
  local i
  for i in 0 1; do
    dd if=/dev/zero of="$tmp/leg$i" bs=1M count=$((most / 8 + 16)) \
      conv=fsync 2> /dev/null
  done
}

# The legs again, as files whose writes take longer.  A flush takes no longer,
# which is to internal's advantage.  nbdfuse does about ten requests at a time.
make_slow_legs ()
{
  local i fuse
  for i in 0 1; do
    mkdir "$tmp/slow$i"
    nbdkit -f -t 64 -U "$tmp/slow$i.sock" -P "$tmp/slow$i.pid" \
      --filter=delay file "$tmp/leg$i" delay-write="$delay" \
      2> "$tmp/slow$i.log" &
    helpers+=($!)
    within 10 test -e "$tmp/slow$i.pid"
    nbdfuse -C 16 "$tmp/slow$i/leg" --unix "$tmp/slow$i.sock" \
      2>> "$tmp/slow$i.log" &
    helpers+=($!)
    within 10 test -e "$tmp/slow$i/leg"
  done
  # Or the kernel would let no more than 12 of our requests through at once.
  fuse=$tmp/connections
  mkdir "$fuse"
  if mount -t fusectl none "$fuse" 2> /dev/null; then
    for i in 0 1; do
      echo 256 > "$fuse/$(stat -c %d "$tmp/slow$i")/max_background"
    done
    umount "$fuse"
  fi
}

# A disk in RAM: zram, else a loop device on a file in RAM, whose writes go
# through a thread of the kernel.
make_ram ()
{
  local zram=/sys/class/zram-control
  if read -r ram_number < $zram/hot_add && [ -n "$ram_number" ]; then
    ram=/dev/zram$ram_number
    echo 64M > "/sys/block/zram$ram_number/disksize"
    within 10 test -b "$ram"
    return
  fi
  ram_file=$(mktemp /dev/shm/mdbitmap-places.XXXXXX)
  truncate -s 64M "$ram_file"
  ram=$(losetup -f --show "$ram_file")
} 2> /dev/null

free_ram ()
{
  if [ -n "$ram_number" ]; then
    echo 1 > "/sys/block/zram$ram_number/reset"
    echo "$ram_number" > /sys/class/zram-control/hot_remove
  elif [ -n "$ram_file" ]; then
    losetup -d "$ram"
    rm -f "$ram_file"
  fi
} 2> /dev/null

# A file system there that direct and extent accept.
make_bitmap_dir ()
{
  [ -z "$bitmap_dir" ] || return 0
  mkdir "$tmp/ram"
  if ! make_ram || ! mkfs.ext4 -q -E nodiscard "$ram" ||
      ! mount "$ram" "$tmp/ram"; then
    die "cannot mount a file system in RAM (root?): give --bitmap-dir=DIR"
  fi
  bitmap_dir=$tmp/ram
}

# extent's pin survives kill -9.
remove_file ()
{
  chattr -i "$file" 2> /dev/null || :
  rm -f "$file"
}

# create MODE: a new array on the same legs, all bits clear
create ()
{
  local place=$1
  local chunk=(--bitmap-chunk=64K)
  bitmap=()
  case $place in
    extent | direct | pagecache)
      bitmap=(bitmap="$file" bitmap-io="$place")
      place=$file
      remove_file
      ;;
    none) chunk=() ;;
  esac
  # The first megabytes have what the last array left.
  "$MDBITMAP" create --force --assume-clean --bitmap="$place" "${chunk[@]}" \
    "$tmp/leg0" "$tmp/leg1" > "$tmp/create.log" 2>&1 || {
      cat "$tmp/create.log" >&2
      die "$1: cannot create the array"
    }
}

# start KIND DEPTH [NBDKIT-OPTION...]: serve it.  No bit is cleared meanwhile.
start ()
{
  local legs=("$tmp/leg0" "$tmp/leg1") threads=16
  [ "$1" = disk ] || legs=("$tmp/slow0/leg" "$tmp/slow1/leg")
  [ "$2" -le "$threads" ] || threads=$2
  shift 2
  rm -f "$tmp/sock" "$tmp/pid"
  nbdkit -f -t "$threads" -U "$tmp/sock" -P "$tmp/pid" "$@" "$plugin" \
    "${legs[@]}" "${bitmap[@]}" daemon-sleep=86400 > "$tmp/log" 2>&1 &
  server=$!
  within 10 started
}

started ()
{
  [ ! -e "$tmp/pid" ] || return 0
  kill -0 "$server" 2> /dev/null || {
    cat "$tmp/log" >&2
    die "the server did not start"
  }
  return 1
}

# Some file systems are not for each mode, nor is each user.
leave_out ()
{
  local mode left=()
  for mode in "${modes[@]}"; do
    if (create "$mode" && start disk 1 && drop) 2> "$tmp/refused"; then
      left+=("$mode")
    else
      echo "bitmap-places: without $mode:" >&2
      cat "$tmp/refused" >&2
    fi
  done
  [ "${left[0]:-}" = internal ] || die "not even internal works"
  modes=("${left[@]}")
}

# The array is not needed any more.
drop ()
{
  kill -KILL "$server"
  wait "$server" 2> /dev/null || :
  server=
}

stop ()
{
  kill "$server"
  wait "$server" || { cat "$tmp/log" >&2; die "the server failed"; }
  server=
}

# load DEPTH N: N writes, each to another chunk; figures in $tmp/fio.json.
# (Strided zones are the one way in which fio never writes to a chunk twice and
# yet waits for the last requests before it hangs up.)
load ()
{
  rm -f "$tmp/fio.json"
  fio --name=load --ioengine=nbd --uri="nbd+unix:///?socket=$tmp/sock" \
    --rw=randwrite --bs=4k --iodepth="$1" --number_ios="$2" \
    --zonemode=strided --zonesize=4k --zoneskip=124k \
    --output="$tmp/fio.json" --output-format=json > "$tmp/fio.log" 2>&1 || {
      cat "$tmp/fio.log" "$tmp/fio.json" "$tmp/log" >&2
      die "fio failed"
    }
}

#----------------------------------------------------------------------
# Times.

# What others use of the processors, in per cent of all: nothing of ours runs.
foreign ()
{
  python3 "$report" foreign >> "$tmp/foreign"
}

measure ()
{
  local kind=$1 depth=$2 round=$3 n mode phase
  n=$((per_depth * depth))
  [ "$n" -le "$most" ] || n=$most
  foreign
  for mode in "${modes[@]}"; do
    create "$mode"
    start "$kind" "$depth"
    for phase in first steady; do
      load "$depth" "$n"
      python3 "$report" run "$tmp/fio.json" "$kind" "$depth" "$round" \
        "$mode" $phase >> "$tmp/runs"
    done
    drop
  done
}

#----------------------------------------------------------------------
# What is counted.

# counter NAME: one that the server told when it stopped
counter ()
{
  sed -n "s/.*stats:.* $1=\([0-9]*\).*/\1/p" "$tmp/log"
}

# Rounds and pages of N + 1 first touches, in $rounds_now and $pages_now.
count_pages_of ()
{
  create "$1"
  start "${kinds[0]}" "$2" -v -D mdbitmap.stats=1
  load "$2" $(($3 + 1))
  stop
  rounds_now=$(counter bitmap_rounds)
  pages_now=$(counter bitmap_pages)
}

# The same at each depth, without those of the first write and of the stop.
count_pages ()
{
  local mode=$1 depth rounds_then pages_then
  count_pages_of "$mode" 1 0
  rounds_then=$rounds_now
  pages_then=$pages_now
  for depth in "${counted_depths[@]}"; do
    count_pages_of "$mode" "$depth" "$counted"
    echo "pages $mode $depth $counted $((rounds_now - rounds_then))" \
      $((pages_now - pages_then)) >> "$tmp/counted"
  done
}

calls=io_submit,io_getevents,pwritev2,fdatasync,fsync

# System calls of writes, one at a time.
count_calls ()
{
  local mode=$1 phase tracer
  create "$mode"
  start disk 1
  for phase in first steady; do
    strace -f -c -e trace="$calls" -o "$tmp/strace" -p "$server" \
      2> "$tmp/strace.log" &
    tracer=$!
    within 10 grep -q -s attached "$tmp/strace.log"
    load 1 "$counted"
    kill -INT "$tracer"
    wait "$tracer" || :
    awk -v what="calls $mode $phase $counted" '
      $NF ~ /^(io_|pwritev2|fdatasync|fsync)/ { print what, $NF, $4 }' \
      "$tmp/strace" >> "$tmp/counted"
  done
  drop
}

#----------------------------------------------------------------------

make_legs
make_bitmap_dir
file=$bitmap_dir/mdbitmap-places.bitmap
leave_out
[[ ! " ${kinds[*]} " = *" slow "* ]] || make_slow_legs
: > "$tmp/foreign"
: > "$tmp/runs"
: > "$tmp/counted"

# Rounds are the outer loop, so that what is slow for a while is so for all.
for ((round = 1; round <= rounds; round++)); do
  for kind in "${kinds[@]}"; do
    for depth in "${depths[@]}"; do
      measure "$kind" "$depth" "$round"
    done
  done
done
for mode in "${modes[@]}"; do
  count_pages "$mode"
  count_calls "$mode"
done

programs="$(nbdkit --version), $(fio --version)"
python3 "$report" report "$tmp" "$results" "$delay" \
  "$programs, bitmap file on ${ram:-$bitmap_dir}" | tee "$results/table.txt"
if [ -e "$results/plot.gnuplot" ]; then
  if command -v gnuplot > /dev/null; then
    (cd "$results" && gnuplot plot.gnuplot)
  fi
  rm -f "$results/plot.gnuplot"
fi
