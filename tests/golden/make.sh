#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# make.sh FOLDER VERSION...: the blocks whose names begin with a version, made
# anew.  Not a test: what it makes has other times and UUIDs each time.  To be
# run with abs_top_builddir set to a tree in which make check was run.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/../kernel/uml.sh"
uml_begin
out=$(realpath "$1")
export out
shift

one ()
{
  export V=$1 P=$1
  truncate -s 64M "$tmp/$P-a" "$tmp/$P-b" "$tmp/$P-d"
  uml_run "$P" "$tmp/$P-a" "$tmp/$P-b" "$tmp/$P-d" <<'BODY'
  A=${images[0]} B=${images[1]} D=${images[2]}
  hostname golden
  export TZ=UTC
  case $V in
    0.90) sb=130944 n=4096 ;;
    1.0) sb=131056 n=512 ;;
    1.1) sb=0 n=512 ;;
    1.2) sb=8 n=512 ;;
  esac
  capture () # NAME DEVICE
  {
    local at log
    dd if=$2 of=/run/sb iflag=direct bs=4096 skip=$((sb / 8)) count=1 status=none
    if [ $V = 0.90 ]; then at=8
    else at=$(od -A n -t d4 -j 96 -N 4 /run/sb)
    fi
    [ "$at" -ne 0 ] || at=8 # no bitmap: zeroes
    dd if=$2 of=/run/bm iflag=direct bs=4096 skip=$(((sb + at) / 8)) count=1 status=none
    { head -c $n /run/sb; head -c 512 /run/bm; } > $out/$P-$1.bin
    mdadm --examine $2 | sed -e "s,^$2:,LEG:," -e 's/ *(local to host [^)]*)//' -e 's/[[:space:]]*$//' > $out/$P-$1.examine
    mdadm --examine-bitmap $2 2>/dev/null | sed -e "s,$2,LEG," > $out/$P-$1.bitmap || :
    grep -q Magic $out/$P-$1.bitmap || rm $out/$P-$1.bitmap
    if [ -n "${3-}" ]; then
      log=$(od -A n -t d4 -j 188 -N 4 /run/sb)
      dd if=$2 of=/run/log iflag=direct bs=4096 skip=$(((sb + log) / 8)) count=1 status=none
      head -c 512 /run/log > $out/$P-$1.entries
      mdadm --examine-badblocks $2 | sed "s,$2,LEG," > $out/$P-$1.badblocks
    fi
    dd if=$2 of=/run/again iflag=direct bs=4096 skip=$((sb / 8)) count=1 status=none
    cmp /run/sb /run/again || die "$1 changed meanwhile"
    echo "captured $1"
  }
  create () { { yes || :; } 2>/dev/null | mdadm --create /dev/md0 --run --level=1 --metadata=$V "$@" 2>&1; }
  wipe () { for i in $A $B $D; do dd if=/dev/zero of=$i bs=1M status=none || :; done; sync; }
  put () { dd if=/dev/urandom of=/dev/md0 bs=64K count=1 seek=$1 oflag=direct conv=notrunc status=none; }
  asm () { mdadm --assemble /dev/md0 "$@"; }
  name () { [ $V = 0.90 ] || echo --name=$1; }

  # clean
  create --bitmap=internal --raid-devices=2 --assume-clean $(name clean) $A $B
  mdadm --stop /dev/md0
  capture clean-0 $A
  wipe
  # dirty and on
  create --bitmap=internal --bitmap-chunk=64K --raid-devices=2 --assume-clean $(name dirty) $A $B
  mdadm --stop /dev/md0
  asm $A $B
  sleep 1
  # As long as it takes to look.
  echo 100 > /sys/block/md0/md/safe_mode_delay
  put 3; put 1000
  capture dirty-0 $A
  echo 0.2 > /sys/block/md0/md/safe_mode_delay
  sleep 1
  capture before-0 $A
  mdadm /dev/md0 --fail $B
  sleep 1
  capture faulty-0 $A
  put 20
  sleep 1
  mdadm /dev/md0 --remove $B
  sleep 1
  capture removed-0 $A; capture removed-1 $B
  mdadm /dev/md0 --re-add $B
  md_settle
  sleep 1
  mdadm /dev/md0 --add $D
  md_settle
  sleep 1
  capture spare-0 $A; capture spare-2 $D
  mdadm --stop /dev/md0
  asm $A $B $D
  echo 20 > /sys/block/md0/md/sync_speed_max
  echo 10 > /sys/block/md0/md/sync_speed_min
  put 30
  mdadm /dev/md0 --fail $B
  sleep 2
  capture recovering-0 $A; capture recovering-2 $D
  put 40
  echo 200000 > /sys/block/md0/md/sync_speed_max
  echo 200000 > /sys/block/md0/md/sync_speed_min
  md_settle
  sleep 1
  capture recovered-2 $D
  mdadm --stop /dev/md0
  wipe
  # the first slot is lost
  create --bitmap=internal --raid-devices=2 --assume-clean $(name first) $A $B
  mdadm --stop /dev/md0
  asm $A $B
  capture first-before-1 $B
  mdadm /dev/md0 --fail $A
  sleep 1
  mdadm /dev/md0 --remove $A
  sleep 1
  mdadm --stop /dev/md0
  capture first-removed-1 $B
  wipe
  create --bitmap=internal --raid-devices=3 --assume-clean $(name write-mostly) --write-behind=100 $A missing --write-mostly --failfast $B
  echo writemostly > /sys/block/md0/md/dev-$(basename $B)/state
  echo failfast > /sys/block/md0/md/dev-$(basename $B)/state || :
  sleep 1
  mdadm --stop /dev/md0
  capture write-mostly-0 $A; capture write-mostly-2 $B
  wipe
  create --bitmap=none --raid-devices=2 $(name no-bitmap) $A $B
  echo 2000 > /sys/block/md0/md/sync_speed_max
  sleep 1
  mdadm --stop /dev/md0
  capture checkpoint-0 $A
  asm $A $B
  md_settle
  mdadm --stop /dev/md0
  capture no-bitmap-0 $A
  if [ $V != 0.90 ]; then
    wipe
    create --bitmap=internal --raid-devices=2 --assume-clean $(name bad-blocks) $A $B
    echo 1000 16 > /sys/block/md0/md/rd0/bad_blocks
    echo 50000 1 > /sys/block/md0/md/rd0/bad_blocks
    echo 20000 700 > /sys/block/md0/md/rd0/bad_blocks
    put 1
    sleep 1
    mdadm --stop /dev/md0
    capture bad-blocks-0 $A log
  fi
BODY
}
for v in "$@"; do
  one "$v"
done
exit 0
