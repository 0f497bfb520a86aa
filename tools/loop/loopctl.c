// SPDX-License-Identifier: GPL-2.0
/*
 * loopctl attaches, detaches, lists and watches loop devices, and waits for
 * them.  It uses the ioctls LOOP_CTL_ATTACH, LOOP_CTL_DETACH and LOOP_CTL_LIST
 * of /dev/loop-control, and reads paths and counters from sysfs.  loopctl(8)
 * and ioctl_loop_control(2) describe both.
 *
 * This file has main(), messages and the parsing of arguments.  Each command is
 * in the file of its name, except announce in attach.c, show and find in list.c,
 * and wait in detach.c.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loopctl.h"

/* Messages */

/* Reports errno, and returns the status that it stands for. */
enum status failed(const char *what, const char *call)
{
	int err = errno;

	warn("%s: %s", what, call);
	switch (err) {
	case EBUSY:
		return STATUS_BUSY;
	case ETIMEDOUT:
		return STATUS_TIMEOUT;
	default:
		return STATUS_FAILED;
	}
}

enum status wrong(const char *what, const char *value)
{
	warnx("%s: %s", what, value);
	return STATUS_USAGE;
}

int help(const char *text)
{
	fputs(text, stdout);
	return STATUS_OK;
}

/* Arguments */

/* Parses a number of bytes; K, M, G and T stand for powers of 1024. */
bool parse_bytes(const char *text, unsigned long long *bytes)
{
	static const char units[] = "KMGT";
	unsigned int shift = 0;
	const char *unit;
	char *end;

	errno = 0;
	*bytes = strtoull(text, &end, 0);
	if (errno || end == text || *text == '-')
		return false;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return false;
		shift = 10 * (unit - units + 1);
	}
	if (*bytes > ULLONG_MAX >> shift)
		return false;
	*bytes <<= shift;
	return true;
}

/* Parses seconds, which may have a fraction; the result is in nanoseconds. */
bool parse_seconds(const char *text, unsigned long long *ns)
{
	double seconds;
	char *end;

	seconds = strtod(text, &end);
	if (end == text || *end || isnan(seconds) || seconds < 0)
		return false;
	/* The kernel takes so long a time for no limit. */
	if (seconds * NSEC_PER_SEC >= (double)(NO_LIMIT / 2))
		*ns = NO_LIMIT;
	else
		*ns = seconds * NSEC_PER_SEC;
	return true;
}

/* Parses the name of a device: "/dev/loop7", "loop7" or "7". */
bool parse_device(const char *text, unsigned int *index)
{
	unsigned long value;
	char *end;

	if (!strncmp(text, "/dev/", 5))
		text += 5;
	if (!strncmp(text, "loop", 4))
		text += 4;
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value > INT_MAX)
		return false;
	*index = value;
	return true;
}

unsigned long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static const char main_help[] =
"usage: loopctl COMMAND [ARGUMENT]...\n"
"\n"
"  attach FILE    attach FILE to a loop device, print the device\n"
"  announce       let others know of a device that \"attach --hold\" holds back\n"
"  detach DEVICE  detach DEVICE\n"
"  list           list devices\n"
"  show DEVICE    print everything about DEVICE\n"
"  stat           print the rates of the devices' I/O\n"
"  find FILE      print the devices that FILE is attached to\n"
"  wait DEVICE    wait until DEVICE is detached\n"
"\n"
"\"loopctl COMMAND --help\" explains each.  DEVICE is /dev/loopN, loopN or N.\n"
"\n"
"exit status: 0 done, 1 failed, 2 wrong usage, 3 in use by another program,\n"
"4 timed out\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "attach", cmd_attach },
	{ "announce", cmd_announce },
	{ "detach", cmd_detach },
	{ "list", cmd_list },
	{ "show", cmd_show },
	{ "stat", cmd_stat },
	{ "find", cmd_find },
	{ "wait", cmd_wait },
};

int main(int argc, char **argv)
{
	unsigned int i;
	int status, fd;

	/* No file gets the number of a standard stream that is closed. */
	do {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	/* libsmartcols needs to know which characters can be printed. */
	setlocale(LC_CTYPE, "");
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		return help(main_help);
	for (i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		status = commands[i].run(argc - 1, argv + 1);
		if (fflush(stdout) || ferror(stdout)) {
			failed("standard output", "write");
			return STATUS_FAILED;
		}
		return status;
	}
	fputs(main_help, stderr);
	return STATUS_USAGE;
}
