#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# mdbitmap assemble: --dry-run says for each leg what a server would do with
# it, and changes nothing; after a split brain it shows both histories and the
# commands to choose from; --force-source settles it durably.

set -e -u
export LC_ALL=C TZ=UTC

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

# run EXPECTED-STATUS ARGUMENT...: of mdbitmap assemble.
run ()
{
  local expected=$1 status=0

  shift
  "$tool" assemble "$@" >said/out 2>said/err || status=$?
  [ $status -eq "$expected" ] \
    || fail "assemble $*: status $status, not $expected: $(cat said/*)"
}

# dry EXPECTED-STATUS ARGUMENT...: the same with --dry-run, as JSON and as
# text; nothing may change.
dry ()
{
  local expected=$1

  shift
  sums >said/before
  run "$expected" --dry-run --json "$@"
  mv said/out said/json
  run "$expected" --dry-run "$@"
  sums | cmp -s - said/before || fail "--dry-run $* changed something"
}

# says PATTERN...: a line of stdout for each.
says ()
{
  local pattern

  for pattern in "$@"; do
    grep -q -e "$pattern" said/out || fail "no '$pattern' in: $(cat said/out said/err)"
  done
}

complains ()
{
  grep -q -e "$1" said/err || fail "no '$1' in: $(cat said/err)"
}

# json EXPRESSION: true for o, what --json said.
json ()
{
  python3 - "$1" <<'END' || fail "$1: $(cat said/json)"
import json, sys
o = json.load(open("said/json"))
leg = {l["leg"]: l for l in o["legs"]}
sys.exit(not eval(sys.argv[1]))
END
}

# ---- what would be resynced, from where and why, for every version ----

for version in 0.90 1.0 1.1 1.2; do
  all="version=$version"

  build a "$all" dev=0
  build b "$all" dev=1
  dry 0 a b
  says '^leg a: slot 0: clean$' '^leg b: slot 1: clean$' \
       '^array .*: 2 of 2 legs, whole, .*nothing to resync$'
  json 'o["state"] == "whole" and o["bitmap"] == "internal"'
  json 'all(l["resync"] == "none" for l in o["legs"])'
  [ "$(wc -l <said/out)" -eq 3 ] || fail "not a line for each: $(cat said/out)"
  [ ! -s said/err ] || fail "$(cat said/err)"

  # Not clean: the marked chunks of both copies, from the lowest slot.
  build a "$all" dev=0 clean=0 marked=3,5
  build b "$all" dev=1 clean=0 marked=900
  dry 0 b a
  says '^leg b: slot 1: bitmap: 3 of 10.. chunks, 192 KiB, from leg a$' \
       '^leg a: slot 0: source$' '3 of 10.. chunks of 65536 bytes to be resynced'
  json 'leg["b"]["resync"] == "bitmap" and leg["b"]["resync-source"] == "a"'
  json 'leg["b"]["resync-bytes"] == 3 * 65536 and leg["b"]["slot"] == 1'
  json 'o["chunks-needed"] == 3'
  # ... unless it is write-mostly.
  build a "$all" dev=0 clean=0 marked=3,5 flags=1
  dry 0 a b
  says '^leg b: slot 1: source$' '^leg a: slot 0: bitmap: 3 of .*from leg b$'
  json 'leg["a"]["write-mostly"]'

  # A bitmap that is older than the superblock, and none.
  build a "$all" dev=0 clean=0 events=28 bitmap-events=26
  build b "$all" dev=1 clean=0 events=28 bitmap-events=26
  dry 0 a b
  says '^leg b: slot 1: full: .*stale.*26 < 28.*from leg a$'
  json 'leg["b"]["resync"] == "full"'
  dry 2 --full-resync=refuse a b
  complains 'full-resync'
  build a "$all" dev=0 clean=0 features=0
  build b "$all" dev=1 clean=0 features=0
  dry 0 a b
  says '^leg b: slot 1: full: .*no bitmap.*from leg a$' '; it has no bitmap$'
  json 'o["bitmap"] == "none" and leg["b"]["resync"] == "full"'

  # A leg that has missed writes.
  build a "$all" dev=0 events=28 roles=0,faulty
  build b "$all" dev=1 events=26
  dry 1 a b
  says '^leg b: not used: .*stale.*26.*28' '1 of 2 legs, degraded'
  json 'leg["b"]["fate"] == "stale" and leg["b"]["slot"] is None'
  json 'leg["b"]["events"] == 26 and o["state"] == "degraded"'
  # Alone it counts on somebody who is not here.
  dry 2 b
  complains 'slot 0'
  says '^leg b: slot 1 of 2, events 26' 'cannot be started'
  json 'o["state"] == "failed" and not o["split-brain"] and not o["choices"]'
  dry 1 --degraded=allow b
  dry 1 a
  dry 2 --degraded=refuse a
  dry 1 a nothing
  complains 'leg nothing'
  says '^leg nothing: not used: '
  json 'leg["nothing"]["fate"] == "absent"'

  # The events are equal, but the record says faulty: never accepted.
  build a "$all" dev=0 events=28 roles=0,faulty
  build b "$all" dev=1 events=28
  dry 1 a b
  says '^leg b: not used: .*faulty'
  json 'leg["b"]["fate"] == "faulty"'

  # A spare.
  build a "$all" dev=0 disks=2 roles=0,1,spare
  build b "$all" dev=1 disks=2 roles=0,1,spare
  build c "$all" dev=2 disks=2 roles=0,1,spare
  dry 0 a b c
  says '^leg c: not used: .*spare'
  json 'leg["c"]["fate"] == "spare"'
