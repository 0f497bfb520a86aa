#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the same fio jobs on files and block devices themselves, on loop devices
# of the kernel's own driver over them, and on those of the driver under test.
# Not a test: nothing depends on a time.
#
# usage: bench.sh [-s ROUNDS] DIRECTORY [ROW...]
#
#   -s ROUNDS   the rows that need two processors, each measured ROUNDS times
#   ROW         a pattern that SET/JOB has to match, or SET (default: all)
#
# In DIRECTORY there are afterwards SET.VARIANT.ROUND.json, fio's report with a
# job for each row, and SET.VARIANT.ROUND.fio, the jobs; VARIANT is limit (the
# file or device itself), dm (dm-linear over it), stock or ours.  The number of
# requests that a discard became is in discard.VARIANT.ROUND; where the device
# does not offer it, the same space is zeroed.  How much of its rate a cgroup keeps
# beside one that is limited is in share.JOB.VARIANT.ROUND.
#
# shellcheck disable=SC1091,SC2119
cd "$(dirname "$0")" || exit 1
. ./common.sh

MIB=256				# a file's size, and what is used of a device
BRD_COUNT=2
BRD_KIB=$((400 * 1024))
nullb=/sys/kernel/config/nullb
groups=/sys/fs/cgroup/bench
sets="direct-ext4 buffered-ext4 direct-xfs buffered-xfs direct-null uncached discard"

die()
{
	echo "$0: $*" >&2
	exit 1
}

# jobs_of SET: NAME NUMBER-OF-I/OS FIO-OPTION...
jobs_of()
{
	if [ "$1" = share ]; then
		printf '%s 0 rw=%s iodepth=32\n' randread-32 randread randwrite-32 randwrite
		return
	fi
	if [ "$smp" ]; then
		cat <<-END
		randread-1 0 rw=randread
		randread-32 0 rw=randread iodepth=32
		randread-32x2 0 rw=randread iodepth=32 numjobs=2
		END
		return
	fi
	case $1 in
	uncached) echo "randread-32 16000 rw=randread iodepth=32 norandommap=0" ;;
	discard) echo "discard-1g 0" ;;
	*) cat <<-END
		randread-1 20000 rw=randread
		randread-32 20000 rw=randread iodepth=32
		randwrite-32 10000 rw=randwrite iodepth=32
		read-32 10000 rw=read iodepth=32
		write-32 10000 rw=write iodepth=32
		read128k-8 2500 rw=read iodepth=8 bs=128k
		write128k-8 2500 rw=write iodepth=8 bs=128k
		fdatasync-1 5000 rw=randwrite fdatasync=1
		dsync-1 5000 rw=randwrite sync=dsync
		END
		;;
	esac
}

