// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_ATTACH_EXCLUSIVE: which files and ranges are in use.
 */
#include "ctl_fixture.h"

/* Attaches a range of a file exclusively; @other is the device that is returned. */
static const char *attach_range(int index, int fd, uint32_t lo_flags,
				uint64_t offset, uint64_t limit, int *other)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, EXCLUSIVE | NO_FD,
						lo_flags);
	const char *name;

	a.offset = offset;
	a.sizelimit = limit;
	name = attach(&a);
	*other = a.index;
	return name;
}

TEST_F(ctl, exclusive_ranges)
{
	static const struct {
		uint64_t offset, limit, offset2, limit2;
		uint32_t flags, flags2;
		bool busy;
	} pairs[] = {
		/* the whole file */
		{ 0, 0, 0, 0, .busy = true },
		{ 0, 0, 0, 512, .busy = true },
		{ 0, 0, HALF, 0, .busy = true },
		/* without a limit there is no end */
		{ 0, 0, 4 * SIZE, 512, .busy = true },
		{ SIZE, 0, 8 * SIZE, 0, .busy = true },
		{ HALF, 0, 0, HALF + 1, .busy = true },
		{ HALF, 0, 0, HALF },
		{ 0, HALF, HALF, 0 },
		{ 0, HALF, HALF - 1, 0, .busy = true },
		/* parts */
		{ 0, HALF, HALF, HALF },
		{ HALF, HALF, 0, HALF },
		{ 0, HALF, 0, HALF, .busy = true },
		{ 0, HALF, 512, 512, .busy = true },
		{ 512, 512, 0, HALF, .busy = true },
		{ 512, 512, 1024, 512 },
		{ 1024, 512, 512, 512 },
		{ 512, 512, 1023, 512, .busy = true },
		{ 1023, 512, 512, 512, .busy = true },
		/* beyond the file, and as far as one can get */
		{ 0, INT64_MAX, 4 * SIZE, 512, .busy = true },
		{ 4 * SIZE, 512, 4 * SIZE + 512, 512 },
		{ INT64_MAX, INT64_MAX, 0, INT64_MAX },
		{ INT64_MAX, INT64_MAX, 0, 0, .busy = true },
		{ 0, INT64_MAX, INT64_MAX, 0 },
		/* readers and writers */
		{ .flags = READ_ONLY, .flags2 = READ_ONLY },
		{ .flags = READ_ONLY, .busy = true },
		{ .flags2 = READ_ONLY, .busy = true },
		{ 0, HALF, 0, 512, READ_ONLY, READ_ONLY },
		{ 0, HALF, 0, 512, READ_ONLY, 0, .busy = true },
	};
	unsigned int i;
	int index;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		ASSERT_STREQ("ok", attach_range(FIRST, self->file,
						pairs[i].flags,
						pairs[i].offset,
						pairs[i].limit, &index));
		EXPECT_STREQ(pairs[i].busy ? "EBUSY" : "ok",
			     attach_range(FIRST + 1, self->file,
					  pairs[i].flags2, pairs[i].offset2,
					  pairs[i].limit2, &index)) {
			TH_LOG("pair %u", i);
		}
		EXPECT_EQ(pairs[i].busy ? FIRST : FIRST + 1, index);
		if (!pairs[i].busy)
			EXPECT_STREQ("ok", detach_from(FIRST + 1));
		ASSERT_STREQ("ok", detach_from(FIRST));
	}
}

/* Neither the name of the file nor the call that attached it matters. */
TEST_F(ctl, exclusive_same_file)
{
	char path[80];
	int fd, file, index;

	snprintf(path, sizeof(path), "%s/link", self->dir);
	ASSERT_EQ(0, link(self->path, path));
	file = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(file, 0);
	ASSERT_STREQ("ok", attach_range(FIRST, self->file, 0, 0, 0, &index));
	EXPECT_STREQ("EBUSY", attach_range(-1, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_STREQ("EBUSY", attach_range(ABSENT, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_FALSE(lt_exists(ABSENT));
	/* Callers without the flag can attach the file later. */
	EXPECT_STREQ("ok", attach_to(FIRST + 1, file, NO_FD, 0));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_STREQ("EBUSY", attach_range(FIRST, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
	/* LOOP_SET_FD attaches it. */
	ASSERT_EQ(FIRST + 2, lt_ctl(LOOP_CTL_ADD, FIRST + 2));
	fd = lt_open(FIRST + 2, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_STREQ("EBUSY", attach_range(FIRST, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 2, index);
	EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	close(fd);
	EXPECT_STREQ("ok", attach_range(FIRST, file, 0, 0, 0, &index));
}

/* A file with the same content is another file. */
TEST_F(ctl, exclusive_other_file)
{
	char path[80];
	int index;

	snprintf(path, sizeof(path), "%s/other", self->dir);
	ASSERT_STREQ("ok", attach_range(FIRST, self->file, 0, 0, 0, &index));
	EXPECT_STREQ("ok", attach_range(FIRST + 1, lt_file(path, SIZE, 1), 0,
					0, 0, &index));
}

TEST_F(ctl, exclusive_block_device)
{
	int low, node, index;
	char path[80];

	low = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(low, 0);
	snprintf(path, sizeof(path), "%s/node", self->dir);
	/* A tmpfs that root has mounted can have nodes. */
	ASSERT_EQ(0, mknod(path, S_IFBLK | 0600, makedev(LT_MAJOR, FIRST)));
	node = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(node, 0);
	ASSERT_STREQ("ok", attach_range(FIRST + 1, low, 0, 0, 0, &index));
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, node, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	close(node);
	node = lt_open(FIRST, O_RDWR);
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, node, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	close(node);
	/* The file below the device is another file. */
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, self->file, 0, 0, 0,
					   &index));
	EXPECT_EQ(FIRST, index);
	ASSERT_STREQ("ok", detach_from(FIRST + 1));
}

/* The current backing file and range count, not those at the attach. */
TEST_F(ctl, exclusive_follows_changes)
{
	struct loop_info64 info = { .lo_offset = HALF, .lo_sizelimit = HALF };
	int fd, file, other, index;
	char path[80];

	fd = attach_fd(FIRST, self->file, EXCLUSIVE, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	EXPECT_STREQ("ok", attach_range(FIRST + 1, self->file, 0, 0, HALF,
					&index));
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, self->file, 0, HALF, 512,
					   &index));
	EXPECT_EQ(FIRST, index);
	close(fd);
	ASSERT_STREQ("ok", detach_from(FIRST + 1));
	ASSERT_STREQ("ok", detach_from(FIRST));

	snprintf(path, sizeof(path), "%s/other", self->dir);
	other = lt_file(path, SIZE, 2);
	fd = attach_fd(FIRST, self->file, EXCLUSIVE, READ_ONLY);
	ASSERT_GE(fd, 0);
	file = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, ioctl(fd, LOOP_CHANGE_FD, file));
	EXPECT_STREQ("ok", attach_range(FIRST + 1, self->file, 0, 0, 0,
					&index));
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, other, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	close(fd);
}

TEST_HARNESS_MAIN