done
rm -f c

build a features=9 bad=2100+8
build b dev=1
dry 0 a b
json 'leg["a"]["bad-bytes"] == 4096 and leg["b"]["bad-bytes"] == 0'

# ---- the bitmap in a file ----

rm -f a b
for leg in 0 1; do
  build l$leg dev=$leg clean=0 marked=3,5 events=40
done
"$tool" bitmap bits l0 l1 >said/out || fail "mdbitmap bitmap"
dry 0 --bitmap=bits l0 l1
says "^array .*; 2 of 1008 chunks .*; its bitmap is in the file $tmp/bits\$"
json "o['bitmap'] == 'file' and o['bitmap-file'] == '$tmp/bits'"
dry 0 --bitmap="$tmp/./bits" l0 l1
# It must be said, or that it is given up.
dry 2 l0 l1
complains "its bitmap is in the file $tmp/bits"
dry 2 --bitmap=auto l0 l1
dry 2 --bitmap=internal l0 l1
complains 'has no internal bitmap'
dry 0 --bitmap=none l0 l1
says '^leg l1: slot 1: full' '; it has no bitmap$'
json 'o["bitmap"] == "none" and o["bitmap-file"] is None'
dry 2 --bitmap=nothing l0 l1
complains "$tmp/nothing: does not exist"
dry 4 --bitmap= l0 l1
rm -f l0 l1 bits

# ---- a change of the bitmap that was interrupted ----

# The first wave has reached one leg: the other one follows.
build l0 dev=0 clean=0 marked=3,5 events=41
build l1 dev=1 clean=0 events=40 features=0
dry 0 l0 l1
says '^array .*; 2 of 1008 chunks of 65536 bytes'
json 'o["bitmap"] == "internal"'
build l0 dev=0 clean=0 events=41 features=0
build l1 dev=1 clean=0 marked=3,5 events=40
dry 0 l0 l1
says '; it has no bitmap$'
# But not if they are equally new.
build l1 dev=1 clean=0 marked=3,5 events=41
dry 2 l0 l1
complains 'feature_map'
rm -f l0 l1

# ---- a split brain ----

