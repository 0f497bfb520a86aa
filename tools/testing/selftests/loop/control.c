// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/loop-control: every command, every errno, and the numbers it returns.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "kselftest_harness.h"
#include "loop_test.h"

#define FIRST 900		/* unused numbers from here on */

/* Devices that existed before have all numbers below the first hole. */
static int lowest_hole(void)
{
	int n = 0;

	while (lt_exists(n))
		n++;
	return n;
}

FIXTURE(control)
{
	int backing;
	char path[64];
};

FIXTURE_SETUP(control)
{
	int n;

	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	self->backing = -1;
	for (n = FIRST; n < FIRST + 40; n++)
		ASSERT_TRUE(lt_destroy(n, 10));
	snprintf(self->path, sizeof(self->path), "/tmp/loop-control-test.%d",
		 getpid());
	self->backing = lt_file(self->path, LT_MIB, 1);
}

FIXTURE_TEARDOWN_PARENT(control)
{
	int n;

	for (n = FIRST; n < FIRST + 40; n++)
		lt_destroy(n, 10);
	if (self->backing >= 0)
		unlink(self->path);
}

TEST_F(control, node)
{
	struct stat st;

	ASSERT_EQ(0, fstat(lt_control(), &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(makedev(10, 237), st.st_rdev);
}

TEST_F(control, add)
{
	struct stat st;
	char path[64];
	int fd;

	EXPECT_FALSE(lt_exists(FIRST));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_TRUE(lt_exists(FIRST));
	snprintf(path, sizeof(path), "/dev/loop%d", FIRST);
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_TRUE(S_ISBLK(st.st_mode));
	EXPECT_EQ(LT_MAJOR, major(st.st_rdev));
	EXPECT_EQ(0, lt_size(fd));
	close(fd);
}

TEST_F(control, add_existing)
{
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	LT_EXPECT_ERR("EEXIST", lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_TRUE(lt_exists(FIRST));
}

TEST_F(control, add_existing_attached)
{
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->backing));
	LT_EXPECT_ERR("EEXIST", lt_ctl(LOOP_CTL_ADD, FIRST));
	close(fd);
}

TEST_F(control, add_negative_is_lowest_absent)
{
	int hole = lowest_hole();

	ASSERT_EQ(hole, lt_ctl(LOOP_CTL_ADD, -1));
	EXPECT_TRUE(lt_exists(hole));
	EXPECT_EQ(hole, lt_ctl(LOOP_CTL_REMOVE, hole));
	ASSERT_EQ(hole, lt_ctl(LOOP_CTL_ADD, -17));
	EXPECT_EQ(hole, lt_ctl(LOOP_CTL_REMOVE, hole));
	ASSERT_EQ(hole, lt_ctl(LOOP_CTL_ADD, INT_MIN));
	EXPECT_EQ(hole, lt_ctl(LOOP_CTL_REMOVE, hole));
}

TEST_F(control, add_without_minor)
{
	static const long numbers[] = {
		MINORS, MINORS + 1, 2 * MINORS, INT_MAX - 1, INT_MAX,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		LT_EXPECT_ERR("EINVAL", lt_ctl(LOOP_CTL_ADD, numbers[i]));
		EXPECT_FALSE(lt_exists(numbers[i]));
		LT_EXPECT_ERR("ENODEV", lt_ctl(LOOP_CTL_REMOVE, numbers[i]));
	}
}

/* The last number that has a minor, whatever max_part is. */
TEST_F(control, add_last_minor)
{
	char buf[32];
	long last = MINORS;
	int part;

	lt_read_line("/sys/module/loop/parameters/max_part", buf, sizeof(buf));
	for (part = atoi(buf); part; part >>= 1)
		last >>= 1;
	last--;
	ASSERT_EQ(last, lt_ctl(LOOP_CTL_ADD, last));
	EXPECT_TRUE(lt_exists(last));
	EXPECT_EQ(last, lt_ctl(LOOP_CTL_REMOVE, last));
	LT_EXPECT_ERR("EINVAL", lt_ctl(LOOP_CTL_ADD, last + 1));
}

TEST_F(control, remove)
{
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	EXPECT_FALSE(lt_exists(FIRST));
	EXPECT_EQ(-1, lt_open(FIRST, O_RDONLY));
}

TEST_F(control, remove_absent)
{
	LT_EXPECT_ERR("ENODEV", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	LT_EXPECT_ERR("ENODEV", lt_ctl(LOOP_CTL_REMOVE, MINORS));
	LT_EXPECT_ERR("ENODEV", lt_ctl(LOOP_CTL_REMOVE, INT_MAX));
}

TEST_F(control, remove_negative)
{
	LT_EXPECT_ERR("EINVAL", lt_ctl(LOOP_CTL_REMOVE, -1));
	LT_EXPECT_ERR("EINVAL", lt_ctl(LOOP_CTL_REMOVE, -2));
	LT_EXPECT_ERR("EINVAL", lt_ctl(LOOP_CTL_REMOVE, INT_MIN));
}

TEST_F(control, remove_open)
{
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(fd, 0);
	LT_EXPECT_ERR("EBUSY", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	/* The device still works: a file can be attached. */
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_FD, self->backing));
	EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	close(fd);
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
}

TEST_F(control, remove_attached)
{
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->backing));
	LT_EXPECT_ERR("EBUSY", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	close(fd);
	LT_EXPECT_ERR("EBUSY", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	lt_detach(FIRST);
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
}

TEST_F(control, get_free_is_lowest)
{
	int n = lt_ctl(LOOP_CTL_GET_FREE, 0), next, fd, i;

	ASSERT_GE(n, 0);
	EXPECT_TRUE(lt_exists(n));
	for (i = 0; i < n; i++)
		EXPECT_TRUE(!lt_exists(i) || lt_sysfs_attached(i));
	EXPECT_EQ(n, lt_ctl(LOOP_CTL_GET_FREE, 0));
	/* An opener is likely to attach a file, so the next call gets another one. */
	fd = lt_open(n, O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_NE(n, lt_ctl(LOOP_CTL_GET_FREE, 0));
	close(fd);
	EXPECT_EQ(n, lt_ctl(LOOP_CTL_GET_FREE, 0));
	fd = lt_open(n, O_RDWR);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->backing));
	next = lt_ctl(LOOP_CTL_GET_FREE, 0);
	EXPECT_NE(n, next);
	EXPECT_FALSE(lt_sysfs_attached(next));
	/* The device is not free before it is detached. */
	EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_EQ(next, lt_ctl(LOOP_CTL_GET_FREE, 0));
	close(fd);
	EXPECT_EQ(n, lt_ctl(LOOP_CTL_GET_FREE, 0));
}

