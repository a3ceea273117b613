#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A file for a bitmap on real file systems, in the three ways to write it.
# With extent, not a byte of the device changes outside the file's own blocks;
# O_DIRECT readers see what was written at once, others when it is closed; the
# file is pinned meanwhile, and a server that is killed does no harm.  What
# cannot be written that way is refused, and the line says why.  A file must
# not lie on a leg, however deep below, nor on an NBD device.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

bitmap_file=${bitmap_file:-$abs_top_builddir/tests/kernel/bitmap-file}
export bitmap_file

uml_begin
truncate -s 320M "$tmp/image"
truncate -s 128M "$tmp/second"

uml_run ext "$tmp/image" "$tmp/second" <<'BODY'
  # shellcheck source=tests/kernel/bitmap-file-inside.sh
  . "$abs_top_srcdir/tests/kernel/bitmap-file-inside.sh"
  lazy=lazy_itable_init=0,lazy_journal_init=0
  fs "$disk" mkfs.ext4 -q -F -b 4096 -E $lazy
  suite "$disk"
  pins
  lease "$disk"

  # Pages whose blocks lie apart; and an ext3, which has no extents at all.
  fs "$second" mkfs.ext4 -q -F -b 1024 -m 0 -E $lazy
  scatter_blocks "$second" "$mnt/f" 6
  outside "$second" "$mnt/f"
  expect "extents of 6 pages" 24 "$(wc -l < /run/extents)"
  fs "$disk" mkfs.ext3 -q -F -b 1024
  "$driver" make "$mnt/f" 65536
  outside "$disk" "$mnt/f"

  # Data that the file system writes twice, or inside the inode.
  head -c 8192 /dev/zero > "$mnt/j"
  chattr +j "$mnt/j"
  refused 'to the journal .chattr .j.*use bitmap-io=.*pagecache' extent "$mnt/j"
  refused 'no O_DIRECT.*use bitmap-io=pagecache' direct "$mnt/j"
  bitmap_file pagecache "$mnt/j" prepare write 0 1 check
  head -c 8192 /dev/zero > "$mnt/a"
  chattr +a "$mnt/a"
  refused 'append-only|cannot be opened for writing' extent "$mnt/a"
  mount_options=(-o data=journal)
  fs "$disk" mkfs.ext4 -q -F
  mount_options=()
  "$driver" make "$mnt/f" 8192
  refused 'data=journal.*use bitmap-io=pagecache' extent "$mnt/f"
  # The same by its superblock, which no list of mounts shows.
  umount "$mnt"
  tune2fs -o journal_data "$disk" > /run/tune2fs
  mount "$disk" "$mnt"
  refused 'journals data by default.*use bitmap-io=pagecache' extent "$mnt/f"
  umount "$mnt"
  mount -o data=ordered "$disk" "$mnt"
  bitmap_file extent "$mnt/f" prepare write 0 1 check
  fs "$disk" mkfs.ext4 -q -F -b 4096 -I 1024 -O inline_data
  head -c 300 /dev/zero > "$mnt/inline"
  refused 'inside its inode.*use bitmap-io=direct' extent "$mnt/inline"
  "$driver" make "$mnt/f" 8192
  bitmap_file extent "$mnt/f" prepare write 0 1 check
  mount -o remount,ro "$mnt"
  refused 'read-only' extent "$mnt/f"
  umount "$mnt"
BODY

uml_run xfs "$tmp/image" "$tmp/second" <<'BODY'
  # shellcheck source=tests/kernel/bitmap-file-inside.sh
  . "$abs_top_srcdir/tests/kernel/bitmap-file-inside.sh"
  fs "$disk" mkfs.xfs -f -q -m reflink=0
  suite "$disk"
  pins
  lease "$disk"

  fs "$disk" mkfs.xfs -f -q -m reflink=1
  suite "$disk"
  pins
  cp --reflink=always "$mnt/f" "$mnt/clone"
  sync -f "$mnt"
  refused 'byte 0 is shared with another file' extent "$mnt/f" prepare
  refused 'byte 0 is shared with another file' extent "$mnt/clone"
  rm "$mnt/clone"
  # It is cloned while we write it: that must be seen.
  drive extent "$mnt/f" prepare write 0 1 check wait check
  cp --reflink=always "$mnt/f" "$mnt/clone"
  drive_end && die "file_check did not see the clone"
  said 'is shared with another file'

  # Data that is on another device than st_dev says.
  mount_options=(-o rtdev="$second")
  fs "$disk" mkfs.xfs -f -q -m reflink=0,rmapbt=0 -d rtinherit=1 \
     -r rtdev="$second"
  mount_options=()
  "$driver" make "$mnt/f" 8192
  refused 'is on the realtime device' extent "$mnt/f"
  umount "$mnt"
BODY

