#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""profile-report.py DIRECTORY FEW MANY

Prints tables of the instructions that one I/O costs in each function of the kernel, from the
counts that profile.sh has left in DIRECTORY for VMs with FEW and with MANY I/Os.
"""

import bisect
import collections
import pathlib
import sys

VARIANTS = ("limit", "stock", "ours")
CASES = {
    "direct-read": "Direct random read",
    "direct-write": "Direct random write",
    "cached-read": "Buffered random read, cached",
    "cached-write": "Buffered random write, cached",
}
# A function with less than this is in the rest.
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
        count[names[place] if place >= 0 else ("", "the program")] += int(instructions)
    return count


def per_io(directory, case, variant, few, many):
    """Returns the instructions of each function for one I/O."""
    count = functions(directory / f"{variant}.{case}.{many}")
    count.subtract(functions(directory / f"{variant}.{case}.{few}"))
    return {key: value / (many - few) for key, value in count.items()}


def table(title, rows):
    """Prints rows of a name and three numbers."""
    width = max(len(row[0]) for row in rows)
    line = "=" * width + " ======= ======= ======="
    print(f"{title}\n\n{line}")
    print(f"{'':{width}} {'limit':>7} {'stock':>7} {'ours':>7}\n{line}")
    for name, *numbers in rows:
        print(f"{name:{width}} " + " ".join(f"{round(n):7d}" for n in numbers))
    print(f"{line}\n")


def report(directory, case, few, many):
    """Prints the table of one case."""
    costs = [per_io(directory, case, variant, few, many) for variant in VARIANTS]
    rows, rest = [], [0, 0, 0]
    for key in set().union(*costs):
        numbers = [cost.get(key, 0) for cost in costs]
        module, name = key
        # The functions of the stock driver are not ours. Loops that wait at boot make
        # negative numbers.
        own = module == "loop" and numbers[2] >= SMALL
        differs = module != "loop" and abs(numbers[2] - numbers[0]) >= SMALL
        if own or differs and min(numbers) > -1:
            if own:
                numbers[1] = 0
            rows.append((module, name, numbers))
        else:
            rest = [a + b for a, b in zip(rest, numbers)]
    driver = [sum(n for (module, _), n in cost.items() if module == "loop") for cost in costs]
    total = [sum(cost.values()) for cost in costs]
    # the driver first, and then by what the loop device adds
    rows.sort(key=lambda row: (row[0] != "loop", row[2][0] - row[2][2]))
    lines = [(f"{name}" + (f" [{module}]" if module else ""), *numbers)
             for module, name, numbers in rows]
    lines += [("the driver, all functions", *driver), ("what differs less", *rest),
              ("all", *total)]
    table(CASES[case], lines)


def main():
    """Prints the tables of all cases in the directory."""
    directory, few, many = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for case in CASES:
        if (directory / f"limit.{case}.{many}.count").exists():
            report(directory, case, few, many)


main()
