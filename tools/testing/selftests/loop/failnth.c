// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation, copy from or to user memory, and bio of each operation fails
 * in turn, by /proc/thread-self/fail-nth, until the operation is done without a
 * fault. A call that fails returns the reason, has changed nothing and works when
 * it is made again; a call that succeeds in spite of a fault has done all.
 *
 * Faults are injected into the caller's own task only, not into workers.
 */
#include "kselftest_harness.h"
#include "loop_test.h"

#define DEVICE 970
#define SIZE (2 * LT_MIB)
#define BLOCK 4096
#define MAX_FAULTS 2000

FIXTURE(failnth)
{
	char dir[32];
	char path[64];
	int number;		/* of the device that it is about */
	int dev;		/* an open file of it, or -1 */
	int second;		/* another one, or -1 */
	int file;
	int other;		/* of the same size */
	int uevents;
	int fail_nth;
	struct loop_ctl_attach a;
};

/* Faults */

static void arm(struct _test_data_failnth *self, int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	if (pwrite(self->fail_nth, text, strlen(text), 0) < 0)
		lt_die("write fail-nth");
}

/* Ends the injection, and returns whether a fault was injected. */
static bool disarm(struct _test_data_failnth *self)
{
	char text[16] = "";
	ssize_t n = pread(self->fail_nth, text, sizeof(text) - 1, 0);

	/* a fault that is left may hit this function itself */
	while (pwrite(self->fail_nth, "0", 1, 0) < 0)
		;
	return n > 0 && !atoi(text);
}

/* All kinds of faults, also where the kernel could wait for memory. */
static bool faults_allow(void)
{
	static const char *const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_usercopy/verbose", "0" },
		{ "fail_make_request/verbose", "0" },
	};
	char path[96];
	unsigned int i;

	if (access("/proc/thread-self/fail-nth", W_OK))
		return false;
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s",
			 settings[i][0]);
		if (access(path, W_OK))
			return false;
		lt_write_file(path, settings[i][1]);
	}
	return true;
}

static void let_bios_fail(const char *disk, int number)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/%s%d/make-it-fail", disk,
		 number);
	lt_write_file(path, "1");
}

/* Steps: 0 or an errno */

static int result(int ret)
{
	return ret < 0 ? errno : 0;
}

static int dev_open(struct _test_data_failnth *self)
{
	self->dev = lt_open(self->number, O_RDWR);
	return result(self->dev);
}

static int dev_close(struct _test_data_failnth *self)
{
	int fd = self->dev;

	self->dev = -1;
	return result(close(fd));
}

static int add(struct _test_data_failnth *self)
{
	return result(lt_ctl(LOOP_CTL_ADD, self->number));
}

static int remove_it(struct _test_data_failnth *self)
{
	return result(lt_ctl(LOOP_CTL_REMOVE, self->number));
}

static int get_free(struct _test_data_failnth *self)
{
	return result(lt_ctl(LOOP_CTL_GET_FREE, 0));
}

static int open_close(struct _test_data_failnth *self)
{
	int fd = lt_open(self->number, O_RDWR);

	return result(fd) ?: result(close(fd));
}

/* Opens a node that has no device, which makes the device. */
static int probe(struct _test_data_failnth *self)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/node", self->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return result(fd) ?: result(close(fd));
}

static int set_fd(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_SET_FD, self->file));
}

static int configure_flags(struct _test_data_failnth *self, uint32_t flags)
{
	return result(lt_configure(self->dev, self->file, 0, flags, 0, 0));
}

static int configure(struct _test_data_failnth *self)
{
	return configure_flags(self, 0);
}

static int configure_ro(struct _test_data_failnth *self)
{
	return configure_flags(self, LO_FLAGS_READ_ONLY);
}

static int configure_partscan(struct _test_data_failnth *self)
{
	return configure_flags(self, LO_FLAGS_PARTSCAN);
}

static int configure_direct(struct _test_data_failnth *self)
{
	return configure_flags(self, LO_FLAGS_DIRECT_IO);
}

static int clear_close(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_CLR_FD)) ?: dev_close(self);
}

static int clear_reopen(struct _test_data_failnth *self)
{
	return clear_close(self) ?: dev_open(self);
}

