// SPDX-License-Identifier: GPL-2.0
/*
 * Two hundred threads add, remove, find, open, attach and detach the same sixteen
 * numbers. In the end all interfaces must agree on which devices exist.
 *
 * usage: stress [SECONDS [SEED]]
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "loop_test.h"

#define THREADS 200
#define NUMBERS 16
#define IMAGES 8
#define SLOW_SECONDS 120

enum action {
	ACT_ADD, ACT_REMOVE, ACT_GET_FREE, ACT_OPEN, ACT_SET_FD, ACT_CLR_FD,
	ACT_IO, ACT_CONFIGURE, ACT_COUNT
};

static const char *const action_names[ACT_COUNT] = {
	"add", "remove", "get_free", "open", "set_fd", "clr_fd", "io",
	"configure",
};

/* The errors that each action may have */
static const int action_errors[ACT_COUNT][6] = {
	[ACT_ADD] = { EEXIST, EINTR },
	[ACT_REMOVE] = { ENODEV, EBUSY, EINTR },
	[ACT_GET_FREE] = { EINTR },
	[ACT_OPEN] = { ENOENT, ENXIO, ENODEV, EBUSY, EACCES },
	[ACT_SET_FD] = { EBUSY, ENXIO, EINTR },
	[ACT_CLR_FD] = { ENXIO, EINTR },
	[ACT_IO] = { EIO, ENOSPC },
	[ACT_CONFIGURE] = { EBUSY, ENXIO, EINTR },
};

static atomic_ulong done[ACT_COUNT], failed[ACT_COUNT];
static atomic_int unexpected;
static atomic_bool stop;
static char dir[32];
static int images[IMAGES];
static uint64_t seed;
static int first;
static uint8_t found_free[1 << 16];

static void count(enum action a, int rc)
{
	unsigned int i;
	int err = errno;

	if (rc >= 0) {
		done[a]++;
		return;
	}
	failed[a]++;
	for (i = 0; i < ARRAY_SIZE(action_errors[a]); i++)
		if (action_errors[a][i] == err)
			return;
	if (unexpected++ < 20)
		ksft_print_msg("%s: %s\n", action_names[a], lt_errname(err));
}

/* Makes calls on an open device, which other threads may use as well. */
static void use(int fd, uint64_t *state)
{
	static uint8_t zeroes[4096];
	uint8_t buf[4096];
	int file = images[lt_random(state) % IMAGES];
	int rounds = lt_random(state) % 4;
	uint32_t flags = lt_random(state) % 2 ? LO_FLAGS_PARTSCAN : 0;

	if (lt_random(state) % 2)
		flags |= LO_FLAGS_AUTOCLEAR;
	while (rounds--) {
		switch (lt_random(state) % 4) {
		case 0:
			count(ACT_SET_FD, ioctl(fd, LOOP_SET_FD, file));
			break;
		case 1:
			count(ACT_CONFIGURE,
			      lt_configure(fd, file, 0, flags, 0, 0));
			break;
		case 2:
			count(ACT_CLR_FD, ioctl(fd, LOOP_CLR_FD, 0));
			break;
		default:
			if (lt_random(state) % 2)
				count(ACT_IO, pread(fd, buf, sizeof(buf),
						    4096));
			else
				count(ACT_IO, pwrite(fd, zeroes, sizeof(zeroes),
						     8192));
		}
	}
}

static void *work(void *arg)
{
	uint64_t state = seed + (uintptr_t)arg * 7919;
	int fd, n, rc;

	while (!stop) {
		n = first + lt_random(&state) % NUMBERS;
		switch (lt_random(&state) % 8) {
		case 0:
		case 1:
			count(ACT_ADD, lt_ctl(LOOP_CTL_ADD, n));
			break;
		case 2:
			count(ACT_REMOVE, lt_ctl(LOOP_CTL_REMOVE, n));
			break;
		case 3:
			rc = lt_ctl(LOOP_CTL_GET_FREE, 0);
			count(ACT_GET_FREE, rc);
			if (rc >= 0 && rc < (int)sizeof(found_free))
				found_free[rc] = 1;
			break;
		default:
			fd = lt_open(n, O_RDWR);
			count(ACT_OPEN, fd);
			if (fd < 0)
				break;
			use(fd, &state);
			close(fd);
		}
	}
	return NULL;
}

