#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# nbdkit -r changes no byte of a leg, of a clean array or of one that was
# killed, however -r is spelled.  An ordinary user rescues what any leg has
# that holds a full copy: degraded, stale, dirty, without a usable bitmap.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

cd "$tmp"

use='
import time
assert h.is_read_only ()
assert h.get_size () == 16 << 20
assert h.pread (4096, 8192) == b"data" * 1024
for offset in range (0, 16 << 20, 1 << 20):
    h.pread (1 << 20, offset)
h.pread (777, 12345)
for request in (lambda: h.pwrite (b"x" * 512, 0),
                lambda: h.zero (4096, 0), lambda: h.trim (4096, 0)):
    try:
        request ()
        assert False, "it was written"
    except nbd.Error as e:
        assert e.errnum == errno.EPERM, e
if h.can_flush ():
    h.flush ()
'

# unchanged FLAGS WORD...: serve with these flags, use it, and stop.
unchanged ()
{
  local sum how=$1

  shift
  sum=$(leg sum-all a b)
  flags=$how start_array ro a b "$@"
  client ro "$use"
  client ro "$use"
  [ "$(leg sum-all a b)" = "$sum" ] || fail "nbdkit $how: a leg was changed"
  stop ro
  [ "$(leg sum-all a b)" = "$sum" ] \
    || fail "nbdkit $how: a leg was changed at the stop"
  flags=$how start_array ro a b "$@"
  client ro "$use"
  crash ro
  [ "$(leg sum-all a b)" = "$sum" ] || fail "nbdkit $how: changed, then killed"
}

# Nothing can be made read-only.
if flags=-r start none a b create=16M -r "$plugin"; then
  fail "nbdkit -r made an array"
fi
flags=-r refuses '-r' a b create=16M
[ ! -e a ] && [ ! -e b ] || fail "nbdkit -r made a leg"

start_array rw a b create=16M bitmap-chunk=64K
client rw '
h.pwrite (b"data" * 1024, 8192)
h.flush ()'
stop rw
unchanged -r
unchanged -r create=16M
unchanged -vr
unchanged --readonly
unchanged --read-only
unchanged --read
unchanged '-t 4 -rv' daemon-sleep=1

# Killed: marked chunks wait for a resync, which must not happen now.
start_array rw a b daemon-sleep=600
client rw '
for i in range (0, 200, 3):
    h.pwrite (b"%3d" % i * 171, i * 65536 + 70000)
h.flush ()'
crash rw
[ "$(leg get a clean)" -eq 0 ] || fail "the killed array is clean"
[ "$(leg get a marked)" -ge 60 ] || fail "the killed array has no marks"
unchanged -r
unchanged --readonly

# Legs that may not be written are served read-only, with and without -r.
prefix=$(user_prefix)
chmod 444 a b
unchanged -r
sum=$(leg sum-all a b)
if [ -n "$prefix" ] || [ ! -w a ]; then
  unchanged ''
fi
[ "$(leg sum-all a b)" = "$sum" ] || fail "changed"

# ---- rescue: whatever holds a full copy, by an ordinary user ----

# What the clients look at: chunk 1 has what was written last, on a leg that
# is not stale.
cat > "$tmp/look.py" <<'PYTHON'
def look (h, want, size=16 << 20):
    import errno, nbd
    assert h.is_read_only () and h.get_size () == size, h.get_size ()
    for _ in range (8):
        assert h.pread (512, 65536) == want * 128, h.pread (16, 65536)
        assert h.pread (512, 65536 + 512) == want * 128
    for offset in range (0, size, 1 << 20):
        assert h.pread (1 << 20, offset) == h.pread (1 << 20, offset)
    try:
        h.pwrite (b"x" * 512, 0)
        assert False, "it was written"
    except nbd.Error as e:
        assert e.errnum == errno.EPERM, e
PYTHON

# rescue NAME WANT LEG...: these legs, with mode 0444 and owned by somebody
# else, give that with nbdkit -r, in any order, and not a byte changes.  $words
# are given behind them.
rescue ()
{
  local what=$1 want=$2 before after order

  shift 2
  chmod 444 "$@"
  before=$(sha256sum "$@"; stat -c '%n %s %Y %Z' "$@")
  for order in "$*" "$(printf '%s\n' "$@" | tac | tr '\n' ' ')"; do
    # shellcheck disable=SC2086
    flags=-r start_array rescue $order ${words:-}
    client rescue '
sys.path[:0] = [sys.argv[1]]
import look
look.look (h, sys.argv[2].encode ())' "$tmp" "$want"
    if [ "$order" = "$*" ]; then stop rescue; else crash rescue; fi
  done
  after=$(sha256sum "$@"; stat -c '%n %s %Y %Z' "$@")
  [ "$before" = "$after" ] || fail "$what: nbdkit -r changed a leg"
  chmod 644 "$@"
  rescued=$((rescued + 1))
}
rescued=0

# made VERSION WORD...: x and y hold "good", and y missed it if stale.
made ()
{
  local version=$1

  shift
  rm -f x y
  prefix='' start_array make x y create=16M "metadata=$version" "$@"
  client make 'h.pwrite (b"good" * 256, 65536, nbd.CMD_FLAG_FUA)'
}

