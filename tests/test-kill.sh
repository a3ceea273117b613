#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# kill -9 under load, with the history of each sector (see kill.c).

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"

kill=$(helper kill)
seed=${SEED:-$RANDOM}
echo "SEED=$seed"
cd "$tmp"

# kills ROUNDS CONNECTIONS DEPTH WORD...: legs a, b and so on.
kills ()
{
  local rounds=$1 connections=$2 depth=$3 legs

  shift 3
  legs=$(printf '%s\n' "$@" | grep -x '[a-z]' | paste -s -d ,)
  # shellcheck disable=SC2086
  "$kill" "$rounds" "$connections" "$depth" "$seed" "$tmp" "$legs" \
          env LD_PRELOAD="${MDBITMAP_PRELOAD:-}" $nbdkit ${flags:-} \
          "$plugin" "$@"
  start_array after "$@"
  wait_resync after
  stop after
  # shellcheck disable=SC2086
  leg equal ${legs//,/ } || fail "legs differ"
  for l in ${legs//,/ }; do
    [ "$(leg get "$l" faulty)" = "[]" ] || fail "leg $l was failed"
  done
}

make ()
{
  # shellcheck disable=SC2086
  start_array made "$@"
  stop made
}

# Fine chunks, bits are cleared as often as possible, and one thread submits for
# many.
make a b create=32M bitmap-chunk=4K
flags='-D mdbitmap.crowd=1'
kills $((long ? 140 : 8)) 4 8 a b daemon-sleep=1
flags=

# Coarse chunks, three legs, one connection.
rm -f a b
make a b c create=24M bitmap-chunk=1M
kills $((long ? 60 : 4)) 1 16 b c a daemon-sleep=1
exit 0
