// SPDX-License-Identifier: GPL-2.0
/*
 * Commands for the shell tests of the loop driver's I/O paths. A block has 4 KiB,
 * and its content follows from its number and a seed.
 *
 *   paths_helper write DEVICE COUNT SEED   direct writes of the first blocks;
 *                                          prints how many ended in the tick of
 *                                          the clock in which the one before
 *                                          began
 *   paths_helper check DEVICE COUNT SEED [direct]   reads and compares them
 *   paths_helper nowait DEVICE read|write BLOCK     one direct transfer with
 *                                          RWF_NOWAIT: "ok" or the errno
 *   paths_helper flagged DEVICE read|write SECTOR LENGTH FLAG    one direct transfer
 *                                          with RWF_ATOMIC, _HIPRI, _NOWAIT or
 *                                          _DSYNC, or atomic-nowait: "ok" or the
 *                                          errno
 *   paths_helper unaligned DEVICE          a direct write and read of one
 *                                          block, from memory at 512 bytes
 *   paths_helper async aio|uring DEVICE read|write COUNT SEED [nowait]
 *                                          direct transfers of the first
 *                                          blocks at the same time; prints
 *                                          "submitted" as soon as they are,
 *                                          then "ok=N again=N other=N"
 *   paths_helper transfer DEVICE read|write BLOCK COUNT SEED   one direct
 *                                          read or two writes, as the first
 *                                          sets the times of the file; prints
 *                                          the number of bytes or the errno
 *                                          of the last one, and for a read the
 *                                          state of each sector: "=" as it was
 *                                          written, "." untouched, "x" else
 *   paths_helper place FILE                prints the place of its only extent
 *   paths_helper killed DEVICE COUNT       kills children in the middle of reads
 *   paths_helper anonymous MIB SECONDS     writes and compares memory again
 *                                          and again, at least once
 *   paths_helper low-memory MIB SECONDS    the same once, or until the time is
 *                                          over, with little of the machine's
 *                                          memory free; 3 if that killed it
 *   paths_helper change-fd DEVICE FILE     LOOP_CHANGE_FD
 *   paths_helper full DEVICE LIMIT COUNT SEED      direct writes while LIMIT, a
 *                                          memory.max, is 0 and the program
 *                                          must not be killed
 *   paths_helper watch FILE COMMAND...     how often the command, or the
 *                                          kernel for it, opens the file, and
 *                                          closes it after it could write
 *   paths_helper log-write TARGET DM COUNT FIRST   see cmd_log_write()
 *   paths_helper log-check LOG SECTORS COUNT FILE...  see cmd_log_check()
 *   paths_helper log-files DIRECTORY DM COUNT      see cmd_log_files()
 *   paths_helper log-cut LOG SECTORS PART PARTS IMAGE   see cmd_log_cut()
 *   paths_helper files-check DIRECTORY COUNT       checks the files of log-files
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/dm-ioctl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/types.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"

#define BLOCK		4096
#define SECTOR		512
#define MAX_ASYNC	1024

#ifndef RWF_ATOMIC
#define RWF_ATOMIC	0x40
#endif

static void block_fill(void *block, unsigned int nr, unsigned int seed)
{
	content_fill(block, BLOCK, (__u64)seed << 32 | nr);
}

static bool block_is(const void *block, unsigned int nr, unsigned int seed)
{
	__u64 want[BLOCK / 8];

	block_fill(want, nr, seed);
	return !memcmp(want, block, BLOCK);
}

/* Reads the clock that file systems use for the times of a file. */
static __u64 tick(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static int cmd_write(char **arg)
{
	int fd = open_or_die(arg[0], O_WRONLY | O_DIRECT);
	unsigned int count = number(arg[1]), same = 0;
	void *block = pages(BLOCK);
	__u64 began, before = 0;

	for (unsigned int i = 0; i < count; i++) {
		block_fill(block, i, number(arg[2]));
		began = tick();
		if (pwrite(fd, block, BLOCK, (off_t)i * BLOCK) != BLOCK)
			die("write");
		same += tick() == before;
		before = began;
	}
	printf("%u\n", same);
	return 0;
}

static int cmd_check(char **arg)
{
	int fd = open_or_die(arg[0], arg[3] ? O_RDONLY | O_DIRECT : O_RDONLY);
	unsigned int count = number(arg[1]), bad = 0;
	void *block = pages(BLOCK);

	for (unsigned int i = 0; i < count; i++) {
		if (pread(fd, block, BLOCK, (off_t)i * BLOCK) != BLOCK)
			die("read");
		if (!block_is(block, i, number(arg[2])) && !bad++)
			printf("block %u is wrong\n", i);
	}
	if (bad)
		printf("%u of %u blocks are wrong\n", bad, count);
	return bad != 0;
}

static bool is_write(const char *word)
{
	return !strcmp(word, "write");
}

static int cmd_nowait(char **arg)
{
	struct iovec iov = { .iov_base = pages(BLOCK), .iov_len = BLOCK };
	off_t at = (off_t)number(arg[2]) * BLOCK;
	int fd = open_or_die(arg[0], O_RDWR | O_DIRECT);
	ssize_t ret;

	if (is_write(arg[1]))
		ret = pwritev2(fd, &iov, 1, at, RWF_NOWAIT);
	else
		ret = preadv2(fd, &iov, 1, at, RWF_NOWAIT);
	puts(ret == BLOCK ? "ok" : ret < 0 ? strerrorname_np(errno) : "short");
	return 0;
}

static const struct {
	const char *name;
	int flag;
} rw_flags[] = {
	{ "atomic", RWF_ATOMIC },
	{ "atomic-nowait", RWF_ATOMIC | RWF_NOWAIT },
	{ "dsync", RWF_DSYNC },
	{ "hipri", RWF_HIPRI },
	{ "nowait", RWF_NOWAIT },
};

static int cmd_flagged(char **arg)
{
	int fd = open_or_die(arg[0], O_RDWR | O_DIRECT);
	struct iovec iov = { .iov_len = number(arg[3]) };
	off_t pos = (off_t)number(arg[2]) * SECTOR;
	unsigned int i = 0;
	ssize_t n;

	while (strcmp(rw_flags[i].name, arg[4]))
		if (++i == ARRAY_SIZE(rw_flags))
			return 2;
	iov.iov_base = pages(iov.iov_len);
	memset(iov.iov_base, arg[4][0], iov.iov_len);
	n = is_write(arg[1]) ? pwritev2(fd, &iov, 1, pos, rw_flags[i].flag) :
			       preadv2(fd, &iov, 1, pos, rw_flags[i].flag);
	puts(n < 0 ? strerrorname_np(errno) : "ok");
	return 0;
}

static int cmd_unaligned(char **arg)
{
	char *from = (char *)pages(4 * BLOCK) + 512;
	char *to = from + 2 * BLOCK;
	int fd = open_or_die(arg[0], O_RDWR | O_DIRECT);

	block_fill(from, 0, 77);
	if (pwrite(fd, from, BLOCK, BLOCK) != BLOCK)
		die("write");
	if (pread(fd, to, BLOCK, BLOCK) != BLOCK)
		die("read");
	return !block_is(to, 0, 77);
}

/* The memory is zeroed before, and shows how much of a failed read has come. */
static int cmd_transfer(char **arg)
{
	unsigned int first = number(arg[2]), count = number(arg[3]);
	size_t len = (size_t)count * BLOCK;
	off_t at = (off_t)first * BLOCK;
	int fd = open_or_die(arg[0], O_RDWR | O_DIRECT);
	char *want = pages(len), *data = pages(len);
	char zeroes[SECTOR] = { 0 };
	ssize_t ret;

	for (unsigned int i = 0; i < count; i++)
		block_fill(want + (size_t)i * BLOCK, first + i, number(arg[4]));
	if (is_write(arg[1])) {
		ret = pwrite(fd, want, len, at);
		ret = pwrite(fd, want, len, at);
	} else {
		ret = pread(fd, data, len, at);
	}
	if (ret < 0)
		printf("%s", strerrorname_np(errno));
	else
		printf("%zd", ret);
	if (!is_write(arg[1])) {
		putchar(' ');
		for (size_t i = 0; i < len; i += SECTOR)
			putchar(!memcmp(data + i, want + i, SECTOR) ? '=' :
				!memcmp(data + i, zeroes, SECTOR) ? '.' : 'x');
	}
	putchar('\n');
	return 0;
}

/* ---- many at a time ---- */

struct async {
	int fd;
	bool write;
	bool nowait;
	unsigned int count;
	char *data;
	unsigned int ok, again, other;
};

static void async_count(struct async *a, long ret)
{
	if (ret == BLOCK)
		a->ok++;
	else if (ret == -EAGAIN)
		a->again++;
	else
		a->other++;
}

static void submitted(void)
{
	puts("submitted");
	fflush(stdout);
}

static void async_aio(struct async *a)
{
	static struct iocb cb[MAX_ASYNC];
	struct io_event event;
	aio_context_t ctx = 0;
	unsigned int under_way = 0;

	if (syscall(SYS_io_setup, a->count, &ctx))
		die("io_setup");
	for (unsigned int i = 0; i < a->count; i++) {
		struct iocb *one = &cb[i];

		one->aio_lio_opcode = a->write ? IOCB_CMD_PWRITE :
						 IOCB_CMD_PREAD;
		one->aio_rw_flags = a->nowait ? RWF_NOWAIT : 0;
		one->aio_fildes = a->fd;
		one->aio_buf = (uintptr_t)(a->data + (size_t)i * BLOCK);
		one->aio_nbytes = BLOCK;
		one->aio_offset = (__u64)i * BLOCK;
		if (syscall(SYS_io_submit, ctx, 1, &one) == 1)
			under_way++;
		else
			async_count(a, -errno);
	}
	submitted();
	for (; under_way; under_way--) {
		if (syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) != 1)
			die("io_getevents");
		async_count(a, (int64_t)event.res);
	}
}

