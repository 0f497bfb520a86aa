#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tools of util-linux, unmodified, with udev running: losetup with all its options,
# mount -o loop, umount, lsblk, blkid, partx.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd losetup sfdisk lsblk blkid partx mkfs.ext4 e2fsck udevadm blockdev
tap_start

finish()
{
	local dir

	for dir in "$LOOP_SCRATCH"/at*; do
		! mountpoint -q "$dir" || umount "$dir"
	done
	loop_detach_all
	udevadm control --exit 2>/dev/null
	scratch_exit
}

scratch_init || bail_out "no scratch space"
trap finish EXIT
base=$(scratch_fs ext4) || bail_out "no ext4"
loop_load || bail_out "the module does not load"
udev_start
mkdir "$LOOP_SCRATCH/at" "$LOOP_SCRATCH/at2"
at=$LOOP_SCRATCH/at
at2=$LOOP_SCRATCH/at2

disk=$base/disk.img
image "$disk" 40M
sfdisk -q "$disk" <<-END
	label: gpt
	size=16MiB, name=first
	size=16MiB, name=second
END
plain=$base/plain.img
image "$plain" 16M
fs=$base/fs.img
image "$fs" 16M
mkfs.ext4 -q -F -L loop-selftest "$fs"

column()
{
	losetup -n --raw -O "$2" "$1"
}

# ---- a partitioned image ----

find_shows_free()
{
	same "losetup -f" /dev/loop0 "$(losetup -f)" && is_free /dev/loop0
}
claim "losetup -f names a free device and leaves it free" find_shows_free

dev=$(losetup -f --show -P "$disk")
has_partitions()
{
	same device /dev/loop0 "$dev" &&
		[ -d "/sys/block/loop0/loop0p1" ] && [ -d "/sys/block/loop0/loop0p2" ] &&
		same sizes "32768 32768" \
			"$(cat /sys/block/loop0/loop0p1/size) $(cat /sys/block/loop0/loop0p2/size)"
}
claim "losetup -f --show -P: partitions are there when it returns" has_partitions
udev_settle
claim "their nodes come" wait_for 5 test -b "${dev}p1" -a -b "${dev}p2"

listed()
{
	losetup -l "$dev" | grep -q "^$dev .* $disk " &&
		same -j "$dev: [$(printf %04d "$(stat -c %d "$disk")")]:$(stat -c %i "$disk") ($disk)" \
			"$(losetup -j "$disk")" &&
		same -a "$(losetup -j "$disk")" "$(losetup -a)"
}
claim "losetup -l, -j, -a list it" listed

all_columns()
{
	local majmin

	majmin=$(mountpoint -d "$base")
	same columns "$dev 0 $disk $(stat -c %i "$disk") $majmin 7:0 0 1 0 0 0 512" \
		"$(losetup -n -O NAME,AUTOCLEAR,BACK-FILE,BACK-INO,BACK-MAJ:MIN,MAJ:MIN,OFFSET,PARTSCAN,RO,SIZELIMIT,DIO,LOG-SEC "$dev" |
			tr -s ' ' | sed 's/ *$//')" &&
		losetup -l --output-all "$dev" >/dev/null &&
		losetup -l --json "$dev" | grep -q '"back-file": *"'"$disk"'"'
}
claim "losetup -O: every column is right" all_columns

lsblk_lists()
{
	same lsblk "loop0 loop 40M 0,loop0p1 part 16M 0,loop0p2 part 16M 0" \
		"$(lsblk -nro NAME,TYPE,SIZE,RO "$dev" | paste -sd,)"
}
claim "lsblk shows the disk and its partitions" lsblk_lists

use_partition()
{
	mkfs.ext4 -q -F "${dev}p2" && mount "${dev}p2" "$at" &&
		echo "over the partition" > "$at/file" && umount "$at" &&
		e2fsck -fn "${dev}p2" >/dev/null &&
		mount -o ro "${dev}p2" "$at" &&
		same content "over the partition" "$(cat "$at/file")" && umount "$at"
}
# udev reads the partition table again when a writer closes the disk, as the writer takes
# no lock against it. The partitions go and come then.
claim "a partition is formatted, mounted, written, checked" \
	udevadm lock -d "$dev" bash -c "$(declare -f use_partition same)
		dev=$dev at=$at; use_partition"

blkid_knows()
{
	same PTTYPE gpt "$(blkid -p -s PTTYPE -o value "$dev")" &&
		same TYPE ext4 "$(blkid -p -s TYPE -o value "${dev}p2")" &&
		same PARTLABEL second "$(blkid -p -s PART_ENTRY_NAME -o value "${dev}p2")"
}
claim "blkid sees the table and the file system" blkid_knows

