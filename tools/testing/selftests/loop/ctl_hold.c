// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_ATTACH_HOLD: nothing is told of a device before its lease says so.
 */
#include <signal.h>
#include <sys/file.h>

#include "ctl_fixture.h"

/* Returns the uevents about FIRST that have come since the last call. */
static const char *heard(int uevents)
{
	static struct lt_buf b;

	b = (struct lt_buf) { 0 };
	lt_uevents(uevents, FIRST, &b);
	return b.s;
}

/* The sequence that the flag is for, on a device that existed before. */
TEST_F(ctl, hold)
{
	int uevents = lt_uevent_open(), i, fd, lease;
	struct loop_ctl_attach a;
	char want[256], text[512] = "text";

	lt_label_two(self->file);
	for (i = 0; i < 2; i++) {
		uint32_t flags = i ? PARTSCAN : 0;

		/* Without the flag: what is told, and when */
		lt_ctl(LOOP_CTL_ADD, FIRST);
		heard(uevents);
		ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, flags));
		snprintf(want, sizeof(want), "%.255s", heard(uevents));
		EXPECT_TRUE(!!strstr(want, "change:disk"));
		if (i)
			EXPECT_TRUE(!!strstr(want, "add:partition1"));
		ASSERT_STREQ("ok", detach_from(FIRST));
		heard(uevents);

		a = lt_to_attach(FIRST, self->file, LEASE | HOLD, flags);
		ASSERT_STREQ("ok", attach(&a));
		lease = a.out_lease;
		EXPECT_STREQ("", heard(uevents));
		fd = lt_open(FIRST, O_RDWR);
		ASSERT_GE(fd, 0);
		EXPECT_EQ(0, flock(fd, LOCK_EX | LOCK_NB));
		EXPECT_EQ(a.out_diskseq, lt_diskseq(fd));
		EXPECT_STREQ("", heard(uevents));
		EXPECT_EQ(0, lt_parts(FIRST));
		/* The program works on it before others know it. */
		EXPECT_EQ(512, pwrite(fd, text, 512, 3072 * 512));
		EXPECT_EQ(0, fsync(fd));
		LT_EXPECT_ERR("EBUSY", ioctl(lease, BLKRRPART, 0));
		EXPECT_EQ(0, lt_parts(FIRST));
		EXPECT_STREQ("", heard(uevents));

		EXPECT_EQ(0, ioctl(lease, LOOP_LEASE_ANNOUNCE));
		EXPECT_STREQ(want, heard(uevents));
		EXPECT_EQ(i ? 0x6 : 0, lt_parts(FIRST));
		/* That cannot be done twice. */
		LT_EXPECT_ERR("EALREADY", ioctl(lease, LOOP_LEASE_ANNOUNCE));
		EXPECT_STREQ("", heard(uevents));
		/* From now on it is as any other. */
		close(lease);
		close(fd);
		EXPECT_TRUE(lt_sysfs_attached(FIRST));
		ASSERT_STREQ("ok", detach_from(FIRST));
	}
	close(uevents);
}

/* If the call makes the device, its ADD event is sent, and no other. */
TEST_F(ctl, hold_new)
{
	static const uint32_t flags[] = { 0, EPHEMERAL };
	int uevents = lt_uevent_open(), i, lease;
	const char *told;

	lt_label_two(self->file);
	for (i = 0; i < 2 * ARRAY_SIZE(flags); i++) {
		lease = attach_lease(FIRST, self->file, HOLD | flags[i / 2],
				     (i % 2 ? AUTOCLEAR : 0) | PARTSCAN);
		ASSERT_GE(lease, 0);
		EXPECT_STREQ(" add:disk", heard(uevents));
		EXPECT_EQ(0, ioctl(lease, LOOP_LEASE_ANNOUNCE));
		told = heard(uevents);
		EXPECT_TRUE(!!strstr(told, "change:disk")) {
			TH_LOG("got%s", told);
		}
		EXPECT_TRUE(!!strstr(told, "add:partition2"));
		close(lease);
		lt_destroy(FIRST, 2000);
		heard(uevents);
	}
	close(uevents);
}

