#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# File systems on loop devices on files of file systems, in all pairs: I/O of a mounted
# file system is inline, and its data are right.  On the debug kernel lockdep watches the
# locks of both file systems.

# shellcheck disable=SC2317,SC2119 # claims call functions by name
cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup fio mkfs.ext4 mkfs.xfs mkfs.btrfs
tap_start

types="ext4 xfs btrfs"
top=$LOOP_SCRATCH/top

finish()
{
	loop_detach_all
	scratch_exit
}

BRD_KIB=1048576
test_begin
mkdir "$top"
declare -A on
for type in $types; do
	on[$type]=$(scratch_fs "$type") || bail_out "no $type"
done

# work DIRECTORY: verified writes, direct, buffered and mapped
work()
{
	local engine

	for engine in libaio,1 libaio,0 mmap,0; do
		fio --name=work --directory="$1" --size=2M --rw=randrw --bsrange=4k-64k \
			--verify=crc32c --ioengine="${engine%,*}" --direct="${engine#*,}" \
			--iodepth=8 --fsync=32 --fallocate=none --unlink=1 \
			--output=/dev/null || return
	done
}

# nested BELOW ABOVE on|off
nested()
{
	local file=${on[$1]}/image dev

	truncate -s "$(fs_size "$2")" "$file" && dev=$(attach_to "$file" "$3") &&
		make_fs "$2" "$dev" > /dev/null && mount "$dev" "$top" && snap "$dev" &&
		work "$top" && counted "$dev" inline && cp -r /usr/share/doc/fio "$top/" &&
		cp /bin/bash "$top/file" && umount "$top" && mount "$dev" "$top" && snap "$dev" &&
		cmp /bin/bash "$top/file" && diff -r /usr/share/doc/fio "$top/fio" || return
	# A mount reads ahead.  In buffered mode the file is cached.
	case $1-$3 in
	btrfs-on) counted "$dev" worker_file && uncounted "$dev" inline ;;
	*) counted "$dev" inline ;;
	esac && umount "$top" && check_fs "$2" "$dev" > /dev/null 2>&1 &&
		detach "$dev" && rm "$file"
}

for below in $types; do
	for above in $types; do
		claim "$above on $below, direct" nested "$below" "$above" on
		claim "$above on $below, buffered" nested "$below" "$above" off
	done
done

# chain LEVELS: each device has a file of xfs on the device below. The submitter leaves
# the deepest ones to workers, with stacks of their own.
chain()
{
	local at=${on[xfs]} devices=() i dev stacks=0

	for ((i = 0; i < $1; i++)); do
		truncate -s "$((350 * ($1 - i)))M" "$at/image" &&
			dev=$(attach_to "$at/image" on) && mkfs.xfs -q -f "$dev" &&
			mkdir -p "$top-$i" && mount "$dev" "$top-$i" || return
		devices+=("$dev") at=$top-$i
	done
	work "$at" || return
	for dev in "${devices[@]}"; do
		snap "$dev"
		stacks=$((stacks + was[worker_stack]))
	done
	echo "worker_stack: $stacks"
	for ((i = $1 - 1; i >= 0; i--)); do
		umount "$top-$i" && detach "${devices[i]}" || return
	done
	[ "$stacks" -gt 0 ]
}
claim "a chain of loop devices does not use up the stack" chain 8

test_end
