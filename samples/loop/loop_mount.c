// SPDX-License-Identifier: GPL-2.0
/*
 * This program mounts an image, as mount(8) does. The lease keeps the device attached until
 * the mount holds it. With autoclear, the umount then detaches the device.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <linux/loop.h>

int main(int argc, char **argv)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a),
		.attach_flags = LOOP_ATTACH_LEASE,
		.lo_flags = LO_FLAGS_AUTOCLEAR,
		.require = LOOP_COND_WRITE,
		.index = -1,
	};
	char node[32];
	int control;

	if (argc != 4)
		errx(2, "usage: %s IMAGE DIRECTORY TYPE", argv[0]);
	a.fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (a.fd < 0)
		err(1, "%s", argv[1]);
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		err(1, "/dev/loop-control");
	if (ioctl(control, LOOP_CTL_ATTACH, &a))
		err(1, "%s: LOOP_CTL_ATTACH", argv[1]);

	/*
	 * The mount opens the node itself. A file descriptor that is open for
	 * writing would be in its way where bdev_allow_write_mounted is 0.
	 */
	snprintf(node, sizeof(node), "/dev/loop%d", a.out_index);
	if (mount(node, argv[2], argv[3], 0, NULL))
		err(1, "%s: mount", node);
	close(a.out_lease);
	printf("%s\n", node);
	return 0;
}
