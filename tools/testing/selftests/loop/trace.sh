#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each tracepoint has the fields and values that the guide describes.

# shellcheck disable=SC2317,SC2119 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=paths-lib.sh
. ./paths-lib.sh
need_root
need_cmd losetup
tap_start

test_begin
if ! trace_start; then
	tap_skip "tracepoints" "the kernel has none"
	tap_plan_end
	exit
fi

# traced EVENT... -- COMMAND...: prints the events that the command causes
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

# number NAME: the value after NAME= on stdin
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
claim "loop_attach tells the file and how it is attached" attached
claim "loop_state tells each change of the state" same states \
	"state: loop0 attached -> rundown,state: loop0 rundown -> free" \
	"$(traced loop_state -- losetup -d "$dev" | paste -sd,)"

detached()
{
	losetup "$dev" "$file" || return
	same event "detach: loop0 diskseq=$(cat /sys/block/loop0/diskseq)" \
		"$(traced loop_detach -- losetup -d "$dev")"
}
claim "loop_detach: the diskseq that was" detached

losetup --direct-io=on "$dev" "$file"
dd if="$dev" of=/dev/null bs=4k count=1 iflag=direct status=none
one_read()
{
	local line

	# a read that is a second after the last one may set the access time
	for _ in 1 2 3 4 5; do
		line=$(traced loop_bio_queue loop_bio_done -- \
			dd if="$dev" bs=4k count=1 skip=3 iflag=direct status=none)
		echo "$line"
		[[ $line == *path=worker_atime* ]] || break
	done
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
claim "loop_flush: a flush, and its result" same events \
	"bio_queue: loop0 WS sector=0 nr_sectors=8 path=inline,bio_queue: loop0 FWS sector=0 nr_sectors=0 path=worker_flush,flush: loop0 served=1 error=0" \
	"$(write_and_flush | paste -sd,)"

# path COMMAND...: the paths of its I/O, each once
path()
{
	traced loop_bio_queue -- "$@" | sed -n 's/.* path=//p' | sort -u | paste -sd' '
}

# Direct I/O is on, so the file does not wait.
reasons()
{
	same discard worker_op "$(path blkdiscard -f -l 4096 "$dev")" &&
		same "a write with a file size limit" worker_rlimit \
			"$(ulimit -f 1000000 && path dd if=/dev/zero of="$dev" bs=4k count=1 oflag=direct conv=notrunc status=none)" &&
		same "the first read after a write" worker_atime \
			"$(path dd if="$dev" of=/dev/null bs=4k count=1 iflag=direct status=none)" &&
		losetup --direct-io=off "$dev" &&
		same "a buffered write to ext4" worker_file \
			"$(path dd if=/dev/zero of="$dev" bs=4k count=1 oflag=direct conv=notrunc status=none)" &&
		losetup --direct-io=on "$dev"
}
claim "loop_bio_queue: the reasons for a worker" reasons

# ---- what the document says ----

doc=$PWD/../../../../Documentation/admin-guide/blockdev/loop.rst

# example WORDS: the commands of the guide after the line that ends with WORDS
example()
{
	awk -v words="$1::" '
	found && /^  / { print; printed = 1 }
	found && printed && !/^  / { exit }
	substr($0, length($0) - length(words) + 1) == words { found = 1 }' "$doc"
}

tracefs_example()
{
	local event out

	: > "$trace/trace"
	out=$(example "Trace a device with tracefs" | bash -e 2>&1) || {
		echo "$out"
		return 1
	}
	rm /tmp/disk.img
	for event in attach state bio_queue bio_done flush detach; do
		grep -q " loop_$event: loop1 " <<< "$out" || {
			echo "no loop_$event:" && echo "$out"
			return 1
		}
	done
}

# The example runs for one second instead of ten.
bpftrace_example()
{
	local out=$LOOP_SCRATCH/bpftrace

	example "for ten seconds" | sed 's/interval:s:10 /interval:s:1 /' | bash -e > "$out" 2>&1 &
	while [ -e /proc/$! ]; do
		dd if="$dev" of=/dev/null bs=4k count=8 iflag=direct status=none || break
	done
	wait $!
	cat "$out"
	grep -q '^@path\[0, inline\]: [0-9]' "$out" && grep -q '^@us\[0\]:' "$out" &&
		grep -q '@@' "$out"
}

if [ -e "$doc" ]; then
	claim "the example for tracefs" tracefs_example
else
	tap_skip "the example for tracefs" "no $doc"
fi
# A kernel that can load programs has this sysctl; without BTF, bpftrace needs the
# kernel's headers.
if [ -e "$doc" ] && command -v bpftrace > /dev/null &&
	[ -e /proc/sys/kernel/unprivileged_bpf_disabled ] && [ -e /sys/kernel/btf/vmlinux ]; then
	claim "the example for bpftrace" bpftrace_example
else
	tap_skip "the example for bpftrace" "no bpftrace, or no BPF or BTF in the kernel"
fi

# ---- flushes that are served together ----

# The first fsync waits for the disk; the flushes that come meanwhile wait for the next
# one.
together()
{
	local i line served=0 most=0 on=/dev/loop1

	map_to flush "0 2048 linear $(brd_take) 0" && losetup "$on" "$mapper-flush" &&
		dmsetup suspend loop-selftest-flush && snap "$on" &&
		dd if=/dev/zero of="$on" bs=4k count=1 oflag=direct status=none || return
	traced loop_flush -- flush_three > "$LOOP_SCRATCH/flushes"
	cat "$LOOP_SCRATCH/flushes"
	losetup -d "$on" && unmap_it flush || return
	while read -r line; do
		i=$(number served <<< "$line")
		served=$((served + i))
		[ "$i" -le "$most" ] || most=$i
	done < "$LOOP_SCRATCH/flushes"
	same served 3 "$served" && [ "$most" -gt 1 ]
}

asked()
{
	counted /dev/loop1 "flush:$1" > /dev/null
}

flush_three()
{
	local i pids=()

	for i in 1 2 3; do
		sync /dev/loop1 &
		pids+=($!)
	done
	wait_for 10 asked 3
	dmsetup resume loop-selftest-flush
	wait "${pids[@]}"
}
if command -v dmsetup > /dev/null; then
	claim "loop_flush: one that serves several" together
else
	tap_skip "loop_flush: one that serves several" "no dmsetup"
fi

# ---- errors ----

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

# With a depth of 1, the second write waits for the first, which waits for the disk.
waits_and_dies()
{
	local first second

	map_to dies "0 2048 linear $(brd_take) 0" &&
		losetup --direct-io=on "$dev" "$mapper-dies" && dmsetup suspend loop-selftest-dies &&
		snap "$dev" || return
	dd if=/dev/zero of="$dev" bs=4k count=1 seek=10 oflag=direct status=none &
	first=$!
	wait_for 10 counted "$dev" cloned > /dev/null || return
	dd if=/dev/zero of="$dev" bs=4k count=1 seek=20 oflag=direct status=none 2> /dev/null &
	second=$!
	wait_for 10 waits_in_loop "$second" && {
		"$LOOP_TEST_BIN/loopctl" detach --force --timeout 1 "$dev"
		fails wait "$second"
	}
	dmsetup resume loop-selftest-dies
	wait "$first"
	wait_for 10 detached_at_last && unmap_it dies
}

detached_at_last()
{
	[ ! -e "/sys/block/${dev#/dev/}/loop" ]
}

died()
{
	local lines

	lines=$(traced loop_bio_done -- waits_and_dies)
	echo "$lines"
	[[ $lines == *"bio_done: loop0 "*" sector=160 nr_sectors=8 error=-5 "* ]]
}
if command -v dmsetup > /dev/null; then
	claim "the module loads with a depth of 1" eval \
		'loop_unload && loop_load hw_queue_depth=1'
	claim "loop_bio_done: a write that waits for a slot when the device is detached by force" \
		died
else
	tap_skip "loop_bio_done: a write that waits for a slot" "no dmsetup"
fi

test_end
