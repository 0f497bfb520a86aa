#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Random calls: a storm of them, or the same ones on the kernel's own driver and
# on the one under test, whose traces have to be the same; see fuzz.c.
#
# usage: fuzz.sh storm SECONDS [SEED]
#        fuzz.sh compare SEEDS STEPS [FIRST-SEED]
#
# With LOOP_TEST_KEEP=DIR traces are copied there; with LOOP_TEST_TWICE the
# kernel's own driver is compared with itself.

# shellcheck disable=SC2119,SC2317 # claims call functions by name

cd "$(dirname "$0")" || exit 1
# shellcheck source=system.sh
. ./system.sh
need_root
need_cmd mkfs.ext4 mkfs.xfs
[ -x "$LOOP_TEST_BIN/fuzz" ] || skip_all "fuzz is not built"
[ $# -ge 2 ] || bail_out "usage: storm SECONDS [SEED] | compare SEEDS STEPS [SEED]"

scratch_init || bail_out "no scratch space"
on=()
for type in ext4 xfs; do
	at=$(scratch_fs "$type") || bail_out "no $type"
	on+=(-f "$type=$(findmnt -no SOURCE "$at")")
	scratch_fs_end "$at"
done

storm()
{
	loop_load || bail_out "the module does not load"
	"$LOOP_TEST_BIN/fuzz" "${on[@]}" -t "$@"
}

# traces NAME SEED...: of the driver that is loaded
traces()
{
	local name=$1 seed

	shift
	for seed in "$@"; do
		"$LOOP_TEST_BIN/fuzz" "${on[@]}" -n "$steps" "$seed" \
			> "$LOOP_SCRATCH/$name.$seed" 2>&1 ||
			diag "$name, seed $seed: exit status $?"
	done
}

# alike ONE OTHER: the first difference tells, later ones follow from it
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
		claim "seed $seed, $steps steps: traces are the same" \
			alike "$LOOP_SCRATCH/stock.$seed" "$LOOP_SCRATCH/$other.$seed"
	done
	[ -z "${LOOP_TEST_KEEP:-}" ] ||
		cp "$LOOP_SCRATCH/stock".* "$LOOP_SCRATCH/$other".* "$LOOP_TEST_KEEP"
	tap_plan_end
}

case $1 in
compare)
	tap_start
	compare "${@:2}"
	;;
*)
	storm "${@:2}"
	;;
esac
