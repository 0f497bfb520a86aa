// SPDX-License-Identifier: GPL-2.0
/*
 * Who may call LOOP_CTL_ATTACH, LOOP_CTL_DETACH and LOOP_CTL_LIST. The device
 * cgroup is in contained.c, what a lease gives in ctl_lease.c.
 */
#include <sys/prctl.h>

#include "ctl_fixture.h"

static const uint32_t modes[] = { NOW, WAIT, WATCH, LAZY, FORCE };

TEST_F(ctl, permission)
{
	int ro = open("/dev/loop-control", O_RDONLY | O_CLOEXEC);
	int wo = open("/dev/loop-control", O_WRONLY | O_CLOEXEC);
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0), in;
	struct loop_ctl_detach d;
	struct loop_ctl_entry e;
	struct loop_ctl_list l = lt_to_list(FIRST, 1, &e, 0, -1);
	unsigned int i;

	ASSERT_GE(ro, 0);
	ASSERT_GE(wo, 0);
	in = a;
	LT_EXPECT_ERR("EPERM", ioctl(ro, LOOP_CTL_ATTACH, &a));
	EXPECT_EQ(0, memcmp(&in, &a, sizeof(a)));
	EXPECT_FALSE(lt_exists(FIRST));
	ASSERT_EQ(0, ioctl(wo, LOOP_CTL_ATTACH, &a));
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		d = lt_to_detach(FIRST, modes[i], 0);
		LT_EXPECT_ERR("EPERM", ioctl(ro, LOOP_CTL_DETACH, &d));
	}
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, ioctl(ro, LOOP_CTL_LIST, &l));
	EXPECT_EQ(1, l.out_count);
	d = lt_to_detach(FIRST, NOW, 0);
	EXPECT_EQ(0, ioctl(wo, LOOP_CTL_DETACH, &d));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	close(ro);
	close(wo);
}

struct control {
	int ro, wo, file;
};

/*
 * Tries all calls as the user nobody, and returns 0 if each has the right
 * result. The device FIRST is root's.
 */
static int nobody_tries(void *arg)
{
	struct control *c = arg;
	struct loop_ctl_attach a = lt_to_attach(FIRST + 1, c->file, 0, 0);
	struct loop_ctl_entry e;
	struct loop_ctl_list l = lt_to_list(FIRST, 1, &e, 0, -1);
	struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0);
	uint64_t seq;
	unsigned int i;
	int bad = 0;

	bad |= (open("/dev/loop-control", O_RDONLY) >= 0 || errno != EACCES) << 0;
	bad |= (!ioctl(c->ro, LOOP_CTL_ATTACH, &a) || errno != EPERM) << 1;
	bad |= (!ioctl(c->ro, LOOP_CTL_DETACH, &d) || errno != EPERM) << 2;
	bad |= (ioctl(c->ro, LOOP_CTL_LIST, &l) || l.out_count != 1) << 3;
	seq = e.diskseq;
	/* An fd that is open for writing lets him attach, ... */
	bad |= !!ioctl(c->wo, LOOP_CTL_ATTACH, &a) << 4;
	/* ... detach what he has attached, ... */
	d.index = FIRST + 1;
	bad |= !!ioctl(c->wo, LOOP_CTL_DETACH, &d) << 5;
	/* ... and nothing of others, in no way. He may watch how they end. */
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		int want = modes[i] == WATCH ? ETIMEDOUT : EPERM;

		d = lt_to_detach(FIRST, modes[i], 0);
		bad |= (!ioctl(c->wo, LOOP_CTL_DETACH, &d) || errno != want) << 6;
		d = to_detach_seq(FIRST, seq, modes[i], 0);
		bad |= (!ioctl(c->wo, LOOP_CTL_DETACH, &d) || errno != want) << 7;
	}
	return bad;
}

TEST_F(ctl, permission_of_nobody)
{
	struct control c = {
		.ro = open("/dev/loop-control", O_RDONLY | O_CLOEXEC),
		.wo = open("/dev/loop-control", O_WRONLY | O_CLOEXEC),
		.file = self->file,
	};
	int fd;

	ASSERT_EQ(0, chmod("/dev/loop-control", 0600));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_EQ(0, run_as_nobody(nobody_tries, &c));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_FALSE(lt_sysfs_attached(FIRST + 1));
	EXPECT_STREQ("ok", detach_from(FIRST));
	/* The ioctls of the device make root the owner, too. */
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	close(fd);
	EXPECT_EQ(0, run_as_nobody(nobody_tries, &c));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(c.ro);
	close(c.wo);
}

static int nobody_attaches_autoclear(void *arg)
{
	int lease = attach_lease(FIRST, *(int *)arg, EPHEMERAL, AUTOCLEAR);

	return lease < 0 ? errno : !lt_sysfs_attached(FIRST);
}

/* Detaches as another user, with or without CAP_SYS_ADMIN. */
static int other_detaches(uid_t uid, bool capable)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		lt_die("fork");
	if (!pid) {
		struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0);

		if (!capable && prctl(PR_CAPBSET_DROP, 21, 0, 0, 0))
			_exit(255);
		if (setresuid(uid, uid, uid))
			_exit(255);
		_exit(ioctl(lt_control(), LOOP_CTL_DETACH, &d) ? errno : 0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
	       WEXITSTATUS(status) : 255;
}

TEST_F(ctl, permission_of_owner)
{
	ASSERT_EQ(0, run_as_nobody(attach_first, &self->file));
	/* Another user may not, the same may, and so may root. */
	EXPECT_EQ(EPERM, other_detaches(1, false));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, other_detaches(65534, false));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	ASSERT_EQ(0, run_as_nobody(attach_first, &self->file));
	EXPECT_EQ(0, other_detaches(0, true));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	/* Who was the owner before does not matter. */
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_EQ(EPERM, other_detaches(65534, false));
	EXPECT_STREQ("ok", detach_from(FIRST));
	/* The close of a lease needs no right. */
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	ASSERT_EQ(0, run_as_nobody(nobody_attaches_autoclear, &self->file));
	EXPECT_TRUE(gone(FIRST));
}

TEST_HARNESS_MAIN