struct ring {
	int fd;
	unsigned int *sq_tail, *sq_array, sq_mask;
	struct io_uring_sqe *sqes;
	unsigned int *cq_head, *cq_tail, cq_mask;
	struct io_uring_cqe *cqes;
};

static void ring_init(struct ring *r, unsigned int entries)
{
	struct io_uring_params p = { .flags = 0 };
	char *sq, *cq;

	r->fd = syscall(SYS_io_uring_setup, entries, &p);
	if (r->fd < 0)
		die("io_uring_setup");
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(int),
		  PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*r->cqes),
		  PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqes = mmap(NULL, p.sq_entries * sizeof(*r->sqes),
		       PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		       IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || r->sqes == MAP_FAILED)
		die("mmap");
	r->sq_tail = (unsigned int *)(sq + p.sq_off.tail);
	r->sq_array = (unsigned int *)(sq + p.sq_off.array);
	r->sq_mask = p.sq_entries - 1;
	r->cq_head = (unsigned int *)(cq + p.cq_off.head);
	r->cq_tail = (unsigned int *)(cq + p.cq_off.tail);
	r->cq_mask = p.cq_entries - 1;
	r->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static void ring_submit(struct ring *r, const struct async *a, unsigned int i)
{
	unsigned int tail = *r->sq_tail, slot = tail & r->sq_mask;
	struct io_uring_sqe *sqe = &r->sqes[slot];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = a->write ? IORING_OP_WRITE : IORING_OP_READ;
	sqe->fd = a->fd;
	sqe->addr = (uintptr_t)(a->data + (size_t)i * BLOCK);
	sqe->len = BLOCK;
	sqe->off = (__u64)i * BLOCK;
	sqe->rw_flags = a->nowait ? RWF_NOWAIT : 0;
	r->sq_array[slot] = slot;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) != 1)
		die("io_uring_enter");
}

