// SPDX-License-Identifier: GPL-2.0
/*
 * The library of the loop selftests, see loop_test.h.
 */
#include <stddef.h>
#include <sys/syscall.h>

#include "loop_test.h"

void lt_add(struct lt_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(b->s + b->len, sizeof(b->s) - b->len, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	b->len += n;
	if (b->len >= sizeof(b->s))
		b->len = sizeof(b->s) - 1;
}

/* Ends the program: the machine of the tests is broken, not the driver. */
void lt_die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "# ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(err));
	exit(1);
}

const char *lt_errname(int err)
{
	const char *name = strerrorname_np(err);

	return name ? name : "?";
}

/* Handles SIGALRM in programs whose threads or processes have to end in time. */
void lt_give_up(int sig)
{
	static const char text[] = "Bail out! it does not end\n";

	if (write(1, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(1);
}

uint32_t lt_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

/* Files */

void lt_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		lt_die("write %s", path);
	close(fd);
}

/* Reads the first line of a file and makes blanks '_'; "-" if it cannot be read. */
const char *lt_read_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	char *c;

	if (fd >= 0) {
		n = read(fd, buf, size - 1);
		close(fd);
	}
	if (n < 0) {
		snprintf(buf, size, "-");
		return buf;
	}
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	for (c = buf; *c; c++)
		if (*c == ' ' || *c == '\t')
			*c = '_';
	return buf;
}

/* Each 8 bytes of each file have another pattern. */
uint64_t lt_pattern(uint64_t seed, uint64_t offset)
{
	uint64_t x = (offset / 8 + 1) * 0x9e3779b97f4a7c15ULL + seed;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 32;
	return x;
}

/* Returns the length of the pattern from @offset to the next multiple of 8. */
static size_t lt_pattern_part(uint64_t seed, uint64_t offset, size_t len,
			      uint64_t *out)
{
	size_t part = 8 - offset % 8;

	*out = htole64(lt_pattern(seed, offset) >> (offset % 8 * 8));
	return part < len ? part : len;
}

void lt_fill(void *buf, size_t len, uint64_t seed, uint64_t offset)
{
	uint8_t *p = buf;
	uint64_t x;
	size_t n;

	for (; len; p += n, offset += n, len -= n) {
		n = lt_pattern_part(seed, offset, len, &x);
		memcpy(p, &x, n);
	}
}

bool lt_filled(const void *buf, size_t len, uint64_t seed, uint64_t offset)
{
	const uint8_t *p = buf;
	uint64_t x;
	size_t n;

	for (; len; p += n, offset += n, len -= n) {
		n = lt_pattern_part(seed, offset, len, &x);
		if (memcmp(p, &x, n))
			return false;
	}
	return true;
}

bool lt_zeroed(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/* Syncs the file, and returns the number of bytes that are allocated for it. */
long long lt_allocated(int fd)
{
	struct stat st;

	fsync(fd);
	return fstat(fd, &st) ? -1 : (long long)st.st_blocks * 512;
}

/* Makes or rewrites a file of @size patterned bytes, and returns an O_RDWR fd. */
int lt_file(const char *path, uint64_t size, uint64_t seed)
{
	static uint8_t buf[64 * 1024];
	uint64_t at, part;
	int fd;

	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		lt_die("create %s", path);
	for (at = 0; at < size; at += part) {
		part = size - at < sizeof(buf) ? size - at : sizeof(buf);
		lt_fill(buf, part, seed, at);
		if (pwrite(fd, buf, part, at) != (ssize_t)part)
			lt_die("fill %s", path);
	}
	return fd;
}

/* Writes a DOS label; its partition @i has @sectors[i] sectors at @start[i]. */
void lt_label(int fd, const uint32_t *start, const uint32_t *sectors, int count)
{
	uint8_t mbr[512] = { 0 };
	int i, k;

	for (i = 0; i < count; i++) {
		uint8_t *e = mbr + 446 + 16 * i;

		e[4] = 0x83;
		for (k = 0; k < 4; k++) {
			e[8 + k] = start[i] >> (8 * k);
			e[12 + k] = sectors[i] >> (8 * k);
		}
	}
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	if (pwrite(fd, mbr, sizeof(mbr), 0) != sizeof(mbr))
		lt_die("write a partition table");
}

/* Makes two partitions of 512 KiB, at 512 KiB and at 1 MiB. */
void lt_label_two(int fd)
{
	static const uint32_t start[] = { 1024, 2048 };
	static const uint32_t sectors[] = { 1024, 1024 };

	lt_label(fd, start, sectors, 2);
}

/* Devices */

int lt_control(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	return fd;
}

int lt_ctl(unsigned int cmd, long arg)
{
	return ioctl(lt_control(), cmd, arg);
}

int lt_open(int number, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/loop%d", number);
	return open(path, flags | O_CLOEXEC);
}

int lt_open_part(int number, int part, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/loop%dp%d", number, part);
	return open(path, flags | O_CLOEXEC);
}

bool lt_exists(int number)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/loop%d", number);
	return !access(path, F_OK);
}

