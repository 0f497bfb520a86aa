// SPDX-License-Identifier: GPL-2.0
/*
 * The backing file: what it can do, the backing that is made from it, the queue limits
 * that follow from it, and how a backing is published and drained. What the driver knows
 * of each file system is in this room.
 *
 * This room uses work.c only for the memory of struct loop_io and for the heart's
 * functions. Callers that publish or unpublish a backing hold lo->mutex; the limits lock
 * and the freeze of the queue come inside that, and loop_chain_mutex inside those.
 * loop_chain_mutex and loop_claim_lock are this room's own.
 */
#include <linux/backing-dev.h>
#include <linux/bio.h>
#include <linux/blk-mq.h>
#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/hashtable.h>
#include <linux/major.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/string.h>
#include "loop.h"

/* The largest bio. It costs no memory, as the file gets the bio's own pages. */
#define LOOP_MAX_HW_SECTORS	(SZ_4M >> SECTOR_SHIFT)

static DEFINE_MUTEX(loop_chain_mutex);

/* Claimed backings by the mapping of their file, whose gfp mask they share. */
static DEFINE_SPINLOCK(loop_claim_lock);
static DEFINE_HASHTABLE(loop_mappings, 10);

/* The same backings by b->range_mapping, for exclusive ranges. */
static DEFINE_HASHTABLE(loop_ranges, 10);

/*
 * The file behind a backing
 */

struct inode *loop_file_inode(struct file *file)
{
	return file->f_mapping->host;
}

/* The block device that @file is, or NULL. */
struct block_device *loop_file_bdev(struct file *file)
{
	struct inode *inode = loop_file_inode(file);

	return S_ISBLK(inode->i_mode) ? I_BDEV(inode) : NULL;
}

/* A listener is asked before a range of @file is read or written, and may fill it. */
bool loop_file_is_on_demand(struct file *file)
{
	return FMODE_FSNOTIFY_HSM(file->f_mode);
}

/* Returns the block device that @file is or lies on, or NULL. */
static struct block_device *loop_file_lower_bdev(struct file *file)
{
	return loop_file_bdev(file) ?: loop_file_inode(file)->i_sb->s_bdev;
}

/* Returns the loop device that @file is or lies on, or NULL. */
static struct loop_device *loop_file_lower_device(struct file *file)
{
	struct block_device *bdev = loop_file_lower_bdev(file);

	if (!bdev || bdev->bd_disk->major != LOOP_MAJOR)
		return NULL;
	return bdev->bd_disk->private_data;
}

/*
 * The driver relies only on properties of file systems that have been read in their
 * code and tested. Documentation/block/loop.rst has tables of them.
 */
enum {
	/* It obeys IOCB_NOWAIT and IOCB_DSYNC, also in a call that completes later. */
	LOOP_FS_TRUSTED		= 1 << 0,
	/* A buffered read looks at the page cache, and at no server or other file. */
	LOOP_FS_READS_CACHE	= 1 << 1,
	/* fsync does not flush direct writes that completed asynchronously. */
	LOOP_FS_FORGETS_ASYNC	= 1 << 2,
	/*
	 * A direct read waits for the file's lock, whatever IOCB_NOWAIT says, and a
	 * file system of the same type above may hold the lock of its own file.
	 */
	LOOP_FS_LOCKS_READS	= 1 << 3,
	/* bmap() tells the blocks to which direct I/O swaps out. */
	LOOP_FS_SWAPS		= 1 << 4,
};

static const struct loop_fs {
	const char	*name;
	unsigned int	does;	/* LOOP_FS_* */
} loop_fs_table[] = {
	{ "bdev",	LOOP_FS_TRUSTED },
	{ "ext4",	LOOP_FS_TRUSTED | LOOP_FS_SWAPS },
	{ "ext3",	LOOP_FS_TRUSTED | LOOP_FS_SWAPS }, /* the code of ext4 */
	{ "ext2",	LOOP_FS_READS_CACHE | LOOP_FS_SWAPS },
	{ "xfs",	LOOP_FS_TRUSTED | LOOP_FS_SWAPS },
	{ "btrfs",	LOOP_FS_TRUSTED | LOOP_FS_LOCKS_READS },
	{ "f2fs",	LOOP_FS_READS_CACHE | LOOP_FS_FORGETS_ASYNC },
	{ "tmpfs",	LOOP_FS_READS_CACHE },
	{ "erofs",	LOOP_FS_READS_CACHE },
	{ "exfat",	LOOP_FS_READS_CACHE },
};

/* Returns LOOP_FS_* of the inode's file system, which is "bdev" for a block device. */
static unsigned int loop_inode_fs(const struct inode *inode)
{
	const char *name = inode->i_sb->s_type->name;

	for (unsigned int i = 0; i < ARRAY_SIZE(loop_fs_table); i++)
		if (!strcmp(loop_fs_table[i].name, name))
			return loop_fs_table[i].does;
	return 0;
}