no_trace()
{
	is_free "$dev" && [ ! -d /sys/block/loop0/loop0p1 ] &&
		[ ! -e "${dev}p1" ] && same size 0 "$(cat /sys/block/loop0/size)" &&
		same list "" "$(losetup -a)"
}
udev_settle
losetup -d "$dev"
claim "losetup -d: detached, size 0, no partitions" wait_for 5 no_trace

# partitions DEVICE
partitions()
{
	(cd "/sys/block/${1##*/}" && echo loop*p*) | sed 's/.*\*.*//'
}

partx_cycle()
{
	local d

	d=$(losetup -f --show "$disk") &&
		same "before partx" "" "$(partitions "$d")" &&
		partx -a "$d" && same added "loop0p1 loop0p2" "$(partitions "$d")" &&
		udev_settle && partx -d --nr 1 "$d" && same deleted loop0p2 "$(partitions "$d")" &&
		partx -a --nr 1 "$d" &&
		same "added again" "loop0p1 loop0p2" "$(partitions "$d")" &&
		udev_settle && detach "$d" && same "after detach" "" "$(partitions "$d")"
}
claim "partx -a and -d without -P; detach takes them along" partx_cycle

table_change()
{
	local d

	d=$(losetup -f --show -P "$plain") &&
		printf 'label: dos\nsize=4MiB\nsize=4MiB\n' | sfdisk -q "$d" &&
		wait_for 5 test -b "${d}p2" && udev_settle &&
		sfdisk -q --delete "$d" 2 && wait_for 5 test ! -e "${d}p2" &&
		udev_settle && losetup -d "$d" && wait_for 5 is_free "$d"
}
claim "sfdisk on the device: the kernel reads the new table" table_change

# ---- options ----

grow()
{
	local d

	image "$plain" 4M
	d=$(attach "$plain") && truncate -s 6M "$plain" &&
		same before 4194304 "$(size_of "$d")" &&
		losetup -c "$d" &&
		same after 6291456 "$(size_of "$d")" &&
		truncate -s 5M "$plain" && losetup -c "$d" &&
		same shrunk 5242880 "$(size_of "$d")" &&
		detach "$d"
}
claim "losetup -c follows the file, both ways" grow

image "$plain" 16M
window()
{
	local d

	printf 'here' | dd of="$plain" bs=1M seek=1 conv=notrunc status=none &&
		d=$(attach "$plain" -o 1M --sizelimit 4M) &&
		same size 4194304 "$(size_of "$d")" &&
		same columns "1048576 4194304" "$(column "$d" OFFSET,SIZELIMIT)" &&
		same "sysfs" "1048576 4194304" "$(attr "$d" offset) $(attr "$d" sizelimit)" &&
		same content here "$(head -c 4 "$d")" &&
		printf 'back' | dd of="$d" bs=512 seek=8191 conv=sync,fsync status=none &&
		same "last sector" back "$(dd if="$plain" bs=512 skip=10239 count=1 status=none | head -c 4)" &&
		detach "$d"
}
claim "-o and --sizelimit: the window of the file" window

window_past_end()
{
	local d

	d=$(attach "$plain" -o 12M --sizelimit 8M) &&
		same size 4194304 "$(size_of "$d")" && detach "$d"
}
claim "--sizelimit beyond the end: what the file has" window_past_end

