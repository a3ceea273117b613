# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The turns with the arrays whose bitmap is in a file, sourced inside user-mode
# Linux; test-bitmap-file-matrix.sh tells what a cell is.  Our server runs here
# as well, since the file must lie on a real file system.

# Most variables come from the script that uml.sh writes, or from cell_of;
# arguments of verify and load are options.
# shellcheck disable=SC2119,SC2120,SC2154

# shellcheck source=tests/kernel/cells-inside.sh
. "$abs_top_srcdir/tests/kernel/cells-inside.sh"
# shellcheck source=tests/kernel/bitmap-matrix-cell.sh
. "$abs_top_srcdir/tests/kernel/bitmap-matrix-cell.sh"

mount_bitmaps ()
{
  load_module loop
  mkdir -p $mountpoint
  mount "${images[0]}" $mountpoint
}

# Also as a check that nothing is left behind that holds it.
umount_bitmaps ()
{
  umount $mountpoint
}

#----------------------------------------------------------------------
# Whoever runs: the kernel as $md, or we, at $target.

md=/dev/md0

# start WHO FILE: FILE may be empty, which is to forget it.
start ()
{
  if [ "$1" = us ]; then
    target_of_us "$2"
  elif [ -n "$2" ]; then
    md --assemble --run $md --bitmap="$2" "$a" "$b"
    grep -q "file: $2" /proc/mdstat || die "$cell: the kernel does not use $2"
    target=$md
  else
    md --assemble --run $md "$a" "$b"
    target=$md
  fi
  if [ "$1" = kernel ]; then
    expect "$cell: legs" UU "$(md_state ${md#/dev/})"
  fi
}

target_of_us ()
{
  local options=(bitmap=none)
  [ -z "$1" ] || options=(bitmap="$1" bitmap-io="$io")
  trap server_kill EXIT
  server_start "${options[@]}" "$a" "$b"
  target=$uri
}

stop_array ()
{
  if [ "$1" = us ]; then
    server_stop
  else
    md --stop $md
  fi
}

first_load ()
{
  # shellcheck disable=SC2086
  "$history" $load_options --more="$writes" write "$target" "$ledger" \
    > /run/load || { cat /run/load; die "$cell: the first load failed"; }
}

load ()
{
  "$history" --continue "$@" --more="$writes" write "$target" "$ledger" \
    > /run/load || { cat /run/load; die "$cell: the load failed"; }
}

verify ()
{
  "$history" "$@" verify "$target" "$ledger" > /run/verify ||
    { cat /run/verify; die "$cell: data are wrong"; }
}

#----------------------------------------------------------------------
# The first turn.

# By whom it should be made; all chunks clean.
make_array ()
{
  if [ "$creator" = kernel ]; then
    md --create $md --level=1 --raid-devices=2 --metadata="$version" \
       --assume-clean --bitmap="$bitmap" --bitmap-chunk=64K \
       --size="$size_kib" --run "$a" "$b"
    # A new bitmap has all bits set; stopping clears them.
    md --stop $md
  else
    "$MDBITMAP" create --metadata="$version" --assume-clean \
      --bitmap="$bitmap" --bitmap-chunk=64K --size="${size_kib}K" \
      "$a" "$b" > /run/create 2>&1 || { cat /run/create; return 1; }
  fi
  sync
}

# Up to where the last run begins, which ends as the cell says.
begin_last_run ()
{
  make_array
  start "$runner" "$bitmap"
  first_load
  case $end in
    stale)
      stop_array "$runner"
      cp "$bitmap" "$taken"
      sync
      start "$runner" "$bitmap"
      ;;
    forgotten)
      stop_array "$runner"
      [ "$runner" = kernel ] || forgetting_is_refused
      start "$runner" ''
      ;;
  esac
}

# There is a note: we were the last to use the file.
forgetting_is_refused ()
{
  if server_try "$a" "$b"; then
    die "$cell: the file was not missed"
  fi
  grep -F "its bitmap is in the file $bitmap," "$server_log" > /run/said ||
    { cat "$server_log"; die "$cell: the file was missed in other words"; }
}

turn_1 ()
{
  local load
  ledger=$files/ledger
  attach
  begin_last_run
  if [ "$runner-$end" != us-clean ] && [ "$runner" = us ]; then
    "$history" --continue write "$target" "$ledger" > /run/load &
    load=$!
    "$history" wait 20 "$ledger"
    server_kill
    wait "$load" || { cat /run/load; die "$cell: the load failed"; }
    free_file
  else
    load
    stop_array "$runner"
  fi
}

# mdadm opens the file for writing, and we have left it immutable.
free_file ()
{
  if [ "$io-$end" = extent-kill ]; then
    lsattr "$bitmap" | grep -q '^[^ ]*i' || die "$cell: the file is not pinned"
    chattr -i "$bitmap"
  fi
}

