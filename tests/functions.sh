# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash disable=SC2034

# What the shell tests share.  Source it first:
#
#   . "$(dirname "$0")/functions.sh"
#
# It sets
#   $plugin   the plugin of this build      $tool    the mdbitmap command
#   $tests    where these files are         $tmp     a directory, removed at
#   $python   with libnbd's module                   the end with all servers
#
# Words of the environment: NBDKIT is the server's command (nbdkit), PYTHON a
# python with libnbd (/usr/bin/python3), MDBITMAP_BUILD the build tree,
# MDBITMAP_PRELOAD what is preloaded into servers (a sanitizer's library).
#
# A test ends with 0, 77 (skipped, with the reason) or anything else (failed).
# Set KEEP=1 to keep $tmp, MDBITMAP_LONG=1 for the long versions.

set -e -u
export LC_ALL=C

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nbdkit=${NBDKIT:-nbdkit}
python=${PYTHON:-/usr/bin/python3}
long=${MDBITMAP_LONG:-}
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$tests"

fail ()
{
  echo "$(basename "$0"): FAILED: $*" >&2
  exit 1
}

skip ()
{
  echo "$(basename "$0"): skipped: $*"
  exit 77
}

# ---- what was built ----

# The build tree: given, or the first of these that has the plugin.
find_build ()
{
  local d

  for d in "${MDBITMAP_BUILD:-}" . .. "$tests/.."; do
    if [ -n "$d" ] && [ -e "$d/plugin/.libs/nbdkit-mdbitmap-plugin.so" ]; then
      (cd "$d" && pwd)
      return
    fi
  done
  fail "no plugin found: run make, or set MDBITMAP_BUILD"
}

build=$(find_build)
plugin=$build/plugin/.libs/nbdkit-mdbitmap-plugin.so
tool=$build/tools/mdbitmap

# helper NAME: the path of a program or shared object made from tests/.
helper ()
{
  local d

  for d in "$build"/tests/{,volatile/}{.libs/,}; do
    if [ -x "$d$1" ] && [ ! -d "$d$1" ]; then
      echo "$d$1"
      return
    fi
  done
  fail "$1 was not built: run make check"
}

# The server, for what only prints something.
server ()
{
  # shellcheck disable=SC2086
  env LD_PRELOAD="${MDBITMAP_PRELOAD:-}" $nbdkit "$@"
}

requires_nbdkit ()
{
  server --version >/dev/null 2>&1 || skip "nbdkit is not installed"
}

requires_libnbd_python ()
{
  "$python" -c 'import nbd' 2>/dev/null \
    || skip "$python has no module nbd (python3-libnbd)"
}

requires_command ()
{
  command -v "$1" >/dev/null || skip "$1 is not installed"
}

requires_nbdkit

# ---- where it happens ----

tmp=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap.XXXXXX")