for version in 0.90 1.0 1.1 1.2; do
  for winner in a b; do
    build a version=$version dev=0 roles=0,faulty events=30 cleared=20 \
          marked=3,5 utime=1795250000
    build b version=$version dev=1 roles=faulty,1 events=33 cleared=21 \
          marked=9,10,11 clean=0
    dry 2 a b
    complains 'split brain'
    says '^leg a: slot 0 of 2, events 30, updated Sat Nov 21 08:33:20 2026, clean' \
         '^leg b: slot 1 of 2, events 33, .*active' \
         'array state A\., leg b faulty' 'array state \.A, leg a faulty' \
         'events cleared 20, 2 of 10.. chunks marked' \
         'events cleared 21, 3 of 10.. chunks marked' \
         '^    mdbitmap assemble --force-source=a a b$' \
         '^    mdbitmap assemble --force-source=b a b$'
    json 'o["split-brain"] and [c["force-source"] for c in o["choices"]] == ["a", "b"]'
    json 'leg["a"]["events-cleared"] == 20 and leg["b"]["chunks-marked"] == 3'

    loser=b
    [ $winner = a ] || loser=a
    dry 1 --force-source=$winner a b
    says "^leg $loser: not used: " "^leg $winner: slot "
    json "leg['$loser']['fate'] == 'split-brain' and not o['recorded']"
    old=$(sha256sum $loser)
    run 1 --force-source=$winner a b
    says '; recorded$' "^leg $loser: not used: "
    [ "$(sha256sum $loser)" = "$old" ] || fail "the loser was written"

    # Durable: it starts by itself now, and with the loser as well, without
    # any word; its events, and events_cleared, lead the loser's.
    dry 1 $winner
    dry 1 a b
    says "^leg $loser: not used: "
    "$tool" examine --json a b >said/json || [ $? -eq 1 ]
    "$tool" examine-bitmap --json $winner >said/bitmap
    python3 - $winner <<'END' || fail "$version: the record is too weak"
import json, sys
legs = {l["leg"]: l for l in json.load(open("said/json"))}
winner = legs.pop(sys.argv[1])
loser = list(legs.values())[0]
bitmap = json.load(open("said/bitmap"))
assert winner["events"] >= loser["events"] + 2, (winner, loser)
assert bitmap["events-cleared"] > loser["events"], bitmap
assert bitmap["events"] >= winner["events"], bitmap
assert winner["working-devices"] == 1, winner
END
  done
done

# A name that the shell would take apart, and the source by another name.
build "it's a" roles=0,faulty events=30
build b dev=1 roles=faulty,1 events=30
dry 2 "it's a" b
says "^    mdbitmap assemble --force-source='it'\\\\''s a' 'it'\\\\''s a' b\$"
ln -s "it's a" source
run 1 --force-source=./source "it's a" b
says '; recorded'
rm source "it's a"

# A leg that cannot be written: nothing is recorded.
build a roles=0,faulty events=30
build b dev=1 roles=faulty,1 events=30
if [ "$(id -u)" -ne 0 ]; then
  chmod 444 a
  sums >said/before
  run 4 --force-source=a a b
  sums | cmp - said/before || fail "changed"
  dry 1 --force-source=a a b
fi
rm -f a

# ---- what it does not do ----

# usage PATTERN ARGUMENT...
usage ()
{
  local pattern=$1

  shift
  run 4 "$@"
  complains "^mdbitmap: .*$pattern"
  complains 'try mdbitmap --help'
  [ ! -s said/out ] || fail "$*: $(cat said/out)"
}
build a
usage 'give --dry-run' a b
usage 'nbdkit mdbitmap' a b
usage 'no leg given' --dry-run
usage 'must be one of the legs' --dry-run --force-source=c a b
usage 'must be one of the legs' --force-source=c a b
usage 'bad option' --dry-run --run a b
usage 'bad option' a b --force-source
usage 'auto, allow or refuse' --dry-run --degraded=maybe a b
usage 'auto or refuse' --dry-run --full-resync=allow a b
usage 'empty' --dry-run ''
run 4 --dry-run nbd://localhost
complains 'not supported yet'
run 4 --dry-run nothing
complains 'leg nothing'
truncate -s 1M nothing
run 4 --dry-run nothing
complains 'leg nothing'
run 4 --force-source=nothing nothing

# In use by a server.
python3 - "$tool" <<'END' || fail "a leg in use was assembled"
import fcntl, struct, subprocess, sys
f = open("a", "r+b")
F_OFD_SETLK = 37
fcntl.fcntl(f, F_OFD_SETLK,
            struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
r = subprocess.run([sys.argv[1], "assemble", "--dry-run", "a", "b"],
                   stderr=subprocess.PIPE)
assert r.returncode == 4 and b"in use" in r.stderr, r
END
exit 0
