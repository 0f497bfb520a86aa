// SPDX-License-Identifier: GPL-2.0
/*
 * Drives every ioctl of loop devices and of /dev/loop-control with good and
 * bad arguments in every state and prints one line per case:
 *
 *	GROUP.STATE.CALL: rc=0 errno=0 seq=same WORD...
 *
 * where the words are what the call changed of the device's visible state
 * (GET_STATUS64, size, block sizes, sysfs, see lt_add_state()), or "same".
 * The line GROUP.STATE.enter shows all of it.  The output of two drivers, or
 * of two versions of one, is meant to be compared line by line, so there is
 * nothing in it that differs between two runs.
 *
 * usage: conformance [-b] [-d DIRECTORY] [-f NAME=DIRECTORY]... [GROUP]...
 *
 * Images are made in DIRECTORY; -f adds a file system to try as backing; -b
 * leaves out what does not depend on the word size.
 */
#include <fnmatch.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdalign.h>
#include <time.h>
#include <linux/falloc.h>

#include "loop_test.h"

#define NUMBER 40		/* the device under test */
#define LOWER 41		/* loop devices below it */
#define LOWEST 42
#define IMAGE_SIZE (2 * LT_MIB)
#define NOBODY 65534
#define GROUP_SECONDS 800
#define MAX_FS 8

enum image {
	IMG_A,			/* patterned */
	IMG_B,			/* another of that size */
	IMG_C,			/* of half that size */
	IMG_P,			/* two partitions */
	IMG_E,			/* an ext4 file system */
	IMG_COUNT
};

static const char *const image_names[IMG_COUNT] = { "A", "B", "C", "P", "E" };

static const char *dir = "/tmp";
static char *fs_args[MAX_FS];
static int nr_fs;

static struct {
	char path[PATH_MAX];
	int rw, ro;
} image[IMG_COUNT];

/* The device under test: the fd that calls are made on, and one more */
static int dev = -1;
static int other = -1;
static bool brief;		/* fewer states */
static bool mounted;
static bool as_nobody;
static char mount_point[PATH_MAX];

static const char *group = "";
static const char *state = "";
static char running[256];
static int call_errno;
static bool spoiled;		/* do not use the device once more */
static struct lt_buf base;
static uint64_t base_seq;
static long page;

/* Reporting */

static void die_by_alarm(int sig)
{
	static const char text[] = "Bail out! no end of ";

	if (write(1, text, sizeof(text) - 1) < 0 ||
	    write(1, running, strlen(running)) < 0 || write(1, "\n", 1) < 0)
		_exit(3);
	_exit(2);
}

static uint64_t seq_now(void)
{
	return lt_exists(NUMBER) ? lt_sysfs_num(NUMBER, "diskseq") : 0;
}

/* Adds the words of @now that are not at the same place in @then. */
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

static void name_case(const char *name)
{
	snprintf(running, sizeof(running), "%s%s%s.%s", group,
		 *state ? "." : "", state, name);
}

/* Keeps the errno of a call that is reported after others. */
static int did(int rc)
{
	call_errno = errno;
	return rc;
}

static void print_result(int rc, const char *words)
{
	printf("%s: rc=%d errno=%s%s\n", running, rc,
	       rc < 0 ? lt_errname(call_errno) : "0", words);
	fflush(stdout);
}

/* Remembers the state that later lines are compared with. */
static void remember(void)
{
	base.len = 0;
	base.s[0] = '\0';
	lt_add_state(&base, NUMBER, dev);
	base_seq = seq_now();
}

/*
 * One line for a call that returned @rc through did().  Returns whether the
 * device is as it was at remember(), or at the last report().
 */
static bool report(const char *name, int rc)
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

/* A line that is about something else than the device's state. */
static __printf(3, 4)
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

static void report_enter(void)
{
	remember();
	name_case("enter");
	printf("%s:%s\n", running, base.s);
	fflush(stdout);
}

/* Setting up and taking down */

/* Closes all, so that it can be unbound. */
static void release(void)
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
	if (lt_sysfs_bound(NUMBER))
		lt_detach(NUMBER);
}

static void leave(void)
{
	release();
	spoiled = false;
	if (!lt_destroy(NUMBER, 100))
		lt_die("loop%d does not go away after %s", NUMBER, running);
}

static void new_device(int number)
{
	if (lt_exists(number) && !lt_destroy(number, 100))
		lt_die("loop%d does not go away", number);
	if (lt_ctl(LOOP_CTL_ADD, number) != number)
		lt_die("LOOP_CTL_ADD %d", number);
}

static int open_number(int number, int flags)
{
	int fd = lt_open(number, flags);

	if (fd < 0)
		lt_die("open loop%d", number);
	return fd;
}

/* A new device, unbound. */
static void fresh(void)
{
	leave();
	new_device(NUMBER);
	dev = open_number(NUMBER, O_RDWR);
}

/*
 * An unbound device that may have been bound before, for states in which what
 * an earlier binding left behind does not show.  Much faster.
 */
static void renew(void)
{
	release();
	if (spoiled || !lt_exists(NUMBER) || lt_sysfs_bound(NUMBER) ||
	    lt_parts(NUMBER)) {
		fresh();
		return;
	}
	dev = open_number(NUMBER, O_RDWR);
}

static void fresh_bound(enum image i, uint32_t flags)
{
	renew();
	if (lt_configure(dev, image[i].rw, 0, flags, 0, 0))
		lt_die("bind %s", image_names[i]);
}

static void reopen(int flags)
{
	int fd = open_number(NUMBER, flags);

	close(dev);
	dev = fd;
}

/* States */

static void enter_bound(void)
{
	renew();
	if (ioctl(dev, LOOP_SET_FD, image[IMG_A].rw))
		lt_die("LOOP_SET_FD");
}

static void enter_shared(void)
{
	enter_bound();
	other = open_number(NUMBER, O_RDONLY);
}

static void enter_ro(void)
{
	renew();
	if (ioctl(dev, LOOP_SET_FD, image[IMG_A].ro))
		lt_die("LOOP_SET_FD read-only");
}

static void enter_roflag(void)
{
	fresh_bound(IMG_A, LO_FLAGS_READ_ONLY);
}

static void enter_roopen(void)
{
	enter_bound();
	reopen(O_RDONLY);
}

static void enter_roopen_unbound(void)
{
	fresh();
	reopen(O_RDONLY);
}

static void enter_autoclear(void)
{
	fresh_bound(IMG_A, LO_FLAGS_AUTOCLEAR);
}

static void enter_pending(void)
{
	enter_shared();
	if (ioctl(dev, LOOP_CLR_FD, 0))
		lt_die("LOOP_CLR_FD with another opener");
}

static void enter_rundown(void)
{
	enter_bound();
	if (ioctl(dev, LOOP_CLR_FD, 0))
		lt_die("LOOP_CLR_FD");
}

static void enter_detached(void)
{
	fresh();
	if (lt_configure(dev, image[IMG_P].rw, 4096, LO_FLAGS_PARTSCAN,
			 512 * 1024, LT_MIB))
		lt_die("bind with an offset");
	ioctl(dev, LOOP_CLR_FD, 0);
	close(dev);
	dev = -1;
	dev = open_number(NUMBER, O_RDWR);
}

static void enter_exclusive(void)
{
	enter_bound();
	other = open_number(NUMBER, O_RDONLY | O_EXCL);
}

static void enter_exclusive_unbound(void)
{
	fresh();
	other = open_number(NUMBER, O_RDONLY | O_EXCL);
}

static void enter_exclusive_self(void)
{
	enter_bound();
	reopen(O_RDWR | O_EXCL);
}

static void enter_mounted(void)
{
	char path[64];

	fresh_bound(IMG_E, 0);
	snprintf(path, sizeof(path), "/dev/loop%d", NUMBER);
	if (mount(path, mount_point, "ext4", MS_RDONLY, NULL))
		lt_die("mount %s", path);
	mounted = true;
}

static void enter_direct(void)
{
	fresh_bound(IMG_A, LO_FLAGS_DIRECT_IO);
}

static void enter_window(void)
{
	renew();
	if (lt_configure(dev, image[IMG_P].rw, 1024, LO_FLAGS_PARTSCAN, 0,
			 LT_MIB + 100 * 1024))
		lt_die("bind with a limit");
}

static void enter_nobody_unbound(void)
{
	fresh();
	as_nobody = true;
}

static void enter_nobody_rw(void)
{
	enter_bound();
	as_nobody = true;
}

static void enter_nobody_ro(void)
{
	enter_roopen();
	as_nobody = true;
}

static void enter_nobody_ro_unbound(void)
{
	enter_roopen_unbound();
	as_nobody = true;
}

/* Calls, all on @dev */

static int status64(unsigned int xor_flags, uint64_t offset, uint64_t limit,
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

static int status_old(unsigned int xor_flags, int offset, const char *name)
{
	struct loop_info info = { 0 };

	ioctl(dev, LOOP_GET_STATUS, &info);
	info.lo_flags ^= xor_flags;
	if (offset >= 0)
		info.lo_offset = offset;
	if (name)
		memcpy(info.lo_name, name, strlen(name) + 1);
	return ioctl(dev, LOOP_SET_STATUS, &info);
}

static int call_set_fd(void)
{
	return ioctl(dev, LOOP_SET_FD, image[IMG_B].rw);
}

static int call_set_fd_bad(void)
{
	return ioctl(dev, LOOP_SET_FD, -1);
}

static int call_clr_fd(void)
{
	return ioctl(dev, LOOP_CLR_FD, 0);
}

static int call_set_status_same(void)
{
	return status_old(0, -1, NULL);
}

static int call_set_status_offset(void)
{
	return status_old(0, 4096, NULL);
}

static int call_set_status_null(void)
{
	return ioctl(dev, LOOP_SET_STATUS, NULL);
}

static int call_set_status64_same(void)
{
	return status64(0, UINT64_MAX, UINT64_MAX, NULL);
}

static int call_set_status64_offset(void)
{
	return status64(0, 4096, UINT64_MAX, NULL);
}

static int call_set_status64_limit(void)
{
	return status64(0, UINT64_MAX, 65536, NULL);
}

static int call_set_status64_name(void)
{
	return status64(0, UINT64_MAX, UINT64_MAX, "renamed");
}

static int call_set_status64_autoclear(void)
{
	return status64(LO_FLAGS_AUTOCLEAR, UINT64_MAX, UINT64_MAX, NULL);
}

static int call_set_status64_partscan(void)
{
	return status64(LO_FLAGS_PARTSCAN, UINT64_MAX, UINT64_MAX, NULL);
}

static int call_set_status64_ro(void)
{
	return status64(LO_FLAGS_READ_ONLY, UINT64_MAX, UINT64_MAX, NULL);
}

static int call_set_status64_dio(void)
{
	return status64(LO_FLAGS_DIRECT_IO, UINT64_MAX, UINT64_MAX, NULL);
}

static int call_set_status64_null(void)
{
	return ioctl(dev, LOOP_SET_STATUS64, NULL);
}

static int call_get_status(void)
{
	struct loop_info info;

	return ioctl(dev, LOOP_GET_STATUS, &info);
}

static int call_get_status_null(void)
{
	return ioctl(dev, LOOP_GET_STATUS, NULL);
}

static int call_get_status64(void)
{
	struct loop_info64 info;

	return ioctl(dev, LOOP_GET_STATUS64, &info);
}

static int call_get_status64_null(void)
{
	return ioctl(dev, LOOP_GET_STATUS64, NULL);
}

static int call_change_fd(void)
{
	return ioctl(dev, LOOP_CHANGE_FD, image[IMG_B].ro);
}

static int call_change_fd_size(void)
{
	return ioctl(dev, LOOP_CHANGE_FD, image[IMG_C].ro);
}

static int call_change_fd_bad(void)
{
	return ioctl(dev, LOOP_CHANGE_FD, -1);
}

static int call_set_capacity(void)
{
	return ioctl(dev, LOOP_SET_CAPACITY, 0);
}

static int call_dio_on(void)
{
	return ioctl(dev, LOOP_SET_DIRECT_IO, 1);
}

static int call_dio_off(void)
{
	return ioctl(dev, LOOP_SET_DIRECT_IO, 0);
}

static int call_bs_512(void)
{
	return ioctl(dev, LOOP_SET_BLOCK_SIZE, 512);
}

static int call_bs_1024(void)
{
	return ioctl(dev, LOOP_SET_BLOCK_SIZE, 1024);
}

static int call_bs_4096(void)
{
	return ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096);
}

static int call_bs_3(void)
{
	return ioctl(dev, LOOP_SET_BLOCK_SIZE, 3);
}

