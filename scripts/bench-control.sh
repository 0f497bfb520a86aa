#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make bench-control": measures adding, attaching, finding and removing devices with the
# kernel's own driver and with ours. Calls are measured where time is the number of
# instructions; the rows that need two processors run in a second VM.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
scripts/build.sh
# The VM cannot build these, as it cannot write to the checkout.
scripts/build-tests.sh bench_control

out=build/bench/control
mkdir -p build/bench

# run NAME OPTIONS-OF-VM ARGUMENT
run()
{
	# shellcheck disable=SC2086 # a list of options
	qemu/vm --name "$1" $2 --timeout 1800 -- env LOOP_KO="$top/loop.ko" \
		LOOP_TEST_BIN="$top/build/selftests" \
		tools/testing/selftests/loop/bench-control.sh $3 |
		awk -F '\t' 'NF == 4' >> $out.tsv
}

: > $out.tsv
echo "== booting the VM (kernel log: build/vm/bench-control.kmsg)"
run bench-control "--icount --mem 6144" ""
echo "== booting the VM (kernel log: build/vm/bench-control-smp.kmsg)"
run bench-control-smp "--smp 2" -s

awk -F '\t' -v kernel="$(cat build/kernel/release)" '
	BEGIN {
		line = "======================================== ==== =========== =========== ==========="
		format = "%-40s %-4s %11s %11s %11s\n"
		print "On Linux " kernel ":\n"
		print line
		printf format, "", "", "stock", "ours", "ours/stock"
		print line
	}
	{
		ratio = $3 > 0 ? sprintf("%.2f", $4 / $3) : "-"
		printf format, $1, $2, $3, $4, ratio
	}
	END { print line }
' $out.tsv | tee $out.rst
