#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# mdbitmap examine and examine-bitmap say what mdadm says, line by line, about
# legs that mdadm and the kernel wrote (tests/golden); what they cannot use is
# printed all the same, and nothing is ever written.

set -e -u
export LC_ALL=C TZ=UTC

tests=$(cd "$(dirname "$0")" && pwd)
golden=$tests/golden
tool=$(realpath "${MDBITMAP:-${abs_top_builddir:-.}/tools/mdbitmap}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

fail ()
{
  echo "$(basename "$0"): FAILED: $*" >&2
  exit 1
}

# make NAME: the golden leg of that name, as the file LEG.
make ()
{
  local super=8 bitmap=16 log=24 sectors=1

  case $1 in
    0.90-*) super=130944 bitmap=130952 sectors=8 ;;
    1.0-*) super=131056 bitmap=131040 log=131048 ;;
    1.1-*) super=0 bitmap=8 log=16 ;;
  esac
  rm -f LEG
  truncate -s 64M LEG
  dd if="$golden/$1.bin" of=LEG bs=512 count=$sectors seek=$super \
     conv=notrunc status=none
  dd if="$golden/$1.bin" of=LEG bs=512 skip=$sectors seek=$bitmap \
     conv=notrunc status=none
  if [ -e "$golden/$1.entries" ]; then
    dd if="$golden/$1.entries" of=LEG bs=512 seek=$log conv=notrunc status=none
  fi
}

# expected_status NAME: by what mdadm said.
expected_status ()
{
  awk '/Array State :/ { if ($4 ~ /\./) bad = 1 }
       /Raid Devices :/ { all = $4 }
       /Active Devices :/ { if ($4 < all) bad = 1 }
       END { print bad + 0 }' "$golden/$1.examine"
}

# poke OFFSET HEX: bytes into LEG, and the superblock's checksum made right.
poke ()
{
  python3 - "$@" <<'END'
import struct, sys
offset, data = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
with open("LEG", "r+b") as f:
    f.seek(offset)
    f.write(data)
    f.seek(4096)
    block = bytearray(f.read(512))
    block[216:220] = bytes(4)
    total = sum(struct.unpack("<128I", block))
    total = ((total & 0xffffffff) + (total >> 32)) & 0xffffffff
    f.seek(4096 + 216)
    f.write(struct.pack("<I", total))
END
}

# run EXPECTED-STATUS COMMAND...: out and err hold what it said.
run ()
{
  local expected=$1 status=0

  shift
  "$@" >out 2>err || status=$?
  [ $status -eq "$expected" ] \
    || fail "$*: status $status, not $expected: $(cat err)"
}

# What depends on the machine is left out: its name, and those of devices.
same ()
{
  sed 's/  (local to host .*)$//' out >text
  sed -e 's/  (local to host .*)$//' -e 's,   /dev/[a-z0-9/]*$,,' "$1" >wanted
  diff -u wanted text || fail "$1 differs"
}

# ---- what mdadm says ----

