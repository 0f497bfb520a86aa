#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Downloads the kernel the VM boots, with its modules and headers, by package
# name through this machine's apt configuration, and unpacks it under
# build/kernel. Nothing is installed. Afterwards there are:
#   build/kernel/release		the kernel release (uname -r)
#   build/kernel/vmlinuz, vmlinux	the image, and the same decompressed
#   build/kernel/headers		the headers, to be used as KDIR
#   build/kernel/lib/modules/RELEASE
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
dir=$top/build/kernel
series=6.12

# Prints the first dependency of package $1 that matches the extended regex $2.
depends() {
	apt-cache depends "$1" 2>/dev/null |
		sed -n 's/^[ |]*Depends: //p' | grep -Em1 "$2"
}

# Prints the newest package of headers of that series. Debian 12 and 13 have no metapackage
# with the same name that depends on it.
newest_headers() {
	apt-cache search --names-only "^linux-headers-$series\.[0-9][^-]*-amd64\$" |
		sed 's/ .*//' | sort -V | tail -n 1
}

# Sets image, headers, common, kbuild (package names) and key (their version).
resolve() {
	headers=$(newest_headers) && [ "$headers" ] &&
	image=linux-image-${headers#linux-headers-} &&
	common=$(depends "$headers" '^linux-headers-.*-common$') &&
	kbuild=$(depends "$headers" '^linux-kbuild-') &&
	version=$(apt-cache show --no-all-versions "$image" | sed -n 's/^Version: //p') &&
	key="$image $version"
}

# An unpacked kernel stays if apt knows no newer one, or none at all.
have=$(cat "$dir/stamp" 2>/dev/null || true)
if ! resolve; then
	[ -z "$have" ] || exit 0
	echo "== updating the package lists"
	apt-get -q=2 update
	resolve || { echo "$0: apt knows no Linux $series" >&2; exit 1; }
fi
[ "$have" != "$key" ] || exit 0

tmp=$top/build/kernel.tmp
rm -rf "$tmp"
mkdir -p "$tmp/debs"

# apt's own user often cannot write here, hence the sandbox option.
download() {
	(cd "$tmp/debs" && apt-get -q=2 -o APT::Sandbox::User=root download \
		"$image" "$headers" "$common" "$kbuild")
}

echo "== downloading $image $version, its headers and kbuild"
if ! download; then
	# The lists may name packages that the mirror does not have.
	echo "== updating the package lists"
	if ! { apt-get -q=2 update && resolve && download; }; then
		rm -rf "$tmp"
		[ -n "$have" ] || exit 1
		echo "== download failed, keeping $have"
		exit 0
	fi
fi

echo "== unpacking under build/kernel"
for deb in "$tmp"/debs/*.deb; do
	dpkg-deb -x "$deb" "$tmp"
done
rm -rf "$tmp/debs"
# Debian 13 has its modules only below usr.
[ -d "$tmp/lib" ] || ln -s usr/lib "$tmp/lib"

release=${image#linux-image-}
echo "$release" > "$tmp/release"
ln -s "boot/vmlinuz-$release" "$tmp/vmlinuz"
ln -s "usr/src/$headers" "$tmp/headers"

# The packages expect to be installed in /usr; the headers name each other by
# absolute paths. The links between them are relative and fine.
grep -rlI --include=Makefile --include=.kernelvariables '/usr/\(src\|lib\)/linux-' \
	"$tmp/usr/src/$headers" "$tmp/usr/src/$common" |
	xargs -r sed -i "s,/usr/\(src\|lib\)/linux-,$dir/usr/\1/linux-,g"
ln -sfn "$dir/usr/src/$headers" "$tmp/lib/modules/$release/build"
ln -sfn "$dir/usr/src/$common" "$tmp/lib/modules/$release/source"

# QEMU can start a decompressed kernel by its PVH entry, which saves the time
# of decompressing it in an emulated machine at each boot. The boot protocol
# says where the payload of a bzImage is.
field() {
	od -An -j "$1" -N "$2" -t "u$2" "$tmp/vmlinuz" | tr -d ' '
}
start=$(((($(field 497 1) + 1) * 512) + $(field 584 4)))
tail -c "+$((start + 1))" "$tmp/vmlinuz" | head -c "$(field 588 4)" |
	zstd -q -dc > "$tmp/vmlinux" 2>/dev/null || true
[ "$(head -c 4 "$tmp/vmlinux" | tail -c 3)" = ELF ] || rm -f "$tmp/vmlinux"

echo "== running depmod for $release"
depmod -b "$tmp" "$release"

echo "$key" > "$tmp/stamp"
rm -rf "$dir"
mv "$tmp" "$dir"
