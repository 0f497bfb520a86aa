#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Builds the documents that go into the kernel's with Sphinx, a warning being an
# error: build/htmldocs/index.html. Prints nothing but warnings.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
src=$(mktemp -d)
trap 'rm -rf "$src"' EXIT

(cd Documentation && cp --parents -- */loop.rst */*/loop.rst "$src")
# What the kernel makes of a file of Documentation/ABI: a section for each
# attribute, and its description, which is in the same language.
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
	   block/loop
	   sysfs-*
END
# -C: there is no configuration.
sphinx-build -q -C -W --keep-going -D project=loop -b html -d "$src/.doctrees" \
	"$src" build/htmldocs
