// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_COND_*: what has to be met, and what the answer, the list and sysfs tell of
 * a device that does not meet it.
 */
#include "ctl_fixture.h"

#define ALL (2 * LOOP_COND_UNCACHED - 1)

/* Tries with each condition alone and with all, and returns what is wrong. */
static const char *requires(struct loop_ctl_attach a, uint32_t unmet)
{
	static char text[128];
	const char *name;
	unsigned int i;

	for (i = 0; (1U << i) / 2 <= ALL; i++) {
		uint32_t require = 1U << i > ALL ? ALL : 1U << i;
		uint64_t before = trace();

		a.require = require;
		name = attach(&a);
		snprintf(text, sizeof(text), "require %#x: %s, out_unmet %#x",
			 require, name, a.out_unmet);
		if (a.out_unmet != unmet ||
		    strcmp(name, require & unmet ? "EOPNOTSUPP" : "ok"))
			return text;
		if (strcmp(name, "ok")) {
			if (trace() != before || a.out_lease || a.out_busy ||
			    a.out_diskseq)
				return text;
			continue;
		}
		if (a.out_lease >= 0)
			close(a.out_lease);
		else if (strcmp("ok", detach_from(a.out_index)))
			return "not detached";
	}
	return "ok";
}

TEST_F(ctl, require_met)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);

	EXPECT_STREQ("ok", requires(a, 0));
	a.offset = 4096;
	a.sizelimit = SIZE - 4096;
	EXPECT_STREQ("ok", requires(a, 0));
	a.lo_flags = READ_ONLY;
	EXPECT_STREQ("ok", requires(a, 0));
	a.attach_flags = LEASE;
	a.lo_flags = AUTOCLEAR;
	EXPECT_STREQ("ok", requires(a, 0));
}

TEST_F(ctl, require_write)
{
	int ro = open(self->path, O_RDONLY | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(FIRST, ro, 0, 0);

	EXPECT_STREQ("ok", requires(a, LOOP_COND_WRITE));
	/* Read-only was asked for. */
	a.lo_flags = READ_ONLY;
	EXPECT_STREQ("ok", requires(a, 0));
}

TEST_F(ctl, require_sizelimit)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);

	/* The limit can be the end of the file, and no byte more. */
	a.offset = 4096;
	a.sizelimit = SIZE - 4096;
	EXPECT_STREQ("ok", requires(a, 0));
	a.sizelimit++;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_SIZELIMIT));
	a.sizelimit = 1000;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_SIZELIMIT));
	a.sizelimit = INT64_MAX;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_SIZELIMIT));
	a.offset = SIZE;
	a.sizelimit = 512;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_SIZELIMIT));
}

TEST_F(ctl, require_discard)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
						LOOP_ATTACH_NO_DISCARD, 0);

	EXPECT_STREQ("ok", requires(a, LOOP_COND_DISCARD));
}

/* BLKROSET holds until the device is detached. */
TEST_F(ctl, require_write_blkroset)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	int fd, on = 1, ro = 0;
	struct loop_ctl_entry e;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, BLKROSET, &on));
	a.require = LOOP_COND_WRITE;
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
	EXPECT_EQ(LOOP_COND_WRITE, a.out_unmet & LOOP_COND_WRITE);
	a.require = 0;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(LOOP_COND_WRITE, a.out_unmet & LOOP_COND_WRITE);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(a.out_unmet, e.unmet);
	close(fd);
	EXPECT_STREQ("ok", detach_from(FIRST));

	a.require = LOOP_COND_WRITE;
	EXPECT_STREQ("ok", attach(&a));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, BLKROGET, &ro));
	EXPECT_EQ(0, ro);
	close(fd);
}

