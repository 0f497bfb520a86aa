// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_ATTACH_STRICT, and what the list and sysfs tell of a device that does
 * not meet what was asked for.
 */
#include "ctl_fixture.h"

TEST_F(ctl, strict)
{
	struct loop_ctl_attach a;
	int ro = open(self->path, O_RDONLY | O_CLOEXEC);

	EXPECT_STREQ("ok", attach_to(FIRST, self->file, STRICT, AUTOCLEAR));
	EXPECT_STREQ("EINVAL", attach_to(FIRST, ro, STRICT, AUTOCLEAR));
	EXPECT_STREQ("ok", attach_to(FIRST, ro, STRICT, AUTOCLEAR | READ_ONLY));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, STRICT,
				     AUTOCLEAR | READ_ONLY));
	/* The limit can be the end of the file, or a byte before it. */
	a = lt_to_attach(FIRST, self->file, STRICT, AUTOCLEAR);
	a.offset = 4096;
	a.sizelimit = SIZE - 4096;
	ASSERT_STREQ("ok", attach(&a));
	close(a.device_fd);
	a.sizelimit++;
	EXPECT_STREQ("EINVAL", attach(&a));
	/* The limit must be a multiple of 512, as a device has whole sectors. */
	a.sizelimit = 1000;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.sizelimit = INT64_MAX;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.offset = SIZE;
	a.sizelimit = 512;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.attach_flags = 0;
	ASSERT_STREQ("ok", attach(&a));
	close(a.device_fd);
}

/* BLKROSET holds until the device is detached. */
TEST_F(ctl, strict_blkroset)
{
	int fd, on = 1, ro = 0;
	struct loop_ctl_entry e;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, BLKROSET, &on));
	EXPECT_STREQ("EINVAL", attach_to(FIRST, self->file, STRICT, AUTOCLEAR));
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_UNMET_WRITE, e.unmet & LOOP_UNMET_WRITE);
	close(fd);

	EXPECT_STREQ("ok", attach_to(FIRST, self->file, STRICT, 0));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, BLKROGET, &ro));
	EXPECT_EQ(0, ro);
	close(fd);
}

TEST_F(ctl, strict_fails_without_trace)
{
	struct loop_ctl_attach a = lt_to_attach(ABSENT, self->file, STRICT, 0);

	a.sizelimit = SIZE + 512;
	EXPECT_STREQ("EINVAL", attach(&a));
	EXPECT_FALSE(lt_exists(ABSENT));
	a.index = -1;
	EXPECT_STREQ("EINVAL", attach(&a));
}

/* ramfs has no direct I/O. */
TEST_F(ctl, strict_direct_not_there)
{
	struct loop_ctl_attach a;
	char dir[64], path[80];

	snprintf(dir, sizeof(dir), "%s/ramfs", self->dir);
	ASSERT_EQ(0, mkdir(dir, 0700));
	ASSERT_EQ(0, mount("scratch", dir, "ramfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	a = lt_to_attach(FIRST, lt_file(path, SIZE, 3), 0, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR, a.lo_flags);
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/dio"));
	close(a.device_fd);
	a = lt_to_attach(FIRST, a.fd, STRICT, AUTOCLEAR | DIRECT_IO);
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
	a.index = ABSENT;
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
	a.index = -1;
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
}

/* Returns what the list and sysfs say, which is the same: words, joined by "_". */
static const char *missed(int index)
{
	static const char * const names[] = {
		"direct_io", "direct_align", "write", "sizelimit", "discard",
		"block_size",
	};
	static char told[256];
	char word[128] = "";
	struct loop_ctl_entry e;
	unsigned int i;

	if (!lt_entry(index, &e))
		return "no entry";
	for (i = 0; i < 6; i++) {
		if (!(e.unmet & 1U << i))
			continue;
		if (word[0])
			strcat(word, "_");
		strcat(word, names[i]);
	}
	if (e.unmet >> 6 || e.reserved)
		return "unknown";
	lt_sysfs(index, "loop_unmet", told, sizeof(told));
	return strcmp(word, told) ? "sysfs and list differ" : told;
}

TEST_F(ctl, unmet)
{
	struct loop_ctl_attach low = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	struct loop_ctl_attach a;
	char dir[64], path[80];

	ASSERT_STREQ("ok", attach(&low));
	EXPECT_STREQ("", missed(FIRST));
	EXPECT_EQ(0, ioctl(low.device_fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_STREQ("", missed(FIRST));

	a = lt_to_attach(FIRST + 1, low.device_fd, 0, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_STREQ("block_size", missed(FIRST + 1));
	/*
	 * A device that has lost direct I/O does not meet the request, whatever
	 * the reason.
	 */
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_BLOCK_SIZE, 512));
	EXPECT_STREQ("direct_align", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_STREQ("direct_align", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_DIRECT_IO, 1));
	EXPECT_STREQ("", missed(FIRST + 1));
	close(a.device_fd);

	a.sizelimit = SIZE + 512;
	a.block_size = 512;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_STREQ("direct_align_sizelimit", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_DIRECT_IO, 0));
	EXPECT_STREQ("sizelimit", missed(FIRST + 1));
	close(a.device_fd);

	snprintf(dir, sizeof(dir), "%s/ramfs", self->dir);
	ASSERT_EQ(0, mkdir(dir, 0700));
	ASSERT_EQ(0, mount("scratch", dir, "ramfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	close(lt_file(path, SIZE, 3));
	a = lt_to_attach(FIRST + 1, open(path, O_RDONLY), 0, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_STREQ("direct_io_write_discard", missed(FIRST + 1));
}

/* The device below has blocks of 4096 bytes. */
TEST_F(ctl, strict_direct_alignment)
{
	struct loop_ctl_attach low = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	struct loop_ctl_attach a;

	low.block_size = 4096;
	ASSERT_STREQ("ok", attach(&low));
	a = lt_to_attach(FIRST + 1, low.device_fd, STRICT, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR | DIRECT_IO, a.lo_flags);
	EXPECT_EQ(4096, a.block_size);
	EXPECT_EQ(1, lt_sysfs_num(FIRST + 1, "loop/dio"));
	close(a.device_fd);

	a = lt_to_attach(FIRST + 1, low.device_fd, STRICT, AUTOCLEAR | DIRECT_IO);
	a.block_size = 512;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.block_size = 0;
	a.offset = 2048;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.offset = 8192;
	ASSERT_STREQ("ok", attach(&a));
	close(a.device_fd);
	/* Without STRICT, direct I/O is dropped without an error. */
	a = lt_to_attach(FIRST + 1, low.device_fd, 0, AUTOCLEAR | DIRECT_IO);
	a.block_size = 512;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(512, a.block_size);
	EXPECT_EQ(AUTOCLEAR, a.lo_flags);
	close(a.device_fd);
	a.attach_flags = STRICT;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(512, a.block_size);
}

TEST_HARNESS_MAIN