/* Reads /sys/block/loopN/@attr. */
const char *lt_sysfs(int number, const char *attr, char *buf, size_t size)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/block/loop%d/%s", number, attr);
	return lt_read_line(path, buf, size);
}

long long lt_sysfs_num(int number, const char *attr)
{
	char buf[128];

	lt_sysfs(number, attr, buf, sizeof(buf));
	return buf[0] == '-' && !buf[1] ? -1 : strtoll(buf, NULL, 0);
}

bool lt_sysfs_attached(int number)
{
	char buf[8];

	return lt_sysfs(number, "loop/autoclear", buf, sizeof(buf))[0] != '-';
}

uint64_t lt_diskseq(int fd)
{
	uint64_t seq = 0;

	return ioctl(fd, BLKGETDISKSEQ, &seq) ? 0 : seq;
}

uint64_t lt_size(int fd)
{
	uint64_t size = 0;

	return ioctl(fd, BLKGETSIZE64, &size) ? UINT64_MAX : size;
}

void lt_sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

/* Returns the numbers of the partitions as a mask of the first 63. */
uint64_t lt_parts(int number)
{
	char path[64], prefix[32];
	struct dirent *de;
	uint64_t mask = 0;
	size_t len;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/block/loop%d", number);
	len = snprintf(prefix, sizeof(prefix), "loop%dp", number);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((de = readdir(dir)))
		if (!strncmp(de->d_name, prefix, len))
			mask |= 1ULL << (atoi(de->d_name + len) & 63);
	closedir(dir);
	return mask;
}

/* Detaches the device if it is attached. Another opener keeps it attached. */
void lt_detach(int number)
{
	int fd = lt_open(number, O_RDONLY);

	if (fd < 0)
		return;
	ioctl(fd, LOOP_CLR_FD, 0);
	close(fd);
}

/*
 * Gets the entry of @number from LOOP_CTL_LIST; false if there is no device or
 * no list.
 */
bool lt_entry(int number, struct loop_ctl_entry *e)
{
	struct loop_ctl_list l = lt_to_list(number, 1, e, 0, -1);

	memset(e, 0xa5, sizeof(*e));
	return !ioctl(lt_control(), LOOP_CTL_LIST, &l) && l.out_count == 1 &&
	       e->index == number;
}

/*
 * Detaches and removes the device; false if that takes longer than @tries * 10
 * ms. A device that is removed by itself keeps its number a little longer than
 * its directory in sysfs.
 */
bool lt_destroy(int number, int tries)
{
	struct loop_ctl_entry e;

	do {
		if (!lt_exists(number) && !lt_entry(number, &e))
			return true;
		lt_detach(number);
		if (lt_ctl(LOOP_CTL_REMOVE, number) >= 0)
			return true;
		lt_sleep_ms(10);
	} while (--tries > 0);
	return false;
}

