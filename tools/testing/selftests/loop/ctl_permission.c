// SPDX-License-Identifier: GPL-2.0
/*
 * Who may call LOOP_CTL_ATTACH, LOOP_CTL_DETACH and LOOP_CTL_LIST.
 */
#include "ctl_fixture.h"

TEST_F(ctl, permission)
{
	int ro = open("/dev/loop-control", O_RDONLY | O_CLOEXEC);
	int wo = open("/dev/loop-control", O_WRONLY | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, NO_FD, 0), in;
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0);
	struct loop_ctl_entry e;
	struct loop_ctl_list l = to_list(FIRST, 1, &e, 0, 0);

	ASSERT_GE(ro, 0);
	ASSERT_GE(wo, 0);
	in = a;
	LT_EXPECT_ERR("EPERM", ioctl(ro, LOOP_CTL_ATTACH, &a));
	EXPECT_EQ(0, memcmp(&in, &a, sizeof(a)));
	EXPECT_FALSE(lt_exists(FIRST));
	ASSERT_EQ(0, ioctl(wo, LOOP_CTL_ATTACH, &a));
	LT_EXPECT_ERR("EPERM", ioctl(ro, LOOP_CTL_DETACH, &d));
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(0, ioctl(ro, LOOP_CTL_LIST, &l));
	EXPECT_EQ(1, l.count);
	EXPECT_EQ(0, ioctl(wo, LOOP_CTL_DETACH, &d));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	close(ro);
	close(wo);
}

/*
 * Tries all calls as the user nobody, and returns 0 if each has the right
 * result.
 */
static int nobody_tries(int ro, int wo, int file)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST + 1, file, NO_FD, 0);
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0);
	struct loop_ctl_entry e;
	struct loop_ctl_list l = to_list(FIRST, 1, &e, 0, 0);
	int bad = 0;

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return 0x80;
	bad |= (open("/dev/loop-control", O_RDONLY) >= 0 || errno != EACCES) << 0;
	bad |= (!ioctl(ro, LOOP_CTL_ATTACH, &a) || errno != EPERM) << 1;
	bad |= (!ioctl(ro, LOOP_CTL_DETACH, &d) || errno != EPERM) << 2;
	bad |= (ioctl(ro, LOOP_CTL_LIST, &l) || l.count != 1) << 3;
	/* An fd that is open for writing allows the same as to root. */
	bad |= !!ioctl(wo, LOOP_CTL_ATTACH, &a) << 4;
	d.index = FIRST + 1;
	bad |= !!ioctl(wo, LOOP_CTL_DETACH, &d) << 5;
	return bad;
}

TEST_F(ctl, permission_of_nobody)
{
	int ro = open("/dev/loop-control", O_RDONLY | O_CLOEXEC);
	int wo = open("/dev/loop-control", O_WRONLY | O_CLOEXEC);
	int status;
	pid_t pid;

	ASSERT_EQ(0, chmod("/dev/loop-control", 0600));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(nobody_tries(ro, wo, self->file));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	EXPECT_FALSE(lt_sysfs_bound(FIRST + 1));
	close(ro);
	close(wo);
}

TEST_HARNESS_MAIN
