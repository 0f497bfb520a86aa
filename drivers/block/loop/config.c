// SPDX-License-Identifier: GPL-2.0
/*
 * One device: its state; how a file is attached, changed and detached; its ioctls.
 *
 * This file calls backing.c, which builds and publishes a backing, report.c for the
 * attributes of an attached device, and work.c for its workqueues. It takes the
 * exclusive claim of the disk and then lo->mutex for a change, open_mutex for a
 * partition scan after lo->mutex is released, and lo->uevent_mutex and the lock of
 * the index inside either. The caller of loop_unbind() holds open_mutex.
 */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <trace/events/loop.h>
#include "loop.h"

static_assert(sizeof(struct loop_info64) == 232);
static_assert(sizeof(struct loop_config) == 304);

/*
 * The index of the numbers that exist. A number is reserved while its device is
 * created, and keeps its entry until its device is gone. Devices in
 * LOOP_STATE_UNBOUND have the mark. The lock of the index also protects their state.
 */
DEFINE_XARRAY_ALLOC(loop_index);

/* A device has 1 << loop_part_shift minors, for itself and its partitions. */
unsigned int loop_part_shift;

/*
 * State
 */

void loop_set_state_locked(struct loop_device *lo, unsigned int state)
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

void loop_set_state(struct loop_device *lo, unsigned int state)
{
	xa_lock(&loop_index);
	loop_set_state_locked(lo, state);
	xa_unlock(&loop_index);
}

static bool loop_move_state(struct loop_device *lo, unsigned int from,
			    unsigned int to)
{
	bool moved;

	xa_lock(&loop_index);
	moved = lo->state == from;
	if (moved)
		loop_set_state_locked(lo, to);
	xa_unlock(&loop_index);
	return moved;
}

/*
 * Reconfiguration
 */

/*
 * A change in progress. lo->mutex is held from loop_reconf_begin() to
 * loop_reconf_end(); a function that takes a loop_reconf runs between the two.
 * @b is the new backing and, after it is published, the one that it replaced.
 */
struct loop_reconf {
	struct loop_device	*lo;
	struct loop_backing	*b;
	struct loop_ctl_attach	*exclusive; /* gets the device that is in the way */
	bool			claimed; /* the disk, exclusively */
	bool			stale;	/* the end invalidates the page cache */
	bool			scan;	/* the end scans partitions, and announces all */
	bool			announce; /* the end sends a CHANGE uevent */
};

/*
 * The block layer sends a CHANGE event of the disk at each step of a change. A
 * task holds these back while it makes such steps, and then says which event is
 * due. The last of several tasks sends it, so that no event is lost.
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

void loop_partscan_allow(struct loop_device *lo, bool allow)
{
	if (allow)
		clear_bit(GD_SUPPRESS_PART_SCAN, &lo->disk->state);
	else
		set_bit(GD_SUPPRESS_PART_SCAN, &lo->disk->state);
}

/*
 * Reads the partition table, and announces the partitions and then the disk. The
 * block layer announces no partition while the disk's events are held back. If a
 * partition is open, all partitions stay as they are.
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

/* With @claim, nobody else has or gets the disk exclusively until the end. */
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

/* Invalidates all clean pages, including those that are mapped or being read. */
static void loop_invalidate(struct block_device *bdev)
{
	invalidate_bdev(bdev); /* also drops the per-CPU references to buffers */
	invalidate_inode_pages2(bdev->bd_mapping);
}

/* Ends a change that came to @err, which it returns. */
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

/* The backing that a change replaces, or an error. */
static struct loop_backing *loop_reconf_old(struct loop_reconf *rc)
{
	struct loop_backing *old = loop_device_backing(rc->lo);

	return READ_ONCE(rc->lo->state) == LOOP_STATE_BOUND ? old : ERR_PTR(-ENXIO);
}

/* Allocates rc->b with the parameters of @old, and its files if @files is NULL. */
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
	 * A file may report a larger alignment by now, as on xfs when its blocks
	 * have become shared. It still accepts the smaller one, so direct I/O stays
	 * on. A block device does not accept it.
	 */
	b->dio_mem_mask = old->dio_mem_mask;
	b->dio_offset_mask = old->dio_offset_mask;
	if (files || loop_file_bdev(b->file))
		return loop_backing_stat_direct(b);
	return 0;
}

