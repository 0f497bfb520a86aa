# SPDX-License-Identifier: GPL-2.0
# Builds and tests the loop driver outside a kernel tree; "make help" tells how.
# This file is not part of the overlay: in a tree, the kernel's own is used.

top := $(CURDIR)
running := $(shell uname -r)
running_headers := /lib/modules/$(running)/build
vm_headers := $(top)/build/kernel/headers

# The running kernel's headers are the default if it is new enough and they exist.
usable := $(shell printf '6.12\n%s\n' $(running) | sort -VC && \
	test -e $(running_headers)/Makefile && echo y)
KDIR ?= $(if $(usable),$(running_headers),$(vm_headers))

prefix ?= /usr/local

kbuild = $(MAKE) --no-print-directory -C $(abspath $(KDIR)) M=$(top)

# The kernel source of "patch", "check-patch" and "check-debug"
KERNEL ?= 7.3
# The kernels of check-debug
KIND ?= debug kcsan

.PHONY: modules deps demo check check-long bench bench-doc bench-smp \
	bench-control profile lint htmldocs patch check-patch check-debug check-kernels check-arch deb check-package check-fresh \
	shell install uninstall clean help

modules: $(if $(filter $(vm_headers),$(abspath $(KDIR))),vm-kernel)
	@$(kbuild) modules

.PHONY: vm-kernel
vm-kernel:
	@scripts/fetch-kernel.sh

deps:
	@scripts/deps.sh

demo:
	@scripts/demo.sh

check:
	@ARGS='$(ARGS)' scripts/check.sh $(GROUPS)

check-long:
	@scripts/check.sh --long $(GROUPS)

bench bench-smp:
	@ROWS='$(ROWS)' LOOP_KO='$(LOOP_KO)' scripts/bench.sh $@

bench-doc:
	@scripts/bench-doc.sh

bench-control:
	@scripts/bench-control.sh

profile:
	@CASES='$(CASES)' LOOP_KO='$(LOOP_KO)' scripts/profile.sh

lint:
	@scripts/lint.sh

htmldocs:
	@scripts/deps.sh docs
	@scripts/htmldocs.sh

patch:
	@scripts/patch.sh $(KERNEL)

check-patch:
	@scripts/check-patch.sh $(KERNEL) $(if $(ONLY),'$(ONLY)')

check-debug:
	@set -e; for kind in $(KIND); do \
		scripts/check-debug.sh $$kind $(KERNEL) $(GROUPS); done

check-kernels:
	@GROUPS_ONLY='$(GROUPS)' scripts/check-kernels.sh $(KERNELS)

check-arch:
	@GROUPS_ONLY='$(GROUPS)' scripts/check-arch.sh $(or $(ARCH),arm64 arm64-16k)

deb:
	@scripts/deb.sh

check-package:
	@scripts/check-package.sh

check-fresh:
	@SUITES='$(SUITES)' TARGETS='$(TARGETS)' scripts/check-fresh.sh

shell:
	@scripts/shell.sh

# The initramfs may have the module.
refresh_initramfs = $(if $(shell command -v update-initramfs), \
	update-initramfs -u -k $(running))

install: KDIR := $(running_headers)
install:
	$(if $(usable),,$(error needs Linux 6.12 or newer running, and its \
		headers; this is $(running)))
	@debian/usable $(running) unsigned >&2
	@$(kbuild) modules
	@$(MAKE) -s --no-print-directory -C tools/loop
	install -D -m 644 loop.ko /lib/modules/$(running)/updates/loop.ko
	depmod $(running)
	install -D -m 755 tools/loop/loopctl $(prefix)/sbin/loopctl
	install -D -m 644 tools/loop/60-loop-internal.rules \
		$(prefix)/lib/udev/rules.d/60-loop-internal.rules
	install -D -m 644 man/loopctl.8 $(prefix)/share/man/man8/loopctl.8
	install -D -m 644 man/ioctl_loop_control.2 \
		$(prefix)/share/man/man2/ioctl_loop_control.2
	install -D -m 644 completions/loopctl \
		$(prefix)/share/bash-completion/completions/loopctl
	$(refresh_initramfs)
	@debian/report "make install"

