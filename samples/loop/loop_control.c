// SPDX-License-Identifier: GPL-2.0
/*
 * This program attaches a file to a free loop device, and detaches a device. It uses only
 * ioctls of /dev/loop-control and /dev/loopN that all loop drivers have.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/loop.h>

#define CONTROL "/dev/loop-control"

/* Another program may take the device that was found free. Then this looks for another. */
#define ATTEMPTS 64

/* udev may make the node of a new device a moment later than the kernel. */
#define NODE_WAIT_MS 5000
#define NODE_STEP_MS 10

enum status {
	STATUS_OK,
	STATUS_FAILED,
	STATUS_USAGE,
	STATUS_NO_DEVICE,	/* others were faster each time */
};

static const char *program;

/* Prints what failed on @path, and why. */
static void complain(const char *path, const char *call)
{
	fprintf(stderr, "%s: %s: %s: %s\n", program, path, call,
		strerror(errno));
}

static enum status explain(void)
{
	fprintf(stderr,
		"usage: %s [-r] FILE      attach FILE, print the device\n"
		"       %s -d DEVICE      detach DEVICE\n"
		"\n"
		"  -r  read-only\n"
		"\n"
		"exit status: 0 done, 1 failed, 2 wrong usage, 3 no free device could be had\n",
		program, program);
	return STATUS_USAGE;
}

/* Returns the number of a device that has no file now, or -1. */
static int find_free(int control)
{
	int number = ioctl(control, LOOP_CTL_GET_FREE);

	if (number < 0)
		complain(CONTROL, "LOOP_CTL_GET_FREE");
	return number;
}

static int open_device(const char *path, int flags)
{
	int fd, waited;

	for (waited = 0; ; waited += NODE_STEP_MS) {
		fd = open(path, flags | O_CLOEXEC);
		if (fd >= 0 || errno != ENOENT || waited >= NODE_WAIT_MS)
			return fd;
		usleep(NODE_STEP_MS * 1000);
	}
}

/* Returns true if another program took the device after it was found. */
static bool lost_race(int err)
{
	return err == EBUSY ||	/* has a file, or is held exclusively */
	       err == ENXIO;	/* is being detached, or was removed */
}

static enum status attach_once(int control, int file, int flags, bool *again)
{
	char path[32];
	int number, device;

	*again = false;
	number = find_free(control);
	if (number < 0)
		return STATUS_FAILED;
	snprintf(path, sizeof(path), "/dev/loop%d", number);

	device = open_device(path, flags);
	if (device < 0) {
		*again = lost_race(errno);
		if (!*again)
			complain(path, "open");
		return STATUS_FAILED;
	}
	if (ioctl(device, LOOP_SET_FD, file)) {
		*again = lost_race(errno);
		if (!*again)
			complain(path, "LOOP_SET_FD");
		close(device);
		return STATUS_FAILED;
	}
	/* The file stays attached when the device is closed. */
	close(device);
	printf("%s\n", path);
	return STATUS_OK;
}

static enum status attach_file(const char *name, bool read_only)
{
	int flags = read_only ? O_RDONLY : O_RDWR;
	enum status status = STATUS_FAILED;
	int control, file, i;
	bool again = true;

	file = open(name, flags | O_CLOEXEC);
	if (file < 0) {
		complain(name, "open");
		return STATUS_FAILED;
	}
	control = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (control < 0) {
		complain(CONTROL, "open");
		close(file);
		return STATUS_FAILED;
	}
	for (i = 0; i < ATTEMPTS && again; i++)
		status = attach_once(control, file, flags, &again);
	if (again) {
		fprintf(stderr, "%s: others took %d free devices, or have the file exclusively\n",
			program, ATTEMPTS);
		status = STATUS_NO_DEVICE;
	}
	close(control);
	close(file);
	return status;
}

static enum status detach_device(const char *path)
{
	enum status status = STATUS_OK;
	int device = open(path, O_RDONLY | O_CLOEXEC);

	if (device < 0) {
		complain(path, "open");
		return STATUS_FAILED;
	}
	if (ioctl(device, LOOP_CLR_FD)) {
		if (errno == ENXIO)
			fprintf(stderr, "%s: %s: not attached\n", program, path);
		else
			complain(path, "LOOP_CLR_FD");
		status = STATUS_FAILED;
	}
	/* If no other program has it open, this close() releases the file. */
	close(device);
	return status;
}

int main(int argc, char **argv)
{
	const char *device = NULL;
	bool read_only = false;
	int opt;

	program = argv[0];
	while ((opt = getopt(argc, argv, "d:r")) != -1) {
		switch (opt) {
		case 'd':
			device = optarg;
			break;
		case 'r':
			read_only = true;
			break;
		default:
			return explain();
		}
	}
	if (device)
		return optind == argc && !read_only ? detach_device(device) :
						      explain();
	if (optind != argc - 1)
		return explain();
	return attach_file(argv[optind], read_only);
}
