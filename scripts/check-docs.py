#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares the names in the code with those in the documents, both ways.

Those of ioctls, flags, module parameters, sysfs attributes, counters and
tracepoints. Prints a line for each that the other side does not have.
"""

import pathlib
import re
import sys

top = pathlib.Path(__file__).resolve().parent.parent
findings = {}  # in the order found


def read(*patterns):
    paths = [p for pattern in patterns for p in sorted(top.glob(pattern))]
    return "\n".join(p.read_text() for p in paths)


def expect(wanted, found, where):
    for name in sorted(set(wanted) - set(found)):
        findings[f"{where}: no {name}"] = True


def same(a, where_a, b, where_b):
    expect(a, b, where_b)
    expect(b, a, where_a)


def words(text):
    return set(re.findall(r"\w+", text))


def block(text, start):
    """What is in the braces after start."""
    return text.split(start, 1)[1].split("};", 1)[0]


def strings(text):
    return re.findall(r'"(\w+)"', text)


def section(text, title):
    """Of a document, up to the next title of the same kind."""
    return re.split(r"\n[^\n]+\n=+\n\n", text.split(f"\n{title}\n=", 1)[1])[0]


def rows(text):
    """The names in the first columns of tables, of both kinds."""
    names = re.findall(r"^\s+\* - ``(\w+)``$", text, re.M)
    inside = False
    for line in text.splitlines():
        line = line.lstrip("\t")
        if line.startswith("==="):
            inside = True
        elif not line:
            inside = False
        elif inside and (name := re.match(r"([a-z]\w*)  ?\S*", line)):
            names.append(name[1])
    return names


driver = read("drivers/block/loop.c")
uapi = read("include/uapi/linux/loop.h")
events = read("include/trace/events/loop.h")
loopctl = read("samples/loop/loopctl.c")
code = words(driver + uapi + events + read("include/linux/*.h", "samples/loop/*.c"))

rst = read("Documentation/admin-guide/blockdev/loop.rst")
abi = read("Documentation/ABI/testing/*")
documents = rst + abi + read("README.md", "Documentation/block/loop.rst", "man/*")
documented = words(documents.replace("\\fI", " ").replace("\\fB", " "))

RST = "Documentation/admin-guide/blockdev/loop.rst"
ABI = "Documentation/ABI/testing"
CODE = "drivers/block/loop.c"

# Constants of the ABI; in the documents, all that looks like one.
ioctls = re.findall(r"^#define (LOOP_\w+)\s+(?:0x4C|_IOWR)", uapi, re.M)
flags = re.findall(r"^\t((?:LO_FLAGS|LOOP_[A-Z]+)_\w+)\s*= \d", uapi, re.M)
expect(ioctls + flags, words(rst), RST)
named = {w for w in documented if re.fullmatch(r"(LO|LOOP)_[A-Z0-9_]*[A-Z0-9]", w)}
kinds = "|".join({name.rsplit("_", 1)[0] for name in flags})
expect({w for w in named if re.match(f"({kinds}|LOOP_CTL|LOOP_SET|LOOP_GET)_", w)},
       words(uapi), "include/uapi/linux/loop.h")
expect(named, code, "code")

# Module parameters
parameters = re.findall(r"^module_param\w*\((\w+),", driver, re.M)
same(parameters, CODE, rows(section(rst, "Module parameters")), RST)

# sysfs attributes and counters
attributes = re.findall(r"dev_attr_(\w+)", block(driver, "loop_attrs[] = {"))
disk = re.findall(r"dev_attr_(\w+)", block(driver, "loop_disk_attrs[] = {"))
control = re.findall(r"dev_attr_(\w+)", block(driver, "loop_control_attrs[] = {"))
counters = strings(block(driver, "loop_stat_names[LOOP_NR_STATS] = {"))
unmet = strings(block(driver, "loop_unmet_names[] = {"))
features = re.search(r'features_show\(.*?"(.*?)\\n"', driver, re.S)[1].split()
same(attributes + disk + counters, CODE, rows(section(rst, "sysfs")), RST)
expect([f"/sys/class/misc/loop-control/{a}" for a in control], rst.split("``"), RST)
whats = [f"/sys/block/loopN/loop/{a}" for a in attributes] + \
    [f"/sys/block/loopN/{a}" for a in disk] + \
    [f"/sys/class/misc/loop-control/{a}" for a in control]
described = re.findall(r"^What:\s+(\S+)", abi, re.M)
expect(whats, described, ABI)
expect(described, whats + [f"/sys/module/loop/parameters/{p}" for p in parameters], CODE)
same(counters + unmet + features, CODE, rows(abi), ABI)
expect(re.findall(r"/block/\S+/loop/(\w+)", documents), attributes, CODE)

# LOOP_UNMET_* and its words, in the order of the bits
same([f"{name} {word}" for name, word in
      zip(re.findall(r"^\t(LOOP_UNMET_\w+)\s*=", uapi, re.M), unmet)], CODE,
     [" ".join(row) for row in re.findall(r"^(LOOP_UNMET_\w+) +\d+ +(\w+)", rst, re.M)], RST)

# Tracepoints
tracepoints = re.findall(r"^TRACE_EVENT\((\w+)", events, re.M)
same(tracepoints, "include/trace/events/loop.h", rows(section(rst, "Tracepoints")), RST)
expect(re.findall(r"tracepoint:loop:(\w+)", documents), tracepoints, "include/trace/events/loop.h")

# loopctl explains counters and what is unmet.
same(counters, CODE, strings(re.sub(r",\s*\".*", ",", block(loopctl, "} stat_names[] = {"))),
     "samples/loop/loopctl.c")
same(unmet, CODE, re.findall(r'LOOP_UNMET_\w+, "(\w+)"', loopctl), "samples/loop/loopctl.c")

# Functions, structures and counters that a sentence names
expect({w for w in re.findall(r"``(?:struct )?((?:loop|worker|retry)_\w+)(?:\(\))?``", documents)},
       code, "code")

print("\n".join(findings), end="\n" if findings else "")
sys.exit(bool(findings))