/* Counts the loop devices. */
int lt_count_devices(void)
{
	struct dirent *de;
	int count = 0, n;
	DIR *dir = opendir("/sys/block");

	if (!dir)
		lt_die("read /sys/block");
	while ((de = readdir(dir)))
		count += sscanf(de->d_name, "loop%d", &n) == 1;
	closedir(dir);
	return count;
}

/* Arguments of the ioctls of the control device */

/* Returns the time of CLOCK_MONOTONIC in @ms, in nanoseconds. */
uint64_t lt_in_ms(uint64_t ms)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		lt_die("read the clock");
	return now.tv_sec * 1000000000ULL + now.tv_nsec + ms * 1000000;
}

struct loop_ctl_attach lt_to_attach(int index, int fd, uint32_t attach_flags,
				    uint32_t lo_flags)
{
	return (struct loop_ctl_attach) {
		.size = sizeof(struct loop_ctl_attach),
		.attach_flags = attach_flags,
		.index = index,
		.fd = fd,
		.lo_flags = lo_flags,
	};
}

/* Makes the answers 0, as the next call wants them. */
void lt_attach_again(struct loop_ctl_attach *a)
{
	size_t from = offsetof(struct loop_ctl_attach, out_diskseq);

	/* The memory may be read-only. */
	if (!lt_zeroed((uint8_t *)a + from, sizeof(*a) - from))
		memset((uint8_t *)a + from, 0, sizeof(*a) - from);
}

/*
 * Attaches with a lease, opens the node, for writing if the device takes that,
 * and returns the fd. The lease goes to @lease, or is closed if that is NULL, so
 * that the opener alone holds a device with autoclear.
 */
int lt_attach(struct loop_ctl_attach *a, int *lease)
{
	int fd, err;

	lt_attach_again(a);
	a->attach_flags |= LOOP_ATTACH_LEASE;
	if (ioctl(lt_control(), LOOP_CTL_ATTACH, a))
		return -1;
	fd = lt_open(a->out_index, a->out_lo_flags & LO_FLAGS_READ_ONLY ?
				   O_RDONLY : O_RDWR);
	err = errno;
	if (lease && fd >= 0)
		*lease = a->out_lease;
	else
		close(a->out_lease);
	errno = err;
	return fd;
}

/* Makes arguments of LOOP_CTL_DETACH for whatever file is attached. */
struct loop_ctl_detach lt_to_detach(int index, uint32_t mode, uint64_t deadline)
{
	return (struct loop_ctl_detach) {
		.size = sizeof(struct loop_ctl_detach),
		.flags = LOOP_DETACH_ANY,
		.mode = mode,
		.index = index,
		.deadline = deadline,
	};
}

/* @fd is -1 without LOOP_LIST_FD. */
struct loop_ctl_list lt_to_list(uint32_t start, uint32_t count,
				struct loop_ctl_entry *e, uint32_t flags, int fd)
{
	return (struct loop_ctl_list) {
		.size = sizeof(struct loop_ctl_list),
		.flags = flags,
		.start = start,
		.count = count,
		.entry_size = sizeof(*e),
		.fd = fd,
		.entries = (uintptr_t)e,
	};
}

/* Prepares the call that goes on with the list; false if it has ended. */
bool lt_list_next(struct loop_ctl_list *l)
{
	l->start = l->out_next;
	l->out_count = 0;
	l->out_next = 0;
	return l->start != UINT32_MAX;
}

/* The state of a device in one line */

#define LT_MAX_FILES 64

struct lt_known_file {
	char label[16];
	dev_t dev, rdev;
	ino_t ino;
};

/* Labels tell backing files apart, as their numbers differ from run to run. */
static struct lt_known_file lt_files[LT_MAX_FILES];
static unsigned int lt_nr_files;

char lt_prefix[PATH_MAX];

