// SPDX-License-Identifier: GPL-2.0
/*
 * The lease of LOOP_CTL_ATTACH: what it holds, what it tells, what it can do.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "ctl_fixture.h"

#define PATIENCE 60000		/* milliseconds for what has to come */

/* Returns the events of a lease as they are now. */
static int events(int lease)
{
	struct pollfd p = { .fd = lease, .events = POLLPRI };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static uint32_t attach_flags(int index)
{
	struct loop_ctl_entry e;

	return lt_entry(index, &e) ? e.attach_flags : UINT32_MAX;
}

/* Lifetime */

/* With autoclear, the attachment lasts until the lease and all openers are closed. */
TEST_F(ctl, lease_autoclear)
{
	int lease, fd, copy;

	/* The lease alone */
	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(lease, 0);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	/* Openers come and go. */
	fd = lt_open(FIRST, O_RDWR);
	ASSERT_GE(fd, 0);
	close(fd);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(lease);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_TRUE(lt_exists(FIRST));

	/* The lease goes first. */
	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(lease, 0);
	fd = lt_open(FIRST, O_RDONLY);
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, attach_flags(FIRST));
	close(fd);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));

	/* The opener goes first. */
	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(lease, 0);
	fd = lt_open(FIRST, O_RDONLY);
	close(fd);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	/* A copy is the same lease. */
	copy = dup(lease);
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(LEASE, attach_flags(FIRST));
	close(self->file);
	LT_EXPECT_ERR("EBUSY", umount2(self->dir, 0));
	close(copy);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, umount2(self->dir, 0));
}

/* A partition that is open holds it as well. */
TEST_F(ctl, lease_autoclear_partition)
{
	int lease, part;

	lt_label_two(self->file);
	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR | PARTSCAN);
	ASSERT_GE(lease, 0);
	part = lt_open_part(FIRST, 2, O_RDONLY);
	ASSERT_GE(part, 0);
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(part);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* A mount holds it as well. */
TEST_F(ctl, lease_autoclear_mount)
{
	char dir[64], command[160], node[32];
	int lease;

	snprintf(dir, sizeof(dir), "%s/mnt", self->dir);
	snprintf(node, sizeof(node), "/dev/loop%d", FIRST);
	ASSERT_EQ(0, mkdir(dir, 0700));
	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(lease, 0);
	snprintf(command, sizeof(command), "mkfs.ext4 -q -F %s > /dev/null 2>&1", node);
	if (system(command))
		SKIP(return, "no mkfs.ext4");
	/* The lease does not write to the device. */
	ASSERT_EQ(0, mount(node, dir, "ext4", 0, NULL));
	EXPECT_EQ(1, openers(FIRST));
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(0, umount2(dir, 0));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* Without autoclear the lease keeps nothing, and ends nothing. */
TEST_F(ctl, lease_without_autoclear)
{
	int lease = attach_lease(FIRST, self->file, 0, 0);

	ASSERT_GE(lease, 0);
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
}

/* The value that autoclear has at the last close counts. */
TEST_F(ctl, lease_autoclear_changes)
{
	struct loop_info64 info = { .lo_flags = AUTOCLEAR };
	int lease = attach_lease(FIRST, self->file, 0, 0), fd;

	ASSERT_GE(lease, 0);
	ASSERT_EQ(0, ioctl(lease, LOOP_SET_STATUS64, &info));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(1, lt_sysfs_num(FIRST, "loop/autoclear"));
	close(lease);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));

	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(lease, 0);
	info.lo_flags = 0;
	ASSERT_EQ(0, ioctl(lease, LOOP_SET_STATUS64, &info));
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	/* It is turned on by one who has the node open. */
	fd = lt_open(FIRST, O_RDWR);
	info.lo_flags = AUTOCLEAR;
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	close(fd);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* A lease is closed when its process is killed, too. */
TEST_F(ctl, lease_of_killed)
{
	int i, status;
	pid_t pid;

	for (i = 0; i < 4; i++) {
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			int lease = attach_lease(FIRST, self->file,
						 i & 1 ? EPHEMERAL : 0, AUTOCLEAR);

			if (lease < 0)
				_exit(1);
			if (i & 2)
				_exit(0);
			raise(SIGKILL);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(i & 2 ? WIFEXITED(status) && !WEXITSTATUS(status) :
				    WIFSIGNALED(status));
		if (i & 1)
			EXPECT_TRUE(gone(FIRST));
		EXPECT_FALSE(lt_sysfs_attached(FIRST));
		EXPECT_TRUE(lt_destroy(FIRST, 2000));
	}
}