/* A call that fails makes no device, whatever its number and flags are. */
TEST_F(ctl, require_fails_without_trace)
{
	static const uint32_t flags[] = {
		0, LEASE, LEASE | HOLD, EXCLUSIVE, EPHEMERAL,
		LEASE | EXCLUSIVE | EPHEMERAL | HOLD,
	};
	int uevents = lt_uevent_open();
	struct lt_buf told = { 0 };
	unsigned int i;

	for (i = 0; i < 2 * ARRAY_SIZE(flags); i++) {
		struct loop_ctl_attach a = lt_to_attach(i % 2 ? -1 : ABSENT,
							self->file, flags[i / 2],
							0);

		a.sizelimit = SIZE + 512;
		a.require = LOOP_COND_SIZELIMIT | LOOP_COND_DIRECT_IO;
		EXPECT_STREQ("EOPNOTSUPP", attach(&a));
		EXPECT_EQ(LOOP_COND_SIZELIMIT, a.out_unmet);
		EXPECT_FALSE(lt_exists(ABSENT));
	}
	lt_uevents(uevents, ABSENT, &told);
	EXPECT_STREQ("", told.s);
	close(uevents);
	/* Nothing holds the file. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, EXCLUSIVE, 0));
	EXPECT_STREQ("ok", detach_from(FIRST));
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* ramfs has no direct I/O. Returns a file there. */
static int file_on_ramfs(struct _test_data_ctl *self)
{
	char dir[64], path[80];

	snprintf(dir, sizeof(dir), "%s/ramfs", self->dir);
	if (mkdir(dir, 0700) || mount("scratch", dir, "ramfs", 0, NULL))
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	return lt_file(path, SIZE, 3);
}

TEST_F(ctl, require_direct_io)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, file_on_ramfs(self), 0,
						DIRECT_IO);

	ASSERT_GE(a.fd, 0);
	EXPECT_STREQ("ok", requires(a, LOOP_COND_DIRECT_IO | LOOP_COND_DISCARD));
	a.attach_flags = LOOP_ATTACH_DIRECT_ALIGNED;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_DIRECT_IO | LOOP_COND_DISCARD));
	a = lt_to_attach(FIRST, a.fd, LEASE, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR, a.out_lo_flags);
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/dio"));
	close(a.out_lease);
	/* Direct I/O was not asked for. */
	a = lt_to_attach(FIRST, a.fd, 0, 0);
	EXPECT_STREQ("ok", requires(a, LOOP_COND_DISCARD));
}

/* A file descriptor that is open with O_DIRECT asks for direct I/O as well. */
TEST_F(ctl, require_direct_io_of_fd)
{
	struct loop_ctl_attach low = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	struct loop_ctl_attach a;
	int fd;

	low.block_size = 4096;
	fd = lt_attach(&low, NULL);
	ASSERT_GE(fd, 0);
	a = lt_to_attach(FIRST + 1, lt_open(FIRST, O_RDWR | O_DIRECT), 0, 0);
	ASSERT_GE(a.fd, 0);
	EXPECT_STREQ("ok", requires(a, LOOP_COND_BLOCK_SIZE));
	a.block_size = 512;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_DIRECT_ALIGN));
	close(a.fd);
	close(fd);
}

/* The device below has blocks of a page: its page cache has no larger ones. */
TEST_F(ctl, require_direct_align)
{
	struct loop_ctl_attach low = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	uint32_t page = sysconf(_SC_PAGESIZE);
	struct loop_ctl_attach a;
	int fd;

	low.block_size = page;
	fd = lt_attach(&low, NULL);
	ASSERT_GE(fd, 0);
	a = lt_to_attach(FIRST + 1, fd, LEASE, AUTOCLEAR | DIRECT_IO);
	EXPECT_STREQ("ok", requires(a, LOOP_COND_BLOCK_SIZE));
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR | DIRECT_IO, a.out_lo_flags);
	EXPECT_EQ(page, a.out_block_size);
	EXPECT_EQ(1, lt_sysfs_num(FIRST + 1, "loop/dio"));
	close(a.out_lease);

	a.block_size = page;
	EXPECT_STREQ("ok", requires(a, 0));
	a.block_size = 512;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_DIRECT_ALIGN));
	a.block_size = 0;
	a.offset = 2048;
	a.require = LOOP_COND_DIRECT_ALIGN;
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
	EXPECT_EQ(LOOP_COND_DIRECT_ALIGN, a.out_unmet & LOOP_COND_DIRECT_ALIGN);
	a.offset = 2 * page;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_BLOCK_SIZE));
	/* Only the offset counts. */
	a.attach_flags |= LOOP_ATTACH_DIRECT_ALIGNED;
	a.block_size = 512;
	EXPECT_STREQ("ok", requires(a, 0));
	a.block_size = 0;
	EXPECT_STREQ("ok", requires(a, 0));
	a.offset = 2048;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_DIRECT_ALIGN));
	/* What is not required is dropped without an error. */
	a = lt_to_attach(FIRST + 1, fd, LEASE, AUTOCLEAR | DIRECT_IO);
	a.block_size = 512;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(512, a.out_block_size);
	EXPECT_EQ(AUTOCLEAR, a.out_lo_flags);
	EXPECT_EQ(LOOP_COND_DIRECT_ALIGN, a.out_unmet);
	close(a.out_lease);
	close(fd);
}

