/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel side of the loop block device. The driver keeps its objects to
 * itself; what it shares is the ABI.
 */
#ifndef _LINUX_LOOP_H
#define _LINUX_LOOP_H

#include <uapi/linux/loop.h>

#endif /* _LINUX_LOOP_H */
