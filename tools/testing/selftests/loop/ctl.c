// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_CTL_ATTACH, LOOP_CTL_DETACH and LOOP_CTL_LIST: every flag, every errno,
 * structures of other sizes than the kernel's, callers that race.
 */
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "loop_test.h"

#define FIRST 960		/* numbers that are nobody's */
#define NUMBERS 12
#define ABSENT (FIRST + NUMBERS - 1)
#define MINORS 0x100000
#define SIZE (2 * LT_MIB)
#define HALF (SIZE / 2)
#define LARGEST_PAGE 65536	/* that any machine has */

#define AUTOCLEAR LO_FLAGS_AUTOCLEAR
#define READ_ONLY LO_FLAGS_READ_ONLY
#define PARTSCAN LO_FLAGS_PARTSCAN
#define DIRECT_IO LO_FLAGS_DIRECT_IO
#define STRICT LOOP_ATTACH_STRICT
#define EXCLUSIVE LOOP_ATTACH_EXCLUSIVE
#define EPHEMERAL LOOP_ATTACH_EPHEMERAL
#define NO_FD LOOP_ATTACH_NO_FD
#define WAIT LOOP_DETACH_WAIT

#define SECONDS(n) ((n) * 1000000000ULL)
#define FOREVER UINT64_MAX

/* The same for 32-bit programs, without holes. */
static_assert(sizeof(struct loop_ctl_attach) == LOOP_CTL_ATTACH_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_attach, index) == 8);
static_assert(offsetof(struct loop_ctl_attach, offset) == 16);
static_assert(offsetof(struct loop_ctl_attach, block_size) == 32);
static_assert(offsetof(struct loop_ctl_attach, diskseq) == 40);
static_assert(offsetof(struct loop_ctl_attach, name) == 56);
static_assert(sizeof(struct loop_ctl_detach) == LOOP_CTL_DETACH_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_detach, diskseq) == 16);
static_assert(offsetof(struct loop_ctl_detach, timeout) == 24);
static_assert(sizeof(struct loop_ctl_list) == LOOP_CTL_LIST_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_list, entries) == 24);
static_assert(sizeof(struct loop_ctl_entry) == LOOP_CTL_ENTRY_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_entry, offset) == 16);
static_assert(offsetof(struct loop_ctl_entry, openers) == 64);
static_assert(offsetof(struct loop_ctl_entry, unmet) == 72);
static_assert(offsetof(struct loop_ctl_entry, name) == 80);

FIXTURE(ctl)
{
	char dir[32];
	char path[64];
	int file;
};

FIXTURE_SETUP(ctl)
{
	int n;

	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	self->file = -1;
	for (n = FIRST; n < FIRST + NUMBERS; n++)
		ASSERT_TRUE(lt_destroy(n, 2000));
	ASSERT_EQ(0, lt_scratch(self->dir, "ctl"));
	snprintf(self->path, sizeof(self->path), "%s/file", self->dir);
	self->file = lt_file(self->path, SIZE, 1);
}

FIXTURE_TEARDOWN_PARENT(ctl)
{
	int n;

	for (n = FIRST; n < FIRST + NUMBERS; n++)
		lt_destroy(n, 2000);
	rmdir(self->dir);
}

/* Arguments */

static struct loop_ctl_detach to_detach(int index, uint32_t flags,
					uint64_t timeout)
{
	return (struct loop_ctl_detach) {
		.size = sizeof(struct loop_ctl_detach),
		.flags = flags,
		.index = index,
		.timeout = timeout,
	};
}

static struct loop_ctl_list to_list(uint32_t start, uint32_t count,
				    void *entries, uint32_t flags, int fd)
{
	return (struct loop_ctl_list) {
		.size = sizeof(struct loop_ctl_list),
		.flags = flags,
		.start = start,
		.count = count,
		.entry_size = sizeof(struct loop_ctl_entry),
		.fd = fd,
		.entries = (uintptr_t)entries,
	};
}

/* Which devices there are, which are bound, and the lowest unused fd. */
static uint64_t trace(void)
{
	uint64_t sum = fcntl(lt_control(), F_DUPFD_CLOEXEC, 0);
	struct dirent *de;
	DIR *dir;

	close(sum);
	dir = opendir("/sys/block");
	if (!dir)
		lt_die("read /sys/block");
	while ((de = readdir(dir))) {
		int n = -1;

		if (sscanf(de->d_name, "loop%d", &n) != 1)
			continue;
		sum += lt_pattern(lt_sysfs_bound(n), n * 8);
	}
	closedir(dir);
	return sum;
}

/*
 * Each of these returns "ok", the name of the errno, or what is wrong with a
 * call that failed: it must leave the structure as it was, and nothing else.
 */

static const char *call(unsigned long cmd, void *arg, size_t size)
{
	uint64_t before = trace();
	uint8_t copy[256];
	const char *name;

	memcpy(copy, arg, size);
	if (!ioctl(lt_control(), cmd, arg))
		return "ok";
	name = lt_errname(errno);
	if (cmd == LOOP_CTL_ATTACH && errno == EBUSY)
		memcpy(copy + offsetof(struct loop_ctl_attach, index),
		       arg + offsetof(struct loop_ctl_attach, index), 4);
	if (memcmp(copy, arg, size))
		return "changes the structure";
	if (trace() != before)
		return "leaves something behind";
	return name;
}

static const char *attach(struct loop_ctl_attach *a)
{
	return call(LOOP_CTL_ATTACH, a, sizeof(*a));
}

static const char *detach(struct loop_ctl_detach *d)
{
	return call(LOOP_CTL_DETACH, d, sizeof(*d));
}

static const char *list(struct loop_ctl_list *l)
{
	return call(LOOP_CTL_LIST, l, sizeof(*l));
}

static const char *attach_to(int index, int fd, uint32_t attach_flags,
			     uint32_t lo_flags)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, attach_flags, lo_flags);
	const char *name = attach(&a);

	if (!strcmp(name, "ok") && a.device_fd >= 0)
		close(a.device_fd);
	return name;
}

static const char *detach_from(int index)
{
	struct loop_ctl_detach d = to_detach(index, 0, 0);

	return detach(&d);
}

/* The device's fd, or -1. */
static int attach_fd(int index, int fd, uint32_t attach_flags,
		     uint32_t lo_flags)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, attach_flags, lo_flags);

	return ioctl(lt_control(), LOOP_CTL_ATTACH, &a) ? -1 : a.device_fd;
}

/* Where a range of a file is bound; what overlaps is EBUSY with EXCLUSIVE. */
static const char *attach_range(int index, int fd, uint32_t lo_flags,
				uint64_t offset, uint64_t limit, int *other)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, EXCLUSIVE | NO_FD,
						lo_flags);
	const char *name;

	a.offset = offset;
	a.sizelimit = limit;
	name = attach(&a);
	*other = a.index;
	return name;
}

static uint32_t openers(int index)
{
	struct loop_ctl_entry e;

	return lt_entry(index, &e) ? e.openers : UINT32_MAX;
}

/* A device that is removed by itself goes, and gives up its number, in time. */
static bool gone(int index)
{
	struct loop_ctl_entry e;
	int i;

	for (i = 0; i < 2000 && lt_entry(index, &e); i++)
		lt_sleep_ms(10);
	return !lt_entry(index, &e) && !lt_exists(index);
}

/* A page with @what at its start, that can be read only. */
static void *unwritable(const void *what, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		lt_die("map a page");
	memcpy(p, what, size);
	if (mprotect(p, page, PROT_READ))
		lt_die("protect a page");
	return p;
}

/* The same without a page behind it, of @size bytes. */
static void *at_edge(const void *what, size_t size)
{
	return memcpy(lt_edge() - size, what, size);
}

/* LOOP_CTL_ATTACH */

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
	/* All else is as it was. */
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
	/* It stays bound. */
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

/* A file that cannot be written to makes a device that cannot be. */
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

/* A file descriptor without a node reads as far ahead as one of a node. */
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

	/* Not there. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	/* There. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	/* Open, by somebody who does not claim it. */
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_EQ(SIZE, lt_size(fd));
	close(fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
}

/* What -1 finds, when @held are those that this process has open. */
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
		/* Each second one is passed over, as it is open. */
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

	/* Bound. */
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	a = lt_to_attach(FIRST, self->file, 0, 0);
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.index);
	/* In rundown. */
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_STREQ("EBUSY", attach(&a));
	EXPECT_EQ(FIRST, a.index);
	close(fd);
	/* Claimed. */
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
	/* What a newer caller knows more about matters if it is used. */
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
	/* Nothing behind it is touched. */
	memset(buf, 0xa5, sizeof(buf));
	*b = a;
	b->size = sizeof(a);
	ASSERT_STREQ("ok", attach(b));
	EXPECT_EQ(0xa5, buf[sizeof(a)]);
	EXPECT_EQ(0, memcmp(buf + sizeof(a), buf + sizeof(a) + 1, 4096));
}

