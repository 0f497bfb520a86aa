// SPDX-License-Identifier: GPL-2.0
/*
 * Attach and detach: what LOOP_SET_FD, LOOP_CONFIGURE, LOOP_CLR_FD,
 * LOOP_CHANGE_FD, LOOP_SET_CAPACITY and the last close do, when the file is
 * released, and which uevents, partitions and attributes come and go.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "kselftest_harness.h"
#include "loop_test.h"

#define NUMBER 940
#define SECOND 941
#define SIZE (2 * LT_MIB)

FIXTURE(attach)
{
	char dir[32];
	char path[64];
	char label[64];
	int file, parts, fd, ue;
};

FIXTURE_SETUP(attach)
{
	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	ASSERT_EQ(0, lt_scratch(self->dir, "attach"));
	snprintf(self->path, sizeof(self->path), "%s/file", self->dir);
	self->file = lt_file(self->path, SIZE, 1);
	snprintf(self->label, sizeof(self->label), "%s/parts", self->dir);
	self->parts = lt_file(self->label, SIZE, 2);
	lt_label_two(self->parts);
	ASSERT_EQ(NUMBER, lt_new_device(NUMBER));
	self->fd = lt_open(NUMBER, O_RDWR);
	ASSERT_GE(self->fd, 0);
	self->ue = lt_uevent_open();
}

FIXTURE_TEARDOWN_PARENT(attach)
{
	lt_destroy(SECOND, 100);
	lt_destroy(NUMBER, 100);
	rmdir(self->dir);
}

static int dev_rw(void)
{
	return lt_open(NUMBER, O_RDWR);
}

static void close_files(struct _test_data_attach *self)
{
	close(self->file);
	close(self->parts);
}

/* Returns whether the device holds a file; if not, unmounts its file system. */
static bool files_in_use(struct _test_data_attach *self)
{
	if (!umount2(self->dir, 0))
		return false;
	return errno == EBUSY;
}

TEST_F(attach, set_fd)
{
	struct loop_info64 info;
	struct stat st;
	char buf[512];

	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	LT_EXPECT_ERR("ENXIO", ioctl(self->fd, LOOP_GET_STATUS64, &info));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(SIZE, lt_size(self->fd));
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(NUMBER, info.lo_number);
	EXPECT_EQ(st.st_ino, info.lo_inode);
	EXPECT_EQ(lt_huge_dev(st.st_dev), info.lo_device);
	EXPECT_EQ(0, info.lo_rdevice);
	EXPECT_EQ(0, info.lo_flags);
	EXPECT_TRUE(lt_sysfs_attached(NUMBER));
	EXPECT_STREQ(self->path, lt_sysfs(NUMBER, "loop/backing_file", buf,
					  sizeof(buf)));
	ASSERT_EQ(512, pread(self->fd, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 4096));
	LT_EXPECT_ERR("EBUSY", ioctl(self->fd, LOOP_SET_FD, self->parts));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	EXPECT_EQ(0, lt_sysfs_num(NUMBER, "size"));
}

TEST_F(attach, configure)
{
	struct loop_config c = {
		.fd = self->parts,
		.block_size = 4096,
		.info = {
			.lo_offset = 4096,
			.lo_sizelimit = LT_MIB,
			.lo_flags = AUTOCLEAR | PARTSCAN | LO_FLAGS_READ_ONLY,
			.lo_file_name = "given name",
		},
	};
	struct loop_info64 info;
	char buf[512];
	int val = 0;

	ASSERT_EQ(0, ioctl(self->fd, LOOP_CONFIGURE, &c));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(4096, info.lo_offset);
	EXPECT_EQ(LT_MIB, info.lo_sizelimit);
	EXPECT_EQ(c.info.lo_flags, info.lo_flags);
	EXPECT_STREQ("given name", (char *)info.lo_file_name);
	EXPECT_EQ(LT_MIB, lt_size(self->fd));
	EXPECT_EQ(4096, lt_sysfs_num(NUMBER, "queue/logical_block_size"));
	EXPECT_EQ(4096, lt_sysfs_num(NUMBER, "loop/offset"));
	EXPECT_EQ(LT_MIB, lt_sysfs_num(NUMBER, "loop/sizelimit"));
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "loop/autoclear"));
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "loop/partscan"));
	EXPECT_EQ(0, lt_sysfs_num(NUMBER, "loop/dio"));
	EXPECT_STREQ(self->label, lt_sysfs(NUMBER, "loop/backing_file", buf,
					   sizeof(buf)));
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "ro"));
	EXPECT_EQ(0, ioctl(self->fd, BLKROGET, &val));
	EXPECT_EQ(1, val);
}

TEST_F(attach, read_only_file)
{
	int ro = open(self->path, O_RDONLY | O_CLOEXEC), fd;
	char buf[512] = { 0 };

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, ro));
	EXPECT_EQ(LO_FLAGS_READ_ONLY, lt_flags(self->fd));
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "ro"));
	EXPECT_EQ(-1, pwrite(self->fd, buf, 512, 0));
	/* The next attachment is not read-only because of the last one. */
	ioctl(self->fd, LOOP_CLR_FD, 0);
	close(self->fd);
	fd = dev_rw();
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(0, lt_flags(fd));
	EXPECT_EQ(0, lt_sysfs_num(NUMBER, "ro"));
	EXPECT_EQ(512, pwrite(fd, buf, 512, 0));
	ioctl(fd, LOOP_CLR_FD, 0);
	close(fd);
}

