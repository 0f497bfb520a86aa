#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The programs of samples/loop, each an example of a user of the control device, with
# udevd, losetup and mount beside them: a mount, a device that is locked before it is
# announced, a container manager, a build system.

# claims call functions by name, sh -c its own variables
# shellcheck disable=SC2016,SC2317,SC2119

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd losetup mkfs.ext4 mount umount sfdisk flock udevadm blkid
for program in loop_mount loop_hold loop_delegate loop_build; do
	[ -x "$LOOP_TEST_BIN/$program" ] || skip_all "$program is not built"
done
tap_start

rules=/run/udev/rules.d
log=/run/loop-rules.log
said=/run/loop-users.out
tool=../../../loop

finish()
{
	loop_detach_all
	udev_settle
	udev_stop
	rm -rf "$rules" "$log" "$said"
	scratch_exit
}

scratch_init || bail_out "no scratch space"
trap finish EXIT

# A rule logs each event of a loop device.  It comes after the rules of the distribution,
# which call blkid, and after that of this project.
mkdir -p "$rules"
cp "$tool/60-loop-internal.rules" "$rules"
cat > "$rules/99-loop-test.rules" <<-END
	SUBSYSTEM=="block", KERNEL=="loop*", \\
		RUN+="/bin/sh -c 'echo \$env{ACTION} %k \$env{ID_PART_TABLE_TYPE} >> $log'"
END
udev_start
loop_load || bail_out "the module does not load"
udev_settle

fs=$LOOP_SCRATCH/fs.img
disk=$LOOP_SCRATCH/disk.img
at=$LOOP_SCRATCH/at
mkdir "$at"
image "$fs" 8M
mkfs.ext4 -q -F "$fs"
image "$disk" 8M
printf 'label: gpt\nsize=1MiB\nsize=1MiB\n' | sfdisk -q "$disk"

# rules_ran [PATTERN]: prints the events of loop devices since the last call of quiet
rules_ran()
{
	udev_settle
	grep -E "${1:-.}" "$log"
}

quiet()
{
	udev_settle
	: > "$log"
}

property()
{
	udevadm info --query=property --name="$1" | sed -n "s/^$2=//p"
}

# ---- a mount ----

mounts()
{
	local node

	node=$("$LOOP_TEST_BIN/loop_mount" "$fs" "$at" ext4) || return
	same "mounted device" "$node" "$(findmnt -n -o SOURCE "$at")" &&
		same file "$fs" "$(attr "$node" backing_file)" &&
		same autoclear 1 "$(attr "$node" autoclear)" &&
		echo "$1" > "$at/file" && umount "$at" && wait_for 10 is_free "$node"
}
claim "a mount: autoclear keeps the device after the lease, until umount" mounts data

mount_fails()
{
	"$LOOP_TEST_BIN/loop_mount" "$fs" "$at" xfs 2> "$said"
	same "exit status" 1 $? && grep -q ": mount: " "$said" && wait_for 10 nothing_attached
}
claim "a mount that fails leaves nothing" mount_fails

losetup_after()
{
	local d

	d=$(losetup -f --show "$fs") && detach "$d"
}
claim "losetup has the file afterwards" losetup_after

# ---- quiet until ready ----

loopctl=$LOOP_TEST_BIN/loopctl

