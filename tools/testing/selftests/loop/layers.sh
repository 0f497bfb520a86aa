#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Loop devices between other layers: file systems with transactions above and below,
# device mapper above and below, eight loop devices on top of each other; a file below
# whose I/O fails at random, and a disk below that loses power at any moment.
#
# LOOP_PATHS_LONG=1 makes more and larger I/O, and 1500 power cuts.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup fio dmsetup stress-ng mkfs.ext4 mkfs.xfs mkfs.btrfs e2fsck xfs_repair btrfs
tap_start

BRD_COUNT=8
test_begin
long=${LOOP_PATHS_LONG:-0}
at=$LOOP_SCRATCH/at
mkdir "$at"
declare -A on
for type in ext4 xfs btrfs; do
	on[$type]=$(scratch_fs $type) || bail_out "no $type"
done

# ---- file systems with their own kind below ----

# load DIRECTORY: makes transactions
load()
{
	local factor=$((1 + 60 * long))

	stress-ng --quiet --verify --temp-path "$1" --timeout $((60 * factor)) \
		--hdd 1 --hdd-bytes 1M --hdd-write-size 16k --hdd-opts fsync \
		--hdd-ops $((32 * factor)) --dir 1 --dir-ops $((32 * factor)) --dir-dirs 64 \
		--rename 1 --rename-ops $((100 * factor)) --dentry 1 --dentries 64 \
		--dentry-ops $((64 * factor))
}

same_kind()
{
	local type=$1 file=${on[$1]}/img dev

	image "$file" "$(fs_size "$type")"
	dev=$(attach_to "$file" "$2") && make_fs "$type" "$dev" && snap "$dev" &&
		mount "$dev" "$at" && load "$at" && umount "$at" &&
		mount "$dev" "$at" && cp -r /etc/default "$at" && sync -f "$at" && umount "$at" &&
		counted "$dev" worker_meta && check_fs "$type" "$dev" &&
		mount -o ro "$dev" "$at" && diff -r /etc/default "$at/default" && umount "$at" &&
		all_since "$dev" > "$LOOP_SCRATCH/since" && detach "$dev" && rm "$file"
}

i=0
modes=(on off)
for type in ext4 xfs btrfs; do
	for mode in "${modes[@]}"; do
		[ "$long" = 1 ] || [ $type = xfs ] || [ "${modes[i % 2]}" = "$mode" ] || continue
		claim "$type on $type under load, direct $mode: metadata by workers, fsck" \
			same_kind $type "$mode"
		diag "$(paste -sd, "$LOOP_SCRATCH/since" 2>/dev/null)"
	done
	i=$((i + 1))
done

# ---- the medium changes below a mounted file system ----

# read_all: reads the mounted file system again and again, uncached
read_all()
{
	while :; do
		echo 3 > /proc/sys/vm/drop_caches
		find "$at" -type f -exec cat {} + > /dev/null 2>&1
	done
}

# read_while_changed DEVICE FILE: the file system is shut down before the device has
# another file, so it does not take data of that file for its own.
read_while_changed()
{
	local readers=() mark=loop-selftest-$RANDOM status=0

	echo "$mark" > /dev/kmsg
	for _ in 1 2 3; do
		read_all &
		readers+=($!)
	done
	sleep 1
	"$paths" change-fd "$1" "$2" || status=1
	sleep 0.5
	kill "${readers[@]}"
	wait "${readers[@]}" 2> /dev/null
	echo 3 > /proc/sys/vm/drop_caches
	if cat "$at"/*/default/* > /dev/null 2>&1; then
		echo "the file system goes on"
		status=1
	fi
	umount "$at" || status=1
	if dmesg | sed "1,/$mark/d" | grep -aE 'EXT4-fs error|[Mm]etadata corruption|bad magic'; then
		status=1
	fi
	return "$status"
}

# changed_under TYPE disk|part
changed_under()
{
	local type=$1 a=$LOOP_SCRATCH/a b=$LOOP_SCRATCH/b dev node i

	rm -f "$a" "$b"
	truncate -s 322M "$a" && truncate -s 322M "$b" || return
	[ "$2" = disk ] || echo '2048,' | sfdisk -q "$a" || return
	dev=$(losetup -P -f --show "$a") && udev_settle || return
	node=$dev
	[ "$2" = disk ] || node=${dev}p1
	make_fs "$type" "$node" && mount "$node" "$at" || return
	for i in {1..20}; do
		mkdir "$at/d$i" && cp -r /etc/default "$at/d$i" || return
	done
	umount "$at" && detach "$dev" || return
	for i in {1..4}; do
		dev=$(losetup -r -P -f --show "$a") && udev_settle || return
		mount -o ro "${dev}${node#/dev/loop*[0-9]}" "$at" && read_while_changed "$dev" "$b" &&
			detach "$dev" || return
	done
	rm "$a" "$b"
}

for type in ext4 xfs; do
	for where in disk part; do
		claim "LOOP_CHANGE_FD under $type on a $where: it ends before the new file is seen" \
			changed_under $type $where
	done
done

# ---- eight deep ----

# verify DEVICE...: runs fio with a job for each
verify()
{
	local dev jobs=()

	for dev in "$@"; do
		jobs+=("--name=${dev##*/}" "--filename=$dev")
	done
	quiet_fio --ioengine=libaio --direct=1 --rw=randwrite \
		--size=$((512 + 7680 * long))k --bsrange=512-64k --blockalign=512 --iodepth=16 \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --end_fsync=1 --fallocate=none \
		"${jobs[@]}"
}

