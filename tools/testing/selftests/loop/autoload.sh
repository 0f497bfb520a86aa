#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module loads by itself when a node is opened: static nodes from
# modules.devname, and block nodes without a device. Its parameters are tested too.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd kmod modprobe modinfo systemd-tmpfiles udevadm
tap_start

conf=/etc/modprobe.d/loop-selftest.conf
release=$(uname -r)

finish()
{
	rm -f "$conf"
	loop_unload
	udevadm control --exit 2>/dev/null
	nodes_remove
}
trap finish EXIT

# fresh [OPTIONS]: unloads the module, removes the nodes, and sets the options of the
# next load. The nodes go first, as a udev worker that opens one would load the module.
fresh()
{
	udev_settle
	nodes_remove
	loop_unload
	rm -f "$conf"
	[ $# -eq 0 ] || echo "options loop $*" > "$conf"
	nodes_remove
}

# dead NUMBER [MINOR]: makes a node without a device
dead()
{
	mknod "/dev/loop$1" b 7 "${2:-$1}"
}

static_nodes()
{
	mkdir -p /run/tmpfiles.d &&
		kmod static-nodes --format=tmpfiles --output=/run/tmpfiles.d/kmod.conf &&
		systemd-tmpfiles --prefix=/dev/loop-control --create --boot \
			/run/tmpfiles.d/kmod.conf &&
		same device "a:ed" "$(stat -c %t:%T /dev/loop-control)" &&
		fails loop_loaded
}

# udev may have some devices open, so any number can be the free one.
control_loads()
{
	local free

	fails loop_loaded &&
		free=$("$helper" ctl /dev/loop-control get-free) &&
		[ "$free" -ge 0 ] && loop_loaded
}

# opened PATH WANTED NUMBERS: the result of opening a dead node, and the devices then
opened()
{
	same "open of $1" "$2" "$("$helper" open "$1")" &&
		same devices "$3" "$(numbers)"
}

node_is_up()
{
	[ -b /dev/loop30 ] && [ -e /run/udev/data/b7:30 ] &&
		same "mode and group" "660 disk" "$(stat -c '%a %G' /dev/loop30)"
}

node_is_gone()
{
	[ ! -e /dev/loop30 ] && [ ! -e /run/udev/data/b7:30 ]
}

udev_adds()
{
	same ADD 30 "$("$helper" ctl /dev/loop-control add 30)" &&
		udev_settle && node_is_up
}

udev_removes()
{
	same REMOVE 30 "$("$helper" ctl /dev/loop-control remove 30)" &&
		udev_settle && node_is_gone
}

# loads WANTED-PARAMETERS WANTED-NUMBERS PARAMETER...
loads()
{
	local wanted=$1 devices=$2 dir=/sys/module/loop/parameters

	shift 2
	modprobe loop "$@" &&
		same "max_loop max_part hw_queue_depth" "$wanted" \
			"$(cd "$dir" && echo "$(<max_loop) $(<max_part) $(<hw_queue_depth)")" &&
		same devices "$devices" "$(numbers)"
}

# minors FIRST-MINOR-OF-LOOP1 RANGE
minors()
{
	same "loop1" "7:$1 $2" \
		"$(cat /sys/block/loop1/dev) $(cat /sys/block/loop1/range)"
}

refused()
{
	local error

	error=$(modprobe loop "$@" 2>&1) && return 1
	case $error in
	*"Invalid argument"*) ;;
	*) echo "$error"; return 1 ;;
	esac
	fails loop_loaded && same devices "" "$(numbers)" &&
		[ ! -e /sys/class/misc/loop-control ] &&
		fails grep -qE ' loop$' /proc/devices
}

max_part_row()
{
	local load=$1 shown=$2 minor=$3 range=$4

	loop_unload && modprobe loop max_loop=2 max_part="$load" &&
		same parameter "$shown" "$(cat /sys/module/loop/parameters/max_part)" &&
		minors "$minor" "$range"
}

udev_start
fresh

claim "modules.devname lists the control node" \
	grep -qx 'loop loop-control c10:237' "/lib/modules/$release/modules.devname"
