// SPDX-License-Identifier: GPL-2.0
/*
 * Tables and JSON.  libsmartcols prints both; the options that choose and
 * shape them have the names and letters that losetup and lsblk give them.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libsmartcols.h>

#include "loopctl.h"

/* Returns @pointer, or ends the program if there was no memory for it. */
static void *must(void *pointer)
{
	if (!pointer) {
		errno = ENOMEM;
		exit(failed("table", "libsmartcols"));
	}
	return pointer;
}

static bool choose_column(struct table *t, const char *name, size_t len)
{
	unsigned int i;

	for (i = 0; i < t->nr_columns; i++) {
		if (strlen(t->columns[i].name) != len ||
		    strncasecmp(t->columns[i].name, name, len))
			continue;
		if (t->nr_chosen == COLUMNS_MAX) {
			wrong("output", "too many columns");
			return false;
		}
		t->chosen[t->nr_chosen++] = i;
		return true;
	}
	warnx("unknown column: %.*s", (int)len, name);
	return false;
}

/* A list that begins with "+" extends the columns that are chosen already. */
static bool choose(struct table *t, const char *list)
{
	size_t len;

	if (*list == '+')
		list++;
	else
		t->nr_chosen = 0;
	for (;; list += len + 1) {
		len = strcspn(list, ",");
		if (!choose_column(t, list, len))
			return false;
		if (!list[len])
			return true;
	}
}

void table_init(struct table *t, const struct column *columns,
		unsigned int nr_columns, const char *chosen)
{
	memset(t, 0, sizeof(*t));
	t->columns = columns;
	t->nr_columns = nr_columns;
	choose(t, chosen);
}