/* When the file is released */

TEST_F(attach, file_is_held)
{
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	close(self->fd);
	close_files(self);
	EXPECT_TRUE(files_in_use(self));
	EXPECT_TRUE(lt_sysfs_attached(NUMBER));
	lt_detach(NUMBER);
	EXPECT_FALSE(files_in_use(self));
}

TEST_F(attach, autoclear_close_releases_file)
{
	ASSERT_EQ(0, lt_configure(self->fd, self->file, 0, AUTOCLEAR, 0, 0));
	close_files(self);
	EXPECT_TRUE(files_in_use(self));
	close(self->fd);
	EXPECT_FALSE(files_in_use(self));
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
}

/* The last close releases the file in time, in each of many tries. */
TEST_F(attach, autoclear_close_releases_file_always)
{
	int i, fd, busy = 0;

	close(self->fd);
	close_files(self);
	ASSERT_EQ(0, umount2(self->dir, 0));
	for (i = 0; i < 20; i++) {
		char page[4096];
		int file;

		ASSERT_EQ(0, mount("again", self->dir, "tmpfs", 0, NULL));
		file = lt_file(self->path, LT_MIB, i);
		fd = dev_rw();
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, lt_configure(fd, file, 0, AUTOCLEAR, 0, 0));
		close(file);
		memset(page, i, sizeof(page));
		EXPECT_EQ(4096, pwrite(fd, page, 4096, 65536));
		close(fd);
		if (umount2(self->dir, 0)) {
			busy++;
			umount2(self->dir, MNT_DETACH);
		}
	}
	EXPECT_EQ(0, busy);
}

TEST_F(attach, autoclear_set_and_unset)
{
	struct loop_info64 info = { .lo_flags = AUTOCLEAR };
	int fd;

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, &info));
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "loop/autoclear"));
	info.lo_flags = 0;
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, &info));
	EXPECT_EQ(0, lt_sysfs_num(NUMBER, "loop/autoclear"));
	close(self->fd);
	EXPECT_TRUE(lt_sysfs_attached(NUMBER));
	fd = dev_rw();
	info.lo_flags = AUTOCLEAR;
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	close(fd);
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
}

TEST_F(attach, autoclear_waits_for_last)
{
	int fd = lt_open(NUMBER, O_RDONLY);

	ASSERT_EQ(0, lt_configure(self->fd, self->file, 0, AUTOCLEAR, 0, 0));
	close_files(self);
	close(self->fd);
	EXPECT_TRUE(lt_sysfs_attached(NUMBER));
	EXPECT_TRUE(files_in_use(self));
	close(fd);
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	EXPECT_FALSE(files_in_use(self));
}

/* The exit of a process closes its devices. */
TEST_F(attach, exit_is_close)
{
	int status;
	pid_t pid;

	close(self->fd);
	close_files(self);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int fd = dev_rw(), file = open(self->path, O_RDWR);

		if (fd < 0 || lt_configure(fd, file, 0, AUTOCLEAR, 0, 0))
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	EXPECT_FALSE(files_in_use(self));
}

TEST_F(attach, clr_fd_with_others_open)
{
	int fd = lt_open(NUMBER, O_RDONLY);
	char buf[512];

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	EXPECT_EQ(AUTOCLEAR, lt_flags(self->fd));
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "loop/autoclear"));
	EXPECT_EQ(512, pread(fd, buf, 512, 4096));
	close_files(self);
	close(self->fd);
	EXPECT_TRUE(lt_sysfs_attached(NUMBER));
	EXPECT_EQ(512, pread(fd, buf, 512, 8192));
	EXPECT_TRUE(files_in_use(self));
	close(fd);
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	EXPECT_FALSE(files_in_use(self));
}

/* The close of the only opener detaches, and I/O works until then. */
TEST_F(attach, clr_fd_by_sole_opener)
{
	struct loop_info64 info;
	uint8_t buf[4096];
	int file;

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	lt_fill(buf, sizeof(buf), 77, 0);
	EXPECT_EQ(4096, pwrite(self->fd, buf, 4096, 65536));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	LT_EXPECT_ERR("ENXIO", ioctl(self->fd, LOOP_GET_STATUS64, &info));
	LT_EXPECT_ERR("ENXIO", ioctl(self->fd, LOOP_CLR_FD, 0));
	LT_EXPECT_ERR("EBUSY", ioctl(self->fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(4096, pwrite(self->fd, buf, 4096, 131072));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(4096, pread(self->fd, buf, 4096, 262144));
	EXPECT_TRUE(lt_filled(buf, 4096, 1, 262144));
	/* The test does not sync this block. */
	lt_fill(buf, sizeof(buf), 78, 0);
	EXPECT_EQ(4096, pwrite(self->fd, buf, 4096, 524288));
	close_files(self);
	EXPECT_TRUE(files_in_use(self));
	close(self->fd);
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));

	file = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(file, 0);
	EXPECT_EQ(4096, pread(file, buf, 4096, 65536));
	EXPECT_TRUE(lt_filled(buf, 4096, 77, 0));
	EXPECT_EQ(4096, pread(file, buf, 4096, 131072));
	EXPECT_TRUE(lt_filled(buf, 4096, 77, 0));
	EXPECT_EQ(4096, pread(file, buf, 4096, 524288));
	EXPECT_TRUE(lt_filled(buf, 4096, 78, 0));
	close(file);
	EXPECT_FALSE(files_in_use(self));
}

