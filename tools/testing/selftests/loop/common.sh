#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by the loop selftests: loads and unloads the module under test,
# makes scratch file systems, prints TAP.  POSIX shell.
#
# Environment, all optional:
#   LOOP_TEST_BIN   directory of the built test programs (default: .)
#   LOOP_KO         the module under test (default: what modprobe finds)
#   LOOP_STOCK_KO   the module the kernel came with
#   LOOP_SCRATCH    where scratch files and mount points go
#
# Usage:
#   . ./common.sh
#   loop_load [PARAM=VALUE...]          the module under test
#   loop_load_stock [PARAM=VALUE...]    the kernel's own
#   scratch_init                        a tmpfs at $LOOP_SCRATCH
#   dir=$(scratch_fs ext4 [MKFS-ARG..]) mounted on a RAM disk of its own
#   tap_run "name" command...           ok or not ok by its exit status
#   tap_ok "name" / tap_not_ok "name" / tap_skip "name" "reason"
#   tap_plan_end                        prints the plan, exits 0, 1 or 4

LOOP_TEST_BIN=${LOOP_TEST_BIN:-.}
LOOP_SCRATCH=${LOOP_SCRATCH:-/run/loop-test}
LOOP_KO=${LOOP_KO:-}
LOOP_STOCK_KO=${LOOP_STOCK_KO:-}
KSFT_FAIL=1
KSFT_SKIP=4

# The RAM disks scratch_fs uses; sparse, so the size costs nothing.
BRD_COUNT=${BRD_COUNT:-6}
BRD_KIB=${BRD_KIB:-393216}

tap_count=0
tap_failed=0
tap_skipped=0

diag()
{
	echo "# $*"
}

tap_start()
{
	echo "TAP version 13"
}

tap_ok()
{
	tap_count=$((tap_count + 1))
	echo "ok $tap_count $*"
}

tap_not_ok()
{
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count $*"
}

# tap_skip NAME REASON
tap_skip()
{
	tap_count=$((tap_count + 1))
	tap_skipped=$((tap_skipped + 1))
	echo "ok $tap_count $1 # SKIP ${2:-}"
}

# tap_result STATUS NAME: 0 is ok, 4 is a skip, anything else a failure
tap_result()
{
	case $1 in
	0) tap_ok "$2" ;;
	"$KSFT_SKIP") tap_skip "$2" "not supported here" ;;
	*) tap_not_ok "$2" ;;
	esac
}

# tap_run NAME COMMAND...
tap_run()
{
	_tap_name=$1
	shift
	_tap_rc=0
	"$@" || _tap_rc=$?
	tap_result "$_tap_rc" "$_tap_name"
}

# tap_eq NAME WANTED GOT
tap_eq()
{
	if [ "$2" = "$3" ]; then
		tap_ok "$1"
	else
		tap_not_ok "$1"
		diag "wanted: $2"
		diag "got:    $3"
	fi
}

# Prints the plan, and exits.
tap_plan_end()
{
	echo "1..$tap_count"
	diag "$((tap_count - tap_failed - tap_skipped)) passed," \
		"$tap_failed failed, $tap_skipped skipped"
	[ "$tap_failed" -eq 0 ] || exit "$KSFT_FAIL"
	[ "$tap_count" -gt 0 ] || exit "$KSFT_FAIL"
	[ "$tap_count" -ne "$tap_skipped" ] || exit "$KSFT_SKIP"
	exit 0
}

# skip_all REASON: no part of this test can run here
skip_all()
{
	echo "1..0 # SKIP $*"
	exit "$KSFT_SKIP"
}

bail_out()
{
	echo "Bail out! $*"
	exit "$KSFT_FAIL"
}

# die WORD...: ends a benchmark
die()
{
	echo "$0: $*" >&2
	exit 1
}

need_root()
{
	[ "$(id -u)" -eq 0 ] || skip_all "must be root"
}

# need_cmd COMMAND...
need_cmd()
{
	for _cmd in "$@"; do
		command -v "$_cmd" >/dev/null 2>&1 || skip_all "no $_cmd"
	done
}

loop_loaded()
{
	[ -d /sys/module/loop ]
}

# A device node that is being closed keeps the module for a moment longer.
loop_unload()
{
	loop_loaded || return 0
	_try=0
	while ! rmmod loop 2>/dev/null; do
		_try=$((_try + 1))
		if [ "$_try" -ge 50 ]; then
			rmmod loop
			return 1
		fi
		sleep 0.1
	done
}

