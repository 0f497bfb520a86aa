// SPDX-License-Identifier: GPL-2.0
/*
 * The file system of a backing file hangs. Calls on other devices and some calls
 * on the same device must go on meanwhile. A task that hangs can be killed, and
 * leaves nothing behind.
 *
 * The file system is FUSE with one file. Its server is a child that keeps
 * requests of one kind unanswered until the test tells it to go on.
 * No test depends on time: a call hangs until then, and the others have to end
 * before that, within PATIENCE seconds.
 *
 * The kernel does not wait for the answer to a release. With writeback caching it
 * first sets the times of a file that was written to, and waits for that answer.
 */
#include <poll.h>
#include <signal.h>
#include <linux/aio_abi.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "kselftest_harness.h"
#include "loop_test.h"
#include "fuse_server.h"

#ifndef PATIENCE
#define PATIENCE 60
#endif

#define A 960			/* its backing file hangs */
#define FREE 961
#define ATTACHED 962		/* attached to a file of another file system */
#define ABSENT 963
#define UPPER 964		/* on A, in some tests */
#define NUMBERS 5
#define SIZE (4 * LT_MIB)
#define MAX_SIZE (2 * SIZE)
#define BLOCK 4096

/* The server is a child that serves the kernel and takes orders from the test. */

struct server {
	struct fuse_server fuse;
	int ctl;		/* the socket of the test */
};

static void tell(struct server *s, int what)
{
	if (send(s->ctl, &what, sizeof(what), 0) != sizeof(what))
		exit(1);
}

/* The server of FUSE is the first member of struct server. */
static void tell_held(struct fuse_server *fuse, uint32_t opcode)
{
	tell((struct server *)fuse, -opcode);
}

#define GROW (-1)
#define REFUSE (-2)

/*
 * The test sends the opcode that is held from now on, or 0 for none, which answers
 * the held requests, or GROW, which makes the file larger, or REFUSE, after which a
 * request for the attributes of the file fails with EBUSY.
 */
static void serve_test(struct server *s)
{
	int order;

	if (recv(s->ctl, &order, sizeof(order), 0) != sizeof(order))
		exit(0);
	if (order == GROW)
		s->fuse.size = MAX_SIZE;
	else if (order == REFUSE)
		s->fuse.getattr_error = EBUSY;
	else
		fuse_server_hold(&s->fuse, order);
	tell(s, order);
}

static __noreturn void serve(struct server *s)
{
	struct pollfd p[2] = {
		{ .fd = s->fuse.fuse, .events = POLLIN },
		{ .fd = s->ctl, .events = POLLIN },
	};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		if (poll(p, 2, -1) < 0)
			exit(1);
		if (p[0].revents && !fuse_server_step(&s->fuse))
			exit(0);
		if (p[1].revents)
			serve_test(s);
	}
}

/* The test's side */

FIXTURE(hang)
{
	char dir[32];
	char mnt[64];
	char slow[80];		/* the file that hangs */
	char fast[64];
	pid_t server;		/* set by the parent only, as the memory is shared */
	unsigned int connection;
	int ctl;
	int early;		/* A, opened before anything hangs, or -1 */
	bool has_attach;
};

/*
 * Starts the server and mounts it; the file has @size bytes. Returns why that is not
 * possible, or NULL.
 */
static const char *start_server(struct _test_data_hang *self, bool writeback,
				uint64_t size)
{
	static struct server s = { .fuse.on_hold = tell_held };
	const char *lacking;
	int ctl[2];
	pid_t pid;

	if (system("modprobe -q fuse"))
		;		/* FUSE may be built in. */
	s.fuse.size = size;
	/* Most of it is never touched. */
	s.fuse.data = mmap(NULL, size > MAX_SIZE ? size : MAX_SIZE,
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s.fuse.data == MAP_FAILED)
		return "no memory";
	/* Another size must not make the kernel wait for pages that are read. */
	s.fuse.init_flags = FUSE_EXPLICIT_INVAL_DATA |
			    (writeback ? FUSE_WRITEBACK_CACHE : 0);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ctl))
		return "no socket";
	lacking = fuse_server_mount(&s.fuse, self->mnt);
	if (lacking)
		return lacking;
	pid = fork();
	if (pid < 0)
		return "no process";
	if (!pid) {
		if (!fuse_server_leave(self->mnt))
			lt_die("leave the file system");
		close(ctl[0]);
		s.ctl = ctl[1];
		serve(&s);
	}
	self->server = pid;
	close(s.fuse.fuse);
	close(ctl[1]);
	self->ctl = ctl[0];
	return NULL;
}

/* Returns the next message of the server, or 0 if there is none. */
static int hear(struct _test_data_hang *self)
{
	struct pollfd p = { .fd = self->ctl, .events = POLLIN };
	int what;

	if (poll(&p, 1, PATIENCE * 1000) != 1 ||
	    recv(self->ctl, &what, sizeof(what), 0) != sizeof(what))
		return 0;
	return what;
}

static void hold(struct _test_data_hang *self, int opcode)
{
	if (send(self->ctl, &opcode, sizeof(opcode), 0) != sizeof(opcode))
		lt_die("tell the server");
	if (!opcode) {
		while (hear(self))
			;
		return;
	}
	if (hear(self) != opcode)
		lt_die("hear the server");
}

/* Returns 0 in a child, which dies with the test. */
static pid_t fork_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		lt_die("fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* Runs @fn in a child, which closes all that is open when it ends. */
static pid_t start(int (*fn)(struct _test_data_hang *self),
		   struct _test_data_hang *self)
{
	pid_t pid = fork_child();

	if (pid)
		return pid;
	_exit(fn(self));
}

/* Returns the exit status of a child, or -1 if it does not end. */
static int ended(pid_t pid)
{
	return lt_ended(pid, PATIENCE);
}

static bool running(pid_t pid)
{
	return !waitpid(pid, NULL, WNOHANG);
}

/* Returns whether @fn ends without an error while the server hangs. */
static bool goes_on(int (*fn)(struct _test_data_hang *self),
		    struct _test_data_hang *self)
{
	int status = ended(start(fn, self));

	if (status)
		printf("# %s\n", status < 0 ? "does not end" : lt_errname(status));
	return !status;
}

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static int detach(int index)
{
	struct loop_ctl_detach d = lt_to_detach(index, LOOP_DETACH_NOW, 0);

	return ioctl(lt_control(), LOOP_CTL_DETACH, &d) ? errno : 0;
}

/* Returns LOOP_STATE_*, or -1 if there is no such device. */
static int state_of(int index)
{
	struct loop_ctl_entry e;

	return lt_entry(index, &e) ? e.state : -1;
}

static int attach_to(int index, const char *path, uint32_t flags)
{
	int fd = lt_open(index, O_RDWR), file = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || file < 0 || lt_configure(fd, file, 0, flags, 0, 0))
		return errno;
	close(file);
	close(fd);
	return 0;
}

static int configure_above(int index, int below, uint32_t flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/loop%d", below);
	return attach_to(index, path, flags);
}

/* Functions that hang. Each opens all that it needs, and returns an errno or 0. */

static int hang_configure(struct _test_data_hang *self)
{
	return attach_to(A, self->slow, 0);
}

static int hang_configure_partscan(struct _test_data_hang *self)
{
	return attach_to(A, self->slow, LO_FLAGS_PARTSCAN);
}

