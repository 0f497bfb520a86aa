// SPDX-License-Identifier: GPL-2.0
/*
 * LOOP_CTL_LIST: entries, the cursor, filters, sizes.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "ctl_fixture.h"

/* Lists all devices, @chunk at a time, and returns their number. */
static int list_all(struct loop_ctl_entry *e, int room, uint32_t chunk,
		    uint32_t flags, int fd)
{
	struct loop_ctl_list l = lt_to_list(0, chunk, e, flags, fd);
	int count = 0;

	do {
		l.entries = (uintptr_t)(e + count);
		if (count + (int)chunk > room ||
		    ioctl(lt_control(), LOOP_CTL_LIST, &l))
			return -1;
		count += l.out_count;
	} while (lt_list_next(&l));
	return count;
}

TEST_F(ctl, list_attached)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, EPHEMERAL,
						AUTOCLEAR | PARTSCAN);
	struct loop_ctl_entry e;
	int fd, other, lease;
	struct stat st;

	lt_label_two(self->file);
	a.offset = 512;
	a.sizelimit = 4 * SIZE;
	a.block_size = 1024;
	memset(a.name, 'x', 60);
	fd = lt_attach(&a, &lease);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(FIRST, e.index);
	EXPECT_EQ(LOOP_STATE_ATTACHED, e.state);
	EXPECT_EQ(AUTOCLEAR | PARTSCAN, e.lo_flags);
	EXPECT_EQ(1024, e.block_size);
	EXPECT_EQ(512, e.offset);
	EXPECT_EQ(4 * SIZE, e.sizelimit);
	EXPECT_EQ(a.out_nr_bytes, e.nr_bytes);
	EXPECT_EQ(SIZE - 512, e.nr_bytes);
	EXPECT_EQ(lt_huge_dev(st.st_dev), e.backing_dev);
	EXPECT_EQ(st.st_ino, e.backing_ino);
	EXPECT_EQ(0, e.backing_rdev);
	EXPECT_EQ(a.out_diskseq, e.diskseq);
	EXPECT_EQ(1, e.openers);
	EXPECT_EQ(EPHEMERAL | LEASE, e.attach_flags);
	EXPECT_EQ(a.out_unmet, e.unmet);
	EXPECT_EQ(LOOP_COND_SIZELIMIT, e.unmet & LOOP_COND_SIZELIMIT);
	EXPECT_EQ(0, e.owner);
	EXPECT_EQ(0, memcmp(a.name, e.name, sizeof(e.name)));
	/* The flag is there as long as the lease is open. */
	close(lease);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(EPHEMERAL, e.attach_flags);
	other = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(other, 0);
	EXPECT_EQ(2, openers(FIRST));
	close(other);
	EXPECT_EQ(1, openers(FIRST));
	/* The entry follows LOOP_SET_STATUS64. */
	ASSERT_EQ(0, ioctl(fd, LOOP_SET_STATUS64,
			   (&(struct loop_info64) { .lo_sizelimit = HALF })));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(PARTSCAN, e.lo_flags);
	EXPECT_EQ(0, e.offset);
	EXPECT_EQ(HALF, e.sizelimit);
	EXPECT_EQ(HALF, e.nr_bytes);
	/* Nothing of the old name is left. */
	EXPECT_TRUE(lt_zeroed(e.name, sizeof(e.name)));
	close(fd);
}