static unsigned int loop_file_fs(struct file *file)
{
	return loop_inode_fs(loop_file_inode(file));
}

/* Returns the inode that has the data: a block device's, or the one below an overlay. */
static struct inode *loop_file_data_inode(struct file *file)
{
	return loop_file_bdev(file) ? loop_file_inode(file) :
				      d_real_inode(file->f_path.dentry);
}

static bool loop_file_reads_cache(struct file *file)
{
	struct inode *inode = loop_file_inode(file);

	return S_ISREG(inode->i_mode) && !IS_DAX(inode) &&
	       (file->f_op->read_iter == generic_file_read_iter ||
		(loop_file_fs(file) & LOOP_FS_READS_CACHE));
}

/* Pages that direct I/O is writing must not change before it has ended. */
static bool loop_file_wants_stable_pages(struct file *file)
{
	struct block_device *bdev = loop_file_bdev(file);

	return bdev ? bdev_stable_writes(bdev) :
		      mapping_stable_writes(loop_file_data_inode(file)->i_mapping);
}

static bool loop_file_can_swap(struct file *file)
{
	return S_ISREG(loop_file_inode(file)->i_mode) &&
	       (file->f_mode & FMODE_CAN_ODIRECT) &&
	       (loop_file_fs(file) & LOOP_FS_SWAPS);
}

/*
 * Opens the file once more for I/O that must set no times, because a file system may
 * wait for that: inline reads, and swapping out. Returns NULL if the file cannot be
 * opened this way, or has no such I/O.
 */
struct file *loop_file_open_quiet(struct file *file, bool read_only)
{
	bool write = !read_only && loop_file_can_swap(file);
	int flags = (write ? O_RDWR : O_RDONLY) | O_LARGEFILE | O_NONBLOCK |
		    O_NOATIME;
	struct file *quiet;

	if (!S_ISREG(file_inode(file)->i_mode) || loop_file_is_on_demand(file) ||
	    !((loop_file_fs(file) & LOOP_FS_TRUSTED) ||
	      loop_file_reads_cache(file)))
		return NULL;
	quiet = kernel_file_open(&file->f_path, flags, file->f_cred);
	if (IS_ERR(quiet))
		return NULL;
	quiet->f_mode &= ~FMODE_NONOTIFY_PERM;
	quiet->f_mode |= FMODE_NONOTIFY | FMODE_NOCMTIME;
	return quiet;
}

int loop_file_validate(struct file *file)
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

/* Does what kiocb_start_write() does, but fails while the file system is frozen. */
bool loop_file_start_write_trylock(struct file *file)
{
	if (!file_start_write_trylock(file))
		return false;
	/* the completion of the write releases it, maybe in another task */
	if (S_ISREG(file_inode(file)->i_mode))
		__sb_writers_release(file_inode(file)->i_sb, SB_FREEZE_WRITE);
	return true;
}

/*
 * Calls vfs_fallocate(), except for a file that is append-only: that rule is for tasks
 * that open the file. The device overwrites its blocks, and so it may zero them.
 */
