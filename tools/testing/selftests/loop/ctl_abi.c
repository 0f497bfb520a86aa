// SPDX-License-Identifier: GPL-2.0
/*
 * What the calls of the control device have in common: the layout of their
 * structures, numbers of ioctls, uninitialised memory, features.
 */
#include <assert.h>
#include <poll.h>
#include <stddef.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "ctl_fixture.h"

/* 32-bit programs have the same structures, which have no holes. */
static_assert(sizeof(struct loop_ctl_attach) == LOOP_CTL_ATTACH_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_attach, index) == 16);
static_assert(offsetof(struct loop_ctl_attach, offset) == 24);
static_assert(offsetof(struct loop_ctl_attach, block_size) == 40);
static_assert(offsetof(struct loop_ctl_attach, name) == 48);
static_assert(offsetof(struct loop_ctl_attach, out_diskseq) == 112);
static_assert(offsetof(struct loop_ctl_attach, out_lease) == 132);
static_assert(offsetof(struct loop_ctl_attach, out_busy) == 148);
static_assert(sizeof(struct loop_ctl_detach) == LOOP_CTL_DETACH_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_detach, diskseq) == 16);
static_assert(offsetof(struct loop_ctl_detach, deadline) == 24);
static_assert(offsetof(struct loop_ctl_detach, out_pending) == 32);
static_assert(sizeof(struct loop_ctl_list) == LOOP_CTL_LIST_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_list, entries) == 24);
static_assert(offsetof(struct loop_ctl_list, out_count) == 32);
static_assert(sizeof(struct loop_ctl_entry) == LOOP_CTL_ENTRY_SIZE_VER0);
static_assert(offsetof(struct loop_ctl_entry, offset) == 16);
static_assert(offsetof(struct loop_ctl_entry, backing_rdev) == 56);
static_assert(offsetof(struct loop_ctl_entry, openers) == 72);
static_assert(offsetof(struct loop_ctl_entry, unmet) == 80);
static_assert(offsetof(struct loop_ctl_entry, name) == 88);

/* The kernel ignores the size in the number of the ioctl. */
TEST_F(ctl, size_in_number)
{
	struct {
		struct loop_ctl_attach a;
		uint64_t more[3];
	} big = { .a = lt_to_attach(FIRST, self->file, 0, 0) };
	struct {
		struct loop_ctl_detach d;
		uint64_t more[3];
	} off = { .d = lt_to_detach(FIRST, NOW, 0) };
	struct {
		struct loop_ctl_list l;
		uint64_t more[3];
	} all = { .l = lt_to_list(0, 0, NULL, 0, -1) };

	big.a.size = sizeof(big);
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x83, big), &big));
	off.d.size = sizeof(off);
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x84, off), &off));
	all.l.size = sizeof(all);
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x85, all), &all));
	/* The kernel reads the size in the structure. */
	lt_attach_again(&big.a);
	all.l.out_next = 0;
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x83, uint8_t), &big));
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x84, uint8_t), &off));
	ASSERT_EQ(0, ioctl(lt_control(), _IOWR(0x4C, 0x85, uint8_t), &all));
	off.more[2] = 1;
	LT_EXPECT_ERR("E2BIG", ioctl(lt_control(), LOOP_CTL_DETACH, &off));
}

/* All that calls on devices and on the control device return */
struct outputs {
	struct loop_info64 info;
	struct loop_info old;
	struct loop_ctl_list l;
	struct loop_ctl_entry e[2];
	struct loop_ctl_attach a;
	struct loop_ctl_detach d;
};

/* Leaves @byte on the part of the kernel's stack that these calls use. */
static void poison(uint8_t byte)
{
	struct timeval now = { 0 };
	struct pollfd polled[30];
	struct iovec iov[8];
	fd_set set[3];

	memset(polled, byte, sizeof(polled));
	memset(iov, byte, sizeof(iov));
	memset(set, byte, sizeof(set));
	poll(polled, ARRAY_SIZE(polled), 0);
	select(340, &set[0], &set[1], &set[2], &now);
	writev(lt_control(), iov, ARRAY_SIZE(iov));
}

