// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the control plane: makes one kind of call many times, and prints the
 * nanoseconds per call. It is not a test: nothing depends on a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/loop.h>

#include "kselftest.h"

static int control;
static int backing;

static void die(const char *what, int n)
{
	fprintf(stderr, "bench_control: %s %d: %s\n", what, n, strerror(errno));
	exit(1);
}

static int open_device(int n)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/loop%d", n);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path, n);
	return fd;
}

static void add(int n)
{
	if (ioctl(control, LOOP_CTL_ADD, n) != n)
		die("LOOP_CTL_ADD", n);
}

static void remove_device(int n)
{
	if (ioctl(control, LOOP_CTL_REMOVE, n) < 0)
		die("LOOP_CTL_REMOVE", n);
}

static void get_free(int n)
{
	if (ioctl(control, LOOP_CTL_GET_FREE) < 0)
		die("LOOP_CTL_GET_FREE", n);
}

static int configure(int n, uint32_t flags)
{
	struct loop_config config = {
		.fd		= backing,
		.info.lo_flags	= LO_FLAGS_READ_ONLY | flags,
	};
	int fd = open_device(n);

	if (ioctl(fd, LOOP_CONFIGURE, &config))
		die("LOOP_CONFIGURE", n);
	return fd;
}

static void configure_device(int n)
{
	close(configure(n, 0));
}

/* Does what losetup -f does, with its wait for another try. */
static void configure_free(void)
{
	struct loop_config config = {
		.fd		= backing,
		.info.lo_flags	= LO_FLAGS_READ_ONLY,
	};
	int fd, n;

	for (;;) {
		n = ioctl(control, LOOP_CTL_GET_FREE);
		if (n < 0)
			die("LOOP_CTL_GET_FREE", n);
		fd = open_device(n);
		if (!ioctl(fd, LOOP_CONFIGURE, &config))
			return;
		if (errno != EBUSY)
			die("LOOP_CONFIGURE", n);
		close(fd);
		usleep(200000);
	}
}

/* Starts 48 processes, each of which attaches a file, at the same time. */
static void together(int n)
{
	int go[2], i, status;
	char c;

	if (pipe(go))
		die("pipe", n);
	for (i = 0; i < 48; i++) {
		if (fork())
			continue;
		close(go[1]);
		if (!read(go[0], &c, 1))
			configure_free();
		_exit(0);
	}
	close(go[1]);
	while (wait(&status) > 0)
		if (status)
			die("a process", status);
	close(go[0]);
}

static void clear_device(int n)
{
	int fd = open_device(n);

	if (ioctl(fd, LOOP_CLR_FD))
		die("LOOP_CLR_FD", n);
	close(fd);
}

static void cycle(int n)
{
	int free = ioctl(control, LOOP_CTL_GET_FREE);

	if (free < 0)
		die("LOOP_CTL_GET_FREE", n);
	close(configure(free, LO_FLAGS_AUTOCLEAR));
}

static void attach(int n)
{
	struct loop_ctl_attach a = {
		.size		= sizeof(a),
		.index		= -1,
		.fd		= backing,
		.attach_flags	= LOOP_ATTACH_LEASE,
		.lo_flags	= LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};

	if (ioctl(control, LOOP_CTL_ATTACH, &a))
		die("LOOP_CTL_ATTACH", n);
	close(a.out_lease);
}

static void detach(int n)
{
	struct loop_ctl_detach d = {
		.size = sizeof(d), .flags = LOOP_DETACH_ANY, .index = n,
	};

	if (ioctl(control, LOOP_CTL_DETACH, &d))
		die("LOOP_CTL_DETACH", n);
}

static void list(int n)
{
	static struct loop_ctl_entry entries[1024];
	struct loop_ctl_list l = {
		.size = sizeof(l), .fd = -1, .count = 1024,
		.entry_size = sizeof(entries[0]), .entries = (uintptr_t)entries,
	};
	int total = 0;

	for (; l.start != UINT32_MAX; l.start = l.out_next) {
		l.out_count = 0;
		l.out_next = 0;
		if (ioctl(control, LOOP_CTL_LIST, &l))
			die("LOOP_CTL_LIST", n);
		total += l.out_count;
	}
	if (total < n)
		die("too few devices listed", total);
}

static const struct {
	const char *name;
	void (*call)(int n);
} calls[] = {
	{ "add", add }, { "remove", remove_device }, { "get-free", get_free },
	{ "configure", configure_device }, { "clear", clear_device }, { "cycle", cycle },
	{ "together", together }, { "attach", attach }, { "detach", detach }, { "list", list },
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int main(int argc, char **argv)
{
	uint64_t start;
	size_t i;
	int n, first, last;

	if (argc != 5) {
		fprintf(stderr, "usage: bench_control CALL FILE FIRST LAST\n");
		return 2;
	}
	first = atoi(argv[3]);
	last = atoi(argv[4]);
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	backing = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (control < 0 || backing < 0)
		die("open", 0);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		if (strcmp(calls[i].name, argv[1]))
			continue;
		start = now();
		for (n = first; n <= last; n++)
			calls[i].call(n);
		printf("%llu\n", (unsigned long long)(now() - start) /
		       (last - first + 1));
		return 0;
	}
	fprintf(stderr, "bench_control: no call %s\n", argv[1]);
	return 2;
}