/* The lease is close-on-exec. */
TEST_F(ctl, lease_close_on_exec)
{
	int lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR), p[2];
	pid_t pid;
	char c;

	ASSERT_GE(lease, 0);
	ASSERT_EQ(0, pipe2(p, O_CLOEXEC));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/bin/sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	/* The end of the pipe is closed by exec. */
	close(p[1]);
	ASSERT_EQ(0, read(p[0], &c, 1));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(lease);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* It is no opener */

TEST_F(ctl, lease_is_no_opener)
{
	struct loop_ctl_detach d = lt_to_detach(FIRST, NOW, 0);
	int lease = attach_lease(FIRST, self->file, 0, 0), fd;
	char path[64];

	ASSERT_GE(lease, 0);
	EXPECT_EQ(0, openers(FIRST));
	fd = lt_open(FIRST, O_RDWR | O_EXCL);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(1, openers(FIRST));
	close(fd);
	/* It cannot be opened again, read, written or mapped. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", lease);
	EXPECT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	EXPECT_EQ(-1, read(lease, path, sizeof(path)));
	EXPECT_EQ(-1, write(lease, path, sizeof(path)));
	EXPECT_TRUE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, lease, 0) == MAP_FAILED);
	EXPECT_EQ(0, ioctl(lt_control(), LOOP_CTL_DETACH, &d));
	close(lease);
}

/* BLKRRPART on the lease reads the partitions of a device without LO_FLAGS_PARTSCAN. */
TEST_F(ctl, lease_reads_partitions)
{
	int uevents = lt_uevent_open(), lease, part;

	lt_label_two(self->file);
	lease = attach_lease(FIRST, self->file, 0, 0);
	ASSERT_GE(lease, 0);
	EXPECT_EQ(0, lt_parts(FIRST));
	EXPECT_EQ(0, ioctl(lease, BLKRRPART, 0));
	EXPECT_EQ(0x6, lt_parts(FIRST));
	EXPECT_EQ(0, lt_sysfs_num(FIRST, "loop/partscan"));
	/* As it is for the device, a partition that is open is in the way. */
	part = lt_open_part(FIRST, 1, O_RDONLY);
	ASSERT_GE(part, 0);
	lt_uevents(uevents, FIRST, NULL);
	LT_EXPECT_ERR("EBUSY", ioctl(lease, BLKRRPART, 0));
	EXPECT_EQ(0, lt_uevents(uevents, FIRST, NULL));
	close(part);
	EXPECT_EQ(0, ioctl(lease, BLKRRPART, 0));
	EXPECT_EQ(0x6, lt_parts(FIRST));
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(0, lt_parts(FIRST));
	close(lease);
	close(uevents);
}

/* What it tells */

/* Returns the value of a line of fdinfo, or NULL. */
static const char *info_of(int fd, const char *key)
{
	static char line[512];
	char path[64];
	size_t len = strlen(key);
	const char *value = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && !value && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len))
			continue;
		line[strcspn(line, "\n")] = '\0';
		value = line + len + strspn(line + len, " \t");
	}
	if (f)
		fclose(f);
	return value;
}

TEST_F(ctl, lease_fdinfo)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, LEASE, 0);
	const char *value;
	char number[32];

	ASSERT_STREQ("ok", attach(&a));
	value = info_of(a.out_lease, "loop-device:");
	snprintf(number, sizeof(number), "%d", FIRST);
	ASSERT_TRUE(!!value);
	EXPECT_TRUE(!!strstr(value, number));
	value = info_of(a.out_lease, "loop-diskseq:");
	snprintf(number, sizeof(number), "%llu", (unsigned long long)a.out_diskseq);
	ASSERT_TRUE(!!value);
	EXPECT_STREQ(number, value);
	value = info_of(a.out_lease, "loop-file:");
	ASSERT_TRUE(!!value);
	EXPECT_STREQ(self->path, value);
	/* Once it has ended it can be looked at. */
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_TRUE(!!info_of(a.out_lease, "pos:"));
	close(a.out_lease);
}

/* How an attachment ends */

struct end {
	const char *name;
	bool now;		/* although somebody has the device open */
	int (*how)(int fd, int lease);
};