static int call_configure(void)
{
	return lt_configure(dev, image[IMG_B].rw, 0, 0, 0, 0);
}

static int call_configure_bs(void)
{
	return lt_configure(dev, image[IMG_B].rw, 3, 0, 0, 0);
}

static int call_configure_null(void)
{
	return ioctl(dev, LOOP_CONFIGURE, NULL);
}

static int call_unknown_0b(void)
{
	return ioctl(dev, 0x4C0B, 0);
}

static int call_unknown_7f(void)
{
	return ioctl(dev, 0x4C7F, 0);
}

static int call_unknown_add(void)
{
	return ioctl(dev, LOOP_CTL_ADD, 50);
}

static int call_unknown_foreign(void)
{
	return ioctl(dev, _IOR('Z', 1, int), 0);
}

static int call_blkrrpart(void)
{
	return ioctl(dev, BLKRRPART, 0);
}

static int call_blkflsbuf(void)
{
	return ioctl(dev, BLKFLSBUF, 0);
}

static int call_blkroset(void)
{
	int on = 1;

	spoiled = true;
	return ioctl(dev, BLKROSET, &on);
}

static int call_blkroclr(void)
{
	int on = 0;

	return ioctl(dev, BLKROSET, &on);
}

static int call_blkbszset(void)
{
	int size = 2048;

	return ioctl(dev, BLKBSZSET, &size);
}

static int call_blkpg_add(void)
{
	return lt_blkpg(dev, BLKPG_ADD_PARTITION, 5, 65536, 65536);
}

static int call_blkpg_del(void)
{
	return lt_blkpg(dev, BLKPG_DEL_PARTITION, 1, 0, 0);
}

/* Near the end, where the mounted file system has nothing. */
static int range_call(unsigned long cmd)
{
	uint64_t size = lt_size(dev);
	uint64_t range[2] = { size < 8192 ? 0 : size - 8192, 4096 };

	return ioctl(dev, cmd, range);
}

static int call_discard(void)
{
	return range_call(BLKDISCARD);
}

static int call_secdiscard(void)
{
	return range_call(BLKSECDISCARD);
}

static int call_zeroout(void)
{
	return range_call(BLKZEROOUT);
}

static int call_read(void)
{
	char buf[512];

	return pread(dev, buf, sizeof(buf), 65536);
}

static int call_write(void)
{
	uint64_t size = lt_size(dev);
	static char buf[4096];

	if (pwrite(dev, buf, sizeof(buf), size < 8192 ? 0 : size - 8192) < 0)
		return -1;
	return fsync(dev) ? -2 : 0;
}

static int call_fsync(void)
{
	return fsync(dev);
}

static int call_ctl_add(void)
{
	return lt_ctl(LOOP_CTL_ADD, NUMBER);
}

static int call_ctl_remove(void)
{
	return lt_ctl(LOOP_CTL_REMOVE, NUMBER);
}

static int open_and_close(int flags)
{
	int fd = lt_open(NUMBER, flags);

	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int call_open_ro(void)
{
	return open_and_close(O_RDONLY);
}

static int call_open_rw(void)
{
	return open_and_close(O_RDWR);
}

static int call_open_excl(void)
{
	return open_and_close(O_RDONLY | O_EXCL);
}

static int call_open_direct(void)
{
	return open_and_close(O_RDONLY | O_DIRECT);
}

static int call_mount(void)
{
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/dev/loop%d", NUMBER);
	rc = mount(path, mount_point, "ext4", MS_RDONLY, NULL);
	if (!rc)
		umount2(mount_point, 0);
	return rc;
}

static int call_close(void)
{
	int rc = did(close(dev));

	dev = -1;
	return rc;
}

static int call_close_and_open(void)
{
	int rc = did(close(dev));

	dev = lt_open(NUMBER, O_RDWR);
	return rc;
}

struct call {
	const char *name;
	int (*fn)(void);
	bool own_fd;		/* changes the fds of this process */
};

static const struct call calls[] = {
	{ "set_fd", call_set_fd },
	{ "set_fd_bad", call_set_fd_bad },
	{ "set_status", call_set_status_same },
	{ "set_status_offset", call_set_status_offset },
	{ "set_status_null", call_set_status_null },
	{ "set_status64", call_set_status64_same },
	{ "set_status64_offset", call_set_status64_offset },
	{ "set_status64_limit", call_set_status64_limit },
	{ "set_status64_name", call_set_status64_name },
	{ "set_status64_autoclear", call_set_status64_autoclear },
	{ "set_status64_partscan", call_set_status64_partscan },
	{ "set_status64_ro", call_set_status64_ro },
	{ "set_status64_dio", call_set_status64_dio },
	{ "set_status64_null", call_set_status64_null },
	{ "get_status", call_get_status },
	{ "get_status_null", call_get_status_null },
	{ "get_status64", call_get_status64 },
	{ "get_status64_null", call_get_status64_null },
	{ "change_fd", call_change_fd },
	{ "change_fd_size", call_change_fd_size },
	{ "change_fd_bad", call_change_fd_bad },
	{ "set_capacity", call_set_capacity },
	{ "dio_on", call_dio_on },
	{ "dio_off", call_dio_off },
	{ "bs_512", call_bs_512 },
	{ "bs_1024", call_bs_1024 },
	{ "bs_4096", call_bs_4096 },
	{ "bs_3", call_bs_3 },
	{ "configure", call_configure },
	{ "configure_bs_3", call_configure_bs },
	{ "configure_null", call_configure_null },
	{ "unknown_0b", call_unknown_0b },
	{ "unknown_7f", call_unknown_7f },
	{ "unknown_add", call_unknown_add },
	{ "unknown_foreign", call_unknown_foreign },
	{ "blkrrpart", call_blkrrpart },
	{ "blkflsbuf", call_blkflsbuf },
	{ "blkroset", call_blkroset },
	{ "blkroclr", call_blkroclr },
	{ "blkbszset", call_blkbszset },
	{ "blkpg_add", call_blkpg_add },
	{ "blkpg_del", call_blkpg_del },
	{ "discard", call_discard },
	{ "secdiscard", call_secdiscard },
	{ "zeroout", call_zeroout },
	{ "read", call_read },
	{ "write", call_write },
	{ "fsync", call_fsync },
	{ "ctl_add", call_ctl_add },
	{ "ctl_remove", call_ctl_remove },
	{ "open_ro", call_open_ro },
	{ "open_rw", call_open_rw },
	{ "open_excl", call_open_excl },
	{ "open_direct", call_open_direct },
	{ "mount", call_mount },
	{ "clr_fd", call_clr_fd },
	{ "close_and_open", call_close_and_open, true },
	{ "close", call_close, true },
};

/* Makes the call as user nobody, with the fds of root. */
static int call_in_child(int (*fn)(void))
{
	int pipefd[2], result[2] = { -1, ECHILD };
	pid_t pid;

	if (pipe(pipefd))
		lt_die("pipe");
	pid = fork();
	if (pid < 0)
		lt_die("fork");
	if (!pid) {
		alarm(60);
		if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(1);
		errno = 0;
		result[0] = fn();
		result[1] = errno;
		if (write(pipefd[1], result, sizeof(result)) < 0)
			_exit(1);
		_exit(0);
	}
	close(pipefd[1]);
	if (read(pipefd[0], result, sizeof(result)) < 0)
		lt_die("read from a child");
	close(pipefd[0]);
	waitpid(pid, NULL, 0);
	errno = result[1];
	return result[0];
}

struct state {
	const char *name;
	void (*enter)(void);
};

static const struct state states[] = {
	{ "unbound", fresh },
	{ "bound", enter_bound },
	{ "shared", enter_shared },
	{ "ro", enter_ro },
	{ "roflag", enter_roflag },
	{ "roopen", enter_roopen },
	{ "roopen_unbound", enter_roopen_unbound },
	{ "autoclear", enter_autoclear },
	{ "pending", enter_pending },
	{ "rundown", enter_rundown },
	{ "detached", enter_detached },
	{ "exclusive", enter_exclusive },
	{ "exclusive_unbound", enter_exclusive_unbound },
	{ "exclusive_self", enter_exclusive_self },
	{ "mounted", enter_mounted },
	{ "direct", enter_direct },
	{ "window", enter_window },
	{ "nobody_unbound", enter_nobody_unbound },
	{ "nobody_rw", enter_nobody_rw },
	{ "nobody_ro", enter_nobody_ro },
	{ "nobody_ro_unbound", enter_nobody_ro_unbound },
};

/* Where another word size could make a difference. */
static bool in_brief(const char *name)
{
	static const char *const names[] = {
		"unbound", "bound", "ro", "rundown", "nobody_ro",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static void run_state(const struct state *s)
{
	bool clean = true;
	unsigned int i;

	state = s->name;
	name_case("enter");
	s->enter();
	report_enter();
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		const struct call *c = &calls[i];
		int rc;

		if (as_nobody && c->own_fd)
			continue;
		name_case(c->name);
		if (!clean) {
			s->enter();
			remember();
		}
		rc = did(as_nobody ? call_in_child(c->fn) : c->fn());
		clean = report(c->name, rc) && !c->own_fd;
	}
	leave();
}

static void group_states(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(states); i++)
		if (!brief || in_brief(states[i].name))
			run_state(&states[i]);
}

/* Backing fds that cannot be */

enum via { VIA_SET_FD, VIA_CONFIGURE, VIA_CHANGE_FD, VIA_COUNT };

static const char *const via_names[VIA_COUNT] = {
	"set_fd", "configure", "change_fd"
};

static int attach_via(enum via via, int fd)
{
	switch (via) {
	case VIA_SET_FD:
		return ioctl(dev, LOOP_SET_FD, fd);
	case VIA_CONFIGURE:
		return lt_configure(dev, fd, 0, 0, 0, 0);
	default:
		return ioctl(dev, LOOP_CHANGE_FD, fd);
	}
}

/* Tries the fd on a device that could take a better one, and closes it. */
static void try_fd(const char *name, int fd)
{
	char label[128];
	enum via via;

	for (via = 0; via < VIA_COUNT; via++) {
		int rc;

		state = via_names[via];
		if (via == VIA_CHANGE_FD)
			enter_ro();
		else
			fresh();
		remember();
		snprintf(label, sizeof(label), "%s", name);
		name_case(label);
		rc = did(attach_via(via, fd));
		report(label, rc);
		/* Whatever that was, it can still be bound. */
		if (via != VIA_CHANGE_FD && rc < 0) {
			snprintf(label, sizeof(label), "%s.then", name);
			rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
			report(label, rc);
		}
	}
	leave();
	if (fd >= 0)
		close(fd);
}

static int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		lt_die("open %s", path);
	return fd;
}

static int in_dir(const char *name, int flags)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return must_open(path, flags);
}

/* Several things are wrong: which one is told. */
static void bad_order(void)
{
	int directory = must_open(dir, O_RDONLY | O_DIRECTORY);
	int file = image[IMG_A].rw, zero = must_open("/dev/zero", O_RDWR);

	state = "order_bound";
	enter_bound();
	remember();
	report("flag", did(lt_configure(dev, file, 0, 0x4000, 0, 0)));
	report("block_size", did(lt_configure(dev, file, 3, 0, 0, 0)));
	report("directory", did(lt_configure(dev, directory, 0, 0, 0, 0)));
	report("set_fd", did(ioctl(dev, LOOP_SET_FD, directory)));
	report("zero", did(lt_configure(dev, zero, 0, 0, 0, 0)));
	report("closed", did(lt_configure(dev, -1, 0, 0x4000, 0, 0)));
	report("change_directory", did(ioctl(dev, LOOP_CHANGE_FD, directory)));

	state = "order_unbound";
	fresh();
	remember();
	report("change_directory", did(ioctl(dev, LOOP_CHANGE_FD, directory)));
	report("change_zero", did(ioctl(dev, LOOP_CHANGE_FD, zero)));
	report("change_closed", did(ioctl(dev, LOOP_CHANGE_FD, -1)));
	report("flag_closed", did(lt_configure(dev, -1, 0, 0x4000, 0, 0)));
	report("flag_directory", did(lt_configure(dev, directory, 0, 0x4000, 0,
						  0)));
	report("flag_offset", did(lt_configure(dev, file, 0, 0x4000, 1ULL << 63,
					       0)));
	report("set_status", did(status64(0, UINT64_MAX, 0, NULL)));
	leave();
	close(directory);
	close(zero);
}

