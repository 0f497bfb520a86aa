#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-package-guest.sh DIRECTORY
# check-package.sh runs this in its VM. It does what a user does with the packages, on a
# system that has only the kernel's own driver. There are four kernels: the running one, 6.1,
# one for which nothing can be built, and one that claims to have loop built in.
# DIRECTORY has the packages of two versions, in 1/ and 2/, and two keys; the kernel trusts
# one of them.

# claims call functions by name
# shellcheck disable=SC2317,SC2119

packages=$1
top=$PWD
cd "${0%/*}/../tools/testing/selftests/loop" || exit 1
# shellcheck source=../tools/testing/selftests/loop/system.sh
. ./system.sh
tap_start
exec 2>&1

export DEBIAN_FRONTEND=noninteractive
running=$(uname -r)
old=$(cd /lib/modules && echo 6.1.*)
broken=6.12.0-broken
builtin=6.12.0-builtin
stock=$(modinfo -n loop)
v1=$(dpkg-deb -f "$packages"/1/loop-dkms_*.deb Version)
v2=$(dpkg-deb -f "$packages"/2/loop-dkms_*.deb Version)
log=/run/log
files=/var/tmp

# step WHAT COMMAND...: its output is in $log and, if it fails, is printed
step()
{
	local rc=0 start=$SECONDS

	"${@:2}" > $log 2>&1 < /dev/null || rc=$?
	diag "$1: $((SECONDS - start)) s"
	[ $rc = 0 ] || sed 's/^/# /' $log
	tap_result $rc "$1"
}

said()
{
	local text

	for text in "$@"; do
		grep -qF -- "$text" $log || {
			echo "not said: $text"
			sed 's/^/  /' $log
			return 1
		}
	done
}

loaded_version()
{
	cat /sys/module/loop/version 2>/dev/null || echo none
}

# next FILE VERSION: the module that modprobe would load
next()
{
	same "modinfo -n loop" "$1" "$(modinfo -n loop)" &&
		same "its version" "$2" "$(modinfo -F version loop)"
}

ours()
{
	next "$(echo /lib/modules/"$running"/updates/dkms/loop.ko*)" "$1"
}

initramfs_has()
{
	lsinitramfs "/boot/initrd.img-$1" > $log || return
	grep -q "$2" $log && return
	grep loop.ko $log
	return 1
}

use()
{
	dev=$(losetup -f --show $files/image) && mount "$dev" /mnt
}

# undisturbed VERSION: this version is loaded, and the device works
undisturbed()
{
	same "version loaded" "$1" "$(loaded_version)" &&
		same backing "$files/image" "$(cat /sys/block/loop0/loop/backing_file)" &&
		date > /mnt/file && sync /mnt/file
}

switch()
{
	modprobe -r loop && modprobe loop && loop_wait_control
}

round_trip()
{
	local at

	at=$(losetup -f --show $files/image) && mount "$at" /mnt && [ -s /mnt/file ] &&
		umount /mnt && losetup -d "$at" && same attached "" "$(losetup -n -O NAME)"
}

# Prints files that no package has installed or changed.
snapshot()
{
	find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o \
		-path "$top" -o -path /var/lib/apt -o -path /var/cache -o \
		-path /var/log -o -path $files \) -prune -o -print | sort
}

mkdir -p /lib/modules/$builtin
cp "$packages"/trusted.key /var/lib/dkms/mok.key
cp "$packages"/trusted.pub /var/lib/dkms/mok.pub
ln -s "/lib/modules/$running/build" /lib/modules/$builtin/build
echo kernel/drivers/block/loop.ko > /lib/modules/$builtin/modules.builtin
: > /lib/modules/$builtin/modules.order
: > /lib/modules/$builtin/modules.builtin.modinfo
depmod $builtin
mkdir -p /lib/modules/$broken/build/include
# shellcheck disable=SC2016 # for make
echo '$(error this kernel is broken)' > /lib/modules/$broken/build/Makefile
truncate -s 8M $files/image
mkfs.ext4 -q -F $files/image
snapshot > $files/before

# ---- install, while the kernel's own is in use ----

modprobe loop
use || bail_out "the kernel's own driver does not work"
claim "the kernel's own driver has no version" undisturbed none
step "install, with the kernel's own driver in use" \
	dpkg -i "$packages"/1/loop-dkms_*.deb "$packages"/1/loop-tools_*.deb
