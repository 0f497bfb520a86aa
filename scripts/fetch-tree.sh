#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: fetch-tree.sh VERSION
# Downloads Debian's linux-source-VERSION by package name and unpacks it, once:
#   build/linux-VERSION/src	the tree, which stays as it is
#   build/linux-VERSION/stamp	the version of the package
# If this machine's suites do not have the package, this looks for it in $suite, on the
# mirror that this machine uses, with an apt configuration under build/. To have a newer
# package, remove build/linux-VERSION.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
version=${1:?usage: $0 VERSION}
dir=$top/build/linux-$version
package=linux-source-$version
suite=trixie-backports
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

[ ! -e "$dir/stamp" ] || exit 0

tmp=$dir.tmp
rm -rf "$tmp"
mkdir -p "$tmp/src" "$tmp/apt/lists/partial" "$tmp/apt/cache/archives/partial"

# The options of apt that select another configuration, or nothing
other=

# apt's own user often cannot write here, hence the sandbox option.
# shellcheck disable=SC2086 # a list of words
get() {
	apt-get -q=2 -o APT::Sandbox::User=root $other "$@"
}

# shellcheck disable=SC2086
package_version() {
	apt-cache $other show --no-all-versions "$package" 2>/dev/null |
		sed -n 's/^Version: //p'
}

have_lists() {
	[ "$("$top/scripts/mirror.sh")" ] || { echo "== updating the package lists" && get update; }
}

use_suite() {
	signed=
	[ ! -e $keyring ] || signed="[signed-by=$keyring] "
	echo "deb $signed$("$top/scripts/mirror.sh") $suite main" > "$tmp/apt/sources.list"
	other="-o Dir::Etc::SourceList=$tmp/apt/sources.list
		-o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists=$tmp/apt/lists
		-o Dir::Cache=$tmp/apt/cache
		-o Acquire::Languages=none"
	echo "== updating the package lists of $suite"
	get update
}

download() {
	key=$(package_version)
	[ "$key" ] || return 1
	echo "== downloading $package $key"
	(cd "$tmp" && get download "$package")
}

fail() {
	echo "$0: $*" >&2
	rm -rf "$tmp"
	exit 1
}

have_lists
if [ "$(package_version)" ]; then
	# The lists may name a package that the mirror does not have.
	download || { get update && download; } || fail "cannot download $package"
else
	use_suite
	download || fail "neither this machine's suites nor $suite have $package"
fi

echo "== unpacking under build/linux-$version"
# The tar file in the package has one top directory, named like the package.
dpkg-deb --fsys-tarfile "$tmp/$package"_*.deb |
	tar -xO "./usr/src/$package.tar.xz" | xz -T0 -dc |
	tar -x -C "$tmp/src" --strip-components=1
[ -e "$tmp/src/MAINTAINERS" ] || fail "$package holds no kernel tree"
rm -rf "$tmp/$package"_*.deb "$tmp/apt"
echo "$key" > "$tmp/stamp"
rm -rf "$dir"
mv "$tmp" "$dir"
