// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_ATTACH_EPHEMERAL: devices that are removed when they are detached.
 */
#include "ctl_fixture.h"

TEST_F(ctl, ephemeral_autoclear)
{
	int fd = attach_fd(FIRST, self->file, EPHEMERAL, AUTOCLEAR), again;
	struct loop_ctl_entry e;

	ASSERT_GE(fd, 0);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(EPHEMERAL, e.attach_flags);
	again = lt_open(FIRST, O_RDWR);
	ASSERT_GE(again, 0);
	close(fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	close(again);
	EXPECT_TRUE(gone(FIRST));
	LT_EXPECT_ERR("ENODEV", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	/* The next device with the number is not ephemeral. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
}

TEST_F(ctl, ephemeral_clr_fd)
{
	int fd = attach_fd(FIRST, self->file, EPHEMERAL, 0);

	ASSERT_GE(fd, 0);
	close(fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_TRUE(lt_exists(FIRST));
	close(fd);
	EXPECT_TRUE(gone(FIRST));
}

TEST_F(ctl, ephemeral_detach)
{
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL | NO_FD, 0));
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_TRUE(gone(FIRST));
	EXPECT_STREQ("ENODEV", detach_from(FIRST));
}

/* A device that existed before is removed, too. */
TEST_F(ctl, ephemeral_existing)
{
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL, AUTOCLEAR));
	EXPECT_TRUE(gone(FIRST));
}

/* With -1 the device is not the one that LOOP_CTL_GET_FREE returned to others. */
TEST_F(ctl, ephemeral_any_is_new)
{
	struct loop_ctl_attach a = lt_to_attach(-1, self->file, EPHEMERAL,
						AUTOCLEAR);
	int n = lt_ctl(LOOP_CTL_GET_FREE, 0);

	ASSERT_GE(n, 0);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_NE(n, a.index);
	close(a.device_fd);
	EXPECT_TRUE(gone(a.index));
	EXPECT_EQ(n, lt_ctl(LOOP_CTL_GET_FREE, 0));
}

/* The file system can be unmounted as soon as the device is detached. */
TEST_F(ctl, ephemeral_releases_file)
{
	int fd = attach_fd(FIRST, self->file, EPHEMERAL, AUTOCLEAR);

	ASSERT_GE(fd, 0);
	close(self->file);
	close(fd);
	EXPECT_EQ(0, umount2(self->dir, 0));
	EXPECT_TRUE(gone(FIRST));
}

TEST_F(ctl, ephemeral_numbers)
{
	uint64_t seq = 0;
	int i;

	for (i = 0; i < 20; i++) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
							EPHEMERAL, AUTOCLEAR);

		ASSERT_STREQ("ok", attach(&a));
		EXPECT_GT(a.diskseq, seq);
		seq = a.diskseq;
		close(a.device_fd);
		ASSERT_TRUE(gone(FIRST));
	}
}

TEST_HARNESS_MAIN
