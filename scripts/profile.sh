#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make profile" calls this. It counts the instructions of each function of the kernel for a
# read or write of 4 KiB: two VMs do the same with different numbers of I/Os, and the
# difference is what the I/Os cost. Results go to build/bench.
# Environment: CASES has some of direct-read, direct-write and cached-read.
# KERNEL and LOOP_KO are for bench-kernel.sh.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
. "$top/scripts/bench-kernel.sh"

few=10000
many=110000
out=$out/profile
rm -rf "$out"
mkdir -p "$out"

# boot VARIANT CASE NUMBER
boot() {
	qemu/vm --name profile --icount --count --timeout 1800 -- env LOOP_KO="$ko" \
		scripts/profile-guest.sh "$@" >&2
	mv "$log/profile.run/share/symbols" "$out/$1.$2.$3.symbols"
	mv "$log/profile.run/count" "$out/$1.$2.$3.count"
}

for case in ${CASES:-direct-read direct-write cached-read}; do
	for variant in limit ours; do
		echo "== $case: $variant"
		boot $variant "$case" $few
		boot $variant "$case" $many
	done
done
scripts/profile-report.py "$out" $few $many | tee "$out.rst"
