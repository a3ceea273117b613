#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Errors of legs (made by failing-disk.c).
#
# A failed write, zero or flush on one leg: the client sees success, and
# before it does the survivor's superblock says that the leg is faulty, at
# least 2 events ahead of it; so a kill right after loses nothing, and both
# legs together start from the survivor.  A failed read is answered from the
# other leg.  Errors of the last leg reach the client as EIO.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

preload=$(helper failing-disk.so)
export tests
cd "$tmp"

# What the clients below start with.
prelude='
import os
sys.path[:0] = [os.environ["tests"]]
import leg
def eio (request):
    try:
        request ()
    except nbd.Error as e:
        assert e.errnum == errno.EIO, e
        return
    assert False, "no error"
def trigger (name, contents=""):
    with open (name, "w") as f:
        f.write (contents)
# The survivor says, on disk, that the other leg has failed.
def recorded (survivor, failed):
    s, f = leg.Leg (survivor), leg.Leg (failed)
    assert s.checksum_right == 1
    assert f.dev_number in s.faulty (), s.roles[:4]
    assert s.dev_number not in s.faulty (), s.roles[:4]
    assert s.events >= f.events + 2, (s.events, f.events)
    assert s.bitmap_events >= s.events, (s.bitmap_events, s.events)
def whole ():
    for name in ("a", "b"):
        assert leg.Leg (name).faulty () == [], name
'

make ()
{
  rm -f a b ./*.fail-* ./*.hang
  start_array disk a b create=16M bitmap-chunk=64K daemon-sleep=1
  client disk "$prelude"'
for i in range (0, 16):
    h.pwrite (b"%4d" % i * 16384, i * 65536)
h.flush ()
whole ()'
}

# The array with its failed leg $2: only the survivor $1 is used, which has
# what was written.
only_survivor ()
{
  local sum order

  rm -f ./*.fail-* ./*.hang
  sum=$(leg sum-all "$2")
  for order in "a b" "b a" "$1"; do
    # shellcheck disable=SC2086
    start_array after $order
    client after '
for i in range (30):
    assert h.pread (4096, 65536) == b"new!" * 1024
assert h.pread (4096, 131072) == b"   2" * 1024'
    stop after
    [ "$(leg sum-all "$2")" = "$sum" ] || fail "the failed leg was written to"
  done
  # By itself it does not start.
  refuses 'slot' "$2"
}

# fails_at SURVIVOR FAILED KIND REQUEST: after this trigger, this request.
fails_at ()
{
  local survivor=$1 failed=$2 kind=$3 request=$4

  make
  client disk "$prelude"'
survivor, failed, kind, request = sys.argv[1:5]
trigger (failed + ".fail-" + kind)
exec (request)
# It has been answered: it must be on record now.
recorded (survivor, failed)
assert 1 in leg.Leg (survivor).marked_list
' "$survivor" "$failed" "$kind" "$request"
  crash disk
  in_log disk "leg .*/$failed: .*failed" || fail "nobody was told of $failed"
  only_survivor "$survivor" "$failed"
}

for legs in "a b" "b a"; do
  # shellcheck disable=SC2086
  {
    fails_at $legs write 'h.pwrite (b"new!" * 1024, 65536)'
    fails_at $legs write 'h.pwrite (b"new!" * 1024, 65536, nbd.CMD_FLAG_FUA)'
    # Not a sector's worth: the rest is read first.
    fails_at $legs write 'for i in range (1024):
    h.pwrite (b"new!", 65536 + 4 * i)'
    fails_at $legs flush '
h.pwrite (b"new!" * 1024, 65536)
h.flush ()'
    fails_at $legs write '
h.zero (65536, 65536)
h.pwrite (b"new!" * 1024, 65536)'
    fails_at $legs write '
h.trim (65536, 65536)
h.pwrite (b"new!" * 1024, 65536)'
  }
done

# Only writes to the bitmap of one leg fail, only those to its superblock:
# data may not be taken for safe with half of the metadata.
for part in "8192 12288" "4096 8192"; do
  make
  wait_until 30 test "$(leg get a clean)" -ge 0
  client disk "$prelude"'
trigger ("b.fail-write", sys.argv[1])
# A chunk whose bit is not set yet.
h.pwrite (b"new!" * 1024, 65536)
h.pwrite (b"far " * 1024, 15 << 20)
assert h.pread (4096, 15 << 20) == b"far " * 1024' "$part"
  # The superblock is written at the latest when bits are cleared.
  wait_until 30 grep -q 'leg .*/b: .*failed' disk.log \
    || fail "errors of the metadata at $part went unnoticed"
  client disk "$prelude"'recorded ("a", "b")'
  crash disk
  only_survivor a b
