#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-patch.sh VERSION [PATTERN]
# Makes build/loop-VERSION.patch, applies it to the pristine tree with "git am", and runs
# checkpatch, the compilers and sparse on each step of the series and each configuration.
# Prints "ok", "not ok" or "skip" for each, and the findings in the driver's own files.
# With PATTERN, an extended regex, it does only the checks whose names match. Its files are
# in build/linux-VERSION: the patched tree in tree/, build directories in o/, make's output
# in log/.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
version=${1:?usage: $0 VERSION [PATTERN]}
pattern=${2-}
scripts/deps.sh kernel
scripts/fetch-cross.sh
scripts/patch.sh "$version"
dir=$top/build/linux-$version
tree=$dir/tree
patch=$top/build/loop-$version.patch
jobs=$(nproc)

exec 9> "$dir/lock"
flock -n 9 || { echo "== waiting for another check of this tree"; flock 9; }
rm -rf "$dir/log"
mkdir -p "$dir/o" "$dir/log"

passed=0
failed=0
skipped=0

skip() {
	skipped=$((skipped + 1))
	echo "skip $1: $2"
}

selected() {
	[[ $1 =~ $pattern ]]
}

# check NAME COMMAND...: ok if it succeeds and says nothing
check() {
	local name=$1 found

	shift
	selected "$name" || return 0
	if found=$("$@" 2>&1) && [ -z "$found" ]; then
		passed=$((passed + 1))
		echo "ok $name"
	else
		failed=$((failed + 1))
		echo "not ok $name"
		head -n 40 <<< "${found:-failed}" | sed 's/^/    /'
	fi
}

# ---- the tree ----

# git replaces a file that it changes by a new one, so the pristine files, which are hard
# links, stay as they are. The repository has only the files that the patch changes.
echo "== applying build/loop-$version.patch"
rm -rf "$tree"
cp -al "$dir/src" "$tree"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
in_tree() {
	git -C "$tree" -c user.name=check -c user.email=check@localhost "$@"
}
in_tree init -q -b check
in_tree apply --numstat "$patch" | cut -f 3 | sort -u | while read -r file; do
	[ ! -e "$tree/$file" ] || in_tree add -f "$file"
done
in_tree commit -qm pristine
in_tree tag pristine
in_tree am -q "$patch"
check "git am" true
mapfile -t commits < <(in_tree rev-list --reverse pristine..)

# This runs in the pristine tree, as checkpatch in a repository needs Python modules that may
# be missing. As in "make lint", two rules do not apply, and some are not for tracepoints and
# programs. Some are for C, and checkpatch applies them to shell and documents, too.
one_checkpatch() {
	in_tree format-patch -q --stdout -1 "$1" |
		(cd "$dir/src" && perl scripts/checkpatch.pl --strict --quiet \
			--no-summary --terse --showfile --show-types \
			--ignore ENOSYS,CONSIDER_COMPLETION -) |
		grep -vE -e '^include/trace/.*:(OPEN_ENDED_LINE|COMPLEX_MACRO|PARENTHESIS_ALIGNMENT):' \
			-e '^tools/.*\.[ch]:.*:(CAMELCASE|PREFER_DEFINED_ATTRIBUTE_MACRO|MACRO_ARG_REUSE):' \
			-e '^tools/.*\.(sh|rst):.*:(LONG_LINE.*|REPEATED_WORD):' || true
}

for commit in "${commits[@]}"; do
	check "checkpatch: $(in_tree log -1 --format=%s "$commit")" \
		one_checkpatch "$commit"
done

header_doc() {
	(cd "$tree" && scripts/kernel-doc -none -Wall include/uapi/linux/loop.h)
}
check "kernel-doc of the header" header_doc

# Fails if the series has words about this repository, which a tree does not have.
harness() {
	! in_tree diff pristine | grep '^+' | grep -E \
		-e 'qemu/|build/|compat/|this repository|loop-(dkms|tools)|powercut' \
		-e 'make (check|bench|demo|lint|deb|install|uninstall)' \
		-e 'check-(long|debug|package|patch)'
}
check "nothing of the harness" harness

# ---- compiling ----

clang="clang-19"

# Sets kbuild, the command, and o for an architecture and a compiler.
target() {
	local cc=$2 cross=

	[ "$cc" != clang ] || cc=$clang
	if [ "$1" = arm64 ]; then
		cross=aarch64-linux-gnu-
		[ "$cc" != gcc ] || cc=$top/build/cross/usr/bin/${cross}gcc-12
	fi
	o=$dir/o/$1-$2
	kbuild=(make -s --no-print-directory -C "$tree" "O=$o" "-j$jobs"
		"ARCH=$1" "CROSS_COMPILE=$cross" "CC=$cc" W=1)
}

# The newest trees reject sparse of Debian 12 as too old. sparse.h makes it work.
sparse=sparse
valid=$tree/scripts/checker-valid.sh
if [ -e "$valid" ] && [ "$("$valid" sparse)" != 1 ]; then
	sparse="sparse -include $top/scripts/patch/sparse.h"
