# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# What test-bitmap-file-kills.sh does inside user-mode Linux.
#
# The legs are loop devices on files of the host, and so is what Python reads
# and changes of them: both go through one page cache.  The bitmap file is read
# past all caches.

# Most variables come from the script that uml.sh writes.
# shellcheck disable=SC2154

# on_file_system TYPE DEVICE
on_file_system ()
{
  mnt=/run/mnt/$1
  mkdir -p "$mnt"
  mount "$2" "$mnt"
}

# A new array of zeroes, whose file lies here and there.  Sets $a and $b, and
# the devices that count what is written to the data.
new_array ()
{
  local i size_kib=16384
  # Two pages of bits.
  [ -z "${MDBITMAP_LONG:-}" ] || size_kib=32768
  file=$mnt/bitmap-$io
  for i in 0 1; do
    # Not shorter: a loop device is on it.
    losetup -d /dev/loop$i 2> /dev/null || :
    rm -f "$tmp/leg$i"
    truncate -s 36M "$tmp/leg$i"
    losetup /dev/loop$i "$tmp/leg$i"
  done
  mdadm --quiet --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 \
        --assume-clean --bitmap="$file" --bitmap-chunk=1K --size="$size_kib" \
        --run /dev/loop0 /dev/loop1
  mdadm --quiet --stop /dev/md0
  scatter
  data_offset=$(python3 "$legs" show "$tmp/leg0" data_offset)
  size=$(python3 "$legs" show "$tmp/leg0" size)
  split_leg leg0 /dev/loop0 "$data_offset" "$size"
  split_leg leg1 /dev/loop1 "$data_offset" "$size"
  a=/dev/mapper/leg0
  b=/dev/mapper/leg1
  counter_a=$(data_device leg0)
  counter_b=$(data_device leg1)
  new_ledger
}

end_array ()
{
  dmsetup remove leg0 leg1
  dmsetup remove leg0-data leg1-data leg0-meta leg1-meta
}

new_ledger ()
{
  ledger=/run/ledger
  rm -f "$ledger"
  truncate -s 64K "$ledger"
}

# Write the file anew, so that other blocks lie between its blocks.
scatter ()
{
  local i bytes
  bytes=$(stat -c %s "$file")
  for ((i = 0; i * 1024 < bytes; i++)); do
    dd if="$file" of="$file.new" bs=1024 skip=$i seek=$i count=1 \
       conv=notrunc,fsync status=none
    dd if=/dev/zero of="$file.between" bs=1024 count=4 oflag=append \
       conv=notrunc,fsync status=none
  done
  mv "$file.new" "$file"
  sync
  filefrag "$file"
}

# The bits as they are on the disk.
look ()
{
  dd if="$file" of=/run/bits iflag=direct bs=4096 status=none
}

start ()
{
  server_start bitmap="$file" bitmap-io="$io" daemon-sleep=1 "$a" "$b"
}

counters ()
{
  wrote_a=$(sectors_written "$counter_a")
  wrote_b=$(sectors_written "$counter_b")
}

# What is under way arrives on slot 0, and on slot 1 it does not.
kill_in_the_middle ()
{
  dmsetup suspend --noflush --nolockfs leg1-data
  kill -KILL "$server_pid"
  dmsetup load leg1-data --table "0 $size error"
  dmsetup resume leg1-data
  server_kill
  dmsetup load leg1-data --table "0 $size linear /dev/loop1 $data_offset"
  dmsetup resume leg1-data
}

# kill_round N SLEEP: load, until the server is killed; and what it has left.
# With the load, which is new each time, the lazy clear runs.
kill_round ()
{
  local load
  "$history" "${begin[@]}" write "$uri" "$ledger" > /run/load &
  load=$!
  begin=(--continue)
  "$history" wait "$1" "$ledger"
  sleep "$2"
  kill_in_the_middle
  wait "$load" || { cat /run/load; die "the load failed"; }
  look
  # Of what was under way nothing shall have arrived.
  python3 "$legs" --file=/run/bits killed "$tmp/leg0" "$tmp/leg1" > /run/facts
  head -n 1 /run/facts
}

# The marked chunks are copied, and nothing else; nothing is lost.
restart ()
{
  local marked marked_sectors
  . /run/facts
  counters
  start
  if [ "$marked" -gt 0 ]; then
    server_says "resync done: $marked chunks, .* 0 chunks left" > /dev/null
  fi
  expect "sectors copied for $marked chunks" $((wrote_b + marked_sectors)) \
         "$(sectors_written "$counter_b")"
  expect "sectors written to slot 0" "$wrote_a" \
         "$(sectors_written "$counter_a")"
  "$history" verify "$uri" "$ledger" > /run/verify ||
    { cat /run/verify; die "data are wrong"; }
  cmp -i $((data_offset * 512)) -n $((size * 512)) "$tmp/leg0" "$tmp/leg1"
}

# kills N SEED
kills ()
{
  local i
  RANDOM=$2
  begin=(--seed="$2" --threads=16 --chunk=65536 --hot=6 --drift=10)
  start
  for ((i = 0; i < $1; i++)); do
    # In each third round there is time enough to clear bits.
    kill_round $((1 + RANDOM % 60)) \
               $(((i % 3) / 2)).$((RANDOM % 4))$((RANDOM % 10))
    restart
  done
  server_stop
}

# With its bits clear, and as free as it was.
left_in_order ()
{
  look
  python3 "$legs" --file=/run/bits facts "$tmp/leg0" "$tmp/leg1" > /run/facts
  . /run/facts
  # shellcheck disable=SC2154
  expect "chunks marked at the end" 0 "$marked"
  ! lsattr "$file" | grep -E '^[^ ]*i' || die "it is still immutable"
  python3 -c "import os; assert os.listxattr ('$file') == []" ||
    die "our mark is still there"
  cmp "$file" /run/bits || die "a buffered reader reads old bits"
}
