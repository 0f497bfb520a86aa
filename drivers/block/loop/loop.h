/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Types that the rooms of the loop driver share, and the prototypes of each room,
 * the highest room first. ../loop.c describes the rooms.
 */
#ifndef _BLOCK_LOOP_H
#define _BLOCK_LOOP_H

#include <linux/atomic.h>
#include <linux/blkdev.h>
#include <linux/cleanup.h>
#include <linux/fs.h>
#include <linux/fsnotify.h>
#include <linux/llist.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/ratelimit.h>
#include <linux/refcount.h>
#include <linux/semaphore.h>
#include <linux/spinlock.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <linux/loop.h>

/* This many bios that swap pages out to a file can be in flight. */
#define LOOP_SWAP_DEPTH		4

/* This many bios of a device make progress when no memory is left. */
#define LOOP_IO_RESERVE		4

/* The index marks devices that are free. */
#define LOOP_INDEX_FREE	XA_MARK_1

/* The path of a bio. From WORKER_OP on, it tells why a worker does the bio. */
enum loop_path {
#define LOOP_PATH(symbol, ...)	LOOP_PATH_##symbol,
#define LOOP_STAT(...)
#include "stats.h"
#undef LOOP_PATH
#undef LOOP_STAT
	LOOP_NR_PATHS,
};

/* The counters of a device: each path, and events on these paths. */
enum loop_stat {
	LOOP_STAT_LAST_PATH = LOOP_NR_PATHS - 1,
#define LOOP_PATH(...)
#define LOOP_STAT(symbol, ...)	LOOP_STAT_##symbol,
#include "stats.h"
#undef LOOP_PATH
#undef LOOP_STAT
	LOOP_NR_STATS,
};

/*
 * Each processor has these. A bio can start on one and end on another, so of all but
 * next_write only the sums over all processors mean something.
 */
struct loop_counters {
	unsigned long		started;
	unsigned long		ended;
	sector_t		next_write;	/* the end of the last write */
	unsigned long		stats[LOOP_NR_STATS];
};

/*
 * The letter of a field says what guards it:
 *
 * A: the field is atomic, per CPU, or has a lock of its own
 * C: the field does not change after other tasks can see the object
 * F: b->flush_lock protects it
 * G: loop_claim_lock protects it
 * H: it is a hint, which any task writes; a race loses an update and does no harm
 * L: lo->group_lock protects it
 * M: lo->mutex protects it
 * O: it has one owner at a time: the submitter, a list, a worker or the completion
 * R: writers hold lo->mutex and loop_chain_mutex; readers hold one of the two, are
 *    under RCU, or run for a bio that is counted
 * S: writers hold lo->mutex
 * U: lo->uevent_mutex protects it
 * X: the lock of the index, loop_index.xa_lock, protects it
 *
 * Fields with H, S or X can be read without the lock if both sides use READ_ONCE() and
 * WRITE_ONCE(), or if the field is atomic; they can change at any time then. The name and
 * detaching are read with the lock only. The I/O path reads fields with M without the
 * lock, as these were written before the backing was published.
 * A loop_params whose backing is not published yet, and fields with X of a device
 * that is not attached, belong to the task that builds them.
 */

/* What the user asks for. direct is false if the file cannot do direct I/O. */
struct loop_params {
	loff_t			offset;		/* C */
	loff_t			sizelimit;	/* C */
	unsigned int		block_size;	/* C */
	bool			read_only;	/* C */
	bool			direct;		/* C */
	bool			direct_asked;	/* S */
	u32			attach_flags;	/* C: LOOP_ATTACH_*; 0: an ioctl of the device */
	bool			write_asked;	/* C */
	bool			block_size_asked; /* S */
};

struct loop_backoff {
	u8			failed;		/* H: tries in a row that would have waited */
	u8			skip;		/* H: bios that are not tried */
};

