// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls, good and bad, on a few loop devices, their control device and
 * their backing files.
 *
 * usage: fuzz [-f TYPE=SOURCE]... [-p PROCESSES] [-t SECONDS] [-v] [SEED]
 *	  fuzz [-f TYPE=SOURCE]... -n STEPS SEED
 *
 * The first form is the storm: several processes, which are killed now and then.
 * In the end all devices must be detached and removed. Process N has the seed
 * SEED + N. With -p 1 the same seed makes the same calls, and -v
 * prints them.
 *
 * The second form is the trace: one process, which prints each call, its result
 * and the changes of the state of the devices and files. Two drivers are
 * alike if their traces are. Where a difference from the kernel's own driver is
 * intended, the trace goes round it; the comments there, "differs: ...", name
 * the line of conformance.differences.
 *
 * A step depends on the seed, the number of the step and the state only. Backing
 * files are on a tmpfs and on each SOURCE, which is mounted.
 */
#include <linux/falloc.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "loop_test.h"

#define DEVICES 4		/* that are opened */
#define SLOTS 8			/* open devices of a process */
#define FILES 2			/* per file system */
#define MOUNTS 4
#define PROCESSES 8
#define FILE_MAX (2 * LT_MIB)
#define IO_MAX (64 * 1024)
#define HASH_STEPS 16
#define SLOW_SECONDS 300

struct slot {
	int fd, dev, part, flags;
	bool lease;		/* no device, but a lease of it */
};

struct backing_fs {
	const char *type, *source;
};

static struct slot slots[SLOTS];
static struct backing_fs mounts[MOUNTS] = { { "tmpfs", "fuzz" } };
static unsigned int nr_mounts = 1;
static char dir[32];
static bool trace, verbose;
static uint64_t rng, seed, step;
static struct lt_buf line;
static uint8_t data[IO_MAX] __attribute__((aligned(4096)));
static uint8_t *held;		/* a page of some device, or NULL */
static bool direct_files[DEVICES];	/* the file was opened with O_DIRECT */
static sigjmp_buf fault;

/* Random numbers */

static uint64_t next(void)
{
	uint64_t x = rng += 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t below(uint64_t n)
{
	return next() % n;
}

static bool one_in(unsigned int n)
{
	return !below(n);
}

#define PICK(array) ((array)[below(ARRAY_SIZE(array))])

/* Returns a place or a size, which a file cannot have in a few cases. */
static uint64_t some_bytes(void)
{
	static const uint64_t odd[] = {
		0, 1, 511, 513, 4095, 4097, FILE_MAX, 1ULL << 31, 1ULL << 32,
		LLONG_MAX - 511, LLONG_MAX, 1ULL << 63, UINT64_MAX,
	};

	switch (below(8)) {
	case 0:
		return PICK(odd);
	case 1:
		return below(FILE_MAX);
	case 2:
	case 3:
		return below(FILE_MAX / 512) * 512;
	default:
		return below(FILE_MAX / 4096) * 4096;
	}
}

/* Returns a place that most devices have. */
static uint64_t some_place(void)
{
	return one_in(16) ? some_bytes() : below(FILE_MAX / 2048) * 1024;
}

static uint64_t some_length(void)
{
	return one_in(8) ? below(IO_MAX) : (1 + below(IO_MAX / 4096)) * 4096;
}

static uint32_t some_block_size(void)
{
	static const uint32_t good[] = { 0, 512, 1024, 2048, 4096 };
	static const uint32_t bad[] = { 1, 3, 256, 768, 8192, 65536, 1U << 31 };

	return one_in(16) ? PICK(bad) : PICK(good);
}

static int some_number(void)
{
	static const int odd[] = { -1, -2, 5, 1 << 20, INT_MAX, INT_MIN };

	if (one_in(8))
		return PICK(odd);
	return below(!trace && one_in(4) ? 64 : DEVICES);
}

static void *maybe_bad(void *p)
{
	static void *const bad[] = { NULL, (void *)1, (void *)-4096L };

	return one_in(32) ? PICK(bad) : p;
}

/* The trace of a step */

#define say(...) lt_add(&line, __VA_ARGS__)

static long result(long rc)
{
	int err = errno;

	if (rc >= 0) {
		say(" = %ld", rc);
	} else {
		say(" = %s", lt_errname(err));
		/* codes that only the kernel itself uses */
		if (err >= 512)
			lt_die("%s: errno %d", line.s, err);
	}
	errno = err;
	return rc;
}

static uint64_t hash(const void *p, size_t len, uint64_t h)
{
	const uint8_t *bytes = p;
	uint64_t x;

	for (; len >= 8; bytes += 8, len -= 8) {
		memcpy(&x, bytes, 8);
		h = (h ^ x) * 0x100000001b3ULL;
		h ^= h >> 29;
	}
	while (len--)
		h = (h ^ *bytes++) * 0x100000001b3ULL;
	return h;
}

/* Backing files */

static const char *file_path(unsigned int fs, unsigned int n)
{
	static char path[96];

	snprintf(path, sizeof(path), "%s/%u/file%u", dir, fs, n);
	return path;
}

static const char *some_file(void)
{
	unsigned int fs = below(nr_mounts), n = below(FILES);

	say(" %s.%u", mounts[fs].type, n);
	return file_path(fs, n);
}

static void file_fill(unsigned int fs, unsigned int n)
{
	const uint32_t start[] = { 64, 1024 }, sectors[] = { 128, 2048 };
	uint64_t size = below(FILE_MAX);
	char label[16];
	int fd;

	if (below(4))
		size &= ~4095ULL;
	unlink(file_path(fs, n));
	fd = lt_file(file_path(fs, n), size, next());
	if (size > 512 && below(2))
		lt_label(fd, start, sectors, 2);
	snprintf(label, sizeof(label), "%s.%u", mounts[fs].type, n);
	if (trace)
		lt_know(fd, label);
	close(fd);
}

static int fs_mount(unsigned int fs)
{
	char path[64];
	unsigned int i;

	snprintf(path, sizeof(path), "%s/%u", dir, fs);
	if (mount(mounts[fs].source, path, mounts[fs].type, 0, NULL))
		return -1;
	for (i = 0; i < FILES; i++)
		file_fill(fs, i);
	return 0;
}

static int open_file(void)
{
	static const int modes[] = {
		O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_RDONLY, O_RDWR | O_DIRECT,
		O_RDONLY | O_DIRECT, O_RDWR | O_SYNC,
	};
	const char *path = some_file();
	int mode = PICK(modes);

	/* differs: badfd.*.write_only, changefd.ro.write_only */
	if (!trace && one_in(32))
		mode = O_WRONLY;
	say("/%#o", mode);
	return open(path, mode | O_CLOEXEC);
}

/* Opens a backing file. */
static int some_backing(void)
{
	int n;

	switch (below(24)) {
	case 0:
		n = below(DEVICES);
		say(" loop%d", n);
		return lt_open(n, one_in(2) ? O_RDWR : O_RDONLY);
	case 1:
		switch (below(4)) {
		case 0:
			say(" -1");
			return -1;
		case 1:
			say(" path");
			return open(dir, O_PATH | O_CLOEXEC);
		case 2:
			say(" directory");
			return open(dir, O_RDONLY | O_CLOEXEC);
		default:
			say(" null");
			return open("/dev/null", O_RDWR | O_CLOEXEC);
		}
	default:
		return open_file();
	}
}

/* Open devices */

static unsigned int openers(int dev)
{
	unsigned int i, count = 0;

	for (i = 0; i < SLOTS; i++)
		count += slots[i].fd >= 0 && slots[i].dev == dev;
	return count;
}

static struct slot *slot_of(int dev)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++)
		if (slots[i].fd >= 0 && slots[i].dev == dev && !slots[i].part)
			return &slots[i];
	return NULL;
}

