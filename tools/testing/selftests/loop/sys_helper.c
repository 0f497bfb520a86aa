// SPDX-License-Identifier: GPL-2.0
/*
 * Commands for the shell tests of the loop driver.
 *
 *   sys_helper open PATH [rw]           prints "ok" or the name of the errno
 *   sys_helper ctl PATH CMD [N]         get-free, add or remove; prints the
 *                                       number or the errno
 *   sys_helper forget PATH...           syncs files, and drops their page cache
 *   sys_helper configure-bad DEVICE FILE   LOOP_CONFIGURE with a block size of 3
 *   sys_helper cycles DEVICE FILE N     attaches and detaches N times
 *   sys_helper attach N FILE            LOOP_CTL_ATTACH, -1 for any; prints the
 *                                       number
 *   sys_helper detach N                 LOOP_CTL_DETACH; prints "ok" or the errno
 *   sys_helper attach-cycles N FILE COUNT [ephemeral]
 *                                       the same two, COUNT times; the detach
 *                                       waits for other openers
 *   sys_helper attach-until STOP FILE [N]
 *                                       attaches any device and closes it,
 *                                       until there is a file STOP; each
 *                                       other time an ephemeral one, N if given
 *   sys_helper open-until STOP DEVICE   opens and closes it until there is STOP
 *   sys_helper full FILE                opens devices of all numbers, attaches
 *                                       one more and prints the result
 *   sys_helper uevents COMMAND...       runs it, prints the block uevents the
 *                                       kernel sent meanwhile, one per line
 *   sys_helper storm SECONDS PROCESSES  opens, ioctls, adds, removes, attaches
 *   sys_helper extents FILE DEVICE      compares the data of FILE with DEVICE,
 *                                       which must have zeroes in its holes
 *   sys_helper direct-align FILE        prints the alignment of direct I/O, or 0
 *   sys_helper attach-append FILE SIZE  attaches it to a free device with direct I/O
 *                                       and that block size; the file is open with
 *                                       O_APPEND; prints the device
 *   sys_helper neighbours DEVICE COUNT  writes blocks of 1 KiB side by side, from
 *                                       memory that is aligned and that is not
 *   sys_helper fill FILE SOURCE END READY
 *                                       fills FILE from SOURCE on demand up to
 *                                       END, and denies access beyond it; makes
 *                                       READY when it begins; exits with 4 if
 *                                       the kernel cannot do that
 *   sys_helper records-write TARGET COUNT READY   see records_write()
 *   sys_helper records-check TARGET COUNT
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/netlink.h>
#include <linux/types.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"

#define SLOT		65536
#define PAGE		4096

static int result(long value)
{
	if (value < 0) {
		puts(strerrorname_np(errno));
		return 1;
	}
	printf("%ld\n", value);
	return 0;
}

static int cmd_open(char **arg)
{
	int flags = arg[1] && !strcmp(arg[1], "rw") ? O_RDWR : O_RDONLY;
	int fd = open(arg[0], flags | O_CLOEXEC);

	if (fd < 0)
		return result(-1);
	puts("ok");
	close(fd);
	return 0;
}

static int cmd_ctl(char **arg)
{
	unsigned long number = arg[2] ? strtoul(arg[2], NULL, 0) : 0;
	unsigned long request;
	int fd;

	if (!strcmp(arg[1], "get-free"))
		request = LOOP_CTL_GET_FREE;
	else if (!strcmp(arg[1], "add"))
		request = LOOP_CTL_ADD;
	else if (!strcmp(arg[1], "remove"))
		request = LOOP_CTL_REMOVE;
	else
		return 2;
	fd = open(arg[0], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return result(-1);
	return result(ioctl(fd, request, number));
}

static int cmd_forget(char **arg)
{
	for (; *arg; arg++) {
		int fd = open(*arg, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			die(*arg);
		fsync(fd);
		if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
			die(*arg);
		close(fd);
	}
	return 0;
}

static int cmd_configure_bad(char **arg)
{
	struct loop_config config = { .block_size = 3 };
	int fd = open(arg[0], O_RDWR | O_CLOEXEC);

	config.fd = open(arg[1], O_RDWR | O_CLOEXEC);
	if (fd < 0 || config.fd == (__u32)-1)
		die("open");
	return result(ioctl(fd, LOOP_CONFIGURE, &config));
}

static int cmd_cycles(char **arg)
{
	struct loop_config config = {
		.info.lo_flags = LO_FLAGS_PARTSCAN,
	};
	int file = open(arg[1], O_RDWR | O_CLOEXEC);
	int count = atoi(arg[2]);

	config.fd = file;
	while (count-- > 0) {
		int fd = open(arg[0], O_RDWR | O_CLOEXEC);

		if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config))
			die("LOOP_CONFIGURE");
		if (ioctl(fd, LOOP_CLR_FD, 0))
			die("LOOP_CLR_FD");
		close(fd);
	}
	return 0;
}

/* ---- attach, detach ---- */

