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
	struct loop_ctl_list l = to_list(0, 0, NULL, flags, fd);
	int count = 0;

	do {
		l.entries = (uintptr_t)(e + count);
		l.count = chunk;
		if (count + (int)chunk > room ||
		    ioctl(lt_control(), LOOP_CTL_LIST, &l))
			return -1;
		count += l.count;
	} while (l.start != UINT32_MAX);
	return count;
}

TEST_F(ctl, list_bound_device)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, self->file, EPHEMERAL,
						AUTOCLEAR | PARTSCAN);
	struct loop_ctl_entry e;
	struct stat st;
	int fd;

	lt_label_two(self->file);
	a.offset = 512;
	a.sizelimit = 4 * SIZE;
	a.block_size = 1024;
	memset(a.name, 'x', 60);
	ASSERT_STREQ("ok", attach(&a));
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(FIRST, e.index);
	EXPECT_EQ(LOOP_STATE_BOUND, e.state);
	EXPECT_EQ(AUTOCLEAR | PARTSCAN, e.lo_flags);
	EXPECT_EQ(1024, e.block_size);
	EXPECT_EQ(512, e.offset);
	EXPECT_EQ(4 * SIZE, e.sizelimit);
	EXPECT_EQ(SIZE - 512, e.nr_bytes);
	EXPECT_EQ(lt_huge_dev(st.st_dev), e.backing_dev);
	EXPECT_EQ(st.st_ino, e.backing_ino);
	EXPECT_EQ(a.diskseq, e.diskseq);
	EXPECT_EQ(1, e.openers);
	EXPECT_EQ(EPHEMERAL, e.attach_flags);
	EXPECT_EQ(0, memcmp(a.name, e.name, sizeof(e.name)));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(2, openers(FIRST));
	close(fd);
	EXPECT_EQ(1, openers(FIRST));
	/* The entry follows LOOP_SET_STATUS64. */
	ASSERT_EQ(0, ioctl(a.device_fd, LOOP_SET_STATUS64,
			   (&(struct loop_info64) { .lo_sizelimit = HALF })));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(PARTSCAN, e.lo_flags);
	EXPECT_EQ(0, e.offset);
	EXPECT_EQ(HALF, e.sizelimit);
	EXPECT_EQ(HALF, e.nr_bytes);
	/* Nothing of the old name is left. */
	EXPECT_TRUE(lt_zeroed(e.name, sizeof(e.name)));
}

TEST_F(ctl, list_unbound_device)
{
	struct loop_ctl_entry e;
	int fd;

	EXPECT_STREQ("ok", attach_to(FIRST, self->file, 0,
				     AUTOCLEAR | READ_ONLY));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_UNBOUND, e.state);
	EXPECT_EQ(lt_sysfs_num(FIRST, "diskseq"), e.diskseq);
	EXPECT_EQ(0, e.openers);
	EXPECT_TRUE(lt_zeroed(&e.lo_flags, offsetof(struct loop_ctl_entry,
						    diskseq) -
			      offsetof(struct loop_ctl_entry, lo_flags)));
	EXPECT_TRUE(lt_zeroed(&e.attach_flags, sizeof(e) -
			      offsetof(struct loop_ctl_entry, attach_flags)));
	fd = lt_open(FIRST, O_RDONLY);
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_UNBOUND, e.state);
	EXPECT_EQ(1, e.openers);
	close(fd);
}

