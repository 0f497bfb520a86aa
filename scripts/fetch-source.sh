#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Downloads Debian's kernel source by package name through this machine's apt
# configuration and extracts what lint and the tests use, under
# build/linux-source: checkpatch and the kselftest framework.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
dir=$top/build/linux-source
package=linux-source-6.12

version() {
	apt-cache show --no-all-versions $package 2>/dev/null |
		sed -n 's/^Version: //p'
}

# The source stays if apt knows nothing newer, or nothing at all.
have=$(cat "$dir/stamp" 2>/dev/null || true)
key=$(version)
if [ -z "$key" ]; then
	[ -z "$have" ] || exit 0
	echo "== updating the package lists"
	apt-get -q=2 update
	key=$(version)
	[ "$key" ] || { echo "$0: apt knows no $package" >&2; exit 1; }
fi
[ "$have" != "$key" ] || exit 0

tmp=$top/build/linux-source.tmp
rm -rf "$tmp"
mkdir -p "$tmp"

# apt's own user often cannot write here, hence the sandbox option.
download() {
	(cd "$tmp" && apt-get -q=2 -o APT::Sandbox::User=root download $package)
}

echo "== downloading $package $key"
if ! download; then
	# The lists may name packages that the mirror does not have.
	echo "== updating the package lists"
	if ! { apt-get -q=2 update && key=$(version) && download; }; then
		rm -rf "$tmp"
		[ -n "$have" ] || exit 1
		echo "== download failed, keeping $have"
		exit 0
	fi
fi

echo "== extracting checkpatch and kselftest from $package"
# The tar file in the package has one top directory, named like the package.
tree=linux-source-6.12
dpkg-deb --fsys-tarfile "$tmp"/*.deb |
	tar -xO "./usr/src/$tree.tar.xz" | xz -T0 -dc |
	tar -x -C "$tmp" --strip-components=1 \
		"$tree/scripts/checkpatch.pl" \
		"$tree/scripts/spelling.txt" \
		"$tree/scripts/const_structs.checkpatch" \
		"$tree/scripts/kernel-doc" \
		"$tree/tools/include/uapi" \
		"$tree/tools/testing/selftests/lib.mk" \
		"$tree/tools/testing/selftests/kselftest" \
		"$tree/tools/testing/selftests/kselftest.h" \
		"$tree/tools/testing/selftests/kselftest_harness.h"
rm "$tmp"/*.deb
echo "$key" > "$tmp/stamp"
rm -rf "$dir"
mv "$tmp" "$dir"
