// SPDX-License-Identifier: GPL-2.0
/*
 * Bios that swap pages out to a file. Tasks may wait for memory that is free only
 * when such a bio has ended. So these bios have a group and a reserve of their own, wait
 * for a worker of a queue with a rescuer, and are written past the page cache with the
 * memory reserves at hand. If the write needs a transaction, another worker does it without
 * the reserves. Documentation/block/loop.rst says what this does not solve.
 *
 * The heart calls loop_io_write_swap(). This room calls no other. It keeps the file system
 * from being frozen, until the heart handles the result, and takes no other lock.
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include "loop.h"

/*
 * Writing the range again takes no transaction: all its blocks have been written
 * once, and the file is not dirty. bmap() may read where they are.
 */
static bool loop_file_overwrites(struct file *file, loff_t pos, unsigned int len)
{
	struct inode *inode = file_inode(file);
	loff_t last = pos + len - 1;
	sector_t i, block;

	if (mapping_tagged(inode->i_mapping, PAGECACHE_TAG_DIRTY))
		return false;
	for (i = pos >> inode->i_blkbits; i <= last >> inode->i_blkbits; i++) {
		block = i;
		if (bmap(inode, &block) || !block)
			return false;
	}
	return true;
}

/*
 * The write is synchronous: the first asynchronous one to a file system makes a workqueue,
 * whose kernel thread needs memory that only this write may free.
 */
static ssize_t loop_io_try_swap(struct loop_io *io, struct iov_iter iter)
{
	struct kiocb *iocb = &io->iocb;

	init_sync_kiocb(iocb, io->b->quiet_file);
	iocb->ki_pos = io->pos;
	iocb->ki_flags |= IOCB_DIRECT | IOCB_WRITE;
	iocb->ki_ioprio = io->bio->bi_ioprio;
	return iocb->ki_filp->f_op->write_iter(iocb, &iter);
}

/*
 * Writes blocks again with the memory reserves at hand, as that frees memory; io->ret
 * is the result. Returns false if the write needs a transaction, so that other workers
 * do it: the kernel warns of a transaction that uses the reserves, and of a worker with
 * a rescuer that waits for one without.
 */
bool loop_io_write_swap(struct loop_io *io, const struct iov_iter *iter)
{
	unsigned int noreclaim = memalloc_noreclaim_save();
	struct loop_backing *b = io->b;
	bool overwrites = loop_file_overwrites(b->file, io->pos,
					       iov_iter_count(iter));

	if (overwrites) {
		io->iocb.ki_filp = b->file;
		kiocb_start_write(&io->iocb);
		io->ret = loop_io_try_swap(io, *iter);
	}
	memalloc_noreclaim_restore(noreclaim);
	/* the reserves are used up, so this try waits for memory */
	if (overwrites && io->ret == -ENOMEM)
		io->ret = loop_io_try_swap(io, *iter);
	return overwrites;
}
