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
  rm -f LEG
  truncate -s 64M LEG
  dd if="$golden/$1.bin" of=LEG bs=512 count=1 seek=8 conv=notrunc status=none
  dd if="$golden/$1.bin" of=LEG bs=512 skip=1 seek=16 conv=notrunc status=none
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

same ()
{
  sed 's/  (local to host .*)$//' out >text
  diff -u "$1" text || fail "$1 differs"
}

# ---- what mdadm says ----

n=0
for file in "$golden"/*.bin; do
  name=$(basename "$file" .bin)
  make "$name"
  sum=$(sha256sum LEG)
  status=0
  case $name in
    degraded-0 | write-mostly-*) status=1 ;;
    bad-blocks-* | replacing-*) status=4 ;;
  esac
  run $status "$tool" examine LEG
  same "$golden/$name.examine"
  if [ $status -eq 4 ]; then
    [ "$(wc -l <err)" -eq 1 ] || fail "$name: the reason is not one line"
    grep -q 'leg LEG: field ' err || fail "$name: no reason: $(cat err)"
  else
    [ ! -s err ] || fail "$name: $(cat err)"
  fi
  if [ -e "$golden/$name.bitmap" ]; then
    run 0 "$tool" examine-bitmap LEG
    same "$golden/$name.bitmap"
    [ ! -s err ] || fail "$name: $(cat err)"
  else
    run 4 "$tool" examine-bitmap LEG
    grep -q 'no internal bitmap' err || fail "$name: $(cat err)"
  fi
  [ "$(sha256sum LEG)" = "$sum" ] || fail "$name: the leg was written"
  n=$((n + 1))
done
[ $n -eq 15 ] || fail "there are $n golden legs, not 15"

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
make bad-blocks-0
run 4 "$tool" examine --json LEG
python3 -c 'import json; r = json.load(open("out"))[0]["refused"]
assert r["field"] == "feature_map" and r["advice"], r'
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