/* The control device and /sys/block agree on every number. */
static bool check_index(int *left)
{
	bool good = true;
	int n;

	*left = 0;
	for (n = first; n < first + NUMBERS; n++) {
		bool exists = lt_exists(n);
		int rc = lt_ctl(LOOP_CTL_ADD, n), fd;

		*left += exists;
		if (exists ? rc != -1 || errno != EEXIST : rc != n) {
			ksft_print_msg("loop%d %s, add says %d %s\n", n,
				       exists ? "exists" : "does not exist", rc,
				       rc < 0 ? lt_errname(errno) : "");
			good = false;
		}
		fd = lt_open(n, O_RDONLY);
		if (fd < 0) {
			ksft_print_msg("open loop%d: %s\n", n,
				       lt_errname(errno));
			good = false;
		} else {
			close(fd);
		}
	}
	return good;
}

static bool check_removal(void)
{
	bool good = true;
	int n, rc;

	for (n = first; n < first + NUMBERS; n++) {
		lt_detach(n);
		if (lt_sysfs_attached(n)) {
			ksft_print_msg("loop%d is attached after LOOP_CLR_FD\n",
				       n);
			good = false;
		}
		if (lt_parts(n)) {
			ksft_print_msg("loop%d has partitions\n", n);
			good = false;
		}
		rc = lt_ctl(LOOP_CTL_REMOVE, n);
		if (rc < 0 || lt_exists(n)) {
			ksft_print_msg("remove loop%d: %s, exists=%d\n", n,
				       rc < 0 ? lt_errname(errno) : "0",
				       lt_exists(n));
			good = false;
		}
		rc = lt_ctl(LOOP_CTL_REMOVE, n);
		if (rc != -1 || errno != ENODEV) {
			ksft_print_msg("remove loop%d twice: %d\n", n, rc);
			good = false;
		}
	}
	return good;
}

/* Checks the devices of LOOP_CTL_GET_FREE, and removes the ones it has made. */
static bool check_free(void)
{
	bool good = true;
	int n;

	for (n = 0; n < (int)sizeof(found_free); n++) {
		if (!found_free[n] || (n >= first && n < first + NUMBERS))
			continue;
		if (!lt_exists(n) || lt_sysfs_attached(n)) {
			ksft_print_msg("loop%d was free, and is not\n", n);
			good = false;
		}
		if (n >= NUMBERS)
			lt_ctl(LOOP_CTL_REMOVE, n);
	}
	return good;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 60, left;
	pthread_t threads[THREADS];
	pthread_attr_t attr;
	uintptr_t i;
	bool existed[NUMBERS], good;
	char path[64];

	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("must be root\n");
	if (lt_control() < 0)
		ksft_exit_skip("no /dev/loop-control\n");
	ksft_set_plan(5);
	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	ksft_print_msg("%d seconds, seed %llu\n", seconds,
		       (unsigned long long)seed);
	signal(SIGALRM, lt_give_up);
	if (lt_scratch(dir, "stress"))
		lt_die("make a tmpfs");
	/* These are the lowest numbers, so LOOP_CTL_GET_FREE finds them, too. */
	for (i = 0; i < NUMBERS; i++) {
		existed[i] = lt_exists(i);
		if (lt_sysfs_attached(i))
			first = 1000;
	}
	for (i = 0; i < NUMBERS; i++)
		if (!lt_destroy(first + i, 10))
			lt_die("loop%d is in use", first + (int)i);
	for (i = 0; i < IMAGES; i++) {
		snprintf(path, sizeof(path), "%s/image%u", dir,
			 (unsigned int)i);
		images[i] = lt_file(path, 2 * LT_MIB, i);
		if (i % 2)
			lt_label_two(images[i]);
	}

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], &attr, work, (void *)i))
			lt_die("start thread %u", (unsigned int)i);
	sleep(seconds);
	stop = true;
	alarm(SLOW_SECONDS);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < ACT_COUNT; i++)
		ksft_print_msg("%s: %lu done, %lu refused\n", action_names[i],
			       done[i], failed[i]);

	ksft_test_result(!unexpected, "no unexpected error\n");
	good = check_index(&left);
	ksft_print_msg("%d of %d devices were there\n", left, NUMBERS);
	ksft_test_result(good, "sysfs and the index agree\n");
	ksft_test_result(check_removal(), "all can be detached and removed\n");
	ksft_test_result(check_free(), "devices that were found free have no file\n");
	for (i = 0; i < IMAGES; i++)
		close(images[i]);
	good = !umount2(dir, 0);
	if (!good)
		ksft_print_msg("umount: %s\n", lt_errname(errno));
	ksft_test_result(good, "no reference to a backing file is left\n");
	rmdir(dir);
	for (i = 0; i < NUMBERS; i++)
		if (existed[i])
			lt_ctl(LOOP_CTL_ADD, i);
	alarm(0);
	ksft_finished();
}
