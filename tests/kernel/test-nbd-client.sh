#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A client that knows nothing of us: the kernel's nbd driver attaches our
# export, whose legs are block devices, makes an ext4 on it and writes files.
# The server is killed with SIGKILL while files are written, restarted,
# attached again, three times.  After the journal has been replayed fsck finds
# nothing, and every file that was fsynced is there and whole.
#
# Then the same through a proxy that tries again what has failed, so that the
# file system never hears of the death (nbd-client's -persist does not achieve
# that: the device fails).  In the end the kernel's md takes the legs, and
# finds the same.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
truncate -s 128M "$tmp/leg0" "$tmp/leg1"

uml_run ext4 "$tmp/leg0" "$tmp/leg1" <<'BODY'
  attach ()
  {
    # The log of each server is kept.
    server_log=$tmp/server-$1.log
    server_start "${images[0]}" "${images[1]}"
    nbd-client -unix "$sock" /dev/nbd0 -b 512 > /run/nbd-client 2>&1 ||
      { cat /run/nbd-client; die "nbd-client cannot attach"; }
  }

  # New files of all sizes; a name and a sum are noted once fsync has returned.
  # Ends with the server.
  write_files ()
  {
    local i file
    for ((i = 0; i < 100000; i++)); do
      file=$1-$i
      dd if=/dev/urandom of="/run/mnt/$file" bs=$((1 + RANDOM * 4)) count=1 \
         conv=fsync 2> /dev/null || return 0
      (cd /run/mnt && sha256sum "$file") >> "/run/fsynced-$1" 2>/dev/null ||
        return 0
    done
  }

  # A line is noted once it has been appended and fsynced.
  write_lines ()
  {
    local i
    for ((i = 0; i < 100000; i++)); do
      echo "line $1 $i" |
        dd of=/run/mnt/lines oflag=append conv=notrunc,fsync 2> /dev/null ||
        return 0
      echo "line $1 $i" >> /run/lines
    done
  }

  noted ()
  {
    { cat /run/fsynced-* /run/lines 2>/dev/null || :; } | wc -l
  }

  # await N: until N more are noted.
  await ()
  {
    local i wanted=$(($(noted) + $1))
    for ((i = 0; i < 200 && $(noted) < wanted; i++)); do
      sleep 0.3
    done
    [ "$(noted)" -ge "$wanted" ] || die "too few files written"
  }

  verify_files ()
  {
    local file
    for file in /run/fsynced-*; do
      (cd /run/mnt && sha256sum --quiet -c "$file") ||
        die "an fsynced file is gone"
    done
    # Between fsynced lines there may be one that was not answered.
    grep -v -x -F -f /run/mnt/lines /run/lines &&
      die "fsynced lines are gone, see above"
    echo "$(noted) fsynced files and lines are there"
  }

  load_module nbd
  "$MDBITMAP" create --assume-clean --bitmap-chunk=64K \
    "${images[0]}" "${images[1]}"
  attach 0
  # A discard of the whole device would mark all chunks.
  mkfs.ext4 -q -E nodiscard /dev/nbd0
  mkdir -p /run/mnt
  : > /run/lines
  mount /dev/nbd0 /run/mnt

  for round in 1 2 3; do
    write_files "$round-a" &
    a=$!
    write_files "$round-b" &
    b=$!
    write_lines "$round" &
    c=$!
    await 40
    server_kill
    # Requests in flight would wait for ever: the driver gives up on them when
    # it is told to disconnect, or after nbd-client's -timeout.
    nbd-client -d /dev/nbd0 > /dev/null 2>&1 || :
    wait "$a" "$b" "$c"
    umount /run/mnt 2>/dev/null || :

    attach "$round"
    mount /dev/nbd0 /run/mnt
    verify_files
    umount /run/mnt
    fsck.ext4 -f -n /dev/nbd0 > /run/fsck 2>&1 ||
      { cat /run/fsck; die "fsck found something"; }
    tail -n 1 /run/fsck
    server_says 'resync done'
    mount /dev/nbd0 /run/mnt
  done

  umount /run/mnt
  nbd-client -d /dev/nbd0
  nbdkit -f -U /run/proxy.sock -P /run/proxy.pid --filter=retry \
         nbd uri="$uri" retries=60 retry-delay=1 retry-exponential=no \
         > "$tmp/proxy.log" 2>&1 &
  proxy=$!
  server_within 100 test -e /run/proxy.pid
  nbd-client -unix /run/proxy.sock /dev/nbd0 -b 512 > /dev/null 2>&1
  mount /dev/nbd0 /run/mnt
  dmesg -c > /run/dmesg
  (
    i=0
    until [ -e /run/enough ]; do
      i=$((i + 1))
      dd if=/dev/urandom of="/run/mnt/proxy-$i" bs=20000 count=1 conv=fsync \
         status=none
      (cd /run/mnt && sha256sum "proxy-$i") >> /run/fsynced-proxy
    done
  ) &
  writer=$!
  await 5
  server_kill
  server_log=$tmp/server-4.log
  server_start "${images[0]}" "${images[1]}"
  await 5
  touch /run/enough
  wait "$writer" || die "the file system noticed that the server was killed"
  if dmesg | grep -i -E 'nbd0.*error|error.*nbd0'; then
    die "the device failed"
  fi
  echo "through a proxy that tries again:"
  verify_files
  umount /run/mnt
  nbd-client -d /dev/nbd0
  kill "$proxy"
  wait "$proxy" || :
  server_stop
  mdadm --assemble /dev/md0 "${images[0]}" "${images[1]}"
  expect legs UU "$(md_state)"
  expect array_state clean "$(cat /sys/block/md0/md/array_state)"
  expect mismatch_cnt 0 "$(md_check)"
  fsck.ext4 -f -n /dev/md0 > /run/fsck 2>&1 ||
    { cat /run/fsck; die "fsck found something"; }
  mount -o ro /dev/md0 /run/mnt
  verify_files
  umount /run/mnt
  mdadm --stop /dev/md0
BODY
