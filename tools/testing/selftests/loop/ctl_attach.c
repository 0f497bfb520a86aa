// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_CTL_ATTACH without flags or with LOOP_ATTACH_NO_FD: what it sets, what it
 * returns, and what it refuses.
 */
#include <stddef.h>
#include <sys/resource.h>

#include "ctl_fixture.h"

TEST_F(ctl, attach)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0), in;
	struct loop_info64 info;
	uint8_t buf[512];
	struct stat st;

	memcpy(a.name, "given name", 11);
	in = a;
	ASSERT_STREQ("ok", attach(&a));
	ASSERT_GE(a.device_fd, 0);
	EXPECT_EQ(FIRST, a.index);
	EXPECT_EQ(512, a.block_size);
	EXPECT_EQ(0, a.lo_flags);
	EXPECT_EQ(lt_diskseq(a.device_fd), a.diskseq);
	EXPECT_EQ(lt_sysfs_num(FIRST, "diskseq"), a.diskseq);
	/* The kernel changes no other member. */
	in.device_fd = a.device_fd;
	in.block_size = a.block_size;
	in.diskseq = a.diskseq;
	EXPECT_EQ(0, memcmp(&in, &a, sizeof(a)));

	EXPECT_EQ(FD_CLOEXEC, fcntl(a.device_fd, F_GETFD));
	EXPECT_EQ(O_RDWR, fcntl(a.device_fd, F_GETFL) & O_ACCMODE);
	ASSERT_EQ(0, fstat(a.device_fd, &st));
	EXPECT_TRUE(S_ISBLK(st.st_mode));
	EXPECT_EQ(makedev(LT_MAJOR, FIRST), st.st_rdev);
	EXPECT_EQ(SIZE, lt_size(a.device_fd));
	ASSERT_EQ(512, pread(a.device_fd, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 4096));
	lt_fill(buf, 512, 2, 4096);
	ASSERT_EQ(512, pwrite(a.device_fd, buf, 512, 4096));
	ASSERT_EQ(0, fsync(a.device_fd));
	memset(buf, 0, 512);
	ASSERT_EQ(512, pread(self->file, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 2, 4096));

	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_EQ(0, ioctl(a.device_fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(FIRST, info.lo_number);
	EXPECT_EQ(st.st_ino, info.lo_inode);
	EXPECT_STREQ("given name", (char *)info.lo_file_name);
	/* The device stays attached. */
	close(a.device_fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/autoclear"));
}

TEST_F(ctl, attach_settings)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0,
						READ_ONLY | AUTOCLEAR | PARTSCAN);
	struct loop_info64 info;
	uint8_t buf[512];

	lt_label_two(self->file);
	a.offset = 8192;
	a.sizelimit = HALF;
	a.block_size = 4096;
	memset(a.name, 'n', sizeof(a.name));
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(READ_ONLY | AUTOCLEAR | PARTSCAN, a.lo_flags);
	EXPECT_EQ(4096, a.block_size);
	EXPECT_EQ(O_RDONLY, fcntl(a.device_fd, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(HALF, lt_size(a.device_fd));
	ASSERT_EQ(512, pread(a.device_fd, buf, 512, 0));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 8192));
	LT_EXPECT_ERR("EBADF", pwrite(a.device_fd, buf, 512, 0));
	ASSERT_EQ(0, ioctl(a.device_fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(8192, info.lo_offset);
	EXPECT_EQ(HALF, info.lo_sizelimit);
	EXPECT_EQ(a.lo_flags, info.lo_flags);
	EXPECT_EQ(LO_NAME_SIZE - 1, strlen((char *)info.lo_file_name));
	EXPECT_EQ(1, lt_sysfs_num(FIRST, "ro"));
	EXPECT_EQ(4096, lt_sysfs_num(FIRST, "queue/logical_block_size"));
}

/* A file that is open read-only makes the device read-only. */
TEST_F(ctl, attach_read_only_file)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, 0, 0, AUTOCLEAR);

	a.fd = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(a.fd, 0);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR | READ_ONLY, a.lo_flags);
	EXPECT_EQ(O_RDONLY, fcntl(a.device_fd, F_GETFL) & O_ACCMODE);
}

TEST_F(ctl, attach_partitions)
{
	int fd;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0x6, lt_parts(FIRST));
	close(fd);
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(0, lt_parts(FIRST));
}

static long long nr_reads(int index)
{
	char line[256];

	lt_sysfs(index, "stat", line, sizeof(line));
	return atoll(line + strspn(line, "_"));
}

/*
 * A file descriptor that comes without a node reads as far ahead as one of a
 * node.
 */
