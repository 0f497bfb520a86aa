#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# bench.sh and profile.sh source this. It fetches the VM's kernel, or KERNEL, another of
# Debian's kernels, named as in fetch-binary.sh, and builds loop.ko for it as users install
# it, unless LOOP_KO is a module. It sets kernel and ko, and the directories of results and
# logs, out and log, and goes to the top of the checkout.
#
# shellcheck disable=SC2034,SC2154 # the scripts that source this use and set the others

[ -z "${LOOP_KO:-}" ] || LOOP_KO=$(realpath "$LOOP_KO")
cd "$top" || exit
out=build/bench
log=build/vm
kernel=$top/build/kernel
ko=${LOOP_KO:-$top/loop.ko}
if [ "${KERNEL:-}" ]; then
	scripts/deps.sh
	scripts/fetch-binary.sh "$KERNEL"
	out=$out/$KERNEL
	log=$log/$KERNEL
	kernel=$top/build/binary/$KERNEL
	ko=${LOOP_KO:-$kernel/loop.ko}
	[ "${LOOP_KO:-}" ] || scripts/build-binary.sh "$kernel"
	export VM_KERNEL="$kernel"
elif [ "${LOOP_KO:-}" ]; then
	scripts/deps.sh
	scripts/fetch-kernel.sh
else
	scripts/build.sh
fi