void lt_know(int fd, const char *label)
{
	struct lt_known_file *f;
	struct stat st;
	unsigned int i;

	if (fstat(fd, &st))
		lt_die("fstat %s", label);
	/* This file may have the number of a file that was deleted. */
	for (i = 0; i < lt_nr_files; i++)
		if (lt_files[i].ino == st.st_ino &&
		    lt_files[i].dev == st.st_dev)
			lt_files[i].ino = 0;
	for (i = 0; i < lt_nr_files; i++)
		if (!strcmp(lt_files[i].label, label))
			break;
	if (i == LT_MAX_FILES)
		lt_die("too many files");
	if (i == lt_nr_files)
		lt_nr_files++;
	f = &lt_files[i];
	snprintf(f->label, sizeof(f->label), "%s", label);
	f->dev = st.st_dev;
	f->rdev = st.st_rdev;
	f->ino = st.st_ino;
}

/* The kernel gives device numbers as (minor low, major, minor high). */
uint64_t lt_huge_dev(dev_t dev)
{
	return (minor(dev) & 0xff) | (uint64_t)major(dev) << 8 |
	       (uint64_t)(minor(dev) & ~0xffU) << 12;
}

const char *lt_label_of(uint64_t dev, uint64_t ino, uint64_t rdev)
{
	unsigned int i;

	for (i = 0; i < lt_nr_files; i++)
		if (lt_files[i].ino == ino &&
		    lt_huge_dev(lt_files[i].dev) == dev &&
		    lt_huge_dev(lt_files[i].rdev) == rdev)
			return lt_files[i].label;
	if (!dev && !ino && !rdev)
		return "none";
	for (i = 0; i < lt_nr_files; i++)
		if (lt_files[i].ino == ino)
			return "dev?";
	return "?";
}

/*
 * Adds at most @max bytes of @name, which may lack a NUL; blanks and others
 * become '_'.
 */
void lt_add_name(struct lt_buf *b, const void *name, size_t max)
{
	const char *s = name;
	size_t skip = strlen(lt_prefix), len = strnlen(s, max), i, run;

	if (skip && len >= skip && !memcmp(s, lt_prefix, skip)) {
		lt_add(b, "@");
		s += skip;
		len -= skip;
	}
	for (i = 0; i < len; i += run) {
		char c = s[i] > ' ' && s[i] < 127 ? s[i] : '_';

		for (run = 1; i + run < len && s[i + run] == s[i];)
			run++;
		if (run > 8) {
			lt_add(b, "%c*%zu", c, run);
		} else {
			lt_add(b, "%c", c);
			run = 1;
		}
	}
}

static void lt_add_info64(struct lt_buf *b, int number,
			  const struct loop_info64 *i)
{
	lt_add(b, "%sbk=%s,off=%llu,lim=%llu,fl=%u,enc=%u/%u,",
	       (int)i->lo_number == number ? "" : "number?,",
	       lt_label_of(i->lo_device, i->lo_inode, i->lo_rdevice),
	       (unsigned long long)i->lo_offset,
	       (unsigned long long)i->lo_sizelimit, i->lo_flags,
	       i->lo_encrypt_type, i->lo_encrypt_key_size);
	lt_add(b, "name=");
	lt_add_name(b, i->lo_file_name, sizeof(i->lo_file_name));
	lt_add(b, ",crypt=");
	lt_add_name(b, i->lo_crypt_name, sizeof(i->lo_crypt_name));
	if (!lt_zeroed(i->lo_encrypt_key, sizeof(i->lo_encrypt_key)))
		lt_add(b, ",key");
	if (i->lo_init[0] || i->lo_init[1])
		lt_add(b, ",init=%llu/%llu", (unsigned long long)i->lo_init[0],
		       (unsigned long long)i->lo_init[1]);
}

/* The limit of a bio, in whole granules, is the largest limit of discards. */
#define LT_MOST_DISCARD (UINT32_MAX - UINT16_MAX)

void lt_comparable(int number, const char *attr, char *buf, size_t size)
{
	lt_sysfs(number, attr, buf, size);
	if (!strcmp(attr, "queue/discard_max_bytes") &&
	    strtoull(buf, NULL, 0) >= LT_MOST_DISCARD)
		snprintf(buf, size, "most");
}

