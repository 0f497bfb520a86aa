// SPDX-License-Identifier: GPL-2.0
/*
 * Loop block device: a file, or another block device, as a block device.
 *
 * Objects
 *
 *   struct loop_device	 one number: its gendisk, its state, its backing
 *   struct loop_backing one binding: a file and how it is used
 *   struct loop_group	 what the bios of one cgroup on one device share
 *   struct loop_io	 one bio in flight
 *
 * A backing is built and validated completely, then published. What I/O depends
 * on does not change after that: for another file, range, block size or way of
 * I/O, a new backing is built from the one in force and takes its place while
 * no bio is in flight; a change that fails has done nothing. The size, the name
 * and the flags can change while I/O goes on, and wait for nothing.
 *
 * States, LOOP_STATE_* of the ABI
 *
 *   UNBOUND -> BINDING -> BOUND -> RUNDOWN -> UNBOUND
 *   BINDING -> UNBOUND, if it fails; -> REMOVING, if the device was made for it
 *   UNBOUND -> REMOVING, and for ephemeral devices RUNDOWN -> REMOVING
 *
 * Whoever moves a device from UNBOUND to BINDING or REMOVING has it for itself.
 * A bound device is unbound only when nobody has it open: by its last close, or
 * by LOOP_CTL_DETACH. LOOP_CLR_FD from the only opener starts the rundown, where
 * nobody can open the device any more but I/O still works, so that what was
 * written reaches the file.
 *
 * Locks, outermost first
 *
 *   disk->open_mutex	 the block layer's: open, last close, partition scans;
 *			 taken to detach or remove, tried by LOOP_CLR_FD
 *   lo->mutex		 reconfiguration of one device. It may sleep on the
 *			 file; open() does not take it, unbinding takes it when
 *			 nobody else can
 *   limits lock, freeze the block layer's: change of queue limits; a change of
 *			 the backing keeps new bios out and waits for those in
 *			 flight
 *   lo->uevent_mutex	 sending the disk's CHANGE events, or holding them back
 *   loop_chain_mutex	 publishing another file that is itself a loop device or
 *			 lies on one, so that no cycle can be closed
 *
 * and, inside all of these, the spinlocks: the index's own, lo->group_lock,
 * b->flush_lock and loop_mapping_lock. No lock is held across add_disk() or
 * del_gendisk(), and none while a file is released: fput() leaves that to the
 * caller's way back to user space.
 */
#include <linux/blk-cgroup.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/cgroup.h>
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/dcache.h>
#include <linux/device_cgroup.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fsnotify.h>
#include <linux/hashtable.h>
#include <linux/hrtimer.h>
#include <linux/ioctl.h>
#include <linux/jump_label.h>
#include <linux/kthread.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/memcontrol.h>
#include <linux/mempool.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/ratelimit.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>
#include <linux/xarray.h>

#define CREATE_TRACE_POINTS
#include <trace/events/loop.h>

static_assert(sizeof(struct loop_info64) == 232);
static_assert(sizeof(struct loop_config) == 304);
static_assert(sizeof(struct loop_ctl_attach) == LOOP_CTL_ATTACH_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_detach) == LOOP_CTL_DETACH_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_list) == LOOP_CTL_LIST_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_entry) == LOOP_CTL_ENTRY_SIZE_VER0);

/* Groups that a device keeps; a new one takes the place of one without bios. */
#define LOOP_IDLE_GROUPS	64

/* After so many tries that would have waited, 2^n - 1 bios are not tried. */
#define LOOP_BACKOFF_MAX	4

/* So many bios that are swapped out to a file may be in flight. */
#define LOOP_SWAP_DEPTH		4

/* Bios that a device can always make progress with when memory is short. */
#define LOOP_IO_RESERVE		4

/* Largest bio. Its pages go to the file as they are: it costs no memory. */
#define LOOP_MAX_HW_SECTORS	(SZ_4M >> SECTOR_SHIFT)

/*
 * What becomes of the bios, counted per device. The path of each bio is one of
 * the first; those from LOOP_STAT_WORKER_OP on name why it went to a worker.
 */
enum loop_stat {
	LOOP_STAT_INLINE,		/* tried by the submitter itself */
	LOOP_STAT_CLONED,		/* passed on to the device below */
	LOOP_STAT_WORKER_OP,		/* not a read or write */
	LOOP_STAT_WORKER_FLUSH,		/* a flush comes first */
	LOOP_STAT_WORKER_SWAP,		/* in, or out with a reserve of its own */
	LOOP_STAT_WORKER_OFF,		/* inline I/O is turned off */
	LOOP_STAT_WORKER_FILE,		/* the file always waits */
	LOOP_STAT_WORKER_ALIGN,		/* direct I/O that must be buffered or copied */
	LOOP_STAT_WORKER_KWORKER,	/* a buffered write by a worker of others */
	LOOP_STAT_WORKER_BACKOFF,	/* the last such ones would have waited */
	LOOP_STAT_WORKER_TRANSACTION,	/* a file system's is open above */
	LOOP_STAT_WORKER_META,		/* a file system's locks are held above */
	LOOP_STAT_WORKER_RECLAIM,	/* the task is freeing memory */
	LOOP_STAT_WORKER_PARKED,	/* another bio waits for the task */
	LOOP_STAT_WORKER_RLIMIT,	/* the task's file size limit */
	LOOP_STAT_WORKER_ATIME,		/* the read is to be noted */
	LOOP_STAT_WORKER_CGROUP,	/* another cgroup than the task's */
	LOOP_STAT_WORKER_STACK,		/* little of the stack is left */
	LOOP_STAT_RETRY_AGAIN,		/* inline would have waited */
	LOOP_STAT_RETRY_LATE,		/* ... as its completion said */
	LOOP_STAT_RETRY_SHORT,		/* inline did a part */
	LOOP_STAT_RETRY_ERROR,		/* inline failed otherwise */
	LOOP_STAT_RETRY_FROZEN,		/* the file system is frozen */
	LOOP_STAT_BUFFERED,		/* the file refused direct I/O */
	LOOP_STAT_FLUSH,		/* flushes asked for */
	LOOP_STAT_FSYNC,		/* fsyncs that served them */
	LOOP_STAT_UNMAP_REFUSED,	/* the file refused fallocate() */
	LOOP_NR_STATS,
};

static const char * const loop_stat_names[LOOP_NR_STATS] = {
	[LOOP_STAT_INLINE]		= "inline",
	[LOOP_STAT_CLONED]		= "cloned",
	[LOOP_STAT_WORKER_OP]		= "worker_op",
	[LOOP_STAT_WORKER_FLUSH]	= "worker_flush",
	[LOOP_STAT_WORKER_SWAP]		= "worker_swap",
	[LOOP_STAT_WORKER_OFF]		= "worker_off",
	[LOOP_STAT_WORKER_FILE]		= "worker_file",
	[LOOP_STAT_WORKER_ALIGN]	= "worker_align",
	[LOOP_STAT_WORKER_KWORKER]	= "worker_kworker",
	[LOOP_STAT_WORKER_BACKOFF]	= "worker_backoff",
	[LOOP_STAT_WORKER_TRANSACTION]	= "worker_transaction",
	[LOOP_STAT_WORKER_META]		= "worker_meta",
	[LOOP_STAT_WORKER_RECLAIM]	= "worker_reclaim",
	[LOOP_STAT_WORKER_PARKED]	= "worker_parked",
	[LOOP_STAT_WORKER_RLIMIT]	= "worker_rlimit",
	[LOOP_STAT_WORKER_ATIME]	= "worker_atime",
	[LOOP_STAT_WORKER_CGROUP]	= "worker_cgroup",
	[LOOP_STAT_WORKER_STACK]	= "worker_stack",
	[LOOP_STAT_RETRY_AGAIN]		= "retry_again",
	[LOOP_STAT_RETRY_LATE]		= "retry_late",
	[LOOP_STAT_RETRY_SHORT]		= "retry_short",
	[LOOP_STAT_RETRY_ERROR]		= "retry_error",
	[LOOP_STAT_RETRY_FROZEN]	= "retry_frozen",
	[LOOP_STAT_BUFFERED]		= "buffered",
	[LOOP_STAT_FLUSH]		= "flush",
	[LOOP_STAT_FSYNC]		= "fsync",
	[LOOP_STAT_UNMAP_REFUSED]	= "unmap_refused",
};

/*
 * Of each processor. A bio starts on one and ends on another: only the sums
 * tell something.
 */
struct loop_counters {
	unsigned long		started;
	unsigned long		ended;
	unsigned long		stats[LOOP_NR_STATS];
};

/* What the user can ask of a binding; and direct, which may be less than that. */
struct loop_params {
	loff_t			offset;
	loff_t			sizelimit;
	unsigned int		block_size;
	bool			read_only;
	bool			direct;
	bool			direct_asked;	/* S */
	bool			direct_aligned;	/* bios that the file does not take are not */
	bool			write_asked;
	bool			block_size_asked; /* S */
};

/* Inline tries that would have waited, in a row, and what is not tried for it. */
struct loop_backoff {
	u8			failed;
	u8			skip;
};

/*
 * Constant from publication on, but for the users and the fields with a letter:
 *
 * A: changed by atomic operations
 * F: protected by flush_lock
 * G: protected by loop_mapping_lock
 * S: written with lo->mutex held, by WRITE_ONCE() or atomic64_set(); read
 *    without
 */
struct loop_backing {
	/* read by every bio */
	struct file		*file;
	struct loop_params	params;
	atomic64_t		nr_sectors;	/* S */
	unsigned int		dio_mem_mask;
	unsigned int		dio_offset_mask;
	struct file		*quiet_file;	/* see loop_file_open_quiet(), or NULL */
	unsigned long		noted;		/* S: when a read was last noted */
	mempool_t		swap_pool;	/* there is one with swap_out */
	bool			swap_out;	/* through quiet_file */
	bool			inline_read;	/* the file can, without waiting */
	bool			inline_write;
	bool			inline_cached;	/* such a read asks only the cache */
	bool			honours_dsync;	/* direct writes are synced on demand */
	bool			write_waits;	/* writes of workers are synchronous */
	struct loop_backoff	backoff[2];	/* racy: of reads, and of writes */
	struct block_device	*clone_bdev;	/* gets clones of bios, or NULL */
	struct bio_set		*clones;	/* there is one with clone_bdev */

	/* A: operations, by number, of which the log has told */
	DECLARE_BITMAP(refused, (__force unsigned int)REQ_OP_LAST);

	/* flushes waiting for the next fsync */
	spinlock_t		flush_lock;	/* taken in any context */
	struct list_head	flush_list;	/* F: of struct loop_io */
	struct work_struct	flush_work;

	/* queue limits that follow from the file */
	bool			write_cache;
	bool			rotational;
	bool			stable_writes;
	unsigned int		discard_granularity;
	unsigned int		max_discard_sectors;
	unsigned int		max_write_zeroes_sectors;

	/* of the file, as stat() tells them */
	dev_t			dev;
	u64			ino;
	bool			cut;		/* S: less than sizelimit is there */

	struct loop_device	*lo;
	refcount_t		users;		/* its owner, and who looks at it */
	struct rcu_head		rcu;
	struct hlist_node	mapping_node;	/* G: in loop_mappings, if claimed */
	gfp_t			mapping_gfp;	/* G: as found by the first */
};

/*
 * What the bios of one cgroup on one device share, or all that is swapped out to
 * it: the bound on what is in flight, and the order of writes. These take the
 * file's lock in turn, so one worker does them. The fields with an L are protected
 * by lo->group_lock, the others are constant or have a lock of their own.
 */
struct loop_group {
	struct loop_device	*lo;
	struct cgroup_subsys_state *blkcg;	/* only compared; NULL: not one's */
	struct list_head	node;		/* L: in lo->groups */
	unsigned int		users;		/* L: bios, and write_work */
	struct semaphore	room;		/* fair, and held until a bio ends */
	struct list_head	writes;		/* L: of struct loop_io */
	struct work_struct	write_work;
};

/*
 * X: protected by the index's lock
 * M: protected by mutex
 * R: RCU for reading, mutex for writing
 * L: protected by group_lock
 * U: protected by uevent_mutex
 */
struct loop_device {
	int			number;
	struct gendisk		*disk;

	struct loop_backing __rcu *backing;	/* R */
	mempool_t		io_pool;
	struct workqueue_struct	*workqueue;	/* M: made at the first bind */
	struct workqueue_struct	*flush_queue;	/* M: the same */
	struct loop_counters __percpu *counters;
	wait_queue_head_t	drained;	/* a bio ended, or a user of a backing left */
	struct queue_limits	unbound_limits;	/* constant */

	spinlock_t		group_lock;	/* taken in any context */
	struct list_head	groups;		/* L */
	unsigned int		nr_groups;	/* L */
	struct loop_group	root_group;
	struct loop_group	swap_group;
	struct ratelimit_state	error_limit;	/* of lines in the log */

	struct mutex		mutex;		/* reconfiguration */
	struct mutex		uevent_mutex;	/* CHANGE events of the disk */
	unsigned int		uevents_held;	/* U: by how many tasks */
	bool			uevent_change;	/* U: is due when it is none */
	bool			uevent_resize;	/* U: and says RESIZE=1 */
	unsigned int		state;		/* X: LOOP_STATE_* */
	u64			binding;	/* X: counts them */
	u8			name[LO_NAME_SIZE]; /* X: of the binding */
	bool			partscan;	/* X: of the binding */
	bool			autoclear;	/* X: unbind at the last close */
	bool			ephemeral;	/* X: and remove the device */
	wait_queue_head_t	closed;		/* nobody has it open any more */
	struct work_struct	remove_work;
};

/*
 * A bio on its way. Two hold it during a read or write: the one who submits to
 * the file, and the completion.
 */
struct loop_io {
	struct kiocb		iocb;
	struct bio		*bio;
	struct loop_backing	*b;
	struct loop_group	*group;
	struct list_head	node;		/* in a group's writes or a flush list */
	struct work_struct	work;
	refcount_t		ref;
	bool			inlined;	/* the try is the submitter's */
	bool			late;		/* the try was still under way */
	bool			buffered;	/* direct I/O was refused */
	bool			unsynced;	/* FUA: a flush is due at the end */
	bool			has_clone;	/* it lies in front of one */
	unsigned int		stale;		/* bytes before pos, in the cache */
	loff_t			pos;		/* next byte, in the file */
	long			ret;
	unsigned int		sectors;	/* accounted, or 0 */
	unsigned long		start_time;	/* jiffies */
	u64			traced;		/* since then, in ns; or 0 */
	sector_t		traced_sector;
	unsigned int		traced_sectors;
};

struct loop_clone {
	struct loop_io		io;
	struct bio		bio;		/* last: see bioset_init() */
};

static struct kmem_cache *loop_io_cache;
/* The last one freed: I/O that completes at once needs no allocator. */
static DEFINE_PER_CPU(struct loop_io *, loop_io_spare);
static atomic_t loop_nr_devices;	/* whose memory is not freed yet */
static unsigned int loop_part_shift;
static unsigned int loop_queue_depth = 128;
static bool loop_inline = true;

/*
 * The index: which numbers exist. A number that is being created is reserved;
 * one that is being removed keeps its entry until it is gone. The mark is on
 * unbound devices. The index's own lock also protects the state of all devices.
 */
static DEFINE_XARRAY_ALLOC(loop_index);
#define LOOP_INDEX_UNBOUND	XA_MARK_1

/* Where devices go that remove themselves. */
static struct workqueue_struct *loop_remove_workqueue;

/* The workers for what is swapped out to all devices. */
static struct workqueue_struct *loop_swap_workqueue;

static DEFINE_MUTEX(loop_chain_mutex);

/* Backings by the mapping they use: for its gfp mask, and for ranges of it. */
static DEFINE_SPINLOCK(loop_mapping_lock);
static DEFINE_HASHTABLE(loop_mappings, 10);

/*
 * State
 */

static void __loop_set_state(struct loop_device *lo, unsigned int state)
{
	lockdep_assert_held(&loop_index.xa_lock);

	if (state == LOOP_STATE_UNBOUND)
		__xa_set_mark(&loop_index, lo->number, LOOP_INDEX_UNBOUND);
	else if (lo->state == LOOP_STATE_UNBOUND)
		__xa_clear_mark(&loop_index, lo->number, LOOP_INDEX_UNBOUND);
	if (lo->state != state)
		trace_loop_state(lo->number, lo->state, state);
	WRITE_ONCE(lo->state, state);
	WRITE_ONCE(lo->autoclear, state == LOOP_STATE_RUNDOWN);
}

static void loop_set_state(struct loop_device *lo, unsigned int state)
{
	xa_lock(&loop_index);
	__loop_set_state(lo, state);
	xa_unlock(&loop_index);
}

/* It has a backing; in RUNDOWN it may have lost it just now. */
static bool loop_state_is_bound(unsigned int state)
{
	return state == LOOP_STATE_BOUND || state == LOOP_STATE_RUNDOWN;
}

static bool loop_move_state(struct loop_device *lo, unsigned int from,
			    unsigned int to)
{
	bool moved;

	xa_lock(&loop_index);
	moved = lo->state == from;
	if (moved)
		__loop_set_state(lo, to);
	xa_unlock(&loop_index);
	return moved;
}

/*
 * The file behind a backing
 */

/* What a backing is made of. */
struct loop_files {
	struct file		*file;
	struct file		*quiet;		/* or NULL */
};

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

/*
 * Whether the file does what IOCB_NOWAIT and IOCB_DSYNC say, also in a call that
 * completes later. Many file systems wait for what is below all the same, or do not
 * sync such a write, so only those are trusted that have been read and tested:
 * Documentation/block/loop.rst has a table of each.
 */