static int attach(struct _test_data_hang *self, uint32_t flags)
{
	int file = open(self->slow, O_RDWR | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(A, file, flags, 0);

	if (file < 0 || ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
		return errno;
	return 0;
}

static int hang_attach(struct _test_data_hang *self)
{
	return attach(self, 0);
}

static int hang_attach_new(struct _test_data_hang *self)
{
	return lt_destroy(A, 2000) ? attach(self, LOOP_ATTACH_EPHEMERAL) : EIO;
}

static int hang_status(struct _test_data_hang *self)
{
	struct loop_info64 info = { .lo_offset = BLOCK };
	int fd = lt_open(A, O_RDWR);

	return fd < 0 || ioctl(fd, LOOP_SET_STATUS64, &info) ? errno : 0;
}

static int hang_capacity(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDWR);

	return fd < 0 || ioctl(fd, LOOP_SET_CAPACITY, 0) ? errno : 0;
}

static int hang_change(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDWR), file = open(self->slow, O_RDONLY);

	return fd < 0 || file < 0 || ioctl(fd, LOOP_CHANGE_FD, file) ? errno : 0;
}

static int hang_flush(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDWR);

	return fd < 0 || fsync(fd) ? errno : 0;
}

static int hang_read(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDONLY | O_DIRECT);

	return fd < 0 || pread(fd, lt_edge() - BLOCK, BLOCK, 0) != BLOCK ? errno : 0;
}

static int hang_write(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDWR | O_DIRECT);

	if (fd < 0 || pwrite(fd, lt_edge() - BLOCK, BLOCK, 0) != BLOCK)
		return errno;
	return close(fd) ? errno : 0;
}

/* A change that drains the device waits for the bio in flight. */
static int hang_drain(struct _test_data_hang *self)
{
	pid_t pid = start(hang_read, self);
	int fd = lt_open(A, O_RDWR);

	lt_sleep_ms(500);
	if (fd < 0 || ioctl(fd, LOOP_SET_BLOCK_SIZE, BLOCK))
		return errno;
	waitpid(pid, NULL, 0);
	return close(fd) ? errno : 0;
}

/* Submits a read of a block, all into the same memory. */
static bool submit_read(aio_context_t ctx, int fd, uint64_t offset)
{
	static uint8_t buf[2 * BLOCK];
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd,
		.aio_buf = ((uintptr_t)buf + BLOCK) & -BLOCK,
		.aio_nbytes = BLOCK, .aio_offset = offset,
	};
	struct iocb *p = &cb;

	return syscall(SYS_io_submit, ctx, 1, &p) == 1;
}

/* Reads from the device above A until its queue is full and a submitter waits. */
static int fill_upper(struct _test_data_hang *self)
{
	const uint64_t count = SIZE / BLOCK;
	aio_context_t ctx = 0;
	int fd = lt_open(UPPER, O_RDONLY | O_DIRECT);

	if (fd < 0 || syscall(SYS_io_setup, count, &ctx))
		return errno;
	/* The reads are not sequential. */
	for (uint64_t i = 0; i < count; i++)
		if (!submit_read(ctx, fd, i * 37 % count * BLOCK))
			return errno;
	return 0;
}

/* A change of the device above A waits for that submitter. */
static int change_upper(struct _test_data_hang *self, uint32_t flags,
			unsigned long cmd, unsigned long arg)
{
	int err, fd;
	pid_t pid;

	err = lt_ctl(LOOP_CTL_ADD, UPPER) < 0 ? errno :
	      configure_above(UPPER, A, flags);
	if (err)
		return err;
	pid = start(fill_upper, self);
	lt_sleep_ms(500);
	fd = lt_open(UPPER, O_RDWR);
	if (fd < 0 || ioctl(fd, cmd, arg))
		return errno;
	waitpid(pid, NULL, 0);
	return ioctl(fd, LOOP_CLR_FD) || close(fd) ? errno : 0;
}

static int hang_upper(struct _test_data_hang *self)
{
	return change_upper(self, 0, LOOP_SET_BLOCK_SIZE, BLOCK);
}

/*
 * The new backing file is a third loop device, and the limits change, too, as A
 * has found that it cannot discard.
 */
static int hang_upper_change(struct _test_data_hang *self)
{
	uint64_t range[] = { 0, BLOCK };
	int file, fd = lt_open(A, O_RDWR);

	if (fd < 0 || (ioctl(fd, BLKDISCARD, range) && errno != EOPNOTSUPP) ||
	    close(fd))
		return errno;
	file = lt_open(ATTACHED, O_RDONLY);
	return file < 0 ? errno : change_upper(self, LO_FLAGS_READ_ONLY,
					       LOOP_CHANGE_FD, file);
}

/* The page cache of the device is dirty when the device is closed. */
static int hang_close_dirty(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDWR);

	if (fd < 0 || pwrite(fd, "dirty", 5, 0) != 5 || ioctl(fd, LOOP_CLR_FD))
		return errno;
	return close(fd) ? errno : 0;
}

/* The file has written data when it is released. */
static int hang_close(struct _test_data_hang *self)
{
	int err = hang_write(self), fd = lt_open(A, O_RDWR);

	if (err || fd < 0 || ioctl(fd, LOOP_CLR_FD))
		return err ?: errno;
	return close(fd) ? errno : 0;
}

static int hang_detach(struct _test_data_hang *self)
{
	return hang_write(self) ?: detach(A);
}

/* This many cgroups with 16 reads each need more workers than there can be. */
#define CROWD 130
#define CROWD_READS 16

/* Enters a cgroup of its own, whose I/O has workers of its own. */
static int enter_cgroup(int nr)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/cgroup/loop-crowd-%d", nr);
	if (mkdir(path, 0700) && errno != EEXIST)
		return errno;
	strcat(path, "/cgroup.procs");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		return errno;
	close(fd);
	return 0;
}

/* All read the same page. The server gets one request, and all wait for it. */
static int read_in_cgroup(int nr)
{
	struct io_event events[CROWD_READS];
	aio_context_t ctx = 0;
	int i, fd, err = enter_cgroup(nr);

	fd = lt_open(A, O_RDONLY | O_DIRECT);
	if (err || fd < 0 || syscall(SYS_io_setup, CROWD_READS, &ctx))
		return err ?: errno;
	for (i = 0; i < CROWD_READS; i++)
		if (!submit_read(ctx, fd, 0))
			return errno;
	if (syscall(SYS_io_getevents, ctx, CROWD_READS, CROWD_READS, events,
		    NULL) != CROWD_READS)
		return errno;
	for (i = 0; i < CROWD_READS; i++)
		if (events[i].res != BLOCK)
			err = EIO;
	return err;
}

/* All workers that there can be wait for the file. */
static int hang_crowd(struct _test_data_hang *self)
{
	int i, status, err = 0;
	char path[64];
	pid_t pid;

	lt_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+io");
	for (i = 0; i < CROWD; i++) {
		pid = fork();
		if (pid < 0)
			return errno;
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(read_in_cgroup(i));
		}
	}
	while (wait(&status) > 0)
		if (status)
			err = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	for (i = 0; i < CROWD; i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/loop-crowd-%d", i);
		rmdir(path);
	}
	return err;
}

/* Functions that go on meanwhile, on other devices */

static int use_other(struct _test_data_hang *self)
{
	int fd = lt_open(ATTACHED, O_RDWR);
	struct loop_info64 info;
	char buf[BLOCK];

	if (fd < 0 || pread(fd, buf, BLOCK, 0) != BLOCK ||
	    pwrite(fd, buf, BLOCK, 0) != BLOCK || fsync(fd))
		return errno;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) ||
	    ioctl(fd, LOOP_SET_STATUS64, &info))
		return errno;
	return close(fd) ? errno : 0;
}

static int configure_other(struct _test_data_hang *self)
{
	int fd;

	if (attach_to(FREE, self->fast, LO_FLAGS_PARTSCAN))
		return errno;
	fd = lt_open(FREE, O_RDWR);
	if (fd < 0 || ioctl(fd, LOOP_CLR_FD) || close(fd))
		return errno;
	return lt_sysfs_attached(FREE) ? EBUSY : 0;
}

static int configure_nested(struct _test_data_hang *self)
{
	int err = configure_above(FREE, ATTACHED, 0);

	lt_detach(FREE);
	return err;
}

