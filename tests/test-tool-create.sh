#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# mdbitmap create: what it makes is exactly what was asked for and what mdadm
# reads in it, and what it refuses is left as it was, to the byte.

set -e -u
export LC_ALL=C TZ=UTC PATH="$PATH:/usr/sbin:/sbin"

tool=$(realpath "${MDBITMAP:-${abs_top_builddir:-.}/tools/mdbitmap}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

fail ()
{
  echo "$(basename "$0"): FAILED: $*" >&2
  exit 1
}

create ()
{
  "$tool" create "$@" >out 2>err || fail "create $*: $(cat err)"
  [ ! -s err ] || fail "create $*: $(cat err)"
}

# What there is, name by name, with its contents.
contents ()
{
  find . -type f ! -name out ! -name err ! -name before -print0 \
    | sort -z | xargs -0 -r sha256sum
}

# refused PATTERN ARGUMENTS...: one line that matches, and nothing changes.
refused ()
{
  local pattern=$1 status=0

  shift
  contents >before
  "$tool" create "$@" >out 2>err || status=$?
  [ $status -eq 4 ] || fail "create $*: status $status: $(cat err)"
  grep -q -e "^mdbitmap: .*$pattern" err || fail "create $*: $(cat err)"
  [ "$(grep -c -v 'try mdbitmap --help' err)" -eq 1 ] \
    || fail "create $*: not one line: $(cat err)"
  [ ! -s out ] || fail "create $*: $(cat out)"
  contents | cmp - before || fail "create $*: refused, but changed something"
}

# value LEG KEY: as JSON.  Keys of the bitmap begin with "bitmap:".
value ()
{
  python3 - "$tool" "$@" <<'END'
import json, subprocess, sys
tool, leg, key = sys.argv[1:]
kind = "examine-bitmap" if key.startswith("bitmap:") else "examine"
o = json.loads(subprocess.run([tool, kind, "--json", "--", leg],
                              stdout=subprocess.PIPE).stdout)
o = o[0] if isinstance(o, list) else o
print(json.dumps(o[key.replace("bitmap:", "")]))
END
}

# is LEG KEY VALUE...
is ()
{
  python3 - "$tool" "$@" <<'END' || fail "$1 is not as it should be"
import json, subprocess, sys
tool, leg = sys.argv[1:3]
def look (kind):
    r = subprocess.run([tool, kind, "--json", "--", leg],
                       stdout=subprocess.PIPE)
    return json.loads(r.stdout)
o = look("examine")[0]
if any(a.startswith("bitmap:") for a in sys.argv):
    o.update(("bitmap:" + k, v) for k, v in look("examine-bitmap").items())
for key, want in zip(sys.argv[3::2], sys.argv[4::2]):
    if json.dumps(o[key]) != want:
        sys.exit("%s: %s is %s, not %s" % (leg, key, json.dumps(o[key]), want))
END
}

# mdadm reads files too.  It does not have to be there.
by_mdadm ()
{
  local chunks

  command -v mdadm >/dev/null || return 0
  mdadm --examine "$1" >theirs 2>&1 || fail "mdadm: $(cat theirs)"
  "$tool" examine "$1" >ours || [ $? -eq 1 ]
  diff -u theirs ours || fail "$1: not what mdadm says"
  # A bitmap in a file is what mdadm reads of a file.
  chunks=$(value "$1" bitmap:chunks)
  dd if="$1" of=bits bs=4096 skip=2 count=$((chunks / 32768 + 2)) status=none
  if mdadm --examine-bitmap bits >theirs 2>&1; then
    "$tool" examine-bitmap "$1" | sed 's/Filename : .*/Filename : bits/' >ours
    diff -u theirs ours || fail "$1: not what mdadm says"
  fi
  rm -f bits
}

# ---- new files ----

for size in 5120 1M 16M 65M; do
  for chunk in 4K 64K 1M 64M; do
    rm -f a b
    create --size=$size --bitmap-chunk=$chunk --name=host:n a b
    [ "$(wc -l <out)" -eq 2 ] || fail "not one line per leg: $(cat out)"
    grep -q '^a: slot 0 ' out || fail "$(cat out)"
    grep -q '^b: slot 1 ' out || fail "$(cat out)"
    bytes=$(numfmt --from=iec $size)
    for leg in a b; do
      is $leg array-size "$bytes" \
        available-size "$bytes" \
        state '"clean"' \
        events 0 \
        array-state '"AA"' \
        name '"host:n"' \
        bitmap:chunk-size "$(numfmt --from=iec $chunk)" \
        bitmap:chunks-marked 0 \
        bitmap:events-cleared 0 \
        bitmap:sync-size "$bytes"
      "$tool" examine $leg >/dev/null || fail "$leg: not whole"
      # Exactly: not a byte behind the data.
      offset=$(value $leg data-offset)
      [ "$(stat -c %s $leg)" -eq $((offset + bytes)) ] \
        || fail "$leg has $(stat -c %s $leg) bytes"
      # Allocated, as far as the file system can.
      [ $(($(stat -c %b $leg) * 512)) -ge $((bytes / 2)) ] \
        || fail "$leg is not allocated"
      # Nothing but zeroes in the data.
      tail -c "$bytes" $leg | cmp -n "$bytes" - /dev/zero \
        || fail "$leg: data"
    done
    [ "$(value a array-uuid)" = "$(value b array-uuid)" ] || fail "two arrays"
    [ "$(value a device-uuid)" != "$(value b device-uuid)" ] || fail "one leg"
    by_mdadm a
    by_mdadm b
  done
done
[ "$(stat -c %a a)" -eq 600 ] || fail "anybody can read a"
uuid=$(value a array-uuid)

# Random identities: never twice the same.
rm -f a b
create --size=1M a b
[ "$(value a array-uuid)" != "$uuid" ] || fail "the same array again"
is a name '""' \
  bitmap:chunk-size 67108864
by_mdadm a

# Empty files are new files.
rm -f a b
: > a
create --size=1M a b
is a state '"clean"'
rm -f a b

# One to eight legs.
create --size=1M one
is one raid-devices 1 \
  array-state '"A"' \
  state '"clean"'
create --size=1M 1 2 3 4 5 6 7 8
is 8 array-state '"AAAAAAAA"' \
  slot 7
by_mdadm 8
rm -f ./[1-8] one
# shellcheck disable=SC2046
refused 'at most 27' --size=1M $(seq 28)

# ---- legs that existed ----

head -c 20M /dev/urandom >a
head -c 21M /dev/urandom >b
cp a a.old
create --bitmap-chunk=64K a b
is a state '"active"'
is b state '"active"'
is a resync-offset 0 \
  bitmap:chunks-marked "$(value a bitmap:chunks)"
is b bitmap:chunks-marked "$(value b bitmap:chunks)"
is a array-size $((19 * 1048576))
is b array-size $((19 * 1048576))
by_mdadm a
by_mdadm b
# Nothing but superblock, bitmap and the empty log was written.
python3 - <<'END'
old, new = open("a.old", "rb").read(), open("a", "rb").read()
assert len(old) == len(new)
assert old[:4096] == new[:4096], "before the superblock"
assert old[16384:] == new[16384:], "behind the bad-block log"
assert new[12288:16384] == bytes(4096), "the bad-block log"
assert new[8192 + 256:12288] == b"\xff" * (4096 - 256), "bits"
END
rm -f a b a.old

# Bits behind the last chunk are ones, as mdadm has them.
head -c 20M /dev/zero >a
cp a b
create --assume-clean --bitmap-chunk=1M --size=13M a b
is a state '"clean"' \
  bitmap:chunks 13 \
  bitmap:chunks-marked 0
python3 - <<'END'
data = open("a", "rb").read()[8192:12288]
assert data[256:258] == b"\x00\xe0", data[256:258]
assert data[258:] == b"\xff" * (4096 - 258)
END
by_mdadm a
rm -f a b

# One that existed and one that is new.
head -c 20M /dev/urandom >a
create --size=8M a b
is a state '"active"'
is b state '"active"' \
  bitmap:chunks-marked 1
[ "$(stat -c %s b)" -eq $((9 * 1048576)) ] || fail "b: $(stat -c %s b)"
rm -f a b

# ---- missing, write-mostly ----

create --size=8M a missing
is a array-state '"A."' \
  raid-devices 2 \
  bitmap:chunks-marked 1
status=0
"$tool" examine a >/dev/null || status=$?
[ $status -eq 1 ] || fail "an array with an empty slot: status $status"
by_mdadm a
rm -f a
create --size=8M missing b missing
is b array-state '".A."' \
  slot 1 \
  device-number 1
by_mdadm b
rm -f b
create --size=8M a --write-mostly b c
is a flags '[]'
is b flags '["write-mostly"]' \
  slot 1
is c flags '[]' \
  slot 2
by_mdadm b
rm -f a b c
create --size=8M --write-mostly=a a b
is a flags '["write-mostly"]' \
  slot 0
is b slot 1
rm -f a b
create --size=8M a b --write-mostly a
is a flags '["write-mostly"]' \
  raid-devices 2
rm -f a b
create --size=8M -- a -b
is ./-b slot 1
rm -f a ./-b

# ---- every version, with a bitmap and without ----

for version in 0.90 1.0 1.1 1.2; do
  for bitmap in internal none; do
    create --size=64M --metadata=$version --bitmap=$bitmap a b
    is b metadata "\"$version\"" \
      array-size $((64 << 20)) \
      state '"clean"' \
      array-state '"AA"' \
      slot 1 \
      other-superblocks '[]'
    if [ $bitmap = internal ]; then
      is a features '["bitmap-offset"]' \
        bitmap:metadata "\"$version\"" \
        bitmap:chunk-size $((64 << 20)) \
        bitmap:chunks 1 \
        bitmap:chunks-marked 0
    else
      is a features '[]'
    fi
    if command -v mdadm >/dev/null; then
      for leg in a b; do
        mdadm --examine $leg >theirs 2>&1 || fail "mdadm: $(cat theirs)"
        "$tool" examine $leg >ours || fail "$version: not whole"
        diff -u theirs ours || fail "$version $bitmap: not what mdadm says"
      done
    fi
    "$tool" assemble --dry-run a b >out || fail "$version: not to be served"
    # Made again as another version: nothing of the first one is left.
    for other in 1.2 1.1 1.0 0.90; do
      create --force --assume-clean --metadata=$other a b
      is a metadata "\"$other\"" \
        other-superblocks '[]'
    done
    rm -f a b
  done
done

# ---- the bitmap in a file: laid out as without one ----

for version in 0.90 1.0 1.1 1.2; do
  create --size=64M --metadata=$version --bitmap=none a b
  "$tool" examine a | grep -e Offset -e Size -e Unused -e 'Log :' >none || :
  rm -f a b
  create --size=64M --metadata=$version --bitmap=bits --bitmap-chunk=64K a b
  "$tool" examine a | grep -e Offset -e Size -e Unused -e 'Log :' >file || :
  diff none file || fail "$version: not laid out as without a bitmap"
  for leg in a b; do
    is $leg features '[]' bitmap-file "\"$tmp/bits\"" bitmap-offset null
    "$tool" examine $leg | grep -q -x "    Bitmap File : $tmp/bits" \
      || fail "$version: examine does not tell the file"
  done
  [ "$(stat -c %s bits)" -eq 4096 ] || fail "$version: length of the file"
  if command -v mdadm >/dev/null; then
    mdadm --examine-bitmap bits >theirs 2>&1 || fail "mdadm: $(cat theirs)"
    "$tool" examine-bitmap bits >ours || fail "$version: examine-bitmap"
    diff -u theirs ours || fail "$version: not what mdadm says of the file"
    # Of the legs it says what it says of those without: all but our line.
    mdadm --examine a >theirs 2>&1 || fail "mdadm: $(cat theirs)"
    "$tool" examine a | grep -v 'Bitmap File' >ours
    diff -u theirs ours || fail "$version: not what mdadm says"
  fi
  "$tool" assemble --dry-run --bitmap=bits a b >out \
    || fail "$version: not to be served"
  rm -f a b bits none file
done

printf 'a letter' >letter
refused 'never been used' --size=8M --bitmap=letter a b
refused 'it is the leg a' --size=8M --bitmap=a a b
refused 'it is the leg ./b' --size=8M --bitmap=b a ./b
refused 'regular file' --size=8M --bitmap=. a b
refused 'bitmap file .*none/such' --size=8M --bitmap=none/such a b
create --force --size=8M --bitmap=letter a b
is a bitmap-file "\"$tmp/letter\""
rm -f a b letter

# ---- the data moves for a fine chunk ----

# 256 + 76800 / 8 bytes are 3 pages, and mdadm has room for one.
create --size=300M --bitmap-chunk=4K a b
is a bitmap:chunks 76800 \
  bitmap:chunks-marked 0 \
  bad-block-log-offset $((4096 + 3 * 4096)) \
  array-size $((300 << 20))
rm -f a b

# ---- what belongs to somebody ----

create --size=8M a b
refused 'leg a: found a superblock .*--force' --size=8M a b
refused 'leg b: found a superblock .*--force' --size=8M c b
[ ! -e c ] || fail "c was made"
uuid=$(value a array-uuid)
create --force a b
[ "$(value a array-uuid)" != "$uuid" ] || fail "not made anew"
[ "$(value b array-uuid)" != "$uuid" ] || fail "not made anew"
is a state '"active"'
# Damaged, it is somebody's still.
printf X | dd of=b bs=1 seek=$((4096 + 300)) conv=notrunc status=none
refused 'leg b: found a superblock .*sb_csum.*--force' b c --size=8M
rm -f a b

: >a
truncate -s 20M b
found=
for make in "mkswap b" "mkfs.ext4 -q -F b" "mkfs.vfat b" "mkfs.xfs -q b"; do
  command -v "${make%% *}" >/dev/null || continue
  rm -f b
  case $make in
    *xfs*) truncate -s 400M b ;;
    *) truncate -s 20M b ;;
  esac
  $make >/dev/null 2>&1 || continue
  found="$found ${make%% *}"
  refused 'leg b: found a signature of .*--force' --size=8M a b