static bool loop_file_is_trusted(struct file *file)
{
	static const char * const names[] = { "ext4", "xfs", "btrfs" };

	return loop_file_bdev(file) ||
	       match_string(names, ARRAY_SIZE(names),
			    loop_file_inode(file)->i_sb->s_type->name) >= 0;
}

/*
 * f2fs notes after a direct write that there is something to flush, and not at all
 * if the write completes later: an fsync then leaves it in the disk's cache.
 */
static bool loop_file_forgets_async(struct file *file)
{
	/* of the file that an overlay stands for, not of a disk's node */
	return !loop_file_bdev(file) &&
	       d_real_inode(file->f_path.dentry)->i_sb->s_magic ==
	       F2FS_SUPER_MAGIC;
}

/*
 * What is read without waiting is what the page cache has, which needs no more of
 * the file system than that: its reads do nothing else. Others look at the server,
 * or at a file of another file system, first.
 */
static bool loop_file_reads_cache(struct file *file)
{
	static const char * const names[] = { "tmpfs", "f2fs", "erofs", "exfat" };
	struct inode *inode = loop_file_inode(file);

	return S_ISREG(inode->i_mode) && !IS_DAX(inode) &&
	       (file->f_op->read_iter == generic_file_read_iter ||
		match_string(names, ARRAY_SIZE(names),
			     inode->i_sb->s_type->name) >= 0);
}

/* Pages that direct I/O is writing must not change before it has ended. */
static bool loop_file_wants_stable_pages(struct file *file)
{
	struct block_device *bdev = loop_file_bdev(file);

	if (bdev)
		return bdev_stable_writes(bdev);
	/* of the file that an overlay stands for */
	return mapping_stable_writes(d_real_inode(file->f_path.dentry)->i_mapping);
}

/*
 * What is swapped out goes past the page cache, to blocks of which bmap() tells
 * where they are.
 */
static bool loop_file_can_swap(struct file *file)
{
	unsigned long magic = loop_file_inode(file)->i_sb->s_magic;

	return S_ISREG(loop_file_inode(file)->i_mode) &&
	       (file->f_mode & FMODE_CAN_ODIRECT) &&
	       (magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC);
}

/* Somebody is asked before a range of @file is read or written, and may fill it. */
static bool loop_file_is_on_demand(struct file *file)
{
	return FMODE_FSNOTIFY_HSM(file->f_mode);
}

/*
 * The file once more, for I/O that must set no times, as a file system may wait to
 * do so: reads without waiting, and what is swapped out. NULL: it cannot be had, or
 * is of no use.
 */
static struct file *loop_file_open_quiet(struct file *file, bool read_only)
{
	bool write = !read_only && loop_file_can_swap(file);
	int flags = (write ? O_RDWR : O_RDONLY) | O_LARGEFILE | O_NONBLOCK |
		    O_NOATIME;
	struct file *quiet;

	if (!S_ISREG(file_inode(file)->i_mode) || loop_file_is_on_demand(file) ||
	    !(loop_file_is_trusted(file) || loop_file_reads_cache(file)))
		return NULL;
	quiet = kernel_file_open(&file->f_path, flags, file->f_cred);
	if (IS_ERR(quiet))
		return NULL;
	quiet->f_mode &= ~FMODE_NONOTIFY_PERM;
	quiet->f_mode |= FMODE_NONOTIFY | FMODE_NOCMTIME;
	return quiet;
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

/* Without a limit the range has no end: the file may grow. */
static u64 loop_range_end(const struct loop_params *p)
{
	return p->sizelimit ? (u64)p->offset + p->sizelimit : U64_MAX;
}

static bool loop_ranges_conflict(const struct loop_params *a,
				 const struct loop_params *b)
{
	return a->offset < loop_range_end(b) && b->offset < loop_range_end(a) &&
	       !(a->read_only && b->read_only);
}

/*
 * From here until it is freed, @b's range of the mapping counts as in use. With
 * @exclusive, not if another device's does that has a byte in common with it:
 * the number of that device is returned, else -1.
 *
 * An allocation in the page cache of the file must not wait for I/O: the I/O
 * may be on the loop device. The mask is narrowed for as long as a backing of
 * any device uses the mapping.
 */
static int loop_mapping_claim(struct loop_backing *b, bool exclusive)
{
	struct address_space *mapping = b->file->f_mapping;
	struct loop_backing *other, *user = NULL;
	int number = -1;

	spin_lock(&loop_mapping_lock);
	hash_for_each_possible(loop_mappings, other, mapping_node,
			       (unsigned long)mapping) {
		if (other->file->f_mapping != mapping)
			continue;
		user = other;
		if (!exclusive)
			break;
		if (other->lo != b->lo &&
		    loop_ranges_conflict(&other->params, &b->params)) {
			number = other->lo->number;
			goto out_unlock;
		}
	}
	b->mapping_gfp = user ? user->mapping_gfp : mapping_gfp_mask(mapping);
	if (!user)
		mapping_set_gfp_mask(mapping, b->mapping_gfp &
				     ~(__GFP_IO | __GFP_FS));
	hash_add(loop_mappings, &b->mapping_node, (unsigned long)mapping);
out_unlock:
	spin_unlock(&loop_mapping_lock);
	return number;
}

static void loop_mapping_release(struct loop_backing *b)
{
	struct address_space *mapping = b->file->f_mapping;
	struct loop_backing *other;
	bool last = true;

	if (!hash_hashed(&b->mapping_node))
		return;
	spin_lock(&loop_mapping_lock);
	hash_del(&b->mapping_node);
	hash_for_each_possible(loop_mappings, other, mapping_node,
			       (unsigned long)mapping) {
		if (other->file->f_mapping == mapping) {
			last = false;
			break;
		}
	}
	if (last)
		mapping_set_gfp_mask(mapping, b->mapping_gfp);
	spin_unlock(&loop_mapping_lock);
}

/*
 * Backing: built, published, drained
 */

static void loop_flush_work(struct work_struct *work);

static struct loop_backing *loop_backing_alloc(struct loop_device *lo,
					       const struct loop_files *files)
{
	struct loop_backing *b;

	b = kzalloc_obj(*b, GFP_KERNEL);
	if (!b)
		return NULL;
	b->lo = lo;
	b->file = get_file(files->file);
	if (files->quiet)
		b->quiet_file = get_file(files->quiet);
	b->noted = jiffies - HZ;
	spin_lock_init(&b->flush_lock);
	INIT_LIST_HEAD(&b->flush_list);
	INIT_WORK(&b->flush_work, loop_flush_work);
	refcount_set(&b->users, 1);
	return b;
}

/*
 * A backing that nobody uses: never published, or drained. Somebody may still
 * look at whether it is that.
 */
static void loop_backing_free(struct loop_backing *b)
{
	loop_mapping_release(b);
	if (b->clones)
		bioset_exit(b->clones);
	kfree(b->clones);
	if (b->quiet_file)
		fput(b->quiet_file);
	mempool_exit(&b->swap_pool);
	fput(b->file);
	kfree_rcu(b, rcu);
}

static void loop_bio_count_end(struct loop_device *lo)
{
	/* the device is not freed before a grace period */
	guard(rcu)();
	smp_mb(); /* pairs with loop_device_is_idle() */
	this_cpu_inc(lo->counters->ended);
	if (unlikely(wq_has_sleeper(&lo->drained)))
		wake_up(&lo->drained);
}

/*
 * The backing in force, for a bio that is in flight from here to
 * loop_bio_count_end(), or NULL. The bio is counted before it looks: a task that
 * takes the backing away either finds it counted, or it finds none.
 */
static struct loop_backing *loop_backing_get(struct loop_device *lo)
{
	struct loop_backing *b;

	this_cpu_inc(lo->counters->started);
	smp_mb(); /* pairs with loop_device_is_idle() */
	b = rcu_dereference_check(lo->backing, true);
	if (!b)
		loop_bio_count_end(lo);
	return b;
}

/* The backing in force, for a task that changes the device. */
static struct loop_backing *loop_device_backing(struct loop_device *lo)
{
	return rcu_dereference_protected(lo->backing,
					 lockdep_is_held(&lo->mutex));
}

/* The backing in force, for a task that only looks at it, or NULL. */
static struct loop_backing *loop_backing_hold(struct loop_device *lo)
{
	struct loop_backing *b;

	guard(rcu)();
	do {
		b = rcu_dereference(lo->backing);
	} while (b && !refcount_inc_not_zero(&b->users));
	return b;
}

static void loop_backing_release(struct loop_backing *b)
{
	struct loop_device *lo = b->lo;

	refcount_dec(&b->users);
	if (wq_has_sleeper(&lo->drained))
		wake_up(&lo->drained);
}

DEFINE_FREE(loop_backing_release, struct loop_backing *,
	    IS_ERR_OR_NULL(_T) ? (void)0 : loop_backing_release(_T))

/*
 * No bio is in flight. Exact for bios that have found a backing which the caller
 * has taken away. What has ended is summed up first, as each bio starts before it
 * ends.
 */
static bool loop_device_is_idle(struct loop_device *lo)
{
	unsigned long started = 0, ended = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		ended += READ_ONCE(per_cpu_ptr(lo->counters, cpu)->ended);
	/* pairs with loop_bio_count_end() and loop_backing_get() */
	smp_mb();
	for_each_possible_cpu(cpu)
		started += READ_ONCE(per_cpu_ptr(lo->counters, cpu)->started);
	return started == ended;
}

/* Frees a backing that no bio uses, once those who look at it have done so. */
static void loop_backing_retire(struct loop_backing *b)
{
	/* it has nothing to do any more, but may still be about to return */
	flush_work(&b->flush_work);
	wait_event(b->lo->drained, refcount_dec_if_one(&b->users));
	loop_backing_free(b);
}

/* What direct I/O needs, as the file has it now. */
static int loop_backing_stat_direct(struct loop_backing *b)
{
	struct block_device *lower = loop_file_lower_bdev(b->file);
	struct kstat stat;
	int err;

	/* a file that does not tell is asked, and refuses with EINVAL */
	b->dio_mem_mask = 0;
	b->dio_offset_mask = SECTOR_SIZE - 1;
	if (lower) {
		b->dio_mem_mask = bdev_dma_alignment(lower);
		b->dio_offset_mask = bdev_logical_block_size(lower) - 1;
	}
	if (loop_file_bdev(b->file))
		return 0;
	err = vfs_getattr_nosec(&b->file->f_path, &stat, STATX_DIOALIGN, 0);
	if (err)
		return err;
	if (stat.result_mask & STATX_DIOALIGN) {
		/* 0, no direct I/O, gives a mask that nothing passes */
		b->dio_mem_mask = stat.dio_mem_align - 1;
		b->dio_offset_mask = stat.dio_offset_align - 1;
	}
	return 0;
}

static int loop_backing_getattr(const struct loop_backing *b, struct kstat *stat)
{
	return vfs_getattr_nosec(&b->file->f_path, stat, STATX_INO | STATX_SIZE, 0);
}

/* The size that follows from the file's. Bios in flight may see it change. */
static void loop_backing_set_size(struct loop_backing *b,
				  const struct kstat *stat)
{
	struct block_device *bdev = loop_file_bdev(b->file);
	const struct loop_params *p = &b->params;
	loff_t size = bdev ? bdev_nr_bytes(bdev) : stat->size;

	size = max(size - p->offset, 0);
	WRITE_ONCE(b->cut, p->sizelimit > size || p->sizelimit % SECTOR_SIZE);
	if (p->sizelimit)
		size = min(size, p->sizelimit);
	atomic64_set(&b->nr_sectors, size >> SECTOR_SHIFT);
}

/* A block of the device is a range that direct I/O on the file can take. */
static bool loop_backing_aligned(const struct loop_backing *b)
{
	return !((b->params.offset | b->params.block_size) &
		 b->dio_offset_mask);
}

static bool loop_backing_can_direct(const struct loop_backing *b)
{
	if (!(b->file->f_mode & FMODE_CAN_ODIRECT) ||
	    b->dio_offset_mask == UINT_MAX)
		return false;
	if (b->params.direct_aligned)
		return !(b->params.offset & b->dio_offset_mask);
	return loop_backing_aligned(b);
}

/* What the device can offer depends on what is below. */
static void loop_backing_offer(struct loop_backing *b)
{
	struct block_device *bdev = loop_file_bdev(b->file);
	struct block_device *lower = loop_file_lower_bdev(b->file);

	b->write_cache = b->file->f_op->fsync && !b->params.read_only;
	b->honours_dsync = b->params.direct && loop_file_is_trusted(b->file);
	/* with direct I/O, the pages of the bio are those that go below */
	b->stable_writes = (b->params.direct || b->swap_out) &&
			   loop_file_wants_stable_pages(b->file);
	b->rotational = lower && blk_queue_rot(bdev_get_queue(lower));

	if (bdev) {
		b->max_discard_sectors = bdev_max_discard_sectors(bdev);
		b->discard_granularity = bdev_discard_granularity(bdev);
		/* zeroes must go everywhere, to the byte */
		if (loop_backing_aligned(b))
			b->max_write_zeroes_sectors =
						bdev_write_zeroes_sectors(bdev);
	} else if (b->file->f_op->fallocate) {
		b->max_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
		b->max_write_zeroes_sectors = UINT_MAX >> SECTOR_SHIFT;
		/* of the file that an overlay stands for */
		b->discard_granularity =
			i_blocksize(d_real_inode(b->file->f_path.dentry));
	}
}

/*
 * The file can be tried without waiting. Direct I/O goes on to the device below,
 * which refuses it if it cannot do that, and the file system counts it as an
 * error of the disk. Buffered tries take no more than what is cached.
 */
static bool loop_backing_can_inline(const struct loop_backing *b)
{
	struct block_device *lower = loop_file_lower_bdev(b->file);

	if (!(b->file->f_mode & FMODE_NOWAIT) ||
	    !loop_file_is_trusted(b->file) || loop_file_is_on_demand(b->file))
		return false;
	return !b->params.direct || !lower || bdev_nowait(lower);
}

/* Nor does it set the access time, for which a file system may wait. */
static bool loop_backing_can_read_inline(const struct loop_backing *b)
{
	return b->quiet_file || loop_file_bdev(b->file);
}

/* How bios can reach the file without a worker. */
static int loop_backing_shortcuts(struct loop_backing *b)
{
	struct file *file = b->file;
	int err;

	b->write_waits = b->params.direct && loop_file_forgets_async(file);
	if (loop_backing_can_inline(b)) {
		b->inline_read = loop_backing_can_read_inline(b);
		b->inline_write = b->params.direct ||
				  (file->f_op->fop_flags & FOP_BUFFER_WASYNC);
	} else if (!b->params.direct && loop_file_reads_cache(file)) {
		b->inline_cached = loop_backing_can_read_inline(b) &&
				   !loop_file_is_on_demand(file);
		b->inline_read = b->inline_cached;
	}
	if (b->swap_out) {
		err = mempool_init_slab_pool(&b->swap_pool, LOOP_SWAP_DEPTH,
					     loop_io_cache);
		if (err)
			return err;
	}
	if (!b->params.direct || !loop_file_bdev(file))
		return 0;
	b->clones = kzalloc_obj(*b->clones, GFP_KERNEL);
	if (!b->clones)
		return -ENOMEM;
	err = bioset_init(b->clones, LOOP_IO_RESERVE,
			  offsetof(struct loop_clone, bio),
			  BIOSET_PERCPU_CACHE);
	if (!err)
		b->clone_bdev = loop_file_bdev(file);
	return err;
}

/*
 * All that follows from the file and the parameters; the size only if it is to
 * follow the file. Sleeps on the file.
 */
static int loop_backing_complete(struct loop_backing *b, bool resize)
{
	struct kstat stat;
	int err;

	err = loop_backing_getattr(b, &stat);
	if (err)
		return err;
	b->dev = stat.dev;
	b->ino = stat.ino;
	if (resize)
		loop_backing_set_size(b, &stat);
	b->params.direct = b->params.direct && loop_backing_can_direct(b);
	b->swap_out = b->quiet_file && !b->params.read_only &&
		      loop_file_can_swap(b->file) &&
		      !((b->params.offset | PAGE_SIZE) & b->dio_offset_mask);
	loop_backing_offer(b);
	return loop_backing_shortcuts(b);
}

/* What was asked for, or may be expected, and is not so: LOOP_UNMET_*. */
static u32 loop_backing_unmet(const struct loop_backing *b)
{
	const struct loop_params *p = &b->params;
	u32 unmet = 0;

	if (READ_ONCE(p->direct_asked) && !p->direct)
		unmet |= (b->file->f_mode & FMODE_CAN_ODIRECT) &&
			 b->dio_offset_mask != UINT_MAX ?
			 LOOP_UNMET_DIRECT_ALIGN : LOOP_UNMET_DIRECT_IO;
	if (p->write_asked &&
	    (p->read_only || bdev_read_only(b->lo->disk->part0)))
		unmet |= LOOP_UNMET_WRITE;
	if (READ_ONCE(b->cut))
		unmet |= LOOP_UNMET_SIZELIMIT;
	/* the file may refuse it later, and the next backing's limit may be there */
	if (!data_race(bdev_max_discard_sectors(b->lo->disk->part0)))
		unmet |= LOOP_UNMET_DISCARD;
	if (!READ_ONCE(p->block_size_asked) && p->block_size > SECTOR_SIZE)
		unmet |= LOOP_UNMET_BLOCK_SIZE;
	return unmet;
}

#define LOOP_FEATURES (BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA | \
		       BLK_FEAT_ROTATIONAL | BLK_FEAT_STABLE_WRITES)

