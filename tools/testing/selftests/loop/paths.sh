#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The path of each bio: inline by its submitter, cloned to the device below, or left to a
# worker, for each of the reasons.  The counters show the path, and the data are right.
#
# LOOP_PATHS_LONG=1 makes more and larger I/O.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup fio dmsetup mkfs.ext4 mkfs.xfs mkfs.btrfs fsfreeze prlimit
tap_start

BRD_COUNT=13
test_begin
groups_start || diag "no cgroup v2 with io and memory"
random=$LOOP_SCRATCH/random
head -c 1M /dev/urandom > "$random"
declare -A on
for type in ext4 xfs btrfs; do
	on[$type]=$(scratch_fs "$type") || bail_out "no $type"
	mount -o remount,noatime "${on[$type]}"
done

# ---- inline ----

# write_inline FS DEVICE SEED: on ext4 and xfs, the first write in a tick of the clock
# waits, as it sets the times of the file. On a slow machine each write can be the first,
# so several writes are made.
write_inline()
{
	wait_for 5 written_inline "$@"
}

written_inline()
{
	local same_tick tries

	snap "$2" && same_tick=$("$paths" write "$2" 64 "$3") || return
	if [ "$1" != btrfs ] && [ "$same_tick" = 0 ]; then
		tries=$(($(since "$2" inline) + $(since "$2" worker_backoff)))
		same tries 64 "$tries"
	else
		inline_done "$2" 64
	fi
}

# A direct read on btrfs waits for the file's lock, so workers do it.
inline_direct()
{
	local file=${on[$1]}/direct dev reads=inline:64

	[ "$1" != btrfs ] || reads=worker_file:64
	written_image "$file" 256
	dev=$(attach_to "$file" on) && write_inline "$1" "$dev" 1 &&
		snap "$dev" && "$paths" check "$dev" 64 1 direct && counted "$dev" "$reads" &&
		untried "$dev" && detach "$dev" && forget "$file" &&
		"$paths" check "$file" 64 1
}

untried()
{
	uncounted "$1" retry_again retry_late retry_short retry_error buffered
}

for type in ext4 xfs btrfs; do
	claim "$type, direct: reads and writes inline" inline_direct $type
done

inline_buffered()
{
	local file=${on[$1]}/buffered dev

	written_image "$file" 256
	"$paths" write "$file" 64 2 && dev=$(attach_to "$file" off) &&
		forget "$file" && snap "$dev" && "$paths" check "$dev" 64 2 direct &&
		inline_done "$dev" 64 && counted "$dev" retry_again &&
		"$paths" check "$dev" 64 2 direct && snap "$dev" &&
		"$paths" check "$dev" 64 2 direct && counted "$dev" inline:64 &&
		untried "$dev" || return
	case $1 in
	ext4) snap "$dev" && "$paths" write "$dev" 64 3 && counted "$dev" worker_file:64 &&
		uncounted "$dev" inline ;;
	*) write_inline "$1" "$dev" 3 && uncounted "$dev" worker_file ;;
	esac || return
	"$paths" check "$file" 64 3 && detach "$dev" && forget "$file" &&
		"$paths" check "$file" 64 3
}

for type in ext4 xfs btrfs; do
	claim "$type, buffered: inline what is cached, workers for what is not" \
		inline_buffered $type
done

# ---- small writes of the page cache ----

# merged FS on|off: 256 pages of the device are written back. Each is a bio.
merged()
{
	local file=${on[$1]}/merged dev

	image "$file" 4M
	dev=$(attach_to "$file" "$2") && snap "$dev" &&
		dd if="$random" of="$dev" bs=1M conv=notrunc,fsync status=none &&
		counted "$dev" merged:128 && cmp -n 1048576 "$random" "$dev" &&
		snap "$dev" && dd if="$random" of="$dev" bs=4k count=64 oflag=direct status=none &&
		for ((i = 0; i < 16; i++)); do
			dd if="$random" of="$dev" bs=4k count=1 skip="$i" seek=$((512 - i * 2)) \
				conv=notrunc,fsync status=none || return
		done && uncounted "$dev" merged && detach "$dev" && cmp -n 1048576 "$random" "$file"
}
claim "pages that follow each other become one write, direct" merged ext4 on
claim "pages that follow each other become one write, buffered" merged ext4 off
claim "the same on xfs, direct" merged xfs on
claim "the same on xfs, buffered" merged xfs off
claim "the same on btrfs, direct" merged btrfs on
claim "the same on btrfs, buffered" merged btrfs off

