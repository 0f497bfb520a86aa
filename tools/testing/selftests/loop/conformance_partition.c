// SPDX-License-Identifier: GPL-2.0
/*
 * Group "partition": calls through the node of a partition.
 */
#include "conformance.h"

void group_partition(void)
{
	struct loop_info64 info = { 0 };
	char name[64];
	unsigned int i;
	int part;

	state = "p1";
	fresh_attached(IMG_P, LO_FLAGS_PARTSCAN);
	report_enter();
	for (i = 0; i < nr_calls; i++) {
		int rc, disk;
		bool clean;

		if (calls[i].own_fd || !strcmp(calls[i].name, "mount"))
			continue;
		part = lt_open_part(NUMBER, 1, O_RDWR);
		if (part < 0)
			lt_die("open partition 1");
		disk = dev;
		dev = part;
		name_case(calls[i].name);
		rc = did(calls[i].fn());
		dev = disk;
		clean = report(calls[i].name, rc);
		close(part);
		if (!clean) {
			fresh_attached(IMG_P, LO_FLAGS_PARTSCAN);
			remember();
		}
	}

	state = "clear";
	fresh_attached(IMG_P, LO_FLAGS_PARTSCAN);
	part = lt_open_part(NUMBER, 1, O_RDWR);
	remember();
	snprintf(name, sizeof(name), "clr_fd_part_open");
	report(name, did(ioctl(dev, LOOP_CLR_FD, 0)));
	close(dev);
	dev = -1;
	remember();
	report("disk_closed", 0);
	close(part);
	report("part_closed", 0);

	state = "partscan";
	fresh_attached(IMG_P, 0);
	remember();
	report("blkrrpart", did(ioctl(dev, BLKRRPART, 0)));
	info.lo_flags = LO_FLAGS_PARTSCAN;
	report("on", did(ioctl(dev, LOOP_SET_STATUS64, &info)));
	report("blkrrpart_on", did(ioctl(dev, BLKRRPART, 0)));
	report("blkpg_add", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 5, 4096, 4096)));
	report("blkpg_del", did(lt_blkpg(dev, BLKPG_DEL_PARTITION, 1, 0, 0)));
	info.lo_flags = 0;
	report("off", did(ioctl(dev, LOOP_SET_STATUS64, &info)));
	report("blkrrpart_off", did(ioctl(dev, BLKRRPART, 0)));
	info.lo_offset = 4096;
	report("offset", did(ioctl(dev, LOOP_SET_STATUS64, &info)));
	report("blkrrpart_offset", did(ioctl(dev, BLKRRPART, 0)));
	ioctl(dev, LOOP_CLR_FD, 0);
	report("clr_fd", 0);
	close(dev);
	dev = -1;
	report("closed", 0);

	state = "blkpg";
	fresh();
	remember();
	report("add_free", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 1, 0, 4096)));
	ioctl(dev, LOOP_SET_FD, image[IMG_A].rw);
	report("attached", 0);
	report("add", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 1, 4096, 4096)));
	report("add_past_end", did(lt_blkpg(dev, BLKPG_ADD_PARTITION, 2, 0, 1 << 30)));
	ioctl(dev, LOOP_CLR_FD, 0);
	close(dev);
	dev = -1;
	report("detached", 0);
	leave();
}