static blk_features_t loop_backing_features(const struct loop_backing *b)
{
	blk_features_t features = 0;

	if (b->write_cache)
		features |= BLK_FEAT_WRITE_CACHE;
	/* elsewhere it is a flush, and one of the submitter's serves many writes */
	if (b->write_cache && b->honours_dsync)
		features |= BLK_FEAT_FUA;
	if (b->rotational)
		features |= BLK_FEAT_ROTATIONAL;
	if (b->stable_writes)
		features |= BLK_FEAT_STABLE_WRITES;
	return features;
}

/* @lim is what the block layer starts a new device with. */
static void loop_limits_init(struct queue_limits *lim)
{
	lim->features = BLK_FEAT_NOWAIT | BLK_FEAT_IO_STAT;
	lim->logical_block_size = SECTOR_SIZE;
	lim->max_hw_sectors = LOOP_MAX_HW_SECTORS;
	/* without it, some kernels split what is larger than 1280 KiB */
	lim->max_user_sectors = LOOP_MAX_HW_SECTORS;
	lim->max_segments = USHRT_MAX;
	lim->max_segment_size = UINT_MAX;
}

/* A whole number of granules: the block layer takes nothing else from sysfs. */
static unsigned int loop_limits_discard_sectors(const struct loop_backing *b,
						unsigned int granularity)
{
	unsigned int sectors = b->max_discard_sectors;

	return rounddown(sectors, granularity >> SECTOR_SHIFT) ?: sectors;
}

/*
 * What the disk below likes best. A device that passes on its bios tells it as
 * dm-linear does, so that the same partitions and file systems are made on it.
 */
static void loop_limits_fill_lower(struct queue_limits *lim,
				   const struct loop_backing *b)
{
	struct block_device *lower = b->clone_bdev;
	unsigned int granule;
	u32 start;

	lim->physical_block_size = max(lim->logical_block_size,
				       bdev_physical_block_size(lower));
	lim->io_min = max(lim->physical_block_size, bdev_io_min(lower));
	lim->io_opt = rounddown(bdev_io_opt(lower), lim->physical_block_size);
	granule = lim->io_min;
	div_u64_rem(b->params.offset, granule, &start);
	lim->alignment_offset = (granule + bdev_alignment_offset(lower) - start) %
				granule % lim->physical_block_size;
}

/*
 * The queue limits of a device with backing @b in the place of @old, which is
 * NULL if there was none. While a file is attached, a feature that was set in
 * sysfs stays if @b and @old do not differ in it. All is as the block layer's
 * validation leaves it, so that limits that do not change are equal.
 */
static void loop_limits_fill(struct queue_limits *lim,
			     const struct loop_backing *old,
			     const struct loop_backing *b)
{
	unsigned int block_size = b->params.block_size;
	blk_features_t features = loop_backing_features(b);
	blk_features_t changed = LOOP_FEATURES;
	unsigned int granularity;

	if (old)
		changed = features ^ loop_backing_features(old);
	lim->features = (lim->features & ~changed) | (features & changed);

	lim->logical_block_size = block_size;
	lim->physical_block_size = block_size;
	lim->io_min = block_size;
	lim->io_opt = 0;
	lim->alignment_offset = 0;
	if (b->clone_bdev)
		loop_limits_fill_lower(lim, b);
	lim->max_write_zeroes_sectors = b->max_write_zeroes_sectors;
	granularity = max(b->discard_granularity, lim->physical_block_size);
	lim->max_hw_discard_sectors = loop_limits_discard_sectors(b, granularity);
	lim->max_discard_sectors = min(lim->max_hw_discard_sectors,
				       lim->max_user_discard_sectors);
	lim->discard_granularity = lim->max_discard_sectors ? granularity : 0;
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
		/* one that is being detached is no foundation */
		if (!b || READ_ONCE(below->state) != LOOP_STATE_BOUND)
			return -EINVAL;
		below = loop_file_lower_device(b->file);
	}
	return 0;
}

/* Whether @b would close a cycle of loop devices, or lies on one that ends. */
static int loop_backing_check_chain(struct loop_backing *b)
{
	guard(mutex)(&loop_chain_mutex);
	return loop_chain_check(b->lo, loop_file_lower_device(b->file));
}

/*
 * Ends the update of the queue limits, which are to be *@lim from now on.
 * NULL: they stay, and with them the read-ahead, which a commit may raise.
 */
static int loop_backing_replace(struct loop_device *lo, struct loop_backing *b,
				struct queue_limits *lim)
{
	struct request_queue *q = lo->disk->queue;
	int err = 0;

	if (lim)
		err = queue_limits_commit_update(q, lim);
	else
		queue_limits_cancel_update(q);
	if (!err)
		rcu_assign_pointer(lo->backing, b);
	return err;
}

/* The same, with a file that is a loop device or lies on one. */
static int loop_backing_replace_nested(struct loop_device *lo,
				       struct loop_backing *b,
				       struct queue_limits *lim)
{
	int err;

	guard(mutex)(&loop_chain_mutex);
	err = loop_chain_check(lo, loop_file_lower_device(b->file));
	if (!err)
		return loop_backing_replace(lo, b, lim);
	queue_limits_cancel_update(lo->disk->queue);
	return err;
}

/* The block layer looks at the limit only when it adds a disk or a partition. */
static void loop_disk_set_stable_pages(struct gendisk *disk, bool stable)
{
	struct address_space *mapping = disk->part0->bd_mapping;

	if (stable)
		mapping_set_stable_writes(mapping);
	else
		mapping_clear_stable_writes(mapping);
}

/*
 * Keeps new bios out, and waits until none is in flight. What is below may take
 * for ever: a killed task gives up, with -EINTR and the queue as it was.
 */
static int loop_queue_freeze(struct loop_device *lo)
{
	struct request_queue *q = lo->disk->queue;
	int err = 0;

	blk_freeze_queue_start(q);
	while (!err && !blk_mq_freeze_queue_wait_timeout(q, HZ / 10))
		err = fatal_signal_pending(current) ? -EINTR : 0;
	if (!err && wait_event_killable(lo->drained, loop_device_is_idle(lo)))
		err = -EINTR;
	if (err)
		blk_mq_unfreeze_queue_nomemrestore(q);
	return err;
}

/*
 * Publishes *@bp, and leaves in *@bp the backing that was in force, which no bio
 * uses any more; NULL if there was none. If it fails, nothing has changed.
 *
 * Nothing is allocated while the queue is frozen. A freeze costs a grace period,
 * so a device that had no backing, and so no bio, does without.
 */
static int loop_backing_publish(struct loop_device *lo,
				struct loop_backing **bp)
{
	struct request_queue *q = lo->disk->queue;
	struct loop_backing *old, *b = *bp;
	struct queue_limits lim, *new;
	bool nested;
	int err = 0;

	lockdep_assert_held(&lo->mutex);

	old = loop_device_backing(lo);
	/* the same file closes no cycle */
	nested = !(old && old->file == b->file) &&
		 loop_file_lower_device(b->file);

	lim = queue_limits_start_update(q);
	loop_limits_fill(&lim, old, b);
	new = memcmp(&lim, &q->limits, sizeof(lim)) ? &lim : NULL;
	if (old)
		err = loop_queue_freeze(lo);
	if (err) {
		queue_limits_cancel_update(q);
		return err;
	}
	err = nested ? loop_backing_replace_nested(lo, b, new) :
		       loop_backing_replace(lo, b, new);
	if (old)
		blk_mq_unfreeze_queue_nomemrestore(q);
	if (err)
		return err;
	set_disk_ro(lo->disk, b->params.read_only);
	loop_disk_set_stable_pages(lo->disk, b->stable_writes);
	*bp = old;
	return 0;
}

/*
 * Takes the backing away from a device that nobody has open, and returns it when
 * no bio uses it any more. The device is as it was when it was made: what users
 * have set in queue/ was about that file.
 */
static struct loop_backing *loop_backing_unpublish(struct loop_device *lo)
{
	struct loop_backing *b = loop_device_backing(lo);
	struct queue_limits lim = lo->unbound_limits;

	queue_limits_start_update(lo->disk->queue);
	/* never fails: these have been committed before */
	loop_backing_replace(lo, NULL, &lim);
	lo->disk->bdi->ra_pages = VM_READAHEAD_PAGES;
	set_disk_ro(lo->disk, false);
	loop_disk_set_stable_pages(lo->disk, false);
	wait_event(lo->drained, loop_device_is_idle(lo));
	return b;
}

/*
 * Groups
 */

static void loop_write_work(struct work_struct *work);

static void loop_group_init(struct loop_group *group, struct loop_device *lo,
			    unsigned int depth)
{
	group->lo = lo;
	sema_init(&group->room, depth);
	INIT_LIST_HEAD(&group->writes);
	INIT_WORK(&group->write_work, loop_write_work);
}

static struct loop_group *loop_group_find(struct loop_device *lo,
					  struct cgroup_subsys_state *blkcg)
{
	struct loop_group *group;

	lockdep_assert_held(&lo->group_lock);

	list_for_each_entry(group, &lo->groups, node) {
		if (group->blkcg == blkcg) {
			group->users++;
			return group;
		}
	}
	return NULL;
}

/* A group without bios that can go, to make room for another. */
static struct loop_group *loop_group_evict(struct loop_device *lo)
{
	struct loop_group *group;

	lockdep_assert_held(&lo->group_lock);

	if (lo->nr_groups < LOOP_IDLE_GROUPS)
		return NULL;
	list_for_each_entry(group, &lo->groups, node) {
		if (!group->users) {
			list_del(&group->node);
			lo->nr_groups--;
			return group;
		}
	}
	return NULL;
}

static struct loop_group *loop_group_new(struct loop_device *lo,
					 struct cgroup_subsys_state *blkcg)
{
	struct loop_group *group, *new, *idle = NULL;

	new = kzalloc_obj(*new, GFP_NOWAIT | __GFP_NOWARN);
	if (!new)
		return NULL;
	loop_group_init(new, lo, loop_queue_depth);
	new->blkcg = blkcg;
	new->users = 1;
	scoped_guard(spinlock_irqsave, &lo->group_lock) {
		group = loop_group_find(lo, blkcg);
		if (!group) {
			idle = loop_group_evict(lo);
			list_add(&new->node, &lo->groups);
			lo->nr_groups++;
		}
	}
	kfree(group ? new : idle);
	return group ?: new;
}

/*
 * The group of the bio's cgroup. A group stays when it has no bios; another cgroup
 * may then have it, if it comes to be where the first one was in memory. Without
 * memory for a group, the bio is the root's.
 */
static struct loop_group *loop_group_get(struct loop_device *lo, struct bio *bio)
{
	struct cgroup_subsys_state *blkcg = bio_blkcg_css(bio);
	struct loop_group *group;

	if (!blkcg || blkcg == blkcg_root_css)
		return &lo->root_group;
	scoped_guard(spinlock_irqsave, &lo->group_lock)
		group = loop_group_find(lo, blkcg);
	return group ?: loop_group_new(lo, blkcg) ?: &lo->root_group;
}

static void loop_group_put(struct loop_group *group)
{
	if (!group->blkcg)
		return;
	scoped_guard(spinlock_irqsave, &group->lo->group_lock)
		group->users--;
}

static void loop_groups_free(struct loop_device *lo)
{
	struct loop_group *group, *next;

	list_for_each_entry_safe(group, next, &lo->groups, node)
		kfree(group);
}

/*
 * Life of a bio
 *
 * loop_submit_bio() takes it one of three ways:
 *
 *   cloned  The backing is a block device with direct I/O: a clone of the bio
 *	     goes there.
 *   inline  The submitter itself reads or writes the file, with IOCB_NOWAIT.
 *	     Such a try may only succeed. If it would wait, fails or does a
 *	     part, a worker does what is left, and the worker's result counts.
 *   worker  All else. loop_io_path() has the reasons.
 */

static void loop_count(struct loop_device *lo, enum loop_stat stat)
{
	this_cpu_inc(lo->counters->stats[stat]);
}

static unsigned long loop_stat_read(struct loop_device *lo,
				    enum loop_stat stat)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(lo->counters, cpu)->stats[stat]);
	return sum;
}

static bool loop_io_is_write(const struct loop_io *io)
{
	return op_is_write(bio_op(io->bio));
}

/* Swapped out, and the file can do it in the way that takes little memory. */
static bool loop_bio_is_swap_out(const struct loop_backing *b,
				 const struct bio *bio)
{
	return (bio->bi_opf & REQ_SWAP) && b->swap_out &&
	       bio_op(bio) == REQ_OP_WRITE && !(bio->bi_opf & REQ_FUA);
}

/* Of a read: swapped in. */
static bool loop_bio_is_swap_in(struct bio *bio)
{
	return folio_test_swapcache(page_folio(bio_page(bio)));
}

/*
 * What is swapped out has a reserve of its own: those who have the others may be
 * waiting for the memory that it frees.
 */
static mempool_t *loop_bio_pool(struct loop_backing *b, const struct bio *bio)
{
	return loop_bio_is_swap_out(b, bio) ? &b->swap_pool : &b->lo->io_pool;
}

/*
 * At most hw_queue_depth bios of a group are in flight; one more waits for its turn
 * here, or is refused if it must not wait. The bound is a group's, not the
 * device's, so that a throttled cgroup does not hold up the others.
 */
static struct loop_group *loop_bio_enter(struct loop_backing *b, struct bio *bio)
{
	struct loop_group *group = loop_bio_is_swap_out(b, bio) ?
				   &b->lo->swap_group :
				   loop_group_get(b->lo, bio);

	if (!(bio->bi_opf & REQ_NOWAIT)) {
		down(&group->room);
	} else if (down_trylock(&group->room)) {
		loop_group_put(group);
		return NULL;
	}
	return group;
}

static void loop_bio_leave(struct loop_group *group)
{
	up(&group->room);
	loop_group_put(group);
}

/*
 * The reserve is filled up first: there may be somebody waiting for it. KASAN
 * sees a use after free only of what has been given back.
 */
static void loop_io_release(mempool_t *pool, struct loop_io *io)
{
	if (!IS_ENABLED(CONFIG_KASAN) &&
	    READ_ONCE(pool->curr_nr) == pool->min_nr)
		io = this_cpu_xchg(loop_io_spare, io);
	if (io)
		mempool_free(io, pool);
}

/* What the object has, but its reference on the backing. */
static void loop_io_free(struct loop_io *io)
{
	loop_bio_leave(io->group);
	if (io->has_clone)
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

/* The words of the block layer's request code, which tools look for. */
static const char * const loop_status_names[] = {
	[BLK_STS_NOTSUPP]		= "operation not supported",
	[BLK_STS_TIMEOUT]		= "timeout",
	[BLK_STS_NOSPC]			= "critical space allocation",
	[BLK_STS_TRANSPORT]		= "recoverable transport",
	[BLK_STS_TARGET]		= "critical target",
	[BLK_STS_RESV_CONFLICT]		= "reservation conflict",
	[BLK_STS_MEDIUM]		= "critical medium",
	[BLK_STS_PROTECTION]		= "protection",
	[BLK_STS_RESOURCE]		= "kernel resource",
	[BLK_STS_DEV_RESOURCE]		= "device resource",
	[BLK_STS_OFFLINE]		= "device offline",
	[BLK_STS_INVAL]			= "invalid",
};

/*
 * Logs a bio that fails, in the form that the block layer has for requests. An
 * error that the submitter expects is not worth a line: it reads ahead, does
 * not want to wait, or has said that the bio is to be quiet.
 */
static void loop_bio_log_error(struct loop_device *lo, struct bio *bio,
			       sector_t sector, blk_status_t status)
{
	unsigned int nr = (__force unsigned int)status;
	const char *name = NULL;
	struct bvec_iter pos;
	struct bio_vec bvec;
	unsigned int nr_segments = 0;

	if (status == BLK_STS_AGAIN || (bio->bi_opf & REQ_RAHEAD) ||
	    bio_flagged(bio, BIO_QUIET) || !__ratelimit(&lo->error_limit))
		return;
	if (nr < ARRAY_SIZE(loop_status_names))
		name = loop_status_names[nr];
	if (bio_has_data(bio))
		bio_for_each_bvec(bvec, bio, pos)
			nr_segments++;
	pr_err("%s error, dev %s, sector %llu op 0x%x:(%s) flags 0x%x phys_seg %u prio class %u\n",
	       name ?: "I/O", lo->disk->disk_name, sector, bio_op(bio),
	       blk_op_str(bio_op(bio)),
	       (__force u32)(bio->bi_opf & ~REQ_OP_MASK), nr_segments,
	       IOPRIO_PRIO_CLASS(bio->bi_ioprio));
}

/*
 * What the file does not do is told once for each operation and backing, and
 * from then on the device does not offer it.
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
	/* a task that waits for it then finds all that was read in the cache */
	loop_bio_count_end(lo);
}

/* Direct I/O takes the place, and what is left of the bio. */
static bool loop_io_place_aligned(const struct loop_io *io)
{
	return !((io->pos | io->bio->bi_iter.bi_size) & io->b->dio_offset_mask);
}

/* The same, and the bio's memory. */
static bool loop_io_aligned(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;
	struct bio_vec bvec;
	struct bvec_iter pos;

	if (!loop_io_place_aligned(io))
		return false;
	/* dma_alignment, in the limits, has every bio's memory whole sectors */
	if (b->dio_mem_mask < SECTOR_SIZE || !bio_has_data(io->bio))
		return true;
	bio_for_each_bvec(bvec, io->bio, pos)
		if ((bvec.bv_offset | bvec.bv_len) & b->dio_mem_mask)
			return false;
	return true;
}

/* A worker does it past the page cache. */
static bool loop_io_is_direct(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;

	if (io->buffered || !loop_io_aligned(io))
		return false;
	/* whose pages are those of the swap cache */
	return b->params.direct || loop_bio_is_swap_out(b, io->bio) ||
	       (b->swap_out && !loop_io_is_write(io) &&
		loop_bio_is_swap_in(io->bio));
}