int loop_file_fallocate(struct file *file, int mode, loff_t pos,
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

/*
 * Discards the blocks of @bdev that lie in the range, on the device and in its page
 * cache, which a discard below does not change.
 */
int loop_bdev_discard(struct block_device *bdev, loff_t pos,
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
	/* blkdev_issue_discard() returns 0 even if the device has turned discards off */
	if (!err && !bdev_max_discard_sectors(bdev))
		err = -EOPNOTSUPP;
	return err;
}

/* Reads the range into the page cache and waits for it, without a lock of the file. */
void loop_file_read_ahead(struct file *file, loff_t pos, unsigned int len)
{
	struct address_space *mapping = file->f_mapping;
	pgoff_t last = (pos + len - 1) >> PAGE_SHIFT;
	pgoff_t index = pos >> PAGE_SHIFT;
	struct folio *folio;

	/* tmpfs and DAX read nothing into the page cache */
	if (!mapping->a_ops->readahead && !mapping->a_ops->read_folio)
		return;
	while (index <= last) {
		folio = filemap_get_folio(mapping, index);
		if (IS_ERR(folio)) {
			page_cache_sync_readahead(mapping, &file->f_ra, file,
						  index, last - index + 1);
			folio = filemap_get_folio(mapping, index);
		}
		/* the read that follows finds the error */
		if (IS_ERR(folio))
			return;
		folio_wait_locked(folio);
		index = folio_next_index(folio);
		folio_put(folio);
	}
}

/* Without a size limit the range has no end, as the file may grow. */
u64 loop_range_end(const struct loop_params *p)
{
	return p->sizelimit ? (u64)p->offset + p->sizelimit : U64_MAX;
}

/* The end of the range on the disk, with the size that the partition @bdev has now. */
static u64 loop_range_partition_end(const struct loop_backing *b,
				    struct block_device *bdev)
{
	return ((u64)bdev->bd_start_sect << SECTOR_SHIFT) +
	       min_t(u64, loop_range_end(&b->params), bdev_nr_bytes(bdev));
}

/*
 * Ranges are compared where the bytes are: an overlay stands for a file of another file
 * system, and a partition is a range of its disk.
 */
static void loop_backing_set_range(struct loop_backing *b)
{
	struct block_device *bdev = loop_file_bdev(b->file);

	b->range_start = b->params.offset;
	b->range_end = loop_range_end(&b->params);
	if (!bdev) {
		b->range_mapping = loop_file_data_inode(b->file)->i_mapping;
		return;
	}
	b->range_mapping = bdev_whole(bdev)->bd_mapping;
	if (bdev_is_partition(bdev)) {
		b->range_start += (u64)bdev->bd_start_sect << SECTOR_SHIFT;
		b->range_end = loop_range_partition_end(b, bdev);
	}
}

/* Returns another device's backing that overlaps @b, if one of the two is exclusive. */
static struct loop_backing *loop_range_find_conflict(struct loop_backing *b)
{
	struct loop_backing *other;

	lockdep_assert_held(&loop_claim_lock);

	hash_for_each_possible(loop_ranges, other, range_node,
			       (unsigned long)b->range_mapping)
		if (other->range_mapping == b->range_mapping && other->lo != b->lo &&
		    ((other->params.attach_flags | b->params.attach_flags) &
		     LOOP_ATTACH_EXCLUSIVE) &&
		    other->range_start < b->range_end &&
		    b->range_start < other->range_end)
			return other;
	return NULL;
}

static struct loop_backing *loop_mapping_find(struct address_space *mapping)
{
	struct loop_backing *b;

	lockdep_assert_held(&loop_claim_lock);

	hash_for_each_possible(loop_mappings, b, mapping_node,
			       (unsigned long)mapping)
		if (b->file->f_mapping == mapping)
			return b;
	return NULL;
}

/*
 * Claims @b's file and range until @b is freed, and returns -1; or the number of the
 * device that is in the way.
 *
 * An allocation in the page cache of the file must not wait for I/O, which may be on
 * the loop device, also in other tasks that read the file. So the first backing that
 * uses the mapping narrows its gfp mask, and the last one restores it.
 */
int loop_backing_claim(struct loop_backing *b)
{
	struct address_space *mapping = b->file->f_mapping;
	struct loop_backing *other;
	int number = -1;

	if (hash_hashed(&b->mapping_node))
		return -1;
	loop_backing_set_range(b);
	spin_lock(&loop_claim_lock);
	other = loop_range_find_conflict(b);
	if (other) {
		number = other->lo->number;
		goto out_unlock;
	}
	other = loop_mapping_find(mapping);
	b->mapping_gfp = other ? other->mapping_gfp : mapping_gfp_mask(mapping);
	if (!other)
		mapping_set_gfp_mask(mapping, b->mapping_gfp &
				     ~(__GFP_IO | __GFP_FS));
	hash_add(loop_mappings, &b->mapping_node, (unsigned long)mapping);
	hash_add(loop_ranges, &b->range_node, (unsigned long)b->range_mapping);
out_unlock:
	spin_unlock(&loop_claim_lock);
	return number;
}

/* Claims the range that @b's partition has now. If that fails, @b keeps its range. */
bool loop_backing_claim_again(struct loop_backing *b)
{
	struct block_device *bdev = loop_file_bdev(b->file);
	u64 end = b->range_end;
	bool conflict;

	if (!bdev || !bdev_is_partition(bdev))
		return true;
	spin_lock(&loop_claim_lock);
	b->range_end = loop_range_partition_end(b, bdev);
	conflict = loop_range_find_conflict(b);
	if (conflict)
		b->range_end = end;
	spin_unlock(&loop_claim_lock);
	return !conflict;
}

static void loop_backing_unclaim(struct loop_backing *b)
{
	struct address_space *mapping = b->file->f_mapping;

	if (!hash_hashed(&b->mapping_node))
		return;
	spin_lock(&loop_claim_lock);
	hash_del(&b->range_node);
	hash_del(&b->mapping_node);
	if (!loop_mapping_find(mapping))
		mapping_set_gfp_mask(mapping, b->mapping_gfp);
	spin_unlock(&loop_claim_lock);
}

/*
 * Backing: built, published, drained
 */

struct loop_backing *loop_backing_alloc(struct loop_device *lo, struct file *file)
{
	struct loop_backing *b;

	b = kzalloc_obj(*b, GFP_KERNEL);
	if (!b)
		return NULL;
	b->lo = lo;
	b->file = get_file(file);
	b->atime_updated = jiffies - HZ;
	spin_lock_init(&b->flush_lock);
	INIT_LIST_HEAD(&b->flush_list);
	INIT_WORK(&b->flush_work, loop_entries->flush_work);
	refcount_set(&b->users, 1);
	return b;
}

/*
 * Frees a backing that has no users: it was never published, or it is drained. A
 * reader under RCU may still find that its count of users is 0.
 */
void loop_backing_free(struct loop_backing *b)
{
	loop_backing_unclaim(b);
	if (b->clones)
		bioset_exit(b->clones);
	kfree(b->clones);
	if (b->quiet_file)
		fput(b->quiet_file);
	mempool_exit(&b->swap_pool);
	fput(b->file);
	kfree_rcu(b, rcu);
}

/* Returns the backing in force to a task that changes the device. */
struct loop_backing *loop_device_backing(struct loop_device *lo)
{
	return rcu_dereference_protected(lo->backing,
					 lockdep_is_held(&lo->mutex));
}

/* Returns the backing in force with a reference for a task that looks at it, or NULL. */
struct loop_backing *loop_backing_hold(struct loop_device *lo)
{
	struct loop_backing *b;

	guard(rcu)();
	do {
		b = rcu_dereference(lo->backing);
	} while (b && !refcount_inc_not_zero(&b->users));
	return b;
}

void loop_backing_release(struct loop_backing *b)
{
	struct loop_device *lo = b->lo;

	refcount_dec(&b->users);
	if (wq_has_sleeper(&lo->drained))
		wake_up(&lo->drained);
}

/*
 * No bio is in flight. This is exact for bios that found a backing before the caller
 * unpublished it. The ends are summed up first: a bio that ends meanwhile is in flight.
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

/* Frees a backing that no bio uses, when the tasks that look at it are done. */
void loop_backing_retire(struct loop_backing *b)
{
	/* the work has nothing to do any more, but may not have returned yet */
	flush_work(&b->flush_work);
	wait_event(b->lo->drained, refcount_dec_if_one(&b->users));
	loop_backing_free(b);
}

/* Asks the file which alignment direct I/O needs now. */
int loop_backing_stat_direct(struct loop_backing *b)
{
	struct block_device *lower = loop_file_lower_bdev(b->file);
	struct kstat stat;
	int err;

	/* a file that reports no alignment may refuse direct I/O with EINVAL */
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
		/* 0 means no direct I/O, and gives a mask that no bio passes */
		b->dio_mem_mask = stat.dio_mem_align - 1;
		b->dio_offset_mask = stat.dio_offset_align - 1;
	}
	return 0;
}