/* The size in the number of the ioctl is of no importance. */
TEST_F(ctl, size_in_number)
{
	struct {
		struct loop_ctl_attach a;
		uint64_t more[3];
	} big = { .a = lt_to_attach(FIRST, self->file, NO_FD, 0) };
	struct {
		struct loop_ctl_detach d;
		uint64_t more[3];
	} off = { .d = to_detach(FIRST, 0, 0) };
	struct {
		struct loop_ctl_list l;
		uint64_t more[3];
	} all = { .l = to_list(0, 0, NULL, 0, 0) };

	big.a.size = sizeof(big);
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x83, big), &big));
	off.d.size = sizeof(off);
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x84, off), &off));
	all.l.size = sizeof(all);
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x85, all), &all));
	/* The size in the structure is. */
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x83, uint8_t), &big));
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x84, uint8_t), &off));
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x85, uint8_t), &all));
	off.more[2] = 1;
	LT_EXPECT_ERR("E2BIG", ioctl(lt_control(), LOOP_CTL_DETACH, &off));
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
	/* It can be read, and nothing can be returned. */
	ro = unwritable(&a, sizeof(a));
	EXPECT_STREQ("EFAULT", attach(ro));
	EXPECT_FALSE(lt_exists(FIRST));
	/* Where the device was there before, it is there, unbound. */
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("EFAULT", attach(ro));
	EXPECT_TRUE(lt_exists(FIRST));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(0, openers(FIRST));
	/* And nobody is in its way. */
	a.attach_flags = EXCLUSIVE;
	EXPECT_STREQ("ok", attach(&a));
}

/* ... for any of the kinds of device that is to be had */
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
	/* No reference to the file is left. */
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
		if (a.attach_flags > NO_FD)
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

/* The largest that are allowed */
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
	/* Itself, and one that is unbound. */
	EXPECT_STREQ("EBADF", attach_to(FIRST, low, 0, 0));
	EXPECT_STREQ("EINVAL", attach_to(FIRST + 1, low, 0, 0));
	EXPECT_STREQ("EINVAL", attach_to(-1, low, 0, 0));
	close(low);
	/* What is returned can be the next one's backing file. */
	low = attach_fd(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(low, 0);
	top = attach_fd(FIRST + 1, low, 0, AUTOCLEAR);
	ASSERT_GE(top, 0);
	EXPECT_EQ(SIZE, lt_size(top));
	/* And it keeps that one bound. */
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
	/* None is needed here. */
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

/* A program that ends, however it does, closes its device. */
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

/* LOOP_ATTACH_STRICT */

TEST_F(ctl, strict)
{
	struct loop_ctl_attach a;
	int ro = open(self->path, O_RDONLY | O_CLOEXEC);

	EXPECT_STREQ("ok", attach_to(FIRST, self->file, STRICT, AUTOCLEAR));
	EXPECT_STREQ("EINVAL", attach_to(FIRST, ro, STRICT, AUTOCLEAR));
	EXPECT_STREQ("ok", attach_to(FIRST, ro, STRICT, AUTOCLEAR | READ_ONLY));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, STRICT,
				     AUTOCLEAR | READ_ONLY));
	/* The limit is the last byte of the file, or before it. */
	a = lt_to_attach(FIRST, self->file, STRICT, AUTOCLEAR);
	a.offset = 4096;
	a.sizelimit = SIZE - 4096;
	ASSERT_STREQ("ok", attach(&a));
	close(a.device_fd);
	a.sizelimit++;
	EXPECT_STREQ("EINVAL", attach(&a));
	/* A device has whole sectors. */
	a.sizelimit = 1000;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.sizelimit = INT64_MAX;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.offset = SIZE;
	a.sizelimit = 512;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.attach_flags = 0;
	ASSERT_STREQ("ok", attach(&a));
	close(a.device_fd);
}

/* BLKROSET holds until the device is unbound. */
TEST_F(ctl, strict_blkroset)
{
	int fd, on = 1, ro = 0;
	struct loop_ctl_entry e;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, BLKROSET, &on));
	EXPECT_STREQ("EINVAL", attach_to(FIRST, self->file, STRICT, AUTOCLEAR));
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, AUTOCLEAR));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_UNMET_WRITE, e.unmet & LOOP_UNMET_WRITE);
	close(fd);

	EXPECT_STREQ("ok", attach_to(FIRST, self->file, STRICT, 0));
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, BLKROGET, &ro));
	EXPECT_EQ(0, ro);
	close(fd);
}

TEST_F(ctl, strict_fails_without_trace)
{
	struct loop_ctl_attach a = lt_to_attach(ABSENT, self->file, STRICT, 0);

	a.sizelimit = SIZE + 512;
	EXPECT_STREQ("EINVAL", attach(&a));
	EXPECT_FALSE(lt_exists(ABSENT));
	a.index = -1;
	EXPECT_STREQ("EINVAL", attach(&a));
}