static int open_control(void)
{
	return open_or_die("/dev/loop-control", O_RDWR);
}

static int cmd_attach(char **arg)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a),
		.index = atoi(arg[0]), .fd = open_or_die(arg[1], O_RDWR),
	};

	if (ioctl(open_control(), LOOP_CTL_ATTACH, &a))
		return result(-1);
	return result(a.out_index);
}

static int cmd_attach_append(char **arg)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a), .index = -1, .lo_flags = LO_FLAGS_DIRECT_IO,
		.fd = open_or_die(arg[0], O_RDWR | O_APPEND), .block_size = atoi(arg[1]),
	};

	if (ioctl(open_control(), LOOP_CTL_ATTACH, &a))
		return result(-1);
	printf("/dev/loop%d\n", a.out_index);
	return 0;
}

static int cmd_detach(char **arg)
{
	struct loop_ctl_detach d = {
		.size = sizeof(d), .flags = LOOP_DETACH_ANY,
		.index = atoi(arg[0]),
	};

	if (ioctl(open_control(), LOOP_CTL_DETACH, &d))
		return result(-1);
	puts("ok");
	return 0;
}

static int cmd_attach_cycles(char **arg)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a),
		.index = atoi(arg[0]), .fd = open_or_die(arg[1], O_RDWR),
		.lo_flags = LO_FLAGS_PARTSCAN,
	};
	int count = atoi(arg[2]), control = open_control();

	if (arg[3] && !strcmp(arg[3], "ephemeral"))
		a.attach_flags |= LOOP_ATTACH_EPHEMERAL;
	while (count-- > 0) {
		struct loop_ctl_attach now = a;
		struct loop_ctl_detach d = {
			.size = sizeof(d), .mode = LOOP_DETACH_WAIT,
			.index = a.index, .deadline = UINT64_MAX,
		};

		if (ioctl(control, LOOP_CTL_ATTACH, &now))
			die("LOOP_CTL_ATTACH");
		d.diskseq = now.out_diskseq;
		if (ioctl(control, LOOP_CTL_DETACH, &d))
			die("LOOP_CTL_DETACH");
	}
	return 0;
}

/* Opens and closes a device as fast as possible, until a file exists. */
static int cmd_open_until(char **arg)
{
	int fd;

	while (access(arg[0], F_OK)) {
		fd = open(arg[1], O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

static int cmd_attach_until(char **arg)
{
	int file = open_or_die(arg[1], O_RDWR), control = open_control();
	unsigned int count = 0;
	struct stat st;

	if (fstat(file, &st))
		die(arg[1]);
	for (; access(arg[0], F_OK); count++) {
		struct loop_ctl_attach a = {
			.size = sizeof(a), .index = -1, .fd = file,
			.attach_flags = LOOP_ATTACH_LEASE,
			.lo_flags = LO_FLAGS_AUTOCLEAR,
		};
		struct loop_info64 info;

		if (count % 2) {
			a.attach_flags |= LOOP_ATTACH_EPHEMERAL;
			if (arg[2])
				a.index = atoi(arg[2]);
		}
		/* An open of the node may have made the device again. */
		if (ioctl(control, LOOP_CTL_ATTACH, &a)) {
			if ((errno != EEXIST && errno != EBUSY) || a.index < 0)
				die("LOOP_CTL_ATTACH");
			continue;
		}
		if (ioctl(a.out_lease, LOOP_GET_STATUS64, &info))
			die("LOOP_GET_STATUS64");
		if (info.lo_inode != st.st_ino) {
			fprintf(stderr, "loop%d is another's\n", a.out_index);
			return 1;
		}
		close(a.out_lease);
		/* The pause lets callers succeed that have to try again. */
		usleep(1000 * (count % 4));
	}
	printf("%u times\n", count);
	return 0;
}

static int cmd_full(char **arg)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a), .index = -1, .fd = open_or_die(arg[0], O_RDWR),
	};
	int control = open_control(), number;
	char path[32];

	do {
		number = ioctl(control, LOOP_CTL_ADD, -1);
	} while (number >= 0);
	if (errno != ENOSPC)
		die("LOOP_CTL_ADD");
	for (number = 0; ; number++) {
		snprintf(path, sizeof(path), "/dev/loop%d", number);
		if (open(path, O_RDONLY | O_CLOEXEC) < 0)
			break;
	}
	if (errno != ENOENT)
		die(path);
	if (ioctl(control, LOOP_CTL_ATTACH, &a))
		return result(-1);
	return result(a.out_index);
}

