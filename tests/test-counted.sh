#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# What requests cost, counted: a sample of bench/counted.sh, with its limits.
# No time is measured.  Pages of the bitmap are counted with disks of which
# each operation takes 2 ms (bench/counted-disk.c), else it would depend on the
# machine how many writers share a page.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

counted=$tests/../bench/counted.py
load=$build/bench/load
replay=$build/bench/replay
disk=$build/bench/.libs/counted-disk.so
for built in "$load" "$replay" "$disk"; do
  [ -e "$built" ] || fail "$built was not built: run make check"
done
chunk=65536
size=$((255 << 20))
cd "$tmp"

counted ()
{
  "$python" "$counted" "$@"
}

# at_most WHAT LIMIT FOUND, whole or not
at_most ()
{
  echo "$1: $3 (at most $2)"
  [ "$(counted met "$3" "$2")" = met ] || fail "$1: $3, the limit is $2"
}

# All lists are the same in each run; these are 1000 writes in 897 chunks.
counted random w 1000 $size 4096 1 > random.list
counted sequential w $((512 * 16)) 4096 > sequential.list
distinct=$(counted distinct random.list $chunk)
[ "$distinct" -gt 800 ] || fail "the list writes to $distinct chunks only"

# new_array WORD...: a and b are its legs
new_array ()
{
  rm -f a b
  start_array made a b create=$size "$@"
  stop made
}

# begin WORD...: serve it, and tell of pages.  No bit is cleared, unless said.
begin ()
{
  flags='-t 32 -v -D mdbitmap.stats=1 -D mdbitmap.bitmap=1' \
    start_array s a b daemon-sleep=86400 "$@"
}

# load LIST [OPTION...]; pages are counted from here on.
load ()
{
  from=$(stat -c %s s.log)
  "$load" "${@:2}" "$(uri s)" "$1" > load.log 2>&1 || {
    cat load.log >&2
    fail "load $*"
  }
}

pages ()
{
  counted pages s.log "$from"
}

# ---- pages of the bitmap, for each leg ----

export COUNTED_DISK_USEC=2000
for limit in 1:1000 16:150 32:80; do
  depth=${limit%:*}
  new_array bitmap-chunk=$chunk
  slow=$disk
  [ "$depth" -gt 1 ] || slow= # nobody to share with
  preload=$slow begin
  load random.list --depth="$depth"
  found=$(pages)
  at_most "pages of 1000 random writes, depth $depth" "${limit#*:}" "$found"
  # The log tells of all of them but those of the header: else this counts
  # nothing.
  load random.list --depth="$depth"
  at_most "pages of the same again" 0 "$(pages)"
  stop s
  total=$(counted stats s.log bitmap_pages)
  [ "$found" -ge $((1000 / depth / 2)) ] && [ "$total" -ge "$found" ] \
    && [ "$total" -le $((found + 10)) ] \
    || fail "the log says $found pages, and $total in all"
done

new_array bitmap-chunk=$chunk
begin
load sequential.list
at_most "pages of a sequential stream over 512 chunks" 8 "$(pages)"

# ---- chunks that are marked at a crash ----

# What was marked without a write of the chunk is resynced in vain.
dirty ()
{
  "$tool" examine-bitmap "$1" | sed -n 's/.*Bitmap :.*, \([0-9]*\) dirty.*/\1/p'
}

# crashed WHAT MINIMUM LIMIT
crashed ()
{
  local most=0 n l

  crash s
  for l in a b; do
    n=$(dirty $l)
    [ "$n" -ge "$2" ] || fail "$1: $n chunks marked, $2 were written"
    [ "$n" -le "$most" ] || most=$n
  done
  at_most "$1: chunks marked" "$3" "$most"
  begin
  wait_log s 'resync done'
  stop s
  n=$(counted stats s.log resync_chunks)
  [ "$n" -ge "$2" ] || fail "$1: only $n chunks resynced"
  at_most "$1: chunks resynced" "$most" "$n"
}

crashed "sequential stream" 512 $((512 * 11 / 10 + 128))
new_array bitmap-chunk=$chunk
begin
load random.list --depth=32
crashed "random writes" "$distinct" $((distinct * 11 / 10))

# ---- bits that are cleared, and set again ----

