#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-debug.sh [GROUP]...
# Builds Debian's linux-source of $version with qemu/debug.config, looks that
# all of that is on and that a mistake of each kind fails a run, and then runs
# the test groups on it, those named or all of them.
# A kernel is kept in build/kernel-debug/KEY, KEY a hash of what it is made of:
#   o			the build directory, to be used as KDIR
#   module		the driver's sources and objects
#   release, vmlinux, lib, loop.ko, options	what qemu/vm takes
#   verified		what has been seen to work with it
# build/debug is the one in use. KERNEL_ONLY=1 ends when it is built.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
version=7.3
config=$top/qemu/debug.config
jobs=$(nproc)

scripts/deps.sh kernel
scripts/fetch-tree.sh "$version"
tree=$top/build/linux-$version/src

key=$({
	cat "$top/build/linux-$version/stamp" "$config"
	gcc --version | head -n 1
} | sha256sum | cut -c 1-12)
dir=$top/build/kernel-debug/$key
mkdir -p "$dir"

# What takes its time with a debugger on, and memory for what they remember.
# The first report of most debuggers ends the run, as later ones mean little.
cat > "$dir/options" <<'END'
# shellcheck shell=bash disable=SC2034,SC2154
timeout=$((timeout * 8))
mem=$((mem * 3 / 2))
append="panic_on_warn=1 page_poison=1 $append"
END

make_kernel() {
	make -s --no-print-directory -C "$tree" O="$dir/o" "-j$jobs" "$@"
}

# Options of $config that the configuration $1 does not have as they are there.
unmet() {
	grep '^CONFIG_' "$config" | grep -vxFf "$1" || true
}

build_kernel() {
	local missing release

	echo "== configuring linux-source-$version"
	mkdir -p "$dir/o"
	make_kernel KCONFIG_ALLCONFIG="$config" allnoconfig
	missing=$(unmet "$dir/o/.config")
	if [ "$missing" ]; then
		echo "$0: this kernel does not allow" >&2
		echo "$missing" >&2
		exit 1
	fi
	echo "== building the debug kernel in ${dir#"$top/"}, once; this takes minutes"
	if ! make_kernel vmlinux modules > "$dir/log" 2>&1; then
		tail -n 20 "$dir/log" >&2
		exit 1
	fi
	rm -rf "${dir:?}/lib"
	make_kernel INSTALL_MOD_PATH="$dir" modules_install > /dev/null
	release=$(cat "$dir/o/include/config/kernel.release")
	strip -g -o "$dir/vmlinux" "$dir/o/vmlinux"
	depmod -b "$dir" "$release"
	echo "$release" > "$dir/release"
	rm -f "$dir/verified"
	cp "$top/build/linux-$version/stamp" "$dir/stamp"
}

# module NAME SOURCE...: an external module, from a copy of its sources: in the
# checkout lies what was built for another kernel.
module() {
	mkdir -p "$dir/$1"
	cp -a --parents "${@:2}" "$dir/$1"
	make -s --no-print-directory -C "$dir/o" M="$dir/$1" W=1 modules
}

[ -e "$dir/stamp" ] || build_kernel
ln -sfn "kernel-debug/$key" build/debug
echo "== building loop.ko for $(cat "$dir/release")"
module module Kbuild compat drivers/block/loop.c include
cp "$dir/module/loop.ko" "$dir/loop.ko"
[ -z "${KERNEL_ONLY-}" ] || exit 0

export VM_KERNEL=$top/build/debug
logs=$top/build/vm/debug
mkdir -p "$logs"
if [ -z "${VM_LOCKED-}" ]; then
	exec 9> "$top/build/vm/lock"
	flock -n 9 || { echo "== waiting for another VM to end"; flock 9; }
	export VM_LOCKED=1
fi

# ---- are the debuggers on, and do they fail a run ----

configuration() {
	local missing

	qemu/vm --name config --smp 1 -- sh -c "zcat /proc/config.gz; cat /proc/cmdline" \
		> "$logs/config" || return
	missing=$(unmet "$logs/config")
	[ -z "$missing" ] || { echo "not on: $missing"; return 1; }
	# The kernel takes these two from its command line only.
	grep -q " page_poison=1 " "$logs/config" &&
		grep -q "panic_on_warn=1 " "$logs/config"
}

# What to do, and how the kernel log must tell; of a leak, the verdict does.
# No two reports need to be told apart by the message alone: what was done is
# known, and that it is found is the point.
mistakes="
use-after-free|BUG: KASAN: slab-use-after-free in use_after_free
slab-out-of-bounds|BUG: KASAN: slab-out-of-bounds in slab_out_of_bounds
lock-order|WARNING: possible circular locking dependency detected
atomic-sleep|BUG: sleeping function called from invalid context
rcu-outside|WARNING: suspicious RCU usage
free-active-work|ODEBUG: free active .* object type: (work_struct|timer_list)
free-active-timer|ODEBUG: free active .* object type: timer_list
free-percpu-counter|ODEBUG: free active .* object type: percpu_counter
rcu-twice|ODEBUG: activate active .* object type: rcu_head
list-twice|list_add (corruption|double add)
page-after-free|pagealloc: (memory corruption|single bit error)
refcount-zero|refcount_t: addition on 0; use-after-free
shift|UBSAN: shift-out-of-bounds
bounds|UBSAN: array-index-out-of-bounds
leak|
hang|INFO: task sleeper:[0-9]+ blocked for more than
spin|BUG: soft lockup
warn|WARNING: .*provoke
"

# provoke WHAT REGEX
provoke() {
	local status=0 name=provoke-$1

	qemu/vm --name "$name" -- sh -c "
		echo 2 > /proc/sys/kernel/watchdog_thresh
		echo 1 > /proc/sys/kernel/softlockup_panic
		echo 5 > /proc/sys/kernel/hung_task_timeout_secs
		modprobe loop
		insmod $dir/provoke/provoke.ko what=$1 && rmmod provoke" \
		> "$logs/$name.log" 2>&1 || status=$?
	[ $status = 97 ] || { echo "exit status $status, not 97"; return 1; }
	if [ "$2" ]; then
		grep -aEq "$2" "$logs/$name.kmsg"
	else
		# the module is gone, and its names with it
		grep -q 'comm "insmod"' "$logs/$name.run/share/kmemleak"
	fi
}

verify() {
	local what regex failed=0

	echo "== what is on"
	if configuration; then
		echo "ok all of qemu/debug.config"
	else
		echo "not ok all of qemu/debug.config"
		failed=1
	fi
	(cd qemu/provoke && module provoke Kbuild provoke.c)
	while IFS='|' read -r what regex <&3; do
		[ "$what" ] || continue
		if provoke "$what" "$regex" 3<&-; then
			echo "ok $what is reported and fails the run"
		else
			echo "not ok $what, see ${logs#"$top/"}/provoke-$what.kmsg"
			failed=1
		fi
	done 3<<< "$mistakes"
	return $failed
}

# What it was verified with.
verified=$(cat qemu/vm qemu/*-init qemu/provoke/* "$0" | sha256sum)
if [ "$verified" != "$(cat "$dir/verified" 2>/dev/null)" ]; then
	verify
	echo "$verified" > "$dir/verified"
fi

exec scripts/check.sh --debug "$@"
