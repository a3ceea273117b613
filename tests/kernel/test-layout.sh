#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Where mdadm puts superblock, bitmap, bad-block log and data, on legs of
# 16 MiB to 8 TiB (all of them hole).
#
# tests/golden/layout.table is what mdadm and the kernel did; the unit test
# compares each row with what we do.  Here a sample of the rows is measured
# anew with the mdadm that is installed (all of them with MDBITMAP_LONG=1),
# and `test-layout.sh --measure > tests/golden/layout.table' makes the table.
#
# Then, for each version of the superblock: arrays that we made on these legs
# look to mdadm as its own do, line by line, and the kernel assembles them.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

table=$abs_top_srcdir/tests/golden/layout.table
measure=no
if [ "${1:-}" = --measure ]; then
  measure=yes
fi

#----------------------------------------------------------------------
# The cases: version, bitmap (none, default, or the bytes of a chunk),
# sectors of the leg, sectors of the array (0: not given).

K=2 M=2048 G=$((2048 * 1024)) T=$((2048 * 1024 * 1024))

some_sizes ()
{
  echo $((16 * M)) $((64 * M)) $((G)) $((2 * G)) $((8 * G)) $((9 * G))
  echo $((64 * G)) $((201 * G)) $((2 * T)) $((8 * T))
}

all_sizes ()
{
  some_sizes
  # Odd ends.
  echo $((64 * M + 1)) $((64 * M + 2)) $((64 * M + 7)) $((64 * M + 8))
  echo $((64 * M + 15)) $((64 * M + 127)) $((64 * M + 128)) $((65000 * K))
  echo $((17 * M + 333)) $((32 * M)) $((100 * M)) $((128 * M)) $((250 * M))
  echo $((512 * M)) $((1023 * M)) $((G + 8)) $((4 * G))
  # Where the room for the bitmap changes.
  echo $((8 * G - 8)) $((8 * G + 8)) $((8 * G + 9)) $((8 * G + 16))
  echo $((8 * G + 32)) $((8 * G + 128)) $((8 * G + 18432))
  echo $((200 * G)) $((200 * G + 127)) $((200 * G + 128)) $((200 * G + 256))
  echo $((200 * G + 264192))
  echo $((20 * G)) $((32 * G)) $((100 * G)) $((127 * G)) $((128 * G))
  echo $((500 * G)) $((T)) $((2 * T - 128)) $((2 * T + 128)) $((3 * T))
  echo $((4 * T - 256)) $((4 * T - 128)) $((4 * T)) $((4 * T + 128))
  echo $((4 * T + 256)) $((5 * T)) $((6 * T + 12345))
}

cases ()
{
  local version leg chunk size
  for version in 0.90 1.0 1.1 1.2; do
    for leg in $(all_sizes); do
      echo "$version none $leg 0"
      echo "$version default $leg 0"
    done
    for leg in $(some_sizes); do
      for chunk in 4096 8192 32768 65536 131072 262144 1048576 134217728; do
        echo "$version $chunk $leg 0"
      done
    done
    # One page of bits, and a bit more.
    for size in 245752 245760 245762 245768; do
      echo "$version 4096 $((128 * M)) $size"
    done
    for size in 10 12 100 1000 65536 40000 40002 100000 130816; do
      echo "$version default $((64 * M)) $size"
      echo "$version none $((64 * M)) $size"
      echo "$version 65536 $((64 * M)) $size"
    done
    for size in 130900 130912 130928 130936 130944 130952 131000; do
      echo "$version default $((64 * M)) $size"
    done
    # A small array on a large leg.
    for leg in $((9 * G)) $((201 * G)) $((8 * T)); do
      for chunk in none default 65536; do
        echo "$version $chunk $leg $((100 * M))"
        echo "$version $chunk $leg $((9 * G - 100 * M))"
      done
    done
  done
}

# A part of the table that has each kind of row.
sample ()
{
  if [ "${MDBITMAP_LONG:-0}" = 1 ]; then
    grep -v '^#' "$table"
  else
    grep -v '^#' "$table" | awk 'NR % 17 == 3'
  fi
}

#----------------------------------------------------------------------

uml_begin
truncate -s 8T "$tmp/leg" "$tmp/other"
if [ "$measure" = yes ]; then
  cases | sort -u -k 1,1 -k 2,2V -k 3,3n -k 4,4n > "$tmp/cases"
else
  sample > "$tmp/cases"
  at_least "rows of the sample" 30 "$(wc -l < "$tmp/cases")"
fi

uml_deadline=550
uml_start measure "$tmp/leg" <<'BODY'
  load_module dm-mod
  # shellcheck source=tests/kernel/layout-inside.sh
  . "$abs_top_srcdir/tests/kernel/layout-inside.sh"
  while read -r version bitmap leg size _; do
    layout_row "$version" "$bitmap" "$leg" "${size%:}"
  done < "$tmp/cases" > "$tmp/measured"
BODY
uml_wait measure

if [ "$measure" = yes ]; then
  cat <<END_OF_HEADER
# Where mdadm puts things: $(mdadm --version 2>&1 | sed 's/^mdadm - //').
# Made by: tests/kernel/test-layout.sh --measure > tests/golden/layout.table
#   (mdadm --create --run --level=1 --raid-devices=2 --metadata=VERSION
#    --bitmap=BITMAP LEG missing, and the superblock as the kernel left it)
# All in sectors, but bitmap and chunk in bytes.
# version bitmap leg size: super_offset data_offset data_size size
#   bitmap_offset bblog_offset bblog_size chunk
END_OF_HEADER
  cat "$tmp/measured"
  exit 0
fi
diff "$tmp/cases" "$tmp/measured" ||
  die "the table's rows are <, what mdadm does is >"
say "rows measured anew: $(wc -l < "$tmp/measured")"

#----------------------------------------------------------------------
# Ours beside mdadm's, on the same legs.

compare ()
{
  local version leg bitmap
  for version in 0.90 1.0 1.1 1.2; do
    for leg in $((16 * M)) $((64 * M + 15)) $((9 * G)) $((3 * T)); do
      for bitmap in none default; do
        echo "$version $bitmap $leg 0"
      done
      if [ "$leg" -lt "$G" ]; then
        echo "$version 65536 $leg 0"
        echo "$version default $leg $((12 * M + 2))"
      fi
    done
    if [ "$version" != 0.90 ]; then
      echo "$version default $((8 * T)) 0"
    fi
  done
  # Finer than mdadm would: only the kernel can tell.
  echo "1.0 4096 $((2 * G)) 0 finer"
  echo "1.1 4096 $((2 * G)) 0 finer"
  echo "1.2 4096 $((32 * G)) 0 finer"
  echo "0.90 4096 $((1900 * M)) 0"
}

compare > "$tmp/compared"
uml_run compare "$tmp/leg" "$tmp/other" <<'BODY'
  load_module dm-mod
  # shellcheck source=tests/kernel/layout-inside.sh
  . "$abs_top_srcdir/tests/kernel/layout-inside.sh"
  while read -r version bitmap leg size finer; do
    layout_leg_of "$leg"
    if [ -z "$finer" ]; then
      layout_compare "$version" "$bitmap" "$size" "$leg"
    fi
    layout_assemble "$version" "$bitmap" "$size" "$leg"
    layout_leg_gone
  done < "$tmp/compared"
BODY