static void group_badfd(void)
{
	int p[2], fd;

	try_fd("minus_1", -1);
	fd = dup(image[IMG_A].rw);
	close(fd);
	state = "set_fd";
	fresh();
	remember();
	report("closed", did(ioctl(dev, LOOP_SET_FD, fd)));
	try_fd("directory", must_open(dir, O_RDONLY | O_DIRECTORY));
	if (pipe(p))
		lt_die("pipe");
	try_fd("pipe_read", p[0]);
	try_fd("pipe_write", p[1]);
	try_fd("socket", socket(AF_UNIX, SOCK_STREAM, 0));
	try_fd("null", must_open("/dev/null", O_RDWR));
	try_fd("zero", must_open("/dev/zero", O_RDWR));
	try_fd("control", must_open("/dev/loop-control", O_RDWR));
	try_fd("path", must_open(image[IMG_A].path, O_PATH));
	try_fd("write_only", must_open(image[IMG_A].path, O_WRONLY));
	try_fd("proc_version", must_open("/proc/version", O_RDONLY));
	try_fd("proc_mounts", must_open("/proc/1/mounts", O_RDONLY));
	try_fd("proc_mem", must_open("/proc/self/mem", O_RDWR));
	try_fd("sysfs", must_open("/sys/kernel/rcu_expedited", O_RDWR));
	try_fd("nsfs", must_open("/proc/self/ns/mnt", O_RDONLY));
	try_fd("memfd", memfd_create("loop", 0));
	bad_order();
}

/* Devices below devices */

static void bind_number(int number, int backing)
{
	int fd;

	new_device(number);
	fd = open_number(number, O_RDWR);
	if (ioctl(fd, LOOP_SET_FD, backing))
		lt_die("bind loop%d", number);
	close(fd);
}

static void group_cycle(void)
{
	enum via via;
	int fd, rc;

	for (via = 0; via < VIA_CHANGE_FD; via++) {
		state = via_names[via];

		fresh();
		remember();
		rc = did(attach_via(via, dev));
		report("self_unbound", rc);

		new_device(LOWER);
		fd = open_number(LOWER, O_RDWR);
		lt_know(fd, "lower");
		fresh();
		remember();
		rc = did(attach_via(via, fd));
		report("unbound_below", rc);
		rc = did(ioctl(fd, LOOP_SET_FD, image[IMG_A].rw));
		report("then_bound_below", rc);
		leave();
		close(fd);
		lt_destroy(LOWER, 100);

		bind_number(LOWER, image[IMG_A].rw);
		fd = open_number(LOWER, O_RDWR);
		lt_know(fd, "lower");
		fresh();
		remember();
		rc = did(attach_via(via, fd));
		close(fd);
		report("stacked", rc);
		leave();
		lt_destroy(LOWER, 100);

		/* one that is unbound by its next close */
		bind_number(LOWER, image[IMG_A].rw);
		fd = open_number(LOWER, O_RDWR);
		if (ioctl(fd, LOOP_CLR_FD, 0))
			lt_die("LOOP_CLR_FD");
		fresh();
		remember();
		rc = did(attach_via(via, fd));
		report("rundown_below", rc);
		leave();
		close(fd);
		lt_destroy(LOWER, 100);
	}

	/* A bound read-only one whose file would become what is above it. */
	state = "change_fd";
	enter_ro();
	remember();
	rc = did(ioctl(dev, LOOP_CHANGE_FD, dev));
	report("self", rc);
	bind_number(LOWER, dev);
	fd = open_number(LOWER, O_RDONLY);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, fd));
	report("cycle2", rc);
	bind_number(LOWEST, fd);
	close(fd);
	fd = open_number(LOWEST, O_RDONLY);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, fd));
	report("cycle3", rc);
	close(fd);
	lt_destroy(LOWEST, 100);
	lt_destroy(LOWER, 100);
	leave();
}

/* Block sizes */

static void group_blocksize(void)
{
	static const unsigned long sizes[] = {
		0, 1, 3, 256, 511, 512, 513, 768, 1024, 1536, 2048, 4096, 4097,
		8192, 65536, 131072, 0x20000200, 0x20000400, 0x80000000,
		0xffffffff,
	};
	char name[64];
	unsigned int i;
	int fd, rc;

	state = "set";
	enter_bound();
	report_enter();
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, sizes[i]));
		snprintf(name, sizeof(name), "%lu", sizes[i]);
		report(name, rc);
	}
#if ULONG_MAX > 0xffffffffUL
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 0x100000200UL));
	report("4294967808", rc);
#endif
	state = "set_same";
	enter_bound();
	remember();
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096", rc);
	remember();
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096_again", rc);

	state = "configure";
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fresh();
		remember();
		rc = did(lt_configure(dev, image[IMG_A].rw, sizes[i], 0, 0, 0));
		snprintf(name, sizeof(name), "%lu", sizes[i]);
		report(name, rc);
		if (rc >= 0)
			continue;
		snprintf(name, sizeof(name), "%lu.then", sizes[i]);
		rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
		report(name, rc);
	}

	/* 0 is what direct I/O needs. */
	state = "direct";
	new_device(LOWER);
	fd = open_number(LOWER, O_RDWR);
	if (lt_configure(fd, image[IMG_A].rw, 4096, 0, 0, 0))
		lt_die("bind below");
	lt_know(fd, "lower");
	fresh();
	rc = did(lt_configure(dev, fd, 0, LO_FLAGS_DIRECT_IO, 0, 0));
	close(fd);
	report("configure", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 0));
	report("0", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096", rc);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	report("direct_io", rc);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 0));
	report("buffered", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 0));
	report("buffered_0", rc);
	leave();
	lt_destroy(LOWER, 100);

	/* What a block size does to an odd number of sectors. */
	state = "odd";
	fresh();
	rc = did(lt_configure(dev, image[IMG_A].rw, 4096, 0, 512, 0));
	report_enter();
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 512));
	report("512", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096", rc);
	rc = did(status64(0, UINT64_MAX, 10240, NULL));
	report("limit", rc);
	leave();
}

/* Flags */

static void flags_to(uint32_t from, uint32_t to)
{
	struct loop_info64 info = { .lo_flags = to };
	struct loop_info old = { .lo_flags = to };
	char name[64];
	int rc;

	snprintf(name, sizeof(name), "%#x.%#x", from, to);
	fresh_bound(IMG_P, from);
	remember();
	state = "status64";
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	if (!report(name, rc)) {
		fresh_bound(IMG_P, from);
		remember();
	}
	state = "status";
	rc = did(ioctl(dev, LOOP_SET_STATUS, &old));
	report(name, rc);
}

static void group_flags(void)
{
	static const uint32_t flags[] = {
		0, 1, 2, 4, 8, 16, 32, 64, 0x8000, 0x80000000, 5, 13, 17, 20,
		24, 29, 0x1f, 0x3f, 0xffffffff,
	};
	static const uint32_t from[] = { 4, 8, 17, 29 };
	static const uint32_t to[] = { 0, 1, 4, 8, 16, 0x1f };
	unsigned int i, k;
	char name[64];
	int rc;

	state = "configure";
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		fresh();
		remember();
		rc = did(lt_configure(dev, image[IMG_P].rw, 0, flags[i], 0,
				      0));
		snprintf(name, sizeof(name), "%#x", flags[i]);
		report(name, rc);
		if (rc < 0) {
			snprintf(name, sizeof(name), "%#x.then", flags[i]);
			rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_P].rw));
			report(name, rc);
		}
	}
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		flags_to(0, flags[i]);
	for (i = 0; i < ARRAY_SIZE(from); i++)
		for (k = 0; k < ARRAY_SIZE(to); k++)
			flags_to(from[i], to[k]);
	leave();
}

/* The other fields of the structures */

struct field_case {
	const char *name;
	void (*set)(struct loop_info64 *info);
};

#define FIELD_CASE(id, ...)						\
static void set_##id(struct loop_info64 *info)				\
{									\
	__VA_ARGS__;							\
}

FIELD_CASE(offset_1, info->lo_offset = 1)
FIELD_CASE(offset_512, info->lo_offset = 512)
FIELD_CASE(offset_1000, info->lo_offset = 1000)
FIELD_CASE(offset_4096, info->lo_offset = 4096)
FIELD_CASE(offset_last, info->lo_offset = IMAGE_SIZE - 512)
FIELD_CASE(offset_end, info->lo_offset = IMAGE_SIZE)
FIELD_CASE(offset_past, info->lo_offset = IMAGE_SIZE + 512)
FIELD_CASE(offset_tib, info->lo_offset = 1ULL << 40)
FIELD_CASE(offset_max, info->lo_offset = LLONG_MAX)
FIELD_CASE(offset_min, info->lo_offset = 1ULL << 63)
FIELD_CASE(offset_ones, info->lo_offset = ~0ULL)
FIELD_CASE(limit_1, info->lo_sizelimit = 1)
FIELD_CASE(limit_511, info->lo_sizelimit = 511)
FIELD_CASE(limit_512, info->lo_sizelimit = 512)
FIELD_CASE(limit_1000, info->lo_sizelimit = 1000)
FIELD_CASE(limit_64k, info->lo_sizelimit = 65536)
FIELD_CASE(limit_all, info->lo_sizelimit = IMAGE_SIZE)
FIELD_CASE(limit_past, info->lo_sizelimit = IMAGE_SIZE + 4096)
FIELD_CASE(limit_max, info->lo_sizelimit = LLONG_MAX)
FIELD_CASE(limit_min, info->lo_sizelimit = 1ULL << 63)
FIELD_CASE(limit_ones, info->lo_sizelimit = ~0ULL)
FIELD_CASE(window, info->lo_offset = 4096, info->lo_sizelimit = 8192)
FIELD_CASE(window_odd, info->lo_offset = 1000, info->lo_sizelimit = 3000)
FIELD_CASE(window_past, info->lo_offset = IMAGE_SIZE - 4096,
	   info->lo_sizelimit = 8192)
FIELD_CASE(window_max, info->lo_offset = LLONG_MAX - 511,
	   info->lo_sizelimit = 512)
FIELD_CASE(window_wrap, info->lo_offset = LLONG_MAX,
	   info->lo_sizelimit = LLONG_MAX)
