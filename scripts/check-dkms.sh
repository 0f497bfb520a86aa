#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-dkms.sh
# Run this only in a root that may change, as check-fresh.sh does. It installs, upgrades and
# removes the packages of build/deb with three kernels, for one of which the module does not
# build, and installs another kernel for which it does not build either. All of this has to
# succeed, and the other kernels have to get the module.

# claims call functions by name
# shellcheck disable=SC2317
set -u

cd "$(dirname "$0")/.." || exit 1
export DEBIAN_FRONTEND=noninteractive
log=/tmp/log
failed=0

# claim WHAT COMMAND...
claim() {
	if "${@:2}"; then
		echo "ok $1"
	else
		echo "not ok $1"
		failed=1
	fi
}

# step WHAT COMMAND...: claims that it succeeds, and leaves no package half installed
step() {
	local rc=0

	"${@:2}" > $log 2>&1 < /dev/null || rc=$?
	cat $log
	claim "$1" [ $rc = 0 ]
	claim "$1: dpkg has nothing left to do" [ ! "$(dpkg --audit)" ]
}

said() {
	grep -qF -- "$1" "$log"
}

# has KERNEL VERSION: KERNEL has that version of our module, or with "" no module of ours
has() {
	local file

	file=$(ls "/lib/modules/$1"/updates/dkms/loop.ko* 2>/dev/null)
	[ "$([ ! "$file" ] || modinfo -F version "$file")" = "$2" ]
}

# told KERNEL: the log says once that KERNEL keeps its own driver, and why
told() {
	[ "$(grep -c "Linux $1 keeps its own loop driver" "$log")" = 1 ] &&
		said "The module does not build for it" && said "this kernel is broken"
}

version() {
	dpkg-deb -f "$1"/loop-dkms_*.deb Version
}

# The two newest kernels that this release has.
apt-get -q=2 update
mapfile -t kernels < <(apt-cache search --names-only '^linux-headers-6\.12\.[0-9][^-]*-amd64$' |
	sed 's/ .*//; s/linux-headers-//' | sort -V | tail -n 2)
first=${kernels[0]} later=${kernels[1]}
broken=$first-broken third=$first-third

v1=$(version build/deb)
mv build/deb /tmp/1
scripts/deb.sh "$v1.1" > $log 2>&1 || { cat $log; exit 1; }
mv build/deb /tmp/2
v2=$(version /tmp/2)

# It takes long to make an initramfs with all modules, so this has only one.
step "initramfs-tools" apt-get -q=2 install -y --no-install-recommends initramfs-tools
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=gzip/' \
	/etc/initramfs-tools/initramfs.conf
echo loop > /etc/initramfs-tools/modules
step "a kernel, before" apt-get -q=2 install -y --no-install-recommends \
	"linux-headers-$first"
mkdir -p "/lib/modules/$broken/build/include" "/lib/modules/$third"
# shellcheck disable=SC2016 # for make
echo '$(error this kernel is broken)' > "/lib/modules/$broken/build/Makefile"
ln -s "$(readlink -f "/lib/modules/$first/build")" "/lib/modules/$third/build"

step "installation" apt-get -q=2 install -y --no-install-recommends \
	/tmp/1/loop-dkms_*.deb /tmp/1/loop-tools_*.deb
claim "the first kernel has the module" has "$first" "$v1"
claim "its initramfs too" grep -q "updates/dkms/loop.ko" \
	<(lsinitramfs "/boot/initrd.img-$first")
claim "the second has not" has "$broken" ""
claim "why is said, once" told "$broken"
claim "the third has it" has "$third" "$v1"

# This make fails when DKMS builds the module for the later kernel.
mv /usr/bin/make /usr/bin/make.real
cat > /usr/bin/make <<-END2
	#!/bin/sh
	case "\$*" in
	*KERNELRELEASE=$later*) echo "*** this kernel is broken"; exit 2 ;;
	esac
	exec /usr/bin/make.real "\$@"
END2
chmod +x /usr/bin/make
step "a kernel for which it does not build" apt-get -q=2 install -y \
	--no-install-recommends "linux-headers-$later" "linux-image-$later"
claim "that has no module" has "$later" ""
claim "why is said, once" told "$later"
mv /usr/bin/make.real /usr/bin/make

step "a kernel for which it builds" apt-get -q=2 install -y --reinstall \
	"linux-headers-$later"
claim "that has the module" has "$later" "$v1"
claim "its initramfs too" grep -q "updates/dkms/loop.ko" \
	<(lsinitramfs "/boot/initrd.img-$later")

step "upgrade" dpkg -i /tmp/2/loop-dkms_*.deb
claim "the first kernel has the new module" has "$first" "$v2"
claim "the second has none" has "$broken" ""
claim "why is said, once" told "$broken"
claim "the third has the new one" has "$third" "$v2"

step "removal of a kernel" apt-get -q=2 remove -y "linux-image-$later" "linux-headers-$later"
step "removal" apt-get -q=2 remove -y loop-dkms
claim "no module is left" [ ! "$(find /lib/modules -path '*/updates/*loop.ko*')" ]
claim "DKMS knows nothing of it" [ ! "$(dkms status -m loop)" ]
claim "a kernel's hook is harmless then" run-parts --exit-on-error --arg="$first" \
	/etc/kernel/header_postinst.d
step "purge" apt-get -q=2 purge -y loop-dkms loop-tools
claim "no file is left" [ ! "$(find /etc /usr /var -name '*loop-dkms*' -o -name dkms-loop)" ]
exit $failed
