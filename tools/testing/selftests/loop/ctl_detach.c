// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_CTL_DETACH: what it refuses, its modes but LOOP_DETACH_FORCE, how it waits.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "ctl_fixture.h"

TEST_F(ctl, detach)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0), in = d;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	close(self->file);
	LT_EXPECT_ERR("EBUSY", umount2(self->dir, 0));
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(0, memcmp(&in, &d, sizeof(d)));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
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
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
	}
}

/* A lease is no opener, and the attachment ends in spite of it. */
TEST_F(ctl, detach_leased)
{
	static const uint32_t modes[] = { NOW, WAIT, LAZY, FORCE };
	unsigned int i;
	int lease;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		struct loop_ctl_detach d = lt_to_detach(FIRST, modes[i], 0);

		lease = attach_lease(FIRST, self->file, 0, i % 2 ? AUTOCLEAR : 0);
		ASSERT_GE(lease, 0);
		if (d.mode == WAIT || d.mode == FORCE)
			d.deadline = FOREVER;
		EXPECT_STREQ("ok", detach(&d));
		EXPECT_EQ(0, d.out_pending);
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
		close(lease);
	}
}

TEST_F(ctl, detach_sizes)
{
	static const uint32_t small[] = {
		0, 1, 4, 32, LOOP_CTL_DETACH_SIZE_VER0 - 1,
	};
	uint32_t page = sysconf(_SC_PAGESIZE);
	struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0), *b;
	static uint8_t buf[2 * LARGEST_PAGE];
	unsigned int i;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
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
	buf[sizeof(d)] = 1;
	EXPECT_STREQ("E2BIG", detach(b));
	buf[sizeof(d)] = 0;
	EXPECT_STREQ("ok", detach(b));
	EXPECT_EQ(page, b->size);
	EXPECT_TRUE(lt_zeroed(buf + sizeof(d), sizeof(buf) - sizeof(d)));
	/* The kernel writes nothing behind the structure. */
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	memset(buf, 0xa5, sizeof(buf));
	*b = lt_to_detach(FIRST, FORCE, FOREVER);
	EXPECT_STREQ("ok", detach(b));
	EXPECT_EQ(0xa5, buf[sizeof(d)]);
	EXPECT_EQ(0, memcmp(buf + sizeof(d), buf + sizeof(d) + 1, 4096));
}

TEST_F(ctl, detach_fault)
{
	static const uint32_t modes[] = { NOW, WAIT, LAZY, FORCE };
	struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0);
	unsigned int i;
	uint8_t *p;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, NULL));
	p = at_edge(&d, sizeof(d) - 1);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, p));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	/* A call that cannot give its answer has not detached the device. */
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		d = lt_to_detach(FIRST, modes[i], 0);
		if (ioctl(lt_control(), LOOP_CTL_DETACH, unwritable(&d, sizeof(d)))) {
			EXPECT_EQ(EFAULT, errno);
			EXPECT_TRUE(lt_sysfs_attached(FIRST));
		} else {
			/* The answer is 0, as it was before. */
			EXPECT_FALSE(lt_sysfs_attached(FIRST));
			ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
		}
	}
}

TEST_F(ctl, detach_invalid)
{
	static const int32_t absent[] = {
		ABSENT, MINORS - 1, MINORS, INT_MAX,
	};
	static const uint32_t modes[] = { NOW, WAIT, WATCH, LAZY, FORCE };
	struct loop_ctl_detach d;
	unsigned int i, k;
	uint64_t seq;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	seq = lt_sysfs_num(FIRST, "diskseq");
	for (i = 0; i < 32; i++) {
		d = lt_to_detach(FIRST, NOW, 0);
		d.flags |= 1U << i;
		if (d.flags != LOOP_DETACH_ANY)
			EXPECT_STREQ("EINVAL", detach(&d));
		d = lt_to_detach(FIRST, NOW, 0);
		d.reserved = 1U << i;
		EXPECT_STREQ("EINVAL", detach(&d));
		d = lt_to_detach(FIRST, NOW, 0);
		d.out_pending = 1U << i;
		LT_EXPECT_ERR("EINVAL", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
		if (1U << i > FORCE)
			EXPECT_STREQ("EINVAL", detach_how(FIRST, 1U << i, 0));
	}
	EXPECT_STREQ("EINVAL", detach_how(FIRST, FORCE + 1, 0));
	EXPECT_STREQ("EINVAL", detach_how(FIRST, UINT32_MAX, 0));
	/* These modes do not wait. */
	EXPECT_STREQ("EINVAL", detach_how(FIRST, NOW, 1));
	EXPECT_STREQ("EINVAL", detach_how(FIRST, NOW, FOREVER));
	EXPECT_STREQ("EINVAL", detach_how(FIRST, LAZY, 1));
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		/* Either the diskseq is given, or any will do. */
		d = to_detach_seq(FIRST, 0, modes[i], 0);
		EXPECT_STREQ("EINVAL", detach(&d));
		d = lt_to_detach(FIRST, modes[i], 0);
		d.diskseq = seq;
		EXPECT_STREQ("EINVAL", detach(&d));
		EXPECT_STREQ("EINVAL", detach_how(-1, modes[i], 0));
		EXPECT_STREQ("EINVAL", detach_how(-2, modes[i], 0));
		EXPECT_STREQ("EINVAL", detach_how(INT_MIN, modes[i], 0));
		for (k = 0; k < ARRAY_SIZE(absent); k++) {
			EXPECT_STREQ("ENODEV", detach_how(absent[k], modes[i], 0));
			d = to_detach_seq(absent[k], seq, modes[i], 0);
			EXPECT_STREQ("ENODEV", detach(&d));
		}
	}
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
}