/* Gives the disk the size of @b. */
static void loop_reconf_set_size(struct loop_reconf *rc, struct loop_backing *b)
{
	sector_t nr_sectors = atomic64_read(&b->nr_sectors);
	struct gendisk *disk = rc->lo->disk;
	bool resized = false;

	loop_uevents_hold(rc->lo);
	/* set_capacity_and_notify() would log each attach */
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
 * Shuts down file systems on the disk and its partitions, as their caches do not
 * match the next medium. The disk gets its next diskseq.
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
 * Publishes rc->b as another medium. The old medium ends first, so that nobody
 * takes the new one for it. The new one is announced at the end of the change, and
 * until then an open does not scan its partitions.
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

bool loop_bind_is_read_only(const struct loop_bind_arg *bind)
{
	return (bind->config->info.lo_flags & LO_FLAGS_READ_ONLY) ||
	       !(bind->mode & BLK_OPEN_WRITE) ||
	       !(bind->files.file->f_mode & FMODE_WRITE);
}

/* The default block size is 512 bytes, or more where direct I/O needs more. */
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

/* With LOOP_ATTACH_STRICT, an option that is not met is an error. */
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

/* Sets the fields of *@entry that describe the backing. */
void loop_entry_fill_backing(struct loop_ctl_entry *entry,
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

/* Marks the device as attached, and tells the caller of LOOP_CTL_ATTACH about it. */
static void loop_bind_finish(struct loop_backing *b,
			     const struct loop_bind_arg *bind)
{
	struct loop_ctl_attach *attach = bind->attach;
	struct loop_device *lo = b->lo;

	__module_get(THIS_MODULE);
	xa_lock(&loop_index);
	loop_set_state_locked(lo, LOOP_STATE_BOUND);
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

static int loop_reconf_attach(struct loop_reconf *rc,
			      const struct loop_bind_arg *bind)
{
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
	err = loop_backing_derive(b, true);
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

/* The caller has moved the device to LOOP_STATE_BINDING. */
int loop_device_attach(struct loop_device *lo, bool claim,
		       const struct loop_bind_arg *bind)
{
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, claim);

	return err ?: loop_reconf_end(&rc, loop_reconf_attach(&rc, bind));
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
	/* a second caller fails at once, and does not wait for the first one's file */
	if (!loop_move_state(lo, LOOP_STATE_UNBOUND, LOOP_STATE_BINDING))
		return -EBUSY;
	err = loop_config_validate(config);
	if (!err) {
		quiet = loop_file_open_quiet(file, loop_bind_is_read_only(&bind));
		bind.files.quiet = quiet;
		err = loop_device_attach(lo, !(mode & BLK_OPEN_EXCL), &bind);
	}
	if (err)
		loop_set_state(lo, LOOP_STATE_UNBOUND);
	return err;
}

/*
 * A task that waits for open_mutex may already have found a partition. Its open
 * fails when the partition has no size, so it cannot open one of the old medium.
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
 * Detaches, at the last close or after it. The caller's open_mutex keeps the device
 * closed, so nobody reconfigures it or submits a bio. Bios in flight are waited for.
 */
void loop_unbind(struct loop_device *lo)
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
	/* BLKROSET applies to one medium */
	bdev_clear_flag(lo->disk->part0, BD_READ_ONLY);
	/* sets the size to 0, and drops the page cache and its write errors */
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
		/* a work item removes it, as del_gendisk() takes open_mutex */
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
 * This does not take lo->mutex, as a change may wait for its file; the state keeps
 * the two apart. Nor does it wait for open_mutex: if that is taken, somebody may be
 * opening or closing the device, and the caller counts as one of several openers.
 */
static int loop_ioctl_clr_fd(struct loop_device *lo, blk_mode_t mode,
			     unsigned long arg)
{
	bool settled = mutex_trylock(&lo->disk->open_mutex);
	int err = -ENXIO;

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_BOUND) {
		if (settled && disk_openers(lo->disk) == 1)
			loop_set_state_locked(lo, LOOP_STATE_RUNDOWN);
		else
			WRITE_ONCE(lo->autoclear, true);
		err = 0;
	}
	xa_unlock(&loop_index);
	if (settled)
		mutex_unlock(&lo->disk->open_mutex);
	return err;
}

static int loop_reconf_set_file(struct loop_reconf *rc,
				const struct loop_files *files)
{
	struct loop_backing *old = loop_reconf_old(rc);
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
	err = loop_backing_derive(b, true);
	if (err)
		return err;
	if (atomic64_read(&b->nr_sectors) != atomic64_read(&old->nr_sectors))
		return -EINVAL;
	/* after this, only a killed caller or a dead device below makes it fail */
	err = loop_backing_check_chain(b);
	if (err)
		return err;
	/* a read of the old file may be filling the page cache */
	rc->stale = true;
	return loop_reconf_publish_medium(rc);
}

static int loop_ioctl_change_fd(struct loop_device *lo, blk_mode_t mode,
				unsigned long arg)
{
	struct file *file __free(fput) = fget(arg);
	struct file *quiet __free(fput) = NULL;
	struct loop_files files = { .file = file };
	struct loop_reconf rc;
	int err;

	if (!file)
		return -EBADF;
	err = loop_file_validate(file);
	if (err)
		return err;
	quiet = loop_file_open_quiet(file, true);
	files.quiet = quiet;
	err = loop_reconf_begin(&rc, lo, false);
	return err ?: loop_reconf_end(&rc, loop_reconf_set_file(&rc, &files));
}

/*
 * A file system that is mounted on the disk or a partition has holder operations.
 * No other holder has them.
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
 * At another offset, a holder would find foreign bytes. Behind an earlier end it
 * gets errors, which a file system does not expect. Device mapper is made smaller
 * by its user first, so it does not count.
 */
static bool loop_status_disturbs_holder(struct loop_device *lo,
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
	err = loop_backing_derive(rc->b, true);
	if (err)
		return err;
	rc->announce = true;
	rc->stale = true;
	/* dirty pages belong to the old range */
	sync_blockdev(rc->lo->disk->part0);
	return loop_reconf_publish(rc);
}

/*
 * Another range needs a new backing; bios do not depend on the name and the flags.
 * With @exclusive, nobody else holds the disk.
 */
static int loop_reconf_set_status(struct loop_reconf *rc,
				  const struct loop_info64 *info, bool exclusive)
{
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
	if (!exclusive && loop_status_disturbs_holder(lo, &old->params, &p))
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
	/* a device in LOOP_STATE_RUNDOWN keeps autoclear */
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
	bool held = mode & BLK_OPEN_EXCL;
	bool claim = !held && loop_status_moves(lo, info);
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, claim);

	return err ?: loop_reconf_end(&rc, loop_reconf_set_status(&rc, info,
								  held || claim));
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
#else
#define compat_loop_info loop_info
#endif

/* struct loop_info as the caller has it; in_compat_syscall() tells which one. */
union loop_info_old {
	struct loop_info	native;
	struct compat_loop_info	compat;
};

static size_t loop_info_old_size(void)
{
	return in_compat_syscall() ? sizeof(struct compat_loop_info) :
				     sizeof(struct loop_info);
}

/*
 * The two layouts have the same fields, with types of different sizes. Since there
 * is no encryption, its fields are ignored.
 */
#define loop_info_decode(info, old) do {				\
	struct loop_info64 *to = (info);				\
	const typeof(old) from = (old);					\
									\
	to->lo_offset = from->lo_offset;				\
	to->lo_flags = from->lo_flags;					\
	memcpy(to->lo_file_name, from->lo_name, LO_NAME_SIZE);		\
} while (0)

/* Returns whether all numbers fit. */
#define loop_info_encode(old, info) ({					\
	const struct loop_info64 *from = (info);			\
	typeof(old) to = (old);						\
									\
	to->lo_number = from->lo_number;				\
	to->lo_device = from->lo_device;				\
	to->lo_inode = from->lo_inode;					\
	to->lo_rdevice = from->lo_rdevice;				\
	to->lo_offset = from->lo_offset;				\
	to->lo_flags = from->lo_flags;					\
	memcpy(to->lo_name, from->lo_file_name, LO_NAME_SIZE);		\
	to->lo_device == from->lo_device &&				\
		to->lo_inode == from->lo_inode &&			\
		to->lo_rdevice == from->lo_rdevice &&			\
		to->lo_offset == from->lo_offset;			\
})

