#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Unpacks Debian's cross compiler for arm64 under build/cross, once, as
#   build/cross/usr/bin/aarch64-linux-gnu-gcc-12
# It cannot be installed beside gcc-multilib, which the 32-bit test programs
# need, but works from this directory. binutils-aarch64-linux-gnu has to be installed.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
dir=$top/build/cross

[ ! -e "$dir" ] || exit 0

tmp=$dir.tmp
rm -rf "$tmp"
mkdir -p "$tmp"

# apt's own user often cannot write here, hence the sandbox option.
download() {
	(cd "$tmp" && apt-get -q=2 -o APT::Sandbox::User=root download \
		gcc-12-aarch64-linux-gnu cpp-12-aarch64-linux-gnu)
}

echo "== downloading gcc-12-aarch64-linux-gnu"
# The lists may be missing, or name packages that the mirror does not have.
download || { apt-get -q=2 update && download; }
for deb in "$tmp"/*.deb; do
	dpkg-deb -x "$deb" "$tmp"
done
rm "$tmp"/*.deb
# The compiler looks for the assembler here.
ln -s /usr/aarch64-linux-gnu "$tmp/usr/aarch64-linux-gnu"
mv "$tmp" "$dir"
