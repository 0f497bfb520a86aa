// SPDX-License-Identifier: GPL-2.0
/*
 * Loop block device: a file, or another block device, as a block device.
 *
 * Objects
 *
 *   struct loop_device	 one number: its gendisk, its state, its backing
 *   struct loop_backing one binding: a file and how it is used
 *   struct loop_lane	 the bios of one cgroup that wait for a device's workers
 *   struct loop_io	 one bio in flight
 *
 * A backing is built and validated completely, then published, and never
 * changed after that. To change anything, a new backing is built from the one
 * in force and published in its place; a change that fails has done nothing.
 * I/O holds a reference on the backing it started with. Whoever replaces a
 * backing waits for its last reference, outside every lock but, at the last
 * close, open_mutex.
 *
 * States
 *
 *   LOOP_UNBOUND -> LOOP_BOUND -> LOOP_RUNDOWN -> LOOP_UNBOUND
 *   LOOP_UNBOUND -> LOOP_DELETING
 *
 * A device is bound by an ioctl, and unbound only when its last opener closes
 * it. LOOP_CLR_FD from the only opener starts the rundown, where nobody can
 * open the device any more but I/O still works, so that what was written
 * reaches the file.
 *
 * Locks, outermost first
 *
 *   disk->open_mutex	 the block layer's: open, last close, partition scans
 *   lo->mutex		 reconfiguration of one device. It may sleep on the
 *			 file; open() does not take it, the last close takes it
 *			 when nobody else can
 *   loop_chain_mutex	 publishing a backing that is itself a loop device or
 *			 lies on one, so that no cycle can be closed
 *   limits lock, freeze the block layer's: change of queue limits
 *
 * and, inside all of these, the spinlocks: the index's own, lo->lane_lock,
 * b->flush_lock and loop_mapping_lock. No lock is held across add_disk() or
 * del_gendisk(), and none while a file is released: fput() leaves that to the
 * caller's way back to user space.
 */
#include <linux/blk-cgroup.h>
#include <linux/blkdev.h>
#include <linux/cgroup.h>
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/completion.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/kthread.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <linux/memcontrol.h>
#include <linux/mempool.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/percpu-refcount.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/statfs.h>
#include <linux/sysfs.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

static_assert(sizeof(struct loop_info64) == 232);
static_assert(sizeof(struct loop_config) == 304);

/* Bios of one device and cgroup that are worked on at the same time. */
#define LOOP_LANE_WORKERS	16

/* Bios that a device can always make progress with when memory is short. */
#define LOOP_IO_RESERVE		4

/* Largest bio. Its pages go to the file as they are: it costs no memory. */
#define LOOP_MAX_HW_SECTORS	(SZ_4M >> SECTOR_SHIFT)

enum loop_state {
	LOOP_UNBOUND,
	LOOP_BOUND,
	LOOP_RUNDOWN,
	LOOP_DELETING,
};

/* What the user can ask of a binding; what he gets may be less. */
struct loop_params {
	loff_t			offset;
	loff_t			sizelimit;
	unsigned int		block_size;
	bool			read_only;
	bool			partscan;
	bool			direct;
	u8			name[LO_NAME_SIZE];
};

/*
 * Constant from publication on, but for the reference and the flush list.
 *
 * F: protected by flush_lock
 * G: protected by loop_mapping_lock
 */
struct loop_backing {
	/* read by every bio */
	struct percpu_ref	ref;
	struct file		*file;
	struct loop_params	params;
	sector_t		nr_sectors;
	unsigned int		dio_mem_mask;
	unsigned int		dio_offset_mask;

	/* flushes waiting for the next fsync */
	spinlock_t		flush_lock;	/* taken by tasks only */
	struct list_head	flush_list;	/* F: of struct loop_io */
	struct work_struct	flush_work;

	/* queue limits that follow from the file */
	bool			write_cache;
	bool			rotational;
	unsigned int		discard_granularity;
	unsigned int		max_discard_sectors;
	unsigned int		max_write_zeroes_sectors;

	struct loop_device	*lo;
	struct completion	drained;
	struct hlist_node	mapping_node;	/* G: in loop_mappings */
	gfp_t			mapping_gfp;	/* G: as found by the first */
};

/*
 * Bios of one cgroup on one device that wait for a worker. A lane lives while
 * a bio or a worker uses it. All fields are protected by lo->lane_lock, or
 * constant.
 */
struct loop_lane {
	struct loop_device	*lo;
	struct list_head	node;		/* in lo->lanes */
	struct cgroup_subsys_state *blkcg;	/* NULL: the root's */
	struct cgroup_subsys_state *memcg;
	struct list_head	pending;	/* of struct loop_io */
	unsigned int		users;		/* bios and busy workers */
	unsigned int		waiting;	/* bios no worker has taken */
	wait_queue_head_t	room;
	DECLARE_BITMAP(busy, LOOP_LANE_WORKERS);
	struct loop_worker {
		struct work_struct	work;
		struct loop_lane	*lane;
	} workers[LOOP_LANE_WORKERS];
};

/*
 * X: protected by the index's lock
 * M: protected by mutex
 * R: RCU for reading, mutex for writing
 * L: protected by lane_lock
 */
struct loop_device {
	int			number;
	struct gendisk		*disk;

	struct loop_backing __rcu *backing;	/* R */
	mempool_t		*io_pool;	/* M: made at the first bind */
	struct workqueue_struct	*workqueue;	/* M: made at the first bind */

	spinlock_t		lane_lock;	/* taken in any context */
	struct list_head	lanes;		/* L */
	struct loop_lane	root_lane;

	struct mutex		mutex;		/* reconfiguration */
	enum loop_state		state;		/* X */
	bool			autoclear;	/* X: unbind at the last close */
};

/*
 * A bio on its way. Two hold it during a read or write: the one who submits to
 * the file, and the completion.
 */
struct loop_io {
	struct kiocb		iocb;
	struct bio		*bio;
	struct loop_backing	*b;
	struct loop_lane	*lane;
	struct list_head	node;		/* in a lane or a flush list */
	refcount_t		ref;
	bool			buffered;	/* direct I/O was refused */
	loff_t			pos;		/* next byte, in the file */
	long			ret;
	unsigned int		sectors;	/* accounted, or 0 */
	unsigned long		start_time;	/* jiffies */
};

static struct kmem_cache *loop_io_cache;
static atomic_t loop_nr_devices;	/* whose memory is not freed yet */
static unsigned int loop_part_shift;
static unsigned int loop_queue_depth = 128;

/*
 * The index: which numbers exist. A number that is being created is reserved;
 * one that is being removed keeps its entry until it is gone. The mark is on
 * the devices that GET_FREE may return. The index's own lock also protects the
 * state of all devices.
 */
static DEFINE_XARRAY_ALLOC(loop_index);
#define LOOP_INDEX_UNBOUND	XA_MARK_1

static DEFINE_MUTEX(loop_chain_mutex);

/* Backings by the mapping they use, for the mapping's gfp mask. */
static DEFINE_SPINLOCK(loop_mapping_lock);
static DEFINE_HASHTABLE(loop_mappings, 8);

/*
 * State
 */

static void __loop_set_state(struct loop_device *lo, enum loop_state state)
{
	lockdep_assert_held(&loop_index.xa_lock);

	WRITE_ONCE(lo->state, state);
	WRITE_ONCE(lo->autoclear, state == LOOP_RUNDOWN);
	if (state == LOOP_UNBOUND)
		__xa_set_mark(&loop_index, lo->number, LOOP_INDEX_UNBOUND);
	else
		__xa_clear_mark(&loop_index, lo->number, LOOP_INDEX_UNBOUND);
}

static void loop_set_state(struct loop_device *lo, enum loop_state state)
{
	xa_lock(&loop_index);
	__loop_set_state(lo, state);
	xa_unlock(&loop_index);
}

/* A device that is on its way to unbound already stays on it. */
static void loop_set_autoclear(struct loop_device *lo, bool autoclear)
{
	xa_lock(&loop_index);
	if (lo->state == LOOP_BOUND)
		WRITE_ONCE(lo->autoclear, autoclear);
	xa_unlock(&loop_index);
}

/*
 * The file behind a backing
 */

static struct inode *loop_file_inode(struct file *file)
{
	return file->f_mapping->host;
}

/* The block device that @file is, or NULL. */
static struct block_device *loop_file_bdev(struct file *file)
{
	struct inode *inode = loop_file_inode(file);

	return S_ISBLK(inode->i_mode) ? I_BDEV(inode) : NULL;
}

/* The block device that @file is or lies on, or NULL. */
static struct block_device *loop_file_lower_bdev(struct file *file)
{
	return loop_file_bdev(file) ?: loop_file_inode(file)->i_sb->s_bdev;
}

/* The loop device that @file is or lies on, or NULL. */
static struct loop_device *loop_file_lower_device(struct file *file)
{
	struct block_device *bdev = loop_file_lower_bdev(file);

	if (!bdev || bdev->bd_disk->major != LOOP_MAJOR)
		return NULL;
	return bdev->bd_disk->private_data;
}

static int loop_file_validate(struct file *file)
{
	umode_t mode = loop_file_inode(file)->i_mode;

	if (!S_ISREG(mode) && !S_ISBLK(mode))
		return -EINVAL;
	if (!file->f_op->read_iter)
		return -EINVAL;
	if ((file->f_mode & FMODE_WRITE) && !file->f_op->write_iter)
		return -EINVAL;
	if (!(file->f_mode & FMODE_READ))
		return -EBADF;
	return 0;
}

