#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the driver promises for a file, tested on each file system that can be had here: a
# write with FUA and a flush are on the medium when they have ended, zeroes are zeroes,
# I/O of any alignment is done, and pages are stable where they have to be.
# Documentation/block/loop.rst has the table.
#
# usage: promises.sh [NAME...]: only these file systems, for example 9p

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
only=" $* "
need_root
need_cmd losetup mkfs.ext4 mkfs.xfs mkfs.btrfs blkdiscard fsfreeze
promises=$LOOP_TEST_BIN/promises_helper
tap_start

end()
{
	[ ! -e /proc/fs/nfsd/threads ] || nfs_stop
	for dir in "$at"/*; do
		! mountpoint -q "$dir" || umount "$dir" 2>/dev/null
	done
	[ ! -d "$trace/events" ] || echo 0 > "$trace/events/enable"
	finish
}

scratch_init || bail_out "no scratch space"
at=$LOOP_SCRATCH/on
trap end EXIT
loop_load || bail_out "the module does not load"
trace_start || skip_all "no tracepoints of the driver"
random=$LOOP_SCRATCH/random
head -c 1M /dev/urandom > "$random"

# The disk below has a cache, so it gets flushes and FUA.
low=$(null_make discard=1 size=400 cache_size=8) ||
	skip_all "no null_blk with configfs and a cache"
low_number=$(lsblk -dnro MAJ:MIN "$low")
low_sync="block_bio_queue: ${low_number/:/,} [A-Z]*F"

# ---- what is asked of each ----

for event in block/block_bio_queue loop/loop_bio_done 9p/9p_client_req; do
	[ ! -d "$trace/events/$event" ] || echo 1 > "$trace/events/$event/enable"
done

# traced COMMAND...: with the bios from and to the device in the trace
traced()
{
	local rc=0

	: > "$trace/trace"
	echo 1 > "$trace/tracing_on"
	"$@" || rc=$?
	echo 0 > "$trace/tracing_on"
	return "$rc"
}

# before_each SYNC DONE COUNT: the trace has COUNT lines with DONE, and a line with SYNC
# before each of them and after the one before.  An empty SYNC is not looked for.
before_each()
{
	[ -z "$1" ] || awk -v sync="$1" -v done="$2" -v count="$3" '
		$0 ~ sync { synced = 1 }
		$0 ~ done { n++; bad += !synced; synced = 0 }
		END {
			if (n == count && !bad)
				exit 0
			print n + 0 " ended, " bad + 0 " of them without a sync"
			exit 1
		}' "$trace/trace" || {
		grep -E "$1|$2" "$trace/trace" | head -40
		return 1
	}
}

# attach_or_skip FILE on|off: attaches, or skips if the file has no direct I/O
attach_or_skip()
{
	local want=0

	[ "$2" = off ] || want=1
	dev=$(attach "$1" "--direct-io=$2" 2>/dev/null) || return
	[ "$(attr "$dev" dio)" != "$want" ] || return 0
	detach "$dev"
	return "$KSFT_SKIP"
}

limit()
{
	cat "/sys/block/${1##*/}/queue/$2"
}

# letters FILE: one of each that promises_helper has written
letters()
{
	dd if="$1" bs=4k skip=16 count=8 status=none | tr -s '[:lower:]'
}

# medium FILE on|off SYNC own|flush STABLE: 8 writes with FUA, each followed by a flush of
# the driver unless the file system syncs the write.  Then a write and a flush; some file
# systems sync a direct write in any case.
medium()
{
	local dev own=0

	[ "$4" = flush ] || own=1
	written_image "$1" 256 && attach_or_skip "$1" "$2" &&
		same "queue/fua" "$own" "$(limit "$dev" fua)" &&
		same "queue/stable_writes" "$5" "$(limit "$dev" stable_writes)" &&
		snap "$dev" && traced "$promises" fua "$dev" 8 16 &&
		before_each "$3" "loop_bio_done: ${dev##*/} W" 8 &&
		same fsync $((own ? 0 : 8)) "$(since "$dev" fsync)" &&
		same data qrstuvwx "$(letters "$dev")" || return
	traced dd if="$random" of="$dev" bs=32k count=1 oflag=direct conv=fsync status=none &&
		before_each "$3" "loop_bio_done: ${dev##*/} F" 1 && detach "$dev" &&
		forget "$1" && cmp -n 32768 "$random" "$1" &&
		same "data of the file" qrstuvwx "$(letters "$1")"
}

# outcome DEVICE LIMIT COMMAND...: "none" if it is not offered, otherwise whether the file
# has done or refused it
outcome()
{
	local dev=$1 max

	max=$(limit "$dev" "$2") && snap "$dev" || return
	shift 2
	if [ "$max" = 0 ]; then
		echo none
	elif "$@" && uncounted "$dev" unmap_refused > /dev/null; then
		echo "done"
	elif [ "$(since "$dev" unmap_refused)" -gt 0 ]; then
		echo refused
	else
		echo failed
	fi
}

