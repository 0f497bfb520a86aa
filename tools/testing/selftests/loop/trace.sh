#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tracepoints: what each of them tells.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup
tap_start

scratch_init || bail_out "no scratch space"
trap finish EXIT
loop_load || bail_out "the module does not load"
if ! trace_start; then
	tap_skip "tracepoints" "the kernel has none"
	tap_plan_end
	exit
fi

# traced EVENT... -- COMMAND...: what these say meanwhile
traced()
{
	local event events=()

	while [ "$1" != -- ]; do
		events+=("$1")
		shift
	done
	shift
	: > $trace/trace
	for event in "${events[@]}"; do
		echo 1 > "$trace/events/loop/$event/enable"
	done
	"$@" > /dev/null
	echo 0 > $trace/events/loop/enable
	sed -n 's/.* loop_\([a-z_]*: loop[0-9]* .*\)/\1/p' $trace/trace
}

file=$(scratch_fs ext4)/file
written_image "$file" 256
dev=/dev/loop0
ino=$(stat -c %i "$file")

# number NAME: the value after NAME= in what is read
number()
{
	sed -n "s/.*[ =]$1=\([0-9]*\).*/\1/p"
}

attached()
{
	local line

	line=$(traced loop_attach -- losetup -r -o 4096 --direct-io=on "$dev" "$file")
	echo "$line"
	[[ $line == "attach: loop0 "*" backing_ino=$ino offset=4096 nr_bytes=1044480 block_size=512 flags=read_only|direct_io" ]] &&
		same diskseq "$(cat /sys/block/loop0/diskseq)" "$(number diskseq <<< "$line")"
}
claim "loop_attach: what is bound, and how" attached
claim "loop_state: as LOOP_CTL_LIST tells it" same states \
	"state: loop0 bound -> rundown,state: loop0 rundown -> unbound" \
	"$(traced loop_state -- losetup -d "$dev" | paste -sd,)"

detached()
{
	losetup "$dev" "$file" || return
	same event "detach: loop0 diskseq=$(cat /sys/block/loop0/diskseq)" \
		"$(traced loop_detach -- losetup -d "$dev")"
}
claim "loop_detach: the diskseq that was" detached

losetup --direct-io=on "$dev" "$file"
settle "$dev"
one_read()
{
	local line

	line=$(traced loop_bio_queue loop_bio_done -- \
		dd if="$dev" bs=4k count=1 skip=3 iflag=direct status=none)
	echo "$line"
	same queued "bio_queue: loop0 RS sector=24 nr_sectors=8 path=inline" \
		"$(grep bio_queue <<< "$line")" &&
		[[ $line == *"bio_done: loop0 RS sector=24 nr_sectors=8 error=0 latency="* ]] &&
		[ "$(grep bio_done <<< "$line" | number latency)" -gt 0 ]
}
claim "loop_bio_queue, loop_bio_done: a read, done by its submitter" one_read

write_and_flush()
{
	traced loop_bio_queue loop_flush -- dd if=/dev/zero of="$dev" bs=4k count=1 \
		oflag=direct conv=fsync,notrunc status=none
}
claim "loop_flush: how many flushes, and its result" same events \
	"bio_queue: loop0 WS sector=0 nr_sectors=8 path=inline,bio_queue: loop0 FWS sector=0 nr_sectors=0 path=worker_flush,flush: loop0 served=1 error=0" \
	"$(write_and_flush | paste -sd,)"

# The file ends before the device does.
failed()
{
	local line

	truncate -s 4096 "$file"
	line=$(traced loop_bio_done -- dd if="$dev" bs=4k count=1 skip=3 iflag=direct status=none 2>&1)
	echo "$line"
	[[ $line == *"error=-5 "* ]]
}
claim "loop_bio_done: the error of a read that failed" failed
losetup -d "$dev"

finish
trap - EXIT
claim "the module unloads" loop_unload
tap_plan_end
