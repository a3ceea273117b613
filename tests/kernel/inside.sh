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

# Wait until the array does nothing: no resync, no recovery.
md_settle ()
{
  local name=${1:-md0} action tries=600
  while :; do
    action=$(cat "/sys/block/$name/md/sync_action")
    # A resync that has not begun yet says idle, and that it is needed in
    # /proc/mdstat alone.
    if [ "$action" = idle ] &&
       ! grep -A 3 "^$name " /proc/mdstat |
         grep -q -E 'resync|recovery|DELAYED|PENDING'; then
      return 0
    fi
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "$name: $action does not end"
    sleep 0.1
  done
}

# Compare all legs; print the number of sectors that differ.
md_check ()
{
  local name=${1:-md0}
  echo check > "/sys/block/$name/md/sync_action"
  md_settle "$name"
  cat "/sys/block/$name/md/mismatch_cnt"
}

# The state of the legs as /proc/mdstat prints it, such as UU or U_.
md_state ()
{
  grep -A 1 "^${1:-md0} " /proc/mdstat | sed -n 's/.*\[\([U_]*\)\]$/\1/p'
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
  awk '{ print $3 }' "/sys/class/block/${1#/dev/}/stat"
}

sectors_written ()
{
  awk '{ print $7 }' "/sys/class/block/${1#/dev/}/stat"
}

# split_leg NAME DEVICE DATA_OFFSET DATA_SIZE (sectors)
#
# Put DEVICE together again as /dev/mapper/NAME from two dm devices, one
# with the metadata and one, NAME-data, with the data, so that the kernel
# counts the data area alone.
split_leg ()
{
  load_module dm-mod
  dmsetup create "$1-meta" --table "0 $3 linear $2 0"
  dmsetup create "$1-data" --table "0 $4 linear $2 $3"
  dmsetup create "$1" <<END_OF_TABLE
0 $3 linear /dev/mapper/$1-meta 0
$3 $4 linear /dev/mapper/$1-data 0
END_OF_TABLE
}

# The kernel's name for NAME-data of split_leg, for sectors_read.
data_device ()
{
  local node
  node=$(dmsetup info -c --noheadings -o minor "$1-data")
  echo "dm-$node"
}
