#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes build/package/root, once: the Debian release of this machine in a
# directory, for the VMs of check-package.sh. It has DKMS and two kernels with
# their headers: that of build/kernel, and the release's own, 6.1 in Debian 12;
# and manpages, which has pages of loop and loop-control.
# The other files in build/package let qemu/vm boot it, see VM_KERNEL there. Packages come
# from the places that this machine has Debian from.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
scripts/fetch-kernel.sh
release=$(cat build/kernel/release)
dir=$top/build/package
root=$dir/root
key="$release $(cksum < "$0")"
[ "$(cat "$dir/stamp" 2>/dev/null || true)" != "$key" ] || exit 0

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(scripts/mirror.sh)
[ "$mirror" ] || { echo "$0: apt knows no Debian mirror" >&2; exit 1; }

in_root() {
	chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

quiet() {
	if ! "$@" > "$dir/log" 2>&1; then
		tail -n 20 "$dir/log" >&2
		exit 1
	fi
}

echo "== making a Debian $suite in build/package/root, once; this takes minutes"
rm -rf "$dir"
mkdir -p "$dir"
quiet debootstrap --variant=minbase --keyring="$keyring" "$suite" "$root" "$mirror"
rm -f "$root/etc/apt/sources.list"
cp -a /etc/apt/sources.list* "$root/etc/apt/"

# Nothing boots the initramfs, so a short one with the loop driver is enough.
quiet in_root apt-get -q=2 update
quiet in_root apt-get -q=2 install -y --no-install-recommends initramfs-tools
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=gzip/' \
	"$root/etc/initramfs-tools/initramfs.conf"
echo loop > "$root/etc/initramfs-tools/modules"
quiet in_root apt-get -q=2 install -y --no-install-recommends \
	"linux-image-$release" "linux-headers-$release" \
	linux-image-amd64 linux-headers-amd64 \
	dkms gcc libc6-dev libsmartcols-dev pkgconf openssl kmod util-linux mount \
	e2fsprogs manpages
in_root apt-get -q=2 clean

# depmod and others read all modules, which takes minutes in an emulated machine.
find "$root"/lib/modules/*/kernel/* -prune ! -name fs ! -name crypto ! -name lib \
	! -name net ! -name drivers -exec rm -r {} +
find "$root"/lib/modules/*/kernel/drivers/* -prune ! -name block ! -name virtio \
	! -name char -exec rm -r {} +
find "$root"/lib/modules/*/kernel/net/* -prune ! -name 9p -exec rm -r {} +
for kernel in "$root"/lib/modules/*; do
	depmod -b "$root" "${kernel##*/}"
done
rm -rf "$root"/var/lib/apt/lists/*

cp -L build/kernel/vmlinuz "$dir/vmlinuz"
[ ! -e build/kernel/vmlinux ] || cp build/kernel/vmlinux "$dir/"
ln -s root/lib "$dir/lib"
echo "$release" > "$dir/release"
echo "root=$root" > "$dir/options"
echo "$key" > "$dir/stamp"
