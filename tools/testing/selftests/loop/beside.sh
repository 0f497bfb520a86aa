#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The new ioctls of the control device beside programs that do not know them: losetup,
# mount and umount, unmodified, in loops; and loopctl. With LOOP_BESIDE_FULL set, also
# what happens when all numbers are in use, which takes minutes to set up and to undo.

# claims call functions by name, sh -c its own variables
# shellcheck disable=SC2016,SC2317,SC2119

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd losetup mkfs.ext4 mount umount fdisk sfdisk flock unshare fsfreeze
tap_start

finish()
{
	touch "$LOOP_SCRATCH/stop"
	wait
	loop_detach_all
	scratch_exit
}

test_begin
ulimit -n 8192

losetups=3 rounds=8

# mount_loop N: what it writes is there at the next mount
mount_loop()
{
	local i fs=$LOOP_SCRATCH/fs$1 at=$LOOP_SCRATCH/at$1

	image "$fs" 4M
	mkdir -p "$at"
	mkfs.ext4 -q -F "$fs" || return
	for ((i = 0; i < 3; i++)); do
		mount -o loop "$fs" "$at" || return
		[ "$i" = 0 ] || same content $((i - 1)) "$(cat "$at/file")" || return
		echo "$i" > "$at/file"
		umount "$at" || return
	done
}

# new_loop N [NUMBER]: runs until the other loops are done; NUMBER is for ephemeral ones
new_loop()
{
	local file=$LOOP_SCRATCH/new$1

	image "$file" 1M
	"$helper" attach-until "$LOOP_SCRATCH/stop" "$file" ${2:+"$2"}
}

# beside [NUMBER]: see new_loop
beside()
{
	local i pids=() new=() bad=0

	rm -f "$LOOP_SCRATCH/stop"
	for ((i = 0; i < 2; i++)); do
		new_loop "$i" ${1:+$(($1 + i))} &
		new+=($!)
	done
	for ((i = 0; i < losetups; i++)); do
		losetup_cycles "$LOOP_SCRATCH/old$i" "$rounds" &
		pids+=($!)
	done
	mount_loop 0 &
	pids+=($!)
	for i in "${pids[@]}"; do
		wait "$i" || bad=$((bad + 1))
	done
	: > "$LOOP_SCRATCH/stop"
	for i in "${new[@]}"; do
		wait "$i" || bad=$((bad + 1))
	done
	same "loops that failed" 0 "$bad"
}
claim "losetup -f, mount -o loop and LOOP_CTL_ATTACH in loops beside each other" beside 3000
# A device that LOOP_CTL_GET_FREE has returned stays until losetup has opened it.
claim "the same with ephemeral devices of any number" beside
claim "nothing is left attached" wait_for 10 nothing_attached

# ---- by the one, off by the other ----

file=$LOOP_SCRATCH/file
image "$file" 2M

new_then_old()
{
	local n

	n=$("$helper" attach -1 "$file") && same file "$file" "$(attr "loop$n" backing_file)" &&
		same -j "/dev/loop$n" "$(losetup -n -O NAME -j "$file")" &&
		losetup -d "/dev/loop$n" && is_free "/dev/loop$n"
}
claim "LOOP_CTL_ATTACH, seen by losetup -j, off by losetup -d" new_then_old