claim "the devices are not disturbed" undisturbed none
claim "which driver runs, which comes next, and how, is said" said \
	"The loop driver that runs is the kernel's own." \
	"The one that will be loaded next is that of loop-dkms, version $v1" \
	"modprobe -r loop && modprobe loop" "/dev/loop0 $files/image"
if [ -d "/lib/modules/$old" ]; then
	claim "so is that 6.1 is not supported" said \
		"Linux $old keeps its own loop driver:" "is older than 6.12, and not supported."
else
	tap_skip "so is that 6.1 is not supported" "this Debian has no such kernel"
fi
claim "and why a kernel with loop built in keeps it" said \
	"Linux $builtin keeps its own loop driver:" "CONFIG_BLK_DEV_LOOP=y"
claim "and why one for which the module does not build does" said \
	"Linux $broken keeps its own loop driver:" "this kernel is broken"
claim "modprobe would load ours, in updates" ours "$v1"
claim "the initramfs has it" initramfs_has "$running" updates/dkms/loop.ko
claim "6.1 has no module of ours" same updates "" "$(find "/lib/modules/$old/updates" 2>/dev/null)"

# left_out KERNEL REASON: DKMS, called by hand, does not build for KERNEL, and says why
left_out()
{
	local rc=0

	dkms install -m loop -v "$v1" -k "$1" > $log 2>&1 || rc=$?
	same "exit status" 77 $rc && said BUILD_EXCLUSIVE "$2"
}
claim "DKMS leaves out 6.1, says so, and does not compile" left_out "$old" "is older than 6.12"
claim "and a kernel with loop built in" left_out $builtin CONFIG_BLK_DEV_LOOP=y
# kernel WHY: does what a kernel's own postinst does, without the initramfs
kernel()
{
	local hook

	for hook in dkms dkms-loop; do
		"/etc/kernel/postinst.d/$hook" "$1" || return
	done > $log 2>&1
	said "$2"
}
claim "installing such a kernel succeeds, and says so" kernel "$old" "is older than 6.12"
claim "so does one for which the module does not build" kernel $broken "this kernel is broken"

umount /mnt
losetup -d "$dev"
claim "after the last detach modprobe switches" switch
claim "and ours is loaded" same version "$v1" "$(loaded_version)"
claim "with a srcversion" same srcversion "$(modinfo -F srcversion loop)" \
	"$(cat /sys/module/loop/srcversion)"
claim "losetup and mount work on it" round_trip

tools()
{
	local at

	at=$(loopctl attach $files/image) && loopctl list | grep -q "$files/image" &&
		loopctl detach "$at" && dpkg -L loop-tools > $log &&
		said /usr/share/man/man8/loopctl.8.gz /usr/share/man/man2/ioctl_loop_control.2.gz \
			/usr/share/bash-completion/completions/loopctl \
			/usr/lib/udev/rules.d/60-loop-internal.rules
}
claim "loopctl works, and comes with its manual pages" tools

completes()
{
	# shellcheck source=../completions/loopctl
	. /usr/share/bash-completion/completions/loopctl
	# A shell that is not completing does not have the options of the completion.
	compopt() { :; }
	COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
	_loopctl
	same completion "$1" "${COMPREPLY[*]}"
}
claim "bash completes commands" completes "detach" loopctl de
claim "bash completes options" completes "--exclusive --ephemeral" loopctl attach --e

# ---- upgrade ----

use
step "upgrade, with a device in use" dpkg -i "$packages"/2/loop-dkms_*.deb
claim "the device is not disturbed" undisturbed "$v1"
claim "both versions are named" said \
	"The loop driver that runs is that of loop-dkms, version $v1." \
	"The one that will be loaded next is that of loop-dkms, version $v2"
claim "modprobe would load the new one" ours "$v2"
claim "DKMS knows the new one only" same status "loop/$v2, $running, x86_64: installed" \
	"$(dkms status 2>/dev/null | sed 's/ (Original modules exist)$//')"
umount /mnt
losetup -d "$dev"
claim "modprobe switches" switch
claim "and the new one is loaded" same version "$v2" "$(loaded_version)"

# ---- removal ----

use
step "removal, with a device in use" dpkg -r loop-dkms loop-tools
claim "the device is not disturbed" undisturbed "$v2"
claim "both drivers are named" said \
	"The loop driver that runs is that of loop-dkms, version $v2." \
	"The one that will be loaded next is the kernel's own"