FIELD_CASE(enc_xor, info->lo_encrypt_type = LO_CRYPT_XOR)
FIELD_CASE(enc_des, info->lo_encrypt_type = LO_CRYPT_DES)
FIELD_CASE(enc_api, info->lo_encrypt_type = LO_CRYPT_CRYPTOAPI)
FIELD_CASE(enc_19, info->lo_encrypt_type = MAX_LO_CRYPT - 1)
FIELD_CASE(enc_20, info->lo_encrypt_type = MAX_LO_CRYPT)
FIELD_CASE(enc_ones, info->lo_encrypt_type = ~0U)
FIELD_CASE(key_1, info->lo_encrypt_key_size = 1,
	   memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(key_32, info->lo_encrypt_key_size = 32,
	   memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(key_33, info->lo_encrypt_key_size = 33)
FIELD_CASE(key_ones, info->lo_encrypt_key_size = ~0U)
FIELD_CASE(key_0, memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(xor_key, info->lo_encrypt_type = LO_CRYPT_XOR,
	   info->lo_encrypt_key_size = 8,
	   memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(init, info->lo_init[0] = 1, info->lo_init[1] = 2)
FIELD_CASE(name, memcpy(info->lo_file_name, "some name", 10))
FIELD_CASE(name_63, memset(info->lo_file_name, 'n', 63))
FIELD_CASE(name_64, memset(info->lo_file_name, 'n', 64))
FIELD_CASE(crypt, memcpy(info->lo_crypt_name, "some name", 10))
FIELD_CASE(crypt_64, memset(info->lo_crypt_name, 'c', 64))
FIELD_CASE(names_bytes, memset(info->lo_file_name, 0xff, 64),
	   memset(info->lo_crypt_name, 1, 64))
FIELD_CASE(number, info->lo_number = 7)
FIELD_CASE(device, info->lo_device = 1, info->lo_inode = 2,
	   info->lo_rdevice = 3)
FIELD_CASE(bad_all, info->lo_offset = ~0ULL, info->lo_encrypt_key_size = 33,
	   info->lo_encrypt_type = 20, info->lo_flags = LO_FLAGS_PARTSCAN)
FIELD_CASE(bad_type_name, info->lo_encrypt_type = 20,
	   memcpy(info->lo_file_name, "half done", 10),
	   info->lo_flags = LO_FLAGS_AUTOCLEAR)
FIELD_CASE(bad_offset_name, info->lo_offset = 1ULL << 63,
	   memcpy(info->lo_file_name, "half done", 10),
	   info->lo_flags = LO_FLAGS_AUTOCLEAR)

#define F(id) { #id, set_##id }

static const struct field_case field_cases[] = {
	F(offset_1), F(offset_512), F(offset_1000), F(offset_4096),
	F(offset_last), F(offset_end), F(offset_past), F(offset_tib),
	F(offset_max), F(offset_min), F(offset_ones), F(limit_1), F(limit_511),
	F(limit_512), F(limit_1000), F(limit_64k), F(limit_all), F(limit_past),
	F(limit_max), F(limit_min), F(limit_ones), F(window), F(window_odd),
	F(window_past), F(window_max), F(window_wrap), F(enc_xor), F(enc_des),
	F(enc_api), F(enc_19), F(enc_20), F(enc_ones), F(key_1), F(key_32),
	F(key_33), F(key_ones), F(key_0), F(xor_key), F(init), F(name),
	F(name_63), F(name_64), F(crypt), F(crypt_64), F(names_bytes),
	F(number), F(device), F(bad_all), F(bad_type_name), F(bad_offset_name),
};

#undef F

static void field_by_configure(const struct field_case *f)
{
	struct loop_config c = { .fd = image[IMG_A].rw };
	char name[64];
	int rc;

	state = "configure";
	fresh();
	remember();
	f->set(&c.info);
	name_case(f->name);
	rc = did(ioctl(dev, LOOP_CONFIGURE, &c));
	report(f->name, rc);
	if (rc < 0) {
		snprintf(name, sizeof(name), "%s.then", f->name);
		rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
		report(name, rc);
	}
}

static void field_by_status64(const struct field_case *f)
{
	struct loop_info64 info = { 0 };
	int rc;

	state = "status64";
	f->set(&info);
	name_case(f->name);
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	if (!report(f->name, rc)) {
		enter_bound();
		remember();
	}
}

/* The old structure, with as much of the new one as goes into it. */
static void field_by_status(const struct field_case *f)
{
	struct loop_info64 info = { 0 };
	struct loop_info old = { 0 };
	int rc;

	state = "status";
	f->set(&info);
	if (info.lo_sizelimit)
		return;
	old.lo_number = info.lo_number;
	old.lo_device = info.lo_device;
	old.lo_inode = info.lo_inode;
	old.lo_rdevice = info.lo_rdevice;
	old.lo_offset = info.lo_offset;
	old.lo_encrypt_type = info.lo_encrypt_type;
	old.lo_encrypt_key_size = info.lo_encrypt_key_size;
	old.lo_flags = info.lo_flags;
	memcpy(old.lo_name, info.lo_file_name, LO_NAME_SIZE);
	if (info.lo_encrypt_type == LO_CRYPT_CRYPTOAPI)
		memcpy(old.lo_name, "cipher", 7);
	memcpy(old.lo_encrypt_key, info.lo_encrypt_key, LO_KEY_SIZE);
	old.lo_init[0] = info.lo_init[0];
	old.lo_init[1] = info.lo_init[1];
	name_case(f->name);
	rc = did(ioctl(dev, LOOP_SET_STATUS, &old));
	if (!report(f->name, rc)) {
		enter_bound();
		remember();
	}
}

/* LOOP_GET_STATUS of what does and does not go into the old structure. */
static void get_old(const char *name, uint64_t offset, uint64_t limit,
		    const char *file_name)
{
	struct loop_config c = { .fd = image[IMG_A].rw };
	struct loop_info old;
	struct lt_buf words = { 0 };
	int rc;

	state = "get_status";
	fresh();
	c.info.lo_offset = offset;
	c.info.lo_sizelimit = limit;
	c.info.lo_flags = LO_FLAGS_PARTSCAN;
	if (file_name)
		memcpy(c.info.lo_file_name, file_name,
		       strnlen(file_name, LO_NAME_SIZE));
	memcpy(c.info.lo_crypt_name, "crypt", 6);
	if (ioctl(dev, LOOP_CONFIGURE, &c)) {
		report_only(name, -1, "configure");
		return;
	}
	memset(&old, 0x5a, sizeof(old));
	rc = did(ioctl(dev, LOOP_GET_STATUS, &old));
	if (!rc) {
		struct stat st;

		fstat(image[IMG_A].rw, &st);
		lt_add(&words,
		       "num=%d dev=%d ino=%d rdev=%d off=%d enc=%d/%d fl=%d name=",
		       old.lo_number,
		       old.lo_device == (typeof(old.lo_device))
				lt_huge_dev(st.st_dev),
		       old.lo_inode == st.st_ino, !old.lo_rdevice,
		       old.lo_offset, old.lo_encrypt_type,
		       old.lo_encrypt_key_size, old.lo_flags);
		lt_add_name(&words, old.lo_name, LO_NAME_SIZE);
		lt_add(&words, " key=%s init=%lu/%lu reserved=%02x%02x%02x%02x",
		       lt_zeroed(old.lo_encrypt_key, LO_KEY_SIZE) ? "0" : "?",
		       old.lo_init[0], old.lo_init[1], old.reserved[0] & 0xff,
		       old.reserved[1] & 0xff, old.reserved[2] & 0xff,
		       old.reserved[3] & 0xff);
	}
	report_only(name, rc, "%s", words.s);
}

static void group_fields(void)
{
	struct loop_config c = { .fd = image[IMG_A].rw };
	char name[64];
	unsigned int i;
	int rc;

	/* These two structures are the same for all word sizes. */
	for (i = 0; i < ARRAY_SIZE(field_cases) && !brief; i++)
		field_by_configure(&field_cases[i]);
	enter_bound();
	remember();
	for (i = 0; i < ARRAY_SIZE(field_cases) && !brief; i++)
		field_by_status64(&field_cases[i]);
	enter_bound();
	remember();
	for (i = 0; i < ARRAY_SIZE(field_cases); i++)
		field_by_status(&field_cases[i]);

	state = "reserved";
	for (i = 0; i < 8; i++) {
		fresh();
		remember();
		c.__reserved[i] = i % 2 ? 1 : 1ULL << 63;
		rc = did(ioctl(dev, LOOP_CONFIGURE, &c));
		snprintf(name, sizeof(name), "%u", i);
		report(name, rc);
		c.__reserved[i] = 0;
	}

	get_old("plain", 0, 0, NULL);
	get_old("offset", 4096, 0, "a name");
	get_old("limit", 0, 65536, "a name");
	get_old("long_name", 0, 0,
		"1234567890123456789012345678901234567890123456789012345678901234");
	get_old("offset_2g", 0x7ffffe00, 0, NULL);
	get_old("offset_4g", 0x80000000, 0, NULL);
	get_old("offset_8g", 0x200000000ULL, 0, NULL);
	leave();
}

/* User pointers; the structures end where memory ends, or a bit later */

struct pointer_call {
	const char *name;
	unsigned int cmd;
	size_t size;
	const uint16_t *bounds;
};

#define OFF64(f) offsetof(struct loop_info64, f)
#define OFF(f) offsetof(struct loop_info, f)
#define OFFC(f) offsetof(struct loop_config, f)

static const uint16_t bounds64[] = {
	0, 1, OFF64(lo_inode), OFF64(lo_rdevice), OFF64(lo_offset),
	OFF64(lo_sizelimit), OFF64(lo_number), OFF64(lo_encrypt_type),
	OFF64(lo_encrypt_key_size), OFF64(lo_flags), OFF64(lo_file_name),
	OFF64(lo_crypt_name), OFF64(lo_encrypt_key), OFF64(lo_init),
	OFF64(lo_init) + 8, sizeof(struct loop_info64) - 1,
	sizeof(struct loop_info64),
};

static const uint16_t bounds_old[] = {
	0, 1, OFF(lo_device), OFF(lo_inode), OFF(lo_rdevice), OFF(lo_offset),
	OFF(lo_encrypt_type), OFF(lo_encrypt_key_size), OFF(lo_flags),
	OFF(lo_name), OFF(lo_encrypt_key), OFF(lo_init),
	OFF(lo_init) + sizeof(long), OFF(reserved),
	sizeof(struct loop_info) - 1, sizeof(struct loop_info),
};

static const uint16_t bounds_config[] = {
	0, 1, OFFC(block_size), OFFC(info), OFFC(info.lo_inode),
	OFFC(info.lo_rdevice), OFFC(info.lo_offset), OFFC(info.lo_sizelimit),
	OFFC(info.lo_number), OFFC(info.lo_encrypt_type),
	OFFC(info.lo_encrypt_key_size), OFFC(info.lo_flags),
	OFFC(info.lo_file_name), OFFC(info.lo_crypt_name),
	OFFC(info.lo_encrypt_key), OFFC(info.lo_init), OFFC(__reserved),
	OFFC(__reserved[1]), OFFC(__reserved[7]),
	sizeof(struct loop_config) - 1, sizeof(struct loop_config),
};

static void try_pointer(const char *what, unsigned int cmd, size_t size,
			size_t have)
{
	struct loop_config *c;
	uint8_t *at = lt_edge() - have;
	uint8_t copy[sizeof(*c)] = { 0 };
	char name[64];
	int rc;

	if (cmd == LOOP_CONFIGURE) {
		c = (struct loop_config *)copy;
		c->fd = image[IMG_B].rw;
	}
	memcpy(at, copy, have);
	snprintf(name, sizeof(name), "%s.%zu_of_%zu", what, have, size);
	name_case(name);
	rc = did(ioctl(dev, cmd, at));
	if (!report(name, rc)) {
		if (cmd == LOOP_CONFIGURE)
			fresh();
		else
			enter_bound();
		remember();
	}
}

static void try_pointers(const char *what, unsigned int cmd,
			 const uint16_t *bounds, unsigned int count)
{
	static uint8_t misaligned[sizeof(struct loop_config) + 8];
	size_t size = bounds[count - 1];
	char name[64];
	unsigned int i;
	int rc;

	for (i = 0; i < count; i++)
		try_pointer(what, cmd, size, bounds[i]);
	snprintf(name, sizeof(name), "%s.null", what);
	rc = did(ioctl(dev, cmd, NULL));
	report(name, rc);
	snprintf(name, sizeof(name), "%s.kernel", what);
	rc = did(ioctl(dev, cmd, (void *)-4096L));
	report(name, rc);
	snprintf(name, sizeof(name), "%s.misaligned", what);
	if (cmd == LOOP_CONFIGURE)
		memcpy(misaligned + 1, &(int){ -1 }, sizeof(int));
	rc = did(ioctl(dev, cmd, misaligned + 1));
	report(name, rc);
}

static void group_pointers(void)
{
	enter_bound();
	remember();
	state = "bound";
	try_pointers("set_status64", LOOP_SET_STATUS64, bounds64,
		     ARRAY_SIZE(bounds64));
	try_pointers("get_status64", LOOP_GET_STATUS64, bounds64,
		     ARRAY_SIZE(bounds64));
	try_pointers("set_status", LOOP_SET_STATUS, bounds_old,
		     ARRAY_SIZE(bounds_old));
	try_pointers("get_status", LOOP_GET_STATUS, bounds_old,
		     ARRAY_SIZE(bounds_old));
	fresh();
	remember();
	state = "unbound";
	try_pointers("configure", LOOP_CONFIGURE, bounds_config,
		     ARRAY_SIZE(bounds_config));
	leave();
}

/* LOOP_CHANGE_FD */

static void change_case(const char *name, int fd)
{
	int rc = did(ioctl(dev, LOOP_CHANGE_FD, fd));

	report(name, rc);
}

static void group_changefd(void)
{
	char buf[512];
	int fd, rc;

	state = "ro";
	enter_ro();
	report_enter();
	change_case("same_fd", image[IMG_A].ro);
	change_case("same_file_rw", image[IMG_A].rw);
	change_case("other_rw", image[IMG_B].rw);
	change_case("back_ro", image[IMG_A].ro);
	change_case("smaller", image[IMG_C].ro);
	fd = in_dir("larger", O_RDWR | O_CREAT | O_TRUNC);
	if (ftruncate(fd, IMAGE_SIZE + 4096))
		lt_die("ftruncate");
	change_case("larger", fd);
	if (ftruncate(fd, IMAGE_SIZE + 511))
		lt_die("ftruncate");
	lt_know(fd, "larger");
	change_case("larger_511", fd);
	close(fd);
	change_case("back_ro2", image[IMG_A].ro);
	change_case("partitioned", image[IMG_P].ro);
	rc = did(pread(dev, buf, sizeof(buf), 0));
	report_only("reads_new", rc, "label=%d",
		    (buf[510] & 0xff) == 0x55);
	fd = in_dir("imgA", O_RDONLY | O_DIRECT);
	change_case("direct_fd", fd);
	close(fd);
	fd = in_dir("imgA", O_WRONLY);
	change_case("write_only", fd);
	close(fd);
	change_case("directory", AT_FDCWD);

	state = "window";
	fresh();
	if (lt_configure(dev, image[IMG_A].ro, 1024, 0, 4096, 65536))
		lt_die("configure");
	report_enter();
	change_case("same_size", image[IMG_B].ro);
	change_case("smaller_same_window", image[IMG_C].ro);

	state = "partscan";
	fresh();
	if (lt_configure(dev, image[IMG_P].ro, 0, LO_FLAGS_PARTSCAN, 0, 0))
		lt_die("configure");
	report_enter();
	change_case("no_label", image[IMG_A].ro);
	change_case("label", image[IMG_P].ro);

	state = "direct";
	fresh();
	if (lt_configure(dev, image[IMG_A].ro, 0, LO_FLAGS_DIRECT_IO, 0, 0))
		lt_die("configure");
	report_enter();
	change_case("buffered_fd", image[IMG_B].ro);

	/* The device does not follow its file. */
	state = "grown";
	fresh();
	fd = in_dir("grown", O_RDWR | O_CREAT | O_TRUNC);
	if (ftruncate(fd, IMAGE_SIZE) ||
	    lt_configure(dev, fd, 0, LO_FLAGS_READ_ONLY, 0, 0) ||
	    ftruncate(fd, IMAGE_SIZE + 4096))
		lt_die("grown");
	lt_know(fd, "grown");
	close(fd);
	remember();
	change_case("as_device", image[IMG_B].ro);
	fd = in_dir("larger", O_RDWR);
	if (ftruncate(fd, IMAGE_SIZE + 4096))
		lt_die("ftruncate");
	change_case("as_file", fd);
	close(fd);

	state = "roflag";
	enter_roflag();
	report_enter();
	change_case("rw_fd", image[IMG_B].rw);

	state = "block_device";
	enter_ro();
	bind_number(LOWER, image[IMG_B].rw);
	fd = open_number(LOWER, O_RDONLY);
	lt_know(fd, "lower");
	remember();
	change_case("from_file", fd);
	close(fd);
	leave();
	lt_destroy(LOWER, 100);

	/* BLKROSET makes the disk read-only, not the binding. */
	state = "blkroset";
	enter_bound();
	call_blkroset();
	remember();
	change_case("other", image[IMG_B].ro);
	leave();
}

/* LOOP_SET_CAPACITY */

static void capacity_case(const char *name, int fd, uint64_t size)
{
	char label[64];
	int rc;

	if (ftruncate(fd, size))
		lt_die("ftruncate");
	snprintf(label, sizeof(label), "%s.before", name);
	report(label, 0);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	report(name, rc);
}

static void group_capacity(void)
{
	int fd = in_dir("growing", O_RDWR | O_CREAT | O_TRUNC);
	int rc;

	lt_know(fd, "growing");
	if (ftruncate(fd, LT_MIB))
		lt_die("ftruncate");

	state = "plain";
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	report_enter();
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	report("same", rc);
	capacity_case("grown", fd, 3 * LT_MIB);
	capacity_case("grown_700", fd, 3 * LT_MIB + 700);
	capacity_case("shrunk", fd, 64 * 1024);
	capacity_case("empty", fd, 0);
	capacity_case("511", fd, 511);
	capacity_case("512", fd, 512);
	capacity_case("large", fd, 1ULL << 40);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, -1L));
	report("argument", rc);

	state = "window";
	ftruncate(fd, LT_MIB);
	fresh();
	if (lt_configure(dev, fd, 4096, LO_FLAGS_PARTSCAN, 4096, 2 * LT_MIB))
		lt_die("LOOP_CONFIGURE");
	report_enter();
	capacity_case("grown", fd, 2 * LT_MIB);
	capacity_case("past_limit", fd, 4 * LT_MIB);
	capacity_case("below_offset", fd, 1024);

	state = "stacked";
	ftruncate(fd, LT_MIB);
	bind_number(LOWER, fd);
	fresh();
	rc = open_number(LOWER, O_RDWR);
	lt_know(rc, "lower");
	if (ioctl(dev, LOOP_SET_FD, rc))
		lt_die("LOOP_SET_FD");
	report_enter();
	ftruncate(fd, 2 * LT_MIB);
	ioctl(rc, LOOP_SET_CAPACITY, 0);
	close(rc);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	report("lower_grown", rc);
	leave();
	lt_destroy(LOWER, 100);

	/* Partitions that no longer fit. */
	state = "partitions";
	ftruncate(fd, 0);
	ftruncate(fd, 2 * LT_MIB);
	lt_label_two(fd);
	fresh();
	if (lt_configure(dev, fd, 0, LO_FLAGS_PARTSCAN, 0, 0))
		lt_die("LOOP_CONFIGURE");
	report_enter();
	capacity_case("shrunk", fd, LT_MIB);
	capacity_case("grown", fd, 2 * LT_MIB);
	leave();
	close(fd);
}

/* /dev/loop-control */

static void control_case(const char *name, unsigned int cmd, long arg)
{
	int rc;

	name_case(name);
	rc = did(lt_ctl(cmd, arg));
	report_only(name, rc, "exists=%d",
		    arg >= 0 && arg < 100000 ? lt_exists(arg) : -1);
}

static void remove_all(void)
{
	int i;

	for (i = 0; i < 64; i++)
		if (lt_exists(i))
			lt_ctl(LOOP_CTL_REMOVE, i);
}

static void group_control(void)
{
	static const long bad[] = {
		-1, -2, INT_MIN + 1L, INT_MIN, 1 << 20, (1 << 20) + 1,
		(1 << 21), INT_MAX,
	};
	static const unsigned int unknown[] = {
		0, 1, 0x4C7F, 0x4C83, 0x4C84, 0x4CFF, 0x5401,
	};
	unsigned int i;
	char name[64];
	long first;
	int fd, rc;

	state = "remove";
	remove_all();
	control_case("absent", LOOP_CTL_REMOVE, NUMBER);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(name, sizeof(name), "bad.%ld", bad[i]);
		control_case(name, LOOP_CTL_REMOVE, bad[i]);
	}

	state = "add";
	control_case("new", LOOP_CTL_ADD, NUMBER);
	control_case("again", LOOP_CTL_ADD, NUMBER);
	control_case("max", LOOP_CTL_ADD, (1 << 20) - 1);
	printf("control.add.max_there: %d\n", lt_exists((1 << 20) - 1));
	lt_ctl(LOOP_CTL_REMOVE, (1 << 20) - 1);
	for (i = 4; i < ARRAY_SIZE(bad); i++) {
		snprintf(name, sizeof(name), "bad.%ld", bad[i]);
		rc = did(lt_ctl(LOOP_CTL_ADD, bad[i]));
		report_only(name, rc, "exists=%d", lt_exists(bad[i]));
		rc = did(lt_ctl(LOOP_CTL_REMOVE, bad[i]));
		snprintf(name, sizeof(name), "bad.%ld.remove", bad[i]);
		report_only(name, rc, "exists=%d", lt_exists(bad[i]));
	}
	control_case("minus_1", LOOP_CTL_ADD, -1);
	control_case("minus_1_next", LOOP_CTL_ADD, -1);
	control_case("minus_2", LOOP_CTL_ADD, -2);
	control_case("int_min", LOOP_CTL_ADD, INT_MIN);
#if ULONG_MAX > 0xffffffffUL
	control_case("high_bits", LOOP_CTL_ADD, 0x100000000L + 17);
	report_only("high_bits_there", 0, "exists=%d", lt_exists(17));
	control_case("long_min", LOOP_CTL_ADD, LONG_MIN);
	lt_ctl(LOOP_CTL_REMOVE, 17);
#endif
	remove_all();

	state = "get_free";
	control_case("none", LOOP_CTL_GET_FREE, 0);
	control_case("again", LOOP_CTL_GET_FREE, 0);
	control_case("argument", LOOP_CTL_GET_FREE, 33);
	control_case("add_2", LOOP_CTL_ADD, 2);
	fd = open_number(0, O_RDWR);
	ioctl(fd, LOOP_SET_FD, image[IMG_A].rw);
	control_case("first_bound", LOOP_CTL_GET_FREE, 0);
	control_case("hole", LOOP_CTL_ADD, -1);
	control_case("lowest", LOOP_CTL_GET_FREE, 0);
	ioctl(fd, LOOP_CLR_FD, 0);
	control_case("rundown", LOOP_CTL_GET_FREE, 0);
	close(fd);
	control_case("unbound_again", LOOP_CTL_GET_FREE, 0);
	fd = open_number(0, O_RDWR);
	control_case("open", LOOP_CTL_GET_FREE, 0);

	state = "remove";
	control_case("open", LOOP_CTL_REMOVE, 0);
	ioctl(fd, LOOP_SET_FD, image[IMG_A].rw);
	control_case("bound_open", LOOP_CTL_REMOVE, 0);
	close(fd);
	control_case("bound", LOOP_CTL_REMOVE, 0);
	lt_detach(0);
	control_case("unbound", LOOP_CTL_REMOVE, 0);
	control_case("unbound_again", LOOP_CTL_REMOVE, 0);
	fd = open_number(2, O_RDONLY | O_EXCL);
	control_case("excl", LOOP_CTL_REMOVE, 2);
	close(fd);
	remove_all();

	state = "reuse";
	for (first = 0; first < 3; first++) {
		snprintf(name, sizeof(name), "add.%ld", first);
		control_case(name, LOOP_CTL_ADD, 5);
		snprintf(name, sizeof(name), "remove.%ld", first);
		control_case(name, LOOP_CTL_REMOVE, 5);
	}

	state = "unknown";
	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		snprintf(name, sizeof(name), "%#x", unknown[i]);
		control_case(name, unknown[i], 0);
	}
	control_case("set_fd", LOOP_SET_FD, 0);
	control_case("get_status64", LOOP_GET_STATUS64, 0);
	control_case("configure", LOOP_CONFIGURE, 0);
	remove_all();

	/* What opening the node of a number that is not there does. */
	state = "probe";
	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%s/node", dir);
		unlink(name);
		mknod(name, S_IFBLK | 0600, makedev(LT_MAJOR, i ? 50 : 3));
		fd = open(name, O_RDONLY);
		report_only(i ? "50" : "3", fd < 0 ? -1 : 0,
			    "exists=%d", lt_exists(i ? 50 : 3));
		if (fd >= 0)
			close(fd);
	}
	unlink(name);
	lt_ctl(LOOP_CTL_REMOVE, 50);
	lt_ctl(LOOP_CTL_REMOVE, 3);
	remove_all();
}

