// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_ATTACH_EPHEMERAL: devices that are made, and removed when they are
 * detached.
 */
#include <pthread.h>
#include <signal.h>
#include <linux/blktrace_api.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>

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

/* During a detach by force, LOOP_DETACH_WATCH waits until the device is gone, too. */

static void *watch(void *arg)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, WATCH, FOREVER);
	int err = ioctl(lt_control(), LOOP_CTL_DETACH, &d) ? errno : 0;

	*(bool *)arg = lt_exists(FIRST);
	return (void *)(long)err;
}

TEST_F(ctl, ephemeral_force_watched)
{
	unsigned int i, left = 0;
	bool exists;
	pthread_t t;
	void *err;

	for (i = 0; i < 20; i++) {
		ASSERT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL, 0));
		ASSERT_EQ(0, pthread_create(&t, NULL, watch, &exists));
		lt_sleep_ms(i);
		EXPECT_STREQ("ok", detach_how(FIRST, FORCE, FOREVER));
		pthread_join(t, &err);
		EXPECT_TRUE(!err || err == (void *)ENXIO || err == (void *)ENODEV) {
			TH_LOG("%u: %s", i, lt_errname((long)err));
		}
		/* An error means that the call came too late to wait for the attachment. */
		left += !err && exists;
		ASSERT_TRUE(gone(FIRST));
	}
	EXPECT_EQ(0, left);
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

/* LOOP_CTL_ATTACH waits until the number is free, whatever has detached the device. */
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

/* Each ioctl that takes the number waits until it is free, the older ones too. */
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

/*
 * The removal of a device waits for a write to the file "msg" of its trace in
 * debugfs, and that waits for a page of the writer, which userfaultfd holds back.
 */
struct removal {
	int uffd, msg;
	uint8_t *page;
	size_t size;
	pthread_t writer;
};

static void *write_message(void *arg)
{
	struct removal *r = arg;

	return write(r->msg, r->page, 1) == 1 ? NULL : r;
}

/* Makes r->page, which is missing until removal_goes_on(); false without userfaultfd. */
static bool page_held_back(struct removal *r)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	r->size = sysconf(_SC_PAGESIZE);
	r->page = mmap(NULL, r->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (r->page == MAP_FAILED || r->uffd < 0)
		return false;
	reg.range.start = (uintptr_t)r->page;
	reg.range.len = r->size;
	return !ioctl(r->uffd, UFFDIO_API, &api) &&
	       !ioctl(r->uffd, UFFDIO_REGISTER, &reg);
}

/* Traces the device, and opens the file "msg" of its trace. */
static bool trace_opens(struct removal *r, const char *dir, int dev)
{
	struct blk_user_trace_setup setup = { .buf_size = 4096, .buf_nr = 2 };
	char path[128];

	snprintf(path, sizeof(path), "%s/debug", dir);
	if ((mkdir(path, 0700) && errno != EEXIST) ||
	    mount("debugfs", path, "debugfs", 0, NULL) ||
	    ioctl(dev, BLKTRACESETUP, &setup))
		return false;
	snprintf(path, sizeof(path), "%s/debug/block/loop%d/msg", dir, FIRST);
	r->msg = open(path, O_WRONLY | O_CLOEXEC);
	/* The open file keeps debugfs mounted. */
	snprintf(path, sizeof(path), "%s/debug", dir);
	umount2(path, MNT_DETACH);
	return r->msg >= 0;
}

/*
 * Begins to remove an ephemeral device, which takes until removal_goes_on(). Returns
 * the name of a feature that this machine lacks, or NULL.
 */
static const char *removal_begins(struct removal *r, const char *dir, int file)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, file, EPHEMERAL, AUTOCLEAR);
	struct uffd_msg fault;
	int fd, lease;

	*r = (struct removal) { .msg = -1 };
	if (!page_held_back(r))
		return "no userfaultfd";
	fd = lt_attach(&a, &lease);
	if (fd < 0)
		lt_die("attach");
	if (!trace_opens(r, dir, fd))
		return "no blktrace";
	if (pthread_create(&r->writer, NULL, write_message, r) ||
	    read(r->uffd, &fault, sizeof(fault)) != sizeof(fault))
		lt_die("wait for the writer");
	close(fd);
	close(lease);
	return NULL;
}

/* Gives the writer its page, which ends the removal. Returns whether the write succeeded. */
static bool removal_goes_on(struct removal *r)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)r->page, .len = r->size },
	};
	void *failed = r;

	if (ioctl(r->uffd, UFFDIO_ZEROPAGE, &zero))
		lt_die("give the writer its page");
	pthread_join(r->writer, &failed);
	close(r->msg);
	close(r->uffd);
	munmap(r->page, r->size);
	return !failed;
}