int loop_backing_getattr(const struct loop_backing *b, struct kstat *stat)
{
	return vfs_getattr_nosec(&b->file->f_path, stat, STATX_INO | STATX_SIZE, 0);
}

/* Sets the size that follows from the file's. Bios in flight may see it change. */
void loop_backing_set_size(struct loop_backing *b,
			   const struct kstat *stat)
{
	struct block_device *bdev = loop_file_bdev(b->file);
	const struct loop_params *p = &b->params;
	loff_t size = bdev ? bdev_nr_bytes(bdev) : stat->size;

	size = max(size - p->offset, 0);
	if (p->sizelimit)
		size = min(size, p->sizelimit);
	atomic64_set(&b->nr_sectors, size >> SECTOR_SHIFT);
}

/* Direct I/O on the file can do each block of the device. */
static bool loop_backing_aligned(const struct loop_backing *b)
{
	return !((b->params.offset | b->params.block_size) &
		 b->dio_offset_mask);
}

/*
 * Some blocks of a folio are written past the page cache of the file, and others by way
 * of it. A file system has the file locked during a direct write only if that waits.
 * Otherwise a buffered write may dirty the folio meanwhile. The file system then keeps
 * stale bytes in the cache, and has the next fsync fail.
 */
static bool loop_backing_mixes(const struct loop_backing *b)
{
	return b->params.direct && !loop_file_bdev(b->file) &&
	       !loop_backing_aligned(b) &&
	       (b->dio_offset_mask < PAGE_SIZE - 1 ||
		mapping_large_folio_support(loop_file_data_inode(b->file)->i_mapping));
}

/*
 * A block in the page cache of a block device is larger than what direct I/O needs. A
 * buffered write of a part would write the rest as well, which may be stale.
 */
