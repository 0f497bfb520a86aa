/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The sources of conformance share the images, the device under test, and the
 * reports about it.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "loop_test.h"

#define NUMBER 40		/* the number of the device under test */
#define LOWER 41		/* the numbers of loop devices below it */
#define LOWEST 42
#define IMAGE_SIZE (2 * LT_MIB)
#define NOBODY 65534
#define MAX_FS 8

/* Images and options of the command line, in conformance.c */

enum image {
	IMG_A,			/* a pattern */
	IMG_B,			/* another pattern of the same size */
	IMG_C,			/* a pattern of half the size */
	IMG_P,			/* two partitions */
	IMG_E,			/* an ext4 file system */
	IMG_COUNT
};

struct image_file {
	char path[PATH_MAX];
	int rw, ro;
};

extern struct image_file image[IMG_COUNT];
extern const char *const image_names[IMG_COUNT];
extern const char *dir;
extern char *fs_args[MAX_FS];
extern int nr_fs;
extern bool brief;		/* option -b */
extern char mount_point[PATH_MAX];
extern long page;

/* The device under test, in conformance_device.c */

extern int dev;			/* the fd that calls are made on */
extern int other;		/* one more fd of it */
extern bool mounted;
extern bool as_nobody;
extern bool spoiled;		/* the device must not be used again */

/* The names of the case that is running, and the errno of its call */
extern const char *group;
extern const char *state;
extern char running[256];
extern int call_errno;

void name_case(const char *name);
int did(int rc);
void print_result(int rc, const char *words);
void remember(void);
bool report(const char *name, int rc);
__printf(3, 4)
void report_only(const char *name, int rc, const char *fmt, ...);
void report_enter(void);
void release(void);
void leave(void);
void new_device(int number);
int open_number(int number, int flags);
void fresh(void);
void renew(void);
void fresh_attached(enum image i, uint32_t flags);
void reopen(int flags);
void attach_number(int number, int backing);
void enter_attached(void);
void enter_ro(void);
void enter_roflag(void);
void enter_direct(void);
int status64(unsigned int xor_flags, uint64_t offset, uint64_t limit,
	     const char *name);
int must_open(const char *path, int flags);
int in_dir(const char *name, int flags);

/* Calls of conformance_states.c that other groups make */

struct call {
	const char *name;
	int (*fn)(void);
	bool own_fd;		/* changes the fds of this process */
};

extern const struct call calls[];
extern const unsigned int nr_calls;

int call_blkroset(void);
int call_blkroclr(void);
int call_discard(void);
int call_zeroout(void);
int call_in_child(int (*fn)(void));

/* The groups of cases */

void group_states(void);
void group_badfd(void);
void group_cycle(void);
void group_blocksize(void);
void group_flags(void);
void group_fields(void);
void group_pointers(void);
void group_changefd(void);
void group_capacity(void);
void group_control(void);
void group_control_nobody(void);
void group_partition(void);
void group_backing(void);
void group_uevent(void);
void group_io(void);
void group_sysfs(void);
void group_settings(void);

#endif /* CONFORMANCE_H */
