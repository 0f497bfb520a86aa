// SPDX-License-Identifier: GPL-2.0
/*
 * Group "changefd": LOOP_CHANGE_FD.
 */
#include "conformance.h"

static void change_case(const char *name, int fd)
{
	int rc = did(ioctl(dev, LOOP_CHANGE_FD, fd));

	report(name, rc);
}

void group_changefd(void)
{
	char buf[512];
	int fd, rc;

	state = "ro";
	enter_ro();
	report_enter();
	change_case("same_fd", image[IMG_A].ro);
	change_case("same_file_rw", image[IMG_A].rw);
	change_case("other_rw", image[IMG_B].rw);
	change_case("back_ro", image[IMG_A].ro);
	change_case("smaller", image[IMG_C].ro);
	fd = in_dir("larger", O_RDWR | O_CREAT | O_TRUNC);
	if (ftruncate(fd, IMAGE_SIZE + 4096))
		lt_die("ftruncate");
	change_case("larger", fd);
	if (ftruncate(fd, IMAGE_SIZE + 511))
		lt_die("ftruncate");
	lt_know(fd, "larger");
	change_case("larger_511", fd);
	close(fd);
	change_case("back_ro2", image[IMG_A].ro);
	change_case("partitioned", image[IMG_P].ro);
	rc = did(pread(dev, buf, sizeof(buf), 0));
	report_only("reads_new", rc, "label=%d",
		    (buf[510] & 0xff) == 0x55);
	fd = in_dir("imgA", O_RDONLY | O_DIRECT);
	change_case("direct_fd", fd);
	close(fd);
	fd = in_dir("imgA", O_WRONLY);
	change_case("write_only", fd);
	close(fd);
	change_case("directory", AT_FDCWD);

	state = "window";
	fresh();
	if (lt_configure(dev, image[IMG_A].ro, 1024, 0, 4096, 65536))
		lt_die("configure");
	report_enter();
	change_case("same_size", image[IMG_B].ro);
	change_case("smaller_same_window", image[IMG_C].ro);

	state = "partscan";
	fresh();
	if (lt_configure(dev, image[IMG_P].ro, 0, LO_FLAGS_PARTSCAN, 0, 0))
		lt_die("configure");
	report_enter();
	change_case("no_label", image[IMG_A].ro);
	change_case("label", image[IMG_P].ro);

	state = "direct";
	fresh();
	if (lt_configure(dev, image[IMG_A].ro, 0, LO_FLAGS_DIRECT_IO, 0, 0))
		lt_die("configure");
	report_enter();
	change_case("buffered_fd", image[IMG_B].ro);

	/* The size of the device does not follow its file. */
	state = "grown";
	fresh();
	fd = in_dir("grown", O_RDWR | O_CREAT | O_TRUNC);
	if (ftruncate(fd, IMAGE_SIZE) ||
	    lt_configure(dev, fd, 0, LO_FLAGS_READ_ONLY, 0, 0) ||
	    ftruncate(fd, IMAGE_SIZE + 4096))
		lt_die("grown");
	lt_know(fd, "grown");
	close(fd);
	remember();
	change_case("as_device", image[IMG_B].ro);
	fd = in_dir("larger", O_RDWR);
	if (ftruncate(fd, IMAGE_SIZE + 4096))
		lt_die("ftruncate");
	change_case("as_file", fd);
	close(fd);

	state = "roflag";
	enter_roflag();
	report_enter();
	change_case("rw_fd", image[IMG_B].rw);

	state = "block_device";
	enter_ro();
	attach_number(LOWER, image[IMG_B].rw);
	fd = open_number(LOWER, O_RDONLY);
	lt_know(fd, "lower");
	remember();
	change_case("from_file", fd);
	close(fd);
	leave();
	lt_destroy(LOWER, 100);

	/* BLKROSET makes the disk read-only, and not the backing file. */
	state = "blkroset";
	enter_attached();
	call_blkroset();
	remember();
	change_case("other", image[IMG_B].ro);
	leave();
}
