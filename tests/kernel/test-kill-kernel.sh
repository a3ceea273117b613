#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The kernel is killed under load.  We resync exactly the chunks that it had
# marked, serving meanwhile; every write that it had answered is there; the
# legs are equal afterwards, and the kernel agrees.

# shellcheck source=tests/kernel/uml.sh
. "$(dirname "$0")/uml.sh"

uml_begin
truncate -s 64M "$tmp/leg0" "$tmp/leg1"
new_ledger "$tmp/ledger"

uml_start load "$tmp/leg0" "$tmp/leg1" "$tmp/ledger" <<'BODY'
  mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 \
        --assume-clean --bitmap=internal --bitmap-chunk=64K --run \
        "${images[0]}" "${images[1]}"
  # A new bitmap has all bits set; stopping clears them.
  mdadm --stop /dev/md0
  mdadm --assemble /dev/md0 "${images[0]}" "${images[1]}"
  "$history" --hot=100 --chunk=65536 write /dev/md0 "${images[2]}"
BODY
"$history" wait 1000 "$tmp/ledger"
uml_kill load

python3 "$legs" covered "$tmp/leg0" "$tmp/leg1"
python3 "$legs" union "$tmp/leg0" "$tmp/leg1" > "$tmp/marked"
marked=$(wc -l < "$tmp/marked")
at_least "chunks marked by the kernel" 1 "$marked"
for leg in leg0 leg1; do
  bits=$(python3 "$legs" bits "$tmp/$leg" | wc -l)
  "$MDBITMAP" examine-bitmap "$tmp/$leg" | grep Bitmap | grep " $bits dirty" ||
    die "examine-bitmap of $leg does not say $bits dirty"
done

# Which chunks are copied: on a copy whose slot 1 was poisoned everywhere.
cp "$tmp/leg0" "$tmp/copy0"
cp "$tmp/leg1" "$tmp/copy1"
python3 "$legs" poison "$tmp/copy1"
server_start "$tmp/copy0" "$tmp/copy1"
server_says "resync done: $marked chunks"
server_stop
python3 "$legs" differ "$tmp/copy0" "$tmp/copy1" > "$tmp/differ"
sort "$tmp/differ" "$tmp/marked" | uniq -c |
  grep -v '^ *1 ' && die "chunks marked and not copied, see above"
chunks=$((64512 * 1024 / 65536))
expect "chunks copied and not marked" 0 \
       $((chunks - $(sort -u "$tmp/differ" "$tmp/marked" | wc -l)))

# On the legs themselves let no write in the marked chunks have reached slot
# 1.  While they are resynced, slowly, reads must come from slot 0.
python3 "$legs" poison-these "$tmp/leg1" < "$tmp/marked"
server_start sync-rate-max=1M "$tmp/leg0" "$tmp/leg1"
"$history" verify "$uri" "$tmp/ledger"
until [ "$(python3 "$legs" differ "$tmp/leg0" "$tmp/leg1" | wc -l)" \
        -lt "$marked" ]; do
  sleep 0.1
done
# Killed in mid-resync: what still differs is still marked, and the kernel
# can go on in our place.
server_kill
at_least "chunks not resynced when we were killed" 1 \
         "$(python3 "$legs" differ "$tmp/leg0" "$tmp/leg1" | wc -l)"
cp "$tmp/leg0" "$tmp/taken0"
cp "$tmp/leg1" "$tmp/taken1"
kernel_resyncs "$tmp/taken0" "$tmp/taken1" "$tmp/ledger"

# And so can we.
server_start "$tmp/leg0" "$tmp/leg1"
server_says "resync done: [0-9]+ chunks"
"$history" verify "$uri" "$tmp/ledger"
server_stop
python3 "$legs" same "$tmp/leg0" "$tmp/leg1"
expect "bits left" 0 "$(python3 "$legs" union "$tmp/leg0" "$tmp/leg1" | wc -l)"

uml_run back "$tmp/leg0" "$tmp/leg1" "$tmp/ledger" <<'BODY'
  mdadm --assemble /dev/md0 "${images[0]}" "${images[1]}"
  expect legs UU "$(md_state)"
  md_repaired_nothing
  "$history" verify /dev/md0 "${images[2]}"
  expect mismatch_cnt 0 "$(md_check)"
  mdadm --stop /dev/md0
BODY