static void slot_close(struct slot *s)
{
	close(s->fd);
	s->fd = -1;
}

static bool part_open(int dev)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++)
		if (slots[i].fd >= 0 && slots[i].dev == dev && slots[i].part)
			return true;
	return false;
}

/* Returns whether the device or a partition is open exclusively. */
static bool exclusive(int dev)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++)
		if (slots[i].fd >= 0 && slots[i].dev == dev &&
		    (slots[i].flags & O_EXCL))
			return true;
	return false;
}

/*
 * The page cache keeps the block size of the device before. If that is smaller
 * than the one of the new device, stock fails I/O with EIO.
 */
static void block_size_fit(const struct slot *s)
{
	int size = 4096;

	if (trace)
		ioctl(s->fd, BLKBSZSET, &size);
}

static uint32_t attached_flags(const struct slot *s)
{
	return s ? lt_flags(s->fd) : UINT32_MAX;
}

/*
 * differs: states.*.close, states.detached.*. A detached device is like a new
 * one; on stock it keeps its read-only state and its discard limits.
 */
static bool is_free(const struct slot *s)
{
	return !lt_sysfs_attached(s->dev);
}

/*
 * Stock fails I/O on the last page of a device that ends within a block, and
 * does it for a partition past the end of a device that got smaller.
 */
static bool no_io(const struct slot *s)
{
	char start[64];
	int block = 512;

	ioctl(s->fd, BLKSSZGET, &block);
	snprintf(start, sizeof(start), "loop%dp%d/start", s->dev, s->part);
	return is_free(s) || lt_size(s->fd) % block ||
	       (s->part && lt_sysfs_num(s->dev, start) * 512 + lt_size(s->fd) >
			   lt_sysfs_num(s->dev, "size") * 512);
}

/*
 * differs: backing.device.*. A tmpfs, or an unknown file, does not zero ranges:
 * stock never offers it after the first failure, ours does after each change.
 */
static bool limits_differ(const struct slot *s)
{
	struct loop_info64 i;

	return ioctl(s->fd, LOOP_GET_STATUS64, &i) || i.lo_rdevice ||
	       strspn(lt_label_of(i.lo_device, i.lo_inode, 0), "td?");
}

static void op_open(struct slot *s)
{
	static const int modes[] = {
		O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_RDONLY, O_WRONLY,
		O_RDWR | O_DIRECT, O_RDWR | O_EXCL, O_RDONLY | O_NONBLOCK,
		O_RDWR | O_SYNC,
	};
	char path[64];

	s = &PICK(slots);
	if (s->fd >= 0) {
		say("close loop%dp%d", s->dev, s->part);
		slot_close(s);
		return;
	}
	*s = (struct slot) {
		.dev = below(DEVICES), .flags = PICK(modes),
		.part = one_in(4) ? 1 + below(2) : 0,
	};
	if (s->part)
		snprintf(path, sizeof(path), "/dev/loop%dp%d", s->dev, s->part);
	else
		snprintf(path, sizeof(path), "%s/loop%d", dir, s->dev);
	say("open loop%dp%d %#o", s->dev, s->part, s->flags);
	s->fd = open(path, s->flags | O_CLOEXEC);
	result(s->fd < 0 ? -1 : 0);
	/* The trace does not compare the size of the readahead. */
	if (s->fd >= 0)
		posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
}