not_merged()
{
	local file=${on[ext4]}/merged dev queue

	image "$file" 4M
	dev=$(attach_to "$file" on) && queue=/sys/block/${dev#/dev/}/queue &&
		echo 2 > "$queue/nomerges" && snap "$dev" &&
		dd if="$random" of="$dev" bs=1M conv=notrunc,fsync status=none &&
		uncounted "$dev" merged && echo 0 > "$queue/nomerges" && detach "$dev" &&
		cmp -n 1048576 "$random" "$file"
}
claim "queue/nomerges: pages are written one by one" not_merged

# The error of one write reaches each of the pages, and the next sync writes them.
merged_fails()
{
	local at=$LOOP_SCRATCH/at dev

	mkdir -p "$at" && mount -t tmpfs -o size=4M tmpfs "$at" && image "$at/img" 2M &&
		head -c 4M /dev/zero > "$at/rest"
	dev=$(attach_to "$at/img" off) && snap "$dev" &&
		fails dd if="$random" of="$dev" bs=1M conv=notrunc,fsync status=none &&
		counted "$dev" merged && rm "$at/rest" &&
		dd if="$random" of="$dev" bs=1M conv=notrunc,fsync status=none &&
		detach "$dev" && cmp -n 1048576 "$random" "$at/img" && umount "$at"
}
claim "the file has no room for pages that became one write: an error, and later none" \
	merged_fails

# ---- why a bio is not inline ----

sparse()
{
	local file=${on[ext4]}/sparse dev

	image "$file" 4M
	dev=$(attach_to "$file" on) && snap "$dev" &&
		same result "submitted ok=256 again=0 other=0" \
			"$(paste_of "$paths" async aio "$dev" write 256 4)" &&
		counted "$dev" retry_again worker_backoff &&
		"$paths" check "$dev" 256 4 && detach "$dev" &&
		"$paths" check "$file" 256 4
}
claim "writes to holes wait, and the next ones do not try" sparse

uncached()
{
	local file=${on[ext4]}/uncached dev

	written_image "$file" 1024
	"$paths" write "$file" 1024 4 && dev=$(attach_to "$file" off) && forget "$file" && snap "$dev" &&
		same result "submitted ok=1024 again=0 other=0" \
			"$(paste_of "$paths" async aio "$dev" read 1024 4)" &&
		counted "$dev" retry_again worker_backoff &&
		dd "if=$dev" of=/dev/null bs=4k count=16 iflag=direct status=none && snap "$dev" &&
		dd "if=$dev" of=/dev/null bs=4k count=64 iflag=direct status=none &&
		counted "$dev" inline:64 && uncounted "$dev" worker_backoff && detach "$dev"
}
claim "reads of what is not cached wait; what is cached is inline 16 reads later" uncached

# synced DEVICE COUNTERS DD-OPTION...: writes eight blocks inline, and the counters grow
synced()
{
	local dev=$1 counters

	read -ra counters <<< "$2"
	shift 2
	snap "$dev" && dd if="$random" of="$dev" bs=4k count=8 "$@" status=none &&
		inline_done "$dev" 8 && counted "$dev" "${counters[@]}"
}

# A direct write with O_DSYNC becomes one with FUA, and a flush. As above, the first write
# in a tick waits.
fua()
{
	local file=${on[xfs]}/fua dev

	written_image "$file" 64
	dev=$(attach_to "$file" off) &&
		wait_for 5 synced "$dev" "worker_flush:8 flush:16 fsync:16" oflag=direct,dsync &&
		wait_for 5 synced "$dev" "worker_flush:1 flush:1 fsync:1" oflag=direct \
			conv=fsync && cmp -n 32768 "$random" "$file" && detach "$dev"
}
claim "buffered: FUA is inline, and a flush follows" fua

# A write to a file with the attribute S waits for the disk, whatever IOCB_NOWAIT says.
synchronous()
{
	local file=${on[xfs]}/synchronous dev

	written_image "$file" 64
	dev=$(attach_to "$file" off) && chattr +S "$file" && snap "$dev" &&
		"$paths" write "$dev" 64 21 && counted "$dev" worker_file:64 &&
		uncounted "$dev" inline && chattr -S "$file" && write_inline xfs "$dev" 22 &&
		detach "$dev" && "$paths" check "$file" 64 22
}
claim "buffered, chattr +S: workers wait for the sync" synchronous

# flusher_soon COMMAND...: dirty pages are written back at once
flusher_soon()
{
	local vm=/proc/sys/vm rc=0 every after

	every=$(cat "$vm"/dirty_writeback_centisecs) && after=$(cat "$vm"/dirty_expire_centisecs)
	echo 20 > "$vm"/dirty_writeback_centisecs && echo 20 > "$vm"/dirty_expire_centisecs &&
		"$@" || rc=$?
	echo "$every" > "$vm"/dirty_writeback_centisecs
	echo "$after" > "$vm"/dirty_expire_centisecs
	return "$rc"
}

# flusher FILE COUNT: the device stays open, so that no close writes back. The pages are
# far from each other, so that each is a bio.
flusher()
{
	local dev i

	dev=$(attach_new "$1" off) && exec 9< "$dev" && snap "$dev" || return
	for ((i = 0; i < $2; i++)); do
		dd if="$random" of="$dev" bs=4k count=1 seek=$((i * 16)) conv=notrunc \
			status=none || return
	done
	flusher_soon wait_for 20 counted "$dev" "worker_kworker:$2" &&
		uncounted "$dev" inline && exec 9<&- && detach "$dev" && rm "$1"
}

flusher_full()
{
	local dir=${on[xfs]} file=${on[xfs]}/flusher rc=0

	mount -o remount,lazytime "$dir" && image "$file" 16M || return
	fallocate -l $(($(df --output=avail -B1 "$dir" | tail -n 1) - (8 << 20))) "$dir/fill" || rc=1
	! dd if=/dev/zero of="$dir/fill2" bs=64k status=none 2>/dev/null || rc=2
	! dd if=/dev/zero of="$dir/fill3" bs=4k status=none 2>/dev/null || rc=3
	sync -f "$dir"
	[ "$rc" != 0 ] || flusher "$file" 16 || rc=4
	rm -f "$dir"/fill*
	mount -o remount,nolazytime "$dir" && same "where it went wrong" 0 "$rc"
}

flusher_overwrites()
{
	written_image "${on[xfs]}/flusher" 256 && flusher "${on[xfs]}/flusher" 16
}

claim "buffered: what the kernel's flusher writes is for workers" flusher_overwrites
claim "xfs that is full, and syncs itself: the flusher does not wait for it" flusher_full

unmap()
{
	local file=${on[ext4]}/unmap dev

	written_image "$file" 64
	dev=$(attach_to "$file" on) && snap "$dev" && blkdiscard -l 65536 "$dev" &&
		counted "$dev" worker_op:1 && uncounted "$dev" unmap_refused &&
		cmp -n 65536 "$dev" /dev/zero && detach "$dev"
}
claim "discard is for workers" unmap

# ext4 does not zero a range of a file without extents, so the block layer does.
refused()
{
	local file dev

	file=$(scratch_fs ext4 -O ^extent,^64bit)/refused && written_image "$file" 64 &&
		dev=$(attach_to "$file" on) && dd if="$random" of="$dev" bs=64k count=1 \
			oflag=direct status=none && snap "$dev" && blkdiscard -z -l 65536 "$dev" &&
		counted "$dev" worker_op:1 unmap_refused:1 && cmp -n 65536 "$dev" /dev/zero &&
		same "write zeroes" 0 "$(cat "/sys/block/${dev##*/}/queue/write_zeroes_max_bytes")" &&
		snap "$dev" && blkdiscard -z -l 65536 "$dev" &&
		uncounted "$dev" worker_op unmap_refused && detach "$dev"
}
claim "what the file refuses is counted, and not offered again" refused

rlimit()
{
	local file=${on[$1]}/rlimit dev

	written_image "$file" 64
	dev=$(attach_to "$file" "$2") && snap "$dev" &&
		prlimit --fsize=8192 dd if="$random" of="$dev" bs=4k count=16 \
			oflag=direct status=none &&
		counted "$dev" worker_rlimit:16 && uncounted "$dev" inline &&
		cmp -n 65536 "$random" "$dev" && detach "$dev" &&
		forget "$file" && cmp -n 65536 "$random" "$file"
}
claim "a file size limit of the submitter is none of the backing file, direct" \
	rlimit ext4 on
claim "a file size limit of the submitter is none of the backing file, buffered" \
	rlimit xfs off

# access_times FS OPTION: 16 reads through a device; the first may set the access time
access_times()
{
	local file=${on[$1]}/atime dev mode=on inline=14

	# a page of btrfs that is not up to date makes workers do some more
	[ "$1" != btrfs ] || { mode=off && inline=8; }
	written_image "$file" 16
	# "atime" undoes an earlier noatime
	mount -o "remount,atime,$2" "${on[$1]}" && "$paths" write "$file" 16 14 &&
		{ [ "$mode" = off ] || forget "$file"; } &&
		touch -a -d @1 "$file" && dev=$(attach_to "$file" "$mode") && snap "$dev" &&
		"$paths" check "$dev" 16 14 direct && counted "$dev" "inline:$inline" || return
	case $2 in
	noatime) uncounted "$dev" worker_atime && same atime 1 "$(stat -c %X "$file")" ;;
	*) counted "$dev" worker_atime && [ "$(stat -c %X "$file")" -gt 1 ] ;;
	esac && detach "$dev" && mount -o remount,noatime "${on[$1]}" && rm "$file"
}
for type in ext4 xfs btrfs; do
	for option in noatime strictatime relatime; do
		claim "$type, $option: a worker notes reads, where the file system does" \
			access_times $type $option
	done