static int open_configure(struct _test_data_failnth *self)
{
	return dev_open(self) ?: configure(self);
}

static int open_direct(struct _test_data_failnth *self)
{
	return dev_open(self) ?: configure_direct(self);
}

static int open_autoclear(struct _test_data_failnth *self)
{
	return dev_open(self) ?: configure_flags(self, LO_FLAGS_AUTOCLEAR);
}

static int second_open(struct _test_data_failnth *self)
{
	self->second = lt_open(self->number, O_RDONLY);
	return result(self->second);
}

static int clear(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_CLR_FD));
}

/* Closes both openers, which detaches the device, and attaches it again. */
static int both_close(struct _test_data_failnth *self)
{
	close(self->second);
	return dev_close(self) ?: open_configure(self) ?: second_open(self);
}

static int attach_flags(struct _test_data_failnth *self, uint32_t flags,
			uint32_t lo_flags)
{
	self->a = lt_to_attach(self->number, self->file, flags, lo_flags);
	return result(ioctl(lt_control(), LOOP_CTL_ATTACH, &self->a));
}

static int attach(struct _test_data_failnth *self)
{
	return attach_flags(self, 0, 0);
}

static int attach_lease(struct _test_data_failnth *self)
{
	return attach_flags(self, LOOP_ATTACH_LEASE, 0);
}

static int attach_ephemeral(struct _test_data_failnth *self)
{
	return attach_flags(self, LOOP_ATTACH_LEASE | LOOP_ATTACH_EPHEMERAL, 0);
}

static int attach_exclusive(struct _test_data_failnth *self)
{
	return attach_flags(self, LOOP_ATTACH_LEASE | LOOP_ATTACH_EXCLUSIVE, 0);
}

static int attach_held(struct _test_data_failnth *self)
{
	return attach_flags(self, LOOP_ATTACH_LEASE | LOOP_ATTACH_HOLD,
			    LO_FLAGS_PARTSCAN);
}

static int close_lease(struct _test_data_failnth *self)
{
	return result(close(self->a.out_lease));
}

static int attach_announce(struct _test_data_failnth *self)
{
	int err = attach_held(self);

	if (err)
		return err;
	err = result(ioctl(self->a.out_lease, LOOP_LEASE_ANNOUNCE));
	if (err)
		close(self->a.out_lease);
	return err;
}

/* Attaches, and detaches by closing the lease. */
static int attach_close(struct _test_data_failnth *self)
{
	return attach_flags(self, LOOP_ATTACH_LEASE | LOOP_ATTACH_EPHEMERAL,
			    LO_FLAGS_AUTOCLEAR) ?:
	       close_lease(self);
}

static int detach_mode(struct _test_data_failnth *self, uint32_t mode, uint64_t deadline)
{
	struct loop_ctl_detach d = lt_to_detach(self->number, mode, deadline);

	return result(ioctl(lt_control(), LOOP_CTL_DETACH, &d));
}

static int detach(struct _test_data_failnth *self)
{
	return detach_mode(self, LOOP_DETACH_NOW, 0);
}

static int detach_wait(struct _test_data_failnth *self)
{
	return detach_mode(self, LOOP_DETACH_WAIT, UINT64_MAX);
}

static int detach_lazy(struct _test_data_failnth *self)
{
	return detach_mode(self, LOOP_DETACH_LAZY, 0);
}

static int detach_force(struct _test_data_failnth *self)
{
	return detach_mode(self, LOOP_DETACH_FORCE, UINT64_MAX);
}

static int close_detach(struct _test_data_failnth *self)
{
	close(self->a.out_lease);
	return detach(self);
}

static int close_detach_remove(struct _test_data_failnth *self)
{
	return close_detach(self) ?: remove_it(self);
}

static int set_status(struct _test_data_failnth *self, uint64_t offset, const char *name)
{
	struct loop_info64 info = { .lo_offset = offset };

	snprintf((char *)info.lo_file_name, LO_NAME_SIZE, "%s", name);
	return result(ioctl(self->dev, LOOP_SET_STATUS64, &info));
}

static int status(struct _test_data_failnth *self)
{
	return set_status(self, BLOCK, "name");
}

static int status_back(struct _test_data_failnth *self)
{
	return set_status(self, 0, "");
}