TEST_F(attach, clr_fd_when_free)
{
	LT_EXPECT_ERR("ENXIO", ioctl(self->fd, LOOP_CLR_FD, 0));
}

/* As mount(8) sets autoclear, umount releases the file. */
TEST_F(attach, umount_releases_file)
{
	char node[64], command[128], at[64];
	int i;

	snprintf(command, sizeof(command), "mkfs.ext4 -q -F %s 2>/dev/null",
		 self->path);
	if (system(command))
		SKIP(return, "no mkfs.ext4");
	snprintf(at, sizeof(at), "%s/mnt", self->dir);
	ASSERT_EQ(0, mkdir(at, 0700));
	snprintf(node, sizeof(node), "/dev/loop%d", NUMBER);
	for (i = 0; i < 3; i++) {
		if (i)
			self->fd = dev_rw();
		ASSERT_EQ(0, lt_configure(self->fd, self->file, 0, AUTOCLEAR, 0,
					  0));
		if (mount(node, at, "ext4", 0, NULL)) {
			EXPECT_STREQ("ENODEV", lt_errname(errno));
			SKIP(return, "no ext4");
		}
		close(self->fd);
		EXPECT_TRUE(lt_sysfs_attached(NUMBER));
		EXPECT_EQ(0, umount2(at, 0));
		EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	}
	close_files(self);
	EXPECT_FALSE(files_in_use(self));
}

/* Exclusive openers */

TEST_F(attach, exclusive_elsewhere)
{
	int other = lt_open(NUMBER, O_RDONLY | O_EXCL);

	ASSERT_GE(other, 0);
	LT_EXPECT_ERR("EBUSY", ioctl(self->fd, LOOP_SET_FD, self->file));
	LT_EXPECT_ERR("EBUSY", lt_configure(self->fd, self->file, 0, 0, 0, 0));
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	close(other);
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	other = lt_open(NUMBER, O_RDONLY | O_EXCL);
	ASSERT_GE(other, 0);
	LT_EXPECT_ERR("EBUSY", ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_EQ(512, lt_sysfs_num(NUMBER, "queue/logical_block_size"));
	close(other);
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 4096));
}

/* An exclusive opener may reconfigure the device, and keeps its claim. */
TEST_F(attach, exclusive_self)
{
	int fd = lt_open(NUMBER, O_RDWR | O_EXCL);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_BLOCK_SIZE, 1024));
	LT_EXPECT_ERR("EBUSY", lt_open(NUMBER, O_RDONLY | O_EXCL));
	close(fd);
	fd = lt_open(NUMBER, O_RDONLY | O_EXCL);
	EXPECT_GE(fd, 0);
	close(fd);
}

/* A claim on a partition claims neither another partition nor the device. */
TEST_F(attach, exclusive_partition)
{
	int one, two;

	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	one = lt_open_part(NUMBER, 1, O_RDWR | O_EXCL);
	two = lt_open_part(NUMBER, 2, O_RDWR | O_EXCL);
	ASSERT_GE(one, 0);
	ASSERT_GE(two, 0);
	LT_EXPECT_ERR("EBUSY", ioctl(one, LOOP_SET_BLOCK_SIZE, 4096));
	close(two);
	LT_EXPECT_ERR("EBUSY", ioctl(one, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_EQ(512, lt_sysfs_num(NUMBER, "queue/logical_block_size"));
	close(one);
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 4096));
}

/* A call that claims the device gives the claim back, even if it fails. */
TEST_F(attach, no_claim_is_left)
{
	int fd;

	LT_EXPECT_ERR("EBADF", ioctl(self->fd, LOOP_SET_FD, -1));
	LT_EXPECT_ERR("EINVAL", lt_configure(self->fd, self->file, 3, 0, 0, 0));
	fd = lt_open(NUMBER, O_RDONLY | O_EXCL);
	EXPECT_GE(fd, 0);
	close(fd);
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	LT_EXPECT_ERR("EINVAL", ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 3));
	fd = lt_open(NUMBER, O_RDONLY | O_EXCL);
	EXPECT_GE(fd, 0);
	close(fd);
}

/* Partitions */

TEST_F(attach, partscan)
{
	char buf[512];
	int part;

	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	EXPECT_EQ(0x6, lt_parts(NUMBER));
	part = lt_open_part(NUMBER, 2, O_RDWR);
	ASSERT_GE(part, 0);
	EXPECT_EQ(512 * LT_KIB, lt_size(part));
	EXPECT_EQ(512, pread(part, buf, 512, 0));
	EXPECT_TRUE(lt_filled(buf, 512, 2, LT_MIB));
	close(part);
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	EXPECT_EQ(0, lt_parts(NUMBER));
}

