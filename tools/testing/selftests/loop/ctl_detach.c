// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_CTL_DETACH: what it refuses, and how it waits.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "ctl_fixture.h"

TEST_F(ctl, detach)
{
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0), in = d;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	close(self->file);
	LT_EXPECT_ERR("EBUSY", umount2(self->dir, 0));
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(0, memcmp(&in, &d, sizeof(d)));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "size"));
	EXPECT_EQ(0, umount2(self->dir, 0));
	EXPECT_STREQ("ENXIO", detach(&d));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
}

/* LOOP_CONFIGURE attaches, and LOOP_CTL_DETACH detaches, several times. */
TEST_F(ctl, detach_configured)
{
	int fd, i;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	for (i = 0; i < 3; i++) {
		fd = lt_open(FIRST, O_RDWR);
		ASSERT_EQ(0, lt_configure(fd, self->file, 0, 0, 0, 0));
		EXPECT_STREQ("EBUSY", detach_from(FIRST));
		close(fd);
		EXPECT_STREQ("ok", detach_from(FIRST));
		EXPECT_FALSE(lt_sysfs_bound(FIRST));
	}
}

TEST_F(ctl, detach_sizes)
{
	static const uint32_t small[] = {
		0, 1, 4, 24, LOOP_CTL_DETACH_SIZE_VER0 - 1,
	};
	uint32_t page = sysconf(_SC_PAGESIZE);
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0), *b;
	uint8_t buf[2 * LARGEST_PAGE] = { 0 };
	unsigned int i;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	for (i = 0; i < ARRAY_SIZE(small); i++) {
		d.size = small[i];
		EXPECT_STREQ("EINVAL", detach(&d));
	}
	d.size = page + 1;
	EXPECT_STREQ("E2BIG", detach(&d));
	d.size = UINT32_MAX;
	EXPECT_STREQ("E2BIG", detach(&d));
	b = (void *)buf;
	*b = d;
	b->size = page;
	buf[page - 1] = 1;
	EXPECT_STREQ("E2BIG", detach(b));
	buf[page - 1] = 0;
	EXPECT_STREQ("ok", detach(b));
	EXPECT_TRUE(lt_zeroed(buf + sizeof(d), sizeof(buf) - sizeof(d)));
}

TEST_F(ctl, detach_fault)
{
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0);
	uint8_t *p;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, NULL));
	p = at_edge(&d, sizeof(d) - 1);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, p));
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	/* LOOP_CTL_DETACH returns nothing in the structure. */
	EXPECT_STREQ("ok", detach(unwritable(&d, sizeof(d))));
}

TEST_F(ctl, detach_invalid)
{
	static const int32_t absent[] = {
		ABSENT, MINORS - 1, MINORS, INT_MAX,
	};
	struct loop_ctl_detach d;
	unsigned int i;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	for (i = 0; i < 32; i++) {
		d = to_detach(FIRST, 1U << i, 0);
		if (d.flags != WAIT)
			EXPECT_STREQ("EINVAL", detach(&d));
		d = to_detach(FIRST, 0, 0);
		d.reserved = 1U << i;
		EXPECT_STREQ("EINVAL", detach(&d));
	}
	d = to_detach(FIRST, 0, 1);
	EXPECT_STREQ("EINVAL", detach(&d));
	d = to_detach(FIRST, 0, FOREVER);
	EXPECT_STREQ("EINVAL", detach(&d));
	EXPECT_STREQ("EINVAL", detach_from(-1));
	EXPECT_STREQ("EINVAL", detach_from(-2));
	EXPECT_STREQ("EINVAL", detach_from(INT_MIN));
	for (i = 0; i < ARRAY_SIZE(absent); i++) {
		EXPECT_STREQ("ENODEV", detach_from(absent[i]));
		d = to_detach(absent[i], WAIT, FOREVER);
		EXPECT_STREQ("ENODEV", detach(&d));
	}
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
}