static int end_clr_fd(int fd, int lease)
{
	return ioctl(fd, LOOP_CLR_FD, 0);
}

static int end_clr_fd_lease(int fd, int lease)
{
	return ioctl(lease, LOOP_CLR_FD, 0);
}

static int end_autoclear(int fd, int lease)
{
	struct loop_info64 info = { .lo_flags = AUTOCLEAR };

	/* This does not use the lease whose events are checked. */
	return ioctl(fd, LOOP_SET_STATUS64, &info) ?: ioctl(fd, LOOP_CLR_FD, 0);
}

static int end_lazy(int fd, int lease)
{
	return strcmp("ok", detach_how(FIRST, LAZY, 0));
}

static int end_force(int fd, int lease)
{
	return strcmp("ok", detach_how(FIRST, FORCE, FOREVER));
}

static const struct end ends[] = {
	{ "LOOP_CLR_FD", false, end_clr_fd },
	{ "LOOP_CLR_FD of the lease", false, end_clr_fd_lease },
	{ "autoclear", false, end_autoclear },
	{ "LAZY", false, end_lazy },
	{ "FORCE", true, end_force },
};

/* POLLHUP is there once the attachment has ended, and not before. */
TEST_F(ctl, lease_hangs_up)
{
	unsigned int i;
	int lease, fd;

	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		lease = attach_lease(FIRST, self->file, 0, 0);
		ASSERT_GE(lease, 0);
		EXPECT_EQ(0, events(lease));
		fd = lt_open(FIRST, O_RDWR);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, ends[i].how(fd, lease)) {
			TH_LOG("%s: %s", ends[i].name, lt_errname(errno));
		}
		EXPECT_EQ(ends[i].now ? POLLHUP : 0, events(lease) & POLLHUP) {
			TH_LOG("%s", ends[i].name);
		}
		close(fd);
		EXPECT_EQ(POLLHUP, events(lease) & POLLHUP) {
			TH_LOG("%s", ends[i].name);
		}
		close(lease);
	}
	lease = attach_lease(FIRST, self->file, 0, 0);
	ASSERT_GE(lease, 0);
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(POLLHUP, events(lease) & POLLHUP);
	/* It stays so when another attaches the device. */
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	EXPECT_EQ(POLLHUP, events(lease) & POLLHUP);
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	/* If nobody has the device open, LOOP_CLR_FD on the lease detaches it at once. */
	EXPECT_STREQ("ok", detach_from(FIRST));
	lease = attach_lease(FIRST, self->file, 0, 0);
	ASSERT_EQ(0, ioctl(lease, LOOP_CLR_FD, 0));
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(POLLHUP, events(lease) & POLLHUP);
	close(lease);
}

struct poller {
	int lease;
	short want;
	atomic_bool started;
	int revents;
};

static void *poll_lease(void *arg)
{
	struct poller *w = arg;
	struct pollfd p = { .fd = w->lease, .events = w->want };

	w->started = true;
	w->revents = poll(&p, 1, PATIENCE) == 1 ? p.revents : 0;
	return NULL;
}

/* A task that waits in poll() is woken. */
TEST_F(ctl, lease_poll_wakes)
{
	unsigned int i;

	for (i = 0; i < 5; i++) {
		struct poller w = { .want = i < 4 ? 0 : POLLPRI };
		int fd = -1;
		pthread_t t;

		w.lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
		ASSERT_GE(w.lease, 0);
		if (i == 1)
			fd = lt_open(FIRST, O_RDWR);
		ASSERT_EQ(0, pthread_create(&t, NULL, poll_lease, &w));
		while (!w.started)
			lt_sleep_ms(1);
		lt_sleep_ms(20);
		switch (i) {
		case 0:
			EXPECT_STREQ("ok", detach_from(FIRST));
			break;
		case 1:
			EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
			close(fd);
			break;
		case 2:
			EXPECT_STREQ("ok", detach_how(FIRST, FORCE, FOREVER));
			break;
		case 3:
			EXPECT_EQ(0, ioctl(w.lease, LOOP_CLR_FD, 0));
			break;
		default:
			EXPECT_EQ(0, ioctl(w.lease, LOOP_SET_BLOCK_SIZE, 4096));
		}
		pthread_join(t, NULL);
		EXPECT_EQ(i < 4 ? POLLHUP : POLLPRI, w.revents) {
			TH_LOG("%u", i);
		}
		close(w.lease);
	}
}