static void loop_io_work(struct work_struct *work);
static void loop_swap_work(struct work_struct *work);

static void loop_io_queue_work(struct loop_io *io)
{
	INIT_WORK(&io->work, loop_io_work);
	queue_work(io->b->lo->workqueue, &io->work);
}

/*
 * The bio is for a worker: one of many, or the one for writes. In any context.
 */
static void loop_io_queue(struct loop_io *io)
{
	struct loop_group *group = io->group;
	struct loop_device *lo = io->b->lo;

	if (group == &lo->swap_group) {
		INIT_WORK(&io->work, loop_swap_work);
		queue_work(loop_swap_workqueue, &io->work);
		return;
	}
	if (bio_op(io->bio) != REQ_OP_WRITE) {
		loop_io_queue_work(io);
		return;
	}
	scoped_guard(spinlock_irqsave, &lo->group_lock) {
		list_add_tail(&io->node, &group->writes);
		/* once unlocked, the bio may be done and the device gone */
		if (queue_work(lo->workqueue, &group->write_work))
			group->users++;
	}
}

/* In any context, as a write with FUA that has ended is followed by a flush. */
static void loop_flush_queue(struct loop_io *io)
{
	struct loop_backing *b = io->b;

	loop_count(b->lo, LOOP_STAT_FLUSH);
	scoped_guard(spinlock_irqsave, &b->flush_lock) {
		list_add_tail(&io->node, &b->flush_list);
		/* once unlocked, the bio may be done and the backing gone */
		queue_work(b->lo->flush_queue, &b->flush_work);
	}
}

/* All of the bio is transferred. */
static void loop_io_finish(struct loop_io *io)
{
	if (unlikely(io->unsynced))
		loop_flush_queue(io);
	else
		loop_io_end(io, BLK_STS_OK);
}

/*
 * Reads and writes of the file
 */

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
	iov_iter_bvec(iter, loop_io_is_write(io) ? ITER_SOURCE : ITER_DEST,
		      first, nr, bio->bi_iter.bi_size);
	iter->iov_offset = mp_bvec_iter_offset(bio->bi_io_vec, bio->bi_iter) -
			   first->bv_offset;
}

/*
 * For tests: what a try may come to, at random. It has transferred something,
 * and to transfer it again does no harm. The bio must not notice.
 */
static unsigned int loop_inject;
static DEFINE_STATIC_KEY_FALSE(loop_inject_key);

static long loop_io_inject(const struct loop_io *io)
{
	long result = io->ret;

	if (result <= 0 || get_random_u32_below(1000) >= loop_inject)
		return result;
	switch (get_random_u32_below(4)) {
	case 0:
		return io->inlined ? -EAGAIN : result;
	case 1:
		return io->inlined ? -EIO : result;
	case 2:
		return io->iocb.ki_flags & IOCB_DIRECT ? -EINVAL : result;
	default:
		return get_random_u32_inclusive(1, result);
	}
}

/* The page cache of the file has something of these bytes. */
static bool loop_backing_cached(const struct loop_backing *b, loff_t pos,
				unsigned int len)
{
	struct address_space *mapping = b->file->f_mapping;

	if (likely(!READ_ONCE(mapping->nrpages)))
		return false;
	return len && filemap_range_has_page(mapping, pos, pos + len - 1);
}

/*
 * The next @len bytes were written past the page cache of a block device, and
 * something of them is in there: read during the write, it may be older. Unlike
 * a file system, a block device leaves it there.
 */
static bool loop_io_leaves_stale(const struct loop_io *io, unsigned int len)
{
	return loop_io_is_write(io) && io->b->clone_bdev &&
	       loop_backing_cached(io->b, io->pos, len);
}

/* What is stale is for a worker: to invalidate it takes a task. */
static void loop_io_move_on(struct loop_io *io, unsigned int len, bool stale)
{
	/* not always whole sectors: bi_sector is of no use from now */
	bio_advance(io->bio, len);
	io->pos += len;
	io->stale = stale ? len : 0;
}

/*
 * A try that would wait costs little, but more than none. So each in a row has
 * more of the next ones left out; not for long, as the cause may pass at any time.
 * Races lose a count, which does no harm.
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

/*
 * One of the devices below, of which a file system may have several, does no
 * direct I/O without waiting. Only that of the superblock was asked before.
 */
static void loop_backing_stop_inline(struct loop_backing *b)
{
	WRITE_ONCE(b->inline_read, false);
	WRITE_ONCE(b->inline_write, false);
}

/*
 * What a try has transferred is done; true: that was all, and the bio has
 * ended, or a flush ends it. A worker's try fails the bio if it moves nothing,
 * but for direct I/O that the file refuses: that is tried again buffered.
 */
static bool loop_io_advance(struct loop_io *io)
{
	struct loop_device *lo = io->b->lo;
	bool direct = io->iocb.ki_flags & IOCB_DIRECT;
	bool write = loop_io_is_write(io);
	struct bio *bio = io->bio;
	long ret = io->ret;

	if (static_branch_unlikely(&loop_inject_key))
		ret = loop_io_inject(io);
	if (write && S_ISREG(file_inode(io->iocb.ki_filp)->i_mode))
		kiocb_end_write(&io->iocb);

	if (ret > 0) {
		loop_io_move_on(io, ret, direct && loop_io_leaves_stale(io, ret));
		if (unlikely(io->stale))
			return false;
		if (!bio->bi_iter.bi_size) {
			if (io->inlined)
				loop_backoff_end(&io->b->backoff[write]);
			loop_io_finish(io);
			return true;
		}
	} else if (ret == -EOPNOTSUPP && direct && io->inlined) {
		loop_backing_stop_inline(io->b);
	} else if (ret == -EINVAL && direct) {
		loop_count(lo, LOOP_STAT_BUFFERED);
		io->buffered = true;
	} else if (!io->inlined) {
		loop_io_end(io, errno_to_blk_status(ret ?: -EIO));
		return true;
	}

	if (io->inlined) {
		loop_backoff_start(&io->b->backoff[write]);
		loop_count(lo, ret > 0 ? LOOP_STAT_RETRY_SHORT :
			       ret != -EAGAIN ? LOOP_STAT_RETRY_ERROR :
			       io->late ? LOOP_STAT_RETRY_LATE :
					  LOOP_STAT_RETRY_AGAIN);
	}
	return false;
}

static void loop_io_complete(struct kiocb *iocb, long ret)
{
	struct loop_io *io = container_of(iocb, struct loop_io, iocb);

	io->ret = ret;
	io->late = true;
	if (refcount_dec_and_test(&io->ref) && !loop_io_advance(io))
		loop_io_queue(io);
}

/* Reads go by the quiet file, if there is one, and writes by the file itself. */
static struct file *loop_io_file(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;

	return loop_io_is_write(io) ? b->file : b->quiet_file ?: b->file;
}

/*
 * One try. False: it is under way, and its completion goes on with the bio.
 * True: io->ret is the result, and the caller goes on.
 */
static bool loop_io_try(struct loop_io *io, int flags)
{
	struct file *file = loop_io_file(io);
	struct kiocb *iocb = &io->iocb;
	struct iov_iter iter;
	ssize_t ret;

	refcount_set(&io->ref, 2);
	io->late = false;
	loop_io_iter(io, &iter);
	*iocb = (struct kiocb) {
		.ki_filp	= file,
		.ki_pos		= io->pos,
		.ki_flags	= flags,
		.ki_ioprio	= io->bio->bi_ioprio,
	};
	if (!(loop_io_is_write(io) && io->b->write_waits))
		iocb->ki_complete = loop_io_complete;

	if (loop_io_is_write(io)) {
		iocb->ki_flags |= IOCB_WRITE;
		if (io->bio->bi_opf & REQ_FUA) {
			if (io->b->honours_dsync && (flags & IOCB_DIRECT))
				iocb->ki_flags |= IOCB_DSYNC;
			else
				io->unsynced = true;
		}
		ret = file->f_op->write_iter(iocb, &iter);
	} else if (io->inlined && io->b->inline_cached) {
		ret = filemap_read(iocb, &iter, 0);
	} else {
		ret = file->f_op->read_iter(iocb, &iter);
	}
	if (ret != -EIOCBQUEUED) {
		io->ret = ret;
		return true;
	}
	return refcount_dec_and_test(&io->ref);
}

/*
 * The blocks have all been written once, and the file has nothing to be written
 * back: to write them again takes no transaction. May have to read where they are.
 */
static bool loop_io_overwrites(const struct loop_io *io)
{
	struct inode *inode = file_inode(io->b->file);
	loff_t last = io->pos + io->bio->bi_iter.bi_size - 1;
	sector_t i, block;

	if (mapping_tagged(inode->i_mapping, PAGECACHE_TAG_DIRTY))
		return false;
	for (i = io->pos >> inode->i_blkbits; i <= last >> inode->i_blkbits; i++) {
		block = i;
		if (bmap(inode, &block) || !block)
			return false;
	}
	return true;
}

static ssize_t loop_io_write_swap(struct loop_io *io)
{
	struct iov_iter iter;

	loop_io_iter(io, &iter);
	init_sync_kiocb(&io->iocb, io->b->quiet_file);
	io->iocb.ki_pos = io->pos;
	io->iocb.ki_flags |= IOCB_DIRECT | IOCB_WRITE;
	io->iocb.ki_ioprio = io->bio->bi_ioprio;
	return io->b->quiet_file->f_op->write_iter(&io->iocb, &iter);
}

static void loop_io_start_write(struct loop_io *io)
{
	io->iocb.ki_filp = io->b->file;
	if (S_ISREG(file_inode(io->b->file)->i_mode))
		kiocb_start_write(&io->iocb);
}

/*
 * A try that waits until it is done, with what it takes allocated from the
 * reserves: it frees memory. What does more than to write blocks again is for
 * other workers: the kernel warns of a transaction that is started with the
 * reserves at hand, and of a worker with a rescuer that waits for one without.
 */
static void loop_io_swap_out(struct loop_io *io)
{
	unsigned int noreclaim = memalloc_noreclaim_save();
	bool overwrites = !io->buffered && loop_io_aligned(io) &&
			  loop_io_overwrites(io);

	if (overwrites) {
		loop_io_start_write(io);
		io->ret = loop_io_write_swap(io);
	}
	memalloc_noreclaim_restore(noreclaim);
	if (!overwrites) {
		loop_io_queue_work(io);
		return;
	}
	/* they are used up: wait, then */
	if (io->ret == -ENOMEM)
		io->ret = loop_io_write_swap(io);
	if (!loop_io_advance(io))
		loop_io_queue(io);
}

/* The device takes it from other memory than the bio's. */
static bool loop_io_can_bounce(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;

	return b->clone_bdev && !io->buffered && !loop_io_aligned(io) &&
	       loop_io_place_aligned(io) &&
	       !(PAGE_SIZE & (b->dio_offset_mask | b->dio_mem_mask));
}

/*
 * Direct I/O on a block device by way of a page, and no more than that. The page
 * cache would read what is beside a block that is written, and write it once
 * more, while a clone of another bio may have changed it.
 */
static bool loop_io_bounce(struct loop_io *io)
{
	unsigned int len = min_t(unsigned int, io->bio->bi_iter.bi_size,
				 PAGE_SIZE);
	struct page *page = alloc_page(GFP_NOIO);
	bool write = loop_io_is_write(io);
	struct iov_iter data, iter;
	struct bio_vec bvec;

	if (!page)
		return false;
	loop_io_iter(io, &data);
	bvec_set_page(&bvec, page, len, 0);
	iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, &bvec, 1, len);
	init_sync_kiocb(&io->iocb, io->b->file);
	io->iocb.ki_pos = io->pos;
	io->iocb.ki_flags |= IOCB_DIRECT;
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
	if (!loop_io_advance(io))
		loop_io_queue(io);
	return true;
}

/*
 * Has the range filled that the bio is about. Whoever fills it may write to the
 * file system, which therefore must not be kept from freezing yet. False: it
 * cannot be had, and the bio has ended.
 */
static bool loop_io_demand(struct loop_io *io)
{
	int err = rw_verify_area(loop_io_is_write(io) ? WRITE : READ,
				 io->b->file, &io->pos,
				 io->bio->bi_iter.bi_size);

	if (err)
		loop_io_end(io, errno_to_blk_status(err));
	return !err;
}

/* Waits until the page cache has the next byte; false: it does not read it now. */
static bool loop_io_wait_page(const struct loop_io *io)
{
	struct folio *folio = filemap_get_folio(io->b->file->f_mapping,
						io->pos >> PAGE_SHIFT);
	bool locked;

	if (IS_ERR(folio))
		return false;
	locked = folio_test_locked(folio);
	folio_wait_locked(folio);
	folio_put(folio);
	return locked;
}

/*
 * A file system may hold a lock of the file while it waits for a page, and a write
 * by a cgroup whose I/O is not throttled may need it. So a worker starts to read
 * the page, waits for it without that lock, and reads what is cached then.
 */
static bool loop_io_read_buffered(struct loop_io *io)
{
	bool done;

	if (!io->b->quiet_file)
		return loop_io_try(io, 0);
	done = loop_io_try(io, IOCB_NOWAIT);
	if (done && io->ret == -EAGAIN && loop_io_wait_page(io))
		done = loop_io_try(io, IOCB_NOWAIT);
	if (done && io->ret == -EAGAIN)
		done = loop_io_try(io, 0);
	return done;
}

static bool loop_io_try_waiting(struct loop_io *io)
{
	if (loop_io_is_direct(io))
		return loop_io_try(io, IOCB_DIRECT);
	if (loop_io_is_write(io))
		return loop_io_try(io, 0);
	return loop_io_read_buffered(io);
}

/* The memory cgroup of the bio's own cgroup, with a reference; NULL: the root. */
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
 * By a worker, which may wait. The cgroup pays for pages of the file. It does not
 * for what the file system needs to do direct I/O: its task may be waiting for
 * just that to free memory.
 */
static void loop_io_rw(struct loop_io *io)
{
	struct cgroup_subsys_state *css = NULL;
	struct file *file = io->b->file;
	struct mem_cgroup *memcg;
	bool done;

	io->inlined = false;
	if (loop_file_is_on_demand(file) && !loop_io_demand(io))
		return;
	if (unlikely(loop_io_can_bounce(io)) && loop_io_bounce(io))
		return;
	if (loop_io_is_write(io)) {
		loop_io_start_write(io);
	} else {
		/* not all file systems do it for direct I/O */
		file_accessed(file);
		WRITE_ONCE(io->b->noted, jiffies);
	}
	if (!loop_io_is_direct(io))
		css = loop_bio_memcg(io->bio);
	memcg = set_active_memcg(mem_cgroup_from_css(css));
	done = loop_io_try_waiting(io);
	set_active_memcg(memcg);
	/* a cgroup that is full, and has nothing that can be freed */
	if (done && io->ret == -ENOMEM && css)
		done = loop_io_try_waiting(io);
	if (css)
		css_put(css);
	if (done && !loop_io_advance(io))
		loop_io_queue(io);
}

/* As kiocb_start_write(), but it does not wait while @file's system is frozen. */
static bool loop_file_start_write_trylock(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (!S_ISREG(inode->i_mode))
		return true;
	if (!sb_start_write_trylock(inode->i_sb))
		return false;
	/* whoever completes the write releases it */
	__sb_writers_release(inode->i_sb, SB_FREEZE_WRITE);
	return true;
}

/*
 * By the submitter: true if the bio is taken care of. The file system below
 * must neither start I/O to make room for itself, nor have its own bios parked
 * behind those of the submitter's submit_bio(), for which it may wait.
 * Reads take no more than what is cached of the page cache, also direct ones that
 * the file system does by way of it: to start reading into it is for the workers.
 */
static bool loop_io_inline(struct loop_io *io)
{
	struct bio_list *parked = current->bio_list;
	unsigned int noio;
	bool done;
	int flags;

	if (loop_io_is_write(io) && !loop_file_start_write_trylock(io->b->file)) {
		loop_count(io->b->lo, LOOP_STAT_RETRY_FROZEN);
		return false;
	}
	flags = IOCB_NOWAIT;
	if (io->b->params.direct)
		flags |= IOCB_DIRECT;
	if (!loop_io_is_write(io))
		flags |= IOCB_NOIO;

	io->inlined = true;
	noio = memalloc_noio_save();
	current->bio_list = NULL;
	done = !loop_io_try(io, flags);
	current->bio_list = parked;
	memalloc_noio_restore(noio);
	return done || loop_io_advance(io);
}

/* I/O for the bio's cgroup is what the task would do anyway. */
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
 * Metadata is read under locks of the file system above, of the same class as
 * those below. Not all of it is marked: what goes into the cache of a block device,
 * this one or one that lies on it, is metadata as well, as buffer heads are. What
 * is swapped in is read in a page fault, which has the memory map locked: a file
 * system may do that under locks of its own.
 */
static enum loop_stat loop_bio_path_read(struct bio *bio)
{
	struct folio *folio = page_folio(bio_page(bio));
	struct address_space *mapping;

	if (folio_test_swapcache(folio))
		return LOOP_STAT_WORKER_SWAP;
	/* what direct I/O reads into may be cut off its file meanwhile */
	guard(rcu)();
	mapping = folio_mapping(folio);
	return mapping && mapping->host && S_ISBLK(mapping->host->i_mode) ?
	       LOOP_STAT_WORKER_META : LOOP_STAT_INLINE;
}

/*
 * Reads through the quiet file are noted nowhere: once a second, one is left to a
 * worker, if the file's access time is kept at all.
 */
