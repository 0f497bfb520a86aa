#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: build.sh [PURPOSE]
# Installs the packages that PURPOSE needs, see deps.sh, fetches the VM's kernel and builds
# loop.ko for it. It prints its steps. Scripts that boot a VM with this kernel begin with it.
# With CONFIG_BLK_DEV_LOOP_INJECT=y in the environment, the module has the parameter for
# tests.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
scripts/deps.sh "$@"
scripts/fetch-kernel.sh
echo "== building loop.ko for $(cat build/kernel/release)"
make -s --no-print-directory KDIR=build/kernel/headers