cleanup ()
{
  local status=$? name

  trap - EXIT
  for name in $(jobs -p); do
    kill -KILL "$name" 2>/dev/null || :
  done
  wait
  if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
    for name in "$tmp"/*.log; do
      [ -e "$name" ] || continue
      echo "---- end of $(basename "$name")"
      tail -n 30 "$name"
    done >&2
  fi
  if [ -n "${KEEP:-}" ]; then
    echo "kept: $tmp" >&2
  else
    rm -rf "$tmp"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# ---- servers ----
#
# A server has a name; its log is $tmp/NAME.log, its socket $tmp/NAME.sock.

# wait_until SECONDS COMMAND...: false if it has not come true by then.  The
# limit is only there to end a test that hangs.
wait_until ()
{
  local turns=$(($1 * 20))

  shift
  until "$@"; do
    [ $((turns -= 1)) -gt 0 ] || return 1
    sleep 0.05
  done
}

running ()
{
  kill -0 "$1" 2>/dev/null
}

started_or_ended ()
{
  [ -s "$tmp/$1.pid" ] || ! running "$2"
}

# start NAME ARGUMENT...: nbdkit with these arguments, in the background of
# the test.  False, with its $status, if it does not start.  $preload is
# preloaded into it, and $prefix is a command that runs it.
start ()
{
  local name=$1 pid

  shift
  rm -f "$tmp/$name.pid" "$tmp/$name.sock"
  : > "$tmp/$name.log"
  # shellcheck disable=SC2086
  ${prefix:-} env LD_PRELOAD="${MDBITMAP_PRELOAD:-}${preload:+ $preload}" \
      $nbdkit -f -P "$tmp/$name.pid" -U "$tmp/$name.sock" "$@" \
      >"$tmp/$name.log" 2>&1 </dev/null &
  pid=$!
  wait_until 60 started_or_ended "$name" "$pid" \
    || fail "$name: nbdkit neither started nor ended"
  if [ ! -s "$tmp/$name.pid" ]; then
    status=0
    wait "$pid" || status=$?
    return 1
  fi
}

# start_array NAME ARGUMENT...: the same with our plugin; it must start.
# $flags are nbdkit's own.
start_array ()
{
  local name=$1

  shift
  # shellcheck disable=SC2086
  start "$name" ${flags:-} "$plugin" "$@" || {
    cat "$tmp/$name.log" >&2
    fail "nbdkit mdbitmap $*: does not start"
  }
}

# must_not_start ARGUMENT...: our plugin must refuse, without a crash; what it
# says (other than a warning of the server) is left in $lines.
must_not_start ()
{
  # shellcheck disable=SC2086
  if start refused ${flags:-} "$plugin" "$@"; then
    fail "nbdkit mdbitmap $*: was started"
  fi
  [ "$status" -eq 1 ] || fail "nbdkit mdbitmap $*: ended with $status"
  lines=$(grep -v -e 'warning: this nbdkit is older' \
            -e 'could not load TLS certificates' "$tmp/refused.log" || :)
}

# refuses PATTERN ARGUMENT...: it must not start, and say why in one line that
# matches.
refuses ()
{
  local pattern=$1

  shift
  must_not_start "$@"
  [ "$(printf '%s\n' "$lines" | wc -l)" -eq 1 ] \
    || fail "nbdkit mdbitmap $*: not one line: $lines"
  printf '%s\n' "$lines" | grep -q -e "$pattern" \
    || fail "nbdkit mdbitmap $*: '$lines' does not say '$pattern'"
}

# refuses_all PATTERN PATTERN ARGUMENT...: the same if there is more than one
# thing to say: a line for each leg, and one for what follows from it.
refuses_all ()
{
  local first=$1 second=$2

  shift 2
  must_not_start "$@"
  [ "$(printf '%s\n' "$lines" | wc -l)" -le 3 ] \
    || fail "nbdkit mdbitmap $*: too many lines: $lines"
  printf '%s\n' "$lines" | head -n 1 | grep -q -e "$first" \
    || fail "nbdkit mdbitmap $*: '$lines' does not say '$first'"
  printf '%s\n' "$lines" | tail -n 1 | grep -q -e "$second" \
    || fail "nbdkit mdbitmap $*: '$lines' does not say '$second'"
}

# stop NAME: an orderly end.
stop ()
{
  local pid status=0

  pid=$(cat "$tmp/$1.pid")
  kill -TERM "$pid"
  wait "$pid" || status=$?
  [ "$status" -eq 0 ] || fail "$1: nbdkit ended with status $status"
}

# crash NAME: kill -9.
crash ()
{
  local pid

  pid=$(cat "$tmp/$1.pid")
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || :
}

uri ()
{
  echo "nbd+unix:///?socket=$tmp/$1.sock"
}

in_log ()
{
  grep -q -e "$2" "$tmp/$1.log"
}

# wait_log NAME PATTERN [SECONDS]
wait_log ()
{
  wait_until "${3:-60}" in_log "$1" "$2" \
    || fail "$1: the log never said '$2'"
}

# wait_resync NAME: until nothing needs it any more.
wait_resync ()
{
  if in_log "$1" 'to be resynced'; then
    wait_log "$1" 'resync done'
  fi
}

# ---- clients and legs ----

# client NAME PYTHON-CODE [ARGUMENT...]: h is a connection that checks
# nothing itself, so that odd requests reach the server.
client ()
{
  local name=$1 code=$2

  shift 2
  "$python" - "$(uri "$name")" "$code" "$@" <<'PYTHON'
import sys
import errno
import nbd
uri, code = sys.argv[1:3]
sys.argv[1:3] = []
h = nbd.NBD ()
h.set_strict_mode (0)
h.connect_uri (uri)
exec (code)
h.shutdown ()
PYTHON
}

# leg COMMAND...: look at legs with tests/leg.py, which knows the format by
# itself.
leg ()
{
  "$python" "$tests/leg.py" "$@"
}

# A prefix for commands: as an ordinary user if this is root, else nothing.
# $tmp is opened for that user.
user_prefix ()
{
  if [ "$(id -u)" -eq 0 ]; then
    requires_command setpriv
    chmod 777 "$tmp"
    echo "setpriv --reuid=65534 --regid=65534 --clear-groups"
  fi
}