static int add_other(struct _test_data_hang *self)
{
	return lt_ctl(LOOP_CTL_ADD, ABSENT) < 0 ||
	       lt_ctl(LOOP_CTL_REMOVE, ABSENT) < 0 ? errno : 0;
}

static int get_free(struct _test_data_hang *self)
{
	return lt_ctl(LOOP_CTL_GET_FREE, 0) < 0 ? errno : 0;
}

static int losetup_list(struct _test_data_hang *self)
{
	return system("losetup -a > /dev/null") ? EIO : 0;
}

static int attach_other(struct _test_data_hang *self)
{
	int file = open(self->fast, O_RDWR | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(-1, file, LOOP_ATTACH_EPHEMERAL,
						0);
	int fd = lt_attach(&a, NULL);

	if (fd < 0)
		return errno;
	close(fd);
	return detach(a.out_index);
}

static int list(struct _test_data_hang *self)
{
	static struct loop_ctl_entry e[64];
	struct loop_ctl_list l = lt_to_list(0, ARRAY_SIZE(e), e, 0, -1);

	return ioctl(lt_control(), LOOP_CTL_LIST, &l) ? errno : 0;
}

/* Functions that go on meanwhile, on the same device */

static int own_status(struct _test_data_hang *self)
{
	struct loop_info64 info;
	int fd = lt_open(A, O_RDONLY);

	if (fd < 0)
		return errno;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) && errno != ENXIO)
		return errno;
	return close(fd) ? errno : 0;
}

static int own_sysfs(struct _test_data_hang *self)
{
	char buf[64];

	lt_sysfs(A, "loop/backing_file", buf, sizeof(buf));
	lt_sysfs(A, "size", buf, sizeof(buf));
	return 0;
}

/* An exclusive open does not wait for the task that attaches the device. */
static int own_exclusive(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDONLY | O_EXCL);

	return fd < 0 || close(fd) ? errno : 0;
}

/* The page is another one than that of the read that hangs. */
static int own_read(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDONLY | O_DIRECT);

	return fd < 0 ||
	       pread(fd, lt_edge() - BLOCK, BLOCK, page_size()) != BLOCK ? errno : 0;
}

static int own_write(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDWR | O_DIRECT);

	return fd < 0 ||
	       pwrite(fd, lt_edge() - BLOCK, BLOCK, page_size()) != BLOCK ? errno : 0;
}

static int own_detach(struct _test_data_hang *self)
{
	return detach(A);
}

/* Returns LOOP_PENDING_*, or -1. */
static int force(int index, uint64_t deadline)
{
	struct loop_ctl_detach d = lt_to_detach(index, LOOP_DETACH_FORCE, deadline);

	return ioctl(lt_control(), LOOP_CTL_DETACH, &d) ? -1 : (int)d.out_pending;
}

/* The exit status of own_force() if it has succeeded, plus out_pending */
#define FORCED 200

/* Ends the attachment although the file hangs. */
static int own_force(struct _test_data_hang *self)
{
	int pending = force(A, lt_in_ms(300));

	return pending < 0 ? errno : FORCED + pending;
}

/* A task that already has the device open gets an error at once. */
static int own_early_read(struct _test_data_hang *self)
{
	return pread(self->early, lt_edge() - BLOCK, BLOCK, 2 * page_size()) == BLOCK ?
	       0 : errno;
}

static int own_attach(struct _test_data_hang *self)
{
	int file = open(self->fast, O_RDWR | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(A, file, 0, 0);

	return ioctl(lt_control(), LOOP_CTL_ATTACH, &a) ? errno : 0;
}

static void on_alarm(int sig)
{
}

/* A signal interrupts a caller that waits for the device itself, too. */
static int own_detach_interrupted(struct _test_data_hang *self)
{
	struct loop_ctl_detach d = lt_to_detach(A, LOOP_DETACH_WAIT,
						lt_in_ms(10000000)), in = d;
	struct itimerval it = {
		.it_interval.tv_usec = 100000, .it_value.tv_usec = 100000,
	};
	struct sigaction sa = { .sa_handler = on_alarm };

	if (sigaction(SIGALRM, &sa, NULL) || setitimer(ITIMER_REAL, &it, NULL))
		return errno;
	return detach(A) == EINTR &&
	       ioctl(lt_control(), LOOP_CTL_DETACH, &d) && errno == EINTR &&
	       !memcmp(&d, &in, sizeof(d)) ? 0 : ERANGE;
}

/* The deadline bounds the call whatever it waits for. */
static int own_detach_deadline(struct _test_data_hang *self)
{
	struct loop_ctl_detach d = lt_to_detach(A, LOOP_DETACH_WAIT, lt_in_ms(200));
	bool timed_out;

	timed_out = ioctl(lt_control(), LOOP_CTL_DETACH, &d) && errno == ETIMEDOUT;
	d.mode = LOOP_DETACH_WATCH;
	return timed_out && ioctl(lt_control(), LOOP_CTL_DETACH, &d) &&
	       errno == ETIMEDOUT ? 0 : ERANGE;
}

static int own_remove(struct _test_data_hang *self)
{
	return lt_ctl(LOOP_CTL_REMOVE, A) < 0 ? errno : 0;
}

static int own_clear(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDONLY);

	return fd < 0 || ioctl(fd, LOOP_CLR_FD) ? errno : 0;
}

/* A second caller that attaches the device does not wait for the first. */
static int own_configure(struct _test_data_hang *self)
{
	return attach_to(A, self->fast, 0);
}

/* These changes concern no bio, or change nothing. */
static int own_settings(struct _test_data_hang *self)
{
	struct loop_info64 info;
	int fd = lt_open(A, O_RDWR);

	if (fd < 0 || ioctl(fd, LOOP_SET_CAPACITY, 0) ||
	    ioctl(fd, LOOP_SET_DIRECT_IO, 0) ||
	    ioctl(fd, LOOP_SET_BLOCK_SIZE, 512) ||
	    ioctl(fd, LOOP_GET_STATUS64, &info))
		return errno;
	memcpy(info.lo_file_name, "name", 5);
	if (ioctl(fd, LOOP_SET_STATUS64, &info) ||
	    ioctl(fd, LOOP_GET_STATUS64, &info))
		return errno;
	return strcmp((char *)info.lo_file_name, "name") ? ERANGE : 0;
}

/* This change waits for the one that hangs. */
static int own_change(struct _test_data_hang *self)
{
	int fd = lt_open(A, O_RDWR);

	return fd < 0 || ioctl(fd, LOOP_SET_CAPACITY, 0) ? errno : 0;
}

/* While the device above waits to change its file, the old file has its old diskseq. */
static int list_changing(struct _test_data_hang *self)
{
	struct loop_ctl_entry e;
	struct stat below;
	char path[32];

	snprintf(path, sizeof(path), "/dev/loop%d", A);
	if (!lt_entry(UPPER, &e) || stat(path, &below))
		return errno ?: ENOENT;
	return e.backing_rdev == below.st_rdev &&
	       lt_sysfs_num(UPPER, "diskseq") == e.diskseq + 1 ? 0 : ERANGE;
}

FIXTURE_VARIANT(hang)
{
	int (*what)(struct _test_data_hang *self);
	int at;			/* the opcode that hangs, FUSE_* */
	int before;		/* LO_FLAGS of A before, or -1: detached */
	int state;		/* the state of A while it hangs, or -1 */
	int open, detach, remove; /* the errno for A, or 0; -1: not tried */
	int after;		/* the state of A at the end */
	bool writeback;
	bool attach;		/* needs the new ioctls */
	bool read;		/* reads of A go on */
	bool write;		/* writes to A go on */
	bool flush;		/* flushes of A go on */
	bool clear;		/* LOOP_CLR_FD of A goes on, and detaches it */
	bool settings;		/* own_settings() goes on */
	int drains;		/* it drains this device, and changes it */
};

