# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# The matrix: for one version of the superblock
#
#     {kernel created, we created}
#   x {clean stop, server killed, kernel killed, one leg failed before the
#      stop, one leg removed, stale leg offered first}
#   x {chunks of 4 KiB, 64 KiB, 64 MiB}
#
# and in each cell the kernel and we take turns: the kernel, we, the kernel,
# we, the kernel.  All cells of a version take each turn together, so that
# the kernel is booted three times.  What must hold:
#
#   clean          nothing is copied by whoever comes next
#   server-killed  the kernel copies the marked chunks to slot 1
#   kernel-killed  we copy the marked chunks to slot 1
#   leg-failed     the kernel fails slot 1, and we do not use it; later it
#                  fails under us, and the kernel does not use it; each time
#                  it comes back with --re-add, and the chunks that we and
#                  the kernel marked meanwhile are copied to it
#   leg-removed    slot 1 is removed and comes back with --re-add: in the
#                  kernel, and we find nothing to do; while we run without it
#                  and are stopped, or killed, and the kernel copies the
#                  chunks that we marked
#   stale-first    slot 0 is stale, by the kernel and later by us, is given
#                  first, and not used; --re-add as above
#
# and in each cell, each time:
#
#   - sectors copied are those of the marked chunks, as the kernel counts
#     them on the data area of each leg, the last chunk being shorter;
#   - `check' finds no mismatch afterwards, although in the marked chunks
#     nothing had arrived at the leg that they were copied to;
#   - every write that was answered is there, or, where the kernel lost
#     its page cache, every write that was flushed;
#   - examine and examine-bitmap say what mdadm says, line by line.
#
# Of the 36 cells of a version 6 are tried, so that each pair of values of the
# four axes is among the 24 of the versions; all of them with MDBITMAP_LONG=1.

# From cell_of; arguments of load and verify are options.
# shellcheck disable=SC2119,SC2154

# shellcheck source=tests/kernel/cells.sh
. "$(dirname "${BASH_SOURCE[0]}")/cells.sh"
# shellcheck source=tests/kernel/matrix-cell.sh
. "$here/matrix-cell.sh"

#----------------------------------------------------------------------
# Cells

# Room for metadata at either end.
leg_size ()
{
  echo $(((size_kib + 3072) / 1024 * 1024 * 1024))
}

matrix_cells ()
{
  local v c s k creators=(kernel us) chunks=(4K 64K 64M)
  local scenarios=(clean server-killed kernel-killed leg-failed leg-removed
                   stale-first)
  case $1 in
    0.90) v=0 ;;
    1.0) v=1 ;;
    1.1) v=2 ;;
    1.2) v=3 ;;
  esac
  for c in 0 1; do
    for s in 0 1 2 3 4 5; do
      for k in 0 1 2; do
        if [ -n "${MDBITMAP_LONG:-}" ] ||
           [ $(((2 * v + 3 * c + s + k) % 6)) -eq 0 ]; then
          echo "$1_${creators[c]}_${scenarios[s]}_${chunks[k]}"
        fi
      done
    done
  done
}

#----------------------------------------------------------------------
# Our turns

# One leg is not used, and says so.
one_leg ()
{
  serve "$files/leg0" "$files/leg1"
  server_says "$1: not used"
  verify
  load
  server_stop
  # A stop clears what may be cleared: nothing.
  facts_say_marked "$2"
}

killed ()
{
  local load least
  serve "$files/leg0" "$files/leg1"
  no_resync
  verify
  "$history" --continue write "$uri" "$files/ledger" > "$files/load" &
  load=$!
  "$history" wait 20 "$files/ledger"
  server_kill
  wait "$load" || die "$cell: the load failed"
  python3 "$legs" covered "$files/leg0" "$files/leg1"
  facts_say_marked "$files/leg0" "$files/leg1"
  . "$files/facts"
  at_least "$cell: chunks marked on each leg" 1 "$least"
  poison_marked marked
}

# Let nothing of the marked chunks have arrived at slot 1.
poison_marked ()
{
  python3 "$legs" "$1" "$files/leg0" "$files/leg1" > "$files/marked"
  python3 "$legs" poison-these "$files/leg1" < "$files/marked"
}

# We copy what the kernel had marked, and nothing else: on copies of the legs
# that differ in each chunk.  Then in earnest.
after_the_kernel ()
{
  local union chunks
  python3 "$legs" covered "$files/leg0" "$files/leg1"
  facts_say_marked "$files/leg0" "$files/leg1"
  . "$files/facts"
  poison_marked union
  cp "$files/leg0" "$files/copy0"
  cp "$files/leg1" "$files/copy1"
  python3 "$legs" poison "$files/copy1"
  serve "$files/copy0" "$files/copy1"
  server_says "resync done: $union chunks"
  server_stop
  python3 "$legs" differ "$files/copy0" "$files/copy1" > "$files/differ"
  expect "$cell: chunks marked and not copied" "" \
         "$(sort "$files/differ" "$files/marked" | uniq -d)"
  expect "$cell: chunks marked, or not copied" "$chunks" \
         "$(sort -u "$files/differ" "$files/marked" | wc -l)"
  rm "$files/copy0" "$files/copy1"

  server_start "$files/leg0" "$files/leg1"
  verify --flushed
  server_says "resync done: $union chunks"
  load --again
  verify
  server_stop
  facts_say_clean "$files/leg0" "$files/leg1"
}

