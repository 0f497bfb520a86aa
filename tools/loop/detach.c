// SPDX-License-Identifier: GPL-2.0
/* "loopctl detach" and "loopctl wait" end an attachment, or wait for its end. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sys/ioctl.h>

#include "loopctl.h"

/* How long --force waits for I/O on the file that may never end */
#define FORCE_SECONDS 5

/* The request for each device. The structure's deadline is set at the device's turn. */
struct request {
	struct loop_ctl_detach d;
	unsigned long long timeout;
	int control;
};

static unsigned long long deadline(unsigned long long timeout)
{
	return timeout == NO_LIMIT ? NO_LIMIT : now() + timeout;
}

/* Makes the call again after a signal; the deadline stays what it is. */
int detach_ioctl(int control, struct loop_ctl_detach *d)
{
	int ret;

	do {
		d->out_pending = 0;
		ret = ioctl(control, LOOP_CTL_DETACH, d);
	} while (ret && errno == EINTR);
	return ret;
}

/*
 * The sequence number is 0 if there is no such device. A device that is being detached
 * counts, which LOOP_LIST_ATTACHED would leave out.
 */
static enum status read_diskseq(int control, unsigned int index, __u64 *diskseq)
{
	struct loop_ctl_entry e;
	enum status status;
	bool found;

	status = read_entry(control, index, 0, &e, &found);
	*diskseq = status == STATUS_OK && found ? e.diskseq : 0;
	return status;
}

/* detach */

static const char detach_help[] =
"usage: loopctl detach [OPTION]... DEVICE...\n"
"\n"
"Detaches each DEVICE that no program has open.  When loopctl ends, the driver\n"
"has released the files.\n"
"\n"
"  -w, --wait             wait until no program has DEVICE open\n"
"  -l, --lazy             if a program has DEVICE open, detach it when it is\n"
"                         closed\n"
"  -f, --force            detach it even if programs have it open: their I/O\n"
"                         fails from then on; wait for up to 5 seconds until the\n"
"                         file is released\n"
"  -t, --timeout SECONDS  wait no longer for each DEVICE; without --force, it\n"
"                         implies --wait\n"
"  -q, --diskseq NUMBER   detach only the file with this sequence number\n"
"  -a, --any              detach any file that DEVICE has, also one that was\n"
"                         attached after loopctl looked at DEVICE\n"
"  -h, --help             print this text\n";