/* Attach and detach */

/* Of two errors of one call, the ABI does not say which one is returned. */
static void one_reason(const struct slot *s, long rc)
{
	int err = errno;

	if (trace && rc && (err == EINVAL || err == EBADF))
		err = is_free(s) ? EINVAL : EBUSY;
	errno = err;
}

static void attach_result(const struct slot *s, long rc, int fd)
{
	one_reason(s, rc);
	if (!result(rc))
		block_size_fit(s);
	if (!rc && s->dev < DEVICES)
		direct_files[s->dev] = fcntl(fd, F_GETFL) & O_DIRECT;
}

static void op_set_fd(struct slot *s)
{
	int fd = some_backing();

	attach_result(s, ioctl(s->fd, LOOP_SET_FD, fd), fd);
	close(fd);
}

static void op_change_fd(struct slot *s)
{
	long rc;
	int fd;

	/*
	 * Stock compares the sizes of both files as they are now, ours the new
	 * one with the device.
	 */
	if (trace && (part_open(s->dev) || ioctl(s->fd, LOOP_SET_CAPACITY, 0)))
		return;
	fd = some_backing();
	rc = ioctl(s->fd, LOOP_CHANGE_FD, fd);
	one_reason(s, rc);
	if (!result(rc) && s->dev < DEVICES)
		direct_files[s->dev] = fcntl(fd, F_GETFL) & O_DIRECT;
	close(fd);
}

static void op_clr_fd(struct slot *s)
{
	/* differs: io.misc.dirty_before_clr_fd */
	if (trace)
		fsync(s->fd);
	/* differs: states.rundown.*, io.misc.*_clr_fd */
	if (!result(ioctl(s->fd, LOOP_CLR_FD, 0)) && trace &&
	    openers(s->dev) == 1)
		slot_close(s);
}

static uint32_t some_flags(void)
{
	uint32_t flags = next() & (LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR |
				   LO_FLAGS_PARTSCAN | LO_FLAGS_DIRECT_IO);

	if (below(4))
		flags &= ~LO_FLAGS_READ_ONLY;
	return one_in(16) ? flags | 1U << below(32) : flags;
}

static uint64_t some_offset(void)
{
	return below(3) ? 0 : some_bytes();
}

/* differs: backing.fs.*.offset_1000*, so a trace uses whole sectors only. */
static uint64_t attach_offset(void)
{
	uint64_t place = some_offset();

	return trace ? place & ~511ULL : place;
}

static void fill_info64(struct loop_info64 *i)
{
	*i = (struct loop_info64) {
		.lo_offset = attach_offset(), .lo_sizelimit = some_offset(),
		.lo_flags = some_flags(),
		.lo_encrypt_type = one_in(32) ? below(20) : LO_CRYPT_NONE,
		.lo_encrypt_key_size = one_in(32) ? below(40) : 0,
	};
	memset(i->lo_file_name, 'a' + below(26), below(LO_NAME_SIZE + 1));
	say(" off=%llu lim=%llu fl=%#x enc=%u/%u", i->lo_offset,
	    i->lo_sizelimit, i->lo_flags, i->lo_encrypt_type,
	    i->lo_encrypt_key_size);
}

static void op_configure(struct slot *s)
{
	struct loop_config c = { .block_size = some_block_size() };

	/* differs: fields.reserved.* */
	if (!trace && one_in(32))
		c.__reserved[below(8)] = next();
	/* differs: states.*.configure_bs_3, blocksize.configure.* */
	if (trace && (c.block_size < 512 || c.block_size > 4096 ||
		      c.block_size & (c.block_size - 1)))
		c.block_size = 0;
	fill_info64(&c.info);
	say(" bs=%u", c.block_size);
	c.fd = some_backing();
	attach_result(s, ioctl(s->fd, LOOP_CONFIGURE, maybe_bad(&c)), c.fd);
	close(c.fd);
}

/* Stock drops the page cache even when the call fails. */
static void status_result(const struct slot *s, long rc)
{
	struct slot *whole = slot_of(s->dev);

	result(rc);
	if (trace && rc && whole)
		ioctl(whole->fd, BLKFLSBUF, 0);
}

static void op_set_status64(struct slot *s)
{
	struct loop_info64 i;

	/* differs: states.exclusive.set_status*_offset */
	if (trace && (part_open(s->dev) || exclusive(s->dev)))
		return;
	fill_info64(&i);
	status_result(s, ioctl(s->fd, LOOP_SET_STATUS64, maybe_bad(&i)));
}

static void op_set_status(struct slot *s)
{
	struct loop_info i = {
		.lo_offset = attach_offset(), .lo_flags = some_flags(),
		.lo_encrypt_type = one_in(32) ? below(20) : LO_CRYPT_NONE,
		.lo_encrypt_key_size = one_in(32) ? below(40) : 0,
	};

	if (trace && (part_open(s->dev) || exclusive(s->dev)))
		return;
	say(" off=%d fl=%#x enc=%d/%d", i.lo_offset, i.lo_flags,
	    i.lo_encrypt_type, i.lo_encrypt_key_size);
	memset(i.lo_name, 'A' + below(26), below(LO_NAME_SIZE + 1));
	status_result(s, ioctl(s->fd, LOOP_SET_STATUS, maybe_bad(&i)));
}

