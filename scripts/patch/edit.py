#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the changes of the series to files that are the tree's own.

usage: edit.py files SRC            prints the names of these files
       edit.py STEP SRC AUTHOR FILE...
                                    makes the changes of a step in the current
                                    directory

SRC is the pristine tree, and FILEs are the overlay's files of the step. If a file
is not as expected, this ends with an error.
"""
import pathlib
import re
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SRC = pathlib.Path()
AUTHOR = ""
FILES = []


def fail(path, what):
    sys.exit(f"{sys.argv[0]}: {path}: {what}")


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def write(path, text):
    pathlib.Path(path).write_text(text, encoding="utf-8")


def replace(path, first, after, new):
    """Replaces the lines from FIRST, which occurs once, up to the next AFTER."""
    text = read(path)
    starts = list(re.finditer(first, text, re.MULTILINE))
    if len(starts) != 1:
        fail(path, f"{len(starts)} lines are like {first}")
    end = re.compile(after, re.MULTILINE).search(text, starts[0].end())
    if not end:
        fail(path, f"no line is like {after}")
    write(path, text[:starts[0].start()] + new + text[end.start():])


def insert(path, entry, name, new):
    """Inserts NEW at its place in a list of entries that are sorted by name.

    ENTRY matches the start of an entry and has its name as its group.
    """
    text = read(path)
    found = list(re.finditer(entry, text, re.MULTILINE))
    after = [match for match in found if match[1] > name]
    if not after or any(match[1] == name for match in found):
        fail(path, f"no place for {name}")
    start = min(after, key=lambda match: match[1]).start()
    write(path, text[:start] + new + text[start:])


def maintainers(files):
    """Adds FILES to the driver's entry, which the first call makes."""
    path = "MAINTAINERS"
    title = "LOOP BLOCK DEVICE DRIVER"
    entry = rf"^{title}\n(?:[A-Z]:\t.*\n)+"
    if not re.search(entry, read(path), re.MULTILINE):
        insert(path, r"^([A-Z0-9].*)\n[A-Z]:\t", title,
               f"{title}\nM:\t{AUTHOR}\nL:\tlinux-block@vger.kernel.org\n"
               f"S:\tMaintained\n\n")
    text = read(path)
    lines = re.search(entry, text, re.MULTILINE)[0].splitlines()
    have = [line for line in lines if line.startswith("F:")]
    lines = [line for line in lines if not line.startswith("F:")]
    lines += sorted(have + [f"F:\t{file}" for file in files])
    new = "\n".join(lines) + "\n"
    write(path, re.sub(entry, lambda _: new, text, flags=re.MULTILINE))


# In the sources of a tree that lacks a macro of compat/compat.h, this replaces its
# uses. A function of compat.h is copied into the driver instead.
BACKPORTS = {
    "BLK_FEAT_ATOMIC_WRITES": (r"(?m)^\t+lim->features [&|]= ~?BLK_FEAT_ATOMIC_WRITES;\n", r""),
    "FOP_DONTCACHE": (r"\bFOP_DONTCACHE\b", r"0"),
    "IOCB_DONTCACHE": (r"\bIOCB_DONTCACHE\b", r"0"),
    "blk_queue_rot": (r"\bblk_queue_rot\(", r"!blk_queue_nonrot("),
    "blk_mq_unfreeze_queue_nomemrestore": (r"_nomemrestore\b", r""),
    "max_hw_wzeroes_unmap_sectors": (
        r"(?m)^\t+if \(low\.max_hw_wzeroes_unmap_sectors &&\n.*\n.*;\n|"
        r"(?:^\t+/\*.*\*/\n^\t+if .*\n)?^\t+[\w.>-]*\bmax_hw_wzeroes_unmap_sectors = 0;\n",
        r""),
    "kzalloc_obj": (r"\bkzalloc_obj\((\*?\w+), ", r"kzalloc(sizeof(\1), "),
}


def tree_has(name):
    return subprocess.run(["grep", "-rqw", name, SRC / "include/linux"],
                          check=False).returncode == 0


def backport(path):
    text = read(path)
    # The guard of compat.h is no entry, and exports do not matter in a tree.
    for entry in re.findall(r"^#ifndef (?!_)(?:.|\n)*?^#endif$",
                            read(CHECKOUT / "compat/compat.h"), re.MULTILINE):
        macro = re.search(r"^#define (\w+)", entry, re.MULTILINE)
        function = re.search(r"^static inline [^(]*?(\w+)\((?:.|\n)*?^}\n",
                             entry, re.MULTILINE)
        if not macro and not function:
            fail(path, f"what is this in compat.h: {entry}")
        name = (macro or function)[1]
        if name.startswith("CONFIG_") or tree_has(name):
            continue
        if not re.search(rf"\b{name}\b", text):
            continue
        if function:
            end = list(re.finditer(r"^#include .*\n", text, re.MULTILINE))[-1].end()
            text = text[:end] + "\n" + function[0] + text[end:]
            continue
        if name not in BACKPORTS:
            fail(path, f"{SRC} lacks {name}: nothing stands for it yet")
        text = re.sub(*BACKPORTS[name], text)
        if re.search(rf"\b{name}\b", text):
            fail(path, f"a use of {name} is left")
    write(path, text)


