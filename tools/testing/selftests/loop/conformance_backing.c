// SPDX-License-Identifier: GPL-2.0
/*
 * Groups "badfd", "cycle" and "backing": which files can be backing files.
 */
#include "conformance.h"

/* Fds that cannot be backing files */

enum via { VIA_SET_FD, VIA_CONFIGURE, VIA_CHANGE_FD, VIA_COUNT };

static const char *const via_names[VIA_COUNT] = {
	"set_fd", "configure", "change_fd"
};

static int attach_via(enum via via, int fd)
{
	switch (via) {
	case VIA_SET_FD:
		return ioctl(dev, LOOP_SET_FD, fd);
	case VIA_CONFIGURE:
		return lt_configure(dev, fd, 0, 0, 0, 0);
	default:
		return ioctl(dev, LOOP_CHANGE_FD, fd);
	}
}

/*
 * Tries the fd by each call, on a device that could take another one, and
 * closes it.
 */
static void try_fd(const char *name, int fd)
{
	char label[128];
	enum via via;

	for (via = 0; via < VIA_COUNT; via++) {
		int rc;

		state = via_names[via];
		if (via == VIA_CHANGE_FD)
			enter_ro();
		else
			fresh();
		remember();
		snprintf(label, sizeof(label), "%s", name);
		name_case(label);
		rc = did(attach_via(via, fd));
		report(label, rc);
		/* After a failure the device can still be attached. */
		if (via != VIA_CHANGE_FD && rc < 0) {
			snprintf(label, sizeof(label), "%s.then", name);
			rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
			report(label, rc);
		}
	}
	leave();
	if (fd >= 0)
		close(fd);
}

/* Of several errors in one call, the report tells which one the kernel returns. */
static void bad_order(void)
{
	int directory = must_open(dir, O_RDONLY | O_DIRECTORY);
	int file = image[IMG_A].rw, zero = must_open("/dev/zero", O_RDWR);

	state = "order_attached";
	enter_attached();
	remember();
	report("flag", did(lt_configure(dev, file, 0, 0x4000, 0, 0)));
	report("block_size", did(lt_configure(dev, file, 3, 0, 0, 0)));
	report("directory", did(lt_configure(dev, directory, 0, 0, 0, 0)));
	report("set_fd", did(ioctl(dev, LOOP_SET_FD, directory)));
	report("zero", did(lt_configure(dev, zero, 0, 0, 0, 0)));
	report("closed", did(lt_configure(dev, -1, 0, 0x4000, 0, 0)));
	report("change_directory", did(ioctl(dev, LOOP_CHANGE_FD, directory)));

	state = "order_free";
	fresh();
	remember();
	report("change_directory", did(ioctl(dev, LOOP_CHANGE_FD, directory)));
	report("change_zero", did(ioctl(dev, LOOP_CHANGE_FD, zero)));
	report("change_closed", did(ioctl(dev, LOOP_CHANGE_FD, -1)));
	report("flag_closed", did(lt_configure(dev, -1, 0, 0x4000, 0, 0)));
	report("flag_directory", did(lt_configure(dev, directory, 0, 0x4000, 0,
						  0)));
	report("flag_offset", did(lt_configure(dev, file, 0, 0x4000, 1ULL << 63,
					       0)));
	report("set_status", did(status64(0, UINT64_MAX, 0, NULL)));
	leave();
	close(directory);
	close(zero);
}

void group_badfd(void)
{
	int p[2], fd;

	try_fd("minus_1", -1);
	fd = dup(image[IMG_A].rw);
	close(fd);
	state = "set_fd";
	fresh();
	remember();
	report("closed", did(ioctl(dev, LOOP_SET_FD, fd)));
	try_fd("directory", must_open(dir, O_RDONLY | O_DIRECTORY));
	if (pipe(p))
		lt_die("pipe");
	try_fd("pipe_read", p[0]);
	try_fd("pipe_write", p[1]);
	try_fd("socket", socket(AF_UNIX, SOCK_STREAM, 0));
	try_fd("null", must_open("/dev/null", O_RDWR));
	try_fd("zero", must_open("/dev/zero", O_RDWR));
	try_fd("control", must_open("/dev/loop-control", O_RDWR));
	try_fd("path", must_open(image[IMG_A].path, O_PATH));
	try_fd("write_only", must_open(image[IMG_A].path, O_WRONLY));
	try_fd("proc_version", must_open("/proc/version", O_RDONLY));
	try_fd("proc_mounts", must_open("/proc/1/mounts", O_RDONLY));
	try_fd("proc_mem", must_open("/proc/self/mem", O_RDWR));
	try_fd("sysfs", must_open("/sys/kernel/rcu_expedited", O_RDWR));
	try_fd("nsfs", must_open("/proc/self/ns/mnt", O_RDONLY));
	try_fd("memfd", memfd_create("loop", 0));
	bad_order();
}

/* Devices below devices */

