// SPDX-License-Identifier: GPL-2.0
/*
 * Input that must be refused.  After each call the status, sysfs and uevents of
 * the device are as before, and a file can be attached.
 */
#include <pthread.h>
#include <sys/utsname.h>

#include "kselftest_harness.h"
#include "loop_test.h"

#define NUMBER 960
#define SECOND 961
#define THIRD 962
#define SIZE (2 * LT_MIB)

FIXTURE(bad)
{
	char dir[32];
	char path[64];
	int file, fd, ue;
	struct lt_buf before;
	uint64_t seq;
};

FIXTURE_VARIANT(bad)
{
	bool attached;
};

FIXTURE_VARIANT_ADD(bad, free)
{
	.attached = false,
};

FIXTURE_VARIANT_ADD(bad, attached)
{
	.attached = true,
};

static void remember(struct _test_data_bad *self)
{
	self->before.len = 0;
	lt_add_state(&self->before, NUMBER, self->fd);
	self->seq = lt_diskseq(self->fd);
	lt_uevents(self->ue, NUMBER, NULL);
}

FIXTURE_SETUP(bad)
{
	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	ASSERT_EQ(0, lt_scratch(self->dir, "bad"));
	snprintf(self->path, sizeof(self->path), "%s/file", self->dir);
	self->file = lt_file(self->path, SIZE, 1);
	lt_label_two(self->file);
	ASSERT_EQ(NUMBER, lt_new_device(NUMBER));
	self->fd = lt_open(NUMBER, O_RDWR);
	ASSERT_GE(self->fd, 0);
	self->ue = lt_uevent_open();
	if (variant->attached)
		ASSERT_EQ(0, lt_configure(self->fd, self->file, 1024, PARTSCAN,
					  0, 0));
	remember(self);
}

/* Brings the device into the only state in which a test makes sense. */
static bool want(struct _test_data_bad *self, bool attached)
{
	bool is_attached = lt_sysfs_attached(NUMBER);

	if (attached && !is_attached)
		is_attached = !lt_configure(self->fd, self->file, 1024,
					    PARTSCAN, 0, 0);
	if (!attached && is_attached) {
		ioctl(self->fd, LOOP_CLR_FD, 0);
		close(self->fd);
		self->fd = lt_open(NUMBER, O_RDWR);
		is_attached = lt_sysfs_attached(NUMBER);
	}
	remember(self);
	return attached == is_attached;
}

FIXTURE_TEARDOWN_PARENT(bad)
{
	lt_destroy(THIRD, 100);
	lt_destroy(SECOND, 100);
	lt_destroy(NUMBER, 100);
	rmdir(self->dir);
}

/* Returns whether the device is as at remember(), and sent no uevent since. */
static bool unchanged(struct __test_metadata *_metadata,
		      struct _test_data_bad *self)
{
	struct lt_buf now = { 0 };
	bool same;

	lt_add_state(&now, NUMBER, self->fd);
	EXPECT_STREQ(self->before.s, now.s);
	EXPECT_EQ(self->seq, lt_diskseq(self->fd));
	same = !strcmp(self->before.s, now.s) &&
	       self->seq == lt_diskseq(self->fd);
	now.len = 0;
	now.s[0] = '\0';
	lt_uevents(self->ue, NUMBER, &now);
	EXPECT_STREQ("", now.s);
	return same && !now.s[0];
}

/* Checks attach, scan and uevents, which are as if nothing had happened. */
static void still_works(struct __test_metadata *_metadata,
			struct _test_data_bad *self)
{
	char buf[512];
	int fd;

	if (lt_sysfs_attached(NUMBER)) {
		EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
		close(self->fd);
		self->fd = lt_open(NUMBER, O_RDWR);
		ASSERT_GE(self->fd, 0);
	}
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	fd = lt_open(NUMBER, O_RDONLY | O_EXCL);
	EXPECT_GE(fd, 0);
	close(fd);
	lt_uevents(self->ue, NUMBER, NULL);
	ASSERT_EQ(0, lt_configure(self->fd, self->file, 0, PARTSCAN, 0, 0));
	EXPECT_EQ(0x6, lt_parts(NUMBER));
	EXPECT_EQ(3, lt_uevents(self->ue, NUMBER, NULL));
	EXPECT_EQ(512, pread(self->fd, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 4096));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	EXPECT_EQ(0, lt_parts(NUMBER));
	/* No call that failed holds the file. */
	close(self->file);
	EXPECT_EQ(0, umount2(self->dir, 0));
}

