#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# stress-ng on loop devices: on a file system, on a node, and while other devices are
# added and removed; with little memory, and while a processor goes and comes back.  In
# the end the file system has no errors and the device can be detached.
#
# LOOP_STRESS_NG_LONG=SECONDS runs each stressor of files or I/O for that time, one after
# the other, on several file systems, and the rest for 60 times as long. Otherwise the most
# effective ones run all at once.

# shellcheck disable=SC2119,SC2317 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup stress-ng mkfs.ext4 e2fsck
tap_start

long=${LOOP_STRESS_NG_LONG:-}
cpu1=/sys/devices/system/cpu/cpu1/online

at_once=(--aio 1 --dentry 1 --dir 1 --fallocate 1
	--fallocate-bytes 8m --fiemap 1 --fiemap-bytes 8m --hdd 1 --hdd-bytes 8m
	--iomix 1 --iomix-bytes 8m --mmap 1 --mmap-file --mmap-bytes 4m
	--rawdev 1 --readahead 1 --readahead-bytes 8m --rename 1 --seek 1 --seek-size 8m
	--sync-file 1 --sync-file-bytes 8m --xattr 1)
# io-uring of version 0.15 takes an ENOENT that it causes itself for a failure.
one_by_one=(--class "filesystem,io" --sequential 1 --exclude io-uring)

# stress SECONDS ARGUMENT...
stress()
{
	stress-ng --quiet --verify --oomable --timeout "$@"
}

# on_file_system TYPE on|off SECONDS ARGUMENT...: runs stressors on that file system and
# on the node of its device
on_file_system()
{
	local type=$1 mode=$2 dev rc=0

	shift 2
	image "$base/img" 300M
	dev=$(attach_to "$base/img" "$mode") && make_fs "$type" "$dev" &&
		mount "$dev" "$at" || return
	stress "$@" --temp-path "$at" --dev 1 --dev-file "$dev" || rc=$?
	umount "$at" && check_fs "$type" "$dev" && detach "$dev" && return "$rc"
}

# short_of_memory SECONDS ARGUMENT...: with 64 MiB, page cache included
short_of_memory()
{
	local rc=0

	groups_start && echo 64M > "$groups/a/memory.max" || return
	(
		echo "$BASHPID" > "$groups/a/cgroup.procs" && on_file_system ext4 "$@"
	) || rc=$?
	groups_end
	return "$rc"
}

hotplug()
{
	local rc=0

	on_file_system ext4 "$@" --cpu-online 1 || rc=$?
	echo 1 > "$cpu1"
	return "$rc"
}

test_begin
base=$(scratch_fs ext4) || bail_out "no ext4"
mkdir "$LOOP_SCRATCH/at"
at=$LOOP_SCRATCH/at

if [ "$long" ]; then
	claim "eight add, attach, change and remove devices" stress $((long * 60)) --loop 8 --temp-path "$base"
	for type in ext4 xfs btrfs; do
		for mode in on off; do
			claim "all stressors of files and I/O on $type, direct $mode" \
				on_file_system $type $mode "$long" "${one_by_one[@]}"
		done
	done
	seconds=$((long * 60))
else
	claim "eight add, attach, change and remove devices" stress 3 --loop 8 --temp-path "$base"
	claim "a file system and the node, direct on" on_file_system ext4 on 3 "${at_once[@]}"
	seconds=3
fi
for mode in off on; do
	[ "$long" ] || [ $mode = off ] || break
	claim "the same in 64 MiB, direct $mode" \
		short_of_memory $mode $seconds "${at_once[@]}" --loop 1
done
if [ -w "$cpu1" ]; then
	claim "the same while a processor goes and comes back" \
		hotplug on $seconds "${at_once[@]}" --loop 1
else
	tap_skip "the same while a processor goes and comes back" "there is no second one"
fi
claim "nothing is left attached" same "devices that are" "" "$(loop_attached)"
test_end