# The second pass begins when md would have cleared all bits: two to three
# times daemon-sleep after the first, which is scaled here with all the rest.
trickle ()
{
  local sleep=$1 rate=$2 pause=$3

  new_array bitmap-chunk=$chunk
  begin daemon-sleep="$sleep"
  load random.list --rate="$rate" --depth=4
  at_most "pages of a trickle" 1000 "$(pages)"
  sleep "$pause"
  load random.list --rate="$rate" --depth=4
  at_most "pages of a trickle in the same chunks" 200 "$(pages)"
  stop s
}

if [ -n "$long" ]; then
  trickle 5 200 20
else
  trickle 1 1000 4
fi

# ---- a steady write, in the library ----

rm -f a b
new_array bitmap-chunk=$chunk
mv a on0
mv b on1
new_array bitmap=none
mv a none0
mv b none1
head -n 500 random.list > some

# calls_of TIMES NAME: or "others", which are all but io_getevents
calls_of ()
{
  awk -v name="$2" '
    $4 ~ /^[0-9]+$/ && $NF != "total" {
      n[$NF] += $4
      if ($NF != "io_getevents")
        n["others"] += $4
    }
    END { print n[name] + 0 }' "calls$1"
}

# The difference of runs with once and three times as many requests.  It is
# chance how often both legs have answered before anybody asks the kernel, but
# it is asked once at most.  A sanitizer's library has calls of its own.
if [ -z "${MDBITMAP_PRELOAD:-}" ] && command -v strace > /dev/null \
   && strace -o strace.log true; then
  for kind in none on; do
    for times in 1 3; do
      strace -f -c -o calls$times "$replay" --times=$times ${kind}0 ${kind}1 \
        some > replay.log 2>&1
    done
    n=$(($(calls_of 3 others) - $(calls_of 1 others)))
    [ "$n" -ge 900 ] || fail "$n system calls in 1000 writes"
    # An io_submit each; and threads of the library wake up now and then.
    at_most "bitmap $kind: other system calls of 1000 steady writes" 1100 "$n"
    at_most "bitmap $kind: io_getevents, for each io_submit once" \
            $(($(calls_of 3 io_submit) + 20)) "$(calls_of 3 io_getevents)"
  done
else
  echo "system calls are not counted"
fi

# A sanitizer's library cannot be run by valgrind.
if [ -z "${MDBITMAP_PRELOAD:-}" ] && command -v valgrind > /dev/null; then
  for kind in none on; do
    for times in 1 3; do
      valgrind --tool=callgrind --callgrind-out-file=profile$times \
        "$replay" --times=$times ${kind}0 ${kind}1 some > replay.log 2>&1
    done
    read -r instructions allocations < <(counted cost profile1 profile3 1000)
    echo "$kind: $instructions instructions, $allocations allocations"
    [ "$(counted met 500 "$instructions")" = met ] \
      || fail "a write of $instructions instructions"
    [ "$kind" = on ] || none=$instructions
  done
  at_most "instructions of a steady write" \
          "$(awk -v n="$none" 'BEGIN { print 1.03 * n }')" "$instructions"
else
  echo "instructions are not counted"
fi

# ---- memory ----

# 2 bytes for each chunk that was written to, and its bit: 600 MiB for 16 TiB.
# Chunks are many and cost nothing: each is made a hole.  The first 64 GiB are
# not counted, since threads begin there, and one arena of malloc wastes less by
# chance than many.
if [ -z "${MDBITMAP_PRELOAD:-}${MDBITMAP_VALGRIND_LOGS:-}" ]; then
  rm -f a b
  truncate -s 192G a b
  "$tool" create --assume-clean --bitmap-chunk=64K a b > create.log
  prefix='env MALLOC_ARENA_MAX=1' flags='-t 32' start_array s a b
  counted zero "$(uri s)" $((1 << 30)) 0 $((64 << 30))
  before=$(counted rss "$(cat s.pid)")
  counted zero "$(uri s)" $((1 << 30)) $((64 << 30)) $((192 << 30))
  grown=$(($(counted rss "$(cat s.pid)") - before))
  crash s
  [ "$grown" -ge 2048 ] || fail "$grown KiB for 2 Mi chunks: were they written?"
  at_most "KiB of memory for 128 GiB" $((600 * 1024 * 128 / 16384)) "$grown"
fi
exit 0
