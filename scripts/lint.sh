#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# "make lint" runs checkpatch, sparse and shellcheck on all files, and checks the calls
# between the rooms of the driver, and the documents: whether they agree with the code, and
# whether Sphinx and mandoc accept them. It prints the names of its steps ("== ...") and its
# findings. A finding makes it fail.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
scripts/deps.sh
scripts/fetch-kernel.sh
scripts/fetch-source.sh
shopt -s nullglob globstar
status=0

echo "== checkpatch"
# These do not apply to the driver outside a tree:
# UNDOCUMENTED_SETUP	looks a parameter up in the tree's documentation
# ENOSYS		is part of the ABI, for unknown commands of the control device
# CONSIDER_COMPLETION	tasks that wait for a completion need not go on in order
checkpatch() {
	perl build/linux-source/scripts/checkpatch.pl --no-tree --strict --quiet \
		--no-summary --terse --show-types --ignore "$1" -f "${@:2}" || status=1
}
checkpatch UNDOCUMENTED_SETUP,ENOSYS,CONSIDER_COMPLETION drivers/block/*.c \
	drivers/block/loop/*.[ch] include/linux/*.h include/uapi/linux/*.h compat/*.h qemu/*/*.c
# Tracepoints are not written as C is.
checkpatch OPEN_ENDED_LINE,COMPLEX_MACRO,PARENTHESIS_ALIGNMENT include/trace/events/*.h
# These do not apply to programs, which have only the C library's headers:
# CAMELCASE		complains about names of C itself, like PRIx64 and _Noreturn
# PREFER_DEFINED_ATTRIBUTE_MACRO	wants macros like __aligned, which programs lack
# MACRO_ARG_REUSE	complains about macros whose arguments have no side effects
# ENOSYS		see above
checkpatch CAMELCASE,PREFER_DEFINED_ATTRIBUTE_MACRO,MACRO_ARG_REUSE,ENOSYS samples/loop/*.c \
	tools/loop/*.[ch] tools/testing/selftests/loop/*.[ch]
# Of these, the first is as above:
# AVOID_EXTERNS	Debian has no header for what this declares
# PREFER_KERNEL_TYPES	the types are those of QEMU
checkpatch CAMELCASE,AVOID_EXTERNS,PREFER_KERNEL_TYPES qemu/count.c

echo "== sparse"
# With -s, the output is warnings only, also of the compiler. sparse warns about the kernel's
# own headers, too. The build is the one for tests, which has all rooms.
found=$(make -s --no-print-directory KDIR=build/kernel/headers CONFIG_BLK_DEV_LOOP_INJECT=y \
	C=2 W=1 2>&1) || status=1
found=$(grep -vE "^($top/)?build/kernel/" <<< "$found" || true)
if [ "$found" ]; then
	echo "$found"
	status=1
fi

echo "== rooms"
scripts/check-rooms.py || status=1

echo "== shellcheck"
shellcheck -x -P SCRIPTDIR scripts/*.sh qemu/vm qemu/*-init .ci/run completions/loopctl \
	debian/usable debian/report debian/build debian/hook debian/*.p{ostinst,rerm} tools/testing/selftests/loop/*.sh || status=1

echo "== documents"
scripts/check-docs.py || status=1
scripts/htmldocs.sh || status=1
mandoc -T lint man/* || status=1
exit $status
