#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What fsync() promised is there after a power cut.  This runs on the host: a VM writes
# through four loop devices at once (buffered and direct; an ext4 with and without a
# journal, and plain records on the device), and is killed during more writes.  A second
# VM looks for all synced data.  In the second of two rounds, the file system below has no
# journal either.
#
# QEMU is killed, and the host is not: this finds data that never left the guest, but not
# a flush that never reached the disk, which is counted separately.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$here" || exit 1
# shellcheck source=system.sh
. ./system.sh

marker=POWERCUT-NOW
count=${LOOP_POWERCUT_RECORDS:-48}
modes="off on"

# ---- in the VM ----

# files MODE: the images of a mode
files()
{
	echo "$at/raw-$1.img $at/journal-$1.img $at/nojournal-$1.img"
}

guest_start()
{
	need_root
	at=/run/powercut
	mkdir -p $at
	loop_load || bail_out "the module does not load"
	modprobe ext4
}

guest_write()
{
	local mode dev kind flushes n=0

	guest_start
	mount -t ext4 /dev/vda $at || exit 1
	for mode in $modes; do
		truncate -s 8M $at/raw-"$mode".img
		for kind in journal nojournal; do
			truncate -s 16M "$at/$kind-$mode.img"
			mkfs.ext4 -q -F -O "$([ $kind = journal ] || echo ^)has_journal" \
				"$at/$kind-$mode.img"
		done
		for file in $(files "$mode"); do
			dev=$(attach "$file" "--direct-io=$mode") || exit 1
			same dio "$(dio_of "$mode")" "$(attr "$dev" dio)" || exit 1
			case $file in
			*raw*) target=$dev ;;
			*)
				target=${file%.img}
				target=/run/${target##*/}
				mkdir -p "$target"
				mount "$dev" "$target" || exit 1
				;;
			esac
			n=$((n + 1))
			targets+=("$target")
		done
	done
	sync
	# The test is not about the metadata of the images: only what the writers sync
	# from here on has to be there.
	flushes=$(awk '{ print $16 }' /sys/block/vda/stat)
	for ((n = 0; n < ${#targets[@]}; n++)); do
		"$helper" records-write "${targets[n]}" "$count" "/run/ready-$n" &
	done
	for ((n = 0; n < ${#targets[@]}; n++)); do
		wait_for 120 test -e "/run/ready-$n" || exit 1
	done
	flushes=$(($(awk '{ print $16 }' /sys/block/vda/stat) - flushes))
	echo "flushes $flushes"
	echo "$marker"
	sleep 60
}

guest_check()
{
	local mode dev file target

	guest_start
	e2fsck -fp /dev/vda >/dev/null
	[ $? -le 1 ] || e2fsck -fy /dev/vda
	mount -t ext4 /dev/vda $at || exit 1
	for mode in $modes; do
		for file in $(files "$mode"); do
			dev=$(attach "$file" "--direct-io=$mode")
			case $file in
			*raw*)
				claim "$1 direct $mode: records synced on the device" \
					"$helper" records-check "$dev" "$count"
				;;
			*)
				target=${file%.img}
				target=/run/${target##*/}
				mkdir -p "$target"
				# Replays the journal, and repairs nothing else.
				case $file in
				*nojournal*) e2fsck -fy "$dev" >/dev/null 2>&1 ;;
				esac
				mount "$dev" "$target"
				claim "$1 direct $mode: files synced on ext4, ${target##*/}" \
					"$helper" records-check "$target" "$count"
				umount "$target"
				claim "$1 direct $mode: fsck, ${target##*/}" \
					e2fsck -fn "$dev"
				;;
			esac
			losetup -d "$dev"
		done
	done
	umount $at
	echo "claims $tap_count $tap_failed"
}

targets=()
case ${1-} in
guest-write)
	guest_write
	exit 1
	;;
guest-check)
	guest_check "$2"
	exit 0
	;;
esac

# ---- on the host ----

on_host qemu/vm
drive=$top/build/vm/powercut.img
log=$top/build/vm/powercut-vm.log
trap 'rm -f "$drive" "$log"' EXIT

# in_vm [VM-OPTION...] -- ROLE...
in_vm()
{
	local options=()

	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	"$vm" --name powercut --smp 1 --timeout 300 --drive "$drive" "${options[@]}" -- \
		env LOOP_TEST_BIN="$bin" LOOP_POWERCUT_RECORDS="$count" \
		"$here/powercut.sh" "$@" > "$log" 2>&1
}

written()
{
	in_vm --kill-on "$marker" --expect-kill -- guest-write && return
	tail -n 30 "$log"
	return 1
}

flushed()
{
	local flushes

	flushes=$(sed -n 's/^flushes //p' "$log")
	echo "flushes: $flushes"
	[ "${flushes:-0}" -gt 0 ]
}

tap_start
for round in ${LOOP_POWERCUT_ROUNDS:-journal no-journal}; do
	truncate -s 256M "$drive"
	mkfs.ext4 -q -F -O "$([ "$round" = journal ] || echo ^)has_journal" "$drive"
	claim "ext4 with $round below: writes, syncs, and the power goes" written
	claim "ext4 with $round below: syncs have flushed the disk's cache" flushed
	if in_vm -- guest-check "$round below,"; then
		vm_claims "$log"
		[ "$(sed -n 's/^claims \([0-9]*\) .*/\1/p' "$log")" = 10 ] ||
			tap_not_ok "the check has come to its end"
	else
		tap_not_ok "ext4 with $round below: the second boot"
		tail -n 30 "$log" | sed 's/^/# /'
	fi
	rm -f "$drive"
done
tap_plan_end
