// SPDX-License-Identifier: GPL-2.0
/*
 * "loopctl attach" calls LOOP_CTL_ATTACH once, and runs COMMAND, which inherits the
 * lease. COMMAND can run "loopctl announce".
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "loopctl.h"

static const char attach_help[] =
"usage: loopctl attach [OPTION]... FILE [-- COMMAND [ARGUMENT]...]\n"
"\n"
"Attaches FILE to a loop device and prints its name.  With COMMAND, nothing is\n"
"printed, and the device is detached when COMMAND has ended: COMMAND inherits\n"
"the lease of the device as the file descriptor $LOOP_LEASE, and has the name of\n"
"the device in $LOOP_DEVICE.\n"
"\n"
"  -i, --index DEVICE      use this device, and add it if it is not there\n"
"  -o, --offset BYTES      start of the data in FILE\n"
"  -s, --sizelimit BYTES   size of the device, if FILE is larger\n"
"  -b, --block-size BYTES  logical block size; \"auto\": that of the GPT in FILE\n"
"  -n, --name TEXT         a name of up to 63 bytes\n"
"  -r, --read-only         do not write to FILE or to the device\n"
"  -P, --partscan          read the partition table\n"
"  -D, --direct-io         bypass the page cache of FILE\n"
"  -A, --direct-aligned    bypass it where FILE allows, with any block size\n"
"  -U, --uncached          use the page cache of FILE, and leave nothing in it\n"
"  -I, --internal          let desktops ignore the device\n"
"  -X, --exclusive         no other device has the same part of FILE\n"
"  -E, --ephemeral         use a new device, and remove it when it is detached\n"
"      --no-discard        make no holes in FILE\n"
"      --no-inline         let workers of the driver do all I/O\n"
"  -R, --require LIST      fail unless these conditions are met: direct-io,\n"
"                          direct-align, write, sizelimit, discard, block-size,\n"
"                          uncached\n"
"  -S, --strict            require the first four of them\n"
"  -H, --hold              let others know of the device only when COMMAND runs\n"
"                          \"loopctl announce\"\n"
"  -L, --lock MODE         with COMMAND: lock the device for as long as it runs,\n"
"                          \"shared\" or \"exclusive\", before others know of it\n"
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
	{ "uncached", no_argument, NULL, 'U' },
	{ "internal", no_argument, NULL, 'I' },
	{ "exclusive", no_argument, NULL, 'X' },
	{ "ephemeral", no_argument, NULL, 'E' },
	{ "no-discard", no_argument, NULL, OPT_NO_DISCARD },
	{ "no-inline", no_argument, NULL, OPT_NO_INLINE },
	{ "require", required_argument, NULL, 'R' },
	{ "strict", no_argument, NULL, 'S' },
	{ "hold", no_argument, NULL, 'H' },
	{ "lock", required_argument, NULL, 'L' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* The flags that the options without a value set */
static const struct {
	int opt;
	__u32 lo_flags, attach_flags, require;
} attach_flags[] = {
	{ 'r', LO_FLAGS_READ_ONLY, 0, 0 },
	{ 'P', LO_FLAGS_PARTSCAN, 0, 0 },
	{ 'D', LO_FLAGS_DIRECT_IO, 0, 0 },
	{ 'A', 0, LOOP_ATTACH_DIRECT_ALIGNED, 0 },
	{ 'U', 0, LOOP_ATTACH_UNCACHED, 0 },
	{ 'I', 0, LOOP_ATTACH_INTERNAL, 0 },
	{ 'X', 0, LOOP_ATTACH_EXCLUSIVE, 0 },
	{ 'E', 0, LOOP_ATTACH_EPHEMERAL, 0 },
	{ 'H', 0, LOOP_ATTACH_HOLD, 0 },
	{ OPT_NO_DISCARD, 0, LOOP_ATTACH_NO_DISCARD, 0 },
	{ OPT_NO_INLINE, 0, LOOP_ATTACH_NO_INLINE, 0 },
	{ 'S', 0, 0, LOOP_COND_DIRECT_IO | LOOP_COND_DIRECT_ALIGN |
		     LOOP_COND_WRITE | LOOP_COND_SIZELIMIT },
};

/* The arguments: the structure, and the members that it does not have */
struct request {
	struct loop_ctl_attach a;
	const char *file;
	char **command;
	bool gpt_block_size;
	int lock;		/* LOCK_SH, LOCK_EX or 0 */
};

/* Returns true if @word is @text; "-" and "_" are the same. */
static bool is_word(const char *word, const char *text, size_t len)
{
	size_t i;

	if (strlen(word) != len)
		return false;
	for (i = 0; i < len; i++)
		if (text[i] != word[i] && (word[i] != '_' || text[i] != '-'))
			return false;
	return true;
}