static int status_partscan(struct _test_data_failnth *self)
{
	struct loop_info64 info = { .lo_flags = LO_FLAGS_PARTSCAN };

	return result(ioctl(self->dev, LOOP_SET_STATUS64, &info));
}

static int clear_configure(struct _test_data_failnth *self)
{
	return clear_reopen(self) ?: configure(self);
}

static int get_status(struct _test_data_failnth *self)
{
	struct loop_info64 info;

	return result(ioctl(self->dev, LOOP_GET_STATUS64, &info));
}

static int old_status(struct _test_data_failnth *self)
{
	struct loop_info info = { .lo_offset = BLOCK };

	return result(ioctl(self->dev, LOOP_SET_STATUS, &info));
}

static int get_old_status(struct _test_data_failnth *self)
{
	struct loop_info info;

	return result(ioctl(self->dev, LOOP_GET_STATUS, &info));
}

static int change(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_CHANGE_FD, self->other));
}

static int change_back(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_CHANGE_FD, self->file));
}

static int grow(struct _test_data_failnth *self)
{
	return result(ftruncate(self->file, 2 * SIZE));
}

static int capacity(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_SET_CAPACITY, 0));
}

static int capacity_back(struct _test_data_failnth *self)
{
	return result(ftruncate(self->file, SIZE)) ?: capacity(self);
}

static int block_size(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_SET_BLOCK_SIZE, BLOCK));
}

static int block_size_back(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_SET_BLOCK_SIZE, 512));
}

static int direct(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_SET_DIRECT_IO, 1));
}

static int direct_back(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, LOOP_SET_DIRECT_IO, 0));
}

static int list_flags(struct _test_data_failnth *self, uint32_t flags)
{
	struct loop_ctl_entry e[4];
	struct loop_ctl_list l = lt_to_list(0, ARRAY_SIZE(e), e, flags,
					    flags & LOOP_LIST_FD ? self->file : -1);

	return result(ioctl(lt_control(), LOOP_CTL_LIST, &l));
}

static int list(struct _test_data_failnth *self)
{
	return list_flags(self, 0);
}

static int list_file(struct _test_data_failnth *self)
{
	return list_flags(self, LOOP_LIST_FD);
}

/* The file is on a disk, or is one, whose bios fail, too. */

#define DISK "/dev/nullb0"

static int on_disk(struct _test_data_failnth *self)
{
	close(self->file);
	self->file = open(DISK, O_RDWR | O_CLOEXEC);
	if (self->file < 0)
		return errno;
	let_bios_fail("nullb", 0);
	lt_know(self->file, "file");
	return 0;
}

/* Without a journal, for its threads must not be told of an error. */
static int on_ext4(struct _test_data_failnth *self)
{
	char mnt[48];

	close(self->file);
	snprintf(mnt, sizeof(mnt), "%s/mnt", self->dir);
	if (system("mkfs.ext4 -q -F -O ^has_journal " DISK " 32M") ||
	    mkdir(mnt, 0700) || mount(DISK, mnt, "ext4", MS_NOATIME, NULL))
		return errno ?: EIO;
	let_bios_fail("nullb", 0);
	snprintf(self->path, sizeof(self->path), "%s/file", mnt);
	self->file = lt_file(self->path, SIZE, 1);
	lt_know(self->file, "file");
	return result(fsync(self->file));
}

/* I/O of the third page; a part of it is EIO. */

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static int check(ssize_t n)
{
	return n < 0 ? errno : n == page_size() ? 0 : EIO;
}

static int dev_direct(struct _test_data_failnth *self)
{
	return result(fcntl(self->dev, F_SETFL, O_DIRECT));
}

static int dev_write(struct _test_data_failnth *self)
{
	size_t page = page_size();

	lt_fill(lt_edge() - page, page, 7, 2 * page);
	return check(pwrite(self->dev, lt_edge() - page, page, 2 * page));
}

static int dev_sync(struct _test_data_failnth *self)
{
	return result(fsync(self->dev));
}

static int dev_write_sync(struct _test_data_failnth *self)
{
	return dev_write(self) ?: dev_sync(self);
}