static void op_get_status64(struct slot *s)
{
	struct loop_info64 i = { };

	result(ioctl(s->fd, LOOP_GET_STATUS64, maybe_bad(&i)));
}

static void op_get_status(struct slot *s)
{
	struct loop_info i = { };

	if (!result(ioctl(s->fd, LOOP_GET_STATUS, maybe_bad(&i))))
		say(" off=%d fl=%#x enc=%d/%d name=%.64s", i.lo_offset,
		    i.lo_flags, i.lo_encrypt_type, i.lo_encrypt_key_size,
		    i.lo_name);
}

static void op_set_capacity(struct slot *s)
{
	if (trace && part_open(s->dev))
		return;
	result(ioctl(s->fd, LOOP_SET_CAPACITY, 0));
}

static void op_set_direct_io(struct slot *s)
{
	unsigned long on = one_in(16) ? next() : below(2);

	say(" %lu", on);
	result(ioctl(s->fd, LOOP_SET_DIRECT_IO, on));
}

static void op_set_block_size(struct slot *s)
{
	unsigned long size = some_block_size();

	/* differs: blocksize.set.4294967808 */
	if (!trace && one_in(32))
		size |= 1ULL << 32;
	if (trace && (s->part || part_open(s->dev)))
		return;
	/* Stock turns direct I/O on if the file was opened with O_DIRECT. */
	if (trace && direct_files[s->dev] &&
	    !(attached_flags(s) & LO_FLAGS_DIRECT_IO))
		return;
	/* Stock writes back only if the size changes. */
	if (trace)
		fsync(s->fd);
	say(" %lu", size);
	if (!result(ioctl(s->fd, LOOP_SET_BLOCK_SIZE, size)))
		block_size_fit(s);
}

static void op_bad_ioctl(struct slot *s)
{
	unsigned int cmd = 0x4c0b + below(0x70);

	say(" %#x", cmd);
	result(ioctl(s->fd, cmd, one_in(2) ? 0UL : (unsigned long)data));
}

/* The block layer's calls */

static void op_blkpg(struct slot *s)
{
	int op = 1 + below(3), part = one_in(16) ? below(300) : 1 + below(3);
	uint64_t start = some_place(), length = some_length() * 4;

	/* differs: partition.blkpg.detached */
	if (trace && (attached_flags(s) == UINT32_MAX ||
		      !(attached_flags(s) & LO_FLAGS_PARTSCAN)))
		return;
	say(" op=%d p%d %llu+%llu", op, part, (unsigned long long)start,
	    (unsigned long long)length);
	result(lt_blkpg(s->fd, op, part, start, length));
}

static void op_block_call(struct slot *s)
{
	static const struct {
		const char *name;
		unsigned long cmd;
	} calls[] = {
		{ "rrpart", BLKRRPART }, { "flsbuf", BLKFLSBUF },
		{ "roset", BLKROSET }, { "bszset", BLKBSZSET },
	};
	unsigned int i = below(ARRAY_SIZE(calls));
	int arg = calls[i].cmd == BLKROSET ? below(2) : some_block_size();

	if (trace && calls[i].cmd == BLKBSZSET)
		arg |= 4096;

	say(" %s %d", calls[i].name, arg);
	result(ioctl(s->fd, calls[i].cmd, maybe_bad(&arg)));
}

static void op_discard(struct slot *s)
{
	uint64_t range[2] = { some_place(), some_length() };
	unsigned long cmd = one_in(2) ? BLKDISCARD : BLKZEROOUT;

	if (trace && limits_differ(s))
		return;
	say(" %s %llu+%llu", cmd == BLKDISCARD ? "discard" : "zeroout",
	    (unsigned long long)range[0], (unsigned long long)range[1]);
	result(ioctl(s->fd, cmd, maybe_bad(range)));
}

static void op_fallocate(struct slot *s)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_KEEP_SIZE, 0,
	};
	uint64_t at = some_place(), len = some_length();
	int mode = PICK(modes);

	if (trace && limits_differ(s))
		return;
	say(" %#x %llu+%llu", mode, (unsigned long long)at,
	    (unsigned long long)len);
	result(fallocate(s->fd, mode, at, len));
}

static void op_read(struct slot *s)
{
	uint64_t at = some_place(), len = some_length();

	if (trace && no_io(s))
		return;
	say(" %llu+%llu", (unsigned long long)at, (unsigned long long)len);
	if (result(pread(s->fd, data, len, at)) > 0)
		say(" %016llx", (unsigned long long)hash(data, len, 0));
}

static void op_write(struct slot *s)
{
	uint64_t at = some_place(), len = some_length();

	if (trace && no_io(s))
		return;
	say(" %llu+%llu", (unsigned long long)at, (unsigned long long)len);
	lt_fill(data, len, step, at);
	result(pwrite(s->fd, data, len, at));
}

static void op_fsync(struct slot *s)
{
	if (trace && no_io(s))
		return;
	result(fsync(s->fd));
}

static void on_fault(int sig)
{
	siglongjmp(fault, 1);
}

