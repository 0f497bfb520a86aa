// SPDX-License-Identifier: GPL-2.0
/*
 * Loop block device: a file, or another block device, as a block device.
 * Documentation/block/loop.rst explains the design: the states, who holds which lock,
 * the life of a bio and of an attachment.
 *
 * Objects
 *
 *   struct loop_device	 /dev/loopN: its gendisk, its state, its backing
 *   struct loop_backing an attached file, and how the device uses it
 *   struct loop_group	 the bios of one cgroup on one device, or all that swap out
 *   struct loop_io	 a bio in flight
 *
 * A backing is built and validated completely, and then published. For another file,
 * range, block size or way of I/O, a new backing is built from the one in force, and
 * replaces it while no bio is in flight. If a change fails, the backing in force stays;
 * only LOOP_CHANGE_FD may have told file systems above by then that the medium is gone.
 * The size, the name, autoclear and partscan can change while I/O goes on.
 *
 * Rooms, which are the files
 *
 *   loop.c		 this one, the heart: init and exit, open and close, and the
 *			 life of a bio from submission to end
 *   loop/control.c	 /dev/loop-control: reads, checks and writes the structures of
 *			 its ioctls
 *   loop/lease.c	 leases, and the ways in which LOOP_CTL_DETACH detaches
 *   loop/index.c	 the devices by number: made, found, reserved, removed
 *   loop/config.c	 the ioctls of a device
 *   loop/attach.c	 a device's state and its uevents; how a file is attached,
 *			 replaced and detached
 *   loop/report.c	 sysfs, lines of the log, tracepoints
 *   loop/backing.c	 the backing file: what it can do, the queue limits that follow;
 *			 how a backing is published and drained
 *   loop/swap.c	 bios that swap pages out to a file
 *   loop/merge.c	 small writes that become a larger one
 *   loop/work.c	 groups of bios, their bounds, and the queues where bios wait
 *   loop/inject.c	 failures of file I/O, in builds for tests only
 *   loop/loop.h	 types, what guards each field, prototypes
 *   loop/stats.h	 the counters and their names
 *
 * A room uses functions and data of the rooms below it in this list, and of none
 * above it. No room calls the heart by name: the functions of the heart that a room has
 * to call, or to pass on to the kernel, are pointers in struct loop_entries.
 *
 * States, enum loop_state
 *
 *   FREE -> ATTACHING -> ATTACHED -> RUNDOWN -> FREE
 *   ATTACHING -> FREE, if the attach fails; -> REMOVING, if it fails and the call has
 *			 made the device, which then began in ATTACHING
 *   FREE -> REMOVING, and for ephemeral devices RUNDOWN -> REMOVING
 *
 * Locks, outermost first
 *
 *   exclusive claim	 of the disk: an attach, a change of block size or offset
 *   disk->open_mutex	 the block layer's, around each open, close and partition scan;
 *			 to announce, to detach and to remove
 *   lo->mutex		 a change of one device
 *   limits lock, freeze the block layer's: a change of the backing
 *   lo->uevent_mutex	 sending the disk's CHANGE events, or holding them back
 *   loop_chain_mutex	 the check for cycles, publishing, and removing a backing
 *   spinlocks		 the lock of loop_index, lo->group_lock, b->flush_lock and
 *			 loop_claim_lock
 */
#include <linux/blk-cgroup.h>
#include <linux/blkdev.h>
#include <linux/cgroup.h>
#include <linux/falloc.h>
#include <linux/major.h>
#include <linux/memcontrol.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/writeback.h>
#include <trace/events/loop.h>
#include "loop/loop.h"

/* After n tries in a row that would have waited, 2^n - 1 bios are not tried. */
#define LOOP_BACKOFF_MAX	4	/* the largest n */

/*
 * A folio is written and invalidated at most this often, as it may become dirty again in
 * between.
 */
#define LOOP_STALE_TRIES	8

static bool loop_inline = true;

/*
 * Life of a bio
 *
 * loop_submit_bio() has merge.c collect small writes of the page cache in the submitter's
 * plug. loop_bio_issue() sends each bio on one of three paths, which loop_io_path() chooses:
 *
 *   cloned  The backing file is a block device with direct I/O. It gets a clone of the
 *	     bio if loop_io_can_clone() allows it.
 *   inline  The submitter itself reads or writes the file, with IOCB_NOWAIT. If such
 *	     a try would wait, fails or does only a part, a worker does the rest, and
 *	     the worker's result is the bio's. But a sync that fails is not tried again.
 *   worker  A worker does all other bios. The names of enum loop_path are the reasons.
 */

static void loop_bio_count_end(struct loop_device *lo)
{
	/* the device is freed only after a grace period */
	guard(rcu)();
	smp_mb(); /* pairs with loop_device_is_idle() */
	this_cpu_inc(lo->counters->ended);
	if (unlikely(wq_has_sleeper(&lo->drained)))
		wake_up(&lo->drained);
}

/*
 * Returns the backing in force, or NULL, to a bio that is in flight from here to
 * loop_bio_count_end(). The bio is counted before it looks: a task that unpublishes
 * the backing finds the bio counted, or the bio finds no backing.
 */
static struct loop_backing *loop_backing_get(struct loop_device *lo)
{
	struct loop_backing *b;

	/* bios that are submitted to a dead device must not hold up its drain */
	if (unlikely(READ_ONCE(lo->death)))
		return NULL;
	this_cpu_inc(lo->counters->started);
	smp_mb(); /* pairs with loop_device_is_idle() */
	b = rcu_dereference_check(lo->backing, true);
	if (!b)
		loop_bio_count_end(lo);
	return b;
}

/* @stat is a LOOP_PATH_* or a LOOP_STAT_*. */
static void loop_count(struct loop_device *lo, unsigned int stat)
{
	this_cpu_inc(lo->counters->stats[stat]);
}

static bool loop_io_is_write(const struct loop_io *io)
{
	return op_is_write(bio_op(io->bio));
}

/* The bio swaps pages out, and the file can write them with little memory. */
static bool loop_bio_is_swap_out(const struct loop_backing *b, const struct bio *bio)
{
	return (bio->bi_opf & REQ_SWAP) && b->swap_out &&
	       bio_op(bio) == REQ_OP_WRITE && !(bio->bi_opf & REQ_FUA);
}

/*
 * Bios that swap out have a reserve of their own, as other bios may hold all
 * objects of the device's reserve while they wait for memory that swapping out frees.
 */
