#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-debug.sh KIND VERSION [GROUP]...
# Runs all test groups, or only each GROUP, on a kernel that tree-kernel.sh builds. KIND
# "plain" has no debugger. For another KIND, this first checks, once, that all options of
# qemu/KIND.config are on and that a mistake of each kind fails a run.
# Environment: VERIFY_ONLY=1 ends after this check.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
kind=${1:?usage: $0 KIND VERSION [GROUP]...}
version=${2:?usage: $0 KIND VERSION [GROUP]...}
shift 2
scripts/tree-kernel.sh "$kind" "$version"
dir=$(realpath "build/$kind-$version")
export VM_KERNEL=$top/build/$kind-$version
logs=$top/build/vm/$kind-$version
mkdir -p "$logs"
if [ -z "${VM_LOCKED-}" ]; then
	exec 9> "$top/build/vm/lock"
	flock -n 9 || { echo "== waiting for another VM to end"; flock 9; }
	export VM_LOCKED=1
fi

# Each line has a mistake, and a pattern of its report in the kernel log. kmemleak reports a
# leak elsewhere. Two mistakes may have the same report, as each has a run of its own.
case $kind in
plain) mistakes= ;;
kcsan) mistakes="
hang|INFO: task sleeper:[0-9]+ blocked for more than
warn|WARNING: .*provoke
data-race|BUG: KCSAN: data-race in racer
data-race-with-kernel|race at unknown origin, with (read|write) to
" ;;
*) mistakes="
use-after-free|BUG: KASAN: slab-use-after-free in use_after_free
slab-out-of-bounds|BUG: KASAN: slab-out-of-bounds in slab_out_of_bounds
lock-order|WARNING: possible circular locking dependency detected
atomic-sleep|BUG: sleeping function called from invalid context
rcu-outside|WARNING: suspicious RCU usage
free-active-work|ODEBUG: free active .* object type: work_struct
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
" ;;
esac

configuration() {
	local missing

	qemu/vm --name config --smp 1 -- sh -c "zcat /proc/config.gz; cat /proc/cmdline" \
		> "$logs/config" || return
	missing=$(grep -vxFf "$logs/config" "$dir/config") || true
	[ -z "$missing" ] || { echo "not on: $missing"; return 1; }
	# Only the command line of the debug kernel turns these two on.
	[ "$kind" = kcsan ] || { grep -q " page_poison=1 " "$logs/config" &&
		grep -q "panic_on_warn=1 " "$logs/config"; }
}

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
		# the module is unloaded, so the report has none of its names
		grep -q 'comm "insmod"' "$logs/$name.run/share/kmemleak"
	fi
}

# verified WHAT COMMAND...
verified() {
	if "${@:2}"; then
		echo "ok $1"
	else
		echo "not ok $1, see ${logs#"$top/"}"
	fi
}

verify() {
	local what regex

	echo "== what is on, and what is found"
	# This is also the first boot, which makes the initramfs that all VMs share.
	verified "all that is to be on is" configuration > "$logs/verify"
	mkdir -p "$dir/provoke"
	cp -a qemu/provoke/* "$dir/provoke"
	make -s --no-print-directory -C "$dir/o" M="$dir/provoke" modules
	while IFS='|' read -r what regex <&3; do
		[ "$what" ] || continue
		while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
			wait -n
		done
		verified "$what is reported and fails the run" provoke "$what" "$regex" \
			3<&- >> "$logs/verify" &
	done 3<<< "$mistakes"
	wait
	cat "$logs/verify"
	! grep -q '^not ok ' "$logs/verify"
}

# The checksum of the files on which the check depends
with=$(cat qemu/vm qemu/*-init qemu/provoke/* "$0" | sha256sum)
if [ "$mistakes" ] && [ "$with" != "$(cat "$dir/verified" 2>/dev/null)" ]; then
	verify
	echo "$with" > "$dir/verified"
fi
[ -z "${VERIFY_ONLY-}" ] || exit 0

more=
[ "$kind" != debug ] || more=--debug
exec scripts/check.sh $more "$@"