/* The calls that want the number, and wait for its removal */
static const struct {
	unsigned int cmd;
	uint32_t attach_flags;
} wants[] = {
	{ LOOP_CTL_ATTACH, 0 },
	{ LOOP_CTL_ATTACH, LEASE | HOLD },
	{ LOOP_CTL_ATTACH, EPHEMERAL },
	{ LOOP_CTL_ATTACH, EPHEMERAL | LEASE | EXCLUSIVE },
	{ LOOP_CTL_ADD, 0 },
};

static pid_t start_wanting(unsigned int i, int file)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, file, wants[i].attach_flags,
						0);
	pid_t pid = fork();

	if (pid)
		return pid;
	signal_each(0, 0);
	if (wants[i].cmd == LOOP_CTL_ADD)
		_exit(lt_ctl(LOOP_CTL_ADD, FIRST) == FIRST ? 0 : errno);
	_exit(ioctl(lt_control(), LOOP_CTL_ATTACH, &a) ? errno : 0);
}

/* A task that waits for the number can be killed. A task that goes on waiting gets it. */
TEST_F_TIMEOUT(ctl, ephemeral_removal_killed, 600)
{
	unsigned int i, k, count;
	struct loop_ctl_entry e;
	struct removal r;
	const char *lacks;
	int status;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(wants); i++) {
		uint64_t before = trace();

		lacks = removal_begins(&r, self->dir, self->file);
		if (lacks)
			SKIP(return, "%s", lacks);
		count = lt_count_devices();
		for (k = 0; k < ARRAY_SIZE(wants); k++) {
			pid = start_wanting(k, self->file);
			ASSERT_LT(0, pid);
			EXPECT_TRUE(lt_sleeps_in(pid, wants[k].cmd));
			EXPECT_EQ(SIGKILL, killed(pid));
		}
		/* The device is still being removed, and that is all there is. */
		ASSERT_TRUE(lt_entry(FIRST, &e));
		EXPECT_EQ(LOOP_STATE_BUSY, e.state);
		EXPECT_EQ(count, lt_count_devices());
		LT_EXPECT_ERR("ENODEV", lt_ctl(LOOP_CTL_REMOVE, FIRST));
		EXPECT_STREQ("ENODEV", detach_how(FIRST, FORCE, FOREVER));
		EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, EPHEMERAL, 0));
		EXPECT_STREQ("ok", detach_from(FIRST + 1));

		pid = start_wanting(i, self->file);
		ASSERT_LT(0, pid);
		EXPECT_TRUE(lt_sleeps_in(pid, wants[i].cmd));
		/* Other signals do not interrupt it. */
		kill(pid, SIGUSR1);
		EXPECT_TRUE(lt_sleeps_in(pid, wants[i].cmd));
		EXPECT_TRUE(removal_goes_on(&r));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status) {
			TH_LOG("%u: %s", i, lt_errname(WEXITSTATUS(status)));
		}
		EXPECT_TRUE(lt_destroy(FIRST, 2000));
		EXPECT_EQ(before, trace());
	}
	/* The killed callers have left no reference to the file. */
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

static pid_t start_detaching(uint32_t mode)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, mode, 0);
	pid_t pid = fork();

	if (pid)
		return pid;
	if (mode != NOW && mode != LAZY)
		d.deadline = lt_in_ms(100);
	_exit(ioctl(lt_control(), LOOP_CTL_DETACH, &d) ? errno : 0);
}

/* The deadline and a kill end LOOP_CTL_DETACH while the device is being removed. */
TEST_F_TIMEOUT(ctl, ephemeral_removal_detach, 600)
{
	static const uint32_t modes[] = { WAIT, WATCH, NOW, LAZY, FORCE };
	struct removal r;
	const char *lacks;
	unsigned int i;
	int status;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		lacks = removal_begins(&r, self->dir, self->file);
		if (lacks)
			SKIP(return, "%s", lacks);
		pid = start_detaching(modes[i]);
		if (modes[i] == NOW || modes[i] == LAZY)
			kill(pid, SIGKILL);
		status = lt_ended(pid, 20);
		EXPECT_NE(-1, status) {
			TH_LOG("mode %u does not end", modes[i]);
		}
		EXPECT_TRUE(removal_goes_on(&r));
		if (status < 0)
			waitpid(pid, NULL, 0);
		EXPECT_TRUE(gone(FIRST));
	}
}

TEST_HARNESS_MAIN
