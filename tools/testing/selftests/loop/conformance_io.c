// SPDX-License-Identifier: GPL-2.0
/*
 * Group "io": what happens to data.
 */
#include <stdalign.h>
#include <linux/falloc.h>

#include "conformance.h"

static alignas(4096) uint8_t io_buf[64 * 1024];
static uint8_t io_want[64 * 1024];

static const char *content(int fd, uint64_t offset, size_t len, uint64_t seed)
{
	ssize_t n = pread(fd, io_buf, len, offset);

	if (n < 0)
		return lt_errname(errno);
	if (n < (ssize_t)len)
		return n ? "short" : "nothing";
	if (lt_zeroed(io_buf, len))
		return "zeroes";
	return lt_filled(io_buf, len, seed, offset) ? "pattern" : "other";
}

static int io_image(uint64_t size)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/data", dir);
	fd = lt_file(path, size, 7);
	lt_know(fd, "data");
	fsync(fd);
	return fd;
}

static void io_at(const char *name, bool out, uint64_t offset, size_t len)
{
	ssize_t n;

	name_case(name);
	memset(io_buf, 'w', len);
	n = did(out ? pwrite(dev, io_buf, len, offset) :
		      pread(dev, io_buf, len, offset));
	if (out && n > 0 && fsync(dev))
		report_only(name, n, "fsync=%s", lt_errname(errno));
	else
		report_only(name, n, "%s", "");
}

static void io_bounds(int flags, const char *name)
{
	int fd = io_image(LT_MIB);

	state = name;
	fresh();
	if (lt_configure(dev, fd, 0, flags, 4096, 64 * 1024))
		lt_die("LOOP_CONFIGURE");
	io_at("read_0", false, 0, 4096);
	report_only("read_0_data", 0, "%d",
		    lt_filled(io_buf, 4096, 7, 4096));
	io_at("read_last", false, 65536 - 512, 512);
	io_at("read_over_end", false, 65536 - 512, 4096);
	io_at("read_at_end", false, 65536, 512);
	io_at("read_past_end", false, 65536 + 512, 512);
	io_at("write_0", true, 0, 4096);
	io_at("write_odd", true, 5000, 100);
	io_at("write_over_end", true, 65536 - 512, 4096);
	io_at("write_at_end", true, 65536, 512);
	io_at("write_past_end", true, 1 << 20, 512);
	leave();
	report_only("before_window", 0, "%s", content(fd, 0, 4096, 7));
	report_only("in_window", 0, "%s", content(fd, 12288, 4096, 7));
	report_only("after_window", 0, "%s",
		    content(fd, 4096 + 65536, 65536, 7));
	close(fd);
}

static void io_truncated(int flags, const char *name)
{
	int fd = io_image(LT_MIB);

	state = name;
	fresh();
	if (lt_configure(dev, fd, 0, flags, 0, 0))
		lt_die("LOOP_CONFIGURE");
	reopen(O_RDWR | O_DIRECT);
	ftruncate(fd, 512 * 1024 + 1024);
	io_at("read_there", false, 0, 4096);
	io_at("read_border", false, 512 * 1024, 4096);
	io_at("read_border_512", false, 512 * 1024 + 512, 512);
	io_at("read_gone", false, 768 * 1024, 4096);
	io_at("read_gone_large", false, 512 * 1024, 65536);
	io_at("write_gone", true, 768 * 1024, 4096);
	report_only("file_size", 0, "%lld",
		    (long long)lseek(fd, 0, SEEK_END));
	io_at("read_between", false, 640 * 1024, 4096);
	leave();
	close(fd);
}