static bool loop_backing_shares_blocks(const struct loop_backing *b)
{
	return loop_file_bdev(b->file) && !loop_backing_aligned(b) &&
	       i_blocksize(loop_file_inode(b->file)) > b->dio_offset_mask + 1;
}

static bool loop_backing_can_direct(const struct loop_backing *b)
{
	if (!(b->file->f_mode & FMODE_CAN_ODIRECT) ||
	    b->dio_offset_mask == UINT_MAX)
		return false;
	if (b->params.attach_flags & LOOP_ATTACH_DIRECT_ALIGNED)
		return !(b->params.offset & b->dio_offset_mask) &&
		       !loop_backing_shares_blocks(b);
	return loop_backing_aligned(b);
}

/* The features that follow from the file; the others are the same for all devices. */
#define LOOP_FEATURES (BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA | \
		       BLK_FEAT_ROTATIONAL | BLK_FEAT_STABLE_WRITES)

static void loop_backing_derive_features(struct loop_backing *b)
{
	struct block_device *lower = loop_file_lower_bdev(b->file);

	b->honours_dsync = b->params.direct &&
			   (loop_file_fs(b->file) & LOOP_FS_TRUSTED);
	if (b->file->f_op->fsync && !b->params.read_only) {
		b->features |= BLK_FEAT_WRITE_CACHE;
		/* otherwise FUA would be one fsync per write, and a flush serves several */
		if (b->honours_dsync)
			b->features |= BLK_FEAT_FUA;
	}
	if (lower && blk_queue_rot(bdev_get_queue(lower)))
		b->features |= BLK_FEAT_ROTATIONAL;
	/*
	 * With direct I/O, the device below gets the pages of the bio. A file system above
	 * asks for this only when it is mounted, and direct I/O may be turned on later.
	 */
	if (loop_file_wants_stable_pages(b->file))
		b->features |= BLK_FEAT_STABLE_WRITES;
}

/* Derives the queue limits that follow from the file. */
static void loop_backing_derive_limits(struct loop_backing *b)
{
	struct block_device *bdev = loop_file_bdev(b->file);

	if (bdev) {
		b->max_discard_sectors = bdev_max_discard_sectors(bdev);
		b->discard_granularity = bdev_discard_granularity(bdev);
		/* exactly the range is zeroed, so it has to be whole blocks */
		if (loop_backing_aligned(b))
			b->max_write_zeroes_sectors =
						bdev_write_zeroes_sectors(bdev);
	} else if (b->file->f_op->fallocate) {
		b->max_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
		b->max_write_zeroes_sectors = UINT_MAX >> SECTOR_SHIFT;
		b->discard_granularity =
			i_blocksize(loop_file_data_inode(b->file));
	}
	if (b->params.attach_flags & LOOP_ATTACH_NO_DISCARD)
		b->max_discard_sectors = 0;
	b->uncached = (b->params.attach_flags & LOOP_ATTACH_UNCACHED) &&
		      (b->file->f_op->fop_flags & FOP_DONTCACHE) &&
		      !IS_DAX(loop_file_inode(b->file));
}

/*
 * The file does not wait in an inline try. A device below that cannot do I/O without
 * waiting would fail direct I/O, and the file system would report an error of the disk.
 * Buffered tries use only what is cached.
 */
static bool loop_backing_can_inline(const struct loop_backing *b)
{
	struct block_device *lower = loop_file_lower_bdev(b->file);

	if (!(b->file->f_mode & FMODE_NOWAIT) ||
	    !(loop_file_fs(b->file) & LOOP_FS_TRUSTED) ||
	    loop_file_is_on_demand(b->file))
		return false;
	return !b->params.direct || !lower || bdev_nowait(lower);
}

/* An inline read does not wait for locks, nor does it set the access time. */
static bool loop_backing_can_read_inline(const struct loop_backing *b)
{
	if (b->params.direct && (loop_file_fs(b->file) & LOOP_FS_LOCKS_READS))
		return false;
	return b->quiet_file || loop_file_bdev(b->file);
}

static void loop_backing_derive_inline(struct loop_backing *b)
{
	if (b->params.attach_flags & LOOP_ATTACH_NO_INLINE)
		return;
	if (loop_backing_can_inline(b)) {
		b->inline_read = loop_backing_can_read_inline(b);
		/*
		 * Some kernels have the writer start the writeback of what is not to
		 * stay in the page cache, whatever IOCB_NOWAIT says.
		 */
		b->inline_write = b->params.direct ? !b->write_waits :
				  ((b->file->f_op->fop_flags & FOP_BUFFER_WASYNC) &&
				   !b->uncached);
	} else if (!b->params.direct && loop_file_reads_cache(b->file)) {
		/* a file that is filled on demand has no quiet file */
		b->inline_cached = loop_backing_can_read_inline(b);
		b->inline_read = b->inline_cached;
	}
}

