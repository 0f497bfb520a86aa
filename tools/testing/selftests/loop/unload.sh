#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module can be unloaded when nothing uses it, and not before, and leaves nothing
# behind: a hundred times, with udev and many openers.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd losetup udevadm mkfs.ext4 modprobe rmmod
tap_start

cycles=${LOOP_UNLOAD_CYCLES:-100}

finish()
{
	[ -z "$storm" ] || kill "$storm" 2>/dev/null
	loop_detach_all
	udevadm control --exit 2>/dev/null
	scratch_exit
}

storm=
scratch_init || bail_out "no scratch space"
trap finish EXIT
image "$LOOP_SCRATCH/img" 4M
mkfs.ext4 -q -F "$LOOP_SCRATCH/img"
mkdir "$LOOP_SCRATCH/at"

# Prints a line for each thing that should not exist without the module.
traces()
{
	local path

	for path in /sys/module/loop /sys/block/loop* /dev/loop* \
		/sys/class/block/loop* /sys/dev/block/7:* /sys/class/bdi/7:* \
		/sys/class/misc/loop-control /sys/devices/virtual/block/loop* \
		/sys/devices/virtual/misc/loop-control \
		/sys/devices/virtual/workqueue/loop* \
		/sys/kernel/slab/loop* /sys/kernel/debug/loop* \
		/sys/kernel/debug/block/loop* /sys/kernel/debug/bdi/7:* \
		/run/udev/data/b7:*; do
		[ ! -e "$path" ] && [ ! -L "$path" ] || echo "$path"
	done
	find /dev/disk -lname "*/loop*" 2>/dev/null
	grep -H '^loop' /proc/slabinfo
	grep -H ' loop$' /proc/devices
	grep -H ' loop-control$' /proc/misc
	grep -H '^loop' /proc/modules
	grep -H '\[loop\]' /proc/vmallocinfo
	grep -h '^loop' /proc/[0-9]*/comm 2>/dev/null
}

kib()
{
	awk -v key="$1:" '$1 == key { print $2 }' /proc/meminfo
}

in_use()
{
	local error

	if error=$(rmmod loop 2>&1); then
		echo "it was unloaded"
		return 1
	fi
	case $error in
	*"in use"*) loop_loaded && [ -d /sys/block/loop0 ] && [ -c /dev/loop-control ] ;;
	*) echo "$error"; return 1 ;;
	esac
}

still_works()
{
	same "first KiB" "$(head -c 4096 "$LOOP_SCRATCH/img" | cksum)" \
		"$(head -c 4096 "$1" | cksum)" && [ -n "$(losetup -f)" ]
}

loop_unload
claim "nothing is there before" same traces "" "$(traces)"

loop_load || bail_out "the module does not load"
dev=$(attach "$LOOP_SCRATCH/img")
claim "rmmod is refused while a device is attached" in_use
claim "which works as before" still_works "$dev"
mount "$dev" "$LOOP_SCRATCH/at"
losetup -d "$dev"
claim "rmmod is refused while a detached device is mounted" in_use
umount "$LOOP_SCRATCH/at"
exec 5< /dev/loop3
claim "rmmod is refused while a device without a file is open" in_use
exec 5<&-
exec 5<> /dev/loop-control
claim "rmmod is refused while the control device is open" in_use
exec 5>&-
claim "and goes when all that is over" loop_unload
claim "nothing is left after it" same traces "" "$(traces)"

udev_start

# The first cycle allocates what is allocated only once.
modprobe loop && losetup "/dev/loop0" "$LOOP_SCRATCH/img" && losetup -D
unload_for_good
percpu=$(kib Percpu)
slab=$(kib SUnreclaim)

"$helper" storm 3600 1 &
storm=$!

ko=${LOOP_KO:-$(modinfo -n loop)}
refusals=0
cycle()
{
	local try

	# A late opener may have made the kernel load the module again.
	for ((try = 0; try < 100; try++)); do
		! insmod "$ko" max_loop=1 2>/dev/null || break
		! loop_loaded || break
	done
	for ((try = 0; ; try++)); do
		loop_loaded || break
		! rmmod loop 2>/dev/null || break
		refusals=$((refusals + 1))
		if [ "$try" -gt 200 ]; then
			echo "rmmod does not succeed"
			return 1
		fi
		sleep 0.01
	done
}

# udevd searches its whole queue for each event: on a slow kernel it would need minutes
# for the events of all cycles together.
catch_up()
{
	local status=0

	kill -STOP "$storm"
	udev_settle || status=1
	kill -CONT "$storm"
	return "$status"
}

many()
{
	local i

	for ((i = 1; i <= cycles; i++)); do
		cycle || {
			echo "cycle $i"
			return 1
		}
		[ $((i % 10)) -ne 0 ] || catch_up || return
		[ $((i % 20)) -ne 0 ] || echo "cycle $i, $refusals refusals, $SECONDS s" >> "$LOOP_SCRATCH/progress"
	done
}
claim "$cycles times insmod and rmmod under load" many
sed "s/^/# /" "$LOOP_SCRATCH/progress"

kill "$storm"
wait "$storm" 2>/dev/null
storm=
unload_for_good
claim "nothing is left after it" same traces "" "$(traces)"

no_growth()
{
	local now

	now=$(kib Percpu)
	[ "$now" -lt $((percpu + cycles * 4)) ] || {
		echo "Percpu: $percpu KiB before, $now KiB after"
		return 1
	}
	now=$(kib SUnreclaim)
	[ "$now" -lt $((slab + cycles * 40)) ] || {
		echo "SUnreclaim: $slab KiB before, $now KiB after"
		return 1
	}
}
claim "per-CPU memory and slabs have not grown with the cycles" no_growth

modprobe loop
works_again()
{
	local d

	d=$(attach "$LOOP_SCRATCH/img") && still_works "$d" && detach "$d"
}
claim "it loads and works again" works_again
finish
trap - EXIT
claim "and unloads" loop_unload
tap_plan_end
