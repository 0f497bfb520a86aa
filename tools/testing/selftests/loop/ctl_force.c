// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_DETACH_FORCE of devices that are in use. What happens if the file below
 * hangs is in hang.c.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <poll.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <sys/statfs.h>

#include "ctl_fixture.h"

#define PAGE 4096

/* Detaches FIRST by force, and returns out_pending or UINT32_MAX. */
static uint32_t force(uint64_t deadline)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, FORCE, deadline);
	const char *name = detach(&d);

	if (strcmp(name, "ok")) {
		printf("# %s\n", name);
		return UINT32_MAX;
	}
	return d.out_pending;
}

/* Reads or writes a page, past the page cache of the device. */
static const char *direct(int number, int part, bool write)
{
	uint8_t *buf = lt_edge() - PAGE;
	int fd = part ? lt_open_part(number, part, O_RDWR | O_DIRECT) :
			lt_open(number, O_RDWR | O_DIRECT);
	ssize_t n;

	if (fd < 0)
		return lt_errname(errno);
	n = write ? pwrite(fd, buf, PAGE, PAGE) : pread(fd, buf, PAGE, PAGE);
	close(fd);
	return n < 0 ? lt_errname(errno) : n == PAGE ? "ok" : "short";
}

/* A device that nobody has open ends as with LOOP_DETACH_NOW. */
TEST_F(ctl, force_unused)
{
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	close(self->file);
	EXPECT_EQ(0, force(FOREVER));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_EQ(0, umount2(self->dir, 0));
	EXPECT_STREQ("ENXIO", detach_how(FIRST, FORCE, FOREVER));
}

/* The device is dead even if there is no time to wait. */
TEST_F(ctl, force_past_deadline)
{
	struct loop_ctl_entry e;
	uint32_t pending;
	int i, fd;

	for (i = 0; i < 2; i++) {
		fd = attach_fd(FIRST, self->file, 0, 0);
		ASSERT_GE(fd, 0);
		pending = force(i);
		EXPECT_EQ(LOOP_PENDING_OPEN, pending & ~LOOP_PENDING_FILE);
		ASSERT_TRUE(lt_entry(FIRST, &e));
		/* It may have its file for a while. */
		EXPECT_NE(LOOP_STATE_FREE, e.state);
		LT_EXPECT_ERR("EIO", pread(fd, lt_edge() - PAGE, PAGE, PAGE));
		close(fd);
		EXPECT_TRUE(lt_destroy(FIRST, 2000));
	}
}

