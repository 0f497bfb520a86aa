// SPDX-License-Identifier: GPL-2.0
/*
 * This program reads a file through a loop device: it attaches the file, copies the data of
 * the device to stdout, and closes the device and its lease, which detaches the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/loop.h>

static int open_device(int number)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/loop%d", number);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* Closes @fd, and returns -1 with the errno of the call before. */
static int fail(int fd)
{
	int err = errno;

	close(fd);
	errno = err;
	return -1;
}

/*
 * Attaches @file to a free device, in one step. While the lease is open nobody
 * else gets that device, unless somebody detaches it.
 * Returns the open device, or -1 with errno.
 */
static int attach(int control, int file, int *number, int *lease)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a),
		.attach_flags = LOOP_ATTACH_LEASE,
		.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
		.index = -1,
		.fd = file,
	};
	int device;

	if (ioctl(control, LOOP_CTL_ATTACH, &a))
		return -1;
	device = open_device(a.out_index);
	if (device < 0)
		return fail(a.out_lease);
	*number = a.out_index;
	*lease = a.out_lease;
	return device;
}

/* Does the same with three calls. Another program may take the device between them. */
static int attach_once(int control, int file, int *number)
{
	struct loop_config config = {
		.fd = file,
		.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};
	int device;

	*number = ioctl(control, LOOP_CTL_GET_FREE);
	if (*number < 0)
		return -1;
	device = open_device(*number);
	if (device < 0)
		return -1;
	return ioctl(device, LOOP_CONFIGURE, &config) ? fail(device) : device;
}

/*
 * Tries again after errors that do not last: EBUSY, as another program has attached
 * a file to the device; ENXIO, as the device is being detached or has been
 * removed; ENOENT, as udev has not made the node yet.
 */
static int attach_racing(int control, int file, int *number)
{
	int device, tries;

	for (tries = 0; tries < 500; tries++) {
		device = attach_once(control, file, number);
		if (device >= 0 ||
		    (errno != EBUSY && errno != ENXIO && errno != ENOENT))
			return device;
		usleep(10000);
	}
	return -1;
}

static int copy(int from, int to)
{
	static char buf[1 << 16];
	ssize_t len, done, part;

	while ((len = read(from, buf, sizeof(buf))) > 0) {
		for (done = 0; done < len; done += part) {
			part = write(to, buf + done, len - done);
			if (part < 0)
				return -1;
		}
	}
	return len;
}

int main(int argc, char **argv)
{
	int control, file, device, number, lease = -1;
	const char *how = "LOOP_CTL_ATTACH";

	if (argc != 2) {
		fprintf(stderr, "usage: %s FILE\n", argv[0]);
		return 2;
	}
	file = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		perror(argv[1]);
		return 1;
	}
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0) {
		perror("/dev/loop-control");
		return 1;
	}
	device = attach(control, file, &number, &lease);
	if (device < 0 && errno == ENOSYS) {
		how = "LOOP_CONFIGURE";
		device = attach_racing(control, file, &number);
	}
	if (device < 0) {
		fprintf(stderr, "%s: %s: %s\n", argv[1], how, strerror(errno));
		return 1;
	}
	fprintf(stderr, "%s is loop%d, by %s\n", argv[1], number, how);
	if (copy(device, STDOUT_FILENO)) {
		perror("copy");
		return 1;
	}
	/* The last close() detaches the device and releases the file. */
	close(device);
	if (lease >= 0)
		close(lease);
	return 0;
}
