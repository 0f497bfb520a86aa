#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A loop device on a disk, with direct I/O, beside dm-linear on the same disk: all that
# sysfs tells of the two queues, and the requests that reach the disk.  The differences
# are listed here, and in the developer document with their reasons.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup dmsetup blkdiscard ionice
tap_start

linear_finish()
{
	finish
	[ ! -d /sys/module/scsi_debug ] || rmmod scsi_debug
}

scratch_init || bail_out "no scratch space"
trap linear_finish EXIT
loop_load || bail_out "the module does not load"
trace_start || bail_out "no tracefs"

# These attributes may differ. Some only tell where an I/O is split, and the disk splits the
# clone; others are features that dm-linear passes through and a loop device does not.
differences='write_cache|fua|max_hw_sectors_kb|max_sectors_kb|max_segments|max_segment_size|chunk_sectors|virt_boundary_mask|max_discard_segments|max_integrity_segments|read_ahead_kb|dma_alignment|io_poll|dax|stable_writes'

# limits DEVICE: the attributes of a disk and its queue, each with its name
limits()
{
	local disk=/sys/block/${1##*/}

	(cd "$disk" && grep -s . alignment_offset discard_alignment queue/*) |
		sed -E 's,^queue/,,; s/^(discard_max.*bytes:42949)[0-9]+/\1/' | grep -vE "^($differences):"
}

# The disk of a mapped device; its node need not be a link.
dm_disk()
{
	echo "dm-$(dmsetup info -c --noheadings -o minor "loop-selftest-$1")"
}

# as_linear DISK OFFSET [NAME]: OFFSET is in sectors
as_linear()
{
	local dev sectors ok=0

	sectors=$(blockdev --getsz "$1") &&
		map_to linear "0 $((sectors - $2)) linear $1 $2" &&
		dev=$(attach_to "$1" on -o $(($2 * 512))) || return
	diff <(limits "$(dm_disk linear)") <(limits "$dev") || ok=1
	detach "$dev" && unmap_it linear && return "$ok"
}

# requests DISK COMMAND...: what the disk is asked for meanwhile
requests()
{
	local disk=$1

	shift
	echo "dev == $((0x$(stat -c %t "$disk") << 20 | 0x$(stat -c %T "$disk")))" \
		> "$trace/events/block/block_rq_issue/filter" || return
	trace_while block/block_rq_issue "$@" > /dev/null 2>&1
	sed -n 's/.*block_rq_issue: [0-9,]* \(.*\) \[.*/\1/p' "$trace/trace"
}

# commands DEVICE: I/O of each kind
commands()
{
	"$paths" flagged "$1" write 8 4096 dsync
	"$paths" flagged "$1" write 16 4096 nowait
	"$paths" flagged "$1" read 8 4096 nowait
	ionice -c 1 -n 3 "$paths" flagged "$1" read 16 4096 nowait
	ionice -c 3 "$paths" flagged "$1" write 24 4096 nowait
	"$paths" flagged "$1" write 64 4096 atomic
	"$paths" flagged "$1" write 0 131072 nowait
	dd if=/dev/zero of="$1" bs=4k count=4 seek=64 oflag=direct conv=fsync,notrunc status=none
	blkdiscard -f -o 65536 -l 65536 "$1"
	blkdiscard -f -z -o 131072 -l 65536 "$1"
	fallocate -p -o 262144 -l 65536 "$1"
}

same_requests()
{
	local dev ok=0

	map_to linear "0 16384 linear $1 2048" &&
		dev=$(attach_to "$1" on -o 1M) || return
	requests "$1" commands "$mapper-linear" > "$LOOP_SCRATCH/linear"
	requests "$1" commands "$dev" > "$LOOP_SCRATCH/loop"
	[ -s "$LOOP_SCRATCH/loop" ] || ok=1
	diff "$LOOP_SCRATCH/linear" "$LOOP_SCRATCH/loop" || ok=1
	detach "$dev" && unmap_it linear && return "$ok"
}

on_null()
{
	local disk rc=0

	if ! disk=$(null_make size=64 "$@"); then
		null_remove
		return "$KSFT_SKIP"
	fi
	as_linear "$disk" 8 && same_requests "$disk" || rc=$?
	null_remove
	return "$rc"
}

for setting in "discard=1 virt_boundary=1 poll_queues=1" "blocksize=4096 discard=1" \
	"cache_size=8 max_sectors=64" "cache_size=8 fua=0" rotational=1; do
	# shellcheck disable=SC2086
	claim "null_blk with $setting" on_null $setting
done

# A loop device is not polled, and hides that the disk has zones.
unlike()
{
	local disk dev rc=0

	disk=$(null_make size=64 poll_queues=1 zoned=1 zone_size=4) || return "$KSFT_SKIP"
	dev=$(attach_to "$disk" on) &&
		same io_poll 0 "$(cat "/sys/block/${dev##*/}/queue/io_poll")" &&
		same zoned none "$(cat "/sys/block/${dev##*/}/queue/zoned")" &&
		detach "$dev" || rc=$?
	null_remove
	return "$rc"
}
claim "null_blk with poll queues and zones: not as dm-linear" unlike

# scsi_make PARAMETER=VALUE...: a disk of scsi_debug
scsi_make()
{
	modprobe -q sd_mod && modprobe -q scsi_debug dev_size_mb=16 "$@" || return
	wait_for 10 scsi_disk
}

scsi_remove()
{
	wait_for 10 rmmod scsi_debug 2>/dev/null
}

# on_scsi OFFSETS PARAMETER=VALUE...
on_scsi()
{
	local disk rc=0 offset

	disk=$(scsi_make "${@:2}") || return "$KSFT_SKIP"
	for offset in $1; do
		as_linear "$disk" "$offset" || rc=$?
	done
	same_requests "$disk" || rc=$?
	scsi_remove
	return "$rc"
}

# The blocks of 4 KiB of this disk begin one sector before a multiple of eight.
claim "a disk whose large blocks begin at odd sectors" on_scsi "0 7 8 100" physblk_exp=3 \
	lowest_aligned=7 opt_blks=64 opt_xferlen_exp=5
claim "a disk that discards and zeroes" on_scsi "0 100" lbpws=1 lbpu=1 lbprz=1 \
	unmap_granularity=16 unmap_alignment=4
claim "a disk with atomic writes" on_scsi 8 atomic_wr=1
claim "a disk with checksums" on_scsi 8 dif=1 dix=1

has_atomic()
{
	[ "$(cat "/sys/block/${1##*/}/queue/atomic_write_unit_max_bytes")" != 0 ]
}

# The page cache of the disk has what an atomic write changes; a worker does it.
atomic_cached()
{
	local disk dev

	disk=$(scsi_make atomic_wr=1) && dev=$(attach_to "$disk" on) || return
	if ! has_atomic "$dev"; then
		detach "$dev" && scsi_remove && return "$KSFT_SKIP"
	fi
	exec 5< "$disk" && head -c 65536 <&5 > /dev/null &&
		echo dirty | dd of="$disk" bs=512 seek=17 conv=notrunc status=none && snap "$dev" &&
		same atomic ok "$("$paths" flagged "$dev" write 16 8192 atomic)" &&
		counted "$dev" worker_op:1 &&
		same data "$(printf '%08192d' 0 | tr 0 a)" "$(dd if="$disk" bs=512 skip=16 count=16 status=none)" &&
		exec 5<&- && detach "$dev" && scsi_remove
}
claim "a disk with atomic writes: what is cached of it" atomic_cached

# The task in the cgroup sleeps until its I/O ends.
task_waits()
{
	local task

	read -r task < "$groups/a/cgroup.procs" && grep -q "^State:.D" "/proc/$task/status"
}

# While an atomic write waits for the limit of its cgroup, direct I/O is turned off.
atomic_late()
{
	local disk dev n pid rc=0

	disk=$(scsi_make atomic_wr=1) && dev=$(attach_to "$disk" on) || return
	if ! has_atomic "$dev"; then
		detach "$dev" && scsi_remove && return "$KSFT_SKIP"
	fi
	n=$(lsblk -dnro MAJ:MIN "$dev") && echo "$n wbps=64" > "$groups/a/io.max" || return
	in_group a "$paths" flagged "$dev" write 16 4096 atomic > "$LOOP_SCRATCH/late" &
	pid=$!
	wait_for 20 task_waits && losetup --direct-io=off "$dev" || rc=1
	echo "$n wbps=max" > "$groups/a/io.max"
	wait "$pid" && same atomic EINVAL "$(cat "$LOOP_SCRATCH/late")" || rc=1
	detach "$dev" && scsi_remove && return "$rc"
}
if groups_start; then
	claim "a disk with atomic writes: direct I/O is turned off meanwhile" atomic_late
else
	tap_skip "direct I/O is turned off meanwhile" "no cgroup v2 with io and memory"
fi
groups_end

# A worker sends the atomic write, and may wait for a disk that cannot do without.
atomic_waits()
{
	local disk dev rc=0

	disk=$(scsi_make atomic_wr=1) && modprobe -q dm_crypt &&
		map_to crypt "0 8192 crypt aes-xts-plain64 $(printf '%064d' 1) 0 $disk 0" &&
		dev=$(attach_to "$mapper-crypt" on) || return
	if has_atomic "$dev"; then
		same atomic ok "$("$paths" flagged "$dev" write 16 4096 atomic-nowait)" || rc=1
	else
		rc=$KSFT_SKIP
	fi
	detach "$dev" && unmap_it crypt && scsi_remove && return "$rc"
}
claim "dm-crypt on a disk with atomic writes: one that must not wait" atomic_waits

# LOOP_ATTACH_NO_DISCARD: zeroes do not unmap what the disk has.
zeroes_keep()
{
	local disk dev mapped=/sys/bus/pseudo/drivers/scsi_debug/map

	disk=$(scsi_make lbpws=1 lbpu=1 lbprz=1) || return "$KSFT_SKIP"
	dd if=/dev/urandom of="$disk" bs=128k count=1 oflag=direct status=none &&
		dev=$("$LOOP_TEST_BIN/loopctl" attach --direct-io --no-discard "$disk") &&
		same mapped 0-255 "$(tr -d '\0\n' < "$mapped")" &&
		fallocate -p -l 64K "$dev" && cmp -n 65536 "$dev" /dev/zero &&
		same "mapped with NO_DISCARD" 0-255 "$(tr -d '\0\n' < "$mapped")" &&
		detach "$dev" && dev=$(attach_to "$disk" on) &&
		fallocate -p -l 64K "$dev" &&
		same "mapped without" 128-255 "$(tr -d '\0\n' < "$mapped")" &&
		detach "$dev" && scsi_remove
}
claim "a disk that unmaps: zeroes with LOOP_ATTACH_NO_DISCARD" zeroes_keep

# Two parts of a disk whose blocks do not begin at the same places
on_misaligned()
{
	local disk rc=0

	disk=$(scsi_make physblk_exp=3 lowest_aligned=7) || return "$KSFT_SKIP"
	map_to below "0 8192 linear $disk 0" "8192 8192 linear $disk 8193" &&
		as_linear "/dev/$(dm_disk below)" 0 || rc=$?
	unmap_it below && scsi_remove
	return "$rc"
}
claim "a device that is misaligned itself" on_misaligned

linear_finish
trap - EXIT
claim "the module unloads" loop_unload
tap_plan_end