/* Openers keep a dead device, and nobody else can open it. */
TEST_F(ctl, force_openers)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	uint8_t *buf = lt_edge() - PAGE;
	struct loop_info64 info;
	int fd, ro, dio, excl;

	ASSERT_STREQ("ok", attach(&a));
	excl = lt_open(FIRST, O_RDWR | O_EXCL);
	fd = lt_open(FIRST, O_RDWR);
	ro = lt_open(FIRST, O_RDONLY);
	dio = lt_open(FIRST, O_RDWR | O_DIRECT);
	ASSERT_GE(excl, 0);
	ASSERT_GE(fd, 0);
	ASSERT_GE(ro, 0);
	ASSERT_GE(dio, 0);
	/* This page is cached. */
	ASSERT_EQ(PAGE, pread(ro, buf, PAGE, 0));
	lt_fill(buf, PAGE, 7, PAGE);
	ASSERT_EQ(PAGE, pwrite(fd, buf, PAGE, PAGE));
	ASSERT_EQ(0, fsync(fd));

	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	LT_EXPECT_ERR("EIO", pread(ro, buf, PAGE, 0));
	LT_EXPECT_ERR("EIO", pread(ro, buf, PAGE, SIZE / 2));
	LT_EXPECT_ERR("EIO", pread(dio, buf, PAGE, 0));
	LT_EXPECT_ERR("EIO", pwrite(dio, buf, PAGE, 0));
	/* What is written to the page cache fails when it is synced at the latest. */
	EXPECT_TRUE(pwrite(fd, buf, PAGE, 0) < 0 || fsync(fd) < 0);
	EXPECT_EQ(EIO, errno);
	LT_EXPECT_ERR("ENXIO", lt_open(FIRST, O_RDONLY));
	LT_EXPECT_ERR("ENXIO", lt_open(FIRST, O_RDWR));
	LT_EXPECT_ERR("ENXIO", ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(4, openers(FIRST));

	/* What was synced is in the file, and nothing holds it. */
	ASSERT_EQ(PAGE, pread(self->file, buf, PAGE, PAGE));
	EXPECT_TRUE(lt_filled(buf, PAGE, 7, PAGE));

	/* Nothing can be done with the device before its last close. */
	EXPECT_EQ(-1, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.out_busy);
	LT_EXPECT_ERR("EBUSY", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
	close(excl);
	close(fd);
	close(ro);
	EXPECT_EQ(1, openers(FIRST));
	LT_EXPECT_ERR("EIO", pread(dio, buf, PAGE, 0));
	close(dio);
}

/* After the last close it is a device like any other. */
TEST_F(ctl, force_again)
{
	uint8_t *buf = lt_edge() - PAGE;
	int i, fd;

	for (i = 0; i < 10; i++) {
		fd = attach_fd(FIRST, self->file, 0, i % 2 ? AUTOCLEAR : 0);
		ASSERT_GE(fd, 0);
		lt_fill(buf, PAGE, i, PAGE);
		ASSERT_EQ(PAGE, pwrite(fd, buf, PAGE, PAGE));
		ASSERT_EQ(0, fsync(fd));
		EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
		close(fd);
		ASSERT_EQ(PAGE, pread(self->file, buf, PAGE, PAGE));
		EXPECT_TRUE(lt_filled(buf, PAGE, i, PAGE));
		/* An open of the detached device is allowed again. */
		fd = lt_open(FIRST, O_RDWR);
		ASSERT_GE(fd, 0);
		EXPECT_EQ(0, lt_size(fd));
		close(fd);
	}
	/* With the old ioctls, too */
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	close(fd);
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(PAGE, pread(fd, buf, PAGE, PAGE));
	EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	close(fd);
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
}

TEST_F(ctl, force_partition)
{
	uint8_t *buf = lt_edge() - PAGE;
	int part, lease;

	lt_label_two(self->file);
	lease = attach_lease(FIRST, self->file, 0, PARTSCAN | AUTOCLEAR);
	ASSERT_GE(lease, 0);
	part = lt_open_part(FIRST, 1, O_RDWR);
	ASSERT_GE(part, 0);
	ASSERT_EQ(PAGE, pread(part, buf, PAGE, 0));
	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	LT_EXPECT_ERR("EIO", pread(part, buf, PAGE, 0));
	LT_EXPECT_ERR("EIO", pread(part, buf, PAGE, 65536));
	EXPECT_EQ(-1, lt_open_part(FIRST, 2, O_RDONLY));
	EXPECT_EQ(-1, lt_open(FIRST, O_RDONLY));
	close(part);
	EXPECT_EQ(0, lt_parts(FIRST));
	close(lease);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, PARTSCAN));
	EXPECT_EQ(0x6, lt_parts(FIRST));
	EXPECT_STREQ("ok", direct(FIRST, 2, false));
}

/* LOOP_DETACH_FORCE also ends an attachment that was to end at the last close. */
TEST_F(ctl, force_after_clr_fd)
{
	int i, fd;

	for (i = 0; i < 2; i++) {
		fd = attach_fd(FIRST, self->file, 0, 0);
		ASSERT_GE(fd, 0);
		EXPECT_STREQ("ok", i ? detach_how(FIRST, LAZY, 0) :
				   ioctl(fd, LOOP_CLR_FD, 0) ? "" : "ok");
		EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
		LT_EXPECT_ERR("EIO", pread(fd, lt_edge() - PAGE, PAGE, PAGE));
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
		/* Nothing holds the file. */
		EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, EXCLUSIVE, 0));
		EXPECT_STREQ("ok", detach_from(FIRST + 1));
		close(fd);
	}
}

/* LOOP_DETACH_LAZY of a dead device tells that its file is released. */
TEST_F(ctl, force_then_lazy)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, LAZY, 0);
	int fd = attach_fd(FIRST, self->file, 0, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(LOOP_PENDING_OPEN, d.out_pending);
	close(fd);
	EXPECT_STREQ("ENXIO", detach(&d));
}

TEST_F(ctl, force_diskseq)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	struct loop_ctl_detach d;
	int fd = lt_attach(&a, NULL);

	ASSERT_GE(fd, 0);
	d = to_detach_seq(FIRST, a.out_diskseq - 1, FORCE, FOREVER);
	EXPECT_STREQ("ESTALE", detach(&d));
	EXPECT_EQ(PAGE, pread(fd, lt_edge() - PAGE, PAGE, 0));
	d.diskseq = a.out_diskseq;
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(LOOP_PENDING_OPEN, d.out_pending);
	close(fd);
}