static int loop_block_size_validate(unsigned long size)
{
	if (size < SECTOR_SIZE || size > PAGE_SIZE || !is_power_of_2(size))
		return -EINVAL;
	return 0;
}

/*
 * An allocation in the page cache of the file must not wait for I/O: the I/O
 * may be on the loop device. The mask is narrowed for as long as a backing of
 * any device uses the mapping.
 */
static struct loop_backing *loop_mapping_user(struct address_space *mapping)
{
	struct loop_backing *b;

	lockdep_assert_held(&loop_mapping_lock);

	hash_for_each_possible(loop_mappings, b, mapping_node,
			       (unsigned long)mapping)
		if (b->file->f_mapping == mapping)
			return b;
	return NULL;
}

static void loop_mapping_pin(struct loop_backing *b)
{
	struct address_space *mapping = b->file->f_mapping;
	struct loop_backing *user;

	spin_lock(&loop_mapping_lock);
	user = loop_mapping_user(mapping);
	b->mapping_gfp = user ? user->mapping_gfp : mapping_gfp_mask(mapping);
	if (!user)
		mapping_set_gfp_mask(mapping, b->mapping_gfp &
				     ~(__GFP_IO | __GFP_FS));
	hash_add(loop_mappings, &b->mapping_node, (unsigned long)mapping);
	spin_unlock(&loop_mapping_lock);
}

static void loop_mapping_unpin(struct loop_backing *b)
{
	struct address_space *mapping = b->file->f_mapping;

	spin_lock(&loop_mapping_lock);
	hash_del(&b->mapping_node);
	if (!loop_mapping_user(mapping))
		mapping_set_gfp_mask(mapping, b->mapping_gfp);
	spin_unlock(&loop_mapping_lock);
}

/*
 * Backing: built, published, drained
 */

static void loop_flush_work(struct work_struct *work);

static void loop_backing_drained(struct percpu_ref *ref)
{
	struct loop_backing *b = container_of(ref, struct loop_backing, ref);

	complete(&b->drained);
}

static struct loop_backing *loop_backing_alloc(struct loop_device *lo,
					       struct file *file)
{
	struct loop_backing *b;
	int err;

	b = kzalloc_obj(*b, GFP_KERNEL);
	if (!b)
		return ERR_PTR(-ENOMEM);
	err = percpu_ref_init(&b->ref, loop_backing_drained, 0, GFP_KERNEL);
	if (err) {
		kfree(b);
		return ERR_PTR(err);
	}
	b->lo = lo;
	b->file = get_file(file);
	spin_lock_init(&b->flush_lock);
	INIT_LIST_HEAD(&b->flush_list);
	INIT_WORK(&b->flush_work, loop_flush_work);
	init_completion(&b->drained);
	loop_mapping_pin(b);
	return b;
}

/* A backing that no I/O can see: never published, or drained. */
static void loop_backing_free(struct loop_backing *b)
{
	loop_mapping_unpin(b);
	percpu_ref_exit(&b->ref);
	fput(b->file);
	kfree(b);
}

/*
 * Waits for the I/O on a backing that is no longer published, and frees it. A
 * killed reference drains only after a grace period, so that nobody who found
 * the backing under RCU still looks at it.
 */
static void loop_backing_retire(struct loop_backing *b)
{
	percpu_ref_kill(&b->ref);
	wait_for_completion(&b->drained);
	loop_backing_free(b);
}

/*
 * The backing in force with a reference, or NULL. A reference is refused only
 * to a backing that has been replaced, so trying again ends.
 */
static struct loop_backing *loop_backing_get(struct loop_device *lo)
{
	struct loop_backing *b;

	guard(rcu)();
	do {
		b = rcu_dereference(lo->backing);
	} while (b && !percpu_ref_tryget_live(&b->ref));
	return b;
}

static void loop_backing_put(struct loop_backing *b)
{
	percpu_ref_put(&b->ref);
}

DEFINE_FREE(loop_backing_put, struct loop_backing *,
	    IS_ERR_OR_NULL(_T) ? (void)0 : loop_backing_put(_T))

/* Size and direct I/O alignment, as the file has them now. */
static int loop_backing_stat(struct loop_backing *b, bool resize)
{
	struct block_device *bdev = loop_file_bdev(b->file);
	struct block_device *lower = loop_file_lower_bdev(b->file);
	struct loop_params *p = &b->params;
	struct kstat stat;
	loff_t size;
	int err;

	/* a file that does not tell is asked, and refuses with EINVAL */
	b->dio_mem_mask = 0;
	b->dio_offset_mask = 0;
	if (lower) {
		b->dio_mem_mask = bdev_dma_alignment(lower);
		b->dio_offset_mask = bdev_logical_block_size(lower) - 1;
	}

	if (bdev) {
		size = bdev_nr_bytes(bdev);
	} else {
		err = vfs_getattr_nosec(&b->file->f_path, &stat,
					STATX_SIZE | STATX_DIOALIGN, 0);
		if (err)
			return err;
		size = stat.size;
		if (stat.result_mask & STATX_DIOALIGN) {
			/* 0, no direct I/O, gives a mask that nothing passes */
			b->dio_mem_mask = stat.dio_mem_align - 1;
			b->dio_offset_mask = stat.dio_offset_align - 1;
		}
	}

	if (!resize)
		return 0;
	size = max(size - p->offset, 0);
	if (p->sizelimit)
		size = min(size, p->sizelimit);
	b->nr_sectors = size >> SECTOR_SHIFT;
	return 0;
}

static bool loop_backing_can_direct(const struct loop_backing *b)
{
	const struct loop_params *p = &b->params;

	return (b->file->f_mode & FMODE_CAN_ODIRECT) &&
	       !((p->offset | p->block_size) & b->dio_offset_mask);
}

/* What the device can offer depends on what is below. */
static void loop_backing_offer(struct loop_backing *b)
{
	struct block_device *bdev = loop_file_bdev(b->file);
	struct block_device *lower = loop_file_lower_bdev(b->file);
	struct kstatfs statfs;

	b->write_cache = b->file->f_op->fsync && !b->params.read_only;
	b->rotational = lower && blk_queue_rot(bdev_get_queue(lower));

	if (bdev) {
		b->max_discard_sectors = bdev_max_discard_sectors(bdev);
		b->discard_granularity = bdev_discard_granularity(bdev);
		/* zeroes must go everywhere, to the byte */
		if (!((b->params.offset | b->params.block_size) &
		      b->dio_offset_mask))
			b->max_write_zeroes_sectors =
						bdev_write_zeroes_sectors(bdev);
	} else if (b->file->f_op->fallocate &&
		   !vfs_statfs(&b->file->f_path, &statfs)) {
		b->max_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
		b->max_write_zeroes_sectors = UINT_MAX >> SECTOR_SHIFT;
		b->discard_granularity = statfs.f_bsize;
	}
}

/*
 * All that follows from the file and the parameters; the size only if it is to
 * follow the file. Sleeps on the file.
 */
static int loop_backing_complete(struct loop_backing *b, bool resize)
{
	int err;

	err = loop_backing_stat(b, resize);
	if (err)
		return err;
	b->params.direct = b->params.direct && loop_backing_can_direct(b);
	loop_backing_offer(b);
	return 0;
}

/* The queue limits of a device with backing @b; NULL: of an unbound one. */
static void loop_limits_fill(struct queue_limits *lim,
			     const struct loop_backing *b)
{
	unsigned int block_size = b ? b->params.block_size : SECTOR_SIZE;

	lim->features &= ~(BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA |
			   BLK_FEAT_ROTATIONAL);
	if (b && b->write_cache)
		lim->features |= BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA;
	if (b && b->rotational)
		lim->features |= BLK_FEAT_ROTATIONAL;

	lim->logical_block_size = block_size;
	lim->physical_block_size = block_size;
	lim->io_min = block_size;
	lim->max_hw_sectors = LOOP_MAX_HW_SECTORS;
	lim->max_segments = USHRT_MAX;
	lim->max_segment_size = UINT_MAX;
	lim->max_hw_discard_sectors = b ? b->max_discard_sectors : 0;
	lim->max_write_zeroes_sectors = b ? b->max_write_zeroes_sectors : 0;
	lim->discard_granularity = b ? b->discard_granularity : 0;
}

/*
 * Freezing the queue costs a grace period: only a device that can have I/O in
 * flight pays it, and only if a limit changes.
 */
static int loop_limits_commit(struct loop_device *lo,
			      const struct loop_backing *b, bool live)
{
	struct request_queue *q = lo->disk->queue;
	struct queue_limits lim = queue_limits_start_update(q);
	struct queue_limits old = lim;

	loop_limits_fill(&lim, b);
	if (!memcmp(&lim, &old, sizeof(lim))) {
		queue_limits_cancel_update(q);
		return 0;
	}
	if (live)
		return queue_limits_commit_update_frozen(q, &lim);
	return queue_limits_commit_update(q, &lim);
}

/*
 * Publishes *@bp, which may be NULL, and leaves in *@bp the backing that was
 * in force. The only writer of lo->backing. If it fails, nothing has changed.
 */