old_then_new()
{
	local d

	d=$(losetup -f --show "$file") && same detach ok "$("$helper" detach "${d#/dev/loop}")" &&
		is_free "$d"
}
claim "losetup -f --show, off by LOOP_CTL_DETACH" old_then_new

mounted()
{
	local n at=$LOOP_SCRATCH/mounted

	mkdir -p "$at"
	mkfs.ext4 -q -F "$file" && n=$("$helper" attach -1 "$file") &&
		mount "/dev/loop$n" "$at" &&
		same detach EBUSY "$("$helper" detach "$n")" && echo data > "$at/file" &&
		umount "$at" && same detach ok "$("$helper" detach "$n")" &&
		same detach ENXIO "$("$helper" detach "$n")"
}
claim "a mounted device is EBUSY, and not changed by it" mounted

# ---- loopctl ----

loopctl=$LOOP_TEST_BIN/loopctl

loopctl_help()
{
	"$loopctl" --help | grep -q '^usage: ' && "$loopctl" attach --help | grep -q '^usage: ' || return
	"$loopctl" nonsense 2>/dev/null
	same "exit status" 2 $? || return
	"$loopctl" attach 2>/dev/null
	same "exit status" 2 $?
}

loopctl_cycle()
{
	local d out

	d=$("$loopctl" attach --name 'a "name"' --offset 4096 --sizelimit 1M "$file") || return
	same file "$file" "$(attr "$d" backing_file)" &&
		same offset 4096 "$(attr "$d" offset)" &&
		same sizelimit 1048576 "$(attr "$d" sizelimit)" &&
		same find "$d" "$("$loopctl" find "$file")" || return
	out=$("$loopctl" list) || return
	grep -q "^$d .* a \"name\" *$file$" <<< "$out" || {
		echo "$out"
		return 1
	}
	out=$("$loopctl" list --json --output-all "$d") || return
	python3 -c '
import json, sys
d = json.load(sys.stdin)["loopdevices"]
assert len(d) == 1, d
d = d[0]
assert d["name"] == sys.argv[1], d
assert d["state"] == "attached" and d["offset"] == 4096, d
assert d["sizelimit"] == d["size"] == 1048576, d
assert d["ref"] == "a \"name\"" and d["openers"] == 0, d
assert d["ro"] is False and d["dio"] is False and d["log-sec"] == 512, d
assert d["owner"] == "root" and d["flags"] is None and d["back-rdev"] is None, d
' "$d" <<< "$out" || {
		echo "$out"
		return 1
	}
	"$loopctl" detach "$d" && is_free "$d" || return
	"$loopctl" detach "$d" 2>/dev/null
	same "exit status of a second detach" 1 $? || return
	"$loopctl" find "$file"
	same "exit status of find" 1 $?
}

# The byte 0xff is not valid UTF-8, and the JSON has to be valid all the same.
loopctl_columns()
{
	local d
	local -a all

	d=$("$loopctl" attach --name $'a b\xff' --offset 4608 --sizelimit 1M "$file") || return
	all=("$loopctl" list "$d")
	same output "NAME OFFSET BACK-FILE $d 4.5K $file" \
		"$("${all[@]}" --output Name,offset,BACK-FILE | xargs)" &&
		same --noheadings "$d" "$("${all[@]}" --noheadings -O NAME)" &&
		same --bytes "4608 1048576" "$("${all[@]}" --bytes -n -O OFFSET,SIZE | xargs)" &&
		same "no --bytes" "4.5K 1M" "$("${all[@]}" -n -O OFFSET,SIZE | xargs)" &&
		same --raw "REF SIZE RO"$'\n''a\x20b\xff 1M 0' \
			"$("${all[@]}" --raw -O REF,SIZE,RO)" &&
		same "default columns and one more" LOG-SEC \
			"$("${all[@]}" -O +LOG-SEC | awk 'NR == 1 { print $NF }')" || return
	"${all[@]}" --json -O NAME,OFFSET,RO,REF |
		in_json 'd == [{"name": sys.argv[2], "offset": 4608, "ro": False, "ref": "a b\u00ff"}]' \
			"$d" || return
	"${all[@]}" --output NAME,NOTHING 2> "$LOOP_SCRATCH/err"
	same "exit status of an unknown column" 2 $? &&
		same message "loopctl: unknown column: NOTHING" "$(< "$LOOP_SCRATCH/err")" || return
	"${all[@]}" --json --raw 2>/dev/null
	same "exit status of --json --raw" 2 $? && "$loopctl" detach "$d" || return
	# A device without a file has four columns that are known.
	"$loopctl" list --json --output-all "$d" |
		in_json '[k for k in d[0] if d[0][k]] == ["name", "state", "disk-seq"] and
			d[0]["state"] == "free" and d[0]["openers"] == 0 and d[0]["size"] is None' &&
		"$loopctl" list --json 2>&1 | in_json 'sys.argv[2] not in [e["name"] for e in d]' "$d"
}

