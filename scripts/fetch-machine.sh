#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: fetch-machine.sh MACHINE RELEASE
# Makes build/roots/RELEASE-MACHINE, once: a Debian of another machine, for its VMs, with
# the packages that the groups of check-arch.sh need. This machine cannot run scripts of
# these packages, so their results are made by hand.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
machine=${1:?} release=${2:?}
root=$top/build/roots/$release-$machine
log=$root.log
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
packages=busybox-static,util-linux,fdisk,mount,kmod,udev,systemd,fio,e2fsprogs
packages+=,xfsprogs,btrfs-progs,f2fs-tools,dosfstools,exfatprogs,dmsetup,diffutils

[ ! -e "$root.stamp" ] || exit 0

download() {
	rm -rf "$root"
	debootstrap --foreign --arch="$machine" --variant=minbase --keyring="$keyring" \
		--include="$packages" "$release" "$root" "$("$top/scripts/mirror.sh")" \
		> "$log" 2>&1
}

echo "== making a Debian $release for $machine in ${root#"$top/"}, once; this takes minutes"
mkdir -p "$top/build/roots"
download || download || download || { tail -n 20 "$log" >&2; exit 1; }
for deb in "$root"/var/cache/apt/archives/*.deb; do
	dpkg-deb -x "$deb" "$root"
done
rm "$root"/var/cache/apt/archives/*.deb
rm -rf "$root/debootstrap"
# In a container, debootstrap makes proc a link.
[ ! -L "$root/proc" ] || { rm "$root/proc" && mkdir "$root/proc"; }
for name in passwd group; do
	cp "$root/usr/share/base-passwd/$name.master" "$root/etc/$name"
done
ln -sf mawk "$root/usr/bin/awk"
: > "$root.stamp"
