#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# mdbitmap bitmap: from each place to each other one and back, bit for bit;
# what it refuses, and that it has changed nothing then.

set -e -u
export LC_ALL=C TZ=UTC PATH="/usr/bin:/bin:$PATH"

tests=$(cd "$(dirname "$0")" && pwd)
tool=$(realpath "${MDBITMAP:-${abs_top_builddir:-.}/tools/mdbitmap}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir said

fail ()
{
  echo "$(basename "$0"): FAILED: $*" >&2
  exit 1
}

# build LEG KEY=VALUE...
build ()
{
  python3 "$tests/make_leg.py" "$@" || fail "make_leg.py $*"
}

sums ()
{
  find . -maxdepth 1 -type f -print0 | sort -z | xargs -0 sha256sum
}

# run EXPECTED-STATUS ARGUMENT...: of mdbitmap bitmap.
run ()
{
  local expected=$1 status=0

  shift
  "$tool" bitmap "$@" >said/out 2>said/err || status=$?
  [ $status -eq "$expected" ] \
    || fail "bitmap $*: status $status, not $expected: $(cat said/*)"
}

changes ()
{
  run 0 "$@"
  [ ! -s said/err ] || fail "bitmap $*: $(cat said/err)"
  [ "$(wc -l <said/out)" -eq 1 ] || fail "bitmap $*: $(cat said/out)"
}

# refused PATTERN ARGUMENT...: and nothing changes.
refused ()
{
  local pattern=$1

  shift
  sums >said/before
  run 4 "$@"
  grep -q -e "^mdbitmap: .*$pattern" said/err || fail "bitmap $*: $(cat said/err)"
  sums | cmp -s - said/before || fail "bitmap $*: refused, but changed something"
}

# json COMMAND FILE EXPRESSION: true for o, what it says.
json ()
{
  "$tool" "$1" --json "$2" >said/json || :
  python3 - "$3" <<'END' || fail "$1 $2: $3: $(cat said/json)"
import json, sys
o = json.load(open("said/json"))
o = o[0] if isinstance(o, list) else o
sys.exit(not eval(sys.argv[1]))
END
}

# marked FILE: the bits of a bitmap with chunks of 64K.
marked ()
{
  local offset=0

  [ "$1" = bits ] || [ "$1" = more ] \
    || offset=$("$tool" examine-bitmap --json "$1" \
      | python3 -c 'import json, sys; print(json.load(sys.stdin)["offset"])')
  python3 - "$1" "$offset" <<'END'
import sys
with open(sys.argv[1], "rb") as f:
    f.seek(int(sys.argv[2]) + 256)
    bits = f.read(128)
print([n for n in range(1000) if bits[n >> 3] >> (n & 7) & 1])
END
}

# ---- round and round, for every version; the array is not clean ----

for version in 0.90 1.0 1.1 1.2; do
  rm -f bits more
  for leg in 0 1; do
    build l$leg version=$version dev=$leg clean=0 marked=3,7,900 \
      events=40 cleared=31
  done
  json examine l0 'o["bitmap-file"] is None and o["bitmap-offset"]'

  changes bits l0 l1
  grep -q "its bitmap is now $tmp/bits, 10.. chunks of 65536 bytes, 3 of them" \
    said/out || fail "$(cat said/out)"
  [ "$(marked bits)" = '[3, 7, 900]' ] || fail "$version: bits: $(marked bits)"
  json examine-bitmap bits 'o["events-cleared"] == 31 and o["state"] == "ok"'
  for leg in l0 l1; do
    json examine $leg 'o["bitmap-offset"] is None and o["feature-map"] in (0, None)'
    json examine $leg "o['bitmap-file'] == '$tmp/bits' and o['state'] == 'active'"
    "$tool" examine $leg | grep -q -x -e "    Bitmap File : $tmp/bits" \
      || fail "examine $leg"
  done

  changes more l0 l1
  [ "$(marked more)" = '[3, 7, 900]' ] || fail "$version: more: $(marked more)"
  json examine l1 "o['bitmap-file'] == '$tmp/more'"
  json examine-bitmap bits 'o["state"] != "ok"'
  [ "$("$tool" assemble --dry-run --bitmap=more l0 l1 | grep -c \
    '3 of 10.. chunks .*; its bitmap is in the file .*/more$')" -eq 1 ] \
    || fail "assemble --bitmap=more"

  changes internal l0 l1
  for leg in l0 l1; do
    [ "$(marked $leg)" = '[3, 7, 900]' ] || fail "$version: $leg: $(marked $leg)"
    json examine $leg 'o["bitmap-file"] is None and o["bitmap-offset"]'
    json examine-bitmap $leg 'o["events-cleared"] == 31'
  done
  changes internal l0 l1
  grep -q 'is that already: internal$' said/out || fail "$(cat said/out)"

  # Other chunks: both must have room on the legs.
  if [ $version = 0.90 ]; then
    refused 'change to none first, then to internal' \
      internal --bitmap-chunk=4K l0 l1
  else
    changes internal --bitmap-chunk=4K l0 l1
    json examine-bitmap l1 'o["chunk-size"] == 4096 and o["chunks-marked"] == 48'
    changes internal --bitmap-chunk=64K l0 l1
    [ "$(marked l0)" = '[3, 7, 900]' ] || fail "$version: $(marked l0)"
  fi

  # It was used, but it is the array's own.
  changes bits l0 l1
  changes --bitmap-chunk=1M bits l0 l1
  json examine-bitmap bits 'o["chunk-size"] == 1 << 20 and o["chunks-marked"] == 2'
  changes none l0 l1
  json examine l0 'o["bitmap-file"] is None and o["bitmap-offset"] is None'
  json examine-bitmap bits 'o["state"] != "ok"'
  changes internal --bitmap-chunk=64K l0 l1
  json examine-bitmap l0 'o["chunks-marked"] == o["chunks"]'
done

# ---- which file, and what becomes of one that is lost ----

# fresh KEY=VALUE...: two legs with their bitmap in bits
fresh ()
{
  rm -f bits more
  build a dev=0 events=40 cleared=31 "$@"
  build b dev=1 events=40 cleared=31 "$@"
  changes bits a b
}

fresh clean=0 marked=5
mv bits moved
refused "$tmp/bits: does not exist" internal a b
grep -q -e '--from=PATH' -e '--force' said/err || fail "$(cat said/err)"
changes --from=moved internal a b
json examine-bitmap a 'o["chunks-marked"] == 1'

fresh clean=0 marked=5
rm -f bits
run 0 --force bits a b
json examine-bitmap bits 'o["chunks-marked"] == o["chunks"]'
[ "$("$tool" assemble --dry-run --bitmap=bits a b | grep -c ': full')" -eq 1 ] \
  || fail "not all is marked"

fresh clean=0 marked=5
printf 'no bitmap' >bits
refused 'there is no bitmap in it' internal a b
run 0 --force internal a b
json examine-bitmap b 'o["chunks-marked"] == o["chunks"]'

# One that is behind is said to be, and marks everything.
fresh clean=0 marked=5
cp bits moved
changes more a b
run 0 --from=moved internal a b
grep -q 'stale' said/err || fail "$(cat said/err)"
json examine-bitmap a 'o["chunks-marked"] == o["chunks"]'

# Clean and whole, there is nothing to be marked.
fresh
rm -f bits
run 0 --force internal a b
json examine-bitmap a 'o["chunks-marked"] == 0'

# A degraded array keeps what the lost leg misses.
rm -f bits
build a dev=0 roles=0,faulty events=40 cleared=20 marked=9
run 1 bits a
[ "$(marked bits)" = '[9]' ] || fail "$(marked bits)"
json examine-bitmap bits 'o["events-cleared"] == 20'
rm -f bits
run 4 none a
run 1 --force none a
run 1 internal a
json examine-bitmap a 'o["chunks-marked"] == o["chunks"]'
rm -f bits

# An internal one that cannot be used: in state "write error".
for version in 0.90 1.2; do
  for to in internal none; do
    for leg in 0 1; do
      build l$leg version=$version dev=$leg clean=0 marked=3 events=40
      python3 - l$leg "$("$tool" examine-bitmap --json l$leg \
        | python3 -c 'import json, sys; print(json.load(sys.stdin)["offset"])')" \
        <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]) + 48)
    f.write(b"\4")
END
    done
    refused 'mdbitmap bitmap --force internal LEG... makes it anew' $to l0 l1
    run 0 --force $to l0 l1
    [ $to = none ] || json examine-bitmap l1 \
      'o["state"] == "ok" and o["chunks-marked"] == o["chunks"]'
    json examine l1 "(o['bitmap-offset'] is None) == ('$to' == 'none')"
    "$tool" assemble --dry-run l0 l1 >said/out || fail "$version: to $to"
  done
done

# ---- refused ----

build a dev=0 events=40 cleared=31
build b dev=1 events=40 cleared=31
printf 'a letter' >letter
refused 'never been used' letter a b
refused 'it is the leg a' a a b
refused 'regular file' "$tmp" a b
refused 'cannot be' none/such/folder a b
refused 'bitmap-chunk' internal --bitmap-chunk=3K a b
refused 'bitmap-chunk' internal --bitmap-chunk=2K a b
refused '' --from=letter internal a b
refused 'no leg that can be used' internal a
refused 'no leg given' internal
refused 'give internal, none' --force
refused 'contradicts none' none --bitmap-chunk=64K a b
refused 'degraded' --degraded=perhaps none a b
refused 'bad option' --nonsense none a b
run 1 --degraded=allow none a
