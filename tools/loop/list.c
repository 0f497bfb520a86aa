// SPDX-License-Identifier: GPL-2.0
/*
 * "loopctl list", "loopctl show" and "loopctl find" only read: the columns come from
 * LOOP_CTL_LIST, the path and the counters from sysfs.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loopctl.h"

/* Columns */

enum {
	COL_NAME,
	COL_STATE,
	COL_SIZE,
	COL_OFFSET,
	COL_SIZELIMIT,
	COL_AUTOCLEAR,
	COL_PARTSCAN,
	COL_RO,
	COL_DIO,
	COL_FLAGS,
	COL_LOG_SEC,
	COL_OPENERS,
	COL_DISK_SEQ,
	COL_UNMET,
	COL_OWNER,
	COL_BACK_MAJ_MIN,
	COL_BACK_RDEV,
	COL_BACK_INO,
	COL_REF,
	COL_BACK_FILE,
	NR_COLUMNS
};

static const struct column list_columns[NR_COLUMNS] = {
	[COL_NAME] = { "NAME", TYPE_TEXT, "loop device name" },
	[COL_STATE] = { "STATE", TYPE_TEXT, "free, busy or attached" },
	[COL_SIZE] = { "SIZE", TYPE_NUMBER, "size of the device" },
	[COL_OFFSET] = { "OFFSET", TYPE_NUMBER, "start of the data in the file" },
	[COL_SIZELIMIT] = { "SIZELIMIT", TYPE_NUMBER,
			    "size limit; without one, 0" },
	[COL_AUTOCLEAR] = { "AUTOCLEAR", TYPE_BOOLEAN,
			    "the last close of it and its lease detaches it" },
	[COL_PARTSCAN] = { "PARTSCAN", TYPE_BOOLEAN, "partitions are read" },
	[COL_RO] = { "RO", TYPE_BOOLEAN, "read-only device" },
	[COL_DIO] = { "DIO", TYPE_BOOLEAN, "direct I/O on the file" },
	[COL_FLAGS] = { "FLAGS", TYPE_TEXT,
			"lease, hold, and options of attach" },
	[COL_LOG_SEC] = { "LOG-SEC", TYPE_NUMBER,
			  "logical sector size in bytes" },
	[COL_OPENERS] = { "OPENERS", TYPE_NUMBER,
			  "how many times the device is open" },
	[COL_DISK_SEQ] = { "DISK-SEQ", TYPE_NUMBER, "disk sequence number" },
	[COL_UNMET] = { "UNMET", TYPE_TEXT,
			"conditions that are not met" },
	[COL_OWNER] = { "OWNER", TYPE_TEXT, "user who attached the file" },
	[COL_BACK_MAJ_MIN] = { "BACK-MAJ:MIN", TYPE_TEXT,
			       "device number of the file's file system" },
	[COL_BACK_RDEV] = { "BACK-RDEV", TYPE_TEXT,
			    "device number of a file that is a block device" },
	[COL_BACK_INO] = { "BACK-INO", TYPE_NUMBER, "inode number of the file" },
	[COL_REF] = { "REF", TYPE_TEXT, "text of attach --name" },
	[COL_BACK_FILE] = { "BACK-FILE", TYPE_TEXT, "path of the file" },
};

static const char list_default[] =
	"NAME,STATE,SIZE,OFFSET,SIZELIMIT,RO,DIO,OPENERS,REF,BACK-FILE";

