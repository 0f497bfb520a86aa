// SPDX-License-Identifier: GPL-2.0
/*
 * Group "uevent": the uevents of each call.
 */
#include "conformance.h"

static int uevent_fd;

static void uevent_case(const char *name, int rc)
{
	static struct lt_buf words;
	size_t i;
	int count;

	words.len = 0;
	words.s[0] = '\0';
	count = lt_uevents(uevent_fd, NUMBER, &words);
	for (i = 1; i < words.len; i++)
		if (words.s[i] == ' ')
			words.s[i] = '+';
	name_case(name);
	printf("%s: rc=%d errno=%s count=%d events=%s\n", running, rc,
	       rc < 0 ? lt_errname(call_errno) : "0", count,
	       count ? words.s + 1 : "none");
	fflush(stdout);
}

static void uevent_detach(const char *name)
{
	char text[64];
	int rc;

	rc = did(ioctl(dev, LOOP_CLR_FD, 0));
	snprintf(text, sizeof(text), "%s.clr_fd", name);
	uevent_case(text, rc);
	rc = did(close(dev));
	dev = -1;
	snprintf(text, sizeof(text), "%s.close", name);
	uevent_case(text, rc);
	dev = lt_open(NUMBER, O_RDWR);
	snprintf(text, sizeof(text), "%s.reopen", name);
	uevent_case(text, dev < 0 ? -1 : 0);
}

void group_uevent(void)
{
	struct loop_info64 info = { 0 };
	int fd = in_dir("growing", O_RDWR | O_CREAT | O_TRUNC);
	int rc;

	ftruncate(fd, LT_MIB);
	uevent_fd = lt_uevent_open();
	state = "device";
	leave();
	lt_uevents(uevent_fd, NUMBER, NULL);
	rc = did(lt_ctl(LOOP_CTL_ADD, NUMBER));
	uevent_case("add", rc);
	dev = open_number(NUMBER, O_RDWR);
	uevent_case("open", 0);

	state = "plain";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
	uevent_case("set_fd", rc);
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
	uevent_case("set_fd_again", rc);
	rc = did(status64(0, UINT64_MAX, UINT64_MAX, NULL));
	uevent_case("set_status_same", rc);
	rc = did(status64(0, UINT64_MAX, 65536, NULL));
	uevent_case("set_status_limit", rc);
	rc = did(status64(0, 4096, UINT64_MAX, NULL));
	uevent_case("set_status_offset", rc);
	rc = did(status64(0, 0, 0, "name"));
	uevent_case("set_status_back", rc);
	rc = did(status64(0, 1ULL << 63, 0, NULL));
	uevent_case("set_status_bad", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 4096));
	uevent_case("set_block_size", rc);
	rc = did(ioctl(dev, LOOP_SET_BLOCK_SIZE, 3));
	uevent_case("set_block_size_bad", rc);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	uevent_case("set_direct_io", rc);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	uevent_case("set_capacity_same", rc);
	rc = did(call_blkroset());
	uevent_case("blkroset", rc);
	rc = did(call_blkroclr());
	uevent_case("blkroclr", rc);
	uevent_detach("detach");

	state = "configure";
	rc = did(lt_configure(dev, image[IMG_A].rw, 3, 0, 0, 0));
	uevent_case("bad_block_size", rc);
	rc = did(lt_configure(dev, image[IMG_A].rw, 0, 2, 0, 0));
	uevent_case("bad_flag", rc);
	rc = did(lt_configure(dev, -1, 0, 0, 0, 0));
	uevent_case("bad_fd", rc);
	rc = did(lt_configure(dev, image[IMG_A].rw, 0, 0, 0, 0));
	uevent_case("good", rc);
	uevent_detach("detach");

	state = "partscan";
	rc = did(lt_configure(dev, image[IMG_P].rw, 0, LO_FLAGS_PARTSCAN, 0, 0));
	uevent_case("configure", rc);
	rc = did(ioctl(dev, BLKRRPART, 0));
	uevent_case("blkrrpart", rc);
	info.lo_sizelimit = 3 * 512 * 1024;
	info.lo_flags = LO_FLAGS_PARTSCAN;
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	uevent_case("set_status_limit", rc);
	uevent_detach("detach");

	state = "partscan_late";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_P].rw));
	uevent_case("set_fd", rc);
	info.lo_sizelimit = 0;
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	uevent_case("set_status_partscan", rc);
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	uevent_case("set_status_again", rc);
	uevent_detach("detach");

	state = "read_only";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].ro));
	uevent_case("set_fd", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_B].ro));
	uevent_case("change_fd", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_C].ro));
	uevent_case("change_fd_bad", rc);
	uevent_detach("detach");

	state = "change_fd_partscan";
	rc = did(lt_configure(dev, image[IMG_P].ro, 0, LO_FLAGS_PARTSCAN, 0, 0));
	uevent_case("configure", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_A].ro));
	uevent_case("away", rc);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, image[IMG_P].ro));
	uevent_case("back", rc);
	uevent_detach("detach");

	state = "capacity";
	rc = did(ioctl(dev, LOOP_SET_FD, fd));
	uevent_case("set_fd", rc);
	ftruncate(fd, 2 * LT_MIB);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	uevent_case("grown", rc);
	ftruncate(fd, 65536);
	rc = did(ioctl(dev, LOOP_SET_CAPACITY, 0));
	uevent_case("shrunk", rc);
	uevent_detach("detach");

	state = "shared";
	rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
	uevent_case("set_fd", rc);
	other = open_number(NUMBER, O_RDONLY);
	rc = did(ioctl(dev, LOOP_CLR_FD, 0));
	uevent_case("clr_fd", rc);
	rc = did(close(dev));
	dev = -1;
	uevent_case("close", rc);
	rc = did(close(other));
	other = -1;
	uevent_case("close_last", rc);

	state = "autoclear";
	dev = open_number(NUMBER, O_RDWR);
	rc = did(lt_configure(dev, image[IMG_P].rw, 0,
			      LO_FLAGS_PARTSCAN | LO_FLAGS_AUTOCLEAR, 0, 0));
	uevent_case("configure", rc);
	rc = did(close(dev));
	dev = -1;
	uevent_case("close", rc);

	state = "device";
	rc = did(lt_ctl(LOOP_CTL_REMOVE, NUMBER));
	uevent_case("remove", rc < 0 ? rc : 0);
	close(fd);
	close(uevent_fd);
	leave();
}