/* If all devices are attached, one with the lowest number is made. */
TEST_F(control, get_free_makes_one)
{
	int fds[256], count = 0, hole, i, n;

	for (i = 0; i < 256; i++) {
		char path[64];

		if (!lt_exists(i) || lt_sysfs_attached(i))
			continue;
		snprintf(path, sizeof(path), "/dev/loop%d", i);
		fds[count] = lt_open(i, O_RDWR);
		ASSERT_GE(fds[count], 0);
		ASSERT_EQ(0, ioctl(fds[count], LOOP_SET_FD, self->backing));
		count++;
	}
	hole = lowest_hole();
	n = lt_ctl(LOOP_CTL_GET_FREE, 0);
	EXPECT_EQ(hole, n);
	EXPECT_TRUE(lt_exists(n));
	while (count--) {
		ioctl(fds[count], LOOP_CLR_FD, 0);
		close(fds[count]);
	}
	EXPECT_EQ(n, lt_ctl(LOOP_CTL_REMOVE, n));
}

TEST_F(control, reuse)
{
	int i;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
		ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	}
	EXPECT_FALSE(lt_exists(FIRST));
}

/* A number that is removed and added again has none of its old settings. */
TEST_F(control, reuse_is_fresh)
{
	struct loop_config c = {
		.fd = self->backing,
		.block_size = 4096,
		.info = { .lo_offset = 4096, .lo_flags = LO_FLAGS_AUTOCLEAR },
	};
	struct loop_info64 info;
	uint64_t seq;
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_CONFIGURE, &c));
	seq = lt_diskseq(fd);
	close(fd);
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_GT(lt_diskseq(fd), seq);
	EXPECT_EQ(0, lt_size(fd));
	EXPECT_EQ(512, lt_sysfs_num(FIRST, "queue/logical_block_size"));
	LT_EXPECT_ERR("ENXIO", ioctl(fd, LOOP_GET_STATUS64, &info));
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->backing));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(0, info.lo_offset);
	EXPECT_EQ(0, info.lo_flags);
	ioctl(fd, LOOP_CLR_FD, 0);
	close(fd);
}