static const char *state_name(__u32 state)
{
	static const char *const names[] = {
		[LOOP_STATE_FREE] = "free",
		[LOOP_STATE_BUSY] = "busy",
		[LOOP_STATE_ATTACHED] = "attached",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

static void format_number(unsigned long long number, char *text, size_t size)
{
	snprintf(text, size, "%llu", number);
}

static void format_flag(bool flag, char *text, size_t size)
{
	snprintf(text, size, "%d", flag);
}

static void format_dev(__u64 dev, char *text, size_t size)
{
	snprintf(text, size, "%u:%u", dev_major(dev), dev_minor(dev));
}

/* Formats the name of the user, or the number if there is no name. */
static void format_owner(const struct loop_ctl_entry *e, char *text,
			 size_t size)
{
	const struct passwd *user = getpwuid(e->owner);

	if (user)
		snprintf(text, size, "%s", user->pw_name);
	else
		snprintf(text, size, "%u", e->owner);
}

/* Formats a cell that only a device with a file has. */
static void format_file_cell(const struct table *t,
			     const struct loop_ctl_entry *e,
			     unsigned int column, char *text, size_t size)
{
	switch (column) {
	case COL_SIZE:
		return format_bytes(t, e->nr_bytes, text, size);
	case COL_OFFSET:
		return format_bytes(t, e->offset, text, size);
	case COL_SIZELIMIT:
		return format_bytes(t, e->sizelimit, text, size);
	case COL_AUTOCLEAR:
		return format_flag(e->lo_flags & LO_FLAGS_AUTOCLEAR, text, size);
	case COL_PARTSCAN:
		return format_flag(e->lo_flags & LO_FLAGS_PARTSCAN, text, size);
	case COL_RO:
		return format_flag(e->lo_flags & LO_FLAGS_READ_ONLY, text, size);
	case COL_DIO:
		return format_flag(e->lo_flags & LO_FLAGS_DIRECT_IO, text, size);
	case COL_FLAGS:
		return format_words(attach_flag_words, NR_ATTACH_FLAGS,
				    e->attach_flags, text, size);
	case COL_LOG_SEC:
		return format_number(e->block_size, text, size);
	case COL_UNMET:
		return format_words(condition_words, NR_CONDITIONS, e->unmet,
				    text, size);
	case COL_OWNER:
		return format_owner(e, text, size);
	case COL_BACK_MAJ_MIN:
		return format_dev(e->backing_dev, text, size);
	case COL_BACK_RDEV:
		if (e->backing_rdev)
			format_dev(e->backing_rdev, text, size);
		return;
	case COL_BACK_INO:
		return format_number(e->backing_ino, text, size);
	case COL_REF:
		snprintf(text, size, "%s", (const char *)e->name);
		return;
	case COL_BACK_FILE:
		return read_path(e, text, size);
	}
}

static void format_cell(const struct table *t, const struct loop_ctl_entry *e,
			unsigned int column, char *text, size_t size)
{
	text[0] = '\0';
	switch (column) {
	case COL_NAME:
		snprintf(text, size, "/dev/loop%u", e->index);
		break;
	case COL_STATE:
		snprintf(text, size, "%s", state_name(e->state));
		break;
	case COL_OPENERS:
		format_number(e->openers, text, size);
		break;
	case COL_DISK_SEQ:
		format_number(e->diskseq, text, size);
		break;
	default:
		if (has_file(e))
			format_file_cell(t, e, column, text, size);
	}
}

static void add_row(struct table *t, const struct loop_ctl_entry *e)
{
	char text[PATH_MAX];
	unsigned int i;

	table_row(t);
	for (i = 0; i < t->nr_chosen; i++) {
		format_cell(t, e, t->chosen[i], text, sizeof(text));
		table_set(t, i, text);
	}
}

/* list */

static const char list_help[] =
"usage: loopctl list [OPTION]... [DEVICE]...\n"
"\n"
"Lists the devices that have a file, or each DEVICE.\n"
"\n"
"  -a, --all               list the devices that have no file as well\n"
"  -b, --bytes             print sizes in bytes rather than with a unit\n";

static const struct option list_options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "bytes", no_argument, NULL, 'b' },
};

static const char no_device[] = "there is no /dev/loop%u";

static enum status list(int control, struct selection *s, bool all,
			struct table *t)
{
	const struct loop_ctl_entry *e;
	enum status status, printed;
	static struct cursor c;

	cursor_init(&c, control, all || s->count ? 0 : LOOP_LIST_ATTACHED, -1);
	table_begin(t);
	while ((e = cursor_next(&c, &status)))
		if (selected(s, e))
			add_row(t, e);
	printed = table_end(t);
	/* a list that has not been read does not tell what is missing */
	if (status == STATUS_OK)
		status = selection_missing(s, no_device, printed);
	return status;
}

int cmd_list(int argc, char **argv)
{
	struct option *options;
	struct selection s;
	enum status status;
	bool all = false;
	struct table t;
	int opt, control;

	options = table_options(list_options, ARRAY_SIZE(list_options));
	table_init(&t, list_columns, NR_COLUMNS, list_default);
	while ((opt = getopt_long(argc, argv, "abh" TABLE_LETTERS, options,
				  NULL)) != -1) {
		if (opt == 'h')
			return table_help(&t, list_help);
		if (opt == 'a')
			all = true;
		else if (!table_option(&t, opt, &status))
			return STATUS_USAGE;
		else if (status != STATUS_OK)
			return status;
	}
	status = selection_init(&s, argc, argv);
	if (status != STATUS_OK)
		return status;
	/* Reading the list does not need write permission. */
	control = open_control(O_RDONLY);
	return control < 0 ? STATUS_FAILED : list(control, &s, all, &t);
}

/* show */