# shapes FILE on|off DISCARD ZEROES: the outcome of each.  Zeroes are exact to the block,
# and everything around stays.  Blocks of the device may begin and end anywhere in those
# of the file system.
shapes()
{
	local dev block from len where

	written_image "$1" 256 && attach_or_skip "$1" "$2" && block=$(limit "$dev" logical_block_size) &&
		dd if="$random" of="$dev" bs="$block" oflag=direct status=none count=3 &&
		dd if="$random" of="$dev" bs="$block" oflag=direct status=none \
			skip=3 seek=3 count=$((1048576 / block - 3)) || return
	from=$((262144 + 2 * block)) len=$((65536 + 10 * block))
	same discard "$3" "$(outcome "$dev" discard_max_bytes \
		blkdiscard -o 65536 -l 65536 "$dev")" &&
		same zeroes "$4" "$(outcome "$dev" write_zeroes_max_bytes \
			blkdiscard -z -o "$from" -l "$len" "$dev")" || return
	[ "$4" != none ] || blkdiscard -z -o "$from" -l "$len" "$dev" || return
	for where in "$dev" "$1"; do
		[ "$where" = "$dev" ] || { detach "$dev" && forget "$1"; } || return
		cmp -n 65536 "$random" "$where" &&
			cmp -i 131072 -n $((from - 131072)) "$random" "$where" &&
			cmp -i "$from:0" -n "$len" "$where" /dev/zero &&
			cmp -i $((from + len)) -n $((1048576 - from - len)) "$random" "$where" || return
	done
}

# promised NAME FILE SYNC OWN DISCARD ZEROES STABLE: OWN tells whether the file system or
# the driver's flush syncs a direct write with FUA. SYNC is the sync that is seen below.
promised()
{
	claim "$1, direct I/O: FUA and flush are on the medium when they end" \
		medium "$2" on "$3" "$4" "$7"
	claim "$1, direct I/O: discard $5, zeroes $6, any alignment" shapes "$2" on "$5" "$6"
	claim "$1, buffered: FUA and flush are on the medium when they end" \
		medium "$2" off "$3" flush "$7"
	claim "$1, buffered: discard $5, zeroes $6, any alignment" shapes "$2" off "$5" "$6"
	loop_detach_all
}

wanted()
{
	[[ $only = "  " || $only = *" $1 "* ]]
}

# made TYPE MKFS-COMMAND...: makes it on the disk, and mounts it at $at/TYPE
made()
{
	local type=$1

	command -v "$2" > /dev/null || return
	shift
	"$@" "$low" > /dev/null 2>&1 && mkdir -p "$at/$type" &&
		mount -t "$type" "$low" "$at/$type" 2>/dev/null
}

# row TYPE OWN DISCARD ZEROES STABLE MKFS-COMMAND...
row()
{
	local type=$1 promise=("${@:2:4}")

	shift 5
	wanted "$type" || return 0
	if made "$type" "$@"; then
		promised "$type" "$at/$type/img" "$low_sync" "${promise[@]}"
		umount "$at/$type"
	else
		tap_skip "$type" "no such file system here"
	fi
}

row ext4 own "done" "done" 0 mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0
row xfs own "done" "done" 0 mkfs.xfs -q -f
row f2fs flush "done" "done" 0 mkfs.f2fs -f -q
row ext3 own "done" refused 0 mkfs.ext3 -q -F
row ext2 flush "done" refused 0 mkfs.ext2 -q -F
row vfat flush refused refused 0 mkfs.vfat
# exfat of newer kernels has ->fallocate(), but makes no holes.
unmap=none
modprobe -q exfat
! grep -q ' exfat_fallocate' /proc/kallsyms || unmap=refused
row exfat flush $unmap $unmap 0 mkfs.exfat
row ntfs3 flush refused refused 0 mkfs.ntfs -Q -F

