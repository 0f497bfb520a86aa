# SPDX-License-Identifier: GPL-2.0
# Builds and tests the loop driver outside a kernel tree; "make help" tells how.
# This file is not part of the overlay: in a tree, the kernel's own is used.

top := $(CURDIR)
running := $(shell uname -r)
running_headers := /lib/modules/$(running)/build
vm_headers := $(top)/build/kernel/headers

# The running kernel's headers if it is new enough and they are there.
usable := $(shell printf '6.12\n%s\n' $(running) | sort -VC && \
	test -e $(running_headers)/Makefile && echo y)
KDIR ?= $(if $(usable),$(running_headers),$(vm_headers))

kbuild = $(MAKE) --no-print-directory -C $(abspath $(KDIR)) M=$(top) W=1

.PHONY: modules deps demo check lint shell install clean help

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
	@scripts/check.sh $(GROUPS)

lint:
	@scripts/lint.sh

shell:
	@scripts/shell.sh

install: KDIR := $(running_headers)
install:
	$(if $(usable),,$(error needs Linux 6.12 or newer running, and its \
		headers; this is $(running)))
	@$(kbuild) modules
	install -D -m 644 loop.ko /lib/modules/$(running)/updates/loop.ko
	depmod $(running)

# The downloaded kernel and sources stay; rm -r build takes them as well.
clean:
	rm -rf build/selftests build/vm build/kernel/lib/modules/*/updates
	rm -f loop.ko loop.o loop.mod loop.mod.c loop.mod.o .module-common.o \
		modules.order Module.symvers .*.cmd
	rm -f drivers/block/*.o drivers/block/.*.cmd

help:
	@echo 'make           build loop.ko against KDIR=$(KDIR)'
	@echo 'make deps      install the Debian packages the targets below need'
	@echo 'make demo      show the driver at work in a VM'
	@echo 'make check     run all tests in VMs; GROUPS="a b" runs some, see'
	@echo '               tools/testing/selftests/loop/groups'
	@echo 'make lint      checkpatch, sparse and shellcheck'
	@echo 'make shell     a VM with the driver loaded and a prompt'
	@echo 'make install   install loop.ko for the running kernel'
	@echo 'make clean     remove what was built; downloads stay in build/'