TEST_F(attach, partscan_late)
{
	struct loop_info64 info = { .lo_flags = PARTSCAN };

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->parts));
	EXPECT_EQ(0, lt_parts(NUMBER));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, &info));
	EXPECT_EQ(0x6, lt_parts(NUMBER));
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "loop/partscan"));
}

TEST_F(attach, no_partscan)
{
	int fd;

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->parts));
	LT_EXPECT_ERR("EINVAL", ioctl(self->fd, BLKRRPART, 0));
	fd = dev_rw();
	close(fd);
	EXPECT_EQ(0, lt_parts(NUMBER));
}

/* While a partition is open, LOOP_CLR_FD only sets autoclear. */
TEST_F(attach, open_partition)
{
	char buf[512];
	int part;

	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	part = lt_open_part(NUMBER, 1, O_RDONLY);
	ASSERT_GE(part, 0);
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	EXPECT_EQ(0x6, lt_parts(NUMBER));
	EXPECT_EQ(512, pread(part, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 2, 512 * LT_KIB + 4096));
	close(part);
	EXPECT_EQ(0, lt_parts(NUMBER));
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
}

/* Detaching also removes partitions that were added by hand. */
TEST_F(attach, blkpg_partitions)
{
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	ASSERT_EQ(0, lt_blkpg(self->fd, BLKPG_ADD_PARTITION, 3, LT_MIB,
			      65536));
	EXPECT_EQ(0x8, lt_parts(NUMBER));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	EXPECT_EQ(0, lt_parts(NUMBER));
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
}

TEST_F(attach, no_stale_partitions)
{
	int i, fd;

	close(self->fd);
	for (i = 0; i < 10; i++) {
		fd = dev_rw();
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, lt_configure(fd, i % 2 ? self->file : self->parts,
					  0, PARTSCAN | AUTOCLEAR, 0, 0));
		EXPECT_EQ(i % 2 ? 0 : 0x6, lt_parts(NUMBER));
		close(fd);
		EXPECT_EQ(0, lt_parts(NUMBER));
	}
}