# selected_jobs SET: those of its jobs that were asked for
selected_jobs()
{
	jobs_of "$1" | while read -r _job; do
		set -f
		for _row in $rows; do
			# shellcheck disable=SC2254 # patterns
			case $1/${_job%% *} in
			$_row | $_row/*)
				echo "$_job"
				break
				;;
			esac
		done
	done
}

# null_blk_make NAME ATTRIBUTE=VALUE...
null_blk_make()
{
	_name=$1
	shift
	mkdir "$nullb/$_name" || return 1
	for _attr in size=1024 memory_backed=0 "$@" power=1; do
		echo "${_attr#*=}" > "$nullb/$_name/${_attr%%=*}" || return 1
	done
}

# A file without holes or unwritten extents.
file_make()
{
	dd if=/dev/zero of="$1" bs=1M count=$MIB conv=fsync status=none
}

# prepare SET: what the set needs that is not there; sets target
prepare()
{
	case $1 in
	*-ext4 | *-xfs)
		target=$LOOP_SCRATCH/mnt/${1#*-}/file
		[ -e "$target" ] && return
		# A small ext4 has small blocks if nothing is said.
		case $1 in
		*-ext4) scratch_fs ext4 -b 4096 ;;
		*-xfs) scratch_fs xfs ;;
		esac > /dev/null && file_make "$target"
		;;
	direct-null)
		target=/dev/fast
		[ -b $target ] || null_blk_make fast
		;;
	uncached)
		target=$LOOP_SCRATCH/slow/file
		[ -e "$target" ] && return
		null_blk_make slow memory_backed=1 irqmode=2 completion_nsec=100000 &&
			mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 \
				/dev/slow &&
			mkdir "$LOOP_SCRATCH/slow" &&
			mount /dev/slow "$LOOP_SCRATCH/slow" && file_make "$target"
		;;
	discard)
		target=/dev/trim
		[ -b $target ] || null_blk_make trim memory_backed=1 discard=1
		;;
	share) prepare direct-ext4 ;;
	esac
}

# The number of discards and writes that /dev/trim has seen.
discards()
{
	awk '{ print $5 + $12 }' /sys/block/trim/stat
}

# in_group NAME fio FIO-OPTION...: 4k I/O in that cgroup, of a part of the device
in_group()
{
	(
		sh -c 'echo $PPID' > "$groups/$1/cgroup.procs"
		shift
		exec "$@" --direct=1 --ioengine=libaio --bs=4k --size=$((MIB / 2))m \
			--norandommap=1 --invalidate=0 --thread=1 --time_based=1
	)
}

# iops DEVICE FIO-OPTION...: of one cgroup
iops()
{
	_device=$1
	shift
	in_group free fio --minimal --terse-version=3 --name=free --filename="$_device" \
		--ramp_time=200ms --runtime=1 "$@" | awk -F ';' '{ print $8 + $49 }'
}

# share DEVICE VARIANT ROUND: alone, and beside a cgroup that has 1 MB/s and wants more
share()
{
	_low=$(findmnt -no MAJ:MIN -T "$target")
	echo "$_low rbps=1000000 wbps=1000000" > "$groups/limited/io.max" || die "no io.max"
	selected_jobs share | while read -r _name _ _rw _depth; do
		_alone=$(iops "$1" "--$_rw" "--$_depth")
		in_group limited fio --name=limited --filename="$1" --runtime=60 --rw=randrw \
			--iodepth=32 --offset=$((MIB / 2))m > /dev/null 2>&1 &
		sleep 0.5
		_beside=$(iops "$1" "--$_rw" "--$_depth")
		# it ends when all it has under way is done
		echo "$_low rbps=max wbps=max" > "$groups/limited/io.max"
		echo 1 > "$groups/limited/cgroup.kill"
		wait
		echo "$_low rbps=1000000 wbps=1000000" > "$groups/limited/io.max"
		echo "$_alone $_beside" | awk '{ print $2 / $1 }' > "$out/share.$_name.$2.$3"
	done
	echo "$_low rbps=max wbps=max" > "$groups/limited/io.max"
}

# run_fio SET DEVICE DIRECT OUTPUT
run_fio()
{
	{
		cat <<-END
		[global]
		filename=$2
		direct=$3
		ioengine=io_uring
		bs=4k
		size=${MIB}m
		norandommap=1
		invalidate=0
		thread=1
		mem=mmaphuge
		group_reporting=1
		disk_util=0
		END
		selected_jobs "$1" | while read -r _name _ios _options; do
			_bs=${_options##*bs=}
			[ "$_bs" != "$_options" ] || _bs=4k
			_kib=$((_ios * ${_bs%k}))
			# shellcheck disable=SC2086 # a list of words
			if [ ! "$smp" ]; then
				printf '%s\n' "[warm-$_name]" stonewall=1 \
					io_size=$((_kib / 10))k $_options
				printf '%s\n' "[$_name]" stonewall=1 \
					io_size=${_kib}k $_options
			else
				printf '%s\n' "[$_name]" stonewall=1 time_based=1 \
					ramp_time=200ms runtime=1 $_options
			fi
		done
	} > "$4.fio"
	fio --output-format=json --output="$4.json" "$4.fio" > "$4.log" 2>&1 || {
		cat "$4.log" "$4.json"
		die "fio failed"
	}
}

# measure SET VARIANT ROUND
measure()
{
	[ "$(selected_jobs "$1")" ] || return 0
	[ "$2" != dm ] || [ "$1$smp" = direct-null ] || return 0
	prepare "$1" || die "$1 cannot be set up"
	dio=on dio_is=1
	case $1 in
	buffered-* | uncached) dio=off dio_is=0 ;;
	esac
	sync
	echo 3 > /proc/sys/vm/drop_caches
	case $1 in
	buffered-*) dd if="$target" of=/dev/null bs=1M status=none ;;
	esac

	# A loop device's own page cache is not what is measured.
	direct=1
	case $2 in
	limit)
		device=$target
		[ $dio = on ] || direct=0
		;;
	dm)
		device=/dev/mapper/bench
		dmsetup create --noudevsync bench \
			--table "0 $((MIB * 2048)) linear $target 0"
		# there is no udev here to make the node
		dmsetup mknodes bench && [ -b "$device" ]
		;;
	*)
		device=$(losetup --show --direct-io=$dio -f "$target") &&
			[ "$(losetup -nO DIO "$device" | tr -dc 01)" = $dio_is ]
		;;
	esac || die "$1: no device for $2"

	echo "# $1: $2"
	case $1 in
	discard)
		_before=$(discards)
		blkdiscard "$device" 2>/dev/null || blkdiscard -z "$device" ||
			die "$2: the device cannot be cleared"
		echo $(($(discards) - _before)) > "$out/discard.$2.$3"
		# zeroes would stay in memory
		blkdiscard "$target"
		;;
	share) share "$device" "$2" "$3" ;;
	*) run_fio "$1" "$device" $direct "$out/$1.$2.$3" ;;
	esac
	case $2 in
	dm) dmsetup remove --noudevsync bench ;;
	stock | ours) losetup -d "$device" ;;
	esac
}

smp=''
rounds=1
if [ "$1" = -s ]; then
	smp=1
	rounds=$2
	sets="direct-ext4 direct-null share"
	shift 2
fi
out=$1
shift
rows=${*:-*}

need_root
need_cmd fio losetup dmsetup mkfs.ext4 mkfs.xfs findmnt
scratch_init || die "no scratch space"
modprobe null_blk nr_devices=0 || die "no null_blk"
modprobe dm-mod || die "no dm-mod"
# What would differ from run to run: writeback by a timer, and how many pieces
# of memory a buffer has.  fio does not give all huge pages back between jobs.
echo 0 > /proc/sys/vm/dirty_writeback_centisecs
echo 64 > /proc/sys/vm/nr_hugepages
mountpoint -q /sys/kernel/config ||
	mount -t configfs configfs /sys/kernel/config || die "no configfs"
if [ "$smp" ]; then
	echo +io > /sys/fs/cgroup/cgroup.subtree_control || die "no cgroup v2 with io"
	mkdir $groups && echo +io > $groups/cgroup.subtree_control
	mkdir $groups/free $groups/limited || die "no cgroups"
fi

round=1
while [ $round -le "$rounds" ]; do
	for variant in limit dm stock ours; do
		case $variant in
		stock) loop_load_stock || die "the stock module does not load" ;;
		ours) loop_load || die "the module under test does not load" ;;
		esac
		for set in $sets; do
			measure "$set" $variant $round
		done
		loop_unload || die "the loop module does not unload"
	done
	round=$((round + 1))
done
