#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# More tasks write than hw_queue_depth lets in, so they wait for slots, and a softirq ends
# what workers have written. This checks the data, groups that are replaced, and detaches.

# shellcheck disable=SC2317 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup fio mkfs.ext4
tap_start

tasks=32

# writers DEVICE [FIO-OPTION...]: each task writes a part of its own, and reads it again
writers()
{
	local dev=$1

	shift
	quiet_fio --name=writers --filename="$dev" --rw=randwrite --bs=4k \
		--ioengine=psync --direct=1 --thread=1 --numjobs="$tasks" --size=128k \
		--offset_increment=128k --verify=crc32c --verify_fatal=1 "$@"
}

# ended_in_softirq COMMAND...: the command succeeds, and a softirq ends writes meanwhile
ended_in_softirq()
{
	local rc=0

	trace_while workqueue/workqueue_execute_start "$@" || rc=1
	grep -q loop_end_work "$trace/trace" || {
		echo "no softirq has ended a write"
		return 1
	}
	return "$rc"
}

# written on|off FUNCTION [ARGUMENT...]: attaches the image in that mode, and calls the
# function with the device and the arguments
written()
{
	local dev mode=$1

	shift
	dev=$(attach_to "$dir/img" "$mode") && "$1" "$dev" "${@:2}" && detach "$dev"
}

# groups_write DEVICE COUNT: four tasks of each cgroup write, and then it is removed
groups_write()
{
	local n

	for ((n = 0; n < $2; n++)); do
		mkdir "$groups/a/$n" &&
			in_group "a/$n" xargs -n 1 -P 4 sh -c "dd if=/dev/zero of=$1 bs=4k \
				count=4 seek=\$1 oflag=direct conv=notrunc status=none" \
				dd <<< "0 4 8 12" &&
			wait_for 10 rmdir "$groups/a/$n" || return
	done
}

# detached_by_force: all that wait for slots fail, and the device works again
detached_by_force()
{
	local dev pid

	dev=$(attach_to "$dir/img" off) || return
	fio --minimal --name=forced --filename="$dev" --rw=randwrite --bs=4k --ioengine=psync \
		--direct=1 --thread=1 --numjobs="$tasks" --size=4m --time_based=1 --runtime=600 \
		> /dev/null 2>&1 &
	pid=$!
	if ! wait_for 10 in_flight "$dev" write ||
		! "$LOOP_TEST_BIN/loopctl" detach --force --timeout 60 "$dev" ||
		! wait_for 20 has_ended "$pid"; then
		kill -KILL "$pid"
		wait "$pid"
		return 1
	fi
	fails wait "$pid" && wait_for 5 is_free "$dev" && written off writers
}

# cycles COUNT: attaches, has each task write and read a block, and detaches
cycles()
{
	local n

	for ((n = 0; n < $1; n++)); do
		written off writers --size=4k --offset_increment=4k || return
	done
}

test_begin
trace_start || skip_all "no tracepoints"
types="ext4 tmpfs"
for type in $types; do
	image "$(scratch_fs "$type")/img" 16M || bail_out "no $type"
done
for depth in 1 2; do
	loop_detach_all
	claim "the module loads with a depth of $depth" \
		loop_load hw_queue_depth="$depth" inline_io=N
	[ "$(cat /sys/module/loop/parameters/hw_queue_depth)" = "$depth" ] ||
		bail_out "the depth is not $depth"
	for type in $types; do
		dir=$LOOP_SCRATCH/mnt/$type
		claim "a depth of $depth, $type: a softirq ends buffered writes of $tasks tasks" \
			ended_in_softirq written off writers
		claim "a depth of $depth, $type: workers write directly" written on writers
	done
	claim "a depth of $depth: a detach by force fails the writes that wait for slots" \
		detached_by_force
	claim "a depth of $depth: attached, written and detached, 10 times" cycles 10
	# few of four tasks wait for slots if there are more
	[ "$depth" = 1 ] || continue
	if groups_start && echo +io > "$groups/a/cgroup.subtree_control"; then
		claim "a depth of $depth: more cgroups write than a device keeps groups for" \
			ended_in_softirq written off groups_write 80
	else
		tap_skip "a depth of $depth: more cgroups" "no cgroup v2 with io and memory"
	fi
	groups_end
done
test_end
