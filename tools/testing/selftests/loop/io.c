// SPDX-License-Identifier: GPL-2.0
/*
 * Data through the device, buffered and direct: that it goes where it should
 * and nowhere else, and what errors below do to it.
 *
 * LOOP_TEST_DIR names a directory for the images, on a file system that has
 * direct I/O and punches holes; without it a tmpfs is used.
 */
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <linux/falloc.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "loop_test.h"

#define NUMBER 980
#define SIZE (8 * LT_MIB)
#define NULLB "nullb0"

static alignas(4096) uint8_t wbuf[LT_MIB];
static alignas(4096) uint8_t rbuf[LT_MIB + 512];

FIXTURE(io)
{
	char dir[32];
	char path[256];
	int file, fd, direct;
};

FIXTURE_VARIANT(io)
{
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(io, buffered)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(io, direct)
{
	.flags = LO_FLAGS_DIRECT_IO,
};

FIXTURE_SETUP(io)
{
	const char *dir = getenv("LOOP_TEST_DIR");

	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	ASSERT_EQ(0, lt_scratch(self->dir, "io"));
	snprintf(self->path, sizeof(self->path), "%s/loop-io",
		 dir ? dir : self->dir);
	self->file = lt_file(self->path, SIZE, 1);
	fsync(self->file);
	ASSERT_EQ(NUMBER, lt_new_device(NUMBER));
	self->fd = lt_open(NUMBER, O_RDWR);
	self->direct = lt_open(NUMBER, O_RDWR | O_DIRECT);
	ASSERT_GE(self->fd, 0);
	ASSERT_GE(self->direct, 0);
}

FIXTURE_TEARDOWN_PARENT(io)
{
	lt_destroy(NUMBER, 100);
	unlink(self->path);
	rmdir(self->dir);
}

static int attach_file(struct _test_data_io *self,
		       const struct _fixture_variant_io *variant,
		       uint64_t offset, uint64_t limit)
{
	return lt_configure(self->fd, self->file, 0, variant->flags, offset,
			    limit);
}

/* Returns whether the file has the pattern of @seed from @base on. */
static bool file_has(int fd, uint64_t at, size_t len, uint64_t seed,
		     uint64_t base)
{
	return pread(fd, rbuf, len, at) == (ssize_t)len &&
	       lt_filled(rbuf, len, seed, base);
}

TEST_F(io, read)
{
	uint64_t at;

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	for (at = 0; at < SIZE; at += LT_MIB) {
		ASSERT_EQ(LT_MIB, pread(self->fd, rbuf, LT_MIB, at));
		EXPECT_TRUE(lt_filled(rbuf, LT_MIB, 1, at));
		ASSERT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, at));
		EXPECT_TRUE(lt_filled(rbuf, LT_MIB, 1, at));
	}
	EXPECT_EQ(0, pread(self->fd, rbuf, 512, SIZE));
}

TEST_F(io, write)
{
	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	lt_fill(wbuf, sizeof(wbuf), 2, 0);
	EXPECT_EQ(sizeof(wbuf), pwrite(self->direct, wbuf, sizeof(wbuf),
				       LT_MIB));
	EXPECT_TRUE(file_has(self->file, LT_MIB, LT_MIB, 2, 0));
	EXPECT_EQ(5000, pwrite(self->fd, wbuf, 5000, 3 * LT_MIB + 77));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_TRUE(file_has(self->file, 3 * LT_MIB + 77, 5000, 2, 0));
	EXPECT_TRUE(file_has(self->file, 0, LT_MIB, 1, 0));
	EXPECT_TRUE(file_has(self->file, 2 * LT_MIB, LT_MIB, 1, 2 * LT_MIB));
	EXPECT_TRUE(file_has(self->file, 3 * LT_MIB + 5077, 4096, 1,
			     3 * LT_MIB + 5077));
	EXPECT_EQ(-1, pwrite(self->direct, wbuf, 4096, SIZE));
	EXPECT_EQ(SIZE, lseek(self->file, 0, SEEK_END));
}

