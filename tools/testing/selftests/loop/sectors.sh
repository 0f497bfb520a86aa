#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# LOOP_ATTACH_DIRECT_ALIGNED: images with sectors of 512, 2048 and 4096 bytes on disks
# with sectors of 512 and 4096.  Direct I/O is on, the sectors have the size that was asked
# for, so partitions are found, and direct and buffered I/O see the same data, also at the same
# time.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup dmsetup sfdisk mkfs.ext4 mkfs.xfs
tap_start

at=$LOOP_SCRATCH/at
image=$LOOP_SCRATCH/image
expected=$LOOP_SCRATCH/expected
random=$LOOP_SCRATCH/random
size=$((4 << 20))

finish()
{
	layers_off
	null_end
	scratch_exit
}

test_begin
mkdir "$at"
head -c "$size" /dev/urandom > "$random"

# image_make SECTOR-SIZE: makes an image with two partitions
image_make()
{
	local dev

	rm -f "$image"
	truncate -s "$size" "$image" && dev=$(attach "$image" -b "$1") &&
		printf 'label: gpt\nstart=1MiB, size=1MiB\nstart=2MiB, size=1MiB\n' |
		sfdisk -q --no-reread --no-tell-kernel "$dev" && detach "$dev" &&
		cp "$image" "$expected"
}

# piece DEVICE BLOCK-SIZE BLOCK COUNT: writes with direct I/O, a block at a time
piece()
{
	dd if="$random" of="$1" bs="$2" skip="$3" seek="$3" count="$4" oflag=direct \
		conv=notrunc status=none &&
		dd if="$random" of="$expected" bs="$2" skip="$3" seek="$3" count="$4" \
			conv=notrunc status=none
}

# pieces DEVICE SECTOR-SIZE: writes some sectors, and blocks that any disk accepts
pieces()
{
	local i

	RANDOM=$2
	for ((i = 0; i < 8; i++)); do
		piece "$1" "$2" $((RANDOM % (size / $2 - 8))) $((RANDOM % 8 + 1)) &&
			piece "$1" 16384 $((RANDOM % (size / 16384))) 1 || return
	done
}

# same_as_expected FILE FLAG BLOCK-SIZE
same_as_expected()
{
	dd if="$1" bs="$3" count=$((size / $3)) iflag="$2" status=none | cmp - "$expected"
}

# attach_aligned ARGUMENT...: attaches with direct I/O where it fits, and prints the device
attach_aligned()
{
	"$LOOP_TEST_BIN/loopctl" attach --direct-io --direct-aligned "$@"
}

