// SPDX-License-Identifier: GPL-2.0
/* "loopctl detach" and "loopctl wait": the ends of an attachment */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "loopctl.h"

/* detach */

static const char detach_help[] =
"usage: loopctl detach [OPTION]... DEVICE...\n"
"\n"
"Detaches each DEVICE that no program has open.  When loopctl ends, the driver\n"
"has released the files.\n"
"\n"
"  -w, --wait             wait until no program has DEVICE open\n"
"  -t, --timeout SECONDS  wait no longer for each DEVICE; implies --wait\n"
"  -q, --diskseq NUMBER   detach only the file with this sequence number\n"
"  -h, --help             print this text\n";

static const struct option detach_options[] = {
	{ "wait", no_argument, NULL, 'w' },
	{ "timeout", required_argument, NULL, 't' },
	{ "diskseq", required_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static enum status detach(int control, const struct loop_ctl_detach *wanted,
			  const char *name)
{
	struct loop_ctl_detach d = *wanted;
	unsigned int index;

	if (!parse_device(name, &index))
		return wrong("no such device name", name);
	d.index = index;
	/* After a signal, @d has the rest of the timeout. */
	while (ioctl(control, LOOP_CTL_DETACH, &d))
		if (errno != EINTR)
			return failed(name, "LOOP_CTL_DETACH");
	return STATUS_OK;
}

int cmd_detach(int argc, char **argv)
{
	struct loop_ctl_detach d = { .size = sizeof(d) };
	unsigned long long value, timeout = NO_LIMIT;
	enum status status, first = STATUS_OK;
	int opt, control;

	while ((opt = getopt_long(argc, argv, "wt:q:h", detach_options,
				  NULL)) != -1) {
		switch (opt) {
		case 'h':
			return help(detach_help);
		case 't':
			if (!parse_seconds(optarg, &timeout))
				return wrong("not a number of seconds", optarg);
			d.flags = LOOP_DETACH_WAIT;
			break;
		case 'w':
			d.flags = LOOP_DETACH_WAIT;
			break;
		case 'q':
			if (!parse_bytes(optarg, &value) || !value)
				return wrong("not a sequence number", optarg);
			d.diskseq = value;
			break;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind == argc)
		return wrong("detach", "no DEVICE given");
	if (d.flags)
		d.timeout = timeout;
	control = open_control(O_RDWR);
	if (control < 0)
		return STATUS_FAILED;
	for (; optind < argc; optind++) {
		status = detach(control, &d, argv[optind]);
		if (first == STATUS_OK)
			first = status;
	}
	return first;
}

/* wait */

static const char wait_help[] =
"usage: loopctl wait [OPTION]... DEVICE\n"
"\n"
"Waits until any program detaches the file that DEVICE has now.\n"
"\n"
"  -t, --timeout SECONDS  wait no longer\n"
"  -h, --help             print this text\n";

static const struct option wait_options[] = {
	{ "timeout", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* The sequence number is 0 if the device has no file or is not there. */
static enum status attached_as(int control, unsigned int index, __u64 *diskseq)
{
	struct loop_ctl_entry e;
	enum status status;
	bool found;

	status = read_entry(control, index, LOOP_LIST_BOUND, &e, &found);
	*diskseq = status == STATUS_OK && found ? e.diskseq : 0;
	return status;
}

int cmd_wait(int argc, char **argv)
{
	unsigned long long timeout = NO_LIMIT, start, waited;
	unsigned int index, step = 1000;
	__u64 diskseq, current;
	int opt, control;

	while ((opt = getopt_long(argc, argv, "t:h", wait_options, NULL)) !=
	       -1) {
		if (opt == 'h')
			return help(wait_help);
		if (opt != 't')
			return STATUS_USAGE;
		if (!parse_seconds(optarg, &timeout))
			return wrong("not a number of seconds", optarg);
	}
	if (optind + 1 != argc)
		return wrong("wait", "takes one DEVICE");
	if (!parse_device(argv[optind], &index))
		return wrong("no such device name", argv[optind]);
	control = open_control(O_RDONLY);
	if (control < 0 || attached_as(control, index, &diskseq))
		return STATUS_FAILED;
	/* No ioctl waits without detaching, so this looks again and again. */
	for (start = now(); ; step += step < 100000 ? step / 2 : 0) {
		if (attached_as(control, index, &current))
			return STATUS_FAILED;
		if (!current || current != diskseq)
			return STATUS_OK;
		waited = now() - start;
		if (waited >= timeout)
			return STATUS_TIMEOUT;
		if (step > (timeout - waited) / 1000)
			step = (timeout - waited) / 1000 + 1;
		usleep(step);
	}
}
