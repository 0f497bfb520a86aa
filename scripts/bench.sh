#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: bench.sh bench|bench-smp
# "make bench" and "make bench-smp" call this. It boots a VM in which the kernel's own driver
# and ours do the same I/O on the same files, and prints the results of both beside those of
# the file itself. Results go to build/bench, or to build/bench/some if ROWS is not "all" or
# LOOP_KO is set.
# Environment: ROWS has patterns for tools/testing/selftests/loop/bench.sh. KERNEL and LOOP_KO
# are for bench-kernel.sh.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
name=$1
. "$top/scripts/bench-kernel.sh"

# With --icount, time is the number of instructions, the same on a busy machine. It
# allows one processor only. The files have to stay in the page cache beside the RAM disks.
vm_options="--icount --mem 8192"
options=""
if [ "$name" = bench-smp ]; then
	vm_options="--smp 2 --mem 3072"
	options="-s ${ROUNDS:-5}"
fi

echo "== booting the VM (kernel log: $log/$name.kmsg)"
set -f
# shellcheck disable=SC2086 # lists of words
qemu/vm --name "$name" $vm_options --timeout 7200 -- env LOOP_KO="$ko" \
	tools/testing/selftests/loop/bench.sh $options /run/vm/share ${ROWS:-}

# "make bench-doc" needs results of all rows and of our module, so others do not
# replace them.
[ "${ROWS:-}${LOOP_KO:-}" = all ] || out=$out/some
mkdir -p "$out"
scripts/bench-report.py "$log/$name.run/share" "$out/$name" \
	"kernel=$(cat "$kernel/release")" \
	"command=make $name${KERNEL:+ KERNEL=$KERNEL}${ROWS:+ ROWS=\"$ROWS\"}${LOOP_KO:+ LOOP_KO=$LOOP_KO}" \
	"vm=qemu/vm $vm_options" \
	"qemu=$(qemu-system-x86_64 --version | sed -n 's/.*version \([^ ]*\).*/\1/p')" \
	"fio=$(fio --version)" \
	"commit=$(git describe --always --dirty 2>/dev/null || true)"
echo "== $out/$name.rst, .json, -*.svg; \"make bench-doc\" puts those of ROWS=all into the documents"
