#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A split brain made with the kernel: each leg was run alone, and written.
# Neither plugin nor tool decide; `mdbitmap assemble --force-source' does, and
# then the kernel must not take the loser in, whichever is given first, and
# not with --re-add unless all of it is copied.

# shellcheck disable=SC2119,SC2154

# shellcheck source=tests/kernel/cells.sh
. "$(dirname "$0")/cells.sh"
# shellcheck source=tests/kernel/split-cell.sh
. "$here/split-cell.sh"

cells=(0.90_leg0_even 0.90_leg1_even 1.2_leg0_even 1.2_leg1_even
       0.90_leg0_ahead 1.0_leg0_ahead 1.1_leg1_ahead 1.2_leg0_ahead)

make_legs ()
{
  for cell; do
    cell_of "$cell"
    mkdir "$files"
    new_ledger "$files/ledger"
    truncate -s 16M "$files/leg0" "$files/leg1"
  done
}

refused ()
{
  if server_try "$@"; then
    die "$cell: a split brain was served"
  fi
  grep -i 'split' "$server_log" || die "$cell: no word about a split brain"
}

our_turn ()
{
  local status=0 events_0 events_1
  sha256sum "$files/leg0" "$files/leg1" > "$files/sums"
  trap server_kill EXIT
  refused "$files/leg0" "$files/leg1"
  refused -r "$files/leg1" "$files/leg0"
  "$MDBITMAP" assemble --dry-run "$files/leg0" "$files/leg1" \
    > "$files/dry-run" 2>&1 || status=$?
  cat "$files/dry-run"
  at_least "$cell: status of the dry run" 2 "$status"
  grep -q -e '--force-source' "$files/dry-run" ||
    die "$cell: the dry run does not tell how to choose"
  sha256sum --quiet -c "$files/sums" || die "$cell: legs were changed"

  "$MDBITMAP" assemble --force-source="$files/$winner" \
    "$files/leg0" "$files/leg1" || [ $? -eq 1 ]
  events_0=$(python3 "$legs" show "$files/leg0" events)
  events_1=$(python3 "$legs" show "$files/leg1" events)
  case $winner in
    leg0)
      at_least "$cell: events" $((events_1 + 2)) "$events_0"
      ;;
    leg1)
      at_least "$cell: events" $((events_0 + 2)) "$events_1"
      mv "$files/ledger1" "$files/ledger"
      ;;
  esac
  [ "$updates_1" -gt 0 ] || return 0
  # It is settled, durably: the same two are served, and the loser is not.
  server_start "$files/leg0" "$files/leg1"
  server_says 'not used'
  verify
  load
  server_stop
}

uml_begin
if [ -n "${MDBITMAP_CELLS:-}" ]; then
  read -r -a cells <<< "$MDBITMAP_CELLS"
fi
make_legs "${cells[@]}"
kernel_turn split 1 "${cells[@]}"
each_cell our_turn "${cells[@]}"
kernel_turn split 2 "${cells[@]}"
all_alive "${cells[@]}"