/* ramfs has no direct I/O. */
TEST_F(ctl, strict_direct_not_there)
{
	struct loop_ctl_attach a;
	char dir[64], path[80];

	snprintf(dir, sizeof(dir), "%s/ramfs", self->dir);
	ASSERT_EQ(0, mkdir(dir, 0700));
	ASSERT_EQ(0, mount("scratch", dir, "ramfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	a = lt_to_attach(FIRST, lt_file(path, SIZE, 3), 0, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR, a.lo_flags);
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/dio"));
	close(a.device_fd);
	a = lt_to_attach(FIRST, a.fd, STRICT, AUTOCLEAR | DIRECT_IO);
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
	a.index = ABSENT;
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
	a.index = -1;
	EXPECT_STREQ("EOPNOTSUPP", attach(&a));
}

/* A device with blocks of 4096 bytes, and what can be had on it */
/* What the list and sysfs say of it: the same, with _ between two words. */
static const char *missed(int index)
{
	static const char * const names[] = {
		"direct_io", "direct_align", "write", "sizelimit", "discard",
		"block_size",
	};
	static char told[256];
	char word[128] = "";
	struct loop_ctl_entry e;
	unsigned int i;

	if (!lt_entry(index, &e))
		return "no entry";
	for (i = 0; i < 6; i++) {
		if (!(e.unmet & 1U << i))
			continue;
		if (word[0])
			strcat(word, "_");
		strcat(word, names[i]);
	}
	if (e.unmet >> 6 || e.reserved)
		return "unknown";
	lt_sysfs(index, "loop_unmet", told, sizeof(told));
	return strcmp(word, told) ? "sysfs and list differ" : told;
}

TEST_F(ctl, unmet)
{
	struct loop_ctl_attach low = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	struct loop_ctl_attach a;
	char dir[64], path[80];

	ASSERT_STREQ("ok", attach(&low));
	EXPECT_STREQ("", missed(FIRST));
	EXPECT_EQ(0, ioctl(low.device_fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_STREQ("", missed(FIRST));

	a = lt_to_attach(FIRST + 1, low.device_fd, 0, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_STREQ("block_size", missed(FIRST + 1));
	/* What it is not any more, whatever the reason, is not what it was asked for. */
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_BLOCK_SIZE, 512));
	EXPECT_STREQ("direct_align", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_STREQ("direct_align", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_DIRECT_IO, 1));
	EXPECT_STREQ("", missed(FIRST + 1));
	close(a.device_fd);

	a.sizelimit = SIZE + 512;
	a.block_size = 512;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_STREQ("direct_align_sizelimit", missed(FIRST + 1));
	EXPECT_EQ(0, ioctl(a.device_fd, LOOP_SET_DIRECT_IO, 0));
	EXPECT_STREQ("sizelimit", missed(FIRST + 1));
	close(a.device_fd);

	snprintf(dir, sizeof(dir), "%s/ramfs", self->dir);
	ASSERT_EQ(0, mkdir(dir, 0700));
	ASSERT_EQ(0, mount("scratch", dir, "ramfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	close(lt_file(path, SIZE, 3));
	a = lt_to_attach(FIRST + 1, open(path, O_RDONLY), 0, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_STREQ("direct_io_write_discard", missed(FIRST + 1));
}

TEST_F(ctl, strict_direct_alignment)
{
	struct loop_ctl_attach low = lt_to_attach(FIRST, self->file, 0, AUTOCLEAR);
	struct loop_ctl_attach a;

	low.block_size = 4096;
	ASSERT_STREQ("ok", attach(&low));
	a = lt_to_attach(FIRST + 1, low.device_fd, STRICT, AUTOCLEAR | DIRECT_IO);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(AUTOCLEAR | DIRECT_IO, a.lo_flags);
	EXPECT_EQ(4096, a.block_size);
	EXPECT_EQ(1, lt_sysfs_num(FIRST + 1, "loop/dio"));
	close(a.device_fd);

	a = lt_to_attach(FIRST + 1, low.device_fd, STRICT, AUTOCLEAR | DIRECT_IO);
	a.block_size = 512;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.block_size = 0;
	a.offset = 2048;
	EXPECT_STREQ("EINVAL", attach(&a));
	a.offset = 8192;
	ASSERT_STREQ("ok", attach(&a));
	close(a.device_fd);
	/* Without the flag it is quietly dropped. */
	a = lt_to_attach(FIRST + 1, low.device_fd, 0, AUTOCLEAR | DIRECT_IO);
	a.block_size = 512;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(512, a.block_size);
	EXPECT_EQ(AUTOCLEAR, a.lo_flags);
	close(a.device_fd);
	a.attach_flags = STRICT;
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_EQ(512, a.block_size);
}

/* LOOP_ATTACH_EXCLUSIVE */

TEST_F(ctl, exclusive_ranges)
{
	static const struct {
		uint64_t offset, limit, offset2, limit2;
		uint32_t flags, flags2;
		bool busy;
	} pairs[] = {
		/* the whole file */
		{ 0, 0, 0, 0, .busy = true },
		{ 0, 0, 0, 512, .busy = true },
		{ 0, 0, HALF, 0, .busy = true },
		/* no limit, no end */
		{ 0, 0, 4 * SIZE, 512, .busy = true },
		{ SIZE, 0, 8 * SIZE, 0, .busy = true },
		{ HALF, 0, 0, HALF + 1, .busy = true },
		{ HALF, 0, 0, HALF },
		{ 0, HALF, HALF, 0 },
		{ 0, HALF, HALF - 1, 0, .busy = true },
		/* parts */
		{ 0, HALF, HALF, HALF },
		{ HALF, HALF, 0, HALF },
		{ 0, HALF, 0, HALF, .busy = true },
		{ 0, HALF, 512, 512, .busy = true },
		{ 512, 512, 0, HALF, .busy = true },
		{ 512, 512, 1024, 512 },
		{ 1024, 512, 512, 512 },
		{ 512, 512, 1023, 512, .busy = true },
		{ 1023, 512, 512, 512, .busy = true },
		/* beyond the file, and as far as one can get */
		{ 0, INT64_MAX, 4 * SIZE, 512, .busy = true },
		{ 4 * SIZE, 512, 4 * SIZE + 512, 512 },
		{ INT64_MAX, INT64_MAX, 0, INT64_MAX },
		{ INT64_MAX, INT64_MAX, 0, 0, .busy = true },
		{ 0, INT64_MAX, INT64_MAX, 0 },
		/* who writes */
		{ .flags = READ_ONLY, .flags2 = READ_ONLY },
		{ .flags = READ_ONLY, .busy = true },
		{ .flags2 = READ_ONLY, .busy = true },
		{ 0, HALF, 0, 512, READ_ONLY, READ_ONLY },
		{ 0, HALF, 0, 512, READ_ONLY, 0, .busy = true },
	};
	unsigned int i;
	int index;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		ASSERT_STREQ("ok", attach_range(FIRST, self->file,
						pairs[i].flags,
						pairs[i].offset,
						pairs[i].limit, &index));
		EXPECT_STREQ(pairs[i].busy ? "EBUSY" : "ok",
			     attach_range(FIRST + 1, self->file,
					  pairs[i].flags2, pairs[i].offset2,
					  pairs[i].limit2, &index)) {
			TH_LOG("pair %u", i);
		}
		EXPECT_EQ(pairs[i].busy ? FIRST : FIRST + 1, index);
		if (!pairs[i].busy)
			EXPECT_STREQ("ok", detach_from(FIRST + 1));
		ASSERT_STREQ("ok", detach_from(FIRST));
	}
}

/* The file counts, not its name nor how it came to be bound. */
TEST_F(ctl, exclusive_same_file)
{
	char path[80];
	int fd, file, index;

	snprintf(path, sizeof(path), "%s/link", self->dir);
	ASSERT_EQ(0, link(self->path, path));
	file = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(file, 0);
	ASSERT_STREQ("ok", attach_range(FIRST, self->file, 0, 0, 0, &index));
	EXPECT_STREQ("EBUSY", attach_range(-1, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_STREQ("EBUSY", attach_range(ABSENT, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	EXPECT_FALSE(lt_exists(ABSENT));
	/* Others can come later, who do not ask. */
	EXPECT_STREQ("ok", attach_to(FIRST + 1, file, NO_FD, 0));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_STREQ("EBUSY", attach_range(FIRST, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	EXPECT_STREQ("ok", detach_from(FIRST + 1));
	/* The old way. */
	ASSERT_EQ(FIRST + 2, lt_ctl(LOOP_CTL_ADD, FIRST + 2));
	fd = lt_open(FIRST + 2, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_STREQ("EBUSY", attach_range(FIRST, file, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 2, index);
	EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	close(fd);
	EXPECT_STREQ("ok", attach_range(FIRST, file, 0, 0, 0, &index));
}

/* Another file with the same content, or of another file system, is none. */
TEST_F(ctl, exclusive_other_file)
{
	char path[80];
	int index;

	snprintf(path, sizeof(path), "%s/other", self->dir);
	ASSERT_STREQ("ok", attach_range(FIRST, self->file, 0, 0, 0, &index));
	EXPECT_STREQ("ok", attach_range(FIRST + 1, lt_file(path, SIZE, 1), 0,
					0, 0, &index));
}

TEST_F(ctl, exclusive_block_device)
{
	int low, node, index;
	char path[80];

	low = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(low, 0);
	snprintf(path, sizeof(path), "%s/node", self->dir);
	/* A tmpfs that is mounted by root is one for nodes, too. */
	ASSERT_EQ(0, mknod(path, S_IFBLK | 0600, makedev(LT_MAJOR, FIRST)));
	node = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(node, 0);
	ASSERT_STREQ("ok", attach_range(FIRST + 1, low, 0, 0, 0, &index));
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, node, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	close(node);
	node = lt_open(FIRST, O_RDWR);
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, node, 0, 0, 0, &index));
	EXPECT_EQ(FIRST + 1, index);
	close(node);
	/* What is below is another file. */
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, self->file, 0, 0, 0,
					   &index));
	EXPECT_EQ(FIRST, index);
	ASSERT_STREQ("ok", detach_from(FIRST + 1));
}

/* What a device is bound to now counts, not what it was bound to. */
TEST_F(ctl, exclusive_follows_changes)
{
	struct loop_info64 info = { .lo_offset = HALF, .lo_sizelimit = HALF };
	int fd, file, other, index;
	char path[80];

	fd = attach_fd(FIRST, self->file, EXCLUSIVE, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	EXPECT_STREQ("ok", attach_range(FIRST + 1, self->file, 0, 0, HALF,
					&index));
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, self->file, 0, HALF, 512,
					   &index));
	EXPECT_EQ(FIRST, index);
	close(fd);
	ASSERT_STREQ("ok", detach_from(FIRST + 1));
	ASSERT_STREQ("ok", detach_from(FIRST));

	snprintf(path, sizeof(path), "%s/other", self->dir);
	other = lt_file(path, SIZE, 2);
	fd = attach_fd(FIRST, self->file, EXCLUSIVE, READ_ONLY);
	ASSERT_GE(fd, 0);
	file = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, ioctl(fd, LOOP_CHANGE_FD, file));
	EXPECT_STREQ("ok", attach_range(FIRST + 1, self->file, 0, 0, 0,
					&index));
	EXPECT_STREQ("EBUSY", attach_range(FIRST + 2, other, 0, 0, 0, &index));
	EXPECT_EQ(FIRST, index);
	close(fd);
}

struct contest {
	pthread_barrier_t *start;
	struct loop_ctl_attach a;
	int rc, err;
};

static void *contend(void *arg)
{
	struct contest *c = arg;

	pthread_barrier_wait(c->start);
	c->rc = ioctl(lt_control(), LOOP_CTL_ATTACH, &c->a);
	c->err = errno;
	return NULL;
}

static atomic_bool holding;

/* Opens exclusively, again and again, what is found free. */
static void *hold(void *arg)
{
	int fd;

	while (holding) {
		fd = lt_open(lt_ctl(LOOP_CTL_GET_FREE, 0), O_RDONLY | O_EXCL);
		if (fd >= 0)
			close(fd);
	}
	return arg;
}

/* Who does not say which device has nothing to try again. */
TEST_F_TIMEOUT(ctl, attach_any_race, 600)
{
	unsigned int round;
	pthread_t t;

	holding = true;
	ASSERT_EQ(0, pthread_create(&t, NULL, hold, NULL));
	for (round = 0; round < 500; round++) {
		struct loop_ctl_attach a = lt_to_attach(-1, self->file, 0,
							AUTOCLEAR);

		if (strcmp("ok", attach(&a)))
			break;
		close(a.device_fd);
	}
	holding = false;
	pthread_join(t, NULL);
	EXPECT_EQ(500, round);
}

/* Of many at the same time one gets the file, the others are told who. */
TEST_F_TIMEOUT(ctl, exclusive_race, 600)
{
	struct contest c[12];
	pthread_t t[ARRAY_SIZE(c)];
	pthread_barrier_t start;
	unsigned int i, round;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, ARRAY_SIZE(c)));
	for (round = 0; round < 25; round++) {
		int won = 0, winner = -1, fd = -1;

		for (i = 0; i < ARRAY_SIZE(c); i++) {
			c[i].start = &start;
			/* By number, by any number, and for one number. */
			c[i].a = lt_to_attach(round % 3 ? -1 : FIRST + i % 6,
					      self->file, EXCLUSIVE, AUTOCLEAR);
			if (round % 2)
				c[i].a.attach_flags |= EPHEMERAL;
			ASSERT_EQ(0, pthread_create(&t[i], NULL, contend,
						    &c[i]));
		}
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			pthread_join(t[i], NULL);
			if (c[i].rc)
				continue;
			won++;
			winner = c[i].a.index;
			fd = c[i].a.device_fd;
		}
		ASSERT_EQ(1, won);
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			if (!c[i].rc)
				continue;
			EXPECT_STREQ("EBUSY", lt_errname(c[i].err));
			/* Two may want one number; they are in the way, too. */
			if (round % 3)
				EXPECT_EQ(winner, c[i].a.index);
		}
		close(fd);
		if (round % 2)
			ASSERT_TRUE(gone(winner));
	}
	pthread_barrier_destroy(&start);
	/* Who counts on the first eight finds them again. */
	for (i = 0; i < 8; i++)
		lt_ctl(LOOP_CTL_ADD, i);
}

/* Halves of one file do not stand in each other's way. */
TEST_F_TIMEOUT(ctl, exclusive_race_parts, 600)
{
	struct contest c[8];
	pthread_t t[ARRAY_SIZE(c)];
	pthread_barrier_t start;
	unsigned int i, round;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, ARRAY_SIZE(c)));
	for (round = 0; round < 10; round++) {
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			c[i].start = &start;
			c[i].a = lt_to_attach(-1, self->file, EXCLUSIVE,
					      AUTOCLEAR);
			c[i].a.offset = 4096 * i;
			c[i].a.sizelimit = 4096;
			ASSERT_EQ(0, pthread_create(&t[i], NULL, contend,
						    &c[i]));
		}
		for (i = 0; i < ARRAY_SIZE(c); i++)
			pthread_join(t[i], NULL);
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			ASSERT_EQ(0, c[i].rc);
			close(c[i].a.device_fd);
		}
	}
	pthread_barrier_destroy(&start);
}