static mempool_t *loop_bio_pool(struct loop_backing *b, const struct bio *bio)
{
	return loop_bio_is_swap_out(b, bio) ? &b->swap_pool : &b->lo->io_pool;
}

/*
 * The reserve is filled up first, as a task may wait for it. With KASAN all objects
 * are freed, as KASAN finds a use after free only in those.
 */
static void loop_io_release(mempool_t *pool, struct loop_io *io)
{
	if (!IS_ENABLED(CONFIG_KASAN) &&
	    READ_ONCE(pool->curr_nr) == pool->min_nr)
		io = this_cpu_xchg(loop_io_spare, io);
	if (io)
		mempool_free(io, pool);
}

/* Frees the object, its slot in the group and its clone. The bio stays counted. */
static void loop_io_free(struct loop_io *io)
{
	loop_slot_put(io->group);
	if (io->b->clone_bdev)
		bio_put(&container_of(io, struct loop_clone, io)->bio);
	else
		loop_io_release(loop_bio_pool(io->b, io->bio), io);
}

static void loop_io_trace_start(struct loop_io *io)
{
	io->traced = 0;
	if (!trace_loop_bio_done_enabled())
		return;
	io->traced = ktime_get_ns();
	io->traced_sector = io->bio->bi_iter.bi_sector;
	io->traced_sectors = bio_sectors(io->bio);
}

static void loop_io_trace_end(struct loop_io *io, blk_status_t status)
{
	if (trace_loop_bio_done_enabled() && io->traced)
		trace_loop_bio_done(io->b->lo->number, io->bio,
				    io->traced_sector, io->traced_sectors,
				    blk_status_to_errno(status),
				    ktime_get_ns() - io->traced);
}

/*
 * An operation that the file refuses is logged once for each backing. The device does
 * not offer it any more.
 */
static void loop_io_log_error(const struct loop_io *io, blk_status_t status)
{
	unsigned int op = (__force unsigned int)bio_op(io->bio);
	struct loop_backing *b = io->b;

	if (status == BLK_STS_NOTSUPP && test_and_set_bit(op, b->refused))
		return;
	loop_bio_log_error(b->lo, io->bio,
			   (io->pos - b->params.offset) >> SECTOR_SHIFT, status);
}

static void loop_io_end(struct loop_io *io, blk_status_t status)
{
	struct loop_device *lo = io->b->lo;
	struct bio *bio = io->bio;

	if (unlikely(status))
		loop_io_log_error(io, status);
	loop_io_trace_end(io, status);
	if (io->sectors)
		bdev_end_io_acct(bio->bi_bdev, bio_op(bio), io->sectors,
				 io->start_time);
	loop_io_free(io);
	if (status)
		bio->bi_status = status;
	bio_endio(bio);
	/* this comes last, so that after a drain the page cache has what the bio read */
	loop_bio_count_end(lo);
}

/* Direct I/O can do the range that is left of the bio. */
static bool loop_io_range_aligned(const struct loop_io *io)
{
	return !((io->pos | io->bio->bi_iter.bi_size) & io->b->dio_offset_mask);
}

static bool loop_bio_memory_aligned(struct bio *bio, unsigned int mask)
{
	struct bio_vec bvec;
	struct bvec_iter pos;

	if (!bio_has_data(bio))
		return true;
	bio_for_each_bvec(bvec, bio, pos)
		if ((bvec.bv_offset | bvec.bv_len) & mask)
			return false;
	return true;
}

/* Direct I/O can do the range that is left of the bio, from the bio's memory. */
static bool loop_io_aligned(const struct loop_io *io)
{
	unsigned int mask = io->b->dio_mem_mask;

	/* the queue's default dma_alignment makes the memory of each bio whole sectors */
	return loop_io_range_aligned(io) &&
	       (mask < SECTOR_SIZE || loop_bio_memory_aligned(io->bio, mask));
}

/* A worker does the bio past the page cache. */
static bool loop_io_is_direct(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;

	if (io->state == LOOP_IO_BUFFERED || !loop_io_aligned(io))
		return false;
	/* a page in the swap cache needs no second copy in the page cache of the file */
	return b->params.direct || loop_bio_is_swap_out(b, io->bio) ||
	       (b->swap_out && !loop_io_is_write(io) &&
		folio_test_swapcache(page_folio(bio_page(io->bio))));
}

/* This runs in any context, as the completion of a write with FUA calls it. */
static void loop_flush_queue(struct loop_io *io)
{
	struct loop_backing *b = io->b;

	loop_count(b->lo, LOOP_STAT_FLUSH);
	scoped_guard(spinlock_irqsave, &b->flush_lock) {
		list_add_tail(&io->node, &b->flush_list);
		/* after the unlock the bio may have ended, and the backing be gone */
		queue_work(b->lo->flush_queue, &b->flush_work);
	}
}

/*
 * A worker has written the bio, and submitters wait for slots of its group. Ending it wakes
 * two tasks, which may preempt the worker of all writes. A softirq ends many at a time.
 */
static bool loop_io_ends_in_softirq(const struct loop_io *io)
{
	return io->state < LOOP_IO_INLINE && loop_io_is_write(io) && in_task() &&
	       loop_slot_is_awaited(io->group);
}

/* All of the bio is transferred. A write with FUA that the file did not sync is synced. */
static void loop_io_finish(struct loop_io *io)
{
	if ((io->bio->bi_opf & REQ_FUA) &&
	    (io->state == LOOP_IO_BUFFERED || !io->b->honours_dsync))
		loop_flush_queue(io);
	else if (loop_io_ends_in_softirq(io))
		loop_io_queue_end(io);
	else
		loop_io_end(io, BLK_STS_OK);
}

/*
 * Reads and writes of the file
 */

/* Sets @iter to the part of the bio's own pages that is left. */
static void loop_io_iter(const struct loop_io *io, struct iov_iter *iter)
{
	const struct bio_vec *bvec = io->bio->bi_io_vec;
	struct bvec_iter pos = io->bio->bi_iter;
	const struct bio_vec *first = __bvec_iter_bvec(bvec, pos);
	unsigned int skip = mp_bvec_iter_offset(bvec, pos) - first->bv_offset;
	unsigned int nr, left = skip + pos.bi_size;

	for (nr = 0; left; nr++)
		left -= min(left, first[nr].bv_len);
	iov_iter_bvec(iter, loop_io_is_write(io) ? ITER_SOURCE : ITER_DEST,
		      first, nr, pos.bi_size);
	iter->iov_offset = skip;
}

