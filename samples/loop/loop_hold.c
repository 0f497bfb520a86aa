// SPDX-License-Identifier: GPL-2.0
/*
 * This program attaches a disk image and locks the device before udev knows of the image,
 * as https://systemd.io/BLOCK_DEVICE_LOCKING recommends. The device stays attached until
 * another program detaches it, or until stdin ends.
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/loop.h>

static void attach(const char *image, struct loop_ctl_attach *a)
{
	int control;

	a->fd = open(image, O_RDWR | O_CLOEXEC);
	if (a->fd < 0)
		err(1, "%s", image);
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		err(1, "/dev/loop-control");
	if (ioctl(control, LOOP_CTL_ATTACH, a))
		err(1, "%s: LOOP_CTL_ATTACH", image);
	close(control);
	close(a->fd);
}

int main(int argc, char **argv)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a),
		.attach_flags = LOOP_ATTACH_LEASE | LOOP_ATTACH_HOLD,
		.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN,
		.index = -1,
	};
	struct pollfd end[2] = { { .events = POLLIN } };
	char node[32], c;
	int device;

	if (argc != 2)
		errx(2, "usage: %s IMAGE", argv[0]);
	attach(argv[1], &a);

	/* udev has not been told of the file. It may look at a new device. */
	snprintf(node, sizeof(node), "/dev/loop%d", a.out_index);
	device = open(node, O_RDWR | O_CLOEXEC);
	if (device < 0)
		err(1, "%s", node);
	if (flock(device, LOCK_EX))
		err(1, "%s: flock", node);
	/* This is the place for what udev must not see: mkfs, partitioning. */
	if (ioctl(a.out_lease, LOOP_LEASE_ANNOUNCE))
		err(1, "%s: LOOP_LEASE_ANNOUNCE", node);
	/* Partitions are there now; udev looks at them once it gets its lock. */
	if (flock(device, LOCK_SH))
		err(1, "%s: flock", node);
	printf("%s\n", node);
	fflush(stdout);

	/* Without other events, poll() reports only POLLHUP of the lease. */
	end[1].fd = a.out_lease;
	do {
		if (poll(end, 2, -1) < 0)
			err(1, "poll");
		if (end[1].revents & POLLHUP)
			errx(1, "%s has been detached", node);
	} while (read(STDIN_FILENO, &c, 1) == 1);
	return 0;
}
