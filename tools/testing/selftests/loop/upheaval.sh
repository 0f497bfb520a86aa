#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The disk below is unplugged, or the machine goes to sleep, while I/O is in flight.  No
# task hangs, only I/O to the missing disk fails, the device can be detached and attached
# again, and nothing holds the disk below.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup fio mkfs.ext4 dmsetup blkdiscard
tap_start

patience=60

finish()
{
	[ -z "$busy" ] || kill -KILL "$busy" 2>/dev/null
	loop_detach_all
	umount "$LOOP_SCRATCH"/at* 2>/dev/null
	null_end
	rmmod scsi_debug 2>/dev/null
	scratch_exit
}

busy=
test_begin
at=$LOOP_SCRATCH/at
upper=$LOOP_SCRATCH/at-upper
mkdir "$at" "$upper"
image "$LOOP_SCRATCH/spare.img" 1M

# ios DEVICE: the number of reads and writes that have ended
ios()
{
	local reads writes

	read -r reads _ _ _ writes _ < "/sys/block/${1##*/}/stat" && echo $((reads + writes))
}

more_than()
{
	[ "$(ios "$1")" -gt "$2" ]
}

# busy_on DEVICE [FILE]: starts I/O to a file above the device or to itself, which ends
# with the first error
busy_on()
{
	fio --name=busy --filename="${2:-$1}" --size=32m --rw=randrw --bs=4k --direct=1 \
		--ioengine=io_uring --iodepth=16 ${verify:+--verify="$verify"} \
		--time_based --runtime=1d > "$LOOP_SCRATCH/fio" 2>&1 &
	busy=$!
	goes_on "$1"
}

goes_on()
{
	wait_for "$patience" more_than "$1" $(($(ios "$1") + 50)) && fails has_ended "$busy"
}

# busy_ends ERRNO: with one of these, as in "5|19"
busy_ends()
{
	wait_for "$patience" has_ended "$busy" &&
		grep -qE " err= *($1)[ :/]" "$LOOP_SCRATCH/fio" && return
	cat "$LOOP_SCRATCH/fio"
	return 1
}

read_it()
{
	dd if="$1" of=/dev/null bs=4k count=1 iflag=direct status=none
}

write_it()
{
	dd if=/dev/zero of="$1" bs=4k count=1 oflag=direct conv=notrunc status=none
}

works_again()
{
	losetup "$dev" "$LOOP_SCRATCH/spare.img" && read_it "$dev" && write_it "$dev" &&
		detach "$dev"
}

# unplugged NAME VALUE FILE: writes VALUE to FILE, which unplugs the disk below dev
unplugged()
{
	local name=$1

	# shellcheck disable=SC2016 # for that shell
	claim "$name: unplugged while busy" timeout "$patience" \
		sh -c 'echo "$1" > "$2"' - "$2" "$3"
	claim "$name: who was busy is told so" busy_ends "$errors"
	busy=
	claim "$name: EIO for a read" eio read_it "$dev"
	claim "$name: no write" "$fails" write_it "$dev"
	claim "$name: the status can be read" losetup "$dev"
}

# begin NAME FILE: attaches dev to it, and makes it busy
begin()
{
	if ! { dev=$(attach "$2" "--direct-io=$mode") && busy_on "$dev"; }; then
		bail_out "$1: cannot begin"
	fi
}

let_go()
{
	claim "$1: detached" detach "$dev"
	claim "$1: attached again, to another file" works_again
}

# on_disk NAME DISK VALUE FILE.  I/O in flight may end with ENODEV. A disk that is gone
# has no size, so writes through its page cache are behind its end, which is ENOSPC.
on_disk()
{
	local errors="5|19|28" fails=fails

	begin "$1" "$2"
	unplugged "$1" "${@:3}"
	let_go "$1"
}

# It has no journal, as jbd2 may warn of a buffer that it could not write.
ext4_on()
{
	mkfs.ext4 -q -F -O ^has_journal "$1" && mount "$1" "$2"
}

# on_file NAME DISK VALUE FILE: with a file system above as well, which may find the error
# first and become read-only
on_file()
{
	local errors="5|19|30" fails=eio

	if ! { ext4_on "$2" "$at" && image "$at/img" 64M &&
		dev=$(attach "$at/img" "--direct-io=$mode") && ext4_on "$dev" "$upper" &&
		busy_on "$dev" "$upper/file"; }; then
		bail_out "$1: cannot begin"
	fi
	unplugged "$1" "${@:3}"
	claim "$1: the file system above is unmounted" umount "$upper"
	let_go "$1"
	claim "$1: and the one below" umount "$at"
}

# ---- disks ----

scsi_up()
{
	modprobe -a scsi_mod sd_mod && modprobe scsi_debug dev_size_mb=128 delay=1 lbpu=1 &&
		wait_for 10 scsi_disk > /dev/null && disk=$(scsi_disk)
}

# A disk finds out that it cannot write the same to many blocks, or unmap some, when it
# has to.
cannot()
{
	local device op rc=0

	device=$(realpath "/sys/block/${disk##*/}/device")
	dev=$(attach "$disk" --direct-io=on) || return
	for op in 0x41 0x42 0x93; do
		echo "2 -100 $op 0 0 0x2 0x5 0x20 0x0" > "$injected/${device##*/}/error" || rc=1
	done
	"$@" || rc=1
	detach "$dev" && return "$rc"
}