# What COMMAND of "loopctl attach --hold" does. "udevadm test" handles an event as if the
# device were new, and finds no partition table.
held()
{
	local name=${LOOP_DEVICE##*/} tested

	sleep 1
	same "rules that ran before" "" "$(rules_ran)" &&
		same "openers before" 0 "$("$loopctl" list -n -O OPENERS "$LOOP_DEVICE" | xargs)" &&
		same "partitions before" "" "$(find "/sys/block/$name/" -maxdepth 1 -name "${name}p*")" &&
		same flags "lease,hold" "$("$loopctl" list -n -O FLAGS "$LOOP_DEVICE")" &&
		same held 1 "$(cat "/sys/block/$name/loop/held")" || return
	tested=$(timeout 60 udevadm test --action=add "/sys/block/$name" 2>&1)
	grep -q "UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG=1" <<< "$tested" &&
		! grep "ID_PART_TABLE_TYPE=" <<< "$tested" &&
		"$loopctl" announce && same held 0 "$(cat "/sys/block/$name/loop/held")" || return
	udev_settle
	cat "$log"
	grep -q "^change $name gpt$" "$log" &&
		grep -q "^add ${name}p2$" "$log" || return
	same flags "lease" "$("$loopctl" list -n -O FLAGS "$LOOP_DEVICE")" || return
	"$loopctl" announce 2>&1 | grep -q "already"
}

hold()
{
	quiet
	"$loopctl" attach --hold --partscan "$disk" -- bash -c held
}

hold_and_go()
{
	quiet
	"$loopctl" attach --hold --partscan "$disk" -- sleep 0.5
	same "exit status" 0 $? && wait_for 10 nothing_attached &&
		same "rules that ran" "" "$(rules_ran)"
}

export -f held same rules_ran udev_settle wait_for
export loopctl log
if [ -x "$loopctl" ]; then
	claim "loopctl attach --hold: no rule runs and blkid opens nothing before announce" hold
	claim "a lease that goes before that: nothing was ever announced" hold_and_go
fi

# loop_hold COMMAND...: runs it while the program has the device of $disk, in $node
with_hold()
{
	local pid status

	rm -f "$LOOP_SCRATCH/in"
	mkfifo "$LOOP_SCRATCH/in"
	: > "$said"
	"$LOOP_TEST_BIN/loop_hold" "$disk" < "$LOOP_SCRATCH/in" > "$said" 2>&1 &
	pid=$!
	exec 8> "$LOOP_SCRATCH/in"
	wait_for 10 test -s "$said" && node=$(< "$said") && "$@"
	status=$?
	exec 8>&-
	wait "$pid"
	hold_status=$?
	return "$status"
}

locked()
{
	same "exclusive lock" 1 "$(flock -x -n "$node" true; echo $?)" &&
		flock -s -n "$node" true && rules_ran "change ${node##*/} gpt" > /dev/null &&
		[ -b "${node}p2" ] && same "partition table" gpt "$(property "$node" ID_PART_TABLE_TYPE)"
}

keeps_lock()
{
	with_hold locked && same "exit status" 0 "$hold_status" && wait_for 10 nothing_attached
}
claim "a device that is locked before it is known; udev comes to it later" keeps_lock

forced()
{
	"$loopctl" detach --force "$node"
}

is_told()
{
	with_hold forced && same "exit status" 1 "$hold_status" &&
		grep -q "^loop_hold: $node has been detached\$" "$said" && wait_for 10 nothing_attached
}
[ ! -x "$loopctl" ] || claim "its lease tells that it was detached by force" is_told

# What COMMAND of "loopctl attach --lock exclusive" does
udev_waits()
{
	sleep 1
	same "what udev knows" "" "$(udevadm info --query=property --name="$LOOP_DEVICE" |
		grep "^ID_PART_TABLE_TYPE=")"
}

lock()
{
	export -f udev_waits same
	quiet
	"$loopctl" attach --lock exclusive --ephemeral --partscan "$disk" -- bash -c udev_waits
}
[ ! -x "$loopctl" ] || claim "loopctl attach --lock exclusive: udev does not look at it" lock

# ---- delegation ----

delegates()
{
	local size=$((16 << 20))

	rm -f "$LOOP_SCRATCH/grows"
	image "$LOOP_SCRATCH/grows" 8M
	"$LOOP_TEST_BIN/loop_delegate" "$LOOP_SCRATCH/grows" "$size" > "$said" || {
		cat "$said"
		return 1
	}
	cat "$said"
	same "before" 1 "$(grep -c "^/dev/loop[0-9]* has $((8 << 20)) bytes$" "$said")" &&
		same "after" 1 "$(grep -c "^/dev/loop[0-9]* has $size bytes$" "$said")" &&
		same "by" 1 "$(grep -c "^user 65534 has resized the device [0-9]*$" "$said")" &&
		wait_for 10 nothing_attached
}
claim "a container manager: a process without rights resizes by the lease" delegates

# marked DEVICE UDISKS_IGNORE SYSTEMD_READY: of the disk and a partition
marked()
{
	local name

	udev_settle
	for name in "$1" "${1}p1"; do
		same "UDISKS_IGNORE of $name" "$2" "$(property "$name" UDISKS_IGNORE)" &&
			same "SYSTEMD_READY of $name" "$3" "$(property "$name" SYSTEMD_READY)" || return
	done
}

internal()
{
	local d

	d=$("$loopctl" attach --internal --partscan "$disk") &&
		same internal 1 "$(attr "$d" internal)" && marked "$d" 1 0 &&
		"$loopctl" detach --wait "$d" &&
		same again "$d" "$("$loopctl" attach --index "$d" --partscan "$disk")" &&
		same internal 0 "$(attr "$d" internal)" && marked "$d" "" "" &&
		"$loopctl" detach --wait "$d"
}
[ ! -x "$loopctl" ] || claim "desktops ignore an internal device, and not the next one" internal

# ---- a build system ----

number_is_gone()
{
	same devices "$1" "$(numbers)" > /dev/null
}

