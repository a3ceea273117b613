#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The bitmap in a file, for servers and clients: made, used, killed, forgotten,
# stale, given up, failing.  bitmap-io=extent needs a device of its own: see
# tests/kernel.

# shellcheck source-path=SCRIPTDIR source=functions.sh disable=SC2015
. "$(dirname "$0")/functions.sh"
requires_libnbd_python
export PATH="$PATH:/usr/sbin:/sbin"

disk=$(helper failing-disk.so)
kill=$(helper kill)
seed=${SEED:-$RANDOM}
echo "SEED=$seed"
export tests
cd "$tmp"

# Where files are in memory there is no O_DIRECT to speak of.
modes="direct pagecache"
if [ "$(stat -f -c %T .)" = tmpfs ]; then
  refuses_all 'its file system has no O_DIRECT.*use bitmap-io=pagecache' '' \
              a b create=16M bitmap=f
  rm -f a b f
  modes=pagecache
fi

# What the clients below start with.
prelude='
import os
sys.path[:0] = [os.environ["tests"]]
import leg
def eio (request):
    try:
        request ()
    except nbd.Error as e:
        assert e.errnum == errno.EIO, e
        return
    assert False, "no error"
def trigger (name):
    open (name, "w").close ()
def bits (name="f"):
    return leg.Leg ("a", name).marked_list
def beyond (name="f"):
    for l in ("a", "b"):
        l = leg.Leg (l, name)
        assert l.events > l.bitmap_events, (l.events, l.bitmap_events)
'

# spoil LEG CHUNK: other bytes in its data, past every server.
spoil ()
{
  "$python" - "$(leg get "$1" data_offset)" "$@" <<'PYTHON'
import sys
with open (sys.argv[2], "r+b") as f:
    f.seek (int (sys.argv[1]) + int (sys.argv[3]) * 65536)
    f.write (b"spoilt" * 100)
PYTHON
}

# spoilt LEG CHUNK
spoilt ()
{
  "$python" - "$(leg get "$1" data_offset)" "$@" <<'PYTHON'
import sys
with open (sys.argv[2], "rb") as f:
    f.seek (int (sys.argv[1]) + int (sys.argv[3]) * 65536)
    sys.exit (f.read (6) != b"spoilt")
PYTHON
}

marked ()
{
  leg get a marked_list "$1"
}