static int nobody_add(void)
{
	return lt_ctl(LOOP_CTL_ADD, 51);
}

static int nobody_remove(void)
{
	return lt_ctl(LOOP_CTL_REMOVE, 51);
}

static int nobody_get_free(void)
{
	return lt_ctl(LOOP_CTL_GET_FREE, 0);
}

static void group_control_nobody(void)
{
	int rc;

	state = "";
	remove_all();
	rc = did(call_in_child(nobody_add));
	report_only("add", rc, "exists=%d", lt_exists(51));
	rc = did(call_in_child(nobody_remove));
	report_only("remove", rc, "exists=%d", lt_exists(51));
	rc = did(call_in_child(nobody_get_free));
	report_only("get_free", rc, "exists=%d", lt_exists(0));
	remove_all();
	lt_ctl(LOOP_CTL_REMOVE, 51);
}

/* Calls through the node of a partition */

static void group_partition(void)
{
	struct loop_info64 info = { 0 };
	char name[64];
	unsigned int i;
	int part;

	state = "p1";
	fresh_bound(IMG_P, LO_FLAGS_PARTSCAN);
	report_enter();
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		int rc, disk;
		bool clean;

		if (calls[i].own_fd || !strcmp(calls[i].name, "mount"))
			continue;
		part = lt_open_part(NUMBER, 1, O_RDWR);
		if (part < 0)
			lt_die("open partition 1");
		disk = dev;
		dev = part;
		name_case(calls[i].name);
		rc = did(calls[i].fn());
		dev = disk;
		clean = report(calls[i].name, rc);
		close(part);
		if (!clean) {
			fresh_bound(IMG_P, LO_FLAGS_PARTSCAN);
			remember();
		}
	}

	state = "clear";
	fresh_bound(IMG_P, LO_FLAGS_PARTSCAN);
	part = lt_open_part(NUMBER, 1, O_RDWR);
	remember();
	snprintf(name, sizeof(name), "clr_fd_part_open");
	report(name, did(ioctl(dev, LOOP_CLR_FD, 0)));
	close(dev);
	dev = -1;
	remember();
	report("disk_closed", 0);
	close(part);
	report("part_closed", 0);

	state = "partscan";
	fresh_bound(IMG_P, 0);
	remember();
	report("blkrrpart", did(ioctl(dev, BLKRRPART, 0)));
	info.lo_flags = LO_FLAGS_PARTSCAN;
	report("on", did(ioctl(dev, LOOP_SET_STATUS64, &info)));
	report("blkrrpart_on", did(ioctl(dev, BLKRRPART, 0)));
	report("blkpg_add", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 5, 4096, 4096)));
	report("blkpg_del", did(lt_blkpg(dev, BLKPG_DEL_PARTITION, 1, 0, 0)));
	info.lo_flags = 0;
	report("off", did(ioctl(dev, LOOP_SET_STATUS64, &info)));
	report("blkrrpart_off", did(ioctl(dev, BLKRRPART, 0)));
	info.lo_offset = 4096;
	report("offset", did(ioctl(dev, LOOP_SET_STATUS64, &info)));
	report("blkrrpart_offset", did(ioctl(dev, BLKRRPART, 0)));
	ioctl(dev, LOOP_CLR_FD, 0);
	report("clr_fd", 0);
	close(dev);
	dev = -1;
	report("closed", 0);

	state = "blkpg";
	fresh();
	remember();
	report("add_unbound", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 1, 0, 4096)));
	ioctl(dev, LOOP_SET_FD, image[IMG_A].rw);
	report("bound", 0);
	report("add", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 1, 4096, 4096)));
	report("add_past_end", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 2, 0, 1 << 30)));
	ioctl(dev, LOOP_CLR_FD, 0);
	close(dev);
	dev = -1;
	report("detached", 0);
	leave();
}