/* A detach by force wakes the tasks that wait for the end of the attachment. */

static void *wait_for_end(void *arg)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, *(uint32_t *)arg, FOREVER);

	return (void *)(long)(ioctl(lt_control(), LOOP_CTL_DETACH, &d) ? errno : 0);
}

TEST_F(ctl, force_wakes)
{
	uint32_t modes[] = { WAIT, WATCH };
	pthread_t t[2];
	void *err;
	int i, fd;

	fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(fd, 0);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, wait_for_end, &modes[i]));
	lt_sleep_ms(200);
	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	/* They return although the device is still open, as the attachment has ended. */
	for (i = 0; i < 2; i++) {
		pthread_join(t[i], &err);
		EXPECT_TRUE(!err || err == (void *)ENXIO) {
			TH_LOG("%d: %s", i, lt_errname((long)err));
		}
	}
	/* A later call returns at once. */
	for (i = 0; i < 2; i++)
		EXPECT_STREQ("ok", detach_how(FIRST, modes[i], 0));
	close(fd);
}

/* I/O on a device above fails with EIO, and that device can be detached. */
TEST_F(ctl, force_below)
{
	int low, fd;

	low = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(low, 0);
	ASSERT_STREQ("ok", attach_to(FIRST + 1, low, 0, DIRECT_IO));
	close(low);
	EXPECT_STREQ("ok", direct(FIRST + 1, 0, true));
	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	EXPECT_STREQ("EIO", direct(FIRST + 1, 0, false));
	EXPECT_STREQ("EIO", direct(FIRST + 1, 0, true));
	fd = lt_open(FIRST + 1, O_RDWR);
	EXPECT_GE(fd, 0);
	close(fd);
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
}

/* Readers and writers, which go on until they get an error */

struct user {
	pthread_t thread;
	int flags, kind;
	unsigned int done, seed;
	int err;		/* what ended it */
	struct crowd *crowd;
};

struct crowd {
	struct user user[6];
	atomic_int running;
	pthread_barrier_t start;
};

static ssize_t use(int fd, struct user *u, void *buf)
{
	uint64_t at = rand_r(&u->seed) % (SIZE / PAGE) * PAGE;
	ssize_t n;

	if (u->kind % 3 == 0)
		return pread(fd, buf, PAGE, at);
	n = pwrite(fd, buf, PAGE, at);
	/* The page cache of a dead device may take more, until it is synced. */
	return n < 0 || (u->done % (u->kind % 3 == 1 ? 64 : 1) == 0 && fsync(fd)) ?
	       -1 : n;
}

static void *use_until_error(void *arg)
{
	struct user *u = arg;
	int fd = lt_open(FIRST, O_RDWR | u->flags);
	void *buf = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	u->err = errno;
	pthread_barrier_wait(&u->crowd->start);
	if (fd < 0)
		return NULL;
	while (use(fd, u, buf) == PAGE)
		u->done++;
	u->err = errno;
	close(fd);
	munmap(buf, PAGE);
	return NULL;
}

TEST_F_TIMEOUT(ctl, force_users, 600)
{
	unsigned int i, round;

	for (round = 0; round < 20; round++) {
		struct crowd c = { };

		ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0,
					     round % 2 ? DIRECT_IO : 0));
		ASSERT_EQ(0, pthread_barrier_init(&c.start, NULL,
						  ARRAY_SIZE(c.user) + 1));
		for (i = 0; i < ARRAY_SIZE(c.user); i++) {
			struct user *u = &c.user[i];

			*u = (struct user) {
				.crowd = &c, .kind = i, .seed = round * 10 + i,
				.flags = i < 3 ? O_DIRECT : 0,
			};
			ASSERT_EQ(0, pthread_create(&u->thread, NULL,
						    use_until_error, u));
		}
		pthread_barrier_wait(&c.start);
		lt_sleep_ms(round * 2);
		EXPECT_EQ(0, force(FOREVER) & LOOP_PENDING_FILE);
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
		/* Buffered reads and writes of cached pages may go on for a while. */
		for (i = 0; i < ARRAY_SIZE(c.user); i++) {
			pthread_join(c.user[i].thread, NULL);
			EXPECT_STREQ("EIO", lt_errname(c.user[i].err)) {
				TH_LOG("round %u, user %u, %u done", round, i,
				       c.user[i].done);
			}
		}
		pthread_barrier_destroy(&c.start);
		EXPECT_EQ(0, openers(FIRST));
	}
}

