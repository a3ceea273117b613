#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The same life with each version of the superblock, with a bitmap and without:
# made, written, stopped, killed, resynced, one leg lost, a split brain.  At
# each stop mdadm reads what we read.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python
export PATH="$PATH:/usr/sbin:/sbin"

cd "$tmp"

# field LEG KEY: of examine --json, or with "bitmap:" of examine-bitmap.
field ()
{
  "$python" - "$tool" "$@" <<'PYTHON'
import json, subprocess, sys
tool, leg, key = sys.argv[1:]
kind = "examine-bitmap" if key.startswith ("bitmap:") else "examine"
o = json.loads (subprocess.run ([tool, kind, "--json", leg],
                                stdout=subprocess.PIPE).stdout)
o = o[0] if isinstance (o, list) else o
print (json.dumps (o[key.replace ("bitmap:", "")]))
PYTHON
}

# equal: the data of a and b is the same.
equal ()
{
  "$python" - "$(field a data-offset)" "$(field b data-offset)" \
            "$(field a array-size)" <<'PYTHON'
import sys
a, b, left = (int (x) for x in sys.argv[1:])
with open ("a", "rb") as f, open ("b", "rb") as g:
    f.seek (a)
    g.seek (b)
    while left:
        n = min (left, 1 << 20)
        x, y = f.read (n), g.read (n)
        if len (x) != n or x != y:
            sys.exit ("the legs differ, %d bytes before the end" % left)
        left -= n
PYTHON
}

# by_mdadm LEG...: what mdadm says, line by line.
by_mdadm ()
{
  local l

  command -v mdadm >/dev/null || return 0
  for l; do
    mdadm --examine "$l" > theirs 2>&1 || fail "mdadm: $(cat theirs)"
    "$tool" examine "$l" > ours || [ $? -eq 1 ] || fail "examine $l"
    diff -u theirs ours || fail "$l: mdadm (-) and we (+) differ"
  done
}

for version in 0.90 1.0 1.1 1.2; do
  for bitmap in internal none; do
    what="$version $bitmap"
    chunk='bitmap-chunk=64K'
    [ $bitmap = internal ] || chunk='leg-timeout=30'
    rm -f a b

    # Made and written; exactly that size, and clean after a stop.
    start_array made a b create=24M metadata=$version bitmap=$bitmap $chunk
    client made '
assert h.get_size () == 24 << 20, h.get_size ()
h.pwrite (b"a" * 4096, 0)
h.pwrite (b"m" * 100000, 777777)
h.pwrite (b"z" * 512, (24 << 20) - 512, nbd.CMD_FLAG_FUA)
h.zero (65536, 1 << 20)
h.flush ()'
    stop made
    [ "$(field a metadata)" = "\"$version\"" ] || fail "$what: metadata"
    [ "$(field a state)" = '"clean"' ] || fail "$what: not clean"
    [ "$(field b state)" = '"clean"' ] || fail "$what: not clean"
    equal || fail "$what: after a stop"
    by_mdadm a b
    if [ $bitmap = none ]; then
      [ "$(field a bitmap-offset)" = null ] || fail "$what: it has a bitmap"
    else
      [ "$(field a bitmap:chunks-marked)" -eq 0 ] || fail "$what: marks"
    fi

    # Killed, and legs made different where they may be: a resync.
    start_array killed a b daemon-sleep=600
    client killed 'h.pwrite (b"k" * 512, 5 << 20, nbd.CMD_FLAG_FUA)'
    crash killed
    [ "$(field b state)" = '"active"' ] || fail "$what: killed and clean"
    "$python" - "$(field b data-offset)" <<'PYTHON'
import sys
with open ("b", "r+b") as f:
    f.seek (int (sys.argv[1]) + (5 << 20))
    f.write (b"torn" * 128)
PYTHON
    by_mdadm a b
    if [ $bitmap = none ]; then
      refuses_all . 'full-resync' a b full-resync=refuse
    fi
    status=0
    "$tool" assemble --dry-run b a > out || status=$?
    [ $status -eq 0 ] || fail "$what: $(cat out)"
    case $bitmap in
      none) grep -q 'b: slot 1: full: .*no bitmap' out ;;
      internal) grep -q 'b: slot 1: bitmap: 1 of 384 chunks, 64 KiB' out ;;
    esac || fail "$what: $(cat out)"
    flags='-v -D mdbitmap.resync=1' start_array again b a
    client again 'assert h.pread (512, 5 << 20) == b"k" * 512'
    wait_log again 'resync done'
    stop again
    equal || fail "$what: after a resync"
    [ "$(field a state)" = '"clean"' ] || fail "$what: not clean after resync"

    # One leg lost: on record, and the old one is left out in any order.
    cp b b.old
    start_array alone a degraded=allow
    client alone 'h.pwrite (b"new!" * 128, 9 << 20, nbd.CMD_FLAG_FUA)'
    crash alone
    by_mdadm a
    [ "$(field a working-devices)" -eq 1 ] || fail "$what: not on record"
    [ "$(field a events)" -ge $(($(field b events) + 2)) ] \
      || fail "$what: events $(field a events), $(field b events)"
    for order in "a b" "b a"; do
      # shellcheck disable=SC2086
      start_array both $order
      in_log both 'b: not used: ' || fail "$what: nothing was said of b"
      client both 'assert h.pread (512, 9 << 20) == b"new!" * 128'
      stop both
      cmp b b.old || fail "$what: the old leg was written"
    done

    # Both have gone on: refused, until it is settled; durably.
    start_array other b degraded=allow
    client other 'h.pwrite (b"rift" * 128, 9 << 20, nbd.CMD_FLAG_FUA)'
    stop other
    sum=$(leg sum-all a b)
    refuses 'split brain' a b
    refuses 'split brain' b a degraded=allow
    [ "$(leg sum-all a b)" = "$sum" ] || fail "$what: refused, but changed"
    cp b b.old
    start_array forced a b force-source=a
    in_log forced 'b: not used: .*force-source' || fail "$what: not said"
    client forced 'assert h.pread (512, 9 << 20) == b"new!" * 128'
    crash forced
    # Without a bitmap there is no room for what tells it from a split brain.
    if [ $bitmap = none ]; then
      refuses 'split brain' b a
      start_array settled a
    else
      start_array settled b a
    fi
    client settled '
assert h.pread (512, 9 << 20) == b"new!" * 128
h.pwrite (b"go" * 256, 9 << 20, nbd.CMD_FLAG_FUA)'
    stop settled
    cmp b b.old || fail "$what: the loser was written"
    by_mdadm a b
  done
done
exit 0