/* The options that choose and shape any table */
static const struct option shared[] = {
	{ "json", no_argument, NULL, 'J' },
	{ "noheadings", no_argument, NULL, 'n' },
	{ "output", required_argument, NULL, 'O' },
	{ "output-all", no_argument, NULL, OPT_OUTPUT_ALL },
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

/* Returns a command's own options followed by these. */
struct option *table_options(const struct option *own, unsigned int count)
{
	struct option *all = must(calloc(count + ARRAY_SIZE(shared), sizeof(*all)));

	memcpy(all, own, count * sizeof(*all));
	memcpy(all + count, shared, sizeof(shared));
	return all;
}

/* Takes an option of getopt_long(); returns false if it is not a table's. */
bool table_option(struct table *t, int opt, enum status *status)
{
	unsigned int i;

	*status = STATUS_OK;
	switch (opt) {
	case 'b':
		t->bytes = true;
		return true;
	case 'J':
		t->json = true;
		break;
	case 'n':
		t->noheadings = true;
		return true;
	case 'O':
		if (!choose(t, optarg))
			*status = STATUS_USAGE;
		return true;
	case OPT_OUTPUT_ALL:
		for (i = 0; i < t->nr_columns; i++)
			t->chosen[i] = i;
		t->nr_chosen = i;
		return true;
	case OPT_RAW:
		t->raw = true;
		break;
	default:
		return false;
	}
	if (t->json && t->raw)
		*status = wrong("--json and --raw", "mutually exclusive");
	return true;
}

static const char table_text[] =
"  -J, --json              print JSON, with sizes in bytes\n"
"  -n, --noheadings        do not print headings\n"
"  -O, --output LIST       print these columns; \"+LIST\" adds to the default ones\n"
"      --output-all        print all columns\n"
"      --raw               print values that are separated by one space\n"
"  -h, --help              print this text\n"
"\n"
"Columns:\n";

/* Prints the help of a command: its own text, these options and the columns. */
int table_help(const struct table *t, const char *text)
{
	unsigned int i;

	fputs(text, stdout);
	fputs(table_text, stdout);
	for (i = 0; i < t->nr_columns; i++)
		printf("  %-12s  %s\n", t->columns[i].name,
		       t->columns[i].help);
	return STATUS_OK;
}

static void add_column(struct table *t, const struct column *column)
{
	static const int json_types[] = {
		[TYPE_TEXT] = SCOLS_JSON_STRING,
		[TYPE_NUMBER] = SCOLS_JSON_NUMBER,
		[TYPE_BOOLEAN] = SCOLS_JSON_BOOLEAN,
		[TYPE_LIST] = SCOLS_JSON_ARRAY_STRING,
	};
	bool right = column->type == TYPE_NUMBER ||
		     column->type == TYPE_BOOLEAN;
	int flags = column->type == TYPE_LIST ? SCOLS_FL_WRAP :
					      right ? SCOLS_FL_RIGHT : 0;
	struct libscols_column *c;

	c = must(scols_table_new_column(t->scols, column->name, 0, flags));
	scols_column_set_json_type(c, json_types[column->type]);
	if (column->type == TYPE_LIST) {
		scols_column_set_wrapfunc(c, scols_wrapnl_chunksize,
					  scols_wrapnl_nextchunk, NULL);
		scols_column_set_safechars(c, "\n");
	}
}

void table_begin(struct table *t)
{
	unsigned int i;

	t->scols = must(scols_new_table());
	scols_table_set_name(t->scols, "loopdevices");
	scols_table_enable_json(t->scols, t->json);
	scols_table_enable_raw(t->scols, t->raw);
	scols_table_enable_noheadings(t->scols, t->noheadings);
	for (i = 0; i < t->nr_chosen; i++)
		add_column(t, &t->columns[t->chosen[i]]);
}

void table_row(struct table *t)
{
	t->row = must(scols_table_new_line(t->scols, NULL));
}

/* Returns the length of the UTF-8 sequence at @s, or 0 if there is none. */
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
	/* An overlong form, a surrogate, or a number above U+10FFFF */
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/*
 * JSON is UTF-8, and libsmartcols copies bytes as they are.  A byte that is
 * not part of UTF-8 becomes the character with its number, which has two bytes.
 */
static char *to_utf8(const char *text)
{
	const unsigned char *from = (const unsigned char *)text;
	char *utf8 = must(malloc(2 * strlen(text) + 1)), *to = utf8;
	unsigned int len;

	for (; *from; from += len) {
		len = utf8_length(from);
		if (len) {
			memcpy(to, from, len);
			to += len;
		} else {
			*to++ = 0xc0 | *from >> 6;
			*to++ = 0x80 | (*from & 0x3f);
			len = 1;
		}
	}
	*to = '\0';
	return utf8;
}

/* Sets the cell of this row that is in the chosen column @at. */
void table_set(struct table *t, unsigned int at, const char *text)
{
	char *data = t->json ? to_utf8(text) : must(strdup(text));

	if (scols_line_refer_data(t->row, at, data))
		must(NULL);
}

/* Adds a column and its cell to a table that has one row. */
void table_append(struct table *t, const struct column *column,
		  const char *text)
{
	add_column(t, column);
	table_set(t, scols_table_get_ncols(t->scols) - 1, text);
}

enum status table_end(struct table *t)
{
	int err = scols_print_table(t->scols);

	scols_unref_table(t->scols);
	if (!err)
		return STATUS_OK;
	errno = -err;
	return failed("table", "print");
}

/*
 * Prints JSON in one line, for programs that read one object after the other.
 * Line breaks inside of strings are escaped, so that all others, and the spaces
 * that follow them, are layout.
 */
enum status table_end_line(struct table *t)
{
	enum status status;
	char *json = NULL;
	const char *c;
	size_t size;
	FILE *stream;

	stream = must(open_memstream(&json, &size));
	scols_table_set_stream(t->scols, stream);
	status = table_end(t);
	must(fclose(stream) ? NULL : json);
	for (c = json; *c; c++) {
		if (*c == '\n')
			c += strspn(c, "\n ") - 1;
		else
			putchar(*c);
	}
	putchar('\n');
	free(json);
	return status;
}

/* Formats a size in bytes, or rounded to a tenth of a unit, as lsblk does. */
void format_bytes(const struct table *t, unsigned long long bytes, char *text,
		  size_t size)
{
	static const char units[] = "BKMGTPE";
	unsigned long long tenths;
	unsigned int unit = 0;

	if (t->bytes || t->json) {
		snprintf(text, size, "%llu", bytes);
		return;
	}
	while (unit + 2 < sizeof(units) && bytes >> (10 * (unit + 1)))
		unit++;
	tenths = unit ? ((bytes >> (10 * (unit - 1))) * 10 + 512) >> 10 :
			bytes * 10;
	if (tenths % 10)
		snprintf(text, size, "%llu.%llu%c", tenths / 10, tenths % 10,
			 units[unit]);
	else
		snprintf(text, size, "%llu%c", tenths / 10, units[unit]);
}
