// SPDX-License-Identifier: GPL-2.0
/*
 * Failures of file I/O for tests. This room is built only with
 * CONFIG_BLK_DEV_LOOP_INJECT. It calls no other room, and takes no lock.
 */
#include <linux/moduleparam.h>
#include <linux/random.h>
#include "loop.h"

static unsigned int loop_inject;
module_param_named(inject, loop_inject, uint, 0600);
MODULE_PARM_DESC(inject, "Of 1000 reads and writes of the file, how many at most have to be tried again");

/*
 * Returns the result of a read or write of the file, or at random one that
 * makes the driver try again. The data were transferred, and a second transfer
 * does no harm, so the submitter of the bio sees no difference.
 */
long loop_io_inject(const struct loop_io *io, bool inlined)
{
	long result = io->ret;

	if (result <= 0 || get_random_u32_below(1000) >= READ_ONCE(loop_inject))
		return result;
	switch (get_random_u32_below(4)) {
	case 0:
		return inlined ? -EAGAIN : result;
	case 1:
		return inlined ? -EIO : result;
	case 2:
		return io->iocb.ki_flags & IOCB_DIRECT ? -EINVAL : result;
	default:
		return get_random_u32_inclusive(1, result);
	}
}
