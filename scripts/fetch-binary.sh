#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: fetch-binary.sh list [RELEASE]...
#        fetch-binary.sh newest RELEASE FLAVOUR
#        fetch-binary.sh NAME...
# This finds and downloads Debian's binary kernels from 6.12 on, by the names of their
# packages. A NAME is RELEASE-SERIES or RELEASE-SERIES-FLAVOUR, such as trixie-7.3 or
# trixie-6.12-rt, and means the newest package of that series whose headers the
# release has, in its updates, security updates or backports. "list" prints the names.
# "newest" prints the name of the newest kernel for another machine, whose FLAVOUR is arm64,
# arm64-16k or s390x; a cross compiler then builds the module.
# Each NAME is unpacked once, under build/binary/NAME:
#   release, vmlinux or vmlinuz, lib	the files that qemu/vm needs
#   root		the release in a directory, with the packages that are needed
#			to build a module for the kernel, see build-binary.sh
#   headers		the kernel's headers, a directory inside root
#   machine, cross	for another machine: its name in Debian, and the arguments of
#			make to build for it
#   stamp		the name of the image's package and its version
# A kernel that has been unpacked stays, also if the release has a newer one. To have newer
# ones, remove build/binary, and build/roots for newer lists.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
releases=(bookworm trixie sid)

fail() {
	echo "$0: $*" >&2
	exit 1
}

in_root() {
	chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# retry COMMAND...: runs it up to three times, and prints its output if all of them fail
retry() {
	local log=$top/build/roots/log

	for _ in 1 2 3; do
		! "$@" < /dev/null > "$log" 2>&1 || return 0
		sleep 5
	done
	tail -n 20 "$log" >&2
	return 1
}

sources() {
	local mirror security

	mirror=$(scripts/mirror.sh)
	security=$(scripts/mirror.sh Debian-Security)
	# The lists of sid expire after some days, and a mirror may not be updated for longer.
	if [ "$release" = sid ]; then
		echo "deb [check-valid-until=no] $mirror sid main"
		return
	fi
	echo "deb $mirror $release main"
	# The mirrors have no updates and backports of other machines.
	case $machine in
	amd64 | arm64) ;;
	*) return 0 ;;
	esac
	echo "deb $mirror $release-updates main"
	echo "deb $mirror $release-backports main"
	[ -z "$security" ] || echo "deb $security $release-security main"
}

# use_release RELEASE [MACHINE]: makes its root, once, and sets release, root and
# machine. The root for another machine has the cross compiler, and packages of that machine.
use_release() {
	release=$1
	machine=${2:-amd64}
	root=$top/build/roots/$release
	[ "$machine" = amd64 ] || root=$root-for-$machine
	[ ! -e "$root.stamp" ] || return 0
	scripts/deps.sh roots >&2
	[ "$(scripts/mirror.sh)" ] || retry apt-get -q=2 update ||
		fail "apt knows no Debian mirror"
	echo "== making a Debian $release in ${root#"$top/"}, once; this takes minutes" >&2
	mkdir -p build/roots
	make_root() {
		rm -rf "$root"
		debootstrap --variant=minbase --keyring="$keyring" "$release" "$root" \
			"$(scripts/mirror.sh)"
	}
	retry make_root || fail "cannot make a Debian $release"
	sources > "$root/etc/apt/sources.list"
	rm -f "$root"/etc/apt/sources.list.d/*
	# The root need not survive a crash.
	echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
	[ "$machine" = amd64 ] || in_root dpkg --add-architecture "$machine"
	retry in_root apt-get -q=2 update || fail "cannot read what Debian $release has"
	: > "$root.stamp"
}

# newest SERIES FLAVOUR: prints the newest kernel release
newest() {
	in_root apt-cache pkgnames "linux-headers-$1." |
		sed -n "s/^linux-headers-\([^-]*-$2\)\$/\1/p" | sort -V | tail -n 1
}

# series FLAVOUR: prints the series from 6.12 on that have headers of FLAVOUR
series() {
	in_root apt-cache pkgnames linux-headers- |
		sed -n "s/^linux-headers-\([0-9]*\.[0-9]*\)\.[^-]*-$1\$/\1/p" |
		sort -Vu | while read -r version; do
		! printf '6.12\n%s\n' "$version" | sort -VC || echo "$version"
	done
}

# Prints the names of the release. Only the series with which trixie was released also has
# its other flavours here.
list() {
	local version flavour

	for version in $(series amd64); do
		echo "$release-$version"
		if [ "$version" != 6.12 ] || [ "$release" != trixie ]; then
			continue
		fi
		for flavour in rt cloud; do
			[ -z "$(newest "$version" $flavour-amd64)" ] ||
				echo "$release-$version-$flavour"
		done
	done
}

# depends PACKAGE REGEX: prints the dependencies of the machine's package that match
depends() {
	in_root apt-cache depends "$1:$machine" | sed -n 's/^[ |]*Depends: //p' | grep -E "$2" || true
}

# field OFFSET SIZE: prints a number of the image. In a bzImage, the boot protocol tells
# where the payload is.
field() {
	od -An -j "$1" -N "$2" -t "u$2" "$tmp/vmlinuz" | tr -d ' '
}

# QEMU starts a decompressed kernel by its PVH entry, which takes less time.
decompress() {
	local start

	start=$(((($(field 497 1) + 1) * 512) + $(field 584 4)))
	tail -c "+$((start + 1))" "$tmp/vmlinuz" | head -c "$(field 588 4)" |
		zstd -q -dc > "$tmp/vmlinux" 2>/dev/null || true
	[ "$(head -c 4 "$tmp/vmlinux" | tail -c 3)" = ELF ] || rm -f "$tmp/vmlinux"
}

# The package of the image contains all of it, or depends on packages with the binary, the
# modules, and other files.
download() {
	local packages deb

	mapfile -t packages < <(depends "linux-image-$kernel" '^linux-(base-[0-9]|binary-|modules-)')
	rm -rf "$root/debs"
	mkdir "$root/debs"
	in_root sh -c 'cd /debs && exec apt-get -q=2 -o APT::Sandbox::User=root \
		-o Acquire::Retries=3 download "$@"' sh \
		"linux-image-$kernel:$machine" "${packages[@]}" || return
	if [ "$machine" = amd64 ]; then
		install_tools "linux-headers-$kernel" || return
	else
		download_headers || return
	fi
	in_root apt-get -q=2 clean
	for deb in "$root"/debs/*.deb; do
		dpkg-deb -x "$deb" "$tmp" || return
	done
	rm -rf "$root/debs"
}

# install_tools PACKAGE...: installs these, and the packages that are needed to build
install_tools() {
	local suite from=()

	# apt installs packages from backports only if that suite is named.
	suite=$(suite_of "linux-headers-$kernel:$machine")
	[[ $suite != *-backports ]] || from=(-t "$suite")
	in_root apt-get -q=2 install -y --no-install-recommends "${from[@]}" \
		make gcc libc6-dev kmod perl python3 "$@"
}

# Prints the name of the machine in GNU tools.
gnu() {
	echo "${machine/arm64/aarch64}-linux-gnu"
}

# The headers of another machine depend on a compiler that runs on that machine, so they are
# unpacked and not installed. Their other dependencies are installed.
download_headers() {
	local needed

	mapfile -t needed < <(depends "linux-headers-$kernel" '^<?linux-(kbuild|headers)-' |
		sed 's/:.*//; s/[<>]//g' | sort -u)
	install_tools "gcc-$(gnu)" "libc6-dev-$machine-cross" "${needed[@]}" || return
	in_root sh -c 'cd /tmp && rm -f ./*.deb && apt-get -q=2 -o APT::Sandbox::User=root \
		-o Acquire::Retries=3 download "$@" && dpkg-deb -x ./*.deb / && rm ./*.deb' \
		sh "linux-headers-$kernel:$machine"
}

