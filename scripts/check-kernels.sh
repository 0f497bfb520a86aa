#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-kernels.sh [NAME]...
# Builds loop.ko for each of Debian's binary kernels from 6.12 on, or only for each NAME, see
# fetch-binary.sh, and runs the test groups on it: all groups on the oldest and the newest
# kernel, and some on the others. It prints a table at the end.
# Environment: GROUPS_ONLY="a b" runs only these groups on each kernel.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
some=(conformance data unload paths losetup ctl io attach control uevents)
logs=$top/build/vm

scripts/deps.sh tests
mapfile -t names < <([ $# = 0 ] && scripts/fetch-binary.sh list || printf '%s\n' "$@")
[ ${#names[@]} -gt 0 ] || { echo "$0: no kernel" >&2; exit 1; }

release() {
	cat "build/binary/$1/release"
}

# A kernel that cannot be downloaded or built counts as one failure.
rows=()
row() {
	rows+=("$(printf '%-20s %-26s %7s %7s %8s  %s' "$@")")
}

passed=0 failed=0 skipped=0 there=()
for name in "${names[@]}"; do
	if scripts/fetch-binary.sh "$name"; then
		there+=("$name")
	else
		row "$name" - - 1 - "cannot be downloaded"
		failed=$((failed + 1))
	fi
done
mapfile -t order < <(for name in "${there[@]}"; do
	echo "$(release "$name") $name"
done | sort -V | cut -d ' ' -f 2)

# groups_for NAME: prints the groups to run on that kernel, or nothing for all groups
groups_for() {
	if [ "${GROUPS_ONLY-}" ]; then
		echo "$GROUPS_ONLY"
	elif [ $# -gt 0 ] && [ "$1" != "${order[0]}" ] && [ "$1" != "${order[-1]}" ]; then
		echo "${some[*]}"
	fi
}

# count pass|fail|skip FILE
count() {
	grep -c "^$1 " "$2" || true
}

check() {
	local name=$1 results=$logs/$1/all.results groups p f s

	echo "== $name: $(release "$name")"
	if ! CONFIG_BLK_DEV_LOOP_INJECT=y scripts/build-binary.sh "build/binary/$name"; then
		row "$name" "$(release "$name")" - 1 - "does not build"
		failed=$((failed + 1))
		return
	fi
	if ! modprobe -q -d "build/binary/$name" -S "$(release "$name")" \
		--show-depends 9p > /dev/null; then
		row "$name" "$(release "$name")" - - 1 "builds; lacks 9p, which a VM needs for its root"
		skipped=$((skipped + 1))
		return
	fi
	rm -f "$results"
	read -ra groups <<< "$(groups_for "$name")"
	VM_KERNEL=$top/build/binary/$name scripts/check.sh "${groups[@]}" || true
	[ -e "$results" ] || echo "fail the suite ended without results" > "$results"
	p=$(count pass "$results") f=$(count fail "$results") s=$(count skip "$results")
	row "$name" "$(release "$name")" "$p" "$f" "$s" "${groups[*]:-all groups}"
	while read -r what text; do
		[ "$what" = pass ] || rows+=("    $what $text")
	done < "$results"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

for name in "${order[@]}"; do
	check "$name"
done

echo
printf '%-20s %-26s %7s %7s %8s  %s\n' kernel release passed failed skipped groups
printf '%s\n' "${rows[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