static void async_uring(struct async *a)
{
	struct ring r;

	ring_init(&r, a->count);
	for (unsigned int i = 0; i < a->count; i++)
		ring_submit(&r, a, i);
	submitted();
	for (unsigned int head = 0; head < a->count; head++) {
		while (__atomic_load_n(r.cq_tail, __ATOMIC_ACQUIRE) == head)
			if (syscall(SYS_io_uring_enter, r.fd, 0, 1,
				    IORING_ENTER_GETEVENTS, NULL, 0) < 0)
				die("io_uring_enter");
		async_count(a, r.cqes[head & r.cq_mask].res);
		__atomic_store_n(r.cq_head, head + 1, __ATOMIC_RELEASE);
	}
}

static int cmd_async(char **arg)
{
	struct async a = {
		.fd = open_or_die(arg[1], O_RDWR | O_DIRECT),
		.write = is_write(arg[2]),
		.nowait = arg[5] && !strcmp(arg[5], "nowait"),
		.count = number(arg[3]),
	};
	unsigned int seed = number(arg[4]), bad = 0;

	if (!a.count || a.count > MAX_ASYNC)
		return 2;
	a.data = pages((size_t)a.count * BLOCK);
	for (unsigned int i = 0; a.write && i < a.count; i++)
		block_fill(a.data + (size_t)i * BLOCK, i, seed);

	if (!strcmp(arg[0], "uring"))
		async_uring(&a);
	else
		async_aio(&a);

	printf("ok=%u again=%u other=%u\n", a.ok, a.again, a.other);
	for (unsigned int i = 0; !a.write && a.ok == a.count && i < a.count; i++)
		bad += !block_is(a.data + (size_t)i * BLOCK, i, seed);
	if (bad)
		printf("%u blocks are wrong\n", bad);
	return bad != 0;
}