/* Fills the stack and the memory with @byte, and gets the outputs. */
static bool outputs_get(struct outputs *o, int fd, int file, uint8_t byte)
{
	bool interrupted;

	memset(o, byte, sizeof(*o));
	o->l = lt_to_list(FIRST, 2, o->e, 0, -1);
	o->a = lt_to_attach(FIRST + 1, file, 0, 0);
	o->d = lt_to_detach(FIRST, WAIT, FOREVER);
	poison(byte);
	if (ioctl(fd, LOOP_GET_STATUS64, &o->info))
		return false;
	poison(byte);
	if (ioctl(fd, LOOP_GET_STATUS, &o->old))
		return false;
	poison(byte);
	if (ioctl(lt_control(), LOOP_CTL_LIST, &o->l) || o->l.out_count != 2)
		return false;
	poison(byte);
	if (ioctl(lt_control(), LOOP_CTL_ATTACH, &o->a))
		return false;
	lt_detach(FIRST + 1);
	poison(byte);
	signal_each(2, 0);
	interrupted = ioctl(lt_control(), LOOP_CTL_DETACH, &o->d) &&
		      errno == EINTR;
	signal_each(0, 0);
	/* These differ from call to call. */
	o->e[1].diskseq = 0;
	o->a.out_diskseq = 0;
	return interrupted;
}

/*
 * The kernel writes each byte, and none depends on what the caller or the stack
 * had there. The kernel moves its stack a little at each call, hence the
 * rounds.
 */
TEST_F(ctl, nothing_uninitialised)
{
	static const uint8_t bytes[] = { 0x00, 0xff, 0xa5, 0x3c };
	static struct outputs first, now;
	int fd = attach_fd(FIRST, self->file, 0, 0), i;
	size_t at;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(FIRST + 1, lt_ctl(LOOP_CTL_ADD, FIRST + 1));
	ASSERT_TRUE(outputs_get(&now, fd, self->file, bytes[0]));
	first = now;
	for (i = 0; i < 25 * ARRAY_SIZE(bytes); i++) {
		ASSERT_TRUE(outputs_get(&now, fd, self->file,
					bytes[i % ARRAY_SIZE(bytes)]));
		for (at = 0; at < sizeof(now); at++)
			if (((uint8_t *)&now)[at] != ((uint8_t *)&first)[at])
				break;
		ASSERT_EQ(sizeof(now), at)
			TH_LOG("byte %zu of struct outputs", at);
	}
	close(fd);
}

/* The devices do not know the ioctls of the control device. */
TEST_F(ctl, not_on_devices)
{
	struct loop_ctl_list l = lt_to_list(0, 0, NULL, 0, -1);
	int fd = attach_fd(FIRST, self->file, 0, AUTOCLEAR);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, ioctl(fd, LOOP_CTL_LIST, &l));
	EXPECT_TRUE(errno == EINVAL || errno == ENOTTY);
}

TEST_F(ctl, features)
{
	static const char * const wanted[] = { "attach", "detach", "list" };
	int fd = open("/sys/class/misc/loop-control/features",
		      O_RDONLY | O_CLOEXEC);
	char text[4097], *word, *rest;
	unsigned int i, seen = 0;
	ssize_t len;

	ASSERT_GE(fd, 0);
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	ASSERT_GT(len, 0);
	text[len] = '\0';
	ASSERT_EQ('\n', text[len - 1]);
	text[len - 1] = '\0';
	EXPECT_FALSE(!!strpbrk(text, "\n\t"));
	EXPECT_FALSE(!!strstr(text, "  "));
	for (rest = text; (word = strsep(&rest, " "));)
		for (i = 0; i < ARRAY_SIZE(wanted); i++)
			if (!strcmp(word, wanted[i]))
				seen |= 1U << i;
	EXPECT_EQ(7, seen);
}

TEST_HARNESS_MAIN