# sectors FILE SECTOR-SIZE DISK-SECTOR-SIZE: makes all tests on FILE, which has the image
sectors()
{
	local dev name args=()

	[ "$2" = 512 ] || args=(--block-size "$2")
	dev=$(attach_aligned --partscan --strict "${args[@]}" "$1") && name=${dev##*/} || return
	same "direct I/O" 1 "$(attr "$dev" dio)" &&
		same "sector size" "$2" "$(cat "/sys/block/$name/queue/logical_block_size")" &&
		same partitions 2 "$(find "/sys/block/$name/" -maxdepth 1 -name "${name}p*" | wc -l)" &&
		snap "$dev" && pieces "$dev" "$2" || return
	if [ "$2" -lt "$3" ]; then
		counted "$dev" worker_align
	else
		uncounted "$dev" worker_align
	fi && sum_counted "$dev" inline cloned worker_file &&
		same_as_expected "$dev" direct "$2" && same_as_expected "$dev" direct 65536 &&
		same_as_expected "$1" fullblock 65536 && sync "$dev" && forget "$1" &&
		same_as_expected "$1" fullblock 65536 && fstrim_piece "$dev" &&
		same_as_expected "$dev" direct "$2" && same_as_expected "$1" fullblock 65536 &&
		detach "$dev"
}

# The discard begins and ends in the middle of a block of the disk.
fstrim_piece()
{
	local from=$((4096 * 300 + 2048)) len=$((4096 * 8))

	[ "$(cat "/sys/block/${1##*/}/queue/logical_block_size")" -le 2048 ] || return 0
	# The file keeps or zeroes the first and the last part.
	blkdiscard -o "$from" -l "$len" "$1" &&
		dd if="$1" of="$expected" bs=2048 skip=$((from / 2048)) seek=$((from / 2048)) \
			count=$((len / 2048)) iflag=direct conv=notrunc status=none
}

on_file()
{
	image_make "$2" && cp "$image" "$at/image" && sync "$at/image" &&
		sectors "$at/image" "$2" "$1" && rm "$at/image"
}

on_disk()
{
	image_make "$3" && dd if="$image" of="$1" bs=64k conv=fsync status=none &&
		sectors "$1" "$3" "$2"
}

for below in 512 4096; do
	null_remove
	disk=$(null_make size=320 discard=1 blocksize=$below) ||
		bail_out "no disk with sectors of $below"
	types=xfs
	[ $below = 512 ] || types="ext4 xfs"
	for fs in $types; do
		make_fs "$fs" "$disk" >&2
		mount -t "$fs" -o noatime "$disk" "$at" || bail_out "no $fs"
		for sector in 512 2048 4096; do
			claim "$fs on sectors of $below: an image with sectors of $sector" \
				on_file $below $sector
		done
		umount "$at"
	done
	for sector in 512 2048 4096; do
		claim "a disk with sectors of $below: an image with sectors of $sector" \
			on_disk "$disk" $below $sector
	done
done

# ---- a folio with several blocks ----

# delay MS: the disk delays writes
delay()
{
	remap_to slow "0 $sectors delay $disk 0 0 $disk 0 $1"
}

# beside FILE BLOCK [COMMAND...]: writes the block past the page cache.  Meanwhile the command
# reads its folio, and a sector of the next block is written.  Then a sector of the block is
# written by way of the page cache, and with it the rest of the block, which must not be old.
beside()
{
	local file=$1 block=$2 dev pid

	shift 2
	dev=$(attach_aligned --strict "$file") &&
		dd if=/dev/zero of="$dev" bs=64k count=32 oflag=direct status=none &&
		forget "$file" && delay 1500 || return
	dd if="$random" of="$dev" bs=4096 seek="$block" count=1 oflag=direct conv=notrunc \
		status=none &
	pid=$!
	wait_for 10 in_flight "$dev" write && { [ $# = 0 ] || "$@"; } &&
		dd if="$random" of="$dev" bs=512 seek=$((block * 8 + 8)) count=1 oflag=direct \
			conv=notrunc status=none && wait "$pid" && delay 0 &&
		sync "$dev" && is_beside "$dev" "$block" &&
		dd if="$random" of="$dev" bs=512 seek=$((block * 8)) count=1 oflag=direct \
			conv=notrunc status=none &&
		sync "$dev" && is_beside "$dev" "$block" && forget "$file" &&
		is_beside "$dev" "$block" && detach "$dev"
}

is_beside()
{
	dd if="$1" bs=512 skip=$(($2 * 8)) count=8 iflag=direct status=none |
		cmp -n 4096 - "$random" &&
		dd if="$1" bs=512 skip=$(($2 * 8 + 8)) count=1 iflag=direct status=none |
		cmp -n 512 - "$random"
}

# A page cache with larger blocks than the sectors of the disk writes a block as a whole,
# and with it what a direct write has just changed.  So there is no direct I/O then.
larger_blocks()
{
	local dev

	fails attach_aligned --strict "$disk" && dev=$(attach_aligned "$disk") &&
		same dio 0 "$(attr "$dev" dio)" && detach "$dev" &&
		dev=$(attach_aligned --strict --block-size 2048 "$disk") &&
		same dio 1 "$(attr "$dev" dio)" && detach "$dev"
}

null_remove
disk=$(null_make size=320 blocksize=2048) || bail_out "no disk with sectors of 2048"
claim "a disk with larger blocks in its page cache than sectors" larger_blocks
null_remove
disk=$(null_make size=320 blocksize=4096) || bail_out "no disk with sectors of 4096"
sectors=$((320 * 2048))
if ! modprobe -q dm_delay || ! map_to slow "0 $sectors delay $disk 0 0"; then
	tap_skip "a folio with several blocks" "no dm-delay"
else
	# Sequential reads make large folios.
	claim "a disk: a block beside one that is cached and changed" \
		beside "$mapper-slow" 200 dd if="$mapper-slow" of=/dev/null bs=64k count=32 \
		status=none
	layers_off
	# A folio has at least one block of the file system.
	if map_to slow "0 $sectors delay $disk 0 0" &&
		mkfs.xfs -q -f -b size=16384 "$mapper-slow" &&
		mount -o noatime "$mapper-slow" "$at"; then
		head -c 2M /dev/zero > "$at/image" && sync "$at/image"
		claim "xfs: a block beside one that is cached and changed" beside "$at/image" 200
	else
		tap_skip "xfs: a block beside one that is cached and changed" "no blocks of 16 KiB"
	fi
	layers_off
fi

test_end