# Uninstalls from the running kernel; the next modprobe loads the kernel's own driver.
uninstall:
	rm -f /lib/modules/$(running)/updates/loop.ko $(prefix)/sbin/loopctl \
		$(prefix)/lib/udev/rules.d/60-loop-internal.rules \
		$(prefix)/share/man/man8/loopctl.8 \
		$(prefix)/share/man/man2/ioctl_loop_control.2 \
		$(prefix)/share/bash-completion/completions/loopctl
	depmod $(running)
	$(refresh_initramfs)
	@debian/report "make install"

# The downloaded kernel and sources stay; rm -r build removes them as well.
clean:
	rm -rf build/selftests build/vm build/kernel/lib/modules/*/updates \
		build/kernel/awake
	rm -rf build/deb build/htmldocs
	rm -rf build/loop-*.patch build/linux-*/series build/linux-*/tree \
		build/linux-*/o build/linux-*/log
	rm -f loop.ko loop.o loop.mod loop.mod.c loop.mod.o .module-common.o \
		modules.order Module.symvers .*.cmd
	rm -f tools/loop/loopctl $(basename $(wildcard samples/loop/*.c))
	rm -f drivers/block/*.o drivers/block/.*.cmd drivers/block/loop/*.o \
		drivers/block/loop/.*.cmd

help:
	@echo 'make           build loop.ko against KDIR=$(KDIR)'
	@echo 'make deps      install the Debian packages the targets below need'
	@echo 'make demo      show the driver at work in a VM'
	@echo 'make check     run all tests in VMs; GROUPS="a b" runs some, ARGS="..." some'
	@echo '               cases, see tools/testing/selftests/loop/README.rst'
	@echo 'make check-long  run the same tests many more times; hours'
	@echo 'make bench     measure the driver, the stock one and the limit in a VM;'
	@echo '               ROWS=all every row, ROWS="a b" some, LOOP_KO=FILE another'
	@echo '               module, KERNEL=trixie-7.3 on that one of check-kernels'
	@echo 'make bench-smp the same with two processors, only ratios'
	@echo 'make bench-doc write the tables of bench, bench-smp and bench-control, which have'
	@echo '               measured ROWS=all, into the documents'
	@echo 'make bench-control  measure adding, attaching and finding devices'
	@echo 'make profile   count the instructions of each function of the kernel for an'
	@echo '               I/O; CASES="direct-read", KERNEL=trixie-7.3'
	@echo 'make lint      checkpatch, sparse, shellcheck, the calls between the rooms of'
	@echo '               the driver, and the documents against the code'
	@echo 'make htmldocs  write build/htmldocs/index.html'
	@echo 'make patch     write build/loop-$(KERNEL).patch, a series for git am;'
	@echo '               KERNEL=6.12 for that kernel'
	@echo 'make check-patch  apply it, and compile it in many configurations;'
	@echo '               KERNEL=6.12 for that kernel, ONLY=REGEX some of them'
	@echo 'make check-debug  build a kernel of $(KERNEL) with KASAN, lockdep and others,'
	@echo '               and one with KCSAN, see qemu/*.config, and run the tests on'
	@echo '               them; KIND=debug, KIND=kcsan one of the two, KIND=plain one'
	@echo '               without debuggers; KERNEL=6.12, GROUPS="a b"'
	@echo 'make check-kernels  build the module for each of the kernels that Debian has'
	@echo '               from 6.12 on, and run the tests on them; hours;'
	@echo '               KERNELS="trixie-7.3" some of them, GROUPS="a b", ARGS="..."'
	@echo 'make check-arch  build the module and tests for other machines, and run some'
	@echo '               groups there: ARCH=arm64, arm64-16k (16 KiB pages) or s390x'
	@echo '               (big-endian); without ARCH, the first two; hours;'
	@echo '               GROUPS="a b"'
	@echo 'make deb       build the Debian packages loop-dkms and loop-tools in'
	@echo '               build/deb'
	@echo 'make check-package  install, upgrade and remove them in a VM; half'
	@echo '               an hour'
	@echo 'make check-fresh  run each target once in a fresh minimal Debian 12 and 13;'
	@echo '               SUITES="trixie" TARGETS="deb patch", see'
	@echo '               scripts/check-fresh.sh'
	@echo 'make shell     a VM with the driver loaded and a prompt'
	@echo 'make install   install loop.ko for the running kernel, and loopctl with its'
	@echo '               manual pages in prefix=$(prefix)'
	@echo 'make uninstall remove what make install has installed'
	@echo 'make clean     remove what was built; downloads stay in build/'
	@echo 'make help      list these'
