#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds everything and runs the test groups listed in
# tools/testing/selftests/loop/groups, or those named, each in a VM of its own.
# A line there is NAME|OPTIONS OF qemu/vm|COMMAND; a command "host:COMMAND" runs
# on this machine, and boots the VMs it needs itself. A group's output is TAP.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
tests=$top/tools/testing/selftests/loop
bin=$top/build/selftests
logs=$top/build/vm

scripts/build.sh
scripts/fetch-source.sh
echo "== building the test programs"
make -s --no-print-directory -C "$tests" OUTPUT="$bin" \
	KSFT_DIR="$top/build/linux-source/tools/testing/selftests"

release=$(cat build/kernel/release)
stock=$(cd build/kernel && echo lib/modules/"$release"/kernel/drivers/block/loop.ko*)
environment=(env LOOP_TEST_BIN="$bin" LOOP_KO="$top/loop.ko" LOOP_STOCK_KO="/$stock")

passed=0
failed=()
skipped=()
results=$logs/results
mkdir -p "$logs"

# Reads TAP, writes a line "pass|fail|skip NAME" for each result to $results.
# Indented and commented lines are details of others. Several plans add up, as
# a group may run several programs.
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
	}' > "$results"
}

run_group() {
	local name=$1 options=$2 command=$3 log=$logs/$1.log status=0 start=$SECONDS
	local what text before=${#failed[@]} vm_options=()

	echo "== $name: $command"
	if [[ $command == host:* ]]; then
		(cd "$tests" && exec "${environment[@]}" bash -c "${command#host:}") \
			2>&1 | tee "$log" || status=${PIPESTATUS[0]}
	else
		eval "vm_options=($options)"
		qemu/vm --name "$name" "${vm_options[@]}" -- "${environment[@]}" \
			sh -c "cd $tests && $command" 2>&1 | tee "$log" || status=${PIPESTATUS[0]}
	fi

	read_tap "$name" < "$log"
	if [[ $command != host:* ]]; then
		what=pass
		case $status in 97 | 98 | 99) what=fail ;; esac
		echo "$what $name: kernel log, rmmod and leak checks" >> "$results"
	fi
	while read -r what text; do
		case $what in
		pass) passed=$((passed + 1)) ;;
		fail) failed+=("$text") ;;
		skip) skipped+=("$text") ;;
		esac
	done < "$results"
	# 4 is kselftest's "skipped".
	if [ "$status" != 0 ] && [ "$status" != 4 ] && [ ${#failed[@]} = "$before" ]; then
		failed+=("$name: exit status $status")
	fi
	echo "== $name: $((SECONDS - start)) s"
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
ran=0
# Not on stdin, which the groups would read.
while IFS='|' read -r name options command <&3; do
	case $name in '' | '#'*) continue ;; esac
	selected "$name" || continue
	run_group "$name" "$options" "$command" 3<&-
	ran=$((ran + 1))
done 3< "$tests/groups"
if [ $ran = 0 ] || { [ ${#only[@]} -gt 0 ] && [ $ran != ${#only[@]} ]; }; then
	failed+=("a test group that was asked for does not exist")
fi

if [ ${#skipped[@]} -gt 0 ]; then
	echo "== skipped:"
	printf '%s\n' "${skipped[@]}"
fi
if [ ${#failed[@]} -gt 0 ]; then
	echo "== failed:"
	printf '%s\n' "${failed[@]}"
fi
echo "$passed passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
[ ${#failed[@]} = 0 ]