struct loop_backing {
	/* read by every bio */
	struct file		*file;		/* C */
	struct loop_params	params;
	atomic64_t		nr_sectors;	/* S */
	unsigned int		dio_mem_mask;	/* C */
	unsigned int		dio_offset_mask; /* C */
	struct file		*quiet_file;	/* C: see loop_file_open_quiet(), or NULL */
	unsigned long		atime_updated;	/* H: jiffies when a read went to a worker */
	mempool_t		swap_pool;	/* A: initialized if swap_out is set */
	bool			swap_out;	/* C: pages can be swapped out to quiet_file */
	bool			inline_read;	/* H: the file reads without waiting */
	bool			inline_write;	/* H: the file writes without waiting */
	bool			inline_cached;	/* C: inline reads ask the page cache only */
	bool			uncached;	/* C: buffered I/O leaves nothing in the cache */
	bool			honours_dsync;	/* C: direct writes obey IOCB_DSYNC */
	bool			write_waits;	/* C: writes are synchronous */
	bool			mixes;		/* C: a folio gets direct and buffered writes */
	struct loop_backoff	backoff[2];	/* for reads, and for writes */
	struct block_device	*clone_bdev;	/* C: gets clones of bios, or NULL */
	struct bio_set		*clones;	/* C: NULL without clone_bdev */

	/* A: numbers of the operations whose refusal was logged */
	DECLARE_BITMAP(refused, (__force unsigned int)REQ_OP_LAST);

	/* flushes that wait for the next fsync */
	spinlock_t		flush_lock;	/* taken in any context */
	struct list_head	flush_list;	/* F: of struct loop_io */
	struct work_struct	flush_work;	/* A */

	/* queue limits that follow from the file */
	blk_features_t		features;	/* C */
	unsigned int		discard_granularity; /* C */
	unsigned int		max_discard_sectors; /* C */
	unsigned int		max_write_zeroes_sectors; /* C */

	/* as stat() of the file tells them */
	dev_t			dev;		/* C */
	u64			ino;		/* C */

	u64			diskseq;	/* S: of the disk while it has this medium */

	struct loop_device	*lo;		/* C: NULL before there is one */
	refcount_t		users;		/* A: the device, and tasks that look at it */
	struct rcu_head		rcu;
	struct hlist_node	mapping_node;	/* G: in loop_mappings, if claimed */
	gfp_t			mapping_gfp;	/* G: the mask to restore */
	struct hlist_node	range_node;	/* G: in loop_ranges, if claimed */
	struct address_space	*range_mapping;	/* C: see loop_backing_set_range() */
	u64			range_start;	/* C: in range_mapping */
	u64			range_end;	/* G */
};

/*
 * The bios of one cgroup on one device, or all that swap pages out to the device. A
 * group bounds how many of its bios are in flight. One worker does its writes in
 * order, as buffered writes take the file's lock in turn; see loop_io_queue().
 */
struct loop_group {
	struct loop_device	*lo;		/* C */
	struct cgroup_subsys_state *blkcg;	/* C: only compared; NULL for root and swap */
	struct list_head	node;		/* L: in lo->groups */
	unsigned int		users;		/* L: bios, and write_work */
	atomic_t		slots;		/* A: free ones; each bio in flight has one */
	struct semaphore	waiters;	/* A: submitters that found no free slot */
	atomic_t		plugged;	/* A: slots that plugs hold; never all */
	struct list_head	writes;		/* L: of struct loop_io */
	struct work_struct	write_work;	/* A */
	struct llist_head	done;		/* A: of struct loop_io, for end_work */
	struct work_struct	end_work;	/* A */
};

enum loop_state {
	LOOP_FREE,
	LOOP_ATTACHING,
	LOOP_ATTACHED,
	LOOP_RUNDOWN,
	LOOP_REMOVING,
};

/* How far a detach by force has come. */
enum loop_death {
	LOOP_ALIVE,
	LOOP_DYING,	/* no further bio reaches the file */
	LOOP_DEAD,	/* the file is released; the last close detaches */
};

struct loop_device {
	int			number;		/* C */
	struct gendisk		*disk;		/* C */

	struct loop_backing __rcu *backing;	/* R */
	enum loop_death		death;		/* X: each bio looks at it */
	mempool_t		io_pool;	/* A */
	struct workqueue_struct	*read_queue;	/* M: made by the first attach */
	struct workqueue_struct	*write_queue;	/* M: made by the first attach */
	struct workqueue_struct	*flush_queue;	/* M: made by the first attach */
	struct loop_counters __percpu *counters; /* A */
	wait_queue_head_t	drained;	/* A: a bio ended, or a backing lost a user */
	struct queue_limits	free_limits;	/* C */

	spinlock_t		group_lock;	/* taken in any context */
	struct list_head	groups;		/* L */
	unsigned int		nr_groups;	/* L */
	struct loop_group	root_group;
	struct loop_group	swap_group;
	struct ratelimit_state	error_limit;	/* A: for lines in the log */