FIXTURE_VARIANT_ADD(hang, configure)
{
	.what = hang_configure, .at = FUSE_GETATTR,
	.before = -1, .state = LOOP_STATE_BUSY, .after = LOOP_STATE_ATTACHED,
	.detach = ENXIO, .remove = EBUSY,
};

/* The block layer holds the device while it looks for partitions. */
FIXTURE_VARIANT_ADD(hang, partscan)
{
	.what = hang_configure_partscan, .at = FUSE_READ,
	.before = -1, .state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_ATTACHED,
	.open = -1, .detach = -1, .remove = -1,
};

/* LOOP_CTL_ATTACH takes no device before it knows the file. */
FIXTURE_VARIANT_ADD(hang, attach)
{
	.what = hang_attach, .at = FUSE_GETATTR, .attach = true,
	.before = -1, .state = LOOP_STATE_FREE, .after = LOOP_STATE_ATTACHED,
	.detach = ENXIO,
};

FIXTURE_VARIANT_ADD(hang, attach_new)
{
	.what = hang_attach_new, .at = FUSE_GETATTR, .attach = true,
	.before = -1, .state = -1, .after = LOOP_STATE_ATTACHED,
	.open = ENOENT, .detach = ENODEV, .remove = ENODEV,
};

FIXTURE_VARIANT_ADD(hang, status)
{
	.what = hang_status, .at = FUSE_GETATTR,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_ATTACHED,
	.detach = EBUSY, .remove = EBUSY, .read = true,
};

FIXTURE_VARIANT_ADD(hang, capacity)
{
	.what = hang_capacity, .at = FUSE_GETATTR,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_FREE,
	.detach = EBUSY, .remove = EBUSY, .read = true, .clear = true,
};

FIXTURE_VARIANT_ADD(hang, change)
{
	.what = hang_change, .at = FUSE_GETATTR, .before = LO_FLAGS_READ_ONLY,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_FREE,
	.detach = EBUSY, .remove = EBUSY, .read = true, .clear = true,
};

FIXTURE_VARIANT_ADD(hang, flush)
{
	.what = hang_flush, .at = FUSE_FSYNC,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_FREE,
	.detach = EBUSY, .remove = EBUSY, .read = true, .clear = true, .settings = true,
};

FIXTURE_VARIANT_ADD(hang, read)
{
	.what = hang_read, .at = FUSE_READ,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_FREE,
	.detach = EBUSY, .remove = EBUSY, .clear = true, .settings = true,
};

FIXTURE_VARIANT_ADD(hang, drain)
{
	.what = hang_drain, .at = FUSE_READ, .drains = A,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_ATTACHED,
	.detach = EBUSY, .remove = EBUSY,
};

FIXTURE_VARIANT_ADD(hang, crowd)
{
	.what = hang_crowd, .at = FUSE_READ,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_FREE,
	.detach = EBUSY, .remove = EBUSY, .clear = true, .flush = true, .write = true,
};

FIXTURE_VARIANT_ADD(hang, upper)
{
	.what = hang_upper, .at = FUSE_READ, .drains = UPPER,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_ATTACHED,
	.detach = EBUSY, .remove = EBUSY,
};

FIXTURE_VARIANT_ADD(hang, upper_change)
{
	.what = hang_upper_change, .at = FUSE_READ, .drains = UPPER,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_ATTACHED,
	.detach = EBUSY, .remove = EBUSY,
};

FIXTURE_VARIANT_ADD(hang, write)
{
	.what = hang_write, .at = FUSE_WRITE,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_FREE,
	.detach = EBUSY, .remove = EBUSY, .clear = true, .settings = true,
};

FIXTURE_VARIANT_ADD(hang, close_dirty)
{
	.what = hang_close_dirty, .at = FUSE_WRITE,
	.state = LOOP_STATE_ATTACHED, .after = LOOP_STATE_FREE,
	.open = ENXIO, .detach = EBUSY, .remove = EBUSY,
};

/* The device is detached already, and is removed before the end. */
FIXTURE_VARIANT_ADD(hang, close)
{
	.what = hang_close, .at = FUSE_SETATTR, .writeback = true,
	.state = LOOP_STATE_FREE, .after = -1,
	.detach = ENXIO,
};

FIXTURE_VARIANT_ADD(hang, detach)
{
	.what = hang_detach, .at = FUSE_SETATTR, .writeback = true, .attach = true,
	.state = LOOP_STATE_FREE, .after = -1,
	.detach = ENXIO,
};

/* Returns why nothing can be tested here, or NULL. */
static const char *set_up(struct __test_metadata *_metadata,
			  struct _test_data_hang *self, bool writeback,
			  uint64_t size)
{
	const char *why;
	struct stat st;
	int n;

	if (lt_unusable())
		return lt_unusable();
	for (n = A + NUMBERS - 1; n >= A; n--)
		ASSERT_TRUE(lt_destroy(n, 2000));
	ASSERT_EQ(0, lt_scratch(self->dir, "hang"));
	snprintf(self->mnt, sizeof(self->mnt), "%s/mnt", self->dir);
	snprintf(self->slow, sizeof(self->slow), "%s/slow", self->mnt);
	snprintf(self->fast, sizeof(self->fast), "%s/fast", self->dir);
	ASSERT_EQ(0, mkdir(self->mnt, 0700));
	close(lt_file(self->fast, SIZE, 1));
	self->has_attach = !access("/sys/class/misc/loop-control/features", F_OK);
	why = start_server(self, writeback, size);
	if (why)
		return why;
	ASSERT_EQ(0, stat(self->mnt, &st));
	self->connection = minor(st.st_dev);
	ASSERT_EQ(A, lt_ctl(LOOP_CTL_ADD, A));
	ASSERT_EQ(FREE, lt_ctl(LOOP_CTL_ADD, FREE));
	ASSERT_EQ(ATTACHED, lt_ctl(LOOP_CTL_ADD, ATTACHED));
	ASSERT_EQ(0, attach_to(ATTACHED, self->fast, 0));
	return NULL;
}

/* The server has died with the test. */
static void tear_down(struct _test_data_hang *self)
{
	int n;

	for (n = A + NUMBERS - 1; n >= A; n--)
		lt_destroy(n, 2000);
	rmdir(self->dir);
}

FIXTURE_SETUP(hang)
{
	const char *why = set_up(_metadata, self, variant->writeback, SIZE);

	if (why)
		SKIP(return, "%s", why);
	if (variant->attach && !self->has_attach)
		SKIP(return, "no LOOP_CTL_ATTACH");
	if (variant->before >= 0)
		ASSERT_EQ(0, attach_to(A, self->slow, variant->before));
}

FIXTURE_TEARDOWN_PARENT(hang)
{
	tear_down(self);
}

/*
 * Returns how many bios the device has given to workers, as the file always
 * waits.
 */
static unsigned long worker_bios(int index)
{
	char path[64], line[64];
	unsigned long nr = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/loop%d/loop_stats", index);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "worker_file %lu", &nr) == 1)
			break;
	if (f)
		fclose(f);
	return nr;
}

/*
 * Waits until all reads are submitted, and then for the workers, which start
 * one by one.
 */
static void wait_for_crowd(void)
{
	int i;

	for (i = 0; i < PATIENCE * 10; i++) {
		if (worker_bios(A) >= CROWD * CROWD_READS)
			break;
		lt_sleep_ms(100);
	}
	lt_sleep_ms(5000);
}

/* Waits until @what hangs in a request @at. If it does not, returns -1. */
static pid_t start_hanging(struct _test_data_hang *self,
			   int (*what)(struct _test_data_hang *self), int at)
{
	pid_t pid;

	hold(self, at);
	pid = start(what, self);
	if (hear(self) == -at) {
		/* The change must hang, too. */
		if (what == hang_upper || what == hang_upper_change ||
		    what == hang_drain)
			lt_sleep_ms(1500);
		if (what == hang_crowd)
			wait_for_crowd();
		return pid;
	}
	printf("# does not hang: %d\n", ended(pid));
	return -1;
}