TEST_F(ctl, list_attach_flags)
{
	static const uint32_t flags[] = {
		0, LEASE, LEASE | HOLD, EXCLUSIVE, EPHEMERAL,
		LOOP_ATTACH_NO_INLINE, LOOP_ATTACH_INTERNAL,
		LOOP_ATTACH_NO_DISCARD, LOOP_ATTACH_DIRECT_ALIGNED,
		EXCLUSIVE | LOOP_ATTACH_INTERNAL | LEASE,
	};
	struct loop_ctl_entry e;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, self->file,
							flags[i], 0);

		ASSERT_STREQ("ok", attach(&a));
		ASSERT_TRUE(lt_entry(FIRST, &e));
		EXPECT_EQ(flags[i], e.attach_flags);
		EXPECT_EQ(a.out_unmet, e.unmet);
		if (flags[i] & HOLD) {
			ASSERT_EQ(0, ioctl(a.out_lease, LOOP_LEASE_ANNOUNCE));
			ASSERT_TRUE(lt_entry(FIRST, &e));
			EXPECT_EQ(flags[i] & ~HOLD, e.attach_flags);
		}
		if (a.out_lease >= 0) {
			close(a.out_lease);
			ASSERT_TRUE(lt_entry(FIRST, &e));
			EXPECT_EQ(flags[i] & ~(HOLD | LEASE), e.attach_flags);
		}
		ASSERT_STREQ("ok", detach_from(FIRST));
		lt_destroy(FIRST, 2000);
	}
}

/* A block device below has a number of its own. */
TEST_F(ctl, list_rdev)
{
	struct loop_ctl_entry e;
	struct stat st;
	int low;

	low = attach_fd(FIRST, self->file, 0, 0);
	ASSERT_GE(low, 0);
	ASSERT_EQ(0, fstat(low, &st));
	ASSERT_STREQ("ok", attach_to(FIRST + 1, low, 0, 0));
	ASSERT_TRUE(lt_entry(FIRST + 1, &e));
	EXPECT_EQ(lt_huge_dev(st.st_rdev), e.backing_rdev);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(0, e.backing_rdev);
	close(low);
	ASSERT_STREQ("ok", detach_from(FIRST + 1));
}

/* The owner as another user namespace knows him */
static int look_from_namespace(void *arg)
{
	struct loop_ctl_entry e;
	pid_t pid;
	int status;

	pid = fork();
	if (!pid) {
		if (unshare(CLONE_NEWUSER))
			_exit(2);
		if (!lt_entry(FIRST, &e))
			_exit(3);
		/* No user is known there. */
		_exit(e.owner == 65534 ? 0 : 1);
	}
	return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : 4;
}

TEST_F(ctl, list_owner)
{
	struct loop_ctl_entry e;
	int rc;

	ASSERT_EQ(0, run_as_nobody(attach_first, &self->file));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(65534, e.owner);
	ASSERT_STREQ("ok", detach_from(FIRST));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(0, e.owner);
	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(0, e.owner);
	rc = look_from_namespace(NULL);
	if (rc != 2)
		EXPECT_EQ(0, rc);
}

TEST_F(ctl, list_free)
{
	struct loop_ctl_entry e;
	int fd;

	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0,
				     AUTOCLEAR | READ_ONLY));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_FREE, e.state);
	EXPECT_EQ(lt_sysfs_num(FIRST, "diskseq"), e.diskseq);
	EXPECT_EQ(0, e.openers);
	EXPECT_TRUE(lt_zeroed(&e.lo_flags, offsetof(struct loop_ctl_entry,
						    diskseq) -
			      offsetof(struct loop_ctl_entry, lo_flags)));
	EXPECT_TRUE(lt_zeroed(&e.attach_flags, sizeof(e) -
			      offsetof(struct loop_ctl_entry, attach_flags)));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_FREE, e.state);
	EXPECT_EQ(1, e.openers);
	close(fd);
}

/* Until the last close the device has its file. */
TEST_F(ctl, list_after_clr_fd)
{
	int fd = attach_fd(FIRST, self->file, 0, 0);
	struct loop_ctl_list l;
	struct loop_ctl_entry e;
	struct stat st;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_ATTACHED, e.state);
	EXPECT_EQ(st.st_ino, e.backing_ino);
	EXPECT_EQ(SIZE, e.nr_bytes);
	EXPECT_EQ(1, e.openers);
	l = lt_to_list(FIRST, 1, &e, LOOP_LIST_ATTACHED, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.out_count);
	EXPECT_EQ(FIRST, e.index);
	close(fd);
}