/* ---- uevents ---- */

struct uevent {
	const char *action, *devname, *subsystem, *devtype;
	const char *media, *diskseq, *synth, *resize;
};

static const char *value_of(const char *text, const char *key)
{
	size_t len = strlen(key);

	return !strncmp(text, key, len) && text[len] == '=' ?
		text + len + 1 : NULL;
}

static void uevent_parse(struct uevent *event, const char *text, size_t len)
{
	const struct {
		const char *key;
		const char **where;
	} table[] = {
		{ "ACTION", &event->action }, { "DEVNAME", &event->devname },
		{ "SUBSYSTEM", &event->subsystem },
		{ "DEVTYPE", &event->devtype },
		{ "DISK_MEDIA_CHANGE", &event->media },
		{ "DISKSEQ", &event->diskseq },
		{ "SYNTH_UUID", &event->synth }, { "RESIZE", &event->resize },
	};
	const char *end = text + len;

	memset(event, 0, sizeof(*event));
	for (; text < end; text += strlen(text) + 1) {
		for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
			const char *value = value_of(text, table[i].key);

			if (value)
				*table[i].where = value;
		}
	}
}

/* ACTION NAME DEVTYPE [diskseq=N] [media] [resize] [synth] */
static void uevent_print(const char *text, size_t len)
{
	struct uevent event;

	uevent_parse(&event, text, len);
	if (!event.subsystem || strcmp(event.subsystem, "block"))
		return;
	printf("%s %s %s", event.action, event.devname, event.devtype);
	if (event.diskseq)
		printf(" diskseq=%s", event.diskseq);
	if (event.media)
		printf(" media");
	if (event.resize)
		printf(" resize");
	if (event.synth)
		printf(" synth");
	putchar('\n');
}

/*
 * The kernel puts an event into the socket before the call that caused it
 * returns. Thus all events have arrived when the command ends.
 */
