# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.
# shellcheck shell=bash

# Our server, outside and inside of user-mode Linux: sourced by uml.sh and
# by inside.sh.  One server at a time.

# plugin, server_files and server_log come from those.
# shellcheck disable=SC2154

server_pid=

# server_start ARG...: nbdkit with our plugin; it is at $uri, its messages
# are in $server_log.
server_start ()
{
  server_try "$@" || {
    cat "$server_log" >&2
    die "nbdkit mdbitmap $*: did not start"
  }
}

# The same, but failing is not fatal.
server_try ()
{
  sock=$server_files/server.sock
  # shellcheck disable=SC2034
  uri="nbd+unix:///?socket=$sock"
  rm -f "$sock" "$server_files/server.pid"
  nbdkit -f -P "$server_files/server.pid" -U "$sock" "$plugin" "$@" \
    > "$server_log" 2>&1 &
  server_pid=$!
  server_within 300 server_is_up
  if ! kill -0 "$server_pid" 2>/dev/null; then
    wait "$server_pid" || :
    server_pid=
    return 1
  fi
}

# server_within TENTHS COMMAND...: until it succeeds; fatal if it does not.
server_within ()
{
  local tries=$(($1 * 5))
  shift
  until "$@"; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
      cat "$server_log" >&2 || :
      die "the server: waited in vain for $*"
    fi
    sleep 0.02
  done
}

server_is_up ()
{
  [ -e "$server_files/server.pid" ] || server_is_gone
}

server_is_gone ()
{
  ! kill -0 "$server_pid" 2>/dev/null
}

# An orderly stop.
server_stop ()
{
  local status=0
  kill -TERM "$server_pid"
  server_within 200 server_is_gone
  wait "$server_pid" || status=$?
  server_pid=
  if [ "$status" -ne 0 ]; then
    cat "$server_log" >&2
    die "the server: status $status after SIGTERM"
  fi
}

# kill -9, and wait until it is gone, and with it its I/O.
server_kill ()
{
  [ -n "$server_pid" ] || return 0
  kill -KILL "$server_pid" 2>/dev/null || :
  wait "$server_pid" 2>/dev/null || :
  server_pid=
}

# server_says REGEX: wait for that line of the server, and print it.
server_says ()
{
  server_within 600 grep -q -E -e "$1" "$server_log"
  grep -m 1 -E -e "$1" "$server_log"
}
