#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs one of the test programs, and its 32-bit variant when that was built,
# with the module under test loaded and the scratch space the program wants.
#
# usage: run.sh [-q] PROGRAM [ARGUMENT...]
#
# -q: the kernel log says nothing of it, but what the block layer does of sizes
# and partitions.
#
# shellcheck disable=SC1091,SC2119,SC2317
. ./common.sh

usage()
{
	echo "usage: $0 [-q] PROGRAM [ARGUMENT...]" >&2
	exit "$KSFT_FAIL"
}

quiet=
if [ "${1-}" = -q ]; then
	quiet=1
	shift
fi
[ $# -ge 1 ] || usage
program=$1
shift

need_root
[ -x "$LOOP_TEST_BIN/$program" ] || skip_all "$program is not built"
scratch_init || bail_out "no scratch space"
modprobe -q null_blk nr_devices=1 gb=1 memory_backed=1 discard=1 ||
	diag "no null_blk"
loop_load || bail_out "the loop module does not load"

if [ "$program" = io ]; then
	LOOP_TEST_DIR=$(scratch_fs ext4) || bail_out "no ext4"
	export LOOP_TEST_DIR
fi

# logged MARK: after that line
logged()
{
	dmesg | sed "1,/$1/d" | grep -vE \
		'(loop[0-9]+:( p[0-9]+)*|loop[0-9]+: (detected capacity change|p[0-9]+ start) .*|callbacks suppressed|hrtimer: interrupt took .*|(clocksource|tsc|sched_clock): .*|TSC found unstable .*)$'
}
mark="loop-selftest: $program begins"
[ -z "$quiet" ] || echo "$mark" > /dev/kmsg

status=0
for variant in "$program" "${program}_32"; do
	[ -x "$LOOP_TEST_BIN/$variant" ] || continue
	diag "$variant"
	"$LOOP_TEST_BIN/$variant" "$@" || status=$?
done

if [ "$quiet" ]; then
	if dmesg | grep -q "$mark" && ! logged "$mark" | sed 's/^/# /' | grep .; then
		tap_ok "$program: nothing is in the kernel log"
	else
		tap_not_ok "$program: nothing is in the kernel log"
		status=$KSFT_FAIL
	fi
	echo "1..1"
fi

loop_detach_all
loop_unload || status=$KSFT_FAIL
exit "$status"
