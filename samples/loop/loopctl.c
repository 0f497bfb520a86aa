// SPDX-License-Identifier: GPL-2.0
/*
 * Attaches, detaches, lists and watches loop devices, and waits for them, with
 * the ioctls of /dev/loop-control alone: LOOP_CTL_ATTACH, LOOP_CTL_DETACH and
 * LOOP_CTL_LIST.  What these do not tell, paths and counters, is read from
 * sysfs.  loopctl(8) and ioctl_loop_control(2) describe both.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/loop.h>

#define CONTROL "/dev/loop-control"
#define CHUNK 64		/* entries per call of LOOP_CTL_LIST */
#define NSEC_PER_SEC 1000000000ULL
#define NO_LIMIT (~0ULL)	/* of time */
#define NOBODYS (~0U)		/* no device has this number */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum status {
	STATUS_OK,
	STATUS_FAILED,
	STATUS_USAGE,
	STATUS_BUSY,		/* in use by somebody else */
	STATUS_TIMEOUT,
	STATUS_NOT_RUN = 126,	/* COMMAND, as the shell has it */
	STATUS_NOT_FOUND = 127,
};

static const char *program;

static enum status failed(const char *what, const char *call)
{
	int err = errno;

	fprintf(stderr, "%s: %s: %s: %s\n", program, what, call, strerror(err));
	switch (err) {
	case EBUSY:
		return STATUS_BUSY;
	case ETIMEDOUT:
		return STATUS_TIMEOUT;
	default:
		return STATUS_FAILED;
	}
}

static enum status wrong(const char *what, const char *value)
{
	fprintf(stderr, "%s: %s: %s\n", program, what, value);
	return STATUS_USAGE;
}

/* Arguments */

/* A number of bytes, with one of K, M, G, T for powers of 1024 */
static bool parse_bytes(const char *text, unsigned long long *bytes)
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

/* Seconds, which may have a fraction, as nanoseconds */
static bool parse_seconds(const char *text, unsigned long long *ns)
{
	double seconds;
	char *end;

	seconds = strtod(text, &end);
	if (end == text || *end || isnan(seconds) || seconds < 0)
		return false;
	/* The kernel takes what is this long as no limit, too. */
	if (seconds * NSEC_PER_SEC >= (double)(NO_LIMIT / 2))
		*ns = NO_LIMIT;
	else
		*ns = seconds * NSEC_PER_SEC;
	return true;
}

/* "/dev/loop7", "loop7" or "7" */
static bool parse_device(const char *text, unsigned int *index)
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

static int open_control(int flags)
{
	int fd = open(CONTROL, flags | O_CLOEXEC);

	if (fd < 0)
		failed(CONTROL, "open");
	return fd;
}

static int help(const char *text)
{
	fputs(text, stdout);
	return STATUS_OK;
}

/* attach */

static const char attach_help[] =
"usage: loopctl attach [OPTION]... FILE [-- COMMAND [ARGUMENT]...]\n"
"\n"
"Attaches FILE to a loop device and prints its name.  With COMMAND, nothing is\n"
"printed, and the device is detached when COMMAND has ended: it inherits the\n"
"device as the file descriptor $LOOP_FD, $LOOP_DEVICE is its name.\n"
"\n"
"  -i, --index DEVICE      this device, made if it is not there\n"
"  -o, --offset BYTES      start of the data in FILE\n"
"  -s, --sizelimit BYTES   size of the device, if FILE is larger\n"
"  -b, --block-size BYTES  logical block size\n"
"  -n, --name TEXT         a name, up to 63 bytes\n"
"  -r, --read-only         FILE and the device are not written to\n"
"  -P, --partscan          read the partition table\n"
"  -D, --direct-io         past the page cache of FILE\n"
"  -S, --strict            fail if any of the above cannot be had\n"
"  -X, --exclusive         fail if another device has the same part of FILE\n"
"  -E, --ephemeral         remove the device when it is detached\n"
"  -h, --help              this text\n";

static const struct option attach_options[] = {
	{ "index", required_argument, NULL, 'i' },
	{ "offset", required_argument, NULL, 'o' },
	{ "sizelimit", required_argument, NULL, 's' },
	{ "block-size", required_argument, NULL, 'b' },
	{ "name", required_argument, NULL, 'n' },
	{ "read-only", no_argument, NULL, 'r' },
	{ "partscan", no_argument, NULL, 'P' },
	{ "direct-io", no_argument, NULL, 'D' },
	{ "strict", no_argument, NULL, 'S' },
	{ "exclusive", no_argument, NULL, 'X' },
	{ "ephemeral", no_argument, NULL, 'E' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* One that has a value */
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

/* One that has not; false if there is no such option. */
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

/* The file descriptor is what holds the device: it goes to COMMAND. */
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
			fprintf(stderr, "%s: /dev/loop%d is in use\n", program,
				a->index);
		else
			fprintf(stderr, "%s: %s: attached to /dev/loop%d\n",
				program, file, a->index);
		return STATUS_BUSY;
	}
	if (command)
		return run(a, command);
	printf("/dev/loop%d\n", a->index);
	return STATUS_OK;
}