/* The page cache of the file has some of these bytes. */
static bool loop_backing_cached(const struct loop_backing *b, loff_t pos,
				unsigned int len)
{
	struct address_space *mapping = b->file->f_mapping;

	if (likely(!READ_ONCE(mapping->nrpages)))
		return false;
	return len && filemap_range_has_page(mapping, pos, pos + len - 1);
}

/*
 * The page cache of a block device has some of the next @len bytes, which were written
 * past it. The cached ones may be older, if they were read during the write. A file
 * system invalidates them itself, and a block device does not.
 */
static bool loop_io_leaves_stale(const struct loop_io *io, unsigned int len)
{
	return loop_io_is_write(io) && io->b->clone_bdev &&
	       loop_backing_cached(io->b, io->pos, len);
}

/* @len bytes are transferred. If the cache is @stale, a worker has to invalidate it. */
static void loop_io_consume(struct loop_io *io, unsigned int len, bool stale)
{
	/* bi_sector is wrong from now on if @len is not whole sectors */
	bio_advance(io->bio, len);
	io->pos += len;
	io->stale = stale ? len : 0;
}

/*
 * A try that would have to wait is wasted work. So after each one in a row, more of the
 * next bios are not tried, up to a limit, as the cause may end at any time.
 */
static void loop_backoff_start(struct loop_backoff *backoff)
{
	u8 failed = min(READ_ONCE(backoff->failed) + 1, LOOP_BACKOFF_MAX);

	WRITE_ONCE(backoff->failed, failed);
	WRITE_ONCE(backoff->skip, (1 << failed) - 1);
}

static void loop_backoff_end(struct loop_backoff *backoff)
{
	if (READ_ONCE(backoff->failed))
		WRITE_ONCE(backoff->failed, 0);
}

static bool loop_backoff_skip(struct loop_backoff *backoff)
{
	u8 skip = READ_ONCE(backoff->skip);

	if (skip)
		WRITE_ONCE(backoff->skip, skip - 1);
	return skip;
}

/* The outcome of a try to read or write the file. */
enum loop_try {
	LOOP_TRY_PENDING,	/* the completion handles the result */
	LOOP_TRY_RETURNED,	/* io->ret is the result, and the caller handles it */
	LOOP_TRY_ENDED,		/* the bio has ended, or a flush or a softirq ends it */
	LOOP_TRY_AGAIN,		/* a worker has to do what is left */
};

/* The submitter's try did not do all of the bio, so from now on workers do it. */
static void loop_io_fall_back(struct loop_io *io, long ret)
{
	struct loop_device *lo = io->b->lo;

	loop_backoff_start(&io->b->backoff[loop_io_is_write(io)]);
	if (ret > 0)
		loop_count(lo, LOOP_STAT_RETRY_SHORT);
	else if (ret != -EAGAIN)
		loop_count(lo, LOOP_STAT_RETRY_ERROR);
	else if (io->state == LOOP_IO_INLINE_LATE)
		loop_count(lo, LOOP_STAT_RETRY_LATE);
	else
		loop_count(lo, LOOP_STAT_RETRY_AGAIN);
	io->state = LOOP_IO_WORKER;
}

/*
 * A submitter's write that syncs the file has failed. The error may be that of an earlier
 * write, which the file reports only once, so the bio must not be tried again. EAGAIN, and
 * ENOMEM that the call itself returns, mean that the try has not synced.
 */
static bool loop_io_sync_failed(const struct loop_io *io)
{
	return io->ret < 0 && io->ret != -EAGAIN &&
	       (io->ret != -ENOMEM || io->state == LOOP_IO_INLINE_LATE) &&
	       loop_io_is_write(io) && iocb_is_dsync(&io->iocb);
}

/*
 * Handles the result of a try, and returns ENDED, or AGAIN if something is left. A
 * worker's try that transfers nothing fails the bio, and so does a sync that fails,
 * except that direct I/O which the file refuses is tried again buffered.
 */
static enum loop_try loop_io_handle_result(struct loop_io *io)
{
	bool direct = io->iocb.ki_flags & IOCB_DIRECT;
	bool inlined = io->state >= LOOP_IO_INLINE;
	bool write = loop_io_is_write(io);
	long ret = loop_io_inject(io, inlined);

	if (write && S_ISREG(file_inode(io->iocb.ki_filp)->i_mode))
		kiocb_end_write(&io->iocb);

	if (ret > 0) {
		loop_io_consume(io, ret, direct && loop_io_leaves_stale(io, ret));
		if (unlikely(io->stale)) {
			io->state = LOOP_IO_WORKER;
			return LOOP_TRY_AGAIN;
		}
		if (!io->bio->bi_iter.bi_size) {
			if (inlined)
				loop_backoff_end(&io->b->backoff[write]);
			loop_io_finish(io);
			return LOOP_TRY_ENDED;
		}
	} else if (ret == -EOPNOTSUPP && direct && inlined) {
		/*
		 * A disk below cannot do direct I/O without waiting. A file system may
		 * have several disks, and loop_backing_can_inline() has asked only that
		 * of the superblock.
		 */
		WRITE_ONCE(io->b->inline_read, false);
		WRITE_ONCE(io->b->inline_write, false);
	} else if ((!inlined || loop_io_sync_failed(io)) &&
		   !(ret == -EINVAL && direct)) {
		loop_io_end(io, errno_to_blk_status(ret ?: -EIO));
		return LOOP_TRY_ENDED;
	}

	if (inlined)
		loop_io_fall_back(io, ret);
	if (ret == -EINVAL && direct) {
		loop_count(io->b->lo, LOOP_STAT_BUFFERED);
		io->state = LOOP_IO_BUFFERED;
	}
	return LOOP_TRY_AGAIN;
}

/* Ends a worker's try, or a submitter's try that ended after loop_io_inline(). */
static void loop_io_try_end(struct loop_io *io)
{
	if (loop_io_handle_result(io) == LOOP_TRY_AGAIN)
		loop_io_queue(io);
}

static void loop_io_complete(struct kiocb *iocb, long ret)
{
	struct loop_io *io = container_of(iocb, struct loop_io, iocb);

	io->ret = ret;
	if (io->state == LOOP_IO_INLINE)
		io->state = LOOP_IO_INLINE_LATE;
	if (refcount_dec_and_test(&io->ref))
		loop_io_try_end(io);
}

/* Makes one try, and returns PENDING or RETURNED. Reads use the quiet file, if any. */
static enum loop_try loop_io_try(struct loop_io *io, int flags)
{
	struct file *file = io->b->file;
	struct kiocb *iocb = &io->iocb;
	struct iov_iter iter;
	ssize_t ret;

