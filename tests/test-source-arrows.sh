#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The architecture, as far as a text search can see it:
#
#   base <- {format, device} <- bitmap <- array <- control <- plugin, tools
#
# Nobody includes against the arrows.  Threads, clocks, sleeps and chance are
# used in base/rt and device alone, memory comes from rt, the library neither
# prints nor exits, keeps no variables of its own, and knows no nbdkit.
# Each file says whose it is and under which licence; each test is in the
# Makefile.

set -e -u
export LC_ALL=C

cd "${abs_top_srcdir:-$(dirname "$0")/..}"
build=${abs_top_builddir:-.}
bad=0

complain ()
{
  echo "$*"
  bad=1
}

# code FILE: without comments and strings, each line with its number.
code ()
{
  perl -0777 -pe '
    s{(/\*.*?\*/)|("(?:\\.|[^"\\\n])*")|(\x27(?:\\.|[^\x27\\\n])+\x27)}
     {defined $1 ? "\n" x ($1 =~ tr/\n//) : defined $2 ? q("") : q(0)}gse' \
    "$1" | grep -n ''
}

# ---- who may include whom ----

allowed ()
{
  case $1 in
    lib/base) echo 'base' ;;
    lib/format) echo 'base format' ;;
    lib/device) echo 'base device' ;;
    lib/bitmap) echo 'base format device bitmap' ;;
    lib/array) echo 'base format device bitmap array' ;;
    lib/control) echo 'base array control' ;;
    plugin) echo 'base array control' ;;
    tools) echo 'base format device bitmap array control' ;;
    *) complain "$1: no rule for this folder: add one to $0" ;;
  esac
}

for file in lib/*/*.[ch] plugin/*.[ch] tools/*.[ch]; do
  folder=$(dirname "$file")
  areas=$(allowed "$folder")
  while read -r header; do
    case $header in
      */*)
        case " $areas " in
          *" ${header%%/*} "*) ;;
          *)
            # The seam: what the simulator puts behind the names of rt.h.
            [ "$file $header" = "lib/base/rt.h sim/rt_sim.h" ] && continue
            complain "$file: includes $header: against the arrows"
            ;;
        esac
        [ -e "lib/$header" ] || complain "$file: includes $header: what is it?"
        ;;
      *)
        # Without a folder only beside it, and not in the library.
        case $folder in
          lib/*) complain "$file: includes $header: name its folder" ;;
        esac
        [ -e "$folder/$header" ] \
          || complain "$file: includes $header: what is it?"
        ;;
    esac
  done < <(sed -n 's/^ *# *include *"\(.*\)".*/\1/p' "$file")

  case $file in
    *.c)
      first=$(grep -m 1 '^ *# *include' "$file" || :)
      [ "$first" = '#include <config.h>' ] \
        || complain "$file: the first include must be <config.h>"
      ;;
  esac
done

# only_in WHERE PATTERN: lines of the library's code that match may be in
# files that match WHERE alone.
only_in ()
{
  local where=$1 pattern=$2 file found

  for file in lib/*/*.[ch]; do
    if [[ $file =~ $where ]]; then
      continue
    fi
    found=$(code "$file" | grep -E -e "$pattern" || :)
    [ -z "$found" ] || complain "$file: belongs into $where: $found"
  done
}

call='(^|[^A-Za-z0-9_>.])'
rt='^lib/base/rt\.[ch]$'
rt_or_device='^lib/(base/rt\.[ch]|device/)'

only_in "$rt_or_device" "${call}(pthread_|sem_|thrd_|mtx_|cnd_)"
only_in "$rt_or_device" "${call}(clock_|nanosleep|usleep|sleep|time|gettimeofday|timespec_get|alarm|poll|ppoll|select) *\\("
only_in "$rt" "${call}(random|rand|srand|srandom|drand48|getrandom|getentropy|uuid_generate[a-z_]*) *\\("
only_in '^lib/device/' "${call}(io_(setup|submit|getevents|pgetevents|destroy|cancel|prep_[a-z0-9]*)|aio_(read|write|fsync)|fdatasync|fsync|syncfs|fallocate|pwritev?2?|preadv?2?) *\\("
only_in "$rt" "${call}(malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf|posix_memalign|aligned_alloc) *\\("
only_in "$rt" "${call}(abort|exit|_exit|_Exit|quick_exit|atexit) *\\("
only_in '^$' "${call}(printf|vprintf|fprintf|vfprintf|puts|fputs|putchar|perror|syslog|warn|warnx|err|errx) *\\("
only_in '^$' "${call}(fork|vfork|system|popen|exec[lv]p?e?) *\\("
only_in '^$' '(__thread|_Thread_local|thread_local)'
only_in '^$' 'nbdkit_|NBDKIT_|<nbdkit'
only_in "$rt" "${call}(atomic_|__atomic_|__sync_)|<stdatomic"
only_in '^lib/device/' '<libaio\.h>|<libnbd\.h>'

# ---- no variables that last ----

# Data that can be written, other than what the linker alone writes to
# (tables of pointers).  rt keeps the keys that name a thread's values.
archive=$build/lib/.libs/libmdbitmap.a
if [ -e "$archive" ] && [ -z "${MDBITMAP_PRELOAD:-}" ] \
   && command -v objdump >/dev/null; then
  variables=$(objdump -t "$archive" | awk '
    / file format / { sub (/:.*/, ""); member = $0 }
    $NF !~ /^\.|^__/ && / O (\.data|\.bss|\.tdata|\.tbss)(\.[a-z0-9_]+)?\t/ \
      && !/\.data\.rel\.ro/ && member !~ /-rt\.o$/ { print member ": " $NF }
    $0 ~ /\*COM\*/ { print member ": " $NF }')
  [ -z "$variables" ] || complain "variables of the library: $variables"
elif [ ! -e "$archive" ]; then
  complain "$archive is not there: run make"
fi

# ---- size ----

for file in lib/*/*.c plugin/*.c tools/*.c tests/sim/*.c; do
  lines=$(wc -l < "$file")
  [ "$lines" -lt 700 ] || complain "$file: $lines lines; 700 are too many"
  long=$(awk '/^\{/ { start = NR }
              /^\}/ { if (start && NR - start - 1 > 60)
                        print start ": " NR - start - 1 " lines"
                      start = 0 }' "$file")
  [ -z "$long" ] || complain "$file: a function of more than 60 lines: $long"
done

# ---- licence ----

while read -r file; do
  head -n 5 "$file" | grep -q 'SPDX-License-Identifier: BSD-3-Clause' \
    || complain "$file: no SPDX line"
  head -n 7 "$file" | grep -q 'Copyright 2026 The mdbitmap authors\.' \
    || complain "$file: no copyright line"
done < <(find .ci bench examples lib man plugin tests tools bootstrap \
              configure.ac Makefile.am \
              \( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' \
                 -o -name '*.pl' -o -name '*.pod' -o -name '*.inc' \
                 -o -name '*.syms' -o -name run -o -name bootstrap \
                 -o -name configure.ac -o -name Makefile.am \) \
              -type f 2>/dev/null)

# ---- no test is forgotten ----

while read -r file; do
  grep -q -w -e "${file%.c}" tests/Makefile.inc \
    || complain "$file: not in tests/Makefile.inc: nobody runs it"
done < <(find tests -name 'test-*.c' -o -name 'test-*.sh')

exit "$bad"
