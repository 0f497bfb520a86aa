#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make bench-doc" puts the results of the last "make bench ROWS=all" and "make bench-smp
# ROWS=all" of each kernel, and of "make bench-control", into the documents: the tables
# between the comments in loop.rst, and the charts. README.md shows one of the charts.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
to=Documentation/admin-guide/blockdev
tables=$(mktemp)
new=$(mktemp)
trap 'rm -f "$new" "$tables"' EXIT
found=''

# whole NAME: prints the directories of results that have all rows and are for our module;
# the directory of the VM's own kernel is the first
whole()
{
	for json in build/bench/"$1".json build/bench/*/"$1".json; do
		! grep -qs "\"command\": \"make $1\( KERNEL=[^ ]*\)\? ROWS=.\"all.\"\"," "$json" ||
			dirname "$json"
	done
}

# take NAME FILE...: replaces the tables of NAME by the files. The chart of another kernel
# comes before its tables.
take()
{
	name=$1
	shift
	[ $# -gt 0 ] || return 0
	found=1
	for file in "$@"; do
		kernel=$(basename "$(dirname "$file")")
		[ "$name" != bench ] || [ "$kernel" = bench ] ||
			printf '.. kernel-figure:: loop-bench-%s.svg\n   :alt: The same on %s\n\n' \
				"$kernel" "$kernel"
		cat "$file"
	done > "$tables"
	awk -v tables="$tables" -v begin=".. Tables of $name" '
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

for name in bench bench-smp; do
	# shellcheck disable=SC2046 # a list of words
	take $name $(whole $name | sed "s,\$,/$name.rst,")
done
[ ! -e build/bench/control.rst ] || take bench-control build/bench/control.rst
for dir in $(whole bench); do
	kernel=${dir#build/bench}
	cp "$dir/bench.svg" "$to/loop-bench${kernel:+-${kernel#/}}.svg"
done
if [ ! "$found" ]; then
	echo "$0: no results of all rows in build/bench" >&2
	exit 1
fi
git diff --stat -- $to
