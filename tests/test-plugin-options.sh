#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The command line of the plugin: every parameter with good and bad values.
# What is wrong is said in one line that names the parameter, and nothing is
# made or changed.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python

cd "$tmp"

# ---- the plugin by itself ----

server "$plugin" --version > out
grep -q '^mdbitmap [0-9]' out || fail "--version: $(cat out)"

server "$plugin" --help > out
for key in leg create metadata bitmap-chunk bitmap bitmap-io on-bitmap-error \
           degraded force-source full-resync leg-timeout daemon-sleep \
           sync-rate-min sync-rate-max serialize; do
  grep -q "^$key=" out || fail "--help does not tell of $key="
done

server --dump-plugin "$plugin" > out
for line in name=mdbitmap magic_config_key=leg thread_model=parallel \
            max_thread_model=parallel api_version=2 errno_is_preserved=0 \
            mdbitmap_libaio=yes mdbitmap_max_legs=27 \
            mdbitmap_superblocks=0.90,1.0,1.1,1.2 \
            mdbitmap_bitmap=internal,none,file \
            mdbitmap_bitmap_io=direct,extent,pagecache; do
  grep -q -x "$line" out || fail "--dump-plugin does not say $line"
done
grep -q '^mdbitmap_features=' out || fail "--dump-plugin: no features"
server --dump-plugin "$plugin" serialize=true > out
grep -q -x thread_model=serialize_requests out \
  || fail "serialize=true does not change the thread model"

# Nothing but these names may be seen by other libraries in the server.
if command -v nm >/dev/null; then
  nm -D --defined-only "$plugin" | awk '{ print $3 }' \
    | grep -v -e '^plugin_init$' -e '^mdbitmap_debug_' && fail "it exports more"
fi

# ---- bad values ----

refuses 'no legs'
refuses "unknown parameter 'colour'" colour=red
refuses "unknown parameter 'lego'" lego=a
refuses '^nbdkit: .*leg=: ' leg=
refuses 'leg=nbd://host/x: remote legs are not supported yet' nbd://host/x
refuses 'leg=nbds+unix:.*not supported yet' leg='nbds+unix:///?socket=/x'
refuses 'leg=.*/a: given twice' a a
# shellcheck disable=SC2046
refuses 'too many legs: at most 27' $(seq 28)

for value in '' 0 1 513 -512 1X 1MM 0x200 99999999999999999999 16E; do
  refuses "create=$value: " a b "create=$value"
done
for value in '' 1.3 12 2 1 0.9 default ddf; do
  refuses "metadata=$value: " a b create=8M "metadata=$value"
done
for value in '' 0 512 2048 65537 96K 4G 64KB -1; do
  refuses "bitmap-chunk=$value: " a b create=8M "bitmap-chunk=$value"
done
refuses 'bitmap-chunk= contradicts bitmap=none' a b create=8M bitmap=none \
        bitmap-chunk=64K
refuses 'force-source=: ' a b force-source=
refuses 'force-source=.*/c: must be one of the legs given' a b force-source=c
refuses 'bitmap=: must be auto, internal, none or a file' a b bitmap=
refuses 'bitmap=.*/a: it is a leg; ' a b create=8M bitmap=a
refuses '/a: it is the leg .*/a; ' bitmap=./a b a create=8M
for value in '' buffered Direct libaio; do
  refuses "bitmap-io=$value: must be direct, extent or pagecache" a b \
          bitmap=f "bitmap-io=$value"
done
for value in '' panic Stop; do
  refuses "on-bitmap-error=$value: must be continue or stop" a b bitmap=f \
          "on-bitmap-error=$value"
done
for bitmap in auto internal none; do
  refuses 'bitmap-io= needs bitmap=PATH' a b create=8M bitmap=$bitmap \
          bitmap-io=direct
  refuses 'on-bitmap-error= needs bitmap=PATH' on-bitmap-error=continue a b \
          create=8M bitmap=$bitmap
done
refuses 'bitmap-io= needs bitmap=PATH' a b create=8M bitmap=f bitmap-io=extent \
        bitmap=internal
for value in '' yes Allow; do
  refuses "degraded=$value: must be auto, allow or refuse" a b \
          "degraded=$value"
done
refuses 'full-resync=allow: must be auto or refuse' a b full-resync=allow
for value in '' 0 -1 30m 1.s .5 abc 86401 0.001 9ms 1.0000000; do
  refuses "leg-timeout=$value: " a b "leg-timeout=$value"
done
for value in '' 0 0.5 500ms 86401 5x; do
  refuses "daemon-sleep=$value: " a b "daemon-sleep=$value"
done
refuses 'sync-rate-min=fast: ' a b sync-rate-min=fast
for value in '' 0 fast; do
  refuses "sync-rate-max=$value: " a b "sync-rate-max=$value"
done
refuses 'sync-rate-max= is less than sync-rate-min=' a b sync-rate-min=2M \
        sync-rate-max=1M
refuses 'serialize=maybe: ' a b serialize=maybe
refuses 'metadata= needs create=' a b metadata=1.2
refuses 'bitmap-chunk= needs create=' a b bitmap-chunk=64K
for key in auto-re-add connections control event-program no-leg-timeout \
           unsafe-cache write-behind write-mostly; do
  refuses "$key=1: this parameter is not supported yet" a b "$key=1"
done

[ ! -e a ] && [ ! -e b ] || fail "a refused command line made a leg"
[ ! -e f ] || fail "a refused command line made a bitmap file"