TEST_F(attach, partition_node_takes_no_ioctls)
{
	struct loop_info64 info;
	int part;

	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	part = lt_open_part(NUMBER, 1, O_RDWR);
	ASSERT_GE(part, 0);
	/* The node of a partition returns the status of the disk. */
	EXPECT_EQ(0, ioctl(part, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(NUMBER, info.lo_number);
	close(part);
}

/* Uevents */

static const char *uevents(struct _test_data_attach *self, struct lt_buf *b)
{
	b->len = 0;
	b->s[0] = '\0';
	lt_uevents(self->ue, NUMBER, b);
	return b->s;
}

static int count_of(const char *s, const char *word)
{
	int count = 0;

	while ((s = strstr(s, word))) {
		count++;
		s += strlen(word);
	}
	return count;
}

TEST_F(attach, uevents_plain)
{
	struct lt_buf b;

	uevents(self, &b);
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	uevents(self, &b);
	EXPECT_EQ(1, count_of(b.s, "change:disk"));
	EXPECT_EQ(1, count_of(b.s, ":"));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	uevents(self, &b);
	EXPECT_EQ(1, count_of(b.s, "change:disk"));
	EXPECT_EQ(1, count_of(b.s, ":"));
}

TEST_F(attach, uevents_partscan)
{
	struct lt_buf b;

	uevents(self, &b);
	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	uevents(self, &b);
	EXPECT_EQ(0, strncmp(b.s,
			     " add:partition1 add:partition2 change:disk", 42))
		TH_LOG("got%s", b.s);
	EXPECT_EQ(3, count_of(b.s, ":"));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	EXPECT_EQ(0, lt_uevents(self->ue, NUMBER, NULL));
	close(self->fd);
	uevents(self, &b);
	EXPECT_EQ(1, count_of(b.s, "remove:partition1"));
	EXPECT_EQ(1, count_of(b.s, "remove:partition2"));
	EXPECT_EQ(1, count_of(b.s, "change:disk"));
	EXPECT_EQ(3, count_of(b.s, ":"));
}

struct resizer {
	int fd;
	int file;
	uint64_t size;
	atomic_int left;	/* changes until the next scan; -1: end */
};

static void *resize(void *arg)
{
	struct resizer *r = arg;
	int left;

	while ((left = r->left) >= 0) {
		if (!left) {
			sched_yield();
			continue;
		}
		if (ftruncate(r->file, r->size + left % 2 * 4096) ||
		    ioctl(r->fd, LOOP_SET_CAPACITY, 0))
			break;
		atomic_compare_exchange_strong(&r->left, &left, left - 1);
	}
	return NULL;
}

/* Partitions that are read while the size changes are announced. */
TEST_F(attach, uevents_partitions_and_size)
{
	int added = 0, removed = 0, i;
	struct resizer r = { 0 };
	struct lt_buf b;
	struct stat st;
	pthread_t t;

	ASSERT_EQ(0, fstat(self->parts, &st));
	r.file = self->parts;
	r.size = st.st_size;
	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	uevents(self, &b);
	r.fd = lt_open(NUMBER, O_RDWR);
	ASSERT_GE(r.fd, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, resize, &r));
	for (i = 0; i < 100; i++) {
		/* The socket's buffer has room for the events of so many changes. */
		r.left = 50;
		EXPECT_EQ(0, ioctl(self->fd, BLKRRPART, 0));
		r.left = 0;
		uevents(self, &b);
		added += count_of(b.s, "add:partition");
		removed += count_of(b.s, "remove:partition");
	}
	r.left = -1;
	pthread_join(t, NULL);
	EXPECT_EQ(200, removed);
	EXPECT_EQ(200, added);
	close(r.fd);
}

TEST_F(attach, uevents_autoclear)
{
	int other = lt_open(NUMBER, O_RDONLY);
	struct lt_buf b;

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	uevents(self, &b);
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	uevents(self, &b);
	EXPECT_EQ(0, count_of(b.s, "change:disk,media"));
	close(other);
	uevents(self, &b);
	EXPECT_EQ(1, count_of(b.s, "change:disk"));
}

/* A failed attach sends no uevent, and the next attach sends all of them. */
TEST_F(attach, uevents_after_failure)
{
	struct lt_buf b;

	uevents(self, &b);
	EXPECT_EQ(-1, lt_configure(self->fd, self->parts, 3, PARTSCAN, 0, 0));
	EXPECT_EQ(-1, lt_configure(self->fd, self->parts, 0, 2, 0, 0));
	EXPECT_EQ(-1, lt_configure(self->fd, self->parts, 0, PARTSCAN,
				   1ULL << 63, 0));
	EXPECT_EQ(-1, lt_configure(self->fd, -1, 0, PARTSCAN, 0, 0));
	EXPECT_STREQ("", uevents(self, &b));
	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	uevents(self, &b);
	EXPECT_EQ(1, count_of(b.s, "change:disk"));
	EXPECT_EQ(2, count_of(b.s, "add:partition"));
}

/* diskseq */

TEST_F(attach, diskseq)
{
	uint64_t seen[5];
	unsigned int i;
	int fd;

	close(self->fd);
	for (i = 0; i < ARRAY_SIZE(seen); i++) {
		fd = dev_rw();
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, lt_configure(fd, self->file, 0, AUTOCLEAR, 0, 0));
		seen[i] = lt_diskseq(fd);
		EXPECT_EQ(seen[i], (uint64_t)lt_sysfs_num(NUMBER, "diskseq"));
		if (i)
			EXPECT_GT(seen[i], seen[i - 1]);
		/* A changed setting does not make another disk. */
		EXPECT_EQ(0, ioctl(fd, LOOP_SET_BLOCK_SIZE, 4096));
		EXPECT_EQ(0, ioctl(fd, LOOP_SET_CAPACITY, 0));
		EXPECT_EQ(seen[i], lt_diskseq(fd));
		close(fd);
	}
}

/* Changes of an attached device */

TEST_F(attach, set_status_window)
{
	struct loop_info64 info = {
		.lo_offset = 65536, .lo_sizelimit = 131072,
	};
	uint8_t buf[512];

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(512, pread(self->fd, buf, 512, 0));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 0));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, &info));
	EXPECT_EQ(131072, lt_size(self->fd));
	/* Nothing of the old window is still cached. */
	EXPECT_EQ(512, pread(self->fd, buf, 512, 0));
	EXPECT_TRUE(lt_filled(buf, 512, 1, 65536));
	info.lo_sizelimit = 0;
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, &info));
	EXPECT_EQ(SIZE - 65536, lt_size(self->fd));
}

/* Dirty pages of the old range are written to the old range. */
TEST_F(attach, set_status_window_dirty)
{
	struct loop_info64 info = { .lo_offset = 65536 };
	uint8_t buf[4096];

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	lt_fill(buf, sizeof(buf), 9, 0);
	ASSERT_EQ(4096, pwrite(self->fd, buf, 4096, 8192));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, &info));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(4096, pread(self->file, buf, 4096, 8192));
	EXPECT_TRUE(lt_filled(buf, 4096, 9, 0));
	EXPECT_EQ(4096, pread(self->file, buf, 4096, 8192 + 65536));
	EXPECT_TRUE(lt_filled(buf, 4096, 1, 8192 + 65536));
}

static int status64(int fd, uint64_t offset, uint64_t sizelimit, uint32_t flags)
{
	struct loop_info64 info = {
		.lo_offset = offset, .lo_sizelimit = sizelimit, .lo_flags = flags,
	};

	return ioctl(fd, LOOP_SET_STATUS64, &info);
}