static int cmd_uevents(char **arg)
{
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK, .nl_groups = 1,
	};
	int size = 32 << 20, status;
	static char text[65536];
	ssize_t len;
	pid_t pid;
	int fd;

	fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
		    NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || bind(fd, (void *)&address, sizeof(address)))
		die("netlink");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		die("SO_RCVBUFFORCE");
	pid = fork();
	if (!pid) {
		dup2(2, 1);
		execvp(arg[0], arg);
		die(arg[0]);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("fork");
	while ((len = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
		text[len] = 0;
		uevent_print(text, len);
	}
	if (len < 0 && errno != EAGAIN)
		die("recv");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

/* ---- storm ---- */

static void storm_attach(int fd, int file)
{
	struct loop_info64 info;
	static char data[PAGE];

	if (ioctl(fd, LOOP_SET_FD, file))
		return;
	ioctl(fd, LOOP_GET_STATUS64, &info);
	if (pread(fd, data, sizeof(data), 0) < 0)
		errno = 0;
	ioctl(fd, LOOP_CLR_FD, 0);
}

static void storm_one(int file)
{
	struct loop_info64 info;
	char path[32];
	int fd;

	switch (rand() % 32) {
	case 0:
		fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return;
		ioctl(fd, LOOP_CTL_ADD, 100 + rand() % 8);
		ioctl(fd, LOOP_CTL_REMOVE, 100 + rand() % 8);
		ioctl(fd, LOOP_CTL_GET_FREE);
		break;
	case 1:
		snprintf(path, sizeof(path), "/dev/loop%d", rand() % 2);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return;
		storm_attach(fd, file);
		break;
	case 2 ... 7:
		fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return;
		ioctl(fd, LOOP_CTL_REMOVE, rand() % 8 + 100);
		break;
	default:
		snprintf(path, sizeof(path), "/dev/loop%d", rand() % 2);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		ioctl(fd, LOOP_GET_STATUS64, &info);
		break;
	}
	close(fd);
}

static int cmd_storm(char **arg)
{
	time_t end = time(NULL) + atoi(arg[0]);
	int processes = atoi(arg[1]);
	int file;

	file = memfd_create("storm", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, 1 << 20))
		die("memfd");
	while (--processes > 0 && fork() > 0)
		;
	srand(getpid());
	/*
	 * The pauses let rmmod find the module unused, and keep udev from too
	 * many events.
	 */
	while (time(NULL) < end && getppid() != 1) {
		for (int i = rand() % 4; i >= 0; i--)
			storm_one(file);
		usleep(1000 * (20 + rand() % 80));
	}
	return 0;
}

/* ---- extents ---- */

static __u64 hash(__u64 sum, const void *data, size_t len)
{
	const __u64 *word = data;

	for (size_t i = 0; i < len / 8; i++)
		sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15ULL;
	return sum;
}

static __u64 hash_range(int fd, off_t at, off_t end, __u64 sum)
{
	static char buf[1 << 18] __attribute__((aligned(PAGE)));

	while (at < end) {
		size_t want = end - at < (off_t)sizeof(buf) ?
			(size_t)(end - at) : sizeof(buf);
		ssize_t got = pread(fd, buf, want, at);

		if (got <= 0)
			die("read");
		sum = hash(sum, buf, got);
		at += got;
	}
	return sum;
}

/* Returns whether the first page of a range, or less, is zeroes. */
static bool is_zero(int fd, off_t at, off_t end)
{
	static __u64 buf[PAGE / 8];
	size_t want = end - at < PAGE ? end - at : PAGE;
	ssize_t got = pread(fd, buf, want, at);

	if (got < 0)
		die("read");
	for (ssize_t i = 0; i < got / 8; i++)
		if (buf[i])
			return false;
	return true;
}

static int cmd_extents(char **arg)
{
	__u64 a = 1, b = 1;
	off_t data, hole = 0, total = 0, end;
	int file = open(arg[0], O_RDONLY | O_CLOEXEC);
	int dev = open(arg[1], O_RDONLY | O_CLOEXEC);

	if (file < 0 || dev < 0)
		die("open");
	end = lseek(file, 0, SEEK_END);
	if (lseek(dev, 0, SEEK_END) != end) {
		printf("sizes differ\n");
		return 1;
	}
	while ((data = lseek(file, hole, SEEK_DATA)) >= 0) {
		if (data > hole && !is_zero(dev, hole, data)) {
			printf("not zero at %jd\n", (intmax_t)hole);
			return 1;
		}
		hole = lseek(file, data, SEEK_HOLE);
		a = hash_range(file, data, hole, a);
		b = hash_range(dev, data, hole, b);
		total += hole - data;
	}
	if (hole < end && !is_zero(dev, hole, end)) {
		printf("not zero at the end\n");
		return 1;
	}
	printf("%jd bytes, file %016llx, device %016llx\n",
	       (intmax_t)total, a, b);
	return a != b;
}

/* ---- records ---- */

static size_t record_fill(__u64 *buf, unsigned int number)
{
	size_t len = 512 * (1 + number * 37 % 96);

	content_fill(buf, len, number);
	return len;
}

static void dir_sync(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		die("fsync of the directory");
	close(fd);
}

static void record_to_dir(const char *dir, unsigned int number, bool sync)
{
	static __u64 buf[SLOT / 8];
	size_t len = record_fill(buf, number);
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/r%u", dir, number);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, buf, len) != (ssize_t)len)
		die(path);
	if (sync) {
		if (fsync(fd))
			die("fsync");
		dir_sync(dir);
	}
	close(fd);
}

/*
 * A third of the records each is made durable by fsync, by fdatasync, and by a
 * synchronous direct write, which a device with FUA does without a flush.
 */
static void record_to_device(int fd, int direct, unsigned int number, bool sync)
{
	static __u64 buf[SLOT / 8] __attribute__((aligned(PAGE)));
	size_t len = record_fill(buf, number);
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	off_t at = (off_t)number * SLOT;

	if (sync && number % 3 == 2) {
		if (pwritev2(direct, &iov, 1, at, RWF_DSYNC) != (ssize_t)len)
			die("direct write");
		return;
	}
	if (pwrite(fd, buf, len, at) != (ssize_t)len)
		die("write");
	if (sync && (number % 3 ? fdatasync(fd) : fsync(fd)))
		die("fsync");
}

/*
 * Writes COUNT records and makes each durable, and creates READY. Then it
 * writes records that are not made durable, until the power is cut.
 */
static _Noreturn int cmd_records_write(char **arg)
{
	unsigned int count = strtoul(arg[1], NULL, 0);
	const char *target = arg[0];
	int fd, direct = -1;
	struct stat st;

	if (stat(target, &st))
		die(target);
	fd = open(target, S_ISDIR(st.st_mode) ? O_RDONLY : O_RDWR);
	if (!S_ISDIR(st.st_mode))
		direct = open(target, O_RDWR | O_DIRECT);
	if (fd < 0 || (!S_ISDIR(st.st_mode) && direct < 0))
		die(target);
	for (unsigned int i = 0; ; i++) {
		unsigned int number = i < count ? i : count + i % count;

		if (i == count)
			close(open(arg[2], O_WRONLY | O_CREAT, 0600));
		if (S_ISDIR(st.st_mode))
			record_to_dir(target, number, i < count);
		else
			record_to_device(fd, direct, number, i < count);
	}
}

static int cmd_records_check(char **arg)
{
	unsigned int count = strtoul(arg[1], NULL, 0);
	static __u64 want[SLOT / 8], got[SLOT / 8];
	unsigned int bad = 0;
	struct stat st;
	int fd;

	if (stat(arg[0], &st))
		die(arg[0]);
	for (unsigned int i = 0; i < count; i++) {
		size_t len = record_fill(want, i);
		bool dir = S_ISDIR(st.st_mode);
		char path[4096];

		snprintf(path, sizeof(path), "%s/r%u", arg[0], i);
		fd = open(dir ? path : arg[0], O_RDONLY | O_CLOEXEC);
		memset(got, 0, len);
		if (fd < 0 ||
		    pread(fd, got, len, dir ? 0 : (off_t)i * SLOT) !=
		    (ssize_t)len || memcmp(want, got, len)) {
			fprintf(stderr, "# record %u is lost\n", i);
			bad++;
		}
		if (fd >= 0)
			close(fd);
	}
	return bad != 0;
}

static int cmd_direct_align(char **arg)
{
	struct statx st = { };

	if (statx(AT_FDCWD, arg[0], 0, STATX_DIOALIGN, &st))
		die(arg[0]);
	printf("%u\n", st.stx_dio_offset_align);
	return 0;
}

#define NEIGHBOUR 1024
#define PAIRS 16

/* Writes one block of each pair again and again, each time with another number. */
static void neighbour_write(const char *device, int odd, unsigned int count)
{
	static char memory[2 * PAGE] __attribute__((aligned(PAGE)));
	char *buf = memory + (odd ? 0 : 512);
	int fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		die(device);
	for (unsigned int i = 1; i <= count; i++) {
		off_t block = 2 * (i % PAIRS) + odd;

		for (unsigned int n = 0; n < NEIGHBOUR / sizeof(i); n++)
			memcpy(buf + n * sizeof(i), &i, sizeof(i));
		if (pwrite(fd, buf, NEIGHBOUR, block * NEIGHBOUR) != NEIGHBOUR)
			die("write");
	}
	close(fd);
}

static int cmd_neighbours(char **arg)
{
	static char buf[2 * PAIRS * NEIGHBOUR] __attribute__((aligned(PAGE)));
	unsigned int want, got, count = strtoul(arg[1], NULL, 0);
	pid_t pid = fork();
	int fd, bad = 0;

	neighbour_write(arg[0], !pid, count);
	if (!pid)
		_exit(0);
	if (waitpid(pid, &bad, 0) != pid || bad)
		die("the other");
	fd = open(arg[0], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || fsync(fd) || pread(fd, buf, sizeof(buf), 0) != sizeof(buf))
		die("read");
	for (unsigned int block = 0; block < 2 * PAIRS; block++) {
		want = count - (count - block / 2) % PAIRS;
		memcpy(&got, buf + block * NEIGHBOUR, sizeof(got));
		if (got == want)
			continue;
		printf("block %u: wrote %u, got %u\n", block, want, got);
		bad = 1;
	}
	return bad;
}

#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif

#ifndef FAN_EVENT_INFO_TYPE_RANGE
#define FAN_EVENT_INFO_TYPE_RANGE 6
#endif

/* Newer headers have it as struct fanotify_event_info_range. */
struct fill_range {
	struct fanotify_event_info_header header;
	__u32 pad;
	__u64 offset;
	__u64 count;
};

/*
 * Fills the slots of the range that are not filled yet, as others may have
 * changed since.
 */
static int fill_range(int fd, int source, __u64 offset, __u64 count)
{
	static bool there[1024];
	static char buf[SLOT];

	for (__u64 i = offset / SLOT; i * SLOT < offset + count; i++) {
		ssize_t n;

		if (i >= ARRAY_SIZE(there))
			return -1;
		if (there[i])
			continue;
		n = pread(source, buf, SLOT, i * SLOT);
		if (n < 0 || pwrite(fd, buf, n, i * SLOT) != n)
			die("fill");
		there[i] = true;
	}
	return 0;
}

static void fill_event(int group, int source, __u64 end,
		       const struct fanotify_event_metadata *event)
{
	const struct fill_range *range = (const void *)(event + 1);
	struct fanotify_response response = {
		.fd = event->fd, .response = FAN_DENY,
	};

	if (event->event_len < sizeof(*event) + sizeof(*range) ||
	    range->header.info_type != FAN_EVENT_INFO_TYPE_RANGE)
		die("an event without a range");
	if (range->offset + range->count <= end &&
	    !fill_range(event->fd, source, range->offset, range->count))
		response.response = FAN_ALLOW;
	if (write(group, &response, sizeof(response)) != sizeof(response))
		die("response");
	close(event->fd);
}

static int cmd_fill(char **arg)
{
	int group = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC,
				  O_RDWR | O_LARGEFILE);
	int source = open_or_die(arg[1], O_RDWR);
	char buf[4096] __attribute__((aligned(8)));
	const struct fanotify_event_metadata *event;
	ssize_t n;

	if (group < 0 ||
	    fanotify_mark(group, FAN_MARK_ADD, FAN_PRE_ACCESS, AT_FDCWD, arg[0])) {
		fprintf(stderr, "sys_helper: fanotify: %s\n", strerror(errno));
		return 4;
	}
	close(open(arg[3], O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
	while ((n = read(group, buf, sizeof(buf))) > 0)
		for (event = (const void *)buf; FAN_EVENT_OK(event, n);
		     event = FAN_EVENT_NEXT(event, n))
			fill_event(group, source, strtoull(arg[2], NULL, 0), event);
	die("read of events");
	return 2;
}

const struct command commands[] = {
	{ "open", 1, cmd_open },
	{ "ctl", 2, cmd_ctl },
	{ "forget", 1, cmd_forget },
	{ "configure-bad", 2, cmd_configure_bad },
	{ "cycles", 3, cmd_cycles },
	{ "attach", 2, cmd_attach },
	{ "attach-append", 2, cmd_attach_append },
	{ "detach", 1, cmd_detach },
	{ "attach-cycles", 3, cmd_attach_cycles },
	{ "attach-until", 2, cmd_attach_until },
	{ "open-until", 2, cmd_open_until },
	{ "full", 1, cmd_full },
	{ "uevents", 1, cmd_uevents },
	{ "storm", 2, cmd_storm },
	{ "extents", 2, cmd_extents },
	{ "direct-align", 1, cmd_direct_align },
	{ "neighbours", 2, cmd_neighbours },
	{ "fill", 4, cmd_fill },
	{ "records-write", 3, cmd_records_write },
	{ "records-check", 2, cmd_records_check },
	{ }
};