static int dev_read(struct _test_data_failnth *self)
{
	size_t page = page_size();
	uint8_t *buf = lt_edge() - page;
	int err;

	memset(buf, 0, page);
	err = check(pread(self->dev, buf, page, 2 * page));
	return err ?: lt_filled(buf, page, 7, 2 * page) ? 0 : EBADMSG;
}

/* Drops the page caches of the device and of the file. */
static int drop(struct _test_data_failnth *self)
{
	return result(ioctl(self->dev, BLKFLSBUF)) ?:
	       posix_fadvise(self->file, 0, 0, POSIX_FADV_DONTNEED);
}

static int discard(struct _test_data_failnth *self)
{
	uint64_t range[2] = { 4 * page_size(), 4 * page_size() };

	return result(ioctl(self->dev, BLKDISCARD, range));
}

static int zero(struct _test_data_failnth *self)
{
	uint64_t range[2] = { 4 * page_size(), 4 * page_size() };

	return result(ioctl(self->dev, BLKZEROOUT, range));
}

typedef int (*step)(struct _test_data_failnth *self);

FIXTURE_VARIANT(failnth)
{
	bool absent;		/* no such device at the start, else closed */
	step prepare[4];	/* once */
	step ready;		/* before each call */
	step call;
	step undo;		/* as it was before the call */
	int also;		/* an errno beside ENOMEM and EFAULT */
	bool loud;		/* a call that fails may send uevents */
	bool moves;		/* a call that fails may have attached and detached */
	bool scans;		/* without memory, a scan may find fewer partitions */
};

/* For add_disk() it is EINVAL if there is no memory for the name. */
FIXTURE_VARIANT_ADD(failnth, add)
{
	.absent = true, .call = add, .undo = remove_it, .loud = true,
	.also = EINVAL,
};

FIXTURE_VARIANT_ADD(failnth, get_free)
{
	.absent = true, .call = get_free, .undo = remove_it, .loud = true,
	.also = EINVAL,
};

FIXTURE_VARIANT_ADD(failnth, remove)
{
	.call = remove_it, .undo = add, .loud = true,
};

FIXTURE_VARIANT_ADD(failnth, open)
{
	.call = open_close,
};

/* If the device cannot be made, the open fails with ENXIO. */
FIXTURE_VARIANT_ADD(failnth, probe)
{
	.absent = true, .call = probe, .undo = remove_it, .loud = true,
	.also = ENXIO,
};

FIXTURE_VARIANT_ADD(failnth, set_fd)
{
	.prepare = { dev_open }, .call = set_fd, .undo = clear_reopen,
};

FIXTURE_VARIANT_ADD(failnth, configure)
{
	.prepare = { dev_open }, .call = configure, .undo = clear_reopen,
};

FIXTURE_VARIANT_ADD(failnth, configure_direct)
{
	.prepare = { dev_open }, .call = configure_direct, .undo = clear_reopen,
};

FIXTURE_VARIANT_ADD(failnth, configure_partscan)
{
	.prepare = { dev_open }, .call = configure_partscan, .undo = clear_reopen,
	.scans = true,
};

/* The kernel undoes the attach if it cannot write the answers. */
FIXTURE_VARIANT_ADD(failnth, attach)
{
	.call = attach, .undo = detach,
	.loud = true,
};

FIXTURE_VARIANT_ADD(failnth, attach_lease)
{
	.call = attach_lease, .undo = close_detach,
	.loud = true,
};

FIXTURE_VARIANT_ADD(failnth, attach_exclusive)
{
	.call = attach_exclusive, .undo = close_detach,
	.loud = true,
};

/* Closing the lease detaches a device that was not announced. */
FIXTURE_VARIANT_ADD(failnth, attach_held)
{
	.call = attach_held, .undo = close_lease,
	.moves = true,
};

FIXTURE_VARIANT_ADD(failnth, announce)
{
	.call = attach_announce, .undo = close_detach,
	.loud = true, .scans = true,
};

FIXTURE_VARIANT_ADD(failnth, attach_new)
{
	.absent = true, .call = attach_lease, .undo = close_detach_remove,
	.loud = true,
	.also = EINVAL,
};

FIXTURE_VARIANT_ADD(failnth, attach_ephemeral)
{
	.absent = true, .call = attach_ephemeral, .undo = close_detach,
	.loud = true,
	.also = EINVAL,
};