deep_devices()
{
	local low=$1 dev=$1 all=() i

	for i in {1..8}; do
		dev=$(attach_to "$dev" "$2") || return
		all+=("$dev")
	done
	"$paths" async aio "$dev" write 128 3 && "$paths" check "$dev" 128 3 &&
		{ [ "$long" = 0 ] || verify "$dev"; } && "$paths" async uring "$dev" write 128 4 &&
		"$paths" check "$dev" 128 4 direct || return
	for ((i = 7; i >= 0; i--)); do
		all_since "${all[i]}" | paste -sd' '
		detach "${all[i]}" || return
	done
	forget "$low" && "$paths" check "$low" 128 4
}

ram=$(brd_take)
for mode in on off; do
	claim "eight loop devices on a RAM disk, direct $mode: verified" deep_devices "$ram" $mode
done

# deep_files MODE MODE: the modes alternate.  If all devices are direct and no file has
# holes, the submitter goes down as far as its stack allows, in one call.
deep_files()
{
	local dir=${on[ext4]} dev i all=() mode options=(-O ^has_journal) full='' mib stack

	[ "$long" = 0 ] || options=(-J size=4)
	[ "$1$2" != onon ] || full=1
	for i in {1..8}; do
		mode=$1
		set -- "$2" "$1"
		mib=$(((10 - i) * (2 + 6 * long)))
		image "$dir/img" "${mib}M"
		[ ! "$full" ] || written_image "$dir/img" $((mib * 256)) || return
		dev=$(attach_to "$dir/img" "$mode") &&
			mkfs.ext4 -q -F -b 4096 -N 64 -E lazy_itable_init=0 "${options[@]}" "$dev" &&
			mkdir -p "$LOOP_SCRATCH/at$i" &&
			mount -o noatime "$dev" "$LOOP_SCRATCH/at$i" || return
		dir=$LOOP_SCRATCH/at$i
		all+=("$dev")
	done
	written_image "$dir/data" $((256 + 1024 * long)) && verify "$dir/data" || return
	[ "$long" = 0 ] || stress-ng --quiet --verify --temp-path "$dir" \
		--timeout 300 --hdd 2 --hdd-bytes 1M --hdd-write-size 16k \
		--hdd-opts fsync --hdd-ops 500 || return
	"$paths" async aio "$dir/data" write 128 5 && forget "$dir/data" &&
		"$paths" check "$dir/data" 128 5 && stack=$(counts worker_stack "${all[@]}") ||
		return
	for ((i = 8; i > 0; i--)); do
		grep -E "stack|inline" "/sys/block/${all[i - 1]##*/}/loop_stats" | paste -sd' '
		umount "$LOOP_SCRATCH/at$i" &&
			{ [ "$long" = 0 ] || e2fsck -fn "${all[i - 1]}"; } && detach "${all[i - 1]}" ||
			return
	done
	rm "${on[ext4]}/img" && { [ ! "$full" ] || fails test "$stack" = 0; }
}

# counts NAME DEVICE...: the sum of a counter
counts()
{
	local dev n=0

	for dev in "${@:2}"; do
		n=$((n + $(sed -n "s/^$1 //p" "/sys/block/${dev##*/}/loop_stats")))
	done
	echo "$n"
}
claim "eight file systems on loop devices in each other, verified" deep_files on off
claim "eight file systems in each other, all direct: the stack is enough" deep_files on on
if [ "$long" = 1 ]; then
	claim "eight file systems in each other, all buffered" deep_files off off
fi

# ---- device mapper ----