read_only()
{
	local d

	d=$(attach "$plain" -r) && same RO 1 "$(column "$d" RO)" &&
		same ro 1 "$(cat "/sys/block/${d##*/}/ro")" &&
		fails dd if=/dev/zero of="$d" bs=4096 count=1 oflag=direct &&
		same "first bytes" "$(head -c 512 "$plain" | cksum)" "$(head -c 512 "$d" | cksum)" &&
		detach "$d" && d=$(attach "$plain") &&
		same "ro afterwards" 0 "$(cat "/sys/block/${d##*/}/ro")" && detach "$d"
}
claim "-r: read-only, and only this time" read_only

read_only_file()
{
	local d

	mount -o remount,ro "$base" && d=$(losetup -f --show "$plain") &&
		same RO 1 "$(column "$d" RO)" && detach "$d"
	local rc=$?
	mount -o remount,rw "$base" && return "$rc"
}
claim "a file that cannot be written gives a read-only device" read_only_file

sector_size()
{
	local d

	d=$(attach "$plain" -b 4096) && same LOG-SEC 4096 "$(column "$d" LOG-SEC)" &&
		same getss 4096 "$(blockdev --getss "$d")" &&
		fails dd if="$d" of=/dev/null bs=512 count=1 iflag=direct &&
		losetup -b 1024 "$d" && same getss 1024 "$(blockdev --getss "$d")" &&
		fails losetup -b 768 "$d" && same getss 1024 "$(blockdev --getss "$d")" &&
		detach "$d" && d=$(attach "$plain") &&
		same "afterwards" 512 "$(blockdev --getss "$d")" && detach "$d"
}
claim "-b: sector size at attach, later, refused, and not inherited" sector_size

direct()
{
	local d

	d=$(attach "$plain" --direct-io=on) && same DIO 1 "$(column "$d" DIO)" &&
		losetup --direct-io=off "$d" && same DIO 0 "$(attr "$d" dio)" &&
		losetup --direct-io=on "$d" && same DIO 1 "$(attr "$d" dio)" && detach "$d" &&
		d=$(attach "$plain" --direct-io=off) && same DIO 0 "$(column "$d" DIO)" &&
		detach "$d"
}
claim "--direct-io=on and off, at attach and later" direct

# Direct I/O on this file needs whole blocks: on f2fs always, on xfs with newer kernels
# if the file shares blocks.
file_of_blocks()
{
	local dir

	if dir=$(scratch_fs f2fs); then
		image "$dir/img" 8M
	elif dir=$(scratch_fs xfs); then
		dd if=/dev/urandom of="$dir/other" bs=1M count=8 status=none
		cp --reflink=always "$dir/other" "$dir/img"
	fi
	[ "$("$helper" direct-align "$dir/img")" = 4096 ] && echo "$dir/img"
}

direct_in_blocks()
{
	local d

	d=$(attach "$1" --direct-io=on) && same DIO 1 "$(column "$d" DIO)" &&
		same LOG-SEC 4096 "$(column "$d" LOG-SEC)" && detach "$d" &&
		d=$(attach "$1") && same LOG-SEC 512 "$(column "$d" LOG-SEC)" &&
		fails losetup --direct-io=on "$d" && same DIO 0 "$(attr "$d" dio)" &&
		detach "$d"
}
what="--direct-io=on: the block size that the file system needs"
if file=$(file_of_blocks 2>/dev/null); then
	claim "$what" direct_in_blocks "$file"
else
	tap_skip "$what" "no file system that needs more than 512 bytes"
fi

direct_stays()
{
	local d dir disk file

	dir=$(scratch_fs ext4) && disk=$(findmnt -no SOURCE "$dir") && umount "$dir" &&
		mount -o nodelalloc "$disk" "$dir" || return
	file=$dir/img
	image "$file" 8M
	d=$(attach "$file" --direct-io=on) && chattr +j "$file" &&
		same "what it needs" 0 "$("$helper" direct-align "$file")" &&
		truncate -s 9M "$file" && losetup -c "$d" && same DIO 1 "$(attr "$d" dio)" &&
		same size 18432 "$(cat "/sys/block/${d##*/}/size")" && detach "$d"
}
claim "direct I/O stays on when the file needs something else" direct_stays

nooverlap()
{
	local d d2

	d=$(attach "$plain" --nooverlap) &&
		same "the same again" "$d" "$(attach "$plain" --nooverlap)" &&
		fails losetup -f --nooverlap -o 1M "$plain" && detach "$d" &&
		d=$(attach "$plain" --nooverlap -o 8M) &&
		d2=$(attach "$plain" --nooverlap --sizelimit 8M) &&
		fails same devices "$d" "$d2" && detach "$d" && detach "$d2"
}
claim "--nooverlap: reuses, refuses, and lets neighbours be" nooverlap

detach_all()
{
	attach "$plain" && attach "$fs" && attach "$disk" && udev_settle &&
		losetup -D && same attached "" "$(loop_attached)" && same list "" "$(losetup -a)"
}
claim "losetup -D detaches everything" detach_all

named()
{
	losetup /dev/loop21 "$plain" && same backing "$plain" "$(attr loop21 backing_file)" &&
		fails losetup /dev/loop21 "$fs" && detach /dev/loop21 &&
		udev_settle && same removed 21 "$("$helper" ctl /dev/loop-control remove 21)"
}
"$helper" ctl /dev/loop-control add 21 >/dev/null
claim "losetup DEVICE FILE; a second time is refused" named

free_status()
{
	local error

	fails losetup /dev/loop0 || return
	error=$(losetup -d /dev/loop0 2>&1) && return 1
	case $error in
	*"No such device or address"*) ;;
	*) echo "$error"; return 1 ;;
	esac
}
claim "a device without a file has no status; detach is ENXIO" free_status

# ---- mount and umount ----

mount_loop()
{
	mount -o loop "$fs" "$at" &&
		same columns "$fs 1" "$(losetup -n --raw -j "$fs" -O BACK-FILE,AUTOCLEAR)" &&
		echo data > "$at/file" && udev_settle && umount "$at" &&
		same left "" "$(losetup -j "$fs")" && e2fsck -fn "$fs" >/dev/null
}
claim "mount -o loop: autoclear, and gone after umount" mount_loop

# The image lies on a file system that is unmounted right after this.
nested_umount()
{
	local i

	for ((i = 0; i < 5; i++)); do
		mount -o loop "$fs" "$at" && mount -o loop "$at/inner.img" "$at2" &&
			echo "$i" > "$at2/file" && udev_settle && umount "$at2" &&
			umount "$at" || return
	done
	same left "" "$(losetup -a)"
}
mount -o loop "$fs" "$at" && image "$at/inner.img" 4M &&
	mkfs.ext4 -q -F "$at/inner.img" && umount "$at"
claim "umount a; umount b: the file is free at once, 5 times" nested_umount

mount_offset()
{
	local off

	off=17825792 # sector 34816, where sfdisk put the second
	mount -o "loop,offset=$off,sizelimit=16777216" "$disk" "$at" &&
		same content "over the partition" "$(cat "$at/file")" &&
		same columns "$off 16777216" \
			"$(losetup -n --raw -j "$disk" -O OFFSET,SIZELIMIT)" &&
		udev_settle && umount "$at" && same left "" "$(losetup -a)"
}
claim "mount -o loop,offset=,sizelimit= of a partition" mount_offset

mount_read_only()
{
	mount -o loop,ro "$fs" "$at" && same RO 1 "$(losetup -n --raw -j "$fs" -O RO)" &&
		fails touch "$at/file2" && udev_settle && umount "$at" && same left "" "$(losetup -a)"
}
claim "mount -o loop,ro" mount_read_only

umount_detaches()
{
	local d

	d=$(attach "$fs") && mount "$d" "$at" && umount -d "$at" && wait_for 5 is_free "$d"
}
claim "umount -d detaches" umount_detaches

lazy_detach()
{
	local d

	d=$(attach "$fs") && mount "$d" "$at" && losetup -d "$d" &&
		same autoclear 1 "$(attr "$d" autoclear)" && ls "$at" >/dev/null &&
		umount "$at" && wait_for 5 is_free "$d"
}
claim "losetup -d of a mounted device: succeeds, done at umount" lazy_detach

label_link()
{
	local d

	d=$(attach "$fs") && udev_settle &&
		same link "$d" "$(readlink -f /dev/disk/by-label/loop-selftest)" &&
		same diskseq "$d" \
			"$(readlink -f "/dev/disk/by-diskseq/$(cat "/sys/block/${d##*/}/diskseq")")" &&
		detach "$d" && udev_settle &&
		[ ! -e /dev/disk/by-label/loop-selftest ]
}
claim "udev links by label and diskseq, and takes them away" label_link

# ---- many at once ----

concurrent()
{
	local i pids=() bad=0

	truncate -s 1M "$LOOP_SCRATCH"/c{1..16}
	for i in {1..16}; do
		losetup -f --show "$LOOP_SCRATCH/c$i" > "$LOOP_SCRATCH/c$i.dev" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || bad=$((bad + 1))
	done
	same "attaches that failed" 0 "$bad" &&
		same "different devices" 16 "$(cat "$LOOP_SCRATCH"/c*.dev | sort -u | wc -l)" || return
	for i in {1..16}; do
		same "file of $i" "$LOOP_SCRATCH/c$i" \
			"$(attr "$(<"$LOOP_SCRATCH/c$i.dev")" backing_file)" || return
	done
}
claim "16 concurrent losetup -f --show: 16 devices, each its own file" concurrent

concurrent_detach()
{
	local i

	for i in {1..16}; do
		losetup -d "$(<"$LOOP_SCRATCH/c$i.dev")" &
	done
	wait
	wait_for 5 nothing_attached
}
claim "16 concurrent losetup -d" concurrent_detach

# losetup opens the node for reading to detach, and with -r.
member_of_disk()
{
	local as=(setpriv --reuid=65534 --regid=disk --clear-groups) dev option

	udevadm trigger --settle --action=add --subsystem-match=block
	chmod 711 "$LOOP_SCRATCH"
	truncate -s 1M "$LOOP_SCRATCH/theirs"
	chown 65534 "$LOOP_SCRATCH/theirs"
	for option in --partscan --read-only; do
		dev=$("${as[@]}" losetup -f --show "$option" "$LOOP_SCRATCH/theirs") &&
			udev_settle && "${as[@]}" losetup -d "$dev" || return
		wait_for 5 is_free "$dev" || return
	done
}
claim "losetup, -r and -d by a member of group disk" member_of_disk

test_end
