// SPDX-License-Identifier: GPL-2.0
/*
 * Many callers of LOOP_CTL_ATTACH at the same time.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "ctl_fixture.h"

struct contest {
	pthread_barrier_t *start;
	struct loop_ctl_attach a;
	int rc, err;
};

static void *contend(void *arg)
{
	struct contest *c = arg;

	pthread_barrier_wait(c->start);
	c->rc = ioctl(lt_control(), LOOP_CTL_ATTACH, &c->a);
	c->err = errno;
	return NULL;
}

static atomic_bool holding;

/* Finds a free device and opens it exclusively, again and again. */
static void *hold(void *arg)
{
	int fd;

	while (holding) {
		fd = lt_open(lt_ctl(LOOP_CTL_GET_FREE, 0), O_RDONLY | O_EXCL);
		if (fd >= 0)
			close(fd);
	}
	return arg;
}

/* A caller that takes any device need not try again. */
TEST_F_TIMEOUT(ctl, attach_any_race, 600)
{
	unsigned int round;
	pthread_t t;

	holding = true;
	ASSERT_EQ(0, pthread_create(&t, NULL, hold, NULL));
	for (round = 0; round < 500; round++) {
		struct loop_ctl_attach a = lt_to_attach(-1, self->file, 0,
							AUTOCLEAR);

		if (strcmp("ok", attach(&a)))
			break;
		close(a.device_fd);
	}
	holding = false;
	pthread_join(t, NULL);
	EXPECT_EQ(500, round);
}

/* One of many callers gets the file; the others are told its device. */
TEST_F_TIMEOUT(ctl, exclusive_race, 600)
{
	struct contest c[12];
	pthread_t t[ARRAY_SIZE(c)];
	pthread_barrier_t start;
	unsigned int i, round;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, ARRAY_SIZE(c)));
	for (round = 0; round < 25; round++) {
		int won = 0, winner = -1, fd = -1;

		for (i = 0; i < ARRAY_SIZE(c); i++) {
			c[i].start = &start;
			/* All want any number, or two want the same. */
			c[i].a = lt_to_attach(round % 3 ? -1 : FIRST + i % 6,
					      self->file, EXCLUSIVE, AUTOCLEAR);
			if (round % 2)
				c[i].a.attach_flags |= EPHEMERAL;
			ASSERT_EQ(0, pthread_create(&t[i], NULL, contend,
						    &c[i]));
		}
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			pthread_join(t[i], NULL);
			if (c[i].rc)
				continue;
			won++;
			winner = c[i].a.index;
			fd = c[i].a.device_fd;
		}
		ASSERT_EQ(1, won);
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			if (!c[i].rc)
				continue;
			EXPECT_STREQ("EBUSY", lt_errname(c[i].err));
			/* EBUSY can be about the number, too. */
			if (round % 3)
				EXPECT_EQ(winner, c[i].a.index);
		}
		close(fd);
		if (round % 2)
			ASSERT_TRUE(gone(winner));
	}
	pthread_barrier_destroy(&start);
	/* Other tests expect the first eight devices. */
	for (i = 0; i < 8; i++)
		lt_ctl(LOOP_CTL_ADD, i);
}

/* Callers that want different parts of a file all get them. */
TEST_F_TIMEOUT(ctl, exclusive_race_parts, 600)
{
	struct contest c[8];
	pthread_t t[ARRAY_SIZE(c)];
	pthread_barrier_t start;
	unsigned int i, round;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, ARRAY_SIZE(c)));
	for (round = 0; round < 10; round++) {
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			c[i].start = &start;
			c[i].a = lt_to_attach(-1, self->file, EXCLUSIVE,
					      AUTOCLEAR);
			c[i].a.offset = 4096 * i;
			c[i].a.sizelimit = 4096;
			ASSERT_EQ(0, pthread_create(&t[i], NULL, contend,
						    &c[i]));
		}
		for (i = 0; i < ARRAY_SIZE(c); i++)
			pthread_join(t[i], NULL);
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			ASSERT_EQ(0, c[i].rc);
			close(c[i].a.device_fd);
		}
	}
	pthread_barrier_destroy(&start);
}

static atomic_bool stop;

struct crowd {
	atomic_int odd, attached;
	int rounds, flags;
};

/* A device belongs to one caller until it is closed. */
static void *attach_and_close(void *arg)
{
	struct crowd *c = arg;
	int i, file = memfd_create("loop", MFD_CLOEXEC);
	struct stat st;

	if (ftruncate(file, 65536) || fstat(file, &st))
		lt_die("make a file");
	for (i = 0; i < c->rounds; i++) {
		struct loop_ctl_attach a = lt_to_attach(-1, file,
							c->flags, AUTOCLEAR);
		struct loop_info64 info;

		if (ioctl(lt_control(), LOOP_CTL_ATTACH, &a)) {
			c->odd++;
			continue;
		}
		c->attached++;
		if (ioctl(a.device_fd, LOOP_GET_STATUS64, &info) ||
		    info.lo_inode != st.st_ino || info.lo_number != a.index ||
		    lt_diskseq(a.device_fd) != a.diskseq ||
		    lt_size(a.device_fd) != 65536)
			c->odd++;
		close(a.device_fd);
	}
	close(file);
	return NULL;
}

/* Finds, opens, removes and detaches devices by the older calls. */
static void *meddle(void *arg)
{
	struct crowd *c = arg;
	int n = 0;

	while (!stop) {
		struct loop_ctl_detach d = to_detach(n, 0, 0);
		int fd;

		if (!ioctl(lt_control(), LOOP_CTL_DETACH, &d))
			c->odd++;
		if (lt_ctl(LOOP_CTL_GET_FREE, 0) < 0)
			c->odd++;
		fd = lt_open(n, O_RDONLY);
		if (fd >= 0)
			close(fd);
		lt_ctl(LOOP_CTL_REMOVE, n);
		n = (n + 1) % 24;
	}
	return NULL;
}

static void crowd_run(struct crowd *c)
{
	pthread_t t[10], m[2];
	unsigned int i;

	stop = false;
	for (i = 0; i < ARRAY_SIZE(m); i++)
		pthread_create(&m[i], NULL, meddle, c);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, attach_and_close, c);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	stop = true;
	for (i = 0; i < ARRAY_SIZE(m); i++)
		pthread_join(m[i], NULL);
	/* Other tests expect the first eight devices. */
	for (i = 0; i < 8; i++)
		lt_ctl(LOOP_CTL_ADD, i);
}

TEST_F_TIMEOUT(ctl, threads, 240)
{
	struct crowd c = { .rounds = 30 };

	crowd_run(&c);
	EXPECT_EQ(0, c.odd);
	EXPECT_EQ(300, c.attached);
}

TEST_F_TIMEOUT(ctl, threads_ephemeral, 240)
{
	struct crowd c = { .rounds = 15, .flags = EPHEMERAL };

	crowd_run(&c);
	EXPECT_EQ(0, c.odd);
	EXPECT_EQ(150, c.attached);
}

TEST_HARNESS_MAIN
