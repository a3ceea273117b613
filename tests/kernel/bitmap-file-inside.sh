# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# What test-bitmap-file-systems.sh does inside user-mode Linux: file systems on
# the images, and files for bitmaps on them, which tests/kernel/bitmap-file
# drives.

# Most variables come from uml.sh, and others are for the test.
# shellcheck disable=SC2154,SC2034

mnt=/run/mnt
disk=${images[0]}
second=${images[1]}

# Where somebody who is not root can call it.
driver=/run/bitmap-file
cp "$bitmap_file" $driver
chmod 755 /run $driver
as_who=()        # setpriv and its options, or nothing
waits=0

# fs DEVICE COMMAND...: make a file system, and mount it.  ${mount_options} are
# those of mount.
mount_options=()
fs ()
{
  local device=$1
  shift
  echo "--- $* $device ${mount_options[*]}"
  if mountpoint -q "$mnt"; then umount "$mnt"; fi
  "$@" "$device" > /run/mkfs 2>&1 || { cat /run/mkfs; die "mkfs"; }
  mount "${mount_options[@]}" "$device" "$mnt"
}

# bitmap_file MODE PATH COMMAND...: it must work; what it says is in /run/said.
bitmap_file ()
{
  "${as_who[@]}" "$driver" "$@" > /run/said 2>&1 < /dev/null ||
    { cat /run/said; die "bitmap-file $*"; }
}

# refused REGEX MODE PATH COMMAND...: it must not work, and say so in one line.
refused ()
{
  local regex=$1
  shift
  if "${as_who[@]}" "$driver" "$@" > /run/said 2>&1 < /dev/null; then
    die "not refused: bitmap-file $*"
  fi
  said "$regex"
  expect "lines of refusal" 1 "$(grep -c '^bitmap file ' /run/said)"
}

# said REGEX
said ()
{
  grep -E "$1" /run/said || { cat /run/said; die "did not say '$1'"; }
}

# The driver in the background, which waits at each command "wait".
drive ()
{
  rm -f /run/in
  mkfifo /run/in
  waits=0
  "${as_who[@]}" "$driver" "$@" < /run/in > /run/driven 2>&1 &
  driver_pid=$!
  exec 9> /run/in
  drive_wait
}

drive_wait ()
{
  waits=$((waits + 1))
  until [ "$(grep -c '^waiting' /run/driven)" -ge $waits ]; do
    kill -0 "$driver_pid" 2> /dev/null ||
      { cat /run/driven; die "the driver ended"; }
    sleep 0.05
  done
}

# On to the next command "wait".
drive_on ()
{
  echo >&9
  drive_wait
}

# On to the end; its status.
drive_end ()
{
  local status=0
  echo >&9
  exec 9>&-
  wait "$driver_pid" || status=$?
  cp /run/driven /run/said
  return $status
}

drive_kill ()
{
  kill -KILL "$driver_pid"
  wait "$driver_pid" || :
  exec 9>&-
}

has_flag ()
{
  local flags
  flags=$(lsattr -d "$1")
  [[ ${flags%% *} = *i* ]]
}

# bytes FILE FLAGS...: the first byte of each page.
bytes ()
{
  python3 -c '
import mmap, os, sys
fd = os.open (sys.argv[1], os.O_RDONLY | (os.O_DIRECT if sys.argv[2:] else 0))
page = mmap.mmap (-1, 4096)
said = []
for at in range (0, os.fstat (fd).st_size, 4096):
    os.preadv (fd, [page], at)
    assert page[:] == page[:1] * 4096, at
    said.append (str (page[0]))
print (" ".join (said))' "$@"
}

# The hash of a device, without what belongs to the extents in /run/extents.
hash_others ()
{
  python3 -c '
import hashlib, os, sys
ranges = sorted ((int (at), int (at) + int (n)) for _, at, n in
                 (line.split () for line in open ("/run/extents")))
assert ranges
h = hashlib.sha256 ()
with open (sys.argv[1], "rb", buffering = 0) as device:
    # What the kernel has of the device itself; not of files.
    os.posix_fadvise (device.fileno (), 0, 0, os.POSIX_FADV_DONTNEED)
    size = device.seek (0, 2)
    at = 0
    for first, end in ranges + [(size, size)]:
        device.seek (at)
        while at < first:
            data = device.read (min (first - at, 1 << 20))
            h.update (data)
            at += len (data)
        at = end
print (h.hexdigest ())' "$1"
}