# make MODE [WORD...]: a and b, with their bitmap in f, and a server of them.
make ()
{
  local mode=$1

  shift
  rm -f a b f ./*.fail-* ./*.hang
  start_array disk a b create=16M bitmap=f bitmap-io="$mode" \
              bitmap-chunk=64K daemon-sleep=600 "$@"
}

# ---- what cannot be served ----

refuses 'bitmap file .*/none/f.*: No such file' a b create=16M bitmap=none/f
[ ! -e a ] && [ ! -e b ] || fail "legs were made for a file that cannot be"
make pagecache
stop disk
sum=$(leg sum-all a b f)
mkdir folder
echo "a letter to a friend, which is not a bitmap" > letter
: > empty
cp f other
printf 'x' | dd of=other bs=1 seek=8 conv=notrunc status=none
head -c 287 f > short
refuses 'bitmap file .*/gone: does not exist; make it with' a b bitmap=gone
refuses 'bitmap file .*/folder: is a directory' a b bitmap=folder
for name in letter empty; do
  refuses "bitmap file .*/$name: there is no bitmap in it" a b bitmap=$name \
          bitmap-io=pagecache
done
refuses 'bitmap file .*/other: field uuid: .*of another array' a b \
        bitmap=other bitmap-io=pagecache
refuses 'field size of the file: found 287 bytes, expected at least 288' a b \
        bitmap=short bitmap-io=pagecache
refuses 'bitmap=.*/b: it is a leg' a b bitmap=b
refuses 'its bitmap is in the file '"$tmp"'/f, .*give bitmap=PATH; or' a b
refuses 'bitmap=internal: array .* has no internal bitmap' a b bitmap=internal
# Nor is anything lost by making one where something is.
refuses_all 'letter' '' c d create=16M bitmap=letter
[ ! -e c ] || [ "$(leg get c set_uuid 2>/dev/null || :)" = '' ] \
  || fail "legs were made"
grep -q 'a letter to a friend' letter || fail "a letter was overwritten"
[ ! -e gone ] || fail "a file was made"
[ "$(leg sum-all a b f)" = "$sum" ] || fail "refused, but changed"
rm -f c d

# ---- its life ----

for mode in $modes; do
  io=bitmap-io=$mode

  # Made: a path with spaces, relative; md sees no bitmap, and nobody the note.
  rm -f a b
  rm -rf "its folder"
  mkdir "its folder"
  file="its folder/a bitmap"
  start_array life a b create=16M bitmap="$file" "$io" bitmap-chunk=64K \
              daemon-sleep=600
  [ $(($(stat -c %s "$file") % 4096)) -eq 0 ] || fail "$mode: not whole pages"
  [ "$(stat -c %b "$file")" -gt 0 ] || fail "$mode: the file has no blocks"
  [ "$(marked "$file")" = "[]" ] || fail "$mode: $(marked "$file")"
  [ "$(($(leg get a feature_map) & 1))" -eq 0 ] || fail "$mode: a feature"
  [ "$(leg get a bitmap_offset)" -eq 0 ] || fail "$mode: a bitmap_offset"
  client life '
h.pwrite (b"old" * 1000, 0)
h.pwrite (b"kill" * 128, 5 * 65536)
h.pwrite (b"kill" * 40000, 100 * 65536, nbd.CMD_FLAG_FUA)'
  crash life
  [ "$(marked "$file")" = "[0, 5, 100, 101, 102]" ] \
    || fail "$mode: marked $(marked "$file")"
  [ "$(leg get a clean)" -eq 0 ] || fail "$mode: killed, but clean"
  [ "$(leg get b bitmap_events "$file")" -ge "$(leg get b events)" ] \
    || fail "$mode: the header is behind"
  cmp -s <(head -c 8192 a) <(head -c 6144 a; head -c 2048 /dev/zero) \
    && fail "$mode: where is the note?"
  cp a plain
  dd if=/dev/zero of=plain bs=2048 seek=3 count=1 conv=notrunc status=none
  if command -v mdadm >/dev/null; then
    mdadm --examine a > with || fail "mdadm: $(cat with)"
    mdadm --examine plain | sed 's/plain/a/g' > without
    diff with without || fail "$mode: mdadm sees the note"
  fi
  "$tool" examine a | grep -q "^ *Bitmap File : $tmp/$file\$" \
    || fail "$mode: examine does not tell of the file"
  "$tool" examine plain | grep 'Bitmap File' && fail "$mode: a file from nowhere"

  # Forgotten: not one byte changes.
  sum=$(leg sum-all a b "$file")
  refuses "its bitmap is in the file $tmp/$file, .*give bitmap=PATH" a b
  refuses "its bitmap is in the file $tmp/$file, .*give bitmap=PATH" b a \
          degraded=allow
  flags=-r start_array life a b
  in_log life "its bitmap is in the file $tmp/$file, which is not given" \
    || fail "$mode: nothing was said of the file"
  stop life
  flags=-r start_array life a b bitmap="$file" "$io"
  in_log life '5 of 256 chunks marked' || fail "$mode: -r"
  client life 'assert h.is_read_only () and h.pread (4, 5 * 65536) == b"kill"'
  stop life
  [ "$(leg sum-all a b "$file")" = "$sum" ] || fail "$mode: something changed"

  # Exactly the marked chunks are resynced.
  for chunk in 5 102 6 103 255; do
    spoil b $chunk
  done
  start_array life a b bitmap="$file" "$io"
  in_log life '5 of 256 chunks marked, to be resynced' || fail "$mode: marks"
  wait_resync life
  stop life
  for chunk in 5 102; do
    spoilt b $chunk && fail "$mode: chunk $chunk was marked, but not resynced"
  done
  for chunk in 6 103 255; do
    spoilt b $chunk || fail "$mode: chunk $chunk was resynced, but not marked"
  done
  [ "$(marked "$file")" = "[]" ] || fail "$mode: $(marked "$file") after a stop"
  [ "$(leg get a clean)" -eq 1 ] || fail "$mode: not clean after a stop"
  for name in a b; do
    refuses_all 'has no leg: degraded' "its bitmap is in the file $tmp/$file" \
                $name degraded=allow
  done
  start_array life a b bitmap="$file" "$io"
  client life '
for chunk in (6, 103, 255):
    h.zero (65536, chunk * 65536)'
  stop life
  leg equal a b || fail "$mode: the legs differ"

  # Two servers, with the same legs or not.
  start_array life a b bitmap="$file" "$io"
  must_not_start a b bitmap="$file" "$io"
  start_array two c d create=16M bitmap=second "$io"
  stop two
  for other in $modes; do
    refuses 'bitmap file .*: in use by another server' c d bitmap="$file" \
            bitmap-io="$other"
  done
  client life 'h.pwrite (b"mine" * 128, 0, nbd.CMD_FLAG_FUA)'
  stop life
  refuses 'field uuid: .*of another array' c d bitmap="$file" "$io"
  rm -f c d second

  # Served with another mode, and with internal fields changed by none.
  for other in $modes; do
    start_array life a b bitmap="$file" bitmap-io="$other" daemon-sleep=600
    client life 'h.pwrite (b"mode" * 128, 7 * 65536)'
    crash life
    [ "$(marked "$file")" = "[7]" ] || fail "$mode, $other: $(marked "$file")"
    start_array life b a bitmap="$file" "$io"
    in_log life '1 of 256 chunks marked' || fail "$mode, $other: marks"
    stop life
  done

  # Stale: somebody has put an old one back.
  cp "$file" stale
  start_array life a b bitmap="$file" "$io" daemon-sleep=600
  client life 'h.pwrite (b"new!" * 128, 9 * 65536)'
  crash life
  spoil b 200
  cat stale > "$file"
  refuses_all 'stale: its events [0-9]* < [0-9]* of' \
    'it needs a full resync, which full-resync=refuse forbids' a b \
    bitmap="$file" "$io" full-resync=refuse
  start_array life a b bitmap="$file" "$io"
  in_log life 'stale: its events [0-9]* < [0-9]* of' || fail "$mode: stale"
  in_log life 'full resync, since it is not clean and its bitmap is stale' \
    || fail "$mode: a full resync that was not announced"
  wait_resync life
  stop life
  leg equal a b || fail "$mode: the legs differ after a full resync"
  # But not if it is clean.
  cat stale > "$file"
  start_array life a b bitmap="$file" "$io" full-resync=refuse
  in_log life 'stale: its events' || fail "$mode: stale, clean"
  in_log life 'to be resynced' && fail "$mode: a resync of a clean array"
  stop life

  # Without it, for ever.
  start_array life a b bitmap=none daemon-sleep=600
  in_log life "its bitmap file $tmp/$file is given up" || fail "$mode: none"
  client life 'h.pwrite (b"gone" * 128, 11 * 65536)'
  crash life
  cmp -s <(head -c 8192 a) <(head -c 6144 a; head -c 2048 /dev/zero) \
    || fail "$mode: the note is still there"
  start_array life a b
  wait_resync life
  stop life
  start_array life a b bitmap="$file" "$io"
  in_log life 'stale: its events' || fail "$mode: believed again"
  stop life
done

# ---- errors ----

# With what mode, and what of it fails.
for how in 'direct write' 'pagecache write' 'pagecache flush'; do
  mode=${how% *} kind=${how#* }
  case $modes in *$mode*) ;; *) continue ;; esac

  # Goes on: by the time the client is answered it is on record.
  preload=$disk make "$mode"
  client disk "$prelude"'