	if (!loop_io_is_write(io) && io->b->quiet_file)
		file = io->b->quiet_file;

	refcount_set(&io->ref, 2);
	loop_io_iter(io, &iter);
	*iocb = (struct kiocb) {
		.ki_filp	= file,
		.ki_pos		= io->pos,
		.ki_flags	= flags,
		.ki_ioprio	= io->bio->bi_ioprio,
	};
	if (!(loop_io_is_write(io) && io->b->write_waits))
		iocb->ki_complete = loop_io_complete;
	if (io->b->uncached && !(flags & IOCB_DIRECT))
		iocb->ki_flags |= IOCB_DONTCACHE;

	if (loop_io_is_write(io)) {
		iocb->ki_flags |= IOCB_WRITE;
		if ((io->bio->bi_opf & REQ_FUA) && io->b->honours_dsync &&
		    (flags & IOCB_DIRECT))
			iocb->ki_flags |= IOCB_DSYNC;
		ret = file->f_op->write_iter(iocb, &iter);
	} else if (io->state == LOOP_IO_INLINE && io->b->inline_cached) {
		ret = filemap_read(iocb, &iter, 0);
	} else {
		ret = file->f_op->read_iter(iocb, &iter);
	}
	if (ret != -EIOCBQUEUED) {
		io->ret = ret;
		return LOOP_TRY_RETURNED;
	}
	return refcount_dec_and_test(&io->ref) ? LOOP_TRY_RETURNED :
						 LOOP_TRY_PENDING;
}

static void loop_io_swap_out(struct loop_io *io)
{
	struct iov_iter iter;

	loop_io_iter(io, &iter);
	if (!READ_ONCE(io->b->lo->death) && io->state != LOOP_IO_BUFFERED &&
	    loop_io_aligned(io) && loop_io_write_swap(io, &iter))
		loop_io_try_end(io);
	else
		loop_io_queue_work(io);
}

/* Direct I/O can do the range, but not from the bio's memory. */
static bool loop_io_can_bounce(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;

	return b->params.direct && io->state != LOOP_IO_BUFFERED &&
	       !loop_io_aligned(io) && loop_io_range_aligned(io) &&
	       !(PAGE_SIZE & (b->dio_offset_mask | b->dio_mem_mask));
}

/*
 * Does direct I/O by way of one page, for at most one page of the bio. The page cache
 * would read the blocks beside one that is written, and write them back, while a clone or
 * a direct write of another bio may change them.
 */
static void loop_io_bounce(struct loop_io *io)
{
	unsigned int len = min_t(unsigned int, io->bio->bi_iter.bi_size,
				 PAGE_SIZE);
	struct page *page = alloc_page(GFP_NOIO | __GFP_NOFAIL);
	bool write = loop_io_is_write(io);
	struct iov_iter data, iter;
	struct bio_vec bvec;

	loop_io_iter(io, &data);
	bvec_set_page(&bvec, page, len, 0);
	iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, &bvec, 1, len);
	init_sync_kiocb(&io->iocb, io->b->file);
	io->iocb.ki_pos = io->pos;
	/* the file may be open with O_APPEND */
	io->iocb.ki_flags = IOCB_DIRECT;
	io->iocb.ki_ioprio = io->bio->bi_ioprio;
	if (write) {
		io->iocb.ki_flags |= IOCB_WRITE;
		if (io->bio->bi_opf & REQ_FUA)
			io->iocb.ki_flags |= IOCB_DSYNC;
		io->ret = copy_from_iter(page_address(page), len, &data) == len ?
			  io->b->file->f_op->write_iter(&io->iocb, &iter) : -EIO;
	} else {
		io->ret = io->b->file->f_op->read_iter(&io->iocb, &iter);
		if (io->ret > 0)
			io->ret = copy_to_iter(page_address(page), io->ret,
					       &data) ?: -EIO;
	}
	__free_page(page);
	loop_io_try_end(io);
}

/*
 * Has a listener fill the range of the bio. The listener may write to the file system,
 * so freeze protection is not taken yet. If it refuses, the bio ends here.
 */
static bool loop_io_fill_on_demand(struct loop_io *io)
{
	int err = rw_verify_area(loop_io_is_write(io) ? WRITE : READ,
				 io->b->file, &io->pos,
				 io->bio->bi_iter.bi_size);

	if (err)
		loop_io_end(io, errno_to_blk_status(err));
	return !err;
}

/*
 * A file system may hold a lock of the file while it waits for a page, and a write by
 * a cgroup whose I/O is not throttled may need that lock. So a worker first fills the
 * page cache without the lock. A file has a quiet file only if its buffered reads ask no
 * server or other file.
 */
static enum loop_try loop_io_try_waiting(struct loop_io *io)
{
	if (io->state != LOOP_IO_BUFFERED)
		return loop_io_try(io, IOCB_DIRECT);
	if (!loop_io_is_write(io) && io->b->quiet_file && !io->b->uncached)
		loop_file_read_ahead(io->b->quiet_file, io->pos,
				     io->bio->bi_iter.bi_size);
	return loop_io_try(io, 0);
}

/* Returns the memory cgroup of the bio's cgroup with a reference, or NULL for the root. */
static struct cgroup_subsys_state *loop_bio_memcg(struct bio *bio)
{
#ifdef CONFIG_MEMCG
	struct cgroup_subsys_state *blkcg = bio_blkcg_css(bio);

	if (blkcg && blkcg != blkcg_root_css)
		return cgroup_get_e_css(blkcg->cgroup, &memory_cgrp_subsys);
#endif
	return NULL;
}

/*
 * A worker reads or writes, and may wait. The bio's cgroup is charged for pages of the
 * file. It is not charged for what direct I/O allocates, as the cgroup may be full and
 * wait for just this bio to free memory.
 */
static void loop_io_rw(struct loop_io *io)
{
	struct cgroup_subsys_state *css = NULL;
	struct file *file = io->b->file;
	struct mem_cgroup *memcg;
	enum loop_try try;

	if (loop_file_is_on_demand(file) && !loop_io_fill_on_demand(io))
		return;
	if (loop_io_is_write(io)) {
		io->iocb.ki_filp = file;
		if (S_ISREG(file_inode(file)->i_mode))
			kiocb_start_write(&io->iocb);
	} else {
		/* the quiet file and some direct reads set no access time */
		file_accessed(file);
		WRITE_ONCE(io->b->atime_updated, jiffies);
	}
	if (unlikely(loop_io_can_bounce(io))) {
		loop_io_bounce(io);
		return;
	}
	if (!loop_io_is_direct(io)) {
		io->state = LOOP_IO_BUFFERED;
		css = loop_bio_memcg(io->bio);
	}
	memcg = set_active_memcg(mem_cgroup_from_css(css));
	try = loop_io_try_waiting(io);
	set_active_memcg(memcg);
	/* the cgroup is full and has nothing to free, so the root cgroup is charged */
	if (css && try == LOOP_TRY_RETURNED && io->ret == -ENOMEM)
		try = loop_io_try_waiting(io);
	if (css)
		css_put(css);
	if (try == LOOP_TRY_RETURNED)
		loop_io_try_end(io);
}