/* A device that was detached by force is busy until its last close. */
TEST_F(ctl, list_after_force)
{
	int fd = attach_fd(FIRST, self->file, 0, 0);
	struct loop_ctl_list l;
	struct loop_ctl_entry e;

	ASSERT_GE(fd, 0);
	ASSERT_STREQ("ok", detach_how(FIRST, FORCE, FOREVER));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_BUSY, e.state);
	EXPECT_EQ(1, e.openers);
	EXPECT_TRUE(lt_zeroed(&e.lo_flags, offsetof(struct loop_ctl_entry,
						    diskseq) -
			      offsetof(struct loop_ctl_entry, lo_flags)));
	EXPECT_TRUE(lt_zeroed(&e.attach_flags, sizeof(e) -
			      offsetof(struct loop_ctl_entry, attach_flags)));
	l = lt_to_list(FIRST, 1, &e, LOOP_LIST_ATTACHED, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.out_count);
	close(fd);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_FREE, e.state);
}

TEST_F(ctl, list_partition_opener)
{
	int fd, part;

	lt_label_two(self->file);
	fd = attach_fd(FIRST, self->file, 0, PARTSCAN);
	ASSERT_GE(fd, 0);
	part = lt_open_part(FIRST, 1, O_RDONLY);
	ASSERT_GE(part, 0);
	EXPECT_EQ(2, openers(FIRST));
	close(fd);
	EXPECT_EQ(1, openers(FIRST));
	close(part);
	EXPECT_EQ(0, openers(FIRST));
}

