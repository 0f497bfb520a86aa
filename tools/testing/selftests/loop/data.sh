#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Data that is written is read again, from the device and from the backing file: fio,
# file systems on file systems, all kinds of backing files, and the cgroup that is charged.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup fio mkfs.ext4 mkfs.xfs mkfs.btrfs e2fsck xfs_repair btrfs
tap_start

finish()
{
	local dir

	for dir in "$LOOP_SCRATCH"/mnt/*/at "$LOOP_SCRATCH/extra"; do
		! mountpoint -q "$dir" || umount "$dir"
	done
	loop_detach_all
	loop_detach_all
	groups_end
	scratch_exit
}

test_begin
mkdir "$LOOP_SCRATCH/extra"
declare -A on
for type in ext4 xfs btrfs; do
	on[$type]=$(scratch_fs $type) || bail_out "no $type"
done

# ---- fio ----

# verify TARGET DIRECT ARGUMENT...: the same job writes, and reads again on any target, as
# its random numbers are the same
verify()
{
	local target=$1 direct=$2

	shift 2
	quiet_fio --filename="$target" --ioengine=libaio \
		--size=6M --blockalign=512 --fallocate=none \
		--name=writer --rw=randwrite --direct="$direct" --bsrange=512-128k \
		--randseed=42 --verify=crc32c --verify_fatal=1 --iodepth=16 \
		--end_fsync=1 "$@"
}

# Readers of all data run beside the writer, and none may fail.
readers=(--rw=randread --bsrange=512-64k --io_size=2M --thinktime=4000)

fio_pass()
{
	local io=$1 direct=$2

	image "${on[ext4]}/fio.img" 8M
	dev=$(attach_to "${on[ext4]}/fio.img" "$io") &&
		verify "$dev" "$direct" --do_verify=1 \
			--name=readers --direct=1 --numjobs=2 "${readers[@]}" \
			--name=cached --direct=0 "${readers[@]}" &&
		forget "$dev" && detach "$dev" && forget "${on[ext4]}/fio.img" &&
		verify "${on[ext4]}/fio.img" 0 --verify_only=1
}

for io in off on; do
	for direct in 0 1; do
		claim "fio, direct backing $io, O_DIRECT above $direct: verified on device and file" \
			fio_pass $io $direct
	done
done
rm -f "${on[ext4]}/fio.img"

# ---- file systems on file systems ----

mkdir "$LOOP_SCRATCH/tree"
for i in {1..24}; do
	mkdir -p "$LOOP_SCRATCH/tree/d$((i % 5))"
	head -c $((i * i * 509)) /dev/urandom > "$LOOP_SCRATCH/tree/d$((i % 5))/f$i"
done

tree_is_right()
{
	diff -r -x lost+found "$LOOP_SCRATCH/tree" "$1"
}

# stacked UPPER DIRECTORY on|off
stacked()
{
	local upper=$1 img=$2/img io=$3 at=$2/at dev

	mkdir -p "$at"
	image "$img" "$(fs_size "$upper")"
	dev=$(attach_to "$img" "$io") && make_fs "$upper" "$dev" &&
		mount "$dev" "$at" && cp -r "$LOOP_SCRATCH/tree/." "$at" &&
		rm "$at/d0/f5" && sync -f "$at" && cp "$LOOP_SCRATCH/tree/d0/f5" "$at/d0" &&
		umount "$at" && check_fs "$upper" "$dev" && forget "$dev" "$img" &&
		mount -o ro "$dev" "$at" && tree_is_right "$at" && umount "$at" && forget "$dev" "$img" &&
		"$helper" extents "$img" "$dev" && detach "$dev" && rm "$img"
}

# Direct I/O alternates between off and on; LOOP_DATA_MODE=1 runs the other half.
modes=(off on)
n=${LOOP_DATA_MODE:-0}
for lower in ext4 xfs btrfs; do
	for upper in ext4 xfs btrfs; do
		mode=${modes[n++ % 2]}
		claim "$upper on a file on $lower, direct $mode: files, fsck, checksums of both" \
			stacked "$upper" "${on[$lower]}" "$mode"
	done
done

# ---- what can be a backing file ----

pattern=$LOOP_SCRATCH/pattern
head -c 1M /dev/urandom > "$pattern"

# round_trip DEVICE BACKING: data written through one is found in both
round_trip()
{
	dd if="$pattern" of="$1" bs=64k oflag=direct status=none && forget "$@" &&
		cmp -n 1048576 "$pattern" "$1" && cmp -n 1048576 "$pattern" "$2" &&
		dd if=/dev/zero of="$1" bs=512 count=3 seek=7 conv=fsync status=none &&
		forget "$@" && fails cmp -s -n 1048576 "$pattern" "$2" && cmp -n 1048576 "$1" "$2"
}

backed_by()
{
	local d

	d=$(attach "$1" "--direct-io=$2") && round_trip "$d" "$1" && detach "$d"
}

ram=$(brd_take)
claim "on a RAM disk, buffered" backed_by "$ram" off
claim "on a RAM disk, direct" backed_by "$ram" on
modprobe null_blk nr_devices=1 memory_backed=1 gb=1 2>/dev/null
if [ -b /dev/nullb0 ]; then
	claim "on null_blk, buffered" backed_by /dev/nullb0 off
	claim "on null_blk, direct" backed_by /dev/nullb0 on
else
	tap_skip "on null_blk" "no null_blk"
fi

image "$LOOP_SCRATCH/on-tmpfs" 2M
claim "on tmpfs" backed_by "$LOOP_SCRATCH/on-tmpfs" off

nested()
{
	local a b c

	image "${on[ext4]}/nested" 2M
	a=$(attach "${on[ext4]}/nested" "--direct-io=$1") &&
		b=$(attach "$a" "--direct-io=$1") && c=$(attach "$b" "--direct-io=$1") &&
		round_trip "$c" "${on[ext4]}/nested" && cmp "$c" "$a" &&
		detach "$c" && detach "$b" && detach "$a"
}
claim "loop on loop on loop, buffered" nested off
claim "loop on loop on loop, direct" nested on

overlay()
{
	mkdir "$LOOP_SCRATCH/lower" && mkdir "${on[ext4]}/upper" "${on[ext4]}/work" &&
		image "$LOOP_SCRATCH/lower/img" 2M &&
		mount -t overlay -o "lowerdir=$LOOP_SCRATCH/lower,upperdir=${on[ext4]}/upper,workdir=${on[ext4]}/work" \
			overlay "$LOOP_SCRATCH/extra" &&
		backed_by "$LOOP_SCRATCH/extra/img" off &&
		cmp -n 100 /dev/zero "$LOOP_SCRATCH/lower/img" &&
		backed_by "$LOOP_SCRATCH/extra/img" on && umount "$LOOP_SCRATCH/extra"
}
claim "on overlayfs, copied up" overlay

# The root of the VM is the host's, over 9p and read-only. Some harnesses mount it in a
# place of its own, others only below the overlay.
read_only_9p()
{
	local d want dir size

	want=$(readlink -f "$(command -v bash)")
	for dir in $(findmnt -nt 9p -o TARGET); do
		[ -e "$dir$want" ] || continue
		want=$dir$want
		break
	done
	size=$(($(stat -c %s "$want") / 512 * 512))
	d=$(attach "$want" -r) && same size "$size" "$(size_of "$d")" &&
		cmp -n "$size" "$want" "$d" && fails mkfs.ext4 -q -F "$d" && detach "$d"
}
if [ -n "$(findmnt -nt 9p -o TARGET)" ]; then
	claim "on 9p, read-only" read_only_9p
elif grep -q '^overlay / .*lowerdir=/lower' /proc/mounts; then
	claim "on 9p below an overlay, read-only" read_only_9p
else
	tap_skip "on 9p, read-only" "no 9p here"
fi

# ---- cgroups ----

charged_io()
{
	local file=$1 lower=$2 d before_w before_r after

	d=$(attach_to "$file" on) || return
	before_w=$(bytes a "$lower" wbytes)
	before_r=$(bytes a "$lower" rbytes)
	in_group a dd if=/dev/zero of="$d" bs=64k count=32 oflag=direct status=none &&
		in_group a dd if="$d" of=/dev/null bs=64k count=32 iflag=direct status=none || return
	after=$(bytes a "$lower" wbytes)
	[ $((after - before_w)) -ge 2097152 ] || {
		echo "wbytes: $before_w, then $after"
		return 1
	}
	after=$(bytes a "$lower" rbytes)
	[ $((after - before_r)) -ge 2097152 ] || {
		echo "rbytes: $before_r, then $after"
		return 1
	}
	detach "$d"
}

charged_memory()
{
	local d before after

	image "${on[ext4]}/memory.img" 4M
	d=$(attach_to "${on[ext4]}/memory.img" off) || return
	before=$(sed -n 's/^file //p' "$groups/a/memory.stat")
	in_group a dd if=/dev/zero of="$d" bs=64k count=64 oflag=direct status=none || return
	after=$(sed -n 's/^file //p' "$groups/a/memory.stat")
	[ $((after - before)) -ge 3500000 ] || {
		echo "file: $before, then $after"
		return 1
	}
	detach "$d"
}

if groups_start && [ -e "$groups/a/memory.stat" ]; then
	image "${on[ext4]}/cgroup.img" 2M
	# The blocks are allocated before, as the test is about the data.
	dd if=/dev/zero of="${on[ext4]}/cgroup.img" bs=64k count=32 conv=notrunc,fsync status=none
	claim "direct I/O on a file counts in the cgroup of who asked for it" \
		charged_io "${on[ext4]}/cgroup.img" "$(findmnt -no SOURCE "${on[ext4]}")"
	claim "direct I/O on a block device counts there, too" charged_io "$ram" "$ram"
	claim "page cache of the backing file is charged to the memory cgroup" charged_memory
else
	tap_skip "I/O in the right cgroup" "no cgroup v2 with io and memory"
fi

test_end
