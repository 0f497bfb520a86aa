#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Builds the documents that go into the kernel's with Sphinx, a warning being an
# error: build/htmldocs/index.html. Prints nothing but warnings.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
src=$tmp/Documentation

# The documents take parts of the samples in.
cp -r Documentation samples "$tmp"
rm -r "$src/ABI"
# kernel-figure is the kernel's own; in HTML it is the same.
sed -i 's/^\.\. kernel-figure::/.. figure::/' "$src"/*/*/loop.rst
# As the kernel does, makes a section of each attribute in a file of Documentation/ABI, and
# its description, which is in the same language.
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
# -C: there is no configuration.
sphinx-build -q -C -W --keep-going -D project=loop -b html -d "$tmp/doctrees" \
	"$src" build/htmldocs
