// SPDX-License-Identifier: GPL-2.0
/*
 * A caller with nothing but /dev/loop-control, as in a container: it has no
 * device nodes, and is in a device cgroup that may refuse devices.
 */
#include <signal.h>
#include <linux/bpf.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "loop_test.h"

#define FIRST 980		/* unused numbers from here on */
#define NUMBERS 4
#define SIZE (8 * LT_MIB)

FIXTURE(contained)
{
	char dir[32];
	char path[64];
	char image[64];
	char cgroup[64];
	int file;
};

FIXTURE_SETUP(contained)
{
	int n;

	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	for (n = FIRST; n < FIRST + NUMBERS; n++)
		ASSERT_TRUE(lt_destroy(n, 2000));
	ASSERT_EQ(0, lt_scratch(self->dir, "contained"));
	snprintf(self->path, sizeof(self->path), "%s/file", self->dir);
	snprintf(self->image, sizeof(self->image), "%s/image", self->dir);
	self->file = lt_file(self->path, SIZE, 1);
}

FIXTURE_TEARDOWN_PARENT(contained)
{
	int n;

	for (n = FIRST; n < FIRST + NUMBERS; n++)
		lt_destroy(n, 2000);
	rmdir(self->dir);
}

static bool gone(int index)
{
	int i;

	for (i = 0; i < 2000 && lt_exists(index); i++)
		lt_sleep_ms(10);
	return !lt_exists(index);
}

/* In this process /dev has the control device, and nothing else. */
static bool empty_dev(void)
{
	return !unshare(CLONE_NEWNS) &&
	       !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("dev", "/dev", "tmpfs", 0, NULL) &&
	       !mknod("/dev/loop-control", S_IFCHR | 0600, makedev(10, 237));
}

static bool copy(int from, int to)
{
	static uint8_t buf[64 * 1024], back[64 * 1024];
	uint64_t at;

	for (at = 0; at < SIZE; at += sizeof(buf)) {
		if (pread(from, buf, sizeof(buf), at) != sizeof(buf) ||
		    pwrite(to, buf, sizeof(buf), at) != sizeof(buf))
			return false;
	}
	if (fsync(to))
		return false;
	for (at = 0; at < SIZE; at += sizeof(buf)) {
		if (pread(from, buf, sizeof(buf), at) != sizeof(buf) ||
		    pread(to, back, sizeof(back), at) != sizeof(back) ||
		    memcmp(buf, back, sizeof(buf)))
			return false;
	}
	return true;
}

/* Sends the result of its attach, and waits to be killed. */
static __noreturn void live_in_container(int file, int image, int tell)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, file,
						LOOP_ATTACH_EPHEMERAL,
						LO_FLAGS_AUTOCLEAR);
	struct stat st;
	int control;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!empty_dev())
		lt_die("an empty /dev");
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		lt_die("open the control device");
	if (ioctl(control, LOOP_CTL_ATTACH, &a))
		lt_die("LOOP_CTL_ATTACH");
	if (!stat("/dev/loop980", &st) || errno != ENOENT)
		lt_die("there is a node");
	if (!copy(image, a.device_fd))
		lt_die("write a file system, and read it");
	if (write(tell, &a, sizeof(a)) != sizeof(a))
		lt_die("tell about it");
	for (;;)
		pause();
}

/* A file system is put onto a device that has no node anywhere. */
TEST_F_TIMEOUT(contained, no_nodes, 120)
{
	char command[160];
	struct loop_ctl_attach a;
	int image, p[2], status;
	struct loop_info64 info;
	uint8_t magic[2];
	pid_t pid;

	close(lt_file(self->image, 0, 0));
	ASSERT_EQ(0, truncate(self->image, SIZE));
	snprintf(command, sizeof(command), "mkfs.ext4 -q -F %s >/dev/null",
		 self->image);
	if (system(command))
		SKIP(return, "no mkfs.ext4");
	image = open(self->image, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(image, 0);
	ASSERT_EQ(0, pipe2(p, O_CLOEXEC));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		close(p[0]);
		live_in_container(self->file, image, p[1]);
	}
	close(p[1]);
	ASSERT_EQ(sizeof(a), read(p[0], &a, sizeof(a)));
	EXPECT_EQ(FIRST, a.index);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	/* Outside there is a node, as ever. */
	status = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(status, 0);
	EXPECT_EQ(0, ioctl(status, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(a.diskseq, lt_diskseq(status));
	close(status);

	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(gone(FIRST));
	ASSERT_EQ(2, pread(self->file, magic, 2, 1024 + 56));
	EXPECT_EQ(0x53, magic[0]);
	EXPECT_EQ(0xef, magic[1]);
	close(image);
	image = open(self->image, O_RDONLY | O_CLOEXEC);
	snprintf(command, sizeof(command), "e2fsck -fn %s >/dev/null 2>&1",
		 self->path);
	EXPECT_EQ(0, system(command));
	/* Nothing of it holds the files. */
	close(image);
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* Any number will do, and the next container gets another. */
TEST_F(contained, two)
{
	struct loop_ctl_attach a[2];
	int i, p[2], status, n;
	bool existed[8];
	pid_t pid[2];

	for (n = 0; n < ARRAY_SIZE(existed); n++)
		existed[n] = lt_exists(n);

	ASSERT_EQ(0, pipe2(p, O_CLOEXEC));
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		ASSERT_GE(pid[i], 0);
		if (!pid[i]) {
			a[0] = lt_to_attach(-1, self->file, LOOP_ATTACH_EPHEMERAL,
					    LO_FLAGS_AUTOCLEAR |
					    LO_FLAGS_READ_ONLY);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (!empty_dev() ||
			    ioctl(lt_control(), LOOP_CTL_ATTACH, a) ||
			    write(p[1], a, sizeof(*a)) != sizeof(*a))
				lt_die("attach in a container");
			for (;;)
				pause();
		}
		ASSERT_EQ(sizeof(*a), read(p[0], &a[i], sizeof(*a)));
	}
	EXPECT_NE(a[0].index, a[1].index);
	EXPECT_NE(a[0].diskseq, a[1].diskseq);
	for (i = 0; i < 2; i++) {
		kill(pid[i], SIGKILL);
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_TRUE(gone(a[i].index));
	}
	/* Other tests need these devices. */
	for (n = 0; n < ARRAY_SIZE(existed); n++)
		if (existed[n])
			lt_ctl(LOOP_CTL_ADD, n);
}

/* Cgroups */

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

/* A program that refuses every device, or allows each with @verdict 1. */
static int device_program(int verdict)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = verdict },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = ARRAY_SIZE(insns);
	attr.license = (uintptr_t)"GPL";
	return bpf(BPF_PROG_LOAD, &attr);
}