TEST_F(control, unknown_commands)
{
	static const unsigned int cmds[] = {
		0, 0x4C00, 0x4C05, 0x4C0A, 0x4C7F, 0x4C83 + 0x40, 0x4C86, 0x4CFF,
		_IO('Z', 1), _IOWR(0x4C, 0x86, struct loop_ctl_list),
		_IOWR(0x4C, 0xC3, struct loop_ctl_list),
		_IOWR(0x4D, 0x85, struct loop_ctl_list),
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		LT_EXPECT_ERR("ENOSYS", lt_ctl(cmds[i], 0));
}

/* All calls work on a control device that is open for reading only. */
TEST_F(control, read_only_fd)
{
	int fd = open("/dev/loop-control", O_RDONLY | O_CLOEXEC);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(FIRST, ioctl(fd, LOOP_CTL_ADD, FIRST));
	EXPECT_GE(ioctl(fd, LOOP_CTL_GET_FREE, 0), 0);
	EXPECT_EQ(FIRST, ioctl(fd, LOOP_CTL_REMOVE, FIRST));
	close(fd);
}

TEST_F(control, exclusive_holder)
{
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDONLY | O_EXCL);
	ASSERT_GE(fd, 0);
	LT_EXPECT_ERR("EBUSY", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	close(fd);
}

/* The open of a node without a device makes that device, and no other. */
TEST_F(control, probe)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/loop-probe.%d", getpid());
	ASSERT_EQ(0, mknod(path, S_IFBLK | 0600,
			   makedev(LT_MAJOR, FIRST + 5)));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	if (fd < 0 && errno == ENXIO)
		SKIP(return, "no legacy block autoload");
	ASSERT_GE(fd, 0);
	EXPECT_TRUE(lt_exists(FIRST + 5));
	EXPECT_FALSE(lt_exists(FIRST + 4));
	LT_EXPECT_ERR("EEXIST", lt_ctl(LOOP_CTL_ADD, FIRST + 5));
	LT_EXPECT_ERR("EBUSY", lt_ctl(LOOP_CTL_REMOVE, FIRST + 5));
	close(fd);
	EXPECT_EQ(FIRST + 5, lt_ctl(LOOP_CTL_REMOVE, FIRST + 5));
}

/* Threads */

struct race {
	atomic_int added, removed, odd;
	int rounds;
};

/* Of threads that add or remove one number at the same time, one succeeds. */
static void *add_and_remove(void *arg)
{
	struct race *r = arg;
	int i, rc;

	for (i = 0; i < r->rounds; i++) {
		int n = FIRST + i % 2;

		rc = lt_ctl(LOOP_CTL_ADD, n);
		if (rc == n)
			r->added++;
		else if (rc >= 0 || errno != EEXIST)
			r->odd++;
		rc = lt_ctl(LOOP_CTL_REMOVE, n);
		if (rc == n)
			r->removed++;
		else if (rc >= 0 || (errno != ENODEV && errno != EBUSY))
			r->odd++;
	}
	return NULL;
}

TEST_F_TIMEOUT(control, threads_same_number, 120)
{
	struct race r = { .rounds = 15 };
	pthread_t t[8];
	unsigned int i;
	int n, left = 0;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, add_and_remove, &r));
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	for (n = FIRST; n < FIRST + 2; n++)
		left += lt_exists(n);
	EXPECT_EQ(0, r.odd);
	EXPECT_GT(r.added, 0);
	EXPECT_EQ(r.added, r.removed + left);
}