static const struct option detach_options[] = {
	{ "wait", no_argument, NULL, 'w' },
	{ "lazy", no_argument, NULL, 'l' },
	{ "force", no_argument, NULL, 'f' },
	{ "timeout", required_argument, NULL, 't' },
	{ "diskseq", required_argument, NULL, 'q' },
	{ "any", no_argument, NULL, 'a' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* Tells what is left to be done after the call has succeeded. */
static enum status report_pending(const struct request *r,
				  const struct loop_ctl_detach *d,
				  const char *name)
{
	if (d->out_pending & LOOP_PENDING_OPEN) {
		if (d->mode == LOOP_DETACH_LAZY)
			warnx("%s: is detached when it is closed", name);
		else
			warnx("%s: is detached, and stays dead until it is closed",
			      name);
		holders_report(r->control, d->index);
	}
	if (d->mode != LOOP_DETACH_FORCE ||
	    !(d->out_pending & LOOP_PENDING_FILE))
		return STATUS_OK;
	warnx("%s: is detached, but its file is not released yet", name);
	return STATUS_TIMEOUT;
}

static enum status detach(const struct request *r, const char *name)
{
	struct loop_ctl_detach d = r->d;
	enum status status;
	unsigned int index;
	int err;

	if (!parse_device(name, &index))
		return wrong("no such device name", name);
	d.index = index;
	if (!d.diskseq && !(d.flags & LOOP_DETACH_ANY)) {
		status = read_diskseq(r->control, index, &d.diskseq);
		if (status != STATUS_OK)
			return status;
		if (!d.diskseq) {
			errno = ENODEV;
			return failed(name, "LOOP_CTL_LIST");
		}
	}
	if (d.mode == LOOP_DETACH_WAIT || d.mode == LOOP_DETACH_FORCE)
		d.deadline = deadline(r->timeout);
	if (!detach_ioctl(r->control, &d))
		return report_pending(r, &d, name);
	err = errno;
	status = failed(name, "LOOP_CTL_DETACH");
	if (err == EBUSY || err == ETIMEDOUT)
		holders_report(r->control, index);
	return status;
}

/* Sets the mode; two different ones are an error. */
static enum status set_mode(struct request *r, __u32 mode)
{
	if (r->d.mode != LOOP_DETACH_NOW && r->d.mode != mode)
		return wrong("detach", "--wait, --lazy and --force are mutually exclusive");
	r->d.mode = mode;
	return STATUS_OK;
}

static enum status detach_option(struct request *r, int opt)
{
	unsigned long long value;

	switch (opt) {
	case 'w':
		return set_mode(r, LOOP_DETACH_WAIT);
	case 'l':
		return set_mode(r, LOOP_DETACH_LAZY);
	case 'f':
		return set_mode(r, LOOP_DETACH_FORCE);
	case 't':
		if (!parse_seconds(optarg, &r->timeout))
			return wrong("not a number of seconds", optarg);
		return STATUS_OK;
	case 'q':
		if (!parse_bytes(optarg, &value) || !value)
			return wrong("not a sequence number", optarg);
		r->d.diskseq = value;
		return STATUS_OK;
	case 'a':
		r->d.flags |= LOOP_DETACH_ANY;
		return STATUS_OK;
	default:
		return STATUS_USAGE;
	}
}

int cmd_detach(int argc, char **argv)
{
	struct request r = { .d.size = sizeof(r.d), .timeout = NO_LIMIT };
	enum status status, first = STATUS_OK;
	int opt;

	while ((opt = getopt_long(argc, argv, "wlft:q:ah", detach_options,
				  NULL)) != -1) {
		if (opt == 'h')
			return help(detach_help);
		status = detach_option(&r, opt);
		if (status != STATUS_OK)
			return status;
	}
	if (optind == argc)
		return wrong("detach", "no DEVICE given");
	if (r.d.diskseq && r.d.flags)
		return wrong("--any and --diskseq", "mutually exclusive");
	if (r.timeout != NO_LIMIT && r.d.mode == LOOP_DETACH_LAZY)
		return wrong("--lazy and --timeout", "mutually exclusive");
	if (r.timeout != NO_LIMIT && r.d.mode == LOOP_DETACH_NOW)
		r.d.mode = LOOP_DETACH_WAIT;
	if (r.timeout == NO_LIMIT && r.d.mode == LOOP_DETACH_FORCE)
		r.timeout = FORCE_SECONDS * NSEC_PER_SEC;
	r.control = open_control(O_RDWR);
	if (r.control < 0)
		return STATUS_FAILED;
	for (; optind < argc; optind++) {
		status = detach(&r, argv[optind]);
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

static enum status watch(int control, unsigned int index,
			 unsigned long long timeout)
{
	struct loop_ctl_detach d = {
		.size = sizeof(d),
		.mode = LOOP_DETACH_WATCH,
		.index = index,
		.deadline = deadline(timeout),
	};
	enum status status;

	status = read_diskseq(control, index, &d.diskseq);
	if (status != STATUS_OK || !d.diskseq)
		return status;
	if (!detach_ioctl(control, &d))
		return STATUS_OK;
	switch (errno) {
	case ENODEV:
	case ENXIO:
	case ESTALE:
		return STATUS_OK;
	case ETIMEDOUT:
		return STATUS_TIMEOUT;
	default:
		return failed(CONTROL, "LOOP_CTL_DETACH");
	}
}

int cmd_wait(int argc, char **argv)
{
	unsigned long long timeout = NO_LIMIT;
	unsigned int index;
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
	control = open_control(O_RDWR);
	return control < 0 ? STATUS_FAILED : watch(control, index, timeout);
}