/* Allocates the reserves for bios that are swapped out, and for clones. */
static int loop_backing_alloc_reserves(struct loop_backing *b)
{
	struct block_device *bdev = loop_file_bdev(b->file);
	int err;

	if (b->swap_out) {
		err = mempool_init_slab_pool(&b->swap_pool, LOOP_SWAP_DEPTH,
					     loop_io_cache);
		if (err)
			return err;
	}
	if (!b->params.direct || !bdev)
		return 0;
	b->clones = kzalloc_obj(*b->clones, GFP_KERNEL);
	if (!b->clones)
		return -ENOMEM;
	err = bioset_init(b->clones, LOOP_IO_RESERVE,
			  offsetof(struct loop_clone, bio),
			  BIOSET_PERCPU_CACHE);
	if (!err)
		b->clone_bdev = bdev;
	return err;
}

/*
 * Derives the rest of the backing from the file and the parameters; the size only
 * with @resize. It may wait for the file.
 */
int loop_backing_derive(struct loop_backing *b, bool resize)
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
	b->mixes = loop_backing_mixes(b);
	/* without direct I/O, swapping out writes directly beside buffered writes */
	b->write_waits = b->mixes || !b->params.direct ||
			 (loop_inode_fs(loop_file_data_inode(b->file)) &
			  LOOP_FS_FORGETS_ASYNC);
	loop_backing_derive_features(b);
	loop_backing_derive_limits(b);
	loop_backing_derive_inline(b);
	return loop_backing_alloc_reserves(b);
}

/* Returns the LOOP_COND_* that are not met. */
u32 loop_backing_unmet(const struct loop_backing *b)
{
	const struct loop_params *p = &b->params;
	const struct loop_device *lo = b->lo;
	u32 unmet = 0;

	if (READ_ONCE(p->direct_asked) && !p->direct)
		unmet |= (b->file->f_mode & FMODE_CAN_ODIRECT) &&
			 b->dio_offset_mask != UINT_MAX ?
			 LOOP_COND_DIRECT_ALIGN : LOOP_COND_DIRECT_IO;
	if (p->write_asked &&
	    (p->read_only || (lo && bdev_read_only(lo->disk->part0))))
		unmet |= LOOP_COND_WRITE;
	/* the file ends before the limit, or the limit is not whole sectors */
	if ((atomic64_read(&b->nr_sectors) << SECTOR_SHIFT) < p->sizelimit)
		unmet |= LOOP_COND_SIZELIMIT;
	/* the file may have refused it; the queue has the limit of the backing in force */
	if (!b->max_discard_sectors ||
	    (lo && rcu_access_pointer(lo->backing) == b &&
	     /* the block layer writes limits without a lock that readers take */
	     !data_race(bdev_max_discard_sectors(lo->disk->part0))))
		unmet |= LOOP_COND_DISCARD;
	if (!READ_ONCE(p->block_size_asked) && p->block_size > SECTOR_SIZE)
		unmet |= LOOP_COND_BLOCK_SIZE;
	if ((p->attach_flags & LOOP_ATTACH_UNCACHED) && !b->uncached)
		unmet |= LOOP_COND_UNCACHED;
	return unmet;
}

/* Sets @lim to the limits of a new device. */
void loop_limits_init(struct queue_limits *lim)
{
	lim->features = BLK_FEAT_NOWAIT | BLK_FEAT_IO_STAT;
	lim->logical_block_size = SECTOR_SIZE;
	lim->max_hw_sectors = LOOP_MAX_HW_SECTORS;
	/* without this, some kernels split bios at 1280 KiB */
	lim->max_user_sectors = LOOP_MAX_HW_SECTORS;
	lim->max_segments = USHRT_MAX;
	lim->max_segment_size = UINT_MAX;
}

static void loop_limits_clear_lower(struct queue_limits *lim)
{
	lim->io_opt = 0;
	lim->alignment_offset = 0;
	lim->flags &= ~BLK_FLAG_MISALIGNED;
	lim->discard_alignment = 0;
	lim->max_hw_wzeroes_unmap_sectors = 0;
	lim->features &= ~BLK_FEAT_ATOMIC_WRITES;
	lim->atomic_write_hw_max = 0;
	lim->atomic_write_hw_unit_min = 0;
	lim->atomic_write_hw_unit_max = 0;
	lim->atomic_write_hw_boundary = 0;
}

/*
 * The sizes are those that the disk below accepts, which can be less than its hardware
 * does. If the disk needs memory that is aligned to more than sectors, the device offers
 * no atomic writes, as a worker would copy the data of some bios in parts.
 */
