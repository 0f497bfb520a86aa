// SPDX-License-Identifier: GPL-2.0
/*
 * What promises.sh cannot do itself. Blocks are of 4 KiB.
 *
 *   promises_helper fua DEVICE COUNT FIRST   asynchronous direct writes with
 *                                          RWF_DSYNC, one after the other: a
 *                                          bio with REQ_FUA each, and no flush
 *                                          by the device's own fsync
 *   promises_helper fuse DIR MIB [direct|writeback]   mounts a file system with
 *                                          one file, "img", and serves it until
 *                                          it is unmounted. Each FUSE_FSYNC
 *                                          is noted in the kernel's trace
 *   promises_helper stable DEVICE FREEZE THAW   writes to a mapped page of
 *                                          DEVICE while it is being written to
 *                                          a file that FREEZE has stopped;
 *                                          prints "waits" or "does not wait"
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK		4096
#define MAX_WRITE	(128 * 1024)
#define THE_FILE	(FUSE_ROOT_ID + 1)
#define MARKER		"/sys/kernel/tracing/trace_marker"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static void die(const char *what)
{
	fprintf(stderr, "promises_helper: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

/* ---- forced unit access ---- */

static int cmd_fua(char **arg)
{
	int fd = open_or_die(arg[0], O_RDWR | O_DIRECT);
	unsigned int count = strtoul(arg[1], NULL, 0);
	unsigned int first = strtoul(arg[2], NULL, 0);
	static char data[BLOCK] __attribute__((aligned(BLOCK)));
	aio_context_t ctx = 0;
	struct io_event event;

	if (syscall(SYS_io_setup, 1, &ctx))
		die("io_setup");
	for (unsigned int i = first; i < first + count; i++) {
		struct iocb cb = {
			.aio_lio_opcode = IOCB_CMD_PWRITE,
			.aio_fildes = fd,
			.aio_buf = (uintptr_t)data,
			.aio_nbytes = BLOCK,
			.aio_offset = (off_t)i * BLOCK,
			.aio_rw_flags = RWF_DSYNC,
		};
		struct iocb *list[] = { &cb };

		memset(data, 'a' + i % 26, BLOCK);
		if (syscall(SYS_io_submit, ctx, 1, list) != 1)
			die("io_submit");
		if (syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) != 1)
			die("io_getevents");
		if (event.res != BLOCK) {
			printf("block %u: %lld\n", i, (long long)event.res);
			return 1;
		}
	}
	return 0;
}

/* ---- a file system of one file ---- */

struct request {
	struct fuse_in_header h;
	union {
		struct fuse_read_in read;
		struct fuse_setattr_in setattr;
		struct {
			struct fuse_write_in in;
			uint8_t data[MAX_WRITE];
		} write;
	};
};

struct server {
	int fuse;
	int marker;
	uint64_t size;
	uint32_t init_flags;
	uint32_t open_flags;
	uint8_t *data;
};

static void reply(struct server *s, const struct request *r, int error,
		  const void *data, size_t len)
{
	struct fuse_out_header h = {
		.len = sizeof(h) + len, .error = -error, .unique = r->h.unique,
	};
	struct iovec iov[] = { { &h, sizeof(h) }, { (void *)data, len } };

	/* ENOENT: it has been given up */
	if (writev(s->fuse, iov, 2) < 0 && errno != ENOENT)
		exit(1);
}

static struct fuse_attr attr_of(const struct server *s, uint64_t node)
{
	return (struct fuse_attr) {
		.ino = node, .size = s->size, .blocks = s->size / 512,
		.mode = node == THE_FILE ? S_IFREG | 0600 : S_IFDIR | 0700,
		.nlink = 1, .blksize = BLOCK,
	};
}

static void answer_io(struct server *s, const struct request *r)
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
		/* refused while nobody traces */
		if (write(s->marker, "served FSYNC\n", 13) < 0)
			errno = 0;
		reply(s, r, 0, NULL, 0);
		break;
	default:
		reply(s, r, ENOSYS, NULL, 0);
	}
}

/* What is left out of an answer, times of validity too, is 0. */
static void answer(struct server *s, const struct request *r)
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
		reply(s, r, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		reply(s, r, 0, &open, sizeof(open));
		break;
	case FUSE_STATFS:
		reply(s, r, 0, &statfs, sizeof(statfs));
		break;
	case FUSE_UNLINK:	/* there is another one at once */
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		reply(s, r, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		answer_io(s, r);
	}
}

static int cmd_fuse(char **arg)
{
	static struct server s;
	static struct request r;
	char options[128];

	s.size = strtoull(arg[1], NULL, 0) << 20;
	if (arg[2] && !strcmp(arg[2], "direct"))
		s.open_flags = FOPEN_DIRECT_IO;
	s.init_flags = FUSE_ASYNC_DIO | FUSE_BIG_WRITES;
	if (arg[2] && !strcmp(arg[2], "writeback"))
		s.init_flags |= FUSE_WRITEBACK_CACHE;
	s.data = mmap(NULL, s.size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s.data == MAP_FAILED)
		die("mmap");
	s.marker = open_or_die(MARKER, O_WRONLY);
	s.fuse = open_or_die("/dev/fuse", O_RDWR);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40700,user_id=0,group_id=0", s.fuse);
	if (mount("promises", arg[0], "fuse", 0, options))
		die(arg[0]);
	/* a last unmount in its own exit would wait for its answer */
	if (unshare(CLONE_NEWNS) || umount2(arg[0], MNT_DETACH))
		die("leave the file system");
	for (;;) {
		ssize_t n = read(s.fuse, &r, sizeof(r));

		if (n < 0 && errno == ENODEV)
			return 0;
		if (n < 0 && errno != EINTR && errno != ENOENT)
			die("read");
		if (n > 0)
			answer(&s, &r);
	}
}

/* ---- stable pages ---- */

static char state_of(pid_t pid)
{
	char path[32], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		fclose(f);
	}
	return state;
}

/* The page is written back, and stays that as the file system below is frozen. */
static int cmd_stable(char **arg)
{
	int fd = open_or_die(arg[0], O_RDWR);
	char *page = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED,
			  fd, 0);
	bool waits = false;
	char state;
	pid_t pid;

	if (page == MAP_FAILED)
		die("mmap");
	page[0] = 1;
	if (system(arg[1]))
		die(arg[1]);
	if (sync_file_range(fd, 0, BLOCK, SYNC_FILE_RANGE_WRITE))
		die("sync_file_range");
	pid = fork();
	if (!pid) {
		page[0] = 2;
		_exit(0);
	}
	do {
		usleep(10000);
		state = state_of(pid);
		/* what it waits for is the page: that does not end before the thaw */
		waits = state == 'D';
	} while (!waits && state != 'Z');
	if (system(arg[2]))
		die(arg[2]);
	waitpid(pid, NULL, 0);
	puts(waits ? "waits" : "does not wait");
	return fsync(fd);
}

static const struct {
	const char *name;
	int arguments;
	int (*run)(char **arg);
} commands[] = {
	{ "fua", 3, cmd_fua },
	{ "fuse", 2, cmd_fuse },
	{ "stable", 3, cmd_stable },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (argc >= 2 && !strcmp(argv[1], commands[i].name) &&
		    argc - 2 >= commands[i].arguments)
			return commands[i].run(argv + 2);
	fprintf(stderr, "unknown command or too few arguments\n");
	return 2;
}
