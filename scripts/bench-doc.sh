#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Takes what the last whole "make bench" has found into the documents: the tables
# between the two comments in loop.rst, and the chart, which README.md shows, too.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
from=build/bench/bench
to=Documentation/admin-guide/blockdev
# Not of some rows, nor of another module
grep -qs '"command": "make bench",' $from.json || {
	echo "$0: no results of a whole \"make bench\" in build/bench" >&2
	exit 1
}
new=$(mktemp)
trap 'rm -f "$new"' EXIT
awk -v tables=$from.rst '
/^\.\. End of the tables/ { skip = 0 }
!skip { print }
/^\.\. Tables of "make bench"/ {
	skip = 1
	print ""
	while ((getline line < tables) > 0)
		if (line !~ /SPDX/ && (line || last))
			print last = line
}' $to/loop.rst > "$new"
cat "$new" > $to/loop.rst
cp $from.svg $to/loop-bench.svg
git diff --stat -- $to