static int loop_ioctl_set_status(struct loop_device *lo, blk_mode_t mode,
				 unsigned long arg)
{
	struct loop_info64 info = { };
	union loop_info_old old;

	if (copy_from_user(&old, (void __user *)arg, loop_info_old_size()))
		return -EFAULT;
	if (in_compat_syscall())
		loop_info_decode(&info, &old.compat);
	else
		loop_info_decode(&info, &old.native);
	return loop_status_change(lo, mode, &info);
}

static int loop_ioctl_get_status(struct loop_device *lo, blk_mode_t mode,
				 unsigned long arg)
{
	union loop_info_old old = { };
	struct loop_info64 info;
	bool fits;
	int err;

	if (!arg)
		return -EINVAL;
	err = loop_status_read(lo, &info);
	if (err)
		return err;
	if (in_compat_syscall())
		fits = loop_info_encode(&old.compat, &info);
	else
		fits = loop_info_encode(&old.native, &info);
	if (!fits)
		return -EOVERFLOW;
	if (copy_to_user((void __user *)arg, &old, loop_info_old_size()))
		return -EFAULT;
	return 0;
}

/* Asks the file for its size, and does not wait for I/O in flight. */
static int loop_reconf_set_capacity(struct loop_reconf *rc)
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
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, false);

	return err ?: loop_reconf_end(&rc, loop_reconf_set_capacity(&rc));
}