whole ()
{
  serve "$files/leg0" "$files/leg1"
  no_resync
  verify
  load
  server_stop
  no_resync
}

# without END LEG: LEG alone, until the END of the server.
without ()
{
  serve degraded=allow "$2"
  verify
  load
  "server_$1"
  facts_say_marked "$2"
}

our_turn_1 ()
{
  local end
  case $scenario in
    clean)
      whole
      facts_say_clean "$files/leg0" "$files/leg1"
      ;;
    server-killed)
      killed
      ;;
    kernel-killed)
      after_the_kernel
      ;;
    leg-failed)
      one_leg leg1 "$files/leg0"
      ;;
    leg-removed)
      whole
      # Who was killed has not raised the events as often; and then the
      # kernel is given the other leg as well.
      end=stop
      [ "$creator" = kernel ] || end="kill"
      without $end "$files/leg0"
      ;;
    stale-first)
      one_leg leg0 "$files/leg1"
      ;;
  esac
}

# Slot 1 fails under us, and we are stopped in order.
leg_fails ()
{
  local preload=$abs_top_builddir/tests/.libs/failing-disk.so
  [ -e "$preload" ] || die "failing-disk.so is not built"
  export LD_PRELOAD=${MDBITMAP_PRELOAD:+$MDBITMAP_PRELOAD:}$preload
  serve "$files/leg0" "$files/leg1"
  unset LD_PRELOAD
  no_resync
  verify
  load
  touch "$files/leg1.fail-write"
  load
  server_says 'leg1.*failed'
  load
  server_stop
  rm "$files/leg1.fail-write"
  facts_say_marked "$files/leg0"
}

read_only ()
{
  sha256sum "$files/leg0" "$files/leg1" > "$files/sums"
  serve -r "$files/leg0" "$files/leg1"
  verify
  server_stop
  sha256sum --quiet -c "$files/sums" || die "$cell: nbdkit -r wrote to a leg"
}

our_turn_2 ()
{
  case $scenario in
    leg-failed)
      leg_fails
      ;;
    stale-first)
      without stop "$files/leg1"
      ;;
    *)
      [ "$scenario" != clean ] || read_only
      whole
      facts_say_clean "$files/leg0" "$files/leg1"
      ;;
  esac
}

#----------------------------------------------------------------------

# make_legs CELL...
make_legs ()
{
  for cell; do
    cell_of "$cell"
    mkdir "$files"
    truncate -s "$(leg_size)" "$files/leg0" "$files/leg1"
    new_ledger "$files/ledger"
    [ "$creator" = us ] || continue
    "$MDBITMAP" create --metadata="$version" --assume-clean \
      --bitmap-chunk="$chunk" --size="${size_kib}K" \
      "$files/leg0" "$files/leg1" > "$files/create" 2>&1 || {
        cat "$files/create"
        say "$cell: FAILED in create"
        touch "$files/failed"
      }
  done
}

# The first turn, at the end of which the plug is pulled.
kernel_turn_1 ()
{
  local ledgers=()
  export live='' doomed=''
  for cell in $(alive "$@"); do
    case $cell in
      *_kernel-killed_*)
        doomed="$doomed $cell"
        ledgers+=("$tmp/$cell/ledger")
        ;;
      *)
        live="$live $cell"
        ;;
    esac
  done
  uml_start kernel1 "${ledgers[@]}" <<'BODY'
    . "$abs_top_srcdir/tests/kernel/matrix-inside.sh"
    # shellcheck disable=SC2086
    each_cell turn_1 $live
    sync
    load_module loop
    # shellcheck disable=SC2086
    turn_1_to_be_killed $doomed
BODY
  if [ -z "$doomed" ]; then
    uml_wait kernel1
  else
    uml_wait_for kernel1 'to be killed'
    for cell in $doomed; do
      "$history" wait 20 "$tmp/$cell/ledger"
    done
    uml_kill kernel1
  fi
  sed "s/^/$self: kernel1: /" "$tmp/kernel1.out"
}

# matrix VERSION
matrix ()
{
  local cells
  uml_begin
  read -r -a cells <<< "${MDBITMAP_CELLS:-$(matrix_cells "$1" | paste -s -d ' ')}"
  make_legs "${cells[@]}"
  kernel_turn_1 "${cells[@]}"
  each_cell our_turn_1 "${cells[@]}"
  kernel_turn matrix 2 "${cells[@]}"
  each_cell our_turn_2 "${cells[@]}"
  kernel_turn matrix 3 "${cells[@]}"
  all_alive "${cells[@]}"
}
