#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A listener to fanotify's pre-content events fills the backing file on demand. Nobody
# reads a hole in place of the data.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd losetup blkdiscard mkfs.ext4
tap_start

listener=

finish()
{
	loop_detach_all
	[ -z "$listener" ] || kill "$listener" 2>/dev/null
	scratch_exit
}

test_begin
base=$(scratch_fs ext4) || bail_out "no ext4"
source=$LOOP_SCRATCH/source
head -c 4M /dev/urandom > "$source"
file=$base/img

listens()
{
	[ -e "$LOOP_SCRATCH/ready" ] || has_ended "$listener"
}

# attach_filled MODE: sets dev, a device on an empty file of 4 MiB.  The listener fills the
# first 3 MiB on demand.
attach_filled()
{
	rm -f "$LOOP_SCRATCH/ready"
	image "$file" 4M
	"$helper" fill "$file" "$source" 3145728 "$LOOP_SCRATCH/ready" &
	listener=$!
	wait_for 10 listens
	[ -e "$LOOP_SCRATCH/ready" ] || return
	dev=$(attach "$file" "--direct-io=$1") || bail_out "cannot attach"
}

read_4k()
{
	dd if="$dev" bs=4k skip="$1" count="$2" iflag=direct status=none
}

# as_source FIRST BLOCKS
as_source()
{
	read_4k "$1" "$2" | cmp -n $(($2 * 4096)) -i "0:$(($1 * 4096))" - "$source"
}

# The listener fills the blocks beside one that is written.
written()
{
	head -c 4k /dev/zero | dd of="$dev" bs=4k seek=100 oflag=direct conv=notrunc,fsync \
		status=none && as_source 99 1 && as_source 101 1 &&
		read_4k 100 1 | cmp -n 4096 - /dev/zero
}

discarded()
{
	blkdiscard -f -o 1M -l 4k "$dev" && read_4k 256 1 | cmp -n 4096 - /dev/zero &&
		as_source 257 200
}

in_mode()
{
	local name="filled on demand, direct $1"

	claim "$name: a read" as_source 0 1
	claim "$name: a write, and what is beside it" written
	claim "$name: a discard, and what is beside it" discarded
	claim "$name: a large read" as_source 600 168
	claim "$name: EIO for what is denied" eio read_4k 800 1
	claim "$name: EIO for a write there" eio dd if=/dev/zero of="$dev" bs=4k seek=800 \
		count=1 oflag=direct conv=notrunc status=none
	claim "$name: the rest is unharmed" as_source 300 200
	claim "$name: detach" detach "$dev"
	kill "$listener"
	wait "$listener" 2>/dev/null
	listener=
}

for mode in on off; do
	if ! attach_filled $mode; then
		tap_skip "filled on demand" "no pre-content events in this kernel"
		break
	fi
	in_mode $mode
done

test_end