TEST_F(ctl, detach_unbound)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ENXIO", detach_from(FIRST));
	EXPECT_STREQ("ENXIO", detach(&d));
	/* LOOP_CTL_DETACH does not wait for the opener of a detached device. */
	fd = lt_open(FIRST, O_RDWR);
	EXPECT_STREQ("ENXIO", detach_from(FIRST));
	EXPECT_STREQ("ENXIO", detach(&d));
	close(fd);
	d = to_detach(FIRST, 0, 0);
	d.diskseq = 1;
	EXPECT_STREQ("ENXIO", detach(&d));
}

/* A call that fails leaves the device as it was. */
TEST_F(ctl, detach_busy)
{
	struct loop_ctl_detach d;
	struct loop_info64 info;
	uint8_t buf[512];
	int fd, part, again;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	d = to_detach(FIRST, WAIT, 0);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	d = to_detach(FIRST, WAIT, 1);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(PARTSCAN, info.lo_flags);
	EXPECT_EQ(0x6, lt_parts(FIRST));
	ASSERT_EQ(512, pread(fd, buf, 512, 4096));
	again = lt_open(FIRST, O_RDWR);
	ASSERT_GE(again, 0);
	close(again);
	/* An opener of a partition keeps the device busy, too. */
	part = lt_open_part(FIRST, 1, O_RDONLY);
	ASSERT_GE(part, 0);
	close(fd);
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	d = to_detach(FIRST, WAIT, 1000000);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	ASSERT_EQ(512, pread(part, buf, 512, 0));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/autoclear"));
	close(part);
	d = to_detach(FIRST, WAIT, 0);
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(0, lt_parts(FIRST));
}

/* ENXIO would be wrong, as the device still holds the file. */
TEST_F(ctl, detach_rundown)
{
	int fd = attach_fd(FIRST, self->file, 0, 0);
	struct loop_ctl_detach d;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	d = to_detach(FIRST, WAIT, 1000000);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	close(fd);
	EXPECT_STREQ("ENXIO", detach_from(FIRST));
}

TEST_F(ctl, detach_diskseq)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, NO_FD, 0);
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0);
	uint64_t old;
	int fd;

	ASSERT_STREQ("ok", attach(&a));
	old = a.diskseq;
	d.diskseq = old + 1;
	EXPECT_STREQ("ESTALE", detach(&d));
	d.diskseq = UINT64_MAX;
	EXPECT_STREQ("ESTALE", detach(&d));
	d.diskseq = old;
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_STREQ("ENXIO", detach(&d));
	/* The next time that it is attached, the number is another one. */
	a = lt_to_attach(FIRST, self->file, NO_FD, 0);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_GT(a.diskseq, old);
	EXPECT_STREQ("ESTALE", detach(&d));
	/* A caller that would wait gets the same, while the device is in use. */
	fd = lt_open(FIRST, O_RDONLY);
	d.flags = WAIT;
	d.timeout = FOREVER;
	EXPECT_STREQ("ESTALE", detach(&d));
	close(fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	d.diskseq = a.diskseq;
	EXPECT_STREQ("ok", detach(&d));
}

struct closer {
	int fd;
	useconds_t delay;
};

/* Returns whether the first thread of this process sleeps, maybe in an ioctl. */
static bool sleeps(void)
{
	char path[64], text[512], *p;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	file = fopen(path, "re");
	if (!file)
		return false;
	p = fgets(text, sizeof(text), file);
	fclose(file);
	p = p ? strrchr(p, ')') : NULL;
	return p && p[1] == ' ' && p[2] == 'S';
}

/* Closes once the ioctl seems to wait. The result must not depend on it. */
static void *close_later(void *arg)
{
	struct closer *c = arg;
	int i, asleep = 0;

	for (i = 0; i < 1000 && asleep < 3; i++) {
		lt_sleep_ms(2);
		asleep = sleeps() ? asleep + 1 : 0;
	}
	usleep(c->delay);
	close(c->fd);
	return NULL;
}