fi

# configure BASE [OPTION=VALUE]...: false if the tree does not allow one
configure() {
	local option

	"${kbuild[@]}" "$1" &&
		printf 'CONFIG_%s\n' WERROR=n "${@:2}" >> "$o/.config" &&
		"${kbuild[@]}" olddefconfig || return
	unmet=
	for option in "${@:2}"; do
		case $option in
		*=n) ! grep -q "^CONFIG_${option%=n}=" "$o/.config" ;;
		*) grep -qx "CONFIG_$option" "$o/.config" ;;
		esac || unmet="$unmet $option"
	done
	[ -z "$unmet" ]
}

# Prints only findings in our files, as sparse also has findings in the kernel's headers.
ours() {
	grep -E '(drivers/block/loop(/[a-z./]+)?\.[ch]|(linux|events)/loop\.h):[0-9]+|error:|Error [0-9]' ||
		true
}

# object LOG: compiles the driver, and prints findings of the compiler and sparse
object() {
	local status=0 source objects=("$o/drivers/block/loop.o")

	for source in "$tree"/drivers/block/loop/*.c; do
		source=${source#"$tree"/}
		[ "${source##*/}" != inject.c ] ||
			grep -q "^CONFIG_BLK_DEV_LOOP_INJECT=y" "$o/.config" || continue
		objects+=("$o/${source%.c}.o")
	done
	rm -f "${objects[@]}"
	"${kbuild[@]}" prepare > "$1" 2>&1 || { tail -n 20 "$1"; return 1; }
	"${kbuild[@]}" C=1 CHECK="$sparse" drivers/block/loop/ > "$1" 2>&1 || status=1
	grep "not available or not up to date" "$1" || ours < "$1"
	ls "${objects[@]}" > /dev/null || return 1
	# A 64-bit division by a function of gcc does not link on 32-bit machines.
	nm -u "${objects[@]}" | grep -E ' __u?(div|mod|divmod)[dt]i[34]$' ||
		return $status
	return 1
}

# compile ARCH COMPILER BASE [OPTION=VALUE]...
compile() {
	local name="$1 $2 $3 ${*:4}" log

	selected "$name" || return 0
	target "$1" "$2"
	log="$dir/log/${name//[^a-zA-Z0-9=_-]/,}"
	if configure "${@:3}" > "$log" 2>&1; then
		check "$name" object "$log"
	elif [ "${unmet-}" ]; then
		skip "$name" "this tree does not allow$unmet"
	else
		check "$name" false
	fi
}

# Builds the driver at one step of the series.
build_step() {
	local status=0 goal=drivers/block/loop/

	in_tree checkout -q "$1"
	[ -d "$tree/$goal" ] || goal=drivers/block/loop.o
	configure defconfig BLK_DEV_LOOP=y > "$log" 2>&1 || true
	"${kbuild[@]}" prepare $goal > "$log" 2>&1 || status=1
	[ $status = 0 ] || tail -n 20 "$log"
	return $status
}

target x86_64 gcc
log=$dir/log/steps
for commit in "${commits[@]}"; do
	in_tree diff --quiet "$commit^" "$commit" -- drivers include ||
		check "builds at: $(in_tree log -1 --format=%s "$commit")" \
			build_step "$commit"
done
in_tree checkout -q check

# Checks that sparse finds an error: otherwise "no finding" means nothing.
planted() {
	local status=0

	echo 'int loop_planted(void __user *p); int loop_planted(void __user *p) { return *(int *)p; }' \
		>> "$tree/drivers/block/loop.c"
	configure defconfig BLK_DEV_LOOP=y > "$log" 2>&1 || true
	object "$log" | grep -q 'loop\.c:.*cast removes address space' || status=1
	in_tree checkout -q drivers/block/loop.c
	return $status
}
check "sparse finds a planted error" planted

for cc in gcc clang; do
	for arch in x86_64 i386 arm64; do
		compile $arch $cc defconfig BLK_DEV_LOOP=y
		compile $arch $cc defconfig BLK_DEV_LOOP=m
	done
	for options in \
		BLK_CGROUP=n \
		MEMCG=y \
		MEMCG=n \
		"CGROUPS=n BLK_CGROUP=n MEMCG=n" \
		"IA32_EMULATION=n COMPAT=n" \
		"MD=n BLOCK_LEGACY_AUTOLOAD=n" \
		"EXPERT=y SYSFS=n" \
		BLK_DEV_LOOP_INJECT=y \
		MODULES=n \
		SMP=n \
		"PREEMPT=y PROVE_LOCKING=y DEBUG_ATOMIC_SLEEP=y" \
		"EXPERT=y PREEMPT_RT=y"; do
		# shellcheck disable=SC2086 # a list of words
		compile x86_64 $cc defconfig BLK_DEV_LOOP=y $options
	done
	compile x86_64 $cc allnoconfig BLOCK=y BLK_DEV=y BLK_DEV_LOOP=y EXPERT=y SYSFS=n
done

# ---- programs ----