#define REFUSED(name, expr)						\
	do {								\
		LT_EXPECT_ERR(name, expr);				\
		EXPECT_TRUE(unchanged(_metadata, self));		\
	} while (0)

/* Backing fds.  An attached device refuses all of them, with either error. */

static void refuse_fd(struct __test_metadata *_metadata,
		      struct _test_data_bad *self, bool attached, int fd,
		      const char *error)
{
	EXPECT_EQ(-1, ioctl(self->fd, LOOP_SET_FD, fd));
	if (!attached)
		EXPECT_STREQ(error, lt_errname(errno));
	EXPECT_TRUE(unchanged(_metadata, self));
	EXPECT_EQ(-1, lt_configure(self->fd, fd, 4096, PARTSCAN, 4096, 0));
	if (!attached)
		EXPECT_STREQ(error, lt_errname(errno));
	EXPECT_TRUE(unchanged(_metadata, self));
	if (attached)
		EXPECT_EQ(-1, ioctl(self->fd, LOOP_CHANGE_FD, fd));
	EXPECT_TRUE(unchanged(_metadata, self));
	if (fd >= 0)
		close(fd);
	still_works(_metadata, self);
}

TEST_F(bad, fd_closed)
{
	int fd = dup(self->file);

	close(fd);
	REFUSED("EBADF", ioctl(self->fd, LOOP_SET_FD, fd));
	refuse_fd(_metadata, self, variant->attached, -1, "EBADF");
}

TEST_F(bad, fd_directory)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	refuse_fd(_metadata, self, variant->attached, fd, "EINVAL");
}

TEST_F(bad, fd_pipe)
{
	int p[2];

	ASSERT_EQ(0, pipe(p));
	close(p[1]);
	refuse_fd(_metadata, self, variant->attached, p[0], "EINVAL");
}

TEST_F(bad, fd_socket)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	refuse_fd(_metadata, self, variant->attached, fd, "EINVAL");
}

TEST_F(bad, fd_char_device)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	refuse_fd(_metadata, self, variant->attached, fd, "EINVAL");
}

TEST_F(bad, fd_control)
{
	int fd = dup(lt_control());

	refuse_fd(_metadata, self, variant->attached, fd, "EINVAL");
}

TEST_F(bad, fd_o_path)
{
	int fd = open(self->path, O_PATH | O_CLOEXEC);

	refuse_fd(_metadata, self, variant->attached, fd, "EBADF");
}

/* Stock accepts it, and lets a caller read a file that it must not read. */
TEST_F(bad, fd_write_only)
{
	int fd = open(self->path, O_WRONLY | O_CLOEXEC);

	refuse_fd(_metadata, self, variant->attached, fd, "EBADF");
}

TEST_F(bad, fd_without_read_iter)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	ASSERT_GE(fd, 0);
	refuse_fd(_metadata, self, variant->attached, fd, "EINVAL");
}

TEST_F(bad, fd_is_the_device)
{
	int fd = dup(self->fd);

	EXPECT_EQ(-1, ioctl(self->fd, LOOP_SET_FD, self->fd));
	EXPECT_TRUE(unchanged(_metadata, self));
	EXPECT_EQ(-1, lt_configure(self->fd, self->fd, 0, 0, 0, 0));
	EXPECT_TRUE(unchanged(_metadata, self));
	EXPECT_EQ(-1, ioctl(self->fd, LOOP_CHANGE_FD, fd));
	EXPECT_TRUE(unchanged(_metadata, self));
	close(fd);
	still_works(_metadata, self);
}

/* The fd is of another node of the same device. */
TEST_F(bad, fd_is_the_device_by_another_node)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/node", self->dir);
	ASSERT_EQ(0, mknod(path, S_IFBLK | 0600, makedev(LT_MAJOR, NUMBER)));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, ioctl(self->fd, LOOP_SET_FD, fd));
	EXPECT_EQ(-1, lt_configure(self->fd, fd, 0, 0, 0, 0));
	EXPECT_TRUE(unchanged(_metadata, self));
	close(fd);
	still_works(_metadata, self);
}