static bool loop_backing_read_is_due(const struct loop_backing *b)
{
	struct inode *inode = file_inode(b->file);

	if (!b->quiet_file || time_before(jiffies, READ_ONCE(b->noted) + HZ))
		return false;
	return !(b->file->f_flags & O_NOATIME) && !IS_NOATIME(inode) &&
	       !(inode->i_flags & S_NOATIME) &&
	       !(b->file->f_path.mnt->mnt_flags & (MNT_NOATIME | MNT_READONLY));
}

/* Loop devices on files on loop devices: each is a recursion. */
static bool loop_stack_is_low(void)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	return here - (unsigned long)task_stack_page(current) <
	       THREAD_SIZE / 2;
}

/* Whether the submitter may try a read or write itself, and if not, why. */
static enum loop_stat loop_io_path_rw(const struct loop_io *io)
{
	const struct loop_backing *b = io->b;
	struct bio *bio = io->bio;
	bool write = loop_io_is_write(io);
	enum loop_stat stat;

	if (loop_bio_is_swap_out(io->b, io->bio))
		return LOOP_STAT_WORKER_SWAP;
	if (b->params.direct && !loop_io_aligned(io))
		return LOOP_STAT_WORKER_ALIGN;
	if (!READ_ONCE(*(write ? &b->inline_write : &b->inline_read)))
		return LOOP_STAT_WORKER_FILE;
	if (!READ_ONCE(loop_inline))
		return LOOP_STAT_WORKER_OFF;
	/* a file system that is full syncs itself, and may wait for its workers */
	if (write && !b->params.direct && (current->flags & PF_WQ_WORKER))
		return LOOP_STAT_WORKER_KWORKER;
	/* PF_MEMALLOC_NOFS is none: every readahead and much of writeback has it */
	if (current->journal_info)
		return LOOP_STAT_WORKER_TRANSACTION;
	if (bio->bi_opf & REQ_META)
		return LOOP_STAT_WORKER_META;
	if (!write) {
		stat = loop_bio_path_read(bio);
		if (stat != LOOP_STAT_INLINE)
			return stat;
	}
	if (current->flags & PF_MEMALLOC)
		return LOOP_STAT_WORKER_RECLAIM;
	if (!bio_list_empty(&current->bio_list[0]) ||
	    !bio_list_empty(&current->bio_list[1]))
		return LOOP_STAT_WORKER_PARKED;
	if (write && rlimit(RLIMIT_FSIZE) != RLIM_INFINITY)
		return LOOP_STAT_WORKER_RLIMIT;
	if (!write && loop_backing_read_is_due(b))
		return LOOP_STAT_WORKER_ATIME;
	if (!loop_bio_cgroup_is_own(bio))
		return LOOP_STAT_WORKER_CGROUP;
	if (loop_stack_is_low())
		return LOOP_STAT_WORKER_STACK;
	if (loop_backoff_skip(&io->b->backoff[write]))
		return LOOP_STAT_WORKER_BACKOFF;
	return LOOP_STAT_INLINE;
}

/*
 * Clones
 */

/*
 * The page cache of the block device below has something of what the bio is
 * about: of its range or, for a flush, something that is not written, or could
 * not be. The file's own read, write and fsync keep the two the same.
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
	if (loop_io_cached(io))
		return false;
	if ((io->bio->bi_opf & REQ_NOWAIT) && !bdev_nowait(io->b->clone_bdev))
		return false;
	return loop_io_aligned(io);
}

/*
 * The result below is the bio's, but for two things that need a task: to
 * invalidate what was read into the cache during a write, and to discard or zero
 * by way of the file if that failed. A device may learn from the error that it
 * cannot: then there are other means, or it is not offered any more.
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
		loop_io_move_on(io, len, true);
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
	clone->bi_private = io;
	clone->bi_end_io = loop_clone_end;
	submit_bio_noacct(clone);
}

/*
 * Discards and zeroes, by a worker
 */

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
	/* not supported any more: no error there, but one here */
	if (!err && !bdev_max_discard_sectors(bdev))
		err = -EOPNOTSUPP;
	return err;
}

/*
 * vfs_fallocate(), but for a file that may only be appended to. That is a rule
 * for those who open the file. The device overwrites what is there, and so it
 * may zero it.
 */
static int loop_file_fallocate(struct file *file, int mode, loff_t pos,
			       loff_t len)
{
	struct inode *inode = file_inode(file);
	int err;

	if (!IS_APPEND(inode) || loop_file_is_on_demand(file))
		return vfs_fallocate(file, mode, pos, len);
	if (IS_IMMUTABLE(inode))
		return -EPERM;
	if (IS_SWAPFILE(inode))
		return -ETXTBSY;
	if (len > inode->i_sb->s_maxbytes - pos)
		return -EFBIG;
	if (!file->f_op->fallocate)
		return -EOPNOTSUPP;
	file_start_write(file);
	err = file->f_op->fallocate(file, mode, pos, len);
	if (!err)
		fsnotify_modify(file);
	file_end_write(file);
	return err;
}

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

	if (bdev && pos + len > bdev_nr_bytes(bdev))
		err = -EIO; /* it has become smaller */
	else if (op == REQ_OP_DISCARD && bdev)
		err = loop_io_discard_bdev(bdev, pos, len);
	else
		err = loop_file_fallocate(io->b->file, mode, pos, len);

	if (err == -EOPNOTSUPP) {
		loop_count(io->b->lo, LOOP_STAT_UNMAP_REFUSED);
		if (op == REQ_OP_DISCARD)
			blk_queue_disable_discard(q);
		else
			blk_queue_disable_write_zeroes(q);
	}
	loop_io_end(io, errno_to_blk_status(err));
}

/*
 * Workers
 */

static void loop_io_invalidate(struct loop_io *io)
{
	invalidate_inode_pages2_range(io->b->file->f_mapping,
				      (io->pos - io->stale) >> PAGE_SHIFT,
				      (io->pos - 1) >> PAGE_SHIFT);
	io->stale = 0;
}

static void loop_io_issue(struct loop_io *io)
{
	if (io->stale)
		loop_io_invalidate(io);
	if (!io->bio->bi_iter.bi_size) {
		loop_io_finish(io);
		return;
	}
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
 * A worker acts for the bio's cgroup, allocates without I/O, and is throttled as a
 * writer to the lower device only.
 */
static void loop_io_run(struct loop_io *io, void (*run)(struct loop_io *io))
{
	struct cgroup_subsys_state *blkcg = bio_blkcg_css(io->bio);
	unsigned int throttle = current->flags & PF_LOCAL_THROTTLE;
	unsigned int noio = memalloc_noio_save();

	current->flags |= PF_LOCAL_THROTTLE;
	kthread_associate_blkcg(blkcg == blkcg_root_css ? NULL : blkcg);
	run(io);
	kthread_associate_blkcg(NULL);
	current_restore_flags(throttle, PF_LOCAL_THROTTLE);
	memalloc_noio_restore(noio);
}

static void loop_io_work(struct work_struct *work)
{
	loop_io_run(container_of(work, struct loop_io, work), loop_io_issue);
}

static void loop_swap_work(struct work_struct *work)
{
	loop_io_run(container_of(work, struct loop_io, work), loop_io_swap_out);
}

/* The next write; NULL: there is none, and the group may be gone. */
static struct loop_io *loop_group_next_write(struct loop_group *group)
{
	struct loop_io *io;

	scoped_guard(spinlock_irqsave, &group->lo->group_lock) {
		io = list_first_entry_or_null(&group->writes, struct loop_io,
					      node);
		if (io)
			list_del(&io->node);
		else
			group->users--;
	}
	return io;
}

static void loop_write_work(struct work_struct *work)
{
	struct loop_group *group = container_of(work, struct loop_group,
						write_work);
	struct loop_io *io;

	while ((io = loop_group_next_write(group))) {
		loop_io_run(io, loop_io_issue);
		cond_resched();
	}
}

/*
 * Flushes
 */

static void loop_io_flushed(struct loop_io *io, int err)
{
	if (io->bio->bi_iter.bi_size && !err)
		loop_io_queue(io);
	else
		loop_io_end(io, errno_to_blk_status(err));
}

/*
 * One fsync serves all flushes that were waiting when it started. The backing
 * is not freed before this has returned.
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
		err = vfs_fsync(b->file, 1);
		if (trace_loop_flush_enabled())
			trace_loop_flush(b->lo->number,
					 list_count_nodes(&served), err);
	}
	list_for_each_entry_safe(io, next, &served, node)
		loop_io_flushed(io, err);
	memalloc_noio_restore(noio);
}

/*
 * Submission
 */

/* The block layer checked against the capacity of a moment ago. */
static bool loop_bio_allowed(const struct loop_backing *b, struct bio *bio)
{
	if (op_is_write(bio_op(bio)) && b->params.read_only &&
	    bio->bi_iter.bi_size)
		return false;
	return !bio->bi_iter.bi_size ||
	       bio_end_sector(bio) <= atomic64_read(&b->nr_sectors);
}

static enum loop_stat loop_io_path(const struct loop_io *io)
{
	if (io->has_clone && loop_io_can_clone(io))
		return LOOP_STAT_CLONED;
	if (io->bio->bi_opf & REQ_PREFLUSH)
		return LOOP_STAT_WORKER_FLUSH;
	if (!bio_has_data(io->bio))
		return LOOP_STAT_WORKER_OP;
	return loop_io_path_rw(io);
}

static void loop_io_to_worker(struct loop_io *io)
{
	struct bio *bio = io->bio;

	/* who first writes to a file is whose cgroup is charged for writeback */
	if (bio_op(bio) == REQ_OP_WRITE && !io->b->params.direct &&
	    !loop_bio_is_swap_out(io->b, bio))
		inode_attach_wb(loop_file_inode(io->b->file), NULL);
	/* what is stale has been written */
	if ((bio->bi_opf & REQ_PREFLUSH) && !io->stale)
		loop_flush_queue(io);
	else if (bio->bi_iter.bi_size || io->stale)
		loop_io_queue(io);
	else
		loop_io_end(io, BLK_STS_OK);
}

/* Memory for the bio's object; NULL if there is none, and REQ_NOWAIT. */
static struct loop_io *loop_io_alloc(struct loop_backing *b, struct bio *bio)
{
	gfp_t gfp = bio->bi_opf & REQ_NOWAIT ? GFP_NOWAIT : GFP_NOIO;
	struct bio *clone;

	if (!b->clone_bdev)
		return this_cpu_xchg(loop_io_spare, NULL) ?:
		       mempool_alloc(loop_bio_pool(b, bio), gfp);
	/* its device is set later, for the right cgroup */
	clone = bio_alloc_clone(NULL, bio, gfp, b->clones);
	return clone ? &container_of(clone, struct loop_clone, bio)->io : NULL;
}

/*
 * The bio's object, with a reference on the backing in force; NULL if there is
 * nothing to do; or an error.
 */
static struct loop_io *loop_io_start(struct bio *bio)
{
	struct loop_device *lo = bio->bi_bdev->bd_disk->private_data;
	struct loop_backing *b = loop_backing_get(lo);
	struct loop_group *group;
	struct loop_io *io = NULL;

	/* without data, it is a flush while the device is being bound */
	if (!b)
		return bio->bi_iter.bi_size ? ERR_PTR(-EIO) : NULL;
	if (!loop_bio_allowed(b, bio)) {
		loop_bio_count_end(lo);
		return ERR_PTR(-EIO);
	}
	group = loop_bio_enter(b, bio);
	if (group) {
		io = loop_io_alloc(b, bio);
		if (!io)
			loop_bio_leave(group);
	}
	if (!io) {
		loop_bio_count_end(lo);
		return ERR_PTR(-EAGAIN);
	}
	io->bio = bio;
	io->b = b;
	io->group = group;
	io->has_clone = b->clone_bdev;
	io->inlined = false;
	io->buffered = false;
	io->late = false;
	io->unsynced = false;
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

/* It has no object yet. */
static void loop_bio_fail(struct bio *bio, int err)
{
	if (err == -EAGAIN) {
		bio_wouldblock_error(bio);
		return;
	}
	loop_bio_log_error(bio->bi_bdev->bd_disk->private_data, bio,
			   bio->bi_iter.bi_sector, errno_to_blk_status(err));
	bio_io_error(bio);
}

static void loop_submit_bio(struct bio *bio)
{
	struct loop_io *io;
	enum loop_stat path;

	bio = bio_split_to_limits(bio);
	if (!bio)
		return;
	io = loop_io_start(bio);
	if (IS_ERR(io)) {
		loop_bio_fail(bio, PTR_ERR(io));
		return;
	}
	if (!io) {
		bio_endio(bio);
		return;
	}

	path = loop_io_path(io);
	loop_count(io->b->lo, path);
	trace_loop_bio_queue(io->b->lo->number, bio, loop_stat_names[path]);
	loop_io_trace_start(io);
	if (path == LOOP_STAT_CLONED) {
		loop_io_clone(io);
		return;
	}
	if (path == LOOP_STAT_INLINE && loop_io_inline(io))
		return;
	loop_io_to_worker(io);
}

/*
 * sysfs: /sys/block/loopN/loop, while the device is bound
 */

static struct loop_backing *loop_sysfs_backing(struct device *dev)
{
	struct loop_device *lo = dev_to_disk(dev)->private_data;

	return loop_backing_hold(lo) ?: ERR_PTR(-ENXIO);
}

static ssize_t backing_file_show(struct device *dev,
				 struct device_attribute *attr, char *buf)
{
	struct loop_backing *b __free(loop_backing_release) =
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
	struct loop_backing *b __free(loop_backing_release) =		\
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
LOOP_ATTR_RO(partscan, "%d", READ_ONCE(b->lo->partscan));
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
 * sysfs: /sys/block/loopN, bound or not. Here these cost a binding nothing.
 */

static ssize_t loop_stats_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct loop_device *lo = dev_to_disk(dev)->private_data;
	ssize_t len = 0;

	for (unsigned int i = 0; i < LOOP_NR_STATS; i++)
		len += sysfs_emit_at(buf, len, "%s %lu\n", loop_stat_names[i],
				     loop_stat_read(lo, i));
	return len;
}
static DEVICE_ATTR_RO(loop_stats);

static const char * const loop_unmet_names[] = {
	"direct_io", "direct_align", "write", "sizelimit", "discard",
	"block_size",
};

static ssize_t loop_unmet_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_sysfs_backing(dev);
	unsigned long unmet;
	ssize_t len = 0;
	unsigned int i;

	if (IS_ERR(b))
		return PTR_ERR(b);
	unmet = loop_backing_unmet(b);
	for_each_set_bit(i, &unmet, ARRAY_SIZE(loop_unmet_names))
		len += sysfs_emit_at(buf, len, "%s%s", len ? " " : "",
				     loop_unmet_names[i]);
	return len + sysfs_emit_at(buf, len, "\n");
}
static DEVICE_ATTR_RO(loop_unmet);

static struct attribute *loop_disk_attrs[] = {
	&dev_attr_loop_stats.attr,
	&dev_attr_loop_unmet.attr,
	NULL,
};
ATTRIBUTE_GROUPS(loop_disk);

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
	struct loop_ctl_attach	*exclusive; /* is told which device is in the way */
	bool			claimed;
	bool			stale;	/* what is cached is no longer true */
	bool			scan;	/* partitions are to be read, and announced */
	bool			announce; /* the disk, after that, by a CHANGE uevent */
};

/*
 * The block layer sends a CHANGE event of the disk at each step of a change. A
 * task that makes such steps holds them back, and says at the end what is due. The
 * last task that does so sends it, so that no event is lost to another task.
 */
static void loop_uevents_hold(struct loop_device *lo)
{
	guard(mutex)(&lo->uevent_mutex);
	if (!lo->uevents_held++)
		dev_set_uevent_suppress(disk_to_dev(lo->disk), 1);
}

static void loop_uevents_release(struct loop_device *lo, bool change,
				 bool resize)
{
	char *envp[2] = { "RESIZE=1" };

	guard(mutex)(&lo->uevent_mutex);
	lo->uevent_change |= change;
	lo->uevent_resize |= resize;
	if (--lo->uevents_held)
		return;
	dev_set_uevent_suppress(disk_to_dev(lo->disk), 0);
	if (lo->uevent_change)
		kobject_uevent_env(&disk_to_dev(lo->disk)->kobj, KOBJ_CHANGE,
				   lo->uevent_resize ? envp : NULL);
	lo->uevent_change = false;
	lo->uevent_resize = false;
}

static void loop_partscan_allow(struct loop_device *lo, bool allow)
{
	if (allow)
		clear_bit(GD_SUPPRESS_PART_SCAN, &lo->disk->state);
	else
		set_bit(GD_SUPPRESS_PART_SCAN, &lo->disk->state);
}

/*
 * Reads the partition table anew, and announces the partitions, as the block layer
 * does not while the disk's events are held back, and then the disk. While a
 * partition is open, all stay as they are.
 */