n=0
for file in "$golden"/*.bin; do
  name=$(basename "$file" .bin)
  make "$name"
  sum=$(sha256sum LEG)
  run "$(expected_status "$name")" "$tool" examine LEG
  same "$golden/$name.examine"
  [ ! -s err ] || fail "$name: $(cat err)"
  if grep -q 'Internal Bitmap' "$golden/$name.examine"; then
    run 0 "$tool" examine-bitmap LEG
    same "$golden/$name.bitmap"
    [ ! -s err ] || fail "$name: $(cat err)"
  else
    run 4 "$tool" examine-bitmap LEG
    grep -q 'no internal bitmap' err || fail "$name: $(cat err)"
  fi
  [ "$(sha256sum LEG)" = "$sum" ] || fail "$name: the leg was written"
  # Entries of the bad-block log: "SECTOR for N sectors", from the data on.
  if [ -e "$golden/$name.badblocks" ]; then
    "$tool" examine --json LEG >out || fail "$name: --json"
    python3 - "$golden/$name.badblocks" <<'END' || fail "$name: bad blocks"
import json, re, sys
o = json.load(open("out"))[0]
theirs = sorted((int(a) * 512, int(b) * 512) for a, b in
                re.findall(r"(\d+) for (\d+)", open(sys.argv[1]).read()))
ours = sorted((e["offset"], e["length"]) for e in o["bad-blocks"])
assert theirs and theirs == ours, (theirs, ours)
END
  fi
  n=$((n + 1))
done
[ $n -ge 56 ] || fail "there are only $n golden legs"

# ---- every version, as mdadm reads it ----

# build KEY=VALUE...: LEG, made by make_leg.py.
build ()
{
  python3 "$tests/make_leg.py" LEG "$@" || fail "make_leg.py $*"
}

if command -v mdadm >/dev/null || [ -x /sbin/mdadm ]; then
  n=0
  for version in 0.90 1.0 1.1 1.2; do
    for how in '' 'dev=1 flags=1' 'events=44 roles=0,faulty' features=0 \
               'clean=0 flags=3 dev=1 disks=3 roles=0,1,spare' \
               'disks=3 roles=2,faulty,1 events=4294967297 utime=86399' \
               'features=9 bad=2100+8,90000+16' 'roles=0,1,1'; do
      case $version,$how in
        0.90,*bad=* | 0.90,roles=0,1,1) continue ;;
      esac
      # shellcheck disable=SC2086
      build version=$version $how
      PATH=$PATH:/sbin:/usr/sbin mdadm --examine LEG >theirs 2>&1 \
        || fail "mdadm: $(cat theirs)"
      status=0
      "$tool" examine LEG >out 2>err || status=$?
      [ $status -le 1 ] || fail "$version $how: $(cat err)"
      same theirs
      n=$((n + 1))
    done
  done
  [ $n -eq 30 ] || fail "$n comparisons with mdadm"
fi

# The bitmap is found wherever the version has it.
for version in 0.90 1.0 1.1 1.2; do
  build version=$version marked=0,7,1000
  run 0 "$tool" examine-bitmap LEG
  grep -q 'chunks), 3 dirty' out || fail "$version: $(cat out)"
  uuid=$("$tool" examine LEG | sed -n 's/^ *\(Array \|\)UUID : //p')
  grep -q " UUID : $uuid\$" out || fail "$version: the UUIDs differ"
done
build bitmap=3 marked=4
run 0 "$tool" examine-bitmap LEG
grep -q 'Version : 3' out || fail "$(cat out)"

# Several superblocks on a leg: the one made last, and a line; none, if they
# are equally old.
build version=1.0 ctime=1000000005
build version=1.2 ctime=1000000004 keep=1
run 0 "$tool" examine LEG
grep -q 'Version : 1\.0' out || fail "not the one made last: $(cat out)"
[ "$(wc -l <err)" -eq 1 ] || fail "$(cat err)"
grep -q 'version 1\.2 is there as well' err || fail "$(cat err)"
build version=0.90 ctime=1000000006 keep=1
run 0 "$tool" examine LEG
grep -q 'Version : 0\.90\.00' out || fail "not the one made last: $(cat out)"
[ "$(grep -c 'is there as well' err)" -eq 2 ] || fail "$(cat err)"
build version=1.1 ctime=1000000006 keep=1
run 4 "$tool" examine LEG
grep -q 'nothing tells which is true: it is refused' err || fail "$(cat err)"
# What lies in the wrong place is only a copy.
build version=1.2 ctime=1000000004
dd if=LEG of=LEG bs=512 skip=8 count=1 conv=notrunc status=none
run 0 "$tool" examine LEG
[ ! -s err ] || fail "$(cat err)"

# Named, and shown if that makes sense.
build version=0.90-big
run 4 "$tool" examine LEG
grep -q 'big-endian' err || fail "$(cat err)"
build version=0.90 minor=91
run 4 "$tool" examine LEG
grep -q 'field minor_version: .*reshape' err || fail "$(cat err)"
grep -q 'Version : 0\.91\.00' out || fail "$(cat out)"
for features in 0x5:reshape 0x101:clustered 0x201:journal 0x1001:RAID0; do
  build features=${features%:*}
  run 4 "$tool" examine LEG
  grep -q "feature_map: .*${features#*:}" err || fail "$(cat err)"
  grep -q 'Array State : AA' out || fail "not shown: $(cat out)"
done

# Several legs: the worst state counts.
make degraded-0
mv LEG A
make degraded-1
run 0 "$tool" examine LEG
run 1 "$tool" examine LEG A
grep -q '^LEG:$' out || fail "no LEG"
grep -q '^A:$' out || fail "no A"

# All slots lost.
make clean-0
poke $((4096 + 256)) feffffff
run 2 "$tool" examine LEG
grep -q "Array State : \.\. " out || fail "$(cat out)"

# ---- bitmap files ----

make dirty-0
dd if=LEG of=FILE bs=1 skip=8192 count=382 status=none
run 0 "$tool" examine-bitmap FILE
sed -i 's/FILE/LEG/' out
same "$golden/dirty-0.bitmap"
truncate -s 380 FILE
run 4 "$tool" examine-bitmap FILE
grep -q '992 chunks, and there are 1008' err || fail "$(cat err)"
grep -q '992 bits (chunks), 1 dirty' out || fail "$(cat out)"
truncate -s 100 FILE
run 4 "$tool" examine-bitmap FILE

# The legs tell of it, where they do not have one themselves.
build clean=0 marked=3,5 events=40 roles=0,faulty
run 1 "$tool" bitmap bits LEG
run 1 "$tool" examine LEG
grep -q -x "    Bitmap File : $PWD/bits" out || fail "$(cat out)"
run 1 "$tool" examine --json LEG
grep -q "\"bitmap-file\": \"$PWD/bits\"" out || fail "$(cat out)"
run 0 "$tool" examine-bitmap bits
grep -q '1008 bits (chunks), 2 dirty' out || fail "$(cat out)"
# A note of another array means nothing.
dd if=LEG of=note bs=2048 skip=3 count=1 status=none
build features=0 roles=0,faulty
dd if=note of=LEG bs=2048 seek=3 conv=notrunc status=none
run 1 "$tool" examine --json LEG
grep -q "\"bitmap-file\": \"$PWD/bits\"" out || fail "$(cat out)"
printf 'x' | dd of=LEG bs=1 seek=$((4096 + 16)) conv=notrunc status=none
run 4 "$tool" examine LEG
rm -f bits note

# ---- bitmaps that only the kernel can serve ----

build features=0x101 bitmap=5 marked=1,2,900
run 4 "$tool" examine-bitmap LEG
grep -q 'version: found 5 (clustered)' err || fail "$(cat err)"
for line in 'Cluster nodes : 2' 'Cluster name : our-club' 'Node Slot : 1' \
            'chunks), 3 dirty' 'chunks), 1 dirty' 'Events : 3'; do
  grep -q "$line" out || fail "clustered: no '$line': $(cat out)"
done
build bitmap=6 chunk=128 states=0,0,2,3,3,4,5,6,7,9
run 4 "$tool" examine-bitmap LEG
grep -q 'version: found 6 (lockless)' err || fail "$(cat err)"
for line in 'Chunksize : 64 KB' 'State : OK, first use' 'Unwritten : 2$' \
            'Clean : 998$' 'Dirty : 1$' 'NeedSync : 2$' 'Syncing : 1$' \
            'NeedSyncUnwritten : 1$' 'SyncingUnwritten : 1$' \
            'CleanUnwritten : 1$' 'Unknown : 1$' '1008 bytes (chunks), 7 dirty'
do
  grep -q "$line" out || fail "lockless: no '$line': $(cat out)"
done
# As a file, and cut off.
dd if=LEG of=FILE bs=4096 skip=2 count=1 status=none
truncate -s 1030 FILE
run 4 "$tool" examine-bitmap FILE
grep -q 'has bytes for 6 chunks, and there are 1008' err || fail "$(cat err)"

# ---- JSON ----

# json KEY VALUE (JSON): of the object in out, or of the first in a list.
json ()
{
  python3 - "$@" <<'END'
import json, sys
o = json.load(open("out"))
o = o[0] if isinstance(o, list) else o
key, value = sys.argv[1], json.loads(sys.argv[2])
if o[key] != value:
    sys.exit("%s: %r, not %r" % (key, o[key], value))
END
}

make write-mostly-2
run 1 "$tool" examine --json LEG
json leg '"LEG"'
json metadata '"1.2"'
json feature-map 1
json features '["bitmap-offset"]'
json name '"host:write-mostly"'
json raid-level '"raid1"'
json raid-devices 3
json array-size 66060288
json used-size 66060288
json available-size 66060288
json data-offset 1048576
json super-offset 4096
json bitmap-offset 4096
json bitmap-file null
json bad-block-log-offset 8192
json bad-block-log-size 4096
json unused-before 1007616
json unused-after 0
json recovery-offset null
json resync-offset null
json state '"clean"'
json flags '["write-mostly", "failfast"]'
json events 0
json device-number 2
json device-role '"active"'
json slot 2
json array-state '"A.A"'
json working-devices 2
json refused null
make re-adding-1
run 0 "$tool" examine --json LEG
json features '["bitmap-offset", "recovery-offset", "recovery-bitmap"]'
json recovery-offset 0
make dirty-0
run 0 "$tool" examine --json LEG
json state '"active"'
json resync-offset 0
run 0 "$tool" examine-bitmap --json LEG
json version 4
json chunk-size 65536
json sync-size 66060288
json chunks 1008
json chunks-marked 2
json events 1
json events-cleared 0
json daemon-sleep 5
json state '"ok"'
json refused null
build features=9 bad=2100+8,90000+16,0+0,70+512
run 0 "$tool" examine --json LEG
json features '["bitmap-offset", "bad-blocks"]'
json bad-blocks '[{"offset": 1075200, "length": 4096},
  {"offset": 46080000, "length": 8192}, {"offset": 35840, "length": 262144}]'
build features=0x21
run 4 "$tool" examine --json LEG
python3 -c 'import json; r = json.load(open("out"))[0]["refused"]
assert r["field"] == "feature_map" and r["advice"], r'
build version=0.90 dev=1 flags=1 roles=0,1,spare
run 0 "$tool" examine --json LEG
json metadata '"0.90"'
json array-uuid '"13121110:17161514:1b1a1918:1f1e1d1c"'
json device-uuid null
json super-offset 67043328
json data-offset 0
json array-size 67043328
json slot 1
json flags '["write-mostly"]'
json preferred-minor 3
json spare-devices 1
json this-device '{"number": 1, "major": 7, "minor": 101, "raid-device": 1,
  "state": "active sync write-mostly"}'
python3 -c 'import json; d = json.load(open("out"))[0]["devices"]
assert [x["state"] for x in d] \
    == ["active sync", "active sync write-mostly", "spare"], d'
build version=1.0 ctime=1000000005
build version=1.2 ctime=1000000004 keep=1
run 0 "$tool" examine --json LEG
json metadata '"1.0"'
json other-superblocks '["1.2"]'
json bitmap-offset -8192
json super-offset 67100672
json bad-block-log-offset -4096
build bitmap=6 chunk=128 states=0,3
run 4 "$tool" examine-bitmap --json LEG
json chunk-size 65536
json chunks-marked 1
json first-use true
json states '{"unwritten": 1, "clean": 1006, "dirty": 0, "need-sync": 1,
  "syncing": 0, "need-sync-unwritten": 0, "syncing-unwritten": 0,
  "clean-unwritten": 0, "unknown": 0}'
build features=0x101 bitmap=5 marked=3
run 4 "$tool" examine-bitmap --json LEG
json cluster-name '"our-club"'
python3 -c 'import json; n = json.load(open("out"))["node-bitmaps"]
assert [x["chunks-marked"] for x in n] == [1, 1], n
assert [x["events"] for x in n] == [2, 3], n'
make dirty-0
run 0 "$tool" examine --json LEG LEG
python3 -c 'import json; assert len(json.load(open("out"))) == 2'
# A name that is no text.
poke $((4096 + 32)) ff80fe
run 0 "$tool" examine --json LEG
json name '"(not UTF-8)"'

# ---- what is wrong is said, and printed if it is intact ----

# refused OFFSET HEX FIELD: of the superblock.
refused ()
{
  make clean-0
  poke $((4096 + $1)) "$2"
  run 4 "$tool" examine LEG
  grep -q "^mdbitmap: leg LEG: field $3: found .*, expected .*; " err \
    || fail "$3: $(cat err)"
  grep -q '          Magic : a92b4efc' out || fail "$3: not printed"
}
refused 8 05000000 feature_map
refused 8 01800000 feature_map
refused 12 01000000 pad0
refused 72 05000000 level
refused 76 01000000 layout
refused 80 ffffffff00000000 size
refused 92 00000000 raid_disks
refused 92 ffffffff raid_disks
refused 128 0000000000000000 data_offset
refused 128 ffffffffffffffff data_offset
refused 136 ffffffffffffffff data_size
refused 144 1000000000000000 super_offset
refused 160 ffffffff dev_number
refused 184 80 devflags
refused 186 ffff bblog_size
refused 200 ffffffffffffffff events
refused 208 feffffffffffffff resync_offset
refused 228 01 pad3
refused 256 0500 dev_roles

# Not intact: nothing but the reason.
make clean-0
printf X | dd of=LEG bs=1 seek=$((4096 + 300)) conv=notrunc status=none
run 4 "$tool" examine LEG
grep -q 'field sb_csum: ' err || fail "$(cat err)"
[ ! -s out ] || fail "a damaged superblock is printed"
truncate -s 0 LEG
run 4 "$tool" examine LEG
grep -q 'no superblock' err || fail "$(cat err)"
truncate -s 64M LEG
run 4 "$tool" examine LEG
grep -q 'no superblock' err || fail "$(cat err)"
run 4 "$tool" examine-bitmap LEG
grep -q 'neither' err || fail "$(cat err)"
make clean-0
truncate -s 32M LEG
run 4 "$tool" examine LEG
grep -q 'field data_size: \|field data_offset: ' err || fail "$(cat err)"
run 4 "$tool" examine nothing
grep -q 'leg nothing: ' err || fail "$(cat err)"
run 4 "$tool" examine .
run 4 "$tool" examine nbd://localhost
grep -q 'not supported yet' err || fail "$(cat err)"

# One bad leg does not hide the others.
make clean-0
run 4 "$tool" examine nothing LEG
grep -q 'Array State : AA' out || fail "LEG is not printed"

# bitmap_refused OFFSET HEX FIELD: of the bitmap's header.
bitmap_refused ()
{
  make dirty-0
  poke $((8192 + $1)) "$2"
  run 4 "$tool" examine-bitmap LEG
  grep -q "bitmap: field $3: " err || fail "$3: $(cat err)"
  grep -q '           Magic : 6d746962' out || fail "$3: not printed"
}
bitmap_refused 4 05000000 version
bitmap_refused 4 06000000 version
bitmap_refused 48 04000000 state
bitmap_refused 52 00000000 chunksize
bitmap_refused 52 01000000 chunksize
bitmap_refused 56 00000000 daemon_sleep
bitmap_refused 60 ffffffff write_behind
bitmap_refused 68 01000000 nodes
bitmap_refused 200 01 pad
make dirty-0
poke $((8192)) 00
run 4 "$tool" examine-bitmap LEG
grep -q 'no bitmap at byte 8192' err || fail "$(cat err)"
poke $((4096 + 96)) 00000080
run 4 "$tool" examine-bitmap LEG
grep -q 'bitmap_offset' err || fail "$(cat err)"
make dirty-0
poke $((8192 + 48)) 02000000
run 0 "$tool" examine-bitmap LEG
grep -q 'State : Out of date' out || fail "$(cat out)"

# ---- a leg in use can be looked at ----

make clean-0
python3 - LEG "$tool" <<'END'
import fcntl, struct, subprocess, sys
f = open(sys.argv[1], "r+b")
F_OFD_SETLK = 37
fcntl.fcntl(f, F_OFD_SETLK,
            struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
for command in "examine", "examine-bitmap":
    subprocess.run([sys.argv[2], command, "LEG"], check=True,
                   stdout=subprocess.DEVNULL)
END

# ---- usage ----

run 4 "$tool"
run 4 "$tool" examine
run 4 "$tool" examine --yaml LEG
run 4 "$tool" examine-bitmap
run 4 "$tool" examine-bitmap LEG LEG
run 4 "$tool" nonsense
grep -q -e --help err || fail "no way to the help"
run 0 "$tool" --help
grep -q '^usage: ' out || fail "no usage"
run 0 "$tool" --version
grep -q '^mdbitmap [0-9]' out || fail "no version"
# Output that goes nowhere is an error.
if [ -c /dev/full ]; then
  status=0
  "$tool" examine LEG >/dev/full 2>err || status=$?
  [ $status -eq 4 ] || fail "a full disk went unnoticed"
fi
exit 0