static int loop_backing_swap(struct loop_device *lo, struct loop_backing **bp)
{
	struct loop_backing *old, *b = *bp;
	int err;

	lockdep_assert_held(&lo->mutex);

	old = rcu_dereference_protected(lo->backing,
					lockdep_is_held(&lo->mutex));
	err = loop_limits_commit(lo, b, old && b);
	if (err)
		return err;
	rcu_assign_pointer(lo->backing, b);
	set_disk_ro(lo->disk, b && b->params.read_only);
	*bp = old;
	return 0;
}

/*
 * Follows the chain of loop devices down from @below. Each of them is kept
 * open by the one above, the first by the caller's file, and a backing is not
 * freed before the RCU read side ends.
 */
static int loop_chain_check(struct loop_device *lo, struct loop_device *below)
{
	struct loop_backing *b;

	lockdep_assert_held(&loop_chain_mutex);

	guard(rcu)();
	while (below) {
		if (below == lo)
			return -EBADF;
		b = rcu_dereference(below->backing);
		if (!b)
			return -EINVAL;
		below = loop_file_lower_device(b->file);
	}
	return 0;
}

static int loop_backing_publish(struct loop_device *lo,
				struct loop_backing **bp)
{
	struct loop_device *below = loop_file_lower_device((*bp)->file);
	int err;

	if (!below)
		return loop_backing_swap(lo, bp);

	guard(mutex)(&loop_chain_mutex);
	err = loop_chain_check(lo, below);
	if (err)
		return err;
	return loop_backing_swap(lo, bp);
}

/*
 * Lanes
 */

static void loop_lane_work(struct work_struct *work);

static void loop_lane_init(struct loop_lane *lane, struct loop_device *lo)
{
	lane->lo = lo;
	INIT_LIST_HEAD(&lane->pending);
	init_waitqueue_head(&lane->room);
	for (int i = 0; i < LOOP_LANE_WORKERS; i++) {
		lane->workers[i].lane = lane;
		INIT_WORK(&lane->workers[i].work, loop_lane_work);
	}
}

static struct cgroup_subsys_state *
loop_lane_memcg(struct cgroup_subsys_state *blkcg)
{
#ifdef CONFIG_MEMCG
	return cgroup_get_e_css(blkcg->cgroup, &memory_cgrp_subsys);
#else
	return NULL;
#endif
}

static struct loop_lane *loop_lane_find(struct loop_device *lo,
					struct cgroup_subsys_state *blkcg)
{
	struct loop_lane *lane;

	lockdep_assert_held(&lo->lane_lock);

	list_for_each_entry(lane, &lo->lanes, node) {
		if (lane->blkcg == blkcg) {
			lane->users++;
			return lane;
		}
	}
	return NULL;
}

static void loop_lane_free(struct loop_lane *lane)
{
	css_put(lane->blkcg);
	if (lane->memcg)
		css_put(lane->memcg);
	kfree(lane);
}

/* Without memory for a lane, the bio goes through the root's. */
static struct loop_lane *loop_lane_get(struct loop_device *lo, struct bio *bio)
{
	struct cgroup_subsys_state *blkcg = bio_blkcg_css(bio);
	struct loop_lane *lane = NULL, *new = NULL;

	if (blkcg && blkcg != blkcg_root_css) {
		scoped_guard(spinlock_irqsave, &lo->lane_lock)
			lane = loop_lane_find(lo, blkcg);
		if (lane)
			return lane;
		new = kzalloc_obj(*new, GFP_NOWAIT | __GFP_NOWARN);
	}
	if (new) {
		loop_lane_init(new, lo);
		css_get(blkcg);
		new->blkcg = blkcg;
		new->memcg = loop_lane_memcg(blkcg);
		new->users = 1;
	}

	scoped_guard(spinlock_irqsave, &lo->lane_lock) {
		if (!new) {
			lo->root_lane.users++;
			return &lo->root_lane;
		}
		lane = loop_lane_find(lo, blkcg);
		if (!lane) {
			list_add(&new->node, &lo->lanes);
			return new;
		}
	}
	loop_lane_free(new);
	return lane;
}

static void loop_lane_put(struct loop_lane *lane)
{
	struct loop_device *lo = lane->lo;

	scoped_guard(spinlock_irqsave, &lo->lane_lock) {
		if (--lane->users || lane == &lo->root_lane)
			return;
		list_del(&lane->node);
	}
	loop_lane_free(lane);
}

/*
 * At most loop_queue_depth bios of a lane wait for its workers; one more waits
 * here, or is refused if it must not wait. The bound is a lane's, not the
 * device's, so that a throttled cgroup does not hold up the others.
 */
static bool loop_lane_enter(struct loop_lane *lane, bool nowait)
{
	struct loop_device *lo = lane->lo;

	for (;;) {
		scoped_guard(spinlock_irqsave, &lo->lane_lock) {
			if (lane->waiting < loop_queue_depth) {
				lane->waiting++;
				return true;
			}
		}
		if (nowait)
			return false;
		wait_event(lane->room,
			   READ_ONCE(lane->waiting) < loop_queue_depth);
	}
}

/* Gives back the room of a bio that no worker will see. */
static void loop_lane_leave(struct loop_lane *lane)
{
	scoped_guard(spinlock_irqsave, &lane->lo->lane_lock)
		lane->waiting--;
	if (wq_has_sleeper(&lane->room))
		wake_up(&lane->room);
}

/* Queues a bio that has entered, and sets an idle worker to it. */
static void loop_lane_queue(struct loop_io *io)
{
	struct loop_lane *lane = io->lane;
	struct loop_device *lo = lane->lo;
	unsigned int nr;

	scoped_guard(spinlock_irqsave, &lo->lane_lock) {
		list_add_tail(&io->node, &lane->pending);
		nr = find_first_zero_bit(lane->busy, LOOP_LANE_WORKERS);
		if (nr == LOOP_LANE_WORKERS)
			return;
		__set_bit(nr, lane->busy);
		lane->users++;
		/* once unlocked, the bio may be done and the device gone */
		queue_work(lo->workqueue, &lane->workers[nr].work);
	}
}

/* A bio comes back that had left the lane: it need not wait for room. */
static void loop_lane_requeue(struct loop_io *io)
{
	struct loop_lane *lane = io->lane;

	scoped_guard(spinlock_irqsave, &lane->lo->lane_lock)
		lane->waiting++;
	loop_lane_queue(io);
}

/* The next bio for @worker; NULL: none, and it is idle from now on. */
static struct loop_io *loop_lane_next(struct loop_worker *worker)
{
	struct loop_lane *lane = worker->lane;
	struct loop_io *io;

	scoped_guard(spinlock_irqsave, &lane->lo->lane_lock) {
		io = list_first_entry_or_null(&lane->pending, struct loop_io,
					      node);
		if (!io) {
			__clear_bit(worker - lane->workers, lane->busy);
			return NULL;
		}
		list_del(&io->node);
		lane->waiting--;
	}
	if (wq_has_sleeper(&lane->room))
		wake_up(&lane->room);
	return io;
}

/*
 * I/O
 */

static void loop_io_free(struct loop_io *io)
{
	struct loop_backing *b = io->b;

	if (io->lane)
		loop_lane_put(io->lane);
	mempool_free(io, b->lo->io_pool);
	loop_backing_put(b);
}

static void loop_io_end(struct loop_io *io, blk_status_t status)
{
	struct bio *bio = io->bio;

	if (io->sectors)
		bdev_end_io_acct(bio->bi_bdev, bio_op(bio), io->sectors,
				 io->start_time);
	loop_io_free(io);
	if (status)
		bio->bi_status = status;
	bio_endio(bio);
}

/*
 * Neither side uses the kiocb any more. What was not transferred is tried
 * again from where it stopped, and what direct I/O refused is tried buffered;
 * only a try that moves nothing fails the bio.
 */
static void loop_io_settle(struct loop_io *io)
{
	struct bio *bio = io->bio;
	long ret = io->ret;

	if (op_is_write(bio_op(bio)) &&
	    S_ISREG(file_inode(io->iocb.ki_filp)->i_mode))
		kiocb_end_write(&io->iocb);

	if (ret == -EINVAL && (io->iocb.ki_flags & IOCB_DIRECT)) {
		io->buffered = true;
		loop_lane_requeue(io);
		return;
	}
	if (ret <= 0) {
		loop_io_end(io, errno_to_blk_status(ret ?: -EIO));
		return;
	}
	/* not always by whole sectors: bi_sector is of no use from here on */
	io->pos += ret;
	bio_advance(bio, ret);
	if (bio->bi_iter.bi_size)
		loop_lane_requeue(io);
	else
		loop_io_end(io, BLK_STS_OK);
}

static void loop_io_put(struct loop_io *io)
{
	if (refcount_dec_and_test(&io->ref))
		loop_io_settle(io);
}

static void loop_io_complete(struct kiocb *iocb, long ret)
{
	struct loop_io *io = container_of(iocb, struct loop_io, iocb);

	io->ret = ret;
	loop_io_put(io);
}