#define EXPECT_GOES_ON(fn) EXPECT_TRUE(goes_on(fn, self))
#define EXPECT_ENDS(status, fn) EXPECT_EQ(status, ended(start(fn, self)))

TEST_F_TIMEOUT(hang, others, 600)
{
	pid_t pid;

	pid = start_hanging(self, variant->what, variant->at);
	ASSERT_LT(0, pid);
	if (self->has_attach) {
		EXPECT_EQ(variant->state, state_of(A));
		EXPECT_GOES_ON(list);
	}
	EXPECT_GOES_ON(use_other);
	EXPECT_GOES_ON(configure_other);
	EXPECT_GOES_ON(configure_nested);
	EXPECT_GOES_ON(add_other);
	EXPECT_GOES_ON(get_free);
	if (self->has_attach)
		EXPECT_GOES_ON(attach_other);
	/* losetup opens all devices. */
	if (variant->open >= 0)
		EXPECT_GOES_ON(losetup_list);
	EXPECT_TRUE(running(pid));

	hold(self, 0);
	EXPECT_EQ(0, ended(pid));
}

/*
 * The size changes while the block layer looks for partitions, and a uevent
 * tells it.
 */
static void resize(struct __test_metadata *_metadata,
		   struct _test_data_hang *self, int fd)
{
	ASSERT_LE(0, fd);
	hold(self, GROW);
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(MAX_SIZE, lt_size(fd));
	close(fd);
}

TEST_F_TIMEOUT(hang, same, 600)
{
	bool scans = variant->what == hang_configure_partscan;
	int early = scans ? lt_open(A, O_RDWR) : -1;
	int ue = lt_uevent_open();
	struct lt_buf b = { };
	pid_t pid;

	pid = start_hanging(self, variant->what, variant->at);
	ASSERT_LT(0, pid);
	EXPECT_GOES_ON(own_sysfs);
	if (scans)
		resize(_metadata, self, early);
	if (variant->open >= 0)
		EXPECT_ENDS(variant->open, own_status);
	if (variant->before < 0 && !variant->open)
		EXPECT_GOES_ON(own_exclusive);
	if (variant->read)
		EXPECT_GOES_ON(own_read);
	if (variant->write)
		EXPECT_GOES_ON(own_write);
	if (variant->flush)
		EXPECT_GOES_ON(hang_flush);
	if (variant->detach >= 0 && self->has_attach)
		EXPECT_ENDS(variant->detach, own_detach);
	if (variant->detach < 0 && self->has_attach) {
		EXPECT_GOES_ON(own_detach_interrupted);
		EXPECT_GOES_ON(own_detach_deadline);
	}
	if (variant->remove >= 0)
		EXPECT_ENDS(variant->remove, own_remove);
	if (variant->state == LOOP_STATE_BUSY)
		EXPECT_ENDS(EBUSY, own_configure);
	if (variant->settings)
		EXPECT_GOES_ON(own_settings);
	if (variant->what == hang_upper_change && self->has_attach)
		EXPECT_GOES_ON(list_changing);
	if (variant->clear)
		EXPECT_GOES_ON(own_clear);
	EXPECT_TRUE(running(pid));

	hold(self, 0);
	EXPECT_EQ(0, ended(pid));
	if (scans) {
		lt_uevents(ue, A, &b);
		EXPECT_NE(NULL, strstr(b.s, ",resize"))
			TH_LOG("got%s", b.s);
	}
	if (!self->has_attach)
		return;
	EXPECT_EQ(variant->after, state_of(A));
	if (variant->after == LOOP_STATE_ATTACHED)
		EXPECT_EQ(0, detach(A));
	EXPECT_EQ(0, umount2(self->mnt, 0));
}

/*
 * A task that waits for the attributes of the file can be killed, and so can a
 * task that waits for that one. Neither has changed anything.
 */
static void kill_them(struct __test_metadata *_metadata,
		      struct _test_data_hang *self,
		      int (*what)(struct _test_data_hang *self), bool attaching)
{
	pid_t second, pid = start_hanging(self, what, FUSE_GETATTR);

	ASSERT_LT(0, pid);
	if (!attaching) {
		second = start(own_change, self);
		lt_sleep_ms(100);
		EXPECT_TRUE(running(second));
		kill(second, SIGKILL);
		EXPECT_EQ(128 + SIGKILL, ended(second));
	}
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, ended(pid));
	hold(self, 0);
	EXPECT_EQ(!attaching, lt_sysfs_attached(A));
	EXPECT_EQ(what != hang_attach_new, lt_exists(A));
	if (!attaching) {
		EXPECT_GOES_ON(own_read);
		EXPECT_GOES_ON(own_change);
		return;
	}
	if (!lt_exists(A))
		ASSERT_EQ(A, lt_ctl(LOOP_CTL_ADD, A));
	EXPECT_EQ(0, attach_to(A, self->fast, 0));
	lt_detach(A);
}

/* Drops the page cache of the file, so that the next read asks the server. */
static void forget(struct _test_data_hang *self)
{
	int fd = open(self->slow, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		lt_die("drop the pages of %s", self->slow);
	close(fd);
}

/*
 * A task that drains a device can be killed, and has changed nothing. But LOOP_CHANGE_FD
 * has ended the old medium before that, and tells the new diskseq.
 */
static void kill_drain(struct __test_metadata *_metadata,
		       struct _test_data_hang *self,
		       int (*what)(struct _test_data_hang *self), int number)
{
	int uevents = lt_uevent_open();
	struct loop_ctl_entry e;
	struct lt_buf b = { };
	pid_t pid;

	pid = start_hanging(self, what, FUSE_READ);
	ASSERT_LT(0, pid);
	EXPECT_TRUE(running(pid));
	lt_uevents(uevents, number, NULL);
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, ended(pid));
	lt_uevents(uevents, number, &b);
	EXPECT_STREQ(what == hang_upper_change ? " change:disk" : "", b.s);
	close(uevents);
	EXPECT_EQ(512, lt_sysfs_num(number, "queue/logical_block_size"));
	if (self->has_attach && lt_entry(number, &e)) {
		EXPECT_EQ(LOOP_STATE_ATTACHED, e.state);
		EXPECT_EQ(lt_sysfs_num(number, "diskseq"), e.diskseq);
	}
	hold(self, 0);
	if (number == UPPER)
		EXPECT_TRUE(lt_destroy(UPPER, 2000));
	EXPECT_GOES_ON(own_read);
	forget(self);
}

/* If the server is killed, the call that hangs fails, and has changed nothing. */
TEST_F_TIMEOUT(hang, killed, 600)
{
	int status;
	pid_t pid;

	if (variant->at == FUSE_GETATTR)
		kill_them(_metadata, self, variant->what, variant->before < 0);
	if (variant->drains)
		kill_drain(_metadata, self, variant->what, variant->drains);
	pid = start_hanging(self, variant->what, variant->at);
	ASSERT_LT(0, pid);
	kill(self->server, SIGKILL);
	status = ended(pid);
	EXPECT_NE(-1, status);
	if (variant->at == FUSE_GETATTR) {
		EXPECT_TRUE(status == ENOTCONN || status == ECONNABORTED);
		EXPECT_EQ(variant->before >= 0, lt_sysfs_attached(A));
	}
	lt_destroy(UPPER, 2000);
	lt_destroy(A, 2000);
	EXPECT_FALSE(lt_exists(A));
	EXPECT_EQ(0, umount2(self->mnt, 0));
}

static int unmount_by_force(struct _test_data_hang *self)
{
	return umount2(self->mnt, MNT_FORCE) && errno != EBUSY ? errno : 0;
}

