#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# "make bench-doc" puts the results of the last "make bench ROWS=all" and "make bench-smp
# ROWS=all" of each kernel, and of "make bench-control", into the documents: the tables
# between the comments in loop.rst, and the charts. README.md shows loop-bench.svg.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
to=Documentation/admin-guide/blockdev
tables=$(mktemp)
new=$(mktemp)
trap 'rm -f "$new" "$tables"' EXIT
found='' refused=''

# whole NAME: prints the directories of results that have all rows and are for our module;
# the directory of the VM's own kernel is the first
whole()
{
	for json in build/bench/"$1".json build/bench/*/"$1".json; do
		! grep -qs "\"command\": \"make $1\( KERNEL=[^ ]*\)\? ROWS=.\"all.\"\"," "$json" ||
			dirname "$json"
	done
}

# chart DIRECTORY NAME share|ratio TEXT: copies that chart, and prints its place in the text
chart()
{
	[ -e "$1/$2-$3.svg" ] || return 0
	kernel=${1#build/bench}
	svg=loop-$2${kernel:+-${kernel#/}}
	[ "$3" = share ] || svg=$svg-$3
	cp "$1/$2-$3.svg" "$to/$svg.svg"
	printf '.. kernel-figure:: %s.svg\n   :alt: %s on Linux %s\n\n' "$svg" "$4" \
		"$(sed -n 's/^ "kernel": "\(.*\)",/\1/p' "$1/$2.json")"
}

# take NAME FILE DIRECTORY...: replaces the tables of NAME by those of FILE in each
# DIRECTORY, with the charts before them, unless there are fewer than in the document
take()
{
	name=$1 file=$2
	shift 2
	[ $# -gt 0 ] || return 0
	found=1
	had=$(sed -n "/^\.\. Tables of $name\$/,/^\.\. End of the tables/p" $to/loop.rst |
		grep -c '^On Linux') || true
	if [ "$had" -gt $# ]; then
		echo "$0: $to/loop.rst has $name tables of $had kernels, build/bench of $#" >&2
		refused=1
		return 0
	fi
	for dir in "$@"; do
		chart "$dir" "$name" share "Share of the limit that stock and this driver reach"
		chart "$dir" "$name" ratio "This driver compared with stock"
		cat "$dir/$file"
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
	take $name $name.rst $(whole $name)
done
[ ! -e build/bench/control.rst ] || take bench-control control.rst build/bench
if [ ! "$found" ]; then
	echo "$0: no results of all rows in build/bench" >&2
	exit 1
fi
git diff --stat -- $to
[ ! "$refused" ]
