# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The kernel oracle: run a script under the real Linux md, raid1, dm and nbd
# drivers, in user-mode Linux.  This file is sourced by the tests beside it:
#
#   uml.sh              this library
#   inside.sh           the functions that scripts inside user-mode Linux use
#   server.sh           starts, stops and kills our server, outside and inside
#   legs.py             reads legs from outside: bits, poison, comparison
#   history.c           writes load with a ledger, and verifies it afterwards
#   insmod.c            inserts a kernel module
#   cells.sh            turns with many arrays per boot, outside and inside:
#                       NAME-cell.sh says what each is, NAME-inside.sh what
#                       the kernel does with it
#   test-uml.sh             the oracle itself: the kernel against the kernel
#   test-kernel-to-us.sh    mdadm creates, we serve, the kernel agrees
#   test-us-to-kernel.sh    we create, the kernel and mdadm agree
#   test-layout.sh          where we put things on legs of all sizes
#   test-kill-server.sh     we are killed, the kernel resyncs
#   test-kill-kernel.sh     the kernel is killed, we resync
#   test-alternate.sh       both in turns, in the middle of resyncs
#   test-lost-leg.sh        a leg fails here, and comes back there
#   test-matrix-*.sh        versions x creators x deaths x chunks (matrix.sh)
#   test-unusual.sh         what mdadm made with unusual options, or left half
#   test-split-brain.sh     each leg was run alone; one of them is chosen
#   test-nbd-client.sh      ext4 on our export, and the server is killed
#   bitmap-file.c           drives a file for a bitmap by hand
#   test-bitmap-file-systems.sh  such files on all kinds of file systems
#   test-bitmap-file-matrix.sh   the matrix of arrays with such a file
#   test-bitmap-file-kills.sh    we are killed, again and again
#   test-bitmap-file-errors.sh   the disk with the file fails
#   test-bitmap-file-volatile.sh power cuts; bitmap-log.py judges them
#   test-bitmap-file-coherence.sh  whoever reads it reads the live bits
#   test-block-legs.sh      block devices: O_EXCL, BLKZEROOUT
#   test-volatile-legs.sh   power cuts, with legs that lose their caches
#
# The kernel boots with the root of the host as its own root, on hostfs, so
# that each program and file of the host is there under the same name.  Images
# are given to it as block devices (/dev/ubdb, /dev/ubdc, ...).  It needs no
# privileges: inside, everybody is root, outside, only the files of the user
# who started it can be written.
#
# Killing it with SIGKILL is pulling the plug, except that what has reached
# an image stays there (it is in the page cache of the host).

set -E -e -u -o pipefail

PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH LC_ALL=C
unset LANGUAGE

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
abs_top_srcdir=${abs_top_srcdir:-$(cd "$here/../.." && pwd)}
abs_top_builddir=${abs_top_builddir:-$abs_top_srcdir}
export abs_top_srcdir abs_top_builddir

# The variables of the tests.
plugin=${plugin:-$abs_top_builddir/plugin/.libs/nbdkit-mdbitmap-plugin.so}
MDBITMAP=${MDBITMAP:-$abs_top_builddir/tools/mdbitmap}
history=${history:-$abs_top_builddir/tests/kernel/history}
insmod=${insmod:-$abs_top_builddir/tests/kernel/insmod}
legs=$abs_top_srcdir/tests/kernel/legs.py
export plugin MDBITMAP history insmod legs

self=$(basename "$0" .sh)
tmp=
uml_pids=()

# shellcheck source=tests/kernel/server.sh
. "$here/server.sh"

say ()
{
  printf '%s: %s\n' "$self" "$*"
}

die ()
{
  printf '%s: FAILED: %s\n' "$self" "$*" >&2
  exit 1
}

# expect WHAT EXPECTED FOUND
expect ()
{
  if [ "$2" != "$3" ]; then
    die "$1: expected '$2', found '$3'"
  fi
  say "$1: $3"
}

# at_least WHAT MINIMUM FOUND
at_least ()
{
  if [ "$3" -lt "$2" ]; then
    die "$1: expected at least $2, found $3"
  fi
  say "$1: $3 (at least $2)"
}

#----------------------------------------------------------------------
# The temporary directory, and the end.

uml_cleanup ()
{
  local status=$? pid
  trap - EXIT
  set +e
  for pid in "${uml_pids[@]}"; do
    uml_pull_plug "$pid"
  done
  server_kill
  if [ -n "$tmp" ]; then
    if [ "$status" -eq 0 ]; then
      rm -rf "$tmp"
    else
      echo "$self: exit status $status; files are kept in $tmp" >&2
    fi
  fi
  exit "$status"
}

