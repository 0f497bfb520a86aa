#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Does the same on files and block devices themselves, on loop devices of the kernel's
# own driver over them, and on those of the driver under test: mostly fio jobs, and some
# whole jobs of other programs. It is not a test: nothing depends on a time.
#
# usage: bench.sh [-s ROUNDS] DIRECTORY [ROW...]
#
#   -s ROUNDS   the rows that need two processors, each measured ROUNDS times
#   ROW         a pattern that SET/TARGET/JOB has to match, or SET/JOB where the set
#               has one target, or the beginning of it up to a slash; "all" is all
#               rows (default: the sets that "usual" names)
#
# DIRECTORY gets SET.TARGET.JOB.VARIANT.ROUND.json for each row, which is fio's report,
# and .fio, the job; or .value, a number. VARIANT is limit (the file or device itself), dm
# (dm-linear over it), stock or ours. Without -s, rows that threads of the kernel disturb
# are measured in three rounds.
#
# The value of "discard" is the number of requests that a discard becomes (the same space
# is zeroed if the device does not offer it), of "requests" the number of requests that the
# disk below does, of "share" the part of its rate that a cgroup keeps beside one that is
# limited, of "jobs" ms of processor time of the whole machine, of "switches" context
# switches for each I/O of "writes".
#
# shellcheck disable=SC1091,SC2119
cd "$(dirname "$0")" || exit 1
. ./common.sh

# for common.sh
export BRD_COUNT=8
export BRD_KIB=$((1024 * 1024))
nullb=/sys/kernel/config/nullb
groups=/sys/fs/cgroup/bench
above=$LOOP_SCRATCH/above

# put WORD...: before each line
put()
{
	sed "s/^/$* /"
}

# Rows are SET TARGET JOB NUMBER-OF-I/OS FIO-OPTION...; "-" is the only target
table()
{
	for _set in direct-ext4 buffered-ext4 direct-xfs buffered-xfs direct-null; do
		put $_set - <<-END
		randread-1 20000 rw=randread
		randread-32 20000 rw=randread iodepth=32
		randwrite-32 10000 rw=randwrite iodepth=32
		randrw-32 10000 rw=randrw rwmixread=70 iodepth=32
		read-32 10000 rw=read iodepth=32
		write-32 10000 rw=write iodepth=32
		read128k-8 2500 rw=read iodepth=8 bs=128k
		write128k-8 2500 rw=write iodepth=8 bs=128k
		fdatasync-1 5000 rw=randwrite fdatasync=1
		dsync-1 5000 rw=randwrite sync=dsync
		END
	done
	put uncached - <<-END
	randread-32 16000 rw=randread iodepth=32 norandommap=0
	END
	put discard - <<-END
	discard-1g 0
	END
	_batch='iodepth_batch=16 iodepth_batch_complete_min=16'
	for _scheduler in bfq mq-deadline; do
		put requests $_scheduler <<-END
		direct-read 8192 rw=read iodepth=32
		direct-write 8192 rw=write iodepth=32 end_fsync=1
		batch-read 8192 rw=read iodepth=32 $_batch
		batch-write 8192 rw=write iodepth=32 $_batch end_fsync=1
		buffered-read 8192 rw=read iodepth=32
		buffered-write 8192 rw=write iodepth=32 end_fsync=1
		pages-write 8192 rw=write ioengine=psync direct=0 end_fsync=1
		END
	done
	for _on in ext4 xfs btrfs tmpfs vfat ext2 f2fs squashfs erofs; do
		put cached $_on <<-END
		randread-32 10000 rw=randread iodepth=32
		END
	done
	for _state in ext4-cached ext4-dirty ext4-sparse ext4-prealloc xfs-cached \
		xfs-dirty xfs-sparse xfs-prealloc xfs-reflink btrfs-prealloc btrfs-reflink; do
		put state $_state <<-END
		randwrite-32 6000 rw=randwrite iodepth=32
		write-32 6000 rw=write iodepth=32
		pages-write 6000 rw=write ioengine=psync direct=0 end_fsync=1
		END
	done
	for _above in ext4 xfs btrfs squashfs erofs ext4-dio xfs-dio; do
		put mounted $_above <<-END
		buffered-randread 4000 rw=randread ioengine=psync direct=0
		buffered-read 16000 rw=read ioengine=psync direct=0
		mmap-randread 4000 rw=randread ioengine=mmap direct=0
		direct-randread 8000 rw=randread iodepth=32
		END
	done | grep -v 'squashfs direct'
	printf 'jobs ext4 %s\n' make-ext4 make-xfs make-btrfs read-squashfs read-erofs \
		mount-40 fstrim fsync-200
	printf 'jobs xfs %s\n' make-ext4 make-xfs mount-40 fstrim fsync-200
	printf 'jobs btrfs %s\n' make-ext4 fstrim fsync-200
	printf 'jobs tmpfs %s\n' make-ext4 fstrim fsync-200
}

