#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: deps.sh [PURPOSE]
# Installs the Debian packages that PURPOSE needs and that are missing; tools only, no
# kernel. PURPOSE is one of
#   tests	building, the VM, the tests, lint and the patch; the default
#   demo	building and the VM, for make demo and make shell
#   kernel	tests, and compiling a kernel
#   docs	make htmldocs
#   patch	make patch
#   deb		make deb
#   roots	fetch-binary.sh and check-fresh.sh, which make Debian roots
#   arch	check-arch.sh, which boots other machines
#   package	building, the VM, and the Debian packages and their tests
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)

# The module is compiled with gcc of the kernel's release. pahole brings the library that
# objtool needs.
module="make gcc libc6-dev pahole kmod bc zstd xz-utils"
vm="$module qemu-system-x86 busybox-static cpio"
loopctl="gcc libc6-dev libsmartcols-dev pkgconf"
demo="$vm $loopctl systemd udev util-linux fdisk mount e2fsprogs xfsprogs fio"
docs="python3-sphinx"
patch="perl python3 git zstd xz-utils"
deb="build-essential debhelper git $loopctl"

case ${1:-tests} in
demo) packages=$demo ;;
docs) packages=$docs ;;
patch) packages=$patch ;;
deb) packages=$deb ;;
roots) packages="debootstrap git" ;;
arch) packages="$patch debootstrap cpio kmod qemu-system-arm qemu-system-misc" ;;
package) packages="$vm $deb lintian debootstrap openssl python3" ;;
tests | kernel)
	# These are for 32-bit test programs and lint. The file packages has the others.
	packages="$demo gcc-multilib $docs $patch mandoc sparse shellcheck"
	tests=$top/tools/testing/selftests/loop/packages
	packages="$packages $(sed 's/#.*//' "$tests" | tr '\n' ' ')"
	[ "${1:-}" != kernel ] || packages="$packages bison flex libelf-dev libssl-dev
		clang-19 binutils-aarch64-linux-gnu"
	;;
*)
	echo "$0: no such purpose: $1" >&2
	exit 1
	;;
esac

# Prints the packages among the arguments that are not installed.
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