/* What the file may be */

static void backing_case(const char *name, int fd, const char *label)
{
	int rc;

	lt_know(fd, label);
	fresh();
	remember();
	name_case(name);
	rc = did(ioctl(dev, LOOP_SET_FD, fd));
	report(name, rc);
	leave();
}

static void backing_dio_case(const char *name, int fd, const char *label)
{
	char text[64];
	int rc;

	lt_know(fd, label);
	fresh();
	remember();
	rc = did(lt_configure(dev, fd, 0, LO_FLAGS_DIRECT_IO, 0, 0));
	report(name, rc);
	snprintf(text, sizeof(text), "%s.off", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 0));
	report(text, rc);
	snprintf(text, sizeof(text), "%s.on", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	report(text, rc);
	rc = did(status64(0, 512, UINT64_MAX, NULL));
	snprintf(text, sizeof(text), "%s.offset_512", name);
	report(text, rc);
	rc = did(status64(0, 1000, UINT64_MAX, NULL));
	snprintf(text, sizeof(text), "%s.offset_1000", name);
	report(text, rc);
	snprintf(text, sizeof(text), "%s.offset_1000.off", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 0));
	report(text, rc);
	snprintf(text, sizeof(text), "%s.offset_1000.on", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	report(text, rc);
	leave();
}

static void backing_sizes(void)
{
	static const struct {
		const char *name;
		uint64_t size;
	} sizes[] = {
		{ "0", 0 }, { "1", 1 }, { "511", 511 }, { "512", 512 },
		{ "51300", 512 * 100 + 100 }, { "4095", 4095 },
		{ "1t", 1ULL << 40 },
	};
	unsigned int i;

	state = "size";
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int fd = in_dir("sized", O_RDWR | O_CREAT | O_TRUNC);

		if (ftruncate(fd, sizes[i].size))
			lt_die("ftruncate");
		backing_case(sizes[i].name, fd, "sized");
		close(fd);
	}
	state = "size_4k";
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int fd = in_dir("sized", O_RDWR | O_CREAT | O_TRUNC), rc;

		if (ftruncate(fd, sizes[i].size))
			lt_die("ftruncate");
		fresh();
		remember();
		rc = did(lt_configure(dev, fd, 4096, 0, 0, 0));
		report(sizes[i].name, rc);
		leave();
		close(fd);
	}
}

static void backing_modes(void)
{
	static uint8_t buf[4096], data[4096];
	int fd, rc;

	state = "mode";
	fd = in_dir("imgA", O_RDONLY);
	backing_case("rdonly", fd, "A");
	close(fd);
	fd = in_dir("imgA", O_RDWR | O_DIRECT);
	backing_case("direct", fd, "A");
	close(fd);
	fd = in_dir("imgA", O_RDWR | O_SYNC);
	backing_case("sync", fd, "A");
	close(fd);
	fd = in_dir("readonly", O_RDWR | O_CREAT | O_TRUNC);
	ftruncate(fd, 65536);
	fchmod(fd, 0400);
	close(fd);
	fd = in_dir("readonly", O_RDONLY);
	backing_case("chmod_0400", fd, "readonly");
	close(fd);

	fd = in_dir("append", O_RDWR | O_CREAT | O_TRUNC | O_APPEND);
	ftruncate(fd, 65536);
	backing_case("append", fd, "append");
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD of an O_APPEND file");
	memset(data, 'a', sizeof(data));
	rc = did(pwrite(dev, data, sizeof(data), 4096));
	if (rc > 0 && fsync(dev))
		rc = -1;
	report_only("append_write", rc, "file=%lld there=%d",
		    (long long)lseek(fd, 0, SEEK_END),
		    pread(fd, buf, sizeof(buf), 4096) == sizeof(buf) &&
		    !memcmp(buf, data, sizeof(buf)));
	leave();
	close(fd);

	/* The device opened for reading, the file for both, and vice versa. */
	state = "access";
	fresh();
	reopen(O_RDONLY);
	remember();
	report("ro_dev_rw_file", did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw)));
	fresh();
	reopen(O_RDONLY);
	remember();
	rc = did(lt_configure(dev, image[IMG_A].rw, 0, 0, 0, 0));
	report("ro_dev_rw_file_configure", rc);
	fresh();
	remember();
	report("rw_dev_ro_file", did(ioctl(dev, LOOP_SET_FD, image[IMG_A].ro)));
	report_only("write", did(pwrite(dev, data, 4096, 0)), "%s", "");
	close(dev);
	dev = lt_open(NUMBER, O_RDWR);
	report_only("open_rw", dev < 0 ? -1 : 0, "%s", "");
	leave();

	state = "deleted";
	fd = in_dir("deleted", O_RDWR | O_CREAT | O_TRUNC);
	ftruncate(fd, 65536);
	lt_know(fd, "deleted");
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	remember();
	snprintf((char *)buf, sizeof(buf), "%s/deleted", dir);
	unlink((char *)buf);
	report("unlinked", 0);
	leave();
	close(fd);
}

static void backing_devices(void)
{
	static const char *const paths[] = { "/dev/ram0", "/dev/nullb0" };
	static const char *const names[] = { "brd", "null_blk" };
	char text[64];
	unsigned int i;
	int fd;

	state = "device";
	bind_number(LOWER, image[IMG_A].rw);
	fd = open_number(LOWER, O_RDWR);
	backing_case("loop", fd, "lower");
	backing_dio_case("loop_dio", fd, "lower");
	if (ioctl(fd, LOOP_SET_BLOCK_SIZE, 4096))
		lt_die("LOOP_SET_BLOCK_SIZE");
	backing_case("loop_4k", fd, "lower");
	backing_dio_case("loop_4k_dio", fd, "lower");
	close(fd);
	fd = open_number(LOWER, O_RDONLY);
	backing_case("loop_ro", fd, "lower");
	close(fd);
	lt_destroy(LOWER, 100);
	bind_number(LOWER, image[IMG_A].ro);
	fd = open_number(LOWER, O_RDWR);
	if (fd >= 0) {
		backing_case("loop_on_ro", fd, "lower");
		close(fd);
	}
	lt_destroy(LOWER, 100);

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		fd = open(paths[i], O_RDWR | O_CLOEXEC);
		if (fd < 0) {
			report_only(names[i], -1, "absent");
			continue;
		}
		backing_case(names[i], fd, names[i]);
		snprintf(text, sizeof(text), "%s_dio", names[i]);
		backing_dio_case(text, fd, names[i]);
		close(fd);
	}
}

static void backing_file_systems(void)
{
	char path[PATH_MAX], name[64];
	int i, fd;

	for (i = 0; i < nr_fs; i++) {
		char *sep = strchr(fs_args[i], '=');
		bool readable;

		state = "fs";
		snprintf(name, sizeof(name), "%.*s", (int)(sep - fs_args[i]),
			 fs_args[i]);
		snprintf(path, sizeof(path), "%s/conformance.img", sep + 1);
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		readable = fd < 0;
		if (readable)
			fd = open(sep + 1, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			report_only(name, -1, "absent");
			continue;
		}
		if (!readable && ftruncate(fd, LT_MIB))
			lt_die("ftruncate %s", path);
		snprintf(lt_prefix, sizeof(lt_prefix), "%s",
			 readable ? sep + 1 : path);
		backing_case(name, fd, name);
		strncat(name, "_dio", sizeof(name) - strlen(name) - 1);
		backing_dio_case(name, fd, name);
		close(fd);
		if (!readable)
			unlink(path);
	}
	snprintf(lt_prefix, sizeof(lt_prefix), "%s", dir);
}

static void group_backing(void)
{
	backing_sizes();
	backing_modes();
	backing_devices();
	backing_file_systems();
}

/* Uevents */

static int uevent_fd;

static void uevent_case(const char *name, int rc)
{
	static struct lt_buf words;
	size_t i;
	int count;

	words.len = 0;
	words.s[0] = '\0';
	count = lt_uevents(uevent_fd, NUMBER, &words);
	for (i = 1; i < words.len; i++)
		if (words.s[i] == ' ')
			words.s[i] = '+';
	name_case(name);
	printf("%s: rc=%d errno=%s count=%d events=%s\n", running, rc,
	       rc < 0 ? lt_errname(call_errno) : "0", count,
	       count ? words.s + 1 : "none");
	fflush(stdout);
}

static void uevent_detach(const char *name)
{
	char text[64];
	int rc;

	rc = did(ioctl(dev, LOOP_CLR_FD, 0));
	snprintf(text, sizeof(text), "%s.clr_fd", name);
	uevent_case(text, rc);
	rc = did(close(dev));
	dev = -1;
	snprintf(text, sizeof(text), "%s.close", name);
	uevent_case(text, rc);
	dev = lt_open(NUMBER, O_RDWR);
	snprintf(text, sizeof(text), "%s.reopen", name);
	uevent_case(text, dev < 0 ? -1 : 0);
}