void group_cycle(void)
{
	enum via via;
	int fd, rc;

	for (via = 0; via < VIA_CHANGE_FD; via++) {
		state = via_names[via];

		fresh();
		remember();
		rc = did(attach_via(via, dev));
		report("self_free", rc);

		new_device(LOWER);
		fd = open_number(LOWER, O_RDWR);
		lt_know(fd, "lower");
		fresh();
		remember();
		rc = did(attach_via(via, fd));
		report("free_below", rc);
		rc = did(ioctl(fd, LOOP_SET_FD, image[IMG_A].rw));
		report("then_attached_below", rc);
		leave();
		close(fd);
		lt_destroy(LOWER, 100);

		attach_number(LOWER, image[IMG_A].rw);
		fd = open_number(LOWER, O_RDWR);
		lt_know(fd, "lower");
		fresh();
		remember();
		rc = did(attach_via(via, fd));
		close(fd);
		report("stacked", rc);
		leave();
		lt_destroy(LOWER, 100);

		/* The next close of the lower device detaches it. */
		attach_number(LOWER, image[IMG_A].rw);
		fd = open_number(LOWER, O_RDWR);
		if (ioctl(fd, LOOP_CLR_FD, 0))
			lt_die("LOOP_CLR_FD");
		fresh();
		remember();
		rc = did(attach_via(via, fd));
		report("rundown_below", rc);
		leave();
		close(fd);
		lt_destroy(LOWER, 100);
	}

	/* LOOP_CHANGE_FD would make the device above the new backing file. */
	state = "change_fd";
	enter_ro();
	remember();
	rc = did(ioctl(dev, LOOP_CHANGE_FD, dev));
	report("self", rc);
	attach_number(LOWER, dev);
	fd = open_number(LOWER, O_RDONLY);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, fd));
	report("cycle2", rc);
	attach_number(LOWEST, fd);
	close(fd);
	fd = open_number(LOWEST, O_RDONLY);
	rc = did(ioctl(dev, LOOP_CHANGE_FD, fd));
	report("cycle3", rc);
	close(fd);
	lt_destroy(LOWEST, 100);
	lt_destroy(LOWER, 100);
	leave();
}

/* Kinds of backing files */

static void backing_case(const char *name, int fd, const char *label)
{
	int rc;

	lt_know(fd, label);
	fresh();
	remember();
	name_case(name);
	rc = did(ioctl(dev, LOOP_SET_FD, fd));
	report(name, rc);
	leave();
}

static void backing_dio_case(const char *name, int fd, const char *label)
{
	char text[64];
	int rc;

	lt_know(fd, label);
	fresh();
	remember();
	rc = did(lt_configure(dev, fd, 0, LO_FLAGS_DIRECT_IO, 0, 0));
	report(name, rc);
	snprintf(text, sizeof(text), "%s.off", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 0));
	report(text, rc);
	snprintf(text, sizeof(text), "%s.on", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	report(text, rc);
	rc = did(status64(0, 512, UINT64_MAX, NULL));
	snprintf(text, sizeof(text), "%s.offset_512", name);
	report(text, rc);
	rc = did(status64(0, 1000, UINT64_MAX, NULL));
	snprintf(text, sizeof(text), "%s.offset_1000", name);
	report(text, rc);
	snprintf(text, sizeof(text), "%s.offset_1000.off", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 0));
	report(text, rc);
	snprintf(text, sizeof(text), "%s.offset_1000.on", name);
	rc = did(ioctl(dev, LOOP_SET_DIRECT_IO, 1));
	report(text, rc);
	leave();
}

static void backing_sizes(void)
{
	static const struct {
		const char *name;
		uint64_t size;
	} sizes[] = {
		{ "0", 0 }, { "1", 1 }, { "511", 511 }, { "512", 512 },
		{ "51300", 512 * 100 + 100 }, { "4095", 4095 },
		{ "1t", 1ULL << 40 },
	};
	unsigned int i;

	state = "size";
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int fd = in_dir("sized", O_RDWR | O_CREAT | O_TRUNC);

		if (ftruncate(fd, sizes[i].size))
			lt_die("ftruncate");
		backing_case(sizes[i].name, fd, "sized");
		close(fd);
	}
	state = "size_4k";
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int fd = in_dir("sized", O_RDWR | O_CREAT | O_TRUNC), rc;

		if (ftruncate(fd, sizes[i].size))
			lt_die("ftruncate");
		fresh();
		remember();
		rc = did(lt_configure(dev, fd, 4096, 0, 0, 0));
		report(sizes[i].name, rc);
		leave();
		close(fd);
	}
}

