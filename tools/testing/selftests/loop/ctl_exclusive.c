// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_ATTACH_EXCLUSIVE: which files and ranges are in use, and which calls are
 * refused.
 */
#include "ctl_fixture.h"

/* Attaches a range of a file; @other is the device that is returned. */
static const char *attach_part(int index, int fd, uint32_t attach_flags,
			       uint32_t lo_flags, uint64_t offset, uint64_t limit,
			       int *other)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, attach_flags, lo_flags);
	const char *name;

	a.offset = offset;
	a.sizelimit = limit;
	name = attach(&a);
	*other = strcmp(name, "ok") ? a.out_busy : a.out_index;
	return name;
}

static const char *attach_range(int index, int fd, uint32_t lo_flags,
				uint64_t offset, uint64_t limit, int *other)
{
	return attach_part(index, fd, EXCLUSIVE, lo_flags, offset, limit, other);
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
		/* read-only attachments conflict as well */
		{ .flags = READ_ONLY, .flags2 = READ_ONLY, .busy = true },
		{ .flags = READ_ONLY, .busy = true },
		{ .flags2 = READ_ONLY, .busy = true },
		{ 0, HALF, 0, 512, READ_ONLY, READ_ONLY, .busy = true },
		{ 0, HALF, HALF, 512, READ_ONLY, READ_ONLY },
	};
	unsigned int i;
	int index;

	/* Both are exclusive, or the first is, or the second. */
	for (i = 0; i < 3 * ARRAY_SIZE(pairs); i++) {
		unsigned int p = i / 3;

		ASSERT_STREQ("ok", attach_part(FIRST, self->file,
					       i % 3 < 2 ? EXCLUSIVE : 0,
					       pairs[p].flags, pairs[p].offset,
					       pairs[p].limit, &index));
		EXPECT_STREQ(pairs[p].busy ? "EBUSY" : "ok",
			     attach_part(FIRST + 1, self->file,
					 i % 3 != 1 ? EXCLUSIVE : 0,
					 pairs[p].flags2, pairs[p].offset2,
					 pairs[p].limit2, &index)) {
			TH_LOG("pair %u, %u", p, i % 3);
		}
		EXPECT_EQ(pairs[p].busy ? FIRST : FIRST + 1, index);
		if (!pairs[p].busy)
			EXPECT_STREQ("ok", detach_from(FIRST + 1));
		ASSERT_STREQ("ok", detach_from(FIRST));
	}
}

/* Neither the name of the file nor the call that attaches it matters. */
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
	/* Callers without the flag are refused, too. */
	EXPECT_STREQ("EBUSY", attach_part(ABSENT, file, 0, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_STREQ("EBUSY", attach_part(-1, file, EPHEMERAL, READ_ONLY, 0, 0,
					  &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_FALSE(lt_exists(ABSENT));
	EXPECT_STREQ("ok", detach_from(FIRST));
	/* An attachment without the flag is in the way of one with the flag. */
	EXPECT_STREQ("ok", attach_to(FIRST + 1, file, 0, 0));
	EXPECT_STREQ("EBUSY", attach_range(FIRST, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	EXPECT_STREQ("ok", attach_to(FIRST + 2, file, 0, 0));
	EXPECT_STREQ("ok", detach_from(FIRST + 2));
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
	/* LOOP_SET_FD attaches it. */
	lt_ctl(LOOP_CTL_ADD, FIRST + 2);
	fd = lt_open(FIRST + 2, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_STREQ("EBUSY", attach_range(FIRST, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 2, index);
	EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	close(fd);
	EXPECT_STREQ("ok", attach_range(FIRST, file, 0, 0, 0, &index));
}

/* The ioctls of the device get EBUSY, and the device stays as it was. */
TEST_F(ctl, exclusive_against_old_ioctls)
{
	struct loop_info64 info = { .lo_offset = 0 };
	struct loop_config c = { .fd = self->file };
	struct loop_info old = { .lo_offset = 0 };
	int fd, other, file, index;
	char path[80];

	snprintf(path, sizeof(path), "%s/other", self->dir);
	other = lt_file(path, SIZE, 2);
	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	fd = lt_open(FIRST + 1, O_RDWR);
	ASSERT_GE(fd, 0);
	ASSERT_STREQ("ok", attach_range(FIRST, self->file, 0, 0, HALF, &index));
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_SET_FD, self->file));
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_CONFIGURE, &c));
	c.info.lo_offset = HALF - 1;
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_CONFIGURE, &c));
	c.info.lo_flags = READ_ONLY;
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_CONFIGURE, &c));
	EXPECT_FALSE(lt_sysfs_attached(FIRST + 1));
	/* Beside the range it can be attached, and cannot move into it. */
	c.info.lo_flags = 0;
	c.info.lo_offset = HALF;
	ASSERT_EQ(0, ioctl(fd, LOOP_CONFIGURE, &c));
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_SET_STATUS64, &info));
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_SET_STATUS, &old));
	info.lo_offset = HALF - 512;
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_SET_STATUS64, &info));
	info.lo_sizelimit = 512;
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_SET_STATUS64, &info));
	EXPECT_EQ(HALF, lt_size(fd));
	EXPECT_EQ(HALF, lt_sysfs_num(FIRST + 1, "loop/offset"));
	info.lo_offset = HALF + 512;
	info.lo_sizelimit = 0;
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	/* The owner of the range cannot move into that of others, either. */
	close(fd);
	fd = lt_open(FIRST, O_RDWR);
	info.lo_offset = 0;
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_SET_STATUS64, &info));
	info.lo_sizelimit = HALF + 512;
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	close(fd);
	ASSERT_STREQ("ok", detach_from(FIRST + 1));

	/* LOOP_CHANGE_FD takes another file, which is in use. */
	fd = lt_open(FIRST + 1, O_RDONLY);
	c = (struct loop_config) { .fd = other, .info.lo_flags = READ_ONLY };
	ASSERT_EQ(0, ioctl(fd, LOOP_CONFIGURE, &c));
	file = open(self->path, O_RDONLY | O_CLOEXEC);
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_CHANGE_FD, file));
	ASSERT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(0, ioctl(fd, LOOP_CHANGE_FD, file));
	close(fd);
}

