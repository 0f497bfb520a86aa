#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-arch.sh FLAVOUR...
# Builds loop.ko and the test programs for other machines, and runs test groups
# there, on the newest kernel that Debian 13 has of each FLAVOUR: arm64, whose
# pages are 4 KiB, arm64-16k, or s390x, which is big-endian. All is emulated, and
# takes an hour for each. At the end a table.
# Environment: GROUPS_ONLY="a b", to run those.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
release=trixie
groups=(control attach ctl io badinput compare data conformance)
[ -z "${GROUPS_ONLY-}" ] || read -ra groups <<< "$GROUPS_ONLY"

scripts/deps.sh arch
rows=()
failed=0

# count pass|fail|skip
count() {
	grep -c "^$1 " "$results" || true
}

check() {
	local name=$1 kernel=$top/build/binary/$1 results=$top/build/vm/$1/all.results

	scripts/fetch-binary.sh "$name"
	scripts/fetch-machine.sh "$(cat "$kernel/machine")" "$release"
	# shellcheck disable=SC2016 # for qemu/vm
	printf 'root=%q\ntimeout=$((timeout * 4))\n' \
		"$top/build/roots/$release-$(cat "$kernel/machine")" > "$kernel/options"
	scripts/build-binary.sh "$kernel"
	rm -f "$results"
	VM_KERNEL=$kernel scripts/check.sh "${groups[@]}" || true
	[ -e "$results" ] || echo "fail the suite ended without results" > "$results"
	rows+=("$(printf '%-22s %-26s %7s %7s %8s' "$name" "$(cat "$kernel/release")" \
		"$(count pass)" "$(count fail)" "$(count skip)")")
	failed=$((failed + $(count fail)))
	while read -r what text; do
		[ "$what" = pass ] || rows+=("    $what $text")
	done < "$results"
}

for flavour in "$@"; do
	name=$(scripts/fetch-binary.sh newest "$release" "$flavour")
	echo "== $name"
	check "$name"
done

echo
printf '%-22s %-26s %7s %7s %8s\n' kernel release passed failed skipped
printf '%s\n' "${rows[@]}"
[ $failed = 0 ]
