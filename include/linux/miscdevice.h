/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Overlay for kernel trees whose miscdevice.h has no LOOP_CTRL_MINOR; all else
 * is the tree's own.
 */
#include_next <linux/miscdevice.h>

#ifndef LOOP_CTRL_MINOR
#define LOOP_CTRL_MINOR		237	/* /dev/loop-control */
#endif