/* Neither reads nor writes reach beyond offset and limit. */
TEST_F(io, window)
{
	const uint64_t offset = LT_MIB + 4096, limit = 131072;

	ASSERT_EQ(0, attach_file(self, variant, offset, limit));
	EXPECT_EQ(limit, lt_size(self->fd));
	EXPECT_EQ(limit, pread(self->direct, rbuf, sizeof(rbuf), 0));
	EXPECT_TRUE(lt_filled(rbuf, limit, 1, offset));
	lt_fill(wbuf, sizeof(wbuf), 3, 0);
	EXPECT_EQ(limit, pwrite(self->fd, wbuf, sizeof(wbuf), 0));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(4096, pwrite(self->direct, wbuf, 8192, limit - 4096));
	EXPECT_EQ(-1, pwrite(self->direct, wbuf, 4096, limit));
	EXPECT_EQ(-1, pwrite(self->fd, wbuf, 4096, limit + 4096));
	fsync(self->fd);
	EXPECT_TRUE(file_has(self->file, offset, limit - 4096, 3, 0));
	EXPECT_TRUE(file_has(self->file, offset + limit - 4096, 4096, 3, 0));
	EXPECT_TRUE(file_has(self->file, 4096, LT_MIB, 1, 4096));
	EXPECT_TRUE(file_has(self->file, offset + limit, LT_MIB, 1,
			     offset + limit));
}

/* The limits hold for an offset that allows no direct I/O, too. */
TEST_F(io, odd_window)
{
	const uint64_t offset = 1000, limit = 65536 + 3000;

	ASSERT_EQ(0, attach_file(self, variant, offset, limit));
	EXPECT_EQ(65536 + 2560, lt_size(self->fd));
	EXPECT_EQ(65536, pread(self->direct, rbuf, 65536, 0));
	EXPECT_TRUE(lt_filled(rbuf, 65536, 1, offset));
	lt_fill(wbuf, 8192, 4, 0);
	EXPECT_EQ(8192, pwrite(self->direct, wbuf, 8192, 4096));
	EXPECT_TRUE(file_has(self->file, offset + 4096, 8192, 4, 0));
	EXPECT_TRUE(file_has(self->file, 0, offset + 4096, 1, 0));
	EXPECT_TRUE(file_has(self->file, offset + 12288, 65536, 1,
			     offset + 12288));
}

/* If the kernel accepts the alignment of the memory, the data are right. */
TEST_F(io, memory_alignment)
{
	static const unsigned int shifts[] = { 0, 4, 8, 256, 512, 1024, 2048 };
	static const unsigned int lengths[] = { 512, 1024, 4096, 7168, 65536 };
	unsigned int i, k, refused = 0;

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	for (i = 0; i < ARRAY_SIZE(shifts); i++) {
		for (k = 0; k < ARRAY_SIZE(lengths); k++) {
			uint64_t at = LT_MIB + 512 * (i + 1);
			uint8_t *r = rbuf + shifts[i], *w = wbuf + shifts[i];
			unsigned int len = lengths[k];

			memset(r, 0, len);
			if (pread(self->direct, r, len, at) < 0) {
				EXPECT_STREQ("EINVAL", lt_errname(errno));
				EXPECT_NE(0, shifts[i] % 512);
				refused++;
				continue;
			}
			EXPECT_TRUE(lt_filled(r, len, 1, at))
				TH_LOG("shift %u, length %u", shifts[i], len);
			lt_fill(w, len, 1, at);
			EXPECT_EQ(len, pwrite(self->direct, w, len, at));
			EXPECT_TRUE(file_has(self->file, at, len, 1, at));
		}
	}
	EXPECT_LT(refused, ARRAY_SIZE(shifts) * ARRAY_SIZE(lengths));
	EXPECT_EQ(-1, pread(self->direct, rbuf, 100, 0));
	EXPECT_EQ(-1, pread(self->direct, rbuf, 512, 100));
}

