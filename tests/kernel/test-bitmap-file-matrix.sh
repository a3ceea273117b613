#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The matrix of bitmaps in a file, on ext4:
#
#     {superblock 0.90, 1.0, 1.1, 1.2}
#   x {kernel created, we created}
#   x {kernel runs it, we run it}
#   x {clean stop, killed, file forgotten, stale file}
#   x {direct, extent, pagecache}: how we write the file
#
# and then the other one takes over, is stopped in order, and the first one
# takes it back.  To kill is kill -9 of our server, and to pull the plug of the
# kernel.  What must hold:
#
#   clean      nothing is copied
#   kill       the marked chunks are copied to slot 1, and nothing else,
#              although nothing of them had arrived there
#   forgotten  after a run with the file, and an orderly stop, it is run
#              without, and killed.  We refuse to forget it if we were the last
#              to use it, and do it when told to (bitmap=none).  The other one
#              is given the file again, finds it out of date and copies all
#   stale      who takes over is given a copy of the file that was made before
#              the last run: the same
#
# and in each cell every write that was answered is there (where the kernel lost
# its page cache, every write that was flushed), the legs are equal, sectors
# are counted by the kernel on the data area of each leg, mdadm and we say the
# same of superblocks and file, full-resync=refuse refuses what copies all, and
# the file system has no errors.
#
# 16 of the cells of 0.90 and 1.2 are tried, so that each pair of values is
# among them; all of them, and 1.0 and 1.1, with MDBITMAP_LONG=1.

# shellcheck source=tests/kernel/cells.sh
. "$(dirname "$0")/cells.sh"
# shellcheck source=tests/kernel/bitmap-matrix-cell.sh
. "$here/bitmap-matrix-cell.sh"

all_cells ()
{
  local v c r e k creators=(kernel us) ends=(clean kill forgotten stale)
  local modes=(direct extent pagecache) versions=(0.90 1.2)
  [ -z "${MDBITMAP_LONG:-}" ] || versions=(0.90 1.0 1.1 1.2)
  for v in "${!versions[@]}"; do
    for c in 0 1; do
      for k in 0 1 2; do
        for e in 0 1 2 3; do
          for r in 0 1; do
            if [ -n "${MDBITMAP_LONG:-}" ] ||
               [ $(((v + c + r) % 2)) -eq 0 ] &&
               [ $(((2 * r + c + e) % 3)) -eq "$k" ]; then
              printf '%s_%s_%s_%s_%s\n' "${versions[v]}" "${creators[c]}" \
                     "${creators[r]}" "${ends[e]}" "${modes[k]}"
            fi
          done
        done
      done
    done
  done
}

# The first turn.  Those for which the plug is pulled come last.
turn_1 ()
{
  local ledgers=()
  export live='' doomed=''
  for cell; do
    cell_of "$cell"
    mkdir "$files"
    truncate -s 9M "$files/leg0" "$files/leg1"
    new_ledger "$files/ledger"
    if is_doomed; then
      doomed="$doomed $cell"
      ledgers+=("$files/ledger")
    else
      live="$live $cell"
    fi
  done
  uml_start first "$tmp/fs" "${ledgers[@]}" <<'BODY'
    . "$abs_top_srcdir/tests/kernel/bitmap-matrix-inside.sh"
    mount_bitmaps
    # shellcheck disable=SC2086
    each_cell turn_1 $live
    sync
    # shellcheck disable=SC2086
    turn_1_to_be_killed $doomed
    umount_bitmaps
BODY
  if [ -z "$doomed" ]; then
    uml_wait first
  else
    uml_wait_for first 'to be killed'
    for cell in $doomed; do
      "$history" wait 20 "$tmp/$cell/ledger"
    done
    uml_kill first
  fi
  sed "s/^/$self: first: /" "$tmp/first.out"
}

# What the first one has left.
judge ()
{
  local marked chunks clean bitmap_events events
  # From the medium; no cache has a say.
  debugfs -R "dump /${taken##*/} $files/bitmap" "$tmp/fs" 2> "$files/debugfs"
  [ -s "$files/bitmap" ] || { cat "$files/debugfs"; return 1; }
  python3 "$legs" --file="$files/bitmap" facts "$files/leg0" "$files/leg1" \
    > "$files/facts"
  . "$files/facts"
  say "$cell: $marked chunks of $chunks are marked"
  case $end in
    clean)
      expect "$cell: chunks marked" 0 "$marked"
      expect "$cell: clean" 1 "$clean"
      python3 "$legs" --file="$files/bitmap" same "$files/leg0" "$files/leg1"
      ;;
    kill)
      python3 "$legs" --file="$files/bitmap" covered \
        "$files/leg0" "$files/leg1"
      at_least "$cell: chunks marked" 1 "$marked"
      at_least "$cell: chunks not marked" 1 $((chunks - marked))
      python3 "$legs" --file="$files/bitmap" bits "$files/leg0" |
        python3 "$legs" --file="$files/bitmap" poison-these "$files/leg1"
      ;;
    *)
      at_least "$cell: events" $((bitmap_events + 1)) "$events"
      expect "$cell: clean" 0 "$clean"
      python3 "$legs" --file="$files/bitmap" poison "$files/leg1"
      ;;
  esac
}

turn_2 ()
{
  export live
  live=$(alive "$@" | paste -s -d ' ')
  uml_run second "$tmp/fs" <<'BODY'
    . "$abs_top_srcdir/tests/kernel/bitmap-matrix-inside.sh"
    mount_bitmaps
    # shellcheck disable=SC2086
    each_cell turn_2 $live
    umount_bitmaps
BODY
}

judge_end ()
{
  local taken_at=${taken##*/}
  debugfs -R "dump /$taken_at $files/bitmap" "$tmp/fs" 2> "$files/debugfs"
  python3 "$legs" --file="$files/bitmap" facts "$files/leg0" "$files/leg1" \
    > "$files/facts"
  . "$files/facts"
  # shellcheck disable=SC2154
  expect "$cell: chunks marked at the end" 0 "$marked"
  python3 "$legs" --file="$files/bitmap" same "$files/leg0" "$files/leg1"
}

# group CELL...: few enough for one boot.
group ()
{
  local status=0
  rm -f "$tmp/fs"
  truncate -s 16M "$tmp/fs"
  mkfs.ext4 -q "$tmp/fs"
  turn_1 "$@"
  # Replays the journal.  1: it has mended what the plug had left.
  e2fsck -p "$tmp/fs" || status=$?
  at_least "errors mended by e2fsck" "$status" 1
  each_cell judge "$@"
  turn_2 "$@"
  e2fsck -f -n "$tmp/fs" || die "the file system has errors"
  each_cell judge_end "$@"
}

uml_begin
uml_deadline=600
read -r -a cells <<< "${MDBITMAP_CELLS:-$(all_cells | paste -s -d ' ')}"
for ((i = 0; i < ${#cells[@]}; i += 16)); do
  group "${cells[@]:i:16}"
  for cell in $(alive "${cells[@]:i:16}"); do
    rm -r "${tmp:?}/$cell"/leg?
  done
done
all_alive "${cells[@]}"
