// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_CTL_ATTACH: what it sets, what it returns, and what it refuses.
 */
#include <stddef.h>
#include <sys/resource.h>

#include "ctl_fixture.h"

TEST_F(ctl, attach)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, LEASE, 0), in;
	struct loop_info64 info;
	uint8_t buf[512];
	struct stat st;
	int fd;

	memcpy(a.name, "given name", 11);
	in = a;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(FIRST, a.out_index);
	EXPECT_EQ(512, a.out_block_size);
	EXPECT_EQ(0, a.out_lo_flags);
	EXPECT_EQ(0, a.out_unmet);
	EXPECT_EQ(-1, a.out_busy);
	EXPECT_EQ(SIZE, a.out_nr_bytes);
	EXPECT_EQ(lt_sysfs_num(FIRST, "diskseq"), a.out_diskseq);
	/* The kernel changes nothing but the answers. */
	EXPECT_EQ(0, memcmp(&in, &a, offsetof(struct loop_ctl_attach, out_diskseq)));
	ASSERT_GE(a.out_lease, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(a.out_lease, F_GETFD));

	fd = lt_open(FIRST, O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(lt_diskseq(fd), a.out_diskseq);
	EXPECT_EQ(SIZE, lt_size(fd));
	ASSERT_EQ(512, pread(fd, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 4096));
	lt_fill(buf, 512, 2, 4096);
	ASSERT_EQ(512, pwrite(fd, buf, 512, 4096));
	ASSERT_EQ(0, fsync(fd));
	memset(buf, 0, 512);
	ASSERT_EQ(512, pread(self->file, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 2, 4096));

	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(FIRST, info.lo_number);
	EXPECT_EQ(st.st_ino, info.lo_inode);
	EXPECT_STREQ("given name", (char *)info.lo_file_name);
	/* The device stays attached. */
	close(fd);
	close(a.out_lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/autoclear"));
}

TEST_F(ctl, attach_settings)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0,
						READ_ONLY | AUTOCLEAR | PARTSCAN);
	struct loop_info64 info;
	uint8_t buf[512];
	int fd;

	lt_label_two(self->file);
	a.offset = 8192;
	a.sizelimit = HALF;
	a.block_size = 4096;
	memset(a.name, 'n', sizeof(a.name));
	fd = lt_attach(&a, NULL);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(READ_ONLY | AUTOCLEAR | PARTSCAN, a.out_lo_flags);
	EXPECT_EQ(4096, a.out_block_size);
	EXPECT_EQ(HALF, a.out_nr_bytes);
	EXPECT_EQ(HALF, lt_size(fd));
	ASSERT_EQ(512, pread(fd, buf, 512, 0));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 8192));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(8192, info.lo_offset);
	EXPECT_EQ(HALF, info.lo_sizelimit);
	EXPECT_EQ(a.out_lo_flags, info.lo_flags);
	EXPECT_EQ(LO_NAME_SIZE - 1, strlen((char *)info.lo_file_name));
	EXPECT_EQ(1, lt_sysfs_num(FIRST, "ro"));
	EXPECT_EQ(4096, lt_sysfs_num(FIRST, "queue/logical_block_size"));
}

/* A file that is open read-only makes the device read-only. */
TEST_F(ctl, attach_read_only_file)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, 0, LEASE, AUTOCLEAR);

	a.fd = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(a.fd, 0);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR | READ_ONLY, a.out_lo_flags);
	EXPECT_EQ(LOOP_COND_WRITE, a.out_unmet & LOOP_COND_WRITE);
	EXPECT_EQ(1, lt_sysfs_num(FIRST, "ro"));
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

TEST_F(ctl, attach_adds_and_uses)
{
	int fd;

	/* The device does not exist. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	/* The device exists. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	/* It is open, and nobody claims it. */
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_EQ(SIZE, lt_size(fd));
	close(fd);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
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
		} else if (!lt_sysfs_attached(n) && !held[n]) {
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
		struct loop_ctl_attach a = lt_to_attach(-1, self->file, LEASE,
							AUTOCLEAR);

		want = lowest(held, ARRAY_SIZE(held));
		ASSERT_GE(want, 0);
		if (!lt_exists(want))
			made = want;
		ASSERT_STREQ("ok", attach(&a));
		ASSERT_EQ(want, a.out_index);
		fds[count++] = a.out_lease;
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
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	a = lt_to_attach(FIRST, self->file, 0, 0);
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.out_busy);
	/* It is detached at the last close. */
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.out_busy);
	close(fd);
	/* It is claimed. */
	fd = lt_open(FIRST, O_RDONLY | O_EXCL);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.out_busy);
	close(fd);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
}