TEST_F(io, vectors)
{
	struct iovec iov[16];
	size_t total = 0, at;
	unsigned int i;

	ASSERT_EQ(0, attach_file(self, variant, 4096, 0));
	for (i = 0; i < ARRAY_SIZE(iov); i++) {
		iov[i].iov_base = rbuf + i * 32768 + (i % 3) * 512;
		iov[i].iov_len = 512 * (1 + i * 3);
		total += iov[i].iov_len;
	}
	ASSERT_EQ(total, preadv(self->direct, iov, ARRAY_SIZE(iov), 512));
	for (i = 0, at = 4096 + 512; i < ARRAY_SIZE(iov);
	     at += iov[i++].iov_len)
		EXPECT_TRUE(lt_filled(iov[i].iov_base, iov[i].iov_len, 1, at));
	for (i = 0, at = 0; i < ARRAY_SIZE(iov); at += iov[i++].iov_len)
		lt_fill(iov[i].iov_base, iov[i].iov_len, 5, at);
	ASSERT_EQ(total, pwritev(self->direct, iov, ARRAY_SIZE(iov), LT_MIB));
	EXPECT_TRUE(file_has(self->file, LT_MIB + 4096, total, 5, 0));
	EXPECT_TRUE(file_has(self->file, LT_MIB + 4096 + total, 4096, 1,
			     LT_MIB + 4096 + total));
}

TEST_F(io, block_size_4096)
{
	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 4096));
	EXPECT_EQ(-1, pread(self->direct, rbuf, 512, 0));
	EXPECT_EQ(4096, pread(self->direct, rbuf, 4096, 4096));
	EXPECT_TRUE(lt_filled(rbuf, 4096, 1, 4096));
	lt_fill(wbuf, 100, 6, 0);
	EXPECT_EQ(100, pwrite(self->fd, wbuf, 100, 1000));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_TRUE(file_has(self->file, 1000, 100, 6, 0));
	EXPECT_TRUE(file_has(self->file, 1104, 4096, 1, 1104));
}

/* A write with O_DSYNC or O_SYNC is in the file when it ends. */
TEST_F(io, sync)
{
	int fd;

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	fd = lt_open(NUMBER, O_RDWR | O_DIRECT | O_DSYNC);
	ASSERT_GE(fd, 0);
	lt_fill(wbuf, 65536, 7, 0);
	EXPECT_EQ(65536, pwrite(fd, wbuf, 65536, 65536));
	EXPECT_TRUE(file_has(self->file, 65536, 65536, 7, 0));
	close(fd);
	fd = lt_open(NUMBER, O_RDWR | O_SYNC);
	EXPECT_EQ(65536, pwrite(fd, wbuf, 65536, 2 * 65536));
	EXPECT_TRUE(file_has(self->file, 2 * 65536, 65536, 7, 0));
	close(fd);
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, fdatasync(self->fd));
	EXPECT_EQ(0, ioctl(self->fd, BLKFLSBUF, 0));
}

/* Where FUA is offered as well depends on the file: see promises.sh. */
TEST_F(io, write_cache_is_advertised)
{
	char buf[32];

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	EXPECT_STREQ("write_back", lt_sysfs(NUMBER, "queue/write_cache", buf,
					    sizeof(buf)));
}

TEST_F(io, map)
{
	uint8_t *p;

	ASSERT_EQ(0, attach_file(self, variant, 4096, 0));
	p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
		 LT_MIB);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_TRUE(lt_filled(p, 65536, 1, LT_MIB + 4096));
	lt_fill(p + 4096, 8192, 8, 0);
	EXPECT_EQ(0, msync(p, 65536, MS_SYNC));
	EXPECT_TRUE(file_has(self->file, LT_MIB + 8192, 8192, 8, 0));
	EXPECT_TRUE(file_has(self->file, LT_MIB + 16384, 8192, 1,
			     LT_MIB + 16384));
	munmap(p, 65536);
}