/* While another opener has a claim, the offset cannot change, and the size limit can. */
static void status_of_held(struct __test_metadata *_metadata, int fd)
{
	struct loop_info64 info;

	LT_EXPECT_ERR("EBUSY", status64(fd, 512, SIZE / 2, 0));
	LT_EXPECT_ERR("EBUSY", status64(fd, 0, SIZE / 2, 0));
	EXPECT_EQ(SIZE / 2, lt_size(fd));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(4096, info.lo_offset);
	memcpy(info.lo_file_name, "name", 5);
	info.lo_flags |= AUTOCLEAR;
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_STREQ("name", (char *)info.lo_file_name);
	EXPECT_EQ(AUTOCLEAR, info.lo_flags & AUTOCLEAR);
	EXPECT_EQ(0, status64(fd, 4096, SIZE / 2 + 512, 0));
	EXPECT_EQ(0, status64(fd, 4096, SIZE / 2, 0));
	EXPECT_EQ(0, status64(fd, 4096, 0, 0));
	EXPECT_EQ(SIZE - 4096, lt_size(fd));
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(0, ioctl(fd, LOOP_SET_DIRECT_IO, 0));
}

TEST_F(attach, set_status_held)
{
	int holder;

	ASSERT_EQ(0, lt_configure(self->fd, self->file, 0, 0, 4096, SIZE / 2));
	holder = lt_open(NUMBER, O_RDWR | O_EXCL);
	ASSERT_LE(0, holder);
	status_of_held(_metadata, self->fd);
	/* The holder itself may change the offset. */
	EXPECT_EQ(0, status64(holder, 0, SIZE / 2, 0));
	EXPECT_EQ(SIZE / 2, lt_size(self->fd));
	close(holder);
	EXPECT_EQ(0, status64(self->fd, 512, 4096, 0));
	/* No claim is left. */
	holder = lt_open(NUMBER, O_RDWR | O_EXCL);
	EXPECT_LE(0, holder);
	close(holder);
}

TEST_F(attach, set_status_held_partition)
{
	int part;

	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	part = lt_open_part(NUMBER, 1, O_RDWR | O_EXCL);
	ASSERT_LE(0, part);
	LT_EXPECT_ERR("EBUSY", status64(self->fd, 4096, 0, PARTSCAN));
	EXPECT_EQ(0, status64(self->fd, 0, 0, PARTSCAN));
	close(part);
}

/* The start of a mounted file system stays, and its end is not cut off. */
TEST_F(attach, set_status_mounted)
{
	char at[48], command[256];
	uint8_t buf[512];

	snprintf(at, sizeof(at), "%s/at", self->dir);
	ASSERT_EQ(0, mkdir(at, 0700));
	ASSERT_EQ(0, lt_configure(self->fd, self->file, 0, 0, 4096, LT_MIB));
	snprintf(command, sizeof(command), "mkfs.ext4 -q -F /dev/loop%d > /dev/null 2>&1",
		 NUMBER);
	if (system(command))
		SKIP(return, "no mkfs.ext4");
	snprintf(command, sizeof(command), "mount -t ext4 /dev/loop%d %s", NUMBER, at);
	ASSERT_EQ(0, system(command));
	LT_EXPECT_ERR("EBUSY", status64(self->fd, 8192, LT_MIB, 0));
	LT_EXPECT_ERR("EBUSY", status64(self->fd, 4096, LT_MIB - 512, 0));
	LT_EXPECT_ERR("EBUSY", status64(self->fd, 0, 0, 0));
	EXPECT_EQ(LT_MIB, lt_size(self->fd));
	EXPECT_EQ(0, status64(self->fd, 4096, LT_MIB, AUTOCLEAR));
	EXPECT_EQ(0, status64(self->fd, 4096, LT_MIB + 4096, 0));
	EXPECT_EQ(0, status64(self->fd, 4096, 0, 0));
	EXPECT_EQ(SIZE - 4096, lt_size(self->fd));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_CAPACITY, 0));
	LT_EXPECT_ERR("EBUSY", ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_EQ(512, pread(self->fd, buf, 512, LT_MIB));
	ASSERT_EQ(0, umount2(at, 0));
	EXPECT_EQ(0, status64(self->fd, 8192, 0, 0));
	EXPECT_EQ(0, rmdir(at));
}

/* struct loop_info has no size limit, and LOOP_SET_STATUS sets it to none. */
TEST_F(attach, set_status_held_old)
{
	struct loop_info info = { .lo_offset = 512 };
	int holder;

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	holder = lt_open(NUMBER, O_RDWR | O_EXCL);
	ASSERT_LE(0, holder);
	LT_EXPECT_ERR("EBUSY", ioctl(self->fd, LOOP_SET_STATUS, &info));
	info.lo_offset = 0;
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS, &info));
	close(holder);
}