static void op_mmap(struct slot *s)
{
	int prot = PROT_READ | (one_in(2) ? PROT_WRITE : 0);
	uint64_t at = some_place() & ~4095ULL;

	if (trace && no_io(s))
		return;
	say(" %llu %s", (unsigned long long)at,
	    prot & PROT_WRITE ? "write" : "read");
	if (held)
		munmap(held, 4096);
	held = mmap(NULL, 4096, prot, MAP_SHARED, s->fd, at);
	if (held == MAP_FAILED) {
		held = NULL;
		result(-1);
		return;
	}
	madvise(held, 4096, MADV_RANDOM);
	if (sigsetjmp(fault, 1)) {
		say(" = SIGBUS");
	} else {
		if (prot & PROT_WRITE)
			lt_fill(held, 4096, step, at);
		say(" %016llx", (unsigned long long)hash(held, 4096, 0));
	}
	/* The storm goes on with a device that no descriptor holds open. */
	if (trace) {
		munmap(held, 4096);
		held = NULL;
	}
}

/* Backing files change below */

static void op_file_truncate(struct slot *s)
{
	const char *path = some_file();
	uint64_t size = below(FILE_MAX);

	if (below(4))
		size &= ~4095ULL;
	say(" %llu", (unsigned long long)size);
	result(truncate(path, size));
}

static void op_file_punch(struct slot *s)
{
	uint64_t at = some_place(), len = some_length();
	int fd = open(some_file(), O_RDWR | O_CLOEXEC);

	say(" %llu+%llu", (unsigned long long)at, (unsigned long long)len);
	result(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
			 len));
	close(fd);
}

static void op_file_write(struct slot *s)
{
	uint64_t at = some_place() % FILE_MAX, len = some_length();
	int fd = open(some_file(), O_RDWR | O_CLOEXEC);

	say(" %llu+%llu", (unsigned long long)at, (unsigned long long)len);
	lt_fill(data, len, step, at);
	result(pwrite(fd, data, len, at));
	close(fd);
}

static void op_file_replace(struct slot *s)
{
	unsigned int fs = below(nr_mounts), n = below(FILES);

	say(" %s.%u", mounts[fs].type, n);
	file_fill(fs, n);
}

static void op_umount(struct slot *s)
{
	unsigned int fs = below(nr_mounts);
	char path[64];

	snprintf(path, sizeof(path), "%s/%u", dir, fs);
	say(" %s", mounts[fs].type);
	result(umount2(path, MNT_DETACH));
	result(fs_mount(fs));
}

/* The control device */

static void op_add(struct slot *s)
{
	int n = some_number();

	say(" %d", n);
	result(lt_ctl(LOOP_CTL_ADD, n));
}

static void op_remove(struct slot *s)
{
	int n = one_in(4) ? below(64) : some_number(), rc;

	say(" %d", n);
	rc = lt_ctl(LOOP_CTL_REMOVE, n);
	/* differs: control.reuse.remove.*, control_nobody.remove */
	result(rc > 0 ? 0 : rc);
}

static void op_get_free(struct slot *s)
{
	int n;

	/* differs: control.get_free.open */
	for (n = 0; trace && n < DEVICES; n++)
		if (openers(n) && !lt_sysfs_attached(n))
			return;
	result(lt_ctl(LOOP_CTL_GET_FREE, 0));
}

static void op_rmmod(struct slot *s)
{
	result(syscall(SYS_delete_module, "loop", O_NONBLOCK));
}

/* Returns a slot for a new descriptor, and may close the old one in it. */
static struct slot *some_place_for_slot(void)
{
	struct slot *s = &PICK(slots);

	if (s->fd >= 0)
		slot_close(s);
	return s;
}

static void op_attach(struct slot *s)
{
	struct loop_ctl_attach a = {
		.size = one_in(16) ? below(8192) : sizeof(a),
		.attach_flags = below(512) & next() & ~LOOP_ATTACH_LEASE,
		.index = one_in(4) ? -1 : some_number(),
		.offset = some_offset(), .sizelimit = some_offset(),
		.block_size = some_block_size(), .lo_flags = some_flags(),
		.require = one_in(4) ? below(128) & next() & next() : 0,
		.reserved = one_in(64), .out_busy = one_in(64),
	};
	int rc;

	if (a.attach_flags & LOOP_ATTACH_HOLD || !one_in(4))
		a.attach_flags |= LOOP_ATTACH_LEASE;
	/* Exclusive and ephemeral devices are in the way of others. */
	if (!one_in(4))
		a.attach_flags &= ~(LOOP_ATTACH_EXCLUSIVE | LOOP_ATTACH_EPHEMERAL);
	if (one_in(16))
		a.attach_flags = next();
	say(" size=%u attach=%#x index=%d off=%llu lim=%llu bs=%u fl=%#x require=%#x",
	    a.size, a.attach_flags, a.index, a.offset, a.sizelimit,
	    a.block_size, a.lo_flags, a.require);
	a.fd = some_backing();
	memset(a.name, 'a' + below(26), below(LO_NAME_SIZE + 1));
	memset(data, 0, IO_MAX);
	memcpy(data, &a, sizeof(a));
	rc = result(ioctl(lt_control(), LOOP_CTL_ATTACH, maybe_bad(data)));
	close(a.fd);
	if (rc)
		return;
	memcpy(&a, data, sizeof(a));
	if (a.out_lease >= 0)
		*some_place_for_slot() = (struct slot) {
			.fd = a.out_lease, .dev = a.out_index, .lease = true,
		};
}

static void op_announce(struct slot *s)
{
	result(ioctl(s->fd, LOOP_LEASE_ANNOUNCE));
}

static void op_poll(struct slot *s)
{
	struct pollfd p = { .fd = s->fd, .events = next() };

	result(poll(&p, 1, below(4)));
}

