/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The library of the ctl_*.c programs: calls of the control device that check
 * what a failed call leaves, and arguments for them.
 */
#ifndef CTL_CALLS_H
#define CTL_CALLS_H

#include <stdatomic.h>

#include "loop_test.h"

#define FIRST 960		/* nobody else uses these numbers */
#define NUMBERS 12
#define ABSENT (FIRST + NUMBERS - 1)
#define SIZE (2 * LT_MIB)
#define HALF (SIZE / 2)
#define LARGEST_PAGE 65536	/* of all machines */

#define LEASE LOOP_ATTACH_LEASE
#define HOLD LOOP_ATTACH_HOLD
#define EXCLUSIVE LOOP_ATTACH_EXCLUSIVE
#define EPHEMERAL LOOP_ATTACH_EPHEMERAL
#define NOW LOOP_DETACH_NOW
#define WAIT LOOP_DETACH_WAIT
#define WATCH LOOP_DETACH_WATCH
#define LAZY LOOP_DETACH_LAZY
#define FORCE LOOP_DETACH_FORCE

#define FOREVER UINT64_MAX

struct loop_ctl_detach to_detach_seq(int index, uint64_t diskseq, uint32_t mode,
				     uint64_t deadline);
uint64_t trace(void);
const char *attach(struct loop_ctl_attach *a);
const char *detach(struct loop_ctl_detach *d);
const char *list(struct loop_ctl_list *l);
const char *attach_to(int index, int fd, uint32_t attach_flags,
		      uint32_t lo_flags);
const char *detach_from(int index);
const char *detach_how(int index, uint32_t mode, uint64_t deadline);
int attach_fd(int index, int fd, uint32_t attach_flags, uint32_t lo_flags);
int attach_lease(int index, int fd, uint32_t attach_flags, uint32_t lo_flags);
int run_as_nobody(int (*fn)(void *arg), void *arg);
uint32_t openers(int index);
bool gone(int index);
void *unwritable(const void *what, size_t size);
void *at_edge(const void *what, size_t size);

/* This counts the signals of signal_each() that have arrived. */
extern atomic_int signals;

void signal_each(int ms, int flags);
int killed(pid_t pid);
int attach_first(void *arg);

#endif /* CTL_CALLS_H */
