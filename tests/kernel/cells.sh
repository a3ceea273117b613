# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# Turns with many arrays: for each, a directory $tmp/CELL with legs leg0,
# leg1, ... and a ledger.  The kernel takes its turn with all of them in one
# boot, then we with each.  Sourced by tests, which have a function cell_of
# that sets the variables of a cell: cell, files (its directory), writes (how
# many each thread writes in a turn).  cells-inside.sh is the other half.

# From cell_of, and from files that are sourced; arguments are options.
# shellcheck disable=SC2119,SC2120,SC2154

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "${BASH_SOURCE[0]}")/uml.sh"

alive ()
{
  local each
  for each; do
    [ -e "$tmp/$each/failed" ] || echo "$each"
  done
}

# each_cell FUNCTION CELL...: a failure ends that cell and not the others.
each_cell ()
{
  local function=$1 status
  shift
  for cell in $(alive "$@"); do
    cell_of "$cell"
    say "== $cell: $function"
    set +e
    (trap - EXIT; set -e; $function)
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
      say "$cell: FAILED in $function"
      touch "$files/failed"
    fi
  done
}

serve ()
{
  trap server_kill EXIT
  server_start "$@"
}

load ()
{
  "$history" --continue "$@" --more="$writes" write "$uri" "$files/ledger" \
    > "$files/load" || { cat "$files/load"; die "$cell: the load failed"; }
}

verify ()
{
  "$history" "$@" verify "$uri" "$files/ledger" > "$files/verify" ||
    { cat "$files/verify"; die "$cell: data are wrong"; }
}

no_resync ()
{
  if grep -E 'resync( done)?: |full resync' "$server_log"; then
    die "$cell: a resync, and nothing to resync"
  fi
}

# facts LEG...: for the next turn of the kernel.
facts ()
{
  local marked chunks
  python3 "$legs" facts "$@" > "$files/facts"
  . "$files/facts"
  say "$cell: $marked chunks of $chunks are marked"
}

facts_say_clean ()
{
  local marked clean
  facts "$@"
  . "$files/facts"
  expect "$cell: chunks marked" 0 "$marked"
  expect "$cell: clean" 1 "$clean"
  [ $# -eq 1 ] || python3 "$legs" same "$@"
}

facts_say_marked ()
{
  local marked chunks
  facts "$@"
  . "$files/facts"
  at_least "$cell: chunks marked" 1 "$marked"
  at_least "$cell: chunks not marked" 1 $((chunks - marked))
}

# kernel_turn WHAT N CELL...: run turn_N of WHAT-inside.sh with each.
kernel_turn ()
{
  export what=$1 turn=$2 live
  shift 2
  live=$(alive "$@" | paste -s -d ' ')
  uml_run "kernel$turn" <<'BODY'
    . "$abs_top_srcdir/tests/kernel/$what-inside.sh"
    # shellcheck disable=SC2086
    each_cell "turn_$turn" $live
BODY
}

# Did they come through?
all_alive ()
{
  local failed
  failed=$(comm -23 <(printf '%s\n' "$@" | sort) <(alive "$@" | sort))
  [ -z "$failed" ] || die "$(wc -l <<< "$failed") of $# cells:" \
                          "$(paste -s -d ' ' <<< "$failed")"
  say "$# cells are good"
}