done

# Of reads that are submitted before a worker can run, one waits for it.
access_time_of_many()
{
	local file=${on[ext4]}/many dev

	written_image "$file" 64 && mount -o remount,atime,strictatime "${on[ext4]}" &&
		dev=$(attach_to "$file" on) && snap "$dev" &&
		chrt -f 1 fio --name=many --filename="$dev" --rw=read --bs=4k --size=256k --direct=1 \
			--ioengine=libaio --iodepth=64 --iodepth_batch=64 \
			--output=/dev/null && counted "$dev" inline:60 worker_atime &&
		detach "$dev" && mount -o remount,noatime "${on[ext4]}" && rm "$file"
}
claim "a worker notes one of many reads" access_time_of_many

# A file system that sets no times by itself is asked for its page cache only.
cache_only()
{
	local dir file dev

	dir=$(scratch_fs "$1") && file=$dir/cached && written_image "$file" 64 &&
		"$paths" write "$file" 64 18 && dev=$(attach_to "$file" off) &&
		"$paths" check "$dev" 64 18 direct && snap "$dev" &&
		"$paths" check "$dev" 64 18 direct && counted "$dev" inline:62 &&
		"$paths" write "$dev" 64 19 && "$paths" check "$dev" 64 19 direct &&
		"$paths" check "$file" 64 19 && truncate -s 128k "$file" && snap "$dev" &&
		fails "$paths" check "$dev" 64 19 direct && detach "$dev" &&
		scratch_fs_end "$dir"
}
for type in tmpfs vfat exfat ext2; do
	claim "$type: what is cached is read inline" cache_only $type
done

# Workers alone read and write the same data.
turned_off()
{
	local file=${on[ext4]}/off dev

	written_image "$file" 64 && dev=$(attach_to "$file" on) && inline_io N && snap "$dev" &&
		"$paths" write "$dev" 64 20 && "$paths" check "$dev" 64 20 direct &&
		counted "$dev" worker_off:128 && uncounted "$dev" inline && inline_io Y &&
		snap "$dev" && "$paths" check "$dev" 64 20 direct &&
		counted "$dev" inline && uncounted "$dev" worker_off && detach "$dev"
}
claim "inline I/O can be turned off and on" turned_off

# Device mapper splits a bio in two, and the second half waits for the first.
parked()
{
	local file=${on[ext4]}/parked dev

	written_image "$file" 256
	dev=$(attach_to "$file" on) && map_to parked "0 1032 linear $dev 0" \
		"1032 1016 linear $dev 1032" && snap "$dev" &&
		dd if="$random" of="$mapper-parked" bs=1M oflag=direct status=none &&
		counted "$dev" worker_parked && cmp -n 1048576 "$random" "$mapper-parked" &&
		unmap_it parked && detach "$dev" && cmp -n 1048576 "$random" "$file"
}
claim "another bio of the task waits for this one to be submitted" parked

# A read of device mapper may be for metadata of a file system above.  ext4 does not mark
# the blocks of the extent tree as metadata.
above()
{
	local at=$LOOP_SCRATCH/at dev block

	dev=$(attach_to "$1" "$2") && map_to above "0 16384 linear $dev 0" &&
		mkfs.ext4 -q -F -O ^has_journal -N 64 "$mapper-above" && mkdir -p "$at" &&
		mount "$mapper-above" "$at" && written_image "$at/img" 64 || return
	for ((block = 0; block < 64; block += 2)); do
		fallocate -p -o $((block * 4096)) -l 4096 "$at/img" || return
	done
	umount "$at" && forget "$mapper-above" && mount "$mapper-above" "$at" && snap "$dev" &&
		filefrag "$at/img" > /dev/null && counted "$dev" worker_meta &&
		uncounted "$dev" inline && umount "$at" && unmap_it above && detach "$dev"
}

# This device mapper target needs memory in whole 4 KiB, too.
unaligned()
{
	local at=$LOOP_SCRATCH/at dev

	map_to align "0 16384 crypt aes-xts-plain64 $(printf '%064d' 7) 0 $1 0 1 sector_size:4096" &&
		mkfs.ext4 -q -F -O ^has_journal -E lazy_itable_init=1 -N 64 "$mapper-align" && mkdir -p "$at" &&
		mount "$mapper-align" "$at" && written_image "$at/img" 16 &&
		dev=$(attach_to "$at/img" on -b 4096) && snap "$dev" &&
		"$paths" unaligned "$dev" && counted "$dev" worker_align:2 &&
		uncounted "$dev" inline && detach "$dev" && umount "$at" &&
		dev=$(attach_to "$mapper-align" on -b 4096) && snap "$dev" &&
		"$paths" unaligned "$dev" && uncounted "$dev" cloned &&
		detach "$dev" && unmap_it align
}
ram=$(brd_take)
written_image "${on[ext4]}/above" 2048
claim "metadata of a device above is for workers, direct" above "${on[ext4]}/above" on
layers_off
claim "metadata of a device above is for workers, buffered" above "$ram" off
layers_off
rm "${on[ext4]}/above"
if modprobe -q dm-crypt; then
	claim "memory that the device below does not take" unaligned "$ram"
else
	tap_skip "memory that the device below does not take" "no dm-crypt"
fi

# ---- the file is opened once more, for swap ----

# Attaching opens and closes the file; changes are not reported to a watcher of the file.
watched()
{
	local file=${on[$1]}/watched dev

	image "$file" 1M && dev=$(attach "$file") && truncate -s 2M "$file" &&
		same "a new size" "opened 0, closed 0" \
			"$("$paths" watch "$file" losetup -c "$dev")" &&
		same "direct I/O" "opened 0, closed 0" \
			"$("$paths" watch "$file" losetup --direct-io=on "$dev")" &&
		same "the detach" "opened 0, closed 1" \
			"$("$paths" watch "$file" losetup -d "$dev")" && rm "$file"
}