TEST_F(ctl, list_cursor)
{
	static struct loop_ctl_entry all[1024], some[1024];
	struct loop_ctl_list l;
	int count, i;
	uint32_t chunk;

	/* There are gaps between the devices and at the end. */
	for (i = 0; i < NUMBERS - 1; i += 2)
		ASSERT_STREQ("ok", attach_to(FIRST + i, self->file, 0,
					     i % 4 ? 0 : AUTOCLEAR));
	l = lt_to_list(0, ARRAY_SIZE(all), all, 0, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(UINT32_MAX, l.out_next);
	count = l.out_count;
	EXPECT_EQ(lt_count_devices(), count);
	for (i = 0; i < count; i++) {
		if (i)
			EXPECT_GT(all[i].index, all[i - 1].index);
		EXPECT_TRUE(lt_exists(all[i].index));
		EXPECT_EQ(lt_sysfs_attached(all[i].index),
			  all[i].state == LOOP_STATE_ATTACHED);
	}
	for (chunk = 1; chunk < 8; chunk++) {
		memset(some, 0x5a, sizeof(some));
		ASSERT_EQ(count, list_all(some, ARRAY_SIZE(some), chunk, 0, -1));
		EXPECT_EQ(0, memcmp(all, some, count * sizeof(*all)));
	}
	/* With room for exactly all entries, the list ends, or the next call returns none. */
	l = lt_to_list(0, count, some, 0, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(count, l.out_count);
	if (l.out_next != UINT32_MAX) {
		EXPECT_GT(l.out_next, all[count - 1].index);
		lt_list_next(&l);
		l.count = 1;
		ASSERT_STREQ("ok", list(&l));
		EXPECT_EQ(0, l.out_count);
	}
	EXPECT_EQ(UINT32_MAX, l.out_next);
	/*
	 * The list can start at a device in the middle, and at a number without
	 * a device.
	 */
	l = lt_to_list(FIRST + 2, 1, some, 0, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(FIRST + 2, some[0].index);
	EXPECT_GT(l.out_next, FIRST + 2);
	EXPECT_LE(l.out_next, FIRST + 4);
	l = lt_to_list(FIRST + 3, 1, some, 0, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(FIRST + 4, some[0].index);
	/* The list can start behind all devices. */
	l = lt_to_list(all[count - 1].index + 1, 1, some, 0, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.out_count);
	EXPECT_EQ(UINT32_MAX, l.out_next);
	l = lt_to_list(INT_MAX, 1, some, 0, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.out_count);
	EXPECT_EQ(UINT32_MAX, l.out_next);
	l = lt_to_list(UINT32_MAX, 1, some, 0, -1);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.out_count);
	EXPECT_EQ(UINT32_MAX, l.out_next);
}

/* A list without room is no error, and the next call loses nothing. */
TEST_F(ctl, list_no_room)
{
	struct loop_ctl_list l = lt_to_list(FIRST, 0, NULL, 0, -1);
	struct loop_ctl_entry e;

	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.out_count);
	EXPECT_GE(l.out_next, FIRST);
	EXPECT_LE(l.out_next, FIRST + 1);
	EXPECT_TRUE(lt_list_next(&l));
	l.count = 1;
	l.entries = (uintptr_t)&e;
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.out_count);
	EXPECT_EQ(FIRST + 1, e.index);
}

TEST_F(ctl, list_filters)
{
	static struct loop_ctl_entry e[1024];
	int other, low, node, count, i, attached = 0;
	char path[80];

	snprintf(path, sizeof(path), "%s/other", self->dir);
	other = lt_file(path, SIZE, 5);
	EXPECT_EQ(0, list_all(e, ARRAY_SIZE(e), 16, LOOP_LIST_FD, self->file));
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, 0, 0));
	EXPECT_STREQ("ok", attach_to(FIRST + 2, other, 0, 0));
	low = attach_fd(FIRST + 3, self->file, 0, READ_ONLY);
	EXPECT_STREQ("ok", attach_to(FIRST + 4, low, 0, 0));

	count = list_all(e, ARRAY_SIZE(e), 3, LOOP_LIST_ATTACHED, -1);
	ASSERT_GE(count, 4);
	for (i = 0; i < count; i++) {
		EXPECT_EQ(LOOP_STATE_ATTACHED, e[i].state);
		attached += e[i].index >= FIRST;
	}
	EXPECT_EQ(4, attached);
	for (i = 0; i < 2; i++) {
		uint32_t flags = LOOP_LIST_FD | (i ? LOOP_LIST_ATTACHED : 0);

		ASSERT_EQ(2, list_all(e, ARRAY_SIZE(e), 1, flags, self->file));
		EXPECT_EQ(FIRST + 1, e[0].index);
		EXPECT_EQ(FIRST + 3, e[1].index);
		ASSERT_EQ(1, list_all(e, ARRAY_SIZE(e), 1, flags, other));
		EXPECT_EQ(FIRST + 2, e[0].index);
		/* A block device is the same file through all of its nodes. */
		ASSERT_EQ(1, list_all(e, ARRAY_SIZE(e), 1, flags, low));
		EXPECT_EQ(FIRST + 4, e[0].index);
		node = lt_open(FIRST + 3, O_RDONLY);
		ASSERT_EQ(1, list_all(e, ARRAY_SIZE(e), 1, flags, node));
		EXPECT_EQ(FIRST + 4, e[0].index);
		close(node);
	}
	/* Neither the mode nor the kind of the open file matters. */
	node = open(self->path, O_WRONLY | O_CLOEXEC);
	EXPECT_EQ(2, list_all(e, ARRAY_SIZE(e), 1, LOOP_LIST_FD, node));
	close(node);
	node = open(self->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EXPECT_EQ(0, list_all(e, ARRAY_SIZE(e), 1, LOOP_LIST_FD, node));
	close(node);
	EXPECT_STREQ("ok", detach_from(FIRST + 4));
}