/* The fd is of a partition of the device itself. */
TEST_F(bad, fd_is_a_partition_of_the_device)
{
	int part;

	ASSERT_TRUE(want(self, true));
	part = lt_open_part(NUMBER, 1, O_RDWR);
	ASSERT_GE(part, 0);
	EXPECT_EQ(-1, ioctl(self->fd, LOOP_SET_FD, part));
	EXPECT_EQ(-1, ioctl(self->fd, LOOP_CHANGE_FD, part));
	EXPECT_TRUE(unchanged(_metadata, self));
	close(part);
	still_works(_metadata, self);
}

/* A free device has no data. */
TEST_F(bad, fd_is_a_free_device)
{
	int fd;

	ASSERT_EQ(SECOND, lt_new_device(SECOND));
	fd = lt_open(SECOND, O_RDWR);
	ASSERT_GE(fd, 0);
	refuse_fd(_metadata, self, variant->attached, fd, "EINVAL");
}

/* Cycles: only a read-only device can change its file. */

FIXTURE(cycle)
{
	char dir[32];
	int ro, fd;
	struct lt_buf before;
};

FIXTURE_SETUP(cycle)
{
	char path[64];

	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	ASSERT_EQ(0, lt_scratch(self->dir, "cyc"));
	snprintf(path, sizeof(path), "%s/file", self->dir);
	close(lt_file(path, SIZE, 1));
	self->ro = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(NUMBER, lt_new_device(NUMBER));
	self->fd = lt_open(NUMBER, O_RDWR);
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->ro));
	lt_add_state(&self->before, NUMBER, self->fd);
}

FIXTURE_TEARDOWN_PARENT(cycle)
{
	lt_destroy(THIRD, 100);
	lt_destroy(SECOND, 100);
	lt_destroy(NUMBER, 100);
	rmdir(self->dir);
}

static int stack(int number, int below)
{
	int file = lt_open(below, O_RDONLY), fd, rc;

	if (lt_new_device(number) != number)
		return -1;
	fd = lt_open(number, O_RDWR);
	rc = ioctl(fd, LOOP_SET_FD, file);
	close(file);
	close(fd);
	return rc ? -1 : lt_open(number, O_RDONLY);
}

TEST_F(cycle, of_one)
{
	LT_EXPECT_ERR("EBADF", ioctl(self->fd, LOOP_CHANGE_FD, self->fd));
}

TEST_F(cycle, of_two)
{
	struct lt_buf now = { 0 };
	uint8_t buf[512];
	int upper = stack(SECOND, NUMBER);

	ASSERT_GE(upper, 0);
	LT_EXPECT_ERR("EBADF", ioctl(self->fd, LOOP_CHANGE_FD, upper));
	lt_add_state(&now, NUMBER, self->fd);
	EXPECT_STREQ(self->before.s, now.s);
	EXPECT_EQ(512, pread(upper, buf, 512, 8192));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 8192));
	close(upper);
}

TEST_F(cycle, of_three)
{
	struct lt_buf now = { 0 };
	uint8_t buf[512];
	int middle = stack(SECOND, NUMBER), upper;

	ASSERT_GE(middle, 0);
	upper = stack(THIRD, SECOND);
	ASSERT_GE(upper, 0);
	LT_EXPECT_ERR("EBADF", ioctl(self->fd, LOOP_CHANGE_FD, upper));
	LT_EXPECT_ERR("EBADF", ioctl(self->fd, LOOP_CHANGE_FD, middle));
	lt_add_state(&now, NUMBER, self->fd);
	EXPECT_STREQ(self->before.s, now.s);
	EXPECT_EQ(512, pread(upper, buf, 512, 8192));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 8192));
	close(upper);
	close(middle);
}

struct changer {
	pthread_barrier_t *start;
	int fd, below;
	bool changed;
};

static void *change_once(void *arg)
{
	struct changer *c = arg;

	pthread_barrier_wait(c->start);
	c->changed = !ioctl(c->fd, LOOP_CHANGE_FD, c->below);
	return NULL;
}

