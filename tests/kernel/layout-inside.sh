# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# What mdadm and the kernel make of a leg, for test-layout.sh, inside user-mode
# Linux.  ${images[0]} is one leg that is as large as any, ${images[1]} another.

# Most variables come from the script.
# shellcheck disable=SC2154

layout_leg=/dev/mapper/leg
layout_other=missing

# layout_leg_of SECTORS
layout_leg_of ()
{
  dmsetup create leg --table "0 $1 linear ${images[0]} 0"
  layout_other=missing
}

# layout_other_of SECTORS: slot 1 has a leg as well
layout_other_of ()
{
  dmsetup create other --table "0 $1 linear ${images[1]} 0"
  layout_other=/dev/mapper/other
}

layout_other_gone ()
{
  dmsetup remove other
  layout_other=missing
}

layout_leg_gone ()
{
  dmsetup remove leg
}

# layout_make VERSION BITMAP SIZE OPTION...: mdadm --create on $layout_leg, as the table
# means it; what it says is in /run/said.
layout_make ()
{
  local options=(--bitmap=internal) version=$1 size=$3
  case $2 in
    none) options=(--bitmap=none) ;;
    default) ;;
    *) options+=("--bitmap-chunk=$(($2 / 1024))K") ;;
  esac
  if [ "$size" != 0 ]; then
    options+=("--size=$((size / 2))K")
  fi
  shift 3
  mdadm --create /dev/md0 --run --level=1 --raid-devices=2 \
        --metadata="$version" "${options[@]}" "$@" "$layout_leg" "$layout_other" \
        > /run/said 2>&1
}

# layout_words SECTOR: 512 bytes of the leg as unsigned 32-bit numbers
layout_words ()
{
  dd if="$layout_leg" bs=512 skip="$1" count=1 iflag=direct 2>/dev/null |
    od -An -v -tu4
}

signed ()
{
  echo $(($1 < 2147483648 ? $1 : $1 - 4294967296))
}

# layout_show VERSION SECTORS: what the superblock says, as in the table
layout_show ()
{
  local at w bitmap=0 log=0 chunk=0 row b
  case $1 in
    0.90) at=$(($2 / 128 * 128 - 128)) ;;
    1.0)  at=$((($2 - 16) / 8 * 8)) ;;
    1.1)  at=0 ;;
    1.2)  at=8 ;;
  esac
  # shellcheck disable=SC2207
  w=($(layout_words "$at"))
  [ "${w[0]}" = 2838187772 ] || die "$1 $2: no superblock"
  if [ "$1" = 0.90 ]; then
    if [ $((w[33] & 256)) != 0 ]; then
      bitmap=8
    fi
    row="$at 0 $at $((w[8] * 2)) $bitmap 0 0"
  else
    if [ $((w[2] & 1)) != 0 ]; then
      bitmap=$(signed "${w[24]}")
    fi
    log=$((w[46] >> 16))
    row="$((w[36] + (w[37] << 32))) $((w[32] + (w[33] << 32)))"
    row+=" $((w[34] + (w[35] << 32))) $((w[20] + (w[21] << 32)))"
    row+=" $bitmap $(signed "${w[47]}") $log"
  fi
  if [ "$bitmap" != 0 ]; then
    # shellcheck disable=SC2207
    b=($(layout_words $((at + bitmap))))
    chunk=${b[13]}
  fi
  echo "$row $chunk"
}

# One row of the table.
layout_row ()
{
  layout_leg_of "$3"
  if layout_make "$1" "$2" "$4"; then
    echo "$1 $2 $3 $4: $(layout_show "$1" "$3")"
    mdadm --stop /dev/md0 2> /dev/null
  elif grep -q 'bitmap chunk size not supported' /run/said; then
    echo "$1 $2 $3 $4: refused chunk"
  elif grep -q -E 'smaller than given size|too large for' /run/said; then
    echo "$1 $2 $3 $4: refused size"
  else
    cat /run/said >&2
    die "$1 $2 $3 $4: mdadm --create"
  fi
  layout_leg_gone
}

# layout_ours VERSION BITMAP SIZE OPTION...: the same with ours
layout_ours ()
{
  local options=("--metadata=$1") bitmap=$2 size=$3
  shift 3
  case $bitmap in
    none) options+=(--bitmap=none) ;;
    default) ;;
    *) options+=("--bitmap-chunk=$bitmap") ;;
  esac
  if [ "$size" != 0 ]; then
    options+=("--size=$((size * 512))")
  fi
  "$MDBITMAP" create --force "${options[@]}" "$@" "$layout_leg" "$layout_other" \
    > /run/said 2>&1 || { cat /run/said; die "mdbitmap create $*"; }
}

# layout_examine VERSION
#
# What mdadm says about the leg, without what differs from one array to the
# next: identity, times, what is summed, and the numbers of devices.  And
# without the events of a bitmap of 0.90: mdadm gives it one less than the
# superblock, which to the kernel is a stale bitmap.
layout_examine ()
{
  local unlike='^$'

  [ "$1" != 0.90 ] || unlike='Events :'
  {
    mdadm --examine "$layout_leg"
    mdadm --examine-bitmap "$layout_leg" | grep -v "$unlike" ||
      : # fails if there is none
  } 2>&1 |
    sed -E 's/[[:space:]]+/ /g; s/^ //; s/ $//; s/ \/dev\/.*//
            s/^(this|[0-9]+) ([0-9]+) [0-9]+ [0-9]+ ([0-9]+) /\1 \2 - - \3 /' |
    grep -v -E -e '^(Array UUID|UUID|Device UUID|Name|Creation Time|Update Time)' \
      -e '^(Checksum|Preferred Minor|Magic|Events Cleared|Filename)'
}

# layout_compare VERSION BITMAP SIZE LEG
#
# Without the module raid1, mdadm leaves what it has made as it is: the kernel
# has started nothing yet, so that the state is the same as well.
layout_compare ()
{
  layout_other_of "$4"
  rmmod raid1
  mdadm --zero-superblock "$layout_leg" "$layout_other" 2> /dev/null || :
  layout_make "$1" "$2" "$3" || : # the array cannot start
  mdadm --stop /dev/md0 2> /dev/null || :
  layout_examine "$1" > /run/theirs
  layout_ours "$1" "$2" "$3"
  layout_examine "$1" > /run/ours
  [ "$(wc -l < /run/ours)" -gt 12 ] || { cat /run/ours; die "no lines"; }
  diff /run/theirs /run/ours || die "$*: mdadm's is < and ours is >"
  load_module raid1
  layout_other_gone
}

# layout_assemble VERSION BITMAP SIZE LEG: the kernel takes what we made
layout_assemble ()
{
  layout_ours "$1" "$2" "$3" --assume-clean
  mdadm --assemble --run /dev/md0 "$layout_leg" 2> /run/said ||
    { cat /run/said; die "$*: mdadm --assemble"; }
  expect "$*" "U_ $(($(layout_field "$1" "$4" 4) * 512))" \
         "$(md_state) $(($(cat /sys/block/md0/size) * 512))"
  if [ "$2" = none ]; then
    [ "$(cat /sys/block/md0/md/bitmap/location)" = none ] || die "a bitmap"
  else
    [ "$(cat /sys/block/md0/md/bitmap/location)" != none ] || die "no bitmap"
  fi
  dd if=/dev/urandom of=/dev/md0 bs=64K count=1 oflag=direct 2> /dev/null
  mdadm --stop /dev/md0 2> /dev/null
}

# layout_field VERSION LEG N: a field of a row
layout_field ()
{
  layout_show "$1" "$2" | cut -d ' ' -f "$3"
}
