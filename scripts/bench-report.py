#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes tables and charts of the results of tools/testing/selftests/loop/bench.sh.

usage: bench-report.py DIRECTORY OUTPUT KEY=VALUE...

Prints the tables on stdout, and writes OUTPUT.json (with the KEYs), OUTPUT.rst
and the charts OUTPUT-share.svg and OUTPUT-ratio.svg.  If a row was measured
several times, in rounds, only ratios within a round mean something: the tables
have their medians, and there is no chart of shares.
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
    "requests": "Sequential I/O, ext4 file on a null_blk device that takes 1 ms, with each "
                "scheduler: requests it gets, of which fewer are better",
    "cached": "Buffered I/O, cached, file on each file system",
    "state": "Direct I/O, file in a state",
    "mounted": "A file system on the device, of an ext4 file that is cached, or with "
               "direct I/O",
    "jobs": "Whole jobs, on a cached file of each file system: ms of processor time",
    "share": "Direct I/O of a cgroup on an ext4 file beside one limited to 1 MB/s: "
             "part of its rate alone",
    "writes": "Buffered writes to a file on each file system",
    "switches": "The same: context switches for each I/O",
    "latency": "The same, by tasks: the time in which 99 % of the I/Os end",
    "devices": "Direct I/O, a job for each device, ext4 files on a RAM disk",
    "beside": "Direct I/O, ext4 file on a RAM disk, while another program computes",
}

JOBS = {
    "randread-1": "4k random read, depth 1",
    "randread-32": "4k random read, depth 32",
    "randread-32x2": "4k random read, 2 jobs of depth 32",
    "randwrite-32": "4k random write, depth 32",
    "randrw-32": "4k random, 70 % reads, depth 32",
    "read-32": "4k sequential read, depth 32",
    "write-32": "4k sequential write, depth 32",
    "pages-write": "4k sequential write to the page cache",
    "read128k-8": "128k sequential read, depth 8",
    "write128k-8": "128k sequential write, depth 8",
    "fdatasync-1": "4k random write + fdatasync",
    "dsync-1": "4k random write, O_DSYNC",
    "discard-1g": "1 GiB",
    "direct-read": "4k read, direct, depth 32",
    "direct-write": "4k write, direct, depth 32",
    "batch-read": "4k read, direct, 16 at a time",
    "batch-write": "4k write, direct, 16 at a time",
    "buffered-randread": "4k random read, buffered",
    "buffered-read": "4k sequential read, buffered",
    "buffered-write": "4k sequential write, buffered",
    "mmap-randread": "4k random read, mmap",
    "direct-randread": "4k random read, direct, depth 32",
    "make-ext4": "make an ext4 image",
    "make-xfs": "make an xfs image",
    "make-btrfs": "make a btrfs image",
    "read-squashfs": "read a squashfs image",
    "read-erofs": "read an erofs image",
    "mount-40": "40 mounts",
    "fstrim": "fstrim",
    "fsync-200": "200 writes, O_SYNC",
    "tasks-1": "4k random write, 1 task",
    "tasks-16": "4k random write, 16 tasks",
    "tasks-256": "4k random write, 256 tasks",
    "tasks-512": "4k random write, 512 tasks",
    "devices-1": "4k random read, depth 32, 1 device",
    "devices-2": "4k random read, depth 32, 2 devices",
    "devices-8": "4k random read, depth 32, 8 devices",
    "second": "what the other program gets done",
}

FILE_SYSTEMS = ("ext4", "xfs", "btrfs", "tmpfs", "vfat", "ext2", "f2fs", "squashfs", "erofs")
VARIANTS = ("limit", "stock", "ours")
NUMBERS = {"share", "switches"}     # small numbers, no ratios
# Less is better, so the ratios are inverted.
COSTS = {"jobs", "requests", "switches", "latency"}
RATIOS = (("ours", "stock"), ("ours", "limit"), ("stock", "limit"))


