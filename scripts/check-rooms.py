#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that no room of the driver uses what a room above it defines.

usage: check-rooms.py [DIRECTORY]

Looks at the symbols of the objects that a build has left in drivers/block and
drivers/block/loop of DIRECTORY, which is this checkout by default. Prints a line
for each symbol that an object below its room uses, for each global symbol that no
other object uses, for each file that is too long or is no room, and for each function
in a header that does not stand for one that is not built. A line makes it fail.
"""

import pathlib
import re
import subprocess
import sys

# From the highest to the lowest, as at the top of drivers/block/loop.c.
ROOMS = ("loop.c", "loop/control.c", "loop/lease.c", "loop/index.c", "loop/config.c",
         "loop/attach.c", "loop/report.c", "loop/backing.c", "loop/swap.c", "loop/merge.c",
         "loop/work.c", "loop/inject.c")
MAX_LINES = 1400

block = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                     pathlib.Path(__file__).resolve().parent.parent) / "drivers/block"
findings = []


def symbols(room):
    """The global symbols that the room's object defines, and those that it needs."""
    path = (block / room).with_suffix(".o")
    if not path.exists():
        sys.exit(f"{sys.argv[0]}: {path} is not built")
    lines = subprocess.run(["nm", path], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    pairs = [line.split()[-2:] for line in lines]
    return ({name for kind, name in pairs if kind in "TDBRVWC"},
            {name for kind, name in pairs if kind == "U"})


files = ["loop.c"] + sorted(f"loop/{path.name}" for path in (block / "loop").glob("*.[ch]"))
findings += [f"drivers/block/{file}: no room has this name" for file in files
             if file.endswith(".c") and file not in ROOMS]
for file in files:
    text = (block / file).read_text()
    if (lines := text.count("\n")) > MAX_LINES:
        findings.append(f"drivers/block/{file}: {lines} lines, of {MAX_LINES}")
    findings += [f"drivers/block/{file}: includes {name}"
                 for name in re.findall(r'^#include .*?([\w.]+\.c)[>"]', text, re.M)]
    findings += [f"drivers/block/{file}: has code: {name}()" for name in
                 re.findall(r"(?<!#else\n)^static inline .*?(\w+)\(", text, re.M)
                 if file.endswith(".h")]

tables = {room: symbols(room) for room in ROOMS}
used = set()
for low, room in enumerate(ROOMS):
    for high, owner in enumerate(ROOMS):
        shared = tables[room][1] & tables[owner][0]
        used |= shared
        if high < low:
            findings += [f"drivers/block/{room}: uses {name} of {owner}, which is above it"
                         for name in sorted(shared)]
for room in ROOMS:
    findings += [f"drivers/block/{room}: nobody else uses {name}, which is not static"
                 for name in sorted(tables[room][0] - used) if name.startswith("loop_")]

print("\n".join(findings), end="\n" if findings else "")
sys.exit(bool(findings))
