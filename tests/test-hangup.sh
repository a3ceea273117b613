#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Clients that hang up with requests in flight.  With serialize=true, or a
# server from 1.34 on, the server lives on.  Older ones may abort: for us that
# is one more kill, and what was flushed is kept.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

ulimit -c 0
cd "$tmp"

# hang_up SERVER TIMES: false if the server has ended.
hang_up ()
{
  "$python" - "$(uri "$1")" "$2" <<'PYTHON'
import sys
import nbd
uri, times = sys.argv[1], int (sys.argv[2])
data = bytearray (b"hang" * 4096)
for n in range (times):
    h = nbd.NBD ()
    try:
        h.connect_uri (uri)
    except nbd.Error:
        sys.exit (1)
    buffers = [nbd.Buffer.from_bytearray (data) for i in range (24)]
    for i, b in enumerate (buffers):
        if i % 3:
            h.aio_pwrite (b, ((n * 24 + i) * 16384) % (8 << 20) + (1 << 20))
        else:
            h.aio_pread (b, i * 16384)
    # Sometimes at once, sometimes when some have been answered.
    for i in range (n % 5):
        h.poll (0)
    del h
PYTHON
}

started_and_kept ()
{
  client "$1" '
assert h.pread (512, 0) == b"keep" * 128
h.pwrite (b"more" * 128, 512, nbd.CMD_FLAG_FUA)'
}

start_array hangup a b create=16M bitmap-chunk=64K serialize=true
client hangup 'h.pwrite (b"keep" * 128, 0, nbd.CMD_FLAG_FUA)'
hang_up hangup 200 || fail "the server is gone in spite of serialize=true"
started_and_kept hangup
stop hangup
leg equal a b || fail "legs differ"

# The abort may come a moment after the client is gone, even while the next one
# is being served, so whoever finds the server out of reach looks why.

ended ()
{
  ! running "$(cat hangup.pid)"
}

# aborted: it ends now, by an assertion of its own that it warned of.
aborted ()
{
  wait_until 60 ended || return 1
  in_log hangup 'may abort' && in_log hangup 'connections\.c.*sock'
}

aborts=0
start_array hangup a b
for _ in 1 2 3 4 5; do
  hang_up hangup 20 || :
  if ! started_and_kept hangup 2>client.err; then
    aborted || { cat client.err >&2; fail "the server is gone"; }
    aborts=$((aborts + 1))
    start_array hangup b a
    started_and_kept hangup
  fi
done
# It may still abort for the last of them: end it here as hard as that.
crash hangup
start_array hangup a b
started_and_kept hangup
wait_resync hangup
stop hangup
leg equal a b || fail "legs differ"
echo "the server aborted $aborts times"
