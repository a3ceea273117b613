#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# nbdkit -r changes no byte of a leg, of a clean array or of one that was
# killed, however -r is spelled.

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