static void backing_modes(void)
{
	static uint8_t buf[4096], data[4096];
	int fd, rc;

	state = "mode";
	fd = in_dir("imgA", O_RDONLY);
	backing_case("rdonly", fd, "A");
	close(fd);
	fd = in_dir("imgA", O_RDWR | O_DIRECT);
	backing_case("direct", fd, "A");
	close(fd);
	fd = in_dir("imgA", O_RDWR | O_SYNC);
	backing_case("sync", fd, "A");
	close(fd);
	fd = in_dir("readonly", O_RDWR | O_CREAT | O_TRUNC);
	ftruncate(fd, 65536);
	fchmod(fd, 0400);
	close(fd);
	fd = in_dir("readonly", O_RDONLY);
	backing_case("chmod_0400", fd, "readonly");
	close(fd);

	fd = in_dir("append", O_RDWR | O_CREAT | O_TRUNC | O_APPEND);
	ftruncate(fd, 65536);
	backing_case("append", fd, "append");
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD of an O_APPEND file");
	memset(data, 'a', sizeof(data));
	rc = did(pwrite(dev, data, sizeof(data), 4096));
	if (rc > 0 && fsync(dev))
		rc = -1;
	report_only("append_write", rc, "file=%lld there=%d",
		    (long long)lseek(fd, 0, SEEK_END),
		    pread(fd, buf, sizeof(buf), 4096) == sizeof(buf) &&
		    !memcmp(buf, data, sizeof(buf)));
	leave();
	close(fd);

	/*
	 * The device is open read-only and the file is not, and the other way
	 * round.
	 */
	state = "access";
	fresh();
	reopen(O_RDONLY);
	remember();
	report("ro_dev_rw_file", did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw)));
	fresh();
	reopen(O_RDONLY);
	remember();
	rc = did(lt_configure(dev, image[IMG_A].rw, 0, 0, 0, 0));
	report("ro_dev_rw_file_configure", rc);
	fresh();
	remember();
	report("rw_dev_ro_file", did(ioctl(dev, LOOP_SET_FD, image[IMG_A].ro)));
	report_only("write", did(pwrite(dev, data, 4096, 0)), "%s", "");
	close(dev);
	dev = lt_open(NUMBER, O_RDWR);
	report_only("open_rw", dev < 0 ? -1 : 0, "%s", "");
	leave();

	state = "deleted";
	fd = in_dir("deleted", O_RDWR | O_CREAT | O_TRUNC);
	ftruncate(fd, 65536);
	lt_know(fd, "deleted");
	fresh();
	if (ioctl(dev, LOOP_SET_FD, fd))
		lt_die("LOOP_SET_FD");
	remember();
	snprintf((char *)buf, sizeof(buf), "%s/deleted", dir);
	unlink((char *)buf);
	report("unlinked", 0);
	leave();
	close(fd);
}

static void backing_devices(void)
{
	static const char *const paths[] = { "/dev/ram0", "/dev/nullb0" };
	static const char *const names[] = { "brd", "null_blk" };
	char text[64];
	unsigned int i;
	int fd;

	state = "device";
	attach_number(LOWER, image[IMG_A].rw);
	fd = open_number(LOWER, O_RDWR);
	backing_case("loop", fd, "lower");
	backing_dio_case("loop_dio", fd, "lower");
	if (ioctl(fd, LOOP_SET_BLOCK_SIZE, 4096))
		lt_die("LOOP_SET_BLOCK_SIZE");
	backing_case("loop_4k", fd, "lower");
	backing_dio_case("loop_4k_dio", fd, "lower");
	close(fd);
	fd = open_number(LOWER, O_RDONLY);
	backing_case("loop_ro", fd, "lower");
	close(fd);
	lt_destroy(LOWER, 100);
	attach_number(LOWER, image[IMG_A].ro);
	fd = open_number(LOWER, O_RDWR);
	if (fd >= 0) {
		backing_case("loop_on_ro", fd, "lower");
		close(fd);
	}
	lt_destroy(LOWER, 100);

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		fd = open(paths[i], O_RDWR | O_CLOEXEC);
		if (fd < 0) {
			report_only(names[i], -1, "absent");
			continue;
		}
		backing_case(names[i], fd, names[i]);
		snprintf(text, sizeof(text), "%s_dio", names[i]);
		backing_dio_case(text, fd, names[i]);
		close(fd);
	}
}

static void backing_file_systems(void)
{
	char path[PATH_MAX], name[64];
	int i, fd;

	for (i = 0; i < nr_fs; i++) {
		char *sep = strchr(fs_args[i], '=');
		bool readable;

		state = "fs";
		snprintf(name, sizeof(name), "%.*s", (int)(sep - fs_args[i]),
			 fs_args[i]);
		snprintf(path, sizeof(path), "%s/conformance.img", sep + 1);
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		readable = fd < 0;
		if (readable)
			fd = open(sep + 1, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			report_only(name, -1, "absent");
			continue;
		}
		if (!readable && ftruncate(fd, LT_MIB))
			lt_die("ftruncate %s", path);
		snprintf(lt_prefix, sizeof(lt_prefix), "%s",
			 readable ? sep + 1 : path);
		backing_case(name, fd, name);
		strncat(name, "_dio", sizeof(name) - strlen(name) - 1);
		backing_dio_case(name, fd, name);
		close(fd);
		if (!readable)
			unlink(path);
	}
	snprintf(lt_prefix, sizeof(lt_prefix), "%s", dir);
}

void group_backing(void)
{
	backing_sizes();
	backing_modes();
	backing_devices();
	backing_file_systems();
}
