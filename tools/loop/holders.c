// SPDX-License-Identifier: GPL-2.0
/*
 * This file finds the users of a device and its partitions: processes, mounts in any
 * mount namespace, swap, devices above. The kernel has no list of them, so this reads
 * /proc and /sys. It accesses no other file, as an image may lie on a server that does
 * not answer.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>
#include "loopctl.h"

/* The device and its partitions */
struct parts {
	unsigned int index;
	dev_t *dev;
	unsigned int count;
};

static void add(struct holders *h, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Adds a line, unless the list has it already. */
static void add(struct holders *h, const char *format, ...)
{
	char **lines, *line;
	unsigned int i;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&line, format, args);
	va_end(args);
	if (len < 0)
		return;
	for (i = 0; i < h->count && strcmp(h->line[i], line); i++)
		;
	lines = i < h->count ? NULL :
		realloc(h->line, (h->count + 1) * sizeof(*lines));
	if (!lines) {
		free(line);
		return;
	}
	h->line = lines;
	h->line[h->count++] = line;
}

/* The device */

static void parts_add(struct parts *p, const char *sysfs)
{
	char path[PATH_MAX];
	unsigned int major, minor;
	dev_t *dev;
	FILE *file;

	snprintf(path, sizeof(path), "%s/dev", sysfs);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fscanf(file, "%u:%u", &major, &minor) == 2) {
		dev = realloc(p->dev, (p->count + 1) * sizeof(*dev));
		if (dev) {
			p->dev = dev;
			dev[p->count++] = makedev(major, minor);
		}
	}
	fclose(file);
}

static bool parts_have(const struct parts *p, unsigned int major,
		       unsigned int minor)
{
	unsigned int i;

	for (i = 0; i < p->count; i++)
		if (p->dev[i] == makedev(major, minor))
			return true;
	return false;
}

/* Returns true if @name is "/dev/loopN", or "/dev/loopNp" and a number. */
static bool parts_named(const struct parts *p, const char *name)
{
	char device[32];
	size_t len;

	len = snprintf(device, sizeof(device), "/dev/loop%u", p->index);
	return !strncmp(name, device, len) &&
	       (!name[len] || (name[len] == 'p' && name[len + 1] &&
			       !name[len + 1 + strspn(name + len + 1,
						      "0123456789")]));
}

/* Devices above */

static void find_above(struct holders *h, const char *sysfs)
{
	char path[PATH_MAX], name[128];
	struct dirent *entry;
	FILE *file;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/holders", sysfs);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/dm/name",
			 entry->d_name);
		file = fopen(path, "re");
		if (file && fscanf(file, "%127s", name) == 1)
			add(h, "device /dev/%s (%s)", entry->d_name, name);
		else
			add(h, "device /dev/%s", entry->d_name);
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
}

static void find_loop_above(struct holders *h, const struct parts *p,
			    int control)
{
	const struct loop_ctl_entry *e;
	enum status status;
	struct cursor *c;

	c = malloc(sizeof(*c));
	if (!c)
		return;
	cursor_init(c, control, LOOP_LIST_ATTACHED, -1);
	while ((e = cursor_next(c, &status)))
		if (e->backing_rdev && parts_have(p, dev_major(e->backing_rdev),
						  dev_minor(e->backing_rdev)))
			add(h, "device /dev/loop%u", e->index);
	free(c);
}

/* The device's directory in sysfs has one for each partition. */
static void find_parts(struct holders *h, struct parts *p)
{
	char base[64], path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(base, sizeof(base), "/sys/block/loop%u", p->index);
	parts_add(p, base);
	find_above(h, base);
	dir = opendir(base);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "loop", 4) ||
		    !strchr(entry->d_name + 4, 'p'))
			continue;
		snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
		parts_add(p, path);
		find_above(h, path);
	}
	if (dir)
		closedir(dir);
}

/* Swap */

static void find_swap(struct holders *h, const struct parts *p)
{
	FILE *file = fopen("/proc/swaps", "re");
	char name[PATH_MAX];

	while (file && fscanf(file, "%4095s%*[^\n]", name) == 1)
		if (parts_named(p, name))
			add(h, "swap on %s", name);
	if (file)
		fclose(file);
}

/* Processes */

static void read_comm(unsigned int pid, char *comm, size_t size)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(comm, size, file))
		snprintf(comm, size, "?");
	if (file)
		fclose(file);
	comm[strcspn(comm, "\n")] = '\0';
}

/*
 * Returns true if a link in @sub, a directory of file descriptors or mappings, leads to
 * the device. AT_STATX_DONT_SYNC asks no server about a file.
 */
