// SPDX-License-Identifier: GPL-2.0
/* "loopctl attach": one LOOP_CTL_ATTACH, and COMMAND with the device open */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "loopctl.h"

static const char attach_help[] =
"usage: loopctl attach [OPTION]... FILE [-- COMMAND [ARGUMENT]...]\n"
"\n"
"Attaches FILE to a loop device and prints its name.  With COMMAND, nothing is\n"
"printed, and the device is detached when COMMAND has ended: COMMAND inherits\n"
"the open device as the file descriptor $LOOP_FD and its name as $LOOP_DEVICE.\n"
"\n"
"  -i, --index DEVICE      use this device, and add it if it is not there\n"
"  -o, --offset BYTES      start of the data in FILE\n"
"  -s, --sizelimit BYTES   size of the device, if FILE is larger\n"
"  -b, --block-size BYTES  logical block size\n"
"  -n, --name TEXT         a name of up to 63 bytes\n"
"  -r, --read-only         do not write to FILE or to the device\n"
"  -P, --partscan          read the partition table\n"
"  -D, --direct-io         bypass the page cache of FILE\n"
"  -A, --direct-aligned    bypass it where FILE allows, with any block size\n"
"  -S, --strict            fail if one of the above is not possible\n"
"  -X, --exclusive         fail if another device has the same part of FILE\n"
"  -E, --ephemeral         remove the device when it is detached\n"
"  -h, --help              print this text\n";

static const struct option attach_options[] = {
	{ "index", required_argument, NULL, 'i' },
	{ "offset", required_argument, NULL, 'o' },
	{ "sizelimit", required_argument, NULL, 's' },
	{ "block-size", required_argument, NULL, 'b' },
	{ "name", required_argument, NULL, 'n' },
	{ "read-only", no_argument, NULL, 'r' },
	{ "partscan", no_argument, NULL, 'P' },
	{ "direct-io", no_argument, NULL, 'D' },
	{ "direct-aligned", no_argument, NULL, 'A' },
	{ "strict", no_argument, NULL, 'S' },
	{ "exclusive", no_argument, NULL, 'X' },
	{ "ephemeral", no_argument, NULL, 'E' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* Takes an option that has a value. */
static enum status attach_value(struct loop_ctl_attach *a, int opt)
{
	unsigned long long bytes;
	unsigned int index;

	switch (opt) {
	case 'i':
		if (!parse_device(optarg, &index))
			return wrong("no such device name", optarg);
		a->index = index;
		return STATUS_OK;
	case 'n':
		if (strlen(optarg) >= LO_NAME_SIZE)
			return wrong("name longer than 63 bytes", optarg);
		memcpy(a->name, optarg, strlen(optarg));
		return STATUS_OK;
	}
	if (!parse_bytes(optarg, &bytes))
		return wrong("not a number of bytes", optarg);
	if (opt == 'o') {
		a->offset = bytes;
	} else if (opt == 's') {
		a->sizelimit = bytes;
	} else {
		if (bytes > UINT_MAX)
			return wrong("not a block size", optarg);
		a->block_size = bytes;
	}
	return STATUS_OK;
}

/* Takes an option that has no value; returns false if there is none like it. */
static bool attach_flag(struct loop_ctl_attach *a, int opt)
{
	switch (opt) {
	case 'r':
		a->lo_flags |= LO_FLAGS_READ_ONLY;
		return true;
	case 'P':
		a->lo_flags |= LO_FLAGS_PARTSCAN;
		return true;
	case 'D':
		a->lo_flags |= LO_FLAGS_DIRECT_IO;
		return true;
	case 'A':
		a->attach_flags |= LOOP_ATTACH_DIRECT_ALIGNED;
		return true;
	case 'S':
		a->attach_flags |= LOOP_ATTACH_STRICT;
		return true;
	case 'X':
		a->attach_flags |= LOOP_ATTACH_EXCLUSIVE;
		return true;
	case 'E':
		a->attach_flags |= LOOP_ATTACH_EPHEMERAL;
		return true;
	default:
		return false;
	}
}

/* The file descriptor keeps the device attached, so COMMAND inherits it. */
static enum status run(const struct loop_ctl_attach *a, char **command)
{
	char text[32];
	bool found;

	if (fcntl(a->device_fd, F_SETFD, 0))
		return failed(command[0], "F_SETFD");
	snprintf(text, sizeof(text), "%d", a->device_fd);
	setenv("LOOP_FD", text, 1);
	snprintf(text, sizeof(text), "/dev/loop%d", a->index);
	setenv("LOOP_DEVICE", text, 1);
	execvp(command[0], command);
	found = errno != ENOENT;
	failed(command[0], "exec");
	return found ? STATUS_NOT_RUN : STATUS_NOT_FOUND;
}

static enum status attach(struct loop_ctl_attach *a, const char *file,
			  char **command)
{
	int control, wanted = a->index;

	a->fd = open(file, (a->lo_flags & LO_FLAGS_READ_ONLY ? O_RDONLY :
							       O_RDWR) |
		     O_CLOEXEC);
	if (a->fd < 0)
		return failed(file, "open");
	control = open_control(O_RDWR);
	if (control < 0)
		return STATUS_FAILED;
	if (command)
		a->lo_flags |= LO_FLAGS_AUTOCLEAR;
	else
		a->attach_flags |= LOOP_ATTACH_NO_FD;
	if (ioctl(control, LOOP_CTL_ATTACH, a)) {
		if (errno != EBUSY || a->index < 0)
			return failed(file, "LOOP_CTL_ATTACH");
		if (a->index == wanted)
			warnx("/dev/loop%d is in use", a->index);
		else
			warnx("%s: attached to /dev/loop%d", file, a->index);
		return STATUS_BUSY;
	}
	if (command)
		return run(a, command);
	printf("/dev/loop%d\n", a->index);
	return STATUS_OK;
}

int cmd_attach(int argc, char **argv)
{
	struct loop_ctl_attach a = { .size = sizeof(a), .index = -1 };
	enum status status;
	char **command = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "+i:o:s:b:n:rPDASXEh",
				  attach_options, NULL)) != -1) {
		if (opt == 'h')
			return help(attach_help);
		if (opt == '?')
			return STATUS_USAGE;
		if (attach_flag(&a, opt))
			continue;
		status = attach_value(&a, opt);
		if (status != STATUS_OK)
			return status;
	}
	if (optind == argc)
		return wrong("attach", "no FILE given");
	if (optind + 1 < argc) {
		if (strcmp(argv[optind + 1], "--") || optind + 2 == argc)
			return wrong("attach", "\"--\" and COMMAND, or nothing, come after FILE");
		command = argv + optind + 2;
	}
	return attach(&a, argv[optind], command);
}
