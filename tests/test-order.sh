#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Bits before data, shown in two ways.
#
# 1. From the trace of the device layer, with one request at a time: for the
#    first write of each chunk, between the request before and the data on
#    any leg, a write with FUA of the page of the bitmap that has the chunk's
#    bit was done on every leg; and before all data a superblock that says
#    "not clean" was done on every leg, after the bitmap's page with the new
#    events.  A request with FUA has FUA on every leg, a flush is done on
#    every leg before it is answered, and before the first bit is cleared all
#    legs have been flushed since the last data.
# 2. With many requests at a time, each write is compared with the bitmap
#    and the superblocks on disk at the moment when it is handed to the
#    kernel (watch-disk.c); the server is aborted if a bit is missing.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

cd "$tmp"

# Three legs, and enough chunks for three pages of bits (32768 in a page).
start_array made a b c create=400M bitmap-chunk=4K
stop made

# ---- 1. the trace ----

flags='-v -D mdbitmap.io=1' start_array trace a b c daemon-sleep=2
client trace '
import random
import time
random.seed (1)
chunks = random.sample (range (0, 102400), 300)
for n, chunk in enumerate (chunks):
    h.pwrite (b"data" * 128, chunk * 4096 + 512 * (n % 8),
              nbd.CMD_FLAG_FUA if n % 5 == 0 else 0)
    # Again: this one may go out at once.
    h.pwrite (b"data" * 128, chunk * 4096)
    if n % 30 == 0:
        h.flush ()
# Over the border of two pages, and many chunks at once.
h.pwrite (b"data" * 4096, 30719 * 4096)
h.zero (1 << 20, 50000 * 4096, nbd.CMD_FLAG_FUA)
h.trim (1 << 20, 60000 * 4096, nbd.CMD_FLAG_FUA)
h.pwrite (b"odd", 70000 * 4096 + 5, nbd.CMD_FLAG_FUA)
with open ("chunks", "w") as f:
    f.write (" ".join (map (str, chunks)))
# The last data: then nothing but clearing happens.
h.pwrite (b"last" * 128, 1 << 20)
'
# shellcheck disable=SC2317
cleared ()
{
  [ "$(leg get a marked)" -eq 0 ] && [ "$(leg get a clean)" -eq 1 ]
}
wait_until 60 cleared || fail "the bits were never cleared"
crash trace

"$python" - trace.log a b c <<'PYTHON'
import re
import sys
import leg

log, paths = sys.argv[1], sys.argv[2:]
legs = [leg.Leg (p) for p in paths]
n = len (legs)
everyone = set (range (n))
event = re.compile (r'io: (submit|done) leg (\d+) (\w+)'
                    r'(?: offset (\d+) length (\d+))?(.*)')
# A request begins, and ends where the next one begins, where nbdkit says so.
request = re.compile (r'mdbitmap: (pwrite|zero|trim|pread|flush)\b(.*)')

def area (l, offset):
    x = legs[l]
    bitmap = (x.super_offset + x.bitmap_offset) * 512
    bytes_ = 256 + (x.chunks + 7) // 8
    if offset >= x.data_offset:
        return 'data'
    if 4096 <= offset < 8192:
        return 'superblock'
    if bitmap <= offset < bitmap + (bytes_ + 4095) // 4096 * 4096:
        return 'bitmap'
    return 'other'