static void lt_add_attrs(struct lt_buf *b, int number, const char *const *attrs)
{
	const char *sep = "";
	char val[512];

	for (; *attrs; attrs++) {
		lt_comparable(number, *attrs, val, sizeof(val));
		lt_add(b, "%s", sep);
		lt_add_name(b, val, sizeof(val));
		sep = "/";
	}
}

static void lt_add_int(struct lt_buf *b, const char *name, int fd,
		       unsigned long cmd)
{
	int val = 0;

	if (ioctl(fd, cmd, &val))
		lt_add(b, " %s=%s", name, lt_errname(errno));
	else
		lt_add(b, " %s=%d", name, val);
}

static void lt_add_ioctls(struct lt_buf *b, int number, int fd)
{
	struct loop_info64 info = { 0 };

	lt_add(b, " st=");
	if (ioctl(fd, LOOP_GET_STATUS64, &info))
		lt_add(b, "%s", lt_errname(errno));
	else
		lt_add_info64(b, number, &info);
	lt_add(b, " size=%llu", (unsigned long long)lt_size(fd));
	lt_add_int(b, "ssz", fd, BLKSSZGET);
	lt_add_int(b, "pbsz", fd, BLKPBSZGET);
	lt_add_int(b, "bsz", fd, BLKBSZGET);
	lt_add_int(b, "rofd", fd, BLKROGET);
}

static const char *const lt_loop_attrs[] = {
	"loop/backing_file", "loop/offset", "loop/sizelimit",
	"loop/autoclear", "loop/partscan", "loop/dio", NULL
};

static const char *const lt_queue_attrs[] = {
	"queue/logical_block_size", "queue/physical_block_size",
	"queue/minimum_io_size", "queue/optimal_io_size",
	"queue/discard_granularity", "queue/discard_max_bytes",
	"queue/write_zeroes_max_bytes", "queue/write_cache",
	"queue/rotational", NULL
};

static const char *const lt_disk_attrs[] = {
	"size", "ro", "events", "ext_range", NULL
};

/*
 * Adds all that is visible of a device: " st= size= ... sys= q= disk= parts=".
 * @fd is the open device, or -1 to leave out what only ioctls tell.
 */
void lt_add_state(struct lt_buf *b, int number, int fd)
{
	if (!lt_exists(number)) {
		lt_add(b, " gone");
		return;
	}
	if (fd >= 0)
		lt_add_ioctls(b, number, fd);
	lt_add(b, " sys=");
	if (lt_sysfs_attached(number))
		lt_add_attrs(b, number, lt_loop_attrs);
	else
		lt_add(b, "-");
	lt_add(b, " q=");
	lt_add_attrs(b, number, lt_queue_attrs);
	lt_add(b, " disk=");
	lt_add_attrs(b, number, lt_disk_attrs);
	lt_add(b, " parts=%#llx", (unsigned long long)lt_parts(number));
}

/* Uevents of block devices */

int lt_uevent_open(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd, size = 4 << 20;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		lt_die("listen to uevents");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		lt_die("size of the uevent buffer");
	return fd;
}

/* Returns the value of @key in the list of strings of a uevent, or NULL. */
static const char *lt_uevent_key(const char *msg, ssize_t len, const char *key)
{
	size_t klen = strlen(key);
	const char *p;

	for (p = msg; p < msg + len; p += strlen(p) + 1)
		if (!strncmp(p, key, klen) && p[klen] == '=')
			return p + klen + 1;
	return NULL;
}

/*
 * Takes the uevents that have arrived about loop@number and its partitions, and
 * returns their number. Adds a word for each to @b: "change", "add:p1",
 * "remove:p2", with ",media" for a change of media and ",resize" for one of
 * size.
 */
