#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: build-binary.sh KERNEL [DIRECTORY]
# Builds loop.ko for a KERNEL that fetch-binary.sh has unpacked in that
# directory, in a root of its release and with the compiler its headers ask for,
# without a warning; or the external module in DIRECTORY.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
kernel=$(realpath "${1:?usage: $0 KERNEL [DIRECTORY]}")
dir=$kernel/module
root=$(realpath "$kernel/root")
headers=/usr/src/linux-headers-$(cat "$kernel/release")

if [ $# -gt 1 ]; then
	dir=$(realpath "$2")
else
	echo "== building loop.ko for $(cat "$kernel/release")"
	mkdir -p "$dir"
	(cd "$top" && cp -a --parents Kbuild compat include drivers/block/loop.c "$dir")
fi

# A mount namespace of its own: what is mounted goes with it.
status=0
# shellcheck disable=SC2016
unshare --mount sh -c 'set -e
	mkdir -p "$1/build"
	mount --bind "$2" "$1/build"
	mount -t proc proc "$1/proc"
	exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
		make -s --no-print-directory -C "$3" M=/build W=1 modules' \
	sh "$root" "$dir" "$headers" > "$kernel/log" 2>&1 || status=$?
if [ -s "$kernel/log" ]; then
	cat "$kernel/log" >&2
	exit 1
fi
[ $status = 0 ] || exit 1
[ $# -gt 1 ] || cp "$dir/loop.ko" "$kernel/loop.ko"
