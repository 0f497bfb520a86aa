#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory is short, and is freed through loop devices: swap on one, which is on a file or
# a disk, and a file system on another, on a file.  This runs on the host: a VM with
# 256 MiB uses more memory than it has, and writes files, for LOOP_SWAP_SECONDS each time.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$here" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh

seconds=${LOOP_SWAP_SECONDS:-150}
at=/run/swap

# ---- in the VM ----

# Files are made and removed, and the rest are compared.  Each is made at least once, also
# on a slow machine.
files_change()
{
	local end=$((SECONDS + seconds)) n=0

	while [ "$SECONDS" -lt "$end" ] || [ "$n" -lt 12 ]; do
		n=$((n + 1))
		cp /run/random "$at/fs/f$((n % 12))" && sync -f "$at/fs" &&
			cmp /run/random "$at/fs/f$((n * 5 % 12))" 2>/dev/null || [ "$n" -lt 12 ] ||
			return
	done
	echo "$n files"
}

# under_pressure SWAP MODE FS-MODE COUNTER
under_pressure()
{
	local swap fs files rc=0

	swap=$(attach_to "$1" "$2") && fs=$(attach_to "$at/fs.img" "$3") &&
		mkswap -q "$swap" && swapon "$swap" && mkfs.ext4 -q -F "$fs" &&
		mount "$fs" "$at/fs" && snap "$swap" || return
	files_change &
	files=$!
	"$paths" anonymous 320 "$seconds" || rc=1
	wait "$files" || rc=1
	if counted "$swap" "$4"; then
		all_since "$swap" | paste -sd' '
	else
		rc=1
	fi
	swapoff "$swap" && umount "$at/fs" && e2fsck -fn "$fs" && detach "$swap" &&
		detach "$fs" && return "$rc"
}

guest()
{
	need_root
	mkdir -p $at
	loop_load || exit 1
	modprobe ext4 && mount -t ext4 /dev/vda $at && mkdir -p $at/fs $at/xfs || exit 1
	head -c 4M /dev/urandom > /run/random
	image $at/fs.img 64M
	written_image $at/swap.img 131072
	claim "256 MiB, swap on a file, buffered, as is an ext4" \
		under_pressure $at/swap.img off off worker_swap:10000
	claim "256 MiB, swap on a file, direct, as is an ext4" \
		under_pressure $at/swap.img on on worker_swap:10000
	claim "256 MiB, swap on a disk, ext4 on a buffered file" \
		under_pressure /dev/vdb on off cloned:10000
	mkfs.xfs -q -f /dev/vdb && mount /dev/vdb $at/xfs && rm $at/swap.img || exit 1
	written_image $at/xfs/swap.img 98304
	claim "256 MiB, swap on a file of xfs, ext4 on a direct one" \
		under_pressure $at/xfs/swap.img off on worker_swap:10000
	umount $at/xfs
	umount $at
	echo "claims $tap_count $tap_failed"
}

if [ "${1-}" = guest ]; then
	guest
	exit 0
fi

# ---- on the host ----

on_host qemu/vm
drive=$top/build/vm/swap.img
area=$top/build/vm/swap-area.img
log=$top/build/vm/swap-vm.log
trap 'rm -f "$drive" "$area" "$log"' EXIT

tap_start
truncate -s 1G "$drive"
truncate -s 512M "$area"
mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$drive"
"$vm" --name swap --smp 1 --mem 256 --timeout $((seconds * 6 + 1200)) \
	--drive "$drive" --drive "$area" -- \
	env LOOP_TEST_BIN="$bin" LOOP_KO="${LOOP_KO:-}" LOOP_SWAP_SECONDS="$seconds" \
	"$here/swap.sh" guest > "$log" 2>&1
rc=$?
vm_claims "$log"
if [ $rc != 0 ] || ! grep -q "^claims 4 " "$log"; then
	tap_not_ok "the VM has come to its end"
	tail -n 40 "$log" | sed 's/^/# /'
fi
tap_plan_end