TEST_F(ctl, list_entry_size)
{
	const uint32_t page = sysconf(_SC_PAGESIZE);
	const uint32_t sizes[] = {
		4, 8, 15, 16, 72, 88, 151, 152, 153, 200, 512, page,
	};
	const uint32_t bad[] = { 0, 1, 3, page + 1, UINT32_MAX };
	struct loop_ctl_entry want[2];
	static uint8_t buf[2 * LARGEST_PAGE + 64];
	unsigned int i, k;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, 0, 0));
	ASSERT_STREQ("ok", attach_to(FIRST + 1, self->file, 0, 0));
	ASSERT_TRUE(lt_entry(FIRST, &want[0]));
	ASSERT_TRUE(lt_entry(FIRST + 1, &want[1]));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		/* The entries can be at any address. */
		uint8_t *at = buf + 3 * i % 8;
		struct loop_ctl_list l = lt_to_list(FIRST, 2, (void *)at, 0, -1);
		uint32_t part = sizes[i] < sizeof(*want) ? sizes[i] :
							   sizeof(*want);

		memset(buf, 0xa5, sizeof(buf));
		l.entry_size = sizes[i];
		ASSERT_STREQ("ok", list(&l));
		ASSERT_EQ(2, l.out_count);
		EXPECT_EQ(sizes[i], l.entry_size);
		for (k = 0; k < 2; k++) {
			EXPECT_EQ(0, memcmp(at, &want[k], part));
			EXPECT_TRUE(lt_zeroed(at + part, sizes[i] - part));
			at += sizes[i];
		}
		/* The kernel writes nothing behind the entries. */
		for (; at < buf + sizeof(buf); at++)
			ASSERT_EQ(0xa5, *at);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct loop_ctl_list l = lt_to_list(FIRST, 2, (void *)buf, 0, -1);

		l.entry_size = bad[i];
		EXPECT_STREQ("EINVAL", list(&l));
	}
}

TEST_F(ctl, list_sizes)
{
	static const uint32_t small[] = {
		0, 1, 4, 24, LOOP_CTL_LIST_SIZE_VER0 - 1,
	};
	struct loop_ctl_entry e;
	struct loop_ctl_list l = lt_to_list(FIRST, 1, &e, 0, -1), *b;
	uint32_t page = sysconf(_SC_PAGESIZE);
	static uint8_t buf[2 * LARGEST_PAGE];
	unsigned int i;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	for (i = 0; i < ARRAY_SIZE(small); i++) {
		l.size = small[i];
		EXPECT_STREQ("EINVAL", list(&l));
	}
	l.size = page + 1;
	EXPECT_STREQ("E2BIG", list(&l));
	l.size = UINT32_MAX;
	EXPECT_STREQ("E2BIG", list(&l));
	b = (void *)buf;
	*b = l;
	b->size = page;
	buf[page - 1] = 1;
	EXPECT_STREQ("E2BIG", list(b));
	buf[page - 1] = 0;
	EXPECT_STREQ("ok", list(b));
	EXPECT_EQ(1, b->out_count);
	EXPECT_EQ(page, b->size);
	EXPECT_TRUE(lt_zeroed(buf + sizeof(l), sizeof(buf) - sizeof(l)));
}