/* If the lease is closed before the announcement, no event is sent. */
TEST_F(ctl, hold_ends_first)
{
	int uevents = lt_uevent_open(), i, lease, fd;

	lt_label_two(self->file);
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	heard(uevents);
	for (i = 0; i < 4; i++) {
		lease = attach_lease(FIRST, self->file, HOLD,
				     (i & 1 ? AUTOCLEAR : 0) | PARTSCAN);
		ASSERT_GE(lease, 0);
		fd = i & 2 ? lt_open(FIRST, O_RDWR) : -1;
		close(lease);
		/* It is detached as soon as nobody has it open. */
		EXPECT_EQ(fd >= 0, lt_sysfs_attached(FIRST));
		if (fd >= 0)
			close(fd);
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
		EXPECT_TRUE(lt_exists(FIRST));
		EXPECT_STREQ("", heard(uevents)) {
			TH_LOG("%d", i);
		}
	}
	/* The device can be attached as any other. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, PARTSCAN));
	EXPECT_TRUE(!!strstr(heard(uevents), "change:disk"));
	EXPECT_EQ(0x6, lt_parts(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
	close(uevents);
}

/* A new device then has only the events ADD and REMOVE. */
TEST_F(ctl, hold_ends_first_ephemeral)
{
	int uevents = lt_uevent_open(), lease;

	lease = attach_lease(FIRST, self->file, HOLD | EPHEMERAL, 0);
	ASSERT_GE(lease, 0);
	close(lease);
	EXPECT_TRUE(gone(FIRST));
	EXPECT_STREQ(" add:disk remove:disk", heard(uevents));
	close(uevents);
}

/* The process that has the lease is killed before the announcement. */
TEST_F(ctl, hold_of_killed)
{
	int uevents = lt_uevent_open(), status;
	pid_t pid;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	heard(uevents);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		if (attach_lease(FIRST, self->file, HOLD, 0) < 0)
			_exit(1);
		raise(SIGKILL);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_STREQ("", heard(uevents));
	close(uevents);
}

/* LOOP_CTL_DETACH ends the attachment before the announcement. */
TEST_F(ctl, hold_detached)
{
	static const uint32_t modes[] = { NOW, WAIT, LAZY, FORCE };
	int uevents = lt_uevent_open(), lease;
	unsigned int i;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	heard(uevents);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		lease = attach_lease(FIRST, self->file, HOLD, PARTSCAN);
		ASSERT_GE(lease, 0);
		EXPECT_STREQ("ok", detach_how(FIRST, modes[i], i % 2 ? FOREVER : 0));
		LT_EXPECT_ERR("ENXIO", ioctl(lease, LOOP_LEASE_ANNOUNCE));
		EXPECT_STREQ("", heard(uevents)) {
			TH_LOG("mode %u", modes[i]);
		}
		/* The lease of old does not touch the next one. */
		EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
		close(lease);
		EXPECT_TRUE(lt_sysfs_attached(FIRST));
		EXPECT_STREQ("ok", detach_from(FIRST));
		heard(uevents);
	}
	close(uevents);
}

/* Changes before the announcement are announced with it. */
TEST_F(ctl, hold_and_change)
{
	struct loop_info64 info = { .lo_offset = 512, .lo_flags = PARTSCAN };
	int uevents = lt_uevent_open(), lease, fd;
	const char *told;

	lt_label_two(self->file);
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	heard(uevents);
	lease = attach_lease(FIRST, self->file, HOLD, PARTSCAN);
	ASSERT_GE(lease, 0);
	ASSERT_EQ(0, ioctl(lease, LOOP_SET_STATUS64, &info));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ftruncate(self->file, SIZE + 4096));
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_CAPACITY, 0));
	ASSERT_EQ(0, ioctl(lease, LOOP_SET_BLOCK_SIZE, 1024));
	ASSERT_EQ(0, ioctl(lease, LOOP_SET_BLOCK_SIZE, 512));
	info.lo_offset = 0;
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	close(fd);
	/* An open or a close is no reason, either. */
	fd = lt_open(FIRST, O_RDONLY);
	close(fd);
	EXPECT_STREQ("", heard(uevents));
	EXPECT_EQ(0, lt_parts(FIRST));
	EXPECT_EQ(0, ioctl(lease, LOOP_LEASE_ANNOUNCE));
	told = heard(uevents);
	EXPECT_TRUE(!!strstr(told, "change:disk"));
	EXPECT_TRUE(!!strstr(told, "add:partition2"));
	EXPECT_EQ(0x6, lt_parts(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
	close(lease);
	close(uevents);
}

/* Partitions that BLKPG has added are announced, too, even if a scan is impossible. */
TEST_F(ctl, hold_and_blkpg)
{
	int uevents = lt_uevent_open(), i, lease, fd, part;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	for (i = 0; i < 2; i++) {
		lease = attach_lease(FIRST, self->file, HOLD, i ? PARTSCAN : 0);
		ASSERT_GE(lease, 0);
		heard(uevents);
		fd = lt_open(FIRST, O_RDWR);
		ASSERT_EQ(0, lt_blkpg(fd, BLKPG_ADD_PARTITION, 1, 0, HALF));
		/* The scan is EBUSY. */
		part = i ? lt_open_part(FIRST, 1, O_RDONLY) : -1;
		EXPECT_STREQ("", heard(uevents));
		EXPECT_EQ(0, ioctl(lease, LOOP_LEASE_ANNOUNCE));
		EXPECT_STREQ(" add:partition1 change:disk", heard(uevents)) {
			TH_LOG("%d", i);
		}
		EXPECT_EQ(0x2, lt_parts(FIRST));
		if (part >= 0)
			close(part);
		close(fd);
		close(lease);
		EXPECT_STREQ("ok", detach_from(FIRST));
	}
	close(uevents);
}

TEST_F(ctl, hold_is_of_a_lease)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, HOLD, 0);
	int lease;

	EXPECT_STREQ("EINVAL", attach(&a));
	EXPECT_FALSE(lt_exists(FIRST));
	/* Nothing was held back. */
	lease = attach_lease(FIRST, self->file, 0, 0);
	ASSERT_GE(lease, 0);
	LT_EXPECT_ERR("EALREADY", ioctl(lease, LOOP_LEASE_ANNOUNCE));
	close(lease);
}

TEST_HARNESS_MAIN