/* Each change alone is fine, both together would close a cycle. */
TEST_F_TIMEOUT(cycle, of_two_in_a_race, 120)
{
	pthread_barrier_t start;
	struct changer c[2];
	pthread_t t[2];
	unsigned int i, n;

	ASSERT_EQ(SECOND, lt_new_device(SECOND));
	c[0] = (struct changer) { &start, self->fd, lt_open(SECOND, O_RDONLY) };
	c[1] = (struct changer) { &start, lt_open(SECOND, O_RDWR),
				  lt_open(NUMBER, O_RDONLY) };
	ASSERT_EQ(0, ioctl(c[1].fd, LOOP_SET_FD, self->ro));
	pthread_barrier_init(&start, NULL, 2);
	for (n = 0; n < 50; n++) {
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, pthread_create(&t[i], NULL, change_once,
						    &c[i]));
		for (i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		EXPECT_EQ(1, c[0].changed + c[1].changed);
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, ioctl(c[i].fd, LOOP_CHANGE_FD, self->ro));
	}
	pthread_barrier_destroy(&start);
	for (i = 0; i < 2; i++)
		close(c[i].below);
	close(c[1].fd);
}

/* Block sizes */

/* From 6.15 on, with transparent huge pages, the block layer takes 64 KiB. */
static unsigned long largest_block_size(void)
{
	unsigned int major, minor;
	struct utsname u;

	if (!uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	    (major > 6 || (major == 6 && minor >= 15)) &&
	    !access("/sys/kernel/mm/transparent_hugepage", F_OK))
		return 65536;
	return getpagesize();
}

/* The test skips powers of two from 512 to the largest block size of this machine. */
static const unsigned long wrong_sizes[] = {
	1, 3, 256, 511, 513, 768, 1023, 1536, 4095, 5000, 8192, 65536, 65537, 131072,
	0x20000200, 0x20000400, 0x80000000, 0xfffffe00, 0xffffffff,
};

TEST_F(bad, block_sizes)
{
	unsigned long largest = largest_block_size();
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wrong_sizes); i++) {
		unsigned long size = wrong_sizes[i];

		if (size >= 512 && size <= largest && !(size & (size - 1)))
			continue;
		REFUSED(variant->attached ? "EINVAL" : "ENXIO",
			ioctl(self->fd, LOOP_SET_BLOCK_SIZE, size));
		REFUSED(variant->attached ? "EBUSY" : "EINVAL",
			lt_configure(self->fd, self->file, size, PARTSCAN, 0, 0));
	}
	still_works(_metadata, self);
}

/* Flags and reserved fields */

TEST_F(bad, unknown_flags)
{
	static const uint32_t flags[] = { 2, 32, 64, 0x80000000, 0xffffffff };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(-1, lt_configure(self->fd, self->file, 0, flags[i],
					   0, 0));
		/* An attached device refuses any flags. */
		if (!variant->attached)
			EXPECT_STREQ("EINVAL", lt_errname(errno));
		EXPECT_TRUE(unchanged(_metadata, self));
	}
	still_works(_metadata, self);
}

TEST_F(bad, reserved)
{
	struct loop_config c = { .fd = self->file };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(c.__reserved); i++) {
		c.__reserved[i] = i ? 1 : 1ULL << 63;
		EXPECT_EQ(-1, ioctl(self->fd, LOOP_CONFIGURE, &c));
		if (!variant->attached)
			EXPECT_STREQ("EINVAL", lt_errname(errno));
		EXPECT_TRUE(unchanged(_metadata, self));
		c.__reserved[i] = 0;
	}
	still_works(_metadata, self);
}

/* Offsets, limits, types, keys */

struct bad_info {
	uint64_t offset, limit;
	uint32_t type, key_size;
	const char *error;
};

static const struct bad_info bad_infos[] = {
	{ .offset = 1ULL << 63, .error = "EOVERFLOW" },
	{ .offset = UINT64_MAX, .error = "EOVERFLOW" },
	{ .limit = 1ULL << 63, .error = "EOVERFLOW" },
	{ .limit = UINT64_MAX, .error = "EOVERFLOW" },
	{ .offset = 4096, .limit = UINT64_MAX, .error = "EOVERFLOW" },
	{ .type = LO_CRYPT_XOR, .error = "EINVAL" },
	{ .type = LO_CRYPT_DES, .error = "EINVAL" },
	{ .type = LO_CRYPT_CRYPTOAPI, .error = "EINVAL" },
	{ .type = MAX_LO_CRYPT, .error = "EINVAL" },
	{ .type = UINT32_MAX, .error = "EINVAL" },
	{ .key_size = LO_KEY_SIZE + 1, .error = "EINVAL" },
	{ .key_size = UINT32_MAX, .error = "EINVAL" },
};