def read_results(directory):
    """{(set, target, job): {variant: {round: I/Os per second, or a value}}}"""
    results = collections.defaultdict(
        lambda: {variant: {} for variant in (*VARIANTS, "dm")})
    for path in directory.glob("*.json"):
        name, target, _, variant, turn, _ = path.name.split(".")
        for job in json.loads(path.read_text())["jobs"]:
            if not job["jobname"].startswith("warm-"):
                results[name, target, job["jobname"]][variant][turn] = (
                    job["read"]["iops"] + job["write"]["iops"])
                # Of an io_uring job, fio measures only what comes after the submission.
                if name == "writes" and job["jobname"].startswith("tasks-"):
                    results["latency", target, job["jobname"]][variant][turn] = (
                        job["write"]["clat_ns"]["percentile"]["99.000000"] / 1e6)
    for path in directory.glob("*.value"):
        name, target, job, variant, turn, _ = path.name.split(".")
        results[name, target, job][variant][turn] = float(path.read_text())
    for name, target, job in list(results):
        values = results[name, target, job]
        if values["dm"]:
            results["dm-linear", target, job] = {**values, "limit": values["dm"]}
    return results


def place(target):
    """Where a target comes in its table: by file system, then alphabetically."""
    first = target.split("-")[0]
    return (FILE_SYSTEMS.index(first) if first in FILE_SYSTEMS else -1), target


def median(values):
    return round(statistics.median(values), 3) if values else None


def make_rows(results):
    rows = []
    places = {name: place for place, name in enumerate([*SETS, *JOBS])}
    for name, target, job in sorted(results, key=lambda row: (
            places[row[0]], place(row[1]), places[row[2]])):
        values = results[name, target, job]
        row = {"set": name, "target": target, "job": job}
        for variant in VARIANTS:
            row[variant] = median(list(values[variant].values()))
        for above, below in RATIOS:
            over, under = (below, above) if name in COSTS else (above, below)
            row[f"{above}/{below}"] = median([
                values[over][turn] / values[under][turn]
                for turn in values[above]
                if values[over].get(turn) and values[under].get(turn)])
        rows.append(row)
    return rows


def cell(value, is_ratio):
    if value is None:
        return "-"
    return f"{value:.2f}" if is_ratio else f"{value:.0f}"


def label(row):
    where = "" if row["target"] == "-" else row["target"] + ": "
    if row["set"] != "requests":
        where = where.replace("-", ", ")
    return where + JOBS[row["job"]]


def table(rows, columns, line, out):
    """Prints a table for each set, in reStructuredText if line is "="."""
    width = max(len(label(row)) for row in rows)
    for name, title in SETS.items():
        lines = [row for row in rows if row["set"] == name]
        if not lines:
            continue
        shown = [column for column in (VARIANTS if name in NUMBERS else columns)
                 if any(row[column] is not None for row in lines)]
        rule = " ".join([line * width] + [line * 11 for _ in shown])
        print(f"{title}\n", file=out)
        print(rule, file=out)
        print(" ".join([f"{'':{width}}"] + [f"{heading(name, c):>11}" for c in shown]).rstrip(),
              file=out)
        print(rule, file=out)
        for row in lines:
            print(" ".join([f"{label(row):{width}}"] +
                           [f"{cell(row[c], '/' in c or name in NUMBERS):>11}"
                            for c in shown]),
                  file=out)
        print(f"{rule}\n", file=out)


def heading(name, column):
    return "/".join(reversed(column.split("/"))) if name in COSTS else column


# One chart has a column for each of these sets, and a row for each job.
COLUMNS = {
    "direct-ext4": ("Direct I/O", "ext4 file"),
    "buffered-ext4": ("Buffered, cached", "ext4 file"),
    "direct-xfs": ("Direct I/O", "xfs file"),
    "buffered-xfs": ("Buffered, cached", "xfs file"),
    "direct-null": ("Direct I/O", "block device"),
}
COLOURS = {"stock": "#e0862f", "ours": "#2b65ad"}
LEGEND = {"stock": "the kernel's own driver", "ours": "this driver"}
LABELS, WIDTH, FULL = 205, 127, 96  # widths: of the labels, a column, a bar of 100 %
TOP, PITCH, BAR = 104, 30, 11  # y of the first row, y from row to row, height of a bar


class Picture:
    """An SVG file."""

    def __init__(self, width, height, title):
        self.out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" '
            'font-size="12" fill="#222">']
        self.rect(0, 0, width, height, "#fff")
        self.text(10, 24, title, ' font-size="15" font-weight="bold"')

    def rect(self, x, y, w, h, colour):
        self.out.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:.1f}" height="{h:g}" fill="{colour}"/>')

    def text(self, x, y, what, more=""):
        self.out.append(f'<text x="{x:g}" y="{y:g}"{more}>{what}</text>')

    def upright(self, x, top, bottom, more=""):
        self.out.append(f'<path d="M{x:g} {top}V{bottom}" stroke="#999"{more}/>')

    def number(self, x, y, what):
        self.text(x, y, what,
                  ' font-size="10" stroke="#fff" stroke-width="3" paint-order="stroke"')

    def write(self, path):
        pathlib.Path(path).write_text("\n".join([*self.out, "</svg>"]) + "\n")


