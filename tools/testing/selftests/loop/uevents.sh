#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The uevents of the kernel: which ones, how many, and in which order.  No udevd runs, as
# it would cause more.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd losetup sfdisk partx mkfs.ext4 blkid
tap_start

finish()
{
	loop_detach_all
	scratch_exit
}

test_begin

disk=$LOOP_SCRATCH/disk.img
image "$disk" 8M
printf 'label: dos\nsize=1MiB\nsize=1MiB\n' | sfdisk -q "$disk"
plain=$LOOP_SCRATCH/plain.img
image "$plain" 2M
fs=$LOOP_SCRATCH/fs.img
image "$fs" 2M
mkfs.ext4 -q -F "$fs"
mkdir "$LOOP_SCRATCH/at"
dev=/dev/loop0

# events COMMAND...: "ACTION NAME" of each, separated by commas
events()
{
	"$helper" uevents "$@" 2>/dev/null | cut -d' ' -f1,2 | paste -sd,
}

parts_add="add loop0p1,add loop0p2"
parts_remove="remove loop0p1,remove loop0p2"

claim "attach: partitions, then exactly one CHANGE" \
	same events "$parts_add,change loop0" "$(events losetup -P $dev "$disk")"
claim "detach: partitions go, then exactly one CHANGE" \
	same events "$parts_remove,change loop0" "$(events losetup -d $dev)"
claim "attach without partition scan: one CHANGE" \
	same events "change loop0" "$(events losetup "$dev" "$disk")"
claim "partitions added by partx: one ADD each" \
	same events "$parts_add" "$(events partx -a $dev)"
claim "detach takes those along: REMOVEs, then one CHANGE" \
	same events "$parts_remove,change loop0" "$(events losetup -d $dev)"

diskseq()
{
	local before after event

	before=$(cat /sys/block/loop0/diskseq)
	event=$("$helper" uevents losetup "$dev" "$plain" | grep -o 'diskseq=[0-9]*' | tail -n 1)
	after=$(cat /sys/block/loop0/diskseq)
	same "diskseq of the event" "diskseq=$after" "$event" &&
		[ "$after" -gt "$before" ]
}
claim "attach: a new diskseq, which the CHANGE carries" diskseq

claim "direct I/O on and off: no event" \
	same events "" "$(events sh -c "losetup --direct-io=on $dev; losetup --direct-io=off $dev")"
truncate -s 4M "$plain"
claim "losetup -c after growth: one CHANGE with RESIZE" \
	same events "change loop0 disk resize" \
	"$("$helper" uevents losetup -c $dev | sed 's/ diskseq=[0-9]*//')"
claim "a rejected block size: no event" \
	same events "" "$(events losetup -b 768 $dev)"
claim "and events are not suppressed after it" \
	same events "change loop0" "$(events sh -c "echo change > /sys/block/loop0/uevent")"
losetup -d $dev

claim "a rejected attach: no event" \
	same events "" "$(events "$helper" configure-bad $dev "$plain")"
claim "and events are not suppressed after it" \
	same events "change loop0" "$(events sh -c "echo change > /sys/block/loop0/uevent")"
claim "nor is the next attach silent" \
	same events "change loop0" "$(events losetup "$dev" "$plain")"
losetup -d $dev

claim "mount -o loop: one CHANGE; umount: one CHANGE" \
	same events "change loop0,change loop0" \
	"$(events sh -c "mount -o loop '$fs' '$LOOP_SCRATCH/at'; umount '$LOOP_SCRATCH/at'")"

# cycles COUNT EVENTS COMMAND...: the events come COUNT times, and no others
cycles()
{
	local i count=$1 each=$2

	shift 2
	for ((i = 0; i < count; i++)); do
		echo "$each"
	done | tr , '\n' > "$LOOP_SCRATCH/wanted"
	"$helper" uevents "$@" 2>/dev/null | cut -d' ' -f1,2 > "$LOOP_SCRATCH/got"
	cmp -s "$LOOP_SCRATCH/wanted" "$LOOP_SCRATCH/got" && return
	diff -U 4 "$LOOP_SCRATCH/wanted" "$LOOP_SCRATCH/got" | head -n 20
	return 1
}
cycle="$parts_add,change loop0,$parts_remove,change loop0"
claim "50 cycles of attach and detach: nothing more, nothing less" \
	cycles 50 "$cycle" "$helper" cycles "$dev" "$disk" 50

# ---- LOOP_CTL_ATTACH and LOOP_CTL_DETACH ----

claim "LOOP_CTL_ATTACH, LOOP_CTL_DETACH, 500 times: partitions, one CHANGE each" \
	cycles 500 "$cycle" "$helper" attach-cycles 0 "$disk" 500
claim "the same without partitions" \
	cycles 100 "change loop0,change loop0" "$helper" attach-cycles 0 "$plain" 100

# The number of this device is reused again and again.
new=${cycle//loop0/loop41}
claim "an ephemeral device: ADD, the same, REMOVE" \
	cycles 50 "add loop41,$new,remove loop41" \
	"$helper" attach-cycles 41 "$disk" 50 ephemeral

attach_diskseq()
{
	local seq

	"$helper" uevents "$helper" attach 0 "$plain" > "$LOOP_SCRATCH/events" 2>/dev/null
	seq=$(cat /sys/block/loop0/diskseq)
	same "the event" "change loop0 disk diskseq=$seq" "$(cat "$LOOP_SCRATCH/events")" &&
		same detach ok "$("$helper" detach 0)"
}
claim "LOOP_CTL_ATTACH: the CHANGE carries the new diskseq" attach_diskseq

attach_fails()
{
	same EINVAL "" "$(events "$helper" attach 0 /dev/null)" &&
		same number EINVAL "$("$helper" attach 0 /dev/null)" &&
		same ENXIO "" "$(events "$helper" detach 0)" || return
	"$helper" attach 0 "$plain" &&
		same EBUSY "" "$(events sh -c "exec 3< $dev; $helper attach 0 '$plain'; $helper detach 0")" &&
		same detach ok "$("$helper" detach 0)"
}
claim "those that fail: none" attach_fails

# These openers only read, as blkid, udev and udisks do on each event.
openers()
{
	local i

	for i in 1 2; do
		while [ ! -e "$LOOP_SCRATCH/stop" ]; do
			blkid -p "$dev" "${dev}p$i"
		done >/dev/null 2>&1 &
	done
	"$helper" open-until "$LOOP_SCRATCH/stop" "$dev" &
	cycles 500 "$cycle" "$helper" attach-cycles 0 "$disk" 500
	i=$?
	: > "$LOOP_SCRATCH/stop"
	wait
	return "$i"
}
claim "500 times with others that open the device and its partitions" openers

claim "LOOP_CTL_ADD: one ADD" \
	same events "add loop40" "$(events "$helper" ctl /dev/loop-control add 40)"
claim "LOOP_CTL_REMOVE: one REMOVE" \
	same events "remove loop40" "$(events "$helper" ctl /dev/loop-control remove 40)"
claim "LOOP_CTL_GET_FREE and an open: none" \
	same events "" "$(events sh -c "losetup -f; : < $dev")"

test_end