poke ()
{
  "$python" - "$@" <<'PYTHON'
import sys
with open (sys.argv[1], "r+b") as f:
    f.seek (int (sys.argv[2]))
    f.write (bytes.fromhex (sys.argv[3]))
PYTHON
}

# bitmap_of LEG: the byte where its bitmap begins.
bitmap_of ()
{
  "$tool" examine-bitmap --json "$1" \
    | "$python" -c 'import json, sys; print (json.load (sys.stdin)["offset"])'
}

for version in 0.90 1.0 1.1 1.2; do
  # Whole, each leg by itself, degraded on record, and what was left behind.
  made $version bitmap-chunk=64K
  stop make
  rescue "$version whole" good x y
  rescue "$version one of two" good x
  rescue "$version the other of two" good y
  prefix='' start_array make x degraded=allow
  client make 'h.pwrite (b"more" * 256, 65536, nbd.CMD_FLAG_FUA)'
  stop make
  rescue "$version degraded" more x
  rescue "$version with a stale leg" more x y
  rescue "$version stale leg alone" good y

  # Killed: both dirty, and each alone.
  made $version bitmap-chunk=64K daemon-sleep=600
  crash make
  rescue "$version both dirty" good x y
  rescue "$version dirty leg alone" good x
  rescue "$version other dirty leg alone" good y

  # A bitmap that nobody can use, on a dirty array: one source for all.
  poke x "$(bitmap_of x)" 00000000
  poke y "$(bitmap_of y)" 00000000
  rescue "$version no usable bitmap" good x y
  rescue "$version alone, no usable bitmap" good y

  # No bitmap at all, clean and not.
  made $version bitmap=none
  stop make
  rescue "$version no bitmap" good x y
  made $version bitmap=none
  crash make
  rescue "$version no bitmap, dirty" good x y
  rescue "$version no bitmap, dirty, alone" good y

  # In a file, which is forgotten, or given; and one that cannot be used.
  rm -f bits
  made $version bitmap=bits bitmap-chunk=64K daemon-sleep=600
  crash make
  rescue "$version file forgotten" good x y
  in_log rescue "its bitmap is in the file $tmp/bits, which is not given" \
    || fail "$version: nothing was said of the file"
  chmod 444 bits
  before=$(sha256sum bits; stat -c '%n %s %Y %Z' bits)
  words=bitmap=bits rescue "$version file" good x y
  words=bitmap=bits rescue "$version file, alone" good y
  words='bitmap=bits bitmap-io=extent' rescue "$version file, extent" good x y
  words=bitmap=missing rescue "$version file missing" good x y
  in_log rescue 'reading goes on without' || fail "$version: nothing was said"
  words=bitmap=look.py rescue "$version no bitmap in it" good x y
  [ "$before" = "$(sha256sum bits; stat -c '%n %s %Y %Z' bits)" ] \
    || fail "$version: nbdkit -r changed the bitmap file"
  [ ! -e missing ] || fail "$version: nbdkit -r made a bitmap file"
done
[ $rescued -eq 80 ] || fail "$rescued rescues"

# A bad-block log: what it lists comes from the other leg, and stays listed.
"$python" "$tests/make_leg.py" x features=9 bad=2176+2
"$python" "$tests/make_leg.py" y dev=1
poke x $((2048 * 512 + 65536)) "$(printf '62616421%.0s' $(seq 256))"
poke y $((2048 * 512 + 65536)) "$(printf '676f6f64%.0s' $(seq 256))"
sed -i 's/size=16 << 20/size=66060288/; s/1 << 20, offset/512, offset/g' \
    "$tmp/look.py"
rescue "bad blocks" good x y
[ "$("$tool" examine x | grep -c 'bad blocks present')" -eq 1 ] \
  || fail "the log is gone"

# A split brain is refused all the same, until a source is named.
"$python" "$tests/make_leg.py" x roles=0,faulty events=30
"$python" "$tests/make_leg.py" y dev=1 roles=faulty,1 events=30
poke x $((2048 * 512 + 65536)) "$(printf '62616421%.0s' $(seq 256))"
poke y $((2048 * 512 + 65536)) "$(printf '676f6f64%.0s' $(seq 256))"
chmod 444 x y
sum=$(leg sum-all x y)
flags=-r refuses 'split brain' x y
flags=-r start_array rescue x y force-source=y
client rescue '
sys.path[:0] = [sys.argv[1]]
import look
look.look (h, b"good")' "$tmp"
stop rescue
[ "$(leg sum-all x y)" = "$sum" ] || fail "a split brain was settled by -r"

# The real thing again: what looked like -r but was not is writable.
prefix=
chmod 600 a b
flags='-D mdbitmap.resync=1 -e -r' start_array rw a b
client rw '
h.pwrite (b"more" * 128, 0, nbd.CMD_FLAG_FUA)
assert h.pread (512, 0) == b"more" * 128'
wait_log rw 'resync done'
stop rw
leg equal a b || fail "legs differ"
exit 0
