// SPDX-License-Identifier: GPL-2.0
/*
 * Group "states": each call in each state.
 */
#include <grp.h>

#include "conformance.h"

/* States */

static void enter_shared(void)
{
	enter_attached();
	other = open_number(NUMBER, O_RDONLY);
}

static void enter_roopen(void)
{
	enter_attached();
	reopen(O_RDONLY);
}

static void enter_roopen_free(void)
{
	fresh();
	reopen(O_RDONLY);
}

static void enter_autoclear(void)
{
	fresh_attached(IMG_A, LO_FLAGS_AUTOCLEAR);
}

static void enter_pending(void)
{
	enter_shared();
	if (ioctl(dev, LOOP_CLR_FD, 0))
		lt_die("LOOP_CLR_FD with another opener");
}

static void enter_rundown(void)
{
	enter_attached();
	if (ioctl(dev, LOOP_CLR_FD, 0))
		lt_die("LOOP_CLR_FD");
}

static void enter_detached(void)
{
	fresh();
	if (lt_configure(dev, image[IMG_P].rw, 4096, LO_FLAGS_PARTSCAN,
			 512 * 1024, LT_MIB))
		lt_die("attach with an offset");
	ioctl(dev, LOOP_CLR_FD, 0);
	close(dev);
	dev = -1;
	dev = open_number(NUMBER, O_RDWR);
}

static void enter_exclusive(void)
{
	enter_attached();
	other = open_number(NUMBER, O_RDONLY | O_EXCL);
}

static void enter_exclusive_free(void)
{
	fresh();
	other = open_number(NUMBER, O_RDONLY | O_EXCL);
}

static void enter_exclusive_self(void)
{
	enter_attached();
	reopen(O_RDWR | O_EXCL);
}

static void enter_mounted(void)
{
	char path[64];

	fresh_attached(IMG_E, 0);
	snprintf(path, sizeof(path), "/dev/loop%d", NUMBER);
	if (mount(path, mount_point, "ext4", MS_RDONLY, NULL))
		lt_die("mount %s", path);
	mounted = true;
}

static void enter_window(void)
{
	renew();
	if (lt_configure(dev, image[IMG_P].rw, 1024, LO_FLAGS_PARTSCAN, 0,
			 LT_MIB + 100 * 1024))
		lt_die("attach with a limit");
}

static void enter_nobody_free(void)
{
	fresh();
	as_nobody = true;
}

static void enter_nobody_rw(void)
{
	enter_attached();
	as_nobody = true;
}

static void enter_nobody_ro(void)
{
	enter_roopen();
	as_nobody = true;
}

static void enter_nobody_ro_free(void)
{
	enter_roopen_free();
	as_nobody = true;
}

/* Calls, all on @dev */

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

int call_blkroset(void)
{
	int on = 1;

	spoiled = true;
	return ioctl(dev, BLKROSET, &on);
}

int call_blkroclr(void)
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

/* The range is near the end, where the mounted file system has no data. */
static int range_call(unsigned long cmd)
{
	uint64_t size = lt_size(dev);
	uint64_t range[2] = { size < 8192 ? 0 : size - 8192, 4096 };

	return ioctl(dev, cmd, range);
}

int call_discard(void)
{
	return range_call(BLKDISCARD);
}

static int call_secdiscard(void)
{
	return range_call(BLKSECDISCARD);
}

int call_zeroout(void)
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

const struct call calls[] = {
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

const unsigned int nr_calls = ARRAY_SIZE(calls);

/* Makes the call as the user nobody with the fds of root. */
int call_in_child(int (*fn)(void))
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
	{ "free", fresh },
	{ "attached", enter_attached },
	{ "shared", enter_shared },
	{ "ro", enter_ro },
	{ "roflag", enter_roflag },
	{ "roopen", enter_roopen },
	{ "roopen_free", enter_roopen_free },
	{ "autoclear", enter_autoclear },
	{ "pending", enter_pending },
	{ "rundown", enter_rundown },
	{ "detached", enter_detached },
	{ "exclusive", enter_exclusive },
	{ "exclusive_free", enter_exclusive_free },
	{ "exclusive_self", enter_exclusive_self },
	{ "mounted", enter_mounted },
	{ "direct", enter_direct },
	{ "window", enter_window },
	{ "nobody_free", enter_nobody_free },
	{ "nobody_rw", enter_nobody_rw },
	{ "nobody_ro", enter_nobody_ro },
	{ "nobody_ro_free", enter_nobody_ro_free },
};

/* The word size could make a difference in these states. */
static bool in_brief(const char *name)
{
	static const char *const names[] = {
		"free", "attached", "ro", "rundown", "nobody_ro",
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
	for (i = 0; i < nr_calls; i++) {
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

void group_states(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(states); i++)
		if (!brief || in_brief(states[i].name))
			run_state(&states[i]);
}