# The node of a disk is not a file of the file system that holds it.
node_opened()
{
	local node=${on[$1]}/node low dev

	image "$LOOP_SCRATCH/low" 1M && low=$(attach "$LOOP_SCRATCH/low") &&
		mknod "$node" b 7 "${low#/dev/loop}" && dev=$(attach "$node") &&
		same "openers of the disk" 1 "$("$LOOP_TEST_BIN/loopctl" list -n -O OPENERS "$low" |
			xargs)" &&
		detach "$dev" && detach "$low" && rm "$node"
}
for type in ext4 xfs; do
	claim "$type: who watches a file is told of no change of the device" watched $type
done
if [ -x "$LOOP_TEST_BIN/loopctl" ]; then
	claim "ext4: a disk whose node is there is not opened once more" node_opened ext4
else
	tap_skip "ext4: a disk whose node is there" "loopctl is not built"
fi

# ---- clones ----

cloned()
{
	local dev low=$1 at

	"$paths" write "$low" 256 9 && forget "$low" && dev=$(attach_to "$low" on) &&
		snap "$dev" && "$paths" write "$dev" 64 5 &&
		"$paths" check "$dev" 64 5 direct && counted "$dev" cloned:128 &&
		snap "$dev" && dd if=/dev/zero of="$dev" bs=4k count=1 seek=200 \
			oflag=direct conv=fsync status=none && counted "$dev" cloned:2 &&
		uncounted "$dev" worker_flush inline || return
	if [ "${2:-}" = discard ]; then
		snap "$dev" && blkdiscard -o 1048576 -l 65536 "$dev" &&
			counted "$dev" cloned:1 || return
	fi
	# Pages are cached below, and the device has newer data. The first write may
	# invalidate the pages of the others, as one folio has all of them.
	"$paths" check "$low" 64 5 && snap "$dev" && "$paths" write "$dev" 1 6 &&
		uncounted "$dev" cloned && counted "$dev" inline &&
		"$paths" write "$dev" 64 6 && "$paths" check "$low" 64 6 &&
		"$paths" check "$dev" 64 6 direct || return
	# Pages are dirty below, and no loop device may see what is on the medium.
	dd if="$random" of="$low" bs=4k count=64 conv=notrunc status=none &&
		snap "$dev" && dd if="$dev" bs=64k count=4 iflag=direct status=none |
			cmp -n 262144 - "$random" && uncounted "$dev" cloned &&
		dd if="$random" of="$low" bs=4k count=64 conv=notrunc status=none &&
		snap "$dev" && flush "$dev" && counted "$dev" worker_flush fsync &&
		uncounted "$dev" cloned && at=$(written_pages "$low") &&
		same "dirty pages after the flush" 0 "$at" && detach "$dev" &&
		forget "$low" && cmp -n 262144 "$low" "$random"
}

# flush DEVICE: its own page cache is empty
flush()
{
	dd if=/dev/null of="$1" conv=fsync,notrunc status=none
}

# Counts the pages of the device that an fsync of it writes.
written_pages()
{
	local n before

	n=/sys/block/${1##*/}/stat
	before=$(awk '{ print $7 }' "$n") && "$helper" forget "$1" &&
		echo $(($(awk '{ print $7 }' "$n") - before))
}

modprobe -q null_blk nr_devices=1 memory_backed=1 gb=1 discard=1
if [ -b /dev/nullb0 ]; then
	claim "null_blk: clones; with pages below, none, and the data is one" \
		cloned /dev/nullb0 discard
else
	tap_skip "null_blk: clones" "no null_blk"
fi
claim "RAM disk: clones; with pages below, none, and the data is one" cloned "$ram"

# Reads fill the cache below while writes go past it.
coherent()
{
	local dev pid round

	dev=$(attach_to "$ram" on) || return
	while :; do
		dd if="$ram" of=/dev/null bs=64k count=16 status=none
	done &
	pid=$!
	for ((round = 20; round < 25 + 100 * ${LOOP_PATHS_LONG:-0}; round++)); do
		"$paths" async aio "$dev" write 256 "$round" > "$LOOP_SCRATCH/async"
		"$paths" check "$ram" 256 "$round" || break
	done
	kill "$pid"
	wait "$pid" 2>/dev/null
	"$paths" check "$dev" 256 $((round - 1)) direct && grep -q ok=256 "$LOOP_SCRATCH/async" &&
		same rounds $((25 + 100 * ${LOOP_PATHS_LONG:-0})) "$round" && detach "$dev"
}
claim "RAM disk: readers of it see each write that is done" coherent

# A write is delayed below. Meanwhile the old data are read into the cache, which may
# already have had them.
overtaken()
{
	local dev low=$mapper-delay new=$LOOP_SCRATCH/new pid before rc=0

	map_to delay "0 8192 delay $ram 0 0 $ram 0 2000" && dev=$(attach_to "$low" on) || return
	for before in cloned worker_file; do
		forget "$low"
		[ "$before" = cloned ] || dd if="$low" of=/dev/null bs=4k count=1 status=none
		head -c 4096 /dev/urandom > "$new"
		snap "$dev"
		dd if="$new" of="$dev" bs=4k oflag=direct conv=notrunc status=none &
		pid=$!
		wait_for 10 in_flight "$dev" write &&
			dd if="$low" of=/dev/null bs=4k count=1 status=none && wait "$pid" &&
			counted "$dev" "$before" && cmp -n 4096 "$new" "$low" || rc=1
	done
	detach "$dev" && unmap_it delay && return "$rc"
}

# A read of the first file ends while a change of the file waits for it.
read_of_old()
{
	local low=$mapper-held file=${on[ext4]}/other dev open reader changer rc=0

	"$paths" write "$ram" 4 31 && written_image "$file" 1024 &&
		map_to held "0 8192 linear $ram 0" && forget "$low" &&
		dev=$(attach_to "$low" off -r) && exec {open}< "$dev" &&
		dmsetup suspend --noflush --nolockfs loop-selftest-held || return
	dd if="$dev" of=/dev/null bs=4k count=1 status=none &
	reader=$!
	wait_for 10 in_flight "$dev" read || rc=1
	"$paths" change-fd "$dev" "$file" &
	changer=$!
	wait_for 10 waits_in_loop "$changer" || rc=1
	dmsetup resume loop-selftest-held
	wait "$changer" && wait "$reader" && cmp -n 4096 "$dev" "$file" || rc=1
	exec {open}<&-
	detach "$dev" && unmap_it held && rm "$file" && return "$rc"
}
if modprobe -q dm_delay; then
	claim "what is read below during a write is gone after it" overtaken
	layers_off
else
	tap_skip "what is read below during a write" "no dm-delay"
fi
claim "what is read of the old file is gone after a change" read_of_old

# ---- late ----

# A device that has no free tag, or has to split the bio, reports EAGAIN by the
# completion.  Its page cache has the blocks, so they are read inline.
late()
{
	local low=$1 dev out=$LOOP_SCRATCH/late

	"$paths" write "$low" 64 15 && dev=$(attach_to "$low" on) &&
		"$paths" check "$low" 64 15 && snap "$dev" &&
		same result "submitted ok=64 again=0 other=0" \
			"$(paste_of "$paths" async aio "$dev" read 64 15)" &&
		counted "$dev" inline retry_late && uncounted "$dev" retry_again &&
		echo 4 > "/sys/block/${low##*/}/queue/max_sectors_kb" && snap "$dev" &&
		dd if="$dev" of="$out" bs=64k count=4 iflag=direct status=none &&
		sum_counted "$dev" retry_late worker_backoff && uncounted "$dev" retry_again &&
		cmp -n 262144 "$low" "$out" && detach "$dev"
}

# the device has one tag, and each I/O takes it for 2 ms
if slow=$(null_make size=64 hw_queue_depth=1 irqmode=2 completion_nsec=2000000); then
	claim "a device below without a tag, or that splits: EAGAIN comes late" late "$slow"
	null_remove
else
	tap_skip "EAGAIN comes late" "no null_blk with configfs"
fi

# ---- failed, in the middle ----

# Time stamps have whole seconds, so that no write is left to a worker because of them.
failing_start()
{
	map_to failing "0 131072 linear $disk 0" && mkdir -p "$at" &&
		mkfs.ext4 -q -F -I 128 -b 4096 -O ^has_journal "$mapper-failing" &&
		mount -o noatime "$mapper-failing" "$at" && written_image "$at/img" 256
}

# fault sector|end|none: block 40 of the file fails, three sectors after its beginning
fault()
{
	local n

	n=$(($("$paths" place "$at/img") / 512 + 323)) || return
	case $1 in
	sector) remap_to failing "0 $n linear $disk 0" "$n 1 error" \
		"$((n + 1)) $((131071 - n)) linear $disk $((n + 1))" ;;
	end) truncate -s $((323 * 512)) "$at/img" ;;
	none) remap_to failing "0 131072 linear $disk 0" && truncate -s 1M "$at/img" ;;
	esac
}