static int loop_reconf_set_direct_io(struct loop_reconf *rc, bool direct)
{
	struct loop_backing *old = loop_reconf_old(rc);
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
	err = loop_backing_derive(rc->b, false);
	if (err)
		return err;
	if (rc->b->params.direct != direct)
		return -EINVAL;
	return loop_reconf_publish(rc);
}

static int loop_ioctl_set_direct_io(struct loop_device *lo, blk_mode_t mode,
				    unsigned long arg)
{
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, false);

	return err ?: loop_reconf_end(&rc, loop_reconf_set_direct_io(&rc, arg));
}

static int loop_reconf_set_block_size(struct loop_reconf *rc, unsigned long asked)
{
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
	err = loop_backing_derive(rc->b, false);
	if (err)
		return err;
	rc->stale = true;
	sync_blockdev(rc->lo->disk->part0);
	return loop_reconf_publish(rc);
}

static int loop_ioctl_set_block_size(struct loop_device *lo, blk_mode_t mode,
				     unsigned long arg)
{
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, !(mode & BLK_OPEN_EXCL));

	return err ?: loop_reconf_end(&rc, loop_reconf_set_block_size(&rc, arg));
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

static int loop_ioctl_call(struct block_device *bdev, blk_mode_t mode,
			   unsigned int cmd, unsigned long arg)
{
	const struct loop_ioctl *ioctl = loop_ioctls;
	unsigned int nr;

	for (nr = ARRAY_SIZE(loop_ioctls); nr; ioctl++, nr--) {
		if (ioctl->cmd != cmd)
			continue;
		if (ioctl->write && !(mode & BLK_OPEN_WRITE) &&
		    !capable(CAP_SYS_ADMIN))
			return -EPERM;
		/* an exclusive opener of a partition does not hold the disk */
		if (bdev_is_partition(bdev))
			mode &= ~BLK_OPEN_EXCL;
		return ioctl->handler(bdev->bd_disk->private_data, mode, arg);
	}
	return -ENOIOCTLCMD;
}

int loop_ioctl(struct block_device *bdev, blk_mode_t mode,
	       unsigned int cmd, unsigned long arg)
{
	int ret = loop_ioctl_call(bdev, mode, cmd, arg);

	return ret == -ENOIOCTLCMD ? -EINVAL : ret;
}

#ifdef CONFIG_COMPAT
/* An argument is a pointer or a number below 2^31; both survive compat_ptr(). */
int loop_compat_ioctl(struct block_device *bdev, blk_mode_t mode,
		      unsigned int cmd, unsigned long arg)
{
	return loop_ioctl_call(bdev, mode, cmd, (unsigned long)compat_ptr(arg));
}
#endif