static atomic_bool stop;

/* Reads again and again, whatever the result is. */
static void *read_on(void *arg)
{
	int fd = lt_open(FIRST, O_RDONLY | O_DIRECT);
	uint8_t *buf = lt_edge() - PAGE;

	while (!stop)
		if (pread(fd, buf, PAGE, 0) != PAGE)
			(*(atomic_uint *)arg)++;
	close(fd);
	return NULL;
}

/* Tasks that ignore errors do not hold up the release of the file. */
TEST_F(ctl, force_ignored)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, FORCE, 0);
	atomic_uint failed = 0;
	pthread_t t[8];
	unsigned int i;

	/* The first call maps it. */
	lt_edge();
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, DIRECT_IO));
	stop = false;
	for (i = 0; i < ARRAY_SIZE(t); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, read_on, &failed));
	lt_sleep_ms(200);
	d.deadline = lt_in_ms(30000);
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(LOOP_PENDING_OPEN, d.out_pending);
	for (i = 0; i < 1000 && !failed; i++)
		lt_sleep_ms(10);
	stop = true;
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	EXPECT_LT(0, failed);
}

/* What is in flight ends, with or without an error; none gets lost. */
TEST_F(ctl, force_in_flight)
{
	static uint8_t mem[64 * PAGE + PAGE];
	uint8_t *buf = (uint8_t *)(((uintptr_t)mem + PAGE) & -PAGE);
	struct io_event events[64];
	struct iocb cb[64], *p[64];
	aio_context_t ctx = 0;
	int fd, i, round;

	for (round = 0; round < 10; round++) {
		fd = attach_fd(FIRST, self->file, 0, round % 2 ? DIRECT_IO : 0);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, fcntl(fd, F_SETFL, O_DIRECT));
		ASSERT_EQ(0, syscall(SYS_io_setup, 64, &ctx));
		for (i = 0; i < 64; i++) {
			cb[i] = (struct iocb) {
				.aio_lio_opcode = i % 2 ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
				.aio_fildes = fd, .aio_buf = (uintptr_t)buf + i * PAGE,
				.aio_nbytes = PAGE, .aio_offset = i * PAGE,
			};
			p[i] = &cb[i];
		}
		ASSERT_EQ(64, syscall(SYS_io_submit, ctx, 64, p));
		EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
		ASSERT_EQ(64, syscall(SYS_io_getevents, ctx, 64, 64, events, NULL));
		for (i = 0; i < 64; i++)
			EXPECT_TRUE(events[i].res == PAGE || events[i].res == -EIO);
		ASSERT_EQ(0, syscall(SYS_io_destroy, ctx));
		ctx = 0;
		close(fd);
	}
}

/* File systems above */

struct above {
	const char *type;
	uint64_t size;
	const char *mkfs;
};

static const struct above ext4 = { "ext4", 16 * LT_MIB, "mkfs.ext4 -q -F" };
static const struct above xfs = { "xfs", 320 * LT_MIB, "mkfs.xfs -q -f" };

static int run(const char *what, const char *on)
{
	char command[192];

	snprintf(command, sizeof(command), "%s %s > /dev/null 2>&1", what, on);
	return system(command);
}

/* Writes to a file until that fails. */
static void *write_until_error(void *arg)
{
	int fd = open(arg, O_RDWR | O_CREAT | O_CLOEXEC, 0600), i, rc = 0;
	char buf[PAGE];

	memset(buf, 'w', sizeof(buf));
	for (i = 0; fd >= 0 && !rc; i++)
		rc = pwrite(fd, buf, PAGE, i % 64 * PAGE) != PAGE || fsync(fd);
	close(fd);
	return NULL;
}

static void force_mounted(struct __test_metadata *_metadata,
			  struct _test_data_ctl *self, const struct above *fs)
{
	char mnt[64], kept[96], busy[96], node[32];
	struct loop_ctl_attach a;
	uint8_t buf[PAGE];
	pthread_t t;
	int fd, i;