# suite_of PACKAGE: prints the suite that has its newest version
suite_of() {
	in_root apt-cache madison "$1" | sed -n '1s/.*| [^ ]* \([^ /]*\)\/.*/\1/p'
}

fetch() {
	local name=$1 dir=$top/build/binary/$1 tmp=$top/build/binary/$1.tmp
	local version flavour kernel image key

	[ ! -e "$dir/stamp" ] || return 0
	version=${name#*-}
	flavour=${version#*-}
	case $flavour in
	arm64* | s390x)
		use_release "${name%%-*}" "${flavour%%-*}"
		;;
	*)
		use_release "${name%%-*}"
		[ "$flavour" != "$version" ] && flavour=$flavour-amd64 || flavour=amd64
		;;
	esac
	kernel=$(newest "${version%%-*}" "$flavour")
	[ "$kernel" ] || fail "Debian $release has no headers for $name"
	echo "== downloading linux-image-$kernel, and headers into ${root#"$top/"}" >&2
	rm -rf "$tmp"
	mkdir -p "$tmp"
	retry download || { retry in_root apt-get -q=2 update && retry download; } ||
		fail "cannot download $kernel"
	key="linux-image-$kernel $(in_root apt-cache show --no-all-versions \
		"linux-image-$kernel:$machine" | sed -n 's/^Version: //p')"
	[ -d "$tmp/lib" ] || ln -s usr/lib "$tmp/lib"
	image=boot/vmlinuz-$kernel
	[ -e "$tmp/$image" ] || image=lib/modules/$kernel/vmlinuz
	ln -s "$image" "$tmp/vmlinuz"
	ln -s "../../roots/${root##*/}" "$tmp/root"
	if [ "$machine" != amd64 ]; then
		echo "$machine" > "$tmp/machine"
		echo "ARCH=${machine%x} CROSS_COMPILE=$(gnu)-" > "$tmp/cross"
	fi
	ln -s "root/usr/src/linux-headers-$kernel" "$tmp/headers"
	[ "$machine" != amd64 ] || decompress
	echo "$kernel" > "$tmp/release"
	depmod -b "$tmp" "$kernel"
	echo "$key" > "$tmp/stamp"
	rm -rf "$dir"
	mv "$tmp" "$dir"
}

[ $# -gt 0 ] || fail "list [RELEASE]... | newest RELEASE FLAVOUR | NAME..."
if [ "$1" = list ]; then
	shift
	[ $# = 0 ] || releases=("$@")
	for release in "${releases[@]}"; do
		use_release "$release"
		list
	done
elif [ "$1" = newest ]; then
	use_release "$2" "${3%%-*}"
	version=$(series "$3" | tail -n 1)
	[ "$version" ] || fail "Debian $2 has no kernel $3"
	echo "$2-$version-$3"
else
	for name in "$@"; do
		fetch "$name"
	done
fi
