/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A FUSE file system with one file, which every name stands for. The server can
 * keep requests of one kind unanswered.
 */
#ifndef FUSE_SERVER_H
#define FUSE_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/fuse.h>

#define FUSE_SERVER_HELD 512	/* requests that can be unanswered at a time */

struct fuse_request;

struct fuse_server {
	int fuse;		/* /dev/fuse */
	uint32_t init_flags;	/* FUSE_*, for FUSE_INIT */
	uint32_t open_flags;	/* FOPEN_*, for FUSE_OPEN */
	uint64_t size;		/* the size of the file */
	int getattr_error;	/* the answer to FUSE_GETATTR, or 0 */
	uint8_t *data;		/* its content, of at least that size */

	/* These are called, if set, for a request that is held, and for a FUSE_FSYNC. */
	void (*on_hold)(struct fuse_server *s, uint32_t opcode);
	void (*on_fsync)(struct fuse_server *s);

	uint32_t hold;		/* the opcode that is not answered, or 0 */
	struct fuse_request *held[FUSE_SERVER_HELD];
	int nr_held;
};

const char *fuse_server_mount(struct fuse_server *s, const char *dir);
bool fuse_server_leave(const char *dir);
bool fuse_server_step(struct fuse_server *s);
void fuse_server_hold(struct fuse_server *s, uint32_t opcode);

#endif /* FUSE_SERVER_H */