/* ---- killed ---- */

#define KILLED_READ	((size_t)4 << 20)

static long read_usec(int fd)
{
	struct timespec start, end;
	char *data = pages(KILLED_READ);

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (pread(fd, data, KILLED_READ, 0) <= 0)
		die("read");
	clock_gettime(CLOCK_MONOTONIC, &end);
	munmap(data, KILLED_READ);
	return (end.tv_sec - start.tv_sec) * 1000000 +
	       (end.tv_nsec - start.tv_nsec) / 1000;
}

/* Reads until the interrupt of the timer kills it, in the middle of a read. */
static _Noreturn void read_until_killed(int fd, int cached, long usec)
{
	struct itimerspec when = {
		.it_value.tv_sec = usec / 1000000,
		.it_value.tv_nsec = usec % 1000000 * 1000,
	};
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGKILL,
	};
	char *data = pages(KILLED_READ);
	timer_t timer;

	posix_fadvise(cached, 0, 0, POSIX_FADV_DONTNEED);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &when, NULL))
		die("timer");
	for (;;)
		if (pread(fd, data, KILLED_READ, 0) <= 0)
			die("read");
}

static int cmd_killed(char **arg)
{
	int direct = open_or_die(arg[0], O_RDONLY | O_DIRECT);
	int cached = open_or_die(arg[0], O_RDONLY);
	unsigned int count = number(arg[1]);
	long step = read_usec(direct) / 32;

	if (step < 200)
		step = 200;
	for (unsigned int i = 0; i < count; i++) {
		int status;
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid)
			read_until_killed(i % 4 ? direct : cached, cached,
					  3000 + i % 64 * step);
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid");
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			return 1;
	}
	return 0;
}

/* ---- memory ---- */