h.pwrite (b"1" * 512, 0)
assert bits () == [0], bits ()
trigger ("f.fail-" + sys.argv[1])
h.pwrite (b"2" * 512, 3 * 65536)
beyond ()
h.pwrite (b"3" * 512, 5 * 65536)
h.zero (65536, 0)
h.flush ()
assert h.pread (512, 3 * 65536) == b"2" * 512
beyond ()' "$kind"
  [ "$(grep -c 'bitmap file .*; it is given up, array .* goes on' disk.log)" \
    -eq 1 ] || fail "$how: not said, or not once"
  crash disk
  rm -f f.fail-*
  refuses 'its bitmap is in the file' a b
  refuses_all 'stale' 'full-resync=refuse' a b bitmap=f bitmap-io="$mode" \
              full-resync=refuse
  spoil b 200
  start_array again a b bitmap=f bitmap-io="$mode"
  in_log again 'full resync, since' || fail "$how: no full resync"
  wait_resync again
  stop again
  leg equal a b || fail "$how: the legs differ"

  # A clean stop is possible.
  preload=$disk make "$mode" on-bitmap-error=continue
  client disk "$prelude"'
trigger ("f.fail-" + sys.argv[1])
h.pwrite (b"2" * 512, 3 * 65536)
beyond ()' "$kind"
  stop disk
  rm -f f.fail-*
  [ "$(leg get a clean)" -eq 1 ] || fail "$how: not clean after a stop"
  leg equal a b || fail "$how: the legs differ"
  start_array again a b bitmap=f bitmap-io="$mode" full-resync=refuse
  in_log again 'stale' || fail "$how: the file is believed again"
  stop again

  # Stops: nothing that is written succeeds, all that is read does.
  preload=$disk make "$mode" on-bitmap-error=stop
  client disk "$prelude"'