TEST_F(ctl, list_rundown)
{
	int fd = attach_fd(FIRST, self->file, 0, 0);
	struct loop_ctl_list l;
	struct loop_ctl_entry e;
	struct stat st;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ioctl(fd, LOOP_CLR_FD, 0));
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_TRUE(lt_entry(FIRST, &e));
	EXPECT_EQ(LOOP_STATE_RUNDOWN, e.state);
	EXPECT_EQ(st.st_ino, e.backing_ino);
	EXPECT_EQ(SIZE, e.nr_bytes);
	EXPECT_EQ(1, e.openers);
	/* The device still has a backing file. */
	l = to_list(FIRST, 1, &e, LOOP_LIST_BOUND, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.count);
	EXPECT_EQ(FIRST, e.index);
	close(fd);
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
		ASSERT_STREQ("ok", attach_to(FIRST + i, self->file,
					     i % 4 ? NO_FD : 0,
					     i % 4 ? 0 : AUTOCLEAR));
	l = to_list(0, ARRAY_SIZE(all), all, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(UINT32_MAX, l.start);
	count = l.count;
	EXPECT_EQ(lt_count_devices(), count);
	for (i = 0; i < count; i++) {
		if (i)
			EXPECT_GT(all[i].index, all[i - 1].index);
		EXPECT_TRUE(lt_exists(all[i].index));
		EXPECT_EQ(lt_sysfs_bound(all[i].index),
			  all[i].state == LOOP_STATE_BOUND);
	}
	for (chunk = 1; chunk < 8; chunk++) {
		memset(some, 0x5a, sizeof(some));
		ASSERT_EQ(count, list_all(some, ARRAY_SIZE(some), chunk, 0, 0));
		EXPECT_EQ(0, memcmp(all, some, count * sizeof(*all)));
	}
	/* With room for exactly all of them, the list ends, or 0 more follow. */
	l = to_list(0, count, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(count, l.count);
	if (l.start != UINT32_MAX) {
		EXPECT_GT(l.start, all[count - 1].index);
		l.count = 1;
		ASSERT_STREQ("ok", list(&l));
		EXPECT_EQ(0, l.count);
	}
	EXPECT_EQ(UINT32_MAX, l.start);
	/*
	 * The list can start at a device in the middle, and at a number without
	 * a device.
	 */
	l = to_list(FIRST + 2, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(FIRST + 2, some[0].index);
	EXPECT_GT(l.start, FIRST + 2);
	EXPECT_LE(l.start, FIRST + 4);
	l = to_list(FIRST + 3, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(FIRST + 4, some[0].index);
	/* The list can start behind all devices. */
	l = to_list(all[count - 1].index + 1, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_EQ(UINT32_MAX, l.start);
	l = to_list(INT_MAX, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_EQ(UINT32_MAX, l.start);
	l = to_list(UINT32_MAX, 1, some, 0, 0);
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_EQ(UINT32_MAX, l.start);
}

/* A list without room is no error, and the next call loses nothing. */
TEST_F(ctl, list_no_room)
{
	struct loop_ctl_list l = to_list(FIRST, 0, NULL, 0, 0);
	struct loop_ctl_entry e;

	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(0, l.count);
	EXPECT_GE(l.start, FIRST);
	EXPECT_LE(l.start, FIRST + 1);
	l.count = 1;
	l.entries = (uintptr_t)&e;
	ASSERT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.count);
	EXPECT_EQ(FIRST + 1, e.index);
}

TEST_F(ctl, list_filters)
{
	static struct loop_ctl_entry e[1024];
	int other, low, node, count, i, bound = 0;
	char path[80];

	snprintf(path, sizeof(path), "%s/other", self->dir);
	other = lt_file(path, SIZE, 5);
	EXPECT_EQ(0, list_all(e, ARRAY_SIZE(e), 16, LOOP_LIST_FD, self->file));
	ASSERT_EQ(FIRST, lt_ctl(LOOP_CTL_ADD, FIRST));
	EXPECT_STREQ("ok", attach_to(FIRST + 1, self->file, NO_FD, 0));
	EXPECT_STREQ("ok", attach_to(FIRST + 2, other, NO_FD, 0));
	low = attach_fd(FIRST + 3, self->file, 0, READ_ONLY);
	EXPECT_STREQ("ok", attach_to(FIRST + 4, low, NO_FD, 0));

	count = list_all(e, ARRAY_SIZE(e), 3, LOOP_LIST_BOUND, 0);
	ASSERT_GE(count, 4);
	for (i = 0; i < count; i++) {
		EXPECT_EQ(LOOP_STATE_BOUND, e[i].state);
		bound += e[i].index >= FIRST;
	}
	EXPECT_EQ(4, bound);
	for (i = 0; i < 2; i++) {
		uint32_t flags = LOOP_LIST_FD | (i ? LOOP_LIST_BOUND : 0);

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
		4, 8, 15, 16, 72, 80, 143, 144, 145, 200, 512, page,
	};
	const uint32_t bad[] = { 0, 1, 3, page + 1, UINT32_MAX };
	struct loop_ctl_entry want[2];
	static uint8_t buf[2 * LARGEST_PAGE + 64];
	unsigned int i, k;

	ASSERT_STREQ("ok", attach_to(FIRST, self->file, NO_FD, 0));
	ASSERT_STREQ("ok", attach_to(FIRST + 1, self->file, NO_FD, 0));
	ASSERT_TRUE(lt_entry(FIRST, &want[0]));
	ASSERT_TRUE(lt_entry(FIRST + 1, &want[1]));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		/* The entries can be at any address. */
		uint8_t *at = buf + 3 * i % 8;
		struct loop_ctl_list l = to_list(FIRST, 2, at, 0, 0);
		uint32_t part = sizes[i] < sizeof(*want) ? sizes[i] :
							   sizeof(*want);

		memset(buf, 0xa5, sizeof(buf));
		l.entry_size = sizes[i];
		ASSERT_STREQ("ok", list(&l));
		ASSERT_EQ(2, l.count);
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
		struct loop_ctl_list l = to_list(FIRST, 2, buf, 0, 0);

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
	struct loop_ctl_list l = to_list(FIRST, 1, &e, 0, 0), *b;
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
	EXPECT_EQ(1, b->count);
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
		l = to_list(0, 1, &e, 1U << i, self->file);
		if (l.flags > LOOP_LIST_FD)
			EXPECT_STREQ("EINVAL", list(&l));
	}
	/* An fd without LOOP_LIST_FD is refused. */
	l = to_list(0, 1, &e, 0, self->file);
	EXPECT_STREQ("EINVAL", list(&l));
	l = to_list(0, 1, &e, LOOP_LIST_BOUND, -1);
	EXPECT_STREQ("EINVAL", list(&l));
	/* An fd that is not open is refused. */
	l = to_list(0, 1, &e, LOOP_LIST_FD, -1);
	EXPECT_STREQ("EBADF", list(&l));
	l = to_list(0, 1, &e, LOOP_LIST_FD, 1000000);
	EXPECT_STREQ("EBADF", list(&l));
	fd = open(self->path, O_PATH | O_CLOEXEC);
	l = to_list(0, 1, &e, LOOP_LIST_FD, fd);
	EXPECT_STREQ("EBADF", list(&l));
	close(fd);
}

TEST_F(ctl, list_fault)
{
	struct loop_ctl_entry e = { 0 };
	struct loop_ctl_list l = to_list(FIRST, 1, &e, 0, 0);
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
	l = to_list(FIRST, 2, lt_edge() - sizeof(e), 0, 0);
	EXPECT_STREQ("EFAULT", list(&l));
	/* The kernel does not check the part of the array that it does not need. */
	l = to_list(FIRST + 1, 1000, lt_edge() - sizeof(e), 0, 0);
	EXPECT_STREQ("ok", list(&l));
	EXPECT_EQ(1, l.count);
}

/* An entry is consistent while devices come and go. */

static atomic_bool stop;

static void *come_and_go(void *arg)
{
	int file = *(int *)arg;

	while (!stop) {
		struct loop_ctl_attach a = lt_to_attach(FIRST, file, 0, AUTOCLEAR);

		a.offset = HALF;
		if (ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
			continue;
		close(a.device_fd);
		a = lt_to_attach(FIRST, file, EPHEMERAL, AUTOCLEAR);
		a.sizelimit = 4096;
		a.block_size = 4096;
		memcpy(a.name, "other", 6);
		if (!ioctl(lt_control(), LOOP_CTL_ATTACH, &a))
			close(a.device_fd);
	}
	return NULL;
}

static bool entry_agrees(const struct loop_ctl_entry *e)
{
	/* In rundown the device releases the file at some time. */
	bool bound = e->state == LOOP_STATE_BOUND ||
		     (e->state == LOOP_STATE_RUNDOWN && e->block_size);

	if (!bound)
		return lt_zeroed(&e->lo_flags, 48) && !e->attach_flags &&
		       lt_zeroed(e->name, sizeof(e->name));
	if (e->offset)
		return e->offset == HALF && !e->sizelimit &&
		       e->nr_bytes == HALF && e->block_size == 512 &&
		       !e->attach_flags && !e->name[0] && e->diskseq;
	return e->sizelimit == 4096 && e->nr_bytes == 4096 &&
	       e->block_size == 4096 && e->attach_flags == EPHEMERAL &&
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
