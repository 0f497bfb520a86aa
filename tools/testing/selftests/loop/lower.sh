#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Limits of the device below.  If it cannot do direct I/O without waiting, inline I/O is
# not tried: the driver knows that before the first bio for one device, and after the
# first try for a file system on several.  If it cannot do I/O from memory at any address,
# the data are copied, and what is beside them stays.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup dmsetup mkfs.ext4 mkfs.xfs mkfs.btrfs
tap_start

crypt=loop-selftest
at=$LOOP_SCRATCH/at

finish()
{
	loop_detach_all
	umount "$at" 2>/dev/null
	! dmsetup info "$crypt" >/dev/null 2>&1 || dmsetup remove --noudevsync "$crypt"
	scratch_exit
}

test_begin
mkdir "$at"
disk=$(brd_take) || bail_out "no RAM disk"
disk2=$(brd_take) || bail_out "no second RAM disk"
sectors=$(blockdev --getsz "$disk")

map()
{
	dmsetup create --noudevsync "$crypt" --table "$1" || return
	[ -e "$mapper" ] || dmsetup mknodes "$crypt"
}

unmap()
{
	dmsetup remove --noudevsync --retry "$crypt"
}

encrypted()
{
	map "0 $sectors crypt aes-xts-plain64 $(printf '%064d' 1) 0 $disk 0"
}

# io DEVICE: makes as many writes as reads, one after the other
io()
{
	dd if="$1" of=/dev/null bs=4k count=64 iflag=direct status=none &&
		dd if=/dev/zero of="$1" bs=4k count=64 oflag=direct conv=notrunc status=none
}

# tries DIRECTORY VAIN INLINE: of the I/O to a file there, the device below refuses at
# most VAIN tries, and INLINE are tried at all
tries()
{
	local dev vain inline ok=0

	written_image "$1/img" 128 && dev=$(attach_to "$1/img" on) || return
	snap "$dev"
	io "$dev" || ok=1
	all_since "$dev"
	vain=$(($(since "$dev" retry_late) + $(since "$dev" retry_error)))
	inline=$(since "$dev" inline)
	[ "$vain" -le "$2" ] || ok=1
	case $3 in
	none) [ "$inline" = 0 ] || ok=1 ;;
	all) [ $((inline + $(since "$dev" worker_backoff))) -ge 128 ] || ok=1 ;;
	esac
	detach "$dev"
	return "$ok"
}

# fs_on DEVICE TYPE: makes and mounts a file system
fs_on()
{
	make_fs "$2" "$1" >/dev/null
	mount -t "$2" -o noatime "$1" "$at" ||
		bail_out "no $2"
}

if modprobe -q dm_crypt && encrypted; then
	for fs in ext4 xfs; do
		fs_on "$mapper" $fs
		claim "$fs on dm-crypt: nothing is tried" tries "$at" 0 none
		umount "$at"
	done
	# This file system is on several devices, and the driver asks none of them.
	fs_on "$mapper" btrfs
	claim "btrfs on dm-crypt: nothing is tried in vain" tries "$at" 0 some
	umount "$at"
	# The data are on another device than that of the superblock.
	if mkfs.xfs -q -f -d rtinherit=1 -r rtdev="$mapper" "$disk2" >/dev/null &&
		mount -t xfs -o noatime,rtdev="$mapper" "$disk2" "$at"; then
		claim "xfs, its realtime device on dm-crypt: one try is in vain" \
			tries "$at" 1 some
		umount "$at"
	else
		tap_skip "xfs, its realtime device on dm-crypt" "no realtime device"
	fi
	unmap
else
	tap_skip "file systems on dm-crypt" "no dm-crypt"
fi

map "0 $sectors linear $disk 0"
fs_on "$mapper" ext4
claim "ext4 on dm-linear on a RAM disk: all is inline, nothing in vain" \
	tries "$at" 0 all
umount "$at"
unmap

# neighbours FILE: the blocks have 1 KiB, so four are in a page, and in a block of a file
# system; the memory begins with a block.
neighbours()
{
	local dev

	dev=$(attach_to "$1" on -b 1024) && neighbours_on "$dev"
}

# appended FILE: the same with a file that is open with O_APPEND
appended()
{
	local dev size

	size=$(stat -c %s "$1") && dev=$("$helper" attach-append "$1" 1024) &&
		neighbours_on "$dev" && same size "$size" "$(stat -c %s "$1")"
}

neighbours_on()
{
	local dev=$1 rc=0

	snap "$dev" || return
	"$helper" neighbours "$dev" 500 || rc=1
	[ "$(since "$dev" worker_align)" -ge 500 ] || { all_since "$dev"; rc=1; }
	detach "$dev"
	return "$rc"
}

if map "0 $sectors crypt aes-xts-plain64 $(printf '%064d' 1) 0 $disk 0 1 sector_size:1024" \
	2>/dev/null; then
	claim "dm-crypt, blocks of 1 KiB: unaligned memory beside aligned, nothing is lost" \
		neighbours "$mapper"
	for fs in ext4 xfs; do
		fs_on "$mapper" $fs
		written_image "$at/img" 64
		claim "$fs on dm-crypt, blocks of 1 KiB: unaligned memory beside aligned" \
			neighbours "$at/img"
		claim "$fs on dm-crypt, blocks of 1 KiB: a file that is open with O_APPEND" \
			appended "$at/img"
		umount "$at"
	done
	unmap
else
	tap_skip "dm-crypt, blocks of 1 KiB" "no dm-crypt"
fi

test_end
