// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_ATTACH_EPHEMERAL: devices that are made, and removed when they are
 * detached.
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
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(again);
	EXPECT_TRUE(gone(FIRST));
	LT_EXPECT_ERR("ENODEV", lt_ctl(LOOP_CTL_REMOVE, FIRST));
	/* The next device with the number is not ephemeral. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
}

TEST_F(ctl, ephemeral_lease)
{
	int lease = attach_lease(FIRST, self->file, EPHEMERAL, AUTOCLEAR);

	ASSERT_GE(lease, 0);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(lease);
	EXPECT_TRUE(gone(FIRST));
	/* A lease does not keep the number. */
	lease = attach_lease(FIRST, self->file, EPHEMERAL, 0);
	ASSERT_GE(lease, 0);
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_TRUE(gone(FIRST));
	close(lease);
}

TEST_F(ctl, ephemeral_clr_fd)
{
	int fd = attach_fd(FIRST, self->file, EPHEMERAL, 0);

	ASSERT_GE(fd, 0);
	close(fd);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_TRUE(lt_exists(FIRST));
	close(fd);
	EXPECT_TRUE(gone(FIRST));
}

TEST_F(ctl, ephemeral_detach)
{
	static const uint32_t modes[] = { NOW, WAIT, LAZY, FORCE };
	unsigned int i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		uint64_t deadline = i % 2 ? FOREVER : 0;

		EXPECT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL, 0));
		EXPECT_TRUE(lt_sysfs_attached(FIRST));
		EXPECT_STREQ("ok", detach_how(FIRST, modes[i], deadline));
		EXPECT_TRUE(gone(FIRST));
		EXPECT_STREQ("ENODEV", detach_from(FIRST));
	}
	/* A dead device goes with its last opener. */
	fd = attach_fd(FIRST, self->file, EPHEMERAL, 0);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("ok", detach_how(FIRST, FORCE, FOREVER));
	close(fd);
	EXPECT_TRUE(gone(FIRST));
}

/* A device that somebody else has made is not taken away. */
TEST_F(ctl, ephemeral_existing)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, EPHEMERAL, 0);

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("EEXIST", attach(&a));
	EXPECT_EQ(0, a.out_busy);
	EXPECT_STREQ("EEXIST", attach_to(FIRST, self->file, EPHEMERAL, AUTOCLEAR));
	EXPECT_TRUE(lt_exists(FIRST));
	/* It is the same if the device is attached. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_STREQ("EEXIST", attach(&a));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
}

/* With -1 the device is not the one that LOOP_CTL_GET_FREE returned to others. */
TEST_F(ctl, ephemeral_any_is_new)
{
	struct loop_ctl_attach a = lt_to_attach(-1, self->file, EPHEMERAL | LEASE,
						AUTOCLEAR);
	int n = lt_ctl(LOOP_CTL_GET_FREE, 0);

	ASSERT_GE(n, 0);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_NE(n, a.out_index);
	close(a.out_lease);
	EXPECT_TRUE(gone(a.out_index));
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

/* The number can be had again at once, in each way: the call waits. */
TEST_F(ctl, ephemeral_numbers)
{
	uint64_t seq = 0;
	int i;

	for (i = 0; i < 200; i++) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
							EPHEMERAL, AUTOCLEAR);

		if (i % 2)
			a.attach_flags |= LEASE;
		else
			a.lo_flags = PARTSCAN;
		ASSERT_STREQ("ok", attach(&a)) {
			TH_LOG("the %dth", i);
		}
		EXPECT_GT(a.out_diskseq, seq);
		seq = a.out_diskseq;
		if (i % 2)
			close(a.out_lease);
		else
			ASSERT_STREQ("ok", detach_from(FIRST));
	}
	ASSERT_TRUE(gone(FIRST));
}

/* Each call that wants the number waits, the old ones too. */
TEST_F(ctl, ephemeral_number_of_others)
{
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL,
					     AUTOCLEAR));
		ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
		ASSERT_STREQ("ok", detach_from(FIRST));
		ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
		ASSERT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL,
					     AUTOCLEAR));
		ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST)) {
			TH_LOG("%s", lt_errname(errno));
		}
		ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	}
}

TEST_HARNESS_MAIN
