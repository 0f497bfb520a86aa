/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the newest mainline has and an older kernel lacks. Included before
 * every file of an external build, never part of the patch. Each entry probes
 * for the feature itself, so that distribution backports are recognised.
 */
#ifndef _LOOP_COMPAT_H
#define _LOOP_COMPAT_H

#include <linux/blkdev.h>
#include <linux/slab.h>

#ifndef blk_queue_rot
#define blk_queue_rot(q)	(!blk_queue_nonrot(q))
#endif

#ifndef kzalloc_obj
#define kzalloc_obj(obj, gfp) \
	((typeof(obj) *)kzalloc(sizeof(typeof(obj)), gfp))
#endif

#endif /* _LOOP_COMPAT_H */
