#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Random calls: a storm of them, or the same calls on the kernel's own driver and on the
# one under test, whose traces have to be the same; see fuzz.c.
#
# usage: fuzz.sh [storm SECONDS [OPTION-OF-FUZZ]... [SEED]]
#        fuzz.sh compare SEEDS STEPS [FIRST-SEED]
#
# Without arguments it runs a storm of 60 seconds.  If the 32-bit program is built, it
# makes one half of a storm, and the traces of odd seeds.
#
# A storm prints its seed.  The same seed and -p 1 repeat the calls of its first process,
# alone and in the same order, and -v prints them. Process N of a storm has the seed
# SEED + N:
#
#        FUZZ=fuzz fuzz.sh storm 20 -p 1 -v SEED      or FUZZ=fuzz_32
#
# "compare 1 STEPS SEED" repeats a trace that differs.
# LOOP_TEST_KEEP=DIR copies the traces there; LOOP_TEST_TWICE compares the kernel's own
# driver with itself.

# shellcheck disable=SC2119,SC2317 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
[ $# -gt 0 ] || set -- storm 60
case $1 in
storm) [ $# -ge 2 ] ;;
compare) [ $# -ge 3 ] ;;
*) false ;;
esac || bail_out "usage: storm SECONDS [OPTION]... [SEED] | compare SEEDS STEPS [SEED]"
need_root
need_cmd mkfs.ext4 mkfs.xfs
programs=()
for program in ${FUZZ:-fuzz fuzz_32}; do
	[ ! -x "$LOOP_TEST_BIN/$program" ] || programs+=("$program")
done
[ ${#programs[@]} -gt 0 ] || skip_all "fuzz is not built"

scratch_init || bail_out "no scratch space"
on=()
for type in ext4 xfs; do
	at=$(scratch_fs "$type") || bail_out "no $type"
	on+=(-f "$type=$(findmnt -no SOURCE "$at")")
	scratch_fs_end "$at"
done

storm()
{
	local seconds=$1 program rc=0

	shift
	loop_load || bail_out "the module does not load"
	for program in "${programs[@]}"; do
		diag "$program"
		"$LOOP_TEST_BIN/$program" "${on[@]}" -t $((seconds / ${#programs[@]})) \
			"$@" || rc=1
	done
	return "$rc"
}

program_for()
{
	echo "${programs[$1 % ${#programs[@]}]}"
}

# traces NAME SEED...: makes the traces of the driver that is loaded
traces()
{
	local name=$1 seed

	shift
	for seed in "$@"; do
		"$LOOP_TEST_BIN/$(program_for "$seed")" "${on[@]}" -n "$steps" "$seed" \
			> "$LOOP_SCRATCH/$name.$seed" 2>&1 ||
			diag "$name, seed $seed: exit status $?"
	done
}

# alike ONE OTHER: prints the first difference, as later ones follow from it
alike()
{
	cmp -s "$1" "$2" && grep -q '^ok 3 ' "$1" && return
	diff -U 12 "$1" "$2" | head -n 40
	return 1
}

compare()
{
	local steps=$2 seed seeds other=ours

	mapfile -t seeds < <(seq "${3:-1}" $((${3:-1} + $1 - 1)))
	loop_load_stock || skip_all "no stock module to compare with"
	traces stock "${seeds[@]}"
	if [ -n "${LOOP_TEST_TWICE:-}" ]; then
		other=again
	else
		loop_load || bail_out "the module does not load"
	fi
	traces "$other" "${seeds[@]}"
	for seed in "${seeds[@]}"; do
		claim "$(program_for "$seed"), seed $seed, $steps steps: traces are the same" \
			alike "$LOOP_SCRATCH/stock.$seed" "$LOOP_SCRATCH/$other.$seed"
	done
	[ -z "${LOOP_TEST_KEEP:-}" ] ||
		cp "$LOOP_SCRATCH/stock".* "$LOOP_SCRATCH/$other".* "$LOOP_TEST_KEEP"
	tap_plan_end
}

if [ "$1" = compare ]; then
	tap_start
	compare "${@:2}"
else
	storm "${@:2}"
fi
