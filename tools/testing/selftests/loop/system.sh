# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the bash tests. It sources common.sh, and has functions for udev, for claims
# that print a reason when they fail, and for waiting.

# shellcheck source=common.sh
. ./common.sh

helper=$LOOP_TEST_BIN/sys_helper
export helper

# claim NAME COMMAND...: prints a TAP line, and the output of the command only if it
# failed.  The command runs in a subshell.
claim()
{
	local name=$1 out rc=0 start=${EPOCHREALTIME/.}

	shift
	out=$("$@" 2>&1) || rc=$?
	tap_result "$rc" "$name"
	[ -z "${LOOP_TEST_TIMES:-}" ] ||
		diag "$(((${EPOCHREALTIME/.} - start) / 1000)) ms"
	if [ "$rc" -ne 0 ] && [ "$rc" -ne "$KSFT_SKIP" ]; then
		diag "exit status $rc: $1"
		[ -z "$out" ] || printf '%s\n' "$out" | sed 's/^/# /'
	fi
	return 0
}

# test_begin: makes scratch space and loads the module. The test's own function finish
# undoes that, and what the test does, when the test ends.
test_begin()
{
	scratch_init || bail_out "no scratch space"
	trap finish EXIT
	# shellcheck disable=SC2119 # there are no parameters
	loop_load || bail_out "the module does not load"
}

# test_end: calls finish, unloads the module and prints the plan
test_end()
{
	finish
	trap - EXIT
	claim "the module unloads" loop_unload
	tap_plan_end
}

# same WHAT WANTED GOT: for use in claims
same()
{
	[ "$2" != "$3" ] || return 0
	echo "$1: wanted \"$2\", got \"$3\""
	return 1
}

# fails COMMAND...: claims that it fails
fails()
{
	"$@" || return 0
	echo "succeeded: $*"
	return 1
}

# eio COMMAND...: claims that it fails with an I/O error
eio()
{
	local error

	if error=$("$@" 2>&1); then
		echo "no error"
		return 1
	fi
	case $error in
	*"Input/output error"*) ;;
	*) echo "$error"; return 1 ;;
	esac
}

# wait_for SECONDS COMMAND...: waits until COMMAND succeeds, for up to three times SECONDS,
# as a debug kernel on a busy machine is slow
wait_for()
{
	local end=$((SECONDS + 3 * $1))

	shift
	until "$@"; do
		if [ "$SECONDS" -gt "$end" ]; then
			echo "did not happen: $*"
			return 1
		fi
		sleep 0.05
	done
}

# has_ended PROCESS: true for a child that has ended
has_ended()
{
	! kill -0 "$1" 2> /dev/null
}

# in_flight DEVICE read|write
in_flight()
{
	local reads writes

	read -r reads writes < "/sys/block/${1##*/}/inflight"
	[ "$([ "$2" = read ] && echo "$reads" || echo "$writes")" -gt 0 ]
}

# udevadm alone is not enough: a busy udevd may drop the connection, or not answer for
# longer than udevadm waits.
udev_settle()
{
	wait_for 100 udevadm settle
}

# A udev worker that opens a node late would load the module again.
unload_for_good()
{
	udev_settle
	loop_unload
	udev_settle
}

# numbers: prints the numbers of the loop devices, in order, on one line
numbers()
{
	local dir list=()

	for dir in /sys/block/loop*; do
		[ ! -d "$dir" ] || list+=("${dir##*/loop}")
	done
	printf '%s\n' "${list[@]}" | sort -n | paste -sd' '
}

# nodes_remove: the driver does not remove nodes that it did not make
nodes_remove()
{
	rm -f /dev/loop[0-9]* /dev/loop-control
}

udev_start()
{
	local bin

	for bin in /usr/lib/systemd/systemd-udevd /lib/systemd/systemd-udevd; do
		[ ! -x "$bin" ] || break
	done
	[ -x "$bin" ] || skip_all "no systemd-udevd"
	mkdir -p /run/udev
	"$bin" --daemon >/dev/null 2>&1 || bail_out "udevd does not start"
	udev_settle
}

udev_stop()
{
	udevadm control --exit
}

# image FILE SIZE: makes a sparse file
image()
{
	rm -f "$1"
	truncate -s "$2" "$1"
}

# attach FILE [LOSETUP-ARGUMENT...]: prints the name of the device
attach()
{
	local file=$1

	shift
	losetup --show -f "$@" "$file"
}

# is_free DEVICE: no file is attached to it
is_free()
{
	[ ! -d "/sys/block/${1##*/}/loop" ]
}

nothing_attached()
{
	[ -z "$(loop_attached)" ]
}

# detach DEVICE: waits until it is detached
detach()
{
	losetup -d "$1" && wait_for 5 is_free "$1"
}

# losetup_cycles FILE COUNT: makes the file, and attaches and detaches it COUNT times.  No
# other process may get the device in between.
losetup_cycles()
{
	local i d

	image "$1" 1M
	for ((i = 0; i < $2; i++)); do
		d=$(losetup -f --show "$1") && same "file of $d" "$1" "$(attr "$d" backing_file)" &&
			losetup -d "$d" || return
	done
}

# dio_of on|off: the value of the attribute dio
dio_of()
{
	case $1 in
	on) echo 1 ;;
	off) echo 0 ;;
	esac
}

# attr DEVICE NAME: prints an attribute in the directory loop
attr()
{
	local value

	read -r value < "/sys/block/${1##*/}/loop/$2" && echo "$value"
}

# size_of DEVICE: in bytes
size_of()
{
	local sectors

	read -r sectors < "/sys/block/${1##*/}/size" && echo $((sectors * 512))
}

null_dir=/sys/kernel/config/nullb/selftest

# The node has the name of the directory, or on some kernels the index of the disk.
null_node()
{
	local node

	for node in /dev/selftest "/dev/nullb$(cat "$null_dir/index")"; do
		[ ! -b "$node" ] || { echo "$node"; return; }
	done
	return 1
}

# null_make ATTRIBUTE=VALUE...: a null_blk disk that keeps its data; prints its node
null_make()
{
	local attribute

	[ -d /sys/module/null_blk ] || modprobe -q null_blk nr_devices=0 || return
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config || return
	mkdir "$null_dir" || return
	for attribute in memory_backed=1 "$@" power=1; do
		echo "${attribute#*=}" > "$null_dir/${attribute%%=*}" || return
	done
	wait_for 5 null_node
}

null_remove()
{
	[ ! -d "$null_dir" ] || rmdir "$null_dir"
}

# null_end: removes the disk and the module
null_end()
{
	null_remove
	! grep -q "^null_blk " /proc/modules || rmmod null_blk
}

# on_host VM: for a test that runs virtual machines itself; sets top, vm and bin
on_host()
{
	top=$(cd ../../../.. && pwd -P)
	vm=$top/$1
	[ -x "$vm" ] || skip_all "no VM"
	bin=$(cd "$LOOP_TEST_BIN" && pwd -P)
	need_cmd mkfs.ext4
}

# vm_claims LOG: prints the claims that a VM has made, with numbers of this test
vm_claims()
{
	local line

	while read -r line; do
		case $line in
		"ok "*) tap_ok "${line#ok * }" ;;
		"not ok "*) tap_not_ok "${line#not ok * }" ;;
		"#"*) echo "$line" ;;
		esac
	done < "$1"
}
