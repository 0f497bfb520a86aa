#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Builds build/htmldocs/index.html with Sphinx, from the documents that the patch adds to a
# kernel tree. It prints only warnings, and a warning makes it fail.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
src=$tmp/Documentation

# The documents include parts of the samples.
cp -r Documentation samples "$tmp"
rm -r "$src/ABI"
# Only the kernel's Sphinx has kernel-figure. In HTML, figure does the same.
sed -i 's/^\.\. kernel-figure::/.. figure::/' "$src"/*/*/loop.rst
# As the kernel does, this makes a section of each attribute in a file of Documentation/ABI.
# The descriptions are reStructuredText.
for abi in Documentation/ABI/testing/*; do
	awk '
	NR == 1 { print FILENAME; gsub(/./, "=", FILENAME); print FILENAME }
	/^What:/ { print "\n" $2; gsub(/./, "-", $2); print $2 "\n" }
	/^(\t\t|$)/ { sub(/^\t\t/, ""); print }' "$abi" > "$src/${abi##*/}.rst"
done
cat > "$src/index.rst" <<-END
	Loop block device
	=================

	.. toctree::
	   :glob:

	   admin-guide/blockdev/loop
	   admin-guide/blockdev/loop-stock
	   userspace-api/loop-control
	   block/loop
	   sysfs-*
END
# -C, as there is no file with a configuration.
sphinx-build -q -C -W --keep-going -D project=loop -b html -d "$tmp/doctrees" \
	"$src" build/htmldocs
