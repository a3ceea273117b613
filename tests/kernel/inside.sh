# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# What runs inside user-mode Linux as process 1: sourced by the script that
# uml.sh writes, which then defines inside_body and calls inside_main.

# Most variables come from that script.
# shellcheck disable=SC2154

die ()
{
  echo "FAILED: $*"
  exit 1
}

expect ()
{
  [ "$2" = "$3" ] || die "$1: expected '$2', found '$3'"
  echo "$1: $3"
}

# Insert a module after those it needs.  modprobe would look in /lib/modules,
# and is not on every host.
load_module ()
{
  local directory name file dependencies i
  directory=/usr/lib/uml/modules/$(uname -r)
  for name; do
    [ -d "/sys/module/${name//-/_}" ] && continue
    IFS=: read -r file dependencies \
      < <(grep -E "/$name\.ko(\.[a-z]+)?:" "$directory/modules.dep")
    read -r -a dependencies <<< "$dependencies"
    for ((i = ${#dependencies[@]} - 1; i >= 0; i--)); do
      "$insmod" "$directory/${dependencies[i]}"
    done
    "$insmod" "$directory/$file"
  done
}

inside_mount ()
{
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
  mkdir -p /dev/shm
  ln -s /proc/self/fd /dev/fd
  mount -t tmpfs shm /dev/shm
  # Not over /tmp: the images and the scripts may be there.
  mount -t tmpfs run /run
  mkdir -p /run/lock /run/mdadm /run/udev /run/mnt
  ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null || :
}

# Sockets on hostfs are the host's.
server_files=/run
server_log=$tmp/$uml_name-server.log
# shellcheck source=tests/kernel/server.sh
. "$abs_top_srcdir/tests/kernel/server.sh"

# There is no udev: mdadm and dmsetup are told not to wait for it.
export MDADM_NO_UDEV=1 DM_DISABLE_UDEV=1
# The test may have been started from anywhere.
cd / || exit 1

# The body is not the command of an `if' or of `||', which would disable -e.
inside_main ()
{
  local status
  inside_mount
  (sleep "$uml_deadline"; echo "inside: deadline"; poweroff -f) &
  (
    set -E -e -u -o pipefail
    trap 'echo "FAILED: status $?: $BASH_COMMAND"' ERR
    load_module md-mod raid1
    inside_body
  ) > "$tmp/$uml_name.out" 2>&1 < /dev/null
  status=$?
  dmesg > "$tmp/$uml_name.dmesg"
  echo "$status" > "$tmp/$uml_name.status.new"
  mv "$tmp/$uml_name.status.new" "$tmp/$uml_name.status"
  sync
  poweroff -f
}

#----------------------------------------------------------------------
# md

# To start a program takes long in user-mode Linux; so what is asked often is
# asked of the shell alone.

# md_line NAME N: set $md_line to the Nth line of NAME in /proc/mdstat.
md_line ()
{
  local lines i
  md_line=
  mapfile -t lines < /proc/mdstat
  for ((i = 0; i < ${#lines[@]}; i++)); do
    if [[ ${lines[i]} = "$1 "* ]]; then
      md_line=${lines[i + $2]:-}
      return
    fi
  done
}

# Wait until the array does nothing: no resync, no recovery.  It says so for
# a moment before it begins as well, longer on a slow machine: it must have said
# so for some looks.
md_settle ()
{
  local name=${1:-md0} action n tries=600 idle=0
  while :; do
    read -r action < "/sys/block/$name/md/sync_action"
    # A resync that has not begun yet says idle, and that it is needed in
    # /proc/mdstat alone.
    for n in 1 2 3; do
      md_line "$name" $n
      [ -n "$md_line" ] || break
      if [[ $md_line =~ resync|recovery|DELAYED|PENDING ]]; then
        action=$md_line
      fi
    done
    if [ "$action" = idle ]; then idle=$((idle + 1)); else idle=0; fi
    [ $idle -lt 4 ] || return 0
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "$name: $action does not end"
    sleep 0.05
  done
}

# Compare all legs; print the number of sectors that differ.
md_check ()
{
  local name=${1:-md0} count
  echo check > "/sys/block/$name/md/sync_action"
  md_settle "$name"
  read -r count < "/sys/block/$name/md/mismatch_cnt"
  echo "$count"
}

# The state of the legs as /proc/mdstat prints it, such as UU or U_.
md_state ()
{
  md_line "${1:-md0}" 1
  if [[ $md_line =~ \[([U_]+)\]$ ]]; then
    echo "${BASH_REMATCH[1]}"
  fi
}

# The kernel has found nothing to repair since it was booted.
md_repaired_nothing ()
{
  if dmesg | grep -E 'md: (resync|recovery) of|not clean|md: delaying'; then
    die "the kernel found something to repair"
  fi
}

# sectors_read DEVICE, sectors_written DEVICE
sectors_read ()
{
  local stat
  read -r -a stat < "/sys/class/block/${1#/dev/}/stat"
  echo "${stat[2]}"
}

sectors_written ()
{
  local stat
  read -r -a stat < "/sys/class/block/${1#/dev/}/stat"
  echo "${stat[6]}"
}

# split_leg NAME DEVICE DATA_OFFSET DATA_SIZE (sectors)
#
# Put DEVICE together again as /dev/mapper/NAME from dm devices, NAME-data with
# the data, and NAME-meta with what lies before, so that the kernel counts the
# data area alone.  What lies behind follows.
split_leg ()
{
  local all rest=$(($3 + $4)) meta='' devices=''
  load_module dm-mod
  read -r all < "/sys/class/block/${2#/dev/}/size"
  if [ "$3" -gt 0 ]; then
    devices="$1-meta,,,rw,0 $3 linear $2 0;"
    meta=",0 $3 linear /dev/mapper/$1-meta 0"
  fi
  devices="$devices$1-data,,,rw,0 $4 linear $2 $3;$1,,,rw$meta"
  devices="$devices,$3 $4 linear /dev/mapper/$1-data 0"
  if [ "$all" -gt "$rest" ]; then
    devices="$devices,$rest $((all - rest)) linear $2 $rest"
  fi
  dmsetup create --concise "$devices"
}

# The kernel's name for NAME-data of split_leg, for sectors_read.
data_device ()
{
  local directory name
  for directory in /sys/block/dm-*; do
    read -r name < "$directory/dm/name"
    if [ "$name" = "$1-data" ]; then
      echo "${directory##*/}"
      return
    fi
  done
  die "no dm device $1-data"
}

#----------------------------------------------------------------------
# What mdadm says, and what we say.

# mdadm_agrees DEVICE...: every line of mdadm's of their superblocks and of
# their bitmaps must be among ours.  Ours may have more, which are printed.
mdadm_agrees ()
{
  local verb
  for verb in examine examine-bitmap; do
    mdadm_says $verb "$@" > /run/theirs
    while :; do
      we_say $verb "$@" > /run/ours
      diff -w -B /run/theirs /run/ours > /run/diff && break
      grep -q '^<' /run/diff || break
      # The kernel may have changed a leg between the two looks at it.
      mdadm_says $verb "$@" > /run/theirs.again
      if cmp -s /run/theirs /run/theirs.again; then
        grep '^<' /run/diff
        echo "--- $verb $*: these are mdadm's, ours are:"
        grep '^>' /run/diff || :
        return 1
      fi
      mv /run/theirs.again /run/theirs
    done
    if [ -s /run/diff ]; then
      echo "$verb $*: only ours:"
      grep '^>' /run/diff
    fi
  done
  # /run/theirs is that of the bitmaps.
  grep '^ *Bitmap :' /run/theirs
}

# Without what mdadm knows of this host and not from the leg: what its devices
# are called, and whether the UUID (of 0.90) was made here.
mdadm_says ()
{
  local verb=$1
  shift
  mdadm "--$verb" "$@" |
    sed -E '/^ +UUID/ s/ +\(local to host .*//; s,([a-z]) +/dev/[^ ]+$,\1,'
}

# The status tells whether the array is degraded or failed.
we_say ()
{
  local verb=$1 device
  shift
  if [ "$verb" = examine ]; then
    "$MDBITMAP" examine "$@" || [ $? -le 2 ]
    return
  fi
  for device; do
    "$MDBITMAP" examine-bitmap "$device" || [ $? -le 2 ]
  done
}