static int cmd_anonymous(char **arg)
{
	size_t nr = (size_t)number(arg[0]) << 20 >> 12;
	time_t end = time(NULL) + number(arg[1]);
	char *data = pages(nr * BLOCK);
	unsigned int round = 0;

	do {
		round++;
		for (size_t i = 0; i < nr; i++)
			block_fill(data + i * BLOCK, i, round);
		for (size_t i = 0; i < nr; i++) {
			if (block_is(data + i * BLOCK, i, round))
				continue;
			printf("page %zu is wrong, round %u\n", i, round);
			return 1;
		}
	} while (time(NULL) < end);
	printf("%u rounds\n", round);
	return 0;
}

static unsigned int free_kib(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned int kib;

	if (!f || fscanf(f, "MemTotal: %*u kB MemFree: %u", &kib) != 1)
		die("/proc/meminfo");
	fclose(f);
	return kib;
}

/*
 * Only the child is swapped meanwhile: this process locks its memory and has a
 * higher priority.
 */
static int cmd_low_memory(char **arg)
{
	struct timespec seconds = { .tv_sec = number(arg[1]) };
	struct sched_param first = { .sched_priority = 1 };
	int min = open_or_die("/proc/sys/vm/min_free_kbytes", O_RDWR);
	char was[16] = "", low[16], *once[] = { arg[0], "0" };
	int low_len, was_len = read(min, was, sizeof(was) - 1);
	int status = 0;
	sigset_t ended;
	pid_t pid;

	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &ended, NULL);
	if (was_len < 0 || mlockall(MCL_CURRENT) ||
	    sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first))
		die("have all that is needed");
	pid = fork();
	if (!pid)
		exit(cmd_anonymous(once));
	low_len = snprintf(low, sizeof(low), "%u", free_kib() / 10 * 9);
	if (pid < 0 || pwrite(min, low, low_len, 0) != low_len)
		die("leave little free");
	if (sigtimedwait(&ended, NULL, &seconds) != SIGCHLD)
		kill(pid, SIGUSR1);
	if (pwrite(min, was, was_len, 0) != was_len)
		die("leave as much free as before");
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGUSR1 ? 0 : 3;
	return WEXITSTATUS(status);
}

static int cmd_change_fd(char **arg)
{
	if (ioctl(open_or_die(arg[0], O_RDONLY), LOOP_CHANGE_FD,
		  open_or_die(arg[1], O_RDONLY)))
		die("LOOP_CHANGE_FD");
	return 0;
}

/* The program has all of its memory before it sets the limit. */
static int cmd_full(char **arg)
{
	int limit = open_or_die(arg[1], O_WRONLY);
	int fd = open_or_die(arg[0], O_RDWR | O_DIRECT);
	unsigned int count = number(arg[2]), seed = number(arg[3]);
	int score = open_or_die("/proc/self/oom_score_adj", O_WRONLY);
	char *data = pages(count * BLOCK);
	ssize_t n = 0;
	int err = 0;

	for (unsigned int i = 0; i < count; i++)
		block_fill(data + i * BLOCK, i, seed);
	if (write(score, "-1000", 5) != 5 || mlockall(MCL_CURRENT) ||
	    write(limit, "0", 1) != 1) {
		perror("limit");
		return 2;
	}
	for (unsigned int i = 0; i < count && !err; i++) {
		n = pwrite(fd, data + i * BLOCK, BLOCK, (off_t)i * BLOCK);
		if (n != BLOCK)
			err = n < 0 ? errno : EIO;
	}
	if (write(limit, "max", 3) != 3)
		perror("no limit");
	if (err)
		printf("%s\n", strerrorname_np(err));
	return !!err;
}

/* ---- opens and closes of a file ---- */

