/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of the ctl_*.c programs: a file, and numbers of devices that
 * nobody else uses.
 */
#ifndef CTL_FIXTURE_H
#define CTL_FIXTURE_H

#include "kselftest_harness.h"
#include "ctl_calls.h"

FIXTURE(ctl)
{
	char dir[32];
	char path[64];
	int file;
};

FIXTURE_SETUP(ctl)
{
	int n;

	if (lt_unusable())
		SKIP(return, "%s", lt_unusable());
	self->file = -1;
	for (n = FIRST; n < FIRST + NUMBERS; n++)
		ASSERT_TRUE(lt_destroy(n, 2000));
	ASSERT_EQ(0, lt_scratch(self->dir, "ctl"));
	snprintf(self->path, sizeof(self->path), "%s/file", self->dir);
	self->file = lt_file(self->path, SIZE, 1);
}

FIXTURE_TEARDOWN_PARENT(ctl)
{
	int n;

	for (n = FIRST; n < FIRST + NUMBERS; n++)
		lt_destroy(n, 2000);
	rmdir(self->dir);
}

#endif /* CTL_FIXTURE_H */
