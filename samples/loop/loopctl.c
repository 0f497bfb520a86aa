// SPDX-License-Identifier: GPL-2.0
/*
 * Attaches, detaches and lists loop devices, and waits for them, with the
 * ioctls of /dev/loop-control alone: LOOP_CTL_ATTACH, LOOP_CTL_DETACH and
 * LOOP_CTL_LIST.  loopctl(8) and loop-control(4) describe both.
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
"  -j, --json  as JSON, sizes in bytes\n"
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
	const __u8 *c;

	for (i = 0; i < ARRAY_SIZE(flag_names); i++)
		if (e->lo_flags & flag_names[i].flag)
			flags[n++] = flag_names[i].letter;
	if (e->attach_flags & LOOP_ATTACH_EPHEMERAL)
		flags[n++] = 'e';
	snprintf(device, sizeof(device), "loop%u", e->index);
	read_path(e, path, sizeof(path));
	printf("%-9s %-8s %-5s %5u %12llu %12llu %12llu %4u %7llu %s ", device,
	       state_name(e->state), flags, e->block_size, e->offset,
	       e->sizelimit, e->nr_bytes, e->openers, e->diskseq,
	       path[0] ? path : "-");
	for (c = e->name; *c; c++)
		putchar(*c < ' ' || *c == 0x7f ? '?' : *c);
	putchar('\n');
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

static void print_json(const struct loop_ctl_entry *e, bool first)
{
	unsigned int major = (e->backing_dev >> 8) & 0xfff;
	unsigned int minor = (e->backing_dev & 0xff) |
			     ((e->backing_dev >> 12) & 0xfff00);
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
	printf("], \"ephemeral\": %s, \"block_size\": %u, \"offset\": %llu,",
	       e->attach_flags & LOOP_ATTACH_EPHEMERAL ? "true" : "false",
	       e->block_size, e->offset);
	printf(" \"sizelimit\": %llu, \"size\": %llu, \"openers\": %u,",
	       e->sizelimit, e->nr_bytes, e->openers);
	printf(" \"diskseq\": %llu,", e->diskseq);
	if (has_file(e))
		printf(" \"backing_dev\": \"%u:%u\", \"backing_ino\": %llu,",
		       major, minor, e->backing_ino);
	else
		printf(" \"backing_dev\": null, \"backing_ino\": null,");
	printf(" \"backing_file\": ");
	read_path(e, path, sizeof(path));
	if (path[0])
		print_json_string(path);
	else
		printf("null");
	printf(", \"label\": ");
	print_json_string(e->name);
	putchar('}');
}

/* Which devices to list; their numbers are in @index if @count is not 0. */
struct selection {
	unsigned int *index;
	int count;
	bool *found;
};

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

static enum status list(int control, struct selection *s, bool all, bool json)
{
	const struct loop_ctl_entry *e;
	static struct cursor c;
	bool first = true;
	enum status status;
	int i;

	cursor_init(&c, control, all || s->count ? 0 : LOOP_LIST_BOUND, 0);
	if (json)
		printf("{\n  \"loopdevices\": [");
	while ((e = cursor_next(&c, &status))) {
		if (!selected(s, e))
			continue;
		if (json)
			print_json(e, first);
		else if (first)
			print_header();
		if (!json)
			print_row(e);
		first = false;
	}
	if (json)
		printf("\n  ]\n}\n");
	for (i = 0; i < s->count; i++) {
		if (s->found[i])
			continue;
		fprintf(stderr, "%s: there is no /dev/loop%u\n", program,
			s->index[i]);
		status = STATUS_FAILED;
	}
	return status;
}

static int cmd_list(int argc, char **argv)
{
	struct selection s = { };
	bool all = false, json = false;
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
	s.index = calloc(argc, sizeof(*s.index));
	s.found = calloc(argc, sizeof(*s.found));
	if (!s.index || !s.found)
		return failed("list", "calloc");
	for (; optind < argc; optind++)
		if (!parse_device(argv[optind], &s.index[s.count++]))
			return wrong("no such device name", argv[optind]);
	/* To look, reading will do. */
	control = open_control(O_RDONLY);
	status = control < 0 ? STATUS_FAILED : list(control, &s, all, json);
	free(s.index);
	free(s.found);
	return status;
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

static unsigned long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* The diskseq of a device, and 0 if it has no file or is not there */
static enum status bound_as(int control, unsigned int index, __u64 *diskseq)
{
	struct loop_ctl_entry e;
	struct loop_ctl_list l = {
		.size = sizeof(l),
		.flags = LOOP_LIST_BOUND,
		.start = index,
		.count = 1,
		.entry_size = sizeof(e),
		.entries = (unsigned long)&e,
	};

	if (ioctl(control, LOOP_CTL_LIST, &l))
		return failed(CONTROL, "LOOP_CTL_LIST");
	*diskseq = l.count && e.index == index ? e.diskseq : 0;
	return STATUS_OK;
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