static void loop_scan_partitions(struct loop_device *lo)
{
	struct block_device *part;
	unsigned long partno;

	guard(mutex)(&lo->disk->open_mutex);
	loop_partscan_allow(lo, true);
	loop_uevents_hold(lo);
	if (!bdev_disk_changed(lo->disk, false))
		xa_for_each_start(&lo->disk->part_tbl, partno, part, 1)
			kobject_uevent(bdev_kobj(part), KOBJ_ADD);
	loop_uevents_release(lo, true, false);
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

/* Of what is cached, also what somebody has mapped, or reads right now. */
static void loop_invalidate(struct block_device *bdev)
{
	invalidate_bdev(bdev); /* buffers that only the processors hold */
	invalidate_inode_pages2(bdev->bd_mapping);
}

static int loop_reconf_end(struct loop_reconf *rc, int err)
{
	struct loop_device *lo = rc->lo;

	mutex_unlock(&lo->mutex);
	if (rc->b)
		loop_backing_retire(rc->b);
	if (rc->stale && !err)
		loop_invalidate(lo->disk->part0);
	if (rc->scan && !err) {
		loop_scan_partitions(lo);
	} else if (rc->announce && !err) {
		loop_uevents_hold(lo);
		loop_uevents_release(lo, true, false);
	}
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

/* The backing that is to be changed, or an error. */
static struct loop_backing *loop_reconf_old(struct loop_reconf *rc)
{
	struct loop_backing *old = loop_device_backing(rc->lo);

	return READ_ONCE(rc->lo->state) == LOOP_STATE_BOUND ? old : ERR_PTR(-ENXIO);
}

/* Starts a new backing with the parameters of @old; NULL: the same files. */
static int loop_reconf_clone(struct loop_reconf *rc, struct loop_backing *old,
			     const struct loop_files *files)
{
	const struct loop_files same = {
		.file	= old->file,
		.quiet	= old->quiet_file,
	};
	struct loop_backing *b = loop_backing_alloc(rc->lo, files ?: &same);

	if (!b)
		return -ENOMEM;
	rc->b = b;
	b->params = old->params;
	atomic64_set(&b->nr_sectors, atomic64_read(&old->nr_sectors));
	b->cut = old->cut;
	/*
	 * The file may need more by now, as on xfs if its blocks are shared since:
	 * it copes with less, and direct I/O stays on. A block device does not.
	 */
	b->dio_mem_mask = old->dio_mem_mask;
	b->dio_offset_mask = old->dio_offset_mask;
	if (files || loop_file_bdev(b->file))
		return loop_backing_stat_direct(b);
	return 0;
}

/* The disk gets the size of @b. */
static void loop_reconf_set_size(struct loop_reconf *rc, struct loop_backing *b)
{
	sector_t nr_sectors = atomic64_read(&b->nr_sectors);
	struct gendisk *disk = rc->lo->disk;
	bool resized = false;

	loop_uevents_hold(rc->lo);
	/* the log is not to tell of each file */
	if (!get_capacity(disk))
		set_capacity(disk, nr_sectors);
	else
		resized = set_capacity_and_notify(disk, nr_sectors);
	loop_uevents_release(rc->lo, resized, resized);
	rc->announce &= !resized;
}

static int loop_reconf_publish(struct loop_reconf *rc)
{
	struct loop_backing *b = rc->b;
	int number, err;

	number = loop_mapping_claim(b, rc->exclusive);
	if (number >= 0) {
		rc->exclusive->index = number;
		return -EBUSY;
	}
	err = loop_backing_publish(rc->lo, &rc->b);
	if (!err)
		loop_reconf_set_size(rc, b);
	return err;
}

/*
 * File systems on the disk and its partitions are shut down: what they have cached
 * is not about the medium that comes. The disk gets its next diskseq.
 */
static void loop_medium_end(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long partno;

	rcu_read_lock();
	xa_for_each_start(&disk->part_tbl, partno, part, 1) {
		if (!kobject_get_unless_zero(bdev_kobj(part)))
			continue;
		rcu_read_unlock();
		bdev_mark_dead(part, true);
		put_device(&part->bd_device);
		rcu_read_lock();
	}
	rcu_read_unlock();
	disk_force_media_change(disk);
}

/*
 * As loop_reconf_publish(), and the medium is another one. It is announced at the
 * end, and until then an open does not read its partitions. A medium that was there
 * before ends first, so that nobody takes the new one for it.
 */
static int loop_reconf_publish_medium(struct loop_reconf *rc)
{
	struct loop_device *lo = rc->lo;
	bool replace = loop_device_backing(lo);
	int err;

	loop_uevents_hold(lo);
	if (replace)
		loop_medium_end(lo->disk);
	err = loop_reconf_publish(rc);
	if (!err) {
		loop_partscan_allow(lo, false);
		if (!replace)
			disk_force_media_change(lo->disk);
		rc->scan = READ_ONCE(lo->partscan);
		rc->announce = true;
	}
	loop_uevents_release(lo, false, false);
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
	return 0;
}

struct loop_bind_arg {
	struct loop_files		files;
	blk_mode_t			mode;
	const struct loop_config	*config;
	struct loop_ctl_attach		*attach; /* NULL: an ioctl of the device */
};

static bool loop_bind_is_read_only(const struct loop_bind_arg *bind)
{
	return (bind->config->info.lo_flags & LO_FLAGS_READ_ONLY) ||
	       !(bind->mode & BLK_OPEN_WRITE) ||
	       !(bind->files.file->f_mode & FMODE_WRITE);
}

/* If none is asked for: 512 bytes, or more where direct I/O needs that. */
static unsigned int loop_backing_block_size(const struct loop_backing *b)
{
	unsigned int align = b->dio_offset_mask + 1;

	if (!b->params.direct || b->params.direct_aligned ||
	    !(b->file->f_mode & FMODE_CAN_ODIRECT) ||
	    blk_validate_block_size(align))
		return SECTOR_SIZE;
	return align;
}

static int loop_bind_params(struct loop_backing *b,
			    const struct loop_bind_arg *bind)
{
	const struct loop_config *config = bind->config;
	struct loop_params *p = &b->params;
	u32 flags = config->info.lo_flags;
	struct file *file = bind->files.file;
	int err;

	p->direct = (flags & LO_FLAGS_DIRECT_IO) || (file->f_flags & O_DIRECT);
	p->direct_asked = p->direct;
	p->direct_aligned = bind->attach && (bind->attach->attach_flags &
					     LOOP_ATTACH_DIRECT_ALIGNED);
	p->write_asked = !(flags & LO_FLAGS_READ_ONLY);
	p->read_only = loop_bind_is_read_only(bind);

	p->block_size_asked = config->block_size;
	p->block_size = config->block_size ?: loop_backing_block_size(b);
	err = blk_validate_block_size(p->block_size);
	return err ?: loop_params_set(p, &config->info);
}

/* What a device keeps from its first binding until it is removed. */
static int loop_device_prepare(struct loop_device *lo)
{
	lockdep_assert_held(&lo->mutex);

	/*
	 * Not WQ_MEM_RECLAIM: what a worker calls may flush a workqueue that is
	 * not either, as xfs does when it is out of space.
	 */
	if (!lo->workqueue)
		lo->workqueue = alloc_workqueue("loop%d",
						WQ_UNBOUND | WQ_FREEZABLE,
						WQ_MAX_ACTIVE, lo->number);
	/*
	 * The workers of many cgroups may be all that one queue runs at a time.
	 * Nor is it one queue for all devices: a flush of a file on another loop
	 * device waits for a flush of that one.
	 */
	if (!lo->flush_queue)
		lo->flush_queue = alloc_workqueue("loop%d-flush",
						  WQ_UNBOUND | WQ_FREEZABLE,
						  0, lo->number);
	return lo->workqueue && lo->flush_queue ? 0 : -ENOMEM;
}

/* Nothing that was asked for is dropped or cut. */
static int loop_bind_check_strict(const struct loop_backing *b)
{
	u32 unmet = loop_backing_unmet(b);

	if (unmet & LOOP_UNMET_DIRECT_IO)
		return -EOPNOTSUPP;
	return unmet & (LOOP_UNMET_DIRECT_ALIGN | LOOP_UNMET_WRITE |
			LOOP_UNMET_SIZELIMIT) ? -EINVAL : 0;
}

static void loop_device_name(struct loop_device *lo, u8 *name)
{
	xa_lock(&loop_index);
	memcpy(name, lo->name, LO_NAME_SIZE);
	xa_unlock(&loop_index);
}

static void loop_device_set_name(struct loop_device *lo, const u8 *name)
{
	lockdep_assert_held(&loop_index.xa_lock);

	memcpy(lo->name, name, LO_NAME_SIZE - 1);
}

static u32 loop_backing_flags(const struct loop_backing *b)
{
	return (b->params.read_only ? LO_FLAGS_READ_ONLY : 0) |
	       (READ_ONCE(b->lo->partscan) ? LO_FLAGS_PARTSCAN : 0) |
	       (b->params.direct ? LO_FLAGS_DIRECT_IO : 0) |
	       (READ_ONCE(b->lo->autoclear) ? LO_FLAGS_AUTOCLEAR : 0);
}

/* All of *@entry that is the backing's. */
static void loop_entry_fill_backing(struct loop_ctl_entry *entry,
				    const struct loop_backing *b)
{
	entry->lo_flags = loop_backing_flags(b);
	entry->block_size = b->params.block_size;
	entry->offset = b->params.offset;
	entry->sizelimit = b->params.sizelimit;
	entry->nr_bytes = atomic64_read(&b->nr_sectors) << SECTOR_SHIFT;
	entry->backing_dev = huge_encode_dev(b->dev);
	entry->backing_ino = b->ino;
	entry->attach_flags =
		(READ_ONCE(b->lo->ephemeral) ? LOOP_ATTACH_EPHEMERAL : 0) |
		(b->params.direct_aligned ? LOOP_ATTACH_DIRECT_ALIGNED : 0);
	entry->unmet = loop_backing_unmet(b);
	loop_device_name(b->lo, entry->name);
}

static void loop_trace_attach(struct loop_backing *b)
{
	struct loop_ctl_entry entry = { .diskseq = b->lo->disk->diskseq };

	loop_entry_fill_backing(&entry, b);
	trace_loop_attach(b->lo->number, &entry);
}

static void loop_bind_labels(struct loop_device *lo,
			     const struct loop_info64 *info)
{
	xa_lock(&loop_index);
	loop_device_set_name(lo, info->lo_file_name);
	WRITE_ONCE(lo->partscan,
		   (info->lo_flags & LO_FLAGS_PARTSCAN) || loop_part_shift);
	xa_unlock(&loop_index);
}

/* The device is bound from here on, and what the caller gets is known. */
static void loop_bind_finish(struct loop_backing *b,
			     const struct loop_bind_arg *bind)
{
	struct loop_ctl_attach *attach = bind->attach;
	struct loop_device *lo = b->lo;

	__module_get(THIS_MODULE);
	xa_lock(&loop_index);
	__loop_set_state(lo, LOOP_STATE_BOUND);
	WRITE_ONCE(lo->binding, lo->binding + 1);
	WRITE_ONCE(lo->autoclear, bind->config->info.lo_flags &
		   LO_FLAGS_AUTOCLEAR);
	WRITE_ONCE(lo->ephemeral, attach && (attach->attach_flags &
					     LOOP_ATTACH_EPHEMERAL));
	xa_unlock(&loop_index);

	if (attach) {
		attach->index = lo->number;
		attach->block_size = b->params.block_size;
		attach->lo_flags = loop_backing_flags(b);
		attach->diskseq = lo->disk->diskseq;
	}
	if (trace_loop_attach_enabled())
		loop_trace_attach(b);
}

/* The device is in LOOP_STATE_BINDING, by the caller. */
static int loop_change_bind(struct loop_reconf *rc, const void *arg)
{
	const struct loop_bind_arg *bind = arg;
	struct loop_ctl_attach *attach = bind->attach;
	struct loop_device *lo = rc->lo;
	struct kobject *kobj = &disk_to_dev(lo->disk)->kobj;
	struct loop_backing *b;
	int err;

	err = loop_device_prepare(lo);
	if (err)
		return err;
	b = loop_backing_alloc(lo, &bind->files);
	if (!b)
		return -ENOMEM;
	rc->b = b;
	err = loop_backing_stat_direct(b);
	if (err)
		return err;
	err = loop_bind_params(b, bind);
	if (err)
		return err;
	err = loop_backing_complete(b, true);
	if (err)
		return err;
	if (attach && (attach->attach_flags & LOOP_ATTACH_STRICT))
		err = loop_bind_check_strict(b);
	if (err)
		return err;
	if (attach && (attach->attach_flags & LOOP_ATTACH_EXCLUSIVE))
		rc->exclusive = attach;
	loop_bind_labels(lo, &bind->config->info);
	err = sysfs_create_group(kobj, &loop_attr_group);
	if (err)
		return err;
	err = loop_reconf_publish_medium(rc);
	if (err) {
		sysfs_remove_group(kobj, &loop_attr_group);
		return err;
	}
	loop_bind_finish(b, bind);
	return 0;
}

static int loop_config_validate(const struct loop_config *config)
{
	if (config->info.lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS)
		return -EINVAL;
	if (memchr_inv(config->__reserved, 0, sizeof(config->__reserved)))
		return -EINVAL;
	return 0;
}

static int loop_bind(struct loop_device *lo, blk_mode_t mode,
		     const struct loop_config *config)
{
	struct file *file __free(fput) = fget(config->fd);
	struct file *quiet __free(fput) = NULL;
	struct loop_bind_arg bind = {
		.mode	= mode,
		.config	= config,
	};
	int err;

	if (!file)
		return -EBADF;
	bind.files.file = file;
	err = loop_file_validate(file);
	if (err)
		return err;
	/* a second caller does not wait for the first one's file */
	if (!loop_move_state(lo, LOOP_STATE_UNBOUND, LOOP_STATE_BINDING))
		return -EBUSY;
	err = loop_config_validate(config);
	if (!err) {
		quiet = loop_file_open_quiet(file, loop_bind_is_read_only(&bind));
		bind.files.quiet = quiet;
		err = loop_reconfigure(lo, !(mode & BLK_OPEN_EXCL),
				       loop_change_bind, &bind);
	}
	if (err)
		loop_set_state(lo, LOOP_STATE_UNBOUND);
	return err;
}

/*
 * Whoever has found a partition's node and waits for open_mutex must not open
 * the partition of a medium that is gone: that fails if it has no size.
 */
static void loop_partitions_end(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long partno;

	lockdep_assert_held(&disk->open_mutex);

	xa_for_each_start(&disk->part_tbl, partno, part, 1)
		part->bd_nr_sectors = 0;
}

/*
 * Back to unbound, at the last close or after it. Nobody has the device open,
 * and the caller's open_mutex keeps it so: there is no reconfiguration, nobody
 * submits a bio, and if one is still on its way it is waited for.
 */
static void loop_unbind(struct loop_device *lo)
{
	struct device *dev = disk_to_dev(lo->disk);
	char *envp[2] = { "DISK_MEDIA_CHANGE=1" };
	struct loop_backing *b;
	u64 diskseq = lo->disk->diskseq;

	lockdep_assert_held(&lo->disk->open_mutex);

	sysfs_remove_group(&dev->kobj, &loop_attr_group);
	loop_uevents_hold(lo);
	scoped_guard(mutex, &lo->mutex)
		b = loop_backing_unpublish(lo);
	/* what BLKROSET has said was about that medium */
	bdev_clear_flag(lo->disk->part0, BD_READ_ONLY);
	/* no size; nothing is cached, not even that a write has failed */
	invalidate_disk(lo->disk);
	disk_force_media_change(lo->disk);
	loop_partitions_end(lo->disk);
	bdev_disk_changed(lo->disk, false);
	loop_partscan_allow(lo, loop_part_shift);
	loop_uevents_release(lo, false, false);

	loop_backing_retire(b);
	trace_loop_detach(lo->number, diskseq);
	kobject_uevent_env(&dev->kobj, KOBJ_CHANGE, envp);
	if (lo->ephemeral) {
		loop_set_state(lo, LOOP_STATE_REMOVING);
		/* not from here: del_gendisk() takes open_mutex */
		queue_work(loop_remove_workqueue, &lo->remove_work);
	} else {
		loop_set_state(lo, LOOP_STATE_UNBOUND);
	}
	wake_up(&lo->closed);
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
	return loop_bind(lo, mode, &config);
}

/*
 * Without lo->mutex: detaching must not wait for a change that waits for its
 * file. The state keeps the two apart. Nor for who has open_mutex, perhaps to open
 * or close it: then the caller counts as not being the only one who has it open.
 */
static int loop_ioctl_clr_fd(struct loop_device *lo, blk_mode_t mode,
			     unsigned long arg)
{
	bool settled = mutex_trylock(&lo->disk->open_mutex);
	int err = -ENXIO;

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_BOUND) {
		if (settled && disk_openers(lo->disk) == 1)
			__loop_set_state(lo, LOOP_STATE_RUNDOWN);
		else
			WRITE_ONCE(lo->autoclear, true);
		err = 0;
	}
	xa_unlock(&loop_index);
	if (settled)
		mutex_unlock(&lo->disk->open_mutex);
	return err;
}

static int loop_change_file(struct loop_reconf *rc, const void *arg)
{
	struct loop_backing *old = loop_reconf_old(rc);
	const struct loop_files *files = arg;
	struct loop_backing *b;
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	if (!old->params.read_only)
		return -EINVAL;
	err = loop_reconf_clone(rc, old, files);
	if (err)
		return err;
	b = rc->b;
	if (files->file->f_flags & O_DIRECT) {
		b->params.direct = true;
		b->params.direct_asked = true;
	}
	err = loop_backing_complete(b, true);
	if (err)
		return err;
	if (atomic64_read(&b->nr_sectors) != atomic64_read(&old->nr_sectors))
		return -EINVAL;
	/* the rest can fail only if the caller is killed, or the device below ends */
	err = loop_backing_check_chain(b);
	if (err)
		return err;
	/* of what is being read */
	rc->stale = true;
	return loop_reconf_publish_medium(rc);
}

static int loop_ioctl_change_fd(struct loop_device *lo, blk_mode_t mode,
				unsigned long arg)
{
	struct file *file __free(fput) = fget(arg);
	struct file *quiet __free(fput) = NULL;
	struct loop_files files = { .file = file };
	int err;

	if (!file)
		return -EBADF;
	err = loop_file_validate(file);
	if (err)
		return err;
	quiet = loop_file_open_quiet(file, true);
	files.quiet = quiet;
	return loop_reconfigure(lo, false, loop_change_file, &files);
}

struct loop_status_arg {
	const struct loop_info64	*info;
	bool				exclusive;	/* nobody else holds the device */
};

/*
 * A file system is mounted on the disk or a partition: other holders do not ask to
 * be told when the device ends.
 */
static bool loop_disk_is_mounted(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long partno;

	guard(rcu)();
	xa_for_each(&disk->part_tbl, partno, part)
		if (READ_ONCE(part->bd_holder_ops))
			return true;
	return false;
}

/*
 * With another offset, a holder would find foreign bytes. At a new end it gets an
 * error, which a file system does not expect; device mapper has made itself smaller
 * before.
 */
static bool loop_status_is_held(struct loop_device *lo,
				const struct loop_params *old,
				const struct loop_params *p)
{
	return p->offset != old->offset ||
	       (loop_range_end(p) < loop_range_end(old) &&
		loop_disk_is_mounted(lo->disk));
}

static int loop_reconf_move(struct loop_reconf *rc, struct loop_backing *old,
			    const struct loop_params *p)
{
	int err;

	err = loop_reconf_clone(rc, old, NULL);
	if (err)
		return err;
	rc->b->params.offset = p->offset;
	rc->b->params.sizelimit = p->sizelimit;
	err = loop_backing_complete(rc->b, true);
	if (err)
		return err;
	rc->announce = true;
	rc->stale = true;
	/* what is dirty belongs to the old place */
	sync_blockdev(rc->lo->disk->part0);
	return loop_reconf_publish(rc);
}

/* The range needs a new backing. The name and the flags concern no bio. */
static int loop_change_status(struct loop_reconf *rc, const void *arg)
{
	const struct loop_status_arg *status = arg;
	const struct loop_info64 *info = status->info;
	struct loop_backing *old = loop_reconf_old(rc);
	struct loop_device *lo = rc->lo;
	struct loop_params p;
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	p = old->params;
	err = loop_params_set(&p, info);
	if (err)
		return err;
	if (!status->exclusive && loop_status_is_held(lo, &old->params, &p))
		return -EBUSY;
	if (p.offset != old->params.offset || p.sizelimit != old->params.sizelimit)
		err = loop_reconf_move(rc, old, &p);
	if (err)
		return err;

	xa_lock(&loop_index);
	loop_device_set_name(lo, info->lo_file_name);
	rc->scan = (info->lo_flags & LO_FLAGS_PARTSCAN) && !lo->partscan;
	if (rc->scan)
		WRITE_ONCE(lo->partscan, true);
	/* a device that is being detached already stays so */
	if (lo->state == LOOP_STATE_BOUND)
		WRITE_ONCE(lo->autoclear, info->lo_flags & LO_FLAGS_AUTOCLEAR);
	xa_unlock(&loop_index);
	return 0;
}

static bool loop_status_moves(struct loop_device *lo,
			      const struct loop_info64 *info)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_backing_hold(lo);

	return b && b->params.offset != info->lo_offset;
}

