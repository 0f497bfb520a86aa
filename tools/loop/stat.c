// SPDX-License-Identifier: GPL-2.0
/*
 * "loopctl stat" prints rates: the difference of two samples of the counters in sysfs,
 * for each second between them.
 */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loopctl.h"

/* Columns */

enum {
	COL_NAME,
	COL_DISK_SEQ,
	COL_SECONDS,
	COL_READS,
	COL_WRITES,
	COL_READ_KIB,
	COL_WRITE_KIB,
	COL_INLINE,
	COL_CLONED,
	COL_FLUSHES,
	COL_FSYNCS,
	COL_BACK_FILE,
	NR_COLUMNS
};

static const struct column stat_columns[NR_COLUMNS] = {
	[COL_NAME] = { "NAME", TYPE_TEXT, "loop device name" },
	[COL_DISK_SEQ] = { "DISK-SEQ", TYPE_NUMBER, "disk sequence number" },
	[COL_SECONDS] = { "SECONDS", TYPE_NUMBER, "length of the interval" },
	[COL_READS] = { "READ/S", TYPE_NUMBER, "reads per second" },
	[COL_WRITES] = { "WRITE/S", TYPE_NUMBER, "writes per second" },
	[COL_READ_KIB] = { "RKIB/S", TYPE_NUMBER, "KiB read per second" },
	[COL_WRITE_KIB] = { "WKIB/S", TYPE_NUMBER, "KiB written per second" },
	[COL_INLINE] = { "INLINE%", TYPE_NUMBER,
			 "I/O that its submitter did, without a worker" },
	[COL_CLONED] = { "CLONED%", TYPE_NUMBER,
			 "I/O that was passed on to the block device below" },
	[COL_FLUSHES] = { "FLUSH/S", TYPE_NUMBER, "flushes per second" },
	[COL_FSYNCS] = { "FSYNC/S", TYPE_NUMBER,
			 "syncs of the file that served flushes, per second" },
	[COL_BACK_FILE] = { "BACK-FILE", TYPE_TEXT, "path of the file" },
};

static const char stat_default[] =
	"NAME,READ/S,WRITE/S,RKIB/S,WKIB/S,INLINE%,CLONED%,FLUSH/S,FSYNC/S,BACK-FILE";

static const char stat_help[] =
"usage: loopctl stat [OPTION]... [DEVICE]...\n"
"\n"
"Waits for a second, and prints the rates of I/O of the devices that have a\n"
"file, or of each DEVICE, in that time.\n"
"\n"
"  -w, --watch             repeat it, on a terminal in the same place\n"
"  -i, --interval SECONDS  wait for this time instead of a second\n";

static const struct option stat_options[] = {
	{ "watch", no_argument, NULL, 'w' },
	{ "interval", required_argument, NULL, 'i' },
};

/* Samples */

