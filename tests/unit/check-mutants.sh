#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# Mutants of what the simulator does not reach (device/aio*): each is caught by
# a unit test.
#
#   check-mutants.sh [NAME...]     these mutants, or all
#   check-mutants.sh --apply       only see that they apply
#
# Each file of mutants/ is a patch of one source of lib/ that breaks one rule;
# what is above the diff says which, what is lost by it, and with `Test:' the
# unit test.  That must pass with the source as it is, and fail, or hang until
# its own limit, with the mutant.
#
# Environment: abs_top_srcdir, abs_top_builddir (where make check has built the
# unit tests), CC.
# Exit status: 0: all are caught, 1: some are not, 2: it could not be told.

set -e -u -o pipefail
export LC_ALL=C

abs_top_srcdir=${abs_top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
abs_top_builddir=${abs_top_builddir:-$abs_top_srcdir}
mutants=$abs_top_srcdir/tests/unit/mutants
out=$abs_top_builddir/tests/unit/mutants.build
read -r -a cc <<< "${CC:-cc}"
flags=(-O1 -g -std=gnu11 -pthread -DHAVE_CONFIG_H -I"$abs_top_builddir"
       -I"$out/lib" -I"$abs_top_srcdir/lib")
bad=0 good=0

give_up ()
{
  echo "check-mutants: $*" >&2
  exit 2
}

# field NAME FIELD: what the text above the diff says.
field ()
{
  sed -n "s/^$2: *//p;/^--- /q" "$mutants/$1.patch"
}

# mutate NAME: a changed copy of its source, $file from the top.
mutate ()
{
  file=$(sed -n 's,^+++ b/\([^[:space:]]*\).*,\1,p' "$mutants/$1.patch")
  [ -r "$abs_top_srcdir/$file" ] || return
  rm -rf "${out:?}/lib"
  mkdir -p "$out/$(dirname "$file")"
  cp "$abs_top_srcdir/$file" "$out/$file"
  [ "${2:-}" = unchanged ] \
    || patch -s -p1 --fuzz=0 -d "$out" < "$mutants/$1.patch"
}

# The linker's words for a test: which functions it replaces.
wrapped ()
{
  sed -n "/^tests_unit_test_${1//-/_}_LDFLAGS/,/^\$/p" \
    "$abs_top_srcdir/tests/Makefile.inc" | grep -o -e '-Wl,--wrap=[a-z0-9_]*' \
    || :
}

# build TEST: of its object, the copy, and for all else the library.
build ()
{
  local object=$abs_top_builddir/tests/unit/test_${1//-/_}-test-$1.o wrap libs

  [ -r "$object" ] || give_up "no $object: run make check TESTS="
  mapfile -t wrap < <(wrapped "$1")
  read -r -a libs <<< "$(pkg-config --libs check blkid uuid)"
  "${cc[@]}" "${flags[@]}" -c -o "$out/mutant.o" "$out/$file" \
    && "${cc[@]}" "${flags[@]}" "${wrap[@]}" -o "$out/test" "$object" \
         "$out/mutant.o" "$abs_top_builddir/lib/.libs/libmdbitmap.a" \
         "${libs[@]}" -laio
}

# run: the test's own limits are shortened, as most mutants hang.
run ()
{
  (cd "$out" && CK_TIMEOUT_MULTIPLIER=0.1 timeout 600 ./test) \
    > "$out/log" 2>&1
}

check_mutant ()
{
  local test status=0

  test=$(field "$1" Test)
  if ! mutate "$1" || ! build "$test" > "$out/log" 2>&1; then
    tail -n 5 "$out/log" 2>/dev/null || :
    echo "$1: NOT CAUGHT: it does not build"
    return 1
  fi
  run || status=$?
  if [ "$status" -ne 1 ]; then
    echo "$1: NOT CAUGHT: $test ends with $status"
    return 1
  fi
  echo "$1: caught, $(sed -n 's/.*:[EFS]:[^:]*:\([^:]*\):.*/\1/p' "$out/log" \
    | sort -u | head -n 3 | paste -s -d ' ')"
}

# The unmutated source must pass, or nothing that follows means anything.
check_base ()
{
  mutate "$1" unchanged
  build "$(field "$1" Test)" || give_up "$1: the source does not build"
  run || {
    tail -n 20 "$out/log" >&2
    give_up "$(field "$1" Test): the unmutated source does not pass"
  }
}

apply_mutant ()
{
  mutate "$1" && [ -n "$(field "$1" Test)" ] && [ -n "$(field "$1" Breaks)" ] \
    && [ -n "$(field "$1" Loses)" ] && return
  echo "$1: does not apply, or does not say what it breaks"
  return 1
}

how=check_mutant
case ${1:-} in
  --apply)
    how=apply_mutant
    shift
    ;;
  -*)
    give_up 'usage: check-mutants.sh [--apply] [NAME...]'
    ;;
esac
names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
  for patch in "$mutants"/*.patch; do
    names+=("$(basename "$patch" .patch)")
  done
fi
rm -rf "$out"
mkdir -p "$out"
tested=' '
for name in "${names[@]}"; do
  [ -r "$mutants/$name.patch" ] || give_up "no mutant $name"
  if [ "$how" = check_mutant ]; then
    test=$(field "$name" Test)
    case $tested in
      *" $test "*) ;;
      *) check_base "$name" ;;
    esac
    tested="$tested$test "
  fi
  if "$how" "$name"; then
    good=$((good + 1))
  else
    bad=$((bad + 1))
  fi
done
rm -rf "$out"
echo "check-mutants (unit tests): $good as they should be, $bad not"
[ "$bad" -eq 0 ]