h.pwrite (b"1" * 512, 0)
trigger ("f.fail-" + sys.argv[1])
eio (lambda: h.pwrite (b"2" * 512, 3 * 65536))
eio (lambda: h.pwrite (b"2" * 512, 0))
eio (lambda: h.pwrite (b"2" * 512, 0, nbd.CMD_FLAG_FUA))
eio (lambda: h.zero (4096, 0))
eio (lambda: h.trim (65536, 0))
assert h.pread (512, 0) == b"1" * 512
assert h.pread (512, 3 * 65536) == bytes (512)
h.flush ()
beyond ()' "$kind"
  in_log disk 'it is given up, array .* is no longer written' \
    || fail "$how: not said"
  stop disk
  leg equal a b || fail "$how: the legs differ after a stop"
  rm -f f.fail-*
done

# A file that fails from the start: nobody may write.
preload=$disk
make pagecache
stop disk
: > f.fail-flush
start_array disk a b bitmap=f bitmap-io=pagecache
in_log disk 'bitmap file .*/f: .*: Input/output error' || fail "a flush that failed"
if client disk 'pass' 2>/dev/null; then
  fail "a client was let in"
fi
stop disk
rm -f f.fail-flush
preload=

# ---- kill -9 under load ----

for mode in $modes; do
  rm -f a b f
  start_array made a b create=32M bitmap=f bitmap-io="$mode" bitmap-chunk=16K
  stop made
  # shellcheck disable=SC2086
  "$kill" -b f $((long ? 200 : 5)) 4 8 "$seed" "$tmp" a,b \
          env LD_PRELOAD="${MDBITMAP_PRELOAD:-}" $nbdkit "$plugin" a b \
          bitmap=f bitmap-io="$mode" daemon-sleep=1
  start_array after a b bitmap=f bitmap-io="$mode"
  wait_resync after
  stop after
  leg equal a b || fail "$mode: the legs differ"
  [ "$(leg get a faulty)$(leg get b faulty)" = "[][]" ] || fail "$mode: faulty"
done
exit 0