# A slow machine may need more time for the removal than the program gives it.
builds()
{
	local before

	before=$(numbers)
	image "$LOOP_SCRATCH/built" 8M
	"$LOOP_TEST_BIN/loop_build" "$LOOP_SCRATCH/built" \
		sh -c 'mkfs.ext4 -q $LOOP_DEVICE && echo $LOOP_DEVICE' > "$said" &&
		blkid -p -o value -s TYPE "$LOOP_SCRATCH/built" | grep -qx ext4 || return
	nothing_attached && wait_for 10 number_is_gone "$before"
}
claim "a build system: a device for a command, gone when the program has ended" builds

exclusive()
{
	image "$LOOP_SCRATCH/built" 8M
	"$LOOP_TEST_BIN/loop_build" "$LOOP_SCRATCH/built" \
		losetup -f --show "$LOOP_SCRATCH/built" 2> "$said"
	same "exit status" 1 $? && grep -q "busy" "$said" && nothing_attached
}
claim "losetup cannot attach its image meanwhile" exclusive

build_killed()
{
	local before pid command=$LOOP_SCRATCH/command

	before=$(numbers)
	"$LOOP_TEST_BIN/loop_build" "$LOOP_SCRATCH/built" \
		sh -c 'echo $$ > '"$command"'; exec sleep 1000' &
	pid=$!
	wait_for 10 test -s "$command" && kill -KILL "$pid" || return
	wait "$pid"
	wait_for 10 nothing_attached && wait_for 10 number_is_gone "$before" &&
		kill "$(< "$command")"
}
claim "a build that is killed leaves nothing" build_killed

# The program waits for ten seconds.
build_in_use()
{
	"$LOOP_TEST_BIN/loop_build" "$LOOP_SCRATCH/built" \
		sh -c 'exec 3< $LOOP_DEVICE; sleep 100 > /dev/null 2>&1 & echo $!' > "$LOOP_SCRATCH/pid" 2> "$said"
	same "exit status" 0 $? && grep -q "detached by force" "$said" &&
		kill "$(< "$LOOP_SCRATCH/pid")" && wait_for 10 nothing_attached
}
claim "a device that is in use is detached by force at the deadline" build_in_use

# ---- all of them, with losetup and mount beside ----

rounds=4

mount_user()
{
	local i dir=$LOOP_SCRATCH/at-$1

	mkdir -p "$dir"
	image "$LOOP_SCRATCH/fs-$1" 8M
	mkfs.ext4 -q -F "$LOOP_SCRATCH/fs-$1" || return
	for ((i = 0; i < rounds; i++)); do
		"$LOOP_TEST_BIN/loop_mount" "$LOOP_SCRATCH/fs-$1" "$dir" ext4 > /dev/null || return
		[ "$i" = 0 ] || same content "$i" "$(< "$dir/file")" || return
		echo $((i + 1)) > "$dir/file"
		umount "$dir" || return
	done
}

hold_user()
{
	local i

	for ((i = 0; i < rounds; i++)); do
		cp --sparse=always "$disk" "$LOOP_SCRATCH/disk-$1"
		"$LOOP_TEST_BIN/loop_hold" "$LOOP_SCRATCH/disk-$1" < /dev/null > /dev/null || return
	done
}

delegate_user()
{
	local i

	for ((i = 0; i < rounds; i++)); do
		image "$LOOP_SCRATCH/grows-$1" 4M
		"$LOOP_TEST_BIN/loop_delegate" "$LOOP_SCRATCH/grows-$1" 8388608 > /dev/null || return
	done
}

build_user()
{
	local i

	for ((i = 0; i < rounds; i++)); do
		image "$LOOP_SCRATCH/built-$1" 8M
		"$LOOP_TEST_BIN/loop_build" "$LOOP_SCRATCH/built-$1" \
			sh -c 'mkfs.ext4 -q $LOOP_DEVICE' || return
	done
}

losetup_user()
{
	losetup_cycles "$LOOP_SCRATCH/old-$1" "$rounds"
}

plain_mount_user()
{
	local i dir=$LOOP_SCRATCH/plain-at-$1

	mkdir -p "$dir"
	image "$LOOP_SCRATCH/plain-$1" 8M
	mkfs.ext4 -q -F "$LOOP_SCRATCH/plain-$1" || return
	for ((i = 0; i < rounds; i++)); do
		mount -o loop "$LOOP_SCRATCH/plain-$1" "$dir" && umount "$dir" || return
	done
}

together()
{
	local user pids=() names=() i bad=0

	for user in mount_user hold_user delegate_user build_user losetup_user plain_mount_user; do
		"$user" "$user" &
		pids+=($!)
		names+=("$user")
	done
	for i in "${!pids[@]}"; do
		wait "${pids[i]}" || {
			echo "failed: ${names[i]}"
			bad=$((bad + 1))
		}
	done
	same "users that failed" 0 "$bad" && wait_for 20 nothing_attached
}
claim "all four at the same time, beside losetup and mount" together

test_end