static int cmd_watch(char **arg)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	int opened = 0, closed = 0, status;
	int fd = inotify_init1(IN_NONBLOCK);
	const struct inotify_event *e;
	ssize_t n;
	pid_t pid;

	if (fd < 0 || inotify_add_watch(fd, arg[0], IN_OPEN | IN_CLOSE_WRITE) < 0) {
		perror(arg[0]);
		return 2;
	}
	pid = fork();
	if (!pid) {
		execvp(arg[1], arg + 1);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return 2;
	while ((n = read(fd, events, sizeof(events))) > 0) {
		for (char *p = events; p < events + n; p += sizeof(*e) + e->len) {
			e = (const struct inotify_event *)p;
			opened += !!(e->mask & IN_OPEN);
			closed += !!(e->mask & IN_CLOSE_WRITE);
		}
	}
	printf("opened %d, closed %d\n", opened, closed);
	return 0;
}

/* ---- power cuts, with the log of dm-log-writes ---- */

struct marker {
	int control;
	const char *device;
	char data[sizeof(struct dm_ioctl) + sizeof(struct dm_target_msg) + 64];
};

static void marker_init(struct marker *m, const char *device)
{
	m->control = open_or_die("/dev/mapper/control", O_RDWR);
	m->device = device;
}

static void marker_put(struct marker *m, unsigned int nr)
{
	struct dm_ioctl *dm = (struct dm_ioctl *)m->data;
	struct dm_target_msg *msg = (void *)(m->data + sizeof(*dm));

	/*
	 * The kernel fills the structure, and must not find that at the next
	 * call.
	 */
	memset(m->data, 0, sizeof(m->data));
	snprintf(dm->name, sizeof(dm->name), "%s", m->device);
	dm->version[0] = DM_VERSION_MAJOR;
	dm->data_size = sizeof(m->data);
	dm->data_start = sizeof(*dm);
	snprintf(msg->message, 64, "mark %u", nr);
	if (ioctl(m->control, DM_TARGET_MSG, dm))
		die("DM_TARGET_MSG");
}

/*
 * Writes a record in each block, makes each durable in another way, and then
 * puts a mark with its number into the log of DM. Record N goes to block N -
 * FIRST of TARGET. Other blocks are written, too, and are not made durable.
 */
static int cmd_log_write(char **arg)
{
	unsigned int count = number(arg[2]), first = number(arg[3]);
	int cached = open_or_die(arg[0], O_RDWR);
	int direct = open_or_die(arg[0], O_RDWR | O_DIRECT);
	void *block = pages(BLOCK);
	struct iovec iov = { .iov_base = block, .iov_len = BLOCK };
	struct marker m;

	marker_init(&m, arg[1]);
	for (unsigned int i = 0; i < count; i++) {
		off_t at = (off_t)i * BLOCK;
		bool ok;

		block_fill(block, first + i, 0);
		switch (i % 5) {
		case 0: /* writeback of the page cache, and a flush */
			ok = pwrite(cached, block, BLOCK, at) == BLOCK &&
				!fdatasync(cached);
			break;
		case 1: /* FUA */
			ok = pwritev2(direct, &iov, 1, at, RWF_DSYNC) == BLOCK;
			break;
		case 2: /* a flush */
			ok = pwrite(direct, block, BLOCK, at) == BLOCK &&
				!fdatasync(direct);
			break;
		case 3: /* writeback of the page cache with FUA */
			ok = pwritev2(cached, &iov, 1, at, RWF_DSYNC) == BLOCK;
			break;
		default: /* the flush of another block */
			ok = pwrite(direct, block, BLOCK, at) == BLOCK;
			block_fill(block, count + i, 1);
			ok = ok && pwritev2(direct, &iov, 1,
					    (off_t)(count + i) * BLOCK,
					    RWF_SYNC) == BLOCK &&
				!fsync(direct);
			break;
		}
		if (!ok)
			die("record");
		marker_put(&m, first + i);
	}
	return 0;
}

/*
 * Writes files, makes each durable in another way, and then puts a mark with
 * its number into the log of DM.
 */
