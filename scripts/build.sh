#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Installs missing packages, fetches the VM's kernel and builds loop.ko for it, and prints
# its steps. All scripts that boot a VM begin with this one. Arguments are those of
# deps.sh. With CONFIG_BLK_DEV_LOOP_INJECT=y in the environment, the module has the
# parameter for tests.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
scripts/deps.sh "$@"
scripts/fetch-kernel.sh
echo "== building loop.ko for $(cat build/kernel/release)"
make -s --no-print-directory KDIR=build/kernel/headers