loopctl_exclusive()
{
	local d

	d=$("$loopctl" attach "$file") || return
	"$loopctl" attach --exclusive "$file" 2> "$LOOP_SCRATCH/err"
	same "exit status" 3 $? && grep -q "$d" "$LOOP_SCRATCH/err" &&
		"$loopctl" detach "$d" && d=$("$loopctl" attach --exclusive "$file") || return
	"$loopctl" attach "$file" 2> "$LOOP_SCRATCH/err"
	same "exit status" 3 $? && grep -q "$d" "$LOOP_SCRATCH/err" &&
		fails losetup -f "$file" && "$loopctl" detach "$d"
}

loopctl_require()
{
	local d

	"$loopctl" attach --require size-limit "$file" 2>/dev/null
	same "exit status of an unknown condition" 2 $? || return
	"$loopctl" attach --sizelimit 4M --require write,sizelimit "$file" 2> "$LOOP_SCRATCH/err"
	same "exit status" 1 $? && grep -q "loopctl: sizelimit: the file ends" "$LOOP_SCRATCH/err" &&
		! grep -q "loopctl: write" "$LOOP_SCRATCH/err" || return
	"$loopctl" attach --sizelimit 4M --strict "$file" 2> "$LOOP_SCRATCH/err"
	same "exit status of --strict" 1 $? && fails "$loopctl" find "$file" || return
	d=$("$loopctl" attach --require direct-io,direct_align,write,sizelimit,discard,block-size "$file") &&
		"$loopctl" detach "$d" &&
		fails "$loopctl" attach --no-discard --require discard "$file"
}

# option_flag OPTION [FLAG]: what "loopctl list" tells of it
option_flag()
{
	local d

	d=$("$loopctl" attach "--$1" "$file") &&
		same "flags of --$1" "${2-$1}" "$("$loopctl" list -n -O FLAGS "$d" | xargs)" &&
		cmp -n 1048576 "$file" "$d" && "$loopctl" detach --wait "$d"
}

loopctl_flags()
{
	local option

	for option in exclusive ephemeral direct-aligned no-inline uncached internal no-discard; do
		option_flag "$option" || return
	done
	option_flag read-only ""
}

# The sector size of an image is that of its GPT.
loopctl_gpt()
{
	local size d image=$LOOP_SCRATCH/gpt

	for size in 512 1024 2048 4096; do
		image "$image" 4M
		printf 'g\nn\n\n\n+1M\nw\n' | fdisk -b "$size" "$image" > /dev/null
		d=$("$loopctl" attach --block-size auto --partscan "$image") &&
			same "sector size" "$size" "$(blockdev --getss "$d")" &&
			[ -d "/sys/block/${d##*/}/${d##*/}p1" ] && "$loopctl" detach --wait "$d" || return
	done
	d=$("$loopctl" attach -b auto "$file") && same "without one" 512 "$(blockdev --getss "$d")" &&
		"$loopctl" detach --wait "$d" || return
	# The last image has a GPT for 4096 bytes, and gets one for 512 as well.
	dd if="$image" of="$image" bs=512 skip=8 seek=1 count=1 conv=notrunc status=none
	"$loopctl" attach -b auto "$image" 2> "$LOOP_SCRATCH/err"
	same "exit status with two" 1 $? && grep -q "512 and of 4096 bytes" "$LOOP_SCRATCH/err"
}

loopctl_wait()
{
	local d

	d=$("$loopctl" attach --ephemeral "$file") || return
	exec 5< "$d"
	"$loopctl" detach "$d" 2> "$LOOP_SCRATCH/err"
	same "exit status of detach" 3 $? &&
		grep -q "$d is used by process $BASHPID (" "$LOOP_SCRATCH/err" || return
	"$loopctl" detach --wait --timeout 0.05 "$d" 2>/dev/null
	same "exit status of detach --wait" 4 $? || return
	"$loopctl" wait --timeout 0.05 "$d"
	same "exit status of wait" 4 $? || return
	"$loopctl" detach --wait "$d" 5<&- &
	"$loopctl" wait "$d" 5<&- &
	sleep 0.2
	exec 5<&-
	wait -n && wait -n && [ ! -e "/sys/block/${d##*/}/loop" ]
}