/* A write error is reported to users of that file only. */
TEST_F(attach, write_error_ends)
{
	char dir[48], path[64], buf[4096] = { 0 };
	int fd, i, part;

	snprintf(dir, sizeof(dir), "%s/d", self->dir);
	ASSERT_EQ(0, mkdir(dir, 0700));
	ASSERT_EQ(0, mount("d", dir, "tmpfs", 0, "size=64k"));
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_EQ(0, ftruncate(fd, 2 * LT_MIB));
	lt_label_two(fd);
	ASSERT_EQ(0, lt_configure(self->fd, fd, 0, PARTSCAN, 0, 0));
	close(fd);
	part = lt_open_part(NUMBER, 2, O_RDWR);
	for (i = 0; i < 64; i++) {
		EXPECT_EQ(4096, pwrite(self->fd, buf, 4096, LT_MIB / 2 + i * 4096));
		EXPECT_EQ(4096, pwrite(part, buf, 4096, i * 4096));
	}
	close(part);
	ASSERT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);

	self->fd = dev_rw();
	ASSERT_EQ(0, lt_configure(self->fd, self->parts, 0, PARTSCAN, 0, 0));
	EXPECT_EQ(4096, pwrite(self->fd, buf, 4096, LT_MIB));
	EXPECT_EQ(0, fsync(self->fd));
	part = lt_open_part(NUMBER, 2, O_RDWR);
	EXPECT_EQ(4096, pwrite(part, buf, 4096, 0));
	EXPECT_EQ(0, fsync(part));
	close(part);
	umount2(dir, 0);
}

TEST_F(attach, set_capacity)
{
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	ASSERT_EQ(0, ftruncate(self->file, 2 * SIZE + 700));
	EXPECT_EQ(SIZE, lt_size(self->fd));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(2 * SIZE + 512, lt_size(self->fd));
	ASSERT_EQ(0, ftruncate(self->file, 65536));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(65536, lt_size(self->fd));
}

TEST_F(attach, change_fd)
{
	int ro = open(self->path, O_RDONLY | O_CLOEXEC);
	int other = open(self->label, O_RDONLY | O_CLOEXEC);
	char small_path[64], buf[512];
	int small;

	snprintf(small_path, sizeof(small_path), "%s/small", self->dir);
	small = lt_file(small_path, LT_MIB, 3);
	LT_EXPECT_ERR("ENXIO", ioctl(self->fd, LOOP_CHANGE_FD, other));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, ro));
	ASSERT_EQ(512, pread(self->fd, buf, 512, 0));
	LT_EXPECT_ERR("EINVAL", ioctl(self->fd, LOOP_CHANGE_FD, small));
	LT_EXPECT_ERR("EBADF", ioctl(self->fd, LOOP_CHANGE_FD, -1));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_CHANGE_FD, other));
	EXPECT_STREQ(self->label, lt_sysfs(NUMBER, "loop/backing_file", buf,
					   sizeof(buf)));
	ASSERT_EQ(512, pread(self->fd, buf, 512, 4096));
	EXPECT_TRUE(lt_filled(buf, 512, 2, 4096));
	close(small);
	/* The errors of the file come before that of the device. */
	ASSERT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	LT_EXPECT_ERR("EBADF", ioctl(self->fd, LOOP_CHANGE_FD, -1));
	close(ro);
	close(other);
}

TEST_F(attach, change_fd_not_read_only)
{
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	LT_EXPECT_ERR("EINVAL", ioctl(self->fd, LOOP_CHANGE_FD, self->parts));
}

/* LOOP_CHANGE_FD releases the old file at once. */
TEST_F(attach, change_fd_releases)
{
	char dir[48], path[64];
	int ro = open(self->path, O_RDONLY | O_CLOEXEC), fd;

	snprintf(dir, sizeof(dir), "%s/d", self->dir);
	ASSERT_EQ(0, mkdir(dir, 0700));
	ASSERT_EQ(0, mount("d", dir, "tmpfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = lt_file(path, SIZE, 4);
	close(fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, fd));
	close(fd);
	LT_EXPECT_ERR("EBUSY", umount2(dir, 0));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_CHANGE_FD, ro));
	EXPECT_EQ(0, umount2(dir, 0));
	close(ro);
}

TEST_F(attach, direct_io)
{
	uint8_t buf[4096];

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	EXPECT_EQ(0, lt_sysfs_num(NUMBER, "loop/dio"));
	if (ioctl(self->fd, LOOP_SET_DIRECT_IO, 1))
		SKIP(return, "no direct I/O on this file system");
	EXPECT_EQ(1, lt_sysfs_num(NUMBER, "loop/dio"));
	EXPECT_EQ(LO_FLAGS_DIRECT_IO, lt_flags(self->fd));
	EXPECT_EQ(4096, pread(self->fd, buf, 4096, 4096));
	EXPECT_TRUE(lt_filled(buf, 4096, 1, 4096));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_DIRECT_IO, 0));
	EXPECT_EQ(0, lt_sysfs_num(NUMBER, "loop/dio"));
}

TEST_F(attach, deleted_file)
{
	char buf[512], want[128];

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	ASSERT_EQ(0, unlink(self->path));
	snprintf(want, sizeof(want), "%s_(deleted)", self->path);
	EXPECT_STREQ(want, lt_sysfs(NUMBER, "loop/backing_file", buf,
				    sizeof(buf)));
}

/* Stacks */