TEST_F(ctl, attach_reads_ahead)
{
	int fd = attach_fd(FIRST, self->file, 0, AUTOCLEAR);
	char data[4096];
	long long before;
	size_t n;

	ASSERT_GE(fd, 0);
	before = nr_reads(FIRST);
	for (n = 0; n < SIZE; n += sizeof(data))
		ASSERT_EQ(sizeof(data), read(fd, data, sizeof(data)));
	EXPECT_GT(nr_reads(FIRST), before);
	EXPECT_LT(nr_reads(FIRST), before + SIZE / 4096 / 4);
	close(fd);
}

TEST_F(ctl, attach_adds_and_uses)
{
	int fd;

	/* The device does not exist. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	/* The device exists. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	/* It is open, and nobody claims it. */
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_EQ(SIZE, lt_size(fd));
	close(fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
}

/*
 * Returns the number that -1 finds if this process has the devices of @held
 * open.
 */
static int lowest(const bool *held, int size)
{
	int n, hole = -1;

	for (n = 0; n < size; n++) {
		if (!lt_exists(n)) {
			if (hole < 0)
				hole = n;
		} else if (!lt_sysfs_bound(n) && !held[n]) {
			return n;
		}
	}
	return hole;
}

TEST_F(ctl, attach_any)
{
	int held_fds[256], fds[256], held_count = 0, count = 0, made = -1, want;
	static bool held[256];

	for (;;) {
		struct loop_ctl_attach a = lt_to_attach(-1, self->file, 0,
							AUTOCLEAR);

		want = lowest(held, ARRAY_SIZE(held));
		ASSERT_GE(want, 0);
		if (!lt_exists(want))
			made = want;
		ASSERT_STREQ("ok", attach(&a));
		ASSERT_EQ(want, a.index);
		fds[count++] = a.device_fd;
		if (made >= 0)
			break;
		/* LOOP_CTL_ATTACH passes over each second device, as it is open. */
		want = lowest(held, ARRAY_SIZE(held));
		ASSERT_GE(want, 0);
		if (lt_exists(want)) {
			held_fds[held_count++] = lt_open(want, O_RDONLY);
			ASSERT_GE(held_fds[held_count - 1], 0);
			held[want] = true;
		}
	}
	EXPECT_TRUE(lt_exists(made));
	while (count--)
		close(fds[count]);
	while (held_count--)
		close(held_fds[held_count]);
	EXPECT_EQ(made, lt_ctl(LOOP_CTL_REMOVE, made));
}

TEST_F(ctl, attach_busy)
{
	struct loop_ctl_attach a;
	int fd;

	/* It is attached. */
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	a = lt_to_attach(FIRST, self->file, 0, 0);
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.index);
	/* It is in rundown. */
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.index);
	close(fd);
	/* It is claimed. */
	fd = lt_open(FIRST, O_RDONLY | O_EXCL);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.index);
	close(fd);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
}

TEST_F(ctl, attach_sizes)
{
	static const uint32_t small[] = {
		0, 1, 4, 8, LOOP_CTL_ATTACH_SIZE_VER0 - 8,
		LOOP_CTL_ATTACH_SIZE_VER0 - 1,
	};
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	uint32_t page = sysconf(_SC_PAGESIZE);
	uint8_t buf[2 * LARGEST_PAGE] = { 0 };
	struct loop_ctl_attach *b = (void *)buf;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(small); i++) {
		a.size = small[i];
		EXPECT_STREQ("EINVAL", attach(&a));
	}
	a.size = page + 1;
	EXPECT_STREQ("E2BIG", attach(&a));
	a.size = UINT32_MAX;
	EXPECT_STREQ("E2BIG", attach(&a));
	/*
	 * A larger structure is refused if what the kernel does not know is not
	 * 0.
	 */
	a.size = page;
	*b = a;
	buf[page - 1] = 1;
	EXPECT_STREQ("E2BIG", attach(b));
	buf[page - 1] = 0;
	buf[sizeof(a)] = 1;
	EXPECT_STREQ("E2BIG", attach(b));
	b->size = sizeof(a) + 1;
	EXPECT_STREQ("E2BIG", attach(b));
	buf[sizeof(a)] = 0;
	ASSERT_STREQ("ok", attach(b));
	EXPECT_EQ(sizeof(a) + 1, b->size);
	EXPECT_TRUE(lt_zeroed(buf + sizeof(a), sizeof(buf) - sizeof(a)));
	close(b->device_fd);
	*b = a;
	b->size = page;
	ASSERT_STREQ("ok", attach(b));
	EXPECT_TRUE(lt_zeroed(buf + sizeof(a), sizeof(buf) - sizeof(a)));
	close(b->device_fd);
	/* The kernel writes nothing behind the structure. */
	memset(buf, 0xa5, sizeof(buf));
	*b = a;
	b->size = sizeof(a);
	ASSERT_STREQ("ok", attach(b));
	EXPECT_EQ(0xa5, buf[sizeof(a)]);
	EXPECT_EQ(0, memcmp(buf + sizeof(a), buf + sizeof(a) + 1, 4096));
}

