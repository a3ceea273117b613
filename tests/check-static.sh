#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# make check-static: three analyzers over everything that is shipped.  Each
# complaint is an error.  An analyzer that is not installed is an error too:
# nobody should believe that it has been asked.

set -e -u -o pipefail
export LC_ALL=C

cd "$abs_top_srcdir"
mapfile -t sources < <(find lib plugin tools -name '*.c' | sort)
flags=(-DHAVE_CONFIG_H -I"$abs_top_builddir" -Ilib -Iplugin -std=gnu11)
for package in nbdkit libnbd blkid uuid jansson; do
  read -r -a more <<< "$(pkg-config --cflags "$package")"
  flags+=("${more[@]}")
done
bad=0

begin ()
{
  command -v "$1" >/dev/null || {
    echo "check-static: $1 is not installed" >&2
    exit 1
  }
  echo "---- $*"
}

begin cppcheck
cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
  --enable=warning,performance,portability \
  --suppress=missingIncludeSystem --suppress=unknownMacro \
  --suppress='*:/usr/include/*' \
  -D__GNUC__=12 -DHAVE_CONFIG_H -I"$abs_top_builddir" -Ilib -Iplugin \
  "${sources[@]}" || bad=1

begin clang --analyze
for file in "${sources[@]}"; do
  found=$(clang --analyze --analyzer-output text -Xclang -analyzer-werror \
            "${flags[@]}" "$file" -o /dev/null 2>&1) || :
  if [ -n "$found" ]; then
    printf '%s\n' "$found"
    bad=1
  fi
done

begin gcc -fanalyzer
for file in "${sources[@]}"; do
  except=()
  case $file in
    # It does not know that a thread's key keeps what pthread_setspecific
    # was given, and that the key's destructor frees it.
    lib/base/rt.c) except=(-Wno-analyzer-malloc-leak) ;;
  esac
  gcc -fanalyzer -Werror -O1 -c "${flags[@]}" "${except[@]}" "$file" \
    -o /dev/null || bad=1
done

[ "$bad" -eq 0 ] && echo "check-static: clean"
exit "$bad"
