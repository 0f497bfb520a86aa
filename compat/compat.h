/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the newest mainline has and an older kernel lacks. Included before
 * every file of an external build, never part of the patch. Each entry probes
 * for the feature itself, so that distribution backports are recognised.
 */
#ifndef _LOOP_COMPAT_H
#define _LOOP_COMPAT_H

#include <linux/slab.h>

#ifndef kzalloc_obj
#define kzalloc_obj(obj, gfp) \
	((typeof(obj) *)kzalloc(sizeof(typeof(obj)), gfp))
#endif

#endif /* _LOOP_COMPAT_H */
