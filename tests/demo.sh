#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The demonstration (make demo, ./bootstrap demo): a mirror is made, served,
# written, killed under load, served again, and only its marked chunks are
# copied.  It uses the plugin of this build tree, two files in a directory of
# its own, and no privileges.  It fails if the result is not what it says.

set -e -u
export LC_ALL=C
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

top=${abs_top_builddir:-$(cd "$(dirname "$0")/.." && pwd)}
plugin=$top/plugin/.libs/nbdkit-mdbitmap-plugin.so
tool=$top/tools/mdbitmap
python=${PYTHON:-/usr/bin/python3}

size=1G
chunk=$((64 * 1024))

tmp=$(mktemp -d "${TMPDIR:-/tmp}/mdbitmap-demo.XXXXXX")
server=

finish ()
{
  local status=$?

  trap - EXIT
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || :
  wait 2>/dev/null
  if [ "$status" -ne 0 ] && [ -e "$tmp/log" ]; then
    echo "---- what the server said" >&2
    cat "$tmp/log" >&2
  fi
  rm -rf "$tmp"
  exit "$status"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

step ()
{
  printf '\n* %s\n' "$*"
}

fail ()
{
  echo "demo: FAILED: $*" >&2
  exit 1
}

[ -e "$plugin" ] || fail "$plugin is not there: run make"
"$python" -c 'import nbd' 2>/dev/null \
  || fail "$python has no module nbd: install python3-libnbd"

# What the server says is shown with the names that the reader knows.
show_log ()
{
  sed -e 's/^nbdkit: [^:]*: *error: //' -e 's/^nbdkit: error: //' \
      -e "s,$tmp/,,g" -e '/^warning: this nbdkit is older/d' \
      -e 's/^/    server: /' "$tmp/log"
}

# serve OPTION...: start it and wait until it listens.
serve ()
{
  local tries=300

  rm -f "$tmp/sock" "$tmp/pid"
  echo "  \$ nbdkit mdbitmap a.img b.img${*:+ $*}"
  (cd "$tmp" && exec env LD_PRELOAD="${MDBITMAP_PRELOAD:-}" \
     nbdkit -f -U "$tmp/sock" -P "$tmp/pid" "$plugin" a.img b.img "$@") \
    > "$tmp/log" 2>&1 </dev/null &
  server=$!
  until [ -s "$tmp/pid" ]; do
    kill -0 "$server" 2>/dev/null || fail "nbdkit does not start"
    [ $((tries -= 1)) -gt 0 ] || fail "nbdkit does not listen"
    sleep 0.1
  done
}

# field NAME: a number of the bitmap in a.img.
field ()
{
  "$tool" examine-bitmap --json "$tmp/a.img" \
    | sed -n 's/.*"'"$1"'": *\([0-9]*\).*/\1/p'
}

now ()
{
  date +%s%3N
}

# client SOCKET|LEG WHAT
client ()
{
  PYTHONDONTWRITEBYTECODE=1 "$python" "$(dirname "$0")/demo.py" "$1" \
    "$tmp/ledger" "$2" > "$tmp/client" || fail "$(cat "$tmp/client")"
  sed 's/^/  /' "$tmp/client"
}

# ---- the story ----

step "Make a mirror of two files and serve it over NBD:"
serve create=$size bitmap-chunk=64K daemon-sleep=1
show_log

step "Fill 256 MiB of it, flush, and wait until the bitmap is clean again:"
client "$tmp/sock" fill
tries=600
until [ "$(field chunks-marked)" = 0 ]; do
  [ $((tries -= 1)) -gt 0 ] || fail "bits are not cleared"
  sleep 0.1
done
echo "  chunks marked: 0 of $(field chunks)"

step "Write blocks of 4 KiB here and there, 16 in flight; under this load:"
client "$tmp/sock" load > "$tmp/load" &
load=$!
tries=600
until [ -s "$tmp/ledger" ] && [ "$(stat -c %s "$tmp/ledger")" -ge 64000 ]; do
  kill -0 "$load" 2>/dev/null || fail "the load ended early"
  [ $((tries -= 1)) -gt 0 ] || fail "nothing is written"
  sleep 0.05
done
echo "  \$ kill -9 $server"
kill -KILL "$server"
wait "$server" 2>/dev/null || :
server=
wait "$load" || fail "the load did not end as it should"
cat "$tmp/load"

chunks=$(field chunks)
marked=$(field chunks-marked)
echo "  \$ mdbitmap examine-bitmap a.img"
"$tool" examine-bitmap "$tmp/a.img" | grep -i dirty
[ "$marked" -gt 0 ] || fail "no chunk is marked"
[ "$marked" -lt "$chunks" ] || fail "all chunks are marked"

step "Let the disk of b.img lose its cache too: every fifth write is taken"
echo "  back there, unless its bit is cleared, for then it has been flushed:"
client "$tmp/b.img" lose
cmp -s "$tmp/a.img" "$tmp/b.img" && fail "the legs are still equal"

step "Serve it again.  Clients can work at once; in the background only the"
echo "  marked chunks are copied:"
start=$(now)
serve
tries=6000
until grep -q 'resync done' "$tmp/log"; do
  kill -0 "$server" 2>/dev/null || fail "the server has ended"
  [ $((tries -= 1)) -gt 0 ] || fail "the resync does not end"
  sleep 0.01
done
milliseconds=$(($(now) - start))
show_log

step "Each write that was answered is there:"
client "$tmp/sock" verify

step "Stop in order, and compare the legs:"
kill -TERM "$server"
wait "$server" || fail "nbdkit ended with status $?"
server=
offset=$("$tool" examine --json "$tmp/a.img" \
           | sed -n 's/.*"data-offset": *\([0-9]*\).*/\1/p')
bytes=$(numfmt --from=iec "$size")
if cmp -n "$bytes" -i "$offset" "$tmp/a.img" "$tmp/b.img"; then
  equal=yes
else
  equal=NO
fi
copied=$(sed -n 's/.*resync done: [0-9]* chunks, \([0-9]*\) bytes.*/\1/p' \
           "$tmp/log")
resynced=$(sed -n 's/.*resync done: \([0-9]*\) chunks.*/\1/p' "$tmp/log")

cat <<END

chunks in all:              $chunks of $((chunk / 1024)) KiB
chunks marked at the crash: $marked
chunks resynced:            $resynced
bytes copied:               $copied of $bytes
time to resync:             $milliseconds ms
legs equal:                 $equal
END
[ "$equal" = yes ] || fail "the legs differ"
[ "$resynced" -eq "$marked" ] || fail "not exactly the marked chunks"
[ "$copied" -le $((marked * chunk)) ] || fail "more than the marked chunks"