KCONFIG = """\
config BLK_DEV_LOOP
	tristate "Loop device support"
	help
	  A loop device is a block device that has its data in a file. An image
	  of a disk or of a file system can be partitioned, checked and mounted
	  with it as if it were a disk. The file may be a block device, too: the
	  loop device is then a part of it, or has another block size.

	  losetup(8) and mount(8) with "-o loop" make use of it, and so do many
	  programs that install a system or run something from an image.

	  It does not encrypt what it stores; dm-crypt can be put on it. It has
	  nothing to do with the network interface "lo".

	  Documentation/admin-guide/blockdev/loop.rst tells all about it.

	  As a module, it is called loop.

	  If unsure, say M.

config BLK_DEV_LOOP_MIN_COUNT
	int "Number of loop devices to start with"
	depends on BLK_DEV_LOOP
	default 8
	help
	  This many loop devices exist from the start, without a file. The
	  parameter loop.max_loop takes precedence. More are made when they
	  are needed: by /dev/loop-control, which losetup and mount use, and,
	  with BLOCK_LEGACY_AUTOLOAD, by opening the node of a device that
	  does not exist.

	  0 is enough for programs that use /dev/loop-control. If unsure, say 8.

config BLK_DEV_LOOP_INJECT
	bool "Inject failures of file I/O into loop devices"
	depends on BLK_DEV_LOOP
	help
	  Adds the parameter loop.inject, which is for tests: at random, a read
	  or write of a file comes to an error or to less than was asked for,
	  and the driver has to do the rest by other means.

	  If unsure, say N.

"""

MAX_LOOP = """\
	max_loop=	[LOOP] How many loop devices to start with. Default:
	(loop.max_loop)	BLK_DEV_LOOP_MIN_COUNT. If given, and not 0, opening a
			device node does not make a device with this number or
			a higher one; /dev/loop-control always does. This and
			the other parameters of the driver are described in
			Documentation/admin-guide/blockdev/loop.rst.

"""

DEVICES = """\
   7 block	Loop devices
		  0 = /dev/loop0	First loop device
		  1 = /dev/loop1	Second loop device
		    ...

		A loop device has its data in a file, or in another
		block device. losetup(8) and mount(8) attach a file
		to one; /dev/loop-control (10 char, 237) makes and
		removes them. With the parameter max_part=P of the
		driver, P being 2^n - 1, the minor of device N is
		N * (P + 1), and its partitions have the P minors after
		that. Without it, or past P, partitions have minors of
		major 259.

"""

HELP_LOOP = "\t@echo '  loop                   - loop device tool'\n"

SAMPLE_KCONFIG = """\
config SAMPLE_LOOP
	bool "Loop device sample"
	depends on CC_CAN_LINK && HEADERS_INSTALL
	help
	  Builds programs that use nothing but the ioctls of the driver.
	  loop_attach has a loop device for as long as it runs. loop_mount,
	  loop_hold, loop_delegate and loop_build are the other users of
	  Documentation/userspace-api/loop-control.rst. loop_control attaches
	  and detaches a file by means of older ioctls, while other programs
	  look for a free device at the same time.

"""


def uapi():
    maintainers(FILES)
    if not re.search(r"\bLOOP_CTRL_MINOR\b", read(SRC / MISCDEVICE)):
        insert(MISCDEVICE, r"^#define \w+_MINOR\s+(\d{3})$", "237",
               "#define LOOP_CTRL_MINOR\t\t237\n")


def driver():
    maintainers(sorted({re.sub(r"^(drivers/block/loop/).*", r"\1", f) for f in FILES}))
    for file in FILES:
        if re.match(r"drivers/.*\.[ch]$", file):
            backport(file)
    path = "drivers/block/Makefile"
    replace(path, r"^obj-\$\(CONFIG_BLK_DEV_LOOP\)\s", "^",
            "obj-$(CONFIG_BLK_DEV_LOOP)\t+= loop/\n")
    path = "drivers/block/Kconfig"
    replace(path, "^config BLK_DEV_LOOP_MIN_COUNT$",
            "^(config|menuconfig|source|if|endif)\\b", "")
    replace(path, "^config BLK_DEV_LOOP$",
            "^(config|menuconfig|source|if|endif)\\b", KCONFIG)
    # checkpatch looks for max_loop in the patch that has the __setup().
    replace(PARAMETERS, "^\tmax_loop=", "^\t[^(\\s]", MAX_LOOP)


