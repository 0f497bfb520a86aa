// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver tells about devices: LOOP_CTL_LIST, and sysfs for the path
 * of a backing file and for counters.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "loopctl.h"

#define LIST_END (~0U)		/* no device has this number */

int open_control(int flags)
{
	int fd = open(CONTROL, flags | O_CLOEXEC);

	if (fd < 0)
		failed(CONTROL, "open");
	return fd;
}

void cursor_init(struct cursor *c, int control, __u32 flags, int fd)
{
	memset(c, 0, sizeof(*c));
	c->control = control;
	c->l.size = sizeof(c->l);
	c->l.flags = flags;
	c->l.fd = fd;
	c->l.entry_size = sizeof(c->entries[0]);
	c->l.entries = (unsigned long)c->entries;
}

/* Returns the next device, or NULL at the end and after an error. */
const struct loop_ctl_entry *cursor_next(struct cursor *c,
					 enum status *status)
{
	*status = STATUS_OK;
	while (c->at == c->filled) {
		if (c->l.start == LIST_END)
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

enum status read_entry(int control, unsigned int index, __u32 flags,
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

/* Takes the arguments that come after the options. */
enum status selection_init(struct selection *s, int argc, char **argv)
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

bool selected(struct selection *s, const struct loop_ctl_entry *e)
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

/* Reports each device that was not found; without any, returns @status. */
enum status selection_missing(const struct selection *s, const char *format,
			      enum status status)
{
	int i;

	for (i = 0; i < s->count; i++) {
		if (s->found[i])
			continue;
		warnx(format, s->index[i]);
		status = STATUS_FAILED;
	}
	return status;
}

bool has_file(const struct loop_ctl_entry *e)
{
	return e->state == LOOP_STATE_BOUND || e->state == LOOP_STATE_RUNDOWN;
}

/* Returns NULL if the device or the attribute is not there. */
FILE *open_sysfs(unsigned int index, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/loop%u/%s", index, name);
	return fopen(path, "re");
}

bool read_counter(FILE *file, struct counter *c)
{
	return fscanf(file, "%31s %llu", c->name, &c->value) == 2;
}

/*
 * The path of the backing file.  It is empty if sysfs has none, or if another
 * file was attached after @e was read, which the sequence number shows.
 */
void read_path(const struct loop_ctl_entry *e, char *path, size_t size)
{
	unsigned long long seq = 0;
	FILE *file;

	path[0] = '\0';
	if (!has_file(e))
		return;
	file = open_sysfs(e->index, "loop/backing_file");
	if (!file)
		return;
	if (!fgets(path, size, file))
		path[0] = '\0';
	fclose(file);
	path[strcspn(path, "\n")] = '\0';
	file = open_sysfs(e->index, "diskseq");
	if (!file || fscanf(file, "%llu", &seq) != 1 || seq != e->diskseq)
		path[0] = '\0';
	if (file)
		fclose(file);
}
