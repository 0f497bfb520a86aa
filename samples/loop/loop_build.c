// SPDX-License-Identifier: GPL-2.0
/*
 * This program runs a command with an image as a block device, as programs that build
 * images do. The device is a new one, no other device has the image meanwhile, and the
 * device is removed before this program ends, or when it is killed.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/loop.h>

#define NSEC_PER_SEC 1000000000ULL

/* Returns the time that is @seconds from now, for LOOP_CTL_DETACH. */
static unsigned long long deadline(unsigned int seconds)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (ts.tv_sec + seconds) * NSEC_PER_SEC + ts.tv_nsec;
}

static void attach(int control, const char *image, struct loop_ctl_attach *a)
{
	*a = (struct loop_ctl_attach){
		.size = sizeof(*a),
		.attach_flags = LOOP_ATTACH_LEASE | LOOP_ATTACH_EXCLUSIVE |
				LOOP_ATTACH_EPHEMERAL | LOOP_ATTACH_INTERNAL,
		.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN,
		.require = LOOP_COND_WRITE | LOOP_COND_DISCARD,
		.index = -1,
	};
	a->fd = open(image, O_RDWR | O_CLOEXEC);
	if (a->fd < 0)
		err(1, "%s", image);
	if (!ioctl(control, LOOP_CTL_ATTACH, a))
		return;
	if (errno == EBUSY && a->out_busy >= 0)
		errx(1, "%s: attached to /dev/loop%d", image, a->out_busy);
	if (errno == EOPNOTSUPP)
		errx(1, "%s: conditions not met: %#x", image,
		     a->out_unmet & a->require);
	err(1, "%s: LOOP_CTL_ATTACH", image);
}

/* Waits until others, such as udev, have closed the device, and then detaches it. */
static void detach(int control, const struct loop_ctl_attach *a)
{
	struct loop_ctl_detach d = {
		.size = sizeof(d),
		.mode = LOOP_DETACH_WAIT,
		.index = a->out_index,
		.diskseq = a->out_diskseq,
		.deadline = deadline(10),
	};

	if (!ioctl(control, LOOP_CTL_DETACH, &d))
		return;
	if (errno != ETIMEDOUT)
		err(1, "/dev/loop%d: LOOP_CTL_DETACH", d.index);
	warnx("/dev/loop%d is in use, and detached by force", d.index);
	d.mode = LOOP_DETACH_FORCE;
	d.deadline = deadline(10);
	if (ioctl(control, LOOP_CTL_DETACH, &d))
		err(1, "/dev/loop%d: LOOP_CTL_DETACH", d.index);
	if (d.out_pending & LOOP_PENDING_FILE)
		errx(1, "/dev/loop%d: the image is not released", d.index);
}

int main(int argc, char **argv)
{
	struct loop_ctl_attach a;
	char node[32];
	int control, status;

	if (argc < 3)
		errx(2, "usage: %s IMAGE COMMAND [ARGUMENT]...", argv[0]);
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		err(1, "/dev/loop-control");
	attach(control, argv[1], &a);
	snprintf(node, sizeof(node), "/dev/loop%d", a.out_index);
	setenv("LOOP_DEVICE", node, 1);

	/* The lease is close-on-exec, so COMMAND does not get it. */
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		execvp(argv[2], argv + 2);
		err(127, "%s", argv[2]);
	}
	if (wait(&status) < 0)
		err(1, "wait");
	detach(control, &a);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