static void io_discard(int flags, const char *name)
{
	uint64_t range[2] = { 65536, 131072 };
	uint64_t odd[2] = { 65536 + 512, 1024 };
	uint64_t bad[2] = { 100, 512 };
	uint64_t past[2] = { LT_MIB - 512, 4096 };
	int fd = io_image(LT_MIB), rc;
	long long before = lt_allocated(fd);

	state = name;
	fresh();
	if (lt_configure(dev, fd, 0, flags, 4096, 0))
		lt_die("LOOP_CONFIGURE");
	remember();
	report("zeroout", did(ioctl(dev, BLKZEROOUT, range)));
	report_only("zeroout_file", 0, "%s allocated=%d",
		    content(fd, 65536 + 4096, 65536, 7),
		    lt_allocated(fd) == before);
	range[0] = 262144;
	report("discard", did(ioctl(dev, BLKDISCARD, range)));
	report_only("discard_file", 0, "%s holes=%lld",
		    content(fd, 262144 + 4096, 65536, 7),
		    before - lt_allocated(fd));
	report_only("discard_read", 0, "%s",
		    content(dev, 262144, 65536, 7));
	report_only("before_range", 0, "%s", content(fd, 262144, 4096, 7));
	report_only("after_range", 0, "%s",
		    content(fd, 262144 + 131072 + 4096, 4096, 7));
	report("discard_odd", did(ioctl(dev, BLKDISCARD, odd)));
	report("zeroout_odd", did(ioctl(dev, BLKZEROOUT, odd)));
	report("discard_bad", did(ioctl(dev, BLKDISCARD, bad)));
	report("zeroout_bad", did(ioctl(dev, BLKZEROOUT, bad)));
	report("discard_past", did(ioctl(dev, BLKDISCARD, past)));
	report("secdiscard", did(ioctl(dev, BLKSECDISCARD, range)));
	rc = did(fallocate(dev, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   524288, 65536));
	report_only("fallocate_punch", rc, "%s",
		    content(fd, 524288 + 4096, 65536, 7));
	rc = did(fallocate(dev, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			   655360, 65536));
	report_only("fallocate_zero", rc, "%s",
		    content(fd, 655360 + 4096, 65536, 7));
	rc = did(fallocate(dev, 0, 0, 4096));
	report_only("fallocate_plain", rc, "%s", "");
	leave();
	close(fd);
}

static void io_misc(void)
{
	int fd = io_image(LT_MIB), rc;

	state = "misc";
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	memset(io_want, 'x', page);
	rc = did(pwrite(dev, io_want, 4096, 8192));
	report_only("write_cached", rc, "file=%s",
		    content(fd, 8192, 4096, 7));
	rc = did(ioctl(dev, BLKFLSBUF, 0));
	report_only("blkflsbuf", rc, "file=%s",
		    content(fd, 8192, 4096, 7));
	rc = did(fsync(dev));
	report_only("fsync", rc, "%s", "");
	rc = did(fdatasync(dev));
	report_only("fdatasync", rc, "%s", "");

	/* Data is written before LOOP_CLR_FD and after it. */
	pwrite(dev, io_want, 4096, 16384);
	rc = did(ioctl(dev, LOOP_CLR_FD, 0));
	report_only("clr_fd", rc, "%s", "");
	rc = did(pread(dev, io_buf, 4096, 65536));
	report_only("rundown_read", rc, "%s", "");
	/* This is a whole page, as the kernel would read the rest of one first. */
	rc = did(pwrite(dev, io_want, page, 65536 * 2));
	report_only("rundown_write", rc, "fsync=%s",
		    fsync(dev) ? lt_errname(errno) : "0");
	close(dev);
	dev = -1;
	report_only("dirty_before_clr_fd", 0, "%s",
		    content(fd, 16384, 4096, 7));
	report_only("written_after_clr_fd", 0, "%s",
		    content(fd, 65536 * 2, 4096, 7));
	dev = lt_open(NUMBER, O_RDWR);
	rc = did(pread(dev, io_buf, 4096, 0));
	report_only("free_read", rc, "%s", "");
	rc = did(pwrite(dev, io_buf, 4096, 0));
	report_only("free_write", rc, "%s", "");
	leave();
	close(fd);

	state = "read_only";
	enter_ro();
	rc = did(pwrite(dev, io_buf, 4096, 0));
	report_only("write", rc, "%s", "");
	rc = did(call_discard());
	report_only("discard", rc, "%s", "");
	rc = did(call_zeroout());
	report_only("zeroout", rc, "%s", "");
	rc = did(pread(dev, io_buf, 4096, 0));
	report_only("read", rc, "%d", lt_filled(io_buf, 4096, 1, 0));
	leave();
}

static void io_cached_truncated(void)
{
	int fd = io_image(LT_MIB);

	state = "cached";
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	ftruncate(fd, 65536);
	io_at("read_gone", false, 524288, 4096);
	io_at("read_there", false, 0, 4096);
	leave();
	close(fd);
}

void group_io(void)
{
	io_bounds(0, "bounds");
	io_bounds(LO_FLAGS_DIRECT_IO, "bounds_dio");
	io_truncated(0, "truncated");
	io_truncated(LO_FLAGS_DIRECT_IO, "truncated_dio");
	io_cached_truncated();
	io_discard(0, "discard");
	io_discard(LO_FLAGS_DIRECT_IO, "discard_dio");
	io_misc();
}