done

# ---- reads ----

make
client disk "$prelude"'
def all ():
    for turn in range (8):
        for i in range (0, 16):
            assert h.pread (65536, i * 65536) == b"%4d" % i * 16384
for name in ("a", "b"):
    trigger (name + ".fail-read")
    all ()
    os.unlink (name + ".fail-read")
all ()
# Both: then there is nothing to answer from.  And they are asked again.
trigger ("a.fail-read")
trigger ("b.fail-read")
eio (lambda: h.pread (4096, 65536))
eio (lambda: h.pread (7, 65539))
os.unlink ("a.fail-read")
os.unlink ("b.fail-read")
assert h.pread (4096, 65536) == b"   1" * 1024
'
crash disk
start_array after a b degraded=allow
client after 'assert h.pread (4096, 65536) == b"   1" * 1024'
stop after

# ---- the last leg ----

make
client disk "$prelude"'
trigger ("b.fail-write")
h.pwrite (b"new!" * 1024, 65536)
recorded ("a", "b")
trigger ("a.fail-write")
eio (lambda: h.pwrite (b"lost" * 1024, 65536))
eio (lambda: h.pwrite (b"lost" * 1024, 65536, nbd.CMD_FLAG_FUA))
eio (lambda: h.zero (65536, 65536))
eio (lambda: h.pwrite (b"x", 65537))
assert h.pread (4096, 65536) == b"new!" * 1024
recorded ("a", "b")
os.unlink ("a.fail-write")
h.pwrite (b"new!" * 1024, 65536, nbd.CMD_FLAG_FUA)
assert h.pread (4096, 65536) == b"new!" * 1024
'
crash disk
only_survivor a b

# Both at once: never success, whichever is found first.
make
client disk "$prelude"'
trigger ("a.fail-write")
trigger ("b.fail-write")
eio (lambda: h.pwrite (b"lost" * 1024, 131072))
eio (lambda: h.pwrite (b"lost" * 1024, 131072, nbd.CMD_FLAG_FUA))
for name in ("a", "b"):
    os.unlink (name + ".fail-write")
h.pwrite (b"new!" * 1024, 131072, nbd.CMD_FLAG_FUA)
assert h.pread (4096, 131072) == b"new!" * 1024
'
crash disk
rm -f ./*.fail-*
start_array after a b
client after 'assert h.pread (4096, 131072) == b"new!" * 1024'
stop after

# A flush of the last leg that failed may have lost what it should have
# kept: no later flush may say that all is well.
make
client disk "$prelude"'
h.pwrite (b"new!" * 1024, 65536)
trigger ("a.fail-flush")
trigger ("b.fail-flush")
eio (h.flush)
os.unlink ("a.fail-flush")
os.unlink ("b.fail-flush")
eio (h.flush)
assert h.pread (4096, 65536) == b"new!" * 1024
'
crash disk

# Many clients while a leg fails: none may see an error, all must be kept.
make
client disk "$prelude"'
import threading
def work (n):
    c = nbd.NBD ()
    c.connect_uri (sys.argv[1])
    for i in range (150):
        if n == 0 and i == 50:
            trigger ("b.fail-write")
        at = (n * 32 + i % 32) * 4096 + (2 << 20)
        c.pwrite (b"%4d" % i * 1024, at, nbd.CMD_FLAG_FUA if i % 3 else 0)
        if i % 20 == 0:
            c.flush ()
        # Answered after the failure: then it was on record before.
        if n == 0 and i > 50:
            recorded ("a", "b")
    c.shutdown ()
    done.append (n)
done = []
threads = [threading.Thread (target=work, args=(n,)) for n in range (8)]
for t in threads: t.start ()
for t in threads: t.join ()
assert len (done) == 8, done
recorded ("a", "b")
h.pwrite (b"new!" * 1024, 65536)
' "$(uri disk)"
crash disk
rm -f ./*.fail-*
start_array after b a
client after '
for n in range (8):
    for i in range (118, 150):
        at = (n * 32 + i % 32) * 4096 + (2 << 20)
        assert h.pread (4096, at) == b"%4d" % i * 1024, (n, i)'
stop after
only_survivor a b
exit 0