static int cgroup_attach(int cgroup, int program)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = cgroup;
	attr.attach_bpf_fd = program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	return bpf(BPF_PROG_ATTACH, &attr);
}

/* Makes a cgroup and enters it; false if that cannot be done here. */
static bool enter_cgroup(struct _test_data_contained *self, int verdict)
{
	char path[96];
	int fd, program;

	snprintf(path, sizeof(path), "%s/cgroup", self->dir);
	if (mkdir(path, 0700) || mount("cgroup2", path, "cgroup2", 0, NULL))
		return false;
	snprintf(self->cgroup, sizeof(self->cgroup), "%.31s/cgroup/loop.%d",
		 self->dir, getpid());
	if (mkdir(self->cgroup, 0700))
		return false;
	fd = open(self->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	program = device_program(verdict);
	if (fd < 0 || program < 0 || cgroup_attach(fd, program))
		return false;
	close(program);
	close(fd);
	snprintf(path, sizeof(path), "%s/cgroup.procs", self->cgroup);
	lt_write_file(path, "0");
	return true;
}

static void leave_cgroup(struct _test_data_contained *self)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/cgroup/cgroup.procs", self->dir);
	lt_write_file(path, "0");
	snprintf(path, sizeof(path), "%s/cgroup", self->dir);
	if (rmdir(self->cgroup) || umount2(path, 0))
		lt_die("remove the cgroup");
}

/* A device that cannot be opened in there is not detached from there. */
TEST_F(contained, cgroup_refuses_detach)
{
	struct loop_ctl_detach d = { .size = sizeof(d), .index = FIRST + 1 };
	int fd;

	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	fd = lt_open(FIRST + 1, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	close(fd);
	if (!enter_cgroup(self, 0))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	d.flags = LOOP_DETACH_WAIT;
	LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_TRUE(lt_sysfs_bound(FIRST + 1));
	leave_cgroup(self);
	d.flags = 0;
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_FALSE(lt_sysfs_bound(FIRST + 1));
}

/* Open devices stay open; the cgroup can use no other device. */
TEST_F(contained, cgroup_refuses)
{
	static const uint32_t flags[] = {
		0, LOOP_ATTACH_EPHEMERAL, LOOP_ATTACH_NO_FD,
	};
	int index[] = { FIRST, FIRST + 1, -1 }, count;
	struct loop_ctl_entry e;
	struct loop_ctl_list l = {
		.size = sizeof(l), .start = FIRST + 1, .count = 1,
		.entry_size = sizeof(e), .entries = (uintptr_t)&e,
	};
	unsigned int i, k;

	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	count = lt_count_devices();
	if (!enter_cgroup(self, 0))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	LT_EXPECT_ERR("EPERM", lt_open(FIRST + 1, O_RDONLY));
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		for (k = 0; k < ARRAY_SIZE(index); k++) {
			struct loop_ctl_attach a, in;

			a = lt_to_attach(index[k], self->file, flags[i], 0);
			in = a;
			LT_EXPECT_ERR("EPERM", ioctl(lt_control(),
						     LOOP_CTL_ATTACH, &a));
			EXPECT_EQ(0, memcmp(&in, &a, sizeof(a)));
			EXPECT_FALSE(lt_exists(FIRST));
			EXPECT_TRUE(lt_exists(FIRST + 1));
			EXPECT_FALSE(lt_sysfs_bound(FIRST + 1));
			EXPECT_EQ(count, lt_count_devices());
		}
	}
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_LIST, &l));
	EXPECT_EQ(LOOP_STATE_UNBOUND, e.state);
	EXPECT_EQ(0, e.openers);
	leave_cgroup(self);
	/* Nothing is left of the file, either. */
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

TEST_F(contained, cgroup_allows)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
						LOOP_ATTACH_EPHEMERAL,
						LO_FLAGS_AUTOCLEAR);

	if (!enter_cgroup(self, 1))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	ASSERT_EQ(0, ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	EXPECT_EQ(SIZE, lt_size(a.device_fd));
	close(a.device_fd);
	EXPECT_TRUE(gone(FIRST));
	leave_cgroup(self);
}

TEST_HARNESS_MAIN