/* LOOP_ATTACH_EPHEMERAL */

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
	/* The number can be had again, and is not ephemeral by inheritance. */
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

/* One that was there before goes as well. */
TEST_F(ctl, ephemeral_existing)
{
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL, AUTOCLEAR));
	EXPECT_TRUE(gone(FIRST));
}

/* One of any number is not the one that others found with GET_FREE. */
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

/* Its file system can be unmounted as soon as the device is unbound. */
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

/* LOOP_CTL_DETACH */

TEST_F(ctl, detach)
{
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0), in = d;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	close(self->file);
	LT_EXPECT_ERR("EBUSY", umount2(self->dir, 0));
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(0, memcmp(&in, &d, sizeof(d)));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "size"));
	EXPECT_EQ(0, umount2(self->dir, 0));
	EXPECT_STREQ("ENXIO", detach(&d));
	EXPECT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
}

/* Bound the old way, unbound the new way, and again */
TEST_F(ctl, detach_configured)
{
	int fd, i;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	for (i = 0; i < 3; i++) {
		fd = lt_open(FIRST, O_RDWR);
		ASSERT_EQ(0, lt_configure(fd, self->file, 0, 0, 0, 0));
		EXPECT_STREQ("EBUSY", detach_from(FIRST));
		close(fd);
		EXPECT_STREQ("ok", detach_from(FIRST));
		EXPECT_FALSE(lt_sysfs_bound(FIRST));
	}
}

TEST_F(ctl, detach_sizes)
{
	static const uint32_t small[] = {
		0, 1, 4, 24, LOOP_CTL_DETACH_SIZE_VER0 - 1,
	};
	uint32_t page = sysconf(_SC_PAGESIZE);
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0), *b;
	uint8_t buf[2 * LARGEST_PAGE] = { 0 };
	unsigned int i;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	for (i = 0; i < ARRAY_SIZE(small); i++) {
		d.size = small[i];
		EXPECT_STREQ("EINVAL", detach(&d));
	}
	d.size = page + 1;
	EXPECT_STREQ("E2BIG", detach(&d));
	d.size = UINT32_MAX;
	EXPECT_STREQ("E2BIG", detach(&d));
	b = (void *)buf;
	*b = d;
	b->size = page;
	buf[page - 1] = 1;
	EXPECT_STREQ("E2BIG", detach(b));
	buf[page - 1] = 0;
	EXPECT_STREQ("ok", detach(b));
	EXPECT_TRUE(lt_zeroed(buf + sizeof(d), sizeof(buf) - sizeof(d)));
}

TEST_F(ctl, detach_fault)
{
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0);
	uint8_t *p;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, NULL));
	p = at_edge(&d, sizeof(d) - 1);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, p));
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	/* There is nothing to be returned. */
	EXPECT_STREQ("ok", detach(unwritable(&d, sizeof(d))));
}

TEST_F(ctl, detach_invalid)
{
	static const int32_t absent[] = {
		ABSENT, MINORS - 1, MINORS, INT_MAX,
	};
	struct loop_ctl_detach d;
	unsigned int i;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	for (i = 0; i < 32; i++) {
		d = to_detach(FIRST, 1U << i, 0);
		if (d.flags != WAIT)
			EXPECT_STREQ("EINVAL", detach(&d));
		d = to_detach(FIRST, 0, 0);
		d.reserved = 1U << i;
		EXPECT_STREQ("EINVAL", detach(&d));
	}
	d = to_detach(FIRST, 0, 1);
	EXPECT_STREQ("EINVAL", detach(&d));
	d = to_detach(FIRST, 0, FOREVER);
	EXPECT_STREQ("EINVAL", detach(&d));
	EXPECT_STREQ("EINVAL", detach_from(-1));
	EXPECT_STREQ("EINVAL", detach_from(-2));
	EXPECT_STREQ("EINVAL", detach_from(INT_MIN));
	for (i = 0; i < ARRAY_SIZE(absent); i++) {
		EXPECT_STREQ("ENODEV", detach_from(absent[i]));
		d = to_detach(absent[i], WAIT, FOREVER);
		EXPECT_STREQ("ENODEV", detach(&d));
	}
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
}

TEST_F(ctl, detach_unbound)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	int fd;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ENXIO", detach_from(FIRST));
	EXPECT_STREQ("ENXIO", detach(&d));
	/* There is nothing to wait for. */
	fd = lt_open(FIRST, O_RDWR);
	EXPECT_STREQ("ENXIO", detach_from(FIRST));
	EXPECT_STREQ("ENXIO", detach(&d));
	close(fd);
	d = to_detach(FIRST, 0, 0);
	d.diskseq = 1;
	EXPECT_STREQ("ENXIO", detach(&d));
}

/* The device is as it was. */
TEST_F(ctl, detach_busy)
{
	struct loop_ctl_detach d;
	struct loop_info64 info;
	uint8_t buf[512];
	int fd, part, again;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	d = to_detach(FIRST, WAIT, 0);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	d = to_detach(FIRST, WAIT, 1);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(PARTSCAN, info.lo_flags);
	EXPECT_EQ(0x6, lt_parts(FIRST));
	ASSERT_EQ(512, pread(fd, buf, 512, 4096));
	again = lt_open(FIRST, O_RDWR);
	ASSERT_GE(again, 0);
	close(again);
	/* A partition will do. */
	part = lt_open_part(FIRST, 1, O_RDONLY);
	ASSERT_GE(part, 0);
	close(fd);
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	d = to_detach(FIRST, WAIT, 1000000);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	ASSERT_EQ(512, pread(part, buf, 512, 0));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/autoclear"));
	close(part);
	d = to_detach(FIRST, WAIT, 0);
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_EQ(0, lt_parts(FIRST));
}

/* The file is still held, so that "not bound" would not be true. */
TEST_F(ctl, detach_rundown)
{
	int fd = attach_fd(FIRST, self->file, 0, 0);
	struct loop_ctl_detach d;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	EXPECT_STREQ("EBUSY", detach_from(FIRST));
	d = to_detach(FIRST, WAIT, 1000000);
	EXPECT_STREQ("ETIMEDOUT", detach(&d));
	close(fd);
	EXPECT_STREQ("ENXIO", detach_from(FIRST));
}

TEST_F(ctl, detach_diskseq)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, NO_FD, 0);
	struct loop_ctl_detach d = to_detach(FIRST, 0, 0);
	uint64_t old;
	int fd;

	ASSERT_STREQ("ok", attach(&a));
	old = a.diskseq;
	d.diskseq = old + 1;
	EXPECT_STREQ("ESTALE", detach(&d));
	d.diskseq = UINT64_MAX;
	EXPECT_STREQ("ESTALE", detach(&d));
	d.diskseq = old;
	EXPECT_STREQ("ok", detach(&d));
	EXPECT_STREQ("ENXIO", detach(&d));
	/* Bound again, it is another binding. */
	a = lt_to_attach(FIRST, self->file, NO_FD, 0);
	ASSERT_STREQ("ok", attach(&a));
	EXPECT_GT(a.diskseq, old);
	EXPECT_STREQ("ESTALE", detach(&d));
	/* Also for somebody who would wait, while it is in use. */
	fd = lt_open(FIRST, O_RDONLY);
	d.flags = WAIT;
	d.timeout = FOREVER;
	EXPECT_STREQ("ESTALE", detach(&d));
	close(fd);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	d.diskseq = a.diskseq;
	EXPECT_STREQ("ok", detach(&d));
}