loop_stock_ko()
{
	if [ -n "$LOOP_STOCK_KO" ]; then
		echo "$LOOP_STOCK_KO"
		return
	fi
	for _ko in "/lib/modules/$(uname -r)/kernel/drivers/block/loop.ko"*; do
		[ ! -e "$_ko" ] || echo "$_ko"
	done
}

# Without LOOP_KO, this is a built-in driver or the module that modprobe finds.
loop_load()
{
	if [ -n "$LOOP_KO" ]; then
		loop_unload && insmod "$LOOP_KO" "$@"
	elif [ -e /dev/loop-control ] && ! loop_loaded; then
		:
	else
		loop_unload && modprobe loop "$@"
	fi || return 1
	loop_wait_control
}

loop_load_stock()
{
	_stock=$(loop_stock_ko)
	[ -n "$_stock" ] || return "$KSFT_SKIP"
	loop_unload && insmod "$_stock" "$@" || return 1
	loop_wait_control
}

# A thread of devtmpfs makes the node, and udev changes it later.
loop_wait_control()
{
	_try=0
	while [ ! -c /dev/loop-control ]; do
		_try=$((_try + 1))
		[ "$_try" -lt 50 ] || return 1
		sleep 0.1
	done
}

# Prints the numbers of the attached devices, one per line.
loop_attached()
{
	for _dir in /sys/block/loop*/loop; do
		[ -d "$_dir" ] || continue
		_dir=${_dir%/loop}
		echo "${_dir##*/loop}"
	done
}

loop_detach_all()
{
	for _n in $(loop_attached); do
		losetup -d "/dev/loop$_n" 2>/dev/null
	done
}

# Makes /dev/ram0 and so on with BRD_KIB each, and partitions.
brd_load()
{
	[ -d /sys/module/brd ] && return 0
	modprobe brd rd_nr="$BRD_COUNT" rd_size="$BRD_KIB" max_part=16
}

# brd_take: the path of a RAM disk that scratch_fs has not handed out
brd_take()
{
	brd_load || return 1
	_i=0
	while [ "$_i" -lt "$BRD_COUNT" ]; do
		if mkdir "$LOOP_SCRATCH/.ram$_i" 2>/dev/null; then
			echo "/dev/ram$_i"
			return 0
		fi
		_i=$((_i + 1))
	done
	echo "no RAM disk left" >&2
	return 1
}

# scratch_init: an empty tmpfs at $LOOP_SCRATCH, removed again at exit
scratch_init()
{
	scratch_exit
	mkdir -p "$LOOP_SCRATCH" &&
		mount -t tmpfs -o size=80% loop-test "$LOOP_SCRATCH" || return 1
	trap scratch_exit EXIT
}

scratch_exit()
{
	mountpoint -q "$LOOP_SCRATCH" 2>/dev/null || return 0
	for _mnt in "$LOOP_SCRATCH"/mnt/*; do
		if mountpoint -q "$_mnt" 2>/dev/null; then
			umount "$_mnt" 2>/dev/null
		fi
	done
	umount "$LOOP_SCRATCH" 2>/dev/null
}

# scratch_fs TYPE [MKFS-ARGUMENT...]: prints where it is mounted.  A second
# file system of a type gets a number appended; tmpfs needs no RAM disk.
scratch_fs()
{
	_type=$1
	shift
	_at=$LOOP_SCRATCH/mnt/$_type
	_i=1
	while [ -d "$_at" ]; do
		_i=$((_i + 1))
		_at=$LOOP_SCRATCH/mnt/$_type$_i
	done
	mkdir -p "$_at" || return 1
	if [ "$_type" = tmpfs ]; then
		mount -t tmpfs scratch "$_at" && echo "$_at"
		return
	fi
	_ram=$(brd_take) || return 1
	case $_type in
	# ext4 leaves no work to a thread while tests run.
	ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 \
		"$@" "$_ram" ;;
	ext*) mkfs."$_type" -q -F "$@" "$_ram" ;;
	vfat | exfat) mkfs."$_type" "$@" "$_ram" > /dev/null ;;
	*) mkfs."$_type" -q -f "$@" "$_ram" ;;
	esac >&2 || return 1
	mount -t "$_type" "$_ram" "$_at" || return 1
	echo "$_at"
}

# scratch_fs_end DIR: unmounts; fails while a file on it is in use
scratch_fs_end()
{
	umount "$1" && rmdir "$1"
}