TEST_F(ctl, list_invalid)
{
	struct loop_ctl_entry e;
	struct loop_ctl_list l;
	unsigned int i;
	int fd;

	for (i = 0; i < 32; i++) {
		l = lt_to_list(0, 1, &e, 1U << i, self->file);
		if (l.flags > LOOP_LIST_FD)
			EXPECT_STREQ("EINVAL", list(&l));
	}
	/* An fd without LOOP_LIST_FD is refused. */
	l = lt_to_list(0, 1, &e, 0, self->file);
	EXPECT_STREQ("EINVAL", list(&l));
	l = lt_to_list(0, 1, &e, LOOP_LIST_ATTACHED, 0);
	EXPECT_STREQ("EINVAL", list(&l));
	l = lt_to_list(0, 1, &e, 0, -2);
	EXPECT_STREQ("EINVAL", list(&l));
	/* The answers are 0 on input. */
	l = lt_to_list(0, 1, &e, 0, -1);
	l.out_count = 1;
	LT_EXPECT_ERR("EINVAL", ioctl(lt_control(), LOOP_CTL_LIST, &l));
	l.out_count = 0;
	l.out_next = UINT32_MAX;
	LT_EXPECT_ERR("EINVAL", ioctl(lt_control(), LOOP_CTL_LIST, &l));
	/* An fd that is not open is refused. */
	l = lt_to_list(0, 1, &e, LOOP_LIST_FD, -1);
	EXPECT_STREQ("EBADF", list(&l));
	l = lt_to_list(0, 1, &e, LOOP_LIST_FD, 1000000);
	EXPECT_STREQ("EBADF", list(&l));
	fd = open(self->path, O_PATH | O_CLOEXEC);
	l = lt_to_list(0, 1, &e, LOOP_LIST_FD, fd);
	EXPECT_STREQ("EBADF", list(&l));
	close(fd);
}

TEST_F(ctl, list_fault)
{
	struct loop_ctl_entry e = { 0 };
	struct loop_ctl_list l = lt_to_list(FIRST, 1, &e, 0, -1);
	uint8_t *p;

	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_LIST, NULL));
	p = at_edge(&l, sizeof(l) - 1);
	LT_EXPECT_ERR("EFAULT", ioctl(lt_control(), LOOP_CTL_LIST, p));
	EXPECT_STREQ("EFAULT", list(unwritable(&l, sizeof(l))));
	/* The array cannot be written. */
	l.entries = 0;
	EXPECT_STREQ("EFAULT", list(&l));
	l.entries = UINT64_MAX - 7;
	EXPECT_STREQ("EFAULT", list(&l));
	l.entries = (uintptr_t)lt_edge() - sizeof(e) + 1;
	EXPECT_STREQ("EFAULT", list(&l));
	l.entries = (uintptr_t)unwritable(&e, sizeof(e));
	EXPECT_STREQ("EFAULT", list(&l));
	/* The array has room for one entry, and the caller says two. */
	l = lt_to_list(FIRST, 2, (void *)(lt_edge() - sizeof(e)), 0, -1);
	EXPECT_STREQ("EFAULT", list(&l));
	/* The kernel does not check the part of the array that it does not need. */
	l = lt_to_list(FIRST + 1, 1000, (void *)(lt_edge() - sizeof(e)), 0, -1);
	EXPECT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.out_count);
}

/* A caller is killed in the middle of the list: EINTR, which only others can see. */

struct listing {
	atomic_int calls;		/* that have ended */
	atomic_bool calling;
	struct loop_ctl_list l;
	struct loop_ctl_entry e[NUMBERS];
};

static __noreturn void list_forever(struct listing *s)
{
	for (;;) {
		memset(s->e, 0, sizeof(s->e));
		s->l = lt_to_list(FIRST, NUMBERS, s->e, 0, -1);
		s->calling = true;
		if (ioctl(lt_control(), LOOP_CTL_LIST, &s->l))
			_exit(1);
		s->calling = false;
		s->calls++;
	}
}

/* Returns how many entries are filled, or -1 if they are not the first ones. */
static int entries_filled(const struct listing *s)
{
	int i, filled;

	for (filled = 0; filled < NUMBERS; filled++)
		if (s->e[filled].index != FIRST + filled)
			break;
	for (i = filled; i < NUMBERS; i++)
		if (!lt_zeroed(&s->e[i], sizeof(s->e[i])))
			return -1;
	return filled;
}

