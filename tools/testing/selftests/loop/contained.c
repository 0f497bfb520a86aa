// SPDX-License-Identifier: GPL-2.0
/*
 * A caller with nothing but /dev/loop-control, as in a container: it has no
 * device nodes, and is in a device cgroup that may refuse devices.
 */
#include <signal.h>
#include <stddef.h>
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

/*
 * Makes the node of its device itself, tells what it has attached, and waits to be
 * killed.
 */
static __noreturn void live_in_container(int file, int image, int tell)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, file,
						LOOP_ATTACH_EPHEMERAL |
						LOOP_ATTACH_LEASE,
						LO_FLAGS_AUTOCLEAR);
	struct stat st;
	int control, fd;

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
	if (mknod("/dev/loop980", S_IFBLK | 0600, makedev(LT_MAJOR, a.out_index)))
		lt_die("make a node");
	fd = lt_open(a.out_index, O_RDWR);
	if (fd < 0 || lt_diskseq(fd) != a.out_diskseq || !copy(image, fd))
		lt_die("write a file system, and read it");
	if (write(tell, &a, sizeof(a)) != sizeof(a))
		lt_die("tell about it");
	for (;;)
		pause();
}

/* A file system is put onto a device that has no node in the container at first. */
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
	EXPECT_EQ(FIRST, a.out_index);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	/* Outside of the container the device has a node. */
	status = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(status, 0);
	EXPECT_EQ(0, ioctl(status, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(a.out_diskseq, lt_diskseq(status));
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
	/* Nothing that the container has left holds the files. */
	close(image);
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* A container takes any number, and the next one gets another. */
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
			a[0] = lt_to_attach(-1, self->file,
					    LOOP_ATTACH_EPHEMERAL |
					    LOOP_ATTACH_LEASE,
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
	EXPECT_NE(a[0].out_index, a[1].out_index);
	EXPECT_NE(a[0].out_diskseq, a[1].out_diskseq);
	for (i = 0; i < 2; i++) {
		kill(pid[i], SIGKILL);
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_TRUE(gone(a[i].out_index));
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

#define ALL_DEVICES (-1)
#define NO_DEVICE (-2)

/*
 * A program that allows the block device with the number @minor, and nothing else,
 * with the rights of @access, BPF_DEVCG_ACC_*.
 */
static int device_program(int minor, int access)
{
	const struct bpf_insn insns[] = {
		/* r0 = 0 */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		/* All rights of ctx->access_type >> 16 have to be in @access. */
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_2,
		  .src_reg = BPF_REG_1,
		  .off = offsetof(struct bpf_cgroup_dev_ctx, access_type) },
		{ .code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = BPF_REG_2,
		  .imm = 16 },
		{ .code = BPF_JMP | BPF_JSET | BPF_K, .dst_reg = BPF_REG_2,
		  .off = 3, .imm = ~access & 7 },
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_2,
		  .src_reg = BPF_REG_1,
		  .off = offsetof(struct bpf_cgroup_dev_ctx, minor) },
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_2,
		  .off = 1, .imm = minor },
		/* r0 = 1 */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0,
		  .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	const struct bpf_insn same[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .imm = minor == ALL_DEVICES },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)(minor < 0 ? same : insns);
	attr.insn_cnt = minor < 0 ? ARRAY_SIZE(same) : ARRAY_SIZE(insns);
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
static bool enter_cgroup(struct _test_data_contained *self, int minor, int access)
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
	program = device_program(minor, access);
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

#define READ BPF_DEVCG_ACC_READ
#define WRITE BPF_DEVCG_ACC_WRITE

/* A cgroup that may not open a device may not detach it in any way. */
TEST_F(contained, cgroup_refuses_detach)
{
	static const uint32_t modes[] = {
		LOOP_DETACH_NOW, LOOP_DETACH_WAIT, LOOP_DETACH_WATCH,
		LOOP_DETACH_LAZY, LOOP_DETACH_FORCE,
	};
	struct loop_ctl_detach d;
	unsigned int i;
	uint64_t seq;
	int fd;

	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	fd = lt_open(FIRST + 1, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	seq = lt_diskseq(fd);
	close(fd);
	if (!enter_cgroup(self, NO_DEVICE, 0))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		d = lt_to_detach(FIRST + 1, modes[i], 0);
		LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
		d.flags = 0;
		d.diskseq = seq;
		LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	}
	EXPECT_TRUE(lt_sysfs_attached(FIRST + 1));
	leave_cgroup(self);
	d = lt_to_detach(FIRST + 1, LOOP_DETACH_NOW, 0);
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_FALSE(lt_sysfs_attached(FIRST + 1));
}

static uint32_t minor_of(int index)
{
	char dev[32];

	lt_sysfs(index, "dev", dev, sizeof(dev));
	return strchr(dev, ':') ? atoi(strchr(dev, ':') + 1) : UINT32_MAX;
}

/* A cgroup that may read one device may detach it, and no other device. */
TEST_F(contained, cgroup_reads)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	struct loop_ctl_entry e[64];
	struct loop_ctl_detach d;
	struct loop_ctl_list l;
	unsigned int i;

	ASSERT_EQ(0, ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	a = lt_to_attach(FIRST + 1, self->file, 0, 0);
	ASSERT_EQ(0, ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	if (!enter_cgroup(self, minor_of(FIRST), READ))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	/* The list has the devices that the cgroup may read. */
	l = lt_to_list(0, ARRAY_SIZE(e), e, 0, -1);
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_LIST, &l));
	EXPECT_EQ(1, l.out_count);
	EXPECT_EQ(FIRST, e[0].index);
	EXPECT_EQ(UINT32_MAX, l.out_next);
	l = lt_to_list(0, 1, e, LOOP_LIST_FD, self->file);
	for (i = 0; !ioctl(lt_control(), LOOP_CTL_LIST, &l); ) {
		i += l.out_count;
		if (!lt_list_next(&l))
			break;
	}
	EXPECT_EQ(1, i);
	d = lt_to_detach(FIRST + 1, LOOP_DETACH_NOW, 0);
	LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	d = lt_to_detach(FIRST, LOOP_DETACH_NOW, 0);
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	/* An attach needs the right to write as well. */
	a = lt_to_attach(FIRST, self->file, 0, 0);
	LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	a = lt_to_attach(FIRST, self->file, 0, LO_FLAGS_READ_ONLY);
	LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	leave_cgroup(self);
	EXPECT_TRUE(lt_sysfs_attached(FIRST + 1));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* The cgroup may read and write one device. */
TEST_F(contained, cgroup_writes)
{
	struct loop_ctl_attach a;
	struct loop_ctl_detach d;
	int i;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	if (!enter_cgroup(self, minor_of(FIRST), READ | WRITE))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	for (i = 0; i < 2; i++) {
		a = lt_to_attach(FIRST, self->file, LOOP_ATTACH_LEASE, 0);
		ASSERT_EQ(0, ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
		a = lt_to_attach(FIRST + 1, self->file, LOOP_ATTACH_LEASE, 0);
		LT_EXPECT_ERR("EPERM", ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
		EXPECT_FALSE(lt_exists(FIRST + 1));
		d = lt_to_detach(FIRST, i ? LOOP_DETACH_FORCE : LOOP_DETACH_NOW,
				 i ? UINT64_MAX : 0);
		ASSERT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	}
	leave_cgroup(self);
}

/* A cgroup without rights makes no device and sees none. */
TEST_F(contained, cgroup_refuses)
{
	static const uint32_t flags[] = {
		0, LOOP_ATTACH_EPHEMERAL, LOOP_ATTACH_LEASE,
		LOOP_ATTACH_LEASE | LOOP_ATTACH_HOLD | LOOP_ATTACH_EXCLUSIVE,
	};
	int index[] = { FIRST, FIRST + 1, -1 }, count, uevents;
	struct lt_buf told = { 0 };
	struct loop_ctl_entry e;
	struct loop_ctl_list l = lt_to_list(0, 1, &e, 0, -1);
	unsigned int i, k;

	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	count = lt_count_devices();
	uevents = lt_uevent_open();
	if (!enter_cgroup(self, NO_DEVICE, 0))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	LT_EXPECT_ERR("EPERM", lt_open(FIRST + 1, O_RDONLY));
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		for (k = 0; k < ARRAY_SIZE(index); k++) {
			struct loop_ctl_attach a, in;

			if (flags[i] & LOOP_ATTACH_EPHEMERAL && k == 1)
				continue;
			a = lt_to_attach(index[k], self->file, flags[i], 0);
			in = a;
			LT_EXPECT_ERR("EPERM", ioctl(lt_control(),
						     LOOP_CTL_ATTACH, &a));
			EXPECT_EQ(0, memcmp(&in, &a, sizeof(a)));
			EXPECT_FALSE(lt_exists(FIRST));
			EXPECT_TRUE(lt_exists(FIRST + 1));
			EXPECT_FALSE(lt_sysfs_attached(FIRST + 1));
			EXPECT_EQ(count, lt_count_devices());
		}
	}
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_LIST, &l));
	EXPECT_EQ(0, l.out_count);
	EXPECT_EQ(UINT32_MAX, l.out_next);
	EXPECT_EQ(0, lt_uevents(uevents, FIRST, &told)) {
		TH_LOG("got%s", told.s);
	}
	EXPECT_EQ(0, lt_uevents(uevents, FIRST + 1, NULL));
	close(uevents);
	leave_cgroup(self);
	/* No call that failed holds the file. */
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

TEST_F(contained, cgroup_allows)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
						LOOP_ATTACH_EPHEMERAL,
						LO_FLAGS_AUTOCLEAR);
	int fd;

	if (!enter_cgroup(self, ALL_DEVICES, 0))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	fd = lt_attach(&a, NULL);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(SIZE, lt_size(fd));
	close(fd);
	EXPECT_TRUE(gone(FIRST));
	leave_cgroup(self);
}

/* A lease from outside allows calls that the cgroup alone would refuse. */
TEST_F(contained, cgroup_lease)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
						LOOP_ATTACH_LEASE,
						LO_FLAGS_AUTOCLEAR);
	struct loop_info64 info;

	ASSERT_EQ(0, ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	if (!enter_cgroup(self, NO_DEVICE, 0))
		SKIP(return, "no cgroup with a program for devices: %s",
		     lt_errname(errno));
	EXPECT_EQ(0, ioctl(a.out_lease, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(0, ioctl(a.out_lease, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(0, ioctl(a.out_lease, LOOP_CLR_FD, 0));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	leave_cgroup(self);
}

TEST_HARNESS_MAIN