FIXTURE_VARIANT_ADD(failnth, attach_close)
{
	.absent = true, .call = attach_close, .loud = true,
	.also = EINVAL,
};

FIXTURE_VARIANT_ADD(failnth, status)
{
	.prepare = { open_configure }, .call = status, .undo = status_back,
};

FIXTURE_VARIANT_ADD(failnth, status_partscan)
{
	.prepare = { open_configure }, .call = status_partscan,
	.undo = clear_configure,
	.scans = true,
};

FIXTURE_VARIANT_ADD(failnth, get_status)
{
	.prepare = { open_configure }, .call = get_status,
};

FIXTURE_VARIANT_ADD(failnth, old_status)
{
	.prepare = { open_configure }, .call = old_status, .undo = status_back,
};

FIXTURE_VARIANT_ADD(failnth, get_old_status)
{
	.prepare = { open_configure }, .call = get_old_status,
};

FIXTURE_VARIANT_ADD(failnth, change)
{
	.prepare = { dev_open, configure_ro }, .call = change,
	.undo = change_back,
};

FIXTURE_VARIANT_ADD(failnth, capacity)
{
	.prepare = { open_configure }, .ready = grow, .call = capacity,
	.undo = capacity_back,
};

FIXTURE_VARIANT_ADD(failnth, block_size)
{
	.prepare = { open_configure }, .call = block_size,
	.undo = block_size_back,
};

FIXTURE_VARIANT_ADD(failnth, direct)
{
	.prepare = { open_configure }, .call = direct, .undo = direct_back,
};

FIXTURE_VARIANT_ADD(failnth, clear_close)
{
	.prepare = { open_configure }, .call = clear_close,
	.undo = open_configure,
};

FIXTURE_VARIANT_ADD(failnth, autoclear)
{
	.prepare = { open_autoclear }, .call = dev_close,
	.undo = open_autoclear,
};

FIXTURE_VARIANT_ADD(failnth, clear_shared)
{
	.prepare = { open_configure, second_open }, .call = clear,
	.undo = both_close,
};

FIXTURE_VARIANT_ADD(failnth, detach)
{
	.prepare = { attach }, .call = detach, .undo = attach,
};

FIXTURE_VARIANT_ADD(failnth, detach_wait)
{
	.prepare = { attach }, .call = detach_wait,
	.undo = attach,
};

FIXTURE_VARIANT_ADD(failnth, detach_lazy)
{
	.prepare = { attach }, .call = detach_lazy,
	.undo = attach,
};

FIXTURE_VARIANT_ADD(failnth, detach_force)
{
	.prepare = { attach }, .call = detach_force,
	.undo = attach,
};

FIXTURE_VARIANT_ADD(failnth, list)
{
	.prepare = { open_configure }, .call = list,
};

FIXTURE_VARIANT_ADD(failnth, list_file)
{
	.prepare = { open_configure }, .call = list_file,
};

FIXTURE_VARIANT_ADD(failnth, read)
{
	.prepare = { open_configure, dev_write_sync, dev_direct },
	.call = dev_read, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, read_cold)
{
	.prepare = { open_configure, dev_write_sync, dev_direct },
	.ready = drop, .call = dev_read, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, read_cached)
{
	.prepare = { open_configure, dev_write_sync }, .ready = drop,
	.call = dev_read, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, write)
{
	.prepare = { open_configure, dev_direct }, .call = dev_write,
	.also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, write_cached)
{
	.prepare = { open_configure }, .ready = drop, .call = dev_write,
	.also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, read_direct)
{
	.prepare = { dev_open, configure_direct, dev_write_sync, dev_direct },
	.call = dev_read, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, write_direct)
{
	.prepare = { dev_open, configure_direct, dev_direct },
	.call = dev_write, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, configure_disk)
{
	.prepare = { on_disk, dev_open }, .call = configure_direct,
	.undo = clear_reopen,
};

