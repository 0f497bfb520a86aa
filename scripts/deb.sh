#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: deb.sh [VERSION]
# Builds the Debian packages in a copy of the sources, and leaves them in
# build/deb/. The version of the packages is the driver's MODULE_VERSION; with VERSION, the
# copy and the packages have that version.
# The author of the last commit is the maintainer, and its date is the date of the
# changelog, so the same commit makes the same packages.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
version=$(sed -n 's/^MODULE_VERSION("\(.*\)");$/\1/p' drivers/block/loop.c)
new=${1:-$version}
scripts/deps.sh deb

copy=build/deb/loop-$new
rm -rf build/deb
mkdir -p "$copy"
git ls-files -z debian completions Documentation/admin-guide Kbuild compat drivers \
	include man tools/loop | xargs -0 cp --parents -t "$copy"
sed -i "s/^MODULE_VERSION(.*/MODULE_VERSION(\"$new\");/" "$copy/drivers/block/loop.c"
maintainer=$(git log -1 --format='%an <%ae>')
sed -i "s/@MAINTAINER@/$maintainer/" "$copy/debian/control"
cat > "$copy/debian/changelog" <<END
loop ($new) unstable; urgency=medium

  * Version $new, see the history of the repository.

 -- $maintainer  $(git log -1 --format=%aD)
END

if ! (cd "$copy" && DEB_BUILD_OPTIONS=noautodbgsym dpkg-buildpackage -b -us -uc > ../log 2>&1); then
	tail -n 30 build/deb/log >&2
	exit 1
fi
rm -rf "$copy"
(cd build/deb && ls -- *.deb)