TEST_F(bad, status)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad_infos); i++) {
		const struct bad_info *b = &bad_infos[i];
		struct loop_config c = { .fd = self->file };
		int rc;

		c.info.lo_offset = b->offset;
		c.info.lo_sizelimit = b->limit;
		c.info.lo_encrypt_type = b->type;
		c.info.lo_encrypt_key_size = b->key_size;
		c.info.lo_flags = LO_FLAGS_AUTOCLEAR | PARTSCAN;
		memcpy(c.info.lo_file_name, "not to be seen", 15);
		rc = ioctl(self->fd, variant->attached ? LOOP_SET_STATUS64 :
							 LOOP_CONFIGURE,
			   variant->attached ? (void *)&c.info : (void *)&c);
		EXPECT_EQ(-1, rc)
			TH_LOG("case %u", i);
		EXPECT_STREQ(b->error, lt_errname(errno))
			TH_LOG("case %u", i);
		EXPECT_TRUE(unchanged(_metadata, self));
	}
	still_works(_metadata, self);
}

/* LOOP_SET_STATUS ignores types and keys, and its offset is an int. */
TEST_F(bad, old_status)
{
	struct loop_info info = {
		.lo_encrypt_type = MAX_LO_CRYPT,
		.lo_encrypt_key_size = LO_KEY_SIZE + 1,
	};

	ASSERT_TRUE(want(self, true));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS, &info));
	EXPECT_TRUE(unchanged(_metadata, self));
	info.lo_offset = -1;
	info.lo_flags = LO_FLAGS_AUTOCLEAR;
	REFUSED("EOVERFLOW", ioctl(self->fd, LOOP_SET_STATUS, &info));
	still_works(_metadata, self);
}

/* An offset past the end makes a device of size 0, which is no error. */
TEST_F(bad, offset_past_end)
{
	char buf[512];

	ASSERT_TRUE(want(self, false));
	EXPECT_EQ(0, lt_configure(self->fd, self->file, 0, 0, SIZE + 4096, 0));
	EXPECT_EQ(0, lt_size(self->fd));
	EXPECT_EQ(0, pread(self->fd, buf, 512, 0));
	still_works(_metadata, self);
}

TEST_F(bad, names_without_nul)
{
	struct loop_config c = { .fd = self->file };
	struct loop_info64 info;
	int rc;

	memset(c.info.lo_file_name, 'f', LO_NAME_SIZE);
	memset(c.info.lo_crypt_name, 'c', LO_NAME_SIZE);
	memset(c.info.lo_encrypt_key, 'k', LO_KEY_SIZE);
	rc = variant->attached ? ioctl(self->fd, LOOP_SET_STATUS64, &c.info) :
				 ioctl(self->fd, LOOP_CONFIGURE, &c);
	EXPECT_EQ(0, rc);
	memset(&info, 0x5a, sizeof(info));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(LO_NAME_SIZE - 1, strnlen((char *)info.lo_file_name,
					    LO_NAME_SIZE));
	EXPECT_LT(strnlen((char *)info.lo_crypt_name, LO_NAME_SIZE),
		  LO_NAME_SIZE);
	still_works(_metadata, self);
}

/* User pointers */

static void short_memory(struct __test_metadata *_metadata,
			 struct _test_data_bad *self, unsigned int cmd, size_t size)
{
	uint8_t *edge = lt_edge();
	size_t have;

	for (have = 0; have < size; have += 4) {
		memset(edge - have, 0, have);
		EXPECT_EQ(-1, ioctl(self->fd, cmd, edge - have));
		EXPECT_STREQ("EFAULT", lt_errname(errno))
			TH_LOG("%zu of %zu bytes", have, size);
	}
	EXPECT_EQ(-1, ioctl(self->fd, cmd, edge - size + 1));
	EXPECT_STREQ("EFAULT", lt_errname(errno));
	EXPECT_EQ(-1, ioctl(self->fd, cmd, (void *)8));
	EXPECT_STREQ("EFAULT", lt_errname(errno));
	EXPECT_EQ(-1, ioctl(self->fd, cmd, (void *)-8192L));
	EXPECT_STREQ("EFAULT", lt_errname(errno));
	EXPECT_TRUE(unchanged(_metadata, self));
}

