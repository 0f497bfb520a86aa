// SPDX-License-Identifier: GPL-2.0
/*
 * Commands for promises.sh. A block has 4 KiB.
 *
 *   promises_helper fua DEVICE COUNT FIRST   asynchronous direct writes with
 *                                          RWF_DSYNC, one after the other: a
 *                                          bio with REQ_FUA each, and no flush
 *                                          by the device's own fsync
 *   promises_helper fuse DIR MIB [direct|writeback]   mounts a FUSE file system
 *                                          with one file, and serves it until
 *                                          it is unmounted; puts a mark in the
 *                                          kernel's trace for each FUSE_FSYNC
 *   promises_helper stable DEVICE FREEZE THAW   writes to a mapped page of
 *                                          DEVICE during its writeback to a
 *                                          file that FREEZE has stopped; prints
 *                                          "waits" or "does not wait"
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse_server.h"
#include "helper.h"

#define BLOCK		4096
#define MARKER		"/sys/kernel/tracing/trace_marker"

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

static int marker;

/* The kernel refuses the mark while nobody traces, which is no error. */
static void trace_fsync(struct fuse_server *s)
{
	if (write(marker, "served FSYNC\n", 13) < 0)
		errno = 0;
}

static int cmd_fuse(char **arg)
{
	static struct fuse_server s = {
		.init_flags = FUSE_ASYNC_DIO | FUSE_BIG_WRITES,
		.on_fsync = trace_fsync,
	};
	const char *lacking;

	s.size = strtoull(arg[1], NULL, 0) << 20;
	s.data = pages(s.size);
	if (arg[2] && !strcmp(arg[2], "direct"))
		s.open_flags = FOPEN_DIRECT_IO;
	if (arg[2] && !strcmp(arg[2], "writeback"))
		s.init_flags |= FUSE_WRITEBACK_CACHE;
	marker = open_or_die(MARKER, O_WRONLY);
	lacking = fuse_server_mount(&s, arg[0]);
	if (lacking)
		die(lacking);
	if (!fuse_server_leave(arg[0]))
		die("leave the file system");
	while (fuse_server_step(&s))
		;
	return 0;
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

/* The page stays under writeback, as the file system below is frozen. */
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
		/*
		 * The child waits for the page, which does not end before the
		 * thaw.
		 */
		waits = state == 'D';
	} while (!waits && state != 'Z');
	if (system(arg[2]))
		die(arg[2]);
	waitpid(pid, NULL, 0);
	puts(waits ? "waits" : "does not wait");
	return fsync(fd);
}

const struct command commands[] = {
	{ "fua", 3, cmd_fua },
	{ "fuse", 2, cmd_fuse },
	{ "stable", 3, cmd_stable },
	{ }
};
