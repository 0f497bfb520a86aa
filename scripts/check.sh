#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check.sh [--long | --debug] [GROUP]...
# Builds everything and runs the test groups in tools/testing/selftests/loop/groups, or only
# each GROUP, each in a VM of its own. With --long, it runs the groups in groups.long instead,
# and with --debug also the groups in groups.debug, which replace groups of the same name.
# A line of these files is NAME|OPTIONS OF qemu/vm|COMMAND. A command "host:COMMAND" runs on
# this machine, and boots the VMs that it needs itself. A group's output is TAP.
# Environment: ARGS is added to the commands of the groups. VM_KERNEL=DIR runs them on that
# kernel, see qemu/vm, which must be built already. With LOOP_UNTIL=TIME, in seconds since
# 1970, groups that have not ended by then are stopped, and are not counted.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
tests=$top/tools/testing/selftests/loop
bin=$top/build/selftests
logs=$top/build/vm
lock=$logs/lock
kernel=$top/build/kernel
module=$top/loop.ko
if [ "${VM_KERNEL-}" ]; then
	kernel=$VM_KERNEL
	module=$kernel/loop.ko
	logs=$logs/${kernel##*/}
fi
[ ! -e "$kernel/machine" ] || bin=$bin-$(cat "$kernel/machine")
groups=$(cat "$tests/groups")
case ${1:-} in
--long)
	groups=$(cat "$tests/groups.long")
	shift
	;;
--debug)
	groups=$(cat "$tests/groups.debug" "$tests/groups" | awk -F '|' '!seen[$1]++')
	shift
	;;
esac

[ "${VM_KERNEL-}" ] || CONFIG_BLK_DEV_LOOP_INJECT=y scripts/build.sh
scripts/build-tests.sh

# With this module, a VM can sleep, and its root and console stay awake.
awake=$kernel/awake
kdir=$kernel/headers
[ ! -d "$kernel/o" ] || kdir=$kernel/o
mkdir -p "$awake"
cp -a qemu/awake/* "$awake"
if [ -e "$kernel/root" ]; then
	scripts/build-binary.sh "$kernel" "$awake"
else
	make -s --no-print-directory -C "$kdir" M="$awake" modules
fi

release=$(cat "$kernel/release")
stock=$(cd "$kernel" && echo lib/modules/"$release"/kernel/drivers/block/loop.ko*)
environment=(env LOOP_TEST_BIN="$bin" LOOP_KO="$module" LOOP_STOCK_KO="/$stock" \
	LOOP_AWAKE_KO="$awake/awake.ko")

mkdir -p "$logs"

# No other VM runs meanwhile. As many groups run at a time as there are processors, but at
# most four, as most groups keep only one processor busy.
if [ -z "${VM_LOCKED:-}" ]; then
	exec 9> "$lock"
	flock -n 9 || { echo "== waiting for another VM to end"; flock 9; }
	export VM_LOCKED=1
fi
jobs=$(nproc)
[ "$jobs" -le 4 ] || jobs=4
# The first boot makes the initramfs that all VMs share, and finds out whether KVM works.
echo "== first boot"
qemu/vm --name first --smp 1 -- true

# Reads TAP, and writes a line "pass|fail|skip NAME" for each result. Indented and commented
# lines are details. A group may run several programs, so plans add up.
read_tap() {
	awk -v group="$1" '
	/^1\.\.0/ {
		sub(/^1\.\.0[ #]*/, "")
		print "skip " group ": " $0
		plans++
	}
	/^1\.\.[1-9]/ {
		plans++
		planned += substr($1, 4)
	}
	/^(not )?ok( |$)/ {
		seen++
		what = /^not/ ? "fail" : "pass"
		if (what == "pass" && /# SKIP/)
			what = "skip"
		sub(/^(not )?ok *[0-9]* *-? */, "")
		print what " " group ": " $0
	}
	/^Bail out!/ { print "fail " group ": " $0 }
	END {
		if (!plans)
			print "fail " group ": ended without a plan"
		else if (seen != planned)
			print "fail " group ": " planned + 0 " tests planned, " seen + 0 " seen"
	}'
}

# The group's output goes to NAME.log, and its results to NAME.results.
run_group() {
	local name=$1 options=$2 command="$3${ARGS:+ $ARGS}" status=0 start=$SECONDS verdict=pass
	local log=$logs/$1.log results=$logs/$1.results vm_options=() limit=()

	[ -z "${LOOP_UNTIL-}" ] || limit=(timeout "$((LOOP_UNTIL - $(date +%s)))")
	if [[ $command == host:* ]]; then
		(cd "$tests" && exec "${limit[@]}" "${environment[@]}" bash -c "${command#host:}") \
			> "$log" 2>&1 < /dev/null || status=$?
	else
		eval "vm_options=($options)"
		"${limit[@]}" qemu/vm --name "$name" "${vm_options[@]}" -- "${environment[@]}" \
			sh -c "cd $tests && $command" > "$log" 2>&1 < /dev/null || status=$?
	fi

	# timeout has this exit status
	if [ "${LOOP_UNTIL-}" ] && [ $status = 124 ]; then
		echo "stop $name" > "$results"
		return
	fi
	read_tap "$name" < "$log" > "$results"
	case $status in 97 | 98 | 99) verdict=fail ;; esac
	echo "$verdict $name: kernel log, rmmod and leak checks" >> "$results"
	# 4 is kselftest's "skipped"
	if [ $status != 0 ] && [ $status != 4 ] && ! grep -q '^fail ' "$results"; then
		echo "fail $name: exit status $status" >> "$results"
	fi
	{
		flock 8
		echo "== $name: $command"
		cat "$log"
		echo "== $name: $((SECONDS - start)) s"
	} 8> "$logs/print.lock"
}

selected() {
	local name
	[ ${#only[@]} -gt 0 ] || return 0
	for name in "${only[@]}"; do
		[ "$name" != "$1" ] || return 0
	done
	return 1
}

only=("$@")
ran=()
rm -f "$logs"/*.results
while IFS='|' read -r name options command <&3; do
	case $name in '' | '#'*) continue ;; esac
	selected "$name" || continue
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
		wait -n
	done
	ran+=("$name")
	if [ "${LOOP_UNTIL-}" ] && [ "$(date +%s)" -ge "$LOOP_UNTIL" ]; then
		echo "stop $name" > "$logs/$name.results"
		continue
	fi
	echo "== starting $name"
	run_group "$name" "$options" "$command" 3<&- &
done 3<<< "$groups"
wait

all=$logs/all.results
: > "$all"
for name in "${ran[@]}"; do
	cat "$logs/$name.results" >> "$all" ||
		echo "fail $name: no results" >> "$all"
done
if [ ${#ran[@]} = 0 ] || { [ ${#only[@]} -gt 0 ] && [ ${#ran[@]} != ${#only[@]} ]; }; then
	echo "fail a test group that was asked for does not exist" >> "$all"
fi

# list skip|fail|stop: prints the names of these results
list() {
	sed -n "s/^$1 //p" "$all"
}

count() {
	grep -c "^$1 " "$all" || true
}

if [ "$(count skip)" != 0 ]; then
	echo "== skipped:"
	list skip
fi
if [ "$(count stop)" != 0 ]; then
	echo "== no time for:"
	list stop
fi
if [ "$(count fail)" != 0 ]; then
	echo "== failed:"
	list fail
fi
echo "$(count pass) passed, $(count fail) failed, $(count skip) skipped"
[ "$(count fail)" = 0 ]