# outside DEVICE FILE: all pages of FILE are written past its file system, which
# is frozen meanwhile, and nothing else of DEVICE changes.
outside ()
{
  local device=$1 file=$2 pages i commands=() want='' before
  pages=$(($(stat -c %s "$file") / 4096))
  for ((i = 0; i < pages; i++)); do
    commands+=(write $((i * 4096)) $((i % 200 + 30)))
    want="$want $((i % 200 + 30))"
  done
  cat "$file" > /dev/null # stale pages in the cache, for buffered readers
  drive extent "$file" prepare extents wait "${commands[@]}" check wait
  grep -E '^[0-9]+ [0-9]+ [0-9]+$' /run/driven > /run/extents
  expect "bytes in the extents" $((pages * 4096)) \
         "$(awk '{ n += $3 } END { print n }' /run/extents)"
  has_flag "$file" || die "not immutable while it is open"
  fsfreeze -f "$mnt"
  before=$(hash_others "$device")
  drive_on
  expect "hash of all but the file" "$before" "$(hash_others "$device")"
  expect "bytes with O_DIRECT, live" "${want# }" "$(bytes "$file" direct)"
  fsfreeze -u "$mnt"
  drive_end
  has_flag "$file" && die "still immutable"
  expect "bytes in the cache, after close" "${want# }" "$(bytes "$file")"
  getfattr_is_gone "$file"
}

getfattr_is_gone ()
{
  python3 -c '
import os, sys
assert not os.listxattr (sys.argv[1]), os.listxattr (sys.argv[1])' "$1"
}

# scatter FILE PAGES: no two pages of it that follow each other do so on the
# disk.
scatter ()
{
  python3 -c '
import os, sys
path, pages = sys.argv[1], int (sys.argv[2])
fds = [os.open (p, os.O_RDWR | os.O_CREAT, 0o600) for p in (path, path + "+")]
for fd in fds:
    os.ftruncate (fd, pages * 4096)
for at in range ((pages - 1) * 4096, -1, -4096):
    for fd in fds:
        os.pwrite (fd, bytes ([7]) * 4096, at)
        os.fsync (fd)' "$@"
}

# scatter_blocks DEVICE FILE PAGES: nor two KiB, on ext4.  All other space is
# taken meanwhile.
scatter_blocks ()
{
  local i
  echo 0 > "/sys/fs/ext4/${1#/dev/}/reserved_clusters"
  shift
  dd if=/dev/zero of="$mnt/full" bs=1M status=none 2> /dev/null || :
  dd if=/dev/zero of="$mnt/rest" bs=1K status=none 2> /dev/null || :
  sync -f "$mnt"
  for ((i = 0; i < $2 * 4 + 8; i++)); do
    fallocate -p -o $((i * 2048)) -l 1024 "$mnt/full"
  done
  sync -f "$mnt"
  head -c $(($2 * 4096)) /dev/zero > "$1"
  sync -f "$mnt"
  rm "$mnt/full" "$mnt/rest"
}

# What no file system may get wrong.
suite ()
{
  local device=$1 f=$mnt/f mode
  "$driver" make "$f" 32768
  expect "mode" 600 "$(stat -c %a "$f")"
  expect "bytes of a new file" "1 2 3 4 5 6 7 8" "$(bytes "$f")"
  outside "$device" "$f"

  scatter "$mnt/scattered" 6
  outside "$device" "$mnt/scattered"
  expect "extents of 6 pages" 6 "$(wc -l < /run/extents)"

  # What md made: any length.  A block that is completed is one of ones.
  head -c 382 "$f" > "$mnt/short"
  cp "$mnt/short" "$mnt/short2"
  bitmap_file extent "$mnt/short" prepare check
  bitmap_file direct "$mnt/short2" prepare check
  for f in "$mnt/short" "$mnt/short2"; do
    expect "length" 4096 "$(stat -c %s "$f")"
    expect "ones" 3714 "$(tail -c +383 "$f" | tr -d -c '\377' | wc -c)"
    cmp -n 382 "$f" "$mnt/f"
  done

  # No holes, nothing that is only allocated.
  truncate -s 32K "$mnt/sparse"
  refused 'byte 0 is in a hole.*copy the file' extent "$mnt/sparse" prepare
  printf x | dd of="$mnt/sparse" bs=1 conv=notrunc status=none
  refused 'byte 4096 is in a hole' extent "$mnt/sparse" prepare
  fallocate -l 32K "$mnt/reserved"
  refused 'byte 0 is allocated, but was never written' \
          extent "$mnt/reserved" prepare
  : > "$mnt/empty"
  refused 'is empty' extent "$mnt/empty" prepare

  # The other two need none of that.
  for mode in direct pagecache; do
    truncate -s 32K "$mnt/$mode"
    bitmap_file $mode "$mnt/$mode" prepare extents write 8192 9 check
    grep -x '0 0 32768' /run/said
    expect "bytes, $mode" 9 "$(bytes "$mnt/$mode" direct | cut -d ' ' -f 3)"
    expect "bytes in the cache, $mode" 9 "$(bytes "$mnt/$mode" | cut -d ' ' -f 3)"
  done
}