static void op_detach(struct slot *s)
{
	struct loop_ctl_detach d = {
		.size = one_in(16) ? below(64) : sizeof(d),
		.flags = one_in(16) ? next() : !one_in(8),
		.mode = one_in(16) ? next() : below(5),
		.index = some_number(),
		.out_pending = one_in(64), .reserved = one_in(64),
	};

	if (one_in(4) && s && !s->lease) {
		d.flags = 0;
		d.diskseq = lt_diskseq(s->fd);
		d.index = s->dev;
	}
	/* Others have time to close the device, or to attach another file. */
	if ((d.mode != LOOP_DETACH_NOW && d.mode != LOOP_DETACH_LAZY) || one_in(32))
		d.deadline = one_in(8) ? next() % lt_in_ms(0) : lt_in_ms(below(50));
	say(" size=%u flags=%#x mode=%u index=%d deadline=%llu", d.size, d.flags,
	    d.mode, d.index, d.deadline);
	result(ioctl(lt_control(), LOOP_CTL_DETACH, maybe_bad(&d)));
}

static void op_list(struct slot *s)
{
	struct loop_ctl_list l = {
		.size = one_in(16) ? below(64) : sizeof(l),
		.flags = one_in(16) ? next() : below(4),
		.start = below(DEVICES), .count = below(8),
		.entry_size = one_in(4) ? below(5000) : LOOP_CTL_ENTRY_SIZE_VER0,
		.fd = one_in(32) ? below(8) : -1,
		.entries = (uintptr_t)maybe_bad(data),
		.out_count = one_in(64), .out_next = one_in(64),
	};

	say(" size=%u flags=%#x start=%u count=%u entry=%u", l.size, l.flags,
	    l.start, l.count, l.entry_size);
	if (l.flags & LOOP_LIST_FD)
		l.fd = some_backing();
	result(ioctl(lt_control(), LOOP_CTL_LIST, maybe_bad(&l)));
	if (l.flags & LOOP_LIST_FD)
		close(l.fd);
}

/* Reads the device as udev and other programs do. */
static void op_look(struct slot *s)
{
	struct lt_buf b = { };

	lt_add_state(&b, s->dev, s->part ? -1 : s->fd);
}

/* The table */

#define NEEDS_SLOT	1	/* some open device */
#define STORM_ONLY	2	/* stock does not have it, or the trace does it */

static const struct op {
	const char *name;
	unsigned int weight, flags;
	void (*run)(struct slot *s);
} ops[] = {
	{ "", 60, 0, op_open },
	{ "SET_FD", 12, NEEDS_SLOT, op_set_fd },
	{ "CONFIGURE", 24, NEEDS_SLOT, op_configure },
	{ "CLR_FD", 12, NEEDS_SLOT, op_clr_fd },
	{ "CHANGE_FD", 12, NEEDS_SLOT, op_change_fd },
	{ "SET_STATUS64", 12, NEEDS_SLOT, op_set_status64 },
	{ "SET_STATUS", 6, NEEDS_SLOT, op_set_status },
	{ "GET_STATUS64", 4, NEEDS_SLOT, op_get_status64 },
	{ "GET_STATUS", 4, NEEDS_SLOT, op_get_status },
	{ "SET_CAPACITY", 12, NEEDS_SLOT, op_set_capacity },
	{ "SET_DIRECT_IO", 12, NEEDS_SLOT, op_set_direct_io },
	{ "SET_BLOCK_SIZE", 12, NEEDS_SLOT, op_set_block_size },
	{ "bad ioctl", 2, NEEDS_SLOT, op_bad_ioctl },
	{ "BLKPG", 12, NEEDS_SLOT, op_blkpg },
	{ "block", 16, NEEDS_SLOT, op_block_call },
	{ "discard", 16, NEEDS_SLOT, op_discard },
	{ "fallocate", 12, NEEDS_SLOT, op_fallocate },
	{ "read", 24, NEEDS_SLOT, op_read },
	{ "write", 24, NEEDS_SLOT, op_write },
	{ "fsync", 12, NEEDS_SLOT, op_fsync },
	{ "mmap", 12, NEEDS_SLOT, op_mmap },
	{ "file truncate", 8, 0, op_file_truncate },
	{ "file punch", 8, 0, op_file_punch },
	{ "file write", 8, 0, op_file_write },
	{ "file replace", 2, 0, op_file_replace },
	{ "umount", 1, 0, op_umount },
	{ "ADD", 8, 0, op_add },
	{ "REMOVE", 8, 0, op_remove },
	{ "GET_FREE", 4, 0, op_get_free },
	{ "rmmod", 2, 0, op_rmmod },
	{ "ATTACH", 20, STORM_ONLY, op_attach },
	{ "ANNOUNCE", 2, STORM_ONLY | NEEDS_SLOT, op_announce },
	{ "poll", 2, STORM_ONLY | NEEDS_SLOT, op_poll },
	{ "DETACH", 24, STORM_ONLY, op_detach },
	{ "LIST", 8, STORM_ONLY, op_list },
	{ "look", 8, STORM_ONLY | NEEDS_SLOT, op_look },
};

static const struct op *some_op(void)
{
	unsigned int i, sum = 0;
	uint64_t at;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	at = below(sum);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	return &ops[i];
}

static struct slot *some_slot(void)
{
	unsigned int i, at = below(SLOTS);

