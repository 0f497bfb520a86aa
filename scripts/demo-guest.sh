#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make demo" runs this in the VM. It uses a partitioned image on a loop device, from the
# first open of /dev/loop-control to rmmod, and shows each command before its output.
set -eu

PATH=$(cd "$(dirname "$0")/../tools/loop" && pwd -P):$PATH

say() {
	printf '\n# %s\n' "$*"
}

# Shows and runs a command line.
run() {
	printf '$ %s\n' "$*"
	eval "$*"
}

# This does what Debian does at boot: it makes nodes from modules.devname, and then starts
# udev. The driver does not remove such a node, so the VM's leak check ignores it.
mkdir -p /run/tmpfiles.d
kmod static-nodes --format=tmpfiles --output=/run/tmpfiles.d/static-nodes.conf
systemd-tmpfiles --boot --prefix=/dev --create /run/tmpfiles.d/static-nodes.conf
: > /run/vm/static-nodes
/lib/systemd/systemd-udevd --daemon
cd /tmp

say "The driver is not loaded; its control node is there, from modules.devname"
run "grep '^loop ' /proc/modules || echo 'loop is not loaded'"
run "grep loop /lib/modules/$(uname -r)/modules.devname"
run "ls -l /dev/loop*"

say "Opening the control node loads it"
run "losetup -f"
run "grep '^loop ' /proc/modules"
run "modinfo -F filename loop"

say "An image with two partitions"
run "truncate -s 512M disk.img"
run "printf '%s\n' ,100M , | sfdisk -q -X gpt disk.img"
run "sfdisk -l disk.img"

say "Attached to a free device; the kernel finds the partitions, udev makes links"
run "dev=\$(loopctl attach --partscan --name demo disk.img); echo \$dev"
run "udevadm settle"
run "loopctl list"
run "lsblk -o NAME,SIZE,TYPE,RO,MAJ:MIN \$dev"

say "File systems on the partitions, mounted and written"
run "mkfs.ext4 -q \${dev}p1"
run "mkfs.xfs -q \${dev}p2"
run "mkdir -p /mnt/1 /mnt/2"
run "mount \${dev}p1 /mnt/1"
run "mount \${dev}p2 /mnt/2"
run "cp /etc/passwd /etc/debian_version /mnt/1"
run "dd if=/dev/urandom of=/mnt/2/random bs=1M count=8 conv=fsync status=none"
run "sync"
run "sha256sum /mnt/2/random > sum"
run "df -h --output=source,fstype,used,target /mnt/1 /mnt/2"

say "Unmounted and checked"
run "umount /mnt/1 /mnt/2"
run "fsck.ext4 -fn \${dev}p1"
run "xfs_repair -n \${dev}p2 > /dev/null 2>&1 && echo xfs is clean"

say "The device, and the paths that its I/O took"
run "loopctl show \$dev"

say "Detached, attached again with losetup, and the data are there"
run "loopctl detach \$dev"
run "dev=\$(losetup -f --show -P disk.img); echo \$dev"
run "udevadm settle"
run "mount \${dev}p2 /mnt/2"
run "sha256sum -c sum"

say "A device on a file on a device: direct I/O on it, and what both do meanwhile"
run "top=\$(loopctl attach --direct-io /mnt/2/random); echo \$top"
run "fio --name=demo --filename=\$top --rw=randrw --bs=4k --direct=1 --fsync=16 --time_based --runtime=15 --output=fio.log &"
run "timeout 13 loopctl stat --watch --interval 4 || true"
run "wait"
run "loopctl detach --timeout 10 \$top"
run "umount /mnt/2"

say "Detached and gone; the module goes, too"
run "loopctl detach \$dev"
run "udevadm settle"
run "loopctl list"
run "ls /sys/block/\${dev##*/}/loop 2>/dev/null || echo \$dev is detached"
run "rmmod loop"
run "ls -d /sys/block/loop* /sys/module/loop 2>/dev/null || echo nothing left"
udevadm control --exit