/*
 * The submitter makes the try. Returns ENDED or PENDING, or AGAIN if a worker has to do
 * the rest. The file system below must not start I/O to free memory. It may wait for the
 * bios that it submits, so these must not be queued on the submitter's bio_list. A
 * buffered read, also one that a file system makes of a direct one, takes only what is
 * in the page cache.
 */
static enum loop_try loop_io_inline(struct loop_io *io)
{
	struct bio_list *parked = current->bio_list;
	enum loop_try try;
	unsigned int noio;
	int flags;

	if (loop_io_is_write(io) && !loop_file_start_write_trylock(io->b->file)) {
		loop_count(io->b->lo, LOOP_STAT_RETRY_FROZEN);
		return LOOP_TRY_AGAIN;
	}
	flags = IOCB_NOWAIT;
	if (io->b->params.direct)
		flags |= IOCB_DIRECT;
	if (!loop_io_is_write(io))
		flags |= IOCB_NOIO;

	io->state = LOOP_IO_INLINE;
	noio = memalloc_noio_save();
	current->bio_list = NULL;
	try = loop_io_try(io, flags);
	current->bio_list = parked;
	memalloc_noio_restore(noio);
	return try == LOOP_TRY_RETURNED ? loop_io_handle_result(io) : try;
}

/* The bio belongs to the cgroup of the task. */
static bool loop_bio_cgroup_is_own(struct bio *bio)
{
#ifdef CONFIG_BLK_CGROUP
	struct cgroup_subsys_state *css = bio_blkcg_css(bio);

	guard(preempt)();
	return !css || css == task_css(current, io_cgrp_id);
#else
	return true;
#endif
}

/*
 * A file system above reads metadata under locks of the same class as those below. Not
 * all metadata is marked: a read into the page cache of a block device, this one or
 * one above it, is metadata as well. A page fault swaps in with the memory map locked,
 * and a file system may cause one under locks of its own.
 */
static enum loop_path loop_bio_path_read(struct bio *bio)
{
	struct folio *folio = page_folio(bio_page(bio));
	struct address_space *mapping;

	if (folio_test_swapcache(folio))
		return LOOP_PATH_WORKER_SWAP;
	if (folio_test_anon(folio))
		return LOOP_PATH_INLINE;
	/* a page that direct I/O reads into may be removed from its file meanwhile */
	guard(rcu)();
	mapping = folio_mapping(folio);
	return mapping && mapping->host && S_ISBLK(mapping->host->i_mode) ?
	       LOOP_PATH_WORKER_META : LOOP_PATH_INLINE;
}

/*
 * Reads through the quiet file set no access time. So a worker does one read a second
 * and calls file_accessed(). The kernel exports no function that only tells whether the
 * access time is due; with the flags below it never is. The submitter that finds it due
 * updates b->atime_updated at once, so that later reads do not go to workers as well.
 */
static bool loop_backing_takes_atime(struct loop_backing *b)
{
	unsigned long updated = READ_ONCE(b->atime_updated);

	return b->quiet_file && !time_before(jiffies, updated + HZ) &&
	       !(b->file->f_flags & O_NOATIME) &&
	       !(b->file->f_path.mnt->mnt_flags & (MNT_NOATIME | MNT_READONLY)) &&
	       try_cmpxchg(&b->atime_updated, &updated, jiffies);
}

/* Loop devices may lie on files on loop devices, and each level is a recursion. */
static bool loop_stack_is_low(void)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	return here - (unsigned long)task_stack_page(current) <
	       THREAD_SIZE / 2;
}

/* Decides whether the submitter tries a read or write, or says why a worker does it. */
static enum loop_path loop_io_path_rw(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;
	struct bio *bio = io->bio;
	bool write = loop_io_is_write(io);
	enum loop_path path;

	if (loop_bio_is_swap_out(io->b, io->bio))
		return LOOP_PATH_WORKER_SWAP;
	if (b->params.direct && !loop_io_aligned(io))
		return LOOP_PATH_WORKER_ALIGN;
	if (!READ_ONCE(*(write ? &b->inline_write : &b->inline_read)))
		return LOOP_PATH_WORKER_FILE;
	/* a buffered write syncs a file with the attribute S, in spite of IOCB_NOWAIT */
	if (write && !b->params.direct && IS_SYNC(loop_file_inode(b->file)))
		return LOOP_PATH_WORKER_FILE;
	if (!READ_ONCE(loop_inline))
		return LOOP_PATH_WORKER_OFF;
	/* a full file system syncs itself, and may wait for workers of its own */
	if (write && !b->params.direct && (current->flags & PF_WQ_WORKER))
		return LOOP_PATH_WORKER_KWORKER;
	/* PF_MEMALLOC_NOFS is no transaction: readahead and writeback set it */
	if (current->journal_info)
		return LOOP_PATH_WORKER_TRANSACTION;
	if (bio->bi_opf & REQ_META)
		return LOOP_PATH_WORKER_META;
	if (!write) {
		path = loop_bio_path_read(bio);
		if (path != LOOP_PATH_INLINE)
			return path;
	}
	if (current->flags & PF_MEMALLOC)
		return LOOP_PATH_WORKER_RECLAIM;
	/* bio_list is NULL in a task that finishes its plug */
	if (current->bio_list && (!bio_list_empty(&current->bio_list[0]) ||
				  !bio_list_empty(&current->bio_list[1])))
		return LOOP_PATH_WORKER_PARKED;
	if (write && rlimit(RLIMIT_FSIZE) != RLIM_INFINITY)
		return LOOP_PATH_WORKER_RLIMIT;
	if (!write && loop_backing_takes_atime(io->b))
		return LOOP_PATH_WORKER_ATIME;
	if (!loop_bio_cgroup_is_own(bio))
		return LOOP_PATH_WORKER_CGROUP;
	if (loop_stack_is_low())
		return LOOP_PATH_WORKER_STACK;
	if (loop_backoff_skip(&io->b->backoff[write]))
		return LOOP_PATH_WORKER_BACKOFF;
	return LOOP_PATH_INLINE;
}