static int get_status64(int fd)
{
	struct loop_info64 info;

	return ioctl(fd, LOOP_GET_STATUS64, &info);
}

static int get_status(int fd)
{
	struct loop_info info;

	return ioctl(fd, LOOP_GET_STATUS, &info);
}

/* Any change, through the lease or the node, sets POLLPRI until the lease reads the status. */
TEST_F(ctl, lease_tells_changes)
{
	struct loop_info64 info = { .lo_offset = 4096 };
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, 0);
	int lease, fd, i, k;

	fd = lt_attach(&a, &lease);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, events(lease));
	for (i = 0; i < 8; i++) {
		int by = i % 2 ? fd : lease;

		switch (i / 2) {
		case 0:
			ASSERT_EQ(0, ftruncate(self->file, SIZE + 4096 * (i + 1)));
			ASSERT_EQ(0, ioctl(by, LOOP_SET_CAPACITY, 0));
			break;
		case 1:
			info.lo_offset += 4096;
			ASSERT_EQ(0, ioctl(by, LOOP_SET_STATUS64, &info));
			break;
		case 2:
			ASSERT_EQ(0, ioctl(by, LOOP_SET_BLOCK_SIZE, i % 2 ? 512 : 1024));
			break;
		default:
			ASSERT_EQ(0, ioctl(by, LOOP_SET_DIRECT_IO, !(i % 2)));
		}
		/* Neither poll() nor reading the status through the node clears it. */
		for (k = 0; k < 2; k++)
			EXPECT_EQ(POLLPRI, events(lease)) {
				TH_LOG("%d", i);
			}
		EXPECT_EQ(0, get_status64(fd));
		EXPECT_EQ(POLLPRI, events(lease));
		EXPECT_EQ(0, i % 4 < 2 ? get_status64(lease) : get_status(lease));
		EXPECT_EQ(0, events(lease));
	}
	/* A call that changes nothing does not set POLLPRI. */
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_CAPACITY, 0));
	EXPECT_EQ(0, events(lease));
	/* After a change and the end of the attachment, POLLHUP is set. */
	info.lo_offset = 0;
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_STATUS64, &info));
	EXPECT_STREQ("ok", detach_how(FIRST, FORCE, FOREVER));
	EXPECT_EQ(POLLHUP, events(lease) & POLLHUP);
	close(fd);
	close(lease);
}

struct changer {
	int fd;
	int err;
};

/* Sets the name as soon as the device is attached. */
static void *change_name(void *arg)
{
	struct loop_info64 info = { .lo_file_name = "name", .lo_flags = PARTSCAN };
	struct changer *c = arg;
	int i;

	for (i = 0; i < 1000 * PATIENCE; i++) {
		c->err = ioctl(c->fd, LOOP_SET_STATUS64, &info) ? errno : 0;
		if (c->err != ENXIO)
			break;
	}
	return NULL;
}

/* A change before LOOP_CTL_ATTACH returns sets POLLPRI, too. */
TEST_F(ctl, lease_tells_early_change)
{
	struct changer c;
	pthread_t t;
	int i, lease;

	lt_label_two(self->file);
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	for (i = 0; i < 10; i++) {
		c.fd = lt_open(FIRST, O_RDWR);
		ASSERT_GE(c.fd, 0);
		ASSERT_EQ(0, pthread_create(&t, NULL, change_name, &c));
		lease = attach_lease(FIRST, self->file, 0, PARTSCAN);
		pthread_join(t, NULL);
		ASSERT_GE(lease, 0);
		ASSERT_EQ(0, c.err);
		EXPECT_EQ(POLLPRI, events(lease)) {
			TH_LOG("%d", i);
		}
		close(c.fd);
		close(lease);
		ASSERT_STREQ("ok", detach_from(FIRST));
	}
}

/* A device that becomes empty, and one that is empty no more, have another size. */
TEST_F(ctl, lease_tells_empty)
{
	int lease = attach_lease(FIRST, self->file, 0, 0), i;

	ASSERT_GE(lease, 0);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, ftruncate(self->file, i * SIZE));
		ASSERT_EQ(0, ioctl(lease, LOOP_SET_CAPACITY, 0));
		EXPECT_EQ(POLLPRI, events(lease)) {
			TH_LOG("%d", i);
		}
		EXPECT_EQ(0, get_status64(lease));
		EXPECT_EQ(0, events(lease));
	}
	close(lease);
}

