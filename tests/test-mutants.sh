#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# A handful of the simulator's mutants, md's own rules among them: each is
# caught.  `make check-mutants` tries all of them.

set -eu
cd "$(dirname "$0")"
export JOBS="${JOBS:-2}"
if [ -n "${MDBITMAP_LONG:-}" ]; then
  exec bash sim/check-mutants.sh
fi
exec bash sim/check-mutants.sh --sample