# The file system of the file is frozen, so the write to the file does not end.
loopctl_wait_for_file()
{
	local at d pid rc=0

	at=$(scratch_fs ext4) && image "$at/file" 1M && d=$("$loopctl" attach "$at/file") &&
		fsfreeze -f "$at" || return
	dd if=/dev/zero of="$d" bs=4096 count=1 oflag=direct 2> /dev/null &
	pid=$!
	wait_for 10 in_flight "$d" write || rc=1
	"$loopctl" detach --force --timeout 0.05 "$d" 2> /dev/null
	same "exit status of detach --force" 4 $? || rc=1
	"$loopctl" wait --timeout 0.05 "$d"
	same "exit status of wait" 4 $? || rc=1
	fsfreeze -u "$at"
	"$loopctl" wait --timeout 60 "$d"
	same "exit status of wait when the write goes on" 0 $? || rc=1
	wait "$pid"
	wait_for 10 is_free "$d" && scratch_fs_end "$at" && return "$rc"
}

loopctl_lazy()
{
	local d

	d=$("$loopctl" attach "$file") || return
	exec 5< "$d"
	"$loopctl" detach --lazy "$d" 2> "$LOOP_SCRATCH/err"
	same "exit status" 0 $? && grep -q "$d: is detached when it is closed" "$LOOP_SCRATCH/err" &&
		grep -q "$d is used by process" "$LOOP_SCRATCH/err" &&
		same state attached "$("$loopctl" list -n -O STATE "$d")" || return
	exec 5<&-
	wait_for 10 is_free "$d" && d=$("$loopctl" attach "$file") &&
		same message "" "$("$loopctl" detach --lazy "$d" 2>&1)" && is_free "$d"
}

loopctl_force()
{
	local d at=$LOOP_SCRATCH/forced

	mkdir -p "$at"
	image "$LOOP_SCRATCH/forced.img" 8M
	mkfs.ext4 -q -F "$LOOP_SCRATCH/forced.img" && d=$("$loopctl" attach "$LOOP_SCRATCH/forced.img") &&
		mount "$d" "$at" && echo synced > "$at/file" && sync "$at/file" || return
	exec 6< "$d"
	"$loopctl" detach --force "$d" 2> "$LOOP_SCRATCH/err"
	same "exit status" 0 $? && grep -q "$d: is detached, and stays dead" "$LOOP_SCRATCH/err" &&
		grep -q "$d is used by mount $at (ext4)" "$LOOP_SCRATCH/err" &&
		same state busy "$("$loopctl" list -n -O STATE "$d")" &&
		eio dd of=/dev/null count=1 iflag=direct <&6 || return
	"$loopctl" detach "$d" 2>/dev/null
	same "exit status while the dead device is open" 3 $? || return
	exec 6<&-
	umount "$at" && same state free "$("$loopctl" list -n -O STATE "$d")" &&
		d=$("$loopctl" attach "$LOOP_SCRATCH/forced.img") &&
		mount "$d" "$at" && same synced synced "$(< "$at/file")" &&
		umount "$at" && "$loopctl" detach "$d"
}

# Another file under the same number is not touched.
loopctl_diskseq()
{
	local d seq

	d=$("$loopctl" attach "$file") && seq=$("$loopctl" list -n -O DISK-SEQ "$d" | xargs) &&
		"$loopctl" detach "$d" && same again "$d" "$("$loopctl" attach -i "$d" "$file")" || return
	"$loopctl" detach --diskseq "$seq" "$d" 2> "$LOOP_SCRATCH/err"
	same "exit status" 1 $? && grep -q "Stale file handle" "$LOOP_SCRATCH/err" &&
		fails "$loopctl" detach --any --diskseq "$seq" "$d" &&
		fails "$loopctl" detach --lazy --wait "$d" && "$loopctl" detach --any "$d" && is_free "$d"
}

# What COMMAND of "loopctl attach" finds
command_holds()
{
	local fdinfo=/proc/self/fdinfo/$LOOP_LEASE

	echo "$LOOP_DEVICE"
	blockdev --getro "$LOOP_DEVICE"
	"$loopctl" list -n -O FLAGS,OPENERS "$LOOP_DEVICE" | xargs
	sed -n "s/^loop-device:[[:space:]]*//p; s/^loop-file:[[:space:]]*//p" "$fdinfo"
	exit 7
}