static bool process_has(const struct parts *p, unsigned int pid,
			const char *sub)
{
	struct dirent *entry;
	struct statx stx;
	bool has = false;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, sub);
	dir = opendir(path);
	while (dir && !has && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' ||
		    statx(dirfd(dir), entry->d_name, AT_STATX_DONT_SYNC,
			  STATX_TYPE, &stx))
			continue;
		has = S_ISBLK(stx.stx_mode) &&
		      parts_have(p, stx.stx_rdev_major, stx.stx_rdev_minor);
	}
	if (dir)
		closedir(dir);
	return has;
}

/* Mounts */

/* Returns the mount namespace as a number, or 0 if it cannot be read. */
static ino_t mount_namespace(unsigned int pid)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/ns/mnt", pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

/* A mount of btrfs has a device number of its own, so this looks at the source, too. */
static void find_mounts(struct holders *h, const struct parts *p,
			unsigned int pid, bool own)
{
	char path[64], *line = NULL, *tail, at[PATH_MAX], type[64];
	char source[PATH_MAX], comm[64], where[160] = "";
	unsigned int major, minor;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/mountinfo", pid);
	file = fopen(path, "re");
	if (!own) {
		read_comm(pid, comm, sizeof(comm));
		snprintf(where, sizeof(where),
			 " in the mount namespace of process %u (%s)", pid,
			 comm);
	}
	while (file && getline(&line, &size, file) > 0) {
		tail = strstr(line, " - ");
		if (!tail || sscanf(line, "%*u %*u %u:%u %*s %4095s", &major,
				    &minor, at) != 3 ||
		    sscanf(tail, " - %63s %4095s", type, source) != 2)
			continue;
		if (parts_have(p, major, minor) || parts_named(p, source))
			add(h, "mount %s (%s)%s", at, type, where);
	}
	free(line);
	if (file)
		fclose(file);
}

/* The mount namespaces that have been looked at */
struct namespaces {
	ino_t *of;
	unsigned int count;
};

static bool namespaces_add(struct namespaces *n, ino_t ns)
{
	unsigned int i;
	ino_t *of;

	for (i = 0; i < n->count; i++)
		if (n->of[i] == ns)
			return false;
	of = realloc(n->of, (n->count + 1) * sizeof(*of));
	if (!of)
		return false;
	n->of = of;
	of[n->count++] = ns;
	return true;
}

static void find_in_proc(struct holders *h, const struct parts *p)
{
	DIR *proc = opendir("/proc");
	struct namespaces seen = { };
	struct dirent *entry;
	unsigned int pid = getpid();
	char comm[64];

	namespaces_add(&seen, mount_namespace(pid));
	find_mounts(h, p, pid, true);
	while (proc && (entry = readdir(proc))) {
		pid = strtoul(entry->d_name, NULL, 10);
		if (!pid)
			continue;
		if (namespaces_add(&seen, mount_namespace(pid)))
			find_mounts(h, p, pid, false);
		if (!process_has(p, pid, "fd") &&
		    !process_has(p, pid, "map_files"))
			continue;
		read_comm(pid, comm, sizeof(comm));
		add(h, "process %u (%s)", pid, comm);
	}
	if (proc)
		closedir(proc);
	free(seen.of);
}

/* The functions that the commands use */

void holders_init(struct holders *h, int control, unsigned int index)
{
	struct parts p = { .index = index };

	memset(h, 0, sizeof(*h));
	find_parts(h, &p);
	find_loop_above(h, &p, control);
	find_swap(h, &p);
	find_in_proc(h, &p);
	free(p.dev);
}

void holders_free(struct holders *h)
{
	while (h->count)
		free(h->line[--h->count]);
	free(h->line);
}

/*
 * Other users choose the names of their processes and directories, so a byte that belongs
 * to no printable character becomes a question mark.
 */
static void make_printable(char *text)
{
	mbstate_t state = { };
	wchar_t wide;
	size_t len;

	while (*text) {
		len = mbrtowc(&wide, text, strlen(text), &state);
		if (len != (size_t)-1 && len != (size_t)-2 && iswprint(wide)) {
			text += len;
			continue;
		}
		*text++ = '?';
		memset(&state, 0, sizeof(state));
	}
}

/* Prints a line for each user. */
void holders_print(const struct holders *h, FILE *file, const char *prefix)
{
	unsigned int i;

	for (i = 0; i < h->count; i++) {
		make_printable(h->line[i]);
		fprintf(file, "%s%s\n", prefix, h->line[i]);
	}
}

/* Prints on stderr who uses the device. */
void holders_report(int control, unsigned int index)
{
	struct holders h;
	char prefix[64];

	holders_init(&h, control, index);
	snprintf(prefix, sizeof(prefix), "%s: /dev/loop%u is used by ",
		 program_invocation_short_name, index);
	holders_print(&h, stderr, prefix);
	if (!h.count)
		warnx("/dev/loop%u: /proc and /sys do not tell who uses it",
		      index);
	holders_free(&h);
}