/*
 * Clones
 */

/*
 * The page cache of the block device below has some of the bio's range or, for a
 * flush, has dirty pages, pages under writeback, or a write error. The file's own read,
 * write and fsync then keep the cache and the device the same.
 */
static bool loop_io_cached(const struct loop_io *io)
{
	struct address_space *mapping = io->b->file->f_mapping;

	if ((io->bio->bi_opf & REQ_PREFLUSH) &&
	    (mapping_tagged(mapping, PAGECACHE_TAG_DIRTY) ||
	     mapping_tagged(mapping, PAGECACHE_TAG_WRITEBACK) ||
	     filemap_check_wb_err(mapping, READ_ONCE(io->b->file->f_wb_err))))
		return true;
	return loop_backing_cached(io->b, io->pos, io->bio->bi_iter.bi_size);
}

static bool loop_io_can_clone(const struct loop_io *io)
{
	if (io->b->params.attach_flags & LOOP_ATTACH_NO_INLINE)
		return false;
	if (loop_io_cached(io))
		return false;
	if ((io->bio->bi_opf & REQ_NOWAIT) && !bdev_nowait(io->b->clone_bdev))
		return false;
	return loop_io_aligned(io);
}

/*
 * The bio gets the result of its clone, with two exceptions. A worker invalidates what
 * was read into the cache during a write. A worker does a discard or a write of zeroes
 * by way of the file if the clone failed: the device may have found out only now that
 * it cannot do it, and the worker then stops offering it.
 */
static void loop_clone_end(struct bio *clone)
{
	struct loop_io *io = clone->bi_private;
	unsigned int len = io->bio->bi_iter.bi_size;
	blk_status_t status = clone->bi_status;

	if (unlikely(status && loop_io_is_write(io) && len &&
		     !bio_has_data(io->bio))) {
		loop_io_queue(io);
	} else if (unlikely(!status && loop_io_leaves_stale(io, len))) {
		loop_io_consume(io, len, true);
		loop_io_queue(io);
	} else {
		loop_io_end(io, status);
	}
}

static void loop_io_clone(struct loop_io *io)
{
	struct bio *clone = &container_of(io, struct loop_clone, io)->bio;

	clone->bi_bdev = io->b->clone_bdev;
	bio_clone_blkg_association(clone, io->bio);
	clone->bi_iter.bi_sector = io->pos >> SECTOR_SHIFT;
	if (bio_op(clone) == REQ_OP_WRITE_ZEROES &&
	    (io->b->params.attach_flags & LOOP_ATTACH_NO_DISCARD))
		clone->bi_opf |= REQ_NOUNMAP;
	clone->bi_private = io;
	clone->bi_end_io = loop_clone_end;
	submit_bio_noacct(clone);
}

/*
 * Discard and write zeroes
 */

static void loop_io_unmap(struct loop_io *io)
{
	struct block_device *bdev = loop_file_bdev(io->b->file);
	struct request_queue *q = io->b->lo->disk->queue;
	unsigned int len = io->bio->bi_iter.bi_size;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	enum req_op op = bio_op(io->bio);
	loff_t pos = io->pos;
	int err;

	if (op == REQ_OP_WRITE_ZEROES &&
	    ((io->bio->bi_opf & REQ_NOUNMAP) ||
	     (io->b->params.attach_flags & LOOP_ATTACH_NO_DISCARD)))
		mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

	if (bdev && pos + len > bdev_nr_bytes(bdev))
		err = -EIO; /* the device below has shrunk */
	else if (op == REQ_OP_DISCARD && bdev)
		err = loop_bdev_discard(bdev, pos, len);
	else
		err = loop_file_fallocate(io->b->file, mode, pos, len);

	if (err == -EOPNOTSUPP) {
		loop_count(io->b->lo, LOOP_STAT_UNMAP_REFUSED);
		if (op == REQ_OP_DISCARD)
			blk_queue_disable_discard(q);
		else
			blk_queue_disable_write_zeroes(q);
		/* zeroes that cannot be written cannot unmap either */
		if (op == REQ_OP_WRITE_ZEROES)
			q->limits.max_hw_wzeroes_unmap_sectors = 0;
	}
	loop_io_end(io, errno_to_blk_status(err));
}

/*
 * Workers
 */

/*
 * A file takes an atomic write from user memory only. So a worker sends the clone, after
 * it has written and invalidated the range in the page cache. It may wait for the disk.
 */
static void loop_io_write_atomic(struct loop_io *io)
{
	struct bio *clone = &container_of(io, struct loop_clone, io)->bio;
	struct address_space *mapping = io->b->file->f_mapping;
	loff_t end = io->pos + io->bio->bi_iter.bi_size - 1;

	/* the mapping keeps an error for the next flush */
	filemap_write_and_wait_range(mapping, io->pos, end);
	invalidate_inode_pages2_range(mapping, io->pos >> PAGE_SHIFT,
				      end >> PAGE_SHIFT);
	clone->bi_opf &= ~REQ_NOWAIT;
	loop_io_clone(io);
}

/*
 * Invalidates the page cache of the bytes that were written past it. A folio in which
 * another block is dirty is written first. This writes only its dirty blocks.
 */
static void loop_io_drop_stale(struct loop_io *io)
{
	struct address_space *mapping = io->b->file->f_mapping;
	loff_t start = io->pos - io->stale, end = io->pos - 1;

	for (int i = 0; i < LOOP_STALE_TRIES; i++) {
		if (!invalidate_inode_pages2_range(mapping, start >> PAGE_SHIFT,
						   end >> PAGE_SHIFT))
			break;
		/* the mapping keeps an error for the next flush */
		filemap_write_and_wait_range(mapping, start, end);
	}
	io->stale = 0;
}

static void loop_io_issue(struct loop_io *io)
{
	if (unlikely(READ_ONCE(io->b->lo->death))) {
		loop_io_end(io, BLK_STS_IOERR);
		return;
	}
	if (io->stale)
		loop_io_drop_stale(io);
	if (!io->bio->bi_iter.bi_size) {
		loop_io_finish(io);
		return;
	}
	switch (bio_op(io->bio)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		if (unlikely(io->bio->bi_opf & REQ_ATOMIC))
			loop_io_write_atomic(io);
		else
			loop_io_rw(io);
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_WRITE_ZEROES:
		loop_io_unmap(io);
		break;
	default:
		loop_io_end(io, BLK_STS_NOTSUPP);
	}
}