	for (i = 0; i < SLOTS; i++)
		if (slots[(at + i) % SLOTS].fd >= 0)
			return &slots[(at + i) % SLOTS];
	return NULL;
}

/* Returns false if there was nothing to do. */
static bool step_run(void)
{
	const struct op *op;
	struct slot *s;

	rng = seed ^ step * 0xd1342543de82ef95ULL;
	op = some_op();
	s = some_slot();
	if ((op->flags & NEEDS_SLOT && !s) ||
	    (op->flags & STORM_ONLY && trace))
		return false;
	line.len = 0;
	say("%llu %s", (unsigned long long)step, op->name);
	if (op->flags & NEEDS_SLOT)
		say(" loop%dp%d", s->dev, s->part);
	op->run(s);
	if (verbose)
		puts(line.s);
	return true;
}

/* The trace */

static void leave_out(char *text, const char *key)
{
	char *p = strstr(text, key);

	if (p)
		memmove(p, p + 1 + strcspn(p + 1, " "),
			strlen(p + 1 + strcspn(p + 1, " ")) + 1);
}

/*
 * differs: backing.device.*, for the limits of discards and write zeroes. That
 * such a limit follows the file after LOOP_CHANGE_FD and comes back with each
 * change after the file refused, is documented and not in the list.
 */
static void limits_leave_out(char *text)
{
	char *from = strstr(text, " q="), *to;
	unsigned int i;

	/* These are the fields 4 to 6 of the value. */
	for (i = 0; from && i < 4; i++)
		from = strchr(from + 1, '/');
	for (i = 0, to = from; to && i < 3; i++)
		to = strchr(to + 1, '/');
	if (to)
		memmove(from, to, strlen(to) + 1);
}

/* differs: settings.free.read_only */
static void forget_blkroset(int n, const struct slot *s)
{
	static bool was_attached[DEVICES];
	int off = 0;

	if (lt_sysfs_attached(n)) {
		was_attached[n] = true;
	} else if (was_attached[n] && s) {
		ioctl(s->fd, BLKROSET, &off);
		was_attached[n] = false;
	}
}

static void print_devices(void)
{
	static struct lt_buf before[DEVICES];
	struct lt_buf now;
	struct slot *s;
	int n;

	for (n = 0; n < DEVICES; n++) {
		now.len = 0;
		s = slot_of(n);
		forget_blkroset(n, s);
		lt_add_state(&now, n, s ? s->fd : -1);
		limits_leave_out(now.s);
		/* differs: states.*.close, states.detached.enter */
		if (!lt_sysfs_attached(n)) {
			leave_out(now.s, " q=");
			leave_out(now.s, " rofd=");
			leave_out(now.s, " disk=");
		}
		if (strcmp(now.s, before[n].s))
			printf("  loop%d:%s\n", n, now.s);
		before[n] = now;
	}
}

static void print_files(void)
{
	static uint64_t before[MOUNTS][FILES];
	unsigned int fs, n;
	uint64_t h;
	ssize_t len;
	int fd;

	for (fs = 0; fs < nr_mounts; fs++) {
		for (n = 0; n < FILES; n++) {
			fd = open(file_path(fs, n), O_RDONLY | O_CLOEXEC);
			h = 0;
			while ((len = read(fd, data, IO_MAX)) > 0)
				h = hash(data, len, h + len);
			close(fd);
			if (h != before[fs][n])
				printf("  %s.%u: %016llx\n", mounts[fs].type, n,
				       (unsigned long long)h);
			before[fs][n] = h;
		}
	}
}

static void trace_run(unsigned int steps)
{
	/* Write-back starts only when a call asks for it; with 0 it starts at once. */
	lt_write_file("/proc/sys/vm/dirty_writeback_centisecs", "1000000");
	for (step = 1; step <= steps; step++) {
		if (step_run())
			print_devices();
		if (step % HASH_STEPS == 0)
			print_files();
	}
}

/* The storm */

static void on_alarm(int sig)
{
}

static __noreturn void storm_child(uint64_t child_seed, bool alone)
{
	const struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	const struct sigaction sa = { .sa_handler = on_alarm };

	signal(SIGALRM, SIG_IGN);
	seed = child_seed;
	/* The signals interrupt calls. */
	if (!alone) {
		sigaction(SIGALRM, &sa, NULL);
		setitimer(ITIMER_REAL, &often, NULL);
	}
	for (step = 1;; step++)
		step_run();
}

static pid_t storm_start(uint64_t child_seed, bool alone)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		lt_die("fork");
	if (!pid)
		storm_child(child_seed, alone);
	return pid;
}

struct storm_process {
	pid_t pid;
	uint64_t seed;
};

static struct storm_process storm_next(uint64_t *seeds, bool alone)
{
	struct storm_process p = { .seed = (*seeds)++ };

	p.pid = storm_start(p.seed, alone);
	return p;
}

/* Returns whether the child ended as expected. */
static bool storm_kill(struct storm_process p)
{
	int status;

	kill(p.pid, SIGKILL);
	if (waitpid(p.pid, &status, 0) != p.pid)
		lt_die("wait");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	ksft_print_msg("the process of seed %llu ended by itself: %#x\n",
		       (unsigned long long)p.seed, status);
	return false;
}