static const char show_help[] =
"usage: loopctl show [OPTION]... DEVICE\n"
"\n"
"Prints, about DEVICE, all columns of \"loopctl list\", the reason for each\n"
"condition that is not met, and the counters of its I/O that are not 0.\n"
"\n"
"  -b, --bytes    print sizes in bytes rather than with a unit\n"
"  -H, --holders  print who uses DEVICE as well\n"
"  -J, --json     print JSON, with sizes in bytes and all counters\n"
"  -h, --help     print this text\n";

static const struct option show_options[] = {
	{ "bytes", no_argument, NULL, 'b' },
	{ "holders", no_argument, NULL, 'H' },
	{ "json", no_argument, NULL, 'J' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* The counters of loop_stats; a newer driver may have others. */
static const struct {
	const char *name, *what;
} stat_names[] = {
	{ "inline", "reads and writes that their submitter tried" },
	{ "cloned", "I/Os that were passed on to the block device below" },
	{ "worker_op", "worker: discard, write zeroes, atomic write" },
	{ "worker_flush", "worker: a flush, or a write that a flush precedes" },
	{ "worker_swap", "worker: swap in, or swap out to ext4 or xfs" },
	{ "worker_off", "worker: inline I/O is turned off" },
	{ "worker_file", "worker: the file would wait, or no-inline is set" },
	{ "worker_align", "worker: direct I/O that the file does not take" },
	{ "worker_kworker", "worker: a buffered write of a kernel worker" },
	{ "worker_backoff", "worker: the I/Os before it would have waited" },
	{ "worker_transaction", "worker: a file system's transaction is open" },
	{ "worker_meta", "worker: metadata of a file system" },
	{ "worker_reclaim", "worker: the submitter is freeing memory" },
	{ "worker_parked", "worker: another I/O of the submitter waits" },
	{ "worker_rlimit", "worker: the submitter has a file size limit" },
	{ "worker_atime", "worker: a read that may set the access time" },
	{ "worker_cgroup", "worker: the I/O belongs to another cgroup" },
	{ "worker_stack", "worker: little of the stack was left" },
	{ "retry_again", "moved to a worker: the submitter would have waited" },
	{ "retry_late", "moved to a worker: the same, noticed at completion" },
	{ "retry_short", "moved to a worker: the submitter did a part" },
	{ "retry_error", "moved to a worker: the submitter got another error" },
	{ "retry_frozen", "moved to a worker: the file system below was frozen" },
	{ "merged", "writes of the page cache that became parts of larger ones" },
	{ "buffered", "buffered I/Os because the file refused direct I/O" },
	{ "flush", "flushes that were asked for" },
	{ "fsync", "syncs of the file that served flushes" },
	{ "unmap_refused", "discard or write zeroes that the file refused" },
};

static const char *stat_meaning(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(stat_names); i++)
		if (!strcmp(name, stat_names[i].name))
			return stat_names[i].what;
	return "";
}

/* Adds a row of three cells, or of two if the table has two columns. */
static void add_text_row(struct table *t, const char *first, const char *second,
			 const char *third)
{
	table_row(t);
	table_set(t, 0, first);
	table_set(t, 1, second);
	if (t->nr_chosen > 2)
		table_set(t, 2, third);
}

/* Prints a row for each column of list. */
static enum status show_properties(const struct loop_ctl_entry *e, bool bytes)
{
	static const struct column columns[] = {
		{ "PROPERTY", TYPE_TEXT, NULL },
		{ "VALUE", TYPE_TEXT, NULL },
	};
	char text[PATH_MAX];
	struct table t;
	unsigned int i;

	table_init(&t, columns, ARRAY_SIZE(columns), "PROPERTY,VALUE");
	t.noheadings = true;
	t.bytes = bytes;
	table_begin(&t);
	for (i = 0; i < NR_COLUMNS; i++) {
		format_cell(&t, e, i, text, sizeof(text));
		if (text[0])
			add_text_row(&t, list_columns[i].name, text, NULL);
	}
	return table_end(&t);
}

static enum status show_unmet(const struct loop_ctl_entry *e)
{
	static const struct column columns[] = {
		{ "UNMET", TYPE_TEXT, NULL },
		{ "REASON", TYPE_TEXT, NULL },
	};
	const struct word *w = condition_words;
	struct table t;

	if (!e->unmet)
		return STATUS_OK;
	table_init(&t, columns, ARRAY_SIZE(columns), "UNMET,REASON");
	table_begin(&t);
	for (; w < condition_words + NR_CONDITIONS; w++)
		if (e->unmet & w->bit)
			add_text_row(&t, w->word, w->what, NULL);
	putchar('\n');
	return table_end(&t);
}

static void show_holders(const struct holders *h)
{
	printf("\nHOLDERS\n");
	holders_print(h, stdout, "");
}

/* Prints the counters that are not 0; the device may have none. */
static enum status show_counters(const struct loop_ctl_entry *e)
{
	static const struct column columns[] = {
		{ "COUNTER", TYPE_TEXT, NULL },
		{ "COUNT", TYPE_NUMBER, NULL },
		{ "MEANING", TYPE_TEXT, NULL },
	};
	FILE *file = open_sysfs(e->index, "loop_stats");
	struct counter c;
	char text[32];
	struct table t;
	bool any = false;

	table_init(&t, columns, ARRAY_SIZE(columns), "COUNTER,COUNT,MEANING");
	table_begin(&t);
	while (file && read_counter(file, &c)) {
		if (!c.value)
			continue;
		any = true;
		format_number(c.value, text, sizeof(text));
		add_text_row(&t, c.name, text, stat_meaning(c.name));
	}
	if (file)
		fclose(file);
	if (any)
		putchar('\n');
	return table_end(&t);
}

/* @h is NULL if the holders are not asked for. */
static enum status show(const struct loop_ctl_entry *e, const struct holders *h,
			bool bytes)
{
	enum status status;

	status = show_properties(e, bytes);
	if (status == STATUS_OK)
		status = show_unmet(e);
	if (status == STATUS_OK)
		status = show_counters(e);
	if (status == STATUS_OK && h)
		show_holders(h);
	return status;
}

/* Returns all lines as one text, for the cell of a list. */
static char *join(const struct holders *h)
{
	size_t size;
	char *text = NULL;
	FILE *stream = open_memstream(&text, &size);
	unsigned int i;

	for (i = 0; stream && i < h->count; i++)
		fprintf(stream, "%s%s", i ? "\n" : "", h->line[i]);
	if (!stream || fclose(stream))
		return NULL;
	return text;
}

/* Prints the object of list --json --output-all, with a member for each counter. */
static enum status show_json(const struct loop_ctl_entry *e,
			     const struct holders *h, struct table *t)
{
	FILE *file = open_sysfs(e->index, "loop_stats");
	struct counter c;
	enum column_type type;
	char text[32], *lines;

	table_begin(t);
	add_row(t, e);
	while (file && read_counter(file, &c)) {
		format_number(c.value, text, sizeof(text));
		table_append(t, &(struct column){ c.name, TYPE_NUMBER, NULL },
			     text);
	}
	if (file)
		fclose(file);
	lines = h ? join(h) : NULL;
	/* libsmartcols prints an empty array as [null], so no holders are null */
	type = h && h->count ? TYPE_LIST : TYPE_TEXT;
	if (lines)
		table_append(t, &(struct column){ "holders", type, NULL }, lines);
	free(lines);
	return table_end(t);
}

int cmd_show(int argc, char **argv)
{
	bool found, with_holders = false;
	struct loop_ctl_entry e;
	struct holders holders;
	enum status status;
	unsigned int index;
	struct table t;
	int opt, control;

	table_init(&t, list_columns, NR_COLUMNS, list_default);
	table_option(&t, OPT_OUTPUT_ALL, &status);
	while ((opt = getopt_long(argc, argv, "bHJh", show_options, NULL)) !=
	       -1) {
		if (opt == 'h')
			return help(show_help);
		if (opt == 'H')
			with_holders = true;
		else if (!table_option(&t, opt, &status))
			return STATUS_USAGE;
	}
	if (optind + 1 != argc)
		return wrong("show", "takes one DEVICE");
	if (!parse_device(argv[optind], &index))
		return wrong("no such device name", argv[optind]);
	control = open_control(O_RDONLY);
	if (control < 0 || read_entry(control, index, 0, &e, &found))
		return STATUS_FAILED;
	if (!found) {
		warnx(no_device, index);
		return STATUS_FAILED;
	}
	if (with_holders)
		holders_init(&holders, control, index);
	status = t.json ? show_json(&e, with_holders ? &holders : NULL, &t) :
			  show(&e, with_holders ? &holders : NULL, t.bytes);
	if (with_holders)
		holders_free(&holders);
	return status;
}

/* find */

static const char find_help[] =
"usage: loopctl find FILE\n"
"\n"
"Prints the names of the devices that FILE is attached to, also if it was\n"
"attached under another name.  Fails if there are none.\n"
"\n"
"  -h, --help  print this text\n";

static const struct option find_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ }
};

int cmd_find(int argc, char **argv)
{
	const struct loop_ctl_entry *e;
	static struct cursor c;
	int opt, control, file;
	enum status status;
	bool any = false;

	while ((opt = getopt_long(argc, argv, "h", find_options, NULL)) != -1)
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
