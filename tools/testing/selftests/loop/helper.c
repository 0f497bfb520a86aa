// SPDX-License-Identifier: GPL-2.0
/*
 * The library of the *_helper programs, see helper.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "helper.h"

void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
		strerror(errno));
	exit(2);
}

unsigned int number(const char *text)
{
	return strtoul(text, NULL, 0);
}

int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

/* Returns zeroed memory that direct I/O takes. */
void *pages(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* Fills memory with the content that belongs to @seed. */
void content_fill(void *buf, size_t len, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;
	uint64_t *word = buf;

	for (size_t i = 0; i < len / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = x;
	}
}

int main(int argc, char **argv)
{
	const struct command *c;

	for (c = commands; c->name; c++)
		if (argc >= 2 && !strcmp(argv[1], c->name) &&
		    argc - 2 >= c->arguments)
			return c->run(argv + 2);
	fprintf(stderr, "%s: unknown command or too few arguments\n",
		program_invocation_short_name);
	return 2;
}