# btrfs makes checksums of the pages that are written, so these must not change.
mapped_page()
{
	local dev

	attach_or_skip "$1" on && same "who changes a page that is written" "$2" \
		"$("$promises" stable "$dev" "fsfreeze -f ${1%/*}" "fsfreeze -u ${1%/*}")" &&
		detach "$dev"
}

checksums()
{
	head -c 1M /dev/zero > "$1" && sync "$1" && mapped_page "$1" waits &&
		mapped_page "$2" "does not wait"
}

if ! wanted btrfs; then
	:
elif made btrfs mkfs.btrfs -q -f; then
	promised btrfs "$at/btrfs/img" "$low_sync" own "done" "done" 0
	claim "btrfs with checksums, direct I/O: a page does not change while it is written" \
		checksums "$at/btrfs/cow" "$at/btrfs/img"
	umount "$at/btrfs"
else
	tap_skip btrfs "no such file system here"
fi

# disk on|off STABLE
disk()
{
	local dev own=0

	[ "$1" = off ] || own=1
	attach_or_skip "$low" "$1" && same "queue/fua" "$own" "$(limit "$dev" fua)" &&
		same "queue/stable_writes" "$2" "$(limit "$dev" stable_writes)" &&
		snap "$dev" && traced "$promises" fua "$dev" 8 16 &&
		before_each "$low_sync" "loop_bio_done: ${dev##*/} W" 8 &&
		same fsync $((own ? 0 : 8)) "$(since "$dev" fsync)" && traced sync "$dev" &&
		before_each "$low_sync" "loop_bio_done: ${dev##*/} F" 1 && detach "$dev"
}
if wanted disk; then
	claim "a disk, direct I/O: FUA and flush are on the medium when they end" disk on 0
	claim "a disk, buffered: FUA and flush are on the medium when they end" disk off 0
	echo 1 > "/sys/block/${low##*/}/queue/stable_writes"
	claim "a disk that wants stable pages, direct I/O: so does the device" disk on 1
	claim "a disk that wants stable pages, buffered: so does the device" disk off 1
	echo 0 > "/sys/block/${low##*/}/queue/stable_writes"
fi

# ---- not on a disk of its own ----

mkdir -p "$at/tmpfs"
if wanted tmpfs && mount -t tmpfs promises "$at/tmpfs"; then
	promised tmpfs "$at/tmpfs/img" "" flush "done" refused 0
	umount "$at/tmpfs"
fi

overlay()
{
	mkdir -p "$at/ext4/upper" "$at/ext4/work" "$at/overlay" "$LOOP_SCRATCH/lower" &&
		mount -t overlay promises "$at/overlay" -o \
			"lowerdir=$LOOP_SCRATCH/lower,upperdir=$at/ext4/upper,workdir=$at/ext4/work"
} 2>/dev/null

nfs_start()
{
	modprobe -q nfsd && modprobe -q nfs && ip link set lo up &&
		{ mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd; } &&
		exportfs -o rw,no_root_squash,fsid=0,insecure,sync 127.0.0.1:"$1" &&
		rpc.nfsd -N 3 -V 4.2 1 && rpc.mountd -N 3 -V 4.2 &&
		echo Y > /proc/fs/nfsd/v4_end_grace && mkdir -p "$at/nfs" &&
		timeout 60 mount -t nfs -o vers=4.2,actimeo=1 127.0.0.1:/ "$at/nfs"
} > /dev/null 2>&1

nfs_stop()
{
	! mountpoint -q "$at/nfs" || umount "$at/nfs"
	rpc.nfsd 0
	! pidof rpc.mountd > /dev/null || kill "$(pidof rpc.mountd)"
	exportfs -au
} 2>/dev/null

if { wanted overlayfs || wanted NFS; } &&
	made ext4 mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0; then
	if ! wanted overlayfs; then
		:
	elif overlay; then
		promised overlayfs "$at/overlay/img" "$low_sync" flush "done" "done" 0
		umount "$at/overlay"
	else
		tap_skip overlayfs "no such file system here"
	fi
	if ! wanted NFS; then
		:
	elif nfs_start "$at/ext4"; then
		promised NFS "$at/nfs/img" "$low_sync" flush "done" refused 1
	else
		tap_skip NFS "no such file system here"
	fi
	[ ! -e /proc/fs/nfsd/threads ] || nfs_stop
	umount "$at/ext4"
fi

# fuse_row NAME MODE
fuse_row()
{
	local server

	wanted FUSE || return 0
	mkdir -p "$at/fuse"
	"$promises" fuse "$at/fuse" 4 "$2" &
	server=$!
	if wait_for 5 test -f "$at/fuse/img"; then
		promised "$1" "$at/fuse/img" "served FSYNC" flush refused refused 0
		umount "$at/fuse"
	else
		tap_skip "$1" "no such file system here"
	fi
	wait "$server"
}
modprobe -q fuse
fuse_row FUSE cached
fuse_row "FUSE that caches writes" writeback
fuse_row "FUSE with direct I/O only" direct

share=/run/vm/share
if ! wanted 9p; then
	:
elif [ "$(findmnt -no FSTYPE $share 2>/dev/null)" = 9p ] && [ -d $trace/events/9p ]; then
	promised 9p "$share/promises" "P9_TFSYNC" flush none none 0
	rm -f $share/promises
else
	tap_skip 9p "no such file system here"
fi

trap - EXIT
end
claim "the module unloads" loop_unload
tap_plan_end