TEST_F(ctl, attach_sizes)
{
	static const uint32_t small[] = {
		0, 1, 4, 8, LOOP_CTL_ATTACH_SIZE_VER0 - 8,
		LOOP_CTL_ATTACH_SIZE_VER0 - 1,
	};
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, LEASE, AUTOCLEAR);
	uint32_t page = sysconf(_SC_PAGESIZE);
	static uint8_t buf[2 * LARGEST_PAGE];
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
	close(b->out_lease);
	*b = a;
	b->size = page;
	ASSERT_STREQ("ok", attach(b));
	EXPECT_TRUE(lt_zeroed(buf + sizeof(a), sizeof(buf) - sizeof(a)));
	close(b->out_lease);
	/* The kernel writes nothing behind the structure. */
	memset(buf, 0xa5, sizeof(buf));
	*b = a;
	b->size = sizeof(a);
	ASSERT_STREQ("ok", attach(b));
	EXPECT_EQ(0xa5, buf[sizeof(a)]);
	EXPECT_EQ(0, memcmp(buf + sizeof(a), buf + sizeof(a) + 1, 4096));
}

/* The answers are 0 on input. Each byte of them counts. */
TEST_F(ctl, attach_answers)
{
	struct loop_ctl_attach a;
	size_t at;

	for (at = offsetof(struct loop_ctl_attach, out_diskseq); at < sizeof(a); at++) {
		a = lt_to_attach(FIRST, self->file, LEASE, AUTOCLEAR);
		((uint8_t *)&a)[at] = 1;
		LT_EXPECT_ERR("EINVAL", ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
		EXPECT_EQ(1, ((uint8_t *)&a)[at]);
	}
	EXPECT_FALSE(lt_exists(FIRST));
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
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, openers(FIRST));
	/* The device can be attached again. */
	a.attach_flags = EXCLUSIVE;
	EXPECT_STREQ("ok", attach(&a));
}

/* The same holds for all flags. */
TEST_F(ctl, attach_fault_flags)
{
	static const uint32_t flags[] = {
		0, LEASE, LEASE | HOLD, EPHEMERAL, EPHEMERAL | LEASE, EXCLUSIVE,
		EXCLUSIVE | EPHEMERAL | LEASE | HOLD,
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
	at = p + page - offsetof(struct loop_ctl_attach, out_nr_bytes);
	memcpy(at, &a, sizeof(a));
	ASSERT_EQ(0, mprotect(p + page, page, PROT_READ));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_ATTACH, at));
	EXPECT_EQ(before, trace());
}

/* The block size does not follow from direct I/O; the flag stays in force. */
TEST_F(ctl, attach_direct_aligned)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
						LOOP_ATTACH_DIRECT_ALIGNED,
						DIRECT_IO | AUTOCLEAR);
	struct loop_ctl_entry e;
	int fd;

	a.require = LOOP_COND_DIRECT_IO | LOOP_COND_DIRECT_ALIGN |
		    LOOP_COND_BLOCK_SIZE;
	fd = lt_attach(&a, NULL);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(512, a.out_block_size);
	EXPECT_EQ(DIRECT_IO | AUTOCLEAR, a.out_lo_flags);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_ATTACH_DIRECT_ALIGNED, e.attach_flags);
	EXPECT_EQ(0, e.unmet & ~LOOP_COND_DISCARD);
	/* The flag alone does not turn direct I/O on. */
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_DIRECT_IO, 0));
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_BLOCK_SIZE, 1024));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(AUTOCLEAR, e.lo_flags);
	EXPECT_EQ(LOOP_ATTACH_DIRECT_ALIGNED, e.attach_flags);
}

#define ATTACH_FLAGS (2 * LOOP_ATTACH_NO_DISCARD - 1)
#define CONDITIONS (2 * LOOP_COND_UNCACHED - 1)

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
		if (!(a.attach_flags & ATTACH_FLAGS))
			EXPECT_STREQ("EINVAL", attach(&a));
		a = lt_to_attach(FIRST, self->file, 0, 1U << i);
		if (!(a.lo_flags & LOOP_CONFIGURE_SETTABLE_FLAGS))
			EXPECT_STREQ("EINVAL", attach(&a));
		a = lt_to_attach(FIRST, self->file, 0, 0);
		a.require = 1U << i;
		if (!(a.require & CONDITIONS))
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
	/* Nobody would hold the device. */
	a = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	EXPECT_STREQ("EINVAL", attach(&a));
	EXPECT_STREQ("EINVAL", attach_to(FIRST, self->file, HOLD, 0));
	EXPECT_FALSE(lt_exists(FIRST));
}