TEST_F(io, read_only)
{
	uint64_t range[2] = { 0, 65536 };

	ASSERT_EQ(0, lt_configure(self->fd, self->file, 0,
				  variant->flags | LO_FLAGS_READ_ONLY, 0, 0));
	EXPECT_EQ(-1, pwrite(self->fd, wbuf, 4096, 0));
	EXPECT_EQ(-1, pwrite(self->direct, wbuf, 4096, 0));
	EXPECT_EQ(-1, ioctl(self->fd, BLKDISCARD, range));
	EXPECT_EQ(-1, ioctl(self->fd, BLKZEROOUT, range));
	EXPECT_TRUE(file_has(self->file, 0, LT_MIB, 1, 0));
}

/* Discard and zeroes */

TEST_F(io, discard)
{
	uint64_t range[2] = { LT_MIB, LT_MIB };
	long long before;

	ASSERT_EQ(0, attach_file(self, variant, 4096, 0));
	EXPECT_GT(lt_sysfs_num(NUMBER, "queue/discard_max_bytes"), 0);
	before = lt_allocated(self->file);
	if (ioctl(self->fd, BLKDISCARD, range)) {
		EXPECT_STREQ("EOPNOTSUPP", lt_errname(errno));
		SKIP(return, "the file system punches no holes");
	}
	EXPECT_EQ(before - (long long)LT_MIB, lt_allocated(self->file));
	EXPECT_EQ(LT_MIB, pread(self->file, rbuf, LT_MIB, LT_MIB + 4096));
	EXPECT_TRUE(lt_zeroed(rbuf, LT_MIB));
	EXPECT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, LT_MIB));
	EXPECT_TRUE(lt_zeroed(rbuf, LT_MIB));
	EXPECT_TRUE(file_has(self->file, 4096, LT_MIB, 1, 4096));
	EXPECT_TRUE(file_has(self->file, 2 * LT_MIB + 4096, LT_MIB, 1,
			     2 * LT_MIB + 4096));
	EXPECT_EQ(SIZE, lseek(self->file, 0, SEEK_END));
}

TEST_F(io, zeroout)
{
	uint64_t range[2] = { LT_MIB + 512, LT_MIB - 1024 };
	long long before;

	ASSERT_EQ(0, attach_file(self, variant, 4096, 0));
	before = lt_allocated(self->file);
	ASSERT_EQ(0, ioctl(self->fd, BLKZEROOUT, range));
	EXPECT_GE(lt_allocated(self->file), before);
	EXPECT_EQ(LT_MIB - 1024, pread(self->file, rbuf, LT_MIB - 1024,
				       LT_MIB + 512 + 4096));
	EXPECT_TRUE(lt_zeroed(rbuf, LT_MIB - 1024));
	EXPECT_TRUE(file_has(self->file, 4096, LT_MIB + 512, 1, 4096));
	EXPECT_TRUE(file_has(self->file, 2 * LT_MIB + 4096 - 512, LT_MIB, 1,
			     2 * LT_MIB + 4096 - 512));
}

/* A block device below gets discards as discards, and zeroes as zeroes. */

static unsigned long long stat_field(const char *disk, int field)
{
	unsigned long long val = 0;
	char path[64], buf[512], *p = buf;
	int fd, i;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n < 0)
		return 0;
	buf[n] = '\0';
	for (i = 0; i <= field; i++)
		val = strtoull(p, &p, 10);
	return val;
}

#define STAT_WRITES 4
#define STAT_WRITE_SECTORS 6
#define STAT_DISCARDS 11
#define STAT_DISCARD_SECTORS 13