/* LOOP_CHANGE_FD is a change, and the lease stays valid. */
TEST_F(ctl, lease_follows_file)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, 0, READ_ONLY);
	struct loop_info64 info;
	int lease, fd, other;
	struct stat st;
	char path[80];

	snprintf(path, sizeof(path), "%s/other", self->dir);
	other = lt_file(path, SIZE, 2);
	ASSERT_EQ(0, fstat(other, &st));
	fd = lt_attach(&a, &lease);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_CHANGE_FD, other));
	EXPECT_EQ(POLLPRI, events(lease));
	ASSERT_EQ(0, ioctl(lease, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(st.st_ino, info.lo_inode);
	EXPECT_EQ(0, events(lease));
	EXPECT_STREQ(path, info_of(lease, "loop-file:"));
	/* The other way round, by the lease */
	EXPECT_EQ(0, ioctl(lease, LOOP_CHANGE_FD, self->file));
	ASSERT_EQ(0, ioctl(fd, LOOP_GET_STATUS64, &info));
	EXPECT_NE(st.st_ino, info.lo_inode);
	close(fd);
	close(lease);
}

/* What it can do */

/*
 * Makes each call that a lease takes, and counts those that do not return @err, 0
 * for a success. With an error, none of them changes anything.
 */
static int all_calls(int lease, int file, int err)
{
	struct loop_info64 info = { .lo_number = UINT32_MAX };
	struct loop_info old = { .lo_number = -1 };
	int bad = 0;

#define TRY(expr) do {							\
	int rc_ = (expr);						\
	if (err ? rc_ != -1 || errno != err : rc_) {			\
		printf("# %s: %s\n", #expr, rc_ ? lt_errname(errno) : "ok"); \
		bad++;							\
	}								\
} while (0)

	TRY(ioctl(lease, LOOP_GET_STATUS64, &info));
	TRY(ioctl(lease, LOOP_GET_STATUS, &old));
	if (!err && (info.lo_number != FIRST || old.lo_number != FIRST))
		bad++;
	info.lo_offset = 512;
	TRY(ioctl(lease, LOOP_SET_STATUS64, &info));
	old.lo_offset = 0;
	TRY(ioctl(lease, LOOP_SET_STATUS, &old));
	TRY(ioctl(lease, LOOP_SET_CAPACITY, 0));
	TRY(ioctl(lease, LOOP_SET_DIRECT_IO, 0));
	TRY(ioctl(lease, LOOP_SET_BLOCK_SIZE, 1024));
	TRY(ioctl(lease, LOOP_CHANGE_FD, file));
	TRY(ioctl(lease, BLKRRPART, 0));
	if (err)
		TRY(ioctl(lease, LOOP_LEASE_ANNOUNCE));
	else if (ioctl(lease, LOOP_LEASE_ANNOUNCE) != -1 || errno != EALREADY)
		bad++;
	TRY(ioctl(lease, LOOP_CLR_FD, 0));
#undef TRY
	fflush(stdout);
	return bad;
}

/* After the end of the attachment, calls on the lease fail and change nothing. */
TEST_F(ctl, lease_has_ended)
{
	int lease = attach_lease(FIRST, self->file, 0, READ_ONLY);
	int other = open(self->path, O_RDONLY | O_CLOEXEC);
	struct loop_ctl_entry before, after;

	ASSERT_GE(lease, 0);
	EXPECT_STREQ("ok", detach_from(FIRST));
	EXPECT_EQ(0, all_calls(lease, other, ENXIO));
	lt_label_two(self->file);
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0, READ_ONLY));
	ASSERT_TRUE(lt_entry(FIRST, &before));
	EXPECT_EQ(0, before.attach_flags);
	EXPECT_EQ(0, all_calls(lease, other, ENXIO));
	ASSERT_TRUE(lt_entry(FIRST, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(0, lt_parts(FIRST));
	/* The device is made anew. */
	EXPECT_TRUE(lt_destroy(FIRST, 2000));
	EXPECT_EQ(0, all_calls(lease, other, ENXIO));
	/* The calls have not made it. */
	EXPECT_FALSE(lt_exists(FIRST));
	EXPECT_STREQ("ok", attach_to(FIRST, self->file, EPHEMERAL, 0));
	EXPECT_EQ(0, all_calls(lease, other, ENXIO));
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	/* Closing the lease does not end the attachment of another. */
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
}

/* Closing the lease of an old attachment with autoclear does not end the next one. */
TEST_F(ctl, lease_old_one_closes)
{
	int lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR), next;

	ASSERT_GE(lease, 0);
	EXPECT_STREQ("ok", detach_from(FIRST));
	next = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(next, 0);
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	EXPECT_EQ(LEASE, attach_flags(FIRST));
	close(next);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* The lease of an attachment that has ended keeps neither device nor number. */
TEST_F(ctl, lease_keeps_no_number)
{
	static const uint32_t flags[] = { 0, EPHEMERAL };
	int i, lease;

	for (i = 0; i < 4; i++) {
		lease = attach_lease(FIRST, self->file, flags[i & 1], 0);
		ASSERT_GE(lease, 0) {
			TH_LOG("%d: %s", i, lt_errname(errno));
		}
		EXPECT_STREQ("ok", detach_from(FIRST));
		if (flags[i & 1]) {
			EXPECT_TRUE(gone(FIRST));
		} else {
			ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_REMOVE, FIRST));
			EXPECT_FALSE(lt_exists(FIRST));
		}
		EXPECT_STREQ("ok", attach_to(FIRST, self->file,
					     flags[i >> 1], 0)) {
			TH_LOG("%d", i);
		}
		close(lease);
		EXPECT_STREQ("ok", detach_from(FIRST));
		EXPECT_TRUE(lt_destroy(FIRST, 2000));
	}
}

