#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The disk with a volatile cache that other tests are built on (see
# volatile/volatile.c): a kill loses exactly what was not flushed.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

disk=$(helper nbdkit-volatile-plugin.so)
cd "$tmp"

new ()
{
  head -c 1M /dev/zero | tr '\0' o > medium
}

# expect PYTHON: what is on the medium, as m.
expect ()
{
  "$python" -c '
import sys
m = open ("medium", "rb").read ()
assert len (m) == 1 << 20
exec (sys.argv[1])' "$1" || fail "the medium is not as expected"
}

# Unflushed: lost, although it could be read.
new
start v "$disk" medium
client v '
assert h.get_size () == 1 << 20
assert h.can_flush () and h.can_fua () and h.can_multi_conn ()
h.pwrite (b"1" * 512, 0)
h.pwrite (b"2" * 100, 1000)
h.zero (4096, 8192)
h.trim (4096, 16384)
assert h.pread (512, 0) == b"1" * 512
assert h.pread (102, 999) == b"o" + b"2" * 100 + b"o"
assert h.pread (4096, 8192) == h.pread (4096, 16384) == bytes (4096)'
expect 'assert m == b"o" * (1 << 20)'
crash v
expect 'assert m == b"o" * (1 << 20)'

# FUA takes its own sectors, a flush all that was written before, through
# any connection.
start v "$disk" medium
client v '
h.pwrite (b"1" * 512, 0)
h.pwrite (b"2" * 512, 512, nbd.CMD_FLAG_FUA)
h.zero (512, 1024, nbd.CMD_FLAG_FUA)'
expect '
assert m[:512] == b"o" * 512
assert m[512:1024] == b"2" * 512
assert m[1024:1536] == bytes (512)'
client v '
h.pwrite (b"3" * 512, 512)
h.flush ()
h.pwrite (b"4" * 512, 512)
h.pwrite (b"5" * 512, 4096)'
crash v
expect '
assert m[:512] == b"1" * 512
assert m[512:1024] == b"3" * 512
assert m[1024:1536] == bytes (512)
assert m[1536:] == b"o" * ((1 << 20) - 1536)'

# An orderly end is a power cut, too.
new
start v "$disk" medium
client v 'h.pwrite (b"1" * 512, 0)'
stop v
expect 'assert m == b"o" * (1 << 20)'

# Evicted: some of it is there, whole sectors only, and reads are right.
new
start v "$disk" medium evict=30 seed=7
client v '
for i in range (2048):
    h.pwrite (b"%4d" % i * 128, i * 512)
for i in range (2048):
    assert h.pread (512, i * 512) == b"%4d" % i * 128'
crash v
expect '
there = 0
for i in range (2048):
    s = m[i * 512:i * 512 + 512]
    assert s in (b"o" * 512, b"%4d" % i * 128), i
    there += s != b"o" * 512
assert 300 < there < 1700, there'

# A flush that fails takes nothing to the medium.
new
start v "$disk" medium fail-flush=trigger
: > trigger
client v '
h.pwrite (b"1" * 512, 0)
for request in (h.flush, lambda: h.pwrite (b"2" * 512, 512,
                                           nbd.CMD_FLAG_FUA)):
    try:
        request ()
        assert False, "no error"
    except nbd.Error as e:
        assert e.errnum == errno.EIO, e
assert h.pread (512, 0) == b"1" * 512'
expect 'assert m == b"o" * (1 << 20)'
rm trigger
client v 'h.flush ()'
crash v
expect 'assert m[:512] == b"1" * 512 and m[512:] == b"o" * ((1 << 20) - 512)'
exit 0