# stack KIND LOW LOW2: makes $mapper-KIND of 16 MiB on these devices
stack()
{
	case $1 in
	linear) map_to linear "0 16384 linear $2 0" "16384 16384 linear $2 16384" ;;
	crypt) map_to crypt "0 32768 crypt aes-xts-plain64 $(printf '%064d' 7) 0 $2 0" ;;
	snapshot)
		dd if=/dev/zero of="$3" bs=4k count=1 oflag=direct status=none &&
			map_to snapshot "0 32768 snapshot $2 $3 P 8"
		;;
	thin)
		dd if=/dev/zero of="$3" bs=4k count=1 oflag=direct status=none &&
			map_to pool "0 32768 thin-pool $3 $2 128 0" &&
			dmsetup message loop-selftest-pool 0 "create_thin 0" &&
			map_to thin "0 32768 thin $mapper-pool 0"
		;;
	esac
}

unstack()
{
	unmap_it "$1" || return
	[ "$1" != thin ] || unmap_it pool
}

through()
{
	same result "submitted ok=256 again=0 other=0" \
		"$(paste_of "$paths" async aio "$1" write 256 "$2")" && "$paths" check "$1" 256 "$2" &&
		{ [ "$long" = 0 ] || { verify "$1" && "$paths" write "$1" 256 "$2"; }; }
}

dm_below()
{
	local dev

	stack "$1" "$ram" "$ram2" && dev=$(attach_to "$mapper-$1" "$2") && through "$dev" 6 &&
		detach "$dev" && forget "$mapper-$1" && "$paths" check "$mapper-$1" 256 6 &&
		unstack "$1"
}

dm_above()
{
	local low low2

	image "${on[ext4]}/low" 16M && image "${on[ext4]}/low2" 16M
	low=$(attach_to "${on[ext4]}/low" "$2") && low2=$(attach_to "${on[ext4]}/low2" "$2") &&
		stack "$1" "$low" "$low2" && through "$mapper-$1" 8 && unstack "$1" &&
		stack_again "$1" "$low" "$low2" && "$paths" check "$mapper-$1" 256 8 direct &&
		unstack "$1" && detach "$low" && detach "$low2"
}

# stack_again KIND LOW LOW2: maps existing data again
stack_again()
{
	case $1 in
	linear | crypt) stack "$@" ;;
	snapshot) map_to snapshot "0 32768 snapshot $2 $3 P 8" ;;
	thin)
		map_to pool "0 32768 thin-pool $3 $2 128 0" &&
			map_to thin "0 32768 thin $mapper-pool 0"
		;;
	esac
}

ram2=$(brd_take)
i=0
for kind in linear crypt snapshot thin; do
	module=dm-$kind
	[ $kind != thin ] || module=dm-thin-pool
	[ $kind != linear ] || module=dm-mod
	if ! modprobe -q $module; then
		tap_skip "$kind below and above" "no $module"
		continue
	fi
	for mode in "${modes[@]}"; do
		[ "$long" = 1 ] || [ "${modes[i % 2]}" = "$mode" ] || continue
		claim "on $kind, direct $mode: verified" dm_below $kind "$mode"
		claim "below $kind, direct $mode: verified" dm_above $kind "$mode"
	done
	i=$((i + 1))
done

# ---- tries that come to nothing ----

inject()
{
	local share=$1 dev all=() target

	for target in "${on[ext4]}/inject-on" "${on[ext4]}/inject-off" "${on[xfs]}/inject-on" \
		"${on[xfs]}/inject-off" "${on[btrfs]}/inject-on" "$ram-off"; do
		case $target in
		*/ram*) dev=$(attach_to "$ram" off) || return ;;
		*)
			image "$target" 8M
			dev=$(attach_to "$target" "${target##*-}") || return
			;;
		esac
		was=()
		snap "$dev"
		all+=("$dev")
	done
	echo "$share" > /sys/module/loop/parameters/inject
	verify "${all[@]}" && "$paths" write "${all[0]}" 64 9 && "$paths" write "${all[3]}" 64 9 &&
		"$paths" check "${all[0]}" 64 9 direct && "$paths" check "${all[3]}" 64 9 direct || return
	echo 0 > /sys/module/loop/parameters/inject
	forget "${on[ext4]}/inject-on" && "$paths" check "${on[ext4]}/inject-on" 64 9 &&
		"$paths" check "${on[xfs]}/inject-off" 64 9 || return
	for dev in "${all[@]}"; do
		grep -v ' 0$' "/sys/block/${dev##*/}/loop_stats" | paste -sd' '
	done
	was=()
	zeroes "${all[0]}" && counted "${all[0]}" inline retry_short retry_error buffered &&
		sum_counted "${all[0]}" retry_again retry_late || return
	for dev in "${all[@]}"; do
		detach "$dev" || return
	done
}