static int loop_status_change(struct loop_device *lo, blk_mode_t mode,
			      const struct loop_info64 *info)
{
	bool claim = !(mode & BLK_OPEN_EXCL) && loop_status_moves(lo, info);
	struct loop_status_arg arg = {
		.info		= info,
		.exclusive	= claim || (mode & BLK_OPEN_EXCL),
	};

	return loop_reconfigure(lo, claim, loop_change_status, &arg);
}

static int loop_status_read(struct loop_device *lo, struct loop_info64 *info)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_backing_hold(lo);

	if (!b || READ_ONCE(lo->state) != LOOP_STATE_BOUND)
		return -ENXIO;

	memset(info, 0, sizeof(*info));
	info->lo_number = lo->number;
	info->lo_device = huge_encode_dev(b->dev);
	info->lo_inode = b->ino;
	if (loop_file_bdev(b->file))
		info->lo_rdevice = huge_encode_dev(loop_file_bdev(b->file)->bd_dev);
	info->lo_offset = b->params.offset;
	info->lo_sizelimit = b->params.sizelimit;
	info->lo_flags = loop_backing_flags(b);
	loop_device_name(lo, info->lo_file_name);
	return 0;
}

static int loop_ioctl_set_status64(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	struct loop_info64 info;

	if (copy_from_user(&info, (void __user *)arg, sizeof(info)))
		return -EFAULT;
	return loop_status_change(lo, mode, &info);
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
static int loop_status_change_old(struct loop_device *lo, blk_mode_t mode,
				  const struct loop_info *old)
{
	struct loop_info64 info = {
		.lo_offset	= old->lo_offset,
		.lo_flags	= old->lo_flags,
	};

	memcpy(info.lo_file_name, old->lo_name, LO_NAME_SIZE);
	return loop_status_change(lo, mode, &info);
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
	return loop_status_change_old(lo, mode, &old);
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

/* Waits for the file to tell its size, and not for I/O in flight. */
static int loop_change_capacity(struct loop_reconf *rc, const void *arg)
{
	struct loop_backing *b = loop_reconf_old(rc);
	struct kstat stat;
	int err;

	if (IS_ERR(b))
		return PTR_ERR(b);
	err = loop_backing_getattr(b, &stat);
	if (err)
		return err;
	loop_backing_set_size(b, &stat);
	rc->announce = true;
	loop_reconf_set_size(rc, b);
	return 0;
}

static int loop_ioctl_set_capacity(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	return loop_reconfigure(lo, false, loop_change_capacity, NULL);
}

static int loop_change_direct_io(struct loop_reconf *rc, const void *arg)
{
	struct loop_backing *old = loop_reconf_old(rc);
	bool direct = *(const unsigned long *)arg;
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	if (direct == old->params.direct) {
		WRITE_ONCE(old->params.direct_asked, direct);
		return 0;
	}
	err = loop_reconf_clone(rc, old, NULL);
	if (!err && direct)
		err = loop_backing_stat_direct(rc->b);
	if (err)
		return err;
	rc->b->params.direct = direct;
	rc->b->params.direct_asked = direct;
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
	unsigned long asked = *(const unsigned long *)arg;
	struct loop_backing *old = loop_reconf_old(rc);
	unsigned long size;
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	size = asked ?: loop_backing_block_size(old);
	err = blk_validate_block_size(size);
	if (err)
		return err;
	if (size == old->params.block_size) {
		WRITE_ONCE(old->params.block_size_asked, asked);
		return 0;
	}
	err = loop_reconf_clone(rc, old, NULL);
	if (err)
		return err;
	rc->b->params.block_size = size;
	rc->b->params.block_size_asked = asked;
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
	{ LOOP_CONFIGURE,	false, loop_ioctl_configure },
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
		/* whoever has a partition exclusively has not got the device */
		if (bdev_is_partition(bdev))
			mode &= ~BLK_OPEN_EXCL;
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
	return loop_status_change_old(lo, mode, &old);
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
	unsigned int state = READ_ONCE(lo->state);

	return state == LOOP_STATE_RUNDOWN || state == LOOP_STATE_REMOVING ? -ENXIO : 0;
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
		__loop_set_state(lo, LOOP_STATE_RUNDOWN);
	xa_unlock(&loop_index);
	if (unbind)
		loop_unbind(lo);
	else if (wq_has_sleeper(&lo->closed))
		wake_up(&lo->closed);
}

static void loop_device_free(struct loop_device *lo)
{
	if (lo->flush_queue)
		destroy_workqueue(lo->flush_queue);
	if (lo->workqueue)
		destroy_workqueue(lo->workqueue);
	loop_groups_free(lo);
	mempool_exit(&lo->io_pool);
	free_percpu(lo->counters);
	mutex_destroy(&lo->uevent_mutex);
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

static void loop_remove_work(struct work_struct *work);

static struct loop_device *loop_device_alloc(int number, unsigned int state)
{
	struct queue_limits lim = { };
	struct loop_device *lo;
	struct gendisk *disk;

	lo = kzalloc_obj(*lo, GFP_KERNEL);
	if (!lo)
		return ERR_PTR(-ENOMEM);
	atomic_inc(&loop_nr_devices);
	lo->number = number;
	lo->state = state;
	init_waitqueue_head(&lo->closed);
	init_waitqueue_head(&lo->drained);
	INIT_WORK(&lo->remove_work, loop_remove_work);
	mutex_init(&lo->mutex);
	mutex_init(&lo->uevent_mutex);
	spin_lock_init(&lo->group_lock);
	INIT_LIST_HEAD(&lo->groups);
	ratelimit_state_init(&lo->error_limit, DEFAULT_RATELIMIT_INTERVAL,
			     DEFAULT_RATELIMIT_BURST);
	loop_group_init(&lo->root_group, lo, loop_queue_depth);
	loop_group_init(&lo->swap_group, lo, LOOP_SWAP_DEPTH);

	lo->counters = alloc_percpu(struct loop_counters);
	if (!lo->counters || mempool_init_slab_pool(&lo->io_pool, LOOP_IO_RESERVE,
						    loop_io_cache)) {
		loop_device_free(lo);
		return ERR_PTR(-ENOMEM);
	}
	loop_limits_init(&lim);
	disk = blk_alloc_disk(&lim, NUMA_NO_NODE);
	if (IS_ERR(disk)) {
		loop_device_free(lo);
		return ERR_CAST(disk);
	}
	lo->disk = disk;
	lo->unbound_limits = disk->queue->limits;
	disk->major = LOOP_MAJOR;
	disk->first_minor = number << loop_part_shift;
	disk->minors = 1 << loop_part_shift;
	disk->fops = &loop_fops;
	disk->private_data = lo;
	disk->events = DISK_EVENT_MEDIA_CHANGE;
	disk->event_flags = DISK_EVENT_FLAG_UEVENT;
	snprintf(disk->disk_name, DISK_NAME_LEN, "loop%d", number);
	loop_partscan_allow(lo, loop_part_shift);
	/* there is nothing to suspend, and no need to offer it in sysfs */
	device_set_pm_not_required(disk_to_dev(disk));
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
	if (lo->state == LOOP_STATE_UNBOUND)
		__xa_set_mark(&loop_index, lo->number, LOOP_INDEX_UNBOUND);
	xa_unlock(&loop_index);
}

/*
 * Makes the device @number, or the lowest that is absent if it is negative, and
 * returns the number. *@lop may be used only if @state keeps others from
 * removing the device again.
 */
static int loop_device_create(int number, unsigned int state,
			      struct loop_device **lop)
{
	struct loop_device *lo;
	int err;

	number = loop_number_reserve(number);
	if (number < 0)
		return number;
	lo = loop_device_alloc(number, state);
	if (IS_ERR(lo)) {
		err = PTR_ERR(lo);
		goto out_release;
	}
	err = device_add_disk(NULL, lo->disk, loop_disk_groups);
	if (err)
		goto out_free;
	*lop = lo;
	loop_number_publish(lo);
	return number;

out_free:
	put_disk(lo->disk);
	loop_device_free(lo);
out_release:
	xa_erase(&loop_index, number);
	return err;
}

static int loop_device_add(int number)
{
	struct loop_device *lo;

	return loop_device_create(number, LOOP_STATE_UNBOUND, &lo);
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

static void loop_remove_work(struct work_struct *work)
{
	loop_device_delete(container_of(work, struct loop_device, remove_work));
}

/* Nobody has it open, and from now on nobody can. */
static int loop_device_retire(struct loop_device *lo)
{
	int err = -EBUSY;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_REMOVING) {
		err = -ENODEV;
	} else if (lo->state == LOOP_STATE_UNBOUND && !disk_openers(lo->disk)) {
		__loop_set_state(lo, LOOP_STATE_REMOVING);
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

/* The lowest unbound device that nobody has open, or NULL. */
static struct loop_device *loop_index_find_free(void)
{
	struct loop_device *lo;
	unsigned long number;

	lockdep_assert_held(&loop_index.xa_lock);

	xa_for_each_marked(&loop_index, number, lo, LOOP_INDEX_UNBOUND)
		if (!disk_openers(lo->disk))
			return lo;
	return NULL;
}

static int loop_device_get_free(void)
{
	struct loop_device *lo;
	int number = -1;

	xa_lock(&loop_index);
	lo = loop_index_find_free();
	if (lo)
		number = lo->number;
	xa_unlock(&loop_index);
	return lo ? number : loop_device_add(-1);
}

/*
 * Attach
 */

/* A device for one caller to bind, in LOOP_STATE_BINDING. */
struct loop_taken {
	struct loop_device	*lo;
	bool			added;	/* for it, and goes if it fails */
};

/* With @fresh and no @number, one that nobody has seen before. */
static int loop_device_take(int number, bool fresh, struct loop_taken *taken)
{
	struct loop_device *lo;
	int err;

	xa_lock(&loop_index);
	if (number >= 0)
		lo = xa_load(&loop_index, number);
	else
		lo = fresh ? NULL : loop_index_find_free();
	err = lo && lo->state != LOOP_STATE_UNBOUND ? -EBUSY : 0;
	if (lo && !err)
		__loop_set_state(lo, LOOP_STATE_BINDING);
	xa_unlock(&loop_index);
	if (err)
		return err;

	*taken = (struct loop_taken) { .lo = lo, .added = !lo };
	if (lo)
		return 0;
	err = loop_device_create(number, LOOP_STATE_BINDING, &taken->lo);
	/* somebody adds or removes it right now */
	return err == -EEXIST ? -EBUSY : min(err, 0);
}

static void loop_device_give_back(struct loop_taken *taken)
{
	if (!taken->added) {
		loop_set_state(taken->lo, LOOP_STATE_UNBOUND);
		return;
	}
	loop_set_state(taken->lo, LOOP_STATE_REMOVING);
	loop_device_delete(taken->lo);
}

/*
 * An open file of the device. It can do what that of a node can, but it has no
 * path, and cannot be opened again through /proc.
 */
static struct file *loop_device_open(struct loop_device *lo, blk_mode_t mode)
{
	struct file *file = bdev_file_open_by_dev(disk_devt(lo->disk), mode,
						  NULL, NULL);

	if (IS_ERR(file))
		return file;
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	file_ra_state_init(&file->f_ra, file->f_mapping);
	return file;
}

static int loop_attach_validate(const struct loop_ctl_attach *attach)
{
	if (attach->attach_flags & ~(LOOP_ATTACH_STRICT | LOOP_ATTACH_EXCLUSIVE |
				     LOOP_ATTACH_EPHEMERAL | LOOP_ATTACH_NO_FD |
				     LOOP_ATTACH_DIRECT_ALIGNED))
		return -EINVAL;
	if (attach->lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS)
		return -EINVAL;
	if ((attach->attach_flags & LOOP_ATTACH_NO_FD) &&
	    (attach->lo_flags & LO_FLAGS_AUTOCLEAR))
		return -EINVAL;
	if (attach->index < -1 || attach->reserved)
		return -EINVAL;
	return 0;
}

/*
 * Binds @taken, or gives it back. The file that is returned holds the device
 * open.
 */
static struct file *loop_attach_taken(struct loop_taken *taken,
				      struct loop_ctl_attach *attach,
				      struct file *backing)
{
	struct loop_config config = {
		.block_size		= attach->block_size,
		.info.lo_offset		= attach->offset,
		.info.lo_sizelimit	= attach->sizelimit,
		.info.lo_flags		= attach->lo_flags,
	};
	struct loop_bind_arg bind = {
		.files.file = backing,
		.mode	= BLK_OPEN_READ,
		.config	= &config,
		.attach	= attach,
	};
	struct file *quiet __free(fput) = NULL;
	struct file *file;
	int err;

	memcpy(config.info.lo_file_name, attach->name, LO_NAME_SIZE);
	if ((backing->f_mode & FMODE_WRITE) &&
	    !(attach->lo_flags & LO_FLAGS_READ_ONLY))
		bind.mode |= BLK_OPEN_WRITE;
	quiet = loop_file_open_quiet(backing, loop_bind_is_read_only(&bind));
	bind.files.quiet = quiet;

	file = loop_device_open(taken->lo, bind.mode);
	if (IS_ERR(file)) {
		loop_device_give_back(taken);
		return file;
	}
	err = loop_reconfigure(taken->lo, true, loop_change_bind, &bind);
	if (err) {
		fput(file);
		loop_device_give_back(taken);
		return ERR_PTR(err);
	}
	return file;
}

/* Undoes an attach whose result cannot be told: @file's close unbinds it. */
static void loop_attach_undo(struct loop_taken *taken, struct file *file)
{
	struct loop_device *lo = taken->lo;

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_BOUND) {
		WRITE_ONCE(lo->autoclear, true);
		WRITE_ONCE(lo->ephemeral, taken->added);
	}
	xa_unlock(&loop_index);
	fput(file);
}

static int loop_attach(struct loop_ctl_attach *attach,
		       struct loop_taken *taken, struct file **filep)
{
	struct file *backing __free(fput) = fget(attach->fd);
	bool fresh = attach->attach_flags & LOOP_ATTACH_EPHEMERAL;
	bool again = attach->index < 0;
	int number, err;

	if (!backing)
		return -EBADF;
	/* before there is a device to be seen */
	err = loop_file_validate(backing);
	if (err)
		return err;
	for (;;) {
		err = loop_device_take(attach->index, fresh, taken);
		if (err)
			return err;
		number = taken->lo->number;
		/* should it be the device itself that is in the way */
		attach->index = number;
		*filep = loop_attach_taken(taken, attach, backing);
		err = PTR_ERR_OR_ZERO(*filep);
		if (err != -EBUSY || attach->index != number || !again)
			return err;
		/* somebody has opened it with O_EXCL just now */
		attach->index = -1;
		fresh = true;
		again = false;
	}
}

/*
 * Structures that may grow
 */

/*
 * Reads a structure that starts with its size; returns that size. The kernel
 * knows @size bytes of it, of which the first version had @first.
 */
static int loop_struct_read(void *dst, size_t size, size_t first,
			    void __user *src)
{
	u32 usize;
	int err;

	if (get_user(usize, (u32 __user *)src))
		return -EFAULT;
	if (usize < first)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	err = copy_struct_from_user(dst, size, src, usize);
	/* the size is copied once more: what was checked is what counts */
	*(u32 *)dst = usize;
	return err ?: usize;
}

static int loop_struct_write(void __user *dst, const void *src, size_t size,
			     size_t usize)
{
	return copy_to_user(dst, src, min(size, usize)) ? -EFAULT : 0;
}

static int loop_control_attach(void __user *arg)
{
	struct loop_ctl_attach attach, result;
	struct loop_taken taken;
	struct file *file;
	int usize, fd = -1;
	int err;

	usize = loop_struct_read(&attach, sizeof(attach),
				 LOOP_CTL_ATTACH_SIZE_VER0, arg);
	if (usize < 0)
		return usize;
	err = loop_attach_validate(&attach);
	/* a result that cannot be told shall not be there */
	if (!err)
		err = loop_struct_write(arg, &attach, sizeof(attach), usize);
	if (err)
		return err;
	if (!(attach.attach_flags & LOOP_ATTACH_NO_FD)) {
		fd = get_unused_fd_flags(O_CLOEXEC);
		if (fd < 0)
			return fd;
	}

	result = attach;
	err = loop_attach(&result, &taken, &file);
	if (err) {
		attach.index = result.index;
		if (err == -EBUSY)
			loop_struct_write(arg, &attach, sizeof(attach), usize);
		goto out_put_fd;
	}
	result.device_fd = fd;
	err = loop_struct_write(arg, &result, sizeof(result), usize);
	if (err) {
		loop_attach_undo(&taken, file);
		goto out_put_fd;
	}
	if (fd >= 0)
		fd_install(fd, file);
	else
		fput(file);
	return 0;

out_put_fd:
	if (fd >= 0)
		put_unused_fd(fd);
	return err;
}

/*
 * Detach
 */

/*
 * One try, with open_mutex: nobody opens or closes the device meanwhile. If
 * *@binding is not 0, it is about that one, whatever its medium is now.
 */
static int loop_detach_locked(struct loop_device *lo, u64 *diskseq, u64 *binding)
{
	int err = 0;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_REMOVING)
		err = -ENODEV;
	else if (!loop_state_is_bound(lo->state))
		err = -ENXIO;
	else if (*binding ? *binding != lo->binding :
			    *diskseq && *diskseq != lo->disk->diskseq)
		err = -ESTALE;
	else if (disk_openers(lo->disk))
		err = -EBUSY;
	else
		__loop_set_state(lo, LOOP_STATE_RUNDOWN);
	if (err == -EBUSY) {
		*binding = lo->binding;
		*diskseq = lo->disk->diskseq;
	}
	xa_unlock(&loop_index);
	if (!err)
		loop_unbind(lo);
	return err;
}

/* On EBUSY, *@diskseq and *@binding are what is there. */
static int loop_detach_try(struct loop_device *lo, u64 *diskseq, u64 *binding)
{
	struct mutex *open_mutex = &lo->disk->open_mutex;
	int err;

	if (mutex_lock_interruptible(open_mutex))
		return -ERESTARTSYS;
	err = loop_detach_locked(lo, diskseq, binding);
	mutex_unlock(open_mutex);
	/* an ephemeral device is gone when its number is free */
	if (err != -EBUSY)
		flush_work(&lo->remove_work);
	return err;
}

/* Looked at without a lock: a try will tell. */
static bool loop_detach_may_work(struct loop_device *lo, u64 binding)
{
	return !disk_openers(lo->disk) || READ_ONCE(lo->binding) != binding ||
	       !loop_state_is_bound(READ_ONCE(lo->state));
}

/* The binding may have got another medium, and so another number. */
static void loop_detach_find(struct loop_device *lo, u64 *diskseq, u64 binding)
{
	xa_lock(&loop_index);
	if (loop_state_is_bound(lo->state) && lo->binding == binding)
		*diskseq = lo->disk->diskseq;
	xa_unlock(&loop_index);
}

/*
 * As loop_detach_try(), but waits for the openers. Once it waits it is about one
 * binding, and it does not matter who ends that.
 */
static int loop_detach_wait(struct loop_device *lo, u64 *diskseq,
			    ktime_t deadline)
{
	u64 binding = 0;
	int err;

	err = loop_detach_try(lo, diskseq, &binding);
	while (err == -EBUSY) {
		ktime_t left = deadline == KTIME_MAX ? KTIME_MAX :
			       ktime_sub(deadline, ktime_get());

		if (left <= 0)
			return -ETIMEDOUT;
		err = wait_event_interruptible_hrtimeout(lo->closed,
							 loop_detach_may_work(lo, binding),
							 left);
		if (err == -ETIME)
			return -ETIMEDOUT;
		if (err)
			break;
		err = loop_detach_try(lo, diskseq, &binding);
		if (err == -ENXIO || err == -ESTALE || err == -ENODEV)
			err = 0;
	}
	if (err == -ERESTARTSYS)
		loop_detach_find(lo, diskseq, binding);
	return err;
}

static int loop_detach_validate(const struct loop_ctl_detach *detach)
{
	if (detach->flags & ~LOOP_DETACH_WAIT)
		return -EINVAL;
	if (detach->index < 0 || detach->reserved)
		return -EINVAL;
	if (!(detach->flags & LOOP_DETACH_WAIT) && detach->timeout)
		return -EINVAL;
	return 0;
}

/* To detach takes what opening the node for reading takes, as for LOOP_CLR_FD. */
static int loop_detach_check_cgroup(struct loop_device *lo)
{
	return devcgroup_check_permission(DEVCG_DEV_BLOCK, LOOP_MAJOR,
					  lo->disk->first_minor,
					  DEVCG_ACC_READ);
}

static int loop_control_detach(void __user *arg)
{
	struct loop_ctl_detach detach;
	struct loop_device *lo;
	ktime_t deadline;
	u64 binding = 0;
	int usize, err;

	usize = loop_struct_read(&detach, sizeof(detach),
				 LOOP_CTL_DETACH_SIZE_VER0, arg);
	if (usize < 0)
		return usize;
	err = loop_detach_validate(&detach);
	if (err)
		return err;
	lo = loop_device_get(detach.index);
	if (!lo)
		return -ENODEV;
	err = loop_detach_check_cgroup(lo);
	if (err) {
		put_disk(lo->disk);
		return err;
	}

	deadline = ktime_add_safe(ktime_get(), min(detach.timeout, KTIME_MAX));
	if (detach.flags & LOOP_DETACH_WAIT)
		err = loop_detach_wait(lo, &detach.diskseq, deadline);
	else
		err = loop_detach_try(lo, &detach.diskseq, &binding);
	put_disk(lo->disk);
	if (err == -ERESTARTSYS && (detach.flags & LOOP_DETACH_WAIT)) {
		/* for the call that goes on where this one stopped */
		if (deadline != KTIME_MAX)
			detach.timeout = max(ktime_sub(deadline, ktime_get()), 1);
		if (loop_struct_write(arg, &detach, sizeof(detach), usize))
			return -EFAULT;
	}
	return err;
}

/*
 * List
 */

/* The next device from *@number on, with a reference on its disk; or NULL. */
static struct loop_device *loop_device_get_next(unsigned long *number)
{
	struct loop_device *lo;

	xa_lock(&loop_index);
	lo = xa_find(&loop_index, number, ULONG_MAX, XA_PRESENT);
	if (lo)
		get_device(disk_to_dev(lo->disk));
	xa_unlock(&loop_index);
	return lo;
}

/*
 * Returns the backing that *@entry was made from, for the caller to release;
 * NULL: there is none. State, diskseq and backing are those of one moment, but in
 * the midst of a change of the file, when diskseq may be that of the old one: each
 * change takes a while, so trying again ends.
 */
static struct loop_backing *loop_entry_read(struct loop_ctl_entry *entry,
					    struct loop_device *lo)
{
	struct loop_backing *b;
	unsigned int state;
	u64 diskseq;

	for (;;) {
		state = READ_ONCE(lo->state);
		diskseq = READ_ONCE(lo->disk->diskseq);
		smp_rmb();	/* so that neither is newer than the backing */
		b = loop_state_is_bound(state) ? loop_backing_hold(lo) : NULL;
		smp_rmb();	/* nor older */
		if (state == READ_ONCE(lo->state) &&
		    diskseq == READ_ONCE(lo->disk->diskseq))
			break;
		if (b)
			loop_backing_release(b);
		cond_resched();
	}
	memset(entry, 0, sizeof(*entry));
	entry->index = lo->number;
	entry->state = state;
	entry->diskseq = diskseq;
	entry->openers = disk_openers(lo->disk);
	if (b)
		loop_entry_fill_backing(entry, b);
	return b;
}

/* Whether @list asks for @lo; if so, *@entry is about it. */
static bool loop_list_match(struct loop_device *lo,
			    const struct loop_ctl_list *list,
			    struct file *file, struct loop_ctl_entry *entry)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_entry_read(entry, lo);

	if ((list->flags & LOOP_LIST_BOUND) && !b)
		return false;
	return !file || (b && b->file->f_mapping == file->f_mapping);
}

/* *@list: how far it came. Nothing is held while user memory is written. */
static int loop_list(struct loop_ctl_list *list, struct file *file)
{
	void __user *dst = u64_to_user_ptr(list->entries);
	u32 capacity = list->count;
	struct loop_ctl_entry entry;
	unsigned long number;
	struct loop_device *lo;
	bool match;

	list->count = 0;
	for (number = list->start; (lo = loop_device_get_next(&number)); number++) {
		match = list->count < capacity &&
			loop_list_match(lo, list, file, &entry);
		put_disk(lo->disk);
		if (list->count == capacity) {
			list->start = number;
			return 0;
		}
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!match)
			continue;
		if (copy_struct_to_user(dst, list->entry_size, &entry,
					sizeof(entry), NULL))
			return -EFAULT;
		dst += list->entry_size;
		list->count++;
	}
	list->start = U32_MAX;
	return 0;
}

static int loop_list_validate(const struct loop_ctl_list *list)
{
	if (list->flags & ~(LOOP_LIST_BOUND | LOOP_LIST_FD))
		return -EINVAL;
	if (!(list->flags & LOOP_LIST_FD) && list->fd)
		return -EINVAL;
	if (list->entry_size < sizeof(u32) || list->entry_size > PAGE_SIZE)
		return -EINVAL;
	return 0;
}

static int loop_control_list(void __user *arg)
{
	struct file *file __free(fput) = NULL;
	struct loop_ctl_list list;
	int usize, err;

	usize = loop_struct_read(&list, sizeof(list), LOOP_CTL_LIST_SIZE_VER0,
				 arg);
	if (usize < 0)
		return usize;
	err = loop_list_validate(&list);
	if (err)
		return err;
	if (list.flags & LOOP_LIST_FD) {
		file = fget(list.fd);
		if (!file)
			return -EBADF;
	}
	err = loop_list(&list, file);
	return err ?: loop_struct_write(arg, &list, sizeof(list), usize);
}

/*
 * Control device
 */

static long loop_control_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case LOOP_CTL_ADD:
		return loop_device_add(arg);
	case LOOP_CTL_REMOVE:
		return loop_device_remove(arg);
	case LOOP_CTL_GET_FREE:
		return loop_device_get_free();
	}
	/* the size in the number may be that of another version */
	switch (cmd & ~IOCSIZE_MASK) {
	case LOOP_CTL_ATTACH & ~IOCSIZE_MASK:
		return file->f_mode & FMODE_WRITE ? loop_control_attach(uarg) :
						    -EPERM;
	case LOOP_CTL_DETACH & ~IOCSIZE_MASK:
		return file->f_mode & FMODE_WRITE ? loop_control_detach(uarg) :
						    -EPERM;
	case LOOP_CTL_LIST & ~IOCSIZE_MASK:
		return loop_control_list(uarg);
	}
	return -ENOSYS;
}