/*
 * Buffered I/O that leaves nothing in the page cache: the answer is the same each
 * time, and so is what the cache holds after a write that was synced.
 */
TEST_F(ctl, require_uncached)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, file_on_ramfs(self),
						LOOP_ATTACH_UNCACHED, 0);
	uint32_t unmet;
	struct loop_ctl_entry e;

	/* ramfs is a page cache and nothing else. */
	EXPECT_STREQ("ok", requires(a, LOOP_COND_UNCACHED | LOOP_COND_DISCARD));
	a.attach_flags = 0;
	EXPECT_STREQ("ok", requires(a, LOOP_COND_DISCARD));

	a = lt_to_attach(FIRST, self->file, LOOP_ATTACH_UNCACHED, 0);
	ASSERT_STREQ("ok", attach(&a));
	unmet = a.out_unmet & LOOP_COND_UNCACHED;
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(a.out_unmet, e.unmet);
	EXPECT_EQ(LOOP_ATTACH_UNCACHED, e.attach_flags);
	ASSERT_STREQ("ok", detach_from(FIRST));
	EXPECT_STREQ("ok", requires(a, unmet));
}

/* Returns what the list and sysfs say, which is the same: words, joined by "_". */
static const char *missed(int index)
{
	static const char * const names[] = {
		"direct_io", "direct_align", "write", "sizelimit", "discard",
		"block_size", "uncached",
	};
	static char told[256];
	char word[128] = "";
	struct loop_ctl_entry e;
	unsigned int i;

	if (!lt_entry(index, &e))
		return "no entry";
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (!(e.unmet & 1U << i))
			continue;
		if (word[0])
			strcat(word, "_");
		strcat(word, names[i]);
	}
	if (e.unmet >> ARRAY_SIZE(names))
		return "unknown";
	lt_sysfs(index, "loop_unmet", told, sizeof(told));
	return strcmp(word, told) ? "sysfs and list differ" : told;
}

/* The conditions follow what becomes of the device. */
TEST_F(ctl, unmet)
{
	struct loop_ctl_attach low = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	struct loop_ctl_attach a;
	int lower, fd;

	lower = lt_attach(&low, NULL);
	ASSERT_GE(lower, 0);
	EXPECT_STREQ("", missed(FIRST));
	EXPECT_EQ(0, ioctl(lower, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_STREQ("", missed(FIRST));

	a = lt_to_attach(FIRST + 1, lower, 0, AUTOCLEAR | DIRECT_IO);
	fd = lt_attach(&a, NULL);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("block_size", missed(FIRST + 1));
	/*
	 * A device that has lost direct I/O does not meet the request, whatever
	 * the reason.
	 */
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_BLOCK_SIZE, 512));
	EXPECT_STREQ("direct_align", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_STREQ("direct_align", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_DIRECT_IO, 1));
	EXPECT_STREQ("", missed(FIRST + 1));
	close(fd);

	a.sizelimit = SIZE + 512;
	a.block_size = 512;
	fd = lt_attach(&a, NULL);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("direct_align_sizelimit", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_DIRECT_IO, 0));
	EXPECT_STREQ("sizelimit", missed(FIRST + 1));
	close(fd);
	close(lower);
}

TEST_F(ctl, unmet_on_ramfs)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST + 1, file_on_ramfs(self),
						LEASE, AUTOCLEAR | DIRECT_IO);
	char path[80];

	snprintf(path, sizeof(path), "%s/ramfs/file", self->dir);
	a.fd = open(path, O_RDONLY);
	ASSERT_GE(a.fd, 0);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_STREQ("direct_io_write_discard", missed(FIRST + 1));
	close(a.out_lease);
}

TEST_HARNESS_MAIN