# One file by two names.
: > a
ln a a2
refuses 'given twice' a a2 create=8M
refuses 'bitmap=.*/a2: it is a leg' a b create=8M bitmap=a2
[ ! -s a ] || fail "a refused command line wrote to a leg"
rm a a2

# ---- good values ----

# Relative paths are relative to where nbdkit was started; a path with '='
# needs leg=.
start_array first a leg=b=c create=8M metadata=1.2 bitmap-chunk=64K \
            bitmap=internal force-source=a
[ -e "$tmp/a" ] && [ -e "$tmp/b=c" ] || fail "the legs are not in $tmp"
client first 'assert h.get_size () == 8 << 20, h.get_size ()'
stop first

for option in bitmap=auto bitmap=internal degraded=auto degraded=allow \
              degraded=refuse full-resync=auto full-resync=refuse \
              leg-timeout=30 leg-timeout=30s leg-timeout=1.5 \
              leg-timeout=500ms leg-timeout=86400 daemon-sleep=1 \
              daemon-sleep=5s sync-rate-min=1M sync-rate-min=0 \
              sync-rate-max=unlimited sync-rate-max=512K sync-rate-max=100M \
              serialize=true serialize=false serialize=0 create=8M \
              force-source=b=c force-source=./a; do
  start_array good a leg=b=c "$option"
  client good '
assert h.get_size () == 8 << 20, h.get_size ()
assert not h.is_read_only ()
assert h.can_flush () and h.can_fua () and h.can_multi_conn ()
assert h.can_trim () and h.can_zero () and not h.can_cache ()
assert h.get_block_size (nbd.SIZE_MINIMUM) in (512, 4096)
assert h.get_block_size (nbd.SIZE_PREFERRED) >= 4096
assert h.get_block_size (nbd.SIZE_MAXIMUM) == 32 << 20
h.pwrite (b"x" * 512, 0, nbd.CMD_FLAG_FUA)
assert h.pread (512, 0) == b"x" * 512'
  stop good
done

# refuses_bitmap PATTERN ARGUMENT...: after the lines about the array.
refuses_bitmap ()
{
  local pattern=$1

  shift
  must_not_start "$@"
  printf '%s\n' "$lines" | tail -n 1 | grep -q -e "$pattern" \
    || fail "nbdkit mdbitmap $*: '$lines' does not say '$pattern'"
}

# bitmap= says what is expected of an array that is there.
refuses_bitmap 'bitmap=none: array .* has an internal bitmap' a leg=b=c \
               bitmap=none
refuses_bitmap 'bitmap=none: array .* has an internal bitmap' a leg=b=c \
               bitmap=none create=8M
start_array none n1 n2 create=8M bitmap=none
client none 'assert h.get_size () == 8 << 20, h.get_size ()'
stop none
for option in bitmap=auto bitmap=none; do
  start_array none n1 n2 $option
  in_log none 'no bitmap' || fail "nothing was said about the bitmap"
  stop none
done
refuses_bitmap \
  'bitmap=internal: array .* has no internal bitmap; .*mdbitmap bitmap internal' \
  n1 n2 bitmap=internal
refuses_bitmap 'bitmap=.*/f: array .* has an internal bitmap.*cannot have both' \
               a leg=b=c bitmap=f
[ ! -e f ] || fail "a bitmap file was made"

# "Fast or not at all": either it was done, or nothing was touched.
start_array fast a leg=b=c
client fast '
assert h.can_fast_zero ()
h.pwrite (b"x" * 65536, 0)
h.zero (4096, 0, nbd.CMD_FLAG_FAST_ZERO)
assert h.pread (8192, 0) == bytes (4096) + b"x" * 4096
try:
    h.zero (4096, 8192, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
    assert h.pread (4096, 8192) == bytes (4096)
except nbd.Error as e:
    assert e.errnum == errno.ENOTSUP, e
    assert h.pread (4096, 8192) == b"x" * 4096
# Everything at once, and what is not there at all.
h.zero (8 << 20, 0)
assert h.pread (8 << 20, 0) == bytes (8 << 20)
for request in (lambda: h.pread (512, 8 << 20), lambda: h.zero (2, 8388607)):
    try:
        request ()
        assert False, "behind the end"
    except nbd.Error as e:
        assert e.errnum in (errno.EINVAL, errno.ENOSPC), e'
stop fast
leg equal a b=c || fail "legs differ"

# The last value counts.
start_array last a leg=b=c degraded=allow degraded=refuse
stop last

# Warned of servers that may abort, in one line, unless requests are
# serialized.
version=$(server --version | sed 's/nbdkit \([0-9]*\)\.\([0-9]*\).*/\1 \2/')
# shellcheck disable=SC2086
set -- $version
start_array warned a leg=b=c
if [ "$1" -eq 1 ] && [ "$2" -lt 34 ]; then
  [ "$(grep -c 'may abort.*serialize=true' warned.log)" -eq 1 ] \
    || fail "not warned of this nbdkit"
else
  in_log warned 'may abort' && fail "warned of a server that is good"
fi
stop warned
start_array warned a leg=b=c serialize=true
in_log warned 'may abort' && fail "warned in spite of serialize=true"
stop warned

# Debug flags are the server's to check: each must exist.
for flag in legs bitmap resync io superblock stats; do
  flags="-v -D mdbitmap.$flag=1" start_array debug a leg=b=c
  stop debug
done
in_log debug 'stats: reads=' || fail "no statistics at the end"

exit 0