uml_run others "$tmp/image" "$tmp/second" <<'BODY'
  # shellcheck source=tests/kernel/bitmap-file-inside.sh
  . "$abs_top_srcdir/tests/kernel/bitmap-file-inside.sh"
  load_module overlay

  # through MODES...: those that work on what is mounted; extent does not.
  through ()
  {
    local mode
    "$driver" make "$mnt/f" 8192
    for mode; do
      bitmap_file "$mode" "$mnt/f" prepare write 4096 70 check read 4096
      grep -x 70 /run/said
      expect "bytes, $mode" "1 70" "$(bytes "$mnt/f")"
      drive "$mode" "$mnt/f" prepare wait
      refused 'in use by another server' direct "$mnt/f"
      refused 'in use by another server' pagecache "$mnt/f"
      refused 'in use by another server' read-only "$mnt/f"
      drive_end
      "$driver" replace "$mnt/f" 8192
    done
  }

  fs "$disk" mkfs.btrfs -f -q
  through direct pagecache
  refused 'lies on btrfs, which writes data to new blocks' extent "$mnt/f"
  refused 'lies on the leg /dev/ubdb' direct "$mnt/f" place "$disk"
  bitmap_file direct "$mnt/f" place "$second"
  umount "$mnt"

  mount -t tmpfs none "$mnt"
  through pagecache
  bitmap_file pagecache "$mnt/f"
  said 'is in memory'
  refused 'no O_DIRECT, .* use bitmap-io=pagecache' direct "$mnt/f"
  refused 'lies on tmpfs, which is in memory' extent "$mnt/f"
  umount "$mnt"

  fs "$disk" mkfs.ext4 -q -F
  mkdir "$mnt/upper" "$mnt/work" "$mnt/lower" /run/over
  mount -t overlay -o "lowerdir=$mnt/lower,upperdir=$mnt/upper,workdir=$mnt/work" \
        over /run/over
  mnt=/run/over through direct pagecache
  refused 'lies on overlayfs, .* name it there' extent /run/over/f
  refused 'lies on the leg /dev/ubdb' direct /run/over/f place "$disk"
  bitmap_file direct /run/over/f place "$second"
  umount /run/over
  umount "$mnt"
BODY

uml_run place "$tmp/image" "$tmp/second" <<'BODY'
  # shellcheck source=tests/kernel/bitmap-file-inside.sh
  . "$abs_top_srcdir/tests/kernel/bitmap-file-inside.sh"
  load_module loop dm-mod nbd
  here=$mnt

  # on DEVICE: a file system on it, with a file, in $here.
  on ()
  {
    mkdir -p "$here"
    mountpoint -q "$here" && umount "$here"
    mkfs.ext4 -q -F -b 1024 "$1" 16M
    mount "$1" "$here"
    "$driver" make "$here/f" 4096
  }

  # A leg beside it, or that is it.
  on "$disk"
  truncate -s 64M "$here/leg"
  bitmap_file extent "$here/f" place "$here/leg" "$second"
  refused 'lies on the leg /run/mnt/f,' extent "$here/f" place "$second" "$here/f"
  refused 'lies on the leg /dev/ubdb' extent "$here/f" place "$second" "$disk"

  # A loop device whose file is a leg, by its name, and when that is gone.
  losetup /dev/loop0 "$here/leg"
  here=/run/inner
  on /dev/loop0
  refused 'lies on the leg /run/mnt/leg' extent "$here/f" place "$mnt/leg"
  refused 'lies on the leg /dev/loop0' extent "$here/f" place /dev/loop0
  refused 'lies on the leg /dev/ubdb' extent "$here/f" place "$disk"
  bitmap_file extent "$here/f" place "$second"
  mv "$mnt/leg" "$mnt/moved"
  refused 'lies on the leg /run/mnt/moved' extent "$here/f" place "$mnt/moved"
  ln "$mnt/moved" "$mnt/link"
  rm "$mnt/moved"
  refused 'lies on the leg /run/mnt/link' extent "$here/f" place "$mnt/link"
  umount "$here"
  losetup -d /dev/loop0
  umount "$mnt"

  # dm on dm, a partition, and md.
  dmsetup create one --table "0 65536 linear $second 0"
  dmsetup create two --table "0 65536 linear /dev/mapper/one 0"
  on /dev/mapper/two
  refused 'lies on the leg /dev/ubdc' extent "$here/f" place "$second"
  refused 'lies on the leg /dev/mapper/one' direct "$here/f" \
          place /dev/mapper/one
  bitmap_file extent "$here/f" prepare write 0 1 check place "$disk"
  umount "$here"
  dmsetup remove two
  dmsetup remove one

  addpart "$second" 1 2048 131072
  on "${second}1"
  refused 'lies on the leg /dev/ubdc' extent "$here/f" place "$second"
  refused 'lies on the leg /dev/ubdc1' extent "$here/f" place "${second}1"
  bitmap_file extent "$here/f" prepare write 0 1 check place "$disk"
  umount "$here"
  delpart "$second" 1

  mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 \
        --assume-clean --bitmap=none --run "$second" missing
  on /dev/md0
  refused 'lies on the leg /dev/ubdc' extent "$here/f" place "$second"
  bitmap_file extent "$here/f" prepare write 0 1 check place "$disk"
  umount "$here"
  mdadm --stop /dev/md0

  # NBD, and what is made of it.
  nbdkit -U /run/nbd.sock memory 64M
  nbd-client -unix /run/nbd.sock /dev/nbd0 -b 512 > /run/nbd-client 2>&1 ||
    { cat /run/nbd-client; die "nbd-client cannot attach"; }
  on /dev/nbd0
  refused 'lies on the NBD device 43:0' direct "$here/f" place "$disk"
  umount "$here"
  dmsetup create on-nbd --table "0 65536 linear /dev/nbd0 0"
  on /dev/mapper/on-nbd
  refused 'lies on the NBD device 43:0' direct "$here/f" place "$disk"
  umount "$here"
  dmsetup remove on-nbd
  nbd-client -d /dev/nbd0
BODY
