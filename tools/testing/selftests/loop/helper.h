/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The library of the *_helper programs of the shell tests. Each has a table of
 * commands; helper.c has main(). A helper that does not work exits with 2.
 */
#ifndef HELPER_H
#define HELPER_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct command {
	const char *name;
	int arguments;		/* the least number of them */
	int (*run)(char **arg);	/* returns the exit status */
};

/* The program's own table, which ends with an entry without a name */
extern const struct command commands[];

void die(const char *what) __attribute__((noreturn));
unsigned int number(const char *text);
int open_or_die(const char *path, int flags);
void *pages(size_t len);
void content_fill(void *buf, size_t len, uint64_t seed);

#endif /* HELPER_H */
