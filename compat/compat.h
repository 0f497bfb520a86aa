/* SPDX-License-Identifier: GPL-2.0 */
/*
 * This header supplies what the newest mainline has and an older kernel lacks. The
 * build outside a tree includes it before every file; the patch does not contain it.
 * Each entry probes for the feature itself, so that distribution backports are
 * recognised.
 */
#ifndef _LOOP_COMPAT_H
#define _LOOP_COMPAT_H

#include <linux/backing-dev.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/writeback.h>

/* A kernel that is configured without a loop driver does not define this number. */
#ifndef CONFIG_BLK_DEV_LOOP_MIN_COUNT
#define CONFIG_BLK_DEV_LOOP_MIN_COUNT	8
#endif

#ifndef blk_queue_rot
#define blk_queue_rot(q)	(!blk_queue_nonrot(q))
#endif

/* Kernels that lack this bit turn off all events with FMODE_NONOTIFY alone. */
#ifndef FMODE_NONOTIFY_PERM
#define FMODE_NONOTIFY_PERM	0
#endif

/* Without this macro, the kernel fills no file on demand. */
#ifndef FMODE_FSNOTIFY_HSM
#define FMODE_FSNOTIFY_HSM(mode)	((mode) & 0)
#endif

/* Without these flags, buffered I/O always leaves its data in the page cache. */
#ifndef IOCB_DONTCACHE
#define IOCB_DONTCACHE	0
#endif
#ifndef FOP_DONTCACHE
#define FOP_DONTCACHE	0
#endif

/* A kernel without this flag does not stack limits of atomic writes: none are offered. */
#ifndef BLK_FEAT_ATOMIC_WRITES
#define BLK_FEAT_ATOMIC_WRITES	((__force blk_features_t)0)
#endif

/*
 * The preprocessor cannot see a member of a structure, so Kbuild looks for this one. An
 * alias is enough: the driver sets this member to 0 or to the value of the other one, and
 * clears it before it sets that one.
 */
#ifndef LOOP_HAVE_WZEROES_UNMAP
#define max_hw_wzeroes_unmap_sectors	max_write_zeroes_sectors
#endif

/* The old function does what the new name stands for. Kbuild looks for the latter. */
#ifndef LOOP_HAVE_FREEZE_NOMEMSAVE
#define blk_mq_unfreeze_queue_nomemrestore(q)	blk_mq_unfreeze_queue(q)
#endif

#ifndef kzalloc_obj
#define kzalloc_obj(obj, gfp)	kzalloc(sizeof(typeof(obj)), gfp)
#endif

/* The preprocessor cannot see a function, so Kbuild looks for this one. */
#ifndef LOOP_HAVE_COPY_STRUCT_TO_USER
static inline int copy_struct_to_user(void __user *dst, size_t usize,
				      const void *src, size_t ksize,
				      bool *ignored_trailing)
{
	size_t size = min(ksize, usize);

	if (usize > size && clear_user(dst + size, usize - size))
		return -EFAULT;
	return copy_to_user(dst, src, size) ? -EFAULT : 0;
}
#endif

/*
 * If the kernel does not export __inode_attach_wb(), inode_attach_wb() does not
 * link. __mark_inode_dirty() attaches an inode to the cgroup of the task in the same
 * way. With I_DIRTY_PAGES it does not call the file system, and the write that
 * follows sets this flag anyway.
 */
#if defined(LOOP_NO_INODE_ATTACH_WB) && defined(CONFIG_CGROUP_WRITEBACK)
static inline void loop_inode_attach_wb(struct inode *inode,
					struct folio *folio)
{
	if (!inode->i_wb && mapping_can_writeback(inode->i_mapping))
		__mark_inode_dirty(inode, I_DIRTY_PAGES);
}

#define inode_attach_wb	loop_inode_attach_wb
#endif

#endif /* _LOOP_COMPAT_H */
