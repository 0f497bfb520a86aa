#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The lines in the kernel log for I/O that fails are those of the stock driver on the
# same kernel: one for each failure that a reader has to know of, and not too many.

# shellcheck disable=SC2317,SC2119 # claims and scenes call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup dmsetup blkdiscard mkfs.ext4 mkfs.vfat
tap_start

mapped=$mapper-disk

finish()
{
	loop_detach_all
	umount "$LOOP_SCRATCH"/small "$LOOP_SCRATCH"/fat 2>/dev/null
	[ ! -e "$mapped" ] || unmap_it disk
	scratch_exit
}

scratch_init || bail_out "no scratch space"
trap finish EXIT
loop_load_stock || skip_all "no stock driver"
mkdir "$LOOP_SCRATCH/small" "$LOOP_SCRATCH/fat"
base=$(scratch_fs ext4) || bail_out "no ext4"
disk=$(brd_take) || bail_out "no RAM disk"
sectors=131072
if ! modprobe -q dm_mod && ! grep -qw device-mapper /proc/misc ||
	! map_to disk "0 $sectors linear $disk 0"; then
	bail_out "no device mapper"
fi

read_at()
{
	dd if="$1" of=/dev/null bs=4k skip="$2" count=1 iflag=direct
}

# said MARK COMMAND...: the lines about loop devices that the command causes
said()
{
	local mark="loop-selftest: $1 begins"

	shift
	echo "$mark" > /dev/kmsg
	"$@" >/dev/null 2>&1
	dmesg | sed "1,/$mark/d" | sed -n 's/^\[[^]]*\] //; /error, dev loop/p'
}

# ---- what happens, for both drivers ----

# shrunk MODE
shrunk()
{
	local dev

	image "$base/img" 8M
	dev=$(attach "$base/img" "--direct-io=$1") || return
	truncate -s 4M "$base/img"
	read_at "$dev" 1500
	# The first of these blocks exists.
	dd if="$dev" of=/dev/null bs=64k skip=63 count=2 iflag=direct
	detach "$dev"
}

no_space()
{
	local dev

	mount -t tmpfs -o size=1m small "$LOOP_SCRATCH/small" &&
		image "$LOOP_SCRATCH/small/img" 8M &&
		dev=$(attach "$LOOP_SCRATCH/small/img") || return
	dd if=/dev/zero of="$dev" bs=64k oflag=direct
	detach "$dev"
	umount "$LOOP_SCRATCH/small"
}

# tmpfs makes holes, but does not zero ranges that stay allocated.
no_zeroes()
{
	local dev

	image "$LOOP_SCRATCH/img" 8M
	dev=$(attach "$LOOP_SCRATCH/img") || return
	blkdiscard -z -l 64k "$dev"
	blkdiscard -z -l 64k "$dev"
	detach "$dev"
}

# Several bios are in flight, on a file system that makes no holes.
no_discard()
{
	local dev i

	dev=$(attach "$LOOP_SCRATCH/fat/img") || return
	for i in 0 1 2 3 4 5 6 7; do
		blkdiscard -f -o "${i}M" -l 64k "$dev" &
	done
	wait
	detach "$dev"
}

# fails_below MODE: in a clone, or in writeback of the page cache
fails_below()
{
	local dev

	dev=$(attach "$mapped" "--direct-io=$1") || return
	remap_to disk "0 $sectors error"
	read_at "$dev" 3
	dd if=/dev/zero of="$dev" bs=4k seek=8 count=1 oflag=direct conv=fsync
	remap_to disk "0 $sectors linear $disk 0"
	detach "$dev"
}

# A device without a file has no size, and its I/O causes no line.
free_device()
{
	local dev

	dev=$(losetup -f) && read_at "$dev" 0
}

scenes="shrunk_buffered shrunk_direct no_space no_zeroes
	below_buffered below_direct free_device"

scene()
{
	case $1 in
	shrunk_buffered) shrunk off ;;
	shrunk_direct) shrunk on ;;
	below_buffered) fails_below off ;;
	below_direct) fails_below on ;;
	*) "$1" ;;
	esac
}

# Flags depend on what the layers between did to a bio, and a request without data
# counts its segments differently.
words()
{
	sed 's/dev loop[0-9]*/dev loopN/; s/ flags .*//'
}

fat=$(brd_take) || bail_out "no RAM disk"
mkfs.vfat "$fat" >/dev/null
mount -t vfat "$fat" "$LOOP_SCRATCH/fat" || bail_out "no vfat"
head -c 16M /dev/zero > "$LOOP_SCRATCH/fat/img"

declare -A stock
for s in $scenes; do
	stock[$s]=$(said "stock $s" scene "$s" | words)
done
# Stock limits the lines of all devices together: with the limit, nothing could be compared.
[ -n "${stock[below_direct]}" ] || bail_out "stock's lines are limited"

loop_load || bail_out "the module does not load"

as_stock()
{
	same "the log" "${stock[$1]}" "$(said "ours $1" scene "$1" | words)"
}

for s in $scenes; do
	claim "$s: the log says what stock says" as_stock "$s"
done

# ---- no more than has to be said ----

refused_once()
{
	same "lines" "1" "$(said "$1" no_discard |
		grep -c 'operation not supported error.*(DISCARD)')"
}
claim "discards that are not supported, eight at a time: one line" refused_once first
claim "the same in the next attachment: one line again" refused_once second

# A page that readahead did not get is read again.
readahead()
{
	local dev lines

	image "$base/img" 8M
	dev=$(attach "$base/img") || return
	truncate -s 4M "$base/img"
	lines=$(said readahead dd if="$dev" of=/dev/null bs=4k skip=1800 count=1)
	detach "$dev"
	same lines "I/O error, dev loopN, sector 14400 op 0x0:(READ)" "$(words <<< "$lines")"
}
claim "a read that fails tells so, its readahead does not" readahead

flood()
{
	local dev dev2 lines

	image "$base/img" 8M
	dev=$(attach "$base/img") && dev2=$(attach "$base/img") || return
	truncate -s 0 "$base/img"
	lines=$(said flood dd if="$dev" of=/dev/null bs=4k iflag=direct conv=noerror |
		grep -c .)
	if [ "$lines" -lt 1 ] || [ "$lines" -ge 2048 ]; then
		echo "$lines lines of 2048 failures"
		return 1
	fi
	same "lines of another device" 1 "$(said other read_at "$dev2" 0 | grep -c .)"
	detach "$dev" && detach "$dev2"
}
claim "2048 failures: fewer lines, and another device is still heard" flood

test_end