/* An iterator over the bio's own pages, from where the bio has got to. */
static void loop_io_iter(const struct loop_io *io, struct iov_iter *iter)
{
	struct bio *bio = io->bio;
	const struct bio_vec *first = __bvec_iter_bvec(bio->bi_io_vec,
						       bio->bi_iter);
	struct bvec_iter pos;
	struct bio_vec bvec;
	unsigned int nr = 0;

	bio_for_each_bvec(bvec, bio, pos)
		nr++;
	iov_iter_bvec(iter, op_is_write(bio_op(bio)) ? ITER_SOURCE : ITER_DEST,
		      first, nr, bio->bi_iter.bi_size);
	iter->iov_offset = mp_bvec_iter_offset(bio->bi_io_vec, bio->bi_iter) -
			   first->bv_offset;
}

static bool loop_io_direct(const struct loop_io *io, struct iov_iter *iter)
{
	const struct loop_backing *b = io->b;

	return b->params.direct && !io->buffered &&
	       !((io->iocb.ki_pos | iov_iter_count(iter)) & b->dio_offset_mask) &&
	       !(iov_iter_alignment(iter) & b->dio_mem_mask);
}

static void loop_io_rw(struct loop_io *io)
{
	struct file *file = io->b->file;
	struct bio *bio = io->bio;
	struct kiocb *iocb = &io->iocb;
	struct iov_iter iter;
	ssize_t ret;

	refcount_set(&io->ref, 2);
	loop_io_iter(io, &iter);
	*iocb = (struct kiocb) {
		.ki_filp	= file,
		.ki_pos		= io->pos,
		.ki_complete	= loop_io_complete,
		.ki_ioprio	= bio->bi_ioprio,
	};
	if (loop_io_direct(io, &iter))
		iocb->ki_flags |= IOCB_DIRECT;

	if (op_is_write(bio_op(bio))) {
		if (bio->bi_opf & REQ_FUA)
			iocb->ki_flags |= IOCB_DSYNC;
		iocb->ki_flags |= IOCB_WRITE;
		if (S_ISREG(file_inode(file)->i_mode))
			kiocb_start_write(iocb);
		ret = file->f_op->write_iter(iocb, &iter);
	} else {
		ret = file->f_op->read_iter(iocb, &iter);
	}
	if (ret != -EIOCBQUEUED)
		loop_io_complete(iocb, ret);
	loop_io_put(io);
}

/*
 * The blocks of @bdev that lie in the range are discarded: there and, as a
 * discard below leaves it behind, in the page cache.
 */
static int loop_io_discard_bdev(struct block_device *bdev, loff_t pos,
				unsigned int len)
{
	loff_t end = round_down(pos + len, bdev_logical_block_size(bdev));
	loff_t start = round_up(pos, bdev_logical_block_size(bdev));
	struct address_space *mapping = bdev->bd_mapping;
	int err;

	if (start >= end)
		return 0;
	filemap_invalidate_lock(mapping);
	truncate_inode_pages_range(mapping, start, end - 1);
	err = blkdev_issue_discard(bdev, start >> SECTOR_SHIFT,
				   (end - start) >> SECTOR_SHIFT, GFP_NOIO);
	filemap_invalidate_unlock(mapping);
	return err;
}

/* DISCARD and WRITE_ZEROES */
static void loop_io_unmap(struct loop_io *io)
{
	struct block_device *bdev = loop_file_bdev(io->b->file);
	struct request_queue *q = io->b->lo->disk->queue;
	unsigned int len = io->bio->bi_iter.bi_size;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	enum req_op op = bio_op(io->bio);
	loff_t pos = io->pos;
	int err;

	if (op == REQ_OP_WRITE_ZEROES && (io->bio->bi_opf & REQ_NOUNMAP))
		mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

	if (op == REQ_OP_DISCARD && bdev)
		err = loop_io_discard_bdev(bdev, pos, len);
	else
		err = vfs_fallocate(io->b->file, mode, pos, len);

	if (err == -EOPNOTSUPP) {
		if (op == REQ_OP_DISCARD)
			blk_queue_disable_discard(q);
		else
			blk_queue_disable_write_zeroes(q);
	}
	loop_io_end(io, errno_to_blk_status(err));
}