int lt_uevents(int fd, int number, struct lt_buf *b)
{
	char msg[8192], name[32];
	int count = 0;
	ssize_t len;

	snprintf(name, sizeof(name), "loop%d", number);
	while ((len = recv(fd, msg, sizeof(msg) - 1, 0)) > 0) {
		const char *action, *dev, *type, *part;

		msg[len] = '\0';
		action = lt_uevent_key(msg, len, "ACTION");
		dev = lt_uevent_key(msg, len, "DEVNAME");
		type = lt_uevent_key(msg, len, "DEVTYPE");
		part = lt_uevent_key(msg, len, "PARTN");
		if (!action || !dev || !type)
			continue;
		if (strncmp(dev, name, strlen(name)) ||
		    (dev[strlen(name)] && dev[strlen(name)] != 'p'))
			continue;
		count++;
		if (!b)
			continue;
		lt_add(b, " %s:%s", action, type);
		if (part)
			lt_add(b, "%s", part);
		if (lt_uevent_key(msg, len, "DISK_MEDIA_CHANGE"))
			lt_add(b, ",media");
		if (lt_uevent_key(msg, len, "RESIZE"))
			lt_add(b, ",resize");
	}
	return count;
}

/* The end of a page that no other page follows */

uint8_t *lt_edge(void)
{
	static uint8_t *edge;
	long page = sysconf(_SC_PAGESIZE);

	if (!edge) {
		uint8_t *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || munmap(p + page, page))
			lt_die("map a page with nothing after it");
		edge = p + page;
	}
	return edge;
}

/* For programs of kselftest_harness.h */

/*
 * Mounts a tmpfs that only this process and its children see, and stores its
 * path in @dir[32]. It can be unmounted while nothing on it is in use.
 */
int lt_scratch(char *dir, const char *name)
{
	snprintf(dir, 32, "/tmp/loop-%.10s.XXXXXX", name);
	if (!mkdtemp(dir) || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	return mount("scratch", dir, "tmpfs", 0, NULL);
}

/* Returns why nothing can be tested here, or NULL. */
const char *lt_unusable(void)
{
	if (geteuid())
		return "must be root";
	return lt_control() < 0 ? "no /dev/loop-control" : NULL;
}

/* Makes a free device with a number that nobody else uses. */
int lt_new_device(int number)
{
	if (!lt_destroy(number, 2000))
		return -1;
	return lt_ctl(LOOP_CTL_ADD, number);
}

int lt_configure(int fd, int backing, uint32_t block_size, uint32_t flags,
		 uint64_t offset, uint64_t limit)
{
	struct loop_config c = { .fd = backing, .block_size = block_size };

	c.info.lo_flags = flags;
	c.info.lo_offset = offset;
	c.info.lo_sizelimit = limit;
	return ioctl(fd, LOOP_CONFIGURE, &c);
}

uint32_t lt_flags(int fd)
{
	struct loop_info64 info;

	return ioctl(fd, LOOP_GET_STATUS64, &info) ? UINT32_MAX : info.lo_flags;
}

int lt_blkpg(int fd, int op, int part, uint64_t start, uint64_t length)
{
	struct blkpg_partition p = {
		.start = start, .length = length, .pno = part
	};
	struct blkpg_ioctl_arg arg = {
		.op = op, .datalen = sizeof(p), .data = &p
	};

	return ioctl(fd, BLKPG, &arg);
}

/* Processes */

/*
 * Waits until the process sleeps in the ioctl @cmd. It may sleep for another reason
 * than the test has in mind, on which the result of the test must not depend.
 */
bool lt_sleeps_in(pid_t pid, unsigned int cmd)
{
	char path[32], text[256];
	int i, asleep = 0;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	for (i = 0; i < 6000 && asleep < 3; i++) {
		unsigned int fd, in;
		int nr;

		lt_sleep_ms(10);
		/* This is "running", or the number of the call and its arguments. */
		lt_read_line(path, text, sizeof(text));
		if (sscanf(text, "%d_%x_%x", &nr, &fd, &in) == 3 &&
		    nr == SYS_ioctl && in == cmd)
			asleep++;
		else
			asleep = 0;
	}
	return asleep == 3;
}

/* Returns the exit status, or 128 + the signal, or -1 if the child does not end. */
int lt_ended(pid_t pid, int seconds)
{
	int i, status;

	for (i = 0; i < seconds * 100; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) :
						   128 + WTERMSIG(status);
		lt_sleep_ms(10);
	}
	return -1;
}