loopctl_held()
{
	local d

	export -f command_holds
	export loopctl
	"$loopctl" attach --ephemeral --read-only "$file" -- bash -c command_holds > "$LOOP_SCRATCH/out"
	same "exit status" 7 $? || return
	read -r d < "$LOOP_SCRATCH/out"
	same output "$d 1 lease,ephemeral 0 ${d#/dev/loop} $file" "$(xargs < "$LOOP_SCRATCH/out")" &&
		[ ! -d "/sys/block/${d##*/}/loop" ] || return
	"$loopctl" attach "$file" -- /no/such/command 2>/dev/null
	same "exit status without COMMAND" 127 $? && fails "$loopctl" attach --hold "$file" 2>/dev/null &&
		same locked 1 "$("$loopctl" attach --lock exclusive "$file" -- \
			sh -c 'flock -n -s $LOOP_DEVICE true; echo $?')" &&
		same locked 0 "$("$loopctl" attach --lock shared "$file" -- \
			sh -c 'flock -n -s $LOOP_DEVICE true; echo $?')"
}

# The holders are another mount namespace, a process, a mapping, dm and a loop device.
loopctl_holders()
{
	local d top pid at=$LOOP_SCRATCH/$'hold\eers' out

	mkdir -p "$at"
	mkfs.ext4 -q -F "$file" && d=$("$loopctl" attach "$file") || return
	unshare -m sh -c 'mount "$1" "$2" && exec sleep 100' sh "$d" "$at" &
	pid=$!
	wait_for 10 grep -q " $at ext4 " "/proc/$pid/mounts" || return
	out=$("$loopctl" show --holders "$d")
	grep -q "^mount ${at//$'\e'/?} (ext4) in the mount namespace of process $pid (sleep)\$" \
		<<< "$out" || {
		echo "$out"
		return 1
	}
	kill "$pid"
	wait "$pid"
	"$loopctl" show --json --holders "$d" | in_json 'd[0]["holders"] is None' || return
	top=$("$loopctl" attach --read-only "$d") &&
		"$loopctl" show -H "$d" | grep -qx "device $top" &&
		"$loopctl" show --json --holders "$d" | in_json 'd[0]["holders"] == ["device " + sys.argv[2]]' "$top" &&
		same rdev "$(cat "/sys/block/${d##*/}/dev")" "$("$loopctl" list -n -O BACK-RDEV "$top" | xargs)" &&
		"$loopctl" detach "$top" || return
	python3 -c '
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 4096, prot=mmap.PROT_READ)
os.close(fd)
print(m[0], flush=True)
time.sleep(100)' "$d" > "$LOOP_SCRATCH/mapped" &
	pid=$!
	wait_for 10 test -s "$LOOP_SCRATCH/mapped" &&
		"$loopctl" show --holders "$d" | grep -q "^process $pid (python3)" || return
	kill "$pid"
	wait "$pid"
	"$loopctl" detach --wait "$d"
}

# A line break in the name of the file
loopctl_line_break()
{
	local d name=$LOOP_SCRATCH/$'line\nbreak'

	image "$name" 1M && d=$("$loopctl" attach "$name") &&
		"$loopctl" list --json --output BACK-FILE "$d" |
		in_json 'd[0]["back-file"] == sys.argv[2]' "$name" && "$loopctl" detach "$d" &&
		rm "$name"
}

# What cannot be printed is undone.
loopctl_full()
{
	fails "$loopctl" attach "$file" > /dev/full &&
		fails stdbuf -oL "$loopctl" attach "$file" > /dev/full &&
		fails "$loopctl" attach "$file" >&- &&
		same "the file is attached to" "" "$("$loopctl" find "$file")"
}

# in_json CODE ARGUMENT...: CODE is true for the JSON on stdin; d has the devices
in_json()
{
	local out

	out=$(cat)
	python3 -c '
import json, sys
top = json.loads(sys.stdin.read())
d = top["loopdevices"]
assert eval("(" + sys.argv[1] + ")")
' "$@" <<< "$out" || {
		echo "$out"
		return 1
	}
}