	snprintf(mnt, sizeof(mnt), "%s/mnt", self->dir);
	snprintf(kept, sizeof(kept), "%s/kept", mnt);
	snprintf(busy, sizeof(busy), "%s/busy", mnt);
	snprintf(node, sizeof(node), "/dev/loop%d", FIRST);
	ASSERT_EQ(0, mkdir(mnt, 0700));
	ASSERT_EQ(0, ftruncate(self->file, fs->size));
	a = lt_to_attach(FIRST, self->file, 0, 0);
	ASSERT_STREQ("ok", attach(&a));
	if (run(fs->mkfs, node))
		SKIP(return, "no %s", fs->mkfs);
	if (mount(node, mnt, fs->type, 0, NULL))
		SKIP(return, "no %s here: %s", fs->type, lt_errname(errno));
	fd = open(kept, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	lt_fill(buf, PAGE, 5, 0);
	ASSERT_EQ(PAGE, pwrite(fd, buf, PAGE, 0));
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(0, pthread_create(&t, NULL, write_until_error, busy));
	lt_sleep_ms(300);

	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	pthread_join(t, NULL);
	/* The file system is shut down, and it can be unmounted. */
	EXPECT_TRUE(pwrite(fd, buf, PAGE, PAGE) < 0 || fsync(fd) < 0);
	EXPECT_EQ(-1, open(busy, O_RDWR | O_TRUNC | O_CLOEXEC));
	close(fd);
	EXPECT_STREQ("EBUSY", attach(&a));
	LT_EXPECT_ERR("ENXIO", lt_open(FIRST, O_RDONLY));
	ASSERT_EQ(0, umount2(mnt, 0));

	/* What was synced is there, after the journal has been replayed. */
	for (i = 0; i < 2; i++) {
		ASSERT_STREQ("ok", attach(&a));
		ASSERT_EQ(0, mount(node, mnt, fs->type, 0, NULL)) {
			TH_LOG("%s", lt_errname(errno));
		}
		memset(buf, 0, PAGE);
		fd = open(kept, O_RDWR | O_CLOEXEC);
		ASSERT_EQ(PAGE, pread(fd, buf, PAGE, 0));
		EXPECT_TRUE(lt_filled(buf, PAGE, 5, 0));
		close(fd);
		/* First by force without I/O, and then, after the umount, normally */
		if (!i)
			EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
		ASSERT_EQ(0, umount2(mnt, 0));
		if (i)
			EXPECT_STREQ("ok", detach_from(FIRST));
	}
}

TEST_F_TIMEOUT(ctl, force_ext4, 600)
{
	force_mounted(_metadata, self, &ext4);
}

TEST_F_TIMEOUT(ctl, force_xfs, 600)
{
	force_mounted(_metadata, self, &xfs);
}

/* A file system on a partition is on the device, too. */
TEST_F_TIMEOUT(ctl, force_ext4_partition, 600)
{
	static const uint32_t start[] = { 2048 }, sectors[] = { 20480 };
	char mnt[64], path[96], node[32];
	int lease, fd;

	snprintf(mnt, sizeof(mnt), "%s/mnt", self->dir);
	snprintf(path, sizeof(path), "%s/file", mnt);
	snprintf(node, sizeof(node), "/dev/loop%dp1", FIRST);
	ASSERT_EQ(0, mkdir(mnt, 0700));
	ASSERT_EQ(0, ftruncate(self->file, 16 * LT_MIB));
	lt_label(self->file, start, sectors, 1);
	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR | PARTSCAN);
	ASSERT_GE(lease, 0);
	if (run(ext4.mkfs, node))
		SKIP(return, "no %s", ext4.mkfs);
	ASSERT_EQ(0, mount(node, mnt, "ext4", 0, NULL));
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(4, write(fd, "text", 4));
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(LOOP_PENDING_OPEN, force(FOREVER));
	EXPECT_TRUE(write(fd, "text", 4) < 0 || fsync(fd) < 0);
	close(fd);
	ASSERT_EQ(0, umount2(mnt, 0));
	EXPECT_EQ(0, openers(FIRST));
	close(lease);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
}

/* A last close and a detach by force at the same time */

struct last_close {
	pthread_barrier_t start;
	int fd;
	useconds_t delay;
};

static void *close_last(void *arg)
{
	struct last_close *c = arg;

	pthread_barrier_wait(&c->start);
	usleep(c->delay);
	close(c->fd);
	return NULL;
}

/* Returns whether nobody else has the file open for writing. */
static bool released(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool alone = fd >= 0 && !fcntl(fd, F_SETLEASE, F_WRLCK);

	close(fd);
	return alone;
}

