// SPDX-License-Identifier: GPL-2.0
/*
 * This file reads what the driver tells about devices: LOOP_CTL_LIST, and from sysfs
 * the path of a backing file and the counters.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "loopctl.h"

#define LIST_END (~0U)		/* no device has this number */

/* The words are those of /sys/block/loopN/loop_unmet. */
const struct word condition_words[NR_CONDITIONS] = {
	{ LOOP_COND_DIRECT_IO, "direct_io",
	  "direct I/O was asked for, and the file has none" },
	{ LOOP_COND_DIRECT_ALIGN, "direct_align",
	  "direct I/O is not possible with this offset or block size" },
	{ LOOP_COND_WRITE, "write",
	  "the file or the device was opened read-only, or BLKROSET was used" },
	{ LOOP_COND_SIZELIMIT, "sizelimit",
	  "the file ends before the limit, or the limit is not whole sectors" },
	{ LOOP_COND_DISCARD, "discard",
	  "the device offers no discard" },
	{ LOOP_COND_BLOCK_SIZE, "block_size",
	  "direct I/O on the file needs a block size above 512" },
	{ LOOP_COND_UNCACHED, "uncached",
	  "kernel or file system cannot do buffered I/O without caching it" },
};

const struct word attach_flag_words[NR_ATTACH_FLAGS] = {
	{ LOOP_ATTACH_LEASE, "lease", "a lease is open" },
	{ LOOP_ATTACH_HOLD, "hold", "the device has not been announced yet" },
	{ LOOP_ATTACH_EXCLUSIVE, "exclusive",
	  "no other device has the same part of the file" },
	{ LOOP_ATTACH_EPHEMERAL, "ephemeral",
	  "the device is removed when it is detached" },
	{ LOOP_ATTACH_DIRECT_ALIGNED, "direct-aligned",
	  "direct I/O where the file takes it" },
	{ LOOP_ATTACH_NO_INLINE, "no-inline", "workers do all I/O" },
	{ LOOP_ATTACH_UNCACHED, "uncached", "buffered I/O is not cached" },
	{ LOOP_ATTACH_INTERNAL, "internal", "the device belongs to a program" },
	{ LOOP_ATTACH_NO_DISCARD, "no-discard",
	  "the device makes no holes in the file" },
};

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
		if (c->l.out_next == LIST_END)
			return NULL;
		c->l.start = c->l.out_next;
		c->l.count = CHUNK;
		c->l.out_count = 0;
		c->l.out_next = 0;
		if (ioctl(c->control, LOOP_CTL_LIST, &c->l)) {
			*status = failed(CONTROL, "LOOP_CTL_LIST");
			return NULL;
		}
		c->at = 0;
		c->filled = c->l.out_count;
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
		.fd = -1,
		.entries = (unsigned long)e,
	};

	*found = false;
	if (ioctl(control, LOOP_CTL_LIST, &l))
		return failed(CONTROL, "LOOP_CTL_LIST");
	*found = l.out_count && e->index == index;
	return STATUS_OK;
}

/* Reads the names of devices that come after the options. */
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
	return e->state == LOOP_STATE_ATTACHED;
}

/* Writes the words of the bits that are set, with commas between them. */
void format_words(const struct word *words, unsigned int count, __u32 bits,
		  char *text, size_t size)
{
	size_t used = 0;
	unsigned int i;

	text[0] = '\0';
	for (i = 0; i < count; i++)
		if (bits & words[i].bit)
			used += snprintf(text + used, size - used, "%s%s",
					 used ? "," : "", words[i].word);
}

/* A device number as struct loop_info64 and struct loop_ctl_entry have it */
unsigned int dev_major(__u64 dev)
{
	return (dev >> 8) & 0xfff;
}

unsigned int dev_minor(__u64 dev)
{
	return (dev & 0xff) | ((dev >> 12) & 0xfff00);
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
	size_t len;
	FILE *file;

	path[0] = '\0';
	if (!has_file(e))
		return;
	file = open_sysfs(e->index, "loop/backing_file");
	if (!file)
		return;
	/* The path may have line breaks, and ends with one more. */
	len = fread(path, 1, size - 1, file);
	fclose(file);
	path[len ? len - 1 : 0] = '\0';
	file = open_sysfs(e->index, "diskseq");
	if (!file || fscanf(file, "%llu", &seq) != 1 || seq != e->diskseq)
		path[0] = '\0';
	if (file)
		fclose(file);
}