/* All arguments are checked before a device is made: no uevent tells of one. */
TEST_F(ctl, attach_invalid_is_silent)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0), bad[8];
	int uevents = lt_uevent_open(), count = lt_count_devices();
	struct lt_buf told = { 0 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = a;
	bad[0].attach_flags = 1U << 31;
	bad[1].lo_flags = AUTOCLEAR;
	bad[2].require = 1U << 31;
	bad[3].fd = -1;
	bad[4].offset = UINT64_MAX;
	bad[5].block_size = 3;
	bad[6].out_busy = -1;
	bad[7].fd = lt_control();
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-1, ioctl(lt_control(), LOOP_CTL_ATTACH, &bad[i]));
		bad[i].index = -1;
		bad[i].attach_flags |= EPHEMERAL;
		EXPECT_EQ(-1, ioctl(lt_control(), LOOP_CTL_ATTACH, &bad[i]));
		EXPECT_EQ(count, lt_count_devices());
	}
	EXPECT_EQ(0, lt_uevents(uevents, FIRST, &told)) {
		TH_LOG("got%s", told.s);
	}
	close(uevents);
}

/* These are the largest values. */
TEST_F(ctl, attach_limits)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, LEASE, AUTOCLEAR);

	a.offset = INT64_MAX;
	a.sizelimit = INT64_MAX;
	a.block_size = sysconf(_SC_PAGESIZE);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(0, a.out_nr_bytes);
	EXPECT_EQ(sysconf(_SC_PAGESIZE), a.out_block_size);
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
	/* The backing file is the device itself, or a device that is not attached. */
	EXPECT_STREQ("EBADF", attach_to(FIRST, low, 0, 0));
	EXPECT_STREQ("EINVAL", attach_to(FIRST + 1, low, 0, 0));
	EXPECT_STREQ("EINVAL", attach_to(-1, low, 0, 0));
	close(low);
	/* The lease is no file that can be attached. */
	low = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(low, 0);
	EXPECT_STREQ("EINVAL", attach_to(FIRST + 1, low, 0, 0));
	close(low);
	/* An upper device keeps the lower one attached. */
	low = attach_fd(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(low, 0);
	top = attach_fd(FIRST + 1, low, 0, AUTOCLEAR);
	ASSERT_GE(top, 0);
	EXPECT_EQ(SIZE, lt_size(top));
	close(low);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(top);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_FALSE(lt_sysfs_attached(FIRST + 1));
}

TEST_F(ctl, attach_no_fd_left)
{
	struct loop_ctl_attach a;
	struct rlimit old, none;
	uint64_t before;
	int fd;

	before = trace();
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	fd = dup(self->file);
	ASSERT_GE(fd, 0);
	close(fd);
	none = (struct rlimit) { .rlim_cur = fd, .rlim_max = old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	LT_EXPECT_ERR("EMFILE", attach_lease(FIRST, self->file, 0, 0));
	LT_EXPECT_ERR("EMFILE", attach_lease(FIRST, self->file, EPHEMERAL | HOLD,
					     AUTOCLEAR));
	LT_EXPECT_ERR("EMFILE", attach_lease(-1, self->file, EPHEMERAL, AUTOCLEAR));
	EXPECT_FALSE(lt_exists(FIRST));
	/* This call needs no fd. */
	a = lt_to_attach(FIRST, self->file, 0, 0);
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	EXPECT_EQ(-1, a.out_lease);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	EXPECT_EQ(before, trace());
}

#define FILE_MAX "/proc/sys/fs/file-max"

static int attach_errno(void *arg)
{
	struct loop_ctl_attach *a = arg;

	return ioctl(lt_control(), LOOP_CTL_ATTACH, a) ? errno : 0;
}

/* The limit of the system does not apply to root. */
TEST_F(ctl, attach_no_file_left)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	uint64_t before = trace();
	char old[32];
	int i, got[3];

	lt_read_line(FILE_MAX, old, sizeof(old));
	lt_write_file(FILE_MAX, "0");
	for (i = 0; i < ARRAY_SIZE(got); i++) {
		a.attach_flags = i == 2 ? 0 : LEASE | (i ? EPHEMERAL : 0);
		got[i] = run_as_nobody(attach_errno, &a);
	}
	lt_write_file(FILE_MAX, old);
	EXPECT_STREQ("ENFILE", lt_errname(got[0]));
	EXPECT_STREQ("ENFILE", lt_errname(got[1]));
	/* Nothing was made until the call that needs no file. */
	EXPECT_EQ(0, got[2]);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
	EXPECT_EQ(before, trace());
}

TEST_F(ctl, attach_without_lease)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	uint64_t fds = fcntl(self->file, F_DUPFD_CLOEXEC, 0);

	close(fds);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(-1, a.out_lease);
	EXPECT_EQ(FIRST, a.out_index);
	EXPECT_EQ(fds, fcntl(self->file, F_DUPFD_CLOEXEC, 0));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, openers(FIRST));
	EXPECT_EQ(lt_sysfs_num(FIRST, "diskseq"), a.out_diskseq);
}

/* After a failure the same structure can be used again as it is. */
TEST_F(ctl, attach_again)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDONLY | O_EXCL);
	LT_EXPECT_ERR("EBUSY", ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
	EXPECT_EQ(FIRST, a.index);
	close(fd);
	a.out_busy = 0;
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_ATTACH, &a));
}

TEST_HARNESS_MAIN