struct closer {
	int fd;
	useconds_t delay;
};

/* Whether the first thread of this process sleeps; in an ioctl, it may be. */
static bool sleeps(void)
{
	char path[64], text[512], *p;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	file = fopen(path, "re");
	if (!file)
		return false;
	p = fgets(text, sizeof(text), file);
	fclose(file);
	p = p ? strrchr(p, ')') : NULL;
	return p && p[1] == ' ' && p[2] == 'S';
}

/* Closes when the ioctl waits, as far as can be seen; it should not matter. */
static void *close_later(void *arg)
{
	struct closer *c = arg;
	int i, asleep = 0;

	for (i = 0; i < 1000 && asleep < 3; i++) {
		lt_sleep_ms(2);
		asleep = sleeps() ? asleep + 1 : 0;
	}
	usleep(c->delay);
	close(c->fd);
	return NULL;
}

TEST_F(ctl, detach_waits)
{
	static const uint64_t timeouts[] = {
		SECONDS(1000), INT64_MAX, FOREVER,
	};
	struct loop_ctl_detach d;
	struct closer c;
	unsigned int i;
	pthread_t t;

	for (i = 0; i < 2 * ARRAY_SIZE(timeouts); i++) {
		c = (struct closer) { .delay = 20000 * i };
		c.fd = attach_fd(FIRST, self->file, 0, 0);
		ASSERT_GE(c.fd, 0);
		d = to_detach(FIRST, WAIT, timeouts[i / 2]);
		if (i % 2)
			d.diskseq = lt_diskseq(c.fd);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
			TH_LOG("%s", lt_errname(errno));
		}
		/* Nothing else unbinds it. */
		EXPECT_FALSE(lt_sysfs_bound(FIRST));
		EXPECT_EQ(timeouts[i / 2], d.timeout);
		pthread_join(t, NULL);
	}
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* A partition that is closed is enough, too. */
TEST_F(ctl, detach_waits_for_partition)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	struct closer c = { .delay = 20000 };
	pthread_t t;
	int fd;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	c.fd = lt_open_part(FIRST, 2, O_RDWR);
	ASSERT_GE(c.fd, 0);
	close(fd);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
	pthread_join(t, NULL);
}

/* What is waited for comes about by itself: the file has been released. */
TEST_F(ctl, detach_waits_for_autoclear)
{
	static const uint32_t flags[] = { 0, EPHEMERAL };
	struct loop_ctl_detach d;
	struct closer c;
	unsigned int i;
	pthread_t t;

	for (i = 0; i < 4; i++) {
		c = (struct closer) { .delay = 20000 };
		c.fd = attach_fd(FIRST, self->file, flags[i / 2], AUTOCLEAR);
		ASSERT_GE(c.fd, 0);
		d = to_detach(FIRST, WAIT, FOREVER);
		if (i % 2)
			d.diskseq = lt_diskseq(c.fd);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
		EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
			TH_LOG("%u: %s", i, lt_errname(errno));
		}
		pthread_join(t, NULL);
		EXPECT_FALSE(lt_sysfs_bound(FIRST));
		if (flags[i / 2])
			EXPECT_TRUE(gone(FIRST));
	}
}

TEST_F(ctl, detach_waits_for_rundown)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	struct closer c = { .delay = 20000 };
	pthread_t t;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	ASSERT_EQ(0, ioctl(c.fd, LOOP_CLR_FD, 0));
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

struct waiter {
	int rc, err;
};

static void *wait_to_detach(void *arg)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	struct waiter *w = arg;

	w->rc = ioctl(lt_control(), LOOP_CTL_DETACH, &d);
	w->err = errno;
	return NULL;
}

/* Many wait for one device; it is told to all that it is gone. */
TEST_F(ctl, detach_waiters)
{
	struct waiter w[6];
	pthread_t t[ARRAY_SIZE(w)];
	unsigned int i, done = 0;
	int fd = attach_fd(FIRST, self->file, 0, 0);

	ASSERT_GE(fd, 0);
	for (i = 0; i < ARRAY_SIZE(w); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, wait_to_detach,
					    &w[i]));
	lt_sleep_ms(50);
	close(fd);
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		pthread_join(t[i], NULL);
		if (!w[i].rc)
			done++;
		else
			EXPECT_STREQ("ENXIO", lt_errname(w[i].err));
	}
	EXPECT_GE(done, 1);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

static atomic_int signals;

static void on_signal(int sig)
{
	signals++;
}

/* From now on, or with 0 no longer, a signal each @ms. */
static void signal_each(int ms, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };
	struct itimerval it = {
		.it_interval.tv_usec = ms * 1000,
		.it_value.tv_usec = ms * 1000,
	};

	if (sigaction(SIGVTALRM, &sa, NULL) || sigaction(SIGUSR1, &sa, NULL) ||
	    sigaction(SIGALRM, &sa, NULL) || setitimer(ITIMER_REAL, &it, NULL))
		lt_die("start a timer");
}

TEST_F(ctl, detach_interrupted)
{
	struct loop_ctl_detach d, in;
	uint64_t left = SECONDS(10000);
	struct closer c = { .delay = 20000 };
	pthread_t t;
	int i;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	d = to_detach(FIRST, WAIT, left);
	d.diskseq = lt_diskseq(c.fd);
	in = d;
	signal_each(20, 0);
	for (i = 0; i < 5; i++) {
		LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH,
					     &d));
		/* Less and less is left. */
		EXPECT_LT(d.timeout, left);
		EXPECT_GT(d.timeout, 0);
		left = d.timeout;
	}
	in.timeout = d.timeout;
	EXPECT_EQ(0, memcmp(&in, &d, sizeof(d)));
	/* No limit, no end */
	d.timeout = FOREVER;
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_GE(d.timeout, INT64_MAX);
	d.timeout = INT64_MAX;
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_GE(d.timeout, INT64_MAX);
	/* Of any binding, it goes on waiting for the one that it found. */
	d = to_detach(FIRST, WAIT, FOREVER);
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_EQ(in.diskseq, d.diskseq);
	/* It can be called again. */
	signal_each(0, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

TEST_F(ctl, detach_interrupted_until_timeout)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, SECONDS(1) / 4);
	int fd = attach_fd(FIRST, self->file, 0, 0), interrupted = 0;

	ASSERT_GE(fd, 0);
	signal_each(20, 0);
	while (ioctl(lt_control(), LOOP_CTL_DETACH, &d) && errno == EINTR)
		interrupted++;
	EXPECT_STREQ("ETIMEDOUT", lt_errname(errno));
	EXPECT_GT(interrupted, 0);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	signal_each(0, 0);
	close(fd);
}

struct changer {
	int fd;
	int file;
	pthread_t waiter;
	atomic_bool done;
};

static void *change_and_interrupt(void *arg)
{
	struct changer *c = arg;

	lt_sleep_ms(200);
	if (ioctl(c->fd, LOOP_CHANGE_FD, c->file))
		lt_die("LOOP_CHANGE_FD");
	while (!c->done) {
		pthread_kill(c->waiter, SIGUSR1);
		lt_sleep_ms(10);
	}
	return NULL;
}

/* The binding is told by the number that it has now. */
TEST_F(ctl, detach_interrupted_after_change)
{
	struct changer c = { .file = self->file, .waiter = pthread_self() };
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	uint64_t before;
	pthread_t t;

	c.fd = attach_fd(FIRST, self->file, 0, READ_ONLY);
	ASSERT_GE(c.fd, 0);
	before = lt_diskseq(c.fd);
	signal_each(0, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, change_and_interrupt, &c));
	LT_EXPECT_ERR("EINTR", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	c.done = true;
	pthread_join(t, NULL);
	EXPECT_NE(before, d.diskseq);
	EXPECT_EQ(lt_diskseq(c.fd), d.diskseq);
	close(c.fd);
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
}

/* With SA_RESTART the limit is still one of the whole. */
TEST_F(ctl, detach_restarts)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, SECONDS(1) / 4);
	struct closer c = { .delay = 200000 };
	pthread_t t;

	c.fd = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(c.fd, 0);
	signal_each(20, SA_RESTART);
	LT_EXPECT_ERR("ETIMEDOUT", ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	EXPECT_GT(signals, 0);
	d = to_detach(FIRST, WAIT, FOREVER);
	ASSERT_EQ(0, pthread_create(&t, NULL, close_later, &c));
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d)) {
		TH_LOG("%s", lt_errname(errno));
	}
	signal_each(0, 0);
	pthread_join(t, NULL);
	EXPECT_FALSE(lt_sysfs_bound(FIRST));
}

