#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Power cuts with the bitmap in a file: the disk with the file, and both legs,
# lose their caches.  They are parts of one device, which logs what is durable,
# in that order (dm-log-writes); bitmap-log.py looks at the device as a power
# cut would have left it, after each entry of the log.  Our server runs under load,
# with FUA writes among the others, and clears bits every second.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

fs=32768 leg=20480     # sectors
export fs leg

uml_begin
for io in direct extent pagecache; do
  export io
  rm -f "$tmp/disk" "$tmp/log"
  truncate -s $(((fs + 2 * leg) * 512)) "$tmp/disk"
  truncate -s 512M "$tmp/log"
  mkfs.ext4 -q -b 1024 "$tmp/disk" $((fs / 2))
  cp "$tmp/disk" "$tmp/before"

  uml_run $io "$tmp/disk" "$tmp/log" <<'BODY'
    load_module dm-mod dm-log-writes
    dmsetup create log --table \
      "0 $((fs + 2 * leg)) log-writes ${images[0]} ${images[1]}"
    dmsetup create fs --table "0 $fs linear /dev/mapper/log 0"
    dmsetup create leg0 --table "0 $leg linear /dev/mapper/log $fs"
    dmsetup create leg1 --table "0 $leg linear /dev/mapper/log $((fs + leg))"
    mkdir -p /run/mnt/fs
    # Nor trims, which the log would have.
    mount -o nodiscard /dev/mapper/fs /run/mnt/fs
    file=/run/mnt/fs/bitmap
    "$MDBITMAP" create --assume-clean --bitmap=$file --bitmap-chunk=4K \
      /dev/mapper/leg0 /dev/mapper/leg1
    server_start bitmap=$file bitmap-io="$io" daemon-sleep=1 \
      /dev/mapper/leg0 /dev/mapper/leg1
    load ()
    {
      "$history" "$@" write "$uri" /run/ledger
    }
    # Before the mark the file is prepared.
    load --seed=1 --threads=8 --chunk=32768 --hot=8 --drift=2 --more=1
    sync
    dmsetup message log 0 mark begin
    for i in 1 2 3; do
      load --continue --more=60
      sleep 2.5
    done
    server_stop
    umount /run/mnt/fs
    dmsetup remove fs leg0 leg1
    dmsetup remove log
BODY
  blocks=$(debugfs -R "blocks /bitmap" "$tmp/disk" 2> /dev/null)
  say "$io: the file has the blocks $blocks"
  # shellcheck disable=SC2086
  python3 "$here/bitmap-log.py" "$tmp/before" "$tmp/log" $fs $leg $blocks
done