headers() {
	"${kbuild[@]}" headers > "$log" 2>&1 || { cat "$log"; return 1; }
}

samples() {
	local program

	headers
	configure defconfig BLK_DEV_LOOP=y SAMPLES=y HEADERS_INSTALL=y \
		SAMPLE_LOOP=y > "$log" 2>&1 || { echo "not allowed:$unmet"; return 1; }
	"${kbuild[@]}" samples/loop/ > "$log" 2>&1 || { cat "$log"; return 1; }
	for program in loop_attach loop_build loop_control loop_delegate loop_hold loop_mount; do
		[ -x "$o/samples/loop/$program" ] || echo "no $program"
	done
}

# The tool is built as a maintainer does, from tools/ and with the headers of the tree.
tool() {
	headers
	make -s --no-print-directory -C "$tree/tools" "O=$o" \
		"UAPI=$o/usr/include" loop > "$log" 2>&1 || { cat "$log"; return 1; }
	grep -iE 'warning|error' "$log" || true
	[ -x "$o/loop/loopctl" ] || echo "no loopctl"
}

header() {
	local standard

	headers
	for standard in c90 gnu2x; do
		echo '#include <linux/loop.h>' |
			gcc -std=$standard -pedantic -Wall -Wextra -Werror -fsyntax-only \
				-isystem "$o/usr/include" -x c -
	done
}

# All programs have to be in .gitignore, and all named files have to exist.
selftests() {
	local file files=$tree/tools/testing/selftests/loop
	local names="\$(TEST_PROGS) \$(TEST_PROGS_EXTENDED) \$(TEST_FILES)"

	headers
	rm -rf "$o/kselftest"
	make -s --no-print-directory -C "$tree/tools/testing/selftests" \
		TARGETS=loop "O=$o" > "$log" 2>&1 || { cat "$log"; return 1; }
	grep -iE 'warning|error' "$log" || true
	for file in "$o"/kselftest/loop/*; do
		[ -e "$files/${file##*/}" ] ||
			in_tree check-ignore -q --no-index "$files/${file##*/}" ||
			echo "${file##*/} is not in .gitignore"
	done
	for file in $(printf '%s\n' 'include Makefile' "names: ; @echo $names" |
		make -s --no-print-directory -C "$files" -f - names); do
		[ -e "$files/$file" ] || echo "$file is not there"
	done
}

target x86_64 gcc
log=$dir/log/programs
check "samples/loop" samples
check "tools/loop" tool
check "linux/loop.h for programs" header
check "selftests" selftests

# ---- a whole kernel ----

whole() {
	configure allnoconfig 64BIT=y MODULES=y BLOCK=y BLK_DEV=y SYSFS=y \
		PROC_FS=y PRINTK=y "BLK_DEV_LOOP=$1" > "$log" 2>&1 ||
		{ echo "not allowed:$unmet"; return 1; }
	"${kbuild[@]}" W= > "$log" 2>&1 || { tail -n 20 "$log"; return 1; }
	case $1 in
	m) [ -e "$o/drivers/block/loop/loop.ko" ] ;;
	y) grep -qx kernel/drivers/block/loop/loop.ko "$o/modules.builtin" ;;
	esac
}

o=$dir/o/whole
kbuild=(make -s --no-print-directory -C "$tree" "O=$o" "-j$jobs" ARCH=x86_64 CC=gcc)
for how in m y; do
	log=$dir/log/whole-$how
	check "whole kernel, x86_64 gcc, allnoconfig, BLK_DEV_LOOP=$how" whole $how
done

# ---- booted, with the driver built in ----

# This kernel has the options that a VM needs, and none that only tests of the module need.
booted() {
	local vm=$dir/builtin config=$dir/log/builtin.config

	mkdir -p "$vm"
	sed '/^CONFIG_\(MD\|.*_FS\|BLK_DEV_LOOP\|DM_.*\)=m/d' \
		qemu/kernel.config > "$config"
	echo "CONFIG_BLK_DEV_LOOP=y" >> "$config"
	{
		"${kbuild[@]}" KCONFIG_ALLCONFIG="$config" allnoconfig &&
			"${kbuild[@]}" W= vmlinux modules &&
			"${kbuild[@]}" INSTALL_MOD_PATH="$vm" modules_install
	} > "$log" 2>&1 || { tail -n 20 "$log"; return 1; }
	cat "$o/include/config/kernel.release" > "$vm/release"
	strip -g -o "$vm/vmlinux" "$o/vmlinux"
	VM_KERNEL=$vm qemu/vm --name builtin --smp 1 --keep-loop --append max_loop=5 -- \
		sh -c "cd $top/tools/testing/selftests/loop && ./builtin.sh" > "$log" 2>&1 &&
		grep -q '^ok 5 ' "$log" && return
	cat "$log"
	return 1
}

log=$dir/log/booted
o=$dir/o/builtin
kbuild=(make -s --no-print-directory -C "$tree" "O=$o" "-j$jobs" ARCH=x86_64 CC=gcc)
mkdir -p "$o"
check "booted with max_loop=5, the driver built in" booted

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
