// SPDX-License-Identifier: GPL-2.0
/*
 * Reads a file through a loop device: binds it, copies what is on the device to
 * stdout, and unbinds it by closing it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/loop.h>

/*
 * Binds @file to a free device, in one step. Returns a file descriptor of the
 * device, whose number is then in @number, or -1 with errno.
 */
static int attach(int control, int file, int *number)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a),
		.attach_flags = LOOP_ATTACH_STRICT | LOOP_ATTACH_EPHEMERAL,
		.index = -1,
		.fd = file,
		.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};

	if (ioctl(control, LOOP_CTL_ATTACH, &a))
		return -1;
	*number = a.index;
	return a.device_fd;
}

/* The same with a device that somebody else may take before it is bound. */
static int attach_once(int control, int file, int *number)
{
	struct loop_config config = {
		.fd = file,
		.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};
	char path[32];
	int device, err;

	*number = ioctl(control, LOOP_CTL_GET_FREE);
	if (*number < 0)
		return -1;
	snprintf(path, sizeof(path), "/dev/loop%d", *number);
	device = open(path, O_RDONLY | O_CLOEXEC);
	if (device < 0)
		return -1;
	if (!ioctl(device, LOOP_CONFIGURE, &config))
		return device;
	err = errno;
	close(device);
	errno = err;
	return -1;
}

/*
 * Each error here is one that goes away: EBUSY, as another program has bound
 * the device; ENXIO, as it is being unbound or has been removed; ENOENT, as udev
 * has not made the node yet.
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
	int control, file, device, number;
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
	device = attach(control, file, &number);
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
	close(device);
	return 0;
}