# read_fails SECTORS: the sectors before the fault are read, and then EIO
read_fails()
{
	local result

	result=$("$paths" transfer "$dev" read 32 16 16) && echo "$result" &&
		[[ $result == "EIO $(printf '=%.0s' $(seq "$1"))"[.=]* ]]
}

# failing_read on|off sector|end SECTORS COUNTER
failing_read()
{
	local dev inline

	"$paths" write "$at/img" 256 16 && dev=$(attach_to "$at/img" "$1") && fault "$2" &&
		forget "$at/img" || return
	[ "$1" = on ] || dd if="$at/img" of=/dev/null bs=4k skip=32 count=8 status=none ||
		return
	snap "$dev" && inline=$(read_fails "$3") && counted "$dev" inline:1 "$4:1" &&
		forget "$at/img" && snap "$dev" && inline_io N &&
		same "what came" "$inline" "$(read_fails "$3")" && inline_io Y &&
		counted "$dev" worker_off:1 && uncounted "$dev" inline && fault none &&
		"$paths" check "$dev" 40 16 direct && detach "$dev"
}

write_fails()
{
	same result EIO "$("$@" "$paths" transfer "$dev" write 32 16 17)"
}

# Of two writes in one second, the second one does not set the time stamps.
write_fails_inline()
{
	snap "$dev" && write_fails && counted "$dev" retry_error:1 > /dev/null
}

failing_write()
{
	local dev all=() by

	for by in inline worker; do
		"$paths" write "$at/img" 256 16 && dev=$(attach_to "$at/img" on) &&
			fault sector || return
		if [ "$by" = inline ]; then
			wait_for 10 write_fails_inline
		else
			snap "$dev" && write_fails prlimit --fsize=8192 &&
				counted "$dev" worker_rlimit:1 && uncounted "$dev" inline
		fi && fault none && detach "$dev" && forget "$at/img" &&
			cp "$at/img" "$LOOP_SCRATCH/$by" || return
		all+=("$LOOP_SCRATCH/$by")
	done
	"$paths" transfer "$at/img" read 32 16 17 | grep -E '^65536 ={67}x={60}$' &&
		cmp "${all[@]}" && rm "${all[@]}"
}

at=$LOOP_SCRATCH/at
disk=$(brd_take)
if failing_start; then
	claim "direct, a bad sector in the middle of a read: as by a worker" \
		failing_read on sector 67 retry_error
	claim "direct, the file ends in the middle of a read: as by a worker" \
		failing_read on end 67 retry_short
	claim "buffered, a bad sector after what is cached: as by a worker" \
		failing_read off sector 64 retry_short
	claim "buffered, the file ends in the middle of a read: as by a worker" \
		failing_read off end 67 retry_short
	claim "direct, a bad sector in the middle of a write: as by a worker" failing_write
else
	tap_not_ok "a disk with a bad sector"
fi
umount "$at"
unmap_it failing

# ---- frozen ----

# frozen_begin FS ENGINE COUNT SEED [nowait]: freezes the file system, and submits I/O
frozen_begin()
{
	fsfreeze -f "${on[$1]}" || return
	"$paths" async "$2" "$dev" write "$3" "$4" "${5:-}" > "$LOOP_SCRATCH/async" &
	async=$!
}

# The file system is thawed in any case.
frozen_end()
{
	fsfreeze -u "${on[$1]}"
	wait "$async"
}

has_line()
{
	grep -q "$1" "$LOOP_SCRATCH/async"
}

# frozen FS ENGINE on|off [nowait]
frozen()
{
	local file=${on[$1]}/frozen dev async rc=0

	written_image "$file" 64
	dev=$(attach_to "$file" "$3") && snap "$dev" || return
	frozen_begin "$1" "$2" 12 7 "${4:-}" || return
	wait_for 30 has_line submitted || rc=1
	! has_line ok= || rc=1
	frozen_end "$1" || rc=1
	cat "$LOOP_SCRATCH/async"
	[ "$rc" = 0 ] && has_line "ok=12 again=0 other=0" || return
	case $1/$3 in
	ext4/off) counted "$dev" worker_file:12 ;;
	*) counted "$dev" retry_frozen ;;
	esac && "$paths" check "$dev" 12 7 && detach "$dev" && "$paths" check "$file" 12 7
}
for io in on off; do
	for engine in aio uring; do
		claim "frozen file system below, $engine, direct $io: submitted, and done after the thaw" \
			frozen ext4 $engine $io
	done