enum {
	READS,
	READ_SECTORS,
	WRITES,
	WRITE_SECTORS,
	INLINE,
	CLONED,
	WORKER,
	RETRY,			/* tried inline, and moved to a worker */
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
	cursor_init(&c, control, LOOP_LIST_ATTACHED, -1);
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

/* Rates */

/* Computes the rates of a device; a share is negative if there was no I/O. */
static void rates_init(double rate[NR_COLUMNS], const struct sample *from,
		       const struct sample *to, double seconds)
{
	double d[NR_VALUES], all, done;
	unsigned int i;

	/*
	 * The kernel sums a counter over the processors while it grows, so that
	 * a later sum can be smaller.
	 */
	for (i = 0; i < NR_VALUES; i++)
		d[i] = to->value[i] < from->value[i] ?
			       0 : to->value[i] - from->value[i];
	rate[COL_SECONDS] = seconds;
	rate[COL_READS] = d[READS] / seconds;
	rate[COL_WRITES] = d[WRITES] / seconds;
	rate[COL_READ_KIB] = d[READ_SECTORS] / 2 / seconds;
	rate[COL_WRITE_KIB] = d[WRITE_SECTORS] / 2 / seconds;
	rate[COL_FLUSHES] = d[FLUSH] / seconds;
	rate[COL_FSYNCS] = d[FSYNC] / seconds;
	all = d[INLINE] + d[CLONED] + d[WORKER];
	done = d[INLINE] > d[RETRY] ? d[INLINE] - d[RETRY] : 0;
	rate[COL_INLINE] = all ? 100 * done / all : -1;
	rate[COL_CLONED] = all ? 100 * d[CLONED] / all : -1;
}

static void add_row(struct table *t, const struct loop_ctl_entry *e,
		    const double rate[NR_COLUMNS])
{
	char text[PATH_MAX];
	unsigned int i, column;

	table_row(t);
	for (i = 0; i < t->nr_chosen; i++) {
		column = t->chosen[i];
		text[0] = '\0';
		if (column == COL_NAME)
			snprintf(text, sizeof(text), "/dev/loop%u", e->index);
		else if (column == COL_DISK_SEQ)
			snprintf(text, sizeof(text), "%llu", e->diskseq);
		else if (column == COL_BACK_FILE)
			read_path(e, text, sizeof(text));
		else if (rate[column] >= 0)
			snprintf(text, sizeof(text), "%.*f",
				 column == COL_SECONDS ? 3 : 1, rate[column]);
		table_set(t, i, text);
	}
}

/* Prints the devices that had the same file at both samples. */
static enum status print_stat(const struct samples *from,
			      const struct samples *to, struct table *t)
{
	double seconds = (double)(to->at - from->at) / NSEC_PER_SEC;
	const struct sample *old = from->of, *s;
	double rate[NR_COLUMNS];

	table_begin(t);
	for (s = to->of; s < to->of + to->count; s++) {
		while (old < from->of + from->count &&
		       old->e.index < s->e.index)
			old++;
		if (old == from->of + from->count ||
		    old->e.diskseq != s->e.diskseq)
			continue;
		rates_init(rate, old, s, seconds);
		add_row(t, &s->e, rate);
	}
	return t->json ? table_end_line(t) : table_end(t);
}

static enum status stat_loop(int control, struct selection *wanted,
			     unsigned long long interval, bool watch,
			     struct table *t)
{
	struct timespec ts = {
		.tv_sec = interval / NSEC_PER_SEC,
		.tv_nsec = interval % NSEC_PER_SEC,
	};
	struct samples from = { }, to = { }, spare;
	bool again = false, in_place;
	enum status status;

	in_place = watch && !t->json && isatty(STDOUT_FILENO);
	status = take(&from, control, wanted);
	if (status == STATUS_OK)
		status = selection_missing(wanted, "/dev/loop%u is not attached",
					   status);
	while (status == STATUS_OK) {
		nanosleep(&ts, NULL);
		status = take(&to, control, wanted);
		if (status != STATUS_OK)
			break;
		if (in_place)
			printf("\033[H\033[J");
		else if (again && !t->json)
			putchar('\n');
		status = print_stat(&from, &to, t);
		if (fflush(stdout))
			status = STATUS_FAILED;	/* main() reports it */
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

int cmd_stat(int argc, char **argv)
{
	unsigned long long interval = NSEC_PER_SEC;
	struct option *options;
	struct selection s;
	enum status status;
	bool watch = false;
	struct table t;
	int opt, control;

	options = table_options(stat_options, ARRAY_SIZE(stat_options));
	table_init(&t, stat_columns, NR_COLUMNS, stat_default);
	while ((opt = getopt_long(argc, argv, "wi:h" TABLE_LETTERS, options,
				  NULL)) != -1) {
		switch (opt) {
		case 'h':
			return table_help(&t, stat_help);
		case 'w':
			watch = true;
			break;
		case 'i':
			if (!parse_seconds(optarg, &interval) || !interval)
				return wrong("not an interval", optarg);
			break;
		default:
			if (!table_option(&t, opt, &status))
				return STATUS_USAGE;
			if (status != STATUS_OK)
				return status;
		}
	}
	status = selection_init(&s, argc, argv);
	if (status != STATUS_OK)
		return status;
	control = open_control(O_RDONLY);
	if (control < 0)
		return STATUS_FAILED;
	return stat_loop(control, &s, interval, watch, &t);
}