static bool storm_run(unsigned int processes, unsigned int seconds)
{
	time_t end = time(NULL) + seconds;
	struct storm_process running[PROCESSES];
	uint64_t seeds = seed;
	unsigned int i;
	bool good = true;

	for (i = 0; i < processes; i++)
		running[i] = storm_next(&seeds, processes == 1);
	while (time(NULL) < end) {
		lt_sleep_ms(200);
		if (processes == 1)
			continue;
		i = random() % processes;
		good &= storm_kill(running[i]);
		running[i] = storm_next(&seeds, false);
	}
	alarm(SLOW_SECONDS);
	for (i = 0; i < processes; i++)
		good &= storm_kill(running[i]);
	ksft_print_msg("%llu processes\n", (unsigned long long)(seeds - seed));
	return good;
}

/* The state at the end */

/* All devices can be removed, whatever happened to them. */
static bool devices_remove(void)
{
	bool good = true;
	struct dirent *de;
	int tries, n;
	DIR *d;

	/* A device has to go before the one below it, so there are several rounds. */
	for (tries = 0; tries < DEVICES; tries++) {
		good = true;
		d = opendir("/sys/block");
		while (d && (de = readdir(d)))
			if (sscanf(de->d_name, "loop%d", &n) == 1)
				good &= lt_destroy(n, 20);
		closedir(d);
	}
	return good;
}

/* Attaches a file, which a killed process may have been about to replace. */
static bool devices_work(void)
{
	int file = open(file_path(0, 0), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int n = lt_ctl(LOOP_CTL_GET_FREE, 0), fd = lt_open(n, O_RDWR);
	bool good;

	good = file >= 0 && fd >= 0 && !ftruncate(file, FILE_MAX) &&
	       !lt_configure(fd, file, 0, 0, 0, 0) &&
	       pwrite(fd, data, IO_MAX, 0) == IO_MAX && !fsync(fd) &&
	       pread(file, data, IO_MAX, 0) == IO_MAX;
	if (!good)
		ksft_print_msg("file %d, device %d, opened %d: %s\n", file, n, fd,
			       strerror(errno));
	close(file);
	close(fd);
	return good & lt_destroy(n, 20);
}

/* Nothing holds a file system, even one that was unmounted under a device. */
static bool mounts_end(void)
{
	char path[64];
	unsigned int fs;
	bool good = true;
	int fd, tries;

	for (fs = 0; fs < nr_mounts; fs++) {
		snprintf(path, sizeof(path), "%s/%u", dir, fs);
		/* Processes may have mounted one file system on another. */
		while (!umount2(path, 0))
			;
		good &= errno == EINVAL;
		if (!fs)
			continue;
		for (tries = 0; tries < 200; tries++) {
			fd = open(mounts[fs].source, O_RDWR | O_EXCL | O_CLOEXEC);
			if (fd >= 0)
				break;
			lt_sleep_ms(50);
		}
		good &= fd >= 0;
		close(fd);
	}
	return good;
}

static void set_up(void)
{
	char path[64];
	unsigned int i;

	if (lt_scratch(dir, "fuzz"))
		lt_die("make a tmpfs");
	snprintf(lt_prefix, sizeof(lt_prefix), "%s", dir);
	if (!devices_remove())
		lt_die("devices are in use");
	for (i = 0; i < DEVICES; i++) {
		/* These nodes stay when a device goes, so that an open adds it again. */
		snprintf(path, sizeof(path), "%s/loop%d", dir, i);
		if (mknod(path, S_IFBLK | 0600, makedev(LT_MAJOR, i)))
			lt_die("mknod %s", path);
	}
	rng = seed;
	for (i = 0; i < nr_mounts; i++) {
		snprintf(path, sizeof(path), "%s/%u", dir, i);
		if (mkdir(path, 0700) || fs_mount(i))
			lt_die("mount %s", mounts[i].source);
	}
	for (i = 0; i < SLOTS; i++)
		slots[i].fd = -1;
	signal(SIGBUS, on_fault);
}

static void tear_down(void)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++)
		slot_close(&slots[i]);
	ksft_test_result(devices_remove(), "all devices can be removed\n");
	ksft_test_result(devices_work(), "a device works\n");
	ksft_test_result(mounts_end(), "no file system is held\n");
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

int main(int argc, char **argv)
{
	unsigned int processes = PROCESSES, seconds = 60, steps = 0;
	char *source;
	int c;

	while ((c = getopt(argc, argv, "f:n:p:t:v")) > 0) {
		switch (c) {
		case 'f':
			source = strchr(optarg, '=');
			if (!source || nr_mounts == MOUNTS)
				lt_die("-f %s", optarg);
			*source++ = '\0';
			mounts[nr_mounts++] = (struct backing_fs) {
				optarg, source
			};
			break;
		case 'n':
			steps = atoi(optarg);
			trace = true;
			verbose = true;
			break;
		case 'p':
			processes = atoi(optarg);
			break;
		case 't':
			seconds = atoi(optarg);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			return 1;
		}
	}
	seed = optind < argc ? strtoull(argv[optind], NULL, 0) : time(NULL);
	if (!processes || processes > PROCESSES)
		lt_die("-p %u", processes);

	ksft_print_header();
	if (lt_unusable())
		ksft_exit_skip("%s\n", lt_unusable());
	ksft_set_plan(trace ? 3 : 4);
	ksft_print_msg("seed %llu\n", (unsigned long long)seed);
	set_up();
	signal(SIGALRM, lt_give_up);
	if (trace)
		trace_run(steps);
	else
		ksft_test_result(storm_run(processes, seconds),
				 "no process ended by itself\n");
	tear_down();
	ksft_finished();
}