TEST_F(ctl, detach_waits)
{
	static const uint64_t timeouts[] = {
		SECONDS(1000), INT64_MAX, FOREVER,
	};
	struct loop_ctl_detach d;
	struct closer c;
	unsigned int i;
	pthread_t t;

	for (i = 0; i < 2 * ARRAY_SIZE(timeouts); i++) {
		c = (struct closer) { .delay = 20000 * i };
		c.fd = attach_fd(FIRST, self->file, 0, 0);
		ASSERT_GE(c.fd, 0);
		d = to_detach(FIRST, WAIT, timeouts[i / 2]);
		if (i % 2)
			d.diskseq = lt_diskseq(c.fd);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
			TH_LOG("%s", lt_errname(errno));
		}
		/* The ioctl has detached it, as nothing else does. */
		EXPECT_FALSE(lt_sysfs_bound(FIRST));
		EXPECT_EQ(timeouts[i / 2], d.timeout);
		pthread_join(t, NULL);
	}
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* The close of a partition ends the wait, too. */
TEST_F(ctl, detach_waits_for_partition)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	struct closer c = { .delay = 20000 };
	pthread_t t;
	int fd;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	c.fd = lt_open_part(FIRST, 2, O_RDWR);
	ASSERT_GE(c.fd, 0);
	close(fd);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	pthread_join(t, NULL);
}

/* The device detaches itself while the ioctl waits, which is a success. */
TEST_F(ctl, detach_waits_for_autoclear)
{
	static const uint32_t flags[] = { 0, EPHEMERAL };
	struct loop_ctl_detach d;
	struct closer c;
	unsigned int i;
	pthread_t t;

	for (i = 0; i < 4; i++) {
		c = (struct closer) { .delay = 20000 };
		c.fd = attach_fd(FIRST, self->file, flags[i / 2], AUTOCLEAR);
		ASSERT_GE(c.fd, 0);
		d = to_detach(FIRST, WAIT, FOREVER);
		if (i % 2)
			d.diskseq = lt_diskseq(c.fd);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
			TH_LOG("%u: %s", i, lt_errname(errno));
		}
		pthread_join(t, NULL);
		EXPECT_FALSE(lt_sysfs_bound(FIRST));
		if (flags[i / 2])
			EXPECT_TRUE(gone(FIRST));
	}
}

TEST_F(ctl, detach_waits_for_rundown)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	struct closer c = { .delay = 20000 };
	pthread_t t;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	ASSERT_EQ(0, ioctl(c.fd, LOOP_CLR_FD, 0));
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

struct waiter {
	int rc, err;
};

static void *wait_to_detach(void *arg)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	struct waiter *w = arg;

	w->rc = ioctl(lt_control(), LOOP_CTL_DETACH, &d);
	w->err = errno;
	return NULL;
}

/* Many wait for one device, and all of them return. */
TEST_F(ctl, detach_waiters)
{
	struct waiter w[6];
	pthread_t t[ARRAY_SIZE(w)];
	unsigned int i, done = 0;
	int fd = attach_fd(FIRST, self->file, 0, 0);

	ASSERT_GE(fd, 0);
	for (i = 0; i < ARRAY_SIZE(w); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, wait_to_detach,
					    &w[i]));
	lt_sleep_ms(50);
	close(fd);
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		pthread_join(t[i], NULL);
		if (!w[i].rc)
			done++;
		else
			EXPECT_STREQ("ENXIO", lt_errname(w[i].err));
	}
	EXPECT_GE(done, 1);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