TEST_F_TIMEOUT(ctl, list_killed, 600)
{
	struct listing *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct loop_ctl_list in = lt_to_list(FIRST, NUMBERS, s->e, 0, -1);
	int i, cut = 0;

	ASSERT_TRUE(s != MAP_FAILED);
	for (i = 0; i < NUMBERS; i++)
		ASSERT_EQ(FIRST + i, lt_ctl(LOOP_CTL_ADD, FIRST + i));
	/* A kill may come before or after the call, so this is repeated until one comes in it. */
	for (i = 0; i < 10000 && !cut; i++) {
		pid_t pid;

		s->calls = 0;
		s->calling = false;
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			list_forever(s);
		while (!s->calls)
			sched_yield();
		ASSERT_EQ(SIGKILL, killed(pid));
		/* The kill came between two calls, before the first entry, or after the answer. */
		if (!s->calling || s->l.out_next || !s->e[0].index)
			continue;
		cut++;
		/* The structure is as it was, and the first entries are written. */
		EXPECT_EQ(0, memcmp(&in, &s->l, sizeof(in)));
		EXPECT_GT(entries_filled(s), 0);
	}
	EXPECT_EQ(1, cut);
	/* Nothing holds the devices. */
	for (i = 0; i < NUMBERS; i++)
		EXPECT_EQ(FIRST + i, lt_ctl(LOOP_CTL_REMOVE, FIRST + i));
	munmap(s, sizeof(*s));
}

/* An entry is consistent while devices come and go. */

static atomic_bool stop;

static void *come_and_go(void *arg)
{
	int file = *(int *)arg;

	while (!stop) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, file, 0, 0);

		a.offset = HALF;
		if (!ioctl(lt_control(), LOOP_CTL_ATTACH, &a)) {
			struct loop_ctl_detach d = lt_to_detach(FIRST, WAIT,
								FOREVER);

			ioctl(lt_control(), LOOP_CTL_DETACH, &d);
		}
		lt_ctl(LOOP_CTL_REMOVE, FIRST);
		a = lt_to_attach(FIRST, file, EPHEMERAL | LEASE, AUTOCLEAR);
		a.sizelimit = 4096;
		a.block_size = 4096;
		memcpy(a.name, "other", 6);
		if (!ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
			close(a.out_lease);
	}
	return NULL;
}

static bool entry_agrees(const struct loop_ctl_entry *e)
{
	if (e->state != LOOP_STATE_ATTACHED)
		return e->state <= LOOP_STATE_BUSY &&
		       lt_zeroed(&e->lo_flags,
				 offsetof(struct loop_ctl_entry, diskseq) -
				 offsetof(struct loop_ctl_entry, lo_flags)) &&
		       !e->attach_flags && lt_zeroed(e->name, sizeof(e->name));
	if (e->offset)
		return e->offset == HALF && !e->sizelimit &&
		       e->nr_bytes == HALF && e->block_size == 512 &&
		       !e->attach_flags && !e->name[0] && e->diskseq;
	return e->sizelimit == 4096 && e->nr_bytes == 4096 &&
	       e->block_size == 4096 &&
	       (e->attach_flags & ~LEASE) == EPHEMERAL &&
	       !strcmp((char *)e->name, "other") && e->diskseq;
}

TEST_F_TIMEOUT(ctl, list_is_consistent, 600)
{
	struct loop_ctl_entry e;
	int i, seen = 0;
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, come_and_go, &self->file));
	/* The other thread may not have run yet. */
	for (i = 0; i < 20000 || !seen; i++) {
		if (!lt_entry(FIRST, &e))
			continue;
		seen++;
		ASSERT_TRUE(entry_agrees(&e)) {
			TH_LOG("state %u %llu+%llu %llu/%u flags %u/%u name %s",
			       e.state, (unsigned long long)e.offset,
			       (unsigned long long)e.sizelimit,
			       (unsigned long long)e.nr_bytes, e.block_size,
			       e.lo_flags, e.attach_flags, e.name);
		}
	}
	stop = true;
	pthread_join(t, NULL);
	EXPECT_GT(seen, 0);
}

TEST_HARNESS_MAIN
