#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Faults below: bad sectors, a disk that fails for a while, no space, a file that shrinks,
# a disk that is pulled.  Only the reader or writer of the data gets the error, and the
# device can be used, detached and attached again.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup dmsetup mkfs.ext4 blockdev blkdiscard chattr
tap_start

mapped=$mapper-disk

finish()
{
	loop_detach_all
	umount "$LOOP_SCRATCH"/at* 2>/dev/null
	[ ! -e "$mapped" ] || unmap_it disk
	null_end
	scratch_exit
}

test_begin
mkdir "$LOOP_SCRATCH/at" "$LOOP_SCRATCH/small"
at=$LOOP_SCRATCH/at
head -c 8M /dev/urandom > "$LOOP_SCRATCH/random"
random=$LOOP_SCRATCH/random
image "$LOOP_SCRATCH/spare.img" 1M
mib=1048576

# same_data OFFSET LENGTH [FILE]: in 4 KiB; a direct read of the device returns the data
# of FILE.  cmp compares all of it faster than a checksum does.
same_data()
{
	dd if="$dev" bs=256k iflag=skip_bytes,count_bytes,direct status=none \
		skip=$(($1 * 4096)) count=$(($2 * 4096)) |
		cmp -n $(($2 * 4096)) -i "0:$(($1 * 4096))" - "${3:-$random}"
	same "reading and comparing" "0 0" "${PIPESTATUS[*]}"
}

read_at()
{
	dd if="$dev" of=/dev/null bs=4k skip="$1" count="${2:-1}" iflag=direct status=none
}

write_at()
{
	dd if=/dev/zero of="$dev" bs=4k seek="$1" count="${2:-1}" oflag=direct \
		conv=fsync,notrunc status=none
}

# attach_file FILE [LOSETUP-ARGUMENT...]: sets dev and file
attach_file()
{
	file=$1
	dev=$(attach "$@") || bail_out "cannot attach $1"
}

# After a fault, the status of the device is as before, and it can be attached again.
recovers()
{
	local n=${dev##*/}

	same backing_file "${1:-$file}" "$(attr "$dev" backing_file)" &&
		losetup "$dev" >/dev/null && detach "$dev" &&
		same uevents "change $n" "$("$helper" uevents losetup "$dev" \
			"$LOOP_SCRATCH/spare.img" | cut -d' ' -f1,2 | paste -sd,)" &&
		read_at 0 && write_at 3 && detach "$dev"
}

# ---- bad sectors of a backing block device ----

disk=$(brd_take) || bail_out "no RAM disk"
sectors=$((64 * 2048))
if ! modprobe dm_flakey 2>/dev/null ||
	! map_to disk "0 $sectors linear $disk 0"; then
	bail_out "no device mapper"
fi

good=("0 $sectors linear $disk 0")
# Sectors 8192 to 8199 are the 4 KiB at 4 MiB.
bad=("0 8192 linear $disk 0" "8192 8 error"
	"8200 $((sectors - 8200)) linear $disk 8200")

bad_sectors()
{
	local name="bad sectors below, $1 mode"

	dd if="$random" of="$mapped" bs=1M oflag=direct status=none
	attach_file "$mapped" "--direct-io=$2"
	forget "$dev" "$file"
	remap_to disk "${bad[@]}"
	claim "$name: EIO where they are" eio read_at 1024
	claim "$name: EIO for a read across them" eio dd if="$dev" of=/dev/null \
		bs=64k skip=63 count=2 iflag=direct status=none
	claim "$name: the 4 KiB before and after" eval \
		'same_data 1023 1 && same_data 1025 1'
	claim "$name: everything else" eval 'same_data 0 1024 && same_data 1025 1023'
	claim "$name: EIO for a write" eio write_at 1024
	claim "$name: a write next to them" write_at 1030
	remap_to disk "${good[@]}"
	forget "$dev" "$file"
	claim "$name: gone, all can be read and written" eval \
		'read_at 1024 && write_at 1024 && same_data 0 1024'
	claim "$name: status, detach, attach, uevent" recovers
}
bad_sectors direct on
bad_sectors buffered off

# ---- a file on a disk that fails for a while ----

# The file system has no journal, whose writes would change the result.
mkfs.ext4 -q -F -O ^has_journal "$mapped" 60M
mount -o noatime,errors=continue "$mapped" "$at" || bail_out "cannot mount"

failing_disk()
{
	local name="failing disk below a file, $1 mode"

	cp "$random" "$at/img"
	sync "$at/img"
	attach_file "$at/img" "--direct-io=$2"
	forget "$dev" "$file"
	remap_to disk "0 $sectors flakey $disk 0 0 3600"
	claim "$name: EIO for reads" eio read_at 100
	claim "$name: EIO for writes" eio write_at 200
	claim "$name: status is as before" same dio "$3" "$(attr "$dev" dio)"
	remap_to disk "${good[@]}"
	claim "$name: over, reads are right" same_data 0 200
	claim "$name: over, writes work" eval 'write_at 200 && read_at 200'
	claim "$name: the rest is unharmed" same_data 201 1847
	claim "$name: status, detach, attach, uevent" recovers
}
failing_disk direct on 1
failing_disk buffered off 0
umount "$at"

# ---- no space for a sparse file ----

small=$LOOP_SCRATCH/small

no_space()
{
	local name="no space on $1"

	head -c 4M /dev/zero > "$small/filler"
	sync "$small/filler"
	image "$small/img" 32M
	attach_file "$small/img" "--direct-io=$2"
	claim "$name: writes fail, and say so" full
	claim "$name: what was written is there" same_data 0 128
	claim "$name: still fails, still answers" eval 'fails write_at 8000 && read_at 8000'
	rm "$small/filler"
	[ "$1" = tmpfs ] || sync -f "$small"
	claim "$name: there is space again: writes work" write_at 8000 64
	claim "$name: and the first data is still right" same_data 0 128
	claim "$name: status, detach, attach, uevent" recovers
	umount "$small"
}

# Fills the whole file system, first with data that can be compared.
full()
{
	local error

	dd if="$random" of="$dev" bs=64k count=8 oflag=direct status=none || return
	if error=$(dd if=/dev/zero of="$dev" bs=256k seek=2 oflag=direct conv=fsync \
		status=none 2>&1); then
		echo "32 MiB fitted"
		return 1
	fi
	case $error in
	*"No space left on device"* | *"Input/output error"*) ;;
	*) echo "$error"; return 1 ;;
	esac
}