/* Bios are cloned. */
FIXTURE_VARIANT_ADD(failnth, read_disk)
{
	.prepare = { on_disk, open_direct, dev_write_sync, dev_direct },
	.call = dev_read, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, write_disk)
{
	.prepare = { on_disk, open_direct, dev_direct }, .call = dev_write,
	.also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, discard_disk)
{
	.prepare = { on_disk, open_direct }, .call = discard, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, zero_disk)
{
	.prepare = { on_disk, open_direct }, .call = zero, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, fsync_disk)
{
	.prepare = { on_disk, open_direct }, .ready = dev_write,
	.call = dev_sync, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, read_ext4)
{
	.prepare = { on_ext4, open_configure, dev_write_sync, dev_direct },
	.ready = drop, .call = dev_read, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, read_ext4_direct)
{
	.prepare = { on_ext4, open_direct, dev_write_sync, dev_direct },
	.call = dev_read, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, write_ext4_direct)
{
	.prepare = { on_ext4, open_direct, dev_write_sync, dev_direct },
	.call = dev_write, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, fsync_ext4)
{
	.prepare = { on_ext4, open_direct }, .ready = dev_write,
	.call = dev_sync, .also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, fsync)
{
	.prepare = { open_configure }, .ready = dev_write, .call = dev_sync,
	.also = EIO,
};

FIXTURE_VARIANT_ADD(failnth, discard)
{
	.prepare = { open_configure }, .call = discard, .also = EIO,
};

/* The first call finds that tmpfs cannot zero a range; the device then stops offering it. */
FIXTURE_VARIANT_ADD(failnth, zero)
{
	.prepare = { open_configure, zero }, .call = zero, .also = EIO,
};

static int maybe(struct _test_data_failnth *self, step step)
{
	return step ? step(self) : 0;
}

/* LOOP_CTL_GET_FREE has none but a new one to give. */
static void remove_all(void)
{
	struct dirent *de;
	DIR *dir = opendir("/sys/block");
	int n;

	while (dir && (de = readdir(dir)))
		if (sscanf(de->d_name, "loop%d", &n) == 1)
			lt_destroy(n, 100);
	if (dir)
		closedir(dir);
}

FIXTURE_SETUP(failnth)
{
	int i;

	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	self->fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fail_nth);
	self->number = variant->call == get_free ? 0 : DEVICE;
	if (variant->call == get_free)
		remove_all();
	self->dev = -1;
	self->second = -1;
	ASSERT_TRUE(lt_destroy(self->number, 100));
	ASSERT_EQ(0, lt_scratch(self->dir, "failnth"));
	snprintf(self->path, sizeof(self->path), "%s/other", self->dir);
	self->other = lt_file(self->path, SIZE, 1);
	lt_know(self->other, "other");
	snprintf(self->path, sizeof(self->path), "%s/file", self->dir);
	self->file = lt_file(self->path, SIZE, 1);
	lt_know(self->file, "file");
	lt_label_two(self->file);
	snprintf(self->path, sizeof(self->path), "%s/node", self->dir);
	ASSERT_EQ(0, mknod(self->path, S_IFBLK | 0600,
			   makedev(LT_MAJOR, self->number)));
	self->uevents = lt_uevent_open();
	if (variant->prepare[0] == on_disk || variant->prepare[0] == on_ext4) {
		if (access(DISK, F_OK))
			SKIP(return, "no null_blk");
	}
	if (!variant->absent) {
		ASSERT_EQ(0, add(self));
		let_bios_fail("loop", self->number);
	}
	for (i = 0; i < ARRAY_SIZE(variant->prepare); i++)
		ASSERT_EQ(0, maybe(self, variant->prepare[i]));
	/* no fault of a page must want memory */
	lt_edge();
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
}

FIXTURE_TEARDOWN_PARENT(failnth)
{
	lt_destroy(self->number, 100);
	rmdir(self->dir);
}

static const char *what_is(struct _test_data_failnth *self, struct lt_buf *b)
{
	struct loop_ctl_entry e = { };
	struct loop_ctl_list l = lt_to_list(self->number, 1, &e, 0, -1);
	int fd;

	if (ioctl(lt_control(), LOOP_CTL_LIST, &l))
		lt_die("LOOP_CTL_LIST");
	*b = (struct lt_buf) { };
	if (!l.out_count || e.index != self->number)
		lt_add(b, "absent");
	else
		lt_add(b, "state=%u fl=%u op=%u bs=%u size=%llu at=%u", e.state,
		       e.lo_flags, e.openers, e.block_size,
		       (unsigned long long)e.nr_bytes, e.attach_flags);
	fd = lt_open(self->number, O_RDONLY);
	lt_add_state(b, self->number, fd);
	if (fd >= 0)
		close(fd);
	return b->s;
}

