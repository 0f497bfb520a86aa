/* SPDX-License-Identifier: GPL-2.0 */
/* These are the declarations that the files of loopctl share. */
#ifndef LOOPCTL_H
#define LOOPCTL_H

#include <stdbool.h>
#include <stdio.h>

#include <linux/loop.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define NSEC_PER_SEC 1000000000ULL
#define NO_LIMIT (~0ULL)	/* a time or a deadline that never comes */

/* loopctl.c: the program's exit status, messages and arguments */

enum status {
	STATUS_OK,
	STATUS_FAILED,
	STATUS_USAGE,
	STATUS_BUSY,		/* another program uses it */
	STATUS_TIMEOUT,
	STATUS_NOT_RUN = 126,	/* the shell's status for COMMAND */
	STATUS_NOT_FOUND = 127,
};

enum status failed(const char *what, const char *call);
enum status wrong(const char *what, const char *value);
int help(const char *text);
bool parse_bytes(const char *text, unsigned long long *bytes);
bool parse_seconds(const char *text, unsigned long long *ns);
bool parse_device(const char *text, unsigned int *index);
unsigned long long now(void);

/* attach.c, detach.c, list.c, stat.c: one function for each command */

int cmd_attach(int argc, char **argv);
int cmd_announce(int argc, char **argv);
int cmd_detach(int argc, char **argv);
int cmd_wait(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_find(int argc, char **argv);
int cmd_stat(int argc, char **argv);

/* gpt.c: the sector size of a partition table */

enum status gpt_sector_size(int file, const char *name, __u64 offset,
			    __u32 *size);

/* detach.c: LOOP_CTL_DETACH, again after a signal */

int detach_ioctl(int control, struct loop_ctl_detach *d);

/* holders.c: who uses a device, one line of text for each user */

struct holders {
	char **line;
	unsigned int count;
};

void holders_init(struct holders *h, int control, unsigned int index);
void holders_print(const struct holders *h, FILE *file, const char *prefix);
void holders_report(int control, unsigned int index);
void holders_free(struct holders *h);

/* device.c: devices as the driver describes them */

#define CONTROL "/dev/loop-control"
#define CHUNK 64		/* entries that one LOOP_CTL_LIST returns */

/* A walk over the devices, which reads CHUNK of them at a time. */
struct cursor {
	int control;
	struct loop_ctl_list l;
	struct loop_ctl_entry entries[CHUNK];
	unsigned int at, filled;
};

/* The devices that the arguments name; a count of 0 selects all devices. */
struct selection {
	unsigned int *index;
	int count;
	bool *found;
};

/* The name of a bit, and its meaning */
struct word {
	__u32 bit;
	const char *word, *what;
};

#define NR_CONDITIONS 7
#define NR_ATTACH_FLAGS 9
extern const struct word condition_words[NR_CONDITIONS];
extern const struct word attach_flag_words[NR_ATTACH_FLAGS];

/* A line of /sys/block/loopN/loop_stats */
struct counter {
	char name[32];
	unsigned long long value;
};

int open_control(int flags);
void cursor_init(struct cursor *c, int control, __u32 flags, int fd);
const struct loop_ctl_entry *cursor_next(struct cursor *c,
					 enum status *status);
enum status read_entry(int control, unsigned int index, __u32 flags,
		       struct loop_ctl_entry *e, bool *found);
enum status selection_init(struct selection *s, int argc, char **argv);
bool selected(struct selection *s, const struct loop_ctl_entry *e);
enum status selection_missing(const struct selection *s, const char *format,
			      enum status status);
bool has_file(const struct loop_ctl_entry *e);
void format_words(const struct word *words, unsigned int count, __u32 bits,
		  char *text, size_t size);
unsigned int dev_major(__u64 dev);
unsigned int dev_minor(__u64 dev);
FILE *open_sysfs(unsigned int index, const char *name);
bool read_counter(FILE *file, struct counter *c);
void read_path(const struct loop_ctl_entry *e, char *path, size_t size);

/* table.c: tables and JSON, printed by libsmartcols */

#define COLUMNS_MAX 32

/* The long options that have no letter; all others are one character. */
enum {
	OPT_OUTPUT_ALL = 256,
	OPT_RAW,
	OPT_NO_DISCARD,
	OPT_NO_INLINE,
};

/* The letters of table_options() */
#define TABLE_LETTERS "JnO:"

enum column_type {
	TYPE_TEXT,
	TYPE_NUMBER,
	TYPE_BOOLEAN,
	TYPE_LIST,		/* lines; in JSON an array */
};

struct column {
	const char *name;
	enum column_type type;
	const char *help;
};

struct option;
struct libscols_table;
struct libscols_line;

/* A table: its contents, and how it is printed. JSON always has sizes in bytes. */
struct table {
	const struct column *columns;
	unsigned int nr_columns;
	unsigned int chosen[COLUMNS_MAX], nr_chosen;
	bool bytes, json, raw, noheadings;
	struct libscols_table *scols;
	struct libscols_line *row;
};

void table_init(struct table *t, const struct column *columns,
		unsigned int nr_columns, const char *chosen);
struct option *table_options(const struct option *own, unsigned int count);
bool table_option(struct table *t, int opt, enum status *status);
int table_help(const struct table *t, const char *text);
void table_begin(struct table *t);
void table_row(struct table *t);
void table_set(struct table *t, unsigned int at, const char *text);
void table_append(struct table *t, const struct column *column,
		  const char *text);
enum status table_end(struct table *t);
enum status table_end_line(struct table *t);
void format_bytes(const struct table *t, unsigned long long bytes, char *text,
		  size_t size);

#endif /* LOOPCTL_H */