# These rows are for two processors; 0 stands for as many I/Os as a second has.
smp_table()
{
	for _set in direct-ext4 direct-null; do
		put $_set - <<-END
		randread-1 0 rw=randread
		randread-32 0 rw=randread iodepth=32
		randread-32x2 0 rw=randread iodepth=32 numjobs=2
		END
	done
	put share - <<-END
	randread-32 0 rw=randread iodepth=32
	randwrite-32 0 rw=randwrite iodepth=32
	END
	for _on in ext4 xfs btrfs tmpfs; do
		for _tasks in 1 16 256 512; do
			echo "writes $_on tasks-$_tasks 0 rw=randwrite ioengine=psync" \
				"numjobs=$_tasks mem=malloc"
		done
		put writes $_on <<-END
		randwrite-32 0 rw=randwrite iodepth=32
		write128k-8 0 rw=write iodepth=8 bs=128k
		END
	done
	for _devices in 1 2 8; do
		echo "devices - devices-$_devices 0 rw=randread iodepth=32 numjobs=$_devices"
	done
	put beside - <<-END
	randread-32 0 rw=randread iodepth=32
	END
}

# selected ROW...: the rows of the table that match
selected()
{
	if [ "$smp" ]; then smp_table; else table; fi |
		while read -r _set _target _job _more; do
			_id=$(echo "$_set/$_target/$_job" | sed 's,/-/,/,')
			set -f
			for _row in "$@"; do
				# shellcheck disable=SC2254 # patterns
				case $_id in
				$_row | $_row/*)
					echo "$_set $_target $_job $_more"
					break
					;;
				esac
			done
		done
}

# units: rows, or "SET TARGET all" for several rows that one call of fio does
units()
{
	echo "$rows" | while read -r _set _target _row; do
		case $smp$_set in
		direct-* | buffered-* | mounted) _row=all ;;
		esac
		echo "$_set $_target $_row"
	done | uniq
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

# slow_make NAME ATTRIBUTE=VALUE...: a null_blk device that takes time, with ext4; makes file
slow_make()
{
	null_blk_make "$@" memory_backed=1 irqmode=2 &&
		mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 "/dev/$1" &&
		mkdir "${file%/*}" && mount "/dev/$1" "${file%/*}" && file_make "$file"
}

# file_make FILE: without holes or unwritten extents
file_make()
{
	dd if=/dev/zero of="$1" bs=1M count=$mib conv=fsync status=none
}

# file_uncache FILE: drops it from the page cache
file_uncache()
{
	sync "$1" && dd if="$1" iflag=nocache count=0 status=none
}

# The files of whole jobs are 2,000 of 4 KiB.
tree_make()
{
	tree=$LOOP_SCRATCH/tree
	[ -e "$tree" ] || { mkdir "$tree" &&
		seq 2000000 | head -c $((2000 * 4096)) | split -a 3 -b 4096 - "$tree/"; }
}

# image_make FS DEVICE: makes an image with the tree
image_make()
{
	mkfs_quiet "$1" "$2" && mount "$2" "$above" && cp -r "$tree" "$above" &&
		sync "$above" && umount "$above"
}

mkfs_quiet()
{
	case $1 in
	ext4) mkfs.ext4 -q -F -b 4096 "$2" ;;
	*) mkfs."$1" -q -f "$2" ;;
	esac
}

# packed_make squashfs|erofs IMAGE [DIRECTORY]: an image of these files, or, not
# compressed, of one large file
packed_make()
{
	_from=${3:-$LOOP_SCRATCH/src}
	# squashfs does not store zeroes
	[ -e "$_from" ] || { mkdir "$_from" && yes | head -c $((64 << 20)) > "$_from/file"; } || return 1
	case $1$# in
	squashfs2) mksquashfs "$_from" "$2" -noappend -quiet -no-progress -noI -noD -noF ;;
	squashfs3) mksquashfs "$_from" "$2" -noappend -quiet -no-progress ;;
	erofs*) mkfs.erofs "$2" "$_from" ;;
	esac > /dev/null
}

# below FS: a file system of that type on a RAM disk; sets dir
below()
{
	dir=$LOOP_SCRATCH/mnt/$1
	[ ! -d "$dir" ] || return 0
	case $1 in
	# A small ext4 has small blocks by default.
	ext4) scratch_fs ext4 -b 4096 > /dev/null ;;
	squashfs | erofs)
		_ram=$(brd_take) && mkdir -p "$dir" &&
			packed_make "$1" "$LOOP_SCRATCH/image" &&
			dd if="$LOOP_SCRATCH/image" of="$_ram" bs=1M conv=fsync status=none &&
			rm "$LOOP_SCRATCH/image" && mount -t "$1" "$_ram" "$dir"
		;;
	*) scratch_fs "$1" > /dev/null ;;
	esac
}

# state_make FS-STATE: a new file
state_make()
{
	below "${1%-*}" || return 1
	file=$dir/state
	rm -f "$file"
	case ${1#*-} in
	cached) file_make "$file" && file_uncache "$file" && cat "$file" > /dev/null ;;
	dirty) file_make "$file" ;;
	sparse) truncate -s ${mib}M "$file" ;;
	prealloc) fallocate -l ${mib}M "$file" && sync "$file" ;;
	reflink)
		[ -e "$dir/origin" ] || file_make "$dir/origin"
		cp --reflink=always "$dir/origin" "$file" && file_uncache "$file" &&
			file_uncache "$dir/origin"
		;;
	esac
}

# above_make FS: an image with a file on it
above_make()
{
	below ext4 || return 1
	file=$dir/$1.img
	[ ! -e "$file" ] || return 0
	case $1 in
	squashfs | erofs) packed_make "$1" "$file" ;;
	*)
		# The RAM disk has no space for the whole of each image.
		truncate -s 320M "$file" &&
			mkfs_quiet "$1" "$file" && mount -o loop "$file" "$above" &&
			file_make "$above/file" && umount "$above" && sync
		;;
	esac
}

# prepare: makes what the row needs; sets file, which is the file or device below, and
# dio, which tells whether the I/O on it is direct
prepare()
{
	dio=on mib=256
	case $set in
	cached | writes | devices | requests) mib=32 ;;
	state | mounted) mib=64 ;;
	esac
	case $set in
	direct-null)
		file=/dev/fast
		[ -b $file ] || null_blk_make fast
		;;
	uncached)
		dio=off
		file=$LOOP_SCRATCH/slow/file
		[ -e "$file" ] || slow_make slow completion_nsec=100000 || return 1
		file_uncache "$file"
		;;
	requests)
		case $job in
		buffered-*) dio=off ;;
		esac
		file=$LOOP_SCRATCH/$target/file
		[ -e "$file" ] || {
			slow_make "$target" completion_nsec=1000000 hw_queue_depth=16 &&
				echo "$target" > "/sys/block/$target/queue/scheduler"
		} || return 1
		file_uncache "$file"
		;;
	discard)
		file=/dev/trim
		[ -b $file ] || null_blk_make trim memory_backed=1 discard=1
		;;
	cached | writes)
		dio=off
		below "$target" || return 1
		file=$dir/file
		[ -e "$file" ] || file_make "$file"
		sync
		cat "$file" > /dev/null
		;;
	state) state_make "$target" ;;
	mounted)
		above_make "${target%-dio}" || return 1
		file_uncache "$file"
		case $target in
		*-dio) ;;
		*) dio=off && cat "$file" > /dev/null ;;
		esac
		;;
	devices)
		below ext4 || return 1
		for _n in 0 1 2 3 4 5 6 7; do
			file=$dir/file.$_n
			[ -e "$file" ] || file_make "$file"
			file_uncache "$file"
		done
		;;
	jobs)
		dio=off
		tree_make
		below "$target"
		file=$dir/job.img
		;;
	*)
		case $set in
		*-xfs) below xfs ;;
		*) below ext4 ;;
		esac || return 1
		file=$dir/file.256
		[ -e "$file" ] || file_make "$file"
		file_uncache "$file"
		case $set in
		buffered-*) dio=off && cat "$file" > /dev/null ;;
		esac
		;;
	esac
}

# attach FILE: sets device
attach()
{
	device=$(losetup --show --direct-io=$dio -f "$1") || return 1
	attached="$attached $device"
	case $dio$(losetup -nO DIO "$device" | tr -dc 01) in
	on1 | off0) ;;
	*) return 1 ;;
	esac
}

# The number of discards and writes that /dev/trim has seen.
discards()
{
	awk '{ print $5 + $12 }' /sys/block/trim/stat
}

# in_group NAME fio FIO-OPTION...: 4k I/O by that cgroup, to a part of the device
in_group()
{
	(
		sh -c 'echo $PPID' > "$groups/$1/cgroup.procs"
		shift
		exec "$@" --direct=1 --ioengine=libaio --bs=4k --size=$((mib / 2))m \
			--norandommap=1 --invalidate=0 --thread=1 --time_based=1
	)
}

# iops DEVICE FIO-OPTION...: the rate of one cgroup
iops()
{
	_device=$1
	shift
	in_group free fio --minimal --terse-version=3 --name=free --filename="$_device" \
		--ramp_time=200ms --runtime=1 "$@" | awk -F ';' '{ print $8 + $49 }'
}

# share DEVICE: the rate alone, and beside a cgroup that is limited to 1 MB/s
share()
{
	_low=$(findmnt -no MAJ:MIN -T "$file")
	_on=$1
	# shellcheck disable=SC2046,SC2086 # lists of words
	set -- $(printf -- '--%s ' $options)
	echo "$_low rbps=1000000 wbps=1000000" > "$groups/limited/io.max" || die "no io.max"
	_alone=$(iops "$_on" "$@")
	in_group limited fio --name=limited --filename="$_on" --runtime=60 --rw=randrw \
		--iodepth=32 --offset=$((mib / 2))m > /dev/null 2>&1 &
	sleep 0.5
	_beside=$(iops "$_on" "$@")
	# it ends when its I/O in flight is done
	echo "$_low rbps=max wbps=max" > "$groups/limited/io.max"
	echo 1 > "$groups/limited/cgroup.kill"
	wait
	echo "$_alone $_beside" | awk '{ print $2 / $1 }' > "$result.value"
}

# The context switches of the machine since boot
switches()
{
	awk '/^ctxt/ { print $2 }' /proc/stat
}

# jobs_of: JOB NUMBER-OF-I/OS FIO-OPTION... of the unit
jobs_of()
{
	case $job in
	all) echo "$rows" | sed -n "s/^$set $target //p" ;;
	*) echo "$job $ios $options" ;;
	esac
}

# run_fio NAME: runs the unit on that file or device
run_fio()
{
	{
		cat <<-END
		[global]
		direct=$direct
		ioengine=io_uring
		bs=4k
		size=${mib}m
		norandommap=1
		invalidate=0
		thread=1
		mem=mmaphuge
		group_reporting=1
		disk_util=0
		END
		case $set in
		mounted) printf '%s\n' invalidate=1 norandommap=0 fadvise_hint=0 ;;
		devices) echo "filename_format=$1\$jobnum" ;;
		esac
		[ "$set" = devices ] || echo "filename=$1"
		[ "$set" != beside ] || printf '%s\n' "[second]" ioengine=null rw=read \
			time_based=1 ramp_time=200ms runtime=1
		jobs_of | while read -r _name _ios _options; do
			_bs=${_options##* bs=}
			[ "$_bs" != "$_options" ] || _bs=4k
			_kib=$((_ios * ${_bs%k}))
			case $smp$set in
			1writes) printf '%s\n' "[$_name]" time_based=1 runtime=1 ;;
			1*) printf '%s\n' "[$_name]" new_group=1 time_based=1 \
				ramp_time=200ms runtime=1 ;;
			# The file has other data now, or all requests count.
			state | mounted | requests) printf '%s\n' "[$_name]" stonewall=1 io_size=${_kib}k ;;
			*)
				# shellcheck disable=SC2086 # a list of words
				printf '%s\n' "[warm-$_name]" stonewall=1 \
					io_size=$((_kib / 10))k $_options
				printf '%s\n' "[$_name]" stonewall=1 io_size=${_kib}k
				;;
			esac
			# shellcheck disable=SC2086
			printf '%s\n' $_options
		done
	} > "$result.fio"
	_before=$(switches)
	fio --output-format=json --output="$result.json" "$result.fio" > "$result.log" 2>&1 || {
		cat "$result.log" "$result.json"
		die "fio failed"
	}
	[ "$set" != writes ] || echo $(($(switches) - _before)) \
		"$(sed -n 's/.*"total_ios" : \([1-9][0-9]*\).*/\1/p' "$result.json")" |
		awk '{ print $1 / $2 }' > "$out/switches.${result#*/writes.}.value"
}

