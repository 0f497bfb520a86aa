#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes tables and a chart of what tools/testing/selftests/loop/bench.sh left.

usage: bench-report.py DIRECTORY OUTPUT KEY=VALUE...

The table goes to stdout, the rest to OUTPUT.json (with the KEYs), OUTPUT.rst
and OUTPUT.svg.  Where a row was measured several times, in rounds, only ratios
within a round mean something; their medians are shown, and there is no chart.
"""

import collections
import json
import pathlib
import statistics
import subprocess
import sys

SETS = {
    "direct-ext4": "Direct I/O, ext4 file on a RAM disk",
    "buffered-ext4": "Buffered I/O, cached, ext4 file on a RAM disk",
    "direct-xfs": "Direct I/O, xfs file on a RAM disk",
    "buffered-xfs": "Buffered I/O, cached, xfs file on a RAM disk",
    "direct-null": "Direct I/O, null_blk device",
    "dm-linear": "The same, with dm-linear over the null_blk device as the limit",
    "uncached": "Buffered I/O, not cached, ext4 file on a null_blk device "
                "that takes 100 us",
    "discard": "Discard on a null_blk device, or zeroes where the loop device "
               "has no discard: requests it gets",
    "share": "Direct I/O of a cgroup on an ext4 file beside one limited to 1 MB/s: "
             "part of its rate alone",
}

JOBS = {
    "randread-1": "4k random read, depth 1",
    "randread-32": "4k random read, depth 32",
    "randread-32x2": "4k random read, 2 jobs of depth 32",
    "randwrite-32": "4k random write, depth 32",
    "read-32": "4k sequential read, depth 32",
    "write-32": "4k sequential write, depth 32",
    "read128k-8": "128k sequential read, depth 8",
    "write128k-8": "128k sequential write, depth 8",
    "fdatasync-1": "4k random write + fdatasync",
    "dsync-1": "4k random write, O_DSYNC",
    "discard-1g": "1 GiB",
}

VARIANTS = ("limit", "stock", "ours")
SHARES = {"share"}       # ratios already
RATIOS = (("ours", "stock"), ("ours", "limit"), ("stock", "limit"))


def read_results(directory):
    """{(set, job): {variant: {round: I/Os per second, or requests}}}"""
    results = collections.defaultdict(
        lambda: {variant: {} for variant in (*VARIANTS, "dm")})
    for path in directory.glob("*.json"):
        name, variant, turn, _ = path.name.split(".")
        for job in json.loads(path.read_text())["jobs"]:
            if not job["jobname"].startswith("warm-"):
                results[name, job["jobname"]][variant][turn] = (
                    job["read"]["iops"] + job["write"]["iops"])
    for path in directory.glob("discard.*"):
        name, variant, turn = path.name.split(".")
        results[name, "discard-1g"][variant][turn] = int(path.read_text())
    for path in directory.glob("share.*"):
        name, job, variant, turn = path.name.split(".")
        results[name, job][variant][turn] = float(path.read_text())
    for name, job in list(results):
        values = results[name, job]
        if values["dm"]:
            results["dm-linear", job] = {**values, "limit": values["dm"]}
    return results


def median(values):
    return round(statistics.median(values), 3) if values else None


def make_rows(results):
    rows = []
    for name in SETS:
        for job in JOBS:
            if (name, job) not in results:
                continue
            values = results[name, job]
            row = {"set": name, "job": job}
            for variant in VARIANTS:
                row[variant] = median(list(values[variant].values()))
            for above, below in RATIOS:
                row[f"{above}/{below}"] = median([
                    value / values[below][turn]
                    for turn, value in values[above].items()
                    if values[below].get(turn)])
            rows.append(row)
    return rows


def cell(value, is_ratio):
    if value is None:
        return "-"
    return f"{value:.2f}" if is_ratio else f"{value:.0f}"


def table(rows, columns, line, out):
    """A table as reStructuredText knows it for each set; line is for rules."""
    width = max(len(JOBS[row["job"]]) for row in rows)
    for name, title in SETS.items():
        lines = [row for row in rows if row["set"] == name]
        if not lines:
            continue
        shown = VARIANTS if name in SHARES else columns
        rule = " ".join([line * width] + [line * 11 for _ in shown])
        print(f"{title}\n", file=out)
        print(rule, file=out)
        print(" ".join([f"{'':{width}}"] + [f"{c:>11}" for c in shown]).rstrip(), file=out)
        print(rule, file=out)
        for row in lines:
            print(" ".join([f"{JOBS[row['job']]:{width}}"] +
                           [f"{cell(row[c], '/' in c or name in SHARES):>11}"
                            for c in shown]),
                  file=out)
        print(f"{rule}\n", file=out)


def chart(rows, path):
    names = [name for name in SETS if name != "discard" and
             any(row["set"] == name for row in rows)]
    if not names:
        return
    lines = (len(names) + 1) // 2
    commands = [
        f"set terminal svg noenhanced size 1200,{360 * lines} font 'sans,12' "
        "background 'white'",
        f"set output '{path}'",
        f"set multiplot layout {lines},2",
        "set style data histograms",
        "set style histogram clustered gap 1",
        "set style fill solid",
        "set boxwidth 0.9",
        "set yrange [0:*]",
        "set ylabel '1000 I/Os per second'",
        "set grid ytics",
        "set xtics rotate by -35 nomirror",
        "set key at graph 1,1.1 horizontal",
        "set tmargin 5",
    ]
    for number, name in enumerate(names):
        commands.append(f"$d{number} << END")
        for row in rows:
            if row["set"] == name:
                commands.append(" ".join(
                    [row["job"]] + [str((row[v] or 0) / 1000) for v in VARIANTS]))
        commands += [
            "END",
            f"set title \"{SETS[name]}\" offset 0,1.2",
            f"plot $d{number} using 2:xtic(1) title 'limit' linecolor '#b0b0b0', "
            "'' using 3 title 'stock' linecolor '#e08030', "
            "'' using 4 title 'ours' linecolor '#3060b0'",
        ]
    subprocess.run(["gnuplot"], input="\n".join(commands), text=True, check=True)


def main():
    directory, output = sys.argv[1:3]
    rows = make_rows(read_results(pathlib.Path(directory)))
    if not rows:
        sys.exit(f"{sys.argv[0]}: there are no such rows")
    rounds = "smp" in output
    columns = [f"{a}/{b}" for a, b in RATIOS]
    if not rounds:
        columns = [*VARIANTS, *columns[:2]]
        chart(rows, f"{output}.svg")
    facts = dict(argument.split("=", 1) for argument in sys.argv[3:])
    with open(f"{output}.json", "w") as out:
        json.dump({**facts, "rows": rows}, out, indent=1)
        out.write("\n")
    with open(f"{output}.rst", "w") as out:
        print(".. SPDX-License-Identifier: GPL-2.0\n", file=out)
        print(f"``{facts['command']}``, Linux {facts['kernel']}:\n", file=out)
        table(rows, columns, "=", out)
    table(rows, columns, "-", sys.stdout)


main()