TEST_F(ctl, attach_fault)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0), *ro;
	uint64_t before = trace();
	uint8_t *p;

	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_ATTACH, NULL));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_ATTACH,
				      lt_edge()));
	p = at_edge(&a, sizeof(a) - 1);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_ATTACH, p));
	EXPECT_EQ(before, trace());
	/* The structure can be read, and cannot be written. */
	ro = unwritable(&a, sizeof(a));
	EXPECT_STREQ("EFAULT", attach(ro));
	EXPECT_FALSE(lt_exists(FIRST));
	/* A device that existed before still exists, and is detached. */
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("EFAULT", attach(ro));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(0, openers(FIRST));
	/* The device can be attached again. */
	a.attach_flags = EXCLUSIVE;
	EXPECT_STREQ("ok", attach(&a));
}

/* The same holds for all flags. */
TEST_F(ctl, attach_fault_flags)
{
	static const uint32_t flags[] = {
		0, NO_FD, EPHEMERAL, EPHEMERAL | NO_FD, EXCLUSIVE, STRICT,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
							flags[i], PARTSCAN);

		EXPECT_STREQ("EFAULT", attach(unwritable(&a, sizeof(a))));
		EXPECT_FALSE(lt_exists(FIRST));
		a.index = -1;
		EXPECT_STREQ("EFAULT", attach(unwritable(&a, sizeof(a))));
	}
	/* The failed calls keep no reference to the file. */
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

TEST_F(ctl, attach_half_writable)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	size_t page = sysconf(_SC_PAGESIZE);
	uint64_t before = trace();
	uint8_t *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;

	ASSERT_TRUE(p != MAP_FAILED);
	at = p + page - offsetof(struct loop_ctl_attach, diskseq);
	memcpy(at, &a, sizeof(a));
	ASSERT_EQ(0, mprotect(p + page, page, PROT_READ));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_ATTACH, at));
	EXPECT_EQ(before, trace());
}

/* The block size does not follow from direct I/O; the flag stays in force. */
TEST_F(ctl, attach_direct_aligned)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
						LOOP_ATTACH_DIRECT_ALIGNED | STRICT,
						LO_FLAGS_DIRECT_IO | AUTOCLEAR);
	struct loop_ctl_entry e;

	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(512, a.block_size);
	EXPECT_EQ(LO_FLAGS_DIRECT_IO | AUTOCLEAR, a.lo_flags);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_ATTACH_DIRECT_ALIGNED, e.attach_flags);
	EXPECT_EQ(0, e.unmet & ~LOOP_UNMET_DISCARD);
	/* It does not turn direct I/O on. */
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_DIRECT_IO, 0));
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_BLOCK_SIZE, 1024));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(AUTOCLEAR, e.lo_flags);
	EXPECT_EQ(LOOP_ATTACH_DIRECT_ALIGNED, e.attach_flags);
}

TEST_F(ctl, attach_invalid)
{
	static const int32_t index[] = {
		-2, -3, INT_MIN, MINORS, 2 * MINORS, INT_MAX,
	};
	static const uint32_t sizes[] = {
		1, 2, 256, 511, 513, 768, 1023, 131072, 0x80000000, UINT32_MAX,
	};
	static const uint64_t past[] = { 1ULL << 63, UINT64_MAX };
	struct loop_ctl_attach a;
	unsigned int i;

	for (i = 0; i < 32; i++) {
		a = lt_to_attach(FIRST, self->file, 1U << i, 0);
		if (a.attach_flags > LOOP_ATTACH_DIRECT_ALIGNED)
			EXPECT_STREQ("EINVAL", attach(&a));
		a = lt_to_attach(FIRST, self->file, 0, 1U << i);
		if (!(a.lo_flags & LOOP_CONFIGURE_SETTABLE_FLAGS))
			EXPECT_STREQ("EINVAL", attach(&a));
		a = lt_to_attach(FIRST, self->file, 0, 0);
		a.reserved = 1U << i;
		EXPECT_STREQ("EINVAL", attach(&a));
	}
	for (i = 0; i < ARRAY_SIZE(index); i++)
		EXPECT_STREQ("EINVAL", attach_to(index[i], self->file, 0, 0));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		a = lt_to_attach(FIRST, self->file, 0, 0);
		a.block_size = sizes[i];
		EXPECT_STREQ("EINVAL", attach(&a));
	}
	for (i = 0; i < ARRAY_SIZE(past); i++) {
		a = lt_to_attach(FIRST, self->file, 0, 0);
		a.offset = past[i];
		EXPECT_STREQ("EOVERFLOW", attach(&a));
		a.offset = 0;
		a.sizelimit = past[i];
		EXPECT_STREQ("EOVERFLOW", attach(&a));
	}
	EXPECT_STREQ("EINVAL", attach_to(FIRST, self->file, NO_FD, AUTOCLEAR));
	EXPECT_FALSE(lt_exists(FIRST));
}