TEST_F(attach, stacked)
{
	uint8_t buf[4096];
	int upper;

	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_FD, self->file));
	ASSERT_EQ(SECOND, lt_new_device(SECOND));
	upper = lt_open(SECOND, O_RDWR);
	ASSERT_EQ(0, lt_configure(upper, self->fd, 0, AUTOCLEAR, 4096, 0));
	EXPECT_EQ(SIZE - 4096, lt_size(upper));
	EXPECT_EQ(4096, pread(upper, buf, 4096, 0));
	EXPECT_TRUE(lt_filled(buf, 4096, 1, 4096));
	lt_fill(buf, 4096, 5, 0);
	EXPECT_EQ(4096, pwrite(upper, buf, 4096, 8192));
	EXPECT_EQ(0, fsync(upper));
	EXPECT_EQ(4096, pread(self->file, buf, 4096, 8192 + 4096));
	EXPECT_TRUE(lt_filled(buf, 4096, 5, 0));
	/* The lower device is open, as the upper one holds it. */
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->fd);
	EXPECT_TRUE(lt_sysfs_attached(NUMBER));
	close(upper);
	EXPECT_FALSE(lt_sysfs_attached(SECOND));
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	close_files(self);
	EXPECT_FALSE(files_in_use(self));
}

/* Killed and racing callers */

TEST_F_TIMEOUT(attach, killed_caller, 120)
{
	unsigned int i;
	int fd;

	close(self->fd);
	for (i = 0; i < 15; i++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			for (;;) {
				fd = dev_rw();
				lt_configure(fd, self->parts, 0,
					     PARTSCAN | AUTOCLEAR, 0, 0);
				ioctl(fd, LOOP_SET_BLOCK_SIZE, 4096);
				close(fd);
			}
		}
		usleep(5000 + i * 2333);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		EXPECT_FALSE(lt_sysfs_attached(NUMBER));
		EXPECT_EQ(0, lt_parts(NUMBER));
	}
	fd = lt_open(NUMBER, O_RDWR | O_EXCL);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, lt_configure(fd, self->parts, 0, PARTSCAN, 0, 0));
	EXPECT_EQ(0x6, lt_parts(NUMBER));
	ioctl(fd, LOOP_CLR_FD, 0);
	close(fd);
	close_files(self);
	EXPECT_FALSE(files_in_use(self));
}

static void *set_status_on(void *arg)
{
	struct loop_info64 info = { .lo_sizelimit = 0 };
	int fd = *(int *)arg;

	while (!ioctl(fd, LOOP_SET_STATUS64, &info))
		;
	return NULL;
}

/* The last close detaches, even if LOOP_SET_STATUS64 runs all the time. */
TEST_F_TIMEOUT(attach, clr_fd_is_final, 120)
{
	pthread_t t;
	unsigned int i;
	int fd;

	close(self->fd);
	for (i = 0; i < 100; i++) {
		fd = dev_rw();
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
		ASSERT_EQ(0, pthread_create(&t, NULL, set_status_on, &fd));
		usleep(i * 50);
		EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
		pthread_join(t, NULL);
		close(fd);
		ASSERT_FALSE(lt_sysfs_attached(NUMBER));
	}
}

/* Counts failed calls until the device is attached, and a moment longer. */
static void *fsync_until_attached(void *arg)
{
	int fd = *(int *)arg;
	unsigned long failed = 0;
	bool attached;

	do {
		attached = lt_size(fd);
		failed += !!fsync(fd);
	} while (!attached);
	return (void *)failed;
}

TEST_F_TIMEOUT(attach, fsync_while_attaching, 120)
{
	pthread_t t;
	unsigned int i;
	void *failed;
	int fd;

	close(self->fd);
	for (i = 0; i < 100; i++) {
		fd = dev_rw();
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, pthread_create(&t, NULL, fsync_until_attached, &fd));
		usleep(i * 50);
		ASSERT_EQ(0, ioctl(fd, LOOP_SET_FD, self->file));
		pthread_join(t, &failed);
		EXPECT_EQ(0, (unsigned long)failed);
		EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
		close(fd);
	}
}

struct racer {
	int file;
	int odd, won;
};

static void *attach_and_close(void *arg)
{
	struct racer *r = arg;
	int i;

	for (i = 0; i < 15; i++) {
		int fd = dev_rw();

		/* The last close of another thread may be detaching the device. */
		if (fd < 0) {
			r->odd += errno != ENXIO;
			continue;
		}
		if (!lt_configure(fd, r->file, 0, AUTOCLEAR, 0, 0))
			r->won++;
		else if (errno != EBUSY)
			r->odd++;
		close(fd);
	}
	return NULL;
}

TEST_F_TIMEOUT(attach, racing_callers, 120)
{
	struct racer r[4] = { 0 };
	pthread_t t[ARRAY_SIZE(r)];
	unsigned int i;
	int won = 0;

	close(self->fd);
	for (i = 0; i < ARRAY_SIZE(r); i++) {
		r[i].file = i % 2 ? self->file : self->parts;
		ASSERT_EQ(0, pthread_create(&t[i], NULL, attach_and_close,
					    &r[i]));
	}
	for (i = 0; i < ARRAY_SIZE(r); i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(0, r[i].odd);
		won += r[i].won;
	}
	EXPECT_GT(won, 0);
	EXPECT_FALSE(lt_sysfs_attached(NUMBER));
	close_files(self);
	EXPECT_FALSE(files_in_use(self));
}

TEST_HARNESS_MAIN