/* When both have returned, the file is released. */
TEST_F_TIMEOUT(ctl, force_and_close, 600)
{
	struct last_close c;
	unsigned int i, held = 0;
	pthread_t t;

	ASSERT_EQ(0, pthread_barrier_init(&c.start, NULL, 2));
	close(self->file);
	for (i = 0; i < 60; i++) {
		struct loop_ctl_detach d = lt_to_detach(FIRST, FORCE, FOREVER);
		int file = open(self->path, O_RDWR | O_CLOEXEC);

		ASSERT_GE(file, 0);
		c.fd = attach_fd(FIRST, file, 0, AUTOCLEAR);
		ASSERT_GE(c.fd, 0);
		close(file);
		c.delay = i * 20;
		ASSERT_EQ(0, pthread_create(&t, NULL, close_last, &c));
		pthread_barrier_wait(&c.start);
		if (ioctl(lt_control(), LOOP_CTL_DETACH, &d))
			EXPECT_STREQ("ENXIO", lt_errname(errno));
		EXPECT_EQ(0, d.out_pending & LOOP_PENDING_FILE);
		pthread_join(t, NULL);
		held += !released(self->path);
		ASSERT_TRUE(lt_destroy(FIRST, 2000));
	}
	pthread_barrier_destroy(&c.start);
	EXPECT_EQ(0, held);
}

/* Several devices are detached by force at once, one of them with a large file. */

struct victim {
	pthread_barrier_t *start;
	pthread_t thread;
	char path[96];
	int index;
	uint32_t pending;
	bool released;
};

static void *force_one(void *arg)
{
	struct victim *v = arg;
	struct loop_ctl_detach d = lt_to_detach(v->index, FORCE, FOREVER);

	pthread_barrier_wait(v->start);
	usleep((v->index - FIRST) * 500);
	ioctl(lt_control(), LOOP_CTL_DETACH, &d);
	v->pending = d.out_pending;
	v->released = released(v->path);
	return NULL;
}

TEST_F_TIMEOUT(ctl, force_several, 600)
{
	pthread_barrier_t start;
	struct victim v[4];
	unsigned int i, k, held = 0;
	int file;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, ARRAY_SIZE(v)));
	for (k = 0; k < 8; k++) {
		for (i = 0; i < ARRAY_SIZE(v); i++) {
			v[i].start = &start;
			v[i].index = FIRST + i;
			snprintf(v[i].path, sizeof(v[i].path), "%s/%u", self->dir, i);
			file = open(v[i].path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			ASSERT_GE(file, 0);
			ASSERT_EQ(0, posix_fallocate(file, 0, i ? PAGE : 16 * SIZE));
			ASSERT_STREQ("ok", attach_to(FIRST + i, file, 0, 0));
			close(file);
		}
		/* The release of this one frees its memory, which takes longest. */
		unlink(v[0].path);
		for (i = 0; i < ARRAY_SIZE(v); i++)
			ASSERT_EQ(0, pthread_create(&v[i].thread, NULL, force_one, &v[i]));
		for (i = 0; i < ARRAY_SIZE(v); i++) {
			pthread_join(v[i].thread, NULL);
			held += i && !v[i].pending && !v[i].released;
		}
	}
	pthread_barrier_destroy(&start);
	EXPECT_EQ(0, held);
}

/* Opens, closes, attaches and reads beside it */

static void *come_and_go(void *arg)
{
	uint8_t buf[512];
	int fd;

	while (!stop) {
		fd = lt_open(FIRST, O_RDONLY);
		if (fd < 0)
			continue;
		if (pread(fd, buf, sizeof(buf), 0) < 0)
			errno = 0;
		close(fd);
	}
	return NULL;
}

TEST_F_TIMEOUT(ctl, force_races, 600)
{
	pthread_t t[4];
	int i, k, lease, tries;

	lt_label_two(self->file);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, come_and_go, NULL));
	for (k = 0; k < 200; k++) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, LEASE,
							k % 2 ? PARTSCAN : 0);
		struct loop_ctl_detach d = lt_to_detach(FIRST, FORCE, FOREVER);

		/* A dead device is busy until it is closed. */
		for (tries = 0; tries < 6000; tries++) {
			if (!ioctl(lt_control(), LOOP_CTL_ATTACH, &a) ||
			    errno != EBUSY)
				break;
			a.out_busy = 0;
			lt_sleep_ms(1);
		}
		lease = a.out_lease;
		ASSERT_GT(lease, 0) {
			TH_LOG("round %d: %s", k, lt_errname(errno));
		}
		ASSERT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
		EXPECT_EQ(0, d.out_pending & LOOP_PENDING_FILE);
		close(lease);
	}
	stop = true;
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, EXCLUSIVE, 0));
	EXPECT_STREQ("ok", direct(FIRST, 0, true));
}

TEST_HARNESS_MAIN