claim "char-major-10-237 resolves" same alias loop "$(modprobe -R char-major-10-237)"
claim "block-major-7-0 resolves" same alias loop "$(modprobe -R block-major-7-0)"
claim "block-major-7-300 resolves" same alias loop "$(modprobe -R block-major-7-300)"
claim "static nodes come from modules.devname without the module" static_nodes
claim "open of the static node loads the module; GET_FREE works" control_loads
claim "8 devices by default" same devices "0 1 2 3 4 5 6 7" "$(numbers)"
claim "parameters have their defaults" same parameters "8 0 128 Y" "$(
	cd /sys/module/loop/parameters &&
		echo "$(<max_loop) $(<max_part) $(<hw_queue_depth) $(<inline_io)")"
claim "all but inline_io are read-only" same modes "444 644 444 444" "$(
	cd /sys/module/loop/parameters &&
		stat -c %a hw_queue_depth inline_io max_loop max_part | paste -sd' ')"
claim "udev sees a device added" udev_adds
claim "udev sees it removed" udev_removes
unload_for_good
claim "after rmmod there are no block nodes" same nodes "" "$(echo /dev/loop[0-9]* | grep -v '\*')"
claim "after rmmod udev knows none" same entries "" "$(echo /run/udev/data/b7:* | grep -v '\*')"
claim "the static node outlives the module and loads it again" control_loads

fresh
dead 5
claim "open of a dead /dev/loop5 loads the module" opened /dev/loop5 ok "0 1 2 3 4 5 6 7"
fresh max_loop=0
dead 5
claim "with max_loop=0 it creates exactly device 5" opened /dev/loop5 ok 5
dead 12
claim "and the next dead node exactly its own" opened /dev/loop12 ok "5 12"
fresh
dead 12
claim "a dead node above the default creates exactly that one more" \
	opened /dev/loop12 ok "0 1 2 3 4 5 6 7 12"
fresh max_loop=4
dead 12
claim "max_loop=4 from modprobe.d: 7:12 is ENXIO, 4 devices" \
	opened /dev/loop12 ENXIO "0 1 2 3"
dead 4
claim "max_loop=4: 7:4 is ENXIO" opened /dev/loop4 ENXIO "0 1 2 3"
claim "max_loop=4: the control device is not limited" \
	same ADD 12 "$("$helper" ctl /dev/loop-control add 12)"
claim "max_loop=4: what was added opens" opened /dev/loop12 ok "0 1 2 3 12"
fresh max_loop=4
dead 2
claim "max_loop=4: open of dead 7:2 loads and opens" opened /dev/loop2 ok "0 1 2 3"
fresh max_loop=1 max_part=7
dead 1p1 9
claim "max_part=7: a dead partition node makes its device" \
	opened /dev/loop1p1 ENXIO "0"
fresh max_part=7
dead 20p1 161
claim "max_part=7: 7:161 is partition 1 of 20, which is made" \
	opened /dev/loop20p1 ENXIO "0 1 2 3 4 5 6 7 20"

# The rest runs without udev, which would take most of the time.
fresh
udev_stop
claim "max_loop=3" loads "3 0 128" "0 1 2" max_loop=3
fresh
claim "all parameters at once" loads "2 15 32" "0 1" max_loop=2 max_part=15 hw_queue_depth=32
while read -r load shown minor range; do
	claim "max_part=$load is $shown" max_part_row "$load" "$shown" "$minor" "$range"
done <<-END
	-1 0 1 1
	0 0 1 1
	1 1 2 2
	5 7 8 8
	15 15 16 16
	16 31 32 32
	255 255 256 256
END
loop_unload
for bad in max_part=256 max_part=x max_loop=-1 max_loop=1048577 \
	"max_loop=131073 max_part=15" hw_queue_depth=0 hw_queue_depth=-1 \
	hw_queue_depth=x; do
	# shellcheck disable=SC2086
	claim "$bad: EINVAL, and nothing stays" refused $bad
done
modprobe loop
claim "loads after all the refusals" same GET_FREE 0 "$("$helper" ctl /dev/loop-control get-free)"

finish
trap - EXIT
tap_plan_end
