#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The kernel and our server take turns with one array, and each is killed
# under load, and in the middle of the resync that the other one's death has
# left to it.  After each death what differs is marked, the events have not
# gone back, and in the end every write that was ever answered is there.
#
# $rounds in the environment makes it longer.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

rounds=${rounds:-5}
uml_begin
truncate -s 64M "$tmp/leg0" "$tmp/leg1"
new_ledger "$tmp/ledger"
"$MDBITMAP" create --assume-clean --bitmap-chunk=64K \
  "$tmp/leg0" "$tmp/leg1"
events=0
options=(--hot=100 --drift=4 --seed="$rounds" --chunk=65536)

for ((round = 1; round <= rounds; round++)); do
  # Few enough that some deaths come before the resync has ended.
  writes=$((20 + RANDOM % 500))
  if [ $((round % 2)) -eq 1 ]; then
    server_start sync-rate-max=2M "$tmp/leg0" "$tmp/leg1"
    "$history" "${options[@]}" write "$uri" "$tmp/ledger" \
      > "$tmp/load.log" 2>&1 &
    load=$!
    "$history" wait "$writes" "$tmp/ledger"
    server_kill
    wait "$load" || { cat "$tmp/load.log"; die "the load failed"; }
    who="our server"
  else
    uml_start "load$round" "$tmp/leg0" "$tmp/leg1" "$tmp/ledger" <<'BODY'
      mdadm --assemble --run /dev/md0 "${images[0]}" "${images[1]}"
      echo 2000 > /sys/block/md0/md/sync_speed_max
      "$history" --continue write /dev/md0 "${images[2]}"
BODY
    "$history" wait "$writes" "$tmp/ledger"
    uml_kill "load$round"
    who="the kernel"
  fi
  options=(--continue)
  say "round $round: $who was killed after $writes writes"
  python3 "$legs" covered "$tmp/leg0" "$tmp/leg1"
  now=$(for leg in leg0 leg1; do
          python3 "$legs" show "$tmp/$leg" events
        done | sort -n | tail -n 1)
  at_least "events" "$events" "$now"
  events=$now
  # Now and then a turn in peace, after which nothing is marked.
  if [ $((round % 4)) -eq 3 ]; then
    server_start "$tmp/leg0" "$tmp/leg1"
    "$history" verify "$uri" "$tmp/ledger"
    server_says "resync done"
    server_stop
    python3 "$legs" same "$tmp/leg0" "$tmp/leg1"
    expect "bits left" 0 \
           "$(python3 "$legs" union "$tmp/leg0" "$tmp/leg1" | wc -l)"
    continue
  fi
  # What the next one finds: nothing of the marked chunks has reached slot 1.
  python3 "$legs" marked "$tmp/leg0" "$tmp/leg1" > "$tmp/marked"
  python3 "$legs" poison-these "$tmp/leg1" < "$tmp/marked"
done

kernel_resyncs "$tmp/leg0" "$tmp/leg1" "$tmp/ledger"