TEST_F(ctl, lease_unknown_ioctls)
{
	int lease = attach_lease(FIRST, self->file, 0, 0), other;
	struct loop_ctl_list l = lt_to_list(0, 0, NULL, 0, -1);
	struct loop_config c = { .fd = self->file };
	uint64_t size = 0, range[2] = { 0, 4096 };

	ASSERT_GE(lease, 0);
	other = lt_open(FIRST, O_RDONLY);
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, LOOP_SET_FD, self->file));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, LOOP_CONFIGURE, &c));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, LOOP_CTL_LIST, &l));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, LOOP_CTL_ADD, 1));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, BLKGETSIZE64, &size));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, BLKDISCARD, range));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, BLKFLSBUF, 0));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, 0x4C0B, 0));
	LT_EXPECT_ERR("ENOTTY", ioctl(lease, _IO(0x4C, 0x11)));
	/* Nor do the devices know the ioctl of the lease. */
	EXPECT_EQ(-1, ioctl(other, LOOP_LEASE_ANNOUNCE));
	EXPECT_TRUE(errno == ENOTTY || errno == EINVAL);
	LT_EXPECT_ERR("ENOSYS", lt_ctl(LOOP_LEASE_ANNOUNCE, 0));
	close(other);
	close(lease);
}

/* Bad arguments are refused as by the device. */
TEST_F(ctl, lease_bad_arguments)
{
	int lease = attach_lease(FIRST, self->file, 0, 0);
	struct loop_info64 info = { .lo_encrypt_type = LO_CRYPT_XOR };

	ASSERT_GE(lease, 0);
	LT_EXPECT_ERR("EFAULT", ioctl(lease, LOOP_GET_STATUS64, lt_edge()));
	LT_EXPECT_ERR("EFAULT", ioctl(lease, LOOP_SET_STATUS64, lt_edge()));
	LT_EXPECT_ERR("EFAULT", ioctl(lease, LOOP_GET_STATUS, lt_edge()));
	LT_EXPECT_ERR("EFAULT", ioctl(lease, LOOP_SET_STATUS, lt_edge()));
	LT_EXPECT_ERR("EINVAL", ioctl(lease, LOOP_SET_STATUS64, &info));
	LT_EXPECT_ERR("EINVAL", ioctl(lease, LOOP_SET_BLOCK_SIZE, 3));
	LT_EXPECT_ERR("EINVAL", ioctl(lease, LOOP_CHANGE_FD, self->file));
	close(lease);
}

/* Delegation */

