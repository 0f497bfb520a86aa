// SPDX-License-Identifier: GPL-2.0
/*
 * What an attachment can choose: LOOP_ATTACH_NO_INLINE, _UNCACHED, _INTERNAL,
 * _NO_DISCARD.
 */
#include <linux/falloc.h>

#include "ctl_fixture.h"

#define PAGE 4096

/* Returns a counter of loop_stats. */
static unsigned long counter(int index, const char *name)
{
	char path[64], line[64], word[64];
	unsigned long nr = 0, n;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/loop%d/loop_stats", index);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %lu", word, &n) == 2 && !strcmp(word, name))
			nr = n;
	if (f)
		fclose(f);
	return nr;
}

/* Reads each page past the page cache of the device, from the cache of the file. */
static bool read_all(int fd)
{
	uint64_t at;

	if (fcntl(fd, F_SETFL, O_DIRECT))
		return false;
	for (at = 0; at < SIZE; at += PAGE)
		if (pread(fd, lt_edge() - PAGE, PAGE, at) != PAGE ||
		    !lt_filled(lt_edge() - PAGE, PAGE, 1, at))
			return false;
	return true;
}

TEST_F(ctl, no_inline)
{
	unsigned long before;
	int fd, i;

	for (i = 0; i < 2; i++) {
		fd = attach_fd(FIRST, self->file, i ? LOOP_ATTACH_NO_INLINE : 0,
			       AUTOCLEAR);
		ASSERT_GE(fd, 0);
		before = counter(FIRST, "inline");
		EXPECT_TRUE(read_all(fd));
		/* tmpfs is read inline where it is cached. */
		EXPECT_EQ(!i, counter(FIRST, "inline") > before);
		close(fd);
	}
	/* The next attachment does not have the flag. */
	fd = attach_fd(FIRST, self->file, 0, AUTOCLEAR);
	before = counter(FIRST, "inline");
	EXPECT_TRUE(read_all(fd));
	EXPECT_GT(counter(FIRST, "inline"), before);
	close(fd);
}

/* Direct I/O on a block device is not passed on, either: workers do it. */
TEST_F(ctl, no_inline_direct)
{
	unsigned long before, after;
	int low, fd;

	low = attach_fd(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(low, 0);
	fd = attach_fd(FIRST + 1, low, LOOP_ATTACH_NO_INLINE, AUTOCLEAR | DIRECT_IO);
	ASSERT_GE(fd, 0);
	before = counter(FIRST + 1, "inline") + counter(FIRST + 1, "cloned");
	EXPECT_TRUE(read_all(fd));
	after = counter(FIRST + 1, "inline") + counter(FIRST + 1, "cloned");
	EXPECT_EQ(before, after);
	close(fd);
	close(low);
}

TEST_F(ctl, internal)
{
	char buf[16];
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_STREQ("ok", attach_to(FIRST, self->file,
					     i == 1 ? LOOP_ATTACH_INTERNAL : 0, 0));
		EXPECT_STREQ(i == 1 ? "1" : "0",
			     lt_sysfs(FIRST, "loop/internal", buf, sizeof(buf)));
		ASSERT_STREQ("ok", detach_from(FIRST));
	}
}

static bool has_blocks(int file, uint64_t at, uint64_t len)
{
	/* A file has no hole in the range. */
	return lseek(file, at, SEEK_HOLE) >= (off_t)(at + len);
}

TEST_F(ctl, no_discard)
{
	uint64_t range[2] = { 65536, 65536 };
	struct stat before, after;
	uint8_t buf[65536];
	const uint64_t hole = 262144;
	char text[16];
	int i, fd, rc;

	for (i = 0; i < 2; i++) {
		fd = attach_fd(FIRST, self->file, i ? 0 : LOOP_ATTACH_NO_DISCARD,
			       AUTOCLEAR);
		ASSERT_GE(fd, 0);
		lt_sysfs(FIRST, "queue/discard_max_bytes", text, sizeof(text));
		EXPECT_EQ(!i, !strcmp(text, "0"));
		EXPECT_EQ(!i, !lt_sysfs_num(FIRST, "queue/discard_granularity"));
		ASSERT_EQ(0, fstat(self->file, &before));
		if (!i) {
			LT_EXPECT_ERR("EOPNOTSUPP", ioctl(fd, BLKDISCARD, range));
			LT_EXPECT_ERR("EOPNOTSUPP",
				      fallocate(fd, FALLOC_FL_PUNCH_HOLE |
						FALLOC_FL_KEEP_SIZE |
						FALLOC_FL_NO_HIDE_STALE, 65536, 65536));
		}
		/* Zeroes are written; with the flag, without a hole. */
		EXPECT_EQ(0, ioctl(fd, BLKZEROOUT, range));
		EXPECT_EQ(0, fsync(fd));
		ASSERT_EQ(sizeof(buf), pread(self->file, buf, sizeof(buf), 65536));
		EXPECT_TRUE(lt_zeroed(buf, sizeof(buf)));
		ASSERT_EQ(sizeof(buf), pread(self->file, buf, sizeof(buf), 131072));
		EXPECT_TRUE(lt_filled(buf, sizeof(buf), 1, 131072));
		if (!i) {
			ASSERT_EQ(0, fstat(self->file, &after));
			EXPECT_EQ(before.st_blocks, after.st_blocks);
			EXPECT_TRUE(has_blocks(self->file, 65536, 65536));
		}
		/* fallocate() on the device makes zeroes, or fails and changes nothing. */
		rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       hole, sizeof(buf));
		EXPECT_TRUE(!rc || errno == EOPNOTSUPP);
		ASSERT_EQ(sizeof(buf), pread(self->file, buf, sizeof(buf), hole));
		EXPECT_TRUE(rc ? lt_filled(buf, sizeof(buf), 1, hole) :
				 lt_zeroed(buf, sizeof(buf)));
		if (!i)
			EXPECT_TRUE(has_blocks(self->file, hole, sizeof(buf)));
		close(fd);
	}
}

