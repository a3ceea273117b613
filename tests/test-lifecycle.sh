#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# All the ways in which nbdkit starts, forks and ends: in the background, for
# a command, on standard input, by socket activation, told to stop while a
# client is connected, and not at all since its socket cannot be made.  Each
# time the array is written to, and clean and equal afterwards.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015,SC2317
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

cd "$tmp"

turn=0

# Python that writes the turn's number, and finds those of all before.
write='
h.pwrite (bytes ([turn]) * 5000, turn * 100000 + 1, nbd.CMD_FLAG_FUA)
h.pwrite (bytes ([turn]) * 5000, turn * 100000 + 50001)
for t in range (1, turn + 1):
    for at in (t * 100000 + 1, t * 100000 + 50001):
        assert h.pread (5000, at) == bytes ([t]) * 5000, t
'

ended_well ()
{
  for l in a b; do
    [ "$(leg get $l clean)" -eq 1 ] && [ "$(leg get $l marked)" -eq 0 ] \
      || fail "$1: leg $l is not clean"
  done
  leg equal a b || fail "$1: legs differ"
}

gone ()
{
  ! running "$1"
}

# Nobody has the leg open: servers lock it as a whole.
unused ()
{
  "$python" - "$1" <<'PYTHON'
import fcntl
import struct
import sys
F_OFD_GETLK = 36
with open (sys.argv[1], "rb") as f:
    lock = struct.pack ("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    found = fcntl.fcntl (f, F_OFD_GETLK, lock)
sys.exit (struct.unpack ("hhqqi4x", found)[0] != fcntl.F_UNLCK)
PYTHON
}

start_array made a b create=8M bitmap-chunk=64K
stop made

# ---- in the background ----

turn=$((turn + 1))
server -P "$tmp/daemon.pid" -U "$tmp/daemon.sock" "$plugin" a b \
  || fail "does not start in the background"
wait_until 30 test -s daemon.pid || fail "no pid file"
client daemon "turn = $turn$write"
pid=$(cat daemon.pid)
kill -TERM "$pid"
wait_until 60 gone "$pid" || { kill -KILL "$pid"; fail "it does not end"; }
ended_well 'in the background'

# ---- for a command ----

turn=$((turn + 1))
cat > command.py <<PYTHON
import sys
import nbd
h = nbd.NBD ()
h.set_strict_mode (0)
h.connect_uri (sys.argv[1])
turn = $turn
$write
h.shutdown ()
sys.exit (5)
PYTHON
status=0
# shellcheck disable=SC2016
server -U - "$plugin" a b --run "$python $tmp/command.py \"\$uri\"" \
  >run.log 2>&1 </dev/null || status=$?
[ "$status" -eq 5 ] || fail "--run ended with $status"
ended_well '--run'

# ---- on standard input, and by socket activation ----

for how in connect_command connect_systemd_socket_activation; do
  turn=$((turn + 1))
  "$python" - "$how" "${MDBITMAP_PRELOAD:-}" "$nbdkit" "$plugin" <<PYTHON
import sys
import nbd
how, preload, nbdkit, plugin = sys.argv[1:]
argv = ["env", "LD_PRELOAD=" + preload] + nbdkit.split ()
if how == "connect_command":
    argv += ["-s", "--exit-with-parent"]
h = nbd.NBD ()
h.set_strict_mode (0)
getattr (h, how) (argv + [plugin, "a", "b"])
turn = $turn
$write
h.shutdown ()
if how == "connect_command":
    # It ends by itself when its client has gone.
    del h
PYTHON
  # The one that was activated is killed by its client: only a crash.
  wait_until 30 unused a || fail "$how: the server does not end"
  [ "$how" = connect_command ] && ended_well "$how"
  start_array next a b
  wait_resync next
  stop next
  ended_well "$how"
done

# ---- told to stop while a client is connected ----

turn=$((turn + 1))
start_array busy a b
client busy "
import os
import signal
turn = $turn
os.kill (int (sys.argv[1]), signal.SIGTERM)
try:
$(printf '%s\n' "$write" | sed 's/^/    /')
except nbd.Error as e:
    # What comes after the signal may be refused, but not with EIO.
    assert e.errnum in (errno.ESHUTDOWN, errno.EINVAL), e
    os._exit (0)
" "$(cat busy.pid)"
wait_until 60 gone "$(cat busy.pid)" || fail "it does not end with its client"
start_array next a b
wait_resync next
stop next
ended_well 'stopped with a client'

# ---- it never comes to serving ----

sum=$(leg sum-all a b)
server -f -U "$tmp/nowhere/sock" "$plugin" a b >bind.log 2>&1 </dev/null \
  && fail "it serves on a socket that cannot be"
[ "$(leg sum-all a b)" = "$sum" ] || fail "changed by a server that never was"
server --dump-plugin "$plugin" a b >/dev/null
[ "$(leg sum-all a b)" = "$sum" ] || fail "changed by --dump-plugin"
exit 0