static void group_uevent(void)
{
	struct loop_info64 info = { 0 };
	int fd = in_dir("growing", O_RDWR | O_CREAT | O_TRUNC);
	int rc;

	ftruncate(fd, LT_MIB);
	uevent_fd = lt_uevent_open();
	state = "device";
	leave();
	lt_uevents(uevent_fd, NUMBER, NULL);
	rc = did(lt_ctl(LOOP_CTL_ADD, NUMBER));
	uevent_case("add", rc);
	dev = open_number(NUMBER, O_RDWR);
	uevent_case("open", 0);

	state = "plain";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
	uevent_case("set_fd", rc);
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
	uevent_case("set_fd_again", rc);
	rc = did(status64(0, UINT64_MAX, UINT64_MAX, NULL));
	uevent_case("set_status_same", rc);
	rc = did(status64(0, UINT64_MAX, 65536, NULL));
	uevent_case("set_status_limit", rc);
	rc = did(status64(0, 4096, UINT64_MAX, NULL));
	uevent_case("set_status_offset", rc);
	rc = did(status64(0, 0, 0, "name"));
	uevent_case("set_status_back", rc);
	rc = did(status64(0, 1ULL << 63, 0, NULL));
	uevent_case("set_status_bad", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	uevent_case("set_block_size", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 3));
	uevent_case("set_block_size_bad", rc);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	uevent_case("set_direct_io", rc);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	uevent_case("set_capacity_same", rc);
	rc = did(call_blkroset());
	uevent_case("blkroset", rc);
	rc = did(call_blkroclr());
	uevent_case("blkroclr", rc);
	uevent_detach("detach");

	state = "configure";
	rc = did(lt_configure(dev, image[IMG_A].rw, 3, 0, 0, 0));
	uevent_case("bad_block_size", rc);
	rc = did(lt_configure(dev, image[IMG_A].rw, 0, 2, 0, 0));
	uevent_case("bad_flag", rc);
	rc = did(lt_configure(dev, -1, 0, 0, 0, 0));
	uevent_case("bad_fd", rc);
	rc = did(lt_configure(dev, image[IMG_A].rw, 0, 0, 0, 0));
	uevent_case("good", rc);
	uevent_detach("detach");

	state = "partscan";
	rc = did(lt_configure(dev, image[IMG_P].rw, 0, LO_FLAGS_PARTSCAN, 0, 0));
	uevent_case("configure", rc);
	rc = did(ioctl(dev, BLKRRPART, 0));
	uevent_case("blkrrpart", rc);
	info.lo_sizelimit = 3 * 512 * 1024;
	info.lo_flags = LO_FLAGS_PARTSCAN;
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	uevent_case("set_status_limit", rc);
	uevent_detach("detach");

	state = "partscan_late";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_P].rw));
	uevent_case("set_fd", rc);
	info.lo_sizelimit = 0;
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	uevent_case("set_status_partscan", rc);
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	uevent_case("set_status_again", rc);
	uevent_detach("detach");

	state = "read_only";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].ro));
	uevent_case("set_fd", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_B].ro));
	uevent_case("change_fd", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_C].ro));
	uevent_case("change_fd_bad", rc);
	uevent_detach("detach");

	state = "change_fd_partscan";
	rc = did(lt_configure(dev, image[IMG_P].ro, 0, LO_FLAGS_PARTSCAN, 0, 0));
	uevent_case("configure", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_A].ro));
	uevent_case("away", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_P].ro));
	uevent_case("back", rc);
	uevent_detach("detach");

	state = "capacity";
	rc = did(ioctl(dev, LOOP_SET_FD, fd));
	uevent_case("set_fd", rc);
	ftruncate(fd, 2 * LT_MIB);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	uevent_case("grown", rc);
	ftruncate(fd, 65536);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	uevent_case("shrunk", rc);
	uevent_detach("detach");

	state = "shared";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
	uevent_case("set_fd", rc);
	other = open_number(NUMBER, O_RDONLY);
	rc = did(ioctl(dev, LOOP_CLR_FD, 0));
	uevent_case("clr_fd", rc);
	rc = did(close(dev));
	dev = -1;
	uevent_case("close", rc);
	rc = did(close(other));
	other = -1;
	uevent_case("close_last", rc);

	state = "autoclear";
	dev = open_number(NUMBER, O_RDWR);
	rc = did(lt_configure(dev, image[IMG_P].rw, 0,
			      LO_FLAGS_PARTSCAN | LO_FLAGS_AUTOCLEAR, 0, 0));
	uevent_case("configure", rc);
	rc = did(close(dev));
	dev = -1;
	uevent_case("close", rc);

	state = "device";
	rc = did(lt_ctl(LOOP_CTL_REMOVE, NUMBER));
	uevent_case("remove", rc < 0 ? rc : 0);
	close(fd);
	close(uevent_fd);
	leave();
}

/* Data */

static alignas(4096) uint8_t io_buf[64 * 1024];
static uint8_t io_want[64 * 1024];

static long long blocks_of(int fd)
{
	struct stat st;

	fsync(fd);
	return fstat(fd, &st) ? -1 : (long long)st.st_blocks;
}

static const char *content(int fd, uint64_t offset, size_t len, uint64_t seed)
{
	ssize_t n = pread(fd, io_buf, len, offset);

	if (n < 0)
		return lt_errname(errno);
	if (n < (ssize_t)len)
		return n ? "short" : "nothing";
	if (lt_zeroed(io_buf, len))
		return "zeroes";
	return lt_filled(io_buf, len, seed, offset) ? "pattern" : "other";
}

static int io_image(uint64_t size)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/data", dir);
	fd = lt_file(path, size, 7);
	lt_know(fd, "data");
	fsync(fd);
	return fd;
}

static void io_at(const char *name, bool out, uint64_t offset, size_t len)
{
	ssize_t n;

	name_case(name);
	memset(io_buf, 'w', len);
	n = did(out ? pwrite(dev, io_buf, len, offset) :
		      pread(dev, io_buf, len, offset));
	if (out && n > 0 && fsync(dev))
		report_only(name, n, "fsync=%s", lt_errname(errno));
	else
		report_only(name, n, "%s", "");
}

static void io_bounds(int flags, const char *name)
{
	int fd = io_image(LT_MIB);

	state = name;
	fresh();
	if (lt_configure(dev, fd, 0, flags, 4096, 64 * 1024))
		lt_die("LOOP_CONFIGURE");
	io_at("read_0", false, 0, 4096);
	report_only("read_0_data", 0, "%d",
		    lt_filled(io_buf, 4096, 7, 4096));
	io_at("read_last", false, 65536 - 512, 512);
	io_at("read_over_end", false, 65536 - 512, 4096);
	io_at("read_at_end", false, 65536, 512);
	io_at("read_past_end", false, 65536 + 512, 512);
	io_at("write_0", true, 0, 4096);
	io_at("write_odd", true, 5000, 100);
	io_at("write_over_end", true, 65536 - 512, 4096);
	io_at("write_at_end", true, 65536, 512);
	io_at("write_past_end", true, 1 << 20, 512);
	leave();
	report_only("before_window", 0, "%s", content(fd, 0, 4096, 7));
	report_only("in_window", 0, "%s", content(fd, 12288, 4096, 7));
	report_only("after_window", 0, "%s",
		    content(fd, 4096 + 65536, 65536, 7));
	close(fd);
}

static void io_truncated(int flags, const char *name)
{
	int fd = io_image(LT_MIB);

	state = name;
	fresh();
	if (lt_configure(dev, fd, 0, flags, 0, 0))
		lt_die("LOOP_CONFIGURE");
	reopen(O_RDWR | O_DIRECT);
	ftruncate(fd, 512 * 1024 + 1024);
	io_at("read_there", false, 0, 4096);
	io_at("read_border", false, 512 * 1024, 4096);
	io_at("read_border_512", false, 512 * 1024 + 512, 512);
	io_at("read_gone", false, 768 * 1024, 4096);
	io_at("read_gone_large", false, 512 * 1024, 65536);
	io_at("write_gone", true, 768 * 1024, 4096);
	report_only("file_size", 0, "%lld",
		    (long long)lseek(fd, 0, SEEK_END));
	io_at("read_between", false, 640 * 1024, 4096);
	leave();
	close(fd);
}

static void io_discard(int flags, const char *name)
{
	uint64_t range[2] = { 65536, 131072 };
	uint64_t odd[2] = { 65536 + 512, 1024 };
	uint64_t bad[2] = { 100, 512 };
	uint64_t past[2] = { LT_MIB - 512, 4096 };
	int fd = io_image(LT_MIB), rc;
	long long before = blocks_of(fd);

	state = name;
	fresh();
	if (lt_configure(dev, fd, 0, flags, 4096, 0))
		lt_die("LOOP_CONFIGURE");
	remember();
	report("zeroout", did(ioctl(dev, BLKZEROOUT, range)));
	report_only("zeroout_file", 0, "%s allocated=%d",
		    content(fd, 65536 + 4096, 65536, 7),
		    blocks_of(fd) == before);
	range[0] = 262144;
	report("discard", did(ioctl(dev, BLKDISCARD, range)));
	report_only("discard_file", 0, "%s holes=%lld",
		    content(fd, 262144 + 4096, 65536, 7),
		    (before - blocks_of(fd)) * 512);
	report_only("discard_read", 0, "%s",
		    content(dev, 262144, 65536, 7));
	report_only("before_range", 0, "%s", content(fd, 262144, 4096, 7));
	report_only("after_range", 0, "%s",
		    content(fd, 262144 + 131072 + 4096, 4096, 7));
	report("discard_odd", did(ioctl(dev, BLKDISCARD, odd)));
	report("zeroout_odd", did(ioctl(dev, BLKZEROOUT, odd)));
	report("discard_bad", did(ioctl(dev, BLKDISCARD, bad)));
	report("zeroout_bad", did(ioctl(dev, BLKZEROOUT, bad)));
	report("discard_past", did(ioctl(dev, BLKDISCARD, past)));
	report("secdiscard", did(ioctl(dev, BLKSECDISCARD, range)));
	rc = did(fallocate(dev, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   524288, 65536));
	report_only("fallocate_punch", rc, "%s",
		    content(fd, 524288 + 4096, 65536, 7));
	rc = did(fallocate(dev, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			   655360, 65536));
	report_only("fallocate_zero", rc, "%s",
		    content(fd, 655360 + 4096, 65536, 7));
	rc = did(fallocate(dev, 0, 0, 4096));
	report_only("fallocate_plain", rc, "%s", "");
	leave();
	close(fd);
}

static void io_misc(void)
{
	int fd = io_image(LT_MIB), rc;

	state = "misc";
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	memset(io_want, 'x', page);
	rc = did(pwrite(dev, io_want, 4096, 8192));
	report_only("write_cached", rc, "file=%s",
		    content(fd, 8192, 4096, 7));
	rc = did(ioctl(dev, BLKFLSBUF, 0));
	report_only("blkflsbuf", rc, "file=%s",
		    content(fd, 8192, 4096, 7));
	rc = did(fsync(dev));
	report_only("fsync", rc, "%s", "");
	rc = did(fdatasync(dev));
	report_only("fdatasync", rc, "%s", "");

	/* What was written before LOOP_CLR_FD, and after it. */
	pwrite(dev, io_want, 4096, 16384);
	rc = did(ioctl(dev, LOOP_CLR_FD, 0));
	report_only("clr_fd", rc, "%s", "");
	rc = did(pread(dev, io_buf, 4096, 65536));
	report_only("rundown_read", rc, "%s", "");
	/* A whole page, or the rest of it is read first. */
	rc = did(pwrite(dev, io_want, page, 65536 * 2));
	report_only("rundown_write", rc, "fsync=%s",
		    fsync(dev) ? lt_errname(errno) : "0");
	close(dev);
	dev = -1;
	report_only("dirty_before_clr_fd", 0, "%s",
		    content(fd, 16384, 4096, 7));
	report_only("written_after_clr_fd", 0, "%s",
		    content(fd, 65536 * 2, 4096, 7));
	dev = lt_open(NUMBER, O_RDWR);
	rc = did(pread(dev, io_buf, 4096, 0));
	report_only("unbound_read", rc, "%s", "");
	rc = did(pwrite(dev, io_buf, 4096, 0));
	report_only("unbound_write", rc, "%s", "");
	leave();
	close(fd);

	state = "read_only";
	enter_ro();
	rc = did(pwrite(dev, io_buf, 4096, 0));
	report_only("write", rc, "%s", "");
	rc = did(call_discard());
	report_only("discard", rc, "%s", "");
	rc = did(call_zeroout());
	report_only("zeroout", rc, "%s", "");
	rc = did(pread(dev, io_buf, 4096, 0));
	report_only("read", rc, "%d", lt_filled(io_buf, 4096, 1, 0));
	leave();
}

static void io_cached_truncated(void)
{
	int fd = io_image(LT_MIB);

	state = "cached";
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	ftruncate(fd, 65536);
	io_at("read_gone", false, 524288, 4096);
	io_at("read_there", false, 0, 4096);
	leave();
	close(fd);
}

static void group_io(void)
{
	io_bounds(0, "bounds");
	io_bounds(LO_FLAGS_DIRECT_IO, "bounds_dio");
	io_truncated(0, "truncated");
	io_truncated(LO_FLAGS_DIRECT_IO, "truncated_dio");
	io_cached_truncated();
	io_discard(0, "discard");
	io_discard(LO_FLAGS_DIRECT_IO, "discard_dio");
	io_misc();
}

/* All of sysfs */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What counts or names time and place, and what is no file of ours. */
static bool skip_attr(const char *name)
{
	static const char *const skip[] = {
		"diskseq", "stat", "inflight", "uevent", "dev", "subsystem",
		"bdi", "device", "power", "holders", "slaves", "trace",
		"integrity", "hctx*", "cpu*",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(skip); i++)
		if (!fnmatch(skip[i], name, 0))
			return true;
	return false;
}

static void list_dir(const char *path, const char *label)
{
	char *names[256], full[PATH_MAX], text[128], val[512];
	unsigned int i, count = 0;
	struct dirent *de;
	DIR *d = opendir(path);

	if (!d) {
		printf("%s.%s.%s: absent\n", group, state, label);
		return;
	}
	while ((de = readdir(d)) && count < ARRAY_SIZE(names))
		if (de->d_name[0] != '.' && !skip_attr(de->d_name))
			names[count++] = strdup(de->d_name);
	closedir(d);
	qsort(names, count, sizeof(*names), compare_names);
	for (i = 0; i < count; i++) {
		struct lt_buf words = { 0 };
		struct stat st;

		snprintf(full, sizeof(full), "%s/%s", path, names[i]);
		if (lstat(full, &st))
			continue;
		snprintf(text, sizeof(text), "%s.%s", label, names[i]);
		if (S_ISDIR(st.st_mode)) {
			printf("%s.%s.%s: directory\n", group, state, text);
		} else if (S_ISREG(st.st_mode)) {
			lt_read_line(full, val, sizeof(val));
			lt_add_name(&words, val, sizeof(val));
			printf("%s.%s.%s: mode=%o value=%s\n", group, state,
			       text, st.st_mode & 07777, words.s);
		}
		free(names[i]);
	}
}