# Call first: skip without the kernel, and make $tmp.
uml_begin ()
{
  if ! command -v linux.uml >/dev/null; then
    echo "$self: skipped: linux.uml is not installed (user-mode-linux)"
    exit 77
  fi
  if [ ! -x "$history" ] || [ ! -x "$insmod" ]; then
    die "the helpers are not built: make check builds them"
  fi
  tmp=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap-$self.XXXXXX")
  export tmp
  server_files=$tmp
  server_log=$tmp/server.log
  trap uml_cleanup EXIT
  trap 'echo "$self: FAILED: status $?: $BASH_COMMAND" >&2' ERR
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

#----------------------------------------------------------------------
# Booting.
#
#   uml_run NAME IMAGE... <<'BODY'      boot, run, wait: fails as BODY does
#   uml_start NAME IMAGE... <<'BODY'    the same in two steps, for those who
#   uml_wait NAME                         want to do something in between,
#   uml_kill NAME                         such as pulling the plug.
#
# BODY runs as bash -e -u -o pipefail with the functions of inside.sh and the
# exported variables of the caller.  What it prints is in $tmp/NAME.out, what
# the kernel says is in $tmp/NAME.console.  IMAGEs become /dev/ubdb and on;
# in BODY they are "${images[@]}".  An IMAGE `ro:FILE` cannot be written.
# After $uml_deadline seconds the script inside powers off, and if it cannot,
# uml_wait pulls the plug.

export uml_deadline=240
uml_pid=

uml_start ()
{
  local name=$1 image letters=bcdefghijklmnop devices=() args=() flag
  shift
  {
    echo '#!/bin/bash'
    export -p
    printf 'uml_name=%q\n' "$name"
    for image; do
      devices+=("/dev/ubd${letters:0:1}")
      letters=${letters:1}
    done
    printf 'images=(%s)\n' "${devices[*]}"
    printf '. %q\n' "$here/inside.sh"
    printf 'inside_body () {\n'
    cat
    printf '\n}\ninside_main\n'
  } > "$tmp/$name.init"
  chmod +x "$tmp/$name.init"
  rm -f "$tmp/$name.status"
  : > "$tmp/$name.out"

  letters=bcdefghijklmnop
  for image; do
    flag=
    if [ "${image#ro:}" != "$image" ]; then
      flag=r
      image=${image#ro:}
    fi
    args+=("ubd${letters:0:1}$flag=$image")
    letters=${letters:1}
  done

  # A session of its own, so that one signal to the group is felt by all of
  # its processes: the kernel, its I/O thread and the programs inside.
  mkdir -p "$tmp/uml"
  setsid \
    linux.uml mem="${uml_memory:-256M}" umid="$name" uml_dir="$tmp/uml/" \
    rootfstype=hostfs rootflags=/ rw init="$tmp/$name.init" "${args[@]}" \
    con=null con0=fd:0,fd:1 con1=null \
    < /dev/null > "$tmp/$name.console" 2>&1 &
  uml_pid=$!
  uml_pids+=("$uml_pid")
}

# Kill the group and wait until nobody is left who could still write.
uml_pull_plug ()
{
  kill -KILL -- "-$1" 2>/dev/null || :
  wait "$1" 2>/dev/null || :
  while pgrep -s "$1" >/dev/null; do   # zombies too, but not for long
    kill -KILL -- "-$1" 2>/dev/null || :
    sleep 0.05
  done
}

uml_kill ()
{
  [ -e "$tmp/$1.status" ] && die "$1 ended before the plug was pulled"
  uml_pull_plug "$uml_pid"
  uml_forget
  say "$1: killed"
}

uml_forget ()
{
  local pid left=()
  for pid in "${uml_pids[@]}"; do
    [ "$pid" = "$uml_pid" ] || left+=("$pid")
  done
  uml_pids=("${left[@]}")
}

uml_wait ()
{
  local name=$1 status tries=$((uml_deadline * 10 + 50))
  # Silently: kernel 6.12 powers off with an abort, which bash would tell.
  while kill -0 "$uml_pid" && [ "$tries" -gt 0 ]; do
    tries=$((tries - 1))
    sleep 0.1
  done 2>/dev/null
  uml_pull_plug "$uml_pid"
  uml_forget
  if [ ! -e "$tmp/$name.status" ]; then
    tail -n 30 "$tmp/$name.console" "$tmp/$name.out" >&2
    die "$name: no end within $uml_deadline s, or a crash"
  fi
  status=$(cat "$tmp/$name.status")
  if [ "$status" != 0 ]; then
    tail -n 40 "$tmp/$name.out" >&2
    die "$name: the script inside ended with status $status"
  fi
}

uml_run ()
{
  uml_start "$@"
  uml_wait "$1"
  sed "s/^/$self: $1: /" "$tmp/$1.out"
}

# uml_wait_for NAME REGEX: until a line of the body's output matches.
uml_wait_for ()
{
  local name=$1 tries=$((uml_deadline * 10))
  until grep -q -E -e "$2" "$tmp/$name.out"; do
    if [ -e "$tmp/$name.status" ] || ! kill -0 "$uml_pid" 2>/dev/null; then
      tail -n 30 "$tmp/$name.console" "$tmp/$name.out" >&2
      die "$name: ended without saying '$2'"
    fi
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "$name: did not say '$2' in time"
    sleep 0.1
  done
}

#----------------------------------------------------------------------
# What the tests of crashes have in common.

# An empty ledger for history, of one sector per thread and one more.
new_ledger ()
{
  rm -f "$1"
  truncate -s 64K "$1"
}

# kernel_resyncs LEG0 LEG1 LEDGER
#
# After a crash the kernel must resync exactly the marked chunks, lose
# nothing that was answered, and leave equal legs behind.
#
# It is done twice.  On a copy whose leg in slot 1 was poisoned in each
# chunk, so that afterwards exactly the chunks that were copied are equal,
# and whose data area is a dm device of its own, so that the kernel counts
# the sectors.  And on the legs themselves, for everything else; there slot 1
# is poisoned in the marked chunks, as if nothing of them had arrived.
kernel_resyncs ()
{
  local size chunks
  python3 "$legs" covered "$1" "$2"
  python3 "$legs" marked "$1" "$2" > "$tmp/marked"
  at_least "chunks marked" 1 "$(wc -l < "$tmp/marked")"
  marked_sectors=$(python3 "$legs" sectors "$1" < "$tmp/marked")
  data_offset=$(python3 "$legs" show "$1" data_offset)
  expect "data offset of slot 1" "$data_offset" \
         "$(python3 "$legs" show "$2" data_offset)"
  data_size=$(python3 "$legs" show "$1" data_size)
  size=$(python3 "$legs" show "$1" size)
  chunks=$(((size * 512 - 1) / $(python3 "$legs" show "$1" chunksize) + 1))
  at_least "chunks not marked" 1 $((chunks - $(wc -l < "$tmp/marked")))
  export marked_sectors data_offset data_size
  cp "$1" "$tmp/counted0"
  cp "$2" "$tmp/counted1"
  python3 "$legs" poison "$tmp/counted1"
  python3 "$legs" poison-these "$2" < "$tmp/marked"

  uml_run resync "$tmp/counted0" "$tmp/counted1" "$1" "$2" "$3" <<'BODY'
    split_leg leg0 "${images[0]}" "$data_offset" "$data_size"
    split_leg leg1 "${images[1]}" "$data_offset" "$data_size"
    leg0=$(data_device leg0)
    leg1=$(data_device leg1)
    mdadm --assemble --run /dev/md1 /dev/mapper/leg0 /dev/mapper/leg1
    expect "legs of the copy" UU "$(md_state md1)"
    md_settle md1
    expect "sectors written to slot 1" "$marked_sectors" \
           "$(sectors_written "$leg1")"
    expect "sectors written to slot 0" 0 "$(sectors_written "$leg0")"
    mdadm --stop /dev/md1
    dmesg | grep 'md1: not clean'
    dmesg | grep 'md: resync of RAID array md1'

    mdadm --assemble --run /dev/md0 "${images[2]}" "${images[3]}"
    md_settle
    expect "legs" UU "$(md_state)"
    "$history" verify /dev/md0 "${images[4]}"
    expect mismatch_cnt 0 "$(md_check)"
    mdadm --stop /dev/md0
BODY

  python3 "$legs" differ "$tmp/counted0" "$tmp/counted1" > "$tmp/differ"
  sort "$tmp/differ" "$tmp/marked" | uniq -c |
    grep -v '^ *1 ' && die "chunks marked and not copied, see above"
  expect "chunks copied and not marked" 0 \
         $((chunks - $(sort -u "$tmp/differ" "$tmp/marked" | wc -l)))
  python3 "$legs" same "$1" "$2"
}