	struct mutex		mutex;		/* reconfiguration */
	struct mutex		uevent_mutex;	/* CHANGE events of the disk */
	unsigned int		uevents_held;	/* U: this many tasks hold them back */
	bool			uevent_change;	/* U: the last of them sends CHANGE */
	bool			uevent_resize;	/* U: and it says RESIZE=1 */
	enum loop_state		state;		/* X */
	bool			detaching;	/* X: a task detaches the unused device */
	/* of the attachment */
	u64			attachment;	/* X: its number, which grows */
	u64			diskseq;	/* X */
	kuid_t			owner;		/* X: the user who attached the file */
	u8			name[LO_NAME_SIZE]; /* X */
	bool			partscan;	/* X */
	bool			autoclear;	/* X: detach at the last close */
	bool			ephemeral;	/* X: remove the device when it is detached */
	bool			leased;		/* X: there is a lease */
	bool			lease_holds;	/* X: the lease keeps autoclear from detaching */
	bool			unannounced;	/* X: not announced yet */
	unsigned int		pins;		/* X: ioctls of a lease, and LOOP_CTL_ATTACH */
	atomic_t		changes;	/* A: since the attach; POLLPRI reports them */
	wait_queue_head_t	events;		/* A: last closes, changes, attachment ends */
	struct work_struct	remove_work;	/* A */
	struct work_struct	force_work;	/* A: has a reference on the disk */
};

/* This says who tries to read or write the file, and how: first workers, then submitters. */
enum loop_io_state {
	LOOP_IO_WORKER,		/* a worker, see loop_io_is_direct() */
	LOOP_IO_BUFFERED,	/* a worker, by way of the page cache from now on */
	LOOP_IO_INLINE,		/* the submitter */
	LOOP_IO_INLINE_LATE,	/* the submitter, and the completion has the result */
};

/*
 * A bio in flight. During a try to read or write the file, the task that makes the
 * try and the completion both use it, and the last of the two handles the result.
 * The members for the tracepoint cost 0.2 % of the instructions of a 4 KiB read, and
 * no memory: without them, the object takes three cache lines as well.
 */
struct loop_io {
	struct kiocb		iocb;		/* O */
	struct bio		*bio;		/* C */
	struct loop_backing	*b;		/* C */
	struct loop_group	*group;		/* C */
	union {
		struct list_head node;		/* L or F: in group->writes or b->flush_list */
		struct llist_node done_node;	/* A: in group->done */
	};
	struct work_struct	work;		/* O */
	refcount_t		ref;		/* A */
	enum loop_io_state	state;		/* O */
	unsigned int		stale;		/* O: bytes before pos to invalidate */
	loff_t			pos;		/* O: the next byte, in the file */
	long			ret;		/* O: the result of a try */
	unsigned int		sectors;	/* C: in the I/O accounting, or 0 */
	unsigned long		start_time;	/* C: jiffies */
	u64			traced;		/* C: its start, in ns, or 0 */
	sector_t		traced_sector;	/* C */
	unsigned int		traced_sectors;	/* C */
};

struct loop_clone {
	struct loop_io		io;
	struct bio		bio;		/* bioset_init() needs it last */
};

/* control.c */

int loop_control_init(void);
void loop_control_exit(void);

/* lease.c */

struct loop_detach_arg {
	u32			mode;		/* LOOP_DETACH_* */
	u64			attachment;	/* 0: the one with diskseq */
	u64			diskseq;	/* 0: any */
	ktime_t			deadline;	/* KTIME_MAX: none */
	bool			admin;		/* may detach attachments of other users */
	u32			pending;	/* LOOP_PENDING_*, which the callee sets */
};

struct file *loop_lease_create(void);
void loop_lease_start(struct file *file, struct loop_device *lo);
int loop_detach(struct loop_device *lo, struct loop_detach_arg *arg);

/* index.c */

/* A device for one caller to attach to, in LOOP_ATTACHING. */
struct loop_reserved {
	struct loop_device	*lo;
	bool			made;	/* for the caller; removed if the attach fails */
};

int loop_index_init(void);
void loop_index_add_first(void);
void loop_index_exit(void);
void loop_device_free(struct loop_device *lo);
void loop_number_wait_timeout(int number, ktime_t timeout);
int loop_device_add(int number);
int loop_device_remove(int number);
int loop_device_get_free(void);
struct loop_device *loop_device_get_next(unsigned long *number, unsigned long last);
struct loop_device *loop_device_get(unsigned long number);
int loop_number_check_cgroup(int number, short access);
int loop_device_reserve(int number, bool fresh, struct loop_reserved *reserved);
void loop_device_give_back(struct loop_reserved *reserved);

