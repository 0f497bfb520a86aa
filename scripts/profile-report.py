#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""profile-report.py DIRECTORY FEW MANY

Prints tables of the instructions that one I/O costs in each function of the kernel, from the
counts that profile.sh has left in DIRECTORY for VMs with FEW and with MANY I/Os. Functions
that I/Os do not call are left out, as they run longer if the host is slow.
"""

import bisect
import collections
import pathlib
import sys

VARIANTS = ("limit", "ours")
CASES = {
    "direct-read": "Direct random read",
    "direct-write": "Direct random write",
    "cached-read": "Buffered random read, cached",
}
# Functions whose costs differ by less are one row.
SMALL = 20


def functions(run):
    """Returns the instructions of each (module, function) in one VM."""
    starts, names = [], []
    for line in sorted(open(f"{run}.symbols")):
        address, kind, name, *module = line.split()
        if kind in "tTwW":
            starts.append(int(address, 16))
            names.append((module[0].strip("[]") if module else "", name))
    count = collections.Counter()
    for line in open(f"{run}.count"):
        address, instructions = line.split()
        place = bisect.bisect_right(starts, int(address, 16)) - 1
        if place >= 0:
            count[names[place]] += int(instructions)
    return count


def per_io(directory, case, variant, few, many):
    """Returns the instructions of each function for one I/O."""
    count = functions(directory / f"{variant}.{case}.{many}")
    count.subtract(functions(directory / f"{variant}.{case}.{few}"))
    return {key: value / (many - few) for key, value in count.items()}


def runs_for_each_io(costs):
    """Tells a function that I/Os call from one that timers and other threads call."""
    if max(costs) > 250:
        # one that copies is called by others as well, less often in the longer run
        return min(costs) > -25
    return min(costs) > -0.5 and all(abs(cost - round(cost)) < 0.1 for cost in costs)


def report(directory, case, few, many):
    """Prints the table of one case."""
    costs = [per_io(directory, case, variant, few, many) for variant in VARIANTS]
    rows, small = [], [0, 0]
    for module, name in set().union(*costs):
        row = [cost.get((module, name), 0) for cost in costs]
        if not runs_for_each_io(row):
            continue
        if abs(row[1] - row[0]) >= SMALL:
            rows.append((module, name, row))
        else:
            small = [a + b for a, b in zip(small, row)]
    # the driver first, and then by what the loop device adds
    rows.sort(key=lambda row: (row[0] != "loop", row[2][0] - row[2][1], row[1]))
    lines = [(name + (f" [{module}]" if module else ""), *row) for module, name, row in rows]
    total = [a + sum(row[i] for _, _, row in rows) for i, a in enumerate(small)]
    driver = sum(cost for (module, _), cost in costs[1].items() if module == "loop")
    lines += [("functions that differ less", *small), ("all functions", *total),
              ("the driver's", 0, driver)]
    width = max(len(line[0]) for line in lines)
    border = "=" * width + " ======= ======="
    print(f"{CASES[case]}\n\n{border}\n{'':{width}}   limit    ours\n{border}")
    for name, limit, ours in lines:
        print(f"{name:{width}} {round(limit):7d} {round(ours):7d}")
    print(f"{border}\n")


def main():
    """Prints the tables of all cases in the directory."""
    directory, few, many = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for case in CASES:
        if (directory / f"limit.{case}.{many}.count").exists():
            report(directory, case, few, many)


main()
