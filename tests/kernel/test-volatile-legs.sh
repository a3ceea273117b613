#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Power cuts, with legs that lose their caches.
#
# Each leg is a block device (the kernel's nbd) whose server keeps writes in
# memory until a flush, and pushes some of them out early, in any order.
# Under load, with the lazy clear running every second, our server is frozen,
# both leg servers are killed with SIGKILL, so that everything unflushed is
# gone, and then our server.  Then, of what is on the media:
#   - chunks that differ are marked, in each copy of the bitmap, and the
#     array does not call itself clean (a clear that flushes one leg only
#     fails here);
#   - each flushed or FUA write is there, read from either leg;
#   - resync copies the marked chunks, and the legs are equal.
# Then the lazy clear alone: chunks that were written and never flushed by the
# client, while another one keeps the array busy, lose their bits only when
# both legs have them.  Last, a leg whose flush fails must fail, and not be
# believed again.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

volatile=$abs_top_builddir/tests/volatile/.libs/nbdkit-volatile-plugin.so
cuts=3
[ -z "${MDBITMAP_LONG:-}" ] || cuts=20
export volatile cuts

uml_begin
truncate -s 32M "$tmp/leg0" "$tmp/leg1"
uml_deadline=$((60 + cuts * 20))

uml_run power-cut "$tmp/leg0" "$tmp/leg1" <<'BODY'
  load_module nbd

  # shellcheck source=tests/kernel/volatile.sh
  . "$abs_top_srcdir/tests/kernel/volatile.sh"

  for ((round = 1; round <= cuts; round++)); do
    evict=$(((round % 3) * 30))
    dd if=/dev/zero of=/run/ledger bs=64K count=1 2>/dev/null
    legs_start "$evict" "$round"
    new_array
    server_start daemon-sleep=1 /dev/nbd0 /dev/nbd1
    "$history" --seed "$round" --hot=300 --chunk=16384 \
      write "$uri" /run/ledger > /run/history 2>&1 &
    load=$!
    "$history" wait 300 /run/ledger
    sleep $((2 + round % 3)).$((RANDOM % 10))
    power_cut

    echo "round $round, $evict % of the writes evict a sector:"
    python3 "$legs" covered "${images[0]}" "${images[1]}"
    marked=$(python3 "$legs" union "${images[0]}" "${images[1]}" | wc -l)
    server_start "${images[0]}" "${images[1]}"
    "$history" --flushed verify "$uri" /run/ledger
    server_says "resync done: $marked chunks" > /dev/null
    server_stop
    python3 "$legs" same "${images[0]}" "${images[1]}"
  done

  echo "lazy clear, no flush from the client:"
  legs_start 0 8
  new_array
  server_start daemon-sleep=1 /dev/nbd0 /dev/nbd1
  nbdsh -u "$uri" -c '
import time
for chunk in range (10):
    h.pwrite (b"c" * 4096, chunk * 16384)
while True:
    h.pwrite (b"b" * 4096, 1000 * 16384)
    time.sleep (0.05)
' > /run/busy 2>&1 &
  load=$!
  # Whoever reads while a superblock is being written may find it torn: that
  # says nothing, and is tried again.
  cleared ()
  {
    python3 "$legs" union "${images[0]}" "${images[1]}" > /run/bits 2>&1 &&
      ! grep -x '[0-9]' /run/bits > /dev/null
  }
  marked ()
  {
    python3 "$legs" bits "${images[1]}" > /run/bits 2>&1 &&
      grep -x 9 /run/bits > /dev/null
  }
  server_within 50 marked
  server_within 300 cleared
  power_cut
  cleared || die "the bits were not clear when the power was cut"
  python3 "$legs" covered "${images[0]}" "${images[1]}"
  server_start "${images[0]}" "${images[1]}"
  nbdsh -u "$uri" -c '
for chunk in range (10):
    assert h.pread (4096, chunk * 16384) == b"c" * 4096'
  server_stop

  echo "a failing flush:"
  rm -f /run/fail-flush*
  legs_start 0 7
  new_array
  server_start /dev/nbd0 /dev/nbd1
  size=$(nbdinfo --size "$uri")
  at=$((size / 2))
  # A first write, so that the array is not clean and the chunk is marked.
  nbdsh -u "$uri" -c "h.pwrite (b'1' * 512, $at); h.flush ()"
  touch /run/fail-flush0
  nbdsh -u "$uri" -c "h.pwrite (b'2' * 512, $at); h.flush ()" ||
    die "the flush failed for the client, though one leg could flush"
  rm -f /run/fail-flush0
  grep -q 'nbd0.*failed: flushing' "$server_log" ||
    die "the failing flush was swallowed"
  nbdsh -u "$uri" -c "h.pwrite (b'3' * 512, $at); h.flush ()"
  power_cut
  if server_try degraded=refuse "${images[0]}" "${images[1]}"; then
    die "the leg whose flush failed was accepted"
  fi
  server_start "${images[0]}" "${images[1]}"
  nbdsh -u "$uri" -c "assert h.pread (512, $at) == b'3' * 512"
  server_stop
BODY
