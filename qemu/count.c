// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU for qemu/vm --count: counts the instructions at each address of the kernel,
 * and writes "ADDRESS COUNT" lines to the file "out" at the end.
 *
 * What jumps do not interrupt is counted with the address of its first instruction.  That is
 * exact to the function.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define export __attribute__((visibility("default")))

/* The kernel has the upper half of the addresses. */
#define KERNEL (UINT64_C(1) << 63)

/* Debian has no package with QEMU's header, so what is used of it is declared here. */
struct qemu_plugin_tb;
typedef void translated_fn(uint64_t id, struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn *cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*cb)(unsigned int vcpu, void *data),
					  int flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*cb)(uint64_t id, void *data),
				    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
#define QEMU_PLUGIN_CB_NO_REGS 0

/* QEMU 9 and newer accept version 2 and newer, and older ones accept only 1. */
export int qemu_plugin_version = PLUGIN_VERSION;

/* One translation of a block of instructions; a block may be translated several times. */
struct block {
	uint64_t address;
	uint64_t instructions;
	uint64_t runs;
	struct block *next;
};

static struct block *blocks;
static const char *out;

static void block_runs(unsigned int vcpu, void *data)
{
	struct block *block = data;

	block->runs++;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	struct block *block;

	if (address < KERNEL)
		return;
	block = calloc(1, sizeof(*block));
	if (!block)
		abort();
	block->address = address;
	block->instructions = qemu_plugin_tb_n_insns(tb);
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, block_runs, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void ends(uint64_t id, void *data)
{
	FILE *f = fopen(out, "w");
	struct block *b;

	if (!f)
		abort();
	for (b = blocks; b; b = b->next) {
		if (b->runs)
			fprintf(f, "%" PRIx64 " %" PRIu64 "\n", b->address,
				b->runs * b->instructions);
	}
	if (fclose(f))
		abort();
}

export int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	out = strdup(argv[0] + 4);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ends, NULL);
	return 0;
}