claim "modprobe would load the kernel's own" next "$stock" ""
claim "and the initramfs has that" initramfs_has "$running" kernel/drivers/block/loop.ko
claim "only that" fails initramfs_has "$running" updates
umount /mnt
losetup -d "$dev"
claim "modprobe switches back" switch
claim "to the kernel's own" same version none "$(loaded_version)"
claim "which works" round_trip
step "purge" dpkg -P loop-dkms loop-tools
snapshot > $files/after
claim "no file is left, or missing" diff $files/before $files/after

# ---- make install ----

work=/var/tmp/checkout
mkdir $work
cp -r "$top"/{Makefile,Kbuild,compat,completions,debian,drivers,include,man} $work
mkdir $work/tools
cp -r "$top/tools/loop" $work/tools
rm -f $work/drivers/block/{,loop/}{*.o,.*.cmd} $work/tools/loop/loopctl

# refused WORDS...: make install refuses before it builds anything
refused()
{
	fails make -C $work install > $log 2>&1 && said "$@" && [ ! -e $work/loop.ko ]
}
known=/lib/modules/$running/modules.builtin
cp "$known" $files/modules.builtin
echo kernel/drivers/block/loop.ko >> "$known"
claim "make install is refused where loop is built in" refused CONFIG_BLK_DEV_LOOP=y
cp $files/modules.builtin "$known"

use
snapshot > $files/before
step "make install, with the kernel's own driver in use" make -C $work install
version=$(modinfo -F version $work/loop.ko)
claim "the device is not disturbed" undisturbed none
claim "which driver runs, which comes next, and how, is said" said \
	"The loop driver that runs is the kernel's own." \
	"The one that will be loaded next is that of make install, version $version" \
	"modprobe -r loop && modprobe loop" "/dev/loop0 $files/image"
claim "modprobe would load ours" next "/lib/modules/$running/updates/loop.ko" "$version"
claim "the initramfs has it" initramfs_has "$running" updates/loop.ko
umount /mnt
losetup -d "$dev"
claim "modprobe switches" switch
claim "and ours is loaded" same version "$version" "$(loaded_version)"
claim "loopctl of make install works on it" loopctl list --all
step "make uninstall" make -C $work uninstall
claim "modprobe would load the kernel's own again" next "$stock" ""
claim "both drivers are named" said \
	"The loop driver that runs is that of make install, version $version." \
	"The one that will be loaded next is the kernel's own"
claim "and the initramfs has that" initramfs_has "$running" kernel/drivers/block/loop.ko
# Directories stay.
snapshot | comm -13 $files/before - | while read -r path; do
	[ -d "$path" ] || echo "$path"
done > $files/after
claim "no file of it is left" same files "" "$(cat $files/after)"

# ---- only signed modules ----

# This cannot be undone. The kernel's own driver is not signed with the trusted key, see
# trust-key.py.
modprobe -r loop
echo 1 > /sys/module/module/parameters/sig_enforce
rm -f $work/loop.ko
claim "make install is refused where only signed modules are loaded" refused \
	"loads signed modules only" loop-dkms
cat > /etc/dkms/framework.conf.d/key.conf <<-END
	mok_signing_key=$packages/other.key
	mok_certificate=$packages/other.pub
END
step "install where only signed modules are loaded, with an unknown key" \
	dpkg -i "$packages"/1/loop-dkms_*.deb
claim "why it is not used, and the way out, is said" said \
	"Linux $running keeps its own loop driver:" "loads signed modules only" \
	"mokutil --import $packages/other.pub" "dpkg-reconfigure loop-dkms"
claim "modprobe would load the kernel's own" next "$stock" ""
rm /etc/dkms/framework.conf.d/key.conf
step "dpkg-reconfigure, with a known key" dpkg-reconfigure loop-dkms
claim "modprobe would load ours" ours "$v1"
claim "and the kernel accepts it" modprobe loop
claim "which works" round_trip

unsigned()
{
	modprobe -r loop && xz -dc "$(modinfo -n loop)" > $files/loop.ko &&
		strip -g $files/loop.ko && fails insmod $files/loop.ko
}
claim "but not without its signature" unsigned
claim "modprobe loads it again" modprobe loop
step "removal" dpkg -P loop-dkms
tap_plan_end