/* These are the largest values. */
TEST_F(ctl, attach_limits)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);

	a.offset = INT64_MAX;
	a.sizelimit = INT64_MAX;
	a.block_size = sysconf(_SC_PAGESIZE);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(0, lt_size(a.device_fd));
	EXPECT_EQ(sysconf(_SC_PAGESIZE), a.block_size);
}

TEST_F(ctl, attach_bad_file)
{
	int p[2], fd;

	EXPECT_STREQ("EBADF", attach_to(FIRST, -1, 0, 0));
	EXPECT_STREQ("EBADF", attach_to(FIRST, INT_MIN, 0, 0));
	EXPECT_STREQ("EBADF", attach_to(FIRST, 1000000, 0, 0));
	fd = open(self->path, O_PATH | O_CLOEXEC);
	EXPECT_STREQ("EBADF", attach_to(FIRST, fd, 0, 0));
	close(fd);
	fd = open(self->path, O_WRONLY | O_CLOEXEC);
	EXPECT_STREQ("EBADF", attach_to(FIRST, fd, 0, 0));
	close(fd);
	fd = open(self->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EXPECT_STREQ("EINVAL", attach_to(FIRST, fd, 0, 0));
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	EXPECT_STREQ("EINVAL", attach_to(FIRST, fd, 0, 0));
	close(fd);
	ASSERT_EQ(0, pipe(p));
	EXPECT_STREQ("EINVAL", attach_to(FIRST, p[0], 0, 0));
	EXPECT_STREQ("EINVAL", attach_to(FIRST, lt_control(), 0, 0));
	EXPECT_FALSE(lt_exists(FIRST));
}

TEST_F(ctl, attach_nested)
{
	int low, top;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	low = lt_open(FIRST, O_RDWR);
	ASSERT_GE(low, 0);
	/* The device is its own backing file, or one that is detached. */
	EXPECT_STREQ("EBADF", attach_to(FIRST, low, 0, 0));
	EXPECT_STREQ("EINVAL", attach_to(FIRST + 1, low, 0, 0));
	EXPECT_STREQ("EINVAL", attach_to(-1, low, 0, 0));
	close(low);
	/* The returned fd can be the backing file of the next device. */
	low = attach_fd(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(low, 0);
	top = attach_fd(FIRST + 1, low, 0, AUTOCLEAR);
	ASSERT_GE(top, 0);
	EXPECT_EQ(SIZE, lt_size(top));
	/* It keeps the lower device attached. */
	close(low);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	close(top);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	EXPECT_FALSE(lt_sysfs_bound(FIRST + 1));
}

TEST_F(ctl, attach_no_fd_left)
{
	struct rlimit old, none;
	int fd;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	fd = dup(self->file);
	ASSERT_GE(fd, 0);
	close(fd);
	none = (struct rlimit) { .rlim_cur = fd, .rlim_max = old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	LT_EXPECT_ERR("EMFILE", attach_fd(FIRST, self->file, 0, 0));
	EXPECT_FALSE(lt_exists(FIRST));
	LT_EXPECT_ERR("EMFILE", attach_fd(FIRST, self->file, EPHEMERAL,
					  AUTOCLEAR));
	EXPECT_FALSE(lt_exists(FIRST));
	/* This call needs no fd. */
	EXPECT_EQ(-1, attach_fd(FIRST, self->file, NO_FD, 0));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
}

TEST_F(ctl, attach_without_fd)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, NO_FD, 0);
	uint64_t fds = fcntl(self->file, F_DUPFD_CLOEXEC, 0);

	close(fds);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(-1, a.device_fd);
	EXPECT_EQ(FIRST, a.index);
	EXPECT_EQ(fds, fcntl(self->file, F_DUPFD_CLOEXEC, 0));
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(0, openers(FIRST));
	EXPECT_EQ(lt_sysfs_num(FIRST, "diskseq"), a.diskseq);
}

TEST_F(ctl, autoclear)
{
	int fd = attach_fd(FIRST, self->file, 0, AUTOCLEAR), copy;

	ASSERT_GE(fd, 0);
	copy = dup(fd);
	close(fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	close(self->file);
	LT_EXPECT_ERR("EBUSY", umount2(self->dir, 0));
	close(copy);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* A program that is killed closes its device. */
TEST_F(ctl, autoclear_killed)
{
	pid_t pid = fork();
	int status;

	ASSERT_GE(pid, 0);
	if (!pid) {
		if (attach_fd(FIRST, self->file, 0, AUTOCLEAR) >= 0)
			raise(SIGKILL);
		_exit(1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

TEST_HARNESS_MAIN