done
for type in xfs btrfs; do
	claim "frozen $type below, buffered writes that would be inline: the same" \
		frozen $type aio off
done
claim "frozen file system below, RWF_NOWAIT: submitted, and done after the thaw" \
	frozen ext4 aio on nowait

# ---- killed ----

# The driver's counters tell what became of the reads of a killed task.  An inline read of
# a killed task fails, and a worker does it.
killed()
{
	local file=${on[ext4]}/killed dev rc=0

	for _ in {1..4}; do
		cat "$random"
	done > "$file"
	dev=$(attach_to "$file" "$1") && forget "$file" && snap "$dev" &&
		failures_begin || return
	# A task can be anywhere in a read by then.
	for _ in {1..10}; do
		"$paths" killed "$dev" $((40 + 400 * ${LOOP_PATHS_LONG:-0})) || rc=1
		[ "$1" = off ] || break
		! counted "$dev" retry_error retry_short > /dev/null || break
	done
	failures_end && same "status of the tasks" 0 "$rc" &&
		{ [ "$1" = on ] || counted "$dev" retry_error retry_short; } &&
		cmp "$file" "$dev" && "$paths" write "$dev" 16 8 &&
		"$paths" check "$dev" 16 8 && detach "$dev" && rm "$file"
}

# failures_begin, failures_end: no bio of a loop device fails between the two
failures_begin()
{
	trace_start || return 0
	: > "$trace/trace" && echo "error != 0" > "$trace/events/loop/loop_bio_done/filter" &&
		echo 1 > "$trace/events/loop/loop_bio_done/enable"
}

failures_end()
{
	trace_start || return 0
	echo 0 > "$trace/events/loop/loop_bio_done/enable"
	echo 0 > "$trace/events/loop/loop_bio_done/filter"
	fails grep bio_done "$trace/trace"
}

claim "tasks killed while they read, buffered backing: no read fails" killed off
claim "tasks killed while they read, direct backing: no read fails" killed on

# ---- cgroups ----

# A cgroup makes pages dirty, and a task of the root cgroup writes them back.  The device
# stays open, so that no close writes back.
other_cgroup()
{
	local file=${on[$1]}/cgroup dev

	written_image "$file" 256
	dev=$(attach_new "$file" "$2") && exec 9< "$dev" && snap "$dev" &&
		in_group a dd if="$random" of="$dev" bs=64k count=16 conv=notrunc status=none &&
		sync && counted "$dev" "$3" && exec 9<&- &&
		cmp -n 1048576 "$random" "$dev" && detach "$dev" && cmp -n 1048576 "$random" "$file"
}

# The cgroup has nothing but dirty pages of the device.  In buffered mode it also has the
# dirty pages of the file. The kernel may find that none can be freed, and kill the task,
# as with the stock driver.
reclaim_cache()
{
	local file=${on[$1]}/reclaim dev rc=0

	rm -f "$file" && image "$file" 40M && { [ "$3" = 8M ] || written_image "$file" 10240; } &&
		dev=$(attach_new "$file" "$2") && exec 9< "$dev" && snap "$dev" &&
		echo "$3" > "$groups/b/memory.max" || return
	in_group b dd if=/dev/zero of="$dev" bs=256k count=160 conv=notrunc status=none || rc=$?
	echo max > "$groups/b/memory.max"
	[ "$2" = on ] || [ "$rc" != 137 ] || rc=0
	sync && counted "$dev" "$4" && exec 9<&- && "$paths" write "$dev" 64 12 &&
		"$paths" check "$dev" 64 12 direct && detach "$dev" && rm "$file" &&
		same "status of the writer" 0 "$rc"
}

# On a busy machine the kernel may still kill the task, so two of three tries must succeed.
two_of_three()
{
	local i done=0

	for i in 1 2 3; do
		echo "try $i" && "$@" && done=$((done + 1))
	done
	[ "$done" -ge 2 ]
}

# A worker cannot charge a page of the file, and no task may be killed for it.
full_cgroup()
{
	local file=${on[$1]}/full dev rc=0

	written_image "$file" 256
	dev=$(attach_to "$file" off) && forget "$file" || return
	in_group b "$paths" full "$dev" "$groups/b/memory.max" 64 14 || rc=$?
	echo max > "$groups/b/memory.max"
	same "status of the writer" 0 "$rc" && "$paths" check "$dev" 64 14 direct &&
		detach "$dev" && rm "$file"
}

# reclaim_swap FS on|off COUNTER [BLOCKS]: COUNTER counts pages that are swapped out.
# worker_swap does not change the times of the file.  A page fault swaps in, so a worker
# does it.  Only BLOCKS of the file are written, and little memory is free: the kernel
# would warn of a transaction, for a block that is missing, which allocates from the
# reserves.  Such a transaction sets the times as well.
# If a kernel is slow to write, it may find that nothing can be freed, and kill the task.
# Then the test is made once more.
reclaim_swap()
{
	local file=${on[$1]}/swap min=/proc/sys/vm/min_free_kbytes limit=12M kib dev times rc
	local use=(anonymous 18 0) reads=worker_swap

	# workers do all direct reads of btrfs
	[ "$1" != btrfs ] || reads=worker_file
	kib=$(cat "$min")
	[ -z "${4-}" ] || limit=4M use=(low-memory 6 20)
	written_image "$file" "${4:-5120}" && truncate -s 20M "$file" || return
	dev=$(attach_to "$file" "$2") && mkswap -q "$dev" && swapon "$dev" && sync "$file" &&
		snap "$dev" && times=$(stat -c %y%z "$file") &&
		echo "$limit" > "$groups/b/memory.max" || return
	for _ in 1 2 3; do
		rc=0
		in_group b "$paths" "${use[@]}" || rc=$?
		echo "$kib" > "$min"
		[ "$rc" = 137 ] || [ "$rc" = 3 ] || break
	done
	echo max > "$groups/b/memory.max"
	counted "$dev" "$3" "$reads" && uncounted "$dev" inline || rc=1
	[ "$3" != worker_swap ] || [ "${4-}" ] ||
		same "times of the file" "$times" "$(stat -c %y%z "$file")" || rc=1
	swapoff "$dev" && detach "$dev" && rm "$file" && same "status of the task" 0 "$rc"
}

