/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The library of the loop selftests: devices, images, the state of a device in
 * sysfs and ioctls, uevents.
 */
#ifndef LOOP_TEST_H
#define LOOP_TEST_H

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/netlink.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "kselftest.h"

/*
 * The timeout of a test that does not set one: the kernel under test may be
 * slow.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

#ifndef BLKPG
#define BLKPG _IO(0x12, 105)
#endif

#define LT_KIB 1024ULL
#define LT_MIB (1024ULL * 1024)
#define LT_MAJOR 7
#define MINORS 0x100000		/* the minors of one major number */

/* Short names of the flags of a device */
#define AUTOCLEAR LO_FLAGS_AUTOCLEAR
#define READ_ONLY LO_FLAGS_READ_ONLY
#define PARTSCAN LO_FLAGS_PARTSCAN
#define DIRECT_IO LO_FLAGS_DIRECT_IO

/* lt_add() appends to this string, and cuts what does not fit. */
struct lt_buf {
	size_t len;
	char s[4096];
};

__printf(2, 3)
void lt_add(struct lt_buf *b, const char *fmt, ...);
__noreturn __printf(1, 2)
void lt_die(const char *fmt, ...);
const char *lt_errname(int err);
void lt_give_up(int sig);
uint32_t lt_random(uint64_t *state);

/* Files */

void lt_write_file(const char *path, const char *text);
const char *lt_read_line(const char *path, char *buf, size_t size);
uint64_t lt_pattern(uint64_t seed, uint64_t offset);
void lt_fill(void *buf, size_t len, uint64_t seed, uint64_t offset);
bool lt_filled(const void *buf, size_t len, uint64_t seed, uint64_t offset);
bool lt_zeroed(const void *buf, size_t len);
long long lt_allocated(int fd);
int lt_file(const char *path, uint64_t size, uint64_t seed);
void lt_label(int fd, const uint32_t *start, const uint32_t *sectors, int count);
void lt_label_two(int fd);

/* Devices */

int lt_control(void);
int lt_ctl(unsigned int cmd, long arg);
int lt_open(int number, int flags);
int lt_open_part(int number, int part, int flags);
bool lt_exists(int number);
const char *lt_sysfs(int number, const char *attr, char *buf, size_t size);
long long lt_sysfs_num(int number, const char *attr);
bool lt_sysfs_attached(int number);
uint64_t lt_diskseq(int fd);
uint64_t lt_size(int fd);
void lt_sleep_ms(unsigned int ms);
uint64_t lt_parts(int number);
void lt_detach(int number);
bool lt_entry(int number, struct loop_ctl_entry *e);
bool lt_destroy(int number, int tries);
int lt_count_devices(void);

/* Arguments of the ioctls of the control device */

uint64_t lt_in_ms(uint64_t ms);
struct loop_ctl_attach lt_to_attach(int index, int fd, uint32_t attach_flags,
				    uint32_t lo_flags);
void lt_attach_again(struct loop_ctl_attach *a);
int lt_attach(struct loop_ctl_attach *a, int *lease);
struct loop_ctl_detach lt_to_detach(int index, uint32_t mode, uint64_t deadline);
struct loop_ctl_list lt_to_list(uint32_t start, uint32_t count,
				struct loop_ctl_entry *e, uint32_t flags, int fd);
bool lt_list_next(struct loop_ctl_list *l);

/* The state of a device in one line */

/* This start of the name of a backing file becomes "@". */
extern char lt_prefix[PATH_MAX];

void lt_know(int fd, const char *label);
uint64_t lt_huge_dev(dev_t dev);
const char *lt_label_of(uint64_t dev, uint64_t ino, uint64_t rdev);
void lt_add_name(struct lt_buf *b, const void *name, size_t max);
void lt_comparable(int number, const char *attr, char *buf, size_t size);
void lt_add_state(struct lt_buf *b, int number, int fd);

/* Uevents of block devices */

int lt_uevent_open(void);
int lt_uevents(int fd, int number, struct lt_buf *b);

/* Processes */

bool lt_sleeps_in(pid_t pid, unsigned int cmd);
int lt_ended(pid_t pid, int seconds);

/* The end of a page that no other page follows */

uint8_t *lt_edge(void);

/* For programs of kselftest_harness.h */

#define LT_EXPECT_ERR(name, expr)					\
	do {								\
		EXPECT_EQ(-1, (expr));					\
		EXPECT_STREQ(name, lt_errname(errno));			\
	} while (0)

int lt_scratch(char *dir, const char *name);
const char *lt_unusable(void);
int lt_new_device(int number);
int lt_configure(int fd, int backing, uint32_t block_size, uint32_t flags,
		 uint64_t offset, uint64_t limit);
uint32_t lt_flags(int fd);
int lt_blkpg(int fd, int op, int part, uint64_t start, uint64_t length);

#endif /* LOOP_TEST_H */