/* config.c */

int loop_ioctl(struct block_device *bdev, blk_mode_t mode, unsigned int cmd,
	       unsigned long arg);
int loop_compat_ioctl(struct block_device *bdev, blk_mode_t mode,
		      unsigned int cmd, unsigned long arg);

/* attach.c */

struct loop_attach_arg {
	const struct loop_config	*config;
	struct loop_ctl_attach		*attach; /* NULL: an ioctl of the device */
	struct loop_backing		*b;	/* no device has it yet; or NULL */
};

/*
 * A change in progress. lo->mutex is held from loop_reconf_begin() to
 * loop_reconf_end(); a function that takes a loop_reconf runs between the two.
 * @b is the new backing and, after it is published, the one that it replaced.
 */
struct loop_reconf {
	struct loop_device	*lo;
	struct loop_backing	*b;
	struct loop_ctl_attach	*attach; /* gets the device that is in the way, or NULL */
	bool			claimed; /* the change has the disk exclusively */
	bool			stale;	/* the end invalidates the page cache */
	bool			scan;	/* the end scans partitions, and announces all */
	bool			announce; /* the end sends a CHANGE uevent */
	bool			changed; /* the end wakes tasks that poll a lease */
};

extern struct xarray loop_index;
extern unsigned int loop_part_shift;

bool loop_state_is_attached(enum loop_state state);
void loop_set_state_locked(struct loop_device *lo, enum loop_state state);
void loop_set_state(struct loop_device *lo, enum loop_state state);
bool loop_move_state(struct loop_device *lo, enum loop_state from,
		     enum loop_state to);
void loop_partscan_allow(struct loop_device *lo, bool allow);
int loop_scan_partitions(struct loop_device *lo);
int loop_device_announce(struct loop_device *lo);
int loop_reconf_begin(struct loop_reconf *rc, struct loop_device *lo, bool claim);
int loop_reconf_end(struct loop_reconf *rc, int err);
struct loop_backing *loop_reconf_old(struct loop_reconf *rc);
int loop_reconf_clone(struct loop_reconf *rc, struct loop_backing *old,
		      struct file *file);
void loop_reconf_set_size(struct loop_reconf *rc, struct loop_backing *b);
int loop_reconf_publish(struct loop_reconf *rc);
int loop_reconf_publish_medium(struct loop_reconf *rc);
int loop_params_set(struct loop_params *p, const struct loop_info64 *info);
unsigned int loop_backing_block_size(const struct loop_backing *b);
void loop_device_name(struct loop_device *lo, u8 *name);
void loop_device_set_name(struct loop_device *lo, const u8 *name);
u32 loop_backing_flags(const struct loop_backing *b);
void loop_entry_fill_backing(struct loop_ctl_entry *entry,
			     const struct loop_backing *b);
int loop_attach_build(struct loop_attach_arg *arg, struct file *file,
		      blk_mode_t mode);
int loop_reconf_attach(struct loop_reconf *rc, struct loop_attach_arg *arg);
bool loop_device_is_unused(const struct loop_device *lo);
bool loop_device_pin(struct loop_device *lo, u64 attachment);
void loop_device_unpin(struct loop_device *lo);
void loop_device_undo_attach(struct loop_device *lo, bool remove);
void loop_detach_begin(struct loop_device *lo);
void loop_device_detach(struct loop_device *lo);
void loop_device_detach_if_due(struct loop_device *lo);
void loop_device_lock_and_detach_if_due(struct loop_device *lo);
void loop_detach_at_close(struct loop_device *lo);
void loop_force_work(struct work_struct *work);
void loop_device_kill_locked(struct loop_device *lo);

/* report.c */

extern const char * const loop_stat_names[LOOP_NR_STATS];
extern const struct attribute_group loop_attr_group;
extern const struct attribute_group *loop_disk_groups[];

void loop_bio_log_error(struct loop_device *lo, struct bio *bio,
			sector_t sector, blk_status_t status);

/* backing.c */

