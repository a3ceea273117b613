#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Data integrity with many connections (see integrity.c), then the legs must
# be byte-identical: while the server lives, after its orderly end, and after
# a kill and the resync.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"

requests=120000
[ -n "$long" ] && requests=15200000 # of which 10 million write

integrity=$(helper integrity)
seed=${SEED:-$RANDOM}
echo "SEED=$seed"
cd "$tmp"

# check REQUESTS CONNECTIONS DEPTH LEG...
check ()
{
  local n=$1 connections=$2 depth=$3

  shift 3
  "$integrity" "$tmp/data.sock" "$n" "$connections" "$depth" "$seed"
  # All is answered and flushed: nothing may be different any more.
  leg equal "$@" || fail "legs differ while the server lives"
}

start_array data a b create=160M bitmap-chunk=64K daemon-sleep=1
check "$requests" 8 16 a b
stop data
leg equal a b || fail "legs differ after the stop"
[ "$(leg get a clean)" -eq 1 ] && [ "$(leg get a marked)" -eq 0 ] \
  || fail "not clean after an orderly stop"

start_array data b a
check $((requests / 80)) 1 1 a b
check $((requests / 10)) 16 4 a b
crash data
start_array data a b
client data 'h.pread (4096, 0)'
stop data
rm -f a b

# Three legs, and a chunk larger than the requests.
start_array data a b c create=100M daemon-sleep=1
check $((requests / 10)) 4 16 a b c
stop data
leg equal a b c || fail "legs differ after the stop"

# One request at a time.
start_array data a b c serialize=true
check $((requests / 50)) 4 4 a b c
stop data
leg equal a b c || fail "legs differ after the stop"
exit 0