zeroes()
{
	dd if=/dev/urandom of="$dev" bs=64k count=1 oflag=direct status=none &&
		blkdiscard -z -l 65536 "$dev" && cmp -n 65536 "$dev" /dev/zero
}

no_discard()
{
	local max=/sys/block/${dev##*/}/queue/discard_max_bytes

	fails same "offered at first" 0 "$(cat "$max")" && blkdiscard "$dev" &&
		same "offered then" 0 "$(cat "$max")"
}

# The device below has become smaller than the range.
no_zeroes()
{
	local whole="0 2048 linear $disk 0" half="0 1024 linear $disk 0" rc=0

	map_to small "$whole" && dev=$(attach_to "$mapper-small" "$1") || return
	remap_to small "$half" && fails blkdiscard -f -z -l 1M "$dev" &&
		remap_to small "$whole" && blkdiscard -f -z -l 1M "$dev" || rc=1
	detach "$dev" && unmap_it small && return "$rc"
}

injected=/sys/kernel/debug/scsi_debug
if scsi_up && [ -d $injected ]; then
	claim "SCSI: no zeroes past the end of a device that got smaller, direct" no_zeroes on
	claim "SCSI: no zeroes past the end of a device that got smaller, buffered" no_zeroes off
	claim "SCSI: zeroes, though the disk turns out not to write them" cannot zeroes
	claim "SCSI: discard, until the disk turns out not to do it" cannot no_discard
	claim "SCSI: nothing holds it" wait_for 10 rmmod scsi_debug
else
	tap_skip "SCSI: zeroes" "no scsi_debug, or none that makes errors"
fi

for mode in on off; do
	verify=crc32c
	for how in on_disk on_file; do
		what="SCSI, ${how/_/ }, direct $mode"
		if scsi_up; then
			$how "$what" "$disk" 1 "/sys/block/${disk##*/}/device/delete"
			claim "$what: nothing holds it" wait_for 10 rmmod scsi_debug
		else
			tap_skip "$what" "no scsi_debug"
		fi
		what="null_blk, ${how/_/ }, direct $mode"
		if disk=$(null_make size=128 irqmode=2 completion_nsec=100000); then
			$how "$what" "$disk" 0 "$null_dir/power"
			null_remove
			claim "$what: nothing holds it" wait_for 10 rmmod null_blk
		else
			tap_skip "$what" "no null_blk with configfs"
		fi
	done
	# A disk that keeps no data is enough: QEMU's null-co://.
	what="virtio on PCI, on disk, direct $mode"
	if [ -b /dev/vda ]; then
		verify=
		on_disk "$what" /dev/vda 1 "$(realpath /sys/block/vda/device/..)/remove"
		echo 1 > /sys/bus/pci/rescan
		claim "$what: is back" eval 'wait_for 10 test -b /dev/vda && read_it /dev/vda'
	else
		tap_skip "$what" "no virtio disk"
	fi
done

# ---- sleep ----

# sleeps LEVEL: the machine sleeps, and wakes up by itself
sleeps()
{
	echo "$1" > /sys/power/pm_test && echo mem > /sys/power/state
}

stops_well()
{
	kill -INT "$busy" && busy_ends 0
}

# sleep_with NAME FILE
sleep_with()
{
	local level

	begin "$1" "$2"
	for level in freezer "${levels[@]}"; do
		claim "$1: sleeps, as deep as $level" timeout "$patience" bash -c \
			"$(declare -f sleeps); sleeps $level"
		claim "$1: goes on" goes_on "$dev"
	done
	claim "$1: no errors" stops_well
	busy=
	claim "$1: detached" detach "$dev"
}

# The lowest level freezes tasks. Above "core" the machine is switched off, where that is
# possible. A root over 9p does not come back, unless its device stays awake.
[ ! -e "${LOOP_AWAKE_KO-}" ] || insmod "$LOOP_AWAKE_KO"
if [ ! -d /sys/module/awake ] && grep -q ' 9p ' /proc/mounts; then
	diag "no more than tasks can sleep here"
	levels=(freezer)
elif grep -qs '\[deep\]' /sys/power/mem_sleep; then
	levels=(core core)
else
	levels=(devices devices)
fi
base=$(scratch_fs ext4) || bail_out "no ext4"
image "$base/img" 64M
delay=/sys/module/suspend/parameters/pm_test_delay
if [ -w /sys/power/pm_test ]; then
	[ ! -w "$delay" ] || echo 1 > "$delay"
	# Writing all dirty pages may take minutes, so they stay.
	[ ! -w /sys/power/sync_on_suspend ] || echo 0 > /sys/power/sync_on_suspend
	[ ! -e /sys/module/printk/parameters/console_suspend ] ||
		echo N > /sys/module/printk/parameters/console_suspend
	for mode in on off; do
		verify=crc32c
		sleep_with "I/O in flight to a file, direct $mode" "$base/img"
		verify=
		[ ! -b /dev/vda ] ||
			sleep_with "I/O in flight to a virtio disk, direct $mode" /dev/vda
	done
else
	tap_skip "sleep with I/O in flight" "no CONFIG_PM_DEBUG"
fi

test_end
