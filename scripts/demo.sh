#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make demo": boots a VM in which scripts/demo-guest.sh shows the driver.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
"$top/scripts/build.sh" demo
make -s --no-print-directory -C "$top/tools/loop"
echo "== booting the VM (kernel log: build/vm/demo.kmsg)"
"$top/qemu/vm" --name demo --timeout 150 -- "$top/scripts/demo-guest.sh"
echo "== demo done: the driver left nothing behind"
