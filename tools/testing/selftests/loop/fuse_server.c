// SPDX-License-Identifier: GPL-2.0
/*
 * A FUSE file system with one file, see fuse_server.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuse_server.h"

#define MAX_WRITE (64 * 1024)
#define BLOCK 4096
#define THE_FILE (FUSE_ROOT_ID + 1)

struct fuse_request {
	struct fuse_in_header h;
	union {
		struct fuse_read_in read;
		struct fuse_interrupt_in interrupt;
		struct {
			struct fuse_write_in in;
			uint8_t data[MAX_WRITE];
		} write;
	};
};

/* Mounts the file system. Returns NULL, or what this machine does not have. */
const char *fuse_server_mount(struct fuse_server *s, const char *dir)
{
	char options[128];

	s->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (s->fuse < 0)
		return "no /dev/fuse";
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40700,user_id=0,group_id=0", s->fuse);
	return mount("loop-test", dir, "fuse", 0, options) ? "no FUSE" : NULL;
}

/*
 * The server leaves the file system. Otherwise the last unmount can happen when
 * the server exits, and waits for an answer of the server itself.
 */
bool fuse_server_leave(const char *dir)
{
	return !unshare(CLONE_NEWNS) && !umount2(dir, MNT_DETACH);
}

static void reply(struct fuse_server *s, const struct fuse_request *r, int error,
		  const void *data, size_t len)
{
	struct fuse_out_header h = {
		.len = sizeof(h) + len, .error = -error, .unique = r->h.unique,
	};
	struct iovec iov[] = { { &h, sizeof(h) }, { (void *)data, len } };

	/* The kernel has given the request up if it answers ENOENT. */
	if (writev(s->fuse, iov, 2) < 0 && errno != ENOENT)
		exit(1);
}

static struct fuse_attr attr_of(const struct fuse_server *s, uint64_t node)
{
	return (struct fuse_attr) {
		.ino = node, .size = s->size, .blocks = s->size / 512,
		.mode = node == THE_FILE ? S_IFREG | 0600 : S_IFDIR | 0700,
		.nlink = 1, .blksize = BLOCK,
	};
}

static void answer_io(struct fuse_server *s, const struct fuse_request *r)
{
	struct fuse_write_out written = { .size = r->write.in.size };
	uint64_t left;

	switch (r->h.opcode) {
	case FUSE_READ:
		left = r->read.offset < s->size ? s->size - r->read.offset : 0;
		reply(s, r, 0, s->data + r->read.offset,
		      r->read.size < left ? r->read.size : left);
		break;
	case FUSE_WRITE:
		if (r->write.in.offset + r->write.in.size > s->size) {
			reply(s, r, ENOSPC, NULL, 0);
			break;
		}
		memcpy(s->data + r->write.in.offset, r->write.data,
		       r->write.in.size);
		reply(s, r, 0, &written, sizeof(written));
		break;
	case FUSE_FSYNC:
		if (s->on_fsync)
			s->on_fsync(s);
		reply(s, r, 0, NULL, 0);
		break;
	default:
		reply(s, r, ENOSYS, NULL, 0);
	}
}

/* All members that are not set are 0, the times of validity too. */
static void answer(struct fuse_server *s, const struct fuse_request *r)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.flags = s->init_flags,
		.max_write = MAX_WRITE,
	};
	struct fuse_attr_out attr = { .attr = attr_of(s, r->h.nodeid) };
	struct fuse_entry_out entry = {
		.nodeid = THE_FILE, .attr = attr_of(s, THE_FILE),
	};
	struct fuse_statfs_out statfs = { .st.bsize = BLOCK };
	struct fuse_open_out open = { .open_flags = s->open_flags };

	switch (r->h.opcode) {
	case FUSE_INIT:
		reply(s, r, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		reply(s, r, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		if (r->h.opcode == FUSE_GETATTR && s->getattr_error)
			reply(s, r, s->getattr_error, NULL, 0);
		else
			reply(s, r, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		reply(s, r, 0, &open, sizeof(open));
		break;
	case FUSE_STATFS:
		reply(s, r, 0, &statfs, sizeof(statfs));
		break;
	case FUSE_UNLINK:	/* The name stands for the file again at once. */
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		reply(s, r, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		answer_io(s, r);
	}
}

/* The process that waits for a request that is held has got a signal. */
static void interrupt(struct fuse_server *s, uint64_t unique)
{
	int i;

	for (i = 0; i < s->nr_held; i++) {
		if (s->held[i]->h.unique == unique) {
			reply(s, s->held[i], EINTR, NULL, 0);
			free(s->held[i]);
			s->held[i] = s->held[--s->nr_held];
			return;
		}
	}
}

/* Takes one request. Returns false once the file system is unmounted. */
bool fuse_server_step(struct fuse_server *s)
{
	struct fuse_request *r = malloc(sizeof(*r));
	bool mounted;
	ssize_t n;

	if (!r)
		exit(1);
	n = read(s->fuse, r, sizeof(*r));
	if (n < 0) {
		if (errno != ENOENT && errno != EINTR && errno != ENODEV)
			exit(1);
		mounted = errno != ENODEV;
		free(r);
		return mounted;
	}
	if (r->h.opcode == s->hold) {
		if (s->nr_held == FUSE_SERVER_HELD)
			exit(1);
		s->held[s->nr_held++] = r;
		if (s->on_hold)
			s->on_hold(s, r->h.opcode);
		return true;
	}
	if (r->h.opcode == FUSE_INTERRUPT)
		interrupt(s, r->interrupt.unique);
	else
		answer(s, r);
	free(r);
	return true;
}

/* Keeps requests of @opcode unanswered; with 0, answers all that are held. */
void fuse_server_hold(struct fuse_server *s, uint32_t opcode)
{
	s->hold = opcode;
	while (!opcode && s->nr_held) {
		answer(s, s->held[--s->nr_held]);
		free(s->held[s->nr_held]);
	}
}