static bool send_fd(int socket, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { };
	struct iovec iov = { "l", 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(socket, &m, 0) == 1;
}

static int receive_fd(int socket)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { };
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	int fd = -1;

	if (recvmsg(socket, &m, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	return fd;
}

struct delegate {
	int socket, file;
};

/* A process with a lease and without rights manages this device, and no other. */
static int manage(void *arg)
{
	struct delegate *d = arg;
	int lease = receive_fd(d->socket);

	if (lease < 0)
		return 100;
	if (lt_open(FIRST, O_RDONLY) >= 0 || errno != EACCES)
		return 101;
	if (strcmp("EPERM", detach_from(FIRST)) ||
	    strcmp("EPERM", detach_from(FIRST + 1)))
		return 102;
	return all_calls(lease, d->file, 0) ?: all_calls(lease, d->file, ENXIO);
}

static pid_t start_delegate(struct delegate *d)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run_as_nobody(manage, d));
	}
	return pid;
}

TEST_F(ctl, lease_delegated)
{
	struct delegate d = { .file = open(self->path, O_RDONLY | O_CLOEXEC) };
	int s[2], lease, status;
	pid_t pid;

	lt_label_two(self->file);
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, 0, 0));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
	d.socket = s[1];
	/* The other process has no copy of the lease before it gets one. */
	pid = start_delegate(&d);
	ASSERT_GT(pid, 0);
	lease = attach_lease(FIRST, self->file, 0, READ_ONLY);
	ASSERT_GE(lease, 0);
	ASSERT_TRUE(send_fd(s[0], lease));
	close(lease);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
	EXPECT_TRUE(lt_sysfs_attached(FIRST + 1));
}

/* A lease in a message keeps the device attached until the message is discarded. */
TEST_F(ctl, lease_in_flight)
{
	int s[2], lease, got;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
	lease = attach_lease(FIRST, self->file, 0, AUTOCLEAR);
	ASSERT_GE(lease, 0);
	ASSERT_TRUE(send_fd(s[0], lease));
	close(lease);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	got = receive_fd(s[1]);
	ASSERT_GE(got, 0);
	EXPECT_EQ(0, get_status64(got));
	ASSERT_TRUE(send_fd(s[0], got));
	close(got);
	EXPECT_TRUE(lt_sysfs_attached(FIRST));
	close(s[0]);
	close(s[1]);
	EXPECT_FALSE(lt_sysfs_attached(FIRST));
}

/* Calls of many threads on one lease, while others end the attachment */

struct crowd {
	atomic_int lease;
	atomic_bool stop;
	atomic_int odd;
};

static void *use_lease(void *arg)
{
	struct crowd *c = arg;

	while (!c->stop) {
		struct pollfd p = { .fd = c->lease, .events = POLLPRI };

		if (get_status64(c->lease) && errno != ENXIO && errno != EBADF)
			c->odd++;
		if (ioctl(c->lease, LOOP_SET_CAPACITY, 0) && errno != ENXIO &&
		    errno != EBADF)
			c->odd++;
		if (poll(&p, 1, 0) < 0)
			c->odd++;
		/* LOOP_DETACH_WAIT needs a moment in which no call is under way. */
		lt_sleep_ms(20);
	}
	return NULL;
}

TEST_F_TIMEOUT(ctl, lease_threads, 600)
{
	struct crowd c = { .lease = -1 };
	pthread_t t[4];
	int i, k;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, use_lease, &c));
	for (k = 0; k < 200; k++) {
		int fd = attach_lease(FIRST, self->file,
				      k % 4 == 3 ? EPHEMERAL : 0, AUTOCLEAR);
		int lease;

		ASSERT_GE(fd, 0) {
			TH_LOG("%d: %s", k, lt_errname(errno));
		}
		/* Nothing else gets this number while a thread may still use it. */
		lease = fcntl(fd, F_DUPFD_CLOEXEC, 500 + k);
		ASSERT_GE(lease, 0);
		close(fd);
		c.lease = lease;
		if (k % 3 == 0)
			EXPECT_STREQ("ok", detach_how(FIRST, WAIT, FOREVER));
		if (k % 3 == 1)
			EXPECT_STREQ("ok", detach_how(FIRST, FORCE, FOREVER));
		c.lease = -1;
		close(lease);
		/* Another thread may be in a call on the lease. */
		for (i = 0; i < 6000 && lt_sysfs_attached(FIRST); i++)
			lt_sleep_ms(10);
		ASSERT_FALSE(lt_sysfs_attached(FIRST));
		EXPECT_TRUE(lt_destroy(FIRST, 2000));
	}
	c.stop = true;
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(0, c.odd);
}

TEST_HARNESS_MAIN