# The pin, and what a server that is killed leaves behind.
pins ()
{
  local f=$mnt/pinned mode
  "$driver" make "$f" 8192
  drive extent "$f" prepare write 0 90 wait check wait
  if rm -f "$f" 2> /dev/null || : 2> /dev/null >> "$f"; then
    die "a pinned file can be changed"
  fi
  for mode in direct extent pagecache read-only; do
    refused 'in use by another server' $mode "$f"
  done
  refused 'in use by another server' replace "$f" 4096
  # The flag is not all: somebody takes it away.
  "$driver" make "$mnt/other" 4096
  chattr -i "$f"
  drive_end && die "file_check is content without the flag"
  said 'taken away its immutable flag'

  for mode in direct pagecache extent; do
    cat "$f" > /dev/null
    drive extent "$f" prepare write 0 91 wait
    drive_kill
    has_flag "$f" || die "the flag did not stay"
    bitmap_file read-only "$f" read 0
    grep -x 91 /run/said
    has_flag "$f" || die "a reader took the flag"
    bitmap_file $mode "$f" read 0 prepare write 0 92 check
    grep -x 91 /run/said
    [ "$mode" = extent ] || said 'which a server that was killed'
    has_flag "$f" && die "the flag stayed after $mode"
    getfattr_is_gone "$f"
    expect "bytes after $mode" 92 "$(bytes "$f" | cut -d ' ' -f 1)"
  done
  drive extent "$f" prepare wait
  drive_kill
  "$driver" replace "$f" 4096
  expect "bytes of the new one" 1 "$(bytes "$f")"

  # The user's own flag.
  chattr +i "$f"
  bitmap_file extent "$f" prepare write 0 93 check
  has_flag "$f" || die "we took away a flag that is not ours"
  expect "bytes" 93 "$(bytes "$f")"
  for mode in direct pagecache; do
    refused 'has the immutable flag, which is not ours' $mode "$f"
  done
  chattr -i "$f"
  # Open for writing elsewhere.
  exec 8>> "$f"
  refused 'is open for writing elsewhere' extent "$f" prepare
  exec 8>&-
}

# The driver without CAP_LINUX_IMMUTABLE, and as the owner of the file.
lease ()
{
  local device=$1 f=$mnt/leased writer
  "$driver" make "$f" 8192
  chown 1000 "$f"
  chown 1000 "$device"
  chmod 755 "$mnt"
  as_who=(setpriv --reuid=1000 --regid=1000 --clear-groups)
  drive extent "$f" prepare write 0 80 check wait check
  has_flag "$f" && die "who could set that flag?"
  grep -E 'LEASE +ACTIVE +READ' /proc/locks
  getfattr_is_gone "$f"
  (exec 7>> "$f"; echo opened > /run/opened) &
  writer=$!
  until grep -E 'LEASE +BREAKING' /proc/locks; do sleep 0.05; done
  [ -e /run/opened ] && die "the lease does not hold"
  drive_end && die "file_check did not see it"
  said 'about to open it for writing'
  wait "$writer"

  # Not even a lease.
  as_who=(setpriv "--bounding-set=-linux_immutable,-lease"
          "--inh-caps=-linux_immutable,-lease")
  refused 'can be neither made immutable nor leased.*use bitmap-io=direct' \
          extent "$f" prepare
  cp "$f" /run/copy
  drive direct "$f" prepare write 0 81 check wait check
  : > "$f"
  sync -f "$f"
  drive_end && die "file_check did not see that it was cut"
  said 'has been cut to 0 bytes'
  cat /run/copy > "$f"

  drive direct "$f" prepare write 0 83 check wait check
  rm "$f"
  drive_end && die "file_check did not see that it was deleted"
  said 'has been deleted'
  as_who=()
}
