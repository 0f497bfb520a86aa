// SPDX-License-Identifier: GPL-2.0
/*
 * Many callers at the same time, mostly of LOOP_CTL_ATTACH.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>

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
		struct loop_ctl_attach a = lt_to_attach(-1, self->file, LEASE,
							AUTOCLEAR);

		if (ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
			break;
		close(a.out_lease);
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
					      self->file, EXCLUSIVE | LEASE,
					      AUTOCLEAR);
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
			winner = c[i].a.out_index;
			fd = c[i].a.out_lease;
		}
		ASSERT_EQ(1, won);
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			if (!c[i].rc)
				continue;
			/* The number may be that of another, too. */
			if (round % 3 == 0 && round % 2 && c[i].err == EEXIST)
				continue;
			EXPECT_STREQ("EBUSY", lt_errname(c[i].err));
			if (round % 3)
				EXPECT_EQ(winner, c[i].a.out_busy);
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
			c[i].a = lt_to_attach(-1, self->file,
					      EXCLUSIVE | LEASE, AUTOCLEAR);
			c[i].a.offset = 4096 * i;
			c[i].a.sizelimit = 4096;
			ASSERT_EQ(0, pthread_create(&t[i], NULL, contend,
						    &c[i]));
		}
		for (i = 0; i < ARRAY_SIZE(c); i++)
			pthread_join(t[i], NULL);
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			ASSERT_EQ(0, c[i].rc);
			close(c[i].a.out_lease);
		}
	}
	pthread_barrier_destroy(&start);
}

static atomic_bool stop;

struct crowd {
	atomic_int odd, attached;
	int rounds, flags;
};

/* A device belongs to one caller until the lease is closed. */
static void *attach_and_close(void *arg)
{
	struct crowd *c = arg;
	int i, fd, file = memfd_create("loop", MFD_CLOEXEC);
	struct stat st;

	if (ftruncate(file, 65536) || fstat(file, &st))
		lt_die("make a file");
	for (i = 0; i < c->rounds; i++) {
		struct loop_ctl_attach a = lt_to_attach(-1, file,
							c->flags | LEASE,
							AUTOCLEAR);
		struct loop_info64 info;

		if (ioctl(lt_control(), LOOP_CTL_ATTACH, &a)) {
			c->odd++;
			continue;
		}
		c->attached++;
		fd = lt_open(a.out_index, O_RDWR);
		if (ioctl(a.out_lease, LOOP_GET_STATUS64, &info) ||
		    info.lo_inode != st.st_ino || info.lo_number != a.out_index ||
		    lt_diskseq(fd) != a.out_diskseq || lt_size(fd) != 65536)
			c->odd++;
		close(fd);
		close(a.out_lease);
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
		/* Nobody has the diskseq 1. */
		struct loop_ctl_detach d = to_detach_seq(n, 1, NOW, 0);
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

/* Two tasks move a device to and fro, and nobody has it exclusively. */

struct mover {
	pthread_barrier_t *start;
	pthread_t thread;
	uint64_t offset;
	int rounds, err;
};

static void *move(void *arg)
{
	struct loop_info64 info = { };
	struct mover *m = arg;
	int fd = lt_open(FIRST, O_RDWR);

	info.lo_offset = m->offset;
	pthread_barrier_wait(m->start);
	for (; m->rounds && !m->err; m->rounds--)
		if (ioctl(fd, LOOP_SET_STATUS64, &info))
			m->err = errno;
	close(fd);
	return NULL;
}

TEST_F_TIMEOUT(ctl, status_race, 600)
{
	pthread_barrier_t start;
	struct mover m[2] = {
		{ .start = &start, .offset = 0, .rounds = 300 },
		{ .start = &start, .offset = 512, .rounds = 300 },
	};
	unsigned int i;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, ARRAY_SIZE(m)));
	for (i = 0; i < ARRAY_SIZE(m); i++)
		ASSERT_EQ(0, pthread_create(&m[i].thread, NULL, move, &m[i]));
	for (i = 0; i < ARRAY_SIZE(m); i++) {
		pthread_join(m[i].thread, NULL);
		EXPECT_EQ(0, m[i].err) {
			TH_LOG("offset %llu, %d rounds left: %s",
			       (unsigned long long)m[i].offset, m[i].rounds,
			       lt_errname(m[i].err));
		}
	}
	pthread_barrier_destroy(&start);
}

/* Root may detach what another user has attached just now. */

static void *attach_as_root(void *arg)
{
	int i;

	while (!stop) {
		attach_first(arg);
		/* Each open and each close takes the lock that a detach waits for. */
		for (i = 0; i < 3; i++)
			close(lt_open(FIRST, O_RDONLY));
	}
	return NULL;
}

TEST_F_TIMEOUT(ctl, owner_race, 600)
{
	pthread_t t[3];
	int i, errors = 0;
	pid_t pid;

	stop = false;
	lt_control();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || setresuid(-1, 65534, -1))
			_exit(1);
		for (;;)
			attach_first(&self->file);
	}
	for (i = 0; i < ARRAY_SIZE(t); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, attach_as_root, &self->file));
	for (i = 0; i < 1000; i++) {
		struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0);

		errors += ioctl(lt_control(), LOOP_CTL_DETACH, &d) && errno == EPERM;
	}
	stop = true;
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(SIGKILL, killed(pid));
	EXPECT_EQ(0, errors);
}

TEST_HARNESS_MAIN
