#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: mirror.sh [LABEL]
# Prints the first place this machine has Debian itself from, or what has that
# LABEL, such as Debian-Security; nothing if apt has no package lists yet.
set -eu

# shellcheck disable=SC2016 # apt replaces it
apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Origin: Debian' "Label: ${1:-Debian}" | sed -n 1p