def share_chart(rows, path, kernel):
    """Writes a chart of the share of the limit that each driver reaches."""
    share = {(row["set"], row["job"], variant): row[variant] / row["limit"]
             for row in rows for variant in COLOURS
             if row[variant] and row["limit"] and row["target"] == "-"}
    names = [name for name in COLUMNS if any(key[0] == name for key in share)]
    jobs = [job for job in JOBS if any(key[:2] == (n, job) for key in share for n in names)]
    if not names:
        return
    bottom = TOP + PITCH * len(jobs)
    picture = Picture(
        LABELS + WIDTH * len(names) + 10, bottom + 30,
        "I/Os per second, as a share of what the file itself does without a loop device")
    x = 10
    for variant, colour in COLOURS.items():
        picture.rect(x, 38, 12, 12, colour)
        picture.text(x + 18, 48, LEGEND[variant])
        x += 170 if variant == "stock" else 110
    picture.text(x, 48, "longer is better", ' fill="#666"')
    for number, name in enumerate(names):
        left = LABELS + WIDTH * number
        for line, what in enumerate(COLUMNS[name]):
            picture.text(left, 74 + 15 * line, what, ' font-weight="bold"' if not line else "")
        picture.text(left + FULL, 89, "100 %", ' font-size="10" fill="#666" text-anchor="middle"')
        picture.upright(left + FULL, 94, bottom, ' stroke-dasharray="3 3"')
        picture.upright(left, 94, bottom)
    for line, job in enumerate(jobs):
        top = TOP + PITCH * line
        picture.text(LABELS - 8, top + 15, JOBS[job], ' text-anchor="end"')
        for number, name in enumerate(names):
            left = LABELS + WIDTH * number
            for position, (variant, colour) in enumerate(COLOURS.items()):
                value = share.get((name, job, variant))
                if value:
                    length = min(value * FULL, WIDTH - 26)
                    y = top + position * BAR
                    picture.rect(left, y, length, BAR - 1, colour)
                    picture.number(left + length + 3, y + 9, f"{100 * value:.0f}")
    picture.text(10, bottom + 18, f"Linux {kernel}, in a virtual machine where time is the "
                 "number of instructions; files on a RAM disk, a null_blk device.",
                 ' font-size="11" fill="#666"')
    picture.write(path)


def ratio_chart(rows, path, kernel):
    """Writes a chart of ours/stock, with a block for each set that has no column above."""
    rows = [row for row in rows if row["ours/stock"] and row["set"] not in COLUMNS]
    names = [name for name in SETS if any(row["set"] == name for row in rows)]
    if not names:
        return
    left, one, longest, pitch = 300, 150, 380, 15  # one: the length of a bar for ratio 1
    bottom = 66 + pitch * len(rows) + 34 * len(names)
    picture = Picture(left + longest + 60, bottom + 30,
                      "This driver compared with the kernel's own: more than 1 is better")
    picture.text(10, 46, f"Linux {kernel}", ' font-size="11" fill="#666"')
    y = 60
    for name in names:
        lines = [row for row in rows if row["set"] == name]
        y += 24
        picture.text(10, y, SETS[name], ' font-weight="bold"')
        y += 10
        for row in lines:
            ratio = row["ours/stock"]
            length = min(ratio * one, longest)
            picture.text(left - 8, y + 10, label(row), ' text-anchor="end" font-size="11"')
            picture.rect(left, y + 1, length, pitch - 4, COLOURS["ours" if ratio >= 1 else "stock"])
            picture.number(left + length + 4, y + 10, f"{ratio:.2f}")
            y += pitch
        picture.upright(left + one, y - pitch * len(lines), y, ' stroke-dasharray="3 3"')
    picture.write(path)


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
        share_chart(rows, f"{output}-share.svg", facts["kernel"])
    ratio_chart(rows, f"{output}-ratio.svg", facts["kernel"])
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
