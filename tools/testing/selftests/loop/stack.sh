#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measures the depth of the kernel's stack with the stack tracer: file systems on loop
# devices on files of file systems, with inline I/O and without, and the lower file system
# alone.  It is not a test: it prints a table, and the deepest stack.
#
# usage: stack.sh [-d DISK] [KIND...]
#
#   -d DISK   is overwritten; a RAM disk if none is given
#   KIND      what the lower file system is on: disk, dm-crypt, dm-raid1 (which is md's)
#             or dm-thin, on that disk; all of them if none is given

# shellcheck disable=SC2119 # loop_load takes arguments elsewhere
cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh

tracing=/sys/kernel/tracing
low=$LOOP_SCRATCH/low
deepest=0

finish()
{
	echo 0 > /proc/sys/kernel/stack_tracer_enabled
	loop_detach_all
	scratch_exit
}

scratch_init || exit 1
trap finish EXIT
loop_load || exit 1
mkdir -p "$low"
mountpoint -q "$tracing" || mount -t tracefs tracefs "$tracing"
[ -e "$tracing/stack_max_size" ] || { echo "no stack tracer"; exit 1; }
disk=''
if [ "$1" = -d ]; then
	disk=$2
	shift 2
fi
disk=${disk:-$(brd_take)}
other=$(brd_take)
[ $# -gt 0 ] || set -- disk dm-crypt dm-raid1 dm-thin
for name in dm_crypt xfs btrfs; do
	modprobe -q $name
done

# work DIRECTORY: writes, reads and syncs, direct and buffered
work()
{
	local direct

	for direct in 0 1; do
		fio --name=work --directory="$1" --size=4M --rw=randrw --bsrange=4k-64k \
			--direct=$direct --ioengine=libaio --iodepth=8 --fsync=32 \
			--fallocate=none --unlink=1 --output=/dev/null || return
	done
	cp /bin/bash "$1/file" && sync -f "$1" && "$helper" forget "$1/file" &&
		cmp /bin/bash "$1/file" && rm "$1/file"
}

# depth DIRECTORY: sets bytes to the largest use of the stack during work
depth()
{
	echo 0 > "$tracing/stack_max_size"
	echo 1 > /proc/sys/kernel/stack_tracer_enabled
	work "$1" || exit 1
	echo 0 > /proc/sys/kernel/stack_tracer_enabled
	bytes=$(cat "$tracing/stack_max_size")
	if [ "$bytes" -gt "$deepest" ]; then
		deepest=$bytes
		cat "$tracing/stack_trace" > "$LOOP_SCRATCH/deepest"
	fi
}

# on_loop LEVELS ABOVE FILE-SYSTEM-BELOW: mounts one on the other; prints the top
on_loop()
{
	local at=$low i dev type

	for ((i = 1; i <= $1; i++)); do
		type=$2
		[ "$i" = "$1" ] || type=$3
		truncate -s "$((340 * ($1 - i + 1)))M" "$at/image" || return
		dev=$(attach "$at/image" --direct-io=on) && make_fs "$type" "$dev" >&2 &&
			mkdir -p "$low-$i" && mount "$dev" "$low-$i" || return
		at=$low-$i
	done
	echo "$at"
}

off_loop()
{
	local i

	for ((i = $1; i > 0; i--)); do
		# the file of the device above is on this file system
		loop_detach_all
		umount "$low-$i" || return
	done
	loop_detach_all
	rm -f "$low/image"
}

# row BELOW DISK LEVELS ABOVE
row()
{
	local top inline

	top=$(on_loop "$3" "$4" "$1" 2> "$LOOP_SCRATCH/log") || {
		cat "$LOOP_SCRATCH/log"
		exit 1
	}
	echo Y > /sys/module/loop/parameters/inline_io
	depth "$top"
	inline=$bytes
	echo N > /sys/module/loop/parameters/inline_io
	depth "$top"
	off_loop "$3" || exit 1
	printf '%-6s %-10s %6d  %-6s %8d %8d\n' "$1" "$2" "$3" "$4" "$inline" "$bytes"
}

# below FILE-SYSTEM DISK NAME
below()
{
	make_fs "$1" "$2" > /dev/null 2>&1
	mount "$2" "$low" || exit 1
	depth "$low"
	printf '%-6s %-10s %6s  %-6s %8d\n' "$1" "$3" - - "$bytes"
	for above in ext4 xfs btrfs; do
		row "$1" "$3" 1 $above
	done
	[ "$1" != xfs ] || row xfs "$3" 2 xfs
	umount "$low" || exit 1
}

# lower_make KIND: sets lower
lower_make()
{
	local sectors

	sectors=$(blockdev --getsz "$disk")
	lower=$mapper-$1
	case $1 in
	disk) lower=$disk ;;
	dm-crypt)
		map_to "$1" "0 $sectors crypt aes-xts-plain64 $(printf '%064d' 1) 0 $disk 0"
		;;
	dm-raid1) map_to "$1" "0 $sectors raid raid1 2 0 nosync 2 - $disk - $other" ;;
	dm-thin)
		dd if=/dev/zero of="$other" bs=4k count=1 conv=fsync status=none &&
			map_to pool "0 $sectors thin-pool $other $disk 128 0" &&
			dmsetup message loop-selftest-pool 0 "create_thin 0" &&
			map_to "$1" "0 $sectors thin $mapper-pool 0"
		;;
	esac
}

lower_remove()
{
	case $1 in
	disk) ;;
	dm-thin) unmap_it "$1" && unmap_it pool ;;
	*) unmap_it "$1" ;;
	esac
}

printf '%-6s %-10s %6s  %-6s %8s %8s\n' below disk levels above inline workers
for kind in "$@"; do
	lower_make "$kind" || exit 1
	for fs in ext4 xfs btrfs; do
		below $fs "$lower" "$kind"
	done
	lower_remove "$kind" || exit 1
done
echo
cat "$LOOP_SCRATCH/deepest"