TEST_F(ctl, detach_free)
{
	struct loop_ctl_detach d;
	int fd, i;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	/* The opener of a detached device is not waited for. */
	for (i = 0; i < 2; i++) {
		fd = i ? lt_open(FIRST, O_RDWR) : -1;
		EXPECT_STREQ("ENXIO", detach_from(FIRST));
		EXPECT_STREQ("ENXIO", detach_how(FIRST, WAIT, FOREVER));
		EXPECT_STREQ("ENXIO", detach_how(FIRST, WATCH, FOREVER));
		EXPECT_STREQ("ENXIO", detach_how(FIRST, LAZY, 0));
		EXPECT_STREQ("ENXIO", detach_how(FIRST, FORCE, FOREVER));
		if (fd >= 0)
			close(fd);
	}
	d = to_detach_seq(FIRST, 1, NOW, 0);
	EXPECT_STREQ("ENXIO", detach(&d));
}

/* A call that fails leaves the device as it was. */
TEST_F(ctl, detach_busy)
{
	struct loop_info64 info;
	uint8_t buf[512];
	int fd, part, again;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WAIT, 0));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WAIT, 1));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WAIT, lt_in_ms(20)));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WATCH, 0));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WATCH, lt_in_ms(20)));
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
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WAIT, lt_in_ms(1)));
	ASSERT_EQ(512, pread(part, buf, 512, 0));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/autoclear"));
	close(part);
	/* Nobody has it open, and nothing has to be waited for. */
	EXPECT_STREQ("ok", detach_how(FIRST, WAIT, 0));
	EXPECT_EQ(0, lt_parts(FIRST));
}

/* LOOP_DETACH_WATCH ends no attachment, even of a device that nobody has open. */
TEST_F(ctl, detach_watch)
{
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WATCH, 0));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WATCH, lt_in_ms(50)));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
}

/* Waits in a time namespace whose clock has other values. Returns an errno, or KSFT_SKIP. */
static int watch_elsewhere(const char *offset)
{
	pid_t pid;

	if (unshare(CLONE_NEWTIME))
		return KSFT_SKIP;
	lt_write_file("/proc/self/timens_offsets", offset);
	pid = fork();
	if (pid < 0)
		return errno;
	if (!pid) {
		uint64_t end = lt_in_ms(200);
		struct loop_ctl_detach d = lt_to_detach(FIRST, WATCH, end);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!ioctl(lt_control(), LOOP_CTL_DETACH, &d))
			_exit(0);
		_exit(lt_in_ms(1) < end ? ERANGE : errno);
	}
	return lt_ended(pid, 60);
}

/* The clock of the deadline is that of the caller's time namespace. */
TEST_F_TIMEOUT(ctl, detach_time_namespace, 600)
{
	static const char *const offsets[] = { "monotonic 100000 0", "monotonic -2 0" };
	int i, status;
	pid_t pid;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	/* The clock may not be negative. */
	while (lt_in_ms(0) < 5000000000)
		lt_sleep_ms(100);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(watch_elsewhere(offsets[i]));
		}
		status = lt_ended(pid, 120);
		if (status == KSFT_SKIP)
			SKIP(return, "no time namespaces");
		EXPECT_EQ(ETIMEDOUT, status) {
			TH_LOG("%s", offsets[i]);
		}
	}
}

/* ENXIO would be wrong, as the device still holds the file. */
TEST_F(ctl, detach_after_clr_fd)
{
	int fd = attach_fd(FIRST, self->file, 0, 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WAIT, lt_in_ms(1)));
	EXPECT_STREQ("ETIMEDOUT", detach_how(FIRST, WATCH, lt_in_ms(1)));
	close(fd);
	EXPECT_STREQ("ENXIO", detach_from(FIRST));
}