/* An ephemeral device goes a moment later. */
static const char *what_becomes(struct _test_data_failnth *self,
				struct lt_buf *b, const struct lt_buf *want)
{
	int i;

	for (i = 0; i < 500 && strcmp(want->s, what_is(self, b)); i++)
		lt_sleep_ms(10);
	return b->s;
}

static uint64_t diskseq(struct _test_data_failnth *self)
{
	return lt_sysfs_num(self->number, "diskseq");
}

TEST_F_TIMEOUT(failnth, each, 3600)
{
	struct lt_buf before, after, now, sent;
	int n, err, failed = 0, survived = 0;
	uint64_t seq;
	bool fault;

	what_is(self, &before);
	ASSERT_EQ(0, maybe(self, variant->ready));
	ASSERT_EQ(0, variant->call(self));
	if (variant->undo)
		what_is(self, &after);
	else
		what_becomes(self, &after, &before);
	ASSERT_EQ(0, maybe(self, variant->undo));
	ASSERT_STREQ(before.s, what_becomes(self, &now, &before));

	for (n = 1; n < MAX_FAULTS; n++) {
		ASSERT_EQ(0, maybe(self, variant->ready));
		seq = diskseq(self);
		lt_uevents(self->uevents, self->number, NULL);
		arm(self, n);
		err = variant->call(self);
		fault = disarm(self);
		if (!fault) {
			EXPECT_EQ(0, err);
			break;
		}
		if (err) {
			failed++;
			EXPECT_TRUE(err == ENOMEM || err == EFAULT || err == variant->also) {
				TH_LOG("fault %d: %s", n, lt_errname(err));
			}
			EXPECT_STREQ(before.s, what_becomes(self, &now, &before)) {
				TH_LOG("fault %d: %s", n, lt_errname(err));
			}
			sent = (struct lt_buf) { };
			lt_uevents(self->uevents, self->number, &sent);
			if (!variant->loud) {
				EXPECT_STREQ("", sent.s) {
					TH_LOG("fault %d: %s", n, lt_errname(err));
				}
			}
			if (!variant->loud && !variant->moves)
				EXPECT_EQ(seq, diskseq(self));
			ASSERT_EQ(0, maybe(self, variant->ready));
			ASSERT_EQ(0, variant->call(self)) {
				TH_LOG("after fault %d: %s", n, lt_errname(err));
			}
		} else {
			survived++;
		}
		if (!err && variant->scans) {
			/* the kernel log tells which are missing */
			ASSERT_EQ(0, maybe(self, variant->undo));
			ASSERT_EQ(0, variant->call(self));
		}
		EXPECT_STREQ(after.s, what_becomes(self, &now, &after)) {
			TH_LOG("fault %d, %s", n, err ? "and again" : "survived");
		}
		ASSERT_EQ(0, maybe(self, variant->undo));
		ASSERT_STREQ(before.s, what_becomes(self, &now, &before)) {
			TH_LOG("fault %d, and undone", n);
		}
	}
	EXPECT_LT(n, MAX_FAULTS);
	printf("# %d faults, %d failed the call\n", failed + survived, failed);
	fflush(stdout);
	ASSERT_EQ(0, maybe(self, variant->undo));

	close(self->second);
	if (self->dev >= 0) {
		ioctl(self->dev, LOOP_CLR_FD);
		dev_close(self);
	}
	lt_destroy(self->number, 100);
	EXPECT_FALSE(lt_exists(self->number));
	/* nobody holds a file */
	close(self->file);
	close(self->other);
	if (variant->prepare[0] == on_ext4) {
		snprintf(self->path, sizeof(self->path), "%s/mnt", self->dir);
		EXPECT_EQ(0, umount2(self->path, 0));
	}
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* One reason to skip all of them is enough. */
int main(int argc, char **argv)
{
	if (!faults_allow()) {
		puts("1..0 # SKIP no fault injection: CONFIG_FAULT_INJECTION and others");
		return KSFT_SKIP;
	}
	return test_harness_run(argc, argv);
}