static enum status require(struct loop_ctl_attach *a, const char *list)
{
	const struct word *w, *end = condition_words + NR_CONDITIONS;
	size_t len;

	for (;; list += len + 1) {
		len = strcspn(list, ",");
		for (w = condition_words; w < end; w++)
			if (is_word(w->word, list, len))
				break;
		if (w == end)
			return wrong("no such condition", list);
		a->require |= w->bit;
		if (!list[len])
			return STATUS_OK;
	}
}

static enum status attach_number(struct request *r, int opt)
{
	unsigned long long bytes;

	if (opt == 'b' && !strcmp(optarg, "auto")) {
		r->gpt_block_size = true;
		return STATUS_OK;
	}
	if (!parse_bytes(optarg, &bytes))
		return wrong("not a number of bytes", optarg);
	if (opt == 'o') {
		r->a.offset = bytes;
	} else if (opt == 's') {
		r->a.sizelimit = bytes;
	} else {
		if (bytes > UINT_MAX)
			return wrong("not a block size", optarg);
		r->a.block_size = bytes;
		r->gpt_block_size = false;
	}
	return STATUS_OK;
}

/* Takes an option that has a value. */
static enum status attach_value(struct request *r, int opt)
{
	unsigned int index;

	switch (opt) {
	case 'i':
		if (!parse_device(optarg, &index))
			return wrong("no such device name", optarg);
		r->a.index = index;
		return STATUS_OK;
	case 'n':
		if (strlen(optarg) >= LO_NAME_SIZE)
			return wrong("name longer than 63 bytes", optarg);
		memset(r->a.name, 0, sizeof(r->a.name));
		memcpy(r->a.name, optarg, strlen(optarg));
		return STATUS_OK;
	case 'R':
		return require(&r->a, optarg);
	case 'L':
		r->lock = !strcmp(optarg, "shared") ? LOCK_SH :
			  !strcmp(optarg, "exclusive") ? LOCK_EX : 0;
		return r->lock ? STATUS_OK : wrong("no such lock", optarg);
	default:
		return attach_number(r, opt);
	}
}

/* Takes an option that has no value; returns false if there is none like it. */
static bool attach_flag(struct loop_ctl_attach *a, int opt)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(attach_flags); i++) {
		if (attach_flags[i].opt != opt)
			continue;
		a->lo_flags |= attach_flags[i].lo_flags;
		a->attach_flags |= attach_flags[i].attach_flags;
		a->require |= attach_flags[i].require;
		return true;
	}
	return false;
}

/* Tells why LOOP_CTL_ATTACH has failed. */
static enum status attach_failed(const struct request *r)
{
	const struct loop_ctl_attach *a = &r->a;
	const struct word *w = condition_words;
	int err = errno;

	if (err == EBUSY && a->out_busy >= 0) {
		if (a->out_busy == a->index)
			warnx("/dev/loop%d is in use", a->out_busy);
		else
			warnx("%s: attached to /dev/loop%d", r->file,
			      a->out_busy);
		return STATUS_BUSY;
	}
	failed(r->file, "LOOP_CTL_ATTACH");
	for (; err == EOPNOTSUPP && w < condition_words + NR_CONDITIONS; w++)
		if (a->out_unmet & a->require & w->bit)
			warnx("%s: %s", w->word, w->what);
	return err == EBUSY ? STATUS_BUSY : STATUS_FAILED;
}

/*
 * Locks the device before others are told of the file.  udev may look at a device
 * that is new.  The lock lasts as long as the file descriptor, which COMMAND
 * inherits.
 */
static enum status lock_held(const struct request *r, const char *device)
{
	int fd = open(device, O_RDONLY);

	if (fd < 0)
		return failed(device, "open");
	if (flock(fd, r->lock))
		return failed(device, "flock");
	if (ioctl(r->a.out_lease, LOOP_LEASE_ANNOUNCE))
		return failed(device, "LOOP_LEASE_ANNOUNCE");
	return STATUS_OK;
}

/* The lease keeps the device attached, so COMMAND inherits it. */
static enum status run(const struct request *r)
{
	char device[32], lease[16], **command = r->command;
	enum status status;
	bool found;