/* Nowhere to write what is left to */
TEST_F(ctl, detach_interrupted_fault)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, SECONDS(10000)), *ro;
	int fd = attach_fd(FIRST, self->file, 0, 0);

	ASSERT_GE(fd, 0);
	ro = unwritable(&d, sizeof(d));
	signal_each(20, 0);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_DETACH, ro));
	signal_each(0, 0);
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	close(fd);
}

TEST_F(ctl, detach_killed)
{
	struct loop_ctl_detach d = to_detach(FIRST, WAIT, FOREVER);
	int fd = attach_fd(FIRST, self->file, 0, 0), i, status;

	ASSERT_GE(fd, 0);
	for (i = 0; i < 5; i++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			ioctl(lt_control(), LOOP_CTL_DETACH, &d);
			_exit(1);
		}
		lt_sleep_ms(10 * i);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_TRUE(lt_sysfs_bound(FIRST));
	EXPECT_EQ(1, openers(FIRST));
	close(fd);
	EXPECT_STREQ("ok", detach_from(FIRST));
}

/* LOOP_CTL_LIST */

/* All devices, @chunk at a time; the number of them. */
static int list_all(struct loop_ctl_entry *e, int room, uint32_t chunk,
		    uint32_t flags, int fd)
{
	struct loop_ctl_list l = to_list(0, 0, NULL, flags, fd);
	int count = 0;

	do {
		l.entries = (uintptr_t)(e + count);
		l.count = chunk;
		if (count + (int)chunk > room ||
		    ioctl(lt_control(), LOOP_CTL_LIST, &l))
			return -1;
		count += l.count;
	} while (l.start != UINT32_MAX);
	return count;
}

TEST_F(ctl, list_bound_device)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, EPHEMERAL,
						AUTOCLEAR | PARTSCAN);
	struct loop_ctl_entry e;
	struct stat st;
	int fd;

	lt_label_two(self->file);
	a.offset = 512;
	a.sizelimit = 4 * SIZE;
	a.block_size = 1024;
	memset(a.name, 'x', 60);
	ASSERT_STREQ("ok", attach(&a));
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(FIRST, e.index);
	EXPECT_EQ(LOOP_STATE_BOUND, e.state);
	EXPECT_EQ(AUTOCLEAR | PARTSCAN, e.lo_flags);
	EXPECT_EQ(1024, e.block_size);
	EXPECT_EQ(512, e.offset);
	EXPECT_EQ(4 * SIZE, e.sizelimit);
	EXPECT_EQ(SIZE - 512, e.nr_bytes);
	EXPECT_EQ(lt_huge_dev(st.st_dev), e.backing_dev);
	EXPECT_EQ(st.st_ino, e.backing_ino);
	EXPECT_EQ(a.diskseq, e.diskseq);
	EXPECT_EQ(1, e.openers);
	EXPECT_EQ(EPHEMERAL, e.attach_flags);
	EXPECT_EQ(0, memcmp(a.name, e.name, sizeof(e.name)));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(2, openers(FIRST));
	close(fd);
	EXPECT_EQ(1, openers(FIRST));
	/* What LOOP_SET_STATUS64 makes of it. */
	ASSERT_EQ(0, ioctl(a.device_fd, LOOP_SET_STATUS64,
			   (&(struct loop_info64) { .lo_sizelimit = HALF })));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(PARTSCAN, e.lo_flags);
	EXPECT_EQ(0, e.offset);
	EXPECT_EQ(HALF, e.sizelimit);
	EXPECT_EQ(HALF, e.nr_bytes);
	/* Of the old name nothing is left. */
	EXPECT_TRUE(lt_zeroed(e.name, sizeof(e.name)));
}

TEST_F(ctl, list_unbound_device)
{
	struct loop_ctl_entry e;
	int fd;

	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0,
				     AUTOCLEAR | READ_ONLY));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_UNBOUND, e.state);
	EXPECT_EQ(lt_sysfs_num(FIRST, "diskseq"), e.diskseq);
	EXPECT_EQ(0, e.openers);
	EXPECT_TRUE(lt_zeroed(&e.lo_flags, offsetof(struct loop_ctl_entry,
						    diskseq) -
			      offsetof(struct loop_ctl_entry, lo_flags)));
	EXPECT_TRUE(lt_zeroed(&e.attach_flags, sizeof(e) -
			      offsetof(struct loop_ctl_entry, attach_flags)));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_UNBOUND, e.state);
	EXPECT_EQ(1, e.openers);
	close(fd);
}

TEST_F(ctl, list_rundown)
{
	int fd = attach_fd(FIRST, self->file, 0, 0);
	struct loop_ctl_list l;
	struct loop_ctl_entry e;
	struct stat st;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_RUNDOWN, e.state);
	EXPECT_EQ(st.st_ino, e.backing_ino);
	EXPECT_EQ(SIZE, e.nr_bytes);
	EXPECT_EQ(1, e.openers);
	/* It still has a backing file. */
	l = to_list(FIRST, 1, &e, LOOP_LIST_BOUND, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.count);
	EXPECT_EQ(FIRST, e.index);
	close(fd);
}

TEST_F(ctl, list_partition_opener)
{
	int fd, part;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	part = lt_open_part(FIRST, 1, O_RDONLY);
	ASSERT_GE(part, 0);
	EXPECT_EQ(2, openers(FIRST));
	close(fd);
	EXPECT_EQ(1, openers(FIRST));
	close(part);
	EXPECT_EQ(0, openers(FIRST));
}

