#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: build-tests.sh [PROGRAM]...
# Builds all test programs, or only each PROGRAM, in build/selftests. With VM_KERNEL=DIR in
# the environment, see qemu/vm, it builds them for the machine of that kernel, in
# build/selftests-MACHINE if that is another machine than this one.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
scripts/fetch-source.sh
echo "== building the test programs"
kernel=${VM_KERNEL-}
if [ -e "$kernel/machine" ]; then
	bin=/build/build/selftests-$(cat "$kernel/machine")
	top=/build
	read -ra cross < "$kernel/cross"
	make=(scripts/root-make.sh "$kernel/root" . "${cross[@]}")
else
	bin=$top/build/selftests
	make=(make -s --no-print-directory)
fi
"${make[@]}" -C "$top/tools/testing/selftests/loop" OUTPUT="$bin" \
	KSFT_DIR="$top/build/linux-source/tools/testing/selftests" "${@/#/$bin/}"
