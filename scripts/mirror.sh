#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: mirror.sh [LABEL]
# Prints the first place from which this machine gets Debian or, with LABEL, the archive
# with that label, such as Debian-Security. Without package lists, it prints nothing.
set -eu

# shellcheck disable=SC2016 # apt expands it
apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Origin: Debian' "Label: ${1:-Debian}" | sed -n 1p