TEST_F(ctl, list_cursor)
{
	static struct loop_ctl_entry all[1024], some[1024];
	struct loop_ctl_list l;
	int count, i;
	uint32_t chunk;

	/* Gaps, at the end too. */
	for (i = 0; i < NUMBERS - 1; i += 2)
		ASSERT_STREQ("ok", attach_to(FIRST + i, self->file,
					     i % 4 ? NO_FD : 0,
					     i % 4 ? 0 : AUTOCLEAR));
	l = to_list(0, ARRAY_SIZE(all), all, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(UINT32_MAX, l.start);
	count = l.count;
	EXPECT_EQ(lt_count_devices(), count);
	for (i = 0; i < count; i++) {
		if (i)
			EXPECT_GT(all[i].index, all[i - 1].index);
		EXPECT_TRUE(lt_exists(all[i].index));
		EXPECT_EQ(lt_sysfs_bound(all[i].index),
			  all[i].state == LOOP_STATE_BOUND);
	}
	for (chunk = 1; chunk < 8; chunk++) {
		memset(some, 0x5a, sizeof(some));
		ASSERT_EQ(count, list_all(some, ARRAY_SIZE(some), chunk, 0, 0));
		EXPECT_EQ(0, memcmp(all, some, count * sizeof(*all)));
	}
	/* Room for exactly all there are: nothing more to tell, or 0 more. */
	l = to_list(0, count, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(count, l.count);
	if (l.start != UINT32_MAX) {
		EXPECT_GT(l.start, all[count - 1].index);
		l.count = 1;
		ASSERT_STREQ("ok", list(&l));
		EXPECT_EQ(0, l.count);
	}
	EXPECT_EQ(UINT32_MAX, l.start);
	/* From the middle, and from a number that is not there. */
	l = to_list(FIRST + 2, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(FIRST + 2, some[0].index);
	EXPECT_GT(l.start, FIRST + 2);
	EXPECT_LE(l.start, FIRST + 4);
	l = to_list(FIRST + 3, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(FIRST + 4, some[0].index);
	/* From behind them all. */
	l = to_list(all[count - 1].index + 1, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_EQ(UINT32_MAX, l.start);
	l = to_list(INT_MAX, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_EQ(UINT32_MAX, l.start);
	l = to_list(UINT32_MAX, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_EQ(UINT32_MAX, l.start);
}

/* No room is no error, and nothing is lost by it. */
TEST_F(ctl, list_no_room)
{
	struct loop_ctl_list l = to_list(FIRST, 0, NULL, 0, 0);
	struct loop_ctl_entry e;

	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_GE(l.start, FIRST);
	EXPECT_LE(l.start, FIRST + 1);
	l.count = 1;
	l.entries = (uintptr_t)&e;
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.count);
	EXPECT_EQ(FIRST + 1, e.index);
}

TEST_F(ctl, list_filters)
{
	static struct loop_ctl_entry e[1024];
	int other, low, node, count, i, bound = 0;
	char path[80];

	snprintf(path, sizeof(path), "%s/other", self->dir);
	other = lt_file(path, SIZE, 5);
	EXPECT_EQ(0, list_all(e, ARRAY_SIZE(e), 16, LOOP_LIST_FD, self->file));
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, NO_FD, 0));
	EXPECT_STREQ("ok", attach_to(FIRST + 2, other, NO_FD, 0));
	low = attach_fd(FIRST + 3, self->file, 0, READ_ONLY);
	EXPECT_STREQ("ok", attach_to(FIRST + 4, low, NO_FD, 0));

	count = list_all(e, ARRAY_SIZE(e), 3, LOOP_LIST_BOUND, 0);
	ASSERT_GE(count, 4);
	for (i = 0; i < count; i++) {
		EXPECT_EQ(LOOP_STATE_BOUND, e[i].state);
		bound += e[i].index >= FIRST;
	}
	EXPECT_EQ(4, bound);
	for (i = 0; i < 2; i++) {
		uint32_t flags = LOOP_LIST_FD | (i ? LOOP_LIST_BOUND : 0);

		ASSERT_EQ(2, list_all(e, ARRAY_SIZE(e), 1, flags, self->file));
		EXPECT_EQ(FIRST + 1, e[0].index);
		EXPECT_EQ(FIRST + 3, e[1].index);
		ASSERT_EQ(1, list_all(e, ARRAY_SIZE(e), 1, flags, other));
		EXPECT_EQ(FIRST + 2, e[0].index);
		/* A block device, whatever node it was opened by */
		ASSERT_EQ(1, list_all(e, ARRAY_SIZE(e), 1, flags, low));
		EXPECT_EQ(FIRST + 4, e[0].index);
		node = lt_open(FIRST + 3, O_RDONLY);
		ASSERT_EQ(1, list_all(e, ARRAY_SIZE(e), 1, flags, node));
		EXPECT_EQ(FIRST + 4, e[0].index);
		close(node);
	}
	/* How the file is open does not matter, nor what kind it is. */
	node = open(self->path, O_WRONLY | O_CLOEXEC);
	EXPECT_EQ(2, list_all(e, ARRAY_SIZE(e), 1, LOOP_LIST_FD, node));
	close(node);
	node = open(self->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EXPECT_EQ(0, list_all(e, ARRAY_SIZE(e), 1, LOOP_LIST_FD, node));
	close(node);
	EXPECT_STREQ("ok", detach_from(FIRST + 4));
}

TEST_F(ctl, list_entry_size)
{
	const uint32_t page = sysconf(_SC_PAGESIZE);
	const uint32_t sizes[] = {
		4, 8, 15, 16, 72, 80, 143, 144, 145, 200, 512, page,
	};
	const uint32_t bad[] = { 0, 1, 3, page + 1, UINT32_MAX };
	struct loop_ctl_entry want[2];
	static uint8_t buf[2 * LARGEST_PAGE + 64];
	unsigned int i, k;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	ASSERT_STREQ("ok", attach_to(FIRST + 1, self->file, NO_FD, 0));
	ASSERT_TRUE(lt_entry(FIRST, &want[0]));
	ASSERT_TRUE(lt_entry(FIRST + 1, &want[1]));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		/* At any address, too. */
		uint8_t *at = buf + 3 * i % 8;
		struct loop_ctl_list l = to_list(FIRST, 2, at, 0, 0);
		uint32_t part = sizes[i] < sizeof(*want) ? sizes[i] :
							   sizeof(*want);

		memset(buf, 0xa5, sizeof(buf));
		l.entry_size = sizes[i];
		ASSERT_STREQ("ok", list(&l));
		ASSERT_EQ(2, l.count);
		EXPECT_EQ(sizes[i], l.entry_size);
		for (k = 0; k < 2; k++) {
			EXPECT_EQ(0, memcmp(at, &want[k], part));
			EXPECT_TRUE(lt_zeroed(at + part, sizes[i] - part));
			at += sizes[i];
		}
		/* Nothing behind them is touched. */
		for (; at < buf + sizeof(buf); at++)
			ASSERT_EQ(0xa5, *at);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct loop_ctl_list l = to_list(FIRST, 2, buf, 0, 0);

		l.entry_size = bad[i];
		EXPECT_STREQ("EINVAL", list(&l));
	}
}

TEST_F(ctl, list_sizes)
{
	static const uint32_t small[] = {
		0, 1, 4, 24, LOOP_CTL_LIST_SIZE_VER0 - 1,
	};
	struct loop_ctl_entry e;
	struct loop_ctl_list l = to_list(FIRST, 1, &e, 0, 0), *b;
	uint32_t page = sysconf(_SC_PAGESIZE);
	static uint8_t buf[2 * LARGEST_PAGE];
	unsigned int i;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	for (i = 0; i < ARRAY_SIZE(small); i++) {
		l.size = small[i];
		EXPECT_STREQ("EINVAL", list(&l));
	}
	l.size = page + 1;
	EXPECT_STREQ("E2BIG", list(&l));
	l.size = UINT32_MAX;
	EXPECT_STREQ("E2BIG", list(&l));
	b = (void *)buf;
	*b = l;
	b->size = page;
	buf[page - 1] = 1;
	EXPECT_STREQ("E2BIG", list(b));
	buf[page - 1] = 0;
	EXPECT_STREQ("ok", list(b));
	EXPECT_EQ(1, b->count);
	EXPECT_EQ(page, b->size);
	EXPECT_TRUE(lt_zeroed(buf + sizeof(l), sizeof(buf) - sizeof(l)));
}

TEST_F(ctl, list_invalid)
{
	struct loop_ctl_entry e;
	struct loop_ctl_list l;
	unsigned int i;
	int fd;

	for (i = 0; i < 32; i++) {
		l = to_list(0, 1, &e, 1U << i, self->file);
		if (l.flags > LOOP_LIST_FD)
			EXPECT_STREQ("EINVAL", list(&l));
	}
	/* An fd that is not asked for */
	l = to_list(0, 1, &e, 0, self->file);
	EXPECT_STREQ("EINVAL", list(&l));
	l = to_list(0, 1, &e, LOOP_LIST_BOUND, -1);
	EXPECT_STREQ("EINVAL", list(&l));
	/* One that is, and is not there */
	l = to_list(0, 1, &e, LOOP_LIST_FD, -1);
	EXPECT_STREQ("EBADF", list(&l));
	l = to_list(0, 1, &e, LOOP_LIST_FD, 1000000);
	EXPECT_STREQ("EBADF", list(&l));
	fd = open(self->path, O_PATH | O_CLOEXEC);
	l = to_list(0, 1, &e, LOOP_LIST_FD, fd);
	EXPECT_STREQ("EBADF", list(&l));
	close(fd);
}

TEST_F(ctl, list_fault)
{
	struct loop_ctl_entry e = { 0 };
	struct loop_ctl_list l = to_list(FIRST, 1, &e, 0, 0);
	uint8_t *p;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_LIST, NULL));
	p = at_edge(&l, sizeof(l) - 1);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_LIST, p));
	EXPECT_STREQ("EFAULT", list(unwritable(&l, sizeof(l))));
	/* The array */
	l.entries = 0;
	EXPECT_STREQ("EFAULT", list(&l));
	l.entries = UINT64_MAX - 7;
	EXPECT_STREQ("EFAULT", list(&l));
	l.entries = (uintptr_t)lt_edge() - sizeof(e) + 1;
	EXPECT_STREQ("EFAULT", list(&l));
	l.entries = (uintptr_t)unwritable(&e, sizeof(e));
	EXPECT_STREQ("EFAULT", list(&l));
	/* Room for one, though two are promised */
	l = to_list(FIRST, 2, lt_edge() - sizeof(e), 0, 0);
	EXPECT_STREQ("EFAULT", list(&l));
	/* What is promised and not needed does not matter. */
	l = to_list(FIRST + 1, 1000, lt_edge() - sizeof(e), 0, 0);
	EXPECT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.count);
}

/* Entries agree with themselves, however fast the devices come and go. */

static atomic_bool stop;

static void *come_and_go(void *arg)
{
	int file = *(int *)arg;

	while (!stop) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, file, 0, AUTOCLEAR);

		a.offset = HALF;
		if (ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
			continue;
		close(a.device_fd);
		a = lt_to_attach(FIRST, file, EPHEMERAL, AUTOCLEAR);
		a.sizelimit = 4096;
		a.block_size = 4096;
		memcpy(a.name, "other", 6);
		if (!ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
			close(a.device_fd);
	}
	return NULL;
}

static bool entry_agrees(const struct loop_ctl_entry *e)
{
	/* In rundown there comes a moment when the file is gone. */
	bool bound = e->state == LOOP_STATE_BOUND ||
		     (e->state == LOOP_STATE_RUNDOWN && e->block_size);

	if (!bound)
		return lt_zeroed(&e->lo_flags, 48) && !e->attach_flags &&
		       lt_zeroed(e->name, sizeof(e->name));
	if (e->offset)
		return e->offset == HALF && !e->sizelimit &&
		       e->nr_bytes == HALF && e->block_size == 512 &&
		       !e->attach_flags && !e->name[0] && e->diskseq;
	return e->sizelimit == 4096 && e->nr_bytes == 4096 &&
	       e->block_size == 4096 && e->attach_flags == EPHEMERAL &&
	       !strcmp((char *)e->name, "other") && e->diskseq;
}

