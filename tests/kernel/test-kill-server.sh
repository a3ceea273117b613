#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Our server is killed with SIGKILL under load.  The kernel then resyncs
# exactly the marked chunks, finds no mismatch afterwards, and every write
# that was answered is there: at most the writes in flight were lost.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin

# Soon after the start nearly every write is the first one of its chunk, and
# sets a bit; later most bits are set.
for writes in 10 2000; do
  rm -f "$tmp/leg0" "$tmp/leg1"
  truncate -s 64M "$tmp/leg0" "$tmp/leg1"
  "$MDBITMAP" create --assume-clean --bitmap-chunk=64K \
    "$tmp/leg0" "$tmp/leg1"
  new_ledger "$tmp/ledger"
  server_start "$tmp/leg0" "$tmp/leg1"
  "$history" --hot=200 --seed="$writes" --chunk=65536 \
    write "$uri" "$tmp/ledger" > "$tmp/load.log" &
  load=$!
  "$history" wait "$writes" "$tmp/ledger"
  server_kill
  wait "$load" || die "the load failed"
  at_least "threads that noticed" 4 "$(grep -c stopped "$tmp/load.log")"
  kernel_resyncs "$tmp/leg0" "$tmp/leg1" "$tmp/ledger"
done
