#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# What is written agrees with what is built: the pages are sound POD, and
# the page of the plugin has exactly the parameters, debug flags and fields of
# --dump-plugin that the plugin has, in order.

# shellcheck source=tests/functions.sh
. "$(dirname "$0")/functions.sh"

page=$tests/../man/nbdkit-mdbitmap-plugin.pod

if command -v podchecker >/dev/null; then
  for pod in "$tests"/../man/*.pod; do
    podchecker -warnings -warnings "$pod" > "$tmp/pod" 2>&1 \
      || fail "$pod: $(cat "$tmp/pod")"
    ! grep -q -i warning "$tmp/pod" || fail "$pod: $(cat "$tmp/pod")"
  done
fi

# section NAME: the lines of this section of the page.
section ()
{
  awk -v name="$1" '/^=head1 / { on = ($0 == "=head1 " name) }
                    on { print }' "$page"
}

same ()
{
  diff -u "$2" "$3" || fail "$1: man page (-) and plugin (+) differ"
}

# ---- parameters ----

"$nbdkit" "$plugin" --help | sed -n 's/^\([a-z-]*\)=.*/\1/p' \
  | sort -u > "$tmp/have"
section PARAMETERS | sed -n 's/^=item .*B<\([a-z-]*\)=.*/\1/p' | uniq \
  > "$tmp/written"
sort "$tmp/written" > "$tmp/sorted"
cmp -s "$tmp/written" "$tmp/sorted" || fail "PARAMETERS are not in order"
same parameters "$tmp/sorted" "$tmp/have"

# ---- fields of --dump-plugin ----

"$nbdkit" --dump-plugin "$plugin" | sed -n 's/^\(mdbitmap_[a-z_]*\)=.*/\1/p' \
  | sort > "$tmp/have"
section 'DUMP PLUGIN OUTPUT' | sed -n 's/^=item C<\(mdbitmap_[a-z_]*\)=.*/\1/p' \
  > "$tmp/written"
same '--dump-plugin' "$tmp/written" "$tmp/have"

# ... and their values, other than the list of features.
"$nbdkit" --dump-plugin "$plugin" | grep '^mdbitmap_' \
  | grep -v '^mdbitmap_features=' | sort > "$tmp/have"
section 'DUMP PLUGIN OUTPUT' | sed -n 's/^=item C<\(mdbitmap_.*\)>$/\1/p' \
  | grep -v '^mdbitmap_features=' > "$tmp/written"
same 'values of --dump-plugin' "$tmp/written" "$tmp/have"

# ---- debug flags ----

nm -D --defined-only "$plugin" | sed -n 's/.* mdbitmap_debug_//p' \
  | sort > "$tmp/have"
section 'DEBUG FLAGS' | sed -n 's/^=item B<-D mdbitmap\.\([a-z]*\)=1>/\1/p' \
  > "$tmp/written"
same 'debug flags' "$tmp/written" "$tmp/have"

# ---- options of the tool ----

"$tool" --help > "$tmp/help" 2>&1
# What other programs have, as mdadm --add, is not in bold and not in lines
# that begin with our name.
for option in $(sed -n -e 's/B<\(--[a-z-]*\)/\n\1\n/gp' \
                  -e '/^ mdbitmap /p' -e '/^  *\[/p' \
                  "$tests/../man/mdbitmap.pod" \
                  | grep -o -e '--[a-z][a-z-]*' | sort -u); do
  case $option in
    --help | --version) ;;
    *) grep -q -e "$option" "$tmp/help" || fail "mdbitmap --help: no $option" ;;
  esac
done
for option in $(grep -o -e '--[a-z][a-z-]*' "$tmp/help" | sort -u); do
  grep -q -e "$option" "$tests/../man/mdbitmap.pod" \
    || fail "mdbitmap.pod: no $option"
done
"$tool" --version | grep -q '^mdbitmap [0-9]' || fail "mdbitmap --version"