static int cmd_attach(int argc, char **argv)
{
	struct loop_ctl_attach a = { .size = sizeof(a), .index = -1 };
	enum status status;
	char **command = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "+i:o:s:b:n:rPDSXEh",
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

/* detach */

static const char detach_help[] =
"usage: loopctl detach [OPTION]... DEVICE...\n"
"\n"
"Detaches each DEVICE that nobody has open.  Its file has been released when\n"
"this ends.\n"
"\n"
"  -w, --wait             wait until nobody has it open\n"
"  -t, --timeout SECONDS  the longest wait for each; implies --wait\n"
"  -q, --diskseq NUMBER   only the binding that has this sequence number\n"
"  -h, --help             this text\n";

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
	/* What is left of the time is in there, when a signal came. */
	while (ioctl(control, LOOP_CTL_DETACH, &d))
		if (errno != EINTR)
			return failed(name, "LOOP_CTL_DETACH");
	return STATUS_OK;
}

static int cmd_detach(int argc, char **argv)
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

/* list */

static const char list_help[] =
"usage: loopctl list [OPTION]... [DEVICE]...\n"
"\n"
"Lists the devices that have a file, or each DEVICE.\n"
"\n"
"  -a, --all   those that have none as well\n"
"  -j, --json  as JSON, sizes in bytes, and what is unmet\n"
"  -h, --help  this text\n"
"\n"
"FLAGS: r read-only, a autoclear, p partscan, d direct-io, e ephemeral\n";

static const struct option list_options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* The devices, some at a time */
struct cursor {
	int control;
	struct loop_ctl_list l;
	struct loop_ctl_entry entries[CHUNK];
	unsigned int at, filled;
};

static void cursor_init(struct cursor *c, int control, __u32 flags, int fd)
{
	memset(c, 0, sizeof(*c));
	c->control = control;
	c->l.size = sizeof(c->l);
	c->l.flags = flags;
	c->l.fd = fd;
	c->l.entry_size = sizeof(c->entries[0]);
	c->l.entries = (unsigned long)c->entries;
}

/* The next one, or NULL at the end, or with @status not STATUS_OK */
static const struct loop_ctl_entry *cursor_next(struct cursor *c,
						enum status *status)
{
	*status = STATUS_OK;
	while (c->at == c->filled) {
		if (c->l.start == NOBODYS)
			return NULL;
		c->l.count = CHUNK;
		if (ioctl(c->control, LOOP_CTL_LIST, &c->l)) {
			*status = failed(CONTROL, "LOOP_CTL_LIST");
			return NULL;
		}
		c->at = 0;
		c->filled = c->l.count;
	}
	return &c->entries[c->at++];
}