zeroes()
{
	local name

	while read -r name _; do
		was[$name]=0
	done < "/sys/block/${1##*/}/loop_stats"
}

if [ -e /sys/module/loop/parameters/inject ]; then
	for share in 300 1000; do
		claim "$share of 1000 transfers come to something else: verified" inject $share
	done
	echo 0 > /sys/module/loop/parameters/inject
else
	tap_skip "transfers come to something else" \
		"the driver is built without CONFIG_BLK_DEV_LOOP_INJECT"
fi

# ---- power cuts ----

count=$((20 + 230 * long))
cuts=$((8 + 242 * long)) # each with two file systems to recover

# cut_logged DEVICE LOG: I/O to $mapper-cut goes to DEVICE, and is recorded in LOG
cut_logged()
{
	dd if=/dev/zero of="$2" bs=4k count=1 oflag=direct status=none &&
		map_to cut "0 32768 log-writes $1 $2"
}

cut_files()
{
	local dev dev2

	cut_logged "$ram" "$ram2" &&
		mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0 "$mapper-cut" && mount "$mapper-cut" "$at" &&
		written_image "$at/on" $((2 * count)) && written_image "$at/off" $((2 * count)) &&
		dev=$(attach_to "$at/on" on) && dev2=$(attach_to "$at/off" off) || return
	"$paths" log-write "$dev" loop-selftest-cut "$count" 0 &
	"$paths" log-write "$dev2" loop-selftest-cut "$count" "$count" && wait $! &&
		detach "$dev" && detach "$dev2" &&
		"$paths" log-check "$ram2" 32768 "$count" "$at/on" "$at/off" &&
		umount "$at" && unmap_it cut
}

cut_device()
{
	local dev

	cut_logged "$ram" "$ram2" && dev=$(attach_to "$mapper-cut" "$1") &&
		"$paths" log-write "$dev" loop-selftest-cut "$count" 0 && detach "$dev" &&
		unmap_it cut && "$paths" log-check "$ram2" 32768 "$count" "$ram"
}

# An ext4 is on a loop device on a file on another ext4.  Its journal writes data with
# PREFLUSH and FUA in the same bio.  After a cut at any place, both recover.
cut_journal()
{
	local dev i

	cut_logged "$ram" "$ram2" &&
		mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0 "$mapper-cut" && mount "$mapper-cut" "$at" &&
		written_image "$at/img" 2048 && dev=$(attach_to "$at/img" "$1") &&
		mkfs.ext4 -q -F -b 1024 -E lazy_itable_init=0 "$dev" &&
		mkdir -p "$LOOP_SCRATCH/at1" && mount "$dev" "$LOOP_SCRATCH/at1" &&
		sync && dmsetup message loop-selftest-cut 0 mark 0 && snap "$dev" &&
		"$paths" log-files "$LOOP_SCRATCH/at1" loop-selftest-cut "$count" &&
		counted "$dev" "flush:$count" &&
		umount "$LOOP_SCRATCH/at1" && detach "$dev" && umount "$at" && unmap_it cut || return
	for ((i = 1; i <= cuts; i++)); do
		cut_at "$i" "$1" || {
			echo "cut $i of $cuts"
			return 1
		}
	done
}

# cut_at PART on|off: cuts the log at that part, after both file systems were made
cut_at()
{
	local low dev files

	files=$("$paths" log-cut "$ram2" 32768 "$1" "$cuts" "$LOOP_SCRATCH/cut") &&
		low=$(attach "$LOOP_SCRATCH/cut") && mount "$low" "$at" &&
		dev=$(attach_to "$at/img" "$2") && mount "$dev" "$LOOP_SCRATCH/at1" &&
		"$paths" files-check "$LOOP_SCRATCH/at1" "$files" &&
		umount "$LOOP_SCRATCH/at1" && check_fs ext4 "$dev" > "$LOOP_SCRATCH/fsck" &&
		detach "$dev" && umount "$at" && detach "$low"
}

if modprobe -q dm-log-writes; then
	claim "$((2 * count)) power cuts below ext4: what was flushed, or FUA, is there" cut_files
	claim "$count power cuts, direct on a device: it is there" cut_device on
	claim "$count power cuts, buffered on a device: it is there" cut_device off
	for mode in "${modes[@]}"; do
		claim "$cuts power cuts below an ext4, direct $mode: fsck, and what was synced" \
			cut_journal "$mode"
	done
else
	tap_skip "power cuts" "no dm-log-writes"
fi

test_end