/* The control file system names a connection by its device number. */
static int abort_connection(struct _test_data_hang *self)
{
	char path[128], control[64];

	snprintf(control, sizeof(control), "%s/control", self->dir);
	if (mkdir(control, 0700) || mount(NULL, control, "fusectl", 0, NULL))
		return errno;
	snprintf(path, sizeof(path), "%s/%u/abort", control, self->connection);
	lt_write_file(path, "1");
	return umount2(control, 0) ? errno : 0;
}

/*
 * If the file system is given up, the call that hangs ends, later calls get
 * EIO, and nothing holds the file system.
 */
static void given_up(struct __test_metadata *_metadata,
		     struct _test_data_hang *self, pid_t pid,
		     int (*give_up)(struct _test_data_hang *self))
{
	ASSERT_LT(0, pid);
	EXPECT_GOES_ON(give_up);
	EXPECT_NE(-1, ended(pid));
	if (lt_sysfs_attached(A))
		EXPECT_ENDS(EIO, own_read);
	lt_destroy(UPPER, 2000);
	lt_destroy(A, 2000);
	EXPECT_FALSE(lt_exists(A));
	EXPECT_TRUE(!umount2(self->mnt, 0) || errno == EINVAL);
}

TEST_F_TIMEOUT(hang, forced, 600)
{
	given_up(_metadata, self,
		 start_hanging(self, variant->what, variant->at),
		 unmount_by_force);
}

TEST_F_TIMEOUT(hang, aborted, 600)
{
	given_up(_metadata, self,
		 start_hanging(self, variant->what, variant->at),
		 abort_connection);
}

/* Waits until the device is free and the file is released. */
static bool let_go(struct _test_data_hang *self, int state)
{
	int i;

	for (i = 0; i < PATIENCE * 100 && state_of(A) != state; i++)
		lt_sleep_ms(10);
	for (; i < PATIENCE * 100; i++) {
		if (!umount2(self->mnt, 0))
			return state_of(A) == state;
		lt_sleep_ms(10);
	}
	return false;
}

/*
 * LOOP_DETACH_FORCE returns at its deadline. The device is dead, its openers get EIO, and
 * nobody else waits for it. The file is released when the server goes on. @opens: an open
 * does not wait for a partition scan.
 */
static void detach_by_force(struct __test_metadata *_metadata,
			    struct _test_data_hang *self, pid_t pid, bool file,
			    bool opens)
{
	int status = ended(start(own_force, self));

	EXPECT_GE(status, FORCED) {
		TH_LOG("%s", status < 0 ? "does not end" : lt_errname(status));
	}
	if (file)
		EXPECT_EQ(LOOP_PENDING_FILE,
			  (status - FORCED) & LOOP_PENDING_FILE);
	if (self->early >= 0) {
		EXPECT_EQ(LOOP_PENDING_OPEN,
			  (status - FORCED) & LOOP_PENDING_OPEN);
		EXPECT_ENDS(EIO, own_early_read);
	}
	/* It has its file for a while. */
	EXPECT_NE(LOOP_STATE_FREE, state_of(A));
	if (opens) {
		EXPECT_ENDS(ENXIO, own_status);
		EXPECT_ENDS(EBUSY, own_attach);
		EXPECT_ENDS(EBUSY, own_remove);
	}
	EXPECT_GOES_ON(own_sysfs);
	EXPECT_GOES_ON(list);
	EXPECT_GOES_ON(use_other);
	EXPECT_GOES_ON(configure_other);
	EXPECT_GOES_ON(attach_other);

	hold(self, 0);
	/* The call may fail or succeed, as a part of it was done before. */
	EXPECT_NE(-1, ended(pid));
}

TEST_F_TIMEOUT(hang, detached_by_force, 600)
{
	bool attached = variant->state == LOOP_STATE_ATTACHED, io;
	pid_t pid;

	if (!self->has_attach)
		SKIP(return, "no LOOP_CTL_DETACH");
	/* For hang_close_dirty(), nobody else may have the device open. */
	self->early = attached && variant->what != hang_close_dirty ?
		      lt_open(A, (variant->before > 0 ? O_RDONLY : O_RDWR) |
				 O_DIRECT) : -1;
	pid = start_hanging(self, variant->what, variant->at);
	ASSERT_LT(0, pid);
	if (!attached) {
		EXPECT_ENDS(variant->detach, own_force);
		hold(self, 0);
		EXPECT_EQ(0, ended(pid));
		return;
	}
	io = variant->at != FUSE_GETATTR;
	detach_by_force(_metadata, self, pid, io, variant->open >= 0);
	lt_destroy(UPPER, 2000);
	if (self->early >= 0)
		close(self->early);
	EXPECT_TRUE(let_go(self, LOOP_STATE_FREE));
	EXPECT_GOES_ON(own_attach);
	EXPECT_EQ(0, detach(A));
}

/*
 * Signals. What the callers of the control device wait for is a file that hangs, or
 * the device that a partition scan of such a file holds.
 */

FIXTURE(hang_signal)
{
	struct _test_data_hang h;
};

FIXTURE_SETUP(hang_signal)
{
	const char *why = set_up(_metadata, &self->h, false, SIZE);

	if (why)
		SKIP(return, "%s", why);
	if (!self->h.has_attach)
		SKIP(return, "no LOOP_CTL_ATTACH");
	self->h.early = -1;
}

FIXTURE_TEARDOWN_PARENT(hang_signal)
{
	tear_down(&self->h);
}

/* A call that waits. It returns an errno, or 0. */
struct waiting {
	int (*call)(struct waiting *w);
	unsigned int cmd;
	uint32_t mode, flags;
	int index, lease, file;
	bool killable;		/* only a fatal signal interrupts it */
};

static int wait_detach(struct waiting *w)
{
	bool waits = w->mode == LOOP_DETACH_WAIT || w->mode == LOOP_DETACH_WATCH ||
		     w->mode == LOOP_DETACH_FORCE;
	struct loop_ctl_detach d = lt_to_detach(A, w->mode, waits ? UINT64_MAX : 0);
	struct loop_ctl_detach in = d;

	if (!ioctl(lt_control(), LOOP_CTL_DETACH, &d))
		return 0;
	return memcmp(&d, &in, sizeof(d)) ? EBADMSG : errno;
}

static int wait_attach(struct waiting *w)
{
	struct loop_ctl_attach a = lt_to_attach(w->index, w->file, w->flags, 0), in = a;

	if (!ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
		return 0;
	return memcmp(&a, &in, sizeof(a)) ? EBADMSG : errno;
}

static int wait_remove(struct waiting *w)
{
	return lt_ctl(LOOP_CTL_REMOVE, A) < 0 ? errno : 0;
}

static int wait_lease(struct waiting *w)
{
	return ioctl(w->lease, w->cmd, 0) ? errno : 0;
}

/* Starts the call in a child that has a handler of SIGALRM with @flags. */
static pid_t start_waiting(struct waiting *w, int flags)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };
	pid_t pid = fork_child();

	if (pid)
		return pid;
	_exit(sigaction(SIGALRM, &sa, NULL) ? errno : w->call(w));
}

/* A handler interrupts the call, or the call is made again, or the caller dies. */
static void interrupt_it(struct __test_metadata *_metadata, struct waiting *w)
{
	pid_t pid;

	if (!w->killable) {
		pid = start_waiting(w, 0);
		EXPECT_TRUE(lt_sleeps_in(pid, w->cmd));
		kill(pid, SIGALRM);
		EXPECT_STREQ("EINTR", lt_errname(ended(pid)));
	}
	pid = start_waiting(w, SA_RESTART);
	EXPECT_TRUE(lt_sleeps_in(pid, w->cmd));
	kill(pid, SIGALRM);
	EXPECT_TRUE(lt_sleeps_in(pid, w->cmd));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, ended(pid));
}