static void loop_io_issue(struct loop_io *io)
{
	switch (bio_op(io->bio)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
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

/*
 * A worker goes on until its lane is empty. It acts for the lane's cgroup,
 * allocates without I/O, and is throttled as a writer to the lower device only.
 */
static void loop_lane_work(struct work_struct *work)
{
	struct loop_worker *worker = container_of(work, struct loop_worker,
						  work);
	unsigned int throttle = current->flags & PF_LOCAL_THROTTLE;
	unsigned int noio = memalloc_noio_save();
	struct loop_lane *lane = worker->lane;
	struct mem_cgroup *memcg;
	struct loop_io *io;

	current->flags |= PF_LOCAL_THROTTLE;
	kthread_associate_blkcg(lane->blkcg);
	memcg = set_active_memcg(mem_cgroup_from_css(lane->memcg));

	while ((io = loop_lane_next(worker)))
		loop_io_issue(io);

	set_active_memcg(memcg);
	kthread_associate_blkcg(NULL);
	current_restore_flags(throttle, PF_LOCAL_THROTTLE);
	memalloc_noio_restore(noio);
	loop_lane_put(lane);
}

/* Flushed, if it had to be: a bio without a lane is done, it has no data. */
static void loop_io_flushed(struct loop_io *io, int err)
{
	if (io->lane && !err) {
		loop_lane_queue(io);
		return;
	}
	if (io->lane)
		loop_lane_leave(io->lane);
	loop_io_end(io, errno_to_blk_status(err));
}

/*
 * One fsync serves all flushes that were waiting when it started. The work
 * item's own reference keeps the backing until it is done.
 */
static void loop_flush_work(struct work_struct *work)
{
	struct loop_backing *b = container_of(work, struct loop_backing,
					      flush_work);
	unsigned int noio = memalloc_noio_save();
	struct loop_io *io, *next;
	LIST_HEAD(served);
	int err;

	spin_lock(&b->flush_lock);
	list_splice_init(&b->flush_list, &served);
	spin_unlock(&b->flush_lock);

	err = list_empty(&served) ? 0 : vfs_fsync(b->file, 1);
	list_for_each_entry_safe(io, next, &served, node)
		loop_io_flushed(io, err);
	memalloc_noio_restore(noio);
	loop_backing_put(b);
}

static void loop_flush_queue(struct loop_io *io)
{
	struct loop_backing *b = io->b;

	percpu_ref_get(&b->ref);
	spin_lock(&b->flush_lock);
	list_add_tail(&io->node, &b->flush_list);
	spin_unlock(&b->flush_lock);
	if (!queue_work(b->lo->workqueue, &b->flush_work))
		loop_backing_put(b);
}

/* The block layer checked against the capacity of a moment ago. */
static bool loop_bio_allowed(const struct loop_backing *b, struct bio *bio)
{
	if (op_is_write(bio_op(bio)) && b->params.read_only &&
	    bio->bi_iter.bi_size)
		return false;
	return bio_end_sector(bio) <= b->nr_sectors || !bio->bi_iter.bi_size;
}

static void loop_submit_bio(struct bio *bio)
{
	struct loop_device *lo = bio->bi_bdev->bd_disk->private_data;
	bool nowait = bio->bi_opf & REQ_NOWAIT;
	struct loop_backing *b;
	struct loop_io *io;

	bio = bio_split_to_limits(bio);
	if (!bio)
		return;

	b = loop_backing_get(lo);
	if (!b) {
		bio_io_error(bio);
		return;
	}
	if (!loop_bio_allowed(b, bio)) {
		loop_backing_put(b);
		bio_io_error(bio);
		return;
	}
	io = mempool_alloc(lo->io_pool, nowait ? GFP_NOWAIT : GFP_NOIO);
	if (!io) {
		loop_backing_put(b);
		bio_wouldblock_error(bio);
		return;
	}
	*io = (struct loop_io) {
		.bio	= bio,
		.b	= b,
		.pos	= b->params.offset +
			  ((loff_t)bio->bi_iter.bi_sector << SECTOR_SHIFT),
	};
	if (bio->bi_iter.bi_size) {
		io->lane = loop_lane_get(lo, bio);
		if (!loop_lane_enter(io->lane, nowait)) {
			loop_io_free(io);
			bio_wouldblock_error(bio);
			return;
		}
		if (blk_queue_io_stat(lo->disk->queue)) {
			io->sectors = bio_sectors(bio);
			io->start_time = bio_start_io_acct(bio);
		}
	}
	if (bio->bi_opf & REQ_PREFLUSH)
		loop_flush_queue(io);
	else
		loop_io_flushed(io, 0);
}

/*
 * sysfs: /sys/block/loopN/loop, while the device is bound
 */

static struct loop_backing *loop_sysfs_backing(struct device *dev)
{
	struct loop_device *lo = dev_to_disk(dev)->private_data;

	return loop_backing_get(lo) ?: ERR_PTR(-ENXIO);
}

static ssize_t backing_file_show(struct device *dev,
				 struct device_attribute *attr, char *buf)
{
	struct loop_backing *b __free(loop_backing_put) =
						loop_sysfs_backing(dev);
	size_t len;
	char *path;

	if (IS_ERR(b))
		return PTR_ERR(b);
	path = file_path(b->file, buf, PAGE_SIZE - 1);
	if (IS_ERR(path))
		return PTR_ERR(path);
	len = strlen(path);
	memmove(buf, path, len);
	buf[len++] = '\n';
	return len;
}
static DEVICE_ATTR_RO(backing_file);

/* One attribute that prints an expression of the backing in force. */
#define LOOP_ATTR_RO(_name, _fmt, _value)				\
static ssize_t _name##_show(struct device *dev,				\
			    struct device_attribute *attr, char *buf)	\
{									\
	struct loop_backing *b __free(loop_backing_put) =		\
						loop_sysfs_backing(dev); \
									\
	if (IS_ERR(b))							\
		return PTR_ERR(b);					\
	return sysfs_emit(buf, _fmt "\n", _value);			\
}									\
static DEVICE_ATTR_RO(_name)

LOOP_ATTR_RO(offset, "%lld", b->params.offset);
LOOP_ATTR_RO(sizelimit, "%lld", b->params.sizelimit);
LOOP_ATTR_RO(autoclear, "%d", READ_ONCE(b->lo->autoclear));
LOOP_ATTR_RO(partscan, "%d", b->params.partscan);
LOOP_ATTR_RO(dio, "%d", b->params.direct);

static struct attribute *loop_attrs[] = {
	&dev_attr_backing_file.attr,
	&dev_attr_offset.attr,
	&dev_attr_sizelimit.attr,
	&dev_attr_autoclear.attr,
	&dev_attr_partscan.attr,
	&dev_attr_dio.attr,
	NULL,
};

static const struct attribute_group loop_attr_group = {
	.name	= "loop",
	.attrs	= loop_attrs,
};

/*
 * Reconfiguration
 */

/*
 * A change in progress, with lo->mutex held from begin to end. @b is the
 * backing being built and, once it is published, the one it replaced.
 */
struct loop_reconf {
	struct loop_device	*lo;
	struct loop_backing	*b;
	bool			claimed;
	bool			announce; /* by a CHANGE uevent, if not done */
	bool			stale;	/* what is cached is no longer true */
	bool			scan;	/* partitions may have changed */
};

/*
 * Reads the partition table anew, if the device has one, and announces the
 * device: first its partitions, then itself, once. Partitions that are open
 * stay as they are.
 */
static void loop_rescan(struct loop_device *lo)
{
	struct device *dev = disk_to_dev(lo->disk);
	struct block_device *part;
	unsigned long partno;
	int err;

	scoped_guard(mutex, &lo->disk->open_mutex) {
		dev_set_uevent_suppress(dev, 1);
		err = bdev_disk_changed(lo->disk, false);
		dev_set_uevent_suppress(dev, 0);
		if (err)
			break;
		xa_for_each_start(&lo->disk->part_tbl, partno, part, 1)
			kobject_uevent(bdev_kobj(part), KOBJ_ADD);
	}
	kobject_uevent(&dev->kobj, KOBJ_CHANGE);
}

/* With @claim, nobody else has or gets the device exclusively meanwhile. */
static int loop_reconf_begin(struct loop_reconf *rc, struct loop_device *lo,
			     bool claim)
{
	int err;

	*rc = (struct loop_reconf) { .lo = lo, .claimed = claim };
	if (claim) {
		err = bd_prepare_to_claim(lo->disk->part0, rc, NULL);
		if (err)
			return err;
	}
	if (!mutex_lock_killable(&lo->mutex))
		return 0;
	if (claim)
		bd_abort_claiming(lo->disk->part0, rc);
	return -EINTR;
}

static int loop_reconf_end(struct loop_reconf *rc, int err)
{
	struct loop_device *lo = rc->lo;

	mutex_unlock(&lo->mutex);
	if (rc->b && err)
		loop_backing_free(rc->b);
	else if (rc->b)
		loop_backing_retire(rc->b);
	if (rc->stale && !err)
		invalidate_bdev(lo->disk->part0);
	if (rc->scan && !err)
		loop_rescan(lo);
	else if (rc->announce && !err)
		kobject_uevent(&disk_to_dev(lo->disk)->kobj, KOBJ_CHANGE);
	if (rc->claimed)
		bd_abort_claiming(lo->disk->part0, rc);
	return err;
}

/* One change: @change builds a new backing in rc->b and publishes it. */
static int loop_reconfigure(struct loop_device *lo, bool claim,
			    int (*change)(struct loop_reconf *rc,
					  const void *arg), const void *arg)
{
	struct loop_reconf rc;
	int err;

	err = loop_reconf_begin(&rc, lo, claim);
	if (err)
		return err;
	return loop_reconf_end(&rc, change(&rc, arg));
}

/* Starts a new backing with the parameters in force; NULL: the same file. */
static int loop_reconf_clone(struct loop_reconf *rc, struct file *file)
{
	struct loop_device *lo = rc->lo;
	struct loop_backing *old, *b;
	int err;

	old = rcu_dereference_protected(lo->backing,
					lockdep_is_held(&lo->mutex));
	if (READ_ONCE(lo->state) != LOOP_BOUND)
		return -ENXIO;
	err = file ? loop_file_validate(file) : 0;
	if (err)
		return err;
	b = loop_backing_alloc(lo, file ?: old->file);
	if (IS_ERR(b))
		return PTR_ERR(b);
	b->params = old->params;
	b->nr_sectors = old->nr_sectors;
	rc->b = b;
	return 0;
}

static int loop_reconf_publish(struct loop_reconf *rc)
{
	sector_t nr_sectors = rc->b->nr_sectors;
	int err;

	err = loop_backing_publish(rc->lo, &rc->b);
	if (err)
		return err;
	if (set_capacity_and_notify(rc->lo->disk, nr_sectors))
		rc->announce = false;
	return 0;
}

/* As above, and the medium is another one: loop_rescan() will announce it. */
static int loop_reconf_publish_medium(struct loop_reconf *rc)
{
	struct device *dev = disk_to_dev(rc->lo->disk);
	int err;

	dev_set_uevent_suppress(dev, 1);
	err = loop_reconf_publish(rc);
	if (!err) {
		disk_force_media_change(rc->lo->disk);
		rc->scan = true;
	}
	dev_set_uevent_suppress(dev, 0);
	return err;
}

static int loop_params_set(struct loop_params *p,
			   const struct loop_info64 *info)
{
	if (info->lo_encrypt_key_size > LO_KEY_SIZE ||
	    info->lo_encrypt_type != LO_CRYPT_NONE)
		return -EINVAL;
	if (info->lo_offset > LLONG_MAX || info->lo_sizelimit > LLONG_MAX)
		return -EOVERFLOW;
	p->offset = info->lo_offset;
	p->sizelimit = info->lo_sizelimit;
	memcpy(p->name, info->lo_file_name, LO_NAME_SIZE - 1);
	return 0;
}

static void loop_partscan_allow(struct loop_device *lo, bool allow)
{
	if (allow)
		clear_bit(GD_SUPPRESS_PART_SCAN, &lo->disk->state);
	else
		set_bit(GD_SUPPRESS_PART_SCAN, &lo->disk->state);
}

struct loop_bind_arg {
	struct file			*file;
	blk_mode_t			mode;
	const struct loop_config	*config;
};

static int loop_bind_params(struct loop_params *p,
			    const struct loop_bind_arg *bind)
{
	const struct loop_config *config = bind->config;
	u32 flags = config->info.lo_flags;
	struct file *file = bind->file;
	struct block_device *lower = loop_file_lower_bdev(file);
	int err;

	p->direct = (flags & LO_FLAGS_DIRECT_IO) || (file->f_flags & O_DIRECT);
	p->partscan = (flags & LO_FLAGS_PARTSCAN) || loop_part_shift;
	p->read_only = (flags & LO_FLAGS_READ_ONLY) ||
		       !(bind->mode & BLK_OPEN_WRITE) ||
		       !(file->f_mode & FMODE_WRITE);

	p->block_size = config->block_size ?: SECTOR_SIZE;
	if (!config->block_size && p->direct && lower)
		p->block_size = min_t(unsigned int, PAGE_SIZE,
				      bdev_logical_block_size(lower));
	err = loop_block_size_validate(p->block_size);
	return err ?: loop_params_set(p, &config->info);
}

/* What a device keeps from its first binding until it is removed. */
static int loop_device_prepare(struct loop_device *lo)
{
	lockdep_assert_held(&lo->mutex);

	if (!lo->io_pool)
		lo->io_pool = mempool_create_slab_pool(LOOP_IO_RESERVE,
						       loop_io_cache);
	/*
	 * Not WQ_MEM_RECLAIM: what a worker calls may flush a workqueue that is
	 * not either, as xfs does when it is out of space.
	 */
	if (!lo->workqueue)
		lo->workqueue = alloc_workqueue("loop%d",
						WQ_UNBOUND | WQ_FREEZABLE, 0,
						lo->number);
	return lo->io_pool && lo->workqueue ? 0 : -ENOMEM;
}

static int loop_change_bind(struct loop_reconf *rc, const void *arg)
{
	const struct loop_bind_arg *bind = arg;
	struct loop_device *lo = rc->lo;
	struct kobject *kobj = &disk_to_dev(lo->disk)->kobj;
	struct loop_backing *b;
	int err;

	if (READ_ONCE(lo->state) != LOOP_UNBOUND)
		return -EBUSY;
	err = loop_file_validate(bind->file);
	if (err)
		return err;
	err = loop_device_prepare(lo);
	if (err)
		return err;
	b = loop_backing_alloc(lo, bind->file);
	if (IS_ERR(b))
		return PTR_ERR(b);
	rc->b = b;
	err = loop_bind_params(&b->params, bind);
	if (err)
		return err;
	err = loop_backing_complete(b, true);
	if (err)
		return err;
	err = sysfs_create_group(kobj, &loop_attr_group);
	if (err)
		return err;
	err = loop_reconf_publish_medium(rc);
	if (err) {
		sysfs_remove_group(kobj, &loop_attr_group);
		return err;
	}
	loop_partscan_allow(lo, b->params.partscan);
	__module_get(THIS_MODULE);
	loop_set_state(lo, LOOP_BOUND);
	loop_set_autoclear(lo, bind->config->info.lo_flags &
			   LO_FLAGS_AUTOCLEAR);
	return 0;
}

static int loop_bind(struct loop_device *lo, blk_mode_t mode,
		     const struct loop_config *config)
{
	struct file *file __free(fput) = fget(config->fd);
	struct loop_bind_arg bind = {
		.file	= file,
		.mode	= mode,
		.config	= config,
	};

	if (!file)
		return -EBADF;
	return loop_reconfigure(lo, !(mode & BLK_OPEN_EXCL), loop_change_bind,
				&bind);
}

/*
 * Back to unbound, at the last close. Nobody has the device open, and the
 * caller's open_mutex keeps it so: there is neither I/O nor reconfiguration,
 * and the only bios to wait for are those whose submitter was killed.
 */
static void loop_unbind(struct loop_device *lo)
{
	struct device *dev = disk_to_dev(lo->disk);
	char *envp[2] = { "DISK_MEDIA_CHANGE=1" };
	struct loop_backing *b = NULL;

	lockdep_assert_held(&lo->disk->open_mutex);

	sysfs_remove_group(&dev->kobj, &loop_attr_group);
	dev_set_uevent_suppress(dev, 1);
	/* never fails: an unbound device's limits are valid */
	scoped_guard(mutex, &lo->mutex)
		loop_backing_swap(lo, &b);
	set_capacity(lo->disk, 0);
	disk_force_media_change(lo->disk);
	bdev_disk_changed(lo->disk, false);
	loop_partscan_allow(lo, loop_part_shift);
	dev_set_uevent_suppress(dev, 0);

	loop_backing_retire(b);
	loop_set_state(lo, LOOP_UNBOUND);
	kobject_uevent_env(&dev->kobj, KOBJ_CHANGE, envp);
	module_put(THIS_MODULE);
}

/*
 * ioctls of a device
 */

static int loop_ioctl_set_fd(struct loop_device *lo, blk_mode_t mode,
			     unsigned long arg)
{
	struct loop_config config = { .fd = arg };

	return loop_bind(lo, mode, &config);
}

static int loop_ioctl_configure(struct loop_device *lo, blk_mode_t mode,
				unsigned long arg)
{
	struct loop_config config;

	if (copy_from_user(&config, (void __user *)arg, sizeof(config)))
		return -EFAULT;
	if (config.info.lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS)
		return -EINVAL;
	if (memchr_inv(config.__reserved, 0, sizeof(config.__reserved)))
		return -EINVAL;
	return loop_bind(lo, mode, &config);
}

/*
 * Without lo->mutex: detaching must not wait for a change that waits for its
 * file. The state keeps the two apart.
 */
static int loop_ioctl_clr_fd(struct loop_device *lo, blk_mode_t mode,
			     unsigned long arg)
{
	int err = -ENXIO;

	xa_lock(&loop_index);
	if (lo->state == LOOP_BOUND) {
		if (disk_openers(lo->disk) == 1)
			__loop_set_state(lo, LOOP_RUNDOWN);
		else
			WRITE_ONCE(lo->autoclear, true);
		err = 0;
	}
	xa_unlock(&loop_index);
	return err;
}

static int loop_change_file(struct loop_reconf *rc, const void *arg)
{
	struct file *file = (struct file *)arg;
	struct loop_backing *old;
	int err;

	err = loop_reconf_clone(rc, file);
	if (err)
		return err;
	if (!rc->b->params.read_only)
		return -EINVAL;
	if (file->f_flags & O_DIRECT)
		rc->b->params.direct = true;
	err = loop_backing_complete(rc->b, true);
	if (err)
		return err;
	old = rcu_dereference_protected(rc->lo->backing,
					lockdep_is_held(&rc->lo->mutex));
	if (rc->b->nr_sectors != old->nr_sectors)
		return -EINVAL;
	return loop_reconf_publish_medium(rc);
}

static int loop_ioctl_change_fd(struct loop_device *lo, blk_mode_t mode,
				unsigned long arg)
{
	struct file *file __free(fput) = fget(arg);

	if (!file)
		return -EBADF;
	return loop_reconfigure(lo, false, loop_change_file, file);
}

static int loop_change_status(struct loop_reconf *rc, const void *arg)
{
	const struct loop_info64 *info = arg;
	struct loop_device *lo = rc->lo;
	struct loop_params old;
	bool moved;
	int err;

	err = loop_reconf_clone(rc, NULL);
	if (err)
		return err;
	old = rc->b->params;
	err = loop_params_set(&rc->b->params, info);
	if (err)
		return err;
	rc->b->params.partscan |= !!(info->lo_flags & LO_FLAGS_PARTSCAN);
	rc->scan = rc->b->params.partscan && !old.partscan;
	moved = rc->b->params.offset != old.offset ||
		rc->b->params.sizelimit != old.sizelimit;
	rc->announce = moved;
	rc->stale = moved;
	err = loop_backing_complete(rc->b, moved);
	if (err)
		return err;

	/* what is dirty belongs to the old place */
	if (moved)
		sync_blockdev(lo->disk->part0);
	err = loop_reconf_publish(rc);
	if (err)
		return err;
	if (rc->scan)
		loop_partscan_allow(lo, true);
	loop_set_autoclear(lo, info->lo_flags & LO_FLAGS_AUTOCLEAR);
	return 0;
}

static int loop_status_change(struct loop_device *lo,
			      const struct loop_info64 *info)
{
	return loop_reconfigure(lo, false, loop_change_status, info);
}

static int loop_status_read(struct loop_device *lo, struct loop_info64 *info)
{
	struct loop_backing *b __free(loop_backing_put) = loop_backing_get(lo);
	struct kstat stat;
	int err;

	if (!b || READ_ONCE(lo->state) != LOOP_BOUND)
		return -ENXIO;
	err = vfs_getattr(&b->file->f_path, &stat, STATX_INO,
			  AT_STATX_SYNC_AS_STAT);
	if (err)
		return err;

	memset(info, 0, sizeof(*info));
	info->lo_number = lo->number;
	info->lo_device = huge_encode_dev(stat.dev);
	info->lo_inode = stat.ino;
	if (loop_file_bdev(b->file))
		info->lo_rdevice = huge_encode_dev(stat.rdev);
	info->lo_offset = b->params.offset;
	info->lo_sizelimit = b->params.sizelimit;
	if (b->params.read_only)
		info->lo_flags |= LO_FLAGS_READ_ONLY;
	if (b->params.partscan)
		info->lo_flags |= LO_FLAGS_PARTSCAN;
	if (b->params.direct)
		info->lo_flags |= LO_FLAGS_DIRECT_IO;
	if (READ_ONCE(lo->autoclear))
		info->lo_flags |= LO_FLAGS_AUTOCLEAR;
	memcpy(info->lo_file_name, b->params.name, LO_NAME_SIZE);
	return 0;
}

static int loop_ioctl_set_status64(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	struct loop_info64 info;

	if (copy_from_user(&info, (void __user *)arg, sizeof(info)))
		return -EFAULT;
	return loop_status_change(lo, &info);
}

static int loop_ioctl_get_status64(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	struct loop_info64 info;
	int err;

	if (!arg)
		return -EINVAL;
	err = loop_status_read(lo, &info);
	if (err)
		return err;
	if (copy_to_user((void __user *)arg, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}

/*
 * struct loop_info has fewer and smaller fields than struct loop_info64. Its
 * encryption fields have always been ignored since there is no encryption.
 */
static int loop_status_change_old(struct loop_device *lo,
				  const struct loop_info *old)
{
	struct loop_info64 info = {
		.lo_offset	= old->lo_offset,
		.lo_flags	= old->lo_flags,
	};

	memcpy(info.lo_file_name, old->lo_name, LO_NAME_SIZE);
	return loop_status_change(lo, &info);
}

static int loop_status_read_old(struct loop_device *lo, struct loop_info *old)
{
	struct loop_info64 info;
	int err;

	err = loop_status_read(lo, &info);
	if (err)
		return err;
	memset(old, 0, sizeof(*old));
	old->lo_number = info.lo_number;
	old->lo_device = info.lo_device;
	old->lo_inode = info.lo_inode;
	old->lo_rdevice = info.lo_rdevice;
	old->lo_offset = info.lo_offset;
	old->lo_flags = info.lo_flags;
	memcpy(old->lo_name, info.lo_file_name, LO_NAME_SIZE);
	if (old->lo_device != info.lo_device ||
	    old->lo_inode != info.lo_inode ||
	    old->lo_rdevice != info.lo_rdevice ||
	    old->lo_offset < 0 || old->lo_offset != info.lo_offset)
		return -EOVERFLOW;
	return 0;
}

static int loop_ioctl_set_status(struct loop_device *lo, blk_mode_t mode,
				 unsigned long arg)
{
	struct loop_info old;

	if (copy_from_user(&old, (void __user *)arg, sizeof(old)))
		return -EFAULT;
	return loop_status_change_old(lo, &old);
}

static int loop_ioctl_get_status(struct loop_device *lo, blk_mode_t mode,
				 unsigned long arg)
{
	struct loop_info old;
	int err;

	if (!arg)
		return -EINVAL;
	err = loop_status_read_old(lo, &old);
	if (err)
		return err;
	if (copy_to_user((void __user *)arg, &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

/* A backing built again follows the size the file has now. */
static int loop_change_capacity(struct loop_reconf *rc, const void *arg)
{
	int err;

	err = loop_reconf_clone(rc, NULL);
	if (err)
		return err;
	err = loop_backing_complete(rc->b, true);
	if (err)
		return err;
	rc->announce = true;
	return loop_reconf_publish(rc);
}

static int loop_ioctl_set_capacity(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	return loop_reconfigure(lo, false, loop_change_capacity, NULL);
}

static int loop_change_direct_io(struct loop_reconf *rc, const void *arg)
{
	bool direct = *(const unsigned long *)arg;
	int err;

	err = loop_reconf_clone(rc, NULL);
	if (err)
		return err;
	rc->b->params.direct = direct;
	err = loop_backing_complete(rc->b, false);
	if (err)
		return err;
	if (rc->b->params.direct != direct)
		return -EINVAL;
	return loop_reconf_publish(rc);
}

static int loop_ioctl_set_direct_io(struct loop_device *lo, blk_mode_t mode,
				    unsigned long arg)
{
	return loop_reconfigure(lo, false, loop_change_direct_io, &arg);
}

static int loop_change_block_size(struct loop_reconf *rc, const void *arg)
{
	unsigned long size = *(const unsigned long *)arg ?: SECTOR_SIZE;
	int err;

	err = loop_reconf_clone(rc, NULL);
	if (err)
		return err;
	err = loop_block_size_validate(size);
	if (err)
		return err;
	rc->b->params.block_size = size;
	err = loop_backing_complete(rc->b, false);
	if (err)
		return err;
	rc->stale = true;
	sync_blockdev(rc->lo->disk->part0);
	return loop_reconf_publish(rc);
}

static int loop_ioctl_set_block_size(struct loop_device *lo, blk_mode_t mode,
				     unsigned long arg)
{
	return loop_reconfigure(lo, !(mode & BLK_OPEN_EXCL),
				loop_change_block_size, &arg);
}

struct loop_ioctl {
	unsigned int	cmd;
	bool		write;	/* needs a writer, or CAP_SYS_ADMIN */
	int		(*handler)(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg);
};

static const struct loop_ioctl loop_ioctls[] = {
	{ LOOP_SET_FD,		false, loop_ioctl_set_fd },
	{ LOOP_CLR_FD,		false, loop_ioctl_clr_fd },
	{ LOOP_SET_STATUS,	true,  loop_ioctl_set_status },
	{ LOOP_GET_STATUS,	false, loop_ioctl_get_status },
	{ LOOP_SET_STATUS64,	true,  loop_ioctl_set_status64 },
	{ LOOP_GET_STATUS64,	false, loop_ioctl_get_status64 },
	{ LOOP_CHANGE_FD,	false, loop_ioctl_change_fd },
	{ LOOP_SET_CAPACITY,	true,  loop_ioctl_set_capacity },
	{ LOOP_SET_DIRECT_IO,	true,  loop_ioctl_set_direct_io },
	{ LOOP_SET_BLOCK_SIZE,	true,  loop_ioctl_set_block_size },
	{ LOOP_CONFIGURE,	false, loop_ioctl_configure },
};

static int loop_ioctl_call(const struct loop_ioctl *table, unsigned int nr,
			   struct block_device *bdev, blk_mode_t mode,
			   unsigned int cmd, unsigned long arg)
{
	for (; nr; table++, nr--) {
		if (table->cmd != cmd)
			continue;
		if (table->write && !(mode & BLK_OPEN_WRITE) &&
		    !capable(CAP_SYS_ADMIN))
			return -EPERM;
		return table->handler(bdev->bd_disk->private_data, mode, arg);
	}
	return -ENOIOCTLCMD;
}

static int loop_ioctl(struct block_device *bdev, blk_mode_t mode,
		      unsigned int cmd, unsigned long arg)
{
	int ret = loop_ioctl_call(loop_ioctls, ARRAY_SIZE(loop_ioctls), bdev,
				  mode, cmd, arg);

	return ret == -ENOIOCTLCMD ? -EINVAL : ret;
}

#ifdef CONFIG_COMPAT
struct compat_loop_info {
	compat_int_t	lo_number;
	compat_dev_t	lo_device;
	compat_ulong_t	lo_inode;
	compat_dev_t	lo_rdevice;
	compat_int_t	lo_offset;
	compat_int_t	lo_encrypt_type;
	compat_int_t	lo_encrypt_key_size;
	compat_int_t	lo_flags;
	char		lo_name[LO_NAME_SIZE];
	unsigned char	lo_encrypt_key[LO_KEY_SIZE];
	compat_ulong_t	lo_init[2];
	char		reserved[4];
};

static_assert(sizeof(struct compat_loop_info) == 140);

static int loop_compat_set_status(struct loop_device *lo, blk_mode_t mode,
				  unsigned long arg)
{
	struct compat_loop_info compat;
	struct loop_info old = { };

	if (copy_from_user(&compat, (void __user *)arg, sizeof(compat)))
		return -EFAULT;
	old.lo_offset = compat.lo_offset;
	old.lo_flags = compat.lo_flags;
	memcpy(old.lo_name, compat.lo_name, LO_NAME_SIZE);
	return loop_status_change_old(lo, &old);
}

static int loop_compat_get_status(struct loop_device *lo, blk_mode_t mode,
				  unsigned long arg)
{
	struct compat_loop_info compat;
	struct loop_info old;
	int err;

	if (!arg)
		return -EINVAL;
	err = loop_status_read_old(lo, &old);
	if (err)
		return err;
	memset(&compat, 0, sizeof(compat));
	compat.lo_number = old.lo_number;
	compat.lo_device = old.lo_device;
	compat.lo_inode = old.lo_inode;
	compat.lo_rdevice = old.lo_rdevice;
	compat.lo_offset = old.lo_offset;
	compat.lo_flags = old.lo_flags;
	memcpy(compat.lo_name, old.lo_name, LO_NAME_SIZE);
	if (compat.lo_device != old.lo_device ||
	    compat.lo_inode != old.lo_inode ||
	    compat.lo_rdevice != old.lo_rdevice)
		return -EOVERFLOW;
	if (copy_to_user((void __user *)arg, &compat, sizeof(compat)))
		return -EFAULT;
	return 0;
}

static const struct loop_ioctl loop_compat_ioctls[] = {
	{ LOOP_SET_STATUS,	true,  loop_compat_set_status },
	{ LOOP_GET_STATUS,	false, loop_compat_get_status },
};

/* An argument is a pointer or a number below 2^31; both survive compat_ptr(). */
static int loop_compat_ioctl(struct block_device *bdev, blk_mode_t mode,
			     unsigned int cmd, unsigned long arg)
{
	int ret;

	arg = (unsigned long)compat_ptr(arg);
	ret = loop_ioctl_call(loop_compat_ioctls,
			      ARRAY_SIZE(loop_compat_ioctls), bdev, mode, cmd,
			      arg);
	if (ret == -ENOIOCTLCMD)
		ret = loop_ioctl_call(loop_ioctls, ARRAY_SIZE(loop_ioctls),
				      bdev, mode, cmd, arg);
	return ret;
}
#endif

/*
 * Open and close, both under open_mutex
 */

static int loop_open(struct gendisk *disk, blk_mode_t mode)
{
	struct loop_device *lo = disk->private_data;
	enum loop_state state = READ_ONCE(lo->state);

	return state == LOOP_RUNDOWN || state == LOOP_DELETING ? -ENXIO : 0;
}

static void loop_release(struct gendisk *disk)
{
	struct loop_device *lo = disk->private_data;
	bool unbind;

	if (disk_openers(disk) > 0)
		return;
	xa_lock(&loop_index);
	unbind = lo->autoclear;
	if (unbind)
		__loop_set_state(lo, LOOP_RUNDOWN);
	xa_unlock(&loop_index);
	if (unbind)
		loop_unbind(lo);
}

static void loop_device_free(struct loop_device *lo)
{
	if (lo->workqueue)
		destroy_workqueue(lo->workqueue);
	mempool_destroy(lo->io_pool);
	mutex_destroy(&lo->mutex);
	kfree(lo);
	if (atomic_dec_and_test(&loop_nr_devices))
		wake_up_var(&loop_nr_devices);
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

/*
 * Devices: added, found and removed
 */

/* The highest number that has minors. */
static unsigned int loop_number_max(void)
{
	return MINORMASK >> loop_part_shift;
}

static struct loop_device *loop_device_alloc(int number)
{
	struct queue_limits lim = {
		.features = BLK_FEAT_NOWAIT | BLK_FEAT_IO_STAT,
	};
	struct loop_device *lo;
	struct gendisk *disk;

	lo = kzalloc_obj(*lo, GFP_KERNEL);
	if (!lo)
		return ERR_PTR(-ENOMEM);
	atomic_inc(&loop_nr_devices);
	lo->number = number;
	mutex_init(&lo->mutex);
	spin_lock_init(&lo->lane_lock);
	INIT_LIST_HEAD(&lo->lanes);
	loop_lane_init(&lo->root_lane, lo);

	loop_limits_fill(&lim, NULL);
	disk = blk_alloc_disk(&lim, NUMA_NO_NODE);
	if (IS_ERR(disk)) {
		loop_device_free(lo);
		return ERR_CAST(disk);
	}
	lo->disk = disk;
	disk->major = LOOP_MAJOR;
	disk->first_minor = number << loop_part_shift;
	disk->minors = 1 << loop_part_shift;
	disk->fops = &loop_fops;
	disk->private_data = lo;
	disk->events = DISK_EVENT_MEDIA_CHANGE;
	disk->event_flags = DISK_EVENT_FLAG_UEVENT;
	snprintf(disk->disk_name, DISK_NAME_LEN, "loop%d", number);
	loop_partscan_allow(lo, loop_part_shift);
	return lo;
}

/* Reserves @number, or the lowest free one if it is negative. */
static int loop_number_reserve(int number)
{
	u32 free;
	int err;

	if (number < 0) {
		err = xa_alloc(&loop_index, &free, NULL,
			       XA_LIMIT(0, loop_number_max()), GFP_KERNEL);
		return err == -EBUSY ? -ENOSPC : err ?: free;
	}
	if (number > loop_number_max())
		return -EINVAL;
	err = xa_insert(&loop_index, number, NULL, GFP_KERNEL);
	return err == -EBUSY ? -EEXIST : err ?: number;
}

/*
 * A device can be opened, and bound, before add_disk() returns; the control
 * device knows it only after that.
 */
static void loop_number_publish(struct loop_device *lo)
{
	xa_lock(&loop_index);
	__xa_store(&loop_index, lo->number, lo, 0);
	__loop_set_state(lo, lo->state);
	xa_unlock(&loop_index);
}

static int loop_device_add(int number)
{
	struct loop_device *lo;
	int err;

	number = loop_number_reserve(number);
	if (number < 0)
		return number;
	lo = loop_device_alloc(number);
	if (IS_ERR(lo)) {
		err = PTR_ERR(lo);
		goto out_release;
	}
	err = add_disk(lo->disk);
	if (err)
		goto out_free;
	loop_number_publish(lo);
	return number;

out_free:
	put_disk(lo->disk);
	loop_device_free(lo);
out_release:
	xa_erase(&loop_index, number);
	return err;
}

/* The number is free again only when the device is gone from sysfs. */
static void loop_device_delete(struct loop_device *lo)
{
	struct gendisk *disk = lo->disk;
	int number = lo->number;

	del_gendisk(disk);
	xa_erase(&loop_index, number);
	put_disk(disk);
}

/* Nobody has it open, and from now on nobody can. */
static int loop_device_retire(struct loop_device *lo)
{
	int err = -EBUSY;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	if (lo->state == LOOP_DELETING) {
		err = -ENODEV;
	} else if (lo->state == LOOP_UNBOUND && !disk_openers(lo->disk)) {
		__loop_set_state(lo, LOOP_DELETING);
		err = 0;
	}
	xa_unlock(&loop_index);
	return err;
}

/* The index holds a reference on the disk of each device in it. */
static struct loop_device *loop_device_get(int number)
{
	struct loop_device *lo;

	xa_lock(&loop_index);
	lo = xa_load(&loop_index, number);
	if (lo)
		get_device(disk_to_dev(lo->disk));
	xa_unlock(&loop_index);
	return lo;
}

static int loop_device_remove(int number)
{
	struct loop_device *lo;
	struct gendisk *disk;
	int err = -EINTR;

	if (number < 0)
		return -EINVAL;
	lo = loop_device_get(number);
	if (!lo)
		return -ENODEV;
	disk = lo->disk;
	if (!mutex_lock_killable(&disk->open_mutex)) {
		err = loop_device_retire(lo);
		mutex_unlock(&disk->open_mutex);
	}
	if (!err)
		loop_device_delete(lo);
	put_disk(disk);
	return err ?: number;
}

static int loop_device_get_free(void)
{
	unsigned long number = 0;

	if (xa_find(&loop_index, &number, ULONG_MAX, LOOP_INDEX_UNBOUND))
		return number;
	return loop_device_add(-1);
}

/*
 * Control device
 */

static long loop_control_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	switch (cmd) {
	case LOOP_CTL_ADD:
		return loop_device_add(arg);
	case LOOP_CTL_REMOVE:
		return loop_device_remove(arg);
	case LOOP_CTL_GET_FREE:
		return loop_device_get_free();
	default:
		return -ENOSYS;
	}
}

/* An argument is an int, in 32-bit programs too. */
static const struct file_operations loop_control_fops = {
	.owner		= THIS_MODULE,
	.open		= nonseekable_open,
	.unlocked_ioctl	= loop_control_ioctl,
	.compat_ioctl	= loop_control_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice loop_control = {
	.minor		= LOOP_CTRL_MINOR,
	.name		= "loop-control",
	.fops		= &loop_control_fops,
};

/*
 * Module
 */

static unsigned int loop_max = CONFIG_BLK_DEV_LOOP_MIN_COUNT;
static bool loop_max_given;
static unsigned int loop_max_part;

static int loop_max_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	if (!err)
		loop_max_given = true;
	return err;
}

static const struct kernel_param_ops loop_max_ops = {
	.set	= loop_max_set,
	.get	= param_get_uint,
};

static int loop_queue_depth_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 1, INT_MAX);
}

static const struct kernel_param_ops loop_queue_depth_ops = {
	.set	= loop_queue_depth_set,
	.get	= param_get_uint,
};

module_param_cb(max_loop, &loop_max_ops, &loop_max, 0444);
MODULE_PARM_DESC(max_loop, "Devices made at load; if given, also the limit for devices made by opening their node");
module_param_named(max_part, loop_max_part, uint, 0444);
MODULE_PARM_DESC(max_part, "Minors for partitions of each device");
module_param_cb(hw_queue_depth, &loop_queue_depth_ops, &loop_queue_depth, 0444);
MODULE_PARM_DESC(hw_queue_depth, "Bios of a device and cgroup that may wait for a worker");

#ifndef MODULE
static int __init loop_max_setup(char *str)
{
	if (!kstrtouint(str, 0, &loop_max))
		loop_max_given = true;
	return 1;
}
__setup("max_loop=", loop_max_setup);
#endif

/* Somebody opens a node in /dev that has no device behind it. */
static void loop_probe(dev_t dev)
{
	unsigned int number = MINOR(dev) >> loop_part_shift;

	if (loop_max_given && loop_max && number >= loop_max)
		return;
	loop_device_add(number);
}

static int __init loop_params_init(void)
{
	if (loop_max_part >= DISK_MAX_PARTS)
		return -EINVAL;
	loop_part_shift = fls(loop_max_part);
	loop_max_part = (1U << loop_part_shift) - 1;
	if (loop_max > loop_number_max() + 1)
		return -EINVAL;
	return 0;
}

static void loop_device_delete_all(void)
{
	struct loop_device *lo;
	unsigned long number;

	xa_for_each(&loop_index, number, lo)
		loop_device_delete(lo);
	/* whoever looked a device up just now still has a reference on it */
	wait_var_event(&loop_nr_devices, !atomic_read(&loop_nr_devices));
}

static int __init loop_init(void)
{
	int err;

	err = loop_params_init();
	if (err)
		return err;
	/* not merged with others, so that a bio that is lost shows at exit */
	loop_io_cache = KMEM_CACHE(loop_io, SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE);
	if (!loop_io_cache)
		return -ENOMEM;
	for (unsigned int i = 0; i < loop_max; i++) {
		err = loop_device_add(i);
		if (err < 0) {
			pr_err("loop: device %u of %u: error %d\n", i, loop_max, err);
			goto out_delete;
		}
	}
	err = misc_register(&loop_control);
	if (err)
		goto out_delete;
	err = -EIO;
	if (__register_blkdev(LOOP_MAJOR, "loop", loop_probe))
		goto out_deregister;
	return 0;

out_deregister:
	misc_deregister(&loop_control);
out_delete:
	loop_device_delete_all();
	kmem_cache_destroy(loop_io_cache);
	return err;
}

/*
 * No device is bound or open: each such one holds the module. After the node
 * and the probe are gone nobody can add one either.
 */
static void __exit loop_exit(void)
{
	unregister_blkdev(LOOP_MAJOR, "loop");
	misc_deregister(&loop_control);
	loop_device_delete_all();
	xa_destroy(&loop_index);
	/* the callback that ends a killed percpu_ref is this module's code */
	rcu_barrier();
	kmem_cache_destroy(loop_io_cache);
}

module_init(loop_init);
module_exit(loop_exit);

MODULE_DESCRIPTION("Loop block device");
MODULE_LICENSE("GPL");
MODULE_ALIAS_BLOCKDEV_MAJOR(LOOP_MAJOR);
MODULE_ALIAS_MISCDEV(LOOP_CTRL_MINOR);
MODULE_ALIAS("devname:loop-control");
