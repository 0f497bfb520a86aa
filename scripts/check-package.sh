#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the Debian packages twice, with this version and the next, and runs lintian on
# them. Then check-package-guest.sh installs, upgrades and removes them in a VM. The VM has
# the root of fetch-root.sh with an overlay, and its kernel trusts a key that this script
# makes.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
scripts/build.sh package
scripts/fetch-root.sh
dir=$top/build/package
[ -e build/kernel/vmlinux ] || { echo "$0: needs build/kernel/vmlinux" >&2; exit 1; }

echo "== building the packages"
rm -rf "$dir"/[12]
version=$(sed -n 's/^MODULE_VERSION("\(.*\)");$/\1/p' drivers/block/loop.c)
scripts/deb.sh "$version.1" > /dev/null
mv build/deb "$dir/2"
scripts/deb.sh
cp -r build/deb "$dir/1"

echo "== lintian"
found=$(lintian -EvIL +pedantic --allow-root build/deb/*.changes 2>&1) || true
if [ "$found" ]; then
	echo "$found"
	echo "not ok lintian"
	exit 1
fi

cp build/kernel/vmlinux "$dir/vmlinux"
scripts/trust-key.py "$dir/vmlinux" "$dir/trusted.key" "$dir/trusted.pub"
openssl req -new -x509 -nodes -newkey rsa:2048 -subj "/CN=Unknown key" \
	-keyout "$dir/other.key" -outform DER -out "$dir/other.pub" 2> "$dir/log"

echo "== booting the VM (kernel log: build/vm/package/package.kmsg)"
mkdir -p build/vm/package
log=build/vm/package/package.log
status=0
VM_KERNEL=$dir qemu/vm --name package --smp 1 --timeout 3600 -- \
	scripts/check-package-guest.sh "$dir" | tee "$log" || status=$?
passed=$(grep -c '^ok' "$log" || true)
failed=$(grep -c '^not ok' "$log" || true)
grep -q '^1\.\.' "$log" || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] || status=1
exit $status