TEST_F(ctl, detach_interrupted)
{
	struct loop_ctl_detach d, in;
	uint64_t left = SECONDS(10000);
	struct closer c = { .delay = 20000 };
	pthread_t t;
	int i;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	d = to_detach(FIRST, WAIT, left);
	d.diskseq = lt_diskseq(c.fd);
	in = d;
	signal_each(20, 0);
	for (i = 0; i < 5; i++) {
		LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH,
					     &d));
		/* The remaining time becomes less with each call. */
		EXPECT_LT(d.timeout, left);
		EXPECT_GT(d.timeout, 0);
		left = d.timeout;
	}
	in.timeout = d.timeout;
	EXPECT_EQ(0, memcmp(&in, &d, sizeof(d)));
	/* A wait without a limit stays one. */
	d.timeout = FOREVER;
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_GE(d.timeout, INT64_MAX);
	d.timeout = INT64_MAX;
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_GE(d.timeout, INT64_MAX);
	/* A call without a diskseq returns the one that it waited for. */
	d = to_detach(FIRST, WAIT, FOREVER);
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_EQ(in.diskseq, d.diskseq);
	/* The call can be repeated. */
	signal_each(0, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

TEST_F(ctl, detach_interrupted_until_timeout)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, SECONDS(1) / 4);
	int fd = attach_fd(FIRST, self->file, 0, 0), interrupted = 0;

	ASSERT_GE(fd, 0);
	signal_each(20, 0);
	while (ioctl(lt_control(), LOOP_CTL_DETACH, &d) && errno == EINTR)
		interrupted++;
	EXPECT_STREQ("ETIMEDOUT", lt_errname(errno));
	EXPECT_GT(interrupted, 0);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	signal_each(0, 0);
	close(fd);
}

struct changer {
	int fd;
	int file;
	pthread_t waiter;
	atomic_bool done;
};

static void *change_and_interrupt(void *arg)
{
	struct changer *c = arg;

	lt_sleep_ms(200);
	if (ioctl(c->fd, LOOP_CHANGE_FD, c->file))
		lt_die("LOOP_CHANGE_FD");
	while (!c->done) {
		pthread_kill(c->waiter, SIGUSR1);
		lt_sleep_ms(10);
	}
	return NULL;
}

/* The call returns the diskseq that the device has now. */
TEST_F(ctl, detach_interrupted_after_change)
{
	struct changer c = { .file = self->file, .waiter = pthread_self() };
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	uint64_t before;
	pthread_t t;

	c.fd = attach_fd(FIRST, self->file, 0, READ_ONLY);
	ASSERT_GE(c.fd, 0);
	before = lt_diskseq(c.fd);
	signal_each(0, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, change_and_interrupt, &c));
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	c.done = true;
	pthread_join(t, NULL);
	EXPECT_NE(before, d.diskseq);
	EXPECT_EQ(lt_diskseq(c.fd), d.diskseq);
	close(c.fd);
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
}

/* With SA_RESTART the time limit includes all restarts. */
TEST_F(ctl, detach_restarts)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, SECONDS(1) / 4);
	struct closer c = { .delay = 200000 };
	pthread_t t;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	signal_each(20, SA_RESTART);
	LT_EXPECT_ERR("ETIMEDOUT", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_GT(signals, 0);
	d = to_detach(FIRST, WAIT, FOREVER);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
		TH_LOG("%s", lt_errname(errno));
	}
	signal_each(0, 0);
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

/* The remaining time cannot be written. */
TEST_F(ctl, detach_interrupted_fault)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, SECONDS(10000)), *ro;
	int fd = attach_fd(FIRST, self->file, 0, 0);

	ASSERT_GE(fd, 0);
	ro = unwritable(&d, sizeof(d));
	signal_each(20, 0);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, ro));
	signal_each(0, 0);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	close(fd);
}

TEST_F(ctl, detach_killed)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	int fd = attach_fd(FIRST, self->file, 0, 0), i, status;

	ASSERT_GE(fd, 0);
	for (i = 0; i < 5; i++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			ioctl(lt_control(), LOOP_CTL_DETACH, &d);
			_exit(1);
		}
		lt_sleep_ms(10 * i);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(1, openers(FIRST));
	close(fd);
	EXPECT_STREQ("ok", detach_from(FIRST));
}

TEST_HARNESS_MAIN