static void loop_limits_fill_atomic(struct queue_limits *lim,
				    const struct loop_backing *b)
{
	struct request_queue *q = bdev_get_queue(b->clone_bdev);

	if (b->dio_mem_mask >= SECTOR_SIZE)
		return;
	lim->features |= BLK_FEAT_ATOMIC_WRITES;
	lim->atomic_write_hw_max = queue_atomic_write_max_bytes(q);
	lim->atomic_write_hw_unit_min = queue_atomic_write_unit_min_bytes(q);
	lim->atomic_write_hw_unit_max = queue_atomic_write_unit_max_bytes(q);
	lim->atomic_write_hw_boundary = queue_atomic_write_boundary_bytes(q);
}

/*
 * A device that clones its bios reports what the disk below prefers, and what it can
 * do, as dm-linear does. It has no limits that only say where a bio is split, as the
 * disk below splits the clone.
 */
static void loop_limits_fill_lower(struct queue_limits *lim,
				   const struct loop_backing *b)
{
	struct block_device *lower = b->clone_bdev;
	struct queue_limits low;

	blk_set_stacking_limits(&low);
	low.logical_block_size = lim->logical_block_size;
	low.physical_block_size = lim->logical_block_size;
	low.io_min = lim->logical_block_size;
	blk_stack_limits(&low, &bdev_get_queue(lower)->limits,
			 get_start_sect(lower) +
			 (b->params.offset >> SECTOR_SHIFT));

	lim->physical_block_size = low.physical_block_size;
	lim->io_min = low.io_min;
	lim->io_opt = low.io_opt;
	lim->alignment_offset = low.alignment_offset &
				(low.physical_block_size - 1);
	if (!low.alignment_offset)
		lim->flags |= low.flags & BLK_FLAG_MISALIGNED;
	lim->discard_alignment = low.discard_alignment;
	if (low.max_hw_wzeroes_unmap_sectors &&
	    !(b->params.attach_flags & LOOP_ATTACH_NO_DISCARD))
		lim->max_hw_wzeroes_unmap_sectors = lim->max_write_zeroes_sectors;
	if (low.atomic_write_hw_max)
		loop_limits_fill_atomic(lim, b);
}

/*
 * Sets the queue limits of a device whose backing @b replaces @old, or NULL. While a
 * file is attached, a feature that the user set in sysfs stays if @b and @old do not
 * differ in it. The block layer's validation changes none of these values, so limits
 * that stay the same compare as equal.
 */
static void loop_limits_fill(struct queue_limits *lim,
			     const struct loop_backing *old,
			     const struct loop_backing *b)
{
	unsigned int block_size = b->params.block_size;
	blk_features_t changed = old ? b->features ^ old->features : LOOP_FEATURES;
	unsigned int granularity;

	lim->features = (lim->features & ~changed) | (b->features & changed);

	loop_limits_clear_lower(lim);
	lim->logical_block_size = block_size;
	lim->physical_block_size = block_size;
	lim->io_min = block_size;
	lim->max_write_zeroes_sectors = b->max_write_zeroes_sectors;
	if (b->clone_bdev)
		loop_limits_fill_lower(lim, b);
	granularity = max(b->discard_granularity, lim->physical_block_size);
	/* whole granules, as the block layer takes nothing else from sysfs */
	lim->max_hw_discard_sectors =
		rounddown(b->max_discard_sectors, granularity >> SECTOR_SHIFT) ?:
		b->max_discard_sectors;
	lim->max_discard_sectors = min(lim->max_hw_discard_sectors,
				       lim->max_user_discard_sectors);
	lim->discard_granularity = lim->max_discard_sectors ? granularity : 0;
}

/*
 * Follows the chain of loop devices down from @below, to look for @lo. Each is kept
 * open by the file of the one above it, the first by the caller's file. No device
 * loses its backing meanwhile, not even by force.
 */
static int loop_chain_check(struct loop_device *lo, struct loop_device *below)
{
	struct loop_backing *b;

	lockdep_assert_held(&loop_chain_mutex);

	while (below) {
		if (below == lo)
			return -EBADF;
		b = rcu_dereference_protected(below->backing,
					      lockdep_is_held(&loop_chain_mutex));
		/* the device is being detached */
		if (!b || READ_ONCE(below->state) != LOOP_ATTACHED)
			return -EINVAL;
		below = loop_file_lower_device(b->file);
	}
	return 0;
}

/* Fails if @b would close a cycle of loop devices, or lies on one that is detached. */
int loop_backing_check_chain(struct loop_backing *b)
{
	guard(mutex)(&loop_chain_mutex);
	return loop_chain_check(b->lo, loop_file_lower_device(b->file));
}