static const char *state_name(__u32 state)
{
	static const char *const names[] = {
		[LOOP_STATE_UNBOUND] = "unbound",
		[LOOP_STATE_BINDING] = "binding",
		[LOOP_STATE_BOUND] = "bound",
		[LOOP_STATE_RUNDOWN] = "rundown",
		[LOOP_STATE_REMOVING] = "removing",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

static bool has_file(const struct loop_ctl_entry *e)
{
	return e->state == LOOP_STATE_BOUND || e->state == LOOP_STATE_RUNDOWN;
}

static const struct {
	__u32 flag;
	char letter;
	const char *word;
} flag_names[] = {
	{ LO_FLAGS_READ_ONLY, 'r', "read-only" },
	{ LO_FLAGS_AUTOCLEAR, 'a', "autoclear" },
	{ LO_FLAGS_PARTSCAN, 'p', "partscan" },
	{ LO_FLAGS_DIRECT_IO, 'd', "direct-io" },
};

/* The words are those of the sysfs attribute. */
static const struct {
	__u32 flag;
	const char *word, *what;
} unmet_names[] = {
	{ LOOP_UNMET_DIRECT_IO, "direct_io",
	  "direct I/O was asked for, the file has none" },
	{ LOOP_UNMET_DIRECT_ALIGN, "direct_align",
	  "direct I/O was asked for, but not with this offset or block size" },
	{ LOOP_UNMET_WRITE, "write",
	  "read-only, as the file or the device was opened so" },
	{ LOOP_UNMET_SIZELIMIT, "sizelimit",
	  "the file ends before the limit, or that is not whole sectors" },
	{ LOOP_UNMET_DISCARD, "discard",
	  "not offered, as the file does not" },
	{ LOOP_UNMET_BLOCK_SIZE, "block_size",
	  "above 512, as direct I/O on the file needs that" },
};

/* sysfs has the path; "" if there is none, or it is another binding's. */
static void read_path(const struct loop_ctl_entry *e, char *path, size_t size)
{
	unsigned long long seq = 0;
	char name[64];
	FILE *file;

	path[0] = '\0';
	if (!has_file(e))
		return;
	snprintf(name, sizeof(name), "/sys/block/loop%u/loop/backing_file",
		 e->index);
	file = fopen(name, "re");
	if (!file)
		return;
	if (!fgets(path, size, file))
		path[0] = '\0';
	fclose(file);
	path[strcspn(path, "\n")] = '\0';
	snprintf(name, sizeof(name), "/sys/block/loop%u/diskseq", e->index);
	file = fopen(name, "re");
	if (!file || fscanf(file, "%llu", &seq) != 1 || seq != e->diskseq)
		path[0] = '\0';
	if (file)
		fclose(file);
}

/* Without what a terminal might take as a command */
static void print_plain(const void *text, const char *end)
{
	const unsigned char *c;

	for (c = text; *c; c++)
		putchar(*c < ' ' || *c == 0x7f ? '?' : *c);
	fputs(end, stdout);
}

static void print_header(void)
{
	printf("%-9s %-8s %-5s %5s %12s %12s %12s %4s %7s %s\n", "DEVICE",
	       "STATE", "FLAGS", "BLOCK", "OFFSET", "LIMIT", "SIZE", "OPEN",
	       "DISKSEQ", "FILE NAME");
}

static void print_row(const struct loop_ctl_entry *e)
{
	char flags[8] = "-", device[16], path[PATH_MAX];
	unsigned int i, n = 0;

	for (i = 0; i < ARRAY_SIZE(flag_names); i++)
		if (e->lo_flags & flag_names[i].flag)
			flags[n++] = flag_names[i].letter;
	if (e->attach_flags & LOOP_ATTACH_EPHEMERAL)
		flags[n++] = 'e';
	snprintf(device, sizeof(device), "loop%u", e->index);
	read_path(e, path, sizeof(path));
	printf("%-9s %-8s %-5s %5u %12llu %12llu %12llu %4u %7llu ", device,
	       state_name(e->state), flags, e->block_size, e->offset,
	       e->sizelimit, e->nr_bytes, e->openers, e->diskseq);
	print_plain(path[0] ? path : "-", " ");
	print_plain(e->name, "\n");
}

/* The length of the UTF-8 sequence at @s, or 0 if there is none. */
static unsigned int utf8_length(const unsigned char *s)
{
	unsigned int len, i;

	if (*s < 0x80)
		return 1;
	if (*s < 0xc2 || *s > 0xf4)
		return 0;
	len = *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
	for (i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Too long, a surrogate, too large */
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/* A byte that is no UTF-8 is told as the character with its number. */
static void print_json_string(const void *text)
{
	const unsigned char *s = text;
	unsigned int len;

	putchar('"');
	for (; *s; s += len) {
		len = utf8_length(s);
		if (!len || *s < ' ') {
			printf("\\u%04x", *s);
			len = 1;
		} else {
			if (*s == '"' || *s == '\\')
				putchar('\\');
			printf("%.*s", (int)len, s);
		}
	}
	putchar('"');
}

static unsigned int backing_major(const struct loop_ctl_entry *e)
{
	return (e->backing_dev >> 8) & 0xfff;
}

static unsigned int backing_minor(const struct loop_ctl_entry *e)
{
	return (e->backing_dev & 0xff) | ((e->backing_dev >> 12) & 0xfff00);
}

/* A path, or null if it is not known */
static void print_json_path(const char *path)
{
	if (path[0])
		print_json_string(path);
	else
		printf("null");
}

/* All members, without the brace that closes the object */
static void print_json(const struct loop_ctl_entry *e, bool first)
{
	const char *separator = "";
	char path[PATH_MAX];
	unsigned int i;

	printf("%s\n    {\"name\": \"loop%u\", \"index\": %u, \"state\": \"%s\", \"flags\": [",
	       first ? "" : ",", e->index, e->index, state_name(e->state));
	for (i = 0; i < ARRAY_SIZE(flag_names); i++) {
		if (!(e->lo_flags & flag_names[i].flag))
			continue;
		printf("%s\"%s\"", separator, flag_names[i].word);
		separator = ", ";
	}
	separator = "";
	printf("], \"unmet\": [");
	for (i = 0; i < ARRAY_SIZE(unmet_names); i++) {
		if (!(e->unmet & unmet_names[i].flag))
			continue;
		printf("%s\"%s\"", separator, unmet_names[i].word);
		separator = ", ";
	}
	printf("], \"ephemeral\": %s, \"block_size\": %u, \"offset\": %llu,",
	       e->attach_flags & LOOP_ATTACH_EPHEMERAL ? "true" : "false",
	       e->block_size, e->offset);
	printf(" \"sizelimit\": %llu, \"size\": %llu, \"openers\": %u,",
	       e->sizelimit, e->nr_bytes, e->openers);
	printf(" \"diskseq\": %llu,", e->diskseq);
	if (has_file(e))
		printf(" \"backing_dev\": \"%u:%u\", \"backing_ino\": %llu,",
		       backing_major(e), backing_minor(e), e->backing_ino);
	else
		printf(" \"backing_dev\": null, \"backing_ino\": null,");
	printf(" \"backing_file\": ");
	read_path(e, path, sizeof(path));
	print_json_path(path);
	printf(", \"label\": ");
	print_json_string(e->name);
}

/* Which devices to list; their numbers are in @index if @count is not 0. */
struct selection {
	unsigned int *index;
	int count;
	bool *found;
};

/* From the arguments after the options */
static enum status selection_init(struct selection *s, int argc, char **argv)
{
	s->count = 0;
	s->index = calloc(argc, sizeof(*s->index));
	s->found = calloc(argc, sizeof(*s->found));
	if (!s->index || !s->found)
		return failed(argv[0], "calloc");
	for (; optind < argc; optind++)
		if (!parse_device(argv[optind], &s->index[s->count++]))
			return wrong("no such device name", argv[optind]);
	return STATUS_OK;
}

static bool selected(struct selection *s, const struct loop_ctl_entry *e)
{
	bool yes = !s->count;
	int i;

	for (i = 0; i < s->count; i++) {
		if (s->index[i] == e->index) {
			s->found[i] = true;
			yes = true;
		}
	}
	return yes;
}

/* Names those that have not been found; @status if there are none. */
static enum status selection_missing(const struct selection *s,
				     const char *format, enum status status)
{
	int i;

	for (i = 0; i < s->count; i++) {
		if (s->found[i])
			continue;
		fprintf(stderr, format, program, s->index[i]);
		status = STATUS_FAILED;
	}
	return status;
}

static const char no_device[] = "%s: there is no /dev/loop%u\n";

static enum status list(int control, struct selection *s, bool all, bool json)
{
	const struct loop_ctl_entry *e;
	static struct cursor c;
	bool first = true;
	enum status status;

	cursor_init(&c, control, all || s->count ? 0 : LOOP_LIST_BOUND, 0);
	if (json)
		printf("{\n  \"loopdevices\": [");
	while ((e = cursor_next(&c, &status))) {
		if (!selected(s, e))
			continue;
		if (json) {
			print_json(e, first);
			putchar('}');
		} else {
			if (first)
				print_header();
			print_row(e);
		}
		first = false;
	}
	if (json)
		printf("\n  ]\n}\n");
	return selection_missing(s, no_device, status);
}

static int cmd_list(int argc, char **argv)
{
	bool all = false, json = false;
	struct selection s;
	enum status status;
	int opt, control;

	while ((opt = getopt_long(argc, argv, "ajh", list_options, NULL)) !=
	       -1) {
		switch (opt) {
		case 'h':
			return help(list_help);
		case 'a':
			all = true;
			break;
		case 'j':
			json = true;
			break;
		default:
			return STATUS_USAGE;
		}
	}
	status = selection_init(&s, argc, argv);
	if (status != STATUS_OK)
		return status;
	/* To look, reading will do. */
	control = open_control(O_RDONLY);
	return control < 0 ? STATUS_FAILED : list(control, &s, all, json);
}

/* show */

static const char show_help[] =
"usage: loopctl show [OPTION]... DEVICE\n"
"\n"
"Tells everything about DEVICE: its settings, what of them could not be had,\n"
"and how many I/Os went which way.\n"
"\n"
"  -j, --json  as JSON, with all counters\n"
"  -h, --help  this text\n";

static const struct option show_options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* The counters of /sys/block/loopN/loop_stats; there may be others. */
static const struct {
	const char *name, *what;
} stat_names[] = {
	{ "inline", "reads and writes tried by their submitter" },
	{ "cloned", "passed on to the block device below" },
	{ "worker_op", "by a worker: discard, write zeroes" },
	{ "worker_flush", "by a worker: a flush, or a write after one" },
	{ "worker_swap", "by a worker: swapped in, or out to ext4 or xfs" },
	{ "worker_file", "by a worker: the file cannot do it without waiting" },
	{ "worker_align", "by a worker: direct I/O that the file does not take" },
	{ "worker_kworker", "by a worker: a buffered write of a kernel worker" },
	{ "worker_backoff", "by a worker: one before it would have waited" },
	{ "worker_transaction", "by a worker: a file system's transaction is open" },
	{ "worker_meta", "by a worker: metadata of a file system" },
	{ "worker_reclaim", "by a worker: the submitter is freeing memory" },
	{ "worker_parked", "by a worker: another I/O of the submitter waits" },
	{ "worker_rlimit", "by a worker: the submitter has a file size limit" },
	{ "worker_atime", "by a worker: a read that sets the access time" },
	{ "worker_cgroup", "by a worker: another cgroup's than the submitter's" },
	{ "worker_stack", "by a worker: little of the stack was left" },
	{ "retry_again", "on to a worker: the submitter would have waited" },
	{ "retry_late", "on to a worker: the same, found out later" },
	{ "retry_short", "on to a worker: the submitter did a part" },
	{ "retry_error", "on to a worker: the submitter met another error" },
	{ "retry_frozen", "on to a worker: the file system below was frozen" },
	{ "buffered", "buffered, as the file refused direct I/O" },
	{ "flush", "flushes asked for" },
	{ "fsync", "syncs of the file that served them" },
	{ "unmap_refused", "discard or write zeroes, refused by the file" },
};

struct counter {
	char name[32];
	unsigned long long value;
};

/* NULL if the device has no file, or the driver no counters */
static FILE *open_sysfs(unsigned int index, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/loop%u/%s", index, name);
	return fopen(path, "re");
}

static bool read_counter(FILE *file, struct counter *c)
{
	return fscanf(file, "%31s %llu", c->name, &c->value) == 2;
}

static enum status read_entry(int control, unsigned int index, __u32 flags,
			      struct loop_ctl_entry *e, bool *found)
{
	struct loop_ctl_list l = {
		.size = sizeof(l),
		.flags = flags,
		.start = index,
		.count = 1,
		.entry_size = sizeof(*e),
		.entries = (unsigned long)e,
	};

	*found = false;
	if (ioctl(control, LOOP_CTL_LIST, &l))
		return failed(CONTROL, "LOOP_CTL_LIST");
	*found = l.count && e->index == index;
	return STATUS_OK;
}

static void show_bytes(const char *what, unsigned long long bytes)
{
	static const char units[] = "KMGTPE";
	double value = bytes;
	int unit = -1;

	for (; value >= 1024; value /= 1024)
		unit++;
	printf("  %-12s %llu", what, bytes);
	if (unit >= 0)
		printf(" (%.1f %ciB)", value, units[unit]);
	putchar('\n');
}

static void show_flags(const struct loop_ctl_entry *e)
{
	const char *separator = "";
	unsigned int i;

	printf("  %-12s ", "flags");
	for (i = 0; i < ARRAY_SIZE(flag_names); i++) {
		if (!(e->lo_flags & flag_names[i].flag))
			continue;
		printf("%s%s", separator, flag_names[i].word);
		separator = ", ";
	}
	if (e->attach_flags & LOOP_ATTACH_EPHEMERAL)
		printf("%sephemeral", separator);
	else if (!*separator)
		printf("none");
	putchar('\n');
}

/* Those that are not 0 */
static void show_counters(const struct loop_ctl_entry *e)
{
	FILE *file = open_sysfs(e->index, "loop_stats");
	const char *what, *title = "counters";
	struct counter c;
	unsigned int i;

	if (!file)
		return;
	while (read_counter(file, &c)) {
		if (!c.value)
			continue;
		what = "";
		for (i = 0; i < ARRAY_SIZE(stat_names); i++)
			if (!strcmp(c.name, stat_names[i].name))
				what = stat_names[i].what;
		printf("  %-12s %-18s %10llu  %s\n", title, c.name, c.value,
		       what);
		title = "";
	}
	fclose(file);
}

static void show_file(const struct loop_ctl_entry *e)
{
	const char *title = "unmet";
	char path[PATH_MAX];
	unsigned int i;

	read_path(e, path, sizeof(path));
	printf("  %-12s ", "file");
	print_plain(path[0] ? path : "-", "\n");
	printf("  %-12s %llu on %u:%u\n", "inode", e->backing_ino,
	       backing_major(e), backing_minor(e));
	printf("  %-12s ", "name");
	print_plain(e->name[0] ? (const char *)e->name : "-", "\n");
	show_bytes("offset", e->offset);
	show_bytes("size limit", e->sizelimit);
	show_bytes("size", e->nr_bytes);
	printf("  %-12s %u\n", "block size", e->block_size);
	show_flags(e);
	for (i = 0; i < ARRAY_SIZE(unmet_names); i++) {
		if (!(e->unmet & unmet_names[i].flag))
			continue;
		printf("  %-12s %s: %s\n", title, unmet_names[i].word,
		       unmet_names[i].what);
		title = "";
	}
}

static void show(const struct loop_ctl_entry *e)
{
	printf("/dev/loop%u\n  %-12s %s\n", e->index, "state",
	       state_name(e->state));
	if (has_file(e))
		show_file(e);
	printf("  %-12s %llu\n", "diskseq", e->diskseq);
	printf("  %-12s %u\n", "openers", e->openers);
	show_counters(e);
}

static void show_json(const struct loop_ctl_entry *e)
{
	FILE *file = open_sysfs(e->index, "loop_stats");
	const char *separator = "";
	struct counter c;

	printf("{\n  \"loopdevices\": [");
	print_json(e, true);
	printf(", \"stats\": {");
	while (file && read_counter(file, &c)) {
		printf("%s\"%s\": %llu", separator, c.name, c.value);
		separator = ", ";
	}
	printf("}}\n  ]\n}\n");
	if (file)
		fclose(file);
}

static int cmd_show(int argc, char **argv)
{
	struct loop_ctl_entry e;
	bool json = false, found;
	unsigned int index;
	int opt, control;

	while ((opt = getopt_long(argc, argv, "jh", show_options, NULL)) !=
	       -1) {
		if (opt == 'h')
			return help(show_help);
		if (opt != 'j')
			return STATUS_USAGE;
		json = true;
	}
	if (optind + 1 != argc)
		return wrong("show", "takes one DEVICE");
	if (!parse_device(argv[optind], &index))
		return wrong("no such device name", argv[optind]);
	control = open_control(O_RDONLY);
	if (control < 0 || read_entry(control, index, 0, &e, &found))
		return STATUS_FAILED;
	if (!found) {
		fprintf(stderr, no_device, program, index);
		return STATUS_FAILED;
	}
	if (json)
		show_json(&e);
	else
		show(&e);
	return STATUS_OK;
}

/* stat */

static const char stat_help[] =
"usage: loopctl stat [OPTION]... [DEVICE]...\n"
"\n"
"Waits for a second, and tells what the devices that have a file, or each\n"
"DEVICE, did meanwhile.\n"
"\n"
"  -w, --watch             again and again, in place on a terminal\n"
"  -i, --interval SECONDS  instead of a second\n"
"  -j, --json              as JSON, a line for each interval\n"
"  -h, --help              this text\n"
"\n"
"INLINE: how much of the I/O its submitter did; CLONED: was passed on to the\n"
"block device below.  Workers did the rest.\n";

static const struct option stat_options[] = {
	{ "watch", no_argument, NULL, 'w' },
	{ "interval", required_argument, NULL, 'i' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

enum {
	READS,
	READ_SECTORS,
	WRITES,
	WRITE_SECTORS,
	INLINE,
	CLONED,
	WORKER,
	RETRY,			/* begun inline, and not done so */
	FLUSH,
	FSYNC,
	NR_VALUES
};

struct sample {
	struct loop_ctl_entry e;
	unsigned long long value[NR_VALUES];
};

struct samples {
	unsigned long long at;	/* in ns */
	unsigned int count, room;
	struct sample *of;
};

static unsigned long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static void read_values(struct sample *s)
{
	static const struct {
		const char *name;
		size_t len;
		unsigned int value;
	} counted[] = {
		{ "inline", 7, INLINE },
		{ "cloned", 7, CLONED },
		{ "worker_", 7, WORKER },
		{ "retry_", 6, RETRY },
		{ "flush", 6, FLUSH },
		{ "fsync", 6, FSYNC },
	};
	unsigned long long *v = s->value;
	struct counter c;
	unsigned int i;
	FILE *file;

	memset(v, 0, sizeof(s->value));
	file = open_sysfs(s->e.index, "stat");
	if (file) {
		if (fscanf(file, "%llu %*u %llu %*u %llu %*u %llu", &v[READS],
			   &v[READ_SECTORS], &v[WRITES],
			   &v[WRITE_SECTORS]) != 4)
			memset(v, 0, sizeof(s->value));
		fclose(file);
	}
	file = open_sysfs(s->e.index, "loop_stats");
	while (file && read_counter(file, &c))
		for (i = 0; i < ARRAY_SIZE(counted); i++)
			if (!strncmp(c.name, counted[i].name, counted[i].len))
				v[counted[i].value] += c.value;
	if (file)
		fclose(file);
}

static enum status take(struct samples *s, int control,
			struct selection *wanted)
{
	const struct loop_ctl_entry *e;
	static struct cursor c;
	enum status status;

	s->at = now();
	s->count = 0;
	cursor_init(&c, control, LOOP_LIST_BOUND, 0);
	while ((e = cursor_next(&c, &status))) {
		if (!selected(wanted, e))
			continue;
		if (s->count == s->room) {
			s->room += CHUNK;
			s->of = realloc(s->of, s->room * sizeof(*s->of));
			if (!s->of)
				return failed("stat", "realloc");
		}
		s->of[s->count].e = *e;
		read_values(&s->of[s->count++]);
	}
	return status;
}

/* What is shown of a device */
struct rates {
	double reads, writes, read_kib, write_kib, flushes, fsyncs;
	double inlined, cloned;	/* of all I/O, negative if there was none */
};

static void rates_init(struct rates *r, const struct sample *from,
		       const struct sample *to, double seconds)
{
	double d[NR_VALUES], all, done;
	unsigned int i;

	/* Read one after the other, while they grow, and on each processor. */
	for (i = 0; i < NR_VALUES; i++)
		d[i] = to->value[i] < from->value[i] ?
			       0 : to->value[i] - from->value[i];
	r->reads = d[READS] / seconds;
	r->writes = d[WRITES] / seconds;
	r->read_kib = d[READ_SECTORS] / 2 / seconds;
	r->write_kib = d[WRITE_SECTORS] / 2 / seconds;
	r->flushes = d[FLUSH] / seconds;
	r->fsyncs = d[FSYNC] / seconds;
	all = d[INLINE] + d[CLONED] + d[WORKER];
	done = d[INLINE] > d[RETRY] ? d[INLINE] - d[RETRY] : 0;
	r->inlined = all ? done / all : -1;
	r->cloned = all ? d[CLONED] / all : -1;
}

static void print_share(double share)
{
	if (share < 0)
		printf(" %6s", "-");
	else
		printf(" %5.0f%%", 100 * share);
}

static void print_rates(const struct loop_ctl_entry *e, const struct rates *r)
{
	char device[16], path[PATH_MAX];

	snprintf(device, sizeof(device), "loop%u", e->index);
	printf("%-9s %9.1f %9.1f %10.1f %10.1f", device, r->reads, r->writes,
	       r->read_kib, r->write_kib);
	print_share(r->inlined);
	print_share(r->cloned);
	printf(" %8.1f %8.1f ", r->flushes, r->fsyncs);
	read_path(e, path, sizeof(path));
	print_plain(path[0] ? path : "-", "\n");
}

static void print_json_share(const char *name, double share)
{
	if (share < 0)
		printf(", \"%s\": null", name);
	else
		printf(", \"%s\": %.3f", name, share);
}

static void print_json_rates(const struct loop_ctl_entry *e,
			     const struct rates *r)
{
	char path[PATH_MAX];

	printf("{\"name\": \"loop%u\", \"index\": %u, \"diskseq\": %llu",
	       e->index, e->index, e->diskseq);
	printf(", \"reads_per_s\": %.1f, \"writes_per_s\": %.1f", r->reads,
	       r->writes);
	printf(", \"read_kib_per_s\": %.1f, \"write_kib_per_s\": %.1f",
	       r->read_kib, r->write_kib);
	print_json_share("inline_share", r->inlined);
	print_json_share("cloned_share", r->cloned);
	printf(", \"flushes_per_s\": %.1f, \"fsyncs_per_s\": %.1f",
	       r->flushes, r->fsyncs);
	printf(", \"backing_file\": ");
	read_path(e, path, sizeof(path));
	print_json_path(path);
	putchar('}');
}

/* Those that have been there from one sample to the next, with the same file */
static void print_stat(const struct samples *from, const struct samples *to,
		       bool json)
{
	double seconds = (double)(to->at - from->at) / NSEC_PER_SEC;
	const struct sample *old = from->of, *s;
	const char *separator = "";
	struct rates r;

	if (json)
		printf("{\"seconds\": %.3f, \"loopdevices\": [", seconds);
	else
		printf("%-9s %9s %9s %10s %10s %6s %6s %8s %8s %s\n",
		       "DEVICE", "READ/S", "WRITE/S", "RKIB/S", "WKIB/S",
		       "INLINE", "CLONED", "FLUSH/S", "FSYNC/S", "FILE");
	for (s = to->of; s < to->of + to->count; s++) {
		while (old < from->of + from->count &&
		       old->e.index < s->e.index)
			old++;
		if (old == from->of + from->count ||
		    old->e.diskseq != s->e.diskseq)
			continue;
		rates_init(&r, old, s, seconds);
		if (json) {
			fputs(separator, stdout);
			print_json_rates(&s->e, &r);
			separator = ", ";
		} else {
			print_rates(&s->e, &r);
		}
	}
	if (json)
		printf("]}\n");
}

static enum status stat_loop(int control, struct selection *wanted,
			     unsigned long long interval, bool watch, bool json)
{
	struct timespec ts = {
		.tv_sec = interval / NSEC_PER_SEC,
		.tv_nsec = interval % NSEC_PER_SEC,
	};
	struct samples from = { }, to = { }, spare;
	bool again = false, in_place;
	enum status status;

	in_place = watch && !json && isatty(STDOUT_FILENO);
	status = take(&from, control, wanted);
	if (status == STATUS_OK)
		status = selection_missing(wanted, "%s: /dev/loop%u is not attached\n",
					   status);
	while (status == STATUS_OK) {
		nanosleep(&ts, NULL);
		status = take(&to, control, wanted);
		if (status != STATUS_OK)
			break;
		if (in_place)
			printf("\033[H\033[J");
		else if (again && !json)
			putchar('\n');
		print_stat(&from, &to, json);
		if (fflush(stdout))
			status = STATUS_FAILED;	/* main() tells */
		if (!watch)
			break;
		spare = from;
		from = to;
		to = spare;
		again = true;
	}
	free(from.of);
	free(to.of);
	return status;
}

static int cmd_stat(int argc, char **argv)
{
	unsigned long long interval = NSEC_PER_SEC;
	bool watch = false, json = false;
	struct selection s;
	enum status status;
	int opt, control;

	while ((opt = getopt_long(argc, argv, "wi:jh", stat_options, NULL)) !=
	       -1) {
		switch (opt) {
		case 'h':
			return help(stat_help);
		case 'w':
			watch = true;
			break;
		case 'i':
			if (!parse_seconds(optarg, &interval) || !interval)
				return wrong("not an interval", optarg);
			break;
		case 'j':
			json = true;
			break;
		default:
			return STATUS_USAGE;
		}
	}
	status = selection_init(&s, argc, argv);
	if (status != STATUS_OK)
		return status;
	control = open_control(O_RDONLY);
	if (control < 0)
		return STATUS_FAILED;
	return stat_loop(control, &s, interval, watch, json);
}

/* find */

static const char find_help[] =
"usage: loopctl find FILE\n"
"\n"
"Prints the names of the devices that FILE is attached to, under whichever\n"
"name it was attached.  Fails if there are none.\n"
"\n"
"  -h, --help  this text\n";

static const struct option help_option[] = {
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static int cmd_find(int argc, char **argv)
{
	const struct loop_ctl_entry *e;
	static struct cursor c;
	int opt, control, file;
	enum status status;
	bool any = false;

	while ((opt = getopt_long(argc, argv, "h", help_option, NULL)) != -1)
		return opt == 'h' ? help(find_help) : STATUS_USAGE;
	if (optind + 1 != argc)
		return wrong("find", "takes one FILE");
	file = open(argv[optind], O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return failed(argv[optind], "open");
	control = open_control(O_RDONLY);
	if (control < 0)
		return STATUS_FAILED;
	cursor_init(&c, control, LOOP_LIST_FD, file);
	while ((e = cursor_next(&c, &status))) {
		printf("/dev/loop%u\n", e->index);
		any = true;
	}
	return status == STATUS_OK && !any ? STATUS_FAILED : status;
}

/* wait */

static const char wait_help[] =
"usage: loopctl wait [OPTION]... DEVICE\n"
"\n"
"Waits until DEVICE has lost the file it has now, whoever detaches it.\n"
"\n"
"  -t, --timeout SECONDS  the longest wait\n"
"  -h, --help             this text\n";

static const struct option wait_options[] = {
	{ "timeout", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* The diskseq of a device, and 0 if it has no file or is not there */
static enum status bound_as(int control, unsigned int index, __u64 *diskseq)
{
	struct loop_ctl_entry e;
	enum status status;
	bool found;

	status = read_entry(control, index, LOOP_LIST_BOUND, &e, &found);
	*diskseq = status == STATUS_OK && found ? e.diskseq : 0;
	return status;
}

static int cmd_wait(int argc, char **argv)
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
	if (control < 0 || bound_as(control, index, &diskseq))
		return STATUS_FAILED;
	/* LOOP_CTL_DETACH waits for openers; for this there is only looking. */
	for (start = now(); ; step += step < 100000 ? step / 2 : 0) {
		if (bound_as(control, index, &current))
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

static const char main_help[] =
"usage: loopctl COMMAND [ARGUMENT]...\n"
"\n"
"  attach FILE    attach FILE to a loop device, print the device\n"
"  detach DEVICE  detach DEVICE\n"
"  list           list devices\n"
"  show DEVICE    tell everything about DEVICE\n"
"  stat           what the devices do: a table of rates\n"
"  find FILE      print the devices that FILE is attached to\n"
"  wait DEVICE    wait until DEVICE is detached\n"
"\n"
"\"loopctl COMMAND --help\" tells more.  DEVICE is /dev/loopN, loopN or N.\n"
"\n"
"exit status: 0 done, 1 failed, 2 wrong usage, 3 in use by somebody else,\n"
"4 timed out\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "attach", cmd_attach },
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
	int status;

	program = "loopctl";
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