# An inline read leaves its loop_io to the swap that follows.
swap_fails()
{
	local at=$LOOP_SCRATCH/at dev table="0 16384 linear $1 0"

	map_to bad "$table" && mkfs.ext4 -q -F -O ^has_journal -N 64 "$mapper-bad" &&
		mkdir -p "$at" && mount "$mapper-bad" "$at" && written_image "$at/img" 1024 &&
		dev=$(attach_to "$at/img" on) && mkswap -q "$dev" && swapon "$dev" &&
		sync "$at/img" && snap "$dev" && remap_to bad "0 16384 error" &&
		echo 4M > "$groups/b/memory.max" || return
	in_group b timeout -s KILL 20 "$paths" anonymous 6 0
	remap_to bad "$table"
	echo max > "$groups/b/memory.max"
	counted "$dev" worker_swap && uncounted "$dev" retry_error && swapoff "$dev" &&
		detach "$dev" && umount "$at" && unmap_it bad
}

if [ -d "$groups/a" ]; then
	claim "written back for another cgroup, direct" other_cgroup ext4 on worker_cgroup
	claim "written back for another cgroup, buffered" other_cgroup xfs off worker_kworker
	claim "a cgroup that is full, and has nothing to free or kill: its writes go on" \
		full_cgroup ext4
	claim "a cgroup at its limit with dirty pages of the device, direct" \
		reclaim_cache ext4 on 12M worker_cgroup
	claim "what the file system needs to fill holes is not the cgroup's" \
		two_of_three reclaim_cache ext4 on 8M worker_cgroup
	claim "a cgroup at its limit with dirty pages of the device, buffered" \
		reclaim_cache xfs off 24M worker_kworker
	claim "swap on the device, a cgroup at its limit, direct" reclaim_swap ext4 on worker_swap
	claim "swap on the device, a cgroup at its limit, buffered" reclaim_swap xfs off worker_swap
	claim "swap on the device, on a file with holes" reclaim_swap ext4 on worker_swap 256
	claim "swap on the device, the file system is on no one disk" \
		reclaim_swap btrfs on worker_reclaim
	claim "what cannot be swapped out fails, and is not tried for ever" swap_fails "$ram"
else
	tap_skip "cgroups" "no cgroup v2 with io and memory"
fi

# charged FS on|off read|write COUNTER [COMMAND...]: the device below counts 1 MiB.
charged()
{
	local file=${on[$1]}/charged mode=$2 op=$3 counter=$4 dev low before dd

	low=$(findmnt -no SOURCE "${on[$1]}")
	written_image "$file" 256
	umount "${on[$1]}" && mount "$low" "${on[$1]}" && dev=$(attach_new "$file" "$mode") ||
		return
	dd=("if=$dev" of=/dev/null iflag=direct)
	[ "$op" = read ] || dd=("if=$random" "of=$dev" oflag=direct)
	shift 4
	before=$(bytes a "$low" "${op:0:1}bytes") && snap "$dev" &&
		in_group a "$@" dd bs=64k count=16 status=none "${dd[@]}" &&
		sync "$file" && counted "$dev" "$counter" &&
		[ $(($(bytes a "$low" "${op:0:1}bytes") - before)) -ge 1048576 ] || return
	detach "$dev" && rm "$file"
}

# throttled FS on|off RATE: one cgroup gets RATE bytes in a second. The other one has no
# limit, and goes on while the first one waits.
throttled()
{
	local file=${on[$1]}/throttled dev low n limited before rc=0

	low=$(findmnt -no SOURCE "${on[$1]}") && n=$(lsblk -dnro MAJ:MIN "$low") &&
		before=$(limited_bytes "$low") || return
	written_image "$file" 4096
	dev=$(attach_to "$file" "$2") && echo "$n wbps=$3 rbps=$3" > "$groups/a/io.max" || return
	in_group a fio --name=limited --filename="$dev" --ioengine=libaio --iodepth=32 \
		--direct=1 --bs=4k --rw=randrw --size=8M --offset=8M --time_based \
		--runtime=3600 --output=/dev/null &
	limited=$!
	# On a slow kernel fio needs a minute to begin.
	wait_for 60 more_bytes "$before" "$low" && before=$(limited_bytes "$low") &&
		in_group b "$paths" async aio "$dev" write 1024 13 || rc=1
	# 4 MiB of the one cgroup passed the I/O that the other one waits for. In turn,
	# that would be 3 MiB of the other one, which take minutes at its rate.
	[ "$3" -gt 8192 ] || ! more_bytes $((before + (3 << 20))) "$low" || rc=2
	wait_for 20 more_bytes "$(limited_bytes "$low")" "$low" && kill -0 "$limited" || rc=3
	echo "$n wbps=max rbps=max" > "$groups/a/io.max"
	echo 1 > "$groups/a/cgroup.kill"
	wait "$limited"
	same "where it went wrong" 0 "$rc" && "$paths" check "$dev" 1024 13 direct &&
		detach "$dev" && rm "$file"
}

limited_bytes()
{
	echo $(($(bytes a "$1" rbytes) + $(bytes a "$1" wbytes)))
}

more_bytes()
{
	[ "$(limited_bytes "$2")" -gt "$1" ]
}

if [ -d "$groups/a" ]; then
	claim "written inline, direct: it counts in the cgroup of who asked for it" \
		charged xfs on write inline
	claim "written by a worker, direct: the same" \
		charged xfs on write worker_rlimit prlimit --fsize=4096
	claim "written inline, buffered: the same" charged xfs off write inline
	claim "written by a worker, buffered: the same" charged ext4 off write worker_file
	claim "read inline, direct: the same" charged ext4 on read inline
	claim "read by a worker, buffered: the same" charged ext4 off read retry_again
	claim "a cgroup with 8 KiB/s does not stop another one, direct" \
		throttled ext4 on 8192
	claim "a cgroup with 8 KiB/s does not stop another one, buffered" \
		throttled xfs off 8192
	claim "nor does one with 1 MiB/s, direct" throttled ext4 on 1048576
else
	tap_skip "I/O in the right cgroup" "no cgroup v2 with io and memory"
fi

# ---- the bound of what waits ----

kasan=
! grep -q " kasan_report$" /proc/kallsyms || kasan=1

# objects CACHE: those in use; 0 if that is not known, as KASAN keeps freed objects
objects()
{
	if [ "$kasan" ]; then
		echo 0
	else
		awk -v name="$1" '$1 == name { print $2 }' /proc/slabinfo
	fi
}