mount -t tmpfs -o size=12m small "$small"
no_space tmpfs off
disk2=$(brd_take) || bail_out "no RAM disk"
for io in on off; do
	mkfs.ext4 -q -F -m 0 -O ^has_journal "$disk2" 16M
	mount "$disk2" "$small"
	no_space "ext4, direct $io" $io
done

# ---- the file shrinks ----

base=$(scratch_fs ext4) || bail_out "no ext4"

reader()
{
	while :; do
		dd if="$dev" of=/dev/null bs=128k iflag=direct status=none
	done 2>/dev/null
}

shrinks_under_load()
{
	local i pid

	reader &
	pid=$!
	for ((i = 0; i < 4; i++)); do
		truncate -s 4M "$base/img"
		sleep 0.1
		truncate -s 8M "$base/img"
		sleep 0.05
	done
	kill "$pid"
	wait "$pid" 2>/dev/null
	same_data 0 1024
}

shrinks()
{
	local name="the file shrinks, $1 mode"

	cp "$random" "$base/img"
	attach_file "$base/img" "--direct-io=$2"
	claim "$name: while it is read, to and fro" shrinks_under_load
	truncate -s 4M "$base/img"
	claim "$name: EIO for what is gone" eio read_at 1024
	claim "$name: EIO to the last block" eio read_at 2047
	claim "$name: EIO for a read that begins before" eio dd if="$dev" of=/dev/null \
		bs=64k skip=1 count=127 iflag=direct status=none
	claim "$name: all that is not gone" same_data 0 1024
	claim "$name: the size stays until LOOP_SET_CAPACITY" \
		same size $((8 * mib)) "$(size_of "$dev")"
	truncate -s 8M "$base/img"
	claim "$name: grown, the new part is zeroes" \
		same_data 1024 1024 /dev/zero
	claim "$name: grown, writes work and the old part is right" \
		eval 'write_at 1500 && same_data 0 1024'
	claim "$name: status, detach, attach, uevent" recovers
}
shrinks direct on
shrinks buffered off

