#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: check-fresh.sh
# Runs each target in a minimal Debian of each suite that has only make in addition, in a
# clone of the last commit here. Each has a root directory of its own, so a missing package
# shows. The logs are build/fresh/SUITE-TARGET.log.
# Two targets are special: "install" runs README's commands to install the driver for
# Debian's kernel, and "dkms" runs check-dkms.sh.
# The minimal systems and downloaded packages stay in build/fresh. The copies that the
# targets change stay only if the target fails.
# Environment: SUITES and TARGETS are some of the suites and targets below.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
fresh=$top/build/fresh
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
suites=${SUITES:-bookworm trixie}
targets=${TARGETS:-deb dkms install htmldocs patch lint demo check bench check-package}
scripts/deps.sh roots
mirror=$(scripts/mirror.sh)
[ "$mirror" ] || { echo "$0: apt knows no Debian mirror" >&2; exit 1; }
security=$(scripts/mirror.sh Debian-Security)
mkdir -p "$fresh"

# quiet LOG COMMAND...: writes its output to LOG, and prints the end of it if it fails
quiet() {
	"${@:2}" > "$1" 2>&1 && return
	tail -n 20 "$1" | sed 's/^/  /'
	return 1
}

# A command in a root has these mounts, which end with it.
# shellcheck disable=SC2016 # expanded there
in_root='
	set -e
	mkdir -p "$1/var/cache/apt/archives"
	mount --bind "$2" "$1/var/cache/apt/archives"
	mount -t proc proc "$1/proc"
	mount --rbind /sys "$1/sys"
	mount --rbind /dev "$1/dev"
	exec chroot "$1" env -i HOME=/root LC_ALL=C.UTF-8 TERM=dumb \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive sh -ec "$3"'

# in_root ROOT COMMANDS
in_root() {
	unshare --mount --propagation private sh -c "$in_root" sh \
		"$1" "$fresh/$suite.archives" "$2" < /dev/null
}

# Makes the minimal system of $suite, once.
make_base() {
	local root=$fresh/$suite

	[ ! -e "$root.done" ] || return 0
	echo "== making a minimal $suite in build/fresh/$suite, once; this takes minutes"
	rm -rf "$root"
	mkdir -p "$fresh/$suite.archives/partial"
	quiet "$root.log" debootstrap --variant=minbase --keyring="$keyring" \
		--include=ca-certificates,make "$suite" "$root" "$mirror" || return
	{
		echo "deb $mirror $suite main"
		echo "deb $mirror $suite-updates main"
		[ ! "$security" ] || echo "deb $security $suite-security main"
	} > "$root/etc/apt/sources.list"
	# These systems need not survive a crash. All share the downloaded packages.
	echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
	rm -f "$root/etc/apt/apt.conf.d/docker-clean" "$root"/var/cache/apt/archives/*.deb
	: > "$root.done"
}

# Prints the commands in a root for $target, from the clone's top.
commands() {
	case $target in
	install) cat <<-'END'
		# make install has to see Debian's kernel, and not the one that runs here.
		apt-get -q=2 update
		headers=$(apt-cache search --names-only '^linux-headers-6\.12\.[0-9][^-]*-amd64$' |
			sed 's/ .*//' | sort -V | tail -n 1)
		cat > /usr/local/bin/uname <<-EOF
			#!/bin/sh
			[ "\$*" != -r ] || exec echo ${headers#linux-headers-}
			exec /usr/bin/uname "\$@"
		EOF
		chmod +x /usr/local/bin/uname
		apt-get install -y gcc libc6-dev make libsmartcols-dev pkgconf linux-headers-$(uname -r)
		make
		make install
		modinfo -k $(uname -r) -F filename loop | grep updates/loop.ko
		make uninstall
		modinfo -k $(uname -r) -F filename loop | grep kernel/drivers/block/loop.ko
		END
		;;
	dkms) echo "make deb; scripts/check-dkms.sh" ;;
	bench) echo "make bench ROWS=direct-ext4/randread-1" ;;
	# These groups depend on the userland, and VMs have that of the suite.
	check) echo "make check GROUPS='control losetup uevents autoload'" ;;
	*) echo "make $target" ;;
	esac
}

# Runs one target in a copy of the minimal system.
check() {
	local root=$fresh/$suite-$target.root log=$fresh/$suite-$target.log start=$SECONDS

	rm -rf "$root"
	cp -a --reflink=auto "$fresh/$suite" "$root"
	git clone -q "$top" "$root/loop" || return
	if quiet "$log" in_root "$root" "cd /loop; $(commands)"; then
		echo "ok $suite $target # $((SECONDS - start)) s"
	else
		echo "not ok $suite $target # build/fresh/$suite-$target.log"
		return 1
	fi
	rm -rf "$root"
}

passed=0 failed=0
for suite in $suites; do
	make_base || { failed=$((failed + 1)); continue; }
	for target in $targets; do
		if check; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	done
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
