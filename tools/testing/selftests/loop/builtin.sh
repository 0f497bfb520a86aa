#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The driver is built into the kernel, with max_loop= on the command line. It behaves as
# a module with that parameter.
#
# shellcheck disable=SC1091,SC2119,SC2317
. ./common.sh

limit=$(sed -n 's/.*\<max_loop=\([0-9]*\).*/\1/p' /proc/cmdline)
need_root
need_cmd losetup blockdev
if [ ! -d /sys/module/loop ] || grep -q '^loop ' /proc/modules; then
	skip_all "the driver is not built in"
fi
[ "$limit" ] || skip_all "no max_loop= on the command line"

scratch_init || bail_out "no scratch space"
trap scratch_exit EXIT
tap_start
beyond=$((limit + 1))

devices()
{
	find /sys/block -name 'loop*' | wc -l
}

# Opening the node of a device that does not exist does not make the device.
not_probed()
{
	mknod "$LOOP_SCRATCH/node" b 7 "$beyond" &&
		! blockdev --getsize64 "$LOOP_SCRATCH/node" &&
		[ ! -e "/sys/block/loop$beyond" ]
}

# When all devices are attached, one more is made.
more_than_limit()
{
	for _i in $(seq "$beyond"); do
		truncate -s 1M "$LOOP_SCRATCH/$_i" &&
			losetup -f "$LOOP_SCRATCH/$_i" || return
	done
	[ "$(losetup -nl | wc -l)" -eq "$beyond" ] && losetup -D
}

tap_eq "so many devices are made at boot" "$limit" "$(devices)"
tap_eq "the parameter can be read" "$limit" \
	"$(cat /sys/module/loop/parameters/max_loop)"
tap_run "opening a node makes no device past the limit" not_probed
tap_run "the control device does" more_than_limit
tap_eq "and they stay" "$beyond" "$(devices)"
tap_plan_end
