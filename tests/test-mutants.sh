#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A handful of the simulator's mutants, md's own rules among them: each is
# caught.  `make check-mutants` tries all of them, and `make check-unit-mutants`
# those that a unit test catches, for which there is no time here.

set -eu
cd "$(dirname "$0")"
export JOBS="${JOBS:-2}"
if [ -n "${MDBITMAP_LONG:-}" ]; then
  bash unit/check-mutants.sh
  exec bash sim/check-mutants.sh
fi
bash unit/check-mutants.sh --apply
exec bash sim/check-mutants.sh --sample