TEST_F(ctl, detach_lazy)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, LAZY, 0);
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	uint8_t buf[512];
	int fd;

	/* Nobody has the device open, so the call detaches it at once. */
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(0, d.out_pending);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_STREQ("ENXIO", detach(&d));
	/* The last close of an open device detaches it. Until then I/O goes on. */
	fd = lt_attach(&a, NULL);
	ASSERT_GE(fd, 0);
	d = to_detach_seq(FIRST, a.out_diskseq + 1, LAZY, 0);
	EXPECT_STREQ("ESTALE", detach(&d));
	d = to_detach_seq(FIRST, a.out_diskseq, LAZY, 0);
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(LOOP_PENDING_OPEN | LOOP_PENDING_FILE, d.out_pending);
	ASSERT_EQ(512, pread(fd, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 4096));
	close(self->file);
	LT_EXPECT_ERR("EBUSY", umount2(self->dir, 0));
	close(fd);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, umount2(self->dir, 0));
}

TEST_F(ctl, detach_diskseq)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0);
	static const uint32_t modes[] = { NOW, WAIT, WATCH, LAZY, FORCE };
	unsigned int i;
	uint64_t old;
	int fd;

	ASSERT_STREQ("ok", attach(&a));
	old = a.out_diskseq;
	d = to_detach_seq(FIRST, old + 1, NOW, 0);
	EXPECT_STREQ("ESTALE", detach(&d));
	d.diskseq = UINT64_MAX;
	EXPECT_STREQ("ESTALE", detach(&d));
	d.diskseq = old;
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_STREQ("ENXIO", detach(&d));
	/* The next attachment has another diskseq. */
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_GT(a.out_diskseq, old);
	EXPECT_STREQ("ESTALE", detach(&d));
	/* While the device is in use, all modes fail with ESTALE at once, too. */
	fd = lt_open(FIRST, O_RDONLY);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		d = to_detach_seq(FIRST, old, modes[i], 0);
		if (d.mode != NOW && d.mode != LAZY)
			d.deadline = FOREVER;
		EXPECT_STREQ("ESTALE", detach(&d));
	}
	close(fd);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	d = to_detach_seq(FIRST, a.out_diskseq, NOW, 0);
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
	struct loop_ctl_detach d;
	struct closer c;
	unsigned int i;
	pthread_t t;

	for (i = 0; i < 6; i++) {
		const uint64_t deadlines[] = {
			lt_in_ms(1000000), INT64_MAX, FOREVER,
		};
		uint64_t deadline = deadlines[i / 2];

		c = (struct closer) { .delay = 20000 * i };
		c.fd = attach_fd(FIRST, self->file, 0, 0);
		ASSERT_GE(c.fd, 0);
		d = i % 2 ? to_detach_seq(FIRST, lt_diskseq(c.fd), WAIT, deadline) :
			    lt_to_detach(FIRST, WAIT, deadline);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
			TH_LOG("%s", lt_errname(errno));
		}
		/* The ioctl has detached it, as nothing else does. */
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
		EXPECT_EQ(deadline, d.deadline);
		EXPECT_EQ(0, d.out_pending);
		pthread_join(t, NULL);
	}
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* The close of a partition ends the wait, too. */
TEST_F(ctl, detach_waits_for_partition)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, WAIT, FOREVER);
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
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	pthread_join(t, NULL);
}

/*
 * The ioctl succeeds if the last close of the device or of the lease detaches the device
 * while it waits. LOOP_DETACH_WATCH waits for nothing else.
 */
TEST_F(ctl, detach_waits_for_others)
{
	struct loop_ctl_detach d;
	struct closer c;
	unsigned int i;
	pthread_t t;

	for (i = 0; i < 16; i++) {
		uint32_t flags = i & 1 ? EPHEMERAL : 0, mode = i & 2 ? WATCH : WAIT;

		c = (struct closer) { .delay = 20000 };
		ASSERT_TRUE(lt_destroy(FIRST, 2000));
		/* Nobody has a leased device open, so WAIT would detach it at once. */
		if (i & 4 && mode == WATCH)
			c.fd = attach_lease(FIRST, self->file, flags, AUTOCLEAR);
		else
			c.fd = attach_fd(FIRST, self->file, flags, AUTOCLEAR);
		ASSERT_GE(c.fd, 0);
		d = lt_to_detach(FIRST, mode, FOREVER);
		if (i & 8)
			d = to_detach_seq(FIRST, lt_sysfs_num(FIRST, "diskseq"), mode,
					  FOREVER);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
			TH_LOG("%u: %s", i, lt_errname(errno));
		}
		EXPECT_EQ(0, d.out_pending);
		pthread_join(t, NULL);
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
		if (flags)
			EXPECT_TRUE(gone(FIRST));
	}
}