TEST_F(bad, pointers)
{
	if (variant->attached) {
		short_memory(_metadata, self, LOOP_SET_STATUS64,
			     sizeof(struct loop_info64));
		short_memory(_metadata, self, LOOP_GET_STATUS64,
			     sizeof(struct loop_info64));
		short_memory(_metadata, self, LOOP_SET_STATUS,
			     sizeof(struct loop_info));
		short_memory(_metadata, self, LOOP_GET_STATUS,
			     sizeof(struct loop_info));
	} else {
		short_memory(_metadata, self, LOOP_CONFIGURE,
			     sizeof(struct loop_config));
	}
	REFUSED("EINVAL", ioctl(self->fd, LOOP_GET_STATUS64, NULL));
	REFUSED("EINVAL", ioctl(self->fd, LOOP_GET_STATUS, NULL));
	REFUSED("EFAULT", ioctl(self->fd, LOOP_SET_STATUS64, NULL));
	REFUSED("EFAULT", ioctl(self->fd, LOOP_SET_STATUS, NULL));
	REFUSED("EFAULT", ioctl(self->fd, LOOP_CONFIGURE, NULL));
	still_works(_metadata, self);
}

/* A structure may end where memory ends. */
TEST_F(bad, pointer_just_fits)
{
	struct loop_info64 *info = (void *)(lt_edge() - sizeof(*info));

	ASSERT_TRUE(want(self, true));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_GET_STATUS64, info));
	EXPECT_EQ(NUMBER, info->lo_number);
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, info));
	still_works(_metadata, self);
}

/* Calls that need an attached device */

TEST_F(bad, calls_on_free_device)
{
	struct loop_info64 info64 = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	struct loop_info info = { .lo_flags = LO_FLAGS_AUTOCLEAR };

	ASSERT_TRUE(want(self, false));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_SET_STATUS64, &info64));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_SET_STATUS, &info));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_GET_STATUS64, &info64));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_GET_STATUS, &info));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_CLR_FD, 0));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_CHANGE_FD, self->file));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_SET_CAPACITY, 0));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_SET_DIRECT_IO, 1));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_SET_DIRECT_IO, 0));
	REFUSED("ENXIO", ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 4096));
	still_works(_metadata, self);
}

TEST_F(bad, unknown_ioctls)
{
	static const unsigned int cmds[] = {
		0x4C0B, 0x4C0C, 0x4C7F, LOOP_CTL_ADD, LOOP_CTL_REMOVE,
		LOOP_CTL_GET_FREE, 0x4CFF,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		EXPECT_EQ(-1, ioctl(self->fd, cmds[i], 0));
	EXPECT_TRUE(unchanged(_metadata, self));
	still_works(_metadata, self);
}

/*
 * Without CAP_SYS_ADMIN, with an fd that was opened for reading only, no call
 * that changes the attachment works.
 */

static int denied(int rc)
{
	return rc != -1 || errno != EPERM;
}

TEST_F(bad, unprivileged)
{
	int fd = lt_open(NUMBER, O_RDONLY), status;
	pid_t pid;

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		struct loop_info64 info = { 0 };
		struct loop_info old = { 0 };
		int bad = 0;

		if (setresuid(65534, 65534, 65534))
			_exit(99);
		bad |= denied(ioctl(fd, LOOP_SET_STATUS, &old)) << 0;
		bad |= denied(ioctl(fd, LOOP_SET_STATUS64, &info)) << 1;
		bad |= denied(ioctl(fd, LOOP_SET_CAPACITY, 0)) << 2;
		bad |= denied(ioctl(fd, LOOP_SET_BLOCK_SIZE, 4096)) << 3;
		bad |= denied(ioctl(fd, LOOP_SET_DIRECT_IO, 1)) << 4;
		_exit(bad);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(unchanged(_metadata, self));
	close(fd);
	still_works(_metadata, self);
}

/* A change that fails half way changes nothing: all fields are checked. */
TEST_F(bad, nothing_half_done)
{
	struct loop_info64 info = {
		.lo_offset = 4096,
		.lo_sizelimit = 8192,
		.lo_flags = LO_FLAGS_AUTOCLEAR | PARTSCAN,
		.lo_file_name = "half done",
		.lo_encrypt_key_size = LO_KEY_SIZE + 1,
	};

	ASSERT_TRUE(want(self, true));
	REFUSED("EINVAL", ioctl(self->fd, LOOP_SET_STATUS64, &info));
	info.lo_encrypt_key_size = 0;
	info.lo_sizelimit = UINT64_MAX;
	REFUSED("EOVERFLOW", ioctl(self->fd, LOOP_SET_STATUS64, &info));
	still_works(_metadata, self);
}

TEST_HARNESS_MAIN
