#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-arch.sh FLAVOUR...
# Does what check-kernels.sh does on other machines, with the newest kernel of each FLAVOUR
# in Debian 13: arm64, which has pages of 4 KiB, arm64-16k, which has pages of 16 KiB, or
# s390x, which is big-endian. These machines are emulated, and each takes an hour or more.
# Environment: GROUPS_ONLY="a b" runs only these groups.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
release=trixie

scripts/deps.sh arch
names=()
for flavour in "$@"; do
	name=$(scripts/fetch-binary.sh newest "$release" "$flavour")
	kernel=build/binary/$name
	scripts/fetch-binary.sh "$name"
	machine=$(cat "$kernel/machine")
	scripts/fetch-machine.sh "$machine" "$release"
	# shellcheck disable=SC2016 # for qemu/vm
	printf 'root=%q\ntimeout=$((timeout * 4))\n' "$top/build/roots/$release-$machine" \
		> "$kernel/options"
	names+=("$name")
done
export GROUPS_ONLY=${GROUPS_ONLY:-control attach ctl io badinput compare data conformance}
exec scripts/check-kernels.sh "${names[@]}"
