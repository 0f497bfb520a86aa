#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: build-tests.sh [PROGRAM]...
# Builds the test programs, or those named, in build/selftests.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
bin=$top/build/selftests
scripts/fetch-source.sh
echo "== building the test programs"
make -s --no-print-directory -C tools/testing/selftests/loop OUTPUT="$bin" \
	KSFT_DIR="$top/build/linux-source/tools/testing/selftests" "${@/#/$bin/}"