TEST_F(io, block_device)
{
	int fd = open("/dev/" NULLB, O_RDWR | O_CLOEXEC);
	unsigned long long discards, sectors, written;
	uint64_t range[2] = { LT_MIB, LT_MIB };

	if (fd < 0)
		SKIP(return, "no /dev/" NULLB);
	lt_fill(wbuf, LT_MIB, 9, 0);
	ASSERT_EQ(LT_MIB, pwrite(fd, wbuf, LT_MIB, LT_MIB));
	ASSERT_EQ(LT_MIB, pwrite(fd, wbuf, LT_MIB, 2 * LT_MIB));
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(0, lt_configure(self->fd, fd, 0, variant->flags, 0, SIZE));
	EXPECT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, LT_MIB));
	EXPECT_TRUE(lt_filled(rbuf, LT_MIB, 9, 0));
	lt_fill(wbuf, 65536, 10, 0);
	EXPECT_EQ(65536, pwrite(self->direct, wbuf, 65536, 0));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(65536, pread(fd, rbuf, 65536, 0));
	EXPECT_TRUE(lt_filled(rbuf, 65536, 10, 0));

	discards = stat_field(NULLB, STAT_DISCARDS);
	sectors = stat_field(NULLB, STAT_DISCARD_SECTORS);
	written = stat_field(NULLB, STAT_WRITE_SECTORS);
	ASSERT_EQ(0, ioctl(self->fd, BLKDISCARD, range));
	EXPECT_GT(stat_field(NULLB, STAT_DISCARDS), discards);
	EXPECT_EQ(sectors + LT_MIB / 512,
		  stat_field(NULLB, STAT_DISCARD_SECTORS));
	EXPECT_EQ(written, stat_field(NULLB, STAT_WRITE_SECTORS));
	EXPECT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, LT_MIB));
	EXPECT_TRUE(lt_zeroed(rbuf, LT_MIB));

	range[0] = 2 * LT_MIB;
	range[1] = 65536;
	EXPECT_EQ(0, ioctl(self->fd, BLKZEROOUT, range));
	EXPECT_EQ(131072, pread(self->direct, rbuf, 131072, 2 * LT_MIB));
	EXPECT_TRUE(lt_zeroed(rbuf, 65536));
	EXPECT_TRUE(lt_filled(rbuf + 65536, 65536, 9, 65536));
	/* The page cache of the device below has the same data. */
	EXPECT_EQ(131072, pread(fd, rbuf, 131072, 2 * LT_MIB));
	EXPECT_TRUE(lt_zeroed(rbuf, 65536));
	close(fd);
}

/* The page cache below and writes through the loop device are coherent. */
TEST_F(io, block_device_coherent)
{
	int fd = open("/dev/" NULLB, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no /dev/" NULLB);
	lt_fill(wbuf, 65536, 11, 0);
	/* These pages are dirty and not synced. */
	ASSERT_EQ(65536, pwrite(fd, wbuf, 65536, LT_MIB));
	ASSERT_EQ(0, lt_configure(self->fd, fd, 0, variant->flags, 0, SIZE));
	EXPECT_EQ(65536, pread(self->direct, rbuf, 65536, LT_MIB));
	EXPECT_TRUE(lt_filled(rbuf, 65536, 11, 0));
	lt_fill(wbuf, 8192, 12, 0);
	EXPECT_EQ(8192, pwrite(self->direct, wbuf, 8192, LT_MIB + 4096));
	EXPECT_EQ(65536, pread(fd, rbuf, 65536, LT_MIB));
	EXPECT_TRUE(lt_filled(rbuf, 4096, 11, 0));
	EXPECT_TRUE(lt_filled(rbuf + 4096, 8192, 12, 0));
	EXPECT_TRUE(lt_filled(rbuf + 12288, 65536 - 12288, 11, 12288));
	close(fd);
}

static bool sectors(unsigned long long *rd, unsigned long long *wr)
{
	char path[64];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/sys/block/loop%d/stat", NUMBER);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fscanf(f, "%*u %*u %llu %*u %*u %*u %llu", rd, wr);
	fclose(f);
	return n == 2;
}

/* /sys/block/loopN/stat counts all I/O, unless queue/iostats is 0. */
TEST_F(io, statistics)
{
	unsigned long long rd, wr, rd2, wr2;
	char path[64];

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	ASSERT_TRUE(sectors(&rd, &wr));
	ASSERT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, 0));
	ASSERT_EQ(8192, pwrite(self->direct, rbuf, 8192, LT_MIB));
	ASSERT_TRUE(sectors(&rd2, &wr2));
	EXPECT_EQ(LT_MIB / 512, rd2 - rd);
	EXPECT_EQ(8192 / 512, wr2 - wr);

	snprintf(path, sizeof(path), "/sys/block/loop%d/queue/iostats", NUMBER);
	lt_write_file(path, "0");
	ASSERT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, 0));
	/* Another change of the device does not turn them on again. */
	ASSERT_EQ(0, ioctl(self->fd, LOOP_SET_BLOCK_SIZE, 4096));
	ASSERT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, 0));
	ASSERT_TRUE(sectors(&rd, &wr));
	EXPECT_EQ(rd2, rd);
	lt_write_file(path, "1");
}

