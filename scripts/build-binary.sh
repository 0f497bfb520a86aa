#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: build-binary.sh KERNEL [DIRECTORY]
# Builds loop.ko for a KERNEL that fetch-binary.sh has unpacked in that directory, or the
# external module in DIRECTORY. It uses a root of the kernel's release and the compiler
# that its headers ask for, and fails on a warning. With CONFIG_BLK_DEV_LOOP_INJECT=y in
# the environment, loop.ko has the parameter for tests.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
kernel=$(realpath "${1:?usage: $0 KERNEL [DIRECTORY]}")
dir=$kernel/module
root=$(realpath "$kernel/root")
headers=/usr/src/linux-headers-$(cat "$kernel/release")

# If the kernel is for another machine, this names the machine and its compiler.
cross=()
[ ! -e "$kernel/cross" ] || read -ra cross < "$kernel/cross"

if [ $# -gt 1 ]; then
	dir=$(realpath "$2")
else
	echo "== building loop.ko for $(cat "$kernel/release")"
	mkdir -p "$dir"
	(cd "$top" && cp -a --parents Kbuild compat include drivers/block/loop.c \
		drivers/block/loop/*.[ch] "$dir")
fi

status=0
"$top/scripts/root-make.sh" "$root" "$dir" -C "$headers" M=/build W=1 \
	CONFIG_BLK_DEV_LOOP_INJECT="${CONFIG_BLK_DEV_LOOP_INJECT-}" "${cross[@]}" modules > "$kernel/log" 2>&1 || status=$?
if [ -s "$kernel/log" ]; then
	cat "$kernel/log" >&2
	exit 1
fi
[ $status = 0 ] || exit 1
[ $# -gt 1 ] || cp "$dir/loop.ko" "$kernel/loop.ko"