/* The range is free when the attachment has ended, however it ended. */
TEST_F(ctl, exclusive_ends)
{
	int i, fd, lease;

	for (i = 0; i < 5; i++) {
		lease = attach_lease(FIRST, self->file, EXCLUSIVE,
				     i == 1 ? AUTOCLEAR : 0);
		ASSERT_GE(lease, 0);
		EXPECT_STREQ("EBUSY", attach_to(FIRST + 1, self->file, 0, 0));
		switch (i) {
		case 0:
			EXPECT_STREQ("ok", detach_from(FIRST));
			break;
		case 1:
			close(lease);
			break;
		case 2:
			EXPECT_STREQ("ok", detach_how(FIRST, FORCE, FOREVER));
			break;
		case 3:
			EXPECT_EQ(0, ioctl(lease, LOOP_CLR_FD, 0));
			break;
		case 4:
			/* Until the last close the device has the file. */
			fd = lt_open(FIRST, O_RDWR);
			EXPECT_STREQ("ok", detach_how(FIRST, LAZY, 0));
			EXPECT_STREQ("EBUSY", attach_to(FIRST + 1, self->file,
							0, 0));
			close(fd);
		}
		EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, 0, 0)) {
			TH_LOG("%d", i);
		}
		EXPECT_STREQ("ok", detach_from(FIRST + 1));
		if (i != 1)
			close(lease);
	}
	/* A call that fails leaves no claim. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_STREQ("EBUSY", attach_to(FIRST, self->file, EXCLUSIVE, 0));
	EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, 0, 0));
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
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

/* A partition is a range of its disk, here a loop device. */
TEST_F(ctl, exclusive_partition)
{
	const uint64_t p1 = 1024 * 512, p2 = 2048 * 512;
	int low, disk, part[3], i, index;

	lt_label_two(self->file);
	low = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(low, 0);
	disk = lt_open(FIRST, O_RDWR);
	ASSERT_GE(disk, 0);
	for (i = 1; i <= 2; i++) {
		part[i] = lt_open_part(FIRST, i, O_RDWR);
		ASSERT_GE(part[i], 0);
	}
	/* The partition first */
	ASSERT_STREQ("ok", attach_range(FIRST + 1, part[1], 0, 0, 0, &index));
	EXPECT_STREQ("EBUSY", attach_to(FIRST + 2, disk, 0, 0));
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, disk, 0, p1 + 512, 512, &index));
	EXPECT_EQ(FIRST + 1, index);
	EXPECT_STREQ("EBUSY", attach_part(FIRST + 2, disk, 0, 0, p1 - 512, 1024,
					  &index));
	EXPECT_EQ(FIRST + 1, index);
	EXPECT_STREQ("EBUSY", attach_to(FIRST + 2, part[1], 0, 0));
	EXPECT_STREQ("ok", attach_part(FIRST + 2, disk, 0, 0, 0, p1, &index));
	EXPECT_STREQ("ok", detach_from(FIRST + 2));
	EXPECT_STREQ("ok", attach_part(FIRST + 2, disk, 0, 0, p2, 0, &index));
	EXPECT_STREQ("ok", detach_from(FIRST + 2));
	EXPECT_STREQ("ok", attach_range(FIRST + 2, part[2], 0, 0, 0, &index));
	EXPECT_STREQ("ok", detach_from(FIRST + 2));
	/* The file below the disk is another file. */
	EXPECT_STREQ("ok", attach_to(FIRST + 2, self->file, 0, 0));
	EXPECT_STREQ("ok", detach_from(FIRST + 2));
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
	/* The disk first */
	ASSERT_STREQ("ok", attach_range(FIRST + 1, disk, 0, p2, p2 - p1, &index));
	EXPECT_STREQ("ok", attach_to(FIRST + 2, part[1], 0, 0));
	EXPECT_STREQ("ok", detach_from(FIRST + 2));
	EXPECT_STREQ("EBUSY", attach_part(FIRST + 2, part[2], 0, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	EXPECT_STREQ("EBUSY", attach_part(FIRST + 2, part[2], 0, 0, 4096, 512,
					  &index));
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
}

/* LOOP_SET_CAPACITY takes no bytes that a partition has got from an exclusive range. */
TEST_F(ctl, exclusive_partition_grows)
{
	const uint64_t p1 = 1024 * 512, p2 = 2048 * 512;
	int low, disk, part, dev, index;
	uint64_t size = 0;

	lt_label_two(self->file);
	low = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(low, 0);
	disk = lt_open(FIRST, O_RDWR);
	part = lt_open_part(FIRST, 1, O_RDWR);
	ASSERT_GE(part, 0);
	ASSERT_EQ(0, lt_blkpg(disk, BLKPG_DEL_PARTITION, 2, 0, 0));
	ASSERT_STREQ("ok", attach_to(FIRST + 1, part, 0, 0));
	dev = lt_open(FIRST + 1, O_RDWR);
	ASSERT_STREQ("ok", attach_range(FIRST + 2, disk, 0, p2, 512, &index));
	ASSERT_EQ(0, lt_blkpg(disk, BLKPG_RESIZE_PARTITION, 1, p1, p2));
	EXPECT_EQ(-1, ioctl(dev, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, ioctl(dev, BLKGETSIZE64, &size));
	EXPECT_EQ(p2 - p1, size);
	EXPECT_STREQ("ok", detach_from(FIRST + 2));
	EXPECT_EQ(0, ioctl(dev, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(0, ioctl(dev, BLKGETSIZE64, &size));
	EXPECT_EQ(p2, size);
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, disk, 0, p2, 512, &index));
	EXPECT_EQ(FIRST + 1, index);
	close(dev);
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
}

/* A file on overlayfs is the same as the file that it stands for. */
TEST_F(ctl, exclusive_overlay)
{
	char dir[4][64], path[160], options[320];
	int upper, lower, over, low_over, index, i;
	static const char * const names[] = { "lower", "upper", "work", "over" };

	for (i = 0; i < 4; i++) {
		snprintf(dir[i], sizeof(dir[i]), "%s/%s", self->dir, names[i]);
		ASSERT_EQ(0, mkdir(dir[i], 0700));
	}
	snprintf(path, sizeof(path), "%s/low", dir[0]);
	lower = lt_file(path, SIZE, 3);
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s",
		 dir[0], dir[1], dir[2]);
	if (mount("overlay", dir[3], "overlay", 0, options))
		SKIP(return, "no overlayfs: %s", lt_errname(errno));
	snprintf(path, sizeof(path), "%s/new", dir[3]);
	over = lt_file(path, SIZE, 4);
	snprintf(path, sizeof(path), "%s/new", dir[1]);
	upper = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(upper, 0);

	ASSERT_STREQ("ok", attach_range(FIRST, over, 0, 0, HALF, &index));
	EXPECT_STREQ("EBUSY", attach_part(FIRST + 1, upper, 0, 0, 0, 512, &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_STREQ("ok", attach_part(FIRST + 1, upper, 0, 0, HALF, 0, &index));
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
	EXPECT_STREQ("ok", detach_from(FIRST));
	ASSERT_STREQ("ok", attach_range(FIRST, upper, 0, 0, 0, &index));
	EXPECT_STREQ("EBUSY", attach_to(FIRST + 1, over, 0, 0));
	EXPECT_STREQ("ok", detach_from(FIRST));
	/* One that was not copied up stands for the lower one. */
	snprintf(path, sizeof(path), "%s/low", dir[3]);
	low_over = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(low_over, 0);
	ASSERT_STREQ("ok", attach_range(FIRST, low_over, 0, 0, 0, &index));
	EXPECT_STREQ("EBUSY", attach_part(FIRST + 1, lower, 0, READ_ONLY, 0, 0,
					  &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_STREQ("ok", detach_from(FIRST));
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
	EXPECT_STREQ("ok", attach_part(FIRST + 1, self->file, 0, 0, 0, HALF,
				       &index));
	EXPECT_STREQ("EBUSY", attach_part(FIRST + 2, self->file, 0, 0, HALF, 512,
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
	EXPECT_STREQ("ok", attach_part(FIRST + 1, self->file, 0, 0, 0, 0,
				       &index));
	EXPECT_STREQ("EBUSY", attach_part(FIRST + 2, other, 0, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	/* Another device has the old file now. */
	file = open(self->path, O_RDONLY | O_CLOEXEC);
	LT_EXPECT_ERR("EBUSY", ioctl(fd, LOOP_CHANGE_FD, file));
	close(fd);
}

TEST_HARNESS_MAIN
