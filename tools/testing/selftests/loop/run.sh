#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs test programs one after the other, and the 32-bit variant of each if it is built.
# The module under test is loaded, and there is scratch space.
#
# usage: run.sh [-q] PROGRAM... [ARGUMENT...]
#
# The arguments begin with the first word that does not begin with a letter. Each program
# gets all of them.
#
# -q: the kernel log may have nothing but lines of the block layer about sizes and
# partitions.
#
# shellcheck disable=SC1091,SC2119,SC2317
. ./common.sh

usage()
{
	echo "usage: $0 [-q] PROGRAM... [ARGUMENT...]" >&2
	exit "$KSFT_FAIL"
}

quiet=
if [ "${1-}" = -q ]; then
	quiet=1
	shift
fi
programs=
while [ $# -gt 0 ]; do
	case $1 in
	[a-z]*) programs="$programs $1" ;;
	*) break ;;
	esac
	shift
done
[ "$programs" ] || usage

need_root
for program in $programs; do
	[ -x "$LOOP_TEST_BIN/$program" ] || skip_all "$program is not built"
done
scratch_init || bail_out "no scratch space"
modprobe -q null_blk nr_devices=1 gb=1 memory_backed=1 discard=1 ||
	diag "no null_blk"
loop_load || bail_out "the loop module does not load"

case "$programs " in
*" io "*)
	LOOP_TEST_DIR=$(scratch_fs ext4) || bail_out "no ext4"
	export LOOP_TEST_DIR
	;;
esac

# logged MARK: prints the lines of the kernel log after that line which are about the
# driver.
logged()
{
	dmesg | sed "1,/$1/d" | grep -vE \
		'(loop[0-9]+:( p[0-9]+)*|loop[0-9]+: (detected capacity change|p[0-9]+ start) .*|callbacks suppressed|hrtimer: interrupt took .*|(clocksource|tsc|sched_clock): .*|TSC found unstable .*)$'
}
mark="loop-selftest:$programs begins"
[ -z "$quiet" ] || echo "$mark" > /dev/kmsg

status=0
for program in $programs; do
	for variant in "$program" "${program}_32"; do
		[ -x "$LOOP_TEST_BIN/$variant" ] || continue
		diag "$variant"
		"$LOOP_TEST_BIN/$variant" "$@" || status=$?
	done
done

if [ "$quiet" ]; then
	if dmesg | grep -q "$mark" && ! logged "$mark" | sed 's/^/# /' | grep .; then
		tap_ok "${programs# }: nothing is in the kernel log"
	else
		tap_not_ok "${programs# }: nothing is in the kernel log"
		status=$KSFT_FAIL
	fi
	echo "1..1"
fi

loop_detach_all
loop_unload || status=$KSFT_FAIL
exit "$status"