done
[ -n "$found" ] || echo "no mkswap or mkfs: no foreign signature tried"
# Partition tables are signatures too.
rm -f b
truncate -s 20M b
python3 - <<'END'
with open("b", "r+b") as f:
    f.seek(446)
    f.write(bytes([0, 0, 2, 0, 0x83, 0, 1, 0, 0, 8, 0, 0, 0, 64, 0, 0]))
    f.seek(510)
    f.write(b"\x55\xaa")
END
refused 'leg b: found a signature of dos' --size=8M a b
create --force --size=8M a b
is b state '"active"'
rm -f a b

# ---- refused ----

refused 'no leg given'
refused 'no leg given' --size=8M
refused 'all legs are missing' --size=8M missing missing
refused 'leg a: a new file needs a size' a b
refused 'multiple of 512' --size=1000 a b
refused 'size' --size=512 a b
refused 'at least one' --size=0 a b
refused 'is not a size' --size=8Q a b
refused 'is not a size' --size=8MB a b
refused 'is not a size' --size=-8M a b
refused 'is not a size' --size= a b
refused 'is not a size' --size=M a b
refused 'is not a size' '--size= 8M' a b
refused 'too large' --size=99999999999999999999 a b
refused 'too large' --size=16777216T a b
refused 'size' --size=7E a b
refused 'power of two' --size=8M --bitmap-chunk=2K a b
refused 'power of two' --size=8M --bitmap-chunk=5000 a b
refused 'power of two' --size=8M --bitmap-chunk=4G a b
refused 'power of two' --size=8M --bitmap-chunk=0 a b
refused 'bitmap-chunk' --size=4096T --bitmap-chunk=4K a b
refused 'not a version' --size=8M --metadata=2 a b
refused 'not a version' --size=8M --metadata=0.9 a b
refused 'not a version' --size=8M --metadata= a b
refused 'contradicts' --size=8M --bitmap=none --bitmap-chunk=64K a b
# What version 0.90 has no room for.
refused 'name' --size=8M --metadata=0.90 --name=n a b
refused 'the path' --size=8M --bitmap= a b
refused 'longer than 32' --size=8M \
  --name=123456789012345678901234567890123 a b