static int attach_leased(struct _test_data_hang *self, uint32_t attach_flags,
			 uint32_t lo_flags)
{
	int file = open(self->slow, O_RDWR | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(A, file, LOOP_ATTACH_LEASE | attach_flags,
						lo_flags);

	if (file < 0 || ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
		return -1;
	close(file);
	return a.out_lease;
}

static int attach_held(struct _test_data_hang *self)
{
	return attach_leased(self, LOOP_ATTACH_HOLD, LO_FLAGS_PARTSCAN);
}

static int the_lease;

static int hang_announce(struct _test_data_hang *self)
{
	return ioctl(the_lease, LOOP_LEASE_ANNOUNCE) ? errno : 0;
}

static int own_clear_lease(struct _test_data_hang *self)
{
	return ioctl(the_lease, LOOP_CLR_FD) ? errno : 0;
}

/* LOOP_CLR_FD on the lease does not wait for @scan, whose end detaches the device. */
static void clear_during(struct __test_metadata *_metadata, struct _test_data_hang *self,
			 pid_t scan)
{
	EXPECT_EQ(0, ended(start(own_clear_lease, self)));
	EXPECT_EQ(LOOP_STATE_ATTACHED, state_of(A));
	EXPECT_TRUE(running(scan));
	hold(self, 0);
	EXPECT_EQ(0, ended(scan));
	EXPECT_EQ(LOOP_STATE_FREE, state_of(A));
	close(the_lease);
	EXPECT_EQ(0, umount2(self->mnt, 0));
}

/* A partition scan holds the device, and others wait for that. */
TEST_F_TIMEOUT(hang_signal, scan, 600)
{
	struct waiting calls[] = {
		{ wait_detach, LOOP_CTL_DETACH, LOOP_DETACH_NOW },
		{ wait_detach, LOOP_CTL_DETACH, LOOP_DETACH_LAZY },
		{ wait_detach, LOOP_CTL_DETACH, LOOP_DETACH_WAIT },
		{ wait_detach, LOOP_CTL_DETACH, LOOP_DETACH_WATCH },
		{ wait_remove, LOOP_CTL_REMOVE, .killable = true },
	};
	struct loop_ctl_entry e;
	pid_t pid;
	int i;

	the_lease = attach_held(&self->h);
	ASSERT_LE(0, the_lease);
	pid = start_hanging(&self->h, hang_announce, FUSE_READ);
	ASSERT_LT(0, pid);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		calls[i].lease = the_lease;
		interrupt_it(_metadata, &calls[i]);
	}
	EXPECT_TRUE(running(pid));
	/* None of them has changed anything. */
	ASSERT_TRUE(lt_entry(A, &e));
	EXPECT_EQ(LOOP_STATE_ATTACHED, e.state);
	EXPECT_EQ(LO_FLAGS_PARTSCAN, e.lo_flags);
	EXPECT_EQ(LOOP_ATTACH_LEASE, e.attach_flags);
	EXPECT_EQ(0, e.openers);
	LT_EXPECT_ERR("EALREADY", ioctl(the_lease, LOOP_LEASE_ANNOUNCE));
	clear_during(_metadata, &self->h, pid);
}

static int hang_scan_node(struct _test_data_hang *self)
{
	struct loop_info64 info = { .lo_flags = LO_FLAGS_PARTSCAN };
	int dev = lt_open(A, O_RDWR);

	return ioctl(dev, LOOP_SET_STATUS64, &info) ? errno : 0;
}

/* A scan by an opener does not hold up the holder of the lease. */
TEST_F_TIMEOUT(hang_signal, scan_node, 600)
{
	pid_t pid;

	the_lease = attach_leased(&self->h, 0, 0);
	ASSERT_LE(0, the_lease);
	pid = start_hanging(&self->h, hang_scan_node, FUSE_READ);
	ASSERT_LT(0, pid);
	clear_during(_metadata, &self->h, pid);
}

/* A task that is killed during the scan has announced the device, or loses its lease. */
TEST_F_TIMEOUT(hang_signal, announce_killed, 600)
{
	pid_t pid;

	the_lease = attach_held(&self->h);
	ASSERT_LE(0, the_lease);
	pid = start_hanging(&self->h, hang_announce, FUSE_READ);
	ASSERT_LT(0, pid);
	kill(pid, SIGKILL);
	hold(&self->h, 0);
	EXPECT_EQ(128 + SIGKILL, ended(pid));
	LT_EXPECT_ERR("EALREADY", ioctl(the_lease, LOOP_LEASE_ANNOUNCE));
	EXPECT_EQ(0, ioctl(the_lease, BLKRRPART));
	EXPECT_EQ(0, ioctl(the_lease, LOOP_CLR_FD));
	LT_EXPECT_ERR("ENXIO", ioctl(the_lease, LOOP_LEASE_ANNOUNCE));
	EXPECT_EQ(LOOP_STATE_FREE, state_of(A));
	EXPECT_EQ(0, umount2(self->h.mnt, 0));
	close(the_lease);
}

static int hang_attach_scan(struct _test_data_hang *self)
{
	int file = open(self->slow, O_RDWR | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(ABSENT, file, LOOP_ATTACH_LEASE |
						LOOP_ATTACH_EPHEMERAL,
						LO_FLAGS_AUTOCLEAR |
						LO_FLAGS_PARTSCAN);

	return file < 0 || ioctl(lt_control(), LOOP_CTL_ATTACH, &a) ? errno : 0;
}

/* A task that is killed while the call scans partitions leaves no device. */
TEST_F_TIMEOUT(hang_signal, attach_scan_killed, 600)
{
	int i, count = lt_count_devices();
	pid_t pid;

	pid = start_hanging(&self->h, hang_attach_scan, FUSE_READ);
	ASSERT_LT(0, pid);
	kill(pid, SIGKILL);
	hold(&self->h, 0);
	EXPECT_EQ(128 + SIGKILL, ended(pid));
	for (i = 0; i < PATIENCE * 100 && lt_count_devices() > count; i++)
		lt_sleep_ms(10);
	EXPECT_EQ(count, lt_count_devices());
	EXPECT_EQ(ABSENT, lt_ctl(LOOP_CTL_ADD, ABSENT));
	EXPECT_EQ(0, umount2(self->h.mnt, 0));
}

/* The file answers a signal with EINTR, and then nothing is attached. */
TEST_F_TIMEOUT(hang_signal, attach, 600)
{
	struct waiting calls[] = {
		{ wait_attach, LOOP_CTL_ATTACH, .index = A },
		{ wait_attach, LOOP_CTL_ATTACH, .index = ABSENT },
		{ wait_attach, LOOP_CTL_ATTACH, .index = -1,
		  .flags = LOOP_ATTACH_LEASE | LOOP_ATTACH_EPHEMERAL },
		{ wait_attach, LOOP_CTL_ATTACH, .index = ABSENT,
		  .flags = LOOP_ATTACH_LEASE | LOOP_ATTACH_HOLD |
			   LOOP_ATTACH_EPHEMERAL },
	};
	int i, count = lt_count_devices();
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		calls[i].file = open(self->h.slow, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, calls[i].file);
		hold(&self->h, FUSE_GETATTR);
		pid = start_waiting(&calls[i], 0);
		ASSERT_EQ(-FUSE_GETATTR, hear(&self->h));
		kill(pid, SIGALRM);
		EXPECT_STREQ("EINTR", lt_errname(ended(pid)));
		hold(&self->h, 0);
		close(calls[i].file);
		EXPECT_EQ(LOOP_STATE_FREE, state_of(A));
		EXPECT_EQ(-1, state_of(ABSENT));
		EXPECT_EQ(count, lt_count_devices());
	}
	EXPECT_EQ(0, umount2(self->h.mnt, 0));
}

/* The file says that it is busy. No device is in the way. */
TEST_F_TIMEOUT(hang_signal, attach_refused, 600)
{
	static const int numbers[] = { A, ABSENT, -1 };
	int i, file = open(self->h.slow, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, file);
	hold(&self->h, REFUSE);
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct loop_ctl_attach a = lt_to_attach(numbers[i], file, 0, 0);

		LT_EXPECT_ERR("EBUSY", ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
		EXPECT_EQ(-1, a.out_busy);
	}
}

/* LOOP_DETACH_FORCE waits for the file. */
TEST_F_TIMEOUT(hang_signal, force, 600)
{
	struct waiting w = { wait_detach, LOOP_CTL_DETACH, LOOP_DETACH_FORCE };
	pid_t pid, last;

	ASSERT_EQ(0, attach_to(A, self->h.slow, 0));
	pid = start_hanging(&self->h, hang_read, FUSE_READ);
	ASSERT_LT(0, pid);
	interrupt_it(_metadata, &w);
	/* The first call has ended the attachment, and the same call can be made again. */
	EXPECT_EQ(LOOP_STATE_BUSY, state_of(A));
	EXPECT_EQ(FORCED + LOOP_PENDING_OPEN + LOOP_PENDING_FILE,
		  ended(start(own_force, &self->h)));
	last = start_waiting(&w, SA_RESTART);
	EXPECT_TRUE(lt_sleeps_in(last, LOOP_CTL_DETACH));
	kill(last, SIGALRM);
	EXPECT_TRUE(lt_sleeps_in(last, LOOP_CTL_DETACH));
	EXPECT_TRUE(running(pid));

	hold(&self->h, 0);
	EXPECT_EQ(0, ended(last));
	EXPECT_NE(-1, ended(pid));
	EXPECT_TRUE(let_go(&self->h, LOOP_STATE_FREE));
}

/* More devices than work items that a workqueue runs by default, on Linux 6.12 */
#define MANY 257

static int many[MANY];

static int attach_ephemeral(const char *path)
{
	int file = open(path, O_RDWR | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(-1, file, LOOP_ATTACH_EPHEMERAL, 0);
	int err = ioctl(lt_control(), LOOP_CTL_ATTACH, &a);

	close(file);
	return err ? -1 : a.out_index;
}

/* A read of each device is in flight until the child is killed. */
static int read_many(struct _test_data_hang *self)
{
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, MANY, &ctx))
		return errno;
	for (int i = 0; i < MANY; i++)
		if (!submit_read(ctx, lt_open(many[i], O_RDONLY | O_DIRECT), 0))
			return errno;
	for (;;)
		pause();
}

