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


# The chart: a column for each of these sets, a row for each job.
COLUMNS = {
    "direct-ext4": ("Direct I/O", "ext4 file"),
    "buffered-ext4": ("Buffered, cached", "ext4 file"),
    "direct-xfs": ("Direct I/O", "xfs file"),
    "buffered-xfs": ("Buffered, cached", "xfs file"),
    "direct-null": ("Direct I/O", "block device"),
}
COLOURS = {"stock": "#e0862f", "ours": "#2b65ad"}
LEGEND = {"stock": "the kernel's own driver", "ours": "this driver"}
LABELS, WIDTH, FULL = 205, 127, 96  # of the labels, of a column, of 100 %
TOP, PITCH, BAR = 104, 30, 11  # of the first row, from row to row, of a bar


def chart(rows, path, kernel):
    """How much of the limit is reached, as an SVG file."""
    share = {(row["set"], row["job"], variant): row[variant] / row["limit"]
             for row in rows for variant in COLOURS if row[variant] and row["limit"]}
    names = [name for name in COLUMNS if any(key[0] == name for key in share)]
    jobs = [job for job in JOBS if any(key[:2] == (n, job) for key in share for n in names)]
    if not names:
        return
    width = LABELS + WIDTH * len(names) + 10
    bottom = TOP + PITCH * len(jobs)
    out = []

    def rect(x, y, w, h, colour):
        out.append(f'<rect x="{x:g}" y="{y:g}" width="{w:.1f}" height="{h:g}" fill="{colour}"/>')

    def text(x, y, what, more=""):
        out.append(f'<text x="{x:g}" y="{y:g}"{more}>{what}</text>')

    out.append(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 30}" '
               f'width="{width}" height="{bottom + 30}" font-family="sans-serif" '
               'font-size="12" fill="#222">')
    rect(0, 0, width, bottom + 30, "#fff")
    text(10, 24, "I/Os per second, as a share of what the file itself does without a loop device",
         ' font-size="15" font-weight="bold"')
    x = 10
    for variant, colour in COLOURS.items():
        rect(x, 38, 12, 12, colour)
        text(x + 18, 48, LEGEND[variant])
        x += 170 if variant == "stock" else 110
    text(x, 48, "longer is better", ' fill="#666"')
    for number, name in enumerate(names):
        left = LABELS + WIDTH * number
        for line, what in enumerate(COLUMNS[name]):
            text(left, 74 + 15 * line, what, ' font-weight="bold"' if not line else "")
        text(left + FULL, 89, "100 %", ' font-size="10" fill="#666" text-anchor="middle"')
        out.append(f'<path d="M{left + FULL} 94V{bottom}" stroke="#999" stroke-dasharray="3 3"/>')
        out.append(f'<path d="M{left} 94V{bottom}" stroke="#999"/>')
    for line, job in enumerate(jobs):
        top = TOP + PITCH * line
        text(LABELS - 8, top + 15, JOBS[job], ' text-anchor="end"')
        for number, name in enumerate(names):
            left = LABELS + WIDTH * number
            for place, (variant, colour) in enumerate(COLOURS.items()):
                value = share.get((name, job, variant))
                if value:
                    length = min(value * FULL, WIDTH - 26)
                    y = top + place * BAR
                    rect(left, y, length, BAR - 1, colour)
                    text(left + length + 3, y + 9, f"{100 * value:.0f}",
                         ' font-size="10" stroke="#fff" stroke-width="3" paint-order="stroke"')
    text(10, bottom + 18, f"Linux {kernel}, in a virtual machine where time is the number of "
         "instructions; files on a RAM disk, a null_blk device.", ' font-size="11" fill="#666"')
    out.append("</svg>")
    pathlib.Path(path).write_text("\n".join(out) + "\n")


def main():
    directory, output = sys.argv[1:3]
    rows = make_rows(read_results(pathlib.Path(directory)))
    if not rows:
        sys.exit(f"{sys.argv[0]}: there are no such rows")
    facts = dict(argument.split("=", 1) for argument in sys.argv[3:])
    rounds = "smp" in output
    columns = [f"{a}/{b}" for a, b in RATIOS]
    if not rounds:
        columns = [*VARIANTS, *columns[:2]]
        chart(rows, f"{output}.svg", facts["kernel"])
    with open(f"{output}.json", "w") as out:
        json.dump({**facts, "rows": rows}, out, indent=1)
        out.write("\n")
    with open(f"{output}.rst", "w") as out:
        print(".. SPDX-License-Identifier: GPL-2.0\n", file=out)
        print(f"On Linux {facts['kernel']}:\n", file=out)
        table(rows, columns, "=", out)
    table(rows, columns, "-", sys.stdout)


if __name__ == "__main__":
    main()