# The number of reads and writes that the disk below has done.
requests()
{
	awk '{ print $1 + $5 }' "/sys/block/$target/stat"
}

# requests_run DEVICE: the disk decides about the rate, so nobody needs fio's report
requests_run()
{
	_requests=$(requests)
	run_fio "$1"
	echo $(($(requests) - _requests)) > "$result.value"
	rm "$result.json"
}

# timed COMMAND...: the time in ms that all tasks of the machine, kernel threads included,
# ran meanwhile
timed()
{
	_before=$(cpu_ns)
	"$@" || return 1
	echo $(($(cpu_ns) - _before)) | awk '{ print $1 / 1000000 }' > "$result.value"
}

cpu_ns()
{
	awk '/^cpu/ { ns += $8 } END { printf "%.0f", ns }' /proc/schedstat
}

image_read()
{
	mount -t "$1" "$2" "$above" && find "$above" -type f -exec cat {} + > /dev/null &&
		umount "$above"
}

mount_40()
{
	for _n in $(seq 40); do
		mount "$@" "$above" && umount "$above" || return 1
	done
}

# job_run: runs the whole job on $device
job_run()
{
	case $job in
	make-*) timed image_make "${job#*-}" "$device" ;;
	read-*)
		_image=$LOOP_SCRATCH/${job#*-}.image
		{ [ -e "$_image" ] || packed_make "${job#*-}" "$_image" "$tree"; } &&
			dd if="$_image" of="$device" bs=1M conv=fsync status=none &&
			file_uncache "$device" && timed image_read "${job#*-}" "$device"
		;;
	mount-40) mkfs_quiet ext4 "$device" && detach && timed mount_40 -o loop "$file" ;;
	fstrim)
		image_make ext4 "$device" && mount "$device" "$above" &&
			rm "$above"/tree/*[acegikmoqsuwy] && sync && timed fstrim "$above"
		;;
	fsync-200)
		mkfs_quiet ext4 "$device" && mount "$device" "$above" &&
			timed dd if=/dev/zero of="$above/file" bs=4k count=200 oflag=sync \
				status=none
		;;
	esac
}

# whole_job: runs it twice, as the first run reads the programs into the page cache
whole_job()
{
	for _run in 1 2; do
		rm -f "$file"
		truncate -s 320M "$file" && attach "$file" && job_run || return 1
		above_end
		detach
	done
}

above_end()
{
	! mountpoint -q "$above" || umount "$above"
}

# detach: detaches the device of attach
detach()
{
	for _device in $attached; do
		losetup -d "$_device"
	done
	attached=''
}

discard_run()
{
	_before=$(discards)
	blkdiscard "$device" 2>/dev/null || blkdiscard -z "$device" ||
		die "$variant: the device cannot be cleared"
	echo $(($(discards) - _before)) > "$result.value"
	# zeroes would stay in memory
	blkdiscard "$file"
}

# Sets the device of a variant that is no loop device.
limit_device()
{
	device=$file
	case $variant in
	limit)
		[ $dio = on ] || direct=0
		;;
	dm)
		device=/dev/mapper/bench
		dmsetup create --noudevsync bench --table "0 $((mib * 2048)) linear $file 0"
		# without udev, nobody else makes the node
		dmsetup mknodes bench && [ -b "$device" ]
		;;
	esac
}

# measure: one row, of $variant in $round
measure()
{
	case $variant$smp/$set in
	limit*/state | limit*/mounted | limit*/jobs | limit*/writes) return ;;
	dm/direct-null) ;;
	dm*) return ;;
	esac
	prepare || die "$set $target cannot be set up"
	result=$out/$set.$target.$job.$variant.$round
	# The page cache of the loop device is not measured.
	direct=1
	echo "# $set $target $job: $variant"
	if [ "$set" = jobs ]; then
		whole_job || die "$job failed"
		return
	fi
	case $variant/$set in
	*/devices) devices_attach ;;
	limit/* | dm/*) limit_device ;;
	*) attach "$file" ;;
	esac || die "$set: no device for $variant"
	# An attach may write the file back.
	case $target in
	*-dirty) dd if=/dev/zero of="$file" bs=1M count=$mib conv=notrunc status=none ;;
	esac
	case $set in
	discard) discard_run ;;
	requests) requests_run "$device" ;;
	share) share "$device" ;;
	mounted)
		mount "$device" "$above" || die "$target cannot be mounted"
		run_fio "$above/file"
		above_end
		;;
	*) run_fio "$device" ;;
	esac
	[ $variant != dm ] || dmsetup remove --noudevsync bench
	detach
}

# devices_attach: eight files; fio appends their numbers
devices_attach()
{
	device=$dir/file.
	[ $variant != limit ] || return 0
	for _n in 0 1 2 3 4 5 6 7; do
		attach "$dir/file.$_n" && [ "$device" = /dev/loop$_n ] || return 1
	done
	device=/dev/loop
}

smp='' round=1 rounds=3 attached=''
usual="direct-* buffered-* uncached discard cached"
if [ "$1" = -s ]; then
	smp=1
	rounds=$2
	usual="direct-* share"
	shift 2
fi
out=$1
shift
set -f
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $usual
[ "$*" != all ] || set -- '*'
rows=$(selected "$@")
set +f

need_root
need_cmd fio losetup dmsetup mkfs.ext4 mkfs.xfs findmnt
scratch_init || die "no scratch space"
mkdir -p "$above"
modprobe null_blk nr_devices=0 || die "no null_blk"
modprobe dm-mod || die "no dm-mod"
# These differ from run to run: writeback by a timer or a threshold, and the number of
# memory segments of a buffer.  fio does not free all huge pages between jobs.
echo 0 > /proc/sys/vm/dirty_writeback_centisecs
echo 80 > /proc/sys/vm/dirty_ratio
echo 60 > /proc/sys/vm/dirty_background_ratio
echo 64 > /proc/sys/vm/nr_hugepages
mountpoint -q /sys/kernel/config ||
	mount -t configfs configfs /sys/kernel/config || die "no configfs"
if [ "$smp" ]; then
	echo +io > /sys/fs/cgroup/cgroup.subtree_control || die "no cgroup v2 with io"
	mkdir $groups && echo +io > $groups/cgroup.subtree_control
	mkdir $groups/free $groups/limited || die "no cgroups"
fi

while [ $round -le "$rounds" ]; do
	for variant in limit dm stock ours; do
		case $variant in
		stock) loop_load_stock || die "the stock module does not load" ;;
		ours) loop_load || die "the module under test does not load" ;;
		esac
		while read -r set target job ios options <&3; do
			measure
		done 3<<-END
		$(units)
		END
		loop_unload || die "the loop module does not unload"
	done
	round=$((round + 1))
	# Threads of the kernel disturb the rows of these sets; the others are measured once.
	[ "$smp" ] || rows=$(echo "$rows" | grep -E '^(requests|state|mounted|jobs) ') || break
done
