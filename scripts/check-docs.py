#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares the names in the code with those in the documents, both ways.

These are the names of ioctls and their errors, flags, structures, module
parameters, sysfs attributes, counters, tracepoints, options of loopctl, targets
of the Makefile and groups of tests. Prints a line for each name that the other
side does not have.
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
    """The text in the braces after start."""
    return text.split(start, 1)[1].split("};", 1)[0]


def strings(text):
    return re.findall(r'"(\w+)"', text)


def section(text, title):
    """The section of a document, up to the next title of the same kind."""
    return re.split(r"\n[^\n]+\n=+\n\n", text.split(f"\n{title}\n=", 1)[1])[0]


def subsection(text, title):
    """The subsection whose title starts with title, up to the next title."""
    return re.split(r"\n[^\n]+\n(?:-+|=+)\n\n",
                    re.split(rf"\n{re.escape(title)}[^\n]*\n-+\n\n", text, maxsplit=1)[1])[0]


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


driver = read("drivers/block/loop.c", "drivers/block/loop/*.[ch]")
uapi = read("include/uapi/linux/loop.h")
events = read("include/trace/events/loop.h")
loopctl = read("tools/loop/*.c")
code = words(driver + uapi + events + read("include/linux/*.h", "samples/loop/*.c")
             + loopctl)

rst = read("Documentation/admin-guide/blockdev/loop.rst")
abi = read("Documentation/ABI/testing/*")
inside = read("Documentation/block/loop.rst")
readme = read("README.md")
hacking = read("HACKING.md")
man = read("man/ioctl_loop_control.2").replace("\\-", "-")
documents = rst + abi + inside + readme + hacking + \
    read("Documentation/*/loop-*.rst", "Documentation/*/*/loop-*.rst", "scripts/patch/*.md", "compat/*.rst",
         "debian/*README*", "man/*")
documented = words(documents.replace("\\fI", " ").replace("\\fB", " "))

RST = "Documentation/admin-guide/blockdev/loop.rst"
INSIDE = "Documentation/block/loop.rst"
ABI = "Documentation/ABI/testing"
EVENTS = "include/trace/events/loop.h"
UAPI = "include/uapi/linux/loop.h"
MAN = "man/ioctl_loop_control.2"
CODE = "drivers/block/loop"

# Constants of the ABI, and words in the documents that look like one.
ioctls = re.findall(r"^#define (LOOP_\w+)\s+(?:0x4C|_IO)", uapi, re.M)
flags = re.findall(r"^\t((?:LO_FLAGS|LOOP_[A-Z]+)_\w+)\s*= \d", uapi, re.M)
expect(ioctls + flags, words(rst), RST)
named = {w for w in documented if re.fullmatch(r"(LO|LOOP)_[A-Z0-9_]*[A-Z0-9]", w)}
kinds = "|".join({name.rsplit("_", 1)[0] for name in flags})
expect({w for w in named if re.match(f"({kinds}|LOOP_CTL|LOOP_SET|LOOP_GET)_", w)},
       words(uapi), UAPI)
expect(named, code, "code")
expect([n for n in ioctls + flags if not re.match("LOOP_(SET|GET|CLR|CHANGE|CONFIGURE)", n)],
       words(man), MAN)

# The structures of the control device, as its manual page shows them
def structures(text):
    return {name: re.findall(r"__[us]\d+\s+(\w+)", body) for name, body in
            re.findall(r"^struct (loop_ctl_\w+) {\n(.*?)^};", text, re.M | re.S)}


for name, members in structures(uapi).items():
    same([f"{name}: {members}"], UAPI, [f"{name}: {structures(man).get(name)}"], MAN)
    expect(members, words(section(rst, "/dev/loop-control")), RST)

# The errors of its ioctls
def shared_errors():
    """The errors that the guide gives a name, such as *bad file*."""
    shared = {"bad structure": re.findall(r"^(E[A-Z0-9]+) ", subsection(rst, "Structures that grow"),
                                          re.M)}
    name = None
    for title, error in re.findall(r"^   \* -(?: \*([\w ]+)\*)?\n     - (E\w+)$",
                                   subsection(rst, "Errors of several ioctls"), re.M):
        name = title or name
        shared.setdefault(name, []).append(error)
    return shared


in_man = {}
for part in re.split(r"^Errors of\b", man.split("\n.SH ERRORS\n")[1].split("\n.SH ")[0], flags=re.M):
    for name in re.findall(r"LOOP_CTL_\w+", part.split(".TP")[0]):
        in_man.setdefault(name, []).extend(re.findall(r"^\.TP\n\.B (E\w+)$", part, re.M))
for name in [name for name in ioctls if name.startswith("LOOP_CTL_")]:
    text = subsection(rst, name)
    errors = re.findall(r"^(E[A-Z0-9]+) ", text, re.M)
    for title, more in shared_errors().items():
        if f"*{title}*" in " ".join(text.split()):
            errors += more
    same([f"{name} {error}" for error in errors], RST,
         [f"{name} {error}" for error in in_man.get(name, [])], MAN)

# Module parameters, and those of builds for tests
PARAMETER = re.compile(r"^module_param\w*\((\w+),", re.M)
for_tests = PARAMETER.findall(read("drivers/block/loop/inject.c"))
same(set(PARAMETER.findall(driver)) - set(for_tests), CODE,
     rows(section(rst, "Module parameters")), RST)
expect(for_tests, re.findall(r"module parameter\s+``(\w+)``", inside), INSIDE)