refused 'not supported yet' --size=8M a nbd://localhost
refused 'not supported yet' --size=8M a nbd+unix:///?socket=s
refused 'bad option' --size=8M --sizes a b
refused 'this one is missing' --size=8M a --write-mostly missing
refused 'is empty' --size=8M a ''
refused 'leg a is the same as leg a' --size=8M a a
refused 'is the same as leg a' --size=8M a ./a
refused 'is the same as leg a' --size=8M a "$tmp/a"
refused 'leg nowhere/a: ' --size=8M b nowhere/a
refused 'leg \.: is a directory' --size=8M a .
refused 'leg /dev/null: is a character device' --size=8M a /dev/null
truncate -s 20M a
ln a same
ln -s a link
refused 'is the same as leg a' a same
refused 'is the same as leg a' a link
refused 'is the same as leg a' a --write-mostly ./a
rm -f same link
truncate -s 4M b
refused 'leg b: field size of the leg: found 4194304 bytes, expected at least 9437184 bytes' \
  --size=8M a b
truncate -s 1M b
refused 'leg b: field size of the leg' a b
[ ! -e c ] || fail "c was made"
rm -f a b
# A file that cannot be: nothing is left behind.
mkfifo pipe
refused 'leg pipe: ' --size=8M c pipe
rm -f pipe
if [ "$(id -u)" -ne 0 ]; then
  mkdir ro
  chmod 555 ro
  refused 'leg ro/a: ' --size=8M c ro/a
  rmdir ro
fi

# In use.
truncate -s 20M a b
python3 - "$tool" <<'END'
import fcntl, struct, subprocess, sys
f = open("b", "r+b")
F_OFD_SETLK = 37
fcntl.fcntl(f, F_OFD_SETLK,
            struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
r = subprocess.run([sys.argv[1], "create", "a", "b"], capture_output=True,
                   text=True)
assert r.returncode == 4, r
assert "leg b: in use" in r.stderr, r.stderr
END
cmp -n 20971520 a /dev/zero || fail "a was written although b is in use"
rm -f a b
exit 0
