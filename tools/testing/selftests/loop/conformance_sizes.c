// SPDX-License-Identifier: GPL-2.0
/*
 * Groups "blocksize" and "capacity": LOOP_SET_BLOCK_SIZE, LOOP_SET_CAPACITY.
 */
#include "conformance.h"

/* Block sizes */

void group_blocksize(void)
{
	static const unsigned long sizes[] = {
		0, 1, 3, 256, 511, 512, 513, 768, 1024, 1536, 2048, 4096, 4097,
		8192, 65536, 131072, 0x20000200, 0x20000400, 0x80000000,
		0xffffffff,
	};
	char name[64];
	unsigned int i;
	int fd, rc;

	state = "set";
	enter_attached();
	report_enter();
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, sizes[i]));
		snprintf(name, sizeof(name), "%lu", sizes[i]);
		report(name, rc);
	}
#if ULONG_MAX > 0xffffffffUL
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 0x100000200UL));
	report("4294967808", rc);
#endif
	state = "set_same";
	enter_attached();
	remember();
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096", rc);
	remember();
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096_again", rc);

	state = "configure";
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fresh();
		remember();
		rc = did(lt_configure(dev, image[IMG_A].rw, sizes[i], 0, 0, 0));
		snprintf(name, sizeof(name), "%lu", sizes[i]);
		report(name, rc);
		if (rc >= 0)
			continue;
		snprintf(name, sizeof(name), "%lu.then", sizes[i]);
		rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
		report(name, rc);
	}

	/* 0 selects the block size that direct I/O needs. */
	state = "direct";
	new_device(LOWER);
	fd = open_number(LOWER, O_RDWR);
	if (lt_configure(fd, image[IMG_A].rw, 4096, 0, 0, 0))
		lt_die("attach below");
	lt_know(fd, "lower");
	fresh();
	rc = did(lt_configure(dev, fd, 0, LO_FLAGS_DIRECT_IO, 0, 0));
	close(fd);
	report("configure", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 0));
	report("0", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096", rc);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	report("direct_io", rc);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 0));
	report("buffered", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 0));
	report("buffered_0", rc);
	leave();
	lt_destroy(LOWER, 100);

	/* The number of sectors is no multiple of the block size. */
	state = "odd";
	fresh();
	rc = did(lt_configure(dev, image[IMG_A].rw, 4096, 0, 512, 0));
	report_enter();
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 512));
	report("512", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	report("4096", rc);
	rc = did(status64(0, UINT64_MAX, 10240, NULL));
	report("limit", rc);
	leave();
}

/* LOOP_SET_CAPACITY */

static void capacity_case(const char *name, int fd, uint64_t size)
{
	char label[64];
	int rc;

	if (ftruncate(fd, size))
		lt_die("ftruncate");
	snprintf(label, sizeof(label), "%s.before", name);
	report(label, 0);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	report(name, rc);
}

void group_capacity(void)
{
	int fd = in_dir("growing", O_RDWR | O_CREAT | O_TRUNC);
	int rc;

	lt_know(fd, "growing");
	if (ftruncate(fd, LT_MIB))
		lt_die("ftruncate");

	state = "plain";
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	report_enter();
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	report("same", rc);
	capacity_case("grown", fd, 3 * LT_MIB);
	capacity_case("grown_700", fd, 3 * LT_MIB + 700);
	capacity_case("shrunk", fd, 64 * 1024);
	capacity_case("empty", fd, 0);
	capacity_case("511", fd, 511);
	capacity_case("512", fd, 512);
	capacity_case("large", fd, 1ULL << 40);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, -1L));
	report("argument", rc);

	state = "window";
	ftruncate(fd, LT_MIB);
	fresh();
	if (lt_configure(dev, fd, 4096, LO_FLAGS_PARTSCAN, 4096, 2 * LT_MIB))
		lt_die("LOOP_CONFIGURE");
	report_enter();
	capacity_case("grown", fd, 2 * LT_MIB);
	capacity_case("past_limit", fd, 4 * LT_MIB);
	capacity_case("below_offset", fd, 1024);

	state = "stacked";
	ftruncate(fd, LT_MIB);
	attach_number(LOWER, fd);
	fresh();
	rc = open_number(LOWER, O_RDWR);
	lt_know(rc, "lower");
	if (ioctl(dev, LOOP_SET_FD, rc))
		lt_die("LOOP_SET_FD");
	report_enter();
	ftruncate(fd, 2 * LT_MIB);
	ioctl(rc, LOOP_SET_CAPACITY, 0);
	close(rc);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	report("lower_grown", rc);
	leave();
	lt_destroy(LOWER, 100);

	/* Only one of the two partitions fits into the smaller device. */
	state = "partitions";
	ftruncate(fd, 0);
	ftruncate(fd, 2 * LT_MIB);
	lt_label_two(fd);
	fresh();
	if (lt_configure(dev, fd, 0, LO_FLAGS_PARTSCAN, 0, 0))
		lt_die("LOOP_CONFIGURE");
	report_enter();
	capacity_case("shrunk", fd, LT_MIB);
	capacity_case("grown", fd, 2 * LT_MIB);
	leave();
	close(fd);
}
