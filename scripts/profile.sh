#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make profile" calls this. It counts the instructions of each function of the kernel for a
# read or write of 4 KiB: two VMs do the same with different numbers of I/Os, and the
# difference is what the I/Os cost. Results go to build/bench.
# Environment: KERNEL is another of Debian's kernels, named as in fetch-binary.sh, whose
# results go to build/bench/KERNEL. CASES has some of direct-read, direct-write, cached-read
# and cached-write.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
out=build/bench
log=build/vm
kernel=$top/build/kernel
ko=$top/loop.ko
if [ "${KERNEL:-}" ]; then
	scripts/deps.sh
	scripts/fetch-binary.sh "$KERNEL"
	out=$out/$KERNEL
	log=$log/$KERNEL
	kernel=$top/build/binary/$KERNEL
	ko=$kernel/loop.ko
	scripts/build-binary.sh "$kernel"
	export VM_KERNEL="$kernel"
else
	scripts/build.sh
fi
# The driver is built as users install it, as "make bench" does not measure INJECT either.
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
	for variant in limit stock ours; do
		echo "== $case: $variant"
		boot $variant "$case" $few
		boot $variant "$case" $many
	done
done
scripts/profile-report.py "$out" $few $many | tee "$out.rst"
