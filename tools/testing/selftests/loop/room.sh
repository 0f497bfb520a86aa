#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# More tasks write than hw_queue_depth lets in, so that they wait for room, and a softirq
# ends what the worker has written: the data, cgroups that come and go, and detaches.

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
	fio --minimal --name=writers --filename="$dev" --rw=randwrite --bs=4k \
		--ioengine=psync --direct=1 --thread=1 --numjobs="$tasks" --size=128k \
		--offset_increment=128k --verify=crc32c --verify_fatal=1 "$@" \
		> "$LOOP_SCRATCH/fio" 2>&1 || {
		tail -n 20 "$LOOP_SCRATCH/fio"
		return 1
	}
}

# ended_in_softirq COMMAND...: the command succeeds, and a softirq ends writes meanwhile
ended_in_softirq()
{
	local event=$trace/events/workqueue/workqueue_execute_start rc=0

	echo > "$trace/trace"
	echo 1 > "$event/enable"
	"$@" || rc=1
	echo 0 > "$event/enable"
	same "exit status" 0 "$rc" && grep -q loop_end_work "$trace/trace"
}

# written on|off COMMAND...: attaches the image in that mode, for the command
written()
{
	local dev mode=$1

	dev=$(attach_to "$dir/img" "$mode") && shift && "$@" "$dev" && forget "$dev" &&
		detach "$dev"
}

# written_in_groups COUNT: each cgroup has its own room, and is removed at once
written_in_groups()
{
	local dev n rc=0 group

	dev=$(attach_to "$dir/img" off) || return
	for ((n = 0; n < $1; n++)); do
		group=$groups/a/$n
		mkdir "$group" && (
			echo "$BASHPID" > "$group/cgroup.procs" &&
				exec dd if=/dev/zero of="$dev" bs=4k count=4 seek="$n" \
					oflag=direct conv=notrunc status=none
		) || rc=1
		rmdir "$group" || rc=2
	done
	same "what went wrong" 0 "$rc" && detach "$dev"
}

# detached_by_force: while tasks wait for room, all of them fail, and the device works again
detached_by_force()
{
	local dev pid

	dev=$(attach_to "$dir/img" off) || return
	fio --minimal --name=forced --filename="$dev" --rw=randwrite --bs=4k --ioengine=psync \
		--direct=1 --thread=1 --numjobs="$tasks" --size=4m --time_based=1 --runtime=600 \
		> /dev/null 2>&1 &
	pid=$!
	wait_for 10 in_flight "$dev" write &&
		"$LOOP_TEST_BIN/loopctl" detach --force --timeout 60 "$dev" &&
		wait_for 20 has_ended "$pid" && fails wait "$pid" && wait_for 5 is_free "$dev" &&
		written off writers
}

# cycles COUNT: the device is detached as soon as the last write has ended
cycles()
{
	local dev n

	for ((n = 0; n < $1; n++)); do
		dev=$(attach_to "$dir/img" off) &&
			writers "$dev" --size=4k --offset_increment=4k && detach "$dev" || return
	done
}

test_begin
trace_start || bail_out "no tracefs"
for type in ext4 tmpfs; do
	dir=$(scratch_fs "$type") || bail_out "no $type"
	image "$dir/img" 16M
done
for depth in 1 2; do
	claim "the module loads with a depth of $depth" eval \
		"loop_unload && loop_load hw_queue_depth=$depth inline_io=N"
	for dir in "$LOOP_SCRATCH"/mnt/*; do
		claim "a depth of $depth, ${dir##*/}: a softirq ends buffered writes of $tasks tasks" \
			written off ended_in_softirq writers
		claim "a depth of $depth, ${dir##*/}: direct writes of workers" written on writers
	done
	claim "a depth of $depth: detached by force while tasks wait for room" detached_by_force
	claim "a depth of $depth: detached at once after the last write" cycles 10
	if groups_start && echo +io > "$groups/a/cgroup.subtree_control"; then
		claim "a depth of $depth: more cgroups than a device keeps groups for" \
			written_in_groups 80
	else
		tap_skip "a depth of $depth: more cgroups" "no cgroup v2 with io and memory"
	fi
	groups_end
done
test_end
