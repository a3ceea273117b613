#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A leg is missing at the start: refused with the slot's number and the way
# out; degraded=allow serves and records the loss before the first write;
# from then on the survivor starts by itself, and the old leg never wins.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

cd "$tmp"

# slot 0 is a, slot 1 is b.
make ()
{
  rm -f a b
  start_array new a b create=16M bitmap-chunk=64K
  client new 'h.pwrite (b"old " * 128, 65536, nbd.CMD_FLAG_FUA)'
  stop new
}

# lost KEPT SLOT: the array without the leg of that slot.
lost ()
{
  local kept=$1 slot=$2 gone sum

  gone=$([ "$kept" = a ] && echo b || echo a)
  make
  sum=$(leg sum-all a b)

  # One leg given, the other one not.
  refuses "slot $slot.*degraded=allow\|degraded=allow.*slot $slot" "$kept"
  refuses "slot $slot" "$kept" degraded=auto
  refuses "slot $slot" "$kept" degraded=refuse
  # The other one given, but empty.
  mv "$gone" hidden
  : > "$gone"
  refuses_all "leg .*/$gone:" "slot $slot has no leg" a b
  rm "$gone"
  refuses_all "leg .*/$gone:" "slot $slot has no leg" a b
  mv hidden "$gone"
  [ "$(leg sum-all a b)" = "$sum" ] || fail "refused, but a leg was changed"

  start_array alone "$kept" degraded=allow
  # Before the first write answers the loss must be recorded.
  client alone '
sys.path[:0] = [sys.argv[1]]
import leg
kept, slot = sys.argv[2], int (sys.argv[3])
old = leg.Leg (sys.argv[4])
assert h.pread (512, 65536) == b"old " * 128
h.pwrite (b"new " * 128, 65536)
now = leg.Leg (kept)
assert old.dev_number in now.faulty (), now.roles[:4]
assert now.role_of_slot (slot) == [], now.roles[:4]
assert now.events >= old.events + 2, (now.events, old.events)
assert now.clean == 0
assert 1 in now.marked_list, now.marked_list
h.pwrite (b"more" * 128, 0, nbd.CMD_FLAG_FUA)
' "$tests" "$kept" "$slot" "$gone"
  if [ "$3" = stop ]; then stop alone; else crash alone; fi

  # Bits are not cleared while a leg is missing.
  for chunk in 0 1; do
    leg get "$kept" marked_list | grep -q "\b$chunk\b" \
      || fail "the mark of chunk $chunk is gone while degraded"
  done

  # The loss is recorded: the survivor starts by itself, degraded=refuse
  # still refuses.
  start_array again "$kept"
  client again '
assert h.pread (512, 65536) == b"new " * 128
assert h.pread (512, 0) == b"more" * 128'
  stop again
  refuses "slot $slot" "$kept" degraded=refuse

  # Both are there again: the old one is left alone, in any order.
  sum=$(leg sum-all "$gone")
  for order in "a b" "b a"; do
    # shellcheck disable=SC2086
    start_array both $order
    client both '
assert h.pread (512, 65536) == b"new " * 128
assert h.pread (512, 0) == b"more" * 128
for i in range (20):
    assert h.pread (512, 65536) == b"new " * 128
h.pwrite (b"last" * 128, 131072, nbd.CMD_FLAG_FUA)
assert h.pread (512, 131072) == b"last" * 128'
    stop both
    [ "$(leg sum-all "$gone")" = "$sum" ] || fail "the old leg was changed"
  done

  # The old leg by itself says that both are in sync: only degraded=allow
  # may start it, never the default.
  refuses "slot" "$gone"
  [ "$(leg sum-all "$gone")" = "$sum" ] || fail "refused, but changed"
}

lost a 1 stop
lost a 1 crash
lost b 0 stop
lost b 0 crash

# A degraded array with read-only assembly says nothing to the leg.
make
sum=$(leg sum-all a b)
flags=-r start_array ro a degraded=allow
client ro 'assert h.pread (512, 65536) == b"old " * 128'
stop ro
[ "$(leg sum-all a b)" = "$sum" ] || fail "nbdkit -r recorded a loss"

# Killed between the degraded start and the first write, and started with
# both: the loss was recorded or nothing was written; either way the legs
# must be equal afterwards or the old leg left out.
start_array brief a degraded=allow
crash brief
start_array both a b
client both 'assert h.pread (512, 65536) == b"old " * 128'
stop both
exit 0
