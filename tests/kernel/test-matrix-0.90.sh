#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright 2026 The mdbitmap authors.

# The matrix of the superblock 0.90; matrix.sh says what it is.

# shellcheck source=tests/kernel/matrix.sh
. "$(dirname "$0")/matrix.sh"

matrix 0.90