static int cmd_log_files(char **arg)
{
	unsigned int count = number(arg[2]);
	void *block = pages(BLOCK);
	struct marker m;
	int dir = open_or_die(arg[0], O_RDONLY);

	marker_init(&m, arg[1]);
	for (unsigned int i = 0; i < count; i++) {
		int fd = openat(dir, "new", O_WRONLY | O_CREAT | O_EXCL |
				(i % 4 == 3 ? O_DIRECT | O_DSYNC : 0), 0600);
		char name[16];
		bool ok = fd >= 0;

		for (unsigned int j = 0; j <= i % 3; j++) {
			block_fill(block, j, i);
			ok = ok && write(fd, block, BLOCK) == BLOCK;
		}
		if (i % 4 == 1)
			ok = ok && !fdatasync(fd);
		snprintf(name, sizeof(name), "%u", i);
		ok = ok && !renameat(dir, "new", dir, name) &&
			!fsync(i % 4 == 0 ? fd : dir);
		/* The directory was synced, and the file was not. */
		if (i % 4 == 2)
			ok = ok && !syncfs(fd);
		if (!ok)
			die("file");
		close(fd);
		marker_put(&m, i);
	}
	return 0;
}

static int cmd_files_check(char **arg)
{
	unsigned int count = number(arg[1]), bad = 0;
	int dir = open_or_die(arg[0], O_RDONLY);
	void *block = pages(BLOCK);

	for (unsigned int i = 0; i < count; i++) {
		char name[16];
		bool ok;
		int fd;

		snprintf(name, sizeof(name), "%u", i);
		fd = openat(dir, name, O_RDONLY);
		ok = fd >= 0;
		for (unsigned int j = 0; j <= i % 3; j++)
			ok = ok && read(fd, block, BLOCK) == BLOCK &&
				block_is(block, j, i);
		if (!ok && bad++ < 5)
			printf("file %u is lost\n", i);
		close(fd);
	}
	return bad != 0;
}

#define LOG_MAGIC	0x6a736677736872ULL
#define LOG_DISCARD	4
#define LOG_MARK	8

struct log_super {
	__u64 magic, version, nr_entries;
	__u32 sector_size;
};

struct log_entry {
	__u64 sector, nr_sectors, flags, data_len;
	char data[480];
};

/*
 * A log of dm-log-writes, and the content of the device after some of its
 * entries
 */
struct log {
	int fd;
	off_t at;
	__u64 nr_entries;
	char *image;
	size_t size;
};

static void log_open(struct log *log, const char *path, const char *sectors)
{
	struct log_super super;

	log->fd = open_or_die(path, O_RDONLY);
	log->at = SECTOR;
	log->size = (size_t)strtoull(sectors, NULL, 0) * SECTOR;
	log->image = pages(log->size);
	if (pread(log->fd, &super, sizeof(super), 0) != sizeof(super))
		die("log");
	log->nr_entries = super.nr_entries;
	if (super.magic == LOG_MAGIC && super.sector_size == SECTOR)
		return;
	fprintf(stderr, "not a log\n");
	exit(2);
}

/* Applies the next entry. Returns the number of a mark, else -1. */
static int log_step(struct log *log)
{
	struct log_entry entry;
	char *to;
	size_t len;

	if (pread(log->fd, &entry, sizeof(entry), log->at) != sizeof(entry))
		die("log entry");
	log->at += sizeof(entry);
	if (entry.flags & LOG_MARK)
		/* The target writes a mark of its own at its end. */
		return entry.data[0] < '0' || entry.data[0] > '9' ?
			-1 : (int)number(entry.data);
	len = entry.nr_sectors * SECTOR;
	to = log->image + entry.sector * SECTOR;
	if (entry.sector * SECTOR + len > log->size) {
		fprintf(stderr, "entry beyond the device\n");
		exit(2);
	}
	if (entry.flags & LOG_DISCARD) {
		memset(to, 0, len);
		return -1;
	}
	if (pread(log->fd, to, len, log->at) != (ssize_t)len)
		die("log data");
	log->at += len;
	return -1;
}

/*
 * Cuts the power after PART of PARTS of the entries after the first mark. IMAGE
 * becomes the content of the device at that time. Prints the number of marks
 * after the first one.
 */