static void loop_io_work(struct work_struct *work)
{
	loop_io_run(container_of(work, struct loop_io, work), loop_io_issue);
}

static void loop_swap_work(struct work_struct *work)
{
	loop_io_run(container_of(work, struct loop_io, work), loop_io_swap_out);
}

static void loop_write_work(struct work_struct *work)
{
	struct loop_group *group = container_of(work, struct loop_group, write_work);
	struct loop_io *io;

	while ((io = loop_group_next_write(group))) {
		loop_io_run(io, loop_io_issue);
		cond_resched();
	}
}

/* The group may be gone when its last bio has ended. */
static void loop_end_work(struct work_struct *work)
{
	struct loop_group *group = container_of(work, struct loop_group, end_work);
	struct loop_io *io, *next;

	llist_for_each_entry_safe(io, next, llist_reverse_order(llist_del_all(&group->done)),
				  done_node)
		loop_io_end(io, BLK_STS_OK);
}

/*
 * Flushes
 */

/*
 * One fsync serves all flushes that wait when it starts. The backing is not freed
 * before this has returned.
 */
static void loop_flush_work(struct work_struct *work)
{
	struct loop_backing *b = container_of(work, struct loop_backing,
					      flush_work);
	unsigned int noio = memalloc_noio_save();
	struct loop_io *io, *next;
	LIST_HEAD(served);
	int err = 0;

	scoped_guard(spinlock_irq, &b->flush_lock)
		list_splice_init(&b->flush_list, &served);

	if (!list_empty(&served)) {
		loop_count(b->lo, LOOP_STAT_FSYNC);
		err = READ_ONCE(b->lo->death) ? -EIO : vfs_fsync(b->file, 1);
		if (trace_loop_flush_enabled())
			trace_loop_flush(b->lo->number,
					 list_count_nodes(&served), err);
	}
	list_for_each_entry_safe(io, next, &served, node) {
		if (io->bio->bi_iter.bi_size && !err)
			loop_io_queue(io);
		else
			loop_io_end(io, errno_to_blk_status(err));
	}
	memalloc_noio_restore(noio);
}

/*
 * Submission
 */

/*
 * The block layer has checked the bio, but before the bio entered the queue. The backing,
 * its size and the limits may have changed since.
 */
static int loop_bio_check(const struct loop_backing *b, struct bio *bio)
{
	unsigned int len = bio->bi_iter.bi_size;

	if (!len)
		return 0;
	if (op_is_write(bio_op(bio)) && b->params.read_only)
		return -EIO;
	if (unlikely((bio->bi_opf & REQ_ATOMIC) &&
		     len > queue_atomic_write_unit_max_bytes(b->lo->disk->queue)))
		return -EINVAL;
	return bio_end_sector(bio) <= atomic64_read(&b->nr_sectors) ? 0 : -EIO;
}

static enum loop_path loop_io_path(const struct loop_io *io)
{
	if (io->b->clone_bdev && loop_io_can_clone(io))
		return LOOP_PATH_CLONED;
	if (io->bio->bi_opf & REQ_PREFLUSH)
		return LOOP_PATH_WORKER_FLUSH;
	if (!bio_has_data(io->bio) || (io->bio->bi_opf & REQ_ATOMIC))
		return LOOP_PATH_WORKER_OP;
	return loop_io_path_rw(io);
}

/* The first writer's cgroup is charged for writeback, so the submitter calls this. */
static void loop_backing_attach_wb(struct loop_backing *b)
{
	if (!b->params.direct)
		inode_attach_wb(loop_file_inode(b->file), NULL);
}

static void loop_io_to_worker(struct loop_io *io)
{
	struct bio *bio = io->bio;

	if (bio_op(bio) == REQ_OP_WRITE && !loop_bio_is_swap_out(io->b, bio))
		loop_backing_attach_wb(io->b);
	/* a bio with stale bytes has been flushed and written */
	if ((bio->bi_opf & REQ_PREFLUSH) && !io->stale)
		loop_flush_queue(io);
	else if (bio->bi_iter.bi_size || io->stale)
		loop_io_queue(io);
	else
		loop_io_end(io, BLK_STS_OK);
}

static gfp_t loop_bio_gfp(const struct bio *bio)
{
	return bio->bi_opf & REQ_NOWAIT ? GFP_NOWAIT : GFP_NOIO;
}

/* Allocates the bio's object. Returns NULL only with REQ_NOWAIT. */
static struct loop_io *loop_io_alloc(struct loop_backing *b, struct bio *bio)
{
	struct bio *clone;

	if (!b->clone_bdev)
		return this_cpu_xchg(loop_io_spare, NULL) ?:
		       mempool_alloc(loop_bio_pool(b, bio), loop_bio_gfp(bio));
	/* loop_io_clone() sets the clone's device, together with its cgroup */
	clone = bio_alloc_clone(NULL, bio, loop_bio_gfp(bio), b->clones);
	return clone ? &container_of(clone, struct loop_clone, bio)->io : NULL;
}

/*
 * Counts the bio and returns its object, NULL if there is nothing to do, or an error. A
 * bio that has been in a plug has a slot of its @group already.
 */
static struct loop_io *loop_io_start(struct bio *bio, struct loop_group *group)
{
	struct loop_device *lo = bio->bi_bdev->bd_disk->private_data;
	struct loop_backing *b = loop_backing_get(lo);
	struct loop_io *io = NULL;
	int err;

	/* a bio without data is a flush while a file is being attached */
	if (!b)
		return bio->bi_iter.bi_size || READ_ONCE(lo->death) ?
		       ERR_PTR(-EIO) : NULL;
	err = loop_bio_check(b, bio);
	if (err) {
		loop_bio_count_end(lo);
		return ERR_PTR(err);
	}
	if (!group)
		group = loop_slot_get(lo, bio, loop_bio_is_swap_out(b, bio));
	if (group) {
		io = loop_io_alloc(b, bio);
		if (!io)
			loop_slot_put(group);
	}
	if (!io) {
		loop_bio_count_end(lo);
		return ERR_PTR(-EAGAIN);
	}
	io->bio = bio;
	io->b = b;
	io->group = group;
	io->state = LOOP_IO_WORKER;
	io->stale = 0;
	io->pos = b->params.offset +
		  ((loff_t)bio->bi_iter.bi_sector << SECTOR_SHIFT);
	io->sectors = 0;
	if (bio->bi_iter.bi_size && blk_queue_io_stat(lo->disk->queue)) {
		io->sectors = bio_sectors(bio);
		io->start_time = bio_start_io_acct(bio);
	}
	return io;
}