class Checker:
    def __init__ (self):
        self.page_done = {}     # (leg, page): when its last write was done
        self.dirty_done = {}    # leg: its superblock says not clean
        self.seen = set ()      # (leg, chunk): was written to
        self.flying = {}        # operations that were submitted
        self.flushed = {}       # leg: submit time of its last good flush
        self.last_data = 0
        self.request, self.fua, self.start = None, False, 0
        self.request_flushed = set ()
        self.count = dict (data=0, first=0, bitmap=0, flush=0, fua=0,
                           cleared=0)

    def new_request (self, now, kind, rest):
        if self.request == 'flush':
            assert self.request_flushed == everyone, \
                'a flush reached only legs %s' % self.request_flushed
            self.count['flush'] += 1
        self.request, self.start = kind, now
        self.fua = 'fua=1' in rest
        self.request_flushed = set ()

    def submit (self, now, l, kind, offset, length, rest):
        self.flying.setdefault ((l, kind, offset, length), []).append (
            (now, 'fua' in rest))
        if kind in ('write', 'zero'):
            where = area (l, offset)
            assert where != 'other', 'a write outside of all areas'
            if where == 'data':
                self.data (now, l, offset, length, 'fua' in rest)
            if where == 'bitmap':
                self.maybe_clearing (l)

    def data (self, now, l, offset, length, fua):
        self.count['data'] += 1
        self.last_data = now
        assert set (self.dirty_done) == everyone, \
            'data before every superblock said not clean'
        if self.fua:
            assert fua, 'FUA did not reach leg %d' % l
            self.count['fua'] += 1
        x = legs[l]
        at = offset - x.data_offset
        for chunk in range (at // x.chunksize,
                            (at + length - 1) // x.chunksize + 1):
            if (l, chunk) in self.seen:
                continue
            self.seen.add ((l, chunk))
            self.count['first'] += 1
            page = (256 + chunk // 8) // 4096
            for other in everyone:
                assert self.page_done.get ((other, page), 0) > self.start, \
                    ('chunk %d: data on leg %d before its bit was durable '
                     'on leg %d' % (chunk, l, other))

    # The client is gone and the bitmap is written: bits are cleared, or the
    # header moves.
    def maybe_clearing (self, l):
        if self.request is not None or not self.last_data:
            return
        self.count['cleared'] += 1
        for other in everyone:
            assert self.flushed.get (other, 0) > self.last_data, \
                'bits are cleared before leg %d was flushed' % other

    def done (self, now, l, kind, offset, length, rest):
        assert rest.strip () == 'result 0'
        submitted, fua = self.flying[l, kind, offset, length].pop (0)
        if kind == 'flush':
            self.flushed[l] = submitted
            if submitted > self.start:
                self.request_flushed.add (l)
        if kind not in ('write', 'zero'):
            return
        where = area (l, offset)
        if where == 'bitmap':
            assert fua, 'a page of the bitmap without FUA'
            self.count['bitmap'] += 1
            x = legs[l]
            first = (offset - (x.super_offset + x.bitmap_offset) * 512) // 4096
            for page in range (first, first + (length + 4095) // 4096):
                self.page_done[l, page] = now
        if where == 'superblock':
            assert fua, 'a superblock without FUA'
            if l not in self.dirty_done:
                assert (l, 0) in self.page_done, \
                    'superblock before the bitmap with its events'
                self.dirty_done[l] = now

c = Checker ()
for now, line in enumerate (open (log, errors='replace'), 1):
    m = request.search (line)
    try:
        if m:
            c.new_request (now, m.group (1), m.group (2))
        elif 'mdbitmap: close' in line:
            c.new_request (now, None, '')
        else:
            m = event.search (line)
            if m:
                what, l, kind, offset, length, rest = m.groups ()
                getattr (c, what) (now, int (l), kind, int (offset or 0),
                                   int (length or 0), rest)
    except AssertionError as e:
        sys.exit ('line %d: %s%s' % (now, line, e))

# All must have been seen, or this test has tested nothing.
for l in everyone:
    for chunk in map (int, open ('chunks').read ().split ()):
        assert (l, chunk) in c.seen, (l, chunk)
assert all (c.count.values ()), c.count
print (' '.join ('%s=%d' % i for i in c.count.items ()))
PYTHON

# ---- 2. many requests ----

integrity=$(helper integrity)
preload=$(helper watch-disk.so)
export WATCH_LEGS=a:b:c

start_array watch a b c daemon-sleep=1
wait_resync watch
"$integrity" "$tmp/watch.sock" 10000 4 16 1
sleep 3 # so that bits are cleared and set again
"$integrity" "$tmp/watch.sock" 10000 4 16 2
crash watch
# The crash left marks: the resync is watched as well.
start_array watch a b c daemon-sleep=1
"$integrity" "$tmp/watch.sock" 4000 2 8 3
stop watch
in_log watch 'watch-disk: [0-9]* writes checked' || fail "nothing was watched"
preload=
leg equal a b c || fail "legs differ"
exit 0
