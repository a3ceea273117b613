# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# Legs that lose their caches, for scripts inside user-mode Linux: each leg is
# a block device of the kernel's nbd, whose server (tests/volatile) keeps
# writes in memory until a flush.  The media are ${images[0]} and ${images[1]}.

# Most variables come from the script.
# shellcheck disable=SC2154,SC2034

leg_pids=()
load=

# legs_start EVICT SEED
legs_start ()
{
  local i
  leg_pids=()
  for i in 0 1; do
    rm -f "/run/leg$i.sock" "/run/leg$i.pid"
    nbdkit -f -P "/run/leg$i.pid" -U "/run/leg$i.sock" "$volatile" \
      file="${images[i]}" evict="$1" seed=$(($2 + i)) \
      fail-flush="/run/fail-flush$i" > "/run/leg$i.log" 2>&1 &
    leg_pids+=($!)
    server_within 100 test -e "/run/leg$i.pid"
    nbd-client -unix "/run/leg$i.sock" "/dev/nbd$i" -b 512 \
      > /run/nbd-client 2>&1 || { cat /run/nbd-client; die "nbd-client"; }
  done
}

legs_kill ()
{
  local i
  kill -KILL "${leg_pids[@]}"
  wait "${leg_pids[@]}" 2>/dev/null || :
  kill -KILL "$server_pid"
  # What our server still has in the kernel ends now, with errors; it
  # cannot go before that.
  for i in 0 1; do
    nbd-client -d "/dev/nbd$i" > /dev/null 2>&1 || :
  done
  server_kill
}

new_array ()
{
  local image
  for image in "${images[@]}"; do
    dd if=/dev/zero of="$image" bs=1M 2>/dev/null || :
  done
  "$MDBITMAP" create --assume-clean --bitmap-chunk=16K /dev/nbd0 /dev/nbd1
}

# All caches are lost at one instant: our server is frozen first, so that it
# sees no error of one leg while the other still lives.
power_cut ()
{
  kill -STOP "$server_pid"
  legs_kill
  [ -z "$load" ] || wait "$load" || :
  load=
}