# All at once: for these the plug will be pulled.  Their ledgers are block
# devices, which do not lose what was written.
turn_1_to_be_killed ()
{
  local n=0 i
  for cell; do
    cell_begin "$cell"
    for i in 0 1; do
      losetup /dev/loop$((10 + 2 * n + i)) "$files/leg$i"
    done
    a=/dev/loop$((10 + 2 * n))
    b=/dev/loop$((11 + 2 * n))
    md=/dev/md$((10 + n))
    n=$((n + 1))
    ledger=${images[n]}
    begin_last_run
    "$history" --continue write "$target" "$ledger" > /dev/null &
  done
  sync
  echo "to be killed"
  wait
}

#----------------------------------------------------------------------
# The second turn: who takes over, and then the other one once more.

turn_2 ()
{
  local size marked marked_sectors chunks flushed=() again=()
  . "$files/facts"
  ledger=$files/ledger
  attach_and_count
  superblocks_agree
  if is_doomed; then
    flushed=(--flushed)
    again=(--again)
  fi
  "taken_by_$taker"
  load "${again[@]}"
  verify
  stop_array "$taker"
  agree_on_file "$taken"
  no_more_to_do
}

copied ()
{
  expect "$cell: sectors copied to slot 1" "$1" \
         "$(sectors_written "$counter_b")"
  expect "$cell: sectors written to slot 0" 0 "$(sectors_written "$counter_a")"
}

taken_by_kernel ()
{
  start kernel "$taken"
  md_settle
  case $end in
    clean)
      copied 0
      md_repaired_nothing
      ;;
    kill)
      copied "$marked_sectors"
      dmesg | grep -q 'not clean' || die "$cell: it was clean"
      ;;
    *)
      dmesg | grep 'bitmap file is out of date' ||
        die "$cell: the kernel believes the file"
      copied "$size"
      ;;
  esac
  verify "${flushed[@]}"
  expect "$cell: mismatch_cnt" 0 "$(md_check)"
}

taken_by_us ()
{
  case $end in
    stale | forgotten)
      full_resync_is_refused
      ;;
  esac
  start us "$taken"
  case $end in
    clean)
      verify "${flushed[@]}"
      copied 0
      ! grep -E 'resync( done)?: |full resync' "$server_log" ||
        die "$cell: a resync, and nothing to resync"
      ;;
    kill)
      verify "${flushed[@]}"
      server_says "resync done: $marked chunks"
      copied "$marked_sectors"
      ! grep 'full resync' "$server_log" || die "$cell: a full resync"
      ;;
    *)
      server_says "bitmap file $taken: stale: its events"
      server_says 'full resync, since it is not clean and its bitmap is stale'
      verify "${flushed[@]}"
      server_says "resync done: $chunks chunks"
      copied "$size"
      ;;
  esac
}

full_resync_is_refused ()
{
  if server_try full-resync=refuse bitmap="$taken" bitmap-io="$io" \
                "$a" "$b"; then
    die "$cell: a full resync, which was forbidden"
  fi
  grep -q 'which full-resync=refuse forbids' "$server_log" ||
    { cat "$server_log"; die "$cell: refused for another reason"; }
  copied 0
}

# Stopped in order by one, and taken by the other.
no_more_to_do ()
{
  local before_a before_b
  before_a=$(sectors_written "$counter_a")
  before_b=$(sectors_written "$counter_b")
  dmesg -C
  start "$runner" "$taken"
  if [ "$runner" = kernel ]; then
    expect "$cell: state" clean "$(cat /sys/block/md0/md/array_state)"
    md_settle
    expect "$cell: mismatch_cnt" 0 "$(md_check)"
    md_repaired_nothing
  else
    ! grep -E 'resync( done)?: |full resync' "$server_log" ||
      die "$cell: a resync, and nothing to resync"
  fi
  verify
  expect "$cell: sectors written to slot 0" "$before_a" \
         "$(sectors_written "$counter_a")"
  expect "$cell: sectors written to slot 1" "$before_b" \
         "$(sectors_written "$counter_b")"
  load
  stop_array "$runner"
}

#----------------------------------------------------------------------
# What mdadm says, and what we say.

agree ()
{
  diff -w -B /run/theirs /run/ours > /run/diff || :
  if grep '^<' /run/diff; then
    echo "$cell: $*: these are mdadm's, ours are:"
    grep '^>' /run/diff || :
    return 1
  fi
}

superblocks_agree ()
{
  mdadm_says examine "$a" "$b" > /run/theirs
  we_say examine "$a" "$b" > /run/ours
  agree superblocks
}

agree_on_file ()
{
  mdadm_says examine-bitmap "$1" > /run/theirs
  we_say examine-bitmap "$1" > /run/ours
  agree "$1"
  grep -q '^ *Bitmap :.* 0 dirty' /run/theirs ||
    { cat /run/theirs; die "$cell: bits are left"; }
}