TEST_F(ctl, detach_waits_after_clr_fd)
{
	static const uint32_t modes[] = { WAIT, WATCH };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		struct loop_ctl_detach d = lt_to_detach(FIRST, modes[i], FOREVER);
		struct closer c = { .delay = 20000 };
		pthread_t t;

		c.fd = attach_fd(FIRST, self->file, 0, 0);
		ASSERT_GE(c.fd, 0);
		ASSERT_EQ(0, ioctl(c.fd, LOOP_CLR_FD, 0));
		ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
		pthread_join(t, NULL);
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
	}
}

/* Another task detaches in each way while one watches. */

static void *detach_later(void *arg)
{
	uint32_t mode = *(uint32_t *)arg;
	int i, asleep = 0;

	for (i = 0; i < 1000 && asleep < 3; i++) {
		lt_sleep_ms(2);
		asleep = sleeps() ? asleep + 1 : 0;
	}
	detach_how(FIRST, mode, mode == WAIT || mode == FORCE ? FOREVER : 0);
	return NULL;
}

TEST_F(ctl, detach_watched)
{
	static uint32_t modes[] = { NOW, WAIT, LAZY, FORCE };
	unsigned int i;
	pthread_t t;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		struct loop_ctl_detach d = lt_to_detach(FIRST, WATCH, FOREVER);

		ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
		ASSERT_EQ(0, pthread_create(&t, NULL, detach_later, &modes[i]));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
		pthread_join(t, NULL);
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
	}
}

struct waiter {
	int rc, err;
};

static void *wait_to_detach(void *arg)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, WAIT, FOREVER);
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
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* A signal ends the call, which changes nothing in the structure. */
TEST_F(ctl, detach_interrupted)
{
	static const uint32_t modes[] = { WAIT, WATCH };
	struct closer c = { .delay = 20000 };
	struct loop_ctl_detach d, in;
	pthread_t t;
	int i;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	signal_each(20, 0);
	for (i = 0; i < 6; i++) {
		d = to_detach_seq(FIRST, lt_diskseq(c.fd), modes[i % 2],
				  i / 2 == 0 ? lt_in_ms(10000000) :
				  i / 2 == 1 ? INT64_MAX : FOREVER);
		in = d;
		LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH,
					     &d));
		EXPECT_EQ(0, memcmp(&in, &d, sizeof(d)));
	}
	d = lt_to_detach(FIRST, WAIT, FOREVER);
	in = d;
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_EQ(0, memcmp(&in, &d, sizeof(d)));
	/* The call can be repeated. */
	signal_each(0, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* A call that is made again with the same structure has the same deadline. */
TEST_F(ctl, detach_interrupted_until_deadline)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, WAIT, lt_in_ms(250));
	int fd = attach_fd(FIRST, self->file, 0, 0), interrupted = 0;

	ASSERT_GE(fd, 0);
	signal_each(20, 0);
	while (ioctl(lt_control(), LOOP_CTL_DETACH, &d) && errno == EINTR)
		interrupted++;
	EXPECT_STREQ("ETIMEDOUT", lt_errname(errno));
	EXPECT_GE(lt_in_ms(0), d.deadline);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	signal_each(0, 0);
	close(fd);
}

/* With SA_RESTART the deadline is that of the first call. */
TEST_F(ctl, detach_restarts)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, WAIT, lt_in_ms(250));
	struct closer c = { .delay = 200000 };
	pthread_t t;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	signal_each(20, SA_RESTART);
	LT_EXPECT_ERR("ETIMEDOUT", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_GE(lt_in_ms(0), d.deadline);
	d = lt_to_detach(FIRST, WAIT, FOREVER);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
		TH_LOG("%s", lt_errname(errno));
	}
	EXPECT_GT(signals, 0);
	signal_each(0, 0);
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* A caller that is killed while it waits dies at once, and has changed nothing. */
TEST_F(ctl, detach_killed)
{
	static const uint32_t modes[] = { WAIT, WATCH };
	int fd = attach_fd(FIRST, self->file, 0, 0), i;
	struct loop_ctl_entry e;

	ASSERT_GE(fd, 0);
	for (i = 0; i < 2 * ARRAY_SIZE(modes); i++) {
		struct loop_ctl_detach d = lt_to_detach(FIRST, modes[i / 2],
							i % 2 ? FOREVER :
								INT64_MAX - 1);
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			ioctl(lt_control(), LOOP_CTL_DETACH, &d);
			_exit(1);
		}
		EXPECT_TRUE(lt_sleeps_in(pid, LOOP_CTL_DETACH));
		EXPECT_EQ(SIGKILL, killed(pid));
	}
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_ATTACHED, e.state);
	EXPECT_EQ(0, e.lo_flags);
	EXPECT_EQ(1, e.openers);
	close(fd);
	EXPECT_STREQ("ok", detach_from(FIRST));
}

TEST_HARNESS_MAIN
