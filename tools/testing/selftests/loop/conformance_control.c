// SPDX-License-Identifier: GPL-2.0
/*
 * Groups "control" and "control_nobody": /dev/loop-control.
 */
#include "conformance.h"

static void control_case(const char *name, unsigned int cmd, long arg)
{
	int rc;

	name_case(name);
	rc = did(lt_ctl(cmd, arg));
	report_only(name, rc, "exists=%d",
		    arg >= 0 && arg < 100000 ? lt_exists(arg) : -1);
}

static void remove_all(void)
{
	int i;

	for (i = 0; i < 64; i++)
		if (lt_exists(i))
			lt_ctl(LOOP_CTL_REMOVE, i);
}

void group_control(void)
{
	static const long bad[] = {
		-1, -2, INT_MIN + 1L, INT_MIN, 1 << 20, (1 << 20) + 1,
		(1 << 21), INT_MAX,
	};
	static const unsigned int unknown[] = {
		0, 1, 0x4C7F, 0x4C83, 0x4C84, 0x4CFF, 0x5401,
	};
	unsigned int i;
	char name[64];
	long first;
	int fd, rc;

	state = "remove";
	remove_all();
	control_case("absent", LOOP_CTL_REMOVE, NUMBER);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(name, sizeof(name), "bad.%ld", bad[i]);
		control_case(name, LOOP_CTL_REMOVE, bad[i]);
	}

	state = "add";
	control_case("new", LOOP_CTL_ADD, NUMBER);
	control_case("again", LOOP_CTL_ADD, NUMBER);
	control_case("max", LOOP_CTL_ADD, (1 << 20) - 1);
	printf("control.add.max_there: %d\n", lt_exists((1 << 20) - 1));
	lt_ctl(LOOP_CTL_REMOVE, (1 << 20) - 1);
	for (i = 4; i < ARRAY_SIZE(bad); i++) {
		snprintf(name, sizeof(name), "bad.%ld", bad[i]);
		rc = did(lt_ctl(LOOP_CTL_ADD, bad[i]));
		report_only(name, rc, "exists=%d", lt_exists(bad[i]));
		rc = did(lt_ctl(LOOP_CTL_REMOVE, bad[i]));
		snprintf(name, sizeof(name), "bad.%ld.remove", bad[i]);
		report_only(name, rc, "exists=%d", lt_exists(bad[i]));
	}
	control_case("minus_1", LOOP_CTL_ADD, -1);
	control_case("minus_1_next", LOOP_CTL_ADD, -1);
	control_case("minus_2", LOOP_CTL_ADD, -2);
	control_case("int_min", LOOP_CTL_ADD, INT_MIN);
#if ULONG_MAX > 0xffffffffUL
	control_case("high_bits", LOOP_CTL_ADD, 0x100000000L + 17);
	report_only("high_bits_there", 0, "exists=%d", lt_exists(17));
	control_case("long_min", LOOP_CTL_ADD, LONG_MIN);
	lt_ctl(LOOP_CTL_REMOVE, 17);
#endif
	remove_all();

	state = "get_free";
	control_case("none", LOOP_CTL_GET_FREE, 0);
	control_case("again", LOOP_CTL_GET_FREE, 0);
	control_case("argument", LOOP_CTL_GET_FREE, 33);
	control_case("add_2", LOOP_CTL_ADD, 2);
	fd = open_number(0, O_RDWR);
	ioctl(fd, LOOP_SET_FD, image[IMG_A].rw);
	control_case("first_attached", LOOP_CTL_GET_FREE, 0);
	control_case("hole", LOOP_CTL_ADD, -1);
	control_case("lowest", LOOP_CTL_GET_FREE, 0);
	ioctl(fd, LOOP_CLR_FD, 0);
	control_case("rundown", LOOP_CTL_GET_FREE, 0);
	close(fd);
	control_case("free_again", LOOP_CTL_GET_FREE, 0);
	fd = open_number(0, O_RDWR);
	control_case("open", LOOP_CTL_GET_FREE, 0);

	state = "remove";
	control_case("open", LOOP_CTL_REMOVE, 0);
	ioctl(fd, LOOP_SET_FD, image[IMG_A].rw);
	control_case("attached_open", LOOP_CTL_REMOVE, 0);
	close(fd);
	control_case("attached", LOOP_CTL_REMOVE, 0);
	lt_detach(0);
	control_case("free", LOOP_CTL_REMOVE, 0);
	control_case("free_again", LOOP_CTL_REMOVE, 0);
	fd = open_number(2, O_RDONLY | O_EXCL);
	control_case("excl", LOOP_CTL_REMOVE, 2);
	close(fd);
	remove_all();

	state = "reuse";
	for (first = 0; first < 3; first++) {
		snprintf(name, sizeof(name), "add.%ld", first);
		control_case(name, LOOP_CTL_ADD, 5);
		snprintf(name, sizeof(name), "remove.%ld", first);
		control_case(name, LOOP_CTL_REMOVE, 5);
	}

	state = "unknown";
	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		snprintf(name, sizeof(name), "%#x", unknown[i]);
		control_case(name, unknown[i], 0);
	}
	control_case("set_fd", LOOP_SET_FD, 0);
	control_case("get_status64", LOOP_GET_STATUS64, 0);
	control_case("configure", LOOP_CONFIGURE, 0);
	remove_all();

	/* A node is opened whose device does not exist. */
	state = "probe";
	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%s/node", dir);
		unlink(name);
		mknod(name, S_IFBLK | 0600, makedev(LT_MAJOR, i ? 50 : 3));
		fd = open(name, O_RDONLY);
		report_only(i ? "50" : "3", fd < 0 ? -1 : 0,
			    "exists=%d", lt_exists(i ? 50 : 3));
		if (fd >= 0)
			close(fd);
	}
	unlink(name);
	lt_ctl(LOOP_CTL_REMOVE, 50);
	lt_ctl(LOOP_CTL_REMOVE, 3);
	remove_all();
}

static int nobody_add(void)
{
	return lt_ctl(LOOP_CTL_ADD, 51);
}

static int nobody_remove(void)
{
	return lt_ctl(LOOP_CTL_REMOVE, 51);
}

static int nobody_get_free(void)
{
	return lt_ctl(LOOP_CTL_GET_FREE, 0);
}

void group_control_nobody(void)
{
	int rc;

	state = "";
	remove_all();
	rc = did(call_in_child(nobody_add));
	report_only("add", rc, "exists=%d", lt_exists(51));
	rc = did(call_in_child(nobody_remove));
	report_only("remove", rc, "exists=%d", lt_exists(51));
	rc = did(call_in_child(nobody_get_free));
	report_only("get_free", rc, "exists=%d", lt_exists(0));
	remove_all();
	lt_ctl(LOOP_CTL_REMOVE, 51);
}