/* On a disk zeroes may go below, but nothing is unmapped there. */
TEST_F(ctl, no_discard_disk)
{
	uint64_t range[2] = { 65536, 65536 };
	int low, fd;

	low = attach_fd(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(low, 0);
	fd = attach_fd(FIRST + 1, low, LOOP_ATTACH_NO_DISCARD, AUTOCLEAR | DIRECT_IO);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, lt_sysfs_num(FIRST + 1, "queue/discard_max_bytes"));
	EXPECT_EQ(0, ioctl(fd, BLKZEROOUT, range));
	EXPECT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       262144, 65536));
	EXPECT_EQ(0, fsync(fd));
	EXPECT_TRUE(has_blocks(self->file, 262144, 65536));
	close(fd);
	close(low);
}

/*
 * If the kernel and the file support it, data that were written and synced through the
 * device, or read through it, are not in the page cache of the file. Otherwise the answer
 * has LOOP_COND_UNCACHED.
 */
TEST_F(ctl, uncached)
{
	struct loop_ctl_attach a;
	char mnt[64], path[96], command[192], image[96];
	static uint8_t vec[SIZE / PAGE];
	int file, fd, i, k, cached;
	void *map;

	snprintf(mnt, sizeof(mnt), "%s/mnt", self->dir);
	snprintf(path, sizeof(path), "%s/file", mnt);
	snprintf(image, sizeof(image), "%s/image", self->dir);
	ASSERT_EQ(0, mkdir(mnt, 0700));
	close(lt_file(image, 0, 0));
	ASSERT_EQ(0, truncate(image, 320 * LT_MIB));
	/* xfs is the first file system that has it. */
	snprintf(command, sizeof(command), "mkfs.xfs -q -f %s > /dev/null 2>&1", image);
	file = open(image, O_RDWR | O_CLOEXEC);
	ASSERT_GE(file, 0);
	fd = attach_fd(FIRST + 1, file, 0, AUTOCLEAR);
	ASSERT_GE(fd, 0);
	snprintf(image, sizeof(image), "/dev/loop%d", FIRST + 1);
	if (system(command) || mount(image, mnt, "xfs", 0, NULL))
		SKIP(return, "no xfs");
	close(fd);
	close(file);
	for (i = 0; i < 2; i++) {
		file = lt_file(path, SIZE, 1);
		ASSERT_EQ(0, fsync(file));
		ASSERT_EQ(0, posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
		a = lt_to_attach(FIRST, file, i ? LOOP_ATTACH_UNCACHED : 0, AUTOCLEAR);
		fd = lt_attach(&a, NULL);
		ASSERT_GE(fd, 0);
		if (!i)
			EXPECT_EQ(0, a.out_unmet & LOOP_COND_UNCACHED);
		EXPECT_TRUE(read_all(fd));
		ASSERT_EQ(PAGE, pwrite(fd, lt_edge() - PAGE, PAGE, 0));
		ASSERT_EQ(0, fsync(fd));
		map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);
		ASSERT_TRUE(map != MAP_FAILED);
		/* Pages are dropped a moment after the writeback. */
		for (k = 0; k < 200; k++) {
			unsigned int n;

			ASSERT_EQ(0, mincore(map, SIZE, vec));
			for (n = 0, cached = 0; n < ARRAY_SIZE(vec); n++)
				cached += vec[n] & 1;
			if (!i || !cached || a.out_unmet & LOOP_COND_UNCACHED)
				break;
			lt_sleep_ms(10);
		}
		EXPECT_EQ(!i || a.out_unmet & LOOP_COND_UNCACHED, cached > 0);
		munmap(map, SIZE);
		close(fd);
		close(file);
	}
	EXPECT_EQ(0, umount2(mnt, 0));
}

TEST_HARNESS_MAIN