struct numbers {
	int got[8];
	unsigned int count;
};

static void *add_any(void *arg)
{
	struct numbers *n = arg;

	for (n->count = 0; n->count < ARRAY_SIZE(n->got); n->count++)
		n->got[n->count] = lt_ctl(LOOP_CTL_ADD, -1);
	return NULL;
}

/* No two threads get the same number, and no number is left out. */
TEST_F_TIMEOUT(control, threads_any_number, 120)
{
	struct numbers n[4] = { 0 };
	pthread_t t[ARRAY_SIZE(n)];
	uint8_t seen[1024] = { 0 };
	unsigned int i, k;
	int hole = lowest_hole(), highest = 0;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, add_any, &n[i]));
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		for (k = 0; k < n[i].count; k++) {
			ASSERT_GE(n[i].got[k], hole);
			ASSERT_LT(n[i].got[k], 1024);
			EXPECT_EQ(0, seen[n[i].got[k]]++);
			if (n[i].got[k] > highest)
				highest = n[i].got[k];
		}
	}
	if (hole + 31 < FIRST)
		EXPECT_EQ(hole + 31, highest);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		for (k = 0; k < n[i].count; k++)
			EXPECT_EQ(n[i].got[k],
				  lt_ctl(LOOP_CTL_REMOVE, n[i].got[k]));
}

static void *get_free_and_attach(void *arg)
{
	struct race *r = arg;
	int i;

	for (i = 0; i < r->rounds; i++) {
		int n = lt_ctl(LOOP_CTL_GET_FREE, 0), fd, file;

		if (n < 0) {
			r->odd++;
			continue;
		}
		fd = lt_open(n, O_RDWR);
		if (fd < 0)
			continue;
		file = memfd_create("loop", MFD_CLOEXEC);
		if (ftruncate(file, 65536))
			r->odd++;
		if (!ioctl(fd, LOOP_SET_FD, file)) {
			struct loop_info64 info;
			struct stat st;

			/* Nobody else has this number. */
			fstat(file, &st);
			if (ioctl(fd, LOOP_GET_STATUS64, &info) ||
			    info.lo_inode != st.st_ino)
				r->odd++;
			r->added++;
			if (ioctl(fd, LOOP_CLR_FD, 0))
				r->odd++;
		} else if (errno != EBUSY && errno != ENXIO) {
			r->odd++;
		}
		close(fd);
		close(file);
	}
	return NULL;
}

TEST_F_TIMEOUT(control, threads_get_free, 120)
{
	struct race r = { .rounds = 12 };
	pthread_t t[6];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, get_free_and_attach, &r));
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(0, r.odd);
	EXPECT_GT(r.added, 0);
}

/* A caller killed in the middle leaves a whole device or none. */
TEST_F_TIMEOUT(control, killed_caller, 120)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		int rc, n = FIRST + 10;
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			for (;;) {
				lt_ctl(LOOP_CTL_ADD, n);
				lt_ctl(LOOP_CTL_REMOVE, n);
			}
		}
		usleep(3000 + i * 1777);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		rc = lt_ctl(LOOP_CTL_ADD, n);
		if (rc < 0) {
			EXPECT_STREQ("EEXIST", lt_errname(errno));
			EXPECT_TRUE(lt_exists(n));
		} else {
			EXPECT_EQ(n, rc);
		}
		rc = lt_open(n, O_RDONLY);
		EXPECT_GE(rc, 0);
		close(rc);
		EXPECT_EQ(n, lt_ctl(LOOP_CTL_REMOVE, n));
		EXPECT_FALSE(lt_exists(n));
	}
}

/* A device is announced when it is there, and once. */
TEST_F(control, uevents)
{
	int ue = lt_uevent_open();
	struct lt_buf words = { 0 };

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_EQ(1, lt_uevents(ue, FIRST, &words));
	EXPECT_STREQ(" add:disk", words.s);
	words.len = 0;
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	EXPECT_EQ(1, lt_uevents(ue, FIRST, &words));
	EXPECT_STREQ(" remove:disk", words.s);
	close(ue);
}

TEST_HARNESS_MAIN
