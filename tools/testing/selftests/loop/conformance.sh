#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Compares the module under test with the one of the kernel: the same program runs on
# both in one boot. Each line of its output that differs must be in
# conformance.differences, and each entry there must be needed.
#
# usage: conformance.sh [GROUP]...
#
# shellcheck disable=SC1091,SC2119,SC2317
. ./common.sh

need_root
[ -x "$LOOP_TEST_BIN/conformance" ] || skip_all "conformance is not built"
[ -n "$(loop_stock_ko)" ] || skip_all "no stock module to compare with"

scratch_init || bail_out "no scratch space"
work=$LOOP_SCRATCH/work
mkdir "$work"
differences=$work/differences
awk -F '\t' -v release="$(uname -r)" '
	BEGIN { split(release, n, "."); major = n[1]; series = n[1] "." n[2] }
	/^(#|$)/ { next }
	NF < 3 || index(" " $3 " ", " " major " ") ||
		index(" " $3 " ", " " series " ") { print $1 "\t" $2 }
' conformance.differences > "$differences"
set_up()
{
	ext4=$(scratch_fs ext4) && xfs=$(scratch_fs xfs) &&
		btrfs=$(scratch_fs btrfs) && tmpfs=$(scratch_fs tmpfs)
}
set_up || bail_out "no scratch file systems"
modprobe -q null_blk nr_devices=1 gb=1 memory_backed=1 discard=1

# The overlay is the test's own, so that the file always exists.
overlay=$LOOP_SCRATCH/mnt/overlay
mkdir -p "$overlay" "$work/upper" "$work/work" "$work/lower"
mount -t overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work" \
	overlay "$overlay" || diag "no overlay"

# A VM has the host's root over 9p.
p9file=/run/vm/root/etc/debian_version

# run PROGRAM OUTPUT [GROUP]...
run()
{
	_program=$1
	_out=$2
	shift 2
	"$LOOP_TEST_BIN/$_program" -d "$ext4" -f "ext4=$ext4" -f "xfs=$xfs" \
		-f "btrfs=$btrfs" -f "tmpfs=$tmpfs" -f "overlay=$overlay" \
		-f "9p=$p9file" "$@" > "$_out" 2> "$_out.errors"
	_rc=$?
	sed 's/^#* */# /' "$_out.errors"
	return "$_rc"
}

# run_all NAME [GROUP]...: runs the programs of both word sizes on the loaded module
run_all()
{
	_name=$1
	shift
	for bits in 64 32; do
		_prog=conformance
		[ "$bits" = 64 ] || _prog=conformance_32
		[ -x "$LOOP_TEST_BIN/$_prog" ] || continue
		# The 32-bit program tests the translation of calls only.
		if [ "$bits" = 32 ] && [ $# -eq 0 ]; then
			tap_run "$_name, $bits bits, ran to its end" \
				run "$_prog" "$work/$_name.$bits" -b states \
				fields pointers control control_nobody
		else
			tap_run "$_name, $bits bits, ran to its end" \
				run "$_prog" "$work/$_name.$bits" "$@"
		fi
	done
}

# compare BITS: prints a line for each group of cases.  An entry of the list is a glob of
# case names, optionally with "@" and the words that may differ. A word is the part of
# "word=value" before "=", or "value" if the line has no such words.
compare()
{
	awk -v bits="$1" -v used="$work/used" '
	function to_regex(glob,    i, c, re) {
		re = "^"
		for (i = 1; i <= length(glob); i++) {
			c = substr(glob, i, 1)
			if (c == "*")
				re = re ".*"
			else if (c == "?")
				re = re "."
			else if (index(".+(){}[]^$|\\", c))
				re = re "\\" c
			else
				re = re c
		}
		return re "$"
	}
	# Prints the words that differ, as ",a,b,".  A line without a word says "same".
	function changed(x, y,    n, m, i, a, b, va, vb, k, out) {
		n = split(x, a, " ")
		m = split(y, b, " ")
		for (i = 1; i <= n; i++) {
			k = a[i]
			sub(/=.*/, "", k)
			if (k != "same")
				va[k] = va[k] " " a[i]
		}
		for (i = 1; i <= m; i++) {
			k = b[i]
			sub(/=.*/, "", k)
			if (k != "same")
				vb[k] = vb[k] " " b[i]
		}
		out = ","
		for (k in va)
			if (va[k] != vb[k])
				out = out k ","
		for (k in vb)
			if (!(k in va))
				out = out k ","
		return out == "," ? ",order," : out
	}
	function allowed(name, words,    i, w, k, n, parts, rest) {
		rest = words
		for (i = 1; i <= globs; i++) {
			if (name !~ regex[i])
				continue
			if (fields[i] == "") {
				hit[i] = 1
				return 1
			}
			n = split(fields[i], parts, ",")
			for (k = 1; k <= n; k++) {
				w = "," parts[k] ","
				if (index(rest, w)) {
					hit[i] = 1
					sub(w, ",", rest)
				}
			}
		}
		return rest == ","
	}
	FILENAME == ARGV[1] {
		tab = index($0, "\t")
		glob = substr($0, 1, tab - 1)
		globs++
		text[globs] = glob
		at = index(glob, "@")
		fields[globs] = at ? substr(glob, at + 1) : ""
		regex[globs] = to_regex(at ? substr(glob, 1, at - 1) : glob)
		next
	}
	{
		colon = index($0, ": ")
		name = colon ? substr($0, 1, colon - 1) : $0
		rest = colon ? substr($0, colon + 2) : ""
		sub(/:$/, "", name)
	}
	FILENAME == ARGV[2] {
		stock[name] = rest
		order[++count] = name
		next
	}
	{
		ours[name] = rest
		if (!(name in stock))
			order[++count] = name
	}
	END {
		for (i = 1; i <= count; i++) {
			name = order[i]
			group = name
			sub(/\..*/, "", group)
			if (!(group in cases))
				groups[++group_count] = group
			cases[group]++
			if ((name in stock) && (name in ours) &&
			    stock[name] == ours[name])
				continue
			if (!(name in stock) || !(name in ours))
				words = ",absent,"
			else
				words = changed(stock[name], ours[name])
			if (allowed(name, words)) {
				intended[group]++
				continue
			}
			bad[group]++
			report[group] = report[group] \
				"# " name "\n#   stock: " \
				(name in stock ? stock[name] : "(no such line)") \
				"\n#   ours:  " \
				(name in ours ? ours[name] : "(no such line)") "\n"
		}
		for (i = 1; i <= group_count; i++) {
			group = groups[i]
			if (bad[group])
				printf "%s", report[group]
			printf "%s %s %s, %s bits: %d cases, %d intended differences, %d others\n",
				bad[group] ? "bad" : "good", group, group, bits,
				cases[group], intended[group], bad[group]
		}
		for (i = 1; i <= globs; i++)
			if (hit[i])
				print text[i] >> used
	}' "$differences" "$work/stock.$1" "$work/ours.$1"
}

tap_start
started=$(date +%s)
loop_load_stock || bail_out "the stock module does not load"
run_all stock "$@"
# Anything that a run leaves behind, or that depends on time, shows up here.
if [ -n "${LOOP_TEST_TWICE:-}" ]; then
	run_all again "$@"
	for bits in 64 32; do
		[ -e "$work/again.$bits" ] || continue
		tap_run "two runs on stock are alike, $bits bits" \
			cmp "$work/stock.$bits" "$work/again.$bits"
		diff "$work/stock.$bits" "$work/again.$bits" | sed 's/^/# /'
	done
fi
loop_unload || bail_out "the stock module does not unload"
loop_load || bail_out "the module under test does not load"
run_all ours "$@"
loop_unload || tap_not_ok "the module under test unloads"

: > "$work/used"
for bits in 64 32; do
	[ -e "$work/ours.$bits" ] || continue
	[ -e "$work/stock.$bits" ] || continue
	compare "$bits" > "$work/verdicts"
	while read -r verdict group text; do
		case $verdict in
		good) tap_ok "$text" ;;
		bad) tap_not_ok "$text" ;;
		*) echo "$verdict $group $text" ;;
		esac
	done < "$work/verdicts"
done

# A run of some groups does not need all entries of the list.
if [ $# -eq 0 ]; then
	cut -f 1 "$differences" > "$work/listed"
	while read -r glob; do
		if grep -qxF -e "$glob" "$work/used"; then
			tap_ok "intended difference $glob"
		else
			tap_not_ok "intended difference $glob: none is left"
		fi
	done < "$work/listed"
fi
if [ -n "${LOOP_TEST_KEEP:-}" ]; then
	cp "$work"/stock.* "$work"/ours.* "$LOOP_TEST_KEEP"
fi
diag "$(($(date +%s) - started)) seconds"
tap_plan_end