# ---- the file may only be appended to ----

# The attribute applies to openers that come after it is set.
append_only()
{
	local ok=0

	cp "$random" "$base/append"
	attach_file "$base/append" --direct-io=on
	chattr +a "$base/append"
	write_at 7 && blkdiscard -f -o 1M -l 1M "$dev" && same_data 256 256 /dev/zero &&
		blkdiscard -f -z -o 3M -l 1M "$dev" && same_data 768 256 /dev/zero &&
		same_data 512 256 || ok=1
	chattr -a "$base/append"
	return "$ok"
}
claim "a file that may only be appended to: writes, discards and zeroes" append_only
loop_detach_all

# ---- an error of an earlier write ----

# The disk has a cache and no FUA, so a write with FUA syncs the file.  Time stamps have whole
# seconds, so that not each write is left to a worker because of them.
lost_start()
{
	low=$(null_make size=64 cache_size=1 fua=0) &&
		map_to cached "0 131072 linear $low 0" &&
		mkfs.ext4 -q -F -I 128 -b 4096 -O ^has_journal "$mapper-cached" &&
		mount -o noatime,errors=continue "$mapper-cached" "$at" &&
		written_image "$at/img" 64
}

lost_end()
{
	loop_detach_all
	umount "$at"
	unmap_it cached
	null_remove
}

# lost: the file loses block 0, which was written by way of its page cache
lost()
{
	local n

	n=$(($("$paths" place "$at/img") / 512)) &&
		remap_to cached "0 $n linear $low 0" "$n 8 error" \
			"$((n + 8)) $((131064 - n)) linear $low $((n + 8))" &&
		dd if="$random" of="$at/img" bs=4k count=1 conv=notrunc status=none &&
		fails sync -d "$at/img" && remap_to cached "0 131072 linear $low 0"
}

# reported: the next write with FUA or the flush after it fails; true if the write was inline
reported()
{
	lost && dd if="$random" of="$dev" bs=4k seek=16 count=20 oflag=direct conv=notrunc \
		status=none && snap "$dev" || exit
	if [ "$("$paths" flagged "$dev" write 64 4096 dsync)" = ok ] &&
		dd if=/dev/null of="$dev" conv=fsync,notrunc status=none; then
		echo "the error is lost:" && all_since "$dev"
		exit 1
	fi
	counted "$dev" inline > /dev/null && uncounted "$dev" retry_again > /dev/null
}

# The file reports the error only once.
reported_once()
{
	dev=$(attach_to "$at/img" on) && wait_for 10 reported && write_at 24 && detach "$dev"
}

if lost_start; then
	claim "a write with FUA does not hide the error of an earlier write" reported_once
else
	tap_skip "an error of an earlier write" "no null_blk with configfs"
fi
lost_end

# ---- the disk is pulled ----

pull()
{
	echo 0 > "$null_dir/power"
}

fails_now()
{
	fails read_at 100 && fails write_at 100
}

pulled()
{
	local name="disk pulled, $1"

	claim "$name: reads and writes fail" fails_now
	claim "$name: status is as before" same backing_file "$2" \
		"$(attr "$dev" backing_file | sed 's/ (deleted)$//')"
	claim "$name: status, detach, attach, uevent" recovers "$(attr "$dev" backing_file)"
}

if null=$(null_make size=64); then
	for io in on off; do
		[ -d "$null_dir" ] || null=$(null_make size=64)
		dd if="$random" of="$null" bs=1M oflag=direct status=none
		attach_file "$null" "--direct-io=$io"
		claim "before the disk is pulled, direct $io" same_data 0 2048
		pull
		pulled "loop on it, direct $io" "$null"
		null_remove
	done
	null=$(null_make size=64)
	mkfs.ext4 -q -F "$null"
	mount "$null" "$at"
	cp "$random" "$at/img"
	sync "$at/img"
	attach_file "$at/img" --direct-io=on
	pull
	pulled "loop on a file on it" "$at/img"
	claim "the file system above it can be unmounted" umount "$at"
	null_remove
	null=$(null_make size=64)
	attach_file "$null"
	claim "a disk of the same name can be attached" write_at 0
	detach "$dev"
	pull
	null_remove
else
	tap_skip "disk pulled" "no null_blk with configfs"
fi

test_end