/* Errors below */

TEST_F(io, truncated)
{
	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	ASSERT_EQ(0, ftruncate(self->file, 2 * LT_MIB));
	LT_EXPECT_ERR("EIO", pread(self->direct, rbuf, 4096, 4 * LT_MIB));
	LT_EXPECT_ERR("EIO", pread(self->fd, rbuf, 4096, 4 * LT_MIB));
	EXPECT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, LT_MIB));
	EXPECT_TRUE(lt_filled(rbuf, LT_MIB, 1, LT_MIB));
	EXPECT_EQ(LT_MIB, pread(self->fd, rbuf, LT_MIB, 0));
	EXPECT_TRUE(lt_filled(rbuf, LT_MIB, 1, 0));
	/* The device keeps its size until LOOP_SET_CAPACITY. */
	EXPECT_EQ(SIZE, lt_size(self->fd));
	/* A write makes the file that long again. */
	lt_fill(wbuf, 4096, 13, 0);
	EXPECT_EQ(4096, pwrite(self->direct, wbuf, 4096, SIZE - 4096));
	EXPECT_EQ(SIZE, lseek(self->file, 0, SEEK_END));
	EXPECT_EQ(4096, pread(self->direct, rbuf, 4096, SIZE - 4096));
	EXPECT_TRUE(lt_filled(rbuf, 4096, 13, 0));
	EXPECT_EQ(4096, pread(self->direct, rbuf, 4096, 4 * LT_MIB));
	EXPECT_TRUE(lt_zeroed(rbuf, 4096));
}

/* If the file ends within a sector, the driver makes up no data for the rest. */
TEST_F(io, truncated_in_a_sector)
{
	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	ASSERT_EQ(0, ftruncate(self->file, 4196));
	LT_EXPECT_ERR("EIO", pread(self->direct, rbuf, 8192, 0));
	LT_EXPECT_ERR("EIO", pread(self->direct, rbuf, 512, 4096));
	EXPECT_EQ(4096, pread(self->direct, rbuf, 4096, 0));
	EXPECT_TRUE(lt_filled(rbuf, 4096, 1, 0));
}

struct reader {
	int fd;
	uint64_t end, base;
	atomic_bool stop;
	atomic_int reads, wrong, errors;
};

static void *read_on(void *arg)
{
	static const unsigned int step = 64 * 1024;
	struct reader *r = arg;
	uint8_t *buf = aligned_alloc(4096, step);
	uint64_t at = r->base;

	while (!r->stop) {
		ssize_t n = pread(r->fd, buf, step, at);

		if (n != (ssize_t)step)
			r->errors++;
		else if (!lt_filled(buf, step, 1, at))
			r->wrong++;
		r->reads++;
		at += step;
		if (at >= r->end)
			at = r->base;
	}
	free(buf);
	return NULL;
}