	snprintf(device, sizeof(device), "/dev/loop%d", r->a.out_index);
	if (r->lock) {
		status = lock_held(r, device);
		if (status != STATUS_OK)
			return status;
	}
	if (fcntl(r->a.out_lease, F_SETFD, 0))
		return failed(command[0], "F_SETFD");
	snprintf(lease, sizeof(lease), "%d", r->a.out_lease);
	setenv("LOOP_LEASE", lease, 1);
	setenv("LOOP_DEVICE", device, 1);
	execvp(command[0], command);
	found = errno != ENOENT;
	failed(command[0], "exec");
	return found ? STATUS_NOT_RUN : STATUS_NOT_FOUND;
}

/* The number cannot be printed, and nobody else knows which device has the file. */
static enum status attach_undo(int control, const struct loop_ctl_attach *a)
{
	/* udev may have the device open just now */
	struct loop_ctl_detach d = {
		.size = sizeof(d), .mode = LOOP_DETACH_LAZY,
		.index = a->out_index, .diskseq = a->out_diskseq,
	};
	int why = errno;

	if (detach_ioctl(control, &d))
		warn("/dev/loop%d: the file stays attached", a->out_index);
	errno = why;
	return STATUS_FAILED;
}

static enum status attach(struct request *r)
{
	struct loop_ctl_attach *a = &r->a;
	enum status status;
	int control;

	a->fd = open(r->file, (a->lo_flags & LO_FLAGS_READ_ONLY ? O_RDONLY :
								  O_RDWR) |
		     O_CLOEXEC);
	if (a->fd < 0)
		return failed(r->file, "open");
	if (r->gpt_block_size) {
		status = gpt_sector_size(a->fd, r->file, a->offset,
					 &a->block_size);
		if (status != STATUS_OK)
			return status;
	}
	control = open_control(O_RDWR);
	if (control < 0)
		return STATUS_FAILED;
	if (r->command) {
		a->attach_flags |= LOOP_ATTACH_LEASE;
		a->lo_flags |= LO_FLAGS_AUTOCLEAR;
		if (r->lock)
			a->attach_flags |= LOOP_ATTACH_HOLD;
	}
	if (ioctl(control, LOOP_CTL_ATTACH, a))
		return attach_failed(r);
	if (r->command)
		return run(r);
	signal(SIGPIPE, SIG_IGN);
	if (printf("/dev/loop%d\n", a->out_index) < 0 || fflush(stdout))
		return attach_undo(control, a);
	return STATUS_OK;
}

int cmd_attach(int argc, char **argv)
{
	struct request r = { .a = { .size = sizeof(r.a), .index = -1 } };
	enum status status;
	int opt;

	while ((opt = getopt_long(argc, argv, "+i:o:s:b:n:rPDAUIXER:SHL:h",
				  attach_options, NULL)) != -1) {
		if (opt == 'h')
			return help(attach_help);
		if (opt == '?')
			return STATUS_USAGE;
		if (attach_flag(&r.a, opt))
			continue;
		status = attach_value(&r, opt);
		if (status != STATUS_OK)
			return status;
	}
	if (optind == argc)
		return wrong("attach", "no FILE given");
	r.file = argv[optind];
	if (optind + 1 < argc) {
		if (strcmp(argv[optind + 1], "--") || optind + 2 == argc)
			return wrong("attach", "\"--\" and COMMAND, or nothing, come after FILE");
		r.command = argv + optind + 2;
	}
	if (!r.command && (r.lock || r.a.attach_flags & LOOP_ATTACH_HOLD))
		return wrong("attach", "--hold and --lock need COMMAND");
	if (r.lock && r.a.attach_flags & LOOP_ATTACH_HOLD)
		return wrong("--hold and --lock", "mutually exclusive");
	return attach(&r);
}

/* announce */

static const char announce_help[] =
"usage: loopctl announce\n"
"\n"
"Lets others know of the device that \"loopctl attach --hold\" holds back: reads\n"
"the partition table and sends the events for udev.  The COMMAND of \"loopctl\n"
"attach --hold\" runs it.  It uses the file descriptor $LOOP_LEASE.\n"
"\n"
"  -h, --help  print this text\n";

static const struct option announce_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ }
};

int cmd_announce(int argc, char **argv)
{
	const char *lease = getenv("LOOP_LEASE");
	unsigned int fd;
	char end;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", announce_options, NULL)) !=
	       -1)
		return opt == 'h' ? help(announce_help) : STATUS_USAGE;
	if (optind != argc)
		return wrong("announce", "takes no arguments");
	if (!lease || sscanf(lease, "%u%c", &fd, &end) != 1)
		return wrong("announce", "$LOOP_LEASE is not set");
	if (ioctl(fd, LOOP_LEASE_ANNOUNCE))
		return failed("$LOOP_LEASE", "LOOP_LEASE_ANNOUNCE");
	return STATUS_OK;
}