/* Ends a bio that has no object. */
static void loop_bio_fail(struct bio *bio, int err)
{
	if (err == -EAGAIN) {
		bio_wouldblock_error(bio);
		return;
	}
	bio->bi_status = errno_to_blk_status(err);
	loop_bio_log_error(bio->bi_bdev->bd_disk->private_data, bio,
			   bio->bi_iter.bi_sector, bio->bi_status);
	bio_endio(bio);
}

/* Sends a bio on its path. See loop_io_start() for @group. */
static void loop_bio_issue(struct bio *bio, struct loop_group *group)
{
	struct loop_io *io;
	enum loop_path path;

	io = loop_io_start(bio, group);
	if (IS_ERR_OR_NULL(io) && group)
		loop_slot_put(group);
	if (IS_ERR(io)) {
		loop_bio_fail(bio, PTR_ERR(io));
		return;
	}
	if (!io) {
		bio_endio(bio);
		return;
	}

	loop_io_trace_start(io);
	/* the device may have died while the bio waited for a slot, or for memory */
	if (unlikely(READ_ONCE(io->b->lo->death))) {
		loop_io_end(io, BLK_STS_IOERR);
		return;
	}
	path = loop_io_path(io);
	loop_count(io->b->lo, path);
	trace_loop_bio_queue(io->b->lo->number, bio, loop_stat_names[path]);
	switch (path) {
	case LOOP_PATH_CLONED:
		loop_io_clone(io);
		break;
	case LOOP_PATH_INLINE:
		if (loop_io_inline(io) != LOOP_TRY_AGAIN)
			break;
		fallthrough;
	default:
		loop_io_to_worker(io);
	}
}

/*
 * The bio continues the last one of this processor, and belongs to the page cache: direct
 * I/O has REQ_IDLE, and its submitter knows best how large a write is.
 */
static bool loop_bio_can_merge(struct loop_device *lo, const struct bio *bio)
{
	struct bvec_iter iter = bio->bi_iter;
	sector_t next;

	if (bio_op(bio) != REQ_OP_WRITE || !iter.bi_size)
		return false;
	next = this_cpu_xchg(lo->counters->next_write, bio_end_sector(bio));
	/* a change of the device above waits for its clones: a plug must not hold them */
	return iter.bi_sector == next && bio->bi_end_io != loop_clone_end &&
	       !blk_queue_nomerges(lo->disk->queue) &&
	       !(bio->bi_opf & (REQ_NOMERGE_FLAGS | REQ_IDLE | REQ_NOWAIT | REQ_SWAP |
				REQ_INTEGRITY | REQ_ATOMIC | REQ_POLLED)) &&
	       mp_bvec_iter_bvec(bio->bi_io_vec, iter).bv_len == iter.bi_size;
}

/*
 * Puts the bio in the plug, where it waits for others that continue it. It is not in
 * flight there, and is checked again when the plug submits it.
 */
static bool loop_bio_plug(struct loop_device *lo, struct bio *bio)
{
	struct loop_backing *b = loop_backing_get(lo);
	bool plugged = false;

	if (!b)
		return false;
	if (!loop_bio_check(b, bio)) {
		loop_backing_attach_wb(b);
		plugged = loop_plug_add(lo, bio);
	}
	loop_bio_count_end(lo);
	return plugged;
}

/* Submits a bio that stands for @nr bios, which have waited in a plug. */
static void loop_submit_merged(struct bio *bio, struct loop_group *group,
			       unsigned int nr)
{
	struct loop_device *lo = bio->bi_bdev->bd_disk->private_data;

	if (nr > 1)
		this_cpu_add(lo->counters->stats[LOOP_STAT_MERGED], nr);
	loop_bio_issue(bio, group);
}

static void loop_submit_bio(struct bio *bio)
{
	struct loop_device *lo = bio->bi_bdev->bd_disk->private_data;

	bio = bio_split_to_limits(bio);
	if (!bio)
		return;
	if (!loop_bio_can_merge(lo, bio) || !loop_bio_plug(lo, bio))
		loop_bio_issue(bio, NULL);
}

/*
 * Open and close, both under open_mutex
 */

static int loop_open(struct gendisk *disk, blk_mode_t mode)
{
	struct loop_device *lo = disk->private_data;
	unsigned int state = READ_ONCE(lo->state);

	return state == LOOP_RUNDOWN || state == LOOP_REMOVING ? -ENXIO : 0;
}

static void loop_release(struct gendisk *disk)
{
	if (!disk_openers(disk))
		loop_device_detach_if_due(disk->private_data);
}

static void loop_free_disk(struct gendisk *disk)
{
	loop_device_free(disk->private_data);
}

static const struct block_device_operations loop_fops = {
	.owner		= THIS_MODULE,
	.submit_bio	= loop_submit_bio,
	.open		= loop_open,
	.release	= loop_release,
	.ioctl		= loop_ioctl,
#ifdef CONFIG_COMPAT
	.compat_ioctl	= loop_compat_ioctl,
#endif
	.free_disk	= loop_free_disk,
};

static const struct loop_entries loop_heart = {
	.fops		= &loop_fops,
	.io_work	= loop_io_work,
	.swap_work	= loop_swap_work,
	.write_work	= loop_write_work,
	.end_work	= loop_end_work,
	.flush_work	= loop_flush_work,
	.submit		= loop_submit_merged,
};

/*
 * Module
 */

module_param_named(inline_io, loop_inline, bool, 0644);
MODULE_PARM_DESC(inline_io, "The submitter of a bio reads or writes the file itself, where that does not wait");

static int __init loop_init(void)
{
	int err;

	err = loop_work_init(&loop_heart);
	if (err)
		return err;
	err = loop_merge_init();
	if (err)
		goto out_work;
	err = loop_control_init();
	if (!err)
		return 0;
	loop_merge_exit();
out_work:
	loop_work_exit();
	return err;
}

static void __exit loop_exit(void)
{
	loop_control_exit();
	loop_merge_exit();
	loop_work_exit();
}

module_init(loop_init);
module_exit(loop_exit);

MODULE_DESCRIPTION("Loop block device");
MODULE_VERSION("1.0");
MODULE_LICENSE("GPL");
MODULE_ALIAS_BLOCKDEV_MAJOR(LOOP_MAJOR);
MODULE_ALIAS_MISCDEV(LOOP_CTRL_MINOR);
MODULE_ALIAS("devname:loop-control");