/* The part that stays is readable at any time, and never wrong. */
TEST_F_TIMEOUT(io, truncated_while_read, 900)
{
	struct reader kept = { .end = 2 * LT_MIB };
	struct reader gone = { .base = 4 * LT_MIB, .end = SIZE };
	pthread_t t[2];
	unsigned int i;

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	kept.fd = self->direct;
	gone.fd = self->direct;
	ASSERT_EQ(0, pthread_create(&t[0], NULL, read_on, &kept));
	ASSERT_EQ(0, pthread_create(&t[1], NULL, read_on, &gone));
	for (i = 0; i < 10; i++) {
		uint64_t at;

		ASSERT_EQ(0, ftruncate(self->file, 2 * LT_MIB));
		lt_sleep_ms(20);
		for (at = 2 * LT_MIB; at < SIZE; at += LT_MIB) {
			lt_fill(wbuf, LT_MIB, 1, at);
			ASSERT_EQ(LT_MIB, pwrite(self->file, wbuf, LT_MIB, at));
		}
		lt_sleep_ms(20);
	}
	kept.stop = true;
	gone.stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	EXPECT_EQ(0, kept.errors);
	EXPECT_EQ(0, kept.wrong);
	EXPECT_GT(kept.reads, 0);
	EXPECT_GT(gone.errors, 0);
	EXPECT_EQ(SIZE, lt_size(self->fd));
	EXPECT_EQ(LT_MIB, pread(self->direct, rbuf, LT_MIB, 6 * LT_MIB));
	EXPECT_TRUE(lt_filled(rbuf, LT_MIB, 1, 6 * LT_MIB));
}

