// SPDX-License-Identifier: GPL-2.0
/*
 * Many devices: all of them are attached at once, listed, detached and removed.
 *
 * usage: many [DEVICES]
 */
#include "loop_test.h"

#define FIRST 100		/* the devices that the module makes have lower numbers */

static unsigned int devices;
static int backing;

static bool attach_all(void)
{
	unsigned int i;

	for (i = 0; i < devices; i++) {
		struct loop_ctl_attach a =
			lt_to_attach(FIRST + i, backing, 0, 0);

		if (!ioctl(lt_control(), LOOP_CTL_ATTACH, &a) &&
		    a.out_index == (int)(FIRST + i))
			continue;
		ksft_print_msg("loop%u: %s\n", FIRST + i, lt_errname(errno));
		return false;
	}
	return true;
}

/* Returns whether all devices on the file are listed, in order. */
static bool all_listed(unsigned int expected)
{
	static struct loop_ctl_entry e[1000];
	struct loop_ctl_list l = lt_to_list(0, ARRAY_SIZE(e), e,
					    LOOP_LIST_ATTACHED, -1);
	unsigned int i, seen = 0;
	struct stat st;

	if (fstat(backing, &st))
		return false;
	do {
		if (ioctl(lt_control(), LOOP_CTL_LIST, &l)) {
			ksft_print_msg("LOOP_CTL_LIST: %s\n", lt_errname(errno));
			return false;
		}
		for (i = 0; i < l.out_count; i++, seen++) {
			if (e[i].index == FIRST + seen && e[i].backing_ino == st.st_ino &&
			    e[i].nr_bytes == LT_MIB)
				continue;
			ksft_print_msg("entry %u: loop%u, size %llu\n", seen,
				       e[i].index, (unsigned long long)e[i].nr_bytes);
			return false;
		}
	} while (lt_list_next(&l));
	ksft_print_msg("%u are listed\n", seen);
	return seen == expected;
}

static bool detach_all(void)
{
	unsigned int i;

	for (i = 0; i < devices; i++) {
		struct loop_ctl_detach d = lt_to_detach(FIRST + i,
							LOOP_DETACH_NOW, 0);

		if (!ioctl(lt_control(), LOOP_CTL_DETACH, &d))
			continue;
		ksft_print_msg("loop%u: %s\n", FIRST + i, lt_errname(errno));
		return false;
	}
	return true;
}

static bool remove_all(void)
{
	unsigned int i;

	for (i = 0; i < devices; i++)
		if (lt_ctl(LOOP_CTL_REMOVE, FIRST + i) != (int)(FIRST + i)) {
			ksft_print_msg("loop%u: %s\n", FIRST + i,
				       lt_errname(errno));
			return false;
		}
	return true;
}

int main(int argc, char **argv)
{
	char dir[32], path[40];

	devices = argc > 1 ? atoi(argv[1]) : 10000;
	ksft_print_header();
	if (lt_unusable())
		ksft_exit_skip("%s\n", lt_unusable());
	ksft_set_plan(5);
	if (lt_scratch(dir, "many"))
		lt_die("no scratch directory");
	snprintf(path, sizeof(path), "%s/file", dir);
	backing = lt_file(path, LT_MIB, 1);

	ksft_test_result(attach_all(), "%u devices are attached\n", devices);
	ksft_test_result(all_listed(devices), "each is listed once, in order\n");
	ksft_test_result(detach_all(), "each is detached\n");
	ksft_test_result(all_listed(0), "none is left attached\n");
	ksft_test_result(remove_all(), "each is removed\n");
	close(backing);
	umount2(dir, 0);
	rmdir(dir);
	ksft_finished();
}
