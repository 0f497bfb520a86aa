# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the tests of data and of the I/O paths. It sources system.sh, and has
# functions for file systems, counters, cgroups and device mapper.

# shellcheck source=system.sh
. ./system.sh

paths=$LOOP_TEST_BIN/paths_helper
export paths
groups=/sys/fs/cgroup/loop-selftest
mapper=/dev/mapper/loop-selftest
declare -A was

# forget PATH...: writes the files back, and drops them from the page cache
forget()
{
	"$helper" forget "$@"
}

# paste_of COMMAND...: its output, in one line
paste_of()
{
	"$@" | paste -sd' '
}

# written_image FILE BLOCKS: of 4 KiB, all allocated and written, none cached.  On btrfs
# they are written in place, as an allocation waits.
written_image()
{
	rm -f "$1"
	: > "$1"
	case $1 in
	*/btrfs/*) chattr +C "$1" ;;
	esac
	dd if=/dev/zero of="$1" bs=4k count="$2" conv=fsync,notrunc status=none &&
		forget "$1"
}

# attach_to FILE on|off [LOSETUP-ARGUMENT...]: attaches with that mode, or fails
attach_to()
{
	local d file=$1 mode=$2

	shift 2
	d=$(attach "$file" "--direct-io=$mode" "$@") &&
		same dio "$(dio_of "$mode")" "$(attr "$d" dio)" >&2 && echo "$d"
}

# attach_new FILE on|off: attaches a device that nobody has written to before.  The first
# page of a device decides which cgroup is charged for its writeback.
attach_new()
{
	local d

	d=/dev/loop$("$helper" ctl /dev/loop-control add -1) && wait_for 5 test -b "$d" >&2 &&
		losetup "--direct-io=$2" "$d" "$1" && echo "$d"
}

# ---- file systems ----

# fs_size TYPE: the size of an image for one
fs_size()
{
	case $1 in
	xfs) echo 300M ;;
	btrfs) echo 112M ;;
	*) echo 64M ;;
	esac
}

make_fs()
{
	case $1 in
	ext4) mkfs.ext4 -q -F "$2" ;;
	xfs) mkfs.xfs -q -f "$2" ;;
	btrfs) mkfs.btrfs -q -f "$2" ;;
	esac
}

check_fs()
{
	case $1 in
	ext4) e2fsck -fn "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	btrfs) btrfs check --readonly "$2" ;;
	esac
}

# ---- counters ----

snap()
{
	local name value

	while read -r name value; do
		was[$name]=$value
	done < "/sys/block/${1##*/}/loop_stats"
}

# since DEVICE NAME: the count since the last snap
since()
{
	local name value

	while read -r name value; do
		[ "$name" != "$2" ] || echo $((value - was[$name]))
	done < "/sys/block/${1##*/}/loop_stats"
}

# all_since DEVICE: all counts, to find out why a test failed
all_since()
{
	local name value

	while read -r name value; do
		[ "$value" = "${was[$name]}" ] || echo "$name $((value - was[$name]))"
	done < "/sys/block/${1##*/}/loop_stats"
}