TEST_F_TIMEOUT(ctl, list_is_consistent, 600)
{
	struct loop_ctl_entry e;
	int i, seen = 0;
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, come_and_go, &self->file));
	/* the other thread may not have run yet */
	for (i = 0; i < 20000 || !seen; i++) {
		if (!lt_entry(FIRST, &e))
			continue;
		seen++;
		ASSERT_TRUE(entry_agrees(&e)) {
			TH_LOG("state %u %llu+%llu %llu/%u flags %u/%u name %s",
			       e.state, (unsigned long long)e.offset,
			       (unsigned long long)e.sizelimit,
			       (unsigned long long)e.nr_bytes, e.block_size,
			       e.lo_flags, e.attach_flags, e.name);
		}
	}
	stop = true;
	pthread_join(t, NULL);
	EXPECT_GT(seen, 0);
}

/* All of them */

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

/* What nobody may do with each of these; 0 if it is as it should be. */
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
	/* whoever may write to it may do the same as root */
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

/* Everything that calls on devices and the control device return. */
struct outputs {
	struct loop_info64 info;
	struct loop_info old;
	struct loop_ctl_list l;
	struct loop_ctl_entry e[2];
	struct loop_ctl_attach a;
	struct loop_ctl_detach d;
};

/* Leaves @byte on the kernel's stack, as far as these calls reach. */
static void poison(uint8_t byte)
{
	struct timeval now = { 0 };
	struct pollfd polled[30];
	struct iovec iov[8];
	fd_set set[3];

	memset(polled, byte, sizeof(polled));
	memset(iov, byte, sizeof(iov));
	memset(set, byte, sizeof(set));
	poll(polled, ARRAY_SIZE(polled), 0);
	select(340, &set[0], &set[1], &set[2], &now);
	writev(lt_control(), iov, ARRAY_SIZE(iov));
}

/* @byte is what is there before, on the stack and in memory. */
static bool outputs_get(struct outputs *o, int fd, int file, uint8_t byte)
{
	bool interrupted;

	memset(o, byte, sizeof(*o));
	o->l = to_list(FIRST, 2, o->e, 0, 0);
	o->a = lt_to_attach(FIRST + 1, file, NO_FD, 0);
	memset(&o->a.diskseq, byte, sizeof(o->a.diskseq));
	memset(&o->a.device_fd, byte, sizeof(o->a.device_fd));
	o->d = to_detach(FIRST, WAIT, FOREVER);
	poison(byte);
	if (ioctl(fd, LOOP_GET_STATUS64, &o->info))
		return false;
	poison(byte);
	if (ioctl(fd, LOOP_GET_STATUS, &o->old))
		return false;
	poison(byte);
	if (ioctl(lt_control(), LOOP_CTL_LIST, &o->l) || o->l.count != 2)
		return false;
	poison(byte);
	if (ioctl(lt_control(), LOOP_CTL_ATTACH, &o->a))
		return false;
	lt_detach(FIRST + 1);
	poison(byte);
	signal_each(2, 0);
	interrupted = ioctl(lt_control(), LOOP_CTL_DETACH, &o->d) &&
		      errno == EINTR;
	signal_each(0, 0);
	/* those have to differ */
	o->e[1].diskseq = 0;
	o->a.diskseq = 0;
	return interrupted;
}

/*
 * No byte depends on what the caller or the stack had there, nor is one left
 * out. The kernel moves its stack a little at each call, hence the rounds.
 */
TEST_F(ctl, nothing_uninitialised)
{
	static const uint8_t bytes[] = { 0x00, 0xff, 0xa5, 0x3c };
	static struct outputs first, now;
	int fd = attach_fd(FIRST, self->file, 0, 0), i;
	size_t at;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	ASSERT_TRUE(outputs_get(&now, fd, self->file, bytes[0]));
	first = now;
	for (i = 0; i < 25 * ARRAY_SIZE(bytes); i++) {
		ASSERT_TRUE(outputs_get(&now, fd, self->file,
					bytes[i % ARRAY_SIZE(bytes)]));
		for (at = 0; at < sizeof(now); at++)
			if (((uint8_t *)&now)[at] != ((uint8_t *)&first)[at])
				break;
		ASSERT_EQ(sizeof(now), at)
			TH_LOG("byte %zu of struct outputs", at);
	}
	close(fd);
}

TEST_F(ctl, unknown_commands)
{
	struct loop_ctl_list l = to_list(0, 0, NULL, 0, 0);

	LT_EXPECT_ERR("ENOSYS", lt_ctl(0x4C86, 0));
	LT_EXPECT_ERR("ENOSYS", lt_ctl(_IOWR(0x4C, 0x86, l), (long)&l));
	LT_EXPECT_ERR("ENOSYS", lt_ctl(_IOWR(0x4C, 0xC3, l), (long)&l));
	LT_EXPECT_ERR("ENOSYS", lt_ctl(_IOWR(0x4D, 0x85, l), (long)&l));
}

/* The devices themselves do not know them. */
TEST_F(ctl, not_on_devices)
{
	struct loop_ctl_list l = to_list(0, 0, NULL, 0, 0);
	int fd = attach_fd(FIRST, self->file, 0, AUTOCLEAR);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, ioctl(fd, LOOP_CTL_LIST, &l));
	EXPECT_TRUE(errno == EINVAL || errno == ENOTTY);
}

TEST_F(ctl, features)
{
	static const char * const wanted[] = { "attach", "detach", "list" };
	int fd = open("/sys/class/misc/loop-control/features",
		      O_RDONLY | O_CLOEXEC);
	char text[4097], *word, *rest;
	unsigned int i, seen = 0;
	ssize_t len;

	ASSERT_GE(fd, 0);
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	ASSERT_GT(len, 0);
	text[len] = '\0';
	ASSERT_EQ('\n', text[len - 1]);
	text[len - 1] = '\0';
	EXPECT_FALSE(!!strpbrk(text, "\n\t"));
	EXPECT_FALSE(!!strstr(text, "  "));
	for (rest = text; (word = strsep(&rest, " "));)
		for (i = 0; i < ARRAY_SIZE(wanted); i++)
			if (!strcmp(word, wanted[i]))
				seen |= 1U << i;
	EXPECT_EQ(7, seen);
}

/* Threads */

struct crowd {
	atomic_int odd, attached;
	int rounds, flags;
};

/* What one has been given is nobody else's, until it is closed. */
static void *attach_and_close(void *arg)
{
	struct crowd *c = arg;
	int i, file = memfd_create("loop", MFD_CLOEXEC);
	struct stat st;

	if (ftruncate(file, 65536) || fstat(file, &st))
		lt_die("make a file");
	for (i = 0; i < c->rounds; i++) {
		struct loop_ctl_attach a = lt_to_attach(-1, file,
							c->flags, AUTOCLEAR);
		struct loop_info64 info;

		if (ioctl(lt_control(), LOOP_CTL_ATTACH, &a)) {
			c->odd++;
			continue;
		}
		c->attached++;
		if (ioctl(a.device_fd, LOOP_GET_STATUS64, &info) ||
		    info.lo_inode != st.st_ino || info.lo_number != a.index ||
		    lt_diskseq(a.device_fd) != a.diskseq ||
		    lt_size(a.device_fd) != 65536)
			c->odd++;
		close(a.device_fd);
	}
	close(file);
	return NULL;
}

/* Those who find devices the old way, remove what is unbound, detach. */
static void *meddle(void *arg)
{
	struct crowd *c = arg;
	int n = 0;

	while (!stop) {
		struct loop_ctl_detach d = to_detach(n, 0, 0);
		int fd;

		if (!ioctl(lt_control(), LOOP_CTL_DETACH, &d))
			c->odd++;
		if (lt_ctl(LOOP_CTL_GET_FREE, 0) < 0)
			c->odd++;
		fd = lt_open(n, O_RDONLY);
		if (fd >= 0)
			close(fd);
		lt_ctl(LOOP_CTL_REMOVE, n);
		n = (n + 1) % 24;
	}
	return NULL;
}

static void crowd_run(struct crowd *c)
{
	pthread_t t[10], m[2];
	unsigned int i;

	stop = false;
	for (i = 0; i < ARRAY_SIZE(m); i++)
		pthread_create(&m[i], NULL, meddle, c);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, attach_and_close, c);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	stop = true;
	for (i = 0; i < ARRAY_SIZE(m); i++)
		pthread_join(m[i], NULL);
	/* Who counts on the first eight finds them again. */
	for (i = 0; i < 8; i++)
		lt_ctl(LOOP_CTL_ADD, i);
}

TEST_F_TIMEOUT(ctl, threads, 240)
{
	struct crowd c = { .rounds = 30 };

	crowd_run(&c);
	EXPECT_EQ(0, c.odd);
	EXPECT_EQ(300, c.attached);
}

TEST_F_TIMEOUT(ctl, threads_ephemeral, 240)
{
	struct crowd c = { .rounds = 15, .flags = EPHEMERAL };

	crowd_run(&c);
	EXPECT_EQ(0, c.odd);
	EXPECT_EQ(150, c.attached);
}

TEST_HARNESS_MAIN