def documentation():
    maintainers(FILES)
    insert(ADMIN_INDEX, r"^   ([\w-]+)$", "loop", "   loop\n   loop-stock\n")
    insert(BLOCK_INDEX, r"^   ([\w-]+)$", "loop", "   loop\n")
    # This is the list about devices, one of several in the file.
    insert(API_INDEX, r"^   (media/index)$", "loop-control", "   loop-control\n")
    number = read(IOCTL)
    row = re.search(r"^('L'   )00-1F(  linux/loop\.h) .*\n"
                    r"('L'   10-1F .*?) +conflict!\n", number, re.MULTILINE)
    if not row:
        fail(IOCTL, "the rows of 'L' are others")
    write(IOCTL, number.replace(
        row[0], f"{row[1]}00-0F{row[2]}\n{row[3]}\n{row[1]}80-8F{row[2]}\n"))
    replace(DEVICES_TXT, "^   7 block\t", "^   8 block\t", DEVICES)


def selftests():
    maintainers(["tools/testing/selftests/loop/"])
    insert(TARGETS, r"^TARGETS \+= (\S+)$", "loop", "TARGETS += loop\n")
    # The Makefile must not name files that patch.sh leaves out.
    path = "tools/testing/selftests/loop/Makefile"
    text = read(path)
    for file in (CHECKOUT / path).parent.iterdir():
        if str(file.relative_to(CHECKOUT)) not in FILES:
            name = re.escape(file.name)
            text = re.sub(rf" {name}(?= |$)|(?<=^\t){name} ?", "", text,
                          flags=re.MULTILINE)
    write(path, re.sub(r" \\\n\t?\n", "\n", text))
    path = "tools/testing/selftests/loop/README.rst"
    write(path, read(path).split("\nIn the repository of the driver\n")[0])


def sample():
    maintainers(["samples/loop/"])
    insert("samples/Kconfig", r"^config SAMPLE_(\w+)$", "LOOP",
           SAMPLE_KCONFIG)
    insert("samples/Makefile", r"^(?:obj|subdir)-\$\(CONFIG_SAMPLE_(\w+)\)",
           "LOOP", "subdir-$(CONFIG_SAMPLE_LOOP)\t\t+= loop\n")


def tools():
    maintainers(["tools/loop/"])
    path = "tools/Makefile"
    text = read(path)
    # "all" does not include it, as libsmartcols may be missing.
    for entry, count, new in (
            (r"^\t@echo '  nolibc  .*\n", 1, HELP_LOOP + r"\g<0>"),
            (r"\bleds (?=.*: FORCE$)", 1, r"\g<0>loop "),
            (r"\biio_install (?=.*:$)", 1, r"\g<0>loop_install "),
            (r"\bleds_clean\b", 2, r"\g<0> loop_clean")):
        text, found = re.subn(entry, new, text, flags=re.MULTILINE)
        if found != count:
            fail(path, f"{found} places are like {entry}")
    write(path, text)


MISCDEVICE = "include/linux/miscdevice.h"
ADMIN_INDEX = "Documentation/admin-guide/blockdev/index.rst"
BLOCK_INDEX = "Documentation/block/index.rst"
API_INDEX = "Documentation/userspace-api/index.rst"
IOCTL = "Documentation/userspace-api/ioctl/ioctl-number.rst"
DEVICES_TXT = "Documentation/admin-guide/devices.txt"
PARAMETERS = "Documentation/admin-guide/kernel-parameters.txt"
TARGETS = "tools/testing/selftests/Makefile"
EDITED = (ADMIN_INDEX, BLOCK_INDEX, API_INDEX, IOCTL, DEVICES_TXT, PARAMETERS, TARGETS, MISCDEVICE,
          "MAINTAINERS", "drivers/block/Kconfig", "drivers/block/Makefile", "samples/Kconfig",
          "samples/Makefile", "tools/Makefile")
STEPS = {step.__name__: step
         for step in (uapi, driver, sample, tools, documentation, selftests)}

if len(sys.argv) == 3 and sys.argv[1] == "files":
    print("\n".join(EDITED))
elif len(sys.argv) > 4 and sys.argv[1] in STEPS:
    SRC = pathlib.Path(sys.argv[2])
    AUTHOR = sys.argv[3]
    FILES = sys.argv[4:]
    STEPS[sys.argv[1]]()
else:
    sys.exit(__doc__)