static void list_device(void)
{
	static const char *const dirs[] = { "", "queue", "loop" };
	static const char *const labels[] = { "disk", "queue", "loop" };
	char path[PATH_MAX];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "/sys/block/loop%d/%s", NUMBER,
			 dirs[i]);
		list_dir(path, labels[i]);
	}
}

/* What the write says */
static int try_setting(const char *attr, const char *text)
{
	char path[128];
	int fd, rc;

	snprintf(path, sizeof(path), "/sys/block/loop%d/queue/%s", NUMBER, attr);
	fd = must_open(path, O_WRONLY);
	rc = did(write(fd, text, strlen(text)));
	close(fd);
	return rc;
}

static void write_setting(const char *attr, const char *text)
{
	if (try_setting(attr, text) < 0)
		lt_die("write %s to %s", text, attr);
}

static void group_sysfs(void)
{
	char path[PATH_MAX], val[64];

	state = "unbound";
	fresh();
	list_device();
	state = "bound";
	enter_bound();
	list_device();
	state = "direct";
	enter_direct();
	list_device();
	state = "partscan";
	fresh_bound(IMG_P, LO_FLAGS_PARTSCAN);
	snprintf(path, sizeof(path), "/sys/block/loop%d/loop%dp1", NUMBER,
		 NUMBER);
	list_dir(path, "part");
	state = "write_cache";
	enter_bound();
	write_setting("write_cache", "write through");
	lt_sysfs(NUMBER, "queue/write_cache", val, sizeof(val));
	report_only("through", 0, "%s", val);
	ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096);
	lt_sysfs(NUMBER, "queue/write_cache", val, sizeof(val));
	report_only("after_block_size", 0, "%s", val);
	leave();
	state = "module";
	list_dir("/sys/module/loop/parameters", "parameters");
	list_dir("/sys/class/misc/loop-control", "control");
}

/* What was set in sysfs, or by BLKROSET */

/* Read-ahead last, as the block layer raises it at each change of a limit. */
static void settings(void)
{
	spoiled = true;
	write_setting("rotational",
		      lt_sysfs_num(NUMBER, "queue/rotational") ? "0" : "1");
	write_setting("stable_writes",
		      lt_sysfs_num(NUMBER, "queue/stable_writes") ? "0" : "1");
	write_setting("read_ahead_kb", "16");
}

static void settings_case(const char *name, int rc)
{
	rc = did(rc);
	report_only(name, rc, "read_ahead=%lld rotational=%lld stable=%lld",
		    lt_sysfs_num(NUMBER, "queue/read_ahead_kb"),
		    lt_sysfs_num(NUMBER, "queue/rotational"),
		    lt_sysfs_num(NUMBER, "queue/stable_writes"));
}

/* What sysfs can set of a queue, on all drivers */
static const struct {
	const char *attr, *value, *other;
} next_settings[] = {
	{ "discard_max_bytes", "0", "0" },
	{ "max_sectors_kb", "64", "64" },
	{ "write_cache", "write through", "write through" },
	{ "rotational", "1", "0" },
	{ "stable_writes", "1", "0" },
	{ "iostats", "0", "0" },
	{ "add_random", "1", "0" },
	{ "nomerges", "2", "2" },
	{ "read_ahead_kb", "16", "16" },
};

static void next_case(const char *name)
{
	struct lt_buf b = { };
	char attr[64], val[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(next_settings); i++) {
		snprintf(attr, sizeof(attr), "queue/%s", next_settings[i].attr);
		lt_comparable(NUMBER, attr, val, sizeof(val));
		lt_add(&b, "%s%s=%s", i ? " " : "", next_settings[i].attr, val);
	}
	report_only(name, 0, "%s", b.s);
}

/* What is set for one file, when the next one is attached */
static void settings_next(void)
{
	char attr[64], val[64];
	unsigned int i;

	state = "next";
	fresh();
	if (ioctl(dev, LOOP_SET_FD, image[IMG_A].rw))
		lt_die("LOOP_SET_FD");
	next_case("first");
	for (i = 0; i < ARRAY_SIZE(next_settings); i++) {
		snprintf(attr, sizeof(attr), "queue/%s", next_settings[i].attr);
		lt_sysfs(NUMBER, attr, val, sizeof(val));
		write_setting(next_settings[i].attr,
			      strcmp(val, next_settings[i].value) ?
			      next_settings[i].value : next_settings[i].other);
	}
	next_case("set");
	release();
	next_case("detached");
	dev = open_number(NUMBER, O_RDWR);
	if (ioctl(dev, LOOP_SET_FD, image[IMG_B].rw))
		lt_die("LOOP_SET_FD");
	next_case("second");
	leave();
}

/* A limit of discards that is set by a user, and set back */
static void settings_discard(void)
{
	char hw[64];
	int rc;

	state = "discard";
	enter_bound();
	spoiled = true;
	lt_sysfs(NUMBER, "queue/discard_max_hw_bytes", hw, sizeof(hw));
	write_setting("discard_max_bytes", "65536");
	report_only("set", 0, "max=%lld",
		    lt_sysfs_num(NUMBER, "queue/discard_max_bytes"));
	rc = try_setting("discard_max_bytes", hw);
	report_only("back", rc, "whole=%d",
		    lt_sysfs_num(NUMBER, "queue/discard_max_bytes") ==
		    strtoll(hw, NULL, 0));
	leave();
}

/* A write error of one file is not told to those who use the next one. */
static void settings_error(void)
{
	char path[PATH_MAX], buf[4096] = { 0 };
	int fd, i, rc;

	state = "error";
	snprintf(path, sizeof(path), "%s/full", dir);
	if (mkdir(path, 0700) || mount("full", path, "tmpfs", 0, "size=64k"))
		lt_die("mount %s", path);
	fd = in_dir("full/file", O_RDWR | O_CREAT | O_TRUNC);
	if (ftruncate(fd, IMAGE_SIZE))
		lt_die("ftruncate");
	fresh();
	rc = did(ioctl(dev, LOOP_SET_FD, fd));
	close(fd);
	for (i = 0; i < 32 && rc >= 0; i++)
		rc = did(pwrite(dev, buf, sizeof(buf), i * sizeof(buf)));
	release();
	if (umount2(path, 0) || rmdir(path))
		lt_die("umount %s", path);
	dev = open_number(NUMBER, O_RDWR);
	if (ioctl(dev, LOOP_SET_FD, image[IMG_B].rw))
		lt_die("LOOP_SET_FD");
	report_only("next_fsync", did(fsync(dev)), "-");
	leave();
}

static void group_settings(void)
{
	struct loop_info64 info;

	state = "bound";
	enter_bound();
	settings();
	settings_case("set", 0);
	settings_case("set_capacity", ioctl(dev, LOOP_SET_CAPACITY, 0));
	settings_case("set_direct_io", ioctl(dev, LOOP_SET_DIRECT_IO, 0));
	ioctl(dev, LOOP_GET_STATUS64, &info);
	info.lo_flags |= LO_FLAGS_AUTOCLEAR;
	settings_case("set_status", ioctl(dev, LOOP_SET_STATUS64, &info));
	info.lo_offset = 4096;
	settings_case("offset", ioctl(dev, LOOP_SET_STATUS64, &info));

	state = "ro";
	enter_ro();
	settings();
	settings_case("change_fd", ioctl(dev, LOOP_CHANGE_FD, image[IMG_B].ro));

	state = "unbound";
	enter_bound();
	call_blkroset();
	release();
	report_only("read_only", 0, "ro=%lld", lt_sysfs_num(NUMBER, "ro"));
	/* What is set while it is unbound is for the next binding. */
	dev = open_number(NUMBER, O_RDWR);
	call_blkroset();
	if (ioctl(dev, LOOP_SET_FD, image[IMG_A].rw))
		lt_die("LOOP_SET_FD");
	report_only("set_before", 0, "ro=%lld", lt_sysfs_num(NUMBER, "ro"));
	leave();

	settings_next();
	settings_discard();
	settings_error();
}

/* Running */

static const struct {
	const char *name;
	void (*fn)(void);
} groups[] = {
	{ "states", group_states },
	{ "badfd", group_badfd },
	{ "cycle", group_cycle },
	{ "blocksize", group_blocksize },
	{ "flags", group_flags },
	{ "fields", group_fields },
	{ "pointers", group_pointers },
	{ "changefd", group_changefd },
	{ "capacity", group_capacity },
	{ "control", group_control },
	{ "control_nobody", group_control_nobody },
	{ "partition", group_partition },
	{ "backing", group_backing },
	{ "uevent", group_uevent },
	{ "io", group_io },
	{ "sysfs", group_sysfs },
	{ "settings", group_settings },
};

static void make_images(void)
{
	char command[PATH_MAX + 64];
	unsigned int i;

	for (i = 0; i < IMG_COUNT; i++) {
		snprintf(image[i].path, sizeof(image[i].path), "%s/img%s", dir,
			 image_names[i]);
		image[i].rw = lt_file(image[i].path,
				      i == IMG_C ? IMAGE_SIZE / 2 : IMAGE_SIZE,
				      i + 1);
		image[i].ro = must_open(image[i].path, O_RDONLY);
		lt_know(image[i].rw, image_names[i]);
	}
	lt_label_two(image[IMG_P].rw);
	snprintf(command, sizeof(command), "mkfs.ext4 -q -F -O ^has_journal %s",
		 image[IMG_E].path);
	if (system(command))
		lt_die("%s", command);
	snprintf(mount_point, sizeof(mount_point), "%s/mount", dir);
	if (mkdir(mount_point, 0700) && errno != EEXIST)
		lt_die("mkdir %s", mount_point);
	for (i = 0; i < IMG_COUNT; i++)
		fsync(image[i].rw);
}

static void remove_images(void)
{
	static const char *const more[] = {
		"larger", "growing", "sized", "readonly", "append", "data",
	};
	char path[PATH_MAX];
	unsigned int i;

	for (i = 0; i < IMG_COUNT; i++) {
		close(image[i].rw);
		close(image[i].ro);
		unlink(image[i].path);
	}
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, more[i]);
		unlink(path);
	}
	rmdir(mount_point);
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!fnmatch(*names, name, 0))
			return true;
	return false;
}

/* A process for each, so that one that fails does not take all with it. */
static bool run_group(unsigned int i)
{
	struct timespec start, end;
	int status;
	pid_t pid;

	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &start);
	group = groups[i].name;
	state = "";
	name_case("start");
	pid = fork();
	if (pid < 0)
		lt_die("fork");
	if (!pid) {
		signal(SIGALRM, die_by_alarm);
		alarm(GROUP_SECONDS);
		groups[i].fn();
		leave();
		exit(0);
	}
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	fprintf(stderr, "# %s: %ld ms\n", group,
		(end.tv_sec - start.tv_sec) * 1000L +
		(end.tv_nsec - start.tv_nsec) / 1000000);
	if (!status)
		return false;
	printf("%s: died, status %#x\n", group, status);
	lt_destroy(LOWEST, 100);
	lt_destroy(LOWER, 100);
	lt_destroy(NUMBER, 100);
	return true;
}

int main(int argc, char **argv)
{
	bool failed = false;
	unsigned int i;
	int opt;

	while ((opt = getopt(argc, argv, "bd:f:")) != -1) {
		if (opt == 'b') {
			brief = true;
		} else if (opt == 'd') {
			dir = optarg;
		} else if (opt == 'f' && nr_fs < MAX_FS &&
			   strchr(optarg, '=')) {
			fs_args[nr_fs++] = optarg;
		} else {
			fprintf(stderr,
				"usage: %s [-b] [-d DIRECTORY] [-f NAME=DIRECTORY]... [GROUP]...\n",
				argv[0]);
			return 1;
		}
	}
	if (lt_control() < 0)
		lt_die("open /dev/loop-control");
	page = sysconf(_SC_PAGESIZE);
	snprintf(lt_prefix, sizeof(lt_prefix), "%s", dir);
	signal(SIGPIPE, SIG_IGN);
	make_images();
	for (i = 0; i < ARRAY_SIZE(groups); i++)
		if (wanted(groups[i].name, argv + optind))
			failed |= run_group(i);
	remove_images();
	return failed;
}