struct inode *loop_file_inode(struct file *file);
struct block_device *loop_file_bdev(struct file *file);
bool loop_file_is_on_demand(struct file *file);
int loop_file_validate(struct file *file);
struct file *loop_file_open_quiet(struct file *file, bool read_only);
bool loop_file_start_write_trylock(struct file *file);
int loop_file_fallocate(struct file *file, int mode, loff_t pos, loff_t len);
void loop_file_read_ahead(struct file *file, loff_t pos, unsigned int len);
int loop_bdev_discard(struct block_device *bdev, loff_t pos, unsigned int len);
u64 loop_range_end(const struct loop_params *p);
int loop_backing_claim(struct loop_backing *b);
bool loop_backing_claim_again(struct loop_backing *b);
struct loop_backing *loop_backing_alloc(struct loop_device *lo, struct file *file);
void loop_backing_free(struct loop_backing *b);
struct loop_backing *loop_device_backing(struct loop_device *lo);
struct loop_backing *loop_backing_hold(struct loop_device *lo);
void loop_backing_release(struct loop_backing *b);
void loop_backing_retire(struct loop_backing *b);
int loop_backing_stat_direct(struct loop_backing *b);
int loop_backing_getattr(const struct loop_backing *b, struct kstat *stat);
void loop_backing_set_size(struct loop_backing *b, const struct kstat *stat);
int loop_backing_derive(struct loop_backing *b, bool resize);
u32 loop_backing_unmet(const struct loop_backing *b);
void loop_limits_init(struct queue_limits *lim);
int loop_backing_check_chain(struct loop_backing *b);
int loop_backing_publish(struct loop_device *lo, struct loop_backing **bp);
struct loop_backing *loop_backing_unpublish_dead(struct loop_device *lo);
struct loop_backing *loop_backing_unpublish(struct loop_device *lo);

DEFINE_FREE(loop_backing_release, struct loop_backing *,
	    IS_ERR_OR_NULL(_T) ? (void)0 : loop_backing_release(_T))

/* swap.c */

bool loop_io_write_swap(struct loop_io *io, const struct iov_iter *iter);

/* merge.c */

int loop_merge_init(void);
void loop_merge_exit(void);
bool loop_plug_add(struct loop_device *lo, struct bio *bio);

/* work.c */

/* Functions of the heart that the kernel, the workers and merge.c call. */
struct loop_entries {
	const struct block_device_operations *fops;	/* of each disk */
	work_func_t		io_work;		/* of each bio */
	work_func_t		swap_work;		/* of a bio that swaps out */
	work_func_t		write_work;		/* of each group */
	work_func_t		end_work;		/* of each group */
	work_func_t		flush_work;		/* of each backing */
	/* submits a bio that stands for @nr bios and has a slot of @group */
	void	(*submit)(struct bio *bio, struct loop_group *group, unsigned int nr);
};

extern const struct loop_entries *loop_entries;
extern struct kmem_cache *loop_io_cache;
DECLARE_PER_CPU(struct loop_io *, loop_io_spare);
extern struct workqueue_struct *loop_remove_workqueue;
extern struct workqueue_struct *loop_force_workqueue;
extern unsigned int loop_queue_depth;

int loop_work_init(const struct loop_entries *entries);
void loop_work_exit(void);
int loop_device_prepare(struct loop_device *lo);
void loop_group_init(struct loop_group *group, struct loop_device *lo,
		     unsigned int depth);
struct loop_group *loop_slot_get(struct loop_device *lo, struct bio *bio, bool swap_out);
struct loop_group *loop_slot_get_plugged(struct loop_device *lo, struct bio *bio);
void loop_slot_unplug(struct loop_group *group);
bool loop_slot_is_awaited(const struct loop_group *group);
void loop_slot_put(struct loop_group *group);
void loop_groups_free(struct loop_device *lo);
void loop_groups_let_go(struct loop_device *lo);
void loop_groups_reset(struct loop_device *lo);
void loop_io_queue_work(struct loop_io *io);
void loop_io_queue_end(struct loop_io *io);
void loop_io_queue(struct loop_io *io);
struct loop_io *loop_group_next_write(struct loop_group *group);
void loop_io_run(struct loop_io *io, void (*run)(struct loop_io *io));

/* inject.c */

#ifdef CONFIG_BLK_DEV_LOOP_INJECT
long loop_io_inject(const struct loop_io *io, bool inlined);
#else
static inline long loop_io_inject(const struct loop_io *io, bool inlined)
{
	return io->ret;
}
#endif

#endif /* _BLOCK_LOOP_H */
