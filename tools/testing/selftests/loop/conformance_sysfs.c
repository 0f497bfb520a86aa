// SPDX-License-Identifier: GPL-2.0
/*
 * Groups "sysfs" and "settings": what sysfs shows, and what it sets.
 */
#include <fnmatch.h>

#include "conformance.h"

/* All of sysfs */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * Skips attributes that differ from run to run, those of other subsystems, and the
 * parameter that only builds for tests have.
 */
static bool skip_attr(const char *name)
{
	static const char *const skip[] = {
		"diskseq", "stat", "inflight", "uevent", "dev", "subsystem",
		"bdi", "device", "power", "holders", "slaves", "trace",
		"integrity", "hctx*", "cpu*", "inject",
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

/* Writes @text, and returns the result of write(). */
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

void group_sysfs(void)
{
	char path[PATH_MAX], val[64];

	state = "free";
	fresh();
	list_device();
	state = "attached";
	enter_attached();
	list_device();
	state = "direct";
	enter_direct();
	list_device();
	state = "partscan";
	fresh_attached(IMG_P, LO_FLAGS_PARTSCAN);
	snprintf(path, sizeof(path), "/sys/block/loop%d/loop%dp1", NUMBER,
		 NUMBER);
	list_dir(path, "part");
	state = "write_cache";
	enter_attached();
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

/* Settings that were made in sysfs, or by BLKROSET */

/*
 * Read-ahead is the last one, as the block layer raises it with each change of
 * a limit.
 */
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

/* The settings of a queue that all drivers have */
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

/* Settings are made for one file, and the next file is attached. */
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

/* A user sets the limit of discards and sets it back. */
static void settings_discard(void)
{
	char hw[64];
	int rc;

	state = "discard";
	enter_attached();
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

/* The next file does not report a write error of the file before. */
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

void group_settings(void)
{
	struct loop_info64 info;

	state = "attached";
	enter_attached();
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

	state = "free";
	enter_attached();
	call_blkroset();
	release();
	report_only("read_only", 0, "ro=%lld", lt_sysfs_num(NUMBER, "ro"));
	/* A setting of the detached device holds for the next file. */
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
