# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# What test-bitmap-file-errors.sh does inside user-mode Linux.  What Python
# reads and changes of the legs goes through the files below the loop devices.

# Most variables come from the script that uml.sh writes.
# shellcheck disable=SC2119,SC2120,SC2154

mnt=/run/mnt/fs

# The device below the file system; broken TABLE, and whole again.
disk_table ()
{
  dmsetup suspend --noflush --nolockfs disk
  dmsetup load disk --table "$1"
  dmsetup resume disk
}

disk_is ()
{
  local sectors
  sectors=$(blockdev --getsz "${images[0]}")
  case $1 in
    whole) disk_table "0 $sectors linear ${images[0]} 0" ;;
    gone) disk_table "0 $sectors error" ;;
    # It can still be read.
    unwritable)
      disk_table "0 $sectors flakey ${images[0]} 0 0 60 1 error_writes"
      ;;
  esac
}

# On whose device nothing is mounted yet.
begin ()
{
  local i
  load_module loop dm-mod dm-flakey
  dmsetup create disk --table \
    "0 $(blockdev --getsz "${images[0]}") linear ${images[0]} 0"
  mkdir -p $mnt
  for i in 0 1; do
    losetup /dev/loop$i "$tmp/leg$i"
  done
  a=/dev/loop0
  b=/dev/loop1
  ledger=/run/ledger
}

new_array ()
{
  file=$mnt/bitmap
  rm -f "$file"
  mdadm --quiet --zero-superblock "$a" "$b" 2> /dev/null || :
  for i in 0 1; do
    dd if=/dev/zero of="$tmp/leg$i" bs=1M count=16 conv=notrunc status=none
  done
  mdadm --quiet --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 \
        --assume-clean --bitmap="$file" --bitmap-chunk=64K --size=12300 --run \
        "$a" "$b"
  mdadm --quiet --stop /dev/md0
  rm -f "$ledger"
  truncate -s 64K "$ledger"
  sync
}

load ()
{
  "$history" "$@" write "$uri" "$ledger" > /run/load
}

verify ()
{
  "$history" verify "$1" "$ledger" > /run/verify ||
    { cat /run/verify; die "data are wrong"; }
}

served ()
{
  server_start bitmap="$file" bitmap-io="$io" on-bitmap-error="$policy" \
               "$a" "$b"
}

# In chunks that no bit marks yet.
goes_on ()
{
  load --continue --more=40 || { cat /run/load; die "writing has stopped"; }
  verify "$uri"
  server_says "bitmap file $file: writing: .*goes on without a bitmap"
  load --continue --more=5
  server_kill
}

writes_fail ()
{
  local request
  if load --continue --more=40; then
    die "written, though on-bitmap-error=stop"
  fi
  server_says "bitmap file $file: writing: .*no longer written"
  verify "$uri"
  for request in 'pwrite (b"x" * 512, 0)' 'zero (512, 0)' 'trim (512, 0)'; do
    nbdsh -u "$uri" -c "
try:
    h.$request
except nbd.Error as error:
    assert error.errno == 'EIO', error.errno
else:
    raise SystemExit ('$request succeeds')"
  done
  nbdsh -u "$uri" -c 'h.flush (); h.pread (512, 0)'
  verify "$uri"
  server_stop
}

# The device is whole again: the file can be read, and must not be believed.
file_is_behind ()
{
  disk_is whole
  umount $mnt
  mount /dev/mapper/disk $mnt
  dd if="$file" of=/run/bits iflag=direct bs=4096 status=none
  python3 "$legs" --file=/run/bits facts "$tmp/leg0" "$tmp/leg1" > /run/facts
  . /run/facts
  # shellcheck disable=SC2154
  [ "$events" -gt "$bitmap_events" ] ||
    die "events $bitmap_events of the file, $events of the superblock"
  echo "events $bitmap_events of the file, $events of the superblock"
  # It was killed, or stopped in order.
  # shellcheck disable=SC2154
  if [ "$policy" = continue ]; then
    expect clean 0 "$clean"
    python3 "$legs" --file=/run/bits poison "$tmp/leg1"
  else
    expect clean 1 "$clean"
  fi
}

# Who takes it with that file copies everything, if it is not clean.
taken_by_us ()
{
  served
  server_says "bitmap file $file: (stale|it is marked as stale)"
  verify "$uri"
  if [ "$policy" = continue ]; then
    # shellcheck disable=SC2154
    server_says "resync done: $chunks chunks"
  fi
  server_stop
}

taken_by_kernel ()
{
  dmesg -C
  # mdadm opens it for writing, and who was killed has left it immutable.
  chattr -i "$file"
  mdadm --quiet --assemble --run /dev/md0 --bitmap="$file" "$a" "$b"
  md_settle
  dmesg | grep 'bitmap file is out of date'
  verify /dev/md0
  expect mismatch_cnt 0 "$(md_check)"
  mdadm --quiet --stop /dev/md0
}

# failure IO POLICY HOW TAKER
failure ()
{
  io=$1 policy=$2
  echo "--- $*"
  mount /dev/mapper/disk $mnt
  new_array
  served
  load --seed=1 --threads=4 --chunk=65536 --hot=8 --drift=4 --more=8
  disk_is "$3"
  if [ "$policy" = continue ]; then goes_on; else writes_fail; fi
  file_is_behind
  "taken_by_$4"
  python3 "$legs" --file=/run/bits same "$tmp/leg0" "$tmp/leg1"
  umount $mnt
}
