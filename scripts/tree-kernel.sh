#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: tree-kernel.sh KIND VERSION
# Builds Debian's linux-source-VERSION for the VM, once, with qemu/kernel.config and, if
# KIND is not "plain", qemu/KIND.config, and then loop.ko for it, from the files that
# build/loop-VERSION.patch makes. The kernel is in build/kernels/KEY. KEY is a hash of its
# source, its configuration and the compiler, so a change of the driver builds only loop.ko
# again. build/KIND-VERSION is a link to the kernel in use:
#   o			the build directory, to be used as KDIR
#   config		the options that were asked for
#   module		the driver's sources and objects
#   release, vmlinux, lib, loop.ko, options	the files that qemu/vm needs
#   verified		the checksum of the files that check-debug.sh has checked it with
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
kind=${1:?usage: $0 KIND VERSION}
version=${2:?usage: $0 KIND VERSION}

scripts/deps.sh kernel
scripts/patch.sh "$version"
source=$top/build/linux-$version

configs=(qemu/kernel.config)
[ "$kind" = plain ] || configs+=("qemu/$kind.config")
config=$(grep -h '^CONFIG_' "${configs[@]}")
key=$({
	cat "$source/stamp"
	echo "$config"
	gcc --version | head -n 1
} | sha256sum | cut -c 1-12)
dir=$top/build/kernels/$key
mkdir -p "$dir"

# Debuggers take time and memory. The first report of most debuggers ends the run, as later
# ones mean little. A report of KCSAN does not end it.
{
	echo "# shellcheck shell=bash disable=SC2034,SC2154"
	case $kind in
	debug)
		cat <<-'END'
		timeout=$((timeout * 8))
		mem=$((mem * 3 / 2))
		append="panic_on_warn=1 page_poison=1 $append"
		END
		;;
	kcsan) echo "timeout=\$((timeout * 4))" ;;
	esac
} > "$dir/options"

# qemu/kcsan.config tells why KCSAN_SANITIZE is n. Only KCSAN looks at it.
make_kernel() {
	make -s --no-print-directory -C "$source/src" O="$dir/o" "-j$(nproc)" \
		KCSAN_SANITIZE=n "$@"
}

build_kernel() {
	local missing release

	echo "== configuring linux-source-$version"
	mkdir -p "$dir/o"
	echo "$config" > "$dir/config"
	make_kernel KCONFIG_ALLCONFIG="$dir/config" allnoconfig
	missing=$(grep -vxFf "$dir/o/.config" "$dir/config") || true
	if [ "$missing" ]; then
		echo "$0: this kernel does not allow" >&2
		echo "$missing" >&2
		exit 1
	fi
	echo "== building the $kind kernel in ${dir#"$top/"}, once; this takes minutes"
	if ! make_kernel vmlinux modules > "$dir/log" 2>&1; then
		tail -n 20 "$dir/log" >&2
		exit 1
	fi
	rm -rf "${dir:?}/lib"
	make_kernel INSTALL_MOD_PATH="$dir" modules_install > /dev/null
	release=$(cat "$dir/o/include/config/kernel.release")
	strip -g -o "$dir/vmlinux" "$dir/o/vmlinux"
	depmod -b "$dir" "$release"
	echo "$release" > "$dir/release"
	rm -f "$dir/verified"
	cp "$source/stamp" "$dir/stamp"
}

[ -e "$dir/stamp" ] || build_kernel
ln -sfn "kernels/$key" "build/$kind-$version"

# The patched files need nothing from compat.h, so an empty one serves.
echo "== building loop.ko for $(cat "$dir/release")"
mkdir -p "$dir/module/compat"
cp -a Kbuild "$dir/module"
: > "$dir/module/compat/compat.h"
(cd "$source/series" && cp -a --parents drivers/block/loop.c drivers/block/loop/*.[ch] include \
	"$dir/module")
make -s --no-print-directory -C "$dir/o" M="$dir/module" CONFIG_BLK_DEV_LOOP_INJECT=y W=1 modules
cp "$dir/module/loop.ko" "$dir/loop.ko"