static int force_other(struct _test_data_hang *self)
{
	int index = attach_ephemeral(self->fast);

	return index < 0 || force(index, UINT64_MAX) ? errno : 0;
}

static bool has_inflight(int index)
{
	char buf[64];

	return lt_sysfs(index, "inflight", buf, sizeof(buf)) && atoi(buf) > 0;
}

/* Devices that were detached by force and still wait for their files hold up no other. */
TEST_F_TIMEOUT(hang_signal, many_forced, 600)
{
	pid_t pid;
	int i;

	for (i = 0; i < MANY; i++) {
		many[i] = attach_ephemeral(self->h.slow);
		ASSERT_LE(0, many[i]);
	}
	pid = start_hanging(&self->h, read_many, FUSE_READ);
	ASSERT_LT(0, pid);
	for (i = 0; i < PATIENCE * 100 && !has_inflight(many[MANY - 1]); i++)
		lt_sleep_ms(10);
	for (i = 0; i < MANY; i++)
		ASSERT_LT(0, force(many[i], lt_in_ms(0)) & LOOP_PENDING_FILE);
	EXPECT_TRUE(goes_on(force_other, &self->h));
	EXPECT_TRUE(goes_on(attach_other, &self->h));
	EXPECT_TRUE(running(pid));

	hold(&self->h, 0);
	kill(pid, SIGKILL);
	ended(pid);
	for (i = 0; i < MANY; i++)
		EXPECT_TRUE(lt_destroy(many[i], 2000));
	EXPECT_EQ(0, umount2(self->h.mnt, 0));
}

/* While an ioctl on a lease runs, the device is in use. */
TEST_F_TIMEOUT(hang_signal, lease_ioctl, 600)
{
	struct waiting w = {
		wait_detach, LOOP_CTL_DETACH, LOOP_DETACH_WAIT,
	};
	struct waiting capacity = { wait_lease, LOOP_SET_CAPACITY };
	pid_t pid;

	capacity.lease = attach_held(&self->h);
	ASSERT_LE(0, capacity.lease);
	hold(&self->h, FUSE_GETATTR);
	pid = start_waiting(&capacity, 0);
	ASSERT_EQ(-FUSE_GETATTR, hear(&self->h));
	EXPECT_EQ(EBUSY, ended(start(own_detach, &self->h)));
	EXPECT_TRUE(goes_on(own_detach_deadline, &self->h));
	interrupt_it(_metadata, &w);
	EXPECT_TRUE(running(pid));
	hold(&self->h, 0);
	EXPECT_EQ(0, ended(pid));
	EXPECT_EQ(0, detach(A));
	LT_EXPECT_ERR("ENXIO", ioctl(capacity.lease, LOOP_LEASE_ANNOUNCE));
	close(capacity.lease);
	EXPECT_EQ(0, umount2(self->h.mnt, 0));
}

/* File systems on a device whose file hangs */

FIXTURE(hang_mounted)
{
	struct _test_data_hang h;
	char above[64];
};

FIXTURE_VARIANT(hang_mounted)
{
	const char *type, *mkfs;
	uint64_t size;
};

FIXTURE_VARIANT_ADD(hang_mounted, ext4)
{
	.type = "ext4", .mkfs = "mkfs.ext4 -q -F", .size = 16 * LT_MIB,
};

FIXTURE_VARIANT_ADD(hang_mounted, xfs)
{
	.type = "xfs", .mkfs = "mkfs.xfs -q -f -K", .size = 320 * LT_MIB,
};

FIXTURE_SETUP(hang_mounted)
{
	const char *why = set_up(_metadata, &self->h, false, variant->size);
	char command[128], node[32];

	if (why)
		SKIP(return, "%s", why);
	self->h.early = -1;
	snprintf(self->above, sizeof(self->above), "%s/above", self->h.dir);
	ASSERT_EQ(0, mkdir(self->above, 0700));
	ASSERT_EQ(0, attach_to(A, self->h.slow, 0));
	snprintf(node, sizeof(node), "/dev/loop%d", A);
	snprintf(command, sizeof(command), "%s %s > /dev/null 2>&1", variant->mkfs,
		 node);
	if (system(command))
		SKIP(return, "no %s", variant->mkfs);
	if (mount(node, self->above, variant->type, 0, NULL))
		SKIP(return, "no %s: %s", variant->type, lt_errname(errno));
}

FIXTURE_TEARDOWN_PARENT(hang_mounted)
{
	tear_down(&self->h);
}

static int write_above(struct _test_data_hang *self)
{
	char path[96], text[BLOCK] = "text";
	int fd;

	snprintf(path, sizeof(path), "%s/above/file", self->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, BLOCK) != BLOCK || fsync(fd))
		return errno;
	return close(fd) ? errno : 0;
}

TEST_F_TIMEOUT(hang_mounted, detached_by_force, 600)
{
	pid_t pid;
	int i;

	ASSERT_EQ(0, ended(start(write_above, &self->h)));
	sync();
	pid = start_hanging(&self->h, write_above, FUSE_WRITE);
	ASSERT_LT(0, pid);
	detach_by_force(_metadata, &self->h, pid, true, true);
	/* It is shut down. */
	EXPECT_NE(0, ended(start(write_above, &self->h)));
	for (i = 0; i < PATIENCE * 100 && umount2(self->above, 0); i++)
		lt_sleep_ms(10);
	EXPECT_TRUE(let_go(&self->h, LOOP_STATE_FREE));
}

TEST_HARNESS_MAIN
