// SPDX-License-Identifier: GPL-2.0
/*
 * The device under test: reports about it, and the states that groups share.
 */
#include "conformance.h"

int dev = -1;
int other = -1;
bool mounted;
bool as_nobody;

const char *group = "";
const char *state = "";
char running[256];
int call_errno;
bool spoiled;
static struct lt_buf base;
static uint64_t base_seq;

/* Reporting */

static uint64_t seq_now(void)
{
	return lt_exists(NUMBER) ? lt_sysfs_num(NUMBER, "diskseq") : 0;
}

/* Adds the words of @now that differ from those at the same place of @then. */
static void add_changes(struct lt_buf *out, const char *then, const char *now)
{
	bool changed = false;

	while (*now) {
		size_t n = strcspn(now, " "), t = strcspn(then, " ");

		if (n && (n != t || memcmp(now, then, n))) {
			lt_add(out, " %.*s", (int)n, now);
			changed = true;
		}
		now += n + (now[n] == ' ');
		then += t + (then[t] == ' ');
	}
	if (!changed)
		lt_add(out, " same");
}

void name_case(const char *name)
{
	snprintf(running, sizeof(running), "%s%s%s.%s", group,
		 *state ? "." : "", state, name);
}

/* Keeps the errno of a call until its report. */
int did(int rc)
{
	call_errno = errno;
	return rc;
}

void print_result(int rc, const char *words)
{
	printf("%s: rc=%d errno=%s%s\n", running, rc,
	       rc < 0 ? lt_errname(call_errno) : "0", words);
	fflush(stdout);
}

/* Remembers the state that later lines are compared with. */
void remember(void)
{
	base.len = 0;
	base.s[0] = '\0';
	lt_add_state(&base, NUMBER, dev);
	base_seq = seq_now();
}

/*
 * Prints a line for a call that returned @rc through did(). Returns whether the
 * device is as it was at remember(), or at the last report().
 */
bool report(const char *name, int rc)
{
	static struct lt_buf now, words;
	uint64_t seq;
	bool same;

	now.len = 0;
	words.len = 0;
	lt_add_state(&now, NUMBER, dev);
	seq = seq_now();
	lt_add(&words, " seq=%s", seq == base_seq ? "same" : "new");
	add_changes(&words, base.s, now.s);
	name_case(name);
	print_result(rc, words.s);
	same = seq == base_seq && !strcmp(now.s, base.s);
	if (rc < 0 && !same)
		spoiled = true;
	base = now;
	base_seq = seq;
	return same;
}

/* Prints a line that is not about the state of the device. */
__printf(3, 4)
void report_only(const char *name, int rc, const char *fmt, ...)
{
	char words[2048] = " ";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words + 1, sizeof(words) - 1, fmt, ap);
	va_end(ap);
	name_case(name);
	print_result(rc, words[1] ? words : "");
}

void report_enter(void)
{
	remember();
	name_case("enter");
	printf("%s:%s\n", running, base.s);
	fflush(stdout);
}

/* Setting up and taking down */

/* Closes all fds and detaches the device. */
void release(void)
{
	if (mounted && umount2(mount_point, MNT_DETACH))
		lt_die("umount %s", mount_point);
	mounted = false;
	as_nobody = false;
	if (other >= 0)
		close(other);
	if (dev >= 0)
		close(dev);
	other = -1;
	dev = -1;
	if (lt_sysfs_attached(NUMBER))
		lt_detach(NUMBER);
}

void leave(void)
{
	release();
	spoiled = false;
	if (!lt_destroy(NUMBER, 100))
		lt_die("loop%d does not go away after %s", NUMBER, running);
}

void new_device(int number)
{
	if (lt_exists(number) && !lt_destroy(number, 100))
		lt_die("loop%d does not go away", number);
	if (lt_ctl(LOOP_CTL_ADD, number) != number)
		lt_die("LOOP_CTL_ADD %d", number);
}

int open_number(int number, int flags)
{
	int fd = lt_open(number, flags);

	if (fd < 0)
		lt_die("open loop%d", number);
	return fd;
}

/* Makes a new device, which is free. */
void fresh(void)
{
	leave();
	new_device(NUMBER);
	dev = open_number(NUMBER, O_RDWR);
}

/*
 * Makes a free device, which may have been attached before. This is much faster,
 * and right for states that do not show what an earlier attach left.
 */
void renew(void)
{
	release();
	if (spoiled || !lt_exists(NUMBER) || lt_sysfs_attached(NUMBER) ||
	    lt_parts(NUMBER)) {
		fresh();
		return;
	}
	dev = open_number(NUMBER, O_RDWR);
}

void fresh_attached(enum image i, uint32_t flags)
{
	renew();
	if (lt_configure(dev, image[i].rw, 0, flags, 0, 0))
		lt_die("attach %s", image_names[i]);
}

void reopen(int flags)
{
	int fd = open_number(NUMBER, flags);

	close(dev);
	dev = fd;
}

void attach_number(int number, int backing)
{
	int fd;

	new_device(number);
	fd = open_number(number, O_RDWR);
	if (ioctl(fd, LOOP_SET_FD, backing))
		lt_die("attach loop%d", number);
	close(fd);
}

/* States */

void enter_attached(void)
{
	renew();
	if (ioctl(dev, LOOP_SET_FD, image[IMG_A].rw))
		lt_die("LOOP_SET_FD");
}

void enter_ro(void)
{
	renew();
	if (ioctl(dev, LOOP_SET_FD, image[IMG_A].ro))
		lt_die("LOOP_SET_FD read-only");
}

void enter_roflag(void)
{
	fresh_attached(IMG_A, LO_FLAGS_READ_ONLY);
}

void enter_direct(void)
{
	fresh_attached(IMG_A, LO_FLAGS_DIRECT_IO);
}

int status64(unsigned int xor_flags, uint64_t offset, uint64_t limit,
	     const char *name)
{
	struct loop_info64 info = { 0 };

	ioctl(dev, LOOP_GET_STATUS64, &info);
	info.lo_flags ^= xor_flags;
	if (offset != UINT64_MAX)
		info.lo_offset = offset;
	if (limit != UINT64_MAX)
		info.lo_sizelimit = limit;
	if (name)
		memcpy(info.lo_file_name, name, strlen(name) + 1);
	return ioctl(dev, LOOP_SET_STATUS64, &info);
}

/* Files */

int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		lt_die("open %s", path);
	return fd;
}

int in_dir(const char *name, int flags)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return must_open(path, flags);
}