# The file ends before the size limit.
loopctl_show()
{
	local d out

	d=$("$loopctl" attach --read-only --offset 4096 --sizelimit 4M "$file") || return
	dd if="$d" of=/dev/null bs=4k count=3 iflag=direct status=none
	out=$("$loopctl" show "$d") || return
	echo "$out"
	grep -q "^NAME  *$d\$" <<< "$out" && grep -q "^BACK-FILE  *$file\$" <<< "$out" &&
		grep -q "^SIZELIMIT  *4M\$" <<< "$out" && grep -q "^SIZE  *2M\$" <<< "$out" &&
		grep -q "^RO  *1\$" <<< "$out" && grep -q "^UNMET  *sizelimit\$" <<< "$out" &&
		grep -q "^sizelimit  *the file ends" <<< "$out" &&
		grep -qE "^(inline|worker_[a-z]*) +[0-9]+ [a-z].*\$" <<< "$out" &&
		! grep -q "unmap_refused" <<< "$out" &&
		"$loopctl" show --bytes "$d" | grep -q "^SIZE  *2093056\$" || return
	"$loopctl" show --json "$d" |
		in_json 'd[0]["name"] == sys.argv[2] and len(d) == 1 and
			d[0]["unmet"] == "sizelimit" and d[0]["unmap_refused"] == 0 and
			d[0]["inline"] + d[0]["worker_file"] > 0' "$d" || return
	"$loopctl" list --json -O unmet "$d" | in_json 'd == [{"unmet": "sizelimit"}]' || return
	"$loopctl" detach "$d" || return
	"$loopctl" show "$d" | grep -q '^STATE  *free$' || return
	"$loopctl" show --json "$d" |
		in_json 'd[0]["unmet"] is None and d[0]["inline"] + d[0]["worker_file"] > 0' || return
	"$loopctl" show 1048575 2>/dev/null
	same "exit status without the device" 1 $? || return
	"$loopctl" show 2>/dev/null
	same "exit status without DEVICE" 2 $?
}

# stat_of_reads DEVICE: loopctl stat while the device is read
stat_of_reads()
{
	local d=$1 out

	out=$("$loopctl" stat --interval 2 "$d")
	same "exit status" 0 $? || return
	echo "$out"
	same lines 2 "$(wc -l <<< "$out")" || return
	same columns "NAME READ/S WRITE/S RKIB/S WKIB/S INLINE% CLONED% FLUSH/S FSYNC/S BACK-FILE" \
		"$(head -n 1 <<< "$out" | xargs)" || return
	[[ $out =~ $d\ +[0-9.]*[1-9][0-9.]*\ +0\.0\ .*\ +0\.0\ +0\.0\ +0\.0\ $file$ ]] ||
		return
	"$loopctl" stat --interval 2 --json --output-all "$d" |
		in_json 'd[0]["read/s"] > 0 and d[0]["rkib/s"] > 0 and d[0]["write/s"] == 0 and
			0 <= d[0]["inline%"] <= 100 and d[0]["cloned%"] == 0 and
			d[0]["back-file"] == sys.argv[2] and d[0]["seconds"] > 0' "$file"
}

# on_terminal COMMAND...: on a terminal, each table replaces the one before
on_terminal()
{
	python3 -c '
import os, pty, signal, sys
pid, fd = pty.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
out = b""
while out.count(b"NAME ") < 3:
    out += os.read(fd, 4096)
os.kill(pid, signal.SIGTERM)
os.waitpid(pid, 0)
assert out.count(b"\033[H\033[JNAME ") == out.count(b"NAME "), out
' "$@"
}

loopctl_stat()
{
	local d out status stop=$LOOP_SCRATCH/stop-reading

	d=$("$loopctl" attach "$file") || return
	while [ ! -e "$stop" ]; do
		dd if="$d" of=/dev/null bs=4k count=8 iflag=direct || break
	done > /dev/null 2>&1 &
	stat_of_reads "$d"
	status=$?
	: > "$stop"
	wait $!
	[ "$status" = 0 ] || return
	# A pipe gets three separate tables.
	same watch 3 "$("$loopctl" stat --watch --interval 0.01 "$d" |
		head -n 8 | grep -c '^NAME')" || return
	same "watch --json" 3 "$("$loopctl" stat -w -i 0.01 --json |
		head -n 3 | grep -c '^{.*}$')" &&
		same "stat --raw" "$d 0.0" \
			"$("$loopctl" stat -i 0.01 --raw --noheadings -O NAME,WRITE/S "$d")" || return
	on_terminal "$loopctl" stat -w -i 0.01 "$d" || return
	"$loopctl" detach "$d" || return
	out=$("$loopctl" stat --interval 0.01 "$d" 2>&1)
	same "exit status of a device without a file" 1 $? &&
		same message "loopctl: $d is not attached" "$out" || return
	"$loopctl" stat --interval 0 2>/dev/null
	same "exit status without an interval" 2 $?
}