/*
 * Sets the backing, and ends the update of the queue limits: they become *@lim or,
 * with NULL, stay. The read-ahead, which a commit may raise, then stays as well.
 */
static int loop_backing_replace(struct loop_device *lo, struct loop_backing *b,
				struct queue_limits *lim)
{
	struct request_queue *q = lo->disk->queue;
	int err = 0;

	lockdep_assert_held(&loop_chain_mutex);

	if (lim)
		err = queue_limits_commit_update(q, lim);
	else
		queue_limits_cancel_update(q);
	if (!err)
		rcu_assign_pointer(lo->backing, b);
	return err;
}

/* The block layer itself does this only when it adds a disk or a partition. */
static void loop_disk_set_stable_pages(struct gendisk *disk, bool stable)
{
	struct address_space *mapping = disk->part0->bd_mapping;

	if (stable)
		mapping_set_stable_writes(mapping);
	else
		mapping_clear_stable_writes(mapping);
}

/*
 * Keeps new bios out, and waits until none is in flight. The device below may hang, so
 * a task that is killed gives up with -EINTR, and with -ENXIO if a detach by force
 * begins. The queue is then as it was.
 */
static int loop_queue_freeze(struct loop_device *lo)
{
	struct request_queue *q = lo->disk->queue;
	int err = 0;

	blk_freeze_queue_start(q);
	while (!err && !blk_mq_freeze_queue_wait_timeout(q, HZ / 10)) {
		if (fatal_signal_pending(current))
			err = -EINTR;
		else if (READ_ONCE(lo->death))
			err = -ENXIO;
	}
	if (!err && wait_event_killable(lo->drained, loop_device_is_idle(lo) ||
					READ_ONCE(lo->death)))
		err = -EINTR;
	if (!err && READ_ONCE(lo->death))
		err = -ENXIO;
	if (err)
		blk_mq_unfreeze_queue_nomemrestore(q);
	return err;
}

/*
 * Publishes *@bp and sets *@bp to the drained backing that it replaces, or to NULL.
 * If it fails, nothing has changed.
 *
 * Nothing is allocated while the queue is frozen. A freeze costs a grace period, and
 * is left out for a device that had no backing, and so has no bio.
 */
int loop_backing_publish(struct loop_device *lo,
			 struct loop_backing **bp)
{
	struct request_queue *q = lo->disk->queue;
	struct loop_backing *old, *b = *bp;
	struct queue_limits lim, *new;
	int err = 0;

	lockdep_assert_held(&lo->mutex);

	old = loop_device_backing(lo);
	lim = queue_limits_start_update(q);
	loop_limits_fill(&lim, old, b);
	new = memcmp(&lim, &q->limits, sizeof(lim)) ? &lim : NULL;
	if (old)
		err = loop_queue_freeze(lo);
	if (err) {
		queue_limits_cancel_update(q);
		return err;
	}
	scoped_guard(mutex, &loop_chain_mutex) {
		/* publishing the same file again closes no cycle */
		if (!old || old->file != b->file)
			err = loop_chain_check(lo, loop_file_lower_device(b->file));
		if (err)
			queue_limits_cancel_update(q);
		else
			err = loop_backing_replace(lo, b, new);
	}
	if (old)
		blk_mq_unfreeze_queue_nomemrestore(q);
	if (err)
		return err;
	set_disk_ro(lo->disk, b->params.read_only);
	loop_disk_set_stable_pages(lo->disk, b->features & BLK_FEAT_STABLE_WRITES);
	*bp = old;
	return 0;
}

/*
 * Removes the backing of a dead device, and returns it drained. The size and the limits
 * stay until the last close.
 */
struct loop_backing *loop_backing_unpublish_dead(struct loop_device *lo)
{
	struct loop_backing *b = loop_device_backing(lo);

	scoped_guard(mutex, &loop_chain_mutex)
		RCU_INIT_POINTER(lo->backing, NULL);
	wait_event(lo->drained, loop_device_is_idle(lo));
	return b;
}

/*
 * Removes the backing of a device that nobody has open, and returns it drained. The
 * limits become those of a new device: what users set in queue/ was for that file.
 */
struct loop_backing *loop_backing_unpublish(struct loop_device *lo)
{
	struct loop_backing *b = loop_device_backing(lo);
	struct queue_limits lim = lo->free_limits;

	queue_limits_start_update(lo->disk->queue);
	/* this never fails, as these limits were committed before */
	scoped_guard(mutex, &loop_chain_mutex)
		loop_backing_replace(lo, NULL, &lim);
	lo->disk->bdi->ra_pages = VM_READAHEAD_PAGES;
	set_disk_ro(lo->disk, false);
	loop_disk_set_stable_pages(lo->disk, false);
	wait_event(lo->drained, loop_device_is_idle(lo));
	return b;
}
