#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make bench", "make bench-smp": boots a VM in which the kernel's own driver
# and ours do the same I/O on the same files, and prints both beside what the
# file itself does. Results go to build/bench. Argument: bench or bench-smp.
# Environment: ROWS, patterns as tools/testing/selftests/loop/bench.sh takes
# them, and LOOP_KO, a module to be measured instead of the one of this checkout.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
if [ "${LOOP_KO:-}" ]; then
	ko=$(realpath "$LOOP_KO")
	cd "$top"
	scripts/deps.sh
	scripts/fetch-kernel.sh
else
	ko=$top/loop.ko
	cd "$top"
	scripts/build.sh
fi

# With --icount time is the number of instructions: the same on a busy machine.
# Two processors cannot be had that way.
name=$1
vm_options="--icount --mem 3072"
options=""
if [ "$name" = bench-smp ]; then
	vm_options="--smp 2"
	options="-s 5"
fi

echo "== booting the VM (kernel log: build/vm/$name.kmsg)"
set -f
# shellcheck disable=SC2086 # lists of words
qemu/vm --name "$name" $vm_options --timeout 2400 -- env LOOP_KO="$ko" \
	tools/testing/selftests/loop/bench.sh $options /run/vm/share ${ROWS:-}

mkdir -p build/bench
scripts/bench-report.py "build/vm/$name.run/share" "build/bench/$name" \
	"kernel=$(cat build/kernel/release)" \
	"command=make $name${ROWS:+ ROWS=\"$ROWS\"}${LOOP_KO:+ LOOP_KO=$LOOP_KO}" \
	"vm=qemu/vm $vm_options" \
	"qemu=$(qemu-system-x86_64 --version | sed -n 's/.*version \([^ ]*\).*/\1/p')" \
	"fio=$(fio --version)" \
	"commit=$(git describe --always --dirty 2>/dev/null || true)"
echo "== build/bench/$name.rst, .json$([ "$name" != bench ] || echo ', .svg; "make bench-doc" takes them into the documents')"
