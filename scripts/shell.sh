#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Boots a VM with the driver loaded and a prompt on this terminal.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
"$top/scripts/build.sh" demo
echo "== booting the VM; exit or ^D ends it, and its changes are lost"
exec "$top/qemu/vm" --name shell --interactive -- \
	sh -c 'modprobe loop; exec bash -i'