# sysfs attributes and counters
attributes = re.findall(r"dev_attr_(\w+)", block(driver, "loop_attrs[] = {"))
disk = re.findall(r"dev_attr_(\w+)", block(driver, "loop_disk_attrs[] = {"))
control = re.findall(r"dev_attr_(\w+)", block(driver, "loop_control_attrs[] = {"))
counters = re.findall(r'^LOOP_(?:PATH|STAT)\(\w+,\s*"(\w+)"\)', driver, re.M)
unmet = strings(block(driver, "loop_unmet_names[] = {"))
features = re.search(r'features_show\(.*?"(.*?)\\n"', driver, re.S)[1].split()
same(attributes + disk + counters, CODE, rows(section(rst, "sysfs")), RST)
expect([f"/sys/class/misc/loop-control/{a}" for a in control], rst.split("``"), RST)
whats = [f"/sys/block/loopN/loop/{a}" for a in attributes] + \
    [f"/sys/block/loopN/{a}" for a in disk] + \
    [f"/sys/class/misc/loop-control/{a}" for a in control]
described = re.findall(r"^What:\s+(\S+)", abi, re.M)
expect(whats, described, ABI)
expect(described, whats, CODE)
same(counters + unmet + features, CODE, rows(abi), ABI)
expect(re.findall(r"/block/\S+/loop/(\w+)", documents), attributes, CODE)

# LOOP_COND_* and its words, in the order of the bits
same([f"{name} {word}" for name, word in
      zip(re.findall(r"^\t(LOOP_COND_\w+)\s*=", uapi, re.M), unmet)], CODE,
     [" ".join(row) for row in re.findall(r"^(LOOP_COND_\w+) +\d+ +(\w+)", rst, re.M)], RST)

# Tracepoints
tracepoints = re.findall(r"^TRACE_EVENT\((\w+)", events, re.M)
same(tracepoints, EVENTS, rows(section(rst, "Tracepoints")), RST)
expect(re.findall(r"tracepoint:loop:(\w+)", documents), tracepoints, EVENTS)

# loopctl explains counters and what is unmet.
same(counters, CODE, strings(re.sub(r",\s*\".*", ",", block(loopctl, "} stat_names[] = {"))),
     "tools/loop")
same(unmet, CODE, re.findall(r'LOOP_COND_\w+, "(\w+)"', loopctl), "tools/loop")

# The options of its commands, each of which knows --help, and the columns of its tables
manual = read("man/loopctl.8").replace("\\-", "-")
completion = read("completions/loopctl")
completed = re.findall(r"--([\w-]+)", completion)


def in_manual(command):
    """The section of the manual page about a command."""
    return re.split(r"\n\.S[SH] ", manual.split(f"\n.SS {command}\n")[1])[0]


for command, table in re.findall(r"^static const struct option (\w+)_options\[\] = {(.*?)^}", loopctl,
                                 re.M | re.S):
    options = re.findall(r'"([\w-]+)"', table)
    described = re.findall(r"--([\w-]+)", in_manual(command))
    expect([f"{command} --{o}" for o in options if o != "help"],
           [f"{command} --{d}" for d in described], "man/loopctl.8")
    expect(options, completed, "completions/loopctl")
options = re.findall(r'^\t{ "([\w-]+)", (?:no|required)_argument', loopctl, re.M)
expect(completed + re.findall(r"--(\w[\w-]*)", manual), options, "tools/loop")
for command, table in re.findall(r"^static const struct column (\w+)_columns\[NR_.*?{(.*?)^}", loopctl,
                                 re.M | re.S):
    columns = re.findall(r'= { "(\S+)"', table)
    same(columns, "tools/loop", re.findall(r"^\.B ([A-Z]\S+)$", in_manual(command), re.M),
         "man/loopctl.8")
    completed = re.search(rf'\n\t{command}\) columns="(.*?)"', completion, re.S)[1].split()
    same(columns, "tools/loop", completed, "completions/loopctl")

# Targets of the Makefile
makefile = read("Makefile")
targets = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.M)[0].replace("\\", "").split()
targets = {f"make {t}" for t in targets if t != "modules"} | {"make"}
same(targets, "Makefile", [h.strip() for h in re.findall(r"@echo '(make(?: [\w-]+)?) ", makefile)],
     "make help")
expect(re.findall(r"(?:`|^    )(make [a-z][\w-]*)", readme + hacking, re.M), targets, "Makefile")

# Groups of tests, and the files of the tests
TESTS = "tools/testing/selftests/loop"
tests = read(f"{TESTS}/README.rst")
same(re.findall(r"^([\w-]+)\|", read(f"{TESTS}/groups*"), re.M), f"{TESTS}/groups*",
     re.findall(r"^([a-z][\w-]*) +\S+\.(?:sh|c)\b", tests, re.M), f"{TESTS}/README.rst")
files = {p.name for p in (top / TESTS).iterdir()}
built = read(f"{TESTS}/.gitignore").split()
files = {f for f in files if not f.startswith(".") and f not in built and not f.endswith("_32")}
expect(files - {"README.rst"}, re.findall(r"[\w.-]*\w", tests), f"{TESTS}/README.rst")
expect(re.findall(r"[\w-]+\.(?:c|h|sh)\b", tests), files, TESTS)

# Functions, structures and counters that a sentence names
expect({w for w in re.findall(r"``(?:struct )?((?:loop|worker|retry)_\w+)(?:\(\))?``", documents)},
       code, "code")

print("\n".join(findings), end="\n" if findings else "")
sys.exit(bool(findings))
