#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: fetch-binary.sh list [RELEASE]...
#        fetch-binary.sh newest RELEASE FLAVOUR
#        fetch-binary.sh NAME...
# Debian's binary kernels from 6.12 on, found by the names of their packages. A
# NAME is RELEASE-SERIES or RELEASE-SERIES-FLAVOUR, such as trixie-7.3 or
# trixie-6.12-rt, and means the newest package of that series whose headers the
# release has, in its updates, security updates or backports. "list" prints the
# names, and "newest" that of another machine's newest, whose FLAVOUR is arm64,
# arm64-16k or s390x: the compiler for it is then one of this machine.
# Each NAME is unpacked once, under build/binary/NAME:
#   release, vmlinux or vmlinuz, lib	what qemu/vm takes
#   root		the release itself in a directory, with what building a module
#			for the kernel takes, see build-binary.sh
#   headers		the kernel's headers, a directory inside root
#   machine, cross	for another machine: what Debian calls it, and what make
#			takes to build for it
#   stamp		the name of the image's package and its version
# Nothing is downloaded for a kernel that is there, whatever the release has by
# now. To have newer ones, remove build/binary, and build/roots for newer lists.
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

# What a command says is shown if it fails three times.
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
	# A mirror may stand still, and sid, which is signed anew each day, expires.
	if [ "$release" = sid ]; then
		echo "deb [check-valid-until=no] $mirror sid main"
		return
	fi
	echo "deb $mirror $release main"
	# Others than these have neither.
	case $machine in
	amd64 | arm64) ;;
	*) return 0 ;;
	esac
	echo "deb $mirror $release-updates main"
	echo "deb $mirror $release-backports main"
	[ -z "$security" ] || echo "deb $security $release-security main"
}

# use_release RELEASE [MACHINE]: makes its root, once, and sets release, root and
# machine. For another machine it has the cross compiler and that one's packages.
use_release() {
	release=$1
	machine=${2:-amd64}
	root=$top/build/roots/$release
	[ "$machine" = amd64 ] || root=$root-for-$machine
	[ ! -e "$root.stamp" ] || return 0
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
	# What a crash would spoil is made again.
	echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
	[ "$machine" = amd64 ] || in_root dpkg --add-architecture "$machine"
	retry in_root apt-get -q=2 update || fail "cannot read what Debian $release has"
	: > "$root.stamp"
}

# newest SERIES FLAVOUR: the kernel release of that
newest() {
	in_root apt-cache pkgnames "linux-headers-$1." |
		sed -n "s/^linux-headers-\([^-]*-$2\)\$/\1/p" | sort -V | tail -n 1
}

# The series that have headers of FLAVOUR, from 6.12 on.
series() {
	in_root apt-cache pkgnames linux-headers- |
		sed -n "s/^linux-headers-\([0-9]*\.[0-9]*\)\.[^-]*-$1\$/\1/p" |
		sort -Vu | while read -r version; do
		! printf '6.12\n%s\n' "$version" | sort -VC || echo "$version"
	done
}

# The other flavours are those of the series that a stable release came with.
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

# depends PACKAGE REGEX: what the package of the machine depends on that matches
depends() {
	in_root apt-cache depends "$1:$machine" | sed -n 's/^[ |]*Depends: //p' | grep -E "$2" || true
}

# In a bzImage the boot protocol says where the payload is.
field() {
	od -An -j "$1" -N "$2" -t "u$2" "$tmp/vmlinuz" | tr -d ' '
}

# QEMU starts a decompressed kernel by its PVH entry in less time.
decompress() {
	local start

	start=$(((($(field 497 1) + 1) * 512) + $(field 584 4)))
	tail -c "+$((start + 1))" "$tmp/vmlinuz" | head -c "$(field 588 4)" |
		zstd -q -dc > "$tmp/vmlinux" 2>/dev/null || true
	[ "$(head -c 4 "$tmp/vmlinux" | tail -c 3)" = ELF ] || rm -f "$tmp/vmlinux"
}

# The image is a package of its own, or depends on others with the binary, the
# modules, and the files that belong to both.
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

# install_tools PACKAGE...: that, and what building takes
install_tools() {
	local suite from=()

	# Only what comes from backports has to be taken from there by name.
	suite=$(suite_of "linux-headers-$kernel:$machine")
	[[ $suite != *-backports ]] || from=(-t "$suite")
	in_root apt-get -q=2 install -y --no-install-recommends "${from[@]}" \
		make gcc libc6-dev kmod perl python3 "$@"
}

# What the GNU tools call the machine
gnu() {
	echo "${machine/arm64/aarch64}-linux-gnu"
}

# The headers of another machine want its compiler as a program of that machine,
# and are unpacked instead; what they need else is this machine's or anyone's.
download_headers() {
	local needed

	mapfile -t needed < <(depends "linux-headers-$kernel" '^<?linux-(kbuild|headers)-' |
		sed 's/:.*//; s/[<>]//g' | sort -u)
	install_tools "gcc-$(gnu)" "libc6-dev-$machine-cross" "${needed[@]}" || return
	in_root sh -c 'cd /tmp && rm -f ./*.deb && apt-get -q=2 -o APT::Sandbox::User=root \
		-o Acquire::Retries=3 download "$@" && dpkg-deb -x ./*.deb / && rm ./*.deb' \
		sh "linux-headers-$kernel:$machine"
}

# The suite that has the newest version of a package.
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
