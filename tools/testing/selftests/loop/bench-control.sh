#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Measures calls of the control plane with the kernel's own driver and with the one under
# test.  It is not a test: nothing depends on a time.
#
# usage: bench-control.sh [-s]
#
#   -s   only the rows that need two processors
#
# Prints a line for each: NAME, a tab, the unit, a tab, stock, a tab, ours.
#
# shellcheck disable=SC1091,SC2119
cd "$(dirname "$0")" || exit 1
. ./common.sh

BENCH=$LOOP_TEST_BIN/bench_control
MANY=2000
FIRST=100
file=/tmp/bench-control
out=/tmp/bench-control.out

# row NAME UNIT VALUE: a row of the driver that is loaded
row()
{
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >> "$out.$driver"
}

# call NAME CALL FIRST LAST: in nanoseconds
call()
{
	_ns=$("$BENCH" "$2" "$file" "$3" "$4") || die "$driver: $1"
	row "$1" ns "$_ns"
}

# The memory in use, in KiB, without what can be freed. MemFree does not include free
# pages that a processor keeps for itself.
used()
{
	sync
	echo 3 > /proc/sys/vm/drop_caches
	awk -v page="$(($(getconf PAGE_SIZE) / 1024))" '
		/^MemTotal/ { t = $2 }
		/^MemFree/ { f = $2 }
		$1 == "count:" { f += $2 * page }
		END { print t - f }
	' /proc/meminfo /proc/zoneinfo
}

calls()
{
	_last=$((FIRST + MANY - 1))
	# Calls below attach these devices, which are below FIRST.
	"$BENCH" add "$file" 8 50 > /dev/null || die "$driver: add"
	call "get-free, none attached" get-free 1 2000
	call "get-free, open, configure, autoclear" cycle 1 200
	_before=$(used)
	call "add" add $FIRST $_last
	row "a device without a file" KiB $((($(used) - _before) / MANY))
	call "LOOP_CONFIGURE, the first time" configure $FIRST $_last
	"$BENCH" configure "$file" 0 50 > /dev/null || die "$driver: configure"
	call "get-free, $MANY attached" get-free 1 300
	call "the same cycle, $MANY attached" cycle 1 200
	call "LOOP_CLR_FD" clear $FIRST $_last
	call "LOOP_CONFIGURE, again" configure $FIRST $_last
	[ "$driver" = stock ] || more_calls
	"$BENCH" clear "$file" 0 50 > /dev/null || die "$driver: clear"
	[ "$driver" != stock ] || "$BENCH" clear "$file" $FIRST $_last > /dev/null
	call "remove" remove $FIRST $((FIRST + 99))
}

# Stock does not have these calls, or takes too long.
more_calls()
{
	call "LOOP_CTL_ATTACH and close, autoclear" attach 1 200
	call "LOOP_CTL_DETACH" detach $FIRST $_last
	"$BENCH" add "$file" $((_last + 1)) $((FIRST + 19999)) > /dev/null ||
		die "$driver: add 20000"
	"$BENCH" configure "$file" $FIRST $((FIRST + 19999)) > /dev/null ||
		die "$driver: configure 20000"
	call "get-free, 20000 attached" get-free 1 2000
	call "list, 20000 attached, all of them" list 20000 20000
	"$BENCH" detach "$file" $FIRST $((FIRST + 19999)) > /dev/null ||
		die "$driver: detach"
}

now_ms()
{
	echo $(($(date +%s%N) / 1000000))
}

# losetups: 48 processes at a time attach a file each
losetups()
{
	_pids=
	for _i in $(seq 48); do
		truncate -s 1M "$file.$_i"
	done
	# The first process reads the program from the host.
	losetup -a > /dev/null
	_start=$(now_ms)
	for _i in $(seq 48); do
		losetup --version > /dev/null &
		_pids="$_pids $!"
	done
	# shellcheck disable=SC2086 # a list of words
	wait $_pids
	row "48 losetup --version at a time" ms $(($(now_ms) - _start))
	_pids=
	_start=$(now_ms)
	for _i in $(seq 48); do
		losetup -f --show "$file.$_i" > "$file.$_i.device" &
		_pids="$_pids $!"
	done
	_failed=0
	for _i in $_pids; do
		wait "$_i" || _failed=$((_failed + 1))
	done
	row "48 losetup -f --show at a time" ms $(($(now_ms) - _start))
	row "... of them failed" "" "$_failed"
	row "... distinct devices" "" "$(cat "$file".*.device | sort -u | wc -l)"
	losetup -D
}

# together: without the time that 48 processes need to start
together()
{
	_ns=$("$BENCH" together "$file" 1 1) || die "$driver: together"
	row "48 processes attach a file each" us $((_ns / 1000))
	losetup -D
}

load_time()
{
	loop_unload || die "$driver: rmmod"
	_start=$(now_ms)
	"loop_load$1" max_loop=256 || die "$driver: load"
	row "load with max_loop=256" ms $(($(now_ms) - _start))
}

# The console is slow, and its output is not measured.
echo 1 > /proc/sys/kernel/printk
truncate -s 1M "$file"
rm -f "$out".*
for driver in stock ours; do
	suffix=
	[ $driver = ours ] || suffix=_stock
	"loop_load$suffix" || die "$driver: the module does not load"
	if [ "${1:-}" = -s ]; then
		losetups
		together
		load_time "$suffix"
	else
		calls
	fi
done
awk -F '\t' '
	FNR == NR { stock[$1] = $3; next }
	{ printf "%s\t%s\t%s\t%s\n", $1, $2, ($1 in stock) ? stock[$1] : "-", $3 }
' "$out.stock" "$out.ours"