#ifdef CONFIG_COMPAT
/* An argument is an int or, of those that say so, a pointer. */
static long loop_control_compat_ioctl(struct file *file, unsigned int cmd,
				      unsigned long arg)
{
	if (_IOC_DIR(cmd))
		arg = (unsigned long)compat_ptr(arg);
	return loop_control_ioctl(file, cmd, arg);
}
#endif

static const struct file_operations loop_control_fops = {
	.owner		= THIS_MODULE,
	.open		= nonseekable_open,
	.unlocked_ioctl	= loop_control_ioctl,
#ifdef CONFIG_COMPAT
	.compat_ioctl	= loop_control_compat_ioctl,
#endif
	.llseek		= noop_llseek,
};

/* What this driver has beyond LOOP_CTL_ADD, _REMOVE and _GET_FREE. */
static ssize_t features_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "attach detach list\n");
}
static DEVICE_ATTR_RO(features);

static struct attribute *loop_control_attrs[] = {
	&dev_attr_features.attr,
	NULL,
};
ATTRIBUTE_GROUPS(loop_control);

static struct miscdevice loop_control = {
	.minor		= LOOP_CTRL_MINOR,
	.name		= "loop-control",
	.fops		= &loop_control_fops,
	.groups		= loop_control_groups,
};

/*
 * Module
 */

static unsigned int loop_max = CONFIG_BLK_DEV_LOOP_MIN_COUNT;
static bool loop_max_given;
static int loop_max_part;

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

static int loop_inject_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint_minmax(val, kp, 0, 1000);

	if (err)
		return err;
	if (loop_inject)
		static_branch_enable(&loop_inject_key);
	else
		static_branch_disable(&loop_inject_key);
	return 0;
}

static const struct kernel_param_ops loop_inject_ops = {
	.set	= loop_inject_set,
	.get	= param_get_uint,
};

module_param_cb(max_loop, &loop_max_ops, &loop_max, 0444);
MODULE_PARM_DESC(max_loop, "Devices made at load; if given, also the limit for devices made by opening their node");
module_param_named(max_part, loop_max_part, int, 0444);
MODULE_PARM_DESC(max_part, "Minors for partitions of each device");
module_param_cb(hw_queue_depth, &loop_queue_depth_ops, &loop_queue_depth, 0444);
MODULE_PARM_DESC(hw_queue_depth, "Bios of a device and cgroup that may be in flight");
module_param_named(inline_io, loop_inline, bool, 0644);
MODULE_PARM_DESC(inline_io, "The submitter of a bio reads or writes the file itself, where that does not wait");
module_param_cb(inject, &loop_inject_ops, &loop_inject, 0600);
MODULE_PARM_DESC(inject, "For tests: of 1000 reads and writes of the file, how many at most have to be tried again");

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
	/* the kernel's own driver takes a negative number for none, too */
	loop_max_part = max(loop_max_part, 0);
	loop_part_shift = fls(loop_max_part);
	loop_max_part = (1U << loop_part_shift) - 1;
	if (loop_max > loop_number_max() + 1)
		return -EINVAL;
	return 0;
}

/*
 * Programs may use them from now on, so they cannot be taken back, and if one is
 * missing it can be made later.
 */
static void __init loop_device_add_first(void)
{
	int err;

	for (unsigned int i = 0; i < loop_max; i++) {
		err = loop_device_add(i);
		/* somebody else was faster */
		if (err == -EEXIST)
			continue;
		if (err < 0) {
			pr_err("loop: device %u of %u: error %d\n", i, loop_max, err);
			return;
		}
	}
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

static void loop_io_cache_destroy(void)
{
	struct loop_io *io;
	int cpu;

	for_each_possible_cpu(cpu) {
		io = per_cpu(loop_io_spare, cpu);
		if (io)
			kmem_cache_free(loop_io_cache, io);
	}
	kmem_cache_destroy(loop_io_cache);
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
	loop_remove_workqueue = alloc_workqueue("loop_remove", WQ_UNBOUND, 0);
	if (!loop_remove_workqueue) {
		err = -ENOMEM;
		goto out_destroy;
	}
	loop_swap_workqueue = alloc_workqueue("loop_swap", WQ_UNBOUND |
					      WQ_FREEZABLE | WQ_MEM_RECLAIM,
					      WQ_MAX_ACTIVE);
	if (!loop_swap_workqueue) {
		err = -ENOMEM;
		goto out_remove_workqueue;
	}
	err = __register_blkdev(LOOP_MAJOR, "loop", loop_probe);
	if (err) {
		err = -EIO;
		goto out_swap_workqueue;
	}
	err = misc_register(&loop_control);
	if (err)
		goto out_unregister;
	loop_device_add_first();
	return 0;

out_unregister:
	unregister_blkdev(LOOP_MAJOR, "loop");
	/* the probe may have made some */
	loop_device_delete_all();
out_swap_workqueue:
	destroy_workqueue(loop_swap_workqueue);
out_remove_workqueue:
	destroy_workqueue(loop_remove_workqueue);
out_destroy:
	loop_io_cache_destroy();
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
	/* ephemeral devices that are on their way out get there first */
	destroy_workqueue(loop_remove_workqueue);
	loop_device_delete_all();
	destroy_workqueue(loop_swap_workqueue);
	xa_destroy(&loop_index);
	loop_io_cache_destroy();
}

module_init(loop_init);
module_exit(loop_exit);

MODULE_DESCRIPTION("Loop block device");
MODULE_VERSION("1.0");
MODULE_LICENSE("GPL");
MODULE_ALIAS_BLOCKDEV_MAJOR(LOOP_MAJOR);
MODULE_ALIAS_MISCDEV(LOOP_CTRL_MINOR);
MODULE_ALIAS("devname:loop-control");
