#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The oracle itself, the kernel against the kernel: mdadm creates, the kernel
# is killed under load and resyncs exactly the chunks that it had marked.
# The tests of our server rely on each step of this.  And the oracle must be
# able to say no: a chunk that differs and is not marked must be noticed.

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

cp "$tmp/leg0" "$tmp/bad0"
cp "$tmp/leg1" "$tmp/bad1"
kernel_resyncs "$tmp/leg0" "$tmp/leg1" "$tmp/ledger"

# Now the oracle must object.
python3 "$legs" poison "$tmp/bad1"
if python3 "$legs" covered "$tmp/bad0" "$tmp/bad1" 2> "$tmp/objection"; then
  die "chunks that are not marked went unnoticed"
fi
grep 'are not marked' "$tmp/objection" | cut -c 1-60
uml_run objects "$tmp/bad0" "$tmp/bad1" "$tmp/ledger" <<'BODY'
  mdadm --assemble --run /dev/md0 "${images[0]}" "${images[1]}"
  md_settle
  mismatches=$(md_check)
  [ "$mismatches" -gt 0 ] || die "no mismatch found"
  echo "mismatch_cnt after poison: $mismatches"
  printf garbage | dd of=/dev/md0 bs=512 seek=1000 conv=notrunc status=none
  if "$history" verify /dev/md0 "${images[2]}" > /run/verify; then
    die "garbage went unnoticed"
  fi
  head -n 2 /run/verify
  mdadm --stop /dev/md0
BODY
