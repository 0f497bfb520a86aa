#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: root-make.sh ROOT DIRECTORY [ARGUMENT]...
# Runs make with the arguments in the Debian root ROOT, where DIRECTORY is /build.
set -eu

# make runs in a mount namespace of its own, so its mounts go with it.
# shellcheck disable=SC2016
exec unshare --mount sh -c 'set -e
	mkdir -p "$1/build"
	mount --bind "$2" "$1/build"
	mount -t proc proc "$1/proc"
	root=$1
	shift 2
	exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
		make -s --no-print-directory "$@"' sh "$@"
