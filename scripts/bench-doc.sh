#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Takes what the last whole "make bench", "make bench-smp" and "make bench-control"
# have found into the documents, those that were run: the tables between the
# comments in loop.rst, and the chart, which README.md shows, too.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
to=Documentation/admin-guide/blockdev
new=$(mktemp)
trap 'rm -f "$new"' EXIT

# whole NAME: not of some rows, nor of another module
whole()
{
	grep -qs "\"command\": \"make $1\"," "build/bench/$1.json"
}

# take NAME FILE
take()
{
	awk -v tables="$2" -v begin=".. Tables of $1" '
	/^\.\. End of the tables/ { skip = 0 }
	!skip { print }
	$0 == begin {
		skip = 1
		print last = ""
		while ((getline line < tables) > 0)
			if (line !~ /SPDX/ && (line || last))
				print last = line
		if (last)
			print ""
	}' $to/loop.rst > "$new"
	cat "$new" > $to/loop.rst
}

if ! whole bench && ! whole bench-smp && [ ! -e build/bench/control.rst ]; then
	echo "$0: no results of a whole bench in build/bench" >&2
	exit 1
fi
for name in bench bench-smp; do
	! whole $name || take $name build/bench/$name.rst
done
[ ! -e build/bench/control.rst ] || take bench-control build/bench/control.rst
! whole bench || cp build/bench/bench.svg $to/loop-bench.svg
git diff --stat -- $to