# counted DEVICE NAME[:NUMBER]...: each was counted at least so often since the last snap
counted()
{
	local dev=$1 name n

	shift
	for name in "$@"; do
		n=1
		[ "${name#*:}" = "$name" ] || n=${name#*:}
		[ "$(since "$dev" "${name%:*}")" -ge "$n" ] && continue
		echo "not $name, but:" && all_since "$dev"
		return 1
	done
}

# uncounted DEVICE NAME...: none of them was counted since the last snap
uncounted()
{
	local dev=$1 name

	shift
	for name in "$@"; do
		[ "$(since "$dev" "$name")" -gt 0 ] || continue
		echo "$name:" && all_since "$dev"
		return 1
	done
}

# sum_counted DEVICE NAME...: one of them was counted
sum_counted()
{
	local dev=$1 name

	shift
	for name in "$@"; do
		[ "$(since "$dev" "$name")" = 0 ] || return 0
	done
	echo "none of $*" && all_since "$dev"
	return 1
}

# inline_done DEVICE COUNT: of COUNT reads or writes, the submitter tried all that the
# back-off did not leave out, and at least one did not wait: a write that updates the
# time stamps of the file, as the first one in a tick of the clock does, waits.
inline_done()
{
	local name tries

	tries=$(($(since "$1" inline) + $(since "$1" worker_backoff)))
	[ "$tries" -ge "$2" ] || {
		echo "not $2 tries:" && all_since "$1"
		return 1
	}
	tries=$(since "$1" inline)
	for name in again late short error; do
		tries=$((tries - $(since "$1" retry_$name)))
	done
	[ "$tries" -gt 0 ] || {
		echo "in vain:" && all_since "$1"
		return 1
	}
}

# ---- tracepoints ----

trace=/sys/kernel/tracing

# trace_start: fails if the kernel has no tracepoints
trace_start()
{
	mountpoint -q $trace || mount -t tracefs tracefs $trace 2>/dev/null
	[ -d $trace/events/loop ]
}

# trace_while EVENT COMMAND...: leaves the event's lines in $trace/trace
trace_while()
{
	local enable=$trace/events/$1/enable rc=0

	shift
	echo > "$trace/trace"
	echo 1 > "$enable"
	"$@" || rc=$?
	echo 0 > "$enable"
	return "$rc"
}

# quiet_fio OPTION...: runs fio, and prints what it says only if it fails
quiet_fio()
{
	fio --output-format=terse "$@" > "$LOOP_SCRATCH/fio" 2>&1 || {
		grep -v '^[0-9];' "$LOOP_SCRATCH/fio" | head -n 20
		return 1
	}
}

# waits_in_loop PID: the task sleeps in the driver.  The functions of the scheduler are not in
# its stack.
waits_in_loop()
{
	head -n 1 "/proc/$1/stack" | grep -q '\[loop\]'
}

# ---- cgroups ----

groups_start()
{
	mkdir "$groups" && echo "+io +memory" > /sys/fs/cgroup/cgroup.subtree_control &&
		echo "+io +memory" > "$groups/cgroup.subtree_control" &&
		mkdir "$groups/a" "$groups/b" && [ -e "$groups/a/io.stat" ]
} 2>/dev/null

groups_end()
{
	local dir

	for dir in "$groups"/a/*/ "$groups/a" "$groups/b" "$groups"; do
		[ ! -d "$dir" ] || wait_for 10 rmdir "$dir" 2>/dev/null
	done
}

# in_group a|b COMMAND...: with exec, so that a pid is the command's
in_group()
{
	(
		echo "$BASHPID" > "$groups/$1/cgroup.procs" && exec "${@:2}"
	)
}

# bytes a|b DEVICE KEY: a value of io.stat
bytes()
{
	local n line

	n=$(lsblk -dnro MAJ:MIN "$2") || return
	while read -r line; do
		case $line in
		"$n "*"$3="*)
			line=${line#*"$3="}
			echo "${line%% *}"
			return
			;;
		esac
	done < "$groups/$1/io.stat"
	echo 0
}

# ---- device mapper ----

# map_to NAME TABLE...: makes $mapper-NAME
map_to()
{
	local name=$1

	shift
	printf '%s\n' "$@" | dmsetup create --noudevsync "loop-selftest-$name" || return
	[ -e "$mapper-$name" ] || dmsetup mknodes "loop-selftest-$name"
}

# remap_to NAME TABLE...: replaces its table while it is in use
remap_to()
{
	local name=$1

	shift
	printf '%s\n' "$@" | dmsetup load --noudevsync "loop-selftest-$name" &&
		dmsetup resume --noudevsync --noflush "loop-selftest-$name"
}

unmap_it()
{
	wait_for 5 dmsetup remove --noudevsync "loop-selftest-$1" 2>/dev/null
}

# ---- scsi_debug ----

# scsi_disk: prints the node of its disk, which appears some time after the module
scsi_disk()
{
	local disk

	for disk in /sys/bus/pseudo/devices/adapter*/host*/target*/*/block/*; do
		[ -b "/dev/${disk##*/}" ] && echo "/dev/${disk##*/}" && return
	done
	return 1
}

# ---- the end ----

# Removes mounts, mapped devices and loop devices, from the top.
layers_off()
{
	local dir name

	for _ in {1..9}; do
		for dir in "$LOOP_SCRATCH"/at*; do
			! mountpoint -q "$dir" || umount "$dir" 2>/dev/null
		done
		for name in "$mapper"-*; do
			[ ! -e "$name" ] ||
				dmsetup remove --noudevsync "${name##*/}" 2>/dev/null
		done
		loop_detach_all
		[ "$(loop_attached)" ] || break
	done
}

finish()
{
	! [ -e /sys/module/loop/parameters/inject ] ||
		echo 0 > /sys/module/loop/parameters/inject
	layers_off
	groups_end
	null_end
	scratch_exit
}

# inline_io N|Y
inline_io()
{
	echo "$1" > /sys/module/loop/parameters/inline_io
}