/* A write to a sparse file fails while the file system is full, not later. */
TEST_F(io, no_space)
{
	char at[64], path[80], ballast[80];
	int file, fill;

	snprintf(at, sizeof(at), "%s/small", self->dir);
	ASSERT_EQ(0, mkdir(at, 0700));
	ASSERT_EQ(0, mount("small", at, "tmpfs", 0, "size=2m"));
	snprintf(path, sizeof(path), "%s/sparse", at);
	snprintf(ballast, sizeof(ballast), "%s/ballast", at);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_EQ(0, ftruncate(file, SIZE));
	lt_fill(wbuf, LT_MIB, 14, 0);
	ASSERT_EQ(65536, pwrite(file, wbuf, 65536, 0));
	ASSERT_EQ(0, lt_configure(self->fd, file, 0, variant->flags, 0, 0));
	fill = open(ballast, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (write(fill, wbuf, 4096) > 0)
		;
	EXPECT_STREQ("ENOSPC", lt_errname(errno));

	EXPECT_EQ(-1, pwrite(self->direct, wbuf, 65536, LT_MIB));
	EXPECT_TRUE(errno == EIO || errno == ENOSPC)
		TH_LOG("%s", lt_errname(errno));
	EXPECT_EQ(65536, pwrite(self->fd, wbuf, 65536, 2 * LT_MIB));
	EXPECT_EQ(-1, fsync(self->fd));
	/* Blocks that are allocated can still be written and read. */
	EXPECT_EQ(65536, pread(self->direct, rbuf, 65536, 0));
	EXPECT_TRUE(lt_filled(rbuf, 65536, 14, 0));
	EXPECT_EQ(4096, pwrite(self->direct, wbuf + 65536, 4096, 0));

	ASSERT_EQ(0, ftruncate(fill, 0));
	EXPECT_EQ(65536, pwrite(self->direct, wbuf, 65536, LT_MIB));
	EXPECT_EQ(65536, pwrite(self->fd, wbuf, 65536, 2 * LT_MIB));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_TRUE(file_has(file, LT_MIB, 65536, 14, 0));
	EXPECT_TRUE(file_has(file, 2 * LT_MIB, 65536, 14, 0));
	EXPECT_TRUE(file_has(file, 0, 4096, 14, 65536));
	close(fill);
	close(file);
}

/* Many at once */

struct owner {
	int fd;
	uint64_t base, length;
	uint64_t seed;
	int rounds;
	int errors;
	bool direct;
};

/* Each thread has a part of the device, and reads there what it wrote last. */
static void *own_part(void *arg)
{
	static const unsigned int step = 32 * 1024;
	struct owner *o = arg;
	uint8_t *buf = aligned_alloc(4096, step);
	uint64_t last[64] = { 0 };
	uint64_t state = o->seed;
	int i;

	for (i = 0; i < o->rounds; i++) {
		unsigned int slot, len;
		uint64_t at;

		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		slot = (state >> 33) % (o->length / step);
		at = o->base + (uint64_t)slot * step;
		len = ((state >> 40) % 64 + 1) * 512;
		if (!last[slot] || state >> 63) {
			last[slot] = state | 1;
			lt_fill(buf, step, last[slot], 0);
			if (pwrite(o->fd, buf, step, at) != (ssize_t)step)
				o->errors++;
		}
		memset(buf, 0, len);
		if (pread(o->fd, buf, len, at) != (ssize_t)len ||
		    !lt_filled(buf, len, last[slot], 0))
			o->errors++;
	}
	free(buf);
	return NULL;
}

TEST_F_TIMEOUT(io, readers_and_writers, 600)
{
	struct owner owners[8] = { 0 };
	pthread_t t[ARRAY_SIZE(owners)];
	struct reader reader = { 0 };
	pthread_t rt;
	unsigned int i;

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	/* The last quarter is not written, and read all the time. */
	reader.fd = self->direct;
	reader.base = 6 * LT_MIB;
	reader.end = SIZE;
	ASSERT_EQ(0, pthread_create(&rt, NULL, read_on, &reader));
	for (i = 0; i < ARRAY_SIZE(owners); i++) {
		owners[i].fd = i % 2 ? self->fd : self->direct;
		owners[i].base = i * 768 * LT_KIB;
		owners[i].length = 768 * LT_KIB;
		owners[i].seed = i + 1;
		owners[i].rounds = 60;
		ASSERT_EQ(0, pthread_create(&t[i], NULL, own_part, &owners[i]));
	}
	for (i = 0; i < ARRAY_SIZE(owners); i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(0, owners[i].errors);
	}
	reader.stop = true;
	pthread_join(rt, NULL);
	EXPECT_GT(reader.reads, 0);
	EXPECT_EQ(0, reader.errors);
	EXPECT_EQ(0, reader.wrong);
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_TRUE(file_has(self->file, 6 * LT_MIB, LT_MIB, 1, 6 * LT_MIB));
}

/* A device loses no I/O while its mode and its settings change. */
TEST_F_TIMEOUT(io, reconfigured_while_used, 600)
{
	struct owner owners[4] = { 0 };
	pthread_t t[ARRAY_SIZE(owners)];
	unsigned int i;

	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	for (i = 0; i < ARRAY_SIZE(owners); i++) {
		owners[i].fd = self->direct;
		owners[i].base = i * LT_MIB;
		owners[i].length = LT_MIB;
		owners[i].seed = i + 1;
		owners[i].rounds = 80;
		ASSERT_EQ(0, pthread_create(&t[i], NULL, own_part, &owners[i]));
	}
	for (i = 0; i < 10; i++) {
		struct loop_info64 info = { 0 };

		info.lo_flags = i % 2 ? LO_FLAGS_AUTOCLEAR : 0;
		ioctl(self->fd, LOOP_SET_DIRECT_IO, i % 2);
		EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_STATUS64, &info));
		EXPECT_EQ(0, ioctl(self->fd, LOOP_SET_CAPACITY, 0));
		lt_sleep_ms(10);
	}
	for (i = 0; i < ARRAY_SIZE(owners); i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(0, owners[i].errors);
	}
}

/* After a detach, nothing can be read or written. */
TEST_F(io, free_device)
{
	EXPECT_EQ(0, pread(self->fd, rbuf, 4096, 0));
	EXPECT_EQ(-1, pwrite(self->fd, wbuf, 4096, 0));
	EXPECT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, attach_file(self, variant, 0, 0));
	EXPECT_EQ(4096, pread(self->fd, rbuf, 4096, 0));
	EXPECT_EQ(0, ioctl(self->fd, LOOP_CLR_FD, 0));
	close(self->direct);
	close(self->fd);
	self->fd = lt_open(NUMBER, O_RDWR);
	ASSERT_GE(self->fd, 0);
	/* Detaching drops the page cache. */
	EXPECT_EQ(0, pread(self->fd, rbuf, 4096, 0));
}

TEST_HARNESS_MAIN
