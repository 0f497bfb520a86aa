#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Installs the Debian packages that building, the VM, the tests and lint need.
# Tools only: no kernel is installed. Does nothing where all of them are there.
# "deps.sh demo" leaves out what only the tests, lint and the patch need, and
# "deps.sh kernel" adds what compiling a kernel takes, "deps.sh package" what the
# Debian packages and their tests take.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)

# The module: what linux-headers depends on, beside the kernel itself.
packages="make gcc gcc-12 libc6-dev libelf1 pahole kmod bc"
# The VM and its initramfs.
packages="$packages qemu-system-x86 busybox-static cpio zstd xz-utils"
# The demo.
packages="$packages systemd udev util-linux fdisk mount e2fsprogs xfsprogs fio"
if [ "${1:-}" != demo ]; then
	# 32-bit test programs.
	packages="$packages gcc-multilib"
	# Lint, the patch.
	packages="$packages perl python3 python3-sphinx mandoc sparse shellcheck git"
	# What the tests say they need.
	tests=$top/tools/testing/selftests/loop/packages
	packages="$packages $(sed 's/#.*//' "$tests" | tr '\n' ' ')"
fi
if [ "${1:-}" = kernel ]; then
	packages="$packages bison flex libelf-dev libssl-dev"
	packages="$packages clang-19 binutils-aarch64-linux-gnu"
fi
if [ "${1:-}" = package ]; then
	packages="$packages dpkg-dev debhelper dh-dkms lintian debootstrap"
fi

# Prints those of the arguments that are not installed.
missing() {
	for package in "$@"; do
		case $(dpkg-query -W -f '${db:Status-Status} ' "$package" 2>/dev/null) in
		"installed "*) ;;
		*) echo "$package" ;;
		esac
	done
}

# shellcheck disable=SC2086 # a list of words
wanted=$(missing $packages | sort -u | tr '\n' ' ')
[ "$wanted" ] || exit 0

echo "== updating the package lists"
apt-get -q=2 update
echo "== installing $wanted"
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get -q=2 -o Dpkg::Use-Pty=0 install \
	-y --no-install-recommends $wanted > /dev/null