static int cmd_log_cut(char **arg)
{
	__u64 left;
	struct log log;
	int marks = 0, fd;

	log_open(&log, arg[0], arg[1]);
	left = log.nr_entries;
	while (left-- && log_step(&log) < 0)
		;
	left = left * number(arg[2]) / number(arg[3]);
	while (left--)
		marks += log_step(&log) >= 0;
	fd = open(arg[4], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, log.image, log.size) != (ssize_t)log.size)
		die(arg[4]);
	printf("%d\n", marks);
	return 0;
}

/* Returns the place of the only extent of a file on its device. */
static __u64 file_place(const char *path)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} f = { .map.fm_length = FIEMAP_MAX_OFFSET, .map.fm_extent_count = 1 };
	struct stat st;

	if (stat(path, &st))
		die(path);
	if (!S_ISREG(st.st_mode))
		return 0;
	if (ioctl(open_or_die(path, O_RDONLY), FS_IOC_FIEMAP, &f))
		die("FS_IOC_FIEMAP");
	if (f.map.fm_mapped_extents != 1 ||
	    f.extent.fe_length < (__u64)st.st_size) {
		fprintf(stderr, "%s has more than one extent\n", path);
		exit(2);
	}
	return f.extent.fe_physical;
}

/* Returns whether the record of a mark is in its place after the cut. */
static bool record_is_there(const char *image, unsigned int nr,
			    const __u64 *place, unsigned int count)
{
	unsigned int i = nr % count;

	return block_is(image + place[nr / count] + (__u64)i * BLOCK, nr, 0);
}

static int cmd_place(char **arg)
{
	printf("%llu\n", file_place(arg[0]));
	return 0;
}

/*
 * LOG is a log of dm-log-writes, which gets a write when a later flush is done,
 * or at once if it was FUA. The power is cut at each mark: the entries up to
 * there are all that is left, and the record must be in them. FILE number N has
 * the records from N * COUNT on. At the end all records must be there.
 */
static int cmd_log_check(char **arg)
{
	unsigned int count = number(arg[2]), cuts = 0, bad = 0, files = 0;
	struct log log;
	__u64 place[16];

	for (; arg[3 + files] && files < ARRAY_SIZE(place); files++)
		place[files] = file_place(arg[3 + files]);
	log_open(&log, arg[0], arg[1]);
	for (__u64 i = 0; i < log.nr_entries; i++) {
		int nr = log_step(&log);

		if (nr < 0)
			continue;
		cuts++;
		if ((unsigned int)nr >= files * count)
			return 2;
		if (!record_is_there(log.image, nr, place, count) && bad++ < 5)
			printf("record %d is lost\n", nr);
	}
	for (unsigned int nr = 0; nr < files * count; nr++)
		if (!record_is_there(log.image, nr, place, count) && bad++ < 5)
			printf("record %u is lost in the end\n", nr);
	printf("%u cuts, %u records lost\n", cuts, bad);
	return bad || cuts != files * count;
}

const struct command commands[] = {
	{ "write", 3, cmd_write },
	{ "check", 3, cmd_check },
	{ "nowait", 3, cmd_nowait },
	{ "flagged", 5, cmd_flagged },
	{ "unaligned", 1, cmd_unaligned },
	{ "async", 5, cmd_async },
	{ "transfer", 5, cmd_transfer },
	{ "place", 1, cmd_place },
	{ "killed", 2, cmd_killed },
	{ "anonymous", 2, cmd_anonymous },
	{ "low-memory", 2, cmd_low_memory },
	{ "change-fd", 2, cmd_change_fd },
	{ "full", 4, cmd_full },
	{ "watch", 2, cmd_watch },
	{ "log-write", 4, cmd_log_write },
	{ "log-check", 4, cmd_log_check },
	{ "log-files", 3, cmd_log_files },
	{ "log-cut", 5, cmd_log_cut },
	{ "files-check", 2, cmd_files_check },
	{ }
};