if [ -x "$loopctl" ]; then
	claim "loopctl: help, wrong usage" loopctl_help
	claim "loopctl: attach, list, find, detach" loopctl_cycle
	claim "loopctl: list: columns, JSON and raw output" loopctl_columns
	claim "loopctl: show" loopctl_show
	claim "loopctl: stat" loopctl_stat
	claim "loopctl: attach --exclusive" loopctl_exclusive
	claim "loopctl: attach --require, --strict" loopctl_require
	claim "loopctl: attach: the other options" loopctl_flags
	claim "loopctl: attach --block-size auto" loopctl_gpt
	claim "loopctl: detach --wait, wait" loopctl_wait
	claim "loopctl: wait: for the release of the file" loopctl_wait_for_file
	claim "loopctl: detach --lazy" loopctl_lazy
	claim "loopctl: detach --force" loopctl_force
	claim "loopctl: detach --diskseq, --any" loopctl_diskseq
	claim "loopctl: attach FILE -- COMMAND" loopctl_held
	claim "loopctl: show --holders" loopctl_holders
	claim "loopctl: a file whose name has a line break" loopctl_line_break
	claim "loopctl: attach, and no space to print the device" loopctl_full
else
	tap_skip "loopctl" "not built"
fi

# ---- the sample program: with the new ioctl, and where there is none ----

sample=$LOOP_TEST_BIN/loop_attach

# copies HOW: the device and the file have the same data
copies()
{
	local said=$LOOP_SCRATCH/said

	"$sample" "$file" 2> "$said" | cmp - "$file" || return
	grep -qE "^$file is loop[0-9]+, by $1\$" "$said" || {
		cat "$said"
		return 1
	}
}

copies_at_a_time()
{
	local i j bad=0 pids=()

	for ((i = 0; i < 6; i++)); do
		for ((j = 0; j < 5; j++)); do
			"$sample" "$file" 2>> "$LOOP_SCRATCH/errs" | cmp - "$file" || exit 1
		done &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || bad=$((bad + 1))
	done
	same "loops that failed" 0 "$bad" || {
		grep -v ' is loop' "$LOOP_SCRATCH/errs"
		return 1
	}
	wait_for 10 nothing_attached
}

# sample HOW: makes all claims about a sample; its file is some data from this machine
sample()
{
	if [ ! -x "$sample" ]; then
		tap_skip "loop_attach" "not built"
		return
	fi
	dd if="$helper" of="$file" bs=1k count=40 conv=sync status=none
	claim "loop_attach: by $1" copies "$1"
	claim "loop_attach: several at a time, by $1" copies_at_a_time "$1"
}
sample LOOP_CTL_ATTACH

finish
trap - EXIT
claim "the module unloads" loop_unload

scratch_init || bail_out "no scratch space"
if loop_load_stock; then
	sample LOOP_CONFIGURE
else
	tap_skip "loop_attach" "no kernel's own driver"
fi
claim "the kernel's own driver unloads" loop_unload
scratch_exit
trap - EXIT

# ---- no number is left ----

# There are only 4096 numbers, as each device takes 256 minors.
full()
{
	loop_load max_part=255 && ulimit -n 8192 &&
		image /run/loop-full 1M &&
		same "the next" ENOSPC "$("$helper" full /run/loop-full)"
}
if [ "${LOOP_BESIDE_FULL:-}" ]; then
	claim "LOOP_CTL_ATTACH with all numbers in use: ENOSPC" full
	rm -f /run/loop-full
	claim "the module unloads" loop_unload
fi
tap_plan_end