# 16 bios are with the workers, 4 wait, and the rest are refused at once
bound_nowait()
{
	local file=${on[ext4]}/bound dev async rc=0

	written_image "$file" 256
	dev=$(attach_to "$file" on) && frozen_begin ext4 aio 200 10 nowait || return
	wait_for 30 has_line submitted || rc=1
	frozen_end ext4 || rc=1
	cat "$LOOP_SCRATCH/async"
	[ "$rc" = 0 ] && [ "$(sed -n 's/^ok=\([0-9]*\) .*/\1/p' "$LOOP_SCRATCH/async")" -le 20 ] &&
		has_line other=0 && fails has_line "ok=0 " &&
		same "after the thaw" ok "$("$paths" nowait "$dev" write 201)" && detach "$dev"
}

bound_memory()
{
	local file=${on[ext4]}/bound dev async before rc=0

	dev=$(attach_to "$file" on) && before=$(objects loop_io) || return
	frozen_begin ext4 aio 256 11 || return
	wait_for 30 stands_still "$dev" || rc=1
	! has_line submitted || rc=1
	before=$(($(objects loop_io) - before))
	frozen_end ext4 || rc=1
	[ "$rc" = 0 ] && has_line ok=256 && "$paths" check "$dev" 256 11 &&
		detach "$dev" || return
	[ "$before" -le 128 ] || {
		echo "$before more objects"
		return 1
	}
}

# The counters have not changed for a while, after the workers had their bios.
stands_still()
{
	snap "$1" && sleep 0.3 && uncounted "$1" retry_frozen worker_backoff inline
}

# sustained on|off OBJECTS: a writer with 256 writes in flight outruns a disk of 8 MB/s.
# Samples the objects and the dirty memory, which may be 2 MiB.
sustained()
{
	local dev before pid n most=0 kib=0 samples=0 ratio

	image "$at/img" 32M && dev=$(attach_to "$at/img" "$1") && before=$(objects loop_io) &&
		ratio=$(cat /proc/sys/vm/dirty_ratio) || return
	echo $((2 << 20)) > /proc/sys/vm/dirty_bytes
	fio --output-format=terse --name=writer --filename="$dev" --ioengine=libaio \
		--iodepth=256 --direct=1 --rw=write --bs=16k --size=32m > "$LOOP_SCRATCH/fio" &
	pid=$!
	while [ -d "/proc/$pid" ] && kill -0 "$pid" 2>/dev/null; do
		n=$(($(objects loop_io) - before))
		[ "$n" -le "$most" ] || most=$n
		n=$(awk '/^(Dirty|Writeback):/ { kib += $2 } END { print kib }' /proc/meminfo)
		[ "$n" -le "$kib" ] || kib=$n
		samples=$((samples + 1))
		sleep 0.05
	done
	echo "$ratio" > /proc/sys/vm/dirty_ratio
	wait "$pid" || return
	echo "$samples samples, at most $most more objects and $kib KiB"
	[ "$most" -le "$2" ] && [ "$kib" -le 16384 ] && [ "$samples" -ge 4 ] && detach "$dev"
}

layers_off
claim "the module loads with a depth of 4" eval 'loop_unload && loop_load hw_queue_depth=4'
claim "a frozen file below and a depth of 4: who must not wait gets EAGAIN" bound_nowait
claim "a writer that outruns the file waits, and takes no more memory" bound_memory
# nodiscard, as a limited null_blk never completes a request that takes more than 20 ms
if slow=$(null_make size=64 mbps=8) &&
	mkfs.ext4 -q -F -E nodiscard -O ^has_journal "$slow" &&
	mount "$slow" "$at"; then
	claim "a writer that outruns a slow disk for 4 s, buffered: memory is bounded" \
		sustained off 128
	claim "a writer that outruns a slow disk for 4 s, direct: no more than its own depth" \
		sustained on 288
	umount "$at"
	null_remove
else
	tap_skip "a writer that outruns a slow disk" "no null_blk with configfs"
fi

# plug_writes DEVICE BLOCKS: of 4 KiB, by way of the page cache.  They wait in a plug.
plug_writes()
{
	local pid

	cat "$random" "$random" | dd of="$1" bs=4k count="$2" iflag=fullblock \
		conv=notrunc,fsync status=none &
	pid=$!
	wait_for 10 has_ended "$pid" || { cat "/proc/$pid/stack"; return 1; }
	wait "$pid" && cat "$random" "$random" | cmp -n $(($2 * 4096)) - "$1"
}

# A plug is full with 1 MiB.
plug_full()
{
	local dev

	dev=$(attach_to "$disk" on) && plug_writes "$dev" 512 && detach "$dev"
}

# md with a bitmap gathers 32 writes in a plug of its own, which may end before that of the
# device.
plug_of_md()
{
	local dev

	dev=$(attach_to "$disk" on) && modprobe dm_raid &&
		map_to md "0 4096 raid raid1 2 0 nosync 2 $(brd_take) $(brd_take) $(brd_take) $dev" &&
		plug_writes "$mapper-md" 100 && unmap_it md && detach "$dev"
}

# change_while PROCESS DEVICE: turns direct I/O off and on until the process has ended
change_while()
{
	local mode

	until has_ended "$1"; do
		for mode in off on; do
			timeout -s KILL 20 losetup "--direct-io=$mode" "$2" || return
		done
	done
}

# Of three devices in a plug, the last one ends its part first, slowly, and then the second
# one, which lies on the first.  The bios of the first one are still in the plug.
changed_while_plugged()
{
	local low above last writer rc=0

	echo 4 > "/sys/block/${slow##*/}/queue/max_sectors_kb" &&
		low=$(attach_to "$disk" on) && above=$(attach_to "$low" on -o 1M) &&
		last=$(attach_to "$slow" on) &&
		map_to plug "0 128 linear $low 0" "128 128 linear $above 0" \
			"256 128 linear $last 0" && snap "$low" || return
	plug_writes "$mapper-plug" 48 &
	writer=$!
	change_while "$writer" "$low" || rc=1
	wait "$writer" || rc=2
	same "where it went wrong" 0 "$rc" && counted "$low" merged && unmap_it plug &&
		detach "$above" && detach "$low" && detach "$last"
}

disk=$(brd_take)
if slow=$(null_make size=64 hw_queue_depth=1 irqmode=2 completion_nsec=100000000); then
	claim "a change of the device while a task ends its plug" changed_while_plugged
	layers_off
	null_remove
else
	tap_skip "a change of the device while a task ends its plug" "no null_blk with configfs"
fi
claim "the module loads with a depth of 1" eval 'loop_unload && loop_load hw_queue_depth=1'
claim "a depth of 1: pages fill a plug" plug_full
if [ -n "$(modinfo -n dm_raid 2> /dev/null)" ]; then
	claim "a depth of 1: a plug of md and one of the device" plug_of_md
else
	tap_skip "a plug of md and one of the device" "no dm-raid"
fi

test_end
